"""What the activations share: one array of any shape, entry by entry, and laws that speak about parts of the line.

Every law looks at the entries of a case that lie in its part, as one image, so that a mistake that mixes images is the
business of the law on images. Parts do not overlap: what is wrong on one of them is caught by its own law alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.rounding import HOST, PRESETS, Pair, Precision, Running, claim, round_to, store_bound
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Shape

Part = Callable[..., np.ndarray]
"""part(x, **options): which entries are meant."""

REGIMES = (
    "lattice_small",
    "normal",
    "wide_range",
    "subnormal",
    "large_mean",
    "ties",
    "saturating",
    "signed_zero",
    "nonfinite",
)
REAL = Running(PRESETS["float64"])
"""The judge's own arithmetic, for formulas with elementary functions."""

# 1 Shape and cases


def shape(x: Shape, **_options: Any) -> tuple[Shape]:
    """Return (x,): every shape fits."""
    return (tuple(x),)


def sizes(draw: Draw) -> Shape:
    """Draw one to four sizes, now and then no image; shrinks to a single number."""
    found = list(draw.sizes(*(1,) * draw.choice(1, 2, 3, 4)))
    if draw.integer(0, 31) == 31:
        found[0] = 0
    return tuple(found)


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes; shrinks to a single number."""
    return Form((sizes(draw),), {})


# 2 Bounds


def either(first: Pair, *others: Pair) -> Pair:
    """Return the first value with the largest error: an implementation may use any of several formulas."""
    error = first.error
    for pair in others:
        error = np.maximum(error, pair.error + np.abs(pair.value - first.value))
    return Pair(first.value, error)


def at_limit(run: Running, pair: Pair, limit: Array, tail: Array) -> Pair:
    """Return the pair, `limit` within `tail` where the tail is below u / 64: what rounds to a limit is the limit.

    A float64 reference comes as near as its own rounding lets it, and is the limit as well once the tail is below that.
    """
    known, own = np.asarray(tail) < run.p.accumulator.u / 64, np.asarray(tail) >= HOST.u / 4
    error = tail + np.where(own, 4 * HOST.u * np.abs(limit), 0.0)
    return Pair(np.where(known, limit, pair.value), np.where(known, error, pair.error))


def may_vanish(run: Running, pair: Pair) -> Pair:
    """Return the pair with 0 within its error where the value is below 4 nmin: its reciprocal may have overflowed."""
    size = np.abs(pair.value)
    return Pair(pair.value, np.where(size < 4 * run.p.accumulator.nmin, np.maximum(pair.error, size), pair.error))


FAR = 2.0**10
"""A number at which each of these functions has reached its limit, or has the slope that it has at infinity."""


def _within_reach(x: Array) -> np.ndarray:
    """Return x with FAR for infinity, and 0 for NaN."""
    return np.where(np.isnan(x), 0.0, np.where(np.isinf(x), np.copysign(FAR, x), x))


def stored(run: Running, pair: Pair) -> np.ndarray:
    """Return the bound of an answer: the pair's error after the store, which changes no number of the format."""
    exact = round_to(pair.value, run.p.storage) == pair.value
    return store_bound(pair.error, pair.value, run.p, exact=exact)


def answered(
    answer: Callable[..., Pair], p: Precision, x: Array, *, at_infinity: Array = np.nan, **options: Any
) -> np.ndarray:
    """Return the bound of answer(run, x, **options), at infinity that of its limit; NaN must stay NaN.

    at_infinity: what to return where x is infinite instead, 0 for an answer that must be infinite, NaN for the limit.
    Where subnormals are flushed, one in x counts as zero.
    """
    run = Running(p)
    with np.errstate(all="ignore"):
        error = stored(run, answer(run, given(p, _within_reach(x)), **options))
    error = np.where(np.isinf(x) & ~np.isnan(at_infinity), at_infinity, error)
    return np.where(np.isnan(x), 0.0, error)


