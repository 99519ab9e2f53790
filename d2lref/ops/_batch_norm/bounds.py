"""Batch normalisation: how wrong it may be. Running-error pairs (rounding.Running) evaluate each formula once.

u is the unit roundoff of the accumulator, n the number of values of a channel, d = x - m. Sources:
  Higham 2002, Accuracy and Stability of Numerical Algorithms (ASNA), chapters 1 and 3;
  Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3) (CGL).
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from d2lref.ops._batch_norm.definition import beside, count, five
from d2lref.rounding import FORMATS, Pair, Precision, Running, multilinear_bound, round_to, stack, store_bound
from d2lref.spec import Array

# 1 What comes in


def _given(p: Precision, a: Array) -> Pair:
    """Return an input; where subnormals are flushed, a subnormal one may count as zero."""
    low = p.stored.nmin if p.flushed else 0.0
    return Pair(a, np.where(np.abs(a) < low, np.abs(a), 0.0))


def _constant(p: Precision, value: float) -> Pair:
    """Return an option's number, which an implementation may round to the accumulator first (a flushed one to zero)."""
    near = float(round_to(np.asarray(value), p.accumulator.name))
    if p.flushed and abs(near) < p.accumulator.nmin:
        near = 0.0
    return Pair(np.asarray(value), np.asarray(abs(value - near)))


def _most(a: Pair) -> np.ndarray:
    """|v| + e: the largest size that the computed number can have."""
    return np.abs(a.value) + a.error


def _grown(run: Running, roundings: int) -> float:
    """(1 + u)^k - 1: the largest relative error of k roundings in a row (ASNA, section 3.1)."""
    return math.expm1(roundings * math.log1p(run.u))


def _lost(run: Running, *sizes: np.ndarray) -> np.ndarray:
    """k tiny product of (1 + |f|): what a product of k factors in any order loses to underflow.

    Each multiplication loses tiny, times the factors that are still to come.
    """
    lost = np.asarray(len(sizes) * run.p.tiny)
    for size in sizes:
        lost = lost * (1 + size)
    return lost


def _unless(error: np.ndarray, size: np.ndarray, run: Running) -> np.ndarray:
    """Return the error, infinite where something of that size may overflow."""
    return np.where(size < run.p.accumulator.fmax, error, np.inf)


def _axes(x: Array) -> tuple[int, ...]:
    """Return the axes of images and pixels."""
    return (0, *range(2, x.ndim))


# 2 Mean and variance


class _Statistics(NamedTuple):
    """What x is normalised with: mean, variance and 1 / sqrt(variance + eps), of shape (1, C, 1, ...)."""

    mean: Pair
    var: Pair
    root: Pair


def _statistics(run: Running, x: Pair, state: tuple[Any, ...], options: dict[str, Any]) -> _Statistics:
    """Return the statistics of the batch in training, the given ones in inference, after their store.

    The error of the root is infinite where v + eps - E <= 0: there the computed variance is noise (n u kappa near 1).
    """
    p = run.p
    if options["training"]:
        mean, var = _moments(run, x)
    else:
        mean, var = (_given(p, beside(a, x.value)) for a in state)
    root = run.rsqrt(run.add(var, _constant(p, options["eps"])))
    return _Statistics(mean, var, run.stored(root, p.statistics))


def _moments(run: Running, x: Pair) -> tuple[Pair, Pair]:
    """Return mean and biased variance of every channel, as wrong as the declared variance class allows.

    2 sqrt(v) s + s^2 more where inputs count as zero and change by at most s: the standard deviation moves by s. Each
    class adds squares of differences below 2 (|d| + e), or of x, so that the error is infinite where these may
    overflow; the squares, their sum and the division underflow by at most tiny each.
    """
    p, axes = run.p, _axes(x.value)
    mean = run.mean(x, axes)
    distance = x.value - mean.value
    var = np.mean(distance * distance, axis=axes, keepdims=True)
    if p.variance == "welford":
        mean = _updated_mean(run, x, mean)
    stored = run.stored(mean, p.statistics)
    slip = np.max(x.error, axis=axes, keepdims=True)
    error = _VARIANCE[p.variance](run, x, stored, var) + 2 * np.sqrt(var) * slip + slip * slip + 4 * p.tiny
    squares = np.sum(np.square(2 * (np.abs(distance) + stored.error)), axis=axes, keepdims=True)
    error = _unless(error, (1 + _grown(run, count(x.shape) + 3)) * squares, run)
    return stored, run.stored(Pair(var, error), p.statistics)


def _two_pass(run: Running, x: Pair, mean: Pair, var: np.ndarray) -> np.ndarray:
    """E = rho (v + E_m^2) + E_m^2, rho = (1 + u)^(n + 5) - 1, for v = sum of (x - m)^2 / n around a mean wrong by E_m.

    Around m + e the sum of squares is n (v + e^2): the cross term vanishes because d adds up to 0. On the way each
    term meets 2 roundings of x - m, one of the square, n - 1 of the sum and 3 of the division: CGL's
    n u + (n u kappa)^2 with its constants.
    """
    rho = _grown(run, count(x.shape) + 5)
    square = mean.error * mean.error
    return rho * (var + square) + square


