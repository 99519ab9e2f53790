"""channel_avg_pool: the mean of each group of consecutive channels: what maxout is for maxima.

Cross-channel pooling has these two forms here; that with learnt weights is a convolution whose window is one pixel
(Lin, Chen and Yan 2014, Network in network, section 3.1).
"""

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from typing import Any

import array_api_compat
import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._maxout import GALLERY, apart, cases, grouped, grouped_shape, pixel_alone, rejections
from d2lref.ops._pool import mean
from d2lref.rounding import Precision, claim, multilinear_spread
from d2lref.spec import REQUIRED, SUMS, Array, Case, Claim, Law, Mistake, Op, Operand, Variant

# 1 Shape

shape = partial(grouped_shape, "channel_avg_pool")

# 2 Definition


def definition(x: Array, *, pool_size: int) -> Array:
    """y[n, c, ...] = (sum over j of x[n, c k + j, ...]) / k, k = pool_size.

    x (N, C, *size) to y (N, C / k, *size), of one dtype, with any number of axes of space; k divides C. Raises
    ValueError (see `shape`). Source: Lin, Chen and Yan 2014, Network in network, section 3.1, with all weights alike.
    """
    xp, ((_, groups, *_),) = namespace(x), shape(x.shape, pool_size=pool_size)
    parts = (x[:, c * pool_size : (c + 1) * pool_size, ...] for c in range(groups))
    return xp.stack([xp.sum(part, axis=1, dtype=x.dtype) / pool_size for part in parts], axis=1)


# 3 Faster ways


def _by_groups(x: Array, *, pool_size: int) -> Array:
    """Sum along an axis of its own for the channels of a group."""
    shape(x.shape, pool_size=pool_size)
    return _sums(x, pool_size) / pool_size


def _sums(x: Array, pool_size: int) -> Array:
    return namespace(x).sum(grouped(x, pool_size), axis=-1, dtype=x.dtype)


def _by_channels(x: Array, *, pool_size: int) -> Array:
    """Add channels 0, k, 2 k, ... and 1, k + 1, ..., then that and the next; divide."""
    shape(x.shape, pool_size=pool_size)
    return reduce(add, (x[:, j::pool_size, ...] for j in range(pool_size))) / pool_size


def _by_product(x: Array, *, pool_size: int) -> Array:
    """Multiply by a matrix (C / k, C) with 1 / k where the group of the row has the channel: a 1 x 1 convolution."""
    xp, ((_, groups, *_),) = namespace(x), shape(x.shape, pool_size=pool_size)
    weights = xp.asarray(_weights(groups, pool_size), dtype=x.dtype, device=array_api_compat.device(x))
    return xp.moveaxis(xp.tensordot(x, weights, axes=((1,), (1,))), -1, 1)


def _weights(groups: int, pool_size: int) -> np.ndarray:
    return np.repeat(np.eye(groups) / pool_size, pool_size, axis=1)


# 4 Derivative


def vjp(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """gx[n, c, ...] = gy[n, floor(c / k), ...] / k."""
    shape(x.shape, pool_size=pool_size)
    return (_back(gy / pool_size, pool_size),)


def _back(a: Array, pool_size: int) -> Array:
    """Return the adjoint of `_sums`."""
    xp = namespace(a)
    return apart(xp.broadcast_to(xp.expand_dims(a, axis=-1), (*a.shape, pool_size)))


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, *, pool_size: int) -> Array:
    """`_pool.mean.bound`: K channels of a group are not zero, S is the sum of their sizes over k."""
    return mean.bound(2, partial(_sums, pool_size=pool_size), _divisor(x, pool_size), y, p, x)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """`_pool.mean.vjp_bound` of one term."""
    return (mean.vjp_bound(2, partial(_back, pool_size=pool_size), _divisor(x, pool_size), grads[0], p, gy),)


def _divisor(x: Array, pool_size: int) -> Array:
    return np.full((1,) * x.ndim, float(pool_size))


def spread(y: Array, p: Precision, x: Array, *, pool_size: int) -> Array:
    """`multilinear_spread` of the sum, divided."""
    return multilinear_spread(partial(_sums, pool_size=pool_size), (x,), y=y * pool_size, p=p) / pool_size


# 6 Laws; cases and rejections are those of maxout


