"""What a run writes, and in which shape.

Three places hold the same rows:

`--benchmark-json=FILE`: pytest-benchmark's own file. Every arm is an ordinary entry of `benchmarks`, named
`<test>@<arm>`; its `extra_info` holds `versus` (the row below; for the baseline only what was timed) and `rounds`.
`machine_info["d2lref"]` is `machine` below. At the top level stands:

    "d2lref": {
      "schema": "d2lref.benchmarks", "version": 1,
      "machine": {...},                     what stays the same (machine.describe)
      "began": {...}, "ended": {...},       what does not (machine.moment: "at" in UTC, "load", "gpu")
      "noise": {"host": 0.011},             worst deviation of the A/A controls, per clock (0.011 is 1.1 %)
      "comparisons": [row, ...],            one per arm that is not a baseline; controls among them
      "speeds": [speed, ...],               the judge itself
      "searches": [search, ...]             how long it takes to find a known mistake
    }

A row:

    "id": "benchmarks/test_conv.py::test_conv2d[cpu-1x256x56x56-256k3p1]@numpy:unfold"      the entry's `fullname`
    "test": the part before "@", "arm": the part after it, "baseline": "torch"
    "group": "conv2d", "case": "1x256x56x56-256k3p1", "networks": {"vgg11": 1, "vgg16": 2}, "device": "cpu" | "cuda",
    "clock": "host" | "cuda-hot" | "cuda-cold", "control": false,
    "ratio": {"value", "lo", "hi", "confidence", "kind": "quiet" | "cpu-time" | "loaded", "pairs", "of", "wall", "cpu",
              "order"}                      see pairing.Ratio; time of the arm / time of the baseline
    "flags": ["load", "order", "wide", "control"]      why it supports no verdict (pairing.doubts); empty: it does
    "seconds": {"self", "baseline"}         median wall (or device) time of a call
    "best": {"self", "baseline"}            least of them
    "host": {"self", "baseline"}            median wall time of a call with synchronisation
    "calls": {"self", "baseline"}           calls per block
    "stop": "precision" | "time" | "max_rounds" | "interrupted", "elapsed": seconds,
    "work": {"flop", "bytes"}               useful operations and least traffic of a call, counted by formula
    "conditions": {"threads", "OPENBLAS_CORETYPE", "blas": [...]}, "at": UTC

A speed: {"id", "subject": "conv2d", "cases", "seconds", "per_second", "rounds", "conditions", "at"}; CPU seconds of a
whole check (the median of `rounds`), and cases per CPU second.

A search: {"id", "subject": "conv2d", "mistake": "the filter is flipped", "own": true, "found": true, "named": true,
"cases", "seconds", "conditions", "at"}; CPU seconds until the mistake, as an implementation, had broken a law, the case
was minimal and its diagnosis told. `own`: it is one of the op's, not one that any op can have; `named`: the diagnosis
is that very mistake.

`rounds` of an arm: {"seconds": [...], "cpu": [...], "switches": [...], "place": [...]} and on a GPU "host", one number
a round, times in seconds per call to four digits: enough to compute every ratio again.

`--versus-log=FILE`: the same as the run goes, one JSON object a line, appended and flushed, so that an interrupt loses
at most the comparison in progress. "record" tells what a line is: "run" (schema, version, machine, began: where a
session starts), "comparison" (a row without the flag "control", and "rounds": {"self", "baseline"}), "speed" or
"search".

Readers refuse a newer `version`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.pairing import Measured, Ratio, Series, doubts, noise_floor, ratio

SCHEMA = {"schema": "d2lref.benchmarks", "version": 1}
DIGITS = 4  # a clock tick is 1e-4 of a block; more digits would be noise

Record = dict[str, Any]


@dataclass
class Run:
    """The rows of one session, and the file that receives each as soon as it is known."""

    log: Path | None = None
    began: Record = field(default_factory=machine.moment)
    comparisons: list[Record] = field(default_factory=list)
    speeds: list[Record] = field(default_factory=list)
    searches: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Create the file where there is none. Raises OSError when it cannot be written."""
        if self.log is not None:
            self.log.open("a", encoding="utf-8").close()

    def compared(self, row: Record, rounds: Record) -> None:
        """Keep the row of an arm, and its rounds in the log."""
        self.comparisons.append(row)
        self._append({"record": "comparison", **row, "rounds": rounds})

    def timed(self, row: Record) -> None:
        """Keep a speed of the judge."""
        self.speeds.append(row)
        self._append({"record": "speed", **row})

    def sought(self, row: Record) -> None:
        """Keep what came of looking for a mistake."""
        self.searches.append(row)
        self._append({"record": "search", **row})

    def summary(self) -> Record:
        """Return the object that stands under "d2lref" in the file of pytest-benchmark."""
        noise = noise_floors(self.comparisons)
        return {
            **SCHEMA,
            "machine": machine.describe(),
            "began": self.began,
            "ended": machine.moment(),
            "noise": noise,
            "comparisons": [judged(row, noise) for row in self.comparisons],
            "speeds": self.speeds,
            "searches": self.searches,
        }

    def _append(self, line: Record) -> None:
        """Write a line; before the first one that of the session, which must wait until the libraries are loaded."""
        if self.log is None:
            return
        lines = [line]
        if len(self.comparisons) + len(self.speeds) + len(self.searches) == 1:
            lines.insert(0, {"record": "run", **SCHEMA, "machine": machine.describe(), "began": self.began})
        with self.log.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(each) + "\n" for each in lines)


