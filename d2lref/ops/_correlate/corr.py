"""corr1d, corr2d, corr3d: cross-correlation of one image with one kernel, the first operation of the book's chapter 7.

The kernel lies on the image, every tap is multiplied by the pixel under it, the products are summed, and the kernel
moves on. No channels, no stride, no padding, no flip: those are conv2d's and convolve2d's. One text serves every number
of axes; `axes`, the first argument of most functions, is bound to 1, 2 or 3 by the ops. Letters: i is a place of the
answer, u a tap; n, m and n - m + 1 are the sizes of image, kernel and answer; all of them have one entry per axis.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np

from d2lref.algorithms import fourier, unfold
from d2lref.arrays import namespace, pad
from d2lref.rounding import Pair, Precision, as_pair, claim, multilinear_bound, multilinear_spread
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Shape


def shape(axes: int, x: Shape, kernel: Shape) -> tuple[Shape]:
    """Return (n - m + 1,): along each axis, the places where the kernel lies on the image. Raises ValueError."""
    name, x, kernel = f"corr{axes}d", tuple(x), tuple(kernel)
    for label, found in (("x", x), ("kernel", kernel)):
        if len(found) != axes:
            raise ValueError(f"{name}: {label} {found} has rank {len(found)}, expected {axes}")
    if min(kernel) < 1:
        raise ValueError(f"{name}: kernel {kernel} is empty, expected at least 1 tap along every axis")
    if any(n < m for n, m in zip(x, kernel, strict=True)):
        raise ValueError(f"{name}: kernel {kernel} does not fit on x {x}, expected at most {x}")
    return (unfold.output_size(x, kernel, (1,) * axes, (1,) * axes),)


# 2 Definition


def definition(axes: int, x: Array, kernel: Array) -> Array:
    """y[i] = sum over u of x[i + u] kernel[u], one place after the other: the loops of the book.

    x (n,), kernel (m,), y (n - m + 1,) along each axis, of one floating dtype. Raises ValueError (see `shape`). Source:
    Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.2.1 (corr2d).
    """
    (out,) = shape(axes, x.shape, kernel.shape)
    xp = namespace(x, kernel)
    along = ([slice(i, i + m) for i in range(places)] for places, m in zip(out, kernel.shape, strict=True))
    return xp.reshape(xp.stack([xp.sum(x[window] * kernel) for window in product(*along)]), out)


# 3 Faster ways


def alone(array: Array) -> Array:
    """Return the array as `unfold` wants it: one image of one channel, or one filter over one channel."""
    return array[None, None, None, ...]


def slide(x: Array, kernel: Array, way: Callable[..., Array] = unfold.by_columns) -> Array:
    """Return the sliding sum of products taken by `way`, a function of the form of `unfold.by_columns`."""
    ones = (1,) * kernel.ndim
    return way(alone(x), alone(kernel), ones, ones)[0, 0, 0, ...]


def by_matrix(x: Array, kernel: Array) -> Array:
    """y = sum of x T over the rows of the kernel, with T[j, i] = row[j - i]: a linear map and its matrix.

    A row is the kernel along its last axis. Every column of T is the row among zeros, one lower each time (Toeplitz);
    along the other axes the rows slide. Source: Dive into Deep Learning, section 14.10.3 (kernel2matrix).
    """
    *others, out = (n - m + 1 for n, m in zip(x.shape, kernel.shape, strict=True))
    columns = [pad(kernel, ((i, out - 1 - i),)) for i in range(out)]
    matrices = namespace(x, kernel).stack(columns, axis=-1)
    taps = product(*map(range, kernel.shape[:-1]))
    under = ((tap, [slice(u, u + o) for u, o in zip(tap, others, strict=True)]) for tap in taps)
    return reduce(add, (x[(*rows, ...)] @ matrices[(*tap, ...)] for tap, rows in under))


WAYS: dict[str, tuple[Callable[..., Array], str]] = {
    "unfold": (slide, "any-order"),
    "shift": (partial(slide, way=unfold.by_scaling), "any-order"),
    "matrix": (by_matrix, "any-order"),
    "fft": (partial(slide, way=fourier.by_transforms), "fft"),
}


def faster(way: Callable[..., Array], axes: int, x: Array, kernel: Array) -> Array:
    """Return the correlation taken by one of these ways, for arrays that fit."""
    shape(axes, x.shape, kernel.shape)
    return way(x, kernel)


# 4 Derivative


def image_gradient(gy: Array, kernel: Array) -> Array:
    """gx[j] = sum over u of gy[j - u] kernel[u], a convolution: one array, flipped, slides over the other among zeros.

    The smaller slides, which is the same and cheaper.
    """
    small, large = sorted((kernel, gy), key=lambda a: math.prod(a.shape))
    among_zeros = pad(large, tuple((m - 1, m - 1) for m in small.shape))
    return slide(among_zeros, namespace(small).flip(small))


def gradients(gy: Array, x: Array, kernel: Array) -> tuple[Array, Array]:
    """Return `image_gradient`, and gk[u] = sum over i of gy[i] x[i + u], the correlation of the image with gy."""
    return image_gradient(gy, kernel), slide(x, gy)


def vjp(axes: int, gy: Array, x: Array, kernel: Array) -> tuple[Array, Array]:
    """Return `gradients` of arrays that fit. Source: Dumoulin and Visin 2016, A guide to convolution arithmetic, 4."""
    shape(axes, x.shape, kernel.shape)
    return gradients(gy, x, kernel)


# 5 How wrong it may be


def sum_bound(evaluate: Callable[..., Array], a: Array, b: Array, points: int, y: Array, p: Precision) -> Array:
    """Return how far evaluate(a, b), sums of products of their entries, may be from the exact value.

    rounding.multilinear_bound, or fourier.bound where transforms are claimed: of as many points at most.
    """
    if p.algorithm == "fft":
        return fourier.bound(alone(a), alone(b), None, points, alone(y), p)[0, 0, 0]
    return multilinear_bound(evaluate, (a, b), y=y, p=p)


def points(x: Array, kernel: Array) -> int:
    """Return the points of a transform that holds every place at which the kernel touches a pixel."""
    return fourier.longest(x.shape, kernel.shape, (1,) * x.ndim)


def bound(y: Array, p: Precision, x: Array, kernel: Array) -> Array:
    """Return `sum_bound` of the answer: m products for each place."""
    return sum_bound(slide, x, kernel, points(x, kernel), y, p)


def spread(y: Array, p: Precision, x: Array, kernel: Array) -> Array | None:
    """Return rounding.multilinear_spread; None for transforms, whose rounding errors are not a random walk."""
    return None if p.algorithm == "fft" else multilinear_spread(slide, (x, kernel), y=y, p=p)


def vjp_bound(grads: tuple[Array, Array], p: Precision, gy: Array, x: Array, kernel: Array) -> tuple[Array, Array]:
    """Return `sum_bound` of both gradients."""
    longest = points(x, kernel)
    of_image = sum_bound(image_gradient, gy, kernel, longest, grads[0], p)
    return of_image, sum_bound(slide, x, gy, longest, grads[1], p)


# 6 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return a kernel and an answer of any sizes, and the image that belongs to them.

    Shrinks to one tap on one pixel. One size in a few lies at a block width: of the kernel, or of the answer.
    """
    sizes = draw.sizes(*(1,) * (2 * axes))
    kernel, out = sizes[:axes], sizes[axes:]
    return Form((tuple(m + o - 1 for m, o in zip(kernel, out, strict=True)), kernel), {})


