"""The main job: judge, then time, then write the report; each result is on the disk before the next is asked for."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click

from reports import judging, timing, workers, write
from reports.progress import Progress, stage
from reports.records import Json, Records, Refused, Store, read
from reports.results import slug
from reports.verdict import sentence

LATEST = timing.ROOT / "reports" / "latest"
DONE, FAILED, INTERRUPTED = 0, 4, 130  # exit codes
PAGE_SECONDS = 10.0  # kept for writing the report
LEAST_SECONDS = 100.0  # timing gets at least so much, however long the judging took


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    out: Path = LATEST
    implementations: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    cases: str = "quick"
    only: str | None = None
    resume: bool = False
    minutes: float = 5.0
    without: tuple[Path, ...] = ()


@dataclass
class Job:
    """A run of the main job: its folder, and what its header says."""

    store: Store
    options: Options
    kept: Records
    elsewhere: frozenset[str] = frozenset()  # keys of the pairs that other records hold
    facts: Json = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """Return when timing stops, on the clock of `time.monotonic`; the page takes the last seconds."""
        return max(self.started + 60 * self.options.minutes - PAGE_SECONDS, time.monotonic() + LEAST_SECONDS)

    def note(self, **facts: Any) -> None:
        """Add facts to the header."""
        self.facts.update(facts)
        self.store.header(**self.facts)


def main_job(options: Options) -> int:
    """Do the job and return its exit code. Raises Refused, before anything is changed, for what cannot be done."""
    write.need("pytest", "pytest_benchmark", "threadpoolctl")
    store = Store(options.out)
    store.refuse_or_make()
    with interruptible_once():
        plan = planned(options)
        elsewhere = frozenset(key for folder in options.without for key in judged_well(read(folder)))
        job = Job(store, options, store.kept(resume=options.resume), elsewhere)
        begin(job, plan)
        try:
            measure(job)
        except KeyboardInterrupt:
            job.note(interrupted=job.facts["stage"])
        except timing.OutOfTime as reason:
            job.note(stopped=str(reason))
        except timing.Failed as error:
            job.note(failed=str(error))
        finish_undisturbed()
        return finish(job)


def finish(job: Job) -> int:
    """Write the report, say what it says, and return the exit code."""
    job.note(ended=now(), stage="ended")
    whole = write.report([write.results(job.store.folder)], job.options.out)
    if job.facts["interrupted"]:
        click.echo(f"interrupted while {job.facts['interrupted']}; --resume goes on from here", err=True)
    click.echo(f"{sentence(whole)}\n{job.options.out / 'index.html'}")
    return INTERRUPTED if job.facts["interrupted"] else FAILED if job.facts["failed"] else DONE


def planned(options: Options) -> Json:
    """Return the tasks and the machine, found out in a process of its own so that this one stays light."""
    from benchmarks import machine

    machine.pin_environment()  # inherited by every process below
    wish = judging.Wish(options.implementations, options.cases, options.ops)
    (found,) = workers.each(judging.plan, [wish], 1, 120.0)
    if found.failure:
        raise Refused(f"the plan could not be made: {found.note}")
    if "refused" in found.value:
        raise Refused(found.value["refused"])
    plan: Json = found.value
    return plan


def begin(job: Job, plan: Json) -> None:
    """Write the header. Raises Refused when the run would go on with the records of another machine."""
    earlier = job.kept.run
    if earlier and slug(earlier["machine"]) != slug(plan["machine"]):
        raise Refused(f"--resume: the records are of {slug(earlier['machine'])}, this is {slug(plan['machine'])}")
    tasks = {_pair(task): task for task in earlier.get("tasks", [])}
    tasks |= {
        _pair(task): task for task in plan["tasks"] if job.options.only != "bench" and task["key"] not in job.elsewhere
    }
    job.note(
        sessions=[*earlier.get("sessions", []), now()],
        commit=commit(),
        machine=plan["machine"],
        options={
            **asdict(job.options),
            "out": _from_here(job.options.out),
            "without": [_from_here(folder) for folder in job.options.without],
        },
        tasks=list(tasks.values()),
        stage="judging",
        interrupted="",
        failed="",
        stopped="",
    )


def _from_here(folder: Path) -> str:
    """Return a folder of the repository by its place in it, and of any other folder the name alone."""
    whole = folder.resolve()
    return whole.relative_to(timing.ROOT).as_posix() if whole.is_relative_to(timing.ROOT) else whole.name


def _pair(task: Json) -> tuple[str, ...]:
    """Return what tells a pair from others, whatever the number of cases."""
    return task["subject"], task["target"], task["storage"], task["algorithm"]


def measure(job: Job) -> None:
    """Judge, then time."""
    if job.options.only != "bench":
        judge(job)
    if job.options.only != "judge":
        job.note(stage="timing")
        with stage("timing ") as shown:
            timing.run(job.store, job.kept.tests, partial(tell, shown), job.deadline)


def judge(job: Job) -> None:
    """Judge every pair that has no record yet, one on each core."""
    have = judged_well(job.kept)
    tasks = [task for task in job.facts["tasks"] if not task["missing"]]
    left = [task for task in tasks if task["key"] not in have]
    bad = 0
    with stage("judging") as shown:
        outcomes = workers.each(judging.judge, left, judging.workers(), judging.limit(job.options.cases))
        for number, outcome in enumerate(outcomes, 1 + len(tasks) - len(left)):
            job.store.judged({**record(outcome), "commit": job.facts["commit"]})
            if line := spoilt(outcome):
                bad += 1
                shown.say(line)
            shown.at(number, len(tasks), f"{bad} not ok" if bad else "")


def judged_well(kept: Records) -> set[str]:
    """Return the keys of the pairs that came to a verdict."""
    return {line["key"] for line in kept.judged if not line["failure"]}


def record(outcome: workers.Outcome) -> Json:
    """Return the line that is kept of a judged pair."""
    answer = outcome.value or {"operands": [], "seconds": round(outcome.seconds, 3), "report": None}
    return {"key": outcome.task["key"], "failure": outcome.failure, "note": outcome.note, **answer}


def spoilt(outcome: workers.Outcome) -> str:
    """Return a line about a pair that is not ok, "" for one that is."""
    task = outcome.task
    name = f"{task['subject']} {task['target']} {task['storage']}"
    if outcome.failure:
        return f"{name}: {outcome.failure}: {outcome.note}"
    report = outcome.value["report"]
    if report["ok"]:
        return ""
    laws = [f"{each['law']} ({each['status']})" for each in report["verdicts"] if each["status"] in SPOILING]
    more = f" and {len(laws) - 1} more" if len(laws) > 1 else ""
    return f"{name}: not ok: {laws[0] if laws else 'nothing executed'}{more}"


SPOILING = ("fail", "error", "vacuous", "undecidable")


def tell(shown: Progress, lines: Sequence[Json]) -> None:
    """Show how many benchmarks have ended."""
    plans = [line["tests"] for line in lines if line["record"] == "plan"]
    finished = {line["id"] for line in lines if line["record"] == "test"}
    wanted = {name for names in plans for name in names}
    if wanted:
        shown.at(len(wanted & finished), len(wanted))


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str | None:
    """Return the commit that is checked out, with "+" when files differ from it; None outside a repository."""
    try:
        name, changes = (_git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{name}{'+' if changes else ''}"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=timing.ROOT, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


# Signals


STOPS = (signal.SIGINT, signal.SIGTERM)  # tox and job schedulers send the second


@contextmanager
def interruptible_once() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C or SIGTERM; ignore the next ones, which tox sends, until the end."""
    interrupted = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        finish_undisturbed()
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in STOPS}
    try:
        yield
    finally:
        for each, handler in before.items() if not interrupted else ():
            signal.signal(each, handler)


def finish_undisturbed() -> None:
    """Ignore Ctrl-C from now on; what is left to do takes seconds."""
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
