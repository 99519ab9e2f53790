"""relu6, leaky_relu, hardsigmoid and hardswish: polynomials on parts of the line, entry by entry."""

from collections.abc import Callable
from typing import Any

from d2lref.ops._activation.piecewise import bounds, conventions, definition, laws, mistakes
from d2lref.ops._activation.shared import REGIMES, cases, shape, sizes
from d2lref.spec import Array, Draw, Form, Op, Operand, Variant


def leaky_cases(draw: Draw) -> Form:
    """Draw an array of one to four axes and a slope; shrinks to a single number and the default."""
    return Form((sizes(draw),), {"negative_slope": draw.choice(0.01, 0.5, 0.0, 2.0)})


def _op(name: str, define: Callable[..., Array], vjp: Callable[..., tuple[Array]], **told: Any) -> Op:
    """Return an op of one array; told: what differs, with the pairs of answer and derivative."""
    answer, slope, far = told.pop("answer"), told.pop("slope"), told.pop("at_infinity", bounds.limited)
    plain: dict[str, Any] = {"options": {}, "cases": cases, "gallery": (Form(((2, 3, 4, 4),), {}),)}
    return Op(
        name=name,
        operands=(Operand("x", batch=True),),
        shape=shape,
        definition=define,
        vjp=vjp,
        bound=bounds.bound_of(answer, far),
        vjp_bound=bounds.vjp_bound_of(slope),
        regimes=REGIMES,
        rejections=(),
        **{**plain, **told},
    )


relu6 = _op(
    "relu6",
    definition.relu6,
    definition.relu6_vjp,
    answer=bounds.relu6,
    slope=bounds.relu6_slope,
    variants={"clipping": Variant(definition.by_clipping)},
    laws=laws.RELU6_LAWS,
    mistakes=mistakes.RELU6_MISTAKES,
    source="Krizhevsky 2010",
)

leaky_relu = _op(
    "leaky_relu",
    definition.leaky_relu,
    definition.leaky_relu_vjp,
    answer=bounds.leaky,
    slope=bounds.leaky_slope,
    at_infinity=bounds.leaking,
    options={"negative_slope": 0.01},
    variants={"sum of parts": Variant(definition.sum_of_parts)},
    cases=leaky_cases,
    gallery=(Form(((2, 3, 4, 4),), {"negative_slope": 0.01}), Form(((3, 5),), {"negative_slope": 0.5})),
    follows=("nan", "inf", "limit"),
    laws=laws.LEAKY_LAWS,
    mistakes=mistakes.LEAKY_MISTAKES,
    conventions=conventions.LEAKY,
    source="Maas, Hannun and Ng 2013",
)

hardsigmoid = _op(
    "hardsigmoid",
    definition.hardsigmoid,
    definition.hardsigmoid_vjp,
    answer=bounds.gate,
    slope=bounds.gate_slope,
    variants={"clipped line": Variant(definition.clipped_line)},
    laws=laws.HARDSIGMOID_LAWS,
    mistakes=mistakes.HARDSIGMOID_MISTAKES,
    conventions=conventions.HARDSIGMOID,
    source="Howard et al. 2019",
)

hardswish = _op(
    "hardswish",
    definition.hardswish,
    definition.hardswish_vjp,
    answer=bounds.swish,
    slope=bounds.swish_slope,
    at_infinity=bounds.gated,
    variants={"gated": Variant(definition.gated)},
    follows=("nan", "inf", "limit"),
    laws=laws.HARDSWISH_LAWS,
    mistakes=mistakes.HARDSWISH_MISTAKES,
    source="Howard et al. 2019",
)
