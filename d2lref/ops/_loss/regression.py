"""mse_loss, l1_loss and smooth_l1_loss: what it costs that a number is not the number wanted.

Each is a function of the distance d = input - target, place by place: d^2, |d|, and the one joined to the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import constant, given, most
from d2lref.arrays import namespace
from d2lref.ops._activation.shared import either
from d2lref.ops._loss.reduction import (
    answer_shape,
    answered,
    check_reduction,
    check_same,
    draw_reduction,
    product,
    reduced,
    reduced_pair,
    share,
    shared_pair,
)
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array, Draw, Form, Shape

# 1 The functions of a distance


def square(d: Array) -> Array:
    """d^2."""
    return d * d


def slope_of_square(d: Array) -> Array:
    """2 d."""
    return 2.0 * d


def size(d: Array) -> Array:
    """|d|."""
    return namespace(d).abs(d)


def side(d: Array) -> Array:
    """1, 0 or -1 with the sign of d: at 0, where |d| has no derivative, any number from -1 to 1 is a subgradient."""
    return namespace(d).sign(d)


def smooth(d: Array, beta: float = 1.0) -> Array:
    """d^2 / (2 beta) where |d| < beta, |d| - beta / 2 elsewhere; the two meet with one slope."""
    if beta == 0:
        return size(d)
    far = size(d)
    return namespace(d).where(far < beta, d * d * (0.5 / beta), far - 0.5 * beta)


def slope_of_smooth(d: Array, beta: float = 1.0) -> Array:
    """d / beta where |d| < beta, the side elsewhere."""
    if beta == 0:
        return side(d)
    return namespace(d).where(size(d) < beta, d / beta, side(d))


def by_clipping(d: Array, beta: float = 1.0) -> Array:
    """m (|d| - m / 2) / beta with m = min(|d|, beta): both branches at once."""
    if beta == 0:
        return size(d)
    far = size(d)
    near = namespace(d).where(far < beta, far, far * 0.0 + beta)
    return near * (far - 0.5 * near) / beta


# 2 How wrong each may be


def square_pair(run: Running, d: Pair) -> Pair:
    """Return the pair of d^2."""
    return product(run, d, d)


def slope_of_square_pair(run: Running, d: Pair) -> Pair:
    """Return the pair of 2 d: exact."""
    del run
    return Pair(2 * d.value, 2 * d.error)


def size_pair(run: Running, d: Pair) -> Pair:
    """Return the pair of |d|: exact."""
    del run
    return Pair(np.abs(d.value), d.error)


def side_pair(run: Running, d: Pair) -> Pair:
    """Return the side of d, wrong by 1 where d is 0 (any subgradient is right) and by 2 where it may have either."""
    del run
    slip = np.where(d.value == 0, 1.0, 2.0)
    return Pair(np.sign(d.value), np.where(np.abs(d.value) <= d.error, slip, 0.0))


def smooth_pair(run: Running, d: Pair, beta: float = 1.0) -> Pair:
    """Return the pair of smooth(d): either branch at the computed distance, wherever that may lie in it.

    The function is continuous, and moves by at most |slope| e when d moves by e, where |slope| <= min(1, (|d| + e) /
    beta); by half of what beta is rounded by, since its derivative for beta is -min(1, d / beta)^2 / 2. On top of it
    come the roundings of the branch that is taken, or of m (|d| - m / 2) / beta.
    """
    if beta == 0:
        return size_pair(run, d)
    b = constant(run.p, beta)
    far, near = most(d), np.minimum(most(d), beta)
    value = np.where(np.abs(d.value) < beta, d.value * d.value / (2 * beta), np.abs(d.value) - beta / 2)
    moved = np.minimum(1.0, far / beta) * d.error + b.error / 2
    exact = Pair.exact
    square = run.rounded(run.div(product(run, exact(near), exact(near)), 2 * beta))
    line = run.sub(exact(far), run.rounded(exact(np.asarray(beta / 2))))
    clipped = run.div(product(run, exact(near), run.sub(exact(far), exact(near / 2))), np.asarray(beta))
    inside, outside = np.abs(d.value) - d.error <= beta, far >= beta - b.error
    rounding = np.maximum(np.where(inside, square.error, 0.0), np.where(outside, line.error, 0.0))
    return Pair(value, moved + np.maximum(rounding, clipped.error) + 4 * run.u * np.abs(value))


def slope_of_smooth_pair(run: Running, d: Pair, beta: float = 1.0) -> Pair:
    """Return the pair of slope_of_smooth(d), which moves by at most e / beta, and never by more than 2."""
    if beta == 0:
        return side_pair(run, d)
    inner = run.div(d, constant(run.p, beta))
    value = np.clip(inner.value, -1.0, 1.0)
    beyond = np.abs(d.value) - d.error > beta * (1 + run.u)
    return Pair(value, np.where(beyond, 0.0, np.minimum(inner.error + 2 * run.u, 2.0)))


# 3 The losses


@dataclass(frozen=True, slots=True)
class Regression:
    """A loss of the distance: its function and its slope with their pairs; `options` beside the reduction."""

    name: str
    function: Callable[..., Array]
    slope: Callable[..., Array]
    function_pair: Callable[..., Pair]
    slope_pair: Callable[..., Pair]

    def shape(self, x: Shape, target: Shape, *, reduction: str = "mean", **options: Any) -> tuple[Shape]:
        """Return () or the shape of input and target, which is the same. Raises ValueError."""
        check_reduction(self.name, reduction)
        if (beta := options.get("beta", 0.0)) < 0:
            raise ValueError(f"{self.name}: beta={beta!r}, expected a number >= 0")
        check_same(self.name, x, target)
        return answer_shape(x, reduction)

    def run(self, x: Array, target: Array, *, reduction: str = "mean", **options: Any) -> Array:
        """Return the reduced function of the distance."""
        self.shape(x.shape, target.shape, reduction=reduction, **options)
        return reduced(self.function(x - target, **options), reduction)

    def vjp(
        self, gy: Array, x: Array, target: Array, *, reduction: str = "mean", **options: Any
    ) -> tuple[Array, Array]:
        """dx = g slope(d) and dtarget = -dx, g the cotangent of every loss: gy, or gy / n for a mean."""
        dx = share(gy, x.shape, reduction) * self.slope(x - target, **options)
        return dx, -dx

    def bound(
        self, y: Array, precision: Precision, x: Array, target: Array, *, reduction: str = "mean", **options: Any
    ) -> np.ndarray:
        """Pairs on the distance, its function and the reduction (ASNA, chapters 3 and 4; rounding.Running)."""
        del y
        run = Running(precision)
        with np.errstate(all="ignore"):
            d = run.sub(given(precision, x), given(precision, target))
            return answered(run, reduced_pair(run, self.function_pair(run, d, **options), reduction))

    def vjp_bound(
        self,
        grads: tuple[Array, ...],
        precision: Precision,
        gy: Array,
        x: Array,
        target: Array,
        *,
        reduction: str = "mean",
        **options: Any,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs on g slope(d), its factors in any order."""
        del grads
        run = Running(precision)
        with np.errstate(all="ignore"):
            d = run.sub(given(precision, x), given(precision, target))
            slope, g = self.slope_pair(run, d, **options), given(precision, gy)
            late = product(run, g.map(lambda a: np.broadcast_to(a, x.shape)), slope)
            orders = [product(run, shared_pair(run, g, x.shape, reduction), slope)]
            orders += [shared_pair(run, late, x.shape, reduction)] if reduction == "mean" else []
            error = run.answer(either(*orders))
        return error, error


def cases(draw: Draw) -> Form:
    """Draw arrays of one to four axes and a reduction; shrinks to the mean over a single number."""
    sizes = list(draw.sizes(*(1,) * draw.choice(1, 2, 3, 4)))
    if draw.integer(0, 31) == 31:
        sizes[0] = 0
    return Form((tuple(sizes),) * 2, {"reduction": draw_reduction(draw)})


def smooth_cases(draw: Draw) -> Form:
    """Draw the same and where the branches meet: integers and halves of the lattice lie on it, beside it and at 0."""
    form = cases(draw)
    return Form(form.shapes, {**form.options, "beta": draw.choice(1.0, 1.0, 0.5, 2.0, 3.0, 0.0)})


MSE = Regression("mse_loss", square, slope_of_square, square_pair, slope_of_square_pair)
L1 = Regression("l1_loss", size, side, size_pair, side_pair)
SMOOTH = Regression("smooth_l1_loss", smooth, slope_of_smooth, smooth_pair, slope_of_smooth_pair)
