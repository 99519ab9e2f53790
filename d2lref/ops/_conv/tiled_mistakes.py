"""How convolutions by Winograd's algorithms go wrong, where the window is made for them; elsewhere they are right."""

from math import prod
from typing import Any

import numpy as np

from d2lref.algorithms import winograd
from d2lref.arrays import pad
from d2lref.ops._conv import definition as of
from d2lref.ops._conv import laws
from d2lref.ops._conv.definition import definition, is_tiled, slide
from d2lref.ops._conv.misplaced import Call, Misplaced, in_pairs
from d2lref.rounding import round_to
from d2lref.spec import Array, Shape


def _tiled(call: Call) -> bool:
    return is_tiled(call.x.shape, call.weight.shape, stride=call.plan.stride, dilation=call.plan.dilation)


def _from_every_second(call: Call, y: Array) -> Array:
    """Return the answers of tiles of four that begin at every second pixel."""
    if not _tiled(call):
        return y
    places = (np.arange(n) // 4 * 2 + np.arange(n) % 4 for n in call.plan.out)
    return y[(..., *np.ix_(*places))]


def _in_pairs(call: Call, y: Array) -> Array:
    """Return y without the answers of the last tile of two by two where their number is odd; a single one stays."""
    counts = tuple(-(-n // 2) for n in call.plan.out)
    if not _tiled(call):
        return y
    taken = in_pairs(prod(counts)).reshape(counts)
    return np.where(taken[np.ix_(*(np.arange(n) // 2 for n in call.plan.out))], y, y.dtype.type(0))


def _zeros_behind(call: Call, x: Array) -> Array:
    """Return the padded image, with all its zeros behind it where it is cut into tiles."""
    return pad(x, tuple((0, a + b) if _tiled(call) else (a, b) for a, b in call.plan.pads))


def _by_rounded_tiles(x: Array, w: Array, _stride: Shape, _dilation: Shape) -> Array:
    """Return the sum by F(4, 3), the transformed factors rounded to tf32."""
    axes = w.ndim - 3
    answer, filters, image = winograd.matrices(4, winograd.TAPS)
    taps, pixels = winograd.transformed(filters, w, axes), winograd.transformed(image, winograd.cut(x, 4, axes), axes)
    products = winograd.multiplied(round_to(taps, "tf32"), round_to(pixels, "tf32"), axes)
    out = tuple(n - winograd.TAPS + 1 for n in x.shape[3:])
    return winograd.joined(winograd.transformed(answer, products, axes), out)


def _rounded(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    if not is_tiled(x.shape, weight.shape, **options):
        return definition(axes, x, weight, bias, **options)
    wide = (None if a is None else a.astype(np.float64) for a in (x, weight, bias))
    return slide(axes, _by_rounded_tiles, *wide, **options).astype(x.dtype)


MISPLACED = (
    (
        "tiles of four answers begin at every second pixel",
        "https://github.com/adam-dziedzic/winograd/issues/1",
        laws.SHIFT.says,
        Misplaced(of, answer=_from_every_second),
    ),
    (
        "tiles are taken in pairs, an odd last one is left out",
        "https://github.com/Tencent/ncnn/pull/1891",
        laws.SHIFT.says,
        Misplaced(of, answer=_in_pairs),
    ),
    (
        "tiles are cut as if all zeros of the padding were behind the image",
        "https://github.com/openvinotoolkit/openvino/pull/33681",
        laws.PADDING.says,
        Misplaced(of, image=_zeros_behind, options=lambda call: {"padding": 0}),
    ),
)

FORWARD = (
    (
        "what tiles and filters are transformed into is rounded to tf32",
        "https://github.com/ml-explore/mlx/pull/4242",
        laws.SHIFT.says,
        _rounded,
    ),
)
