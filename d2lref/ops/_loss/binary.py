"""binary_cross_entropy_with_logits: what it costs to expect an event with log-odds x when it is due with weight t.

s = log1p(e^-|x|) is the part that no exponential overflows in: softplus(x) = log(1 + e^x) = max(x, 0) + s.
"""

from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import given
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import either
from d2lref.ops._loss.reduction import (
    answer_shape,
    answered,
    check_reduction,
    check_same,
    draw_reduction,
    product,
    reduced,
    reduced_pair,
    share,
    shared_pair,
)
from d2lref.rounding import HOST, Pair, Precision, Running
from d2lref.spec import Array, Draw, Form, Shape

NAME = "binary_cross_entropy_with_logits"

# 1 Shape


def shape(
    x: Shape,
    target: Shape,
    weight: Shape | None = None,
    pos_weight: Shape | None = None,
    *,
    reduction: str = "mean",
) -> tuple[Shape]:
    """Return () or the shape of input; the target has it too, weight and pos_weight are broadcast to it.

    Raises ValueError.
    """
    check_reduction(NAME, reduction)
    check_same(NAME, x, target)
    for name, other in (("weight", weight), ("pos_weight", pos_weight)):
        if other is not None and not _fits(tuple(other), tuple(x)):
            wanted = f"a shape that is broadcast to {tuple(x)}, of input"
            raise ValueError(f"{NAME}: {name} {tuple(other)}, expected {wanted}")
    return answer_shape(x, reduction)


def _fits(small: Shape, large: Shape) -> bool:
    """Return whether an array of one shape is repeated to another, which stays as it is."""
    ends = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(a in {1, b} for a, b in ends)


