"""sparse: normal numbers with so many zeros in every column (Martens 2010)."""

import math
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.inits._laws import squares
from d2lref.spec import REQUIRED, Array, Case, Distribution, Draw, Form, Mistake, Reading, Rejection, Shape, Trial

# 1 Shape


def sparse_shape(shape: Shape, *, sparsity: float, std: float = 0.01) -> Shape:
    """Return the shape. Raises ValueError unless it has two axes and 0 <= sparsity <= 1 and std >= 0."""
    if len(shape) != 2:
        raise ValueError(f"sparse: shape {tuple(shape)} has {len(shape)} axes, expected 2: outputs, inputs")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse: sparsity={sparsity!r}, expected a number from 0 to 1")
    if std < 0:
        raise ValueError(f"sparse: std={std!r}, expected a number >= 0")
    return tuple(shape)


def zeros_of(shape: Shape, sparsity: float) -> int:
    """Return the number of zeros in a column: ceil(sparsity rows)."""
    return math.ceil(sparsity * shape[0])


# 2 Definition


def draw_sparse(shape: Shape, *, rng: np.random.Generator, sparsity: float, std: float = 0.01) -> Array:
    """w of N(0, std^2), but for ceil(sparsity rows) zeros in each column, at places drawn without replacement.

    shape (outputs, inputs); the answer is float64. Raises ValueError (see `sparse_shape`). Source: Martens 2010, Deep
    learning via Hessian-free optimization, section 5.
    """
    sparse_shape(shape, sparsity=sparsity, std=std)
    w = std * rng.standard_normal(shape)
    order = np.argsort(rng.random(shape), axis=0)
    return np.where(order < zeros_of(shape, sparsity), 0.0, w)


# 3 Cases


def cases(draw: Draw, size: int = 64) -> Form:
    """Draw the aspect, the share of zeros and std; shrinks to a square with a tenth of zeros."""
    rows = max(round(math.sqrt(size * draw.choice(1, 4, 1 / 4))), 1)
    shape = (rows, max(round(size / rows), 1))
    sparsity = draw.choice(0.1, 0.5, 0.9, 0.25, 1 / 3, 0.0, 1.0)
    return Form((), {"shape": shape, "sparsity": sparsity, "std": draw.choice(0.01, 1.0, 0.5)})


# 4 Laws


def missing_zeros(answers: Array, zeros: int) -> float:
    """Return how many zeros the column with the fewest lacks."""
    return float(np.max(zeros - np.sum(answers[0, 0] == 0, axis=0)))


def extra_zeros(answers: Array, zeros: int) -> float:
    """Return how many zeros there are beyond those of the columns."""
    return float(np.sum(answers[0, 0] == 0) - zeros * answers.shape[3])


def zeros_of_rows(answers: Array) -> Array:
    """Return the number of zeros in each row."""
    return np.sum(answers[0, 0] == 0, axis=1).astype(np.float64)


def zeros_side_by_side(answers: Array) -> Array:
    """Return for each row how many disjoint pairs of neighbours are both zero."""
    pairs = answers.shape[3] // 2
    zero = answers[0, 0] == 0
    return np.sum(zero[:, 0 : 2 * pairs : 2] & zero[:, 1 : 2 * pairs : 2], axis=1).astype(np.float64)


def kept_mean_square(answers: Array) -> float:
    """Return the mean square of the entries that are not zero."""
    kept = answers[answers != 0]
    return float(np.mean(kept**2)) if kept.size else math.nan


def kept_distance(answers: Array, std: float) -> float:
    """Return the largest distance of the distribution of the entries that are not zero from N(0, std^2)."""
    z = np.sort(answers[answers != 0]) / (std * math.sqrt(2.0))
    if not z.size:
        return math.nan
    expected = (1.0 + np.asarray(np.frompyfunc(math.erf, 1, 1)(z), np.float64)) / 2
    steps = np.arange(expected.size + 1) / expected.size
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def _zeros(case: Case) -> int:
    return zeros_of(case.options["shape"], case.options["sparsity"])


def _kept(case: Case) -> int:
    """Return the number of entries that are not set to zero."""
    rows, columns = case.options["shape"]
    return (rows - _zeros(case)) * columns


def _enough(f: Any, case: Case) -> Reading:
    zeros = _zeros(case)
    return f.read(missing_zeros, -math.inf, 0.0, theorem="zeros are counted", zeros=zeros)


def _not_more(f: Any, case: Case) -> Reading:
    zeros, kept = _zeros(case), _kept(case)
    high = float(chance.binomial(kept, f.grain, f.alpha)[1]) if kept else 0.0
    theorem = "exact binomial tail: a normal number is stored as 0 with probability below 4u"
    return f.read(extra_zeros, -math.inf, high, theorem=theorem, alpha=f.alpha, zeros=zeros)


def _anywhere(f: Any, case: Case) -> Reading:
    rows, columns = case.options["shape"]
    low, high = map(float, chance.binomial(columns, _zeros(case) / rows, f.alpha / rows, f.grain))
    theorem = "exact binomial tails: columns choose their zeros independently, each place alike"
    return f.read(zeros_of_rows, low, high, theorem=theorem, alpha=f.alpha, size=rows * columns)


def _columns(f: Any, case: Case) -> Reading:
    rows, columns = case.options["shape"]
    pairs, share = columns // 2, _zeros(case) / rows
    low, high = map(float, chance.binomial(pairs, share**2, f.alpha / rows, 2.0 * f.grain))
    theorem = "exact binomial tails: columns choose their zeros independently, each place alike"
    return f.read(zeros_side_by_side, low, high, theorem=theorem, alpha=f.alpha, size=rows * pairs)