def gallery(axes: int) -> tuple[Form, ...]:
    """Return the sizes of the book's example (3 × 3 under 2 × 2) and of its edge detector (6 × 8 under 1 × 2)."""
    return Form(((3,) * axes, (2,) * axes), {}), Form(((4, 6, 8)[-axes:], (1, 1, 2)[-axes:]), {})


# 7 Laws
#
# The first five determine the operation, and none of them follows from the others (each has a mistake of its own). By
# the third, an answer depends on the window at its place alone; by the first two, on each pixel of it and each tap in
# turn, and signs come out; by the fourth, a single tap sees only the pixel under it; and the fifth says what they give.


def halves(case: Case, place: int) -> tuple[Array, Array]:
    """Return an array of the case with a random half of its entries set to zero, and the rest: they add up exactly."""
    array = case.arrays[place]
    mask = np.random.default_rng(case.seed).random(array.shape) < 1 / 2
    return np.where(mask, array, 0.0), np.where(mask, 0.0, array)


def linear_in(place: int) -> Callable[..., Claim]:
    """f(a - b) = f(a) - f(b), the other array held; a and b are halves of one array, so that a - b is exact."""

    def holds(f: Any, case: Case) -> Claim:
        def answer(part: Array) -> Pair:
            found: Pair = f(*case.arrays[:place], part, *case.arrays[place + 1 :], **case.options)
            return found

        a, b = halves(case, place)
        return claim(answer(a - b), answer(a) - answer(b))

    return holds


