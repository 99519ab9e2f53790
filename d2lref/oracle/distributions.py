"""A run of `check` on a Distribution: certain laws on small cases, laws of chance on large ones.

One run reads no more statistics than `chance.READINGS`, each at `chance.EACH`, so that it calls a right implementation
wrong with probability at most `chance.ALPHA`, whatever it draws (the union bound of Bonferroni).
"""

import itertools
import math
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.oracle.caller import Raised, Unsupported, WrongAnswer, told
from d2lref.oracle.campaign import SIZES as BUDGETS
from d2lref.oracle.campaign import Budget, Interrupted, Progress
from d2lref.oracle.diagnose import Diagnosis
from d2lref.oracle.draw_laws import all_trials, common_mistakes
from d2lref.oracle.finding import Finding
from d2lref.oracle.implementation import NUMPY, Implementation
from d2lref.oracle.judge import Status, Tier, Verdict
from d2lref.oracle.report import LawRecord, Report
from d2lref.oracle.sampling import Sampler, program
from d2lref.oracle.sources import replayed, seeded
from d2lref.rounding import PRESETS, Precision
from d2lref.spec import Case, Distribution, Form, Mistake, Reading, Trial

SMALL = {"quick": 60, "ci": 400, "deep": 4000}
"""Small cases of a named size, on which certain laws are held; of a count of cases, all but the large ones."""
LARGE = {"quick": 8, "ci": 24, "deep": 40}
"""Large cases of a named size, on which laws of chance are held; of a count of cases, one in eight."""
NUMBERS = (12, 60, 200)  # how many numbers small cases have, in turn
CONTROLS = 24  # fresh cases on which a law may let its control mistakes through before it is called vacuous
KEPT = 6  # cases of a law that failed which a mistake must fail alike to be named

# 1 Verdicts


def judge(reading: Reading) -> Verdict:
    """Return PASS or FAIL; the ratio is the distance from the middle of the interval over half its length.

    Of a statistic that is a distance, from 0 on, it is the distance over the largest.
    """
    value = np.asarray(reading.value, np.float64)
    with np.errstate(all="ignore"):
        low = -reading.high if reading.low == 0 else reading.low
        middle, half = (low + reading.high) / 2, (reading.high - low) / 2
        away = np.abs(value - middle) / half if math.isfinite(half) and half else np.zeros(value.shape)
        inside = (value >= reading.low) & (value <= reading.high)
        ratio = np.where(inside, np.minimum(away, 1.0), np.where(away > 1.0, away, np.inf))
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    index = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), ratio.shape))
    worst = float(ratio[index])
    tier = Tier.CHANCE if reading.alpha else Tier.EXACT if reading.low == reading.high else Tier.PROVEN
    status = Status.PASS if bool(inside.all()) else Status.FAIL
    nearest = float(np.clip(value[index], reading.low, reading.high))
    half = half if math.isfinite(half) else 0.0
    return Verdict(status, tier, worst, index, float(value[index]), nearest, half, _note(reading, float(value[index])))


def _note(reading: Reading, value: float) -> str:
    """Return which statistic was read, the interval, and at which odds a right implementation leaves it."""
    if reading.measure is None:
        return reading.statistic
    among = f" (the worst of {np.size(reading.value)})" if np.size(reading.value) > 1 else ""
    odds = f"alpha {reading.alpha:.2g}, " if reading.alpha else ""
    interval = f"[{reading.low:.9g}, {reading.high:.9g}]"
    numbers = f"{reading.size} number{'s' * (reading.size != 1)}"
    return f"{reading.statistic}: {value:.9g}{among}, expected in {interval} ({odds}{numbers}; {reading.theorem})"


def hold(trial: Trial, f: Sampler) -> tuple[Verdict, Reading | None]:
    """Return the verdict of a trial on a sampler's case, and what it read.

    An exception of the implementation is ERROR, an answer of the wrong kind FAIL.
    """
    if outside := f.outside():
        return Verdict(Status.UNSUPPORTED, note=outside), None
    try:
        with np.errstate(all="ignore"):
            reading = trial.reads(f, f.case)
            return judge(reading), reading
    except WrongAnswer as error:
        return Verdict(Status.FAIL, Tier.EXACT, np.inf, note=str(error)), None
    except Unsupported as error:
        return Verdict(Status.UNSUPPORTED, note=str(error)), None
    except Raised as error:
        cause = error.__cause__
        note = f"raised {type(cause).__name__}: {told(cause)}".strip().rstrip(":")
        return Verdict(Status.ERROR, Tier.EXACT, np.inf, note=note), None


