"""elu: x for x > 0 and alpha (e^x - 1) for x <= 0, entry by entry."""

from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import constant
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import (
    REAL,
    REGIMES,
    answered,
    either,
    exp,
    gradient,
    keeps_nan,
    law,
    maximum_deaf_to_nan,
    shape,
    sizes,
    vjp_law,
)
from d2lref.rounding import Pair, Precision, Running, claim
from d2lref.spec import Array, Claim, Draw, Form, Mistake, Op, Operand, Variant

# 1 Definition


def definition(x: Array, *, alpha: float = 1.0) -> Array:
    """y = x where x > 0, alpha (e^x - 1) where x <= 0.

    x and y of any one shape and dtype; -alpha at -inf, inf at inf, NaN where x is NaN. Source: Clevert, Unterthiner and
    Hochreiter 2016, Fast and accurate deep network learning by exponential linear units, equation 15.
    """
    xp = namespace(x)
    low = xp.where(x > 0, xp.zeros_like(x), x)
    return xp.where(x > 0, x, xp.expm1(low) * alpha)


# 2 Another way


def _sum_of_parts(x: Array, *, alpha: float = 1.0) -> Array:
    """y = max(x, 0) + alpha (e^min(x, 0) - 1)."""
    xp = namespace(x)
    zero = xp.zeros_like(x)
    return xp.maximum(x, zero) + xp.expm1(xp.minimum(x, zero)) * alpha


# 3 Derivative


def vjp(gy: Array, x: Array, *, alpha: float = 1.0) -> tuple[Array]:
    """dx = gy where x > 0, gy alpha e^x where x <= 0, as torch has it.

    At 0 the derivative jumps from alpha to 1, and any number between is a subgradient.
    """
    xp = namespace(gy, x)
    return (xp.where(x > 0, gy, gy * (xp.exp(xp.where(x > 0, xp.zeros_like(x), x)) * alpha)),)


# 4 How wrong it may be


def _answer(run: Running, x: Pair, *, alpha: float) -> Pair:
    y = run.mul(run.apply("expm1", Pair(np.minimum(x.value, 0.0), x.error)), constant(run.p, alpha))
    right = x.value > 0
    return Pair(np.where(right, x.value, y.value), np.where(right, x.error * max(1.0, abs(alpha)), y.error))


def _slope(run: Running, x: Pair, *, alpha: float) -> Pair:
    """Return the pair of alpha e^x and of y + alpha, exactly 1 right of 0, and what the derivative jumps by at 0."""
    low, a = Pair(np.minimum(x.value, 0.0), x.error), constant(run.p, alpha)
    y = run.stored(_answer(run, low, alpha=alpha), run.p.storage)
    left = either(run.mul(run.apply("exp", low), a), run.add(y, a))
    right, jump = x.value > 0, np.where(np.abs(x.value) <= x.error, abs(1 - alpha), 0.0)
    return Pair(np.where(right, 1.0, left.value), np.where(right, 0.0, left.error) + jump)


def bound(y: Array, precision: Precision, x: Array, *, alpha: float = 1.0) -> np.ndarray:
    """Pairs on alpha expm1(x); exact where x > 0."""
    del y
    return answered(_answer, precision, x, at_infinity=np.where(x < 0, np.nan, 0.0), alpha=alpha)


def vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, *, alpha: float = 1.0
) -> tuple[np.ndarray]:
    """Pairs on gy alpha e^x and gy (y + alpha); |gy| |1 - alpha| more at 0, where any subgradient will do."""
    del grads
    return (gradient(_slope, precision, gy, x, alpha=alpha),)


# 5 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes and alpha; shrinks to a single number and alpha 1."""
    return Form((sizes(draw),), {"alpha": draw.choice(1.0, 0.5, 2.0, 0.3)})


# 6 Laws


def _left(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options), REAL.apply("expm1", Pair.exact(x)) * options["alpha"])


def _right(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options), x)


def _gradient_left(dx: Pair, gy: Array, x: Array, *, alpha: float) -> Claim:
    return claim(dx, exp(x) * alpha * gy)


def _gradient_right(dx: Pair, gy: Array, x: Array, **_options: Any) -> Claim:
    del x
    return claim(dx, gy)


LAWS = (
    law("left of 0, y = alpha (e^x - 1)", lambda x, **_: (x < 0) & np.isfinite(x), _left),
    law("right of 0, y = x", lambda x, **_: x > 0, _right),
    keeps_nan(),
    vjp_law("left of 0, dx = gy alpha e^x", lambda x, **_: (x < 0) & np.isfinite(x), _gradient_left),
    vjp_law("right of 0, dx = gy", lambda x, **_: x > 0, _gradient_right),
)

# 7 Mistakes


def _without_alpha(x: Array, *, alpha: float = 1.0) -> Array:
    del alpha
    return definition(x)


def _parenthesis(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.exp(np.minimum(x, 0)) - 1)


def _alpha_on_both_sides(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x * alpha, definition(x, alpha=alpha))


def _gradient_without_alpha(gy: Array, x: Array, *, alpha: float = 1.0) -> tuple[Array]:
    del alpha
    return vjp(gy, x)


def _input_for_answer(gy: Array, x: Array, *, alpha: float = 1.0) -> tuple[Array]:
    return (np.where(x > 0, gy, gy * (x + alpha)),)


def _exponential_on_both_sides(gy: Array, x: Array, *, alpha: float = 1.0) -> tuple[Array]:
    return (np.where(x > 0, gy * alpha, vjp(gy, x, alpha=alpha)[0]),)


MISTAKES = (
    Mistake(
        "ignores alpha",
        "https://github.com/phlippe/uvadlc_notebooks/pull/161",
        _without_alpha,
        caught_by=("left of 0, y = alpha (e^x - 1)",),
    ),
    Mistake(
        "has alpha e^x - 1 for alpha (e^x - 1)",
        "https://github.com/root-project/root/pull/21543",
        _parenthesis,
        caught_by=("left of 0, y = alpha (e^x - 1)",),
    ),
    Mistake(
        "scales the positive side too",
        "https://github.com/flagos-ai/FlagGems/pull/4987",
        _alpha_on_both_sides,
        caught_by=("right of 0, y = x",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/apache/mxnet/pull/14262",
        maximum_deaf_to_nan(definition),
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "ignores alpha in the derivative",
        "https://github.com/pytorch/pytorch/issues/47671",
        vjp=_gradient_without_alpha,
        caught_by=("left of 0, dx = gy alpha e^x",),
    ),
    Mistake(
        "takes the input for the answer in y + alpha",
        "https://github.com/mlpack/mlpack/pull/1540",
        vjp=_input_for_answer,
        caught_by=("left of 0, dx = gy alpha e^x",),
    ),
    Mistake(
        "scales the derivative of the positive side too",
        "https://github.com/flagos-ai/FlagGems/pull/4987",
        vjp=_exponential_on_both_sides,
        caught_by=("right of 0, dx = gy",),
    ),
)

# 8 The op

elu = Op(
    name="elu",
    operands=(Operand("x", batch=True),),
    options={"alpha": 1.0},
    shape=shape,
    definition=definition,
    variants={"sum of parts": Variant(_sum_of_parts)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(Form(((2, 3, 4, 4),), {"alpha": 1.0}), Form(((3, 5),), {"alpha": 0.5})),
    laws=LAWS,
    rejections=(),
    mistakes=MISTAKES,
    source="Clevert, Unterthiner and Hochreiter 2016",
)
