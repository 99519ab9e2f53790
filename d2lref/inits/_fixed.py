"""constant, zeros, ones, eye, dirac: arrays that are given, not drawn (d2l 6.3.1)."""

from typing import Any

import numpy as np

from d2lref.inits._laws import any_shape
from d2lref.spec import REQUIRED, Array, Case, Distribution, Draw, Form, Mistake, Reading, Rejection, Shape, Trial

# 1 Shapes


def any_shape_fits(shape: Shape, **options: Any) -> Shape:
    """Return the shape, any."""
    del options
    return tuple(shape)


def eye_shape(shape: Shape) -> Shape:
    """Return the shape. Raises ValueError unless it has two axes."""
    if len(shape) != 2:
        raise ValueError(f"eye: shape {tuple(shape)} has {len(shape)} axes, expected 2: outputs, inputs")
    return tuple(shape)


def dirac_shape(shape: Shape, *, groups: int = 1) -> Shape:
    """Return the shape. Raises ValueError unless it is (outputs, inputs, *window), outputs a multiple of groups."""
    if len(shape) not in {3, 4, 5}:
        raise ValueError(
            f"dirac: shape {tuple(shape)} has {len(shape)} axes, expected 3 to 5: outputs, inputs per group, window"
        )
    if groups < 1 or shape[0] % groups:
        raise ValueError(f"dirac: {shape[0]} outputs, expected a multiple of groups={groups}")
    return tuple(shape)


# 2 Definitions


def draw_constant(shape: Shape, *, rng: np.random.Generator | None = None, val: float) -> Array:
    """w = val, everywhere.

    shape: any; the answer is float64; rng is not used. Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning,
    section 6.3.1.
    """
    del rng
    return np.full(shape, float(val))


def draw_zeros(shape: Shape, *, rng: np.random.Generator | None = None) -> Array:
    """w = 0, everywhere.

    shape: any; the answer is float64; rng is not used. Source: d2l 6.3.1.
    """
    del rng
    return np.zeros(shape)


def draw_ones(shape: Shape, *, rng: np.random.Generator | None = None) -> Array:
    """w = 1, everywhere.

    shape: any; the answer is float64; rng is not used. Source: d2l 6.3.1.
    """
    del rng
    return np.ones(shape)


def draw_eye(shape: Shape, *, rng: np.random.Generator | None = None) -> Array:
    """w[o, i] = 1 where o = i, else 0: a linear layer hands on as many of its inputs as it can.

    shape (outputs, inputs); the answer is float64; rng is not used. Raises ValueError (see `eye_shape`). Source: Le,
    Jaitly and Hinton 2015, A simple way to initialize recurrent networks of rectified linear units, section 2.
    """
    del rng
    eye_shape(shape)
    return np.eye(shape[0], shape[1])


