"""local_response_norm: a value divided by a power of the squares around it, across channels (d2l 8.1, AlexNet).

Letters: n the window, d = k + (alpha / n) (sum of the squares of the channels in the window), y = x / d^beta. The
window of channel c reads from c - floor(n / 2) to c + floor((n - 1) / 2); channels that are not there count as zeros.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import constant, given, grown, lost, most
from d2lref.arrays import namespace, pad
from d2lref.rounding import Pair, Precision, Running, claim, stack
from d2lref.spec import (
    REQUIRED,
    Array,
    Case,
    Claim,
    Convention,
    Draw,
    Form,
    Law,
    Mistake,
    Op,
    Operand,
    Rejection,
    Shape,
    Variant,
)

# 1 Shape


def shape(x: Shape, *, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> tuple[Shape]:
    """Return (x,) for x (N, C, *space). Raises ValueError."""
    x, name = tuple(x), "local_response_norm"
    if len(x) < 3:
        raise ValueError(f"{name}: x {x} has {len(x)} axes, expected at least 3: images, channels, space")
    if type(size) is not int or size < 1:
        raise ValueError(f"{name}: size={size!r}, expected an integer >= 1")
    for option, value in {"alpha": alpha, "beta": beta, "k": k}.items():
        if not value >= 0:
            raise ValueError(f"{name}: {option}={value}, expected a number >= 0")
    return (x,)


def _before(size: int) -> tuple[int, int]:
    """Return how many channels a window reads before its own, and behind it."""
    return size // 2, (size - 1) // 2


# 2 Definition


def definition(x: Array, *, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Array:
    """y[c] = x[c] / (k + (alpha / n) sum of x[j]^2 over the channels j of the window of c)^beta.

    x and y (N, C, *space), of one dtype; size n counts the channels of a window, also those that are not there.
    Raises ValueError (see `shape`). Source: Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep
    convolutional neural networks, section 3.3; the division by n and the place of an even window:
    torch.nn.functional.local_response_norm.
    """
    shape(x.shape, size=size, alpha=alpha, beta=beta, k=k)
    xp = namespace(x)
    before, behind = _before(size)
    squares = x * x
    channels = x.shape[1]
    windows = (squares[:, max(c - before, 0) : min(c + behind + 1, channels), ...] for c in range(channels))
    sums = [xp.sum(window, axis=1, keepdims=True, dtype=x.dtype) for window in windows]
    total = xp.concat(sums, axis=1) if sums else squares
    return x / (k + total * (alpha / size)) ** beta


# 3 Faster ways


def _shifted(x: Array, before: int, behind: int) -> list[Array]:
    """Return x moved along its channels by -before to behind, zeros where nothing is."""
    channels = x.shape[1]
    whole = pad(x, ((before, behind), *((0, 0),) * (x.ndim - 2)))
    return [whole[:, i : i + channels, ...] for i in range(before + behind + 1)]


def _by_shifts(x: Array, *, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Array:
    """Add up the squares moved by one channel after the other."""
    shape(x.shape, size=size, alpha=alpha, beta=beta, k=k)
    total = sum(_shifted(x * x, *_before(size)))
    return x / (k + total * (alpha / size)) ** beta


def _by_bands(x: Array, *, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> Array:
    """Multiply the squares by a matrix with ones in a band, and x by the power of -beta."""
    shape(x.shape, size=size, alpha=alpha, beta=beta, k=k)
    xp = namespace(x)
    band = xp.asarray(_band(x.shape[1], size), dtype=x.dtype, device=x.device)
    total = xp.moveaxis(xp.tensordot(x * x, band, axes=((1,), (1,))), -1, 1)
    return x * (k + total / size * alpha) ** -beta


def _band(channels: int, size: int) -> np.ndarray:
    """Return ones where the window of the row reads the column, (C, C)."""
    before, behind = _before(size)
    step = np.arange(channels) - np.arange(channels)[:, None]
    return ((step >= -before) & (step <= behind)).astype(np.float64)


# 4 Derivative


def vjp(gy: Array, x: Array, *, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> tuple[Array]:
    """dx[c] = gy[c] d[c]^-beta - (2 alpha beta / n) x[c] sum of gy[i] x[i] d[i]^(-beta - 1) over the windows with c.

    These are the windows of the channels i from c - floor((n - 1) / 2) to c + floor(n / 2).
    """
    shape(x.shape, size=size, alpha=alpha, beta=beta, k=k)
    before, behind = _before(size)
    d = k + sum(_shifted(x * x, before, behind)) * (alpha / size)
    along = sum(_shifted(gy * x * d ** (-beta - 1.0), behind, before))
    return (gy * d**-beta - x * along * (2.0 * alpha * beta / size),)


# 5 How wrong it may be


def _sum(run: Running, a: Pair, before: int, behind: int) -> Pair:
    """Return the sum of `_shifted`, in any order."""
    parts = zip(_shifted(a.value, before, behind), _shifted(a.error, before, behind), strict=True)
    return run.sum(stack([Pair(v, e) for v, e in parts]), 0, keepdims=False)


def _divisor(run: Running, x: Pair, options: dict[str, Any]) -> Pair:
    """d by pairs, the squares divided by n and multiplied by alpha, or by alpha / n."""
    total = _sum(run, run.mul(x, x), *_before(options["size"]))
    mean = run.div(total, float(options["size"]))
    return run.add(run.mul(mean, constant(run.p, options["alpha"])), constant(run.p, options["k"]))


def bound(y: Array, precision: Precision, x: Array, **options: Any) -> np.ndarray:
    """Pairs on y = x / d^beta; a product with d^-beta has no more roundings than the quotient."""
    del y
    run = Running(precision)
    with np.errstate(all="ignore"):
        read = given(precision, x)
        d = _divisor(run, read, options)
        y = run.div(read, run.power(d, options["beta"]))
        return run.answer(_unless_overflowing(run, y, d, -options["beta"]))


def _unless_overflowing(run: Running, a: Pair, d: Pair, exponent: float) -> Pair:
    """Return the pair with an infinite error where a power of d that it may be computed with may overflow."""
    return Pair(a.value, np.where(np.isfinite(run.power(d, exponent).error), a.error, np.inf))


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, x: Array, **options: Any) -> tuple[np.ndarray]:
    """Pairs on dx, whose sum has the terms gy x / d^beta / d^beta d^(beta - 1), as the chain rule has them.

    Each factor is enclosed for every d that an implementation may have, so that gy x d^(-beta - 1) is as well, with
    fewer roundings. Other orders multiply the terms before they are added: at most 8 roundings of their sizes. dx may
    be added up from its three parts in any order.
    """
    del grads
    run, beta = Running(precision), options["beta"]
    before, behind = _before(options["size"])
    with np.errstate(all="ignore"):
        g, read = given(precision, gy), given(precision, x)
        d = _divisor(run, read, options)
        power, slope = run.power(d, beta), run.power(d, beta - 1.0)
        terms = run.mul(run.div(run.div(run.mul(g, read), power), power), slope)
        share = constant(precision, options["alpha"]) * constant(precision, beta) * (2.0 / options["size"])
        small = lost(run, most(g), most(read), 1 / most(power), 1 / most(power), most(slope), most(share))
        along = _sum(run, Pair(terms.value, terms.error + small), behind, before)
        sizes = sum(_shifted(most(terms), behind, before))
        along = Pair(along.value, along.error + grown(run, 8) * sizes)
        direct, across = run.div(g, power), run.rounded(run.mul(along, read) * share, 4)
        error = grown(run, 3) * (most(direct) + most(across)) + lost(run, most(along), most(read), most(share))
        dx = run.sub(direct, across)
        terms = _unless_overflowing(run, terms, d, -beta - 1.0)
        reached = sum(_shifted(terms.error, behind, before))
        return (run.answer(Pair(dx.value, np.where(np.isfinite(reached), dx.error + error, np.inf))),)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw one to three axes of space and a window that may be wider than there are channels; shrinks to one value."""
    images, channels, *space = draw.sizes(*(1,) * draw.choice(3, 4, 5))
    if draw.integer(0, 31) == 31:
        images = 0
    options = {
        "size": draw.integer(1, 7),
        "alpha": draw.choice(0.0001, 1.0, 0.25),
        "beta": draw.choice(0.75, 0.5, 1.0, 0.0),
        "k": draw.choice(1.0, 2.0, 0.5),
    }
    return Form(((images, channels, *space),), options)


