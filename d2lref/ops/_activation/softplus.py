"""softplus: log(1 + e^(beta x)) / beta, and x where beta x is above a threshold, entry by entry."""

import math
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
    sizes,
    vjp_law,
)
from d2lref.ops._activation.sigmoid import definition as sigmoid
from d2lref.ops._activation.sigmoid import logistic
from d2lref.rounding import Pair, Precision, Running, claim
from d2lref.spec import Array, Claim, Convention, Draw, Form, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, *, beta: float = 1.0, threshold: float = 20.0) -> tuple[Shape]:
    """Return (x,): every shape fits. Raises ValueError for a beta that is not positive."""
    del threshold
    if not beta > 0:
        raise ValueError(f"softplus: beta={beta}, expected a number > 0")
    return (tuple(x),)


# 2 Definition


def definition(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """y = (max(z, 0) + log(1 + e^-|z|)) / beta, z = beta x, where z <= threshold, x where z > threshold.

    x and y of any one shape and dtype; 0 at -inf, inf at inf, NaN where x is NaN. Raises ValueError (see `shape`).
    Source: Dugas, Bengio, Bélisle, Nadeau and Garcia 2001, Incorporating second-order functional knowledge for better
    option pricing, section 3; beta and threshold: torch.nn.functional.softplus.
    """
    shape(x.shape, beta=beta)
    xp = namespace(x)
    z = x * beta
    y = (xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))) / beta
    return xp.where(z > threshold, x, y)


# 3 Other ways


