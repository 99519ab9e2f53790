"""Where frameworks differ, each convention is judged by its own definition, and told from the others."""

import itertools
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.cli import status
from d2lref.oracle import Report
from d2lref.oracle.conventions import TORCH, under
from d2lref.spec import FRAMEWORKS, Convention, Op
from properties.worlds import OPS, TEXTS

pytestmark = pytest.mark.once

KNOWN = [(op, c) for op in OPS for c in op.conventions]


def meaning(c: Convention) -> tuple[Any, ...]:
    """Return what makes a convention: two frameworks may share it."""
    return (c.says, *sorted(c.defaults.items()))


def distinct(op: Op) -> list[Convention]:
    """Return the conventions of an op, torch's first, one of each meaning."""
    return list({meaning(c): c for c in reversed((TORCH, *op.conventions))}.values())


TOLD = [(op, c) for op in TEXTS for c in distinct(op) if c is not TORCH]
PAIRS = [(op, *pair) for op in TEXTS for pair in itertools.permutations(distinct(op), 2) if TORCH in pair]


def judged(op: Op, claimed: Convention, followed: Convention, cases: int) -> Report:
    """Return the report on what one framework computes when another's convention is claimed for it."""
    theirs = under(op, followed.name)
    return d2lref.check(
        op, theirs.definition, vjp=theirs.vjp, convention=claimed.name, precision="float64", cases=cases
    )


@pytest.mark.parametrize(("op", "c"), KNOWN, ids=[f"{op.name}-{c.name}" for op, c in KNOWN])
def test_a_convention_is_told_once_with_its_source(op: Op, c: Convention) -> None:
    assert c.name in FRAMEWORKS[1:]
    assert [other.name for other in op.conventions].count(c.name) == 1
    assert c.says
    assert c.source
    assert all(op.options[name] != value for name, value in c.defaults.items() if name != "eps" or c.means is None)
    assert set(c.without) <= {law.says for law in op.laws}


@pytest.mark.parametrize(("op", "c"), TOLD, ids=[f"{op.name}-{c.name}" for op, c in TOLD])
def test_the_definition_under_a_convention_obeys_its_laws(op: Op, c: Convention) -> None:
    report = judged(op, c, c, 100)
    assert report.ok, str(report)
    assert f"(convention {c.name})" in report.implementation


@pytest.mark.parametrize(
    ("op", "claimed", "followed"), PAIRS, ids=[f"{op.name}-{a.name}-{b.name}" for op, a, b in PAIRS]
)
def test_a_wrong_convention_is_caught_and_named(op: Op, claimed: Convention, followed: Convention) -> None:
    report = judged(op, claimed, followed, 100)
    assert not report.ok
    named = {found.diagnosis.convention for found in report.findings}
    same = [c.name for c in (TORCH, *op.conventions) if meaning(c) == meaning(followed)]
    assert named & {f"{name!r}: {followed.says}" for name in same}, str(report)


def test_momentum_weights_the_old_statistic_elsewhere() -> None:
    x, zero, one = np.array([[1.0], [5.0]]), np.zeros(1), np.ones(1)
    for name, var in (("torch", 1 + 7 / 4), ("keras", 3 / 4 + 4 / 4)):
        options = {"training": True, "momentum": 1 / 4 if name == "torch" else 3 / 4}
        _, mean, new = under(d2lref.ops.batch_norm, name)(x, zero, one, **options)
        assert mean == 3 / 4
        assert new == var or name == "torch"


def test_laws_that_do_not_hold_elsewhere_are_not_asked() -> None:
    here, there = ({law.says for law in d2lref.laws("batch_norm", convention=c)} for c in ("torch", "keras"))
    assert here - there == {law for law in here if law.startswith("momentum")}
    test = d2lref.conforms("batch_norm", convention="keras")(lambda *_: None)
    (mark,) = test.pytestmark  # type: ignore[attr-defined]
    assert set(mark.args[1]) == there


@pytest.mark.parametrize("name", ["kears", 3, ""])
def test_a_convention_that_does_not_exist_is_refused(name: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^convention: .*, expected one of torch, jax, flax, tensorflow, keras, onnx$"
    ):
        d2lref.check("relu", np.abs, convention=name)


def test_an_op_without_a_difference_is_the_same_everywhere() -> None:
    assert under(d2lref.ops.relu, "keras") is d2lref.ops.relu
    assert len(d2lref.laws("dropout", convention="keras")) == len(d2lref.laws("dropout"))


def test_the_command_line_takes_a_convention(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.json"
    asked = ["check", "gelu", "d2lref:definition", "--cases", "60", "--json", str(out)]
    assert status([*asked, "--convention", "torch"]) == 0
    assert status([*asked, "--convention", "gelu"]) == 2
    (tmp_path / "mine.py").write_text(
        "from d2lref.ops import gelu\n\ndef mine(x, *, approximate='none'): return gelu(x, approximate=approximate)\n"
    )
    assert status([*asked[:2], f"{tmp_path}/mine.py:mine", *asked[3:], "--convention", "jax"]) == 1
    assert "consistent with convention 'torch'" in capsys.readouterr().out
    assert status(["replay", str(out)]) == 1
    assert status(["explain", "gelu"]) == 0
    assert "jax: by tanh, unless asked otherwise; by default approximate='tanh'" in capsys.readouterr().out
