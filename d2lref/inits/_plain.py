"""uniform, normal, trunc_normal: independent numbers, all with one distribution (d2l 6.3.1)."""

import math
from typing import Any

import numpy as np

from d2lref.chance import Normal, Truncated, Uniform
from d2lref.inits._laws import any_shape, matrix, whole
from d2lref.spec import Array, Case, Distribution, Draw, Form, Mistake, Rejection, Shape

# 1 Shapes


def uniform_shape(shape: Shape, *, a: float = 0.0, b: float = 1.0) -> Shape:
    """Return the shape, any. Raises ValueError for a > b."""
    if a > b:
        raise ValueError(f"uniform: a={a!r} lies above b={b!r}, expected a <= b")
    return tuple(shape)


def normal_shape(shape: Shape, *, mean: float = 0.0, std: float = 1.0) -> Shape:
    """Return the shape, any. Raises ValueError for a negative std."""
    del mean
    if std < 0:
        raise ValueError(f"normal: std={std!r}, expected a number >= 0")
    return tuple(shape)


def trunc_normal_shape(shape: Shape, *, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Shape:
    """Return the shape, any. Raises ValueError where nothing lies between a and b, or std is not positive."""
    del mean
    if std <= 0:
        raise ValueError(f"trunc_normal: std={std!r}, expected a number > 0")
    if a >= b:
        raise ValueError(f"trunc_normal: a={a!r} and b={b!r}, expected a < b")
    return tuple(shape)


# 2 Definitions


def draw_uniform(shape: Shape, *, rng: np.random.Generator, a: float = 0.0, b: float = 1.0) -> Array:
    """w = a + (b - a) U with U uniform on [0, 1), all independent.

    shape: any; the answer is float64. Raises ValueError (see `uniform_shape`). Source: Zhang, Lipton, Li and Smola,
    Dive into Deep Learning, section 6.3.1.
    """
    uniform_shape(shape, a=a, b=b)
    return a + (b - a) * rng.random(shape)


def draw_normal(shape: Shape, *, rng: np.random.Generator, mean: float = 0.0, std: float = 1.0) -> Array:
    """w = mean + std Z with Z standard normal, all independent.

    shape: any; the answer is float64. Raises ValueError (see `normal_shape`). Source: Zhang, Lipton, Li and Smola, Dive
    into Deep Learning, section 6.3.1.
    """
    normal_shape(shape, mean=mean, std=std)
    return mean + std * rng.standard_normal(shape)


def draw_trunc_normal(
    shape: Shape,
    *,
    rng: np.random.Generator,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
) -> Array:
    """w = mean + std Z with Z standard normal, drawn again until a <= w <= b.

    a and b are bounds of w itself, not multiples of std. shape: any; the answer is float64. Where less than a third of
    the normal law lies between them, uniform numbers are kept with probability density over largest density instead
    (Robert 1995, Simulation of truncated normal variables, section 2.2). Raises ValueError (see `trunc_normal_shape`).
    """
    trunc_normal_shape(shape, mean=mean, std=std, a=a, b=b)
    likely = Truncated(mean, std, a, b).mass > 1 / 3
    drawn = np.full(math.prod(shape), math.inf)
    while (missing := np.flatnonzero((drawn < a) | (drawn > b))).size:
        count = missing.size
        drawn[missing] = mean + std * rng.standard_normal(count) if likely else _kept(rng, count, mean, std, a, b)
    return drawn.reshape(shape)


def _kept(rng: np.random.Generator, count: int, mean: float, std: float, a: float, b: float) -> Array:
    """Return uniform numbers of [a, b], infinity for those that are not kept."""
    drawn = a + (b - a) * rng.random(count)
    peak = min(max(mean, a), b)
    density = np.exp(((peak - mean) ** 2 - (drawn - mean) ** 2) / (2.0 * std**2))
    return np.where(rng.random(count) < density, drawn, math.inf)


# 3 Cases


def uniform_cases(draw: Draw, size: int = 64) -> Form:
    """Draw the interval from a table; shrinks to a square of numbers from 0 to 1."""
    shape = any_shape(draw, size)
    a, b = draw.choice((0.0, 1.0), (-1.0, 1.0), (-0.05, 0.05), (2.0, 2.5), (-10.0, 10.0), (-3.0, 0.0))
    return Form((), {"shape": shape, "a": a, "b": b})


def normal_cases(draw: Draw, size: int = 64) -> Form:
    """Draw mean and std from tables; shrinks to a square of standard normal numbers."""
    shape = any_shape(draw, size)
    return Form((), {"shape": shape, "mean": draw.choice(0.0, 1.5, -3.0), "std": draw.choice(1.0, 0.01, 3.0, 0.5)})


BOUNDS = ((0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (0.0, 0.02, -0.04, 0.04), (1.0, 2.0, -1.0, 1.5))
"""(mean, std, a, b) of the cases: the default, bounds far away, bounds of two standard deviations, a lopsided interval,
and, below, a piece of one tail."""


def trunc_normal_cases(draw: Draw, size: int = 64) -> Form:
    """Draw (mean, std, a, b) from a table; shrinks to a square of standard normal numbers between -2 and 2."""
    shape = matrix(draw, size)
    mean, std, a, b = draw.choice(*BOUNDS, (0.0, 1.0, 1.0, 2.0))
    return Form((), {"shape": shape, "mean": mean, "std": std, "a": a, "b": b})


# 4 Laws


def uniform_law(case: Case) -> Uniform:
    """Return U(a, b)."""
    return Uniform(case.options["a"], case.options["b"])


def normal_law(case: Case) -> Normal:
    """Return N(mean, std^2)."""
    return Normal(case.options["mean"], case.options["std"])


def trunc_normal_law(case: Case) -> Truncated:
    """Return N(mean, std^2) between a and b."""
    return Truncated(*(case.options[name] for name in ("mean", "std", "a", "b")))


# 5 Rejections

UNIFORM_REJECTIONS = (
    Rejection(
        "an interval of negative length",
        ((2, 3),),
        {"a": 1.0, "b": 0.0},
        "uniform: a=1.0 lies above b=0.0, expected a <= b",
    ),
)
NORMAL_REJECTIONS = (Rejection("a negative std", ((2, 3),), {"std": -1.0}, "normal: std=-1.0, expected a number >= 0"),)
TRUNC_NORMAL_REJECTIONS = (
    Rejection(
        "a std of zero", ((2, 3),), {"std": 0.0}, "trunc_normal: std=0.0, expected a number > 0", mandatory=False
    ),
    Rejection(
        "an empty interval",
        ((2, 3),),
        {"a": 1.0, "b": 1.0},
        "trunc_normal: a=1.0 and b=1.0, expected a < b",
        mandatory=False,
    ),
)

# 6 Mistakes


def _from_zero(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    uniform_shape(shape, a=a, b=b)
    return b * rng.random(shape)


def _shifted_first(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    uniform_shape(shape, a=a, b=b)
    return (a + rng.random(shape)) * (b - a)


def _coarse(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    uniform_shape(shape, a=a, b=b)
    return a + (b - a) * rng.integers(0, 2**15, shape) / (2**15 - 1)


def _lanes(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    return np.repeat(draw_uniform((-(-shape[0] // 2), *shape[1:]), rng=rng, a=a, b=b), 2, axis=0)[: shape[0]]


def _modulo(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    uniform_shape(shape, a=a, b=b)
    return a + (b - a) * (rng.integers(0, 2**24, shape) % 10**7) / 10**7


def _restarted(shape: Shape, *, rng: Any, a: float = 0.0, b: float = 1.0) -> Array:
    drawn = draw_uniform(shape, rng=rng, a=a, b=b)
    half = shape[-1] // 2
    drawn[..., 1 : 2 * half : 2] = a + b - drawn[..., 0 : 2 * half : 2]
    return drawn


def _variance_for_std(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    normal_shape(shape, std=std)
    return draw_normal(shape, rng=rng, mean=mean, std=std**2)


def _std_for_mean(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    del mean
    normal_shape(shape, std=std)
    return draw_normal(shape, rng=rng, mean=std)


def _cut(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    return draw_trunc_normal(shape, rng=rng, mean=mean, std=std, a=mean - 2.0 * std, b=mean + 2.0 * std)


def _cut_and_scaled(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    return _cut(shape, rng=rng, mean=mean, std=std / Truncated(0.0, 1.0, -2.0, 2.0).deviation)


def _periodic(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    return np.resize(draw_normal((1021,), rng=rng, mean=mean, std=std), shape)


def _second_of_a_pair(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    drawn = draw_normal(shape, rng=rng, mean=mean, std=std)
    half = shape[-1] // 2
    size = np.abs(drawn[..., 1 : 2 * half : 2] - mean)
    drawn[..., 1 : 2 * half : 2] = mean + np.copysign(size, drawn[..., 0 : 2 * half : 2] - mean)
    return drawn


def _root_outside(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0) -> Array:
    normal_shape(shape, std=std)
    wide = rng.standard_normal(shape)
    return mean + std * np.sqrt(np.where(wide < -3.0, np.nan, wide**2)) * np.sign(wide)


def _clipped(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Array:
    return np.clip(draw_normal(shape, rng=rng, mean=mean, std=std), a, b)


def _bounds_in_deviations(
    shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Array:
    return draw_trunc_normal(shape, rng=rng, mean=mean, std=std, a=mean + a * std, b=mean + b * std)


def _never_cut(
    shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Array:
    del a, b
    return draw_normal(shape, rng=rng, mean=mean, std=std)


def _rescaled(shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Array:
    wider = std / Truncated(0.0, 1.0, -2.0, 2.0).deviation
    return draw_trunc_normal(shape, rng=rng, mean=mean, std=wider, a=a, b=b)


def _outliers_at_the_ends(
    shape: Shape, *, rng: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Array:
    drawn = draw_trunc_normal(shape, rng=rng, mean=mean, std=std, a=a, b=b)
    return np.where(rng.random(shape) < 1 / 20, b, drawn)


AVERAGE, SPREAD, FORM = "the mean is right", "the variance is right", "the distribution has the right shape"
SUPPORT, FRESH = "no number leaves the interval", "numbers do not come back"
ROWS, COLUMNS, MEMORY = "rows are independent", "columns are independent", "neighbours in memory are independent"

UNIFORM_MISTAKES = (
    Mistake(
        "multiplies by b and forgets a",
        "https://github.com/skaae/rbm_toolbox_lua/issues/8",
        _from_zero,
        caught_by=(AVERAGE, SPREAD, FORM),
    ),
    Mistake(
        "adds a before it multiplies by b - a",
        "https://github.com/TeamCOMPAS/COMPAS/issues/201",
        _shifted_first,
        caught_by=(SUPPORT, AVERAGE, FORM),
    ),
    Mistake(
        "knows only 32768 numbers",
        "https://github.com/nunuhara/xsystem4/pull/373",
        _coarse,
        caught_by=(FRESH,),
    ),
    Mistake(
        "draws the same in every two lanes",
        "https://github.com/tenstorrent/tt-metal/issues/13904",
        _lanes,
        caught_by=(ROWS, FRESH),
    ),
    Mistake(
        "takes integers modulo a number that does not divide theirs",
        "https://github.com/raysan5/raylib/pull/5392",
        _modulo,
        caught_by=(AVERAGE, FORM),
    ),
    Mistake(
        "draws numbers that depend on the one before",
        "https://github.com/kokkos/kokkos/issues/296",
        _restarted,
        caught_by=(COLUMNS, MEMORY),
    ),
)

NORMAL_MISTAKES = (
    Mistake(
        "takes std for the variance that it is the root of",
        "https://github.com/mlpack/mlpack/pull/3651",
        _variance_for_std,
        caught_by=(SPREAD, FORM),
    ),
    Mistake(
        "hands std over as the mean",
        "https://github.com/aiUIUC/pyAIUtils/issues/25",
        _std_for_mean,
        caught_by=(AVERAGE, SPREAD, FORM),
    ),
    Mistake(
        "draws again beyond two standard deviations",
        "https://github.com/tensorflow/tensorflow/issues/16344",
        _cut,
        caught_by=(SPREAD, FORM),
    ),
    Mistake(
        "draws again beyond two standard deviations, of a wider law of the right variance",
        "https://github.com/tensorflow/tensorflow/issues/18706",
        _cut_and_scaled,
        caught_by=(FORM,),
    ),
    Mistake(
        "repeats itself after so many threads",
        "https://github.com/psc-code/psc/issues/58",
        _periodic,
        caught_by=(FRESH,),
    ),
    Mistake(
        "gives the second number of a pair the wrong uniform number",
        "https://github.com/arrayfire/arrayfire/pull/2980",
        _second_of_a_pair,
        caught_by=(COLUMNS, MEMORY),
    ),
    Mistake(
        "takes a root of what may be negative",
        "https://github.com/mmp/pbrt-v4/issues/481",
        _root_outside,
        caught_by=(AVERAGE, SPREAD, FORM),
    ),
)

TRUNC_NORMAL_MISTAKES = (
    Mistake(
        "clips what should be drawn again",
        "https://github.com/mlpack/mlpack/pull/1510",
        _clipped,
        caught_by=(SPREAD, FORM, FRESH),
    ),
    Mistake(
        "counts the bounds in standard deviations",
        "https://github.com/huggingface/pytorch-image-models/issues/1286",
        _bounds_in_deviations,
        caught_by=(SUPPORT, FORM),
    ),
    Mistake(
        "does not truncate at all",
        "https://github.com/BVLC/caffe/issues/4219",
        _never_cut,
        caught_by=(SUPPORT,),
    ),
    Mistake(
        "widens the law so that its variance after truncation is std^2",
        "https://github.com/tensorflow/tensorflow/issues/18706",
        _rescaled,
        caught_by=(SPREAD, FORM),
    ),
    Mistake(
        "throws outliers that land on a bound",
        "https://github.com/pytorch/pytorch/issues/155588",
        _outliers_at_the_ends,
        caught_by=(AVERAGE, SPREAD, FORM, FRESH),
    ),
)

# 7 The distributions

_SOURCE = "Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 6.3.1"


def _always(case: Case) -> bool:
    del case
    return True


uniform = Distribution(
    name="uniform",
    options={"a": 0.0, "b": 1.0},
    shape=uniform_shape,
    definition=draw_uniform,
    law="independent numbers of U(a, b)",
    cases=uniform_cases,
    varies=_always,
    laws=whole(uniform_law),
    rejections=UNIFORM_REJECTIONS,
    mistakes=UNIFORM_MISTAKES,
    source=_SOURCE,
    gallery=(Form((), {"shape": (3, 4), "a": -1.0, "b": 1.0}), Form((), {"shape": (7,), "a": 2.0, "b": 2.5})),
)
normal = Distribution(
    name="normal",
    options={"mean": 0.0, "std": 1.0},
    shape=normal_shape,
    definition=draw_normal,
    law="independent numbers of N(mean, std^2)",
    cases=normal_cases,
    varies=_always,
    laws=whole(normal_law)[1:],
    rejections=NORMAL_REJECTIONS,
    mistakes=NORMAL_MISTAKES,
    source=_SOURCE,
    gallery=(Form((), {"shape": (3, 4), "mean": 1.5, "std": 0.01}), Form((), {"shape": (7,), "mean": 0.0, "std": 1.0})),
)
trunc_normal = Distribution(
    name="trunc_normal",
    options={"mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0},
    shape=trunc_normal_shape,
    definition=draw_trunc_normal,
    law="independent numbers of N(mean, std^2) on the condition that they lie between a and b",
    cases=trunc_normal_cases,
    varies=_always,
    laws=whole(trunc_normal_law),
    rejections=TRUNC_NORMAL_REJECTIONS,
    mistakes=TRUNC_NORMAL_MISTAKES,
    source="Robert 1995, Simulation of truncated normal variables, Statistics and Computing 5, 121-125",
    gallery=(Form((), {"shape": (5, 3), "mean": 0.0, "std": 1.0, "a": -2.0, "b": 2.0}),),
)
