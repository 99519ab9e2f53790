"""Normalisation with the statistics of an example itself: layer, group, instance and root-mean-square.

Reading order: view, what they have in common · laws and mistakes, those they share · and of each of the four in turn:
shape, definition, faster ways, derivative, how wrong it may be, cases · its laws and refusals · its mistakes · and
here, all of it bound together.
"""

from d2lref.ops._norm import (
    conventions,
    group,
    group_laws,
    group_mistakes,
    instance,
    instance_laws,
    instance_mistakes,
    layer,
    layer_laws,
    layer_mistakes,
    rms,
    rms_laws,
    rms_mistakes,
)
from d2lref.spec import REQUIRED, Form, Op, Operand

layer_norm = Op(
    name="layer_norm",
    operands=(Operand("x"), Operand("weight", optional=True), Operand("bias", optional=True)),
    options={"normalized_shape": REQUIRED, **layer.USUAL},
    shape=layer.shape,
    definition=layer.definition,
    variants=layer.WAYS,
    vjp=layer.vjp,
    bound=layer.bound,
    vjp_bound=layer.vjp_bound,
    cases=layer.cases,
    regimes=layer.REGIMES,
    gallery=(
        Form(((4, 16), (16,), (16,)), {"normalized_shape": (16,), "eps": 1e-5}),
        Form(((2, 3, 4, 5), (4, 5), None), {"normalized_shape": (4, 5), "eps": 1e-5}),
        Form(((33,), None, (33,)), {"normalized_shape": (33,), "eps": 0.25}),
    ),
    follows=("nan",),
    laws=layer_laws.LAWS,
    rejections=layer_laws.REJECTIONS,
    mistakes=layer_mistakes.MISTAKES,
    conventions=conventions.LAYER,
    source="Ba, Kiros and Hinton 2016, Layer normalization, section 3",
)

group_norm = Op(
    name="group_norm",
    operands=(Operand("x", batch=True), Operand("weight", optional=True), Operand("bias", optional=True)),
    options={"num_groups": REQUIRED, **group.USUAL},
    shape=group.shape,
    definition=group.definition,
    variants=group.WAYS,
    vjp=group.vjp,
    bound=group.bound,
    vjp_bound=group.vjp_bound,
    cases=group.cases,
    regimes=layer.REGIMES,
    gallery=(
        Form(((2, 6, 4, 4), (6,), (6,)), {"num_groups": 3, "eps": 1e-5}),
        Form(((3, 8), (8,), None), {"num_groups": 2, "eps": 1e-5}),
        Form(((2, 5, 7), None, (5,)), {"num_groups": 1, "eps": 0.25}),
    ),
    follows=("nan",),
    laws=group_laws.LAWS,
    rejections=group_laws.REJECTIONS,
    mistakes=group_mistakes.MISTAKES,
    conventions=conventions.GROUP,
    source="Wu and He 2018, Group normalization, section 3.1",
)

instance_norm = Op(
    name="instance_norm",
    operands=(
        Operand("x"),
        Operand("running_mean", optional=True, differentiable=False, state=True),
        Operand("running_var", optional=True, differentiable=False, state=True, positive=True),
        Operand("weight", optional=True),
        Operand("bias", optional=True),
    ),
    outputs=("y", "mean", "var"),
    options=instance.OPTIONS,
    shape=instance.shape,
    definition=instance.definition,
    variants=instance.WAYS,
    vjp=instance.vjp,
    bound=instance.bound,
    vjp_bound=instance.vjp_bound,
    cases=instance.cases,
    regimes=layer.REGIMES,
    gallery=(
        Form(((2, 3, 4, 4), None, None, (3,), (3,)), instance.OPTIONS),
        Form(((3, 4, 6), (4,), (4,), (4,), None), instance.OPTIONS),
        Form(((2, 3, 5), (3,), (3,), (3,), (3,)), {**instance.OPTIONS, "use_input_stats": False}),
    ),
    follows=("nan",),
    laws=instance_laws.LAWS,
    rejections=instance_laws.REJECTIONS,
    mistakes=instance_mistakes.MISTAKES,
    conventions=conventions.INSTANCE,
    source="Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization: the missing ingredient for fast stylization",
)

rms_norm = Op(
    name="rms_norm",
    operands=(Operand("x"), Operand("weight", optional=True)),
    options={"normalized_shape": REQUIRED, **rms.USUAL},
    shape=rms.shape,
    definition=rms.definition,
    variants=rms.WAYS,
    vjp=rms.vjp,
    bound=rms.bound,
    vjp_bound=rms.vjp_bound,
    cases=rms.cases,
    regimes=layer.REGIMES,
    gallery=(
        Form(((4, 16), (16,)), {"normalized_shape": (16,), "eps": None}),
        Form(((2, 3, 4, 5), (4, 5)), {"normalized_shape": (4, 5), "eps": 1e-5}),
        Form(((33,), None), {"normalized_shape": (33,), "eps": 0.25}),
    ),
    follows=("nan",),
    laws=rms_laws.LAWS,
    rejections=rms_laws.REJECTIONS,
    mistakes=rms_mistakes.MISTAKES,
    conventions=conventions.RMS,
    source="Zhang and Sennrich 2019, Root mean square layer normalization, section 4",
)
