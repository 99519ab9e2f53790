"""How good the judge is: which wrong implementations it catches, with which laws, and how soon.

Two kinds are judged: the mistakes that a chapter and the common laws know, and the mutants of the chapter's text. Each
stands once beside the right definition, and once inside it, where only the laws that do not pass through it can see.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2lref.oracle.caller import Caller
from d2lref.oracle.campaign import Budget, Campaign, Progress
from d2lref.oracle.common import all_laws, all_mistakes
from d2lref.oracle.implementation import Implementation
from d2lref.oracle.judge import Status, hold
from d2lref.oracle.mutants import mutants
from d2lref.oracle.sources import Drawn
from d2lref.rounding import PRESETS
from d2lref.spec import Array, Law, Mistake, Op

F32 = PRESETS["float32"]
BESIDE = 2  # laws held against a case, in turn, beside those that compare with the definition
INSIDE = 4  # laws held against a case, in turn, when the mistake is in the definition
FEW = 40  # cases on which all other laws must be silent for a law to be the only one that catches a mistake
LEAST = 0.99  # of the mutants that are not argued to be equivalent must be caught

Forward = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong implementation (None: the right one). written: a mistake that somebody made; else a mutant."""

    says: str
    written: bool
    forward: Forward | None
    vjp: Forward | None

    def beside(self, op: Op) -> Implementation:
        """Return it as an implementation."""
        return Implementation(self.says, self.forward or op.definition, self.vjp or op.vjp)

    def inside(self, op: Op) -> Op:
        """Return the op with it as definition and vjp."""
        return replace(op, definition=self.forward or op.definition, vjp=self.vjp or op.vjp)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a wrong implementation.

    caught: the law that saw it beside the definition, "" for none; cases, seconds (of CPU): what that took. inside: the
    law that saw it in the definition. raises: it raises from the first case on, which any use of it would show.
    equivalent: why it is no mistake, where that is argued.
    """

    wrong: Wrong
    caught: str
    cases: int
    seconds: float
    inside: str
    raises: bool = False
    equivalent: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """The fates of an op's mistakes and mutants, and what its laws catch.

    alone: for each law that does not pass through the definition, a mistake that no other such law catches, or "".
    interrupted: these are the first fates only.
    """

    subject: str
    fates: tuple[Fate, ...]
    alone: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def of(self, *, written: bool) -> tuple[Fate, ...]:
        """Return the fates of the mistakes, or of the mutants that answer and are not equivalent."""
        return tuple(f for f in self.fates if f.wrong.written is written and not f.equivalent and not f.raises)

    def survivors(self) -> tuple[Fate, ...]:
        """Return what was not caught beside the definition."""
        return tuple(f for f in self.fates if not f.caught and not f.equivalent)

    def score(self, *, written: bool) -> float:
        """Return the share that was caught, 1 of none."""
        asked = self.of(written=written)
        return sum(bool(f.caught) for f in asked) / len(asked) if asked else 1.0

    @property
    def idle(self) -> tuple[str, ...]:
        """Return the laws that catch nothing alone."""
        return tuple(law for law, mistake in self.alone.items() if not mistake)

    @property
    def ok(self) -> bool:
        """Return whether the scores are what they must be and no law is idle."""
        scores = self.score(written=True) == 1 and self.score(written=False) >= LEAST
        return scores and not self.idle and not self.interrupted

    @property
    def first(self) -> Mapping[str, int]:
        """Return how many wrong implementations each law was the first to see, beside the definition or inside it."""
        return Counter(law for f in self.fates for law in (f.caught, f.inside) if law)

    def __str__(self) -> str:
        """Return the score in a line, a line for each law, and what was not caught."""
        laws = sorted({*self.first, *self.alone}, key=lambda law: -self.first[law])
        width = max(map(len, laws), default=0)
        rows = [f"  {self.first[law]:>6} first  {law:<{width}}  {self._alone(law)}".rstrip() for law in laws]
        lost = [f"  survived: {f.wrong.says}" for f in self.survivors()]
        return "\n".join([self.headline(), *rows, *lost])

    def _alone(self, law: str) -> str:
        if law not in self.alone:
            return ""
        return f"alone: {self.alone[law]}" if self.alone[law] else "ALONE: NOTHING"

    def headline(self) -> str:
        """Return the score in one line."""
        parts = [_caught(self.of(written=True), "mistake"), _caught(self.of(written=False), "mutant")]
        argued = sum(bool(f.equivalent) for f in self.fates)
        seconds = [f.seconds for f in self.fates if f.caught]
        raising = sum(f.raises for f in self.fates)
        parts += [f"{raising} more raise at once"] if raising else []
        parts += [f"{argued} argued to be equivalent"] if argued else []
        parts += [f"seen in {np.mean(seconds):.2g} s of CPU on average, {max(seconds):.2g} at most"] if seconds else []
        word = "interrupted" if self.interrupted else "ok" if self.ok else "NOT OK"
        return f"{self.subject}: {word}; {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON-able data with schema and version."""
        fates = [{**{n: getattr(f, n) for n in TOLD}, **{n: getattr(f.wrong, n) for n in NAMED}} for f in self.fates]
        laws = {law: {"first": self.first[law], "alone": self.alone.get(law)} for law in {*self.first, *self.alone}}
        head = {"schema": SCHEMA, "version": VERSION, "subject": self.subject, "interrupted": self.interrupted}
        return {**head, "ok": self.ok, "laws": laws, "wrong": fates}


