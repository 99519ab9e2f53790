"""relu: the larger of x and 0, entry by entry (d2l 5.1.2)."""

from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.rounding import Precision, claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Shape, Variant

# 1 Shape


def shape(x: Shape) -> tuple[Shape]:
    """Return (x,): every shape fits."""
    return (tuple(x),)


# 2 Definition


def definition(x: Array) -> Array:
    """y = max(x, 0): x where it is positive, 0 where it is negative, NaN where it is NaN.

    x and y of any one shape and dtype. The sign of a zero is free. Source: Nair and Hinton 2010, section 2; Zhang,
    Lipton, Li and Smola, Dive into Deep Learning, section 5.1.2; IEEE 754-2019, 9.6, for the maximum with a NaN.
    """
    xp = namespace(x)
    return xp.where(x < 0, xp.zeros_like(x), x)


# 3 Faster ways


def _maximum(x: Array) -> Array:
    """y = maximum(x, 0), an instruction of every vector unit; not all of them pass a NaN on."""
    xp = namespace(x)
    return xp.maximum(x, xp.zeros_like(x))


# 4 Derivative


def vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy where x > 0, 0 where x <= 0, gy where x is NaN, as torch has it.

    At 0 the function has no derivative, and any number from 0 to gy is a subgradient (Rockafellar 1970, section 23).
    """
    xp = namespace(gy, x)
    return (xp.where(x <= 0, xp.zeros_like(gy), gy),)


# 5 How wrong it may be


def _flushed(precision: Precision, a: Array) -> np.ndarray:
    """Return |a| where a may count as zero because it is subnormal and subnormals are flushed, else 0."""
    low = precision.stored.nmin if precision.flushed else 0.0
    return np.where(np.abs(a) < low, np.abs(a), 0.0)


def bound(y: Array, precision: Precision, x: Array) -> np.ndarray:
    """Return 0: relu selects and computes nothing."""
    del y
    return _flushed(precision, x)


def vjp_bound(grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array) -> tuple[np.ndarray]:
    """Return |gy| where x = 0, so that an implementation may choose its subgradient; infinity where x is NaN; else 0.

    |dx - 0| <= |gy| would let -gy through: the law on the gradient at zero asks for the sign as well.
    """
    del grads
    with np.errstate(invalid="ignore"):
        tied = (x == 0) | (_flushed(precision, x) > 0)
    return (np.where(np.isnan(x), np.inf, np.where(tied, np.abs(gy), _flushed(precision, gy))),)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw an array of one to four axes; shrinks to a single number."""
    sizes = list(draw.sizes(*(1,) * draw.choice(1, 2, 3, 4)))
    if draw.integer(0, 31) == 31:
        sizes[0] = 0
    return Form((tuple(sizes),), {})


# 7 Laws
# All numbers of the batch form one image, so that a mistake that mixes images is the business of the law on images.


