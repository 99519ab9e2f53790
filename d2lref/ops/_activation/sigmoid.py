"""sigmoid: 1 / (1 + e^-x), entry by entry (d2l 5.1.2)."""

import math
from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._activation.shared import (
    REGIMES,
    answered,
    at_limit,
    between,
    beyond,
    cases,
    either,
    exp,
    gradient,
    keeps_nan,
    law,
    may_vanish,
    shape,
    vjp_law,
    within,
)
from d2lref.rounding import Pair, Precision, Running, claim
from d2lref.spec import Array, Claim, Form, Mistake, Op, Operand, Variant

# 1 Definition


def definition(x: Array) -> Array:
    """y = 1 / (1 + e^-x) for x >= 0 and e^x / (1 + e^x) for x < 0, so that no exponential overflows.

    x and y of any one shape and dtype; 0 at -inf, 1 at inf, NaN where x is NaN. Source: Zhang, Lipton, Li and Smola,
    Dive into Deep Learning, section 5.1.2.
    """
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, xp.ones_like(x)) / (1.0 + e)


# 2 Other ways


def _by_tanh(x: Array) -> Array:
    """y = (1 + tanh(x / 2)) / 2: one call, no overflow, but values below u are lost."""
    xp = namespace(x)
    return (1.0 + xp.tanh(x * 0.5)) * 0.5


def _by_reciprocal(x: Array) -> Array:
    """y = 1 / (1 + e^-x), and e^x where e^-x would overflow."""
    return over_one_plus(x, namespace(x).ones_like(x))


def over_one_plus(x: Array, top: Array) -> Array:
    """Return top / (1 + e^-x), and top e^x where e^-x would overflow."""
    xp = namespace(x)
    far = x < 1.0 - math.log(float(xp.finfo(x.dtype).max))
    tail = xp.exp(xp.where(far, x, xp.zeros_like(x)))
    return xp.where(far, top * tail, top / (1.0 + xp.exp(xp.where(far, xp.zeros_like(x), -x))))


# 3 Derivative


def vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy y (1 - y) = gy e / (1 + e)^2, e = e^-|x|: without the cancellation of 1 - y."""
    xp = namespace(gy, x)
    e = xp.exp(-xp.abs(x))
    return (gy * (e / ((1.0 + e) * (1.0 + e))),)


# 4 How wrong it may be


def logistic(run: Running, z: Pair) -> Pair:
    """Return the pair of sigmoid(z) by the class of sigmoid that the precision declares.

    "exp": e / (1 + e) or 1 / (1 + e), e = e^-|z|, which is at least as wrong as 1 / (1 + e^-z). Where e^-z overflows
    the reciprocal is 0, and where 1 + e rounds to 1 the quotient is 1.
    """
    if run.p.sigmoid == "tanh":
        return half_plus(run, run.apply("tanh", run.mul(z, 0.5)), np.exp(z.error - np.abs(z.value)))
    e = run.apply("exp", Pair(-np.abs(z.value), z.error))
    right = z.value >= 0
    top = Pair(np.where(right, 1.0, e.value), np.where(right, 0.0, e.error))
    y = may_vanish(run, run.div(top, run.add(e, 1.0)))
    return at_limit(run, y, 1.0, np.where(right, e.value + e.error, np.inf))


def half_plus(run: Running, t: Pair, tail: np.ndarray) -> Pair:
    """Return (1 + t) / 2, its halves added or not, and exactly 0 or 1 where |t| misses 1 by a tail that rounds away."""
    y = run.mul(run.add(t, 1.0), 0.5)
    y = Pair(y.value, y.error + run.u * np.abs(t.value))
    return at_limit(run, y, np.where(t.value > 0, 1.0, 0.0), tail)


def slope(run: Running, z: Pair) -> Pair:
    """Return the pair of the derivative: e / (1 + e)^2, or y (1 - y) with the stored answer y."""
    e = run.apply("exp", Pair(-np.abs(z.value), z.error))
    below = run.add(e, 1.0)
    y = run.stored(logistic(run, z), run.p.storage)
    return either(run.div(e, run.mul(below, below)), run.mul(y, run.sub(1.0, y)))


def bound(y: Array, precision: Precision, x: Array) -> np.ndarray:
    """Pairs on 1 / (1 + e^-x), or on (1 + tanh(x / 2)) / 2 where the precision declares that."""
    del y
    return answered(logistic, precision, x)


def vjp_bound(grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array) -> tuple[np.ndarray]:
    """Pairs on gy y (1 - y) and gy e / (1 + e)^2."""
    del grads
    return (gradient(slope, precision, gy, x),)


# 5 Laws


def _right(f: Any, x: Array) -> Claim:
    return claim(f(x) * (exp(-x) + 1.0), np.ones_like(x))


def _symmetric(f: Any, x: Array) -> Claim:
    return claim(f(-x), 1.0 - f(x))


def _saturates(f: Any, x: Array) -> Claim:
    y = f(x)
    return Claim(y.value, np.where(np.abs(y.value) < 1 / 2, 0.0, 1.0), y.error + np.exp(-np.abs(x)))


def _gradient(dx: Pair, gy: Array, x: Array) -> Claim:
    below = exp(-np.abs(x)) + 1.0
    return claim(dx * below * below, exp(-np.abs(x)) * gy)


LAWS = (
    law("right of 0, y (1 + e^-x) = 1", between(0.0, 32.0), _right),
    law("what x misses of 1 is what -x has", between(2.0**-30, 32.0), _symmetric),
    law("far out it is 0 or 1", beyond(32.0), _saturates),
    keeps_nan(),
    vjp_law("dx (1 + e)^2 = gy e, e = e^-|x|", within(32.0), _gradient),
)

# 6 Mistakes


def _hard(x: Array) -> Array:
    return np.clip(x * 0.2 + 0.5, 0, 1).astype(x.dtype)


def _without_sign(x: Array) -> Array:
    return definition(np.abs(x))


def _minus_lost(x: Array) -> Array:
    return definition(-x)


def _overflows(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(np.where(x > 0, e / (1 + e), definition(x)))


def _deaf_to_nan(x: Array) -> Array:
    return definition(np.where(np.isnan(x), np.asarray(-87, x.dtype), x))


def _half_a_derivative(gy: Array, x: Array) -> tuple[Array]:
    return (gy * (1 - definition(x)),)


def _of_the_input(gy: Array, x: Array) -> tuple[Array]:
    return (gy * x * (1 - x),)


def _of_the_answer(gy: Array, x: Array) -> tuple[Array]:
    return vjp(gy, definition(x))


def _quotient_of_infinities(gy: Array, x: Array) -> tuple[Array]:
    e = np.exp(-x)
    return (np.asarray(gy * (e / (1 + e) ** 2)),)


MISTAKES = (
    Mistake(
        "is the piecewise linear approximation",
        "https://github.com/onnx/tensorflow-onnx/pull/2001",
        _hard,
        caught_by=("right of 0, y (1 + e^-x) = 1",),
    ),
    Mistake(
        "takes the stable branch for all signs",
        "https://github.com/HakaiInstitute/habitat-mapper/pull/153",
        _without_sign,
        caught_by=("what x misses of 1 is what -x has",),
    ),
    Mistake(
        "has lost the minus before x",
        "https://github.com/pytorch/torcharrow/pull/523",
        _minus_lost,
        caught_by=("right of 0, y (1 + e^-x) = 1",),
    ),
    Mistake(
        "has its branches swapped, so that e^x overflows",
        "https://github.com/hail-is/hail/pull/10606",
        _overflows,
        caught_by=("far out it is 0 or 1",),
    ),
    Mistake(
        "turns NaN into a small number",
        "https://github.com/pytorch/pytorch/issues/13448",
        _deaf_to_nan,
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "leaves one factor of the derivative out",
        "https://github.com/Bot-Academy/NeuralNetworkFromScratch/pull/3",
        vjp=_half_a_derivative,
        caught_by=("dx (1 + e)^2 = gy e, e = e^-|x|",),
    ),
    Mistake(
        "takes x (1 - x) of the input for the derivative",
        "https://github.com/BoltzmannEntropy/interviews.ai/issues/15",
        vjp=_of_the_input,
        caught_by=("dx (1 + e)^2 = gy e, e = e^-|x|",),
    ),
    Mistake(
        "takes the derivative at the answer",
        "https://github.com/tensorflow/swift-apis/pull/341",
        vjp=_of_the_answer,
        caught_by=("dx (1 + e)^2 = gy e, e = e^-|x|",),
    ),
)

# 7 The op

sigmoid = Op(
    name="sigmoid",
    operands=(Operand("x", batch=True),),
    options={},
    shape=shape,
    definition=definition,
    variants={"reciprocal": Variant(_by_reciprocal), "tanh": Variant(_by_tanh, algorithm="tanh")},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(Form(((2, 3, 4, 4),), {}),),
    laws=LAWS,
    rejections=(),
    mistakes=MISTAKES,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.1.2",
)
