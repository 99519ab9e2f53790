"""Reading along one axis by a table of places, and the adjoint: adding up at each place what was read there.

A table of m rows and k columns names entries of an axis of n; some of its places do not count, so that every row may
read as many entries as it wants. Nothing is computed but sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import array_api_compat
import numpy as np

from d2lref.arrays import namespace
from d2lref.spec import Array


@dataclass(frozen=True, eq=False)
class Table:
    """Which entries of an axis of `size` each row reads: `place` (m, k), of which only those where `counts` do."""

    place: np.ndarray
    counts: np.ndarray
    size: int

    @cached_property
    def readers(self) -> "Table":
        """The table read backwards: for each entry the positions (row k + column) that read it, in rising order."""
        positions = np.flatnonzero(self.counts)
        order = np.argsort(self.place.ravel()[positions], kind="stable")
        often = np.bincount(self.place.ravel()[positions], minlength=self.size)
        counts = np.arange(max(int(often.max(initial=0)), 1)) < often[:, None]
        place = np.zeros(counts.shape, dtype=np.int64)
        place[counts] = positions[order]
        return Table(place, counts, self.place.size)


def read(t: Table, x: Array, axis: int, fill: float) -> Array:
    """Return x[..., place, ...] with axes (m, k) in the place of `axis`, and `fill` where a place does not count."""
    xp, device = namespace(x), array_api_compat.device(x)
    places = np.where(t.counts, t.place, 0).ravel()
    seen = xp.take(x, xp.asarray(places, device=device), axis=axis)
    seen = xp.reshape(seen, (*x.shape[:axis], *t.place.shape, *x.shape[axis + 1 :]))
    if t.counts.all():
        return seen
    counts = np.reshape(t.counts, (*t.counts.shape, *(1,) * (x.ndim - axis - 1)))
    return xp.where(xp.asarray(counts, device=device), seen, xp.full((), fill, dtype=x.dtype, device=device))


def returned(t: Table, parts: Array, axis: int) -> Array:
    """Return the adjoint of `read`: parts with axes (m, k) at `axis`, each added to the entry it was read from."""
    xp = namespace(parts)
    flat = xp.reshape(parts, (*parts.shape[:axis], t.place.size, *parts.shape[axis + 2 :]))
    return xp.sum(read(t.readers, flat, axis, 0.0), axis=axis + 1, dtype=parts.dtype)


def read_axes(tables: tuple[Table, ...], x: Array, fill: float) -> Array:
    """Return (N, C, *m, *k): what the rows of one table for each axis of space of x (N, C, *n) read together."""
    for axis in reversed(range(len(tables))):
        x = read(tables[axis], x, axis + 2, fill)
    axes = range(len(tables))
    return namespace(x).permute_dims(x, (0, 1, *(2 + 2 * a for a in axes), *(3 + 2 * a for a in axes)))


def returned_axes(tables: tuple[Table, ...], parts: Array) -> Array:
    """Return the adjoint of `read_axes`: (N, C, *m, *k) to (N, C, *n)."""
    axes = len(tables)
    pairs = (a for axis in range(axes) for a in (2 + axis, 2 + axes + axis))
    x = namespace(parts).permute_dims(parts, (0, 1, *pairs))
    for axis, table in enumerate(tables):
        x = returned(table, x, axis + 2)
    return x


def reduced(tables: tuple[Table, ...], x: Array, fill: float, reduce: Callable[..., Any]) -> Array:
    """Return (N, C, *m): what the rows read, reduced along one axis of space after the other, the last one first.

    reduce(array, axis=axis) takes that axis away.
    """
    for axis in reversed(range(len(tables))):
        x = reduce(read(tables[axis], x, axis + 2, fill), axis=axis + 3)
    return x
