"""Interpolation: shape, definition, faster ways, derivative. The letters are those of `positions`."""

from functools import reduce
from itertools import product
from operator import add
from typing import Any

import array_api_compat
import numpy as np

from d2lref.algorithms.gather import read, returned
from d2lref.arrays import namespace
from d2lref.ops._interpolate.positions import Axis, axes_of, between, matrix, nearest
from d2lref.spec import Array, Shape

# 1 Shape


def shape(x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *m),) for x (N, C, *n): m = size, or floor(n scale_factor). Raises ValueError."""
    return ((*x[:2], *(axis.m for axis in axes_of(x, **options))),)


# 2 Definition


def definition(
    x: Array,
    *,
    size: int | Shape | None = None,
    scale_factor: float | tuple[float, ...] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:
    """y[n, c, i] = sum over the corners u of w(i, u) x[n, c, floor(s(i)) + u], the product of a weight for each axis.

    "nearest" and "nearest-exact" have one corner, which they copy: s(i) = i r and (i + 1/2) r, in 1 to 3 axes of space.
    "linear", "bilinear" and "trilinear", for 1, 2 and 3 axes, have two corners along each, with weights 1 - l and l for
    l = s(i) - floor(s(i)): s(i) = (i + 1/2) r - 1/2, at least 0, or with align_corners i (n - 1) / (m - 1), which is 0
    for m = 1. The step r is n / m when a size m is given, 1 / scale_factor when that is. x (N, C, *n) to y (N, C, *m),
    of one dtype; size and scale_factor are numbers for all axes, or one for each. Raises ValueError (see `shape`).
    Source: Long, Shelhamer and Darrell 2015, Fully convolutional networks, section 3.3; torch.nn.functional.interpolate
    """
    axes = axes_of(x.shape, size=size, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
    if axes[0].mode != "linear":
        return _copied(axes, x)
    corners = product((0, 1), repeat=len(axes))
    return reduce(add, (_corner(axes, x, corner) for corner in corners))


def _corner(axes: tuple[Axis, ...], x: Array, corner: tuple[int, ...]) -> Array:
    """Return w(i, u) x[floor(s(i)) + u] for one corner u."""
    xp, device = namespace(x), array_api_compat.device(x)
    weights = [between(axis)[1][:, u] for axis, u in zip(axes, corner, strict=True)]
    for place, (axis, u) in enumerate(zip(axes, corner, strict=True), start=2):
        x = xp.take(x, xp.asarray(between(axis)[0].place[:, u], device=device), axis=place)
    return x * xp.asarray(reduce(np.multiply.outer, weights), dtype=x.dtype, device=device)


def _copied(axes: tuple[Axis, ...], x: Array) -> Array:
    """Return the nearest entries."""
    for place, axis in enumerate(axes, start=2):
        x = read(nearest(axis), x, place, 0.0)[(*(slice(None),) * (place + 1), 0, ...)]
    return x


# 3 Faster ways


def by_passes(x: Array, **options: Any) -> Array:
    """Interpolate along one axis after the other: the weights of a corner are products."""
    xp = namespace(x)
    for place, axis in enumerate(axes_of(x.shape, **options), start=2):
        table, weights = between(axis)
        x = xp.sum(read(table, x, place, 0.0) * _weights(x, weights, place), axis=place + 1, dtype=x.dtype)
    return x


def _weights(x: Array, weights: np.ndarray, place: int) -> Array:
    """Return weights (m, 2) in the library of x, to stand at `place` and the next axis of an array with one more."""
    shape = (*weights.shape, *(1,) * (x.ndim - place - 1))
    return namespace(x).asarray(weights.reshape(shape), dtype=x.dtype, device=array_api_compat.device(x))


def by_matrices(x: Array, **options: Any) -> Array:
    """Multiply by one matrix (m, n) along each axis, the weights of the position in each row."""
    xp, device = namespace(x), array_api_compat.device(x)
    for place, axis in enumerate(axes_of(x.shape, **options), start=2):
        line = xp.asarray(matrix(axis), dtype=x.dtype, device=device)
        x = xp.moveaxis(xp.tensordot(x, line, axes=((place,), (1,))), -1, place)
    return x


# 4 Derivative


def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the entries i that read j, times the weights with which they do.

    Returns (gx,), gx (N, C, *n).
    """
    return (back(axes_of(x.shape, **options), gy),)


def back(axes: tuple[Axis, ...], gy: Array) -> Array:
    """Return the adjoint of the interpolation."""
    xp = namespace(gy)
    for place, axis in reversed(list(enumerate(axes, start=2))):
        parts = xp.expand_dims(gy, axis=place + 1)
        if axis.mode == "linear":
            table, weights = between(axis)
            parts = parts * _weights(gy, weights, place)
        else:
            table = nearest(axis)
        gy = returned(table, parts, place)
    return gy
