"""Batch normalisation: what other frameworks mean by it. Their momentum weights the old statistic, not the new one."""

from typing import Any

import numpy as np

from d2lref.ops._batch_norm import bounds
from d2lref.ops._batch_norm.definition import count, definition, five, two_pass
from d2lref.ops._batch_norm.laws import LAWS
from d2lref.rounding import FORMATS, Precision
from d2lref.spec import Convention


def population(*arrays: Any, training: bool = False, momentum: float = 0.1, eps: float = 1e-5) -> tuple[Any, ...]:
    """`definition`, but that the new running variance is made of the biased variance, divided by n."""
    x, _, running_var, *_ = five(arrays)
    y, mean, var = definition(*arrays, training=training, momentum=momentum, eps=eps)
    if training and running_var is not None:
        var = running_var * (1.0 - momentum) + two_pass(x)[1] * momentum
    return y, mean, var


def bound(y: Any, p: Precision, *arrays: Any, **options: Any) -> tuple[np.ndarray | None, ...]:
    """`bounds.bound`, whose variance is larger, and 2u (|old| + |new|) for a momentum that is rounded before 1 - it."""
    x, *old = five(arrays)[:3]
    error, *state = bounds.bound(y, p, *arrays, **options)
    if not options["training"] or old[0] is None or options["momentum"] in {0.0, 1.0}:
        return error, *state
    u = max(p.u, FORMATS[p.statistics].u if p.statistics else 0.0)
    n = count(x.shape)
    sizes = (np.abs(a) + np.abs(b) * n / (n - 1) for a, b in zip(old, two_pass(x), strict=True))
    return error, *(e + 2 * u * (size + e) for e, size in zip(state, sizes, strict=True))


def _complement(**options: Any) -> dict[str, Any]:
    return {**options, "momentum": 1.0 - options["momentum"]}


def _old_first(name: str, source: str, *, momentum: float, eps: float) -> Convention:
    return Convention(
        name=name,
        says="momentum's complement, and the biased variance in the running one",
        source=source,
        defaults={"momentum": momentum, "eps": eps},
        means=_complement,
        definition=population,
        bound=bound,
        without=tuple(law.says for law in LAWS if law.says.startswith("momentum")),
    )


FLAX = "https://flax.readthedocs.io/en/latest/api_reference/flax.linen/layers.html#flax.linen.BatchNorm"
KERAS = "https://keras.io/api/layers/normalization_layers/batch_normalization"
ONNX = "https://onnx.ai/onnx/operators/onnx__BatchNormalization.html"

CONVENTIONS = (
    _old_first("flax", FLAX, momentum=0.99, eps=1e-5),
    _old_first("keras", KERAS, momentum=0.99, eps=1e-3),
    _old_first("onnx", ONNX, momentum=0.9, eps=1e-5),
)
