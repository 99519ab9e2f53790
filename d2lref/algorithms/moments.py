"""Mean and variance over some axes of an array, what is normalised with them, and its derivative.

`axes` are the axes that a statistic runs over, each once; statistics keep them with size 1, and so stand beside x.
Letters: n values share a mean m and a biased variance v; root = sqrt(v + eps), x̂ = (x - m) / root.
"""

import math
from collections.abc import Callable
from typing import Any

from d2lref.arrays import namespace
from d2lref.spec import Array, Shape

Axes = tuple[int, ...]
Moments = Callable[[Array, Axes], tuple[Array, Array]]
Apply = Callable[[Array, Array, Array, Array | None, Array | None], Array]

# 1 Mean and variance


def count(shape: Shape, axes: Axes) -> int:
    """n: how many values share a statistic."""
    return math.prod(shape[a] for a in axes)


def two_pass(x: Array, axes: Axes) -> tuple[Array, Array]:
    """m = sum of x / n, v = sum of (x - m)^2 / n."""
    xp = namespace(x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    distance = x - mean
    return mean, xp.mean(distance * distance, axis=axes, keepdims=True)


def naive(x: Array, axes: Axes) -> tuple[Array, Array]:
    """v = mean of x^2 - m^2, kept from going below zero: one pass, and all is lost where m^2 is large against v."""
    xp = namespace(x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    var = xp.mean(x * x, axis=axes, keepdims=True) - mean * mean
    return mean, xp.where(var > 0, var, xp.zeros_like(var))


def welford(x: Array, axes: Axes) -> tuple[Array, Array]:
    """m += (x_k - m) / k and s += (x_k - m before) (x_k - m after), value by value; v = s / n (Welford 1962)."""
    xp = namespace(x)
    values, beside = _last(x, axes)
    mean, total = values[..., 0], xp.zeros_like(values[..., 0])
    for k in range(1, values.shape[-1]):
        step = values[..., k] - mean
        mean = mean + step / (k + 1)
        total = total + step * (values[..., k] - mean)
    return xp.reshape(mean, beside), xp.reshape(total / values.shape[-1], beside)


def merged(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Statistics of both halves, merged: m = m_a + d b / n and s = s_a + s_b + d^2 a b / n, where d = m_b - m_a.

    Chan, Golub and LeVeque 1983, Algorithms for computing the sample variance, The American Statistician 37(3),
    equation 2.1.
    """
    values, beside = _last(x, axes)
    xp, n = namespace(x), values.shape[-1]
    mean, total = _merged(values)
    return xp.reshape(mean, beside), xp.reshape(total / n, beside)


def _merged(values: Array) -> tuple[Array, Array]:
    """Return mean and sum of squared distances along the last axis."""
    n = values.shape[-1]
    if n == 1:
        return values[..., 0], values[..., 0] * 0
    b = n // 2
    a = n - b
    (left, apart), (right, spread) = _merged(values[..., :a]), _merged(values[..., a:])
    d = right - left
    return left + d * (b / n), apart + spread + d * d * (a * b / n)


def _last(x: Array, axes: Axes) -> tuple[Array, Shape]:
    """Return x with the axes of the statistic as one last axis, and the shape that its statistics have beside x."""
    xp = namespace(x)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    values = xp.permute_dims(x, (*kept, *axes))
    beside = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
    return xp.reshape(values, (*(x.shape[a] for a in kept), count(x.shape, axes))), beside


# 2 What is normalised


def centred(x: Array, mean: Array, root: Array, weight: Array | None, bias: Array | None) -> Array:
    """y = w ((x - m) / root) + b, as the book has it."""
    y = (x - mean) / root
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def folded(x: Array, mean: Array, root: Array, weight: Array | None, bias: Array | None) -> Array:
    """y = x (w / root) + (b - m w / root): one multiplication and one addition for each value."""
    scale = 1.0 / root if weight is None else weight / root
    offset = -(mean * scale) if bias is None else bias - mean * scale
    return x * scale + offset


# 3 The derivative


def gradient(g: Array, hat: Array, root: Array, axes: Axes) -> Array:
    """dx = (g - mean of g - x̂ mean of (g x̂)) / root for the cotangent g of x̂: m and v depend on x."""
    xp = namespace(g)
    middle, along = (xp.mean(a, axis=axes, keepdims=True) for a in (g, g * hat))
    return (g - middle - hat * along) / root


def affine_gradients(gy: Array, hat: Array, weight: Array | None, bias: Array | None) -> tuple[Any, Any]:
    """dw = sum of gy x̂, db = sum of gy, each over the values that a number of weight or bias stands beside."""
    xp = namespace(gy)
    dw = None if weight is None else xp.sum(gy * hat, axis=constant(weight), keepdims=True)
    return dw, None if bias is None else xp.sum(gy, axis=constant(bias), keepdims=True)


def constant(a: Array) -> Axes:
    """Return the axes along which an array that stands beside x is one number."""
    return tuple(axis for axis, size in enumerate(a.shape) if size == 1)
