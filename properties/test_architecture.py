"""The structure: arrows of import run one way, the index is complete, importing is light.

Tolerances live in one file.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import d2lref
from d2lref.spec import Op
from properties.worlds import OPS

PACKAGE = Path(d2lref.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Whom each room may import; a room may always import itself.
ARROWS = {
    "spec": set(),
    "arrays": {"spec"},
    "elementary": {"spec", "arrays"},
    "rounding": {"spec", "elementary"},
    "chance": {"spec"},
    "algorithms": {"spec", "arrays", "rounding"},
    "ops": {"spec", "arrays", "elementary", "rounding", "chance", "algorithms"},
    "inits": {"spec", "chance"},
    "oracle": {"spec", "arrays", "rounding", "chance"},
    "adapters": {"spec", "oracle"},
    "catalogue": {"spec", "oracle", "ops", "inits", "adapters"},
    "__init__": {"spec", "rounding", "catalogue", "oracle", "ops"},
    "cli": {"spec", "rounding", "chance", "catalogue", "oracle", "__init__"},
    "__main__": {"cli"},
}
LIGHT = {
    "spec": set(),
    "oracle": {"numpy", "hypothesis", "pytest", "ml_dtypes"},
    "cli": {"click", "rich"},
    "catalogue": {"numpy"},
}
FRAMEWORKS = {"torch", "jax", "sklearn", "scipy", "numba", "tensorflow"}


def room(path: Path) -> str:
    """Return the first part of a file's place in the package: a folder, or the file's own name."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names) if module == "d2lref" else (module,)


def own_room(module: str) -> str:
    """Return the room of a module of the package.

    D2lref.oracle.judge lies in oracle; a name of the package itself in __init__.
    """
    part = [*module.split("."), "__init__"][1]
    return part if part in ARROWS else "__init__"


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_arrows_run_one_way(path: Path) -> None:
    here = room(path)
    assert here in ARROWS, f"{here} has no place in the layout"
    reached = {own_room(m) for m in imports(path) if m.split(".")[0] == "d2lref"} - {here}
    assert reached <= ARROWS[here]


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_frameworks_stay_in_adapters(path: Path) -> None:
    used = {m.split(".")[0] for m in imports(path)} - {"d2lref", *sys.stdlib_module_names}
    if room(path) == "adapters":
        return
    assert not used & FRAMEWORKS
    assert used <= LIGHT.get(room(path), {"numpy", "array_api_compat"})


TIMES = {"test_pairing.py", "test_benchmarks.py"}  # seconds, not tolerances


def test_no_tolerance_outside_rounding() -> None:
    """No comparison has a literal tolerance: small literals stand in rounding.py, or are facts of an op (an eps)."""
    small = re.compile(r"(?<![\w.])\d*\.?\d*e-\d+|\b(?:rtol|atol|allclose|isclose|assert_allclose)\b")
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in [*FILES, *sorted(Path(__file__).parent.glob("*.py"))]
        if path.name not in {"rounding.py", "test_architecture.py", *TIMES}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if small.search(line.split("#")[0]) and "eps" not in line
    ]
    assert found == []


def test_the_index_names_every_op() -> None:
    """Each Op literal of a chapter is exported by d2lref.ops under its own name."""
    exported = {op.name for op in OPS}
    for path in sorted((PACKAGE / "ops").rglob("*.py")):
        dotted = ".".join(("d2lref", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        module = importlib.import_module(dotted)
        assert {value.name for value in vars(module).values() if isinstance(value, Op)} <= exported, path
    ops = importlib.import_module("d2lref.ops")
    assert all(getattr(ops, op.name) is op for op in OPS)


LOADED = """
import d2lref
import sys
heavy = {"numpy", "hypothesis", "torch", "numba", "sklearn", "rich", "click", "jax", "scipy", "pytest"}
print(sorted(heavy & set(sys.modules)))
"""


def test_importing_loads_nothing_heavy() -> None:
    """`import d2lref` loads nothing of others, not even NumPy."""
    out = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout
    assert out == "[]\n"


MEANS = {"global_avg_pool", "channel_avg_pool"}
"""Plain means, of which two laws say every answer: more laws would catch nothing alone."""


@pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])
def test_every_op_is_a_whole_chapter(op: Op) -> None:
    assert op.definition.__doc__
    assert op.bound.__doc__
    assert op.source
    assert op.gallery
    if op.name in MEANS:
        assert len(op.mistakes) >= 5
        assert len(op.laws) >= 2
        return
    family = 10 if op.name.startswith("conv") and not op.name.startswith("convolve") else 6
    assert len(op.mistakes) >= family
    assert len(op.laws) >= (8 if family == 10 else 5)
    assert len({law.says for law in op.laws}) == len(op.laws)
    assert not any(law.definition for law in op.laws)


def is_table(node: ast.FunctionDef) -> bool:
    """Return whether most of a function is one literal, assigned or returned: a table of data, however long."""
    length = (node.end_lineno or 0) - node.lineno
    plain = [s for s in node.body if isinstance(s, ast.Assign | ast.Return)]
    return any((s.end_lineno or 0) - s.lineno > length // 3 for s in plain)


def test_functions_fit_in_the_eye() -> None:
    """Median at most 12 lines of code, none above 45 with its docstring."""
    lengths = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not is_table(node):
                length = (node.end_lineno or 0) - node.lineno + 1
                lengths.append((length, f"{path.name}:{node.name}"))
    lengths.sort()
    assert lengths[len(lengths) // 2][0] <= 12
    assert lengths[-1][0] <= 45, lengths[-5:]
