"""Names to things: subjects, targets and array libraries, loaded when asked for.

Every failure to find one is one clear line.
"""

import difflib
import functools
import importlib
import importlib.resources
import importlib.util
import inspect
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from d2lref.oracle.implementation import NUMPY, Implementation, Library, binding, shown
from d2lref.spec import Distribution, Op, Subject

ADAPTERS = ("torch", "jax")
REFERENCE = "d2lref"


class NotFound(ValueError):
    """A subject, target or array library that does not exist or cannot be loaded."""


def subjects() -> Mapping[str, Op]:
    """Return every op by name, in the order of the book."""
    from d2lref import ops

    return {name: value for name, value in vars(ops).items() if isinstance(value, Op)}


def distributions() -> Mapping[str, Distribution]:
    """Return every initialiser and dropout by name."""
    from d2lref import inits, ops

    rooms = (*vars(inits).items(), *vars(ops).items())
    return {name: value for name, value in rooms if isinstance(value, Distribution)}


def op(name: Any) -> Op:
    """Return the op of that name, or an Op as it is. Raises NotFound, also for a subject of another kind."""
    found = subject(name)
    if isinstance(found, Op):
        return found
    message = f"subject {found.name!r} is drawn at random, expected an op"
    raise NotFound(message)


def subject(name: Any) -> Subject:
    """Return the subject of that name (one itself is returned as it is). Raises NotFound with the nearest names."""
    if isinstance(name, Subject):
        return name
    if not isinstance(name, str):
        message = f"subject: {shown(name)}, expected a name (d2lref list shows all) or an Op"
        raise NotFound(message)
    known: Mapping[str, Subject] = {**subjects(), **distributions()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3) or list(known)
    message = f"subject {name!r} is not known; perhaps {', '.join(near)} (d2lref list shows all {len(known)})"
    raise NotFound(message)


def equivalents() -> Mapping[str, str]:
    """Return the mutants of the chapters that are argued to be no mistakes, and why: `ops/equivalent.toml`."""
    text = importlib.resources.files("d2lref.ops").joinpath("equivalent.toml").read_text(encoding="utf-8")
    return {mutant: each["why"] for each in tomllib.loads(text)["argument"] for mutant in each["mutants"]}


def library(arrays: Any) -> Library:
    """Return the array library for "numpy", "torch", "torch:cuda", a pair (to, back), or a Library.

    In a pair, to(numpy array) -> array and back(array) -> numpy array. Raises NotFound.
    """
    if isinstance(arrays, Library):
        return arrays
    if isinstance(arrays, tuple) and len(arrays) == 2 and all(map(callable, arrays)):
        return _pair(*arrays)
    if isinstance(arrays, str) and arrays == "numpy":
        return NUMPY
    if isinstance(arrays, str) and arrays.partition(":")[0] in ADAPTERS:
        module, device = _adapter(arrays)
        found: Library = module.library(device)
        return found
    known = f"numpy, {', '.join(ADAPTERS)} (or torch:cuda)"
    message = f"arrays: {shown(arrays)}, expected {known}, or a pair of functions to and back"
    raise NotFound(message)


def _pair(to: Callable[..., Any], back: Callable[..., Any]) -> Library:
    """Return the array library behind a pair of functions, with the imports that bind them in reproductions."""
    texts = [binding(f, name) or f"{name} = ...  # put your function here" for f, name in ((to, "to"), (back, "back"))]
    preamble = "\n".join(["", *texts])
    return Library(
        "custom",
        lambda array, dtype: to(NUMPY.to(array, dtype)),
        back,
        preamble=preamble,
        to_text="to({})",
        back_text="np.asarray(back({}))",
    )


def target(text: str, op: Subject) -> Implementation | Callable[..., Any]:
    """Return what a target names.

    An adapter ("torch", "torch:cuda"), one of our variants ("d2lref:unfold"), "file.py:attribute" or
    "module:attribute".

    Raises NotFound when it does not exist, does not import, or has no such op.
    """
    head, _, tail = text.partition(":")
    if head == REFERENCE:
        return reference(op, tail or "definition")
    if head in ADAPTERS:
        module, device = _adapter(text)
        found: Implementation | None = module.implementation(op.name, device)
        if found is None:
            message = f"{text}: has no {op.name}"
            raise NotFound(message)
        return found
    return attribute(text)


