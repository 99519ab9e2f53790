"""What a trial is handed: an implementation that draws for one case, and readings of what it drew.

Every reading can be told as a program of its own: the calls, the statistic as a function, its interval.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.oracle.caller import Raised, WrongAnswer, guarded
from d2lref.oracle.implementation import NUMPY, Implementation
from d2lref.rounding import Precision
from d2lref.spec import Array, Case, Distribution, Reading, Rejection, Shape

# Functions of the programs: each stands by itself


def data(shape: Shape, seed: int) -> Array:
    """Return numbers of size 1/8 to 1: none is zero, and every format holds them."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 9, shape) * rng.choice((-1 / 8, 1 / 8), shape)


def thinned(x: Array) -> Array:
    """Return x with zero for every second number, as behind a relu: no mask can be read off what is zero."""
    return np.where(np.arange(x.size).reshape(x.shape) % 2 == 1, 0.0, x)


# What draws


@dataclass
class Sampler:
    """`f` of the trials of one case.

    size: how many numbers a statistic is to be read from. alpha: how often, at most, a right implementation may leave
    the interval of one reading.
    """

    subject: Distribution
    implementation: Implementation
    precision: Precision
    case: Case
    size: int = chance.SIZES["quick"]
    alpha: float = chance.EACH
    drawn: dict[tuple[int, tuple[int, ...]], Array] = field(default_factory=dict)

    @property
    def u(self) -> float:
        """Unit roundoff of the answers."""
        return self.precision.stored.u

    @property
    def grain(self) -> float:
        """4u: how far, relatively, the grid of what can be drawn is from real numbers, and the largest atom on it."""
        return 4.0 * self.u

    @property
    def shape(self) -> Shape:
        """The shape that is asked for."""
        shape: Shape = self.case.options["shape"]
        return shape

    @property
    def options(self) -> Mapping[str, Any]:
        """The options to pass; those at their defaults are left out every second time."""
        told = {k: v for k, v in self.case.options.items() if k != "shape"}
        usual = frozenset(told) if self.case.seed % 2 else frozenset[str]()
        return self.implementation.keywords(self.subject, told, usual)

    @cached_property
    def x(self) -> Array:
        """What dropout is given, in float64."""
        return data(self.shape, self.case.seed)

    @cached_property
    def gy(self) -> Array:
        """The cotangent, in float64."""
        return data(self.shape, self.case.seed + 1)

    def to(self, array: Array) -> Any:
        """Return an array as the implementation takes it, in memory of its own."""
        return self.implementation.library.to(np.array(array), self.precision.storage)

    def call(self, rng: np.random.Generator, *given: Any) -> Any:
        """Return what one call answers. Raises Raised."""
        first = given or ((self.to(self.x),) if self.subject.operands else (self.shape,))
        return guarded(self.implementation.forward, *first, rng=rng, **self.options)

    def home(self, answer: Any, name: str = "the answer") -> Array:
        """Return an answer as a NumPy array. Raises WrongAnswer for what is no array of real numbers of the shape."""
        try:
            array = guarded(lambda: np.asarray(self.implementation.library.back(answer)))
        except Raised as error:
            raise WrongAnswer(f"{name} is {type(answer).__name__}, expected an array ({error})") from error
        if array.dtype.kind not in "fiub" and "float" not in str(array.dtype):
            raise WrongAnswer(f"{name} is of {array.dtype}, expected real numbers")
        if array.shape != tuple(self.shape):
            raise WrongAnswer(f"{name} has shape {array.shape}, expected {tuple(self.shape)}")
        return array

    def answers(self, calls: int, seeds: tuple[int, ...]) -> Array:
        """Return the answers of so many calls with one generator for each seed, in float64: (seeds, calls, *shape)."""
        key = (calls, seeds)
        if key not in self.drawn:
            rngs = map(np.random.default_rng, seeds)
            found = [[self.home(self.call(rng)) for _ in range(calls)] for rng in rngs]
            self.drawn[key] = np.asarray(found, np.float64).reshape(len(seeds), calls, *self.shape)
        return self.drawn[key]

    def gradients(self) -> Array:
        """Return the gradient of a call whose generator is in the state that it was in for the answer.

        The mask does not depend on x, half of which is zero here.
        """
        if self.implementation.vjp is None:
            raise WrongAnswer("no vjp was given")
        rng, given = np.random.default_rng(self.case.seed), (self.to(self.gy), self.to(thinned(self.x)))
        options = self.implementation.keywords(self.subject, dict(self.options), vjp=True)
        found = guarded(self.implementation.vjp, *given, rng=rng, **options)
        one = found[0] if issubclass(type(found), tuple | list) and len(found) else found
        return np.asarray(self.home(one, "the gradient"), np.float64)

    def read(
        self,
        measure: Callable[..., Any],
        low: float,
        high: float,
        *,
        theorem: str,
        alpha: float = 0.0,
        size: int = 0,
        calls: int = 1,
        seeds: int = 1,
        step: int = 1,
        **given: Any,
    ) -> Reading:
        """Return the reading of a statistic.

        measure(answers, x, gy, gradients, **given) is called with those of the four that it names. calls and seeds: how
        many of each, seeds `step` apart. size: how many numbers stand behind it, all of them when it is 0.
        """
        numbers = tuple(self.case.seed + step * i for i in range(seeds))
        held = {name: self._held(name, calls, numbers) for name in _held_names(measure)}
        behind = size or calls * seeds * math.prod(self.shape)
        said = (inspect.getdoc(measure) or "").partition("\n")[0].removeprefix("Return ").rstrip(".")
        value = measure(**held, **given)
        return Reading(said, value, low, high, behind, alpha, theorem, measure, given, calls, numbers)

    def _held(self, name: str, calls: int, seeds: tuple[int, ...]) -> Array:
        if name == "answers":
            return self.answers(calls, seeds)
        return self.gradients() if name == "gradients" else getattr(self, name)

    def refuses(self, rejection: Rejection) -> str:
        """Return "" when the implementation raises on bad input, else what it did."""
        shape, said = rejection.shapes[0], ", ".join(f"{k}={v!r}" for k, v in rejection.options.items())
        first = self.to(np.ones(shape or ())) if self.subject.operands else shape
        try:
            guarded(self.implementation.forward, first, rng=np.random.default_rng(0), **rejection.options)
        except Raised:
            return ""
        return f"accepted {rejection.says}: shape {shape}{', ' * bool(said)}{said}"

    def outside(self) -> str:
        """Return what of the case lies outside what the implementation supports, "" when nothing does."""
        told = {k: v for k, v in self.case.options.items() if k != "shape"}
        return self.implementation.outside(self.subject, (self.shape,) * len(self.subject.operands), told)

    def bears(self, rejection: Rejection) -> bool:
        """Return whether bad input lies inside what the implementation says it supports."""
        shapes = rejection.shapes[:1] * len(self.subject.operands)
        try:
            return not guarded(self.implementation.outside, self.subject, shapes, rejection.options)
        except Raised:
            return True


