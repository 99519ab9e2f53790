"""How windows are moved wrongly, by unfold and fold alike: each is a selection of pixels, and zeros.

A wrong unfold moves pixels, and its gradient is what fold makes with the same mistake: so the adjoint law is blind to
both, and a law about the answer must see them.
"""

import math
from collections.abc import Callable

import numpy as np

from d2lref.arrays import pad
from d2lref.ops._unfold.grid import Grid, columns
from d2lref.spec import Array

Move = Callable[[Grid, Array], Array]
"""(windows, images (N, C, H, W)) -> columns (N, C K, L)."""


def taps_before_channels(g: Grid, x: Array) -> Array:
    """Return columns whose row u C + c holds tap u of channel c."""
    y = columns(g, x)
    return y.reshape(*x.shape[:2], g.taps, y.shape[2]).swapaxes(1, 2).reshape(y.shape)


def taps_reversed(g: Grid, x: Array) -> Array:
    """Return columns whose taps are counted backwards."""
    y = columns(g, x)
    return np.flip(y.reshape(*x.shape[:2], g.taps, y.shape[2]), axis=2).reshape(y.shape)


def taps_down_the_columns(g: Grid, x: Array) -> Array:
    """Return columns whose taps are counted with the first axis fastest."""
    y = columns(g, x)
    return y.reshape(*x.shape[:2], *g.kernel, y.shape[2]).swapaxes(2, 3).reshape(y.shape)


def windows_down_the_columns(g: Grid, x: Array) -> Array:
    """Return columns whose windows are counted with the first axis fastest."""
    y = columns(g, x)
    return y.reshape(*y.shape[:2], *g.out).swapaxes(2, 3).reshape(y.shape)


def dilation_backwards(g: Grid, x: Array) -> Array:
    """Return columns of windows with the dilations of the axes exchanged; zero where they leave the padded image."""
    return _read(g, g._replace(dilation=g.dilation[::-1]), pad(x, tuple((p, p) for p in g.padding)))


def dilation_of_the_width(g: Grid, x: Array) -> Array:
    """Return columns of windows that are dilated by the last axis's dilation along both."""
    return _read(g, g._replace(dilation=(g.dilation[1],) * 2), pad(x, tuple((p, p) for p in g.padding)))


def padding_backwards(g: Grid, x: Array) -> Array:
    """Return columns of windows that begin where the padding of the other axis would have them."""
    shift = [p - q for p, q in zip(g.padding, g.padding[::-1], strict=True)]
    border = pad(x, tuple((max(0, q), p + abs(s)) for p, q, s in zip(g.padding, g.padding[::-1], shift, strict=True)))
    return _read(g, g, border)


def first_pixel_around(g: Grid, x: Array) -> Array:
    """Return columns of an image whose border is its first pixel, as an index of zero has it."""
    border = pad(np.ones_like(x[:1, :1]), tuple((p, p) for p in g.padding))
    whole = np.where(border > 0, pad(x, tuple((p, p) for p in g.padding)), x[:, :, :1, :1])
    return columns(_over(g, whole), whole)


def high_as_wide(g: Grid, x: Array) -> Array:
    """Return columns of an image without what lies to the right of its height."""
    return columns(g, np.where(np.arange(x.shape[3]) < x.shape[2], x, x.dtype.type(0)))


def steps_counted_as_windows(g: Grid, x: Array) -> Array:
    """Return the columns of windows whose numbers are multiples of the stride, in the order of these numbers."""
    y = columns(g, x)
    starts = (np.arange(n) * s for n, s in zip(g.out, g.stride, strict=True))
    rows, places = (a.ravel() for a in np.meshgrid(*starts, indexing="ij"))
    return _renumbered(y, rows * g.out[1] + places)


def one_window_for_each_pixel(g: Grid, x: Array) -> Array:
    """Return columns counted as if a row of the padded image had as many windows as pixels."""
    y, count = columns(g, x), math.prod(g.out)
    rows, places = np.divmod(np.arange(count), g.whole[1])
    inside = (places < g.out[1]) & (rows < g.out[0])
    picked = np.where(inside, rows * g.out[1] + places, 0)
    return np.where(inside, y[..., picked], y.dtype.type(0))


def _renumbered(y: Array, numbers: Array) -> Array:
    """Return columns moved to other numbers, where there are any; zeros elsewhere."""
    moved, inside = np.zeros_like(y), numbers < y.shape[-1]
    moved[..., numbers[inside]] = y[..., inside]
    return moved


def _read(right: Grid, wrong: Grid, border: Array) -> Array:
    """Return as many windows as are right, as the wrong grid has them, over an image that is padded already."""
    along = zip(border.shape[2:], right.out, right.stride, wrong.span, strict=True)
    missing = tuple((0, max(0, (out - 1) * s + span - n)) for n, out, s, span in along)
    room = pad(border, missing)
    spans = zip(right.out, right.stride, wrong.span, strict=True)
    kept = room[(..., *(slice(0, (out - 1) * s + span) for out, s, span in spans))]
    return columns(_over(wrong, kept), kept)


def _over(g: Grid, border: Array) -> Grid:
    """Return the windows over images that are padded already."""
    return g._replace(padding=(0, 0), size=border.shape[2:])
