"""Batch normalisation: what every implementation of it satisfies.

Laws with an expected answer look at the first channel alone, so that a mistake that mixes channels is the business of
the law on channels. Where a law adds up something that is zero, it compares one half with the other: a sum whose bound
is as large as itself would decide nothing.
"""

from typing import Any

import numpy as np

from d2lref.ops._batch_norm.definition import beside, count
from d2lref.rounding import Pair, claim, concat, round_to, stack
from d2lref.spec import Array, Case, Claim, Law

# 1 Tools


def _first(case: Case) -> tuple[Any, ...]:
    """Return the arrays of the first channel."""
    x, *others = case.arrays
    return (x[:, :1], *(None if a is None else a[:1] for a in others))


def _channels(a: Array) -> Array:
    """Return (N, C, *size) as (C, n)."""
    return np.moveaxis(a, 1, 0).reshape(a.shape[1], -1)


def _power(x: Array) -> float:
    """2^-k with |x| < 2^k, k from -256 to 256: a multiplication by it is exact, and keeps squares finite."""
    k = int(np.frexp(np.max(np.abs(x), initial=0.0))[1])
    return 2.0 ** -min(max(k, -256), 256)


def _distances(x: Array) -> Pair:
    """Return n x - sum of x, which is n (x - m), along the last axis of (C, n)."""
    exact = Pair.exact(x)
    return exact * float(x.shape[-1]) - exact.sum(axis=-1, keepdims=True)


def _flat(answers: Any, case: Case) -> Pair:
    """Return y and, where the case computes them anew, the running statistics, as one flat pair."""
    count = len(answers) if _tracked(case) and case.options["momentum"] > 0 else 1
    return concat([a.map(np.ravel) for a in answers[:count]], 0)


def _training(case: Case) -> bool:
    return bool(case.options["training"])


def _inference(case: Case) -> bool:
    return not case.options["training"]


def _tracked(case: Case) -> bool:
    """Return whether the case trains and has running statistics."""
    return _training(case) and case.arrays[1] is not None


# 2 The answer in training


def _mean_is_bias(f: Any, case: Case) -> Claim:
    x, _, _, weight, bias = _first(case)
    y = f(x, None, None, weight, bias, **case.options)[0].map(np.ravel)
    n, half = y.value.size, y.value.size // 2
    total = Pair.exact(0.0) if bias is None else Pair.exact(bias[0]) * float(n)
    return claim(y[:half].sum(), total - y[half:].sum())


def _variance_is_weighted(f: Any, case: Case) -> Claim:
    """Sum of y^2 (Q + n^3 eps) = n w^2 Q, where Q = sum of (n x - sum of x)^2 = n^3 v; scaled by powers of two."""
    x, _, _, weight, _ = _first(case)
    y = f(x, None, None, weight, **case.options)[0].map(np.ravel)
    weight = np.ones(1) if weight is None else weight
    n, down, less = float(y.value.size), _power(x), _power(weight)
    z, y = _distances(_channels(x)[0]) * down, y * less
    spread = (z * z).sum()
    eps = Pair.exact(case.options["eps"]) * n**3 * down * down
    w = Pair.exact(weight[0]) * less
    return claim((y * y).sum() * (spread + eps), spread * n * w * w)


def _ignores_state(f: Any, case: Case) -> Claim:
    x, mean, var, weight, bias = case.arrays
    return claim(f(x, mean, var, weight, bias, **case.options)[0], f(x, None, None, weight, bias, **case.options)[0])


# 3 The running statistics


def kept(f: Any, case: Case) -> Claim:
    _, mean, var, _, _ = case.arrays
    return claim(concat(list(f(*case.arrays, **case.options)[1:]), 0), np.concatenate([mean, var]))


