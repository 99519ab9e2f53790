"""What losses share: from one loss for each place to the answer that `reduction` asks for, and back."""

import math
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import lost, most, unless
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import either
from d2lref.rounding import HOST, Pair, Running, lattice_unit, round_to, store_bound
from d2lref.spec import Array, Draw, Shape

REDUCTIONS = ("mean", "sum", "none")

# 1 Shape, value, derivative


def check_reduction(name: str, reduction: str) -> None:
    """Refuse anything but the three words."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction={reduction!r}, expected 'mean', 'sum' or 'none'")


def check_same(name: str, x: Shape, target: Shape) -> None:
    """Refuse a target of another shape: broadcasting it would compare each number with many."""
    if tuple(x) != tuple(target):
        raise ValueError(f"{name}: target {tuple(target)}, expected {tuple(x)}, the shape of input")


def answer_shape(losses: Shape, reduction: str) -> tuple[Shape]:
    """Return () for a mean or a sum, the shape of the losses for none."""
    return (tuple(losses) if reduction == "none" else (),)


def over(total: Array, count: float) -> Array:
    """Return total / count for a number; NaN for the mean of nothing."""
    return total / count if count else total + math.nan


def reduced(losses: Array, reduction: str) -> Array:
    """Return the losses, their sum, or their mean."""
    if reduction == "none":
        return losses
    total = namespace(losses).sum(losses)
    return total if reduction == "sum" else over(total, math.prod(losses.shape))


def share(gy: Array, losses: Shape, reduction: str) -> Array:
    """Return the cotangent of every loss: gy itself, gy for each, or gy / n."""
    if reduction == "mean":
        gy = gy / max(math.prod(losses), 1)
    return namespace(gy).broadcast_to(gy, losses)


# 2 How wrong it may be


def total(run: Running, a: Pair, axis: int | None = None) -> Pair:
    """Return the sum over an axis, or of all, in any order: sum of e + (k - 1) u sum of (|v| + e), k terms not zero.

    As Running.sum (Jeannerod and Rump 2013), but that a zero adds exactly; 0 on a lattice (`rounding.sum_bound`).
    """
    p = run.p
    with np.errstate(over="ignore", invalid="ignore"):
        size, value = most(a), np.asarray(np.sum(a.value, axis=axis))
        steps = np.maximum(np.count_nonzero(size, axis=axis) - 1.0, 0.0)
        whole, error = np.sum(size, axis=axis), np.sum(a.error, axis=axis)
        relative = steps * (run.u + HOST.u)
        flushed = steps * p.tiny * (1 + relative) if p.flushed else 0.0
        room = 0.0 if p.flushed else min(2.0**p.accumulator.p * lattice_unit(a.value), p.accumulator.fmax)
        exact = (error == 0) & (whole <= room)
        return Pair(value, unless(np.where(exact, 0.0, error + relative * whole + flushed), whole + error, run))


def product(run: Running, *factors: Pair) -> Pair:
    """Return the product of the factors in any order; 0 is exact, and the error infinite where a part may overflow."""
    first, *rest = factors
    y, reach = first, np.maximum(most(first), 1.0)
    for factor in rest:
        y, reach = run.mul(y, factor), reach * np.maximum(most(factor), 1.0)
    less = lost(run, *map(most, factors))
    error = unless(y.error + less, reach, run)
    nothing = np.zeros(y.shape, np.bool_)
    for factor in factors:
        nothing = nothing | ((factor.value == 0) & (factor.error == 0))
    return Pair(y.value, np.where(nothing & np.isfinite(error), 0.0, error))


def reduced_pair(run: Running, losses: Pair, reduction: str) -> Pair:
    """Return the pair of the reduced losses: a mean is the sum divided, or the sum of what was divided before."""
    if reduction == "none":
        return losses
    whole, n = total(run, losses), losses.value.size
    if reduction == "sum":
        return whole
    if not n:
        return Pair.exact(np.asarray(np.nan))
    count = np.asarray(float(n))
    return either(run.div(whole, count), total(run, run.div(losses, count)))


def shared_pair(run: Running, gy: Pair, losses: Shape, reduction: str) -> Pair:
    """Return the pair of the cotangent of every loss."""
    if reduction == "mean":
        gy = run.div(gy, np.asarray(float(max(math.prod(losses), 1))))
    return gy.map(lambda a: np.broadcast_to(a, losses))


def answered(run: Running, a: Pair) -> np.ndarray:
    """Return the bound of the answer: 0 for what is known and held by the format, NaN and infinities among it."""
    known = round_to(a.value, run.p.storage) == a.value
    return np.where(np.isfinite(a.value), store_bound(a.error, a.value, run.p, exact=known), a.error)


# 3 Cases


def draw_reduction(draw: Draw) -> Any:
    """Draw one of the three; shrinks to the mean, which is the default."""
    return draw.choice("mean", "mean", "sum", "none", "none")
