"""Wrong binary cross-entropies, each modelled on a report."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.ops._loss import binary_laws as laws
from d2lref.ops._loss import regression_laws as shared
from d2lref.ops._loss.binary import checked, definition, sigmoid, softplus, vjp
from d2lref.ops._loss.reduction import reduced, share
from d2lref.spec import Array, Mistake

Way = Callable[..., Any]


def _made(losses: Way, reduce: Way = reduced) -> Way:
    """Return the loss with l = losses(x, t, w, q), None for what is absent, and another reduction."""

    def forward(*arrays: Any, reduction: str = "mean") -> Array:
        whole = checked(arrays, {"reduction": reduction})
        with np.errstate(all="ignore"):
            return np.asarray(reduce(losses(*whole), reduction))

    return forward


def _right(x: Array, t: Array, w: Any, q: Any) -> Array:
    return definition(x, t, w, q, reduction="none")


def _weighed(losses: Array, w: Any) -> Array:
    return losses if w is None else losses * w


# 1 Values


def _log_of_one_plus(x: Array, t: Array, w: Any, q: Any) -> Array:
    """log(1 + e^-|x|), which is 0 from where e^-|x| is below u."""
    tail = np.log(1 + np.exp(-np.abs(x)))
    scale = 1.0 if q is None else 1.0 + (q - 1.0) * t
    return _weighed((1.0 - t) * x + scale * (np.maximum(-x, 0.0) + tail), w)


def _overflowing(x: Array, t: Array, w: Any, q: Any) -> Array:
    """log(1 + e^x) as it stands for what is not due."""
    not_due = np.log(1 + np.exp(x))
    return _weighed((t if q is None else q * t) * softplus(-x) + np.where(t == 1, 0.0, (1.0 - t) * not_due), w)


def _whole_by_scale(x: Array, t: Array, w: Any, q: Any) -> Array:
    """The loss without pos_weight, times 1 + (q - 1) t."""
    return _right(x, t, w, None) * (1.0 if q is None else 1.0 + (q - 1.0) * t)


def _pos_weight_for_all(x: Array, t: Array, w: Any, q: Any) -> Array:
    return _weighed(_right(x, t, w, None), q)


def _weight_for_positives(x: Array, t: Array, w: Any, q: Any) -> Array:
    return _weighed((t if q is None else q * t) * softplus(-x), w) + (1.0 - t) * softplus(x)


def _image_means(losses: Array, reduction: str) -> Array:
    """Average over the images where nothing should be reduced."""
    if reduction != "none" or losses.ndim < 2 or not losses.size:
        return reduced(losses, reduction)
    return np.broadcast_to(np.mean(losses, axis=0), losses.shape).copy()


def _always_averages(losses: Array, reduction: str) -> Array:
    return reduced(losses, "mean" if reduction == "sum" else reduction)


def _over_weights(x: Array, t: Array, w: Any = None, q: Any = None, *, reduction: str = "mean") -> Array:
    """Divide a mean by the sum of the weights."""
    if reduction != "mean" or w is None:
        return definition(x, t, w, q, reduction=reduction)
    with np.errstate(all="ignore"):
        whole = np.sum(np.broadcast_to(w, x.shape))
        return np.asarray(definition(x, t, w, q, reduction="sum") / whole)


# 2 Gradients


def _turned(turn: Way) -> Way:
    """Return the vjp with turn(dx, dt, x, t, w, q) in place of its gradients; dx and dt are those of a sum."""

    def wrong(gy: Array, *arrays: Any, reduction: str = "mean") -> tuple[Array, Array, None, None]:
        whole = checked(arrays, {"reduction": reduction})
        dx, dt, *_ = vjp(np.ones_like(gy, shape=()), *whole, reduction="sum")
        g = share(gy, arrays[0].shape, reduction)
        return (*(g * d for d in turn(dx, dt, *whole)), None, None)

    return wrong


def _flat_at_zero(dx: Array, dt: Array, x: Array, t: Array, w: Any, q: Any) -> tuple[Array, Array]:
    """max(x, 0) and |x| have no slope at 0."""
    return np.where(x == 0, _weighed(-t if q is None else -t * q, w), dx), dt


def _without_pos_weight(dx: Array, dt: Array, x: Array, t: Array, w: Any, q: Any) -> tuple[Array, Array]:
    del dx, q
    return _weighed(sigmoid(x) - t, w), dt


def _without_weight(dx: Array, dt: Array, x: Array, t: Array, w: Any, q: Any) -> tuple[Array, Array]:
    del w, dx
    return vjp(np.ones_like(x, shape=()), x, t, None, q, reduction="sum")[0], dt


def _without_target(dx: Array, dt: Array, *_others: Any) -> tuple[Array, Array]:
    return dx, np.zeros_like(dt)


def _spread(spread: Way) -> Way:
    """Return the vjp with another way to hand the cotangent to the losses."""

    def wrong(gy: Array, *arrays: Any, reduction: str = "mean") -> tuple[Array, Array, None, None]:
        whole = checked(arrays, {"reduction": reduction})
        dx, dt, *_ = vjp(np.ones_like(gy, shape=()), *whole, reduction="sum")
        g = spread(gy, arrays[0].shape, reduction)
        return g * dx, g * dt, None, None

    return wrong


def _undivided(gy: Array, losses: Any, reduction: str) -> Array:
    return share(gy, losses, "sum" if reduction == "mean" else reduction)


def _cotangent_of_the_first(gy: Array, losses: Any, reduction: str) -> Array:
    if reduction != "none" or not gy.size:
        return share(gy, losses, reduction)
    return np.broadcast_to(gy.ravel()[0], losses)


MISTAKES = (
    Mistake(
        "takes the logarithm of 1 + e^-|x|, and loses small losses",
        "https://github.com/pytorch/pytorch/pull/92145",
        _made(_log_of_one_plus),
        caught_by=(laws.POSITIVE,),
    ),
    Mistake(
        "lets the exponential of a large logit overflow",
        "https://github.com/borgwang/tinynn/pull/7",
        _made(_overflowing),
        caught_by=(laws.MIRRORED,),
    ),
    Mistake(
        "multiplies the whole loss by 1 + (pos_weight - 1) target",
        "https://github.com/PaddlePaddle/Paddle/pull/54869",
        _made(_whole_by_scale),
        caught_by=(laws.BETWEEN,),
    ),
    Mistake(
        "multiplies negatives by pos_weight too",
        "https://github.com/open-mmlab/mmpretrain/issues/434",
        _made(_pos_weight_for_all),
        caught_by=(laws.POSITIVES,),
    ),
    Mistake(
        "weighs positives alone",
        "https://github.com/chufengt/ALM-pedestrian-attribute/issues/19",
        _made(_weight_for_positives),
        caught_by=(laws.WEIGHS,),
    ),
    Mistake(
        "averages over the images where nothing is to be reduced",
        "https://github.com/deepchem/deepchem/issues/936",
        _made(_right, _image_means),
        caught_by=(laws.ALONE,),
    ),
    Mistake(
        "averages where a sum is asked for",
        "https://github.com/open-mmlab/mmdetection/issues/2297",
        _made(_right, _always_averages),
        caught_by=(shared.ADDS,),
    ),
    Mistake(
        "divides a mean by the sum of the weights",
        "https://github.com/pytorch/pytorch/issues/54843",
        _over_weights,
        caught_by=(shared.AVERAGES,),
    ),
    Mistake(
        "has no slope at a logit of 0",
        "https://github.com/pytorch/pytorch/issues/2298",
        vjp=_turned(_flat_at_zero),
        caught_by=(laws.SIGMOID,),
    ),
    Mistake(
        "forgets pos_weight in the gradient",
        "https://github.com/PaddlePaddle/Paddle/issues/64226",
        vjp=_turned(_without_pos_weight),
        caught_by=(laws.GRADIENT_POSITIVES,),
    ),
    Mistake(
        "forgets the weight in the gradient",
        "https://github.com/rbgirshick/fast-rcnn/issues/134",
        vjp=_turned(_without_weight),
        caught_by=(laws.GRADIENT_WEIGHS,),
    ),
    Mistake(
        "has no gradient for the target",
        "https://github.com/pytorch/pytorch/issues/56683",
        vjp=_turned(_without_target),
        caught_by=(laws.MINUS_LOGIT,),
    ),
    Mistake(
        "does not divide the gradient of a mean",
        "https://github.com/jxgu1016/MNIST_center_loss_pytorch/issues/9",
        vjp=_spread(_undivided),
        caught_by=(shared.SHARED,),
    ),
    Mistake(
        "takes the cotangent of the first loss for all",
        "https://github.com/paiml/aprender/pull/2182",
        vjp=_spread(_cotangent_of_the_first),
        caught_by=(shared.EACH,),
    ),
)
