"""Where the windows of unfold and fold lie, and their movement to columns and back.

Letters: N images, C channels, L windows; l is a window and u a tap of it, both counted with the last axis fastest;
k taps along an axis, stride s, padding p, dilation d. Window i of an axis reads i s - p + u d. Images are
(N, C, H, W); columns are (N, C K, L), where K is the number of taps of a window: row c K + u holds tap u of channel c.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms import unfold as sliding
from d2lref.arrays import axis_integers, namespace, overlap_add, pad
from d2lref.rounding import Precision, lattice_unit, sum_bound
from d2lref.spec import Array, Shape

AXES = 2


class Grid(NamedTuple):
    """The windows along both axes: kernel, stride, padding, dilation; size of the image."""

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    size: Shape

    @property
    def out(self) -> Shape:
        """Number of windows along each axis."""
        return sliding.output_size(self.whole, self.kernel, self.stride, self.dilation)

    @property
    def taps(self) -> int:
        """Taps of a window."""
        return math.prod(self.kernel)

    @property
    def span(self) -> Shape:
        """Entries from the first tap of a window to its last: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def whole(self) -> Shape:
        """Size of the image with its padding."""
        return tuple(n + 2 * p for n, p in zip(self.size, self.padding, strict=True))

    def cuts(self) -> Iterator[tuple[slice, ...]]:
        """Yield for each window, in the order of the columns, the part of the padded image that it reads."""
        along = zip(self.out, self.stride, self.span, self.dilation, strict=True)
        return product(*([slice(i * s, i * s + span, d) for i in range(out)] for out, s, span, d in along))


def grid(name: str, size: Shape, *, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Grid:
    """Return the windows over an image of that size. Raises ValueError for what does not fit."""
    k = axis_integers(name, "kernel_size", kernel_size, AXES, 1)
    d = axis_integers(name, "dilation", dilation, AXES, 1)
    p = axis_integers(name, "padding", padding, AXES, 0)
    s = axis_integers(name, "stride", stride, AXES, 1)
    found = Grid(k, s, p, d, tuple(size))
    if any(n < span for n, span in zip(found.whole, found.span, strict=True)):
        raise ValueError(
            f"{name}: a window of {k} with dilation {d} spans {found.span}, but the image of {found.size} with its "
            f"padding has {found.whole}; at most that would fit"
        )
    return found


def columns(g: Grid, x: Array) -> Array:
    """Return the windows of images (N, C, H, W) as columns, one row for each tap: (N, C K, L)."""
    xp = namespace(x)
    border = pad(x, tuple((p, p) for p in g.padding))
    rows = xp.stack(sliding.taps(border, g.kernel, g.stride, g.dilation), axis=2)
    return xp.reshape(rows, (x.shape[0], x.shape[1] * g.taps, math.prod(g.out)))


def folded(g: Grid, x: Array) -> Array:
    """Return the adjoint of `columns`: all rows of (N, C K, L) added back where they were read, (N, C, H, W)."""
    xp = namespace(x)
    parts = xp.reshape(x, (x.shape[0], x.shape[1] // g.taps, *g.kernel, *g.out))
    whole = overlap_add(xp.permute_dims(parts, (0, 1, 4, 5, 2, 3)), g.whole, g.stride, g.dilation)
    return cropped(g, whole)


def cropped(g: Grid, whole: Array) -> Array:
    """Return padded images without their padding."""
    return whole[(..., *(slice(p, p + n) for p, n in zip(g.padding, g.size, strict=True)))]


def one_hot(g: Grid, x: Array, channels: int) -> Array:
    """Return a filter for each tap of each channel, which is 1 there and 0 elsewhere: (C K, 1, *k), as x is."""
    xp = namespace(x)
    taps = xp.reshape(xp.eye(g.taps, dtype=x.dtype, device=x.device), (g.taps, 1, *g.kernel))
    return xp.concat([taps] * channels, axis=0)


def flushed(a: Array, p: Precision) -> np.ndarray:
    """Return |a| where a may count as zero because it is subnormal and subnormals are flushed, else 0."""
    return np.where((np.abs(a) < p.stored.nmin) & p.flushed, np.abs(a), 0.0)


def folding_bound(g: Grid, y: Array, p: Precision, x: Array) -> np.ndarray:
    """(K - 1) u S, where K entries that are not zero fall on a place and S is the sum of their sizes; 0 for K <= 1.

    The sum: rounding.sum_bound. Nothing is multiplied, so that no operand is rounded; entries that are flushed are
    lost.
    """
    size = np.abs(x)
    total, terms, lost = (folded(g, a) for a in (size, (size > 0).astype(np.float64), flushed(x, p)))
    error = sum_bound(total, np.maximum(terms - 1, 0), y, p, lattice_unit(x), exact_operands=True, lost=lost)
    return np.where(terms > 1, error, lost)
