"""Which convolutions are tried: shapes and options; the values come from the regimes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from d2lref.arrays import per_axis
from d2lref.ops._conv.definition import geometry
from d2lref.spec import SUMS, Draw, Form, Shape

MOST_PRODUCTS = 2**17
MOST_FOR_TWO = 2**18  # where two sizes are wide
WIDE = 4  # a size so far above its lower bound was drawn at a block width (Draw.sizes)
REGIMES = (*SUMS, "ties", "signed_zero")


def cases(axes: int, draw: Draw) -> Form:
    """Return a convolution of about 2^17 products at most (2^18 where two sizes are wide), usually far fewer.

    Wide numbers of channels and filters are those of all groups together: that is what kernels ask about. So are
    windows of 3 without stride and dilation, one in five of two axes. Shrinks towards one image of one pixel with one
    channel, one filter with one tap, no bias, and every option at its default.
    """
    window = tuple(draw.integer(1, (6, 4, 3)[axes - 1]) for _ in range(axes))
    dilation = per_axis_or_one(draw, axes, 1, 3)
    padding = draw.choice(0, "number", "valid", "same")
    if padding == "number":
        padding = per_axis_or_one(draw, axes, 0, 3)
    stride = 1 if padding == "same" else per_axis_or_one(draw, axes, 1, 4)
    if draw.integer(0, 2) == 2:
        window, dilation, stride = tuple(3 if n > 1 else 1 for n in window), 1, 1
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 1}
    lows = (1, 1, 1, 1, *least_sizes(axes, window, options))
    drawn = draw.sizes(*lows)
    wide = tuple(n - low >= WIDE for n, low in zip(drawn, lows, strict=True))
    options["groups"] = groups = shared_groups(drawn[1:4], wide[1:4], wanted=draw.choice(False, True))
    counts = tuple(n // groups if w and n % groups == 0 else n for n, w in zip(drawn[1:3], wide[1:3], strict=True))
    steps = draw.integer(0, 3)  # a stride needs a larger image for as many answers
    further = zip(drawn[4:], wide[4:], per_axis(stride, axes), strict=True)
    size = tuple(n if w else n + steps * (s - 1) for n, w, s in further)
    work = partial(_work, axes, options)
    counts, size, window = affordable(wide, (drawn[0], *counts), size, lows[4:], window, work)
    empty = draw.integer(0, 39) == 39
    return _form(counts, size, window, options, bias=draw.choice(False, True), empty=empty)


def shared_groups(counts: Shape, wide: tuple[bool, ...], *, wanted: bool) -> int:
    """Return the groups: a wide number always, another where it is wanted and divides what is wide beside it."""
    *others, groups = counts
    fits = all(n % groups == 0 for n, w in zip(others, wide[:2], strict=True) if w)
    return groups if wide[2] or (wanted and fits) else 1


def per_axis_or_one(draw: Draw, axes: int, low: int, high: int) -> int | Shape:
    """Return the lowest value as an int, or any as an int or one for each axis; shrinks towards the first."""
    kind = draw.choice("usual", "one", "several")
    if kind == "several":
        return tuple(draw.integer(low, high) for _ in range(axes))
    return draw.integer(low, high) if kind == "one" else low


def least_sizes(axes: int, window: Shape, options: dict[str, Any]) -> Shape:
    """Return the least size of each axis at which the window fits into the padded image, at least 1."""
    ample = geometry(axes, (1, 1, *(99,) * axes), (1, 1, *window), **options)
    spans = (d * (k - 1) + 1 for k, d in zip(window, ample.dilation, strict=True))
    return tuple(max(1, span - sum(pads)) for span, pads in zip(spans, ample.pads, strict=True))


def affordable(
    wide: tuple[bool, ...],
    counts: Shape,
    size: Shape,
    lows: Shape,
    window: Shape,
    work: Callable[[list[int]], int],
) -> tuple[Shape, Shape, Shape]:
    """Return images, channels and filters per group, the image's size and the window, lowered to an affordable work.

    What is not wide is given up first, one after the other: counts, then size, then window; then the least count.
    `wide` and `work` speak of all of them in this order (wide of the groups too, behind the counts).
    """
    axes, values = len(size), [*counts, *size, *window]
    floors = [n if w else low for n, w, low in zip(values, (*wide[:3], *wide[4:]), (1, 1, 1, *lows), strict=False)]
    floors += [1] * (axes + 3)
    order = [
        *sorted(range(3), key=values.__getitem__),
        *range(3, len(values)),
        *sorted(range(3), key=values.__getitem__),
    ]
    most = MOST_FOR_TWO if sum(wide) > 1 else MOST_PRODUCTS
    for turn, place in enumerate(order):
        if work(values) <= most:
            break
        values[place] = floors[place] if turn < len(values) else 1
    return tuple(values[:3]), tuple(values[3 : 3 + axes]), tuple(values[3 + axes :])


def _work(axes: int, options: dict[str, Any], values: list[int]) -> int:
    """Return the pixels to read or the products to sum, whichever are more."""
    images, channels, filters, *rest = values
    size, window, groups = rest[:axes], rest[axes:], options["groups"]
    out = geometry(axes, (1, groups, *size), (groups, 1, *window), **options).out
    return images * channels * groups * max(math.prod(size), filters * math.prod((*out, *window)))


def _form(
    counts: Shape, size: Shape, window: Shape, options: dict[str, Any], *, bias: bool, empty: bool = False
) -> Form:
    """Return the form for images, channels per group and filters per group."""
    images, channels, filters = counts
    groups = options["groups"]
    shapes = ((0 if empty else images, channels * groups, *size), (filters * groups, channels, *window))
    return Form((*shapes, (filters * groups,) if bias else None), options)


def gallery(axes: int) -> tuple[Form, ...]:
    """Return convolutions of famous nets, small enough to judge: every run begins with them."""
    everywhere = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}

    def form(counts: Shape, size: int, window: int, *, bias: bool = False, **options: Any) -> Form:
        return _form(counts, (size,) * axes, (window,) * axes, everywhere | options, bias=bias)

    return (
        form((1, 1, 1), 3, 2),  # the book's first example, figure 7.2.1
        form((2, 1, 3), 9, 5, bias=True, padding=2),  # LeNet
        form((1, 3, 2), 11, 7, stride=2, padding=3),  # the first of ResNet
        form((1, 2, 3), 5, 1, stride=2),  # a shortcut of ResNet
        form((2, 5, 4), 4, 1, bias=True),  # NiN: a linear layer at every pixel
        form((1, 1, 1), 7, 3, stride=2, padding=1, groups=8),  # MobileNet: depthwise
        form((1, 4, 4), 6, 3, padding=1, groups=2),  # ResNeXt
        form((1, 2, 2), 9, 3, dilation=2, padding="same"),  # dilated, Yu and Koltun 2016
        form((1, 3, 2), 5, 4, bias=True, padding="same"),  # an even window has no middle
        form((1, 16, 2), 3, 3, padding="valid"),  # a block of channels
    )
