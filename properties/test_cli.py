"""The command line: what it prints, its exit codes, and one clear line for everything that goes wrong."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from d2lref import cli
from d2lref.catalogue import distributions, subjects
from d2lref.oracle import Report, Status
from d2lref.oracle.report import LawRecord

KERNELS = '''
"""A stranger's kernels."""
import numpy as np

def linear(x, weight, bias=None):
    y = x @ weight.T
    return y if bias is None else (y + bias).astype(x.dtype)

def relu(x):
    return np.where(x > 0, x, np.where(np.isnan(x), x, 0)).astype(x.dtype)

def forgets_bias(x, weight, bias=None):
    return x @ weight.T

def linear_vjp(gy, x, weight, bias=None):
    g, a = gy.reshape(-1, gy.shape[-1]), x.reshape(-1, x.shape[-1])
    return (gy @ weight, g.T @ a, None if bias is None else g.sum(0))

number = 7
'''


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """Return a file with kernels of a stranger."""
    path = tmp_path / "kernels.py"
    path.write_text(KERNELS)
    return path


def run(*arguments: str) -> int:
    return cli.status(list(arguments))


def test_a_right_kernel_passes(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "relu", f"{kernels}:relu", "--cases", "quick") == 0
    assert "relu kernels.relu [float32]: ok" in capsys.readouterr().out


def test_a_wrong_kernel_fails_and_its_report_replays(
    kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    target = f"{kernels}:forgets_bias"
    assert run("check", "linear", target, "--cases", "quick", "--json", str(out)) == 1
    text = capsys.readouterr().out
    assert "FAIL linear: agrees with the definition" in text
    assert "wrong element" in text
    assert "bias" in text
    data = json.loads(out.read_text())
    assert (data["schema"], data["version"], data["ok"]) == ("d2lref-report", 1, False)
    assert run("replay", str(out)) == 1
    assert "still fail" in capsys.readouterr().out
    assert run("replay", str(out), "--target", f"{kernels}:linear") == 0
    assert "0 of" in capsys.readouterr().out


def test_gradients_are_judged(kernels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "linear", f"{kernels}:linear", "--vjp", f"{kernels}:linear_vjp", "--cases", "quick") == 0
    assert "absent" not in capsys.readouterr().out


def test_all_that_a_target_has(kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all.json"
    assert run("check", "--all", str(kernels), "--cases", "60", "--json", str(out)) == 0
    text = capsys.readouterr().out
    assert "linear kernels.linear" in text
    assert "relu kernels.relu" in text
    assert text.endswith("\n2 of 2 subjects judged, 2 ok\n")
    assert [r["subject"] for r in json.loads(out.read_text())["reports"]] == ["linear", "relu"]


def test_list_and_explain_tell_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    known: dict[str, Any] = {**subjects(), **distributions()}
    assert [line.split()[0] for line in lines] == list(known)
    for name, op in known.items():
        assert run("explain", name) == 0
        text = capsys.readouterr().out
        assert all(law.says in text for law in op.laws)
        assert all(m.says in text for m in op.mistakes)
        assert op.source in text
        assert "partial(" not in text


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["check"], ["replay"], ["list"], ["explain"]):
        assert run(*command, "--help") == 0
        assert "Usage: d2lref" in capsys.readouterr().out
    assert run("--version") == 0
    assert run() == 2
    assert "Usage: d2lref [OPTIONS] COMMAND" in capsys.readouterr().err


BAD = [
    (["check", "conv9d", "torch"], "subject 'conv9d' is not known; perhaps conv"),
    (["check", "relu"], "check takes SUBJECT and TARGET, got 1 argument"),
    (["check", "relu", "nowhere:f"], "target 'nowhere' cannot be imported: ModuleNotFoundError"),
    (["check", "relu", "nowhere.py:f"], "target 'nowhere.py': no such file"),
    (["check", "relu", "{kernels}:rleu"], "has no 'rleu'; perhaps relu"),
    (["check", "relu", "{kernels}:number"], "number is int, expected a callable"),
    (["check", "relu", "relu"], "target 'relu': expected one of torch, jax, d2lref:VARIANT, file.py:name or"),
    (["check", "relu", "{kernels}:relu", "--cases", "lots"], "cases: 'lots', expected one of quick, ci, deep"),
    (["check", "relu", "{kernels}:relu", "--precision", "float12"], "precision: 'float12' is no preset"),
    (["check", "relu", "{kernels}:relu", "--arrays", "stones"], "arrays: 'stones', expected numpy, torch, jax"),
    (["check", "relu", "{kernels}:relu", "--speed", "9"], "No such option"),
    (["check", "relu", "{kernels}:relu", "--supports", "groups"], "--supports 'groups': expected KEY=VALUE"),
    (["check", "relu", "{kernels}:relu", "--supports", "groups=1"], "relu: supports has no key 'groups'"),
    (["check", "relu", "{kernels}:relu", "--json", "/nowhere/at/all.json"], "cannot write in folder"),
    (["check", "relu", "d2lref:fastest"], "relu: no variant 'fastest'"),
    (["explain", "conv9d"], "subject 'conv9d' is not known"),
    (["replay", "nowhere.json"], "nowhere.json"),
    (["replay", "{kernels}"], "not JSON"),
    (["judge"], "No such command 'judge'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a).replace("/", "|") for a, _ in BAD])
def test_bad_input_is_one_line_and_code_2(
    arguments: list[str], message: str, kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert run(*(a.format(kernels=kernels) for a in arguments)) == 2
    told = capsys.readouterr()
    assert told.err.startswith("d2lref: ")
    assert message in told.err
    assert told.err.count("\n") == 1
    assert "Traceback" not in told.err
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "__pycache__"] == before


@pytest.mark.parametrize(
    "change",
    [
        {"findings": None},
        {"findings": [{}]},
        {"findings": [3]},
        {"target": 3},
        {"version": 99},
        {"version": True},
    ],
    ids=str,
)
def test_a_corrupted_report_is_one_line_and_code_2(
    change: dict[str, object], kernels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    run("check", "linear", f"{kernels}:forgets_bias", "--cases", "60", "--json", str(out))
    out.write_text(json.dumps({**json.loads(out.read_text()), **change}))
    capsys.readouterr()
    assert run("replay", str(out)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_target_that_exits_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit(0)\n")
    assert run("check", "relu", f"{path}:relu", "--cases", "20") == 2
    assert "SystemExit" in capsys.readouterr().err
    path.write_text("import sys\ndef relu(x):\n    sys.exit(0)\n")
    assert run("check", "relu", f"{path}:relu", "--cases", "20") == 1


def test_a_failure_of_the_judge_is_code_4(
    kernels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from d2lref.oracle import campaign

    def fail(*_: object) -> None:
        message = "the disk is full"
        raise OSError(message)

    monkeypatch.setattr(campaign.Campaign, "climb", fail)
    assert run("check", "relu", f"{kernels}:relu", "--cases", "quick") == 4
    assert capsys.readouterr().err.startswith("d2lref: the judge itself failed: OSError: the disk is full")


@pytest.mark.skipif(os.name == "nt", reason="SIGINT to a child is POSIX")
def test_ctrl_c_writes_what_was_found_and_exits_130(kernels: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    command = [
        sys.executable,
        "-m",
        "d2lref",
        "check",
        "relu",
        f"{kernels}:relu",
        "--cases",
        "600s",
        "--json",
        str(out),
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    first = child.stderr.readline()  # a progress line: it is in the middle of the run
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    said, error = child.communicate(timeout=60)
    assert "relu:" in first
    assert child.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in error
    data = json.loads(out.read_text())
    assert data["interrupted"] is True
    assert data["counts"]["executed"] > 0


EARLY = """
import sys

class Interrupt:
    def find_spec(self, name, *rest):
        if name == "d2lref.oracle":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from d2lref.__main__ import main
main()
"""


def test_ctrl_c_while_it_is_still_importing_is_one_line_too() -> None:
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "d2lref: interrupted\n")


def test_the_examples_of_the_help_stand_on_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    assert "\n  d2lref check conv2d torch   " in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="pipes are POSIX")
def test_output_that_nobody_reads_is_no_failure_of_the_judge() -> None:
    script = f"{shlex.quote(sys.executable)} -m d2lref explain conv2d | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("conv2d(x, weight")
    assert not done.stderr
    assert done.returncode in {0, 1}  # 0 when all was written before the pipe was closed


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are POSIX")
def test_a_report_is_written_to_what_a_link_or_a_pipe_leads_to(kernels: Path, tmp_path: Path) -> None:
    link, real, pipe = (tmp_path / name for name in ("link.json", "real.json", "pipe"))
    link.symlink_to(real)
    assert run("check", "relu", f"{kernels}:relu", "--cases", "20", "--json", str(link)) == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["subject"] == "relu"
    os.mkfifo(pipe)
    read = "import pathlib, sys; print(pathlib.Path(sys.argv[1]).read_text())"
    with subprocess.Popen([sys.executable, "-c", read, str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert run("check", "relu", f"{kernels}:relu", "--cases", "20", "--json", str(pipe)) == 0
        said, _ = reader.communicate(timeout=60)
    assert json.loads(said)["subject"] == "relu"


def test_the_first_line_says_what_spoils_a_run_without_findings() -> None:
    record = LawRecord("the vjp is the adjoint", executed=1, undecidable=1, status=Status.UNDECIDABLE)
    counts = {"executed": 1, "cases": 1, "unsupported": 0}
    report = Report("relu", "mine", "float32", 0, "1", (record,), (), counts, {}, 0.0)
    assert (report.ok, report.exit_code) == (False, 1)
    assert report.headline().endswith(
        "1 claim on 1 case, 0 findings, worst ratio 0, 0.0 s; 'the vjp is the adjoint' is undecidable on these cases"
    )
