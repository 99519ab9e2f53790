"""orthogonal: a matrix with orthonormal columns, or rows, that favours no direction (Saxe et al. 2013)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref import chance
from d2lref.spec import Array, Case, Distribution, Draw, Form, Mistake, Reading, Rejection, Shape, Trial

# 1 Shape


def orthogonal_shape(shape: Shape, *, gain: float = 1.0) -> Shape:
    """Return the shape. Raises ValueError where it has fewer than two axes."""
    del gain
    if len(shape) < 2:
        raise ValueError(
            f"orthogonal: shape {tuple(shape)} has {len(shape)} axes, expected 2 or more: outputs, inputs, window"
        )
    return tuple(shape)


def sides(shape: Shape) -> tuple[int, int]:
    """Return the longer and the shorter side of the matrix: outputs, and inputs times taps."""
    rows, columns = shape[0], math.prod(shape[1:])
    return max(rows, columns), min(rows, columns)


# 2 Definition


def draw_orthogonal(shape: Shape, *, rng: np.random.Generator, gain: float = 1.0) -> Array:
    """w = gain Q, Q of A = QR with A standard normal and the diagonal of R positive; transposed where rows < columns.

    The matrix is (outputs, inputs times taps); the shorter side is orthonormal, and Q is uniform (of the Haar measure)
    because A and VA have one law for every orthogonal V and the factors are unique once the signs are. shape (outputs,
    inputs, *window); the answer is float64. Raises ValueError (see `orthogonal_shape`). Source: Saxe, McClelland and
    Ganguli 2013, Exact solutions to the nonlinear dynamics of learning; Mezzadri 2007, How to generate random matrices
    from the classical compact groups, section 5.
    """
    orthogonal_shape(shape)
    q, r = np.linalg.qr(rng.standard_normal(sides(shape)))
    return _laid(gain * q * np.where(np.diagonal(r) < 0, -1.0, 1.0), shape)


def _laid(q: Array, shape: Shape) -> Array:
    """Return a matrix with orthonormal columns as a weight of the shape."""
    return np.reshape(q if shape[0] >= math.prod(shape[1:]) else q.T, shape)


# 3 How wrong it may be


def bound(shape: Shape, u: float) -> float:
    """Return 2 d + d^2 + 4u, d = k (8m + 40) u: how far the Gram matrix of m x k computed columns is from I.

    A reflection I - v v' with |v|^2 = 2 whose v is wrong by e |v|, applied to b, is wrong by at most (u + 2 (m + 2) u +
    4 e) |b| (ASNA, Lemma 19.2, with its constants written out), and e <= (m + 8) u (Lemma 19.1): together less than
    (8m + 40) u |b|. A column of Q is a product of k of them (Lemma 19.3). (q + d)'(p + d) - q'p is at most 2 d + d^2,
    and the gain rounds twice, here and in the square.
    """
    m, k = sides(shape)
    d = k * (8 * m + 40) * u
    return 2.0 * d + d**2 + 4.0 * u


# 4 Cases


def cases(draw: Draw, size: int = 64) -> Form:
    """Draw outputs, inputs, in one of three cases a window, and the gain; shrinks to one number."""
    del size
    outputs, inputs = (min(n, 33) for n in draw.sizes(1, 1))
    window = draw.choice((), (2, 3), (3,))
    return Form((), {"shape": (outputs, inputs, *window), "gain": draw.choice(1.0, math.sqrt(2.0), 0.5, 3.0)})


# 5 Laws


def gram_gap(answers: Array, gain: float) -> float:
    """Return the largest entry, in size, of W'W / gain^2 - I, or of WW' / gain^2 - I where W has fewer rows."""
    w = answers[0, 0].reshape(answers.shape[2], -1) / gain
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    return float(np.max(np.abs(gram - np.eye(len(gram)))))


def positive_corners(answers: Array) -> Array:
    """Return in how many matrices the first entry is positive, and in how many the last."""
    return np.array([np.sum(answers[0, :, *([end] * (answers.ndim - 2))] > 0) for end in (0, -1)], dtype=np.float64)


def alike_in_a_row(answers: Array) -> float:
    """Return in how many matrices the first two entries of the last axis have one sign."""
    first, second = (answers[0, :, *([0] * (answers.ndim - 3)), i] for i in (0, 1))
    return float(np.sum((first > 0) == (second > 0)))


def alike_in_a_column(answers: Array) -> float:
    """Return in how many matrices the first entries of the first two rows have one sign."""
    first, second = (answers[0, :, i, *([0] * (answers.ndim - 3))] for i in (0, 1))
    return float(np.sum((first > 0) == (second > 0)))


def positive_determinants(answers: Array) -> float:
    """Return how many square matrices have a positive determinant."""
    rows = answers.shape[2]
    return float(np.sum(np.linalg.det(answers[0].reshape(answers.shape[1], rows, rows)) > 0))


def corners_kept(answers: Array) -> float:
    """Return how many calls have the first entry of the sign that it had in the call before, among disjoint pairs."""
    sign = answers[0, :, *([0] * (answers.ndim - 2))] > 0
    return float(np.sum(sign[0 : len(sign) // 2 * 2 : 2] == sign[1::2][: len(sign) // 2]))


def corners_shared(answers: Array) -> float:
    """Return how many calls with one seed and with the next have first entries of one sign."""
    sign = answers[:, :, *([0] * (answers.ndim - 2))] > 0
    return float(np.sum(sign[0] == sign[-1]))


def _orthonormal(f: Any, case: Case) -> Reading:
    high = bound(case.options["shape"], f.u)
    return f.read(gram_gap, 0.0, high, theorem="Householder's QR, ASNA Lemmas 19.1 to 19.3", gain=case.options["gain"])


def _coin(
    says: str,
    measure: Callable[..., Any],
    when: Callable[[Shape], bool] = lambda shape: True,
    *,
    pairs: int = 1,
    seeds: int = 1,
    entries: int = 1,
) -> Trial:
    """Return the trial that signs fall as fair coins do.

    The Haar measure does not change when a row or a column changes its sign (Mezzadri 2007, section 2): the sign of an
    entry is a fair coin, and so are that of a product of two and that of the determinant. pairs: calls behind one coin.
    """

    def reads(f: Any, case: Case) -> Reading:
        del case
        calls = f.size // 128 // seeds
        coins = calls // pairs
        low, high = map(float, chance.binomial(coins, 1 / 2, f.alpha / entries))
        theorem = "exact binomial tails of a fair coin, Mezzadri 2007, section 2"
        return f.read(
            measure, low, high, theorem=theorem, alpha=f.alpha, calls=calls, seeds=seeds, size=coins * entries
        )

    return Trial(says, reads, lambda case: math.prod(case.options["shape"]) <= 64 and when(case.options["shape"]), True)


ORTHONORMAL = "the shorter side is orthonormal"
CORNERS = "the first and the last entry are positive every second time"
IN_A_ROW, IN_A_COLUMN = "signs in a row are independent", "signs in a column are independent"
DETERMINANT = "a square matrix turns as often as it reflects"

LAWS = (
    Trial(ORTHONORMAL, _orthonormal),
    _coin(CORNERS, positive_corners, entries=2),
    _coin(IN_A_ROW, alike_in_a_row, lambda shape: shape[-1] > 1 and math.prod(shape) > shape[-1]),
    _coin(IN_A_COLUMN, alike_in_a_column, lambda shape: shape[0] > 1 and math.prod(shape[1:]) > 1),
    _coin(DETERMINANT, positive_determinants, lambda shape: shape[0] == math.prod(shape[1:])),
    _coin("calls are independent", corners_kept, pairs=2),
    _coin("seeds are independent", corners_shared, seeds=2),
)

# 6 Rejections

REJECTIONS = (
    Rejection(
        "one axis",
        ((5,),),
        {},
        "orthogonal: shape (5,) has 1 axes, expected 2 or more: outputs, inputs, window",
    ),
)

# 7 Mistakes


def _of(draw: Callable[[Any, Shape], Array], signs: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Return an implementation that factors another matrix, or chooses other signs of the columns."""

    def wrong(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
        orthogonal_shape(shape)
        q, r = np.linalg.qr(draw(rng, sides(shape)))
        return _laid(gain * q * signs(q, r), shape)

    return wrong


def _normal(rng: Any, size: Shape) -> Array:
    return rng.standard_normal(size)


def _unit(rng: Any, size: Shape) -> Array:
    return rng.random(size)


def _as_they_come(q: Array, r: Array) -> Array:
    del r
    return np.ones(q.shape[1])


def _of_r(q: Array, r: Array) -> Array:
    del q
    return np.where(np.diagonal(r) < 0, -1.0, 1.0)


def _first_positive(q: Array, r: Array) -> Array:
    signs = _of_r(q, r)
    return signs * (1.0 if q[0, 0] * signs[0] > 0 else -1.0)


def _padded(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
    rows, columns = shape[0], math.prod(shape[1:])
    if rows >= columns:
        return draw_orthogonal(shape, rng=rng, gain=gain)
    w = np.zeros((rows, columns))
    w[:, :rows] = draw_orthogonal((rows, rows), rng=rng, gain=gain)
    return w.reshape(shape)


def _outputs_last(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
    orthogonal_shape(shape)
    return draw_orthogonal((math.prod(shape[:-1]), shape[-1]), rng=rng, gain=gain).reshape(shape)


def _both_fans(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
    orthogonal_shape(shape)
    taps = math.prod(shape[2:])
    whole = draw_orthogonal((shape[0] * taps, shape[1] * taps), rng=rng, gain=gain)
    return whole.ravel()[: math.prod(shape)].reshape(shape)


def _square(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
    orthogonal_shape(shape)
    return draw_orthogonal((shape[0], shape[0]), rng=rng, gain=gain)


def _not_orthogonal(shape: Shape, *, rng: Any, gain: float = 1.0) -> Array:
    orthogonal_shape(shape)
    a = rng.standard_normal(sides(shape))
    return _laid(gain * a / np.linalg.norm(a, axis=0), shape)


MISTAKES = (
    Mistake(
        "takes the signs as the factorisation gives them",
        "https://github.com/tensorflow/tensorflow/pull/9429",
        _of(_normal, _as_they_come),
        caught_by=(CORNERS, DETERMINANT),
    ),
    Mistake(
        "factors numbers between 0 and 1",
        "https://github.com/tensorflow/tensorflow/pull/10719",
        _of(_unit, _of_r),
        caught_by=(CORNERS, IN_A_ROW, IN_A_COLUMN),
    ),
    Mistake(
        "makes the first entry positive",
        "https://github.com/carnotresearch/cr-sparse/issues/28",
        _of(_normal, _first_positive),
        caught_by=(CORNERS,),
    ),
    Mistake(
        "fills with zeros where there are more columns than rows",
        "https://github.com/pytorch/pytorch/pull/2708",
        _padded,
        caught_by=(CORNERS,),
    ),
    Mistake(
        "takes the last axis for the outputs",
        "https://github.com/keras-team/keras/pull/5507",
        _outputs_last,
        caught_by=(ORTHONORMAL,),
    ),
    Mistake(
        "counts the window on both sides of the matrix",
        "https://github.com/Kaixhin/nninit/issues/7",
        _both_fans,
        caught_by=(ORTHONORMAL,),
    ),
    Mistake(
        "returns a square matrix whatever is asked for",
        "https://github.com/mila-iqia/blocks/pull/346",
        _square,
    ),
)

# 8 The distribution


def _varies(case: Case) -> bool:
    """Return whether more than the sign of one number is drawn."""
    return math.prod(case.options["shape"]) > 1


orthogonal = Distribution(
    name="orthogonal",
    options={"gain": 1.0},
    shape=orthogonal_shape,
    definition=draw_orthogonal,
    law="gain times a matrix of orthonormal columns, or rows, of the Haar measure",
    cases=cases,
    varies=_varies,
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Saxe, McClelland and Ganguli 2013; Mezzadri 2007, arXiv:math-ph/0609050",
    gallery=(
        Form((), {"shape": (4, 4), "gain": 1.0}),
        Form((), {"shape": (3, 5), "gain": math.sqrt(2.0)}),
        Form((), {"shape": (5, 2, 2, 1), "gain": 0.5}),
        Form((), {"shape": (2, 2), "gain": 1.0}),
        Form((), {"shape": (33, 32), "gain": 3.0}),
    ),
)
