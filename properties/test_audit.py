"""What the judge catches of copies of the chapters with one place changed, and what the audit says of it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2lref import ops
from d2lref.catalogue import equivalents
from d2lref.cli import status
from d2lref.oracle.audit import LEAST, Audit, Cases, Fate, audit, fates, mutations
from d2lref.oracle.mutants import mutants
from d2lref.spec import Op
from properties.worlds import TEXTS

pytestmark = pytest.mark.once

CASES = 300  # on which a mutant must be seen here; `d2lref audit` takes more, and judges them all
SAMPLE = 12  # mutants of each op
UNARGUED = {
    *("elu", "hardsigmoid", "hardswish", "leaky_relu", "prelu", "relu6", "sigmoid", "silu", "tanh"),
    *("softmax", "log_softmax", "instance_norm", "rms_norm", "local_response_norm"),
    *("l1_loss", "mse_loss", "smooth_l1_loss", "nll_loss", "cross_entropy", "binary_cross_entropy_with_logits"),
    *("corr2d", "convolve2d", "max_pool2d", "lp_pool2d"),
    *("max_pool2d_with_indices", "adaptive_max_pool2d_with_indices"),
}
"""Ops some of whose mutants survive and are not argued to be equivalent yet, one by one (the losses of a distance have
none: their functions are methods). `d2lref audit` says so of each."""


def sampled(op: Op) -> Iterator[Fate]:
    """Yield the fates of some mutants, evenly spread over the text of the chapter."""
    count = sum(1 for _ in mutants(op))
    chosen = mutations(op, min(1.0, SAMPLE / count))
    return fates(op, chosen, Cases(op), CASES, equivalents())


@pytest.mark.parametrize("op", [op for op in TEXTS if op.name not in UNARGUED], ids=lambda op: op.name)
def test_mutants_are_caught_beside_the_definition_and_inside_it(op: Op) -> None:
    for fate in sampled(op):
        assert fate.caught or fate.equivalent, f"survived: {fate.wrong.says}"
        assert fate.inside or fate.equivalent or fate.raises, f"survived inside the definition: {fate.wrong.says}"


def test_a_mutant_changes_one_place_and_nothing_that_is_imported() -> None:
    before = {
        name: (module, dict(vars(module))) for name, module in sys.modules.items() if name.startswith("d2lref.ops")
    }
    found = list(mutants(ops.avg_pool2d))
    assert {name: (sys.modules[name], dict(vars(sys.modules[name]))) for name in before} == before
    assert len({str(m) for m in found}) > 100
    assert all(m.forward is not ops.avg_pool2d.definition and m.vjp is not ops.avg_pool2d.vjp for m in found)
    for mutant in found:
        was, now = mutant.change.split(" -> ", 1)
        assert was != now
    assert {m.place.split(".")[1] for m in found} == {"avg_pool", "grid"}  # what lies beside the definition too


def test_mutants_leave_the_checks_of_the_input_alone() -> None:
    assert not [m for m in mutants(ops.conv2d) if "_check" in m.place or "raise" in m.change]


def test_an_audit_counts_what_is_caught_and_says_what_is_not() -> None:
    found = audit(ops.relu, cases=200, equivalent=equivalents())
    assert found.ok, str(found)
    assert found.score(written=True) == found.score(written=False) == 1
    assert not found.idle
    unargued = audit(ops.relu, cases=200)
    assert not unargued.ok
    assert unargued.score(written=False) < LEAST
    survivors = [fate.wrong.says for fate in unargued.survivors()]
    assert sorted(survivors) == sorted(key for key in equivalents() if key.startswith("_relu."))
    assert all(f"survived: {says}" in str(unargued) for says in survivors)


def test_an_argument_does_not_excuse_what_is_caught() -> None:
    told = dict.fromkeys([str(m) for m in mutants(ops.relu)], "They are all the same to me.")
    found = audit(ops.relu, cases=200, equivalent=told)
    assert sorted(f.wrong.says for f in found.fates if f.equivalent) == sorted(
        key for key in equivalents() if key.startswith("_relu.")
    )


def test_an_interrupted_audit_tells_what_it_has() -> None:
    def stop(progress: object) -> None:
        if getattr(progress, "done", 0) == 3:
            raise KeyboardInterrupt

    found: Audit = audit(ops.relu, cases=50, progress=stop)
    assert found.interrupted
    assert not found.ok
    assert len(found.fates) == 3
    assert "interrupted" in found.headline()


def test_the_command_writes_every_fate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    assert status(["audit", "relu", "--cases", "200", "--json", str(out)]) == 0
    assert "relu: ok; " in capsys.readouterr().out
    assert status(["audit", "relux"]) == 2
    assert status(["audit", "relu", "--share", "2"]) == 2
    assert status(["audit", "relu", "--share", "nan"]) == 2
    assert status(["audit", "l1_loss"]) == 2
    assert capsys.readouterr().err.count("\n") == 4
    assert '"schema": "d2lref-audit"' in out.read_text(encoding="utf-8")
