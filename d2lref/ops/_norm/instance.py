"""Instance normalisation: every channel of every image brought to mean 0 and variance 1 on its own.

With running statistics in their place it is batch normalisation in inference. Letters: N images, C channels, n pixels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.algorithms.moment_bounds import given
from d2lref.arrays import namespace
from d2lref.ops._batch_norm import batch_norm
from d2lref.ops._batch_norm.bounds import blend_bounds
from d2lref.ops._batch_norm.definition import blend
from d2lref.ops._norm.group import definition as group_norm
from d2lref.ops._norm.view import (
    View,
    check_affine,
    check_eps,
    gradients,
    kept,
    normalise,
    own_statistics,
    padded,
    reshaped,
    shapes,
)
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Precision, Running
from d2lref.spec import Array, Draw, Form, Shape, Variant

# 1 Shape


def shape(
    x: Shape,
    running_mean: Shape | None = None,
    running_var: Shape | None = None,
    weight: Shape | None = None,
    bias: Shape | None = None,
    *,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """Return (x, (C,), (C,)) for x (N, C, *size), None for a statistic that is absent. Raises ValueError."""
    x = tuple(x)
    if len(x) < 3:
        raise ValueError(f"instance_norm: x {x} has {len(x)} axes, expected at least 3: images, channels, space")
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    check_affine("instance_norm", x[1:2], f"channel of x {x}", **named)
    _check_state(x, running_mean, running_var, use_input_stats=use_input_stats)
    if not 0 <= momentum <= 1:
        raise ValueError(f"instance_norm: momentum={momentum}, expected a number from 0 to 1")
    check_eps("instance_norm", eps)
    return (x, None if running_mean is None else x[1:2], None if running_var is None else x[1:2])


def _check_state(x: Shape, running_mean: Shape | None, running_var: Shape | None, *, use_input_stats: bool) -> None:
    """Refuse statistics that are missing, and an input without statistics of its own."""
    if (running_mean is None) != (running_var is None):
        there, missing = ("running_mean", "running_var")[:: 1 if running_var is None else -1]
        raise ValueError(f"instance_norm: {there} without {missing}, expected both or neither")
    if not use_input_stats:
        if running_mean is None:
            raise ValueError("instance_norm: neither running_mean nor running_var, expected both")
        return
    if count(x) < 2:
        raise ValueError(f"instance_norm: x {x} has {count(x)} pixels, its own statistics need at least 2")
    if running_mean is not None and x[0] == 0:
        raise ValueError(f"instance_norm: x {x} has no image, new running statistics need at least 1")


def count(x: Shape) -> int:
    """n: how many pixels an image has."""
    return moments.count(x, tuple(range(2, len(x))))


def _check(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the padded arrays, None for those left out at the end. Raises ValueError for what does not fit."""
    arrays = padded(arrays, 5)
    shape(*shapes(*arrays), **options)
    return arrays


def viewed(arrays: tuple[Any, ...]) -> View:
    """Return x with the axes of space, and weight and bias as (1, C, 1, ...)."""
    x, _, _, weight, bias = arrays
    stood = (1, x.shape[1], *(1,) * (x.ndim - 2))
    return View(x, reshaped(weight, stood), reshaped(bias, stood), tuple(range(2, x.ndim)))


