"""What layer, group and instance normalisation have in common: values side by side, and what is done with each row.

A View says which values of an array share a mean and a variance, and has weight and bias stand beside them.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms import moments
from d2lref.algorithms.moment_bounds import (
    Statistics,
    centred_gradient,
    given,
    lost,
    most,
    normalised,
    reordered,
    statistics,
    uncentred_gradient,
    weight_gradient,
)
from d2lref.algorithms.moment_bounds import moments as moments_of
from d2lref.arrays import namespace
from d2lref.rounding import FORMATS, Pair, Precision, Running, multilinear_bound
from d2lref.spec import Array, Shape


class View(NamedTuple):
    """x with the axes that a mean and a variance run over; weight and bias, None or with the axes of x, beside it."""

    x: Array
    weight: Array | None
    bias: Array | None
    axes: moments.Axes

    def beside(self, a: Array) -> Array:
        """Return an array of the shape of the input, such as a cotangent, as the view has x."""
        return namespace(a).reshape(a, self.x.shape)


def shapes(*arrays: Array | None) -> Any:
    """Return the shapes of the arrays, None for an absent one."""
    return tuple(None if a is None else tuple(a.shape) for a in arrays)


def reshaped(a: Array | None, shape: Shape) -> Any:
    """Return the array in another shape, None for an absent one."""
    return None if a is None else namespace(a).reshape(a, shape)


def padded(arrays: Sequence[Any], count: int) -> tuple[Any, ...]:
    """Return so many arrays, with None for those left out at the end."""
    return (*arrays, *(None,) * (count - len(arrays)))


# 1 Refusals


def check_affine(name: str, expected: Shape, words: str, **arrays: Shape | None) -> None:
    """Refuse a weight or a bias of another shape than expected."""
    for what, found in arrays.items():
        if found is not None and tuple(found) != expected:
            raise ValueError(f"{name}: {what} {tuple(found)}, expected {expected}: one number for each {words}")


def check_eps(name: str, eps: float) -> None:
    """Refuse a negative eps."""
    if not eps >= 0:
        raise ValueError(f"{name}: eps={eps}, expected a number >= 0")


def check_trailing(name: str, x: Shape, normalized_shape: Any) -> Shape:
    """Return normalized_shape as a tuple. Raises ValueError unless it is how x ends and holds a value."""
    if not isinstance(normalized_shape, tuple | list):
        raise ValueError(f"{name}: normalized_shape={normalized_shape!r}, expected a tuple of sizes")
    sizes = tuple(normalized_shape)
    if not sizes or sizes != x[-len(sizes) :]:
        raise ValueError(f"{name}: normalized_shape={sizes}, expected one or more of the last sizes of x {x}")
    if 0 in sizes:
        raise ValueError(f"{name}: normalized_shape={sizes} holds 0 values, expected at least 1")
    return sizes


# 2 Definition and derivative


def normalise(
    v: View, eps: float, of: moments.Moments = moments.two_pass, apply: moments.Apply = moments.centred
) -> Array:
    """y = w (x - m) / sqrt(v + eps) + b, in the shape of the view."""
    mean, var = of(v.x, v.axes)
    return apply(v.x, mean, namespace(v.x).sqrt(var + eps), v.weight, v.bias)


def gradients(gy: Array, v: View, eps: float) -> tuple[Any, Any, Any]:
    """dx = (g - mean of g - x̂ mean of (g x̂)) / root with g = w gy; dw = sum of gy x̂; db = sum of gy."""
    mean, var = moments.two_pass(v.x, v.axes)
    root = namespace(v.x).sqrt(var + eps)
    hat = (v.x - mean) / root
    dx = moments.gradient(gy if v.weight is None else gy * v.weight, hat, root, v.axes)
    return dx, *moments.affine_gradients(gy, hat, v.weight, v.bias)


# 3 How wrong they may be


def _read(run: Running, v: View) -> tuple[Pair, Pair | None, Pair | None]:
    """Return x, weight and bias as they are read."""
    weight, bias = (None if a is None else given(run.p, a) for a in (v.weight, v.bias))
    return given(run.p, v.x), weight, bias


def own_statistics(run: Running, x: Pair, axes: moments.Axes, eps: float) -> Statistics:
    """Return mean, variance and 1 / root of the values themselves."""
    return statistics(run, *moments_of(run, x, axes), eps)


def bound(v: View, eps: float, precision: Precision) -> np.ndarray:
    """Return the bound of y, in the shape of the view, for every usual order of the operations (`normalised`)."""
    run = Running(precision)
    with np.errstate(all="ignore"):
        x, weight, bias = _read(run, v)
        return run.answer(normalised(run, x, own_statistics(run, x, v.axes, eps), weight, bias))


def vjp_bound(gy: Array, v: View, eps: float, db: Any, precision: Precision) -> tuple[Any, Any, Any]:
    """Return the bounds of dx, dw and db: pairs on their formulas, centred or not, and other orders of the products."""
    run = Running(precision)
    with np.errstate(all="ignore"):
        x, weight, _ = _read(run, v)
        g, stats = given(precision, gy), own_statistics(run, x, v.axes, eps)
        distance = run.sub(x, stats.mean)
        hat = run.mul(distance, stats.root)
        sent = g if weight is None else run.mul(g, weight)
        dx = centred_gradient(run, sent, hat, stats.root, v.axes)
        apart = uncentred_gradient(run, sent, x, stats, v.axes)
        sizes = most(g), most(distance), most(stats.root)
        other = reordered(run, sizes, np.ones(()) if weight is None else most(weight), v.axes)
        dw = None if v.weight is None else _weight_bound(run, g, x, stats, hat, v)
        error = np.maximum(dx.error, apart) + other
        db = bias_bound(gy, v.bias, db, precision)
        if v.bias is not None:
            db = db + (1 + precision.stored.u) * kept(run, db, np.abs(gy), v.bias, v.axes)
    return run.answer(Pair(dx.value, error)), dw, db


def _weight_bound(run: Running, g: Pair, x: Pair, stats: Statistics, hat: Pair, v: View) -> np.ndarray:
    """Return the bound of dw, and what other orders of its products lose to underflow."""
    over = moments.constant(v.weight)
    dw = weight_gradient(run, g, x, stats, hat, over)
    less = np.sum(lost(run, most(g), most(x) + most(stats.mean), most(stats.root)), axis=over, keepdims=True)
    error = dw.error + less
    return run.answer(Pair(dw.value, error + kept(run, error, most(g) * most(hat), v.weight, v.axes)))


def kept(run: Running, error: np.ndarray, sizes: np.ndarray, of: Array, axes: moments.Axes) -> np.ndarray | float:
    """((1 + u)^k - 1) (S + E) + k eta: what a sum over k examples loses that is kept in the format of statistics.

    S adds up the sizes of what they contribute to the gradient of `of`; an example is what lies along the axes of its
    statistics. A contribution is rounded to that format at most k times, before it is added and with every sum that it
    is in (ASNA, section 4.2).
    """
    if run.p.statistics is None or (form := FORMATS[run.p.statistics]).holds(run.p.accumulator):
        return 0.0
    over = moments.constant(of)
    k = math.prod(sizes.shape[axis] for axis in over if axis not in axes)
    size = np.sum(sizes, axis=over, keepdims=True) + error
    return np.asarray(math.expm1(k * math.log1p(form.u)) * size + k * (form.nmin if run.p.flushed else form.eta))


def bias_bound(gy: Array, bias: Array | None, db: Any, precision: Precision) -> Any:
    """Return the bound of db, a sum of cotangents; None for an absent bias."""
    if bias is None:
        return None
    over = moments.constant(bias)
    return multilinear_bound(
        lambda a: np.sum(a, axis=over, keepdims=True), (gy,), y=np.reshape(db, bias.shape), p=precision
    )