def _lone(f: Any, case: Case) -> Claim:
    """One pixel whose channels are 0 but for one of k answers 1 in the group of that, and 0 in the others."""
    k, channels = case.options["pool_size"], case.arrays[0].shape[1]
    at, ones = case.seed % channels, (1,) * (case.arrays[0].ndim - 2)
    pixel = np.zeros((1, channels, *ones))
    pixel[:, at] = k
    return claim(f(pixel, **case.options), np.reshape(np.arange(channels // k) == at // k, (1, -1, *ones)))


LAWS = (
    Law("a lone channel is shared by its group", _lone),
    Law("a pixel is taken alone", pixel_alone, lambda case: case.arrays[0].ndim > 2),
)

# 7 Mistakes
# A wrong answer comes with the gradient of the wrong map, so that forward and backward agree with each other.


def _linear(weigh: Callable[[int, int], np.ndarray]) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of the product with another matrix: weigh(C, k), (C / k, C)."""

    def forward(x: Array, *, pool_size: int) -> Array:
        weights = weigh(x.shape[1], pool_size)
        return np.moveaxis(np.tensordot(x, weights, (1, 1)), -1, 1).astype(x.dtype)

    def backward(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
        weights = weigh(x.shape[1], pool_size)
        return (np.moveaxis(np.tensordot(gy, weights, (1, 0)), -1, 1).astype(x.dtype),)

    return forward, backward


def _interleaved(channels: int, k: int) -> np.ndarray:
    """Group channels c, c + C / k, c + 2 C / k, ..."""
    return np.tile(np.eye(channels // k) / k, k)


def _summed(channels: int, k: int) -> np.ndarray:
    return _weights(channels // k, k) * k


def _pairs_only(channels: int, k: int) -> np.ndarray:
    """Add two channels at a time, and forget the last of an odd number."""
    return _weights(channels // k, k) * (np.arange(channels) % k < max(k // 2 * 2, 1))


def _columns(x: Array) -> Array:
    """Return x as one reads it who takes two columns at a time: one that is left over is the one before it."""
    n = x.shape[-1]
    return x[..., [*range(n - 1), n - 2]] if x.ndim > 2 and n % 2 and n > 1 else x


def _in_pairs(x: Array, *, pool_size: int) -> Array:
    return _by_channels(_columns(x), pool_size=pool_size)


def _in_pairs_vjp(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    gx = np.array(vjp(gy, x, pool_size=pool_size)[0])
    if _columns(x) is not x:
        gx[..., -2] += gx[..., -1]
        gx[..., -1] = 0
    return (gx,)


def _undivided(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    return (_linear(_summed)[1](gy, x, pool_size=pool_size)[0],)


def _mistake(says: str, cites: str, forward: Any, backward: Any, caught_by: str) -> Mistake:
    return Mistake(says, f"https://github.com/{cites}", forward, backward, (caught_by,))


LONE, PIXEL = (law.says for law in LAWS)
MISTAKES = (
    _mistake("channels that lie apart are grouped", "keras-team/keras/pull/671", *_linear(_interleaved), LONE),
    _mistake("the sum takes the place of the mean", "torch/nn/pull/178", *_linear(_summed), LONE),
    _mistake("the last of an odd group is never seen", "PaddlePaddle/Anakin/issues/210", *_linear(_pairs_only), LONE),
    _mistake("columns are taken two at a time", "tenstorrent/tt-metal/issues/15731", _in_pairs, _in_pairs_vjp, PIXEL),
    _mistake("the gradient is not divided", "mlpack/mlpack/pull/2865", None, _undivided, "the vjp is the adjoint"),
)

# 8 The op

channel_avg_pool = Op(
    name="channel_avg_pool",
    operands=(Operand("x", linear=True, batch=True),),
    options={"pool_size": REQUIRED},
    shape=shape,
    definition=definition,
    variants={
        "groups": Variant(_by_groups),
        "channels": Variant(_by_channels),
        "product": Variant(_by_product, finite=True),
    },
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    spread=spread,
    cases=cases,
    regimes=(*SUMS, "large_mean"),
    gallery=GALLERY,
    laws=LAWS,
    follows=("nan", "inf"),
    rejections=rejections("channel_avg_pool"),
    mistakes=MISTAKES,
    source="Lin, Chen and Yan 2014, Network in network, section 3.1",
)
