"""Which bug a failure is.

The convention or the mistake whose answers these are, the precision the error is consistent with, and the options it
depends on.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from d2lref.oracle.caller import Bounds, Call, Caller, Raised, Unsupported, WrongAnswer
from d2lref.oracle.common import all_mistakes
from d2lref.oracle.conventions import others
from d2lref.oracle.implementation import Implementation, as_form
from d2lref.oracle.values import fill, is_index
from d2lref.rounding import ALGORITHMS, FORMATS, PRESETS, ROUNDING_RMS, VARIANCES, Pair, Precision, round_to
from d2lref.spec import REQUIRED, Case, Form, Law, Mistake, Op


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a failure looks like. mistake: the known mistake with the same answers, and whom it cites.

    convention: another convention with the same answers, and what it says. precision: the arithmetic that explains the
    error. depends_on: (option, value, the default with which it passes).
    asked: False when the run was interrupted before it could be asked for.
    """

    mistake: str = ""
    cites: str = ""
    precision: str = ""
    depends_on: tuple[tuple[str, Any, Any], ...] = ()
    asked: bool = True
    convention: str = ""

    def __str__(self) -> str:
        """Return the diagnosis in a few sentences."""
        if not self.asked:
            return "none, and the case is not minimal: the run was interrupted"
        parts = [f"consistent with convention {self.convention}"] if self.convention else []
        parts += [f"matches the mistake: {self.mistake} ({self.cites})"] if self.mistake else []
        parts += [f"consistent with: {self.precision}"] if self.precision else []
        parts += [f"depends on {name}={value!r} (passes with {default!r})" for name, value, default in self.depends_on]
        return "; ".join(parts) or "no known mistake gives these answers"


LAST_BITS = 4
"""Roundings of the answer by which an implementation may differ from a mistake that it makes: it adds other sums than
the right ones, and its bound is about those."""

Answers = tuple[Pair | None, ...]
Ask = Callable[[Caller, Case], Answers]


def cases_of(calls: Iterable[Call], law: Law, minimal: Case) -> list[Case]:
    """Return the calls that a law made on a case as cases: many a law changes the arrays and the options."""
    return [
        replace(
            minimal,
            arrays=call.arrays,
            options={**minimal.options, **call.options},
            cotangents=call.cotangent if isinstance(call.cotangent, tuple) else (call.cotangent,),
        )
        for call in calls
        if not call.layout and (call.kind == "vjp") == law.vjp
    ]


def diagnose(law: Law, f: Caller, minimal: Case, cases: Iterable[Case], fails: Callable[[Case], Any]) -> Diagnosis:
    """Return what the failure of `law` on `minimal` looks like, judged by the answers on it and on other `cases`."""
    ask = _gradients if law.vjp else _forward
    every = [minimal, *cases]
    seen = _observed(f, ask, every)
    convention = nearest_convention(f, ask, every)
    mistake = nearest_mistake(f, ask, seen) if seen and not convention else None
    numbers = [s for s in seen if not isinstance(s.answers, str)]
    found = "" if mistake or convention or not any(s.wrong for s in numbers) else precision_hypothesis(f, ask, numbers)
    depends = options_it_depends_on(f, minimal, fails)
    told = (mistake.says, mistake.cites) if mistake else ("", "")
    return Diagnosis(*told, found, depends, convention=convention)


def _forward(f: Caller, case: Case) -> Answers:
    answer = f(*case.arrays, **case.options)
    return answer if isinstance(answer, tuple) else (answer,)


def _gradients(f: Caller, case: Case) -> Answers:
    sent = case.cotangents if len(f.op.outputs) > 1 else case.cotangents[0]
    return f.vjp(sent, *case.arrays, **case.options)


@dataclass(frozen=True, slots=True)
class Seen:
    """A case, what the implementation answered (or what is wrong about its form), and the right answers."""

    case: Case
    answers: Any
    exact: Answers

    @property
    def wrong(self) -> bool:
        """Return whether the answers leave the bound."""
        return not _close(self.answers, self.exact)


def _answered(ask: Ask, f: Caller, case: Case) -> Answers | str:
    """Return the answers, or what is wrong about their number, shape or type. Raises Raised."""
    try:
        return ask(f, case)
    except WrongAnswer as error:
        return str(error)


