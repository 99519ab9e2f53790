"""Global pooling: the mean or the largest of all entries of a channel (Lin, Chen and Yan 2014; d2l 8.3).

ONNX's GlobalAveragePool and GlobalMaxPool: adaptive pooling with one window, of images with any number of axes of
space, which stay as axes of one entry. Letters: N images, C channels, P entries of one channel of an image.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.arrays import namespace, zeros
from d2lref.ops._pool import largest, max_laws, mean, shared
from d2lref.rounding import Pair, Precision, claim, copy_bound, multilinear_spread
from d2lref.spec import SUMS, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

SOURCE = "Lin, Chen and Yan 2014, Network in network, section 3.2"

# 1 Shape


def shape(name: str, x: Shape) -> tuple[Shape]:
    """Return ((N, C, 1, ..., 1),) for x (N, C, *size). Raises ValueError."""
    x = tuple(x)
    if len(x) < 3:
        raise ValueError(f"{name}: x {x} has {len(x)} axes, expected at least 3: images, channels, space")
    if 0 in x[2:]:
        raise ValueError(f"{name}: x {x} has an axis of space without entries, expected at least 1")
    return ((*x[:2], *(1,) * (len(x) - 2)),)


avg_shape, max_shape = partial(shape, "global_avg_pool"), partial(shape, "global_max_pool")


def _space(x: Array) -> Shape:
    return tuple(range(2, x.ndim))


def _entries(x: Array) -> int:
    return math.prod(x.shape[2:])


# 2 Definitions


def average(x: Array) -> Array:
    """y[n, c] = (sum over j of x[n, c, j]) / P.

    x (N, C, *size) to y (N, C, 1, ..., 1), of one dtype. Raises ValueError (see `shape`). Source: Lin, Chen and Yan
    2014, Network in network, section 3.2; ONNX's GlobalAveragePool.
    """
    avg_shape(x.shape)
    return _sum(x) / _entries(x)


def _sum(x: Array) -> Array:
    return namespace(x).sum(x, axis=_space(x), keepdims=True, dtype=x.dtype)


def maximum(x: Array) -> Array:
    """y[n, c] = max over j of x[n, c, j]; a NaN is the largest.

    x (N, C, *size) to y (N, C, 1, ..., 1), of one dtype. Raises ValueError (see `shape`). Source: Oquab, Bottou, Laptev
    and Sivic 2015, Is object localization for free?, section 3.1; ONNX's GlobalMaxPool.
    """
    max_shape(x.shape)
    return namespace(x).max(x, axis=_space(x), keepdims=True)


# 3 Other ways


def _mean_of_means(x: Array) -> Array:
    """Take the mean along one axis after the other."""
    xp = namespace(x)
    avg_shape(x.shape)
    return reduce(lambda a, axis: xp.sum(a, axis=axis, keepdims=True, dtype=a.dtype) / a.shape[axis], _space(x), x)


def _by_product(x: Array) -> Array:
    """Multiply all entries of a channel by a column of 1 / P."""
    xp, ((n, c, *ones),) = namespace(x), avg_shape(x.shape)
    column = zeros(x, (_entries(x), 1)) + 1 / _entries(x)
    return xp.reshape(xp.matmul(xp.reshape(x, (n, c, _entries(x))), column), (n, c, *ones))


def _by_axes(x: Array) -> Array:
    """Take the maximum along one axis after the other."""
    xp = namespace(x)
    max_shape(x.shape)
    return reduce(lambda a, axis: xp.max(a, axis=axis, keepdims=True), _space(x), x)


# 4 Derivatives


def average_vjp(gy: Array, x: Array) -> tuple[Array]:
    """gx[n, c, j] = gy[n, c] / P."""
    return (zeros(gy, x.shape) + gy / _entries(x),)


def maximum_vjp(gy: Array, x: Array) -> tuple[Array]:
    """gx = gy at the first entry of a channel that reaches its largest, 0 at the others: one subgradient of many.

    All NaN are largest.
    """
    flat = namespace(gy).reshape(gy, gy.shape[:2])
    return (namespace(gy).reshape(largest.to_the_first(_hits(x), flat), x.shape),)


def _hits(x: Array) -> Array:
    """Return which entries of a channel reach its largest, (N, C, P)."""
    return largest.hits(namespace(x).reshape(x, (*x.shape[:2], _entries(x))))


# 5 How wrong they may be


def _divisor(x: Array) -> Array:
    return np.full((1,) * x.ndim, float(_entries(x)))


def average_bound(y: Array, p: Precision, x: Array) -> Array:
    """`mean.bound`: K entries are not zero, S is the sum of their sizes over P; one division for every axis."""
    return mean.bound(2 * (x.ndim - 2), _sum, _divisor(x), y, p, x)


def average_vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array) -> tuple[Array]:
    """`mean.vjp_bound` of one term."""

    def back(a: Array) -> Array:
        return np.broadcast_to(a, (len(a), *x.shape[1:]))

    return (mean.vjp_bound(2 * (x.ndim - 2), back, _divisor(x), grads[0], p, gy),)


def average_spread(y: Array, p: Precision, x: Array) -> Array:
    """`multilinear_spread` of the sum, divided."""
    return multilinear_spread(_sum, (x,), y=y * _entries(x), p=p) / _entries(x)


def maximum_bound(y: Array, p: Precision, x: Array) -> Array:
    """0: a maximum is one of the entries, bit for bit (rounding.copy_bound)."""
    return copy_bound(y, p, x)


def maximum_vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array) -> tuple[Array]:
    """`largest.tie_bound`: every subgradient is right."""

    def back(parts: Array) -> Array:
        return np.reshape(parts, (len(parts), *x.shape[1:]))

    sent = np.reshape(gy, gy.shape[:2])
    return (largest.tie_bound(back, _hits(largest.flushed(x, p)), grads[0], p, sent),)


# 6 Cases and rejections


def cases(draw: Draw) -> Form:
    """Draw one to four axes of space; shrinks to one image of one channel with one entry."""
    n, channels, *size = draw.sizes(1, 1, *(1,) * draw.choice(1, 2, 3, 4))
    return Form(((0 if draw.integer(0, 31) == 31 else n, channels, *size),), {})


GALLERY = (Form(((2, 3, 7, 7),), {}), Form(((1, 2, 8),), {}), Form(((1, 2, 3, 4, 5),), {}))


def rejections(name: str) -> tuple[Rejection, ...]:
    """Return the ways in which a global pooling can be asked wrongly. Advisory: the mean of nothing is NaN in torch."""
    rank = f"{name}: x (2, 3) has 2 axes, expected at least 3: images, channels, space"
    empty = f"{name}: x (1, 2, 0) has an axis of space without entries, expected at least 1"
    return (
        Rejection("no axis of space", ((2, 3),), {}, rank, mandatory=False),
        Rejection("an image without entries", ((1, 2, 0),), {}, empty, mandatory="max" in name),
    )


# 7 Laws


def _whole(f: Any, case: Case) -> Claim:
    """y P = sum of x, for the first channel of the first image alone."""
    x = case.arrays[0][:1, :1]
    return claim(f(x) * float(_entries(x)), Pair.exact(x).sum(axis=_space(x), keepdims=True))


def _some_image(case: Case) -> bool:
    return case.arrays[0].shape[0] > 0


AVG_LAWS = (Law("the mean counts every entry once", _whole, when=_some_image), shared.ALONE)


def _with(case: Case, background: float, value: float) -> tuple[Array, Shape]:
    return shared.lone(case.arrays[0].shape[2:], case.seed, background, value)


def _peak_kept(f: Any, case: Case) -> Claim:
    """The answer to an image of -1 with one 2 is 2."""
    y = f(_with(case, -1.0, 2.0)[0])
    return claim(y, np.full(y.shape, 2.0))


def _nan_wins(f: Any, case: Case) -> Claim:
    """An image of 0 with one NaN answers NaN where the same image with a 2 instead answers 2."""
    nan, peak = (f(_with(case, 0.0, value)[0]) for value in (np.nan, 2.0))
    return claim(nan, np.where(peak.value == 2, np.nan, peak.value))


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent, channel by channel; exact."""
    (x,) = case.arrays
    gy = shared.signs(case, case.cotangents[0].shape)
    others = (0, *_space(x))
    return Claim(f.vjp(gy, x)[0].value.sum(axis=others), gy.sum(axis=others))


