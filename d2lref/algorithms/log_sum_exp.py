"""How wrong exponentials of a row, their sum and its logarithm may be: what softmax and every loss on it share.

Running-error pairs (rounding.Running) evaluate each formula once. A row is what lies along `dim`; m is its maximum and
t = x - m <= 0. Source: Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions,
IMA J. Numer. Anal. 41(4): shifted or not, softmax is as good as its exponentials and their sum.
"""

import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.rounding import HOST, Pair, Running


def regular(x: np.ndarray, dim: int) -> np.ndarray:
    """Return which rows have an answer: no NaN, no inf, and not -inf alone; `dim` is kept."""
    good = ~np.isnan(x) & (x != np.inf)
    return np.asarray(good.all(axis=dim, keepdims=True) & np.isfinite(x).any(axis=dim, keepdims=True))


def terms(run: Running, x: np.ndarray, dim: int) -> tuple[Pair, Pair, Pair]:
    """Return t = x - m, e^t and the sum of e^t of every row; an entry of -inf counts as e^t = 0.

    e^0 = 1 is exact, and so is the term of the maximum. Where statistics are declared, e^t and the sum are stored.
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
    e = run.stored(e, run.p.statistics)
    return t, e, run.stored(run.sum(_rescaled(run, e, t, dim), dim), run.p.statistics)


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


def softmax_pair(run: Running, x: np.ndarray, dim: int) -> Pair:
    """Return the pair of e^t / sum of e^t."""
    _, e, total = terms(run, x, dim)
    return run.div(e, total)


def log_softmax_pair(run: Running, x: np.ndarray, dim: int) -> Pair:
    """Return the pair of t - log(sum of e^t), the logarithm stored where statistics are declared.

    Entries of -inf have that of the least finite entry.
    """
    t, _, total = terms(run, x, dim)
    return run.sub(t, run.stored(run.apply("log", total), run.p.statistics))
