"""The shapes of the user's own: those that are timed, or that failed once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from d2lref.oracle.implementation import Implementation, shown
from d2lref.oracle.sources import Drawn
from d2lref.oracle.values import fill
from d2lref.spec import REQUIRED, Form, Op, Shape

REGIMES = ("lattice_small", "sparse")
"""Regimes that stay sharp at any size: integers leave no room for rounding, and few numbers beside zeros little."""


def forms(op: Op, workloads: Iterable[Any] | None, judged: Implementation) -> tuple[Form, ...]:
    """Return the forms of [{"shapes": [...], "options": {...}}, ...]: a shape for each array, None for an absent one.

    Arrays that are optional may be left out at the end, and so may options that have a default. Raises ValueError, in
    one line, for what is no such list, does not fit the op, or lies outside of what the implementation supports.
    """
    if workloads is None:
        return ()
    if isinstance(workloads, str | Mapping) or not isinstance(workloads, Iterable):
        raise ValueError(f"workloads: {shown(workloads)}, expected a list of {{'shapes': ..., 'options': ...}}")
    return tuple(_form(op, f"workloads[{place}]", each, judged) for place, each in enumerate(workloads))


def _form(op: Op, name: str, given: Any, judged: Implementation) -> Form:
    if not isinstance(given, Mapping) or not {"shapes"} <= set(given) <= {"shapes", "options"}:
        raise ValueError(f"{name}: {shown(given)}, expected {{'shapes': ..., 'options': ...}}")
    shapes, options = _shapes(op, name, given["shapes"]), _options(op, name, given.get("options", {}))
    try:
        op.shape(*shapes, **options)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
    form = Form(shapes, options)
    if not judged.supported(op, form):
        raise ValueError(f"{name}: {shown(given)} lies outside of what the implementation supports")
    return form


def _shapes(op: Op, name: str, given: Any) -> tuple[Shape | None, ...]:
    """Return a shape, or None, for every operand."""
    count, least = len(op.operands), sum(not o.optional for o in op.operands)
    if not isinstance(given, Sequence) or not least <= len(given) <= count:
        wanted = ", ".join(o.name for o in op.operands)
        raise ValueError(f"{name}: shapes={shown(given)}, expected one for each of {wanted}")
    shapes = tuple(None if s is None else _shape(name, s) for s in (*given, *[None] * (count - len(given))))
    for operand, shape in zip(op.operands, shapes, strict=True):
        if shape is None and not operand.optional:
            raise ValueError(f"{name}: {operand.name} is absent, expected a shape")
    return shapes


def _shape(name: str, given: Any) -> Shape:
    if not isinstance(given, Sequence) or not all(type(n) is int and n >= 0 for n in given):
        raise ValueError(f"{name}: shape {shown(given)}, expected a list of integers >= 0")
    return tuple(given)


def _options(op: Op, name: str, given: Any) -> Mapping[str, Any]:
    """Return every option with its value; lists, which JSON has for tuples, as tuples."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: options={shown(given)}, expected a mapping")
    if unknown := set(given) - set(op.options):
        known = ", ".join(op.options) or "none"
        raise ValueError(f"{name}: no option {', '.join(sorted(map(repr, unknown)))}, expected {known}")
    options = {**op.options, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}}
    if missing := [option for option, value in options.items() if value is REQUIRED]:
        raise ValueError(f"{name}: {', '.join(missing)} is missing, expected a value: it has no default")
    return options


def cases(op: Op, asked: Iterable[Form], seed: int, storage: str) -> Iterator[Drawn]:
    """Yield every form in the regimes that stay sharp, or in the op's first where it has neither."""
    regimes = [regime for regime in REGIMES if regime in op.regimes] or [op.regimes[0]]
    for place, form in enumerate(asked):
        for turn, regime in enumerate(regimes):
            number = seed + 1000 * place + turn
            yield Drawn(fill(op, form, regime, number, storage), form, regime, number, None)


def label(form: Form) -> str:
    """Return a form in words, for the coverage: "1x64x56x56, 64x64x3x3; padding=1"."""
    shapes = ", ".join("x".join(map(str, s)) if s is not None else "absent" for s in form.shapes)
    options = ", ".join(f"{k}={v!r}" for k, v in form.options.items())
    return f"{shapes}; {options}" if options else shapes
