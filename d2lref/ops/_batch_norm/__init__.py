"""batch_norm: every channel brought to mean 0 and variance 1, then scaled and shifted (d2l 8.5)."""

from d2lref.ops._batch_norm.bounds import bound, vjp_bound
from d2lref.ops._batch_norm.conventions import CONVENTIONS
from d2lref.ops._batch_norm.definition import count, definition, folded, shape, vjp, welford
from d2lref.ops._batch_norm.laws import LAWS
from d2lref.ops._batch_norm.mistakes import MISTAKES
from d2lref.spec import Draw, Form, Op, Operand, Rejection, Variant

# 1 Cases


def cases(draw: Draw) -> Form:
    """Draw one to four axes besides the channels; shrinks to inference on one number, without weight and bias."""
    training = draw.choice(False, True, True)
    images, channels, *size = draw.sizes(*(1,) * draw.choice(2, 3, 4, 5))
    if training:
        images = max(images, 2 if count((1, 1, *size)) == 1 else 1)
    elif draw.integer(0, 31) == 31:
        images = 0
    per_channel = (channels,)
    state = draw.choice(per_channel, per_channel, per_channel, None) if training else per_channel
    weight, bias = draw.choice(None, per_channel), draw.choice(None, per_channel)
    momentum, eps = draw.choice(0.1, 0.5, 0.0, 1.0), draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    options = {"training": training, "momentum": momentum, "eps": eps}
    return Form(((images, channels, *size), state, state, weight, bias), options)


# 2 Rejections

_OPTIONS = {"training": False, "momentum": 0.1, "eps": 1e-5}  # eps: torch's default
_TRAINING = {**_OPTIONS, "training": True}
_C = (3,)

REJECTIONS = (
    Rejection(
        "no axis of channels",
        (_C, _C, _C, None, None),
        _OPTIONS,
        "batch_norm: x (3,) has 1 axes, expected at least 2: images, channels",
    ),
    Rejection(
        "a running mean of the wrong size",
        ((2, 3), (4,), _C, None, None),
        _OPTIONS,
        "batch_norm: running_mean (4,), expected (3,): one number for each channel of x (2, 3)",
    ),
    Rejection(
        "a running variance of the wrong size in training",
        ((2, 3, 5), _C, (1,), None, None),
        _TRAINING,
        "batch_norm: running_var (1,), expected (3,): one number for each channel of x (2, 3, 5)",
    ),
    Rejection(
        "a weight for the last axis",
        ((2, 3, 5), _C, _C, (5,), None),
        _OPTIONS,
        "batch_norm: weight (5,), expected (3,): one number for each channel of x (2, 3, 5)",
    ),
    Rejection(
        "one bias for all channels",
        ((2, 3), _C, _C, None, (1,)),
        _OPTIONS,
        "batch_norm: bias (1,), expected (3,): one number for each channel of x (2, 3)",
    ),
    Rejection(
        "a weight with an axis for images",  # torch counts its numbers only
        ((2, 3), _C, _C, (1, 3), None),
        _OPTIONS,
        "batch_norm: weight (1, 3), expected (3,): one number for each channel of x (2, 3)",
        mandatory=False,
    ),
    Rejection(
        "inference without statistics",
        ((2, 3), None, None, None, None),
        _OPTIONS,
        "batch_norm: neither running_mean nor running_var, expected both unless training=True",
    ),
    Rejection(
        "a running mean alone",
        ((2, 3), _C, None, None, None),
        _TRAINING,
        "batch_norm: running_mean without running_var, expected both or neither",
    ),
    Rejection(
        "a running variance alone",
        ((2, 3), None, _C, None, None),
        _TRAINING,
        "batch_norm: running_var without running_mean, expected both or neither",
    ),
    Rejection(
        "one value per channel in training",
        ((1, 3, 1, 1), _C, _C, None, None),
        _TRAINING,
        "batch_norm: x (1, 3, 1, 1) has 1 values per channel, training needs at least 2",
    ),
    Rejection(
        "no value per channel in training",  # torch answers with an empty array
        ((0, 3), _C, _C, None, None),
        _TRAINING,
        "batch_norm: x (0, 3) has 0 values per channel, training needs at least 2",
        mandatory=False,
    ),
    Rejection(
        "a negative eps",  # others leave it to the square root
        ((2, 3), _C, _C, None, None),
        {**_OPTIONS, "eps": -1.0},
        "batch_norm: eps=-1.0, expected a number >= 0",
        mandatory=False,
    ),
    Rejection(
        "a momentum above 1",  # torch extrapolates
        ((2, 3), _C, _C, None, None),
        {**_TRAINING, "momentum": 1.5},
        "batch_norm: momentum=1.5, expected a number from 0 to 1",
        mandatory=False,
    ),
)

# 3 The op

batch_norm = Op(
    name="batch_norm",
    operands=(
        Operand("x"),
        Operand("running_mean", optional=True, differentiable=False, state=True),
        Operand("running_var", optional=True, differentiable=False, state=True, positive=True),
        Operand("weight", optional=True),
        Operand("bias", optional=True),
    ),
    outputs=("y", "mean", "var"),
    options=_OPTIONS,
    shape=shape,
    definition=definition,
    variants={"folded": Variant(folded), "welford": Variant(welford, algorithm="welford")},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=(
        "lattice_small",
        "sparse",
        "normal",
        "positive",
        "wide_range",
        "cancelling",
        "subnormal",
        "large_mean",
        "ties",
    ),
    gallery=(
        Form(((5, 4), (4,), (4,), (4,), (4,)), _OPTIONS),
        Form(((2, 3, 4, 4), (3,), (3,), (3,), (3,)), _TRAINING),
    ),
    follows=("nan",),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    conventions=CONVENTIONS,
    source="Ioffe and Szegedy 2015; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 8.5",
)
