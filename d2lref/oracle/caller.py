"""The boundary: how an implementation is called, and what comes back turned into pairs of answer and bound."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from d2lref.oracle.implementation import Implementation, lay_out
from d2lref.oracle.values import dtype_of, held, is_index, ones
from d2lref.rounding import Pair, Precision, outward
from d2lref.spec import Array, Op, Operand, Rejection

PLAIN = "plain"  # how the memory order is called that a call has by itself


class WrongAnswer(Exception):
    """An answer that cannot be compared: wrong count, shape or type. The text says which."""


class OffGrid(Exception):
    """A law handed over a value that the storage dtype cannot hold: a mistake of the law, not of the implementation."""


class Raised(Exception):
    """The implementation raised; the cause is chained. The text is the cause's."""


class Unsupported(Raised):
    """A law asked for what lies outside what the implementation says it supports."""


class RefusedLayout(Unsupported):
    """The implementation raised because of the memory order of its input: it does not support that order."""


def guarded(foreign: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what somebody else's code answers.

    Raises Raised for whatever it raises, a BaseException too: sys.exit() or a panic in a kernel is a failure of the
    kernel, not the end of the run. Ctrl-C alone passes.
    """
    try:
        with np.errstate(all="ignore"):  # what it asks of NumPy for itself ends with the call
            return foreign(*arguments, **options)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise Raised(told(error)) from error


def told(error: BaseException | None) -> str:
    """Return the text of an error; when asking for it raises, which error that is."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001 - its __str__ is somebody else's code
        return f"(no text: asking for it raises {type(broken).__name__})"


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a law made.

    "forward" or "vjp", the arrays (float64), the cotangent, the options passed, the answers (None where nobody has
    read one), and the memory order of the arrays ("": the plain one).
    """

    kind: str
    arrays: tuple[Array, ...]
    options: Mapping[str, Any]
    answers: tuple[Any, ...]
    cotangent: Any = None
    layout: str = ""


class Crossing(NamedTuple):
    """One call as it was made: the arrays handed over, by name and as they are after it, and what came back.

    wanted: the shape of every answer, None where there is none. read() returns the answers as they are when it is
    called, with their bounds, None where there is none; raises WrongAnswer for a wrong count, shape or type. in_place:
    a bare array came back from an op with state, so that the state was updated in place.
    """

    given: Mapping[str, Any]
    answers: tuple[Any, ...]
    wanted: tuple[Any, ...]
    read: Callable[[], tuple[Pair | None, ...]]
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of the last answers, because laws make one call several times and a bound costs more than a call.

    A call is known by the very arrays that it was made with, by its options, and by what it answered.
    """

    last: deque[tuple[tuple[Any, ...], Mapping[str, Any], tuple[Any, ...], tuple[Any, ...]]] = field(
        default_factory=lambda: deque(maxlen=8)
    )

    def of(
        self,
        arrays: tuple[Any, ...],
        options: Mapping[str, Any],
        bound: Callable[[tuple[Any, ...]], tuple[Any, ...]],
        values: tuple[Any, ...],
    ) -> tuple[Any, ...]:
        """Return bound(values), or what it was when the same call gave the same answers."""
        for known, those, before, bounds in self.last:
            same = len(known) == len(arrays) and all(a is b for a, b in zip(known, arrays, strict=True))
            if same and those == options and all(map(_alike, before, values)):
                return bounds
        found = bound(values)
        self.last.append((arrays, options, values, found))
        return found


def _alike(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Return whether both are absent, or equal in every entry (NaN is not)."""
    return a is b if a is None or b is None else bool((a == b).all())


@dataclass(frozen=True, slots=True)
class Caller:
    """`f` of the laws: calls the implementation, checks shapes, and adds the op's own bound to every answer."""

    op: Op
    implementation: Implementation
    precision: Precision
    layout: str = ""
    left_out: frozenset[str] = frozenset()
    calls: list[Call] | None = field(default=None)
    bounds: Bounds = field(default_factory=Bounds)
    orders: Counter[str] | None = None

    def __call__(self, *arrays: Array, **options: Any) -> Any:
        """Return the answer as a Pair (a tuple of Pair or None for several outputs).

        Raises WrongAnswer for a wrong count or shape, Raised when the implementation raises, Unsupported when it does
        not claim to bear the call.
        """
        pairs = self.raw(*arrays, **options).read()
        return pairs[0] if len(pairs) == 1 else pairs

    def vjp(self, gy: Any, *arrays: Array, **options: Any) -> tuple[Pair | None, ...]:
        """Return the gradients as Pairs, None for arrays that are absent or not differentiable."""
        return self.raw_vjp(gy, *arrays, **options).read()

    def raw(self, *arrays: Array, **options: Any) -> Crossing:
        """Return the call of the forward function as it was made, before anything is read from its answers."""
        arrays = self._borne(arrays, options)
        stored = self.stored(*arrays)
        wanted = self.op.shape(*map(_shape, arrays), **options)
        passed = self._keywords(options)
        place = self._recorded("forward", arrays, passed, wanted)
        answer = self._run(self.implementation.forward, self.passed(stored), passed)
        answers = self._outputs(answer, stored)

        def bound(values: tuple[Any, ...]) -> tuple[Any, ...]:
            found = self.op.bound(values[0] if len(values) == 1 else values, self.precision, *arrays, **options)
            return (found,) if len(values) == 1 else tuple(found)

        known = partial(self.bounds.of, ("forward", *arrays), options, bound)
        in_place = len(self.op.outputs) > 1 and not _is_listed(answer)
        read = partial(self._read, place, "answer", answers, wanted, known)
        return Crossing(self._named(stored), answers, wanted, read, in_place)

    def raw_vjp(self, gy: Any, *arrays: Array, **options: Any) -> Crossing:
        """Return the call of the vjp as it was made: the cotangents count among what was handed over, as gy."""
        if self.implementation.vjp is None:
            message = "no vjp was given"
            raise WrongAnswer(message)
        arrays = self._borne(arrays, options, vjp=True)
        heads = gy if isinstance(gy, tuple) else (gy,)
        stored, sent = self.stored(*arrays), self.stored(*heads)
        followed = zip(arrays, self.op.operands, strict=True)
        wanted = tuple(_shape(a) if followed_by(o, a) else None for a, o in followed)
        passed = self._keywords(options, vjp=True)
        place = self._recorded("vjp", arrays, passed, wanted, gy)
        handed = [tuple(sent) if isinstance(gy, tuple) else sent[0], *self.passed(stored, vjp=True)]
        answers = _aligned(self._run(self.implementation.vjp, handed, passed), wanted)

        def bound(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return self.op.vjp_bound(values, self.precision.backward, gy, *arrays, **options)

        known = partial(self.bounds.of, ("vjp", *heads, *arrays), options, bound)
        read = partial(self._read, place, "gradient", answers, wanted, known)
        return Crossing(self._named(stored, sent), answers, wanted, read)

    def _run(self, function: Callable[..., Any], arrays: list[Any], options: Mapping[str, Any]) -> Any:
        """Return what the function answers. Raises Raised when it raises, RefusedLayout under a memory order."""
        try:
            return guarded(function, *arrays, **options)
        except Raised as error:
            raise (RefusedLayout if self.layout else Raised)(str(error)) from error.__cause__

    def _named(self, stored: list[Any], sent: Sequence[Any] = ()) -> dict[str, Any]:
        """Return what is handed over by name: the cotangents first, then the operands."""
        heads = ["gy"] if len(sent) == 1 else [f"gy of {name}" for name in self.op.outputs[: len(sent)]]
        return dict(zip([*heads, *(o.name for o in self.op.operands)], [*sent, *stored], strict=True))

    def _recorded(
        self, kind: str, arrays: tuple[Array, ...], passed: Mapping[str, Any], wanted: tuple[Any, ...], gy: Any = None
    ) -> int:
        """Record a call before it is made, without its answers, and count its memory order.

        Returns its place among the calls.
        """
        if self.orders is not None:
            self.orders[self.layout or PLAIN] += 1
        if self.calls is None:
            return 0
        self.calls.append(Call(kind, arrays, passed, tuple(None for _ in wanted), gy, self.layout))
        return len(self.calls) - 1

    def _read(
        self,
        place: int,
        role: str,
        answers: tuple[Any, ...],
        wanted: tuple[Any, ...],
        bound: Callable[..., tuple[Any, ...]],
    ) -> tuple[Pair | None, ...]:
        """Return `read` of a Crossing, and record the answers with the call at that place."""
        values = self._values(answers, wanted, role)
        pairs = _pairs(values, bound(values))
        if self.calls is not None:
            self.calls[place] = replace(self.calls[place], answers=values)
        return pairs

    def refuses(self, rejection: Rejection) -> str:
        """Return "" when the implementation raises on the bad input and leaves it alone, else what it did."""
        stored = self.stored(*ones(self.op, rejection.shapes, rejection.options))
        try:
            guarded(self.implementation.forward, *self.passed(stored), **rejection.options)
        except Raised as error:
            if isinstance(error.__cause__, SystemExit):
                return f"ended the program on {rejection.says}: {_call_text(self.op, rejection)}"
            changed = any(a is not None and not (self.home(a) == 1).all() for a in stored)
            return f"refused {rejection.says}, but its input was changed" if changed else ""
        return f"accepted {rejection.says}: {_call_text(self.op, rejection)}"

    def bears(self, rejection: Rejection) -> bool:
        """Return whether bad input lies inside what the implementation says it supports: it need not refuse the rest.

        A predicate of the implementation's that raises on bad input says nothing.
        """
        judged, options = self.implementation, {**self.op.options, **rejection.options}
        shapes = (*rejection.shapes, *[None] * (len(self.op.operands) - len(rejection.shapes)))
        try:
            outside = guarded(judged.outside, self.op, shapes, rejection.options)
            return not outside and (judged.accepts is None or bool(guarded(judged.accepts, *shapes, **options)))
        except Raised:
            return True

    def with_layout(self, layout: str) -> "Caller":
        """Return the same caller handing over arrays in another memory order."""
        return replace(self, layout=layout)

    def leaving_out(self, names: frozenset[str]) -> "Caller":
        """Return the same caller that does not pass these options where they have their defaults."""
        return replace(self, left_out=names)

    def stored(self, *arrays: Array) -> list[Any]:
        """Return fresh arrays of the storage dtype in the implementation's library.

        Raises OffGrid when a value does not fit.
        """
        with np.errstate(over="ignore"):
            return [None if a is None else self._store(a) for a in arrays]

    def _store(self, array: Array) -> Any:
        home = held(array, self.precision.storage)
        if home is None:
            message = f"a law handed over values that are not on the {self.precision.storage} grid"
            raise OffGrid(message)
        laid = lay_out(home, self.layout) if self.layout else home
        return self.implementation.library.to(laid, dtype_of(array, self.precision.storage))

    def _borne(self, arrays: tuple[Array, ...], options: Mapping[str, Any], *, vjp: bool = False) -> tuple[Array, ...]:
        """Return the arrays with None for every operand that was left out at the end.

        Raises Unsupported for a call outside what the implementation says it supports: laws change the options and the
        shapes of their case, and an option that the callable lacks must not be dropped unless it has its default.
        """
        whole = (*arrays, *[None] * (len(self.op.operands) - len(arrays)))
        judged = self.implementation
        outside = judged.outside(self.op, whole, options, vjp=vjp)
        if not outside and judged.accepts is not None and not judged.accepts(*map(_shape, whole), **options):
            outside = ", ".join(f"{k}={v!r}" for k, v in options.items())
        if outside:
            message = f"a law leaves what is supported: {outside}"
            raise Unsupported(message)
        return whole

    def passed(self, stored: list[Any], *, vjp: bool = False) -> list[Any]:
        """Return the arrays to pass: absent ones at the end are omitted, unless the callable demands them."""
        there = trimmed(stored)
        return [*there, *[None] * (self.implementation.signature(vjp=vjp).required - len(there))]

    def _keywords(self, options: Mapping[str, Any], *, vjp: bool = False) -> dict[str, Any]:
        return self.implementation.keywords(self.op, options, self.left_out, vjp=vjp)

    def _outputs(self, answer: Any, stored: list[Any]) -> tuple[Any, ...]:
        """Return one answer per output; a bare array of an op with state means that the state was updated in place."""
        if len(self.op.outputs) == 1:
            parts = _listed(answer) if issubclass(type(answer), tuple) else ()
            return parts if len(parts) == 1 else (answer,)
        if _is_listed(answer):
            return _listed(answer)
        return (answer, *(a for a, o in zip(stored, self.op.operands, strict=True) if o.state))

    def _values(self, answers: tuple[Any, ...], shapes: tuple[Any, ...], role: str) -> tuple[Any, ...]:
        """Return the answers as new float64 NumPy arrays of the shapes wanted, None where None is wanted."""
        if len(answers) != len(shapes):
            bare = any(o.state for o in self.op.operands) and role == "answer"
            hint = f" ({', '.join(self.op.outputs)}), or a bare array after an update in place" if bare else ""
            message = f"{len(answers)} {role}{'s' * (len(answers) != 1)} came back, expected {len(shapes)}{hint}"
            raise WrongAnswer(message)
        return tuple(None if s is None else self._value(a, s, role) for a, s in zip(answers, shapes, strict=True))

    def _value(self, answer: Any, shape: tuple[int, ...], role: str) -> np.ndarray:
        home = self.home(answer, f"the {role}")
        try:
            value = np.array(home, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise WrongAnswer(_unreal(answer, f"the {role}", str(home.dtype))) from error
        if value.shape != tuple(shape):
            message = f"the {role} has shape {value.shape}, expected {tuple(shape)}"
            raise WrongAnswer(message)
        return value

    def home(self, answer: Any, name: str = "an answer") -> np.ndarray:
        """Return an answer as a NumPy array, without a copy where the library allows it.

        Raises WrongAnswer for anything that is no plain array of real numbers.
        """
        back = self.implementation.library.back
        plain = type(answer) is np.ndarray and back is np.asarray
        try:
            array: np.ndarray = answer if plain else guarded(_fetched, back, answer)
        except Raised as error:
            raise WrongAnswer(_unreal(answer, name, f"{type(error.__cause__).__name__}: {error}")) from error
        if array.dtype.kind in "OSUmMc" or issubclass(type(answer), np.ma.MaskedArray):
            raise WrongAnswer(_unreal(answer, name, str(array.dtype)))
        return array

    def kinds(self, shapes: Sequence[Any], *, vjp: bool) -> list[str | None]:
        """Return the "dtype shape" of every answer that a call should give, None where there is none."""
        names = [None] * len(shapes) if vjp else self.op.outputs
        dtypes = ("int64" if name in self.op.indices else self.precision.storage for name in names)
        return [None if s is None else f"{d} {tuple(s)}" for d, s in zip(dtypes, shapes, strict=True)]

    def kind(self, answer: Any) -> str:
        """Return "dtype shape" of an answer. Raises WrongAnswer for one that is no plain array of real numbers."""
        self.home(answer)
        try:
            return str(guarded(_kind, self.implementation.library.back, answer))
        except Raised as error:
            raise WrongAnswer(_unreal(answer, "an answer", f"{type(error.__cause__).__name__}: {error}")) from error


def _fetched(back: Callable[[Array], Array], answer: Any) -> np.ndarray:
    return np.asarray(back(answer))


def _kind(back: Callable[[Array], Array], answer: Any) -> str:
    array, said = back(answer), str(getattr(answer, "dtype", ""))
    name = "bfloat16" if "bfloat16" in said else str(getattr(array, "dtype", type(array).__name__))
    return f"{name} {tuple(np.shape(array))}"


def _unreal(answer: Any, name: str, why: str) -> str:
    """Return the text about an answer that cannot be compared."""
    return f"{name} is {type(answer).__name__}, expected an array of real numbers ({why})"


def _is_listed(answer: Any) -> bool:
    """Return whether an answer is a tuple or a list; asked of its type, for its own attributes may raise."""
    return issubclass(type(answer), tuple | list)


def _listed(answer: Any) -> tuple[Any, ...]:
    """Return the parts of a tuple or a list."""
    parts: tuple[Any, ...] = guarded(tuple, answer)
    return parts


def trimmed(arrays: list[Any]) -> list[Any]:
    """Return the arrays without absent ones at the end: None is passed only when a later array is present."""
    last = max((i for i, a in enumerate(arrays) if a is not None), default=-1)
    return arrays[: last + 1]


def followed_by(operand: Operand, array: Array | None) -> bool:
    """Return whether the vjp has a gradient for an array."""
    return array is not None and operand.differentiable and not is_index(array)


def _shape(array: Array | None) -> tuple[int, ...] | None:
    return None if array is None else tuple(array.shape)


def _aligned(answers: Any, wanted: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return gradients aligned with the operands.

    A bare array is the only one wanted, and absent ones at the end may be left out.
    """
    if not _is_listed(answers):
        if sum(w is not None for w in wanted) != 1:
            message = f"one gradient came back, expected {sum(w is not None for w in wanted)}"
            raise WrongAnswer(message)
        return tuple(answers if w is not None else None for w in wanted)
    parts = _listed(answers)
    return (*parts, *[None] * max(len(wanted) - len(parts), 0))


def _pairs(values: tuple[Any, ...], bounds: tuple[Any, ...]) -> tuple[Pair | None, ...]:
    return tuple(None if v is None else _pair(v, outward(b)) for v, b in zip(values, bounds, strict=True))


def _pair(value: np.ndarray, bound: np.ndarray) -> Pair:
    return Pair(value, bound if bound.shape == value.shape else np.broadcast_to(bound, value.shape))


def _call_text(op: Op, rejection: Rejection) -> str:
    """Return the call in words: names with shapes, and options."""
    shapes = [f"{o.name} {s}" for o, s in zip(op.operands, rejection.shapes, strict=False) if s is not None]
    return ", ".join([*shapes, *(f"{k}={v!r}" for k, v in rejection.options.items())])
