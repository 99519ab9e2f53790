"""Laws of losses of a distance. Each asks for the reductions that it speaks about, whatever the case has."""

from typing import Any

import numpy as np

from d2lref.rounding import Pair, claim, concat
from d2lref.spec import Case, Claim, Law

# 1 Of every loss of a distance, and of every loss that is reduced


def options(case: Case, reduction: str) -> dict[str, Any]:
    """Return the options of the case with another reduction."""
    return {**case.options, "reduction": reduction}


def losses_shape(f: Any, case: Case) -> tuple[int, ...]:
    """Return the shape of the losses before they are reduced."""
    shapes = (None if a is None else a.shape for a in case.arrays)
    return tuple(f.op.shape(*shapes, **options(case, "none"))[0])


def some_losses(f: Any, case: Case) -> np.ndarray:
    """Return small integers in the shape of the losses: cotangents of them."""
    return np.random.default_rng(case.seed).integers(-3, 4, losses_shape(f, case)).astype(np.float64)


def _adds(f: Any, case: Case) -> Claim:
    return claim(f(*case.arrays, **options(case, "sum")), f(*case.arrays, **options(case, "none")).sum())


def _averages(f: Any, case: Case) -> Claim:
    n = float(max(np.prod(losses_shape(f, case), dtype=int), 1))
    return claim(f(*case.arrays, **options(case, "mean")) * n, f(*case.arrays, **options(case, "none")).sum())


