"""Batch normalisation: plausible wrong implementations, each with the report it models."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from d2lref.ops._batch_norm.definition import beside, blend, check, count, definition, five, two_pass, vjp
from d2lref.spec import Array, Mistake

Forward = Callable[..., tuple[Any, ...]]

# 1 How mistakes are made


def _contiguous(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the five arrays in C order: what rounds by the order of memory is not the mistake that is meant."""
    return tuple(None if a is None else np.ascontiguousarray(a) for a in five(arrays))


def _planted(
    *,
    moments: Callable[..., tuple[Any, ...]] = lambda x, state, momentum: two_pass(x),
    root: Callable[..., Array] = lambda v, eps, n: np.sqrt(v + eps),
    inference_root: Callable[..., Array] | None = None,
    state: Callable[..., tuple[Any, ...]] = blend,
    affine: Callable[..., Array] = lambda hat, w, b: hat * w + b,
) -> Forward:
    """Return batch normalisation with a step replaced; each keyword is a step of `definition`, right by default.

    `root` is what divides, in inference as well unless there is an `inference_root`.
    """

    def forward(*given: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
        x, mean, var, weight, bias = arrays = _contiguous(given)
        check(arrays, {"training": training, "momentum": momentum, "eps": eps})
        n, divide, new = count(x.shape), root if training else inference_root or root, (mean, var)
        if training:
            (mean, var), new = moments(x, new, momentum), state(new, two_pass(x), momentum, n)
        hat = (x - beside(mean, x)) / beside(divide(var, eps, n), x)
        w = np.ones_like(mean) if weight is None else weight
        b = np.zeros_like(mean) if bias is None else bias
        return (affine(hat, beside(w, x), beside(b, x)), *(None if a is None else a.copy() for a in new))

    return forward


def _altered(alter: Callable[..., Array]) -> Forward:
    """Return batch normalisation with its answer y altered: alter(y, arrays, options)."""

    def forward(*given: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
        options: dict[str, Any] = {"training": training, "momentum": momentum, "eps": eps}
        y, *state = definition(*_contiguous(given), **options)
        return (alter(y, _contiguous(given), options), *state)

    return forward


class _Past(NamedTuple):
    """What a layer keeps from one batch to the next: what it began with, the batch's statistics, and its answer."""

    began: tuple[Array, ...]
    batch: tuple[Array, ...]
    answered: tuple[Array, ...]


def _layer(
    *,
    old: Callable[[_Past], tuple[Array, ...]] = lambda past: past.answered,
    batch: Callable[[_Past, Array], tuple[Array, ...]] = lambda past, x: two_pass(x),
    inference: Callable[[_Past], tuple[Array, ...]] = lambda past: past.answered,
) -> Forward:
    """Return batch normalisation as a layer: handed the statistics that it answered last, it goes on from its past.

    old and batch are what it blends then, and inference is what it normalises with; each is right by default. Handed
    other statistics it begins anew, and is right.
    """
    kept: list[_Past] = []

    def forward(*given: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
        options: dict[str, Any] = {"training": training, "momentum": momentum, "eps": eps}
        x, mean, var, weight, bias = arrays = _contiguous(given)
        y, *new = definition(*arrays, **options)
        past = kept[0] if kept and all(map(_equal, kept[0].answered, (mean, var))) else None
        if past and training:
            new = list(blend(old(past), batch(past, x), momentum, count(x.shape)))
        elif past:
            used_mean, used_var = inference(past)
            y = definition(x, used_mean, used_var, weight, bias, **options)[0]
        if training and mean is not None:
            began = past.began if past else (mean, var)
            kept[:] = [_Past(began, two_pass(x), tuple(a.copy() for a in new))]
        return (y, *new)

    return forward


def _equal(a: Array, b: Array | None) -> bool:
    """Return whether both are there and the same."""
    return b is not None and np.array_equal(a, b)


class _Seen(NamedTuple):
    """What a vjp is given."""

    gy: Array
    arrays: tuple[Any, ...]
    options: dict[str, Any]

    @property
    def training(self) -> bool:
        """Return whether the batch's own statistics are used."""
        return bool(self.options["training"])

    @property
    def n(self) -> int:
        """Return how many values a channel has."""
        return count(self.gy.shape)

    def vjp(self, *arrays: Any, **options: Any) -> tuple[Any, ...]:
        """Return the right gradients, for other arrays and options where given."""
        return vjp((self.gy, None, None), *(arrays or self.arrays), **{**self.options, **options})

    def slope(self) -> Array:
        """w r of the batch."""
        x, *_, weight, _ = self.arrays
        root = np.sqrt(two_pass(x)[1] + self.options["eps"])
        return beside(1.0 / root if weight is None else weight / root, x)

    def middle(self) -> Array:
        """mean of gy in each channel."""
        return np.mean(self.gy, axis=_axes(self.gy), keepdims=True)


def _changed(
    *,
    dx: Callable[[Array, _Seen], Array] = lambda dx, seen: dx,
    dw: Callable[[Array, _Seen], Array] = lambda dw, seen: dw,
    db: Callable[[Array, _Seen], Array] = lambda db, seen: db,
) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with gradients changed: each keyword takes the right gradient and what the vjp was given."""

    def wrong(gy: tuple[Any, ...], *arrays: Any, **options: Any) -> tuple[Any, ...]:
        seen = _Seen(gy[0], five(arrays), {"training": False, "momentum": 0.1, "eps": 1e-5, **options})
        right = seen.vjp()
        new_dw = None if right[3] is None else dw(right[3], seen)
        new_db = None if right[4] is None else db(right[4], seen)
        return (dx(right[0], seen), None, None, new_dw, new_db)

    return wrong


def _axes(x: Array) -> tuple[int, ...]:
    """Return the axes of images and pixels."""
    return (0, *range(2, x.ndim))


# 2 Wrong statistics


def _cancelling(x: Array) -> tuple[Array, Array]:
    """E[x^2] - E[x]^2, kept from going below zero."""
    mean = np.mean(x, axis=_axes(x))
    return mean, np.maximum(np.mean(x * x, axis=_axes(x)) - mean * mean, np.zeros_like(mean))


def _of_the_whole_input(x: Array) -> tuple[Array, Array]:
    """Return one mean and one variance for all channels."""
    mean, var = two_pass(np.reshape(x, (-1, 1)))
    return np.repeat(mean, x.shape[1]), np.repeat(var, x.shape[1])


def _already_updated(x: Array, state: tuple[Any, ...], momentum: float) -> tuple[Any, ...]:
    """Return the new running statistics where there are any, else those of the batch."""
    batch = two_pass(x)
    return batch if state[0] is None else blend(state, batch, momentum, count(x.shape))


def _around_the_new_mean(old: tuple[Any, ...], batch: tuple[Array, Array], momentum: float, n: int) -> tuple[Any, ...]:
    """Return the new running statistics, with the batch's variance taken around the new running mean."""
    mean, var = blend(old, batch, momentum, n)
    if mean is None:
        return mean, var
    away = batch[0] - mean
    return mean, var + away * away * (momentum * n / (n - 1))


def _twice(old: tuple[Any, ...], batch: tuple[Array, Array], momentum: float, n: int) -> tuple[Any, ...]:
    """Return the running statistics with the batch blended in twice."""
    return blend(blend(old, batch, momentum, n), batch, momentum, n)


# 3 Wrong answers


def _instance(y: Array, arrays: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Return every image normalised with statistics of its own, where it has pixels enough for them."""
    x, *others = arrays
    if not options["training"] or count((1, *x.shape[1:])) < 2:
        return y
    return np.concatenate([definition(x[i : i + 1], *others, **options)[0] for i in range(x.shape[0])])


def _reordered(y: Array, arrays: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Return the pixels of each channel read pixel by pixel over the images and written image by image."""
    del arrays
    if not options["training"]:
        return y
    turned = np.reshape(np.moveaxis(y, 0, -1), (y.shape[1], y.shape[0], *y.shape[2:]))
    return np.array(np.moveaxis(turned, 1, 0), order="C")


def _batch_in_inference(y: Array, arrays: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Return the answer of training."""
    if count(y.shape) < 2:
        return y
    return definition(*arrays, **{**options, "training": True})[0]


def _updated_in_inference(
    *arrays: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5
) -> tuple[Any, ...]:
    y, *state = definition(*arrays, training=training, momentum=momentum, eps=eps)
    if count(y.shape) > 1:
        _, *state = definition(*_contiguous(arrays), training=True, momentum=momentum, eps=eps)
    return (y, *state)


def _larger_eps(*arrays: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-3) -> tuple[Any, ...]:
    return definition(*arrays, training=training, momentum=momentum, eps=eps)


# 4 Wrong gradients


def _outside(seen: _Seen) -> tuple[Any, ...]:
    """Return the gradients of a division by sqrt(v) + eps in inference."""
    if seen.training:
        return seen.vjp()
    x, mean, var, *affine = seen.arrays
    root = np.sqrt(var) + seen.options["eps"]
    return seen.vjp(x, mean, root * root, *affine, eps=0.0)


def _weightless(dx: Array, seen: _Seen) -> Array:
    """Return dx without the weight in training."""
    return seen.vjp(*seen.arrays[:3])[0] if seen.training else dx


def _of_training(place: int) -> Callable[[Array, _Seen], Array]:
    """Return the gradient of training, also in inference."""
    return lambda right, seen: right if seen.n < 2 else seen.vjp(training=True)[place]


def _multiplied(dw: Array, seen: _Seen) -> Array:
    """Return dw multiplied by sqrt(v + eps) where it should be divided."""
    x, _, var, *_ = seen.arrays
    used = two_pass(x)[1] if seen.training else var
    return dw * (used + seen.options["eps"])


# 5 The list

_VARIANCE = "training makes weight² v / (v + eps) the variance of a channel"
_HALVES = "a standard deviation of 2 halves the distance to the running mean"
_SEQUENCE = "momentum p leaves batch i of k a share of p (1 - p)^(k - i)"
_ADDS = "the gradient of x adds up to nothing in a channel"
_ORTHOGONAL = "the gradient of x is orthogonal to x up to eps"
_SCALE = "the gradients of x and of the weight have one scale"
_NORMALISED = "the gradient of the weight in inference multiplies what was normalised"

MISTAKES = (
    Mistake(
        "adds the bias before it multiplies by the weight",
        "https://github.com/apple/coremltools/issues/1639",
        _planted(affine=lambda hat, w, b: (hat + b) * w),
        caught_by=("training makes the bias the mean of a channel",),
    ),
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/pytorch/pytorch/issues/60528",
        _planted(
            root=lambda v, eps, n: np.sqrt(v * (n / (n - 1)) + eps), inference_root=lambda v, eps, n: np.sqrt(v + eps)
        ),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds eps outside the root",
        "https://github.com/Tencent/ncnn/pull/311",
        _planted(root=lambda v, eps, n: np.sqrt(v) + eps),
        caught_by=(_VARIANCE, _HALVES),
    ),
    Mistake(
        "adds the square of eps",
        "Ioffe and Szegedy 2015, algorithm 1: eps stands beside the variance, a square, and is none itself",
        _planted(root=lambda v, eps, n: np.sqrt(v + eps * eps)),
        caught_by=(_VARIANCE, _HALVES),
    ),
    Mistake(
        "squares where it should take the root",
        "https://github.com/jax-ml/jax/issues/442",
        _planted(root=lambda v, eps, n: (v + eps) * (v + eps)),
        caught_by=(_VARIANCE, _HALVES),
    ),
    Mistake(
        "takes the larger of variance and eps",
        "https://github.com/vacancy/Synchronized-BatchNorm-PyTorch/issues/43",
        _planted(root=lambda v, eps, n: np.sqrt(np.maximum(v, np.full_like(v, eps)))),
        caught_by=(_VARIANCE, _HALVES),
    ),
    Mistake(
        "computes the variance as mean of squares less square of mean",
        "https://github.com/tenstorrent/tt-metal/issues/45968",
        _planted(moments=lambda x, state, momentum: _cancelling(x)),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "normalises a training batch with running statistics that it has just updated",
        "https://github.com/tenstorrent/tt-metal/pull/45578",
        _planted(moments=_already_updated),
        caught_by=("training does not read the running statistics",),
    ),
    Mistake(
        "takes the statistics of the whole input, not of a channel",
        "https://github.com/tensorlayer/TensorLayer/issues/1103",
        _planted(moments=lambda x, state, momentum: _of_the_whole_input(x)),
        caught_by=("a channel does not see the others",),
    ),
    Mistake(
        "gives every image its own statistics",
        "https://github.com/onnx/onnx/pull/2669",
        _altered(_instance),
        caught_by=("a pixel counts as an image",),
    ),
    Mistake(
        "reshapes where it should transpose",
        "https://github.com/tensorflow/tfjs/pull/6369",
        _altered(_reordered),
        caught_by=("a pixel counts as an image",),
    ),
    Mistake(
        "keeps a biased running variance",
        "https://github.com/tenstorrent/tt-metal/issues/55438",
        _planted(state=lambda old, batch, momentum, n: blend(old, (batch[0], batch[1] * ((n - 1) / n)), momentum, n)),
        caught_by=(_SEQUENCE,),
    ),
    Mistake(
        "scales the running mean by n / (n - 1) as well",
        "https://github.com/chainer/chainer/issues/332",
        _planted(state=lambda old, batch, momentum, n: blend(old, (batch[0] * (n / (n - 1)), batch[1]), momentum, n)),
        caught_by=(_SEQUENCE,),
    ),
    Mistake(
        "takes momentum for the share of the old statistics",
        "https://github.com/Oneflow-Inc/oneflow/pull/6055",
        _planted(state=lambda old, batch, momentum, n: blend(old, batch, 1.0 - momentum, n)),
        caught_by=(_SEQUENCE,),
    ),
    Mistake(
        "blends every batch in twice",
        "https://github.com/pytorch/pytorch/issues/96136",
        _planted(state=_twice),
        caught_by=(_SEQUENCE,),
    ),
    Mistake(
        "takes the running variance around the new running mean",
        "https://github.com/speechbrain/speechbrain/pull/2835",
        _planted(state=_around_the_new_mean),
        caught_by=(_SEQUENCE,),
    ),
    Mistake(
        "loses the statistics that a batch left, and begins with the first again",
        "https://github.com/pytorch/pytorch/issues/1051",
        _layer(old=lambda past: past.began),
        caught_by=(_SEQUENCE,),
        lasting=True,
    ),
    Mistake(
        "blends in the statistics of the batch before",
        "https://github.com/tensorflow/tensorflow/pull/12987",
        _layer(batch=lambda past, x: past.batch),
        caught_by=(_SEQUENCE,),
        lasting=True,
    ),
    Mistake(
        "normalises in inference with the statistics that training began with",
        "https://github.com/paiml/aprender/pull/2166",
        _layer(inference=lambda past: past.began),
        caught_by=("inference after training uses the statistics that training left",),
        lasting=True,
    ),
    Mistake(
        "divides by sqrt(variance) + eps in inference",
        "https://github.com/Tencent/ncnn/pull/311",
        _planted(inference_root=lambda v, eps, n: np.sqrt(v) + eps),
        _changed(dx=lambda dx, seen: _outside(seen)[0], dw=lambda dw, seen: _outside(seen)[3]),
        caught_by=(_HALVES,),
    ),
    Mistake(
        "normalises with the batch in inference",
        "https://github.com/anitan0925/vaegan/issues/1",
        _altered(_batch_in_inference),
        caught_by=(_HALVES,),
    ),
    Mistake(
        "updates the running statistics in inference",
        "https://github.com/mf1024/Batch-Renormalization-PyTorch/issues/1",
        _updated_in_inference,
        caught_by=("inference keeps the running statistics",),
    ),
    Mistake(
        "has 1e-3 for the default of eps, as Keras does",
        "https://github.com/qqwweee/keras-yolo3/issues/451",
        _larger_eps,
        caught_by=("an option left out means its default",),
    ),
    Mistake(
        "takes mean and variance for constants in the gradient",
        "https://github.com/facebookresearch/CrypTen/pull/143",
        vjp=_changed(dx=lambda dx, seen: seen.gy * seen.slope() if seen.training else dx),
        caught_by=(_ADDS, _ORTHOGONAL),
    ),
    Mistake(
        "takes the mean for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_changed(dx=lambda dx, seen: dx + seen.middle() * seen.slope() if seen.training else dx),
        caught_by=(_ADDS,),
    ),
    Mistake(
        "takes the variance for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_changed(dx=lambda dx, seen: (seen.gy - seen.middle()) * seen.slope() if seen.training else dx),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/denizyuret/Knet.jl/issues/288",
        vjp=_changed(dx=_weightless),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "averages the gradient of x in training",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_changed(dx=lambda dx, seen: dx / seen.n if seen.training else dx),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "uses the gradient of training in inference",
        "https://github.com/pytorch/xla/issues/913",
        vjp=_changed(dx=_of_training(0)),
        caught_by=("the gradient of inference is pointwise",),
    ),
    Mistake(
        "takes the gradient of the weight from the batch's statistics in inference",
        "https://github.com/torch/nn/pull/768",
        vjp=_changed(dw=_of_training(3)),
        caught_by=(_NORMALISED,),
    ),
    Mistake(
        "multiplies the gradient of the weight by the standard deviation",
        "https://github.com/tensorflow/tensorflow/issues/14676",
        vjp=_changed(dw=_multiplied),
        caught_by=(_SCALE, _NORMALISED),
    ),
    Mistake(
        "takes the gradient of the weight from x before it is normalised",
        "Ioffe and Szegedy 2015, section 3: the gradient of gamma multiplies the normalised x",
        vjp=_changed(dw=lambda dw, seen: np.sum(seen.gy * seen.arrays[0], axis=_axes(seen.gy))),
        caught_by=(_SCALE, _NORMALISED),
    ),
    Mistake(
        "averages the gradient of the bias",
        "https://github.com/cthorey/CS231/issues/9",
        vjp=_changed(db=lambda db, seen: db / max(seen.n, 1)),
        caught_by=("the gradient of the bias adds over images and pixels",),
    ),
)
