"""Layer normalisation: every row brought to mean 0 and variance 1, then scaled and shifted value by value.

A row is what the last axes hold, those of normalized_shape.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.arrays import namespace
from d2lref.ops._norm.view import (
    View,
    check_affine,
    check_eps,
    check_trailing,
    gradients,
    normalise,
    padded,
    reshaped,
    shapes,
)
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Precision
from d2lref.spec import Array, Draw, Form, Shape, Variant

# 1 Shape


def shape(
    x: Shape, weight: Shape | None = None, bias: Shape | None = None, *, normalized_shape: Shape, eps: float = 1e-5
) -> tuple[Shape]:
    """Return (x,) for x (*rows, *normalized_shape). Raises ValueError."""
    sizes = check_trailing("layer_norm", tuple(x), normalized_shape)
    check_affine("layer_norm", sizes, "value of a row", weight=weight, bias=bias)
    check_eps("layer_norm", eps)
    return (tuple(x),)


def viewed(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
    """Return x with the axes of a row, and weight and bias beside it. Raises ValueError."""
    x, weight, bias = padded(arrays, 3)
    shape(*shapes(x, weight, bias), **options)
    sizes = tuple(options["normalized_shape"])
    stood = (1,) * (x.ndim - len(sizes)) + sizes
    return View(x, reshaped(weight, stood), reshaped(bias, stood), tuple(range(x.ndim - len(sizes), x.ndim)))


# 2 Definition


def definition(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> Array:
    """y = w (x - m) / sqrt(v + eps) + b, m and v the mean and the biased variance of each row.

    x and y (*rows, *normalized_shape) with any number of leading axes; weight w and bias b (*normalized_shape) or
    absent, all of one dtype. Raises ValueError (see `shape`). Source: Ba, Kiros and Hinton 2016, Layer normalization,
    section 3; eps: torch.nn.functional.layer_norm.
    """
    return normalise(viewed((x, weight, bias), {"normalized_shape": normalized_shape, "eps": eps}), eps)


# 3 Faster ways


def _way(of: moments.Moments, apply: moments.Apply = moments.centred) -> Callable[..., Array]:
    """Return layer normalisation with the statistics computed, or applied, in another way."""

    def way(*arrays: Any, normalized_shape: Shape, eps: float = 1e-5) -> Array:
        return normalise(viewed(arrays, {"normalized_shape": normalized_shape, "eps": eps}), eps, of, apply)

    return way


def _by_matrices(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """m = X 1 / n and v = D D 1 / n with products of matrices, X the rows and D their distances from m."""
    xp = namespace(x)
    n = moments.count(x.shape, axes)
    lead = x.shape[: x.ndim - len(axes)]
    rows = xp.reshape(x, (math.prod(lead), n))
    ones = xp.ones_like(rows[:1, :])
    mean = xp.matmul(rows, xp.matrix_transpose(ones)) / n
    apart = rows - mean
    var = xp.matmul(apart * apart, xp.matrix_transpose(ones)) / n
    beside = (*lead, *(1,) * len(axes))
    return xp.reshape(mean, beside), xp.reshape(var, beside)


WAYS = {
    "folded": Variant(_way(moments.two_pass, moments.folded)),
    "matmul": Variant(_way(_by_matrices), accepts=lambda x, *_, **__: 0 not in x),
    "welford": Variant(_way(moments.welford), algorithm="welford"),
    "merged": Variant(_way(moments.merged), algorithm="welford"),
    "naive": Variant(_way(moments.naive), algorithm="naive"),
}

# 4 Derivative


def vjp(
    gy: Array,
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """dx = r (g - mean of g - x̂ mean of (g x̂)) in each row, g = w gy; dw and db are sums of gy x̂ and gy over the rows.

    The last two terms of dx are there because m and v depend on x.
    """
    v = viewed((x, weight, bias), {"normalized_shape": normalized_shape, "eps": eps})
    dx, dw, db = gradients(gy, v, eps)
    return dx, reshaped(dw, tuple(normalized_shape)), reshaped(db, tuple(normalized_shape))


# 5 How wrong it may be


def bound(y: Array, precision: Precision, *arrays: Any, **options: Any) -> np.ndarray:
    """Pairs on y = (x - m) r w + b, for every usual order of the same operations (algorithms.moment_bounds)."""
    del y
    return bound_of(viewed(arrays, options), options["eps"], precision)


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy and dx = r (g - mean of g - x̂ mean of (g x̂)), in any usual order."""
    dx, dw, db = vjp_bound_of(gy, viewed(arrays, options), options["eps"], grads[2], precision)
    sizes = tuple(options["normalized_shape"])
    return dx, reshaped(dw, sizes), reshaped(db, sizes)


# 6 Cases

USUAL = {"eps": 1e-5}  # torch's default


def cases(draw: Draw) -> Form:
    """Draw up to three leading and up to three normalised axes; shrinks to one row of one value, without weight."""
    leading, trailing = draw.choice(1, 0, 2, 3), draw.choice(1, 1, 2, 3)
    sizes = draw.sizes(*(1,) * (leading + trailing))
    rows, row = sizes[:leading], sizes[leading:]
    if rows and draw.integer(0, 31) == 31:
        rows = (0, *rows[1:])
    weight, bias = draw.choice(None, row), draw.choice(None, row)
    eps = draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    return Form(((*rows, *row), weight, bias), {"normalized_shape": row, "eps": eps})


REGIMES = (
    "lattice_small",
    "sparse",
    "normal",
    "positive",
    "wide_range",
    "cancelling",
    "subnormal",
    "large_mean",
    "ties",
)
