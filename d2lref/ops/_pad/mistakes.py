"""Plausible wrong paddings, each with the report of a bug that it models.

A wrong answer comes with the gradient of the wrong map, so that forward and backward agree with each other.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.ops._pad.laws import LAWS
from d2lref.ops._pad.padding import definition, sides, source, vjp
from d2lref.spec import Array, Mistake

# 1 Entries that come from elsewhere

Ways = tuple[Callable[..., Array], Callable[..., tuple[Array]]]


def _misread(wrong: Callable[[Array, int, str, tuple[int, int]], Array]) -> Ways:
    """Return forward and vjp of a padding whose entry at a place of an axis (0: the first of x) comes from elsewhere.

    wrong(place, n, mode, pair) -> place in x, outside of it for none.
    """

    def read(x: Array, **options: Any) -> list[Array]:
        mode, along = options.get("mode", "constant"), zip(x.shape, sides(x.shape, **options), strict=True)
        return [wrong(np.arange(-pair[0], n + pair[1]), n, mode, pair) for n, pair in along]

    def forward(x: Array, **options: Any) -> Array:
        value = np.asarray(options.get("value") or 0.0, x.dtype)
        for axis, at in enumerate(read(x, **options)):
            inside = (at >= 0) & (at < x.shape[axis])
            seen = np.moveaxis(np.take(x, np.where(inside, at, 0), axis=axis), axis, -1)
            x = np.moveaxis(np.where(inside, seen, value), -1, axis)
        return x

    def backward(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        for axis, at in enumerate(read(x, **options)):
            line = (at[:, None] == np.arange(x.shape[axis])).astype(x.dtype)
            gy = np.moveaxis(np.tensordot(gy, line, (axis, 0)), -1, axis)
        return (gy,)

    return forward, backward


def _swapped_when_circular(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    return source(place + pair[0] - pair[1] if mode == "circular" else place, n, mode)


def _cropped_behind(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    return source(np.where(place < n, place + min(pair[0], 0), place), n, mode)


def _reflected_one_further(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    del pair
    moved = np.where(place < 0, place - 1, place)
    return np.clip(source(moved, n, mode), 0, n - 1) if mode == "reflect" else source(place, n, mode)


def _clamped(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    del pair
    return source(place, n, "replicate" if mode == "reflect" else mode)


def _front_from_what_is_padded(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    """Take the front from the end of the image and its back together."""
    return source(np.where((place < 0) & (mode == "circular"), place + pair[1], place), n, mode)


def _always_constant(place: Array, n: int, mode: str, pair: tuple[int, int]) -> Array:
    del mode, pair
    return source(place, n, "constant")


# 2 Other mistakes


def _without_corner(y: Array, **options: Any) -> Array:
    """Leave the first corner of a replicated border as it was before, zero."""
    if options.get("mode") != "replicate" or options["pad"][0] == 0:
        return y
    y = y.copy()
    y[(..., *(0,) * (len(options["pad"]) // 2))] = 0
    return y


def _corner_left(x: Array, **options: Any) -> Array:
    return _without_corner(definition(x, **options), **options)


def _corner_left_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    return vjp(_without_corner(gy, **options), x, **options)


def _zero_border(x: Array, **options: Any) -> Array:
    return definition(x, **{**options, "value": None})


def _pairs_from_the_first_axis(x: Array, **options: Any) -> Array:
    every = sides(x.shape, **options)
    asked = every[len(every) - len(options["pad"]) // 2 :]
    return np.pad(x, (*every[: len(every) - len(asked)], *reversed([(max(b, 0), max(a, 0)) for b, a in asked])))


def _circular_with_an_empty_slice(x: Array, **options: Any) -> Array:
    """Take the front from x[-before - after : -after] of the image and its back, which is nothing for after = 0."""
    y = definition(x, **options)
    if options.get("mode") != "circular":
        return y
    dropped = tuple(b if a == 0 else 0 for b, a in sides(x.shape, **options))
    return y[tuple(slice(d, None) for d in dropped)]


def _border_forgotten(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Hand back only what stands where x stood."""
    every = sides(x.shape, **options)
    inner = tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(gy.shape, every, strict=True))
    return (np.pad(gy[inner], [(max(-b, 0), max(-a, 0)) for b, a in every]),)


# 3 The table

HUB = "https://github.com"
SHAPE, ADJOINT = "answers in the shape and dtype of the rule", "the vjp is the adjoint"
KEPT, CROP, VALUE, REFLECTED, REPLICATED, CIRCULAR = (law.says for law in LAWS)
MISTAKES = (
    Mistake(
        "before and after are swapped where the image goes round",
        f"{HUB}/jcmgray/autoray/issues/35",
        *_misread(_swapped_when_circular),
        (KEPT,),
    ),
    Mistake(
        "a crop in front is made behind",
        f"{HUB}/microsoft/onnxruntime/issues/2433",
        *_misread(_cropped_behind),
        (CROP,),
    ),
    Mistake(
        "the value is always 0", f"{HUB}/deeplearning4j/deeplearning4j/issues/6172", _zero_border, caught_by=(VALUE,)
    ),
    Mistake(
        "the reflection in front begins one entry too far",
        f"{HUB}/ASEM000/kernex/issues/14",
        *_misread(_reflected_one_further),
        (REFLECTED,),
    ),
    Mistake(
        "a reflection is clamped to the edge",
        f"{HUB}/antimora/burn-flex/issues/29",
        *_misread(_clamped),
        (REFLECTED,),
    ),
    Mistake(
        "the first corner of a replicated border is never written",
        f"{HUB}/torch/cunn/issues/356",
        _corner_left,
        _corner_left_vjp,
        (REPLICATED,),
    ),
    Mistake(
        "the front is taken when the back is already there",
        f"{HUB}/numpy/numpy/issues/24436",
        *_misread(_front_from_what_is_padded),
        (CIRCULAR,),
    ),
    Mistake(
        "every mode pads with a constant",
        f"{HUB}/llvm/torch-mlir/issues/3457",
        *_misread(_always_constant),
        (REFLECTED, REPLICATED, CIRCULAR),
    ),
    Mistake(
        "the pairs count from the first axis",
        f"{HUB}/pytorch/pytorch/pull/37881",
        _pairs_from_the_first_axis,
        caught_by=(SHAPE,),
    ),
    Mistake(
        "a circular front is lost when there is no back",
        f"{HUB}/pytorch/pytorch/issues/24504",
        _circular_with_an_empty_slice,
        caught_by=(SHAPE,),
    ),
    Mistake(
        "the gradient of the border is lost",
        f"{HUB}/pytorch/pytorch/issues/100793",
        vjp=_border_forgotten,
        caught_by=(ADJOINT,),
    ),
)
