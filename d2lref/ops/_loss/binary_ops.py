"""binary_cross_entropy_with_logits as one record."""

from typing import Any

from d2lref.ops._loss.binary import NAME, bound, cases, definition, shape, two_branches, two_terms, vjp, vjp_bound
from d2lref.ops._loss.binary_laws import LAWS
from d2lref.ops._loss.binary_mistakes import MISTAKES
from d2lref.spec import Form, Op, Operand, Rejection, Variant

_MEAN: dict[str, Any] = {"reduction": "mean"}
_X = (2, 3)

REJECTIONS = (
    Rejection(
        "a target of another size",
        (_X, (2, 2), None, None),
        _MEAN,
        f"{NAME}: target (2, 2), expected (2, 3), the shape of input",
    ),
    Rejection(
        "a target that would have to be broadcast",
        (_X, (3,), None, None),
        _MEAN,
        f"{NAME}: target (3,), expected (2, 3), the shape of input",
    ),
    Rejection(
        "a weight for each image",
        (_X, _X, (2,), None),
        _MEAN,
        f"{NAME}: weight (2,), expected a shape that is broadcast to (2, 3), of input",
    ),
    Rejection(
        "a pos_weight for each image",
        (_X, _X, None, (2,)),
        _MEAN,
        f"{NAME}: pos_weight (2,), expected a shape that is broadcast to (2, 3), of input",
    ),
    Rejection(
        "a weight with more axes than the input",
        (_X, _X, (5, 2, 3), None),
        _MEAN,
        f"{NAME}: weight (5, 2, 3), expected a shape that is broadcast to (2, 3), of input",
    ),
    Rejection(
        "an unknown reduction",
        (_X, _X, None, None),
        {"reduction": "average"},
        f"{NAME}: reduction='average', expected 'mean', 'sum' or 'none'",
    ),
)

binary_cross_entropy_with_logits = Op(
    name=NAME,
    operands=(
        Operand("input"),
        Operand("target"),
        Operand("weight", optional=True, differentiable=False),
        Operand("pos_weight", optional=True, differentiable=False),
    ),
    options=_MEAN,
    shape=shape,
    definition=definition,
    variants={"two_terms": Variant(two_terms), "two_branches": Variant(two_branches)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=(
        "lattice_small",
        "normal",
        "positive",
        "wide_range",
        "subnormal",
        "large_mean",
        "ties",
        "saturating",
        "decided",
    ),
    gallery=tuple(Form((_X, _X, (3,), (3,)), {"reduction": r}) for r in ("mean", "sum", "none")),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Bishop 2006, section 4.3.2; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 18.5",
)
