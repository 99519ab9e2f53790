"""The largest of several entries: which it is, where its gradient goes, and how far that is undecided.

What max pooling shares with its kin. The entries that compete stand along the last axis.
"""

from collections.abc import Callable

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._pool.grid import together
from d2lref.rounding import Precision, addition_bound, lattice_unit
from d2lref.spec import Array


def hits(seen: Array) -> Array:
    """Return which entries reach the largest along the last axis: booleans; all NaN are largest."""
    xp = namespace(seen)
    top = xp.max(seen, axis=-1, keepdims=True)
    return (seen == top) | (xp.isnan(seen) & xp.isnan(top))


def to_the_first(hit: Array, gy: Array) -> Array:
    """Return gy (...) at the first hit (..., entries), 0 at the other entries."""
    xp, sent = namespace(gy), namespace(gy).expand_dims(gy, axis=-1)
    first = hit & (xp.cumulative_sum(xp.astype(hit, xp.int32), axis=-1) == 1)
    return xp.where(first, sent, xp.zeros_like(sent))


def flushed(x: Array, p: Precision) -> Array:
    """Return x with zeros for what may be flushed: it ties with zeros."""
    return np.where((np.abs(x) < p.stored.nmin) & p.flushed, 0.0, x)


def tie_bound(back: Callable[[Array], Array], hit: Array, gx: Array, p: Precision, gy: Array) -> Array:
    """(K - 1) u S + L, without the first term for K <= 1: an entry is the largest of K windows, S their |gy|, summed.

    back(parts (..., entries)) adds each part to its entry. S and K count every window in which the entry reaches the
    largest; L is the part of S from windows in which another entry does so too. Every way of sharing gy among tied
    entries, all to one or not, is a subgradient (Rockafellar 1970, Convex Analysis, section 23), and two of them differ
    by at most L. The sum: `addition_bound`.
    """
    size = np.abs(gy)[..., None]
    tied = hit & (np.sum(hit, axis=-1, keepdims=True) > 1)
    total, terms, undecided, lost = together(
        back,
        np.where(hit, size, 0.0),
        np.where(hit & (size > 0), 1.0, 0.0),
        np.where(tied, size, 0.0),
        np.where(hit & (size < p.stored.nmin) & p.flushed, size, 0.0),
    )
    return addition_bound(total, terms, gx, p, lattice_unit(gy), lost=lost) + undecided
