"""The laws every op gets, and generic mistakes that show each of them can fail."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.oracle.caller import Caller
from d2lref.rounding import Pair, claim, inner
from d2lref.spec import REQUIRED, Array, Case, Claim, Law, Mistake, Op

# 1 Laws


def _agrees(op: Op) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        usual = frozenset(op.options) if case.seed % 2 else frozenset[str]()
        answers = f.leaving_out(usual)(*case.arrays, **case.options)
        exact = op.definition(*case.arrays, **case.options)
        if isinstance(answers, Pair):
            return claim(answers, exact)
        return _joined([claim(a, e) for a, e in zip(answers, exact, strict=True) if a is not None])

    return Law("agrees with the definition", holds, definition=True)


def _typed(op: Op) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        _, answers, _ = f.raw(*case.arrays, **case.options)
        wanted = op.shape(*(None if a is None else a.shape for a in case.arrays), **case.options)
        said = [_kind(f, a) for a, w in zip(answers, wanted, strict=False) if w is not None]
        rule = [f"{f.precision.storage} {tuple(w)}" for w in wanted if w is not None]
        note = "" if said == rule else f"answers are {', '.join(said)}; the rule says {', '.join(rule)}"
        return Claim(float(said == rule), 1.0, 0.0, note)

    return Law("answers in the shape and dtype of the rule", holds)


def _gradients(op: Op) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        gy = _one_hot(case) if case.seed % 3 == 0 else case.cotangents
        sent = gy if len(op.outputs) > 1 else gy[0]
        found = f.vjp(sent, *case.arrays, **case.options)
        exact = op.vjp(sent, *case.arrays, **case.options)
        return _joined([claim(g, e) for g, e in zip(found, exact, strict=True) if g is not None])

    return Law("gradients agree with the reference's", holds, definition=True, vjp=True)


def _adjoint(op: Op) -> Law:
    linear = [i for i, o in enumerate(op.operands) if o.linear]

    def holds(f: Caller, case: Case) -> Claim:
        arrays = tuple(
            None if o.optional and not o.linear else a for a, o in zip(case.arrays, op.operands, strict=True)
        )
        place = linear[case.seed % len(linear)]
        forward = f(*arrays, **case.options)
        back = f.vjp(case.cotangents[0], *arrays, **case.options)[place]
        return claim(inner(forward, case.cotangents[0]), inner(back, arrays[place]))

    return Law("the vjp is the adjoint", holds, vjp=True)


def _batch(op: Op) -> Law:
    batched = [o.batch for o in op.operands]

    def count(case: Case) -> int:
        return next(a.shape[0] for a, b in zip(case.arrays, batched, strict=True) if b)

    def holds(f: Caller, case: Case) -> Claim:
        whole = f(*case.arrays, **case.options)
        pick = case.seed % count(case)
        alone = tuple(
            a[pick : pick + 1] if b and a is not None else a for a, b in zip(case.arrays, batched, strict=True)
        )
        return claim(whole[pick : pick + 1], f(*alone, **case.options))

    return Law("an image does not see its batch", holds, when=lambda case: count(case) > 1)


def _untouched(op: Op) -> Law:
    free = [not o.state for o in op.operands]

    def holds(f: Caller, case: Case) -> Claim:
        given, answers, before = f.raw(*case.arrays, **case.options)
        back = f.implementation.library.back
        note = ""
        for operand, array, old, watched in zip(op.operands, given, before, free, strict=True):
            if array is None or not watched:
                continue
            now = np.asarray(back(array))
            if not _equal(now, old):
                note = f"{operand.name} was overwritten"
            elif any(a is not None and np.may_share_memory(np.asarray(back(a)), now) for a in answers):
                note = f"the answer shares memory with {operand.name}"
        return Claim(float(not note), 1.0, 0.0, note)

    return Law("inputs stay as they were, answers own their memory", holds)


def _repeats(op: Op) -> Law:
    del op

    def holds(f: Caller, case: Case) -> Claim:
        first = f(*case.arrays, **case.options)
        _, kept, _ = f.raw(*case.arrays, **case.options)
        back = f.implementation.library.back
        before = [None if a is None else np.array(back(a)) for a in kept]
        f.raw(-case.arrays[0], *case.arrays[1:], **case.options)
        note = ""
        if any(b is not None and not _equal(back(a), b) for a, b in zip(kept, before, strict=True)):
            note = "a later call overwrote the first answer"
        again = f(*case.arrays, **case.options)
        if note:
            return Claim(0.0, 1.0, 0.0, note)
        return _both(first, again)

    return Law("a second call repeats the first and leaves its answer alone", holds)


def _layouts(op: Op) -> Law:
    del op

    def holds(f: Caller, case: Case) -> Claim:
        names = f.implementation.layouts
        layout = names[case.seed % len(names)]
        result = _both(f.with_layout(layout)(*case.arrays, **case.options), f(*case.arrays, **case.options))
        return result._replace(note=f"on the left the arrays are {layout}")

    return Law("any memory order gives the same answer", holds)


def _defaults(op: Op) -> Law:
    usual = {k: v for k, v in op.options.items() if v is not REQUIRED}

    def at_default(case: Case) -> list[str]:
        return [k for k, v in usual.items() if case.options[k] == v]

    def holds(f: Caller, case: Case) -> Claim:
        names = at_default(case)
        name = names[case.seed % len(names)]
        result = _both(f.leaving_out(frozenset([name]))(*case.arrays, **case.options), f(*case.arrays, **case.options))
        return result._replace(note=f"on the left {name} is left out; its default is {usual[name]!r}")

    return Law("an option left out means its default", holds, when=lambda case: bool(at_default(case)))


def _refuses(op: Op) -> Law:
    mandatory = [r for r in op.rejections if r.mandatory]

    def holds(f: Caller, case: Case) -> Claim:
        known = f.implementation.options
        asked = [r for r in mandatory if known is None or set(r.options) <= known]
        note = f.refuses(asked[case.seed % len(asked)]) if asked else ""
        return Claim(float(not note), 1.0, 0.0, note)

    return Law("bad input is refused", holds)


def common_laws(op: Op) -> tuple[Law, ...]:
    """Return the common laws that apply to the op, the definition first."""
    laws = [_agrees(op), _gradients(op), _typed(op)]
    laws += [_adjoint(op)] if any(o.linear for o in op.operands) else []
    laws += [_batch(op)] if any(o.batch for o in op.operands) else []
    laws += [_untouched(op), _repeats(op), _layouts(op)]
    laws += [_defaults(op)] if any(v is not REQUIRED for v in op.options.values()) else []
    laws += [_refuses(op)] if any(r.mandatory for r in op.rejections) else []
    return tuple(laws)


def all_laws(op: Op) -> tuple[Law, ...]:
    """Return the common laws and the op's own."""
    return (*common_laws(op), *op.laws)


