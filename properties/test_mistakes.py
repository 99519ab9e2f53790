"""Every mistake is caught without the definition's help, and every law catches one that no other law does."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from d2lref.oracle import Caller, Implementation, all_laws, all_mistakes, hold
from d2lref.oracle.sources import Drawn
from d2lref.rounding import PRESETS
from d2lref.spec import Array, Law, Mistake, Op
from properties.worlds import OPS, TEXTS, some_cases

pytestmark = pytest.mark.once

MANY = 250  # drawn cases in which a law finds its mistake: it stops at the first
FEW = 40  # drawn cases on which the other laws must all be silent for a law to be the only one
F32 = PRESETS["float32"]
IDS = [op.name for op in OPS]
TEXT_IDS = [op.name for op in TEXTS]


def blind_laws(op: Op) -> dict[str, Law]:
    """Return the laws that do not pass through the definition."""
    return {law.says: law for law in all_laws(op) if not law.definition}


def made(op: Op, mistake: Mistake) -> Caller:
    """Return a caller of the mistake, with the definition and its vjp where the mistake is right."""
    return Caller(op, Implementation(mistake.says, mistake.forward or op.definition, mistake.vjp or op.vjp), F32)


def planted(op: Op, mistake: Mistake) -> Op:
    """Return the op with the mistake inside: as its definition and its vjp."""
    return replace(op, definition=mistake.forward or op.definition, vjp=mistake.vjp or op.vjp)


@cache
def drawn_of(op: Op) -> tuple[Drawn, ...]:
    """Return the drawn cases of an op."""
    return tuple(some_cases(op, MANY))


def caught(f: Caller, cases: tuple[Drawn, ...], *laws: Law) -> bool:
    """Return whether one of the laws fails on one of the cases; a case is asked by all of them before the next."""
    return any(law.when(d.case) and hold(law, f, d.case).bad for d in cases for law in laws)


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_is_caught_by_the_laws_it_names(op: Op) -> None:
    laws, cases = blind_laws(op), drawn_of(op)
    for mistake in all_mistakes(op):
        f = made(op, mistake)
        missed = [says for says in mistake.caught_by if not caught(f, cases, laws[says])]
        assert not missed, f"{mistake.says}: {missed} let it through"
        assert mistake.caught_by or caught(f, cases, *laws.values()), f"{mistake.says}: escaped"


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_is_caught_when_it_is_in_the_definition(op: Op) -> None:
    """With the mistake planted, the definition law is blind, and the others must see."""
    for mistake in all_mistakes(op):
        inside = planted(op, mistake)
        laws, f = blind_laws(inside), Caller(inside, Implementation("it", inside.definition, inside.vjp), F32)
        named = [laws[says] for says in mistake.caught_by]
        assert caught(f, drawn_of(op), *named) or caught(f, drawn_of(op), *laws.values()), mistake.says


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


@pytest.mark.parametrize("op", TEXTS, ids=TEXT_IDS)
def test_every_law_catches_a_mistake_that_no_other_does(op: Op) -> None:
    laws, few, lenient = blind_laws(op), drawn_of(op)[:FEW], forgiving(op)
    alone: set[str] = set()
    for mistake in all_mistakes(op):
        if len(mistake.caught_by) == 1 and mistake.caught_by[0] not in alone:
            others = [
                law for law in laws.values() if law.says not in mistake.caught_by and (law.vjp or mistake.forward)
            ]
            f = replace(made(op, mistake), op=lenient)
            if caught(f, drawn_of(op), laws[mistake.caught_by[0]]) and not caught(f, few, *others):
                alone.update(mistake.caught_by)
    assert set(laws) - alone == set(), "catch nothing alone"


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_the_definition_laws_catch_what_they_compare(op: Op) -> None:
    forward, gradient = (law for law in all_laws(op) if law.definition)
    for mistake in (m for m in op.mistakes if not m.lasting):  # they compare one call
        law = forward if mistake.forward else gradient
        assert caught(made(op, mistake), drawn_of(op), law), mistake.says


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_cites_where_it_is_known_from(op: Op) -> None:
    assert [m.says for m in all_mistakes(op) if not m.cites] == []
    assert len({m.says for m in all_mistakes(op)}) == len(all_mistakes(op))
