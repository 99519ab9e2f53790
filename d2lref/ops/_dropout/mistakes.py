"""What dropout refuses, and how it has been got wrong."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._dropout.definition import definition, masked, name_of, shape_rule, units, vjp
from d2lref.ops._dropout.laws import (
    CALLS,
    CHANNELS,
    COLUMNS,
    GONE,
    GRADIENT_GONE,
    IMAGES,
    LAST,
    MASK,
    RATE,
    RESTS,
    ROWS,
    SCALED,
    SEEDS,
    WHOLE,
)
from d2lref.spec import Array, Mistake, Rejection, Shape

# 1 Rejections


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return what must be refused."""
    name, shape = name_of(axes), (2, 3, *(2,) * axes)
    found = [
        Rejection("a negative p", (shape,), {"p": -0.5}, f"{name}: p=-0.5, expected a probability from 0 to 1"),
        Rejection("p above 1", (shape,), {"p": 1.5}, f"{name}: p=1.5, expected a probability from 0 to 1"),
    ]
    if axes:
        message = f"{name}: x (4,) has 1 axes, expected {axes + 2}: images, channels, {axes} of size"
        found.append(Rejection("one axis", ((4,),), {}, message, mandatory=False))
    return tuple(found)


# 2 Mistakes

Mask = Callable[[Any, Shape, float], Array]  # from rng, the shape of the units and p to what is kept


def _coins(rng: Any, shape: Shape, p: float) -> Array:
    return rng.random(shape) >= p


def _keeping_p(rng: Any, shape: Shape, p: float) -> Array:
    return rng.random(shape) < p


def _one_row(rng: Any, shape: Shape, p: float) -> Array:
    return np.broadcast_to(rng.random((1, *shape[1:])) >= p, shape)