def _held_names(measure: Callable[..., Any]) -> Iterator[str]:
    """Yield which of the arrays that a sampler holds a statistic asks for."""
    asked = inspect.signature(measure).parameters
    return (name for name in ("answers", "x", "gy", "gradients") if name in asked)


# Programs


def program(f: Sampler, law: str, reading: Reading | None, note: str) -> str:
    """Return a Python program that draws what a reading was read from, and asserts its interval.

    Without a reading: the call alone, which raises or answers what is no array.
    """
    head = [f'"""{f.subject.name}: {law}."""', "", *_imports(f), ""]
    target = f.implementation
    lines = [target.origin or f"implementation = ...  # {target.name}: put your function here", ""]
    needed = set(_held_names(reading.measure)) if reading is not None and reading.measure else set()
    if "gradients" in needed:
        lines += [target.vjp_origin or "vjp = ...  # put your gradient here", ""]
    lines += _sources(f, reading)
    lines += [f"shape, seed = {f.shape}, {f.case.seed}"]
    if reading is None:
        return "\n".join([*head, *lines, f"answer = {_call(f, 'np.random.default_rng(seed)')}", f"# {note}"]) + "\n"
    if reading.measure is None:
        return "\n".join([*head, *lines, *_filled(f, reading.program)]) + "\n"
    return "\n".join([*head, *lines, *_draws(f, reading, needed), *_asserted(reading)]) + "\n"


