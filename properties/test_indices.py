"""Arrays of integers: what they may hold is drawn, handed over as int64, shrunk, written down, and has no gradient."""

import json
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.arrays import namespace
from d2lref.oracle.report import case_from_json, case_json
from d2lref.oracle.sources import draw_case, seeded
from d2lref.oracle.values import dtype_of, fill
from d2lref.rounding import Precision, claim
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape

# An op that the package has never heard of: rows of a table, and with "real" places a sum weighted by them


def shape(table: Shape, places: Shape, *, rows: str) -> tuple[Shape]:
    """Return (N, C) for a table (V, C) and N places, or N weights (N, V)."""
    wanted = 1 if rows == "picked" else 2
    if len(table) != 2 or len(places) != wanted or places[1:] not in {(), table[:1]}:
        message = f"rows: table {table} with places {places}, expected table (V, C), and places (N,) or (N, V)"
        raise ValueError(message)
    return ((places[0], table[1]),)


def rows_of(table: Array, places: Array, *, rows: str) -> Array:
    """y[n] = table[places[n]], or the sum of places[n, v] table[v]."""
    shape(table.shape, places.shape, rows=rows)
    return namespace(table).take(table, places, axis=0) if rows == "picked" else places @ table


def vjp(gy: Array, table: Array, places: Array, *, rows: str) -> tuple[Array, Array | None]:
    """dtable[v] = sum of gy[n] over the places that are v."""
    if rows != "picked":
        return places.T @ gy, gy @ table.T
    total = np.zeros_like(table)
    np.add.at(total, places, gy)
    return total, None


def bound(y: Array, precision: Precision, table: Array, places: Array, *, rows: str) -> Array:
    """0 for a copy; K u S for a sum (Jeannerod and Rump 2013)."""
    del y
    if rows == "picked":
        return np.zeros((places.shape[0], table.shape[1]))
    return len(table) * precision.u * (np.abs(places) @ np.abs(table))


def vjp_bound(
    grads: tuple[Any, ...], precision: Precision, gy: Array, table: Array, places: Array, *, rows: str
) -> tuple[Array, Array | None]:
    """K u S."""
    del grads
    size = vjp(np.abs(gy), np.abs(table), places if rows == "picked" else np.abs(places), rows=rows)
    k = len(places) + table.size
    return k * precision.u * size[0], None if size[1] is None else k * precision.u * size[1]


def indices(table: Shape, places: Shape, *, rows: str) -> range | None:
    """Return the rows, None for weights."""
    del places
    return range(table[0]) if rows == "picked" else None


def cases(draw: Draw) -> Form:
    """Shrinks towards the only row of a table of one number."""
    v, c, n = draw.sizes(1, 1, 1)
    rows = draw.choice("picked", "picked", "weighted")
    return Form(((v, c), (n,) if rows == "picked" else (n, v)), {"rows": rows})


def _first(f: Any, case: Case) -> Claim:
    table, places = case.arrays
    return claim(f(table, np.zeros_like(places), **case.options), np.repeat(table[:1], len(places), axis=0))


def _last(table: Array, places: Array, *, rows: str) -> Array:
    shape(table.shape, places.shape, rows=rows)
    return np.repeat(table[-1:], len(places), axis=0)


op = Op(
    name="rows",
    operands=(Operand("table", linear=True), Operand("places", indices=indices)),
    options={"rows": REQUIRED},
    shape=shape,
    definition=rows_of,
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=("lattice_small", "normal"),
    laws=(Law("row 0 is the first", _first, when=lambda case: case.options["rows"] == "picked"),),
    rejections=(
        Rejection(
            "a table of one axis",
            ((3,), (2,)),
            {"rows": "picked"},
            "rows: table (3,) with places (2,), expected table (V, C), and places (N,) or (N, V)",
        ),
    ),
    mistakes=(Mistake("answers the last row", "the test's own", _last, caught_by=("row 0 is the first",)),),
    source="the test's own",
)


def drawn(count: int, storage: str = "float32") -> list[Case]:
    """Return the first cases of a seeded search."""
    return [draw_case(op, seeded(n), n, storage).case for n in range(count)]


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
def test_indices_are_integers_below_the_size_and_reach_both_ends(storage: str) -> None:
    cases = [c for c in drawn(300, storage) if c.options["rows"] == "picked"]
    rows = [(len(c.arrays[0]), c.arrays[1]) for c in cases]
    assert all(p.dtype == np.int64 and p.min() >= 0 and p.max() < size for size, p in rows)
    assert any(size > 2 and p.max() == size - 1 for size, p in rows)
    assert any(p.min() == 0 for _, p in rows)
    alike = [(p == p[0]).all() for size, p in rows if size > 2 and len(p) > 2]
    assert 1 / 8 < sum(alike) / len(alike) < 1 / 2
    assert any(c.arrays[1].dtype == np.float64 for c in drawn(300) if c.options["rows"] == "weighted")


