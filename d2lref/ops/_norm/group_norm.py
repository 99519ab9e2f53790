"""Group normalisation: in each image, every group of channels brought to mean 0 and variance 1.

Channels follow each other in groups of C / G; weight and bias have one number for each channel, not for each group.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.arrays import namespace
from d2lref.ops._norm import laws, mistakes
from d2lref.ops._norm.layer_norm import REGIMES, layer_norm
from d2lref.ops._norm.view import View, check_affine, check_eps, gradients, normalise, padded, reshaped, shapes
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Precision, claim, concat
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(
    x: Shape, weight: Shape | None = None, bias: Shape | None = None, *, num_groups: int, eps: float = 1e-5
) -> tuple[Shape]:
    """Return (x,) for x (N, C, *size), C a multiple of num_groups. Raises ValueError."""
    x = tuple(x)
    if len(x) < 2:
        raise ValueError(f"group_norm: x {x} has {len(x)} axes, expected at least 2: images, channels")
    if type(num_groups) is not int or num_groups < 1:
        raise ValueError(f"group_norm: num_groups={num_groups!r}, expected an integer >= 1")
    if x[1] % num_groups:
        raise ValueError(f"group_norm: num_groups={num_groups} does not divide the {x[1]} channels of x {x}")
    if 0 in x[1:]:
        raise ValueError(f"group_norm: x {x} has 0 values in a group, expected at least 1")
    check_affine("group_norm", x[1:2], f"channel of x {x}", weight=weight, bias=bias)
    check_eps("group_norm", eps)
    return (x,)


def _view(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
    """Return x as (N, G, C / G, *size), weight and bias as (1, G, C / G, 1, ...). Raises ValueError."""
    x, weight, bias = padded(arrays, 3)
    shape(*shapes(x, weight, bias), **options)
    groups = options["num_groups"]
    split = (groups, x.shape[1] // groups)
    stood = (1, *split, *(1,) * (x.ndim - 2))
    grouped = reshaped(x, (x.shape[0], *split, *x.shape[2:]))
    return View(grouped, reshaped(weight, stood), reshaped(bias, stood), tuple(range(2, x.ndim + 1)))


# 2 Definition


def definition(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: float = 1e-5
) -> Array:
    """y = w (x - m) / sqrt(v + eps) + b, m and v the mean and the biased variance of a group in an image.

    x and y (N, C, *size); the C channels make num_groups groups of neighbours; weight w and bias b (C,) or absent, all
    of one dtype. Raises ValueError (see `shape`). Source: Wu and He 2018, Group normalization, section 3.1.
    """
    v = _view((x, weight, bias), {"num_groups": num_groups, "eps": eps})
    return reshaped(normalise(v, eps), x.shape)


# 3 Faster ways


def _way(of: moments.Moments, apply: moments.Apply = moments.centred) -> Callable[..., Array]:
    """Return group normalisation with the statistics computed, or applied, in another way."""

    def way(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
        v = _view((x, *affine), {"num_groups": num_groups, "eps": eps})
        return reshaped(normalise(v, eps, of, apply), x.shape)

    return way


def _by_layers(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Normalise the groups of all images as rows, then scale and shift the channels."""
    v = _view((x, *affine), {"num_groups": num_groups, "eps": eps})
    rows = namespace(x).reshape(v.x, (v.x.shape[0] * num_groups, moments.count(v.x.shape, v.axes)))
    y = v.beside(layer_norm(rows, normalized_shape=rows.shape[1:], eps=eps))
    y = y if v.weight is None else y * v.weight
    return reshaped(y if v.bias is None else y + v.bias, x.shape)


WAYS = {
    "folded": Variant(_way(moments.two_pass, moments.folded)),
    "layer_norm": Variant(_by_layers),
    "welford": Variant(_way(moments.welford), algorithm="welford"),
    "merged": Variant(_way(moments.merged), algorithm="welford"),
    "naive": Variant(_way(moments.naive), algorithm="naive"),
}

# 4 Derivative


def vjp(
    gy: Array, x: Array, weight: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: float = 1e-5
) -> tuple[Array, Array | None, Array | None]:
    """dx = r (g - mean of g - x̂ mean of (g x̂)) in each group, g = w gy; dw and db are sums over images and pixels.

    dw = sum of gy x̂, db = sum of gy. The last two terms of dx are there because m and v depend on x.
    """
    v = _view((x, weight, bias), {"num_groups": num_groups, "eps": eps})
    dx, dw, db = gradients(v.beside(gy), v, eps)
    return reshaped(dx, x.shape), reshaped(dw, x.shape[1:2]), reshaped(db, x.shape[1:2])


