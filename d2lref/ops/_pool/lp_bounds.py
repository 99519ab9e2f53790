"""How wrong power-average pooling may be: running-error pairs (rounding.Running) evaluate power, sum and root.

Where there is no real power or root, nothing is known and the error is infinite (see `lp_pool`).
"""

import math
from functools import reduce
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import given, grown, lost, most, unless
from d2lref.ops._activation.shared import either
from d2lref.ops._pool.grid import Grid, gathered, scattered, together
from d2lref.ops._pool.lp_pool import plan
from d2lref.rounding import HOST, Pair, Precision, Running, round_to
from d2lref.spec import Array

# 1 Powers and roots


def raised(run: Running, a: Pair, exponent: float, slip: float = 0.0) -> Pair:
    """Return a^b for a >= 0, by a function that may be handed any a' >= 0 within the error and any b' within `slip`.

    A power is monotone in either, so that its values at the corners enclose all others. a^0 = 1, a^1 = a and 0^b = 0
    for b > 0 (IEEE 754-2019, section 9.2.1).
    """
    if exponent in {0.0, 1.0}:
        return a if exponent else Pair.exact(np.ones_like(a.value))
    low, high = np.maximum(a.value - a.error, 0.0), most(a)
    near = {exponent - slip, exponent + slip}
    corners = [run.apply("pow", Pair.exact(end), b) for end in (low, high) for b in near]
    with np.errstate(all="ignore"):
        value = np.power(a.value, exponent)
        most_of_all = np.max([c.value + c.error for c in corners], axis=0)
        least = np.min([c.value - c.error for c in corners], axis=0)
        error = np.maximum(most_of_all - value, value - least)
    known = np.isfinite(error) & np.isfinite(value)
    return Pair(value, np.where((high == 0) & (exponent > 0), 0.0, np.where(known, error, np.inf)))


def _slip(run: Running, *parts: float) -> float:
    """2 u times the parts of an exponent that are no short numbers: each is rounded, here and by an implementation."""
    return 2 * run.u * sum(abs(a) for a in set(parts) if round_to(np.asarray(a), "bfloat16") != a)


def power(run: Running, x: Pair, p: float, less: float = 0.0) -> Pair:
    """x^(p - less) with the sign of x where that is odd; an integer power may be a product as well."""
    exponent = p - less
    size = Pair(np.abs(x.value), x.error)
    y = raised(run, size, exponent, _slip(run, p, exponent))
    if not exponent.is_integer():
        return Pair(y.value, np.where(x.value < 0, np.inf, y.error))
    if exponent > 1:
        y = either(y, reduce(run.mul, [size] * int(exponent)))
    return Pair(np.where(x.value < 0, -y.value, y.value), y.error) if exponent % 2 else y


def root(run: Running, s: Pair, p: float, less: float = 0.0) -> Pair:
    """s^(1/p - less); p = 1 has no root, and needs no sign."""
    y = raised(run, s, 1 / p - less, _slip(run, 1 / p, 1 / p - less))
    return y if p == 1 else Pair(y.value, np.where(s.value < 0, np.inf, y.error))


# 2 The norm of a window


def _seen(g: Grid, a: Array) -> Array:
    """Return the entries that each window reads, (N, C, *out, taps)."""
    return np.reshape(gathered(g, a, 0.0), (*a.shape[:2], *g.out, math.prod(g.kernel)))


def _total(run: Running, seen: Pair, p: float) -> Pair:
    """Return the sum of powers, as a sum or as a mean times a count: three roundings more.

    A sum of powers without signs is at least 0 in any arithmetic; another that may be negative has no root.
    """
    s = run.rounded(run.sum(power(run, seen, p), -1, keepdims=False), 3)
    signed = p % 2 != 0 and np.any(seen.value - seen.error < 0, axis=-1)
    return Pair(s.value, np.where(signed & (s.value < s.error) & (p != 1), np.inf, s.error))


def _norm(run: Running, seen: Pair, p: float) -> Pair:
    return root(run, _total(run, seen, p), p)


def bound(axes: int, y: Array, precision: Precision, x: Array, **options: Any) -> np.ndarray:
    """Pairs on (sum of x^p)^(1/p), and on m (sum of (x / m)^p)^(1/p), m the largest size in the window; 0 for zeros."""
    del y
    run, (g, p) = Running(precision), plan(axes, x.shape, **options)
    read = given(precision, x)
    with np.errstate(all="ignore"):
        seen = Pair(_seen(g, read.value), _seen(g, read.error))
        top = np.max(np.abs(seen.value), axis=-1)
        shrunk = run.div(seen, np.where(top == 0, 1.0, top)[..., None])
        error = run.answer(either(_norm(run, seen, p), run.mul(_norm(run, shrunk, p), top)))
        return np.where(np.all(most(seen) == 0, axis=-1), 0.0, error)


# 3 The gradient


def _shares(run: Running, gy: Pair, seen: Pair, p: float) -> Pair:
    """Return the pair of gy s^(1/p - 1) x^(p - 1) for every window and tap, or of gy (x / y)^(p - 1).

    The factors of the first may come in any order, with 1 / p, p and a count among them: six roundings more, and what
    they lose to underflow. A window of zeros sends no more than |gy| for p > 1 (see `lp_pool.vjp`).
    """
    total = _total(run, seen, p)
    slope = root(run, Pair(total.value[..., None], total.error[..., None]), p, 1.0)
    factors = (gy, slope, power(run, seen, p, 1.0))
    product = reduce(run.mul, factors)
    sizes = [np.maximum(most(f), 1.0) for f in (*factors, Pair.exact(np.asarray(p * seen.shape[-1])))]
    error = product.error + grown(run, 6) * most(product) + lost(run, *map(most, factors), sizes[-1])
    product = Pair(product.value, unless(error, reduce(np.multiply, sizes), run))
    norm = root(run, total, p)
    ratio = run.div(seen, Pair(norm.value[..., None], norm.error[..., None]))
    share = either(product, run.mul(gy, power(run, ratio, p, 1.0)))
    if p <= 1:
        return share
    nothing = np.all(most(seen) == 0, axis=-1, keepdims=True)
    return Pair(np.where(nothing, 0.0, share.value), np.where(nothing, np.abs(gy.value), share.error))


def vjp_bound(
    axes: int, grads: tuple[Any, ...], precision: Precision, gy: Array, x: Array, **options: Any
) -> tuple[np.ndarray]:
    """Pairs on `_shares`, and (K - 1) u of their sizes for the sum over K windows (`rounding.sum_bound`)."""
    del grads
    run, (g, p) = Running(precision), plan(axes, x.shape, **options)
    sent, read = given(precision, gy), given(precision, x)
    with np.errstate(all="ignore"):
        seen = Pair(_seen(g, read.value), _seen(g, read.error))
        if p == 1:
            share = Pair(*(np.broadcast_to(a[..., None], seen.shape) for a in (sent.value, sent.error)))
        else:
            share = _shares(run, Pair(sent.value[..., None], sent.error[..., None]), seen, p)
        back = [np.reshape(a, (*a.shape[:-1], *g.kernel)) for a in (share.value, most(share), share.error)]
        value, size, error = together(lambda a: scattered(g, a), *back)
        windows = scattered(g, np.ones((1, 1, *g.out, *g.kernel)))
        steps = np.maximum(windows - 1, 0)
        error = error + steps * (run.u + HOST.u) * size + (steps * run.p.tiny if run.p.flushed else 0.0)
        return (run.answer(Pair(value, unless(np.where(np.isnan(error), np.inf, error), size, run))),)
