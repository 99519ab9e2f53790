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
from d2lref.ops._batch_norm import laws as batch_laws
from d2lref.ops._batch_norm.bounds import blend_bounds
from d2lref.ops._batch_norm.definition import blend
from d2lref.ops._norm import laws, mistakes
from d2lref.ops._norm.group_norm import group_norm
from d2lref.ops._norm.layer_norm import REGIMES
from d2lref.ops._norm.view import (
    View,
    check_affine,
    check_eps,
    gradients,
    normalise,
    own_statistics,
    padded,
    reshaped,
    shapes,
)
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Pair, Precision, Running, claim, stack
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

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
    if _count(x) < 2:
        raise ValueError(f"instance_norm: x {x} has {_count(x)} pixels, its own statistics need at least 2")
    if running_mean is not None and x[0] == 0:
        raise ValueError(f"instance_norm: x {x} has no image, new running statistics need at least 1")


def _count(x: Shape) -> int:
    """n: how many pixels an image has."""
    return moments.count(x, tuple(range(2, len(x))))


def _check(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the padded arrays, None for those left out at the end. Raises ValueError for what does not fit."""
    arrays = padded(arrays, 5)
    shape(*shapes(*arrays), **options)
    return arrays


def _view(arrays: tuple[Any, ...]) -> View:
    """Return x with the axes of space, and weight and bias as (1, C, 1, ...)."""
    x, _, _, weight, bias = arrays
    stood = (1, x.shape[1], *(1,) * (x.ndim - 2))
    return View(x, reshaped(weight, stood), reshaped(bias, stood), tuple(range(2, x.ndim)))


def _inference(options: dict[str, Any]) -> dict[str, Any]:
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
        return batch_norm.definition(*arrays, **_inference(options))
    v = _view(arrays)
    return (normalise(v, options["eps"], of, apply), *_blended(arrays[1:3], of(v.x, v.axes), options["momentum"], v))


def _blended(old: tuple[Any, ...], own: tuple[Array, Array], momentum: float, v: View) -> tuple[Any, ...]:
    """Return (1 - momentum) old + momentum (the mean over the images of what each has of its own)."""
    if old[0] is None:
        return old
    xp = namespace(v.x)
    means = tuple(xp.mean(xp.reshape(a, v.x.shape[:2]), axis=0) for a in own)
    return blend(old, means, momentum, _count(v.x.shape))


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
        return batch_norm.definition(x, *state, weight, bias, **_inference(options))
    v = _view((x, None, None, None, None))
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
        return batch_norm.vjp(gy, *arrays, **_inference(options))
    dx, dw, db = gradients(gy[0], _view(arrays), eps)
    return dx, None, None, reshaped(dw, x.shape[1:2]), reshaped(db, x.shape[1:2])


# 5 How wrong it may be


def bound(y: Any, precision: Precision, *arrays: Any, **options: Any) -> tuple[np.ndarray | None, ...]:
    """Pairs on y = (x - m) r w + b and on the running statistics, for every usual order of the same operations."""
    arrays = padded(arrays, 5)
    if not options["use_input_stats"]:
        return batch_norm.bound(y, precision, *arrays, **_inference(options))
    v, run = _view(arrays), Running(precision)
    with np.errstate(all="ignore"):
        stats = own_statistics(run, given(precision, v.x), v.axes, options["eps"])
        state = blend_bounds(run, stats, arrays[1:3], _count(v.x.shape), options["momentum"], len(v.x))
    return (bound_of(v, options["eps"], precision), *state)


def vjp_bound(
    grads: tuple[Any, ...], precision: Precision, gy: tuple[Any, ...], *arrays: Any, **options: Any
) -> tuple[np.ndarray | None, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy, dx = w r (gy - mean of gy - x̂ mean of (gy x̂)), in any usual order."""
    arrays = padded(arrays, 5)
    if not options["use_input_stats"]:
        return batch_norm.vjp_bound(grads, precision, gy, *arrays, **_inference(options))
    channels = arrays[0].shape[1:2]
    dx, dw, db = vjp_bound_of(gy[0], _view(arrays), options["eps"], grads[4], precision)
    return dx, None, None, reshaped(dw, channels), reshaped(db, channels)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw one to three axes of space; shrinks to two pixels of one channel, without statistics, weight and bias."""
    own = draw.choice(True, True, False)
    images, channels, *size = draw.sizes(*(1,) * draw.choice(3, 4, 5))
    if own and _count((1, 1, *size)) < 2:
        size[-1] = 2
    per_channel = (channels,)
    state = draw.choice(None, per_channel, per_channel) if own else per_channel
    if draw.integer(0, 31) == 31 and (not own or state is None):
        images = 0
    weight, bias = draw.choice(None, per_channel), draw.choice(None, per_channel)
    momentum, eps = draw.choice(0.1, 0.5, 0.0, 1.0), draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    options = {"use_input_stats": own, "momentum": momentum, "eps": eps}
    return Form(((images, channels, *size), state, state, weight, bias), options)


# 7 Laws


def _own(case: Case) -> bool:
    """Return whether an image is normalised with statistics of its own."""
    return bool(case.options["use_input_stats"]) and laws.filled(case)


def _given(case: Case) -> bool:
    return not case.options["use_input_stats"]


def _tracked(case: Case) -> bool:
    """Return whether there are running statistics to blend into."""
    return _own(case) and case.arrays[1] is not None


def _with_momentum(momentum: float) -> Callable[[Case], bool]:
    """Return a condition: there are running statistics to blend into, with this momentum."""
    return lambda case: _tracked(case) and case.options["momentum"] == momentum


ASKED = laws.Asked(
    row=lambda a, case: a[0, 0],
    shape=lambda case, n: (1, 1, -1, *case.arrays[0].shape[3:]),
    options=lambda case, n: case.options,
    weights=lambda case, n: (1,),
    beside=lambda a, case: np.reshape(a, (-1, *(1,) * (case.arrays[0].ndim - 2))),
    over=lambda case: (0, *range(2, case.arrays[0].ndim)),
    state=2,
)


def _alone(f: Any, case: Case) -> Claim:
    """f(x)[i, c] = f(x[i, c])."""
    x, _, _, *affine = case.arrays
    rng = np.random.default_rng(case.seed)
    i, c = (int(rng.integers(n)) for n in x.shape[:2])
    here = (slice(i, i + 1), slice(c, c + 1))
    alone = ASKED.whole(f, x[here], *(None if a is None else a[c : c + 1] for a in affine), **case.options)
    return claim(ASKED.whole(f, x, *affine, **case.options)[here], alone)


def _ignores_state(f: Any, case: Case) -> Claim:
    """y is the same with and without running statistics."""
    return claim(f(*case.arrays, **case.options)[0], ASKED.whole(f, case.arrays[0], *case.arrays[3:], **case.options))


def _half_and_half(f: Any, case: Case) -> Claim:
    """2 n N m' = n N m + sum of x, and 2 n^2 (n - 1) N v' = n^2 (n - 1) N v + sum of (n x - sum of x)^2."""
    x, mean, var = (a[:1] if place else a[:, :1] for place, a in enumerate(case.arrays[:3]))
    _, new_mean, new_var = f(x, mean, var, **case.options)
    images, n = float(len(x)), float(_count(x.shape))
    values = Pair.exact(np.reshape(x, (len(x), -1)))
    z = values * n - values.sum(axis=1, keepdims=True)
    plain, square = n * images, n * n * (n - 1) * images
    blended = [Pair.exact(mean[0]) * plain + values.sum(), Pair.exact(var[0]) * square + (z * z).sum()]
    return claim(stack([new_mean[0] * (2 * plain), new_var[0] * (2 * square)]), stack(blended))


def _halves(a: Array, case: Case) -> list[Array]:
    """Return the first half of the images, and the rest."""
    del case
    return np.split(a, [len(a) // 2])


LAWS = (
    Law(
        "a channel of an image does not see the others",
        _alone,
        lambda case: _own(case) and max(case.arrays[0].shape[:2]) > 1,
    ),
    *laws.own_laws(ASKED, "a channel of an image", _own),
    Law(
        "the gradient of the weight adds over the images",
        laws.weight_gradient_adds(ASKED, _halves),
        laws.having(ASKED, 0, lambda case: _own(case) and len(case.arrays[0]) > 1),
        vjp=True,
    ),
    Law("an image with its own statistics does not read the running ones", _ignores_state, _tracked),
    Law("momentum 1/2 is half old, half the mean over the images", _half_and_half, _with_momentum(0.5)),
    Law("momentum 0 keeps the running statistics", batch_laws.kept, _with_momentum(0.0)),
    Law("given statistics stay as they are", batch_laws.kept, _given),
    Law(
        "a given standard deviation of 2 halves the distance to the given mean",
        batch_laws.halves_the_distance,
        lambda case: _given(case) and case.options["eps"] == 0.25,
    ),
    Law("the gradient with given statistics is pointwise", batch_laws.pointwise_gradient, _given, vjp=True),
    Law(
        "with given statistics the gradient of the weight multiplies what was normalised",
        batch_laws.weight_gradient,
        laws.having(ASKED, 0, _given),
        vjp=True,
    ),
)

# 8 Rejections

_OPTIONS = {"use_input_stats": True, "momentum": 0.1, "eps": 1e-5}  # eps: torch's default
_INFERENCE = {**_OPTIONS, "use_input_stats": False}
_X, _C = (2, 4, 3), (4,)


def _refused(says: str, told: str, *shapes: Shape | None, mandatory: bool = True, **options: Any) -> Rejection:
    """Return the refusal of padded shapes and of options, torch's defaults where nothing else is said."""
    return Rejection(says, padded(shapes, 5), {**_OPTIONS, **options}, f"instance_norm: {told}", mandatory)


_EACH = "expected (4,): one number for each channel of x (2, 4, 3)"
REJECTIONS = (
    _refused("no axis of space", "x (2, 4) has 2 axes, expected at least 3: images, channels, space", (2, 4)),
    _refused("a running mean of the wrong size", f"running_mean (3,), {_EACH}", _X, (3,), _C),
    _refused("a running variance of the wrong size", f"running_var (1,), {_EACH}", _X, _C, (1,), use_input_stats=False),
    _refused("a weight for the pixels", f"weight (3,), {_EACH}", _X, None, None, (3,)),
    _refused("one bias for all channels", f"bias (1,), {_EACH}", _X, None, None, None, (1,)),
    _refused("a running mean alone", "running_mean without running_var, expected both or neither", _X, _C),
    _refused("a running variance alone", "running_var without running_mean, expected both or neither", _X, None, _C),
    _refused(
        "no statistics at all",
        "neither running_mean nor running_var, expected both",
        _X,
        use_input_stats=False,
    ),
    _refused("one pixel", "x (2, 4, 1) has 1 pixels, its own statistics need at least 2", (2, 4, 1)),
    _refused(  # torch answers with an empty array
        "no pixel",
        "x (2, 4, 0) has 0 pixels, its own statistics need at least 2",
        (2, 4, 0),
        mandatory=False,
    ),
    _refused(  # torch makes the running statistics NaN
        "no image to learn statistics from",
        "x (0, 4, 3) has no image, new running statistics need at least 1",
        (0, 4, 3),
        _C,
        _C,
        mandatory=False,
    ),
    _refused("a negative eps", "eps=-1.0, expected a number >= 0", _X, mandatory=False, eps=-1.0),
    _refused(  # torch extrapolates
        "a momentum above 1", "momentum=1.5, expected a number from 0 to 1", _X, _C, _C, mandatory=False, momentum=1.5
    ),
)

# 9 Mistakes

_ALONE, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (law.says for law in LAWS[:8])
_SUM, _IGNORES, _HALF, _KEEPS, _GIVEN, _DISTANCE, _POINTWISE, _MULTIPLIES = (law.says for law in LAWS[8:])
Forward = Callable[..., tuple[Any, ...]]


def _altered(
    *,
    y: Callable[[View, float], Array] | None = None,
    state: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, ...]] | None = None,
) -> Forward:
    """Return instance normalisation with another y, or other new statistics, where an image has its own."""

    def forward(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**_OPTIONS, **options}
        answer, *new = definition(*arrays, **options)
        if not options["use_input_stats"]:
            return (answer, *new)
        answer = answer if y is None else y(_view(arrays), options["eps"])
        return (answer, *(new if state is None or arrays[1] is None else state(arrays, options)))

    return forward


