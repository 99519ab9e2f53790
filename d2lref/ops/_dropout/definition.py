"""What dropout is: shape, definition, derivative, how wrong it may be, cases."""

import math

import array_api_compat
import numpy as np

from d2lref.arrays import namespace
from d2lref.spec import Array, Case, Draw, Form, Shape

# 1 Shape


def shape_rule(axes: int, shape: Shape, *, p: float = 0.5, training: bool = True) -> Shape:
    """Return the shape: any for axes = 0, (N, C, *size) of `axes` sizes else. Raises ValueError, also for a bad p."""
    del training
    name = name_of(axes)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p!r}, expected a probability from 0 to 1")
    if axes and len(shape) != axes + 2:
        raise ValueError(
            f"{name}: x {tuple(shape)} has {len(shape)} axes, expected {axes + 2}: images, channels, {axes} of size"
        )
    return tuple(shape)


def name_of(axes: int) -> str:
    return f"dropout{axes}d" if axes else "dropout"


def units(axes: int, shape: Shape) -> Shape:
    """Return the shape of what is kept or dropped as one: numbers, or the channels of every image."""
    return tuple(shape[:2]) if axes else tuple(shape)


# 2 Definition


def definition(axes: int, x: Array, *, rng: np.random.Generator, p: float = 0.5, training: bool = True) -> Array:
    """y = m x / (1 - p), m = 1 with probability 1 - p and else 0, each number by itself; y = x when not training.

    dropout1d, 2d and 3d draw one m for every channel of every image. x of any shape for dropout, (N, C, *size) for the
    others; y as x. The mean of y is x. Raises ValueError (see `shape_rule`). Source: Srivastava, Hinton, Krizhevsky,
    Sutskever and Salakhutdinov 2014, Dropout, section 4; for channels Tompson et al. 2015, Efficient object
    localization, section 3.2; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.6.2.
    """
    shape_rule(axes, tuple(x.shape), p=p)
    return masked(x, x, axes, rng, p) if training and p > 0 else x


def masked(x: Array, like: Array, axes: int, rng: np.random.Generator, p: float) -> Array:
    """Return x / (1 - p) where the mask keeps it, else 0; `like` has the shape that the mask is drawn for."""
    xp, device = namespace(x), array_api_compat.device(x)
    drawn = units(axes, tuple(like.shape))
    kept = rng.random(drawn) >= p
    mask = xp.asarray(kept.reshape((*drawn, *(1,) * (x.ndim - len(drawn)))), device=device)
    scale = xp.asarray(1.0 / (1.0 - p) if p < 1 else 0.0, dtype=x.dtype, device=device)
    return xp.where(mask, x * scale, xp.zeros_like(x))


# 3 Derivative


def vjp(
    axes: int, gy: Array, x: Array, *, rng: np.random.Generator, p: float = 0.5, training: bool = True
) -> tuple[Array]:
    """dx = m gy / (1 - p) with the m of the forward call: rng is in the state that it was in then."""
    return (masked(gy, x, axes, rng, p) if training and p > 0 else gy,)


# 4 How wrong it may be


def bound(p: float, u: float) -> float:
    """Return c u / (1 - c u), c = 4 + p / (1 - p): the relative error of a kept number (ASNA, Lemma 3.1).

    p is rounded (p / (1 - p) u of 1 - p), 1 - p is, so are its reciprocal, the product and the store.
    """
    c = (4.0 + p / (1.0 - p)) * u
    return c / (1.0 - c)


# 5 Cases


def cases(axes: int, draw: Draw, size: int = 64) -> Form:
    """Draw about `size` units and p; shrinks to a square of numbers, or of channels of one pixel, and p = 1/2."""
    rows = max(round(math.sqrt(size * draw.choice(1, 4, 1 / 4))), 1)
    columns = max(round(size / rows), 1)
    small = size < 2**10
    widths = (1, 3, 2, 4) if small else (1, 2)
    beyond = draw.choice((), (), (3,)) if axes == 0 else tuple(draw.choice(*widths) for _ in range(axes))
    p = draw.choice(0.5, 0.1, 0.25, 0.9, *((0.0, 1.0) if small else ()))
    training = draw.integer(0, 7) < 7 or not small
    return Form((), {"shape": (rows, columns, *beyond), "p": p, "training": training})


def draws_mask(case: Case) -> bool:
    """Return whether a mask is drawn and keeps some numbers and drops others."""
    return bool(case.options["training"]) and 0 < case.options["p"] < 1


def scales(case: Case) -> bool:
    """Return whether some numbers are kept after a scaling."""
    return bool(case.options["training"]) and case.options["p"] < 1


def rests(case: Case) -> bool:
    """Return whether y is x."""
    return not case.options["training"] or case.options["p"] == 0
