"""Plausible wrong average poolings, each with the report of a bug that it models.

A wrong answer comes with the gradient of the wrong map, so that forward and backward agree with each other: it is the
laws about values that must see it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.ops._pool.avg_laws import LAWS, OVERRIDE
from d2lref.ops._pool.avg_pool import by_axes, plan, vjp
from d2lref.ops._pool.grid import Grid
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
SHAPE, ADJOINT = "answers in the shape and dtype of the rule", "the vjp is the adjoint"
PIXEL, PADDING, CONSTANT, OVERHANG, CEIL, STRIDE, CHANNEL = (law.says for law in LAWS)

# 1 A linear map along each axis, and a divisor

Lines = list[Array]
Altered = Callable[[Grid, Mapping[str, Any]], tuple[Lines, Array]]
"""(windows, options) -> one matrix (out, size) of weights per axis of space, and the divisors."""


def _wrong(alter: Altered) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of the altered pooling."""

    def forward(axes: int, x: Array, **options: Any) -> Array:
        lines, divisor = alter(plan(axes, x.shape, **options)[0], options)
        return (shared.along(lines, x) / divisor).astype(x.dtype)

    def backward(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
        lines, divisor = alter(plan(axes, x.shape, **options)[0], options)
        return (shared.along([a.T for a in lines], gy / divisor).astype(x.dtype),)

    return forward, backward


def _divisor(g: Grid, places: shared.Places, options: Mapping[str, Any]) -> Array:
    """Return how many entries of the image, or of image and padding, a window reads (at least 1), or the override."""
    if options.get("divisor_override") is not None:
        return np.float64(options["divisor_override"])
    inside = zip(places.index, *_counted(g, places, options), strict=True)
    counts = [np.sum((a >= low) & (a < high), axis=1) for a, low, high in inside]
    return np.maximum(reduce(np.multiply.outer, counts), 1).astype(np.float64)


def _counted(g: Grid, places: shared.Places, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return from where to where entries count along each axis."""
    return (places.low, places.high) if options.get("count_include_pad", True) else ((0,) * len(g.size), g.size)


# 2 What can be altered


def _moved(place: Callable[[Grid], shared.Places]) -> Altered:
    """Misplace the windows, and divide by what they read there."""
    return lambda g, options: (shared.lines(g, place(g)), _divisor(g, place(g), options))


def _reoptioned(change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Altered:
    """Read the right entries, and divide as other options would have it."""
    return lambda g, options: (
        shared.lines(g, shared.placed(g)),
        _divisor(g, shared.placed(g), {**options, **change(options)}),
    )


def _mean_of_means(g: Grid, options: Mapping[str, Any]) -> tuple[Lines, Array]:
    """Weigh what counts as the mean of its halves' means does, which is right for 1, 2, 4, ... entries."""
    right, lines = shared.placed(g), []
    for index, low, high, n in zip(right.index, *_counted(g, right, options), g.size, strict=True):
        line = np.zeros((len(index), n))
        for i, places in enumerate(index):
            valid = places[(places >= low) & (places < high)]
            inside = (valid >= 0) & (valid < n)
            line[i, valid[inside]] = (len(valid) * np.array(_halved(len(valid))))[inside]
        lines.append(line)
    return lines, _divisor(g, right, options)


def _halved(count: int) -> list[float]:
    """Return the weights of the mean of the means of two halves, each taken in the same way."""
    if count == 1:
        return [1.0]
    return [w / 2 for part in (count - count // 2, count // 2) for w in _halved(part)]


def _whole_window_counted(g: Grid, options: Mapping[str, Any]) -> tuple[Lines, Array]:
    """Count what overhangs the padding too, where padding counts."""
    right = shared.placed(g)
    open_ended = replace(right, high=tuple(h + k for h, k in zip(right.high, g.kernel, strict=True)))
    return shared.lines(g, right), _divisor(g, open_ended, options)


def _ends_after_clipping(g: Grid) -> shared.Places:
    """Move windows that begin in front of the image into it, instead of cutting off what is in front."""
    right = shared.placed(g)
    return replace(right, index=tuple(a - np.minimum(a[:, :1], 0) for a in right.index))


# 3 Other mistakes


def _paired_vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """The adjoint of `shared.paired_channels`: the channel before the last gets the gradient of both."""
    return (shared.paired_back(vjp(axes, gy, x, **options)[0]),)


def _without_drop(axes: int, x: Array, **options: Any) -> Array:
    """Keep the last window of ceil_mode also where it begins in the padding: a mean of zeros."""
    g, _ = plan(axes, x.shape, **options)
    rooms = (n + 2 * p - k for n, p, k in zip(g.size, g.padding, g.kernel, strict=True))
    kept = [-(-room // s) + 1 - few for room, s, few in zip(rooms, g.stride, g.out, strict=True)]
    y = by_axes(axes, x, **options)
    return np.pad(y, [(0, 0), (0, 0), *((0, more) for more in kept)]) if options.get("ceil_mode") else y


def _stride_one(axes: int, x: Array, **options: Any) -> Array:
    return by_axes(axes, x, **{**options, "stride": options.get("stride") or 1})


def _axes_reversed(axes: int, x: Array, **options: Any) -> Array:
    """Take the window for (..., width, height), and leave the stride as it was meant."""
    k = shared.each(options["kernel_size"], axes)
    return by_axes(axes, x, **{**options, "kernel_size": k[::-1], "stride": options.get("stride") or k})


# 4 The tables


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the pooling over so many axes."""
    maps = (_map(axes, *line) for line in (*MAPS, *(MAPS_WITH_OVERRIDE if axes > 1 else ())))
    shapes = (_shape(axes, *line) for line in (*SHAPES, *(SHAPES_OF_SEVERAL_AXES if axes > 1 else ())))
    gradients = (_gradient(axes, *line) for line in (*GRADIENTS, *(GRADIENTS_WITH_OVERRIDE if axes > 1 else ())))
    pairs = partial(shared.paired_channels(by_axes), axes), partial(_paired_vjp, axes)
    two = f"{HUB}/tenstorrent/tt-metal/issues/27738"
    return (*maps, *shapes, *gradients, Mistake("channels are taken two at a time", two, *pairs, (CHANNEL,)))


def _map(axes: int, says: str, cites: str, alter: Altered, caught_by: str) -> Mistake:
    forward, backward = _wrong(alter)
    return Mistake(says, f"{HUB}/{cites}", partial(forward, axes), partial(backward, axes), (caught_by,))


def _shape(axes: int, says: str, cites: str, wrong: Callable[..., Array]) -> Mistake:
    return Mistake(says, f"{HUB}/{cites}", partial(wrong, axes), None, (SHAPE,))


def _gradient(axes: int, says: str, cites: str, alter: Altered) -> Mistake:
    return Mistake(says, f"{HUB}/{cites}", None, partial(_wrong(alter)[1], axes), (ADJOINT,))


MAPS: tuple[tuple[str, str, Altered, str], ...] = (
    ("a mean is that of its halves' means", "chainer/chainer/issues/1739", _mean_of_means, PIXEL),
    (
        "padding always counts",
        "pytorch/glow/issues/4565",
        _reoptioned(lambda options: {"count_include_pad": True}),
        CONSTANT,
    ),
    (
        "padding never counts",
        "sonos/tract/pull/2654",
        _reoptioned(lambda options: {"count_include_pad": False}),
        PADDING,
    ),
    (
        "a window is clipped in front before its end is found",
        "PaddlePaddle/Paddle-Lite/pull/5151",
        _moved(_ends_after_clipping),
        PADDING,
    ),
    ("what overhangs counts", "microsoft/onnxruntime/issues/16203", _whole_window_counted, OVERHANG),
    (
        "what ceil_mode adds is put on both sides",
        "many-facedgod/Numpy-Atrous-Transposed-CNN/issues/1",
        _moved(shared.overhang_on_both_sides),
        CEIL,
    ),
    (
        "a stride beyond the window is taken for the window's",
        "torch/cunn/pull/200",
        _moved(shared.stride_cut_to_the_window),
        STRIDE,
    ),
)
MAPS_WITH_OVERRIDE: tuple[tuple[str, str, Altered, str], ...] = (
    (
        "divisor_override is ignored where padding does not count",
        "pytorch/executorch/pull/18616",
        _reoptioned(lambda options: {} if options.get("count_include_pad", True) else {"divisor_override": None}),
        OVERRIDE.says,
    ),
)
SHAPES = (
    ("a window may begin in the padding behind", "pytorch/pytorch/issues/71549", _without_drop),
    ("the stride is 1 when none is given", "pytorch/pytorch/pull/744", _stride_one),
)
SHAPES_OF_SEVERAL_AXES = (("the axes of the window are reversed", "Samsung/ONE/issues/15677", _axes_reversed),)
GRADIENTS: tuple[tuple[str, str, Altered], ...] = (
    ("what overhangs counts in the gradient", "pytorch/pytorch/issues/198119", _whole_window_counted),
)
GRADIENTS_WITH_OVERRIDE: tuple[tuple[str, str, Altered], ...] = (
    (
        "the gradient ignores divisor_override",
        "pytorch/xla/pull/831",
        _reoptioned(lambda options: {"divisor_override": None}),
    ),
)
