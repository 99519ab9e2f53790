"""Plausible wrong interpolations, each with the report of a bug that it models.

A wrong answer comes with the gradient of the wrong map, so that forward and backward agree with each other: it is the
laws about values that must see it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from d2lref.ops._interpolate.interpolation import definition, vjp
from d2lref.ops._interpolate.laws import LAWS
from d2lref.ops._interpolate.positions import HALF, Axis, axes_of, matrix, nearest
from d2lref.ops._pool import shared
from d2lref.spec import Array, Mistake

Ways = tuple[Callable[..., Array], Callable[..., tuple[Array]]]
Lines = Callable[[Axis], Array]
"""One axis -> the weights along it as a matrix (m, n)."""

# 1 Other weights


def _weighted(lines: Lines) -> Ways:
    """Return forward and vjp of an interpolation with other weights along each axis."""

    def forward(x: Array, **options: Any) -> Array:
        return _along([lines(axis) for axis in axes_of(x.shape, **options)], x)

    def backward(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        return (_along([lines(axis).T for axis in axes_of(x.shape, **options)], gy),)

    return forward, backward


def _along(lines: list[Array], x: Array) -> Array:
    """Return x multiplied by one matrix along each axis of space, in float64."""
    y = x.astype(np.float64)
    for axis, line in enumerate(lines, start=2):
        y = np.moveaxis(np.tensordot(y, line, (axis, 1)), -1, axis)
    return y.astype(x.dtype)


def _right(axis: Axis) -> Array:
    if axis.mode == "linear":
        return matrix(axis)
    return (nearest(axis).place == np.arange(axis.n)).astype(np.float64)


def _copying(mode: str, place: Callable[[Axis, int], int]) -> Lines:
    """Return what copies another entry in one of the nearest modes: place(axis, i), cut off at the ends."""

    def lines(axis: Axis) -> Array:
        if axis.mode != mode:
            return _right(axis)
        at = np.array([min(max(place(axis, i), 0), axis.n - 1) for i in range(axis.m)])
        return (at[:, None] == np.arange(axis.n)).astype(np.float64)

    return lines


def _positioned(where: Callable[[Axis, int], Fraction], when: Callable[[Axis], bool]) -> Lines:
    """Return what interpolates at other positions along some axes, cut off at both ends."""

    def lines(axis: Axis) -> Array:
        if not when(axis):
            return _right(axis)
        return _hats([min(max(where(axis, i), 0), axis.n - 1) for i in range(axis.m)], axis.n)

    return lines


def _hats(positions: list[Any], n: int) -> Array:
    """Return the weights max(0, 1 - |s - j|) for positions s."""
    s = np.array([float(p) for p in positions])
    return np.maximum(0.0, 1 - np.abs(s[:, None] - np.arange(n)))


def _unaligned(axis: Axis) -> bool:
    return axis.mode == "linear" and not axis.aligned


def _dark_border(axis: Axis) -> Array:
    """Take zeros for what lies beyond the ends."""
    return _hats([axis.at(i) for i in range(axis.m)], axis.n) if _unaligned(axis) else _right(axis)


def _extrapolated(axis: Axis) -> Array:
    """Go on in a straight line in front of the first entry."""
    line = _right(axis)
    if not _unaligned(axis) or axis.n == 1:
        return line
    for i in range(axis.m):
        s = float(axis.at(i))
        if s < 0:
            line = np.where(np.arange(axis.m)[:, None] == i, 0.0, line)
            line[i, :2] = 1 - s, s
    return line


def _area(axis: Axis) -> Array:
    """Take the mean of the entries that become one, where their number is whole."""
    k = axis.n // axis.m
    if not _unaligned(axis) or axis.n % axis.m or axis.step != k:
        return _right(axis)
    return np.repeat(np.eye(axis.m), k, axis=1) / k


def _by_ratio(axis: Axis) -> Array:
    """Take n / m for the step, whatever the scale factor."""
    return _right(axis if axis.aligned else replace(axis, step=Fraction(axis.n, axis.m)))


def _not_turned_over(axis: Axis) -> Array:
    """Take the scale factor for the step, unless it is the ratio of the sizes."""
    told = axis.aligned or axis.step == Fraction(axis.n, axis.m)
    return _right(axis if told else replace(axis, step=1 / axis.step))


# 2 Other mistakes


def _without_crossed_term(x: Array, **options: Any) -> Array:
    """Lay a plane through three of four corners: x00 + a (x10 - x00) + b (x01 - x00), or from the opposite corner."""
    return _along_two(_planes, x, **options)


def _along_two(planes: Callable[[tuple[Axis, ...]], Array], x: Array, **options: Any) -> Array:
    axes = axes_of(x.shape, **options)
    if len(axes) != 2 or axes[0].mode != "linear":
        return definition(x, **options)
    return np.einsum("pqij,ncij->ncpq", planes(axes), x.astype(np.float64)).astype(x.dtype)


def _without_crossed_term_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    axes = axes_of(x.shape, **options)
    if len(axes) != 2 or axes[0].mode != "linear":
        return vjp(gy, x, **options)
    return (np.einsum("pqij,ncpq->ncij", _planes(axes), gy.astype(np.float64)).astype(x.dtype),)


def _planes(axes: tuple[Axis, ...]) -> Array:
    """Return the weights (m, m, n, n) of the planes."""
    weights = np.zeros((axes[0].m, axes[1].m, axes[0].n, axes[1].n))
    for p, q in np.ndindex(weights.shape[:2]):
        (i, a), (j, b) = _cell(axes[0], p), _cell(axes[1], q)
        low = [(i, j, 1 - a - b), (i + 1, j, a), (i, j + 1, b)]
        high = [(i + 1, j + 1, a + b - 1), (i, j + 1, 1 - a), (i + 1, j, 1 - b)]
        for row, column, weight in low if a + b <= 1 else high:
            if weight:
                weights[p, q, row, column] += weight
    return weights


def _cell(axis: Axis, i: int) -> tuple[int, float]:
    """Return floor(s) and s - floor(s)."""
    s = min(max(axis.at(i), Fraction(0)), Fraction(axis.n - 1))
    return math.floor(s), float(s - math.floor(s))


def _nothing_over_nothing(x: Array, **options: Any) -> Array:
    """Divide by m - 1, also where that is nothing."""
    y = definition(x, **options)
    single = any(axis.aligned and axis.m == 1 for axis in axes_of(x.shape, **options))
    return np.full_like(y, np.nan) if single else y


def _paired_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    return (shared.paired_back(vjp(gy, x, **options)[0]),)


def _paired(x: Array, **options: Any) -> Array:
    return shared.paired_channels(lambda _axes, a, **told: definition(a, **told))(0, x, **options)


def _size_reckoned_back(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Answer with floor(m / scale_factor) entries."""
    (gx,) = vjp(gy, x, **options)
    if options.get("scale_factor") is None:
        return (gx,)
    kept = (math.floor(axis.m * (1 if axis.aligned else axis.step)) for axis in axes_of(x.shape, **options))
    return (gx[(..., *map(slice, kept))],)


