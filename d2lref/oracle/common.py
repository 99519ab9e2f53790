"""The laws every op gets, and generic mistakes that show each of them can fail."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from d2lref.oracle.caller import Caller, Crossing, Unsupported
from d2lref.oracle.values import fill
from d2lref.rounding import Pair, claim, inner
from d2lref.spec import REQUIRED, Array, Case, Claim, Law, Mistake, Op

# 1 Laws


def _agrees(op: Op) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        usual = frozenset(op.options) if case.seed % 2 else frozenset[str]()
        case, planted = _planted(f, case)
        answers = f.leaving_out(usual)(*case.arrays, **case.options)
        exact = op.definition(*case.arrays, **case.options)
        pairs = [(answers, exact)] if isinstance(answers, Pair) else list(zip(answers, exact, strict=True))
        follow = partial(_followed, f, case.arrays[0], planted)
        return _joined([follow(a, np.asarray(e)) for a, e in pairs if a is not None])._replace(note=planted)

    return Law("agrees with the definition", holds, definition=True)


PLANTED = 8  # one case in so many has a NaN, an infinity or a zero with a sign among its values
_VALUES = {"nan": (np.nan,), "inf": (np.inf, -np.inf), "zero": (-0.0,)}


def _planted(f: Caller, case: Case) -> tuple[Case, str]:
    """Return the case with a value that the op's policy speaks of in place of one of the first array, and a note.

    "" where nothing is planted: in most cases, in values that know such already, beside factors of zero, which a BLAS
    need not multiply by, and for algorithms in which one value touches the answers of others.
    """
    op, p, x = f.op, f.precision, case.arrays[0]
    values = [v for name in op.follows for v in _VALUES.get(name, ())]
    local = p.algorithm == "any-order" and p.variance != "naive" and not p.flushed
    claimed = f.implementation.supports.get("nonfinite", True) and "nonfinite" not in op.regimes
    factors = zip(case.arrays[1:], op.operands[1:], strict=True)
    if not values or case.seed % PLANTED or not (local and claimed and x.size):
        return case, ""
    if any(a is not None and o.linear and not a.all() for a, o in factors):
        return case, ""
    value = values[case.seed // PLANTED % len(values)]
    spoilt = np.array(x)
    spoilt.flat[case.seed // 64 % x.size] = value
    return replace(case, arrays=(spoilt, *case.arrays[1:])), f"{op.operands[0].name} has an entry of {value}"


def _followed(f: Caller, x: Array, planted: str, answer: Pair, exact: Array) -> Claim:
    """Return the claim that an answer is the exact one, also where that is not finite and the op's policy speaks."""
    plain, follows = claim(answer, exact), f.op.follows
    if "zero" in follows and f.implementation.supports.get("nonfinite", True):
        left, right = (np.where(a == 0, np.copysign(1.0, a), a) for a in (answer.value, exact))
        return plain._replace(left=left, right=right)
    if planted:
        known = np.where(np.isnan(plain.bound), np.inf, plain.bound)
        return plain._replace(bound=np.where(np.isfinite(exact), known, 0.0))
    if "limit" in follows:
        either = np.isinf(x) & np.isinf(answer.error)
        limit = np.where(np.isnan(answer.value), np.nan, 0.0)
        return Claim(answer.value, np.where(either, limit, exact), np.where(either, 0.0, plain.bound))
    return plain


def _gradients(op: Op) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        gy = _one_hot(case) if case.seed % 3 == 0 else case.cotangents
        sent = _sent(op, gy)
        found = f.vjp(sent, *case.arrays, **case.options)
        exact = op.vjp(sent, *case.arrays, **case.options)
        return _joined([claim(g, e) for g, e in zip(found, exact, strict=True) if g is not None])

    return Law("gradients agree with the reference's", holds, definition=True, vjp=True)


def _adjoint(op: Op) -> Law:
    linear = [i for i, o in enumerate(op.operands) if o.linear or o.affine]

    def holds(f: Caller, case: Case) -> Claim:
        arrays = tuple(
            None if o.optional and not o.linear else a for a, o in zip(case.arrays, op.operands, strict=True)
        )
        place = linear[case.seed % len(linear)]
        forward = f(*arrays, **case.options)
        if op.operands[place].affine:
            forward = forward - f(*arrays[:place], np.zeros_like(arrays[place]), *arrays[place + 1 :], **case.options)
        back = f.vjp(case.cotangents[0], *arrays, **case.options)[place]
        return claim(inner(forward, case.cotangents[0]), inner(back, arrays[place]))

    return Law("the vjp is the adjoint", holds, when=_all_finite, vjp=True)


