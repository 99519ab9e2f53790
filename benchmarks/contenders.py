"""Who answers: torch as the baseline, and every variant of the reference on NumPy or torch arrays.

Each answer is judged by the proven bound of the algorithm that gave it, not by a tolerance. `d2lref.expected` would
take its values from the definition, which is written to be read: a minute for the quick selection. Here they come from
a variant in float64, and the bound of that arithmetic is added: |answer - exact| <= b and |variant - exact| <= b64
give |answer - variant| <= b + b64. Torch is judged by it too, so that a variant cannot vouch for itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import d2lref
from benchmarks import workloads
from benchmarks.versus import Arm, Device, Subject, Versus
from benchmarks.workloads import QUICK, Array, Layer, distinct, networks
from d2lref.oracle.expected import Expected
from d2lref.rounding import PRESETS, outward, using

Arrays = Sequence[Array]
Options = Mapping[str, Any]
Baseline = Callable[..., object]
DIRECT = "any-order"
FFT_TAPS = 25  # transforms come near torch for large windows on single channels; elsewhere 13-146 times its time, and
# the 20 rounds would take minutes to say so


def layers(op: str) -> list[Any]:
    """Return the labels of an op's layers as parameters of a test; some belong to the quick selection."""
    return [pytest.param(label, marks=[pytest.mark.quick] * (label in QUICK)) for label in distinct(op)]


def race(
    versus: Versus, device: Device, layer: Layer, arrays: Arrays | None = None, libraries: Sequence[str] = ("numpy",)
) -> None:
    """Time the contenders of a layer, on its own random arrays unless given others."""
    arms = contenders(layer, workloads.arrays(layer) if arrays is None else arrays, device.name, libraries)
    versus(arms, Subject(layer.op, layer.label, device.name, networks(layer), layer.work), device.clock)


def contenders(layer: Layer, arrays: Arrays, device: str, libraries: Sequence[str]) -> dict[str, Arm]:
    """Return the arms of one call by name, "torch" first, then such as "numpy:unfold".

    An op without variants has its definition as the only contender ("numpy:definition"). NumPy takes part on the CPU
    alone. Skips the test where torch is missing.
    """
    torch = pytest.importorskip("torch", reason="torch is the baseline: pip install 'd2lref[torch]'")
    options = dict(layer.options)
    judge = partial(_judge, cache(partial(_expected, layer.op, tuple(arrays), options)))
    baseline = partial(baselines(torch)[layer.op], *_tensors(torch, arrays, device), **options)
    arms = {"torch": Arm(baseline, partial(judge, DIRECT))}
    for library in libraries if device == "cpu" else ("torch",) * bool(libraries):
        inputs = arrays if library == "numpy" else _tensors(torch, arrays, device)
        for name, run, algorithm in _implementations(layer.op, arrays, options):
            arms[f"{library}:{name}"] = Arm(partial(run, *inputs, **options), partial(judge, algorithm))
    return arms


def baselines(torch: ModuleType) -> dict[str, Baseline]:
    """Return torch's function for each op that is timed, with the arguments and answers of ours."""
    functional = torch.nn.functional
    same = ("conv2d", "linear", "max_pool2d", "avg_pool2d")
    return {**{name: getattr(functional, name) for name in same}, "batch_norm": partial(_batch_norm, functional)}


def _tensors(torch: ModuleType, arrays: Arrays, device: str) -> list[Any]:
    """Return copies: torch's batch normalisation updates its statistics in place, and nobody else may see that."""
    return [torch.tensor(each, device=device) for each in arrays]


def _batch_norm(functional: ModuleType, x: Any, mean: Any, variance: Any, *affine: Any, **options: Any) -> object:
    """Update the statistics in place, as torch does; they drift towards the batch's own while it is timed."""
    return functional.batch_norm(x, mean, variance, *affine, **options), mean, variance


def _implementations(op: str, arrays: Arrays, options: Options) -> list[tuple[str, Callable[..., object], str]]:
    reference, shapes = getattr(d2lref.ops, op), [each.shape for each in arrays]
    found = [
        (name, variant.run, variant.algorithm)
        for name, variant in reference.variants.items()
        if (variant.accepts is None or variant.accepts(*shapes, **options))
        and (variant.algorithm != "fft" or _suits_fft(arrays[1]))
    ]
    return found or [("definition", reference, DIRECT)]


def _suits_fft(weight: Array) -> bool:
    return weight.shape[1] == 1 and math.prod(weight.shape[2:]) >= FFT_TAPS


def _expected(op: str, arrays: Arrays, options: Options, algorithm: str) -> Expected:
    reference, wide = getattr(d2lref.ops, op), tuple(each.astype(np.float64) for each in arrays)
    value = _implementations(op, arrays, options)[0][1](*wide, **options)
    bounds = [reference.bound(value, p, *wide, **options) for p in (using(algorithm), PRESETS["float64"])]
    if isinstance(value, tuple):
        return Expected(value, tuple(outward(own + exact) for own, exact in zip(*bounds, strict=True)))
    return Expected(value, outward(sum(bounds)))


def _judge(expected: Callable[[str], Expected], algorithm: str, answer: object) -> None:
    d2lref.assert_within(answer, expected(algorithm))
