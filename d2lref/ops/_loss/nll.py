"""nll_loss: what is paid for the class that came true, minus the logarithm of its probability."""

import math
from typing import Any

import array_api_compat
import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.arrays import namespace
from d2lref.ops._loss.classes import (
    beside,
    check_rows,
    check_target,
    classes_of,
    draw_rows,
    meant,
    picked,
    places,
    reduced_over,
    reduced_pair_over,
    share_over,
    shared_pair_over,
    shares,
    weights_pair,
)
from d2lref.ops._loss.reduction import answered, draw_reduction, product
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array, Draw, Form, Shape

# 1 Shape


def shape(
    x: Shape, target: Shape, weight: Shape | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> tuple[Shape]:
    """Return () or the shape of the target, which is that of input (N, C, *places) without C. Raises ValueError."""
    del ignore_index
    check_rows("nll_loss", x, weight, reduction)
    if tuple(target) != places(x):
        wanted = f"{places(x)}: one class for each place of input {tuple(x)}"
        raise ValueError(f"nll_loss: target {tuple(target)}, expected {wanted}")
    return (places(x) if reduction == "none" else (),)


def indices(x: Shape, _target: Shape, _weight: Shape | None = None, *, ignore_index: int, **_other: Any) -> Any:
    """Return the classes and ignore_index."""
    return classes_of(x, ignore_index)


def _seen(x: Array, target: Array, weight: Array | None, options: dict[str, Any]) -> tuple[Array, Array]:
    """Return which entries are meant, and what each place counts for. Raises ValueError."""
    shape(tuple(x.shape), tuple(target.shape), None if weight is None else tuple(weight.shape), **options)
    check_target("nll_loss", target, x.shape[1], options["ignore_index"])
    hot = meant(target, x, options["ignore_index"])
    return hot, shares(weight, x, hot)


# 2 Definition


def definition(
    x: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """l = -w[target] x[target], place by place, 0 where the target is ignore_index; x are logarithms of probabilities.

    y is the sum of l over the sum of w[target] at the places that count ("mean", NaN when that is 0 / 0), the sum of l,
    or l itself. input (N, C, *places), target (N, *places) of integers, weight (C,), 1 where it is absent. Raises
    ValueError for shapes that do not fit and for a target outside the classes. Source: Zhang, Lipton, Li and Smola,
    Dive into Deep Learning, section 4.1.2; the weighted mean as in torch.
    """
    options = {"ignore_index": ignore_index, "reduction": reduction}
    hot, counts = _seen(x, target, weight, options)
    losses = picked(-x if weight is None else -(x * beside(weight, x)), hot)
    return reduced_over(losses, counts, reduction)


# 3 Another way


def by_indexing(
    x: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """Rows of classes, one number taken out of each: nothing is added that need not be."""
    options = {"ignore_index": ignore_index, "reduction": reduction}
    _, counts = _seen(x, target, weight, options)
    xp = namespace(x, target)
    rows = xp.reshape(xp.permute_dims(x, (0, *range(2, x.ndim), 1)), (math.prod(target.shape), x.shape[1]))
    flat = xp.reshape(target, (-1,))
    counted = flat != ignore_index
    at = xp.where(counted, flat, xp.zeros_like(flat))
    lines = xp.arange(rows.shape[0], dtype=flat.dtype, device=array_api_compat.device(x)) * x.shape[1]
    chosen = xp.take(xp.reshape(rows, (-1,)), lines + at, axis=0)
    scaled = chosen if weight is None else chosen * xp.take(weight, at, axis=0)
    losses = xp.where(counted, -scaled, xp.zeros_like(scaled))
    return reduced_over(xp.reshape(losses, target.shape), counts, reduction)


# 4 Derivative


def vjp(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[Array, None, None]:
    """dx = -g w[target] at the class of the target, 0 elsewhere; g the cotangent of every loss (classes.share_over)."""
    xp = namespace(x)
    hot, counts = _seen(x, target, weight, {"ignore_index": ignore_index, "reduction": reduction})
    g = xp.broadcast_to(xp.expand_dims(share_over(gy, counts, reduction), axis=1), x.shape)
    scaled = -g if weight is None else -(g * beside(weight, x))
    return xp.where(hot, scaled, xp.zeros_like(x)), None, None


# 5 How wrong it may be


def bound(
    y: Array,
    precision: Precision,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> np.ndarray:
    """Selection is exact; pairs on one product, on the sums, exact on lattices, and on a quotient (reduction.total)."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        hot = np.asarray(meant(target, x, ignore_index))
        w, row = weights_pair(precision, weight, x), given(precision, -x)
        losses = row if weight is None else product(run, row, w)
        losses = Pair(np.where(np.isfinite(x), losses.value, row.value * w.value), losses.error)
        losses = Pair(losses.value, np.where(np.isnan(losses.value) & ~np.isnan(x), np.inf, losses.error))
        losses = Pair(losses.value, np.where(np.isinf(x) & ~np.isnan(losses.value), 0.0, losses.error))
        chosen = Pair(picked(losses.value, hot), picked(losses.error, hot))
        counts = Pair(picked(w.value, hot), picked(w.error, hot))
        return answered(run, reduced_pair_over(run, chosen, counts, reduction))


def vjp_bound(
    grads: tuple[Any, ...],
    precision: Precision,
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> tuple[np.ndarray, None, None]:
    """Pairs on g w, its quotient taken first or last; 0 must be 0; infinite where nothing counts."""
    del grads
    run = Running(precision)
    with np.errstate(all="ignore"):
        hot = np.asarray(meant(target, x, ignore_index))
        w = weights_pair(precision, weight, x)
        counts = Pair(picked(w.value, hot), picked(w.error, hot))
        g = shared_pair_over(run, given(precision, gy), counts, counts.shape, reduction)
        g = g.map(lambda a: np.broadcast_to(np.expand_dims(a, 1), x.shape))
        dx = g if weight is None else product(run, g, w)
        if reduction == "mean" and weight is not None:
            dx = Pair(dx.value, dx.error + run.rounded(Pair.exact(dx.value)).error)
        error = np.where(np.isfinite(dx.value), run.answer(dx), np.inf)
        return np.where(hot, error, 0.0), None, None


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw rows of classes with a target each; ignore_index lies below the classes, among them, or above."""
    sizes = draw_rows(draw)
    weight = draw.choice(None, (sizes[1],))
    options = {"ignore_index": draw.choice(-100, -100, 0, sizes[1] - 1, 1000), "reduction": draw_reduction(draw)}
    return Form((tuple(sizes), places(tuple(sizes)), weight), options)
