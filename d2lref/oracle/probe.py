"""Which arithmetic an implementation of a sum of products really uses, read off a few exact calls.

One answer of the op is a dot product x_1 w_1 + ... + x_K w_K. All its terms are set to zero but two or three, whose
exact sum shows whether something was rounded on the way: what comes of (1 + 2^-k) 1 - 1 1 shows the bits of x, for
instance, as far as the accumulator lets them through. The calls are made at real shapes, since
libraries choose their kernels by them. The masks of large numbers among ones are those of Xie, Zhao, Chen and others
2025, FPRev: revealing the order of floating-point summation, USENIX ATC.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

from d2lref.oracle.caller import Caller
from d2lref.oracle.sources import gallery, seeded
from d2lref.rounding import FORMATS, Format, Precision, round_to, spelled, using
from d2lref.spec import Array, Form

Terms = Mapping[int, tuple[float, float]]
DRAWN = 200  # forms among which the longest sum is looked for
MASKS = 4  # of large factors and zeros; some transforms cancel exactly on some
MOST = 4096  # terms of a sum that are looked at


class NoSum(ValueError):
    """The op is no sum of products of two arrays, or has no form with three terms."""


@dataclass(frozen=True, slots=True)
class Dot:
    """An answer of the op as a dot product: where its factors stand in the first two arrays."""

    f: Caller
    form: Form
    at: tuple[int, ...]
    places: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        """Return the number of terms."""
        return len(self.places)

    def zeros(self) -> tuple[Array, Array]:
        """Return zeros for the two arrays."""
        x, w = (np.zeros(shape) for shape in self.form.shapes[:2] if shape is not None)
        return x, w

    def __call__(self, terms: Terms) -> float:
        """Return the answer when the terms have these factors, and all other numbers are zero."""
        x, w = self.zeros()
        for number, (a, b) in terms.items():
            i, j = self.places[number]
            x.flat[i], w.flat[j] = a, b
        rest = [None if s is None else np.zeros(s) for s in self.form.shapes[2:]]
        return float(self.f(x, w, *rest, **self.form.options).value[self.at])


@dataclass(frozen=True, slots=True)
class Probed:
    """What was found. Bits count the significand with its leading one; 0: not even 1 came back.

    operands: bits of the two factors. narrow_range: 2^17 does not survive, as in float16. answer: bits that an answer
    can have. accumulator: the fewest bits of a partial sum, over several places and orders of the terms. rounding:
    "nearest", "truncate", or "" where the accumulator is not seen. subnormals: "kept" or "flushed", "" where factors
    have the range of float16. survivors: how many of so many ones outlive a large number that comes first and goes
    last. leak: what share of large factors comes through where each is multiplied by zero, 0 but for transforms.
    terms: K.
    """

    subject: str
    implementation: str
    storage: str
    terms: int
    operands: tuple[int, int]
    narrow_range: bool
    answer: int
    accumulator: int
    rounding: str
    subnormals: str
    survivors: tuple[int, int]
    leak: float

    def precision(self) -> Precision:
        """Return the arithmetic to claim for it; of a transform, whose sums are others, that it is one."""
        if self.leak:
            return using("fft", self.storage)
        form = FORMATS[self.storage]
        bits, sums = min(self.operands), self.accumulator
        operands = _named(bits, ("bfloat16", "float16" if self.narrow_range else "tf32")) if bits < form.p else None
        usual = "float64" if self.storage == "float64" else "float32"
        accumulate = _named(sums, ("bfloat16", "float16", "float32")) if sums < FORMATS[usual].p else None
        return Precision(
            self.storage,
            operands=operands if operands != self.storage else None,
            accumulate=accumulate,
            rounding=self.rounding or "nearest",
            subnormals=self.subnormals or "kept",
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was found as JSON-able data with schema and version."""
        found = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {"schema": "d2lref-probe", "version": 1, **found, "precision": spelled(self.precision())}

    def __str__(self) -> str:
        """Return what was found, a line each."""
        x, w = self.operands
        kept, ones = self.survivors
        lines = [
            f"{self.subject} {self.implementation} [{self.storage}]: a sum of {self.terms} products",
            f"  operands     {x} and {w} bits{', the range of float16' if self.narrow_range else ''}",
            f"  accumulator  {self.accumulator} bits{f', {WORDS[self.rounding]}' if self.rounding else ''}",
            f"  answer       {self.answer} bits",
            f"  subnormals   {self.subnormals or 'not seen'}",
            f"  order        {kept} of {ones} ones outlive a large number among them",
            f"  algorithm    {_algorithm(self.leak)}",
            f"  to claim     {spelled(self.precision())}",
        ]
        return "\n".join(lines)


