"""How convolutions go wrong: each mistake models a bug report, or a warning of the book.

Most are wrong forward and backward alike, as in a library whose gradients come from its own forward pass, so that the
adjoint law is blind to them and a law about the answer must see them.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import pad
from d2lref.ops._conv import definition as of
from d2lref.ops._conv import laws, tiled_mistakes
from d2lref.ops._conv.definition import definition, geometry, in_groups, of_filters, of_image, vjp
from d2lref.ops._conv.misplaced import (
    Call,
    called,
    channels_in_pairs,
    every_gth_channel,
    groups_in_turn,
    in_pairs,
    positive_taps,
    turned_last,
    turned_over,
    where,
)
from d2lref.ops._conv.misplaced import Misplaced as MisplacedIn
from d2lref.spec import Array, Mistake, Shape

Misplaced = partial(MisplacedIn, of)

# 1 Data in the wrong place: the right convolution of misplaced operands, or a misplaced answer


def _padded_size(call: Call) -> Shape:
    """Return the size of the image with its padding."""
    return tuple(n + a + b for n, (a, b) in zip(call.x.shape[2:], call.plan.pads, strict=True))


def _left_over(call: Call) -> Shape:
    """Return how many pixels lie behind the last window, along each axis."""
    return tuple((n - m) % s for n, m, s in zip(_padded_size(call), call.spans, call.plan.stride, strict=True))


def _first_axis_fastest(_: Call, w: Array) -> Array:
    order = (0, 1, *reversed(range(2, w.ndim)))
    return w.reshape(*w.shape[:2], *reversed(w.shape[2:])).transpose(order)


def _filters_in_pairs(call: Call, w: Array) -> Array:
    return where(in_pairs(w.shape[0], call.plan.groups), 0, w)


def _images_in_pairs(_: Call, x: Array) -> Array:
    return where(in_pairs(x.shape[0]), 0, x)


def _strided_in_pairs(call: Call, y: Array) -> Array:
    return y if max(call.plan.stride) == 1 else where(in_pairs(y.shape[-1]), y.ndim - 1, y)


def _first_group(call: Call, w: Array) -> Array:
    return where(np.arange(w.shape[0]) < w.shape[0] // call.plan.groups, 0, w)


def _answers(call: Call, y: Array, kept: Callable[[Array, int], Array]) -> Array:
    """Return y without the answers that are not kept: kept(where their windows end in the padded image, the axis)."""
    for axis, (count, step, span) in enumerate(zip(call.plan.out, call.plan.stride, call.spans, strict=True)):
        y = where(kept(np.arange(count) * step + span, axis), axis + 2, y)
    return y


def _not_behind(call: Call, y: Array) -> Array:
    if isinstance(call.options.get("padding", 0), str):
        return y
    inside = [a + n for n, (a, _) in zip(call.x.shape[2:], call.plan.pads, strict=True)]
    return _answers(call, y, lambda ends, axis: ends <= inside[axis])


def _not_at_the_end(call: Call, y: Array) -> Array:
    return _answers(call, y, lambda ends, axis: (ends < _padded_size(call)[axis]) | (call.spans[axis] % 2 == 1))


def _without_odd_zero(call: Call, y: Array) -> Array:
    if call.options.get("padding", 0) != "same":
        return y
    return _answers(call, y, lambda ends, axis: (ends < _padded_size(call)[axis]) | (call.spans[axis] % 2 == 1))


def _as_if_pitch_were_full(call: Call, y: Array) -> Array:
    pitch = [d - 1 for d in call.plan.dilation]
    return _answers(call, y, lambda ends, axis: ends + pitch[axis] <= _padded_size(call)[axis])


def _next_images(_: Call, x: Array) -> Array:
    return x[np.cumsum(np.arange(x.shape[0])) % max(x.shape[0], 1)]


def _zeros_behind(call: Call, x: Array) -> Array:
    if call.options.get("padding", 0) == "same":
        return pad(x, call.plan.pads)
    return pad(x, tuple((0, a + b) for a, b in call.plan.pads))


def _odd_zero_first(call: Call, x: Array) -> Array:
    if call.options.get("padding", 0) == "same":
        return pad(x, tuple((b, a) for a, b in call.plan.pads))
    return pad(x, call.plan.pads)


def _padded(call: Call, x: Array) -> Array:
    return pad(x, call.plan.pads)


def _padded_amply(call: Call, x: Array) -> Array:
    """Return x padded, with room behind it for the window whose dilation is that of the other axes."""
    steps = zip(call.weight.shape[2:], call.plan.dilation, reversed(call.plan.dilation), strict=True)
    return pad(_padded(call, x), tuple((0, max(0, (other - d) * (k - 1))) for k, d, other in steps))


def _first_answers(call: Call, y: Array) -> Array:
    return y[(..., *map(slice, call.plan.out))]


def _from_the_end(call: Call, x: Array) -> Array:
    return _padded(call, x)[(..., *(slice(n, None) for n in _left_over(call)))]


def _to_the_end(call: Call, x: Array) -> Array:
    missing = (-n % s for n, s in zip(_left_over(call), call.plan.stride, strict=True))
    return pad(_padded(call, x), tuple((0, m) for m in missing))


def _no_padding(_: Call) -> dict[str, Any]:
    return {"padding": 0}


def _no_dilation(_: Call) -> dict[str, Any]:
    return {"padding": 0, "dilation": 1}


def _dilation_backwards(call: Call) -> dict[str, Any]:
    return {"padding": 0, "dilation": call.plan.dilation[::-1]}


def _stride_backwards(call: Call) -> dict[str, Any]:
    return {"stride": call.plan.stride[::-1]}


# 2 The bias in the wrong place


def _bias_for_every_product(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    products = np.prod(weight.shape[1:], dtype=int)
    return definition(axes, x, weight, None if bias is None else bias * bias.dtype.type(products), **options)


def _bias_of_the_first_group(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    groups = options.get("groups", 1)
    first = None if bias is None else np.tile(bias[: bias.shape[0] // groups], groups)
    return definition(axes, x, weight, first, **options)


# 3 Wrong gradients of the right answer


def _averaged(place: int) -> Callable[..., tuple[Any, ...]]:
    """Return a vjp whose gradient at `place` is the mean over the images, not the sum."""

    def wrong(axes: int, gy: Array, *arrays: Array | None, **options: Any) -> tuple[Any, ...]:
        right = vjp(axes, gy, *arrays, **options)
        images = gy.dtype.type(max(gy.shape[0], 1))
        return tuple(g / images if i == place and g is not None else g for i, g in enumerate(right))

    return wrong


def _filter_not_turned(
    axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any
) -> tuple[Any, ...]:
    right = vjp(axes, gy, x, weight, *bias, **options)
    turned = np.flip(weight, axis=tuple(range(2, weight.ndim)))
    return (vjp(axes, gy, x, turned, **options)[0], *right[1:])


def _stride_for_dilation(
    axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any
) -> tuple[Any, ...]:
    """Return a vjp whose filter gradient is gw[u] = sum over n, i of gy[i] x[i d + u s]."""
    plan, window = geometry(axes, x.shape, weight.shape, **options), weight.shape[2:]
    image = of_image(x, plan)
    steps = zip(image.shape[3:], plan.out, window, plan.stride, plan.dilation, strict=True)
    room = pad(image, tuple((0, max(0, (o - 1) * d + (k - 1) * s + 1 - n)) for n, o, k, s, d in steps))
    gw = unfold.filter_gradient(in_groups(gy, 1, plan.groups), room, window, plan.dilation, plan.stride)
    gx, _, *rest = vjp(axes, gy, x, weight, *bias, **options)
    return (gx, gw.reshape(weight.shape), *rest)


def _last_window_wins(
    axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any
) -> tuple[Any, ...]:
    """Return a vjp whose image gradient is written where windows overlap, not added."""
    plan = geometry(axes, x.shape, weight.shape, **options)
    whole, filters, cotangent = (
        np.zeros_like(of_image(x, plan)),
        of_filters(weight, plan),
        in_groups(gy, 1, plan.groups),
    )
    seen = unfold.taps(whole, filters.shape[3:], plan.stride, plan.dilation)
    for u, view in zip(product(*map(range, filters.shape[3:])), seen, strict=True):
        view[...] = np.einsum("gkc,ngk...->ngc...", filters[(..., *u)], cotangent)
    inside = (slice(a, a + n) for n, (a, _) in zip(x.shape[2:], plan.pads, strict=True))
    return (whole[(..., *inside)].reshape(x.shape), *vjp(axes, gy, x, weight, *bias, **options)[1:])


def _late(axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any) -> tuple[Any, ...]:
    """Return a vjp whose image gradient lies as many pixels too late as the last window left over."""
    call = called(of, axes, x, weight, options)
    whole = pad(x, call.plan.pads)[
        (..., *(slice(0, n - r) for n, r in zip(_padded_size(call), _left_over(call), strict=True)))
    ]
    gx = pad(vjp(axes, gy, whole, weight, **options | {"padding": 0})[0], tuple((r, 0) for r in _left_over(call)))
    inside = (slice(a, a + n) for n, (a, _) in zip(x.shape[2:], call.plan.pads, strict=True))
    return (gx[(..., *inside)], *vjp(axes, gy, x, weight, *bias, **options)[1:])


# 4 The list


SHAPE = "answers in the shape and dtype of the rule"
ADJOINT = "the vjp is the adjoint"
BATCH = "an image does not see its batch"

BOOK = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, 7.2.5: a kernel is flipped horizontally and vertically"

MISPLACED = (
    (
        "an even window leaves the answers at the right border at zero",
        "https://github.com/ARM-software/ComputeLibrary/issues/78",
        laws.SHIFT.says,
        Misplaced(answer=_not_at_the_end),
    ),
    (
        "strided answers are written in pairs, an odd last one is left out",
        "https://github.com/Tencent/ncnn/issues/1014",
        laws.STRIDE.says,
        Misplaced(answer=_strided_in_pairs),
    ),
    (
        "a dilated window needs room behind its last tap",
        "https://github.com/NVIDIA/cutlass/pull/3526",
        laws.DILATION.says,
        Misplaced(answer=_as_if_pitch_were_full),
    ),
    (
        "padding is forgotten behind the image",
        "https://github.com/mit-han-lab/tinyengine/issues/95",
        laws.PADDING.says,
        Misplaced(answer=_not_behind),
    ),
    (
        "same padding forgets its odd zero, and the last answer with it",
        "https://github.com/keras-team/keras/issues/1092",
        laws.SAME.says,
        Misplaced(answer=_without_odd_zero),
    ),
    (
        "only the first group is computed",
        "https://github.com/pytorch/pytorch/issues/19912",
        laws.GROUPS.says,
        Misplaced(filters=_first_group),
    ),
    (
        "images are taken in pairs, an odd last one is left out",
        "https://github.com/NervanaSystems/neon/issues/361",
        BATCH,
        Misplaced(image=_images_in_pairs),
    ),
    (
        "the filter is flipped",
        "https://github.com/FluxML/NNlib.jl/issues/208",
        laws.SHIFT.says,
        Misplaced(filters=turned_over),
    ),
    (
        "groups read every G-th channel",
        "https://github.com/onnx/onnx/issues/2273",
        laws.GROUPS.says,
        Misplaced(image=every_gth_channel),
    ),
    (
        "the answers of the groups take turns",
        "https://github.com/uxlfoundation/oneDNN/issues/352",
        laws.GROUPS.says,
        Misplaced(answer=groups_in_turn),
    ),
    (
        "all zeros of the padding go behind the image",
        "https://github.com/JuliaLang/julia/pull/498",
        laws.PADDING.says,
        Misplaced(image=_zeros_behind, options=_no_padding),
    ),
    (
        "same padding puts its odd zero before the image",
        "https://github.com/ARM-software/ComputeLibrary/issues/208",
        laws.SAME.says,
        Misplaced(image=_odd_zero_first, options=_no_padding),
    ),
    (
        "dilation changes the size of the answer and nothing else",
        "https://github.com/fastmachinelearning/hls4ml/issues/1508",
        laws.DILATION.says,
        Misplaced(image=_padded, answer=_first_answers, options=_no_dilation),
    ),
    (
        "the last strided window ends with the image",
        "https://github.com/tensorflow/tensorflow/issues/10747",
        laws.STRIDE.says,
        Misplaced(image=_from_the_end, options=_no_padding),
    ),
    (
        "channels are read in pairs, an odd last one is left out",
        "https://github.com/bhuman/CompiledNN/issues/16",
        laws.CHANNELS.says,
        Misplaced(image=channels_in_pairs),
    ),
    (
        "filters are taken in pairs, an odd last one is left out",
        "https://github.com/Maratyszcza/NNPACK/issues/130",
        laws.FILTERS.says,
        Misplaced(filters=_filters_in_pairs),
    ),
    (
        "negative weights are clipped",
        "https://github.com/telugu-boy/seedimg/issues/9",
        laws.LINEAR.says,
        Misplaced(filters=positive_taps),
    ),
    (
        "the step to the next image grows with its index",
        "https://github.com/ARM-software/CMSIS_5/pull/708",
        BATCH,
        Misplaced(image=_next_images),
    ),
)

MISPLACED_ON_SEVERAL_AXES = (
    ("the filter is flipped along one axis only", BOOK, laws.SHIFT.says, Misplaced(filters=turned_last)),
    (
        "unfold counts the taps with the first axis fastest",
        "https://github.com/deeplearning4j/nd4j/issues/1646",
        laws.SHIFT.says,
        Misplaced(filters=_first_axis_fastest),
    ),
    (
        "dilation is read in reverse order of the axes",
        "https://github.com/torch/nn/issues/908",
        laws.DILATION.says,
        Misplaced(image=_padded_amply, answer=_first_answers, options=_dilation_backwards),
    ),
)

FORWARD = (
    (
        "the size of the answer is rounded up",
        "https://github.com/ENCP/CNNdroid/issues/4",
        SHAPE,
        Misplaced(image=_to_the_end, options=_no_padding).forward,
    ),
    (
        "the bias is added for every product",
        "https://github.com/LazaroHurtado/micrograd-rs/pull/20",
        laws.BIAS.says,
        _bias_for_every_product,
    ),
    (
        "every group adds the biases of the first",
        "https://github.com/robertknight/rten/pull/1408",
        laws.GROUPS.says,
        _bias_of_the_first_group,
    ),
)

FORWARD_ON_SEVERAL_AXES = (
    (
        "stride is read in reverse order of the axes",
        "https://github.com/mlpack/mlpack/issues/4050",
        SHAPE,
        Misplaced(options=_stride_backwards).forward,
    ),
)

GRADIENTS = (
    (
        "the filter's gradient is averaged over the images",
        "https://github.com/sebgao/cTensor/issues/3",
        ADJOINT,
        _averaged(1),
    ),
    (
        "stride and dilation change places in the filter's gradient",
        "https://github.com/iree-org/iree-turbine/pull/1223",
        ADJOINT,
        _stride_for_dilation,
    ),
    (
        "the image's gradient takes the filter without turning it",
        "https://github.com/nntrainer/nntrainer/issues/705",
        ADJOINT,
        _filter_not_turned,
    ),
    (
        "the image's gradient is overwritten where windows overlap",
        "https://github.com/oreilly-japan/deep-learning-from-scratch/issues/27",
        ADJOINT,
        _last_window_wins,
    ),
    (
        "the image's gradient is shifted by the pixels behind the last window",
        "https://github.com/flagos-ai/FlagGems/pull/1576",
        ADJOINT,
        _late,
    ),
    (
        "the bias's gradient is averaged over the images",
        "https://github.com/dengfy/cs231n/issues/1",
        laws.BIAS_GRADIENT.says,
        _averaged(2),
    ),
)


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes for images with so many axes of space; some need two, and those of tiles are about two."""
    several, tiles = axes > 1, axes == 2
    misplaced = (
        *MISPLACED,
        *(MISPLACED_ON_SEVERAL_AXES if several else ()),
        *(tiled_mistakes.MISPLACED if tiles else ()),
    )
    answers = (*FORWARD, *(FORWARD_ON_SEVERAL_AXES if several else ()), *(tiled_mistakes.FORWARD if tiles else ()))
    moved = (
        Mistake(says, cites, partial(wrong.forward, axes), partial(wrong.vjp, axes), (law,))
        for says, cites, law, wrong in misplaced
    )
    forward = (Mistake(says, cites, partial(wrong, axes), None, (law,)) for says, cites, law, wrong in answers)
    backward = (Mistake(says, cites, None, partial(wrong, axes), (law,)) for says, cites, law, wrong in GRADIENTS)
    return (*moved, *forward, *backward)
