"""xavier and kaiming, uniform and normal: numbers scaled so that signals keep their size (d2l 5.4.2)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.chance import Marginal, Normal, Uniform
from d2lref.inits._laws import average, independent, matrix, shape, squares, support
from d2lref.spec import Array, Case, Distribution, Draw, Form, Mistake, Reading, Rejection, Shape, Trial

# 1 Shapes, fans and gains


def fans(shape: Shape) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight (outputs, inputs, *window): how many weights meet in an output, an input.

    Each is its number of channels times the receptive field, the taps of the window (He et al. 2015, equations 10 and
    14).
    """
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


GAINS: dict[str, Callable[[float], float]] = {
    "leaky_relu": lambda a: math.sqrt(2.0 / (1.0 + a**2)),
    "relu": lambda a: math.sqrt(2.0),
    "linear": lambda a: 1.0,
    "sigmoid": lambda a: 1.0,
    "tanh": lambda a: 5.0 / 3.0,
    "selu": lambda a: 3.0 / 4.0,
}
"""The gain of what follows the weights, those of torch.nn.init.calculate_gain: 1 / E[f(Z)^2] is its square for the
rectifiers, with a the slope on the left (He et al. 2015, equation 15)."""


def weight_shape(name: str, shape: Shape) -> Shape:
    """Return the shape. Raises ValueError where it has fewer than two axes: there is no fan."""
    if len(shape) < 2:
        raise ValueError(
            f"{name}: shape {tuple(shape)} has {len(shape)} axes, expected 2 or more: outputs, inputs, window"
        )
    return tuple(shape)


def kaiming_shape(name: str, shape: Shape, mode: str, nonlinearity: str) -> Shape:
    """Return the shape. Raises ValueError as `weight_shape`, and for a mode or a nonlinearity that is not known."""
    if mode not in {"fan_in", "fan_out"}:
        raise ValueError(f"{name}: mode={mode!r}, expected 'fan_in' or 'fan_out'")
    if nonlinearity not in GAINS:
        raise ValueError(f"{name}: nonlinearity={nonlinearity!r}, expected one of {', '.join(map(repr, GAINS))}")
    return weight_shape(name, shape)


def xavier_uniform_shape(shape: Shape, *, gain: float = 1.0) -> Shape:
    """Return the shape. Raises ValueError (see `weight_shape`)."""
    del gain
    return weight_shape("xavier_uniform", shape)


def xavier_normal_shape(shape: Shape, *, gain: float = 1.0) -> Shape:
    """Return the shape. Raises ValueError (see `weight_shape`)."""
    del gain
    return weight_shape("xavier_normal", shape)