def _kind(f: Caller, answer: Any) -> str:
    """Return "dtype shape" of an answer."""
    array = f.implementation.library.back(answer)
    name = (
        "bfloat16"
        if "bfloat16" in str(getattr(answer, "dtype", ""))
        else str(getattr(array, "dtype", type(array).__name__))
    )
    return f"{name} {tuple(np.shape(array))}"


def _equal(left: Array, right: Array) -> bool:
    """Return whether two arrays have the same shape and bits, whatever they hold."""
    a, b = np.asarray(left), np.asarray(right)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _one_hot(case: Case) -> tuple[Any, ...]:
    """Return the first cotangent with a single entry kept, and none of the others.

    Dilution hides one wrong element in a thousand.
    """
    head = case.cotangents[0]
    if not head.size:
        return case.cotangents
    alone = np.zeros_like(head)
    alone.flat[case.seed % head.size] = 1.0
    return (alone, *case.cotangents[1:])


def _joined(claims: list[Claim]) -> Claim:
    """Return several claims as one, flattened when there is more than one."""
    if len(claims) == 1:
        return claims[0]
    left, right, bound = (
        np.concatenate([np.ravel(np.broadcast_to(c[i], np.shape(c.left))) for c in claims]) for i in range(3)
    )
    return Claim(left, right, bound)


def _both(left: Any, right: Any) -> Claim:
    """Return the claim that two answers of the op are the same numbers."""
    if isinstance(left, Pair):
        return claim(left, right)
    return _joined([claim(a, b) for a, b in zip(left, right, strict=True) if a is not None])


# 2 Generic mistakes, one for each common law that does not pass through the definition


