"""Wrong losses of a class, each modelled on a report."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from d2lref.ops._loss import class_laws as laws
from d2lref.ops._loss import cross_entropy as ce
from d2lref.ops._loss import nll
from d2lref.ops._loss.classes import beside, meant, shares
from d2lref.ops._softmax.definition import log_softmax, softmax
from d2lref.spec import Array, Mistake

Way = Callable[..., Any]


class Loss(NamedTuple):
    """One of the two losses, right."""

    run: Way
    vjp: Way
    defaults: dict[str, Any]


NLL = Loss(nll.definition, nll.vjp, {"ignore_index": -100, "reduction": "mean"})
CE = Loss(ce.definition, ce.vjp, ce.DEFAULTS)


def _quiet(call: Way) -> Way:
    """Return the function without NumPy's warnings of what it divides by."""

    def quiet(*arrays: Any, **options: Any) -> Any:
        with np.errstate(all="ignore"):
            return call(*arrays, **options)

    return quiet


def _altered(loss: Loss, alter: Way) -> Way:
    """Return alter(right, x, target, weight, options), right(**others) being the loss with other options."""

    @_quiet
    def forward(x: Array, target: Array, weight: Array | None = None, **options: Any) -> Array:
        said = {**loss.defaults, **options}
        answer = loss.run(x, target, weight, **said)
        found = alter(lambda **others: loss.run(x, target, weight, **{**said, **others}), x, target, weight, said)
        return np.asarray(answer if found is None else found, answer.dtype)

    return forward


def _turned(loss: Loss, turn: Way) -> Way:
    """Return the vjp with turn(right, gy, x, target, weight, options) for its gradients; None: the right ones."""

    @_quiet
    def vjp(gy: Array, x: Array, target: Array, weight: Array | None = None, **options: Any) -> tuple[Any, ...]:
        said = {**loss.defaults, **options}
        right = loss.vjp(gy, x, target, weight, **said)
        found = turn(right, gy, x, target, weight, said)
        return tuple(right if found is None else (*found, *right[len(found) :]))

    return vjp


def _hard(x: Array, target: Array) -> bool:
    return target.ndim < x.ndim


# 1 Values, of both


