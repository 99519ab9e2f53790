"""Elementary functions: bounds hold for whoever is as wrong as declared, are nearly reached, and spare no term."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref import elementary
from d2lref.elementary import FUNCTIONS, Function
from d2lref.oracle import Library
from d2lref.rounding import Format, Pair, Precision, Running, Ulp, outward
from properties.exact import FLOAT64, binade, fl, nearest, numbers, ratio
from properties.worlds import LIBRARIES

# 1 The functions in as many digits as it takes


def series(x: Decimal) -> Decimal:
    """2 / sqrt(pi) sum of (-1)^n x^(2n + 1) / (n! (2n + 1))."""
    total = term = x
    n = 0
    while abs(term) > abs(x) * Decimal(10) ** -800:
        n += 1
        term = -term * x * x / n
        total += term / (2 * n + 1)
    return 2 * total / pi().sqrt()


def pi() -> Decimal:
    """16 arctan(1 / 5) - 4 arctan(1 / 239) (Machin 1706)."""
    return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)


def arctan_of_inverse(k: int) -> Decimal:
    """Sum of (-1)^n / ((2n + 1) k^(2n + 1))."""
    total, term, n = Decimal(0), Decimal(1) / k, 0
    while term > Decimal(10) ** -1150:
        total += (-1) ** n * term / (2 * n + 1)
        term, n = term / (k * k), n + 1
    return total


REAL: dict[str, Callable[..., Decimal]] = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.exp() - 1,
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: 1 / x.sqrt(),
    "pow": lambda x, b=Decimal("0.75"): (x.ln() * b).exp() if x else Decimal(0),
    "tanh": lambda x: 1 - 2 / (1 + (2 * x).exp()),
    "erf": series,
    "erfc": lambda x: 1 - series(x),
}
PARAMETERS = {"pow": (0.75,)}


def exactly(name: str, x: Fraction, *parameters: float) -> Fraction:
    """Return f(x) to a relative error far below 2^-200."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 1150 if name.startswith("erf") else 450, -(10**6), 10**6
        at = Decimal(x.numerator) / Decimal(x.denominator)
        return Fraction(REAL[name](at, *map(Decimal, parameters)))


def ulp(y: Fraction, form: Format) -> Fraction:
    """Return the unit in the last place of y."""
    return Fraction(2) ** (max(binade(y) if y else form.emin, form.emin) - form.p + 1)


# 2 NumPy's values, and those of erf on every array library

RANGES = {
    "exp": (-740.0, 700.0),
    "expm1": (-4.0, 40.0),
    "log": (0.0, 3.0),
    "log1p": (-1.0, 3.0),
    "sqrt": (0.0, 9.0),
    "rsqrt": (0.0, 9.0),
    "pow": (0.0, 9.0),
    "tanh": (-6.0, 6.0),
    "erf": (-4.0, 4.0),
    "erfc": (-4.0, 26.0),
}


