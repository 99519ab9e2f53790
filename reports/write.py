"""From records to files: results.json, index.html and summary.md, each written in one step."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from reports import page, records
from reports.records import RESULTS, Json, Refused
from reports.results import assemble, merge

NAMES = ("index.html", "summary.md", "results.json")


def results(place: Path) -> Json:
    """Return the results of a folder with records, or of a results.json. Raises Refused for anything else."""
    if place.is_dir():
        return assemble(records.read(place))
    if not place.exists():
        raise Refused(f"{place}: no such file or folder")
    return records.checked(place, records.parsed(place), RESULTS)


def need(*modules: str) -> None:
    """Raise Refused when a library is missing: one of these, or of those that every report needs."""
    missing = [name for name in ("altair", "jinja2", "vl_convert", *modules) if find_spec(name) is None]
    if missing:
        raise Refused(f"{', '.join(missing)}: not installed (pip install '.[bench,report]', or use tox -e report)")


def report(documents: Sequence[Json], out: Path) -> Json:
    """Write the three files into a folder; return the results. Raises Refused when they cannot be written."""
    need()
    whole = merge(documents)
    texts = (page.html(whole), page.summary(whole), records.dumps(whole) + "\n")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in zip(NAMES, texts, strict=True):
            records.write_text(out / name, text)
    except OSError as error:
        raise Refused(f"{out}: cannot be written ({error.strerror})") from error
    return whole
