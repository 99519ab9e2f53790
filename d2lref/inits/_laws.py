"""What initialisers of independent numbers are held to: where these lie, how they are spread, their independence.

A chapter says with which distribution one number is drawn (chance.Marginal); the trials here follow from it.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.chance import Marginal, Normal, Truncated
from d2lref.spec import Array, Case, Draw, Reading, Shape, Trial

Law = Callable[[Case], Marginal]

# 1 Cases


def matrix(draw: Draw, size: int) -> Shape:
    """Draw a shape of about `size` numbers: outputs, inputs, and up to three window sizes; shrinks to a square."""
    window = [draw.integer(1, 5) for _ in range(draw.choice(2, 4, 3, 5) - 2)]
    rest = max(size // math.prod(window), 1)
    outputs = max(round(math.sqrt(rest * draw.choice(1, 4, 1 / 4, 16, 1 / 16))), 1)
    return (outputs, max(round(rest / outputs), 1), *window)


def any_shape(draw: Draw, size: int) -> Shape:
    """Draw a shape of about `size` numbers on one to four axes; shrinks to a square."""
    shape = matrix(draw, size)
    return (math.prod(shape),) if draw.integer(0, 3) == 3 else shape


# 2 Allowances for rounding


def rounding(f: Any, law: Marginal) -> float:
    """Return how far the rounding of a drawn number moves a probability.

    A number of size |x| is drawn on a grid, scaled, shifted and stored, four errors of at most u |x| each (f.grain in
    all), and the density says how much probability lies there; beyond four standard deviations little does.
    """
    return law.steepness * f.grain * (abs(law.mean) + 4.0 * law.deviation)


def width(law: Marginal) -> float:
    """Return the length of the interval of what can be drawn."""
    low, high = law.support
    return high - low


def median(law: Marginal) -> float:
    """Return the number that is exceeded as often as not."""
    if not isinstance(law, Truncated):
        return law.mean
    whole = NormalDist(law.center, law.scale)
    return whole.inv_cdf((whole.cdf(law.a) + whole.cdf(law.b)) / 2)


# 3 Trials of one number


def support(law: Law) -> Trial:
    """Return the trial that no number leaves the interval of what can be drawn, but for rounding.

    Ends a and b of size at most M are rounded (u M each), so are b - a (2 u M) and the sum (u M): below 5 u M (ASNA,
    section 2.2). A bound that is itself computed, as gain sqrt(6 / n), is wrong by three roundings more.
    """

    def reads(f: Any, case: Case) -> Reading:
        low, high = law(case).support
        slack = 8.0 * f.u * max(abs(low), abs(high))
        theorem = "eight roundings, ASNA section 2.2"
        return f.read(chance.outside, 0.0, slack, theorem=theorem, a=low, b=high)

    return Trial("no number leaves the interval", reads, lambda case: math.isfinite(width(law(case))))


def average(law: Law) -> Trial:
    """Return the trial of the mean: a normal number for normal ones, Hoeffding's bound for bounded ones."""

    def reads(f: Any, case: Case) -> Reading:
        m, n = law(case), math.prod(case.options["shape"])
        normal = isinstance(m, Normal)
        half = m.deviation * chance.gaussian(f.alpha) / math.sqrt(n) if normal else 0.0
        half = half or width(m) * chance.bounded_mean(n, f.alpha)
        half += f.grain * (abs(m.mean) + m.deviation)
        theorem = "a mean of normal numbers is normal" if normal else "Hoeffding 1963, Theorem 1"
        return f.read(chance.mean, m.mean - half, m.mean + half, theorem=theorem, alpha=f.alpha)

    return Trial("the mean is right", reads, chance=True)


def squares(f: Any, m: Marginal, n: int) -> tuple[float, float, str]:
    """Return the interval of the mean square of n numbers about their mean over its expectation, and the theorem."""
    rounded = 3.0 * f.grain * (abs(m.mean) + m.deviation) / m.deviation
    if isinstance(m, Normal):
        low, high = chance.chi_square(n, f.alpha)
        return low / n - rounded, high / n + rounded, "chi-square, Laurent and Massart 2000, Lemma 1"
    farthest = max(abs(end - m.mean) for end in m.support) / m.deviation
    half = farthest**2 * chance.bounded_mean(n, f.alpha) + rounded
    return 1.0 - half, 1.0 + half, "Hoeffding 1963, Theorem 1"


