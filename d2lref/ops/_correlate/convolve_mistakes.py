"""The mistakes of convolve: each models a bug report, and is caught by the laws it names."""

from collections.abc import Callable

import numpy as np

from d2lref.ops._correlate import wrong
from d2lref.ops._correlate.convolve import (
    COMMUTES,
    DEFAULTS,
    DIFFERENCE,
    ENTRIES,
    INSIDE,
    MIDDLE,
    SCALES,
    SHAPES,
    SHIFTS,
    TAPS,
    Place,
    cut,
    gradients,
    place,
    places,
    slid,
    uncut,
)
from d2lref.ops._correlate.corr import ADJOINT, slide
from d2lref.rounding import round_to
from d2lref.spec import Array, Mistake

# 1 Ways to be wrong


def _cut_by(rule: Place) -> tuple[wrong.Run, wrong.Back]:
    """Return the convolution with its modes cut out of the whole answer by another rule, and its gradients."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        return cut(slid(x, kernel), places(mode, x.shape, kernel.shape, rule))

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        around = uncut(gy, x.shape, kernel.shape, places(mode, x.shape, kernel.shape, rule))
        return slide(around, kernel), slide(around, x)

    return run, back


def _with_answers(change: Callable[[Array, Array, Array, str], Array]) -> tuple[wrong.Run, wrong.Back]:
    """Return change(answers, x, kernel, mode) and its gradients, for a change that is its own adjoint."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        return change(slid(x, kernel, mode), x, kernel, mode)

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        return gradients(change(gy, x, kernel, mode), x, kernel, mode)

    return run, back


