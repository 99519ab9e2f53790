"""The speed of the judge itself: how long `check` takes, and how many cases a second and core."""

import time
from typing import TYPE_CHECKING

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import d2lref
from benchmarks import machine, records

if TYPE_CHECKING:
    from d2lref.oracle import Report


@pytest.mark.parametrize(
    "cases", [pytest.param("quick", marks=pytest.mark.quick), pytest.param("5s", marks=pytest.mark.quick), "ci"]
)
def test_check_conv2d(benchmark: BenchmarkFixture, run: records.Run, cases: str) -> None:
    """Judge the reference's unfold variant as a stranger's plain NumPy function; the shapes searched are mostly tiny.

    "5s" is seeded search alone; "quick" and "ci" end with Hypothesis. A whole check is timed, with the control that no
    law is vacuous.
    """
    spent: list[float] = []

    def judge() -> "Report":
        started = time.process_time()
        report = d2lref.check("conv2d", d2lref.ops.conv2d.variants["unfold"].run, cases=cases)
        spent.append(time.process_time() - started)
        return report

    d2lref.check("conv2d", d2lref.ops.conv2d.variants["unfold"].run, cases=20)  # loads Hypothesis
    with machine.pinned() as threads:
        report = benchmark.pedantic(judge)
    assert report.ok, str(report)
    if benchmark.enabled:
        run.timed(records.speed(benchmark.fullname, "conv2d", report.counts["cases"], spent, threads))
