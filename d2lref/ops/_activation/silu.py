"""silu: x sigmoid(x), entry by entry, also known as swish (d2l 5.1.2)."""

from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._activation.shared import (
    REGIMES,
    answered,
    at_limit,
    between,
    cases,
    either,
    exp,
    far_out,
    gradient,
    keeps_nan,
    law,
    maximum_deaf_to_nan,
    may_vanish,
    shape,
    vjp_law,
    within,
)
from d2lref.ops._activation.sigmoid import definition as sigmoid
from d2lref.ops._activation.sigmoid import logistic, over_one_plus
from d2lref.rounding import Pair, Precision, Running, claim
from d2lref.spec import Array, Claim, Form, Mistake, Op, Operand, Variant

# 1 Definition


def definition(x: Array) -> Array:
    """y = x / (1 + e^-x) for x >= 0 and x e^x / (1 + e^x) for x < 0, so that no exponential overflows.

    x and y of any one shape and dtype; inf at inf, NaN where x is NaN. At -inf the limit is 0 and the product 0 inf is
    NaN: either may come. Source: Hendrycks and Gimpel 2016, Gaussian error linear units, section 2; Elfwing, Uchibe and
    Doya 2018, Sigmoid-weighted linear units, Neural Networks 107.
    """
    return x * sigmoid(x)


# 2 Other ways


def _by_quotient(x: Array) -> Array:
    """y = x / (1 + e^-x), and x e^x where e^-x would overflow."""
    return over_one_plus(x, x)


def _by_tanh(x: Array) -> Array:
    """y = x / 2 (1 + tanh(x / 2))."""
    h = x * 0.5
    return h * namespace(x).tanh(h) + h


# 3 Derivative


def vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy s (1 + x (1 - s)), s = sigmoid(x) and 1 - s = sigmoid(-x), without cancellation."""
    return (gy * (sigmoid(x) * (1.0 + x * sigmoid(-x))),)


# 4 How wrong it may be


def _answer(run: Running, x: Pair) -> Pair:
    """Return the pair of x s and of x / (1 + e^-x), which is as wrong; 0 where e^-x overflows."""
    size = np.abs(x.value) + x.error
    y = run.mul(x, logistic(run, x))
    gone = np.exp(-np.abs(x.value)) < 4 * run.p.accumulator.nmin
    return Pair(y.value, np.where((x.value < 0) & gone, np.maximum(y.error, size * np.exp(-size)), y.error))


def slope(run: Running, x: Pair) -> Pair:
    """Return the pair of s (1 + x (1 - s)) and of s + x s (1 - s); 1 far right, where s is 1."""
    y, rest = logistic(run, x), logistic(run, -x)
    other = run.sub(1.0, y)
    inside = either(
        run.mul(y, run.add(1.0, run.mul(x, rest))),
        run.mul(y, run.add(1.0, run.mul(x, other))),
        run.add(y, run.mul(run.mul(x, y), other)),
    )
    tail = np.where(x.value > 0, (1 + np.abs(x.value)) * np.exp(-np.abs(x.value)), np.inf)
    saturated = np.exp(-np.abs(x.value)) < run.p.accumulator.u / 64
    return may_vanish(run, at_limit(run, inside, 1.0, np.where(saturated, tail, np.inf)))


def bound(y: Array, precision: Precision, x: Array) -> np.ndarray:
    """Pairs on x sigmoid(x); infinite at -inf."""
    del y
    return answered(_answer, precision, x, at_infinity=np.where(x < 0, np.inf, 0.0))


def vjp_bound(grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array) -> tuple[np.ndarray]:
    """Pairs on gy s (1 + x (1 - s)); infinite where x is, since inf times 0 is no number."""
    del grads
    return (gradient(slope, precision, gy, x, at_infinity=np.inf),)


# 5 Laws


def _right(f: Any, x: Array) -> Claim:
    return claim(f(x) * (exp(-x) + 1.0), x)


def _symmetric(f: Any, x: Array) -> Claim:
    return claim(f(x) - x, f(-x))


def _gradient(dx: Pair, gy: Array, x: Array) -> Claim:
    """s (1 + x (1 - s)) (1 + e)^2 is 1 + e + x e on the right and e (1 + e + x) on the left, e = e^-|x|."""
    e, right = exp(-np.abs(x)), x >= 0
    sides = (e + 1.0) + e * x, e * ((e + 1.0) + x)
    whole = Pair(*(np.where(right, a, b) for a, b in zip(*((p.value, p.error) for p in sides), strict=True)))
    return claim(dx * (e + 1.0) * (e + 1.0), whole * gy)


LAWS = (
    law("right of 0, y (1 + e^-x) = x", between(0.0, 32.0), _right),
    law("y(x) - y(-x) = x", between(2.0**-30, 32.0), _symmetric),
    far_out(32.0, lambda x: x * np.exp(-x)),
    keeps_nan(),
    vjp_law("dx (1 + e)^2 is gy (1 + e + x e) or gy e (1 + e + x), e = e^-|x|", within(32.0), _gradient),
)

# 6 Mistakes


def _slope_of_gelu(x: Array) -> Array:
    return x * sigmoid(x * np.asarray(1.702, x.dtype))


def _gate_without_sign(x: Array) -> Array:
    return x * sigmoid(np.abs(x))


def _overflows(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(np.where(x > 0, x * (e / (1 + e)), definition(x)))


def _gate_alone(gy: Array, x: Array) -> tuple[Array]:
    return (gy * sigmoid(x),)


def _parenthesis(gy: Array, x: Array) -> tuple[Array]:
    e = np.exp(-x)
    return (gy * (1 + e + x * e / (1 + e) ** 2),)


def _cotangent_for_answer(gy: Array, x: Array) -> tuple[Array]:
    return (definition(x) * (gy + sigmoid(x) * (1 - gy)),)


def _input_for_answer(gy: Array, x: Array) -> tuple[Array]:
    return (gy * (x + sigmoid(x) * (1 - x)),)


_GRADIENT = ("dx (1 + e)^2 is gy (1 + e + x e) or gy e (1 + e + x), e = e^-|x|",)
MISTAKES = (
    Mistake(
        "has the slope of the approximation of gelu",
        "https://github.com/ROCm/AMDMIGraphX/issues/2542",
        _slope_of_gelu,
        caught_by=("right of 0, y (1 + e^-x) = x",),
    ),
    Mistake(
        "takes the stable branch of the sigmoid for all signs",
        "https://github.com/HakaiInstitute/habitat-mapper/pull/153",
        _gate_without_sign,
        caught_by=("y(x) - y(-x) = x",),
    ),
    Mistake(
        "overflows far right",
        "https://github.com/clab/dynet/issues/1525",
        _overflows,
        caught_by=("far out it is x or 0",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/apache/mxnet/pull/14262",
        maximum_deaf_to_nan(definition),
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "has the gate alone for the derivative",
        "https://github.com/RubixML/ML/pull/437",
        vjp=_gate_alone,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "forgets a parenthesis in the derivative",
        "https://github.com/chelsea0x3b/dfdx/pull/915",
        vjp=_parenthesis,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "exchanges cotangent and answer in the derivative",
        "https://github.com/pytorch/pytorch/issues/110815",
        vjp=_cotangent_for_answer,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "takes the input for the answer in the derivative",
        "https://github.com/pjreddie/darknet/pull/252",
        vjp=_input_for_answer,
        caught_by=_GRADIENT,
    ),
)

# 7 The op

silu = Op(
    name="silu",
    operands=(Operand("x", batch=True),),
    options={},
    shape=shape,
    definition=definition,
    variants={"quotient": Variant(_by_quotient), "tanh": Variant(_by_tanh, algorithm="tanh")},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(Form(((2, 3, 4, 4),), {}),),
    follows=("nan", "inf", "limit"),
    laws=LAWS,
    rejections=(),
    mistakes=MISTAKES,
    source="Hendrycks and Gimpel 2016; Elfwing, Uchibe and Doya 2018",
)