# 3 The table

HUB = "https://github.com"
SHAPE = "gradients come in the shape and dtype of their arrays"
NEAREST, EXACT, AFFINE, ALIGNED, FACTOR, CONSTANT, RANGE, RATIO, ONE_BY_ONE, SINGLE, CHANNEL = (
    law.says for law in LAWS
)
WEIGHTS: tuple[tuple[str, str, Lines, str], ...] = (
    (
        "nearest takes the centre of a pixel",
        "Oneflow-Inc/oneflow/pull/5347",
        _copying("nearest", lambda axis, i: math.floor((i + HALF) * axis.step)),
        NEAREST,
    ),
    (
        "nearest-exact floors where it should round",
        "awxkee/pic-scale-safe/pull/13",
        _copying("nearest-exact", lambda axis, i: math.floor(axis.at(i) - HALF)),
        EXACT,
    ),
    (
        "nearest-exact rounds a half to even",
        "cupy/cupy/pull/4570",
        _copying("nearest-exact", lambda axis, i: round(axis.at(i) - HALF)),
        EXACT,
    ),
    (
        "the half of a pixel is missing",
        "alibaba/MNN/issues/141",
        _positioned(lambda axis, i: i * axis.step, _unaligned),
        AFFINE,
    ),
    (
        "align_corners is ignored",
        "intel/webml-polyfill/issues/468",
        _positioned(lambda axis, i: Fraction(i * axis.n, axis.m), lambda axis: axis.aligned),
        ALIGNED,
    ),
    (
        "a single pixel between aligned corners lies in the middle",
        "onnx/onnx/issues/4275",
        _positioned(lambda axis, _i: Fraction(axis.n - 1, 2), lambda axis: axis.aligned and axis.m == 1),
        SINGLE,
    ),
    ("the step is the ratio of sizes, whatever the factor", "robertknight/rten/pull/1418", _by_ratio, FACTOR),
    ("the factor is taken for the step", "pytorch/pytorch/pull/117538", _not_turned_over, FACTOR),
    ("the border fades to zero", "adobe/antialiased-cnns/issues/30", _dark_border, CONSTANT),
    ("the first entry is extrapolated", "opencv/opencv/pull/30022", _extrapolated, RANGE),
    ("a smaller answer averages", "pytorch/vision/issues/2950", _area, RATIO),
)
MISTAKES = (
    *(Mistake(says, f"{HUB}/{cites}", *_weighted(lines), (caught_by,)) for says, cites, lines, caught_by in WEIGHTS),
    Mistake(
        "the crossed term is missing",
        f"{HUB}/tum-vision/dvo/issues/20",
        _without_crossed_term,
        _without_crossed_term_vjp,
        (ONE_BY_ONE,),
    ),
    Mistake(
        "a single pixel between aligned corners is nothing over nothing",
        f"{HUB}/robertknight/rten/issues/1447",
        _nothing_over_nothing,
        caught_by=(SINGLE,),
    ),
    Mistake(
        "channels are taken two at a time",
        f"{HUB}/tenstorrent/tt-metal/issues/15731",
        _paired,
        _paired_vjp,
        (CHANNEL,),
    ),
    Mistake(
        "the gradient reckons the size of the image back from the answer's",
        f"{HUB}/Oneflow-Inc/oneflow/pull/5347",
        vjp=_size_reckoned_back,
        caught_by=(SHAPE,),
    ),
)
