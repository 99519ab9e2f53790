"""maxout: the largest of each group of consecutive channels (Goodfellow et al. 2013): cross-channel max pooling."""

from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.ops._pool import largest, shared
from d2lref.rounding import Precision, claim, copy_bound
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def grouped_shape(name: str, x: Shape, *, pool_size: int) -> tuple[Shape]:
    """Return ((N, C / pool_size, *size),) for x (N, C, *size) and the op of that name. Raises ValueError."""
    x = tuple(x)
    if not isinstance(pool_size, int | np.integer) or pool_size < 1:
        raise ValueError(f"{name}: pool_size={pool_size!r}, expected an integer >= 1")
    if len(x) < 2:
        raise ValueError(f"{name}: x {x} has {len(x)} axes, expected at least 2: images, channels")
    if x[1] % pool_size:
        raise ValueError(f"{name}: x {x} has {x[1]} channels, expected a multiple of pool_size={pool_size}")
    return ((x[0], x[1] // int(pool_size), *x[2:]),)


shape = partial(grouped_shape, "maxout")


# 2 Definition


def definition(x: Array, *, pool_size: int) -> Array:
    """y[n, c, ...] = max over j of x[n, c k + j, ...], k = pool_size.

    x (N, C, *size) to y (N, C / k, *size), of one dtype, with any number of axes of space; k divides C. A NaN in a
    group is its largest. Nothing is computed. Raises ValueError (see `shape`). Source: Goodfellow, Warde-Farley, Mirza,
    Courville and Bengio 2013, Maxout networks, section 3.
    """
    xp, ((_, groups, *_),) = namespace(x), shape(x.shape, pool_size=pool_size)
    tops = [xp.max(x[:, c * pool_size : (c + 1) * pool_size, ...], axis=1) for c in range(groups)]
    return xp.stack(tops, axis=1)


# 3 Faster ways


def grouped(x: Array, pool_size: int) -> Array:
    """Return x as (N, C / k, *size, k): the channels that compete along the last axis."""
    xp, ((n, groups, *size),) = namespace(x), shape(x.shape, pool_size=pool_size)
    apart = xp.reshape(x, (n, groups, pool_size, *size))
    return xp.permute_dims(apart, (0, 1, *range(3, apart.ndim), 2))


def _by_groups(x: Array, *, pool_size: int) -> Array:
    """y = the largest along an axis of its own for the channels of a group."""
    return namespace(x).max(grouped(x, pool_size), axis=-1)


def _by_channels(x: Array, *, pool_size: int) -> Array:
    """y = the larger of channels 0, k, 2 k, ... and 1, k + 1, ..., then of that and the next, entry by entry."""
    xp = namespace(x)
    shape(x.shape, pool_size=pool_size)
    first, *others = (x[:, j::pool_size, ...] for j in range(pool_size))
    return reduce(xp.maximum, others, xp.asarray(first, copy=True))


# 4 Derivative


def vjp(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """gx = gy at the first channel of a group that reaches its largest, 0 at the others: one subgradient of many.

    Returns (gx,) in the shape of x. All NaN are largest.
    """
    parts = largest.to_the_first(largest.hits(grouped(x, pool_size)), gy)
    return (apart(parts),)


def apart(parts: Array) -> Array:
    """Return the adjoint of `grouped`: (N, C / k, *size, k) to (N, C, *size)."""
    xp, (n, groups, *size, k) = namespace(parts), parts.shape
    together = xp.permute_dims(parts, (0, 1, parts.ndim - 1, *range(2, parts.ndim - 1)))
    return xp.reshape(together, (n, groups * k, *size))


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, *, pool_size: int) -> Array:
    """0: a maximum is one of the entries, bit for bit (rounding.copy_bound)."""
    del pool_size
    return copy_bound(y, p, x)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """|gy| where another channel of the group is as large, else 0: every subgradient is right (`largest.tie_bound`)."""
    hit = largest.hits(grouped(largest.flushed(x, p), pool_size))
    return (largest.tie_bound(apart, hit, grads[0], p, gy),)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw none to three axes of space, and groups of one to six channels; shrinks to one group of one channel."""
    k = draw.choice(1, 2, 3, 4, 5, 6)
    n, groups, *size = draw.sizes(*(1,) * (2 + draw.choice(0, 1, 2, 3)))
    n = 0 if draw.integer(0, 31) == 31 else n
    return Form(((n, groups * k, *size),), {"pool_size": k})


GALLERY = (Form(((2, 10),), {"pool_size": 5}), Form(((2, 6, 5, 4),), {"pool_size": 2}))

# 7 Laws
# One pixel of one image, where a law speaks about channels: pixels have their own law.


def _equal(f: Any, case: Case) -> Claim:
    """f(each channel k times) = the channels."""
    k, groups = case.options["pool_size"], case.arrays[0].shape[1] // case.options["pool_size"]
    labels = np.random.default_rng(case.seed).integers(-3, 4, _pixel(case, groups)).astype(np.float64)
    return claim(f(np.repeat(labels, k, axis=1), **case.options), labels)


def _pixel(case: Case, channels: int) -> Shape:
    return (1, channels, *(1,) * (case.arrays[0].ndim - 2))


def _peak_kept(f: Any, case: Case) -> Claim:
    """The largest answer is 2 for channels of -1 but for one of 2."""
    channels = case.arrays[0].shape[1]
    image = np.full(_pixel(case, channels), -1.0)
    image[:, case.seed % channels] = 2.0
    return claim(f(image, **case.options).map(lambda a: np.asarray(a.max())), np.asarray(2.0))


def _nan_wins(f: Any, case: Case) -> Claim:
    """Channels of 0 with one NaN have NaN where the same channels with a 2 instead have 2, and 0 elsewhere."""
    channels, answers = case.arrays[0].shape[1], []
    for value in (np.nan, 2.0):
        image = np.zeros(_pixel(case, channels))
        image[:, case.seed % channels] = value
        answers.append(f(image, **case.options))
    nan, two = answers
    return claim(nan, np.where(two.value == 2, np.nan, two.value))


def pixel_alone(f: Any, case: Case) -> Claim:
    """f(x)[..., i] = f(x[..., i]) along an axis of space."""
    x = case.arrays[0][:1]
    axis = 2 + case.seed % (x.ndim - 2)
    place = [case.seed % x.shape[axis]]
    return claim(
        f(x, **case.options).map(partial(np.take, indices=place, axis=axis)),
        f(np.take(x, place, axis=axis), **case.options),
    )


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent; exact."""
    (x,), k = case.arrays, case.options["pool_size"]
    gy = shared.signs(case, (x.shape[0], x.shape[1] // k, *x.shape[2:]))
    gx = f.vjp(gy, x, **case.options)[0].value
    return Claim(gx.sum(), gy.sum())


def _peak_collects(f: Any, case: Case) -> Claim:
    """The channel that alone is largest gets all of gy."""
    channels, k = case.arrays[0].shape[1], case.options["pool_size"]
    at = case.seed % channels
    image = -1.0 - np.arange(channels).reshape(_pixel(case, channels)) % k  # none tied with another of its group
    image[:, at] = 2.0
    gy = 1.0 + np.arange(channels // k).reshape(_pixel(case, channels // k)) % 5
    return claim(f.vjp(gy, image, **case.options)[0][:, at], gy[:, at // k])


LAWS = (
    Law("equal channels answer with their value", _equal),
    Law("a lone peak is never lost", _peak_kept),
    shared.THRESHOLD,
    Law("a NaN wins wherever a peak would", _nan_wins),
    Law("a pixel is taken alone", pixel_alone, lambda case: case.arrays[0].ndim > 2),
    Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    Law("a lone peak collects the gradient of its group", _peak_collects, vjp=True),
)

# 8 Rejections


def rejections(name: str) -> tuple[Rejection, ...]:
    """Return the ways in which a pooling over groups of channels can be asked wrongly."""

    def refused(says: str, x: Shape, pool_size: Any, told: str) -> Rejection:
        return Rejection(says, (x,), {"pool_size": pool_size}, f"{name}: {told}")

    return (
        refused("no channels", (4,), 2, "x (4,) has 1 axes, expected at least 2: images, channels"),
        refused("a group cut short", (2, 5, 3), 2, "x (2, 5, 3) has 5 channels, expected a multiple of pool_size=2"),
        refused("a group larger than all", (2, 3), 6, "x (2, 3) has 3 channels, expected a multiple of pool_size=6"),
        refused("an empty group", (2, 4), 0, "pool_size=0, expected an integer >= 1"),
        refused("a negative group", (2, 4), -2, "pool_size=-2, expected an integer >= 1"),
        refused("half a channel", (2, 4), 1.5, "pool_size=1.5, expected an integer >= 1"),
    )


# 9 Mistakes


def _interleaved(x: Array, *, pool_size: int) -> Array:
    """Group channels c, c + C / k, c + 2 C / k, ..."""
    n, c, *size = x.shape
    return np.reshape(x, (n, pool_size, c // pool_size, *size)).max(axis=1)


def _pairs_only(x: Array, *, pool_size: int) -> Array:
    """Compare two channels at a time, and forget the last of an odd number."""
    kept = max(pool_size // 2 * 2, 1)
    return np.moveaxis(grouped(x, pool_size), -1, 2)[:, :, :kept].max(axis=2)


def _four_bits(x: Array, *, pool_size: int) -> Array:
    """Round the answer to four significant bits, fewer than any storage format has."""
    fraction, exponent = np.frexp(_by_channels(x, pool_size=pool_size).astype(np.float64))
    return np.ldexp(np.rint(fraction * 16) / 16, exponent).astype(x.dtype)


def _nan_loses(x: Array, *, pool_size: int) -> Array:
    return _by_channels(np.where(np.isnan(x), np.asarray(-np.inf, x.dtype), x), pool_size=pool_size)


def _pixels_in_pairs(x: Array, *, pool_size: int) -> Array:
    """Take two columns at a time; one that is left over gets the answer of the one before it."""
    y, columns = _by_channels(x, pool_size=pool_size), x.shape[-1]
    if x.ndim < 3 or columns % 2 == 0 or columns == 1:
        return y
    return np.concatenate([y[..., :-1], y[..., -2:-1]], axis=-1)


def _where_equal(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """Hand the whole gradient to every channel that equals the largest; NaN equals nothing."""
    seen = grouped(x, pool_size)
    return (apart(np.where(seen == seen.max(axis=-1, keepdims=True), gy[..., None], np.zeros((), gy.dtype))),)


def _to_channelsapart(gy: Array, x: Array, *, pool_size: int) -> tuple[Array]:
    """Hand the gradient to the largest of channels c, c + C / k, c + 2 C / k, ..."""
    order = np.arange(x.shape[1]).reshape(pool_size, -1).T.ravel()
    gx = np.empty_like(x)
    gx[:, order] = vjp(gy, x[:, order], pool_size=pool_size)[0]
    return (gx,)


def _mistake(says: str, cites: str, forward: Callable[..., Array], caught_by: str) -> Mistake:
    return Mistake(says, f"https://github.com/{cites}", forward, None, (caught_by,))


EQUAL, PEAK, THRESHOLD, NAN, PIXEL, ARRIVES, COLLECTS = (law.says for law in LAWS)
MISTAKES = (
    _mistake("channels that lie apart are grouped", "keras-team/keras/pull/671", _interleaved, EQUAL),
    _mistake("the last of an odd group is never seen", "PaddlePaddle/Anakin/issues/210", _pairs_only, PEAK),
    _mistake("maxima pass through a narrower format", "chainer/chainer/pull/7922", _four_bits, THRESHOLD),
    _mistake("NaN loses every comparison", "pytorch/pytorch/issues/7645", _nan_loses, NAN),
    _mistake("columns are taken two at a time", "tenstorrent/tt-metal/issues/15731", _pixels_in_pairs, PIXEL),
    Mistake(
        "the gradient goes wherever a channel equals the largest",
        "https://github.com/apache/mxnet/issues/18563",
        vjp=_where_equal,
        caught_by=(ARRIVES,),
    ),
    Mistake(
        "the gradient goes to groups of channels that lie apart",
        "https://github.com/HIPS/autograd/pull/245",
        vjp=_to_channelsapart,
        caught_by=(COLLECTS,),
    ),
)

# 10 The op

maxout = Op(
    name="maxout",
    operands=(Operand("x", batch=True),),
    options={"pool_size": REQUIRED},
    shape=shape,
    definition=definition,
    variants={"groups": Variant(_by_groups), "channels": Variant(_by_channels)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=("lattice_small", "normal", "ties", "nonfinite", "signed_zero", "wide_range", "subnormal", "large_mean"),
    gallery=GALLERY,
    laws=LAWS,
    rejections=rejections("maxout"),
    mistakes=MISTAKES,
    source="Goodfellow, Warde-Farley, Mirza, Courville and Bengio 2013, Maxout networks, section 3",
)
