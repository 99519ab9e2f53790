"""From records to files: results.json, index.html and summary.md, each written in one step."""

from collections.abc import Sequence
from pathlib import Path

from reports import page, records
from reports.records import RESULTS, Json, Refused
from reports.results import assemble, merge


def results(place: Path) -> Json:
    """Return the results of a folder with records, or of a results.json. Raises Refused for anything else."""
    if place.is_dir():
        return assemble(records.read(place))
    if not place.exists():
        raise Refused(f"{place}: no such file or folder")
    return records.checked(place, records.parsed(place), RESULTS)


def report(documents: Sequence[Json], out: Path) -> Json:
    """Write the three files into a folder; return the results. Raises Refused when they cannot be written."""
    whole = merge(documents)
    files = {"index.html": page.html(whole), "summary.md": page.summary(whole), "results.json": records.dumps(whole) + "\n"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            records.write_text(out / name, text)
    except OSError as error:
        raise Refused(f"{out}: cannot be written ({error.strerror})") from error
    return whole
