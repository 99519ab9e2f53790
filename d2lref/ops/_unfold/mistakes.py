"""How unfold and fold go wrong: each mistake models a bug report."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._conv.misplaced import undone
from d2lref.ops._unfold import col2im, im2col, wrong
from d2lref.ops._unfold.grid import Grid, columns, cropped, folded, grid
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
ADJOINT = "the vjp is the adjoint"

# 1 Wrong moves, forward and backward alike


def _unfolding(move: wrong.Move) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return unfold by a wrong move, and its gradient."""

    def forward(x: Array, **options: Any) -> Array:
        im2col.shape(x.shape, **options)
        return move(grid("unfold", x.shape[2:], **options), x)

    def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        g = grid("unfold", x.shape[2:], **options)
        return (undone(partial(move, g), gy.astype(np.float64), x.shape).astype(gy.dtype),)

    return forward, vjp


def _folding(move: wrong.Move) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return fold, the adjoint of unfold by a wrong move, and its gradient."""

    def forward(x: Array, **options: Any) -> Array:
        (answer,) = col2im.shape(x.shape, **options)
        moved = undone(partial(move, _windows(answer[2:], options)), x.astype(np.float64), answer)
        return moved.astype(x.dtype)

    def vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        del x
        return (move(_windows(gy.shape[2:], options), gy),)

    return forward, vjp


def _windows(size: tuple[int, ...], options: dict[str, Any]) -> Grid:
    return grid("fold", size, **{name: value for name, value in options.items() if name != "output_size"})


# 2 Columns that do not add up


def _last_column_wins(g: Grid, x: Array) -> Array:
    """Return columns written where they were read, each over those before it."""
    patches = x.reshape(x.shape[0], x.shape[1] // g.taps, *g.kernel, x.shape[2])
    whole: Array = np.zeros((*patches.shape[:2], *g.whole), x.dtype)
    for window, cut in enumerate(g.cuts()):
        whole[(..., *cut)] = patches[..., window]
    return cropped(g, whole)


def _averaged(g: Grid, x: Array) -> Array:
    """Return columns averaged where they overlap."""
    counts = folded(g, np.ones((1, g.taps, x.shape[2])))
    return (folded(g, x.astype(np.float64)) / np.maximum(counts, 1)).astype(x.dtype)


def _only(change: Callable[[Grid, Array], Array]) -> Callable[..., Array]:
    """Return fold by `change`."""

    def forward(x: Array, **options: Any) -> Array:
        (answer,) = col2im.shape(x.shape, **options)
        return change(_windows(answer[2:], options), x)

    return forward


def _back(change: Callable[[Grid, Array], Array]) -> Callable[..., tuple[Array]]:
    """Return the gradient of unfold by `change`."""
    return lambda gy, x, **options: (change(grid("unfold", x.shape[2:], **options), gy),)


def _shared_back(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Return the gradient of the averaged fold."""
    g = _windows(gy.shape[2:], options)
    counts = folded(g, np.ones((1, g.taps, x.shape[2])))
    return (columns(g, gy / np.maximum(counts, 1)).astype(gy.dtype),)


