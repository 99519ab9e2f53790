"""Wrong convolutions are caught in a quick run, each on a case of at most 16 numbers, and each is told what it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.oracle.judge import Status
from d2lref.rounding import round_to

pytestmark = pytest.mark.once

unfold = d2lref.ops.conv2d.variants["unfold"].run

Kernel = Callable[..., Any]


def on_weight(change: Callable[[Any], Any]) -> Kernel:
    """Return a convolution with changed filters."""
    return lambda x, weight, bias=None, **options: unfold(x, np.ascontiguousarray(change(weight)), bias, **options)


def on_operands(name: str, *ways: str) -> Kernel:
    """Return a convolution whose operands are rounded to a narrower format, in one of the ways for each width."""

    def narrow(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
        way = ways[x.shape[-1] % len(ways)] if ways else "even"
        narrowed = [round_to(a, name, way).astype(x.dtype) for a in (x, weight)]
        return unfold(*narrowed, bias, **options)

    return narrow


def taps_transposed(weight: Any) -> Any:
    """Return filters whose taps are counted with the first axis fastest, as a transposed unfold does."""
    k, c, h, w = weight.shape
    return weight.reshape(k, c, w, h).swapaxes(2, 3)


def in_half(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """Return a convolution that adds in float16, one product after the other."""
    taps = [(c, *u) for c in range(weight.shape[1]) for u in np.ndindex(*weight.shape[2:])]
    total: Any = None
    with np.errstate(all="ignore"):
        for tap in taps:
            alone = np.zeros_like(weight)
            alone[:, *tap] = weight[:, *tap]
            part = unfold(x, alone, **options).astype(np.float16)
            total = part if total is None else (total + part).astype(np.float16)
        total = total if bias is None else total + bias.astype(np.float16)[:, None, None]
    return total.astype(x.dtype)


def flushing(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """Return a convolution that takes subnormal numbers for zero and answers no others."""

    def flushed(a: Any) -> Any:
        return a if a is None else np.where(np.abs(a) < np.finfo(a.dtype).tiny, a.dtype.type(0), a)

    return flushed(unfold(flushed(x), flushed(weight), flushed(bias), **options))


WRONG: list[tuple[str, Kernel, str]] = [
    ("filter flipped", on_weight(lambda w: w[:, :, ::-1, ::-1]), "the filter is flipped ("),
    ("one axis flipped", on_weight(lambda w: w[:, :, :, ::-1]), "the filter is flipped along one axis only"),
    ("transposed unfold", on_weight(taps_transposed), "unfold counts the taps with the first axis fastest"),
    ("bfloat16 operands", on_operands("bfloat16"), "bfloat16 operands, float32 accumulation"),
    ("float16 operands", on_operands("float16"), "float16 operands, float32 accumulation"),
    ("tf32 operands", on_operands("tf32"), "tf32 operands, float32 accumulation"),
    ("tf32 away", on_operands("tf32", "away"), "tf32 operands, rounded with ties away from zero"),
    ("tf32 truncated", on_operands("tf32", "truncate"), "tf32 operands, truncated"),
    ("tf32 mixed", on_operands("tf32", "even", "truncate"), "tf32 operands, rounded in some cases and truncated in"),
    ("Fourier transforms", d2lref.ops.conv2d.variants["fft"].run, "the error bound of the fft algorithm"),
    ("float16 sums", in_half, "float16 accumulation"),
    ("subnormals flushed", flushing, "subnormal numbers flushed to zero"),
]


@pytest.mark.parametrize(("kernel", "word"), [(k, w) for _, k, w in WRONG], ids=[name for name, _, _ in WRONG])
def test_a_wrong_convolution_is_caught_small_and_named(kernel: Kernel, word: str) -> None:
    report = d2lref.check("conv2d", kernel, cases="quick")
    assert report.exit_code == 1
    finding = next(f for f in report.findings if f.law == "agrees with the definition")
    assert word in str(finding.diagnosis), str(finding)
    assert sum(a.size for a in finding.case.arrays if a is not None) <= 16
    assert finding.verdict.status is Status.FAIL
    assert finding.element is not None
    assert finding.element.written_out


@pytest.mark.parametrize("tiles", ["winograd2", "winograd4"])
def test_tiles_are_named_and_pass_when_they_are_claimed(tiles: str) -> None:
    """A library takes windows of 3 by Winograd's algorithm, and the others as sums."""
    fast = d2lref.ops.conv2d.variants[tiles]

    def either(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
        assert fast.accepts is not None
        return (fast.run if fast.accepts(x.shape, weight.shape, **options) else unfold)(x, weight, bias, **options)

    report = d2lref.check("conv2d", either, cases=100)
    finding = next(f for f in report.findings if f.law == "agrees with the definition")
    assert finding.diagnosis.precision == f"the error bound of the {tiles} algorithm"
    assert d2lref.check("conv2d", either, cases=100, precision=f"float32_{tiles}").ok


def test_another_way_to_take_a_variance_is_named() -> None:
    """Welford's updates err more than two passes where the mean is large; torch takes them on CUDA."""
    welford = d2lref.ops.batch_norm.variants["welford"].run
    report = d2lref.check("batch_norm", welford, cases=2000)
    finding = next(f for f in report.findings if f.law == "agrees with the definition")
    assert finding.diagnosis.precision == "the error bound of the welford variance"


def test_the_right_one_passes_with_its_gradients() -> None:
    report = d2lref.check("conv2d", unfold, vjp=d2lref.ops.conv2d.vjp, cases="quick")
    assert report.ok, str(report)
    assert {v.status for v in report.verdicts} == {Status.PASS}
