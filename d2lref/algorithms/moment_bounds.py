"""How wrong what is normalised with mean and variance may be: running-error pairs evaluate each formula once.

u is the unit roundoff of the accumulator, n the number of values that share a statistic, d = x - m. Sources:
  Higham 2002, Accuracy and Stability of Numerical Algorithms (ASNA), chapters 1 and 3;
  Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3) (CGL).
"""

import math
from typing import NamedTuple

import numpy as np

from d2lref.algorithms.moments import Axes, count
from d2lref.rounding import Pair, Precision, Running, round_to
from d2lref.spec import Array

# 1 What comes in


def given(p: Precision, a: Array) -> Pair:
    """Return an input; where subnormals are flushed, a subnormal one may count as zero."""
    low = p.stored.nmin if p.flushed else 0.0
    return Pair(a, np.where(np.abs(a) < low, np.abs(a), 0.0))


def constant(p: Precision, value: float) -> Pair:
    """Return an option's number, which an implementation may round to the accumulator first (a flushed one to zero)."""
    near = float(round_to(np.asarray(value), p.accumulator.name))
    if p.flushed and abs(near) < p.accumulator.nmin:
        near = 0.0
    return Pair(np.asarray(value), np.asarray(abs(value - near)))


def most(a: Pair) -> np.ndarray:
    """|v| + e: the largest size that the computed number can have."""
    return np.abs(a.value) + a.error


def grown(run: Running, roundings: int) -> float:
    """(1 + u)^k - 1: the largest relative error of k roundings in a row (ASNA, section 3.1)."""
    return math.expm1(roundings * math.log1p(run.u))


def lost(run: Running, *sizes: np.ndarray) -> np.ndarray:
    """k tiny product of (1 + |f|): what a product of k factors in any order loses to underflow.

    Each multiplication loses tiny, times the factors that are still to come.
    """
    less = np.asarray(len(sizes) * run.p.tiny)
    for size in sizes:
        less = less * (1 + size)
    return less


def unless(error: np.ndarray, size: np.ndarray, run: Running) -> np.ndarray:
    """Return the error, infinite where something of that size may overflow."""
    return np.where(size < run.p.accumulator.fmax, error, np.inf)


# 2 Mean and variance


class Statistics(NamedTuple):
    """What x is normalised with, each beside x: mean, variance and 1 / sqrt(variance + eps)."""

    mean: Pair
    var: Pair
    root: Pair


def statistics(run: Running, mean: Pair, var: Pair, eps: float) -> Statistics:
    """Return the statistics with their root, after its store.

    The error of the root is infinite where v + eps - E <= 0: there the computed variance is noise (n u kappa near 1).
    """
    root = run.rsqrt(run.add(var, constant(run.p, eps)))
    return Statistics(mean, var, run.stored(root, run.p.statistics))


def moments(run: Running, x: Pair, axes: Axes) -> tuple[Pair, Pair]:
    """Return mean and biased variance over the axes, as wrong as the declared variance class allows.

    2 sqrt(v) s + s^2 more where inputs count as zero and change by at most s: the standard deviation moves by s. Each
    class adds squares of differences below 2 (|d| + e), or of x, so that the error is infinite where these may
    overflow; the squares, their sum and the division underflow by at most tiny each.
    """
    p = run.p
    mean = run.mean(x, axes)
    distance = x.value - mean.value
    var = np.mean(distance * distance, axis=axes, keepdims=True)
    if p.variance == "welford":
        mean = _updated_mean(run, x, mean, axes)
    stored = run.stored(mean, p.statistics)
    slip = np.max(x.error, axis=axes, keepdims=True)
    error = _VARIANCE[p.variance](run, x, stored, var, axes) + 2 * np.sqrt(var) * slip + slip * slip + 4 * p.tiny
    squares = np.sum(np.square(2 * (np.abs(distance) + stored.error)), axis=axes, keepdims=True)
    error = unless(error, (1 + grown(run, count(x.shape, axes) + 3)) * squares, run)
    return stored, run.stored(Pair(var, error), p.statistics)


