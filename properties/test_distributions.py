"""Initialisers and dropout: the odds are what they are said to be, right ones pass, and every mistake is caught."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import d2lref
from d2lref import catalogue, chance, cli, inits, ops
from d2lref.inits._laws import median
from d2lref.inits._orthogonal import bound as orthogonality
from d2lref.ops._dropout.definition import bound as scaling
from d2lref.oracle import NUMPY, Implementation, Interrupted, Library, Status
from d2lref.oracle.distributions import (
    LARGE,
    hold,
    hold_mistake,
    large_case,
    sampler,
    small_case,
)
from d2lref.oracle.draw_laws import all_trials, common_mistakes
from d2lref.oracle.sampling import Sampler, data
from d2lref.oracle.sources import replayed, seeded
from d2lref.rounding import FORMATS, PRESETS, round_to
from d2lref.spec import REQUIRED, Case, Distribution, Mistake, Trial
from properties.worlds import LIBRARIES

pytestmark = pytest.mark.once

SUBJECTS = tuple(catalogue.distributions().values())
IDS = [subject.name for subject in SUBJECTS]
F32 = PRESETS["float32"]
QUICK = chance.SIZES["quick"]
PART = Fraction(1, 2**32)  # the float64 tails are right to this part of themselves


def ours(subject: Distribution) -> Implementation:
    return Implementation(subject.name, subject.definition, subject.vjp)


# The odds


def exact_tail(n: int, p: Fraction, k: int) -> Fraction:
    """P(X >= k) in rationals."""
    return sum((math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1)), Fraction(0))


@given(n=st.integers(1, 60), p=st.floats(1 / 64, 63 / 64), share=st.floats(0, 1))
def test_binomial_tails_are_exact(n: int, p: float, share: float) -> None:
    k = min(math.floor(n * p) + 1 + math.floor(share * (n - n * p)), n)
    exact = exact_tail(n, Fraction(p), k)
    assert abs(Fraction(chance.binomial_tail(n, p, k)) - exact) <= PART * exact


@pytest.mark.parametrize(("n", "p"), [(2**12, 7 / 8), (2**16, 1 / 2), (2**16, 1 / 8), (2**18, 1 / 2)])
def test_far_binomial_tails_are_exact(n: int, p: float) -> None:
    """The sum of probabilities in integers: both p and 1 - p are so many eighths."""
    _, high = chance.binomial(n, p, chance.EACH)
    more, less = round(8 * p), round(8 * (1 - p))
    term = math.comb(n, high + 1) * more ** (high + 1) * less ** (n - high - 1)
    total = term
    for j in range(high + 1, min(high + 1 + 8 * math.isqrt(n), n)):
        term = term * (n - j) * more // ((j + 1) * less)
        total += term
    exact = Fraction(total >> (3 * n - 200), 2**200)
    assert abs(Fraction(chance.binomial_tail(n, p, high + 1)) - exact) <= PART * exact
    assert exact <= Fraction(chance.EACH) / 2 < exact * more * (n - high) / (less * (high + 1)) * 100


@given(n=st.integers(1, 40), p=st.floats(0, 1), alpha=st.sampled_from([0.5, 0.1, 1 / 1000]))
def test_binomial_intervals_are_the_shortest(n: int, p: float, alpha: float) -> None:
    low, high = chance.binomial(n, p, alpha)
    q, half = Fraction(p), Fraction(alpha) / 2
    assert exact_tail(n, q, high + 1) <= half * (1 + PART)
    assert exact_tail(n, 1 - q, n - low + 1) <= half * (1 + PART)
    assert high == 0 or high <= n * p or exact_tail(n, q, high) >= half * (1 - PART)


@given(n=st.integers(1, 10**5), p=st.floats(0, 1), slack=st.floats(0, 1 / 8))
def test_slack_widens_binomial_intervals(n: int, p: float, slack: float) -> None:
    low, high = chance.binomial(n, p, chance.EACH)
    wide = chance.binomial(n, p, chance.EACH, slack)
    assert wide[0] <= low <= n * p + 1
    assert n * p - 1 <= high <= wide[1]


@pytest.mark.parametrize("alpha", [0.3, 1 / 1000, chance.EACH])
@pytest.mark.parametrize("n", [2, 10, 1000, 2**15])
def test_chi_square_intervals_hold(n: int, alpha: float) -> None:
    """For even n, P(X >= x) = e^(-x/2) sum of (x/2)^j / j!, j < n/2, here in 60 digits."""
    with localcontext() as context:
        context.prec = 60

        def above(x: float) -> Decimal:
            half = Decimal(x) / 2
            term = total = Decimal(1)
            for j in range(1, n // 2):
                term *= half / j
                total += term
            return total * (-half).exp()

        low, high = chance.chi_square(n, alpha)
        assert 1 - above(low) + above(high) <= Decimal(alpha)


@pytest.mark.parametrize("alpha", [0.3, 1 / 1000, chance.EACH])
def test_normal_numbers_stay_inside(alpha: float) -> None:
    z = chance.gaussian(alpha) / math.sqrt(2.0)
    assert math.erfc(z) <= alpha
    assert math.erfc(z * 9 / 10) >= alpha**2  # and are not held on a leash without end


@given(n=st.integers(1, 60), alpha=st.sampled_from([0.5, 0.1, 1 / 1000]))
def test_means_of_coins_stay_inside(n: int, alpha: float) -> None:
    """Hoeffding's inequality, where it is sharpest."""
    beyond = Fraction(n, 2) + n * Fraction(chance.bounded_mean(n, alpha))
    assert 2 * exact_tail(n, Fraction(1, 2), math.floor(beyond) + 1) <= Fraction(alpha)