# 5 How wrong it may be


def bound(y: Array, precision: Precision, *arrays: Any, **options: Any) -> np.ndarray:
    """Pairs on y = (x - m) r w + b, for every usual order of the same operations (algorithms.moment_bounds)."""
    return np.reshape(bound_of(_view(arrays, options), options["eps"], precision), y.shape)


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy and dx = r (g - mean of g - x̂ mean of (g x̂)), in any usual order."""
    v = _view(arrays, options)
    dx, dw, db = vjp_bound_of(v.beside(gy), v, options["eps"], grads[2], precision)
    return reshaped(dx, gy.shape), reshaped(dw, gy.shape[1:2]), reshaped(db, gy.shape[1:2])


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw groups, channels of a group and up to three axes of space; shrinks to one value, without weight and bias."""
    images, groups, members, *size = draw.sizes(*(1,) * (3 + draw.choice(1, 0, 2, 3)))
    if draw.integer(0, 31) == 31:
        images = 0
    per_channel = (groups * members,)
    weight, bias = draw.choice(None, per_channel), draw.choice(None, per_channel)
    eps = draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    return Form(((images, *per_channel, *size), weight, bias), {"num_groups": groups, "eps": eps})


# 7 Laws


def _per_channel(a: Array, case: Case) -> Array:
    """Return (C,) as (C, 1, ...), to stand beside x."""
    return np.reshape(a, (-1, *(1,) * (case.arrays[0].ndim - 2)))


