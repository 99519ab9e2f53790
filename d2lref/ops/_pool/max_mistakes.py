"""Plausible wrong max poolings, each with the report of a bug that it models."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.ops._pool.grid import Grid, cuts
from d2lref.ops._pool.max_laws import LAWS
from d2lref.ops._pool.max_pool import by_axes, vjp, windows_of
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
SHAPE = "answers in the shape and dtype of the rule"
PEAK, THRESHOLD, NAN, PADDING, CEIL, STRIDE, CHANNEL, ARRIVES, COLLECTS = (law.says for law in LAWS)

# 1 Wrong answers


def _largest(x: Array, places: shared.Places, fill: float = -np.inf) -> Array:
    """Return the maximum over the windows as placed, one axis at a time, `fill` standing for what is not the image."""
    for axis, (index, n) in enumerate(zip(places.index, x.shape[2:], strict=True), start=2):
        seen = np.take(x, np.clip(index, 0, n - 1), axis=axis)
        outside = ((index < 0) | (index >= n)).reshape(*(1,) * axis, *index.shape, *(1,) * (x.ndim - axis - 1))
        x = np.where(outside, np.asarray(fill, x.dtype), seen).max(axis=axis + 1)
    return x


def _misplaced(place: Callable[[Grid], shared.Places], fill: float = -np.inf) -> Callable[..., Array]:
    return lambda axes, x, **options: _largest(x, place(windows_of(axes, x.shape, **options)), fill)


def _after(change: Callable[[Array], Array]) -> Callable[..., Array]:
    """Return the right answer, changed."""
    return lambda axes, x, **options: change(by_axes(axes, x, **options)).astype(x.dtype)


def _four_bits(y: Array) -> Array:
    """Return y rounded to four significant bits, fewer than any storage format has."""
    fraction, exponent = np.frexp(y.astype(np.float64))
    return np.ldexp(np.rint(fraction * 16) / 16, exponent)


def _undilated(g: Grid) -> shared.Places:
    """Read neighbours, from where the window begins."""
    index = tuple(np.array(g.starts(axis))[:, None] + np.arange(k) for axis, k in enumerate(g.kernel))
    return replace(shared.placed(g), index=index)


def _all_padding_behind(g: Grid) -> shared.Places:
    """Place 2 p entries of padding behind the image and none in front."""
    right = shared.placed(g)
    return replace(right, index=tuple(a + p for a, p in zip(right.index, g.padding, strict=True)))


def _clipped_first(g: Grid) -> shared.Places:
    """Move the first tap into the image and step from there to where the window ends, out of step with the dilation."""
    right, index = shared.placed(g), []
    for a, d in zip(right.index, g.dilation, strict=True):
        moved = np.maximum(a[:, :1], 0) + np.arange(a.shape[1]) * d
        index.append(np.where(moved <= a[:, -1:], moved, -1))
    return replace(right, index=tuple(index))


def _without_drop(axes: int, x: Array, **options: Any) -> Array:
    """Keep the last window of ceil_mode also where it begins in the padding."""
    g = windows_of(axes, x.shape, **options)
    rooms = (n + 2 * p - span for n, p, span in zip(g.size, g.padding, g.span, strict=True))
    out = tuple(-(-room // s) + 1 for room, s in zip(rooms, g.stride, strict=True))
    return _largest(x, shared.placed(replace(g, out=out) if options.get("ceil_mode") else g))


def _stride_one(axes: int, x: Array, **options: Any) -> Array:
    return by_axes(axes, x, **{**options, "stride": options.get("stride") or 1})


def _nan_ignored(axes: int, x: Array, **options: Any) -> Array:
    """Keep the largest so far unless an entry is larger: NaN never is."""
    return by_axes(axes, np.where(np.isnan(x), np.asarray(-np.inf, x.dtype), x), **options)


def _axes_reversed(axes: int, x: Array, **options: Any) -> Array:
    """Take the window and its dilation for (..., width, height)."""
    g = windows_of(axes, x.shape, **options)
    return _largest(x, shared.placed(replace(g, kernel=g.kernel[::-1], dilation=g.dilation[::-1])))


# 2 Wrong gradients


def _walked(
    share: Callable[[Array, Array, Array], Array], see: Callable[[Grid], Grid] = lambda g: g
) -> Callable[..., Any]:
    """Return a vjp that walks over the windows; share(gx, x, gy) is what gx of a window becomes."""

    def wrong(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
        g, gx = see(windows_of(axes, x.shape, **options)), np.zeros_like(x)
        for cut, i in zip(cuts(g), np.ndindex(*g.out), strict=True):
            part, sent = x[(..., *cut)], gy[(..., *i)].reshape(*x.shape[:2], *(1,) * axes)
            if 0 not in part.shape:
                gx[(..., *cut)] = share(gx[(..., *cut)], part, sent)
        return (gx,)

    return wrong


def _first(part: Array) -> Array:
    """Return where the first maximum of a window is: booleans of its shape."""
    flat = part.reshape(*part.shape[:2], -1)
    return (np.arange(flat.shape[-1]) == np.argmax(flat, axis=-1)[..., None]).reshape(part.shape)


def _to_every_tie(gx: Array, part: Array, sent: Array) -> Array:
    return gx + np.where(part == part.max(axis=tuple(range(2, part.ndim)), keepdims=True), sent, 0)


def _as_if_padded(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Take the places of the maxima for places in the padded image: every gradient arrives p entries too early."""
    (gx,) = vjp(axes, gy, x, **options)
    for axis, p in enumerate(windows_of(axes, x.shape, **options).padding, start=2):
        target, moved = np.maximum(np.arange(x.shape[axis]) - p, 0), np.zeros_like(gx)
        np.add.at(moved, (*(slice(None),) * axis, target), gx)
        gx = moved
    return (gx,)


