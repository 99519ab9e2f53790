"""How wrong the mean of several entries may be, and its gradient: what average pooling shares with its kin."""

from collections.abc import Callable

import numpy as np

from d2lref.ops._pool.grid import together
from d2lref.rounding import HOST, Precision, lattice_unit, sum_bound
from d2lref.spec import Array


def bound(r: int, sums: Callable[[Array], Array], divisor: Array, y: Array, p: Precision, x: Array) -> Array:
    """`_mean_bound` of sums(x) / divisor: K entries of a window are not zero, S is the sum of their sizes, divided."""
    size, by = np.abs(x), np.abs(divisor)
    small = np.where((size < p.stored.nmin) & p.flushed, size, 0.0)
    total, terms, lost = together(sums, size, (size > 0).astype(np.float64), small)
    plain = _power_of_two(by)
    unit = lattice_unit(x) / by[plain].max(initial=1.0)
    return _mean_bound(r, total, total / by, terms, np.broadcast_to(plain, y.shape), unit, lost / by, y, p)


def vjp_bound(r: int, back: Callable[[Array], Array], divisor: Array, gx: Array, p: Precision, gy: Array) -> Array:
    """`_mean_bound` of back(gy / divisor): K windows send something to an entry, S is the sum of |gy|, divided."""
    size, by = np.abs(gy), np.abs(divisor)
    plain, sent = _power_of_two(by), size > 0
    total, magnitude, terms, odd, lost = together(
        back,
        size,
        size / by,
        sent.astype(np.float64),
        (sent & ~plain).astype(np.float64),
        np.where((size < p.stored.nmin) & p.flushed, size, 0.0) / by,
    )
    unit = lattice_unit(np.where(plain, gy, 0.0)) / by[plain].max(initial=1.0)  # not of gy / by, which may underflow
    return _mean_bound(r, total, magnitude, terms, odd == 0, unit, lost, gx, p)


def _mean_bound(
    r: int, total: Array, magnitude: Array, terms: Array, plain: Array, unit: float, lost: Array, y: Array, p: Precision
) -> Array:
    """(K + r (1 + 2 r u) (1 + K u)) u S, and `sum_bound` of the K terms where every divisor is a power of two.

    K additions err by (K - 1) u S in any order (Jeannerod and Rump 2013). A division is one rounding, a product with a
    rounded reciprocal two, and a mean of means divides once for each axis: at most r = 2 axes roundings, and
    (1 + u)^r - 1 <= r u (1 + 2 r u) for r u <= 1/2 (ASNA, Lemma 3.1). A power of two divides exactly, so that small
    integers stay exact there. No operand is rounded before it is multiplied: a mean is a sum. total: the sum before it
    is divided, which must not overflow; magnitude: S; lost: what flushed inputs take away; unit: of the terms that are
    divided by powers of two. `sum_bound` adds underflow and the store.
    """
    error = np.zeros(y.shape)
    if plain.any():
        error = sum_bound(magnitude, terms, y, p, unit, exact_operands=True, lost=lost)
    if not plain.all():
        rough = np.where(terms > 0, terms + r * (1 + 2 * r * p.u) * (1 + terms * p.u), 0.0)
        error = np.where(plain, error, sum_bound(magnitude, rough, y, p, exact_operands=True, lost=lost))
    return np.where(total * (1 + (terms + 2) * (p.u + HOST.u)) < p.accumulator.fmax, error, np.inf)


def _power_of_two(a: Array) -> Array:
    return np.frexp(a)[0] == 1 / 2
