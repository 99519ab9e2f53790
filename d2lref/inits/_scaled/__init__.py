"""xavier and kaiming, uniform and normal: numbers scaled so that signals keep their size (d2l 5.4.2)."""

from d2lref.inits._scaled.definition import (
    draw_kaiming_normal,
    draw_kaiming_uniform,
    draw_xavier_normal,
    draw_xavier_uniform,
    kaiming_cases,
    kaiming_normal_shape,
    kaiming_uniform_shape,
    xavier_cases,
    xavier_normal_shape,
    xavier_uniform_shape,
)
from d2lref.inits._scaled.laws import kaiming, kaiming_keeps, laws, normal_law, uniform_law, xavier, xavier_keeps
from d2lref.inits._scaled.mistakes import (
    KAIMING_NORMAL_MISTAKES,
    KAIMING_UNIFORM_MISTAKES,
    XAVIER_NORMAL_MISTAKES,
    XAVIER_UNIFORM_MISTAKES,
    kaiming_rejections,
    one_axis,
)
from d2lref.spec import Case, Distribution, Form

_GLOROT = "Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
_HE = "He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, section 2.2"
_XAVIER_GALLERY = (Form((), {"shape": (4, 3, 2, 5), "gain": 5.0 / 3.0}), Form((), {"shape": (7, 2), "gain": 1.0}))
_KAIMING = {"a": 0.0, "mode": "fan_in", "nonlinearity": "leaky_relu"}
_KAIMING_GALLERY = (
    Form((), {"shape": (4, 3, 2, 5), "a": 0.2, "mode": "fan_out", "nonlinearity": "leaky_relu"}),
    Form((), {"shape": (7, 2), "a": 0.0, "mode": "fan_in", "nonlinearity": "relu"}),
)


def _always(case: Case) -> bool:
    del case
    return True


xavier_uniform = Distribution(
    name="xavier_uniform",
    options={"gain": 1.0},
    shape=xavier_uniform_shape,
    definition=draw_xavier_uniform,
    law="independent numbers of U(-b, b), b = gain sqrt(6 / (fan_in + fan_out))",
    cases=xavier_cases,
    varies=_always,
    laws=laws(xavier(uniform_law), xavier_keeps(uniform_law), bounded=True),
    rejections=(one_axis("xavier_uniform"),),
    mistakes=XAVIER_UNIFORM_MISTAKES,
    source=_GLOROT,
    gallery=_XAVIER_GALLERY,
)
xavier_normal = Distribution(
    name="xavier_normal",
    options={"gain": 1.0},
    shape=xavier_normal_shape,
    definition=draw_xavier_normal,
    law="independent numbers of N(0, gain^2 2 / (fan_in + fan_out))",
    cases=xavier_cases,
    varies=_always,
    laws=laws(xavier(normal_law), xavier_keeps(normal_law), bounded=False),
    rejections=(one_axis("xavier_normal"),),
    mistakes=XAVIER_NORMAL_MISTAKES,
    source=_GLOROT,
    gallery=_XAVIER_GALLERY,
)
kaiming_uniform = Distribution(
    name="kaiming_uniform",
    options=_KAIMING,
    shape=kaiming_uniform_shape,
    definition=draw_kaiming_uniform,
    law="independent numbers of U(-b, b), b = gain sqrt(3 / fan)",
    cases=kaiming_cases,
    varies=_always,
    laws=laws(kaiming(uniform_law), kaiming_keeps(uniform_law), bounded=True),
    rejections=kaiming_rejections("kaiming_uniform"),
    mistakes=KAIMING_UNIFORM_MISTAKES,
    source=_HE,
    gallery=_KAIMING_GALLERY,
)
kaiming_normal = Distribution(
    name="kaiming_normal",
    options=_KAIMING,
    shape=kaiming_normal_shape,
    definition=draw_kaiming_normal,
    law="independent numbers of N(0, gain^2 / fan)",
    cases=kaiming_cases,
    varies=_always,
    laws=laws(kaiming(normal_law), kaiming_keeps(normal_law), bounded=False),
    rejections=kaiming_rejections("kaiming_normal"),
    mistakes=KAIMING_NORMAL_MISTAKES,
    source=_HE,
    gallery=_KAIMING_GALLERY,
)
