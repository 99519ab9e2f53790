"""Where cases come from: a seeded generator, Hypothesis, a replayed record, and each op's gallery.

All of them make the same primitive choice, an index below a count, and record it; a record replays to the same form,
and a record of smaller indices to a simpler one. That is what shrinking works on.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from d2lref.oracle.values import fill
from d2lref.spec import Case, Form, Op, Shape

CORNERS = (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)


class Choices:
    """A `spec.Draw` on one primitive.

    `index(count)` returns an integer in [0, count); what it returned is in `record`.
    """

    def __init__(self, index: Callable[[int], int]) -> None:
        """Take the primitive; `record` collects the indices."""
        self._index = index
        self.record: list[int] = []

    def _pick(self, count: int) -> int:
        chosen = self._index(count)
        self.record.append(chosen)
        return chosen

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]; index 0 is `low`."""
        return low + self._pick(high - low + 1)

    def choice(self, *options: Any) -> Any:
        """Return one of the options; index 0 is the first."""
        return options[self._pick(len(options))]

    def sizes(self, *lows: int) -> Shape:
        """Return sizes from `low` to `low` + 3; one time in eight one of them is at or beside a block width."""
        corner = self._pick(8) == 7
        place = self._pick(len(lows)) if corner else -1
        return tuple(self._corner(low) if i == place else low + self._pick(4) for i, low in enumerate(lows))

    def _corner(self, low: int) -> int:
        return self.choice(*(c for c in CORNERS if c > low))


def seeded(seed: int) -> Choices:
    """Return choices from a generator; the same seed gives the same choices."""
    draw = random.Random(seed).random  # noqa: S311 - a search, not a secret
    return Choices(lambda count: int(draw() * count))


def replayed(record: Sequence[int]) -> Choices:
    """Return the recorded choices again; where the record ends or no longer fits, the nearest."""
    rest = iter(record)
    return Choices(lambda count: min(next(rest, 0), count - 1))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A case and how it came about: the record of choices behind its form (None for the gallery), regime and seed."""

    case: Case
    form: Form
    regime: str
    seed: int
    record: tuple[int, ...] | None


def draw_case(op: Op, choices: Choices, seed: int, storage: str) -> Drawn:
    """Return a case of the op: the form from the chapter, one of its regimes, values from the seed."""
    regime = choices.choice(*op.regimes)
    before = len(choices.record)
    form = op.cases(choices)
    return Drawn(fill(op, form, regime, seed, storage), form, regime, seed, tuple(choices.record[before:]))


def gallery(op: Op, seed: int, storage: str) -> Iterator[Drawn]:
    """Yield every form of the op's gallery in every one of its regimes."""
    for place, form in enumerate(op.gallery):
        for turn, regime in enumerate(op.regimes):
            number = seed + 1000 * place + turn
            yield Drawn(fill(op, form, regime, number, storage), form, regime, number, None)
