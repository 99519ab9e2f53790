"""Every bound of rounding.py: never violated in exact arithmetic, nearly reached, and missed when it is made smaller.

The last is a test of the tests: a bound with a constant halved or a term left out (a mutant) must be violated by one of
the probes, which are the worst cases of the theorems.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, target
from hypothesis import strategies as st

from d2lref import ops, rounding
from d2lref.rounding import (
    FORMATS,
    PRESETS,
    ROUNDING_RMS,
    Format,
    Precision,
    Ulp,
    copy_bound,
    lattice_unit,
    multilinear_bound,
    multilinear_spread,
    outward,
    precision,
    round_to,
    spelled,
    store_bound,
    sum_bound,
    using,
)
from properties.exact import (
    DECLARED,
    FLOAT64,
    ORDERS,
    Overflowed,
    accumulate,
    backwards,
    blocked,
    fl,
    nearest,
    numbers,
    pairwise,
    ratio,
    scaled,
    seeded,
    sequential,
)

# 1 Formats


@st.composite
def near_numbers(draw: Callable[..., Any], form: Format) -> float:
    """A number of the format moved by nothing, by half a unit in its last place, or by a float64 unit around that."""
    value = draw(numbers(form, form.emin, form.emax))
    ulp = math.ldexp(1.0, max(math.frexp(value)[1] - 1, form.emin) - form.p + 1)
    near = value + draw(st.sampled_from((0.0, 0.5, -0.5))) * ulp
    return draw(st.sampled_from((near, math.nextafter(near, math.inf), math.nextafter(near, -math.inf))))


@pytest.mark.parametrize("name", FORMATS)
@given(st.data())
def test_round_to_rounds_to_nearest_and_ties_to_even(name: str, data: st.DataObject) -> None:
    form = FORMATS[name]
    value = data.draw(near_numbers(form).filter(math.isfinite) | st.floats(allow_nan=False, allow_infinity=False))
    try:
        expected = float(fl(Fraction(value), form))
    except Overflowed:
        expected = math.copysign(math.inf, value)
    rounded = round_to(np.asarray(value), name)
    assert rounded == expected
    assert math.copysign(1, rounded) == math.copysign(1, value)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_round_to_truncates_or_rounds_ties_away(name: str, data: st.DataObject) -> None:
    form = FORMATS[name]
    value = data.draw(near_numbers(form).filter(lambda v: form.nmin <= abs(v) < form.fmax))
    unit = Fraction(2) ** (math.frexp(value)[1] - form.p)
    quotient = abs(Fraction(value)) / unit
    sign = int(math.copysign(1, value))
    for way, wanted in (("truncate", math.floor(quotient)), ("away", math.floor(quotient + Fraction(1, 2)))):
        assert Fraction(float(round_to(np.asarray(value), name, way))) == sign * wanted * unit
    if name != "float64":
        assert list(round_to(np.array([-2.0, 2.0]) * form.fmax, name, "truncate")) == [-form.fmax, form.fmax]


@pytest.mark.parametrize("name", FORMATS)
def test_round_to_at_the_ends_of_a_format(name: str) -> None:
    form = FORMATS[name]
    tie = form.fmax + (form.u * 2.0**form.emax if name != "float64" else math.inf)  # between fmax and 2^(emax + 1)
    values = [form.fmax, math.nextafter(tie, 0), tie, form.eta, form.eta / 2, -0.0, math.inf, -math.inf, math.nan]
    expected = [form.fmax, form.fmax, math.inf, form.eta, 0.0, -0.0, math.inf, -math.inf, math.nan]
    np.testing.assert_array_equal(round_to(np.array(values), name), expected)


def test_a_format_holds_exactly_those_whose_numbers_survive_it() -> None:
    for a in FORMATS.values():
        for b in FORMATS.values():
            kept = [round_to(np.asarray(v), a.name) == v for v in (b.fmax, b.eta, b.nmin, 1 + 2 * b.u)]
            assert a.holds(b) == all(kept), (a, b)


@given(st.lists(numbers(FORMATS["float64"], -1074, 1023), max_size=5))
def test_the_lattice_unit_is_the_largest_power_of_two_that_divides_all(values: list[float]) -> None:
    unit = lattice_unit(np.array(values))
    if not any(values):
        assert unit == math.inf
        return
    quotients = [Fraction(v) / Fraction(unit) for v in values]
    assert math.frexp(unit)[0] == 1 / 2
    assert all(q.denominator == 1 for q in quotients)
    assert any(q.numerator % 2 for q in quotients)


def test_the_lattice_unit_without_a_lattice() -> None:
    assert lattice_unit(None) == math.inf
    assert lattice_unit(np.zeros((0, 3))) == math.inf
    assert lattice_unit(np.array([1.0, np.nan])) == 0.0
    assert lattice_unit(np.array([np.inf, 2.0])) == 0.0


# 2 Precision


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"storage": "float8"}, "storage='float8', expected one of 'float32', 'float64', 'float16', 'bfloat16'"),
        ({"storage": None}, "storage=None, expected one of 'float32', 'float64', 'float16', 'bfloat16'"),
        ({"operands": "int8"}, "operands='int8', expected one of None, 'tf32', 'bfloat16', 'float16', '3xtf32'"),
        (
            {"accumulate": "tf32"},
            "accumulate='tf32', expected one of None, 'float32', 'float64', 'float16', 'bfloat16'",
        ),
        ({"rounding": "up"}, "rounding='up', expected one of 'nearest', 'truncate'"),
        (
            {"statistics": "tf32"},
            "statistics='tf32', expected one of None, 'float32', 'float64', 'float16', 'bfloat16'",
        ),
        (
            {"algorithm": "winograd"},
            "algorithm='winograd', expected one of 'any-order', 'winograd2', 'winograd4', 'fft'",
        ),
        ({"variance": "chan"}, "variance='chan', expected one of 'two-pass', 'welford', 'naive'"),
        ({"subnormals": True}, "subnormals=True, expected one of 'kept', 'flushed'"),
        ({"ulp": 2}, "ulp=2, expected an Ulp"),
    ],
)
def test_a_precision_refuses_what_means_nothing(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^Precision: ") as caught:
        Precision(**arguments)
    assert str(caught.value) == f"Precision: {message}"


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_an_ulp_is_at_least_that_of_correct_rounding(value: float) -> None:
    with pytest.raises(ValueError, match=r"^Ulp: ") as caught:
        Ulp(rsqrt=value)
    assert (
        str(caught.value) == f"Ulp: rsqrt={value!r}, expected a number of at least 0.5, the error of correct rounding"
    )


def test_a_precision_has_a_name_or_is_one() -> None:
    assert precision("tf32") is PRESETS["tf32"]
    assert precision(FLOAT64) is FLOAT64
    with pytest.raises(ValueError, match=r"^precision: ") as caught:
        precision("float8")
    assert str(caught.value) == f"precision: 'float8' is no preset, expected one of {', '.join(PRESETS)} or a Precision"


@pytest.mark.parametrize("p", DECLARED, ids=spelled)
def test_a_precision_is_what_its_spelling_says(p: Precision) -> None:
    assert eval(spelled(p), {"Precision": Precision, "Ulp": Ulp}) == p  # noqa: S307 - our own words


def test_only_what_is_not_at_its_default_is_spelled() -> None:
    assert spelled(Precision()) == "Precision()"
    assert spelled(Precision("float16", ulp=Ulp(rsqrt=1.0))) == "Precision(storage='float16', ulp=Ulp(rsqrt=1.0))"


def test_an_algorithm_class_is_one_of_sums_or_of_variances() -> None:
    assert using("fft", "float64") == Precision("float64", algorithm="fft")
    assert using("welford") == Precision(variance="welford")
    assert using("naive, flushed", "bfloat16") == Precision("bfloat16", variance="naive", subnormals="flushed")
    with pytest.raises(ValueError, match=r"^Precision: algorithm='winograd', expected one of "):
        using("winograd")


# 3 Sums of products: never violated

TOYS = {f"toy{p}": Format(f"toy{p}", p, -12, 12) for p in (2, 3, 4, 5)}
"""Formats so short that the square of u counts, and that a search meets every case of the theorem."""


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    """Have the toy formats among the formats."""
    with patch.dict(FORMATS, TOYS):
        yield


def toy(name: str, **fields: Any) -> Precision:
    """Return a precision that accumulates in a toy format."""
    p = Precision(**fields)
    object.__setattr__(p, "accumulate", name)
    return p


PRECISIONS = (
    *DECLARED,
    *(toy(name) for name in TOYS),
    *(toy(name, rounding="truncate") for name in TOYS),
    *(toy(name, storage="float16", subnormals="flushed") for name in TOYS),
)


@dataclass(frozen=True)
class Sum:
    """A sum of products x w and of addends b, computed by a precision in an order; a float64 reference has another."""

    p: Precision
    x: tuple[float, ...]
    w: tuple[float, ...]
    b: tuple[float, ...] = ()
    order: Callable[..., Fraction] = sequential
    other: Callable[..., Fraction] = sequential
    fused: bool = False
    seed: int = 0

    @property
    def terms(self) -> list[tuple[Fraction, ...]]:
        """The terms as fractions."""
        products = [(Fraction(x), Fraction(w)) for x, w in zip(self.x, self.w, strict=True)]
        return [*products, *((Fraction(b),) for b in self.b)]

    @property
    def exact(self) -> Fraction:
        """The sum."""
        return sum((math.prod(t, start=Fraction(1)) for t in self.terms), Fraction(0))

    @property
    def computed(self) -> Fraction:
        """What the precision makes of it."""
        return accumulate(self.terms, self.p, self.order, fused=self.fused, seed=self.seed)

    @property
    def reference(self) -> Fraction:
        """What float64 makes of it."""
        return accumulate(self.terms, FLOAT64, self.other, seed=self.seed)

    def bound(self, y: Fraction) -> float:
        """The bound of the sum, where y is the exact value or the answer."""
        arrays = np.array(self.x), np.array(self.w)
        return float(outward(multilinear_bound(dot, arrays, (np.array(self.b),), y=nearest(y), p=self.p)))


def dot(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x w + the sum of b."""
    return np.asarray(np.sum(x * w) + np.sum(b))


