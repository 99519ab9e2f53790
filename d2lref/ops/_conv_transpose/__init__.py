"""conv_transpose1d, conv_transpose2d, conv_transpose3d: the transposed convolution (d2l, section 14.10).

A room in reading order: definition: shape, definition, faster ways, derivative, how wrong it may be · cases · laws ·
rejections · mistakes · and here, all of it bound to 1, 2 and 3 axes of space.
"""

from functools import partial
from typing import Any

from d2lref.arrays import namespace
from d2lref.ops._conv.cases import REGIMES
from d2lref.ops._conv.definition import bind
from d2lref.ops._conv_transpose import definition as of
from d2lref.ops._conv_transpose.cases import cases, gallery
from d2lref.ops._conv_transpose.laws import LAWS, STAMP
from d2lref.ops._conv_transpose.mistakes import mistakes
from d2lref.ops._conv_transpose.rejections import rejections
from d2lref.spec import Convention, Op, Operand


def _turned(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arrays with the weight flipped along its axes of space."""
    x, weight, *bias = arrays
    axes = tuple(range(2, weight.ndim))
    return (x, namespace(weight).flip(weight, axis=axes), *bias)


CONVENTIONS = tuple(
    Convention(name=name, says="the filter is flipped", source=source, moves=_turned, without=(STAMP.says,))
    for name, source in {
        "jax": "https://docs.jax.dev/en/latest/_autosummary/jax.lax.conv_transpose.html",
        "flax": "https://flax.readthedocs.io/en/v0.6.10/api_reference/_autosummary/flax.linen.ConvTranspose.html",
    }.items()
)


def _conv_transpose(axes: int) -> Op:
    """Return the transposed convolution over so many axes of space."""
    return Op(
        name=f"conv_transpose{axes}d",
        operands=(
            Operand("x", linear=True, batch=True),
            Operand("weight", linear=True),
            Operand("bias", optional=True),
        ),
        options={"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1},
        shape=bind(of.shape, axes),
        definition=bind(of.definition, axes),
        variants=of.variants(axes),
        vjp=bind(of.vjp, axes),
        bound=bind(of.bound, axes),
        vjp_bound=bind(of.vjp_bound, axes),
        spread=bind(of.spread, axes),
        cases=partial(cases, axes),
        regimes=REGIMES,
        gallery=gallery(axes),
        follows=("nan", "inf"),
        laws=LAWS,
        rejections=rejections(axes),
        mistakes=mistakes(axes),
        conventions=CONVENTIONS,
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 14.10",
    )


conv_transpose1d = _conv_transpose(1)
conv_transpose2d = _conv_transpose(2)
conv_transpose3d = _conv_transpose(3)
