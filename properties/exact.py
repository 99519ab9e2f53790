"""What an implementation of a declared precision computes, step by step, in exact rational arithmetic.

Nothing here uses the bounds of `rounding.py`: of a format only its three integers, of a Precision only its fields.
Transforms are computed by a demon, who chooses every rounding error within the standard model.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st

from d2lref.rounding import FORMATS, OPERANDS, PRESETS, Format, Precision

Add = Callable[[Fraction, Fraction], Fraction]
Leaves = Sequence[Fraction]


FLOAT64 = PRESETS["float64"]
DECLARED = (
    *PRESETS.values(),
    Precision(operands="3xtf32"),
    Precision(operands="3xtf32", accumulate="bfloat16"),
    Precision(operands="bfloat16"),
    Precision(operands="float16"),
    Precision(operands="float16", subnormals="flushed"),
    Precision(accumulate="float16"),
    Precision(accumulate="bfloat16"),
    Precision(accumulate="float64"),
    Precision(rounding="truncate"),
    Precision(subnormals="flushed"),
    Precision(rounding="truncate", subnormals="flushed"),
    Precision(operands="3xtf32", subnormals="flushed"),
    Precision("float16", rounding="truncate"),
    Precision("float16", accumulate="bfloat16"),
    Precision("float16", subnormals="flushed"),
    Precision("bfloat16", accumulate="bfloat16", subnormals="flushed"),
    Precision("float64", operands="tf32"),
    Precision("float64", operands="3xtf32"),
    Precision("float64", accumulate="float32"),
    Precision("float64", rounding="truncate", subnormals="flushed"),
)
"""The precisions that the theorems range over."""


class Overflowed(ArithmeticError):
    """A result is beyond the largest number of its format."""


def binade(q: Fraction) -> int:
    """Return e with 2^e <= |q| < 2^(e + 1), for q != 0."""
    size = abs(q)
    e = size.numerator.bit_length() - size.denominator.bit_length()
    return e if size >= Fraction(2) ** e else e - 1


def fl(q: Fraction, form: Format, *, truncate: bool = False, flushed: bool = False) -> Fraction:
    """Return q rounded to nearest, ties to even, or towards zero; a subnormal result is 0 if `flushed`."""
    if q == 0:
        return q
    last = Fraction(2) ** (max(binade(q), form.emin) - form.p + 1)
    rounded = (int(q / last) if truncate else round(q / last)) * last
    if rounded and binade(rounded) > form.emax:
        raise Overflowed
    return Fraction(0) if flushed and abs(rounded) < Fraction(2) ** form.emin else rounded


def in_accumulator(q: Fraction, p: Precision) -> Fraction:
    """Return the result q of an operation as the accumulator of the precision has it."""
    return fl(q, p.accumulator, truncate=p.rounding == "truncate", flushed=p.subnormals == "flushed")


def in_storage(q: Fraction, p: Precision) -> Fraction:
    """Return q as it is stored."""
    return fl(q, p.stored, flushed=p.subnormals == "flushed")


def seeded(seed: int) -> Random:
    """Return a source of choices."""
    return Random(seed)  # noqa: S311 - a search, not a secret


# 1 Sums of products


def sequential(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """One after another."""
    del rng
    return reduce(add, leaves)


def backwards(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """One after another from the last."""
    return sequential(leaves[::-1], add, rng)


def pairwise(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """Both halves, then their sum."""
    if len(leaves) == 1:
        return leaves[0]
    middle = len(leaves) // 2
    return add(pairwise(leaves[:middle], add, rng), pairwise(leaves[middle:], add, rng))


def blocked(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """Sums of three, then the sum of these."""
    return sequential([sequential(leaves[i : i + 3], add, rng) for i in range(0, len(leaves), 3)], add, rng)


def fused_blocks(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """The exact sum of four and of what came before, rounded once: a matrix unit."""
    del rng
    return reduce(add, (sum(leaves[i : i + 4], Fraction(0)) for i in range(0, len(leaves), 4)), Fraction(0))


def any_tree(leaves: Leaves, add: Add, rng: Random) -> Fraction:
    """Any two of what is left, until one is."""
    rest = list(leaves)
    while len(rest) > 1:
        left, right = (rest.pop(rng.randrange(len(rest))) for _ in range(2))
        rest.append(add(left, right))
    return rest[0]


ORDERS = (sequential, backwards, pairwise, blocked, fused_blocks, any_tree)


def operand(x: Fraction, p: Precision) -> list[Fraction]:
    """Return what is multiplied in the place of x: x, x rounded, or hi and lo."""
    flushed = p.subnormals == "flushed"
    if p.operands is None:
        return [x]
    form = FORMATS[OPERANDS[p.operands]]
    high = fl(x, form, flushed=flushed)
    return [high, fl(x - high, form, flushed=flushed)] if p.operands == "3xtf32" else [high]


def accumulate(
    terms: Sequence[tuple[Fraction, ...]],
    p: Precision,
    order: Callable[[Leaves, Add, Random], Fraction] = sequential,
    *,
    fused: bool = False,
    seed: int = 0,
) -> Fraction:
    """Return the stored sum of products (x, w) and addends (b,) as an implementation of the precision computes it.

    fused: products join the sum unrounded. Raises Overflowed.
    """
    flushed = p.subnormals == "flushed"

    def read(q: Fraction) -> Fraction:
        return Fraction(0) if flushed and abs(q) < Fraction(2) ** p.stored.emin else q

    leaves = []
    for factors in terms:
        if len(factors) == 1:
            leaves.append(in_accumulator(read(factors[0]), p))
            continue
        left, right = (operand(read(f), p) for f in factors)
        products = [a * b for i, a in enumerate(left) for j, b in enumerate(right) if i + j < 2]
        leaves += products if fused else [in_accumulator(q, p) for q in products]
    total = order(leaves, lambda a, b: in_accumulator(a + b, p), seeded(seed)) if leaves else Fraction(0)
    return in_storage(in_accumulator(total, p), p)


# 2 Composites


def rational(x: Any) -> Any:
    """Return the array with fractions for its entries."""
    return np.frompyfunc(Fraction, 1, 1)(np.asarray(x, dtype=object))


class Machine:
    """The operations of `rounding.Running` on arrays of fractions, rounded by `fl`, in an order that a seed chooses.

    Quotients are quotients or products with a rounded reciprocal; 1 / sqrt is wrong by `rsqrt` up or down, or not.
    """

    def __init__(self, fl: Callable[[Fraction], Fraction], rsqrt: Fraction, seed: int) -> None:
        """Rounding, relative error of 1 / sqrt, seed."""
        self.rng, self.error = seeded(seed), rsqrt
        self.rounded = np.frompyfunc(fl, 1, 1)

    def add(self, a: Any, b: Any) -> Any:
        """fl(a + b)."""
        return self.rounded(a + b)

    def sub(self, a: Any, b: Any) -> Any:
        """fl(a - b)."""
        return self.rounded(a - b)

    def mul(self, a: Any, b: Any) -> Any:
        """fl(a b)."""
        return self.rounded(a * b)

    def div(self, a: Any, b: Any) -> Any:
        """fl(a / b), or fl(a fl(1 / b))."""
        return self.rounded(a * self.rounded(1 / b) if self.rng.random() < 1 / 2 else a / b)

    def sum(self, a: Any, axis: int) -> Any:
        """The sum of a one-dimensional array in some order, as an array of shape (1,)."""
        assert axis == 0
        return rational([self.rng.choice(ORDERS)(list(a), self.add, self.rng)])

    def mean(self, a: Any, axis: int) -> Any:
        """The sum over the count."""
        return self.div(self.sum(a, axis), Fraction(len(a)))

    def rsqrt(self, a: Any) -> Any:
        """1 / sqrt(a) times 1, 1 + rsqrt or 1 - rsqrt."""
        return np.frompyfunc(lambda q: root(q) * (1 + self.rng.choice((0, 1, -1)) * self.error), 1, 1)(a)


def root(q: Fraction) -> Fraction:
    """Return 1 / sqrt(q) to a relative error of 2^-200."""
    return Fraction(math.isqrt(q.numerator * q.denominator << 400), q.numerator << 200)


# 3 Transforms


def circular(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Return the circular convolution of two arrays of one shape in fractions: sum over j of x[j] w[k - j]."""
    axes = tuple(range(x.ndim))
    left, right = rational(x), rational(w)
    spots = np.argwhere(x != 0)
    return sum((left[tuple(j)] * np.roll(right, j, axes) for j in spots), np.zeros(x.shape, dtype=object))


