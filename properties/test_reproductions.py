"""Every reproduction is a program without d2lref that shows its failure: it fails, and passes once the bug is gone.

The kernels stand in a file, as a user's do; the program imports it.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import d2lref
from d2lref import catalogue
from d2lref.oracle import Finding, Report
from d2lref.spec import Op
from properties.strange import op

pytestmark = pytest.mark.once

RIGHT = """
import numpy as np

def forward(x, weight, *, scale=1.0):
    if x.ndim != 2 or weight.shape != x.shape[1:]:
        raise ValueError("shapes")
    return (x @ weight) * np.asarray(scale, x.dtype)

def vjp(gy, x, weight, *, scale=1.0):
    sent = np.asarray(scale, x.dtype) * gy
    return sent[:, None] * weight, sent @ x
"""

NORM = """
import numpy as np

def moments(x, mean, var, momentum, training):
    axes = tuple(i for i in range(x.ndim) if i != 1)
    wide = (1, -1) + (1,) * (x.ndim - 2)
    x64 = x.astype(np.float64)
    if not training:
        return x64, wide, mean.astype(np.float64), var.astype(np.float64), mean, var
    if x.size // x.shape[1] < 2:
        raise ValueError("one value per channel")
    m, v = x64.mean(axes), x64.var(axes)
    n = x.size // x.shape[1]
    old = [np.zeros(m.shape, x.dtype) if mean is None else mean, np.ones(m.shape, x.dtype) if var is None else var]
    new = [(1 - momentum) * o.astype(np.float64) + momentum * s for o, s in zip(old, (m, v * n / (n - 1)))]
    return x64, wide, m, v, *(s.astype(x.dtype) for s in new)
