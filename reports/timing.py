"""Run the quick benchmarks, in one process of their own and nothing beside it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from reports.records import TESTS, Json, Store, lines

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 2.0  # soft limit of a comparison, after its 20 rounds
LOOK = 1.0  # seconds between looks at the outcomes; each is a few file operations, on the other core
GRACE = 20.0  # seconds in which pytest must end after Ctrl-C
CONTROLS = "test_controls.py"  # measured in every session, so that each has a noise floor of its own

INTERRUPTED, NOTHING_LEFT = 2, 5  # exit codes of pytest
FINE = (0, 1, NOTHING_LEFT)  # 1: some test failed, and the report says which

Watch = Callable[[Sequence[Json]], None]


class Failed(RuntimeError):
    """The benchmarks could not run; one line."""


class OutOfTime(Exception):
    """The deadline came before the last benchmark had ended; one line."""


def run(store: Store, known: Iterable[Json], watch: Watch, deadline: float) -> None:
    """Time what the records do not have yet; `watch` is called with every outcome so far, now and then.

    deadline: on the clock of `time.monotonic`. Raises OutOfTime, Failed when pytest could not do its work, and
    KeyboardInterrupt on Ctrl-C; each after pytest has written what it had.
    """
    with store.path("benchmarks.log").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(store, done(known)),
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to hand on, once
        )
        try:
            code = _follow(process, store, watch, deadline)
        except (KeyboardInterrupt, OutOfTime):
            _interrupt(process)
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code not in FINE:
        raise Failed(f"the benchmarks ended with code {code}: {_last_words(store.path('benchmarks.log'))}")


def command(store: Store, finished: Sequence[str]) -> list[str]:
    """Return the command line of pytest, without the tests that are finished."""
    return [
        *(sys.executable, "-m", "pytest", "benchmarks", "-m", "quick", "-q"),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "reports.outcomes", "--benchmark-columns=median"),
        *(f"--versus-seconds={SECONDS}", f"--versus-log={store.path('benchmarks.jsonl').absolute()}"),
        f"--outcomes={store.path('tests.jsonl').absolute()}",
        *(f"--deselect={each}" for each in finished),
    ]


def done(tests: Iterable[Json]) -> list[str]:
    """Return the tests that have passed or were skipped, but for the controls."""
    outcomes = {line["id"]: line["outcome"] for line in tests if line["record"] == "test"}
    return [name for name, outcome in outcomes.items() if outcome != "failed" and CONTROLS not in name]


def _follow(process: "subprocess.Popen[bytes]", store: Store, watch: Watch, deadline: float) -> int:
    """Return the exit code of pytest."""
    while True:
        code = _ended(process)
        watch(lines(store.path("tests.jsonl"), TESTS))
        if code is not None:
            return code
        if time.monotonic() > deadline:
            raise OutOfTime("not every benchmark was timed: --resume goes on, and --minutes allows more time")


def _ended(process: "subprocess.Popen[bytes]") -> int | None:
    """Return the exit code of a process that ends within LOOK seconds."""
    try:
        return process.wait(LOOK)
    except subprocess.TimeoutExpired:
        return None


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Let pytest keep what it measured; end it when it does not."""
    process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path) -> str:
    """Return the last line of the log that says something, or where the log is."""
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip(" =-")]
    return " ".join(said[-1].split()) if said else f"see {log}"
