"""NaN, infinities and signs of zero go where an op's policy says, and what loses them is caught."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from d2lref import catalogue, ops
from d2lref.oracle import Caller, Implementation, all_laws, hold
from d2lref.oracle.sources import draw_case, seeded
from d2lref.rounding import PRESETS, using
from d2lref.spec import FOLLOWED, Op
from properties.worlds import TEXTS

pytestmark = pytest.mark.once

CASES = 160
POLICIES = [op for op in TEXTS if op.follows]
LOSSES: dict[str, Callable[[Any], Any]] = {
    "nan": lambda x: np.where(np.isnan(x), np.asarray(0, x.dtype), x),
    "inf": lambda x: np.where(np.isinf(x), np.asarray(1, x.dtype), x),
    "zero": lambda x: x + np.asarray(0, x.dtype),
}
LOST = [(op, kind) for op in POLICIES for kind in LOSSES if kind in op.follows]


def caught(op: Op, f: Caller) -> int:
    """Return how many cases of every eighth seed, where values are planted, the definition law fails on."""
    law, drawn = all_laws(op)[0], (draw_case(op, seeded(n), 8 * n, "float32") for n in range(CASES))
    return sum(hold(law, f, d.case).bad for d in drawn if f.implementation.supported(op, d.form))


def test_policies_have_a_vocabulary() -> None:
    assert all(set(op.follows) <= set(FOLLOWED) for op in TEXTS)
    assert len(POLICIES) >= 20


@pytest.mark.parametrize(("op", "kind"), LOST, ids=[f"{op.name}-{kind}" for op, kind in LOST])
def test_what_loses_them_is_caught(op: Op, kind: str) -> None:
    def forward(x: Any, *arrays: Any, **options: Any) -> Any:
        return op.definition(LOSSES[kind](x), *arrays, **options)

    assert caught(op, Caller(op, Implementation("loses it", forward), PRESETS["float32"]))


@pytest.mark.parametrize("op", POLICIES, ids=[op.name for op in POLICIES])
def test_every_variant_follows_the_policy(op: Op) -> None:
    for name in ("definition", *op.variants):
        algorithm = op.variants[name].algorithm if name in op.variants else "any-order"
        assert not caught(op, Caller(op, catalogue.reference(op, name), using(algorithm))), name


def test_what_spreads_a_nan_may_say_so() -> None:
    """One product of matrices for a band multiplies by zeros what the definition does not read."""
    op = ops.local_response_norm
    band = catalogue.reference(op, "band")
    assert caught(op, Caller(op, replace(band, supports={}), PRESETS["float32"]))
    assert not caught(op, Caller(op, band, PRESETS["float32"]))


@pytest.mark.parametrize("name", ["gelu", "silu", "hardswish"])
@pytest.mark.parametrize(
    ("value", "right"), [(np.nan, True), (0.0, True), (-0.0, True), (7.0, False), (-np.inf, False)]
)
def test_an_infinity_times_zero_is_nan_or_the_limit(name: str, value: float, right: bool) -> None:  # noqa: FBT001
    op: Op = getattr(ops, name)

    def forward(x: Any, **options: Any) -> Any:
        return np.where(np.isneginf(x), np.asarray(value, x.dtype), op.definition(x, **options))

    assert (caught(op, Caller(op, Implementation(name, forward), PRESETS["float32"])) == 0) == right
