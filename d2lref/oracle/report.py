"""What a run found, counted so that it cannot be green without evidence; as text and as JSON."""

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from d2lref.oracle.coverage import covered
from d2lref.oracle.finding import Finding
from d2lref.oracle.judge import Status
from d2lref.oracle.values import is_index
from d2lref.spec import Array, Case

SCHEMA, VERSION = "d2lref-report", 1

Json = dict[str, Any]


@dataclass(slots=True)
class LawRecord:
    """What one law met in a run.

    errors: how many of the failures are exceptions. worst: largest ratio of difference to bound among cases that are
    not failures.
    """

    law: str
    executed: int = 0
    failed: int = 0
    errors: int = 0
    undecidable: int = 0
    suspect: int = 0
    exact: int = 0
    worst: float = 0.0
    status: Status = Status.UNSUPPORTED


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of `check`. verdicts: one record per law. counts: cases drawn, executed, unsupported, ...

    coverage: how often each regime, option value, length of an axis, dtype and memory order was executed
    (`coverage.Coverage`). seconds: wall time. interrupted: the run was stopped, and this is what it had found.
    arithmetic: what exact probes say of an implementation with a wrong number that no known mistake explains, "" where
    it cannot be probed.
    """

    subject: str
    implementation: str
    precision: str
    seed: int
    cases: str
    verdicts: tuple[LawRecord, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[str, int]
    coverage: Mapping[str, Mapping[str, int]]
    seconds: float
    interrupted: bool = False
    target: Mapping[str, str] = field(default_factory=dict)
    arithmetic: str = ""

    @property
    def ok(self) -> bool:
        """Return whether something was executed and nothing failed, was vacuous or was mostly undecidable."""
        spoilt = {Status.FAIL, Status.ERROR, Status.VACUOUS, Status.UNDECIDABLE}
        return self.counts["executed"] > 0 and not any(v.status in spoilt for v in self.verdicts)

    @property
    def exit_code(self) -> int:
        """Return the exit code of calling.md: 0 ok, 1 not ok, 3 nothing executed or vacuous, 130 interrupted."""
        if self.interrupted:
            return 130
        if self.ok:
            return 0
        failed = any(v.status in {Status.FAIL, Status.ERROR} for v in self.verdicts)
        vacuous = any(v.status is Status.VACUOUS for v in self.verdicts)
        return 3 if not failed and (vacuous or not self.counts["executed"]) else 1

    @property
    def worst(self) -> float:
        """Return the largest ratio of difference to bound in a case that passed."""
        return max((v.worst for v in self.verdicts), default=0.0)

    def headline(self) -> str:
        """Return the verdict in one line."""
        word = "interrupted" if self.interrupted else "ok" if self.ok else "NOT OK"
        n, found = self.counts, len(self.findings)
        evidence = f"{_counted(n['executed'], 'claim')} on {_counted(n['cases'], 'case')}, {_counted(found, 'finding')}"
        measured = f"worst ratio {self.worst:.3g}, {self.seconds:.1f} s"
        return f"{self.subject} {self.implementation} [{self.precision}]: {word}; {evidence}, {measured}{self._why()}"

    def _why(self) -> str:
        """Return what spoils `ok` besides findings, "" when nothing does."""
        if not self.counts["executed"]:
            return "; nothing was executed"
        idle = [v for v in self.verdicts if v.status in {Status.UNDECIDABLE, Status.VACUOUS}]
        return "".join(f"; {v.law!r} is {v.status} on these cases" for v in idle)

    def __str__(self) -> str:
        """Return the headline, a line for every law, and the findings."""
        width = max((len(v.law) for v in self.verdicts), default=0)
        lines = [self.headline()]
        lines += [
            f"  {v.status:<12} {v.law:<{width}}  {v.executed:>6} executed, worst {v.worst:.3g}{_asides(v)}"
            for v in self.verdicts
        ]
        skipped = self.counts["unsupported"]
        lines += [f"  {_counted(skipped, 'case')} drawn outside what the implementation supports"] if skipped else []
        lines += [f"  executed     {line}" for line in covered(self.coverage)]
        probed = [f"\nBY EXACT PROBES {self.arithmetic}"] if self.arithmetic else []
        return "\n".join([*lines, *(f"\n{f}" for f in self.findings), *probed])

    def to_json(self) -> Json:
        """Return the report as JSON-able data with schema and version (floats that are not finite are strings)."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "subject": self.subject,
            "implementation": self.implementation,
            "precision": self.precision,
            "target": dict(self.target),
            "seed": self.seed,
            "cases": self.cases,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "worst": plain(self.worst),
            "counts": dict(self.counts),
            "coverage": {k: dict(v) for k, v in self.coverage.items()},
            "verdicts": [_verdict_json(v) for v in self.verdicts],
            "findings": [finding_json(f) for f in self.findings],
            "arithmetic": self.arithmetic,
            "seconds": round(self.seconds, 3),
            "environment": environment(),
        }


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _asides(v: LawRecord) -> str:
    parts = [f"{v.failed} failed"] if v.failed else []
    parts += [f"{v.undecidable} undecidable"] if v.undecidable else []
    parts += [f"{v.suspect} suspect"] if v.suspect else []
    return f" ({', '.join(parts)})" if parts else ""


