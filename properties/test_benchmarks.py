"""The benchmarks themselves: the tables of layers, the machine, the `versus` fixture inside pytest-benchmark."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import machine, pairing, workloads
from benchmarks.pairing import Limits, Series

ROOT = Path(__file__).parents[1]


# ---------------------------------------------------------------------------------------------------------------------
# The layers


@pytest.mark.parametrize(
    ("network", "published"),
    [
        ("lenet", 61_706),  # d2l 7.6: 156 + 2416 + 48120 + 10164 + 850
        ("vgg11", 132_863_336),  # Simonyan & Zisserman 2015, table 2: 133 million
        ("vgg16", 138_357_544),  # ibid.: 138 million
        ("resnet50", 25_557_032),  # He et al. 2016; the count of torchvision's resnet50
    ],
)
def test_the_tables_have_the_published_number_of_parameters(network: str, published: int) -> None:
    assert workloads.parameters(workloads.NETWORKS[network]) == published


@pytest.mark.parametrize(("network", "published"), [("vgg16", 15.3e9), ("resnet50", 3.8e9)])
def test_the_tables_have_the_published_operations(network: str, published: float) -> None:
    """He et al. 2016 count multiply-adds of convolutions, to one decimal: 15.3 and 3.8 billion."""
    convolutions = (layer.flop for layer in workloads.NETWORKS[network] if layer.op == "conv2d")
    assert abs(sum(convolutions) / 2 - published) < 0.1e9


def test_the_quick_selection_exists() -> None:
    ops = ("conv2d", "max_pool2d", "avg_pool2d", "batch_norm", "linear")
    assert {label for op in ops for label in workloads.distinct(op)} >= workloads.QUICK


def test_the_photographs_are_real_and_the_filters_sum_to_what_they_should() -> None:
    pytest.importorskip("sklearn", reason="the photographs come with scikit-learn")
    images = workloads.photographs()
    assert images.shape == (2, 3, 427, 640)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert 0 <= images.min() < images.max() <= 1
    assert not workloads.laplace().sum()
    assert not workloads.sobel().sum(axis=(1, 2)).any()
    assert workloads.per_channel(workloads.sobel()).shape == (6, 1, 3, 3)
    assert workloads.gabor().shape == (64, 3, 7, 7)


@pytest.mark.parametrize(
    "layer",
    [
        workloads.conv((2, 6, 9, 9), 4, 5, padding=2),
        workloads.pool("avg", (2, 3, 8, 8), 2, stride=2),
        workloads.norm((4, 3, 5, 5), training=True),
        workloads.norm((4, 3, 5, 5), training=False),
        workloads.linear(3, 40, 10),
    ],
    ids=lambda layer: f"{layer.op}-{layer.label}",
)
def test_every_contender_is_right_and_a_wrong_answer_is_refused(layer: workloads.Layer) -> None:
    """Also after torch has updated its statistics in place, which nobody else may see."""
    for package in ("torch", "pytest_benchmark"):
        pytest.importorskip(package, reason="timing needs d2lref[torch,bench]")
    from benchmarks.contenders import contenders

    arms = contenders(layer, workloads.arrays(layer), "cpu", ("numpy", "torch"))
    assert len(arms) > 2
    for arm in arms.values():
        answer = arm.call()
        arm.judge(answer)
        arm.call()
        wrong = [np.asarray(each).copy() for each in (answer if isinstance(answer, tuple) else (answer,))]
        wrong[0].flat[-1] += 0.01
        with pytest.raises(AssertionError, match="times the bound"):
            arm.judge(tuple(wrong) if isinstance(answer, tuple) else wrong[0])


# ---------------------------------------------------------------------------------------------------------------------
# The machine


def test_pinning_holds_every_pool_to_one_thread_and_lets_go() -> None:
    pytest.importorskip("threadpoolctl", reason="timing needs d2lref[bench]")
    before = machine.pools()
    with machine.pinned() as threads:
        assert threads == 1
        assert {pool["threads"] for pool in machine.pools()} <= {1}
    assert machine.pools() == before


def test_what_a_library_reads_is_recorded_and_the_kernels_of_openblas_also_when_nobody_chose_them() -> None:
    assert machine.environment({"HOME": "/", "MKL_CBWR": "AVX2"}) == {"OPENBLAS_CORETYPE": None, "MKL_CBWR": "AVX2"}
    assert machine.environment({"OPENBLAS_CORETYPE": "Haswell"}) == {"OPENBLAS_CORETYPE": "Haswell"}


def test_caches_are_read_from_the_system(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate([(1, "Data", "48K"), (3, "Unified", "32768K")]):
        (tmp_path / f"index{index}").mkdir()
        for name, text in {"level": str(level), "type": kind, "size": size}.items():
            (tmp_path / f"index{index}" / name).write_text(f"{text}\n")
    assert machine.caches(tmp_path) == {"L1 Data": 48 << 10, "L3 Unified": 32 << 20}
    assert machine.caches(tmp_path / "absent") == {}


# ---------------------------------------------------------------------------------------------------------------------
# Inside pytest-benchmark

EXAMPLE = """
from benchmarks.clocks import HostClock
from benchmarks.versus import Arm, Subject

