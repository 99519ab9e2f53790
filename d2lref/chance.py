"""How often a right implementation may seem wrong: every such probability, as rounding.py has every tolerance.

A test of a distribution is a statistic and an interval that the statistic leaves with probability at most alpha, when
the answers are distributed as they should be, for every number of answers: exact tails and inequalities, no limits.
Sources, cited where they are used:
  Hoeffding 1963, Probability inequalities for sums of bounded random variables, J. Amer. Statist. Assoc. 58, 13-30;
  Laurent and Massart 2000, Adaptive estimation of a quadratic functional by model selection, Ann. Statist. 28(5);
  Loader 2000, Fast and accurate computation of binomial probabilities;
  Massart 1990, The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, Ann. Probab. 18(3), 1269-1283.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from d2lref.spec import Array

# 1 How often

ALPHA = 1 / 10**9
"""Largest probability that one run calls a right implementation wrong, whatever it draws (family-wise)."""
READINGS = 1000
"""Statistics that one run may read; each is given ALPHA / READINGS (Bonferroni 1936)."""
EACH = ALPHA / READINGS

SIZES = {"quick": 2**16, "ci": 2**18, "deep": 2**22}
"""Numbers drawn for one statistic.

At alpha = EACH and with a miss once in a million, 2^16 numbers tell a standard deviation from one 5 % away, a mean from
one 0.06 standard deviations away, a keep-rate of 1/2 from 0.475, a uniform bound from one 4 % away; 2^18 tell a half of
that, 2^22 an eighth (properties/test_distributions.py draws each of these).
"""

# 2 Intervals


def gaussian(alpha: float) -> float:
    """sqrt(2 ln(1 / alpha)): a standard normal number is larger in size with probability at most alpha.

    P(Z >= t) <= exp(-t^2 / 2) / 2 for t >= 0 (Abramowitz and Stegun 1964, 7.1.13, with erfc x <= exp(-x^2)).
    """
    return math.sqrt(2.0 * math.log(1.0 / alpha))


def chi_square(n: int, alpha: float) -> tuple[float, float]:
    """Return (n - 2 sqrt(n t), n + 2 sqrt(n t) + 2t), t = ln(2 / alpha).

    A sum of squares of n independent standard normal numbers lies outside with probability at most alpha (Laurent and
    Massart 2000, Lemma 1).
    """
    t = math.log(2.0 / alpha)
    spread = 2.0 * math.sqrt(n * t)
    return max(n - spread, 0.0), n + spread + 2.0 * t


def bounded_mean(n: int, alpha: float) -> float:
    """sqrt(ln(2 / alpha) / 2n).

    A mean of n independent numbers in [0, 1] is farther from its expectation, in either direction, with probability at
    most alpha (Hoeffding 1963, Theorem 1).
    """
    return math.sqrt(math.log(2.0 / alpha) / (2.0 * n))


def largest_distance(n: int, alpha: float) -> float:
    """sqrt(ln(2 / alpha) / 2n).

    The empirical distribution function of n independent numbers is farther from their distribution function, somewhere,
    with probability at most alpha, whatever the distribution (Massart 1990).
    """
    return bounded_mean(n, alpha)


@lru_cache(4096)
def binomial(n: int, p: float, alpha: float, slack: float = 0.0) -> tuple[int, int]:
    """Return (low, high): a Bin(n, q) count lies outside with probability at most alpha, for every q within slack of p.

    Each end is exact: the tail beyond it is at most alpha / 2 and one count earlier it is more. Bin(n, q) grows with q
    (stochastic order), so that the ends belong to p - slack and p + slack.
    """
    high = _least_beyond(n, min(p + slack, 1.0), alpha / 2)
    return n - _least_beyond(n, min(1.0 - p + slack, 1.0), alpha / 2), high


def _least_beyond(n: int, p: float, alpha: float) -> int:
    """Return the least k with P(X > k) <= alpha for X of Bin(n, p)."""
    low, high = min(math.floor(n * p), n) - 1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if binomial_tail(n, p, middle + 1) <= alpha else (middle, high)
    return high


def binomial_tail(n: int, p: float, k: int) -> float:
    """P(X >= k) for X of Bin(n, p): the probability of k times 1 + r + r r' + ..., with r = (n - j) p / (j + 1) q.

    Ratios of neighbours fall, so that what is left out after a term t is at most t r / (1 - r), and that is added.
    1 where k is at most n p, which is all that is asked of the lower half.
    """
    if k > n or p == 0.0:
        return float(k <= 0)
    if k <= n * p:
        return 1.0
    count = min(n - k, 64 + 8 * math.isqrt(n))
    j = np.arange(k, k + count, dtype=np.float64)
    ratios = (n - j) / (j + 1.0) * (p / (1.0 - p))
    terms = np.cumprod(ratios)
    rest = float(terms[-1] * ratios[-1] / (1.0 - ratios[-1])) if count < n - k else 0.0
    return math.exp(_log_probability(n, p, k)) * (1.0 + math.fsum(terms) + rest)


def _log_probability(n: int, p: float, k: int) -> float:
    """ln P(X = k) = -n KL(k / n, p) + ln sqrt(n / 2 pi k (n - k)) + s(n) - s(k) - s(n - k), s Stirling's error.

    Loader's form, whose terms do not cancel: a formula in ln n! would lose ten digits at n = 10^6.
    """
    if k in {0, n}:
        return n * (math.log(p) if k else math.log1p(-p))
    away = k - n * p
    divergence = k * math.log1p(away / (n * p)) + (n - k) * math.log1p(-away / (n * (1.0 - p)))
    stirling = _stirling(n) - _stirling(k) - _stirling(n - k)
    return stirling - divergence + math.log(n / (2.0 * math.pi * k * (n - k))) / 2.0


def _stirling(n: int) -> float:
    """Return s(n) = ln n! - ln(sqrt(2 pi n) (n / e)^n); from 16 on by its series (Abramowitz and Stegun 1964, 6.1.41).

    The terms alternate, and the first left out, 691 / 360360 n^11, is below 2^-53 at n = 16.
    """
    if n < 16:
        return math.lgamma(n + 1.0) - (math.log(2.0 * math.pi * n) / 2.0 + n * math.log(n) - n)
    square = float(n) * n
    series = 1 / 1260 - (1 / 1680 - (1 / 1188 - 691 / 360360 / square) / square) / square
    return (1 / 12 - (1 / 360 - series / square) / square) / n


# 3 Distributions of one number


@dataclass(frozen=True, slots=True)
class Uniform:
    """U(a, b): density 1 / (b - a) between a and b."""

    a: float
    b: float

    @property
    def mean(self) -> float:
        """(a + b) / 2."""
        return (self.a + self.b) / 2

    @property
    def deviation(self) -> float:
        """(b - a) / sqrt(12)."""
        return (self.b - self.a) / math.sqrt(12.0)

    @property
    def steepness(self) -> float:
        """The largest density."""
        return 1.0 / (self.b - self.a)

    @property
    def support(self) -> tuple[float, float]:
        """The interval of what can be drawn."""
        return self.a, self.b

    @property
    def distance(self) -> tuple[Callable[..., float], Mapping[str, float]]:
        """The statistic of the shape, and its arguments."""
        return uniform_distance, {"a": self.a, "b": self.b}


@dataclass(frozen=True, slots=True)
class Normal:
    """N(mean, deviation^2)."""

    mean: float
    deviation: float

    @property
    def steepness(self) -> float:
        """The largest density."""
        return 1.0 / (self.deviation * math.sqrt(2.0 * math.pi))

    @property
    def support(self) -> tuple[float, float]:
        """The interval of what can be drawn."""
        return -math.inf, math.inf

    @property
    def distance(self) -> tuple[Callable[..., float], Mapping[str, float]]:
        """The statistic of the shape, and its arguments."""
        return normal_distance, {"mean": self.mean, "std": self.deviation}


@dataclass(frozen=True, slots=True)
class Truncated:
    """N(center, scale^2) on the condition that it lies between a and b (Johnson, Kotz and Balakrishnan 1994, 13.10)."""

    center: float
    scale: float
    a: float
    b: float

    @property
    def mass(self) -> float:
        """The probability that the normal number lies between a and b."""
        low, high = ((end - self.center) / self.scale for end in (self.a, self.b))
        return (math.erf(high / math.sqrt(2.0)) - math.erf(low / math.sqrt(2.0))) / 2

    @property
    def mean(self) -> float:
        """Center + scale (phi(low) - phi(high)) / mass."""
        low, high = self._densities()
        return self.center + self.scale * (low - high) / self.mass

    @property
    def deviation(self) -> float:
        """Scale sqrt(1 + (low phi(low) - high phi(high)) / mass - ((phi(low) - phi(high)) / mass)^2)."""
        (low, high), mass = self._densities(), self.mass
        first, last = ((end - self.center) / self.scale for end in (self.a, self.b))
        return self.scale * math.sqrt(1.0 + (first * low - last * high) / mass - ((low - high) / mass) ** 2)

    def _densities(self) -> tuple[float, float]:
        """Return the standard normal density at the two ends."""
        ends = ((end - self.center) / self.scale for end in (self.a, self.b))
        low, high = (math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi) for z in ends)
        return low, high

    @property
    def steepness(self) -> float:
        """A bound of the density: that of the whole normal law over the mass."""
        return 1.0 / (self.scale * math.sqrt(2.0 * math.pi) * self.mass)

    @property
    def support(self) -> tuple[float, float]:
        """The interval of what can be drawn."""
        return self.a, self.b

    @property
    def distance(self) -> tuple[Callable[..., float], Mapping[str, float]]:
        """The statistic of the shape, and its arguments."""
        return truncated_distance, {"mean": self.center, "std": self.scale, "a": self.a, "b": self.b}


Marginal = Uniform | Normal | Truncated

# 4 Statistics: each stands by itself, because reproductions print its text. `answers` are those of so many seeds, of so
# many calls with each, with the shape of one answer behind.


def mean(answers: Array) -> float:
    """Return the mean of all answers."""
    return float(np.mean(answers))


def mean_square(answers: Array, center: float) -> float:
    """Return the mean square distance of the answers from their mean."""
    return float(np.mean((answers - center) ** 2))


def outside(answers: Array, a: float, b: float) -> float:
    """Return the largest distance of an answer from the interval that it must lie in."""
    return float(np.max(np.abs(answers - np.clip(answers, a, b))))


def uniform_distance(answers: Array, a: float, b: float) -> float:
    """Return the largest distance of the distribution function of the answers from that of U(a, b)."""
    expected = np.clip((np.sort(answers, axis=None) - a) / (b - a), 0.0, 1.0)
    steps = np.arange(expected.size + 1) / expected.size
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def normal_distance(answers: Array, mean: float, std: float) -> float:
    """Return the largest distance of the distribution function of the answers from that of N(mean, std^2)."""
    z = (np.sort(answers, axis=None) - mean) / (std * math.sqrt(2.0))
    expected = (1.0 + np.asarray(np.frompyfunc(math.erf, 1, 1)(z), np.float64)) / 2
    steps = np.arange(expected.size + 1) / expected.size
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def truncated_distance(answers: Array, mean: float, std: float, a: float, b: float) -> float:
    """Return the largest distance of the distribution function of the answers from that of N(mean, std^2) in [a, b]."""
    erf = np.frompyfunc(math.erf, 1, 1)
    low, high = (math.erf((end - mean) / (std * math.sqrt(2.0))) for end in (a, b))
    z = (np.clip(np.sort(answers, axis=None), a, b) - mean) / (std * math.sqrt(2.0))
    expected = (np.asarray(erf(z), np.float64) - low) / (high - low)
    steps = np.arange(expected.size + 1) / expected.size
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def same_side(answers: Array, center: float, axis: int) -> float:
    """Return how many disjoint pairs of neighbours along an axis lie on the same side of the median."""
    above = np.moveaxis(answers > center, axis, 0)
    pairs = above.shape[0] // 2
    return float(np.sum(above[0 : 2 * pairs : 2] == above[1 : 2 * pairs : 2]))
