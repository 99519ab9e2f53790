"""convolve1d, convolve2d, convolve3d: the convolution of mathematics, of two arrays on an equal footing.

Every entry of one array spreads a copy of the other, and the copies add up: the coefficients of a product of
polynomials. It is the correlation with a flipped kernel. Letters: n and m are the sizes of x and kernel, j is a place
of the whole answer, of n + m - 1 entries, and u an entry of the kernel; all of them have one entry per axis.
`axes`, the first argument of some functions, is bound to 1, 2 or 3 by the ops.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from d2lref.algorithms import fourier, unfold
from d2lref.arrays import namespace, overlap_add, pad
from d2lref.ops._correlate.corr import largest, linear_in, points, slide, sum_bound, zeros_keep_gradient
from d2lref.rounding import Precision, as_pair, claim, multilinear_spread
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Shape

MODES = ("full", "same", "valid")
Place = Callable[[str, int, int], tuple[int, int]]


def place(mode: str, n: int, m: int) -> tuple[int, int]:
    """Return along one axis where in the whole answer the answer of a mode begins, and its size.

    "full": all of it, n + m - 1 entries. "same": the n entries in its middle, the odd one cut off after, so that the
    size is that of x whichever is longer; scipy.signal.convolve does so, while numpy.convolve takes the longer size,
    and MATLAB begins one entry later when m is even. "valid": the entries for which the shorter lies inside the longer,
    whichever it is.
    """
    if mode == "full":
        return 0, n + m - 1
    return ((m - 1) // 2, n) if mode == "same" else (min(n, m) - 1, abs(n - m) + 1)


def places(mode: str, x: Shape, kernel: Shape, rule: Place = place) -> list[tuple[int, int]]:
    """Return `place` of every axis."""
    return [rule(mode, n, m) for n, m in zip(x, kernel, strict=True)]


def shape(axes: int, x: Shape, kernel: Shape, *, mode: str = "full") -> tuple[Shape]:
    """Return the sizes of `place`. Raises ValueError."""
    name, x, kernel = f"convolve{axes}d", tuple(x), tuple(kernel)
    for label, found in (("x", x), ("kernel", kernel)):
        if len(found) != axes:
            raise ValueError(f"{name}: {label} {found} has rank {len(found)}, expected {axes}")
        if min(found) < 1:
            raise ValueError(f"{name}: {label} {found} is empty, expected at least 1 entry along every axis")
    if mode not in MODES:
        raise ValueError(f"{name}: mode={mode!r}, expected {', '.join(map(repr, MODES))}")
    longer = tuple(map(max, x, kernel))
    if mode == "valid" and longer not in (x, kernel):
        raise ValueError(
            f"{name}: mode='valid' with x {x} and kernel {kernel}, expected one inside the other; x {longer} would fit"
        )
    return (tuple(size for _, size in places(mode, x, kernel)),)


# 2 Definition


def definition(axes: int, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """y[j] = sum over u of x[j - u] kernel[u], over the u for which both entries exist; `mode` says which j.

    x (n,), kernel (m,) along each axis, y as `place` says, of one floating dtype. Raises ValueError (see `shape`).
    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.1.3; modes: NumPy and SciPy.
    """
    (out,) = shape(axes, x.shape, kernel.shape, mode=mode)
    xp = namespace(x, kernel)
    turned = xp.flip(kernel)
    along = (
        [meeting(j, n, m) for j in range(start, start + size)]
        for (start, size), n, m in zip(places(mode, x.shape, kernel.shape), x.shape, kernel.shape, strict=True)
    )
    met = (tuple(zip(*pairs, strict=True)) for pairs in product(*along))
    return xp.reshape(xp.stack([xp.sum(x[entries] * turned[taps]) for entries, taps in met]), out)


def meeting(j: int, n: int, m: int) -> tuple[slice, slice]:
    """Return the entries of x, and those of the flipped kernel on top of them, that meet at place j of one axis."""
    first, end = max(0, j - m + 1), min(n, j + 1)
    return slice(first, end), slice(m - 1 - j + first, m - 1 - j + end)


# 3 Faster ways


def slid(x: Array, kernel: Array, mode: str = "full", way: Callable[..., Array] = unfold.by_columns) -> Array:
    """Correlate with the flipped kernel, which slides over x among as many zeros as the mode needs.

    The smaller of the two arrays slides, which is the same and cheaper.
    """
    at = places(mode, x.shape, kernel.shape)
    small, large = sorted((kernel, x), key=lambda a: math.prod(a.shape))
    beyond = (
        (m - 1 - start, start + size - n) for (start, size), n, m in zip(at, large.shape, small.shape, strict=True)
    )
    return slide(stretched(large, list(beyond)), namespace(small).flip(small), way)


def stretched(x: Array, beyond: list[tuple[int, int]]) -> Array:
    """Return x with so many zeros before and after each axis; where there are fewer than none, x loses entries."""
    inside = (slice(max(0, -before), n - max(0, -after)) for n, (before, after) in zip(x.shape, beyond, strict=True))
    return pad(x[tuple(inside)], tuple((max(0, before), max(0, after)) for before, after in beyond))


def scattered(x: Array, kernel: Array, mode: str = "full") -> Array:
    """y = sum of the products x[i] kernel[u] at i + u: every entry spreads its copy, and the mode cuts its part."""
    ones, sizes = (1,) * x.ndim, tuple(size for _, size in places("full", x.shape, kernel.shape))
    products = namespace(x, kernel).reshape(x, (*x.shape, *ones)) * kernel
    return cut(overlap_add(products, sizes, ones, ones), places(mode, x.shape, kernel.shape))


def transformed(x: Array, kernel: Array, mode: str = "full") -> Array:
    """y = F^-1(F x F kernel), the convolution theorem, with room for the whole answer so that nothing wraps around.

    Source: Stockham 1966, High-speed convolution and correlation.
    """
    xp, axes = namespace(x, kernel), tuple(range(x.ndim))
    sizes = tuple(fourier.power_of_two(size) for _, size in places("full", x.shape, kernel.shape))
    spectrum = xp.fft.rfftn(x, s=sizes, axes=axes) * xp.fft.rfftn(kernel, s=sizes, axes=axes)
    whole = xp.fft.irfftn(spectrum, s=sizes, axes=axes)
    return xp.astype(cut(whole, places(mode, x.shape, kernel.shape)), x.dtype)


def cut(whole: Array, at: list[tuple[int, int]]) -> Array:
    """Return the part of the whole answer that starts and sizes name."""
    return whole[tuple(slice(start, start + size) for start, size in at)]


WAYS: dict[str, tuple[Callable[..., Array], str]] = {
    "flip": (slid, "any-order"),
    "shift": (partial(slid, way=unfold.by_scaling), "any-order"),
    "scatter": (scattered, "any-order"),
    "fft": (transformed, "fft"),
}


def faster(way: Callable[..., Array], axes: int, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """Return the convolution taken by one of these ways, for arrays that fit."""
    shape(axes, x.shape, kernel.shape, mode=mode)
    return way(x, kernel, mode)


# 4 Derivative


def uncut(gy: Array, x: Shape, kernel: Shape, at: list[tuple[int, int]]) -> Array:
    """Return the cotangent of the whole answer: gy where it was cut, and zeros around it."""
    widths = ((start, n + m - 1 - start - size) for (start, size), n, m in zip(at, x, kernel, strict=True))
    return pad(gy, tuple(widths))


def gradient(gy: Array, other: Array, like: Shape, mode: str, *, first: bool) -> Array:
    """gx[i] = sum over u of gy[i + u] kernel[u], gy being that of the whole answer; the kernel's likewise with x."""
    x, kernel = (like, other.shape) if first else (other.shape, like)
    return slide(uncut(gy, x, kernel, places(mode, x, kernel)), other)