WORDS = {"nearest": "rounded to nearest", "truncate": "truncated"}


def _algorithm(leak: float) -> str:
    if not leak:
        return "sums of products"
    return f"a transform: {leak:.2g} of large factors comes through where each is multiplied by zero"


def _named(bits: int, names: Iterable[str]) -> str:
    """Return the narrowest of the formats, the narrowest first, that has so many bits."""
    held = [name for name in names if FORMATS[name].p >= bits]
    return held[0] if held else list(names)[-1]


def probe(f: Caller) -> Probed:
    """Return which arithmetic the implementation uses. Raises NoSum, and what the implementation raises."""
    dot, form = longest(f), f.precision.stored
    bits, narrow = accumulator(dot, form), narrow_range(dot, form)
    return Probed(
        f.op.name,
        f.implementation.name,
        form.name,
        len(dot),
        (operand(dot, form, first=True), operand(dot, form, first=False)),
        narrow,
        answer(dot, form),
        bits,
        rounding(dot, form, bits) if bits >= 2 else "",
        "" if narrow else "kept" if keeps_subnormals(dot, form) else "flushed",
        survivors(dot, form),
        leak(dot, form),
    )


def longest(f: Caller) -> Dot:
    """Return the answer with the most terms among those of the first forms that the implementation supports."""
    if len([o for o in f.op.operands[:2] if o.linear]) < 2 or len(f.op.outputs) > 1:
        raise NoSum(f"{f.op.name}: is no sum of products of two arrays, which is what can be probed")
    forms = [d.form for d in gallery(f.op, 0, f.precision.storage)]
    forms += [f.op.cases(seeded(number)) for number in range(DRAWN)]
    found = [dot for form in forms if f.implementation.supported(f.op, form) and (dot := _dot(f, form)) is not None]
    if not found:
        raise NoSum(f"{f.op.name}: no form that the implementation supports has an answer of three terms")
    return max(found, key=len)


def _dot(f: Caller, form: Form) -> Dot | None:
    """Return the answer with the most terms of a form, None when it has fewer than three."""
    shapes = [s for s in form.shapes[:2] if s is not None]
    if any(not math.prod(s) for s in shapes):
        return None
    rest = [None if s is None else np.zeros(s) for s in form.shapes[2:]]
    counts = f.op.definition(*map(np.ones, shapes), *rest, **form.options)
    if not counts.size or not 3 <= counts.max() <= MOST:
        return None
    at = np.unravel_index(int(counts.argmax()), counts.shape)
    head = np.zeros(counts.shape)
    head[at] = 1.0
    tags = 1.0 + np.arange(math.prod(shapes[1]), dtype=np.float64).reshape(shapes[1])
    partner = f.op.vjp(head, np.ones(shapes[0]), tags, *rest, **form.options)[0].ravel()
    places = tuple((int(i), int(partner[i]) - 1) for i in np.flatnonzero(partner))
    fits = len(places) == counts.max() and len({j for _, j in places}) == len(places)
    return Dot(f, form, tuple(map(int, at)), places) if fits else None


# The probes


def most(holds: Callable[[int], bool], top: int) -> int:
    """Return the largest k <= top for which it holds, -1 when there is none."""
    return next((k for k in range(top, -1, -1) if holds(k)), -1)