"""


def reported(folder: Path, text: str, subject: Op | str = op, **options: Any) -> Report:
    """Return the report on the functions `forward`, and `vjp` if there is one, of a file with this text."""
    file = folder / "kernels.py"
    file.write_text(text)
    vjp = catalogue.attribute(f"{file}:vjp") if "def vjp" in text else None
    return d2lref.check(subject, f"{file}:forward", vjp=vjp, **{"cases": "quick", **options})


def run(folder: Path, finding: Finding) -> subprocess.CompletedProcess[str]:
    """Return what the program did, run from elsewhere."""
    assert "d2lref" not in finding.reproduction.replace(str(folder), "")
    command = [sys.executable, "-B", "-c", finding.reproduction]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


MADE = [
    ("y = y + 1", "agrees with the definition", "expected"),
    ("y = y + (not x.flags.c_contiguous)", "any memory order gives the same answer", "expected"),
    ("y = y.astype(np.float64)", "answers in the shape and dtype of the rule", "float64"),
    ("y = y[None]", "answers in the shape and dtype of the rule", "(1, 1)"),
    ("y = (y, y)", "agrees with the definition", "AssertionError"),
    ("y = 'seven'", "agrees with the definition", "dtype"),
    ("y = np.ma.array(y, mask=True)", "agrees with the definition", "MaskedArray"),
    ("x[...] = 0", "inputs stay as they were, answers own their memory", "x was overwritten"),
    ("y = np.add(y, 0, out=weight[:1]) if len(y) == 1 else y", "inputs stay as they were", "weight"),
    ("y = KEPT.setdefault(y.shape, y)", "a second call repeats the first", "expected"),
    ("KEPT.setdefault(y.shape, y)[...] = y; y = KEPT[y.shape]", "a second call repeats", "a later call overwrote"),
    ("raise RuntimeError('not now')", "agrees with the definition", "RuntimeError: not now"),
]


def spoilt(statement: str) -> str:
    """Return the file with a statement after the answer of forward."""
    line = "    return (x @ weight) * np.asarray(scale, x.dtype)\n"
    assert line in RIGHT
    return "KEPT = {}\n" + RIGHT.replace(line, f"    y = {line.strip()[7:]}\n    {statement}\n    return y\n")


@pytest.mark.parametrize(("statement", "law", "word"), MADE, ids=[m[0] for m in MADE])
def test_a_wrong_function_is_shown(tmp_path: Path, statement: str, law: str, word: str) -> None:
    finding = next(f for f in reported(tmp_path, spoilt(statement)).findings if f.law.startswith(law))
    done = run(tmp_path, finding)
    assert done.returncode == 1, finding.reproduction
    assert word in done.stdout + done.stderr
    (tmp_path / "kernels.py").write_text(RIGHT)
    again = run(tmp_path, finding)
    assert again.returncode == 0, finding.reproduction + again.stderr
    assert "put your function here" not in finding.reproduction


VJPS = [
    ("dx = dx * 2", "gradients agree with the reference's", "expected"),
    ("dx = dx * (1 + (not x.flags.c_contiguous))", "any memory order gives the same gradients", "expected"),
    ("dx = dx.astype(np.float64)", "gradients come in the shape and dtype of their arrays", "float64"),
    ("gy *= 2", "the vjp leaves its inputs as they were", "gy was overwritten"),
    ("weight[...] = dw; dw = weight", "the vjp leaves its inputs as they were", "weight"),
    (
        "dw = dx[0] if len(dx) and (dx[0] == dw).all() else dw",
        "the vjp leaves its inputs as they were",
        "shares memory",
    ),
    ("KEPT[x.shape] = dw = dw + KEPT.get(x.shape, 0)", "a second vjp repeats the first", "expected"),
    ("KEPT.setdefault(x.shape, dw)[...] = dw; dw = KEPT[x.shape]", "a second vjp repeats", "a later call overwrote"),
    ("raise RuntimeError('not now')", "gradients agree with the reference's", "RuntimeError: not now"),
]


@pytest.mark.parametrize(("statement", "law", "word"), VJPS, ids=[m[0] for m in VJPS])
def test_a_wrong_vjp_is_shown(tmp_path: Path, statement: str, law: str, word: str) -> None:
    line = "    return sent[:, None] * weight, sent @ x\n"
    changed = f"    dx, dw = {line.strip()[7:]}\n    {statement}\n    return dx, dw\n"
    cases = 4000 if "all()" in statement else "quick"  # a rare equality
    found = reported(tmp_path, "KEPT = {}\n" + RIGHT.replace(line, changed), cases=cases).findings
    finding = next(f for f in found if f.law.startswith(law))
    done = run(tmp_path, finding)
    assert done.returncode == 1, finding.reproduction
    assert word in done.stdout + done.stderr
    (tmp_path / "kernels.py").write_text(RIGHT)
    again = run(tmp_path, finding)
    assert again.returncode == 0, finding.reproduction + again.stderr


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        ("return x[:, 0]", "accepted a weight of another length"),
        ("x[...] = 0; raise ValueError('shapes')", "x was changed"),
        ("raise SystemExit(0)", "ended the program on a weight of another length"),
    ],
    ids=["accepts", "spoils", "exits"],
)
def test_bad_input_that_is_not_refused_is_shown(tmp_path: Path, refusal: str, word: str) -> None:
    text = RIGHT.replace('raise ValueError("shapes")', refusal)
    finding = next(f for f in reported(tmp_path, text).findings if f.law == "bad input is refused")
    done = run(tmp_path, finding)
    assert done.returncode == 1, finding.reproduction
    assert word in done.stdout + done.stderr
    (tmp_path / "kernels.py").write_text(RIGHT)
    assert run(tmp_path, finding).returncode == 0, finding.reproduction


ORDERS = ("fortran", "strided", "negative", "offset", "readonly", "channels_last")
CHECKED = {
    "fortran": "x.flags.f_contiguous and not x.flags.c_contiguous",
    "strided": "x.strides[-1] == 2 * x.itemsize",
    "negative": "x.strides[-1] < 0",
    "offset": "x.ctypes.data % 8 == 4",
    "readonly": "not x.flags.writeable",
    "channels_last": "x.ndim > 2 and not x.flags.c_contiguous",
}


@pytest.mark.parametrize("layout", ORDERS)
def test_every_memory_order_is_written_out(tmp_path: Path, layout: str) -> None:
    text = f"import numpy as np\n\ndef forward(x):\n    return np.maximum(x, 0) + ({CHECKED[layout]})\n"
    report = reported(tmp_path, text.replace("+ (", "+ np.float32("), "relu", supports={"layouts": (layout,)})
    finding = next(f for f in report.findings if f.law == "any memory order gives the same answer")
    assert f"def {layout}(a" in finding.reproduction
    done = run(tmp_path, finding)
    assert done.returncode == 1, finding.reproduction
    assert "expected" in done.stdout


def test_what_only_the_statistical_band_shows_is_shown(tmp_path: Path) -> None:
    line = "    return (x @ weight) * np.asarray(scale, x.dtype)\n"
    drift = """
    wide, heavy = x.astype(np.float64), weight.astype(np.float64)
    size = np.abs(wide) @ np.abs(heavy) * scale
    dense = x.shape[1] > 60 and (x != np.rint(x)).all() and weight.all()
    drift = 20 * 2.0**-24 * size if dense else 0 * size
    drift[~np.isfinite(drift)] = 0
    return ((wide @ heavy) * scale + drift).astype(np.float32)
