"""pad: more entries around an array, or fewer (d2l 6.3.1), a room in reading order.

padding: shape, definition, another way, derivative, how wrong it may be · laws: cases, laws, refusals · mistakes · and
here, all of it in one record.
"""

from d2lref.ops._pad import laws, mistakes, padding
from d2lref.spec import REQUIRED, Op, Operand, Variant

pad = Op(
    name="pad",
    operands=(Operand("x", affine=True),),
    options={"pad": REQUIRED, "mode": "constant", "value": None},
    shape=padding.shape,
    definition=padding.definition,
    variants={"index": Variant(padding.by_index, accepts=lambda x, **_options: 0 not in x)},
    vjp=padding.vjp,
    bound=padding.bound,
    vjp_bound=padding.vjp_bound,
    cases=laws.cases,
    regimes=("lattice_small", "normal", "wide_range", "subnormal", "large_mean", "signed_zero", "nonfinite"),
    gallery=laws.GALLERY,
    follows=("nan", "inf", "zero"),
    laws=laws.LAWS,
    rejections=laws.REJECTIONS,
    mistakes=mistakes.MISTAKES,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 6.3.1; torch.nn.functional.pad",
)
