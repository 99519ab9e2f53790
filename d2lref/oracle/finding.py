"""A finding: one broken law on its minimal case.

One wrong number with its sum written out, the excess over the bound, and a diagnosis; `program` writes the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lref.oracle.caller import Call, Caller
from d2lref.oracle.diagnose import Diagnosis
from d2lref.oracle.judge import Status, Tier, Verdict
from d2lref.rounding import outward
from d2lref.spec import Array, Case, Op


@dataclass(frozen=True, slots=True)
class Element:
    """One wrong number of one call.

    Which output (or gradient), where, what came and what the definition says within its bound.
    """

    role: str
    index: tuple[int, ...]
    found: float
    expected: float
    bound: float
    written_out: str = ""
    given: tuple[Array, ...] = ()

    @property
    def place(self) -> str:
        """Return the name with its index: y[0, 1]."""
        return f"{self.role}[{', '.join(map(str, self.index))}]" if self.index else self.role


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken law on its minimal case. excess: difference over bound.

    Calls: what the law asked of the implementation.
    """

    subject: str
    implementation: str
    law: str
    precision: str
    verdict: Verdict
    case: Case
    element: Element | None
    diagnosis: Diagnosis
    calls: tuple[str, ...]
    reproduction: str
    operands: tuple[str, ...]
    cases_failed: int = 1

    @property
    def excess(self) -> float:
        """Return how many times the bound the difference is."""
        return self.verdict.ratio

    def __str__(self) -> str:
        """Return the finding for a terminal."""
        lines = [
            f"{self.verdict.status.upper()} {self.subject}: {self.law}",
            f"  implementation  {self.implementation}, claimed {self.precision}",
        ]
        lines += [f"  minimal case    {_text(self.operands, self.case.arrays)}"] if self.case.arrays else []
        lines += [f"  options         {_options_text(self.case.options)}"] if self.case.options else []
        if self.element is not None:
            e = self.element
            if _text(self.operands, e.given) != _text(self.operands, self.case.arrays):
                lines.append(f"  in the call     {_text(self.operands, e.given)}")
            lines.append(f"  wrong element   {e.place} = {e.found:.9g}, expected {e.expected:.9g} within {e.bound:.3g}")
            lines += [f"  written out     {e.written_out}"] if e.written_out else []
        if self.verdict.note:
            lines.append(f"  note            {self.verdict.note}")
        elif self.element is None:
            v = self.verdict
            lines.append(
                f"  the two sides   at {v.index}: {v.left:.9g} and {v.right:.9g}, allowed difference {v.bound:.3g}"
            )
        if self.verdict.status is not Status.ERROR:
            lines.append(f"  excess          {self._excess_text()}")
            lines.append(f"  diagnosis       {self.diagnosis}")
        return "\n".join(lines)

    def _excess_text(self) -> str:
        if self.verdict.tier is Tier.EXACT:
            return "the answer must be exact here (bound 0)"
        if self.verdict.tier is Tier.CHANCE:
            return f"{self.excess:.3g} times as far from the middle of its interval as its ends are"
        return f"{self.excess:.3g} times the {self.verdict.tier} bound"


def _text(names: tuple[str, ...], arrays: tuple[Array, ...]) -> str:
    """Return the arrays that are present with name, shape and values."""
    parts = []
    for name, array in zip(names, arrays, strict=False):
        if array is not None:
            values = np.array2string(array, separator=", ", threshold=20).replace("\n", " ")
            parts.append(f"{name} {array.shape} = {' '.join(values.split())}")
    return "; ".join(parts)


def _options_text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v!r}" for k, v in options.items())


def wrong_element(f: Caller, calls: list[Call]) -> tuple[Element, Call] | None:
    """Return the worst element of the first call whose answers leave the definition's bound, and that call.

    None when all are right.
    """
    for call in calls:
        if all(answer is None for answer in call.answers):
            continue
        exact, bounds, roles = _right(f, call)
        for role, found, value, bound in zip(roles, call.answers, exact, bounds, strict=True):
            if found is None or not found.size:
                continue
            index, ratio = _worst(found, value, bound)
            if ratio > 1:
                expected, allowed = float(value[index]), float(bound[index])
                text = written_out(f.op, call, role, index)
                return Element(role, index, float(found[index]), expected, allowed, text, call.arrays), call
    return None


