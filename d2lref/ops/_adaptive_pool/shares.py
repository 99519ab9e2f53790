"""Where the windows of an adaptive pooling lie: an image of n entries is shared by m windows, as evenly as they can.

One text serves every number of axes of space; `axes` is 1, 2 or 3. Letters: N images, C channels; i is a window, along
all axes of space at once; n entries, m windows. Window i reads floor(i n / m) up to, but not, ceil((i + 1) n / m).
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np

from d2lref.algorithms.gather import Table
from d2lref.spec import Shape

Sizes = int | tuple[int | None, ...]


def shares(title: str, axes: int, x: Shape, output_size: Any) -> tuple[Table, ...]:
    """Return for each axis of space of x (N, C, *size) what the windows read.

    `title` is "adaptive_max_pool{}d" or the like.

    Raises ValueError.
    """
    name, x = title.format(axes), tuple(x)
    if len(x) != axes + 2:
        raise ValueError(f"{name}: x {x} has {len(x)} axes, expected {axes + 2}: images, channels, {axes} of space")
    if 0 in x[2:]:
        raise ValueError(f"{name}: x {x} has an axis of space without entries, expected at least 1")
    return tuple(share(n, m) for n, m in zip(x[2:], _windows(name, axes, x[2:], output_size), strict=True))


def _windows(name: str, axes: int, size: Shape, output_size: Any) -> Shape:
    """Return m: an integer counts for all axes, None (not in 1-D, as in torch) keeps the size of its axis."""
    values = (output_size,) * axes if isinstance(output_size, int | np.integer) else output_size
    kept = isinstance(values, tuple | list) and len(values) == axes
    if not kept or not all((v is None and axes > 1) or (isinstance(v, int | np.integer) and v >= 1) for v in values):
        words = f"a tuple of {axes}" if axes == 1 else f"a tuple of {axes} of these or None"
        raise ValueError(f"{name}: output_size={output_size!r}, expected an integer >= 1, or {words}")
    return tuple(n if v is None else int(v) for v, n in zip(values, size, strict=True))


@lru_cache(maxsize=4096)
def share(n: int, m: int) -> Table:
    """Return the table of the m windows of an axis of n entries."""
    start, stop = bounds(n, m)
    place = start[:, None] + np.arange(int((stop - start).max()))
    return Table(place, place < stop[:, None], n)


def bounds(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Return floor(i n / m) and ceil((i + 1) n / m) for the windows i."""
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


def cuts(tables: tuple[Table, ...]) -> Iterator[tuple[slice, ...]]:
    """Yield for each window, the last axis fastest, the part of the image that it reads: one slice per axis."""
    along = ([slice(*map(int, ends)) for ends in zip(*bounds(t.size, len(t.place)), strict=True)] for t in tables)
    return product(*along)


def out(tables: tuple[Table, ...]) -> Shape:
    """Return how many windows there are along each axis."""
    return tuple(len(t.place) for t in tables)
