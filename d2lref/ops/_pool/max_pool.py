"""Max pooling: the largest entry of each window (d2l, section 7.5).

Reading order: shape, definition, faster ways, derivative, how wrong it may be, cases, laws, refusals, mistakes, and the three
ops. `axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._pool import common
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, one_axis_at_a_time, scattered, shifted
from d2lref.rounding import Precision, claim, lattice_unit, round_to, sum_bound
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Shape, Variant

windows_of = partial(grid, "max")

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size + 2 p - d (k - 1) - 1) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that would
    begin in the padding behind the image. Raises ValueError.
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

    x (N, C, *size) to y (N, C, *out), of one dtype; a NaN in a window is its maximum. Options: kernel_size k, stride s (None: k),
    padding p (at most half the window, and never a maximum), dilation d, ceil_mode (also windows that overhang the padding behind,
    unless they begin in it). A dilated window can step over a small image: the maximum of nothing is minus infinity. Raises
    ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5.
    """
    g = windows_of(
        axes, x.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    xp, space = namespace(x), tuple(range(2, axes + 2))
    parts = [x[(..., *cut)] for cut in cuts(g)]
    tops = [xp.max(part, axis=space) if 0 not in part.shape[2:] else xp.full_like(x[..., *(0,) * axes], -np.inf) for part in parts]
    return xp.reshape(xp.stack(tops, axis=-1), (*x.shape[:2], *g.out))


# 3 Faster ways


def by_windows(axes: int, x: Array, **options: Any) -> Array:
    """Gather all windows of the image, with minus infinity around it, and take each one's maximum."""
    g = windows_of(axes, x.shape, **options)
    return namespace(x).max(gathered(g, x, -np.inf), axis=tuple(range(2 + axes, 2 + 2 * axes)))


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Take the larger, entry by entry, of the image and its copies shifted by one tap after the other."""
    return reduce(namespace(x).maximum, shifted(windows_of(axes, x.shape, **options), x, -np.inf))


def by_axes(axes: int, x: Array, **options: Any) -> Array:
    """Take the maximum along one axis after the other: the maximum over a box is one of maxima over its lines.

    A window of k^axes entries costs axes k comparisons (van Herk 1992, Pattern Recognition Letters 13(7), section 2).
    """
    largest = partial(namespace(x).max, axis=-1)
    return one_axis_at_a_time(windows_of(axes, x.shape, **options), x, -np.inf, largest)


# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the windows i whose maximum is at j; the first tap that reaches it counts.

    Returns (gx,), gx (N, C, *size). Where several entries of a window reach the maximum this is one subgradient of many. NaN
    are all largest; a window without an entry of the image sends its gradient nowhere.
    """
    g, xp = windows_of(axes, x.shape, **options), namespace(gy, x)
    hit, taps = _hits(g, x), int(np.prod(g.kernel))
    order = xp.reshape(xp.cumulative_sum(xp.ones_like(xp.reshape(hit[0, 0, ...], (-1,)), dtype=xp.int32)), (1,))
    del order, taps
    return (scattered(g, hit),)
