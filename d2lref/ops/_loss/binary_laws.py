"""Laws of the binary cross-entropy. Where one is about the function of a logit, one logit stands in all places."""

import math
from typing import Any

import numpy as np

from d2lref.ops._loss import regression_laws as shared
from d2lref.rounding import PRESETS, Pair, Precision, Running, claim
from d2lref.spec import Case, Claim, Law

REAL = Running(PRESETS["float64"])
"""The judge's own arithmetic, for formulas with elementary functions."""

# 1 What a law asks with


def _rng(case: Case) -> np.random.Generator:
    return np.random.default_rng(case.seed)


def _logit(case: Case, p: Precision) -> np.ndarray:
    """Return one integer in every place, up to 100 or where the loss of what is due leaves the storage format."""
    most = min(100, int(-math.log(p.stored.eta)) - 3)
    return np.full(case.arrays[0].shape, float(_rng(case).integers(-20, most + 1)))


def _due(case: Case) -> np.ndarray:
    """Return targets 0 and 1, in turn by chance."""
    return _rng(case).integers(0, 2, case.arrays[0].shape).astype(np.float64)


def _per_class(case: Case, low: int, high: int) -> np.ndarray:
    """Return small integers, one for each entry of the last axis."""
    return _rng(case).integers(low, high, case.arrays[0].shape[-1:]).astype(np.float64)


def _softplus(x: np.ndarray) -> Pair:
    """log(1 + e^x) as the judge computes it."""
    tail = REAL.apply("log1p", REAL.apply("exp", Pair.exact(-np.abs(x))))
    return REAL.add(Pair.exact(np.maximum(x, 0.0)), tail)


def _sigmoid(x: np.ndarray) -> Pair:
    """1 / (1 + e^-x) as the judge computes it."""
    e = REAL.apply("exp", Pair.exact(-np.abs(x)))
    top = Pair(np.where(x < 0, e.value, 1.0), np.where(x < 0, e.error, 0.0))
    return REAL.div(top, REAL.add(np.ones_like(x), e))


# 2 Values


def _positive(f: Any, case: Case) -> Claim:
    x = _logit(case, f.precision)
    return claim(f(x, np.ones_like(x), reduction="none"), _softplus(-x))


def _mirrored(f: Any, case: Case) -> Claim:
    x, due = case.arrays[0], _due(case)
    return claim(f(x, due, reduction="none"), f(-x, 1 - due, reduction="none"))


def _between(f: Any, case: Case) -> Claim:
    """The loss at a target of 1/4 or 3/4 lies on the line through those at 0 and 1, also with a pos_weight."""
    x, q = case.arrays[0], _per_class(case, 1, 5)
    t = (1 + 2 * (case.seed % 2)) / 4
    at = [f(x, np.full(x.shape, u), None, q, reduction="none") for u in (0.0, t, 1.0)]
    return claim(at[1], at[0] * (1 - t) + at[2] * t)


def _positives_alone(f: Any, case: Case) -> Claim:
    x, q = case.arrays[0], _per_class(case, 0, 5)
    due = np.broadcast_to(_rng(case).integers(0, 2, x.shape[-1:]).astype(np.float64), x.shape).copy()
    return claim(f(x, due, None, q, reduction="none"), f(x, due, reduction="none") * np.where(due > 0, q, 1.0))


def _weighs(f: Any, case: Case) -> Claim:
    x, target, w = *case.arrays[:2], _per_class(case, -3, 4)
    return claim(f(x, target, w, reduction="none"), f(x, target, reduction="none") * np.broadcast_to(w, x.shape))


def _alone(f: Any, case: Case) -> Claim:
    """The losses of some entries, asked for alone, are those among all."""
    flat = [a.ravel() for a in case.arrays[:2]]
    order = _rng(case).permutation(flat[0].size)[: (flat[0].size + 1) // 2]
    whole = f(*case.arrays[:2], reduction="none").map(np.ravel)
    return claim(f(*(a[order] for a in flat), reduction="none"), whole[order])


# 3 Gradients

ONE = np.asarray(1.0)


def _sigmoid_less_target(f: Any, case: Case) -> Claim:
    x, target = case.arrays[:2]
    x = np.where(_rng(case).random(x.shape) < 1 / 4, 0.0, x)
    return claim(f.vjp(ONE, x, target, reduction="sum")[0], _sigmoid(x) - target)


def _gradient_of_positives(f: Any, case: Case) -> Claim:
    x, due, q = case.arrays[0], _due(case), _per_class(case, 0, 5)
    plain = f.vjp(ONE, x, due, reduction="sum")[0]
    return claim(f.vjp(ONE, x, due, None, q, reduction="sum")[0], plain * np.where(due > 0, q, 1.0))


def _gradient_weighs(f: Any, case: Case) -> Claim:
    x, target, w = *case.arrays[:2], _per_class(case, -3, 4)
    plain = f.vjp(ONE, x, target, reduction="sum")[0]
    return claim(f.vjp(ONE, x, target, w, reduction="sum")[0], plain * np.broadcast_to(w, x.shape))


def _minus_logit(f: Any, case: Case) -> Claim:
    x, target = case.arrays[:2]
    return claim(f.vjp(ONE, x, target, reduction="sum")[1], -x)


POSITIVE = "what is due costs the softplus of the negated logit"
MIRRORED = "the negated logit and the other target cost the same"
BETWEEN = "the loss is linear in the target"
POSITIVES = "pos_weight counts for what is due alone"
WEIGHS = "a weight multiplies its losses"
ALONE = "an entry does not see the others"
SIGMOID = "the gradient of a sum is the sigmoid less the target"
GRADIENT_POSITIVES = "pos_weight counts for the gradient of what is due alone"
GRADIENT_WEIGHS = "a weight multiplies its gradients"
MINUS_LOGIT = "the gradient of the target is minus the logit"

LAWS = (
    Law(POSITIVE, _positive),
    Law(MIRRORED, _mirrored),
    Law(BETWEEN, _between),
    Law(POSITIVES, _positives_alone),
    Law(WEIGHS, _weighs, when=lambda case: case.arrays[0].ndim > 1),
    Law(ALONE, _alone),
    *shared.REDUCED,
    Law(SIGMOID, _sigmoid_less_target, vjp=True),
    Law(GRADIENT_POSITIVES, _gradient_of_positives, vjp=True),
    Law(GRADIENT_WEIGHS, _gradient_weighs, vjp=True),
    Law(MINUS_LOGIT, _minus_logit, vjp=True),
    *shared.SPREAD,
)