def _peak_collects(f: Any, case: Case) -> Claim:
    """The one 2 in an image of -1 gets all of gy, the others nothing."""
    image, at = _with(case, -1.0, 2.0)
    right = np.zeros(image.shape)
    right[(0, 0, *at)] = 3.0
    return claim(f.vjp(np.full((1,) * image.ndim, 3.0), image)[0], right)


MAX_LAWS = (
    Law("a lone peak is never lost", _peak_kept),
    shared.THRESHOLD,
    Law("a NaN wins wherever a peak would", _nan_wins),
    shared.ALONE,
    Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    Law("a lone peak collects the gradient", _peak_collects, vjp=True),
)

# 8 Mistakes

HUB = "https://github.com"
SHAPE, ADJOINT = "answers in the shape and dtype of the rule", "the vjp is the adjoint"
WHOLE, CHANNEL = (law.says for law in AVG_LAWS)
PEAK, THRESHOLD, NAN, _, ARRIVES, COLLECTS = (law.says for law in MAX_LAWS)
Way = Callable[..., Any] | None


def _made(says: str, cites: str, forward: Way, backward: Way, caught_by: str) -> Mistake:
    return Mistake(says, f"{HUB}/{cites}", forward, backward, (caught_by,))


def _paired(pool: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Take two channels at a time; one that is left over gets the answer of the one before it."""
    return lambda x: pool(shared.in_pairs(x))


def _paired_vjp(gy: Array, x: Array) -> tuple[Array]:
    return (shared.paired_back(average_vjp(gy, x)[0]),)


def _without_axes(pool: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda x: np.reshape(pool(x), x.shape[:2])


def _of_two_axes(pool: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Pool the first two axes of space, however many there are."""

    def forward(x: Array) -> Array:
        return pool(x) if x.ndim < 5 else np.stack([pool(part) for part in np.moveaxis(x, -1, 0)], axis=-1)

    return forward


def _summed_vjp(gy: Array, x: Array) -> tuple[Array]:
    return (average_vjp(gy * _entries(x), x)[0].astype(x.dtype),)


def _four_bits(pool: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Round the answer to four significant bits, fewer than any storage format has."""

    def forward(x: Array) -> Array:
        fraction, exponent = np.frexp(pool(x).astype(np.float64))
        return np.ldexp(np.rint(fraction * 16) / 16, exponent).astype(x.dtype)

    return forward


def _one_unseen(x: Array) -> Array:
    """Take entries two at a time, and forget the last of an odd number."""
    flat = x.reshape(*x.shape[:2], _entries(x))
    kept = max(_entries(x) // 2 * 2, 1)
    return np.reshape(flat[..., :kept].max(axis=-1), max_shape(x.shape)[0])


def _nan_loses(x: Array) -> Array:
    return maximum(np.where(np.isnan(x), np.asarray(-np.inf, x.dtype), x))


def _where_equal(gy: Array, x: Array) -> tuple[Array]:
    """Hand the whole gradient to every entry that equals the largest."""
    return (np.where(x == maximum(x), gy, np.zeros((), gy.dtype)),)


def _one_early(gy: Array, x: Array) -> tuple[Array]:
    """Begin with index -1, and keep it where the first entry is largest: it counts from the end."""
    flat, rows = maximum_vjp(gy, x)[0].reshape(*x.shape[:2], _entries(x)), _hits(x)[..., 0]
    return (np.where(rows[..., None], flat[..., ::-1], flat).reshape(x.shape),)


AVG_MISTAKES = (
    _made("the sum takes the place of the mean", "torch/nn/pull/178", _sum, _summed_vjp, WHOLE),
    _made("means pass through a narrower format", "huggingface/candle/pull/3719", _four_bits(average), None, WHOLE),
    _made(
        "channels are taken two at a time", "tenstorrent/tt-metal/issues/27738", _paired(average), _paired_vjp, CHANNEL
    ),
    _made("the axes of space are gone", "onnx/onnx/issues/1857", _without_axes(average), None, SHAPE),
    _made("two axes of space are pooled", "LossNAN/3D-Resnet-tensorflow/issues/3", _of_two_axes(average), None, SHAPE),
    _made("the gradient is not divided", "mlpack/mlpack/pull/2865", None, _summed_vjp, ADJOINT),
)
MAX_MISTAKES = (
    _made("the last of an odd number is never seen", "PaddlePaddle/Anakin/issues/210", _one_unseen, None, PEAK),
    _made(
        "the search starts from zero",
        "kendryte/nncase/pull/137",
        lambda x: np.maximum(maximum(x), np.zeros((), x.dtype)),
        None,
        THRESHOLD,
    ),
    _made("maxima pass through a narrower format", "chainer/chainer/pull/7922", _four_bits(maximum), None, THRESHOLD),
    _made("NaN loses every comparison", "pytorch/pytorch/issues/7645", _nan_loses, None, NAN),
    _made("channels are taken two at a time", "tenstorrent/tt-metal/issues/15731", _paired(maximum), None, CHANNEL),
    _made("the axes of space are gone", "onnx/onnx/issues/1857", _without_axes(maximum), None, SHAPE),
    _made("every tied entry gets the whole gradient", "apache/mxnet/issues/18563", None, _where_equal, ARRIVES),
    _made("the index is -1 where the first is largest", "uxlfoundation/oneDNN/pull/3866", None, _one_early, COLLECTS),
)

# 9 The ops

global_avg_pool = Op(
    name="global_avg_pool",
    operands=(Operand("x", linear=True, batch=True),),
    options={},
    shape=avg_shape,
    definition=average,
    variants={"means": Variant(_mean_of_means), "matmul": Variant(_by_product)},
    vjp=average_vjp,
    bound=average_bound,
    vjp_bound=average_vjp_bound,
    spread=average_spread,
    cases=cases,
    regimes=(*SUMS, "large_mean"),
    gallery=GALLERY,
    laws=AVG_LAWS,
    follows=("nan", "inf"),
    rejections=rejections("global_avg_pool"),
    mistakes=AVG_MISTAKES,
    source=SOURCE,
)

global_max_pool = Op(
    name="global_max_pool",
    operands=(Operand("x", batch=True),),
    options={},
    shape=max_shape,
    definition=maximum,
    variants={"axes": Variant(_by_axes)},
    vjp=maximum_vjp,
    bound=maximum_bound,
    vjp_bound=maximum_vjp_bound,
    cases=cases,
    regimes=max_laws.REGIMES,
    gallery=GALLERY,
    laws=MAX_LAWS,
    rejections=rejections("global_max_pool"),
    mistakes=MAX_MISTAKES,
    source="Oquab, Bottou, Laptev and Sivic 2015, Is object localization for free?, section 3.1",
)
