"""softmax and log_softmax: shape, definition, another way, derivative (d2l 4.1.1).

A row is what lies along `dim`; m is its maximum, and t = x - m <= 0, so that no exponential overflows.
"""

from collections.abc import Callable
from typing import Any

from d2lref.arrays import namespace
from d2lref.spec import Array, Shape

# 1 Shape


def shape_of(name: str) -> Callable[..., tuple[Shape]]:
    """Return the shape rule of softmax or log_softmax, which differ in the name alone."""

    def shape(x: Shape, *, dim: int) -> tuple[Shape]:
        """Return (x,) for x of at least one axis and dim among them. Raises ValueError."""
        x = tuple(x)
        if not x:
            raise ValueError(f"{name}: x () has no axis, expected at least one")
        if type(dim) is not int or not -len(x) <= dim < len(x):
            raise ValueError(f"{name}: dim={dim!r}, expected an integer from {-len(x)} to {len(x) - 1} for x {x}")
        return (x,)

    return shape


softmax_shape, log_softmax_shape = shape_of("softmax"), shape_of("log_softmax")

# 2 Definition


def softmax(x: Array, *, dim: int) -> Array:
    """y = e^t / sum of e^t along dim, t = x - m, m the maximum along dim.

    x and y of any one shape and dtype. An entry of -inf gets 0; a row with NaN, with inf, or of -inf alone is NaN:
    inf - inf is no number. Raises ValueError (see `shape_of`). Source: Bridle 1990, Probabilistic interpretation of
    feedforward classification network outputs; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1.1;
    the shift: Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions, IMA J.
    Numer. Anal. 41(4), section 1.
    """
    softmax_shape(x.shape, dim=dim)
    xp = namespace(x)
    e = xp.exp(_shifted(x, dim))
    return e / xp.sum(e, axis=dim, keepdims=True)


def log_softmax(x: Array, *, dim: int) -> Array:
    """y = t - log(sum of e^t) along dim, t = x - m, m the maximum along dim: log(softmax) without its underflow.

    x and y of any one shape and dtype. An entry of -inf stays -inf; a row with NaN, with inf, or of -inf alone is NaN.
    Raises ValueError (see `shape_of`). Source: as `softmax`, section 2.
    """
    log_softmax_shape(x.shape, dim=dim)
    xp = namespace(x)
    t = _shifted(x, dim)
    return t - xp.log(xp.sum(xp.exp(t), axis=dim, keepdims=True))


def _shifted(x: Array, dim: int) -> Array:
    """x - m."""
    return x - namespace(x).max(x, axis=dim, keepdims=True) if 0 not in x.shape else x


# 3 In one pass


def online_softmax(x: Array, *, dim: int) -> Array:
    """s = s e^(m - m') + e^(x - m'), m' = max(m, x), for one x after another; y = e^(x - m) / s.

    Source: Milakov and Gimelshein 2018, Online normalizer calculation for softmax, algorithm 3.
    """
    softmax_shape(x.shape, dim=dim)
    if 0 in x.shape:
        return x + 0.0
    largest, total = _one_pass(x, dim)
    return namespace(x).exp(x - largest) / total


def online_log_softmax(x: Array, *, dim: int) -> Array:
    """Return the same with maximum and sum from one pass."""
    log_softmax_shape(x.shape, dim=dim)
    if 0 in x.shape:
        return x + 0.0
    largest, total = _one_pass(x, dim)
    return x - largest - namespace(x).log(total)


def _one_pass(x: Array, dim: int) -> tuple[Array, Array]:
    """Return maximum and sum of e^(x - maximum) of every row, each with `dim` kept."""
    xp = namespace(x)
    axis = dim % x.ndim

    def at(k: int) -> Array:
        return x[(*(slice(None),) * axis, slice(k, k + 1), ...)]

    largest, total = at(0), _ratio(at(0), at(0))
    for k in range(1, x.shape[axis]):
        before, largest = largest, xp.maximum(largest, at(k))
        total = total * _ratio(before, largest) + _ratio(at(k), largest)
    return largest, total


def _ratio(low: Array, high: Array) -> Array:
    """e^(low - high), 0 where low is -inf: a row may begin with masked entries."""
    xp = namespace(low)
    return xp.where(low == -xp.inf, xp.zeros_like(low), xp.exp(low - high))


# 4 Derivatives


def softmax_vjp(gy: Array, x: Array, *, dim: int) -> tuple[Any, ...]:
    """dx = y (gy - sum of gy y along dim), y = softmax(x)."""
    xp = namespace(gy, x)
    y = softmax(x, dim=dim)
    return (y * (gy - xp.sum(gy * y, axis=dim, keepdims=True)),)


def log_softmax_vjp(gy: Array, x: Array, *, dim: int) -> tuple[Any, ...]:
    """dx = gy - softmax(x) times the sum of gy along dim."""
    log_softmax_shape(x.shape, dim=dim)
    xp = namespace(gy, x)
    return (gy - softmax(x, dim=dim) * xp.sum(gy, axis=dim, keepdims=True),)