def test_one_number_stays_inside() -> None:
    """The distance of one number from its law is max(F, 1 - F), beyond h with probability 2 - 2h."""
    for alpha in (0.9, 0.5, 0.3):
        h = chance.largest_distance(1, alpha)
        assert h >= 1 or 2 - 2 * h <= alpha


def test_the_odds_add_up() -> None:
    assert chance.EACH * chance.READINGS <= chance.ALPHA
    assert max(LARGE.values()) * max(sum(t.chance for t in all_trials(s)) for s in SUBJECTS) <= chance.READINGS


# Distributions of one number

TRUNCATED = [chance.Truncated(0.0, 1.0, -2.0, 2.0), chance.Truncated(1.0, 2.0, -1.0, 1.5), chance.Truncated(0, 1, 1, 2)]


@pytest.mark.parametrize("law", TRUNCATED)
def test_truncated_moments_are_integrals(law: chance.Truncated) -> None:
    """By Gauss and Legendre with 64 points, which leaves nothing of such smooth functions."""
    whole = NormalDist(law.center, law.scale)
    points, weights = np.polynomial.legendre.leggauss(64)

    def integral(f: Callable[[float], float], end: float) -> float:
        places = law.a + (end - law.a) * (points + 1.0) / 2.0
        total = sum(w * f(x) * whole.pdf(x) for x, w in zip(places.tolist(), weights.tolist(), strict=True))
        return total * (end - law.a) / 2.0

    mass = integral(lambda x: 1.0, law.b)
    mean = integral(lambda x: x, law.b) / mass
    variance = integral(lambda x: (x - mean) ** 2, law.b) / mass
    below = integral(lambda x: 1.0, median(law)) / mass
    found = (law.mass, law.mean, law.deviation, 1 / 2)
    for value, exact in zip(found, (mass, mean, math.sqrt(variance), below), strict=True):
        assert abs(value - exact) <= 2**-36
    assert max(whole.pdf(x) / mass for x in np.linspace(law.a, law.b, 99).tolist()) <= law.steepness


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30))
def test_distances_are_suprema(seed: int, count: int) -> None:
    """Beside every number, on either side, lies the supremum of |F_n - F|."""
    numbers = np.random.default_rng(seed).normal(0.5, 0.4, count)
    laws: dict[Callable[..., float], tuple[dict[str, float], Callable[[float], float]]] = {
        chance.normal_distance: ({"mean": 0.5, "std": 0.4}, NormalDist(0.5, 0.4).cdf),
        chance.uniform_distance: ({"a": 0.0, "b": 1.0}, lambda x: min(max(x, 0.0), 1.0)),
    }
    for measure, (given_, cdf) in laws.items():
        sides = [(abs(np.mean(numbers <= x) - cdf(x)), abs(np.mean(numbers < x) - cdf(x))) for x in numbers]
        assert abs(measure(numbers, **given_) - np.max(sides)) <= 2**-40


# Bounds of what is computed


