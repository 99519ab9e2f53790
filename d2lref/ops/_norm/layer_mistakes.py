"""Layer normalisation: plausible wrong implementations, each with the report that it models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.ops._norm import mistakes
from d2lref.ops._norm.layer import USUAL, viewed, vjp
from d2lref.ops._norm.layer_laws import LAWS
from d2lref.ops._norm.view import View
from d2lref.spec import Array, Mistake

_ROW, _LEADING, _AXES, _ROW_GRADIENT, _SUM, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (
    law.says for law in LAWS
)


def _wrong(**steps: Any) -> Callable[..., Array]:
    """Return layer normalisation with a step replaced."""
    return mistakes.answers(viewed, USUAL, mistakes.planted(**steps))


def _over(axes: Callable[[View], moments.Axes]) -> Callable[..., Array]:
    """Return layer normalisation with the statistics taken over other axes."""
    right = mistakes.planted()
    return mistakes.answers(viewed, USUAL, lambda v, eps: right(v._replace(axes=axes(v) if v.x.size else v.axes), eps))


def _one_weight(hat: Array, w: Array, b: Array) -> Array:
    """The first weight and the first bias for all values."""
    return hat * np.ravel(w)[0] + np.ravel(b)[0]


def _other(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with its gradients changed."""
    return mistakes.changed(viewed, USUAL, vjp, change)


def _last_block(seen: mistakes.Seen) -> Array:
    """dx with the term of the variance from the last half of a row only."""
    n = moments.count(seen.v.x.shape, seen.v.axes)
    shape = tuple(seen.v.x.shape[a] for a in seen.v.axes)
    late = np.reshape(np.arange(n) >= n // 2, shape)
    g, hat = seen.sent, seen.hat
    return (g - seen.mean(g) - hat * seen.mean(g * hat * late)) / seen.root


def _all_rows(seen: mistakes.Seen) -> Array:
    """dx with the two sums over the values of all rows."""
    g, hat = seen.sent, seen.hat
    leading = tuple(range(g.ndim - len(seen.v.axes)))
    middle, along = (np.sum(seen.mean(a), axis=leading, keepdims=True) for a in (g, g * hat))
    return (g - middle - hat * along) / seen.root


def _first_axis(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw of the rows that the first axis numbers, and of them the first of each."""
    dx, dw, db = right
    lead = seen.gy.ndim - len(seen.v.axes)
    if dw is None or lead < 2 or not seen.gy.size:
        return right
    first = np.sum(seen.gy * seen.hat, axis=0)[(0,) * (lead - 1)]
    return dx, first, db


def _swapped(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """db in the place of dw and dw in that of db, where there are both."""
    del seen
    dx, dw, db = right
    return right if dw is None or db is None else (dx, db, dw)


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/LBANN/lbann/pull/2024",
        _wrong(root="unbiased"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds eps outside the root",
        "https://github.com/hkproj/pytorch-transformer/pull/31",
        _wrong(root="outside"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "squares where it should take the root",
        "https://github.com/131250208/TPlinker-joint-extraction/issues/37",
        _wrong(root="squared"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "computes the variance as mean of squares less square of mean",
        "https://github.com/NVIDIA/trt-samples-for-hackathon-cn/issues/88",
        _wrong(of=moments.naive),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds the bias before it multiplies by the weight",
        "https://github.com/apple/ml-ane-transformers/pull/2",
        _wrong(affine=mistakes.bias_first),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "has one weight and one bias for all values",
        "https://github.com/microsoft/CNTK/issues/2376",
        _wrong(affine=_one_weight),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "takes the statistics of all rows together",
        "https://github.com/flexflow/flexflow-train/issues/523",
        _over(lambda v: tuple(range(v.x.ndim))),
        caught_by=(_ROW,),
    ),
    Mistake(
        "takes every axis but the first for one of the row",
        "https://github.com/Qualcomm-AI-research/geometric-algebra-transformer/pull/8",
        _over(lambda v: v.axes if v.x.ndim <= len(v.axes) + 1 else tuple(range(1, v.x.ndim))),
        caught_by=(_LEADING,),
    ),
    Mistake(
        "normalises along the last axis only",
        "https://github.com/keras-team/keras/issues/18231",
        _over(lambda v: v.axes[-1:]),
        caught_by=(_AXES,),
    ),
    Mistake(
        "subtracts the mean of the cotangent twice",
        "https://github.com/tenstorrent/tt-metal/pull/53215",
        vjp=_other(mistakes.of_x(mistakes.mean_twice)),
        caught_by=(_NOTHING,),
    ),
    Mistake(
        "keeps of the gradient's term of the variance what the last block adds",
        "https://github.com/tenstorrent/tt-metal/pull/53215",
        vjp=_other(mistakes.of_x(_last_block)),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "adds up the terms of the gradient over all rows of a block",
        "https://github.com/flagos-ai/FlagGems/pull/59",
        vjp=_other(mistakes.of_x(_all_rows)),
        caught_by=(_ROW_GRADIENT,),
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
        "takes the first axis for the rows in the gradient of the weight",
        "https://github.com/flagos-ai/FlagGems/issues/5392",
        vjp=_other(_first_axis),
        caught_by=(_SUM,),
    ),
    Mistake(
        "answers with the gradient of the bias for that of the weight, and the other way round",
        "https://github.com/Oneflow-Inc/oneflow/pull/6149",
        vjp=_other(_swapped),
        caught_by=(_BIAS,),
    ),
)
