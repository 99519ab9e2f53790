"""Power-average pooling: the p-th root of a sum of p-th powers. Shape, definition, faster ways, derivative.

`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops; the letters are those of `grid`, and p is
norm_type. Powers are those of real numbers: where x < 0 and p is no integer there is none, nor a p-th root where the
sum is negative and p is not 1. Both are NaN here, and what an implementation answers there is not judged: torch answers
NaN as well, ONNX's LpPool the norm, which takes |x| for x. Everywhere else signs count, as in torch: with p = 1 or 3
entries of opposite sign cancel.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._pool import avg_pool
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, returned, sums
from d2lref.spec import Array, Shape

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size - k) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that would begin behind
    the image. Raises ValueError.
    """
    return ((*x[:2], *plan(axes, x, **options)[0].out),)


def plan(
    axes: int,
    x: Shape,
    *,
    norm_type: float,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    ceil_mode: bool = False,
) -> tuple[Grid, float]:
    """Return where the windows lie, and p. Raises ValueError."""
    number = isinstance(norm_type, int | float | np.number) and not isinstance(norm_type, bool)
    if not number or not 0 < norm_type < math.inf:
        raise ValueError(f"lp_pool{axes}d: norm_type={norm_type!r}, expected a finite number > 0")
    return grid("lp_pool{}d", axes, x, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode), float(norm_type)


# 2 Definition


def definition(
    axes: int,
    x: Array,
    *,
    norm_type: float,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    ceil_mode: bool = False,
) -> Array:
    """y[n, c, i] = (sum over the taps u of x[n, c, i s + u]^p)^(1/p).

    x (N, C, *size) to y (N, C, *out), of one dtype. Options: norm_type p > 0, kernel_size k, stride s (None: k),
    ceil_mode (also windows that overhang the image, unless they begin behind it; what overhangs is not there, and adds
    nothing). With p = 1 it is the sum, with p = 2 the Euclidean norm of a window. Raises ValueError (see `shape`).
    Source: torch.nn.functional.lp_pool2d; Sermanet, Chintala and LeCun 2012, Convolutional neural networks applied to
    house numbers digit classification, section 2.2.
    """
    g, p = plan(axes, x.shape, norm_type=norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode)
    xp = namespace(x)
    total = partial(xp.sum, axis=tuple(range(2, axes + 2)), dtype=x.dtype)
    norms = [total(x[(..., *cut)] ** p) ** (1 / p) for cut in cuts(g)]
    return xp.reshape(xp.stack(norms, axis=-1), (*x.shape[:2], *g.out))


# 3 Faster ways


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Add up the powers moved by one tap after the other; take roots."""
    g, p = plan(axes, x.shape, **options)
    return sums(g, x**p) ** (1 / p)


def by_means(axes: int, x: Array, **options: Any) -> Array:
    """Pool the powers by averages, and multiply by how many each is the average of: torch's way."""
    _, p = plan(axes, x.shape, **options)
    where = {name: value for name, value in options.items() if name != "norm_type"}
    _, counts = avg_pool.plan(axes, x.shape, **where)
    means = avg_pool.by_axes(axes, x**p, **where)
    return (means * namespace(x).asarray(counts, dtype=x.dtype, device=x.device)) ** (1 / p)


def by_largest(axes: int, x: Array, **options: Any) -> Array:
    """y = m (sum of (x / m)^p)^(1/p), m = max |x| over the window: no power overflows.

    Blue 1978, A portable Fortran program to find the Euclidean norm of a vector, ACM Trans. Math. Softw. 4(1).
    """
    g, p = plan(axes, x.shape, **options)
    xp, seen = namespace(x), gathered(g, x, 0.0)
    space = tuple(range(2 + axes, 2 + 2 * axes))
    top = xp.max(xp.abs(seen), axis=space, keepdims=True)
    top = xp.where(top == 0, xp.ones_like(top), top)
    return xp.reshape(top, (*x.shape[:2], *g.out)) * xp.sum((seen / top) ** p, axis=space, dtype=x.dtype) ** (1 / p)


WAYS: dict[str, Callable[..., Array]] = {"shift": by_shifts, "means": by_means, "scaled": by_largest}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = x[n, c, j]^(p-1) sum over the windows i that read j of gy[n, c, i] s[n, c, i]^(1/p - 1).

    s is the sum of powers. Where it is 0 a window sends nothing, unless p = 1: for p > 1 the norm of zeros has the
    subgradients of sizes up to |gy|, and 0 is one of them (Rockafellar 1970, Convex Analysis, section 23). Returns
    (gx,), gx (N, C, *size).
    """
    g, p = plan(axes, x.shape, **options)
    if p == 1:
        return (returned(g, gy),)
    xp, total = namespace(x), sums(g, x**p)
    zero = total == 0
    share = gy * xp.where(zero, xp.ones_like(total), total) ** (1 / p - 1)
    sent = returned(g, xp.where(zero, xp.zeros_like(total), share))
    return (xp.where(sent == 0, sent, x ** (p - 1) * sent),)  # nothing comes of nothing, also where the power overflows