def _all_finite(case: Case) -> bool:
    """Return whether no array has NaN or infinities: an inner product with them says nothing of the others."""
    return all(a is None or bool(np.isfinite(a).all()) for a in case.arrays)


def _batch(op: Op) -> Law:
    batched = [o.batch for o in op.operands]

    def count(case: Case) -> int:
        return next(a.shape[0] for a, b in zip(case.arrays, batched, strict=True) if b)

    def holds(f: Caller, case: Case) -> Claim:
        pick = case.seed % count(case)
        alone = tuple(
            a[pick : pick + 1] if b and a is not None else a for a, b in zip(case.arrays, batched, strict=True)
        )
        whole = f(*case.arrays, **case.options)
        cut = tuple(y[pick : pick + 1] for y in whole) if isinstance(whole, tuple) else whole[pick : pick + 1]
        return _both(cut, f(*alone, **case.options))

    return Law("an image does not see its batch", holds, when=lambda case: count(case) > 1)


class _Way(NamedTuple):
    """One of the two functions of an implementation, so that what holds of both is written once.

    cross(f, case) calls it, inputs(case) are the arrays that it hands over, answers(op) names what comes back.
    between(f, case) makes the calls that may not disturb it, with other answers: of zeros, because those of a negated
    input would cancel in a function that adds up its calls.
    """

    vjp: bool
    cross: Callable[[Caller, Case], Crossing]
    inputs: Callable[[Case], tuple[Array | None, ...]]
    between: Callable[[Caller, Case], object]
    answers: Callable[[Op], tuple[str, ...]]


def _forward(f: Caller, case: Case) -> Crossing:
    return f.raw(*case.arrays, **case.options)


def _vjp(f: Caller, case: Case) -> Crossing:
    return f.raw_vjp(_sent(f.op, case.cotangents), *case.arrays, **case.options)


def _blank(case: Case) -> Case:
    """Return the case with zeros in its first array."""
    return replace(case, arrays=(np.zeros_like(case.arrays[0]), *case.arrays[1:]))


def _blank_vjp(f: Caller, case: Case) -> None:
    """Call the vjp with cotangents of zeros, and forward on other values: no vjp may count on following its call."""
    _vjp(f, replace(case, cotangents=tuple(None if g is None else np.zeros_like(g) for g in case.cotangents)))
    _forward(f, _blank(case))


_FORWARD = _Way(
    vjp=False,
    cross=_forward,
    inputs=lambda case: case.arrays,
    between=lambda f, case: _forward(f, _blank(case)),
    answers=lambda op: tuple(f"the answer {name}" for name in op.outputs),
)
_VJP = _Way(
    vjp=True,
    cross=_vjp,
    inputs=lambda case: (*case.cotangents, *case.arrays),
    between=_blank_vjp,
    answers=lambda op: tuple(f"the gradient of {o.name}" for o in op.operands),
)


def _typed(says: str, way: _Way) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        crossing = way.cross(f, case)
        wanted = [(a, w) for a, w in zip(crossing.answers, crossing.wanted, strict=False) if w is not None]
        said = [f.kind(a) for a, _ in wanted]
        rule = [kind for kind in f.kinds(crossing.wanted, vjp=way.vjp) if kind is not None]
        noun = "gradients" if way.vjp else "answers"
        note = "" if said == rule else f"{noun} are {', '.join(said)}; the rule says {', '.join(rule)}"
        return Claim(float(said == rule), 1.0, 0.0, note)

    return Law(says, holds, vjp=way.vjp)