def _unpadded_back(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Return the gradient of fold read without the shift by the padding."""
    g = _windows(gy.shape[2:], options)
    behind = [(0, 0), (0, 0), *((0, 2 * p) for p in g.padding)]
    return (columns(g._replace(padding=(0, 0), size=g.whole), np.pad(gy, behind)).reshape(x.shape),)


# 3 The lists


UNFOLD = (
    Mistake(
        "rows hold the channels of one tap after those of another",
        f"{HUB}/pytorch/executorch/pull/20708",
        *_unfolding(wrong.taps_before_channels),
        (im2col.CHANNEL.says,),
    ),
    Mistake(
        "taps are counted with the first axis fastest",
        f"{HUB}/deeplearning4j/nd4j/issues/1646",
        *_unfolding(wrong.taps_down_the_columns),
        (im2col.TAP.says,),
    ),
    Mistake(
        "taps are counted backwards",
        f"{HUB}/CNugteren/CLBlast/pull/332",
        *_unfolding(wrong.taps_reversed),
        (im2col.TAP.says,),
    ),
    Mistake(
        "height and width change places as windows are counted",
        f"{HUB}/TheAlgorithms/Python/issues/1847",
        *_unfolding(wrong.windows_down_the_columns),
        (im2col.TAP.says,),
    ),
    Mistake(
        "columns right of the image's height count as outside",
        f"{HUB}/BVLC/caffe/pull/298",
        *_unfolding(wrong.high_as_wide),
        (im2col.TAP.says,),
    ),
    Mistake(
        "the dilations of height and width change places",
        f"{HUB}/deeplearning4j/nd4j/issues/2457",
        *_unfolding(wrong.dilation_backwards),
        (im2col.DILATION.says,),
    ),
    Mistake(
        "the dilation of the width serves for both",
        f"{HUB}/apache/mxnet/pull/6986",
        *_unfolding(wrong.dilation_of_the_width),
        (im2col.DILATION.says,),
    ),
    Mistake(
        "with a stride, windows are stored under the number of their first pixel",
        f"{HUB}/mengxinZHANG/numpy-realizes-CNN/issues/2",
        *_unfolding(wrong.steps_counted_as_windows),
        (im2col.STRIDE.says,),
    ),
    Mistake(
        "windows begin where the padding of the other axis would have them",
        f"{HUB}/microsoft/onnxruntime/pull/27069",
        *_unfolding(wrong.padding_backwards),
        (im2col.PADDING.says,),
    ),
    Mistake(
        "the gradient is overwritten where windows overlap",
        f"{HUB}/hguomin/deep-learning-from-scratch/issues/2",
        vjp=_back(_last_column_wins),
        caught_by=(ADJOINT,),
    ),
    Mistake(
        "the gradient is averaged where windows overlap",
        f"{HUB}/pytorch/pytorch/issues/21817",
        vjp=_back(_averaged),
        caught_by=(ADJOINT,),
    ),
)

FOLD = (
    Mistake(
        "rows are read as the channels of one tap after those of another",
        f"{HUB}/cloneofsimo/minRF/issues/6",
        *_folding(wrong.taps_before_channels),
        (col2im.CHANNEL.says,),
    ),
    Mistake(
        "taps are counted with the first axis fastest",
        f"{HUB}/deeplearning4j/nd4j/issues/1646",
        *_folding(wrong.taps_down_the_columns),
        (col2im.WINDOW.says,),
    ),
    Mistake(
        "taps are counted backwards",
        f"{HUB}/CNugteren/CLBlast/pull/332",
        *_folding(wrong.taps_reversed),
        (col2im.WINDOW.says,),
    ),
    Mistake(
        "the dilations of height and width change places",
        f"{HUB}/deeplearning4j/nd4j/issues/2457",
        *_folding(wrong.dilation_backwards),
        (col2im.DILATION.says,),
    ),
    Mistake(
        "what falls into the padding is added to the first pixel",
        f"{HUB}/f-dangel/unfoldNd/issues/30",
        *_folding(wrong.first_pixel_around),
        (col2im.PADDING.says,),
    ),
    Mistake(
        "windows are counted by another rule than unfold's: one for each pixel",
        f"{HUB}/microsoft/onnxruntime/issues/18156",
        *_folding(wrong.one_window_for_each_pixel),
        (col2im.HALVES.says,),
    ),
    Mistake(
        "columns are overwritten where windows overlap",
        f"{HUB}/oreilly-japan/deep-learning-from-scratch/issues/27",
        _only(_last_column_wins),
        caught_by=(col2im.HALVES.says,),
    ),
    Mistake(
        "columns are averaged where windows overlap",
        f"{HUB}/pytorch/pytorch/issues/21817",
        _only(_averaged),
        _shared_back,
        (col2im.HALVES.says,),
    ),
    Mistake(
        "the gradient is read without the shift by the padding",
        f"{HUB}/PaddlePaddle/Paddle/pull/4887",
        vjp=_unpadded_back,
        caught_by=(ADJOINT,),
    ),
)
