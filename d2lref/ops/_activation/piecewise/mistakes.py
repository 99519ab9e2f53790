"""relu6, leaky_relu, hardsigmoid and hardswish: plausible wrong implementations, with the reports they model."""

import numpy as np

from d2lref.ops._activation.piecewise.definition import (
    hardsigmoid,
    hardswish,
    hardswish_vjp,
    leaky_relu,
    leaky_relu_vjp,
    relu6,
)
from d2lref.ops._activation.shared import maximum_deaf_to_nan
from d2lref.spec import Array, Mistake

# 1 Of relu6


def _unclipped(x: Array) -> Array:
    return np.maximum(x, 0)


def _difference_of_relus(x: Array) -> Array:
    return np.where(np.isfinite(x), np.maximum(x, 0) - np.maximum(x - 6, 0), relu6(x))


def _leaking_relu6(x: Array) -> Array:
    return np.where(x < 0, x * np.asarray(0.01, x.dtype), relu6(x))


def _never_inside(gy: Array, x: Array) -> tuple[Array]:
    return (np.where((x <= 0) & (x >= 6), gy, np.zeros_like(gy)),)


def _always_inside(gy: Array, x: Array) -> tuple[Array]:
    del x
    return (gy + 0,)


def _six_for_nan_and_more(gy: Array, x: Array) -> tuple[Array]:
    return (np.where((x > 0) & (x < 6), np.full_like(gy, 6), np.zeros_like(gy)),)