def _untouched(op: Op, says: str, way: _Way) -> Law:
    """Nothing handed over changes, and an answer shares memory with nothing that was handed over and no other answer.

    The forward function may hand running statistics on, and update them in place where it answers with a bare array.
    Where it returns new ones as well, and in the vjp, they would count the batch twice. An answer may be a view of an
    operand of which the op says so, and a gradient may be the cotangent handed on unchanged, which is what the
    derivative of an identity is: torch answers both gradients of a sum so, and whoever is handed gradients knows not to
    write into them.
    """
    state = {o.name for o in op.operands if o.state}
    viewed = {o.name for o in op.operands if o.view}

    def holds(f: Caller, case: Case) -> Claim:
        crossing = way.cross(f, case)
        now = {name: f.home(a) for name, a in crossing.given.items() if a is not None}
        was = zip(crossing.given, f.stored(*way.inputs(case)), strict=True)
        mine = state if crossing.in_place else set[str]()
        old = {name: f.home(a) for name, a in was if a is not None and name not in mine}
        changed = [f"{name} was overwritten" for name in old if not _equal(now[name], old[name])]
        lent = now.keys() - {o.name for o in op.operands} if way.vjp else state | viewed
        named = zip(way.answers(op), crossing.answers, strict=False)
        note = "; ".join(changed) or _shared({n: f.home(a) for n, a in named if a is not None}, now, lent)
        return Claim(float(not note), 1.0, 0.0, note)

    return Law(says, holds, vjp=way.vjp)


def _shared(answers: dict[str, Array], given: dict[str, Array], lent: AbstractSet[str]) -> str:
    """Return which answer shares memory with an input or with another answer, "" when none does.

    Answers in lent memory are passed over. Interleaved parts of one buffer share nothing.
    """
    own = {n: a for n, a in answers.items() if not any(np.shares_memory(a, b) for m, b in given.items() if m in lent)}
    others = {n: a for n, a in given.items() if n not in lent}
    for name, answer in own.items():
        for other, array in others.items():
            if np.shares_memory(answer, array):
                return f"{name} shares memory with {other}"
        others[name] = answer
    return ""


BUFFERS = 3  # that an implementation may write its answers to by turns


def _repeats(says: str, way: _Way) -> Law:
    """A call repeats the first, whatever was called between them and whatever the caller did with the first answers.

    They are spoilt where they can be written, and given back in the end, for a function may hand out what it keeps.
    """

    def holds(f: Caller, case: Case) -> Claim:
        kept = way.cross(f, case)
        first = kept.read()
        for _ in range(BUFFERS):
            way.between(f, case)
        named = zip(way.answers(f.op), kept.answers, first, strict=True)
        own = [(name, f.home(a), pair.value) for name, a, pair in named if pair is not None]
        for name, array, was in own:
            if not _equal(np.asarray(array, np.float64), was):
                return Claim(0.0, 1.0, 0.0, f"a later call overwrote {name} of the first")
        lent = [(a, a.copy()) for _, a, _ in own if a.flags.writeable and a.dtype.kind not in "biu"]
        try:
            _write([(array, np.nan) for array, _ in lent])
            return _both(first, way.cross(f, case).read())
        finally:
            _write(lent)

    return Law(says, holds, vjp=way.vjp)


def _layouts(says: str, way: _Way) -> Law:
    def holds(f: Caller, case: Case) -> Claim:
        names = f.implementation.layouts
        if not names:
            message = "no memory order but the plain one"
            raise Unsupported(message)
        layout = names[case.seed % len(names)]
        result = _both(way.cross(f.with_layout(layout), case).read(), way.cross(f, case).read())
        return result._replace(note=f"on the left the arrays are {layout}")

    return Law(says, holds, vjp=way.vjp)


def _defaults(op: Op, says: str, way: _Way) -> Law:
    usual = {k: v for k, v in op.options.items() if v is not REQUIRED}

    def at_default(case: Case) -> list[str]:
        return [k for k, v in usual.items() if case.options[k] == v]

    def holds(f: Caller, case: Case) -> Claim:
        names = at_default(case)
        name = names[case.seed % len(names)]
        result = _both(way.cross(f.leaving_out(frozenset([name])), case).read(), way.cross(f, case).read())
        return result._replace(note=f"on the left {name} is left out; its default is {usual[name]!r}")

    return Law(says, holds, when=lambda case: bool(at_default(case)), vjp=way.vjp)


def _refuses(op: Op) -> Law:
    mandatory = [r for r in op.rejections if r.mandatory]

    def holds(f: Caller, case: Case) -> Claim:
        known = f.implementation.options
        asked = [r for r in mandatory if (known is None or set(r.options) <= known) and f.bears(r)]
        if not asked:
            message = "all that must be refused lies outside what is supported"
            raise Unsupported(message)
        note = f.refuses(asked[case.seed % len(asked)])
        return Claim(float(not note), 1.0, 0.0, note)

    return Law("bad input is refused", holds)