def gradient(
    slope: Callable[..., Pair], p: Precision, gy: Array, x: Array, *, at_infinity: Array = np.nan, **options: Any
) -> np.ndarray:
    """Return the bound of gy slope(run, x, **options), at infinity that of the slope there, or `at_infinity`.

    Infinite where x is NaN: a gradient there may be anything. A slope of exactly 0 or 1 selects and computes nothing.
    Products may be taken in any order: each of at most four may lose `tiny`, times the factors that are still to come,
    none above 1 + |x| nor, since the rest vanishes beyond, 2^10.
    """
    run, near = Running(p), _within_reach(x)
    with np.errstate(all="ignore"):
        g, s = given(p, gy), slope(run, given(p, near), **options)
        dx = run.mul(g, s)
        lost = 4 * p.tiny * (1 + np.minimum(np.abs(near), FAR)) * (1 + np.abs(gy))
        error = stored(run, Pair(dx.value, dx.error + lost))
        selected = (s.error == 0) & ((s.value == 0) | (s.value == 1))
        error = np.where(selected, g.error * s.value, error)
    error = np.where(np.isinf(x) & ~np.isnan(at_infinity), at_infinity, error)
    return np.where(np.isnan(x), np.inf, error)


# 3 Laws


def chosen(part: Part, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of x in the part, and those of the cotangent, both (1, count)."""
    x, gy = case.arrays[0], case.cotangents[0]
    with np.errstate(invalid="ignore"):
        mask = part(x, **case.options)
    return x[mask].reshape(1, -1), gy[mask].reshape(1, -1)


def law(says: str, part: Part, holds: Callable[..., Claim], when: Callable[[Case], bool] | None = None) -> Law:
    """Return the law holds(f, x, **options) about the entries of a part."""
    return Law(
        says,
        lambda f, case: holds(f, chosen(part, case)[0], **case.options),
        lambda case: chosen(part, case)[0].size > 0 and (when is None or when(case)),
    )


def vjp_law(says: str, part: Part, holds: Callable[..., Claim], when: Callable[[Case], bool] | None = None) -> Law:
    """Return the law holds(dx, gy, x, **options) about the gradients at the entries of a part."""

    def held(f: Any, case: Case) -> Claim:
        x, gy = chosen(part, case)
        return holds(f.vjp(gy, x, **case.options)[0], gy, x, **case.options)

    return Law(says, held, lambda case: chosen(part, case)[0].size > 0 and (when is None or when(case)), vjp=True)


def between(low: float, high: float) -> Part:
    """low <= x <= high."""
    return lambda x, **_: (low <= x) & (x <= high)


def within(size: float) -> Part:
    """|x| <= size."""
    return between(-size, size)


def beyond(size: float) -> Part:
    """|x| > size."""
    return lambda x, **_: np.abs(x) > size


NAN: Part = lambda x, **_: np.isnan(x)  # noqa: E731 - a part like those above


def exp(x: Array | Pair) -> Pair:
    """e^x by the judge's own arithmetic."""
    return REAL.apply("exp", x if isinstance(x, Pair) else Pair.exact(x))


def keeps_nan() -> Law:
    """NaN stays NaN."""
    return law("NaN stays NaN", NAN, lambda f, x, **options: claim(f(x, **options), x))


def far_out(start: float, tail: Callable[[np.ndarray], np.ndarray]) -> Law:
    """Beyond `start` it is x or 0: no farther from the nearer of both than tail(|x|)."""

    def holds(f: Any, x: Array, **options: Any) -> Claim:
        y = f(x, **options)
        nearer = np.where(np.abs(y.value) < np.abs(x) / 2, 0.0, x)
        return Claim(y.value, nearer, y.error + np.where(np.isinf(x), 0.0, tail(np.abs(x))))

    return law("far out it is x or 0", lambda x, **_: (np.abs(x) > start) & (x != -np.inf), holds)


def maximum_deaf_to_nan(definition: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function of max(x, lowest number) by a maximum that ignores NaN."""
    return lambda x, **options: definition(np.fmax(x, np.finfo(x.dtype).min), **options)
