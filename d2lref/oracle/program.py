"""A program that shows a finding: stand-alone, without d2lref, and it ends in an error as long as the bug is there."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from d2lref.oracle.caller import Call, Caller, followed_by
from d2lref.oracle.finding import Element
from d2lref.oracle.implementation import NUMPY, ORDERS, lay_out
from d2lref.oracle.judge import Status, Tier, Verdict
from d2lref.oracle.values import dtype_of, held, ones
from d2lref.spec import Array, Op, Rejection

Worst = tuple[Element, Call]


def reproduction(f: Caller, law: str, calls: Sequence[Call], worst: Worst | None, verdict: Verdict) -> str:
    """Return a Python program that makes the calls behind a finding and asserts what they break."""
    refused = rejection_of(f.op, verdict.note)
    if refused is not None:
        made = [_Made(f, _bad_call(f.op, refused), "")]
        body = _refusal_lines(made[0], refused)
    elif calls:
        worst = None if verdict.status is Status.ERROR else worst or _suspect(f.op, calls, verdict)
        made = [_Made(f, call, f"_{n}" if n > 1 else "") for n, call in enumerate(_needed(calls, worst, verdict), 1)]
        body = _body(made, worst, verdict)
    else:
        return f"# {f.op.name}: {law}\n# {verdict.note or 'no single call shows it; see the case in this record'}\n"
    head = [f'"""{f.op.name}: {law}."""', "", *_imports(f), "", *_bindings(made), *_orders(made)]
    return "\n".join([*head, *body]) + "\n"


def rejection_of(op: Op, note: str) -> Rejection | None:
    """Return the rejection that a note of the law about bad input names."""
    heads = ("accepted", "refused", "ended the program on")
    named = [r for r in op.rejections if any(re.match(rf"{h} {re.escape(r.says)}[:,]", note) for h in heads)]
    return max(named, key=lambda r: len(r.says), default=None)


def _bad_call(op: Op, bad: Rejection) -> Call:
    arrays = ones(op, bad.shapes, bad.options)
    whole = (*arrays, *[None] * (len(op.operands) - len(arrays)))
    return Call("forward", whole, bad.options, tuple(None for _ in op.outputs))


def _suspect(op: Op, calls: Sequence[Call], verdict: Verdict) -> Worst | None:
    """Return the element outside the statistical band, which lies inside the bound: the verdict alone knows it."""
    if verdict.tier is not Tier.SUSPECT or len(op.outputs) > 1:
        return None
    return Element(op.outputs[0], verdict.index, verdict.left, verdict.right, verdict.bound), calls[0]


def _needed(calls: Sequence[Call], worst: Worst | None, verdict: Verdict) -> Sequence[Call]:
    """Return the calls that show the finding.

    The wrong one; when the law makes the same call again, all from the first of them to the last, for what was
    called before may be what makes it wrong. All of them where a later one spoils an answer; the last where the law
    ended in it, with an exception or an answer that is no array.
    """
    if "later call" in verdict.note:
        return calls
    wrong = worst[1] if worst is not None else calls[-1]
    places = [place for place, call in enumerate(calls) if _same(call, wrong)]
    return calls[places[0] : places[-1] + 1]


def _same(a: Call, b: Call) -> bool:
    """Return whether two calls hand over the same."""
    sent, other = (c.cotangent if isinstance(c.cotangent, tuple) else (c.cotangent,) for c in (a, b))
    alike = (a.kind, a.options, a.layout) == (b.kind, b.options, b.layout)
    return alike and all(map(_equal, (*a.arrays, *sent), (*b.arrays, *other)))


def _equal(a: Array | None, b: Array | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b, equal_nan=True)


# The head


def _imports(f: Caller) -> list[str]:
    library = f.implementation.library
    narrow = f.precision.storage == "bfloat16" and library.to_text == NUMPY.to_text
    return [
        *(["import ml_dtypes"] if narrow else []),
        "import numpy as np",
        *([library.preamble] if library.preamble else []),
    ]


def _bindings(made: "list[_Made]") -> list[str]:
    """Return the lines that bind `implementation` and `vjp`, each when a call needs it."""
    target, lines = made[0].f.implementation, []
    origins: Mapping[str, str] = {"implementation": target.origin, "vjp": target.vjp_origin}
    for name in dict.fromkeys(m.function for m in made):
        lines += [origins[name] or f"{name} = ...  # {target.name}: put your function here", ""]
    return lines


def _orders(made: "list[_Made]") -> list[str]:
    """Return the functions that bring arrays into the memory orders of the calls."""
    names = dict.fromkeys(m.call.layout for m in made if m.call.layout)
    return [line for name in names for line in ("", inspect.getsource(ORDERS[name]), "")]


# The calls


@dataclass(frozen=True, slots=True)
class _Made:
    """One call in the program; the names of its arrays and of its answer end in `suffix`."""

    f: Caller
    call: Call
    suffix: str

    @property
    def vjp(self) -> bool:
        return self.call.kind == "vjp"

    @property
    def function(self) -> str:
        return "vjp" if self.vjp else "implementation"

    @property
    def answer(self) -> str:
        return f"answer{self.suffix}"

    def lines(self) -> list[str]:
        """Return the lines that make the arrays and the call."""
        return [*self.arrays(), f"{self.answer} = {self.text()}"]

    def text(self) -> str:
        """Return the call itself."""
        names = [o.name for o in self.f.op.operands]
        handed = self.f.passed(list(self.call.arrays), vjp=self.vjp)
        passed = [self.name(n) if a is not None else "None" for n, a in zip(names, handed, strict=False)]
        keywords = [f"{k}={v!r}" for k, v in self.call.options.items()]
        return f"{self.function}({', '.join([*([self.name('gy')] if self.vjp else []), *passed, *keywords])})"

    def name(self, told: str) -> str:
        """Return the variable of an array that a note calls so; "gy of y" is one of several cotangents."""
        if told.startswith("gy of "):
            return f"gy{self.f.op.outputs.index(told.removeprefix('gy of '))}{self.suffix}"
        return f"{told}{self.suffix}"

    def arrays(self) -> list[str]:
        """Return the lines that make the arrays, the cotangents last."""
        pairs = [(o.name, a) for o, a in zip(self.f.op.operands, self.call.arrays, strict=True)]
        gy, names = self.call.cotangent, [f"gy of {name}" for name in self.f.op.outputs]
        pairs += list(zip(names, gy, strict=True)) if isinstance(gy, tuple) else [("gy", gy)]
        lines = [f"{self.name(name)} = {_array(a, self.f, self.call.layout)}" for name, a in pairs if a is not None]
        if isinstance(gy, tuple):
            parts = (self.name(n) if g is not None else "None" for n, g in zip(names, gy, strict=True))
            lines.append(f"{self.name('gy')} = ({', '.join(parts)},)")
        return lines

    def parts(self) -> str:
        """Return the answers as a tuple; a bare one leaves the updated state in the arrays that were handed over."""
        state = [] if self.vjp or len(self.f.op.outputs) == 1 else [p for p in self._state() if p]
        bare = f"({', '.join([self.answer, *state])},)"
        return f"({self.answer} if isinstance({self.answer}, (tuple, list)) else {bare})"

    def _state(self) -> list[str]:
        pairs = zip(self.f.op.operands, self.call.arrays, strict=True)
        return [(self.name(o.name) if a is not None else "None") if o.state else "" for o, a in pairs]

    def part(self, role: str) -> str:
        """Return one answer by its name: y, dweight, or, as notes say it, "the answer y", "the gradient of weight"."""
        if not self.vjp and len(self.f.op.outputs) == 1:
            return self.answer
        if self.vjp:
            names = [o.name for o in self.f.op.operands]
            short = role.removeprefix("the gradient of ") if " " in role else role[1:]
            return f"{self.parts()}[{names.index(short)}]"
        return f"{self.parts()}[{self.f.op.outputs.index(role.removeprefix('the answer '))}]"

    def home(self, text: str) -> str:
        """Return the text of an array brought home to NumPy."""
        return self.f.implementation.library.back_text.format(text)


def _array(array: Array, f: Caller, layout: str) -> str:
    """Return the text of an array as it was handed over: its values, memory order, dtype and library."""
    storage, library = dtype_of(array, f.precision.storage), f.implementation.library
    host = f"np.{storage}" if storage != "bfloat16" else "np.float32"
    text = f"np.array({_literal(array)}, dtype={host}).reshape({array.shape})"
    home = held(array, storage)
    if layout and home is not None and library.bears(lay_out(home, layout)):
        text = f"{layout}({text})"
    if storage == "bfloat16" and library.to_text == NUMPY.to_text:
        text = f"{text}.astype(ml_dtypes.bfloat16)"
    return library.to_text.format(text, dtype=storage)


def _literal(array: Array) -> str:
    """Return the flat list of values; inf and nan under NumPy's names."""
    values = (repr(v) if np.isfinite(v) else f"np.{v}" for v in np.ravel(array).tolist())
    return f"[{', '.join(v.replace('np.-inf', '-np.inf') for v in values)}]"


