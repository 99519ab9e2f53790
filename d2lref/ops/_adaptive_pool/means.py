"""Adaptive average pooling: shape, definition, faster ways, derivative, bounds.

`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops; the letters are those of `shares`.
"""

from collections.abc import Callable
from functools import partial, reduce

import array_api_compat
import numpy as np

from d2lref.algorithms.gather import Table, read_axes, reduced, returned_axes
from d2lref.arrays import namespace
from d2lref.ops._adaptive_pool.shares import Sizes, cuts, out, shares
from d2lref.ops._pool import mean
from d2lref.rounding import Precision, multilinear_spread
from d2lref.spec import Array, Shape

shares_of = partial(shares, "adaptive_avg_pool{}d")

# 1 Shape


def shape(axes: int, x: Shape, *, output_size: Sizes) -> tuple[Shape]:
    """Return ((N, C, *output_size),) for x (N, C, *size), None being the size of its axis. Raises ValueError."""
    return ((*x[:2], *out(shares_of(axes, x, output_size))),)


def _counts(tables: tuple[Table, ...]) -> Array:
    """Return how many entries each window reads (float64, shape `out`)."""
    return reduce(np.multiply.outer, [t.counts.sum(axis=1).astype(np.float64) for t in tables])


# 2 Definition


def definition(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """y[n, c, i] = mean of x[n, c, j] over the entries j from floor(i size / m) up to ceil((i + 1) size / m).

    x (N, C, *size) to y (N, C, *m), of one dtype; output_size m is an integer for all axes, or one for each, None (in
    2-D and 3-D) for the size of x. Windows overlap by an entry where m does not divide the size; with m = 1 one window
    is the whole image (global pooling: Lin, Chen and Yan 2014, Network in network, section 3.2), with m = size it is
    one entry. Raises ValueError (see `shape`). Source: He, Zhang, Ren and Sun 2015, Spatial pyramid pooling,
    appendix A; torch.nn.functional.adaptive_avg_pool2d.
    """
    xp, tables = namespace(x), shares_of(axes, x.shape, output_size)
    total = partial(xp.sum, axis=tuple(range(2, axes + 2)), dtype=x.dtype)
    counts = _counts(tables).ravel().tolist()
    means = [total(x[(..., *cut)]) / count for cut, count in zip(cuts(tables), counts, strict=True)]
    return xp.reshape(xp.stack(means, axis=-1), (*x.shape[:2], *out(tables)))


# 3 Faster ways


def by_windows(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """Gather all windows, with zeros where a window is narrower than the widest, sum and divide."""
    tables = shares_of(axes, x.shape, output_size)
    space = tuple(range(2 + axes, 2 + 2 * axes))
    return namespace(x).sum(read_axes(tables, x, 0.0), axis=space, dtype=x.dtype) / _like(x, _counts(tables))


def _like(x: Array, values: Array) -> Array:
    """Return the values in the library, dtype and device of x."""
    return namespace(x).asarray(values, dtype=x.dtype, device=array_api_compat.device(x))


def by_axes(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """Sum along one axis after the other, and divide: a box is the product of its sides."""
    tables = shares_of(axes, x.shape, output_size)
    return _sums(tables, x) / _like(x, _counts(tables))


def _sums(tables: tuple[Table, ...], x: Array) -> Array:
    """Return the sum over each window, (N, C, *m)."""
    return reduced(tables, x, 0.0, partial(namespace(x).sum, dtype=x.dtype))


def by_matrices(axes: int, x: Array, *, output_size: Sizes) -> Array:
    """Multiply by one matrix (m, size) along each axis: 1 / count where the window of the row reads the column."""
    xp = namespace(x)
    for axis, t in enumerate(shares_of(axes, x.shape, output_size), start=2):
        rows, columns = np.nonzero(t.counts)
        line = np.zeros((len(t.place), t.size))
        line[rows, t.place[rows, columns]] = 1 / t.counts.sum(axis=1)[rows]
        x = xp.moveaxis(xp.tensordot(x, _like(x, line), axes=((axis,), (1,))), -1, axis)
    return x


WAYS: dict[str, Callable[..., Array]] = {"windows": by_windows, "separable": by_axes, "matmul": by_matrices}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, *, output_size: Sizes) -> tuple[Array]:
    """gx[n, c, j] = sum over the windows i that read j of gy[n, c, i] / (how many entries window i reads).

    Returns (gx,), gx (N, C, *size).
    """
    tables = shares_of(axes, x.shape, output_size)
    return (_back(tables, gy / _like(gy, _counts(tables))),)


def _back(tables: tuple[Table, ...], parts: Array) -> Array:
    """Return the adjoint of `_sums`: each part (N, C, *m) added to all that its window reads, (N, C, *size)."""
    xp, widths = namespace(parts), tuple(t.place.shape[1] for t in tables)
    alike = xp.reshape(parts, (*parts.shape, *(1,) * len(widths)))
    return returned_axes(tables, xp.broadcast_to(alike, (*parts.shape, *widths)))


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, *, output_size: Sizes) -> Array:
    """The bound of a mean, as of any average pooling: `_pool.mean.bound`."""
    tables = shares_of(axes, x.shape, output_size)
    return mean.bound(2 * axes, partial(_sums, tables), _counts(tables), y, p, x)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, *, output_size: Sizes) -> tuple[Array]:
    """Return the same for the gradient: `_pool.mean.vjp_bound`."""
    tables = shares_of(axes, x.shape, output_size)
    return (mean.vjp_bound(2 * axes, partial(_back, tables), _counts(tables), grads[0], p, gy),)


def spread(axes: int, y: Array, p: Precision, x: Array, *, output_size: Sizes) -> Array:
    """`multilinear_spread` of the sum, divided: scale of the rounding error for entries in random order."""
    tables = shares_of(axes, x.shape, output_size)
    counts = _counts(tables)
    return multilinear_spread(partial(_sums, tables), (x,), y=y * counts, p=p) / counts
