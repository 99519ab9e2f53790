"""What a convolution does, in eleven sentences; each carries the general case back to a simpler one.

Take the bias away, look at one group, at one of its filters, at one channel, without padding, dilation and stride: what
is left is one image of one channel and one filter, and a filter that is a sum of single taps copies the image, shifted.
So the laws leave no other operation, and none of them can be missed: for each there is a mistake that only it catches.
Inside a law all other options stay as drawn. Laws that add answers speak of values whose sums are exact (the lattices):
elsewhere two answers that are equal for different reasons would differ by their roundings.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.arrays import blocks, dilate, pad, per_axis
from d2lref.rounding import Pair, claim, concat
from d2lref.spec import Case, Claim, Law, Shape

EXACT = frozenset({"lattice_small", "lattice_wide", "ties", "signed_zero"})
PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def axes_of(case: Case) -> int:
    """Return the number of axes of space."""
    return int(case.arrays[0].ndim) - 2


def option(case: Case, name: str) -> Shape:
    """Return an option with one integer for each axis."""
    return per_axis(case.options[name], axes_of(case))


def _ungrouped(case: Case, place: int, axis: int) -> bool:
    """Return whether there is one group, and an axis of the image (place 0) or the weight (place 1) longer than 1."""
    return bool(case.options["groups"] == 1 and case.arrays[place].shape[axis] > 1)


def biased(case: Case) -> bool:
    return case.arrays[2] is not None


def pick(case: Case, *counts: int) -> tuple[int, ...]:
    """Return an index below each count, from the seed of the case."""
    return tuple(int(i) for i in np.random.default_rng(case.seed).integers(counts))


# 1 One channel, one filter


def _fits_without_padding(case: Case) -> bool:
    (images, _, *size), (_, _, *window) = case.arrays[0].shape, case.arrays[1].shape
    return images > 0 and max(window) > 1 and all(n >= k for n, k in zip(size, window, strict=True))


def _shifts(f: Any, case: Case) -> Claim:
    image, window = case.arrays[0][:1, :1], case.arrays[1].shape[2:]
    tap = pick(case, *window)
    single = np.zeros((1, 1, *window))
    single[(0, 0, *tap)] = 1.0
    seen = (slice(u, n - k + u + 1) for u, n, k in zip(tap, image.shape[2:], window, strict=True))
    return claim(f(image, single, None, **PLAIN), image[(..., *seen)])


def linear_in(place: int) -> Callable[[Any, Case], Claim]:
    """Return the claim that the answer without bias is linear in the image (place 0) or the filters (place 1)."""

    def holds(f: Any, case: Case) -> Claim:
        x, w, _ = case.arrays
        split = (x, w)[place]
        mask = np.random.default_rng(case.seed).random(split.shape) < 1 / 2
        first, second = np.where(mask, split, 0.0), np.where(mask, 0.0, split)
        whole, one, other = (
            f(*(part, w) if place == 0 else (x, part), None, **case.options)
            for part in (first - 2 * second, first, second)
        )
        return claim(whole, one - 2 * other)

    return holds


# 2 Stride, dilation, padding


def _strided(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    every = (..., *(slice(None, None, s) for s in option(case, "stride")))
    return claim(f(x, w, None, **case.options), f(x, w, None, **{**case.options, "stride": 1})[every])


def _dilated(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    holes = dilate(w, option(case, "dilation"))
    return claim(f(x, w, None, **case.options), f(x, holes, None, **{**case.options, "dilation": 1}))


def _has_holes(case: Case) -> bool:
    window = case.arrays[1].shape[2:]
    return any(d > 1 and k > 1 for d, k in zip(option(case, "dilation"), window, strict=True))


def _bordered(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    padding = case.options["padding"]
    widths = [0] * axes_of(case) if padding == "valid" else option(case, "padding")
    border = pad(x, tuple((p, p) for p in widths))
    return claim(f(x, w, None, **case.options), f(border, w, None, **{**case.options, "padding": 0}))


def _lost(case: Case) -> list[int]:
    """Return by how many places the answer is smaller than the image, without padding, along each axis."""
    return [d * (k - 1) for k, d in zip(case.arrays[1].shape[2:], option(case, "dilation"), strict=True)]


def _same(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    border = pad(x, tuple((m // 2, m - m // 2) for m in _lost(case)))
    return claim(f(x, w, None, **case.options), f(border, w, None, **{**case.options, "padding": 0}))


# 3 Channels, filters, groups, bias


def channels_add(axis: int) -> Law:
    """Return the law that channels add up; `axis` counts them in the weight."""

    def holds(f: Any, case: Case) -> Claim:
        x, w, _ = case.arrays
        cut = 1 + pick(case, x.shape[1] - 1)[0]
        sizes = (cut, x.shape[1] - cut)
        parts = zip(blocks(x, sizes, axis=1), blocks(w, sizes, axis=axis), strict=True)
        first, second = (f(a, b, None, **case.options) for a, b in parts)
        return claim(f(x, w, None, **case.options), first + second)

    return Law("channels add up", holds, when=exactly(lambda case: _ungrouped(case, 0, 1)))


def filters_alone(axis: int) -> Law:
    """Return the law that filters do not see each other; `axis` counts them in the weight."""

    def holds(f: Any, case: Case) -> Claim:
        x, w, b = case.arrays
        cut = 1 + pick(case, w.shape[axis] - 1)[0]
        weights = blocks(w, (cut, w.shape[axis] - cut), axis=axis)
        biases = (None, None) if b is None else (b[:cut], b[cut:])
        parts = [f(x, part, bias, **case.options) for part, bias in zip(weights, biases, strict=True)]
        return claim(f(x, w, b, **case.options), concat(parts, axis=1))

    return Law("filters do not see each other", holds, when=lambda case: _ungrouped(case, 1, axis))


def _groups_alone(f: Any, case: Case) -> Claim:
    x, w, b = case.arrays
    groups = case.options["groups"]
    (g,) = pick(case, groups)
    whole = f(x, w, b, **case.options)
    channels, weights, filters = (part(count, groups, g) for count in (x.shape[1], w.shape[0], whole.shape[1]))
    alone = f(x[:, channels], w[weights], None if b is None else b[filters], **{**case.options, "groups": 1})
    return claim(whole[:, filters], alone)


def part(count: int, groups: int, g: int) -> slice:
    """Return the g-th of equal consecutive parts."""
    return slice(g * count // groups, (g + 1) * count // groups)


def _bias_adds(f: Any, case: Case) -> Claim:
    x, w, b = case.arrays
    each = b[(slice(None), *(None,) * axes_of(case))]
    return claim(f(x, w, b, **case.options), f(x, w, None, **case.options) + each)


# 4 Gradients: those of x and weight are the adjoint law's, common to all ops


def _bias_gradient(f: Any, case: Case) -> Claim:
    gy = case.cotangents[0]
    total = Pair.exact(gy).sum(axis=(0, *range(2, gy.ndim)))
    return claim(f.vjp(gy, *case.arrays, **case.options)[2], total)


def exactly(when: Callable[[Case], bool] = lambda case: True) -> Callable[[Case], bool]:
    """Return the condition where sums are exact: there an equation between sums is about terms, not about rounding."""
    return lambda case: case.regime in EXACT and when(case)


SHIFT = Law("a filter with a single 1 copies the image, shifted by its tap", _shifts, when=_fits_without_padding)
LINEAR = Law("the answer is linear in the filter", linear_in(1), when=exactly())
STRIDE = Law("a stride keeps every s-th answer", _strided, when=lambda case: max(option(case, "stride")) > 1)
DILATION = Law("dilation is a filter with holes", _dilated, when=_has_holes)
PADDING = Law(
    "padding is a border of zeros on both sides",
    _bordered,
    when=lambda case: case.options["padding"] not in (0, "same"),
)
SAME = Law(
    "same padding keeps the size, its odd zero after the image",
    _same,
    when=lambda case: case.options["padding"] == "same" and max(_lost(case)) > 0,
)
CHANNELS = channels_add(1)
FILTERS = filters_alone(0)
GROUPS = Law("groups are convolutions side by side", _groups_alone, when=lambda case: case.options["groups"] > 1)
BIAS = Law("the bias adds one number to all answers of a filter", _bias_adds, when=exactly(biased))
BIAS_GRADIENT = Law("the gradient of the bias is the sum over images and places", _bias_gradient, when=biased, vjp=True)
LAWS = (SHIFT, LINEAR, STRIDE, DILATION, PADDING, SAME, CHANNELS, FILTERS, GROUPS, BIAS, BIAS_GRADIENT)
