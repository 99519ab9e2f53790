"""Bad input is refused with exactly the message that stands in the chapter.

By the definition, every variant and the shape rule; and torch refuses what is mandatory.
"""

import warnings
from typing import Any

import pytest

from d2lref.oracle.values import dtype_of, ones
from d2lref.spec import Op, Rejection
from properties.worlds import LIBRARIES, OPS

REFUSED = [(op, r) for op in OPS for r in op.rejections]
IDS = [f"{op.name}-{r.says}" for op, r in REFUSED]
ANY_ARRAY = {"relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish"}


def arrays_of(op: Op, rejection: Rejection) -> list[Any]:
    """Return arrays of ones of the shapes."""
    return ones(op, rejection.shapes, rejection.options)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize(("op", "rejection"), REFUSED, ids=IDS)
def test_the_definition_refuses(op: Op, rejection: Rejection, library: Any) -> None:
    arrays = [None if a is None else library.to(a, dtype_of(a, "float64")) for a in arrays_of(op, rejection)]
    with pytest.raises(ValueError, match=r".") as refused:
        op.definition(*arrays, **rejection.options)
    assert str(refused.value) == rejection.message


@pytest.mark.parametrize(("op", "rejection"), REFUSED, ids=IDS)
def test_the_shape_rule_and_every_variant_refuse(op: Op, rejection: Rejection) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        op.shape(*rejection.shapes, **rejection.options)
    assert str(refused.value) == rejection.message
    for variant in op.variants.values():
        with pytest.raises(ValueError, match=r".") as refused:
            variant.run(*arrays_of(op, rejection), **rejection.options)
        assert str(refused.value) == rejection.message


@pytest.mark.parametrize("op", OPS, ids=[op.name for op in OPS])
def test_messages_name_the_op_and_differ(op: Op) -> None:
    assert len(op.rejections) >= 2 or op.name in ANY_ARRAY
    assert all(r.message.startswith(f"{op.name}: ") and "\n" not in r.message for r in op.rejections)
    assert len({r.says for r in op.rejections}) == len(op.rejections)


REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, ZeroDivisionError)


@pytest.mark.parametrize(("op", "rejection"), REFUSED, ids=IDS)
def test_torch_refuses_what_is_mandatory(op: Op, rejection: Rejection) -> None:
    pytest.importorskip("torch", reason="torch is the stranger here")
    from d2lref.adapters.torch import implementation

    judged = implementation(op.name)
    if judged is None or not rejection.mandatory:
        pytest.skip("torch lacks the op, or may have its own policy")
    arrays = [None if a is None else judged.library.to(a, dtype_of(a, "float64")) for a in arrays_of(op, rejection)]
    # torch may warn before it refuses
    with warnings.catch_warnings(action="ignore"), pytest.raises(REFUSALS):
        judged.forward(*arrays, **rejection.options)
