"""relu6, leaky_relu, hardsigmoid and hardswish: how wrong they may be. Pairs of answers and of derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms.moment_bounds import constant
from d2lref.ops._activation.shared import answered, either, gradient
from d2lref.rounding import Pair, Precision, Running
from d2lref.spec import Array

# 1 The answers and the slopes


def between(low: float, high: float, z: Pair) -> Pair:
    """Return min(max(z, low), high), exact where z lies beyond by more than its error."""
    beyond = (z.value < low - z.error) | (z.value > high + z.error)
    return Pair(np.clip(z.value, low, high), np.where(beyond, 0.0, z.error))


def jumps(run: Running, x: Pair, widths: dict[float, float]) -> np.ndarray:
    """Return by how much a derivative may be chosen otherwise: at an end of a part, which x may be rounded to."""
    total = np.zeros(x.shape)
    for end, width in widths.items():
        near = np.abs(x.value - end) <= x.error + 8 * run.u * abs(end)
        total = np.where(near, width, total)
    return total


def chosen(slope: Pair, jumps: np.ndarray) -> Pair:
    return Pair(slope.value, slope.error + jumps)


def relu6(run: Running, x: Pair) -> Pair:
    del run
    return Pair(np.clip(x.value, 0.0, 6.0), x.error)


def relu6_slope(run: Running, x: Pair) -> Pair:
    inside = ((x.value > 0) & (x.value < 6)).astype(np.float64)
    return chosen(Pair.exact(inside), jumps(run, x, {0.0: 1.0, 6.0: 1.0}))


def leaky(run: Running, x: Pair, *, negative_slope: float) -> Pair:
    left = run.mul(x, constant(run.p, negative_slope))
    right = x.value > 0
    return Pair(
        np.where(right, x.value, left.value), np.where(right, x.error * max(1.0, abs(negative_slope)), left.error)
    )


def leaky_slope(run: Running, x: Pair, *, negative_slope: float) -> Pair:
    a, right = constant(run.p, negative_slope), x.value > 0
    slope = Pair(np.where(right, 1.0, a.value), np.where(right, 0.0, a.error))
    return chosen(slope, jumps(run, x, {0.0: abs(1 - negative_slope)}))


def gate(run: Running, x: Pair) -> Pair:
    """Return (x + 3) / 6 and x / 6 + 1/2 within 0 and 1."""
    near = Pair(np.clip(x.value, -6.0, 6.0), x.error)
    quotient = run.div(between(0.0, 6.0, run.add(near, 3.0)), 6.0)
    return either(between(0.0, 1.0, quotient), between(0.0, 1.0, run.add(run.div(near, 6.0), 0.5)))


def gate_slope(run: Running, x: Pair) -> Pair:
    sixth = run.div(Pair.exact(np.ones(())), 6.0)
    inside = np.abs(x.value) < 3
    slope = Pair(np.where(inside, sixth.value, 0.0), np.where(inside, sixth.error, 0.0))
    return chosen(slope, jumps(run, x, {-3.0: 1 / 6, 3.0: 1 / 6}))


def swish(run: Running, x: Pair) -> Pair:
    """Return x times the gate, before or after the division by 6."""
    passed = gate(run, x)
    near = Pair(np.clip(x.value, -6.0, np.inf), x.error)
    after = run.div(run.mul(near, between(0.0, 6.0, run.add(near, 3.0))), 6.0)
    return either(run.mul(near, passed), after)


def swish_slope(run: Running, x: Pair) -> Pair:
    near = Pair(np.clip(x.value, -3.0, 3.0), x.error)
    line = either(run.add(run.div(near, 3.0), 0.5), run.div(run.add(run.mul(near, 2.0), 3.0), 6.0))
    inside, right = np.abs(x.value) < 3, x.value >= 3
    slope = Pair(np.where(inside, line.value, right), np.where(inside, line.error, 0.0))
    return chosen(slope, jumps(run, x, {-3.0: 1 / 2, 3.0: 1 / 2}))


def bound_of(answer: Callable[..., Pair], at_infinity: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Return the bound of a pair; at_infinity(x, **options) is that of `shared.answered`."""

    def bound(y: Array, precision: Precision, x: Array, **options: Any) -> np.ndarray:
        """Pairs on the polynomial of each part, exact where it is x or a constant."""
        del y
        return answered(answer, precision, x, at_infinity=at_infinity(x, **options), **options)

    return bound


def vjp_bound_of(slope: Callable[..., Pair]) -> Callable[..., tuple[np.ndarray]]:
    """Return the bound of the gradient by the pair of the derivative."""

    def vjp_bound(
        grads: tuple[Array, ...], precision: Precision, gy: Array, x: Array, **options: Any
    ) -> tuple[np.ndarray]:
        """Pairs on gy times the derivative, and the jump of it at the ends of the parts."""
        del grads
        return (gradient(slope, precision, gy, x, **options),)

    return vjp_bound


def limited(x: Array) -> np.ndarray:
    """Return NaN: the answer at infinity is a limit."""
    return np.full(np.shape(x), np.nan)


def leaking(x: Array, *, negative_slope: float) -> np.ndarray:
    """Return 0, the answer at infinity is infinite, but infinity where it is -inf times 0."""
    return np.where((x < 0) & (negative_slope == 0), np.inf, 0.0)


def gated(x: Array) -> np.ndarray:
    """Return 0 at inf, and infinity at -inf, which is multiplied by 0."""
    return np.where(x < 0, np.inf, 0.0)
