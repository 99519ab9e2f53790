"""How half spectra go wrong: each mistake models a bug report."""

import math
from collections.abc import Callable

import numpy as np

from d2lref.ops._fourier.definition import definition, factor, shape, vjp
from d2lref.ops._fourier.laws import LAWS
from d2lref.spec import Array, Mistake

HUB = "https://github.com"
ADDS, TURNS, FIRST, WAVE, ENERGY, ALONE = (law.says for law in LAWS)
ADJOINT = "the vjp is the adjoint"
Ways = tuple[Callable[..., Array], Callable[..., tuple[Array]]]

# 1 Wrong weights: what a coefficient is multiplied by, forward and backward alike


def _weighted(weight: Callable[[int, str], Array]) -> Ways:
    """Return forward and vjp with real and imaginary parts multiplied by weight(n, norm), shape (n // 2 + 1, 2)."""

    def forward(x: Array, *, norm: str = "backward") -> Array:
        y = definition(x, norm=norm)
        return y * weight(x.shape[-1], norm).astype(y.dtype)

    def back(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
        return vjp(gy * weight(x.shape[-1], norm).astype(gy.dtype), x, norm=norm)

    return forward, back


def _each(n: int) -> Array:
    return np.ones((n // 2 + 1, 2))


def _scaled(wrong: Callable[[int, str], float]) -> Ways:
    """Return forward and vjp with another factor than that of the norm."""
    return _weighted(lambda n, norm: _each(n) * (wrong(n, norm) / factor(n, norm)))


def _conjugate(n: int, norm: str) -> Array:
    del norm
    return _each(n) * (1.0, -1.0)


def _one_sided(n: int, norm: str) -> Array:
    """Double what has a partner of negative frequency, as a plot of amplitudes does."""
    del norm
    k = np.arange(n // 2 + 1)
    return _each(n) * np.where(2 * k % n == 0, 1.0, 2.0)[:, None]


def _without_middle(n: int, norm: str) -> Array:
    """Leave the last coefficient of an even number of samples at zero: a loop over k < n / 2."""
    del norm
    k = np.arange(n // 2 + 1)
    return _each(n) * np.where((2 * k == n) & (k > 0), 0.0, 1.0)[:, None]


def _centred(n: int, norm: str) -> Array:
    """Count time from the middle sample, where n is even."""
    del norm
    sign = (-1.0) ** np.arange(n // 2 + 1) if n % 2 == 0 else 1.0
    return _each(n) * np.reshape(sign, (-1, 1))


def _packed(x: Array, *, norm: str = "backward") -> Array:
    """Return the middle coefficient, which is real, where the imaginary part of the first would be, which is zero."""
    y = definition(x, norm=norm)
    if x.shape[-1] % 2 == 0:
        y[..., 0, 1] = y[..., -1, 0]
        y[..., -1, 0] = 0.0
    return y


# 2 Samples that are misread


def _unsigned(x: Array, *, norm: str = "backward") -> Array:
    return definition(np.abs(x), norm=norm)


def _unsigned_vjp(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
    return (np.sign(x) * vjp(gy, np.abs(x), norm=norm)[0],)


def _in_the_exponent(x: Array, *, norm: str = "backward") -> Array:
    """y[k] = s sum over t of exp(-2 pi i k x[t] / n): values where their places belong."""
    shape(x.shape, norm=norm)
    n = x.shape[-1]
    angle = 2 * math.pi / n * np.arange(n // 2 + 1)[:, None] * x[..., None, :].astype(np.float64)
    parts = [np.sum(wave(angle), axis=-1) for wave in (np.cos, lambda a: -np.sin(a))]
    return (factor(n, norm) * np.stack(parts, axis=-1)).astype(x.dtype)


def _strided(x: Array) -> Array:
    """Return the rows as they are read with the number of rows between neighbours: transposed."""
    rows = math.prod(x.shape[:-1])
    return np.reshape(np.reshape(x, (x.shape[-1], rows)).T, x.shape)


def _across(x: Array, *, norm: str = "backward") -> Array:
    return definition(_strided(x), norm=norm)


def _across_vjp(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
    (g,) = vjp(gy, x, norm=norm)
    return (np.reshape(np.reshape(g, (-1, x.shape[-1])).T, x.shape),)


def _first_axis(x: Array, *, norm: str = "backward") -> Array:
    """Transform the first axis instead of the last."""
    shape(x.shape, norm=norm)
    return definition(np.moveaxis(x, 0, -1), norm=norm)


# 3 Waves that are computed badly


def _far_angles(x: Array, *, norm: str = "backward") -> Array:
    """Take cos and sin of 2 pi / n times k t in single precision: the angle loses what its many turns are worth."""
    shape(x.shape, norm=norm)
    n = x.shape[-1]
    turns = np.arange(n // 2 + 1)[:, None] * np.arange(n)
    angle = (np.float32(2 * math.pi / n) * turns.astype(np.float32)).astype(np.float64)
    parts = [np.sum(x[..., None, :] * wave, axis=-1) for wave in (np.cos(angle), -np.sin(angle))]
    return (factor(n, norm) * np.stack(parts, axis=-1)).astype(x.dtype)


# 4 Derivatives


def _inverse(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
    """Return n times the inverse transform, which counts every k between 0 and n / 2 twice."""
    return vjp(gy * _one_sided(x.shape[-1], norm).astype(gy.dtype), x, norm=norm)


def _norm_forgotten(gy: Array, x: Array, *, norm: str = "backward") -> tuple[Array]:
    del norm
    return vjp(gy, x)


MISTAKES = (
    Mistake(
        "samples lose their sign",
        f"{HUB}/Gadgetoid/galactic-bluetooth-audio/pull/2",
        _unsigned,
        _unsigned_vjp,
        (ADDS,),
    ),
    Mistake(
        "the values stand in the exponent",  # the source notes' formula is not linear in x either
        "Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 6.5, exercise 2",
        _in_the_exponent,
        caught_by=(ADDS,),
    ),
    Mistake("waves turn the other way", f"{HUB}/anthonix/ffts/issues/54", *_weighted(_conjugate), (TURNS,)),
    Mistake("angles are not reduced", f"{HUB}/numpy/numpy/pull/10625", _far_angles, caught_by=(TURNS,)),
    Mistake(
        "the factor is 1 / sqrt n unless it is asked for otherwise",
        f"{HUB}/thi-ng/umbrella/issues/258",
        *_scaled(lambda n, norm: factor(n, "ortho" if norm == "backward" else norm)),
        (FIRST,),
    ),
    Mistake(
        "the middle coefficient is left out",
        f"{HUB}/phip1611/spectrum-analyzer/issues/20",
        *_weighted(_without_middle),
        (FIRST,),
    ),
    Mistake(
        "the middle coefficient is packed into the first",
        f"{HUB}/espressif/esp-dsp/issues/111",
        _packed,
        caught_by=(FIRST,),
    ),
    Mistake("time is counted from the middle", f"{HUB}/isetbio/isetbio/issues/213", *_weighted(_centred), (FIRST,)),
    Mistake(
        "coefficients of two frequencies are doubled",
        f"{HUB}/corbanbrook/dsp.js/issues/33",
        *_weighted(_one_sided),
        (FIRST,),
    ),
    Mistake(
        "nothing is divided by n",
        f"{HUB}/ejmahler/RustFFT/issues/94",
        *_scaled(lambda n, norm: 1.0 if norm == "forward" else factor(n, norm)),
        (WAVE,),
    ),
    Mistake(
        "the orthonormal transform has another factor",
        f"{HUB}/numpy/numpy/issues/8444",
        *_scaled(lambda n, norm: factor(2 * (n // 2) or 1, norm) if norm == "ortho" else factor(n, norm)),
        (ENERGY,),
    ),
    Mistake(
        "rows are read with the stride of columns",
        f"{HUB}/clMathLibraries/clFFT/issues/105",
        _across,
        _across_vjp,
        (ALONE,),
    ),
    Mistake(
        "the first axis is transformed",
        f"{HUB}/jax-ml/jax/issues/1878",
        _first_axis,
        caught_by=(ALONE,),
    ),
    Mistake(
        "the gradient is an inverse transform",
        f"{HUB}/locuslab/pytorch_fft/issues/38",
        vjp=_inverse,
        caught_by=(ADJOINT,),
    ),
    Mistake(
        "the gradient knows no norm",
        f"{HUB}/ml-explore/mlx/pull/3287",
        vjp=_norm_forgotten,
        caught_by=(ADJOINT,),
    ),
)
