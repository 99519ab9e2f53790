"""How separable convolutions go wrong: as convolutions do in their depthwise half, and where the halves meet.

Each mistake models a bug report.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._conv import definition as conv
from d2lref.ops._conv.misplaced import in_pairs, undone, where
from d2lref.ops._conv.mistakes import mistakes as of_convolutions
from d2lref.ops._separable_conv import laws
from d2lref.ops._separable_conv.definition import definition, vjp
from d2lref.spec import Array, Mistake

# 1 In the depthwise half


def _forward(
    axes: int,
    wrong: Callable[..., Array],
    x: Array,
    depthwise: Array,
    pointwise: Array,
    bias: Array | None = None,
    **options: Any,
) -> Array:
    """Return the right linear layer of a wrong depthwise convolution."""
    definition(axes, x[:0], depthwise, pointwise, bias, **options)  # refuses what does not fit
    seen = wrong(x, depthwise, None, groups=x.shape[1], **options)
    return conv.definition(axes, seen, pointwise, bias).astype(x.dtype)


def _vjp(
    axes: int,
    forward: Callable[..., Array],
    wrong: Callable[..., tuple[Any, ...]],
    gy: Array,
    x: Array,
    depthwise: Array,
    pointwise: Array,
    *bias: Array | None,
    **options: Any,
) -> tuple[Any, ...]:
    """Return the gradients of a linear layer after a depthwise convolution with a wrong vjp."""
    first = {**options, "groups": x.shape[1]}
    back, gp, *gb = conv.vjp(axes, gy, forward(x, depthwise, None, **first), pointwise, *bias)
    return (*wrong(back, x, depthwise, **first)[:2], gp, *gb)


LIFTED = (
    "an even window leaves the answers at the right border at zero",
    "strided answers are written in pairs, an odd last one is left out",
    "a dilated window needs room behind its last tap",
    "padding is forgotten behind the image",
    "same padding forgets its odd zero, and the last answer with it",
    "images are taken in pairs, an odd last one is left out",
    "the filter is flipped",
    "all zeros of the padding go behind the image",
    "same padding puts its odd zero before the image",
    "dilation changes the size of the answer and nothing else",
    "the last strided window ends with the image",
    "negative weights are clipped",
    "the step to the next image grows with its index",
    "the size of the answer is rounded up",
    "the filter's gradient is averaged over the images",
    "stride and dilation change places in the filter's gradient",
    "the image's gradient takes the filter without turning it",
)


def _lifted(axes: int, mistake: Mistake) -> Mistake:
    """Return a convolution's mistake as one of the depthwise half."""
    caught = tuple({"the answer is linear in the filter": laws.LINEAR.says}.get(law, law) for law in mistake.caught_by)
    return Mistake(
        mistake.says,
        mistake.cites,
        mistake.forward and partial(_forward, axes, mistake.forward),
        mistake.vjp and partial(_vjp, axes, mistake.forward or partial(conv.definition, axes), mistake.vjp),
        caught,
    )


# 2 Where the halves meet: the right operation of misplaced operands

Move = Callable[[Array, Array, int], Array]
"""Changes an array like the second, for so many channels, by selecting, permuting or putting zeros."""


def _channels_in_pairs(x: Array, _: Array, channels: int) -> Array:
    return where(in_pairs(channels), 1, x)


def _answers_in_pairs(pointwise: Array, _: Array, __: int) -> Array:
    return where(in_pairs(pointwise.shape[0]), 0, pointwise)


def _positive(pointwise: Array, given: Array, _: int) -> Array:
    return np.where(given > 0, pointwise, pointwise.dtype.type(0))


def _channels_in_turn(depthwise: Array, _: Array, channels: int) -> Array:
    """Return the filters as if the channel ran faster than the number of the filter."""
    each = depthwise.shape[0] // channels
    return depthwise[np.arange(depthwise.shape[0]).reshape(each, channels).swapaxes(0, 1).ravel()]


def _misplaced(
    place: int, move: Move, x: Array, depthwise: Array, pointwise: Array
) -> tuple[list[Array], Callable[[Array], Array]]:
    """Return the arrays with one of them moved, and the move."""
    arrays = [x, depthwise, pointwise]
    given, channels = arrays[place], x.shape[1]

    def moved(array: Array) -> Array:
        return move(array, given, channels)

    arrays[place] = moved(given)
    return arrays, moved


