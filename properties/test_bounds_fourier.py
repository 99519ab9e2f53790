"""The bounds of Fourier transforms, and of convolution by them, hold of libraries and of a demon, and are not idle."""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2lref import ops, rounding
from d2lref.algorithms import fourier
from d2lref.rounding import PRESETS, Precision, fft_bound, outward
from properties.exact import Demon, circular, ratio, rational, scaled, worst_transforms

TRUNCATED = Precision(rounding="truncate")


def by_numpy(xs: np.ndarray, ws: np.ndarray) -> np.ndarray:
    """Return the circular convolution summed over channels, in the dtype of the arrays."""
    axes, shape = tuple(range(1, xs.ndim)), xs.shape[1:]
    spectrum = np.sum(np.fft.rfftn(xs, axes=axes) * np.fft.rfftn(ws, axes=axes), axis=0)
    return np.fft.irfftn(spectrum, s=shape, axes=tuple(range(len(shape))))


def by_torch(xs: np.ndarray, ws: np.ndarray) -> np.ndarray:
    """The same by torch, whose sums over channels are products of complex matrices."""
    import torch

    axes, shape = tuple(range(1, xs.ndim)), xs.shape[1:]
    left, right = (torch.fft.rfftn(torch.from_numpy(a), dim=axes) for a in (xs, ws))
    spectrum = torch.einsum("c...,c...->...", left, right)
    return np.asarray(torch.fft.irfftn(spectrum, s=shape, dim=tuple(range(len(shape)))))


LIBRARIES = (by_numpy, *((by_torch,) if find_spec("torch") else ()))
SHAPES = (
    (1,),
    (2,),
    (3,),
    (5,),
    (7,),
    (8,),
    (11,),
    (12,),
    (13,),
    (16,),
    (31,),
    (32,),
    (45,),
    (49,),
    (64,),
    (128,),
    (4, 6),
    (8, 8),
)
IMAGES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape) + 1 / 2,
    "one pixel": lambda rng, shape: np.where(
        rng.permutation(math.prod(shape)).reshape(shape) == 0, 1 + rng.random(), 0.0
    ),
    "one huge pixel": lambda rng, shape: np.where(
        rng.random(shape) < 1 / math.prod(shape), 2.0**20, rng.standard_normal(shape)
    ),
    "alternating": lambda rng, shape: (
        (-1.0) ** np.arange(math.prod(shape)).reshape(shape) * (1 + rng.random(shape) / 16)
    ),
    "a wave": lambda rng, shape: np.cos(
        2 * math.pi * rng.integers(8) / shape[-1] * np.arange(math.prod(shape)).reshape(shape)
    ),
    "wide": lambda rng, shape: np.ldexp(rng.standard_normal(shape), rng.integers(-12, 13, shape)),
    "tiny": lambda rng, shape: np.ldexp(rng.standard_normal(shape), -140),
}


def norm(a: np.ndarray, order: int) -> np.ndarray:
    """Return the norm of every channel."""
    return np.linalg.norm(a.reshape(a.shape[0], -1), order, axis=1)


def fourier_bound(xs: np.ndarray, ws: np.ndarray, p: Precision) -> float:
    """Return the bound of every element of a circular convolution summed over channels."""
    x2, w2, w1 = norm(xs, 2), norm(ws, 2), norm(ws, 1)
    energy, full, norms = np.sum(x2 * w2), np.sum(x2 * w1), np.sum(x2 + w2)
    return float(outward(fft_bound(energy, full, len(xs), xs[0].size, np.zeros(()), p, norms=norms)))