# 7 Laws


def _pixels(case: Case) -> Array:
    """Return a row of numbers of the case, at most 8 and none of them 0, as (1, 1, p)."""
    values = np.ravel(case.arrays[0])[:8]
    return np.where(values == 0, 1.0, values)[None, None]


def _neighbours(f: Any, case: Case) -> Claim:
    """1 / y2 - 1 / y1 = 1 / y1 - k with another 1 in the window, y2 = y1 without: y for a 1 at c, with beta = 1."""
    size, k, channels = case.options["size"], case.options["k"], 2 * case.options["size"] + 3
    options = {**case.options, "beta": 1.0, "alpha": 1.0}
    c, before, behind = case.seed % channels, *_before(size)
    ones = np.eye(channels)
    pixels = np.where(ones[c] > 0, ones, ones + ones[c][:, None])
    y = f(pixels[None], **options)[0, c]
    step = np.arange(channels) - c
    inside = (step >= -before) & (step <= behind) & (step != 0)
    alone = y.map(lambda a: np.full_like(a, a[c]))
    damped = y * (2.0 - alone * k)
    right = Pair(np.where(inside, damped.value, y.value), np.where(inside, damped.error, y.error))
    return claim(alone, right)


def _alike(f: Any, case: Case) -> Claim:
    """y (k + alpha x^2) = x where all channels of the window are x, with beta = 1."""
    size, x = case.options["size"], _pixels(case)
    y = f(np.repeat(x, 4 * size + 1, axis=1), **{**case.options, "beta": 1.0})[:, 2 * size]
    square = Pair.exact(x[:, 0]) * x[:, 0]
    return claim(y * (square * case.options["alpha"] + case.options["k"]), x[:, 0])


