"""A correctness oracle for implementations of neural-net layers.

Every tolerance is a theorem, every failure a minimal case with a diagnosis.

    import d2lref
    # my_conv2d(x, weight, bias=None, *, stride, padding, dilation, groups), NumPy in and NumPy out
    report = d2lref.check("conv2d", my_conv2d)
    print(report)

Importing this package loads nothing, not even NumPy; what it needs is loaded when it is used.
"""

import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from d2lref import ops as ops
    from d2lref.oracle import Library, Progress, Report
    from d2lref.oracle.expected import Expected
    from d2lref.rounding import Precision as Precision
    from d2lref.spec import Array, Law, Op, Subject, Trial

__version__ = "0.1.0"


def check(
    subject: "str | Subject",
    implementation: Any,
    *,
    vjp: Callable[..., Any] | None = None,
    precision: "str | Precision" = "float32",
    arrays: Any = "numpy",
    supports: Mapping[str, Any] | None = None,
    convention: str | None = None,
    cases: str | int = "ci",
    workloads: Iterable[Mapping[str, Any]] | None = None,
    seed: int = 0,
    progress: "Callable[[Progress], None] | None" = None,
    on_fail: str = "collect",
) -> "Report":
    """Judge an implementation; return a Report whose `ok` means that laws were executed and none was broken.

    subject: a name (`d2lref list`), an Op or a Distribution. implementation: a callable with its signature, or the name
    of a target ("torch", "torch:cuda", "jax", "d2lref:fft", "some.module:function", "file.py:function"). vjp: vjp(gy,
    *arrays, **options) -> gradients, aligned with the arrays; without it the laws about gradients count as absent.
    precision: a preset or a Precision: the arithmetic that is claimed. arrays: what the callable takes: "numpy",
    "torch", "torch:cuda", "jax" or a pair (to, back). supports: what it can do: option -> False (its default only), a
    value, a tuple of values or a predicate; an optional array -> False (never there) or True (always there);
    "empty_batch": False; "layouts": a tuple of names. convention: whose meaning it follows where frameworks differ
    (`d2lref explain`): "torch" (None), "jax", "flax", "tensorflow", "keras" or "onnx". cases: "quick" (1-2 s), "ci"
    (20-30 s), "deep" (10 min), a count, or "60s". workloads: shapes of your own, such as those that are timed,
    [{"shapes": [...], "options": {...}}, ...], a shape for each array and None for an absent one: answers and gradients
    are compared with the definition's there too, beyond the cases. seed: another seed draws other cases. progress:
    called with a Progress now and then. on_fail: "collect", or "stop" at the first failure.

    Raises ValueError or TypeError, in one line, for arguments that mean nothing; oracle.Interrupted (a
    KeyboardInterrupt with a `report`) on Ctrl-C.
    """
    from d2lref import catalogue, oracle, rounding

    _check_meaning(seed, supports, progress, on_fail)
    op, claimed = _meant(catalogue.subject(subject), convention), rounding.precision(precision)
    found = catalogue.target(implementation, op) if isinstance(implementation, str) else implementation
    place = catalogue.library(arrays)
    judged = _named(oracle.implementation(op, found, vjp=vjp, library=place, supports=supports), convention)
    _handed_over(place, claimed.storage)
    name = precision if isinstance(precision, str) else rounding.spelled(precision)
    rest = (claimed, name, oracle.Budget.of(cases), int(seed), on_fail == "stop", progress)
    return _run(op, workloads, judged, *rest)


def _run(subject: "Subject", workloads: Any, judged: Any, *rest: Any) -> "Report":
    """Return the report of a run on a subject of any kind. Raises ValueError for workloads that do not fit."""
    from d2lref import oracle
    from d2lref.oracle.workloads import forms
    from d2lref.spec import Distribution

    if isinstance(subject, Distribution):
        _expect("workloads", workloads, fits=workloads is None, wanted="None: what is drawn has its own sizes")
        return oracle.draw(oracle.Run(subject, judged, *rest))
    campaign = oracle.Campaign(subject, judged, *rest)
    campaign.workloads = forms(subject, workloads, judged)
    return oracle.run(campaign)


def _meant(subject: "Subject", convention: Any) -> "Subject":
    """Return the subject as a framework means it. Raises ValueError for a convention that does not exist."""
    from d2lref.oracle.conventions import check_convention, under
    from d2lref.spec import Op

    name = check_convention(convention)
    return under(subject, name) if isinstance(subject, Op) else subject


