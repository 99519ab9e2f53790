"""softmax and log_softmax: how wrong they may be. Running-error pairs (rounding.Running) evaluate each formula once.

Source: Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions, IMA J. Numer.
Anal. 41(4): shifted or not, softmax is as good as its exponentials and their sum.
"""

import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.ops._activation.shared import either
from d2lref.rounding import HOST, Pair, Precision, Running
from d2lref.spec import Array

# 1 Rows


def regular(x: np.ndarray, dim: int) -> np.ndarray:
    """Return which rows have an answer: no NaN, no inf, and not -inf alone; `dim` is kept."""
    good = ~np.isnan(x) & (x != np.inf)
    return np.asarray(good.all(axis=dim, keepdims=True) & np.isfinite(x).any(axis=dim, keepdims=True))


def _error(run: Running, pair: Pair, x: np.ndarray, dim: int, other: float) -> np.ndarray:
    """Return the bound of the answer, and `other` in rows that have none.

    A row of one entry is exact: e^0 / e^0 = 1, log 1 = 0, and gy - gy = 0.
    """
    error = run.answer(pair) if x.shape[dim] > 1 else np.zeros_like(x)
    return np.where(regular(x, dim), error, other)


def _terms(run: Running, x: np.ndarray, dim: int) -> tuple[Pair, Pair, Pair]:
    """Return t = x - m, e^t and the sum of e^t of every row; an entry of -inf counts as e^t = 0.

    e^0 = 1 is exact, and so is the term of the maximum.
    """
    finite = np.isfinite(x)
    low = np.where(finite, x, np.min(x, axis=dim, keepdims=True, initial=np.inf, where=finite))
    pair = given(run.p, np.where(np.isfinite(low), low, 0.0))
    largest = pair.map(lambda a: np.max(a, axis=dim, keepdims=True, initial=-np.inf))
    t = run.sub(pair, Pair(largest.value, largest.error))
    t = Pair(t.value, np.where((t.value == 0) & (pair.error == 0), 0.0, t.error))
    e = run.apply("exp", t)
    exact = (t.value == 0) & (t.error == 0)
    e = Pair(np.where(finite, e.value, 0.0), np.where(finite & ~exact, e.error, 0.0))
    return t, e, run.sum(_rescaled(run, e, t, dim), dim)


def _rescaled(run: Running, e: Pair, t: Pair, dim: int) -> Pair:
    """Return the terms of the sum, which an online softmax multiplies by e^(m - m') whenever the maximum grows.

    At most n - 1 times, n the length of a row. The differences m' - m add up to t, so that their roundings are those of
    t; each exponential and each product is wrong once more.
    """
    if run.p.softmax != "online":
        return e
    steps, ulps = t.shape[dim] - 1, run.p.ulp.at("exp", t.value)
    grown = np.expm1(steps * np.log1p(2 * ulps * run.p.accumulator.u + 2 * run.u + 8 * HOST.u))
    return Pair(e.value, e.error + grown * (e.value + e.error) + steps * (1 + grown) * run.p.tiny)


def _softmax(run: Running, x: np.ndarray, dim: int) -> Pair:
    _, e, total = _terms(run, x, dim)
    return run.div(e, total)


def _log_softmax(run: Running, x: np.ndarray, dim: int) -> Pair:
    t, _, total = _terms(run, x, dim)
    return run.sub(t, run.apply("log", total))


# 2 The answers


def softmax_bound(y: Array, precision: Precision, x: Array, *, dim: int) -> np.ndarray:
    """Pairs on e^t / sum of e^t; 0 must be 0 for -inf, and NaN must be NaN."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x), _error(run, _softmax(run, x, dim), x, dim, 0.0), 0.0)


def log_softmax_bound(y: Array, precision: Precision, x: Array, *, dim: int) -> np.ndarray:
    """Pairs on t - log(sum of e^t); -inf must be -inf and NaN must be NaN."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x), _error(run, _log_softmax(run, x, dim), x, dim, 0.0), 0.0)


# 3 The gradients


def softmax_vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, *, dim: int
) -> tuple[np.ndarray]:
    """Pairs on y (gy - sum of gy y) and gy y - y sum of gy y, with the stored answer; infinite in rows without one."""
    del grads
    run = Running(precision)
    with np.errstate(all="ignore"):
        g, y = given(precision, gy), run.stored(_softmax(run, x, dim), precision.storage)
        weighted = run.mul(g, y)
        mean = run.sum(weighted, dim)
        dx = either(run.mul(y, run.sub(g, mean)), run.sub(weighted, run.mul(y, mean)))
        return (_error(run, dx, x, dim, np.inf),)


def log_softmax_vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, *, dim: int
) -> tuple[np.ndarray]:
    """Pairs on gy - p sum of gy, p = softmax(x) or e^y of the stored answer; infinite in rows without one."""
    del grads
    run, finite = Running(precision), np.isfinite(x)
    with np.errstate(all="ignore"):
        g, y = given(precision, gy), run.stored(_log_softmax(run, x, dim), precision.storage)
        p = either(_softmax(run, x, dim), run.apply("exp", y))
        p = Pair(np.where(finite, p.value, 0.0), np.where(finite, p.error, 0.0))
        dx = run.sub(g, run.mul(p, run.sum(g, dim)))
        return (_error(run, dx, x, dim, np.inf),)
