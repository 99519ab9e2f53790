"""fourier_coefficients: the half spectrum of real samples (d2l, section 6.5, exercise 2), a room in reading order.

definition: shape, the sum, faster ways, derivative · bounds: how wrong they may be · laws · mistakes · and here, cases,
refusals and the op.
"""

from d2lref.ops._fourier.bounds import bound, vjp_bound
from d2lref.ops._fourier.definition import by_matrix, by_transform, definition, shape, vjp
from d2lref.ops._fourier.laws import LAWS
from d2lref.ops._fourier.mistakes import MISTAKES
from d2lref.spec import SUMS, Draw, Form, Op, Operand, Rejection, Variant

# 1 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw one to three axes, and a norm; shrinks to a single sample without a factor.

    One time in two any number of samples: a fast transform has other code for each of its prime factors.
    """
    sizes = list(draw.sizes(*(1,) * draw.choice(1, 2, 3)))
    if draw.choice(False, True):
        sizes[-1] = draw.integer(1, 100)
    if len(sizes) > 1 and draw.integer(0, 31) == 31:
        sizes[0] = 0
    return Form((tuple(sizes),), {"norm": draw.choice("backward", "ortho", "forward")})


REJECTIONS = (
    Rejection("a number", ((),), {}, "fourier_coefficients: x () has no axis, expected (..., samples)"),
    Rejection("no samples", ((2, 0),), {}, "fourier_coefficients: x (2, 0) has no samples, expected at least one"),
    Rejection(
        "another norm",
        ((2, 8),),
        {"norm": "unitary"},
        "fourier_coefficients: norm='unitary', expected one of 'backward', 'ortho', 'forward'",
    ),
)

# 2 The op

fourier_coefficients = Op(
    name="fourier_coefficients",
    operands=(Operand("x", linear=True),),
    options={"norm": "backward"},
    shape=shape,
    definition=definition,
    variants={"matmul": Variant(by_matrix), "fft": Variant(by_transform, algorithm="fft")},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=SUMS,
    gallery=(
        Form(((4, 16),), {"norm": "backward"}),
        Form(((2, 3, 5),), {"norm": "ortho"}),
        Form(((33,),), {"norm": "forward"}),
    ),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Briggs and Henson 1995, The DFT, chapters 2 and 3; Zhang, Lipton, Li and Smola, Dive into Deep Learning, "
    "section 6.5, exercise 2",
)
