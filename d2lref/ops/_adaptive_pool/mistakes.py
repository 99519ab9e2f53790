"""Plausible wrong adaptive poolings, each with the report of a bug that it models.

A wrong answer comes with the gradient of the wrong map where the map is linear, so that forward and backward agree with
each other: it is the laws about values that must see it.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from d2lref.ops._adaptive_pool.laws import AVG_LAWS, MAX_LAWS
from d2lref.ops._adaptive_pool.maxima import by_axes as maxima
from d2lref.ops._adaptive_pool.means import by_axes as means
from d2lref.ops._adaptive_pool.means import shares_of
from d2lref.ops._adaptive_pool.means import vjp as avg_vjp
from d2lref.ops._adaptive_pool.shares import bounds
from d2lref.ops._pool import shared
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
SHAPE, ADJOINT = "answers in the shape and dtype of the rule", "the vjp is the adjoint"
SEEN, CONSTANT, WHOLE, DIVIDED, CHANNEL = (law.says for law in AVG_LAWS)
_, _, THRESHOLD, NAN, _, ARRIVES, COLLECTS = (law.says for law in MAX_LAWS)

Reads = Callable[[int, int], list[Array]]
"""(entries n, windows m) -> the entries that each window reads."""

# 1 Windows that read the wrong entries


def _right(n: int, m: int) -> list[Array]:
    return [np.arange(a, b) for a, b in zip(*bounds(n, m), strict=True)]


def _end_rounded_down(n: int, m: int) -> list[Array]:
    """End where the next window begins, so that no two overlap; one entry at least."""
    start = np.arange(m + 1) * n // m
    return [np.arange(a, max(b, a + 1)) for a, b in pairwise(start)]


def _as_plain_pooling(n: int, m: int) -> list[Array]:
    """Take the stride n // m and a window that fills up the rest, as an average pooling without padding would."""
    stride = n // m
    return [np.arange(i * stride, n - (m - 1 - i) * stride) for i in range(m)] if stride else _right(n, m)


