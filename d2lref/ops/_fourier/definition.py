"""The half spectrum: shape, the sum, faster ways, derivative.

The coefficients are complex and the samples are real: y holds real and imaginary parts along a last axis of two, as
torch.view_as_real does, so that a judge of real numbers is all that is needed.
"""

import math
from functools import lru_cache

import array_api_compat
import numpy as np

from d2lref.arrays import namespace, zeros
from d2lref.spec import Array, Shape

NORMS = ("backward", "ortho", "forward")

# 1 Shape


def shape(x: Shape, *, norm: str = "backward") -> tuple[Shape]:
    """Return ((*rows, n // 2 + 1, 2),) for x (*rows, n). Raises ValueError."""
    x = tuple(x)
    if norm not in NORMS:
        raise ValueError(f"fourier_coefficients: norm={norm!r}, expected one of {', '.join(map(repr, NORMS))}")
    if not x:
        raise ValueError(f"fourier_coefficients: x {x} has no axis, expected (..., samples)")
    if not x[-1]:
        raise ValueError(f"fourier_coefficients: x {x} has no samples, expected at least one")
    return ((*x[:-1], x[-1] // 2 + 1, 2),)


def factor(n: int, norm: str) -> float:
    """1 for "backward", 1 / sqrt n for "ortho", 1 / n for "forward": what the sum is multiplied by."""
    return {"backward": 1.0, "ortho": 1 / math.sqrt(n), "forward": 1 / n}[norm]


@lru_cache
def waves(n: int) -> np.ndarray:
    """cos(2 pi k t / n) and -sin(2 pi k t / n), shape (2, n // 2 + 1, n), each within 2u of it in float64.

    Angles are taken from the nearest quarter of a turn, in integers, so that none is larger than pi / 4 and those of a
    quarter are exact.
    """
    m = np.arange(n // 2 + 1)[:, None] * np.arange(n) % n
    quarter = (4 * m + n // 2) // n
    rest = math.pi * (4 * m - quarter * n) / (2 * n)
    c, s = np.cos(rest), np.sin(rest)
    return np.stack([np.choose(quarter % 4, (c, -s, -c, s)), np.choose(quarter % 4, (-s, -c, s, c))])


def _waves(x: Array, n: int) -> tuple[Array, Array]:
    """Return both `waves` in the library, the dtype and on the device of x."""
    xp, device = namespace(x), array_api_compat.device(x)
    cosines, sines = (xp.asarray(wave, dtype=x.dtype, device=device) for wave in waves(n))
    return cosines, sines


# 2 Definition


def definition(x: Array, *, norm: str = "backward") -> Array:
    """y[..., k, :] = real and imaginary part of s sum over t of x[..., t] exp(-2 pi i k t / n), k = 0 ... n / 2.

    x (*rows, n), real, with any number of leading axes; y (*rows, n // 2 + 1, 2), of the dtype of x: the other
    coefficients are conjugates of these, y[n - k] = conj y[k]. s = 1 for norm "backward", 1 / sqrt n for "ortho", 1 / n
    for "forward", as in torch.fft.rfft. Raises ValueError (see `shape`). Source: Briggs and Henson 1995, The DFT: an
    owner's manual for the discrete Fourier transform, sections 2.2 and 3.3.
    """
    shape(x.shape, norm=norm)
    xp, n = namespace(x), x.shape[-1]
    return xp.stack([xp.sum(x[..., None, :] * wave, axis=-1) for wave in _waves(x, n)], axis=-1) * factor(n, norm)


# 3 Faster ways


def by_matrix(x: Array, *, norm: str = "backward") -> Array:
    """y = s x times the matrix of the waves, one product of matrices for all rows."""
    (answer,) = shape(x.shape, norm=norm)
    xp, n = namespace(x), x.shape[-1]
    matrix = xp.reshape(xp.stack(_waves(x, n), axis=1), (-1, n))
    return xp.reshape(xp.matmul(x, xp.matrix_transpose(matrix)), answer) * factor(n, norm)


def by_transform(x: Array, *, norm: str = "backward") -> Array:
    """y = the fast Fourier transform of the array library (Cooley and Tukey 1965), where samples are real."""
    (answer,) = shape(x.shape, norm=norm)
    if 0 in answer:  # MKL refuses to transform nothing
        return zeros(x, answer)
    xp = namespace(x)
    y = xp.fft.rfft(x, norm=norm)
    return xp.astype(xp.stack([xp.real(y), xp.imag(y)], axis=-1), x.dtype)


# 4 Derivative


def vjp(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
    """gx[..., t] = s sum over k of (cos(2 pi k t / n) gy[..., k, 0] - sin(2 pi k t / n) gy[..., k, 1]).

    Returns (gx,) in the shape of x. It is no inverse transform, which counts every k between 0 and n / 2 twice.
    """
    xp, n = namespace(gy, x), x.shape[-1]
    real, imaginary = (xp.sum(gy[..., i, None] * wave, axis=-2) for i, wave in enumerate(_waves(gy, n)))
    return ((real + imaginary) * factor(n, norm),)
