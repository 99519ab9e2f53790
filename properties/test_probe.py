"""What a probe says of implementations whose arithmetic is known."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from d2lref import check, ops
from d2lref.catalogue import target
from d2lref.cli import status
from d2lref.oracle import Caller, Implementation
from d2lref.oracle.probe import NoSum, Probed, probe
from d2lref.rounding import PRESETS, Precision, round_to
from d2lref.spec import Op

pytestmark = pytest.mark.once

Kernel = Callable[..., Any]
matmul = ops.linear.variants["matmul"].run


def probed(kernel: Kernel | Implementation, op: Op = ops.linear, storage: str = "float32") -> Probed:
    judged = kernel if isinstance(kernel, Implementation) else Implementation("it", kernel)
    return probe(Caller(op, judged, Precision(storage)))


def on_operands(name: str, how: str, x: Any, weight: Any, bias: Any = None) -> Any:
    """Return a linear layer whose operands are rounded."""
    return matmul(*(round_to(a, name, how).astype(a.dtype) for a in (x, weight)), bias)


def adding(name: str, how: str, x: Any, weight: Any, bias: Any = None) -> Any:
    """Return a linear layer that adds one product after the other, each sum rounded."""
    total = np.zeros((*x.shape[:-1], weight.shape[0]))
    for k in range(x.shape[-1]):
        product = x[..., k : k + 1].astype(np.float64) * weight[:, k].astype(np.float64)
        total = round_to(total + product, name, how)
    return (total if bias is None else total + bias).astype(x.dtype)


def flushing(x: Any, weight: Any, bias: Any = None) -> Any:
    """Return a linear layer that answers no subnormal numbers."""
    y = matmul(x, weight, bias)
    return np.where(np.abs(y) < np.finfo(y.dtype).tiny, y.dtype.type(0), y)


KNOWN: list[tuple[str, Kernel, Precision]] = [
    ("plain", matmul, Precision()),
    ("float16 operands", partial(on_operands, "float16", "even"), Precision(operands="float16")),
    ("tf32 operands", partial(on_operands, "tf32", "even"), Precision(operands="tf32")),
    ("tf32 truncated", partial(on_operands, "tf32", "truncate"), Precision(operands="tf32")),
    ("bfloat16 operands", partial(on_operands, "bfloat16", "away"), Precision(operands="bfloat16")),
    ("truncated sums", partial(adding, "float32", "truncate"), Precision(rounding="truncate")),
    ("wide sums", partial(adding, "float64", "even"), Precision()),
    ("flushed", flushing, Precision(subnormals="flushed")),
]


@pytest.mark.parametrize(("kernel", "claim"), [(k, p) for _, k, p in KNOWN], ids=[name for name, _, _ in KNOWN])
def test_the_arithmetic_is_told(kernel: Kernel, claim: Precision) -> None:
    found = probed(kernel)
    assert found.precision() == claim, str(found)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_narrow_accumulator_masks_the_operands_and_is_told(name: str) -> None:
    found = probed(partial(adding, name, "even"))
    bits = {"float16": 11, "bfloat16": 8}[name]
    assert found.accumulator == bits
    assert found.operands == (bits, bits)
    assert found.precision().accumulate == name


@pytest.mark.parametrize("storage", ["float64", "float32"])
@pytest.mark.parametrize("op", [ops.conv1d, ops.conv2d, ops.corr2d, ops.convolve1d, ops.linear], ids=lambda op: op.name)
def test_our_own_keep_all_bits(op: Op, storage: str) -> None:
    found = probed(Implementation("definition", op.definition, op.vjp), op, storage)
    assert found.precision() == PRESETS[storage]
    assert found.leak == 0
    assert {found.answer, found.accumulator, *found.operands} == {PRESETS[storage].stored.p}


@pytest.mark.parametrize("op", [ops.conv2d, ops.corr2d, ops.convolve2d], ids=lambda op: op.name)
def test_a_transform_leaks_large_factors(op: Op) -> None:
    found = probed(op.variants["fft"].run, op)
    assert found.leak > 0
    assert found.precision() == PRESETS["float32_fft"]
    assert "a transform" in str(found)


@pytest.mark.parametrize("storage", ["float64", "float32", "float16", "bfloat16"])
def test_torch_adds_in_float32_at_least(storage: str) -> None:
    pytest.importorskip("torch", reason="torch is the stranger here")
    found = probed(target("torch", ops.linear), storage=storage)
    assert found.accumulator >= 24
    assert min(found.operands) == found.answer == Precision(storage).stored.p


def test_a_report_tells_the_arithmetic_where_no_mistake_explains_a_wrong_number() -> None:
    report = check("linear", partial(on_operands, "bfloat16", "even"), cases=200)
    assert "operands     8 and 8 bits" in report.arithmetic
    assert "BY EXACT PROBES linear" in str(report)
    assert report.to_json()["arithmetic"] == report.arithmetic
    transposed = check("linear", lambda x, weight, bias=None: -matmul(x, weight, bias), cases=200)
    assert not check("linear", matmul, cases=50).arithmetic
    assert not check("relu", lambda x: x + 1, cases=50).arithmetic
    assert transposed.findings


def test_what_is_no_sum_of_products_is_refused() -> None:
    for op in (ops.relu, ops.max_pool2d, ops.avg_pool2d, ops.batch_norm):
        with pytest.raises(NoSum, match=f"^{op.name}: is no sum of products of two arrays"):
            probed(op.definition, op)


def test_the_command_tells_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    out = tmp_path / "probe.json"
    assert status(["probe", "linear", "d2lref:matmul", "--json", str(out)]) == 0
    assert "to claim     Precision()" in capsys.readouterr().out
    assert '"schema": "d2lref-probe"' in out.read_text()
    for arguments in (
        ["relu", "d2lref:maximum"],
        ["linear", "d2lref:matmul", "--storage", "float8"],
        ["linear", "no:f"],
    ):
        assert status(["probe", *arguments]) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1
        assert not said.out
