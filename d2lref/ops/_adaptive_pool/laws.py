"""What holds of adaptive pooling, of means and of maxima: cases, laws, refusals."""

import math
from functools import reduce
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.rounding import Pair, claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return a form of x alone, (N, C, *size), with more or fewer windows than entries along each axis.

    Shrinks towards one image of one channel with one entry under one window.
    """
    n, channels, *rest = draw.sizes(*(1,) * (2 + 2 * axes))
    n = 0 if draw.integer(0, 31) == 31 else n
    size, windows = tuple(rest[:axes]), rest[axes:]
    output_size: Any = draw.integer(1, (12, 9, 5)[axes - 1])
    if draw.choice(False, True):
        output_size = tuple(None if axes > 1 and draw.integer(0, 7) == 7 else m for m in windows)
    return Form(((n, channels, *size),), {"output_size": output_size})


def gallery(axes: int) -> tuple[Form, ...]:
    """Return global pooling, windows that divide the image, that overlap, and more windows than entries."""
    return (
        Form(((2, 3, *(7,) * axes),), {"output_size": 1}),
        Form(((1, 2, *(6,) * axes),), {"output_size": 3}),
        Form(((1, 2, *(7,) * axes),), {"output_size": 3}),
        Form(((1, 2, *(3,) * axes),), {"output_size": 5}),
    )


# 2 Laws of both


def sizes_of(case: Case) -> tuple[Shape, Shape]:
    """Return the entries and the windows along each axis of space."""
    size, asked = case.arrays[0].shape[2:], case.options["output_size"]
    asked = (asked,) * len(size) if isinstance(asked, int) else asked
    return size, tuple(n if m is None else m for n, m in zip(size, asked, strict=True))


def _uneven(case: Case) -> bool:
    return any(n % m for n, m in zip(*sizes_of(case), strict=True))


def overlap(case: Case, at: Shape) -> Array:
    """Return which windows the entry at `at` belongs to: booleans (*m).

    Of an image of length 1 the window i has its share from i / m to (i + 1) / m, the entry from at / n to
    (at + 1) / n, and what overlaps belongs together.
    """
    along = []
    for n, m, place in zip(*sizes_of(case), at, strict=True):
        i = np.arange(m)
        along.append((i * n < (place + 1) * m) & ((i + 1) * n > place * m))
    return reduce(np.logical_and.outer, along)


def _seen(f: Any, case: Case) -> Claim:
    """An image of 0 with one 2 becomes larger than 0 where the share of a window overlaps that, and 0 elsewhere."""
    image, at = shared.lone(sizes_of(case)[0], case.seed, 0.0, 2.0)
    y = f(image, **case.options).value
    return Claim(y > 0, overlap(case, at)[None, None])


SEEN = Law("a window reads what its share of the image overlaps", _seen, when=_uneven)


def divided(case: Case, values: Array) -> tuple[Array, Array]:
    """Return an image (1, 1, *size) of the values that the windows of the case divide, and its windows.

    These are (1, 1, *m, entries): three to a window at most, and as many as in the case along an axis with one window.
    """
    (size, windows), axes = sizes_of(case), case.arrays[0].ndim - 2
    counts = [n if m == 1 else 1 + case.seed // 3**a % 3 for a, (n, m) in enumerate(zip(size, windows, strict=True))]
    image = np.resize(values, (1, 1, *(m * k for m, k in zip(windows, counts, strict=True))))
    apart = image.reshape([a for pair in zip(windows, counts, strict=True) for a in pair])
    apart = apart.transpose(*range(0, 2 * axes, 2), *range(1, 2 * axes, 2))
    return image, apart.reshape(1, 1, *windows, math.prod(counts))


def _windows_of(case: Case) -> dict[str, Any]:
    """Return the options with the number of windows told for every axis."""
    return {"output_size": sizes_of(case)[1]}


def _some_image(case: Case) -> bool:
    return case.arrays[0].shape[0] > 0


# 3 Laws of means


def _constant(f: Any, case: Case) -> Claim:
    """f(c) = c."""
    value = 1.0 + case.seed % 7
    y = f(np.full((1, 1, *sizes_of(case)[0]), value), **case.options)
    return claim(y, np.full(y.shape, value))


def _whole(f: Any, case: Case) -> Claim:
    """f(x, output_size=1) n = sum of x, for n entries."""
    x = case.arrays[0][:1, :1]
    y = f(x, output_size=1)
    return claim(y * float(math.prod(x.shape[2:])), Pair.exact(x).sum(axis=tuple(range(2, x.ndim)), keepdims=True))


def _mean_divided(f: Any, case: Case) -> Claim:
    """f(x) k = sum of the k entries of each window, where the windows divide the image; with k = 1, f(x) = x."""
    image, windows = divided(case, case.arrays[0][:1, :1])
    return claim(f(image, **_windows_of(case)) * float(windows.shape[-1]), Pair.exact(windows).sum(axis=-1))


def _not_global(case: Case) -> bool:
    return _some_image(case) and max(sizes_of(case)[1]) > 1


AVG_LAWS = (
    SEEN,
    Law("a constant image stays constant", _constant),
    Law("one window is the mean of the whole image", _whole, when=_some_image),
    Law("windows that divide the image are those of plain pooling", _mean_divided, when=_not_global),
    shared.ALONE,
)

# 4 Laws of maxima


def _max_divided(f: Any, case: Case) -> Claim:
    """f(x) = max of the entries of each window, where the windows divide the image; f(x) = x with one entry each."""
    image, windows = divided(case, np.random.default_rng(case.seed).integers(-3, 4, 97).astype(np.float64))
    return claim(f(image, **_windows_of(case)), windows.max(axis=-1))


def _nan_wins(f: Any, case: Case) -> Claim:
    """An image of 0 with one NaN becomes NaN where the same image with a 2 instead becomes 2, and nowhere else."""
    (nan, _), (two, _) = (shared.lone(sizes_of(case)[0], case.seed, 0.0, value) for value in (np.nan, 2.0))
    peak = f(two, **case.options).value
    return claim(f(nan, **case.options), np.where(peak == 2, np.nan, peak))


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent, channel by channel; exact."""
    (x,) = case.arrays
    gy = shared.signs(case, (*x.shape[:2], *sizes_of(case)[1]))
    others = (0, *range(2, x.ndim))
    return Claim(f.vjp(gy, x, **case.options)[0].value.sum(axis=others), gy.sum(axis=others))