def wrong_by(name: str, x: float, y: float) -> float:
    """Return the ulps (2u |y|) by which y differs from f(x)."""
    exact, form = exactly(name, Fraction(x), *PARAMETERS.get(name, ())), FLOAT64.accumulator
    return float(abs(Fraction(y) - exact) / max(2 * Fraction(form.u) * abs(exact), Fraction(form.eta)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_float64_value_is_as_good_as_the_table_says(name: str) -> None:
    f, rng = FUNCTIONS[name], np.random.default_rng(0)
    x = np.concatenate([rng.uniform(*RANGES[name], 150), np.ldexp(rng.uniform(0.5, 1, 20), rng.integers(-300, 1, 20))])
    y = f.value(x, *PARAMETERS.get(name, ()))
    assert max(wrong_by(name, *both) for both in zip(x, y, strict=True)) <= f.host


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize("name", ["erf", "erfc"])
def test_erf_has_its_accuracy_on_every_array_library(name: str, library: Library) -> None:
    rng = np.random.default_rng(1)
    edges = [0.5, math.nextafter(0.5, 0), -0.5, math.pi * 8 / 3, 9.0, 2.0**-1022, 1.0]
    x = np.concatenate([rng.uniform(*RANGES[name], 120), rng.uniform(-1, 1, 40), edges])
    y = library.back(getattr(elementary, name)(library.to(x, "float64")))
    assert y.shape == x.shape
    assert max(wrong_by(name, *both) for both in zip(x, y, strict=True)) <= 4


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_erf_at_the_ends(library: Library) -> None:
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 40.0, -40.0, 1e300])
    limits = {"erf": [0, -0.0, 1, -1, np.nan, 1, -1, 1], "erfc": [1, 1, 0, 2, np.nan, 0, 2, 0]}
    for name, expected in limits.items():
        for storage in ("float64", "float32"):
            with np.errstate(over="ignore"):
                given_ = library.to(x.astype(storage), storage)
            y = getattr(elementary, name)(given_)
            assert y.dtype == given_.dtype
            np.testing.assert_array_equal(library.back(y), expected)
            np.testing.assert_array_equal(np.signbit(library.back(y[:2])), np.signbit(expected[:2]))
    assert getattr(elementary, name)(library.to(np.zeros((0, 3)), "float32")).shape == (0, 3)


# 3 Running errors

FLOAT32 = Precision()


@dataclass(frozen=True)
class Asked:
    """A function asked for f(v), where v is wrong by up to e, of an implementation of a precision."""

    name: str
    v: float
    e: float = 0.0
    p: Precision = FLOAT32
    parameters: tuple[float, ...] = ()

    @property
    def pair(self) -> Pair:
        """What `Running` says."""
        return Running(self.p).apply(self.name, Pair(np.array([self.v]), np.array([self.e])), *self.parameters)

    def implemented(self, x: Fraction) -> list[Fraction]:
        """Return what an implementation may answer at x: wrong by the declared ulps up or down, then flushed or not."""
        y, declared = exactly(self.name, x, *self.parameters), getattr(self.p.ulp, self.name)
        least, growth = declared if isinstance(declared, tuple) else (declared, 0.0)
        least = max(least, 1.0) if self.p.rounding == "truncate" else least
        step = (Fraction(least) + Fraction(growth) * abs(x)) * ulp(y, self.p.accumulator)
        found = [y - step, y, y + step]
        return [Fraction(0) if self.p.flushed and abs(q) < Fraction(self.p.accumulator.nmin) else q for q in found]

    @property
    def ratio(self) -> float:
        """Largest distance of implementation, reference and exact value over the error; infinite for an overflow."""
        pair = self.pair
        value, error = float(pair.value[0]), float(outward(pair.error)[0])
        if math.isinf(error):
            return 0.0
        v, e = Fraction(self.v), Fraction(self.e)
        exact, f = exactly(self.name, v, *self.parameters), FUNCTIONS[self.name]
        host = Fraction(f.host) * ulp(exact, FLOAT64.accumulator)
        answers = [q for x in (v - e, v, v + e) for q in self.implemented(x)]
        if max(map(abs, answers)) >= Fraction(2) ** (self.p.accumulator.emax + 1):
            return math.inf
        moved = [exactly(self.name, x, *self.parameters) for x in (v - e, v + e)]
        distances = [a - y for a in answers for y in (exact - host, exact, exact + host)]
        return max(ratio(d, error) for d in [*distances, *(Fraction(value) - y for y in moved)])


FLUSHED, TRUNCATED = Precision(subnormals="flushed"), Precision(rounding="truncate")
HALF, FAST = Precision("float16", accumulate="float16"), Precision(ulp=Ulp(exp=(2.0, 1.173)))
SLOPPY = Precision(ulp=Ulp(tanh=2.0**13, sqrt=1.0))
PRECISIONS = (Precision(), FLUSHED, TRUNCATED, HALF, FAST, SLOPPY, FLOAT64)
DOMAINS = {"log": 0.0, "log1p": -1.0, "sqrt": 0.0, "rsqrt": 0.0, "pow": 0.0}