@pytest.mark.parametrize("library", LIBRARIES)
@given(
    st.sampled_from(SHAPES),
    st.integers(1, 3),
    st.sampled_from(tuple(IMAGES)),
    st.sampled_from(tuple(IMAGES)),
    st.sampled_from(("float32", "float64")),
    st.integers(0, 2**32),
)
def test_a_convolution_by_fourier_transforms_stays_within_its_bound(
    library: Callable[..., np.ndarray],
    shape: tuple[int, ...],
    channels: int,
    image: str,
    window: str,
    dtype: str,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    xs, ws = (np.array([IMAGES[name](rng, shape) for _ in range(channels)]).astype(dtype) for name in (image, window))
    computed = library(xs, ws)
    assert computed.dtype == dtype
    exact = sum(circular(x, w) for x, w in zip(xs.astype(float), ws.astype(float), strict=True))
    bound = fourier_bound(xs.astype(float), ws.astype(float), PRESETS[dtype])
    assert max(ratio(d, bound) for d in (rational(computed.astype(float)) - exact).ravel()) <= 1


def demonic(n: int, channels: int, p: Precision) -> float:
    """Return the largest ratio of error to bound that the demon reaches with unit impulses at 1 and at the end."""
    xs, ws = np.zeros((2, channels, n))
    xs[:, 1 % n], ws[:, -1] = 1, 1
    return float(np.max(worst_transforms(xs, ws, p.u))) / fourier_bound(xs, ws, p)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n", [2, 4, 8, 16])
def test_the_bound_of_fourier_transforms_holds_against_the_demon_and_is_not_idle(n: int, channels: int) -> None:
    for p in (Precision(algorithm="fft"), Precision(accumulate="bfloat16"), TRUNCATED):
        assert 0.1 < demonic(n, channels, p) < 1
    assert demonic(n, channels, Precision()) > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_the_demon_does_not_break_the_bound_on_random_data(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xs, ws = rng.standard_normal((2, 2, 8))
    assert np.max(worst_transforms(xs, ws, 2.0**-24)) < fourier_bound(xs, ws, Precision())


def test_a_smaller_bound_of_fourier_transforms_is_noticed() -> None:
    with patch.object(rounding, "gamma", lambda k, u: k * u / 4):
        assert demonic(16, 1, Precision()) > 1
    tiny = (np.arange(8.0)[None] * 2.0**-149).astype(np.float32)
    other = np.linspace(1, 2, 8, dtype=np.float32)[None]
    error = np.max(
        np.abs(by_numpy(tiny, other) - circular(tiny[0].astype(float), other[0].astype(float)).astype(float))
    )
    assert error < fourier_bound(tiny.astype(float), other.astype(float), Precision())
    with patch.object(Precision, "tiny", scaled("tiny", 0)):
        assert error > fourier_bound(tiny.astype(float), other.astype(float), Precision())


def test_transforms_that_overflow_or_round_away_have_no_bound() -> None:
    one = np.ones(())
    assert np.isinf(fft_bound(one, 2.0**126 * one, 1, 8, np.zeros(3), Precision())).all()
    assert np.isinf(fft_bound(one, one, 1, 8, np.zeros(3), Precision(), norms=2.0**127)).all()
    assert np.isinf(fft_bound(one, one, 1000, 2**20, np.zeros(3), Precision(accumulate="bfloat16"))).all()
    assert fft_bound(0 * one, 0 * one, 1, 1, np.zeros(3), Precision()).shape == (3,)


@pytest.mark.parametrize("answer", [np.nan, np.inf, 3e38])
def test_a_wrong_answer_does_not_buy_a_larger_bound(answer: float) -> None:
    x, w, b = np.ones((1, 1, 2, 4)), np.full((1, 3, 2, 2), -2.0), np.ones((1, 3))
    wrong = fourier.bound(x, w, b, 8, np.full((1, 1, 3, 3), answer), PRESETS["float32_fft"])
    assert np.isfinite(wrong).all()
    assert (wrong <= fourier.bound(x, w, b, 8, np.full((1, 1, 3, 3), 13.0), PRESETS["float32_fft"])).all()


# The half spectrum: one transform of real samples

SPECTRUM = ops.fourier_coefficients
LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 43, 61, 64, 127, 129)
SAMPLES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "positive": lambda rng, n: rng.random(n) + 1 / 2,
    "one sample": lambda rng, n: np.where(rng.permutation(n) == 0, 1 + rng.random(), 0.0),
    "two samples": lambda rng, n: np.where(rng.permutation(n) < 2, rng.standard_normal(n), 0.0),
    "wide": lambda rng, n: np.ldexp(rng.standard_normal(n), rng.integers(-12, 13, n)),
    "tiny": lambda rng, n: np.ldexp(rng.standard_normal(n), -140),
    "integers": lambda rng, n: rng.integers(-3, 4, n).astype(float),
}
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")