def _own_moments(arrays: tuple[Any, ...]) -> tuple[Array, Array]:
    """Return mean and biased variance of every channel of every image, (N, C)."""
    v = _view(arrays)
    mean, var = (np.reshape(a, v.x.shape[:2]) for a in moments.two_pass(v.x, v.axes))
    return mean, var


def _biased(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics with the biased variance."""
    n = _count(arrays[0].shape)
    mean, var = (np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], (mean, var * ((n - 1) / n)), options["momentum"], n)


def _with_eps(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics whose variance has eps in it twice."""
    mean, var = (np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], (mean, var + 2 * options["eps"]), options["momentum"], _count(arrays[0].shape))


def _complement(arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return new statistics in which momentum is the share of the old."""
    means = tuple(np.mean(a, axis=0) for a in _own_moments(arrays))
    return blend(arrays[1:3], means, 1.0 - options["momentum"], _count(arrays[0].shape))


def _just_updated(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Normalise with running statistics that have just been updated, where there are any."""
    arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**_OPTIONS, **options}
    y, *state = definition(*arrays, **options)
    if not options["use_input_stats"] or state[0] is None:
        return (y, *state)
    return (batch_norm.definition(arrays[0], *state, *arrays[3:], **_inference(options))[0], *state)


def _instead(place: int) -> Forward:
    """Return the mistake of using an image's own statistics where others are given: in y (0) or as the new ones (1)."""

    def forward(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**_OPTIONS, **options}
        right = definition(*arrays, **options)
        if _count(arrays[0].shape) < 2 or not arrays[0].size:
            return right
        own = definition(*arrays, **{**options, "use_input_stats": True})
        return (own[0], *right[1:]) if place == 0 else (right[0], *own[1:])

    return forward