def _in_fours(rng: Any, shape: Shape, p: float) -> Array:
    size = math.prod(shape)
    return np.repeat(rng.random(-(-size // 4)) >= p, 4)[:size].reshape(shape)


def _fixed_seed(rng: Any, shape: Shape, p: float) -> Array:
    del rng
    return np.random.default_rng(7).random(shape) >= p


def _columns_drawn_once(rng: Any, shape: Shape, p: float) -> Array:
    return np.broadcast_to(rng.random((*shape[:1], 1, *shape[2:])) >= p, shape)


def _sometimes_at_zero(rng: Any, shape: Shape, p: float) -> Array:
    return rng.random(shape) >= max(p, 1 / 64)


def _dead_first(rng: Any, shape: Shape, p: float) -> Array:
    kept = np.array(rng.random(shape) >= p)
    kept[:, 0] = False
    return kept


def _with(
    axes: int,
    *,
    mask: Mask = _coins,
    scale: Callable[[float], float] = lambda p: 1.0 / (1.0 - p) if p < 1 else 0.0,
    rests: bool = True,
    elements: bool = False,
) -> Callable[..., Array]:
    """Return an implementation with another mask, scale or treatment of what needs none."""

    def wrong(x: Array, *, rng: Any, p: float = 0.5, training: bool = True) -> Array:
        shape_rule(axes, x.shape, p=p)
        if not training and rests:
            return x
        drawn = tuple(x.shape) if elements else units(axes, x.shape)
        kept = mask(rng, drawn, p).reshape((*drawn, *(1,) * (x.ndim - len(drawn))))
        return np.where(kept, x * np.asarray(scale(p), x.dtype), np.zeros_like(x))

    return wrong


def _wrong_vjp(axes: int, change: Callable[[Array, Array, Array, float], Array]) -> Callable[..., tuple[Array]]:
    """Return a vjp that makes something else of the cotangent, the mask, x and p."""

    def wrong(gy: Array, x: Array, *, rng: Any, p: float = 0.5, training: bool = True) -> tuple[Array]:
        if not training or p == 0:
            return (gy,)
        kept = masked(np.ones_like(x), x, axes, rng, p) != 0
        return (change(gy, kept, x, p).astype(gy.dtype),)

    return wrong


def _masking(axes: int, mask: Mask) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return an implementation with another mask and its gradient, which treats gy as the answer treats x."""
    forward = _with(axes, mask=mask)
    return forward, lambda gy, x, **options: (forward(gy, **options),)


def _elementwise(axes: int) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return an implementation that masks numbers, and its gradient."""
    forward = _with(axes, elements=True)
    return forward, lambda gy, x, **options: (forward(gy, **options),)


def _read_off(gy: Array, kept: Array, x: Array, p: float) -> Array:
    return np.where(kept & (x != 0), gy / (1.0 - p) if p < 1 else gy, np.zeros_like(gy))


def _new_mask(axes: int) -> Callable[..., tuple[Array]]:
    def wrong(gy: Array, x: Array, *, rng: Any, p: float = 0.5, training: bool = True) -> tuple[Array]:
        rng.random(units(axes, x.shape))
        return vjp(axes, gy, x, rng=rng, p=p, training=training)

    return wrong


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return what has been got wrong."""
    made = partial(_with, axes)
    link = "https://github.com/{}".format
    found = [
        Mistake(
            "takes p for the probability to keep",
            link("tiny-dnn/tiny-dnn/issues/961"),
            *_masking(axes, _keeping_p),
            caught_by=(RATE,),
        ),
        Mistake(
            "does not scale what it keeps",
            link("rbgirshick/py-faster-rcnn/issues/211"),
            made(scale=lambda p: 1.0),
            caught_by=(SCALED,),
        ),
        Mistake(
            "divides by p",
            link("lmjohns3/theanets/pull/123"),
            made(scale=lambda p: 1.0 / p if p > 0 else 1.0),
            caught_by=(SCALED,),
        ),
        Mistake(
            "drops when not training",
            link("NVIDIA/apex/pull/1449"),
            made(rests=False),
            caught_by=(RESTS,),
        ),
        Mistake(
            "drops a few where p is 0",
            link("ROCm/tensorflow-upstream/pull/2128"),
            *_masking(axes, _sometimes_at_zero),
            caught_by=(RESTS,),
        ),
        Mistake("divides by zero where p is 1", link("google/flax/pull/2055"), _nan_at_one(axes), caught_by=(GONE,)),
        Mistake(
            "draws one mask for all rows",
            link("keras-team/keras/issues/9841"),
            *_masking(axes, _one_row),
            caught_by=(ROWS, CHANNELS),
        ),
        Mistake(
            "draws one mask for all columns",
            link("qubvel/efficientnet/issues/105"),
            *_masking(axes, _columns_drawn_once),
            caught_by=(COLUMNS, IMAGES),
        ),
        Mistake(
            "seeds its generator anew in every call",
            link("PaddlePaddle/Paddle/issues/7796"),
            *_masking(axes, _fixed_seed),
            caught_by=(CALLS, SEEDS),
        ),
        Mistake(
            "draws a new mask for the gradient",
            link("microsoft/onnxruntime/pull/19715"),
            vjp=_new_mask(axes),
            caught_by=(MASK,),
        ),
        Mistake(
            "reads the mask off an answer that is zero where x is",
            link("ROCm/tensorflow-upstream/pull/1012"),
            vjp=_wrong_vjp(axes, _read_off),
            caught_by=(MASK,),
        ),
        Mistake(
            "does not mask the gradient",
            link("ddbourgin/numpy-ml/issues/94"),
            vjp=_wrong_vjp(axes, lambda gy, kept, x, p: gy / (1.0 - p) if p < 1 else gy),
            caught_by=(MASK, GRADIENT_GONE),
        ),
        Mistake(
            "does not scale the gradient",
            link("rohitg00/ai-engineering-from-scratch/pull/17"),
            vjp=_wrong_vjp(axes, lambda gy, kept, x, p: np.where(kept, gy, np.zeros_like(gy))),
            caught_by=(MASK,),
        ),
    ]
    return (*found, *(_of_channels(axes) if axes else _of_numbers()))


def _nan_at_one(axes: int) -> Callable[..., Array]:
    """Return an implementation that multiplies the mask 0 by 1 / 0."""

    def wrong(x: Array, *, rng: Any, p: float = 0.5, training: bool = True) -> Array:
        y = definition(axes, x, rng=rng, p=p, training=training)
        return np.full_like(x, np.nan) if training and p == 1 else y

    return wrong


def _of_channels(axes: int) -> tuple[Mistake, ...]:
    """Return what is wrong about channels only."""
    return (
        Mistake(
            "drops numbers and not channels",
            "https://github.com/pytorch/pytorch/issues/69801",
            *_elementwise(axes),
            caught_by=(WHOLE,),
        ),
    )


def _of_numbers() -> tuple[Mistake, ...]:
    """Return what is wrong about single numbers only."""
    return (
        Mistake(
            "draws one random number for four entries",
            "https://github.com/pytorch/pytorch/issues/198333",
            *_masking(0, _in_fours),
            caught_by=(COLUMNS, LAST),
        ),
        Mistake(
            "never keeps the first column",
            "https://github.com/keras-team/keras/issues/9841",
            *_masking(0, _dead_first),
            caught_by=(CHANNELS,),
        ),
    )
