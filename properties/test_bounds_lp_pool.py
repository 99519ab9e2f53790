"""Power-average pooling: whoever computes as declared stays within the bound, which is nearly reached.

Powers and roots are those of Decimal, wrong by the declared ulps up or down, or not, as a seed chooses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import partial, reduce
from math import isinf
from operator import mul
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref import ops
from d2lref.ops._pool import lp_bounds
from d2lref.rounding import Precision, Running, Ulp, outward
from properties.exact import FLOAT64, ORDERS, Overflowed, binade, fl, in_accumulator, in_storage, numbers, ratio, seeded

SINGLE, EXACT = Precision(), Precision(ulp=Ulp(pow=0.5))
HALF, TRUNCATED = Precision("float16", accumulate="float16"), Precision(rounding="truncate")
PRECISIONS = (SINGLE, EXACT, Precision("bfloat16"), HALF, TRUNCATED, FLOAT64)
NORMS = (1, 2, 3, 4, 1.5, 2.5, 2.3, 0.5)


def _declared(p: Precision) -> Fraction:
    assert isinstance(p.ulp.pow, float)
    return Fraction(p.ulp.pow)


def powered(x: Fraction, exponent: Fraction) -> Fraction:
    """Return x^b for x >= 0 to 100 digits."""
    if x == 0 or exponent.denominator == 1:
        return Fraction(x**exponent.numerator) if x or exponent >= 0 else Fraction(0)
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 100, -(10**6), 10**6
        base, b = (Decimal(q.numerator) / Decimal(q.denominator) for q in (x, exponent))
        return Fraction((base.ln() * b).exp())


@dataclass(frozen=True)
class Window:
    """A window of numbers and its cotangent, and what an implementation of a precision answers for them."""

    x: tuple[float, ...]
    p: float
    gy: float = 1.0
    precision: Precision = SINGLE
    seed: int = 0
    way: str = "plain"

    @property
    def norm(self) -> Fraction:
        """The exact p."""
        return Fraction(self.p)

    def power(self, x: Fraction, exponent: Fraction) -> Fraction:
        """Return x^b by a function wrong by the declared ulps at a rounded exponent, or by products; odd in x."""
        size, rng = abs(x), seeded(self.seed + hash((x, exponent)) % 1000)
        if exponent in {0, 1}:
            return x if exponent else Fraction(1)
        if self.way == "products" and exponent.denominator == 1 and exponent > 0:
            y = reduce(lambda a, b: in_accumulator(a * b, self.precision), [size] * int(exponent))
        elif size == 0:
            y = Fraction(0)
        else:
            exact = powered(size, fl(exponent, self.precision.accumulator))
            unit = Fraction(2) ** (
                max(binade(exact), self.precision.accumulator.emin) - self.precision.accumulator.p + 1
            )
            y = exact + rng.choice((-1, 1, 1)) * _declared(self.precision) * unit
        return -y if x < 0 and exponent % 2 == 1 else y

    def total(self, x: list[Fraction]) -> Fraction:
        """Return the sum of powers in some order, or their mean times their number."""
        rng = seeded(self.seed)
        terms = [self.power(v, self.norm) for v in x]
        total = rng.choice(ORDERS)(terms, self.done(lambda a, b: a + b), rng)
        if self.way == "means":
            return self.done(mul)(self.done(lambda a, b: a / b)(total, Fraction(len(x))), Fraction(len(x)))
        return in_accumulator(total, self.precision)

    def done(self, operation: Callable[[Fraction, Fraction], Fraction]) -> Callable[[Fraction, Fraction], Fraction]:
        """Return an operation of the accumulator."""
        return lambda a, b: in_accumulator(operation(a, b), self.precision)

    def answer(self) -> Fraction:
        """Return the answer as it is stored."""
        x = list(map(Fraction, self.x))
        top = max(map(abs, x))
        if self.way == "scaled" and top:
            root = self.power(self.total([self.done(lambda a, b: a / b)(v, top) for v in x]), 1 / self.norm)
            return in_storage(self.done(mul)(root, top), self.precision)
        return in_storage(in_accumulator(self.power(self.total(x), 1 / self.norm), self.precision), self.precision)

    def gradients(self) -> list[Fraction]:
        """Return the gradients as they are stored."""
        x, times = list(map(Fraction, self.x)), self.done(mul)
        y = self.power(self.total(x), 1 / self.norm)
        if self.way == "scaled" and y:
            powers = [self.power(self.done(lambda a, b: a / b)(v, y), self.norm - 1) for v in x]
            return [in_storage(times(Fraction(self.gy), q), self.precision) for q in powers]
        slope = self.power(self.total(x), 1 / self.norm - 1)
        share = times(Fraction(self.gy), slope)
        if self.way == "means":
            shares = times(
                times(times(share, fl(1 / self.norm, self.precision.accumulator)), Fraction(len(x))), self.norm
            )
            share = self.done(lambda a, b: a / b)(shares, Fraction(len(x)))
        return [in_storage(times(share, self.power(v, self.norm - 1)), self.precision) for v in x]

    @property
    def exact(self) -> tuple[Fraction, list[Fraction]]:
        """The answer and the gradients without any rounding."""
        x = list(map(Fraction, self.x))

        def signed(v: Fraction, b: Fraction) -> Fraction:
            return -powered(-v, b) if v < 0 and b % 2 == 1 else powered(abs(v), b)

        total = sum((signed(v, self.norm) for v in x), Fraction(0))
        y = signed(total, 1 / self.norm)
        slope = powered(abs(total), 1 / self.norm - 1) if self.norm != 1 else Fraction(1)
        return y, [
            Fraction(self.gy) * slope * signed(v, self.norm - 1) if self.norm != 1 else Fraction(self.gy) for v in x
        ]

    @property
    def ratios(self) -> tuple[float, float]:
        """Largest distance over bound: of the answer, and of the gradients; 0 where nothing is known."""
        options: dict[str, Any] = {"norm_type": self.p, "kernel_size": len(self.x)}
        x, gy = np.reshape(self.x, (1, 1, -1)), np.full((1, 1, 1), self.gy)
        op, exact = ops.lp_pool1d, self.exact
        with np.errstate(all="ignore"):
            y, (gx,) = op.definition(x, **options), op.vjp(gy, x, **options)
        bound = float(outward(op.bound(y, self.precision, x, **options)).item())
        bounds = outward(op.vjp_bound((gx,), self.precision, gy, x, **options)[0]).ravel().tolist()
        ahead = [(self.answer, bound, exact[0], float(y.item()))]
        back = [
            (partial(lambda i: self.gradients()[i], i), b, e, v)
            for i, (b, e, v) in enumerate(zip(bounds, exact[1], gx.ravel().tolist(), strict=True))
        ]
        return _worst(ahead), _worst(back)


def _worst(answers: Sequence[tuple[Callable[[], Fraction], float, Fraction, float]]) -> float:
    """Return the largest distance of implementation, exact value and reference over the bound."""
    worst = 0.0
    for computed, bound, exact, reference in answers:
        if isinf(bound):
            continue
        try:
            found = computed()
        except Overflowed:
            return float("inf")
        differences = (found - exact, found - Fraction(reference), Fraction(reference) - exact)
        worst = max(worst, *(ratio(d, bound) for d in differences))
    return worst


@st.composite
def windows(draw: Callable[..., Any]) -> Window:
    """One to six numbers, positive unless p is even or 1, and a way. Shrinks towards one integer and p = 1."""
    p, precision = draw(st.sampled_from(NORMS)), draw(st.sampled_from(PRECISIONS))
    form = precision.stored
    at = draw(st.sampled_from((0, 0, 3, -3, form.emin // 2, form.emax // 3)))
    x = draw(st.lists(numbers(form, at, at + 2) | st.just(0.0), min_size=1, max_size=6))
    x = x if p in {1, 2, 3, 4} else list(map(abs, x))
    ways = ("plain", "products", "means", "scaled")
    gy = draw(numbers(form, 0, 1))
    return Window(tuple(x), p, gy, precision, draw(st.integers(0, 99)), draw(st.sampled_from(ways)))


@given(windows())
def test_what_computes_as_declared_stays_within_the_bound(window: Window) -> None:
    found = max(window.ratios)
    target(min(found, 2.0))
    assert found <= 1


ONES = (1.0, 1 + 2.0**-10)
PROBES = {
    "one entry": Window((1 + 2.0**-10,), 2.5),
    "a square": Window((1.0009765625,), 2, seed=3),
    "a sum": Window((1.0, *[2.0**-24] * 5), 1, seed=1),
    "a cube": Window(ONES, 3),
    "an odd root": Window((30000.0, 2.0), 3, seed=2),
    "a root of a large number": Window((174518157312.0, 1.0), 3, 1.0, EXACT),
    "p below 1": Window(ONES, 0.5),
    "bfloat16": Window(ONES, 2, 1.0, Precision("bfloat16")),
    "float16": Window(ONES, 2, 1.0, HALF),
    "float64": Window(ONES, 2.5, 1.0, FLOAT64),
    "small ones": Window((2.0**-70, 0.0), 2),
    "cancelling cubes": Window((3.0, -2.9990234375), 3),
    "long products": Window((1.0165276527404785,), 9, 1.0, EXACT, 0, "products"),
    "scaled": Window((1.3330078125, 1.0), 2.5, 1.0, EXACT, 5, "scaled"),
}


def spread(window: Window) -> list[tuple[float, float]]:
    """Return the ratios of a window for many seeds."""
    return [replace(window, seed=seed).ratios for seed in range(24)]


@pytest.mark.parametrize("name", PROBES)
def test_the_bound_is_nearly_reached(name: str) -> None:
    ahead, back = map(max, zip(*spread(PROBES[name]), strict=True))
    assert max(ahead, back) <= 1
    assert max(ahead, back) > 0.1, (ahead, back)


RAISED = lp_bounds.raised
MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "an argument's error moves nothing": (
        lp_bounds,
        "raised",
        lambda run, a, *rest: RAISED(run, replace(a, error=0.0 * a.error), *rest),
    ),
    "exponents are not rounded": (lp_bounds, "_slip", lambda run, *parts: 0.0),
    "nobody multiplies, or divides first": (lp_bounds, "either", lambda first, *others: first),
    "ulps are halved": (Ulp, "at", lambda ulp, name, x: np.asarray(ulp.pow / 2)),
    "a mean is a sum": (Running, "rounded", lambda run, a, count=1.0: a),
    "subnormal results have no ulps": (Precision, "tiny", property(lambda p: 0.0)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bound_that_is_too_small_is_noticed(name: str) -> None:
    place, attribute, value = MUTANTS[name]
    with patch.object(place, attribute, value):
        assert any(max(found) > 1 for window in PROBES.values() for found in spread(window))


def test_nothing_is_known_where_there_is_no_real_power_or_root() -> None:
    x = np.array([[[-1.0, 3.0, 1.0, 2.0, -3.0, 2.0, 0.0, 0.0]]])
    for p, unknown in ((1, []), (2, []), (3, [2]), (1.5, [0, 2])):
        with np.errstate(all="ignore"):
            y = ops.lp_pool1d(x, norm_type=p, kernel_size=2)
        bound = ops.lp_pool1d.bound(y, Precision(), x, norm_type=p, kernel_size=2)
        assert np.flatnonzero(np.isinf(bound)).tolist() == unknown
        assert np.flatnonzero(np.isnan(y)).tolist() == unknown
        assert bound.ravel()[3] == 0


def test_a_window_of_zeros_may_send_any_subgradient() -> None:
    x, gy = np.array([[[0.0, 0.0, 0.0, 1.0]]]), np.array([[[3.0, 5.0]]])
    for p, known in ((1, [0, 0, 0, 0]), (2, [3, 3, 0, 0]), (1.5, [3, 3, 0, 0]), (0.5, [np.inf, np.inf, np.inf, 0])):
        with np.errstate(all="ignore"):
            (gx,) = ops.lp_pool1d.vjp(gy, x, norm_type=p, kernel_size=2)
        (bound,) = ops.lp_pool1d.vjp_bound((gx,), FLOAT64, gy, x, norm_type=p, kernel_size=2)
        assert np.round(bound[0, 0], 9).tolist() == known
        assert p < 1 or gx[0, 0, :2].tolist() == [3 * (p == 1)] * 2
