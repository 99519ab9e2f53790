"""The exact value with its bound, for people who keep their own tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lref.arrays import to_numpy
from d2lref.oracle.judge import Status, judge
from d2lref.rounding import Precision, outward
from d2lref.spec import Array, Claim, Op


@dataclass(frozen=True, slots=True)
class Expected:
    """What a correct implementation answers: value, float64, and how far each element may be from it.

    Both are tuples, with None for absent outputs, when the op has several outputs.
    """

    value: Any
    bound: Any


def expected(op: Op, arrays: tuple[Array, ...], options: dict[str, Any], p: Precision) -> Expected:
    """Return the definition's value in float64 and its bound for implementations of the precision.

    Raises TypeError for an option the op does not have, ValueError for shapes that do not fit.
    """
    for name in options:
        if name not in op.options:
            message = f"{op.name}: no option {name!r}, expected {', '.join(op.options) or 'none'}"
            raise TypeError(message)
    if len(arrays) > len(op.operands):
        names = ", ".join(o.name for o in op.operands)
        message = f"{op.name}: {len(arrays)} arrays, expected at most {len(op.operands)} ({names})"
        raise TypeError(message)
    whole = tuple(None if a is None else np.asarray(to_numpy(a), np.float64) for a in arrays)
    whole = (*whole, *[None] * (len(op.operands) - len(arrays)))
    value = op.definition(*whole, **options)
    bound = op.bound(value, p, *whole, **options)
    if isinstance(value, tuple):
        return Expected(value, tuple(None if v is None else _wide(b, v) for b, v in zip(bound, value, strict=True)))
    return Expected(value, _wide(bound, value))


def _wide(bound: Array, value: Array) -> np.ndarray:
    return np.broadcast_to(outward(bound), np.shape(value))


def assert_within(actual: Any, wanted: Expected) -> None:
    """Raise AssertionError, naming the worst element, when an answer leaves the bound; several outputs are tuples."""
    if not isinstance(wanted.value, tuple):
        _assert_one(actual, wanted.value, wanted.bound, "answer")
        return
    answers = actual if isinstance(actual, tuple | list) else (actual,)
    if len(answers) != len(wanted.value):
        message = f"{len(answers)} answers, expected {len(wanted.value)}"
        raise AssertionError(message)
    for place, (answer, value, bound) in enumerate(zip(answers, wanted.value, wanted.bound, strict=True)):
        if value is not None:
            _assert_one(answer, value, bound, f"answer {place}")


def _assert_one(actual: Any, value: Array, bound: Array, name: str) -> None:
    found = np.asarray(to_numpy(actual), np.float64)
    if found.shape != value.shape:
        message = f"{name} has shape {found.shape}, expected {value.shape}"
        raise AssertionError(message)
    verdict = judge(Claim(found, value, bound))
    if verdict.status is Status.FAIL:
        v = verdict
        found_here = f"{name}{list(v.index)} = {v.left:.9g}, expected {v.right:.9g}"
        message = f"{found_here} within {v.bound:.3g}: {v.ratio:.3g} times the bound"
        raise AssertionError(message)