def _with_whole(change: wrong.Change, adjoint: wrong.Change) -> tuple[wrong.Run, wrong.Back]:
    """Return the convolution with change(whole answer, shorter array) before it is cut, and its gradients."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        shorter = min(x, kernel, key=lambda a: a.shape[-1])
        return cut(change(slid(x, kernel), shorter), places(mode, x.shape, kernel.shape))

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        shorter = min(x, kernel, key=lambda a: a.shape[-1])
        around = uncut(gy, x.shape, kernel.shape, places(mode, x.shape, kernel.shape))
        return gradients(adjoint(around, shorter), x, kernel)

    return run, back


def _left_over(whole: Array, shorter: Array) -> Array:
    """Return zero for the last entry when the others pair up; an array of one entry only scales, and is left alone."""
    return wrong.blocks_of_two(whole, whole) if shorter.shape[-1] > 1 else whole


def _wrapped(whole: Array, _shorter: Array) -> Array:
    """Return the last entry added to the first, and zero in its place, where there are two."""
    if whole.shape[-1] == 1:
        return whole
    first, between, last = whole[..., :1], whole[..., 1:-1], whole[..., -1:]
    return np.concatenate([first + last, between, np.zeros_like(last)], axis=-1)


def _unwrapped(whole: Array, _shorter: Array) -> Array:
    """Return the adjoint of `_wrapped`: the first entry in place of the last."""
    return whole if whole.shape[-1] == 1 else np.concatenate([whole[..., :-1], whole[..., :1]], axis=-1)


def _only_inside(y: Array, x: Array, kernel: Array, mode: str) -> Array:
    """Return zero for the places of "same" at which the kernel leaves the first array."""
    if mode != "same":
        return y
    sizes = list(zip(x.shape, kernel.shape, strict=True))
    inner = [(m - 1 - (m - 1) // 2, n - (m - 1) // 2) for n, m in sizes]
    within = np.ix_(*[(np.arange(n) >= a) & (np.arange(n) < b) for (n, _), (a, b) in zip(sizes, inner, strict=True)])
    mask = np.zeros(y.shape)
    mask[within] = 1.0
    return y * mask


def _one_short(y: Array, _x: Array, _kernel: Array, mode: str) -> Array:
    """Return zero for the last entry of "valid"."""
    return np.where(np.arange(y.shape[-1]) < y.shape[-1] - (mode == "valid"), y, 0.0)


def _reversed(y: Array, x: Array, kernel: Array, mode: str) -> Array:
    """Return the entries of "valid" in reverse when the kernel is the longer."""
    return np.flip(y) if mode == "valid" and kernel.size > x.size else y


def _from_the_front(mode: str, n: int, m: int) -> tuple[int, int]:
    start, size = place(mode, n, m)
    return (0 if mode == "valid" else start), size


def _matlab(mode: str, n: int, m: int) -> tuple[int, int]:
    return (m // 2, n) if mode == "same" else place(mode, n, m)


def _numpy(mode: str, n: int, m: int) -> tuple[int, int]:
    return ((min(n, m) - 1) // 2, max(n, m)) if mode == "same" else place(mode, n, m)


def _usually_valid(x: Array, kernel: Array, mode: str = "") -> Array:
    fits = tuple(map(max, x.shape, kernel.shape)) in (x.shape, kernel.shape)
    return slid(x, kernel, mode or ("valid" if fits else "full"))


def _bfloat16(x: Array, kernel: Array, mode: str = "full") -> Array:
    return slid(round_to(x, "bfloat16"), round_to(kernel, "bfloat16"), mode)


def _masked(place: int) -> wrong.Back:
    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, ...]:
        pairs = zip(gradients(gy, x, kernel, mode), (x, kernel), strict=True)
        return tuple(wrong.nonzero(g, a) if i == place else g for i, (g, a) in enumerate(pairs))

    return wrong.backward(back)


def _convolved(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
    return gradients(gy, np.flip(x), np.flip(kernel), mode)


RIGHT: tuple[wrong.Run, wrong.Back] = (slid, gradients)

# 2 The mistakes

EVERYWHERE = (
    Mistake(
        "negative entries of both arrays count as zero: the arithmetic is unsigned",
        "https://github.com/mantidproject/mantidimaging/issues/808",
        *wrong.twisted(*RIGHT, first=wrong.unsigned, second=wrong.unsigned),
        (DIFFERENCE,),
    ),
    Mistake(
        "negative entries of the kernel count as zero: it takes the dtype of an unsigned image",
        "https://github.com/luispedro/mahotas/issues/75",
        *wrong.twisted(*RIGHT, second=wrong.unsigned),
        (COMMUTES,),
    ),
    Mistake(
        "the kernel is not flipped: a correlation",
        "https://github.com/bonsai-rx/bonsai/issues/1761",
        *wrong.twisted(*RIGHT, second=wrong.flipped),
        (COMMUTES, SCALES),
    ),
    Mistake(
        "answers are computed in blocks of two and the one left over is not",
        "https://github.com/opencv/opencv/pull/23162",
        *wrong.twisted(*_with_whole(_left_over, _left_over)),
        (SHIFTS,),
    ),
    Mistake(
        "transforms are one point too short and the last entry wraps around",
        "https://github.com/Rich-Hall/sentinel1Level0DecodingDemo/issues/11",
        *wrong.twisted(*_with_whole(_wrapped, _unwrapped)),
        (SHIFTS, SCALES),
    ),
    Mistake(
        "every answer is half as large: the transform back halves",
        "https://github.com/HEnquist/realfft/issues/4",
        *wrong.twisted(*_with_answers(lambda y, *_: y / 2)),
        (SCALES,),
    ),
    Mistake(
        "factors are rounded to bfloat16, the default on a TPU",
        "https://github.com/jax-ml/jax/issues/7010",
        wrong.forward(_bfloat16),
        caught_by=(SCALES, ADJOINT),
    ),
    Mistake(
        "'same' leaves zeros where the kernel leaves the first array",
        "https://github.com/scipy/scipy/issues/9923",
        *wrong.twisted(*_with_answers(_only_inside)),
        (MIDDLE,),
    ),
    Mistake(
        "'same' begins one entry later for an even kernel, as in MATLAB",
        "https://github.com/scipy/scipy/issues/9941",
        *wrong.twisted(*_cut_by(_matlab)),
        (MIDDLE,),
    ),
    Mistake(
        "'same' is as long as the longer array, as in NumPy",
        "https://github.com/numpy/numpy/issues/6316",
        wrong.forward(_cut_by(_numpy)[0]),
        caught_by=(SHAPES, MIDDLE),
    ),
    Mistake(
        "'valid' stops one entry short",
        "https://github.com/iamtrask/Grokking-Deep-Learning/issues/43",
        *wrong.twisted(*_with_answers(_one_short)),
        (INSIDE,),
    ),
    Mistake(
        "'valid' is cut from the front of the whole answer",
        "https://github.com/pyro-ppl/pyro/pull/2093",
        *wrong.twisted(*_cut_by(_from_the_front)),
        (INSIDE,),
    ),
    Mistake(
        "'valid' comes back reversed when the kernel is the longer",
        "https://github.com/scipy/scipy/issues/5897",
        *wrong.twisted(*_with_answers(_reversed)),
        (COMMUTES, INSIDE),
    ),
    Mistake(
        "the mode left out means 'valid'",
        "https://github.com/Sabrewarrior/normxcorr2-python/issues/1",
        wrong.forward(_usually_valid),
        caught_by=(DEFAULTS,),
    ),
    Mistake(
        "entries of the first array that are zero get no gradient",
        "https://github.com/pytorch/pytorch/issues/95550",
        vjp=_masked(0),
        caught_by=(ENTRIES,),
    ),
    Mistake(
        "entries of the kernel that are zero get no gradient: they pass for pruned",
        "https://github.com/Eric-mingjie/rethinking-network-pruning/issues/38",
        vjp=_masked(1),
        caught_by=(TAPS,),
    ),
    Mistake(
        "the gradients convolve instead of correlating",
        "https://github.com/rasmusbergpalm/DeepLearnToolbox/issues/41",
        vjp=wrong.backward(_convolved),
        caught_by=(ADJOINT,),
    ),
    Mistake(
        "the gradients forget where 'same' and 'valid' begin",
        "https://github.com/tensorflow/tensorflow/issues/11092",
        vjp=wrong.backward(_cut_by(lambda mode, n, m: (0, place(mode, n, m)[1]))[1]),
        caught_by=(ADJOINT,),
    ),
)

OF_SEVERAL_AXES = (
    Mistake(
        "the kernel is flipped along its last axis only",
        "https://github.com/parallella/pal/pull/148",
        *wrong.twisted(*RIGHT, second=lambda k, _: np.flip(k, tuple(range(k.ndim - 1)))),
        (COMMUTES, SCALES),
    ),
)


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return those that can be made with this many axes."""
    return EVERYWHERE + (OF_SEVERAL_AXES if axes > 1 else ())