def gradients(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
    """Return both gradients: correlations, as those of a correlation are convolutions."""
    return gradient(gy, kernel, x.shape, mode, first=True), gradient(gy, x, kernel.shape, mode, first=False)


def vjp(axes: int, gy: Array, x: Array, kernel: Array, *, mode: str = "full") -> tuple[Array, Array]:
    """Return `gradients` of arrays that fit. Source: Dumoulin and Visin 2016, A guide to convolution arithmetic, 4."""
    shape(axes, x.shape, kernel.shape, mode=mode)
    return gradients(gy, x, kernel, mode)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """Return `sum_bound` of the answer: at most min(n, m) products for each place."""
    return sum_bound(partial(slid, mode=mode), x, kernel, points(x, kernel), y, p)


def spread(y: Array, p: Precision, x: Array, kernel: Array, *, mode: str = "full") -> Array | None:
    """Return rounding.multilinear_spread; None for transforms, whose rounding errors are not a random walk."""
    evaluate = partial(slid, mode=mode)
    return None if p.algorithm == "fft" else multilinear_spread(evaluate, (x, kernel), y=y, p=p)


def vjp_bound(
    grads: tuple[Array, Array], p: Precision, gy: Array, x: Array, kernel: Array, *, mode: str = "full"
) -> tuple[Array, Array]:
    """Return `sum_bound` of both gradients."""
    longest = points(x, kernel)
    of_x = partial(gradient, like=x.shape, mode=mode, first=True)
    of_kernel = partial(gradient, like=kernel.shape, mode=mode, first=False)
    gx = sum_bound(of_x, gy, kernel, longest, grads[0], p)
    return gx, sum_bound(of_kernel, gy, x, longest, grads[1], p)


# 6 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return two arrays of any sizes, either the longer; for "valid" one of them the longer along every axis.

    Shrinks to two arrays of one entry and mode "full".
    """
    mode = draw.choice(*MODES)
    sizes = draw.sizes(*(1,) * (2 * axes))
    x, kernel = sizes[:axes], sizes[axes:]
    if mode == "valid":
        longer = max(kernel) > max(x)  # before they are sorted: a wide size stays where it was drawn
        x, kernel = tuple(map(max, x, kernel)), tuple(map(min, x, kernel))
        x, kernel = (kernel, x) if longer else (x, kernel)
    return Form((x, kernel), {"mode": mode})


def gallery(axes: int) -> tuple[Form, ...]:
    """Return every mode with an odd and an even kernel, and with a kernel longer than x."""
    pairs = (((4,) * axes, (3,) * axes), ((5,) * axes, (2,) * axes), ((2,) * axes, (4,) * axes))
    return tuple(Form(pair, {"mode": mode}) for mode in MODES for pair in pairs)


# 7 Laws
#
# The first four determine the whole answer, and none of them follows from the others (each has a mistake of its own).
# By the first two, it is a sum over entries of both arrays, and signs come out; by the third, an entry among zeros
# counts like one by itself, only later; and the fourth says what that gives. Associativity and the sum rule (the whole
# answer sums to the product of the sums) follow. The next two laws say what the modes keep of the whole answer.


def difference(f: Any, case: Case) -> Claim:
    """f(a - b, k) = f(a, k) - f(b, k); the same in the kernel follows by the next law."""
    return linear_in(0)(f, case)


def commutes(f: Any, case: Case) -> Claim:
    """f(x, k) = f(k, x) with all of the answer, or with its valid part."""
    x, kernel = case.arrays
    mode = "valid" if case.options["mode"] == "valid" else "full"
    return claim(f(x, kernel, mode=mode), f(kernel, x, mode=mode))


def shifts(f: Any, case: Case) -> Claim:
    """f(x among zeros, k) = f(x, k) among as many zeros: the shift theorem, with both ends of the answer in view."""
    x, kernel = case.arrays
    rng = np.random.default_rng(case.seed)
    widths = [(int(rng.integers(3)), int(rng.integers(3))) for _ in x.shape]
    alone = f(x, kernel, mode="full")
    return claim(f(np.pad(x, widths), kernel, mode="full"), alone.map(lambda a: np.pad(a, widths)))


def scales(f: Any, case: Case) -> Claim:
    """f([a], k) = a k, for the largest magnitude a of x, and the magnitudes of the kernel."""
    entry, kernel = largest(case.arrays[0]), np.abs(case.arrays[1])
    return claim(f(entry, kernel, mode="full"), as_pair(kernel) * entry)


def middle(f: Any, case: Case) -> Claim:
    """f(x, k, "same")[i] = f(x, k, "full")[i + (m - 1) // 2] for each i of x."""
    x, kernel = case.arrays
    part = tuple(slice((m - 1) // 2, (m - 1) // 2 + n) for n, m in zip(x.shape, kernel.shape, strict=True))
    return claim(f(x, kernel, mode="same"), f(x, kernel, mode="full")[part])


def inside(f: Any, case: Case) -> Claim:
    """f(x, k, "valid") = f(x, k, "full")[s - 1 : l], for the shorter size s and the longer size l along each axis."""
    x, kernel = case.arrays
    part = tuple(slice(min(n, m) - 1, max(n, m)) for n, m in zip(x.shape, kernel.shape, strict=True))
    return claim(f(x, kernel, mode="valid"), f(x, kernel, mode="full")[part])


DIFFERENCE = "a difference of arrays gives the difference of their answers"
COMMUTES = "the arrays may change places"
SHIFTS = "zeros around an array are zeros around the whole answer"
SCALES = "an array of one entry scales the other"
MIDDLE = "'same' is the middle of 'full', as long as the first array"
INSIDE = "'valid' is the part of 'full' where one array lies inside the other"
ENTRIES = "entries of the first array that are zero get their gradient"
TAPS = "entries of the second array that are zero get their gradient"
SHAPES = "answers in the shape and dtype of the rule"  # common laws
DEFAULTS = "an option left out means its default"

LAWS = (
    Law(DIFFERENCE, difference),
    Law(COMMUTES, commutes),
    Law(SHIFTS, shifts),
    Law(SCALES, scales),
    Law(MIDDLE, middle, when=lambda case: case.options["mode"] == "same"),
    Law(INSIDE, inside, when=lambda case: case.options["mode"] == "valid"),
    Law(ENTRIES, zeros_keep_gradient(0), vjp=True),
    Law(TAPS, zeros_keep_gradient(1), vjp=True),
)


# 8 Rejections


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be refused, with the message; SciPy and NumPy differ about empty arrays and about rank."""
    name, three, two = f"convolve{axes}d", (3,) * axes, (2,) * axes
    none, more = (0, *two[1:]), (1, *three)
    found = [
        Rejection(
            "a first array with an axis too many",
            (more, two),
            {},
            f"{name}: x {more} has rank {axes + 1}, expected {axes}",
        ),
        Rejection(
            "a second array with an axis too few",
            (three, two[1:]),
            {},
            f"{name}: kernel {two[1:]} has rank {axes - 1}, expected {axes}",
        ),
        Rejection(
            "arrays with an axis too many",
            (more, (1, *two)),
            {},
            f"{name}: x {more} has rank {axes + 1}, expected {axes}",
            mandatory=False,
        ),
        Rejection(
            "a first array without entries",
            (none, two),
            {},
            f"{name}: x {none} is empty, expected at least 1 entry along every axis",
            mandatory=False,
        ),
        Rejection(
            "a second array without entries",
            (three, none),
            {},
            f"{name}: kernel {none} is empty, expected at least 1 entry along every axis",
            mandatory=False,
        ),
        Rejection(
            "a mode that is none",
            (three, two),
            {"mode": "central"},
            f"{name}: mode='central', expected 'full', 'same', 'valid'",
        ),
    ]
    if axes > 1:
        tall, wide, most = (3, *two[1:]), (*two[:-1], 3), (3, *two[1:-1], 3)
        message = f"x {tall} and kernel {wide}, expected one inside the other; x {most} would fit"
        found.append(
            Rejection(
                "'valid' with no array inside the other",
                (tall, wide),
                {"mode": "valid"},
                f"{name}: mode='valid' with {message}",
            )
        )
    return tuple(found)