def _given_outside(given_arrays: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the arrays with a given variance for which sqrt(v + eps) is sqrt of the right one + eps."""
    arrays = padded(mistakes.contiguous(given_arrays), 5)
    if options["use_input_stats"]:
        return arrays
    x, mean, var, *affine = arrays
    return (x, mean, (np.sqrt(var) + options["eps"]) ** 2 - options["eps"], *affine)


def _outside(*given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    options = {**_OPTIONS, **options}
    y = definition(*_given_outside(given_arrays, options), **options)[0]
    return (y, *definition(*given_arrays, **options)[1:])


def _outside_vjp(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
    options = {**_OPTIONS, **options}
    return vjp(gy, *_given_outside(given_arrays, options), **options)


def _other(change: Callable[[mistakes.Seen, tuple[Any, ...]], tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with (dx, dw, db) changed where an image has its own statistics."""

    def wrong(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**_OPTIONS, **options}
        dx, _, _, dw, db = vjp(gy, *arrays, **options)
        if options["use_input_stats"]:
            seen = mistakes.Seen(np.ascontiguousarray(gy[0]), _view(arrays), options["eps"])
            dx, dw, db = change(seen, (dx, dw, db))
        return dx, None, None, dw, db

    return wrong


def _of_own(place: int) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with a gradient of an image's own statistics where others are given."""

    def wrong(gy: tuple[Any, ...], *given_arrays: Any, **options: Any) -> tuple[Any, ...]:
        arrays, options = padded(mistakes.contiguous(given_arrays), 5), {**_OPTIONS, **options}
        right = vjp(gy, *arrays, **options)
        if options["use_input_stats"] or _count(arrays[0].shape) < 2 or not arrays[0].size:
            return right
        own = vjp(gy, *arrays, **{**options, "use_input_stats": True})
        return (*right[:place], own[place], *right[place + 1 :])

    return wrong


def _averaged(place: int) -> Callable[[mistakes.Seen, tuple[Any, ...]], tuple[Any, ...]]:
    """Return the change that divides dw (1) or db (2) by the number of images."""

    def change(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
        n = max(len(seen.gy), 1) * (1 if place == 1 else seen.gy[0, 0].size)
        return tuple(a / n if i == place and a is not None else a for i, a in enumerate(right))

    return change


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/LBANN/lbann/pull/2024",
        _altered(y=mistakes.planted(root="unbiased")),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds the bias before it multiplies by the weight",
        "https://github.com/apple/coremltools/issues/1639",
        _altered(y=mistakes.planted(affine=mistakes.bias_first)),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "shares the statistics among the images",
        "https://github.com/sonos/tract/pull/2863",
        _altered(y=lambda v, eps: mistakes.planted()(v._replace(axes=(0, *v.axes) if v.x.size else v.axes), eps)),
        caught_by=(_ALONE,),
    ),
    Mistake(
        "normalises an image with running statistics that it has just updated",
        "https://github.com/tenstorrent/tt-metal/pull/45578",
        _just_updated,
        caught_by=(_IGNORES,),
    ),
    Mistake(
        "keeps a biased running variance",
        "https://github.com/kakaobrain/trident/pull/125",
        _altered(state=_biased),
        caught_by=(_HALF,),
    ),
    Mistake(
        "keeps a running variance with twice eps in it",
        "https://github.com/flagos-ai/FlagGems/issues/4885",
        _altered(state=_with_eps),
        caught_by=(_HALF,),
    ),
    Mistake(
        "takes momentum for the share of the old statistics",
        "https://github.com/Oneflow-Inc/oneflow/pull/6055",
        _altered(state=_complement),
        caught_by=(_KEEPS,),
    ),
    Mistake(
        "uses an image's own statistics in evaluation as well",
        "https://github.com/pytorch/pytorch/pull/1604",
        _instead(0),
        caught_by=(_DISTANCE,),
    ),
    Mistake(
        "adds eps outside the root of a given variance",
        "https://github.com/Tencent/ncnn/pull/311",
        _outside,
        _outside_vjp,
        caught_by=(_DISTANCE,),
    ),
    Mistake(
        "updates statistics that are given",
        "https://github.com/mf1024/Batch-Renormalization-PyTorch/issues/1",
        _instead(1),
        caught_by=(_GIVEN,),
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
        "https://github.com/denizyuret/Knet.jl/issues/288",
        vjp=_other(mistakes.of_x(mistakes.weightless)),
        caught_by=(_COTANGENT,),
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
        vjp=_other(_averaged(1)),
        caught_by=(_SUM,),
    ),
    Mistake(
        "averages the gradient of the bias",
        "https://github.com/cthorey/CS231/issues/9",
        vjp=_other(_averaged(2)),
        caught_by=(_BIAS,),
    ),
    Mistake(
        "takes given statistics for those of the image in the gradient of x",
        "https://github.com/pytorch/xla/issues/913",
        vjp=_of_own(0),
        caught_by=(_POINTWISE,),
    ),
    Mistake(
        "takes given statistics for those of the image in the gradient of the weight",
        "https://github.com/torch/nn/pull/768",
        vjp=_of_own(3),
        caught_by=(_MULTIPLIES,),
    ),
)

# 10 The op

instance_norm = Op(
    name="instance_norm",
    operands=(
        Operand("x"),
        Operand("running_mean", optional=True, differentiable=False, state=True),
        Operand("running_var", optional=True, differentiable=False, state=True, positive=True),
        Operand("weight", optional=True),
        Operand("bias", optional=True),
    ),
    outputs=("y", "mean", "var"),
    options=_OPTIONS,
    shape=shape,
    definition=definition,
    variants=WAYS,
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(
        Form(((2, 3, 4, 4), None, None, (3,), (3,)), _OPTIONS),
        Form(((3, 4, 6), (4,), (4,), (4,), None), _OPTIONS),
        Form(((2, 3, 5), (3,), (3,), (3,), (3,)), _INFERENCE),
    ),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization: the missing ingredient for fast stylization",
)