def _batches(x: Array) -> tuple[Array, ...]:
    """Return three batches of one channel with the shape of x: x, -x, and the first half of its values twice over."""
    values = x.ravel()
    return x, -x, np.resize(values[: (values.size + 1) // 2], x.shape)


def _began(case: Case) -> tuple[Array, Array]:
    """Return the first channel's statistics of the case, or the 0 and 1 that a new layer has."""
    _, mean, var, _, _ = _first(case)
    return (mean, var) if case.seed % 2 else (np.zeros(1), np.ones(1))


def _trained(f: Any, case: Case) -> Pair:
    """Return the running statistics (2, 1) after a sequence of batches, each call handed those of the call before.

    What one call is wrong by, and what is lost where its answer is brought to the grid of the storage format, is in the
    statistics that the next one begins with, and 1 - momentum of it in those that it should answer.
    """
    keep = Pair.exact(1.0) - case.options["momentum"]
    state = Pair.exact(np.stack(_began(case)))
    for batch in _batches(_first(case)[0]):
        handed = round_to(state.value, f.precision.storage)
        lost = state.error + np.abs(state.value - handed)
        found = stack(f(batch, *handed, **case.options)[1:])
        state = Pair(found.value, found.error + (Pair(handed, lost) * keep).error)
    return state


def _sequence(f: Any, case: Case) -> Claim:
    """n m_k = (1 - p)^k n m_0 + the sum of p (1 - p)^(k - i) times the sum of x_i, and n^2 (n - 1) v_k likewise.

    p is the momentum and i = 1 ... k the place of a batch; that of v_k has the sums of (n x_i - sum of x_i)^2.
    """
    x, momentum = _first(case)[0], Pair.exact(case.options["momentum"])
    n, batches = float(count(x.shape)), _batches(x)
    scales = np.array([[n], [n**2 * (n - 1)]])
    powers = [Pair.exact(1.0)]
    for _ in batches:
        powers.append(powers[-1] * (1.0 - momentum))
    blended = Pair.exact(np.stack(_began(case))) * scales * powers[-1]
    for batch, power in zip(reversed(batches), powers, strict=False):
        z = _distances(_channels(batch))
        sums = [Pair.exact(_channels(batch)).sum(axis=1), (z * z).sum(axis=1)]
        blended = blended + stack(sums) * momentum * power
    return claim(_trained(f, case) * scales, blended)


# 4 The answer in inference


def _uses_what_was_left(f: Any, case: Case) -> Claim:
    """Inference answers as it does for two such channels, whose statistics no call of training left."""
    x, _, _, weight, bias = _first(case)
    mean, var = round_to(_trained(f, case).value, f.precision.storage)
    options = {**case.options, "training": False}
    after = f(x, mean, var, weight, bias, **options)[0]
    twins = (None if a is None else np.concatenate([a, a]) for a in (mean, var, weight, bias))
    return claim(after, f(np.concatenate([x, x], axis=1), *twins, **options)[0][:, :1])


def halves_the_distance(f: Any, case: Case) -> Claim:
    """Running variance 15/4 and eps 1/4 make a standard deviation of 2 exactly."""
    x, mean, _, weight, _ = _first(case)
    y = f(x, mean, np.full(1, 3.75), weight, **case.options)[0]
    halved = (Pair.exact(x) - beside(mean, x)) * 0.5
    return claim(y, halved if weight is None else halved * beside(weight, x))


# 5 The same numbers in another place


def _pixels_are_images(f: Any, case: Case) -> Claim:
    x, *others = case.arrays
    y, *state = f(*case.arrays, **case.options)
    rows = f(np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]), *others, **case.options)
    return claim(_flat([y.map(lambda a: np.moveaxis(a, 1, -1)), *state], case), _flat(rows, case))


def _channel_alone(f: Any, case: Case) -> Claim:
    x, *others = case.arrays
    pick = case.seed % x.shape[1]
    here = slice(pick, pick + 1)
    y, *state = f(*case.arrays, **case.options)
    alone = f(x[:, here], *(None if a is None else a[here] for a in others), **case.options)
    return claim(_flat([y[:, here], *(None if a is None else a[here] for a in state)], case), _flat(alone, case))


# 6 The gradients in training


def _gradient_adds_to_nothing(f: Any, case: Case) -> Claim:
    dx = f.vjp((case.cotangents[0], None, None), *case.arrays, **case.options)[0].map(_channels)
    half = dx.shape[1] // 2
    return claim(dx[:, :half].sum(axis=1), -dx[:, half:].sum(axis=1))


def _twins(f: Any, case: Case) -> tuple[Pair, Pair, Pair, Pair | None]:
    """Return (dx of the first, dx of the second, n (x - m), dw) for the batch twice over with a cotangent on the first.

    Both halves share m and v with the batch itself. All but dw have the shape (C, n).
    """
    x, _, _, weight, bias = case.arrays
    gy = case.cotangents[0]
    doubled = (np.concatenate([gy, np.zeros_like(gy)]), None, None)
    dx, _, _, dw, _ = f.vjp(doubled, np.concatenate([x, x]), None, None, weight, bias, **case.options)
    first, second = (dx[part].map(_channels) for part in (slice(None, len(x)), slice(len(x), None)))
    return first, second, _distances(_channels(x)), dw