_AGAIN = "a second call repeats the first and leaves its answer alone"
_AGAIN_VJP = "a second vjp repeats the first and leaves its gradients alone"


def common_laws(op: Op) -> tuple[Law, ...]:
    """Return the common laws that apply to the op, the definition first."""
    laws = [_agrees(op), _gradients(op)]
    laws += [_typed("answers in the shape and dtype of the rule", _FORWARD)]
    laws += [_typed("gradients come in the shape and dtype of their arrays", _VJP)]
    laws += [_adjoint(op)] if any(o.linear or o.affine for o in op.operands) else []
    laws += [_batch(op)] if any(o.batch for o in op.operands) else []
    laws += [_untouched(op, "inputs stay as they were, answers own their memory", _FORWARD)]
    laws += [_untouched(op, "the vjp leaves its inputs as they were, gradients own their memory", _VJP)]
    laws += [_repeats(_AGAIN, _FORWARD)]
    laws += [_repeats(_AGAIN_VJP, _VJP)]
    laws += [_layouts("any memory order gives the same answer", _FORWARD)]
    laws += [_layouts("any memory order gives the same gradients", _VJP)]
    if any(v is not REQUIRED for v in op.options.values()):
        laws += [_defaults(op, "an option left out means its default", _FORWARD)]
        if not all(o.view for o in op.operands):  # whose gradient is the cotangent in the shape of the array
            laws += [_defaults(op, "an option left out of the vjp means its default", _VJP)]
    laws += [_refuses(op)] if any(r.mandatory for r in op.rejections) else []
    return tuple(laws)


def all_laws(op: Op) -> tuple[Law, ...]:
    """Return the common laws and the op's own."""
    return (*common_laws(op), *op.laws)


def _write(values: list[tuple[Array, Any]]) -> None:
    for array, value in values:
        array[...] = value


def _equal(left: Array, right: Array) -> bool:
    """Return whether two arrays have the same shape and bits, whatever they hold."""
    a, b = np.asarray(left), np.asarray(right)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _sent(op: Op, cotangents: tuple[Any, ...]) -> Any:
    """Return gy: the cotangent, or the tuple of them when the op has several outputs."""
    return cotangents if len(op.outputs) > 1 else cotangents[0]


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
    made = (*_wrong_numbers(op), *(_narrow_indices(op) if op.indices else ()), *_wrong_memory(op), *_wrong_calls(op))
    return tuple(m for m in made if set(m.caught_by) <= names)


def all_mistakes(op: Op) -> tuple[Mistake, ...]:
    """Return the op's own mistakes and the generic ones."""
    return (*op.mistakes, *common_mistakes(op))


def _wrong_numbers(op: Op) -> tuple[Mistake, ...]:
    return (
        Mistake(
            "answers in another dtype",
            "https://github.com/onnx/onnx/issues/5230",
            _per_answer(op, _wide),
            None,
            ("answers in the shape and dtype of the rule",),
        ),
        Mistake(
            "gradients in another dtype",
            "https://github.com/chainer/chainer/issues/684",
            None,
            _per_gradient(op, lambda _, g: _wide(g)),
            ("gradients come in the shape and dtype of their arrays",),
        ),
        Mistake(
            "the gradient is rolled by one",
            "https://github.com/boschresearch/pylife/pull/24",
            None,
            _per_gradient(op, lambda _, g: np.roll(g, 1)),
            ("the vjp is the adjoint",),
        ),
        Mistake(
            "the batch comes back in another order",
            "https://github.com/vllm-project/vllm/issues/394",
            _rolled_batch(op),
            _rolled_batch_vjp(op),
            ("an image does not see its batch",),
        ),
        Mistake("answers zeros", "https://github.com/ORNL/HeCBench/issues/80", _per_answer(op, np.zeros_like)),
        Mistake("answers NaN", "https://github.com/pytorch/pytorch/issues/106332", _nothing(op)),
        Mistake(
            "a gradient is NaN",
            "https://github.com/tensorflow/tensorflow/issues/14271",
            None,
            _per_gradient(op, lambda place, g: g if place else np.full_like(g, np.nan)),
        ),
    )


