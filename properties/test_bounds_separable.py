"""The bound of two sums in a row: it holds in every arithmetic, for both orders of a separable convolution."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref import ops
from d2lref.ops._separable_conv import definition as separable
from d2lref.rounding import FORMATS, PRESETS, Precision, outward, round_to, spelled
from properties.exact import DECLARED, ORDERS, Overflowed, accumulate, nearest, numbers, ratio

CHANNELS, EACH, TAPS = 2, 2, 2
FILTERS = CHANNELS * EACH
Values = tuple[np.ndarray, np.ndarray, np.ndarray, float]
"""x (C, u), d (Q, u), p (Q,) and b: one answer at one place."""


def parts(values: Values) -> tuple[list[list[tuple[Fraction, Fraction]]], list[Fraction]]:
    """Return for each filter its products (x, d), and the linear layer's numbers."""
    x, d, p, _ = values
    products = [[(Fraction(a), Fraction(b)) for a, b in zip(x[q // EACH], d[q], strict=True)] for q in range(FILTERS)]
    return products, [Fraction(v) for v in p]


def exact(values: Values) -> Fraction:
    """Return the answer."""
    products, mixing = parts(values)
    return sum((w * sum(a * b for a, b in of) for of, w in zip(products, mixing, strict=True)), Fraction(values[3]))


def in_halves(values: Values, p: Precision, how: dict[str, Any]) -> Fraction:
    """Return it by the filters, whose answers are stored, and the linear layer."""
    products, mixing = parts(values)
    seen = [accumulate(of, p, **how) for of in products]
    return accumulate([*zip(seen, mixing, strict=True), (Fraction(values[3]),)], p, **how)


def at_once(values: Values, p: Precision, how: dict[str, Any]) -> Fraction:
    """Return it by the product of the weights, which is stored, and one convolution."""
    products, mixing = parts(values)
    terms: list[tuple[Fraction, ...]] = [(Fraction(values[3]),)]
    for c in range(CHANNELS):
        for u in range(TAPS):
            of = range(c * EACH, (c + 1) * EACH)
            terms.append((accumulate([(mixing[q], products[q][u][1]) for q in of], p, **how), products[c * EACH][u][0]))
    return accumulate(terms, p, **how)


def bound(values: Values, y: Fraction, p: Precision) -> float:
    """Return how far the answer may be from the exact value."""
    x, d, mixing, b = values
    arrays = x[None], d[:, None], mixing[None, :, None], np.array([b])
    found = ops.separable_conv1d.bound(np.full((1, 1, 1), nearest(y)), p, *arrays, stride=1, padding=0, dilation=1)
    return float(outward(found).item())


def worst(values: Values, p: Precision, how: dict[str, Any]) -> float:
    """Return the largest ratio of error to bound; infinite where something overflows and the bound is finite."""
    y, found = exact(values), 0.0
    for way in (in_halves, at_once):
        try:
            computed = way(values, p, how)
        except Overflowed:
            found = max(found, 0.0 if math.isinf(bound(values, y, p)) else math.inf)
            continue
        found = max(found, *(ratio(computed - y, bound(values, at, p)) for at in (y, computed)))
    return found


@st.composite
def problems(draw: Callable[..., Any], p: Precision) -> Values:
    """Numbers around 1 or towards an end of the formats; some are zero. Shrinks towards integers."""
    form, width = p.stored, p.accumulator.p + 3
    center = draw(st.sampled_from((0, 0, 0, form.emin // 2, form.emin // 3, form.emax // 4)))
    reach, rng = draw(st.integers(0, width)), np.random.default_rng(draw(st.integers(0, 2**32)))

    def some(*shape: int) -> np.ndarray:
        few = draw(st.lists(numbers(form, center - reach // 2, center + reach // 2), min_size=1, max_size=6))
        return np.where(rng.random(shape) < draw(st.sampled_from((0.0, 0.4))), 0.0, rng.choice(np.array(few), shape))

    return some(CHANNELS, TAPS), some(FILTERS, TAPS), some(FILTERS), float(some(1)[0])


ways = st.fixed_dictionaries({"order": st.sampled_from(ORDERS), "fused": st.booleans(), "seed": st.integers(0, 9)})


@pytest.mark.parametrize("p", DECLARED, ids=spelled)
@given(data=st.data())
def test_two_sums_in_any_arithmetic_and_order_stay_within_their_bound(p: Precision, data: st.DataObject) -> None:
    found = worst(data.draw(problems(p)), p, data.draw(ways))
    target(min(found, 2.0))
    assert found <= 1


def searched(p: Precision) -> float:
    """Return the largest ratio among random numbers of a few bits."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        sizes = ((CHANNELS, TAPS), (FILTERS, TAPS), (FILTERS,))
        x, d, mixing = (round_to(1 + rng.random(size), p.storage) for size in sizes)
        found.append(worst((x, d, mixing, 0.0), p, {"order": ORDERS[0]}))
    return max(found)


@pytest.mark.once
def test_the_bound_is_not_idle_and_a_smaller_one_is_noticed() -> None:
    half = PRESETS["bfloat16"]
    assert 0.5 < searched(half) <= 1
    with patch.object(separable, "outward", lambda error: error / 8):
        assert searched(half) > 1


def test_what_may_overflow_between_the_sums_has_no_bound() -> None:
    large, p = FORMATS["float16"].fmax, PRESETS["float16"]
    x, d = np.full((CHANNELS, TAPS), large), np.full((FILTERS, TAPS), 2.0)
    assert math.isinf(bound((x, d, np.full(FILTERS, 2.0**-10), 0.0), Fraction(1), p))
    assert math.isfinite(bound((x / 8, d, np.full(FILTERS, 2.0**-10), 0.0), Fraction(1), p))