def _of_moved(
    place: int,
    move: Move,
    axes: int,
    x: Array,
    depthwise: Array,
    pointwise: Array,
    bias: Array | None = None,
    **options: Any,
) -> Array:
    """Return the answer for a misplaced array."""
    definition(axes, x[:0], depthwise, pointwise, bias, **options)  # refuses what does not fit
    (x, depthwise, pointwise), _ = _misplaced(place, move, x, depthwise, pointwise)
    return definition(axes, x, depthwise, pointwise, bias, **options)


def _vjp_of_moved(
    place: int,
    move: Move,
    axes: int,
    gy: Array,
    x: Array,
    depthwise: Array,
    pointwise: Array,
    *bias: Array | None,
    **options: Any,
) -> tuple[Any, ...]:
    """Return the gradients of `_of_moved`: the move is undone by its adjoint."""
    arrays, moved = _misplaced(place, move, x, depthwise, pointwise)
    gradients = list(vjp(axes, gy, *arrays, *bias, **options))
    gradients[place] = undone(moved, gradients[place], arrays[place].shape)
    return tuple(gradients)


# 3 The bias, and the stride


def _bias_of_both(
    axes: int, x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, **options: Any
) -> Array:
    """Return the answer whose bias goes through as many filters as there are."""
    filters = pointwise.dtype.type(pointwise.shape[1])
    return definition(axes, x, depthwise, pointwise, None if bias is None else bias * filters, **options)


def _stride_twice(
    axes: int, x: Array, depthwise: Array, pointwise: Array, bias: Array | None = None, **options: Any
) -> Array:
    """Return the answer with the stride in both halves."""
    y = definition(axes, x, depthwise, pointwise, bias, **options)
    stride = options.get("stride", 1)
    steps = (stride,) * axes if isinstance(stride, int) else stride
    return y[(..., *(slice(None, None, s) for s in steps))]


def _averaged(
    axes: int, gy: Array, x: Array, depthwise: Array, pointwise: Array, *bias: Array | None, **options: Any
) -> tuple[Any, ...]:
    """Return the gradients, that of the bias averaged over the images."""
    *others, gb = vjp(axes, gy, x, depthwise, pointwise, *(bias or (None,)), **options)
    return (*others, None if gb is None else gb / gb.dtype.type(max(gy.shape[0], 1)))


MOVED = (
    (
        "channels are read in pairs, an odd last one is left out",
        "https://github.com/bhuman/CompiledNN/issues/16",
        laws.CHANNELS.says,
        0,
        _channels_in_pairs,
    ),
    (
        "the filters of a channel lie a row of channels apart",
        "https://github.com/ARM-software/ComputeLibrary/issues/553",
        laws.CHANNELS.says,
        1,
        _channels_in_turn,
    ),
    (
        "answers at a pixel are taken in pairs, an odd last one is left out",
        "https://github.com/Maratyszcza/NNPACK/issues/130",
        laws.ANSWERS.says,
        2,
        _answers_in_pairs,
    ),
    (
        "negative pointwise weights are clipped",
        "https://github.com/telugu-boy/seedimg/issues/9",
        laws.MIXING.says,
        2,
        _positive,
    ),
)

OTHERS = (
    (
        "the bias is added once for every filter",
        "https://github.com/LazaroHurtado/micrograd-rs/pull/20",
        laws.BIAS.says,
        _bias_of_both,
    ),
    (
        "the stride is taken in both halves",
        "https://github.com/nanoporetech/bonito/issues/53",
        "answers in the shape and dtype of the rule",
        _stride_twice,
    ),
)


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes for images with so many axes of space."""
    known = {mistake.says: mistake for mistake in of_convolutions(axes)}
    return (
        *(_lifted(axes, known[says]) for says in LIFTED),
        *(
            Mistake(says, cites, partial(_of_moved, i, move, axes), partial(_vjp_of_moved, i, move, axes), (law,))
            for says, cites, law, i, move in MOVED
        ),
        *(Mistake(says, cites, partial(wrong, axes), None, (law,)) for says, cites, law, wrong in OTHERS),
        Mistake(
            "the bias's gradient is averaged over the images",
            "https://github.com/dengfy/cs231n/issues/1",
            None,
            partial(_averaged, axes),
            (laws.BIAS_GRADIENT.says,),
        ),
    )
