"""Convolution of N images with K filters: shape, definition, faster ways, derivative, how wrong it may be.

Deep learning says convolution and means cross-correlation: the filter is not flipped. One text serves every number of
axes of space; `axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops. Letters: N images, C
channels, K filters, G groups; i is a place of the answer and u a tap of the filter, along all axes of space at once.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms import fourier, unfold, winograd
from d2lref.arrays import axis_integers, namespace, pad, per_axis, remembered, windows
from d2lref.rounding import Precision, multilinear_bound, multilinear_spread
from d2lref.spec import Array, Shape, Variant

Pads = tuple[tuple[int, int], ...]

# 1 Shape


class Geometry(NamedTuple):
    """What the options mean for shapes that fit: integers per axis, zeros before and after, the size of the answer."""

    stride: Shape
    dilation: Shape
    pads: Pads
    groups: int
    out: Shape


def shape(axes: int, x: Shape, weight: Shape, bias: Shape | None = None, **options: Any) -> tuple[Shape]:
    """Return ((N, K, *out),) for x (N, C, *size), weight (K, C / G, *window), bias (K,) or absent.

    out = (size + padding before and after - dilation (window - 1) - 1) // stride + 1 along each axis. Raises
    ValueError.
    """
    return ((x[0], weight[0], *geometry(axes, x, weight, bias, **options).out),)


@remembered
def geometry(
    axes: int,
    x: Shape,
    weight: Shape,
    bias: Shape | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    op: str = "conv",
) -> Geometry:
    """Return the options per axis and the size of the answer. Raises ValueError for what does not fit the op."""
    name = f"{op}{axes}d"
    x, weight, bias = tuple(x), tuple(weight), None if bias is None else tuple(bias)
    _check_arrays(name, axes, x, weight, bias, groups)
    stride = axis_integers(name, "stride", stride, axes, 1)
    dilation = axis_integers(name, "dilation", dilation, axes, 1)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(weight[2:], dilation, strict=True))
    pads = _pads(name, axes, padding, spans, stride)
    padded = tuple(n + before + after for n, (before, after) in zip(x[2:], pads, strict=True))
    if any(n < span for n, span in zip(padded, spans, strict=True)):
        fits = tuple(max(0, span - n + 1) // 2 for n, span in zip(x[2:], spans, strict=True))
        raise ValueError(
            f"{name}: the window {weight[2:]} with dilation {dilation} spans {spans}, but x {x} with its padding has "
            f"{padded}; padding={fits} would fit"
        )
    return Geometry(stride, dilation, pads, int(groups), unfold.output_size(padded, weight[2:], stride, dilation))


def check_ranks(name: str, axes: int, x: Shape, weight: Shape, counted: str) -> None:
    """Refuse arrays of the wrong rank, and an empty weight; `counted` names the axes of the weight before space."""
    for label, found, names in (("x", x, "images, channels"), ("weight", weight, counted)):
        if len(found) != axes + 2:
            raise ValueError(
                f"{name}: {label} {found} has {len(found)} axes, expected {axes + 2}: {names} and {axes} of space"
            )
    if min(weight) < 1:
        raise ValueError(f"{name}: weight {weight} is empty, expected at least 1 along every axis")


def _check_arrays(name: str, axes: int, x: Shape, weight: Shape, bias: Shape | None, groups: int) -> None:
    """Refuse arrays of the wrong rank, and channels, groups and filters that do not divide into each other."""
    check_ranks(name, axes, x, weight, "filters, channels per group")
    filters, channels = weight[:2]
    if not isinstance(groups, int | np.integer) or groups < 1 or filters % groups:
        raise ValueError(
            f"{name}: groups={groups!r}, expected an integer >= 1 that divides the {filters} filters of weight {weight}"
        )
    if x[1] != channels * groups:
        raise ValueError(
            f"{name}: x {x} has {x[1]} channels, but weight {weight} with groups={groups} reads {channels * groups}; "
            f"x with {channels * groups} channels would fit"
        )
    if bias is not None and bias != (filters,):
        raise ValueError(f"{name}: bias {bias}, expected {(filters,)}: one number for each filter of weight {weight}")


def _pads(name: str, axes: int, padding: Any, spans: Shape, stride: Shape) -> Pads:
    """Return the zeros (before, after) each axis; "same" puts the odd one after, as torch does."""
    if padding == "valid":
        return ((0, 0),) * axes
    if padding != "same":
        widths = axis_integers(name, "padding", padding, axes, 0, "'valid', 'same', ")
        return tuple((p, p) for p in widths)
    if any(s != 1 for s in stride):
        raise ValueError(f"{name}: padding='same' with stride {stride}, expected stride 1: a stride changes the size")
    return tuple(((span - 1) // 2, span // 2) for span in spans)


# 2 Definition


def definition(
    axes: int,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Shape = 1,
    padding: int | Shape | str = 0,
    dilation: int | Shape = 1,
    groups: int = 1,
) -> Array:
    """y[n, k, i] = b[k] + sum over c, u of w[k, c, u] x[n, g C / G + c, i s + u d - p], where g = k G // K.

    x (N, C, *size), zero where the index leaves it; weight (K, C / G, *window); bias (K,) or absent; y (N, K, *out),
    all of one dtype. Options: stride s, padding p before and after each axis (or "valid": none, or "same": as much as
    keeps the size, the larger half after), dilation d, groups G. Raises ValueError (see `shape`). Groups come from
    Krizhevsky, Sutskever and Hinton 2012, section 3.5; dilation from Yu and Koltun 2016, section 2.
    """
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    plan = geometry(axes, *shapes, stride=stride, padding=padding, dilation=dilation, groups=groups)
    xp = namespace(x, weight, bias)
    filters, channels, *window = weight.shape
    seen = windows(pad(x, plan.pads), tuple(window), plan.stride, plan.dilation)  # (N, C, *out, *window)
    channels_and_taps = (1, *range(2 + axes, 2 + 2 * axes))

    def answer(k: int) -> Array:
        first = k * groups // filters * channels
        taps = xp.reshape(weight[k, ...], (channels, *(1,) * axes, *window))
        y = xp.sum(seen[:, first : first + channels, ...] * taps, axis=channels_and_taps)
        return y if bias is None else y + bias[k]

    return xp.stack([answer(k) for k in range(filters)], axis=1)


# 3 Faster ways


def slide(axes: int, way: unfold.Way, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
    """Return the convolution with its sliding sum taken by `way`, a function of the form of `unfold.by_columns`."""
    return planned(geometry(axes, x.shape, weight.shape, None if bias is None else bias.shape, **options), way)(
        x, weight, bias
    )


def planned(plan: Geometry, way: unfold.Way) -> Callable[..., Array]:
    """Return the convolution (x, weight, bias) -> y of arrays that fit a plan, its sliding sum taken by `way`."""

    def convolved(x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = way(of_image(x, plan), of_filters(weight, plan), plan.stride, plan.dilation)
        y = namespace(y).reshape(y, (x.shape[0], weight.shape[0], *plan.out))
        return y if bias is None else y + namespace(y).reshape(bias, (-1, *(1,) * len(plan.out)))

    return convolved


def in_groups(a: Array, axis: int, groups: int) -> Array:
    """Return the array with one axis split into groups and what each has."""
    return namespace(a).reshape(a, (*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :]))


def of_image(x: Array, plan: Geometry) -> Array:
    """Return x padded, in groups: (N, G, C / G, *size)."""
    return in_groups(pad(x, plan.pads), 1, plan.groups)


def of_filters(weight: Array, plan: Geometry) -> Array:
    """Return the filters in groups: (G, K / G, C / G, *window)."""
    return in_groups(weight, 0, plan.groups)


def by_pixels(x: Array, w: Array, stride: Shape, dilation: Shape) -> Array:
    """y[n, g, :, i] = w[g] x[n, g, :, i s]: a window of one pixel is a linear layer over the channels (d2l, 7.4.3)."""
    xp = namespace(x, w)
    (seen,) = unfold.taps(x, w.shape[3:], stride, dilation)
    pixels = xp.reshape(seen, (*x.shape[:3], math.prod(seen.shape[3:])))
    return xp.matmul(w[(..., *(0,) * len(stride))], pixels)


def is_pointwise(_x: Shape, weight: Shape, *_: Any, **_options: Any) -> bool:
    """Return whether the window is a single pixel."""
    return math.prod(weight[2:]) == 1


def is_depthwise(_x: Shape, weight: Shape, *_: Any, **_options: Any) -> bool:
    """Return whether every group has a single channel."""
    return weight[1] == 1


def is_tiled(_x: Shape, weight: Shape, *_: Any, stride: Any = 1, dilation: Any = 1, **_options: Any) -> bool:
    """Return whether the window has 3 taps along every axis, without stride and dilation: what F(m, 3) is for."""
    axes = len(weight) - 2
    steps = {*per_axis(stride, axes), *per_axis(dilation, axes)}
    return {*weight[2:]} == {winograd.TAPS} and steps == {1}


def variants(axes: int) -> dict[str, Variant]:
    """Return the faster ways by name."""
    return {
        "unfold": Variant(bind(slide, axes, unfold.by_columns)),
        "shift": Variant(bind(slide, axes, unfold.by_taps)),
        "fft": Variant(bind(slide, axes, fourier.by_transforms), algorithm="fft"),
        "winograd2": Variant(bind(slide, axes, winograd.tiled(2)), "winograd2", is_tiled),
        "winograd4": Variant(bind(slide, axes, winograd.tiled(4)), "winograd4", is_tiled),
        "pointwise": Variant(bind(slide, axes, by_pixels), accepts=is_pointwise),
        "depthwise": Variant(bind(slide, axes, unfold.by_scaling), accepts=is_depthwise),
    }


def bind(function: Callable[..., Any], *fixed: Any) -> Callable[..., Any]:
    """Return the function with its first arguments fixed, under its docstring, or that of the way it is fixed to."""
    bound = partial(function, *fixed)
    bound.__doc__ = (fixed[-1] if callable(fixed[-1]) else function).__doc__
    return bound


# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any) -> tuple[Any, ...]:
    """(gx, gw, gb): the adjoints of the sum in x and in w, and gb[k] = sum over n, i of gy[n, k, i].

    gy (N, K, *out) is the cotangent. As many gradients as there were arrays, None for an absent bias. Both adjoints are
    convolutions again (see `unfold`).
    """
    plan = geometry(axes, x.shape, weight.shape, *(None if b is None else b.shape for b in bias), **options)
    gradients = (image_part(gy, weight, x.shape, plan), filter_part(gy, x, weight.shape, plan))
    return (*gradients, *(None if b is None else bias_part(gy) for b in bias))


def image_part(gy: Array, weight: Array, x: Shape, plan: Geometry) -> Array:
    """Return the gradient of the image: that of the padded image, without its border."""
    padded = tuple(n + before + after for n, (before, after) in zip(x[2:], plan.pads, strict=True))
    grouped = in_groups(gy, 1, plan.groups)
    return unpadded(
        unfold.image_gradient(grouped, of_filters(weight, plan), padded, plan.stride, plan.dilation), x, plan
    )


def unpadded(whole: Array, x: Shape, plan: Geometry) -> Array:
    """Return what belongs to the image x of something about the padded image in groups: the undoing of `of_image`."""
    inside = (slice(before, before + n) for n, (before, _) in zip(x[2:], plan.pads, strict=True))
    return namespace(whole).reshape(whole[(..., *inside)], tuple(x))


def filter_part(gy: Array, x: Array, weight: Shape, plan: Geometry) -> Array:
    """Return the gradient of the filters."""
    grouped = in_groups(gy, 1, plan.groups)
    return namespace(gy).reshape(
        unfold.filter_gradient(grouped, of_image(x, plan), tuple(weight[2:]), plan.stride, plan.dilation), tuple(weight)
    )


def bias_part(gy: Array) -> Array:
    """Return the gradient of the bias."""
    return namespace(gy).sum(gy, axis=(0, *range(2, gy.ndim)))


# 5 How wrong it may be


def bound(
    axes: int, y: Array, p: Precision, x: Array, weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """K u S and smaller terms at each place of y: S = sum of |w| |x| + |b|, K = how many of its terms are not zero.

    In full: rounding.multilinear_bound; 0 where all partial sums are small integers. Where transforms are claimed:
    fourier.bound, about log2(points) u ||x|| ||w||, the same for all places of an image. Where F(m, 3) is claimed and
    the window is made for it, an answer may be taken by it or not: winograd.bound where that is larger.
    """
    if p.algorithm == "fft":
        plan = geometry(axes, x.shape, weight.shape, **options)
        image, filters = of_image(x, plan), of_filters(weight, plan)
        length = fourier.longest(image.shape[3:], filters.shape[3:], plan.dilation)
        b = None if bias is None else in_groups(bias, 0, plan.groups)
        return fourier.bound(image, filters, b, length, in_groups(y, 1, plan.groups), p).reshape(y.shape)
    sums = multilinear_bound(_evaluate(axes, x, weight, options), (x, weight), (bias,), y=y, p=p)
    if not (m := _tile(p, x.shape, weight.shape, options)):
        return sums
    plan = geometry(axes, x.shape, weight.shape, **options)
    b = None if bias is None else in_groups(bias, 0, plan.groups)
    tiled = winograd.bound(of_image(x, plan), of_filters(weight, plan), b, m, in_groups(y, 1, plan.groups), p)
    return np.maximum(sums, tiled.reshape(y.shape))


def _tile(p: Precision, x: Shape, weight: Shape, options: Any) -> int:
    """Return m where F(m, 3) is claimed and may be used, else 0."""
    return TILES.get(p.algorithm, 0) if is_tiled(x, weight, **options) else 0


TILES = {"winograd2": 2, "winograd4": 4}


def _evaluate(axes: int, x: Array, weight: Array, options: Any) -> Callable[..., Array]:
    """Return the way that bounds are computed: not the definition, so that they hold when it is wrong."""
    return planned(geometry(axes, x.shape, weight.shape, **options), unfold.by_columns)


def spread(
    axes: int, y: Array, p: Precision, x: Array, weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """rounding.multilinear_spread of the sum of products; None for others, whose errors are no random walk."""
    if p.algorithm != "any-order":
        return None
    return multilinear_spread(_evaluate(axes, x, weight, options), (x, weight), (bias,), y=y, p=p)


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
    """Return the bounds of the three gradients, sums of products as the answer is; the bias's is a sum in any case.

    Whoever claims F(m, 3) may take the gradient of the image by it, of gy with the flipped filters, and both gradients
    by its adjoint, or as sums: ours are sums.
    """
    plan = geometry(axes, x.shape, weight.shape, **options)
    parts = zip(bias, grads[2:], strict=True)
    of_bias = (None if b is None else multilinear_bound(bias_part, (gy,), y=g, p=p) for b, g in parts)
    if p.algorithm == "fft":
        return (*_transformed_gradients(grads, p, gy, x, weight, plan), *of_bias)
    gx = multilinear_bound(lambda g, w: image_part(g, w, x.shape, plan), (gy, weight), y=grads[0], p=p)
    gw = multilinear_bound(lambda g, a: filter_part(g, a, weight.shape, plan), (gy, x), y=grads[1], p=p)
    if m := _tile(p, x.shape, weight.shape, options):
        gx, gw = map(np.maximum, (gx, gw), _tiled_gradients(grads, p, gy, x, weight, plan, m))
    return (gx, gw, *of_bias)


def _tiled_gradients(
    grads: tuple[Array, ...], p: Precision, gy: Array, x: Array, weight: Array, plan: Geometry, m: int
) -> tuple[Array, Array]:
    """Return the bounds of the gradients of image and filters taken by F(m, 3) or its adjoint."""
    image, filters, grouped = of_image(x, plan), of_filters(weight, plan), in_groups(gy, 1, plan.groups)
    whole = in_groups(pad(grads[0], plan.pads), 1, plan.groups)
    image_bound = winograd.image_gradient_bound(grouped, filters, m, whole, p)
    filter_bound = winograd.filter_gradient_bound(grouped, image, m, of_filters(grads[1], plan), p)
    return unpadded(image_bound, x.shape, plan), filter_bound.reshape(weight.shape)


def _transformed_gradients(
    grads: tuple[Array, ...], p: Precision, gy: Array, x: Array, weight: Array, plan: Geometry
) -> tuple[Array, Array]:
    """Return the bounds of the two convolutions that the gradients of image and filters are."""
    image, filters, grouped = of_image(x, plan), of_filters(weight, plan), in_groups(gy, 1, plan.groups)
    length = fourier.longest(image.shape[3:], filters.shape[3:], plan.dilation)
    gx, gw = in_groups(grads[0], 1, plan.groups), of_filters(grads[1], plan)
    image_bound = fourier.image_gradient_bound(grouped, filters, length, gx, p)
    filter_bound = fourier.filter_gradient_bound(grouped, image, length, gw, p)
    return image_bound.reshape(x.shape), filter_bound.reshape(weight.shape)
