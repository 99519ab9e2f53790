"""What dropout is held to: what is kept, what is dropped, how often, and that no mask knows of another."""

import math
from functools import partial
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.ops._dropout.definition import bound, draws_mask, rests, scales, units
from d2lref.spec import Array, Case, Reading, Trial

# 1 Laws


def from_x(answers: Array, x: Array) -> float:
    """Return the largest distance of an answer from x."""
    return float(np.max(np.abs(answers[0, 0] - x)))


def largest(answers: Array) -> float:
    """Return the largest answer, in size."""
    return float(np.max(np.abs(answers)))


def from_scaled(answers: Array, x: Array, scale: float) -> float:
    """Return the largest relative distance of an answer that is not 0 from scale x."""
    y = answers[0, 0]
    return float(np.max(np.where(y == 0, 0.0, np.abs(y / (scale * x) - 1.0))))


def gradient_gap(answers: Array, gradients: Array, gy: Array, scale: float) -> float:
    """Return the largest relative distance of a gradient from scale gy where the answer was kept, and 0 elsewhere."""
    wanted = np.where(answers[0, 0] != 0, scale * gy, 0.0)
    return float(np.max(np.abs(gradients - wanted) / np.abs(scale * gy)))


def gradient_from_gy(gradients: Array, gy: Array) -> float:
    """Return the largest distance of a gradient from gy."""
    return float(np.max(np.abs(gradients - gy)))


def split_channels(answers: Array) -> float:
    """Return how many channels are neither dropped nor kept as a whole."""
    kept = (answers[0, 0] != 0).reshape(answers.shape[2] * answers.shape[3], -1)
    return float(np.sum(np.any(kept, axis=1) & ~np.all(kept, axis=1)))


def kept_units(answers: Array, unit: int) -> float:
    """Return how many units, of so many leading axes, are kept."""
    kept = answers[0, 0] != 0
    return float(np.sum(kept[(..., *([0] * (kept.ndim - unit)))]))


def kept_along(answers: Array, unit: int, axis: int) -> Array:
    """Return how many units are kept at every place of an axis."""
    kept = answers[0, 0] != 0
    whole = np.moveaxis(kept[(..., *([0] * (kept.ndim - unit)))], axis, 0)
    return np.sum(whole.reshape(len(whole), -1), axis=1).astype(np.float64)


def kept_pairs(answers: Array, unit: int, axis: int) -> float:
    """Return of how many disjoint pairs of neighbouring units along an axis of the answers both are kept."""
    kept = np.moveaxis((answers != 0)[(..., *([0] * (answers.ndim - 2 - unit)))], axis, 0)
    pairs = len(kept) // 2
    return float(np.sum(kept[0 : 2 * pairs : 2] & kept[1 : 2 * pairs : 2]))


def _identity(f: Any, case: Case) -> Reading:
    del case
    return f.read(from_x, 0.0, 0.0, theorem="nothing is computed")


def _gone(f: Any, case: Case) -> Reading:
    del case
    return f.read(largest, 0.0, 0.0, theorem="nothing is kept")


def _scaled(f: Any, case: Case) -> Reading:
    p = case.options["p"]
    return f.read(from_scaled, 0.0, bound(p, f.u), theorem="ASNA, Lemma 3.1", scale=1.0 / (1.0 - p))


def _same_mask(f: Any, case: Case) -> Reading:
    p = case.options["p"]
    return f.read(gradient_gap, 0.0, bound(p, f.u), theorem="ASNA, Lemma 3.1", scale=1.0 / (1.0 - p))


def _gradient_identity(f: Any, case: Case) -> Reading:
    del case
    return f.read(gradient_from_gy, 0.0, 0.0, theorem="nothing is computed")


def _gradient_gone(f: Any, case: Case) -> Reading:
    del case
    return f.read(_largest_gradient, 0.0, 0.0, theorem="nothing is kept")


def _largest_gradient(gradients: Array) -> float:
    """Return the largest gradient, in size."""
    return float(np.max(np.abs(gradients)))


