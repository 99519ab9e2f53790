"""What the scaled initialisers refuse, and how they have been got wrong."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.inits._scaled.definition import (
    GAINS,
    fans,
    kaiming_shape,
    kaiming_std,
    of_normal,
    of_uniform,
    weight_shape,
    xavier_std,
)
from d2lref.inits._scaled.laws import AVERAGE, FORM, SIZE, SUPPORT
from d2lref.spec import Array, Mistake, Rejection, Shape

# 1 Rejections


def one_axis(name: str) -> Rejection:
    return Rejection(
        "one axis", ((5,),), {}, f"{name}: shape (5,) has 1 axes, expected 2 or more: outputs, inputs, window"
    )


def kaiming_rejections(name: str) -> tuple[Rejection, ...]:
    return (
        one_axis(name),
        Rejection(
            "a mode that is not known",
            ((2, 3),),
            {"mode": "fan_avg"},
            f"{name}: mode='fan_avg', expected 'fan_in' or 'fan_out'",
        ),
        Rejection(
            "a nonlinearity that is not known",
            ((2, 3),),
            {"nonlinearity": "step"},
            f"{name}: nonlinearity='step', expected one of {', '.join(map(repr, GAINS))}",
        ),
    )


# 2 Mistakes

Scale = Callable[[Shape, float], float]  # from shape and gain to the standard deviation
Drawn = Callable[[np.random.Generator, Shape, float], Array]


def _xavier_with(std: Scale, drawn: Drawn) -> Callable[..., Array]:
    def wrong(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
        weight_shape("xavier", shape)
        return drawn(rng, shape, std(shape, gain))

    return wrong


def _kaiming_with(std: Callable[[Shape, float, str, str], float], drawn: Drawn) -> Callable[..., Array]:
    def wrong(
        shape: Shape, *, rng: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
    ) -> Array:
        kaiming_shape("kaiming", shape, mode, nonlinearity)
        return drawn(rng, shape, std(shape, a, mode, nonlinearity))

    return wrong


def _without_window(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / (shape[0] + shape[1]))


def _one_side_without_window(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / (fans(shape)[0] + shape[0]))


def _without_brackets(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / fans(shape)[0] + fans(shape)[1])


def _three(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(3.0 / sum(fans(shape)))


def _no_root(shape: Shape, gain: float) -> float:
    return gain * 2.0 / sum(fans(shape))


def _root_of_gain(shape: Shape, gain: float) -> float:
    return math.sqrt(gain) * xavier_std(shape, 1.0)


def _outputs_only(shape: Shape, gain: float) -> float:
    return gain / math.sqrt(fans(shape)[1])


def _std_as_end(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    return of_uniform(rng, shape, std / math.sqrt(3.0))


def _one_sided(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    return np.abs(of_uniform(rng, shape, std))


def _cut(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    z = rng.standard_normal((4 * math.prod(shape),))
    return std * z[np.abs(z) < 2.0][: math.prod(shape)].reshape(shape)


def _swapped(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return kaiming_std((shape[1], shape[0], *shape[2:]), a, mode, nonlinearity)


def _always_in(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del mode
    return kaiming_std(shape, a, "fan_in", nonlinearity)


def _no_window(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return kaiming_std(shape[:2], a, mode, nonlinearity)


def _outputs_without_window(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return kaiming_std(shape if mode == "fan_in" else shape[:2], a, mode, nonlinearity)


def _no_gain(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del a, nonlinearity
    return kaiming_std(shape, 0.0, mode, "linear")


def _slope_ignored(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del a
    return kaiming_std(shape, 0.0, mode, nonlinearity)


def _variance(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return kaiming_std(shape, a, mode, nonlinearity) ** 2


def _fill(name: str, cites: str, forward: Callable[..., Array], *laws: str) -> Mistake:
    return Mistake(name, f"https://github.com/{cites}", forward, caught_by=laws)


def _xavier_mistakes(drawn: Drawn) -> tuple[Mistake, ...]:
    """Return the mistakes that both have."""
    return (
        _fill(
            "forgets the receptive field",
            "tensorflow/swift-apis/pull/22",
            _xavier_with(_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "counts the receptive field in the inputs only",
            "denizyuret/Knet.jl/issues/515",
            _xavier_with(_one_side_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "adds fan_out after the division",
            "mlverse/torch/issues/555",
            _xavier_with(_without_brackets, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "multiplies the variance by the gain",
            "lhnguyen102/cuTAGI/pull/95",
            _xavier_with(_root_of_gain, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "reads the outputs only",
            "tkipf/pygcn/issues/42",
            _xavier_with(_outputs_only, drawn),
            SIZE,
            FORM,
        ),
        _fill("takes no root", "SethHWeidman/DLFS_code/issues/10", _xavier_with(_no_root, drawn), SIZE, FORM),
    )


def _kaiming_mistakes(drawn: Drawn) -> tuple[Mistake, ...]:
    """Return the mistakes that both have."""
    return (
        _fill("swaps fan_in and fan_out", "ml-explore/mlx/pull/456", _kaiming_with(_swapped, drawn), SIZE, FORM),
        _fill("takes fan_in in either mode", "LaurentMazare/tch-rs/pull/573", _kaiming_with(_always_in, drawn), SIZE),
        _fill("forgets the receptive field", "Lyken17/SparseNet/issues/6", _kaiming_with(_no_window, drawn), SIZE),
        _fill(
            "forgets the receptive field of the outputs",
            "keras-team/keras/pull/2252",
            _kaiming_with(_outputs_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill("leaves the gain out", "jw1912/bullet/pull/363", _kaiming_with(_no_gain, drawn), SIZE, FORM),
        _fill(
            "does not know the slope on the left",
            "Lasagne/Lasagne/issues/468",
            _kaiming_with(_slope_ignored, drawn),
            SIZE,
            FORM,
        ),
        _fill("takes the variance for the std", "dlvu/vugrad/pull/2", _kaiming_with(_variance, drawn), SIZE, FORM),
    )


XAVIER_UNIFORM_MISTAKES = (
    *_xavier_mistakes(of_uniform),
    _fill(
        "ends at the standard deviation",
        "keras-team/keras/pull/372",
        _xavier_with(xavier_std, _std_as_end),
        SIZE,
        FORM,
    ),
    _fill("draws normal numbers", "LBANN/lbann/pull/316", _xavier_with(xavier_std, of_normal), SUPPORT, FORM),
    _fill("draws from 0 on", "jax-ml/jax/pull/1195", _xavier_with(xavier_std, _one_sided), AVERAGE, FORM),
)
XAVIER_NORMAL_MISTAKES = (
    *_xavier_mistakes(of_normal),
    _fill("takes 3 for 2", "tflearn/tflearn/issues/870", _xavier_with(_three, of_normal), SIZE, FORM),
    _fill(
        "cuts at two standard deviations",
        "tensorflow/tensorflow/issues/16344",
        _xavier_with(xavier_std, _cut),
        SIZE,
        FORM,
    ),
)
KAIMING_UNIFORM_MISTAKES = (
    *_kaiming_mistakes(of_uniform),
    _fill(
        "ends at the standard deviation",
        "LaurentMazare/tch-rs/pull/573",
        _kaiming_with(kaiming_std, _std_as_end),
        SIZE,
        FORM,
    ),
    _fill("draws normal numbers", "LBANN/lbann/pull/316", _kaiming_with(kaiming_std, of_normal), SUPPORT, FORM),
)
KAIMING_NORMAL_MISTAKES = (
    *_kaiming_mistakes(of_normal),
    _fill(
        "cuts at two standard deviations",
        "tensorflow/tensorflow/issues/16344",
        _kaiming_with(kaiming_std, _cut),
        SIZE,
        FORM,
    ),
)
