"""What a transposed convolution does, in thirteen sentences; each carries the general case back to a simpler one.

Take the bias away, look at one group, at one of its filters, at one channel, without cropping, dilation and stride:
what is left is one image of one channel and one filter. It is a sum of images with a single pixel, zeros around such a
pixel are zeros around its answer, and a pixel alone stamps the filter. So the laws leave no other operation, and for
each there is a mistake that only it catches. What groups, channels, filters and biases do is told by the laws of the
convolution.
"""

import math
from typing import Any

import numpy as np

from d2lref.arrays import dilate, pad
from d2lref.ops._conv.laws import (
    BIAS,
    BIAS_GRADIENT,
    GROUPS,
    LINEAR,
    axes_of,
    channels_add,
    exactly,
    filters_alone,
    linear_in,
    option,
)
from d2lref.rounding import claim
from d2lref.spec import Case, Claim, Law

BARE = {"padding": 0, "output_padding": 0}
PLAIN = {**BARE, "stride": 1, "groups": 1, "dilation": 1}


def _bare(case: Case, **changes: Any) -> dict[str, Any]:
    """Return the options of a case without cropping, after changes."""
    return {**case.options, **BARE, **changes}


# 1 One channel, one filter


def _stamps(f: Any, case: Case) -> Claim:
    window = case.arrays[1].shape[2:]
    numbered = np.arange(1.0, 1 + math.prod(window)).reshape((1, 1, *window))
    return claim(f(np.ones((1, 1, *(1,) * axes_of(case))), numbered, None, **PLAIN), numbered)


def _bordered(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    border = pad(x, ((1, 1),) * axes_of(case))
    around = tuple((s, s) for s in option(case, "stride"))
    answer = f(x, w, None, **_bare(case)).map(lambda y: pad(y, around))
    return claim(f(border, w, None, **_bare(case)), answer)


# 2 Stride, dilation, padding


def _strided(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    spread = dilate(x, option(case, "stride"))
    return claim(f(x, w, None, **_bare(case)), f(spread, w, None, **_bare(case, stride=1)))


def _dilated(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    holes = dilate(w, option(case, "dilation"))
    return claim(f(x, w, None, **_bare(case)), f(x, holes, None, **_bare(case, dilation=1)))


def _has_holes(case: Case) -> bool:
    window = case.arrays[1].shape[2:]
    return any(d > 1 and k > 1 for d, k in zip(option(case, "dilation"), window, strict=True))


def _longer(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    behind = tuple((0, more) for more in option(case, "output_padding"))
    answer = f(x, w, None, **_bare(case)).map(lambda y: pad(y, behind))
    return claim(f(x, w, None, **{**case.options, "padding": 0}), answer)


def _cropped(f: Any, case: Case) -> Claim:
    x, w, _ = case.arrays
    y, whole = f(x, w, None, **case.options), f(x, w, None, **{**case.options, "padding": 0})
    kept = (slice(p, p + n) for p, n in zip(option(case, "padding"), y.shape[2:], strict=True))
    return claim(y, whole[(..., *kept)])


STAMP = Law("a pixel alone stamps the filter", _stamps)
BORDER = Law("zeros around the image are zeros around the answer", _bordered)
IMAGE = Law("the answer is linear in the image", linear_in(0), when=exactly())
STRIDE = Law("a stride puts zeros between the pixels", _strided, when=lambda case: max(option(case, "stride")) > 1)
DILATION = Law("dilation is a filter with holes", _dilated, when=_has_holes)
BEHIND = Law(
    "output_padding adds places behind the answer and changes no other",
    _longer,
    when=lambda case: max(option(case, "output_padding")) > 0,
)
PADDING = Law("padding crops both ends of the answer", _cropped, when=lambda case: max(option(case, "padding")) > 0)
CHANNELS = channels_add(0)
FILTERS = filters_alone(1)
LAWS = (
    STAMP,
    BORDER,
    IMAGE,
    LINEAR,
    STRIDE,
    DILATION,
    BEHIND,
    PADDING,
    CHANNELS,
    FILTERS,
    GROUPS,
    BIAS,
    BIAS_GRADIENT,
)