@st.composite
def asked(draw: Callable[..., Any]) -> Asked:
    """A function, an argument in the middle or at an end of its range, and an error of it. Shrinks towards exp 1."""
    name, p = draw(st.sampled_from(tuple(FUNCTIONS))), draw(st.sampled_from(PRECISIONS))
    form = p.accumulator
    at = draw(st.sampled_from((0, -3, 3, 5, form.emin)))
    v = draw(numbers(form, at, at + 2))
    if name in DOMAINS:
        v = DOMAINS[name] + abs(v)
    elif name.startswith("erf"):
        v = math.copysign(min(abs(v), 26.0), v)
    e = draw(st.sampled_from((0.0, form.u * abs(v), 2.0**-6 * abs(v), 0.5)))
    return Asked(name, v, e, p, draw(st.sampled_from(((0.75,), (2.0,), (-0.5,)))) if name == "pow" else ())


@given(asked())
def test_what_is_as_wrong_as_declared_stays_within_the_error(a: Asked) -> None:
    found = a.ratio
    target(min(found, 2.0))
    assert found <= 1


NEAR_ONE = 1 + 2.0**-10
PROBES = {
    "exp is wrong by its ulps": Asked("exp", 2.0**-10),
    "exp grows": Asked("exp", 1.0, 1.0),
    "exp underflows": Asked("exp", -98.0),
    "exp is flushed": Asked("exp", -87.337, 0.0, FLUSHED),
    "fast exp is wrong by more": Asked("exp", 80.0 * math.log(2.0) + 2.0**-12, 0.0, FAST),
    "exp overflows": Asked("exp", 88.722839),
    "exp in float16": Asked("exp", 2.0**-8, 0.0, HALF),
    "exp in float64, and its reference": Asked("exp", 2.0**-10, 0.0, FLOAT64),
    "expm1": Asked("expm1", 0.694),
    "expm1 grows": Asked("expm1", 1.0, 1.0),
    "log": Asked("log", 2.7185),
    "log grows": Asked("log", 1.0, 0.875),
    "log1p": Asked("log1p", 1.7185),
    "log1p grows": Asked("log1p", 0.0, 0.875),
    "sqrt rounds": Asked("sqrt", NEAR_ONE),
    "sqrt truncates": Asked("sqrt", NEAR_ONE, 0.0, TRUNCATED),
    "sqrt grows": Asked("sqrt", 1.0, 0.875),
    "rsqrt": Asked("rsqrt", 0.9999),
    "rsqrt grows": Asked("rsqrt", 1.0, 0.75),
    "pow": Asked("pow", NEAR_ONE, 0.0, Precision(), (0.75,)),
    "pow grows to the left": Asked("pow", 1.0, 0.5, Precision(), (-0.5,)),
    "pow grows to the right": Asked("pow", 1.0, 0.5, Precision(), (2.0,)),
    "tanh": Asked("tanh", 0.55),
    "tanh to 11 bits": Asked("tanh", 0.55, 0.0, SLOPPY),
    "tanh grows": Asked("tanh", 1.0, 0.5),
    "erf": Asked("erf", 0.48),
    "erf grows": Asked("erf", 1.0, 0.5),
    "erfc": Asked("erfc", 0.47),
    "erfc grows": Asked("erfc", 1.0, 0.5),
    "erfc underflows": Asked("erfc", 9.6),
}
WITHOUT_BOUND = {"exp overflows"}


@pytest.mark.parametrize("name", PROBES)
def test_the_error_of_a_function_is_nearly_reached(name: str) -> None:
    found = PROBES[name].ratio
    assert found <= 1
    assert found > 0.3 or name in WITHOUT_BOUND


def still(name: str, move: Callable[..., Any]) -> Any:
    """Return the table with another bound of how far a function moves."""
    return {**FUNCTIONS, name: replace(FUNCTIONS[name], moves=move)}


def local(name: str) -> Any:
    """Return the table with the slope at v alone, found between neighbours, and not over the interval."""
    f = FUNCTIONS[name]

    def moves(v: Any, e: Any, *rest: float) -> Any:
        h = 2.0**-20
        return e * np.abs(f.value(v + h, *rest) - f.value(v - h, *rest)) / (2 * h)

    return still(name, moves)


