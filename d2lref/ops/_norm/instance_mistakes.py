"""Instance normalisation: plausible wrong implementations, each with the report that it models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.ops._batch_norm import batch_norm
from d2lref.ops._batch_norm.definition import blend
from d2lref.ops._norm import mistakes
from d2lref.ops._norm.instance import OPTIONS, count, definition, inference, viewed, vjp
from d2lref.ops._norm.instance_laws import LAWS
from d2lref.ops._norm.view import View, padded
from d2lref.spec import Array, Mistake

_ALONE, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (law.says for law in LAWS[:8])
_SUM, _IGNORES, _HALF, _KEEPS, _GIVEN, _DISTANCE, _POINTWISE, _MULTIPLIES = (law.says for law in LAWS[8:])
Forward = Callable[..., tuple[Any, ...]]


def _altered(
    *,
    y: Callable[[View, float], Array] | None = None,
    state: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, ...]] | None = None,
) -> Forward:
    """Return instance normalisation with another y, or other new statistics, where an image has its own."""

    def forward(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**OPTIONS, **options}
        answer, *new = definition(*arrays, **options)
        if not options["use_input_stats"]:
            return (answer, *new)
        answer = answer if y is None else y(viewed(arrays), options["eps"])
        return (answer, *(new if state is None or arrays[1] is None else state(arrays, options)))

    return forward


def _own_moments(arrays: tuple[Any, ...]) -> tuple[Array, Array]:
    """Return mean and biased variance of every channel of every image, (N, C)."""
    v = viewed(arrays)
    mean, var = (np.reshape(a, v.x.shape[:2]) for a in moments.two_pass(v.x, v.axes))
    return mean, var


def _biased(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics with the biased variance."""
    n = count(arrays[0].shape)
    mean, var = (np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], (mean, var * ((n - 1) / n)), options["momentum"], n)


def _with_eps(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics whose variance has eps in it twice."""
    mean, var = (np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], (mean, var + 2 * options["eps"]), options["momentum"], count(arrays[0].shape))


def _complement(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics in which momentum is the share of the old."""
    means = tuple(np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], means, 1.0 - options["momentum"], count(arrays[0].shape))