def draw_dirac(shape: Shape, *, rng: np.random.Generator | None = None, groups: int = 1) -> Array:
    """w[g G + i, i, center] = 1 for every group g of G outputs and every i < min(G, inputs per group), else 0.

    A convolution that pads by half its window hands on as many of its channels as it can. shape (outputs, inputs per
    group, *window), center = window // 2; the answer is float64; rng is not used. Raises ValueError (see
    `dirac_shape`). Source: Zagoruyko and Komodakis 2017, DiracNets, section 3.
    """
    del rng
    dirac_shape(shape, groups=groups)
    w = np.zeros(shape)
    outputs = shape[0] // groups
    center = tuple(size // 2 for size in shape[2:])
    for group in range(groups):
        for i in range(min(outputs, shape[1])):
            w[(group * outputs + i, i, *center)] = 1.0
    return w


# 3 Cases


def constant_cases(draw: Draw, size: int = 64) -> Form:
    """Draw the value from a table; shrinks to a square of ones."""
    shape = any_shape(draw, size)
    return Form((), {"shape": shape, "val": draw.choice(1.0, 0.0, -2.5, 0.1, 1 / 3)})


def plain_cases(draw: Draw, size: int = 64) -> Form:
    """Draw a shape; shrinks to a square."""
    return Form((), {"shape": any_shape(draw, size)})


def eye_cases(draw: Draw, size: int = 64) -> Form:
    """Draw outputs and inputs, one in three times equal; shrinks to one number."""
    del size
    outputs, inputs = draw.sizes(1, 1)
    return Form((), {"shape": (outputs, outputs if draw.integer(0, 2) == 2 else inputs)})


def dirac_cases(draw: Draw, size: int = 64) -> Form:
    """Draw groups, outputs in a group, inputs and one to three window sizes; shrinks to one number."""
    del size
    groups = draw.choice(1, 2, 3)
    outputs, inputs, *window = draw.sizes(*(1,) * (draw.choice(1, 2, 3) + 2))
    return Form((), {"shape": (groups * outputs, inputs, *(min(n, 7) for n in window)), "groups": groups})


# 4 Laws


def from_value(answers: Array, value: float) -> float:
    """Return the largest distance of an entry from the value."""
    return float(np.max(np.abs(answers - value)))


def from_identity(answers: Array) -> float:
    """Return the largest distance of an entry from 1 on the diagonal and 0 off it."""
    w = answers[0, 0]
    row, column = np.indices(w.shape)
    return float(np.max(np.abs(w - (row == column))))


def off_center(answers: Array) -> float:
    """Return the largest entry, in size, outside the center of the window."""
    w = np.array(answers[0, 0])
    w[(..., *(size // 2 for size in w.shape[2:]))] = 0.0
    return float(np.max(np.abs(w)))


def channels_changed(answers: Array, groups: int) -> float:
    """Return how far a grouped convolution is from handing on the first channels of each group, and 0 beyond them.

    Channels are flat images of 1, 2, 3, ..., of which a filter sees the sum of its taps.
    """
    w = answers[0, 0]
    outputs, inputs = w.shape[0] // groups, w.shape[1]
    x = np.arange(1.0, groups * inputs + 1.0).reshape(groups, 1, inputs)
    y = np.sum(np.sum(w.reshape(groups, outputs, inputs, -1), axis=3) * x, axis=2)
    count = min(outputs, inputs)
    wanted = np.zeros_like(y)
    wanted[:, :count] = x[:, 0, :count]
    return float(np.max(np.abs(y - wanted)))


def _value(value: float | None = None) -> Trial:
    """Return the trial that every entry is the value, but for the rounding of its store (ASNA, Theorem 2.2)."""

    def reads(f: Any, case: Case) -> Reading:
        wanted = case.options["val"] if value is None else value
        return f.read(from_value, 0.0, f.u * abs(wanted), theorem="one rounding, ASNA Theorem 2.2", value=wanted)

    return Trial(VALUE, reads)


def _identity(f: Any, case: Case) -> Reading:
    del case
    return f.read(from_identity, 0.0, 0.0, theorem=_EXACT)


def _centered(f: Any, case: Case) -> Reading:
    del case
    return f.read(off_center, 0.0, 0.0, theorem=_EXACT)


def _hands_on(f: Any, case: Case) -> Reading:
    return f.read(channels_changed, 0.0, 0.0, theorem=_EXACT, groups=case.options["groups"])


_EXACT = "sums of zeros and one integer are exact"
VALUE = "every entry is the value"
IDENTITY = "ones on the diagonal, zeros off it"
CENTER = "nothing stands off the center of the window"
CHANNELS = "a convolution hands on the first channels of each group"

# 5 Rejections

EYE_REJECTIONS = (
    Rejection("three axes", ((2, 3, 1),), {}, "eye: shape (2, 3, 1) has 3 axes, expected 2: outputs, inputs"),
    Rejection("one axis", ((3,),), {}, "eye: shape (3,) has 1 axes, expected 2: outputs, inputs"),
)
DIRAC_REJECTIONS = (
    Rejection(
        "no window",
        ((2, 3),),
        {},
        "dirac: shape (2, 3) has 2 axes, expected 3 to 5: outputs, inputs per group, window",
    ),
    Rejection(
        "groups that do not divide the outputs",
        ((3, 2, 1),),
        {"groups": 2},
        "dirac: 3 outputs, expected a multiple of groups=2",
    ),
)

# 6 Mistakes


def _unwritten(shape: Shape, *, rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape)


def _narrowed(shape: Shape, *, rng: Any, val: float) -> Array:
    return draw_constant(shape, rng=rng, val=float(np.float16(val)))


def _no_weight(shape: Shape, *, rng: Any, val: float) -> Array:
    return draw_constant(shape, rng=rng, val=val if len(shape) > 1 else 0.0)


def _tiled(shape: Shape, *, rng: Any) -> Array:
    del rng
    eye_shape(shape)
    row, column = np.indices(shape)
    return ((row - column) % min(shape) == 0).astype(np.float64)


def _ungrouped(shape: Shape, *, rng: Any, groups: int = 1) -> Array:
    dirac_shape(shape, groups=groups)
    return draw_dirac(shape, rng=rng)


def _diagonal_of_the_window(shape: Shape, *, rng: Any, groups: int = 1) -> Array:
    w = draw_dirac(shape, rng=rng, groups=groups)
    taps = np.indices(shape[2:]).reshape(len(shape) - 2, -1)
    diagonal = np.all(taps == taps[0], axis=0).reshape(shape[2:])
    return np.max(w, axis=tuple(range(2, len(shape))), keepdims=True) * diagonal


MEMORY = "https://github.com/pytorch/executorch/pull/6478"

CONSTANT_MISTAKES = (
    Mistake(
        "hands the value over in a narrower format",
        "https://github.com/PaddlePaddle/Paddle/pull/33381",
        _narrowed,
        caught_by=(VALUE,),
    ),
    Mistake(
        "leaves arrays of one axis at zero",
        "https://github.com/apache/mxnet/issues/5677",
        _no_weight,
        caught_by=(VALUE,),
    ),
)
ZEROS_MISTAKES = (Mistake("returns memory that nobody wrote", MEMORY, _unwritten, caught_by=(VALUE,)),)
ONES_MISTAKES = (Mistake("returns memory that nobody wrote", MEMORY, _unwritten, caught_by=(VALUE,)),)
EYE_MISTAKES = (
    Mistake(
        "begins the diagonal again in a matrix that is not square",
        "https://github.com/keras-team/keras/issues/11774",
        _tiled,
        caught_by=(IDENTITY,),
    ),
)
DIRAC_MISTAKES = (
    Mistake(
        "does not know of groups",
        "https://github.com/pytorch/pytorch/pull/32825",
        _ungrouped,
        caught_by=(CHANNELS,),
    ),
    Mistake(
        "sets the diagonal of the window and not its center",
        "https://github.com/Kaixhin/nninit/issues/4",
        _diagonal_of_the_window,
        caught_by=(CENTER,),
    ),
)

# 7 The distributions

_D2L = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 6.3.1"


def _never(case: Case) -> bool:
    del case
    return False


constant = Distribution(
    name="constant",
    options={"val": REQUIRED},
    shape=any_shape_fits,
    definition=draw_constant,
    law="val with certainty",
    cases=constant_cases,
    varies=_never,
    laws=(_value(),),
    rejections=(),
    mistakes=CONSTANT_MISTAKES,
    source=_D2L,
    gallery=(Form((), {"shape": (3, 4), "val": 0.1}), Form((), {"shape": (5,), "val": -2.5})),
)
zeros = Distribution(
    name="zeros",
    options={},
    shape=any_shape_fits,
    definition=draw_zeros,
    law="0 with certainty",
    cases=plain_cases,
    varies=_never,
    laws=(_value(0.0),),
    rejections=(),
    mistakes=ZEROS_MISTAKES,
    source=_D2L,
    gallery=(Form((), {"shape": (3, 4)}),),
)
ones = Distribution(
    name="ones",
    options={},
    shape=any_shape_fits,
    definition=draw_ones,
    law="1 with certainty",
    cases=plain_cases,
    varies=_never,
    laws=(_value(1.0),),
    rejections=(),
    mistakes=ONES_MISTAKES,
    source=_D2L,
    gallery=(Form((), {"shape": (3, 4)}),),
)
eye = Distribution(
    name="eye",
    options={},
    shape=eye_shape,
    definition=draw_eye,
    law="the identity with certainty",
    cases=eye_cases,
    varies=_never,
    laws=(Trial(IDENTITY, _identity),),
    rejections=EYE_REJECTIONS,
    mistakes=EYE_MISTAKES,
    source="Le, Jaitly and Hinton 2015, A simple way to initialize recurrent networks of rectified linear units",
    gallery=(Form((), {"shape": (3, 5)}), Form((), {"shape": (4, 2)})),
)
dirac = Distribution(
    name="dirac",
    options={"groups": 1},
    shape=dirac_shape,
    definition=draw_dirac,
    law="the identity of convolutions with certainty",
    cases=dirac_cases,
    varies=_never,
    laws=(Trial(CENTER, _centered), Trial(CHANNELS, _hands_on)),
    rejections=DIRAC_REJECTIONS,
    mistakes=DIRAC_MISTAKES,
    source="Zagoruyko and Komodakis 2017, DiracNets: training very deep networks without skip-connections",
    gallery=(Form((), {"shape": (4, 3, 3, 3), "groups": 2}), Form((), {"shape": (3, 5, 2), "groups": 1})),
)