def worst(s: Sum) -> float:
    """Return the largest ratio of an error to its bound; infinite where the sum overflows and the bound is finite."""
    try:
        computed, reference = s.computed, s.reference
    except Overflowed:
        return 0.0 if math.isinf(s.bound(s.exact)) else math.inf
    bounds = s.bound(s.exact), s.bound(computed)
    return max(ratio(computed - y, bound) for y in (s.exact, reference) for bound in bounds)


@st.composite
def sums(draw: Callable[..., Any]) -> Sum:
    """A sum of up to 7 products and 2 addends, around 1 or an end of the formats. Shrinks towards one product."""
    p = draw(st.sampled_from(PRECISIONS))
    form, width = p.stored, p.accumulator.p + 3
    ends = sorted({0, p.accumulator.emin, p.accumulator.emax, form.emin, form.emax, form.emin + form.p}, key=abs)
    middle = draw(st.sampled_from(ends))
    at = draw(st.sampled_from((0, middle // 2, form.emin)))
    reach = draw(st.integers(0, width))
    near, far, addend = (numbers(form, c - reach // 2, c + reach // 2) for c in (at, middle - at, middle))
    size = draw(st.integers(0, 7))
    x, w = (draw(st.tuples(*[some] * size)) for some in (near, far))
    b = draw(st.lists(addend, max_size=2))
    if draw(st.booleans()):  # and the same once more with another sign, so that it cancels
        x, w = (*x, *(-v for v in x)), (*w, *w)
    order, other = (draw(st.sampled_from(ORDERS)) for _ in range(2))
    return Sum(p, x, w, tuple(b), order, other, draw(st.booleans()), draw(st.integers(0, 9)))


@given(sums())
def test_a_sum_in_any_arithmetic_and_order_stays_within_its_bound(s: Sum) -> None:
    found = worst(s)
    target(min(found, 2.0))
    assert found <= 1


@given(
    form=st.sampled_from(tuple(TOYS.values())),
    terms=st.lists(st.tuples(st.integers(-9, 9), st.integers(-4, 0)), min_size=1, max_size=5),
    order=st.sampled_from(ORDERS),
    fused=st.booleans(),
    truncate=st.booleans(),
    seed=st.integers(0, 9),
)
def test_k_u_s_holds_where_u_is_large(
    form: Format,
    terms: list[tuple[int, int]],
    order: Callable[..., Fraction],
    seed: int,
    *,
    fused: bool,
    truncate: bool,
) -> None:
    """Jeannerod and Rump's theorem itself: K u S without a term of order u^2, for numbers of 2 to 5 bits."""

    def rounded(q: Fraction) -> Fraction:
        return fl(q, form, truncate=truncate)

    exact = [Fraction(n) * Fraction(2) ** e for n, e in terms]
    leaves = exact if fused else [rounded(q) for q in exact]
    total = rounded(order(leaves, lambda a, b: rounded(a + b), seeded(seed)))
    u = Fraction(2) ** ((1 if truncate else 0) - form.p)
    assert abs(total - sum(exact)) <= len(exact) * u * sum(map(abs, exact))


# 4 Sums of products: nearly reached, and no term to spare


def ones(count: int, tail: float, p: Precision, **more: Any) -> Sum:
    """1 and then many times `tail`, each multiplied by 1: what is below half a unit of 1 is lost every time."""
    return Sum(p, (1.0, *(tail,) * count), (1.0,) * (count + 1), **more)


FLUSHED = Precision(subnormals="flushed")
HALF = Precision("float16", accumulate="float16")
BFLOAT = Precision("bfloat16", accumulate="bfloat16")
TRUNCATED = Precision(rounding="truncate")
THREE = Precision(operands="3xtf32")
PROBES = {
    "float32 loses half an ulp a step": ones(63, 2.0**-24, Precision()),
    "float16 loses half an ulp a step": ones(63, 2.0**-11, HALF),
    "bfloat16 loses half an ulp a step": ones(63, 2.0**-8, BFLOAT),
    "float64 loses half an ulp a step, its reference gains": ones(
        63, 2.0**-53, FLOAT64, order=sequential, other=blocked
    ),
    "truncation loses an ulp a step": ones(63, 2.0**-23 * (1 - 2.0**-24), TRUNCATED),
    "a pair loses half an ulp": Sum(Precision(), (1.0, 2.0**-24), (1.0,) * 2, order=pairwise),
    "backwards": Sum(Precision(), (*(2.0**-24,) * 7, 1.0), (1.0,) * 8, order=backwards),
    "one product": Sum(Precision(), (1 + 2.0**-12,), (1 + 2.0**-12,)),
    "a fused product that is lost": Sum(Precision(), (1.0, 2.0**-12), (1.0, 2.0**-12), fused=True),
    "tf32 operands at a tie": Sum(PRESETS["tf32"], (1 + 2.0**-11,), (1 + 2.0**-11,)),
    "bfloat16 operands at a tie": Sum(Precision(operands="bfloat16"), (1 + 2.0**-8,), (1 + 2.0**-8,)),
    "float16 operands at a tie": Sum(Precision(operands="float16"), (1 + 2.0**-11,), (1 + 2.0**-11,)),
    "lo lo and both rests of three products": Sum(
        replace(THREE, accumulate="float64"), (1 + 4093 * 2.0**-23,), (1 + 4093 * 2.0**-23,)
    ),
    "hi hi and lo hi round apart": Sum(replace(THREE, accumulate="bfloat16"), (1 + 2.0**-8 + 2.0**-12,), (1.0,)),
    "float16 operands below its smallest": Sum(Precision(operands="float16"), (2.0**-25,), (1.0,)),
    "lo below the smallest tf32": Sum(replace(THREE, accumulate="float64"), (2.0**-126 + 2.0**-137,), (1.0,)),
    "float16 operands that overflow": Sum(Precision(operands="float16"), (65520.0,), (2.0**-10,)),
    "products round to zero": Sum(TRUNCATED, (2.0**-75 * (2 - 2.0**-23),) * 4, (2.0**-75,) * 4),
    "products that are flushed": Sum(FLUSHED, (2.0**-63 * (1 - 2.0**-22),) * 4, (2.0**-63,) * 4),
    "a sum that is flushed": Sum(FLUSHED, (), (), (2.0**-126 * (2 - 2.0**-23), -(2.0**-126))),
    "inputs that are flushed": Sum(FLUSHED, (2.0**-126 - 2.0**-149,), (2.0**20,)),
    "an addend that is flushed": Sum(Precision("float16", subnormals="flushed"), (), (), (2.0**-14 - 2.0**-24,)),
    "one more than the lattice holds": Sum(Precision(), (2.0**24, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "a lattice below the smallest number": Sum(Precision(), (2.0**-75,), (2.0**-75,)),
    "a flushed lattice": Sum(FLUSHED, (2.0**-63,), (2.0**-64,)),
    "an operand off the lattice of its format": Sum(PRESETS["tf32"], (2049.0,), (1.0,)),
    "a store at a tie": Sum(Precision("float16"), (1.0, 2.0**-6), (1.0, 2.0**-5)),
    "a store below the smallest number": Sum(Precision("float16"), (2.0**-12,), (2.0**-13,)),
    "a store that is flushed": Sum(Precision("float16", subnormals="flushed"), (2.0**-7 - 2.0**-17,), (2.0**-7,)),
    "a store that overflows": Sum(Precision("float16"), (65504.0, 4.0), (1.0, 4.0)),
    "an accumulator that overflows": Sum(Precision(), (2.0**64,), (2.0**64,)),
    "a partial sum that overflows": Sum(HALF, (60000.0, 60000.0), (1.0, 1.0), (-60000.0,)),
    "what overflows is an answer": Sum(HALF, (), (), (60000.0, 60000.0)),
}
"""For every term of the bound a sum that cannot do without it."""

IDLE = {"float16 operands that overflow", "a store that overflows", "an accumulator that overflows"}
IDLE |= {"a partial sum that overflows", "what overflows is an answer"}
"""Probes with an infinite bound."""


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_stays_within_its_bound_and_comes_near_it(name: str) -> None:
    found = worst(PROBES[name])
    assert found <= 1
    assert found > 0.3 or name in IDLE


@pytest.mark.parametrize("p", [Precision(), HALF, BFLOAT, TRUNCATED], ids=spelled)
@pytest.mark.parametrize("count", [1, 2, 4, 16, 64, 1024])
def test_the_bound_of_a_sum_is_not_idle_at_any_length(p: Precision, count: int) -> None:
    """Until it exceeds the sum itself, where K u > 1."""
    tail = p.u if p.rounding == "nearest" else p.u * (1 - p.u)
    assert 0.3 < worst(ones(count, tail, p)) <= 1 or count * p.u > 1


RIGHT = {name: getattr(rounding, name) for name in ("_room", "lattice_unit", "store_bound")}
MUTANTS: dict[str, tuple[object, str, Any]] = {
    "u is halved": (Precision, "u", scaled("u", 1 / 2)),
    "truncation counts as rounding to nearest": (Precision, "u", property(lambda p: p.accumulator.u)),
    "the operands' error is halved": (Precision, "operand_error", scaled("operand_error", 1 / 2)),
    "there are no operands' errors": (Precision, "operand_error", scaled("operand_error", 0)),
    "three products count as one": (Precision, "products", property(lambda p: 1)),
    "underflow is halved": (Precision, "tiny", scaled("tiny", 1 / 2)),
    "there is no underflow": (Precision, "tiny", scaled("tiny", 0)),
    "flushing costs no more than underflow": (Precision, "tiny", property(lambda p: p.accumulator.eta)),
    "the reference has no error": (rounding, "_own_error", lambda s, k: 0.0 * s),
    "operands lose nothing": (rounding, "_lost", lambda *_: 0.0),
    "every operand is exact": (rounding, "_exact_operands", lambda *_: True),
    "the lattice is twice as large": (rounding, "_room", lambda unit, form, p: 2 * RIGHT["_room"](unit, form, p)),
    "the lattice may be finer than the format": (rounding, "_room", lambda unit, form, p: 2.0**form.p * unit),
    "the unit is twice as large": (rounding, "lattice_unit", lambda a: 2 * RIGHT["lattice_unit"](a)),
    "a store is exact": (rounding, "store_bound", lambda error, y, p, exact: error),
    "a store's error is halved": (
        rounding,
        "store_bound",
        lambda error, y, p, exact: (error + RIGHT["store_bound"](error, y, p, exact=exact)) / 2,
    ),
    "a store has no absolute error": (
        rounding,
        "store_bound",
        lambda error, y, p, exact: np.maximum(error, RIGHT["store_bound"](error, y, p, exact=exact) - p.stored.eta / 2),
    ),
    "nothing overflows": (Format, "fmax", property(lambda form: math.inf)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bound_that_is_too_small_is_noticed(name: str) -> None:
    with patch.object(*MUTANTS[name]):
        assert any(worst(probe) > 1 for probe in PROBES.values())


@given(
    st.sampled_from(DECLARED),
    st.floats(2.0**-20, 2.0**10),
    st.integers(1, 10**6),
    st.floats(0, 2.0**-10),
)
def test_a_bound_computed_in_float64_is_at_least_its_formula_and_not_much_more(
    p: Precision, s: float, k: int, lost: float
) -> None:
    """E = K u ((1 + g) S + l) + d S + l + K tiny (1 + K u) once more, in fractions."""
    p = replace(p, storage=p.accumulator.name)
    bound = float(outward(sum_bound(np.asarray(s), np.asarray(float(k)), np.zeros(()), p, lost=lost)))
    magnitude, loss, ku = Fraction(s), Fraction(lost), k * p.products * Fraction(p.u)
    formula = ku * ((1 + Fraction(p.operand_growth)) * magnitude + loss) + Fraction(p.operand_error) * magnitude + loss
    formula += k * p.products * Fraction(p.tiny) * (1 + ku)
    own = (k * p.products + 2) * Fraction(2) ** -53 * magnitude
    assert formula <= Fraction(bound if bound < math.inf else 2.0**1000)
    assert math.isinf(bound) == (magnitude + formula >= p.accumulator.fmax)
    assert math.isinf(bound) or Fraction(bound) <= (formula + own) * (1 + Fraction(2) ** -20)


def test_of_what_is_copied_only_what_is_subnormal_is_lost() -> None:
    p = using("flushed")
    small, large = p.stored.eta, p.stored.nmin
    for x in ([0.0, 1.0], [-large, np.nan, np.inf]):
        assert not copy_bound(np.asarray(x), p, np.asarray(x)).any()
    for y in ([0.0, 1.0], [small, 1.0]):
        np.testing.assert_array_equal(copy_bound(np.asarray(y), p, np.asarray([small, 1.0])), [large, 0.0])
        assert not copy_bound(np.asarray(y), Precision(), np.asarray([small, 1.0])).any()


# 5 The lattice theorem


@given(
    p=st.sampled_from(PRECISIONS),
    products=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=9),
    addends=st.lists(st.integers(-3, 3), max_size=2),
    scale=st.integers(-3, 3),
    fused=st.booleans(),
)
def test_small_integers_are_exact_in_every_order(
    p: Precision, products: list[tuple[int, int]], addends: list[int], scale: int, *, fused: bool
) -> None:
    """Bound 0, and every order gives the exact sum, where the sum of sizes is below 2^p units."""
    size = sum(abs(x * w) for x, w in products) + sum(map(abs, addends))
    assume(size < 2.0 ** min(p.accumulator.p, p.stored.p))
    unit = 2.0**scale
    x, w = (tuple(float(t[i]) * (1.0, unit)[i] for t in products) for i in range(2))
    s = Sum(p, x, w, tuple(b * unit for b in addends), fused=fused)
    assert s.bound(s.exact) == 0
    for order in ORDERS:
        assert replace(s, order=order).computed == s.exact


# 6 Sums of products over arrays


def affine(x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """x w + b."""
    return x @ w if b is None else x @ w + b


@given(
    p=st.sampled_from(PRECISIONS), seed=st.integers(0, 2**32), scale=st.sampled_from((-30, 0, 10)), biased=st.booleans()
)
def test_each_element_of_an_array_has_the_bound_of_its_own_sum(
    p: Precision, seed: int, scale: int, *, biased: bool
) -> None:
    """S, K and what is lost are its own, the lattice and the rounding of operands those of whole arrays."""
    rng = np.random.default_rng(seed)
    shapes, dense = ((2, 3), (3, 4), (4,)), rng.random()
    x, w, b = (
        round_to(np.where(rng.random(s) < dense, np.ldexp(rng.standard_normal(s), scale), 0.0), p.storage)
        for s in shapes
    )
    y = affine(x, w, b if biased else None)
    whole = multilinear_bound(affine, (x, w), (b if biased else None,), y=y, p=p)
    assert whole.shape == y.shape
    for i, j in np.ndindex(*y.shape):
        addend = b[j : j + 1] if biased else None
        part = x[i : i + 1], w[:, j : j + 1]
        alone = multilinear_bound(affine, part, (addend,), y=y[i : i + 1, j : j + 1], p=p)[0, 0]
        assert alone <= whole[i, j] * (1 + 2.0**-40)
        if p.operands is None and alone and p.stored.holds(p.accumulator):  # else some are exact until they are stored
            assert alone >= whole[i, j] * (1 - 2.0**-40)


def test_what_is_not_finite_has_no_bound() -> None:
    x, w = np.array([[1.0, np.inf], [1.0, 0.0]]), np.array([[1.0], [0.0]])
    bound = multilinear_bound(affine, (x, w), (None,), y=np.ones((2, 1)), p=Precision())
    np.testing.assert_array_equal(bound, [[np.inf], [bound[1, 0]]])
    assert bound[1, 0] < 2.0**-22


@pytest.mark.parametrize("answer", [np.nan, np.inf, -np.inf, 3e38])
def test_a_wrong_answer_does_not_buy_a_larger_bound(answer: float) -> None:
    """A bound is finite wherever a right answer cannot overflow, whatever the answer is: NaN would pass otherwise."""
    x, w = np.array([[1.0, -3.0], [0.5, 2.0]]), np.array([[1.0], [7.0]])
    for p in DECLARED:
        wrong = multilinear_bound(affine, (x, w), (np.ones(1),), y=np.full((2, 1), answer), p=p)
        largest = multilinear_bound(affine, (x, w), (np.ones(1),), y=affine(abs(x), w, np.ones(1)), p=p)
        assert np.isfinite(wrong).all()
        assert (wrong <= largest * (1 + 2.0**-40)).all()


def test_arrays_without_entries_have_bounds_without_entries() -> None:
    empty, full = np.zeros((0, 3)), np.ones((3, 2))
    for p in DECLARED:
        assert multilinear_bound(affine, (empty, full), (np.ones(2),), y=np.zeros((0, 2)), p=p).shape == (0, 2)
        nothing = multilinear_bound(affine, (full.T[:, :0], full[:0]), (None,), y=np.zeros((2, 2)), p=p)
        np.testing.assert_array_equal(nothing, np.zeros((2, 2)))


def truncated32(v: np.ndarray) -> np.ndarray:
    """Round float64 values towards zero in float32."""
    near = v.astype(np.float32).astype(np.float64)
    return np.where(np.abs(near) > np.abs(v), np.nextafter(near.astype(np.float32), np.float32(0)), near)


def in_turn(x: np.ndarray, w: np.ndarray, p: Precision) -> np.ndarray:
    """Return x w, one product after another."""
    name = p.accumulator.name
    rounded = truncated32 if p.rounding == "truncate" else lambda v: round_to(v, name)
    if p.operands in FORMATS:
        x, w = round_to(x, p.operands), round_to(w, p.operands)
    total = np.zeros((x.shape[0], w.shape[1]))
    for i in range(x.shape[1]):
        total = rounded(total + rounded(x[:, i, None] * w[None, i]))
    return round_to(total, p.storage)


SPREADS = {
    "float32": Precision(),
    "truncated": TRUNCATED,
    "tf32": PRESETS["tf32"],
    "bfloat16 operands": Precision(operands="bfloat16"),
    "float16": PRESETS["float16"],
    "float16 throughout": HALF,
    "bfloat16 accumulator": Precision(accumulate="bfloat16"),
}


def spread_ratio(x: np.ndarray, w: np.ndarray, computed: np.ndarray, p: Precision) -> float:
    """rms of the error over rms of the spread."""
    spread = multilinear_spread(np.matmul, (x, w), y=x @ w, p=p)
    return float(np.sqrt(np.mean(np.square(computed - x @ w)) / np.mean(np.square(spread))))


@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("count", [4, 64, 512])
def test_the_spread_is_at_least_the_rms_of_the_error_and_at_most_four_times_as_much(name: str, count: int) -> None:
    """In turn: rms(error) / spread is about ROUNDING_RMS = 0.42 for random data, and never above 1."""
    p, rng = SPREADS[name], np.random.default_rng(count)
    x, w = (round_to(rng.standard_normal(s), p.storage) for s in ((50, count), (count, 40)))
    found = spread_ratio(x, w, in_turn(x, w, p), p)
    assert 0.6 * ROUNDING_RMS < found < 1
    assert found < 1.2 * ROUNDING_RMS or p.rounding == "truncate"


@pytest.mark.parametrize("count", [4, 64, 512])
def test_the_spread_covers_the_orders_of_libraries(count: int) -> None:
    rng = np.random.default_rng(count)
    x, w = (round_to(rng.standard_normal(s), "float32") for s in ((50, count), (count, 40)))
    a, b = x.astype(np.float32), w.astype(np.float32)
    products = a[:, :, None] * b[None]
    for computed in (a @ b, products.sum(axis=1), np.einsum("ik,kj->ij", a, b)):
        assert 0.02 < spread_ratio(x, w, computed.astype(np.float64), Precision()) < 1


# 7 Stores


@given(st.data(), st.sampled_from(DECLARED))
def test_a_stored_value_stays_within_its_bound(data: st.DataObject, p: Precision) -> None:
    """Whether y is the exact value or what is stored; infinite where the store overflows."""
    form, wide = p.stored, p.accumulator
    middle = data.draw(st.sampled_from((0, form.emin, form.emax)))
    near = near_numbers(form).map(lambda v: float(round_to(v, wide.name)))
    drawn = data.draw(numbers(wide, middle - 2, middle + 1) | near)
    assume(abs(drawn) < 2.0**1000 and not (p.flushed and 0 < abs(drawn) < wide.nmin))
    z = Fraction(drawn)
    y = nearest(z * (1 + data.draw(st.sampled_from((0, 1, -1))) * Fraction(2) ** -data.draw(st.integers(1, 60))))
    error = math.nextafter(nearest(abs(z - Fraction(y))), math.inf) if z != Fraction(y) else 0.0
    try:
        stored = fl(z, form, flushed=p.flushed)
    except Overflowed:
        assert store_bound(np.asarray(error), np.asarray(y), p) == math.inf
        return
    bounds = [float(outward(store_bound(np.asarray(error), np.asarray(v), p))) for v in (y, float(stored))]
    assert max(ratio(stored - Fraction(y), bound) for bound in bounds) <= 1


def test_a_store_that_changes_nothing_costs_nothing() -> None:
    ones_ = np.ones(2)
    np.testing.assert_array_equal(store_bound(ones_, ones_, Precision(accumulate="bfloat16")), ones_)
    np.testing.assert_array_equal(store_bound(0 * ones_, ones_, Precision("float16"), exact=ones_ > 0), 0 * ones_)
    np.testing.assert_array_equal(store_bound(0 * ones_, np.array([np.inf, np.nan]), Precision()), [np.inf, np.inf])


@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_the_half_of_an_odd_subnormal_is_not_exact(storage: str) -> None:
    """Gradients of a mean may be halved before or after they are added; seen on CUDA, where torch adds first."""
    op, p = ops.avg_pool1d, PRESETS[storage]
    x, gy = np.zeros((1, 1, 3)), np.array([[[5.0, 9.0]]]) * p.stored.eta
    options = {**op.options, "kernel_size": 2, "stride": 1}
    (bound,) = op.vjp_bound(op.vjp(gy, x, **options), p, gy, x, **options)
    halved_first = round_to(gy[0, 0] / 2, storage)  # 2 and 4 units: ties go to even
    assert abs(7 * p.stored.eta - halved_first.sum()) == p.stored.eta <= bound[0, 0, 1]
