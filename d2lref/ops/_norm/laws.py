"""What holds of everything that is normalised with its own mean and variance, or with its mean square.

Laws with an expected answer ask about one row of values alone, without weight and bias, so that a mistake about which
values belong together is the business of the laws on rows. Where a law adds up something that is zero, it compares one
half with the other: a sum whose bound is as large as itself would decide nothing. Laws on gradients compare gradients
with each other, so that a mistake in the answer is not theirs to see.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lref.rounding import Pair, claim
from d2lref.spec import Array, Case, Claim, Law, Shape

LATTICE = frozenset({"lattice_small", "ties"})
"""Regimes of integers so small that their products are on every grid."""

HIDING = frozenset({"cancelling", "large_mean", "positive"})
"""Regimes of rows whose mean is large beside what they differ by."""

# 1 How an op is asked


@dataclass(frozen=True, slots=True)
class Asked:
    """How an op is asked about one row of n values alone, and where its weight stands.

    row(a, case) are the entries of the first row of an array like x; shape(case, n) and options(case, n) make a call of
    n of its values, weights(case, n) is the shape of their weight. beside(a, case) has a weight stand beside x and
    over(case) are the axes of x along which it is one number. state counts the arrays between x and the weight, and the
    answers behind y.
    """

    row: Callable[[Array, Case], Array]
    shape: Callable[[Case, int], Shape]
    options: Callable[[Case, int], Mapping[str, Any]]
    weights: Callable[[Case, int], Shape]
    beside: Callable[[Array, Case], Array]
    over: Callable[[Case], tuple[int, ...]]
    state: int = 0

    def values(self, case: Case) -> Array:
        """Return the values of the first row, (n,)."""
        return np.ravel(self.row(case.arrays[0], case))

    def eps(self, case: Case) -> float:
        """Return the eps of the call."""
        eps: float = self.options(case, self.values(case).size)["eps"]
        return eps

    def answer(self, f: Any, case: Case, values: Array) -> Pair:
        """Return the answer to a row alone, (n,)."""
        y = f(np.reshape(values, self.shape(case, values.size)), **self.options(case, values.size))
        return (y[0] if self.state else y).map(np.ravel)

    def gradients(self, f: Any, case: Case, values: Array, gy: Array) -> tuple[Pair, Pair]:
        """Return dx and dw for a row alone under a weight of ones, flat."""
        n, shape = values.size, self.shape(case, values.size)
        weight = np.ones(self.weights(case, n))
        found = self.vjp(f, np.reshape(gy, shape), np.reshape(values, shape), weight, **self.options(case, n))
        return found[0].map(np.ravel), found[1].map(np.ravel)

    def whole(self, f: Any, x: Array, *affine: Array | None, **options: Any) -> Pair:
        """Return y for x, weight and bias; what lies between is absent."""
        y = f(x, *(None,) * self.state, *affine, **options)
        return y[0] if self.state else y

    def vjp(self, f: Any, gy: Array, x: Array, *affine: Array | None, **options: Any) -> tuple[Any, ...]:
        """Return (dx, dw, db); dw and db only for the arrays that are given."""
        found = f.vjp((gy, *(None,) * self.state) if self.state else gy, x, *(None,) * self.state, *affine, **options)
        return (found[0], *found[1 + self.state :])

    def affine(self, case: Case) -> tuple[Any, ...]:
        """Return weight, and bias where the op has one."""
        return case.arrays[1 + self.state :]


def filled(case: Case) -> bool:
    """Return whether x has any value."""
    return case.arrays[0].size > 0


def power(x: Array) -> float:
    """2^-k with |x| < 2^k, k from -256 to 256: a multiplication by it is exact, and keeps squares finite."""
    k = int(np.frexp(np.max(np.abs(x), initial=0.0))[1])
    return 2.0 ** -min(max(k, -256), 256)


def _from_the_middle(x: Array, *, centred: bool) -> Pair:
    """Return n x - sum of x, which is n (x - m), for (n,); not centred: n x."""
    scaled = Pair.exact(x) * float(x.size)
    return scaled - Pair.exact(x).sum() if centred else scaled


# 2 The answer


def variance(asked: Asked, *, centred: bool = True) -> Callable[[Any, Case], Claim]:
    """Sum of y^2 (Q + n^3 eps) = n Q, where Q = sum of (n x - sum of x)^2 = n^3 v; scaled by powers of two.

    Of sums about 0, so that a mean that was not taken away counts as well. Not centred: with Q = sum of (n x)^2.
    """

    def holds(f: Any, case: Case) -> Claim:
        x = asked.values(case)
        y = asked.answer(f, case, x)
        n, down = float(x.size), power(x)
        z = _from_the_middle(x, centred=centred) * down
        spread = (z * z).sum()
        eps = Pair.exact(asked.eps(case)) * n**3 * down * down
        return claim((y * y).sum() * (spread + eps), spread * n)

    return holds


def affine_once(asked: Asked) -> Callable[[Any, Case], Claim]:
    """f(x, w, b) = f(x) w + b."""

    def holds(f: Any, case: Case) -> Claim:
        x, (weight, *rest) = case.arrays[0], asked.affine(case)
        y = asked.whole(f, x, **case.options)
        y = y if weight is None else y * asked.beside(weight, case)
        bias = rest[0] if rest else None
        y = y if bias is None else y + asked.beside(bias, case)
        return claim(asked.whole(f, x, weight, *rest, **case.options), y)

    return holds


# 3 The gradients


def gradient_adds_to_nothing(asked: Asked) -> Callable[[Any, Case], Claim]:
    """Sum of dx = 0."""

    def holds(f: Any, case: Case) -> Claim:
        dx, _ = asked.gradients(f, case, asked.values(case), np.ravel(asked.row(case.cotangents[0], case)))
        half = dx.value.size // 2
        return claim(dx[:half].sum(), -dx[half:].sum())

    return holds


def _twins(asked: Asked, f: Any, case: Case) -> tuple[Pair, Pair, Pair, Array]:
    """Return (dx of the first, dx of the second, dw, x) for a row twice over, with a cotangent on the first.

    The row of both has the mean and the variance of one.
    """
    x, gy = asked.values(case), np.ravel(asked.row(case.cotangents[0], case))
    dx, dw = asked.gradients(f, case, np.concatenate([x, x]), np.concatenate([gy, np.zeros_like(gy)]))
    return dx[: x.size], dx[x.size :], dw, x


def gradient_is_orthogonal(asked: Asked, *, centred: bool = True) -> Callable[[Any, Case], Claim]:
    """v sum of a d = -(v + 2 eps) sum of b d for the gradients a and b of twins, d = x - m.

    With k the mean of gy x̂ over the row once, sum of b d = -n k v r^2 / 2 and sum of a d = n k + sum of b d;
    1 / r^2 = v + eps does the rest. Without eps dx would be orthogonal to d. Scaled by powers of two. Not centred: with
    x for d and the mean square for v.
    """

    def holds(f: Any, case: Case) -> Claim:
        first, second, _, x = _twins(asked, f, case)
        n, down = float(x.size), power(x)
        less = power(np.concatenate([first.value, second.value]))
        z = _from_the_middle(x, centred=centred) * down
        spread = (z * z).sum()
        eps = Pair.exact(asked.eps(case)) * (2 * n**3) * down * down
        along, across = (first * less * z).sum(), (second * less * z).sum()
        return claim(spread * along, -((spread + eps) * across))

    return holds


def gradients_share_a_scale(asked: Asked, *, centred: bool = True) -> Callable[[Any, Case], Claim]:
    """Sum of (a - b) d = sum of dw for twins: a - b = r gy, and dw adds up to r sum of gy d. Not centred: x for d."""

    def holds(f: Any, case: Case) -> Claim:
        first, second, dw, x = _twins(asked, f, case)
        n = float(x.size)
        z = _from_the_middle(x, centred=centred)
        return claim(((first - second) * z).sum(), dw.sum() * n)

    return holds


def weight_meets_the_cotangent(asked: Asked) -> Callable[[Any, Case], Claim]:
    """dx for gy and w is dx for gy w and no weight."""

    def holds(f: Any, case: Case) -> Claim:
        x, gy, weight = case.arrays[0], case.cotangents[0], asked.affine(case)[0]
        dx = asked.vjp(f, gy, x, weight, **case.options)[0]
        return claim(dx, asked.vjp(f, gy * asked.beside(weight, case), x, **case.options)[0])

    return holds


def weight_gradient_adds(asked: Asked, parts: Callable[[Array, Case], list[Array]]) -> Callable[[Any, Case], Claim]:
    """dw = dw of the first rows + dw of the rest; parts(a, case) are the two."""

    def holds(f: Any, case: Case) -> Claim:
        x, gy, weight = case.arrays[0], case.cotangents[0], asked.affine(case)[0]
        every = asked.vjp(f, gy, x, weight, **case.options)[1]
        halves = zip(parts(gy, case), parts(x, case), strict=True)
        one, two = (asked.vjp(f, g, a, weight, **case.options)[1] for g, a in halves)
        return claim(every, one + two)

    return holds


def bias_gradient_adds(asked: Asked) -> Callable[[Any, Case], Claim]:
    """db = sum of gy."""

    def holds(f: Any, case: Case) -> Claim:
        weight, bias = asked.affine(case)
        gy = case.cotangents[0]
        db = asked.vjp(f, gy, case.arrays[0], weight, bias, **case.options)[2]
        return claim(db, Pair.exact(gy).sum(axis=asked.over(case)).map(lambda a: np.reshape(a, bias.shape)))

    return holds


# 4 The laws of a family


def own_laws(asked: Asked, row: str, when: Callable[[Case], bool] = filled) -> tuple[Law, ...]:
    """Return the laws on one row, a word for what shares a mean; `when` says which cases have one of their own.

    Those on the gradient of x speak of rows whose values differ, by more than their mean hides and than eps: where a
    mean is rounded to half x - m is noise, and beside a larger eps nothing is left of v. dx of two values is 0 but for
    eps, for it has nothing along 1 and x - m; it adds up to nothing, or to rounding errors, and says no more.
    """

    def several(case: Case) -> bool:
        apart = when(case) and case.regime not in HIDING
        return apart and bool(np.ptp(asked.values(case)) > np.sqrt(asked.eps(case)))

    def more(case: Case) -> bool:
        return several(case) and asked.values(case).size > 2

    return (
        Law(f"{row} comes to have mean 0 and variance v / (v + eps)", variance(asked), when),
        affine_law(asked, when),
        Law(f"the gradient of x adds up to nothing in {row}", gradient_adds_to_nothing(asked), more, vjp=True),
        Law("the gradient of x is orthogonal to x up to eps", gradient_is_orthogonal(asked), several, vjp=True),
        Law("the gradients of x and of the weight have one scale", gradients_share_a_scale(asked), several, vjp=True),
        cotangent_law(asked, when),
        Law(
            "the gradient of the bias is a sum of cotangents",
            bias_gradient_adds(asked),
            having(asked, 1, when),
            vjp=True,
        ),
    )


def affine_law(asked: Asked, when: Callable[[Case], bool]) -> Law:
    """Return the law on weight and bias."""
    present = lambda case: when(case) and any(a is not None for a in asked.affine(case))  # noqa: E731 - a condition
    return Law("weight and bias enter once, behind the normalisation", affine_once(asked), present)


def cotangent_law(asked: Asked, when: Callable[[Case], bool]) -> Law:
    """Return the law on the weight in the gradient of x."""
    weighted = having(asked, 0, when)
    exact = lambda case: weighted(case) and case.regime in LATTICE  # noqa: E731 - a condition
    return Law("the weight meets the cotangent on its way to x", weight_meets_the_cotangent(asked), exact, vjp=True)


def having(asked: Asked, place: int, when: Callable[[Case], bool] = lambda case: True) -> Callable[[Case], bool]:
    """Return a condition: the case has a weight (place 0) or a bias (place 1)."""
    return lambda case: when(case) and asked.affine(case)[place] is not None