def _just_updated(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Normalise with running statistics that have just been updated, where there are any."""
    arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**OPTIONS, **options}
    y, *state = definition(*arrays, **options)
    if not options["use_input_stats"] or state[0] is None:
        return (y, *state)
    return (batch_norm.definition(arrays[0], *state, *arrays[3:], **inference(options))[0], *state)


def _instead(place: int) -> Forward:
    """Return the mistake of using an image's own statistics where others are given: in y (0) or as the new ones (1)."""

    def forward(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**OPTIONS, **options}
        right = definition(*arrays, **options)
        if count(arrays[0].shape) < 2 or not arrays[0].size:
            return right
        own = definition(*arrays, **{**options, "use_input_stats": True})
        return (own[0], *right[1:]) if place == 0 else (right[0], *own[1:])

    return forward


def _given_outside(given_arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arrays with a given variance for which sqrt(v + eps) is sqrt of the right one + eps."""
    arrays = padded(mistakes.contiguous(given_arrays), 5)
    if options["use_input_stats"]:
        return arrays
    x, mean, var, *affine = arrays
    return (x, mean, (np.sqrt(var) + options["eps"]) ** 2 - options["eps"], *affine)


def _outside(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    options = {**OPTIONS, **options}
    y = definition(*_given_outside(given_arrays, options), **options)[0]
    return (y, *definition(*given_arrays, **options)[1:])


def _outside_vjp(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    options = {**OPTIONS, **options}
    return vjp(gy, *_given_outside(given_arrays, options), **options)


def _other(change: Callable[[mistakes.Seen, tuple[Any, ...]], tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with (dx, dw, db) changed where an image has its own statistics."""

    def wrong(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**OPTIONS, **options}
        dx, _, _, dw, db = vjp(gy, *arrays, **options)
        if options["use_input_stats"]:
            seen = mistakes.Seen(np.ascontiguousarray(gy[0]), viewed(arrays), options["eps"])
            dx, dw, db = change(seen, (dx, dw, db))
        return dx, None, None, dw, db

    return wrong


def _of_own(place: int) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with a gradient of an image's own statistics where others are given."""

    def wrong(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**OPTIONS, **options}
        right = vjp(gy, *arrays, **options)
        if options["use_input_stats"] or count(arrays[0].shape) < 2 or not arrays[0].size:
            return right
        own = vjp(gy, *arrays, **{**options, "use_input_stats": True})
        return (*right[:place], own[place], *right[place + 1 :])

    return wrong


def _averaged(place: int) -> Callable[[mistakes.Seen, tuple[Any, ...]], tuple[Any, ...]]:
    """Return the change that divides dw (1) or db (2) by the number of images."""

    def change(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
        n = max(len(seen.gy), 1) * (1 if place == 1 else seen.gy[0, 0].size)
        return tuple(a / n if i == place and a is not None else a for i, a in enumerate(right))

    return change


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/LBANN/lbann/pull/2024",
        _altered(y=mistakes.planted(root="unbiased")),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds the bias before it multiplies by the weight",
        "https://github.com/apple/coremltools/issues/1639",
        _altered(y=mistakes.planted(affine=mistakes.bias_first)),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "shares the statistics among the images",
        "https://github.com/sonos/tract/pull/2863",
        _altered(y=lambda v, eps: mistakes.planted()(v._replace(axes=(0, *v.axes) if v.x.size else v.axes), eps)),
        caught_by=(_ALONE,),
    ),
    Mistake(
        "normalises an image with running statistics that it has just updated",
        "https://github.com/tenstorrent/tt-metal/pull/45578",
        _just_updated,
        caught_by=(_IGNORES,),
    ),
    Mistake(
        "keeps a biased running variance",
        "https://github.com/kakaobrain/trident/pull/125",
        _altered(state=_biased),
        caught_by=(_HALF,),
    ),
    Mistake(
        "keeps a running variance with twice eps in it",
        "https://github.com/flagos-ai/FlagGems/issues/4885",
        _altered(state=_with_eps),
        caught_by=(_HALF,),
    ),
    Mistake(
        "takes momentum for the share of the old statistics",
        "https://github.com/Oneflow-Inc/oneflow/pull/6055",
        _altered(state=_complement),
        caught_by=(_KEEPS,),
    ),
    Mistake(
        "uses an image's own statistics in evaluation as well",
        "https://github.com/pytorch/pytorch/pull/1604",
        _instead(0),
        caught_by=(_DISTANCE,),
    ),
    Mistake(
        "adds eps outside the root of a given variance",
        "https://github.com/Tencent/ncnn/pull/311",
        _outside,
        _outside_vjp,
        caught_by=(_DISTANCE,),
    ),
    Mistake(
        "updates statistics that are given",
        "https://github.com/mf1024/Batch-Renormalization-PyTorch/issues/1",
        _instead(1),
        caught_by=(_GIVEN,),
    ),
    Mistake(
        "takes the mean for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_other(mistakes.of_x(mistakes.constant_mean)),
        caught_by=(_NOTHING,),
    ),
    Mistake(
        "takes the variance for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_other(mistakes.of_x(mistakes.constant_variance)),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/denizyuret/Knet.jl/issues/288",
        vjp=_other(mistakes.of_x(mistakes.weightless)),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "averages the gradient of x",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(mistakes.averaged),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "averages the gradient of the weight over the images",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(_averaged(1)),
        caught_by=(_SUM,),
    ),
    Mistake(
        "averages the gradient of the bias",
        "https://github.com/cthorey/CS231/issues/9",
        vjp=_other(_averaged(2)),
        caught_by=(_BIAS,),
    ),
    Mistake(
        "takes given statistics for those of the image in the gradient of x",
        "https://github.com/pytorch/xla/issues/913",
        vjp=_of_own(0),
        caught_by=(_POINTWISE,),
    ),
    Mistake(
        "takes given statistics for those of the image in the gradient of the weight",
        "https://github.com/torch/nn/pull/768",
        vjp=_of_own(3),
        caught_by=(_MULTIPLIES,),
    ),
)