@given(seed=st.integers(0, 2**32 - 1), m=st.integers(1, 40), n=st.integers(1, 40))
def test_orthogonality_is_within_its_bound(seed: int, m: int, n: int) -> None:
    a = np.random.default_rng(seed).standard_normal((max(m, n), min(m, n))).astype(np.float32)
    q = np.linalg.qr(a)[0].astype(np.float64)
    gap = np.max(np.abs(q.T @ q - np.eye(q.shape[1])))
    assert gap <= orthogonality((max(m, n), min(m, n)), FORMATS["float32"].u) < 1


@given(p=st.floats(0, 63 / 64), x=st.integers(1, 2**20), storage=st.sampled_from(["float32", "float16", "bfloat16"]))
def test_scaling_is_within_its_bound(p: float, x: int, storage: str) -> None:
    """Every step rounded, the longest way: p, 1 - p, the reciprocal, the product."""

    def fl(value: float) -> float:
        return float(round_to(value, storage))

    x_ = fl(x / 2**20)
    y = fl(x_ * fl(1.0 / fl(1.0 - fl(p))))
    exact = Fraction(x_) / (1 - Fraction(p))
    assert abs(Fraction(y) - exact) <= Fraction(scaling(p, FORMATS[storage].u)) * exact


# Right ones pass


@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
@pytest.mark.parametrize("storage", ["float32", "float64"])
def test_ours_pass(subject: Distribution, storage: str) -> None:
    report = d2lref.check(subject.name, f"d2lref:{'definition'}", precision=storage, cases="quick")
    assert report.ok, report
    random = {t.says for t in all_trials(subject) if t.chance} if subject.varies(simplest(subject)) else set()
    executed = {v.law for v in report.verdicts if v.executed}
    assert executed >= random | {"no global generator is touched"}


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
def test_torch_passes(subject: Distribution) -> None:
    report = d2lref.check(subject.name, "torch", cases="quick", seed=1)
    assert report.ok, report


def simplest(subject: Distribution) -> Case:
    return large_case(subject, 0, 0, QUICK)


REPEATED = 200
LOOSE = 1 / 20


@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.varies(simplest(s))], ids=lambda s: s.name)
def test_false_alarms_are_no_more_frequent_than_declared(subject: Distribution) -> None:
    """At alpha = 1/20, of 200 fresh samples of each law; the count is itself held to exact binomial odds."""
    most = chance.binomial(REPEATED, LOOSE, chance.EACH)[1]
    for trial in (t for t in all_trials(subject) if t.chance):
        alarms = spoken = 0
        for number in range(4 * REPEATED):
            case = large_case(subject, number, 1, 2**11)
            if not trial.when(case) or spoken == REPEATED:
                continue
            spoken += 1
            f = Sampler(subject, ours(subject), PRESETS["float64"], case, 2**11, LOOSE)
            alarms += hold(trial, f)[0].bad
        assert spoken == REPEATED, trial.says
        assert alarms <= most, f"{trial.says}: {alarms} of {REPEATED}"


# How far they see


@pytest.mark.parametrize("size", ["quick", "ci"])
def test_stated_effects_are_seen(size: str) -> None:
    """Those that chance.SIZES states: every one of 20 samples leaves its interval."""
    n, step = chance.SIZES[size], {"quick": 1.0, "ci": 1 / 2}[size]
    rng = np.random.default_rng(0)
    low, high = chance.chi_square(n, chance.EACH)
    keep = chance.binomial(n, 1 / 2, chance.EACH)
    reach = 3.0 * chance.bounded_mean(n, chance.EACH)
    for _ in range(20):
        z = rng.standard_normal(n)
        assert not low <= np.sum(((1 + step / 20) * z) ** 2) <= high
        assert abs(np.mean(z) + 0.06 * step) > chance.gaussian(chance.EACH) / math.sqrt(n)
        assert not keep[0] <= np.sum(rng.random(n) < 1 / 2 - step / 40) <= keep[1]
        narrow = (1 - step / 25) * (2.0 * rng.random(n) - 1.0)
        assert abs(3.0 * np.mean(narrow**2) - 1.0) > reach


# Mistakes

FAMILIES = {
    "inits._fixed": ("constant", "zeros", "ones", "eye", "dirac"),
    "inits._plain": ("uniform", "normal", "trunc_normal"),
    "inits._scaled": ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"),
    "inits._orthogonal": ("orthogonal",),
    "inits._sparse": ("sparse",),
    "ops._dropout": ("dropout", "dropout1d", "dropout2d", "dropout3d"),
}
FEW, MANY = 40, 12  # small and large cases on which a mistake is judged


