"""What is judged: a callable, the array library it lives in, and what it says it supports."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from d2lref.arrays import to_numpy
from d2lref.rounding import NATIVE
from d2lref.spec import REQUIRED, Array, Case, Form, Op

LAYOUTS = ("fortran", "strided", "negative", "offset", "readonly", "channels_last")


@dataclass(frozen=True, slots=True)
class Library:
    """An array library: `to(array, dtype)` takes a NumPy array there, `back(array)` brings one home.

    layouts: the memory orders (of LAYOUTS) that `to` hands over as they are. preamble, to_text and back_text say the
    same in Python for reproductions, with {} where the array stands.
    """

    name: str
    to: Callable[[np.ndarray, str], Array]
    back: Callable[[Array], np.ndarray] = to_numpy
    layouts: tuple[str, ...] = ()
    preamble: str = ""
    to_text: str = "{}"
    back_text: str = "np.asarray({})"


def _numpy_to(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return the array in the dtype; bfloat16 needs ml_dtypes."""
    return array.astype(numpy_dtype(dtype), copy=False)


def numpy_dtype(name: str) -> Any:
    """Return the NumPy dtype of a storage format. Raises ValueError for bfloat16 when ml_dtypes is not installed."""
    if name in NATIVE:
        return np.dtype(NATIVE[name])
    try:
        import ml_dtypes
    except ImportError:
        message = f"precision: NumPy arrays of {name} need ml_dtypes (pip install ml_dtypes), or arrays='torch'"
        raise ValueError(message) from None
    return np.dtype(getattr(ml_dtypes, name))


NUMPY = Library("numpy", _numpy_to, np.asarray, LAYOUTS)


