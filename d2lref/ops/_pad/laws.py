"""What holds of every padding: cases, laws, refusals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.ops._pad.padding import MODES, Sides, sides
from d2lref.rounding import claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Cases


def cases(draw: Draw) -> Form:
    """Draw a constant border around one to four axes, or images that are continued along one to three axes of space.

    Shrinks to a single number without a border.
    """
    mode = draw.choice(*MODES)
    if mode == "constant":
        return _constant_form(draw)
    pairs = [(draw.choice(0, 1, 2, 3, 5), draw.choice(0, 1, 2, 3, 4)) for _ in range(draw.choice(1, 2, 3))]
    extra = {"reflect": 1, "replicate": -9, "circular": 0}[mode]
    n, c, *size = draw.sizes(1, 1, *(max(1, max(pair) + extra) for pair in pairs))
    n = 0 if draw.integer(0, 31) == 31 else n
    return Form(((n, c, *size),), _options(pairs, mode, None))


def _constant_form(draw: Draw) -> Form:
    """Return a form of mode "constant", with negative pads among others, and up to two axes that are left alone."""
    few = draw.choice(1, 0, 2, 3, 4)
    alone = max(draw.choice(0, 2, 2, 1) if few < 4 else 0, 1 - few)
    pairs = [(draw.choice(0, 1, 2, 3, -1), draw.choice(0, 1, 2, -1, -2)) for _ in range(few)]
    lows = [1] * alone + [max(1, max(-b, 0) + max(-a, 0)) for b, a in pairs]
    size = draw.sizes(*lows)
    if alone and draw.integer(0, 31) == 31:
        size = (0, *size[1:])
    return Form((tuple(size),), _options(pairs, "constant", draw.choice(None, 0.0, 1.5, -2.0, 0.1)))


def _options(pairs: list[tuple[int, int]], mode: str, value: float | None) -> dict[str, Any]:
    """Return the options with the pairs in the order of the axes turned into torch's order."""
    return {"pad": tuple(p for pair in reversed(pairs) for p in pair), "mode": mode, "value": value}


GALLERY = (
    Form(((3, 3),), _options([(1, 1), (1, 1)], "constant", None)),
    Form(((2, 3, 5, 4),), _options([(1, 0), (2, 3)], "constant", 1.5)),
    Form(((1, 2, 5, 4),), _options([(0, 2), (3, 1)], "reflect", None)),
    Form(((1, 2, 5, 4),), _options([(0, 2), (3, 1)], "replicate", None)),
    Form(((1, 2, 5, 4),), _options([(0, 2), (3, 1)], "circular", None)),
    Form(((2, 6),), _options([(-2, 1)], "constant", None)),
)

# 2 Laws


def around(case: Case) -> Sides:
    """Return (before, after) for each axis of x."""
    return sides(case.arrays[0].shape, **case.options)


def _kept(f: Any, case: Case) -> Claim:
    """f(x)[before : before + n] = x along each axis; a negative pad takes its entries from its own side of x."""
    (x,), every = case.arrays, around(case)
    y = f(x, **case.options)
    inside = tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(y.shape, every, strict=True))
    left = tuple(slice(max(-b, 0), n - max(-a, 0)) for n, (b, a) in zip(x.shape, every, strict=True))
    return claim(y[inside], x[left])


def _crops(case: Case) -> bool:
    return any(min(pair) < 0 for pair in around(case))


def _filled(f: Any, case: Case) -> Claim:
    """f(x) = value wherever x does not lie."""
    y = f(*case.arrays, **case.options)
    border = np.ones(y.shape, dtype=bool)
    border[tuple(slice(max(b, 0), n - max(a, 0)) for n, (b, a) in zip(y.shape, around(case), strict=True))] = False
    return claim(y[border], np.full(np.count_nonzero(border), case.options["value"] or 0.0))


Rule = Callable[[Array, int, int], Array]
"""(place in the border, first and last place of x) -> the place of y that holds the same."""


def _continued(says: str, mode: str, rule: Rule) -> Law:
    """f(x)[i] = f(x)[rule(i)] for the border of an axis."""

    def holds(f: Any, case: Case) -> Claim:
        padded = [axis for axis, pair in enumerate(around(case)) if max(pair) > 0]
        axis = padded[case.seed % len(padded)]
        y, (before, after) = f(*case.arrays, **case.options), around(case)[axis]
        n = y.shape[axis] - before - after
        border = np.array([*range(before), *range(before + n, y.shape[axis])])
        twin = rule(border, before, before + n - 1)
        return claim(*(y.map(partial(np.take, indices=at, axis=axis)) for at in (border, twin)))

    return Law(says, holds, when=lambda case: case.options["mode"] == mode and _bordered(case))