def _worst(found: Array, value: Array, bound: Array) -> tuple[tuple[int, ...], float]:
    with np.errstate(all="ignore"):
        ratio = np.abs(found - value) / bound
    same = (found == value) | (np.isnan(found) & np.isnan(value)) | np.isinf(bound)
    ratio = np.where(same, 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    index = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), ratio.shape))
    return index, float(ratio[index])


def _right(f: Caller, call: Call) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[str, ...]]:
    """Return the exact answers of a call, their bounds, and what each is called."""
    op, options = f.op, full_options(f.op, call.options)
    if call.kind == "vjp":
        exact = op.vjp(call.cotangent, *call.arrays, **options)
        bounds = op.vjp_bound(exact, f.precision.backward, call.cotangent, *call.arrays, **options)
        roles = tuple(f"d{o.name}" for o in op.operands)
    else:
        value = op.definition(*call.arrays, **options)
        bound = op.bound(value, f.precision, *call.arrays, **options)
        exact, bounds = (value, bound) if len(op.outputs) > 1 else ((value,), (bound,))
        roles = op.outputs
    wide = tuple(
        None if v is None else np.broadcast_to(outward(b), np.shape(v)) for v, b in zip(exact, bounds, strict=True)
    )
    return exact, wide, roles


def full_options(op: Op, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option with its value: the one given, else the default."""
    return {**op.options, **options}


def written_out(op: Op, call: Call, role: str, index: tuple[int, ...]) -> str:
    """Return the exact value as a sum of products, "1·2 + 3·(-1) = -1"; "" when the op is no such sum there."""
    pairs = _products(op, call, role, index)
    if pairs is None or len(pairs) > 40:
        return ""
    expected, exact = pairs[-1], sum(a * b for a, b in pairs[:-1])
    terms = [f"{_number(a)}·{_number(b)}" for a, b in pairs[:-1]]
    rest = expected[0] - exact
    if not np.isfinite(rest):
        return ""
    if rest:
        last = op.operands[-1]
        if not (last.optional and last.differentiable) or role != op.outputs[0]:
            return ""
        terms.append(f"{_number(rest)} ({last.name})")
    return f"{' + '.join(terms) or '0 (an empty sum)'} = {expected[0]:.9g}"


def _products(op: Op, call: Call, role: str, index: tuple[int, ...]) -> list[tuple[float, float]] | None:
    """Return the factors of each term, then (exact value, 1).

    From the op's own derivative, so for whatever is linear in its first array.
    """
    options, first = full_options(op, call.options), call.arrays[0]
    if call.kind == "forward" and role == op.outputs[0] and len(op.outputs) == 1:
        head = np.zeros(op.shape(*(None if a is None else a.shape for a in call.arrays), **options)[0])
        head[index] = 1.0
        weights = op.vjp(head, *call.arrays, **options)[0]
        value = float(op.definition(*call.arrays, **options)[index])
        picked = np.nonzero(weights)
        return [*zip(weights[picked].tolist(), first[picked].tolist(), strict=True), (value, 1.0)]
    place = next((i for i, o in enumerate(op.operands) if role == f"d{o.name}" and o.linear), None)
    if call.kind != "vjp" or place is None or len(op.outputs) > 1:
        return None
    tail = np.zeros_like(call.arrays[place])
    tail[index] = 1.0
    arrays = [None if o.optional and not o.linear else a for a, o in zip(call.arrays, op.operands, strict=True)]
    arrays[place] = tail
    column = op.definition(*arrays, **options)
    value = float(op.vjp(call.cotangent, *call.arrays, **options)[place][index])
    picked = np.nonzero(column)
    return [*zip(call.cotangent[picked].tolist(), column[picked].tolist(), strict=True), (value, 1.0)]


def _number(value: float) -> str:
    return f"({value:.9g})" if value < 0 else f"{value:.9g}"
