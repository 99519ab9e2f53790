"""Render the results: one HTML page that needs nothing else, and a Markdown summary. Reads the results alone.

Every number of a table stands in it as in the JSON, or inside `<data value="...">` where it is shown in another unit.
"""

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from reports import charts
from reports.records import Json
from reports.results import PARTS, digits, identifier
from reports.verdict import owner, sentence

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
BUDGET = 2 << 20  # bytes of a page
SYMBOLS = {
    "ok": "✓",
    "broken": "✗",
    "error": "!",
    "crash": "!",
    "timeout": "!",
    "undecided": "?",
    "nothing": "?",
    "absent": "–",
    "not run": "…",
}
MARKS = {"slower": "▶", "faster": "◀", "same": "◆", "unsure": "○"}
LEGEND = (
    (("ok",), "every law held"),
    (("broken",), "a law was broken"),
    (("undecided", "nothing"), "breaks no law, but a law could not be decided or could not have failed there"),
    (("error", "crash", "timeout"), "could not be judged: an exception, a crash, or no end"),
    (("absent",), "has no such op"),
    (("not run",), "planned, not judged: the run was interrupted"),
)
GRAVE = ("broken", "crash", "timeout", "error", "undecided", "nothing", "not run", "ok", "absent")
SHOWN = 64  # numbers of an array that are written out


def html(results: Json) -> str:
    """Return the page. It embeds the results, without the laws that held where it would be larger than BUDGET."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    machines = list(views(results))
    specs = {plot["id"]: plot["spec"] for machine in machines for plot in (*machine["areas"], *machine["searched"])}
    view = {"sentence": sentence(results), "machines": machines, "style": style, "results": results}
    script = runtime() if specs else ""
    sources = {"script": _hash(script), "style": _hash(style)}
    page = _environment().get_template("page.html.j2")
    for embedded in (_briefly(results), None):
        text = page.render(**view, specs=specs, script=script, sources=sources, embedded=embedded)
        if len(text.encode()) <= BUDGET:
            break
    return text


def summary(results: Json) -> str:
    """Return the summary in Markdown."""
    text = _environment().get_template("summary.md.j2")
    return text.render(sentence=sentence(results), machines=list(views(results)), results=results)


@cache
def runtime() -> str:
    """Return the script that draws the plots, with the libraries it needs."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle((TEMPLATES / "page.js").read_text(encoding="utf-8"))
    if "</script" in bundle.lower():
        raise RuntimeError("the bundle of vl-convert cannot stand inside a page: it holds </script")
    return bundle


def _hash(text: str) -> str:
    """Return the source expression of the Content-Security-Policy that allows exactly this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" if text else "'none'"


def _briefly(results: Json) -> Json:
    """Return the results without the laws that held, which are most of it; results.json has them."""
    rows = [
        {**row, "laws": [law for law in row["laws"] or [] if law["status"] != "pass"]} for row in results["conformance"]
    ]
    return {**results, "conformance": rows}


# What the templates are given


def views(results: Json) -> Iterator[Json]:
    """Yield what is said of one machine after the other."""
    for run in results["runs"]:
        name = run["machine"]
        here = {part: [row for row in results.get(part, []) if row["machine"] == name] for part in PARTS}
        ends = charts.span(here["benchmarks"])
        yield {
            **here,
            "run": run,
            "machine": results["machines"][name],
            "ops": [_op(subject, list(rows)) for subject, rows in groupby(here["conformance"], key=_subject)],
            "columns": _columns(here["conformance"]),
            "areas": [_area(name, area, rows, ends) for area, rows in charts.areas(here["benchmarks"])],
            "searched": _searched(name, here["searches"]),
            "untimed": _together(here["untimed"]),
            "kernels": _kernels(results["machines"][name], here["benchmarks"]),
        }


def _kernels(machine: Json, rows: Sequence[Json]) -> list[str]:
    """Return the libraries that multiplied matrices, with the kernels that they chose."""
    timed = {blas for row in rows for blas in row["conditions"]["blas"]}
    pools = (
        " ".join(pool[key] for key in ("library", "version", "kernels") if pool.get(key)) for pool in machine["pools"]
    )
    return sorted(timed or set(pools))


def _subject(row: Json) -> str:
    subject: str = row["subject"]
    return subject


def _area(machine: str, area: str, rows: list[Json], ends: tuple[float, float]) -> Json:
    layers = [{"layer": name, "rows": list(each)} for name, each in groupby(rows, key=charts.layer)]
    return {"name": area, "id": identifier("plot", machine, area), "layers": layers, "spec": charts.forest(rows, ends)}


def _searched(machine: str, rows: list[Json]) -> list[Json]:
    """Return, in a list, what came of looking for known mistakes: the whole, a row for each op, the plot; or nothing.

    Of a mistake that was looked for twice the later time counts.
    """
    last = {(row["subject"], row["mistake"]): row for row in rows}
    if not last:
        return []
    ordered = sorted(last.values(), key=_subject)
    ops = [{"subject": name, **_came(list(each))} for name, each in groupby(ordered, key=_subject)]
    return [{"id": identifier("searched", machine), "spec": charts.searched(ordered), "ops": ops, **_came(ordered)}]


def _came(rows: list[Json]) -> Json:
    """Return how many mistakes were looked for, found and named, and the CPU seconds of one."""
    own, seconds = [row for row in rows if row["own"]], [row["seconds"] for row in rows]
    return {
        "sought": len(rows),
        "found": sum(row["found"] for row in rows),
        "own": len(own),
        "named": sum(row["named"] for row in own),
        "mean": digits(fmean(seconds), 3),
        "median": digits(median(seconds), 3),
        "longest": max(seconds),
    }


def _op(subject: str, rows: list[Json]) -> Json:
    """Return an op's line of the table at a glance: a chip for each implementation, by column."""
    chips: dict[str, list[Json]] = defaultdict(list)
    for target, each in groupby(rows, key=lambda row: row["target"]):
        chips[column(target)].append(_chip(target, list(each)))
    executed = sum(row["executed"] or 0 for row in rows)
    findings = [name for row in rows for name in row["findings"]]
    return {"subject": subject, "chips": chips, "rows": rows, "executed": executed, "findings": findings}


