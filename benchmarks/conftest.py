"""The fixtures `versus` and `device`, the option `--versus-log`, and what a run prints and writes."""

from benchmarks import machine

machine.pin_environment()  # before NumPy and torch load, which is why the imports below come late

import warnings  # noqa: E402
from collections.abc import Mapping  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
from pytest_benchmark.fixture import BenchmarkFixture  # noqa: E402
from pytest_benchmark.logger import PytestBenchmarkWarning  # noqa: E402

from benchmarks import records  # noqa: E402
from benchmarks.clocks import CudaClock, HostClock  # noqa: E402
from benchmarks.pairing import Limits  # noqa: E402
from benchmarks.versus import Device, Versus  # noqa: E402

RUN = pytest.StashKey[records.Run]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options of paired timing."""
    group = parser.getgroup("versus", "paired, interleaved timing")
    group.addoption("--versus-log", type=Path, metavar="PATH", help="append a JSON line per comparison as the run goes")
    group.addoption(
        "--versus-seconds",
        type=float,
        default=Limits.seconds,
        metavar="S",
        help="soft limit of a comparison, after 20 rounds that always run (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the records of the session; a log that cannot be written ends it at once.

    pytest-benchmark warns when everything was skipped. That is no error; where warnings are errors it would end in a
    traceback.
    """
    config.addinivalue_line("markers", "quick: part of the short selection that the report runs")
    warnings.filterwarnings("default", category=PytestBenchmarkWarning)
    log = config.getoption("--versus-log")
    try:
        config.stash[RUN] = records.Run(log)
    except OSError as error:
        raise pytest.UsageError(f"--versus-log: cannot write {log}: {error.strerror}") from error


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs a GPU: where there is none, that is skipped at once, and not left over when time is up."""
    items.sort(key=lambda item: not str(_parameters(item).get("device", "")).startswith("cuda"))


def _parameters(item: pytest.Item) -> Mapping[str, Any]:
    parameters: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters


@pytest.fixture
def versus(benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Versus:
    """Return the comparison of this test: `versus(arms, subject, clock)`, see `versus.Versus`."""
    return Versus(benchmark, pytestconfig.stash[RUN], Limits(seconds=pytestconfig.getoption("--versus-seconds")))


@pytest.fixture
def run(pytestconfig: pytest.Config) -> records.Run:
    """Return the records of the session."""
    return pytestconfig.stash[RUN]


@pytest.fixture(params=["cpu", "cuda", "cuda-cold"])
def device(request: pytest.FixtureRequest) -> Device:
    """Return where to compute; skips what the machine lacks."""
    torch = pytest.importorskip("torch", reason="torch is the baseline: pip install 'd2lref[torch]'")
    if request.param == "cpu":
        return Device("cpu", HostClock())
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: torch.cuda.is_available() is false")
    return Device("cuda", CudaClock(torch, cold=request.param == "cuda-cold"))


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Describe the machine; only what is the same in every run, or `--benchmark-compare` warns at length."""
    machine_info["d2lref"] = machine.describe()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Add the rows, flat, so that a reader needs no knowledge of pytest-benchmark."""
    output_json["d2lref"] = config.stash[RUN].summary()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the paired ratios, and how far equal things differed."""
    comparisons = config.stash[RUN].comparisons
    if not comparisons:
        return
    noise = records.noise_floors(comparisons)
    terminalreporter.section(f"paired ratios: time / baseline, 95 % interval; {_noise_in_words(noise)}")
    for line in records.table([records.judged(row, noise) for row in comparisons]):
        terminalreporter.write_line(line)


def _noise_in_words(noise: Mapping[str, float]) -> str:
    if not noise:
        return "noise floor not measured"
    return "noise floor " + ", ".join(f"{clock} +-{100 * floor:.1f} %" for clock, floor in noise.items())