class Demon:
    """The standard model: every operation returns v (1 + delta), each with its own delta, for many choices at once."""

    def __init__(self, delta: np.ndarray | None = None) -> None:
        """`delta` has a row for every choice and a column for every operation; None is no error, and counts them."""
        self.delta, self.operations = delta, 0

    def __call__(self, v: Any) -> Any:
        """Return v (1 + delta)."""
        self.operations += 1
        return v if self.delta is None else v * (1 + self.delta[:, self.operations - 1])

    def times(self, a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return the product of two complex numbers (real, imaginary)."""
        return self(self(a[0] * b[0]) - self(a[1] * b[1])), self(self(a[0] * b[1]) + self(a[1] * b[0]))

    def plus(self, a: tuple[Any, Any], b: tuple[Any, Any], sign: int = 1) -> tuple[Any, Any]:
        """Return a + sign b."""
        return self(a[0] + sign * b[0]), self(a[1] + sign * b[1])

    def transform(self, x: list[tuple[Any, Any]], sign: int) -> list[tuple[Any, Any]]:
        """Return the sums over j of x[j] exp(sign 2 pi i j k / n), by the Cooley-Tukey algorithm of radix 2."""
        n = len(x)
        if n == 1:
            return x
        even, odd = self.transform(x[::2], sign), self.transform(x[1::2], sign)
        for k in range(1, n // 2):
            angle = sign * 2 * math.pi * k / n
            turned = (-sign * odd[k][1], sign * odd[k][0])  # a quarter of a turn is exact
            odd[k] = turned if 4 * k == n else self.times(odd[k], (self(math.cos(angle)), self(math.sin(angle))))
        pairs = list(zip(even, odd, strict=True))
        return [self.plus(a, b) for a, b in pairs] + [self.plus(a, b, -1) for a, b in pairs]

    def convolution(self, xs: np.ndarray, ws: np.ndarray) -> np.ndarray:
        """Return the circular convolution summed over channels, shape (n, choices)."""
        total: list[tuple[Any, Any]] = []
        for x, w in zip(xs, ws, strict=True):
            left, right = (self.transform([(np.full(1, v), np.zeros(1)) for v in a], -1) for a in (x, w))
            parts = [self.times(a, b) for a, b in zip(left, right, strict=True)]
            total = [self.plus(a, b) for a, b in zip(total, parts, strict=True)] if total else parts
        return np.array([real / len(total) for real, _ in self.transform(total, 1)])


def worst_transforms(xs: np.ndarray, ws: np.ndarray, u: float) -> np.ndarray:
    """Return the largest error of each element of a convolution by transforms that the demon finds with |delta| <= u.

    The sign of each delta is that of the derivative of the element, so that all errors add up.
    """
    count = Demon()
    exact, step = count.convolution(xs, ws), 2.0**-20
    moved = Demon(step * np.eye(count.operations)).convolution(xs, ws)
    return np.abs(np.diagonal(Demon(u * np.sign(moved - exact)).convolution(xs, ws) - exact))


# 4 What the theorems are asked


def numbers(form: Format, low: int, high: int) -> st.SearchStrategy[float]:
    """Numbers of the format below 2^(high + 1), multiples of the last place at `low`: short, full, random significands.

    Shrinks towards small integers times 2^low.
    """
    low, high = (min(max(e, form.emin), form.emax) for e in (low, high))
    full = 2**form.p - 1
    digits = st.sampled_from((1, 3, full, full // 2 + 2, full - 1, full // 2)) | st.integers(0, full)
    return st.builds(
        lambda sign, n, e: sign * math.ldexp(n, e - form.p + 1),
        st.sampled_from((1, -1)),
        digits,
        st.integers(low, high),
    )


def nearest(q: Fraction) -> float:
    """Return q in float64, infinite beyond."""
    try:
        return float(q)
    except OverflowError:
        return math.inf if q > 0 else -math.inf


def ratio(difference: Fraction, bound: float) -> float:
    """|difference| / bound, 0 where the bound is infinite or nothing differs."""
    if difference == 0 or math.isinf(bound):
        return 0.0
    return nearest(abs(difference) / Fraction(bound)) if bound else math.inf


def scaled(name: str, factor: float) -> Any:
    """Return the property of Precision times a factor."""
    right = vars(Precision)[name].func
    return property(lambda p: factor * right(p))
