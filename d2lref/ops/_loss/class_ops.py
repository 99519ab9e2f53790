"""nll_loss and cross_entropy, each as one record."""

from typing import Any

from d2lref.ops._loss import class_laws, nll
from d2lref.ops._loss import cross_entropy as ce
from d2lref.ops._loss.class_mistakes import OF_LOGARITHMS, OF_LOGITS
from d2lref.spec import Form, Op, Operand, Rejection, Shape, Variant

# 1 Rejections of both

_X = (2, 3, 4)


def _rejections(name: str, usual: dict[str, Any]) -> tuple[Rejection, ...]:
    return (
        Rejection(
            "a weight for each place",
            (_X, (2, 4), (4,)),
            usual,
            f"{name}: weight (4,), expected (3,): one number for each class of (2, 3, 4)",
        ),
        Rejection(
            "one weight for all classes",
            (_X, (2, 4), (1,)),
            usual,
            f"{name}: weight (1,), expected (3,): one number for each class of (2, 3, 4)",
        ),
        Rejection(
            "an input without images",  # torch takes one row of classes
            ((3,), (), None),
            usual,
            f"{name}: input (3,) has 1 axes, expected at least 2: images, classes",
            mandatory=False,
        ),
        Rejection(
            "an unknown reduction",
            (_X, (2, 4), None),
            {**usual, "reduction": "average"},
            f"{name}: reduction='average', expected 'mean', 'sum' or 'none'",
        ),
    )


_NLL: dict[str, Any] = {"ignore_index": -100, "reduction": "mean"}
_NLL_WANTS = "expected (2, 4): one class for each place of input (2, 3, 4)"
_CE_WANTS = "expected (2, 4) for classes or (2, 3, 4) for probabilities"


def _gallery(target: Shape, **usual: Any) -> tuple[Form, ...]:
    return tuple(Form((_X, target, (3,)), {**usual, "reduction": r}) for r in ("mean", "sum", "none"))


# 2 The ops

nll_loss = Op(
    name="nll_loss",
    operands=(
        Operand("input"),
        Operand("target", differentiable=False, indices=nll.indices),
        Operand("weight", optional=True, differentiable=False),
    ),
    options=_NLL,
    shape=nll.shape,
    definition=nll.definition,
    variants={"by_indexing": Variant(nll.by_indexing)},
    vjp=nll.vjp,
    bound=nll.bound,
    vjp_bound=nll.vjp_bound,
    cases=nll.cases,
    regimes=("lattice_small", "lattice_wide", "sparse", "normal", "positive", "wide_range", "subnormal", "masked"),
    gallery=(*_gallery((2, 4), ignore_index=-100), *_gallery((2, 4), ignore_index=1)),
    follows=("nan", "inf"),
    laws=class_laws.NLL,
    rejections=(
        Rejection(
            "a target for each class",
            (_X, (3, 4), None),
            _NLL,
            f"nll_loss: target (3, 4), {_NLL_WANTS}",
        ),
        Rejection(
            "a target of the shape of input",
            (_X, _X, None),
            _NLL,
            f"nll_loss: target (2, 3, 4), {_NLL_WANTS}",
        ),
        *_rejections("nll_loss", _NLL),
    ),
    mistakes=OF_LOGARITHMS,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1.2",
)

cross_entropy = Op(
    name="cross_entropy",
    operands=(
        Operand("input"),
        Operand("target", indices=ce.indices),
        Operand("weight", optional=True, differentiable=False),
    ),
    options=ce.DEFAULTS,
    shape=ce.shape,
    definition=ce.definition,
    variants={
        "one_pass": Variant(ce.one_pass, algorithm="online"),
        "by_class": Variant(ce.by_class, accepts=lambda x, target, _weight, **_: not ce.probable(x, target)),
    },
    vjp=ce.vjp,
    bound=ce.bound,
    vjp_bound=ce.vjp_bound,
    cases=ce.cases,
    regimes=(
        "lattice_small",
        "normal",
        "positive",
        "wide_range",
        "cancelling",
        "subnormal",
        "large_mean",
        "ties",
        "saturating",
        "masked",
    ),
    gallery=(
        *_gallery((2, 4), ignore_index=-100, label_smoothing=0.0),
        *_gallery((2, 4), ignore_index=1, label_smoothing=0.1),
        *_gallery(_X, ignore_index=-100, label_smoothing=0.0),
    ),
    laws=class_laws.CROSS_ENTROPY,
    rejections=(
        Rejection(
            "a target for each class",
            (_X, (3, 4), None),
            ce.DEFAULTS,
            f"cross_entropy: target (3, 4), {_CE_WANTS}",
        ),
        Rejection(
            "probabilities for other classes",
            (_X, (2, 5, 4), None),
            ce.DEFAULTS,
            f"cross_entropy: target (2, 5, 4), {_CE_WANTS}",
        ),
        *_rejections("cross_entropy", ce.DEFAULTS),
        Rejection(
            "more than all of the label smoothed away",
            (_X, (2, 4), None),
            {**ce.DEFAULTS, "label_smoothing": 1.5},
            "cross_entropy: label_smoothing=1.5, expected a number from 0 to 1",
        ),
        Rejection(
            "a negative label_smoothing",  # torch takes it for 0
            (_X, (2, 4), None),
            {**ce.DEFAULTS, "label_smoothing": -0.5},
            "cross_entropy: label_smoothing=-0.5, expected a number from 0 to 1",
            mandatory=False,
        ),
        Rejection(
            "a class to be ignored among probabilities",
            (_X, _X, None),
            {**ce.DEFAULTS, "ignore_index": 1},
            "cross_entropy: ignore_index=1, expected one below 0: the target is no class",
        ),
    ),
    mistakes=OF_LOGITS,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1.2; Szegedy and others 2016, section 7",
)
