"""Which separable convolutions are tried: shapes and options."""

from typing import Any

from d2lref.arrays import per_axis
from d2lref.ops._conv.cases import WIDE, least_sizes, per_axis_or_one
from d2lref.spec import Draw, Form, Shape


def cases(axes: int, draw: Draw) -> Form:
    """Return up to three filters for each channel, one where some size is wide.

    Shrinks towards one image of one pixel with one channel, one filter with one tap, one answer, no bias, and every
    option at its default.
    """
    window = tuple(draw.integer(1, (5, 3, 3)[axes - 1]) for _ in range(axes))
    dilation = per_axis_or_one(draw, axes, 1, 3)
    padding = draw.choice(0, "number", "valid", "same")
    if padding == "number":
        padding = per_axis_or_one(draw, axes, 0, 3)
    stride = 1 if padding == "same" else per_axis_or_one(draw, axes, 1, 4)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    lows = (1, 1, 1, *least_sizes(axes, window, {**options, "groups": 1}))
    images, channels, answers, *size = drawn = draw.sizes(*lows)
    wide = any(n - low >= WIDE for n, low in zip(drawn, lows, strict=True))
    multiplier, steps = draw.integer(1, 3), draw.integer(0, 3)
    size = [n if wide else n + steps * (s - 1) for n, s in zip(size, per_axis(stride, axes), strict=True)]
    empty = draw.integer(0, 39) == 39
    counts = (0 if empty else images, channels, 1 if wide else multiplier, answers)
    return _form(counts, tuple(size), window, options, bias=draw.choice(False, True))


def _form(counts: Shape, size: Shape, window: Shape, options: dict[str, Any], *, bias: bool) -> Form:
    """Return the form for images, channels, filters per channel and answers."""
    images, channels, multiplier, answers = counts
    filters, ones = channels * multiplier, (1,) * len(size)
    shapes = ((images, channels, *size), (filters, 1, *window), (answers, filters, *ones))
    return Form((*shapes, (answers,) if bias else None), options)


def gallery(axes: int) -> tuple[Form, ...]:
    """Return the separable convolutions of famous nets, small enough to judge."""
    usual = {"stride": 1, "padding": 0, "dilation": 1}

    def form(counts: Shape, size: int, window: int, *, bias: bool = False, **options: Any) -> Form:
        return _form(counts, (size,) * axes, (window,) * axes, usual | options, bias=bias)

    return (
        form((1, 4, 1, 8), 7, 3, stride=2, padding=1),  # MobileNet
        form((2, 3, 1, 5), 5, 3, padding="same"),  # Xception
        form((1, 2, 2, 3), 5, 3, bias=True, dilation=2, padding="same"),  # DeepLab: dilated
        form((1, 3, 2, 1), 4, 2, bias=True),  # several filters for each channel, an even window
    )
