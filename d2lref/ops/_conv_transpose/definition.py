"""Transposed convolution of N images with K filters: shape, definition, faster ways, derivative, how wrong it may be.

The linear map whose matrix is that of a convolution, transposed: where a convolution gathers a window into one number,
each pixel here stamps the filter, times its value, onto the answer. One text serves every number of axes of space;
`axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops. Letters: N images, C channels, K filters,
G groups; i is a pixel, u a tap of the filter and j a place of the answer, along all axes of space at once.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms import fourier, unfold
from d2lref.arrays import axis_integers, dilate, namespace, overlap_add, pad
from d2lref.ops._conv import definition as conv
from d2lref.ops._conv.definition import bias_part, bind, check_ranks, in_groups, is_pointwise
from d2lref.rounding import Precision, multilinear_bound, multilinear_spread
from d2lref.spec import Array, Shape, Variant

Stamps = Callable[[Array, Array, "Geometry"], Array]
"""(x (N, G, C / G, *size), w (G, C / G, K / G, *window), plan) -> all stamps added up, (N, G, K / G, *whole)."""

# 1 Shape


class Geometry(NamedTuple):
    """What the options mean for shapes that fit: integers per axis, size of the answer before and after cropping."""

    stride: Shape
    dilation: Shape
    padding: Shape
    output_padding: Shape
    groups: int
    whole: Shape
    out: Shape

    @property
    def kept(self) -> tuple[slice, ...]:
        """Which part of the whole is the answer."""
        return tuple(slice(p, p + n) for p, n in zip(self.padding, self.out, strict=True))


def shape(axes: int, x: Shape, weight: Shape, bias: Shape | None = None, **options: Any) -> tuple[Shape]:
    """Return ((N, K, *out),) for x (N, C, *size), weight (C, K / G, *window), bias (K,) or absent.

    out = (size - 1) stride + dilation (window - 1) + 1 + output_padding - 2 padding along each axis. Raises ValueError.
    """
    plan = geometry(axes, x, weight, bias, **options)
    return ((x[0], weight[1] * plan.groups, *plan.out),)


def geometry(
    axes: int,
    x: Shape,
    weight: Shape,
    bias: Shape | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Geometry:
    """Return the options per axis and the sizes. Raises ValueError for what does not fit."""
    name = f"conv_transpose{axes}d"
    x, weight, bias = tuple(x), tuple(weight), None if bias is None else tuple(bias)
    _check_arrays(name, axes, x, weight, bias, groups)
    s = axis_integers(name, "stride", stride, axes, 1)
    d = axis_integers(name, "dilation", dilation, axes, 1)
    p = axis_integers(name, "padding", padding, axes, 0)
    more = axis_integers(name, "output_padding", output_padding, axes, 0)
    most = tuple(max(a, b) - 1 for a, b in zip(s, d, strict=True))
    if any(a > b for a, b in zip(more, most, strict=True)):
        raise ValueError(
            f"{name}: output_padding {more} with stride {s} and dilation {d}, expected less than the larger of the two "
            f"along each axis; at most {most} would fit"
        )
    stamps = zip(x[2:], weight[2:], s, d, more, strict=True)
    whole = tuple((n - 1) * a + b * (k - 1) + 1 + m for n, k, a, b, m in stamps)
    out = tuple(n - 2 * a for n, a in zip(whole, p, strict=True))
    if min(out) < 1:
        fits = tuple((n - 1) // 2 for n in whole)
        raise ValueError(
            f"{name}: padding {p} crops an answer of {whole} to {out}, expected at least 1 along each axis; "
            f"at most {fits} would fit"
        )
    return Geometry(s, d, p, more, int(groups), whole, out)


def _check_arrays(name: str, axes: int, x: Shape, weight: Shape, bias: Shape | None, groups: int) -> None:
    """Refuse arrays of the wrong rank, and channels, groups and filters that do not divide into each other."""
    check_ranks(name, axes, x, weight, "channels, filters per group")
    channels, each = weight[:2]
    if min(x[2:]) < 1:
        raise ValueError(f"{name}: x {x} has no pixels, expected at least 1 along every axis of space")
    if not isinstance(groups, int | np.integer) or groups < 1 or channels % groups:
        raise ValueError(
            f"{name}: groups={groups!r}, expected an integer >= 1 that divides the {channels} channels of weight "
            f"{weight}"
        )
    if x[1] != channels:
        raise ValueError(
            f"{name}: x {x} has {x[1]} channels, but weight {weight} has filters for {channels}; "
            f"x with {channels} channels would fit"
        )
    if bias is not None and bias != (each * groups,):
        raise ValueError(
            f"{name}: bias {bias}, expected {(each * groups,)}: one number for each filter of weight {weight} with "
            f"groups={groups}"
        )


# 2 Definition


def definition(
    axes: int,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Shape = 1,
    padding: int | Shape = 0,
    output_padding: int | Shape = 0,
    groups: int = 1,
    dilation: int | Shape = 1,
) -> Array:
    """y[n, k, j] = b[k] + sum over c, i, u with i s + u d = j + p of x[n, c, i] w[c, k - g K / G, u].

    c runs over the channels of the filter's group g = k G // K. x (N, C, *size); weight (C, K / G, *window); bias (K,)
    or absent; y (N, K, *out), all of one dtype. Each pixel stamps the filters: the stamps lie s apart and add up where
    they overlap; where there is none, in the holes between them and behind the last, y is the bias. Options: stride s,
    padding p (places cropped from both ends), output_padding (places that stay behind the last pixel's stamp, or are
    cropped less; fewer than stride or dilation), groups G, dilation d. Raises ValueError (see `shape`). Source: Zhang,
    Lipton, Li and Smola, Dive into Deep Learning, section 14.10; Zeiler, Krishnan, Taylor and Fergus 2010,
    Deconvolutional networks, section 3; Dumoulin and Visin 2016, A guide to convolution arithmetic, section 4.
    """
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    chosen: dict[str, Any] = {"stride": stride, "padding": padding, "output_padding": output_padding}
    plan = geometry(axes, *shapes, groups=groups, dilation=dilation, **chosen)
    xp = namespace(x, weight, bias)
    (_, each, *window), channels, ones = weight.shape, x.shape[1] // groups, (1,) * axes

    def stamps(k: int) -> Array:
        group = slice(k // each * channels, (k // each + 1) * channels)
        pixels = xp.reshape(x[:, group, ...], (x.shape[0], channels, *x.shape[2:], *ones))
        return xp.sum(pixels * xp.reshape(weight[group, k % each, ...], (channels, *ones, *window)), axis=1)

    every = xp.stack([stamps(k) for k in range(each * groups)], axis=1)  # (N, K, *size, *window)
    y = overlap_add(every, plan.whole, plan.stride, plan.dilation)[(..., *plan.kept)]
    return y if bias is None else y + xp.reshape(bias, (-1, *ones))


# 3 Faster ways


def stamp(axes: int, way: Stamps, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    """Return the transposed convolution with its stamps added up by `way`."""
    plan = geometry(axes, x.shape, weight.shape, None if bias is None else bias.shape, **options)
    return planned(plan, way)(x, weight, bias)


def planned(plan: Geometry, way: Stamps) -> Callable[..., Array]:
    """Return (x, weight, bias) -> y for arrays of the shapes that were planned for; bias may be None."""

    def run(x: Array, weight: Array, bias: Array | None = None) -> Array:
        xp = namespace(x, weight, bias)
        whole = way(in_groups(x, 1, plan.groups), in_groups(weight, 0, plan.groups), plan)[(..., *plan.kept)]
        y = xp.reshape(whole, (x.shape[0], weight.shape[1] * plan.groups, *plan.out))
        return y if bias is None else y + xp.reshape(bias, (-1, *(1,) * len(plan.out)))

    return run


def by_columns(x: Array, w: Array, plan: Geometry) -> Array:
    """Multiply and fold: one matrix product makes all stamps, which are added up where they fall (col2im).

    Source: Jia et al. 2014, Caffe: convolutional architecture for fast feature embedding (its deconvolution layer).
    """
    xp = namespace(x, w)
    (n, g, c, *size), (_, _, k, *window) = x.shape, w.shape
    filters = xp.permute_dims(xp.reshape(w, (g, c, k * math.prod(window))), (0, 2, 1))
    stamps = xp.matmul(filters, xp.reshape(x, (n, g, c, math.prod(size))))
    space = len(size)
    order = (0, 1, 2, *range(3 + space, 3 + 2 * space), *range(3, 3 + space))
    patches = xp.permute_dims(xp.reshape(stamps, (n, g, k, *window, *size)), order)
    return overlap_add(patches, plan.whole, plan.stride, plan.dilation)


def by_insertion(x: Array, w: Array, plan: Geometry) -> Array:
    """Spread and slide: s - 1 zeros between the pixels, a border of zeros, then a convolution with flipped filters.

    Source: Dumoulin and Visin 2016, section 4.5; one product for each tap.
    """
    return unfold.image_gradient(x, w, plan.whole, plan.stride, plan.dilation, unfold.by_taps)


def by_transforms(x: Array, w: Array, plan: Geometry) -> Array:
    """Spread and slide as `by_insertion` does, with the sum taken by Fourier transforms."""
    return unfold.image_gradient(x, w, plan.whole, plan.stride, plan.dilation, fourier.by_transforms)


def by_pixels(x: Array, w: Array, plan: Geometry) -> Array:
    """y[n, g, :, i s] = w[g] x[n, g, :, i]: stamps of one pixel are a linear layer over the channels, spread."""
    xp = namespace(x, w)
    (n, g, c, *size), k = x.shape, w.shape[2]
    filters = xp.permute_dims(w[(..., *(0,) * len(size))], (0, 2, 1))
    stamps = xp.reshape(xp.matmul(filters, xp.reshape(x, (n, g, c, math.prod(size)))), (n, g, k, *size))
    return pad(dilate(stamps, plan.stride), tuple((0, more) for more in plan.output_padding))


def by_adjoint(axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    """y = b + the gradient of <x, conv(z, w)> in z: the transpose of the convolution with the same weight and options.

    Where output_padding reaches a stride beyond the last stamp, that convolution has more windows than x has pixels.
    Source: Shelhamer, Long and Darrell 2017, Fully convolutional networks for semantic segmentation, section 3.3.
    """
    plan = geometry(axes, x.shape, weight.shape, None if bias is None else bias.shape, **options)
    beyond = tuple((0, more // s) for more, s in zip(plan.output_padding, plan.stride, strict=True))
    image = (x.shape[0], weight.shape[1] * plan.groups, *plan.out)
    same = {name: value for name, value in options.items() if name != "output_padding"}
    y = conv.image_part(pad(x, beyond), weight, image, conv.geometry(axes, image, weight.shape, **same))
    return y if bias is None else y + namespace(y).reshape(bias, (-1, *(1,) * axes))


def variants(axes: int) -> dict[str, Variant]:
    """Return the faster ways by name."""
    return {
        "columns": Variant(bind(stamp, axes, by_columns)),
        "insertion": Variant(bind(stamp, axes, by_insertion)),
        "adjoint": Variant(bind(by_adjoint, axes)),
        "fft": Variant(bind(stamp, axes, by_transforms), algorithm="fft"),
        "pointwise": Variant(bind(stamp, axes, by_pixels), accepts=is_pointwise),
    }


# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any) -> tuple[Any, ...]:
    """(gx, gw, gb): gx = conv(gy, w), gw = how gy correlates with x, and gb[k] = sum over n, j of gy[n, k, j].

    gy (N, K, *out) is the cotangent. As many gradients as there were arrays, None for an absent bias. The adjoint of
    the adjoint is the convolution: gx[n, c, i] = sum over k, u of w[c, k, u] gy[n, k, i s + u d - p].
    """
    plan = geometry(axes, x.shape, weight.shape, *(None if b is None else b.shape for b in bias), **options)
    gradients = (image_part(gy, weight, x.shape, plan), filter_part(gy, x, weight.shape, plan))
    return (*gradients, *(None if b is None else bias_part(gy) for b in bias))


def uncropped(gy: Array, plan: Geometry) -> Array:
    """Return gy in groups, with zeros where the answer was cropped: (N, G, K / G, *whole)."""
    ends = zip(plan.padding, plan.out, plan.whole, strict=True)
    return in_groups(pad(gy, tuple((p, n - m - p) for p, m, n in ends)), 1, plan.groups)


def image_part(gy: Array, weight: Array, x: Shape, plan: Geometry) -> Array:
    """Return the gradient of the image: a convolution; windows behind the last pixel's are cut off."""
    slides = unfold.by_columns(uncropped(gy, plan), in_groups(weight, 0, plan.groups), plan.stride, plan.dilation)
    return namespace(gy).reshape(slides[(..., *map(slice, x[2:]))], tuple(x))