def hold_mistake(trial: Trial, subject: Distribution, mistake: Mistake, case: Case) -> tuple[Verdict, Reading | None]:
    """Return the verdict of a trial on a mistake, in float32; what it does to NumPy's global generator is undone."""
    made = Implementation(mistake.says, mistake.forward or subject.definition, mistake.vjp or subject.vjp, NUMPY)
    before = np.random.get_state(legacy=True)  # noqa: NPY002 - it is put back
    try:
        return hold(trial, sampler(subject, made, PRESETS["float32"], case))
    finally:
        np.random.set_state(before)  # noqa: NPY002 - as it was


def again(subject: Distribution, judged: Implementation, precision: Precision, trial: Trial, case: Case) -> Verdict:
    """Return the verdict of a trial on the case of a finding."""
    return hold(trial, sampler(subject, judged, precision, case))[0]


def sampler(subject: Distribution, judged: Implementation, precision: Precision, case: Case) -> Sampler:
    """Return a sampler for a case, whose regime says from how many numbers statistics are read."""
    return Sampler(subject, judged, precision, case, int(case.regime))


# 2 Cases


def case_of(form: Form, size: int, seed: int) -> Case:
    """Return the case of a form; its regime is the number of numbers."""
    return Case((), form.options, (), str(size), seed)


def small_case(subject: Distribution, number: int, seed: int, size: int) -> Case:
    """Return a small case: the gallery first, then those of seeds."""
    if number < len(subject.gallery):
        return case_of(subject.gallery[number], size, seed + number)
    told = zlib.crc32(f"{subject.name} {seed} {number}".encode())
    return case_of(subject.cases(seeded(told), NUMBERS[number % len(NUMBERS)]), size, told)


def large_case(subject: Distribution, number: int, seed: int, size: int) -> Case:
    """Return a large case: that of the defaults first, then those of seeds."""
    told = zlib.crc32(f"{subject.name} {seed} large {number}".encode())
    return case_of(subject.cases(seeded(told) if number else replayed([]), size), size, told)


# 3 A run