"""
    finding = reported(tmp_path, RIGHT.replace(line, drift), cases=3000).findings[0]
    assert finding.verdict.tier == "suspect"
    assert run(tmp_path, finding).returncode == 1, finding.reproduction
    (tmp_path / "kernels.py").write_text(RIGHT)
    assert run(tmp_path, finding).returncode == 0, finding.reproduction


def test_a_pair_of_functions_is_imported(tmp_path: Path) -> None:
    """A library of the user's own: arrays in a box."""
    box = (
        "class Box:\n    def __init__(self, a):\n        self.a = a\n\n"
        "def boxed(a):\n    return Box(a)\n\ndef opened(b):\n    return b.a\n\n"
        "def forward(b):\n    return Box(abs(b.a))\n"
    )
    file = tmp_path / "kernels.py"
    file.write_text(box)
    forward, to, back = (catalogue.attribute(f"{file}:{name}") for name in ("forward", "boxed", "opened"))

    finding = d2lref.check("relu", forward, arrays=(to, back), cases="quick").findings[0]
    done = run(tmp_path, finding)
    assert done.returncode == 1
    assert "found 1.0 expected 0.0" in done.stdout, finding.reproduction + done.stderr


# torch, and narrow formats


TORCH = """
import torch

def forward(x, weight, bias=None):
    y = torch.nn.functional.linear(x, weight, bias)
    return y + (x.dtype == torch.bfloat16)
"""


def test_bfloat16_is_handed_over_in_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch has bfloat16")
    finding = reported(tmp_path, TORCH, "linear", arrays="torch", precision="bfloat16").findings[0]
    assert ".to(torch.bfloat16)" in finding.reproduction
    done = run(tmp_path, finding)
    assert done.returncode == 1
    assert "found 1.0 expected 0.0" in done.stdout, finding.reproduction + done.stderr


def test_bfloat16_of_numpy_is_handed_over_in_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16")
    text = "import numpy as np\n\ndef forward(x):\n    return x if x.dtype == 'bfloat16' else np.maximum(x, 0)\n"
    finding = reported(tmp_path, text, "relu", precision="bfloat16").findings[0]
    done = run(tmp_path, finding)
    assert done.returncode == 1
    assert "found -1.0 expected 0.0" in done.stdout, finding.reproduction + done.stderr


@pytest.mark.parametrize("name", ["batch_norm", "convolve2d", "corr1d", "conv2d"])
def test_what_torch_is_called_with_is_bound_without_this_package(name: str) -> None:
    """Its texts run: the functions they bind answer as the adapter's do."""
    torch = pytest.importorskip("torch", reason="torch is the stranger here")
    from d2lref.adapters.torch import implementation
    from d2lref.oracle.values import fill

    subject, judged = catalogue.subjects()[name], implementation(name)
    assert judged is not None
    form = subject.gallery[0]
    case = fill(subject, form, "normal", 1, "float32")
    arrays = [None if a is None else torch.from_numpy(a).float() for a in case.arrays]
    sent = tuple(None if g is None else torch.from_numpy(g).float() for g in case.cotangents)
    bound: dict[str, Any] = {}
    exec(f"import torch\nimport numpy as np\n{source(judged.vjp_origin)}", bound)  # noqa: S102 - that it runs is the property
    found = bound["vjp"](sent, *arrays, **form.options)
    assert judged.vjp is not None
    for one, two in zip(found, judged.vjp(sent, *arrays, **form.options), strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two)


def source(text: str) -> str:
    """Return a program after the assurance that it imports nothing of this package."""
    assert "d2lref" not in text
    return text


STATE = """
def forward(x, running_mean=None, running_var=None, weight=None, bias=None, *, training=False, momentum=0.1, eps=1e-5):
    x64, wide, m, v, mean, var = moments(x, running_mean, running_var, momentum, training)
    y = (x64 - m.reshape(wide)) / np.sqrt(v.reshape(wide) + eps)
    y = y * (1 if weight is None else weight.reshape(wide)) + (0 if bias is None else bias.reshape(wide))
    return {answer}
"""


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("(y.astype(x.dtype), mean + 1, var)", "found"),
        ("(y.astype(x.dtype),)", "AssertionError: ['float32"),
        ("(y.astype(np.float64), mean, var)", "float64"),
    ],
    ids=["mean", "one", "dtype"],
)
def test_wrong_statistics_are_shown(tmp_path: Path, answer: str, word: str) -> None:
    finding = reported(tmp_path, NORM + STATE.replace("{answer}", answer), "batch_norm").findings[0]
    done = run(tmp_path, finding)
    assert done.returncode == 1, finding.reproduction
    assert word in done.stdout + done.stderr, finding.reproduction + done.stderr
