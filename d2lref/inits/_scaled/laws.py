"""What the scaled initialisers are held to."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.chance import Marginal, Normal, Uniform
from d2lref.inits._laws import average, independent, shape, squares, support
from d2lref.inits._scaled.definition import (
    GAINS,
    kaiming_std,
    xavier_std,
)
from d2lref.spec import Array, Case, Reading, Trial

# 1 Laws

Family = Callable[[float], Marginal]  # from the standard deviation to the distribution of one number


def uniform_law(std: float) -> Uniform:
    return Uniform(-math.sqrt(3.0) * std, math.sqrt(3.0) * std)


def normal_law(std: float) -> Normal:
    return Normal(0.0, std)


def xavier(family: Family) -> Callable[[Case], Marginal]:
    return lambda case: family(xavier_std(case.options["shape"], case.options["gain"]))


def kaiming(family: Family) -> Callable[[Case], Marginal]:
    def law(case: Case) -> Marginal:
        words = (case.options[name] for name in ("shape", "a", "mode", "nonlinearity"))
        return family(kaiming_std(*words))

    return law


def squares_per_output(answers: Array) -> float:
    """Return the sum of the squares of the weights that reach an output, on average over the outputs."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[0])


def squares_per_input(answers: Array) -> float:
    """Return the sum of the squares of the weights that leave an input, on average over the inputs."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[1])


def squares_per_end(answers: Array) -> float:
    """Return the mean of the sums of squares of the weights that reach an output and of those that leave an input."""
    w = answers[0, 0]
    return float(np.sum(w**2) / w.shape[0] / 2 + np.sum(w**2) / w.shape[1] / 2)


def _size_kept(measure: Callable[[Case], Callable[..., float]], gain: Callable[[Case], float], family: Family) -> Trial:
    """Return the trial that these sums of squares are gain^2: it counts weights itself and knows no fan."""

    def reads(f: Any, case: Case) -> Reading:
        unit = gain(case) ** 2
        low, high, theorem = squares(f, family(1.0), math.prod(case.options["shape"]))
        size = math.prod(case.options["shape"])
        return f.read(measure(case), low * unit, high * unit, theorem=theorem, alpha=f.alpha, size=size)

    return Trial("signals keep their size", reads, chance=True)


def xavier_keeps(family: Family) -> Trial:
    return _size_kept(lambda case: squares_per_end, lambda case: case.options["gain"], family)


def kaiming_keeps(family: Family) -> Trial:
    sides = {"fan_in": squares_per_output, "fan_out": squares_per_input}
    return _size_kept(
        lambda case: sides[case.options["mode"]],
        lambda case: GAINS[case.options["nonlinearity"]](case.options["a"]),
        family,
    )


def laws(law: Callable[[Case], Marginal], keeps: Trial, *, bounded: bool) -> tuple[Trial, ...]:
    head = (support(law),) if bounded else ()
    return *head, average(law), keeps, shape(law), *independent(law)


SUPPORT, AVERAGE = "no number leaves the interval", "the mean is right"
SIZE, FORM = "signals keep their size", "the distribution has the right shape"
