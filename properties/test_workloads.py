"""Shapes of the user's own are judged beyond the cases that are drawn."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref import ops
from d2lref.cli import status

pytestmark = pytest.mark.once

LAYER = {"shapes": [[1, 8, 40, 40], [4, 8, 3, 3]], "options": {"padding": 1}}
unfold = ops.conv2d.variants["unfold"].run


def wrong_when_large(x: Any, weight: Any, bias: Any = None, **options: Any) -> Any:
    """Return a convolution whose last answer is wrong on images of 40 and more."""
    y = unfold(x, weight, bias, **options)
    return (
        np.where(np.arange(y.size).reshape(y.shape) == y.size - 1, y + 1, y) if x.shape[-1] >= 40 <= x.shape[-2] else y
    )


def test_a_bug_at_the_shape_that_is_timed_is_found_there_alone() -> None:
    assert d2lref.check("conv2d", wrong_when_large, cases=60).ok
    report = d2lref.check("conv2d", wrong_when_large, cases=60, workloads=[LAYER])
    assert [finding.law for finding in report.findings] == ["agrees with the definition"]
    assert report.findings[0].case.arrays[0].shape == (1, 8, 40, 40)
    assert report.findings[0].element is not None
    assert report.findings[0].element.index == (0, 3, 39, 39)


def test_what_is_right_passes_and_the_coverage_tells_the_shapes() -> None:
    report = d2lref.check("conv2d", unfold, vjp=ops.conv2d.vjp, cases=60, workloads=[LAYER])
    assert report.ok, str(report)
    (label,) = report.coverage["workload"]
    assert label.startswith("1x8x40x40, 4x8x3x3, absent; ")
    assert "padding=1" in label
    assert report.coverage["workload"][label] == 2
    assert report.counts["cases"] == 62
    assert "workload" not in d2lref.check("conv2d", unfold, cases=20).coverage


BAD: list[tuple[Any, str]] = [
    ("conv", "workloads: 'conv', expected a list"),
    ([3], "workloads[0]: 3, expected {'shapes': ..., 'options': ...}"),
    ([{"options": {}}], "workloads[0]: {'options': {}}, expected"),
    ([{"shapes": [[1, 1, 3, 3]]}], "workloads[0]: shapes=[[1, 1, 3, 3]], expected one for each of x, weight, bias"),
    ([{"shapes": [[1, 1, 3, 3], None]}], "workloads[0]: weight is absent, expected a shape"),
    (
        [{"shapes": [[1, 1, 3, 3], [1, 1, 3, -1]]}],
        "workloads[0]: shape [1, 1, 3, -1], expected a list of integers >= 0",
    ),
    ([LAYER, {**LAYER, "options": {"pad": 1}}], "workloads[1]: no option 'pad', expected stride, padding,"),
    ([{**LAYER, "options": 1}], "workloads[0]: options=1, expected a mapping"),
    ([{"shapes": [[1, 2, 3, 3], [1, 1, 3, 3]]}], "workloads[0]: conv2d: x (1, 2, 3, 3) has 2 channels"),
]


@pytest.mark.parametrize(("workloads", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_is_no_workload_is_refused_in_one_line(workloads: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^workloads") as refused:
        d2lref.check("conv2d", unfold, cases=20, workloads=workloads)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_an_option_without_default_and_what_is_not_supported_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^workloads\[0\]: kernel_size is missing, expected a value"):
        d2lref.check("max_pool2d", "d2lref:windows", cases=20, workloads=[{"shapes": [[1, 1, 4, 4]]}])
    strided = [{**LAYER, "options": {"stride": [2, 2]}}]
    with pytest.raises(ValueError, match=r"^workloads\[0\]: .* lies outside of what the implementation supports$"):
        d2lref.check("conv2d", unfold, cases=20, workloads=strided, supports={"stride": False})
    assert d2lref.check("conv2d", unfold, cases=20, workloads=strided).coverage["workload"]
    with pytest.raises(ValueError, match=r"^workloads: .*expected None"):
        d2lref.check("normal", "d2lref:definition", cases="quick", workloads=[LAYER])


def test_the_command_reads_them_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "layers.json"
    arguments = ["check", "conv2d", "d2lref:unfold", "--cases", "20", "--workloads", str(file)]
    assert status(arguments) == 2
    file.write_text("[")
    assert status(arguments) == 2
    file.write_text(json.dumps([{"shapes": [[1]]}]))
    assert status(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 3
    file.write_text(json.dumps([LAYER]))
    assert status(arguments) == 0
    assert "on 22 cases" in capsys.readouterr().out
