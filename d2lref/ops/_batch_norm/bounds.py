"""Batch normalisation: how wrong it may be. Running-error pairs (rounding.Running) evaluate each formula once.

What mean, variance and what is normalised with them cost stands in `algorithms.moment_bounds`.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import (
    Statistics,
    centred_gradient,
    constant,
    given,
    grown,
    lost,
    moments,
    most,
    normalised,
    reordered,
    statistics,
    unless,
)
from d2lref.ops._batch_norm.definition import axes, beside, count, five
from d2lref.rounding import FORMATS, Pair, Precision, Running, multilinear_bound, stack, store_bound
from d2lref.spec import Array

# 1 The answers


def _statistics(run: Running, x: Pair, state: tuple[Any, ...], options: dict[str, Any]) -> Statistics:
    """Return the statistics of the batch in training, the given ones in inference."""
    if options["training"]:
        mean, var = moments(run, x, axes(x.value))
    else:
        mean, var = (given(run.p, beside(a, x.value)) for a in state)
    return statistics(run, mean, var, options["eps"])


def _beside(run: Running, a: Array | None, x: Array) -> Pair | None:
    """Return a weight or a bias beside x."""
    return None if a is None else given(run.p, beside(a, x))


def bound(y: Any, precision: Precision, *arrays: Any, **options: Any) -> tuple[np.ndarray | None, ...]:
    """Pairs on y = (x - m) r w + b and on the running statistics, for every usual order of the same operations.

    Running statistics: (1 - momentum) old + momentum new, or old + momentum (new - old), whose difference rounds by
    u (|old| + |new|); momentum 0 keeps them exactly, and inference returns them.
    """
    del y
    x, running_mean, running_var, weight, bias = five(arrays)
    run, state = Running(precision), (running_mean, running_var)
    with np.errstate(all="ignore"):
        read = given(precision, x)
        stats = _statistics(run, read, state, options)
        y = normalised(run, read, stats, _beside(run, weight, x), _beside(run, bias, x))
        if options["training"]:
            return (run.answer(y), *blend_bounds(run, stats, state, count(x.shape), options["momentum"]))
    return (run.answer(y), *(None if a is None else given(precision, a).error for a in state))


def blend_bounds(
    run: Running, stats: Statistics, old: tuple[Any, ...], n: int, momentum: float, images: int = 1
) -> tuple[np.ndarray | None, ...]:
    """Return the bounds of the running statistics, which are blended in the format that statistics are declared for.

    images: how many statistics there are of each channel. Each is blended and the mean taken, or the other way round:
    images - 1 additions and a division more, of the sizes of what is blended.
    """
    if old[0] is None:
        return None, None
    name = run.p.statistics
    if name is not None and not FORMATS[name].holds(run.p.accumulator):
        run = Running(replace(run.p, accumulate=name))
    new = stack([stats.mean, run.div(run.mul(stats.var, float(n)), float(n - 1))]).map(
        lambda a: a.reshape(2, images, -1)
    )
    before = given(run.p, np.stack(old)[:, None, :]).map(lambda a: np.broadcast_to(a, new.shape))
    blended, sizes = _blended(run, before, new, momentum)
    value, error = (np.mean(a, axis=1) for a in (blended.value, blended.error))
    if images > 1:
        error = error + grown(run, images + 3) * np.mean(sizes, axis=1) + (images + 3) * run.p.tiny
        error = unless(error, np.sum(sizes, axis=1) + error, run)
    return tuple(store_bound(error, value, run.p, exact=momentum == 0))


def _blended(run: Running, before: Pair, new: Pair, momentum: float) -> tuple[Pair, np.ndarray]:
    """Return (1 - momentum) before + momentum new, and the sizes of the two terms together."""
    if momentum == 0:
        error = np.where(np.isfinite(new.error), before.error, np.inf)  # 0 times infinity is no number
        return Pair(before.value, error), most(before)
    share, rest = constant(run.p, momentum), constant(run.p, 1.0 - momentum)
    rest = Pair(rest.value, rest.error + share.error)
    old, fresh = run.mul(before, rest), run.mul(new, share)
    value = run.add(old, fresh)
    apart = 2 * run.u * momentum * (most(before) + most(new))
    return Pair(value.value, value.error + apart), most(old) + most(fresh)


# 2 The gradients


def vjp_bound(
    grads: tuple[Any, ...],
    precision: Precision,
    gy: tuple[Any, ...],
    *arrays: Any,
    **options: Any,
) -> tuple[np.ndarray | None, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy, dx = w r (gy - mean of gy - x̂ mean of (gy x̂)), in any usual order."""
    x, running_mean, running_var, weight, bias = five(arrays)
    run, over = Running(precision), axes(x)
    with np.errstate(all="ignore"):
        read, g, w = given(precision, x), given(precision, gy[0]), _beside(run, weight, x)
        stats = _statistics(run, read, (running_mean, running_var), options)
        distance = run.sub(read, stats.mean)
        hat = run.mul(distance, stats.root)
        scale = stats.root if w is None else run.mul(stats.root, w)
        dx = centred_gradient(run, g, hat, scale, over) if options["training"] else run.mul(g, scale)
        sizes = most(g), most(distance), most(stats.root)
        weights = np.ones(()) if w is None else most(w)
        error = dx.error + reordered(run, sizes, weights, over if options["training"] else None)
        dw = run.sum(run.mul(g, hat), over)
        less = np.sum(lost(run, *sizes), axis=over, keepdims=True)
    return (
        run.answer(Pair(dx.value, error)),
        None,
        None,
        None if weight is None else run.answer(Pair(dw.value, dw.error + less)).ravel(),
        None if bias is None else multilinear_bound(lambda a: np.sum(a, axis=over), (gy[0],), y=grads[4], p=precision),
    )
