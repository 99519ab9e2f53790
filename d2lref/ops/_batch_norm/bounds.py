"""Batch normalisation: how wrong it may be. Running-error pairs (rounding.Running) evaluate each formula once.

u is the unit roundoff of the accumulator, n the number of values of a channel, d = x - m. Sources:
  Higham 2002, Accuracy and Stability of Numerical Algorithms (ASNA), chapters 1 and 3;
  Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3) (CGL).
"""

from typing import Any, NamedTuple

import numpy as np

from d2lref.ops._batch_norm.definition import beside, count, five
from d2lref.rounding import Pair, Precision, Running, multilinear_bound, round_to, store_bound
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


def _most(a: Pair) -> Pair:
    """|v| + e: the largest size that the computed number can have, without error."""
    return Pair.exact(np.abs(a.value) + a.error)


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
    class squares differences below 2 (|d| + e), so that the error is infinite where their mean may overflow; the
    squares, their sum and the division underflow by at most tiny each.
    """
    p, axes = run.p, _axes(x.value)
    mean = run.mean(x, axes)
    distance = run.sub(x, mean)
    var = np.mean(distance.value * distance.value, axis=axes, keepdims=True)
    if _class(p) == "welford":
        mean = _updated_mean(run, x, mean)
    stored = run.stored(mean, p.statistics)
    slip = np.max(x.error, axis=axes, keepdims=True)
    error = _VARIANCE[_class(p)](run, x, stored, var) + 2 * np.sqrt(var) * slip + slip * slip + 4 * p.tiny
    widest = _most(distance) * 2.0
    fits = np.isfinite(run.mean(run.mul(widest, widest), axes).error)
    return stored, run.stored(Pair(var, np.where(fits, error, np.inf)), p.statistics)


def _class(p: Precision) -> str:
    """Return the variance class: the one that the algorithm names, else that of the precision."""
    return p.algorithm if p.algorithm in _VARIANCE else p.variance


def _grown(run: Running, roundings: int) -> float:
    """(1 + u)^k - 1: the largest relative error of k roundings in a row (ASNA, section 3.1)."""
    return float(np.expm1(roundings * np.log1p(run.u)))


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

    y: besides (x - m) r w + b there is the folded form x s + (b - m s) with s = w r. What s itself is wrong by counts
    for x - m, as above; on top of it come the roundings of fl(|x| s + fl(|b| + fl(|m| s))) on absolute values, with the
    largest s: at most 2u |x| s + 3u |m| s + 2u |b| to first order, so within 4u |w| r (|x| + |m|) + 2u |b|.
    Running statistics: (1 - momentum) old + momentum new, or old + momentum (new - old), whose difference rounds by
    u (|old| + |new|); momentum 0 keeps them exactly, and inference returns them.
    """
    del y
    x, running_mean, running_var, weight, bias = five(arrays)
    run = Running(precision)
    with np.errstate(all="ignore"):
        given = _given(precision, x)
        stats = _statistics(run, given, (running_mean, running_var), options)
        answer = _answer(run, given, stats, weight, bias)
        return (answer, *_state(run, stats, (running_mean, running_var), count(x.shape), options))


def _answer(run: Running, x: Pair, stats: _Statistics, weight: Array | None, bias: Array | None) -> np.ndarray:
    """Return the bound of y: the pair of the centred form and the roundings of the folded one."""
    y, scale = run.mul(run.sub(x, stats.mean), stats.root), stats.root
    if weight is not None:
        w = _given(run.p, beside(weight, x.value))
        y, scale = run.mul(y, w), run.mul(scale, w)
    folded = run.mul(_most(stats.mean), _most(scale))
    if bias is not None:
        b = _given(run.p, beside(bias, x.value))
        y, folded = run.add(y, b), run.add(folded, _most(b))
    folded = run.add(run.mul(_most(x), _most(scale)), folded)
    return run.answer(Pair(y.value, y.error + folded.error))


def _state(
    run: Running, stats: _Statistics, old: tuple[Any, ...], n: int, options: dict[str, Any]
) -> tuple[np.ndarray | None, ...]:
    """Return the bounds of the running statistics."""
    if not options["training"]:
        return tuple(None if a is None else np.zeros(a.shape) for a in old)
    unbiased = run.div(run.mul(stats.var, float(n)), float(n - 1))
    return tuple(
        None if a is None else _blend(run, _given(run.p, a), new.map(np.ravel), options["momentum"])
        for a, new in zip(old, (stats.mean, unbiased), strict=True)
    )


def _blend(run: Running, old: Pair, new: Pair, momentum: float) -> np.ndarray:
    """Return the bound of (1 - momentum) old + momentum new."""
    if momentum == 0:
        error = np.where(np.isfinite(new.error), old.error, np.inf)  # 0 times infinity is no number
        return store_bound(error, old.value, run.p, exact=True)
    share, rest = _constant(run.p, momentum), _constant(run.p, 1.0 - momentum)
    rest = Pair(rest.value, rest.error + share.error)
    value = run.add(run.mul(rest, old), run.mul(share, new))
    apart = 2 * run.u * momentum * (_most(old).value + _most(new).value)
    return run.answer(Pair(value.value, value.error + apart))


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
        w = Pair.exact(np.ones(())) if weight is None else _given(precision, beside(weight, x))
        scale = run.mul(stats.root, w)
        dx = run.mul(g, scale)
        if options["training"]:
            dx = _centred_gradient(run, g, hat, scale)
            dx = _unscaled(run, dx, g, distance, w)
        dw = run.sum(run.mul(g, hat), axes)
    return (
        run.answer(dx),
        None,
        None,
        None if weight is None else run.answer(dw).ravel(),
        None if bias is None else multilinear_bound(lambda a: np.sum(a, axis=axes), (gy[0],), y=grads[4], p=precision),
    )


def _centred_gradient(run: Running, g: Pair, hat: Pair, scale: Pair) -> Pair:
    """Return dx = scale (gy - mean of gy - x̂ mean of (gy x̂)) of training.

    The three terms may be scaled before they are added, as in the paper's formulas, so that each rounds by its own
    size: the same formula on absolute values has those roundings. The paper's gradient of the mean also carries the
    sum of x - m, zero but for rounding: another |scale| |mean of (gy x̂)| times the error of x̂.
    """
    axes = _axes(hat.value)
    middle, along = run.mean(g, axes), run.mean(run.mul(g, hat), axes)
    dx = run.mul(run.sub(run.sub(g, middle), run.mul(hat, along)), scale)
    sizes = run.add(run.add(_most(g), _most(middle)), run.mul(_most(hat), _most(along)))
    apart = run.mul(sizes, _most(scale)).error
    residue = _most(scale).value * _most(along).value * hat.error
    return Pair(dx.value, dx.error + apart + residue)


def _unscaled(run: Running, dx: Pair, g: Pair, distance: Pair, w: Pair) -> Pair:
    """Return dx with what the paper's order of operations loses: w gy (x - m) is summed before r^3 multiplies it.

    The sum may overflow (then the error is infinite) where the result does not, and r^3 underflow.
    """
    total = run.sum(run.mul(run.mul(_most(g), _most(w)), _most(distance)), _axes(distance.value))
    lost = 2 * run.p.tiny * _most(total).value * _most(distance).value / count(distance.shape)
    return Pair(dx.value, dx.error + lost)