def _unweighed(loss: Loss) -> Way:
    def alter(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        if said["reduction"] != "mean" or not _hard(x, target):
            return loss.run(x, target, None, **said)
        counts = shares(weight, x, meant(target, x, said["ignore_index"]))
        return loss.run(x, target, None, **{**said, "reduction": "sum"}) / np.sum(counts)

    return _altered(loss, alter)


def _always_averages(right: Way, *_others: Any) -> Any:
    said = _others[-1]
    return right(reduction="mean") if said["reduction"] == "sum" else None


def _over_all(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Count the ignored places in a mean."""
    counted = np.any(target != said["ignore_index"])
    if said["reduction"] != "mean" or weight is not None or not _hard(x, target) or not counted:
        return None
    return right(reduction="sum") / target.size


def _over_number(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Divide a weighted mean by the number of places."""
    count = np.sum(target != said["ignore_index"])
    return (
        right(reduction="sum") / count
        if said["reduction"] == "mean" and _hard(x, target) and weight is not None
        else None
    )


def _sanely(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Answer 0 where no place counts."""
    del right, weight
    nothing = _hard(x, target) and not np.any(target != said["ignore_index"])
    return 0.0 if said["reduction"] == "mean" and nothing else None


def _ignores_in_sums_alone(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Mask the sum and the mean, but not the losses themselves."""
    if said["reduction"] != "none":
        return None
    left_out = target == said["ignore_index"]
    last = np.where(left_out, x.shape[1] - 1, target)
    return np.where(left_out, nll.definition(x, last, weight, reduction="none", ignore_index=-1), right())


def _smooths_the_ignored(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Leave ignored places out of the hard part alone."""
    s = said["label_smoothing"]
    if said["reduction"] != "none" or not _hard(x, target) or not s:
        return None
    y = log_softmax(x, dim=1)
    smooth = np.sum(-(y if weight is None else y * beside(weight, x)), axis=1) * (s / x.shape[1])
    return np.where(target == said["ignore_index"], smooth, right())


# 2 Gradients, of both


def _undivided(loss: Loss) -> Way:
    def turn(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        if said["reduction"] != "mean" or not _hard(x, target):
            return None
        return loss.vjp(gy, x, target, weight, **{**said, "reduction": "sum"})[:1]

    return _turned(loss, turn)


def _with_gradients_for_ignored(loss: Loss) -> Way:
    def turn(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        if not _hard(x, target):
            return None
        left_out = target == said["ignore_index"]
        counts = np.sum(shares(weight, x, meant(target, x, said["ignore_index"])))
        g = gy / counts if said["reduction"] == "mean" else gy
        last = np.where(left_out, x.shape[1] - 1, target)
        plain = {**said, "ignore_index": -1, "reduction": "none"}
        every = loss.vjp(np.broadcast_to(g, target.shape), x, last, weight, **plain)[0]
        return (np.where(np.expand_dims(left_out, 1), every, right[0]).astype(x.dtype),)

    return _turned(loss, turn)


def _cotangent_of_the_first(loss: Loss) -> Way:
    def turn(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        if said["reduction"] != "none" or not gy.size:
            return None
        return loss.vjp(np.full_like(gy, gy.ravel()[0]), x, target, weight, **said)

    return _turned(loss, turn)


def _positive_weights_alone(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    del gy, target, said
    return None if weight is None else (np.where(beside(weight, x) > 0, right[0], np.zeros_like(x)),)


def _unweighed_gradient(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    del right, weight
    return ce.vjp(gy, x, target, None, **said)[:1] if _hard(x, target) else None


def _common(loss: Loss, weighs_vjp: Way | None = None) -> tuple[Mistake, ...]:
    return (
        Mistake(
            "ignores the weights of the classes, but for the mean",
            "https://github.com/pytorch/pytorch/issues/14289",
            _unweighed(loss),
            weighs_vjp,
            (laws.WEIGHS,),
        ),
        Mistake(
            "averages where a sum is asked for",
            "https://github.com/open-mmlab/mmdetection/issues/2297",
            _altered(loss, _always_averages),
            caught_by=(laws.ADDS,),
        ),
        Mistake(
            "counts ignored places in a mean",
            "https://github.com/open-mmlab/mmsegmentation/issues/546",
            _altered(loss, _over_all),
            caught_by=(laws.AVERAGES,),
        ),
        Mistake(
            "divides a weighted mean by the number of places",
            "https://github.com/pytorch/pytorch/issues/61309",
            _altered(loss, _over_number),
            caught_by=(laws.AVERAGES_WEIGHTS,),
        ),
        Mistake(
            "answers 0 where no place counts",
            "https://github.com/nvidia-cosmos/cosmos-rl/pull/155",
            _altered(loss, _sanely),
            caught_by=(laws.OF_NOTHING,),
        ),
        Mistake(
            "does not divide the gradient of a mean",
            "https://github.com/fetchai/ledger/pull/1580",
            vjp=_undivided(loss),
            caught_by=(laws.DIVIDES,),
        ),
        Mistake(
            "has gradients in ignored places",
            "https://github.com/PaddlePaddle/Paddle/pull/28622",
            vjp=_with_gradients_for_ignored(loss),
            caught_by=(laws.NO_GRADIENT,),
        ),
        Mistake(
            "takes the cotangent of the first loss for all",
            "https://github.com/linkedin/Liger-Kernel/pull/1298",
            vjp=_cotangent_of_the_first(loss),
            caught_by=(laws.EACH,),
        ),
    )


OF_LOGARITHMS = (
    Mistake(
        "forgets the minus",
        "https://github.com/apache/mxnet/pull/7118",
        _altered(NLL, lambda right, *_: -right()),
        caught_by=(laws.PAYS,),
    ),
    *_common(NLL),
    Mistake(
        "leaves nothing out with reduction none",
        "https://github.com/pytorch/pytorch/issues/12670",
        _altered(NLL, _ignores_in_sums_alone),
        caught_by=(laws.NOTHING,),
    ),
    Mistake(
        "has no gradient where a weight is negative",
        "https://github.com/pytorch/pytorch/pull/64275",
        vjp=_turned(NLL, _positive_weights_alone),
        caught_by=(laws.GRADIENT_WEIGHS,),
    ),
    Mistake(
        "has the other sign in the gradient",
        "https://github.com/Kaixhin/Autoencoders/issues/5",
        vjp=_turned(NLL, lambda right, *_: (-right[0],)),
        caught_by=(laws.MINUS_ONE,),
    ),
)

# 3 Of logits


def _by_logarithm(logarithm: Way) -> Way:
    """Return cross_entropy by another log_softmax."""

    def alter(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        return ce.loss_by(logarithm, x, target, weight, said)

    return _altered(CE, alter)


def _unshifted(x: Array, *, dim: int) -> Array:
    return x - np.log(np.sum(np.exp(x), axis=dim, keepdims=True))


def _maximum_first(x: Array, *, dim: int) -> Array:
    """Add the maximum to the logarithm before the logits are subtracted."""
    largest = np.max(x, axis=dim, keepdims=True, initial=-np.inf)
    return x - (largest + np.log(np.sum(np.exp(x - largest), axis=dim, keepdims=True)))


def _floored(x: Array, *, dim: int) -> Array:
    """The logarithm of probabilities kept from being 0."""
    return np.log(np.maximum(softmax(x, dim=dim), np.asarray(2.0**-66, x.dtype)))


def _log_of_softmax(x: Array, *, dim: int) -> Array:
    return np.log(softmax(x, dim=dim))


def _first_class_free(weight: Any, x: Array) -> Array:
    w = np.ones(x.shape[1], x.dtype) if weight is None else weight.copy()
    w[0] = 0
    return w


def _padding_is_class_0(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Let class 0 cost nothing, as if it were padding."""
    del right
    if not x.size:
        return None
    free = _first_class_free(weight, x)
    if said["reduction"] != "mean" or not _hard(x, target):
        return ce.definition(x, target, free, **said)
    counts = np.sum(shares(weight, x, meant(target, x, said["ignore_index"])))
    return ce.definition(x, target, free, **{**said, "reduction": "sum"}) / counts


def _free_probability(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    if _hard(x, target) or not x.size:
        return None
    return (right[0], ce.vjp(gy, x, target, _first_class_free(weight, x), **said)[1])


def _unweighed_probability(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    del weight
    return None if _hard(x, target) else (right[0], ce.vjp(gy, x, target, None, **said)[1])


def _viewed(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Reshape (N, C, places) to rows without bringing the classes to the end."""
    del right
    if not _hard(x, target) or x.ndim < 3:
        return None
    rows = ce.definition(x.reshape(target.size, x.shape[1]), target.ravel(), weight, **said)
    return rows.reshape(target.shape) if said["reduction"] == "none" else rows


def _smoothed_by(mix: Way) -> Way:
    """Return cross_entropy with mix(hard, smooth, s, C), smooth the sum over all classes."""

    def alter(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        s, plain = said["label_smoothing"], {"label_smoothing": 0.0, "reduction": "none"}
        if not s or not _hard(x, target) or not x.size:
            return None
        counted = target != said["ignore_index"]
        y = log_softmax(x, dim=1)
        smooth = np.where(counted, np.sum(-(y if weight is None else y * beside(weight, x)), axis=1), 0.0)
        losses = mix(right(**plain), smooth, s, x.shape[1])
        if said["reduction"] == "none":
            return losses
        counts = np.sum(shares(weight, x, meant(target, x, said["ignore_index"])))
        return np.sum(losses) / (counts if said["reduction"] == "mean" else 1)

    return _altered(CE, alter)


def _soft(losses: Way, mean: Way | None = None) -> Way:
    """Return cross_entropy with losses(y, q, t, w) for probabilities, and mean(sum, t, w)."""

    def alter(right: Way, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        if _hard(x, target) or not x.size or said["label_smoothing"]:
            return None
        w = np.ones_like(x) if weight is None else beside(weight, x)
        rows = losses(log_softmax(x, dim=1), target, w)
        if said["reduction"] == "none":
            return rows
        whole = np.sum(rows)
        if said["reduction"] == "sum":
            return whole
        return whole / rows.size if mean is None else mean(whole, target, w)

    return _altered(CE, alter)


def _right_rows(y: Array, t: Array, w: Array) -> Array:
    return np.sum(-y * t * w, axis=1)


def _of_probabilities(probabilities: Way) -> Way:
    """Return the vjp with probabilities(x) for the softmax."""

    def turn(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
        del right
        q = ce.mixed(x, target, weight, said).q
        made = probabilities(x) * np.sum(q, axis=1, keepdims=True) - q
        return _scaled(gy, x, target, weight, said, made)

    return _turned(CE, turn)


def _scaled(gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any], made: Array) -> tuple[Array]:
    """Return g times what was made of the gradient of the losses."""
    mix = ce.mixed(x, target, weight, said)
    below = 1.0 if said["reduction"] != "mean" else mix.counts if isinstance(mix.counts, float) else np.sum(mix.counts)
    g = np.broadcast_to(gy / below if below else gy * np.nan, (x.shape[0], *x.shape[2:]))
    dx = np.expand_dims(g, 1) * made
    if _hard(x, target):
        dx = np.where(np.expand_dims(target != said["ignore_index"], 1), dx, 0.0)
    return (dx.astype(x.dtype),)


def _adds_up_to_one(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    """Take the sum of the probabilities for 1."""
    del right
    if _hard(x, target):
        return None
    return _scaled(gy, x, target, weight, said, softmax(x, dim=1) - ce.mixed(x, target, weight, said).q)


def _unsmoothed(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    del right
    return ce.vjp(gy, x, target, weight, **{**said, "label_smoothing": 0.0})[:1]


def _without_probabilities(right: Any, gy: Array, x: Array, target: Array, weight: Any, said: dict[str, Any]) -> Any:
    del gy, weight, said
    return None if _hard(x, target) else (right[0], np.zeros_like(target))


OF_LOGITS = (
    Mistake(
        "does not subtract the maximum",
        "https://github.com/tensorflow/tensorflow/issues/10142",
        _by_logarithm(_unshifted),
        caught_by=(laws.SHIFTED,),
    ),
    Mistake(
        "adds the maximum before the logits are subtracted",
        "https://github.com/pytorch/pytorch/issues/11752",
        _by_logarithm(_maximum_first),
        caught_by=(laws.SHIFTED,),
    ),
    Mistake(
        "takes the logarithm of the softmax",
        "https://github.com/deeplearning4j/deeplearning4j/issues/785",
        _by_logarithm(_log_of_softmax),
        caught_by=(laws.KNOWN,),
    ),
    Mistake(
        "keeps probabilities above a floor",
        "https://github.com/Oneflow-Inc/oneflow/issues/3137",
        _by_logarithm(_floored),
        caught_by=(laws.KNOWN,),
    ),
    Mistake(
        "takes class 0 for padding",
        "https://github.com/nyu-mll/jiant/issues/925",
        _altered(CE, _padding_is_class_0),
        _turned(CE, _free_probability),
        (laws.TURNED,),
    ),
    Mistake(
        "reshapes to rows without moving the classes to the end",
        "https://github.com/irfanICMLL/structure_knowledge_distillation/issues/11",
        _altered(CE, _viewed),
        caught_by=(laws.ROWS,),
    ),
    Mistake(
        "smooths over the other classes alone",
        "https://github.com/fastai/fastai/pull/1814",
        _smoothed_by(lambda hard, smooth, s, n: hard * (1 - s * n / max(n - 1, 1)) + smooth * (s / max(n - 1, 1))),
        caught_by=(laws.MIXED,),
    ),
    Mistake(
        "takes s / C from the target where it should take s",
        "https://github.com/ildoonet/pytorch-randaugment/issues/30",
        _smoothed_by(lambda hard, smooth, s, n: hard * (1 - s / n) + smooth * (s / n)),
        caught_by=(laws.MIXED,),
    ),
    Mistake(
        "adds 1 / C to every label where it should add s / C",
        "https://github.com/TimDettmers/ConvE/issues/55",
        _smoothed_by(lambda hard, smooth, s, n: hard * (1 - s) + smooth / n),
        caught_by=(laws.MIXED,),
    ),
    Mistake(
        "averages over the classes of probabilities",
        "https://github.com/GMvandeVen/continual-learning/issues/5",
        _soft(lambda y, t, w: np.mean(-y * t * w, axis=1)),
        caught_by=(laws.CERTAIN,),
    ),
    Mistake(
        "weighs probabilities by their mean weight",
        "https://github.com/PaddlePaddle/Paddle/issues/62009",
        _soft(lambda y, t, w: np.sum(t * w, axis=1) * np.sum(-y * t, axis=1)),
        caught_by=(laws.LINEAR,),
    ),
    Mistake(
        "divides a mean over probabilities by the sum of their weights",
        "https://github.com/PaddlePaddle/Paddle/issues/62009",
        _soft(_right_rows, lambda whole, t, w: whole / np.sum(t * w)),
        caught_by=(laws.OVER_PLACES,),
    ),
    *_common(CE, _turned(CE, _unweighed_probability)),
    Mistake(
        "smooths the labels of ignored places",
        "https://github.com/pytorch/pytorch/issues/73205",
        _altered(CE, _smooths_the_ignored),
        caught_by=(laws.NOTHING,),
    ),
    Mistake(
        "forgets the weights in the gradient",
        "https://github.com/torch/nn/issues/985",
        vjp=_turned(CE, _unweighed_gradient),
        caught_by=(laws.GRADIENT_WEIGHS,),
    ),
    Mistake(
        "takes the softmax of the softmax",
        "https://github.com/Lightning-Universe/lightning-bolts/issues/654",
        vjp=_of_probabilities(lambda x: softmax(softmax(x, dim=1), dim=1)),
        caught_by=(laws.LESS_ONE,),
    ),
    Mistake(
        "takes the sum of the probabilities for 1 in the gradient",
        "https://github.com/kvark/meganeura/pull/102",
        vjp=_turned(CE, _adds_up_to_one),
        caught_by=(laws.TO_NOTHING,),
    ),
    Mistake(
        "forgets smoothing in the gradient",
        "https://github.com/linkedin/Liger-Kernel/issues/243",
        vjp=_turned(CE, _unsmoothed),
        caught_by=(laws.MIXED_GRADIENT,),
    ),
    Mistake(
        "has no gradient for probabilities",
        "https://github.com/tensorflow/tensorflow/issues/26495",
        vjp=_turned(CE, _without_probabilities),
        caught_by=(laws.OF_PROBABILITIES,),
    ),
)
