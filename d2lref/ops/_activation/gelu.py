"""gelu: x Phi(x), Phi the distribution function of the standard normal, or its approximation by tanh."""

import math
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import constant
from d2lref.arrays import namespace
from d2lref.elementary import erf, erfc
from d2lref.ops._activation.shared import (
    REAL,
    REGIMES,
    answered,
    at_limit,
    between,
    beyond,
    either,
    far_out,
    gradient,
    keeps_nan,
    law,
    maximum_deaf_to_nan,
    sizes,
    vjp_law,
    within,
)
from d2lref.ops._activation.sigmoid import definition as sigmoid
from d2lref.ops._activation.sigmoid import half_plus
from d2lref.rounding import HOST, Pair, Precision, Running, claim
from d2lref.spec import Array, Case, Claim, Convention, Draw, Form, Mistake, Op, Operand, Rejection, Shape, Variant

ROOT = math.sqrt(2 / math.pi)
CUBIC = 0.044715  # Hendrycks and Gimpel 2016, section 2
EDGE = 40.0  # from where on e^(-x^2 / 2) is 0 in float64, and so is 1 - tanh(sqrt(2 / pi) (x + CUBIC x^3))

# 1 Shape


def shape(x: Shape, *, approximate: str = "none") -> tuple[Shape]:
    """Return (x,): every shape fits. Raises ValueError for an approximation that is not known."""
    if approximate not in {"none", "tanh"}:
        raise ValueError(f"gelu: approximate={approximate!r}, expected 'none' or 'tanh'")
    return (tuple(x),)


# 2 Definition


def definition(x: Array, *, approximate: str = "none") -> Array:
    """y = x / 2 (1 + erf(x / sqrt 2)), or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) if approximate="tanh".

    x and y of any one shape and dtype; inf at inf, NaN where x is NaN. At -inf the limit is 0 and the product inf 0 is
    NaN: either may come. Raises ValueError (see `shape`). Source: Hendrycks and Gimpel 2016, Gaussian error linear
    units, section 2.
    """
    shape(x.shape, approximate=approximate)
    if approximate == "tanh":
        return x * 0.5 * (1.0 + namespace(x).tanh(_inner(_held(x))))
    return x * 0.5 * (1.0 + erf(x * math.sqrt(0.5)))


def _held(x: Array) -> Array:
    """Return x within -EDGE..EDGE, where its cube does not overflow; NaN stays."""
    xp = namespace(x)
    edge = xp.full_like(x, EDGE)
    return xp.where(x > EDGE, edge, xp.where(x < -EDGE, -edge, x))


def _inner(x: Array) -> Array:
    """sqrt(2 / pi) (x + 0.044715 x^3)."""
    return ROOT * (x + CUBIC * (x * x * x))


# 3 Other ways


def _by_erfc(x: Array, *, approximate: str = "none") -> Array:
    """y = x / 2 erfc(-x / sqrt 2), which keeps the digits of the left tail; x sigmoid(2 z) for the tanh of z."""
    shape(x.shape, approximate=approximate)
    if approximate == "tanh":
        return x * sigmoid(2.0 * _inner(_held(x)))
    return x * 0.5 * erfc(x * -math.sqrt(0.5))


# 4 Derivative


def vjp(gy: Array, x: Array, *, approximate: str = "none") -> tuple[Array]:
    """dx = gy (Phi + x phi), phi = e^(-x^2 / 2) / sqrt(2 pi); or gy ((1 + t) / 2 + x / 2 (1 - t^2) z'), t = tanh z.

    z' = sqrt(2 / pi) (1 + 3 0.044715 x^2), and 1 - t^2 = 4 e / (1 + e)^2, e = e^(-2|z|).
    """
    shape(x.shape, approximate=approximate)
    xp = namespace(gy, x)
    h = _held(x)
    if approximate == "none":
        density = xp.exp(h * h * -0.5) / math.sqrt(2 * math.pi)
        return (gy * (0.5 * (1.0 + erf(x * math.sqrt(0.5))) + h * density),)
    z = _inner(h)
    e = xp.exp(-2.0 * xp.abs(z))
    bend = 4.0 * e / ((1.0 + e) * (1.0 + e)) * (ROOT * (1.0 + 3 * CUBIC * (h * h)))
    return (gy * (0.5 * (1.0 + xp.tanh(z)) + 0.5 * h * bend),)


