"""mse_loss, l1_loss and smooth_l1_loss, each as one record."""

from typing import Any

from d2lref.arrays import namespace
from d2lref.ops._loss import regression_laws as laws
from d2lref.ops._loss.reduction import over, reduced
from d2lref.ops._loss.regression import L1, MSE, SMOOTH, Regression, by_clipping, cases, smooth_cases
from d2lref.ops._loss.regression_mistakes import OF_JOINED, OF_SIZE, OF_SQUARE
from d2lref.spec import Array, Form, Op, Operand, Rejection, Variant

REGIMES = (
    "lattice_small",
    "sparse",
    "normal",
    "positive",
    "wide_range",
    "cancelling",
    "subnormal",
    "large_mean",
    "ties",
)
SOURCE = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, sections 3.1 and 4.1"

# 1 Definitions


def mse_definition(x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """l = (input - target)^2, place by place; y is the mean of l, its sum, or l itself.

    input and target of one shape and dtype, y of shape () or, with reduction "none", of theirs. A mean of nothing is
    NaN. Raises ValueError for shapes that differ. Source: Legendre 1805, Nouvelles méthodes pour la détermination des
    orbites des comètes, appendix; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 3.1.
    """
    return MSE.run(x, target, reduction=reduction)


def l1_definition(x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """l = |input - target|, place by place; y is the mean of l, its sum, or l itself.

    input and target of one shape and dtype, y of shape () or, with reduction "none", of theirs. A mean of nothing is
    NaN. Raises ValueError for shapes that differ. Source: Boscovich 1757; Zhang, Lipton, Li and Smola, Dive into Deep
    Learning, section 3.1.
    """
    return L1.run(x, target, reduction=reduction)


def smooth_l1_definition(x: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """l = d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; d = input - target, place by place.

    y is the mean of l, its sum, or l itself. input and target of one shape and dtype, y of shape () or, with reduction
    "none", of theirs. beta = 0 is the absolute distance. A mean of nothing is NaN. Raises ValueError for shapes that
    differ and for a negative beta. Source: Huber 1964, Robust estimation of a location parameter, Ann. Math. Statist.
    35(1), divided by beta; Girshick 2015, Fast R-CNN, section 2.3.
    """
    return SMOOTH.run(x, target, reduction=reduction, beta=beta)


# 2 Faster ways


def _dot(x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """The sum of squares as the product of the distances with themselves, which is a call of BLAS."""
    MSE.shape(x.shape, target.shape, reduction=reduction)
    if reduction == "none":
        return MSE.run(x, target, reduction=reduction)
    xp = namespace(x)
    d = xp.reshape(x - target, (-1,))
    total = xp.vecdot(d, d)
    return total if reduction == "sum" else over(total, d.shape[0])


def _between(x: Array, target: Array, *, reduction: str = "mean") -> Array:
    """The larger of the two less the smaller."""
    L1.shape(x.shape, target.shape, reduction=reduction)
    xp = namespace(x)
    return reduced(xp.maximum(x, target) - xp.minimum(x, target), reduction)


def _clipped(x: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """Both branches by one formula, without a choice."""
    SMOOTH.shape(x.shape, target.shape, reduction=reduction, beta=beta)
    return reduced(by_clipping(x - target, beta), reduction)


# 3 Rejections


def _rejections(loss: Regression, **usual: Any) -> tuple[Rejection, ...]:
    name, options = loss.name, {"reduction": "mean", **usual}
    return (
        Rejection(
            "a target of another size",
            ((2, 3), (2, 2)),
            options,
            f"{name}: target (2, 2), expected (2, 3), the shape of input",
        ),
        Rejection(
            "a target that would have to be broadcast",  # torch warns, and compares every number with many
            ((2, 1), (2,)),
            options,
            f"{name}: target (2,), expected (2, 1), the shape of input",
            mandatory=False,
        ),
        Rejection(
            "an unknown reduction",
            ((2, 3), (2, 3)),
            {**options, "reduction": "average"},
            f"{name}: reduction='average', expected 'mean', 'sum' or 'none'",
        ),
    )


# 4 The ops


def _gallery(**usual: Any) -> tuple[Form, ...]:
    return tuple(Form(((3, 4), (3, 4)), {"reduction": r, **usual}) for r in ("mean", "sum", "none"))


_OPERANDS = (Operand("input"), Operand("target"))

mse_loss = Op(
    name="mse_loss",
    operands=_OPERANDS,
    options={"reduction": "mean"},
    shape=MSE.shape,
    definition=mse_definition,
    variants={"dot": Variant(_dot)},
    vjp=MSE.vjp,
    bound=MSE.bound,
    vjp_bound=MSE.vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=_gallery(),
    follows=("nan", "inf"),
    laws=laws.SQUARE,
    rejections=_rejections(MSE),
    mistakes=OF_SQUARE,
    source=SOURCE,
)

l1_loss = Op(
    name="l1_loss",
    operands=_OPERANDS,
    options={"reduction": "mean"},
    shape=L1.shape,
    definition=l1_definition,
    variants={"between": Variant(_between)},
    vjp=L1.vjp,
    bound=L1.bound,
    vjp_bound=L1.vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=_gallery(),
    follows=("nan", "inf"),
    laws=laws.SIZE,
    rejections=_rejections(L1),
    mistakes=OF_SIZE,
    source=SOURCE,
)

smooth_l1_loss = Op(
    name="smooth_l1_loss",
    operands=_OPERANDS,
    options={"reduction": "mean", "beta": 1.0},
    shape=SMOOTH.shape,
    definition=smooth_l1_definition,
    variants={"clipped": Variant(_clipped)},
    vjp=SMOOTH.vjp,
    bound=SMOOTH.bound,
    vjp_bound=SMOOTH.vjp_bound,
    cases=smooth_cases,
    regimes=REGIMES,
    gallery=(*_gallery(beta=1.0), *_gallery(beta=0.0)),
    follows=("nan",),
    laws=laws.JOINED,
    rejections=(
        *_rejections(SMOOTH, beta=1.0),
        Rejection(
            "a negative beta",
            ((2, 3), (2, 3)),
            {"reduction": "mean", "beta": -1.0},
            "smooth_l1_loss: beta=-1.0, expected a number >= 0",
        ),
    ),
    mistakes=OF_JOINED,
    source="Huber 1964; Girshick 2015, section 2.3",
)