def _named(judged: Any, convention: str | None) -> Any:
    """Return an implementation whose name tells which convention is claimed for it, where that is not torch's."""
    from dataclasses import replace

    return judged if convention in {None, "torch"} else replace(judged, name=f"{judged.name} (convention {convention})")


def _check_meaning(seed: Any, supports: Any, progress: Any, on_fail: Any) -> None:
    """Raise ValueError for arguments of check that mean nothing, whatever the subject is."""
    stops = isinstance(on_fail, str) and on_fail in {"collect", "stop"}
    whole = isinstance(seed, numbers.Integral) and not isinstance(seed, bool)
    _expect("on_fail", on_fail, fits=stops, wanted="'collect' or 'stop'")
    _expect("seed", seed, fits=whole and seed >= 0, wanted="an integer >= 0")
    _expect("supports", supports, fits=supports is None or isinstance(supports, Mapping), wanted="a mapping")
    _expect("progress", progress, fits=progress is None or callable(progress), wanted="a callable")


def _handed_over(library: "Library", storage: str) -> None:
    """Raise TypeError when the array library cannot be handed an array, before any case is drawn.

    Raises ValueError for a storage format that NumPy lacks, in which known mistakes are judged beside.
    """
    import numpy as np

    from d2lref.oracle import NUMPY

    array = np.zeros(1, np.float32)
    NUMPY.to(array, storage)
    try:
        library.to(array, storage)
    except ValueError:
        raise
    except Exception as error:
        message = f"arrays: to(array) raised {type(error).__name__}: {error}, expected an array of {storage}"
        raise TypeError(" ".join(message.split())) from error


def _expect(name: str, value: Any, *, fits: bool, wanted: str) -> None:
    """Raise ValueError for an argument that means nothing."""
    from d2lref.oracle.implementation import shown

    if not fits:
        message = f"{name}: {shown(value)}, expected {wanted}"
        raise ValueError(message)


def laws(subject: "str | Subject", *, convention: str | None = None) -> "tuple[Law, ...] | tuple[Trial, ...]":
    """Return every law that implementations of the subject are held to: the common ones and the subject's own.

    convention: as in `check`; some laws do not hold in every convention.
    """
    from d2lref import catalogue, oracle

    return oracle.held(_meant(catalogue.subject(subject), convention))


def conforms(subject: "str | Subject", **options: Any) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Return a decorator that turns an implementation into a pytest test, one item per law, with the law as its id.

        test_conv2d = d2lref.conforms("conv2d", cases="quick")(my_conv2d)

    options: those of `check`. The implementation runs once; each item then reports its own law.
    """
    from d2lref import catalogue
    from d2lref.oracle.pytest_items import items

    op = catalogue.subject(subject)
    meant = _meant(op, options.get("convention"))
    return lambda implementation: items(meant, lambda: check(op, implementation, **options))


def expected(
    subject: "str | Op", *arrays: "Array", precision: "str | Precision" = "float32", **options: Any
) -> "Expected":
    """Return Expected(value, bound).

    The exact value in float64 and how far a correct implementation of the precision may be from it. Both are about the
    arrays as an implementation receives them: they are first rounded to the storage format of the precision.

    Raises TypeError or ValueError, in one line, for arrays or options that the subject does not take.
    """
    from d2lref import catalogue, rounding
    from d2lref.oracle.expected import expected as exactly

    return exactly(catalogue.op(subject), arrays, options, rounding.precision(precision))


def assert_within(actual: Any, expected: "Expected") -> None:
    """Raise AssertionError, naming the worst element, when `actual` leaves the bound of `expected`.

    What is no array of real numbers leaves it too. Raises TypeError when `expected` is not what `expected()` returned.
    """
    from d2lref.oracle.expected import assert_within as within

    within(actual, expected)


def __getattr__(name: str) -> Any:
    """Load `d2lref.ops` and `d2lref.Precision` when they are first asked for."""
    import importlib

    if name == "ops":
        return importlib.import_module("d2lref.ops")
    if name == "Precision":
        return importlib.import_module("d2lref.rounding").Precision
    message = f"module 'd2lref' has no attribute {name!r}"
    raise AttributeError(message)
