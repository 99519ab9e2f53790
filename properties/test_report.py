"""The report: its page shows what was measured and needs nothing else; bad input and Ctrl-C leave nothing half-done."""

import base64
import hashlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reports import judging, page, records, results, timing, verdict, workers
from reports.__main__ import main
from reports.records import Json, Records, Refused, Store

for _needed in ("altair", "jinja2", "vl_convert"):
    pytest.importorskip(_needed, reason=f"the report page needs {_needed}: pip install 'd2lref[report]'")

ROOT = Path(__file__).parents[1]
NEWER = "version 2, this program reads up to 1: update d2lref"


# A run, as the records tell it: one pair of each fate, and one benchmark of each


def task(subject: str, target: str, storage: str, missing: str = "") -> Json:
    whole = {"subject": subject, "target": target, "storage": storage, "algorithm": "any-order", "cases": "quick"}
    return {"key": "/".join(whole.values()), **whole, "missing": missing}


TASKS = [
    task("conv2d", "d2lref:definition", "float32"),
    task("conv2d", "d2lref:definition", "float64"),
    task("conv2d", "d2lref:unfold", "float32"),
    task("conv2d", "torch", "float32"),
    task("conv2d", "torch", "float64"),
    task("relu", "d2lref:definition", "float32"),
    task("relu", "torch", "", missing="torch has no relu"),
]


def law(name: str, status: str = "pass", **counts: Any) -> Json:
    zero = {"executed": 0, "failed": 0, "undecidable": 0, "suspect": 0, "exact": 0, "worst": 0.0}
    return {"law": name, "status": status, **zero, **counts}


FINDING = {
    "subject": "conv2d",
    "implementation": "torch <2.0>",
    "law": "agrees with the definition",
    "precision": "float32",
    "status": "fail",
    "tier": "proven",
    "excess": 12.3456,
    "note": "",
    "case": {
        "arrays": [{"shape": [1, 1, 1, 2], "values": [1.0, 2.5]}, {"shape": [1, 1, 1, 2], "values": [0.0, 3.0]}, None],
        "cotangents": [],
        "options": {"stride": 1, "padding": [0, 1]},
        "regime": "lattice_small",
        "seed": 7,
    },
    "element": {"place": "y[0]", "found": 1.25, "expected": 7.5, "bound": 0.5, "written_out": "2.5·3 = 7.5"},
    "diagnosis": {
        "mistake": "the filter is flipped",
        "cites": "A & B",
        "precision": "",
        "depends_on": [["padding", [0, 1], 0]],
    },
    "calls": ["forward(stride=1)"],
    "reproduction": "import numpy as np\nassert 1 < 2  # </script>\n",
    "cases_failed": 34,
}


def judged(which: Json, *laws: Json, findings: tuple[Json, ...] = (), failure: str = "", note: str = "") -> Json:
    ok = not findings and all(each["status"] == "pass" for each in laws)
    executed = sum(each["executed"] for each in laws)
    report = {
        "implementation": which["target"],
        "ok": ok,
        "counts": {"cases": 400, "executed": executed, "unsupported": 17},
        "verdicts": list(laws),
        "findings": list(findings),
        "coverage": {"stride": {"1 (default)": 301, "2": 99}},
    }
    told = {"operands": ["x", "weight", "bias"], "seconds": 1.23456, "report": None if failure else report}
    return {"schema": records.JUDGED, "version": 1, "key": which["key"], "failure": failure, "note": note, **told}


