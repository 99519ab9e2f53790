"""Plausible wrong indices of maxima, each with the report of a bug that it models.

A wrong index comes with the gradient that it leads to, so that forward and backward agree with each other.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms.gather import read_axes
from d2lref.ops._pool import largest
from d2lref.ops._pool.indexed import Read, Tables, back, by_windows, indices
from d2lref.ops._pool.indexed_laws import laws, put_down
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
WINDOW, ENTRY, LARGEST, UNPOOLED, ARRIVES = (law.says for law in laws(lambda *_: ()))

# 1 Wrong indices

Change = Callable[[Array, Array, Array, Tables], Array]
"""(indices, maxima, x, windows) -> other indices."""


def _axes(found: Array, x: Array) -> tuple[Array, ...]:
    """Return the place of each index along each axis of space."""
    return np.unravel_index(np.maximum(found, 0), x.shape[2:])


def _flat(places: list[Array], size: tuple[int, ...]) -> Array:
    """Return the index of places in an image of that size."""
    total = np.zeros((), np.int64)
    for place, n in zip(places, size, strict=True):
        total = total * n + place
    return total


def _padded(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Count the padding too."""
    del y
    before = [max(-int(t.place.min()), 0) for t in tables]
    places = [a + p for a, p in zip(_axes(found, x), before, strict=True)]
    return _flat(places, tuple(n + 2 * p for n, p in zip(x.shape[2:], before, strict=True)))


def _taps(found: Array, x: Array, tables: Tables) -> list[tuple[Array, Array]]:
    """Return along each axis where the window begins, and which of its taps the index is."""
    pairs = []
    for axis, (t, place) in enumerate(zip(tables, _axes(found, x), strict=True)):
        rows = np.reshape(t.place, (*(1,) * (2 + axis), len(t.place), *(1,) * (len(tables) - axis - 1), -1))
        pairs.append((np.broadcast_to(rows[..., 0], found.shape), np.argmax(rows == place[..., None], axis=-1)))
    return pairs


