"""What an implementation of a declared precision computes, step by step, in exact rational arithmetic.

Nothing here uses the bounds of `rounding.py`: of a format only its three integers, of a Precision only its fields.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from random import Random
from typing import Any

import numpy as np
from mpmath import mp, mpf

from d2lref.rounding import FORMATS, OPERANDS, Format, Precision

Add = Callable[[Fraction, Fraction], Fraction]
Leaves = Sequence[Fraction]


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
    total = order(leaves, lambda a, b: in_accumulator(a + b, p), Random(seed)) if leaves else Fraction(0)
    return in_storage(in_accumulator(total, p), p)


# 2 Composites


def rational(x: Any) -> Any:
    """Return the array with fractions for its entries."""
    return np.frompyfunc(Fraction, 1, 1)(np.asarray(x, dtype=object))


class Machine:
    """The operations of `rounding.Running` on arrays of fractions, rounded by `fl`, in an order that a seed chooses.

    Divisions are divisions or products with a rounded reciprocal; 1 / sqrt is off by up to `ulps` in either direction.
    """

    def __init__(self, fl: Callable[[Fraction], Fraction], ulps: Fraction, seed: int) -> None:
        """`ulps` is the relative error of 1 / sqrt."""
        self.fl, self.ulps, self.rng = fl, ulps, Random(seed)
        self.vector = np.frompyfunc(fl, 1, 1)

    def add(self, a: Any, b: Any) -> Any:
        """fl(a + b)."""
        return self.vector(a + b)

    def sub(self, a: Any, b: Any) -> Any:
        """fl(a - b)."""
        return self.vector(a - b)

    def mul(self, a: Any, b: Any) -> Any:
        """fl(a b)."""
        return self.vector(a * b)

    def div(self, a: Any, b: Any) -> Any:
        """fl(a / b), or fl(a fl(1 / b))."""
        return self.vector(a / b) if self.rng.random() < 1 / 2 else self.vector(a * self.vector(1 / b))

    def sum(self, a: Any, axis: int) -> Any:
        """The sum along an axis in any order."""
        order = self.rng.choice(ORDERS)
        return np.apply_along_axis(lambda leaves: order(list(leaves), self.add, self.rng), axis, a)[None]

    def mean(self, a: Any, axis: int) -> Any:
        """The sum over the count."""
        return self.div(self.sum(a, axis), Fraction(a.shape[axis]))

    def rsqrt(self, a: Any) -> Any:
        """1 / sqrt(a) (1 + t), |t| at most the declared error."""
        return np.frompyfunc(lambda q: root(q) * (1 + self.ulps * self.rng.choice((-1, 0, 1))), 1, 1)(a)


def root(q: Fraction) -> Fraction:
    """Return 1 / sqrt(q) to 200 bits."""
    with mp.workprec(200):
        value = 1 / mp.sqrt(mpf(q.numerator) / q.denominator)
        sign, mantissa, exponent, _ = value._mpf_  # noqa: SLF001 - mpmath's own way to the exact number
    return Fraction((-1) ** sign * int(mantissa)) * Fraction(2) ** exponent
