"""Where cases come from: a seeded generator, Hypothesis, a replayed record, and each op's gallery.

All of them make the same primitive choice, an index below a count, and record it; a record replays to the same form,
and a record of smaller indices to a simpler one. That is what shrinking works on.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product
from typing import Any

from d2lref.oracle.values import fill
from d2lref.spec import Case, Form, Op, Shape

NARROW = (32, 16, 8, 33, 17, 9, 31, 15, 7)
"""Sizes at and beside the block widths that two places can have together, in the order in which they are met."""
BLOCKS = ((31, 32, 33), (15, 16, 17), (7, 8, 9))
"""The same by block, the widest first: whatever asks for 8 or more, or 16 or more, is met by it."""
CORNERS = (*sorted(NARROW), 63, 64, 65, 127, 128, 129)


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """One place or two, each with the widths that its size has in turn; there is one object of each kind."""

    places: Shape
    widths: tuple[Shape, ...]


@dataclass(slots=True)
class Corners:
    """Which sizes lie at block widths, in turn: always the kind that was met least.

    First every place at 32, 16 and 8, then every pair of places in the widest block, then every place beside these
    widths; then all of that again, and the wide ones and every pair of blocks with it.
    """

    met: dict[Kind, int] = field(default_factory=dict)
    asked: Kind | None = None

    def next(self, lows: Shape) -> dict[int, int]:
        """Return {place: width} for one or two of the sizes, all above their `lows`; {} when no width is."""
        kinds = _kinds(len(lows))
        if kinds[-1] not in self.met:
            self.met = {k: _rank(k) for k in kinds} | self.met
        self.asked = next((k for k in sorted(kinds, key=self.met.__getitem__) if _fits(k, lows)), None)
        if self.asked is None:
            return {}
        turn = self.met[self.asked] // _ONCE
        asked = zip(self.asked.places, self.asked.widths, strict=True)
        return {place: widths[turn // 3**i % len(widths)] for i, (place, widths) in enumerate(asked)}

    def settle(self, *, kept: bool) -> None:
        """Count what was asked for last, little when its case was given up, so that it is soon tried again."""
        if self.asked is not None:
            self.met[self.asked] += _ONCE if kept else 1
        self.asked = None


_ONCE = 8  # what a kind counts when it is met


@cache
def _kinds(count: int) -> tuple[Kind, ...]:
    """Return the kinds for so many sizes."""
    alone = [_kind((place,), ((width,),)) for width in (*NARROW, *CORNERS[len(NARROW) :]) for place in range(count)]
    places = tuple(combinations(range(count), 2))
    return (*alone, *(_kind(two, blocks) for blocks in product(BLOCKS, repeat=2) for two in places))


_kind = cache(Kind)


def _rank(kind: Kind) -> int:
    """Return 0 for what is met first, a little more for what follows it in the first round, and most for the rest."""
    if len(kind.places) == 2:
        return 1 if kind.widths == (BLOCKS[0], BLOCKS[0]) else _ONCE
    width = kind.widths[0][0]
    return (0 if width in NARROW[:3] else 2) if width in NARROW else _ONCE


def _fits(kind: Kind, lows: Shape) -> bool:
    """Return whether every width of a kind lies above the lower bound at its place."""
    return all(min(widths) > lows[place] for place, widths in zip(kind.places, kind.widths, strict=True))


class Choices:
    """A `spec.Draw` on one primitive.

    `index(count)` returns an integer in [0, count); what it returned is in `record`.
    """

    def __init__(self, index: Callable[[int], int], corners: Corners | None = None) -> None:
        """Take the primitive; `record` collects the indices. corners: what chooses sizes at block widths instead."""
        self._index = index
        self._corners = corners
        self.record: list[int] = []

    def _pick(self, count: int, wanted: int | None = None) -> int:
        chosen = self._index(count) if wanted is None else wanted
        self.record.append(chosen)
        return chosen

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]; index 0 is `low`."""
        return low + self._pick(high - low + 1)

    def choice(self, *options: Any) -> Any:
        """Return one of the options; index 0 is the first."""
        return options[self._pick(len(options))]

    def sizes(self, *lows: int) -> Shape:
        """Return sizes from `low` to `low` + 3; one time in eight, one or two lie at or beside a block width.

        Where two are, both are narrow, and the others lie at most 1 above `low`.
        """
        wanted = self._corners.next(lows) if self._corners else {}
        places = self._places(len(lows), tuple(wanted))
        widths, small = (NARROW, 2) if len(places) == 2 else (CORNERS, 4)
        return tuple(
            self._width(low, sorted(widths), wanted.get(i)) if i in places else low + self._pick(small)
            for i, low in enumerate(lows)
        )

    def _places(self, count: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """Return which of so many sizes lie at a width: none, one or two of them."""
        often = self._pick(16, (0, 14, 15)[len(wanted)] if wanted else None)
        if often < 14:
            return ()
        one = self._pick(count, wanted[0] if wanted else None)
        if often < 15 or count == 1:
            return (one,)
        other = self._pick(count - 1, wanted[1] - 1 if wanted else None)
        return one, other + (other >= one)

    def _width(self, low: int, widths: Sequence[int], wanted: int | None) -> int:
        above = [w for w in widths if w > low] or [low]
        return above[self._pick(len(above), None if wanted is None else above.index(wanted))]


def seeded(seed: int, corners: Corners | None = None) -> Choices:
    """Return choices from a generator; the same seed gives the same choices."""
    draw = random.Random(seed).random  # noqa: S311 - a search, not a secret
    return Choices(lambda count: int(draw() * count), corners)


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
