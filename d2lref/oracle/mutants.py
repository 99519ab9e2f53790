"""Wrong implementations made by rule: the text of a chapter with one place of it changed.

A suite of tests is as good as the small changes it notices (DeMillo, Lipton and Sayward 1978, Hints on test data
selection, Computer 11(4); the rules are those of Jia and Harman 2011, An analysis and survey of the development of
mutation testing, IEEE Trans. Softw. Eng. 37(5), as far as they mean something here). The functions changed are those
that the definition and the vjp of an op reach inside their own package; not the shape rule and the bounds, by which
mutants are judged, nor the checks that refuse bad input, of which the rejections speak.
"""

import ast
import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import FunctionType, ModuleType
from typing import Any

from d2lref.spec import Op

Function = ast.FunctionDef


@dataclass(frozen=True, slots=True)
class Mutant:
    """A definition or a vjp (None: the right one) with one place changed.

    place: module and function. change: the line as it was and as it is, in Python.
    """

    place: str
    change: str
    forward: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None

    def __str__(self) -> str:
        """Return where and what, in one line."""
        return f"{self.place}: {self.change}"


def mutants(op: Op) -> Iterator[Mutant]:
    """Yield every mutant of an op, in the order of the text."""
    ends = {"forward": _plain(op.definition), "vjp": _plain(op.vjp)}
    reached = {end: _reached(function) for end, function in ends.items()}
    rule = _place(_plain(op.shape))
    for place in dict.fromkeys([*reached["forward"], *reached["vjp"]]):
        if place == rule:
            continue
        touched = [end for end, places in reached.items() if place in places]
        for tree, change in _changed(place):
            modules = _rebuilt({ends[end].__module__ for end in touched}, place.module, tree)
            made = {end: _rebound(getattr(op, NAMES[end]), modules) for end in touched}
            yield Mutant(str(place), change, **made)


NAMES = {"forward": "definition", "vjp": "vjp"}


class Unchangeable(ValueError):
    """The definition, vjp or shape rule of an op is no function of a module, so that its text has no mutants."""


def _plain(function: Callable[..., Any]) -> FunctionType:
    """Return the function under partial applications. Raises Unchangeable for anything but a function of a module."""
    while isinstance(function, partial):
        function = function.func
    if not isinstance(function, FunctionType):
        raise Unchangeable(
            f"{getattr(function, '__qualname__', function)} is no function of a module: it has no mutants"
        )
    return function


def _rebound(function: Callable[..., Any], modules: Mapping[str, ModuleType]) -> Callable[..., Any]:
    """Return the same function of the rebuilt modules, with the same arguments bound."""
    if isinstance(function, partial):
        return partial(_rebound(function.func, modules), *function.args, **function.keywords)
    found: Callable[..., Any] = getattr(modules[function.__module__], function.__name__)
    return found


# What is reached


@dataclass(frozen=True, slots=True)
class Place:
    """A function at the top of a module, or a method of a class there ("Class.method")."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the module without what comes before its package's name, and the function."""
        return f"{'.'.join(self.module.split('.')[2:])}.{self.name}"


def _place(function: FunctionType) -> Place:
    return Place(function.__module__, function.__name__)


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


@cache
def _functions(module: str) -> Mapping[str, Function]:
    """Return the functions of a module and the methods of its classes by name."""
    found = {}
    for node in _tree(module).body:
        if isinstance(node, Function):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}": each for each in node.body if isinstance(each, Function)}
    return found


@cache
def _imports(module: str) -> Mapping[str, Place]:
    """Return what a module imports from its own package: name -> where it stands; a module stands for itself."""
    package, found = sys.modules[module].__package__ or "", {}
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module and (node.module + ".").startswith(package + "."):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                whole = inner in sys.modules
                found[alias.asname or alias.name] = Place(inner, "") if whole else Place(node.module, alias.name)
    return {name: place for name, place in found.items() if place.module != package}


def _reached(function: FunctionType) -> dict[Place, None]:
    """Return every place that the function reaches in its package, itself first."""
    found: dict[Place, None] = {}
    todo = [_place(function)]
    while todo:
        place = todo.pop(0)
        node = _functions(place.module).get(place.name)
        if node is None or place in found:
            continue
        found[place] = None
        todo += _used(place.module, node)
    return found


