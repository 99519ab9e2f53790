"""Which transposed convolutions are tried: shapes and options; the values come from the regimes."""

import math
from functools import partial
from typing import Any

from d2lref.arrays import per_axis
from d2lref.ops._conv.cases import WIDE, affordable, per_axis_or_one, shared_groups
from d2lref.ops._conv_transpose.definition import geometry
from d2lref.spec import Draw, Form, Shape


def cases(axes: int, draw: Draw) -> Form:
    """Return a transposed convolution of about 2^17 products at most (2^18 where two sizes are wide), usually fewer.

    Wide numbers of channels and filters are those of all groups together. Strides reach beyond the window, so that
    stamps leave holes; padding goes up to all that can be cropped. Shrinks towards one image of one pixel with one
    channel, one filter with one tap, no bias, and every option at its default.
    """
    window = tuple(draw.integer(1, (6, 4, 3)[axes - 1]) for _ in range(axes))
    options: dict[str, Any] = {
        "stride": per_axis_or_one(draw, axes, 1, 4),
        "padding": 0,
        "output_padding": 0,
        "groups": 1,
        "dilation": per_axis_or_one(draw, axes, 1, 3),
    }
    options["output_padding"] = _up_to(draw, _most_behind(axes, options))
    lows = (1, 1, 1, 1, *(1,) * axes)
    drawn = draw.sizes(*lows)
    wide = tuple(n - low >= WIDE for n, low in zip(drawn, lows, strict=True))
    options["groups"] = groups = shared_groups(drawn[1:4], wide[1:4], wanted=draw.choice(False, True))
    counts = tuple(n // groups if w and n % groups == 0 else n for n, w in zip(drawn[1:3], wide[1:3], strict=True))
    work = partial(_work, axes, options)
    counts, size, window = affordable(wide, (drawn[0], *counts), drawn[4:], lows[4:], window, work)
    whole = geometry(axes, (1, groups, *size), (groups, 1, *window), **options).whole
    options["padding"] = _up_to(draw, tuple((n - 1) // 2 for n in whole))
    empty = draw.integer(0, 39) == 39
    return _form(counts, size, window, options, bias=draw.choice(False, True), empty=empty)


def _most_behind(axes: int, options: dict[str, Any]) -> Shape:
    """Return the largest output_padding along each axis."""
    stride, dilation = (per_axis(options[name], axes) for name in ("stride", "dilation"))
    return tuple(max(s, d) - 1 for s, d in zip(stride, dilation, strict=True))


def _up_to(draw: Draw, most: Shape) -> int | Shape:
    """Return 0, another int, one for each axis, or the most that each axis bears; shrinks towards 0."""
    kind = draw.choice("none", "one", "several", "most")
    if kind == "one":
        return draw.integer(0, min(3, *most))
    if kind == "several":
        return tuple(draw.integer(0, min(3, m)) for m in most)
    return most if kind == "most" else 0


def _work(axes: int, options: dict[str, Any], values: list[int]) -> int:
    """Return the pixels to write, or the products to make, whichever are more."""
    images, channels, filters, *rest = values
    size, window, groups = rest[:axes], rest[axes:], options["groups"]
    whole = geometry(axes, (1, groups, *size), (groups, 1, *window), **options).whole
    return images * groups * max((channels + filters) * math.prod(whole), channels * filters * math.prod(rest))


def _form(
    counts: Shape, size: Shape, window: Shape, options: dict[str, Any], *, bias: bool, empty: bool = False
) -> Form:
    """Return the form for images, channels per group and filters per group."""
    images, channels, filters = counts
    groups = options["groups"]
    shapes = ((0 if empty else images, channels * groups, *size), (channels * groups, filters, *window))
    return Form((*shapes, (filters * groups,) if bias else None), options)


def gallery(axes: int) -> tuple[Form, ...]:
    """Return transposed convolutions of famous nets, small enough to judge: every run begins with them."""
    everywhere = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}

    def form(counts: Shape, size: int, window: int, *, bias: bool = False, **options: Any) -> Form:
        return _form(counts, (size,) * axes, (window,) * axes, everywhere | options, bias=bias)

    return (
        form((1, 1, 1), 2, 2),  # the book's first example, figure 14.10.1
        form((1, 1, 1), 2, 2, stride=2),  # its second, figure 14.10.2
        form((1, 1, 1), 2, 2, padding=1),  # all but the middle is cropped
        form((1, 3, 4), 4, 5, bias=True, padding=2, stride=3),  # the shape of a convolution undone, section 14.10.2
        form((2, 5, 4), 1, 4),  # the first of a DCGAN
        form((1, 4, 2), 3, 4, stride=2, padding=1),  # the others
        form((2, 4, 2), 3, 2, bias=True, stride=2),  # U-Net: stamps side by side
        form((1, 3, 2), 3, 3, bias=True, stride=2, padding=1, output_padding=1),  # the decoder of an autoencoder
        form((1, 1, 1), 3, 4, stride=2, padding=1, groups=3),  # FCN: bilinear interpolation of each channel
        form((1, 2, 2), 3, 2, bias=True, stride=4, output_padding=3),  # holes
        form((1, 2, 3), 4, 3, bias=True, dilation=3, output_padding=2, padding=4),  # more behind than the stride
        form((1, 2, 3), 4, 1, bias=True, stride=2, groups=2),  # stamps of one pixel
    )