def _peak_collects(f: Any, case: Case) -> Claim:
    """The one 2 in an image of -1 gets the sum of gy over the windows that it belongs to; exact."""
    size, windows = sizes_of(case)
    image, at = shared.lone(size, case.seed, -1.0, 2.0)
    gy = np.abs(shared.signs(case, (1, 1, *windows)))
    gx = f.vjp(gy, image, **case.options)[0].value
    return Claim(gx[(0, 0, *at)], gy[0, 0][overlap(case, at)].sum())


MAX_LAWS = (
    SEEN,
    Law("windows that divide the image are those of plain pooling", _max_divided),
    shared.THRESHOLD,
    Law("a NaN wins wherever a peak would", _nan_wins, when=lambda case: case.regime == "nonfinite"),
    shared.ALONE,
    Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    Law("a lone peak collects the gradient of the windows it belongs to", _peak_collects, vjp=True),
)


# 5 Refusals


def rejections(title: str, axes: int) -> tuple[Rejection, ...]:
    """Return the ways in which an adaptive pooling can be asked wrongly.

    Advisory: torch takes (C, *size) as one image, answers 0 windows with nothing, and the mean of nothing with NaN.
    """
    name, x = title.format(axes), (1, 2, *(4,) * axes)

    def refused(says: str, told: str, shape: Shape = x, output_size: Any = 2, *, mandatory: bool = True) -> Rejection:
        return Rejection(says, (shape,), {"output_size": output_size}, f"{name}: {told}", mandatory)

    def rank(says: str, shape: Shape, *, mandatory: bool = True) -> Rejection:
        told = f"x {shape} has {len(shape)} axes, expected {axes + 2}: images, channels, {axes} of space"
        return refused(says, told, shape, mandatory=mandatory)

    def windows(says: str, value: Any, *, mandatory: bool = True) -> Rejection:
        words = "a tuple of 1" if axes == 1 else f"a tuple of {axes} of these or None"
        told = f"output_size={value!r}, expected an integer >= 1, or {words}"
        return refused(says, told, output_size=value, mandatory=mandatory)

    empty = (1, 2, *(4,) * (axes - 1), 0)
    return (
        rank("an axis too many", (*x, 4)),
        rank("no channels", x[2:]),
        rank("one image without its batch", x[1:], mandatory=False),
        windows("no number of windows", None),
        windows("windows for an axis too many", (2,) * (axes + 1)),
        windows("a negative number of windows", -1),
        windows("no windows", 0, mandatory=False),
        refused(
            "an image without entries",
            f"x {empty} has an axis of space without entries, expected at least 1",
            empty,
            mandatory="max" in title,
        ),
    )