def _observed(f: Caller, ask: Ask, cases: Iterable[Case]) -> list[Seen]:
    right = Caller(f.op, Implementation("definition", f.op.definition, f.op.vjp), PRESETS["float64"])
    seen = []
    for case in cases:
        try:
            seen.append(Seen(case, _answered(ask, f, case), ask(right, case)))
        except (Raised, Unsupported):
            continue
    return seen if any(s.wrong for s in seen) else []


def _close(left: Answers | str, right: Answers | str, slack: float = 0.0) -> bool:
    """Return whether all answers agree within the sum of their bounds and `slack` times their size."""
    if isinstance(left, str) or isinstance(right, str):
        return left == right
    return all(_near(a, b, slack).all() for a, b in zip(left, right, strict=True) if a is not None and b is not None)


def _near(a: Pair, b: Pair, slack: float = 0.0) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        bound = a.error + b.error + slack * np.where(np.isfinite(b.value), np.abs(b.value), 0.0)
        near = (np.abs(a.value - b.value) <= bound) | (a.value == b.value) | np.isinf(bound)
    return near | (np.isnan(a.value) & np.isnan(b.value))


def nearest_convention(f: Caller, ask: Ask, cases: Iterable[Case]) -> str:
    """Return another convention under which the implementation is right on every case, and what it says, "" for none.

    Options at their default are left out: conventions may differ in nothing else.
    """
    every = frozenset(f.op.options)
    seen = _observed(f.leaving_out(every), ask, cases) if f.op.conventions else []
    for convention, meant in others(f.op) if seen else ():
        under = replace(f, op=meant, bounds=Bounds()).leaving_out(every)
        spoken = [replace(s.case, options=_left_to(meant, f.op, s.case.options)) for s in seen]
        if not _observed(under, ask, spoken):
            return f"{convention.name!r}: {convention.says}"
    return ""