def _bordered(case: Case) -> bool:
    return any(max(pair) > 0 for pair in around(case))


LAWS = (
    Law("what is not cropped stays where it was", _kept, when=lambda case: not _crops(case)),
    Law("a negative pad crops its own side", _kept, when=_crops),
    Law(
        "a constant border holds the value",
        _filled,
        when=lambda case: case.options["mode"] == "constant" and _bordered(case),
    ),
    _continued(
        "a reflected border mirrors at the edge",
        "reflect",
        lambda i, first, last: np.where(i < first, 2 * first - i, 2 * last - i),
    ),
    _continued("a replicated border repeats the edge", "replicate", np.clip),
    _continued(
        "a circular border goes on with the period of the image",
        "circular",
        lambda i, first, last: first + (i - first) % (last - first + 1),
    ),
)

# 3 Refusals

_SPACE = (1, 2, 6)


def _refused(
    says: str, x: Shape, pad: Any, told: str, mode: str = "constant", *, mandatory: bool = True, **options: Any
) -> Rejection:
    return Rejection(says, (x,), {"pad": pad, "mode": mode, **options}, f"pad: {told}", mandatory)


_PAIRS = "expected pairs of integers, (before, after) of the last axis first"
REJECTIONS = (
    _refused(
        "an unknown mode",
        _SPACE,
        (1, 1),
        "mode='edge', expected one of 'constant', 'reflect', 'replicate', 'circular'",
        "edge",
    ),
    _refused("half a pair", _SPACE, (1, 1, 1), f"pad=(1, 1, 1), {_PAIRS}"),
    _refused("one number", _SPACE, 2, f"pad=2, {_PAIRS}"),
    _refused("half an entry", _SPACE, (1.5, 1), f"pad=(1.5, 1), {_PAIRS}"),
    _refused("more pairs than axes", (2, 6), (1,) * 6, "pad=(1, 1, 1, 1, 1, 1) has 3 pairs, but x (2, 6) has 2 axes"),
    _refused(
        "both sides cropped to less than nothing",
        _SPACE,
        (-3, -4),
        "pad=(-3, -4) crops axis 2 of x (1, 2, 6) by more than its 6 entries",
    ),
    _refused(
        "cropped to less than nothing and padded again",  # onnxruntime answers with the border
        _SPACE,
        (-7, 3),
        "pad=(-7, 3) crops axis 2 of x (1, 2, 6) by more than its 6 entries",
        mandatory=False,
    ),
    _refused(
        "four axes of space",
        (1, 1, *(4,) * 4),
        (1,) * 8,
        "mode='circular' with 4 pairs, expected 1, 2 or 3: those of the axes of space",
        "circular",
    ),
    _refused(
        "an axis of space without its pair",
        (1, 2, 6, 6),
        (1, 1),
        "x (1, 2, 6, 6) has 4 axes, expected 3 for mode='reflect': images, channels, 1 of space",
        "reflect",
    ),
    _refused(
        "one image without its batch",
        (2, 6),
        (1, 1),
        "x (2, 6) has 2 axes, expected 3 for mode='replicate': images, channels, 1 of space",
        "replicate",
        mandatory=False,
    ),
    _refused(
        "a value that is not used",
        _SPACE,
        (1, 1),
        "value=1.0 with mode='reflect', expected None: only mode='constant' has a value",
        "reflect",
        mandatory=False,
        value=1.0,
    ),
    _refused(
        "the edge reflected from the other edge",
        _SPACE,
        (6, 0),
        "(6, 0) around an axis with mode='reflect', expected at least 0 and at most 5 of its 6 entries",
        "reflect",
    ),
    _refused(
        "more than once around",
        _SPACE,
        (0, 7),
        "(0, 7) around an axis with mode='circular', expected at least 0 and at most 6 of its 6 entries",
        "circular",
    ),
    _refused(
        "a negative pad of what is continued",
        _SPACE,
        (-1, 2),
        "(-1, 2) around an axis with mode='replicate', expected at least 0 and no limit",
        "replicate",
        mandatory=False,
    ),
)
