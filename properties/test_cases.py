"""Drawn cases are valid, small, and reach the corners where kernels break.

Every source of choices gives the same forms.
"""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2lref.oracle.sources import CORNERS, draw_case, replayed, seeded
from d2lref.oracle.values import REGIMES, fill, on_grid
from d2lref.spec import REQUIRED, Form, Op
from properties.worlds import OPS

IDS = [op.name for op in OPS]
STORAGES = ("float64", "float32", "float16", "bfloat16")


def forms(op: Op, count: int) -> list[Form]:
    """Return the forms of a seeded search."""
    return [op.cases(seeded(number)) for number in range(count)]


@pytest.mark.once
@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_form_is_valid_and_small(op: Op) -> None:
    for form in [*forms(op, 1500), *op.gallery]:
        outs = op.shape(*form.shapes, **form.options)
        assert len(outs) == len(op.outputs)
        assert set(form.options) == set(op.options)
        sizes = [math.prod(s) for s in (*form.shapes, *outs) if s is not None]
        assert max(sizes) <= 2**19, form
        for operand, shape in zip(op.operands, form.shapes, strict=True):
            assert operand.optional or shape is not None, form


@pytest.mark.once
@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_the_corners_are_reached(op: Op) -> None:
    drawn = forms(op, 3000)
    every = [s for f in drawn for shape in f.shapes if shape for s in shape]
    assert {1, 2, 3, 4} <= set(every)
    assert len(set(every) & set(CORNERS)) >= 10
    for name, default in op.options.items():
        values = Counter(repr(f.options[name]) for f in drawn)
        assert len(values) > 1, f"{name} never changes"
        if default is not REQUIRED:
            assert values[repr(default)] > 100, f"{name} is rarely at its default"
    for place, operand in enumerate(op.operands):
        if operand.optional:
            assert {f.shapes[place] is None for f in drawn} == {True, False}, operand.name
        if operand.batch:
            assert 0 in {(f.shapes[place] or (1,))[0] for f in drawn}, "no empty batch"


@pytest.mark.once
@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_a_record_replays_to_its_form(op: Op) -> None:
    for number in range(300):
        choices = seeded(number)
        form = op.cases(choices)
        assert op.cases(replayed(choices.record)) == form


@pytest.mark.parametrize("op", OPS, ids=IDS)
@given(record=st.lists(st.integers(0, 20), max_size=60))
def test_any_record_is_a_valid_form(op: Op, record: list[int]) -> None:
    form = op.cases(replayed(record))
    op.shape(*form.shapes, **form.options)


@pytest.mark.once
@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_the_simplest_record_has_defaults_everywhere(op: Op) -> None:
    form = op.cases(replayed([]))
    assert {k: v for k, v in form.options.items() if op.options[k] is not REQUIRED} == {
        k: v for k, v in op.options.items() if v is not REQUIRED
    }
    assert sum(math.prod(s) for s in form.shapes if s is not None) <= 8


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("regime", REGIMES)
def test_values_are_on_the_grid_and_repeat(regime: str, storage: str) -> None:
    for op in OPS:
        if regime not in op.regimes:
            continue
        for number in range(10):
            form = op.cases(seeded(number))
            one, two = (fill(op, form, regime, number, storage) for _ in range(2))
            for a, b in zip((*one.arrays, *one.cotangents), (*two.arrays, *two.cotangents), strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_array_equal(a, b)
                    assert on_grid(a, storage)


@pytest.mark.parametrize("op", OPS, ids=IDS)
def test_every_regime_of_an_op_exists_and_is_drawn(op: Op) -> None:
    assert set(op.regimes) <= set(REGIMES)
    assert {draw_case(op, seeded(n), n, "float32").regime for n in range(300)} == set(op.regimes)


def test_wide_lattices_need_every_bit() -> None:
    """Rounding to any narrower format changes some value, and no sum of products leaves float32."""
    from d2lref.rounding import round_to

    rng = np.random.default_rng(0)
    from d2lref.rounding import FORMATS

    wide = REGIMES["lattice_wide"](rng, [(50,), (50,)], FORMATS["float32"])
    for narrow in ("bfloat16", "float16", "tf32"):
        assert any((round_to(v, narrow) != v).any() for v in wide)
    assert abs(wide[0] @ wide[1]) < 2**24