def _zeros_beyond(f: Any, case: Case) -> Claim:
    """Channels of zeros before the first and behind the last change nothing."""
    x, size = case.arrays[0][:1], case.options["size"]
    wide = np.pad(x, [(0, 0), (size, size), *((0, 0),) * (x.ndim - 2)])
    return claim(f(wide, **case.options)[:, size : size + x.shape[1]], f(x, **case.options))


def _homogeneous(f: Any, case: Case) -> Claim:
    """Sum of x dx = 0 for beta = 1/2 and k = 0, where y has degree 0, and windows that read all channels."""
    x, gy = (np.reshape(a[:1], (1, a.shape[1], -1))[:, :, :8] for a in (case.arrays[0], case.cotangents[0]))
    x = np.where(x == 0, 1.0, x)
    options = {**case.options, "size": 2 * x.shape[1] + 1, "alpha": 1.0, "beta": 0.5, "k": 0.0}
    along = (f.vjp(gy, x, **options)[0] * x).map(lambda a: a[0])
    half = x.shape[1] // 2
    return claim(along[:half].sum(axis=0), -along[half:].sum(axis=0))


def _in_proportion(f: Any, case: Case) -> Claim:
    """dx[c] x[i - 1] = dx[i - 1] x[c] for a cotangent on channel i alone and c in its window, dx[c] = 0 outside it."""
    x = np.reshape(case.arrays[0][:1], (1, case.arrays[0].shape[1], -1))[:, :, :8]
    x = np.where(x == 0, 1.0, x)
    channels, before, behind = x.shape[1], *_before(case.options["size"])
    i = 1 + case.seed % (channels - 1)
    gy = np.zeros_like(x)
    gy[:, i] = 1.0
    dx = f.vjp(gy, x, **{**case.options, "alpha": 1.0, "beta": 1.0})[0][0]
    step = np.arange(channels) - i
    inside = ((step >= -before) & (step <= behind))[:, None]
    others = step != 0
    beside = dx[i - 1 : i].map(lambda a: np.repeat(a, channels, axis=0))
    return claim((dx * x[0, i - 1])[others], (beside * (x[0] * inside))[others])


LAWS = (
    Law("a channel is damped by those in its window", _neighbours),
    Law("where all channels are alike it divides by k + alpha x²", _alike, lambda case: case.arrays[0].size > 0),
    Law("channels of zeros around the others change nothing", _zeros_beyond, lambda case: case.arrays[0].size > 0),
    Law(
        "without k and with beta 1/2 the gradient is orthogonal to x",
        _homogeneous,
        lambda case: case.arrays[0].size > 0,
        vjp=True,
    ),
    Law(
        "a cotangent reaches the channels of its window in proportion to them",
        _in_proportion,
        lambda case: case.arrays[0].size > 0 and case.arrays[0].shape[1] > 2 and case.options["size"] > 1,
        vjp=True,
    ),
)

