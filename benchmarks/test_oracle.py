"""The speed of the judge itself: how long `check` takes, how many cases a second and core, how soon it finds."""

import time
import zlib
from typing import TYPE_CHECKING

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import d2lref
from benchmarks import machine, records
from d2lref import catalogue
from d2lref.oracle import Implementation, all_mistakes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from d2lref.oracle import Report
    from d2lref.spec import Mistake, Op

    Sought = tuple[Op, Mistake]

OPS = catalogue.subjects()


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


def sample() -> "Iterable[Sought]":
    """Yield one mistake of every op but those of one and three axes of space, chosen by the op's name."""
    for name, op in OPS.items():
        if name.endswith(("1d", "3d")):
            continue
        every = all_mistakes(op)
        yield op, every[zlib.crc32(name.encode()) % len(every)]


def seek(op: "Op", mistake: "Mistake") -> "Report":
    """Judge a mistake as a stranger's implementation until it is found, made minimal and named."""
    it = Implementation(mistake.says, mistake.forward or op.definition, mistake.vjp or op.vjp)
    return d2lref.check(op, it, cases="quick", on_fail="stop")


@pytest.mark.parametrize("name", [pytest.param("sample", marks=pytest.mark.quick), *OPS])
def test_a_mistake_is_found(benchmark: BenchmarkFixture, run: records.Run, name: str) -> None:
    """Look for every known mistake of an op, or for one of each of some ops."""
    if name != "sample" and not benchmark.enabled:
        pytest.skip("untimed it shows what the properties show")
    wanted = list(sample()) if name == "sample" else [(OPS[name], each) for each in all_mistakes(OPS[name])]

    def look() -> list[str]:
        escaped = []
        for op, mistake in wanted:
            started = time.process_time()
            report = seek(op, mistake)
            seconds = time.process_time() - started
            escaped += [] if report.findings else [f"{op.name}: {mistake.says}"]
            if benchmark.enabled:
                told = (benchmark.fullname, mistake.says, report, seconds, threads)
                run.sought(records.search(*told, own=mistake in op.mistakes))
        return escaped

    seek(*wanted[0])  # loads what is loaded once
    with machine.pinned() as threads:
        assert benchmark.pedantic(look) == []
