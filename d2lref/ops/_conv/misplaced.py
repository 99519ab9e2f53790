"""Data in the wrong place: the right operation of misplaced operands, or a misplaced answer.

For any operation of an image and filters, told in a room with the functions geometry, shape, definition and vjp.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from d2lref.spec import Array, Shape


@dataclass(frozen=True, slots=True)
class Call:
    """What is about to be computed: image, filters, options, and what the options mean."""

    x: Array
    weight: Array
    options: dict[str, Any]
    plan: Any

    @property
    def spans(self) -> Shape:
        """Size of the window with its holes."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.weight.shape[2:], self.plan.dilation, strict=True))


Move = Callable[[Call, Array], Array]


def _stay(_: Call, array: Array) -> Array:
    return array


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Where data goes on its way into the right operation `of` and out of it; a move selects, permutes, puts zeros."""

    of: ModuleType
    image: Move = _stay
    filters: Move = _stay
    answer: Move = _stay
    options: Callable[[Call], dict[str, Any]] = lambda call: {}

    def forward(self, axes: int, x: Array, weight: Array, bias: Array | None = None, **options: Any) -> Array:
        """Return the misplaced operation; the bias is right."""
        call = called(self.of, axes, x, weight, options, bias)
        y = self.of.definition(
            axes, *_double(self.image(call, x), self.filters(call, weight)), **options | self.options(call)
        )
        y = self.answer(call, y)
        y = y if bias is None else y + bias.reshape(-1, *(1,) * axes)
        return y.astype(x.dtype)

    def vjp(
        self, axes: int, gy: Array, x: Array, weight: Array, *bias: Array | None, **options: Any
    ) -> tuple[Any, ...]:
        """Return the gradients of `forward`: every move is undone by its adjoint."""
        call = called(self.of, axes, x, weight, options)
        image, filters, others = self.image(call, x), self.filters(call, weight), options | self.options(call)
        (right,) = self.of.shape(axes, image.shape, filters.shape, **others)
        whole = undone(partial(self.answer, call), gy, right)
        gx, gw = (g.astype(gy.dtype) for g in self.of.vjp(axes, *_double(whole, image, filters), **others))
        gradients = (
            undone(partial(self.image, call), gx, x.shape),
            undone(partial(self.filters, call), gw, weight.shape),
        )
        return (*gradients, *self.of.vjp(axes, gy, x, weight, *bias, **options)[2:])


def called(
    of: ModuleType, axes: int, x: Array, weight: Array, options: dict[str, Any], bias: Array | None = None
) -> Call:
    """Return what is about to be computed. Raises ValueError where the operation does."""
    shapes = (x.shape, weight.shape, None if bias is None else bias.shape)
    return Call(x, weight, options, of.geometry(axes, *shapes, **options))


def _double(*arrays: Array) -> tuple[Array, ...]:
    """Return the arrays in float64: a mistake rounds once, whatever the order of its sums, and is wrong in one way."""
    return tuple(a.astype(np.float64) for a in arrays)


def undone(move: Callable[[Array], Array], moved: Array, shape: Shape) -> Array:
    """Return the adjoint of a move: every entry goes back to where it came from, and those from one place add up."""
    came_from = move(np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape))
    total = np.zeros(1 + np.prod(shape, dtype=int), moved.dtype)
    np.add.at(total, came_from, moved)
    return total[1:].reshape(shape)


def where(keep: Array, axis: int, array: Array) -> Array:
    """Return the array with zeros at the places along the axis that are not kept."""
    return np.where(keep.reshape(-1, *(1,) * (array.ndim - axis - 1)), array, array.dtype.type(0))


def in_pairs(count: int, groups: int = 1) -> Array:
    """Return which of count things are taken when an odd last one of a group is forgotten; a single one never is."""
    each = count // groups
    return np.tile(np.arange(each) < max(each // 2 * 2, 1), groups)


def turned_over(_: Call, w: Array) -> Array:
    """Return the filters flipped along all axes."""
    return np.flip(w, axis=tuple(range(2, w.ndim)))


def turned_last(_: Call, w: Array) -> Array:
    """Return the filters flipped along the last axis."""
    return np.flip(w, axis=-1)


def every_gth_channel(call: Call, x: Array) -> Array:
    """Return the image whose groups are every G-th channel."""
    groups = call.plan.groups
    return x.reshape(x.shape[0], x.shape[1] // groups, groups, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def groups_in_turn(call: Call, y: Array) -> Array:
    """Return the answers with one filter of each group after another."""
    groups = call.plan.groups
    return y.reshape(y.shape[0], groups, y.shape[1] // groups, *y.shape[2:]).swapaxes(1, 2).reshape(y.shape)


def channels_in_pairs(call: Call, x: Array) -> Array:
    """Return the image without the odd last channel of each group."""
    return where(in_pairs(x.shape[1], call.plan.groups), 1, x)


def positive_taps(call: Call, w: Array) -> Array:
    """Return the filters with zeros for negative taps."""
    return np.where(call.weight > 0, w, w.dtype.type(0))
