"""A run meets what it should: sizes where kernels branch, every law alike, interrupts, and the state of the process."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref import cli, rounding
from d2lref.catalogue import reference
from d2lref.ops import conv2d, linear
from d2lref.oracle import Budget, Campaign, Implementation, Interrupted, Progress, Report
from d2lref.oracle.campaign import GRADIENTS, RENEWED
from d2lref.oracle.judge import Status
from d2lref.oracle.shrink import Search
from d2lref.oracle.sources import BLOCKS, NARROW, Choices, Corners, Drawn, replayed, seeded
from d2lref.spec import REQUIRED, Case, Claim, Form, Law, Op
from properties.strange import op as strange
from properties.test_oracle import no_scale, right, right_vjp
from properties.worlds import OPS

pytestmark = pytest.mark.once

IDS = [op.name for op in OPS]
Wrong = Callable[[Any], bool]


def campaign(op: Op, judged: Implementation, cases: str | int = "quick", **further: Any) -> Campaign:
    """Return a run that has not begun."""
    return Campaign(op, judged, rounding.precision("float32"), "float32", Budget.of(cases), 0, False, None, **further)


def drawn_forms(op: Op, cases: str = "quick") -> list[Form]:
    """Return the forms of a run, as if its laws were judged in between, without those that Hypothesis draws."""
    begun, forms = campaign(op, reference(op, "definition"), cases), []
    for drawn in begun.drawn():
        forms.append(drawn.form)
        begun.counts["cases"] += 1
    return forms


# Large sizes


class Sized(Choices):
    """Choices that remember what they said to `sizes`."""

    def sizes(self, *lows: int) -> tuple[int, ...]:
        """Return the sizes."""
        found = super().sizes(*lows)
        self.said = lows, found
        return found


def planned(op: Op, count: int) -> Iterator[dict[int, int]]:
    """Yield {place: width} of the sizes that were drawn wide, case by case."""
    corners = Corners()
    for number in range(count):
        choices = Sized(seeded(number)._index, corners)  # noqa: SLF001 - a seeded source that is listened to
        op.cases(choices)
        corners.settle(kept=True)
        yield {i: n for i, (low, n) in enumerate(zip(*choices.said, strict=True)) if n - low > 3}


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_place_and_every_pair_of_places_comes_in_turn(op: Op) -> None:
    """A quick run has room for about 85 such cases that are not held against the gradients.

    That is enough for the five sizes of a convolution. Normalised shapes have up to six, and not in every case.
    """
    met = list(planned(op, 85))
    places = max(i for wide in met for i in wide) + 1
    if places > 5:
        met = list(planned(op, 340))
    alone = {next(iter(w.items())) for w in met if len(w) == 1}
    assert alone >= {(i, n) for i in range(places) for n in NARROW if n > 20}
    pairs = {tuple(w) for w in met if len(w) == 2 and min(w.values()) > 20}
    assert pairs == set(itertools.combinations(range(places), 2))


def test_every_pair_of_blocks_comes_in_turn() -> None:
    block = {width: i for i, b in enumerate(BLOCKS) for width in b}
    lows = (1,) * 6
    corners, met = Corners(), Counter[Any]()
    for _ in range(500):
        wide = corners.next(lows)
        corners.settle(kept=True)
        met[tuple((place, block[n]) for place, n in wide.items() if len(wide) == 2)] += 1
    wanted = itertools.product(itertools.combinations(range(6), 2), itertools.product(range(3), repeat=2))
    assert all(met[(a, i), (b, j)] for (a, b), (i, j) in wanted)


def test_what_cannot_be_drawn_blocks_nothing() -> None:
    corners = Corners()
    for _ in range(300):
        corners.settle(kept=0 not in corners.next((1, 1)))
    assert corners.next((200, 200)) == {}
    assert min(n for kind, n in corners.met.items() if kind.places == (1,)) >= 16


def test_a_planned_size_replays_and_shrinks_like_any_other() -> None:
    corners = Corners()
    for number in range(200):
        choices = seeded(number, corners)
        sizes = choices.sizes(1, 2, 1, 1)
        corners.settle(kept=True)
        assert replayed(choices.record).sizes(1, 2, 1, 1) == sizes
        for place in range(len(choices.record)):
            lower = (*choices.record[:place], 0, *choices.record[place + 1 :])
            assert sum(replayed(lower).sizes(1, 2, 1, 1)) <= sum(sizes) + 6
    assert replayed([]).sizes(1, 2, 1, 1) == (1, 2, 1, 1)


def test_no_random_size_is_wide_beside_two_others() -> None:
    sizes = [seeded(n).sizes(1, 1, 1, 1) for n in range(5000)]
    wide = Counter(sum(n > 4 for n in s) for s in sizes)
    assert set(wide) == {0, 1, 2}
    assert all(max(s) <= 33 and sum(n > 2 for n in s) == 2 for s in sizes if sum(n > 4 for n in s) == 2)


AXES: dict[str, Callable[[Any], int]] = {
    "images": lambda f: f.shapes[0][0],
    "channels": lambda f: f.shapes[0][1],
    "height": lambda f: f.shapes[0][2],
    "width": lambda f: f.shapes[0][3],
    "filters": lambda f: f.shapes[1][0],
    "channels per group": lambda f: f.shapes[1][1],
    "groups": lambda f: f.options["groups"],
}


def test_a_quick_run_meets_every_narrow_width_of_every_axis_of_a_convolution() -> None:
    forms = drawn_forms(conv2d)
    for name, size in AXES.items():
        if name != "channels per group":  # it follows from the channels and the groups
            assert {size(form) for form in forms} >= set(NARROW), name


def is_32(size: Callable[[Any], int], form: Form) -> bool:
    """Return whether one size of a form is 32."""
    return size(form) == 32


BLOCKED: list[tuple[Op, str, Wrong]] = [
    (linear, "in and out", lambda f: f.shapes[0][-1] >= 16 and f.shapes[1][0] >= 16),
    (conv2d, "C/G and K", lambda f: f.shapes[1][1] >= 8 and f.shapes[1][0] >= 8),
    (conv2d, "N and C", lambda f: f.shapes[0][0] >= 8 and f.shapes[0][1] >= 8),
    (conv2d, "H and W", lambda f: f.shapes[0][2] >= 16 and f.shapes[0][3] >= 16),
    *((conv2d, f"{name} 32", partial(is_32, size)) for name, size in AXES.items()),
]


@pytest.mark.parametrize(("op", "wrong"), [(o, w) for o, _, w in BLOCKED], ids=[f"{o.name} {n}" for o, n, _ in BLOCKED])
@pytest.mark.parametrize("kind", ["forward", "vjp"])
def test_a_kernel_that_is_wrong_only_in_its_blocked_path_fails_quickly(op: Op, wrong: Wrong, kind: str) -> None:
    usual = {k: v for k, v in op.options.items() if v is not REQUIRED}

    def off(first: Any, arrays: tuple[Any, ...], options: dict[str, Any]) -> Any:
        form = Form(tuple(None if a is None else a.shape for a in arrays), {**usual, **options})
        return first + 1 if wrong(form) else first

    def forward(*arrays: Any, **options: Any) -> Any:
        y = op.definition(*arrays, **options)
        return off(y, arrays, options) if kind == "forward" else y

    def vjp(gy: Any, *arrays: Any, **options: Any) -> Any:
        gx, *others = op.vjp(gy, *arrays, **options)
        return (off(gx, arrays, options) if kind == "vjp" else gx, *others)

    assert not d2lref.check(op, forward, vjp=vjp, cases="quick", on_fail="stop").ok


# Few forms


def test_few_forms_come_again_with_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gallery, then as many as it says and one more every RENEWED cases; every regime, and block widths among them.

    Hypothesis climbs on the same forms, also where one more would be drawn.
    """
    cases = 4 * RENEWED + 200
    held: list[Drawn] = []

    def hold(_self: Campaign, _law: Law, _f: Any, drawn: Drawn) -> float:
        held.append(drawn)
        return 0.0

    monkeypatch.setattr(Campaign, "_hold", hold)
    begun = campaign(conv2d, replace(reference(conv2d, "definition"), forms=12), cases)
    begun.apart = ([], [])
    list(map(begun.judge, begun.drawn()))
    begun.climb()
    regimes: dict[str, set[str]] = defaultdict(set)
    for drawn in held:
        regimes[repr(drawn.form)].add(drawn.regime)
    assert len(held) == cases
    assert len(conv2d.gallery) < len(regimes) <= len(conv2d.gallery) + 12 + 4
    assert sum(met == set(conv2d.regimes) for met in regimes.values()) >= len(conv2d.gallery) + 12
    assert len({drawn.case.arrays[0].tobytes() for drawn in held}) > len(held) / 2
    assert {n for drawn in held for shape in drawn.form.shapes for n in shape or ()} >= set(NARROW[:3])