def _width_rounded_up(n: int, m: int) -> list[Array]:
    """Cut windows off after ceil(n / m) entries, though some are wider by one."""
    return [at[: -(-n // m)] for at in _right(n, m)]


def _strided(n: int, m: int) -> list[Array]:
    """Read every m-th entry where the windows divide the image: a reshape in the wrong order."""
    return [np.arange(i, n, m) for i in range(m)] if n % m == 0 else _right(n, m)


# 2 Wrong means


def _lines(tables: Any, reads: Reads) -> list[Array]:
    """Return one matrix (m, n) of 0 and 1 for each axis."""
    lines = []
    for t in tables:
        line = np.zeros((len(t.place), t.size))
        for i, at in enumerate(reads(t.size, len(t.place))):
            line[i, at] = 1.0
        lines.append(line)
    return lines


def _along(lines: list[Array], x: Array) -> Array:
    """Return x multiplied by one matrix along each axis of space, in float64."""
    x = x.astype(np.float64)
    for axis, line in enumerate(lines, start=2):
        x = np.moveaxis(np.tensordot(x, line, (axis, 1)), -1, axis)
    return x


Weights = Callable[[Any], list[Array]]
"""Tables of the right windows -> one matrix (m, n) of weights for each axis."""


def _weighted(weights: Weights) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of a pooling with other weights."""

    def forward(axes: int, x: Array, *, output_size: Any) -> Array:
        return _along(weights(shares_of(axes, x.shape, output_size)), x).astype(x.dtype)

    def backward(axes: int, gy: Array, x: Array, *, output_size: Any) -> tuple[Array]:
        return (_along([w.T for w in weights(shares_of(axes, x.shape, output_size))], gy).astype(x.dtype),)

    return forward, backward


def _reading(reads: Reads) -> Weights:
    """Read other entries, and divide by how many."""
    return lambda tables: [line / line.sum(axis=1, keepdims=True) for line in _lines(tables, reads)]


def _divided_by_the_floor(tables: Any) -> list[Array]:
    """Read the right entries, and divide by how many there would be if the end were rounded down."""
    counts = ([len(at) for at in _end_rounded_down(t.size, len(t.place))] for t in tables)
    return [line / np.array(c)[:, None] for line, c in zip(_lines(tables, _right), counts, strict=True)]


def _mean_of_means(tables: Any) -> list[Array]:
    """Take the mean of the whole image as the mean of its halves' means, along each axis."""
    lines = _reading(_right)(tables)
    if any(len(t.place) > 1 for t in tables):
        return lines
    return [np.array([_halved(t.size)]) for t in tables]


def _halved(count: int) -> list[float]:
    """Return the weights of the mean of the means of two halves, each taken in the same way."""
    if count == 1:
        return [1.0]
    return [w / 2 for part in (count - count // 2, count // 2) for w in _halved(part)]


def _paired_vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """The adjoint of `shared.paired_channels`: the channel before the last gets the gradient of both."""
    return (shared.paired_back(avg_vjp(axes, gy, x, **options)[0]),)


def _overwritten_vjp(axes: int, gy: Array, x: Array, *, output_size: Any) -> tuple[Array]:
    """Keep at each entry what the last window sent there."""
    tables = shares_of(axes, x.shape, output_size)
    lines = _reading(_right)(tables)
    return (_along([_last_only(line).T for line in lines], gy).astype(x.dtype),)


def _last_only(line: Array) -> Array:
    last = len(line) - 1 - np.argmax(line[::-1] > 0, axis=0)
    return np.where(np.arange(len(line))[:, None] == last, line, 0.0)


def _axes_reversed(pool: Callable[..., Array]) -> Callable[..., Array]:
    """Take output_size for (..., width, height)."""

    def forward(axes: int, x: Array, *, output_size: Any) -> Array:
        return pool(axes, x, output_size=output_size if isinstance(output_size, int) else tuple(output_size)[::-1])

    return forward


# 3 Wrong maxima


def _largest(reads: Reads) -> Callable[..., Array]:
    """Return the pooling that takes the maximum of other entries, one axis at a time."""

    def forward(axes: int, x: Array, *, output_size: Any) -> Array:
        for axis, t in enumerate(shares_of(axes, x.shape, output_size), start=2):
            tops = [np.take(x, at, axis=axis).max(axis=axis) for at in reads(t.size, len(t.place))]
            x = np.stack(tops, axis=axis)
        return x

    return forward


def _four_bits(axes: int, x: Array, **options: Any) -> Array:
    """Round the answer to four significant bits, fewer than any storage format has."""
    fraction, exponent = np.frexp(maxima(axes, x, **options).astype(np.float64))
    return np.ldexp(np.rint(fraction * 16) / 16, exponent).astype(x.dtype)


def _nan_loses(axes: int, x: Array, **options: Any) -> Array:
    return maxima(axes, np.where(np.isnan(x), np.asarray(-np.inf, x.dtype), x), **options)


Share = Callable[[Array, Array, Array], Array]
"""(gradient so far, entries, gy) of a window -> its gradient."""


def _walked(share: Share, reads: Reads = _right) -> Callable[..., tuple[Array]]:
    """Return a vjp that walks over the windows."""

    def backward(axes: int, gy: Array, x: Array, *, output_size: Any) -> tuple[Array]:
        gx, along = np.zeros_like(x), [reads(t.size, len(t.place)) for t in shares_of(axes, x.shape, output_size)]
        for i in np.ndindex(*gy.shape[2:]):
            at = (..., *np.ix_(*(rows[k] for rows, k in zip(along, i, strict=True))))
            gx[at] = share(gx[at], x[at], gy[(..., *i)].reshape(*x.shape[:2], *(1,) * axes))
        return (gx,)

    return backward


def _first(part: Array) -> Array:
    """Return where the first maximum of a window is: booleans of its shape."""
    flat = part.reshape(*part.shape[:2], math.prod(part.shape[2:]))
    return (np.arange(flat.shape[-1]) == np.argmax(flat, axis=-1)[..., None]).reshape(part.shape)


def _where_equal(gx: Array, part: Array, sent: Array) -> Array:
    """Add the gradient to every entry that equals the largest; NaN equals nothing."""
    return gx + np.where(part == part.max(axis=tuple(range(2, part.ndim)), keepdims=True), sent, 0)


def _overwriting(gx: Array, part: Array, sent: Array) -> Array:
    return np.where(_first(part), sent, gx)


def _adding(gx: Array, part: Array, sent: Array) -> Array:
    return gx + np.where(_first(part), sent, 0)


# 4 The tables


def avg_mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the average pooling over so many axes."""

    def made(says: str, cites: str, forward: Any, backward: Any, caught_by: str) -> Mistake:
        answer, gradient = (None if f is None else partial(f, axes) for f in (forward, backward))
        return Mistake(says, f"{HUB}/{cites}", answer, gradient, (caught_by,))

    reversed_axes = made(*REVERSED, _axes_reversed(means), None, SHAPE)
    return (
        *(made(says, cites, *_weighted(weights), caught_by) for says, cites, weights, caught_by in WEIGHTS),
        made(*PAIRS, shared.paired_channels(means), _paired_vjp, CHANNEL),
        made("of two windows the last one's gradient counts", ONEFLOW, None, _overwritten_vjp, ADJOINT),
        made(
            "the gradient is that of a plain pooling",
            PADDLE,
            None,
            _weighted(_reading(_as_plain_pooling))[1],
            ADJOINT,
        ),
        *((reversed_axes,) if axes > 1 else ()),
    )


def max_mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return the mistakes of the max pooling over so many axes."""

    def answer(says: str, cites: str, forward: Callable[..., Array], caught_by: str) -> Mistake:
        return Mistake(says, f"{HUB}/{cites}", partial(forward, axes), None, (caught_by,))

    def gradient(says: str, cites: str, backward: Callable[..., Any], caught_by: str) -> Mistake:
        return Mistake(says, f"{HUB}/{cites}", None, partial(backward, axes), (caught_by,))

    return (
        *(answer(says, cites, _largest(reads), caught_by) for says, cites, reads, caught_by in READS),
        answer("NaN loses every comparison", "pytorch/pytorch/issues/7645", _nan_loses, NAN),
        answer("maxima pass through a narrower format", "chainer/chainer/pull/7922", _four_bits, THRESHOLD),
        answer(*PAIRS, shared.paired_channels(maxima), CHANNEL),
        *(gradient(*line) for line in GRADIENTS),
        *((answer(*REVERSED, _axes_reversed(maxima), SHAPE),) if axes > 1 else ()),
    )


FLAGGEMS, PADDLE, ONEFLOW = (
    "flagos-ai/FlagGems/issues/4915",
    "PaddlePaddle/Paddle/pull/45031",
    "Oneflow-Inc/oneflow/pull/5614",
)
PAIRS = ("channels are taken two at a time", "tenstorrent/tt-metal/issues/15731")
REVERSED = ("the axes of output_size are reversed", "mlpack/mlpack/pull/3206")
READS: tuple[tuple[str, str, Reads, str], ...] = (
    ("a window ends where the next begins", FLAGGEMS, _end_rounded_down, SEEN),
    ("windows are those of a plain pooling", PADDLE, _as_plain_pooling, SEEN),
    ("no window is wider than the ratio, rounded up", "flagos-ai/FlagGems/pull/4924", _width_rounded_up, SEEN),
    ("a window reads every m-th entry", "riccardomusmeci/mlx-image/issues/16", _strided, DIVIDED),
)
WEIGHTS: tuple[tuple[str, str, Weights, str], ...] = (
    *((says, cites, _reading(reads), caught_by) for says, cites, reads, caught_by in READS),
    ("the count rounds the end of a window down", FLAGGEMS, _divided_by_the_floor, CONSTANT),
    ("a mean is that of its halves' means", "chainer/chainer/issues/1739", _mean_of_means, WHOLE),
)
GRADIENTS: tuple[tuple[str, str, Callable[..., Any], str], ...] = (
    (
        "the gradient goes wherever an entry equals the largest",
        "apache/mxnet/issues/18563",
        _walked(_where_equal),
        ARRIVES,
    ),
    ("the last window overwrites what others sent", "jmschrei/tangermeme/pull/95", _walked(_overwriting), ARRIVES),
    ("the gradient is that of a plain pooling", PADDLE, _walked(_adding, _as_plain_pooling), COLLECTS),
)
