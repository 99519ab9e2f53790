"""Adaptive pooling (global pooling when there is one window), a room in reading order.

shares: where the windows lie · means and maxima: shape, definition, faster ways, derivative, how wrong they may be ·
laws: cases, laws, refusals of both · mistakes of both · and here, all of it bound to 1, 2 and 3 axes of space.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from d2lref.ops._adaptive_pool import laws, maxima, means, mistakes
from d2lref.spec import REQUIRED, SUMS, Op, Operand, Variant

SOURCE = "He, Zhang, Ren and Sun 2015, Spatial pyramid pooling in deep convolutional networks, appendix A"


def _bound(function: Callable[..., Any], axes: int) -> Callable[..., Any]:
    """Return the function with its first argument bound, under its docstring."""
    bound = partial(function, axes)
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
        variants={name: Variant(_bound(way, axes)) for name, way in means.WAYS.items()},
        vjp=_bound(means.vjp, axes),
        bound=_bound(means.bound, axes),
        vjp_bound=_bound(means.vjp_bound, axes),
        spread=_bound(means.spread, axes),
        cases=_bound(laws.cases, axes),
        regimes=(*SUMS, "large_mean"),
        gallery=laws.gallery(axes),
        laws=laws.AVG_LAWS,
        rejections=laws.rejections("avg", axes),
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
        regimes=(
            "lattice_small",
            "normal",
            "ties",
            "nonfinite",
            "signed_zero",
            "wide_range",
            "subnormal",
            "large_mean",
        ),
        gallery=laws.gallery(axes),
        laws=laws.MAX_LAWS,
        rejections=laws.rejections("max", axes),
        mistakes=mistakes.max_mistakes(axes),
        source=SOURCE,
    )


adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (_adaptive_avg_pool(axes) for axes in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (_adaptive_max_pool(axes) for axes in (1, 2, 3))
