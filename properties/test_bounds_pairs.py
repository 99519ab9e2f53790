"""Pairs and running errors: the exact value stays within the error, comes near it, and no term can be spared."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref import rounding
from d2lref.rounding import (
    FORMATS,
    Format,
    Pair,
    Precision,
    Running,
    Ulp,
    as_pair,
    claim,
    concat,
    inner,
    outward,
    spelled,
    stack,
    store_bound,
)
from properties.exact import DECLARED, FLOAT64, Machine, Overflowed, in_accumulator, numbers, ratio, rational, scaled

# 1 Pairs


@dataclass(frozen=True)
class Known:
    """A pair and, in fractions, the exact value that it knows within its error."""

    pair: Pair
    exact: Any

    @property
    def ratio(self) -> float:
        """Largest distance over error."""
        values = zip(np.ravel(self.pair.value), np.ravel(outward(self.pair.error)), np.ravel(self.exact), strict=True)
        return max((ratio(Fraction(v) - q, e) for v, e, q in values if math.isfinite(v)), default=0.0)


@st.composite
def known(draw: Callable[..., Any]) -> Known:
    """An array of shape (3,), its errors, and exact values at their limits or inside. Shrinks towards integers."""
    form, at = FORMATS["float64"], draw(st.sampled_from((0, 0, -300, -540, 400)))
    width = draw(st.sampled_from((3, 60)))
    values = draw(st.tuples(*[numbers(form, at, at + width) | st.integers(-5, 5).map(float)] * 3))
    errors = draw(st.tuples(*[st.just(0.0) | numbers(form, at - 60, at + width).map(abs)] * 3))
    where = draw(st.tuples(*[st.sampled_from((-1, 0, 1, Fraction(1, 3)))] * 3))
    exact = [Fraction(v) + t * Fraction(e) for v, e, t in zip(values, errors, where, strict=True)]
    return Known(Pair(np.array(values), np.array(errors)), rational(exact))


STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a b": lambda a, b: a * b,
    "a b, turned": lambda a, b: a[::-1] * b,
    "-a": lambda a, b: -a,
    "sum of a": lambda a, b: a.sum(axis=0, keepdims=True) + 0 * b,
}


@given(st.lists(known(), min_size=2, max_size=4), st.lists(st.sampled_from(tuple(STEPS)), min_size=1, max_size=4))
def test_the_exact_value_of_a_pair_stays_within_its_error(leaves: list[Known], steps: list[str]) -> None:
    """Whatever is computed from pairs: the exact result of the exact values is within the error of the pair's value."""
    state = leaves[0]
    for turn, step in enumerate(steps):
        other = leaves[(turn + 1) % len(leaves)]
        state = Known(STEPS[step](state.pair, other.pair), STEPS[step](state.exact, other.exact))
        assert state.ratio <= 1
        target(state.ratio, label=f"{turn} {step}")


@given(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), st.lists(st.sampled_from(tuple(STEPS)), max_size=4))
def test_pairs_of_integers_stay_exact(integers: list[int], steps: list[str]) -> None:
    exact, other = rational(integers), rational([3, -1, 2])
    pair, b = Pair.exact(np.array(integers)), Pair.exact([3.0, -1.0, 2.0])
    for step in steps:
        pair, exact = STEPS[step](pair, b), STEPS[step](exact, other)
    assert not pair.error.any()
    assert (rational(pair.value) == exact).all()


def test_pairs_and_arrays_mix_in_either_order() -> None:
    """NumPy leaves `array - pair` to the pair."""
    array, pair = np.array([1.0, 2.0]), Pair(np.array([3.0, 5.0]), np.array([0.5, 0.25]))
    for left, right in ((array + pair, pair + array), (array * pair, pair * array), (array - pair, -(pair - array))):
        assert isinstance(left, Pair)
        np.testing.assert_array_equal(left.value, right.value)
        np.testing.assert_array_equal(left.error, right.error)
    np.testing.assert_array_equal((2 * pair).error, [1.0, 0.5])
    assert pair.shape == pair[::-1].shape == (2,)


def test_pairs_are_joined_compared_and_multiplied() -> None:
    a, b = Pair(np.array([1.0, 2.0]), np.array([0.5, 0.0])), Pair(np.array([4.0, 8.0]), np.array([0.0, 0.25]))
    np.testing.assert_array_equal(concat([a, b], 0).error, [0.5, 0.0, 0.0, 0.25])
    np.testing.assert_array_equal(stack([a, b]).value, [[1.0, 2.0], [4.0, 8.0]])
    assert claim(a, b.map(np.flip)).bound.tolist() == [0.75, 0.0]
    assert inner(a, b).value == 20
    assert inner(a, b).error == 0.5 * 4 + 2 * 0.25
    assert claim(a, [1.0, 2.0]).left is a.value