# 5 How wrong it may be


def _clipped(x: Pair) -> Pair:
    return Pair(np.clip(x.value, -EDGE, EDGE), x.error)


def _normal(run: Running, x: Pair) -> tuple[Pair, Pair]:
    """Return Phi by erf, and by erfc."""
    z = run.mul(_clipped(x), constant(run.p, math.sqrt(0.5)))
    tail = np.exp(-np.square(np.maximum(np.abs(z.value) - z.error, 0.0)))
    return half_plus(run, run.apply("erf", z), tail), run.mul(run.apply("erfc", -z), 0.5)


def _hyperbolic(run: Running, x: Pair) -> tuple[Pair, np.ndarray]:
    """Return tanh(sqrt(2 / pi) (x + 0.044715 x^3)) with a rounding to spare for other orders, and its distance to 1."""
    x = _clipped(x)
    cube = run.mul(run.mul(run.mul(x, x), x), constant(run.p, CUBIC))
    z = run.rounded(run.mul(run.add(x, cube), constant(run.p, ROOT)), 2)
    return run.apply("tanh", z), 2 * np.exp(-2 * np.maximum(np.abs(z.value) - z.error, 0.0))


def _answer(run: Running, x: Pair, *, approximate: str) -> Pair:
    half = run.mul(x, 0.5)
    if approximate == "tanh":
        return run.mul(half, run.mul(half_plus(run, *_hyperbolic(run, x)), 2.0))
    return either(*(run.mul(half, run.mul(gate, 2.0)) for gate in _normal(run, x)))


def _slope(run: Running, x: Pair, *, approximate: str) -> Pair:
    """Return the pair of Phi + x phi, or of (1 + t) / 2 + x / 2 (1 - t^2) z', where 1 - t^2 is 0 once t is a limit.

    1, erf or t, and the other term may be added in any order: two roundings of their sizes (`sum_bound`).
    """
    h = _clipped(x)
    square = run.mul(h, h)
    if approximate == "none":
        bell = run.apply("exp", run.mul(square, -0.5))
        density = run.mul(bell, constant(run.p, 1 / math.sqrt(2 * math.pi)))
        bend = run.mul(h, density)
        return _any_order(run, either(*(run.add(gate, bend) for gate in _normal(run, x))), bend)
    t, tail = _hyperbolic(run, x)
    flat = at_limit(run, run.sub(1.0, run.mul(t, t)), np.zeros_like(tail), 2 * tail)
    inner = run.mul(run.add(run.mul(square, constant(run.p, 3 * CUBIC)), 1.0), constant(run.p, ROOT))
    bend = run.rounded(run.mul(run.mul(run.mul(h, 0.5), flat), inner), 2)
    return _any_order(run, run.add(half_plus(run, t, tail), bend), bend)


def _any_order(run: Running, total: Pair, bend: Pair) -> Pair:
    return Pair(total.value, total.error + 2 * run.u * (1 + np.abs(bend.value) + bend.error))


def bound(y: Array, precision: Precision, x: Array, *, approximate: str = "none") -> np.ndarray:
    """Pairs on x / 2 (1 + erf) and x / 2 erfc, or on x / 2 (1 + tanh); infinite at -inf."""
    del y
    far = np.where(x < 0, np.inf, 0.0)
    return answered(_answer, precision, x, at_infinity=far, approximate=approximate)


def vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, *, approximate: str = "none"
) -> tuple[np.ndarray]:
    """Pairs on the formulas of the vjp; infinite where x is, since inf times 0 is no number."""
    del grads
    return (gradient(_slope, precision, gy, x, at_infinity=np.inf, approximate=approximate),)


# 6 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes, exact or approximate; shrinks to a single number and the exact function."""
    return Form((sizes(draw),), {"approximate": draw.choice("none", "tanh")})


REJECTIONS = (
    Rejection(
        "an unknown approximation",
        ((2, 3),),
        {"approximate": "sigmoid"},
        "gelu: approximate='sigmoid', expected 'none' or 'tanh'",
    ),
    Rejection(
        "a truth value for the approximation",
        ((2, 3),),
        {"approximate": True},
        "gelu: approximate=True, expected 'none' or 'tanh'",
    ),
)

