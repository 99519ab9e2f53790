"""conv1d, conv2d, conv3d: the convolution of deep learning (d2l, sections 7.2 to 7.4), a room in reading order.

definition: shape, definition, faster ways, derivative, how wrong it may be · cases · laws · rejections · mistakes · and
here, all of it bound to 1, 2 and 3 axes of space.
"""

from functools import partial

from d2lref.ops._conv import definition as of
from d2lref.ops._conv.cases import REGIMES, cases, gallery
from d2lref.ops._conv.laws import LAWS
from d2lref.ops._conv.mistakes import mistakes
from d2lref.ops._conv.rejections import rejections
from d2lref.spec import Op, Operand


def _conv(axes: int) -> Op:
    """Return the convolution over so many axes of space."""
    return Op(
        name=f"conv{axes}d",
        operands=(
            Operand("x", linear=True, batch=True),
            Operand("weight", linear=True),
            Operand("bias", optional=True),
        ),
        options={"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
        shape=of.bind(of.shape, axes),
        definition=of.bind(of.definition, axes),
        variants=of.variants(axes),
        vjp=of.bind(of.vjp, axes),
        bound=of.bind(of.bound, axes),
        vjp_bound=of.bind(of.vjp_bound, axes),
        spread=of.bind(of.spread, axes),
        cases=partial(cases, axes),
        regimes=REGIMES,
        gallery=gallery(axes),
        follows=("nan", "inf"),
        laws=LAWS,
        rejections=rejections(axes),
        mistakes=mistakes(axes),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, sections 7.2 to 7.4",
    )


conv1d = _conv(1)
conv2d = _conv(2)
conv3d = _conv(3)
