"""softmax and log_softmax: plausible wrong implementations, with the reports they model."""

import numpy as np

from d2lref.ops._softmax.definition import (
    log_softmax,
    log_softmax_shape,
    softmax,
    softmax_shape,
    softmax_vjp,
)
from d2lref.spec import Array, Mistake

# 1 Of softmax


def _unshifted(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    e = np.exp(x)
    return np.asarray(e / np.sum(e, axis=dim, keepdims=True))


def _shifted_by_the_largest_of_all(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    return _unshifted(x - np.max(x, initial=-np.inf), dim=dim)


def _shifted_by_no_less_than_zero(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    e = np.exp(x - np.maximum(np.max(x, axis=dim, keepdims=True, initial=-np.inf), 0))
    return np.asarray(e / np.sum(e, axis=dim, keepdims=True))


def _last_axis(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    return softmax(x, dim=-1)


def _over_everything(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    return softmax(x.reshape(-1), dim=0).reshape(x.shape)


def _scaled(x: Array, *, dim: int) -> Array:
    return softmax(x / 2, dim=dim)


def _sum_not_rescaled(x: Array, *, dim: int) -> Array:
    softmax_shape(x.shape, dim=dim)
    running = np.maximum.accumulate(np.maximum(x, np.finfo(x.dtype).min), axis=dim) if x.size else x
    largest = np.max(x, axis=dim, keepdims=True, initial=-np.inf)
    return np.asarray(np.exp(x - largest) / np.sum(np.exp(x - running), axis=dim, keepdims=True))


def _nan_becomes_zero(x: Array, *, dim: int) -> Array:
    return np.nan_to_num(softmax(x, dim=dim), nan=0.0)


def _nan_for_masked(x: Array, *, dim: int) -> Array:
    hidden = (x == -np.inf).any(axis=dim, keepdims=True)
    return np.where(hidden, np.nan, softmax(x, dim=dim)).astype(x.dtype)


def _diagonal(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    y = softmax(x, dim=dim)
    return (gy * y * (1 - y),)


def _mean_lost(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    return (gy * softmax(x, dim=dim),)


def _twice(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    return (2 * softmax_vjp(gy, x, dim=dim)[0],)


_SHIFT, _ROW = "a number added to all entries changes nothing", "a row does not see the others"
_ONE, _RATIO = "a row adds up to 1", "y = y of the largest times e^(x - m)"
_NAN, _GRADIENT = "NaN spreads over its row", "dx = p (gy - sum of gy p), p = e^t / sum of e^t"
SOFTMAX_MISTAKES = (
    Mistake(
        "does not subtract the maximum",
        "https://github.com/dwavesystems/dwave-optimization/issues/555",
        _unshifted,
        caught_by=(_SHIFT,),
    ),
    Mistake(
        "subtracts the larger of maximum and 0",
        "https://github.com/FluxML/NNlib.jl/pull/43",
        _shifted_by_no_less_than_zero,
        caught_by=(_SHIFT,),
    ),
    Mistake(
        "subtracts the maximum of all rows",
        "https://github.com/PaddlePaddle/Paddle/pull/19800",
        _shifted_by_the_largest_of_all,
        caught_by=(_ROW,),
    ),
    Mistake(
        "takes the last axis, whatever dim says",
        "https://github.com/paiml/aprender/pull/2152",
        _last_axis,
        caught_by=(_ROW,),
    ),
    Mistake(
        "normalises over all axes",
        "https://github.com/nntrainer/nntrainer/pull/430",
        _over_everything,
        caught_by=(_ROW, _ONE),
    ),
    Mistake(
        "scales the logits once too often",
        "https://github.com/Adibvafa/CodonTransformer/pull/20",
        _scaled,
        caught_by=(_RATIO,),
    ),
    Mistake(
        "does not rescale the sum when a larger maximum comes",
        "https://github.com/tile-ai/TileOPs/pull/239",
        _sum_not_rescaled,
        caught_by=(_ONE,),
    ),
    Mistake(
        "answers zeros for a row with NaN",
        "https://github.com/tenstorrent/tt-metal/issues/56056",
        _nan_becomes_zero,
        caught_by=(_NAN,),
    ),
    Mistake(
        "answers NaN for a row with -inf",
        "https://github.com/gabrieldemarmiesse/torch-mojo-backend/pull/319",
        _nan_for_masked,
        caught_by=("-inf becomes 0",),
    ),
    Mistake(
        "takes the diagonal of the Jacobian alone",
        "https://github.com/deeplearning4j/libnd4j/issues/440",
        vjp=_diagonal,
        caught_by=(_GRADIENT,),
    ),
    Mistake(
        "forgets that the denominator depends on x",
        "https://github.com/zhuozhiyongde/Fundamentals-of-Artificial-Intelligence-2024Spring-PKU/issues/1",
        vjp=_mean_lost,
        caught_by=(_GRADIENT,),
    ),
    Mistake(
        "doubles the gradient",
        "https://github.com/markroxor/fromscratchtoml/issues/65",
        vjp=_twice,
        caught_by=(_GRADIENT,),
    ),
)

# 2 Of log_softmax


def _logarithm_of_softmax(x: Array, *, dim: int) -> Array:
    log_softmax_shape(x.shape, dim=dim)
    return np.log(softmax(x, dim=dim))


def _log_unshifted(x: Array, *, dim: int) -> Array:
    log_softmax_shape(x.shape, dim=dim)
    if x.shape[dim] == 1:
        return log_softmax(x, dim=dim)
    return np.asarray(x - np.log(np.sum(np.exp(x), axis=dim, keepdims=True)))


def _log_shifted_by_the_largest_of_all(x: Array, *, dim: int) -> Array:
    log_softmax_shape(x.shape, dim=dim)
    return _log_unshifted(x - np.max(x, initial=-np.inf), dim=dim)


def _log_last_axis(x: Array, *, dim: int) -> Array:
    log_softmax_shape(x.shape, dim=dim)
    return log_softmax(x, dim=-1)


def _log_sum_not_rescaled(x: Array, *, dim: int) -> Array:
    log_softmax_shape(x.shape, dim=dim)
    running = np.maximum.accumulate(np.maximum(x, np.finfo(x.dtype).min), axis=dim) if x.size else x
    largest = np.max(x, axis=dim, keepdims=True, initial=-np.inf)
    return np.asarray(x - largest - np.log(np.sum(np.exp(x - running), axis=dim, keepdims=True)))


def _log_scaled(x: Array, *, dim: int) -> Array:
    return log_softmax(x / 2, dim=dim)


def _minus_infinity_stays(x: Array, *, dim: int) -> Array:
    return np.where(np.isnan(x).any(axis=dim, keepdims=True) & (x == -np.inf), x, log_softmax(x, dim=dim))


def _zero_for_masked(x: Array, *, dim: int) -> Array:
    lost = (x == -np.inf) & ~np.isnan(x).any(axis=dim, keepdims=True)
    return np.where(lost, np.zeros_like(x), log_softmax(x, dim=dim))


def _plus_probability(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    return (gy + softmax(x, dim=dim),)


def _cotangents_times_answers(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    return (gy - np.sum(gy * log_softmax(x, dim=dim), axis=dim, keepdims=True),)


def _gradient_of_softmax(gy: Array, x: Array, *, dim: int) -> tuple[Array]:
    return (softmax_vjp(gy, x, dim=dim)[0],)


_LOG_ONE, _DIFFERENCE = "the exponentials of a row add up to 1", "y - y of the largest = x - m"
_LOG_GRADIENT = "dx = gy - p times the sum of gy, p = e^t / sum of e^t"
LOG_SOFTMAX_MISTAKES = (
    Mistake(
        "takes the logarithm of a softmax that underflows",
        "https://github.com/tenstorrent/pytorch2.0_ttnn/issues/1341",
        _logarithm_of_softmax,
        caught_by=(_DIFFERENCE,),
    ),
    Mistake(
        "scales the logits once too often",
        "https://github.com/Adibvafa/CodonTransformer/pull/20",
        _log_scaled,
        caught_by=(_DIFFERENCE,),
    ),
    Mistake(
        "does not subtract the maximum",
        "https://github.com/cornell-brg/hb-pytorch/issues/61",
        _log_unshifted,
        caught_by=(_SHIFT,),
    ),
    Mistake(
        "subtracts the maximum of all rows",
        "https://github.com/twitter-archive/torch-autograd/issues/166",
        _log_shifted_by_the_largest_of_all,
        caught_by=(_ROW,),
    ),
    Mistake(
        "takes the last axis, whatever dim says",
        "https://github.com/flagos-ai/FlagGems/pull/4996",
        _log_last_axis,
        caught_by=(_ROW,),
    ),
    Mistake(
        "does not rescale the sum when a larger maximum comes",
        "https://github.com/tile-ai/TileOPs/pull/239",
        _log_sum_not_rescaled,
        caught_by=(_LOG_ONE,),
    ),
    Mistake(
        "leaves -inf in a row with NaN",
        "https://github.com/mindspore-ai/mindspore/issues/378",
        _minus_infinity_stays,
        caught_by=(_NAN,),
    ),
    Mistake(
        "answers 0 for what is masked by -inf",
        "https://github.com/apache/mxnet/pull/19703",
        _zero_for_masked,
        caught_by=("-inf becomes -inf",),
    ),
    Mistake(
        "adds the probability to the cotangent",
        "https://github.com/mlpack/mlpack/issues/2360",
        vjp=_plus_probability,
        caught_by=(_LOG_GRADIENT,),
    ),
    Mistake(
        "subtracts the sum of cotangents times answers",
        "https://github.com/uxlfoundation/oneDNN/issues/616",
        vjp=_cotangents_times_answers,
        caught_by=(_LOG_GRADIENT,),
    ),
    Mistake(
        "has the derivative of softmax",
        "https://github.com/apache/tvm/pull/1201",
        vjp=_gradient_of_softmax,
        caught_by=(_LOG_GRADIENT,),
    ),
)