# 7 Laws

NEAR = 8.0
_CONSTANT = {c: Pair(np.asarray(c), np.asarray(2 * HOST.u * c)) for c in (math.sqrt(0.5), ROOT, CUBIC)}


def _exact_case(case: Case) -> bool:
    return bool(case.options["approximate"] == "none")


def _tanh_case(case: Case) -> bool:
    return bool(case.options["approximate"] == "tanh")


def _erf_of(x: Array) -> Pair:
    return REAL.apply("erf", Pair.exact(x) * _CONSTANT[math.sqrt(0.5)])


def _tanh_of(x: Array) -> Pair:
    pair = Pair.exact(x)
    return REAL.apply("tanh", (pair + pair * pair * pair * _CONSTANT[CUBIC]) * _CONSTANT[ROOT])


def _by_the_normal(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options) * 2.0, (_erf_of(x) + 1.0) * x)


def _by_the_tangent(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options) * 2.0, (_tanh_of(x) + 1.0) * x)


def _difference(f: Any, x: Array, **options: Any) -> Claim:
    return claim(f(x, **options) - x, f(-x, **options))


def _exact_gradient(dx: Pair, gy: Array, x: Array, **_options: Any) -> Claim:
    pair = Pair.exact(x)
    density = REAL.apply("exp", pair * pair * -0.5) * x * _CONSTANT[ROOT]
    return claim(dx * 2.0, (_erf_of(x) + 1.0 + density) * gy)


def _tanh_gradient(dx: Pair, gy: Array, x: Array, **_options: Any) -> Claim:
    pair, t = Pair.exact(x), _tanh_of(x)
    inner = (pair * pair * _CONSTANT[CUBIC] * 3.0 + 1.0) * _CONSTANT[ROOT]
    return claim(dx * 2.0, (t + 1.0 + (1.0 - t * t) * inner * x) * gy)


def _far_gradient(dx: Pair, gy: Array, x: Array, **_options: Any) -> Claim:
    return Claim(dx.value, np.where(x > 0, gy, 0.0), dx.error + np.abs(gy) * np.exp(-np.square(x) / 2) * np.abs(x))


LAWS = (
    law("right of 0, 2y = x (1 + erf(x / sqrt 2))", between(0.0, NEAR), _by_the_normal, _exact_case),
    law("right of 0, 2y = x (1 + tanh(...)) if approximate", between(0.0, NEAR), _by_the_tangent, _tanh_case),
    law("y(x) - y(-x) = x", between(2.0**-30, NEAR), _difference),
    far_out(NEAR, lambda x: x * np.exp(-np.square(x) / 2)),
    keeps_nan(),
    vjp_law("dx = gy (Phi + x phi)", within(NEAR), _exact_gradient, _exact_case),
    vjp_law("dx = gy d/dx x / 2 (1 + tanh(...)) if approximate", within(NEAR), _tanh_gradient, _tanh_case),
    vjp_law("far out, dx is gy or 0", lambda x, **o: beyond(NEAR)(x) & np.isfinite(x), _far_gradient),
)

# 8 Mistakes


def _always_tanh(x: Array, *, approximate: str = "none") -> Array:
    shape(x.shape, approximate=approximate)
    return definition(x, approximate="tanh")


def _always_erf(x: Array, *, approximate: str = "none") -> Array:
    shape(x.shape, approximate=approximate)
    return definition(x)


def _by_sigmoid(x: Array, *, approximate: str = "none") -> Array:
    shape(x.shape, approximate=approximate)
    return x * sigmoid(x * np.asarray(1.702, x.dtype))


def _sign_lost(x: Array, *, approximate: str = "none") -> Array:
    if approximate != "tanh":
        return definition(x, approximate=approximate)
    return np.asarray(x * 0.5 * (1 + np.tanh(np.abs(_inner(_held(x))))))


def _overflows(x: Array, *, approximate: str = "none") -> Array:
    if approximate != "tanh":
        return definition(x, approximate=approximate)
    e = np.exp(2 * _inner(x))
    return np.where(x > NEAR, x * 0.5 * (1 + (e - 1) / (e + 1)), definition(x, approximate=approximate))