@cache
def caught(subject: Distribution, mistake: Mistake) -> frozenset[str]:
    """Return the laws that catch a mistake."""
    small = [small_case(subject, n, 0, QUICK) for n in range(FEW)]
    large = [large_case(subject, n, 0, QUICK) for n in range(MANY)]
    return frozenset(t.says for t in all_trials(subject) if catches(t, subject, mistake, large if t.chance else small))


def catches(trial: Trial, subject: Distribution, mistake: Mistake, cases: list[Case]) -> bool:
    spoken = (case for case in cases if trial.when(case))
    return any(hold_mistake(trial, subject, mistake, case)[0].bad for case in spoken)


@cache
def known(subject: Distribution) -> tuple[Mistake, ...]:
    """Return the subject's mistakes and the generic ones."""
    return (*subject.mistakes, *common_mistakes(subject))


@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
def test_every_mistake_is_caught_by_the_laws_it_names(subject: Distribution) -> None:
    for mistake in known(subject):
        found = caught(subject, mistake)
        assert found, f"{mistake.says}: escaped"
        assert found >= set(mistake.caught_by), f"{mistake.says}: {set(mistake.caught_by) - found} let it through"


ALONE = frozenset(
    {
        "answers in the shape that is asked for, in the claimed format or a wider one",
        "the same seed gives the same numbers",
        "no global generator is touched",
        "inputs stay as they were",
        "bad input is refused",
        "every entry is the value",
        "ones on the diagonal, zeros off it",
        "a convolution hands on the first channels of each group",
        "the distribution has the right shape",
        "numbers do not come back",
        "the shorter side is orthonormal",
        "a column has its zeros",
        "y is x when not training or p is 0",
        "nothing is left where p is 1",
        "what is kept is x / (1 - p)",
        "the gradient has the mask of the answer",
        "channels are dropped as a whole",
    }
)
"""Laws that catch a mistake which no other law of its subject does. A statistic of the whole distribution and one of a
part of it see most mistakes together, so that not all can be here."""


def test_these_laws_catch_what_no_other_does() -> None:
    single = {says for s in SUBJECTS for m in known(s) if len(found := caught(s, m)) == 1 for says in found}
    assert single >= ALONE, ALONE - single


@pytest.mark.parametrize("names", FAMILIES.values(), ids=FAMILIES)
def test_families_know_six_mistakes(names: tuple[str, ...]) -> None:
    told = [m for name in names for m in catalogue.distributions()[name].mistakes]
    assert len(told) >= 6
    assert all(m.cites.startswith("https://github.com/") for m in told)


def test_every_distribution_has_its_family() -> None:
    assert sorted(IDS) == sorted(name for names in FAMILIES.values() for name in names)
    assert all(getattr(inits, n, None) or getattr(ops, n) for n in IDS)


# Cases, rejections, libraries


@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
def test_cases_are_valid_and_shrink_to_the_defaults(subject: Distribution) -> None:
    first = subject.cases(replayed([])).options
    defaults = {k: v for k, v in subject.options.items() if v is not REQUIRED}
    assert {k: first[k] for k in defaults} == defaults
    forms = [*subject.gallery, *(subject.cases(seeded(n), size) for n in range(200) for size in (12, 200, 2**16))]
    for form in forms:
        assert set(form.options) == {"shape", *subject.options}
        options = dict(form.options)
        assert subject.shape(options.pop("shape"), **options) == form.options["shape"]
        assert math.prod(form.options["shape"]) <= 2**20