def _members(case: Case) -> int:
    """Return how many channels a group has."""
    return int(case.arrays[0].shape[1] // case.options["num_groups"])


ASKED = laws.Asked(
    row=lambda a, case: a[0, : _members(case)],
    shape=lambda case, n: (1, 1, n),
    options=lambda case, n: {"num_groups": 1, "eps": case.options["eps"]},
    weights=lambda case, n: (1,),
    beside=_per_channel,
    over=lambda case: (0, *range(2, case.arrays[0].ndim)),
)


def _group_alone(f: Any, case: Case) -> Claim:
    """f(x)[:, group] = f(x[:, group], num_groups=1)."""
    x, *affine = case.arrays
    pick, k = case.seed % case.options["num_groups"], _members(case)
    here = slice(pick * k, (pick + 1) * k)
    alone = f(x[:, here], *(None if a is None else a[here] for a in affine), **{**case.options, "num_groups": 1})
    return claim(f(x, *affine, **case.options)[:, here], alone)


def _one_axis(f: Any, case: Case) -> Claim:
    """f(x) is f of one channel for each group, with all the group's values for pixels."""
    x = case.arrays[0]
    flat = np.reshape(x, (len(x), case.options["num_groups"], -1))
    y = f(x, **case.options).map(lambda a: np.reshape(a, flat.shape))
    return claim(y, f(flat, **case.options))


def _group_gradients(f: Any, case: Case) -> Claim:
    """dx[:, group] and dw[group] are those of the group alone."""
    x, weight, _ = case.arrays
    gy = case.cotangents[0]
    pick, k = case.seed % case.options["num_groups"], _members(case)
    here = slice(pick * k, (pick + 1) * k)
    one = {**case.options, "num_groups": 1}
    dx, dw, _ = f.vjp(gy, x, weight, **case.options)
    alone = f.vjp(gy[:, here], x[:, here], None if weight is None else weight[here], **one)
    every = [dx[:, here], *([] if dw is None else [dw[here]])]
    sides = (concat([a.map(np.ravel) for a in side if a is not None], 0) for side in (every, alone))
    return claim(*sides)


def _image_twice(f: Any, case: Case) -> Claim:
    """dw of an image twice over is twice that of the image."""
    weight = case.arrays[1]
    x, gy = case.arrays[0][:1], case.cotangents[0][:1]
    twice = f.vjp(np.concatenate([gy, gy]), np.concatenate([x, x]), weight, **case.options)[1]
    return claim(twice, 2.0 * f.vjp(gy, x, weight, **case.options)[1])


def _grouped(case: Case) -> bool:
    return laws.filled(case) and case.options["num_groups"] > 1


LAWS = (
    Law("a group does not see the others", _group_alone, _grouped),
    Law(
        "the channels and the pixels of a group are alike",
        _one_axis,
        lambda case: laws.filled(case) and (_members(case) > 1 or case.arrays[0].ndim > 3),
    ),
    Law("the gradients of a group do not see the others", _group_gradients, _grouped, vjp=True),
    Law(
        "an image twice over gives the gradient of the weight twice",
        _image_twice,
        laws.having(ASKED, 0, laws.filled),
        vjp=True,
    ),
    *laws.own_laws(ASKED, "a group"),
)

# 8 Rejections

_USUAL = {"eps": 1e-5}  # torch's default


def _refused(
    says: str, told: str, x: Shape = (2, 4, 3), *affine: Shape | None, mandatory: bool = True, **options: Any
) -> Rejection:
    """Return the refusal of shapes and options, two groups where nothing else is said."""
    return Rejection(
        says, (x, *(affine or (None, None))), {"num_groups": 2, **options}, f"group_norm: {told}", mandatory
    )


REJECTIONS = (
    _refused("no axis of channels", "x (4,) has 1 axes, expected at least 2: images, channels", (4,)),
    _refused("groups that do not divide", "num_groups=3 does not divide the 4 channels of x (2, 4, 3)", num_groups=3),
    _refused("more groups than channels", "num_groups=8 does not divide the 4 channels of x (2, 4, 3)", num_groups=8),
    _refused("a negative number of groups", "num_groups=-2, expected an integer >= 1", num_groups=-2),
    _refused("no group", "num_groups=0, expected an integer >= 1", num_groups=0, mandatory=False),
    _refused(
        "a weight for each group",
        "weight (2,), expected (4,): one number for each channel of x (2, 4, 3)",
        (2, 4, 3),
        (2,),
        None,
    ),
    _refused(
        "one bias for all channels",
        "bias (1,), expected (4,): one number for each channel of x (2, 4, 3)",
        (2, 4, 3),
        None,
        (1,),
    ),
    _refused(  # torch answers with an empty array
        "a group without a value",
        "x (2, 4, 0) has 0 values in a group, expected at least 1",
        (2, 4, 0),
        mandatory=False,
    ),
    _refused("a negative eps", "eps=-1.0, expected a number >= 0", eps=-1.0, mandatory=False),
)

# 9 Mistakes

_GROUP, _ALIKE, _GRADIENTS, _TWICE, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (
    law.says for law in LAWS
)
Ways = tuple[Callable[..., Array], Callable[..., tuple[Any, ...]]]


def _wrong(**steps: Any) -> Callable[..., Array]:
    """Return group normalisation with a step replaced."""
    return mistakes.answers(_view, _USUAL, mistakes.planted(**steps))


def _other(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with its gradients changed."""
    return mistakes.changed(_view, _USUAL, vjp, change)


def _with_the_next(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """Return statistics in which a group of a size that is no power of two reads on, into the next."""
    members = x.shape[2]
    beyond = (1 << (members - 1).bit_length()) - members
    after = np.concatenate([x[:, 1:, :beyond], np.zeros_like(x[:, :1, :beyond])], axis=1)
    n = moments.count(x.shape, axes)
    mean = (np.sum(x, axis=axes, keepdims=True) + np.sum(after, axis=axes, keepdims=True)) / n
    squares = np.sum((x - mean) ** 2, axis=axes, keepdims=True) + np.sum((after - mean) ** 2, axis=axes, keepdims=True)
    return mean, squares / n


def _of_all_groups(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """Return the statistics of an image for each of its groups."""
    return moments.two_pass(x, (1, *axes))


def _interleaved(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Group channel c with those that leave the same rest when divided by the number of groups."""
    shape(*shapes(x, *affine), num_groups=num_groups, eps=eps)
    turn = np.ravel(np.reshape(np.arange(x.shape[1]), (-1, num_groups)).T)
    moved = mistakes.contiguous((x[:, turn], *(None if a is None else a[turn] for a in affine)))
    return definition(*moved, num_groups=num_groups, eps=eps)[:, np.argsort(turn)]


def _last_axis(v: View) -> moments.Axes:
    """Channels of a group and the last axis of space."""
    return v.axes if v.x.ndim < 5 or not v.x.size else (2, v.x.ndim - 1)


def _reread(x: Array, *affine: Any, num_groups: int, eps: float = 1e-5) -> Array:
    """Read the numbers of an image as if channels came last where the groups are formed, and write them back so."""
    v = _view((x, *affine), {"num_groups": num_groups, "eps": eps})
    if x.ndim < 3:
        return definition(x, *affine, num_groups=num_groups, eps=eps)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    hat = definition(np.reshape(last, x.shape), num_groups=num_groups, eps=eps)
    y = v.beside(np.ascontiguousarray(np.moveaxis(np.reshape(hat, last.shape), -1, 1)))
    y = y if v.weight is None else y * v.weight
    return np.reshape(y if v.bias is None else y + v.bias, x.shape)


def _per_group(hat: Array, w: Array, b: Array) -> Array:
    """The weight and the bias of a group's first channel for all of its channels."""
    return hat * w[:, :, :1] + b[:, :, :1]


def _first_group(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw with the mean and the root of the first group for every group."""
    dx, dw, db = right
    if dw is None:
        return right
    mean, _ = moments.two_pass(seen.v.x, seen.v.axes)
    hat = (seen.v.x - mean[:, :1]) / seen.root[:, :1]
    return dx, np.ravel(moments.affine_gradients(seen.gy, hat, seen.v.weight, None)[0]), db


def _averaged_weight(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw divided by the number of images."""
    dx, dw, db = right
    return dx, None if dw is None else dw / max(len(seen.gy), 1), db


def _averaged_bias(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """db divided by the number of images and pixels."""
    dx, dw, db = right
    n = max(seen.gy.size // math.prod(seen.gy.shape[1:3]), 1)
    return dx, dw, None if db is None else db / n


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/harvardnlp/annotated-transformer/pull/119",
        _wrong(root="unbiased"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds eps outside the root",
        "https://github.com/taokong/group_normalization/issues/1",
        _wrong(root="outside"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "has a weight and a bias for each group",
        "https://github.com/Oneflow-Inc/oneflow/pull/4848",
        _wrong(affine=_per_group),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "reads into the next group where the size of a group is no power of two",
        "https://github.com/flagos-ai/FlagGems/issues/4984",
        _wrong(of=_with_the_next),
        caught_by=(_GROUP,),
    ),
    Mistake(
        "takes the statistics of all groups together",
        "https://github.com/brainpy/BrainPy/issues/765",
        _wrong(of=_of_all_groups),
        caught_by=(_GROUP,),
    ),
    Mistake(
        "deals the channels out to the groups in turn",
        "https://github.com/tenstorrent/tt-metal/pull/56202",
        _interleaved,
        caught_by=(_GROUP,),
    ),
    Mistake(
        "takes the last axis of space for all of it",
        "https://github.com/linkedin/Liger-Kernel/pull/1376",
        mistakes.answers(_view, _USUAL, lambda v, eps: mistakes.planted()(v._replace(axes=_last_axis(v)), eps)),
        caught_by=(_ALIKE,),
    ),
    Mistake(
        "mixes channels with pixels where it should transpose",
        "https://github.com/tensorflow/addons/issues/751",
        _reread,
        caught_by=(_GROUP,),
    ),
    Mistake(
        "takes the mean for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_other(mistakes.of_x(mistakes.constant_mean)),
        caught_by=(_NOTHING,),
    ),
    Mistake(
        "takes the variance for a constant in the gradient",
        "https://github.com/deeplearning4j/deeplearning4j/pull/8379",
        vjp=_other(mistakes.of_x(mistakes.constant_variance)),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/uxlfoundation/oneDNN/issues/3543",
        vjp=_other(mistakes.of_x(mistakes.weightless)),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "reads the first group's statistics for all groups in the gradient of the weight",
        "https://github.com/tenstorrent/tt-metal/pull/56202",
        vjp=_other(_first_group),
        caught_by=(_GRADIENTS,),
    ),
    Mistake(
        "averages the gradient of x",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(mistakes.averaged),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "averages the gradient of the weight over the images",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(_averaged_weight),
        caught_by=(_TWICE,),
    ),
    Mistake(
        "averages the gradient of the bias",
        "https://github.com/cthorey/CS231/issues/9",
        vjp=_other(_averaged_bias),
        caught_by=(_BIAS,),
    ),
)

# 10 The op

group_norm = Op(
    name="group_norm",
    operands=(Operand("x", batch=True), Operand("weight", optional=True), Operand("bias", optional=True)),
    options={"num_groups": REQUIRED, **_USUAL},
    shape=shape,
    definition=definition,
    variants=WAYS,
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(
        Form(((2, 6, 4, 4), (6,), (6,)), {"num_groups": 3, "eps": 1e-5}),
        Form(((3, 8), (8,), None), {"num_groups": 2, "eps": 1e-5}),
        Form(((2, 5, 7), None, (5,)), {"num_groups": 1, "eps": 0.25}),
    ),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Wu and He 2018, Group normalization, section 3.1",
)
