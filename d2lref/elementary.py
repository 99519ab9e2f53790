"""Elementary functions: their float64 values, how far an error of the argument moves them, and erf for array libraries.

A function f of the table is evaluated by NumPy in float64. `moves` bounds |f(x) - f(v)| over |x - v| <= e: by the
difference at the end where f is steepest, or by the mean value theorem, e times the supremum of |f'| over the interval.
`rounding.Running.apply` adds what an implementation and the evaluation here are wrong by.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from d2lref.arrays import namespace
from d2lref.spec import Array

# 1 erf and erfc, which the array API leaves out


def erf(x: Array) -> Array:
    """erf x = 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, entry by entry; shape and dtype of x.

    The library's own where it has one, the C library's for NumPy; otherwise Maclaurin's series below 1/2 and
    1 - erfc x above (DLMF 7.6.2). Both are within 4 ulps.
    """
    return _evaluated(x, "erf", math.erf, _erf)


def erfc(x: Array) -> Array:
    """erfc x = 1 - erf x, accurate in the tail on the right, where the difference would cancel; shape and dtype of x.

    Evaluated as `erf` is; by the trapezoidal rule from 1/2 on (`_tail`).
    """
    return _evaluated(x, "erfc", math.erfc, _erfc)


def _evaluated(x: Array, name: str, scalar: Callable[[float], float], formula: Callable[[Any, Array], Array]) -> Array:
    """Return f(x) by the first that there is: the library, the C library, the formula in float64."""
    xp = namespace(x)
    if array_api_compat.is_numpy_namespace(xp):
        return np.asarray(np.frompyfunc(scalar, 1, 1)(x), dtype=x.dtype)
    own = getattr(xp, name, None)
    return xp.astype(formula(xp, xp.astype(x, xp.float64)), x.dtype) if own is None else own(x)


def _erf(xp: Any, x: Array) -> Array:
    size = xp.abs(x)
    near = xp.where(size < 1 / 2, x, xp.zeros_like(x))
    far = 1.0 - _tail(xp, xp.where(size < 1 / 2, xp.ones_like(x), size))
    return xp.where(size < 1 / 2, _series(near), xp.where(x < 0, -far, far))


def _erfc(xp: Any, x: Array) -> Array:
    size = xp.abs(x)
    near = xp.where(size < 1 / 2, x, xp.zeros_like(x))
    far = _tail(xp, xp.where(size < 1 / 2, xp.ones_like(x), size))
    return xp.where(size < 1 / 2, 1.0 - _series(near), xp.where(x < 0, 2.0 - far, far))


def _series(x: Array) -> Array:
    """2 / sqrt(pi) sum of (-1)^n x^(2n+1) / (n! (2n+1)) (DLMF 7.6.1), for |x| < 1/2.

    Terms alternate and fall, so that the first left out, below 2^-2n |x| / n!, bounds the error: 2^-60 |x| at n = 13.
    """
    square, total = x * x, x * 0.0
    for n in range(12, 0, -1):
        total = (total + (-1) ** n / (math.factorial(n) * (2 * n + 1))) * square
    return (2 / math.sqrt(math.pi)) * (x * (1.0 + total))


def _tail(xp: Any, x: Array) -> Array:
    """erfc x = x h e^(-x^2) / pi (1 / x^2 + 2 sum of e^(-n^2 h^2) / (n^2 h^2 + x^2)) - 2 / (e^(2 pi x / h) - 1).

    For x >= 1/2: the trapezoidal rule of step h on erfc x = 2 x e^(-x^2) / pi times the integral of e^(-t^2) / (t^2 +
    x^2) from 0 on, less the residue at t = i x, which counts below x = pi / h. Its error is of the order of
    e^(-pi^2 / h^2), 2^-101 for h = 3/8; terms from n = 18 on are below 2^-65 of the first (Matta and Reichel 1971,
    Uniform computation of the error function and other related functions, Math. Comp. 25). e^(-x^2) is
    e^(-c^2) e^(-(x - c) (x + c)) with x rounded to c = k / 16, whose square is exact: the rounding of x^2 would count
    x^2 times.
    """
    h = 3 / 8
    x = xp.where(x > 28.0, xp.full_like(x, 28.0), x)  # from where on erfc is 0 in float64
    square = x * x
    total = x * 0.0
    for n in range(17, 0, -1):
        total = total + math.exp(-((n * h) ** 2)) / ((n * h) ** 2 + square)
    coarse = xp.round(x * 16.0) / 16.0
    bell = xp.exp(-(coarse * coarse)) * xp.exp(-(x - coarse) * (x + coarse))
    inner = xp.where(x > math.pi / h, xp.full_like(x, math.pi / h), x)
    residue = xp.where(x < math.pi / h, 2.0 / xp.expm1((2 * math.pi / h) * inner), xp.zeros_like(x))
    return (h / math.pi) * bell * (1.0 / x + 2.0 * x * total) - residue


# 2 The table


@dataclass(frozen=True, slots=True)
class Function:
    """f(v, *parameters) in float64, and moves(v, e, *parameters) >= |f(x) - f(v)| for |x - v| <= e, e > 0.

    Where the interval leaves the domain of f, moves is infinite. host: ulps by which `value` may be wrong.
    """

    value: Callable[..., np.ndarray]
    moves: Callable[..., np.ndarray]
    host: float = 4.0


def _below(v: Array, e: np.ndarray) -> np.ndarray:
    """Return a number at or below v - e."""
    return np.nextafter(v - e, -np.inf)


def _above(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return a number at or above v + e."""
    return np.nextafter(v + e, np.inf)