def _narrow_indices(op: Op) -> tuple[Mistake, ...]:
    """Return the mistake of answering with indices of 32 bits."""

    def forward(*arrays: Array, **options: Any) -> tuple[Any, ...]:
        named = zip(op.outputs, op.definition(*arrays, **options), strict=True)
        return tuple(y.astype(np.int32) if name in op.indices else y for name, y in named)

    cites = "https://github.com/PaddlePaddle/Paddle/pull/73993"
    return (Mistake("indices come in 32 bits", cites, forward, None, ("answers in the shape and dtype of the rule",)),)


def _wrong_memory(op: Op) -> tuple[Mistake, ...]:
    made = [
        Mistake(
            "works in place",
            "https://github.com/spinalcordtoolbox/spinalcordtoolbox/issues/3500",
            _in_place(op),
            None,
            ("inputs stay as they were, answers own their memory",),
        ),
        Mistake(
            "the vjp writes the gradient over its input",
            "https://github.com/linkedin/Liger-Kernel/issues/272",
            None,
            _vjp_in_place(op),
            ("the vjp leaves its inputs as they were, gradients own their memory",),
        ),
        Mistake(
            "reuses its output buffer",
            "https://github.com/pykeio/ort/issues/454",
            _per_answer(op, partial(_buffered, {}, 0)),
            None,
            (_AGAIN,),
        ),
        Mistake(
            "reuses its gradient buffers",
            "https://github.com/pytorch/pytorch/pull/119334",
            None,
            _per_gradient(op, partial(_buffered, {})),
            (_AGAIN_VJP,),
        ),
        Mistake(
            "answers with the array that it keeps",
            "https://github.com/HEXRD/hexrd/pull/837",
            _memoised(op.definition),
            None,
            (_AGAIN,),
        ),
        Mistake(
            "the vjp answers with the arrays that it keeps",
            "https://github.com/spacetelescope/poppy/issues/16",
            None,
            _memoised(op.vjp),
            (_AGAIN_VJP,),
        ),
        Mistake(
            "reads memory in storage order",
            "https://github.com/facebookresearch/SparseConvNet/issues/211",
            _storage_order(op),
            None,
            ("any memory order gives the same answer",),
        ),
        Mistake(
            "the vjp reads memory in storage order",
            "https://github.com/Dao-AILab/flash-attention/issues/355",
            None,
            _storage_order_vjp(op),
            ("any memory order gives the same gradients",),
        ),
    ]
    if _reads_first(op):
        cites = "https://github.com/torch/nn/issues/1015"
        made.append(Mistake("the vjp uses what the last forward call saved", cites, *_saving(op), (_AGAIN_VJP,)))
    return tuple(made)


def _reads_first(op: Op) -> bool:
    """Return whether some gradient depends on the first array, as far as the gallery shows."""
    if [o.linear or o.affine for o in op.operands] == [True]:
        return False
    drawn = [fill(op, form, op.regimes[0], seed, "float64") for seed, form in enumerate(op.gallery)]
    pairs = ([op.vjp(_sent(op, c.cotangents), *c.arrays, **c.options) for c in (case, _blank(case))] for case in drawn)
    differs = (not _equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True) if a is not None)
    return not drawn or any(differs)


def _wrong_calls(op: Op) -> tuple[Mistake, ...]:
    return (
        Mistake(
            "has other defaults",
            "https://github.com/Arth-ur/bitfield/issues/1",
            _other_defaults(op),
            None,
            ("an option left out means its default",),
        ),
        Mistake(
            "the vjp has other defaults",
            "https://github.com/ooples/AiDotNet.Tensors/pull/938",
            None,
            _other_defaults_vjp(op),
            ("an option left out of the vjp means its default",),
        ),
        Mistake(
            "accepts anything",
            "https://github.com/microsoft/onnxruntime/pull/29464",
            _accepts_anything(op),
            None,
            ("bad input is refused",),
        ),
    )


def _per_answer(op: Op, change: Callable[[Array], Array]) -> Callable[..., Any]:
    """Return the definition with `change` applied to its first output."""

    def forward(*arrays: Array, **options: Any) -> Any:
        answer = op.definition(*arrays, **options)
        return (change(answer[0]), *answer[1:]) if isinstance(answer, tuple) else change(answer)

    return forward


