"""prelu: x where x > 0 and weight x where x <= 0, with one learnt weight for all or for each channel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import given, lost, most
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import sizes
from d2lref.rounding import Pair, Precision, Running, claim, concat, inner, multilinear_bound
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, weight: Shape) -> tuple[Shape]:
    """Return (x,) for a weight of one number, or of one for each channel: axis 1 of x. Raises ValueError."""
    x, weight = tuple(x), tuple(weight)
    channels = x[1] if len(x) > 1 else 1
    if len(weight) != 1 or weight[0] not in {1, channels}:
        fits = "(1,)" if channels == 1 else f"(1,) or ({channels},)"
        raise ValueError(f"prelu: weight {weight}, expected {fits}: one number, or one for each channel of x {x}")
    return (x,)


def _beside(weight: Array, x: Array) -> Array:
    """Return (C,) as (1, C, 1, ...), to broadcast against x."""
    if x.ndim < 2 or weight.shape[0] == 1:
        return weight
    return weight[(None, slice(None), *(None,) * (x.ndim - 2))]


def _gathered(values: Array, weight: Array) -> Array:
    """Return the sum over all axes but that of the weight."""
    xp = namespace(values)
    if values.ndim < 2 or weight.shape[0] == 1:
        return xp.reshape(xp.sum(values), (1,))
    return xp.sum(values, axis=(0, *range(2, values.ndim)))


# 2 Definition


def definition(x: Array, weight: Array) -> Array:
    """y = x where x > 0, w x where x <= 0, w the weight or that of the channel.

    x and y of any one shape (N, C, *size), weight (1,) or (C,), all of one dtype; NaN where x is NaN. Raises ValueError
    (see `shape`). Source: He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, section 2.1.
    """
    shape(x.shape, weight.shape)
    return namespace(x, weight).where(x > 0, x, _beside(weight, x) * x)


# 3 Another way


def _sum_of_parts(x: Array, weight: Array) -> Array:
    """y = max(x, 0) + w min(x, 0)."""
    shape(x.shape, weight.shape)
    xp = namespace(x, weight)
    zero = xp.zeros_like(x)
    return xp.maximum(x, zero) + _beside(weight, x) * xp.minimum(x, zero)


# 4 Derivative


def vjp(gy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """dx = gy where x > 0, w gy where x <= 0, as torch has it; dw = the sum of gy x where x <= 0, over each channel.

    At 0 the derivative by x jumps from w to 1, and any number between is a subgradient.
    """
    shape(x.shape, weight.shape)
    xp = namespace(gy, x, weight)
    dx = xp.where(x > 0, gy, _beside(weight, x) * gy)
    return dx, _gathered(xp.where(x > 0, xp.zeros_like(x), gy * x), weight)


# 5 How wrong it may be


def bound(y: Array, precision: Precision, x: Array, weight: Array) -> np.ndarray:
    """One rounding of w x where x <= 0, exact where x > 0 or infinite; infinite where w is not finite: inf 0 is NaN."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        g, w = given(precision, x), given(precision, np.broadcast_to(_beside(weight, x), x.shape))
        error = np.where(x > 0, g.error * np.maximum(most(w), 1.0), run.answer(run.mul(g, w)))
        return np.where(np.isfinite(w.value), np.where(np.isfinite(x), error, 0.0), np.inf)


def vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, weight: Array
) -> tuple[np.ndarray, np.ndarray]:
    """One rounding of w gy, and |gy| |1 - w| more at 0; a sum of products. Infinite where something is not finite."""
    run, w = Running(precision), np.broadcast_to(_beside(weight, x), x.shape)
    with np.errstate(all="ignore"):
        g, slope, at = given(precision, gy), given(precision, w), given(precision, x)
        dx = run.mul(g, slope)
        error = np.where(x > 0, g.error, run.answer(Pair(dx.value, dx.error + lost(run, most(g), most(slope)))))
        error = error + np.where(np.abs(x) <= at.error, np.abs(gy * (1 - w)), 0.0)
        low = np.minimum(x, 0.0)
        dw = multilinear_bound(lambda a, b: _gathered(a * b, weight), (gy, low), y=grads[1], p=precision)
    finite = np.isfinite(x) & np.isfinite(w)
    sums = _gathered((~np.isfinite(x)).astype(np.float64), weight) == 0
    return np.where(finite, error, np.inf), np.where(sums, dw, np.inf)


