"""Every mistake is caught without the definition's help, and every law catches one that no other law does."""

from dataclasses import replace
from functools import cache

import pytest

from d2lref.oracle import Caller, Implementation, all_laws, common_mistakes, hold
from d2lref.rounding import PRESETS
from d2lref.spec import Law, Mistake, Op
from properties.worlds import OPS, some_cases

CASES = 80  # drawn cases of each op; a mistake shows on one in fifty at least
F32 = PRESETS["float32"]
IDS = [op.name for op in OPS]


def mistakes(op: Op) -> tuple[Mistake, ...]:
    """Return the op's mistakes and the generic ones."""
    return (*op.mistakes, *common_mistakes(op))


def planted(op: Op, mistake: Mistake) -> Op:
    """Return the op with the mistake inside: as its definition and its vjp."""
    return replace(op, definition=mistake.forward or op.definition, vjp=mistake.vjp or op.vjp)


def caught(law: Law, f: Caller, op: Op) -> bool:
    """Return whether the law fails on one of the drawn cases."""
    return any(law.when(d.case) and hold(law, f, d.case).bad for d in drawn_of(op))


@cache
def drawn_of(op: Op) -> tuple[object, ...]:
    """Return the drawn cases of an op."""
    return tuple(some_cases(op, CASES))


@cache
def catches(op: Op) -> dict[str, frozenset[str]]:
    """Return, for every mistake, the laws that catch it and do not pass through the definition."""
    laws = [law for law in all_laws(op) if not law.definition]
    found = {}
    for mistake in mistakes(op):
        wrong = Implementation(mistake.says, mistake.forward or op.definition, mistake.vjp or op.vjp)
        found[mistake.says] = frozenset(law.says for law in laws if caught(law, Caller(op, wrong, F32), op))
    return found


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_is_caught_without_the_definition(op: Op) -> None:
    assert {says for says, laws in catches(op).items() if not laws} == set()


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_is_caught_when_it_is_in_the_definition(op: Op) -> None:
    """With the mistake planted, the definition law is blind, and the others must see."""
    escaped = []
    for mistake in mistakes(op):
        inside = planted(op, mistake)
        f = Caller(inside, Implementation(mistake.says, inside.definition, inside.vjp), F32)
        if not any(caught(law, f, op) for law in all_laws(inside) if not law.definition):
            escaped.append(mistake.says)
    assert escaped == []


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_law_catches_a_mistake_that_no_other_does(op: Op) -> None:
    alone = {next(iter(laws)) for laws in catches(op).values() if len(laws) == 1}
    idle = {law.says for law in all_laws(op) if not law.definition} - alone
    assert idle == set()


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_is_caught_by_the_laws_it_names(op: Op) -> None:
    names = {law.says for law in all_laws(op) if not law.definition}
    for mistake in mistakes(op):
        assert set(mistake.caught_by) <= names, mistake.says
        assert set(mistake.caught_by) <= catches(op)[mistake.says], mistake.says


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_the_definition_laws_catch_what_they_compare(op: Op) -> None:
    forward, gradient = (law for law in all_laws(op) if law.definition)
    for mistake in op.mistakes:
        wrong = Caller(op, Implementation(mistake.says, mistake.forward or op.definition, mistake.vjp or op.vjp), F32)
        assert caught(forward if mistake.forward else gradient, wrong, op), mistake.says


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_mistake_cites_where_it_is_known_from(op: Op) -> None:
    assert [m.says for m in mistakes(op) if not m.cites] == []
    assert len({m.says for m in mistakes(op)}) == len(mistakes(op))
