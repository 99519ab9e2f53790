"""From a failing case to a minimal one: first the regime and the form, then the values.

The form shrinks by its record of choices (smaller indices mean simpler forms, see `sources`), the values by zeros, ones
and small integers, in halves first and one by one in the end: a search that starts from structure where Hypothesis sees
only a seed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from d2lref.oracle.caller import OffGrid
from d2lref.oracle.judge import Status, Verdict
from d2lref.oracle.sources import Drawn, replayed
from d2lref.oracle.values import fill, indices, is_index
from d2lref.rounding import round_to
from d2lref.spec import Array, Case, Form, Op

SEEDS = 3  # values tried for each simpler form: a form is given up when none of them fails


@dataclass(frozen=True, slots=True)
class Search:
    """What shrinking asks: `fails(case)` returns the verdict when the law fails on the case, else None.

    Stops at `deadline`.
    """

    op: Op
    storage: str
    fails: Callable[[Case], Verdict | None]
    supported: Callable[[Form], bool]
    deadline: float

    def over(self) -> bool:
        """Return whether the time is up."""
        return time.monotonic() > self.deadline

    def case(self, record: tuple[int, ...], regime: str, seed: int) -> Drawn | None:
        """Return the first failing case of the form behind the record, among a few seeds; None when there is none."""
        choices = replayed(record)
        form = self.op.cases(choices)
        if not self.supported(form):
            return None
        for turn in range(SEEDS):
            drawn = fill(self.op, form, regime, seed + turn, self.storage)
            if self.fails(drawn) is not None:
                return Drawn(drawn, form, regime, seed + turn, tuple(choices.record))
        return None


def shrink(drawn: Drawn, search: Search) -> Case:
    """Return a failing case with the simplest form and values found before the deadline; the given one fails too."""
    if drawn.record is not None:
        drawn = simpler_form(simpler_regime(drawn, search), search)
    return simpler_values(drawn.case, search)


def simpler_regime(drawn: Drawn, search: Search) -> Drawn:
    """Return a failing case of the earliest regime of the op that has one with this form."""
    for regime in search.op.regimes[: search.op.regimes.index(drawn.regime)]:
        if drawn.record is not None and (found := search.case(drawn.record, regime, drawn.seed)):
            return found
    return drawn


def simpler_form(drawn: Drawn, search: Search) -> Drawn:
    """Return a failing case whose record of choices no single step makes smaller."""
    moved = True
    while moved and not search.over():
        moved = False
        for place in range(len(drawn.record or ())):
            better = _lowered(drawn, place, search)
            moved, drawn = moved or better is not None, better or drawn
            if search.over():
                break
    return drawn


def _lowered(drawn: Drawn, place: int, search: Search) -> Drawn | None:
    """Return a failing case with a smaller index at the place: 0, then by halves, then one less."""
    record = drawn.record or ()
    if place >= len(record) or record[place] == 0:
        return None
    value = record[place]
    for lower in sorted({0, value // 4, value // 2, value - 1}):
        shorter = (*record[:place], lower, *record[place + 1 :])
        found = search.case(shorter, drawn.regime, drawn.seed)
        if found is not None and _weight(found) <= _weight(drawn):
            return found
    return None


def _weight(drawn: Drawn) -> tuple[int, int]:
    """Return what shrinking lowers: how many numbers a case has, then the sum of its choices."""
    sizes = sum(a.size for a in drawn.case.arrays if a is not None)
    return sizes, sum(drawn.record or ())


def simpler_values(case: Case, search: Search) -> Case:
    """Return a failing case of the same form with as many zeros, ones and small integers as it bears."""
    places = [("arrays", i) for i, a in enumerate(case.arrays) if a is not None]
    places += [("cotangents", i) for i, a in enumerate(case.cotangents) if a is not None]
    moved = True
    while moved and not search.over():
        moved = False
        for field, place in places:
            better = _simpler_array(case, field, place, search)
            moved, case = moved or better is not case, better
    return case


def _simpler_array(case: Case, field: str, place: int, search: Search) -> Case:
    """Return the case with one array made simpler, chunk by chunk from the whole to single entries."""
    size = getattr(case, field)[place].size
    chunk = size
    while chunk >= 1:
        for start in range(0, size, chunk):
            for change in _CHANGES:
                if search.over():
                    return case
                case = _tried(case, field, place, slice(start, start + chunk), change, search)
        chunk //= 2
    return case


def _tried(case: Case, field: str, place: int, part: slice, change: Callable[[Array], Array], search: Search) -> Case:
    """Return the case with `change` applied to a part of one array when it is simpler so and still fails."""
    array = getattr(case, field)[place]
    flat = array.ravel().copy()
    with np.errstate(all="ignore"):
        flat[part] = round_to(change(flat[part]), search.storage if not is_index(array) else "float64")
    if _complexity(flat[part]) >= _complexity(array.ravel()[part]):
        return case
    if field == "arrays" and not _allowed(case, place, flat[part], search.op):
        return case
    arrays = tuple(flat.reshape(array.shape) if i == place else a for i, a in enumerate(getattr(case, field)))
    simpler = replace(case, arrays=arrays) if field == "arrays" else replace(case, cotangents=arrays)
    return simpler if search.fails(simpler) is not None else case


def _allowed(case: Case, place: int, values: Array, op: Op) -> bool:
    """Return whether an operand may hold the values: those of a variance are positive, indices are among some."""
    if op.operands[place].positive:
        return bool((values > 0).all())
    shapes = [None if a is None else a.shape for a in case.arrays]
    integers = indices(op, shapes, case.options)[place]
    return integers is None or bool(np.isin(values, np.asarray(integers)).all())


def _complexity(values: Array) -> float:
    """Return how hard the values are to read.

    0 for zero, 1 for one, more for larger integers, negative ones and fractions.
    """
    with np.errstate(all="ignore"):
        finite = np.isfinite(values)
        size = np.abs(np.where(finite, values, 1.0))
        digits = np.abs(np.log2(np.where(size > 0, size, 1.0)))
        whole = size == np.rint(size)
        short = size == round_to(size, "bfloat16")
    cost = np.where(size == 0, 0.0, 1 + digits + np.where(whole, 0, 30) + np.where(short, 0, 10) + (values < 0) / 2)
    return float(np.where(finite, cost, 100.0).sum())


def _short(values: Array) -> Array:
    return round_to(values, "bfloat16")


_CHANGES: tuple[Callable[[Array], Array], ...] = (
    np.zeros_like,
    np.ones_like,
    np.sign,
    np.abs,
    np.rint,
    _short,
    lambda v: np.copysign(np.exp2(np.rint(np.log2(np.maximum(np.abs(v), 2.0**-1000)))), v),
    lambda v: np.copysign(2 * np.floor(np.abs(v) / 4) + 1, v),
    lambda v: np.rint(v / 2),
    lambda v: v / 2,
)


def failing(status: Verdict) -> Verdict | None:
    """Return the verdict when it is a failure or an error, else None."""
    return status if status.bad and status.status is not Status.SUSPECT else None


def guarded(holds: Callable[[Case], Verdict], when: Callable[[Case], bool]) -> Callable[[Case], Verdict | None]:
    """Return `fails` for a law: silent where the law has nothing to say or the case is not one."""

    def fails(case: Case) -> Verdict | None:
        try:
            return failing(holds(case)) if when(case) else None
        except (OffGrid, ValueError):
            return None

    return fails