def four(arrays: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
    """Return the four arrays, None for each that was left out at the end."""
    whole = [*arrays, None, None]
    return whole[0], whole[1], whole[2], whole[3]


def checked(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return the four arrays, None for an absent one. Raises ValueError."""
    whole = four(arrays)
    sizes = [None if a is None else tuple(a.shape) for a in whole[2:]]
    shape(tuple(whole[0].shape), tuple(whole[1].shape), *sizes, **options)
    return whole


# 2 Definition


def definition(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """l = -w (q t log σ(x) + (1 - t) log(1 - σ(x))) = w ((1 - t) x + (1 + (q - 1) t) (max(-x, 0) + log1p(e^-|x|))).

    y is the mean of l over all places, its sum, or l itself; q is pos_weight, w the weight, each 1 where it is absent.
    input and target of one shape and dtype, weight and pos_weight broadcast to it, y of shape () or, with reduction
    "none", of theirs. Neither a mean nor a sum divides by the weights; a mean of nothing is NaN. Raises ValueError.
    Source: Bishop 2006, Pattern Recognition and Machine Learning, equation 4.90, on the logit: nothing overflows.
    """
    x, target, weight, pos_weight = checked((x, target, weight, pos_weight), {"reduction": reduction})
    losses = (1.0 - target) * x + _scale(target, pos_weight) * softplus(-x)
    return reduced(losses if weight is None else losses * weight, reduction)


def softplus(x: Array) -> Array:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    xp = namespace(x)
    return xp.where(x > 0, x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def _scale(target: Array, pos_weight: Array | None) -> Array | float:
    """1 + (q - 1) t."""
    return 1.0 if pos_weight is None else 1.0 + (pos_weight - 1.0) * target


# 3 Other ways


def two_terms(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """l = w (q t softplus(-x) + (1 - t) softplus(x)): the two outcomes apart."""
    x, target, weight, pos_weight = checked((x, target, weight, pos_weight), {"reduction": reduction})
    positive = target if pos_weight is None else target * pos_weight
    losses = positive * softplus(-x) + (1.0 - target) * softplus(x)
    return reduced(losses if weight is None else losses * weight, reduction)


def two_branches(
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """l = w (s (1 + (q - 1) t) + (1 - t) x for x > 0, or - q t x): one product fewer in either branch."""
    x, target, weight, pos_weight = checked((x, target, weight, pos_weight), {"reduction": reduction})
    xp = namespace(x)
    positive = target if pos_weight is None else target * pos_weight
    losses = xp.log1p(xp.exp(-xp.abs(x))) * _scale(target, pos_weight) + xp.where(x > 0, 1.0 - target, -positive) * x
    return reduced(losses if weight is None else losses * weight, reduction)


# 4 Derivative


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + e^-x), by e^x / (1 + e^x) where x < 0."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, xp.ones_like(x)) / (1.0 + e)


def vjp(
    gy: Array,
    x: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> tuple[Array, Array, None, None]:
    """dx = g w ((1 - t) σ(x) - q t σ(-x)) and dtarget = g w (q softplus(-x) - softplus(x)), g as in reduction.share.

    Without pos_weight these are g w (σ(x) - t) and - g w x. The weights have no gradient, as in torch.
    """
    x, target, weight, pos_weight = checked((x, target, weight, pos_weight), {"reduction": reduction})
    positive = target if pos_weight is None else target * pos_weight
    dx = (1.0 - target) * sigmoid(x) - positive * sigmoid(-x)
    dt = -x if pos_weight is None else pos_weight * softplus(-x) - softplus(x)
    g = share(gy, x.shape, reduction)
    g = g if weight is None else g * weight
    return g * dx, g * dt, None, None


# 5 How wrong it may be
# Each formula in use is one pair, and the largest error counts: they differ in what cancels.


def _tail_pair(run: Running, x: Pair) -> Pair:
    """Return the pair of s = log1p(e^-|x|)."""
    return run.apply("log1p", run.apply("exp", Pair(-np.abs(x.value), x.error)))


def _softplus_pair(run: Running, x: Pair) -> Pair:
    """Return the pair of max(x, 0) + s."""
    return run.add(Pair(np.maximum(x.value, 0.0), x.error), _tail_pair(run, x))


def _sigmoid_pair(run: Running, x: Pair) -> Pair:
    """Return the pair of σ(x): 1 / (1 + e^-x), e^x / (1 + e^x), or, where declared, (1 + tanh(x / 2)) / 2.

    Both quotients are wrong by the exponential's error, one rounding of the sum and three of the division; 1 / (1 +
    e^-x) is 0 where e^-x overflows, below 4 nmin.
    """
    e = run.apply("exp", Pair(-np.abs(x.value), x.error))
    one = Pair.exact(np.ones_like(x.value))
    top = Pair(np.where(x.value < 0, e.value, 1.0), np.where(x.value < 0, e.error, 0.0))
    quotient = run.div(top, run.add(one, e))
    twice = run.rounded(Pair(quotient.value, quotient.error + np.abs(quotient.value) * e.error / (e.value + HOST.nmin)))
    by_tanh = (2 * run.p.ulp.at("tanh", x.value / 2) + 4) * run.p.u if run.p.sigmoid == "tanh" else 0.0
    return Pair(quotient.value, twice.error + by_tanh + 4 * run.p.accumulator.nmin)


def _times(run: Running, a: Pair, b: Pair) -> Pair:
    """Return fl(a b): exact where one of them is 0 or 1 without error, as targets are that say yes or no."""
    y = run.mul(a, b)
    plain = np.zeros(y.shape, np.bool_)
    for one, other in ((a, b), (b, a)):
        plain = plain | ((one.error == 0) & np.isin(one.value, (0.0, 1.0)) & (other.error == 0))
    return Pair(y.value, np.where(plain, 0.0, y.error))


def _less(run: Running, a: Pair, b: Pair) -> Pair:
    """Return fl(a - b): exact where both are 0 or 1 without error."""
    y = run.sub(a, b)
    whole = (a.error == 0) & (b.error == 0) & np.isin(a.value, (0.0, 1.0)) & np.isin(b.value, (0.0, 1.0))
    return Pair(y.value, np.where(whole, 0.0, y.error))


def _parts(p: Precision, *arrays: Any) -> tuple[Pair, ...]:
    """Return the pairs of x, t, 1 - t, q t, 1 + (q - 1) t, w and q, each of the shape of x; absent weights are 1."""
    x, target, weight, pos_weight = four(arrays)
    run, one = Running(p), Pair.exact(np.ones(x.shape))
    w, q = (one if a is None else given(p, np.broadcast_to(a, x.shape)) for a in (weight, pos_weight))
    t = given(p, target)
    rest = _less(run, one, t)
    if pos_weight is None:
        return given(p, x), t, rest, t, one, w, q
    positive = _times(run, q, t)
    scale = run.add(one, _times(run, run.sub(q, one), t))
    scale = either(scale, run.add(rest, positive), run.sub(run.add(positive, one), t))
    return given(p, x), t, rest, positive, scale, w, q


def _losses(run: Running, *arrays: Any) -> Pair:
    """Return the pair of l by every formula: two terms apart, one softplus, two branches, max(x, 0) - x t + s."""
    x, t, rest, positive, scale, w, _q = _parts(run.p, *arrays)
    tail, falling = _tail_pair(run, x), _softplus_pair(run, -x)
    apart = run.add(_times(run, positive, falling), _times(run, rest, _softplus_pair(run, x)))
    joined = run.add(_times(run, rest, x), _times(run, scale, falling))
    up = x.value > 0
    steep = Pair(np.where(up, rest.value, -positive.value), np.where(up, rest.error, positive.error))
    branches = run.add(_times(run, scale, tail), _times(run, steep, x))
    ways = [joined, branches]
    if four(arrays)[3] is None:
        ways.append(run.add(run.sub(Pair(np.maximum(x.value, 0.0), x.error), _times(run, x, t)), tail))
    return product(run, either(apart, *ways), w)


def bound(y: Array, precision: Precision, *arrays: Any, reduction: str = "mean") -> np.ndarray:
    """Pairs on every formula of l in use, and on the reduction (ASNA, chapters 3 and 4; rounding.Running)."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        return answered(run, reduced_pair(run, _losses(run, *arrays), reduction))


def vjp_bound(
    grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, reduction: str = "mean"
) -> tuple[np.ndarray, np.ndarray, None, None]:
    """Pairs on every formula of the two gradients in use, their factors in any order."""
    del grads
    run = Running(precision)
    with np.errstate(all="ignore"):
        x, _t, rest, positive, scale, w, q = _parts(precision, *arrays)
        up, down = _sigmoid_pair(run, x), _sigmoid_pair(run, -x)
        dx = either(
            run.sub(run.mul(rest, up), run.mul(positive, down)),
            run.sub(run.mul(scale, up), positive),
            run.sub(rest, run.mul(scale, down)),
        )
        if four(arrays)[3] is None:
            dx, dt = either(dx, run.sub(up, positive)), -x
        else:
            falling = _softplus_pair(run, -x)
            dt = run.sub(run.mul(q, falling), _softplus_pair(run, x))
            dt = either(dt, run.sub(run.mul(run.sub(q, Pair.exact(np.ones(q.shape))), falling), x))
        g = given(precision, gy)
        return _gradient(run, g, dx, w, reduction), _gradient(run, g, dt, w, reduction), None, None


def _gradient(run: Running, g: Pair, slope: Pair, w: Pair, reduction: str) -> np.ndarray:
    """Return the bound of g w slope; the mean may divide first or last."""
    size = slope.shape
    early = product(run, shared_pair(run, g, size, reduction), w, slope)
    late = product(run, g.map(lambda a: np.broadcast_to(a, size)), w, slope)
    late = shared_pair(run, late, size, reduction) if reduction == "mean" else early
    return run.answer(either(early, late))


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw one to four axes; the weights are absent, of one number, one for each class, or of the shape of input."""
    sizes = list(draw.sizes(*(1,) * draw.choice(1, 2, 2, 3, 4)))
    if draw.integer(0, 31) == 31:
        sizes[0] = 0
    full = tuple(sizes)
    weight, pos_weight = (draw.choice(None, None, (1,), full[-1:], full) for _ in range(2))
    return Form((full, full, weight, pos_weight), {"reduction": draw_reduction(draw)})