def test_what_is_not_finite_is_exact_when_it_was_given_and_unknown_when_it_came_about() -> None:
    given_ = Pair.exact([np.inf, -np.inf, np.nan, 0.0])
    for moved in (2 * given_, given_ + 1, given_ - 1, -given_, given_ * given_):
        assert not moved.error.any()
    large = Pair.exact([2.0**1023])
    assert np.isinf((large + large).error)
    assert np.isinf((large * large).error)
    assert np.isinf((Pair(np.ones(1), np.full(1, np.inf)) * 0.0).error)
    assert np.isinf(Pair.exact([2.0**1023] * 2).sum().error)


def without_cross_term(a: Pair, b: Any) -> Pair:
    """A product that forgets e_a e_b."""
    right = rounding.as_pair(b)
    return Pair(a.value * right.value, np.abs(a.value) * right.error + a.error * np.abs(right.value))


PAIR_MUTANTS: dict[str, tuple[object, str, Any]] = {
    "sums do not round": (Pair, "__add__", lambda a, b: Pair(a.value + b, a.error)),
    "products do not round": (rounding, "_product_residual", lambda a, b, value: 0.0 * value),
    "products do not underflow": (rounding, "_product_residual", lambda a, b, value: np.abs(value) * 2.0**-53),
    "errors do not multiply": (Pair, "__mul__", without_cross_term),
    "long sums do not round": (rounding, "lattice_unit", lambda a: math.inf),
}


def pair_ratios() -> Iterator[float]:
    """Yield ratios of pairs that need each term."""
    third, one, tiny = Pair.exact([1 + 2.0**-30]), Pair(np.ones(1), np.ones(1)), Pair.exact([2.0**-537])
    yield Known(third + 2.0**-60, rational(third.value) + Fraction(2) ** -60).ratio
    yield Known(third * third, rational(third.value) ** 2).ratio
    yield Known(tiny * 2.0**-538, rational([Fraction(2) ** -1075])).ratio
    yield Known(one * one, rational([4])).ratio
    yield Known(Pair.exact([1.0, *[2.0**-53] * 3]).sum(), rational(1 + 3 * Fraction(2) ** -53)).ratio


def test_the_error_of_a_pair_has_no_term_to_spare() -> None:
    assert all(0.3 < found <= 1 for found in pair_ratios())


@pytest.mark.parametrize("name", PAIR_MUTANTS)
def test_an_error_of_a_pair_that_is_too_small_is_noticed(name: str) -> None:
    with patch.object(*PAIR_MUTANTS[name]):
        assert any(found > 1 for found in pair_ratios())


# 2 Running errors

RUNNING = tuple(p for p in DECLARED if p.operands is None)
FLUSHED, TRUNCATED = Precision(subnormals="flushed"), Precision(rounding="truncate")
HALF = Precision("float16", accumulate="float16")


def machine(p: Precision, seed: int) -> Machine:
    """Return an implementation of the precision."""
    assert isinstance(p.ulp.rsqrt, float)
    ulp = Fraction(p.ulp.rsqrt) * 2 * Fraction(2) ** -p.accumulator.p
    return Machine(lambda q: in_accumulator(q, p), ulp, seed)


REAL = Machine(lambda q: q, Fraction(0), 0)
HOST = Machine(lambda q: in_accumulator(q, FLOAT64), Fraction(2) ** -52, 1)


def mean(op: Any, x: Any) -> Any:
    """The mean."""
    return op.mean(x, 0)


def variance(op: Any, x: Any) -> Any:
    """The variance in two passes."""
    centred = op.sub(x, mean(op, x))
    return op.mean(op.mul(centred, centred), 0)


def deviation(op: Any, x: Any, shift: Any) -> Any:
    """1 / sqrt(variance + shift)."""
    return op.rsqrt(op.add(variance(op, x), shift))


def normalised(op: Any, x: Any, shift: Any, gain: Any) -> Any:
    """(x - mean) / sqrt(variance + shift) gain + shift."""
    return op.add(op.mul(op.mul(op.sub(x, mean(op, x)), deviation(op, x, shift)), gain), shift)


def softened(op: Any, x: Any, shift: Any) -> Any:
    """x / (x^2 + shift)."""
    return op.div(x, op.add(op.mul(x, x), shift))


FORMULAS = {mean: 0, variance: 0, deviation: 1, normalised: 2, softened: 1}
"""Formulas, with the number of constants that they take."""