def test_only_listed_integers_are_drawn() -> None:
    some = Operand("places", indices=lambda *_, **__: (7, -100))
    other = Op(**{name: getattr(op, name) for name in op.__slots__} | {"operands": (op.operands[0], some)})
    case = fill(other, Form(((3, 1), (64,)), {"rows": "picked"}), "normal", 1, "float32")
    assert set(case.arrays[1].tolist()) == {7, -100}


def right(table: Any, places: Any, *, rows: str) -> Any:
    """The rows, for arrays of the dtypes that are handed over."""
    assert "int64" in str(places.dtype) if rows == "picked" else places.dtype == table.dtype
    if table.ndim != 2:
        raise ValueError(table.shape)
    return table[places] if rows == "picked" else places @ table


def right_vjp(gy: np.ndarray, table: np.ndarray, places: np.ndarray, *, rows: str) -> tuple[Any, Any]:
    """The gradients in the dtype of the table."""
    found = vjp(gy, table, places, rows=rows)
    return found[0].astype(table.dtype), found[1]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_right_implementation_passes(precision: str) -> None:
    report = d2lref.check(op, right, vjp=right_vjp, precision=precision, cases=150)
    assert report.ok, str(report)


def test_torch_is_handed_int64() -> None:
    pytest.importorskip("torch", reason="another array library")
    from d2lref.adapters.torch import vjp_of

    report = d2lref.check(op, right, vjp=vjp_of(right), arrays="torch", cases=100)
    assert report.ok, str(report)


def last_row_missing(table: np.ndarray, places: np.ndarray, *, rows: str) -> np.ndarray:
    """Return the row before the last in place of the last."""
    if rows == "picked":
        places = np.minimum(places, max(len(table) - 2, 0))
    return np.asarray(right(table, places, rows=rows))


def test_a_wrong_one_fails_on_a_minimal_case_and_a_program_shows_it() -> None:
    report = d2lref.check(op, last_row_missing, vjp=right_vjp, cases=200)
    finding = next(f for f in report.findings if f.law == "agrees with the definition")
    table, places = finding.case.arrays
    assert places.dtype == np.int64
    assert places.tolist() == [len(table) - 1]
    assert table.shape[1] == 1
    assert f"places = np.array([{len(table) - 1}], dtype=np.int64).reshape((1,))" in finding.reproduction
    with pytest.raises(AssertionError, match=r"^$"):
        exec(finding.reproduction, {})  # noqa: S102 - the finding's own program


def test_a_gradient_of_indices_is_not_asked_for() -> None:
    report = d2lref.check(op, right, vjp=lambda *a, **o: (*right_vjp(*a, **o)[:1], None), cases=60)
    broken = {f.case.options["rows"] for f in report.findings}
    assert broken == {"weighted"}  # where places are real numbers they have a gradient


def test_indices_survive_json() -> None:
    for case in drawn(20):
        again = case_from_json(json.loads(json.dumps(case_json(case))))
        assert [a.dtype for a in again.arrays] == [a.dtype for a in case.arrays]
        assert all(np.array_equal(a, b) for a, b in zip(again.arrays, case.arrays, strict=True))


def test_expected_takes_indices_of_any_integer_dtype() -> None:
    table = np.arange(6.0).reshape(3, 2)
    for kind in (np.int64, np.uint8, np.float64):
        wanted = d2lref.expected(op, table, np.array([2, 0], kind), rows="picked")
        assert wanted.value.tolist() == [[4, 5], [0, 1]]
    with pytest.raises(TypeError, match="rows: places holds fractions, expected integers"):
        d2lref.expected(op, table, np.array([0.5]), rows="picked")
    assert dtype_of(np.zeros(1, np.int64), "float16") == "int64"


def classes_only(input: Array, target: Array, weight: Array | None = None, **options: Any) -> Array:  # noqa: A002
    """Return the cross-entropy of classes, and refuse probabilities."""
    if target.dtype.kind == "f":
        raise NotImplementedError("classes only")
    return d2lref.ops.cross_entropy(input, target, weight, **options)


def test_an_implementation_may_know_classes_only() -> None:
    assert not d2lref.check("cross_entropy", classes_only, cases=80).ok
    report = d2lref.check("cross_entropy", classes_only, cases=80, supports={"target": "integers"})
    assert report.ok, str(report)
    assert report.counts["unsupported"]
    for value in (True, "classes", 3):
        with pytest.raises(ValueError, match=r"supports target=.*, expected 'integers' or 'reals'$"):
            d2lref.check("cross_entropy", classes_only, cases=20, supports={"target": value})


def test_what_is_expected_takes_the_defaults_that_are_left_out() -> None:
    asked: list[tuple[Op, dict[str, Any]]] = [
        (d2lref.ops.layer_norm, {"normalized_shape": (6,)}),
        (d2lref.ops.leaky_relu, {}),
    ]
    for op, options in asked:
        x = np.arange(48.0).reshape(2, 4, 6) - 20
        wanted = d2lref.expected(op, x, **options)
        np.testing.assert_array_equal(wanted.value, op(x, **options))
