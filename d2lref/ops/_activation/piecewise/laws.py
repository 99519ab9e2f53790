"""relu6, leaky_relu, hardsigmoid and hardswish: what every implementation of them satisfies, part by part."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.ops._activation.shared import Part, keeps_nan, law, vjp_law
from d2lref.rounding import Pair, claim
from d2lref.spec import Array, Case, Claim, Law


def _inside(low: float, high: float) -> Part:
    """low < x < high."""
    return lambda x, **_: (x > low) & (x < high)


def _outside(low: float, high: float) -> Part:
    """x < low or x > high, finite."""
    return lambda x, **_: ((x < low) | (x > high)) & np.isfinite(x)


def _is(value: Callable[..., Any], times: float = 1.0) -> Callable[..., Claim]:
    """Return the claim that `times` y = value(x)."""
    return lambda f, x, **options: claim(f(x, **options) * times, value(x, **options))


def _passes(factor: Callable[..., Any], times: float = 1.0) -> Callable[..., Claim]:
    """Return the claim that `times` dx = gy factor(x)."""
    return lambda dx, gy, x, **options: claim(dx * times, factor(x, **options) * Pair.exact(gy))


def _leak(x: Array, *, negative_slope: float) -> Pair:
    return Pair.exact(np.maximum(x, 0.0)) + Pair.exact(np.minimum(x, 0.0)) * negative_slope


def _leaking(x: Array, *, negative_slope: float) -> Array:
    return np.where(x > 0, 1.0, negative_slope)


def _infinite(f: Any, x: Array, *, negative_slope: float) -> Claim:
    return claim(f(x, negative_slope=negative_slope), np.where(x > 0, x, x * negative_slope))


def _at_zero(f: Any, case: Case) -> Claim:
    gy, slope = case.cotangents[0].reshape(1, -1), case.options["negative_slope"]
    found = f.vjp(gy, np.zeros_like(gy), **case.options)[0].value
    low, high = np.fmin(gy, gy * slope), np.fmax(gy, gy * slope)
    # fmax and fmin, and not clip: a NaN must differ from where it should be
    p = f.precision
    error = 4 * (p.u + p.stored.u) * np.abs(gy) * slope + p.tiny + p.stored.eta
    return Claim(found, np.fmin(np.fmax(found, low), high), error)


def _doubled(x: Array) -> Pair:
    return Pair.exact(2 * x) + 3.0


RELU6_LAWS = (
    law("right of 0, y = min(x, 6)", lambda x, **_: x > 0, _is(lambda x: np.minimum(x, 6.0))),
    law("left of 0, y = 0", lambda x, **_: x < 0, _is(np.zeros_like)),
    keeps_nan(),
    vjp_law("between 0 and 6, dx = gy", _inside(0.0, 6.0), _passes(np.ones_like)),
    vjp_law("outside 0 and 6, dx = 0", _outside(0.0, 6.0), _passes(np.zeros_like)),
)
LEAKY_LAWS = (
    law("y = max(x, 0) + slope min(x, 0)", lambda x, **_: np.isfinite(x), _is(_leak)),
    law(
        "an infinity stays one",
        lambda x, *, negative_slope: np.isinf(x) & ((x > 0) | (negative_slope > 0)),
        _infinite,
    ),
    keeps_nan(),
    vjp_law("dx = gy right of 0, slope gy left of 0", lambda x, **_: np.isfinite(x) & (x != 0), _passes(_leaking)),
    Law(
        "at 0 the gradient lies between those of both sides",
        _at_zero,
        lambda case: case.cotangents[0].size > 0,
        vjp=True,
    ),
)
HARDSIGMOID_LAWS = (
    law("between -3 and 3, 6y = x + 3", _inside(-3.0, 3.0), _is(lambda x: Pair.exact(x) + 3.0, 6.0)),
    law("outside -3 and 3, y is 0 or 1", _outside(-3.0, 3.0), _is(lambda x: np.where(x > 0, 1.0, 0.0))),
    keeps_nan(),
    vjp_law("between -3 and 3, 6 dx = gy", _inside(-2.5, 2.5), _passes(np.ones_like, 6.0)),
    vjp_law("outside -3 and 3, dx = 0", _outside(-3.5, 3.5), _passes(np.zeros_like)),
)
HARDSWISH_LAWS = (
    law("between -3 and 3, 6y = x (x + 3)", _inside(-3.0, 3.0), _is(lambda x: (Pair.exact(x) + 3.0) * x, 6.0)),
    law("outside -3 and 3, y is 0 or x", _outside(-3.0, 3.0), _is(lambda x: np.maximum(x, 0.0))),
    keeps_nan(),
    vjp_law(
        "between -3 and 3, 6 dx = gy (2x + 3)", _inside(-2.5, 2.5), _passes(lambda x: Pair.exact(2 * x) + 3.0, 6.0)
    ),
    vjp_law("outside -3 and 3, dx is 0 or gy", _outside(-3.5, 3.5), _passes(lambda x: np.where(x > 0, 1.0, 0.0))),
)