def _always_tanh_gradient(gy: Array, x: Array, *, approximate: str = "none") -> tuple[Array]:
    shape(x.shape, approximate=approximate)
    return vjp(gy, x, approximate="tanh")


def _always_erf_gradient(gy: Array, x: Array, *, approximate: str = "none") -> tuple[Array]:
    shape(x.shape, approximate=approximate)
    return vjp(gy, x)


def _quotient_of_x(gy: Array, x: Array, *, approximate: str = "none") -> tuple[Array]:
    if approximate == "tanh":
        return vjp(gy, x, approximate=approximate)
    density = np.exp(x * x * -0.5) / np.asarray(math.sqrt(2 * math.pi), x.dtype)
    return (gy * (definition(x) / x + x * density),)


def _infinity_times_nothing(gy: Array, x: Array, *, approximate: str = "none") -> tuple[Array]:
    overflow = np.abs(x) > np.asarray(2.0**20, x.dtype)
    return (np.where(overflow, gy * np.inf * 0, vjp(gy, x, approximate=approximate)[0]).astype(x.dtype),)


_EXACT = "right of 0, 2y = x (1 + erf(x / sqrt 2))"
_TANH = "right of 0, 2y = x (1 + tanh(...)) if approximate"
MISTAKES = (
    Mistake(
        "takes the approximation for the function",
        "https://github.com/huggingface/candle/pull/900",
        _always_tanh,
        caught_by=(_EXACT,),
    ),
    Mistake(
        "takes the function for the approximation",
        "https://github.com/tenstorrent/tt-metal/issues/1262",
        _always_erf,
        caught_by=(_TANH,),
    ),
    Mistake(
        "approximates by the sigmoid",
        "https://github.com/ROCm/AMDMIGraphX/issues/2542",
        _by_sigmoid,
        caught_by=(_EXACT, _TANH),
    ),
    Mistake(
        "has a tanh that loses the sign",
        "https://github.com/ziglang/zig/pull/9081",
        _sign_lost,
        caught_by=("y(x) - y(-x) = x",),
    ),
    Mistake(
        "has infinity over infinity for the tanh of large numbers",
        "https://github.com/pytorch/pytorch/issues/186278",
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
        "takes the derivative of the approximation for that of the function",
        "https://github.com/huggingface/candle/pull/1258",
        vjp=_always_tanh_gradient,
        caught_by=("dx = gy (Phi + x phi)",),
    ),
    Mistake(
        "divides the answer by x for Phi, which is 0 / 0 at 0",
        "https://github.com/PaddlePaddle/Paddle/pull/14857",
        vjp=_quotient_of_x,
        caught_by=("dx = gy (Phi + x phi)",),
    ),
    Mistake(
        "takes the derivative of the function for that of the approximation",
        "https://github.com/huggingface/candle/pull/1160",
        vjp=_always_erf_gradient,
        caught_by=("dx = gy d/dx x / 2 (1 + tanh(...)) if approximate",),
    ),
    Mistake(
        "has infinity times 0 for the derivative of large numbers",
        "https://github.com/ooples/AiDotNet.Tensors/pull/355",
        vjp=_infinity_times_nothing,
        caught_by=("far out, dx is gy or 0",),
    ),
)

# 9 The op

JAX = "https://docs.jax.dev/en/latest/_autosummary/jax.nn.gelu.html"
CONVENTIONS = tuple(
    Convention(name=name, says="by tanh, unless asked otherwise", source=JAX, defaults={"approximate": "tanh"})
    for name in ("jax", "flax")  # which hands on JAX's
)

gelu = Op(
    name="gelu",
    operands=(Operand("x", batch=True),),
    options={"approximate": "none"},
    shape=shape,
    definition=definition,
    variants={"erfc": Variant(_by_erfc)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(Form(((2, 3, 4, 4),), {"approximate": "none"}), Form(((3, 5),), {"approximate": "tanh"})),
    follows=("nan", "inf", "limit"),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    conventions=CONVENTIONS,
    source="Hendrycks and Gimpel 2016",
)
