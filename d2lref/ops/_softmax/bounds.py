"""softmax and log_softmax: how wrong they may be, from the pairs of algorithms.log_sum_exp."""

import numpy as np

from d2lref.algorithms.log_sum_exp import log_softmax_pair, regular, softmax_pair
from d2lref.algorithms.moment_bounds import given
from d2lref.ops._activation.shared import either
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array

# 1 Rows


def _error(run: Running, pair: Pair, x: np.ndarray, dim: int, other: float) -> np.ndarray:
    """Return the bound of the answer, and `other` in rows that have none.

    A row of one entry is exact: e^0 / e^0 = 1, log 1 = 0, and gy - gy = 0.
    """
    error = run.answer(pair) if x.shape[dim] > 1 else np.zeros_like(x)
    return np.where(regular(x, dim), error, other)


# 2 The answers


def softmax_bound(y: Array, precision: Precision, x: Array, *, dim: int) -> np.ndarray:
    """Pairs on e^t / sum of e^t; 0 must be 0 for -inf, and NaN must be NaN."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x), _error(run, softmax_pair(run, x, dim), x, dim, 0.0), 0.0)


def log_softmax_bound(y: Array, precision: Precision, x: Array, *, dim: int) -> np.ndarray:
    """Pairs on t - log(sum of e^t); -inf must be -inf and NaN must be NaN."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(x), _error(run, log_softmax_pair(run, x, dim), x, dim, 0.0), 0.0)


# 3 The gradients


def softmax_vjp_bound(
    grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, *, dim: int
) -> tuple[np.ndarray]:
    """Pairs on y (gy - sum of gy y) and gy y - y sum of gy y, with the stored answer; infinite in rows without one."""
    del grads
    run = Running(precision)
    with np.errstate(all="ignore"):
        g, y = given(precision, gy), run.stored(softmax_pair(run, x, dim), precision.storage)
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
        g, y = given(precision, gy), run.stored(log_softmax_pair(run, x, dim), precision.storage)
        p = either(softmax_pair(run, x, dim), run.apply("exp", y))
        p = Pair(np.where(finite, p.value, 0.0), np.where(finite, p.error, 0.0))
        dx = run.sub(g, run.mul(p, run.sum(g, dim)))
        return (_error(run, dx, x, dim, np.inf),)