# 6 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes, and one weight or one for each channel; shrinks to a number and its weight."""
    x = sizes(draw)
    channels = x[1] if len(x) > 1 else 1
    return Form((x, (draw.choice(1, channels, channels),)), {})


REJECTIONS = (
    Rejection(
        "a weight for the last axis",
        ((2, 3, 5), (5,)),
        {},
        "prelu: weight (5,), expected (1,) or (3,): one number, or one for each channel of x (2, 3, 5)",
    ),
    Rejection(
        "weights for the entries of a row",
        ((3,), (3,)),
        {},
        "prelu: weight (3,), expected (1,): one number, or one for each channel of x (3,)",
    ),
    Rejection(
        "a weight with axes for pixels",
        ((2, 3, 5), (3, 1)),
        {},
        "prelu: weight (3, 1), expected (1,) or (3,): one number, or one for each channel of x (2, 3, 5)",
    ),
)

# 7 Laws
# But for the laws on channels, all numbers form one image of one channel, with the first weight.


def _one(case: Case, part: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the entries of x in a part, the first weight, and the entries of the cotangent, (1, 1, count)."""
    x, weight = case.arrays
    mask = part(x)
    return x[mask].reshape(1, 1, -1), weight[:1], case.cotangents[0][mask].reshape(1, 1, -1)


def _there(part: Callable[[np.ndarray], np.ndarray]) -> Callable[[Case], bool]:
    return lambda case: bool(np.isfinite(case.arrays[1]).all()) and _one(case, part)[0].size > 0


def _sloped(x: np.ndarray) -> np.ndarray:
    """Return where x is finite and not 0."""
    return np.isfinite(x) & (x != 0)


def _two_slopes(f: Any, case: Case) -> Claim:
    x, weight, _ = _one(case, np.isfinite)
    return claim(f(x, weight), Pair.exact(np.maximum(x, 0.0)) + Pair.exact(np.minimum(x, 0.0)) * weight)


def _nan(f: Any, case: Case) -> Claim:
    x, weight, _ = _one(case, np.isnan)
    return claim(f(x, weight), x)


def _gradient(f: Any, case: Case) -> Claim:
    x, weight, gy = _one(case, _sloped)
    return claim(f.vjp(gy, x, weight)[0], Pair.exact(gy) * np.where(x > 0, 1.0, weight))


def _weight_gradient(f: Any, case: Case) -> Claim:
    x, weight, gy = _one(case, np.isfinite)
    return claim(f.vjp(gy, x, weight)[1], inner(np.minimum(x, 0.0), gy).map(lambda a: a.reshape(1)))


def _channels(case: Case) -> bool:
    return case.arrays[1].shape[0] > 1 and case.arrays[0].size > 0


def _channel(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """Return x, weight and cotangent of one channel, and where it lies."""
    place = case.seed % case.arrays[1].shape[0]
    at = (slice(None), slice(place, place + 1))
    return case.arrays[0][at], case.arrays[1][at[1:]], case.cotangents[0][at], at


def _own_weight(f: Any, case: Case) -> Claim:
    x, weight, _, at = _channel(case)
    return claim(f(*case.arrays)[at], f(x, weight))


def _own_gradient(f: Any, case: Case) -> Claim:
    x, weight, gy, at = _channel(case)
    whole, part = f.vjp(case.cotangents[0], *case.arrays), f.vjp(gy, x, weight)
    return claim(concat([whole[0][at].map(np.ravel), whole[1][at[1:]]], 0), concat([part[0].map(np.ravel), part[1]], 0))


LAWS = (
    Law("y = max(x, 0) + w min(x, 0)", _two_slopes, _there(np.isfinite)),
    Law("a channel has its own weight", _own_weight, _channels),
    Law("NaN stays NaN", _nan, lambda case: bool(np.isnan(case.arrays[0]).any())),
    Law("dx = gy right of 0, w gy left of 0", _gradient, _there(_sloped), vjp=True),
    Law("dw = the sum of gy x left of 0", _weight_gradient, _there(np.isfinite), vjp=True),
    Law("a channel has its own gradients", _own_gradient, _channels, vjp=True),
)

# 8 Mistakes


def _last_axis_of_equal_size(x: Array, weight: Array) -> Array:
    shape(x.shape, weight.shape)
    if x.ndim > 2 and weight.shape[0] == x.shape[-1]:
        return np.where(x > 0, x, weight * x)
    return definition(x, weight)


def _formula_of_the_book(x: Array, weight: Array) -> Array:
    shape(x.shape, weight.shape)
    return np.where(np.isfinite(x), np.maximum(x, 0) - _beside(weight, x) * x, definition(x, weight))


def _sign_of_the_answer(gy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    return np.where(definition(x, weight) > 0, gy, _beside(weight, x) * gy), vjp(gy, x, weight)[1]


def _weight_by_the_answer(gy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    low = np.where(definition(x, weight) > 0, np.zeros_like(x), gy * x)
    return vjp(gy, x, weight)[0], _gathered(low, weight)


def _last_axis_gradient(gy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    if x.ndim > 2 and weight.shape[0] == x.shape[-1]:
        return np.where(x > 0, gy, weight * gy), vjp(gy, x, weight)[1]
    return vjp(gy, x, weight)


MISTAKES = (
    Mistake(
        "is max(x, 0) - w x",
        "https://github.com/d2l-ai/d2l-en/pull/179",
        _formula_of_the_book,
        caught_by=("y = max(x, 0) + w min(x, 0)",),
    ),
    Mistake(
        "spreads the weight along the last axis where that fits",
        "https://github.com/apache/mxnet/issues/12061",
        _last_axis_of_equal_size,
        caught_by=("a channel has its own weight",),
    ),
    Mistake(
        "takes a maximum that ignores NaN first",
        "https://github.com/openvinotoolkit/openvino/issues/37731",
        lambda x, weight: definition(np.fmax(x, np.finfo(x.dtype).min), weight),
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "looks at the sign of the answer for dx",
        "https://github.com/apache/mxnet/pull/3277",
        vjp=_sign_of_the_answer,
        caught_by=("dx = gy right of 0, w gy left of 0",),
    ),
    Mistake(
        "looks at the sign of the answer for dw",
        "https://github.com/PaddlePaddle/Paddle/pull/12538",
        vjp=_weight_by_the_answer,
        caught_by=("dw = the sum of gy x left of 0",),
    ),
    Mistake(
        "spreads the weight along the last axis for dx",
        "https://github.com/flagos-ai/FlagGems/issues/4992",
        vjp=_last_axis_gradient,
        caught_by=("a channel has its own gradients",),
    ),
)

# 9 The op

prelu = Op(
    name="prelu",
    operands=(Operand("x", batch=True), Operand("weight")),
    options={},
    shape=shape,
    definition=definition,
    variants={"sum of parts": Variant(_sum_of_parts)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=("lattice_small", "normal", "wide_range", "subnormal", "large_mean", "ties", "signed_zero", "nonfinite"),
    gallery=(Form(((2, 3, 4, 4), (3,)), {}), Form(((5,), (1,)), {})),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="He, Zhang, Ren and Sun 2015; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.1.2",
)