def test_a_form_that_comes_again_has_the_record_that_replays_it() -> None:
    judged = replace(reference(conv2d, "definition"), forms=4)
    begun = campaign(conv2d, judged, 200)
    for drawn in begun.drawn():
        begun.counts["cases"] += 1
        assert drawn.record is None or conv2d.cases(replayed(drawn.record)) == drawn.form


# Whose turn it is


@pytest.mark.parametrize("vjp", [right_vjp, None], ids=["with a vjp", "without"])
def test_every_law_is_reached_equally_often(vjp: Any) -> None:
    report = d2lref.check(strange, right, vjp=vjp, cases=3000)
    executed = {v.law: v.executed for v in report.verdicts if v.status is not Status.ABSENT}
    cases = report.counts["cases"]
    assert executed.pop("agrees with the definition") == cases
    if vjp:
        assert abs(executed.pop("gradients agree with the reference's") - cases / GRADIENTS) <= 1
    assert max(executed.values()) - min(executed.values()) <= 2, executed  # some are silent on a batch of one
    assert 2 <= report.counts["executed"] / cases <= 2.5


def test_no_law_keeps_step_with_the_gradients_or_the_planned_sizes() -> None:
    begun = campaign(strange, d2lref.oracle.implementation(strange, right, vjp=right_vjp))
    case = next(d.case for d in begun.drawn() if all(law.when(d.case) for law in begun.laws))
    turns = {law.says: set[int]() for law in begun.laws}
    for number in range(6 * len(turns) ** 2):
        for law in begun._turn(number, case):  # noqa: SLF001 - the order is what is tested
            turns[law.says].add(number % 6)
    del turns["gradients agree with the reference's"]
    assert set(map(frozenset, turns.values())) == {frozenset(range(6))}