def column(target: str) -> str:
    """Return the column of a target in the table at a glance."""
    if target.startswith("d2lref:"):
        return "definition" if target == "d2lref:definition" else "variants"
    return owner(target)


def _columns(rows: Sequence[Json]) -> list[str]:
    """Return the columns of the table at a glance; those of the reference come first."""
    names = dict.fromkeys(column(row["target"]) for row in rows)
    return sorted(names, key=lambda name: OWN.index(name) if name in OWN else len(OWN))


TITLES = {"definition": "Definition", "variants": "Variants of the reference"}
OWN = tuple(TITLES)


def _chip(target: str, rows: list[Json]) -> Json:
    """Return what an implementation of one op came to in all its precisions; the gravest status counts."""
    status = min((row["status"] for row in rows), key=GRAVE.index)
    worst = [row["worst"] for row in rows if row["worst"] is not None]
    name = target.removeprefix("d2lref:") if column(target) == "variants" else ""
    return {"status": status, "name": name, "worst": worst, "id": rows[0]["id"]}


def _together(rows: Sequence[Json]) -> list[Json]:
    """Return the benchmarks without a result by what became of them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        groups.setdefault((row["outcome"], row["reason"]), []).append(row["test"].removeprefix("benchmarks/"))
    return [{"outcome": what, "reason": why, "tests": tests} for (what, why), tests in sorted(groups.items())]


# How things are written


def number(value: Any) -> str:
    """Return a number as it stands in the JSON, a dash for none."""
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)


def nested(array: Json) -> str:
    """Return an array as nested lists; of a long one the beginning."""
    values = [number(value).removesuffix(".0") for value in array["values"]]
    if len(values) > SHOWN:
        return f"[{', '.join(values[:SHOWN])}, …] (all {len(values)} in results.json)"
    for size in reversed(array["shape"][1:]):
        values = [f"[{', '.join(values[i : i + size])}]" for i in range(0, len(values), size)] if size else []
    return f"[{', '.join(values)}]" if array["shape"] else values[0]


def duration(seconds: float) -> str:
    """Return seconds in a unit that keeps the number short."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def percent(part: float) -> str:
    """Return 0.0123 as 1.23 %."""
    return f"{100 * part:.3g} %"


def escaped(data: Json) -> Any:
    """Return JSON that can stand inside a script element."""
    from markupsafe import Markup

    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda match: f"\\u{ord(match.group()):04x}", text))  # noqa: S704 - escaped above


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"number": number, "nested": nested, "duration": duration, "percent": percent, "json": escaped}
    found.globals |= {
        "titles": defaultdict(str, TITLES),
        "symbols": SYMBOLS,
        "marks": MARKS,
        "legend": LEGEND,
        "identifier": identifier,
    }
    return found
