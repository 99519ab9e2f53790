"""unfold and fold: windows as columns and back (im2col and col2im; d2l, section 14.10.3), a room in reading order.

grid: where the windows lie · im2col: shape, definition, faster ways, derivative, how wrong it may be, cases, laws,
refusals of unfold · col2im: the same of its adjoint, fold · wrong: windows that are moved wrongly · mistakes · and
here, the two ops.
"""

from d2lref.ops._conv.cases import REGIMES
from d2lref.ops._unfold import col2im, im2col, mistakes
from d2lref.spec import REQUIRED, Op, Operand

SOURCE = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 14.10.3"

unfold = Op(
    name="unfold",
    operands=(Operand("x", linear=True, batch=True),),
    options={"kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1},
    shape=im2col.shape,
    definition=im2col.definition,
    variants=im2col.VARIANTS,
    vjp=im2col.vjp,
    bound=im2col.bound,
    vjp_bound=im2col.vjp_bound,
    cases=im2col.cases,
    regimes=REGIMES,
    gallery=im2col.gallery(),
    follows=("nan", "inf", "zero"),
    laws=im2col.LAWS,
    rejections=im2col.rejections(),
    mistakes=mistakes.UNFOLD,
    source=SOURCE,
)

fold = Op(
    name="fold",
    operands=(Operand("x", linear=True, batch=True),),
    options={"output_size": REQUIRED, "kernel_size": REQUIRED, "dilation": 1, "padding": 0, "stride": 1},
    shape=col2im.shape,
    definition=col2im.definition,
    variants=col2im.VARIANTS,
    vjp=col2im.vjp,
    bound=col2im.bound,
    vjp_bound=col2im.vjp_bound,
    spread=col2im.spread,
    cases=col2im.cases,
    regimes=REGIMES,
    gallery=col2im.gallery(),
    follows=("nan", "inf"),
    laws=col2im.LAWS,
    rejections=col2im.rejections(),
    mistakes=mistakes.FOLD,
    source=SOURCE,
)