@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
def test_bad_input_is_refused_in_these_words(subject: Distribution) -> None:
    for bad in subject.rejections:
        shape = bad.shapes[0] or ()
        first = np.ones(shape) if subject.operands else shape
        with pytest.raises(ValueError) as told:  # noqa: PT011 - the message is compared whole
            subject(first, rng=np.random.default_rng(0), **bad.options)
        assert str(told.value) == bad.message
        with pytest.raises(ValueError) as told:  # noqa: PT011 - as above
            subject.shape(shape, **bad.options)
        assert str(told.value) == bad.message


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize("name", FAMILIES["ops._dropout"])
def test_dropout_is_one_on_every_library(name: str, library: Library) -> None:
    subject = catalogue.distributions()[name]
    for number in range(40):
        case = small_case(subject, number, 0, QUICK)
        options = {k: v for k, v in case.options.items() if k != "shape"}
        x, gy = (data(case.options["shape"], case.seed + i).astype(np.float32) for i in (0, 1))
        for arrays, make in (((x,), subject.definition), ((gy, x), subject.vjp)):
            assert make is not None
            one = make(*arrays, rng=np.random.default_rng(7), **options)
            other = make(*(library.to(a, "float32") for a in arrays), rng=np.random.default_rng(7), **options)
            pairs = zip(*((a,) if not isinstance(a, tuple) else a for a in (one, other)), strict=True)
            assert all(np.array_equal(a, library.back(b)) for a, b in pairs)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_rare_truncated_numbers_are_drawn_too(p: float) -> None:
    """A piece of the tail, where numbers are not drawn from the normal law."""
    a, b = 2.0 + p, 3.0 + p
    drawn = inits.trunc_normal((2000,), rng=np.random.default_rng(0), a=a, b=b)
    assert a <= drawn.min() <= drawn.max() <= b
    assert abs(drawn.mean() - chance.Truncated(0.0, 1.0, a, b).mean) <= chance.bounded_mean(2000, chance.EACH)


# What a run tells


