"""Group normalisation: plausible wrong implementations, each with the report that it models."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.ops._norm import mistakes
from d2lref.ops._norm.group import USUAL, definition, shape, viewed, vjp
from d2lref.ops._norm.group_laws import LAWS
from d2lref.ops._norm.view import View, shapes
from d2lref.spec import Array, Mistake

_GROUP, _ALIKE, _GRADIENTS, _TWICE, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (
    law.says for law in LAWS
)
Ways = tuple[Callable[..., Array], Callable[..., tuple[Any, ...]]]


def _wrong(**steps: Any) -> Callable[..., Array]:
    """Return group normalisation with a step replaced."""
    return mistakes.answers(viewed, USUAL, mistakes.planted(**steps))


def _other(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with its gradients changed."""
    return mistakes.changed(viewed, USUAL, vjp, change)


def _with_the_next(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """Return statistics in which a group of a size that is no power of two reads on, into the next."""
    members = x.shape[2]
    beyond = (1 << (members - 1).bit_length()) - members
    after = np.concatenate([x[:, 1:, :beyond], np.zeros_like(x[:, :1, :beyond])], axis=1)
    n = moments.count(x.shape, axes)
    mean = (np.sum(x, axis=axes, keepdims=True) + np.sum(after, axis=axes, keepdims=True)) / n
    squares = np.sum((x - mean) ** 2, axis=axes, keepdims=True) + np.sum((after - mean) ** 2, axis=axes, keepdims=True)
    return mean, squares / n


def _of_all_groups(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """Return the statistics of an image for each of its groups."""
    return moments.two_pass(x, (1, *axes))


def _interleaved(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Group channel c with those that leave the same rest when divided by the number of groups."""
    shape(*shapes(x, *affine), num_groups=num_groups, eps=eps)
    turn = np.ravel(np.reshape(np.arange(x.shape[1]), (-1, num_groups)).T)
    moved = mistakes.contiguous((x[:, turn], *(None if a is None else a[turn] for a in affine)))
    return definition(*moved, num_groups=num_groups, eps=eps)[:, np.argsort(turn)]


def _last_axis(v: View) -> moments.Axes:
    """Channels of a group and the last axis of space."""
    return v.axes if v.x.ndim < 5 or not v.x.size else (2, v.x.ndim - 1)


def _reread(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Read the numbers of an image as if channels came last where the groups are formed, and write them back so."""
    v = viewed((x, *affine), {"num_groups": num_groups, "eps": eps})
    if x.ndim < 3:
        return definition(x, *affine, num_groups=num_groups, eps=eps)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    hat = definition(np.reshape(last, x.shape), num_groups=num_groups, eps=eps)
    y = v.beside(np.ascontiguousarray(np.moveaxis(np.reshape(hat, last.shape), -1, 1)))
    y = y if v.weight is None else y * v.weight
    return np.reshape(y if v.bias is None else y + v.bias, x.shape)


def _per_group(hat: Array, w: Array, b: Array) -> Array:
    """The weight and the bias of a group's first channel for all of its channels."""
    return hat * w[:, :, :1] + b[:, :, :1]


def _first_group(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw with the mean and the root of the first group for every group."""
    dx, dw, db = right
    if dw is None:
        return right
    mean, _ = moments.two_pass(seen.v.x, seen.v.axes)
    hat = (seen.v.x - mean[:, :1]) / seen.root[:, :1]
    return dx, np.ravel(moments.affine_gradients(seen.gy, hat, seen.v.weight, None)[0]), db


def _averaged_weight(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw divided by the number of images."""
    dx, dw, db = right
    return dx, None if dw is None else dw / max(len(seen.gy), 1), db


def _averaged_bias(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """db divided by the number of images and pixels."""
    dx, dw, db = right
    n = max(seen.gy.size // math.prod(seen.gy.shape[1:3]), 1)
    return dx, dw, None if db is None else db / n


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/harvardnlp/annotated-transformer/pull/119",
        _wrong(root="unbiased"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds eps outside the root",
        "https://github.com/taokong/group_normalization/issues/1",
        _wrong(root="outside"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "has a weight and a bias for each group",
        "https://github.com/Oneflow-Inc/oneflow/pull/4848",
        _wrong(affine=_per_group),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "reads into the next group where the size of a group is no power of two",
        "https://github.com/flagos-ai/FlagGems/issues/4984",
        _wrong(of=_with_the_next),
        caught_by=(_GROUP,),
    ),
    Mistake(
        "takes the statistics of all groups together",
        "https://github.com/brainpy/BrainPy/issues/765",
        _wrong(of=_of_all_groups),
        caught_by=(_GROUP,),
    ),
    Mistake(
        "deals the channels out to the groups in turn",
        "https://github.com/tenstorrent/tt-metal/pull/56202",
        _interleaved,
        caught_by=(_GROUP,),
    ),
    Mistake(
        "takes the last axis of space for all of it",
        "https://github.com/linkedin/Liger-Kernel/pull/1376",
        mistakes.answers(viewed, USUAL, lambda v, eps: mistakes.planted()(v._replace(axes=_last_axis(v)), eps)),
        caught_by=(_ALIKE,),
    ),
    Mistake(
        "mixes channels with pixels where it should transpose",
        "https://github.com/tensorflow/addons/issues/751",
        _reread,
        caught_by=(_GROUP,),
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
        "https://github.com/uxlfoundation/oneDNN/issues/3543",
        vjp=_other(mistakes.of_x(mistakes.weightless)),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "reads the first group's statistics for all groups in the gradient of the weight",
        "https://github.com/tenstorrent/tt-metal/pull/56202",
        vjp=_other(_first_group),
        caught_by=(_GRADIENTS,),
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
        vjp=_other(_averaged_weight),
        caught_by=(_TWICE,),
    ),
    Mistake(
        "averages the gradient of the bias",
        "https://github.com/cthorey/CS231/issues/9",
        vjp=_other(_averaged_bias),
        caught_by=(_BIAS,),
    ),
)
