"""fold: columns added up where the windows of an image lie (col2im), the adjoint of unfold; told in the same order."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from d2lref.arrays import axis_integers, dilate, namespace, overlap_add, pad, zeros
from d2lref.ops._conv.laws import exactly, pick
from d2lref.ops._conv_transpose import definition as transposed
from d2lref.ops._unfold import im2col
from d2lref.ops._unfold.grid import AXES, Grid, columns, cropped, flushed, folded, folding_bound, grid, one_hot
from d2lref.ops._unfold.im2col import has_holes, option
from d2lref.rounding import Pair, Precision, claim, multilinear_spread
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *output_size),) for x (N, C K, L). Raises ValueError.

    K is the number of taps of a window and L that of windows in the padded output (see im2col.shape).
    """
    g = _plan(x, **options)
    return ((x[0], x[1] // g.taps, *g.size),)


def _plan(x: Shape, *, output_size: Any, **options: Any) -> Grid:
    """Return where the windows lie. Raises ValueError."""
    x = tuple(x)
    if len(x) != 3:
        raise ValueError(f"fold: x {x} has {len(x)} axes, expected 3: images, rows and columns")
    g = grid("fold", axis_integers("fold", "output_size", output_size, AXES, 1), **options)
    if x[1] % g.taps:
        raise ValueError(
            f"fold: x {x} has {x[1]} rows, expected a multiple of {g.taps}, one for each tap of the window {g.kernel}"
        )
    if x[2] != math.prod(g.out):
        raise ValueError(
            f"fold: x {x} has {x[2]} columns, but an output of {g.size} has {g.out} windows; x with "
            f"{math.prod(g.out)} columns would fit"
        )
    return g


# 2 Definition


def definition(
    x: Array,
    *,
    output_size: int | Shape,
    kernel_size: int | Shape,
    dilation: int | Shape = 1,
    padding: int | Shape = 0,
    stride: int | Shape = 1,
) -> Array:
    """y[n, c, j] = sum over u, l with l s + u d = j + p of x[n, c K + u, l]: every column is added where it was read.

    x (N, C K, L), as unfold returns it; y (N, C, *output_size), of one dtype. What falls into the padding p is dropped;
    places that no window reads are 0. Options: those of unfold, and output_size. Raises ValueError (see `shape`).
    Source: Jia et al. 2014, Caffe: convolutional architecture for fast feature embedding (col2im); Zhang, Lipton, Li
    and Smola, Dive into Deep Learning, section 14.10.3.
    """
    told = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    xp, g = namespace(x), _plan(x.shape, output_size=output_size, **told)
    patches = xp.reshape(x, (x.shape[0], x.shape[1] // g.taps, *g.kernel, x.shape[2]))

    def placed(window: int, cut: tuple[slice, ...]) -> Array:
        ends = tuple((a.start, n - a.stop) for a, n in zip(cut, g.whole, strict=True))
        return pad(dilate(patches[..., window], g.dilation), ends)

    nothing = zeros(x, (*patches.shape[:2], *g.whole))
    return cropped(g, reduce(add, (placed(window, cut) for window, cut in enumerate(g.cuts())), nothing))


# 3 Faster ways


def by_taps(x: Array, **options: Any) -> Array:
    """Add the shifted image of each tap: as many additions as there are taps."""
    return folded(_plan(x.shape, **options), x)


def by_axes(x: Array, **options: Any) -> Array:
    """Fold along the width, then along the height: a window is a product of two."""
    xp, g = namespace(x), _plan(x.shape, **options)
    high, wide = ((n,) for n in g.whole)
    (s, t), (d, e) = (((a,), (b,)) for a, b in (g.stride, g.dilation))
    parts = xp.reshape(x, (x.shape[0], x.shape[1] // g.taps, *g.kernel, *g.out))
    rows = overlap_add(xp.permute_dims(parts, (0, 1, 4, 2, 5, 3)), wide, t, e)  # (N, C, rows, taps, W)
    whole = xp.permute_dims(overlap_add(xp.permute_dims(rows, (0, 1, 4, 2, 3)), high, s, d), (0, 1, 3, 2))
    return cropped(g, whole)


def by_transposed_convolution(x: Array, **options: Any) -> Array:
    """Stamp each row with the filter that is 1 at its tap and 0 elsewhere; zeros lie behind the last window."""
    xp, g = namespace(x), _plan(x.shape, **options)
    channels = x.shape[1] // g.taps
    bare = {"stride": g.stride, "dilation": g.dilation, "groups": channels}
    rows = xp.reshape(x, (*x.shape[:2], *g.out))
    stamped = transposed.stamp(AXES, transposed.by_columns, rows, one_hot(g, x, channels), **bare)
    whole = pad(stamped, tuple((0, n - m) for n, m in zip(g.whole, stamped.shape[2:], strict=True)))
    return cropped(g, whole)


VARIANTS = {
    "taps": Variant(by_taps),
    "separable": Variant(by_axes),
    "transposed": Variant(by_transposed_convolution, finite=True),
}

# 4 Derivative


def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx = unfold(gy): gx[n, c K + u, l] = gy[n, c, l s + u d - p]."""
    return (columns(_plan(x.shape, **options), gy),)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, **options: Any) -> np.ndarray:
    """(K - 1) u S for the K columns that fall on a place: grid.folding_bound; 0 where at most one does."""
    return folding_bound(_plan(x.shape, **options), y, p, x)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[np.ndarray]:
    """0: windows are copies, bit for bit; |gy| where subnormals may be flushed."""
    del grads
    return (np.asarray(columns(_plan(x.shape, **options), flushed(gy, p))),)


def spread(y: Array, p: Precision, x: Array, **options: Any) -> np.ndarray:
    """rounding.multilinear_spread of the sum: scale of the rounding error for entries in random order."""
    return multilinear_spread(lambda a: by_taps(a, **options), (x,), y=y, p=p)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Return the columns of a case of unfold: see there."""
    form = im2col.cases(draw)
    return _columns_of(form, square=draw.choice(False, True))


def _columns_of(form: Form, *, square: bool = False) -> Form:
    """Return the form of fold whose answer has the shape of an image; its size as an int, where asked and possible."""
    image: Any = form.shapes[0]
    height, width = image[2:]
    size = height if square and height == width else (height, width)
    return Form(im2col.shape(image, **form.options), {"output_size": size, **form.options})


def gallery() -> tuple[Form, ...]:
    """Return the columns of unfold's gallery."""
    return tuple(map(_columns_of, im2col.gallery()))


# 7 Laws


def _left_over(case: Case) -> Shape:
    """Return how many places lie behind the last window of the padded image."""
    g = _plan(case.arrays[0].shape, **case.options)
    along = zip(g.whole, g.out, g.stride, g.span, strict=True)
    return tuple(n - (out - 1) * s - span for n, out, s, span in along)


def _reaching(case: Case, kernel: Shape, out: Shape, behind: Shape) -> Shape:
    """Return the size that so many solid windows reach, and places behind them."""
    along = zip(kernel, out, option(case, "stride"), behind, strict=True)
    return tuple((n - 1) * s + k + r for k, n, s, r in along)


def _one_window(f: Any, case: Case) -> Claim:
    kernel, behind = option(case, "kernel_size"), _left_over(case)
    column, taps = case.arrays[0][:1, : math.prod(kernel), :1], math.prod(kernel)
    size = _reaching(case, kernel, (1, 1), behind)
    y = f(column, **{**case.options, "output_size": size, "dilation": 1, "padding": 0})
    window = column.reshape(1, column.shape[1] // taps, *kernel)
    return claim(y, pad(window, tuple((0, r) for r in behind)))


def _halves_add(f: Any, case: Case) -> Claim:
    (x,), g, behind = case.arrays, _plan(case.arrays[0].shape, **case.options), _left_over(case)
    axis = max(range(AXES), key=g.out.__getitem__)
    cut = 1 + pick(case, g.out[axis] - 1)[0]
    windows = x.reshape(*x.shape[:2], *g.out)

    def part(a: int, b: int, left: Shape) -> Pair:
        some = windows[(..., *(slice(a, b) if i == axis else slice(None) for i in range(AXES)))]
        size = _reaching(case, g.kernel, some.shape[2:], left)
        solid = {**case.options, "output_size": size, "dilation": 1, "padding": 0}
        return f(some.reshape(*x.shape[:2], math.prod(some.shape[2:])), **solid)

    whole = part(0, g.out[axis], behind)
    first = part(0, cut, tuple(0 if i == axis else r for i, r in enumerate(behind)))
    second = part(cut, g.out[axis], behind)
    return claim(whole, _within(first, whole, axis, 0) + _within(second, whole, axis, cut * g.stride[axis]))


def _within(part: Pair, whole: Pair, axis: int, start: int) -> Pair:
    """Return a part at its place in zeros of the shape of the whole."""
    ends = [(0, 0)] * AXES
    ends[axis] = (start, whole.shape[2 + axis] - part.shape[2 + axis] - start)
    return part.map(lambda a: pad(a, tuple(ends)))


def _dilated(f: Any, case: Case) -> Claim:
    g = _plan(case.arrays[0].shape, **case.options)
    x = case.arrays[0][:, : g.taps]
    windows = np.moveaxis(x.reshape(x.shape[0], *g.kernel, x.shape[2]), -1, 1)
    holes = np.moveaxis(dilate(windows, g.dilation), 1, -1).reshape(x.shape[0], math.prod(g.span), x.shape[2])
    solid = {**case.options, "kernel_size": g.span, "dilation": 1}
    return claim(f(x, **case.options), f(holes, **solid))


def _cropped(f: Any, case: Case) -> Claim:
    (x,), g = case.arrays, _plan(case.arrays[0].shape, **case.options)
    inside = (slice(p, p + n) for p, n in zip(g.padding, g.size, strict=True))
    whole = f(x, **{**case.options, "output_size": g.whole, "padding": 0})
    return claim(f(x, **case.options), whole[(..., *inside)])


def _channel_alone(f: Any, case: Case) -> Claim:
    (x,), taps = case.arrays, math.prod(option(case, "kernel_size"))
    c = case.seed % (x.shape[1] // taps)
    return claim(f(x, **case.options)[:, c : c + 1], f(x[:, c * taps : (c + 1) * taps], **case.options))


def _several(number: Callable[[Grid], int]) -> Callable[[Case], bool]:
    """Return the condition that something about the windows is more than 1."""
    return lambda case: number(_plan(case.arrays[0].shape, **case.options)) > 1


WINDOW = Law("one column is one window, row by row", _one_window, when=lambda case: case.arrays[0].shape[0] > 0)
HALVES = Law("windows add up, each where it was read", _halves_add, when=exactly(_several(lambda g: max(g.out))))
DILATION = Law("a dilated window is a solid one with zeros between its taps", _dilated, when=has_holes)
PADDING = Law("padding crops what falls outside", _cropped, when=lambda case: max(option(case, "padding")) > 0)
CHANNEL = Law(
    "a channel has its own rows, in turn",
    _channel_alone,
    when=lambda case: case.arrays[0].shape[1] > math.prod(option(case, "kernel_size")),
)
LAWS = (WINDOW, HALVES, DILATION, PADDING, CHANNEL)

# 8 Refusals


def rejections() -> tuple[Rejection, ...]:
    """Return the ways in which fold can be asked wrongly."""
    x, options = (2, 12, 12), {"output_size": (4, 5), "kernel_size": 2}

    def refused(says: str, found: Shape, told: str, **changes: Any) -> Rejection:
        return Rejection(says, (found,), {**options, **changes}, f"fold: {told}")

    ranks = "expected 3: images, rows and columns"
    plain = {"stride": 1, "dilation": 1, "padding": 0}
    return (
        refused("an axis too many", (1, *x), f"x {(1, *x)} has 4 axes, {ranks}"),
        refused("columns only", x[2:], f"x {x[2:]} has 1 axes, {ranks}"),
        replace(refused("one image without its batch", x[1:], f"x {x[1:]} has 2 axes, {ranks}"), mandatory=False),
        refused(
            "rows that are no windows",
            (2, 10, 12),
            "x (2, 10, 12) has 10 rows, expected a multiple of 4, one for each tap of the window (2, 2)",
        ),
        refused(
            "a column too few",
            (2, 12, 11),
            "x (2, 12, 11) has 11 columns, but an output of (4, 5) has (3, 4) windows; x with 12 columns would fit",
            **plain,
        ),
        refused(
            "an output without places", x, "output_size=0, expected an integer >= 1, or a tuple of 2", output_size=0
        ),
        refused(
            "an output with another number of axes",
            x,
            "output_size=(4, 5, 6), expected an integer >= 1, or a tuple of 2",
            output_size=(4, 5, 6),
        ),
        *im2col.refusals("fold", x, options),
    )
