"""What a run leaves on the disk while it goes, so that an interrupt loses at most what is in progress.

    FOLDER/index.html, summary.md, results.json     the report, written at the end from the records
    FOLDER/records/run.json                         schema d2lref-run: machine, options, what was planned, how it ended
    FOLDER/records/judged.jsonl                     one line per judged pair, schema d2lref-judged, with its commit
    FOLDER/records/benchmarks.jsonl                 schema d2lref.benchmarks, as `benchmarks.records` documents it
    FOLDER/records/tests.jsonl                      schema d2lref-tests: the benchmarks planned, and what became of each
    FOLDER/records/benchmarks.log                   what pytest printed

Whole files are written under another name and renamed; lines are appended and flushed. A last line that a crash cut
short is left out when the file is read, and cut off before the next is appended.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

RUN, JUDGED, TESTS, RESULTS = "d2lref-run", "d2lref-judged", "d2lref-tests", "d2lref-results"
BENCHMARKS = "d2lref.benchmarks"
VERSION = 1  # of every schema above; a reader refuses a newer one
NAMES = ("run.json", "judged.jsonl", "benchmarks.jsonl", "tests.jsonl", "benchmarks.log")


class Refused(ValueError):
    """A folder or file that cannot be used, in one line."""


@dataclass(frozen=True)
class Records:
    """What one run wrote: its header, and the lines of each file."""

    run: Json
    judged: tuple[Json, ...] = ()
    benchmarks: tuple[Json, ...] = ()
    tests: tuple[Json, ...] = ()


# Writing


@dataclass
class Store:
    """The folder of a report while its run goes."""

    out: Path

    @property
    def folder(self) -> Path:
        """Return the folder of the records."""
        return self.out / "records"

    def path(self, name: str) -> Path:
        """Return the place of one of NAMES."""
        return self.folder / name

    def refuse_or_make(self) -> None:
        """Make the folder. Raises Refused when it cannot be written; nothing that is in it changes."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.path("writable"), "")
            self.path("writable").unlink()
        except OSError as error:
            raise Refused(f"--out {self.out}: cannot be written ({error.strerror})") from error

    def kept(self, *, resume: bool) -> Records:
        """Return what earlier runs left, when this one resumes them; else remove it. Raises Refused if unreadable."""
        if not resume:
            for name in NAMES:
                self.path(name).unlink(missing_ok=True)
        if not self.path("run.json").exists():
            return Records({})
        for name in LINES:
            mend(self.path(f"{name}.jsonl"))
        return read(self.folder)

    def header(self, **facts: Any) -> None:
        """Write the header of the run anew."""
        write_json(self.path("run.json"), {"schema": RUN, "version": VERSION, **facts})

    def judged(self, record: Json) -> None:
        """Append a judged pair."""
        append(self.path("judged.jsonl"), [{"schema": JUDGED, "version": VERSION, **record}])


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old one or the whole new one. Raises OSError."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: Json) -> None:
    """Write JSON in one step, with sorted keys. Raises OSError."""
    write_text(path, dumps(data) + "\n")


def dumps(data: Json) -> str:
    """Return JSON with sorted keys; what is not finite must be text by now."""
    return json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)


def append(path: Path, lines: Iterable[Json]) -> None:
    """Append JSON objects, one a line, in one write."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))


def mend(path: Path) -> None:
    """Cut off a last line without an end."""
    if not path.exists():
        return
    with path.open("rb+") as stream:
        stream.truncate(stream.read().rfind(b"\n") + 1)


# Reading


def read(folder: Path) -> Records:
    """Return the records of a report's folder, or of its subfolder `records`.

    Raises Refused when there are none, or one is of a schema that this version does not read.
    """
    place = folder / "records" if (folder / "records").is_dir() else folder
    if not (place / "run.json").is_file():
        raise Refused(f"{folder}: no records (expected records/run.json, or a results.json)")
    return Records(
        checked(place / "run.json", parsed(place / "run.json"), RUN),
        *(tuple(lines(place / f"{name}.jsonl", schema)) for name, schema in LINES.items()),
    )


LINES = {"judged": JUDGED, "benchmarks": BENCHMARKS, "tests": TESTS}


def lines(path: Path, schema: str) -> list[Json]:
    """Return the objects of a file, none where it is missing; each line that names a schema is checked."""
    if not path.exists():
        return []
    whole = _text(path).rpartition("\n")[0]
    found = [_loads(path, line) for line in whole.splitlines()]
    return [checked(path, line, schema) if "schema" in line else line for line in found]


def parsed(path: Path) -> Json:
    """Return the object of a JSON file. Raises Refused when it is no such file."""
    return _loads(path, _text(path))


def checked(path: Path, data: Mapping[str, Any], schema: str) -> Json:
    """Return the data when its schema is the one expected and no newer than this program. Raises Refused."""
    if data.get("schema") != schema:
        raise Refused(f"{path}: schema {data.get('schema')!r}, expected {schema!r}")
    version = data.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise Refused(f"{path}: {schema} version {version!r}, this program reads up to {VERSION}: update d2lref")
    return dict(data)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def _loads(path: Path, text: str) -> Json:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise Refused(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data
