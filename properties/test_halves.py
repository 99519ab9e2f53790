"""What is stored in half between passes: within the bound of the precision that says so, and of no other."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from d2lref import ops
from d2lref.rounding import PRESETS, outward, round_to
from d2lref.spec import Op
from properties.test_losses import exactly

pytestmark = pytest.mark.once

HALVES = ("float16", "bfloat16")
Stores = Callable[[np.ndarray], np.ndarray]


def softmax(x: np.ndarray, store: Stores) -> np.ndarray:
    """Exponentials that lie in the array of the answers until they are divided."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return store(e) / e.sum(axis=1, keepdims=True)


def log_softmax(x: np.ndarray, store: Stores) -> np.ndarray:
    """The sums of rows, and their logarithms, in arrays of their own."""
    t = x - x.max(axis=1, keepdims=True)
    return t - store(np.log(store(np.exp(t).sum(axis=1, keepdims=True))))


def share(y: Decimal, *row: Decimal) -> Decimal:
    """e^y / sum of e^x."""
    return 1 / sum(((v - y).exp() for v in row), Decimal(0))


@pytest.mark.parametrize("storage", HALVES)
@pytest.mark.parametrize(
    ("op", "way", "exact"),
    [(ops.softmax, softmax, share), (ops.log_softmax, log_softmax, lambda *row: share(*row).ln())],
    ids=["softmax", "log_softmax"],
)
def test_rows_between_passes(
    op: Op, way: Callable[[np.ndarray, Stores], np.ndarray], exact: Callable[..., Decimal], storage: str
) -> None:
    """Beyond the bound without the stores, within it with them and near it."""
    rng = np.random.default_rng(0)
    ratios = {"": 0.0, "_statistics16": 0.0}
    for length in (2, 3, 7):
        x = round_to(rng.standard_normal((200, length)) * 2.0 ** rng.integers(-3, 4, (200, 1)), storage)
        found = way(x.astype(np.float32), lambda a: round_to(a, storage).astype(np.float32))
        near, rest = exactly(exact, x.ravel(), *np.repeat(x, length, axis=0).T)
        wrong = np.abs(round_to(found, storage).ravel() - near - rest)
        for name, before in ratios.items():
            bound = outward(op.bound(found, PRESETS[storage + name], x, dim=1)).ravel()
            ratios[name] = max(before, float((wrong / bound).max()))
    assert ratios[""] > 1
    assert 1 / 3 < ratios["_statistics16"] <= 1
