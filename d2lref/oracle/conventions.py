"""An op as a framework means it, where frameworks differ legitimately, and which convention an implementation follows.

A chapter speaks torch's convention and tells where others differ (`spec.Convention`). `under` turns the op into theirs:
a record like any other, so that nothing else in the judge knows of conventions.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np

from d2lref.spec import FRAMEWORKS, REQUIRED, Convention, Draw, Form, Mistake, Op

TORCH = Convention(name=FRAMEWORKS[0], says="what torch.nn.functional does", source="torch.nn.functional")


def check_convention(name: Any) -> str:
    """Return the name of a convention, torch's for None. Raises ValueError for one that does not exist."""
    if name is None:
        return TORCH.name
    if isinstance(name, str) and name in FRAMEWORKS:
        return name
    message = f"convention: {name!r}, expected one of {', '.join(FRAMEWORKS)}"
    raise ValueError(message)


def under(op: Op, name: str) -> Op:
    """Return the op as a framework means it; the op itself where no difference from torch is known."""
    found = next((c for c in op.conventions if c.name == name), None)
    return op if found is None else _meant(op, found)


def others(op: Op) -> Iterator[tuple[Convention, Op]]:
    """Yield the other conventions of an op, torch's first, with the op as they mean it."""
    home = op.torch or op
    for convention in (TORCH, *home.conventions):
        meant = under(home, convention.name)
        if meant.definition is not op.definition or meant.options != op.options:
            yield convention, meant


def _meant(op: Op, c: Convention) -> Op:
    """Return the op under a convention: its functions called with what torch would be handed."""
    ahead = _ahead(op, c)
    back = c.moves or (lambda gradients: gradients)

    def vjp(gy: Any, *arrays: Any, **options: Any) -> tuple[Any, ...]:
        return back(tuple((c.vjp or op.vjp)(gy, *_moved(op, c, arrays), **ahead(options))))

    def vjp_bound(grads: tuple[Any, ...], p: Any, gy: Any, *arrays: Any, **options: Any) -> tuple[Any, ...]:
        found = (c.vjp_bound or op.vjp_bound)(back(tuple(grads)), p, gy, *_moved(op, c, arrays), **ahead(options))
        return back(tuple(found))

    return replace(
        op,
        torch=op,
        options={**op.options, **c.defaults},
        shape=_called(op.shape, 0, ahead),
        definition=_called(c.definition or op.definition, 0, ahead, op, c),
        vjp=vjp,
        bound=_called(c.bound or op.bound, 2, ahead, op, c),
        vjp_bound=vjp_bound,
        spread=None if op.spread is None or c.definition else _called(op.spread, 2, ahead, op, c),
        cases=lambda draw: _redrawn(op, c, draw),
        gallery=tuple(_with_defaults(op, c, form) for form in op.gallery),
        laws=tuple(law for law in op.laws if law.says not in c.without),
        mistakes=tuple(_mistaken(op, c, mistake, ahead) for mistake in op.mistakes),
        variants={},
    )


Ahead = Callable[[dict[str, Any]], dict[str, Any]]
Function = Callable[..., Any]


def _ahead(op: Op, c: Convention) -> Ahead:
    """Return the function from options, with this convention's defaults for those left out, to torch's."""
    usual = {k: v for k, v in {**op.options, **c.defaults}.items() if v is not REQUIRED}

    def ahead(options: dict[str, Any]) -> dict[str, Any]:
        return c.means(**{**usual, **options}) if c.means else {**usual, **options}

    return ahead


def _moved(op: Op, c: Convention, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arrays that torch would be handed, with None for those left out at the end."""
    whole = (*arrays, *[None] * (len(op.operands) - len(arrays)))
    return c.moves(whole) if c.moves else whole


def _called(
    function: Callable[..., Any], first: int, ahead: Ahead, op: Op | None = None, c: Convention | None = None
) -> Callable[..., Any]:
    """Return a function of `first` other arguments, then arrays (moved where a convention is given) and options."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        arrays = arguments[first:]
        moved = arrays if op is None or c is None else _moved(op, c, arrays)
        return function(*arguments[:first], *moved, **ahead(options))

    return call


def _redrawn(op: Op, c: Convention, draw: Draw) -> Form:
    return _with_defaults(op, c, op.cases(draw))


def _with_defaults(op: Op, c: Convention, form: Form) -> Form:
    """Return the form with the defaults of torch and of this convention exchanged."""
    exchanged = {}
    for name, theirs in c.defaults.items():
        ours, value = op.options[name], form.options[name]
        exchanged[name] = theirs if value == ours else ours if value == theirs else value
    return Form(form.shapes, {**form.options, **exchanged})


def _rebased(wrong: Function, ours: Function, theirs: Function | None) -> Function:
    """Return what is wrong about a mistake of torch's definition as a mistake of another one.

    Entries in which it answers as torch's definition does are those of the other.
    """
    if theirs is None:
        return wrong

    def call(*arrays: Any, **options: Any) -> Any:
        answers = tuple(f(*arrays, **options) for f in (wrong, ours, theirs))
        return tuple(map(_changed, *answers)) if isinstance(answers[0], tuple) else _changed(*answers)

    return call


def _changed(wrong: Any, ours: Any, theirs: Any) -> Any:
    if wrong is None or wrong.shape != ours.shape or wrong.dtype != ours.dtype:
        return wrong
    return np.where((wrong == ours) | (np.isnan(wrong) & np.isnan(ours)), theirs, wrong)


def _mistaken(op: Op, c: Convention, mistake: Mistake, ahead: Ahead) -> Mistake:
    """Return the mistake, called as torch would be; where it is made of a vjp, gradients are moved back."""
    back = c.moves or (lambda gradients: gradients)

    def moved_vjp(wrong: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
        return lambda gy, *arrays, **options: back(tuple(wrong(gy, *_moved(op, c, arrays), **ahead(options))))

    wrong = _rebased(mistake.forward, op.definition, c.definition) if mistake.forward else None
    return replace(
        mistake,
        forward=wrong and _called(wrong, 0, ahead, op, c),
        vjp=mistake.vjp and moved_vjp(mistake.vjp),
        caught_by=tuple(says for says in mistake.caught_by if says not in c.without),
    )