JUDGED = (
    judged(
        TASKS[0],
        law("agrees with the definition", executed=1101, exact=50, worst=0.98765),
        law("additive", executed=31),
    ),
    judged(TASKS[1], law("agrees with the definition", executed=1102, worst=0.0312)),
    judged(TASKS[2], failure="crash", note="the process ended with code -11"),
    judged(
        TASKS[3], law("agrees with the definition", "fail", executed=1104, failed=34, worst=0.5), findings=(FINDING,)
    ),
    judged(TASKS[4], law("additive", "vacuous", executed=1105, worst=0.25)),
)
MACHINE: Json = {
    "cpu": "AMD <EPYC> 9B45 Processor",
    "cores": 2,
    "caches": {"L1 Data": 49152},
    "memory_bytes": 25276510208,
    "system": "Linux x86_64",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0+cpu", "numpy": "2.4.6"},
    "threads": 1,
    "pools": [{"library": "openblas", "version": "0.3.31", "kernels": "Haswell", "threads": 1}],
    "torch": {"version": "2.13.0+cpu", "cpu_capability": "AVX512"},
    "gpu": None,
    "environment": {"OPENBLAS_CORETYPE": "Haswell"},
}
RUN: Json = {
    "schema": records.RUN,
    "version": 1,
    "sessions": ["2026-11-23T13:00:00+00:00"],
    "ended": "2026-11-23T13:04:00+00:00",
    "commit": "abc123def456",
    "machine": MACHINE,
    "options": {"cases": "quick"},
    "tasks": TASKS,
    "stage": "ended",
    "interrupted": "",
    "failed": "",
    "stopped": "",
}


def timed(
    test: str, arm: str, ratio: tuple[float, float, float], *, kind: str = "quiet", flags: tuple[str, ...] = ()
) -> Json:
    value, lo, hi = ratio
    evidence = {
        "confidence": 0.95,
        "kind": kind,
        "pairs": 88,
        "of": 218,
        "wall": 1.0021,
        "cpu": 1.0031,
        "order": 0.9783,
    }
    return {
        "record": "comparison",
        "id": f"benchmarks/{test}@{arm}",
        "test": f"benchmarks/{test}",
        "arm": arm,
        "baseline": "torch",
        "group": "control" if "control" in test else "conv2d",
        "case": "photographs-sobel" if "photo" in test else "5ms" if "control" in test else "1x64x56x56-64k3p1",
        "device": "cpu",
        "networks": {"resnet50": 3},
        "work": {"flop": 15360000, "bytes": 364992},
        "control": "control" in test,
        "clock": "host",
        "ratio": {"value": value, "lo": lo, "hi": hi, **evidence},
        "flags": list(flags),
        "seconds": {"self": 0.0012345, "baseline": 0.00098765},
        "best": {"self": 0.001, "baseline": 0.0009},
        "host": {"self": 0.001, "baseline": 0.0009},
        "calls": {"self": 1, "baseline": 1},
        "stop": "precision",
        "elapsed": 1.7321,
        "conditions": {"threads": 1, "OPENBLAS_CORETYPE": "Haswell", "blas": ["openblas 0.3.31 Haswell"]},
        "at": "2026-11-23T13:02:00+00:00",
        "rounds": {"self": [], "baseline": []},
    }


def sought(subject: str, mistake: str, seconds: float, **told: bool) -> Json:
    """Return the record of a mistake that was looked for and found."""
    head = {"record": "search", "id": "f", "subject": subject, "mistake": mistake}
    return {**head, "found": True, **told, "cases": 3, "seconds": seconds, "conditions": {}}


BENCHMARKS = (
    {"record": "run", "schema": records.BENCHMARKS, "version": 1, "machine": MACHINE, "began": {}},
    timed("test_controls.py::test_control[cpu-5ms]", "again", (1.0086, 0.9921, 1.0127)),
    timed("test_conv.py::test_conv2d[cpu-1x64x56x56-64k3p1]", "numpy:unfold", (2.4819, 2.4171, 2.5412)),
    timed("test_conv.py::test_conv2d[cpu-1x64x56x56-64k3p1]", "numpy:shift", (0.85165, 0.84, 0.86)),
    timed("test_conv.py::test_conv2d[cpu-1x64x56x56-64k3p1]", "torch:unfold", (1.001, 0.995, 1.006), kind="cpu-time"),
    timed(
        "test_photographs.py::test_filter[cpu-sobel]",
        "numpy:fft",
        (31.73, 20.11, 50.02),
        kind="cpu-time",
        flags=("load", "wide"),
    ),
    {
        "record": "speed",
        "id": "s",
        "subject": "conv2d",
        "cases": 400,
        "seconds": 0.65333,
        "per_second": 612.23,
        "conditions": {},
    },
    sought("relu", "leaks a hundredth of what is negative", 0.21234, own=True, named=True),
    sought("relu", "clips at 6 as relu6 does", 0.41234, own=True, named=False),
    sought("linear", "works in place", 1.31234, own=False, named=False),
)
TESTS = (
    {"record": "plan", "tests": ["benchmarks/a", "benchmarks/b", "benchmarks/c", "benchmarks/d"]},
    {"record": "test", "id": "benchmarks/a", "outcome": "passed", "reason": ""},
    {
        "record": "test",
        "id": "benchmarks/b",
        "outcome": "failed",
        "reason": "numpy:shift: wrong answer, so it was not timed",
    },
    {"record": "test", "id": "benchmarks/c", "outcome": "skipped", "reason": "no CUDA device"},
)