def _two_pass(run: Running, x: Pair, mean: Pair, var: np.ndarray, axes: Axes) -> np.ndarray:
    """E = rho (v + E_m^2) + E_m^2, rho = (1 + u)^(n + 5) - 1, for v = sum of (x - m)^2 / n around a mean wrong by E_m.

    Around m + e the sum of squares is n (v + e^2): the cross term vanishes because d adds up to 0. On the way each
    term meets 2 roundings of x - m, one of the square, n - 1 of the sum and 3 of the division: CGL's
    n u + (n u kappa)^2 with its constants.
    """
    rho = grown(run, count(x.shape, axes) + 5)
    square = mean.error * mean.error
    return rho * (var + square) + square


def _welford(run: Running, x: Pair, mean: Pair, var: np.ndarray, axes: Axes) -> np.ndarray:
    """E = rho v + (1 + rho) (4 sqrt(L v) E_m + 4 L E_m^2), rho = (1 + u)^(n + 9) - 1, L = log2(n) / 2.

    Holds for updating with one value at a time (Welford 1962) and for merging blocks, the smaller into the larger
    (CGL). A merge of a and b <= a values adds w delta^2, where w = a b / (a + b) and delta is the difference of the two
    means. Over all merges w delta^2 adds up to n v exactly, and w <= b to at most n L (the smaller halves of a tree
    with n leaves). Each delta is wrong by at most 2 E_m, since no block's mean is wrong by more than E_m
    (`_updated_mean`); sum of w |delta| <= n sqrt(L v) by the Cauchy-Schwarz inequality. A term meets at most 6
    roundings of its own, n of additions and 3 of the division. This is CGL's n u kappa with its constants.
    """
    n = count(x.shape, axes)
    rho, depth = grown(run, n + 9), np.log2(n) / 2
    moved = 4 * np.sqrt(depth * var) * mean.error + 4 * depth * mean.error * mean.error
    return rho * var + (1 + rho) * moved


def _updated_mean(run: Running, x: Pair, mean: Pair, axes: Axes) -> Pair:
    """E_m = G (E + tau L R), tau = (1 + u)^4 - (1 + u), R = max x - min x, G = (1 + u)^(5 n): a mean merged from means.

    E is the error of a plain mean. m_a + delta b / (a + b) is wrong by the weighted errors of its blocks, by u |m| and
    by tau |delta| b / (a + b). Times the number of its values, the second adds up over n - 1 merges to
    (n - 1) u sum of |x|, which E has; the third to tau R times the sum of all b, at most n L (see `_welford`). G is
    what earlier errors grow by, less than (1 + u)^5 in a merge. A block of k values is wrong by no more, since
    (k - 1) / k <= (n - 1) / n. Each of 2 n operations may underflow.
    """
    n = count(x.shape, axes)
    spread = np.max(x.value, axis=axes, keepdims=True) - np.min(x.value, axis=axes, keepdims=True)
    joined = (grown(run, 4) - run.u) * spread * np.log2(n) / 2
    return Pair(mean.value, (1 + grown(run, 5 * n)) * (mean.error + joined + 2 * n * run.p.tiny))


def _naive(run: Running, x: Pair, mean: Pair, var: np.ndarray, axes: Axes) -> np.ndarray:
    """E of mean of x^2 - m^2 by pairs, and two roundings to spare on each for (sum of x^2 - n m^2) / n and its like."""
    del var
    squares = run.rounded(run.mean(run.mul(x, x), axes), 2)
    return run.sub(squares, run.rounded(run.mul(mean, mean), 2)).error


_VARIANCE = {"two-pass": _two_pass, "welford": _welford, "naive": _naive}


# 3 What is normalised


def normalised(run: Running, x: Pair, stats: Statistics, weight: Pair | None, bias: Pair | None) -> Pair:
    """Return the pair of (x - m) r w + b, with what its products lose to underflow, and the folded form.

    The folded form is x s + (b - m s) with s = w r. What s itself is wrong by counts for x - m, as above. On top of
    it come the roundings of its own operations with the largest s: 2 of |x| s, 3 of |m| s and 2 of |b|, to first order
    2u |x| s + 3u |m| s + 2u |b|, so within 4u |w| r (|x| + |m|) + 2u |b|.
    """
    y = run.mul(run.sub(x, stats.mean), stats.root)
    sizes = [most(x) + most(stats.mean), most(stats.root)]
    scale, shift = sizes[1], np.zeros(())
    if weight is not None:
        y, scale = run.mul(y, weight), (1 + run.u) * scale * most(weight)
        sizes.append(most(weight))
    if bias is not None:
        y, shift = run.add(y, bias), most(bias)
    here, there = most(x) * scale, most(stats.mean) * scale
    spread = grown(run, 2) * (here + shift) + grown(run, 3) * there + 4 * run.p.tiny
    return Pair(y.value, unless(y.error + spread + lost(run, *sizes), here + there + shift + spread, run))


