"""Instance normalisation: what every implementation of it satisfies, and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.ops._batch_norm import laws as batch_laws
from d2lref.ops._norm import laws
from d2lref.ops._norm.instance import OPTIONS, count
from d2lref.ops._norm.view import padded
from d2lref.rounding import Pair, claim, stack
from d2lref.spec import Array, Case, Claim, Law, Rejection, Shape

# 1 Laws


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
    images, n = float(len(x)), float(count(x.shape))
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

# 2 Rejections

_X, _C = (2, 4, 3), (4,)


def _refused(says: str, told: str, *shapes: Shape | None, mandatory: bool = True, **options: Any) -> Rejection:
    """Return the refusal of padded shapes and of options, torch's defaults where nothing else is said."""
    return Rejection(says, padded(shapes, 5), {**OPTIONS, **options}, f"instance_norm: {told}", mandatory)


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