# 8 Rejections


def _refused(says: str, told: str, x: Shape = (2, 4, 3), *, mandatory: bool = True, **options: Any) -> Rejection:
    return Rejection(says, (x,), {"size": 3, **options}, f"local_response_norm: {told}", mandatory)


REJECTIONS = (
    _refused("no axis of space", "x (2, 4) has 2 axes, expected at least 3: images, channels, space", (2, 4)),
    _refused("an empty window", "size=0, expected an integer >= 1", size=0),
    _refused("a negative window", "size=-1, expected an integer >= 1", size=-1),
    _refused("a negative alpha", "alpha=-1.0, expected a number >= 0", mandatory=False, alpha=-1.0),
    _refused("a negative beta", "beta=-0.5, expected a number >= 0", mandatory=False, beta=-0.5),
    _refused("a negative k", "k=-1.0, expected a number >= 0", mandatory=False, k=-1.0),
)

# 9 Mistakes

_USUAL = {"alpha": 0.0001, "beta": 0.75, "k": 1.0}
_WINDOW, _ALIKE, _ZEROS, _ORTHOGONAL, _PROPORTION = (law.says for law in LAWS)


def _summed(total: Callable[[Array, int], Array]) -> Callable[..., Array]:
    """Return the op with total(squares, size) for the mean of a window's squares."""

    def forward(x: Array, **options: Any) -> Array:
        options = {**_USUAL, **options}
        shape(x.shape, **options)
        squares = np.ascontiguousarray(x * x)
        mean = total(squares, options["size"]).astype(x.dtype)
        return x / (options["k"] + mean * options["alpha"]) ** options["beta"]

    return forward


def _present(squares: Array, size: int) -> Array:
    """The mean over the channels of the window that are there."""
    counted = np.sum(_band(squares.shape[1], size), axis=1)
    return _total(squares, *_before(size)) / np.reshape(counted, (-1, *(1,) * (squares.ndim - 2)))


def _total(a: Array, before: int, behind: int) -> Array:
    return np.sum(np.stack(_shifted(a, before, behind)), axis=0)


