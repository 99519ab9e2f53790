"""Pooling (d2l, section 7.5): the largest, the mean or the norm of each window, a room in reading order.

grid: where the windows lie · max_pool: shape, definition, faster ways, derivative, how wrong it may be · max_laws:
cases, laws, refusals · max_mistakes · the same three of avg_pool, of lp_pool (whose bounds have a file of their own)
and of indexed, which tells where the largest entries are · and here, all of it bound to 1, 2 and 3 axes of space.
shared: what all say in the same words.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from d2lref.ops._pool import (
    avg_laws,
    avg_mistakes,
    avg_pool,
    indexed,
    indexed_laws,
    indexed_mistakes,
    lp_bounds,
    lp_laws,
    lp_mistakes,
    lp_pool,
    max_laws,
    max_mistakes,
    max_pool,
    shared,
)
from d2lref.spec import REQUIRED, Convention, Op, Operand, Variant

ONNX = Convention(
    name="onnx",
    says="padding is not counted, unless asked otherwise",
    source="https://onnx.ai/onnx/operators/onnx__AveragePool.html",
    defaults={"count_include_pad": False},
)
SOURCE = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5"


def _bound(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
    """Return the function with its first argument bound, under its docstring."""
    bound = partial(function, first)
    bound.__doc__ = function.__doc__
    return bound


def _max_pool(axes: int) -> Op:
    """Return the max pooling over so many axes of space."""
    return Op(
        name=f"max_pool{axes}d",
        operands=(Operand("x", batch=True),),
        options={"kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False},
        shape=_bound(max_pool.shape, axes),
        definition=_bound(max_pool.definition, axes),
        variants={name: Variant(_bound(way, axes)) for name, way in max_pool.WAYS.items()},
        vjp=_bound(max_pool.vjp, axes),
        bound=_bound(max_pool.bound, axes),
        vjp_bound=_bound(max_pool.vjp_bound, axes),
        cases=_bound(max_laws.cases, axes),
        regimes=max_laws.REGIMES,
        gallery=shared.gallery(axes, dilation=1),
        laws=max_laws.LAWS,
        rejections=max_laws.rejections(axes),
        mistakes=max_mistakes.mistakes(axes),
        source=SOURCE,
    )


def _max_pool_with_indices(axes: int) -> Op:
    """Return the max pooling over so many axes of space that tells indices."""
    read = partial(indexed.windows, axes)
    return Op(
        name=f"max_pool{axes}d_with_indices",
        operands=(Operand("x", batch=True),),
        outputs=("y", "indices"),
        indices=("indices",),
        options={"kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False},
        shape=_bound(indexed.shape, read),
        definition=_bound(indexed.definition, read),
        variants={name: Variant(_bound(way, read)) for name, way in indexed.WAYS.items()},
        vjp=_bound(indexed.vjp, read),
        bound=_bound(indexed.bound, read),
        vjp_bound=_bound(indexed.vjp_bound, read),
        cases=_bound(max_laws.cases, axes),
        regimes=max_laws.REGIMES,
        gallery=shared.gallery(axes, dilation=1),
        laws=indexed_laws.laws(read),
        rejections=max_laws.rejections(axes, "max_pool{}d_with_indices"),
        mistakes=indexed_mistakes.mistakes(axes, read, plain=True),
        source=SOURCE,
    )


def _avg_pool(axes: int) -> Op:
    """Return the average pooling over so many axes of space."""
    override = {} if axes == 1 else {"divisor_override": None}
    counting = {"count_include_pad": True, **override}
    return Op(
        name=f"avg_pool{axes}d",
        operands=(Operand("x", linear=True, batch=True),),
        options={"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, **counting},
        shape=_bound(avg_pool.shape, axes),
        definition=_bound(avg_pool.definition, axes),
        variants={name: Variant(_bound(way, axes)) for name, way in avg_pool.WAYS.items()},
        vjp=_bound(avg_pool.vjp, axes),
        bound=_bound(avg_pool.bound, axes),
        vjp_bound=_bound(avg_pool.vjp_bound, axes),
        spread=_bound(avg_pool.spread, axes),
        cases=_bound(avg_laws.cases, axes),
        regimes=avg_laws.REGIMES,
        gallery=shared.gallery(axes, **counting),
        follows=("nan", "inf"),
        laws=avg_laws.laws(axes),
        rejections=avg_laws.rejections(axes),
        mistakes=avg_mistakes.mistakes(axes),
        conventions=(ONNX,),
        source=SOURCE,
    )


def _lp_pool(axes: int) -> Op:
    """Return the power-average pooling over so many axes of space."""
    return Op(
        name=f"lp_pool{axes}d",
        operands=(Operand("x", batch=True),),
        options={"norm_type": REQUIRED, "kernel_size": REQUIRED, "stride": None, "ceil_mode": False},
        shape=_bound(lp_pool.shape, axes),
        definition=_bound(lp_pool.definition, axes),
        variants={name: Variant(_bound(way, axes)) for name, way in lp_pool.WAYS.items()},
        vjp=_bound(lp_pool.vjp, axes),
        bound=_bound(lp_bounds.bound, axes),
        vjp_bound=_bound(lp_bounds.vjp_bound, axes),
        cases=_bound(lp_laws.cases, axes),
        regimes=lp_laws.REGIMES,
        gallery=lp_laws.gallery(axes),
        laws=lp_laws.LAWS,
        rejections=lp_laws.rejections(axes),
        mistakes=lp_mistakes.mistakes(axes),
        source="Sermanet, Chintala and LeCun 2012, Convolutional neural networks applied to house numbers",
    )


max_pool1d, max_pool2d, max_pool3d = (_max_pool(axes) for axes in (1, 2, 3))
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(_max_pool_with_indices, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (_avg_pool(axes) for axes in (1, 2, 3))
lp_pool1d, lp_pool2d, lp_pool3d = (_lp_pool(axes) for axes in (1, 2, 3))