AT, APPLY = Ulp.at, Running.apply
MUTANTS: dict[str, tuple[Any, str, Any]] = {
    **{f"{name} has one slope": (elementary, "FUNCTIONS", local(name)) for name in FUNCTIONS},
    **{f"{name} does not move": (elementary, "FUNCTIONS", still(name, lambda v, *_: 0 * v)) for name in FUNCTIONS},
    "ulps are halved": (Ulp, "at", lambda ulp_, *a: AT(ulp_, *a) / 2),
    "ulps do not grow": (Ulp, "at", lambda ulp_, name, x: AT(ulp_, name, 0 * x)),
    "subnormal results have no ulps": (Precision, "tiny", property(lambda p: 0.0)),
    "truncation counts as rounding to nearest": (Precision, "u", property(lambda p: p.accumulator.u)),
    "the reference is exact": (Function, "host", None),
    "nothing overflows": (Format, "fmax", property(lambda form: math.inf)),
}


def changed(name: str) -> Any:
    """Return the patch of a mutant."""
    place, attribute, value = MUTANTS[name]
    if place is elementary:
        return patch("d2lref.rounding.FUNCTIONS", value)
    if place is Function:
        exact = {k: replace(f, host=0.0) for k, f in FUNCTIONS.items()}
        return patch("d2lref.rounding.FUNCTIONS", exact)
    return patch.object(place, attribute, value)


@pytest.mark.parametrize("name", MUTANTS)
def test_an_error_of_a_function_that_is_too_small_is_noticed(name: str) -> None:
    with changed(name):
        assert any(a.ratio > 1 for a in PROBES.values())


def test_nothing_is_known_outside_the_domain_of_a_function() -> None:
    for name, end in DOMAINS.items():
        for p in PRECISIONS:
            assert math.isinf(Asked(name, end + 0.5, 0.75, p, PARAMETERS.get(name, ())).pair.error[0])
    assert math.isinf(Asked("log", 0.0).pair.error[0])
    assert math.isinf(Asked("pow", 0.0, 0.0, Precision(), (-1.0,)).pair.error[0])
    assert math.isinf(Asked("exp", 1000.0).pair.error[0])
    for name in FUNCTIONS:
        assert math.isinf(Asked(name, math.nan, 0.0, FAST, PARAMETERS.get(name, ())).pair.error[0])


# 4 Powers


@given(st.sampled_from((Precision(), HALF, FLOAT64)), st.floats(0.01, 50.0), st.sampled_from((1 / 3, 0.1, -1.7, 0.75)))
def test_a_power_may_round_its_exponent_first(p: Precision, v: float, exponent: float) -> None:
    pair = Running(p).power(Pair.exact([v]), exponent)
    rounded = fl(Fraction(exponent), p.accumulator)
    computed = exactly("pow", Fraction(v), nearest(rounded))
    answers = [computed + s * Fraction(p.ulp.at("pow", v).item()) * ulp(computed, p.accumulator) for s in (-1, 0, 1)]
    exact = exactly("pow", Fraction(v), exponent)
    assert max(ratio(a - exact, float(outward(pair.error)[0])) for a in answers) <= 1


# 5 What is declared


@pytest.mark.parametrize("value", [(0.25, 1.0), (2.0, -1.0), (2.0, math.inf), math.nan])
def test_ulps_that_mean_nothing_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^Ulp: exp=") as caught:
        Ulp(exp=value)
    assert str(caught.value) == f"Ulp: exp={value!r}, expected a number of at least 0.5, the error of correct rounding"


def test_every_function_of_the_table_has_its_ulps() -> None:
    assert set(Ulp.__dataclass_fields__) == set(FUNCTIONS)
    assert repr(Ulp()) == "Ulp()"
    assert repr(Ulp(exp=(2.0, 1.173))) == "Ulp(exp=(2.0, 1.173))"
