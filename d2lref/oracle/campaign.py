"""A run of `check`: draw cases, hold laws against them, and shrink and diagnose what fails.

A law that could not have failed is no evidence: each is shown to catch one of the mistakes it knows.
"""

import itertools
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from d2lref.oracle import workloads
from d2lref.oracle.caller import Call, Caller, Raised, Unsupported, WrongAnswer
from d2lref.oracle.common import all_laws, all_mistakes
from d2lref.oracle.coverage import Coverage
from d2lref.oracle.diagnose import Diagnosis, caller_of, cases_of, diagnose, differs
from d2lref.oracle.finding import Finding, wrong_element
from d2lref.oracle.implementation import Implementation
from d2lref.oracle.judge import Status, Verdict, examine, hold, outside_band
from d2lref.oracle.probe import NoSum, probe
from d2lref.oracle.program import reproduction
from d2lref.oracle.report import LawRecord, Report
from d2lref.oracle.shrink import Search, guarded, shrink
from d2lref.oracle.sources import Choices, Corners, Drawn, gallery, seeded
from d2lref.oracle.values import fill
from d2lref.rounding import Precision
from d2lref.spec import Case, Form, Law, Mistake, Op

SIZES = {"quick": 400, "ci": 8_000, "deep": 160_000}
"""Cases of each named size. Chosen so that no op takes much longer than 2 s, 30 s and 10 min on one core."""
STRIKES = 3  # fresh draws that must all leave the statistical band before it counts as a failure
KEPT = 24  # cases kept for diagnosis and for the vacuity control
CONTROL_CASES = 400  # cases on which a law may let its control mistakes through before it is called vacuous
GRADIENTS = 3  # the gradients are compared with the reference's on one case in so many
DULL = frozenset({"wide_range", "cancelling"})
"""Regimes whose bounds hide an error of the size of 1: not for the few cases that have a size at a block width."""
TELLING = 10  # claims from which on a law that decides less than half of them says nothing about the implementation
SHRINK_SECONDS = 4.0  # spent on making one finding minimal
RENEWED = 500  # cases after which one more form is drawn for an implementation that is asked about few (`forms`)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: cases done of total (0 when it is limited by time), and findings so far."""

    subject: str
    done: int
    total: int
    findings: int


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; `report` holds what was found until then."""

    def __init__(self, report: Report) -> None:
        """Keep the report."""
        super().__init__(report.headline())
        self.report = report


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run draws cases: a count, or seconds."""

    count: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, cases: str | int) -> "Budget":
        """Return the budget for "quick", "ci", "deep", a count, or "60s". Raises ValueError for anything else."""
        if isinstance(cases, str) and cases in SIZES:
            return cls(SIZES[cases])
        if isinstance(cases, int) and not isinstance(cases, bool) and cases > 0:
            return cls(cases)
        text = str(cases)
        if text.isdecimal() and int(text) > 0:
            return cls(int(text))
        if text.endswith("s") and text[:-1].replace(".", "", 1).isdecimal() and float(text[:-1]) > 0:
            return cls(seconds=float(text[:-1]))
        message = f"cases: {cases!r}, expected one of {', '.join(SIZES)}, a positive count, or seconds such as '60s'"
        raise ValueError(message)