# 4 The gradients


def _kept_means(run: Running, g: Pair, x: Pair, axes: Axes) -> tuple[Pair, Pair]:
    """Return the means of g and of g x, after their store."""
    first, second = (run.stored(run.mean(a, axes), run.p.statistics) for a in (g, run.mul(g, x)))
    return first, second


def centred_gradient(run: Running, g: Pair, hat: Pair, scale: Pair, axes: Axes) -> Pair:
    """Return dx = scale (g - mean of g - x̂ mean of (g x̂)).

    The three terms may be scaled before they are added, as in the formulas of Ioffe and Szegedy 2015, so that each
    rounds by its own size, at most 5 times after the means. Their gradient of the mean also carries the sum of x - m,
    zero but for rounding: another |scale| |mean of (g x̂)| times the error of x̂.
    """
    middle, along = _kept_means(run, g, hat, axes)
    dx = run.mul(run.sub(run.sub(g, middle), run.mul(hat, along)), scale)
    sizes = most(g) + most(middle) + most(hat) * most(along)
    return Pair(dx.value, dx.error + most(scale) * (grown(run, 5) * sizes + most(along) * hat.error))


def reordered(run: Running, sizes: tuple[np.ndarray, ...], w: np.ndarray, axes: Axes | None) -> np.ndarray:
    """Return what other orders of the products in dx lose to underflow: w r gy and, with axes, those of the statistics.

    There w gy (x - m) is summed before r^3 and x - m multiply it: the sum may overflow where the result does not.
    """
    g, distance, root = sizes
    less = lost(run, g, root, w)
    if axes is None:
        return less
    largest = [np.max(a, axis=axes, keepdims=True) for a in (g, distance, np.broadcast_to(w, distance.shape))]
    less = less + lost(run, *largest, root, root, root, distance)
    n = count(distance.shape, axes)
    return unless(less, (1 + grown(run, n + 2)) * np.sum(w * g * distance, axis=axes, keepdims=True), run)


def uncentred_gradient(run: Running, g: Pair, x: Pair, stats: Statistics, axes: Axes) -> np.ndarray:
    """Return the error of dx = r g + b x + c, b = r^3 (m mean of g - mean of (g x)), c = -b m - r mean of g.

    The same dx without x - m, so that the sums run over the input itself. b is computed once: what it is wrong by
    multiplies x - m, while each of the four products r g, b x, b m and r mean of g rounds by its own size, at most 4
    times. Infinite where one of them may overflow.
    """
    r, m = stats.root, stats.mean
    middle, along = _kept_means(run, g, x, axes)
    cube = run.mul(run.mul(r, r), r)
    b = run.mul(run.sub(run.mul(m, middle), along), cube)
    distance = np.abs(x.value - m.value) + x.error + m.error
    plain = run.mul(run.sub(g, middle), r)
    sizes = most(r) * (most(g) + most(middle)) + most(b) * (most(x) + most(m))
    slips = b.error * distance + most(b) * (x.error + m.error)
    less = lost(run, most(m) * most(middle) + most(along), most(r), most(r), most(r), most(x) + most(m))
    return unless(plain.error + slips + grown(run, 4) * sizes + less, sizes, run)


def weight_gradient(run: Running, g: Pair, x: Pair, stats: Statistics, hat: Pair, over: Axes) -> Pair:
    """Return dw = sum of gy x̂, also as the difference of two sums, of gy x r and of gy m r, of k terms each.

    Apart, either sum is wrong by k - 1 roundings, and its products and the difference by at most 6, of |gy| (|x| + |m|)
    r instead of |gy x̂|.
    """
    k = count(np.broadcast_shapes(g.shape, x.shape), over)
    apart = grown(run, k + 5) * most(stats.root) * (most(x) + most(stats.mean))
    return run.sum(run.mul(g, Pair(hat.value, hat.error + apart)), over)