def _alone(f: Any, case: Case) -> Claim:
    """The losses of one half of the entries, asked for alone, are those among all, moved to another place."""
    flat = [a.ravel() for a in case.arrays]
    order = np.random.default_rng(case.seed).permutation(flat[0].size)[: (flat[0].size + 1) // 2]
    whole = f(*case.arrays, **options(case, "none")).map(np.ravel)
    return claim(f(*(a[order] for a in flat), **options(case, "none")), whole[order])


def _shared(f: Any, case: Case) -> Claim:
    """A scalar cotangent counts for every loss of a mean by n less than for one of a sum."""
    n = float(max(np.prod(losses_shape(f, case), dtype=int), 1))
    one = np.asarray(1.0)
    mean = f.vjp(one, *case.arrays, **options(case, "mean"))[0]
    return claim(mean * n, f.vjp(one, *case.arrays, **options(case, "sum"))[0])


def _each(f: Any, case: Case) -> Claim:
    """With none, every loss has a cotangent of its own; negated, it negates the gradient of its place alone."""
    gy = some_losses(f, case)
    flip = np.where(np.random.default_rng(case.seed + 1).random(gy.shape) < 1 / 2, -1.0, 1.0)
    here = f.vjp(gy, *case.arrays, **options(case, "none"))[0]
    return claim(f.vjp(gy * flip, *case.arrays, **options(case, "none"))[0], here * flip)


def _opposite(f: Any, case: Case) -> Claim:
    dx, dt = f.vjp(np.asarray(1.0), *case.arrays, **options(case, "sum"))
    return claim(dt, -dx)


ADDS = "a sum adds up the losses"
AVERAGES = "a mean is the sum of the losses over their count"
ALONE = "an entry does not see the others"
SHARED = "the gradient of a mean is that of the sum over the count"
EACH = "the cotangent of a loss counts for its own place"
OPPOSITE = "the gradient of the target is minus that of the input"


def _filled(case: Case) -> bool:
    return case.arrays[0].size > 0


REDUCED = (Law(ADDS, _adds), Law(AVERAGES, _averages, when=_filled))
SPREAD = (Law(SHARED, _shared, vjp=True), Law(EACH, _each, vjp=True))
COMMON = (
    *REDUCED,
    Law(ALONE, _alone),
    *SPREAD,
    Law(OPPOSITE, _opposite, vjp=True),
)

# 2 Of the square


def _parallelogram(f: Any, case: Case) -> Claim:
    a, b = case.arrays
    none = options(case, "none")
    left = f(a, b, **none) + f(a, -b, **none)
    nothing = np.zeros_like(a)
    return claim(left, (f(a, nothing, **none) + f(b, nothing, **none)) * 2.0)


def _unit(f: Any, case: Case) -> Claim:
    one, nothing, none = np.ones_like(case.arrays[0]), np.zeros_like(case.arrays[0]), options(case, "none")
    return claim(concat([f(one, nothing, **none), f(nothing, one, **none)], 0), np.concatenate([one, one]))


def _twice_the_distance(f: Any, case: Case) -> Claim:
    x, target = case.arrays
    dx = f.vjp(np.asarray(1.0), x, target, **options(case, "sum"))[0]
    return claim(dx, (Pair.exact(x) - target) * 2.0)


PARALLELOGRAM = "the losses of sum and difference are twice those of both (the parallelogram)"
UNIT = "a distance of one costs one"
TWICE = "the gradient of a sum is twice the distance"
SQUARE = (
    Law(PARALLELOGRAM, _parallelogram),
    Law(UNIT, _unit),
    *COMMON,
    Law(TWICE, _twice_the_distance, vjp=True),
)

# 3 Of the size


def _homogeneous(f: Any, case: Case) -> Claim:
    none = options(case, "none")
    return claim(f(*(a / 2 for a in _even(case)), **none) * 2.0, f(*_even(case), **none))


def _even(case: Case) -> tuple[np.ndarray, ...]:
    """Return the arrays of small integers, all even: so many halves and doubles of them every format holds."""
    rng = np.random.default_rng(case.seed)
    return tuple(2.0 * rng.integers(-9, 10, a.shape) for a in case.arrays)


def _apart(case: Case, least: float) -> np.ndarray:
    """Return which places lie farther apart than `least`."""
    x, target = case.arrays
    return np.abs(x - target) > least


def _side(f: Any, case: Case) -> Claim:
    x, target = case.arrays
    far = _apart(case, case.options.get("beta", 0.0))
    dx = f.vjp(np.asarray(1.0), x, target, **options(case, "sum"))[0]
    return claim(dx[far], np.where(x > target, 1.0, -1.0)[far])


def _at_zero(f: Any, case: Case) -> Claim:
    """Where input and target are equal the gradient lies between minus and plus the cotangent."""
    x, gy = case.arrays[0], some_losses(f, case)
    found = f.vjp(gy, x, x, **options(case, "none"))[0].value
    return Claim(found, np.fmin(np.fmax(found, -np.abs(gy)), np.abs(gy)))  # fmin, and not clip: a NaN must differ


HOMOGENEOUS = "twice the distance costs twice"
SIDE = "the gradient of a sum is the side on which the input lies"
AT_ZERO = "the gradient at no distance lies between minus and plus the cotangent"
SIZE = (
    Law(HOMOGENEOUS, _homogeneous),
    Law(UNIT, _unit),
    *COMMON,
    Law(SIDE, _side, vjp=True),
    Law(AT_ZERO, _at_zero, vjp=True),
)

# 4 Of the two joined


def _steps(case: Case) -> np.ndarray:
    """Return one distance m beta / 4 within beta, on either side, for every place of the input."""
    m = np.random.default_rng(case.seed).integers(-4, 5)
    return np.full(case.arrays[0].shape, m * (case.options["beta"] / 4))


def _within(f: Any, case: Case) -> Claim:
    d = _steps(case)
    return claim(f(d, np.zeros_like(d), **options(case, "none")), d * d / (2 * case.options["beta"]))


def _beyond(f: Any, case: Case) -> Claim:
    """Beyond beta the distance loses half of it: at beta + m / 4 on either side, the same for every place."""
    beta, m = case.options["beta"], np.random.default_rng(case.seed).integers(-9, 10)
    d = np.full(case.arrays[0].shape, (beta + abs(m) / 4) * (1 if m > 0 else -1))
    return claim(f(d, np.zeros_like(d), **options(case, "none")), np.abs(d) - beta / 2)


def _over_beta(f: Any, case: Case) -> Claim:
    d = _steps(case)
    dx = f.vjp(np.asarray(1.0), d, np.zeros_like(d), **options(case, "sum"))[0]
    return claim(dx * case.options["beta"], d)


def _bent(case: Case) -> bool:
    return bool(case.options["beta"] > 0)


WITHIN = "within beta the loss is the square over twice beta"
BEYOND = "beyond beta the loss is half of it less than the distance"
OVER_BETA = "within beta the gradient of a sum is the distance over beta"
BEYOND_SIDE = "beyond beta the gradient of a sum is the side on which the input lies"
JOINED = (
    Law(WITHIN, _within, when=_bent),
    Law(BEYOND, _beyond),
    *COMMON,
    Law(OVER_BETA, _over_beta, when=_bent, vjp=True),
    Law(BEYOND_SIDE, _side, vjp=True),
    Law(AT_ZERO, _at_zero, vjp=True),
)