def filter_part(gy: Array, x: Array, weight: Shape, plan: Geometry) -> Array:
    """Return the gradient of the filters: that of the convolution whose image is gy and whose cotangent is x."""
    grouped, window = in_groups(x, 1, plan.groups), tuple(weight[2:])
    gw = unfold.filter_gradient(grouped, uncropped(gy, plan), window, plan.stride, plan.dilation)
    return namespace(gy).reshape(gw, tuple(weight))


# 5 How wrong it may be


def bound(
    axes: int, y: Array, p: Precision, x: Array, weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """K u S and smaller terms at each place of y: S = sum of |w| |x| + |b|, K = how many of its terms are not zero.

    In full: rounding.multilinear_bound; 0 where all partial sums are small integers. Where transforms are claimed:
    fourier.bound, the same for all places of an image.
    """
    plan = geometry(axes, x.shape, weight.shape, **options)
    if p.algorithm == "fft":
        image, filters = in_groups(x, 1, plan.groups), in_groups(weight, 0, plan.groups)
        b, answer = None if bias is None else in_groups(bias, 0, plan.groups), in_groups(y, 1, plan.groups)
        return fourier.image_gradient_bound(image, filters, _points(filters, plan), answer, p, b).reshape(y.shape)
    return multilinear_bound(planned(plan, by_columns), (x, weight), (bias,), y=y, p=p)


def _points(filters: Array, plan: Geometry) -> int:
    """Return a bound on the points of one transform: of the spread image with its border, and the filter."""
    window = filters.shape[3:]
    bordered = tuple(n + d * (k - 1) for n, d, k in zip(plan.whole, plan.dilation, window, strict=True))
    return fourier.longest(bordered, window, plan.dilation)


def spread(
    axes: int, y: Array, p: Precision, x: Array, weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """rounding.multilinear_spread of the sum of products; None for transforms, whose errors are no random walk."""
    if p.algorithm == "fft":
        return None
    plan = geometry(axes, x.shape, weight.shape, **options)
    return multilinear_spread(planned(plan, by_columns), (x, weight), (bias,), y=y, p=p)


def vjp_bound(
    axes: int,
    grads: tuple[Array, ...],
    p: Precision,
    gy: Array,
    x: Array,
    weight: Array,
    *bias: Array | None,
    **options: Any,
) -> tuple[Any, ...]:
    """Return the bounds of the three gradients, sums of products as the answer is; the bias's is a sum in any case."""
    plan = geometry(axes, x.shape, weight.shape, **options)
    parts = zip(bias, grads[2:], strict=True)
    of_bias = (None if b is None else multilinear_bound(bias_part, (gy,), y=g, p=p) for b, g in parts)
    if p.algorithm == "fft":
        return (*_transformed_gradients(grads, p, gy, x, weight, plan), *of_bias)
    gx = multilinear_bound(lambda g, w: image_part(g, w, x.shape, plan), (gy, weight), y=grads[0], p=p)
    gw = multilinear_bound(lambda g, a: filter_part(g, a, weight.shape, plan), (gy, x), y=grads[1], p=p)
    return (gx, gw, *of_bias)


def _transformed_gradients(
    grads: tuple[Array, ...], p: Precision, gy: Array, x: Array, weight: Array, plan: Geometry
) -> tuple[Array, Array]:
    """Return the bounds of the two convolutions that the gradients of image and filters are."""
    image, filters, grouped = uncropped(gy, plan), in_groups(weight, 0, plan.groups), in_groups(x, 1, plan.groups)
    length, gx, gw = _points(filters, plan), in_groups(grads[0], 1, plan.groups), in_groups(grads[1], 0, plan.groups)
    of_image = fourier.bound(image, filters, None, length, gx, p)
    of_filters = fourier.filter_gradient_bound(grouped, image, length, gw, p)
    return of_image.reshape(x.shape), of_filters.reshape(weight.shape)