def right(answer): assert answer == 4950
def arm(stop=100): return Arm(lambda: sum(range(stop)), right)

def test_pair(versus):
    versus({"torch": arm(), "numpy:unfold": arm()}, Subject("sum", "100", work={"flop": 99}), HostClock())

def test_control(versus):
    versus({"torch": arm(), "again": arm()}, Subject("control", "100", control=True), HostClock())
"""
WRONG = """
def test_wrong(versus):
    versus({"torch": arm(), "numpy:shift": arm(101)}, Subject("sum", "100"), HostClock())
"""
INTERRUPT = """
import itertools
blocks = itertools.count()

class Stopped(HostClock):
    def prepare(self):
        if next(blocks) == 30: raise KeyboardInterrupt

def test_stopped(versus):
    versus({"torch": arm(), "numpy:unfold": arm()}, Subject("sum", "100"), Stopped())
"""

ON_DEVICE = """
def test_device(versus, device):
    import torch
    unjudged = lambda answer: None
    arms = {"torch": Arm(torch.kernel, unjudged), "torch:unfold": Arm(torch.slower, unjudged)}
    versus(arms, Subject("sum", "100", device.name), device.clock)
"""
IMAGINARY_TORCH = """
from contextlib import nullcontext
from types import SimpleNamespace as Namespace

__version__, int8, milliseconds = "imaginary", "int8", 0.0
version = Namespace(cuda="13.0")
inference_mode = nullcontext
set_num_threads = lambda threads: None
get_num_threads = lambda: 1
empty = lambda size, dtype, device: Namespace(zero_=kernel)
answers = Namespace(is_available=lambda: True, get_cpu_capability=lambda: "AVX2")
cudnn = Namespace(flags=lambda **settings: nullcontext(), version=lambda: 9, benchmark=False, allow_tf32=False)
matmul = Namespace(allow_tf32=False)
backends = Namespace(cpu=answers, mkl=answers, mkldnn=answers, cudnn=cudnn, cuda=Namespace(matmul=matmul))
properties = Namespace(name="Imaginary", total_memory=1 << 30, L2_cache_size=1 << 20, multi_processor_count=1)

class Event:
    def __init__(self, enable_timing): pass
    def record(self): self.at = milliseconds
    def synchronize(self): pass
    def elapsed_time(self, end): return end.at - self.at

def kernel():
    global milliseconds
    milliseconds += 0.25

def slower():
    kernel(); kernel()