def operand(dot: Dot, form: Format, *, first: bool) -> int:
    """Return the bits of a factor: (1 + 2^-k) 1 - 1 1 = 2^-k when 1 + 2^-k is not rounded."""

    def kept(k: int) -> bool:
        odd = (1 + 2.0**-k, 1.0) if first else (1.0, 1 + 2.0**-k)
        return dot({0: odd, 1: (-1.0, 1.0)}) == 2.0**-k

    return 1 + most(kept, form.p - 1)


def answer(dot: Dot, form: Format) -> int:
    """Return the bits of an answer: 1 1 + 2^-k 1 = 1 + 2^-k."""
    return 1 + most(lambda k: dot({0: (1.0, 1.0), 1: (2.0**-k, 1.0)}) == 1 + 2.0**-k, form.p - 1)


def accumulator(dot: Dot, form: Format) -> int:
    """Return the bits of partial sums: B + B 2^-k - B = B 2^-k, the fewest over several places and orders of the terms.

    B is as large as it may be in a narrow format, so that B 2^-k is one of its numbers.
    """
    base, size = _base(form), len(dot)
    spots = {(0, 1, 2), (0, size // 2, size - 1), (size - 3, size - 2, size - 1)}
    orders = [order for three in spots if len(set(three)) == 3 for order in permutations(three)]
    top = min(FORMATS["float64"].p, base - form.emin) - 1

    def holds(order: Sequence[int], k: int) -> bool:
        one, small, back = order
        terms = {one: _power(base), small: _power(base - k), back: _power(base, -1.0)}
        return dot(terms) == 2.0 ** (base - k)

    return min(1 + most(partial(holds, order), top) for order in orders)


def _base(form: Format) -> int:
    """Return the exponent of a number whose parts a narrow format holds too."""
    return min(14, form.emax - 1)


def _power(exponent: int, times: float = 1.0) -> tuple[float, float]:
    """Return two factors whose product is so many times the power of two."""
    return times * 2.0 ** (exponent - exponent // 2), 2.0 ** (exponent // 2)


def rounding(dot: Dot, form: Format, bits: int) -> str:
    """Return how partial sums of so many bits are rounded: B + 3 B 2^-(bits + 1) - B is 0 when they are truncated."""
    base = _base(form)
    found = dot({0: _power(base), 1: _power(base - bits - 1, 3.0), 2: _power(base, -1.0)})
    return "truncate" if found == 0 else "nearest"


def narrow_range(dot: Dot, form: Format) -> bool:
    """Return whether 2^17 2^-14 is lost where the storage format has 2^17, as operands of float16 lose it."""
    return form.emax > 17 and dot({0: (2.0**17, 2.0**-14)}) != 8.0


def keeps_subnormals(dot: Dot, form: Format) -> bool:
    """Return whether a quarter of the smallest normal number comes through, as a factor and as a product."""
    small = 2.0 ** (form.emin - 2)
    return dot({0: (small, 1.0)}) == small == dot({0: _power(form.emin - 2)})


def survivors(dot: Dot, form: Format) -> tuple[int, int]:
    """Return how many of K - 2 ones are still there when a large number comes first and is taken away last."""
    large, size = min(form.p + 6, form.emax - 1), len(dot)
    terms = dict.fromkeys(range(1, size - 1), (1.0, 1.0)) | {0: _power(large), size - 1: _power(large, -1.0)}
    return int(np.nan_to_num(dot(terms))), size - 2


def leak(dot: Dot, form: Format) -> float:
    """Return |y| / B where a random half of the w is B and its x zero, and the rest are the other way about."""
    rng, large = np.random.default_rng(0), 2.0 ** _base(form)
    found = []
    for _ in range(MASKS):
        values, zero = round_to(1 + rng.random(len(dot)), form.name), rng.random(len(dot)) < 1 / 2
        terms = {number: (0.0, large) if zero[number] else (float(a), 0.0) for number, a in enumerate(values)}
        found.append(abs(dot(terms)) / large)
    return max(found)
