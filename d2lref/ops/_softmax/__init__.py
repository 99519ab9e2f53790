"""softmax and log_softmax: exponentials of a row divided by their sum, and its logarithm (d2l 4.1.1)."""

from d2lref.ops._softmax.bounds import log_softmax_bound, log_softmax_vjp_bound, softmax_bound, softmax_vjp_bound
from d2lref.ops._softmax.definition import log_softmax as _log_softmax
from d2lref.ops._softmax.definition import (
    log_softmax_shape,
    log_softmax_vjp,
    online_log_softmax,
    online_softmax,
    softmax_shape,
    softmax_vjp,
)
from d2lref.ops._softmax.definition import softmax as _softmax
from d2lref.ops._softmax.laws import LOG_SOFTMAX_LAWS, SOFTMAX_LAWS
from d2lref.ops._softmax.mistakes import LOG_SOFTMAX_MISTAKES, SOFTMAX_MISTAKES
from d2lref.spec import REQUIRED, Draw, Form, Op, Operand, Rejection, Variant

# 1 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes and the axis of rows, counted from either end; shrinks to a single number."""
    axes = draw.choice(1, 2, 3, 4)
    sizes = list(draw.sizes(*(1,) * axes))
    dim = draw.integer(0, axes - 1)
    if axes > 1 and draw.integer(0, 31) == 31:
        sizes[(dim + 1) % axes] = 0
    return Form((tuple(sizes),), {"dim": dim - draw.choice(0, axes)})


def _rejections(name: str) -> tuple[Rejection, ...]:
    return (
        Rejection("an axis beyond the last", ((2, 3),), {"dim": 2}, _message(name, 2)),
        Rejection("an axis before the first", ((2, 3),), {"dim": -3}, _message(name, -3)),
        Rejection("a fraction for the axis", ((2, 3),), {"dim": 0.5}, _message(name, 0.5)),
        Rejection(
            "a number",  # torch answers it
            ((),),
            {"dim": 0},
            f"{name}: x () has no axis, expected at least one",
            mandatory=False,
        ),
    )


def _message(name: str, dim: float) -> str:
    return f"{name}: dim={dim}, expected an integer from -2 to 1 for x (2, 3)"


_REGIMES = (
    "lattice_small",
    "normal",
    "wide_range",
    "cancelling",
    "subnormal",
    "large_mean",
    "ties",
    "saturating",
    "signed_zero",
    "nonfinite",
)
_GALLERY = (Form(((2, 10),), {"dim": 1}), Form(((3, 2, 5),), {"dim": 0}))

# 2 The ops

softmax = Op(
    name="softmax",
    operands=(Operand("x"),),
    options={"dim": REQUIRED},
    shape=softmax_shape,
    definition=_softmax,
    variants={"online": Variant(online_softmax, algorithm="online")},
    vjp=softmax_vjp,
    bound=softmax_bound,
    vjp_bound=softmax_vjp_bound,
    cases=cases,
    regimes=_REGIMES,
    gallery=_GALLERY,
    laws=SOFTMAX_LAWS,
    rejections=_rejections("softmax"),
    mistakes=SOFTMAX_MISTAKES,
    source="Bridle 1990; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1.1",
)

log_softmax = Op(
    name="log_softmax",
    operands=(Operand("x"),),
    options={"dim": REQUIRED},
    shape=log_softmax_shape,
    definition=_log_softmax,
    variants={"online": Variant(online_log_softmax, algorithm="online")},
    vjp=log_softmax_vjp,
    bound=log_softmax_bound,
    vjp_bound=log_softmax_vjp_bound,
    cases=cases,
    regimes=_REGIMES,
    gallery=_GALLERY,
    laws=LOG_SOFTMAX_LAWS,
    rejections=_rejections("log_softmax"),
    mistakes=LOG_SOFTMAX_MISTAKES,
    source="Bridle 1990; Blanchard, Higham and Higham 2021",
)