cuda = Namespace(
    is_available=lambda: True, Event=Event, current_device=lambda: 0, get_device_properties=lambda device: properties
)
"""


@dataclass(frozen=True)
class Outcome:
    """What a run of pytest left behind."""

    code: int
    output: str
    json: dict[str, Any]
    log: list[dict[str, Any]]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Outcome]:
    """Return a function that runs a file of benchmarks in a process of its own."""
    for package in ("pytest_benchmark", "threadpoolctl"):
        pytest.importorskip(package, reason="timing needs d2lref[bench]")

    def run(text: str, *options: str) -> Outcome:
        (tmp_path / "test_example.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "benchmarks.conftest", "test_example.py"]
        command += ["--override-ini=filterwarnings=error", "--strict-markers"]
        paths = [f"--benchmark-json={tmp_path / 'run.json'}", f"--versus-log={tmp_path / 'run.jsonl'}"]
        hidden = ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
        variables = {name: value for name, value in os.environ.items() if name not in hidden}
        done = subprocess.run(
            [*command, "--versus-seconds=0.02", *paths, *options],
            cwd=tmp_path,
            env={**variables, "PYTHONPATH": str(ROOT), "OPENBLAS_CORETYPE": "Haswell"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout + done.stderr, *read(tmp_path))

    return run


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the two files of a run, empty where there is none."""
    whole, lines = folder / "run.json", folder / "run.jsonl"
    log = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    return json.loads(whole.read_text()) if whole.exists() and whole.stat().st_size else {}, log


def test_every_arm_is_an_entry_of_pytest_benchmark_and_the_ratio_stands_beside_it(
    bench: Callable[..., Outcome],
) -> None:
    """Fails when the private surface of pytest-benchmark that `benchmarks.versus` names has changed."""
    done = bench(EXAMPLE, "--benchmark-save=first")
    assert done.code == 0, done.output
    names = [f"test_example.py::test_{test}@{arm}" for test, arm in TIMED]
    assert [entry["fullname"] for entry in done.json["benchmarks"]] == names
    assert all(entry["stats"]["rounds"] >= Limits.min_rounds for entry in done.json["benchmarks"])
    row = done.json["d2lref"]["comparisons"][0]
    entry = done.json["benchmarks"][1]
    assert row["id"] == entry["fullname"]
    assert entry["stats"]["iterations"] == row["calls"]["self"]
    assert entry["extra_info"]["versus"]["ratio"] == row["ratio"]
    assert "ratio" not in done.json["benchmarks"][0]["extra_info"]["versus"]
    assert "paired ratios" in done.output
    assert "noise floor host" in done.output
    assert bench(EXAMPLE, "--benchmark-compare=0001").code == 0


TIMED = [("pair", "torch"), ("pair", "numpy:unfold"), ("control", "torch"), ("control", "again")]


