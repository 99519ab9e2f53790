"""Adaptive max pooling: shape, definition, faster ways, derivative, bounds.

`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops; the letters are those of `shares`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from d2lref.algorithms.gather import Table, read_axes, reduced, returned_axes
from d2lref.arrays import namespace, zeros
from d2lref.ops._adaptive_pool.shares import Sizes, cuts, out, shares
from d2lref.ops._pool import largest
from d2lref.rounding import Precision, copy_bound
from d2lref.spec import Array, Shape

shares_of = partial(shares, "adaptive_max_pool{}d")

# 1 Shape


def shape(axes: int, x: Shape, *, output_size: Sizes) -> tuple[Shape]:
    """Return ((N, C, *output_size),) for x (N, C, *size), None being the size of its axis. Raises ValueError."""
    return ((*x[:2], *out(shares_of(axes, x, output_size))),)


# 2 Definition


def definition(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """y[n, c, i] = max of x[n, c, j] over the entries j from floor(i size / m) up to ceil((i + 1) size / m).

    x (N, C, *size) to y (N, C, *m), of one dtype; a NaN in a window is its maximum. output_size m is an integer for all
    axes, or one for each, None (in 2-D and 3-D) for the size of x. Windows overlap by an entry where m does not divide
    the size; with m = 1 one window is the whole image, with m = size it is one entry. Raises ValueError (see `shape`).
    Source: He, Zhang, Ren and Sun 2015, Spatial pyramid pooling, appendix A;
    torch.nn.functional.adaptive_max_pool2d.
    """
    xp, tables = namespace(x), shares_of(axes, x.shape, output_size)
    space = tuple(range(2, axes + 2))
    tops = [xp.max(x[(..., *cut)], axis=space) for cut in cuts(tables)]
    return xp.reshape(xp.stack(tops, axis=-1), (*x.shape[:2], *out(tables)))


# 3 Faster ways


def by_windows(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """Gather all windows, with minus infinity where a window is narrower than the widest, and take their maxima."""
    seen = read_axes(shares_of(axes, x.shape, output_size), x, -math.inf)
    return namespace(x).max(seen, axis=tuple(range(2 + axes, 2 + 2 * axes)))


def by_axes(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """Take the maximum along one axis after the other: the maximum over a box is one of maxima over its lines.

    Serra 1982, Image Analysis and Mathematical Morphology: dilation by a box is dilation by its sides, in turn.
    """
    return reduced(shares_of(axes, x.shape, output_size), x, -math.inf, namespace(x).max)


WAYS: dict[str, Callable[..., Array]] = {"windows": by_windows, "separable": by_axes}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, *, output_size: Sizes) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the windows i whose maximum is at j: the first entry that reaches it.

    Returns (gx,), gx (N, C, *size). Where several entries of a window reach the maximum this is one subgradient of
    many. All NaN are largest.
    """
    tables = shares_of(axes, x.shape, output_size)
    return (_back(tables, largest.to_the_first(_hits(tables, x), gy)),)


def _hits(tables: tuple[Table, ...], x: Array) -> Array:
    """Return which entries of each window reach its maximum: booleans (N, C, *m, entries of the widest window)."""
    xp, entries = namespace(x), math.prod(t.place.shape[1] for t in tables)
    there = read_axes(tables, zeros(x, (1, 1, *x.shape[2:])) + 1, 0.0)
    hit = largest.hits(xp.reshape(read_axes(tables, x, -math.inf), (*x.shape[:2], *out(tables), entries)))
    return hit & (xp.reshape(there, (1, 1, *out(tables), entries)) == 1)


def _back(tables: tuple[Table, ...], parts: Array) -> Array:
    """Return parts (N, C, *m, entries) added back where they were read, (N, C, *size)."""
    widths = tuple(t.place.shape[1] for t in tables)
    return returned_axes(tables, namespace(parts).reshape(parts, (*parts.shape[:-1], *widths)))


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0: a maximum is one of the entries, bit for bit (rounding.copy_bound)."""
    del axes, options
    return copy_bound(y, p, x)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, *, output_size: Sizes) -> tuple[Array]:
    """`_pool.largest.tie_bound`: every subgradient is right, and K windows whose maximum is at j are added."""
    tables = shares_of(axes, x.shape, output_size)
    hit = _hits(tables, largest.flushed(x, p))
    return (largest.tie_bound(partial(_back, tables), hit, grads[0], p, gy),)
