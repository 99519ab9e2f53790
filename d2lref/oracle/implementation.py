"""What is judged: a callable, the array library it lives in, and what it says it supports."""

import inspect
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from d2lref.arrays import to_numpy
from d2lref.oracle.sources import seeded
from d2lref.oracle.values import indices
from d2lref.rounding import NATIVE, Precision, using
from d2lref.spec import REQUIRED, Array, Case, Form, Op, Operand, Subject

DRAWN = 200  # forms drawn to see which values an option has
SHOWN = 60  # characters of a value in a message


# Memory orders: each function stands by itself, because reproductions print its text


def fortran(a: np.ndarray) -> np.ndarray:
    """Return an equal array with the first axis innermost in memory."""
    return np.asfortranarray(a)


def strided(a: np.ndarray) -> np.ndarray:
    """Return an equal array, every other entry of a larger one along the last axis."""
    room = np.zeros((*a.shape[:-1], 2 * a.shape[-1]) if a.ndim else (), a.dtype)
    view = room[..., ::2] if a.ndim else room
    view[...] = a
    return view


def negative(a: np.ndarray) -> np.ndarray:
    """Return an equal array whose last axis runs backwards in memory."""
    return a[..., ::-1].copy()[..., ::-1] if a.ndim else a.copy()


def offset(a: np.ndarray) -> np.ndarray:
    """Return an equal array that begins one entry into its buffer."""
    room = np.zeros(a.size + 1, a.dtype)
    room[1:] = a.ravel()
    return room[1:].reshape(a.shape)


def readonly(a: np.ndarray) -> np.ndarray:
    """Return an equal array that must not be written."""
    a = a.copy()
    a.flags.writeable = False
    return a


def channels_last(a: np.ndarray) -> np.ndarray:
    """Return an equal array with axis 1 innermost in memory, when it has more than two axes."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if a.ndim > 2 else a.copy()


ORDERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    f.__name__: f for f in (fortran, strided, negative, offset, readonly, channels_last)
}
LAYOUTS = tuple(ORDERS)


def lay_out(array: np.ndarray, layout: str) -> np.ndarray:
    """Return an equal array in another memory order: see ORDERS."""
    return ORDERS[layout](array)


# What is judged


def global_state() -> tuple[Any, ...]:
    """Return what the global generators of Python and NumPy remember; it stands by itself, as memory orders do."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - it looks at what nobody should use
    return random.getstate(), kind, np.asarray(keys).tobytes(), *rest


@dataclass(frozen=True, slots=True)
class Library:
    """An array library: `to(array, dtype)` takes a NumPy array there, `back(array)` brings one home.

    layouts: the memory orders (of LAYOUTS) that `to` hands over as they are; bears(array) says of one array whether it
    is handed over in its own. preamble, to_text and back_text say the same in Python for reproductions, with {} where
    the array stands and {dtype} for the storage dtype. state() is what its global generators remember, to be compared.
    """

    name: str
    to: Callable[[np.ndarray, str], Array]
    back: Callable[[Array], np.ndarray] = to_numpy
    layouts: tuple[str, ...] = ()
    preamble: str = ""
    to_text: str = "{}"
    back_text: str = "np.asarray({})"
    bears: Callable[[np.ndarray], bool] = lambda array: True
    state: Callable[[], Any] = global_state