def comparison(measured: Measured, arm: str, about: Mapping[str, Any], threads: int) -> Record:
    """Return the row of one arm; `about` says what was timed and comes first in it."""
    baseline = next(iter(measured.arms))
    pair = {"self": measured.arms[arm], "baseline": measured.arms[baseline]}
    result = ratio(pair["self"], pair["baseline"], threads=threads)
    return {
        "id": f"{about['test']}@{arm}",
        "arm": arm,
        "baseline": baseline,
        **about,
        "clock": measured.clock,
        "ratio": rounded(result.as_dict()),
        "flags": list(doubts(result)),
        "seconds": {who: significant(np.median(series.seconds)) for who, series in pair.items()},
        "best": {who: significant(series.seconds.min()) for who, series in pair.items()},
        "host": {who: significant(np.median(series.host)) for who, series in pair.items()},
        "calls": {who: series.calls for who, series in pair.items()},
        "stop": measured.stop,
        "elapsed": significant(measured.elapsed),
        "conditions": {"threads": threads, **machine.conditions()},
        "at": machine.moment()["at"],
    }


def speed(test: str, subject: str, cases: int, seconds: Sequence[float], threads: int) -> Record:
    """Return how fast the judge was; `seconds` are the CPU times of whole checks of `cases` cases."""
    median = float(np.median(seconds))
    return {
        "id": test,
        "subject": subject,
        "cases": cases,
        "seconds": significant(median),
        "per_second": significant(cases / median),
        "rounds": len(seconds),
        "conditions": {"threads": threads, **machine.conditions()},
        "at": machine.moment()["at"],
    }


def search(test: str, mistake: str, report: Any, seconds: float, threads: int, *, own: bool) -> Record:
    """Return what came of judging a mistake until it was found; `seconds` of CPU time."""
    return {
        "id": test,
        "subject": report.subject,
        "mistake": mistake,
        "own": own,
        "found": bool(report.findings),
        "named": any(mistake == finding.diagnosis.mistake for finding in report.findings),
        "cases": report.counts["cases"],
        "seconds": significant(seconds),
        "conditions": {"threads": threads, **machine.conditions()},
        "at": machine.moment()["at"],
    }


def rounds(series: Series) -> Record:
    """Return an arm's blocks as plain numbers; without `host` where the clock is the host's own."""
    names = ("seconds", "cpu") if np.array_equal(series.host, series.seconds) else ("seconds", "cpu", "host")
    times = {name: [significant(value) for value in getattr(series, name)] for name in names}
    counts = {name: [int(value) for value in getattr(series, name)] for name in ("switches", "place")}
    return {**times, **counts}


def noise_floors(rows: Iterable[Record]) -> dict[str, float]:
    """Return the worst deviation of the A/A controls from 1, per clock; no entry where none was measured."""
    controls: dict[str, list[Ratio]] = {}
    for row in rows:
        if row["control"]:
            controls.setdefault(row["clock"], []).append(Ratio(**row["ratio"]))
    return {clock: significant(noise_floor(found) or 0.0) for clock, found in controls.items()}


def judged(row: Record, noise: Mapping[str, float]) -> Record:
    """Return the row with the flags that it deserves beside the noise of its own clock in the same run."""
    return {**row, "flags": list(doubts(Ratio(**row["ratio"]), noise.get(row["clock"])))}


def rounded(values: Mapping[str, Any]) -> Record:
    """Return the mapping with every float at DIGITS + 1 digits, so that an interval keeps its point inside."""
    return {
        name: significant(value, DIGITS + 1) if isinstance(value, float) else value for name, value in values.items()
    }


def significant(value: float, digits: int = DIGITS) -> float:
    """Return the value at a number of significant digits."""
    return float(f"{value:.{digits}g}")


def table(rows: Sequence[Record]) -> list[str]:
    """Return one line per row for the terminal: who, how many times the baseline, on what evidence."""
    width = max((len(_title(row)) for row in rows), default=0)
    return [f"{_title(row):<{width}}  {_evidence(row)}" for row in rows]


def _title(row: Record) -> str:
    return f"{row['test'].rpartition('::')[2]} {row['arm']} / {row['baseline']}"


def _evidence(row: Record) -> str:
    result, flags = row["ratio"], " ".join(row["flags"])
    interval = f"{result['value']:7.3f}  [{result['lo']:.3f}, {result['hi']:.3f}]"
    basis = f"{result['kind']} {result['pairs']}/{result['of']} ({row['stop']})"
    return f"{interval:<28}  {basis}  order {result['order']:.3f}{'  unsure: ' + flags if flags else ''}"
