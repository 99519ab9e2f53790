"""Average pooling: the mean of each window (d2l, section 7.5). Shape, definition, faster ways, derivative, bounds.

`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops; the letters are those of `grid`.
"""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import namespace, remembered, zeros
from d2lref.ops._pool import mean
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, one_axis_at_a_time, padded, returned, sums
from d2lref.rounding import Precision, multilinear_spread
from d2lref.spec import Array, Shape

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size + 2 p - k) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that would begin in
    the padding behind the image. Raises ValueError.
    """
    return ((*x[:2], *plan(axes, x, **options)[0].out),)


@remembered
def plan(
    axes: int, x: Shape, *, count_include_pad: bool = True, divisor_override: int | None = None, **options: Any
) -> tuple[Grid, Array]:
    """Return where the windows lie and what each is divided by (float64, shape `out`). Raises ValueError."""
    g = grid("avg_pool{}d", axes, x, **options)
    if divisor_override is None:
        return g, reduce(np.multiply.outer, _counts(g, padding_too=count_include_pad))
    if axes == 1:
        raise ValueError("avg_pool1d: has no divisor_override; avg_pool2d and avg_pool3d have")
    if divisor_override == 0:
        raise ValueError(f"avg_pool{axes}d: divisor_override=0, expected None or another integer")
    return g, np.full(g.out, float(divisor_override))


def _counts(g: Grid, *, padding_too: bool) -> list[Array]:
    """Return along each axis how many entries a window reads: of image and padding, or of the image alone.

    What overhangs both never counts.
    """
    counts = []
    for axis, (k, n, p) in enumerate(zip(g.kernel, g.size, g.padding, strict=True)):
        start, margin = np.array(g.starts(axis)), p if padding_too else 0
        counts.append((np.minimum(start + k, n + margin) - np.maximum(start, -margin)).astype(np.float64))
    return counts


# 2 Definition


def definition(
    axes: int,
    x: Array,
    *,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    padding: int | Shape = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """y[n, c, i] = (sum over the taps u of x[n, c, i s - p + u] that lie in the image) / (how many taps count).

    x (N, C, *size) to y (N, C, *out), of one dtype. Options: kernel_size k, stride s (None: k), padding p (zeros, at
    most half the window), ceil_mode (also windows that overhang the padding behind, unless they begin in it),
    count_include_pad (taps in the padding count; taps that overhang it never do), divisor_override (2-D and 3-D: divide
    by this instead). Raises ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning,
    section 7.5.
    """
    g, divisor = plan(
        axes,
        x.shape,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    xp = namespace(x)
    total = partial(xp.sum, axis=tuple(range(2, axes + 2)), dtype=x.dtype)
    means = [total(x[(..., *cut)]) / d for cut, d in zip(cuts(g), divisor.ravel().tolist(), strict=True)]
    return xp.reshape(xp.stack(means, axis=-1), (*x.shape[:2], *g.out))


# 3 Faster ways


def by_windows(axes: int, x: Array, **options: Any) -> Array:
    """Gather all windows of the image, with zeros around it, sum and divide."""
    g, divisor = plan(axes, x.shape, **options)
    space = tuple(range(2 + axes, 2 + 2 * axes))
    return namespace(x).sum(gathered(g, x, 0.0), axis=space, dtype=x.dtype) / _like(x, divisor)


def _like(x: Array, divisor: Array) -> Array:
    """Return the divisors in the library, dtype and device of x."""
    return namespace(x).asarray(divisor, dtype=x.dtype, device=x.device)


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Add the image and its copies shifted by one tap after the other; divide."""
    g, divisor = plan(axes, x.shape, **options)
    return sums(g, x) / _like(x, divisor)


def by_axes(axes: int, x: Array, **options: Any) -> Array:
    """Sum along one axis after the other, the sum over a box being one of sums over its lines; divide.

    McDonnell 1981, Box-filtering techniques, Computer Graphics and Image Processing 17(1): a box filter is separable.
    """
    g, divisor = plan(axes, x.shape, **options)
    return one_axis_at_a_time(g, x, 0.0, partial(namespace(x).sum, axis=-1, dtype=x.dtype)) / _like(x, divisor)


def by_convolution(axes: int, x: Array, **options: Any) -> Array:
    """Correlate each channel with a filter of ones, and multiply by the divisor's reciprocal: one constant filter."""
    g, divisor = plan(axes, x.shape, **options)
    ones = zeros(x, (x.shape[1], 1, 1, *g.kernel)) + 1
    image = padded(g, x, 0.0)[:, :, None, ...]
    return unfold.by_columns(image, ones, g.stride, g.dilation)[:, :, 0, ...] * _like(x, 1 / divisor)


WAYS: dict[str, Callable[..., Array]] = {
    "windows": by_windows,
    "shift": by_shifts,
    "separable": by_axes,
    "convolution": by_convolution,
}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum over the windows i that read j of gy[n, c, i] / (what window i is divided by).

    Returns (gx,), gx (N, C, *size).
    """
    g, divisor = plan(axes, x.shape, **options)
    return (returned(g, gy / _like(gy, divisor)),)


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """`mean.bound`: K entries of the window are not zero, S is the sum of their sizes over the divisor."""
    g, divisor = plan(axes, x.shape, **options)
    return mean.bound(2 * axes, partial(sums, g), divisor, y, p, x)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """`mean.vjp_bound`: K windows send something to an entry, S is the sum of |gy| over their divisors."""
    g, divisor = plan(axes, x.shape, **options)
    return (mean.vjp_bound(2 * axes, partial(returned, g), divisor, grads[0], p, gy),)


def spread(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """`multilinear_spread` of the sum, divided: scale of the rounding error for entries in random order."""
    g, divisor = plan(axes, x.shape, **options)
    return multilinear_spread(partial(sums, g), (x,), y=y * divisor, p=p) / np.abs(divisor)
