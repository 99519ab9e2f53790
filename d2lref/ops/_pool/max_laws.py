"""What holds of every max pooling: cases, laws, refusals."""

from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.rounding import claim
from d2lref.spec import Case, Claim, Draw, Form, Law, Rejection

# 1 Cases

REGIMES = ("lattice_small", "normal", "ties", "nonfinite", "signed_zero", "wide_range", "subnormal", "large_mean")


def cases(axes: int, draw: Draw) -> Form:
    """Return a form: see `shared.drawn`; windows up to 6, 4 or 3 entries along an axis, dilation up to 3."""
    return shared.drawn(draw, axes, 3)


# 2 Laws: the window


def _peak_fills(f: Any, case: Case) -> Claim:
    """An image of -1 with one 2 becomes 2 where a window reads that, and stays -1 elsewhere; no padding, stride 1."""
    options = {**case.options, "stride": 1, "padding": 0, "ceil_mode": False}
    g = shared.grid_of(case, **options)
    image, at = shared.lone(g.size, case.seed, -1.0, 2.0)
    return claim(f(image, **options), np.where(shared.reads(g, at), 2.0, -1.0)[None, None])


def _fits(case: Case) -> bool:
    return shared.grid_of(case, stride=1, padding=0, ceil_mode=False) is not None


def _nan_wins(f: Any, case: Case) -> Claim:
    """An image of 0 with one NaN becomes NaN where the same image with a 2 instead becomes 2, and nowhere else."""
    g = shared.grid_of(case)
    (nan, _), (two, _) = (shared.lone(g.size, case.seed, 0.0, value) for value in (np.nan, 2.0))
    peak = f(two, **case.options).value
    return claim(f(nan, **case.options), np.where(peak == 2, np.nan, peak))


# 3 Laws: around the image


def _border(f: Any, case: Case) -> Claim:
    """f(x, padding=p) = f(x with p entries of its lowest value around it, padding=0)."""
    x, options = case.arrays[0][:1], {**case.options, "ceil_mode": False}
    widths = [(p, p) for p in shared.grid_of(case).padding]
    bordered = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=x.min())
    return claim(f(x, **options), f(bordered, **{**options, "padding": 0}))


def _padded(case: Case) -> bool:
    g = shared.grid_of(case, ceil_mode=False)
    return g is not None and max(g.padding) > 0 and _has_lowest(case)


def _has_lowest(case: Case) -> bool:
    return case.arrays[0].size > 0 and not np.isnan(case.arrays[0]).any()


def _appended(f: Any, case: Case) -> Claim:
    """f(x, ceil_mode=True) = f(x continued by its lowest value as far as the last window reaches, ceil_mode=False)."""
    x = case.arrays[0][:1]
    widths = [(0, max(over, 0)) for over in shared.grid_of(case).overhang]
    longer = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=x.min())
    return claim(f(x, **case.options), f(longer, **{**case.options, "ceil_mode": False}))


def _overhangs(case: Case) -> bool:
    return max(shared.grid_of(case).overhang) > 0 and _has_lowest(case)


# 4 Laws: the gradient


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent, channel by channel; exact."""
    (x,) = case.arrays
    gy = shared.signs(case, (*x.shape[:2], *shared.grid_of(case).out))
    others = (0, *range(2, x.ndim))
    return Claim(f.vjp(gy, x, **case.options)[0].value.sum(axis=others), gy.sum(axis=others))


def _peak_collects(f: Any, case: Case) -> Claim:
    """The one 2 in an image of -1 gets the sum of gy over the windows that read it; exact."""
    g = shared.grid_of(case)
    image, at = shared.lone(g.size, case.seed, -1.0, 2.0)
    gy = shared.signs(case, (1, 1, *g.out))
    gx = f.vjp(gy, image, **case.options)[0].value
    return Claim(gx[(0, 0, *at)], gy[0, 0][shared.reads(g, at)].sum())


LAWS = (
    Law("a lone peak fills the windows that read it", _peak_fills, when=_fits),
    shared.THRESHOLD,
    Law("a NaN wins wherever a peak would", _nan_wins, when=lambda case: case.regime == "nonfinite"),
    Law("padding is a border that never wins", _border, when=_padded),
    Law("ceil_mode appends the windows that overhang", _appended, when=_overhangs),
    shared.SUBSAMPLED,
    shared.ALONE,
    Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    Law("a lone peak collects the gradient of the windows that read it", _peak_collects, vjp=True),
)


# 5 Refusals


def rejections(axes: int, title: str = "max_pool{}d") -> tuple[Rejection, ...]:
    """Return the ways in which a max pooling can be asked wrongly."""
    options = {"kernel_size": 2, "dilation": 0}
    told = f"{title.format(axes)}: dilation=0, expected an integer >= 1, or a tuple of {axes}"
    return (*shared.rejections(title, axes), Rejection("dilation 0", ((1, 2, *(4,) * axes),), options, told))