def running_ratio(formula: Callable[..., Any], p: Precision, seed: int, *arrays: np.ndarray) -> float:
    """Return the largest ratio of a distance between implementation, reference and exact value to the error."""
    pair = formula(Running(p), *map(Pair.exact, arrays))
    exact, reference = (formula(op, *map(rational, arrays)) for op in (REAL, HOST))
    error = outward(pair.error)
    try:
        computed = formula(machine(p, seed), *map(rational, arrays))
    except Overflowed:
        return 0.0 if np.isinf(error).any() else math.inf
    distances = (
        (abs(computed - exact), abs(computed - reference), abs(rational(pair.value) - exact))
        if np.isfinite(error).all()
        else ()
    )
    return max(
        (ratio(d, e) for distance in distances for d, e in zip(distance.ravel(), error.ravel(), strict=True)),
        default=0.0,
    )


@given(
    st.sampled_from(tuple(FORMULAS)),
    st.sampled_from(RUNNING),
    st.integers(0, 99),
    st.data(),
)
def test_a_formula_of_running_errors_bounds_what_an_implementation_computes(
    formula: Callable[..., Any], p: Precision, seed: int, data: st.DataObject
) -> None:
    """An implementation stays near the exact value and a float64 reference, the pair's value near the exact one."""
    form = p.accumulator
    at = data.draw(st.sampled_from((0, 0, form.emin // 2, form.emax // 2, form.emin + 3)))
    spread = data.draw(st.sampled_from((1, 6)))
    at = min(max(at, p.stored.emin), p.stored.emax - spread)
    x = np.array(data.draw(st.lists(numbers(p.stored, at, at + spread), min_size=1, max_size=5)))
    found = running_ratio(formula, p, seed, x, *(np.array([2.0**-9]), np.array([3.0]))[: FORMULAS[formula]])
    target(found, label=formula.__name__)
    assert found <= 1


def single(name: str) -> Callable[..., Any]:
    """Return the formula of one operation."""
    return lambda op, *arrays: getattr(op, name)(*arrays)


def total(op: Any, x: Any) -> Any:
    """The sum."""
    return op.sum(x, 0)


LOSING = [1.0, *[2.0**-24] * 30]
"""Numbers of which a float32 sum loses all but the first."""

OPERATIONS: dict[str, tuple[Callable[..., Any], Precision, tuple[list[float], ...]]] = {
    "a sum rounds": (single("add"), Precision(), ([1.0], [2.0**-24])),
    "a difference rounds": (single("sub"), Precision(), ([1.0], [-(2.0**-24)])),
    "a truncated sum": (single("add"), TRUNCATED, ([1.0], [2.0**-23 * (1 - 2.0**-24)])),
    "a product rounds": (single("mul"), Precision(), ([1 + 2.0**-12], [1 + 2.0**-12])),
    "a product underflows": (single("mul"), Precision(), ([2.0**-75], [2.0**-75])),
    "a product is flushed": (single("mul"), FLUSHED, ([2.0**-64], [2.0**-63])),
    "a reciprocal rounds, and its product": (single("div"), HALF, ([1.015625], [1.9384765625])),
    "a reciprocal is flushed": (single("div"), FLUSHED, ([2.0**127], [2.0**127 * (1 + 2.0**-23)])),
    "a root is wrong by two ulps": (single("rsqrt"), Precision(), ([0.9999],)),
    "a long sum rounds": (total, Precision(), (LOSING,)),
    "a long sum is flushed": (total, FLUSHED, ([2.0**-126 * 1.5, -(2.0**-126)],)),
    "a mean": (mean, Precision(), (LOSING,)),
    "a sum of a wrong sum": (lambda op, x: op.add(total(op, x), x[0]), Precision(), (LOSING,)),
    "a product with a wrong sum": (lambda op, x: op.mul(x[0], total(op, x)), Precision(), (LOSING,)),
    "a quotient of a wrong sum": (lambda op, x: op.div(total(op, x), x[0]), Precision(), (LOSING,)),
    "a quotient by a wrong sum": (lambda op, x: op.div(x[0], total(op, x)), Precision(), (LOSING,)),
    "a root of a wrong sum": (lambda op, x: op.rsqrt(total(op, x)), Precision(), (LOSING,)),
    "an overflow": (single("mul"), HALF, ([300.0], [300.0])),
    "a sum that overflows": (total, HALF, ([60000.0, 60000.0, -60000.0],)),
}
WITHOUT_BOUND = {"an overflow", "a sum that overflows"}


def operation_ratio(name: str) -> float:
    """Return the largest ratio of an operation over 20 orders and choices."""
    formula, p, arrays = OPERATIONS[name]
    return max(running_ratio(formula, p, seed, *map(np.array, arrays)) for seed in range(20))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_comes_near_its_running_error(name: str) -> None:
    assert operation_ratio(name) <= 1
    assert operation_ratio(name) > 0.3 or name in WITHOUT_BOUND


def knowing(name: str, *places: int) -> Any:
    """Return the operation of Running that takes the operands at these places for exact."""
    right = getattr(Running, name)
    return lambda run, *pairs: right(run, *(as_pair(a).value if i in places else a for i, a in enumerate(pairs)))


def relaxed(name: str, p: Precision) -> Any:
    """Return the operation of Running of another precision."""
    right = getattr(Running, name)
    return lambda run, *pairs: right(replace(run, p=p), *pairs)


RIGHT, RIGHT_SUM, RIGHT_RSQRT = Running.rounded, Running.sum, Running.rsqrt
RUNNING_MUTANTS: dict[str, tuple[object, str, Any]] = {
    "u is halved": (Precision, "u", scaled("u", 1 / 2)),
    "truncation counts as rounding to nearest": (Precision, "u", property(lambda p: p.accumulator.u)),
    "underflow is a quarter": (Precision, "tiny", scaled("tiny", 1 / 4)),
    "a division rounds once": (Running, "rounded", lambda run, a, count=1: RIGHT(run, a, min(count, 1))),
    "a reciprocal is never flushed": (Running, "div", relaxed("div", Precision())),
    "a root is right to one ulp": (Running, "rsqrt", relaxed("rsqrt", Precision(ulp=Ulp(rsqrt=1.0)))),
    "a sum is never flushed": (Running, "sum", lambda run, a, axis: RIGHT_SUM(replace(run, p=Precision()), a, axis)),
    "a sum rounds once": (Running, "sum", lambda run, a, axis: run.rounded(a.sum(axis, keepdims=True))),
    "a sum knows its operands": (Running, "add", knowing("add", 0)),
    "a product knows its operands": (Running, "mul", knowing("mul", 1)),
    "a quotient knows its dividend": (Running, "div", knowing("div", 0)),
    "a quotient knows its divisor": (Running, "div", knowing("div", 1)),
    "a root knows its operand": (Running, "rsqrt", lambda run, a: RIGHT_RSQRT(run, Pair.exact(a.value))),
    "nothing overflows": (Format, "fmax", property(lambda form: math.inf)),
}


@pytest.mark.parametrize("name", RUNNING_MUTANTS)
def test_a_running_error_that_is_too_small_is_noticed(name: str) -> None:
    with patch.object(*RUNNING_MUTANTS[name]):
        assert any(operation_ratio(operation) > 1 for operation in OPERATIONS)


@pytest.mark.parametrize("p", RUNNING, ids=spelled)
def test_stores_between_passes_and_of_the_answer(p: Precision) -> None:
    """A tie of each format, and its overflow."""
    run, one = Running(p), Pair.exact(np.ones(1))
    assert run.stored(one) is one
    for name, form in FORMATS.items():
        tie = Pair.exact(np.array([1 + form.u]))
        stored = run.stored(tie, name)
        if form.holds(p.accumulator):
            assert stored is tie
        else:
            assert 0.3 < form.u / outward(stored.error)[0] <= 1
            assert np.isinf(run.stored(Pair(one.value * form.fmax, one.value * form.fmax), name).error).all()
    np.testing.assert_array_equal(run.answer(tie), store_bound(tie.error, tie.value, p))


def test_running_errors_are_infinite_where_a_divisor_or_a_radicand_may_vanish() -> None:
    run, one = Running(Precision()), Pair.exact(np.ones(1))
    for near_zero in (Pair(np.ones(1), np.ones(1)), Pair.exact(np.zeros(1)), Pair(np.zeros(1), np.ones(1))):
        assert np.isinf(run.div(one, near_zero).error).all()
        assert np.isinf(run.rsqrt(near_zero).error).all()
    assert np.isinf(run.div(one, Pair.exact(np.full(1, 2.0**-140))).error).all()  # the reciprocal overflows
    assert np.isinf(run.rsqrt(Pair.exact(-np.ones(1))).error).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_answer_that_is_no_number_stays_wrong_in_sums_and_products(wrong: float) -> None:
    """Its bound says that it is near the exact value, so that an equation with it must fail and not become vacuous."""
    answer, right = Pair(np.array([1.0, wrong]), np.array([0.5, 0.5])), Pair(np.ones(2), np.zeros(2))
    for pair in (answer + right, right - answer, answer * right, answer.sum(keepdims=True), inner(answer, right)):
        unbounded = ~np.isfinite(pair.value)
        assert unbounded.any()
        assert (pair.error[unbounded] == 0).all()
    overflown = Pair(np.array([1e308]), np.zeros(1)) * 10.0
    assert np.isinf(overflown.error).all()
