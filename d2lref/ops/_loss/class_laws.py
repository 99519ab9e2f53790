"""Laws of losses of a class. Each asks for the reductions and the weights that it speaks about."""

from typing import Any

import numpy as np

from d2lref.ops._loss.regression_laws import some_losses
from d2lref.rounding import PRESETS, Pair, Running, claim
from d2lref.spec import Case, Claim, Law

REAL = Running(PRESETS["float64"])
"""The judge's own arithmetic, for formulas with elementary functions."""
ONE = np.asarray(1.0)

# 1 What a law asks with


def options(case: Case, reduction: str, **others: Any) -> dict[str, Any]:
    """Return the options of the case with another reduction, and without smoothing unless it is given."""
    plain = {"label_smoothing": 0.0} if "label_smoothing" in case.options else {}
    return {**case.options, **plain, "reduction": reduction, **others}


def rng(case: Case) -> np.random.Generator:
    """Return the generator of a case."""
    return np.random.default_rng(case.seed)


def logits(case: Case) -> np.ndarray:
    """Return small integers in the shape of the input."""
    return rng(case).integers(-3, 4, case.arrays[0].shape).astype(np.float64)


def weights(case: Case, low: int = -3) -> np.ndarray:
    """Return small integers, one for each class."""
    return rng(case).integers(low, 4, case.arrays[0].shape[1]).astype(np.float64)


def hard(case: Case) -> bool:
    """Return whether the target holds classes."""
    return case.arrays[1].dtype.kind == "i"


def _ignored(case: Case) -> np.ndarray:
    """Return which places are left out."""
    return np.asarray(case.arrays[1] == case.options["ignore_index"])


def _some_ignored(case: Case) -> bool:
    return hard(case) and bool(_ignored(case).any())


def _none_ignored(case: Case) -> np.ndarray:
    """Return the target with a class that counts in place of what is ignored, where there is one."""
    target, left_out = case.arrays[1], case.options["ignore_index"]
    other = next((k for k in range(case.arrays[0].shape[1]) if k != left_out), 0)
    return np.where(_ignored(case), other, target)


def _several(case: Case) -> bool:
    """Return whether a target counts after `_none_ignored`: not where the only class is ignored."""
    return hard(case) and case.arrays[0].size > 0 and not (_none_ignored(case) == case.options["ignore_index"]).any()


