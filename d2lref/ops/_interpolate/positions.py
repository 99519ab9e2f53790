"""Where an interpolation reads: the position in the image of each entry of the answer, in exact rational arithmetic.

Letters: N images, C channels; along an axis of space n entries become m, and entry i of the answer lies at position
s(i) of the image, whose own entries lie at 0 to n - 1.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from d2lref.algorithms.gather import Table
from d2lref.spec import Shape

NEAREST = ("nearest", "nearest-exact")
LINEAR = ("linear", "bilinear", "trilinear")
HALF = Fraction(1, 2)

# 1 One axis


@dataclass(frozen=True, slots=True)
class Axis:
    """n entries become m, `step` apart; mode: one of NEAREST, or "linear" of any number of axes."""

    n: int
    m: int
    step: Fraction
    mode: str = "nearest"
    aligned: bool = False

    def at(self, i: int) -> Fraction:
        """Return s(i) before it is cut off at the ends of the image, where 0 is the first entry's centre.

        "nearest" counts from the first edge, and floors.
        """
        if self.aligned or self.mode == "nearest":
            return i * self.step
        return (i + HALF) * self.step - (0 if self.mode == "nearest-exact" else HALF)


def axes_of(
    x: Shape, *, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> tuple[Axis, ...]:
    """Return the axes of space of x (N, C, *n). Raises ValueError."""
    x = tuple(x)
    kind = _kind(x, mode, align_corners)
    aligned = bool(align_corners)
    return tuple(
        Axis(n, m, Fraction(n - 1, m - 1) if aligned and m > 1 else Fraction(0) if aligned else step, kind, aligned)
        for n, (m, step) in zip(x[2:], _steps(x, size, scale_factor), strict=True)
    )


def _kind(x: Shape, mode: str, align_corners: Any) -> str:
    """Return "nearest", "nearest-exact" or "linear". Raises ValueError."""
    if not 3 <= len(x) <= 5:
        raise ValueError(f"interpolate: x {x} has {len(x)} axes, expected 3 to 5: images, channels, 1 to 3 of space")
    if 0 in x[1:]:
        raise ValueError(f"interpolate: x {x} has an axis without entries, expected at least 1")
    if mode not in (*NEAREST, *LINEAR):
        known = ", ".join(map(repr, (*NEAREST, *LINEAR)))
        raise ValueError(f"interpolate: mode={mode!r}, expected one of {known}")
    if mode in NEAREST:
        if align_corners is not None:
            raise ValueError(f"interpolate: align_corners={align_corners!r} with mode={mode!r}, expected None")
        return mode
    fits = LINEAR[len(x) - 3]
    if mode != fits:
        raise ValueError(f"interpolate: mode={mode!r} with x {x} of {len(x) - 2} axes of space, expected {fits!r}")
    return "linear"


def _steps(x: Shape, size: Any, scale_factor: Any) -> list[tuple[int, Fraction]]:
    """Return m and the step n / m, or 1 / scale_factor, for each axis of space. Raises ValueError."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: size={size!r}, scale_factor={scale_factor!r}, expected one of them")
    axes, space = len(x) - 2, x[2:]
    if size is not None:
        sizes = _each("size", size, axes, (int, np.integer))
        return [(int(m), Fraction(n, int(m))) for n, m in zip(space, sizes, strict=True)]
    factors = _each("scale_factor", scale_factor, axes, (int, float, np.integer, np.floating))
    found = [(math.floor(float(n) * f), 1 / Fraction(f)) for n, f in zip(space, factors, strict=True)]
    if min(m for m, _ in found) < 1:
        raise ValueError(f"interpolate: scale_factor={scale_factor!r} leaves nothing of an axis of x {x}")
    return found


def _each(name: str, value: Any, axes: int, kinds: Any) -> tuple[Any, ...]:
    """Return one number above 0 for each axis: one number counts for all. Raises ValueError."""
    values: Any = (value,) * axes if isinstance(value, kinds) else value
    fits = isinstance(values, tuple | list) and len(values) == axes and all(isinstance(v, kinds) for v in values)
    if not fits or not all(bool(0 < v < math.inf) for v in values):
        noun = "an integer" if name == "size" else "a number"
        raise ValueError(f"interpolate: {name}={value!r}, expected {noun} above 0, or a tuple of {axes}")
    return tuple(values)


# 2 What is read there


@lru_cache(maxsize=4096)
def nearest(axis: Axis) -> Table:
    """Return the one entry that each entry of the answer copies: floor(s(i)), which lies in the image."""
    place = np.array([[math.floor(axis.at(i))] for i in range(axis.m)])
    return Table(place, np.ones(place.shape, dtype=bool), axis.n)


@lru_cache(maxsize=4096)
def between(axis: Axis) -> tuple[Table, np.ndarray]:
    """Return the two entries around each position, and their weights (m, 2): 1 - l and l, l = s(i) - floor(s(i)).

    s(i) is at least 0. The entry after the last is the last.
    """
    place, weights = [], []
    for i in range(axis.m):
        s = max(axis.at(i), Fraction(0))
        low = min(math.floor(s), axis.n - 1)
        beyond = min(s - low, Fraction(1))
        place.append([low, min(low + 1, axis.n - 1)])
        weights.append([float(1 - beyond), float(beyond)])
    return Table(np.array(place), np.ones((axis.m, 2), dtype=bool), axis.n), np.array(weights)


@lru_cache(maxsize=4096)
def matrix(axis: Axis) -> np.ndarray:
    """Return the weights as a matrix (m, n)."""
    table, weights = between(axis)
    line = np.zeros((axis.m, axis.n))
    for side in (0, 1):
        np.add.at(line, (np.arange(axis.m), table.place[:, side]), weights[:, side])
    return line


# 3 Where floating point lands


def exact(axis: Axis) -> bool:
    """Return whether positions are exact in any arithmetic that holds them: the step is a power of two, or 0."""
    top, bottom = axis.step.numerator, axis.step.denominator
    return top & (top - 1) == 0 and bottom & (bottom - 1) == 0


@lru_cache(maxsize=4096)
def settled(axis: Axis) -> bool:
    """Return whether "nearest" and "nearest-exact" in float32 or float64 land on the same entry as the exact floor.

    They multiply i, or i + 1/2, by a rounded step. For 26 entries that become 22, entry 11 lies at 13 exactly, and
    11 fl(26 / 22) at 12.999999 in float32.
    """
    if axis.mode == "linear" or exact(axis):
        return True
    right = nearest(axis).place[:, 0]
    i = np.arange(axis.m) + (0.5 if axis.mode == "nearest-exact" else 0.0)
    return all(
        bool((np.minimum(np.floor(i.astype(kind) * np.asarray(float(axis.step), kind)), axis.n - 1) == right).all())
        for kind in (np.float32, np.float64)
    )
