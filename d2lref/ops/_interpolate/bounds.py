"""How wrong an interpolation may be: entries that are copied, weights that are rounded, positions that are rounded."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2lref.ops._interpolate.interpolation import back
from d2lref.ops._interpolate.positions import Axis, axes_of, exact, matrix
from d2lref.rounding import HOST, Precision, copy_bound, gather_bound, lattice_unit, sum_bound
from d2lref.spec import Array

POSITION = 6
"""Roundings of a position, each of at most the size of (i + 1/2) r: 1 / scale_factor (in float64, then rounded) or
n / m, i + 1/2, the product, the subtraction of 1/2."""


def bound(y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0 for nearest; else `_weighted_bound` with the weights as matrices (m, n)."""
    axes = axes_of(x.shape, **options)
    if axes[0].mode != "linear":
        return copy_bound(y, p, x)
    lines = [(matrix(axis), _moved(axis, p)) for axis in axes]
    return _weighted_bound(axes, lines, x, y, p)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """(K - 1) u S for nearest, K entries being copies of one (rounding.gather_bound); else `_weighted_bound`."""
    axes = axes_of(x.shape, **options)
    if axes[0].mode != "linear":
        return (gather_bound(lambda g: back(axes, g), gy, y=grads[0], p=p),)
    lines = [(matrix(axis).T, _moved(axis, p).T) for axis in axes]
    return (_weighted_bound(axes, lines, gy, grads[0], p),)


def _moved(axis: Axis, p: Precision) -> np.ndarray:
    """Return by how much each weight may be wrong because its position is, (m, n): d at the entries within reach.

    d = ((1 + u)^6 - 1) (i + 1/2) r + 2u for a position wrong by six roundings (ASNA, Lemma 3.1) and l = s - floor(s)
    and 1 - l, wrong by u l more. A weight is a hat function of the position, max(0, 1 - |s - j|), which moves by at
    most d when s does, also across an entry, where the two around it change. Where the step is a power of two, and the
    accumulator has the bits, nothing is rounded: d = 0.
    """
    u, line = p.u + HOST.u, np.zeros((axis.m, axis.n))
    top = (2 * axis.m + 1) * max(axis.step.numerator, axis.step.denominator)
    if exact(axis) and top < 2**p.accumulator.p:
        return line
    for i in range(axis.m):
        s, size = max(float(axis.at(i)), 0.0), (i + 1 / 2) * float(axis.step)
        d = math.expm1(POSITION * math.log1p(u)) * size + 2 * u
        line[i, max(math.floor(s - d), 0) : math.floor(s + d) + 2] = d
        line[i, -1] = max(line[i, -1], d if s + d >= axis.n - 1 else 0.0)
    return line


def _weighted_bound(
    axes: Sequence[Axis], lines: list[tuple[np.ndarray, np.ndarray]], x: Array, y: Array, p: Precision
) -> Array:
    """(A K + r (1 + 2 r u) (1 + K u)) u (S + M) + M: K terms, S the sum of their sizes, A axes of space, r = 2 A.

    W are the weights, R how far each may be moved (`_moved`), along one axis each; S is the product of all W on |x|, M
    the product of all W + R less that, summed axis by axis without cancellation. Given its position, each of A weights
    of a term is rounded once and multiplied once: r roundings, (1 + u)^r - 1 <= r u (1 + 2 r u) (ASNA, Lemma 3.1).
    K - 1 additions err by (K - 1) u of all sizes in any order (Jeannerod and Rump 2013); A K instead of K because
    each of A products of a term may underflow. Where all positions are exact, weights are multiples of a power of two,
    and small integers stay exact (`sum_bound`).
    """
    size = np.abs(x)
    small = np.where((size < p.stored.nmin) & p.flushed, size, 0.0)
    wide = [w + r for w, r in lines]
    magnitude = _along([w for w, _ in lines], size)
    moved = sum(_along([*(w for w, _ in lines[:a]), lines[a][1], *wide[a + 1 :]], size) for a in range(len(axes)))
    terms = np.rint(_along([(w > 0).astype(np.float64) for w in wide], (x != 0).astype(np.float64)))
    r = 2 * len(axes)
    rough = np.where(terms > 0, len(axes) * terms + r * (1 + 2 * r * p.u) * (1 + terms * p.u), 0.0)
    still = not any(m.any() for _, m in lines)
    unit = lattice_unit(x) * math.prod(_unit(axis) for axis in axes) if still else 0.0
    return sum_bound(magnitude, rough, y, p, unit, exact_operands=True, lost=moved + _along(wide, small))


def _unit(axis: Axis) -> float:
    """Return a power of two that divides all weights of an axis whose step is a power of two: 1 / (2 denominator)."""
    return 1.0 / (2 * axis.step.denominator)


def _along(lines: Sequence[np.ndarray], x: Array) -> Array:
    """Return x multiplied by one matrix along each axis of space."""
    for axis, line in enumerate(lines, start=2):
        x = np.moveaxis(np.tensordot(x, line, (axis, 1)), -1, axis)
    return x
