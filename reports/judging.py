"""Judge one implementation of one op; say which pairs there are. Runs in the processes of `workers`.

Of the modules of `reports` this one alone imports the package that it judges with, and only inside its functions.
"""

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from reports.records import Json

if TYPE_CHECKING:
    from d2lref.oracle import Report
    from d2lref.spec import Op

REFERENCE = "d2lref"  # stands for the definition of every op and all its variants
STORAGES = ("float32", "float64")
SEED = 0


@dataclass(frozen=True)
class Task:
    """One pair: an op and one implementation of it, in one precision. missing: why there is nothing to judge."""

    subject: str
    target: str
    storage: str
    algorithm: str = "any-order"
    cases: str = "quick"
    missing: str = ""

    @property
    def key(self) -> str:
        """Return what tells it from every other task of a run."""
        return f"{self.subject}/{self.target}/{self.storage}/{self.algorithm}/{self.cases}"

    def as_dict(self) -> Json:
        """Return the fields and the key as plain JSON."""
        return {"key": self.key, **asdict(self)}


@dataclass(frozen=True)
class Wish:
    """What to plan: targets as people name them, and the number of cases.

    No targets: the reference and torch. No ops: all of them.
    """

    implementations: tuple[str, ...]
    cases: str
    ops: tuple[str, ...] = ()


def plan(wish: Wish) -> Json:
    """Return {"tasks", "machine"}, or {"refused": one line} for a name or number that means nothing."""
    from benchmarks import machine
    from d2lref import catalogue
    from d2lref.oracle import Budget

    try:
        Budget.of(wish.cases)
        tasks = _of(wish.ops, _wished(wish) if wish.implementations else _usual(wish.cases))
    except (catalogue.NotFound, ValueError) as error:
        return {"refused": str(error)}
    # The slowest first, so that no core ends long before the other: three axes cost more than one.
    tasks.sort(key=lambda task: task.subject[-2:], reverse=True)
    return {"tasks": [task.as_dict() for task in tasks], "machine": machine.describe()}


def _of(names: tuple[str, ...], tasks: list[Task]) -> list[Task]:
    """Return the tasks of these ops; of all, when none is named."""
    from d2lref import catalogue

    ops = {catalogue.op(name).name for name in names}
    if not ops:
        return tasks
    if not (found := [task for task in tasks if task.subject in ops]):
        message = f"{', '.join(sorted({task.target for task in tasks}))}: none has {', '.join(sorted(ops))}"
        raise catalogue.NotFound(message)
    return found


def _wished(wish: Wish) -> list[Task]:
    return [task for target in wish.implementations for task in _tasks(target, wish.cases)]


def _usual(cases: str) -> list[Task]:
    """Return the pairs of the reference and of torch; where torch is not installed, each says so."""
    from d2lref import catalogue

    own = list(_tasks(REFERENCE, cases))
    try:
        return [*own, *_tasks("torch", cases)]
    except catalogue.NotFound as error:
        return [*own, *(Task(name, "torch", "", cases=cases, missing=str(error)) for name in catalogue.subjects())]


def _tasks(target: str, cases: str) -> Iterator[Task]:
    """Yield the pairs of a target: what it has in every storage, and what it lacks once."""
    from d2lref import catalogue

    known = catalogue.subjects()
    if target == REFERENCE:
        yield from (task for op in known.values() for task in _own(op, ("definition", *op.variants), cases))
        return
    head, _, variant = target.partition(":")
    if head == REFERENCE:
        having = [op for op in known.values() if variant in ("definition", *op.variants)]
        if not having:
            raise catalogue.NotFound(f"{target}: no op has a variant {variant!r}")
        yield from (task for op in having for task in _own(op, (variant,), cases))
        return
    names = catalogue.targets(target)
    if not names:
        raise catalogue.NotFound(f"{target}: has none of the {len(known)} ops")
    for name in known:
        if name in names:
            member = catalogue.member(target, name)
            algorithm = getattr(catalogue.target(member, known[name]), "algorithm", "any-order")
            yield from (Task(name, member, storage, algorithm, cases) for storage in STORAGES)
        else:
            yield Task(name, target, "", cases=cases, missing=f"{target} has no {name}")


def _own(op: "Op", names: Sequence[str], cases: str) -> Iterator[Task]:
    """Yield the pairs of the reference itself; each variant claims the algorithm of its bound."""
    for name in names:
        algorithm = op.variants[name].algorithm if name in op.variants else "any-order"
        yield from (Task(op.name, f"{REFERENCE}:{name}", storage, algorithm, cases) for storage in STORAGES)


def judge(data: Json) -> Json:
    """Return what came of a task: its report, and the names of the op's arrays, which the findings need."""
    import d2lref
    from d2lref import catalogue
    from d2lref.rounding import using

    task = Task(**{name: value for name, value in data.items() if name != "key"})
    warnings.simplefilter("ignore")  # a stranger's warnings are not ours to print
    claims = getattr(catalogue.target(task.target, catalogue.subject(task.subject)), "claims", {})
    precision = replace(using(task.algorithm, task.storage), **claims.get(task.storage, {}))
    started = time.perf_counter()
    report: Report = d2lref.check(task.subject, task.target, precision=precision, cases=task.cases, seed=SEED)
    operands = [operand.name for operand in catalogue.subject(task.subject).operands]
    seconds = round(time.perf_counter() - started, 3)
    return {"operands": operands, "seconds": seconds, "report": report.to_json()}


def limit(cases: str) -> float:
    """Return the seconds after which a pair counts as hanging: some fifty times what it should take."""
    named = {"quick": 120.0, "ci": 1200.0, "deep": 4 * 3600.0}
    if cases in named:
        return named[cases]
    number = float(cases.removesuffix("s") or "nan")
    return 120.0 + (5 * number if cases.endswith("s") else number / 4)


def workers() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def names(text: str) -> tuple[str, ...]:
    """Return the implementations of a list with commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
