"""An observer of the benchmarks: which were planned, and what became of each.

The report loads it into pytest: `pytest benchmarks -p reports.outcomes --outcomes=tests.jsonl`.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from reports.records import TESTS, VERSION, append


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--outcomes", type=Path, metavar="FILE", help="append what became of each test to this file")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down the tests of this session."""
    ids = [item.nodeid for item in session.items]
    append(_file(session.config), [{"schema": TESTS, "version": VERSION, "record": "plan", "tests": ids}])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down what became of a test: passed, skipped or failed, and why. An interrupted one has no outcome."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        line = {"record": "test", "id": report.nodeid, "outcome": report.outcome, "reason": _reason(call)}
        append(_file(item.config), [line])
    return report


def _reason(call: pytest.CallInfo[None]) -> str:
    """Return what a test that did not pass says, in one line."""
    if call.excinfo is None:
        return ""
    words = " ".join(str(call.excinfo.value).split())
    return words or call.excinfo.typename


def _file(config: pytest.Config) -> Path:
    path: Path = config.getoption("--outcomes")
    return path