SCHEMA, VERSION = "d2lref-audit", 1
TOLD, NAMED = ("caught", "cases", "seconds", "inside", "raises", "equivalent"), ("says", "written")


def _caught(fates: tuple[Fate, ...], noun: str) -> str:
    """Return how many were caught, and how many inside the definition where that is less."""
    caught, inside = (sum(bool(getattr(f, name)) for f in fates) for name in ("caught", "inside"))
    percent = 100 * caught / len(fates) if fates else 100.0
    blind = f", {inside} inside the definition" if inside < caught else ""
    return f"{caught} of {len(fates)} {noun}s caught ({percent:.4g} %{blind})"


@dataclass(slots=True)
class Cases:
    """The cases of a run of `check` on the reference, drawn when they are first asked for."""

    op: Op
    drawn: list[Drawn] = field(default_factory=list)
    source: Iterator[Drawn] = field(init=False)

    def __post_init__(self) -> None:
        """Begin to draw."""
        reference = Implementation("definition", self.op.definition, self.op.vjp)
        endless = Budget(seconds=float("inf"))
        self.source = Campaign(self.op, reference, F32, "float32", endless, 0, True, None).drawn()

    def first(self, count: int) -> Iterator[Drawn]:
        """Yield the first `count` cases."""
        for number in range(count):
            if number == len(self.drawn):
                self.drawn.append(next(self.source))
            yield self.drawn[number]