def _verdict_json(v: LawRecord) -> Json:
    return {
        "law": v.law,
        "status": str(v.status),
        "executed": v.executed,
        "failed": v.failed,
        "errors": v.errors,
        "undecidable": v.undecidable,
        "suspect": v.suspect,
        "exact": v.exact,
        "worst": plain(v.worst),
    }


def finding_json(f: Finding) -> Json:
    """Return a finding as JSON-able data; its case replays exactly."""
    v, e, d = f.verdict, f.element, f.diagnosis
    return {
        "subject": f.subject,
        "implementation": f.implementation,
        "law": f.law,
        "precision": f.precision,
        "status": str(v.status),
        "tier": str(v.tier),
        "excess": plain(f.excess),
        "note": v.note,
        "case": case_json(f.case),
        "element": None
        if e is None
        else {
            "place": e.place,
            "found": plain(e.found),
            "expected": plain(e.expected),
            "bound": plain(e.bound),
            "written_out": e.written_out,
        },
        "diagnosis": {
            "mistake": d.mistake,
            "cites": d.cites,
            "precision": d.precision,
            "convention": d.convention,
            "depends_on": [[n, plain(a), plain(b)] for n, a, b in d.depends_on],
        },
        "calls": list(f.calls),
        "reproduction": f.reproduction,
        "cases_failed": f.cases_failed,
    }


def case_json(case: Case) -> Json:
    """Return a case as JSON-able data."""
    return {
        "arrays": [array_json(a) for a in case.arrays],
        "cotangents": [array_json(a) for a in case.cotangents],
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in case.options.items()},
        "regime": case.regime,
        "seed": case.seed,
    }


def case_from_json(data: Json) -> Case:
    """Return the case written by `case_json`. Raises KeyError, TypeError or ValueError for data of another kind."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in data["options"].items()}
    arrays, cotangents = (tuple(map(array_from_json, data[k])) for k in ("arrays", "cotangents"))
    return Case(arrays, options, cotangents, data["regime"], data["seed"])


def array_json(array: Array | None) -> Json | None:
    """Return shape and flat values of an array, and the dtype of indices; None for None."""
    if array is None:
        return None
    kind = {"dtype": "int64"} if is_index(array) else {}
    return {"shape": list(array.shape), "values": [plain(v) for v in np.ravel(array).tolist()], **kind}


def array_from_json(data: Json | None) -> Array | None:
    """Return the array written by `array_json`."""
    if data is None:
        return None
    kind = np.int64 if data.get("dtype") == "int64" else np.float64
    return np.array([float(v) for v in data["values"]], np.float64).astype(kind).reshape(data["shape"])


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: floats that are not finite as strings, tuples as lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def environment() -> dict[str, str]:
    """Return what a figure depends on: versions, machine, and the BLAS kernel asked for."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", ""),
    }


def write_json(data: Any, path: Path) -> None:
    """Write JSON in one step: a reader sees the old file or the whole new one.

    What is no plain file (a pipe, a device) is written to as it is, and a link's target is replaced, not the link.
    Raises OSError when it cannot be written.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_json(path: Path, schema: str = SCHEMA, version: int = VERSION) -> Json:
    """Return the data of a file we wrote.

    Raises ValueError with one clear line for another schema or a newer version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"{path}: not JSON ({error})"
        raise ValueError(message) from error
    if not isinstance(data, dict) or data.get("schema") != schema:
        message = f"{path}: expected a file of schema {schema!r}"
        raise ValueError(message)
    if type(data.get("version")) is not int or not 1 <= data["version"] <= version:
        message = f"{path}: schema version {data.get('version')!r}, this d2lref reads up to {version}"
        raise ValueError(message)
    return data
