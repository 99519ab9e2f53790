"""The adapter for JAX: names and options mean the same there, and its texts stand by themselves.

Each case that is compiled takes a tenth of a second and more, so that each op is asked about one.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref import catalogue
from d2lref.oracle import Caller, Implementation, hold
from d2lref.oracle.common import common_laws
from d2lref.oracle.sources import seeded
from d2lref.oracle.values import fill
from d2lref.rounding import using
from d2lref.spec import Case, Form, Op
from properties.worlds import OPS, TEXTS, ours

jax = pytest.importorskip("jax", reason="JAX is the stranger here")

from d2lref.adapters.jax import implementation, library  # noqa: E402 - only where there is JAX

pytestmark = pytest.mark.once

JUDGED = tuple((op, found) for op in OPS if (found := implementation(op.name)) is not None)


def simple(op: Op, judged: Implementation, storage: str = "float32") -> Case:
    """Return a case of small integers whose form is supported and has other options than the usual, if there is one."""
    forms = [*op.gallery, *(op.cases(seeded(number)) for number in range(200))]
    supported = [form for form in forms if judged.supported(op, form) and size(form) and _derived(judged, form)]
    unusual = [form for form in supported if all(value != op.options[name] for name, value in _taken(judged, form))]
    return fill(op, min(unusual or supported, key=size), "normal", 1, storage)


def size(form: Form) -> int:
    """Return how many numbers the form has, 0 where an axis is empty."""
    return int(np.prod([np.prod(shape) for shape in form.shapes if shape is not None]))


def _taken(judged: Implementation, form: Form) -> list[tuple[str, Any]]:
    takes = judged.signature(vjp=True).options
    return [(name, value) for name, value in form.options.items() if takes is None or name in takes]


def _derived(judged: Implementation, form: Form) -> bool:
    """Return whether the gradient is supported too."""
    return "dilation" in dict(_taken(judged, form)) or form.options.get("dilation", 1) == 1


@pytest.mark.parametrize(
    ("op", "judged"), [pair for pair in JUDGED if pair[0] in TEXTS], ids=[op.name for op, _ in JUDGED if op in TEXTS]
)
def test_answers_and_gradients_are_the_definitions(op: Op, judged: Implementation) -> None:
    """Of one case, in the dtype and shape of the rule, and nothing that was handed over changes."""
    case = simple(op, judged)
    f = Caller(op, judged, using("flushed"))
    laws = [law for law in common_laws(op)[:4] if law.when(case)]
    assert len(laws) == 4
    for law in laws:
        assert hold(law, f, case).status in {"pass", "undecidable"}, law.says


@pytest.mark.parametrize("storage", ["float64", "float32", "float16", "bfloat16"])
def test_arrays_go_there_and_back_in_every_format(storage: str) -> None:
    place = library()
    there = place.to(np.asarray([[1.5, -0.0], [np.inf, np.nan]]), storage)
    assert there.dtype == storage
    back = place.back(there)
    np.testing.assert_array_equal(back, [[1.5, 0.0], [np.inf, np.nan]])
    assert np.signbit(back[0, 1])
    assert not np.shares_memory(back, place.back(there))


def test_integers_stay_integers() -> None:
    there = library().to(np.asarray([3, -1]), "int64")
    assert there.dtype == "int64"
    assert library().back(there).tolist() == [3, -1]


def test_a_device_that_is_not_there_is_one_line() -> None:
    with pytest.raises(catalogue.NotFound, match=r"^jax:moon: [^\n]+"):
        catalogue.library("jax:moon")


@pytest.mark.parametrize("name", ["linear", "softmax", "flatten"])
def test_definitions_run_on_its_arrays(name: str) -> None:
    op = catalogue.op(name)
    judged = replace(ours(op, "definition", library()), supports={})
    case = simple(op, judged)
    f = Caller(op, judged, using("flushed"))
    assert hold(common_laws(op)[0], f, case).status == "pass"
    assert isinstance(
        op(*(library().to(a, "float32") for a in case.arrays if a is not None), **case.options), jax.Array
    )


@pytest.mark.parametrize("name", ["conv1d", "gelu", "relu", "batch_norm"])
def test_what_it_is_called_with_is_bound_without_this_package(name: str) -> None:
    op, judged = catalogue.op(name), implementation(name)
    assert judged is not None
    assert judged.vjp is not None
    case, place = simple(op, judged), judged.library
    arrays = [place.to(a, "float32") for a in case.arrays if a is not None]
    sent = tuple(None if g is None else place.to(g, "float32") for g in case.cotangents)
    options = judged.keywords(op, case.options)
    for text, own, handed in (
        (judged.origin, judged.forward, arrays),
        (judged.vjp_origin, judged.vjp, [sent[0], *arrays]),
    ):
        assert "d2lref" not in text
        bound: dict[str, Any] = {}
        exec(f"import numpy as np\n{place.preamble}\n{text}", bound)  # noqa: S102 - that it runs is the property
        found = bound["vjp" if handed is not arrays else "implementation"](*handed, **options)
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(own(*handed, **options)), strict=True):
            np.testing.assert_array_equal(one, two)


def test_what_reports_claim_of_it_holds() -> None:
    """Subnormal numbers are flushed, and nothing else is wrong."""
    assert d2lref.check("relu", "jax", precision="float32_flushed", cases=40).ok


@pytest.mark.parametrize("name", ["constant", "zeros", "ones"])
def test_initialisers_fill_what_they_are_asked_for(name: str) -> None:
    assert d2lref.check(name, "jax", cases=10).ok
