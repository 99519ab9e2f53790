"""Arms that answer the same question: judge their answers, time them in turns, hand them to pytest-benchmark.

The surface of pytest-benchmark that is not public, and is used here alone: a fixture's `_mode` (a fixture without one
counts as unused), `_make_stats(iterations)` (adds an entry to the session) and that a shallow copy of the fixture may
make entries of its own. `properties/test_pairing.py` fails when that changes.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import machine, records
from benchmarks.clocks import Clock
from benchmarks.pairing import Interrupted, Limits, Measured, interleave

MEANINGFUL = 2  # complete rounds; an interrupted comparison with fewer says nothing


@dataclass(frozen=True)
class Arm:
    """A call without arguments, and the judge of its answer: raises AssertionError when it is wrong."""

    call: Callable[[], object]
    judge: Callable[[object], None]


@dataclass(frozen=True)
class Device:
    """Where the arrays live ("cpu" or "cuda") and the clock that times there."""

    name: str
    clock: Clock


@dataclass(frozen=True)
class Subject:
    """What the arms compute: stands in every row. `work` has the useful operations and least bytes of a call."""

    group: str
    case: str
    device: str = "cpu"
    networks: Mapping[str, int] = field(default_factory=dict)
    work: Mapping[str, int] = field(default_factory=dict)
    control: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as plain JSON."""
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class Versus:
    """Compare arms within one test; what the fixture of the same name returns."""

    benchmark: BenchmarkFixture
    run: records.Run
    limits: Limits

    def __call__(self, arms: Mapping[str, Arm], subject: Subject, clock: Clock) -> Measured | None:
        """Judge every arm once, then time them against the first; None where benchmarks are disabled.

        Raises AssertionError for a wrong answer, before anything is timed: a wrong fast operation is not a result. On
        Ctrl-C what was measured is kept, and the interrupt goes on.
        """
        self.benchmark._mode = "versus"  # noqa: SLF001 - see above
        with machine.pinned() as threads:
            _judge(arms)
            if self.benchmark.disabled:
                return None
            try:
                measured = interleave({name: arm.call for name, arm in arms.items()}, clock, self.limits)
            except Interrupted as interrupt:
                self._keep(interrupt.measured, subject, threads)
                raise
            self._keep(measured, subject, threads)
        return measured

    def _keep(self, measured: Measured, subject: Subject, threads: int) -> None:
        if measured.rounds < MEANINGFUL:
            return
        about = {"test": self.benchmark.fullname, **subject.as_dict()}
        baseline, *others = measured.arms
        rows = {baseline: {"arm": baseline, "baseline": baseline, **about, "clock": measured.clock}}
        rows |= {name: records.comparison(measured, name, about, threads) for name in others}
        blocks = {name: records.rounds(series) for name, series in measured.arms.items()}
        for name, row in rows.items():
            self._enter(name, measured, {"versus": row, "rounds": blocks[name]})
        for name in others:
            self.run.compared(rows[name], {"self": blocks[name], "baseline": blocks[baseline]})

    def _enter(self, name: str, measured: Measured, information: Mapping[str, Any]) -> None:
        """Make the arm an ordinary entry of pytest-benchmark: in its table, its files and its comparisons."""
        entry = copy.copy(self.benchmark)
        entry.group = self.benchmark.group or self.benchmark.name
        entry.name, entry.fullname = f"{entry.name}@{name}", f"{entry.fullname}@{name}"
        entry.extra_info = {**self.benchmark.extra_info, **information}
        series = measured.arms[name]
        stats = entry._make_stats(series.calls)  # noqa: SLF001 - see above
        for seconds in series.seconds:
            stats.update(float(seconds) * series.calls)


def _judge(arms: Mapping[str, Arm]) -> None:
    for name, arm in arms.items():
        try:
            arm.judge(arm.call())
        except AssertionError as error:
            pytest.fail(f"{name}: wrong answer, so it was not timed\n{error}", pytrace=False)
