"""tanh: (e^x - e^-x) / (e^x + e^-x), entry by entry (d2l 5.1.2)."""

from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._activation.shared import (
    REAL,
    REGIMES,
    answered,
    between,
    beyond,
    cases,
    either,
    exp,
    gradient,
    keeps_nan,
    law,
    shape,
    vjp_law,
    within,
)
from d2lref.rounding import Pair, Precision, Running, claim
from d2lref.spec import Array, Claim, Form, Mistake, Op, Operand, Variant

# 1 Definition


def definition(x: Array) -> Array:
    """y = tanh x = (e^x - e^-x) / (e^x + e^-x).

    x and y of any one shape and dtype; -1 at -inf, 1 at inf, NaN where x is NaN. Source: Zhang, Lipton, Li and Smola,
    Dive into Deep Learning, section 5.1.2.
    """
    return namespace(x).tanh(x)


# 2 Other ways


def _by_expm1(x: Array) -> Array:
    """y = m / (2 - m) with the sign of x, m = 1 - e^(-2|x|): no overflow and no cancellation.

    With an expm1 that is right to an ulp, 2u, m / (2 - m) adds at most 4u: within the 4 ulps of a tanh.
    """
    xp = namespace(x)
    m = -xp.expm1(-2.0 * xp.abs(x))
    y = m / (2.0 - m)
    return xp.where(x < 0, -y, y)


# 3 Derivative


def vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy (1 - y^2) = gy 4e / (1 + e)^2, e = e^(-2|x|): without the cancellation of 1 - y^2."""
    xp = namespace(gy, x)
    e = xp.exp(-2.0 * xp.abs(x))
    return (gy * (4.0 * e / ((1.0 + e) * (1.0 + e))),)


# 4 How wrong it may be


def _answer(run: Running, x: Pair) -> Pair:
    return run.apply("tanh", x)


def slope(run: Running, x: Pair) -> Pair:
    """Return the pair of the derivative: 4e / (1 + e)^2, or 1 - y^2 or (1 - y) (1 + y) with the stored answer y."""
    e = run.apply("exp", Pair(-2 * np.abs(x.value), 2 * x.error))
    below = run.add(e, 1.0)
    y = run.stored(run.apply("tanh", x), run.p.storage)
    return either(
        run.div(run.mul(e, 4.0), run.mul(below, below)),
        run.sub(1.0, run.mul(y, y)),
        run.mul(run.sub(1.0, y), run.add(1.0, y)),
    )


def bound(y: Array, precision: Precision, x: Array) -> np.ndarray:
    """Return the ulps that the precision declares for tanh."""
    del y
    return answered(_answer, precision, x)


def vjp_bound(grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array) -> tuple[np.ndarray]:
    """Pairs on gy (1 - y^2), gy (1 - y) (1 + y) and gy 4e / (1 + e)^2."""
    del grads
    return (gradient(slope, precision, gy, x),)


# 5 Laws


def _right(f: Any, x: Array) -> Claim:
    return claim(f(x) * (exp(-2 * x) + 1.0), -REAL.apply("expm1", Pair.exact(-2 * x)))


def _odd(f: Any, x: Array) -> Claim:
    return claim(f(-x), -f(x))


def _saturates(f: Any, x: Array) -> Claim:
    y = f(x)
    return Claim(np.abs(y.value), np.ones_like(x), y.error + 2 * np.exp(-2 * np.abs(x)))


def _gradient(dx: Pair, gy: Array, x: Array) -> Claim:
    e = exp(-2 * np.abs(x))
    return claim(dx * (e + 1.0) * (e + 1.0), e * 4.0 * gy)


LAWS = (
    law("right of 0, y (1 + e) = 1 - e, e = e^-2x", between(0.0, 32.0), _right),
    law("it is odd", between(2.0**-149, 32.0), _odd),
    law("far out it is 1 or -1", beyond(32.0), _saturates),
    keeps_nan(),
    vjp_law("dx (1 + e)^2 = 4 gy e, e = e^-2|x|", within(32.0), _gradient),
)

# 6 Mistakes


def _half(x: Array) -> Array:
    return np.tanh(x / 2)


def _upside_down(x: Array) -> Array:
    e = np.exp(-2 * np.abs(x))
    return np.asarray(np.sign(x) * (1 + e) / (1 - e))


def _without_sign(x: Array) -> Array:
    return np.tanh(np.abs(x))


def _overflows(x: Array) -> Array:
    e = np.exp(2 * x)
    return np.asarray(np.where(x > 32, (e - 1) / (e + 1), np.tanh(x)))


def _deaf_to_nan(x: Array) -> Array:
    return np.tanh(np.where(np.isnan(x), np.asarray(1, x.dtype), x))


def _of_the_input(gy: Array, x: Array) -> tuple[Array]:
    return (gy * (1 - x * x),)


def _without_one(gy: Array, x: Array) -> tuple[Array]:
    return (-gy * np.tanh(x) ** 2,)


def _of_tan(gy: Array, x: Array) -> tuple[Array]:
    return (gy * (1 + np.tanh(x) ** 2),)


def _denominator_lost(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(np.abs(x) > 3, gy * 4 * np.exp(-2 * np.abs(x)), vjp(gy, x)[0]),)


_GRADIENT = ("dx (1 + e)^2 = 4 gy e, e = e^-2|x|",)
MISTAKES = (
    Mistake(
        "has e^-x for e^-2x",
        "https://github.com/HIPS/autograd/issues/317",
        _half,
        caught_by=("right of 0, y (1 + e) = 1 - e, e = e^-2x",),
    ),
    Mistake(
        "has sum and difference exchanged",
        "https://github.com/f32c/arduino/issues/31",
        _upside_down,
        caught_by=("right of 0, y (1 + e) = 1 - e, e = e^-2x",),
    ),
    Mistake(
        "loses the sign",
        "https://github.com/ziglang/zig/pull/9081",
        _without_sign,
        caught_by=("it is odd",),
    ),
    Mistake(
        "is infinity over infinity far right",
        "https://github.com/odin-lang/Odin/issues/2088",
        _overflows,
        caught_by=("far out it is 1 or -1",),
    ),
    Mistake(
        "answers a number for NaN",
        "https://github.com/ziglang/zig/pull/9081",
        _deaf_to_nan,
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "takes 1 - x^2 of the input for the derivative",
        "https://github.com/scutan90/DeepLearning-500-questions/issues/466",
        vjp=_of_the_input,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "leaves the 1 of 1 - y^2 out",
        "https://github.com/scutan90/DeepLearning-500-questions/issues/544",
        vjp=_without_one,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "has the derivative of tan",
        "https://github.com/gy910210/neural-network-from-scratch/issues/2",
        vjp=_of_tan,
        caught_by=_GRADIENT,
    ),
    Mistake(
        "drops the denominator in the tail of the derivative",
        "https://github.com/tenstorrent/tt-metal/issues/55349",
        vjp=_denominator_lost,
        caught_by=_GRADIENT,
    ),
)

# 7 The op

tanh = Op(
    name="tanh",
    operands=(Operand("x", batch=True),),
    options={},
    shape=shape,
    definition=definition,
    variants={"expm1": Variant(_by_expm1)},
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