@dataclass(slots=True)
class Run:
    """The state of one run."""

    subject: Distribution
    implementation: Implementation
    precision: Precision
    name: str
    budget: Budget
    seed: int
    stop_at_first: bool
    progress: Callable[[Progress], None] | None
    trials: tuple[Trial, ...] = ()
    readings: int = 0
    records: dict[str, LawRecord] = field(default_factory=dict)
    failures: dict[str, list[tuple[Case, Verdict]]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    options: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Choose the trials that can be asked of this implementation."""
        every = all_trials(self.subject)
        self.records = {trial.says: LawRecord(trial.says) for trial in every}
        self.trials = tuple(t for t in every if not t.vjp or self.implementation.vjp is not None)
        for trial in every:
            if trial not in self.trials:
                self.records[trial.says].status = Status.ABSENT

    @property
    def word(self) -> str:
        """The name of the budget: "quick" for a count of cases, "ci" for a time, where it has none."""
        named = {count: word for word, count in BUDGETS.items()}
        return named.get(self.budget.count or 0, "quick" if self.budget.count else "ci")

    @property
    def size(self) -> int:
        """How many numbers a statistic is read from."""
        return chance.SIZES[self.word]

    def cases(self) -> Iterator[tuple[Case, bool]]:
        """Yield cases, large ones marked, in turns that end together."""
        if self.budget.count is None:
            yield from self._timed()
            return
        named = self.budget.count in BUDGETS.values()
        small = SMALL[self.word] if named else self.budget.count
        large = LARGE[self.word] if named else max(small // 8, 2)
        every = max(small // large, 1)
        for number in range(max(small, large * every)):
            if number < small:
                yield small_case(self.subject, number, self.seed, self.size), False
            if number % every == 0 and number // every < large:
                yield large_case(self.subject, number // every, self.seed, self.size), True

    def _timed(self) -> Iterator[tuple[Case, bool]]:
        for number in itertools.count():
            if time.monotonic() - self.started > (self.budget.seconds or 0.0):
                return
            yield small_case(self.subject, number, self.seed, self.size), False
            if number % 8 == 0:
                yield large_case(self.subject, number // 8, self.seed, self.size), True

    def judge(self, case: Case, *, large: bool) -> None:
        """Hold the certain trials, or those of chance, against a case."""
        self.counts["cases"] += 1
        f = sampler(self.subject, self.implementation, self.precision, case)
        if f.outside():
            self.counts["unsupported"] += 1
            return
        for name, value in case.options.items():
            if name != "shape":
                default = self.subject.options[name]
                self.options[name][f"{value} (default)" if value == default else str(value)] += 1
        for trial in self.trials:
            if trial.chance == large and trial.when(case) and self._affords(trial):
                self._count(trial, case, hold(trial, f)[0])
        if self.progress:
            self.progress(Progress(self.subject.name, self.counts["cases"], 0, len(self.failures)))

    def _affords(self, trial: Trial) -> bool:
        """Return whether alpha is left for another reading."""
        self.readings += trial.chance
        return not trial.chance or self.readings <= chance.READINGS

    def _count(self, trial: Trial, case: Case, verdict: Verdict) -> None:
        record = self.records[trial.says]
        if verdict.status is Status.UNSUPPORTED:
            return
        record.executed += 1
        self.counts["executed"] += 1
        if verdict.bad:
            record.failed += 1
            record.errors += verdict.status is Status.ERROR
            self.failures[trial.says].append((case, verdict))
            return
        record.exact += verdict.tier is Tier.EXACT
        record.worst = max(record.worst, verdict.ratio)

    # What failed

    def findings(self, *, hurried: bool = False) -> tuple[Finding, ...]:
        """Return one finding for every trial that failed, on its simplest case; the same exception is told once.

        hurried: without calling the implementation again.
        """
        told: list[Finding] = []
        for trial in self.trials:
            failed = self.failures.get(trial.says)
            if not failed:
                continue
            case, verdict = min(failed, key=lambda pair: self._effort(pair[0]))
            same = any(f.verdict.status is Status.ERROR and f.verdict.note == verdict.note for f in told)
            if not (verdict.status is Status.ERROR and same):
                told.append(self._finding(trial, case, verdict, hurried=hurried))
        return tuple(told)

    def _effort(self, case: Case) -> tuple[int, int]:
        """Return how many options are not at their default, and how many numbers are drawn."""
        changed = sum(case.options[name] != value for name, value in self.subject.options.items())
        return changed, math.prod(case.options["shape"])

    def _finding(self, trial: Trial, case: Case, verdict: Verdict, *, hurried: bool) -> Finding:
        f = sampler(self.subject, self.implementation, self.precision, case)
        reading = None if hurried else hold(trial, f)[1]
        diagnosis = Diagnosis(asked=False) if hurried else self._diagnosis(trial, case, verdict)
        text = program(f, trial.says, reading, verdict.note)
        calls = (f"forward({', '.join(f'{k}={v!r}' for k, v in case.options.items())})",)
        head = (self.subject.name, self.implementation.name, trial.says, self.name)
        names = tuple(o.name for o in self.subject.operands)
        return Finding(*head, verdict, case, None, diagnosis, calls, text, names, len(self.failures[trial.says]))

    def _diagnosis(self, trial: Trial, case: Case, verdict: Verdict) -> Diagnosis:
        """Return the known mistake that fails alike, and the options without which the case passes."""
        if verdict.status is Status.ERROR:
            return Diagnosis()
        failed = [pair[0] for pair in self.failures[trial.says][:KEPT]]
        for mistake in (*self.subject.mistakes, *common_mistakes(self.subject)):
            if self._alike(trial, mistake, failed):
                return Diagnosis(mistake.says, mistake.cites, depends_on=self._depends(trial, case))
        return Diagnosis(depends_on=self._depends(trial, case))

    def _alike(self, trial: Trial, mistake: Mistake, failed: list[Case]) -> bool:
        """Return whether a mistake fails on the cases with about the same readings, and passes where this one does."""
        for case in failed:
            ours = hold(trial, sampler(self.subject, self.implementation, self.precision, case))[1]
            verdict, theirs = hold_mistake(trial, self.subject, mistake, case)
            if not verdict.bad or (ours is None) != (theirs is None):
                return False
            if ours is not None and theirs is not None and not _near(ours, theirs):
                return False
        known = {says for says, record in self.records.items() if record.failed}
        cases = [small_case(self.subject, n, self.seed, self.size) for n in range(KEPT)]
        cases += [large_case(self.subject, n, self.seed, self.size) for n in range(2)]
        return not any(
            hold_mistake(t, self.subject, mistake, c)[0].bad
            for t in self.trials
            if t.says not in known
            for c in cases
            if t.when(c) and t.chance == (math.prod(c.options["shape"]) > max(NUMBERS))
        )

    def _depends(self, trial: Trial, case: Case) -> tuple[tuple[str, Any, Any], ...]:
        """Return (option, value, default) of the options with whose default the case passes."""
        found = []
        for name, default in self.subject.options.items():
            if default is ... or case.options[name] == default:
                continue
            other = replace(case, options={**case.options, name: default})
            if trial.when(other):
                f = sampler(self.subject, self.implementation, self.precision, other)
                if hold(trial, f)[0].status is Status.PASS:
                    found.append((name, case.options[name], default))
        return tuple(found)

    # Could it have failed?

    def vacuous(self) -> set[str]:
        """Return the trials that were executed and let all their control mistakes through."""
        mistakes = (*self.subject.mistakes, *common_mistakes(self.subject))
        return {t.says for t in self.trials if self._idle(t, [m for m in mistakes if t.says in m.caught_by])}

    def _idle(self, trial: Trial, controls: list[Mistake]) -> bool:
        record = self.records[trial.says]
        if not record.executed or record.failed or not controls:
            return False
        make = large_case if trial.chance else small_case
        cases = (make(self.subject, n, self.seed, self.size) for n in range(CONTROLS))
        spoken = (case for case in cases if trial.when(case))
        return not any(hold_mistake(trial, self.subject, m, c)[0].bad for c in spoken for m in controls)

    def report(self, *, interrupted: bool = False) -> Report:
        """Return what was found; vacuous trials are looked for unless the run was interrupted."""
        findings = self.findings(hurried=interrupted)
        idle = set() if interrupted else self.vacuous()
        for record in self.records.values():
            record.status = _status(record, idle)
        counts = {"cases": 0, "executed": 0, "unsupported": 0, **self.counts, "vacuous": len(idle)}
        return Report(
            self.subject.name,
            self.implementation.name,
            self.name,
            self.seed,
            str(self.budget.count or f"{self.budget.seconds}s"),
            tuple(self.records.values()),
            findings,
            counts,
            {k: dict(v) for k, v in self.options.items()},
            time.monotonic() - self.started,
            interrupted,
        )


def _near(one: Reading, other: Reading) -> bool:
    """Return whether two readings of one statistic differ by no more than two samples of one distribution may."""
    if one.measure is None or other.measure is None:
        return one.statistic == other.statistic
    a, b = np.asarray(one.value, np.float64), np.asarray(other.value, np.float64)
    half = (one.high - one.low) / 2 if math.isfinite(one.high - one.low) else 0.0
    return a.shape == b.shape and bool(np.all((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= 2 * half)))


def _status(record: LawRecord, idle: set[str]) -> Status:
    """Return the status of a trial in a run."""
    if not record.executed:
        return record.status
    if record.failed:
        return Status.ERROR if record.errors == record.failed else Status.FAIL
    return Status.VACUOUS if record.law in idle else Status.PASS


def draw(state: Run) -> Report:
    """Return the report of a run. Raises Interrupted, with what was found, on Ctrl-C."""
    with np.errstate(all="ignore"):
        try:
            for case, large in state.cases():
                state.judge(case, large=large)
                if state.stop_at_first and state.failures:
                    break
            return state.report()
        except KeyboardInterrupt:
            raise Interrupted(state.report(interrupted=True)) from None
