"""Group normalisation: in each image, every group of channels brought to mean 0 and variance 1.

Channels follow each other in groups of C / G; weight and bias have one number for each channel, not for each group.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.arrays import namespace
from d2lref.ops._norm.layer import definition as layer_norm
from d2lref.ops._norm.view import View, check_affine, check_eps, gradients, normalise, padded, reshaped, shapes
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Precision
from d2lref.spec import Array, Draw, Form, Shape, Variant

# 1 Shape


def shape(
    x: Shape, weight: Shape | None = None, bias: Shape | None = None, *, num_groups: int, eps: float = 1e-5
) -> tuple[Shape]:
    """Return (x,) for x (N, C, *size), C a multiple of num_groups. Raises ValueError."""
    x = tuple(x)
    if len(x) < 2:
        raise ValueError(f"group_norm: x {x} has {len(x)} axes, expected at least 2: images, channels")
    if type(num_groups) is not int or num_groups < 1:
        raise ValueError(f"group_norm: num_groups={num_groups!r}, expected an integer >= 1")
    if x[1] % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} does not divide the {x[1]} channels of x {x}")
    if 0 in x[1:]:
        raise ValueError(f"group_norm: x {x} has 0 values in a group, expected at least 1")
    check_affine("group_norm", x[1:2], f"channel of x {x}", weight=weight, bias=bias)
    check_eps("group_norm", eps)
    return (x,)


def viewed(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
    """Return x as (N, G, C / G, *size), weight and bias as (1, G, C / G, 1, ...). Raises ValueError."""
    x, weight, bias = padded(arrays, 3)
    shape(*shapes(x, weight, bias), **options)
    groups = options["num_groups"]
    split = (groups, x.shape[1] // groups)
    stood = (1, *split, *(1,) * (x.ndim - 2))
    grouped = reshaped(x, (x.shape[0], *split, *x.shape[2:]))
    return View(grouped, reshaped(weight, stood), reshaped(bias, stood), tuple(range(2, x.ndim + 1)))


# 2 Definition


def definition(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: float = 1e-5
) -> Array:
    """y = w (x - m) / sqrt(v + eps) + b, m and v the mean and the biased variance of a group in an image.

    x and y (N, C, *size); the C channels make num_groups groups of neighbours; weight w and bias b (C,) or absent, all
    of one dtype. Raises ValueError (see `shape`). Source: Wu and He 2018, Group normalization, section 3.1.
    """
    v = viewed((x, weight, bias), {"num_groups": num_groups, "eps": eps})
    return reshaped(normalise(v, eps), x.shape)


# 3 Faster ways


def _way(of: moments.Moments, apply: moments.Apply = moments.centred) -> Callable[..., Array]:
    """Return group normalisation with the statistics computed, or applied, in another way."""

    def way(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
        v = viewed((x, *affine), {"num_groups": num_groups, "eps": eps})
        return reshaped(normalise(v, eps, of, apply), x.shape)

    return way


def _by_layers(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Normalise the groups of all images as rows, then scale and shift the channels."""
    v = viewed((x, *affine), {"num_groups": num_groups, "eps": eps})
    rows = namespace(x).reshape(v.x, (v.x.shape[0] * num_groups, moments.count(v.x.shape, v.axes)))
    y = v.beside(layer_norm(rows, normalized_shape=rows.shape[1:], eps=eps))
    y = y if v.weight is None else y * v.weight
    return reshaped(y if v.bias is None else y + v.bias, x.shape)


WAYS = {
    "folded": Variant(_way(moments.two_pass, moments.folded)),
    "layer_norm": Variant(_by_layers),
    "welford": Variant(_way(moments.welford), algorithm="welford"),
    "merged": Variant(_way(moments.merged), algorithm="welford"),
    "naive": Variant(_way(moments.naive), algorithm="naive"),
}

# 4 Derivative


def vjp(
    gy: Array, x: Array, weight: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: float = 1e-5
) -> tuple[Array, Array | None, Array | None]:
    """dx = r (g - mean of g - x̂ mean of (g x̂)) in each group, g = w gy; dw and db are sums over images and pixels.

    dw = sum of gy x̂, db = sum of gy. The last two terms of dx are there because m and v depend on x.
    """
    v = viewed((x, weight, bias), {"num_groups": num_groups, "eps": eps})
    dx, dw, db = gradients(v.beside(gy), v, eps)
    return reshaped(dx, x.shape), reshaped(dw, x.shape[1:2]), reshaped(db, x.shape[1:2])


# 5 How wrong it may be


def bound(y: Array, precision: Precision, *arrays: Any, **options: Any) -> np.ndarray:
    """Pairs on y = (x - m) r w + b, for every usual order of the same operations (algorithms.moment_bounds)."""
    return np.reshape(bound_of(viewed(arrays, options), options["eps"], precision), y.shape)


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy and dx = r (g - mean of g - x̂ mean of (g x̂)), in any usual order."""
    v = viewed(arrays, options)
    dx, dw, db = vjp_bound_of(v.beside(gy), v, options["eps"], grads[2], precision)
    return reshaped(dx, gy.shape), reshaped(dw, gy.shape[1:2]), reshaped(db, gy.shape[1:2])


# 6 Cases

USUAL = {"eps": 1e-5}  # torch's default


def cases(draw: Draw) -> Form:
    """Draw groups, channels of a group and up to three axes of space; shrinks to one value, without weight and bias."""
    images, groups, members, *size = draw.sizes(*(1,) * (3 + draw.choice(1, 0, 2, 3)))
    if draw.integer(0, 31) == 31:
        images = 0
    per_channel = (groups * members,)
    weight, bias = draw.choice(None, per_channel), draw.choice(None, per_channel)
    eps = draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    return Form(((images, *per_channel, *size), weight, bias), {"num_groups": groups, "eps": eps})
