"""What every implementation of the half spectrum satisfies.

The laws of additivity, of the shift and of the first sample leave one function alone, the transform; laws but that of
rows speak of a single row, so that what is wrong about several is the business of that one.
"""

from typing import Any

import numpy as np

from d2lref.ops._fourier.definition import waves
from d2lref.rounding import HOST, Pair, claim
from d2lref.spec import Case, Claim, Law


def _row(case: Case) -> np.ndarray:
    """Return one row of samples, (n,)."""
    x = case.arrays[0]
    rows = np.reshape(x, (-1, x.shape[-1]))
    return np.array(rows[case.seed % len(rows)])


def _some(case: Case) -> bool:
    return case.arrays[0].size > 0


def _with(norm: str) -> Any:
    """Return whether a case has samples and that norm, as a predicate."""
    return lambda case: _some(case) and case.options["norm"] == norm


def _adds(f: Any, case: Case) -> Claim:
    """f(x) = f(a) + f(b) for x = a + b, where a is 2 x and b is -x at some samples, and x and 0 at the others."""
    x = _row(case)
    two = np.random.default_rng(case.seed).random(x.shape) < 1 / 2
    two[case.seed % len(two)] = True
    parts = (f(np.where(two, 2 * x, x), **case.options), f(np.where(two, -x, 0.0), **case.options))
    return claim(f(x, **case.options), parts[0] + parts[1])


def _turns(f: Any, case: Case) -> Claim:
    """f(x one sample later)[k] = exp(-2 pi i k / n) f(x)[k], a product of the judge's own."""
    x = _row(case)
    wave = waves(len(x))[..., 1 % len(x)]
    c, s = (Pair(part, np.full(part.shape, 2 * HOST.u)) for part in wave)
    y, later = f(x, **case.options), f(np.roll(x, 1), **case.options)
    re, im = y[:, 0], y[:, 1]
    turned = (c * re - s * im, c * im + s * re)
    return claim(later, Pair(*(np.stack([getattr(t, part) for t in turned], axis=-1) for part in ("value", "error"))))


def _first_sample(f: Any, case: Case) -> Claim:
    """f((v, 0, 0, ...)) = v at every k: no wave has turned yet."""
    x, v = np.zeros_like(_row(case)), 1.0 + case.seed % 3
    x[0] = v
    return claim(f(x, **case.options), np.tile([v, 0.0], (len(x) // 2 + 1, 1)))


def _wave_alone(f: Any, case: Case) -> Claim:
    """1 + cos(2 pi t / p) has 1 at k = 0, half a number at k = n / p (one where p is 1 or 2, and -k is k), 0 elsewhere.

    Periods p of 1, 2 and 4 have samples that every format holds; none is negative.
    """
    n = len(_row(case))
    fit = [p for p in (1, 2, 4) if n % p == 0]
    p = fit[case.seed % len(fit)]
    x = np.tile({1: [2.0], 2: [2.0, 0.0], 4: [2.0, 1.0, 0.0, 1.0]}[p], n // p)
    y = np.zeros((n // 2 + 1, 2))
    y[0, 0] += 1.0
    y[n // p % n, 0] += 1 / 2 if p == 4 else 1.0
    return claim(f(x, **case.options), y)


def _energy(f: Any, case: Case) -> Claim:
    """sum of m |y[k]|^2 = sum of x^2 (Parseval), where m = 1 at k = 0 and k = n / 2 and 2 between: k and n - k."""
    x = _row(case)
    k = np.arange(len(x) // 2 + 1)
    y = f(x, **case.options)
    counted = y * y * np.where(2 * k % len(x) == 0, 1.0, 2.0)[:, None]
    square = Pair.exact(x) * x
    return claim(counted.sum(), square.sum())


def _alone(f: Any, case: Case) -> Claim:
    """f(x)[i] = f(x[i]), whatever the axes before the last."""
    x = case.arrays[0]
    rows = f(x, **case.options).map(lambda a: np.reshape(a, (-1, *a.shape[-2:])))
    return claim(rows[case.seed % (x.size // x.shape[-1])], f(_row(case), **case.options))


def _several(case: Case) -> bool:
    x = case.arrays[0]
    return x.size > x.shape[-1]


LAWS = (
    Law("samples that add up have coefficients that add up", _adds, _some),
    Law("a circular shift turns coefficient k by k turns in n", _turns, _some),
    Law("the first sample alone answers everywhere with itself", _first_sample, _with("backward")),
    Law("a wave answers with its amplitude in its own coefficient", _wave_alone, _with("forward")),
    Law("the energy of the samples is kept", _energy, _with("ortho")),
    Law("leading axes only number the rows", _alone, _several),
)
