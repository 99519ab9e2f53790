"""Sliding sums of products as matrix products: all windows at once, or one product for each tap of the filter.

Every function here speaks of G groups, each with C channels of an image and K filters over them:
    y[n, g, k, i] = sum over c, u of w[g, k, c, u] x[n, g, c, i s + u d]
for x (N, G, C, *size), w (G, K, C, *window), y (N, G, K, *out). The index i runs over all axes of space at once, s is
the stride and d the dilation (one integer per axis), and `out` counts the windows that fit. Nothing is padded and no
size is checked here.
"""

import math
from collections.abc import Callable
from functools import reduce
from itertools import product
from operator import add

import numpy as np

from d2lref.arrays import dilate, namespace, pad, sliding
from d2lref.spec import Array, Shape

Way = Callable[[Array, Array, Shape, Shape], Array]
"""A way to take the sum: way(x, w, stride, dilation) -> y."""


def output_size(size: Shape, window: Shape, stride: Shape, dilation: Shape) -> Shape:
    """Return out = (size - d (window - 1) - 1) // s + 1 along each axis: how many windows fit."""
    return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(size, window, stride, dilation, strict=True))


def taps(x: Array, window: Shape, stride: Shape, dilation: Shape) -> list[Array]:
    """Return for every tap u, the last axis fastest, the view x[..., i s + u d], all pixels it meets: (..., *out)."""
    out = output_size(x.shape[-len(window) :], window, stride, dilation)
    spans = [(o - 1) * s + 1 for o, s in zip(out, stride, strict=True)]
    along = (
        [slice(a, a + n, s) for a in range(0, k * d, d)]
        for k, n, s, d in zip(window, spans, stride, dilation, strict=True)
    )
    return [x[(..., *cuts)] for cuts in product(*along)]


def by_columns(x: Array, w: Array, stride: Shape, dilation: Shape) -> Array:
    """Unfold and multiply: the windows become the columns of one matrix, the filters the rows of another.

    Returns (N, G, K, *out). The columns hold every pixel up to once per tap. Source: Chellapilla, Puri and Simard 2006,
    High performance convolutional neural networks for document processing, section 2.2.
    """
    xp, window = namespace(x, w), w.shape[3:]
    out = output_size(x.shape[3:], window, stride, dilation)
    (n, g, c), k = x.shape[:3], w.shape[1]
    rows, columns = (g, k, c * math.prod(window)), (n, g, c * math.prod(window), math.prod(out))
    if type(x) is np.ndarray:
        space, taps_ = range(3, x.ndim), range(x.ndim, 2 * x.ndim - 3)
        seen = np.ascontiguousarray(sliding(x, window, stride, dilation).transpose(0, 1, 2, *taps_, *space))
        return np.matmul(w.reshape(rows), seen.reshape(columns)).reshape(n, g, k, *out)
    views = xp.stack(taps(x, window, stride, dilation), axis=3)
    return xp.reshape(xp.matmul(xp.reshape(w, rows), xp.reshape(views, columns)), (n, g, k, *out))


def by_taps(x: Array, w: Array, stride: Shape, dilation: Shape) -> Array:
    """Shift and multiply: one matrix product over the channels for each tap, summed; nothing is unfolded.

    Returns (N, G, K, *out). Source: Vasudevan, Anderson and Gregg 2017, Parallel multi channel convolution using
    general matrix multiplication, section 4 (kn2row).
    """
    xp = namespace(x, w)
    (n, g, c), (_, k, _, *window) = x.shape[:3], w.shape
    views = taps(x, tuple(window), stride, dilation)
    out = views[0].shape[3:]
    pixels = (n, g, c, math.prod(out))
    places = product(*map(range, window))
    parts = (xp.matmul(w[(..., *u)], xp.reshape(view, pixels)) for u, view in zip(places, views, strict=True))
    return xp.reshape(reduce(add, parts), (n, g, k, *out))


def by_scaling(x: Array, w: Array, stride: Shape, dilation: Shape) -> Array:
    """Shift and scale: each tap times the pixels it meets, summed; no matrix product.

    Meant for C = 1, where there is no sum over channels. Returns (N, G, K, *out). Source: Howard et al. 2017,
    MobileNets, section 3.1 (depthwise convolution).
    """
    xp = namespace(x, w)
    window = w.shape[3:]
    ones = (1,) * len(window)
    views = taps(xp.expand_dims(x, axis=2), window, stride, dilation)
    places = product(*map(range, window))
    parts = (xp.reshape(w[(..., *u)], (*w.shape[:3], *ones)) * view for u, view in zip(places, views, strict=True))
    return xp.sum(reduce(add, parts), axis=3)


def image_gradient(gy: Array, w: Array, size: Shape, stride: Shape, dilation: Shape, way: Way = by_columns) -> Array:
    """gx[n, g, c, j] = sum over k and i s + u d = j of w[g, k, c, u] gy[n, g, k, i]; shape (N, G, C, *size).

    The adjoint in x is again a sliding sum, taken by `way`: of gy with s - 1 zeros between its pixels, by the flipped
    filters, whose image and filter channels exchange their parts. Source: Dumoulin and Visin 2016, A guide to
    convolution arithmetic, section 4.
    """
    xp = namespace(gy, w)
    space = tuple(range(3, w.ndim))
    spread = dilate(gy, stride)
    reach = [d * (k - 1) for k, d in zip(w.shape[3:], dilation, strict=True)]
    widths = tuple((r, n - m) for r, n, m in zip(reach, size, spread.shape[3:], strict=True))
    turned = xp.permute_dims(xp.flip(w, axis=space), (0, 2, 1, *space))
    return way(pad(spread, widths), turned, (1,) * len(space), dilation)


def filter_gradient(gy: Array, x: Array, window: Shape, stride: Shape, dilation: Shape) -> Array:
    """gw[g, k, c, u] = sum over n, i of gy[n, g, k, i] x[n, g, c, i s + u d]; shape (G, K, C, *window).

    The adjoint in w slides gy over the image: images and channels exchange their parts, and so do stride and dilation
    (Dumoulin and Visin 2016, section 4). Pixels behind the last window answer for taps that do not exist and are cut
    off.
    """
    xp = namespace(gy, x)
    space = tuple(range(3, x.ndim))
    image, cotangent = xp.permute_dims(x, (2, 1, 0, *space)), xp.permute_dims(gy, (1, 2, 0, *space))
    slides = xp.permute_dims(by_columns(image, cotangent, dilation, stride), (1, 2, 0, *space))
    return slides[(..., *map(slice, window))]