_NAN = ("NaN stays NaN",)
RELU6_MISTAKES = (
    Mistake(
        "is relu",
        "https://github.com/microsoft/MMdnn/issues/798",
        _unclipped,
        caught_by=("right of 0, y = min(x, 6)",),
    ),
    Mistake(
        "is a difference of two relus, which cancels for large numbers",
        "https://github.com/tinygrad/tinygrad/pull/18028",
        _difference_of_relus,
        caught_by=("right of 0, y = min(x, 6)",),
    ),
    Mistake(
        "leaks a hundredth of what is negative",
        "https://github.com/uxlfoundation/oneDNN/issues/139",
        _leaking_relu6,
        caught_by=("left of 0, y = 0",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/mindspore-ai/mindspore/issues/381",
        maximum_deaf_to_nan(relu6),
        caught_by=_NAN,
    ),
    Mistake(
        "has its comparisons inverted, so that no gradient passes",
        "https://github.com/tenstorrent/tt-metal/issues/48201",
        vjp=_never_inside,
        caught_by=("between 0 and 6, dx = gy",),
    ),
    Mistake(
        "has 6 for the gradient",
        "https://github.com/tenstorrent/tt-metal/issues/57455",
        vjp=_six_for_nan_and_more,
        caught_by=("between 0 and 6, dx = gy",),
    ),
    Mistake(
        "passes the gradient everywhere",
        "https://github.com/pytorch/pytorch/issues/51408",
        vjp=_always_inside,
        caught_by=("outside 0 and 6, dx = 0",),
    ),
)

# 2 Of leaky_relu


def _relu_first(x: Array, *, negative_slope: float = 0.01) -> Array:
    return np.where(x < 0, np.zeros_like(x), leaky_relu(x, negative_slope=negative_slope))


def _larger_of_both(x: Array, *, negative_slope: float = 0.01) -> Array:
    return np.where(np.isfinite(x), np.maximum(x, x * negative_slope), leaky_relu(x, negative_slope=negative_slope))


def _other_sign(x: Array, *, negative_slope: float = 0.01) -> Array:
    return np.where((x < 0) & np.isfinite(x), -x * negative_slope, leaky_relu(x, negative_slope=negative_slope))


def _infinity_lost(x: Array, *, negative_slope: float = 0.01) -> Array:
    return np.where(np.isinf(x), np.nan, leaky_relu(x, negative_slope=negative_slope)).astype(x.dtype)


def _slope_ignored(gy: Array, x: Array, *, negative_slope: float = 0.01) -> tuple[Array]:
    del negative_slope
    return leaky_relu_vjp(gy, x)


def _sign_of_the_answer(gy: Array, x: Array, *, negative_slope: float = 0.01) -> tuple[Array]:
    y = leaky_relu(x, negative_slope=negative_slope)
    return (np.where(y >= 0, gy, gy * negative_slope),)


def _zero_forgotten(gy: Array, x: Array, *, negative_slope: float = 0.01) -> tuple[Array]:
    return (np.where(x == 0, np.zeros_like(gy), leaky_relu_vjp(gy, x, negative_slope=negative_slope)[0]),)


_LEAK, _LEAK_GRADIENT = "y = max(x, 0) + slope min(x, 0)", "dx = gy right of 0, slope gy left of 0"
LEAKY_MISTAKES = (
    Mistake("takes relu first", "https://github.com/tflearn/tflearn/pull/784", _relu_first, caught_by=(_LEAK,)),
    Mistake(
        "is the larger of x and slope x, whatever the slope",
        "https://github.com/tensorflow/tensorflow/issues/24566",
        _larger_of_both,
        caught_by=(_LEAK,),
    ),
    Mistake("adds relu of -slope x", "https://github.com/tinygrad/tinygrad/pull/172", _other_sign, caught_by=(_LEAK,)),
    Mistake(
        "turns infinity into NaN",
        "https://github.com/microsoft/onnxruntime/issues/28489",
        _infinity_lost,
        caught_by=("an infinity stays one",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/openvinotoolkit/openvino/issues/37731",
        maximum_deaf_to_nan(leaky_relu),
        caught_by=_NAN,
    ),
    Mistake(
        "ignores the slope in the derivative",
        "https://github.com/deeplearning4j/deeplearning4j/issues/8178",
        vjp=_slope_ignored,
        caught_by=(_LEAK_GRADIENT,),
    ),
    Mistake(
        "looks at the sign of the answer, which is lost with a slope of 0",
        "https://github.com/chainer/chainer/pull/5898",
        vjp=_sign_of_the_answer,
        caught_by=(_LEAK_GRADIENT,),
    ),
    Mistake(
        "forgets 0 in the derivative",
        "https://github.com/uptake/numpynet/pull/35",
        vjp=_zero_forgotten,
        caught_by=("at 0 the gradient lies between those of both sides",),
    ),
)

# 3 Of hardsigmoid


def _fifth(x: Array) -> Array:
    return np.clip(x * np.asarray(0.2, x.dtype) + np.asarray(0.5, x.dtype), 0, 1)


def _half_of_one_more(x: Array) -> Array:
    return np.clip((x + 1) / 2, 0, 1)


def _cancelling_gate(x: Array) -> Array:
    line = x / 6 + np.asarray(0.5, x.dtype)
    return np.where(np.isfinite(x), np.maximum(line, 0) - np.maximum(line - 1, 0), hardsigmoid(x))


def _line(x: Array) -> Array:
    return (x + 3) / 6


def _fifth_of_the_gradient(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(np.abs(x) < np.asarray(2.5, x.dtype), gy * np.asarray(0.2, gy.dtype), np.zeros_like(gy)),)


def _gradient_unmasked(gy: Array, x: Array) -> tuple[Array]:
    del x
    return (gy / 6,)


HARDSIGMOID_MISTAKES = (
    Mistake(
        "has slope 0.2",
        "https://github.com/PaddlePaddle/Paddle/issues/44820",
        _fifth,
        caught_by=("between -3 and 3, 6y = x + 3",),
    ),
    Mistake(
        "is (x + 1) / 2 between -1 and 1",
        "https://github.com/open-mmlab/mmcv/pull/657",
        _half_of_one_more,
        caught_by=("between -3 and 3, 6y = x + 3",),
    ),
    Mistake(
        "is a difference of two relus, which cancels for large numbers",
        "https://github.com/tinygrad/tinygrad/pull/18063",
        _cancelling_gate,
        caught_by=("outside -3 and 3, y is 0 or 1",),
    ),
    Mistake(
        "has lost the ends of its clip",
        "https://github.com/Tencent/ncnn/issues/1609",
        _line,
        caught_by=("outside -3 and 3, y is 0 or 1",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/pytorch/pytorch/pull/183939",
        maximum_deaf_to_nan(hardsigmoid),
        caught_by=_NAN,
    ),
    Mistake(
        "has slope 0.2 in the derivative",
        "https://github.com/PaddlePaddle/Paddle/issues/44820",
        vjp=_fifth_of_the_gradient,
        caught_by=("between -3 and 3, 6 dx = gy",),
    ),
    Mistake(
        "passes a sixth of the gradient everywhere",
        "https://github.com/pytorch/pytorch/issues/51408",
        vjp=_gradient_unmasked,
        caught_by=("outside -3 and 3, dx = 0",),
    ),
)

# 4 Of hardswish


def _swish_with_fifths(x: Array) -> Array:
    return np.where(np.abs(x) < 3, x * _fifth(x), hardswish(x))


def _cancelling_swish(x: Array) -> Array:
    gate = np.maximum(x + 3, 0) - np.maximum(x - 3, 0)
    return np.where(np.isfinite(x), x * gate / 6, hardswish(x))


def _parabola(x: Array) -> Array:
    return np.where(np.isfinite(x), x * _line(x), hardswish(x))


def _gate_alone(x: Array) -> Array:
    return hardsigmoid(x)


def _third_to_four_digits(gy: Array, x: Array) -> tuple[Array]:
    line = gy * (x * np.asarray(0.3333, x.dtype) + np.asarray(0.5, x.dtype))
    return (np.where(np.abs(x) < 3, line, hardswish_vjp(gy, x)[0]),)


def _gate_unmasked(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(np.isfinite(x), gy * (hardsigmoid(x) + x / 6), hardswish_vjp(gy, x)[0]),)


def _cotangent_for_input(gy: Array, x: Array) -> tuple[Array]:
    inside = (x > -3) & (x < 3)
    return ((relu6(gy + 3) + np.where(inside, gy, 0) * gy) / np.asarray(6, gy.dtype),)


HARDSWISH_MISTAKES = (
    Mistake(
        "has slope 0.2",
        "https://github.com/Tencent/ncnn/issues/2826",
        _swish_with_fifths,
        caught_by=("between -3 and 3, 6y = x (x + 3)",),
    ),
    Mistake(
        "has a gate that cancels for large numbers",
        "https://github.com/tinygrad/tinygrad/pull/18028",
        _cancelling_swish,
        caught_by=("outside -3 and 3, y is 0 or x",),
    ),
    Mistake(
        "has lost the ends of its clip",
        "https://github.com/Tencent/ncnn/issues/1609",
        _parabola,
        caught_by=("outside -3 and 3, y is 0 or x",),
    ),
    Mistake(
        "is the gate alone",
        "https://github.com/huggingface/candle/pull/1244",
        _gate_alone,
        caught_by=("between -3 and 3, 6y = x (x + 3)", "outside -3 and 3, y is 0 or x"),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/apache/mxnet/pull/14262",
        maximum_deaf_to_nan(hardswish),
        caught_by=_NAN,
    ),
    Mistake(
        "has 0.3333 for a third in the derivative",
        "https://github.com/tenstorrent/tt-metal/issues/55291",
        vjp=_third_to_four_digits,
        caught_by=("between -3 and 3, 6 dx = gy (2x + 3)",),
    ),
    Mistake(
        "has the gate's derivative of 1/6 everywhere",
        "https://github.com/pytorch/pytorch/issues/51408",
        vjp=_gate_unmasked,
        caught_by=("outside -3 and 3, dx is 0 or gy",),
    ),
    Mistake(
        "takes the cotangent for the input",
        "https://github.com/tensorflow/swift-apis/pull/743",
        vjp=_cotangent_for_input,
        caught_by=("between -3 and 3, 6 dx = gy (2x + 3)", "outside -3 and 3, dx is 0 or gy"),
    ),
)
