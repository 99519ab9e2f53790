"""What losses of a class share: input (N, C, *places), a target class for each place, one weight for each class.

A row is what lies along the axis of classes, axis 1. A place whose target is ignore_index is left out of everything.
"""

import math
from collections.abc import Sequence

import array_api_compat
import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import either
from d2lref.ops._loss.reduction import check_reduction, total
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array, Draw, Shape

# 1 Shapes


def check_rows(name: str, x: Shape, weight: Shape | None, reduction: str) -> None:
    """Refuse an input without images and classes, a weight that is not one number for each class, a wrong word."""
    check_reduction(name, reduction)
    if len(x) < 2:
        raise ValueError(f"{name}: input {tuple(x)} has {len(x)} axes, expected at least 2: images, classes")
    if weight is not None and tuple(weight) != (x[1],):
        raise ValueError(f"{name}: weight {tuple(weight)}, expected ({x[1]},): one number for each class of {tuple(x)}")


def places(x: Shape) -> Shape:
    """Return the shape of the losses: that of input without its classes."""
    return (x[0], *x[2:])


def classes_of(x: Shape, ignore_index: int) -> Sequence[int]:
    """Return what a target may hold for an input of the shape: its classes, and ignore_index about as often as any."""
    count = x[1] if len(x) > 1 else 1
    return (*range(count), *(ignore_index,) * max(1, count // 4))


# 2 Which class is meant


def check_target(name: str, target: Array, classes: int, ignore_index: int) -> None:
    """Refuse a target that is neither a class nor ignore_index."""
    xp = namespace(target)
    wrong = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if bool(xp.any(wrong)):
        held = int(xp.max(xp.where(wrong, target, xp.full_like(target, -(2**62)))))
        expected = f"a class from 0 to {classes - 1} or ignore_index={ignore_index}"
        raise ValueError(f"{name}: target holds {held}, expected {expected}")


def meant(target: Array, x: Array, ignore_index: int) -> Array:
    """Return which entries of x are those of a target: one in each row, none in a row that is ignored."""
    xp = namespace(target, x)
    kinds = xp.arange(x.shape[1], dtype=target.dtype, device=array_api_compat.device(target))
    kinds = xp.reshape(kinds, (1, -1, *(1,) * (x.ndim - 2)))
    beside = xp.expand_dims(target, axis=1)
    return (kinds == beside) & (beside != ignore_index)


def picked(values: Array, hot: Array) -> Array:
    """Return the entry that is meant in each row, 0 where none is: zeros add exactly."""
    xp = namespace(values)
    return xp.sum(xp.where(hot, values, xp.zeros_like(values)), axis=1)


def beside(weight: Array, x: Array) -> Array:
    """Return the weights of the classes, repeated to the shape of x."""
    xp = namespace(weight, x)
    return xp.broadcast_to(xp.reshape(weight, (1, -1, *(1,) * (x.ndim - 2))), x.shape)


def shares(weight: Array | None, x: Array, hot: Array) -> Array:
    """Return what each place counts for in a mean: the weight of its class, 1 without weights, 0 where ignored."""
    xp = namespace(x)
    return picked(xp.ones_like(x) if weight is None else beside(weight, x), hot)


# 3 Reduction: a mean is over the weights of the targets


def reduced_over(losses: Array, counts: Array, reduction: str) -> Array:
    """Return the losses, their sum, or their sum over that of the counts: NaN where nothing counts."""
    xp = namespace(losses)
    if reduction == "none":
        return losses
    whole = xp.sum(losses)
    return whole if reduction == "sum" else _quotient(whole, xp.sum(counts))


def _quotient(above: Array, below: Array) -> Array:
    """Return above / below, NaN or infinite where nothing counts, of which a library might warn."""
    if float(below):
        return above / below
    return above * math.inf if float(above) else above + math.nan


def share_over(gy: Array, counts: Array, reduction: str) -> Array:
    """Return the cotangent of every loss: gy itself, gy for each, or gy over the sum of the counts."""
    xp = namespace(gy, counts)
    if reduction == "mean":
        gy = _quotient(gy, xp.sum(counts))
    return xp.broadcast_to(gy, counts.shape)


# 4 How wrong it may be


def weights_pair(p: Precision, weight: Array | None, x: Array) -> Pair:
    """Return the pair of the weights beside x; 1 without weights."""
    return given(p, np.ones(x.shape) if weight is None else np.asarray(beside(weight, x)))


def finite(losses: Pair) -> Pair:
    """Return the pair with 0 for what is not finite."""
    known = np.isfinite(losses.value)
    return Pair(np.where(known, losses.value, 0.0), np.where(known, losses.error, 0.0))


def reduced_pair_over(run: Running, losses: Pair, counts: Pair | float, reduction: str) -> Pair:
    """Return the pair of the reduced losses; a mean may divide the sum, or each loss before it is added.

    With infinite losses the sum is known where it is not a matter of rounding which of them there are.
    """
    if reduction == "none":
        return losses
    known = finite(losses)
    whole = total(run, known)
    free = np.isinf(losses.error)
    if reduction == "mean":
        below = Pair.exact(np.asarray(counts)) if isinstance(counts, float) else total(run, counts)
        late, early = run.div(whole, below), total(run, run.div(known, below))
        whole = _over_nothing(either(late, early), whole, below)
    value = np.sum(losses.value)
    if np.isfinite(value):
        return whole
    if reduction == "mean":
        sure = np.abs(below.value) > below.error
        return Pair(np.asarray(value / below.value), np.asarray(np.inf if free.any() or not sure else 0.0))
    return Pair(np.asarray(value), np.asarray(np.inf if free.any() else 0.0))


def _over_nothing(quotient: Pair, above: Pair, below: Pair) -> Pair:
    """Return the quotient; NaN without error where it is 0 / 0, and free where it is another number over 0.

    A sum of means, as torch takes it for smoothed labels, has 0 / 0 among them.
    """
    if below.value != 0:
        return quotient
    nothing = below.error == 0 and above.value == 0 and above.error == 0
    return Pair(quotient.value, np.asarray(0.0 if nothing else np.inf))


def shared_pair_over(run: Running, gy: Pair, counts: Pair | float, shape: Shape, reduction: str) -> Pair:
    """Return the pair of the cotangent of every loss."""
    if reduction == "mean":
        below = Pair.exact(np.asarray(counts)) if isinstance(counts, float) else total(run, counts)
        gy = run.div(gy, below)
    return gy.map(lambda a: np.broadcast_to(a, shape))


# 5 Cases


def draw_rows(draw: Draw) -> list[int]:
    """Draw images, classes and up to two axes of places, now and then no image; shrinks to one class of one image."""
    sizes = list(draw.sizes(*(1,) * draw.choice(2, 2, 3, 4)))
    if draw.integer(0, 31) == 31:
        sizes[0] = 0
    return sizes