def targets(text: str) -> list[str]:
    """Return the names of the subjects that a target has.

    All that an adapter knows, or the attributes of a module that bear a subject's name; of those that are drawn, the
    functions that take `rng`.
    """
    head, _, tail = text.partition(":")
    if head == REFERENCE:
        every: Mapping[str, Subject] = {**subjects(), **distributions()}
        return [name for name, op in every.items() if (tail or "definition") in ("definition", *op.variants)]
    if head in ADAPTERS:
        module, device = _adapter(text)
        return [name for name in (*subjects(), *distributions()) if module.implementation(name, device) is not None]
    module = _module(text)
    named = [name for name in subjects() if callable(getattr(module, name, None))]
    return [*named, *(name for name in distributions() if _draws(getattr(module, name, None)))]


def _draws(value: Any) -> bool:
    """Return whether a thing is a function that can be handed a generator: a module may well have another `normal`."""
    if not callable(value):
        return False
    try:
        return "rng" in inspect.signature(value).parameters
    except (TypeError, ValueError):
        return False


def member(text: str, name: str) -> str:
    """Return the target of one subject inside a target of many: the adapter itself, or "module:name"."""
    head = text.partition(":")[0]
    return text if head == REFERENCE or head in ADAPTERS else f"{text}:{name}"


def reference(op: Subject, variant: str) -> Implementation:
    """Return our own definition or variant as an implementation. Raises NotFound for a variant the op lacks."""
    room = "ops" if op.operands else "inits"
    origin = f"from d2lref.{room} import {op.name}\n\nimplementation = {op.name}"
    if variant == "definition":
        return Implementation(f"d2lref {op.name}", op.definition, op.vjp, origin=origin)
    if variant not in op.variants:
        message = f"{op.name}: no variant {variant!r}, expected {', '.join(('definition', *op.variants))}"
        raise NotFound(message)
    chosen = op.variants[variant]
    return Implementation(
        f"d2lref {op.name} {variant}",
        chosen.run,
        op.vjp,
        supports={"nonfinite": False} if chosen.finite else {},
        accepts=chosen.accepts,
        origin=f'{origin}.variants["{variant}"].run',
    )


def attribute(text: str) -> Callable[..., Any]:
    """Return the callable that "path/to/file.py:name" or "package.module:name" means.

    Raises NotFound with the reason.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        known = ", ".join((*ADAPTERS, f"{REFERENCE}:VARIANT"))
        message = f"target {text!r}: expected one of {known}, file.py:name or module:name"
        raise NotFound(message)
    module = _module(place)
    value: Any = module
    for part in name.split("."):
        if not _has(value, part):
            near = difflib.get_close_matches(part, dir(value), n=3)
            hint = f"; perhaps {', '.join(near)}" if near else ""
            message = f"target {text!r}: {place} has no {part!r}{hint}"
            raise NotFound(message)
        value = getattr(value, part)
    if not callable(value):
        message = f"target {text!r}: {name} is {type(value).__name__}, expected a callable"
        raise NotFound(message)
    called: Callable[..., Any] = value
    return called


def _has(value: Any, name: str) -> bool:
    """Return whether a thing has an attribute; one that raises when asked has none."""
    try:
        getattr(value, name)
    except Exception:  # noqa: BLE001 - attributes are a stranger's code
        return False
    return True


def _module(place: str) -> ModuleType:
    """Return the module of a path or a dotted name. Raises NotFound with the error that importing it gave."""
    try:
        if place.endswith(".py"):
            return _file(Path(place))
        if "" not in sys.path:
            sys.path.insert(0, "")
        return importlib.import_module(place)
    except (NotFound, KeyboardInterrupt):
        raise
    except BaseException as error:
        message = f"target {place!r} cannot be imported: {type(error).__name__}: {error}"
        raise NotFound(message) from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        message = f"target {str(path)!r}: no such file"
        raise NotFound(message)
    return _loaded(path.absolute(), path.stat().st_mtime_ns)


@functools.cache
def _loaded(path: Path, stamp: int) -> ModuleType:
    """Return the module of a file as it was at a time: one module for all that is asked of it."""
    del stamp
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        message = f"target {str(path)!r}: not a Python file"
        raise NotFound(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _adapter(text: str) -> tuple[ModuleType, str]:
    """Return the adapter's module and the device after the colon.

    Raises NotFound when its framework is not installed or the device not there.
    """
    name, _, device = text.partition(":")
    try:
        module = importlib.import_module(f"d2lref.adapters.{name}")
    except ImportError as error:
        message = f"{text}: {name} is not installed (pip install 'd2lref[{name}]'): {error}"
        raise NotFound(message) from error
    try:
        module.library(device or "cpu")
    except RuntimeError as error:
        message = f"{text}: {error}"
        raise NotFound(message) from error
    return module, device or "cpu"
