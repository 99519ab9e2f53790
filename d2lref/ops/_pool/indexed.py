"""Max pooling that tells where each maximum is: what plain and adaptive pooling say in the same words.

An index counts the entries of one image of one channel, the last axis fastest, without padding, as torch counts them
(ONNX counts on through channels and images). Where several entries of a window are largest any of their indices is
right; all NaN are largest. `read`, the first argument of all functions, gives for the shape of x and the options one
table per axis of space: which entries each window reads there. Letters: N images, C channels, m windows of an axis.
"""

import math
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from d2lref.algorithms.gather import Table, read_axes, returned_axes
from d2lref.arrays import namespace, zeros
from d2lref.ops._pool import largest
from d2lref.ops._pool.grid import grid
from d2lref.rounding import Precision, copy_bound
from d2lref.spec import Array, Shape

Tables = tuple[Table, ...]
Read = Callable[..., Tables]

# 1 Shape, and where the windows lie


def windows(axes: int, x: Shape, **options: Any) -> Tables:
    """Return what the windows of a plain pooling read along each axis; padding does not count. Raises ValueError."""
    g, found = grid("max_pool{}d_with_indices", axes, x, **options), []
    for axis, (k, d, n) in enumerate(zip(g.kernel, g.dilation, g.size, strict=True)):
        place = np.array(g.starts(axis))[:, None] + np.arange(k) * d
        found.append(Table(place, (place >= 0) & (place < n), n))
    return tuple(found)


def out(tables: Tables) -> Shape:
    """Return how many windows there are along each axis."""
    return tuple(len(t.place) for t in tables)


def shape(read: Read, x: Shape, **options: Any) -> tuple[Shape, Shape]:
    """Return ((N, C, *m), (N, C, *m)) for x (N, C, *size): of the maxima and of their indices. Raises ValueError."""
    y = (*x[:2], *out(read(x, **options)))
    return (y, y)


def indices(tables: Tables) -> np.ndarray:
    """Return the index of every entry that a window reads, -1 for what is not in the image: (*m, taps)."""
    axes, found, inside = len(tables), np.zeros((), np.int64), np.ones((), np.bool_)
    for axis, t in enumerate(tables):
        along = [1] * (2 * axes)
        along[axis], along[axes + axis] = t.place.shape
        found = found * t.size + np.reshape(t.place, along)
        inside = inside & np.reshape(t.counts, along)
    return np.where(inside, found, -1).reshape(*out(tables), -1)


# 2 Definition


def definition(read: Read, x: Array, **options: Any) -> tuple[Array, Array]:
    """y[n, c, i] = max of x[n, c, j] over the entries j that window i reads, and the index of the first as large.

    x (N, C, *size) to y, of one dtype, and indices (int64), both (N, C, *m). The windows are those of the pooling
    without indices, and so are the options. A window that reads no entry has minus infinity and index -1. Raises
    ValueError (see `shape`). Source: torch.nn.functional.max_pool2d_with_indices; Zeiler and Fergus 2014, Visualizing
    and understanding convolutional networks, section 2.1 (switches).
    """
    xp, tables = namespace(x), read(x.shape, **options)
    image = xp.reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))
    tops = [_top(image, row[row >= 0]) for row in np.reshape(indices(tables), (math.prod(out(tables)), -1))]
    y, places = (xp.stack(list(part), axis=-1) for part in zip(*tops, strict=True))
    whole = (*x.shape[:2], *out(tables))
    return xp.reshape(y, whole), xp.reshape(places, whole)


def _top(image: Array, row: np.ndarray) -> tuple[Array, Array]:
    """Return the largest of some entries of an image (N, C, entries), and its index, (N, C) both."""
    xp, device = namespace(image), array_api_compat.device(image)
    if not row.size:
        nothing = zeros(image, image.shape[:2])
        return nothing - math.inf, xp.full(image.shape[:2], -1, dtype=xp.int64, device=device)
    row = xp.asarray(row, dtype=xp.int64, device=device)
    part = xp.take(image, row, axis=2)
    first = xp.argmax(xp.astype(largest.hits(part), xp.int64), axis=-1)
    return xp.max(part, axis=-1), xp.reshape(
        xp.take(row, xp.reshape(first, (math.prod(first.shape),)), axis=0), first.shape
    )


# 3 Another way


def by_windows(read: Read, x: Array, **options: Any) -> tuple[Array, Array]:
    """Gather all windows, with minus infinity for what is not in the image; add up the one index that counts."""
    xp, tables = namespace(x), read(x.shape, **options)
    seen, places, hit = _hits(tables, x)
    ones = xp.ones(hit.shape[:-1], dtype=xp.int64, device=array_api_compat.device(x))
    some = xp.any(hit, axis=-1)
    return xp.max(seen, axis=-1), xp.sum(largest.to_the_first(hit, ones) * places, axis=-1) - xp.where(
        some, 0 * ones, ones
    )


def _hits(tables: Tables, x: Array) -> tuple[Array, Array, Array]:
    """Return what each window reads, its index, and whether it reaches the largest: (N, C, *m, taps)."""
    xp, places = namespace(x), indices(tables)
    seen = xp.reshape(read_axes(tables, x, -math.inf), (*x.shape[:2], *places.shape))
    places = xp.asarray(places, device=array_api_compat.device(x))
    return seen, places, largest.hits(seen) & (places >= 0)


WAYS: dict[str, Callable[..., tuple[Array, Array]]] = {"windows": by_windows}

# 4 Derivative


def vjp(read: Read, gy: tuple[Array, None], x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the windows i whose index is j; gy is that of y, indices have None.

    Returns (gx,), gx (N, C, *size). Where several entries of a window are largest this is one subgradient of many.
    """
    tables = read(x.shape, **options)
    return (back(tables, largest.to_the_first(_hits(tables, x)[2], gy[0])),)


def back(tables: Tables, parts: Array) -> Array:
    """Return parts (N, C, *m, taps) added back where they were read, (N, C, *size)."""
    taps = tuple(t.place.shape[1] for t in tables)
    return returned_axes(tables, namespace(parts).reshape(parts, (*parts.shape[:-1], *taps)))


# 5 How wrong it may be


def bound(read: Read, y: tuple[Array, Array], p: Precision, x: Array, **options: Any) -> tuple[Array, Array]:
    """0 for the maxima (rounding.copy_bound); for an index, how far the indices of tied entries lie apart."""
    _, places, hit = _hits(read(x.shape, **options), largest.flushed(x, p))
    least, most = np.where(hit, places, np.inf).min(axis=-1), np.where(hit, places, -np.inf).max(axis=-1)
    return copy_bound(y[0], p, x), np.where(hit.any(axis=-1), most - least, np.inf)


def vjp_bound(
    read: Read, grads: tuple[Array], p: Precision, gy: tuple[Array, None], x: Array, **options: Any
) -> tuple[Array]:
    """`largest.tie_bound`: every subgradient is right, and K windows whose maximum is at j are added."""
    tables = read(x.shape, **options)
    hit = _hits(tables, largest.flushed(x, p))[2]
    return (largest.tie_bound(lambda parts: back(tables, parts), hit, grads[0], p, gy[0]),)