def audit(
    op: Op,
    *,
    cases: int = 400,
    share: float = 1.0,
    equivalent: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Audit:
    """Judge every mistake and a share of the mutants of an op.

    cases: on which a mistake must be seen; a mutant that was not is tried on ten times as many. share: of the mutants,
    evenly over the text. equivalent: mutant -> why it is no mistake. progress: called after each, its
    findings are those that were not caught. On Ctrl-C the audit so far is returned.
    """
    drawn = Cases(op)
    every = [*mistakes(op), *mutations(op, share)]
    done: list[Fate] = []
    try:
        for fate in fates(op, every, drawn, cases, equivalent or {}):
            done.append(fate)
            if progress:
                survived = sum(not f.caught and not f.equivalent for f in done)
                progress(Progress(op.name, len(done), len(every), survived))
        return Audit(op.name, tuple(done), alone_in(op, drawn, cases))
    except KeyboardInterrupt:
        return Audit(op.name, tuple(done), interrupted=True)


def mistakes(op: Op) -> list[Wrong]:
    """Return the mistakes of the chapter and the generic ones."""
    return [Wrong(m.says, True, m.forward, m.vjp) for m in all_mistakes(op)]


def mutations(op: Op, share: float = 1.0) -> list[Wrong]:
    """Return a share of the mutants, evenly spread over the text."""
    made = [Wrong(str(m), False, m.forward, m.vjp) for m in mutants(op)]
    return [wrong for number, wrong in enumerate(made) if int((number + 1) * share) > int(number * share)]


def fates(op: Op, wrongs: Iterable[Wrong], drawn: Cases, cases: int, equivalent: Mapping[str, str]) -> Iterator[Fate]:
    """Yield what becomes of each."""
    return (_fate(op, wrong, drawn, cases, equivalent.get(wrong.says, "")) for wrong in wrongs)


def _fate(op: Op, wrong: Wrong, drawn: Cases, cases: int, equivalent: str) -> Fate:
    """Return what becomes of a wrong implementation. equivalent: the argument that it is no mistake, "" for none.

    An argument may hold for one op of a chapter and not for another: who is caught is a mistake.
    """
    judged, inside = wrong.beside(op), wrong.inside(op)
    compare = [law for law in all_laws(op) if law.definition]
    budget = cases if wrong.written or equivalent else 10 * cases
    started = time.process_time()
    law, number, status = _first(op, judged, drawn.first(budget), compare, BESIDE)
    seconds = time.process_time() - started
    if not wrong.written and number == 1 and status is Status.ERROR:
        return Fate(wrong, law, number, seconds, "", raises=True)
    if equivalent and not law:
        return Fate(wrong, law, number, seconds, "", equivalent=equivalent)
    seen, _, _ = _first(inside, judged, drawn.first(cases), [], INSIDE)
    return Fate(wrong, law, number, seconds, seen)


def _first(
    op: Op, judged: Implementation, drawn: Iterator[Drawn], always: list[Law], beside: int
) -> tuple[str, int, Status]:
    """Return the law that fails first ("" when none does), the number of cases until then, and how it failed.

    always: the laws that are held against every case; `beside` of the others follow in turn.
    """
    others, number = [law for law in all_laws(op) if not law.definition], 0
    for number, each in enumerate(drawn, 1):
        f = Caller(op, judged, F32)
        speaking = [law for law in others if law.when(each.case)]
        turn = [speaking[(number * beside + i) % len(speaking)] for i in range(min(beside, len(speaking)))]
        for law in (*always, *turn):
            verdict = hold(law, f, each.case) if law.when(each.case) else None
            if verdict and verdict.bad:
                return law.says, number, verdict.status
    return "", number, Status.PASS


# What a law is good for


def alone_in(op: Op, drawn: Cases, cases: int) -> Mapping[str, str]:
    """Return for each law that does not pass through the definition a mistake that it alone catches, "" for none.

    Only mistakes that name one law can be evidence for it.
    """
    laws = {law.says: law for law in all_laws(op) if not law.definition}
    found = dict.fromkeys(laws, "")
    for mistake in all_mistakes(op):
        names = mistake.caught_by
        if len(names) == 1 and names[0] in laws and not found[names[0]] and _only(op, mistake, laws, drawn, cases):
            found[names[0]] = mistake.says
    return found


def _only(op: Op, mistake: Mistake, laws: Mapping[str, Law], drawn: Cases, cases: int) -> bool:
    """Return whether the law that a mistake names catches it and no other law does."""
    (name,) = mistake.caught_by
    f = Caller(forgiving(op), Wrong(mistake.says, True, mistake.forward, mistake.vjp).beside(op), F32)
    others = [law for says, law in laws.items() if says != name]
    return catches(laws[name], f, drawn.first(cases)) and not any(catches(law, f, drawn.first(FEW)) for law in others)


def catches(law: Law, f: Caller, drawn: Iterator[Drawn]) -> bool:
    """Return whether the law fails on one of the cases."""
    return any(law.when(each.case) and hold(law, f, each.case).bad for each in drawn)


def forgiving(op: Op) -> Op:
    """Return the op with every bound as large as the largest of its array, and one rounding of the answer more.

    A mistake adds other sums than the right ones and rounds them otherwise: where the bound is 0, a last bit of its own
    would count as caught by laws that see nothing of what is wrong about it.
    """

    def grown(bound: Array, y: Array) -> Array:
        return None if bound is None else np.max(bound, initial=0.0) + F32.u * np.abs(np.nan_to_num(y))

    def bound(y: Any, *rest: Any, **options: Any) -> Any:
        found = op.bound(y, *rest, **options)
        return tuple(map(grown, found, y)) if isinstance(found, tuple) else grown(found, y)

    def vjp_bound(grads: Any, *rest: Any, **options: Any) -> Any:
        return tuple(map(grown, op.vjp_bound(grads, *rest, **options), grads))

    return replace(op, bound=bound, vjp_bound=vjp_bound)