@dataclass(frozen=True, slots=True)
class Implementation:
    """One implementation of one op.

    forward(*arrays, **options) and vjp(gy, *arrays, **options) have the op's signatures (calling.md); vjp may be
    absent. options: the option names that forward takes, None for all. demanded: those it has no default for, which are
    always passed. required: how many arrays it demands; absent
    ones at the end are None up to there and omitted beyond. room: how many arrays it can be handed, None for any; an
    optional one beyond is unsupported. supports: option name -> False (default only), one value, a
    tuple of values or a predicate of the value; and "empty_batch" (False) and "layouts" (a tuple of names).
    accepts(*shapes, **options) narrows it to some forms. origin and vjp_origin: the Python texts that bind the names
    `implementation` and `vjp`, for reproductions.
    """

    name: str
    forward: Callable[..., Any]
    vjp: Callable[..., Any] | None = None
    library: Library = NUMPY
    options: frozenset[str] | None = None
    demanded: frozenset[str] = frozenset()
    required: int = 0
    supports: Mapping[str, Any] = field(default_factory=dict)
    accepts: Callable[..., bool] | None = None
    origin: str = ""
    vjp_origin: str = ""
    room: int | None = None

    @property
    def layouts(self) -> tuple[str, ...]:
        """Memory orders that are worth drawing."""
        return tuple(
            name for name in self.supports.get("layouts", self.library.layouts) if name in self.library.layouts
        )

    def supported(self, op: Op, form: Form) -> bool:
        """Return whether the form lies in what the implementation says it supports."""
        for name, value in form.options.items():
            default = op.options[name]
            usual = default is not REQUIRED and value == default
            if self.options is not None and name not in self.options and not usual:
                return False
            if name in self.supports and not usual and not _allowed(self.supports[name], value):
                return False
        for place, (operand, shape) in enumerate(zip(op.operands, form.shapes, strict=True)):
            outside = self.room is not None and place >= self.room
            if shape is not None and operand.optional and (outside or self.supports.get(operand.name) is False):
                return False
        batch = next((s for o, s in zip(op.operands, form.shapes, strict=True) if o.batch), None)
        if batch and batch[0] == 0 and self.supports.get("empty_batch") is False:
            return False
        return self.accepts is None or bool(self.accepts(*form.shapes, **form.options))

    def keywords(self, op: Op, options: Mapping[str, Any], left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return the options to pass.

        Without those the callable lacks and without those left out on purpose (at their defaults).
        """
        known = op.options if self.options is None else self.options
        absent = left_out - self.demanded
        return {k: v for k, v in options.items() if k in known and not (k in absent and v == op.options[k])}


def _allowed(support: Any, value: Any) -> bool:
    """Return whether a `supports` entry lets the value through."""
    if support is True or support is False:
        return bool(support)
    if callable(support):
        return bool(support(value))
    return value in support if isinstance(support, tuple) else bool(value == support)


def implementation(
    op: Op, target: Any, *, vjp: Any = None, library: Library = NUMPY, supports: Mapping[str, Any] | None = None
) -> Implementation:
    """Return the Implementation for a callable (or an Implementation, completed with vjp and supports).

    Raises TypeError when the target or vjp cannot be called, ValueError for a `supports` key that means nothing for the
    op.
    """
    _check_supports(op, supports or {})
    if isinstance(target, Implementation):
        return replace(target, vjp=vjp or target.vjp, supports={**target.supports, **(supports or {})})
    for role, value in (("implementation", target), ("vjp", vjp)):
        if not callable(value) and not (role == "vjp" and value is None):
            message = f"{op.name}: {role} is {type(value).__name__}, expected a callable"
            raise TypeError(message)
    names, required = _option_names(op, target), _required(op, target)
    origin, vjp_origin = binding(target, "implementation"), binding(vjp, "vjp") if vjp else ""
    return Implementation(
        readable(target),
        target,
        vjp,
        library,
        names,
        _demanded(op, target),
        required,
        dict(supports or {}),
        None,
        origin,
        vjp_origin,
        _room(op, target),
    )


def _check_supports(op: Op, supports: Mapping[str, Any]) -> None:
    """Refuse keys of `supports` that mean nothing for the op."""
    known = (*op.options, *(o.name for o in op.operands if o.optional), "empty_batch", "layouts")
    for key in supports:
        if key not in known:
            message = f"{op.name}: supports has no key {key!r}, expected one of {', '.join(known)}"
            raise ValueError(message)
    layouts = supports.get("layouts", ())
    if not isinstance(layouts, tuple) or not set(layouts) <= set(LAYOUTS):
        message = f"{op.name}: supports layouts={layouts!r}, expected a tuple of {', '.join(LAYOUTS)}"
        raise ValueError(message)


def _option_names(op: Op, target: Callable[..., Any]) -> frozenset[str] | None:
    """Return the options the callable takes by keyword, or None when it takes any or cannot be asked."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    keyword = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return frozenset(keyword & set(op.options))


def _required(op: Op, target: Callable[..., Any]) -> int:
    """Return how many arrays the callable has no default for; 0 when it cannot be asked."""
    positional = (p for p in _parameters(target) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return sum(p.default is p.empty and p.name not in op.options for p in positional)


def _room(op: Op, target: Callable[..., Any]) -> int | None:
    """Return how many arrays the callable can be handed, None for any number or when it cannot be asked.

    An array that it names out of reach, by keyword only, counts: the call raises, and its author sees why.
    """
    parameters = _parameters(target)
    if not parameters or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    names = {o.name for o in op.operands}
    positional = sum(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in op.options for p in parameters
    )
    return positional + sum(p.kind is p.KEYWORD_ONLY and p.name in names for p in parameters)


def _demanded(op: Op, target: Callable[..., Any]) -> frozenset[str]:
    """Return the options the callable has no default for."""
    return frozenset(p.name for p in _parameters(target) if p.name in op.options and p.default is p.empty)


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return []


def readable(target: Callable[..., Any]) -> str:
    """Return a name a person recognises: module and qualified name."""
    module, name = getattr(target, "__module__", None) or "", getattr(target, "__qualname__", type(target).__name__)
    return name if module in {"", "__main__"} else f"{module}.{name}"


def binding(target: Callable[..., Any], to: str) -> str:
    """Return the import that binds a callable to the name `to`.

    "" when nothing imports it (a lambda, a local function, a script).
    """
    module, name = getattr(target, "__module__", None) or "", getattr(target, "__qualname__", "")
    if not name or module in {"", "__main__"} or "<" in name:
        return ""
    return f"from {module} import {name.split('.')[0]}\n\n{to} = {name}"


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Return an equal array in another memory order: see LAYOUTS; arrays with too few axes come back as a copy."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "channels_last" and array.ndim > 2:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)
    if layout == "readonly":
        array = array.copy()
        array.flags.writeable = False
        return array
    if layout == "offset":
        room = np.zeros(array.size + 1, array.dtype)
        room[1:] = array.ravel()
        return room[1:].reshape(array.shape)
    if layout in {"strided", "negative"} and array.ndim:
        step = 2 if layout == "strided" else -1
        room = np.zeros((*array.shape[:-1], array.shape[-1] * abs(step)), array.dtype)
        view = room[..., ::step]
        view[...] = array
        return view
    return array.copy()


def as_form(case: Case) -> Form:
    """Return the shapes and options of a case."""
    return Form(tuple(None if a is None else a.shape for a in case.arrays), case.options)