def kaiming_uniform_shape(
    shape: Shape, *, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Shape:
    """Return the shape. Raises ValueError (see `kaiming_shape`)."""
    del a
    return kaiming_shape("kaiming_uniform", shape, mode, nonlinearity)


def kaiming_normal_shape(
    shape: Shape, *, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Shape:
    """Return the shape. Raises ValueError (see `kaiming_shape`)."""
    del a
    return kaiming_shape("kaiming_normal", shape, mode, nonlinearity)


# 2 Definitions


def _uniform(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    """U(-b, b) with b = sqrt(3) std, whose standard deviation is std."""
    return math.sqrt(3.0) * std * (2.0 * rng.random(shape) - 1.0)


def _normal(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    """N(0, std^2)."""
    return std * rng.standard_normal(shape)


def _xavier_std(shape: Shape, gain: float) -> float:
    """Gain sqrt(2 / (fan_in + fan_out))."""
    return gain * math.sqrt(2.0 / sum(fans(shape)))


def _kaiming_std(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    """Gain / sqrt(fan)."""
    return GAINS[nonlinearity](a) / math.sqrt(fans(shape)[mode == "fan_out"])


def draw_xavier_uniform(shape: Shape, *, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """w of U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)), all independent.

    shape (outputs, inputs, *window); the answer is float64. Raises ValueError (see `weight_shape`). Source: Glorot and
    Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, equation 16.
    """
    xavier_uniform_shape(shape)
    return _uniform(rng, shape, _xavier_std(shape, gain))


def draw_xavier_normal(shape: Shape, *, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """w of N(0, gain^2 2 / (fan_in + fan_out)), all independent.

    shape (outputs, inputs, *window); the answer is float64. Raises ValueError (see `weight_shape`). Source: Glorot and
    Bengio 2010, equation 12.
    """
    xavier_normal_shape(shape)
    return _normal(rng, shape, _xavier_std(shape, gain))


def draw_kaiming_uniform(
    shape: Shape,
    *,
    rng: np.random.Generator,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    """w of U(-b, b), b = gain sqrt(3 / fan), all independent.

    gain: of the nonlinearity (GAINS), a its slope on the left when it is leaky_relu. fan: fan_in, so that answers keep
    their size, or fan_out, so that gradients do. shape (outputs, inputs, *window); the answer is float64. Raises
    ValueError (see `kaiming_shape`). Source: He, Zhang, Ren and Sun 2015, Delving deep into rectifiers, section 2.2.
    """
    kaiming_uniform_shape(shape, mode=mode, nonlinearity=nonlinearity)
    return _uniform(rng, shape, _kaiming_std(shape, a, mode, nonlinearity))


def draw_kaiming_normal(
    shape: Shape,
    *,
    rng: np.random.Generator,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Array:
    """w of N(0, gain^2 / fan), all independent.

    gain, fan, shape and errors: see `draw_kaiming_uniform`. Source: He, Zhang, Ren and Sun 2015, section 2.2.
    """
    kaiming_normal_shape(shape, mode=mode, nonlinearity=nonlinearity)
    return _normal(rng, shape, _kaiming_std(shape, a, mode, nonlinearity))


# 3 Cases


def xavier_cases(draw: Draw, size: int = 64) -> Form:
    """Draw the gain from a table; shrinks to a square and gain 1."""
    return Form((), {"shape": matrix(draw, size), "gain": draw.choice(1.0, 5.0 / 3.0, math.sqrt(2.0), 0.5)})


def kaiming_cases(draw: Draw, size: int = 64) -> Form:
    """Draw slope, mode and nonlinearity; shrinks to a square and the defaults."""
    usual = ("leaky_relu", "relu", "leaky_relu", "linear", "leaky_relu", "tanh", "sigmoid", "selu")
    nonlinearity = draw.choice(*usual)
    a, mode = draw.choice(0.0, math.sqrt(5.0), 0.2, 1.0), draw.choice("fan_in", "fan_out")
    return Form((), {"shape": matrix(draw, size), "a": a, "mode": mode, "nonlinearity": nonlinearity})


# 4 Laws

Family = Callable[[float], Marginal]  # from the standard deviation to the distribution of one number


def _uniform_law(std: float) -> Uniform:
    return Uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std)


def _normal_law(std: float) -> Normal:
    return Normal(0.0, std)


def _xavier(family: Family) -> Callable[[Case], Marginal]:
    return lambda case: family(_xavier_std(case.options["shape"], case.options["gain"]))


def _kaiming(family: Family) -> Callable[[Case], Marginal]:
    def law(case: Case) -> Marginal:
        words = (case.options[name] for name in ("shape", "a", "mode", "nonlinearity"))
        return family(_kaiming_std(*words))

    return law


def squares_per_output(answers: Array) -> float:
    """Return the sum of the squares of the weights that reach an output, on average over the outputs."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[0])


def squares_per_input(answers: Array) -> float:
    """Return the sum of the squares of the weights that leave an input, on average over the inputs."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[1])


def squares_per_end(answers: Array) -> float:
    """Return the mean of the sums of squares of the weights that reach an output and of those that leave an input."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[0] / 2 + np.sum(w**2) / w.shape[1] / 2)


def _size_kept(measure: Callable[[Case], Callable[..., float]], gain: Callable[[Case], float], family: Family) -> Trial:
    """Return the trial that these sums of squares are gain^2: it counts weights itself and knows no fan."""

    def reads(f: Any, case: Case) -> Reading:
        unit = gain(case) ** 2
        low, high, theorem = squares(f, family(1.0), math.prod(case.options["shape"]))
        size = math.prod(case.options["shape"])
        return f.read(measure(case), low * unit, high * unit, theorem=theorem, alpha=f.alpha, size=size)

    return Trial("signals keep their size", reads, chance=True)


def _xavier_keeps(family: Family) -> Trial:
    return _size_kept(lambda case: squares_per_end, lambda case: case.options["gain"], family)


def _kaiming_keeps(family: Family) -> Trial:
    sides = {"fan_in": squares_per_output, "fan_out": squares_per_input}
    return _size_kept(
        lambda case: sides[case.options["mode"]],
        lambda case: GAINS[case.options["nonlinearity"]](case.options["a"]),
        family,
    )


def _laws(law: Callable[[Case], Marginal], keeps: Trial, *, bounded: bool) -> tuple[Trial, ...]:
    head = (support(law),) if bounded else ()
    return *head, average(law), keeps, shape(law), *independent(law)


SUPPORT, AVERAGE = "no number leaves the interval", "the mean is right"
SIZE, FORM = "signals keep their size", "the distribution has the right shape"

# 5 Rejections


def _one_axis(name: str) -> Rejection:
    return Rejection(
        "one axis", ((5,),), {}, f"{name}: shape (5,) has 1 axes, expected 2 or more: outputs, inputs, window"
    )


def _kaiming_rejections(name: str) -> tuple[Rejection, ...]:
    return (
        _one_axis(name),
        Rejection(
            "a mode that is not known",
            ((2, 3),),
            {"mode": "fan_avg"},
            f"{name}: mode='fan_avg', expected 'fan_in' or 'fan_out'",
        ),
        Rejection(
            "a nonlinearity that is not known",
            ((2, 3),),
            {"nonlinearity": "step"},
            f"{name}: nonlinearity='step', expected one of {', '.join(map(repr, GAINS))}",
        ),
    )


# 6 Mistakes

Scale = Callable[[Shape, float], float]  # from shape and gain to the standard deviation
Drawn = Callable[[np.random.Generator, Shape, float], Array]


def _xavier_with(std: Scale, drawn: Drawn) -> Callable[..., Array]:
    def wrong(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
        weight_shape("xavier", shape)
        return drawn(rng, shape, std(shape, gain))

    return wrong


def _kaiming_with(std: Callable[[Shape, float, str, str], float], drawn: Drawn) -> Callable[..., Array]:
    def wrong(
        shape: Shape, *, rng: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
    ) -> Array:
        kaiming_shape("kaiming", shape, mode, nonlinearity)
        return drawn(rng, shape, std(shape, a, mode, nonlinearity))

    return wrong


def _without_window(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / (shape[0] + shape[1]))


def _one_side_without_window(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / (fans(shape)[0] + shape[0]))


def _without_brackets(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(2.0 / fans(shape)[0] + fans(shape)[1])


def _three(shape: Shape, gain: float) -> float:
    return gain * math.sqrt(3.0 / sum(fans(shape)))


def _no_root(shape: Shape, gain: float) -> float:
    return gain * 2.0 / sum(fans(shape))


def _root_of_gain(shape: Shape, gain: float) -> float:
    return math.sqrt(gain) * _xavier_std(shape, 1.0)


def _outputs_only(shape: Shape, gain: float) -> float:
    return gain / math.sqrt(fans(shape)[1])


def _std_as_end(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    return _uniform(rng, shape, std / math.sqrt(3.0))


def _one_sided(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    return np.abs(_uniform(rng, shape, std))


def _cut(rng: np.random.Generator, shape: Shape, std: float) -> Array:
    z = rng.standard_normal((4 * math.prod(shape),))
    return std * z[np.abs(z) < 2.0][: math.prod(shape)].reshape(shape)


def _swapped(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return _kaiming_std((shape[1], shape[0], *shape[2:]), a, mode, nonlinearity)


def _always_in(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del mode
    return _kaiming_std(shape, a, "fan_in", nonlinearity)


def _no_window(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return _kaiming_std(shape[:2], a, mode, nonlinearity)


def _outputs_without_window(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return _kaiming_std(shape if mode == "fan_in" else shape[:2], a, mode, nonlinearity)


def _no_gain(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del a, nonlinearity
    return _kaiming_std(shape, 0.0, mode, "linear")


def _slope_ignored(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    del a
    return _kaiming_std(shape, 0.0, mode, nonlinearity)


def _variance(shape: Shape, a: float, mode: str, nonlinearity: str) -> float:
    return _kaiming_std(shape, a, mode, nonlinearity) ** 2


def _fill(name: str, cites: str, forward: Callable[..., Array], *laws: str) -> Mistake:
    return Mistake(name, f"https://github.com/{cites}", forward, caught_by=laws)


def _xavier_mistakes(drawn: Drawn) -> tuple[Mistake, ...]:
    """Return the mistakes that both have."""
    return (
        _fill(
            "forgets the receptive field",
            "tensorflow/swift-apis/pull/22",
            _xavier_with(_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "counts the receptive field in the inputs only",
            "denizyuret/Knet.jl/issues/515",
            _xavier_with(_one_side_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "adds fan_out after the division",
            "mlverse/torch/issues/555",
            _xavier_with(_without_brackets, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "multiplies the variance by the gain",
            "lhnguyen102/cuTAGI/pull/95",
            _xavier_with(_root_of_gain, drawn),
            SIZE,
            FORM,
        ),
        _fill(
            "reads the outputs only",
            "tkipf/pygcn/issues/42",
            _xavier_with(_outputs_only, drawn),
            SIZE,
            FORM,
        ),
        _fill("takes no root", "SethHWeidman/DLFS_code/issues/10", _xavier_with(_no_root, drawn), SIZE, FORM),
    )


def _kaiming_mistakes(drawn: Drawn) -> tuple[Mistake, ...]:
    """Return the mistakes that both have."""
    return (
        _fill("swaps fan_in and fan_out", "ml-explore/mlx/pull/456", _kaiming_with(_swapped, drawn), SIZE, FORM),
        _fill("takes fan_in in either mode", "LaurentMazare/tch-rs/pull/573", _kaiming_with(_always_in, drawn), SIZE),
        _fill("forgets the receptive field", "Lyken17/SparseNet/issues/6", _kaiming_with(_no_window, drawn), SIZE),
        _fill(
            "forgets the receptive field of the outputs",
            "keras-team/keras/pull/2252",
            _kaiming_with(_outputs_without_window, drawn),
            SIZE,
            FORM,
        ),
        _fill("leaves the gain out", "jw1912/bullet/pull/363", _kaiming_with(_no_gain, drawn), SIZE, FORM),
        _fill(
            "does not know the slope on the left",
            "Lasagne/Lasagne/issues/468",
            _kaiming_with(_slope_ignored, drawn),
            SIZE,
            FORM,
        ),
        _fill("takes the variance for the std", "dlvu/vugrad/pull/2", _kaiming_with(_variance, drawn), SIZE, FORM),
    )


XAVIER_UNIFORM_MISTAKES = (
    *_xavier_mistakes(_uniform),
    _fill(
        "ends at the standard deviation",
        "keras-team/keras/pull/372",
        _xavier_with(_xavier_std, _std_as_end),
        SIZE,
        FORM,
    ),
    _fill("draws normal numbers", "LBANN/lbann/pull/316", _xavier_with(_xavier_std, _normal), SUPPORT, FORM),
    _fill("draws from 0 on", "jax-ml/jax/pull/1195", _xavier_with(_xavier_std, _one_sided), AVERAGE, FORM),
)
XAVIER_NORMAL_MISTAKES = (
    *_xavier_mistakes(_normal),
    _fill("takes 3 for 2", "tflearn/tflearn/issues/870", _xavier_with(_three, _normal), SIZE, FORM),
    _fill(
        "cuts at two standard deviations",
        "tensorflow/tensorflow/issues/16344",
        _xavier_with(_xavier_std, _cut),
        SIZE,
        FORM,
    ),
)
KAIMING_UNIFORM_MISTAKES = (
    *_kaiming_mistakes(_uniform),
    _fill(
        "ends at the standard deviation",
        "LaurentMazare/tch-rs/pull/573",
        _kaiming_with(_kaiming_std, _std_as_end),
        SIZE,
        FORM,
    ),
    _fill("draws normal numbers", "LBANN/lbann/pull/316", _kaiming_with(_kaiming_std, _normal), SUPPORT, FORM),
)
KAIMING_NORMAL_MISTAKES = (
    *_kaiming_mistakes(_normal),
    _fill(
        "cuts at two standard deviations",
        "tensorflow/tensorflow/issues/16344",
        _kaiming_with(_kaiming_std, _cut),
        SIZE,
        FORM,
    ),
)

# 7 The distributions

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
    laws=_laws(_xavier(_uniform_law), _xavier_keeps(_uniform_law), bounded=True),
    rejections=(_one_axis("xavier_uniform"),),
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
    laws=_laws(_xavier(_normal_law), _xavier_keeps(_normal_law), bounded=False),
    rejections=(_one_axis("xavier_normal"),),
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
    laws=_laws(_kaiming(_uniform_law), _kaiming_keeps(_uniform_law), bounded=True),
    rejections=_kaiming_rejections("kaiming_uniform"),
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
    laws=_laws(_kaiming(_normal_law), _kaiming_keeps(_normal_law), bounded=False),
    rejections=_kaiming_rejections("kaiming_normal"),
    mistakes=KAIMING_NORMAL_MISTAKES,
    source=_HE,
    gallery=_KAIMING_GALLERY,
)