def _used(module: str, node: Function) -> Iterator[Place]:
    """Yield the places whose names a function speaks of; of a class, all its methods."""
    imports = _imports(module)
    for part in ast.walk(node):
        place = None
        if isinstance(part, ast.Name):
            place = imports.get(part.id, Place(module, part.id))
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in imports:
            place = Place(imports[part.value.id].module, part.attr)
        if place is not None:
            yield place
            yield from (
                Place(place.module, name) for name in _functions(place.module) if name.startswith(f"{place.name}.")
            )


# What is changed


def _changed(place: Place) -> Iterator[tuple[ast.Module, str]]:
    """Yield the module's tree with one place of the function changed, and the change in words."""
    function = _functions(place.module)[place.name]
    if not any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(function)):
        return  # it only checks
    nodes = list(ast.walk(_tree(place.module)))
    positions = {id(node): number for number, node in enumerate(nodes)}
    for statement, node in _open(function.body):
        for new in _replacements(node):
            tree = copy.deepcopy(_tree(place.module))
            other = list(ast.walk(tree))
            before, inside = ast.unparse(statement), other[positions[id(statement)]]
            _replace(tree, other[positions[id(node)]], new)
            after = ast.unparse(inside) if node is not statement else ast.unparse(new)
            yield ast.fix_missing_locations(tree), _shown(before, after)


