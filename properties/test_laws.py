"""Every law of every op holds of every variant on every array library, in float64 and float32."""

import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from d2lref.oracle import Caller, Library, all_laws, hold
from d2lref.oracle.judge import Status
from d2lref.oracle.sources import Drawn
from d2lref.rounding import using
from d2lref.spec import Op
from properties.worlds import LIBRARIES, SUBJECTS, TEXTS, accepted_cases, cases, ours

SAME = pytest.mark.once  # one text with an op of TEXTS: its interpreter and its libraries are asked there
WORLDS = [
    pytest.param(op, variant, library, id=f"{op.name}-{variant}-{library.name}", marks=() if op in TEXTS else SAME)
    for op, variant in SUBJECTS
    for library in LIBRARIES
]


def assert_all_hold(f: Caller, drawn: Drawn) -> float:
    """Assert every law that speaks about the case; return the largest ratio of difference to bound."""
    case = drawn.case
    worst = 0.0
    for law in all_laws(f.op):
        if not law.when(case):
            continue
        verdict = hold(law, f, case)
        assert not verdict.bad, f"{f.implementation.name}: {law.says}: {verdict} on {case}"
        worst = max(worst, verdict.ratio)
    return worst


@pytest.mark.parametrize(("op", "variant", "library"), WORLDS)
@given(data=st.data())
def test_every_law_holds(op: Op, variant: str, library: Library, data: st.DataObject) -> None:
    implementation = ours(op, variant, library)
    claimed = using(algorithm_of(op, variant), data.draw(st.sampled_from(["float32", "float64"])))
    drawn = data.draw(cases(op, claimed.storage, implementation))
    if drawn is not None:
        target(min(assert_all_hold(Caller(op, implementation, claimed), drawn), 1e6), label="error / bound")


@pytest.mark.once
@pytest.mark.parametrize(("op", "variant"), SUBJECTS, ids=[f"{op.name}-{variant}" for op, variant in SUBJECTS])
def test_every_law_is_executed(op: Op, variant: str) -> None:
    """The property above is no evidence for a law that no case reached: here each is reached, on NumPy, and decides."""
    from d2lref.oracle import NUMPY

    implementation = ours(op, variant, NUMPY)
    f = Caller(op, implementation, using(algorithm_of(op, variant)))
    decided, speaking = set(), set()
    for drawn in accepted_cases(op, implementation, 150):
        for law in all_laws(op):
            if law.says not in decided and law.when(drawn.case):
                status = hold(law, f, drawn.case).status
                decided |= {law.says} if status is Status.PASS else set()
                speaking |= {law.says} if status is not Status.UNSUPPORTED else set()
    assert decided == speaking
    if variant == "definition":
        assert decided == {law.says for law in all_laws(op)}


def algorithm_of(op: Op, variant: str) -> str:
    """Return the algorithm class of a variant's bound."""
    return op.variants[variant].algorithm if variant in op.variants else "any-order"