def spread(law: Law) -> Trial:
    """Return the trial of the variance."""

    def reads(f: Any, case: Case) -> Reading:
        m, n = law(case), math.prod(case.options["shape"])
        low, high, theorem = squares(f, m, n)
        unit = m.deviation**2
        return f.read(chance.mean_square, low * unit, high * unit, theorem=theorem, alpha=f.alpha, center=m.mean)

    return Trial("the variance is right", reads, chance=True)


def shape(law: Law) -> Trial:
    """Return the trial of the whole distribution function."""

    def reads(f: Any, case: Case) -> Reading:
        m, n = law(case), math.prod(case.options["shape"])
        measure, given = m.distance
        high = chance.largest_distance(n, f.alpha) + rounding(f, m)
        return f.read(measure, 0.0, high, theorem="Massart 1990", alpha=f.alpha, **given)

    return Trial("the distribution has the right shape", reads, chance=True)


# 4 Trials of independence


def repeats(answers: Array, count: int) -> float:
    """Return how many of the first numbers of an answer were drawn before."""
    first = np.ravel(answers)[:count]
    return float(first.size - np.unique(first).size)


def _fresh(law: Law) -> Trial:
    """Return the trial that numbers do not come back, as they do where threads share one stream.

    Given those before it, a number equals one of the n before with probability at most n times the largest atom a: that
    of the generator, at most f.grain, and what the density puts on one place of the grid of the format. So the count is
    below a Bin(n, n a) one in stochastic order. n a is held below 1/4.
    """

    def reads(f: Any, case: Case) -> Reading:
        atom = f.grain + rounding(f, law(case))
        n = min(math.prod(case.options["shape"]), 2**16, int(1.0 / (4.0 * atom)))
        high = chance.binomial(n, n * atom, f.alpha)[1]
        theorem = "exact binomial tail, after domination by independent repeats"
        return f.read(repeats, 0.0, float(high), theorem=theorem, size=n, alpha=f.alpha, count=n)

    return Trial("numbers do not come back", reads, chance=True)


def _pairs(law: Law, says: str, axis: int, when: Callable[[Shape], bool] = lambda shape: True, **draws: int) -> Trial:
    """Return the trial that neighbours along an axis of the answers lie on one side of the median every second time.

    Disjoint pairs of independent numbers do so as fair coins fall; where rounding moves the median by a probability d,
    with probability 1/2 + 2 d^2.
    """

    def reads(f: Any, case: Case) -> Reading:
        m = law(case)
        whole = (draws.get("seeds", 1), draws.get("calls", 1), *case.options["shape"])
        count = math.prod(whole) // whole[axis] * (whole[axis] // 2)
        slack = 2.0 * min(rounding(f, m), 1 / 2) ** 2
        low, high = map(float, chance.binomial(count, 1 / 2, f.alpha, slack))
        given = {"center": median(m), "axis": axis}
        theorem = "exact binomial tails of a fair coin"
        return f.read(chance.same_side, low, high, theorem=theorem, alpha=f.alpha, size=count, **draws, **given)

    return Trial(says, reads, lambda case: when(case.options["shape"]), chance=True)


def independent(law: Law) -> tuple[Trial, ...]:
    """Return the trials that no number knows of another: along every axis, between calls, between seeds."""
    return (
        _fresh(law),
        _pairs(law, "rows are independent", 2, lambda shape: len(shape) > 1 and shape[0] > 1),
        _pairs(law, "columns are independent", 3, lambda shape: len(shape) > 1 and shape[1] > 1),
        _pairs(law, "neighbours in memory are independent", -1, lambda shape: len(shape) != 2 and shape[-1] > 1),
        _pairs(law, "calls are independent", 1, calls=2),
        _pairs(law, "seeds are independent", 0, seeds=2),
    )


def whole(law: Law) -> tuple[Trial, ...]:
    """Return all trials of independent numbers with one distribution."""
    return support(law), average(law), spread(law), shape(law), *independent(law)