def _imports(f: Sampler) -> list[str]:
    library = f.implementation.library
    narrow = f.precision.storage == "bfloat16" and library.to_text == NUMPY.to_text
    return [
        "from __future__ import annotations",
        "",
        "import math",
        "import random",
        "",
        *(["import ml_dtypes"] if narrow else []),
        "import numpy as np",
        *([library.preamble] if library.preamble else []),
    ]


def _sources(f: Sampler, reading: Reading | None) -> list[str]:
    """Return the text of the functions that the program uses."""
    used: list[Callable[..., Any]] = [data, thinned] if f.subject.operands else []
    if reading is not None and reading.measure is not None:
        used.append(reading.measure)
    if reading is not None and any("global_state" in line for line in reading.program):
        used.append(f.implementation.library.state)
    return [line for function in used for line in ("", inspect.getsource(function).rstrip(), "")]


def _given(f: Sampler, drawn: str) -> str:
    """Return the text of an array that is handed over, from the text that draws it."""
    storage, library = f.precision.storage, f.implementation.library
    host = f"np.{storage}" if storage != "bfloat16" else "np.float32"
    text = f"{drawn}.astype({host})"
    if storage == "bfloat16" and library.to_text == NUMPY.to_text:
        text = f"{text}.astype(ml_dtypes.bfloat16)"
    return library.to_text.format(text, dtype=storage)


def _call(f: Sampler, rng: str) -> str:
    """Return the text of one call."""
    first = _given(f, "data(shape, seed)") if f.subject.operands else "shape"
    return f"implementation({', '.join([first, f'rng={rng}', *_keywords(f.options)])})"


def _keywords(options: Mapping[str, Any]) -> list[str]:
    return [f"{k}={v!r}" for k, v in options.items()]


def _draws(f: Sampler, reading: Reading, needed: set[str]) -> list[str]:
    """Return the lines that draw."""
    home = f.implementation.library.back_text.format(_call(f, "rng"))
    lines = [
        "answers = np.array(",
        f"    [[{home} for _ in range({reading.calls})]",
        f"     for rng in map(np.random.default_rng, {reading.seeds})],",
        "    np.float64,",
        ")",
    ]
    lines += ["x = data(shape, seed)"] if "x" in needed else []
    lines += ["gy = data(shape, seed + 1)"] if "gy" in needed else []
    if "gradients" in needed:
        first = ", ".join([_given(f, "data(shape, seed + 1)"), _given(f, "thinned(data(shape, seed))")])
        words = ", ".join([first, "rng=np.random.default_rng(seed)", *_keywords(f.options)])
        lines += [f"found = vjp({words})", "found = found[0] if isinstance(found, (tuple, list)) else found"]
        lines += [f"gradients = np.array({f.implementation.library.back_text.format('found')}, np.float64)"]
    return lines if "answers" in needed else lines[5:]


def _asserted(reading: Reading) -> list[str]:
    """Return the lines that read the statistic and assert its interval."""
    if reading.measure is None:
        return []
    names = [f"{name}={name}" for name in _held_names(reading.measure)]
    words = ", ".join([*names, *_keywords(reading.given)])
    ends = ", ".join(_float(end) for end in (reading.low, reading.high))
    return [
        f"value = {reading.measure.__name__}({words})",
        f"low, high = {ends}  # {_odds(reading)}",
        f'print("{reading.statistic}:", value, "expected between", low, "and", high)',
        "assert np.all((low <= value) & (value <= high))",
    ]


def _filled(f: Sampler, lines: tuple[str, ...]) -> list[str]:
    """Return the lines of a reading that is no statistic, with the texts of a call in them."""
    library = f.implementation.library
    words = {
        "call": _call(f, "np.random.default_rng(seed)"),
        "x": _given(f, "seed") if f.subject.operands else "shape",
        "options": "".join(f", {word}" for word in _keywords(f.options)),
    }
    return [
        line.replace("HOME(answer)", library.back_text.format("answer"))
        .replace("HOME(x)", library.back_text.format("x"))
        .replace("CALL", words["call"])
        .replace("GIVEN", words["x"])
        .replace("OPTIONS", words["options"])
        for line in lines
    ]


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def _odds(reading: Reading) -> str:
    """Return how often a right implementation leaves the interval, and why."""
    often = f"left at most once in {1 / reading.alpha:.2g} runs" if reading.alpha else "never left"
    return f"{often}: {reading.theorem}"