def _spread(f: Any, case: Case) -> Reading:
    low, high, theorem = squares(f, chance.Normal(0.0, 1.0), _kept(case))
    unit = case.options["std"] ** 2
    return f.read(kept_mean_square, low * unit, high * unit, theorem=theorem, alpha=f.alpha, size=_kept(case))


def _form(f: Any, case: Case) -> Reading:
    high = chance.largest_distance(_kept(case), f.alpha) + 4.0 * f.grain
    std = case.options["std"]
    return f.read(kept_distance, 0.0, high, theorem="Massart 1990", alpha=f.alpha, size=_kept(case), std=std)


def _some(case: Case) -> bool:
    """Return whether some entries are drawn."""
    return _kept(case) > 0


def _both(case: Case) -> bool:
    """Return whether a column has zeros and others."""
    return 0 < _zeros(case) < case.options["shape"][0]


ENOUGH, NOT_MORE = "a column has its zeros", "nothing else is zero"
ANYWHERE, APART = "zeros stand in every row alike", "columns choose their zeros independently"
SPREAD, FORM = "the variance of the others is right", "the others are normal"

LAWS = (
    Trial(ENOUGH, _enough),
    Trial(NOT_MORE, _not_more, chance=True),
    Trial(ANYWHERE, _anywhere, _both, chance=True),
    Trial(APART, _columns, _both, chance=True),
    Trial(SPREAD, _spread, _some, chance=True),
    Trial(FORM, _form, _some, chance=True),
)

# 5 Rejections

REJECTIONS = (
    Rejection(
        "three axes",
        ((2, 3, 1),),
        {"sparsity": 0.5},
        "sparse: shape (2, 3, 1) has 3 axes, expected 2: outputs, inputs",
    ),
    Rejection(
        "more than all",
        ((4, 3),),
        {"sparsity": 1.5},
        "sparse: sparsity=1.5, expected a number from 0 to 1",
        mandatory=False,
    ),
)

# 6 Mistakes


def _with_zeros(shape: Shape, rng: Any, std: float, zeros: int) -> Array:
    """Return normal numbers with so many zeros in each column."""
    order = np.argsort(rng.random(shape), axis=0)
    return np.where(order < zeros, 0.0, std * rng.standard_normal(shape))


def _of_rows(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    sparse_shape(shape, sparsity=sparsity)
    return draw_sparse(shape[::-1], rng=rng, sparsity=sparsity, std=std).T.copy()


def _counted_in_columns(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    sparse_shape(shape, sparsity=sparsity)
    return _with_zeros(shape, rng, std, min(math.ceil(sparsity * shape[1]), shape[0]))


def _first_rows(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    sparse_shape(shape, sparsity=sparsity)
    w = std * rng.standard_normal(shape)
    w[: zeros_of(shape, sparsity)] = 0.0
    return w


def _floor(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    sparse_shape(shape, sparsity=sparsity)
    return _with_zeros(shape, rng, std, math.floor(sparsity * shape[0]))


def _density(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    return draw_sparse(shape, rng=rng, sparsity=1.0 - sparsity, std=std)


def _masked(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    sparse_shape(shape, sparsity=sparsity)
    return np.where(rng.random(shape) < sparsity, 0.0, std * rng.standard_normal(shape))


def _variance(shape: Shape, *, rng: Any, sparsity: float, std: float = 0.01) -> Array:
    return draw_sparse(shape, rng=rng, sparsity=sparsity, std=std**2)


MISTAKES = (
    Mistake(
        "counts its zeros along the rows",
        "https://github.com/ml-explore/mlx/pull/3725",
        _of_rows,
        caught_by=(ENOUGH,),
    ),
    Mistake(
        "reads their number from the columns",
        "https://github.com/pytorch/pytorch/pull/2130",
        _counted_in_columns,
        caught_by=(ENOUGH, NOT_MORE),
    ),
    Mistake(
        "sets the first rows to zero",
        "https://github.com/FluxML/Flux.jl/pull/1454",
        _first_rows,
        caught_by=(ANYWHERE, APART),
    ),
    Mistake(
        "rounds the number of zeros down",
        "https://github.com/google-research/rigl/pull/10",
        _floor,
        caught_by=(ENOUGH,),
    ),
    Mistake(
        "takes the share of zeros for that of the others",
        "https://github.com/numenta/nupic.research/pull/497",
        _density,
        caught_by=(ENOUGH, NOT_MORE),
    ),
    Mistake(
        "masks each entry by itself",
        "https://github.com/pytorch/pytorch/issues/6021",
        _masked,
        caught_by=(ENOUGH,),
    ),
    Mistake(
        "takes std for the variance that it is the root of",
        "https://github.com/mlpack/mlpack/pull/3651",
        _variance,
        caught_by=(SPREAD, FORM),
    ),
)

# 7 The distribution


def _varies(case: Case) -> bool:
    return _some(case)


sparse = Distribution(
    name="sparse",
    options={"sparsity": REQUIRED, "std": 0.01},
    shape=sparse_shape,
    definition=draw_sparse,
    law="N(0, std^2), independent, but for ceil(sparsity rows) zeros in each column",
    cases=cases,
    varies=_varies,
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Martens 2010, Deep learning via Hessian-free optimization, section 5",
    gallery=(
        Form((), {"shape": (7, 5), "sparsity": 1 / 3, "std": 1.0}),
        Form((), {"shape": (10, 3), "sparsity": 0.9, "std": 0.01}),
        Form((), {"shape": (3, 10), "sparsity": 0.25, "std": 0.5}),
    ),
)
