"""One JSON document from the records of one or more runs; the page and the summary are made of nothing else.

    "schema": "d2lref-results", "version": 1, "made": UTC,
    "runs": [{"machine", "sessions", "ended", "commit", "options", "interrupted", "failed", "stopped", "noise",
              "floor"}]
    "machines": {id: the machine, as `benchmarks.machine` describes it}
    "conformance": [row, ...]     every pair that was planned, judged or not
    "findings": [...]             every broken law with its minimal case
    "coverage": [row, ...]        which part of the case space the pairs of an op executed: "subject", "part" (regime,
                                  an option, axis, dtype, memory order), "counts" {value: cases}
    "benchmarks": [row, ...]      every contender that was timed beside a baseline
    "controls": [row, ...]        the same, of equal against equal
    "untimed": [{"machine", "test", "outcome", "reason"}, ...]      benchmarks without a result, and why
    "speeds": [...]               cases that the judge holds a second
    "searches": [...]             known mistakes that the judge looked for, with the CPU time that each took

A conformance row: "id", "machine", "subject", "target", "storage", "algorithm", "status" (STATUSES), "note",
"implementation" (its name for itself), "cases", "executed", "failed", "unsupported", "undecidable", "suspect",
"findings" (ids), "worst" (largest ratio of error to bound among the claims that held), "worst_law", "seconds", "laws".

A benchmark row is one of `benchmarks.records` without what only a statistician needs, and with "machine", "area",
"name" (of the layer, or of the filter) and "verdict": slower, faster, same or unsure (see `verdict.speed`).

Times are seconds. Ratios have four significant digits, everything else measured has three.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks.records import judged, noise_floors
from reports.records import RESULTS, VERSION, Json, Records, Refused
from reports.verdict import floor, speed

STATUSES = {
    "ok": "every law held",
    "broken": "a law was broken",
    "error": "could not be judged: an unexpected exception",
    "crash": "could not be judged: the process ended",
    "timeout": "could not be judged: it did not end",
    "undecided": "a law could not be decided, or could not have failed",
    "nothing": "no case drawn lies in what it supports",
    "absent": "has no such op",
    "not run": "planned, not judged: the run was interrupted",
}
PARTS = ("conformance", "findings", "coverage", "benchmarks", "controls", "untimed", "speeds", "searches")


def assemble(records: Records) -> Json:
    """Return the document of one run."""
    run = records.run
    machine = _machine(records)
    here = {"machine": slug(machine)}
    noise, rows = _timed(records)
    limit = floor(noise.values())
    conformance, findings = _judged(records)
    parts: dict[str, list[Json]] = {
        "conformance": conformance,
        "findings": findings,
        "coverage": _coverage(records),
        "benchmarks": [_benchmark(row, limit) for row in rows if not row["control"]],
        "controls": [_benchmark(row, limit) for row in rows if row["control"]],
        "untimed": _untimed(records),
        "speeds": [_plain(line, drop=("record",)) for line in records.benchmarks if line["record"] == "speed"],
        "searches": [_plain(line, drop=("record",)) for line in records.benchmarks if line["record"] == "search"],
    }
    told = ("sessions", "ended", "commit", "options", "interrupted", "failed", "stopped")
    facts = {name: run.get(name) for name in told}
    facts["interrupted"] = run["interrupted"] or {"ended": ""}.get(run["stage"], run["stage"])  # or killed
    return {
        **header(),
        "runs": [{**here, **facts, "noise": {k: digits(v, 3) for k, v in noise.items()}, "floor": digits(limit, 3)}],
        "machines": {here["machine"]: machine},
        **{name: [{**here, **row} for row in rows] for name, rows in parts.items()},
    }


def header() -> Json:
    """Return what a document begins with."""
    return {"schema": RESULTS, "version": VERSION, "made": datetime.now(UTC).isoformat(timespec="seconds")}


def merge(documents: Sequence[Json]) -> Json:
    """Return one document of several, one machine each. Raises Refused when a machine comes twice.

    A pair that one machine planned and another judged is not missing.
    """
    if len(documents) == 1:
        return documents[0]
    machines: Json = {}
    for document in documents:
        if twice := machines.keys() & document["machines"].keys():
            raise Refused(f"two of the records are from {', '.join(sorted(twice))}: give one for each machine")
        machines |= document["machines"]
    parts = {name: [row for each in documents for row in each.get(name, [])] for name in ("runs", *PARTS)}
    run = {row["id"] for row in parts["conformance"] if row["status"] != "not run"}
    parts["conformance"] = [row for row in parts["conformance"] if row["status"] != "not run" or row["id"] not in run]
    return {**header(), "machines": machines, **parts}


# Conformance


def _judged(records: Records) -> tuple[list[Json], list[Json]]:
    """Return a row for every planned pair, and the findings."""
    lines = {line["key"]: line for line in records.judged}
    rows, findings = [], []
    for task in sorted(records.run.get("tasks", []), key=_order(records)):
        line = lines.get(task["key"])
        found = _findings(task, line)
        findings += found
        rows.append(_conformance(task, line, [finding["id"] for finding in found]))
    return rows, findings


def _coverage(records: Records) -> list[Json]:
    """Return what the pairs of each op executed together, the most frequent first."""
    whole: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in records.judged:
        for part, counts in ((line.get("report") or {}).get("coverage") or {}).items():
            whole[line["key"].partition("/")[0], part].update(counts)
    return [
        {"subject": subject, "part": part, "counts": dict(counts.most_common())}
        for (subject, part), counts in sorted(whole.items(), key=lambda item: item[0][0])
    ]


def _order(records: Records) -> Any:
    """Return the sort key of tasks: by op, the definition first, then the targets as they were asked for."""
    asked = [task["target"] for task in records.run.get("tasks", [])]
    heads = list(dict.fromkeys(name.rpartition(":")[0] or name for name in asked))
    rank = {name: (name != "d2lref:definition", heads.index(name.rpartition(":")[0] or name)) for name in asked}
    return lambda task: (task["subject"], *rank[task["target"]], asked.index(task["target"]), task["storage"])


def _conformance(task: Json, line: Json | None, findings: list[str]) -> Json:
    report = (line or {}).get("report")
    row = {name: task[name] for name in ("subject", "target", "storage", "algorithm")}
    row |= {"id": identifier("pair", *row.values()), "findings": findings, **_status(task, line)}
    return {**row, **(_counts(report, line or {}) if report else dict.fromkeys(COUNTED))}


COUNTED = (
    *("implementation", "cases", "executed", "failed", "unsupported", "undecidable", "suspect"),
    *("worst", "worst_law", "seconds", "laws"),
)


def _counts(report: Json, line: Json) -> Json:
    laws = report["verdicts"]
    worst = max(laws, key=lambda law: _number(law["worst"]))
    return {
        "implementation": report["implementation"],
        **{name: report["counts"][name] for name in ("cases", "executed", "unsupported")},
        **{name: sum(law[name] for law in laws) for name in ("failed", "undecidable", "suspect")},
        "worst": digits(worst["worst"], 3),
        "worst_law": worst["law"],
        "seconds": digits(line["seconds"], 3),
        "laws": [_law(law) for law in laws],
    }


def _law(law: Json) -> Json:
    """Return the law's record without the counts that are zero."""
    kept = {name: value for name, value in law.items() if value or name in ("executed", "worst")}
    return {**kept, "worst": digits(law["worst"], 3)}