@dataclass(slots=True)
class Campaign:
    """The state of one run."""

    op: Op
    implementation: Implementation
    precision: Precision
    name: str
    budget: Budget
    seed: int
    stop_at_first: bool
    progress: Callable[[Progress], None] | None
    workloads: tuple[Form, ...] = ()
    laws: tuple[Law, ...] = ()
    apart: tuple[list[Law], list[Law]] = ([], [])
    turns: Counter[str] = field(default_factory=Counter)
    corners: dict[bool, Corners] = field(default_factory=lambda: {True: Corners(), False: Corners()})
    forms: list[tuple[Form, tuple[int, ...]]] = field(default_factory=list)
    told: dict[str, Finding] = field(default_factory=dict)
    records: dict[str, LawRecord] = field(default_factory=dict)
    failures: dict[str, tuple[Drawn, Verdict]] = field(default_factory=dict)
    failed_cases: dict[str, list[Case]] = field(default_factory=lambda: defaultdict(list))
    kept: list[Drawn] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Choose the laws that can be asked of this implementation."""
        self.coverage = Coverage(self.precision.storage)
        every = all_laws(self.op)
        absent = [law for law in every if law.vjp and self.implementation.vjp is None]
        self.records = {law.says: LawRecord(law.says) for law in every}
        for law in absent:
            self.records[law.says].status = Status.ABSENT
        self.laws = tuple(law for law in every if law not in absent)
        gradients = [law for law in self.laws[1:] if law.definition and law.vjp]
        self.apart = gradients, [law for law in self.laws[1:] if law not in gradients]

    # Drawing

    def drawn(self) -> Iterator[Drawn]:
        """Yield supported cases until the budget ends.

        The gallery, then seeded ones, the last tenth climbed by Hypothesis.
        """
        count = 0
        for drawn in gallery(self.op, self.seed, self.precision.storage):
            if self.implementation.supported(self.op, drawn.form) and not self._over(count):
                count += 1
                yield drawn
        for number in itertools.count():
            if self._over(count) or number > 200 * (count + 50):
                return
            if found := self._seeded(number, self._planned()):
                count += 1
                yield found

    def _over(self, count: int) -> bool:
        if self.budget.seconds is not None:
            return time.monotonic() - self.started > self.budget.seconds
        return count >= (self.budget.count or 0) - self._climbs()

    def _climbs(self) -> int:
        """Return how many cases of the budget Hypothesis draws."""
        return min((self.budget.count or 0) // 10, 2000)

    def _planned(self) -> Corners | None:
        """Return what chooses the large sizes of every second case, later fewer; those with gradients count apart."""
        number = self.counts["cases"]
        return None if number % (2 if number < 1000 else 8) else self.corners[number % GRADIENTS == 0]

    def _seeded(self, number: int, corners: Corners | None = None) -> Drawn | None:
        """Return the case of a seed (and of what `corners` asks for), None when its form is not supported."""
        seed = zlib.crc32(f"{self.op.name} {self.seed} {number}".encode())
        drawn = self._drawn(seeded(seed, corners), seed, corners)
        self.counts["unsupported"] += drawn is None
        return drawn

    def _drawn(self, choices: Choices, seed: int, corners: Corners | None = None, *, new: bool = True) -> Drawn | None:
        """Return the case that was chosen, None when its form is not supported.

        An implementation that is asked about few forms is asked about those again, with other values. new: whether one
        more may be drawn for it.
        """
        few = self.implementation.forms
        regime = choices.choice(*(name for name in self.op.regimes if not (corners and name in DULL)))
        enough = 1 if not new else (few or 0) + self.counts["cases"] // RENEWED
        if few is not None and len(self.forms) >= enough:
            form, record = choices.choice(*self.forms)
        else:
            before = len(choices.record)
            form = self.op.cases(choices)
            record = tuple(choices.record[before:])
            supported = self.implementation.supported(self.op, form)
            if corners:
                corners.settle(kept=supported and all(shape is None or 0 not in shape for shape in form.shapes))
            if not supported:
                return None
            self.forms += [(form, record)] if few is not None and new else []
        return Drawn(fill(self.op, form, regime, seed, self.precision.storage), form, regime, seed, record)

    def climb(self) -> None:
        """Let Hypothesis draw cases towards larger ratios."""
        wanted = self._climbs()
        if not wanted or (self.stop_at_first and self.failures):
            return
        from d2lref.oracle.climbing import climb

        climb(self._climbed, wanted, self.seed)

    def _climbed(self, choices: Choices, seed: int) -> float | None:
        """Judge the case that Hypothesis drew; return the ratio to climb on, None when the case is not supported."""
        drawn = self._drawn(choices, seed, new=False)  # Hypothesis must find again what it found
        return None if drawn is None else self.judge(drawn)

    # Judging

    def judge(self, drawn: Drawn) -> float:
        """Hold the laws whose turn it is against the case; return the definition law's ratio."""
        number = self.counts["cases"]
        self.counts["cases"] += 1
        self.coverage.case(self.op, drawn)
        if len(self.kept) < KEPT or number % 97 == 0:
            self.kept = [*self.kept[-2 * KEPT :], drawn]
        f = replace(self.caller(), orders=self.coverage.orders)
        ratios = [self._hold(law, f, drawn) for law in self._turn(number, drawn.case)]
        if self.progress and number % 20 == 0:
            self.progress(Progress(self.op.name, number, self.budget.count or 0, len(self.failures)))
        return ratios[0]

    def judge_workloads(self) -> None:
        """Hold the laws that compare with the definition against the user's own forms, which are not in the budget."""
        for drawn in workloads.cases(self.op, self.workloads, self.seed, self.precision.storage):
            if self.stop_at_first and self.failures:
                return
            self.counts["cases"] += 1
            self.coverage.workload(drawn)
            for law in (self.laws[0], *self.apart[0]):
                self._hold(law, self.caller(), drawn)

    def _turn(self, number: int, case: Case) -> list[Law]:
        """Return the definition law, every third time that of the gradients (or one more of the others), and another.

        Of the others that speak about the case, those that had the fewest turns: each is reached equally often. Which
        is first changes from round to round, so that none keeps step with what else is done every second or third time.
        """
        gradients, others = self.apart
        shift, third = number // max(len(others), 1), number % GRADIENTS == 0
        ranked = sorted(range(len(others)), key=lambda i: (self.turns[others[i].says], (i - shift) % len(others)))
        speaking = (others[i] for i in ranked if others[i].when(case))
        chosen = list(itertools.islice(speaking, 2 if third and not gradients else 1))
        self.turns.update(law.says for law in chosen)
        return [self.laws[0], *(gradients if third else []), *chosen]

    def _hold(self, law: Law, f: Caller, drawn: Drawn) -> float:
        if len(self.failed_cases[law.says]) >= KEPT and not self._unshrinkable(law):
            return 0.0
        verdict = self._verdict(law, f, drawn.case)
        if verdict.status is Status.SUSPECT:
            verdict = self._strike(law, drawn, verdict)
        self._count(law, drawn, verdict)
        return verdict.ratio

    def _verdict(self, law: Law, f: Caller, case: Case) -> Verdict:
        verdict, claim = examine(law, f, case)
        return outside_band(verdict, claim, f, case) if law is self.laws[0] else verdict

    def _strike(self, law: Law, drawn: Drawn, verdict: Verdict) -> Verdict:
        """Return FAIL when fresh values of the same form leave the band each time, else the SUSPECT verdict."""
        for turn in range(1, STRIKES):
            again = fill(self.op, drawn.form, drawn.regime, drawn.seed + turn, self.precision.storage)
            if self._verdict(law, self.caller(), again).status not in {Status.SUSPECT, Status.FAIL}:
                return verdict
        return replace(verdict, status=Status.FAIL)

    def _count(self, law: Law, drawn: Drawn, verdict: Verdict) -> None:
        record = self.records[law.says]
        if verdict.status is Status.UNSUPPORTED:
            return
        record.executed += 1
        self.counts["executed"] += 1
        if verdict.bad:
            record.failed += 1
            record.errors += verdict.status is Status.ERROR
            self.failed_cases[law.says].append(drawn.case)
            if self._unshrinkable(law):
                self.failures[law.says] = (drawn, verdict)
            return
        record.undecidable += verdict.status is Status.UNDECIDABLE
        record.suspect += verdict.status is Status.SUSPECT
        record.exact += verdict.bound == 0
        record.worst = max(record.worst, verdict.ratio)

    def _unshrinkable(self, law: Law) -> bool:
        """Return whether a better failure is wanted.

        There is none yet, or only one of the gallery, which has no record to shrink.
        """
        return law.says not in self.failures or self.failures[law.says][0].record is None

    def caller(self, calls: list[Call] | None = None) -> Caller:
        """Return `f` for the laws."""
        return Caller(self.op, self.implementation, self.precision, calls=calls)

    # What failed

    def findings(self, *, hurried: bool = False) -> tuple[Finding, ...]:
        """Return one finding for every law that failed, minimal and diagnosed; the same exception is told once.

        hurried: those that are not finished yet are told as they were met, without calling the implementation again.
        """
        for law in self.laws:
            if law.says in self.failures and law.says not in self.told and self._news(self.failures[law.says][1]):
                self.told[law.says] = self._as_met(law) if hurried else self._finding(law)
        return tuple(self.told.values())

    def _news(self, verdict: Verdict) -> bool:
        """Return whether a failure is not an exception that a finding shows already."""
        same = (f.verdict.status is Status.ERROR and f.verdict.note == verdict.note for f in self.told.values())
        return verdict.status is not Status.ERROR or not any(same)

    def _as_met(self, law: Law) -> Finding:
        """Return the finding of a law on the case that it failed on."""
        drawn, verdict = self.failures[law.says]
        text = reproduction(self.caller(), law.says, [], None, verdict)
        return self._told(law, verdict, drawn.case, Diagnosis(asked=False), text)

    def _finding(self, law: Law) -> Finding:
        drawn, verdict = self.failures[law.says]
        fails = guarded(lambda case: hold(law, self.caller(), case), law.when)
        search = Search(
            self.op,
            self.precision.storage,
            fails,
            lambda form: self.implementation.supported(self.op, form),
            time.monotonic() + SHRINK_SECONDS,
        )
        minimal = drawn.case if fails(drawn.case) is None else shrink(drawn, search)
        verdict = fails(minimal) or verdict
        calls = self._calls(law, minimal)
        around = [*cases_of(calls, law, minimal), *self.failed_cases[law.says], *(d.case for d in self.kept)]
        raised = verdict.status is Status.ERROR
        asked = [*around, *self._telling_cases()]
        diagnosis = Diagnosis() if raised else diagnose(law, self.caller(), minimal, asked, fails)
        worst = wrong_element(self.caller(), calls)
        element = worst[0] if worst else None
        text = reproduction(self.caller(), law.says, calls, worst, verdict)
        made = tuple(f"{c.kind}({', '.join(f'{k}={v!r}' for k, v in c.options.items())})" for c in calls)
        return replace(self._told(law, verdict, minimal, diagnosis, text), element=element, calls=made)

    def _told(self, law: Law, verdict: Verdict, case: Case, diagnosis: Diagnosis, text: str) -> Finding:
        """Return the finding, without a wrong element and without the calls."""
        names, failed = tuple(o.name for o in self.op.operands), self.records[law.says].failed
        head = (self.op.name, self.implementation.name, law.says, self.name)
        return Finding(*head, verdict, case, None, diagnosis, (), text, names, failed)

    def _telling_cases(self) -> list[Case]:
        """Return fresh cases of two regimes: the simplest tells mistakes apart, the normal one precisions."""
        told = [regime for regime in (self.op.regimes[0], "normal") if regime in self.op.regimes]
        forms = [d for d in map(self._seeded, range(KEPT)) if d is not None]
        return [fill(self.op, d.form, regime, d.seed, self.precision.storage) for d in forms for regime in told]

    def _calls(self, law: Law, case: Case) -> list[Call]:
        calls: list[Call] = []
        hold(law, self.caller(calls), case)
        if not calls:
            f = self.caller(calls)
            try:
                f(*case.arrays, **case.options)
            except (Raised, WrongAnswer):
                calls.append(Call("forward", case.arrays, case.options, tuple(None for _ in self.op.outputs)))
        return calls

    # Could it have failed?

    def vacuous(self) -> set[str]:
        """Return the laws that were executed and let all their control mistakes through."""
        mistakes = all_mistakes(self.op)
        return {law.says for law in self.laws if self._idle(law, mistakes)}

    def _idle(self, law: Law, mistakes: tuple[Mistake, ...]) -> bool:
        record = self.records[law.says]
        if not record.executed or record.failed:
            return False
        controls = [
            m for m in mistakes if law.says in m.caught_by or (law.definition and (m.vjp if law.vjp else m.forward))
        ]
        if any(self._caught(law, m, drawn.case) for drawn in self._controls(law) for m in controls):
            return False
        return not controls or any(self._acts(m, drawn.case) for drawn in self._controls(law) for m in controls)

    def _acts(self, mistake: Mistake, case: Case) -> bool:
        """Return whether a mistake shows on a case: it answers, or does, something else than the definition.

        A generic one always does; one of the op may be about options that the implementation does not support.
        """
        if mistake not in self.op.mistakes:
            return True
        right, wrong = (
            caller_of(self.op, m, self.precision) for m in (replace(mistake, forward=None, vjp=None), mistake)
        )
        return differs(right, wrong, case, vjp=mistake.vjp is not None, forward=mistake.forward is not None)

    def _controls(self, law: Law) -> Iterator[Drawn]:
        kept = [d for d in self.kept if law.when(d.case)]
        fresh = (self._seeded(n) for n in range(CONTROL_CASES))
        yield from kept[:KEPT]
        yield from (d for d in fresh if d is not None and law.when(d.case))

    def _caught(self, law: Law, mistake: Mistake, case: Case) -> bool:
        return hold(law, caller_of(self.op, mistake, self.precision), case).bad

    # The outcome

    def report(self, *, interrupted: bool = False) -> Report:
        """Return what was found; vacuous laws are looked for unless the run was interrupted."""
        findings = self.findings(hurried=interrupted)
        idle = set() if interrupted else self.vacuous()
        for record in self.records.values():
            record.status = _status(record, idle)
        counts = {"cases": 0, "executed": 0, "unsupported": 0, **self.counts}
        counts["vacuous"] = len(idle)
        return Report(
            self.op.name,
            self.implementation.name,
            self.name,
            self.seed,
            str(self.budget.count or f"{self.budget.seconds}s"),
            tuple(self.records.values()),
            findings,
            counts,
            self.coverage.as_dict(),
            time.monotonic() - self.started,
            interrupted,
            arithmetic="" if interrupted else self.arithmetic(findings),
        )

    def arithmetic(self, findings: tuple[Finding, ...]) -> str:
        """Return what probes say of the implementation when a number is wrong and no known mistake explains it."""
        known = (found.diagnosis.mistake or found.diagnosis.convention for found in findings if found.element)
        if all(known):
            return ""
        try:
            return str(probe(self.caller()))
        except (NoSum, Raised, WrongAnswer, Unsupported):
            return ""


def _status(record: LawRecord, idle: set[str]) -> Status:
    """Return the status of a law in a run."""
    if not record.executed:
        return record.status
    if record.failed:
        return Status.ERROR if record.errors == record.failed else Status.FAIL
    if record.undecidable > record.executed / 2:
        return Status.UNDECIDABLE if record.executed >= TELLING else Status.UNSUPPORTED
    if record.law in idle:
        return Status.VACUOUS
    return Status.SUSPECT if record.suspect else Status.PASS


def run(campaign: Campaign) -> Report:
    """Return the report of a campaign. Raises Interrupted, with what was found, on Ctrl-C.

    The judge's own arithmetic ignores what NumPy says about it, whatever the program around has asked NumPy for.
    """
    with np.errstate(all="ignore"):
        try:
            for drawn in campaign.drawn():
                campaign.judge(drawn)
                if campaign.stop_at_first and campaign.failures:
                    break
            campaign.judge_workloads()
            campaign.climb()
            return campaign.report()
        except KeyboardInterrupt:
            raise Interrupted(campaign.report(interrupted=True)) from None