# The end


def _body(made: list[_Made], worst: Worst | None, verdict: Verdict) -> list[str]:
    """Return the calls and what shows that they are wrong."""
    for pattern, lines in _NOTES.items():
        if told := re.fullmatch(pattern, verdict.note):
            return lines(made, *told.groups())
    first, *others = made
    calls = [*first.lines(), *(_spoilt(first) if others else []), *(line for m in others for line in m.lines())]
    return [*calls, *_end(made[-1], worst, verdict)]


def _end(m: _Made, worst: Worst | None, verdict: Verdict) -> list[str]:
    """Return what shows that the last call is wrong: an exception shows itself."""
    if worst is not None:
        return _wrong_number(m, worst[0])
    if verdict.status is Status.ERROR:
        return []
    if np.isnan(verdict.left) or "the rule says" in verdict.note:
        return _wrong_kind(m)
    several = "the law compares several calls, or this one was right when it was made again"
    return [f"print({m.answer})  # {verdict.note or several}"]


def _overwritten(made: list[_Made], note: str) -> list[str]:
    """Return a call between two looks at its inputs."""
    m = made[0]
    names = [m.name(part.removesuffix(" was overwritten")) for part in note.split("; ")]
    lines = [*m.arrays(), *(f"{name}_before = np.array({m.home(name)})" for name in names)]
    lines.append(f"{m.answer} = {m.text()}")
    for name in names:
        lines.append(f'print("{name} was", {name}_before, "and is now", {m.home(name)})')
        lines.append(f'assert {name}_before.tobytes() == {m.home(name)}.tobytes(), "{name} was overwritten"')
    return lines


