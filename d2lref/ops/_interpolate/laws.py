"""What holds of every interpolation: cases, laws, refusals."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np

from d2lref.ops._interpolate.positions import LINEAR, NEAREST, Axis, axes_of, settled
from d2lref.ops._pool import shared
from d2lref.rounding import Pair, claim
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Cases

FACTORS = (2.0, 1.0, 0.5, 1.5, 3.0, 0.75, 2.5, 0.3)


def cases(draw: Draw) -> Form:
    """Draw one to three axes of space, a mode and a size or a scale factor; shrinks to one entry that is copied.

    Sizes on which "nearest" in floating point misses the exact entry are not drawn (`positions.settled`), nor factors
    that leave the size as it is, or double it, without being 1 or 2: torch takes these for 1 and 2 on the CPU.
    """
    axes = draw.choice(1, 2, 3)
    mode = draw.choice("nearest", "nearest-exact", LINEAR[axes - 1], LINEAR[axes - 1])
    aligned = draw.choice(None, True, False) if mode in LINEAR else None
    n, c, *space = draw.sizes(*(1,) * (2 + axes))
    x = (0 if draw.integer(0, 31) == 31 else n, c, *space)
    size = _size(draw, axes)
    if draw.choice(False, True):
        options = {"size": None, "scale_factor": _factor(draw, axes), "mode": mode, "align_corners": aligned}
        if _comparable(x, options):
            return Form((x,), options)
    return Form((x,), {"size": _near(x, size, mode), "scale_factor": None, "mode": mode, "align_corners": aligned})


def _size(draw: Draw, axes: int) -> int | Shape:
    """Return a size for all axes, or one for each; some at and beside block widths."""
    if draw.choice(True, False):
        return draw.integer(1, (40, 12, 6)[axes - 1])
    wide = (1, 2, 3, 4, 5, 7, 8, 9, *((16, 17, 31, 33) if axes < 3 else ()))
    return tuple(draw.choice(*wide) for _ in range(axes))


def _factor(draw: Draw, axes: int) -> float | tuple[float, ...]:
    """Return a scale factor for all axes, or one for each."""
    if draw.choice(True, False):
        return float(draw.choice(*FACTORS))
    return tuple(draw.choice(*FACTORS) for _ in range(axes))


def _comparable(x: Shape, options: dict[str, Any]) -> bool:
    """Return whether a factor leaves something, says the same as the sizes where these are equal or double, settled."""
    try:
        axes = axes_of(x, **options)
    except ValueError:
        return False
    plain = all(axis.m not in {axis.n, 2 * axis.n} or axis.step * axis.m == axis.n or axis.aligned for axis in axes)
    return plain and all(map(settled, axes))


def _near(x: Shape, size: int | Shape, mode: str) -> int | Shape:
    """Return the size, or the nearest larger one along each axis that is settled."""
    each = [size] * (len(x) - 2) if isinstance(size, int) else list(size)
    for place, (n, m) in enumerate(zip(x[2:], each, strict=True)):
        kind = mode if mode in NEAREST else "linear"
        each[place] = next(more for more in count(m) if settled(Axis(n, more, Fraction(n, more), kind)))
    return size if isinstance(size, int) and set(each) == {size} else tuple(each)


def gallery() -> tuple[Form, ...]:
    """Return an image doubled in each mode, sizes that do not divide, a single entry, and factors."""

    def form(x: Shape, mode: str, size: Any = None, scale: Any = None, aligned: Any = None) -> Form:
        return Form((x,), {"size": size, "scale_factor": scale, "mode": mode, "align_corners": aligned})

    return (
        form((1, 2, 3, 4), "nearest", scale=2.0),
        form((2, 3, 5, 7), "nearest-exact", (3, 4)),
        form((1, 2, 3, 4), "bilinear", (6, 8), aligned=False),
        form((1, 2, 3, 4), "bilinear", (5, 7), aligned=True),
        form((1, 2, 5), "linear", 1, aligned=True),
        form((1, 2, 3, 2, 4), "trilinear", scale=1.5),
    )


# 2 Laws
# Each speaks about images of one channel, and asks for a size, unless it is about channels or factors.


def _axes(case: Case) -> tuple[Axis, ...]:
    return axes_of(case.arrays[0].shape, **case.options)


def _sized(case: Case, sizes: Any = None) -> dict[str, Any]:
    """Return the options with a size (that of the case) instead of a scale factor."""
    sizes = tuple(axis.m for axis in _axes(case)) if sizes is None else sizes
    return {**case.options, "size": sizes, "scale_factor": None}


def _linear(case: Case) -> bool:
    """Return whether the case interpolates along axes with more than one entry to align, if any are to be aligned."""
    return case.options["mode"] in LINEAR and not _single(case)


def _aligned(case: Case) -> bool:
    return bool(case.options["align_corners"])


def _single(case: Case) -> bool:
    return _aligned(case) and min(axis.m for axis in _axes(case)) == 1


def _ramp(case: Case) -> tuple[Array, int]:
    """Return an image that holds 0, 1, 2, ... along one of its axes, and which axis of space that is."""
    size = case.arrays[0].shape[2:]
    at = case.seed % len(size)
    along = np.arange(size[at], dtype=np.float64).reshape(-1, *(1,) * (len(size) - 1 - at))
    return np.broadcast_to(along, (1, 1, *size)).copy(), at


Where = Callable[[int, int, int], Fraction]
"""(i, n, m) -> the position of entry i, before it is cut off."""


def _on_the_ramp(f: Any, case: Case, where: Where, *, floored: bool) -> Claim:
    """f(0, 1, 2, ...) = position, floored or not, wherever that lies in the image."""
    (ramp, at), inside = _ramp(case), []
    for axis in _axes(case):
        spots = ((i, where(i, axis.n, axis.m)) for i in range(axis.m))
        inside.append([(i, s) for i, s in spots if 0 <= s <= axis.n - 1 or (floored and s < axis.n)])
    chosen = np.ix_([0], [0], *([i for i, _ in spots] for spots in inside))
    wanted = np.array([float(math.floor(s) if floored else s) for _, s in inside[at]])
    y = f(ramp, **_sized(case))[chosen]
    return claim(y.map(lambda a: np.moveaxis(a, 2 + at, -1)), np.broadcast_to(wanted, _last(y.shape, 2 + at)))


def _last(shape: Shape, axis: int) -> Shape:
    """Return the shape with an axis moved to the end."""
    return (*shape[:axis], *shape[axis + 1 :], shape[axis])


def _copies(f: Any, case: Case) -> Claim:
    """f(x)[i] = x[j] for the entry j that holds i n / m, as n / m entries of the image are one of the answer."""
    return _on_the_ramp(f, case, lambda i, n, m: Fraction(i * n, m), floored=True)


def _copies_exactly(f: Any, case: Case) -> Claim:
    """f(x)[i] = x[j] for the entry j that holds (i + 1/2) n / m."""
    return _on_the_ramp(f, case, lambda i, n, m: Fraction((2 * i + 1) * n, 2 * m), floored=True)


def _affine(f: Any, case: Case) -> Claim:
    """f(j) = (i + 1/2) n / m - 1/2: centres of entries are half an entry from their edges."""
    return _on_the_ramp(f, case, lambda i, n, m: Fraction((2 * i + 1) * n - m, 2 * m), floored=False)


def _affine_aligned(f: Any, case: Case) -> Claim:
    """f(j) = i (n - 1) / (m - 1): the first is the first, the last is the last."""
    return _on_the_ramp(f, case, lambda i, n, m: Fraction(i * (n - 1), m - 1), floored=False)


def _continued(f: Any, case: Case) -> Claim:
    """f(x, scale_factor=k) = f(x', size=k n') where they see the same, x' being x continued to n' entries, k n' whole.

    A factor is the step between pixels, also where k n is not whole; the ratio of the sizes is another one there.
    """
    axes, longer = _axes(case), _longer(case)
    image = np.random.default_rng(case.seed).integers(-3, 4, (1, 1, *(axis.n for axis in longer))).astype(np.float64)
    part: Any = (..., *(slice(axis.n) for axis in axes))
    few = f(image[part], **case.options)
    many = f(image, **_sized(case, tuple(axis.m for axis in longer)))
    ends = (axis.n - (1 if axis.mode == "linear" else 0) for axis in axes)
    seen = (sum(axis.at(i) <= end for i in range(axis.m)) for axis, end in zip(axes, ends, strict=True))
    same = (..., *map(slice, seen))
    return claim(few[same], many[same])


def _longer(case: Case) -> tuple[Axis, ...]:
    """Return the axes with as many more entries as it takes for each factor to leave a whole number."""
    found = []
    for axis in _axes(case):
        n = -(-axis.n // axis.step.numerator) * axis.step.numerator  # of k = 1 / step
        found.append(Axis(n, int(n / axis.step), axis.step, axis.mode, axis.aligned))
    return tuple(found)


def _factored(case: Case) -> bool:
    """Return whether the case has factors that can be made whole, and corners that are not aligned."""
    if case.options["scale_factor"] is None or _aligned(case):
        return False
    return max(axis.step.numerator for axis in _axes(case)) < 8 and all(map(settled, _longer(case)))


def _constant(f: Any, case: Case) -> Claim:
    """f(c) = c."""
    value = 1.0 + case.seed % 7
    y = f(np.full((1, 1, *case.arrays[0].shape[2:]), value), **_sized(case))
    return claim(y, np.full(y.shape, value))


def _signs(case: Case, size: Shape) -> Array:
    return np.random.default_rng(case.seed).choice([-1.0, 1.0], (1, 1, *size))


def _between(f: Any, case: Case) -> Claim:
    """-1 <= f(x) <= 1 for an image of -1 and 1."""
    y = f(_signs(case, case.arrays[0].shape[2:]), **_sized(case))
    return Claim(y.value, np.clip(y.value, -1.0, 1.0), y.error)


def _odd_ratio(f: Any, case: Case) -> Claim:
    """|f(x)| = 1 for an image of -1 and 1 with 1, 3 or 5 entries for one of the answer: one is in their middle."""
    m = tuple(axis.m for axis in _axes(case))
    k = (1 + 2 * (1 + case.seed % 2), *(1 + 2 * (case.seed // 2 % 3) for _ in m[1:]))
    y = f(_signs(case, tuple(a * b for a, b in zip(m, k, strict=True))), **_sized(case, m))
    return Claim(np.abs(y.value), np.ones(y.shape), y.error)


def _one_by_one(f: Any, case: Case) -> Claim:
    """f(x, (a, b)) = f(f(x, (a, n)), (a, b)); averages carry no error of the first on with more weight than 1."""
    x, axes = case.arrays[0][:1, :1], _axes(case)
    first = f(x, **_sized(case, (axes[0].m, *(axis.n for axis in axes[1:]))))
    left, right = f(x, **_sized(case)), f(first.value, **_sized(case))
    return claim(left, Pair(right.value, right.error + first.error.max(initial=0.0)))


def _several(case: Case) -> bool:
    return case.arrays[0].ndim > 3 and case.arrays[0].shape[0] > 0 and not _single(case)


def _first_alone(f: Any, case: Case) -> Claim:
    """f(0, 1, 2, ...) = 0 along an axis with one entry of the answer."""
    size, axes = case.arrays[0].shape[2:], _axes(case)
    at = next(place for place, axis in enumerate(axes) if axis.m == 1)
    along = np.arange(size[at], dtype=np.float64).reshape(-1, *(1,) * (len(size) - 1 - at))
    y = f(np.broadcast_to(along, (1, 1, *size)).copy(), **_sized(case))
    return claim(y, np.zeros(y.shape))


LAWS = (
    Law("nearest copies the entry in which a pixel begins", _copies, lambda case: case.options["mode"] == "nearest"),
    Law(
        "nearest-exact copies the entry in which the centre of a pixel lies",
        _copies_exactly,
        lambda case: case.options["mode"] == "nearest-exact",
    ),
    Law(
        "an affine image stays affine where its pixels' centres lie",
        _affine,
        lambda case: _linear(case) and not _aligned(case),
    ),
    Law(
        "an affine image stays affine between its aligned corners",
        _affine_aligned,
        lambda case: _linear(case) and _aligned(case),
    ),
    Law("a scale factor is a size of an image that goes on", _continued, _factored),
    Law("a constant image stays constant", _constant, _linear),
    Law("no answer lies outside of the image's range", _between, _linear),
    Law("an odd ratio copies and does not average", _odd_ratio, lambda case: _linear(case) and not _aligned(case)),
    Law("axes are interpolated one after the other", _one_by_one, _several),
    Law("a single pixel between aligned corners is the first", _first_alone, _single),
    shared.ALONE,
)

# 3 Refusals

_IMAGE = (1, 2, 6)


def _refused(says: str, told: str, x: Shape = _IMAGE, *, mandatory: bool = True, **options: Any) -> Rejection:
    usual = {"size": None, "scale_factor": None, "mode": "nearest", "align_corners": None}
    return Rejection(says, (x,), {**usual, **options}, f"interpolate: {told}", mandatory)


_MODES = "'nearest', 'nearest-exact', 'linear', 'bilinear', 'trilinear'"
REJECTIONS = (
    _refused(
        "no axis of space", "x (2, 6) has 2 axes, expected 3 to 5: images, channels, 1 to 3 of space", (2, 6), size=3
    ),
    _refused(
        "four axes of space",
        "x (1, 1, 2, 2, 2, 2) has 6 axes, expected 3 to 5: images, channels, 1 to 3 of space",
        (1, 1, 2, 2, 2, 2),
        size=3,
    ),
    _refused(
        "an image without entries", "x (1, 2, 0) has an axis without entries, expected at least 1", (1, 2, 0), size=3
    ),
    _refused("an unknown mode", f"mode='cubic', expected one of {_MODES}", size=3, mode="cubic"),
    _refused(
        "the mode of two axes for one",
        "mode='bilinear' with x (1, 2, 6) of 1 axes of space, expected 'linear'",
        size=3,
        mode="bilinear",
    ),
    _refused("neither size nor factor", "size=None, scale_factor=None, expected one of them"),
    _refused("both size and factor", "size=3, scale_factor=0.5, expected one of them", size=3, scale_factor=0.5),
    _refused("a size of nothing", "size=0, expected an integer above 0, or a tuple of 1", size=0),
    _refused("a negative size", "size=-3, expected an integer above 0, or a tuple of 1", size=-3),
    _refused("a size for an axis too many", "size=(3, 3), expected an integer above 0, or a tuple of 1", size=(3, 3)),
    _refused(
        "a factor for an axis too many",
        "scale_factor=(2.0, 2.0), expected a number above 0, or a tuple of 1",
        scale_factor=(2.0, 2.0),
    ),
    _refused("a negative factor", "scale_factor=-2.0, expected a number above 0, or a tuple of 1", scale_factor=-2.0),
    _refused(
        "a factor that leaves nothing",
        "scale_factor=0.125 leaves nothing of an axis of x (1, 2, 6)",
        scale_factor=0.125,
    ),
    _refused(
        "corners aligned where entries are copied",
        "align_corners=True with mode='nearest', expected None",
        size=3,
        align_corners=True,
    ),
)
