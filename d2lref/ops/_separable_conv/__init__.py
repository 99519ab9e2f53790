"""separable_conv1d, separable_conv2d, separable_conv3d: a filter for each channel, then a linear layer at every pixel.

Definition: shape, definition, faster ways, derivative, how wrong it may be · cases · laws · rejections · mistakes ·
and here, all of it bound to 1, 2 and 3 axes of space. The name is TensorFlow's, the layout of the arrays torch's.
"""

from functools import partial

from d2lref.ops._conv.cases import REGIMES
from d2lref.ops._conv.definition import bind
from d2lref.ops._separable_conv import definition as of
from d2lref.ops._separable_conv.cases import cases, gallery
from d2lref.ops._separable_conv.laws import LAWS
from d2lref.ops._separable_conv.mistakes import mistakes
from d2lref.ops._separable_conv.rejections import rejections
from d2lref.spec import Op, Operand


def _separable_conv(axes: int) -> Op:
    """Return the separable convolution over so many axes of space."""
    return Op(
        name=f"separable_conv{axes}d",
        operands=(
            Operand("x", linear=True, batch=True),
            Operand("depthwise_weight", linear=True),
            Operand("pointwise_weight", linear=True),
            Operand("bias", optional=True),
        ),
        options={"stride": 1, "padding": 0, "dilation": 1},
        shape=bind(of.shape, axes),
        definition=bind(of.definition, axes),
        variants=of.variants(axes),
        vjp=bind(of.vjp, axes),
        bound=bind(of.bound, axes),
        vjp_bound=bind(of.vjp_bound, axes),
        cases=partial(cases, axes),
        regimes=REGIMES,
        gallery=gallery(axes),
        laws=LAWS,
        rejections=rejections(axes),
        mistakes=mistakes(axes),
        source="Chollet 2017, Xception: deep learning with depthwise separable convolutions, section 1",
    )


separable_conv1d = _separable_conv(1)
separable_conv2d = _separable_conv(2)
separable_conv3d = _separable_conv(3)