def _shared(made: list[_Made], answer: str, other: str) -> list[str]:
    """Return a call and the question whether an answer lies in the memory of an input or of another answer."""
    m = made[0]
    beside = m.part(other) if other.startswith("the ") else m.name(other)
    asked = f"np.shares_memory({m.home(m.part(answer))}, {m.home(beside)})"
    text = f"{answer} shares memory with {other}"
    return [*m.lines(), f"shared = {asked}", f'print("{text}:", shared)', f'assert not shared, "{text}"']


def _later(made: list[_Made], answer: str) -> list[str]:
    """Return a call, others after it, and a second look at the answer of the first."""
    first = made[0]
    home = first.home(first.part(answer))
    return [
        *first.lines(),
        f"first = np.array({home})",
        *(line for m in made[1:] for line in m.lines()),
        f'print("{answer} was", first, "and is now", {home})',
        f'assert first.tobytes() == {home}.tobytes(), "a later call overwrote {answer} of the first"',
    ]


_NOTES: Mapping[str, Callable[..., list[str]]] = {
    r"(.+ was overwritten)": _overwritten,
    r"(.+) shares memory with (.+)": _shared,
    r"a later call overwrote (.+) of the first": _later,
}  # what the laws about memory say, and the lines that show it


def _spoilt(m: _Made) -> list[str]:
    """Return the lines that write into an answer, as whoever is given it may."""
    return [
        f"for part in {m.parts()}:",
        f"    own = None if part is None else {m.home('part')}",
        "    if own is not None and own.flags.writeable:",
        "        own[...] = np.nan  # whoever is given an answer may write into it",
    ]


def _wrong_number(m: _Made, e: Element) -> list[str]:
    """Return the comparison of one number with what it should be."""
    home = m.home(m.part(e.role))
    return [
        f"found = float({home}[{', '.join(map(str, e.index))}])" if e.index else f"found = float({home})",
        f"expected, bound = {_float(e.expected)}, {_float(e.bound)}",
        f'print("{e.place}: found", found, "expected", expected, "within", bound)',
        "assert found == expected or (found != found and expected != expected) or abs(found - expected) <= bound",
    ]


def _float(value: float) -> str:
    return repr(value) if np.isfinite(value) else f'float("{value}")'


def _wrong_kind(m: _Made) -> list[str]:
    """Return the comparison of the number of answers, their dtypes and their shapes with the rule."""
    rule = m.f.kinds(_shapes(m), vjp=m.vjp)
    return [
        f"parts = {m.parts()}",
        'found = [None if p is None else f"{p.dtype} {tuple(p.shape)}".removeprefix("torch.") for p in parts]',
        f"expected = {rule!r}",
        'print("found", found, [type(p).__name__ for p in parts], "expected", expected)',
        "assert not any(isinstance(p, np.ma.MaskedArray) for p in parts)",
        "assert len(found) <= len(expected), found" if m.vjp else "assert len(found) == len(expected), found",
        "assert all(a == b for a, b in zip(found, expected) if b is not None), found",
    ]


def _shapes(m: _Made) -> list[tuple[int, ...] | None]:
    """Return the shape of every answer that the call should give, None where there is none."""
    op, arrays = m.f.op, m.call.arrays
    if m.vjp:
        pairs = zip(op.operands, arrays, strict=True)
        return [a.shape if followed_by(o, a) else None for o, a in pairs]
    return list(op.shape(*(None if a is None else a.shape for a in arrays), **{**op.options, **m.call.options}))


def _refusal_lines(m: _Made, bad: Rejection) -> list[str]:
    """Return a call that must raise and leave its input alone."""
    names = [m.name(o.name) for o, a in zip(m.f.op.operands, m.call.arrays, strict=True) if a is not None]
    return [
        *m.arrays(),
        "try:",
        f"    {m.answer} = {m.text()}",
        "except Exception as error:",
        '    print("refused:", repr(error))',
        "except SystemExit:",
        f"    raise AssertionError({f'ended the program on {bad.says}'!r})",
        "else:",
        f'    print("answer", {m.answer})',
        f"    raise AssertionError({f'accepted {bad.says}'!r})",
        *(f'assert ({m.home(name)} == 1).all(), "{name} was changed"' for name in names),
    ]
