"""What the scaled initialisers are: fans, gains, definitions, cases."""

import math
from collections.abc import Callable

import numpy as np

from d2lref.inits._laws import matrix
from d2lref.spec import Array, Draw, Form, Shape

# 1 Shapes, fans and gains


def fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight (outputs, inputs, *window): how many weights meet in an output, an input.

    Each is its number of channels times the receptive field, the taps of the window (He et al. 2015, equations 10 and
    14).
    """
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


GAINS: dict[str, Callable[[float], float]] = {
    "leaky_relu": lambda a: math.sqrt(2.0 / (1.0 + a**2)),
    "relu": lambda a: math.sqrt(2.0),
    "linear": lambda a: 1.0,
    "sigmoid": lambda a: 1.0,
    "tanh": lambda a: 5.0 / 3.0,
    "selu": lambda a: 3.0 / 4.0,
}
"""The gain of what follows the weights, those of torch.nn.init.calculate_gain: 1 / E[f(Z)^2] is its square for the
rectifiers, with a the slope on the left (He et al. 2015, equation 15)."""


def weight_shape(name: str, shape: Shape) -> Shape:
    """Return the shape. Raises ValueError where it has fewer than two axes: there is no fan."""
    if len(shape) < 2:
        raise ValueError(
            f"{name}: shape {tuple(shape)} has {len(shape)} axes, expected 2 or more: outputs, inputs, window"
        )
    return tuple(shape)


def kaiming_shape(name: str, shape: Shape, mode: str, nonlinearity: str) -> Shape:
    """Return the shape. Raises ValueError as `weight_shape`, and for a mode or a nonlinearity that is not known."""
    if mode not in {"fan_in", "fan_out"}:
        raise ValueError(f"{name}: mode={mode!r}, expected 'fan_in' or 'fan_out'")
    if nonlinearity not in GAINS:
        raise ValueError(f"{name}: nonlinearity={nonlinearity!r}, expected one of {', '.join(map(repr, GAINS))}")
    return weight_shape(name, shape)


def xavier_uniform_shape(shape: Shape, *, gain: float = 1.0) -> Shape:
    """Return the shape. Raises ValueError (see `weight_shape`)."""
    del gain
    return weight_shape("xavier_uniform", shape)


def xavier_normal_shape(shape: Shape, *, gain: float = 1.0) -> Shape:
    """Return the shape. Raises ValueError (see `weight_shape`)."""
    del gain
    return weight_shape("xavier_normal", shape)


def kaiming_uniform_shape(
    shape: Shape, *, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Shape:
    """Return the shape. Raises ValueError (see `kaiming_shape`)."""
    del a
    return kaiming_shape("kaiming_uniform", shape, mode, nonlinearity)


def kaiming_normal_shape(
    shape: Shape, *, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Shape:
    """Return the shape. Raises ValueError (see `kaiming_shape`)."""
    del a
    return kaiming_shape("kaiming_normal", shape, mode, nonlinearity)


# 2 Definitions


def of_uniform(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    """U(-b, b) with b = sqrt(3) std, whose standard deviation is std."""
    return math.sqrt(3.0) * std * (2.0 * rng.random(shape) - 1.0)


def of_normal(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    """N(0, std^2)."""
    return std * rng.standard_normal(shape)


def xavier_std(shape: Shape, gain: float) -> float:
    """Gain sqrt(2 / (fan_in + fan_out))."""
    return gain * math.sqrt(2.0 / sum(fans(shape)))


def kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    """Gain / sqrt(fan)."""
    return GAINS[nonlinearity](a) / math.sqrt(fans(shape)[mode == "fan_out"])


def draw_xavier_uniform(shape: Shape, *, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """w of U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)), all independent.

    shape (outputs, inputs, *window); the answer is float64. Raises ValueError (see `weight_shape`). Source: Glorot and
    Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, equation 16.
    """
    xavier_uniform_shape(shape)
    return of_uniform(rng, shape, xavier_std(shape, gain))


def draw_xavier_normal(shape: Shape, *, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """w of N(0, gain^2 2 / (fan_in + fan_out)), all independent.

    shape (outputs, inputs, *window); the answer is float64. Raises ValueError (see `weight_shape`). Source: Glorot and
    Bengio 2010, equation 12.
    """
    xavier_normal_shape(shape)
    return of_normal(rng, shape, xavier_std(shape, gain))


def draw_kaiming_uniform(
    shape: Shape,
    *,
    rng: np.random.Generator,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    """w of U(-b, b), b = gain sqrt(3 / fan), all independent.

    gain: of the nonlinearity (GAINS), a its slope on the left when it is leaky_relu. fan: fan_in, so that answers keep
    their size, or fan_out, so that gradients do. shape (outputs, inputs, *window); the answer is float64. Raises
    ValueError (see `kaiming_shape`). Source: He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, section 2.2.
    """
    kaiming_uniform_shape(shape, mode=mode, nonlinearity=nonlinearity)
    return of_uniform(rng, shape, kaiming_std(shape, a, mode, nonlinearity))


def draw_kaiming_normal(
    shape: Shape,
    *,
    rng: np.random.Generator,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    """w of N(0, gain^2 / fan), all independent.

    gain, fan, shape and errors: see `draw_kaiming_uniform`. Source: He, Zhang, Ren and Sun 2015, section 2.2.
    """
    kaiming_normal_shape(shape, mode=mode, nonlinearity=nonlinearity)
    return of_normal(rng, shape, kaiming_std(shape, a, mode, nonlinearity))


# 3 Cases


def xavier_cases(draw: Draw, size: int = 64) -> Form:
    """Draw the gain from a table; shrinks to a square and gain 1."""
    return Form((), {"shape": matrix(draw, size), "gain": draw.choice(1.0, 5.0 / 3.0, math.sqrt(2.0), 0.5)})


def kaiming_cases(draw: Draw, size: int = 64) -> Form:
    """Draw slope, mode and nonlinearity; shrinks to a square and the defaults."""
    usual = ("leaky_relu", "relu", "leaky_relu", "linear", "leaky_relu", "tanh", "sigmoid", "selu")
    nonlinearity = draw.choice(*usual)
    a, mode = draw.choice(0.0, math.sqrt(5.0), 0.2, 1.0), draw.choice("fan_in", "fan_out")
    return Form((), {"shape": matrix(draw, size), "a": a, "mode": mode, "nonlinearity": nonlinearity})