def _left_to(meant: Op, op: Op, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with another convention's default for those at the op's own."""
    return {name: meant.options[name] if value == op.options[name] else value for name, value in options.items()}


def nearest_mistake(f: Caller, ask: Ask, seen: list[Seen]) -> Mistake | None:
    """Return the mistake (the op's own or a generic one) that gives the implementation's answers on every case.

    With several, the one that is right least often; of those about the gradient, one that leaves the answers right
    where the implementation does.
    """
    best, most = None, (0, False)
    # on small integers a mistake is exact as well; elsewhere it rounds other sums than those the bound is about
    plain = [s for s in seen if s.case.regime in {f.op.regimes[0], "given"}]
    seen = plain if any(s.wrong for s in plain) else seen
    for mistake in all_mistakes(f.op):
        if (mistake.vjp if ask is _gradients else mistake.forward) is None:
            continue
        wrong = _explained(f, mistake, ask, seen)
        rank = wrong, ask is _forward or mistake.forward is None
        if wrong and rank > most:
            best, most = mistake, rank
    return best


def _explained(f: Caller, mistake: Mistake, ask: Ask, seen: list[Seen]) -> int:
    """Return on how many cases the mistake explains a wrong answer, made in float64 or in the implementation's format.

    The largest and the smallest number of a format are what some mistakes answer with.
    """
    wide = replace(PRESETS["float64"], algorithm=f.precision.algorithm)
    slack = LAST_BITS * f.precision.stored.u
    return _matches(caller_of(f.op, mistake, wide), ask, seen, slack) or (
        0 if f.precision.storage == "float64" else _matches(caller_of(f.op, mistake, f.precision), ask, seen, slack)
    )


def caller_of(op: Op, mistake: Mistake, p: Precision) -> Caller:
    """Return a caller of a mistake, with the definition and its vjp where the mistake is right."""
    forward, vjp = mistake.forward or op.definition, mistake.vjp or op.vjp
    return Caller(op, Implementation(mistake.says, forward, vjp), p)


def _matches(wrong: Caller, ask: Ask, seen: list[Seen], slack: float) -> int:
    """Return on how many cases the mistake explains a wrong answer; 0 when it contradicts any answer."""
    explained = 0
    for s in seen:
        try:
            answers = _answered(ask, wrong, s.case)
        except Raised:
            return 0
        if not _close(s.answers, answers, slack):
            return 0
        told = slack if not _close(s.answers, answers) else 0.0  # what is right on a case explains no wrong answer
        explained += s.wrong and not _close(answers, s.exact, told)
    return explained


def differs(right: Caller, wrong: Caller, case: Case, *, forward: bool, vjp: bool) -> bool:
    """Return whether two callers answer differently, beyond what rounding may do, on a case; so does an exception."""
    asks = [*([_forward] if forward else []), *([_gradients] if vjp else [])]
    try:
        return not all(_close(ask(right, case), ask(wrong, case)) for ask in asks)
    except (Raised, WrongAnswer):
        return True


def precision_hypothesis(f: Caller, ask: Ask, seen: list[Seen]) -> str:
    """Return the arithmetic whose answers these are, "" when none is known.

    Subnormals flushed, rounded operands, a narrow store, another algorithm, or a narrow accumulator.
    """
    flushed = replace(f.precision, subnormals="flushed")
    if not f.precision.flushed and all(_keeps(f.op, flushed, s, ask) for s in seen):
        return "subnormal numbers flushed to zero"
    narrow = [n for n, form in FORMATS.items() if form.p < f.precision.stored.p]
    for name in sorted(narrow, key=lambda n: -FORMATS[n].p - (n == "float16") / 2):
        if (how := _operand_rounding(f.op, ask, name, seen)) is not None:
            return f"{name} operands{how}, {f.precision.accumulator.name} accumulation"
    for name in narrow:
        if all(_explains(s, _narrow_store(name, s)) for s in seen):
            return f"answers stored in {name}"
    return _other_algorithm(f, ask, seen) or _narrow_accumulator(f, ask, seen)


HOW = {"even": "", "away": ", rounded with ties away from zero", "truncate": ", truncated"}


def _operand_rounding(op: Op, ask: Ask, name: str, seen: list[Seen]) -> str | None:
    """Return how operands of the named format were rounded, in words, None when that does not explain the answers.

    A library may have kernels that round and kernels that truncate, and choose among them by the shape.
    """
    ways = {how: [_explains(s, _rounded_operands(op, ask, name, how, s)) for s in seen] for how in HOW}
    for how, fits in ways.items():
        if all(fits):
            return HOW[how]
    every = all(map(any, zip(*ways.values(), strict=True)))
    return ", rounded in some cases and truncated in others" if every else None


def _explains(s: Seen, predicted: Answers) -> bool:
    """Return whether the answers are the predicted ones wherever those are finite: beyond the range, kernels differ."""
    with np.errstate(all="ignore"):
        return _close(s.answers, tuple(map(_unless_overflown, predicted)))


def _unless_overflown(pair: Pair | None) -> Pair | None:
    return None if pair is None else Pair(pair.value, np.where(np.isfinite(pair.value), pair.error, np.inf))


def _narrow_store(name: str, s: Seen) -> Answers:
    return tuple(None if a is None else Pair(round_to(a.value, name), a.error) for a in s.exact)


def _rounded_operands(op: Op, ask: Ask, name: str, how: str, s: Seen) -> Answers:
    case = s.case
    right = Caller(op, Implementation("definition", op.definition, op.vjp), PRESETS["float64"])
    arrays = tuple(
        a if a is None or is_index(a) or not (o.linear or not o.optional) else round_to(a, name, how)
        for a, o in zip(case.arrays, op.operands, strict=True)
    )
    cotangents = tuple(None if c is None else round_to(c, name, how) for c in case.cotangents)
    return ask(right, replace(case, arrays=arrays, cotangents=cotangents))


def _other_algorithm(f: Caller, ask: Ask, seen: list[Seen]) -> str:
    """Return the algorithm whose bound, wider than that of the claim, all answers keep."""
    p = f.precision
    others = {f"the error bound of the {a} algorithm": replace(p, algorithm=a) for a in ALGORITHMS if a != p.algorithm}
    others |= {f"the error bound of the {v} variance": replace(p, variance=v) for v in VARIANCES if v != p.variance}
    return next((says for says, claim in others.items() if all(_keeps(f.op, claim, s, ask) for s in seen)), "")


def _narrow_accumulator(f: Caller, ask: Ask, seen: list[Seen]) -> str:
    """Return the accumulator whose bound all errors keep.

    Of several, the one whose predicted rms is nearest to theirs, in the logarithm.
    """
    seen = [
        s for s in seen if s.case.regime not in {"subnormal", "wide_range"}
    ]  # there the narrow format's range decides, not its digits
    best, distance = "", math.log(4)
    for name in ("float16", "bfloat16", "float32"):
        if FORMATS[name].p >= f.precision.accumulator.p:
            continue
        claim = replace(f.precision, accumulate=name)
        if ask is _gradients or claim.algorithm != "any-order":  # the spread is that of sums of answers
            best = best or (f"{name} accumulation" if all(_within(f.op, claim, s, ask) for s in seen) else "")
            continue
        ratio = _rms_ratio(f.op, claim, seen)
        if ratio and abs(math.log(ratio)) < distance and all(_within(f.op, claim, s, ask) for s in seen):
            best, distance = (
                f"{name} accumulation (rms of the error {ratio:.2f} times what it predicts)",
                abs(math.log(ratio)),
            )
    return best


def _within(op: Op, claim: Precision, s: Seen, ask: Ask) -> bool:
    """Return whether the answers keep the bound of the claim, with operands in the accumulator's format."""
    wide = replace(claim, operands=claim.accumulate if claim.accumulate != "float32" else None)
    return _keeps(op, wide, s, ask)


def _keeps(op: Op, claim: Precision, s: Seen, ask: Ask) -> bool:
    """Return whether the answers keep the bound of the claim."""
    exact = tuple(None if p is None else p.value for p in s.exact)
    with np.errstate(all="ignore"):
        if ask is _gradients:
            sent = s.case.cotangents if len(op.outputs) > 1 else s.case.cotangents[0]
            bounds = op.vjp_bound(exact, claim.backward, sent, *s.case.arrays, **s.case.options)
        else:
            found = op.bound(exact if len(exact) > 1 else exact[0], claim, *s.case.arrays, **s.case.options)
            bounds = found if len(exact) > 1 else (found,)
    told = zip(s.answers, s.exact, bounds, strict=True)
    pairs = [(Pair(e.value, b), a) for a, e, b in told if a is not None and e is not None]
    return all((_near(Pair(a.value, np.zeros_like(a.value)), e) & _same_end(a.value, e.value)).all() for e, a in pairs)


def _same_end(a: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Return where an answer is the infinity, or the NaN, that it should be: no width of a bound makes up for that."""
    return np.isfinite(e) | (a == e) | (np.isnan(a) & np.isnan(e))


def _rms_ratio(op: Op, claim: Precision, seen: list[Seen]) -> float:
    """Return rms(error) / rms(predicted) over the normal cases, 0 when there are none.

    The prediction is the spread times ROUNDING_RMS.
    """
    errors, spreads = 0.0, 0.0
    for s in seen:
        if (
            op.spread is None
            or s.case.regime != "normal"
            or len(op.outputs) > 1
            or s.answers[0] is None
            or s.exact[0] is None
        ):
            continue
        with np.errstate(all="ignore"):
            errors += float(np.sum(np.square(s.answers[0].value - s.exact[0].value)))
            spreads += float(np.sum(np.square(op.spread(s.exact[0].value, claim, *s.case.arrays, **s.case.options))))
    return math.sqrt(errors / spreads) / ROUNDING_RMS if spreads and math.isfinite(errors) and errors else 0.0


def options_it_depends_on(f: Caller, minimal: Case, fails: Callable[[Case], Any]) -> tuple[tuple[str, Any, Any], ...]:
    """Return the options of the minimal case that must keep their value for it to fail.

    With the default, the same form passes.
    """
    depends = []
    for name, value in minimal.options.items():
        default = f.op.options[name]
        if default is REQUIRED or value == default:
            continue
        form = Form(as_form(minimal).shapes, {**minimal.options, name: default})
        try:
            regime = minimal.regime if minimal.regime != "given" else f.op.regimes[0]
            trials = [
                replace(
                    minimal,
                    options=form.options,
                    cotangents=fill(f.op, form, regime, s, f.precision.storage).cotangents,
                )
                for s in range(3)
            ]
            trials += [fill(f.op, form, regime, s, f.precision.storage) for s in range(3)]
        except ValueError:
            continue
        if not any(fails(t) for t in trials):
            depends.append((name, value, default))
    return tuple(depends)