def _direct(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """y = log1p(e^z) / beta, which the threshold keeps from overflowing."""
    shape(x.shape, beta=beta)
    xp = namespace(x)
    z = x * beta
    low = xp.where(z > threshold, xp.zeros_like(z), z)
    return xp.where(z > threshold, x, xp.log1p(xp.exp(low)) / beta)


def _by_logaddexp(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """y = logaddexp(z, 0) / beta."""
    shape(x.shape, beta=beta)
    xp = namespace(x)
    z = x * beta
    return xp.where(z > threshold, x, xp.logaddexp(z, xp.zeros_like(z)) / beta)


# 4 Derivative


def vjp(gy: Array, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array]:
    """dx = gy sigmoid(z) where z = beta x <= threshold, gy where z > threshold."""
    shape(x.shape, beta=beta)
    z = x * beta
    return (namespace(gy, x).where(z > threshold, gy, gy * sigmoid(z)),)


# 5 How wrong it may be


def _exact(beta: float) -> bool:
    """Return whether beta is a power of two, so that beta x is not rounded, and the side of the threshold is known."""
    return math.frexp(beta)[0] == 1 / 2


def _linear_above(z: Pair, below: Pair, above: Pair, *, beta: float, threshold: float) -> Pair:
    """Return one pair up to the threshold and another above it; near it z may be rounded to either side."""
    linear, near = z.value > threshold, (np.abs(z.value - threshold) <= z.error) & (not _exact(beta))
    jump = np.where(near, np.abs(above.value - below.value) + np.maximum(above.error, below.error), 0.0)
    error = np.where(linear, above.error, below.error)
    return Pair(np.where(linear, above.value, below.value), np.maximum(error, jump))


def _answer(run: Running, x: Pair, *, beta: float, threshold: float) -> Pair:
    """Return the pair of (max(z, 0) + log1p(e^-|z|)) / beta and of log1p(e^z) / beta."""
    b = constant(run.p, beta)
    z = run.mul(x, b)
    tail = run.apply("log1p", run.apply("exp", Pair(-np.abs(z.value), z.error)))
    top = Pair(np.maximum(z.value, 0.0), np.where(z.value > -z.error, z.error, 0.0))
    stable = run.div(run.add(top, tail), b)
    direct = run.div(run.apply("log1p", run.apply("exp", z)), b)
    return _linear_above(z, either(stable, direct), x, beta=beta, threshold=threshold)


def _slope(run: Running, x: Pair, *, beta: float, threshold: float) -> Pair:
    """Return the pair of sigmoid(z) and of e^z / (1 + e^z)."""
    z = run.mul(x, constant(run.p, beta))
    e = run.apply("exp", z)
    below = either(logistic(run, z), run.div(e, run.add(e, 1.0)))
    return _linear_above(z, below, Pair.exact(np.ones_like(x.value)), beta=beta, threshold=threshold)


def bound(y: Array, precision: Precision, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> np.ndarray:
    """Pairs on both ways to take log(1 + e^z) / beta; exact above the threshold."""
    del y
    return answered(_answer, precision, x, at_infinity=np.where(x < 0, np.nan, 0.0), beta=beta, threshold=threshold)


def vjp_bound(
    grads: tuple[Array, ...],
    precision: Precision,
    gy: Array,
    x: Array,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
) -> tuple[np.ndarray]:
    """Pairs on gy sigmoid(z); exact above the threshold."""
    del grads
    return (gradient(_slope, precision, gy, x, beta=beta, threshold=threshold),)


# 6 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes, beta and threshold; shrinks to a single number and the defaults."""
    return Form((sizes(draw),), {"beta": draw.choice(1.0, 2.0, 0.5, 0.3), "threshold": draw.choice(20.0, 1.0, 3.0)})


_OPTIONS = {"beta": 1.0, "threshold": 20.0}
REJECTIONS = (
    Rejection(
        "beta of zero",  # torch answers inf
        ((2, 3),),
        {**_OPTIONS, "beta": 0.0},
        "softplus: beta=0.0, expected a number > 0",
        mandatory=False,
    ),
    Rejection(
        "a negative beta",  # torch answers a concave function
        ((2, 3),),
        {**_OPTIONS, "beta": -1.0},
        "softplus: beta=-1.0, expected a number > 0",
        mandatory=False,
    ),
)

# 7 Laws
# Where z may round to the other side of the threshold no law speaks; where it is exact, the threshold lies below.


def _apart(beta: float, threshold: float) -> float:
    return 2.0**-20 * abs(threshold) if threshold < math.inf and not _exact(beta) else 0.0


def _left(x: Array, *, beta: float, threshold: float) -> np.ndarray:
    return (x < 0) & _below(x, beta=beta, threshold=threshold)


def _right(x: Array, *, beta: float, threshold: float) -> np.ndarray:
    return (x > 2.0**-30) & _below(x, beta=beta, threshold=threshold)


def _below(x: Array, *, beta: float, threshold: float) -> np.ndarray:
    return (x * beta <= threshold - _apart(beta, threshold)) & np.isfinite(x)


def _above(x: Array, *, beta: float, threshold: float) -> np.ndarray:
    return x * beta > threshold + _apart(beta, threshold)


def _exponentials(f: Any, x: Array, *, beta: float, threshold: float) -> Claim:
    y = f(x, beta=beta, threshold=threshold)
    return claim(REAL.apply("expm1", y * beta), exp(Pair.exact(x) * beta))


def _difference(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options) - x, f(-x, **options))


def _linear(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options), x)


def _gradient(dx: Pair, gy: Array, x: Array, *, beta: float, threshold: float) -> Claim:
    """The sigmoid is 1 / (1 + e) on the right and e / (1 + e) on the left, e = e^-|z|."""
    del threshold
    z = Pair.exact(x) * beta
    e = exp(Pair(-np.abs(z.value), z.error))
    top = Pair(np.where(x < 0, e.value, 1.0), np.where(x < 0, e.error, 0.0))
    return claim(dx * (e + 1.0), top * gy)


def _gradient_above(dx: Pair, gy: Array, x: Array, **_options: Any) -> Claim:
    del x
    return claim(dx, gy)


LAWS = (
    law("left of 0, e^(beta y) - 1 = e^(beta x)", _left, _exponentials),
    law("right of 0 and up to the threshold, y(x) - y(-x) = x", _right, _difference),
    law("above the threshold, y = x", _above, _linear),
    keeps_nan(),
    vjp_law("up to the threshold, dx (1 + e^(-beta x)) = gy", _below, _gradient),
    vjp_law("above the threshold, dx = gy", _above, _gradient_above),
)

# 8 Mistakes


def _smooth(x: Array, beta: float) -> Array:
    return definition(x, beta=beta, threshold=np.inf)


def _loses_small_values(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    z = x * beta
    return np.where(z > 0, definition(x, beta=beta, threshold=threshold), np.log(1 + np.exp(np.minimum(z, 0))) / beta)


def _early(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return definition(x, beta=beta, threshold=threshold / 2)


def _at_threshold(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(x * beta < threshold, definition(x, beta=beta, threshold=threshold), x)


def _gradient_at_threshold(gy: Array, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array]:
    return (np.where(x * beta < threshold, vjp(gy, x, beta=beta, threshold=threshold)[0], gy),)


def _without_threshold(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    del threshold
    return _smooth(x, beta)


def _threshold_of_x(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(x > threshold, x, _smooth(x, beta))


def _slope_beta(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(x * beta > threshold, x * beta, _smooth(x, beta))


def _infinite_for_nan(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.where(np.isnan(x), np.inf, definition(x, beta=beta, threshold=threshold)).astype(x.dtype)


def _threshold_of_the_answer(gy: Array, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array]:
    y = definition(x, beta=beta, threshold=threshold)
    return (np.where(y * beta > threshold, gy, gy * sigmoid(x * beta)),)


def _gradient_overflows(gy: Array, x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> tuple[Array]:
    e = np.exp(x * beta)
    return (np.where(x * beta > threshold, gy * (e / (1 + e)), vjp(gy, x, beta=beta, threshold=threshold)[0]),)


MISTAKES = (
    Mistake(
        "takes the logarithm of 1 + e^z, which loses small values",
        "https://github.com/microsoft/onnxruntime/pull/10576",
        _loses_small_values,
        caught_by=("left of 0, e^(beta y) - 1 = e^(beta x)",),
    ),
    Mistake(
        "becomes linear too early",
        "https://github.com/aesara-devs/aesara/issues/260",
        _early,
        caught_by=("right of 0 and up to the threshold, y(x) - y(-x) = x",),
    ),
    Mistake(
        "is linear at the threshold already",
        "https://github.com/tenstorrent/tt-metal/issues/53261",
        _at_threshold,
        caught_by=("right of 0 and up to the threshold, y(x) - y(-x) = x",),
    ),
    Mistake(
        "has the derivative 1 at the threshold already",
        "https://github.com/tenstorrent/tt-metal/issues/53261",
        vjp=_gradient_at_threshold,
        caught_by=("up to the threshold, dx (1 + e^(-beta x)) = gy",),
    ),
    Mistake(
        "ignores the threshold",
        "https://github.com/Jittor/jittor/issues/174",
        _without_threshold,
        caught_by=("above the threshold, y = x",),
    ),
    Mistake(
        "compares x with the threshold, not beta x",
        "https://github.com/brainpy/BrainPy/pull/581",
        _threshold_of_x,
        caught_by=("above the threshold, y = x", "right of 0 and up to the threshold, y(x) - y(-x) = x"),
    ),
    Mistake(
        "has slope beta above the threshold",
        "https://github.com/brainpy/BrainPy/issues/580",
        _slope_beta,
        caught_by=("above the threshold, y = x",),
    ),
    Mistake(
        "turns NaN into infinity",
        "https://github.com/mindspore-ai/mindspore/issues/382",
        _infinite_for_nan,
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "compares the answer with the threshold in the derivative",
        "https://github.com/pytorch/pytorch/issues/55587",
        vjp=_threshold_of_the_answer,
        caught_by=("up to the threshold, dx (1 + e^(-beta x)) = gy",),
    ),
    Mistake(
        "has infinity over infinity for the derivative of large numbers",
        "https://github.com/tracel-ai/burn/issues/5373",
        vjp=_gradient_overflows,
        caught_by=("above the threshold, dx = gy",),
    ),
)

# 9 The op

_FREE = {
    "jax": "https://docs.jax.dev/en/latest/_autosummary/jax.nn.softplus.html",
    "tensorflow": "https://www.tensorflow.org/api_docs/python/tf/math/softplus",
    "keras": "https://www.tensorflow.org/api_docs/python/tf/keras/ops/softplus",
    "onnx": "https://onnx.ai/onnx/operators/onnx__Softplus.html",
}
CONVENTIONS = tuple(
    Convention(name=name, says="no threshold", source=source, defaults={"threshold": math.inf})
    for name, source in _FREE.items()
)

softplus = Op(
    name="softplus",
    operands=(Operand("x", batch=True),),
    options=_OPTIONS,
    shape=shape,
    definition=definition,
    variants={"direct": Variant(_direct), "logaddexp": Variant(_by_logaddexp)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(Form(((2, 3, 4, 4),), _OPTIONS), Form(((3, 5),), {"beta": 2.0, "threshold": 1.0})),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    conventions=CONVENTIONS,
    source="Dugas, Bengio, Bélisle, Nadeau and Garcia 2001",
)