@pytest.fixture(scope="module")
def whole() -> Json:
    """Return the results of that run, as a reader of results.json has them."""
    found: Json = json.loads(records.dumps(results.assemble(Records(RUN, JUDGED, BENCHMARKS, TESTS))))
    return found


@pytest.fixture(scope="module")
def text(whole: Json) -> str:
    return page.html(whole)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the records of that run on the disk."""
    store = Store(tmp_path / "report")
    store.refuse_or_make()
    records.write_json(store.path("run.json"), RUN)
    for name, lines in (("judged", JUDGED), ("benchmarks", BENCHMARKS), ("tests", TESTS)):
        records.append(store.path(f"{name}.jsonl"), lines)
    return store.out


# What a page says


class Tables(HTMLParser):
    """Collects the cells of every table by its id, a `data` element as its value; and what would load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: dict[str, list[str]] = {}
        self.headers: list[dict[str, str | None]] = []
        self.loading: list[str] = []
        self.headings: list[int] = []
        self.inside: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note tables, cells, headings, and addresses that a browser fetches by itself."""
        given = dict(attrs)
        self.loading += [value for name in ("src", "srcset", "action") if (value := given.get(name))]
        self.loading += [str(given["href"])] if tag == "link" else []
        if tag == "table":
            self.inside = str(given["id"])
            self.cells[self.inside] = []
        if tag in ("td", "th") and self.inside:
            self.cells[self.inside].append("")
            self.headers += [given] if tag == "th" else []
        if tag == "data" and self.inside:
            self.cells[self.inside] += [str(given["value"]), ""]
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        """Leave a table."""
        if tag == "table":
            self.inside = None

    def handle_data(self, data: str) -> None:
        """Add text to the cell."""
        if self.inside and self.cells[self.inside]:
            self.cells[self.inside][-1] = f"{self.cells[self.inside][-1]} {data.strip()}".strip()


def numbers(row: Json, names: tuple[str, ...]) -> list[str]:
    return [json.dumps(row[name]) for name in names if row[name] is not None]


def test_the_tables_hold_the_numbers_of_the_results(whole: Json, text: str) -> None:
    found, name = Tables(text).cells, whole["runs"][0]["machine"]
    for row in whole["conformance"]:
        columns = ("worst", "executed", "failed", "undecidable", "suspect", "cases", "unsupported", "seconds")
        assert set(numbers(row, columns)) <= set(found[f"pairs-{name}"]), row
    for part, table in (("benchmarks", "times"), ("controls", "controls")):
        for row in whole[part]:
            wanted = [
                *numbers(row["ratio"], ("value", "lo", "hi", "wall", "cpu", "order")),
                *numbers(row["seconds"], ("self", "baseline")),
            ]
            assert set(wanted) <= set(found[f"{table}-{name}"]), row
            assert f"{row['ratio']['kind']}, 88 of 218" in found[f"{table}-{name}"]
    assert set(numbers(whole["speeds"][0], ("cases", "seconds", "per_second"))) <= set(found[f"judge-{name}"])
    assert [found[f"searched-{name}"][8:16], found[f"searched-{name}"][16:24]] == [
        ["linear", "1", "1", "0", "0", "1.31", "1.31", "1.31"],
        ["relu", "2", "2", "2", "1", "0.312", "0.312", "0.412"],
    ]


def test_the_cases_of_all_pairs_of_an_op_are_counted_together(whole: Json, text: str) -> None:
    told = {row["subject"]: (row["part"], row["counts"]) for row in whole["coverage"]}
    pairs = sum(row["cases"] is not None for row in whole["conformance"] if row["subject"] == "conv2d")
    assert pairs > 1
    assert told["conv2d"] == ("stride", {"1 (default)": 301 * pairs, "2": 99 * pairs})
    cells = Tables(text).cells[f"coverage-{whole['runs'][0]['machine']}"]
    assert {str(301 * pairs), str(99 * pairs)} <= set(cells)


def test_every_planned_pair_and_benchmark_is_on_the_page(whole: Json, text: str) -> None:
    statuses = {(row["subject"], row["target"], row["storage"]): row["status"] for row in whole["conformance"]}
    assert list(statuses.values()) == ["ok", "ok", "crash", "broken", "undecided", "not run", "absent"]
    assert {row["area"]: row["name"] for row in whole["benchmarks"]} == {
        "conv2d": "1x64x56x56-64k3p1",
        "conv2d on photographs": "sobel",
    }
    assert {each["outcome"] for each in whole["untimed"]} == {"failed", "skipped", "not run"}
    for words in (
        "the process ended with code -11",
        "torch has no relu",
        "additive (vacuous)",
        "wrong answer, so it was not timed",
        "no CUDA device",
    ):
        assert words in html.unescape(text)


def test_the_verdict_is_one_sentence_of_what_was_measured(whole: Json) -> None:
    assert verdict.sentence(whole) == (
        "The reference with its variants breaks no law and could not be judged in 1 of 3 pairs (4,443 claims on 1 op "
        "in float32 and float64); torch breaks a law of conv2d and is undecided in 1 of 2 pairs; 1 of 4 timed "
        "contenders is slower than torch, 1 faster, 1 as fast, 1 unsure, 2 benchmarks were not timed; noise floor "
        "±0.86 %."
    )
    nothing = {**whole, "conformance": [], "benchmarks": [], "runs": [{"noise": {}}]}
    assert verdict.sentence(nothing) == "Nothing was judged; nothing was timed, 2 benchmarks were not timed."
    assert verdict.sentence({**nothing, "untimed": []}) == "Nothing was judged; nothing was timed."


def test_doubt_and_noise_leave_no_verdict() -> None:
    sure = {"lo": 1.03, "hi": 1.05}
    assert verdict.speed(sure, [], 0.02) == "slower"
    assert verdict.speed(sure, ["order"], 0.02) == "unsure"
    assert verdict.speed(sure, [], 0.04) == "same"
    assert verdict.speed({"lo": 0.9, "hi": 0.97}, [], 0.02) == "faster"
    assert verdict.speed({"lo": 0.9, "hi": 1.1}, [], 0.02) == "unsure"


def test_a_noisy_control_puts_every_row_in_doubt() -> None:
    noisy = timed("test_controls.py::test_control[cpu-100us]", "again", (1.2, 1.19, 1.21))
    found = results.assemble(Records(RUN, JUDGED, (*BENCHMARKS, noisy), TESTS))
    assert {row["verdict"] for row in found["benchmarks"]} == {"unsure"}
    assert all("control" in row["flags"] for row in found["benchmarks"])
    assert found["runs"][0]["noise"] == {"host": 0.2}


def test_a_finding_is_written_out(text: str) -> None:
    plain = html.unescape(text)
    for words in (
        "[[[[1, 2.5]]]]",
        "padding=[0,1]",
        "y[0] = 1.25",
        "2.5·3 = 7.5",
        "12.3 times the proven bound",
        "the filter is flipped (A & B)",
        "assert 1 < 2",
    ):
        assert words in plain, words
    assert text.count("</script>") == len(re.findall(r"<script", text))  # nothing that was judged ends one


def test_the_page_needs_nothing_else(text: str) -> None:
    assert len(text.encode()) < page.BUDGET
    assert Tables(text).loading == ["data:,"]
    (policy,) = map(html.unescape, re.findall(r'Content-Security-Policy" content="([^"]+)"', text))
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag, pattern in (("script", r'<script type="module">(.*?)</script>'), ("style", r"<style>(.*?)</style>")):
        (inside,) = re.findall(pattern, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_has_captions_scopes_and_headings_in_order(text: str) -> None:
    found = Tables(text)
    assert all("scope" in header for header in found.headers)
    assert text.count("<caption") == len(found.cells)
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(found.headings, found.headings[1:], strict=False))


def test_the_page_embeds_the_results_without_the_laws_that_held(whole: Json, text: str) -> None:
    (inside,) = re.findall(r'<script type="application/json" id="results">(.*?)</script>', text, re.DOTALL)
    embedded = json.loads(inside)
    assert {**embedded, "conformance": None} == {**whole, "conformance": None}
    assert [[each["status"] for each in row["laws"]] for row in embedded["conformance"]] == [
        [],
        [],
        [],
        ["fail"],
        ["vacuous"],
        [],
        [],
    ]


def test_the_summary_holds_the_same_numbers(whole: Json) -> None:
    found = page.summary(whole)
    assert verdict.sentence(whole) in found
    assert "OPENBLAS_CORETYPE Haswell" in found
    for row in whole["benchmarks"]:
        ratio = row["ratio"]
        assert f"{row['arm']} | {ratio['value']!r} | {ratio['lo']!r} to {ratio['hi']!r} |" in found
    for row in whole["conformance"]:
        assert row["subject"] in found
        assert row["worst"] is None or json.dumps(row["worst"]) in found
    assert "&lt;" not in found


def test_several_machines_stand_beside_one_another(whole: Json) -> None:
    other = {**RUN, "machine": {**MACHINE, "cpu": "Another"}}
    both = results.merge([whole, results.assemble(Records(other, JUDGED))])
    assert sorted(both["machines"]) == ["amd-epyc-9b45-2c", "another-2c"]
    found = Tables(page.html(both)).cells
    assert {f"pairs-{name}" for name in both["machines"]} <= set(found)
    assert page.summary(both)
    with pytest.raises(Refused, match=r"^two of the records are from amd-epyc-9b45-2c: give one for each machine$"):
        results.merge([whole, whole])


def test_what_one_machine_left_and_another_judged_is_not_missing() -> None:
    """A campaign goes from machine to machine: only what nobody has judged is still to do."""
    rest = {**RUN, "machine": {**MACHINE, "cpu": "Another"}, "tasks": TASKS[1:]}
    lines = [(RUN, JUDGED[:1]), (rest, JUDGED[2:])]
    first, second = (results.assemble(Records(run, part)) for run, part in lines)
    assert left(first) == {("conv2d", task["target"], task["storage"]) for task in TASKS[1:5]} | {RELU}
    assert left(second) == left(results.merge([first, second])) == {("conv2d", "d2lref:definition", "float64"), RELU}


RELU = ("relu", "d2lref:definition", "float32")  # which nobody judged


def left(whole: Json) -> set[tuple[str, ...]]:
    """Return the pairs that are still to do."""
    rows = [row for row in whole["conformance"] if row["status"] == "not run"]
    return {(row["subject"], row["target"], row["storage"]) for row in rows}


# Records


def test_the_page_is_made_of_records_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["html", str(folder)]) == 0
    first = json.loads((folder / "results.json").read_text())
    assert main(["html", str(folder / "results.json"), "--out", str(folder / "again")]) == 0
    assert (folder / "again" / "results.json").read_text() == (folder / "results.json").read_text()
    assert (folder / "again" / "index.html").read_text() == (folder / "index.html").read_text()
    capsys.readouterr()
    assert main(["summary", str(folder)]) == 0
    assert capsys.readouterr().out.startswith("# d2lref report\n\n" + verdict.sentence(first))


def test_rendering_does_not_import_what_was_judged() -> None:
    code = "import sys, reports.write; print({'d2lref', 'torch', 'sklearn', 'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"schema": "d2lref-run", "version": 2}', "d2lref-run " + NEWER),
        ("run.json", '{"schema": "other", "version": 1}', "schema 'other', expected 'd2lref-run'"),
        ("run.json", "[]", "expected a JSON object, found list"),
        ("run.json", "{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("judged.jsonl", '{"schema": "d2lref-judged", "version": 2}\n', "d2lref-judged " + NEWER),
        ("benchmarks.jsonl", '{"schema": "d2lref.benchmarks", "version": 2}\n', "d2lref.benchmarks " + NEWER),
    ],
)
def test_records_of_another_kind_are_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    path = folder / "records" / name
    path.write_text(content)
    assert main(["html", str(folder)]) == 2
    assert capsys.readouterr().err == f"reports: {path}: {message}\n"
    assert not (folder / "index.html").exists()


def test_results_of_a_newer_schema_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Json
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**whole, "version": 2}))
    assert main(["summary", str(path)]) == 2
    assert capsys.readouterr().err == f"reports: {path}: d2lref-results {NEWER}\n"
    assert main(["html", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"reports: {tmp_path / 'nowhere'}: no such file or folder\n"
    assert main(["html", str(tmp_path)]) == 2
    assert "no records" in capsys.readouterr().err


def test_a_line_that_a_crash_cut_short_is_left_out(folder: Path) -> None:
    path = folder / "records" / "judged.jsonl"
    with path.open("a") as stream:
        stream.write('{"key": "half')
    assert len(records.read(folder).judged) == len(JUDGED)
    assert len(Store(folder).kept(resume=True).judged) == len(JUDGED)
    assert path.read_text().endswith("}\n")


def test_a_run_that_was_killed_counts_as_interrupted() -> None:
    found = results.assemble(Records({**RUN, "stage": "judging", "ended": None}, JUDGED[:1]))
    assert found["runs"][0]["interrupted"] == "judging"
    assert "Interrupted while judging." in page.html(found)


# Bad input


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line with which the main job refuses its arguments."""
    assert main(list(arguments)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("reports: ")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("reports: ").rstrip("\n")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused(capsys, "--out", str(tmp_path / "file"))
    assert message == f"--out {tmp_path / 'file'}: cannot be written (Not a directory)"
    assert (tmp_path / "file").read_text() == "mine"


def test_what_means_nothing_is_refused_and_nothing_is_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    out = ("--out", str(folder))
    assert "nonsense" in refused(capsys, *out, "--implementations", "d2lref,nonsense")
    assert "no op has a variant 'nonsense'" in refused(capsys, *out, "--implementations", "d2lref:nonsense")
    assert "'nonsense' is not known" in refused(capsys, *out, "--ops", "relu,nonsense")
    assert refused(capsys, *out, "--ops", ",") == "--ops: no names"
    assert refused(capsys, "--only", "bench", "--ops", "relu") == "--ops chooses what is judged, not what is timed"
    matmul = ("--implementations", "d2lref:matmul")
    assert refused(capsys, *out, *matmul, "--ops", "relu") == "d2lref:matmul: none has relu"
    assert "'nonsense'" in refused(capsys, *out, "--cases", "nonsense")
    assert "'nonsense'" in refused(capsys, "--only", "nonsense")
    assert refused(capsys, "--only", "judge", "html", str(folder)) == "--only belongs to the main job, not to html"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# Processes


def fate(task: str) -> str:
    """Meet the fate that the task names."""
    if task == "crash":
        os._exit(3)
    if task == "hang":
        time.sleep(60)
    if task == "error":
        raise ValueError("two\nlines")
    return task.upper()


def test_a_crash_or_a_hang_is_told_and_the_others_go_on() -> None:
    tasks = ["a", "crash", "b", "error", "hang", "c", "crash", "d"]
    outcomes = list(workers.each(fate, tasks, 2, 5.0))
    assert sorted(each.task for each in outcomes) == sorted(tasks)
    told = {each.task: (each.value, each.failure, each.note) for each in outcomes}
    assert {told[name] for name in "abcd"} == {(name, "", "") for name in "ABCD"}
    assert told["crash"] == (None, "crash", "the process ended with code 3")
    assert told["error"] == (None, "error", "ValueError: two\nlines")
    assert told["hang"] == (None, "timeout", "stopped after 5 s")


STUB = """
import json, signal, sys, time
path, fate = sys.argv[1:]
line = lambda **told: open(path, "a").write(json.dumps(told) + "\\n")
def interrupted(*_):
    line(record="test", id="kept", outcome="passed", reason="")
    sys.exit(2)
signal.signal(signal.SIGINT, interrupted)
line(record="plan", tests=["kept"])
if fate == "fail":
    sys.exit("ERROR: no such option")
time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_benchmarks_that_fail_or_take_too_long_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.refuse_or_make()
    stub = [sys.executable, "-c", STUB, str(store.path("tests.jsonl"))]
    monkeypatch.setattr(timing, "command", lambda *_: [*stub, "hang"])
    seen: list[int] = []
    with pytest.raises(timing.OutOfTime, match="--resume goes on"):
        timing.run(store, [], lambda lines: seen.append(len(lines)), time.monotonic() + 2)
    assert seen
    assert records.lines(store.path("tests.jsonl"), records.TESTS)[-1]["id"] == "kept"
    monkeypatch.setattr(timing, "command", lambda *_: [*stub, "fail"])
    monkeypatch.setattr(timing, "FINE", (0,))
    with pytest.raises(timing.Failed, match=r"^the benchmarks ended with code 1: ERROR: no such option$"):
        timing.run(store, [], lambda _: None, time.monotonic() + 60)


def test_the_observer_writes_down_what_became_of_each_test(tmp_path: Path) -> None:
    tests = ("pass", "import pytest; pytest.skip('no GPU')", r"assert 1 == 2, 'so\nwrong'")
    code = (f"def test_{name}():\n    {body}\n" for name, body in zip("abc", tests, strict=True))
    (tmp_path / "test_it.py").write_text("".join(code))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "reports.outcomes",
        "--outcomes=out.jsonl",
        "-p",
        "no:cacheprovider",
    ]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    plan, *seen = records.lines(tmp_path / "out.jsonl", records.TESTS)
    assert plan["tests"] == ["test_it.py::test_a", "test_it.py::test_b", "test_it.py::test_c"]
    assert [each["outcome"] for each in seen] == ["passed", "skipped", "failed"]
    assert [each["reason"] for each in seen] == ["", "no GPU", "so wrong assert 1 == 2"]
    assert timing.done([plan, *seen]) == ["test_it.py::test_a", "test_it.py::test_b"]


def test_the_ops_to_judge_can_be_named() -> None:
    wish = judging.Wish(("d2lref:definition", "d2lref:maximum"), "20", ("relu", "linear"))
    tasks = judging.plan(wish)["tasks"]
    pairs = {(task["subject"], task["target"]) for task in tasks}
    assert pairs == {("relu", "d2lref:definition"), ("linear", "d2lref:definition"), ("relu", "d2lref:maximum")}


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupted_run_is_written_and_can_be_resumed(tmp_path: Path) -> None:
    log = tmp_path / "records" / "judged.jsonl"
    command = [sys.executable, "-m", "reports", "--only", "judge", "--cases", "20", "--out", str(tmp_path)]
    command += ["--implementations", "d2lref:definition"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not log.exists() or log.read_bytes().count(b"\n") < 2):
        time.sleep(0.05)
    for stop in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # as tox does
        process.send_signal(stop)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith("interrupted while judging; --resume goes on from here\n")
    assert str(tmp_path / "index.html") in out
    kept = log.read_text()
    count = kept.count("\n")
    whole = json.loads((tmp_path / "results.json").read_text())
    statuses = [row["status"] for row in whole["conformance"]]
    assert count >= 2
    assert statuses.count("not run") == len(statuses) - count > 0
    assert "Interrupted while judging." in (tmp_path / "index.html").read_text()
    assert "Interrupted while judging" in (tmp_path / "summary.md").read_text()
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert log.read_text().startswith(kept)
    assert log.read_text().count("\n") == len(statuses)
    whole = json.loads((tmp_path / "results.json").read_text())
    assert "not run" not in {row["status"] for row in whole["conformance"]}
    assert whole["runs"][0]["interrupted"] == ""
    assert len(whole["runs"][0]["sessions"]) == 2
    assert not list(tmp_path.rglob("*.part"))
    log.write_text(kept)
    rest = [*command[:-4], "--out", str(tmp_path / "rest"), *command[-2:], "--without", str(tmp_path)]
    done = subprocess.run(rest, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    others = (tmp_path / "rest" / "records" / "judged.jsonl").read_text()
    assert others.count("\n") == len(statuses) - count
    assert not {json.loads(line)["key"] for line in kept.splitlines()} & {
        json.loads(line)["key"] for line in others.splitlines()
    }
    done = subprocess.run([*rest, str(tmp_path / "rest")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


# In a browser

CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const lum = c => { const [r, g, b] = c.slice(0, 3).map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("script, noscript, style, .vg-tooltip")) continue;
    const style = getComputedStyle(e);
    if (e.closest("svg") && style.stroke !== "none") continue; // a halo that keeps the grid off a name
    const a = lum(parse(e.closest("svg") ? style.fill : style.color)), b = lum(ground(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([e.tagName, e.textContent.slice(0, 40), ratio]);
  }
  return poor;
}"""
CELLS = """() => Object.fromEntries([...document.querySelectorAll("table")].map(t =>
  [t.id, [...t.querySelectorAll("td, th")].map(c => c.querySelector("data")?.value ?? c.innerText.trim())]))"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Give a headless Chromium: the one that D2LREF_BROWSER names, or one on PATH."""
    named = os.environ.get("D2LREF_BROWSER")
    names = [named] if named else ["chromium", "chromium-browser", "google-chrome"]
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        assert not named, f"D2LREF_BROWSER={named}: no such program"
        pytest.skip("no Chromium: put chromium on PATH or name one in D2LREF_BROWSER")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the browser is driven by playwright: pip install playwright"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_errors_or_requests(
    chromium: Any, tmp_path: Path, whole: Json, text: str, scheme: str, width: int
) -> None:
    path = tmp_path / "index.html"
    path.write_text(text, encoding="utf-8")
    told: list[str] = []
    view = chromium.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    view.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    view.on("pageerror", lambda error: told.append(str(error)))
    view.on("request", lambda request: told.append(request.url))
    view.goto(path.as_uri())
    view.wait_for_function("[...document.querySelectorAll('.plot')].every(e => e.dataset.drawn)", timeout=60_000)
    assert told == [path.as_uri()]
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.evaluate(CONTRAST) == []
    points = view.locator(".plot svg path[aria-roledescription=point]")
    assert points.count() == len(whole["benchmarks"])
    dark = view.evaluate("getComputedStyle(document.documentElement).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    name, cells = whole["runs"][0]["machine"], view.evaluate(CELLS)
    for row in whole["benchmarks"]:
        wanted = {*numbers(row["ratio"], ("value", "lo", "hi")), *numbers(row["seconds"], ("self", "baseline"))}
        assert wanted <= set(cells[f"times-{name}"])
    for row in whole["conformance"]:
        assert set(numbers(row, ("worst", "executed", "failed"))) <= set(cells[f"pairs-{name}"])
    view.close()


def test_a_browser_without_javascript_shows_the_same_numbers(
    chromium: Any, tmp_path: Path, whole: Json, text: str
) -> None:
    path = tmp_path / "index.html"
    path.write_text(text, encoding="utf-8")
    context = chromium.new_context(java_script_enabled=False)
    view = context.new_page()
    view.goto(path.as_uri())
    shown = view.locator("body").inner_text()
    assert verdict.sentence(whole) in shown
    assert "The plots need JavaScript" in shown
    for row in whole["benchmarks"]:
        assert json.dumps(row["ratio"]["value"]) in shown
    context.close()
