"""How wrong a half spectrum and its gradient may be.

A sum of products with the waves, or a fast transform of it. A wave is computed as well: an implementation's may be
wrong by 4u, which a call of cos and sin on angles below pi / 4 is, and the factor of a norm costs as much again.
"""

import math
from dataclasses import replace

import numpy as np

from d2lref.algorithms.fourier import power_of_two
from d2lref.ops._fourier.definition import factor, waves
from d2lref.rounding import (
    HOST,
    Precision,
    at_most,
    fft_bound,
    gamma,
    multilinear_bound,
    store_bound,
    transform_depth,
)
from d2lref.spec import Array

WAVE = 4.0  # units u by which a wave may be wrong
LONG = 17  # from this prime on libraries transform by a convolution: MKL's own radices end at 13

# 1 Sums of products


def bound(y: Array, p: Precision, x: Array, *, norm: str = "backward") -> np.ndarray:
    """`multilinear_bound` of a sum of products with the waves, plus 4u sum |x| for them and 4u for a norm's factor.

    The first coefficient is a sum of the samples alone, exact on lattices. For `algorithm="fft"` the larger of this and
    `_transformed`.
    """
    n, both = x.shape[-1], waves(x.shape[-1])
    s = factor(n, norm)

    def sums(a: Array, wave: Array) -> Array:
        return np.einsum("...t,ikt->...ki", a, wave)

    parts = (slice(0, 1), slice(1, None))
    found = [multilinear_bound(sums, (x, s * both[:, part]), y=y[..., part, :], p=p) for part in parts]
    size = np.sum(np.abs(x), axis=-1)[..., None, None]
    moved = np.broadcast_to(s * size, y.shape) * _waves_wrong(n, norm, p)
    moved[..., 0, :] *= norm != "backward"
    moved[..., 0, 1] = 0.0
    error = np.concatenate(found, axis=-2) + moved * (1 + p.stored.u)
    return _with_transforms(error, y, p, x, n, s)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, *, norm: str = "backward") -> tuple[np.ndarray]:
    """The same for the gradient, a sum of products of gy with the waves, plus 4u sum |gy|."""
    n, both = x.shape[-1], waves(x.shape[-1])
    s = factor(n, norm)

    def sums(a: Array, wave: Array) -> Array:
        return np.einsum("...ki,ikt->...t", a, wave)

    found = multilinear_bound(sums, (gy, s * both), y=grads[0], p=p)
    sent = np.reshape(gy, (*gy.shape[:-2], 2 * gy.shape[-2]))
    moved = s * np.sum(np.abs(sent), axis=-1)[..., None] * _waves_wrong(n, norm, p)
    return (_with_transforms(found + moved * (1 + p.stored.u), grads[0], p, sent, n, s),)


def _waves_wrong(n: int, norm: str, p: Precision) -> float:
    """Return by how much the waves and the factor move a sum, relative to its size; the reference's own are wrong too.

    The factor is a root, a quotient and a product.
    """
    count = WAVE if norm == "backward" else 2 * WAVE
    return count * (p.u + HOST.u) * (1 + n * p.u)


# 2 Fast transforms


def _with_transforms(error: np.ndarray, y: Array, p: Precision, samples: Array, n: int, s: float) -> np.ndarray:
    """Return the error, or `_transformed` where the precision claims a fast transform and that is larger."""
    if p.algorithm != "fft":
        return error
    beyond = (..., *(None,) * (y.ndim - samples.ndim + 1))
    size = np.sum(np.abs(samples), axis=-1)
    fast = _transformed(samples, size, n, s, p)[beyond]
    return np.maximum(error, store_bound(np.broadcast_to(fast, y.shape), at_most(y, s * size[beyond]), p))


def _transformed(samples: Array, size: Array, n: int, s: float, p: Precision) -> np.ndarray:
    """s (gamma(D + 5) S1 + 32 n tiny) with S1 = sum |x|: a coefficient by passes of the prime factors of n; (*rows,).

    A pass of radix r replaces r numbers by sums of r products with waves. If the numbers are sums of terms whose sizes
    add up to S, wrong by e S, the sums are of the sizes of all of them, and wrong by (1 + e)(1 + d) - 1 of those: a
    coefficient is a tree whose leaves are the samples, and D of `transform_depth` counts the d along a path. Real
    samples packed in pairs and the factor of a norm are five roundings more. Where n has a prime factor of 17 or more,
    the larger of this and a convolution with a chirp of 2-norm sqrt(2 n) by transforms of a power of two (Bluestein
    1970), in which Young's inequality has ||x * b||_2 <= ||x||_1 ||b||_2, and two products with it before and after.
    """
    depth, longest = transform_depth(n, WAVE)
    own = 1 + (n + 2) * HOST.u
    subnormal = np.where(np.abs(samples) < p.stored.nmin, np.abs(samples), 0.0) if p.flushed else samples[..., :0]
    with np.errstate(over="ignore", invalid="ignore"):
        error = gamma(depth + 5, p.u) * size * own + 32 * n * p.tiny + np.sum(np.abs(subnormal), axis=-1)
        if longest >= LONG:
            inside = replace(p, storage=p.accumulator.name, accumulate=p.accumulator.name)
            chirp, two = math.sqrt(2 * n), np.sqrt(np.sum(np.square(samples), axis=-1))
            norms, length = two + chirp, power_of_two(2 * n - 1)
            folded = fft_bound(chirp * two, chirp * size, 1, length, np.zeros_like(size), inside, norms=norms)
            error = np.maximum(error, folded + (3 * WAVE + 6) * p.u * size)
        error = error + p.operand_error * size
        return np.asarray(np.where(2 * size < p.accumulator.fmax, s * error + p.tiny, np.inf))