def zeros_keep_gradient(place: int) -> Callable[..., Claim]:
    """The gradient of an array with magnitudes as entries is the same when half of them are zero: f is linear in it."""

    def holds(f: Any, case: Case) -> Claim:
        def gradient(part: Array) -> Pair:
            arrays = (*case.arrays[:place], np.abs(part), *case.arrays[place + 1 :])
            found: Pair = f.vjp(case.cotangents[0], *arrays, **case.options)[place]
            return found

        return claim(gradient(halves(case, place)[0]), gradient(case.arrays[place]))

    return holds


def largest(array: Array) -> Array:
    """Return the largest magnitude of an array as an array of one entry along every axis."""
    return np.reshape(np.max(np.abs(array)), (1,) * array.ndim)


def crop(f: Any, case: Case) -> Claim:
    """f(x, k)[a : b] = f(x[a : b + m - 1], k)."""
    x, kernel = case.arrays
    rng = np.random.default_rng(case.seed)
    starts = [int(rng.integers(n - m + 1)) for n, m in zip(x.shape, kernel.shape, strict=True)]
    ends = [int(rng.integers(a, n - m + 1)) + 1 for a, n, m in zip(starts, x.shape, kernel.shape, strict=True)]
    part = tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))
    under = tuple(slice(a, b + m - 1) for a, b, m in zip(starts, ends, kernel.shape, strict=True))
    return claim(f(x, kernel)[part], f(x[under], kernel))


def blot(f: Any, case: Case) -> Claim:
    """f(x with other pixels around it, k with as many zeros around it) = f(x, k)."""
    x, kernel = case.arrays
    rng = np.random.default_rng(case.seed)
    widths = [(int(rng.integers(3)), int(rng.integers(3))) for _ in x.shape]
    return claim(f(np.pad(x, widths, mode="wrap"), np.pad(kernel, widths)), f(x, kernel))


def product_of_two(f: Any, case: Case) -> Claim:
    """f([a], [b]) = [a b], for the largest magnitudes a of the image and b of the kernel."""
    pixel, tap = map(largest, case.arrays)
    return claim(f(pixel, tap), as_pair(pixel) * tap)


DIFFERENCE = "a difference of images gives the difference of their answers"
KERNELS = "a difference of kernels gives the difference of their answers"
CROP = "a part of the image gives its part of the answer"
BLOT = "zeros around the kernel blot out what lies under them"
PRODUCT = "one pixel under one tap gives their product"
PIXELS = "pixels that are zero get their gradient"
TAPS = "taps that are zero get their gradient"
ADJOINT = "the vjp is the adjoint"  # a common law

LAWS = (
    Law(DIFFERENCE, linear_in(0)),
    Law(KERNELS, linear_in(1)),
    Law(CROP, crop),
    Law(BLOT, blot),
    Law(PRODUCT, product_of_two),
    Law(PIXELS, zeros_keep_gradient(0), vjp=True),
    Law(TAPS, zeros_keep_gradient(1), vjp=True),
)


# 8 Rejections


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be refused, with the message."""
    name, three, two = f"corr{axes}d", (3,) * axes, (2,) * axes
    tall, none = (4, *two[1:]), (0, *two[1:])
    return (
        Rejection(
            "an image with an axis too many",
            ((1, *three), two),
            {},
            f"{name}: x {(1, *three)} has rank {axes + 1}, expected {axes}",
        ),
        Rejection(
            "a kernel with an axis too few",
            (three, two[1:]),
            {},
            f"{name}: kernel {two[1:]} has rank {axes - 1}, expected {axes}",
        ),
        Rejection(
            "a kernel without taps",
            (three, none),
            {},
            f"{name}: kernel {none} is empty, expected at least 1 tap along every axis",
        ),
        Rejection(
            "a kernel larger than the image",
            (three, tall),
            {},
            f"{name}: kernel {tall} does not fit on x {three}, expected at most {three}",
        ),
        Rejection(
            "an image without pixels",
            (none, two),
            {},
            f"{name}: kernel {two} does not fit on x {none}, expected at most {none}",
        ),
    )
