"""The exact value with its bound, for people who keep their own tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lref.arrays import to_numpy
from d2lref.oracle.implementation import shown
from d2lref.oracle.judge import Status, judge
from d2lref.oracle.values import indices
from d2lref.rounding import Precision, outward, round_to
from d2lref.spec import REQUIRED, Array, Claim, Op


@dataclass(frozen=True, slots=True)
class Expected:
    """What a correct implementation answers: value, float64, and how far each element may be from it.

    Both are tuples, with None for absent outputs, when the op has several outputs.
    """

    value: Any
    bound: Any


def expected(op: Op, arrays: tuple[Array, ...], options: dict[str, Any], p: Precision) -> Expected:
    """Return the definition's value in float64 and its bound for implementations of the precision.

    Both are those of the arrays rounded to the storage format, which is what an implementation receives: what rounding
    the input costs belongs to the caller, and no bound of the op covers it.

    Raises TypeError for an option the op does not have, for one without a default that is missing, and for what is no
    array; ValueError for shapes that do not fit.
    """
    _check_options(op, options)
    every = {**op.options, **options}
    whole = _operands(op, arrays, every, p.storage)
    value = op.definition(*whole, **every)
    bound = op.bound(value, p, *whole, **every)
    if isinstance(value, tuple):
        return Expected(value, tuple(None if v is None else _wide(b, v) for b, v in zip(bound, value, strict=True)))
    return Expected(value, _wide(bound, value))


def _check_options(op: Op, options: dict[str, Any]) -> None:
    """Refuse options the op does not have, and the lack of those that have no default."""
    for name in options:
        if name not in op.options:
            message = f"{op.name}: no option {name!r}, expected {', '.join(op.options) or 'none'}"
            raise TypeError(message)
    for name, default in op.options.items():
        if default is REQUIRED and name not in options:
            message = f"{op.name}: {name} is missing, expected a value: it has no default"
            raise TypeError(message)


def _operands(op: Op, arrays: tuple[Array, ...], options: dict[str, Any], storage: str) -> tuple[Array, ...]:
    """Return one array on the storage grid (of int64 for indices), or None, for every operand."""
    names = ", ".join(f"{o.name}=None" if o.optional else o.name for o in op.operands)
    if len(arrays) > len(op.operands):
        message = f"{op.name}: {len(arrays)} arrays, expected at most {len(op.operands)} ({names})"
        raise TypeError(message)
    whole = (*arrays, *[None] * (len(op.operands) - len(arrays)))
    for place, (operand, array) in enumerate(zip(op.operands, whole, strict=True)):
        if array is None and not operand.optional:
            what = "None" if place < len(arrays) else "missing"
            message = f"{op.name}: {operand.name} is {what}, expected an array: the arrays are {names}"
            raise TypeError(message)
    found: dict[str, np.ndarray | None] = {}
    for operand, array in zip(op.operands, whole, strict=True):
        home = None if array is None else real(array)
        if isinstance(home, str):
            message = f"{op.name}: {operand.name} is {home}, expected an array of real numbers"
            raise TypeError(message)
        found[operand.name] = home
    shapes = [None if a is None else a.shape for a in found.values()]
    kinds = zip(found.items(), indices(op, shapes, options), strict=True)
    return tuple(None if a is None else _held(op, name, a, storage, among) for (name, a), among in kinds)


def _held(op: Op, name: str, array: np.ndarray, storage: str, among: Sequence[int] | None) -> np.ndarray:
    """Return an array on the storage grid; in int64 where it holds indices."""
    if among is None:
        return round_to(array, storage)
    if not (array == np.rint(array)).all():
        message = f"{op.name}: {name} holds fractions, expected integers"
        raise TypeError(message)
    return array.astype(np.int64)


def real(array: Any) -> np.ndarray | str:
    """Return an array of real numbers in float64; for anything else the words for what it is."""
    try:
        if not any(hasattr(array, door) for door in ("__array__", "__dlpack__")):
            return type(array).__name__
        narrow = "bfloat16" in str(getattr(array, "dtype", "")) and hasattr(array, "float")  # torch's; NumPy has none
        home = np.asarray(to_numpy(array.float() if narrow else array))
        if home.dtype.kind in "OSUmMc" or isinstance(array, np.ma.MaskedArray):
            return f"{type(array).__name__} of {home.dtype}"
        return home.astype(np.float64)
    except Exception as error:  # noqa: BLE001 - the way home is a stranger's code
        return f"{type(array).__name__} ({type(error).__name__}: {error})"


def _wide(bound: Array, value: Array) -> np.ndarray:
    return np.broadcast_to(outward(bound), np.shape(value))


def assert_within(actual: Any, wanted: Any) -> None:
    """Raise AssertionError, naming the worst element, when an answer leaves the bound; several outputs are tuples."""
    if not isinstance(wanted, Expected):
        message = f"expected: {shown(wanted)}, expected what d2lref.expected returns"
        raise TypeError(message)
    if not isinstance(wanted.value, tuple):
        _assert_one(actual, wanted.value, wanted.bound, "answer")
        return
    answers = actual if isinstance(actual, tuple | list) else (actual,)
    if len(answers) != len(wanted.value):
        message = f"{len(answers)} answer{'s' * (len(answers) != 1)}, expected {len(wanted.value)}"
        raise AssertionError(message)
    for place, (answer, value, bound) in enumerate(zip(answers, wanted.value, wanted.bound, strict=True)):
        if value is not None:
            _assert_one(answer, value, bound, f"answer {place}")


def _assert_one(actual: Any, value: Array, bound: Array, name: str) -> None:
    found = real(actual)
    if isinstance(found, str):
        message = f"{name} is {found}, expected an array of real numbers of shape {value.shape}"
        raise AssertionError(message)
    if found.shape != value.shape:
        message = f"{name} has shape {found.shape}, expected {value.shape}"
        raise AssertionError(message)
    verdict = judge(Claim(found, value, bound))
    if verdict.status is Status.FAIL:
        v = verdict
        found_here = f"{name}{list(v.index)} = {v.left:.9g}, expected {v.right:.9g}"
        message = f"{found_here} within {v.bound:.3g}: {v.ratio:.3g} times the bound"
        raise AssertionError(message)