def _per_gradient(op: Op, change: Callable[[int, Array], Array]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with `change` applied to the place of each gradient and to it."""

    def vjp(gy: Any, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        gradients = op.vjp(gy, *_whole(op, arrays), **options)
        return tuple(None if g is None else change(place, g) for place, g in enumerate(gradients))

    return vjp


def _nothing(op: Op) -> Callable[..., Any]:
    """Return the definition with NaN in every entry of every output."""

    def forward(*arrays: Array, **options: Any) -> Any:
        answer = op.definition(*arrays, **options)
        if isinstance(answer, tuple):
            return tuple(None if y is None else np.full_like(y, np.nan) for y in answer)
        return np.full_like(answer, np.nan)

    return forward


def _wide(y: Array) -> Array:
    return y.astype(np.longdouble if y.dtype == np.float64 else np.float64)


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


def _vjp_in_place(op: Op) -> Callable[..., Any]:
    def vjp(gy: Any, x: Array, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        gradients = op.vjp(gy, *_whole(op, (x, *arrays)), **options)
        x[...] = gradients[0]
        return (x, *gradients[1:])

    return vjp


def _buffered(buffers: dict[Any, Array], place: int, y: Array) -> Array:
    """Return the array in the buffer that is kept for its place, shape and dtype."""
    buffer = buffers.setdefault((place, y.shape, y.dtype.str), np.empty_like(y))
    buffer[...] = y
    return buffer


def _memoised(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its answers kept, and handed out again for equal arguments."""
    kept: dict[Any, Any] = {}

    def known(a: Any) -> Any:
        return (
            tuple(map(known, a)) if isinstance(a, tuple) else None if a is None else (a.shape, str(a.dtype), bytes(a))
        )

    def memoised(*arrays: Any, **options: Any) -> Any:
        key = (known(arrays), repr(sorted(options.items())))
        if key not in kept:
            kept[key] = function(*arrays, **options)
        return kept[key]

    return memoised


def _saving(op: Op) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the definition, which saves its first array, and a vjp that takes what was saved for its own."""
    saved: dict[Any, Array] = {}

    def forward(x: Array, *arrays: Array, **options: Any) -> Any:
        saved[x.shape, x.dtype.str] = x.copy()
        return op.definition(x, *arrays, **options)

    def vjp(gy: Any, x: Array, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        return op.vjp(gy, *_whole(op, (saved.get((x.shape, x.dtype.str), x), *arrays)), **options)

    return forward, vjp


def _in_storage_order(a: Any) -> Any:
    """Return an array with the entries of its memory in the order they lie there; a tuple of such."""
    if a is None or isinstance(a, tuple):
        return a if a is None else tuple(map(_in_storage_order, a))
    memory = np.ravel(a if a.base is None else a.base, order="K")
    return memory[: a.size].reshape(a.shape)


def _storage_order(op: Op) -> Callable[..., Any]:
    return lambda *arrays, **options: op.definition(*map(_in_storage_order, arrays), **options)


def _storage_order_vjp(op: Op) -> Callable[..., Any]:
    return lambda gy, *arrays, **options: op.vjp(*map(_in_storage_order, (gy, *_whole(op, arrays))), **options)


def _other_defaults(op: Op) -> Callable[..., Any]:
    return lambda *arrays, **options: _with_another(op, options, partial(op.definition, *arrays))


def _other_defaults_vjp(op: Op) -> Callable[..., Any]:
    return lambda gy, *arrays, **options: _with_another(op, options, partial(op.vjp, gy, *_whole(op, arrays)))


def _with_another(op: Op, options: dict[str, Any], call: Callable[..., Any]) -> Any:
    """Return the answer with another value for an option left out, where the call bears one that changes it."""
    right = call(**options)
    for name in op.options.keys() - options.keys():
        for other in _others(op, name):
            try:
                wrong = call(**{**options, name: other})
            except (ValueError, IndexError):
                continue
            if not all(map(_equal_or_absent, _each(wrong), _each(right))):
                return wrong
    return right


def _each(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _equal_or_absent(left: Any, right: Any) -> bool:
    return left is right is None or (left is not None and right is not None and _equal(left, right))


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
