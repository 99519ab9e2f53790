"""What max pooling and average pooling say in the same words: forms, refusals, two laws, and misplaced windows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from d2lref.ops._pool.grid import Grid, grid
from d2lref.rounding import claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Forms


def drawn(draw: Draw, axes: int, dilations: int, *, within: bool = False, padded: bool = True) -> Form:
    """Return a form of x alone, (N, C, *size), with the options that both kinds of pooling have, and dilation.

    Shrinks towards one image of one channel under windows of one entry, all options at their defaults. `within`: no
    window is larger than the image without its padding. A dilated window that steps over the whole image is not drawn:
    its maximum is minus infinity, and its gradient has nowhere to go. A kind of pooling that is not `padded`, or has no
    dilations, has no such option.
    """
    k = _option(draw, axes, 1, (6, 4, 3)[axes - 1])
    s = draw.choice(None, _option(draw, axes, 1, 4))
    d = _option(draw, axes, 1, dilations) if dilations > 1 else 1
    p = _padding(draw, each(k, axes)) if padded else 0
    ceil_mode = draw.choice(False, True)
    more, lows = draw.choice(0, 1), []  # room for another window
    for a, b, c, e in zip(each(k, axes), each(k if s is None else s, axes), each(p, axes), each(d, axes), strict=True):
        least = e * (a - 1) + 1 - 2 * c - (b - 1 if ceil_mode else 0)
        lows.append(max(least, a if within else 1, e if a > 1 else 1) + more * b)
    n, channels, *size = draw.sizes(1, 1, *lows)
    n = 0 if draw.integer(0, 31) == 31 else n
    further = {**({"padding": p} if padded else {}), **({"dilation": d} if dilations > 1 else {})}
    options = {"kernel_size": k, "stride": s, **further, "ceil_mode": ceil_mode}
    return Form(((n, channels, *size),), options)


def _option(draw: Draw, axes: int, low: int, high: int) -> int | Shape:
    """Return an integer for all axes, or a tuple with one for each."""
    if draw.choice(True, False):
        return draw.integer(low, high)
    return tuple(draw.integer(low, high) for _ in range(axes))


def _padding(draw: Draw, kernel: Shape) -> int | Shape:
    """Return a padding of at most half the window: an integer for all axes, or a tuple with one for each."""
    if draw.choice(True, False):
        return draw.integer(0, min(kernel) // 2)
    return tuple(draw.integer(0, k // 2) for k in kernel)


def each(value: int | Shape, axes: int) -> Shape:
    """Return one integer per axis: an int counts for all of them."""
    return (value,) * axes if isinstance(value, int) else value


def gallery(axes: int, **further: Any) -> tuple[Form, ...]:
    """Return two examples of d2l 7.5, the poolings of AlexNet, ResNet and GoogLeNet, and a window that is dropped."""
    usual = {"stride": None, "padding": 0, "ceil_mode": False, **further}
    return (
        Form(((1, 1, *(3,) * axes),), {**usual, "kernel_size": 2, "stride": 1}),
        Form(((1, 1, *(4,) * axes),), {**usual, "kernel_size": 3}),
        Form(((2, 3, *(7,) * axes),), {**usual, "kernel_size": 3, "stride": 2}),
        Form(((1, 2, *(8,) * axes),), {**usual, "kernel_size": 3, "stride": 2, "padding": 1}),
        Form(((1, 2, *(8,) * axes),), {**usual, "kernel_size": 3, "stride": 2, "ceil_mode": True}),
        Form(((1, 2, *(5,) * axes),), {**usual, "kernel_size": 2, "padding": 1, "ceil_mode": True}),
    )


# 2 Refusals


def rejections(title: str, axes: int, **required: Any) -> tuple[Rejection, ...]:
    """Return the ways in which a pooling can be asked wrongly; `required` are options without which it is no call.

    Advisory: torch takes (C, *size) as one image, and its limit on padding is its own policy.
    """
    name, x = title.format(axes), (1, 2, *(4,) * axes)

    def refused(says: str, shape: Shape, told: str, *, mandatory: bool = True, **options: Any) -> Rejection:
        return Rejection(says, (shape,), {**required, "kernel_size": 2, **options}, f"{name}: {told}", mandatory)

    def rank(says: str, shape: Shape, *, mandatory: bool = True) -> Rejection:
        told = f"x {shape} has {len(shape)} axes, expected {axes + 2}: images, channels, {axes} of space"
        return refused(says, shape, told, mandatory=mandatory)

    def number(says: str, option: str, value: Any, low: int) -> Rejection:
        told = f"{option}={value!r}, expected an integer >= {low}, or a tuple of {axes}"
        return refused(says, x, told, **{option: value})

    wide = f"a window spans {(9,) * axes}, but x {x} with its padding has {(4,) * axes}; at most that would fit"
    much = f"padding=2 is more than half of kernel_size=2, expected at most {(1,) * axes}"
    return (
        rank("an axis too many", (*x, 4)),
        rank("no channels", x[2:]),
        rank("one image without its batch", x[1:], mandatory=False),
        number("an empty window", "kernel_size", 0, 1),
        number("a window with an axis too many", "kernel_size", (2,) * (axes + 1), 1),
        number("stride 0", "stride", 0, 1),
        number("a negative stride", "stride", -1, 1),
        number("a stride with an axis too many", "stride", (1,) * (axes + 1), 1),
        number("a negative padding", "padding", -1, 0),
        number("a padding with an axis too many", "padding", (1,) * (axes + 1), 0),
        refused("more padding than half a window", x, much, mandatory=False, padding=2),
        refused("a window larger than the padded image", x, wide, kernel_size=9, stride=1),
    )


# 3 Laws that hold of both, and what other laws are made of


def grid_of(case: Case, size: Shape | None = None, **changes: Any) -> Any:
    """Return the windows of a case after changes of its options (and its image's size); None when they do not fit."""
    kinds = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    told = {k: v for k, v in {**case.options, **changes}.items() if k in kinds}
    size = case.arrays[0].shape[2:] if size is None else size
    try:
        return grid("", len(size), (1, 1, *size), **told)
    except ValueError:
        return None


def reads(g: Grid, at: Shape) -> Array:
    """Return which windows read the entry of the image at `at`: booleans, shape `out`."""
    along = []
    for axis, (k, d) in enumerate(zip(g.kernel, g.dilation, strict=True)):
        step = at[axis] - np.array(g.starts(axis))
        along.append((step % d == 0) & (step >= 0) & (step < k * d))
    return reduce(np.multiply.outer, along)


def lone(size: Shape, seed: int, background: float, value: float) -> tuple[Array, Shape]:
    """Return an image (1, 1, *size) of one value but for one entry, and where that is."""
    rng = np.random.default_rng(seed)
    at = tuple(int(rng.integers(n)) for n in size)
    image = np.full((1, 1, *size), background)
    image[(0, 0, *at)] = value
    return image, at


def _subsampled(f: Any, case: Case) -> Claim:
    """f(x, s) = f(x, 1)[..., ::s]."""
    x, g, options = case.arrays[0][:1], grid_of(case), {**case.options, "ceil_mode": False}
    every = f(x, **{**options, "stride": 1})
    return claim(f(x, **options), every[(..., *(slice(None, None, s) for s in g.stride))])


def _strided(case: Case) -> bool:
    g = grid_of(case, ceil_mode=False)
    return g is not None and max(g.stride) > 1


def _alone(f: Any, case: Case) -> Claim:
    """f(x)[:, c] = f(x[:, c])."""
    x = case.arrays[0][:1]
    c = case.seed % x.shape[1]
    return claim(f(x, **case.options)[:, c : c + 1], f(x[:, c : c + 1], **case.options))


def _threshold(f: Any, case: Case) -> Claim:
    """f(g(x)) = g(f(x)) for an increasing map g: a step at one of the entries, minus infinity left where it is.

    Threshold decomposition: Fitch, Coyle and Gallagher 1984, Median filtering by threshold decomposition.
    """
    x = case.arrays[0][:1]
    known = x[np.isfinite(x)]
    level = known.max() if case.seed % 2 else known[case.seed // 2 % known.size]

    def step(a: Array) -> Array:
        return np.where(np.isnan(a) | np.isneginf(a), a, np.where(a >= level, 1.0, -1.0))

    left, y = f(step(x), **case.options), f(x, **case.options)
    return Claim(left.value, step(y.value), np.where(np.abs(y.value - level) < y.error, np.inf, left.error))


def _some_finite(case: Case) -> bool:
    return bool(np.isfinite(case.arrays[0][:1]).any())


def signs(case: Case, size: Shape) -> Array:
    """Return -1, 0 and 1 in random order: sums of up to 256 of them are exact in every format."""
    return np.random.default_rng(case.seed).integers(-1, 2, size).astype(np.float64)


SUBSAMPLED = Law("a stride is a stride-1 answer, subsampled", _subsampled, when=_strided)
THRESHOLD = Law("thresholding commutes with the maximum", _threshold, when=_some_finite)
ALONE = Law("a channel is pooled alone", _alone, when=lambda case: case.arrays[0].shape[1] > 1)


# 4 Misplaced windows: what the mistakes of both are made of


@dataclass(frozen=True, slots=True)
class Places:
    """Which entries each window reads along each axis: integers (out, k), 0 the first of the image.

    low and high bound what counts as image or padding: low <= place < high.
    """

    index: tuple[Array, ...]
    low: Shape
    high: Shape


def placed(g: Grid) -> Places:
    """Return the windows where they belong: i s - p + u d."""
    along = enumerate(zip(g.kernel, g.dilation, strict=True))
    index = tuple(np.array(g.starts(axis))[:, None] + np.arange(k) * d for axis, (k, d) in along)
    return Places(index, tuple(-p for p in g.padding), tuple(n + p for n, p in zip(g.size, g.padding, strict=True)))


def lines(g: Grid, places: Places) -> list[Array]:
    """Return along each axis how often a window reads an entry of the image, (out, size)."""
    return [np.sum(a[:, :, None] == np.arange(n), axis=1) for a, n in zip(places.index, g.size, strict=True)]


def along(matrices: list[Array], x: Array) -> Array:
    """Return x multiplied by one matrix along each axis of space, in float64."""
    x = x.astype(np.float64)
    for axis, line in enumerate(matrices, start=2):
        x = np.moveaxis(np.tensordot(x, line, (axis, 1)), -1, axis)
    return x


def overhang_on_both_sides(g: Grid) -> Places:
    """Place what ceil_mode overhangs half in front and half behind, the larger half in front."""
    right = placed(g)
    index = tuple(a - (max(over, 0) + 1) // 2 for a, over in zip(right.index, g.overhang, strict=True))
    return replace(right, index=index)


def stride_cut_to_the_window(g: Grid) -> Places:
    """Place the windows min(s, k) apart, so that nothing between them is left out."""
    return placed(replace(g, stride=tuple(map(min, g.stride, g.kernel))))


def paired_channels(pool: Callable[..., Array]) -> Callable[..., Array]:
    """Return the pooling done two channels at a time; one that is left over gets the answer of the one before it."""
    return lambda axes, x, **options: pool(axes, in_pairs(x), **options)


def in_pairs(x: Array) -> Array:
    """Return x as `paired_channels` reads it."""
    c = x.shape[1]
    return x[:, [*range(c - 1), c - 2]] if c % 2 and c > 1 else x


def paired_back(gx: Array) -> Array:
    """Return the gradient of what `paired_channels` reads: the channel before the last gets the gradient of both."""
    c = gx.shape[1]
    if c % 2 == 0 or c == 1:
        return gx
    last = gx[:, c - 1 :]
    return np.concatenate([gx[:, : c - 2], gx[:, c - 2 : c - 1] + last, np.zeros_like(last)], axis=1)
