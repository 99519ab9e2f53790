"""What holds of every average pooling: cases, laws, refusals."""

import math
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.rounding import claim
from d2lref.spec import SUMS, Case, Claim, Draw, Form, Law, Rejection

# 1 Cases

REGIMES = (*SUMS, "large_mean")


def cases(axes: int, draw: Draw) -> Form:
    """Return a form: see `shared.drawn`; windows up to 6, 4 or 3 entries along an axis.

    In 3-D no window is larger than the image: torch refuses those there, and only there.
    """
    form = shared.drawn(draw, axes, 1, within=axes == 3)
    options = {**form.options, "count_include_pad": draw.choice(True, False)}
    if axes > 1:
        options["divisor_override"] = draw.choice(None, None, 1, 2, 3, 7)
    return Form(form.shapes, options)


# 2 Laws


def _usual(case: Case, **changes: Any) -> dict[str, Any]:
    """Return the options of a case after changes, the divisor counted."""
    options = {**case.options, **changes}
    return {k: None if k == "divisor_override" else v for k, v in options.items()}


def _pixel_shared(f: Any, case: Case) -> Claim:
    """An image of 0 with one entry k^axes becomes 1 where a window reads that, 0 elsewhere; no padding, stride 1."""
    options = _usual(case, stride=1, padding=0, ceil_mode=False)
    g = shared.grid_of(case, **options)
    image, at = shared.lone(g.size, case.seed, 0.0, float(math.prod(g.kernel)))
    return claim(f(image, **options), np.where(shared.reads(g, at), 1.0, 0.0)[None, None])


def _fits(case: Case) -> bool:
    return shared.grid_of(case, stride=1, padding=0, ceil_mode=False) is not None


def _border(f: Any, case: Case) -> Claim:
    """f(x, padding=p, count_include_pad=True) = f(x with p zeros around it, padding=0)."""
    x, options = case.arrays[0][:1], _usual(case, count_include_pad=True)
    bordered = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in shared.grid_of(case).padding)])
    return claim(f(x, **options), f(bordered, **{**options, "padding": 0}))


def _same_windows_on_border(case: Case) -> bool:
    """A window that begins in the padding behind is dropped, one that begins in a border is not: the sides differ."""
    g = shared.grid_of(case)
    size = tuple(n + 2 * p for n, p in zip(g.size, g.padding, strict=True))
    return max(g.padding) > 0 and shared.grid_of(case, size=size, padding=0).out == g.out


def _constant(f: Any, case: Case, **changes: Any) -> Claim:
    value = 1.0 + case.seed % 7
    y = f(np.full((1, 1, *case.arrays[0].shape[2:]), value), **_usual(case, **changes))
    return claim(y, np.full(y.shape, value))


def _uncounted_padding(f: Any, case: Case) -> Claim:
    """f(c, count_include_pad=False) = c."""
    return _constant(f, case, count_include_pad=False)


def _overhung(f: Any, case: Case) -> Claim:
    """f(c, padding=0, ceil_mode=True) = c."""
    return _constant(f, case, padding=0, ceil_mode=True, count_include_pad=True)


def _overhangs(case: Case) -> bool:
    g = shared.grid_of(case, padding=0, ceil_mode=True)
    return g is not None and max(g.overhang) > 0


def _appended(f: Any, case: Case) -> Claim:
    """f(x, ceil_mode=True) begins with f(x, ceil_mode=False)."""
    x = case.arrays[0][:1]
    few, many = (f(x, **{**case.options, "ceil_mode": ceil_mode}) for ceil_mode in (False, True))
    return claim(many[(..., *map(slice, few.shape[2:]))], few)


def _appends(case: Case) -> bool:
    few, many = (shared.grid_of(case, ceil_mode=ceil_mode) for ceil_mode in (False, True))
    return few is not None and few.out != many.out


def _overridden(f: Any, case: Case) -> Claim:
    """2 f(x, divisor_override=2 k^axes) = f(x, divisor_override=None), without padding and overhang."""
    x, options = case.arrays[0][:1], _usual(case, padding=0, ceil_mode=False)
    twice = 2 * math.prod(shared.grid_of(case).kernel)
    return claim(2.0 * f(x, **{**options, "divisor_override": twice}), f(x, **options))


def _fits_strided(case: Case) -> bool:
    return shared.grid_of(case, padding=0, ceil_mode=False) is not None


LAWS = (
    Law("a lone pixel is shared by the windows that read it", _pixel_shared, when=_fits),
    Law("padding that counts is a border of zeros", _border, when=_same_windows_on_border),
    Law("padding that does not count leaves a constant image constant", _uncounted_padding),
    Law("an overhanging window divides by what it reads", _overhung, when=_overhangs),
    Law("ceil_mode only appends windows", _appended, when=_appends),
    shared.SUBSAMPLED,
    shared.ALONE,
)
OVERRIDE = Law("divisor_override takes the place of the count", _overridden, when=_fits_strided)


def laws(axes: int) -> tuple[Law, ...]:
    """Return the laws of the pooling over so many axes: in 1-D there is no divisor_override."""
    return LAWS if axes == 1 else (*LAWS, OVERRIDE)


# 3 Refusals


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return the ways in which an average pooling can be asked wrongly."""
    x, options = ((1, 2, *(4,) * axes),), {"kernel_size": 2, "divisor_override": 0}
    if axes == 1:
        told = "avg_pool1d: has no divisor_override; avg_pool2d and avg_pool3d have"
        last = Rejection("a divisor in 1-D", x, options, told, mandatory=False)
    else:
        told = f"avg_pool{axes}d: divisor_override=0, expected None or another integer"
        last = Rejection("divisor 0", x, options, told)
    return (*shared.rejections("avg_pool{}d", axes), last)
