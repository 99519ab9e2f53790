"""Wrong losses of a distance, each modelled on a report."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from d2lref.ops._loss import regression_laws as laws
from d2lref.ops._loss.reduction import reduced, share
from d2lref.ops._loss.regression import L1, MSE, SMOOTH, Regression, side, slope_of_smooth, smooth
from d2lref.spec import Array, Mistake

Way = Callable[..., Any]


def _reducing(loss: Regression, reduce: Way) -> Way:
    """Return the loss with another reduction."""

    def run(x: Array, target: Array, *, reduction: str = "mean", **options: Any) -> Array:
        loss.shape(x.shape, target.shape, reduction=reduction, **options)
        return reduce(loss.function(x - target, **options), reduction)

    return run


def _sharing(loss: Regression, spread: Way) -> Way:
    """Return the vjp with another way to hand the cotangent to the losses."""

    def vjp(gy: Array, x: Array, target: Array, *, reduction: str = "mean", **options: Any) -> tuple[Array, Array]:
        dx = spread(gy, x.shape, reduction) * loss.slope(x - target, **options)
        return dx, -dx

    return vjp


def _with(loss: Regression, function: Way) -> Way:
    return replace(loss, function=function).run


def _sloped(loss: Regression, slope: Way) -> Way:
    return replace(loss, slope=slope).vjp


# 1 Of every loss


def _always_averages(losses: Array, reduction: str) -> Array:
    return reduced(losses, "mean" if reduction == "sum" else reduction)


def _never_averages(losses: Array, reduction: str) -> Array:
    return reduced(losses, "sum" if reduction == "mean" else reduction)


def _per_image(losses: Array, reduction: str) -> Array:
    if reduction != "mean" or not losses.size:
        return reduced(losses, reduction)
    return np.sum(losses) / losses.shape[0]


def _row_means(losses: Array, reduction: str) -> Array:
    """Average over the last axis where nothing should be reduced."""
    if reduction != "none" or not losses.size:
        return reduced(losses, reduction)
    return np.broadcast_to(np.mean(losses, axis=-1, keepdims=True), losses.shape).copy()


def _undivided(gy: Array, losses: Any, reduction: str) -> Array:
    return share(gy, losses, "sum" if reduction == "mean" else reduction)


def _cotangent_of_the_first(gy: Array, losses: Any, reduction: str) -> Array:
    """Take one cotangent for all losses, as a scalar's backward pass may."""
    if reduction != "none" or not gy.size:
        return share(gy, losses, reduction)
    return np.broadcast_to(gy.ravel()[0], losses)


def _without_target(loss: Regression) -> Way:
    def vjp(gy: Array, x: Array, target: Array, **options: Any) -> tuple[Array, Array]:
        dx, _ = loss.vjp(gy, x, target, **options)
        return dx, np.zeros_like(dx)

    return vjp


def _common(loss: Regression, averages: Way, averages_cite: str, target_cite: str) -> tuple[Mistake, ...]:
    """Return the mistakes that every loss of a distance invites."""
    return (
        Mistake(
            "averages where a sum is asked for",
            "https://github.com/open-mmlab/mmdetection/issues/2297",
            _reducing(loss, _always_averages),
            caught_by=(laws.ADDS,),
        ),
        Mistake(
            "divides by the images where it should by the losses"
            if averages is _per_image
            else "sums where a mean is asked for",
            averages_cite,
            _reducing(loss, averages),
            caught_by=(laws.AVERAGES,),
        ),
        Mistake(
            "averages over the last axis where nothing is to be reduced",
            "https://github.com/deepchem/deepchem/issues/936",
            _reducing(loss, _row_means),
            caught_by=(laws.ALONE,),
        ),
        Mistake(
            "does not divide the gradient of a mean",
            "https://github.com/jxgu1016/MNIST_center_loss_pytorch/issues/9",
            vjp=_sharing(loss, _undivided),
            caught_by=(laws.SHARED,),
        ),
        Mistake(
            "takes the cotangent of the first loss for all",
            "https://github.com/paiml/aprender/pull/2182",
            vjp=_sharing(loss, _cotangent_of_the_first),
            caught_by=(laws.EACH,),
        ),
        Mistake(
            "has no gradient for the target",
            target_cite,
            vjp=_without_target(loss),
            caught_by=(laws.OPPOSITE,),
        ),
    )


# 2 Of the square


OF_SQUARE = (
    Mistake(
        "takes the distance for its square",
        "https://github.com/chiphuyen/python-is-cool/issues/7",
        _with(MSE, np.abs),
        caught_by=(laws.PARALLELOGRAM,),
    ),
    Mistake(
        "halves the square",
        "https://github.com/tiny-dnn/tiny-dnn/issues/159",
        _with(MSE, lambda d: d * d * 0.5),
        caught_by=(laws.UNIT,),
    ),
    *_common(
        MSE,
        _never_averages,
        "https://github.com/pytorch/pytorch/issues/10148",
        "https://github.com/pytorch/pytorch/pull/44437",
    ),
    Mistake(
        "forgets the 2 of the gradient",
        "https://github.com/davisking/dlib/issues/1169",
        vjp=_sloped(MSE, lambda d: d),
        caught_by=(laws.TWICE,),
    ),
)