def _status(task: Json, line: Json | None) -> Json:
    """Return the status of a pair, with a note where there is something to say."""
    if task["missing"]:
        return {"status": "absent", "note": task["missing"]}
    if line is None:
        return {"status": "not run", "note": ""}
    if line["failure"]:
        return {"status": line["failure"], "note": line["note"]}
    report = line["report"]
    if report["ok"]:
        return {"status": "ok", "note": ""}
    statuses = {law["law"]: law["status"] for law in report["verdicts"]}
    broken = [law for law, status in statuses.items() if status in {"fail", "error"}]
    idle = [f"{law} ({status})" for law, status in statuses.items() if status in {"vacuous", "undecidable"}]
    status = "broken" if broken else "undecided" if idle else "nothing"
    return {"status": status, "note": "; ".join(broken or idle)}


def _findings(task: Json, line: Json | None) -> list[Json]:
    report = (line or {}).get("report") or {"findings": []}
    return [_finding(task, found, (line or {})["operands"]) for found in report["findings"]]


def _finding(task: Json, found: Json, operands: list[str]) -> Json:
    case = found["case"]
    name = identifier("finding", task["subject"], task["target"], task["storage"], found["law"])
    kept = ("law", "status", "tier", "note", "element", "diagnosis", "calls", "reproduction", "cases_failed")
    return {
        **{key: task[key] for key in ("subject", "target", "storage", "algorithm")},
        **{key: found[key] for key in (*kept, "implementation")},
        "id": name,
        "excess": digits(found["excess"], 3),
        "arrays": [{"name": n, **a} for n, a in zip(operands, case["arrays"], strict=True) if a is not None],
        "options": case["options"],
        "regime": case["regime"],
    }


