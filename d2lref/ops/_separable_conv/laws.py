"""What a separable convolution does: what a convolution does, and the linear layer after it.

Laws of the convolution speak of x, the depthwise weight and the bias, the pointwise weight held.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from d2lref.arrays import blocks
from d2lref.ops._conv import laws as conv
from d2lref.rounding import Pair, claim, concat
from d2lref.spec import Array, Case, Claim, Law

PLAIN = {"stride": 1, "padding": 0, "dilation": 1}


@dataclass(frozen=True, slots=True)
class _Held:
    """An implementation as a convolution, with its pointwise weight held."""

    f: Any
    pointwise: Array

    def __call__(self, x: Array, weight: Array, bias: Array | None, **options: Any) -> Any:
        return self.f(x, weight, self.pointwise, bias, **options)


def _as_convolution(case: Case) -> Case:
    x, depthwise, _, bias = case.arrays
    return replace(case, arrays=(x, depthwise, bias))


def of_convolution(law: Law, says: str = "") -> Law:
    """Return a law of the convolution as one of the separable convolution."""
    return Law(
        says or law.says,
        lambda f, case: law.holds(_Held(f, case.arrays[2]), _as_convolution(case)),
        when=lambda case: law.when(_as_convolution(case)),
    )


def _shifts(f: Any, case: Case) -> Claim:
    image, window = case.arrays[0][:1, :1], case.arrays[1].shape[2:]
    tap = conv.pick(case, *window)
    single = np.zeros((1, 1, *window))
    single[(0, 0, *tap)] = 1.0
    seen = (slice(u, n - k + u + 1) for u, n, k in zip(tap, image.shape[2:], window, strict=True))
    return claim(f(image, single, np.ones((1, 1, *(1,) * len(window))), None, **PLAIN), image[(..., *seen)])


def _linear_in_pointwise(f: Any, case: Case) -> Claim:
    x, depthwise, pointwise, _ = case.arrays
    mask = np.random.default_rng(case.seed).random(pointwise.shape) < 1 / 2
    first, second = np.where(mask, pointwise, 0.0), np.where(mask, 0.0, pointwise)
    whole, one, other = (f(x, depthwise, part, None, **case.options) for part in (first - 2 * second, first, second))
    return claim(whole, one - 2 * other)


def _channels_add(f: Any, case: Case) -> Claim:
    x, depthwise, pointwise, _ = case.arrays
    cut, each = 1 + conv.pick(case, x.shape[1] - 1)[0], depthwise.shape[0] // x.shape[1]
    channels = (cut, x.shape[1] - cut)
    filters = tuple(n * each for n in channels)
    parts = zip(blocks(x, channels, 1), blocks(depthwise, filters, 0), blocks(pointwise, filters, 1), strict=True)
    first, second = (f(*arrays, None, **case.options) for arrays in parts)
    return claim(f(x, depthwise, pointwise, None, **case.options), first + second)


def _answers_alone(f: Any, case: Case) -> Claim:
    x, depthwise, pointwise, bias = case.arrays
    cut = 1 + conv.pick(case, pointwise.shape[0] - 1)[0]
    sizes = (cut, pointwise.shape[0] - cut)
    biases = (None, None) if bias is None else blocks(bias, sizes, 0)
    halves = zip(blocks(pointwise, sizes, 0), biases, strict=True)
    parts = [f(x, depthwise, half, b, **case.options) for half, b in halves]
    return claim(f(x, depthwise, pointwise, bias, **case.options), concat(parts, axis=1))


def _bias_gradient(f: Any, case: Case) -> Claim:
    gy = case.cotangents[0]
    total = Pair.exact(gy).sum(axis=(0, *range(2, gy.ndim)))
    return claim(f.vjp(gy, *case.arrays, **case.options)[3], total)


def _longer(place: int, axis: int) -> Callable[[Case], bool]:
    return lambda case: bool(case.arrays[place].shape[axis] > 1)


SHIFT = Law(conv.SHIFT.says, _shifts, when=conv.SHIFT.when)
LINEAR = of_convolution(conv.LINEAR, "the answer is linear in the depthwise filters")
MIXING = Law("the answer is linear in the pointwise weight", _linear_in_pointwise, when=conv.exactly())
STRIDE, DILATION, PADDING, SAME = map(of_convolution, (conv.STRIDE, conv.DILATION, conv.PADDING, conv.SAME))
CHANNELS = Law("channels add up, each with its own filters", _channels_add, when=conv.exactly(_longer(0, 1)))
ANSWERS = Law("answers at a pixel do not see each other", _answers_alone, when=_longer(2, 0))
BIAS = of_convolution(conv.BIAS)
BIAS_GRADIENT = Law(conv.BIAS_GRADIENT.says, _bias_gradient, when=lambda case: case.arrays[3] is not None, vjp=True)
LAWS = (SHIFT, LINEAR, MIXING, STRIDE, DILATION, PADDING, SAME, CHANNELS, ANSWERS, BIAS, BIAS_GRADIENT)
