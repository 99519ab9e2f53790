"""What the theorems range over: ops, their variants, array libraries, precisions, and cases drawn by Hypothesis."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import array_api_strict
import numpy as np
from hypothesis import strategies as st

from d2lref.catalogue import REFERENCE, reference, subjects
from d2lref.oracle import Implementation, Library
from d2lref.oracle.sources import Choices, Drawn, draw_case, seeded
from d2lref.spec import Op

OPS = tuple(subjects().values())


def of_each_text(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Return one op of each chapter that serves 1, 2 and 3 axes with one text: that of 2. All, in the deep profile.

    Which of its mistakes are caught says the same of all three, and takes twice as long for 3 axes.
    """
    if os.environ.get("D2LREF_PROFILE") == "deep":
        return ops
    names = {op.name for op in ops}
    return tuple(op for op in ops if re.sub("[13]d", "2d", op.name) not in names - {op.name})


TEXTS = of_each_text(OPS)
SUBJECTS = tuple((op, name) for op in OPS for name in ("definition", *op.variants))


def from_strict(array: Any) -> np.ndarray:
    """Return an array of array_api_strict as NumPy's."""
    return np.asarray(array._array)  # noqa: SLF001 - it offers no other way that keeps float16


STRICT = Library("array_api_strict", lambda array, dtype: array_api_strict.asarray(array.astype(dtype)), from_strict)


def libraries() -> Iterator[Library]:
    """Yield the array libraries that are installed, the strict one first."""
    yield STRICT
    yield from _torch() if find_spec("torch") else ()
    from d2lref.oracle import NUMPY

    yield NUMPY


def _torch() -> Iterator[Library]:
    import torch

    from d2lref.adapters.torch import library

    yield library("cpu")
    if torch.cuda.is_available():
        yield library("cuda")


LIBRARIES = tuple(libraries())


@cache
def ours(op: Op, variant: str, library: Library) -> Implementation:
    """Return our definition or variant as an implementation on an array library."""
    return replace(reference(op, variant), library=library)


@st.composite
def cases(draw: Callable[..., Any], op: Op, storage: str, accepts: Implementation) -> Drawn | None:
    """A case of the op, None when the implementation does not accept its form.

    Shrinks towards the simplest form and regime.
    """
    choices = Choices(lambda count: draw(st.integers(0, count - 1)) if count > 1 else 0)
    drawn = draw_case(op, choices, draw(st.integers(0, 2**32 - 1)), storage)
    return drawn if accepts.supported(op, drawn.form) else None


def some_cases(op: Op, count: int, storage: str = "float32", seed: int = 0) -> list[Drawn]:
    """Return the first `count` cases of a seeded search."""
    found = []
    for number in range(count):
        choices = seeded(seed + 1_000_003 * number)
        found.append(draw_case(op, choices, seed + number, storage))
    return found


def accepted_cases(op: Op, implementation: Implementation, count: int, storage: str = "float32") -> list[Drawn]:
    """Return `count` cases that an implementation accepts, for those that accept few.

    Forms are drawn until there are enough.
    """
    found: list[Drawn] = []
    number = 0
    while len(found) < count and number < 2000 * count:
        number += 1
        choices = seeded(number)
        choices.choice(*op.regimes)
        if implementation.supported(op, op.cases(choices)):
            found.append(draw_case(op, seeded(number), number, storage))
    return found


__all__ = [
    "LIBRARIES",
    "OPS",
    "REFERENCE",
    "STRICT",
    "SUBJECTS",
    "TEXTS",
    "accepted_cases",
    "cases",
    "ours",
    "some_cases",
]
