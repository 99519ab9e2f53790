"""What holds of every max pooling that tells indices."""

import math
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.ops._pool.indexed import Read, out
from d2lref.rounding import Pair, claim
from d2lref.spec import Array, Case, Claim, Law, Shape

# One image, where a law speaks about windows: images have their own law.


def _answers(f: Any, case: Case) -> tuple[Pair, Array, Array]:
    """Return the maxima and the indices of the first image, and which indices count an entry of it."""
    x = case.arrays[0][:1]
    y, found = f(x, **case.options)
    inside = (found.value >= 0) & (found.value < math.prod(x.shape[2:])) & (found.value % 1 == 0)
    return y, np.where(inside, found.value, 0).astype(np.int64), inside


def _own_window(read: Read, f: Any, case: Case) -> Claim:
    """The entry that an index counts is one that its window reads."""
    tables = read(case.arrays[0].shape, **case.options)
    _, found, inside = _answers(f, case)
    along = np.ogrid[tuple(slice(m) for m in out(tables))]
    places = np.unravel_index(found, case.arrays[0].shape[2:])
    for t, i, place in zip(tables, along, places, strict=True):
        reads = np.zeros((len(t.place), t.size), np.bool_)
        np.logical_or.at(reads, (np.nonzero(t.counts)[0], t.place[t.counts]), True)
        inside = inside & reads[i, place]
    return Claim(inside.astype(np.float64), np.ones(inside.shape), 0.0, "1 where the index lies in its window")


def _at_index(f: Any, case: Case) -> Claim:
    """y = x at the index."""
    x = case.arrays[0][:1]
    y, found, inside = _answers(f, case)
    entries = np.reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))
    there = np.take_along_axis(entries, np.reshape(found, (*x.shape[:2], math.prod(found.shape[2:]))), axis=2).reshape(
        found.shape
    )
    return claim(np.where(inside, there, np.where(np.isnan(y.value), 0.0, np.nan)), y)


def _largest(read: Read, f: Any, case: Case) -> Claim:
    """y is as large as the largest entry that its window reads, taken along one axis after the other."""
    x = case.arrays[0][:1]
    top = x
    for axis, t in enumerate(read(x.shape, **case.options), start=2):
        seen = np.take(top, np.where(t.counts, t.place, 0), axis=axis)
        counts = np.reshape(t.counts, (*t.counts.shape, *(1,) * (x.ndim - axis - 1)))
        top = np.where(counts, seen, -np.inf).max(axis=axis + 1)
    return claim(f(x, **case.options)[0], top)


def _unpooled(f: Any, case: Case) -> Claim:
    """gx = gy put down at the indices and added up (max unpooling); exact, but for ties."""
    x = case.arrays[0][:1]
    _, found, _ = _answers(f, case)
    gy = shared.signs(case, found.shape)
    return claim(f.vjp((gy, None), x, **case.options)[0], put_down(gy, found, x.shape))


def _without_nan(case: Case) -> bool:
    return not np.isnan(case.arrays[0]).any()


def put_down(gy: Array, found: Array, size: Shape) -> Array:
    """Return an image of zeros (N, C, *size) with every gy added at its index."""
    gx = np.zeros((math.prod(size[:2]), math.prod(size[2:])), gy.dtype)
    planes = np.arange(len(gx)).reshape(*size[:2], *(1,) * (len(size) - 2))
    np.add.at(gx, (np.broadcast_to(planes, found.shape), found), gy)
    return gx.reshape(size)


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent, channel by channel; exact."""
    (x,) = case.arrays
    gy = shared.signs(case, case.cotangents[0].shape)
    others = (0, *range(2, x.ndim))
    return Claim(f.vjp((gy, None), x, **case.options)[0].value.sum(axis=others), gy.sum(axis=others))


def laws(read: Read) -> tuple[Law, ...]:
    """Return the laws of a pooling whose windows `read` knows: together the first three say all of its answers."""
    return (
        Law("an index lies in its window", partial(_own_window, read)),
        Law("the maximum is the entry at its index", _at_index),
        Law("no entry of a window exceeds its maximum", partial(_largest, read)),
        Law("the gradient is put down at the indices", _unpooled, when=_without_nan, vjp=True),
        Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    )
