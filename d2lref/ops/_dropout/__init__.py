"""dropout, dropout1d, dropout2d, dropout3d: numbers, or whole channels, are set to zero at random (d2l 5.6)."""

from functools import partial
from typing import Any

from d2lref.ops._dropout.definition import cases, definition, draws_mask, name_of, shape_rule, vjp
from d2lref.ops._dropout.laws import laws
from d2lref.ops._dropout.mistakes import mistakes, rejections
from d2lref.spec import Distribution, Form, Operand


def _make(axes: int) -> Distribution:
    """Return dropout of numbers (axes = 0), or of channels with so many axes of size."""
    size = (5, 2, 3)[:axes]
    options: dict[str, Any] = {"p": 0.5, "training": True}
    forms: tuple[dict[str, Any], ...] = ({}, {"p": 0.1}, {"training": False}, {"p": 0.0}, {"p": 1.0}, {"p": 0.9})
    return Distribution(
        name=name_of(axes),
        operands=(Operand("x", linear=True),),
        options=options,
        shape=partial(shape_rule, axes),
        definition=partial(definition, axes),
        vjp=partial(vjp, axes),
        law="each number of x, or each channel, becomes 0 with probability p and x / (1 - p) else",
        cases=partial(cases, axes),
        varies=draws_mask,
        laws=laws(axes),
        rejections=rejections(axes),
        mistakes=mistakes(axes),
        source="Srivastava et al. 2014; Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 5.6",
        gallery=tuple(Form((), {"shape": (6, 7, *size), **options, **form}) for form in forms),
    )


dropout, dropout1d, dropout2d, dropout3d = (_make(axes) for axes in range(4))