def _one_image(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return x and the cotangent as (1, numbers)."""
    return case.arrays[0].reshape(1, -1), case.cotangents[0].reshape(1, -1)


def _magnitude(case: Case) -> np.ndarray:
    """Return |x|, and 0 for a NaN."""
    x, _ = _one_image(case)
    return np.where(np.isnan(x), 0.0, np.abs(x))


def _keeps_positive(f: Any, case: Case) -> Claim:
    x = _magnitude(case)
    return claim(f(x), x)


def _stops_negative(f: Any, case: Case) -> Claim:
    x = -_magnitude(case)
    return claim(f(x), np.zeros_like(x))


def _passes_nan(f: Any, case: Case) -> Claim:
    x, _ = _one_image(case)
    return claim(f(x)[np.isnan(x)], x[np.isnan(x)])


def _gradient_passes(f: Any, case: Case) -> Claim:
    x, gy = _one_image(case)
    return claim(f.vjp(gy, x)[0][x > 0], gy[x > 0])


def _gradient_stops(f: Any, case: Case) -> Claim:
    x, gy = _one_image(case)
    return claim(f.vjp(gy, x)[0][x < 0], np.zeros_like(gy[x < 0]))


def _gradient_at_zero(f: Any, case: Case) -> Claim:
    x, gy = _one_image(case)
    x = np.where(np.random.default_rng(case.seed).random(x.shape) < 1 / 2, 0.0, x)
    found, gy = f.vjp(gy, x)[0].value[x == 0], gy[x == 0]
    # fmax and fmin, and not clip: a NaN must differ from where it should be
    return Claim(found, np.fmin(np.fmax(found, np.fmin(gy, 0.0)), np.fmax(gy, 0.0)))


LAWS = (
    Law("a positive number is kept", _keeps_positive),
    Law("a negative number becomes zero", _stops_negative),
    Law("NaN stays NaN", _passes_nan, lambda case: bool(np.isnan(case.arrays[0]).any())),
    Law("the gradient passes where x is positive", _gradient_passes, vjp=True),
    Law("no gradient passes where x is negative", _gradient_stops, vjp=True),
    Law("the gradient at zero lies between nothing and the cotangent", _gradient_at_zero, vjp=True),
)

# 8 Mistakes


def _six(x: Array) -> Array:
    return np.minimum(definition(x), 6.0)


def _leaky(x: Array) -> Array:
    return np.where(x < 0, x * 0.01, x)


def _masked(x: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(x * (x > 0))


def _deaf_to_nan(x: Array) -> Array:
    return np.fmax(x, np.zeros_like(x))


def _guided(gy: Array, x: Array) -> tuple[Array]:
    return vjp(definition(gy), x)


def _deconvolved(gy: Array, x: Array) -> tuple[Array]:
    del x
    return (definition(gy),)


def _from_the_answer(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(definition(x) < 0, np.zeros_like(gy), gy),)


def _leaky_gradient(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(x < 0, gy * 0.01, vjp(gy, x)[0]),)


def _undefined_at_zero(gy: Array, x: Array) -> tuple[Array]:
    return (np.where(x == 0, np.full_like(gy, np.nan), vjp(gy, x)[0]),)


MISTAKES = (
    Mistake(
        "clips at 6 as relu6 does",
        "https://github.com/jakc4103/DFQ/issues/34",
        _six,
        caught_by=("a positive number is kept",),
    ),
    Mistake(
        "leaks a hundredth of what is negative",
        "https://github.com/uxlfoundation/oneDNN/issues/139",
        _leaky,
        caught_by=("a negative number becomes zero",),
    ),
    Mistake(
        "multiplies by the mask x > 0",
        "https://github.com/tinygrad/tinygrad/pull/11760",
        _masked,
        caught_by=("a negative number becomes zero",),
    ),
    Mistake(
        "turns NaN into 0",
        "https://github.com/pytorch/pytorch/issues/7999",
        _deaf_to_nan,
        caught_by=("NaN stays NaN",),
    ),
    Mistake(
        "stops negative cotangents too, as guided backpropagation does",
        "https://github.com/utkuozbulak/pytorch-cnn-visualizations/issues/36",
        vjp=_guided,
        caught_by=("the gradient passes where x is positive",),
    ),
    Mistake(
        "masks with the sign of the cotangent instead of that of x",
        "https://github.com/exacity/deeplearningbook-chinese/issues/127",
        vjp=_deconvolved,
        caught_by=("the gradient passes where x is positive", "no gradient passes where x is negative"),
    ),
    Mistake(
        "masks with an answer that is never negative",
        "https://github.com/BVLC/caffe/issues/2413",
        vjp=_from_the_answer,
        caught_by=("no gradient passes where x is negative",),
    ),
    Mistake(
        "leaks a hundredth of the gradient",
        "https://github.com/microsoft/MMdnn/pull/914",
        vjp=_leaky_gradient,
        caught_by=("no gradient passes where x is negative",),
    ),
    Mistake(
        "has NaN for the gradient at zero",
        "https://github.com/CodersHQ-AI-ML-Community/ai-confluence/pull/16",
        vjp=_undefined_at_zero,
        caught_by=("the gradient at zero lies between nothing and the cotangent",),
    ),
)

# 9 The op

relu = Op(
    name="relu",
    operands=(Operand("x", batch=True),),
    options={},
    shape=shape,
    definition=definition,
    variants={"maximum": Variant(_maximum)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=("lattice_small", "normal", "wide_range", "subnormal", "large_mean", "ties", "signed_zero", "nonfinite"),
    gallery=(Form(((2, 3, 4, 4),), {}),),
    laws=LAWS,
    rejections=(),
    mistakes=MISTAKES,
    source="Nair and Hinton 2010; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.1.2",
)