def _numpy_to(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return the array in the dtype; bfloat16 needs ml_dtypes."""
    return array.astype(numpy_dtype(dtype), copy=False)


def numpy_dtype(name: str) -> Any:
    """Return the NumPy dtype of a storage format, or of indices.

    Raises ValueError for bfloat16 when ml_dtypes is not installed.
    """
    if name in NATIVE or name == "int64":
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        message = f"precision: {name} needs ml_dtypes, for NumPy lacks it (pip install ml_dtypes)"
        raise ValueError(message) from None
    return np.dtype(getattr(ml_dtypes, name))


NUMPY = Library("numpy", _numpy_to, np.asarray, LAYOUTS)


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function can be handed.

    options: the option names that it takes, None for all. demanded: those it has no default for, which are always
    passed. required: how many arrays it demands; absent ones at the end are None up to there and omitted beyond. room:
    how many arrays it can be handed, None for any; an optional one beyond is unsupported.
    """

    options: frozenset[str] | None = None
    demanded: frozenset[str] = frozenset()
    required: int = 0
    room: int | None = None


@dataclass(frozen=True, slots=True)
class Implementation:
    """One implementation of one op.

    forward(*arrays, **options) and vjp(gy, *arrays, **options) have the op's signatures (calling.md); vjp may be
    absent. takes and vjp_takes: what each can be handed beside gy (vjp_takes None: what forward takes). supports: an
    option's name -> False (default only), one value, a tuple of values or a predicate of the value; the name of an
    optional array -> False (never there) or True (always there); that of an array of indices -> "integers" or "reals",
    where it may hold either; "empty_batch" and "nonfinite" (False) and "layouts" (a
    tuple).
    accepts(*shapes, **options) narrows it to some forms. algorithm: the class of algorithms (`rounding.using`) that a
    report claims for it; claims: a storage format -> the fields of Precision that are claimed there as well. `check`
    claims what its caller says. forms: about how many forms it is asked about, each with many values, where a new one
    costs far more than a call (a compiler); None: a new one for every case. origin and vjp_origin: the Python texts
    that bind the names `implementation` and `vjp`, for reproductions.
    """

    name: str
    forward: Callable[..., Any]
    vjp: Callable[..., Any] | None = None
    library: Library = NUMPY
    takes: Signature = Signature()
    vjp_takes: Signature | None = None
    supports: Mapping[str, Any] = field(default_factory=dict)
    accepts: Callable[..., bool] | None = None
    origin: str = ""
    vjp_origin: str = ""
    algorithm: str = "any-order"
    forms: int | None = None
    claims: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def claim(self, storage: str) -> Precision:
        """Return the arithmetic that it claims in a storage format."""
        return replace(using(self.algorithm, storage), **self.claims.get(storage, {}))

    @property
    def options(self) -> frozenset[str] | None:
        """The option names that forward takes, None for all."""
        return self.takes.options

    @property
    def layouts(self) -> tuple[str, ...]:
        """Memory orders that are worth drawing."""
        return tuple(
            name for name in self.supports.get("layouts", self.library.layouts) if name in self.library.layouts
        )

    def signature(self, *, vjp: bool = False) -> Signature:
        """Return what forward, or the vjp, can be handed."""
        return self.vjp_takes if vjp and self.vjp_takes is not None else self.takes

    def supported(self, op: Subject, form: Form) -> bool:
        """Return whether the form lies in what the implementation says it supports."""
        if self.outside(op, form.shapes, form.options):
            return False
        batch = next((s for o, s in zip(op.operands, form.shapes, strict=True) if o.batch), None)
        if batch and batch[0] == 0 and self.supports.get("empty_batch") is False:
            return False
        return self.accepts is None or bool(self.accepts(*form.shapes, **form.options))

    def outside(self, op: Subject, arrays: Sequence[Any], options: Mapping[str, Any], *, vjp: bool = False) -> str:
        """Return what of a call lies outside what is supported, "" when nothing does.

        arrays: the arrays, or only their shapes, with None for each absent one.
        """
        takes = self.signature(vjp=vjp)
        for name, value in options.items():
            default = op.options[name]
            if default is not REQUIRED and value == default:
                continue
            lacks = takes.options is not None and name not in takes.options
            if lacks or (name in self.supports and not _allowed(self.supports[name], value)):
                return f"{name}={value!r}"
        for place, (operand, array) in enumerate(zip(op.operands, arrays, strict=True)):
            always = self.supports.get(operand.name) if operand.optional else None
            beyond = operand.optional and takes.room is not None and place >= takes.room
            if (array is not None and (beyond or always is False)) or (array is None and always is True):
                return f"{'with' if array is not None else 'without'} {operand.name}"
        return self._other_numbers(op, arrays, options)

    def _other_numbers(self, op: Subject, arrays: Sequence[Any], options: Mapping[str, Any]) -> str:
        """Return which array holds integers where only reals are supported, or the other way about, "" for none."""
        told = {place: self.supports[o.name] for place, o in enumerate(op.operands) if _chooses(o, self.supports)}
        if not told or not isinstance(op, Op):
            return ""
        found = indices(op, [getattr(a, "shape", a) for a in arrays], options)
        kinds = {place: "reals" if found[place] is None else "integers" for place in told}
        wrong = (f"{op.operands[place].name} of {kind}" for place, kind in kinds.items() if told[place] != kind)
        return next(wrong, "")

    def keywords(
        self, op: Subject, options: Mapping[str, Any], left_out: frozenset[str] = frozenset(), *, vjp: bool = False
    ) -> dict[str, Any]:
        """Return the options to pass.

        Without those the function lacks and without those left out on purpose (at their defaults).
        """
        takes = self.signature(vjp=vjp)
        known = op.options if takes.options is None else takes.options
        absent = left_out - takes.demanded
        return {k: v for k, v in options.items() if k in known and not (k in absent and v == op.options[k])}


def _chooses(operand: Operand, supports: Mapping[str, Any]) -> bool:
    """Return whether `supports` says which of integers and reals an array holds."""
    return operand.indices is not None and isinstance(supports.get(operand.name), str)


def _allowed(support: Any, value: Any) -> bool:
    """Return whether a `supports` entry lets the value through."""
    if support is True or support is False:
        return bool(support)
    if callable(support):
        return _asked(support, value)
    return value in support if isinstance(support, tuple) else bool(value == support)


def _asked(predicate: Callable[[Any], Any], value: Any) -> bool:
    """Return what a predicate says of a value. Raises ValueError, in one line, when it raises."""
    try:
        return bool(predicate(value))
    except Exception as error:
        message = f"supports: a predicate raised {type(error).__name__} for {shown(value)}, expected a truth value"
        raise ValueError(message) from error


def implementation(
    op: Subject, target: Any, *, vjp: Any = None, library: Library = NUMPY, supports: Mapping[str, Any] | None = None
) -> Implementation:
    """Return the Implementation for a callable (or an Implementation, completed with vjp and supports).

    Raises TypeError when the target or vjp cannot be called, the vjp also when it takes no option that every call
    passes; ValueError for a `supports` key that means nothing for the op.
    """
    supports = {} if supports is None else dict(supports)
    check_supports(op, supports)
    _check_callable(op, "implementation", target.forward if isinstance(target, Implementation) else target)
    if vjp is not None:
        _check_callable(op, "vjp", vjp)
    if not isinstance(target, Implementation):
        origin = binding(target, "implementation")
        target = Implementation(readable(target), target, None, library, signature(op, target), origin=origin)
    if vjp is not None:
        takes = signature(op, vjp, ahead=1)
        _check_required(op, takes)
        target = replace(target, vjp=vjp, vjp_takes=takes, vjp_origin=binding(vjp, "vjp"))
    return replace(target, supports={**target.supports, **supports})


def _check_callable(op: Subject, role: str, value: Any) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        message = f"{op.name}: {role} is {type(value).__name__}, expected a callable"
        raise TypeError(message)


def _check_required(op: Subject, takes: Signature) -> None:
    """Refuse a vjp that could not be called once: the laws about gradients would be silent."""
    lacking = [
        k for k, v in op.options.items() if v is REQUIRED and takes.options is not None and k not in takes.options
    ]
    if lacking:
        message = f"{op.name}: vjp takes no {', '.join(lacking)}, which every call passes"
        raise TypeError(message)


# What it says it supports


def check_supports(op: Subject, supports: Mapping[str, Any]) -> None:
    """Refuse entries of `supports` that mean nothing for the op."""
    optional = [o.name for o in op.operands if o.optional]
    integers = [o.name for o in op.operands if o.indices]
    known = (
        *op.options,
        *optional,
        *integers,
        *(("empty_batch", "nonfinite", "layouts") if isinstance(op, Op) else ()),
    )
    for key, value in supports.items():
        if key not in known:
            message = f"{op.name}: supports has no key {shown(key)}, expected one of {', '.join(known)}"
        elif key == "layouts":
            message = _layouts_message(op, value)
        elif key in op.options:
            message = _values_message(op, key, value)
        elif key in integers and key not in optional:
            fits = value in ("integers", "reals")
            message = "" if fits else f"{op.name}: supports {key}={shown(value)}, expected 'integers' or 'reals'"
        else:
            what = "False (never there) or True (always there)" if key in optional else "False or True"
            message = "" if isinstance(value, bool) else f"{op.name}: supports {key}={shown(value)}, expected {what}"
        if message:
            raise ValueError(message)


def _layouts_message(op: Subject, value: Any) -> str:
    """Return what is wrong with a `layouts` entry, "" when nothing is."""
    fits = isinstance(value, tuple) and all(isinstance(v, str) and v in LAYOUTS for v in value)
    return "" if fits else f"{op.name}: supports layouts={shown(value)}, expected a tuple of {', '.join(LAYOUTS)}"


def _values_message(op: Subject, name: str, value: Any) -> str:
    """Return what is wrong with an option's entry, "" when some value of the option could match it."""
    kinds = _kinds(op, name)
    if isinstance(value, bool) or callable(value) or _fit(value if isinstance(value, tuple) else (value,), kinds):
        return ""
    words = " or ".join(sorted({"None" if k is type(None) else k.__name__ for k in kinds}))
    hint = f"; {tuple(value)!r} would fit" if isinstance(value, list) and _fit(value, kinds) else ""
    expected = f"False (its default only), a value ({words}), a tuple of values, or a predicate of the value{hint}"
    return f"{op.name}: supports {name}={shown(value)}, expected {expected}"


def _fit(values: Sequence[Any], kinds: tuple[type, ...]) -> bool:
    """Return whether there are values, each of one of the types."""
    return bool(values) and all(isinstance(v, kinds) for v in values)


def _kinds(op: Subject, name: str) -> tuple[type, ...]:
    """Return the types that the values of an option have: its default, those of the gallery, and some drawn ones."""
    drawn = (op.cases(seeded(number)) for number in range(DRAWN))
    values = (form.options[name] for form in (*op.gallery, *drawn))
    found = {type(v) for v in (op.options[name], *values) if v is not REQUIRED}
    return tuple(found | ({int} if float in found else set()))


def shown(value: Any) -> str:
    """Return the value as Python writes it, in one line and cut where it is long; its type where that fails."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 - a repr is a stranger's code
        return type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# What it can be handed


def signature(op: Subject, function: Callable[..., Any], ahead: int = 0) -> Signature:
    """Return what a function can be handed, without the `ahead` arguments that stand before the arrays."""
    parameters = _parameters(function, ahead)
    if parameters is None:
        return Signature()
    demanded = frozenset(p.name for p in parameters if p.name in op.options and p.default is p.empty)
    return Signature(_option_names(op, parameters), demanded, _required(op, parameters), _room(op, parameters))


def _parameters(function: Callable[..., Any], ahead: int) -> list[inspect.Parameter] | None:
    """Return the parameters behind the first ones, None for a callable that cannot be asked."""
    try:
        every = list(inspect.signature(function).parameters.values())
    except Exception:  # noqa: BLE001 - it reads attributes, which are a stranger's code
        return None
    first = (p for p in every if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    taken = [p for p, _ in zip(first, range(ahead), strict=False)]
    return [p for p in every if p not in taken]


def _option_names(op: Subject, parameters: list[inspect.Parameter]) -> frozenset[str] | None:
    """Return the options taken by keyword, or None when any is."""
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    keyword = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    return frozenset(keyword & set(op.options))


def _required(op: Subject, parameters: list[inspect.Parameter]) -> int:
    """Return how many arrays have no default."""
    positional = (p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return sum(p.default is p.empty and p.name not in op.options for p in positional)


def _room(op: Subject, parameters: list[inspect.Parameter]) -> int | None:
    """Return how many arrays can be handed over, None for any number.

    An array that is named out of reach, by keyword only, counts: the call raises, and its author sees why.
    """
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    names = {o.name for o in op.operands}
    positional = sum(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in op.options for p in parameters
    )
    return positional + sum(p.kind is p.KEYWORD_ONLY and p.name in names for p in parameters)


# How it is called in a text


def _named(target: Callable[..., Any]) -> tuple[str, str]:
    """Return the module and the qualified name of a callable, "" for each that it does not tell."""
    try:
        module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    except Exception:  # noqa: BLE001 - attributes are a stranger's code
        return "", ""
    return (module if isinstance(module, str) else ""), (name if isinstance(name, str) else "")


def readable(target: Callable[..., Any]) -> str:
    """Return a name a person recognises: module and qualified name."""
    module, name = _named(target)
    name = name or type(target).__name__
    return name if module in {"", "__main__"} else f"{module}.{name}"


def binding(target: Callable[..., Any], to: str) -> str:
    """Return the import that binds a callable to the name `to`.

    "" when nothing imports it (a lambda, a local function, a bound method, a script).
    """
    module, name = _named(target)
    space = _space(target, module, name) if name and module not in {"", "__main__"} else None
    if space is None:
        return ""
    bound = f"{_path(module, space)}from {module} import {name.split('.')[0]}"
    return bound if name == to else f"{bound}\n\n{to} = {name}"


def _space(target: Callable[..., Any], module: str, name: str) -> Mapping[str, Any] | None:
    """Return the names of the module in which a callable stands under its name, None when there is none.

    A file that was loaded by its path need not be the module that Python knows by that name.
    """
    first, *rest = name.split(".")
    for space in (getattr(sys.modules.get(module), "__dict__", {}), getattr(target, "__globals__", {})):
        try:
            if space["__name__"] == module and reduce(getattr, rest, space[first]) is target:
                return dict(space)
        except Exception:  # noqa: BLE001, S112 - attributes are a stranger's code
            continue
    return None


def _path(module: str, space: Mapping[str, Any]) -> str:
    """Return the lines that make a module importable which was loaded from a file outside the import path."""
    file = Path(space.get("__file__") or "")
    folder = str(file.absolute().parent)
    if file.stem != module or folder in {str(Path(place).absolute()) for place in sys.path}:
        return ""
    return f"import sys\n\nsys.path.insert(0, {folder!r})\n"


def as_form(case: Case) -> Form:
    """Return the shapes and options of a case."""
    return Form(tuple(None if a is None else a.shape for a in case.arrays), case.options)
