"""How transposed convolutions go wrong: each mistake models a bug report.

Most are wrong forward and backward alike, as in a library whose gradients come from its own forward pass, so that the
adjoint law is blind to them and a law about the answer must see them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import pad
from d2lref.ops._conv import laws as shared
from d2lref.ops._conv.definition import in_groups
from d2lref.ops._conv.misplaced import (
    Call,
    Misplaced,
    channels_in_pairs,
    every_gth_channel,
    groups_in_turn,
    positive_taps,
    turned_last,
    turned_over,
    where,
)
from d2lref.ops._conv_transpose import definition as of
from d2lref.ops._conv_transpose import laws
from d2lref.ops._conv_transpose.definition import definition, geometry, vjp
from d2lref.spec import Array, Mistake, Shape

Stamped = partial(Misplaced, of)

# 1 Data in the wrong place: the right operation of misplaced operands, or a misplaced answer


def _bare(_: Call) -> dict[str, Any]:
    return {"padding": 0, "output_padding": 0}


def _cut(call: Call, whole: Array, before: Shape) -> Array:
    """Return as many places of the whole as the answer has, from the given ones on; zeros where it ends."""
    size = tuple(max(0, b + n - m) for b, n, m in zip(before, call.plan.out, whole.shape[2:], strict=True))
    spans = (slice(b, b + n) for b, n in zip(before, call.plan.out, strict=True))
    return pad(whole, tuple((0, m) for m in size))[(..., *spans)]


def _longer_in_front(call: Call, whole: Array) -> Array:
    return _cut(call, pad(whole, tuple((more, 0) for more in call.plan.output_padding)), call.plan.padding)


def _cropped_evenly(call: Call, whole: Array) -> Array:
    """Crop 2 p less output_padding, half of it in front, where anything is left to crop."""
    ends = zip(call.plan.padding, call.plan.output_padding, strict=True)
    return _cut(call, whole, tuple(max(0, 2 * p - more) // 2 for p, more in ends))


def _zeros_behind(call: Call, whole: Array) -> Array:
    """Crop first, and append output_padding as zeros."""
    kept = (slice(p, max(p, n - p)) for p, n in zip(call.plan.padding, whole.shape[2:], strict=True))
    return _cut(call, whole[(..., *kept)], (0,) * len(call.plan.out))


def _cropped_behind(call: Call, whole: Array) -> Array:
    return _cut(call, whole, (0,) * len(call.plan.out))


def _compact(call: Call) -> dict[str, Any]:
    return {**_bare(call), "dilation": 1}


def _cropped(call: Call, whole: Array) -> Array:
    return _cut(call, whole, call.plan.padding)


def _without_last_pixels(_: Call, x: Array) -> Array:
    for axis, n in enumerate(x.shape[2:], start=2):
        x = where(np.arange(n) < max(n - 1, 1), axis, x)
    return x


def _without_last_taps(call: Call, w: Array) -> Array:
    """Return the filters without the last tap along every axis with a stride, on which they span an even number."""
    for axis, (k, s, span) in enumerate(zip(w.shape[2:], call.plan.stride, call.spans, strict=True), start=2):
        w = w if s == 1 or span % 2 else where(np.arange(k) < k - 1, axis, w)
    return w


def _positive_pixels(call: Call, x: Array) -> Array:
    return np.where(call.x > 0, x, x.dtype.type(0))


def _first_filter(_: Call, w: Array) -> Array:
    return where(np.arange(w.shape[1]) < 1, 1, w)


def _first_image(_: Call, x: Array) -> Array:
    return where(np.arange(x.shape[0]) < 1, 0, x)


def _filters_first(call: Call, w: Array) -> Array:
    """Return the weight whose numbers are stored with the filters of a group before its channels."""
    groups, (channels, each, *window) = call.plan.groups, w.shape
    stored = w.reshape(groups, each, channels // groups, *window)
    return np.moveaxis(stored, 1, 2).reshape(w.shape)


def _transposed(_: Call, w: Array) -> Array:
    """Return the filters with their last two axes exchanged, where these are equally long."""
    return np.swapaxes(w, -1, -2) if w.shape[-1] == w.shape[-2] else w


# 2 The bias in the wrong place


def _landed(axes: int, x: Array, weight: Array, options: dict[str, Any]) -> Array:
    """Return how many stamps fall on each place of the answer."""
    alone = {**options, "groups": 1}
    pixels, taps = (np.ones((1, 1, *a.shape[2:]), a.dtype) for a in (x, weight))
    return definition(axes, pixels, taps, **alone)


def _bias_with(change: Callable[[Array], Array]) -> Callable[..., Array]:
    """Return the transposed convolution that adds the bias change(stamps on a place) times."""

    def wrong(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
        y = definition(axes, x, weight, bias, **options)
        if bias is None:
            return y
        times = change(_landed(axes, x, weight, options)) - 1
        return (y + times * bias.reshape(-1, *(1,) * axes)).astype(x.dtype)

    return wrong


def _bias_of_the_first_group(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    geometry(axes, x.shape, weight.shape, None if bias is None else bias.shape, **options)
    first = None if bias is None else np.tile(bias[: weight.shape[1]], options.get("groups", 1))
    return definition(axes, x, weight, first, **options)


# 3 Another shape


def _reoptioned(change: Callable[[Call], dict[str, Any]]) -> Callable[..., Array]:
    """Return the transposed convolution with other options."""
    return Stamped(options=change).forward


def _padding_adds(call: Call, whole: Array) -> Array:
    return pad(whole, tuple((p, p) for p in call.plan.padding))


def _size_without_dilation(call: Call, whole: Array) -> Array:
    """Return the whole, cut to the size of a filter without holes."""
    window = call.weight.shape[2:]
    shrunk = (n - (d - 1) * (k - 1) for n, d, k in zip(whole.shape[2:], call.plan.dilation, window, strict=True))
    return whole[(..., *map(slice, shrunk))]


def _strides_of_padding(call: Call, whole: Array) -> Array:
    """Return the whole as if each place of output_padding were another pixel."""
    return pad(whole, tuple((0, m * s) for m, s in zip(call.plan.output_padding, call.plan.stride, strict=True)))


def _width_of_the_height(call: Call, whole: Array) -> Array:
    """Return the whole, its last axis as long as if the window were as wide as it is high."""
    high, wide = call.spans[-2:]
    return pad(whole, ((0, max(0, high - wide)),)) if high > wide else whole[..., : whole.shape[-1] + high - wide]


def _no_padding(_: Call) -> dict[str, Any]:
    return {"padding": 0}


# 4 Wrong gradients of the right answer


def _with_gradients(change: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, ...]]:
    """Return a vjp with change(gx, gw, axes, gy, x, weight, options) for the gradients of image and weight."""

    def wrong(axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any) -> tuple[Any, ...]:
        gx, gw, *rest = vjp(axes, gy, x, weight, *bias, **options)
        return (*change(gx, gw, axes, gy, x, weight, options), *rest)

    return wrong


def _reads_next_to_each_other(
    _: Array, gw: Array, axes: int, gy: Array, x: Array, weight: Array, options: dict[str, Any]
) -> tuple[Array, Array]:
    """Return an image gradient that reads gy as if the stride were 1."""
    plan = geometry(axes, x.shape, weight.shape, **options)
    return of.image_part(gy, weight, x.shape, plan._replace(stride=(1,) * axes)), gw


def _stride_for_dilation(
    gx: Array, _: Array, axes: int, gy: Array, x: Array, weight: Array, options: dict[str, Any]
) -> tuple[Array, Array]:
    """Return a filter gradient gw[c, k, u] = sum over n, i of x[n, c, i] gy[n, k, i d + u s]."""
    plan = geometry(axes, x.shape, weight.shape, **options)
    image, window = of.uncropped(gy, plan), weight.shape[2:]
    steps = zip(plan.whole, x.shape[2:], window, plan.stride, plan.dilation, strict=True)
    room = pad(image, tuple((0, max(0, (n - 1) * d + (k - 1) * s + 1 - m)) for m, n, k, s, d in steps))
    gw = unfold.filter_gradient(in_groups(x, 1, plan.groups), room, window, plan.dilation, plan.stride)
    return gx, gw.reshape(weight.shape)


def _turned_filter(
    _: Array, gw: Array, axes: int, gy: Array, x: Array, weight: Array, options: dict[str, Any]
) -> tuple[Array, Array]:
    """Return the image gradient of the flipped filters, as that of a convolution would have them."""
    turned = np.flip(weight, axis=tuple(range(2, weight.ndim)))
    return vjp(axes, gy, x, turned, **options)[0], gw


def _averaged_bias(axes: int, gy: Array, *arrays: Array | None, **options: Any) -> tuple[Any, ...]:
    *right, gb = vjp(axes, gy, *arrays, *(None,) * (3 - len(arrays)), **options)
    averaged = None if gb is None else gb / gy.dtype.type(max(gy.shape[0], 1))
    return (*right, averaged)[: len(arrays)]


# 5 The list


SHAPE = "answers in the shape and dtype of the rule"
ADJOINT = "the vjp is the adjoint"
BATCH = "an image does not see its batch"
HUB = "https://github.com"

MISPLACED = (
    (
        "the filter is not flipped after zeros are inserted",
        f"{HUB}/Theano/Theano/issues/5170",
        laws.STAMP.says,
        Stamped(filters=turned_over),
    ),
    (
        "the trailing pixels of an image are left out",
        f"{HUB}/nntrainer/nntrainer/pull/4347",
        laws.BORDER.says,
        Stamped(image=_without_last_pixels),
    ),
    (
        "negative pixels count as zero: the image is unsigned",
        f"{HUB}/mantidproject/mantidimaging/issues/808",
        laws.IMAGE.says,
        Stamped(image=_positive_pixels),
    ),
    (
        "negative weights are clipped",
        f"{HUB}/telugu-boy/seedimg/issues/9",
        shared.LINEAR.says,
        Stamped(filters=positive_taps),
    ),
    (
        "the last tap of an even filter reaches nothing where there is a stride",
        f"{HUB}/openvdb/fvdb-core/issues/668",
        laws.STRIDE.says,
        Stamped(filters=_without_last_taps),
    ),
    (
        "dilation changes the size of the answer and nothing else",
        f"{HUB}/ooples/AiDotNet/pull/1514",
        laws.DILATION.says,
        Stamped(answer=_cropped, options=_compact),
    ),
    (
        "output_padding adds places in front of the answer",
        f"{HUB}/vdumoulin/conv_arithmetic/issues/11",
        laws.BEHIND.says,
        Stamped(answer=_longer_in_front, options=_bare),
    ),
    (
        "padding and output_padding are made up for on both sides alike",
        f"{HUB}/llvm/torch-mlir/pull/4650",
        laws.PADDING.says,
        Stamped(answer=_cropped_evenly, options=_bare),
    ),
    (
        "output_padding appends zeros to the cropped answer",
        f"{HUB}/onnx/onnx/issues/2333",
        laws.PADDING.says,
        Stamped(answer=_zeros_behind, options=_bare),
    ),
    (
        "all that is cropped is cropped behind",
        f"{HUB}/tensorflow/tensorflow/issues/45999",
        laws.PADDING.says,
        Stamped(answer=_cropped_behind, options=_bare),
    ),
    (
        "channels are read in pairs, an odd last one is left out",
        f"{HUB}/bhuman/CompiledNN/issues/16",
        laws.CHANNELS.says,
        Stamped(image=channels_in_pairs),
    ),
    (
        "only the first filter is stamped",
        f"{HUB}/VeriSilicon/TIM-VX/issues/277",
        laws.FILTERS.says,
        Stamped(filters=_first_filter),
    ),
    (
        "the weight is read with filters before channels",
        f"{HUB}/apache/tvm/pull/9336",
        laws.CHANNELS.says,
        Stamped(filters=_filters_first),
    ),
    (
        "the answers of the groups take turns",
        f"{HUB}/uxlfoundation/oneDNN/issues/352",
        shared.GROUPS.says,
        Stamped(answer=groups_in_turn),
    ),
    (
        "groups read every G-th channel",
        f"{HUB}/google/XNNPACK/issues/1951",
        shared.GROUPS.says,
        Stamped(image=every_gth_channel),
    ),
    (
        "only the first image of a batch is computed",
        f"{HUB}/ggml-org/ggml/issues/1448",
        BATCH,
        Stamped(image=_first_image),
    ),
)

MISPLACED_ON_SEVERAL_AXES = (
    (
        "the filter is flipped along one axis only",
        f"{HUB}/vdumoulin/conv_arithmetic/issues/4",
        laws.STAMP.says,
        Stamped(filters=turned_last),
    ),
    (
        "a square filter is transposed",
        f"{HUB}/publiclab/image-sequencer/issues/1025",
        laws.STAMP.says,
        Stamped(filters=_transposed),
    ),
)

FORWARD = (
    (
        "padding adds zeros instead of cropping",
        f"{HUB}/Samsung/TICO/issues/420",
        SHAPE,
        Stamped(answer=_padding_adds, options=_no_padding).forward,
    ),
    (
        "dilation is forgotten in the size of the answer",
        f"{HUB}/microsoft/onnxruntime/issues/2518",
        SHAPE,
        Stamped(answer=_size_without_dilation).forward,
    ),
    (
        "output_padding is padding of the image: each place of it becomes a stride",
        f"{HUB}/apple/coreai-torch/issues/57",
        SHAPE,
        Stamped(answer=_strides_of_padding).forward,
    ),
    (
        "the bias is added with every stamp",
        f"{HUB}/kraiskil/onnx2c/pull/40",
        shared.BIAS.says,
        _bias_with(lambda stamps: stamps),
    ),
    (
        "places that no stamp reaches stay without the bias",
        f"{HUB}/Tencent/ncnn/pull/1122",
        shared.BIAS.says,
        _bias_with(lambda stamps: stamps > 0),
    ),
    (
        "every group adds the biases of the first",
        f"{HUB}/robertknight/rten/pull/1408",
        shared.GROUPS.says,
        _bias_of_the_first_group,
    ),
)

FORWARD_ON_SEVERAL_AXES = (
    (
        "the width of the answer counts with the height of the filter",
        f"{HUB}/nntrainer/nntrainer/pull/4347",
        SHAPE,
        Stamped(answer=_width_of_the_height).forward,
    ),
)

GRADIENTS = (
    (
        "the image's gradient reads the cotangent without the stride",
        f"{HUB}/pytorch/pytorch/issues/63314",
        ADJOINT,
        _with_gradients(_reads_next_to_each_other),
    ),
    (
        "stride and dilation change places in the filter's gradient",
        f"{HUB}/huggingface/candle/pull/2337",
        ADJOINT,
        _with_gradients(_stride_for_dilation),
    ),
    (
        "the image's gradient flips the filter once more",
        f"{HUB}/google/flax/issues/2577",
        ADJOINT,
        _with_gradients(_turned_filter),
    ),
    (
        "the bias's gradient is averaged over the images",
        f"{HUB}/dengfy/cs231n/issues/1",
        shared.BIAS_GRADIENT.says,
        _averaged_bias,
    ),
)


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes for images with so many axes of space; some need two."""
    several = axes > 1
    moved = (
        Mistake(says, cites, partial(wrong.forward, axes), partial(wrong.vjp, axes), (law,))
        for says, cites, law, wrong in (*MISPLACED, *(MISPLACED_ON_SEVERAL_AXES if several else ()))
    )
    forward = (
        Mistake(says, cites, partial(wrong, axes), None, (law,))
        for says, cites, law, wrong in (*FORWARD, *(FORWARD_ON_SEVERAL_AXES if several else ()))
    )
    backward = (Mistake(says, cites, None, partial(wrong, axes), (law,)) for says, cites, law, wrong in GRADIENTS)
    return (*moved, *forward, *backward)