def common_mistakes(op: Op) -> tuple[Mistake, ...]:
    """Return the generic mistakes that apply to the op; each is caught by the common law of the same concern."""
    names = {law.says for law in common_laws(op)}
    made = (
        Mistake(
            "answers in another dtype",
            "https://github.com/onnx/onnx/issues/5230",
            _widened(op),
            None,
            ("answers in the shape and dtype of the rule",),
        ),
        Mistake(
            "the gradient is rolled by one",
            "https://github.com/boschresearch/pylife/pull/24",
            None,
            _rolled_vjp(op),
            ("the vjp is the adjoint",),
        ),
        Mistake(
            "the batch comes back in another order",
            "https://github.com/vllm-project/vllm/issues/394",
            _rolled_batch(op),
            _rolled_batch_vjp(op),
            ("an image does not see its batch",),
        ),
        Mistake(
            "works in place",
            "https://github.com/spinalcordtoolbox/spinalcordtoolbox/issues/3500",
            _in_place(op),
            None,
            ("inputs stay as they were, answers own their memory",),
        ),
        Mistake(
            "reuses its output buffer",
            "https://github.com/pykeio/ort/issues/454",
            _buffered(op),
            None,
            ("a second call repeats the first and leaves its answer alone",),
        ),
        Mistake(
            "reads memory in storage order",
            "https://github.com/facebookresearch/SparseConvNet/issues/211",
            _storage_order(op),
            None,
            ("any memory order gives the same answer",),
        ),
        Mistake(
            "has other defaults",
            "https://github.com/Arth-ur/bitfield/issues/1",
            _other_defaults(op),
            None,
            ("an option left out means its default",),
        ),
        Mistake("answers zeros", "https://github.com/ORNL/HeCBench/issues/80", _per_answer(op, np.zeros_like)),
        Mistake(
            "accepts anything",
            "https://github.com/microsoft/onnxruntime/pull/29464",
            _accepts_anything(op),
            None,
            ("bad input is refused",),
        ),
    )
    return tuple(m for m in made if set(m.caught_by) <= names)


def _per_answer(op: Op, change: Callable[[Array], Array]) -> Callable[..., Any]:
    """Return the definition with `change` applied to its first output."""

    def forward(*arrays: Array, **options: Any) -> Any:
        answer = op.definition(*arrays, **options)
        return (change(answer[0]), *answer[1:]) if isinstance(answer, tuple) else change(answer)

    return forward


def _widened(op: Op) -> Callable[..., Any]:
    return _per_answer(op, lambda y: y.astype(np.longdouble if y.dtype == np.float64 else np.float64))


def _rolled_vjp(op: Op) -> Callable[..., Any]:
    def vjp(gy: Any, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        return tuple(None if g is None else np.roll(g, 1) for g in op.vjp(gy, *_whole(op, arrays), **options))

    return vjp


def _batch_turned(op: Op, arrays: tuple[Array, ...], step: int) -> tuple[Array, ...]:
    return tuple(
        np.roll(a, step, axis=0) if o.batch and a is not None else a
        for a, o in zip(_whole(op, arrays), op.operands, strict=True)
    )


def _rolled_batch(op: Op) -> Callable[..., Any]:
    return lambda *arrays, **options: op.definition(*_batch_turned(op, arrays, 1), **options)


def _rolled_batch_vjp(op: Op) -> Callable[..., Any]:
    def vjp(gy: Any, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        return _batch_turned(op, op.vjp(gy, *_batch_turned(op, arrays, 1), **options), -1)

    return vjp


def _in_place(op: Op) -> Callable[..., Any]:
    def forward(x: Array, *arrays: Array, **options: Any) -> Any:
        answer = op.definition(x, *arrays, **options)
        x[...] = x + 1
        return answer

    return forward


def _buffered(op: Op) -> Callable[..., Any]:
    buffers: dict[Any, Array] = {}

    def keep(y: Array) -> Array:
        buffer = buffers.setdefault((y.shape, y.dtype.str), np.empty_like(y))
        buffer[...] = y
        return buffer

    return _per_answer(op, keep)


def _storage_order(op: Op) -> Callable[..., Any]:
    def forward(*arrays: Array, **options: Any) -> Any:
        return op.definition(*(None if a is None else in_storage_order(a) for a in arrays), **options)

    def in_storage_order(a: Array) -> Array:
        memory = np.ravel(a if a.base is None else a.base, order="K")
        return memory[: a.size].reshape(a.shape)

    return forward


def _other_defaults(op: Op) -> Callable[..., Any]:
    def forward(*arrays: Array, **options: Any) -> Any:
        for name in op.options.keys() - options.keys():
            for other in _others(op, name):
                try:
                    return op.definition(*arrays, **{**options, name: other})
                except ValueError:
                    continue
        return op.definition(*arrays, **options)

    return forward


def _others(op: Op, name: str) -> list[Any]:
    """Return values of an option beside its default.

    Those of the gallery, and a neighbour of a number or a truth value.
    """
    value = op.options[name]
    found = [form.options[name] for form in op.gallery if form.options[name] != value]
    if isinstance(value, bool):
        return [*found, not value]
    return (
        [*found, value + 1]
        if isinstance(value, int)
        else [*found, 2 * value + 1]
        if isinstance(value, float)
        else found
    )


def _accepts_anything(op: Op) -> Callable[..., Any]:
    def forward(*arrays: Array, **options: Any) -> Any:
        try:
            return op.definition(*arrays, **options)
        except (ValueError, TypeError):
            return np.zeros((1,))

    return forward


def _whole(op: Op, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the arrays with None for every absent one at the end."""
    return (*arrays, *[None] * (len(op.operands) - len(arrays)))