# Interrupts


def interrupted(f: Any, after: int, **options: Any) -> Report:
    """Return the report of a run that Ctrl-C ends when `after` cases are judged."""

    def stop(progress: Progress) -> None:
        if progress.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        d2lref.check(strange, f, progress=stop, **options)
    return stopped.value.report


def failed(report: Report) -> set[str]:
    """Return the laws that failed."""
    return {v.law for v in report.verdicts if v.status is Status.FAIL}


def test_what_failed_before_an_interrupt_is_told_as_it_was_met() -> None:
    report = interrupted(no_scale, 200)
    assert failed(report) == {f.law for f in report.findings} != set()
    assert "is not minimal: the run was interrupted" in str(report)
    assert report.to_json()["findings"]


def test_an_interrupt_while_shrinking_keeps_the_findings_that_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = d2lref.check(strange, no_scale, cases="quick")
    assert len(whole.findings) > 1
    begun, over = Counter[str](), Search.over

    def stopped(search: Search) -> bool:
        begun[str(search.deadline)] += 1
        if len(begun) == 2:  # the second finding
            raise KeyboardInterrupt
        return over(search)

    monkeypatch.setattr(Search, "over", stopped)
    with pytest.raises(Interrupted) as stop:
        d2lref.check(strange, no_scale, cases="quick")
    report = stop.value.report
    assert failed(report) == {f.law for f in report.findings}
    assert [f.diagnosis.asked for f in report.findings] == [True, *[False] * (len(report.findings) - 1)]
    assert str(report.findings[0]) == str(whole.findings[0])


