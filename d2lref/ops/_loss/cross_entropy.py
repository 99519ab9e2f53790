"""cross_entropy: nll_loss of log_softmax, for classes or for probabilities of them, with smoothed labels (d2l 4.1.2).

Every loss is -sum of q log_softmax(x) over the classes, for coefficients q: the weight of the target's class, mixed
with those of all classes where labels are smoothed, or weights times probabilities.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms.log_sum_exp import log_softmax_pair, regular, softmax_pair
from d2lref.algorithms.moment_bounds import constant, given
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import either
from d2lref.ops._loss.classes import (
    beside,
    check_rows,
    check_target,
    classes_of,
    draw_rows,
    meant,
    picked,
    places,
    reduced_over,
    reduced_pair_over,
    share_over,
    shared_pair_over,
    shares,
    weights_pair,
)
from d2lref.ops._loss.reduction import answered, draw_reduction, over, product, share, total
from d2lref.ops._softmax.definition import log_softmax, online_log_softmax, softmax
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array, Draw, Form, Shape

NAME = "cross_entropy"
DEFAULTS: dict[str, Any] = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}

# 1 Shape


def shape(x: Shape, target: Shape, weight: Shape | None = None, **options: Any) -> tuple[Shape]:
    """Return () or (N, *places) for input (N, C, *places); the target has either of these shapes.

    Of that of input, it holds probabilities, else classes. Raises ValueError.
    """
    said = {**DEFAULTS, **options}
    check_rows(NAME, x, weight, said["reduction"])
    if not 0 <= said["label_smoothing"] <= 1:
        raise ValueError(f"{NAME}: label_smoothing={said['label_smoothing']!r}, expected a number from 0 to 1")
    if tuple(target) not in {places(x), tuple(x)}:
        wanted = f"{places(x)} for classes or {tuple(x)} for probabilities"
        raise ValueError(f"{NAME}: target {tuple(target)}, expected {wanted}")
    if probable(x, target) and said["ignore_index"] >= 0:
        raise ValueError(f"{NAME}: ignore_index={said['ignore_index']}, expected one below 0: the target is no class")
    return (places(x) if said["reduction"] == "none" else (),)


def probable(x: Shape, target: Shape) -> bool:
    """Return whether a target holds probabilities: it has the axis of classes."""
    return len(target) == len(x)


def indices(x: Shape, target: Shape, _weight: Shape | None = None, *, ignore_index: int, **_other: Any) -> Any:
    """Return the classes and ignore_index; None for probabilities."""
    return None if probable(x, target) else classes_of(x, ignore_index)


# 2 Definition


class Mix(NamedTuple):
    """The coefficients q of every class, and what each place counts for in a mean (a number: all alike)."""

    q: Array
    counts: Array | float


def mixed(x: Array, target: Array, weight: Array | None, options: dict[str, Any]) -> Mix:
    """q = w ((1 - s) t + s / C) for probabilities t; for classes (1 - s) w[target] at the target, and s / C w.

    Raises ValueError for shapes that do not fit, and for a target outside the classes.
    """
    shape(tuple(x.shape), tuple(target.shape), None if weight is None else tuple(weight.shape), **options)
    xp, s = namespace(x), options["label_smoothing"]
    w = xp.ones_like(x) if weight is None else beside(weight, x)
    if probable(x.shape, target.shape):
        return Mix(w * (target * (1.0 - s) + s / x.shape[1] if s else target), float(math.prod(places(x.shape))))
    check_target(NAME, target, x.shape[1], options["ignore_index"])
    hot, counted = meant(target, x, options["ignore_index"]), xp.expand_dims(target, axis=1) != options["ignore_index"]
    zero = xp.zeros_like(x)
    q = xp.where(hot, w * (1.0 - s), zero) + (xp.where(counted, w * (s / x.shape[1]), zero) if s else zero)
    return Mix(q, shares(weight, x, hot))


def definition(
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """l = -w[t] log_softmax(x)[t], place by place; or -sum of w t log_softmax(x) over the classes, t probabilities.

    With label_smoothing s, (1 - s) times that, and s / C times -sum of w log_softmax(x). Places whose target is
    ignore_index cost 0. y is l, its sum, or its mean: for classes the sum over that of w[t] at the places that count,
    for probabilities over the number of places; NaN where that is 0 / 0. input (N, C, *places); target (N, *places) of
    integers, or of the shape of input; weight (C,), 1 where it is absent. An entry of -inf has probability 0. Raises
    ValueError for what does not fit. Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1.2;
    Szegedy and others 2016, Rethinking the Inception architecture, section 7, for smoothing.
    """
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    return loss_by(log_softmax, x, target, weight, options)


def loss_by(logarithm: Any, x: Array, target: Array, weight: Array | None, options: dict[str, Any]) -> Array:
    """Return the loss by a way to take log_softmax."""
    mix = mixed(x, target, weight, options)
    xp = namespace(x)
    y = logarithm(x, dim=1)
    skip = xp.zeros_like(x)  # a class without a coefficient costs nothing, however improbable it is
    if probable(x.shape, target.shape):
        losses = xp.sum(-mix.q * y, axis=1)
    else:
        losses = xp.sum(xp.where(mix.q != 0, -mix.q * xp.where(mix.q != 0, y, skip), skip), axis=1)
        losses = losses + _free(x, y, target, options)
    if isinstance(mix.counts, float):
        return losses if options["reduction"] == "none" else _mean(xp.sum(losses), mix.counts, options["reduction"])
    return reduced_over(losses, mix.counts, options["reduction"])


def _mean(whole: Array, count: float, reduction: str) -> Array:
    return whole if reduction == "sum" else over(whole, count)


def _free(x: Array, y: Array, target: Array, options: dict[str, Any]) -> Array:
    """Return 0, and NaN in rows without an answer that count, whatever their weight."""
    xp = namespace(x)
    rows = xp.max(xp.where(xp.isnan(y), y, xp.zeros_like(y)), axis=1)
    return xp.where(target != options["ignore_index"], rows, xp.zeros_like(rows))


# 3 Other ways


def one_pass(x: Array, target: Array, weight: Array | None = None, **options: Any) -> Array:
    """The maximum and the sum of a row from one pass over its classes (online softmax)."""
    return loss_by(online_log_softmax, x, target, weight, {**DEFAULTS, **options})


def by_class(x: Array, target: Array, weight: Array | None = None, **options: Any) -> Array:
    """The hard part by picking, the smooth part by adding, as two losses mixed in the end; for classes."""
    said = {**DEFAULTS, **options}
    mix, s = mixed(x, target, weight, said), said["label_smoothing"]
    xp, y, w = namespace(x), log_softmax(x, dim=1), 1.0 if weight is None else beside(weight, x)
    hard = picked(-(y * w), meant(target, x, said["ignore_index"]))
    if s:
        smooth = xp.where(target != said["ignore_index"], xp.sum(-(y * w), axis=1), xp.zeros_like(hard))
        hard = hard * (1.0 - s) + smooth * (s / x.shape[1])
    return reduced_over(hard, mix.counts, said["reduction"])


# 4 Derivative


def vjp(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> tuple[Array, Array | None, None]:
    """dx = g (softmax(x) sum of q - q); dtarget = -g w (1 - s) log_softmax(x) for probabilities.

    g is the cotangent of every loss: gy, or gy over what the mean is over. Ignored places get 0. The weights have no
    gradient, as in torch.
    """
    options = {"ignore_index": ignore_index, "reduction": reduction, "label_smoothing": label_smoothing}
    xp, mix = namespace(x), mixed(x, target, weight, options)
    soft = isinstance(mix.counts, float)
    g = share(gy, places(x.shape), reduction) if soft else share_over(gy, mix.counts, reduction)
    g = xp.expand_dims(g, axis=1)
    dx = softmax(x, dim=1) * xp.sum(mix.q, axis=1, keepdims=True) - mix.q
    if not soft:
        counted = xp.broadcast_to(xp.expand_dims(target != ignore_index, axis=1), x.shape)
        return xp.where(counted, xp.where(counted, g, xp.zeros_like(x)) * dx, xp.zeros_like(x)), None, None
    w = xp.ones_like(x) if weight is None else beside(weight, x)
    return g * dx, -(g * w * (1.0 - label_smoothing)) * log_softmax(x, dim=1), None


# 5 How wrong it may be


class Pairs(NamedTuple):
    """The pairs of q, of its parts (w, t or 1 at the target, and both shares of smoothing), and of what counts."""

    q: Pair
    w: Pair
    part: Pair
    counts: Pair | float


def _pairs(run: Running, x: Array, target: Array, weight: Array | None, options: dict[str, Any]) -> Pairs:
    """Return the coefficients as an implementation has them; 0 stays 0."""
    p, s, w = run.p, options["label_smoothing"], weights_pair(run.p, weight, x)
    soft = probable(x.shape, target.shape)
    hot = np.zeros(x.shape, np.bool_) if soft else np.asarray(meant(target, x, options["ignore_index"]))
    part = given(p, target) if soft else Pair.exact(np.where(hot, 1.0, 0.0))
    if s:
        smooth = constant(p, s)
        rest, each = run.sub(np.asarray(1.0), smooth), run.div(smooth, np.asarray(float(x.shape[1])))
        part = run.add(run.mul(part, rest), each)
        if not soft:
            counted = np.expand_dims(np.asarray(target != options["ignore_index"]), 1)
            part = Pair(np.where(counted, part.value, 0.0), np.where(counted, part.error, 0.0))
    q = part if weight is None else product(run, part, w)
    q = Pair(q.value, np.where(part.value == 0, part.error, q.error))
    if soft:
        return Pairs(q, w, part, float(math.prod(places(x.shape))))
    return Pairs(q, w, part, Pair(picked(w.value, hot), picked(w.error, hot)))


def _losses(run: Running, x: Array, parts: Pairs, *, soft: bool) -> Pair:
    """Return the pair of -sum of q log_softmax(x), its products in any order; 0 times inf may be all."""
    y, low = log_softmax_pair(run, x, 1), x == -np.inf
    y = Pair(np.where(low, 0.0, y.value), np.where(low, 0.0, y.error if x.shape[1] > 1 else 0.0))
    terms = product(run, -y, parts.part, parts.w)
    plain = (parts.q.value == 0) & (parts.q.error == 0)
    terms = Pair(terms.value, np.where(plain, 0.0, run.rounded(terms).error))
    losses = total(run, terms, 1)
    above, below = (np.any(low & (sign * parts.q.value > parts.q.error), axis=1) for sign in (1, -1))
    unsure = np.any(low & (np.abs(parts.q.value) <= parts.q.error) & (soft | (parts.part.value != 0)), axis=1)
    value = losses.value + np.where(above, np.inf, 0.0) + np.where(below, -np.inf, 0.0)
    error = np.where(unsure | (above & below), np.inf, np.where(above | below, 0.0, losses.error))
    return Pair(value, error)


def bound(
    y: Array,
    precision: Precision,
    x: Array,
    target: Array,
    weight: Array | None = None,
    **options: Any,
) -> np.ndarray:
    """Pairs on log_softmax, on its products with q, on their sum over the classes and on the reduction.

    Rows without an answer (NaN, inf, -inf alone) must be NaN, unless they are ignored. Source: as
    algorithms.log_sum_exp, and ASNA, chapters 3 and 4.
    """
    del y
    run, said, soft = Running(precision), {**DEFAULTS, **options}, probable(x.shape, target.shape)
    with np.errstate(all="ignore"):
        parts = _pairs(run, x, target, weight, said)
        losses = _losses(run, x, parts, soft=soft)
        lost = ~np.squeeze(regular(x, 1), axis=1)
        if not soft:
            lost = lost & np.asarray(target != said["ignore_index"])
            losses = _unless_ignored(losses, np.asarray(target == said["ignore_index"]))
        losses = Pair(np.where(lost, np.nan, losses.value), np.where(lost, 0.0, losses.error))
        return answered(run, reduced_pair_over(run, losses, parts.counts, said["reduction"]))


def _unless_ignored(losses: Pair, ignored: np.ndarray) -> Pair:
    return Pair(np.where(ignored, 0.0, losses.value), np.where(ignored, 0.0, losses.error))


def vjp_bound(
    grads: tuple[Any, ...],
    precision: Precision,
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray | None, None]:
    """Pairs on g p sum of q - g q, p = softmax(x) or e^y of the stored log_softmax; infinite in rows without answer."""
    del grads
    run, said, soft = Running(precision), {**DEFAULTS, **options}, probable(x.shape, target.shape)
    with np.errstate(all="ignore"):
        parts = _pairs(run, x, target, weight, said)
        g = shared_pair_over(run, given(precision, gy), parts.counts, places(x.shape), said["reduction"])
        g = g.map(lambda a: np.broadcast_to(np.expand_dims(a, 1), x.shape))
        y, known = log_softmax_pair(run, x, 1), regular(x, 1)
        dx = _logit_gradient(run, x, run.stored(y, precision.storage), g, parts.q)
        error = np.where(known & np.isfinite(dx.value), run.answer(dx), np.inf)
        if not soft:
            ignored = np.expand_dims(np.asarray(target == said["ignore_index"]), 1)
            return np.where(ignored & known, 0.0, error), None, None
        smooth = constant(precision, said["label_smoothing"])
        rest = run.sub(np.asarray(1.0), smooth) if said["label_smoothing"] else Pair.exact(np.asarray(1.0))
        dt = run.rounded(product(run, g, parts.w, rest.map(lambda a: np.broadcast_to(a, x.shape)), -y))
        free = ~known | (~np.isfinite(x) & ~(np.abs(g.value * parts.w.value) > 0)) | ~np.isfinite(g.value)
        return error, np.where(free, np.inf, np.where(np.isfinite(x), run.answer(dt), 0.0)), None


def _logit_gradient(run: Running, x: Array, y: Pair, g: Pair, q: Pair) -> Pair:
    """Return the pair of g (p Q - q), Q the sum of q: the cotangent multiplied in before, or after the difference."""
    finite = np.isfinite(x)
    p = either(softmax_pair(run, x, 1), run.apply("exp", y))
    p = Pair(np.where(finite, p.value, 0.0), np.where(finite, p.error, 0.0))
    sent = product(run, g, q)
    whole, sums = (total(run, a, 1).map(lambda v: np.broadcast_to(np.expand_dims(v, 1), x.shape)) for a in (q, sent))
    joined = product(run, g, run.sub(product(run, whole, p), q))
    early, late = (run.sub(a, sent) for a in (product(run, sums, p), product(run, g, whole, p)))
    return run.rounded(either(joined, early, late), 2)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw rows with classes or probabilities for targets; shrinks to the mean over one row of one class."""
    sizes = draw_rows(draw)
    rows, soft = tuple(sizes), draw.choice(False, False, True)
    weight = draw.choice(None, (sizes[1],))
    left_out = -100 if soft else draw.choice(-100, -100, 0, sizes[1] - 1, 1000)
    smoothing = draw.choice(0.0, 0.0, 0.25, 0.1, 0.5)
    options = {"ignore_index": left_out, "reduction": draw_reduction(draw), "label_smoothing": smoothing}
    return Form((rows, rows if soft else places(rows), weight), options)
