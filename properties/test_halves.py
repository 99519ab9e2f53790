"""What is stored in half between passes: within the bound of the precision that says so, and of no other."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from d2lref import catalogue, check, ops
from d2lref.oracle.implementation import Implementation
from d2lref.rounding import PRESETS, Precision, outward, round_to
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


SEQUENCES: dict[str, tuple[Op, tuple[int, ...], dict[str, Any]]] = {
    "layer_norm": (ops.layer_norm, (5, 3), {"normalized_shape": (3,), "eps": 1e-5}),
    "group_norm": (ops.group_norm, (5, 3, 1), {"num_groups": 1, "eps": 1e-5}),
    "instance_norm": (ops.instance_norm, (5, 3, 2), {"use_input_stats": True, "momentum": 0.1, "eps": 1e-5}),
    "given statistics": (ops.instance_norm, (5, 3, 2), {"use_input_stats": False, "momentum": 0.1, "eps": 1e-5}),
}


@pytest.mark.parametrize("storage", HALVES)
@pytest.mark.parametrize("name", SEQUENCES)
def test_sums_over_examples_that_are_kept_in_half(name: str, storage: str) -> None:
    """The gradient of a bias, stored with every example that is added."""
    op, shape, options = SEQUENCES[name]
    has_state = "use_input_stats" in options
    state = (np.zeros(3), np.ones(3)) if has_state else ()
    ratios = {"": 0.0, "_statistics16": 0.0}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x, gy = (round_to(rng.standard_normal(shape), storage) for _ in range(2))
        found = np.zeros(3)
        for share in gy:
            found = round_to(found + round_to(share.reshape(3, -1).sum(axis=1), storage), storage)
        exact = [sum(map(Fraction, np.moveaxis(gy, 1, 0)[c].ravel()), Fraction(0)) for c in range(3)]
        wrong = [abs(Fraction(v) - q) for v, q in zip(found, exact, strict=True)]
        arrays = (x, *state, np.ones(3), np.zeros(3))
        sent = (gy, None, None) if has_state else gy
        for name_, before in ratios.items():
            grads = op.vjp(sent, *arrays, **options)
            bound = op.vjp_bound(grads, PRESETS[storage + name_], sent, *arrays, **options)[-1]
            ratios[name_] = max(before, *(float(e) / b for e, b in zip(wrong, outward(bound), strict=True)))
    assert ratios[""] > 1
    assert 0.1 < ratios["_statistics16"] <= 1


def in_half(gy: np.ndarray, x: np.ndarray) -> tuple[np.ndarray]:
    """Every product of gy (1 - y) y is rounded to the format of the arrays."""
    y = ops.sigmoid(x.astype(np.float32)).astype(x.dtype)
    return (gy * (1 - y) * y,)


def test_gradients_have_an_accumulator_of_their_own() -> None:
    """A vjp that computes in half, beside answers that do not."""
    claimed = Precision("float16", gradients="float16")
    assert claimed.backward == PRESETS["float16_accumulate16"]
    assert claimed.backward.backward == claimed.backward
    assert PRESETS["float16"].backward is PRESETS["float16"]

    def forward(x: np.ndarray) -> np.ndarray:
        return np.asarray(ops.sigmoid(x.astype(np.float32)).astype(x.dtype))

    def rough(x: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-x)))

    assert check("sigmoid", forward, vjp=in_half, precision=claimed, cases=300).ok
    assert not check("sigmoid", forward, vjp=in_half, precision="float16", cases=300).ok
    assert not check("sigmoid", rough, vjp=in_half, precision=claimed, cases=300).ok


CLAIMED = (
    "pad",
    "fold",
    "softmax",
    "log_softmax",
    "sigmoid",
    "prelu",
    "layer_norm",
    "mse_loss",
    "conv1d",
    "conv_transpose1d",
    "adaptive_avg_pool3d",
)


@pytest.mark.parametrize("storage", HALVES)
@pytest.mark.parametrize("name", CLAIMED)
def test_torch_keeps_what_is_claimed_for_it(name: str, storage: str) -> None:
    pytest.importorskip("torch", reason="the claims are torch's")
    target = catalogue.target("torch", catalogue.op(name))
    assert isinstance(target, Implementation)
    assert not check(name, target, precision=target.claim(storage), cases=40).findings