def _welford(run: Running, x: Pair, mean: Pair, var: np.ndarray) -> np.ndarray:
    """E = rho v + (1 + rho) (4 sqrt(L v) E_m + 4 L E_m^2), rho = (1 + u)^(n + 9) - 1, L = log2(n) / 2.

    Holds for updating with one value at a time (Welford 1962) and for merging blocks, the smaller into the larger
    (CGL). A merge of a and b <= a values adds w delta^2, where w = a b / (a + b) and delta is the difference of the two
    means. Over all merges w delta^2 adds up to n v exactly, and w <= b to at most n L (the smaller halves of a tree
    with n leaves). Each delta is wrong by at most 2 E_m, since no block's mean is wrong by more than E_m
    (`_updated_mean`); sum of w |delta| <= n sqrt(L v) by the Cauchy-Schwarz inequality. A term meets at most 6
    roundings of its own, n of additions and 3 of the division. This is CGL's n u kappa with its constants.
    """
    n = count(x.shape)
    rho, depth = _grown(run, n + 9), np.log2(n) / 2
    moved = 4 * np.sqrt(depth * var) * mean.error + 4 * depth * mean.error * mean.error
    return rho * var + (1 + rho) * moved


def _updated_mean(run: Running, x: Pair, mean: Pair) -> Pair:
    """E_m = G (E + tau L R), tau = (1 + u)^4 - (1 + u), R = max x - min x, G = (1 + u)^(5 n): a mean merged from means.

    E is the error of a plain mean. m_a + delta b / (a + b) is wrong by the weighted errors of its blocks, by u |m| and
    by tau |delta| b / (a + b). Times the number of its values, the second adds up over n - 1 merges to
    (n - 1) u sum of |x|, which E has; the third to tau R times the sum of all b, at most n L (see `_welford`). G is
    what earlier errors grow by, less than (1 + u)^5 in a merge. A block of k values is wrong by no more, since
    (k - 1) / k <= (n - 1) / n. Each of 2 n operations may underflow.
    """
    n, axes = count(x.shape), _axes(x.value)
    spread = np.max(x.value, axis=axes, keepdims=True) - np.min(x.value, axis=axes, keepdims=True)
    merged = (_grown(run, 4) - run.u) * spread * np.log2(n) / 2
    return Pair(mean.value, (1 + _grown(run, 5 * n)) * (mean.error + merged + 2 * n * run.p.tiny))


def _naive(run: Running, x: Pair, mean: Pair, var: np.ndarray) -> np.ndarray:
    """E of mean of x^2 - m^2 by pairs, and two roundings to spare on each for (sum of x^2 - n m^2) / n and its like."""
    del var
    squares = run.rounded(run.mean(run.mul(x, x), _axes(x.value)), 2)
    return run.sub(squares, run.rounded(run.mul(mean, mean), 2)).error


_VARIANCE = {"two-pass": _two_pass, "welford": _welford, "naive": _naive}


# 3 The answers


def bound(y: Any, precision: Precision, *arrays: Any, **options: Any) -> tuple[np.ndarray | None, ...]:
    """Pairs on y = (x - m) r w + b and on the running statistics, for every usual order of the same operations.

    Running statistics: (1 - momentum) old + momentum new, or old + momentum (new - old), whose difference rounds by
    u (|old| + |new|); momentum 0 keeps them exactly, and inference returns them.
    """
    del y
    x, running_mean, running_var, weight, bias = five(arrays)
    run, state = Running(precision), (running_mean, running_var)
    with np.errstate(all="ignore"):
        given = _given(precision, x)
        stats = _statistics(run, given, state, options)
        answer = _answer(run, given, stats, weight, bias)
        if options["training"]:
            return (answer, *_blend(run, stats, state, count(x.shape), options["momentum"]))
    return (answer, *(None if a is None else _given(precision, a).error for a in state))


def _answer(run: Running, x: Pair, stats: _Statistics, weight: Array | None, bias: Array | None) -> np.ndarray:
    """Return the bound of y: the pair of (x - m) r w + b, what its products lose to underflow, and the folded form.

    The folded form is x s + (b - m s) with s = w r. What s itself is wrong by counts for x - m, as above. On top of
    it come the roundings of its own operations with the largest s: 2 of |x| s, 3 of |m| s and 2 of |b|, to first order
    2u |x| s + 3u |m| s + 2u |b|, so within 4u |w| r (|x| + |m|) + 2u |b|.
    """
    y = run.mul(run.sub(x, stats.mean), stats.root)
    lost = [_most(x) + _most(stats.mean), _most(stats.root)]
    scale, shift = lost[1], np.zeros(())
    if weight is not None:
        w = _given(run.p, beside(weight, x.value))
        y, scale = run.mul(y, w), (1 + run.u) * scale * _most(w)
        lost.append(_most(w))
    if bias is not None:
        b = _given(run.p, beside(bias, x.value))
        y, shift = run.add(y, b), _most(b)
    here, there = _most(x) * scale, _most(stats.mean) * scale
    folded = _grown(run, 2) * (here + shift) + _grown(run, 3) * there + 4 * run.p.tiny
    error = _unless(y.error + folded + _lost(run, *lost), here + there + shift + folded, run)
    return run.answer(Pair(y.value, error))