# 3 The tables


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the pooling over so many axes."""
    answers = (_answer(axes, *line) for line in (*ANSWERS, *(ANSWERS_OF_SEVERAL_AXES if axes > 1 else ())))
    gradients = (_gradient(axes, *line) for line in (*GRADIENTS, *(GRADIENTS_OF_SEVERAL_AXES if axes > 1 else ())))
    return (*answers, *gradients)


def _answer(axes: int, says: str, cites: str, wrong: Callable[..., Any], caught_by: str) -> Mistake:
    return Mistake(says, f"{HUB}/{cites}", partial(wrong, axes), None, (caught_by,))


def _gradient(axes: int, says: str, cites: str, wrong: Callable[..., Any], caught_by: str) -> Mistake:
    return Mistake(says, f"{HUB}/{cites}", None, partial(wrong, axes), (caught_by,))


ANSWERS = (
    ("padding is zero", "uxlfoundation/oneDNN/issues/1094", _misplaced(shared.placed, 0.0), PADDING),
    (
        "the search starts from the smallest positive number",
        "uxlfoundation/oneDNN/pull/1677",
        _after(lambda y: np.maximum(y, np.nextafter(np.zeros_like(y), np.ones_like(y)))),
        PEAK,
    ),
    ("dilation only sizes the answer", "xboot/libonnx/issues/24", _misplaced(_undilated), PEAK),
    ("all padding stands behind the image", "onnx/onnx/issues/388", _misplaced(_all_padding_behind), PADDING),
    (
        "a dilated window is clipped first and stepped then",
        "microsoft/onnxruntime/issues/29637",
        _misplaced(_clipped_first),
        PADDING,
    ),
    (
        "what ceil_mode adds is put on both sides",
        "many-facedgod/Numpy-Atrous-Transposed-CNN/issues/1",
        _misplaced(shared.overhang_on_both_sides),
        CEIL,
    ),
    ("a window may begin in the padding behind", "tracel-ai/burn/issues/5791", _without_drop, SHAPE),
    ("the stride is 1 when none is given", "distdl/distdl/issues/203", _stride_one, SHAPE),
    (
        "a stride beyond the window is taken for the window's",
        "lisa-lab/pylearn2/issues/1382",
        _misplaced(shared.stride_cut_to_the_window),
        STRIDE,
    ),
    ("NaN loses every comparison", "pytorch/pytorch/issues/7645", _nan_ignored, NAN),
    (
        "channels are taken two at a time",
        "tenstorrent/tt-metal/issues/15731",
        shared.paired_channels(by_axes),
        CHANNEL,
    ),
    ("maxima pass through a narrower format", "chainer/chainer/pull/7922", _after(_four_bits), THRESHOLD),
)
ANSWERS_OF_SEVERAL_AXES = (("the axes of the window are reversed", "dmlc/minerva/issues/43", _axes_reversed, PEAK),)
GRADIENTS = (
    ("every tied entry gets the whole gradient", "Theano/Theano/issues/5248", _walked(_to_every_tie), ARRIVES),
    (
        "the last window overwrites what others sent",
        "FluxML/NNlib.jl/issues/205",
        _walked(lambda gx, part, sent: np.where(_first(part), sent, gx)),
        ARRIVES,
    ),
    (
        "the gradient's place is taken for one in the padded image",
        "tensorflow/tensorflow/issues/10216",
        _as_if_padded,
        COLLECTS,
    ),
)
GRADIENTS_OF_SEVERAL_AXES = (
    (
        "the first axis's dilation serves all",
        "tracel-ai/burn/pull/4466",
        _walked(
            lambda gx, part, sent: gx + np.where(_first(part), sent, 0),
            lambda g: replace(g, dilation=g.dilation[:1] * len(g.dilation)),
        ),
        COLLECTS,
    ),
)