def _undilated(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Count taps as if they were neighbours."""
    del y
    return _flat([start + tap for start, tap in _taps(found, x, tables)], x.shape[2:])


def _of_the_window(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Count the taps of the window."""
    del y
    return _flat([tap for _, tap in _taps(found, x, tables)], tuple(t.place.shape[1] for t in tables))


def _planes_too(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Count on through channels and images."""
    del y, tables
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    return found + planes * math.prod(x.shape[2:])


def _channels_last(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Count in an image whose channels come last."""
    del y, tables
    return found * x.shape[1] + np.arange(x.shape[1]).reshape(-1, *(1,) * (x.ndim - 2))


def _first_axis_fastest(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    del y, tables
    return _flat([*_axes(found, x)][::-1], x.shape[:1:-1])


def _six_bits(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Keep six bits, fewer than the image needs."""
    del y, x, tables
    return found % 64


def _equal_elsewhere(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Answer with the first entry of the whole image that equals the maximum."""
    del tables
    flat = x.reshape(*x.shape[:2], *(1,) * (x.ndim - 2), math.prod(x.shape[2:]))
    equal = flat == y[..., None]
    return np.where(equal.any(axis=-1), np.argmax(equal, axis=-1), found)


def _of_a_number(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Let NaN win the maximum, and not the index."""
    places = indices(tables)
    seen = read_axes(tables, x, -math.inf).reshape(*x.shape[:2], *places.shape)
    numbers = np.where((places >= 0) & ~np.isnan(seen), seen, -np.inf)
    first = np.argmax((numbers == numbers.max(axis=-1, keepdims=True)) & (places >= 0), axis=-1)
    return np.where(
        np.isnan(y), np.take_along_axis(np.broadcast_to(places, seen.shape), first[..., None], -1)[..., 0], found
    )


def _nothing_exceeds(found: Array, y: Array, x: Array, tables: Tables) -> Array:
    """Begin with index -1 and minus infinity, which no entry of minus infinity exceeds."""
    del x, tables
    return np.where(np.isneginf(y), -1, found)


def _changed(read: Read, change: Change) -> Callable[..., tuple[Array, Array]]:
    def forward(x: Array, **options: Any) -> tuple[Array, Array]:
        y, found = by_windows(read, x, **options)
        return y, change(found, y, x, read(x.shape, **options)).astype(np.int64)

    return forward


def _last_unseen(read: Read) -> Callable[..., tuple[Array, Array]]:
    """Take entries two at a time, and forget the last of an odd number."""

    def forward(x: Array, **options: Any) -> tuple[Array, Array]:
        (y, found), tables = by_windows(read, x, **options), read(x.shape, **options)
        places = indices(tables)
        if places.shape[-1] % 2 == 0 or places.shape[-1] == 1:
            return y, found
        seen = read_axes(tables, x, -math.inf).reshape(*x.shape[:2], *places.shape)[..., :-1]
        hit = largest.hits(seen) & (places[..., :-1] >= 0)
        at = np.argmax(hit, axis=-1)[..., None]
        tops, there = (
            np.take_along_axis(np.broadcast_to(a, seen.shape), at, -1)[..., 0] for a in (seen, places[..., :-1])
        )
        some = hit.any(axis=-1)
        return np.where(some, tops, y).astype(x.dtype), np.where(some, there, found)

    return forward


# 2 Gradients


def _led(forward: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array]]:
    """Return the vjp that puts gy down at the indices of a pooling, as far as they lie in the image."""

    def backward(gy: tuple[Array, None], x: Array, **options: Any) -> tuple[Array]:
        _, found = forward(x, **options)
        return (put_down(gy[0], np.clip(found, 0, math.prod(x.shape[2:]) - 1), x.shape),)

    return backward


def _sent(read: Read, choose: Callable[[Array, Array], Array]) -> Callable[..., tuple[Array]]:
    """Return the vjp that sends gy where choose(entries that the taps read, which are in the image) says."""

    def backward(gy: tuple[Array, None], x: Array, **options: Any) -> tuple[Array]:
        tables = read(x.shape, **options)
        places = indices(tables)
        seen = read_axes(tables, x, -math.inf).reshape(*x.shape[:2], *places.shape)
        inside = np.broadcast_to(places >= 0, seen.shape)
        chosen = choose(seen, inside)
        return (back(tables, np.where(chosen, gy[0][..., None], 0)).astype(x.dtype),)

    return backward


# 3 The table


def mistakes(axes: int, read: Read, *, plain: bool) -> tuple[Mistake, ...]:
    """Return the mistakes of a pooling over so many axes; a plain one has padding and dilation."""
    changes = (*CHANGES, *((OF_SEVERAL_AXES,) if axes > 1 else ()), *(OF_PLAIN if plain else ()))
    answers = [(says, cites, _changed(read, change), law) for says, cites, change, law in changes]
    unseen = ("the last of an odd number of entries is never seen", "PaddlePaddle/Anakin/issues/210")
    answers.append((*unseen, _last_unseen(read), LARGEST))
    return (
        *(Mistake(says, f"{HUB}/{cites}", wrong, _led(wrong), (law,)) for says, cites, wrong, law in answers),
        Mistake(
            "the gradient goes to the first entry of a window",
            f"{HUB}/uxlfoundation/oneDNN/pull/3866",
            None,
            _sent(read, lambda seen, inside: inside & (np.cumsum(inside, axis=-1) == 1)),
            (UNPOOLED,),
        ),
        Mistake(
            "every tied entry gets the whole gradient",
            f"{HUB}/Theano/Theano/issues/5248",
            None,
            _sent(read, lambda seen, inside: inside & (seen == seen.max(axis=-1, keepdims=True))),
            (ARRIVES,),
        ),
    )


CHANGES: tuple[tuple[str, str, Change, str], ...] = (
    ("indices count the taps of the window", "pytorch/pytorch/pull/2722", _of_the_window, WINDOW),
    ("indices count on through channels and images", "tensorflow/tensorflow/issues/22025", _planes_too, WINDOW),
    ("indices are those of channels that come last", "onnx/onnx-tensorflow/issues/719", _channels_last, WINDOW),
    ("indices are kept in six bits", "pytorch/pytorch/pull/159936", _six_bits, WINDOW),
    ("an equal entry elsewhere gives the index", "llvm/torch-mlir/pull/518", _equal_elsewhere, WINDOW),
    ("NaN wins the maximum and not the index", "pytorch/pytorch/issues/7645", _of_a_number, ENTRY),
    ("a window of minus infinity has no index", "pytorch/pytorch/pull/23161", _nothing_exceeds, WINDOW),
)
OF_PLAIN: tuple[tuple[str, str, Change, str], ...] = (
    ("indices count the padding too", "tensorflow/tensorflow/issues/10216", _padded, WINDOW),
    ("indices forget the dilation", "pytorch/pytorch/pull/100531", _undilated, ENTRY),
)
OF_SEVERAL_AXES = ("the first axis runs fastest", "openvinotoolkit/openvino/pull/33833", _first_axis_fastest, WINDOW)