def _open(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Yield (statement, node) for the nodes that may be changed: not texts, annotations and checks of the input."""
    for statement in body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Raise):
            yield from _open(statement.orelse)
            continue
        if isinstance(statement, ast.Raise | ast.Import | ast.ImportFrom | ast.Assert) or _only_checks(statement):
            continue
        if isinstance(statement, Function | ast.If | ast.For | ast.While | ast.With):
            heads = [] if isinstance(statement, Function) else _heads(statement)
            yield from ((statement, node) for head in heads for node in ast.walk(head))
            yield from _open([*statement.body, *getattr(statement, "orelse", [])])
            continue
        yield statement, statement
        skipped = {id(n) for part in ast.walk(statement) for n in _closed(part)}
        yield from ((statement, n) for n in ast.walk(statement) if n is not statement and id(n) not in skipped)


def _only_checks(statement: ast.stmt) -> bool:
    """Return whether the statement calls a function for nothing but its exceptions."""
    called = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(called, ast.Call) and isinstance(called.func, ast.Name)


def _heads(statement: ast.stmt) -> list[ast.AST]:
    """Return what a compound statement evaluates itself."""
    if isinstance(statement, ast.If | ast.While):
        return [statement.test]
    return [statement.iter] if isinstance(statement, ast.For) else []


def _closed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes under a node that change no answer: texts, annotations, idle keywords, what is said of input."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg in IDLE):
        yield from ast.walk(node)
    if isinstance(node, ast.Call) and _speaks(node):
        yield node
        yield from (each for each in node.args if isinstance(each, ast.Constant))
    if isinstance(node, ast.AnnAssign):
        yield from ast.walk(node.annotation)


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    """Put a node in the place of another."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if each is old else each for each in value]


def _shown(before: str, after: str) -> str:
    """Return the first line that differs, as it was and as it is."""
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    was, now = next(((b, a) for b, a in pairs if a != b), (before, after))
    return f"{was.strip()} -> {now.strip()}"


# The rules: node -> the nodes that may stand in its place

OTHER: Mapping[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
TWINS = {
    one: two
    for pair in (
        ("max", "min"),
        ("maximum", "minimum"),
        ("argmax", "argmin"),
        ("any", "all"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("floor", "ceil"),
        ("sum", "mean"),
        ("cumulative_sum", "sum"),
    )
    for one, two in (pair, pair[::-1])
}
DROPPED = ("abs", "sqrt", "exp", "log", "square", "flip")
SYMMETRIC = ("namespace", "max", "min", "maximum", "minimum", "add", "multiply", "logaddexp")
IDLE = ("strict", "device")  # keywords that change no answer here


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    for rule in RULES:
        yield from rule(node)


def _operators(node: ast.AST) -> Iterator[ast.AST]:
    """Exchange < and <=, + and -, and the like; round a quotient up."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OTHER:
        yield ast.Compare(node.left, [OTHER[type(node.ops[0])]()], node.comparators)
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OTHER:
        yield _with(node, op=OTHER[type(node.op)]())
    if isinstance(node, ast.BoolOp):
        yield _with(node, op=OTHER[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        down = ast.BinOp(ast.UnaryOp(ast.USub(), node.left), ast.FloorDiv(), node.right)
        yield ast.UnaryOp(ast.USub(), down)


def _terms(node: ast.AST) -> Iterator[ast.AST]:
    """Drop a term, a factor, a sign, a condition, a keyword, or an elementary function."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        yield node.left
        if not isinstance(node.op, ast.Div):
            yield node.right
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield node.operand
    if isinstance(node, ast.BoolOp):
        rest = ([v for v in node.values if v is not each] for each in node.values)
        yield from (_with(node, values=values) if len(values) > 1 else values[0] for values in rest)
    if isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    if isinstance(node, ast.comprehension) and node.ifs:
        yield _with(node, ifs=[])
    if isinstance(node, ast.Call):
        yield from (
            _with(node, keywords=[k for k in node.keywords if k is not each])
            for each in node.keywords
            if each.arg not in IDLE
        )
        if len(node.args) == 1 and _called(node) in DROPPED:
            yield node.args[0]


def _numbers(node: ast.AST) -> Iterator[ast.AST]:
    """Change a number by one, double a fraction, exchange True and False."""
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
    elif isinstance(node.value, float):
        yield ast.Constant(2 * node.value)


def _names(node: ast.AST) -> Iterator[ast.AST]:
    """Call the twin of a function, or the function with two arguments exchanged; return two values exchanged."""
    if isinstance(node, ast.Call):
        if (name := _called(node)) in TWINS:
            twin = TWINS[name]
            func = ast.Name(twin, ast.Load()) if isinstance(node.func, ast.Name) else _with(node.func, attr=twin)
            yield _with(node, func=func)
        for place in range(len(node.args) - 1 if name not in SYMMETRIC else 0):
            yield _with(node, args=_exchanged(node.args, place))
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        for place in range(len(node.value.elts) - 1):
            yield ast.Return(ast.Tuple(_exchanged(node.value.elts, place), ast.Load()))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Overwrite instead of adding to what is there."""
    if isinstance(node, ast.AugAssign):
        yield ast.Assign([copy.deepcopy(node.target)], node.value)


RULES = (_operators, _terms, _numbers, _names, _statements)


def _with(node: Any, **fields: Any) -> Any:
    """Return a shallow copy of a node with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def _called(node: ast.Call) -> str:
    """Return the name of what is called, without where it comes from."""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _speaks(node: ast.Call) -> bool:
    """Return whether a call is handed words for its messages."""
    return any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in node.args)


def _exchanged(items: list[ast.expr], place: int) -> list[ast.expr]:
    return [*items[:place], items[place + 1], items[place], *items[place + 2 :]]


# Modules with the change


def _rebuilt(wanted: set[str], changed: str, tree: ast.Module) -> Mapping[str, ModuleType]:
    """Return the wanted modules as they are when the module `changed` has that tree.

    Modules of the package that lie between them are executed anew as well; nothing stays in sys.modules.
    """
    made: dict[str, ModuleType] = {}
    order = [changed, *_between(wanted, changed)]
    for name in order:
        made[name] = _executed(name, tree if name == changed else _tree(name), made)
    return {**{name: sys.modules[name] for name in wanted}, **made}


def _between(wanted: set[str], changed: str) -> list[str]:
    """Return the modules that depend on the changed one and that the wanted ones depend on, in order of import."""
    found: dict[str, None] = {}

    def depends(name: str) -> bool:
        inner = {place.module for place in _imports(name).values()} - {name}
        leads = [depends(each) if each != changed else True for each in sorted(inner)]
        if any(leads) and name != changed:
            found[name] = None
        return any(leads)

    for name in sorted(wanted):
        depends(name)
    return list(found)


def _executed(name: str, tree: ast.Module, made: Mapping[str, ModuleType]) -> ModuleType:
    """Return a module of the tree that sees the modules made so far instead of those imported."""
    real = sys.modules[name]
    module = ModuleType(name)
    module.__dict__.update({k: v for k, v in vars(real).items() if k.startswith("__") and k != "__builtins__"})
    places = {each: (sys.modules[each.rpartition(".")[0]], each.rpartition(".")[2]) for each in made}
    before = {each: (sys.modules[each], getattr(*place, None)) for each, place in places.items()}
    try:
        for each, other in made.items():
            sys.modules[each] = other
            setattr(*places[each], other)
        exec(compile(tree, f"<{name} with a change>", "exec"), module.__dict__)  # noqa: S102 - our own text
    finally:
        for each, (other, attribute) in before.items():
            sys.modules[each] = other
            setattr(*places[each], attribute)
    return module
