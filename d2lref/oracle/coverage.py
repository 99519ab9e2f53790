"""Which part of the case space a run executed: regimes, option values, sizes, dtypes, memory orders, workloads."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from d2lref.oracle import workloads
from d2lref.oracle.sources import Drawn
from d2lref.oracle.values import dtype_of
from d2lref.spec import Op

BLOCKS = (8, 16, 32, 64, 128)
"""Widths of vectors, tiles and blocks: a kernel that fails at a width fails at it or beside it."""


@dataclass(slots=True)
class Coverage:
    """Counts of cases by what they are: {"regime": {"lattice_small": 12, ...}, "stride": {"1 (default)": 9, ...}, ...}.

    An option has its own name. "axis" counts the cases with an axis of that length, "dtype" those with an array of it,
    "memory order" the calls whose arrays lay so, "workload" the cases of a shape of the user's own.
    """

    storage: str
    counts: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def case(self, op: Op, drawn: Drawn) -> None:
        """Count a case that was drawn."""
        self.counts["regime"][drawn.regime] += 1
        for name, value in drawn.form.options.items():
            self.counts[name][_class_of(value, op.options[name])] += 1
        arrays = [a for a in drawn.case.arrays if a is not None]
        self.counts["axis"].update(dict.fromkeys((_length(n) for a in arrays for n in a.shape), 1))
        self.counts["dtype"].update(dict.fromkeys((dtype_of(a, self.storage) for a in arrays), 1))

    def workload(self, drawn: Drawn) -> None:
        """Count a case of the user's own, which counts nowhere else: its options are not drawn."""
        self.counts["regime"][drawn.regime] += 1
        self.counts["workload"][workloads.label(drawn.form)] += 1

    @property
    def orders(self) -> Counter[str]:
        """Return where a Caller counts the memory orders of its calls."""
        return self.counts["memory order"]

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return the counts as plain JSON, without what was never met."""
        return {name: dict(counter) for name, counter in self.counts.items() if counter}


def covered(coverage: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """Yield a line for each part of the case space: its values, the most frequent first."""
    for name, counts in coverage.items():
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        yield f"{name}: {', '.join(f'{value} {count}' for value, count in ordered)}"


def _class_of(value: Any, default: Any) -> str:
    """Return the class of an option's value: itself when short, "per axis" for a tuple."""
    if isinstance(value, tuple):
        return "per axis" if len(set(value)) > 1 else "tuple"
    return f"{value} (default)" if value == default else str(value)


def _length(n: int) -> str:
    """Return the class of the length of an axis: 0, 1, at or beside a block width, or between two of them."""
    if n < 2:
        return str(n)
    if beside := [width for width in BLOCKS if abs(n - width) <= 1]:
        return f"{beside[0] - 1}-{beside[0] + 1}"
    below, above = max((w + 2 for w in BLOCKS if w < n), default=2), min((w - 2 for w in BLOCKS if w > n), default=0)
    return f"{below}-{above}" if above else f"{below}+"
