"""The mistakes of corr: each models a bug report, and is caught by the laws it names."""

from collections.abc import Callable

import numpy as np

from d2lref.ops._correlate import wrong
from d2lref.ops._correlate.corr import (
    ADJOINT,
    BLOT,
    CROP,
    DIFFERENCE,
    KERNELS,
    PIXELS,
    PRODUCT,
    TAPS,
    gradients,
    image_gradient,
    slide,
)
from d2lref.rounding import round_to
from d2lref.spec import Array, Mistake

# 1 Ways to be wrong


def _with_answers(change: wrong.Change) -> tuple[wrong.Run, wrong.Back]:
    """Return the correlation with change(answers, kernel), and its gradients."""
    return lambda x, k: change(slide(x, k), k), lambda gy, x, k: gradients(change(gy, k), x, k)


def _with_gradients(change: Callable[..., tuple[Array, Array]]) -> wrong.Back:
    """Return change(gx, gk, gy, x, kernel) of the right gradients."""
    return wrong.backward(lambda gy, x, k: change(*gradients(gy, x, k), gy, x, k))


def _positive(x: Array, kernel: Array) -> Array:
    return np.maximum(slide(x, kernel), 0.0)


def _positive_back(gy: Array, x: Array, kernel: Array) -> tuple[Array, Array]:
    return gradients(np.where(slide(x, kernel) > 0, gy, 0.0), x, kernel)


def _bfloat16(x: Array, kernel: Array) -> Array:
    return slide(round_to(x, "bfloat16"), round_to(kernel, "bfloat16"))


def _unflipped(_gx: Array, gk: Array, gy: Array, _x: Array, kernel: Array) -> tuple[Array, Array]:
    return image_gradient(gy, np.flip(kernel)), gk


RIGHT: tuple[wrong.Run, wrong.Back] = (slide, gradients)

# 2 The mistakes

EVERYWHERE = (
    Mistake(
        "negative pixels count as zero: the image is unsigned",
        "https://github.com/mantidproject/mantidimaging/issues/808",
        *wrong.twisted(*RIGHT, first=wrong.unsigned),
        (DIFFERENCE,),
    ),
    Mistake(
        "negative taps count as zero: the kernel takes the dtype of an unsigned image",
        "https://github.com/luispedro/mahotas/issues/75",
        *wrong.twisted(*RIGHT, second=wrong.unsigned),
        (KERNELS,),
    ),
    Mistake(
        "negative answers are cut to zero",
        "https://github.com/image-js/image-js/issues/813",
        *wrong.twisted(_positive, _positive_back),
        (DIFFERENCE, KERNELS),
    ),
    Mistake(
        "the kernel is divided by its sum",
        "https://github.com/astropy/astropy/issues/1647",
        *wrong.twisted(*_with_answers(lambda y, kernel: y / (np.sum(kernel) or 1.0))),
        (KERNELS, PRODUCT),
    ),
    Mistake(
        "answers are computed in blocks of two and the one left over is not",
        "https://github.com/opencv/opencv/pull/23162",
        *wrong.twisted(*_with_answers(wrong.blocks_of_two)),
        (CROP,),
    ),
    Mistake(
        "taps are read in blocks of two and the one left over is dropped",
        "https://github.com/PaulStoffregen/Audio/issues/114",
        *wrong.twisted(*RIGHT, second=wrong.blocks_of_two),
        (BLOT,),
    ),
    Mistake(
        "the kernel is flipped: a convolution",
        "https://github.com/SciML/DiffEqOperators.jl/pull/134",
        *wrong.twisted(*RIGHT, second=wrong.flipped),
        (BLOT,),
    ),
    Mistake(
        "the mean under the kernel instead of the sum",
        "https://github.com/kornia/kornia/issues/4433",
        *wrong.twisted(*_with_answers(lambda y, kernel: y / kernel.size)),
        (BLOT,),
    ),
    Mistake(
        "every answer is half as large: the transform back halves",
        "https://github.com/HEnquist/realfft/issues/4",
        *wrong.twisted(*_with_answers(lambda y, _: y / 2)),
        (PRODUCT,),
    ),
    Mistake(
        "factors are rounded to bfloat16, the default on a TPU",
        "https://github.com/jax-ml/jax/issues/7010",
        wrong.forward(_bfloat16),
        caught_by=(PRODUCT, ADJOINT),
    ),
    Mistake(
        "pixels that are zero get no gradient",
        "https://github.com/pytorch/pytorch/issues/95550",
        vjp=_with_gradients(lambda gx, gk, _gy, x, _kernel: (wrong.nonzero(gx, x), gk)),
        caught_by=(PIXELS,),
    ),
    Mistake(
        "taps that are zero get no gradient: they pass for pruned",
        "https://github.com/Eric-mingjie/rethinking-network-pruning/issues/38",
        vjp=_with_gradients(lambda gx, gk, _gy, _x, kernel: (gx, wrong.nonzero(gk, kernel))),
        caught_by=(TAPS,),
    ),
    Mistake(
        "the image's gradient slides the kernel unflipped",
        "https://github.com/rasmusbergpalm/DeepLearnToolbox/issues/41",
        vjp=_with_gradients(_unflipped),
        caught_by=(ADJOINT,),
    ),
    Mistake(
        "the kernel's gradient comes back flipped",
        "https://github.com/FluxML/NNlib.jl/issues/518",
        vjp=_with_gradients(lambda gx, gk, *_: (gx, np.flip(gk))),
        caught_by=(ADJOINT,),
    ),
)

OF_SEVERAL_AXES = (
    Mistake(
        "the kernel is flipped along its last axis",
        "https://github.com/image-js/image-js/issues/81",
        *wrong.twisted(*RIGHT, second=wrong.flipped_last),
        (BLOT,),
    ),
    Mistake(
        "a square kernel is transposed",
        "https://github.com/publiclab/image-sequencer/issues/1025",
        *wrong.twisted(*RIGHT, second=wrong.transposed),
        (BLOT,),
    ),
)


def mistakes(axes: int) -> tuple[Mistake, ...]:
    """Return those that can be made with this many axes."""
    return EVERYWHERE + (OF_SEVERAL_AXES if axes > 1 else ())