def test_the_records_tell_the_conditions_and_suffice_to_compute_the_ratio_again(bench: Callable[..., Outcome]) -> None:
    done = bench(EXAMPLE)
    summary, (start, first, second) = done.json["d2lref"], done.log
    assert (summary["schema"], summary["version"]) == ("d2lref.benchmarks", 1) == (start["schema"], start["version"])
    assert [line["record"] for line in done.log] == ["run", "comparison", "comparison"]
    assert start["machine"]["environment"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert done.json["machine_info"]["d2lref"] == summary["machine"] == start["machine"]
    assert set(summary["noise"]) == {"host"}
    assert [row["control"] for row in summary["comparisons"]] == [False, True]
    for line in (first, second):
        assert (line["conditions"]["threads"], line["conditions"]["OPENBLAS_CORETYPE"]) == (1, "Haswell")
        assert recomputed(line) == line["ratio"]["kind"], line["ratio"]["pairs"]


def recomputed(line: dict[str, Any]) -> str:
    """Return the kind of the ratio that the stored rounds give; asserts that it lies in the stored interval."""
    columns = {who: {**rounds, "host": rounds["seconds"]} for who, rounds in line["rounds"].items()}
    arm, baseline = (
        Series(line["calls"][who], **{name: np.array(values) for name, values in columns[who].items()})
        for who in ("self", "baseline")
    )
    found = pairing.ratio(arm, baseline)
    digits = 1e-3  # the rounds are stored to four digits
    assert line["ratio"]["lo"] / (1 + digits) <= found.value <= line["ratio"]["hi"] * (1 + digits)
    return found.kind


def test_disabled_benchmarks_judge_every_answer_and_time_nothing(bench: Callable[..., Outcome]) -> None:
    done = bench(EXAMPLE, "--benchmark-disable")
    assert done.code == 0, done.output
    assert (done.json, done.log) == ({}, [])
    wrong = bench(EXAMPLE + WRONG, "--benchmark-disable")
    assert wrong.code == 1
    assert "numpy:shift: wrong answer, so it was not timed" in wrong.output


def test_skipped_benchmarks_are_skipped(bench: Callable[..., Outcome]) -> None:
    done = bench(EXAMPLE, "--benchmark-skip")
    assert done.code == 0
    assert "2 skipped" in done.output


def test_a_wrong_answer_is_not_timed_and_the_others_are(bench: Callable[..., Outcome]) -> None:
    done = bench(EXAMPLE + WRONG, "--benchmark-only")
    assert done.code == 1
    assert "Traceback" not in done.output
    assert [row["test"].rpartition("::")[2] for row in done.json["d2lref"]["comparisons"]] == [
        "test_pair",
        "test_control",
    ]


def test_an_interrupt_loses_nothing_that_was_measured(bench: Callable[..., Outcome]) -> None:
    """30 blocks are 15 rounds, fewer than any comparison ends with by itself."""
    done = bench(EXAMPLE + INTERRUPT)
    assert done.code == 2
    for rows in (done.json["d2lref"]["comparisons"], done.log[1:]):
        assert [row["stop"] == "interrupted" for row in rows] == [False, False, True]
        assert rows[-1]["ratio"]["of"] == 15
    assert "paired ratios" in done.output


def test_a_log_that_cannot_be_written_ends_the_run_in_one_line(bench: Callable[..., Outcome]) -> None:
    done = bench(EXAMPLE, "--versus-log=/nowhere/run.jsonl")
    assert done.code == 4
    assert done.output.strip() == "ERROR: --versus-log: cannot write /nowhere/run.jsonl: No such file or directory"


def test_a_gpu_is_timed_by_its_events_hot_and_cold(bench: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(IMAGINARY_TORCH)
    done = bench(EXAMPLE + ON_DEVICE, "-k", "cuda")
    assert done.code == 0, done.output
    rows = {row["clock"]: row for row in done.json["d2lref"]["comparisons"]}
    assert {clock: (row["device"], row["ratio"]["value"]) for clock, row in rows.items()} == {
        "cuda-hot": ("cuda", 2.0),
        "cuda-cold": ("cuda", 2.0),
    }
    assert rows["cuda-hot"]["calls"] == {"self": 2, "baseline": 4}
    assert rows["cuda-cold"]["calls"] == {"self": 1, "baseline": 1}
    assert rows["cuda-hot"]["seconds"] == {"self": 0.5e-3, "baseline": 0.25e-3}
    assert done.json["d2lref"]["machine"]["gpu"]["name"] == "Imaginary"


@pytest.mark.parametrize(
    ("torch", "skipped", "reason"),
    [
        ("raise ModuleNotFoundError('No module named torch', name='torch')", 3, "torch is the baseline: pip install"),
        (IMAGINARY_TORCH + "cuda.is_available = lambda: False", 2, "no CUDA device"),
    ],
    ids=["no torch", "no CUDA"],
)
def test_what_is_missing_skips_with_its_reason(
    bench: Callable[..., Outcome], tmp_path: Path, torch: str, skipped: int, reason: str
) -> None:
    (tmp_path / "torch.py").write_text(torch)
    done = bench(EXAMPLE + ON_DEVICE, "-k", "device", "-rs")
    assert done.code == 0, done.output
    assert f"{skipped} skipped" in done.output
    assert reason in done.output
