"""Plausible wrong power-average poolings, each with the report of a bug that it models."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.ops._pool.grid import Grid, cuts, returned, sums
from d2lref.ops._pool.lp_laws import LAWS
from d2lref.ops._pool.lp_pool import by_shifts, plan, vjp
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
SHAPE = "answers in the shape and dtype of the rule"
POWER, ALIKE, SCALED, LONE, STRIDE, CHANNEL, EULER, RATIO = (law.says for law in LAWS)

# 1 Wrong answers


def _summed(change: Callable[[Array, Grid, float], Array]) -> Callable[..., Array]:
    """Return the pooling with change(sum of powers, windows, p) before the root."""

    def forward(axes: int, x: Array, **options: Any) -> Array:
        g, p = plan(axes, x.shape, **options)
        return (change(sums(g, x**p), g, p) ** (1 / p)).astype(x.dtype)

    return forward


def _mean(total: Array, g: Grid, p: float) -> Array:
    del p
    return total / math.prod(g.kernel)


def _scaled_mean(total: Array, g: Grid, p: float) -> Array:
    """The mean of what is there, times all taps of the window."""
    del p
    return total / sums(g, np.ones((1, 1, *g.size))) * math.prod(g.kernel)


def _above_zero(total: Array, g: Grid, p: float) -> Array:
    del g, p
    return total + 2.0**-23


def _absolute(axes: int, x: Array, **options: Any) -> Array:
    """Take the norm, of sizes without signs."""
    return by_shifts(axes, np.abs(x), **options)


def _whole_power(axes: int, x: Array, **options: Any) -> Array:
    return by_shifts(axes, x, **{**options, "norm_type": max(int(options["norm_type"]), 1)})


def _two_without_root(axes: int, x: Array, **options: Any) -> Array:
    """Leave the sum of powers as it is in a window of two entries."""
    g, p = plan(axes, x.shape, **options)
    y = by_shifts(axes, x, **options)
    return (y**p).astype(x.dtype) if math.prod(g.kernel) == 2 else y


def _misplaced(place: Callable[[Grid], shared.Places]) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of the pooling with its windows elsewhere."""

    def forward(axes: int, x: Array, **options: Any) -> Array:
        g, p = plan(axes, x.shape, **options)
        return (shared.along(shared.lines(g, place(g)), x**p) ** (1 / p)).astype(x.dtype)

    def backward(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
        g, p = plan(axes, x.shape, **options)
        lines = shared.lines(g, place(g))
        total = shared.along(lines, x**p)
        share = gy * np.where(total == 0, 1, total) ** (1 / p - 1) * ((total != 0) | (p == 1))
        return ((x ** (p - 1) * shared.along([a.T for a in lines], share)).astype(x.dtype),)

    return forward, backward


def _mirrored(g: Grid) -> shared.Places:
    """Count the windows from the end of the image."""
    right = shared.placed(g)
    return replace(right, index=tuple(n - 1 - a for a, n in zip(right.index, g.size, strict=True)))


def _paired_vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """The adjoint of `shared.paired_channels`: the channel before the last gets the gradient of both."""
    return (shared.paired_back(vjp(axes, gy, shared.in_pairs(x), **options)[0]),)


def _stride_one(axes: int, x: Array, **options: Any) -> Array:
    return by_shifts(axes, x, **{**options, "stride": options.get("stride") or 1})


# 2 Wrong gradients


def _divided(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Divide by the answer, also where it is 0."""
    g, p = plan(axes, x.shape, **options)
    share = gy * sums(g, x**p) ** (1 / p - 1)
    return ((x ** (p - 1) * returned(g, share)).astype(x.dtype),)


def _signless(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Multiply by |x|^(p - 1)."""
    return (np.abs(vjp(axes, np.abs(gy), x, **options)[0]),)


def _euclidean(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Hand gy y out in proportion to the squares, whatever p: gx = gy y x / sum of x^2."""
    g, _ = plan(axes, x.shape, **options)
    total = sums(g, x * x)
    share = gy * by_shifts(axes, x, **options) / np.where(total == 0, 1, total)
    return ((x * returned(g, share)).astype(x.dtype),)


def _overwritten(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Let the last window that reads an entry be the only one."""
    g, p = plan(axes, x.shape, **options)
    total = sums(g, x**p)
    share = gy * np.where(total == 0, 1, total) ** (1 / p - 1) * (total != 0)
    gx = np.zeros_like(x)
    for cut, i in zip(cuts(g), np.ndindex(*g.out), strict=True):
        gx[(..., *cut)] = share[(..., *i)].reshape(*x.shape[:2], *(1,) * axes)
    return ((gx * x ** (p - 1)).astype(x.dtype),)


# 3 The tables


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the pooling over so many axes."""
    answers = (_mistake(axes, says, cites, wrong, None, law) for says, cites, wrong, law in ANSWERS)
    places = (_mistake(axes, says, cites, *_misplaced(place), law) for says, cites, place, law in PLACES)
    pairs = shared.paired_channels(by_shifts), _paired_vjp
    channels = _mistake(axes, "channels are taken two at a time", "tenstorrent/tt-metal/issues/27738", *pairs, CHANNEL)
    gradients = (_mistake(axes, says, cites, None, wrong, law) for says, cites, wrong, law in GRADIENTS)
    return (*answers, *places, channels, *gradients)


Way = Callable[..., Any] | None


def _mistake(axes: int, says: str, cites: str, forward: Way, backward: Way, caught_by: str) -> Mistake:
    ahead, back = (None if way is None else partial(way, axes) for way in (forward, backward))
    return Mistake(says, cites if " " in cites else f"{HUB}/{cites}", ahead, back, (caught_by,))


ANSWERS: tuple[tuple[str, str, Callable[..., Array], str], ...] = (
    ("signs are dropped, as in ONNX", "microsoft/onnxruntime/issues/6302", _absolute, POWER),
    ("the mean of powers takes the place of their sum", "webmachinelearning/webnn/issues/278", _summed(_mean), ALIKE),
    (
        "the mean of a window that overhangs counts for all its taps",
        "openvinotoolkit/openvino/pull/37172",
        _summed(_scaled_mean),
        ALIKE,
    ),
    ("p is cut to an integer", "tracel-ai/burn-onnx/pull/417", _whole_power, ALIKE),
    ("a window of two entries gets no root", "webmachinelearning/webnn-baseline/pull/125", _two_without_root, ALIKE),
    (
        "a small number is added before the root",
        "torch/DEPRECEATED-torch7-distro/issues/62",
        _summed(_above_zero),
        SCALED,
    ),
    ("the stride is 1 when none is given", "patrick-kidger/equinox/pull/135", _stride_one, SHAPE),
)
PLACES: tuple[tuple[str, str, Callable[[Grid], shared.Places], str], ...] = (
    (
        "what ceil_mode adds is put on both sides",
        "many-facedgod/Numpy-Atrous-Transposed-CNN/issues/1",
        shared.overhang_on_both_sides,
        ALIKE,
    ),
    (
        "a stride beyond the window is taken for the window's",
        "torch/cunn/pull/200",
        shared.stride_cut_to_the_window,
        STRIDE,
    ),
    (
        "windows are counted from the end of the image",
        "Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, section 1.2: from its beginning",
        _mirrored,
        LONE,
    ),
)
GRADIENTS: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    ("the gradient of a window of zeros is NaN", "pytorch/pytorch/issues/6765", _divided, EULER),
    ("the gradient has no sign", "FluxML/NNlib.jl/pull/639", _signless, EULER),
    ("the gradient is that of p = 2", "apache/mxnet/pull/10780", _euclidean, RATIO),
    ("the last window overwrites what others sent", "FluxML/NNlib.jl/issues/205", _overwritten, EULER),
)
