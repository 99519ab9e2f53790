"""dropout, dropout1d, dropout2d, dropout3d: numbers, or whole channels, are set to zero at random (d2l 5.6)."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from d2lref import chance
from d2lref.arrays import namespace
from d2lref.spec import Array, Case, Distribution, Draw, Form, Mistake, Operand, Reading, Rejection, Shape, Trial

# 1 Shape


def shape_rule(axes: int, shape: Shape, *, p: float = 0.5, training: bool = True) -> Shape:
    """Return the shape: any for axes = 0, (N, C, *size) of `axes` sizes else. Raises ValueError, also for a bad p."""
    del training
    name = _name(axes)
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p={p!r}, expected a probability from 0 to 1")
    if axes and len(shape) != axes + 2:
        raise ValueError(
            f"{name}: x {tuple(shape)} has {len(shape)} axes, expected {axes + 2}: images, channels, {axes} of size"
        )
    return tuple(shape)


def _name(axes: int) -> str:
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
    return _masked(x, x, axes, rng, p) if training and p > 0 else x


def _masked(x: Array, like: Array, axes: int, rng: np.random.Generator, p: float) -> Array:
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
    return (_masked(gy, x, axes, rng, p) if training and p > 0 else gy,)


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


def _draws(case: Case) -> bool:
    """Return whether a mask is drawn and keeps some numbers and drops others."""
    return bool(case.options["training"]) and 0 < case.options["p"] < 1


def _trains(case: Case) -> bool:
    """Return whether some numbers are kept after a scaling."""
    return bool(case.options["training"]) and case.options["p"] < 1


def _rests(case: Case) -> bool:
    """Return whether y is x."""
    return not case.options["training"] or case.options["p"] == 0


# 6 Laws


def from_x(answers: Array, x: Array) -> float:
    """Return the largest distance of an answer from x."""
    return float(np.max(np.abs(answers[0, 0] - x)))


def largest(answers: Array) -> float:
    """Return the largest answer, in size."""
    return float(np.max(np.abs(answers)))


def from_scaled(answers: Array, x: Array, scale: float) -> float:
    """Return the largest relative distance of an answer that is not 0 from scale x."""
    y = answers[0, 0]
    return float(np.max(np.where(y == 0, 0.0, np.abs(y / (scale * x) - 1.0))))


def gradient_gap(answers: Array, gradients: Array, gy: Array, scale: float) -> float:
    """Return the largest relative distance of a gradient from scale gy where the answer was kept, and 0 elsewhere."""
    wanted = np.where(answers[0, 0] != 0, scale * gy, 0.0)
    return float(np.max(np.abs(gradients - wanted) / np.abs(scale * gy)))


def gradient_from_gy(gradients: Array, gy: Array) -> float:
    """Return the largest distance of a gradient from gy."""
    return float(np.max(np.abs(gradients - gy)))


def split_channels(answers: Array) -> float:
    """Return how many channels are neither dropped nor kept as a whole."""
    kept = (answers[0, 0] != 0).reshape(answers.shape[2] * answers.shape[3], -1)
    return float(np.sum(np.any(kept, axis=1) & ~np.all(kept, axis=1)))


def kept_units(answers: Array, unit: int) -> float:
    """Return how many units, of so many leading axes, are kept."""
    kept = answers[0, 0] != 0
    return float(np.sum(kept[(..., *([0] * (kept.ndim - unit)))]))


def kept_along(answers: Array, unit: int, axis: int) -> Array:
    """Return how many units are kept at every place of an axis."""
    kept = answers[0, 0] != 0
    whole = np.moveaxis(kept[(..., *([0] * (kept.ndim - unit)))], axis, 0)
    return np.sum(whole.reshape(len(whole), -1), axis=1).astype(np.float64)


def kept_pairs(answers: Array, unit: int, axis: int) -> float:
    """Return of how many disjoint pairs of neighbouring units along an axis of the answers both are kept."""
    kept = np.moveaxis((answers != 0)[(..., *([0] * (answers.ndim - 2 - unit)))], axis, 0)
    pairs = len(kept) // 2
    return float(np.sum(kept[0 : 2 * pairs : 2] & kept[1 : 2 * pairs : 2]))


def _identity(f: Any, case: Case) -> Reading:
    del case
    return f.read(from_x, 0.0, 0.0, theorem="nothing is computed")


def _gone(f: Any, case: Case) -> Reading:
    del case
    return f.read(largest, 0.0, 0.0, theorem="nothing is kept")


def _scaled(f: Any, case: Case) -> Reading:
    p = case.options["p"]
    return f.read(from_scaled, 0.0, bound(p, f.u), theorem="ASNA, Lemma 3.1", scale=1.0 / (1.0 - p))


def _same_mask(f: Any, case: Case) -> Reading:
    p = case.options["p"]
    return f.read(gradient_gap, 0.0, bound(p, f.u), theorem="ASNA, Lemma 3.1", scale=1.0 / (1.0 - p))


def _gradient_identity(f: Any, case: Case) -> Reading:
    del case
    return f.read(gradient_from_gy, 0.0, 0.0, theorem="nothing is computed")


def _gradient_gone(f: Any, case: Case) -> Reading:
    del case
    return f.read(_largest_gradient, 0.0, 0.0, theorem="nothing is kept")


def _largest_gradient(gradients: Array) -> float:
    """Return the largest gradient, in size."""
    return float(np.max(np.abs(gradients)))


def _whole(f: Any, case: Case) -> Reading:
    del case
    return f.read(split_channels, 0.0, 0.0, theorem="a channel has one mask")


_COINS = "exact binomial tails"


def _rate(axes: int, f: Any, case: Case) -> Reading:
    drawn = units(axes, case.options["shape"])
    n = math.prod(drawn)
    low, high = map(float, chance.binomial(n, 1.0 - case.options["p"], f.alpha, f.grain))
    return f.read(kept_units, low, high, theorem=_COINS, alpha=f.alpha, size=n, unit=len(drawn))


def _along(axes: int, axis: int, f: Any, case: Case) -> Reading:
    drawn = units(axes, case.options["shape"])
    each = math.prod(drawn) // drawn[axis]
    low, high = map(float, chance.binomial(each, 1.0 - case.options["p"], f.alpha / drawn[axis], f.grain))
    given = {"unit": len(drawn), "axis": axis}
    return f.read(kept_along, low, high, theorem=_COINS, alpha=f.alpha, size=math.prod(drawn), **given)


def _pairs(axes: int, axis: int, f: Any, case: Case, **draws: int) -> Reading:
    drawn = units(axes, case.options["shape"])
    whole = (draws.get("seeds", 1), draws.get("calls", 1), *drawn)
    n = math.prod(whole) // whole[axis] * (whole[axis] // 2)
    low, high = map(float, chance.binomial(n, (1.0 - case.options["p"]) ** 2, f.alpha, 2.0 * f.grain))
    given = {"unit": len(drawn), "axis": axis}
    return f.read(kept_pairs, low, high, theorem=_COINS, alpha=f.alpha, size=n, **draws, **given)


RESTS, GONE = "y is x when not training or p is 0", "nothing is left where p is 1"
SCALED = "what is kept is x / (1 - p)"
MASK = "the gradient has the mask of the answer"
GRADIENT_RESTS = "the gradient is the cotangent when not training or p is 0"
GRADIENT_GONE = "no gradient is left where p is 1"
WHOLE = "channels are dropped as a whole"
RATE = "so many are kept"
IMAGES, CHANNELS = "every row keeps as many", "every column keeps as many"
ROWS, COLUMNS, LAST = "rows are independent", "columns are independent", "neighbours in memory are independent"
CALLS, SEEDS = "calls are independent", "seeds are independent"


def laws(axes: int) -> tuple[Trial, ...]:
    """Return the laws of dropout, or of that of channels."""
    certain = [
        Trial(RESTS, _identity, _rests),
        Trial(GONE, _gone, lambda case: bool(case.options["training"]) and case.options["p"] == 1),
        Trial(SCALED, _scaled, _trains),
        Trial(MASK, _same_mask, _draws, vjp=True),
        Trial(GRADIENT_RESTS, _gradient_identity, _rests, vjp=True),
        Trial(
            GRADIENT_GONE,
            _gradient_gone,
            lambda case: bool(case.options["training"]) and case.options["p"] == 1,
            vjp=True,
        ),
    ]
    certain += [Trial(WHOLE, _whole, _draws)] if axes else []
    last = [] if axes else [Trial(LAST, partial(_pairs, axes, -1), _deep, chance=True)]
    return (
        *certain,
        Trial(RATE, partial(_rate, axes), _draws, chance=True),
        Trial(IMAGES, partial(_along, axes, 0), _draws, chance=True),
        Trial(CHANNELS, partial(_along, axes, 1), _draws, chance=True),
        Trial(ROWS, partial(_pairs, axes, 2), _draws, chance=True),
        Trial(COLUMNS, partial(_pairs, axes, 3), _draws, chance=True),
        *last,
        Trial(CALLS, partial(_pairs, axes, 1, calls=2), _draws, chance=True),
        Trial(SEEDS, partial(_pairs, axes, 0, seeds=2), _draws, chance=True),
    )


def _deep(case: Case) -> bool:
    """Return whether a mask is drawn on more than two axes."""
    return _draws(case) and len(case.options["shape"]) > 2


# 7 Rejections


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return what must be refused."""
    name, shape = _name(axes), (2, 3, *(2,) * axes)
    found = [
        Rejection("a negative p", (shape,), {"p": -0.5}, f"{name}: p=-0.5, expected a probability from 0 to 1"),
        Rejection("p above 1", (shape,), {"p": 1.5}, f"{name}: p=1.5, expected a probability from 0 to 1"),
    ]
    if axes:
        message = f"{name}: x (4,) has 1 axes, expected {axes + 2}: images, channels, {axes} of size"
        found.append(Rejection("one axis", ((4,),), {}, message, mandatory=False))
    return tuple(found)


# 8 Mistakes

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
        kept = _masked(np.ones_like(x), x, axes, rng, p) != 0
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


# 9 The distributions


def _make(axes: int) -> Distribution:
    """Return dropout of numbers (axes = 0), or of channels with so many axes of size."""
    size = (5, 2, 3)[:axes]
    options: Mapping[str, Any] = {"p": 0.5, "training": True}
    forms: tuple[Mapping[str, Any], ...] = ({}, {"p": 0.1}, {"training": False}, {"p": 0.0}, {"p": 1.0}, {"p": 0.9})
    return Distribution(
        name=_name(axes),
        operands=(Operand("x", linear=True),),
        options=options,
        shape=partial(shape_rule, axes),
        definition=partial(definition, axes),
        vjp=partial(vjp, axes),
        law="each number of x, or each channel, becomes 0 with probability p and x / (1 - p) else",
        cases=partial(cases, axes),
        varies=_draws,
        laws=laws(axes),
        rejections=rejections(axes),
        mistakes=mistakes(axes),
        source="Srivastava et al. 2014; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.6",
        gallery=tuple(Form((), {"shape": (6, 7, *size), **options, **form}) for form in forms),
    )


dropout, dropout1d, dropout2d, dropout3d = (_make(axes) for axes in range(4))
