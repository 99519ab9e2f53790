"""Losses against as many digits as it takes, and what is refused because of what an array holds."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from d2lref import ops
from d2lref.oracle import Library
from d2lref.oracle.values import dtype_of
from d2lref.rounding import PRESETS
from properties.worlds import LIBRARIES

pytestmark = pytest.mark.once

DIGITS = 60
BINARY = ops.binary_cross_entropy_with_logits


def exactly(function: Callable[..., Decimal], *arrays: np.ndarray) -> np.ndarray:
    """Return function(numbers) in 60 digits, entry by entry, as the nearest float64 and the rest of it."""
    with localcontext() as context:
        context.prec = DIGITS
        found = [function(*map(Decimal, map(float, row))) for row in zip(*(a.ravel() for a in arrays), strict=True)]
        near = np.array([float(v) for v in found])
        rest = np.array([float(v - Decimal(float(n))) for v, n in zip(found, near, strict=True)])
    return np.stack([near, rest])


def inside(answer: np.ndarray, exact: np.ndarray, bound: np.ndarray) -> bool:
    """Return whether answers lie within their bounds of the exact values."""
    return bool((np.abs((answer.ravel() - exact[0]) - exact[1]) <= np.ravel(bound)).all())


def numbers(seed: int, count: int, reach: float) -> np.ndarray:
    """Return numbers of float32 out to `reach`, large and small."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, count) * reach * 2.0 ** -rng.integers(0, 12, count)).astype(np.float32).astype(float)


def held(op: Any, answer: Callable[..., Any], arrays: tuple[Any, ...], exact: np.ndarray, **options: Any) -> None:
    """Assert the bounds of float32 and float64 of the definition and of every variant."""
    ways = [op.definition, *(v.run for v in op.variants.values() if v.accepts is None)]
    for name, dtype in (("float32", np.float32), ("float64", np.float64)):
        bound = op.bound(answer(*arrays, **options), PRESETS[name], *arrays, **options)
        for way in ways:
            made = way(*(a if a.dtype.kind == "i" else a.astype(dtype) for a in arrays), **options)
            assert inside(made.astype(float), exact, bound), (name, way)


def soft(x: Decimal) -> Decimal:
    """log(1 + e^x)."""
    return (1 + x.exp()).ln()


@pytest.mark.parametrize("seed", range(6))
def test_the_binary_cross_entropy(seed: int) -> None:
    x, due = numbers(seed, 200, 100.0), np.random.default_rng(seed).integers(0, 2, 200).astype(float)
    t = np.where(np.arange(200) % 2 == 0, due, numbers(seed + 100, 200, 2.0))
    exact = exactly(lambda a, b: b * soft(-a) + (1 - b) * soft(a), x, t)
    held(BINARY, BINARY.definition, (x, t), exact, reduction="none")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_the_cross_entropy_of_a_class(seed: int, classes: int) -> None:
    x = numbers(seed, 60 * classes, 100.0).reshape(60, classes)
    target = np.random.default_rng(seed).integers(0, classes, 60)

    def loss(y: Decimal, *row: Decimal) -> Decimal:
        return sum(((v - y).exp() for v in row), Decimal(0)).ln()

    exact = exactly(loss, x[np.arange(60), target], *x.T)
    op = ops.cross_entropy
    held(op, op.definition, (x, target), exact, ignore_index=-100, reduction="none", label_smoothing=0.0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.1, 3.0])
def test_the_smooth_loss(beta: float) -> None:
    x, t = numbers(1, 300, 4.0), numbers(2, 300, 4.0)
    x[:20], t[:20] = beta, 0.0

    def loss(a: Decimal, b: Decimal) -> Decimal:
        d, limit = abs(a - b), Decimal(beta)
        return d * d / (2 * limit) if d < limit else d - limit / 2

    held(ops.smooth_l1_loss, ops.smooth_l1_loss.definition, (x, t), exactly(loss, x, t), reduction="none", beta=beta)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize("op", [ops.nll_loss, ops.cross_entropy], ids=lambda op: op.name)
def test_a_target_outside_the_classes_is_refused(op: Any, library: Library) -> None:
    for wrong in (3, -1):
        arrays = (np.zeros((2, 3)), np.array([0, wrong]))
        given = [library.to(a, dtype_of(a, "float64")) for a in arrays]
        message = rf"{op.name}: target holds {wrong}, expected a class from 0 to 2 or ignore_index=-100"
        with pytest.raises(ValueError, match=message):
            op.definition(*given)
        alone = (library.to(np.zeros((1, 3)), "float64"), library.to(np.zeros(1, np.int64), "int64"))
        counted = library.back(op.definition(*given, ignore_index=wrong))
        np.testing.assert_array_equal(counted, library.back(op.definition(*alone)))
