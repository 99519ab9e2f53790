"""Adaptive pooling (global pooling when there is one window), a room in reading order.

shares: where the windows lie · means and maxima: shape, definition, faster ways, derivative, how wrong they may be ·
laws: cases, laws, refusals of both · mistakes of both · `_pool.indexed` for maxima with their indices · and here, all
of it bound to 1, 2 and 3 axes of space.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from d2lref.ops._adaptive_pool import laws, maxima, means, mistakes, shares
from d2lref.ops._pool import indexed, indexed_laws, indexed_mistakes, max_laws
from d2lref.spec import REQUIRED, SUMS, Op, Operand, Variant

SOURCE = "He, Zhang, Ren and Sun 2015, Spatial pyramid pooling in deep convolutional networks, appendix A"


def _bound(function: Callable[..., Any], first: Any) -> Callable[..., Any]:
    """Return the function with its first argument bound, under its docstring."""
    bound = partial(function, first)
    bound.__doc__ = function.__doc__
    return bound


def _adaptive_avg_pool(axes: int) -> Op:
    """Return the adaptive average pooling over so many axes of space."""
    return Op(
        name=f"adaptive_avg_pool{axes}d",
        operands=(Operand("x", linear=True, batch=True),),
        options={"output_size": REQUIRED},
        shape=_bound(means.shape, axes),
        definition=_bound(means.definition, axes),
        variants={name: Variant(_bound(way, axes), finite=name == "matmul") for name, way in means.WAYS.items()},
        vjp=_bound(means.vjp, axes),
        bound=_bound(means.bound, axes),
        vjp_bound=_bound(means.vjp_bound, axes),
        spread=_bound(means.spread, axes),
        cases=_bound(laws.cases, axes),
        regimes=(*SUMS, "large_mean"),
        gallery=laws.gallery(axes),
        follows=("nan", "inf"),
        laws=laws.AVG_LAWS,
        rejections=laws.rejections("adaptive_avg_pool{}d", axes),
        mistakes=mistakes.avg_mistakes(axes),
        source=SOURCE,
    )


def _adaptive_max_pool(axes: int) -> Op:
    """Return the adaptive max pooling over so many axes of space."""
    return Op(
        name=f"adaptive_max_pool{axes}d",
        operands=(Operand("x", batch=True),),
        options={"output_size": REQUIRED},
        shape=_bound(maxima.shape, axes),
        definition=_bound(maxima.definition, axes),
        variants={name: Variant(_bound(way, axes)) for name, way in maxima.WAYS.items()},
        vjp=_bound(maxima.vjp, axes),
        bound=_bound(maxima.bound, axes),
        vjp_bound=_bound(maxima.vjp_bound, axes),
        cases=_bound(laws.cases, axes),
        regimes=max_laws.REGIMES,
        gallery=laws.gallery(axes),
        laws=laws.MAX_LAWS,
        rejections=laws.rejections("adaptive_max_pool{}d", axes),
        mistakes=mistakes.max_mistakes(axes),
        source=SOURCE,
    )


def _adaptive_max_pool_with_indices(axes: int) -> Op:
    """Return the adaptive max pooling over so many axes of space that tells indices."""
    title = "adaptive_max_pool{}d_with_indices"
    read = partial(shares.shares, title, axes)
    return Op(
        name=title.format(axes),
        operands=(Operand("x", batch=True),),
        outputs=("y", "indices"),
        indices=("indices",),
        options={"output_size": REQUIRED},
        shape=_bound(indexed.shape, read),
        definition=_bound(indexed.definition, read),
        variants={name: Variant(_bound(way, read)) for name, way in indexed.WAYS.items()},
        vjp=_bound(indexed.vjp, read),
        bound=_bound(indexed.bound, read),
        vjp_bound=_bound(indexed.vjp_bound, read),
        cases=_bound(laws.cases, axes),
        regimes=max_laws.REGIMES,
        gallery=laws.gallery(axes),
        laws=indexed_laws.laws(read),
        rejections=laws.rejections(title, axes),
        mistakes=indexed_mistakes.mistakes(axes, read, plain=False),
        source=SOURCE,
    )


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_avg_pool(axes) for axes in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_max_pool(axes) for axes in (1, 2, 3))
adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices, adaptive_max_pool3d_with_indices = (
    _adaptive_max_pool_with_indices(axes) for axes in (1, 2, 3)
)