# 3 Of the size


def _over_itself(d: Array) -> Array:
    """d / |d|, which is no number where d is 0."""
    with np.errstate(invalid="ignore"):
        return np.asarray(d / np.abs(d))


OF_SIZE = (
    Mistake(
        "squares the distance",
        "https://github.com/KevinMenden/scaden/issues/37",
        _with(L1, lambda d: d * d),
        caught_by=(laws.HOMOGENEOUS,),
    ),
    Mistake(
        "counts distances with their sign",
        "https://github.com/OSU-NLP-Group/saev/issues/19",
        _with(L1, lambda d: d),
        caught_by=(laws.UNIT,),
    ),
    *_common(
        L1,
        _never_averages,
        "https://github.com/pytorch/pytorch/issues/12933",
        "https://github.com/pytorch/pytorch/pull/44471",
    ),
    Mistake(
        "has a positive gradient on either side",
        "https://github.com/bashardudin/Epita-SCIA-OCVX/issues/1",
        vjp=_sloped(L1, lambda d: np.abs(side(d))),
        caught_by=(laws.SIDE,),
    ),
    Mistake(
        "divides the distance by its size for the side",
        "https://github.com/tracel-ai/burn/issues/1441",
        vjp=_sloped(L1, _over_itself),
        caught_by=(laws.AT_ZERO,),
    ),
)

# 4 Of the two joined


def _square_of_beta_one(d: Array, beta: float = 1.0) -> Array:
    return np.where(np.abs(d) < beta, d * d * 0.5, smooth(d, beta))


def _line_of_beta_one(d: Array, beta: float = 1.0) -> Array:
    return np.where(np.abs(d) < beta, smooth(d, beta), np.abs(d) - 0.5) if beta else smooth(d, beta)


def _bends_on_one_side(d: Array, beta: float = 1.0) -> Array:
    return np.where(d < beta, d * d * 0.5 / beta, smooth(d, beta)) if beta else smooth(d, beta)


def _huber(d: Array, beta: float = 1.0) -> Array:
    return smooth(d, beta) * beta if beta else smooth(d, beta)


def _slope_of_huber(d: Array, beta: float = 1.0) -> Array:
    return slope_of_smooth(d, beta) * beta if beta else slope_of_smooth(d, beta)


def _slope_of_beta_one(d: Array, beta: float = 1.0) -> Array:
    return np.where(np.abs(d) < beta, d, side(d))


def _no_limit(d: Array, beta: float = 1.0) -> Array:
    return d / beta if beta else side(d)


def _none_over_none(d: Array, beta: float = 1.0) -> Array:
    """d / beta within beta, also where both are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(d) <= beta, d / np.float64(beta), slope_of_smooth(d, beta)).astype(d.dtype)


OF_JOINED = (
    Mistake(
        "does not divide the square by beta",
        "https://github.com/keras-team/keras-cv/issues/920",
        _with(SMOOTH, _square_of_beta_one),
        caught_by=(laws.WITHIN,),
    ),
    Mistake(
        "loses one half of 1 beyond beta, whatever beta is",
        "https://github.com/pytorch/pytorch/pull/17447",
        _with(SMOOTH, _line_of_beta_one),
        caught_by=(laws.BEYOND,),
    ),
    Mistake(
        "compares the distance with beta without its size",
        "https://github.com/trzy/FasterRCNN/issues/2",
        _with(SMOOTH, _bends_on_one_side),
        caught_by=(laws.BEYOND,),
    ),
    Mistake(
        "is Huber's loss, beta times as large",
        "https://github.com/pytorch/pytorch/issues/48595",
        _with(SMOOTH, _huber),
        _sloped(SMOOTH, _slope_of_huber),
        caught_by=(laws.WITHIN, laws.BEYOND, laws.OVER_BETA, laws.BEYOND_SIDE),
    ),
    *_common(
        SMOOTH,
        _per_image,
        "https://github.com/rbgirshick/fast-rcnn/issues/128",
        "https://github.com/pytorch/pytorch/pull/44486",
    ),
    Mistake(
        "does not divide the gradient by beta",
        "https://github.com/pytorch/pytorch/pull/44433",
        vjp=_sloped(SMOOTH, _slope_of_beta_one),
        caught_by=(laws.OVER_BETA,),
    ),
    Mistake(
        "lets the gradient grow beyond beta",
        "Girshick 2015, Fast R-CNN, equation 3: beyond 1 the loss is linear, so that no gradient explodes",
        vjp=_sloped(SMOOTH, _no_limit),
        caught_by=(laws.BEYOND_SIDE,),
    ),
    Mistake(
        "divides by beta where it is 0",
        "https://github.com/pytorch/pytorch/issues/96813",
        vjp=_sloped(SMOOTH, _none_over_none),
        caught_by=(laws.AT_ZERO,),
    ),
)