def _inner(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return a lower bound of |x| over the interval."""
    return np.maximum(_below(np.abs(v), e), 0.0)


def _where_positive(low: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Return the slope, infinite where the interval leaves the positive numbers."""
    return np.where(low > 0, slope, np.inf)


def _exp_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """exp(v + e) - exp v = exp(v + e) (1 - exp(-e))."""
    return np.exp(_above(v, e)) * -np.expm1(-e)


def _log_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """log v - log(v - e) = log(1 + e / (v - e))."""
    low = _below(v, e)
    return _where_positive(low, np.log1p(e / low))


def _rsqrt_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """1 / sqrt(v - e) - 1 / sqrt(v) = e / (s t (s + t)), s = sqrt(v), t = sqrt(v - e)."""
    low = _below(v, e)
    s, t = np.sqrt(v), np.sqrt(low)
    return _where_positive(low, e / (s * t * (s + t)))


def _sqrt_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """|sqrt(x) - sqrt(v)| = |x - v| / (sqrt(x) + sqrt(v)) for x >= 0; a radicand that may be negative has no root."""
    low = _below(v, e)
    return np.where(v - e >= 0, e / (np.sqrt(v) + np.sqrt(np.maximum(low, 0.0))), np.inf)


def _power_moves(v: np.ndarray, e: np.ndarray, exponent: float) -> np.ndarray:
    """e sup |b x^(b-1)|, for x >= 0; below 0, and at 0 where the derivative is not finite, nothing is known."""
    low, high = np.maximum(_below(v, e), 0.0), _above(v, e)
    slope = abs(exponent) * np.maximum(np.power(low, exponent - 1), np.power(high, exponent - 1))
    return np.where((v - e >= 0) & np.isfinite(slope), e * slope, np.inf)


def _tanh_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """e / cosh^2 at the point nearest to 0, and never more than 2."""
    return np.minimum(e / np.square(np.cosh(_inner(v, e))), 2.0)


def _erf_moves(v: np.ndarray, e: np.ndarray) -> np.ndarray:
    """e 2 / sqrt(pi) exp(-x^2) at the point nearest to 0, and never more than 2."""
    return np.minimum(e * (2 / math.sqrt(math.pi)) * np.exp(-np.square(_inner(v, e))), 2.0)


FUNCTIONS: Mapping[str, Function] = {
    "exp": Function(np.exp, _exp_moves),
    "expm1": Function(np.expm1, _exp_moves),
    "log": Function(np.log, _log_moves),
    "log1p": Function(np.log1p, lambda v, e: _log_moves(_below(1.0, -v), e)),
    "sqrt": Function(np.sqrt, _sqrt_moves, 0.5),
    "rsqrt": Function(lambda v: 1 / np.sqrt(v), _rsqrt_moves, 1.0),
    "pow": Function(np.power, _power_moves),
    "tanh": Function(np.tanh, _tanh_moves),
    "erf": Function(erf, _erf_moves),
    "erfc": Function(erfc, _erf_moves),
}
"""The functions that an implementation computes by a call, and is as wrong in as its `rounding.Ulp` declares."""