# Benchmarks


def _timed(records: Records) -> tuple[dict[str, float], list[Json]]:
    """Return the noise floors and the rows, flagged; of a contender timed twice the later row counts."""
    rows = [line for line in records.benchmarks if line["record"] == "comparison"]
    noise = noise_floors(rows)
    last = {(row["id"], row["at"] if row["control"] else ""): row for row in rows}
    return noise, [judged(row, noise) for row in last.values()]


DROPPED = ("record", "rounds", "best", "host", "test", "group")


def _benchmark(row: Json, limit: float) -> Json:
    found = _plain(row, drop=DROPPED)
    ratio = {name: digits(value, 4) for name, value in row["ratio"].items()}
    area, name = _place(row)
    return {**found, "ratio": ratio, "area": area, "name": name, "verdict": speed(ratio, row["flags"], limit)}


def _place(row: Json) -> tuple[str, str]:
    """Return the area and the name of what was timed: a layer by its shape, a photograph by what is done to it."""
    head, dash, what = row["case"].partition("-")
    if dash and head == "photographs":
        return f"{row['group']} on photographs", what
    return row["group"], row["case"]


def _untimed(records: Records) -> list[Json]:
    """Return the benchmarks that have no outcome, were skipped, or failed."""
    planned = [name for line in records.tests if line["record"] == "plan" for name in line["tests"]]
    outcomes = {line["id"]: line for line in records.tests if line["record"] == "test"}
    lost = {"outcome": "not run", "reason": _why_not(records.run)}
    found = [{"test": name, **outcomes.get(name, lost)} for name in dict.fromkeys(planned)]
    kept = ("test", "outcome", "reason")
    return [{name: each[name] for name in kept} for each in found if each["outcome"] != "passed"]


def _why_not(run: Json) -> str:
    """Return why a benchmark that was planned has no outcome."""
    if run["stopped"]:
        return "out of time"
    return "the benchmarks did not run to their end" if run["failed"] else "the run was interrupted"


def _machine(records: Records) -> Json:
    """Return the machine; as the benchmarks saw it, with all libraries loaded, where there are any."""
    timed = [line["machine"] for line in records.benchmarks if line["record"] == "run"]
    found: Json = timed[-1] if timed else records.run.get("machine", {})
    return found


def slug(machine: Json) -> str:
    """Return an id for a machine: processor, cores, GPU."""
    gpu = (machine.get("gpu") or {}).get("name", "")
    words = f"{machine.get('cpu', 'unknown')} {machine.get('cores', '')}c {gpu}"
    return identifier(re.sub(r"\((r|tm)\)|processor|\bcpu\b", " ", words, flags=re.IGNORECASE))


# Numbers and names


def identifier(*words: str) -> str:
    """Return words as an id that fits into an address: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def digits(value: Any, count: int) -> Any:
    """Return a float at that many significant digits; anything else as it is."""
    return float(f"{value:.{count}g}") if isinstance(value, float) and math.isfinite(value) else value


def _plain(row: Json, drop: Iterable[str]) -> Json:
    """Return the row without some names, its floats at three digits."""
    return {name: _rounded(value) for name, value in row.items() if name not in drop}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return digits(value, 3)


def _number(value: float | str) -> float:
    """Return a float that JSON may have held as text."""
    return float(value)
