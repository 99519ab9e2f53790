"""Batch normalisation: shape, definition, faster ways, derivative (d2l 8.5).

One text serves fully connected layers (N, C) and convolutions (N, C, *size): a pixel counts as an image. Letters: N
images, C channels, n values per channel (images times pixels); m mean, v biased variance and r = (v + eps)^(-1/2) of a
channel.
"""

import math
from typing import Any

from d2lref.algorithms import moments
from d2lref.arrays import namespace
from d2lref.spec import Array, Shape

# 1 Shape


def shape(
    x: Shape,
    running_mean: Shape | None = None,
    running_var: Shape | None = None,
    weight: Shape | None = None,
    bias: Shape | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """Return (x, (C,), (C,)) for x (N, C, *size), None for a statistic that is absent. Raises ValueError."""
    x = tuple(x)
    if len(x) < 2:
        raise ValueError(f"batch_norm: x {x} has {len(x)} axes, expected at least 2: images, channels")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, found in named.items():
        if found is not None and tuple(found) != x[1:2]:
            raise ValueError(
                f"batch_norm: {name} {tuple(found)}, expected {x[1:2]}: one number for each channel of x {x}"
            )
    _check_state(x, running_mean, running_var, training=training)
    if not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum={momentum}, expected a number from 0 to 1")
    if not eps >= 0:
        raise ValueError(f"batch_norm: eps={eps}, expected a number >= 0")
    return (x, None if running_mean is None else x[1:2], None if running_var is None else x[1:2])


def _check_state(x: Shape, running_mean: Shape | None, running_var: Shape | None, *, training: bool) -> None:
    """Refuse statistics that are missing, and a batch too small to have a variance."""
    if (running_mean is None) != (running_var is None):
        there, missing = ("running_mean", "running_var")[:: 1 if running_var is None else -1]
        raise ValueError(f"batch_norm: {there} without {missing}, expected both or neither")
    if not training and running_mean is None:
        raise ValueError("batch_norm: neither running_mean nor running_var, expected both unless training=True")
    if training and count(x) < 2:
        raise ValueError(f"batch_norm: x {x} has {count(x)} values per channel, training needs at least 2")


def count(x: Shape) -> int:
    """n: how many values a channel has."""
    return x[0] * math.prod(x[2:])


def check(arrays: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Refuse arrays and options that do not fit."""
    x, *others = (None if a is None else tuple(a.shape) for a in arrays)
    shape(x or (), *others, **options)


def five(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arrays with None for those left out at the end."""
    return (*arrays, *(None,) * (5 - len(arrays)))


# 2 Definition


def definition(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """y = w (x - m) / sqrt(v + eps) + b in each channel; returns (y, new running mean, new running variance).

    x and y (N, C, *size); running_mean, running_var, weight w and bias b (C,), all of one dtype. training: m and v are
    the mean and the biased variance (divided by n) of the channel in this batch, and the new statistics are
    (1 - momentum) old + momentum (m and the unbiased variance, divided by n - 1); absent ones stay None. Otherwise m
    and v are the running statistics, and copies of them are returned. Raises ValueError (see `shape`).
    Source: Ioffe and Szegedy 2015, algorithms 1 and 2; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section
    8.5; the unbiased running variance and the meaning of momentum: torch.nn.functional.batch_norm.
    """
    options = {"training": training, "momentum": momentum, "eps": eps}
    return _normalise((x, running_mean, running_var, weight, bias), options, moments.two_pass, moments.centred)


def two_pass(x: Array) -> tuple[Array, Array]:
    """m = sum of x / n, v = sum of (x - m)^2 / n in each channel, both (C,)."""
    return _in_each_channel(moments.two_pass, x)


def _in_each_channel(of: moments.Moments, x: Array) -> tuple[Array, Array]:
    """Return mean and variance over images and pixels, both (C,)."""
    mean, var = of(x, axes(x))
    return namespace(x).reshape(mean, x.shape[1:2]), namespace(x).reshape(var, x.shape[1:2])


def axes(x: Array) -> tuple[int, ...]:
    """Return the axes of images and pixels."""
    return (0, *range(2, x.ndim))


def beside(a: Array, x: Array) -> Array:
    """Return (C,) as (1, C, 1, ...), to broadcast against x."""
    return a[(None, slice(None), *(None,) * (x.ndim - 2))]


def _normalise(
    arrays: tuple[Any, ...], options: dict[str, Any], of: moments.Moments, apply: moments.Apply
) -> tuple[Any, ...]:
    """Return the answers, with the batch's statistics and the normalisation computed one way or another."""
    check(arrays, options)
    x, mean, var, weight, bias = arrays
    xp = namespace(x)
    if options["training"]:
        state, (mean, var) = (mean, var), _in_each_channel(of, x)
        state = blend(state, (mean, var), options["momentum"], count(x.shape))
    else:
        state = (xp.asarray(mean, copy=True), xp.asarray(var, copy=True))
    stood = (None if a is None else beside(a, x) for a in (mean, xp.sqrt(var + options["eps"]), weight, bias))
    return (apply(x, *stood), *state)


def blend(old: tuple[Any, ...], batch: tuple[Any, ...], momentum: float, n: int) -> tuple[Any, ...]:
    """(1 - momentum) old + momentum batch for mean and variance, the latter times n / (n - 1); None stays None."""
    return tuple(
        None if a is None else a * (1.0 - momentum) + b * (momentum * unbias)
        for a, b, unbias in zip(old, batch, (1.0, n / (n - 1)), strict=True)
    )


# 3 Faster ways


def folded(*arrays: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
    """y = x (w r) + (b - m w r): one multiplication and one addition for each value, as inference engines fold it."""
    options = {"training": training, "momentum": momentum, "eps": eps}
    return _normalise(five(arrays), options, moments.two_pass, moments.folded)


def welford(*arrays: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
    """Return the same with mean and variance from one pass that updates both with every value."""
    options = {"training": training, "momentum": momentum, "eps": eps}
    return _normalise(five(arrays), options, moments.welford, moments.centred)


# 4 Derivative


def vjp(
    gy: tuple[Any, ...],
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """dw = sum of gy x̂, db = sum of gy, dx = w r (gy - db / n - x̂ dw / n), in inference dx = w r gy; x̂ = (x - m) r.

    gy: the cotangents of the three answers; the statistics are not differentiated and theirs are not looked at.
    The sums run over the n values of a channel; the last two terms of dx are there because m and v depend on x
    (Ioffe and Szegedy 2015, section 3).
    """
    options = {"training": training, "momentum": momentum, "eps": eps}
    check((x, running_mean, running_var, weight, bias), options)
    xp, g = namespace(x), gy[0]
    state: tuple[Any, ...] = (running_mean, running_var)
    mean, var = two_pass(x) if training else state
    root = xp.sqrt(var + eps)
    hat, axes = (x - beside(mean, x)) / beside(root, x), (0, *range(2, x.ndim))
    dw, db = xp.sum(g * hat, axis=axes), xp.sum(g, axis=axes)
    if training:
        n = count(x.shape)
        g = g - beside(db / n, x) - hat * beside(dw / n, x)
    dx = g * beside(1.0 / root if weight is None else weight / root, x)
    return dx, None, None, None if weight is None else dw, None if bias is None else db
