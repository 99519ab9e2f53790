"""Max pooling: the largest entry of each window (d2l, section 7.5). Shape, definition, faster ways, derivative, bounds.

`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops; the letters are those of `grid`.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

from d2lref.arrays import namespace, zeros
from d2lref.ops._pool import largest
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, one_axis_at_a_time, scattered, shifted
from d2lref.rounding import Precision, copy_bound
from d2lref.spec import Array, Shape

windows_of = partial(grid, "max_pool{}d")

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size + 2 p - d (k - 1) - 1) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that
    would begin in the padding behind the image. Raises ValueError.
    """
    return ((*x[:2], *windows_of(axes, x, **options).out),)


# 2 Definition


def definition(
    axes: int,
    x: Array,
    *,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    padding: int | Shape = 0,
    dilation: int | Shape = 1,
    ceil_mode: bool = False,
) -> Array:
    """y[n, c, i] = max over the taps u of x[n, c, i s - p + u d] that lie in the image.

    x (N, C, *size) to y (N, C, *out), of one dtype; a NaN in a window is its maximum. Options: kernel_size k, stride s
    (None: k), padding p (at most half the window, and never a maximum), dilation d, ceil_mode (also windows that
    overhang the padding behind, unless they begin in it). A dilated window can step over a small image: the maximum of
    nothing is minus infinity. Raises ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep
    Learning, section 7.5.
    """
    g = windows_of(
        axes, x.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    tops = [_top(x[(..., *cut)]) for cut in cuts(g)]
    return namespace(x).reshape(namespace(x).stack(tops, axis=-1), (*x.shape[:2], *g.out))


def _top(part: Array) -> Array:
    """Return the maximum of what a window reads, (N, C)."""
    xp = namespace(part)
    if 0 in part.shape[2:]:
        return zeros(part, part.shape[:2]) - math.inf
    return xp.max(part, axis=tuple(range(2, part.ndim)))


# 3 Faster ways


def by_windows(axes: int, x: Array, **options: Any) -> Array:
    """Gather all windows of the image, with minus infinity around it, and take each one's maximum."""
    seen = gathered(windows_of(axes, x.shape, **options), x, -math.inf)
    return namespace(x).max(seen, axis=tuple(range(2 + axes, 2 + 2 * axes)))


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Take the larger, entry by entry, of the image and its copies shifted by one tap after the other."""
    xp = namespace(x)
    first, *others = shifted(windows_of(axes, x.shape, **options), x, -math.inf)
    return reduce(xp.maximum, others, xp.asarray(first, copy=True))


def by_axes(axes: int, x: Array, **options: Any) -> Array:
    """Take the maximum along one axis after the other: the maximum over a box is one of maxima over its lines.

    Serra 1982, Image Analysis and Mathematical Morphology: dilation by a box is dilation by its sides, in turn.
    """
    return one_axis_at_a_time(windows_of(axes, x.shape, **options), x, -math.inf, partial(namespace(x).max, axis=-1))


WAYS: dict[str, Callable[..., Array]] = {"windows": by_windows, "shift": by_shifts, "separable": by_axes}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the windows i whose maximum is at j: the first tap that reaches it.

    Returns (gx,), gx (N, C, *size). Where several entries of a window reach the maximum this is one subgradient of
    many. All NaN are largest; a window without an entry of the image sends its gradient nowhere.
    """
    g = windows_of(axes, x.shape, **options)
    return (_back(g, largest.to_the_first(_hits(g, x), gy)),)


def _hits(g: Grid, x: Array) -> Array:
    """Return which taps of each window reach its maximum: booleans (N, C, *out, taps)."""
    xp, taps = namespace(x), math.prod(g.kernel)
    seen = xp.reshape(gathered(g, x, -math.inf), (*x.shape[:2], *g.out, taps))
    outside = xp.reshape(gathered(g, zeros(x, (1, 1, *g.size)), 1.0), (1, 1, *g.out, taps))
    return largest.hits(seen) & (outside == 0)


def _back(g: Grid, parts: Array) -> Array:
    """Return parts (N, C, *out, taps) added back where they were read, (N, C, *size)."""
    return scattered(g, namespace(parts).reshape(parts, (*parts.shape[:-1], *g.kernel)))


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0: a maximum is one of the entries, bit for bit (rounding.copy_bound)."""
    del axes, options
    return copy_bound(y, p, x)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """`largest.tie_bound`: every subgradient is right, and K windows whose maximum is at j are added."""
    g = windows_of(axes, x.shape, **options)
    return (largest.tie_bound(partial(_back, g), _hits(g, largest.flushed(x, p)), grads[0], p, gy),)
