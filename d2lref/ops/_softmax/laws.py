"""softmax and log_softmax: what every implementation of them satisfies.

Laws about numbers speak of entries between -32 and 32, whose exponentials neither overflow nor underflow, so that what
happens to others is the business of the laws on shifts and on rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.rounding import PRESETS, Pair, Running, claim
from d2lref.spec import Case, Claim, Law

REAL = Running(PRESETS["float64"])


def _rows(case: Case) -> np.ndarray:
    """Return x as (rows, length)."""
    x = np.moveaxis(case.arrays[0], case.options["dim"], -1)
    return np.array(x, order="C").reshape(-1, x.shape[-1])


def _cotangents(case: Case) -> np.ndarray:
    gy = np.moveaxis(case.cotangents[0], case.options["dim"], -1)
    return np.ascontiguousarray(gy).reshape(-1, gy.shape[-1])


def _moderate(case: Case, size: float = 32) -> bool:
    x = case.arrays[0]
    return x.size > 0 and bool((np.abs(x) <= size).all())


def _finite(case: Case) -> bool:
    x = case.arrays[0]
    return x.size > 0 and bool(np.isfinite(x).all())


def _shared(case: Case) -> bool:
    """Return whether a row has more than the one entry whose probability is 1 whatever it is."""
    return _moderate(case) and case.arrays[0].shape[case.options["dim"]] > 1


def _small_integers(case: Case) -> bool:
    return case.arrays[0].size > 0 and case.regime in {"lattice_small", "ties"}


def _exp(pair: Pair) -> Pair:
    return REAL.apply("exp", pair)


def _to_the_largest(x: np.ndarray) -> tuple[Pair, np.ndarray]:
    """Return x - m, and the place of m in each row."""
    place = np.argmax(x, axis=-1)[:, None]
    return Pair.exact(x) - np.take_along_axis(x, place, -1), place


def _probabilities(x: np.ndarray) -> Pair:
    """e^t / sum of e^t by the judge's own arithmetic."""
    e = _exp(_to_the_largest(x)[0])
    return REAL.div(e, e.sum(axis=-1, keepdims=True))


# 1 Laws of both


def _shift(f: Any, case: Case) -> Claim:
    x, step = case.arrays[0], 128.0 if case.seed % 2 else -128.0
    return claim(f(x + step, **case.options), f(x, **case.options))


def _alone(f: Any, case: Case) -> Claim:
    dim, x = case.options["dim"], case.arrays[0]
    rows = f(x, **case.options).map(lambda a: np.moveaxis(a, dim, -1).reshape(-1, x.shape[dim]))
    pick = case.seed % rows.shape[0]
    return claim(rows[pick], f(_rows(case)[pick], dim=-1))


def _nan_spreads(f: Any, case: Case) -> Claim:
    x = _rows(case)
    x = x[np.isnan(x).any(axis=-1)]
    return claim(f(x, dim=-1), np.full_like(x, np.nan))


def _masked(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with some entries of -inf, at least one of each row left, and where they are."""
    x = _rows(case)
    hidden = np.random.default_rng(case.seed).random(x.shape) < 1 / 2
    hidden[:, -1] = False
    hidden[:, 0] |= x.shape[1] > 1
    return np.where(hidden, -np.inf, x), hidden


def _masked_entries(limit: float) -> Callable[[Any, Case], Claim]:
    def holds(f: Any, case: Case) -> Claim:
        x, hidden = _masked(case)
        y = f(x, dim=-1)
        return claim(y[hidden], np.full(int(hidden.sum()), limit))

    return holds


def _common(limit: float) -> tuple[Law, ...]:
    return (
        Law("a number added to all entries changes nothing", _shift, _small_integers),
        Law("a row does not see the others", _alone, _finite),
        Law("NaN spreads over its row", _nan_spreads, lambda case: bool(np.isnan(case.arrays[0]).any())),
        Law(
            f"-inf becomes {limit:g}",
            _masked_entries(limit),
            _shared,
        ),
    )


# 2 Laws of softmax


def _sums_to_one(f: Any, case: Case) -> Claim:
    x = _rows(case)
    return claim(f(x, dim=-1).sum(axis=-1), np.ones(x.shape[0]))


def _ratios(f: Any, case: Case) -> Claim:
    x = _rows(case)
    t, place = _to_the_largest(x)
    y = f(x, dim=-1)
    return claim(y, y.map(lambda a: np.take_along_axis(a, place, -1)) * _exp(t))


def _softmax_gradient(f: Any, case: Case) -> Claim:
    x, gy = _rows(case), _cotangents(case)
    p = _probabilities(x)
    return claim(f.vjp(gy, x, dim=-1)[0], p * (gy - (p * gy).sum(axis=-1, keepdims=True)))


SOFTMAX_LAWS = (
    Law("a row adds up to 1", _sums_to_one, _moderate),
    Law("y = y of the largest times e^(x - m)", _ratios, _moderate),
    *_common(0.0),
    Law("dx = p (gy - sum of gy p), p = e^t / sum of e^t", _softmax_gradient, _shared, vjp=True),
)

# 3 Laws of log_softmax


def _exponentials_sum_to_one(f: Any, case: Case) -> Claim:
    x = _rows(case)
    return claim(_exp(f(x, dim=-1)).sum(axis=-1), np.ones(x.shape[0]))


def _differences(f: Any, case: Case) -> Claim:
    """With an entry of -128, whose probability underflows."""
    x = _rows(case)
    x[:, 1:2] = -128.0
    t, place = _to_the_largest(x)
    y = f(x, dim=-1)
    return claim(y - y.map(lambda a: np.take_along_axis(a, place, -1)), t)


def _log_softmax_gradient(f: Any, case: Case) -> Claim:
    x, gy = _rows(case), _cotangents(case)
    total = Pair.exact(gy).sum(axis=-1, keepdims=True)
    return claim(f.vjp(gy, x, dim=-1)[0], gy - _probabilities(x) * total)


LOG_SOFTMAX_LAWS = (
    Law("the exponentials of a row add up to 1", _exponentials_sum_to_one, lambda case: _moderate(case, 4)),
    Law("y - y of the largest = x - m", _differences, _moderate),
    *_common(-np.inf),
    Law("dx = gy - p times the sum of gy, p = e^t / sum of e^t", _log_softmax_gradient, _shared, vjp=True),
)