def _gradient_is_orthogonal(f: Any, case: Case) -> Claim:
    """v sum of a d = -(v + 2 eps) sum of b d for the gradients a and b of twins, d = x - m.

    With k the mean of gy x̂ over the batch once, sum of b d = -n w k v r / 2 and sum of a d = n w k / r + sum of b d;
    1 / r^2 = v + eps does the rest. Without eps dx would be orthogonal to d. Scaled by powers of two.
    """
    first, second, z, _ = _twins(f, case)
    n, down = float(z.shape[1]), _power(case.arrays[0])
    less = _power(np.concatenate([first.value, second.value]))
    z = z * down
    spread = (z * z).sum(axis=1)
    eps = Pair.exact(case.options["eps"]) * (2 * n**3) * down * down
    along, across = (first * less * z).sum(axis=1), (second * less * z).sum(axis=1)
    return claim(spread * along, -((spread + eps) * across))


def _gradient_is_scaled(f: Any, case: Case) -> Claim:
    """Sum of (a - b) d = w dw for twins: a - b = w r gy, and dw = r sum of gy d."""
    first, second, z, dw = _twins(f, case)
    return claim(((first - second) * z).sum(axis=1), dw * case.arrays[3] * float(z.shape[1]))


# 7 The gradients in inference, and that of the bias


def pointwise_gradient(f: Any, case: Case) -> Claim:
    """x dx = gy (y(x) - y(0)): in inference y is affine in each x, with the slope of the gradient."""
    x, mean, var, weight, _ = case.arrays
    gy = case.cotangents[0]
    dx = f.vjp((gy, None, None), *case.arrays, **case.options)[0]
    rise = f(x, mean, var, weight, **case.options)[0] - f(np.zeros_like(x), mean, var, weight, **case.options)[0]
    return claim(dx * x, rise * gy)


def weight_gradient(f: Any, case: Case) -> Claim:
    """dw = sum of gy y, where y is the answer without weight and bias."""
    gy = case.cotangents[0]
    dw = f.vjp((gy, None, None), *case.arrays, **case.options)[3]
    hat = f(*case.arrays[:3], **case.options)[0]
    return claim(dw, (hat * gy).map(_channels).sum(axis=1))


def _bias_gradient(f: Any, case: Case) -> Claim:
    gy = case.cotangents[0]
    db = f.vjp((gy, None, None), *case.arrays, **case.options)[4]
    return claim(db, Pair.exact(_channels(gy)).sum(axis=1))


LAWS = (
    Law("training makes the bias the mean of a channel", _mean_is_bias, _training),
    Law("training makes weight² v / (v + eps) the variance of a channel", _variance_is_weighted, _training),
    Law("training does not read the running statistics", _ignores_state, _tracked),
    Law("momentum p leaves batch i of k a share of p (1 - p)^(k - i)", _sequence, _tracked),
    Law("inference keeps the running statistics", kept, _inference),
    Law(
        "a standard deviation of 2 halves the distance to the running mean",
        halves_the_distance,
        lambda case: _inference(case) and case.options["eps"] == 0.25,
    ),
    Law("inference after training uses the statistics that training left", _uses_what_was_left, _tracked),
    Law("a pixel counts as an image", _pixels_are_images, lambda case: case.arrays[0].ndim > 2),
    Law("a channel does not see the others", _channel_alone, lambda case: case.arrays[0].shape[1] > 1),
    Law("the gradient of x adds up to nothing in a channel", _gradient_adds_to_nothing, _training, vjp=True),
    Law("the gradient of x is orthogonal to x up to eps", _gradient_is_orthogonal, _training, vjp=True),
    Law(
        "the gradients of x and of the weight have one scale",
        _gradient_is_scaled,
        lambda case: _training(case) and case.arrays[3] is not None,
        vjp=True,
    ),
    Law("the gradient of inference is pointwise", pointwise_gradient, _inference, vjp=True),
    Law(
        "the gradient of the weight in inference multiplies what was normalised",
        weight_gradient,
        lambda case: _inference(case) and case.arrays[3] is not None,
        vjp=True,
    ),
    Law(
        "the gradient of the bias adds over images and pixels",
        _bias_gradient,
        lambda case: case.arrays[4] is not None,
        vjp=True,
    ),
)