def wrong_normal(shape: Any, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    """It takes std for the variance."""
    return (mean + math.sqrt(std) * rng.standard_normal(shape)).astype(np.float32)


def test_a_finding_tells_statistic_interval_odds_and_size() -> None:
    report = d2lref.check("normal", wrong_normal, cases="quick")
    assert not report.ok
    assert report.exit_code == 1
    finding = next(f for f in report.findings if f.law == "the variance is right")
    assert "mean square distance of the answers from their mean: " in finding.verdict.note
    assert "expected in [" in finding.verdict.note
    assert f"alpha {chance.EACH:.2g}, " in finding.verdict.note
    assert "numbers; chi-square, Laurent and Massart 2000" in finding.verdict.note
    assert finding.verdict.tier == "chance"
    assert "half" not in str(finding.diagnosis)
    assert "times as far from the middle of its interval" in str(finding)
    json.dumps(report.to_json(), allow_nan=False)


def test_a_known_mistake_is_named() -> None:
    mistake = next(m for m in inits.kaiming_normal.mistakes if m.says == "swaps fan_in and fan_out")
    report = d2lref.check("kaiming_normal", mistake.forward, cases="quick")
    assert {f.diagnosis.mistake for f in report.findings} == {mistake.says}


WRONG = '''
"""A stranger's."""
import numpy as np


def normal(shape, *, rng, mean=0.0, std=1.0):
    return rng.normal(mean, 1.1 * std, shape).astype(np.float32)


def dropout(x, *, p=0.5, training=True, rng):
    if not training:
        return x
    return np.where(rng.random(x.shape[-1]) >= p, x * np.float32(1 / (1 - p)), np.float32(0)) if p < 1 else 0 * x


def orthogonal(shape, *, rng, gain=1.0):
    if len(shape) < 2:
        raise ValueError(shape)
    rows, columns = shape[0], int(np.prod(shape[1:]))
    q = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))[0]
    return gain * (q if rows >= columns else q.T).reshape(shape)


def zeros(shape, *, rng):
    np.random.rand()
    x = np.zeros(shape)
    x[0] = 1
    return x
'''


@pytest.mark.parametrize("name", ["normal", "dropout", "orthogonal", "zeros"])
def test_programs_show_what_was_found(name: str, tmp_path: Path) -> None:
    """Each is a program of its own that ends in an AssertionError; the report replays."""
    file, out = tmp_path / f"strange_{name}.py", tmp_path / "report.json"
    file.write_text(WRONG, encoding="utf-8")
    assert cli.status(["check", name, f"{file}:{name}", "--cases", "quick", "--json", str(out)]) == 1
    found = json.loads(out.read_text(encoding="utf-8"))["findings"]
    assert found
    for finding in found:
        program = tmp_path / "program.py"
        program.write_text(finding["reproduction"], encoding="utf-8")
        run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
        wanted = "raise" if "bad input" in finding["law"] else "assert"
        assert run.returncode == 1, run.stdout
        assert "AssertionError" in run.stderr, (wanted, run.stderr)
    assert cli.status(["replay", str(out)]) == 1


def test_a_module_offers_the_functions_that_take_a_generator(tmp_path: Path) -> None:
    file = tmp_path / "offered.py"
    file.write_text(f"{WRONG}\n\nfrom numpy import eye, ones\n", encoding="utf-8")
    assert catalogue.targets(str(file)) == [n for n in IDS if n in {"normal", "dropout", "orthogonal", "zeros"}]
    assert set(IDS) <= set(catalogue.targets("d2lref"))


def raising(*_shape: Any, **_options: Any) -> Any:
    raise RuntimeError("no")


def test_what_breaks_is_an_error_and_what_is_no_array_fails() -> None:
    report = d2lref.check("zeros", raising, cases=10)
    assert [f.verdict.status for f in report.findings] == [Status.ERROR]
    assert not report.ok
    report = d2lref.check("zeros", lambda shape, *, rng: "nothing", cases=10)
    assert not report.ok
    assert "expected real numbers" in str(report)
    report = d2lref.check("zeros", lambda shape, *, rng: np.zeros((1, *shape)), cases=10)
    assert "has shape" in str(report)
    report = d2lref.check("normal", lambda shape, *, rng, **options: np.full(shape, np.nan), cases=10)
    assert {v.status for v in report.verdicts if v.law == "the mean is right"} == {Status.FAIL}


def test_what_is_not_supported_is_not_drawn() -> None:
    def standard(shape: Any, *, rng: Any) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    report = d2lref.check("normal", standard, cases="quick")
    assert report.ok, report
    assert report.counts["unsupported"]
    assert report.coverage["std"].keys() == {"1.0 (default)"}
    narrowed = d2lref.check("dropout", ops.dropout.definition, supports={"training": False}, cases=40)
    assert set(narrowed.coverage["training"]) == {"True (default)"}
    assert {v.status for v in narrowed.verdicts if v.law == "the gradient has the mask of the answer"} == {"absent"}


def test_an_interrupted_run_tells_what_it_found() -> None:
    left = iter(range(30))

    def tiring(shape: Any, *, rng: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return rng.standard_normal(shape, dtype=np.float32) + 1

    with pytest.raises(Interrupted) as stop:
        d2lref.check("zeros", tiring, cases="quick")
    report = stop.value.report
    assert report.interrupted
    assert report.exit_code == 130
    assert "every entry is the value" in {f.law for f in report.findings}


def test_it_has_the_doors_of_ops() -> None:
    assert [law.says for law in d2lref.laws("normal")] == [t.says for t in all_trials(inits.normal)]
    items = d2lref.conforms("zeros", cases=10)(inits.zeros.definition)
    assert items.__name__ == "test_zeros"
    with pytest.raises(ValueError, match="'dropout' is drawn at random, expected an op"):
        d2lref.expected("dropout", np.ones(3))
    with pytest.raises(ValueError, match="supports has no key 'layouts'"):
        d2lref.check("normal", inits.normal.definition, supports={"layouts": ()})


def test_time_and_a_first_failure_end_a_run() -> None:
    report = d2lref.check("uniform", inits.uniform.definition, cases="0.2s")
    assert report.ok, report
    stopped = d2lref.check("normal", wrong_normal, cases="quick", on_fail="stop")
    assert not stopped.ok
    assert stopped.counts["cases"] < d2lref.check("normal", wrong_normal, cases="quick").counts["cases"]


def test_a_run_leaves_the_global_generator_alone() -> None:
    before = NUMPY.state()
    d2lref.check("dropout", ops.dropout.definition, vjp=ops.dropout.vjp, cases="quick")
    assert before == NUMPY.state()


@pytest.mark.parametrize("subject", SUBJECTS, ids=IDS)
def test_every_reading_has_its_theorem(subject: Distribution) -> None:
    for number in range(8):
        for case, large in (
            (small_case(subject, number, 0, QUICK), False),
            (large_case(subject, number, 0, QUICK), True),
        ):
            f = sampler(subject, ours(subject), F32, case)
            for trial in (t for t in all_trials(subject) if t.chance == large and t.when(case)):
                reading = hold(trial, f)[1]
                assert reading is None or reading.theorem, trial.says
                assert reading is None or (reading.alpha > 0) == trial.chance, trial.says
