"""Where the windows of a pooling lie: what max pooling and average pooling share (d2l, section 7.5).

One text serves every number of axes of space; `axes` is 1, 2 or 3. Letters: N images, C channels; i is a window and u a
tap of it, along all axes of space at once; k taps, stride s, padding p, dilation d. Window i reads i s - p + u d.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import product
from operator import add

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import axis_integers, namespace, overlap_add, pad, remembered, windows
from d2lref.spec import Array, Shape

# 1 Shape


@dataclass(frozen=True, slots=True)
class Grid:
    """The windows along each axis of space: kernel k, stride s, padding p, dilation d; image entries; windows."""

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    size: Shape
    out: Shape

    @property
    def span(self) -> Shape:
        """Entries from the first tap of a window to its last: d (k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def overhang(self) -> Shape:
        """Entries by which the last window reaches beyond image and padding; negative where it leaves some unread."""
        along = zip(self.out, self.stride, self.span, self.size, self.padding, strict=True)
        return tuple((o - 1) * s + span - n - 2 * p for o, s, span, n, p in along)

    def starts(self, axis: int) -> range:
        """Return where the windows begin along an axis: i s - p."""
        p, s = self.padding[axis], self.stride[axis]
        return range(-p, self.out[axis] * s - p, s)


@remembered
def grid(
    title: str,
    axes: int,
    x: Shape,
    *,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    padding: int | Shape = 0,
    dilation: int | Shape = 1,
    ceil_mode: bool = False,
) -> Grid:
    """Return the windows of a pooling of x (N, C, *size); `title` is "max_pool{}d" or the like. Raises ValueError."""
    name = title.format(axes)
    if len(x) != axes + 2:
        raise ValueError(
            f"{name}: x {tuple(x)} has {len(x)} axes, expected {axes + 2}: images, channels, {axes} of space"
        )
    k = axis_integers(name, "kernel_size", kernel_size, axes, 1)
    s = k if stride is None else axis_integers(name, "stride", stride, axes, 1)
    p = axis_integers(name, "padding", padding, axes, 0)
    d = axis_integers(name, "dilation", dilation, axes, 1)
    most = tuple(a // 2 for a in k)
    if any(a > b for a, b in zip(p, most, strict=True)):
        raise ValueError(
            f"{name}: padding={padding!r} is more than half of kernel_size={kernel_size!r}, expected at most {most}"
        )
    size = tuple(x[2:])
    found = Grid(k, s, p, d, size, tuple(map(partial(_windows, ceil_mode=ceil_mode), size, k, s, p, d)))
    if min(found.out) < 1:
        room = tuple(n + 2 * a for n, a in zip(size, p, strict=True))
        raise ValueError(
            f"{name}: a window spans {found.span}, but x {tuple(x)} with its padding has {room}; at most that would fit"
        )
    return found


def _windows(n: int, k: int, s: int, p: int, d: int, *, ceil_mode: bool) -> int:
    """floor((n + 2 p - d (k - 1) - 1) / s) + 1, or the ceiling less a window that would begin in the padding behind."""
    room = n + 2 * p - d * (k - 1) - 1
    if not ceil_mode:
        return room // s + 1
    out = -(-room // s) + 1
    return out - 1 if (out - 1) * s >= n + p else out


# 2 Reading the windows, and writing them back


def cuts(g: Grid) -> Iterator[tuple[slice, ...]]:
    """Yield for each window, the last axis fastest, the part of the image that it reads: one slice per axis."""
    return product(*(_cuts(g, axis) for axis in range(len(g.size))))


def _cuts(g: Grid, axis: int) -> list[slice]:
    n, d, span = g.size[axis], g.dilation[axis], g.span[axis]
    # a % d is the first of the taps a, a + d, ... that is not in front of the image
    return [slice(a if a >= 0 else a % d, max(min(a + span, n), 0), d) for a in g.starts(axis)]


def padded(g: Grid, x: Array, fill: float) -> Array:
    """Return x with `fill` around it, as far as the windows reach."""
    behind = (max(p + over, 0) for p, over in zip(g.padding, g.overhang, strict=True))
    return pad(x, tuple(zip(g.padding, behind, strict=True)), fill)


def shifted(g: Grid, x: Array, fill: float) -> list[Array]:
    """Return for each tap of the window the entries that it meets, (N, C, *out): shifted images."""
    return unfold.taps(padded(g, x, fill), g.kernel, g.stride, g.dilation)


def sums(g: Grid, x: Array) -> Array:
    """Return the sum over each window, (N, C, *out)."""
    return reduce(add, shifted(g, x, 0.0))


def gathered(g: Grid, x: Array, fill: float) -> Array:
    """Return the windows, (N, C, *out, *k)."""
    return windows(padded(g, x, fill), g.kernel, g.stride, g.dilation)


def one_axis_at_a_time(g: Grid, x: Array, fill: float, reduce: Callable[[Array], Array]) -> Array:
    """Return the windows reduced along the last axis of space, then along the one before it, and so on.

    reduce(windows of one axis, (..., out, k)) -> (..., out).
    """
    xp, x = namespace(x), padded(g, x, fill)
    for k, s, d in zip(reversed(g.kernel), reversed(g.stride), reversed(g.dilation), strict=True):
        x = reduce(windows(x, (k,), (s,), (d,)))
        x = xp.permute_dims(x, (0, 1, x.ndim - 1, *range(2, x.ndim - 1)))  # the axis that is done goes to the front
    return x


def scattered(g: Grid, patches: Array) -> Array:
    """Return the adjoint of `gathered`: (N, C, *out, *k) added back where it was read, (N, C, *size)."""
    behind = (max(p + over, 0) for p, over in zip(g.padding, g.overhang, strict=True))
    whole = tuple(n + p + b for n, p, b in zip(g.size, g.padding, behind, strict=True))
    total = overlap_add(patches, whole, g.stride, g.dilation)
    return total[(..., *(slice(p, p + n) for p, n in zip(g.padding, g.size, strict=True)))]


def returned(g: Grid, shares: Array) -> Array:
    """Return the adjoint of `sums`: each share (N, C, *out) added to all that its window reads, (N, C, *size)."""
    alike = namespace(shares).reshape(shares, (*shares.shape, *(1,) * len(g.kernel)))
    return scattered(g, namespace(shares).broadcast_to(alike, (*shares.shape, *g.kernel)))


def together(linear: Callable[[Array], Array], *arrays: Array) -> list[Array]:
    """Return what a function that works image by image makes of each NumPy array, in one call."""
    return np.split(linear(np.concatenate(arrays)), len(arrays))
