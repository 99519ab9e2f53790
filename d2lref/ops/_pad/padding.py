"""Padding (d2l 6.3.1): shape, definition, another way, derivative, bounds.

For a constant border the array may have any axes; else it is (N, C, *size).
"""

from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from d2lref.arrays import namespace, zeros
from d2lref.rounding import Precision, copy_bound, gather_bound, round_to
from d2lref.spec import Array, Shape

MODES = ("constant", "reflect", "replicate", "circular")
Sides = tuple[tuple[int, int], ...]

# 1 Shape


def shape(x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((before + n + after along each axis),). Raises ValueError."""
    return (tuple(n + before + after for n, (before, after) in zip(x, sides(x, **options), strict=True)),)


def sides(x: Shape, *, pad: Any, mode: str = "constant", value: float | None = None) -> Sides:
    """Return (before, after) for each axis of x: pad counts the pairs from the last axis. Raises ValueError."""
    x = tuple(x)
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r}, expected one of {', '.join(map(repr, MODES))}")
    if not isinstance(pad, tuple | list) or len(pad) % 2 or not all(isinstance(p, int | np.integer) for p in pad):
        raise ValueError(f"pad: pad={pad!r}, expected pairs of integers, (before, after) of the last axis first")
    few = len(pad) // 2
    if few > len(x):
        raise ValueError(f"pad: pad={pad!r} has {few} pairs, but x {x} has {len(x)} axes")
    pairs = [(int(pad[2 * i]), int(pad[2 * i + 1])) for i in reversed(range(few))]
    if mode != "constant":
        _check_continued(x, pairs, mode, value)
    every = (*((0, 0),) * (len(x) - few), *pairs)
    for axis, (n, (before, after)) in enumerate(zip(x, every, strict=True)):
        if max(-before, 0) + max(-after, 0) > n:
            raise ValueError(f"pad: pad={pad!r} crops axis {axis} of x {x} by more than its {n} entries")
    return every


def _check_continued(x: Shape, pairs: list[tuple[int, int]], mode: str, value: float | None) -> None:
    """Refuse what cannot be continued: other axes than those of space, negative pads, more than the image has."""
    few = len(pairs)
    if not 1 <= few <= 3:
        raise ValueError(f"pad: mode={mode!r} with {few} pairs, expected 1, 2 or 3: those of the axes of space")
    if len(x) != few + 2:
        raise ValueError(
            f"pad: x {x} has {len(x)} axes, expected {few + 2} for mode={mode!r}: images, channels, {few} of space"
        )
    if value:
        raise ValueError(f"pad: value={value!r} with mode={mode!r}, expected None: only mode='constant' has a value")
    for n, pair in zip(x[2:], pairs, strict=True):
        most = {"reflect": n - 1, "circular": n}.get(mode, max(pair))
        if min(pair) < 0 or max(pair) > most:
            room = "no limit" if mode == "replicate" else f"at most {most} of its {n} entries"
            raise ValueError(f"pad: {pair} around an axis with mode={mode!r}, expected at least 0 and {room}")


# 2 Definition


def definition(x: Array, *, pad: tuple[int, ...], mode: str = "constant", value: float | None = None) -> Array:
    """y = front, x, back along each axis in turn; what they hold is the mode's, a negative pad crops that side instead.

    "constant": the value, 0 when it is None. "reflect": the entries beside the edge, mirrored, without the edge itself.
    "replicate": the edge. "circular": the other end. x (*axes) to y (before + n + after along each), of one dtype;
    pad = (before, after) of the last axis, then of the axis before it, and so on. "constant" takes any axes; the other
    modes pad all the axes of space of x (N, C, *size) by at least 0, "reflect" by at most n - 1, "circular" by at most
    n. Raises ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 6.3.1;
    torch.nn.functional.pad.
    """
    xp, y = namespace(x), x
    for axis, (before, after) in enumerate(sides(x.shape, pad=pad, mode=mode, value=value)):
        if before or after:
            kept = _cut(y, axis, max(-before, 0), y.shape[axis] - max(-after, 0))
            front, back = _continuation(y, axis, max(before, 0), max(after, 0), mode, value or 0.0)
            y = xp.concat([*front, kept, *back], axis=axis)
    return y if y is not x else xp.asarray(x, copy=True)


def _cut(x: Array, axis: int, low: int, high: int) -> Array:
    """Return the entries from low to high along an axis."""
    return x[(*(slice(None),) * axis, slice(low, high), ...)]


def _continuation(
    x: Array, axis: int, before: int, after: int, mode: str, value: float
) -> tuple[list[Array], list[Array]]:
    """Return what stands in front of x and behind it along an axis, as lists of parts."""
    xp, n, cut = namespace(x), x.shape[axis], partial(_cut, x, axis)
    if mode == "constant":
        return [_full(x, axis, before, value)], [_full(x, axis, after, value)]
    if mode == "reflect":
        return [xp.flip(cut(1, before + 1), axis=axis)], [xp.flip(cut(n - 1 - after, n - 1), axis=axis)]
    if mode == "replicate":
        return [cut(0, 1)] * before, [cut(n - 1, n)] * after
    return [cut(n - before, n)], [cut(0, after)]


def _full(x: Array, axis: int, count: int, value: float) -> Array:
    """Return an array like x with `count` entries along an axis, all of one value."""
    size = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    return namespace(x).full(size, value, dtype=x.dtype, device=array_api_compat.device(x))


# 3 Another way


def by_index(x: Array, **options: Any) -> Array:
    """y[..., i, ...] = x[..., source(i), ...], one gather for each axis; `value` where there is no source."""
    xp, y, mode = namespace(x), x, options.get("mode", "constant")
    for axis, (before, after) in enumerate(sides(x.shape, **options)):
        n = x.shape[axis]
        at = source(np.arange(-before, n + after), n, mode)
        y = xp.take(y, xp.asarray(np.clip(at, 0, n - 1), device=array_api_compat.device(x)), axis=axis)
        if ((at < 0) | (at >= n)).any():
            outside = np.reshape((at < 0) | (at >= n), (-1, *(1,) * (x.ndim - axis - 1)))
            fill = _full(y, axis, 1, options.get("value") or 0.0)
            y = xp.where(xp.asarray(outside, device=array_api_compat.device(x)), fill, y)
    return y


def source(place: Array, n: int, mode: str) -> Array:
    """Return where the entry at `place` of the padded axis comes from, 0 being the first of x."""
    if mode == "reflect":
        return n - 1 - np.abs(n - 1 - np.abs(place))
    if mode == "replicate":
        return np.clip(place, 0, n - 1)
    return place % n if mode == "circular" else place


# 4 Derivative


def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[j] = sum of gy[i] over the entries i that hold x[j]: each border is added to what it continues.

    Returns (gx,) in the shape of x.
    """
    mode, gx = options.get("mode", "constant"), gy
    for axis, (before, after) in enumerate(sides(x.shape, **options)):
        if before or after:
            gx = _gathered_back(gx, axis, x.shape[axis], before, after, mode)
    return (gx,)


def _gathered_back(g: Array, axis: int, n: int, before: int, after: int, mode: str) -> Array:
    """Return the adjoint of padding along one axis, to n entries."""
    xp, end = namespace(g), g.shape[axis]
    total = _placed(_cut(g, axis, max(before, 0), end - max(after, 0)), axis, max(-before, 0), n)
    front, back = _cut(g, axis, 0, max(before, 0)), _cut(g, axis, end - max(after, 0), end)
    if mode == "reflect":
        parts = [(xp.flip(front, axis=axis), 1), (xp.flip(back, axis=axis), n - 1 - after)]
    elif mode == "replicate":
        parts = [(xp.sum(p, axis=axis, keepdims=True, dtype=g.dtype), at) for p, at in ((front, 0), (back, n - 1))]
    else:
        parts = [(front, n - before), (back, 0)] if mode == "circular" else []
    for part, at in parts:
        if part.shape[axis]:
            total = total + _placed(part, axis, at, n)
    return total


def _placed(part: Array, axis: int, at: int, n: int) -> Array:
    """Return n entries along an axis, 0 but for the part, which begins at `at`."""
    widths = (at, n - at - part.shape[axis])
    before, after = (zeros(part, (*part.shape[:axis], w, *part.shape[axis + 1 :])) for w in widths)
    return namespace(part).concat([before, part, after], axis=axis)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0: entries are copied. In the border u |value| for storing a value that is no number of the format.

    A value may be rounded to the accumulator's format on its way, which is one rounding more (ASNA, Theorem 2.2).
    """
    value = options.get("value") or 0.0
    inexact = float(round_to(np.asarray(value), p.storage)) != value
    stored = (p.stored.u + p.accumulator.u) * abs(value) + p.stored.eta if inexact else 0.0
    border = definition(np.zeros_like(x), **{**options, "value": 1.0}) if stored else np.zeros_like(y)
    return copy_bound(y, p, np.append(x, value)) + stored * border


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """(K - 1) u S: K entries of y hold an entry of x, S is the sum of their |gy| (rounding.gather_bound)."""
    return (gather_bound(lambda g: vjp(g, x, **options)[0], gy, y=grads[0], p=p),)