def _whole(f: Any, case: Case) -> Reading:
    del case
    return f.read(split_channels, 0.0, 0.0, theorem="a channel has one mask")


_COINS = "exact binomial tails"


def _rate(axes: int, f: Any, case: Case) -> Reading:
    drawn = units(axes, case.options["shape"])
    n = math.prod(drawn)
    low, high = map(float, chance.binomial(n, 1.0 - case.options["p"], f.alpha, f.grain))
    return f.read(kept_units, low, high, theorem=_COINS, alpha=f.alpha, size=n, unit=len(drawn))


def _along(axes: int, axis: int, f: Any, case: Case) -> Reading:
    drawn = units(axes, case.options["shape"])
    each = math.prod(drawn) // drawn[axis]
    low, high = map(float, chance.binomial(each, 1.0 - case.options["p"], f.alpha / drawn[axis], f.grain))
    given = {"unit": len(drawn), "axis": axis}
    return f.read(kept_along, low, high, theorem=_COINS, alpha=f.alpha, size=math.prod(drawn), **given)


def _pairs(axes: int, axis: int, f: Any, case: Case, **draws: int) -> Reading:
    drawn = units(axes, case.options["shape"])
    whole = (draws.get("seeds", 1), draws.get("calls", 1), *drawn)
    n = math.prod(whole) // whole[axis] * (whole[axis] // 2)
    low, high = map(float, chance.binomial(n, (1.0 - case.options["p"]) ** 2, f.alpha, 2.0 * f.grain))
    given = {"unit": len(drawn), "axis": axis}
    return f.read(kept_pairs, low, high, theorem=_COINS, alpha=f.alpha, size=n, **draws, **given)


RESTS, GONE = "y is x when not training or p is 0", "nothing is left where p is 1"
SCALED = "what is kept is x / (1 - p)"
MASK = "the gradient has the mask of the answer"
GRADIENT_RESTS = "the gradient is the cotangent when not training or p is 0"
GRADIENT_GONE = "no gradient is left where p is 1"
WHOLE = "channels are dropped as a whole"
RATE = "so many are kept"
IMAGES, CHANNELS = "every row keeps as many", "every column keeps as many"
ROWS, COLUMNS, LAST = "rows are independent", "columns are independent", "neighbours in memory are independent"
CALLS, SEEDS = "calls are independent", "seeds are independent"


def laws(axes: int) -> tuple[Trial, ...]:
    """Return the laws of dropout, or of that of channels."""
    certain = [
        Trial(RESTS, _identity, rests),
        Trial(GONE, _gone, lambda case: bool(case.options["training"]) and case.options["p"] == 1),
        Trial(SCALED, _scaled, scales),
        Trial(MASK, _same_mask, draws_mask, vjp=True),
        Trial(GRADIENT_RESTS, _gradient_identity, rests, vjp=True),
        Trial(
            GRADIENT_GONE,
            _gradient_gone,
            lambda case: bool(case.options["training"]) and case.options["p"] == 1,
            vjp=True,
        ),
    ]
    certain += [Trial(WHOLE, _whole, draws_mask)] if axes else []
    last = [] if axes else [Trial(LAST, partial(_pairs, axes, -1), _deep, chance=True)]
    return (
        *certain,
        Trial(RATE, partial(_rate, axes), draws_mask, chance=True),
        Trial(IMAGES, partial(_along, axes, 0), draws_mask, chance=True),
        Trial(CHANNELS, partial(_along, axes, 1), draws_mask, chance=True),
        Trial(ROWS, partial(_pairs, axes, 2), draws_mask, chance=True),
        Trial(COLUMNS, partial(_pairs, axes, 3), draws_mask, chance=True),
        *last,
        Trial(CALLS, partial(_pairs, axes, 1, calls=2), draws_mask, chance=True),
        Trial(SEEDS, partial(_pairs, axes, 0, seeds=2), draws_mask, chance=True),
    )


def _deep(case: Case) -> bool:
    """Return whether a mask is drawn on more than two axes."""
    return draws_mask(case) and len(case.options["shape"]) > 2
