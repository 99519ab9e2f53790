"""unfold: the windows of images as the columns of matrices (im2col); shape, ways, derivative, bound, cases, laws."""

import math
from typing import Any

import numpy as np

from d2lref.algorithms import unfold as sliding
from d2lref.arrays import namespace, pad, per_axis, windows
from d2lref.ops._conv import definition as conv
from d2lref.ops._conv.cases import WIDE, affordable, per_axis_or_one
from d2lref.ops._unfold.grid import AXES, Grid, columns, flushed, folded, folding_bound, grid, one_hot
from d2lref.rounding import Precision, claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C K, L),) for x (N, C, H, W). Raises ValueError.

    K is the number of taps of a window and L that of windows: their product over both axes of
    (size + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.
    """
    g = _plan(x, options)
    return ((x[0], x[1] * g.taps, math.prod(g.out)),)


def _plan(x: Shape, options: dict[str, Any]) -> Grid:
    """Return where the windows lie. Raises ValueError."""
    x = tuple(x)
    if len(x) != AXES + 2:
        raise ValueError(f"unfold: x {x} has {len(x)} axes, expected 4: images, channels and 2 of space")
    return grid("unfold", x[2:], **options)


# 2 Definition


def definition(
    x: Array,
    *,
    kernel_size: int | Shape,
    dilation: int | Shape = 1,
    padding: int | Shape = 0,
    stride: int | Shape = 1,
) -> Array:
    """y[n, c K + u, l] = x[n, c, l s + u d - p]: column l is window l, the taps of one channel after those of another.

    x (N, C, H, W), zero where the index leaves it; y (N, C K, L), of one dtype; windows l and taps u are counted along
    the rows of the image. Options: kernel_size, dilation d, padding p before and after each axis, stride s; integers,
    or one for each axis. Raises ValueError (see `shape`). Source: Chellapilla, Puri and Simard 2006, High performance
    convolutional neural networks for document processing, section 2.2; Zhang, Lipton, Li and Smola, Dive into Deep
    Learning, section 14.10.3 (convolutions as matrix products).
    """
    told = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    xp, g = namespace(x), _plan(x.shape, told)
    border = pad(x, tuple((p, p) for p in g.padding))
    column = (x.shape[0], x.shape[1] * g.taps)
    return xp.stack([xp.reshape(border[(..., *cut)], column) for cut in g.cuts()], axis=-1)


# 3 Faster ways


def by_taps(x: Array, **options: Any) -> Array:
    """Copy the shifted image that each tap meets: as many copies as there are taps."""
    return columns(_plan(x.shape, options), x)


def by_windows(x: Array, **options: Any) -> Array:
    """Gather along one axis after the other, and bring taps before places."""
    xp, g = namespace(x), _plan(x.shape, options)
    border = pad(x, tuple((p, p) for p in g.padding))
    seen = xp.permute_dims(windows(border, g.kernel, g.stride, g.dilation), (0, 1, 4, 5, 2, 3))
    return xp.reshape(seen, (x.shape[0], x.shape[1] * g.taps, math.prod(g.out)))


def by_convolution(x: Array, **options: Any) -> Array:
    """Convolve each channel with one filter for each tap, which is 1 there and 0 elsewhere."""
    g, channels = _plan(x.shape, options), x.shape[1]
    moved = {"stride": g.stride, "padding": g.padding, "dilation": g.dilation, "groups": channels}
    y = conv.slide(AXES, sliding.by_taps, x, one_hot(g, x, channels), **moved)
    return namespace(x).reshape(y, (*y.shape[:2], math.prod(g.out)))


VARIANTS = {
    "taps": Variant(by_taps),
    "windows": Variant(by_windows),
    "convolution": Variant(by_convolution, finite=True),
}

# 4 Derivative


def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx = fold(gy): gx[n, c, j] = sum over u, l with l s + u d = j + p of gy[n, c K + u, l]."""
    return (folded(_plan(x.shape, options), gy),)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, **options: Any) -> np.ndarray:
    """0: windows are copies, bit for bit; |x| where subnormals may be flushed."""
    del y
    return np.asarray(columns(_plan(x.shape, options), flushed(x, p)))


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[np.ndarray]:
    """(K - 1) u S for the K windows that read a pixel: grid.folding_bound."""
    return (folding_bound(_plan(x.shape, options), grads[0], p, gy),)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Return images with windows of up to 4 by 4 taps, strides that leave pixels out, and padding beyond the window.

    About 2^17 numbers at most, usually far fewer. Shrinks towards one image of one pixel and windows of one.
    """
    kernel = per_axis_or_one(draw, AXES, 1, 4)
    dilation, stride = per_axis_or_one(draw, AXES, 1, 3), per_axis_or_one(draw, AXES, 1, 4)
    padding = per_axis_or_one(draw, AXES, 0, 3)
    options = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    window, holes, pads, steps = (per_axis(value, AXES) for value in options.values())
    spans = (d * (k - 1) + 1 for k, d in zip(window, holes, strict=True))
    lows = (1, 1, *(max(1, span - 2 * p) for span, p in zip(spans, pads, strict=True)))
    drawn = draw.sizes(*lows)
    wide = tuple(n - low >= WIDE for n, low in zip(drawn, lows, strict=True))
    more = draw.integer(0, 3)  # a stride needs a larger image for as many windows
    size = tuple(n if w else n + more * (s - 1) for n, w, s in zip(drawn[2:], wide[2:], steps, strict=True))

    def work(values: list[int]) -> int:
        images, channels, _, *rest = values
        g = grid("unfold", tuple(rest[:AXES]), **{**options, "kernel_size": tuple(rest[AXES:])})
        return images * channels * max(math.prod(g.size), g.taps * math.prod(g.out))

    kinds = (*wide[:2], False, False, *wide[2:])
    (images, channels, _), size, lowered = affordable(kinds, (*drawn[:2], 1), size, lows[2:], window, work)
    empty = draw.integer(0, 39) == 39
    kept = {} if lowered == window else {"kernel_size": lowered}
    return Form(((0 if empty else images, channels, *size),), {**options, **kept})


def gallery() -> tuple[Form, ...]:
    """Return the windows of convolutions and of transformers, small enough to judge: every run begins with them."""
    usual = {"dilation": 1, "padding": 0, "stride": 1}
    return (
        Form(((2, 5, 3, 4),), {**usual, "kernel_size": (2, 3)}),
        Form(((1, 2, 5, 5),), {**usual, "kernel_size": 3, "padding": 1}),
        Form(((2, 3, 8, 8),), {**usual, "kernel_size": 4, "stride": 4}),  # patches of a vision transformer
        Form(((1, 2, 7, 9),), {**usual, "kernel_size": 2, "stride": 3}),  # windows that leave pixels out
        Form(((1, 2, 7, 8),), {**usual, "kernel_size": (3, 2), "dilation": (2, 3), "padding": (1, 2)}),
        Form(((1, 3, 4, 5),), {**usual, "kernel_size": 1}),
    )


# 7 Laws

PLAIN = {"dilation": 1, "padding": 0, "stride": 1}


def option(case: Case, name: str) -> Shape:
    """Return an option with one integer for each axis."""
    return per_axis(case.options[name], AXES)


def _tap_rows(f: Any, case: Case) -> Claim:
    image, kernel = case.arrays[0][:1, :1], option(case, "kernel_size")
    out = [n - k + 1 for n, k in zip(image.shape[2:], kernel, strict=True)]
    shifted = [image[(0, 0, *map(_from, tap, out))].ravel() for tap in np.ndindex(*kernel)]
    return claim(f(image, **{**case.options, **PLAIN}), np.stack(shifted)[None])


def _from(start: int, count: int) -> slice:
    return slice(start, start + count)


def _fits(case: Case) -> bool:
    image = case.arrays[0].shape
    return image[0] > 0 and all(n >= k for n, k in zip(image[2:], option(case, "kernel_size"), strict=True))


def _strided(f: Any, case: Case) -> Claim:
    (x,), dense = case.arrays, {**case.options, "stride": 1}
    out = grid("unfold", x.shape[2:], **dense).out
    every = (..., *(slice(None, None, s) for s in option(case, "stride")))
    y = f(x, **case.options)
    return claim(y, f(x, **dense).map(lambda a: a.reshape(*a.shape[:2], *out)[every].reshape(y.shape)))


def _dilated(f: Any, case: Case) -> Claim:
    x, plan = case.arrays[0][:, :1], grid("unfold", case.arrays[0].shape[2:], **case.options)
    solid = f(x, **{**case.options, "kernel_size": plan.span, "dilation": 1})
    taps = tuple(slice(None, None, d) for d in plan.dilation)

    def thinned(a: Array) -> Array:
        rows = a.reshape(a.shape[0], *plan.span, a.shape[-1])[(slice(None), *taps)]
        return rows.reshape(a.shape[0], plan.taps, a.shape[-1])

    return claim(f(x, **case.options), solid.map(thinned))


def has_holes(case: Case) -> bool:
    """Return whether dilation puts holes into the windows."""
    pairs = zip(option(case, "dilation"), option(case, "kernel_size"), strict=True)
    return any(d > 1 and k > 1 for d, k in pairs)


def _bordered(f: Any, case: Case) -> Claim:
    (x,) = case.arrays
    border = pad(x, tuple((p, p) for p in option(case, "padding")))
    return claim(f(x, **case.options), f(border, **{**case.options, "padding": 0}))


def _channel_alone(f: Any, case: Case) -> Claim:
    (x,), taps = case.arrays, math.prod(option(case, "kernel_size"))
    c = case.seed % x.shape[1]
    return claim(f(x, **case.options)[:, c * taps : (c + 1) * taps], f(x[:, c : c + 1], **case.options))


TAP = Law("each row is the image shifted by its tap", _tap_rows, when=_fits)
STRIDE = Law("a stride keeps every s-th window", _strided, when=lambda case: max(option(case, "stride")) > 1)
DILATION = Law("a dilated window keeps every d-th tap of a solid one", _dilated, when=has_holes)
PADDING = Law("padding is a border of zeros", _bordered, when=lambda case: max(option(case, "padding")) > 0)
CHANNEL = Law("a channel has its own rows, in turn", _channel_alone, when=lambda case: case.arrays[0].shape[1] > 1)
LAWS = (TAP, STRIDE, DILATION, PADDING, CHANNEL)

# 8 Refusals


def refusals(name: str, x: Shape, options: dict[str, Any]) -> tuple[Rejection, ...]:
    """Return the options of windows that mean nothing, for unfold and fold, over an image of 4 by 5."""

    def number(says: str, option: str, value: Any, low: int) -> Rejection:
        told = f"{name}: {option}={value!r}, expected an integer >= {low}, or a tuple of 2"
        return Rejection(says, (x,), {**options, option: value}, told)

    return (
        number("an empty window", "kernel_size", 0, 1),
        number("a window with another number of axes", "kernel_size", (2, 2, 2), 1),
        number("a window that is no integer", "kernel_size", 2.5, 1),
        number("stride 0", "stride", 0, 1),
        number("a stride with another number of axes", "stride", (1, 1, 1), 1),
        number("dilation 0", "dilation", 0, 1),
        number("a negative padding", "padding", -1, 0),
        number("a padding with another number of axes", "padding", (1,), 0),
        Rejection(
            "a window larger than the padded image",
            (x,),
            {**options, "kernel_size": (2, 4), "dilation": (1, 3), "padding": (0, 2)},
            f"{name}: a window of (2, 4) with dilation (1, 3) spans (2, 10), but the image of (4, 5) with its padding "
            "has (4, 9); at most that would fit",
        ),
    )


def rejections() -> tuple[Rejection, ...]:
    """Return the ways in which unfold can be asked wrongly."""
    x, options = (2, 3, 4, 5), {"kernel_size": 2}

    def rank(says: str, found: Shape, *, mandatory: bool = True) -> Rejection:
        told = f"unfold: x {found} has {len(found)} axes, expected 4: images, channels and 2 of space"
        return Rejection(says, (found,), options, told, mandatory)

    return (
        rank("an axis too many", (1, *x)),
        rank("no channels", x[2:]),
        rank("one image without its batch", x[1:], mandatory=False),
        *refusals("unfold", x, options),
    )