@cache
def turns(n: int) -> list[tuple[Fraction, Fraction]]:
    """Return cos and -sin of 2 pi m / n for m < n, to fifty digits, by their series."""
    found = []
    with localcontext() as context:
        context.prec = 60
        for m in range(n):
            angle, term = 2 * PI * m / n, Decimal(1)
            sums = [Decimal(0), Decimal(0)]
            for k in range(120):
                sums[k % 2] += term * (-1) ** (k // 2)
                term = term * angle / (k + 1)
            found.append((Fraction(sums[0]), -Fraction(sums[1])))
    return found


def exact_spectrum(x: np.ndarray) -> np.ndarray:
    """Return the half spectrum of one row, in fractions to fifty digits."""
    n, samples = len(x), [(t, Fraction(v)) for t, v in enumerate(x.tolist()) if v]
    return rational(
        [
            [sum((v * turns(n)[k * t % n][part] for t, v in samples), Fraction(0)) for part in (0, 1)]
            for k in range(n // 2 + 1)
        ]
    )


def spectra() -> dict[str, tuple[str, Callable[..., Any]]]:
    """Return ways to transform, with the algorithm class of each."""
    ways = {"definition": ("any-order", SPECTRUM.definition)}
    ways |= {name: (variant.algorithm, variant.run) for name, variant in SPECTRUM.variants.items()}
    if find_spec("torch"):
        from d2lref.adapters.torch import implementation, library

        torch, home = implementation("fourier_coefficients"), library("cpu")
        assert torch is not None
        ways["torch"] = ("fft", lambda x, **options: home.back(torch.forward(home.to(x, str(x.dtype)), **options)))
    return ways


WAYS = spectra()


@pytest.mark.parametrize("way", WAYS)
@given(
    st.sampled_from(LENGTHS),
    st.sampled_from(tuple(SAMPLES)),
    st.sampled_from(("float32", "float64")),
    st.sampled_from(("backward", "ortho", "forward")),
    st.integers(0, 2**32),
)
def test_a_half_spectrum_stays_within_its_bound(
    way: str, n: int, sample: str, dtype: str, norm: str, seed: int
) -> None:
    algorithm, transform = WAYS[way]
    x = SAMPLES[sample](np.random.default_rng(seed), n).astype(dtype)
    y = transform(x, norm=norm)
    assert y.dtype == dtype
    p = rounding.using(algorithm, dtype)
    bound = outward(SPECTRUM.bound(y.astype(float), p, x.astype(float), norm=norm))
    factor = {"backward": Fraction(1), "ortho": 1 / root_of(n), "forward": Fraction(1, n)}[norm]
    differences = rational(y.astype(float)) - exact_spectrum(x.astype(float)) * factor
    assert max(map(ratio, differences.ravel(), bound.ravel())) <= 1


def root_of(n: int) -> Fraction:
    """Return sqrt(n) to sixty digits."""
    return Fraction(math.isqrt(n * 10**120), 10**60)


def worst_spectrum(x: np.ndarray, u: float) -> np.ndarray:
    """Return the largest error of each part of a half spectrum by radix 2 that the demon finds, (n // 2 + 1, 2)."""

    def spectrum(demon: Demon) -> np.ndarray:
        found = demon.transform([(np.full(1, v), np.zeros(1)) for v in x], -1)[: len(x) // 2 + 1]
        return np.array([[np.broadcast_to(part, shape_of(demon)) for part in y] for y in found])

    count = Demon()
    exact, step = spectrum(count), 2.0**-20
    slopes = spectrum(Demon(step * np.eye(count.operations))) - exact
    return np.array(
        [
            [
                float(abs(spectrum(Demon(u * np.sign(slopes[k, part])[None]))[k, part, 0] - exact[k, part, 0]))
                for part in (0, 1)
            ]
            for k in range(len(exact))
        ]
    )


def shape_of(demon: Demon) -> tuple[int]:
    """Return how many choices a demon makes at once."""
    return (1,) if demon.delta is None else (len(demon.delta),)


@pytest.mark.parametrize("n", [4, 8, 16, 32])
@pytest.mark.parametrize("seed", range(2))
def test_the_bound_of_a_fast_half_spectrum_holds_against_the_demon_and_is_not_idle(n: int, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal(n)
    p = Precision(algorithm="fft")
    bound = SPECTRUM.bound(SPECTRUM.definition(x), p, x)
    ratios = worst_spectrum(x, p.u)[1:] / bound[1:]
    assert 0.05 < np.max(ratios) < 1


def test_the_bound_of_a_half_spectrum_is_not_idle() -> None:
    """A wave that is wrong by 4u stays within it, and one that is wrong by more than 5u leaves it."""
    x, p = np.eye(8)[1], Precision()
    bound = SPECTRUM.bound(SPECTRUM.definition(x), p, x)
    assert (4 * p.u < bound[1:]).all()
    assert (5.001 * p.u > bound[1:]).all()


def test_the_first_coefficient_of_integers_is_exact() -> None:
    x = np.random.default_rng(0).integers(-3, 4, 129).astype(float)
    assert not SPECTRUM.bound(SPECTRUM.definition(x), Precision(), x)[0].any()