def _blend(
    run: Running, stats: _Statistics, old: tuple[Any, ...], n: int, momentum: float
) -> tuple[np.ndarray | None, ...]:
    """Return the bounds of the running statistics, which are blended in the format that statistics are declared for."""
    if old[0] is None:
        return None, None
    name = run.p.statistics
    if name is not None and not FORMATS[name].holds(run.p.accumulator):
        run = Running(replace(run.p, accumulate=name))
    before, new = _given(run.p, np.stack(old)), stack([stats.mean, run.div(run.mul(stats.var, float(n)), float(n - 1))])
    new = new.map(lambda a: a.reshape(2, -1))
    if momentum == 0:
        error = np.where(np.isfinite(new.error), before.error, np.inf)  # 0 times infinity is no number
        return tuple(store_bound(error, before.value, run.p, exact=True))
    share, rest = _constant(run.p, momentum), _constant(run.p, 1.0 - momentum)
    rest = Pair(rest.value, rest.error + share.error)
    value = run.add(run.mul(before, rest), run.mul(new, share))
    apart = 2 * run.u * momentum * (_most(before) + _most(new))
    return tuple(run.answer(Pair(value.value, value.error + apart)))


# 4 The gradients


def vjp_bound(
    grads: tuple[Any, ...],
    precision: Precision,
    gy: tuple[Any, ...],
    *arrays: Any,
    **options: Any,
) -> tuple[np.ndarray | None, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy, dx = w r (gy - mean of gy - x̂ mean of (gy x̂)), in any usual order."""
    x, running_mean, running_var, weight, bias = five(arrays)
    run, axes = Running(precision), _axes(x)
    with np.errstate(all="ignore"):
        given, g = _given(precision, x), _given(precision, gy[0])
        stats = _statistics(run, given, (running_mean, running_var), options)
        distance = run.sub(given, stats.mean)
        hat = run.mul(distance, stats.root)
        w = None if weight is None else _given(precision, beside(weight, x))
        scale = stats.root if w is None else run.mul(stats.root, w)
        dx = _centred_gradient(run, g, hat, scale) if options["training"] else run.mul(g, scale)
        sizes = _most(g), _most(distance), _most(stats.root)
        weights = np.ones(()) if w is None else _most(w)
        error = dx.error + _reordered(run, sizes, weights, options)
        dw = run.sum(run.mul(g, hat), axes)
        lost = np.sum(_lost(run, *sizes), axis=axes, keepdims=True)
    return (
        run.answer(Pair(dx.value, error)),
        None,
        None,
        None if weight is None else run.answer(Pair(dw.value, dw.error + lost)).ravel(),
        None if bias is None else multilinear_bound(lambda a: np.sum(a, axis=axes), (gy[0],), y=grads[4], p=precision),
    )


def _centred_gradient(run: Running, g: Pair, hat: Pair, scale: Pair) -> Pair:
    """Return dx = scale (gy - mean of gy - x̂ mean of (gy x̂)) of training.

    The three terms may be scaled before they are added, as in the paper's formulas, so that each rounds by its own
    size, at most 5 times after the means. The paper's gradient of the mean also carries the sum of x - m, zero but for
    rounding: another |scale| |mean of (gy x̂)| times the error of x̂.
    """
    axes = _axes(hat.value)
    middle, along = run.mean(g, axes), run.mean(run.mul(g, hat), axes)
    dx = run.mul(run.sub(run.sub(g, middle), run.mul(hat, along)), scale)
    sizes = _most(g) + _most(middle) + _most(hat) * _most(along)
    return Pair(dx.value, dx.error + _most(scale) * (_grown(run, 5) * sizes + _most(along) * hat.error))


def _reordered(run: Running, sizes: tuple[np.ndarray, ...], w: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return what other orders of the products in dx lose to underflow: w r gy and, in training, the paper's.

    There w gy (x - m) is summed before r^3 and x - m multiply it: the sum may overflow where the result does not.
    """
    g, distance, root = sizes
    lost = _lost(run, g, root, w)
    if not options["training"]:
        return lost
    axes = _axes(distance)
    largest = [np.max(a, axis=axes, keepdims=True) for a in (g, distance)]
    lost = lost + _lost(run, *largest, w, root, root, root, distance)
    n = count(distance.shape)
    return _unless(lost, (1 + _grown(run, n + 2)) * w * np.sum(g * distance, axis=axes, keepdims=True), run)