def inference(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of batch normalisation with given statistics."""
    return {"training": False, "momentum": options["momentum"], "eps": options["eps"]}


# 2 Definition


def definition(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """y = w (x - m) / sqrt(v + eps) + b in each channel of each image; returns (y, new running mean, new variance).

    x and y (N, C, *size); running_mean, running_var, weight w and bias b (C,), all of one dtype. use_input_stats: m and
    v are the mean and the biased variance of the n pixels, and the new statistics are (1 - momentum) old + momentum
    (the mean over the images of m and of the unbiased variance, divided by n - 1); absent ones stay None. Otherwise m
    and v are the running statistics, and copies of them are returned. Raises ValueError (see `shape`).
    Source: Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization, section 2; the running statistics:
    torch.nn.functional.instance_norm.
    """
    options = {"use_input_stats": use_input_stats, "momentum": momentum, "eps": eps}
    return _normalise((x, running_mean, running_var, weight, bias), options, moments.two_pass, moments.centred)


def _normalise(
    arrays: tuple[Any, ...], options: dict[str, Any], of: moments.Moments, apply: moments.Apply
) -> tuple[Any, ...]:
    """Return the answers, with the statistics of the input computed and applied one way or another."""
    arrays = _check(arrays, options)
    if not options["use_input_stats"]:
        return batch_norm.definition(*arrays, **inference(options))
    v = viewed(arrays)
    return (normalise(v, options["eps"], of, apply), *_blended(arrays[1:3], of(v.x, v.axes), options["momentum"], v))


def _blended(old: tuple[Any, ...], own: tuple[Array, Array], momentum: float, v: View) -> tuple[Any, ...]:
    """Return (1 - momentum) old + momentum (the mean over the images of what each has of its own)."""
    if old[0] is None:
        return old
    xp = namespace(v.x)
    means = tuple(xp.mean(xp.reshape(a, v.x.shape[:2]), axis=0) for a in own)
    return blend(old, means, momentum, count(v.x.shape))


# 3 Faster ways


def _way(of: moments.Moments, apply: moments.Apply = moments.centred) -> Callable[..., tuple[Any, ...]]:
    """Return instance normalisation with the statistics computed, or applied, in another way."""

    def way(*arrays: Any, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
        options = {"use_input_stats": use_input_stats, "momentum": momentum, "eps": eps}
        return _normalise(arrays, options, of, apply)

    return way


def _by_groups(*arrays: Any, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
    """Normalise groups of one channel each (Wu and He 2018, section 3.1)."""
    options = {"use_input_stats": use_input_stats, "momentum": momentum, "eps": eps}
    x, *state, weight, bias = _check(arrays, options)
    if not use_input_stats:
        return batch_norm.definition(x, *state, weight, bias, **inference(options))
    v = viewed((x, None, None, None, None))
    y = group_norm(x, weight, bias, num_groups=x.shape[1], eps=eps)
    return (y, *_blended(tuple(state), moments.two_pass(x, v.axes), momentum, v))


def _by_batches(
    *arrays: Any, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5
) -> tuple[Any, ...]:
    """Take the channels of all images for those of one, as torch does, and normalise that batch."""
    options = {"use_input_stats": use_input_stats, "momentum": momentum, "eps": eps}
    x, *others = _check(arrays, options)
    if not use_input_stats or x.shape[0] == 0:
        return _normalise((x, *others), options, moments.two_pass, moments.centred)
    xp, images = namespace(x), x.shape[0]
    one = xp.reshape(x, (1, images * x.shape[1], *x.shape[2:]))
    copies = (None if a is None else xp.concat([a] * images) for a in others)
    y, *state = batch_norm.definition(one, *copies, training=True, momentum=momentum, eps=eps)
    means = (None if a is None else xp.mean(xp.reshape(a, x.shape[:2]), axis=0) for a in state)
    return (xp.reshape(y, x.shape), *means)


WAYS = {
    "folded": Variant(_way(moments.two_pass, moments.folded)),
    "group_norm": Variant(_by_groups),
    "batch_norm": Variant(_by_batches),
    "welford": Variant(_way(moments.welford), algorithm="welford"),
    "naive": Variant(_way(moments.naive), algorithm="naive"),
}

# 4 Derivative


def vjp(
    gy: tuple[Any, ...],
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """dx = w r (gy - mean of gy - x̂ mean of (gy x̂)) in each channel of each image, with given statistics w r gy.

    dw = sum of gy x̂ and db = sum of gy over images and pixels. gy: the cotangents of the three answers; the statistics
    are not differentiated and theirs are not looked at.
    """
    options = {"use_input_stats": use_input_stats, "momentum": momentum, "eps": eps}
    arrays = _check((x, running_mean, running_var, weight, bias), options)
    if not use_input_stats:
        return batch_norm.vjp(gy, *arrays, **inference(options))
    dx, dw, db = gradients(gy[0], viewed(arrays), eps)
    return dx, None, None, reshaped(dw, x.shape[1:2]), reshaped(db, x.shape[1:2])


# 5 How wrong it may be


def bound(y: Any, precision: Precision, *arrays: Any, **options: Any) -> tuple[np.ndarray | None, ...]:
    """Pairs on y = (x - m) r w + b and on the running statistics, for every usual order of the same operations."""
    arrays = padded(arrays, 5)
    if not options["use_input_stats"]:
        return batch_norm.bound(y, precision, *arrays, **inference(options))
    v, run = viewed(arrays), Running(precision)
    with np.errstate(all="ignore"):
        stats = own_statistics(run, given(precision, v.x), v.axes, options["eps"])
        state = blend_bounds(run, stats, arrays[1:3], count(v.x.shape), options["momentum"], len(v.x))
    return (bound_of(v, options["eps"], precision), *state)


def vjp_bound(
    grads: tuple[Any, ...], precision: Precision, gy: tuple[Any, ...], *arrays: Any, **options: Any
) -> tuple[np.ndarray | None, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy, dx = w r (gy - mean of gy - x̂ mean of (gy x̂)), in any usual order."""
    arrays = padded(arrays, 5)
    if not options["use_input_stats"]:
        bounds = batch_norm.vjp_bound(grads, precision, gy, *arrays, **inference(options))
        return _with_images_kept(bounds, precision, gy[0], arrays, options["eps"])
    channels = arrays[0].shape[1:2]
    dx, dw, db = vjp_bound_of(gy[0], viewed(arrays), options["eps"], grads[4], precision)
    return dx, None, None, reshaped(dw, channels), reshaped(db, channels)


def _with_images_kept(
    bounds: tuple[Any, ...], precision: Precision, gy: Array, arrays: tuple[Any, ...], eps: float
) -> tuple[Any, ...]:
    """Return the bounds with what is lost where each image's share of dw and db is kept in the format of statistics."""
    v, run, (x, mean, var, *_) = viewed(arrays), Running(precision), arrays
    mean, var = (reshaped(a, (1, x.shape[1], *(1,) * (x.ndim - 2))) for a in (mean, var))
    with np.errstate(all="ignore"):
        hat = np.abs(x - mean) / np.sqrt(var + eps)
        made = []
        for known, size, a in zip(bounds[3:], (np.abs(gy) * hat, np.abs(gy)), (v.weight, v.bias), strict=True):
            less = 0.0 if a is None else kept(run, reshaped(known, a.shape), size, a, v.axes)
            made.append(None if a is None else known + (1 + precision.stored.u) * np.ravel(less))
    return (*bounds[:3], *made)


# 6 Cases

OPTIONS = {"use_input_stats": True, "momentum": 0.1, "eps": 1e-5}  # eps: torch's default


def cases(draw: Draw) -> Form:
    """Draw one to three axes of space; shrinks to two pixels of one channel, without statistics, weight and bias."""
    own = draw.choice(True, True, False)
    images, channels, *size = draw.sizes(*(1,) * draw.choice(3, 4, 5))
    if own and count((1, 1, *size)) < 2:
        size[-1] = 2
    per_channel = (channels,)
    state = draw.choice(None, per_channel, per_channel) if own else per_channel
    if draw.integer(0, 31) == 31 and (not own or state is None):
        images = 0
    weight, bias = draw.choice(None, per_channel), draw.choice(None, per_channel)
    momentum, eps = draw.choice(0.1, 0.5, 0.0, 1.0), draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    options = {"use_input_stats": own, "momentum": momentum, "eps": eps}
    return Form(((images, channels, *size), state, state, weight, bias), options)