def _other(change: Callable[..., Array]) -> Callable[..., tuple[Array]]:
    """Return the vjp that answers change(gy, x, d, options)."""

    def wrong(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        options = {**_USUAL, **options}
        shape(x.shape, **options)
        gy, x = np.ascontiguousarray(gy), np.ascontiguousarray(x)
        d = options["k"] + _total(x * x, *_before(options["size"])) * (options["alpha"] / options["size"])
        return (change(gy, x, d, options).astype(x.dtype),)

    return wrong


def _terms(gy: Array, x: Array, d: Array, options: dict[str, Any]) -> tuple[Array, Array, float]:
    """Return gy d^-beta, gy x d^(-beta - 1) and 2 alpha / n."""
    beta = options["beta"]
    return gy * d**-beta, gy * x * d ** (-beta - 1.0), 2.0 * options["alpha"] / options["size"]


def _without_beta(gy: Array, x: Array, d: Array, options: dict[str, Any]) -> Array:
    """dx without beta in its second term."""
    before, behind = _before(options["size"])
    direct, terms, share = _terms(gy, x, d, options)
    return direct - x * _total(terms, behind, before) * share


def _mirrored(gy: Array, x: Array, d: Array, options: dict[str, Any]) -> Array:
    """dx with the window of the answer where its reflection belongs."""
    direct, terms, share = _terms(gy, x, d, options)
    return direct - x * _total(terms, *_before(options["size"])) * (share * options["beta"])


def _own_divisor(gy: Array, x: Array, d: Array, options: dict[str, Any]) -> Array:
    """dx with a channel's own divisor where those of the windows belong."""
    before, behind = _before(options["size"])
    direct, _, share = _terms(gy, x, d, options)
    along = _total(gy * x, behind, before) * d ** (-options["beta"] - 1.0)
    return direct - x * along * (share * options["beta"])


MISTAKES = (
    Mistake(
        "does not divide alpha by the size of the window",
        "https://github.com/MarcBS/keras/pull/4",
        _summed(lambda squares, size: _total(squares, *_before(size))),
        caught_by=(_ALIKE,),
    ),
    Mistake(
        "divides alpha by the channels of the window that are there",
        "https://github.com/xingdi-eric-yuan/conv-net-version-3/pull/5",
        _summed(_present),
        caught_by=(_ZEROS,),
    ),
    Mistake(
        "has the longer half of an even window behind, as ONNX has",
        "https://github.com/onnx/onnx/blob/main/docs/Operators.md#LRN",
        _summed(lambda squares, size: _total(squares, *_before(size)[::-1]) / size),
        caught_by=(_WINDOW,),
    ),
    Mistake(
        "takes the size of the window for its radius",
        "https://github.com/alibaba/MNN/pull/192",
        _summed(lambda squares, size: _total(squares, size, size) / (2 * size + 1)),
        caught_by=(_WINDOW,),
    ),
    Mistake(
        "hands the cotangent on as the gradient",
        "https://github.com/andersbll/deeppy/issues/15",
        vjp=_other(lambda gy, x, d, options: gy + 0 * x),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "forgets beta in the gradient",
        "https://github.com/xingdi-eric-yuan/conv-net-version-3/pull/5",
        vjp=_other(_without_beta),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "reads the window of the answer in the gradient",
        "Krizhevsky, Sutskever and Hinton 2012, section 3.3: channel c counts in the windows that read it",
        vjp=_other(_mirrored),
        caught_by=(_PROPORTION,),
    ),
    Mistake(
        "takes the divisor of the channel itself for those of the windows in the gradient",
        "https://github.com/vlfeat/matconvnet/issues/10",
        vjp=_other(_own_divisor),
        caught_by=(_PROPORTION,),
    ),
)

# 10 Conventions


def _undivided(*, size: int, alpha: float, **options: Any) -> dict[str, Any]:
    return {"size": size, "alpha": alpha * size, **options}


def _reversed(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Array:
    """Return function(arguments) with the channels of every array of numbers, and of the answer, in reverse."""
    turned = (a if isinstance(a, Precision) else _turned(a) for a in arguments)
    return _turned(function(*turned, **options))


def _turned(a: Array) -> Array:
    return namespace(a).flip(a, axis=1)


def _upper(x: Array, **options: Any) -> Array:
    """The window of channel c reads from c - floor((n - 1) / 2) to c + floor(n / 2)."""
    return _reversed(definition, (x,), options)


def _upper_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    return (_reversed(lambda *a, **o: vjp(*a, **o)[0], (gy, x), options),)


def _upper_bound(y: Array, p: Precision, x: Array, **options: Any) -> np.ndarray:
    """`bound` with the channels in reverse."""
    return np.asarray(_reversed(bound, (y, p, x), options))


def _upper_vjp_bound(grads: tuple[Any, ...], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[np.ndarray]:
    return (np.asarray(_reversed(lambda *a, **o: vjp_bound(grads, *a, **o)[0], (p, gy, x), options)),)


CONVENTIONS = (
    Convention(
        name="tensorflow",
        says="alpha is not divided by the size of the window",
        source="https://www.tensorflow.org/api_docs/python/tf/nn/local_response_normalization",
        defaults={"alpha": 1.0, "beta": 0.5},
        means=_undivided,
        without=(_ALIKE,),
    ),
    Convention(
        name="onnx",
        says="of an even window the larger side is behind the channel",
        source="https://onnx.ai/onnx/operators/onnx__LRN.html",
        definition=_upper,
        vjp=_upper_vjp,
        bound=_upper_bound,
        vjp_bound=_upper_vjp_bound,
        without=(_WINDOW, _PROPORTION),
    ),
)

# 11 The op

local_response_norm = Op(
    name="local_response_norm",
    operands=(Operand("x", batch=True),),
    options={"size": REQUIRED, **_USUAL},
    shape=shape,
    definition=definition,
    variants={"shift": Variant(_by_shifts), "band": Variant(_by_bands, finite=True)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=(
        "lattice_small",
        "sparse",
        "normal",
        "positive",
        "wide_range",
        "cancelling",
        "subnormal",
        "large_mean",
        "ties",
    ),
    gallery=(
        Form(((2, 8, 5, 5),), {"size": 5, **_USUAL}),
        Form(((1, 6, 7),), {"size": 4, "alpha": 1.0, "beta": 0.75, "k": 2.0}),
    ),
    follows=("nan", "inf"),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    conventions=CONVENTIONS,
    source="Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks",
)