def _at(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the entry of each row at its class."""
    return np.take_along_axis(values, np.expand_dims(target, 1), axis=1)[:, 0]


def _wide(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return an array of places repeated over the classes."""
    return np.broadcast_to(np.expand_dims(a, 1), x.shape)


# 2 Of every loss of a class


def _weighs(f: Any, case: Case) -> Claim:
    x, target, w = case.arrays[0], _none_ignored(case), weights(case)
    none = options(case, "none")
    return claim(f(x, target, w, **none), f(x, target, **none) * w[target])


def _adds(f: Any, case: Case) -> Claim:
    x, target, *w = case.arrays
    counted = ~_ignored(case)
    return claim(f(x, target, *w, **options(case, "sum")), f(x, target, *w, **options(case, "none"))[counted].sum())


def _averages(f: Any, case: Case) -> Claim:
    x, target = case.arrays[:2]
    count = float((~_ignored(case)).sum())
    losses = f(x, target, **options(case, "none"))[~_ignored(case)]
    return claim(f(x, target, **options(case, "mean")) * count, losses.sum())


def _averages_weights(f: Any, case: Case) -> Claim:
    x, target, w = case.arrays[0], _none_ignored(case), weights(case, 1)
    whole = float(w[target].sum())
    return claim(f(x, target, w, **options(case, "mean")) * whole, f(x, target, w, **options(case, "none")).sum())


def _costs_nothing(f: Any, case: Case) -> Claim:
    """Ignored places cost nothing, with smoothed labels too."""
    smooth = {"label_smoothing": 0.25} if "label_smoothing" in case.options else {}
    losses = f(logits(case), case.arrays[1], **options(case, "none", **smooth))[_ignored(case)]
    return claim(losses, np.zeros(losses.shape))


def _of_nothing(f: Any, case: Case) -> Claim:
    x, target = case.arrays[:2]
    nothing = np.full_like(target, case.options["ignore_index"])
    return claim(f(x, nothing, **options(case, "mean")), np.asarray(np.nan))


def _divides(f: Any, case: Case) -> Claim:
    x, target = logits(case), case.arrays[1]
    count = float((~_ignored(case)).sum())
    mean = f.vjp(ONE, x, target, **options(case, "mean"))[0]
    return claim(mean * count, f.vjp(ONE, x, target, **options(case, "sum"))[0])


def _no_gradient(f: Any, case: Case) -> Claim:
    left = _wide(_ignored(case), case.arrays[0])
    dx = f.vjp(ONE, logits(case), case.arrays[1], **options(case, "sum"))[0]
    return claim(dx[left], np.zeros(int(left.sum())))


def _each(f: Any, case: Case) -> Claim:
    """With none, every place has a cotangent of its own; negated, it negates the gradients of its row alone."""
    x, target, gy = logits(case), case.arrays[1], some_losses(f, case)
    flip = np.where(rng(case).random(gy.shape) < 1 / 2, -1.0, 1.0)
    none = options(case, "none")
    here = f.vjp(gy, x, target, **none)[0]
    return claim(f.vjp(gy * flip, x, target, **none)[0], here * _wide(flip, x))


def _gradient_weighs(f: Any, case: Case) -> Claim:
    x, target, w = logits(case), _none_ignored(case), weights(case)
    sums = options(case, "sum")
    plain = f.vjp(ONE, x, target, **sums)[0]
    return claim(f.vjp(ONE, x, target, w, **sums)[0], plain * _wide(w[target], x))


WEIGHS = "the weight of the class multiplies the loss"
ADDS = "a sum adds up the losses that count"
AVERAGES = "a mean is the sum over the places that count"
AVERAGES_WEIGHTS = "a weighted mean is the sum over the weights of the targets"
NOTHING = "an ignored place costs nothing"
OF_NOTHING = "a mean in which no place counts is NaN"
DIVIDES = "the gradient of a mean is that of the sum over the places that count"
NO_GRADIENT = "an ignored place has no gradient"
EACH = "the cotangent of a place counts for its own row"
GRADIENT_WEIGHS = "the weight of the class multiplies the gradient"


def _counts(case: Case) -> bool:
    return hard(case) and bool((~_ignored(case)).any())


COMMON = (
    Law(WEIGHS, _weighs, when=_several),
    Law(ADDS, _adds, when=hard),
    Law(AVERAGES, _averages, when=_counts),
    Law(AVERAGES_WEIGHTS, _averages_weights, when=_several),
    Law(NOTHING, _costs_nothing, when=_some_ignored),
    Law(OF_NOTHING, _of_nothing, when=hard),
    Law(DIVIDES, _divides, when=_counts, vjp=True),
    Law(NO_GRADIENT, _no_gradient, when=_some_ignored, vjp=True),
    Law(EACH, _each, when=hard, vjp=True),
    Law(GRADIENT_WEIGHS, _gradient_weighs, when=_several, vjp=True),
)

# 3 Of logarithms of probabilities


def _pays(f: Any, case: Case) -> Claim:
    x, target = case.arrays[0], _none_ignored(case)
    return claim(f(x, target, **options(case, "none")), -_at(x, target))


def _minus_one(f: Any, case: Case) -> Claim:
    x, target = case.arrays[0], _none_ignored(case)
    kinds = np.arange(x.shape[1]).reshape(1, -1, *(1,) * (x.ndim - 2))
    dx = f.vjp(ONE, x, target, **options(case, "sum"))[0]
    return claim(dx, np.where(kinds == np.expand_dims(target, 1), -1.0, 0.0))


PAYS = "what is paid is minus the entry of the class"
MINUS_ONE = "the gradient of a sum is -1 at the class and 0 elsewhere"
NLL = (Law(PAYS, _pays, when=_several), *COMMON, Law(MINUS_ONE, _minus_one, when=_several, vjp=True))

# 4 Of logits


def _flat(a: np.ndarray) -> np.ndarray:
    """Return the rows of an array, (places, classes)."""
    return np.moveaxis(a, 1, -1).reshape(-1, a.shape[1])


def _shifted(f: Any, case: Case) -> Claim:
    """A number added to all logits of a row changes nothing: 128, which no unshifted exponential bears in float32."""
    x, target, none = _flat(logits(case)), _none_ignored(case).ravel(), options(case, "none")
    by = 128.0 * _wide(rng(case).integers(-1, 2, target.shape), x)
    return claim(f(x + by, target, **none), f(x, target, **none))


def _turned(f: Any, case: Case) -> Claim:
    """Classes and targets renamed alike: the last class becomes the first."""
    x, target, none = _flat(logits(case)), _none_ignored(case).ravel(), options(case, "none")
    n = x.shape[1]
    renamed = {**none, "ignore_index": -100}
    return claim(f(np.roll(x, 1, axis=1), (target + 1) % n, **renamed), f(x, target, **renamed))


def _rows(f: Any, case: Case) -> Claim:
    """Every place is a row of its own, wherever the other axes lie."""
    x, target, none = logits(case), _none_ignored(case), options(case, "none")
    return claim(f(_flat(x), target.ravel(), **none), f(x, target, **none).map(np.ravel))


def _far(case: Case) -> tuple[np.ndarray, np.ndarray, float]:
    """Return logits 0 but for the last class of every row, which lies 0 or 100 below, and that class as the target."""
    x = np.zeros((3, case.arrays[0].shape[1]))
    below = 100.0 * (case.seed % 2)
    x[:, -1] -= below
    return x, np.full(3, x.shape[1] - 1), below


def _known(f: Any, case: Case) -> Claim:
    """A class that lies d below the n - 1 others costs d + log(n - 1 + e^-d); log n for equal logits."""
    x, target, below = _far(case)
    n = x.shape[1]
    tail = REAL.apply("exp", Pair.exact(np.full(3, -below)))
    costs = REAL.add(REAL.apply("log", REAL.add(tail, np.full(3, n - 1.0))), np.full(3, below))
    none = {**options(case, "none"), "ignore_index": -100}
    return claim(f(x, target, **none), costs if n > 1 else np.zeros(3))


def _few(case: Case) -> bool:
    return _several(case) and case.arrays[0].shape[1] <= 8


def _mixed(f: Any, case: Case) -> Claim:
    """(1 - s) of the target's loss, and s / C of that of every class."""
    x, target, w = logits(case), _none_ignored(case), weights(case)
    none, n = {**options(case, "none"), "ignore_index": -100}, case.arrays[0].shape[1]
    s = (1 / 4, 1.0, 0.0)[case.seed % 3]
    every = [f(x, np.full_like(target, k), w, **none) for k in range(n)]
    spread = sum(every[1:], every[0]) * (s / n)
    return claim(f(x, target, w, **{**none, "label_smoothing": s}), f(x, target, w, **none) * (1 - s) + spread)


def _one_hot(case: Case) -> np.ndarray:
    """Return probabilities that are certain, in the shape of the input."""
    x = case.arrays[0]
    sure = rng(case).integers(0, x.shape[1], (x.shape[0], 1, *x.shape[2:]))
    kinds = np.arange(x.shape[1]).reshape(1, -1, *(1,) * (x.ndim - 2))
    return (kinds == sure).astype(np.float64)


def _soft(case: Case, reduction: str) -> dict[str, Any]:
    return {**options(case, reduction), "ignore_index": -100}


def _certain(f: Any, case: Case) -> Claim:
    x, sure, w, none = _flat(logits(case)), _flat(_one_hot(case)), weights(case), _soft(case, "none")
    return claim(f(x, sure, w, **none), f(x, sure.argmax(axis=1), w, **none))


def _linear(f: Any, case: Case) -> Claim:
    """The loss of a sum of probabilities is the sum of their losses."""
    x, w, none = logits(case), weights(case), _soft(case, "none")
    a, b = _one_hot(case), rng(case).integers(-2, 3, x.shape).astype(np.float64)
    return claim(f(x, a + b, w, **none), f(x, a, w, **none) + f(x, b, w, **none))


def _over_places(f: Any, case: Case) -> Claim:
    x, w = logits(case), weights(case)
    t = rng(case).integers(0, 3, x.shape).astype(np.float64)
    n = float(x.size / x.shape[1])
    return claim(f(x, t, w, **_soft(case, "mean")) * n, f(x, t, w, **_soft(case, "none")).sum())


def _softmax(x: np.ndarray) -> Pair:
    e = REAL.apply("exp", Pair.exact(x - x.max(axis=1, keepdims=True)))
    return REAL.div(e, REAL.sum(e, 1))


def _less_one(f: Any, case: Case) -> Claim:
    x, target = logits(case), _none_ignored(case)
    kinds = np.arange(x.shape[1]).reshape(1, -1, *(1,) * (x.ndim - 2))
    hot = (kinds == np.expand_dims(target, 1)).astype(np.float64)
    return claim(f.vjp(ONE, x, target, **options(case, "sum"))[0], _softmax(x) - hot)


def _to_nothing(f: Any, case: Case) -> Claim:
    """Of the other classes they are minus that of the first, for any numbers in place of probabilities."""
    x, w = logits(case), weights(case)
    t = rng(case).integers(0, 4, x.shape).astype(np.float64)
    dx = f.vjp(ONE, x, t, w, **_soft(case, "sum"))[0]
    return claim(dx[:, 1:].sum(axis=1), -dx[:, 0])


def _mixed_gradient(f: Any, case: Case) -> Claim:
    x, target = logits(case), _none_ignored(case)
    sums, n, s = {**options(case, "sum"), "ignore_index": -100}, x.shape[1], 1 / 4
    every = [f.vjp(ONE, x, np.full_like(target, k), **sums)[0] for k in range(n)]
    spread = sum(every[1:], every[0]) * (s / n)
    found = f.vjp(ONE, x, target, **{**sums, "label_smoothing": s})[0]
    return claim(found, f.vjp(ONE, x, target, **sums)[0] * (1 - s) + spread)


def _of_probabilities(f: Any, case: Case) -> Claim:
    """The derivative for the probability of a class is what that class would cost."""
    x, w, k = _flat(logits(case)), weights(case, 1), case.seed % case.arrays[0].shape[1]
    found = f.vjp(ONE, x, _flat(_one_hot(case)), w, **_soft(case, "sum"))[1][:, k]
    return claim(found, f(x, np.full(len(x), k), w, **_soft(case, "none")))


SHIFTED = "a number added to a row of logits changes nothing"
TURNED = "classes renamed with their targets cost the same"
ROWS = "every place is a row of its own"
KNOWN = "equal logits cost the logarithm of their number, a far one its distance"
MIXED = "smoothing mixes the loss of the target with those of all classes"
CERTAIN = "certain probabilities cost as their class"
LINEAR = "the loss is linear in the probabilities"
OVER_PLACES = "a mean over probabilities is the sum over the places"
LESS_ONE = "the gradient of a sum is the softmax, less one at the class"
TO_NOTHING = "the gradients of a row add up to nothing"
MIXED_GRADIENT = "smoothing mixes the gradients alike"
OF_PROBABILITIES = "the gradient of a probability is what its class would cost"


def _filled(case: Case) -> bool:
    return case.arrays[0].size > 0


def _alternatives(case: Case) -> bool:
    return _filled(case) and case.arrays[0].shape[1] > 1


CROSS_ENTROPY = (
    Law(SHIFTED, _shifted, when=_several),
    Law(TURNED, _turned, when=_several),
    Law(ROWS, _rows, when=_several),
    Law(KNOWN, _known),
    Law(MIXED, _mixed, when=_few),
    Law(CERTAIN, _certain, when=_filled),
    Law(LINEAR, _linear, when=_filled),
    Law(OVER_PLACES, _over_places, when=_filled),
    *COMMON,
    Law(LESS_ONE, _less_one, when=_several, vjp=True),
    Law(TO_NOTHING, _to_nothing, when=_alternatives, vjp=True),
    Law(MIXED_GRADIENT, _mixed_gradient, when=_few, vjp=True),
    Law(OF_PROBABILITIES, _of_probabilities, when=_alternatives, vjp=True),
)
