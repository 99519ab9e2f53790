"""Depthwise-separable convolution: shape, definition, faster ways, derivative, how wrong it may be.

Every channel has filters of its own, and a linear layer at every pixel mixes what they answer. One text serves every
number of axes of space; `axes` is bound to 1, 2 or 3 by the ops. Letters: N images, C channels, M filters for each
channel, Q = C M of them in all, K answers at a pixel.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import namespace
from d2lref.ops._conv import definition as conv
from d2lref.rounding import Precision, at_most, multilinear_bound, outward, transform_loss
from d2lref.spec import Array, Shape, Variant

# 1 Shape


def shape(
    axes: int, x: Shape, depthwise_weight: Shape, pointwise_weight: Shape, bias: Shape | None = None, **options: Any
) -> tuple[Shape]:
    """Return ((N, K, *out),) for x (N, C, *size), weights (Q, 1, *window) and (K, Q, 1, ...), bias (K,) or absent.

    out is a convolution's (see conv). Raises ValueError.
    """
    return ((x[0], pointwise_weight[0], *geometry(axes, x, depthwise_weight, pointwise_weight, bias, **options).out),)


def geometry(
    axes: int, x: Shape, depthwise: Shape, pointwise: Shape, bias: Shape | None = None, **options: Any
) -> conv.Geometry:
    """Return what the options mean for the depthwise half. Raises ValueError for what does not fit."""
    x, depthwise, pointwise = tuple(x), tuple(depthwise), tuple(pointwise)
    _check(f"separable_conv{axes}d", axes, x, depthwise, pointwise, None if bias is None else tuple(bias))
    return conv.geometry(axes, x, depthwise, groups=x[1], op="separable_conv", **options)


def _check(name: str, axes: int, x: Shape, depthwise: Shape, pointwise: Shape, bias: Shape | None) -> None:
    """Refuse arrays of the wrong rank, and counts that do not go together."""
    for label, found, names in (
        ("x", x, "images, channels"),
        ("depthwise_weight", depthwise, "filters, 1"),
        ("pointwise_weight", pointwise, "answers, filters"),
    ):
        if len(found) != axes + 2:
            raise ValueError(
                f"{name}: {label} {found} has {len(found)} axes, expected {axes + 2}: {names} and {axes} of space"
            )
        if min(found[1:] if label == "x" else found) < 1 and (label != "x" or found[1] < 1):
            raise ValueError(f"{name}: {label} {found} is empty, expected at least 1 along every axis")
    if depthwise[1] != 1 or depthwise[0] % x[1]:
        raise ValueError(
            f"{name}: depthwise_weight {depthwise}, expected (a multiple of {x[1]}, 1, ...): filters that read one "
            f"channel each of x {x}"
        )
    if pointwise[1:] != (depthwise[0], *(1,) * axes):
        raise ValueError(
            f"{name}: pointwise_weight {pointwise}, expected (answers, {depthwise[0]}, {', '.join('1' * axes)}): one "
            f"number for each filter of depthwise_weight {depthwise}"
        )
    if bias is not None and bias != pointwise[:1]:
        raise ValueError(
            f"{name}: bias {bias}, expected {pointwise[:1]}: one number for each answer of pointwise_weight {pointwise}"
        )


# 2 Definition


def definition(
    axes: int,
    x: Array,
    depthwise_weight: Array,
    pointwise_weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Shape = 1,
    padding: int | Shape | str = 0,
    dilation: int | Shape = 1,
) -> Array:
    """y[n, k, i] = b[k] + sum over q of p[k, q] sum over u of d[q, u] x[n, q // M, i s + u d - p].

    A convolution with a group for every channel, then one with a window of a single pixel; the bias belongs to the
    second, stride, padding and dilation to the first (see conv for their meaning). x (N, C, *size), depthwise_weight
    (Q, 1, *window), Q a multiple M of C, pointwise_weight (K, Q, 1, ...), bias (K,) or absent; y (N, K, *out), all of
    one dtype. Raises ValueError (see `shape`). Sources: Sifre 2014, Rigid-motion scattering for image classification,
    section 6.2; Chollet 2017, Xception, section 1; Howard et al. 2017, MobileNets, section 3.1.
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    geometry(axes, x.shape, depthwise_weight.shape, pointwise_weight.shape, _shape(bias), **options)
    seen = conv.definition(axes, x, depthwise_weight, groups=x.shape[1], **options)  # type: ignore[arg-type]
    return conv.definition(axes, seen, pointwise_weight, bias)


def _shape(array: Array | None) -> Shape | None:
    return None if array is None else array.shape


# 3 Faster ways


def by_halves(
    axes: int, x: Array, depthwise_weight: Array, pointwise_weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """Shift and scale every channel, then one matrix product over the filters for all pixels."""
    plan = geometry(axes, x.shape, depthwise_weight.shape, pointwise_weight.shape, _shape(bias), **options)
    seen = conv.planned(plan, unfold.by_scaling)(x, depthwise_weight)
    return conv.slide(axes, conv.by_pixels, seen, pointwise_weight, bias)


def dense(
    axes: int, x: Array, depthwise_weight: Array, pointwise_weight: Array, bias: Array | None = None, **options: Any
) -> Array:
    """y = conv(x, w) + b with w[k, c, u] = sum over m of p[k, c M + m] d[c M + m, u]: one convolution, of low rank."""
    geometry(axes, x.shape, depthwise_weight.shape, pointwise_weight.shape, _shape(bias), **options)
    weight = multiplied(depthwise_weight, pointwise_weight, x.shape[1])
    return conv.slide(axes, unfold.by_columns, x, weight, bias, **options)


def multiplied(depthwise: Array, pointwise: Array, channels: int) -> Array:
    """Return the weight of the dense convolution, (K, C, *window)."""
    xp = namespace(depthwise, pointwise)
    window, (k, q) = depthwise.shape[2:], pointwise.shape[:2]
    rows = xp.reshape(pointwise, (k, channels, q // channels, *(1,) * len(window)))
    return xp.sum(rows * xp.reshape(depthwise, (1, channels, q // channels, *window)), axis=2)


def variants(axes: int) -> dict[str, Variant]:
    """Return the faster ways by name."""
    return {"halves": Variant(conv.bind(by_halves, axes)), "dense": Variant(conv.bind(dense, axes))}


# 4 Derivative


def vjp(
    axes: int,
    gy: Array,
    x: Array,
    depthwise_weight: Array,
    pointwise_weight: Array,
    *bias: Array | None,
    **options: Any,
) -> tuple[Any, ...]:
    """(gx, gd, gp, gb): the gradients of the second convolution, and of the first with what it hands back.

    As many gradients as there were arrays, None for an absent bias.
    """
    shapes = (a.shape for a in (x, depthwise_weight, pointwise_weight))
    geometry(axes, *shapes, *map(_shape, bias), **options)
    first = {**options, "groups": x.shape[1]}
    seen = conv.slide(axes, unfold.by_columns, x, depthwise_weight, **first)
    back, gp, *gb = conv.vjp(axes, gy, seen, pointwise_weight, *bias)
    gx, gd = conv.vjp(axes, back, x, depthwise_weight, **first)
    return (gx, gd, gp, *gb)


# 5 How wrong it may be


def two_sums(
    first: Callable[..., Array],
    factors: tuple[Array, Array],
    second: Callable[..., Array],
    other: Array,
    addends: tuple[Array | None, ...] = (),
    *,
    y: Array,
    p: Precision,
) -> np.ndarray:
    """E2 + second(E1, |other|): how wrong second(first(*factors), other, *addends) may be, both sums of products.

    E1 is rounding.multilinear_bound of the inner sum, stored. E2 is that of the outer one for an inner sum as large as
    it may be, |z| + E1; and an inner sum wrong by E1 moves the outer by second(E1, |other|) at most.
    """
    inner = first(*factors)
    error = outward(multilinear_bound(first, factors, y=inner, p=p))
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.where(error > 0, np.abs(inner) + error, inner)
        slack = transform_loss(p) + (p.stored.nmin if p.flushed else 0.0)  # what a factor that is not known may lose
        nothing = (None if a is None else np.zeros_like(a) for a in addends)
        moved = second(error + np.where(largest != 0, slack, 0.0), np.abs(other), *nothing) * (1 + 2 * p.stored.u)
        total = multilinear_bound(second, (largest, other), addends, y=y, p=p) + moved
        most = second(np.abs(largest), np.abs(other), *(None if a is None else np.abs(a) for a in addends))
        return np.where(at_most(y, most) + total <= p.stored.fmax, total, np.inf)


def bound(
    axes: int,
    y: Array,
    p: Precision,
    x: Array,
    depthwise_weight: Array,
    pointwise_weight: Array,
    bias: Array | None = None,
    **options: Any,
) -> Array:
    """`two_sums` of the two convolutions, or of the product of the weights and one convolution, whichever is larger.

    What lies between may be stored in the storage format.
    """
    halves = _Halves(axes, x, depthwise_weight, **options)
    of = partial(two_sums, y=y, p=p)
    composed = of(halves.depthwise, (x, depthwise_weight), halves.pointwise, pointwise_weight, (bias,))
    weights = (depthwise_weight, pointwise_weight)
    return np.maximum(composed, of(halves.weight, weights, halves.dense, x, (bias,)))


class _Halves:
    """The sums of products that a separable convolution and its gradients are made of, for shapes and options."""

    def __init__(self, axes: int, x: Array, depthwise: Array, **options: Any) -> None:
        """Shapes and options."""
        self.axes, self.x, self.d = axes, x.shape, depthwise.shape
        self.plan = conv.geometry(axes, self.x, self.d, groups=self.x[1], **options)
        self.whole = self.plan._replace(groups=1)

    @property
    def one(self) -> conv.Geometry:
        """What a window of one pixel means."""
        ones = (1,) * self.axes
        return conv.Geometry(ones, ones, ((0, 0),) * self.axes, 1, self.plan.out)

    def depthwise(self, x: Array, d: Array) -> Array:
        """Return the answers of all filters."""
        return conv.planned(self.plan, unfold.by_columns)(x, d)

    def pointwise(self, z: Array, pw: Array, b: Array | None = None) -> Array:
        """Return what the linear layer makes of them."""
        return conv.planned(self.one, unfold.by_columns)(z, pw, b)

    def weight(self, d: Array, pw: Array) -> Array:
        """Return the weight of the dense convolution."""
        return multiplied(d, pw, self.x[1])

    def dense(self, w: Array, x: Array, b: Array | None = None) -> Array:
        """Return the dense convolution."""
        return conv.planned(self.whole, unfold.by_columns)(x, w, b)

    def back(self, gy: Array, pw: Array) -> Array:
        """Return the cotangent of the filters' answers."""
        return conv.image_part(gy, pw, (gy.shape[0], pw.shape[1], *self.plan.out), self.one)

    def image(self, h: Array, d: Array) -> Array:
        """Return the gradient of the image."""
        return conv.image_part(h, d, self.x, self.plan)

    def dense_image(self, w: Array, gy: Array) -> Array:
        """Return it from the dense weight."""
        return conv.image_part(gy, w, self.x, self.whole)

    def filters(self, h: Array, x: Array) -> Array:
        """Return the gradient of the filters."""
        return conv.filter_part(h, x, self.d, self.plan)

    def mixing(self, z: Array, gy: Array) -> Array:
        """Return the gradient of the linear layer."""
        return conv.filter_part(gy, z, (gy.shape[1], self.d[0], *(1,) * self.axes), self.one)

    def of_dense(self, gy: Array, x: Array) -> Array:
        """Return the gradient of the dense weight, once for each filter: (K, Q, *window)."""
        gw = conv.filter_part(gy, x, (gy.shape[1], self.x[1], *self.d[2:]), self.whole)
        return np.repeat(gw, self.d[0] // self.x[1], axis=1)

    def filters_of_dense(self, gw: Array, pw: Array) -> Array:
        """Return the gradient of the filters from that."""
        return np.sum(gw * pw, axis=0)[:, None]

    def mixing_of_dense(self, gw: Array, d: Array) -> Array:
        """Return the gradient of the linear layer from that."""
        space = tuple(range(2, 2 + self.axes))
        return np.sum(gw * d[:, 0], axis=space, keepdims=True)


def vjp_bound(
    axes: int,
    grads: tuple[Array, ...],
    p: Precision,
    gy: Array,
    x: Array,
    depthwise_weight: Array,
    pointwise_weight: Array,
    *bias: Array | None,
    **options: Any,
) -> tuple[Any, ...]:
    """Return the bounds of the gradients: each is two sums, in one of two orders; the bias's is one sum."""
    halves, d, pw = _Halves(axes, x, depthwise_weight, **options), depthwise_weight, pointwise_weight
    orders: tuple[tuple[Any, ...], ...] = (
        (halves.back, (gy, pw), halves.image, d, halves.weight, (d, pw), halves.dense_image, gy),
        (halves.back, (gy, pw), halves.filters, x, halves.of_dense, (gy, x), halves.filters_of_dense, pw),
        (halves.depthwise, (x, d), halves.mixing, gy, halves.of_dense, (gy, x), halves.mixing_of_dense, d),
    )
    found = (
        np.maximum(two_sums(*order[:4], y=g, p=p), two_sums(*order[4:], y=g, p=p))
        for g, order in zip(grads, orders, strict=False)
    )
    parts = zip(bias, grads[3:], strict=True)
    of_bias = (None if b is None else multilinear_bound(conv.bias_part, (gy,), y=g, p=p) for b, g in parts)
    return (*found, *of_bias)