def test_nothing_is_asked_of_the_implementation_after_an_interrupt() -> None:
    calls = Counter[str]()

    def counted(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        calls["all"] += 1
        return no_scale(x, weight, scale=scale)

    def stop(progress: Progress) -> None:
        if progress.done >= 100:
            calls["until then"] = calls["all"]
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        d2lref.check(strange, counted, progress=stop)
    assert stopped.value.report.findings
    assert calls["all"] == calls["until then"]


TWICE = """
import sys
from d2lref.oracle.campaign import Campaign
from d2lref.__main__ import main

def again(*_):
    raise KeyboardInterrupt

Campaign.climb = Campaign._as_met = again
main()
"""


def test_a_second_interrupt_ends_it_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "kernels.py"
    path.write_text("def relu(x):\n    return x\n")
    command = [sys.executable, "-c", TWICE, "check", "relu", f"{path}:relu", "--cases", "quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "d2lref: interrupted\n")


LATE = """
import atexit, os, signal, sys
from d2lref.oracle.campaign import Campaign
from d2lref.__main__ import main

def interrupt(*_):
    raise KeyboardInterrupt

Campaign.climb = interrupt
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT to oneself is POSIX")
def test_a_second_interrupt_that_comes_when_all_is_written_changes_nothing(tmp_path: Path) -> None:
    path, out = tmp_path / "kernels.py", tmp_path / "report.json"
    path.write_text("def relu(x):\n    return x\n")
    command = [sys.executable, "-c", LATE, "check", "relu", f"{path}:relu", "--cases", "quick", "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
    assert json.loads(out.read_text())["findings"]


# The state of the process


def plain(report: Report) -> dict[str, Any]:
    """Return a report without what differs between two equal runs."""
    return {**report.to_json(), "seconds": 0, "implementation": ""}


def test_the_settings_of_numpy_do_not_reach_the_judge() -> None:
    calm = d2lref.check(strange, right, vjp=right_vjp, cases="quick")
    with np.errstate(all="raise"):
        strict = d2lref.check(strange, right, vjp=right_vjp, cases="quick")
        assert np.geterr()["over"] == "raise"
    assert calm.ok
    assert plain(strict) == plain(calm)


def test_what_a_kernel_does_to_the_process_does_not_reach_the_judge() -> None:
    def meddling(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        np.seterr(all="raise")
        np.random.seed(0)  # noqa: NPY002 - the global generator is what it meddles with
        random.seed(0)
        with np.errstate(all="ignore"):
            return right(x, weight, scale=scale)

    def told(f: Any) -> dict[str, Any]:
        return plain(d2lref.check(strange, f, precision="float64", cases="quick"))

    before = np.geterr()
    assert told(meddling) == told(right)
    assert np.geterr() == before


# Controls


def wrong_when_doubled(f: Any, case: Case) -> Claim:
    """A law whose only mistake shows where the scale is not 1."""
    return Claim(f(*case.arrays, **case.options).value, strange.definition(*case.arrays, **case.options), np.inf)


def test_a_law_whose_mistakes_do_not_act_on_what_is_supported_is_not_vacuous() -> None:
    law = Law("the scale is obeyed", wrong_when_doubled)
    doubled = replace(strange.mistakes[1], caught_by=(law.says,))
    narrow = replace(strange, laws=(law,), mistakes=(doubled,), rejections=())
    assert d2lref.check(narrow, right, supports={"scale": False}, cases="quick").counts["vacuous"] == 0
    assert d2lref.check(narrow, right, cases="quick").counts["vacuous"] == 1


def test_an_implementation_of_inference_alone_can_be_ok() -> None:
    batch_norm = d2lref.ops.batch_norm

    def inference(*arrays: Any, **options: Any) -> Any:
        return batch_norm.definition(*arrays, **options)

    report = d2lref.check("batch_norm", inference, vjp=batch_norm.vjp, supports={"training": False}, cases="quick")
    assert report.ok, str(report)
    assert set(report.coverage["training"]) == {"False (default)"}


def test_the_coverage_tells_lengths_dtypes_and_memory_orders() -> None:
    report = d2lref.check("nll_loss", d2lref.ops.nll_loss.definition, cases=200)
    assert report.coverage["dtype"] == {"float32": 200, "int64": 200}
    assert {"1", "2-6", "7-9", "15-17", "31-33"} <= set(report.coverage["axis"])
    assert {"plain", "channels_last", "fortran"} <= set(report.coverage["memory order"])
    assert "  executed     dtype: float32 200, int64 200" in str(report)


# The command line


@pytest.mark.parametrize("stray", [SystemExit(0), GeneratorExit("panic")], ids=["exit", "panic"])
def test_whatever_ends_a_run_is_code_4(
    stray: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(*_: object) -> None:
        raise stray

    path = tmp_path / "kernels.py"
    path.write_text("def relu(x):\n    return x\n")
    monkeypatch.setattr(Campaign, "climb", end)
    assert cli.status(["check", "relu", f"{path}:relu", "--cases", "quick"]) == 4
    assert f"the judge itself failed: {type(stray).__name__}" in capsys.readouterr().err


def test_an_interrupt_outside_a_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "slow.py"
    path.write_text("raise KeyboardInterrupt\n")
    assert cli.status(["check", "relu", f"{path}:relu"]) == 130
    assert capsys.readouterr().err == "d2lref: interrupted\n"
