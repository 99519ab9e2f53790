"""Sliding sums of products by Fourier transforms, and how wrong they may be. Notation and shapes are those of `unfold`.

By the correlation theorem the circular sum over u of w[u] x[i + u] has the transform conj(W) X, so that a sliding sum
costs three transforms whatever the window. The sizes of the transforms are powers of two, for which ASNA, Theorem 24.2
is proved, and at least the image's, so that no window that fits wraps around.
"""

import math
from dataclasses import replace

import numpy as np

from d2lref.algorithms.unfold import output_size
from d2lref.arrays import dilate, namespace, zeros
from d2lref.rounding import HOST, Precision, at_most, fft_bound, store_bound
from d2lref.spec import Array, Shape


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least `size`."""
    return 1 << max(size - 1, 0).bit_length()


def by_transforms(x: Array, w: Array, stride: Shape, dilation: Shape) -> Array:
    """y = F^-1(sum over c of conj(F w) F x), at every s-th of the windows that fit.

    Dilation puts zeros between the taps. Returns (N, G, K, *out) in the dtype of x. Source: Mathieu, Henaff and LeCun
    2014, Fast training of convolutional networks through FFTs.
    """
    xp = namespace(x, w)
    if not x.shape[0]:  # MKL refuses to transform nothing
        return zeros(x, (0, *w.shape[:2], *output_size(x.shape[3:], w.shape[3:], stride, dilation)))
    w = dilate(w, dilation)
    axes = tuple(range(3, x.ndim))
    points = tuple(map(power_of_two, x.shape[3:]))
    image, filters = (xp.fft.rfftn(a, s=points, axes=axes) for a in (x, xp.astype(w, x.dtype)))
    # with the frequencies in front, the sum over channels is one matrix product for each of them
    image, filters = xp.permute_dims(image, (*axes, 1, 0, 2)), xp.permute_dims(xp.conj(filters), (*axes, 0, 2, 1))
    group, *front = len(axes), *range(len(axes))
    spectrum = xp.permute_dims(xp.matmul(image, filters), (group + 1, group, group + 2, *front))
    dense = xp.fft.irfftn(spectrum, s=points, axes=axes)
    fit = (slice(0, n - k + 1, s) for n, k, s in zip(x.shape[3:], w.shape[3:], stride, strict=True))
    return xp.astype(dense[(..., *fit)], x.dtype)


def longest(size: Shape, window: Shape, dilation: Shape) -> int:
    """Return the points of a transform of the full result: the power of two at size + d (window - 1) on each axis."""
    return math.prod(power_of_two(n + d * (k - 1)) for n, k, d in zip(size, window, dilation, strict=True))


def bound(x: Array, w: Array, b: Array | None, length: int, y: Array, p: Precision) -> np.ndarray:
    """rounding.fft_bound with E2 = sum over c of ||x||_2 ||w||_2 and F = sum over c of ||x||_2 ||w||_1.

    How far F^-1(sum over c of conj(F w) F x) + b may be from the exact value, in any part of it; shape of y, (N, G, K,
    *part). x, w and y (the exact value or the answer) are float64 NumPy arrays; b is an addend for each filter, (G, K),
    or absent; length bounds the points of one transform (see `longest`). Operands rounded by d move by at most d of
    their norms, and the answer by d E2 (Cauchy-Schwarz).
    """
    space = tuple(range(3, x.ndim))
    size_x, size_w, sum_w = _norm(x, space), _norm(w, space), np.sum(np.abs(w), axis=space)
    energy, full = np.einsum("ngc,gkc->ngk", size_x, size_w), np.einsum("ngc,gkc->ngk", size_x, sum_w)
    both = np.sum(size_x, axis=2)[:, :, None] + np.sum(size_w, axis=2)[None]
    channels, everywhere = x.shape[2], (..., *(None,) * len(space))
    inside = replace(p, storage=p.accumulator.name, accumulate=p.accumulator.name)
    error = fft_bound(energy[everywhere], full[everywhere], channels, length, y, inside, norms=both[everywhere])
    error = error + (p.operand_error * energy)[everywhere]
    largest = energy * (1 + (length + channels) * HOST.u) + (0.0 if b is None else np.abs(b))
    y = at_most(y, largest[everywhere])
    if b is not None:
        error = error + (p.u + HOST.u) * (np.abs(y) + error) + p.tiny
    return store_bound(error, y, p)


def image_gradient_bound(
    gy: Array, w: Array, length: int, gx: Array, p: Precision, b: Array | None = None
) -> np.ndarray:
    """`bound` of unfold.image_gradient taken by transforms, plus b (G, C) where there is one; shape of gx.

    Norms do not see that the filters are flipped and that there are zeros between the pixels of gy.
    """
    return bound(gy, np.swapaxes(w, 1, 2), b, length, gx, p)


def filter_gradient_bound(gy: Array, x: Array, length: int, gw: Array, p: Precision) -> np.ndarray:
    """`bound` of unfold.filter_gradient taken by transforms; shape of gw."""
    found = bound(np.swapaxes(x, 0, 2), np.moveaxis(gy, 0, 2), None, length, np.moveaxis(gw, 2, 0), p)
    return np.moveaxis(found, 0, 2)


def _norm(a: Array, axes: Shape) -> np.ndarray:
    """Return the 2-norm over the axes, scaled by the largest entry so that no square underflows or overflows."""
    largest = np.max(np.abs(a), axis=axes, keepdims=True, initial=0.0)
    scaled = a / np.where(largest > 0, largest, 1.0)
    return np.asarray(np.sqrt(np.sum(np.square(scaled), axis=axes)) * np.max(largest, axis=axes, initial=0.0))
