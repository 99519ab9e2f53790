"""Max pooling: the largest entry of each window (d2l, section 7.5).

Reading order: shape, definition, faster ways, derivative, how wrong it may be, cases, laws, refusals, mistakes, and the three
ops. `axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np

from d2lref.arrays import namespace, zeros
from d2lref.ops._pool import common
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, one_axis_at_a_time, scattered, shifted, together
from d2lref.rounding import Precision, claim, lattice_unit, round_to, sum_bound
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

HUB = "https://github.com"
windows_of = partial(grid, "max")

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size + 2 p - d (k - 1) - 1) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that would
    begin in the padding behind the image. Raises ValueError.
    """
    return ((*x[:2], *windows_of(axes, x, **options).out),)


# 2 Definition


def definition(
    axes: int,
    x: Array,
    *,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    padding: int | Shape = 0,
    dilation: int | Shape = 1,
    ceil_mode: bool = False,
) -> Array:
    """y[n, c, i] = max over the taps u of x[n, c, i s - p + u d] that lie in the image.

    x (N, C, *size) to y (N, C, *out), of one dtype; a NaN in a window is its maximum. Options: kernel_size k, stride s (None: k),
    padding p (at most half the window, and never a maximum), dilation d, ceil_mode (also windows that overhang the padding behind,
    unless they begin in it). A dilated window can step over a small image: the maximum of nothing is minus infinity. Raises
    ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5.
    """
    g = windows_of(
        axes, x.shape, kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    xp, space = namespace(x), tuple(range(2, axes + 2))
    parts = [x[(..., *cut)] for cut in cuts(g)]
    tops = [xp.max(part, axis=space) if 0 not in part.shape[2:] else xp.full_like(x[..., *(0,) * axes], -np.inf) for part in parts]
    return xp.reshape(xp.stack(tops, axis=-1), (*x.shape[:2], *g.out))


# 3 Faster ways


def by_windows(axes: int, x: Array, **options: Any) -> Array:
    """Gather all windows of the image, with minus infinity around it, and take each one's maximum."""
    g = windows_of(axes, x.shape, **options)
    return namespace(x).max(gathered(g, x, -np.inf), axis=tuple(range(2 + axes, 2 + 2 * axes)))


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Take the larger, entry by entry, of the image and its copies shifted by one tap after the other."""
    xp = namespace(x)
    first, *others = shifted(windows_of(axes, x.shape, **options), x, -np.inf)
    return reduce(xp.maximum, others, xp.asarray(first, copy=True))


def by_axes(axes: int, x: Array, **options: Any) -> Array:
    """Take the maximum along one axis after the other: the maximum over a box is one of maxima over its lines.

    A window of k^axes entries costs axes k comparisons (van Herk 1992, Pattern Recognition Letters 13(7), section 2).
    """
    largest = partial(namespace(x).max, axis=-1)
    return one_axis_at_a_time(windows_of(axes, x.shape, **options), x, -np.inf, largest)


WAYS: dict[str, Callable[..., Array]] = {"windows": by_windows, "shift": by_shifts, "separable": by_axes}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum of gy[n, c, i] over the windows i whose maximum is at j; the first tap that reaches it counts.

    Returns (gx,), gx (N, C, *size). Where several entries of a window reach the maximum this is one subgradient of many. NaN
    are all largest; a window without an entry of the image sends its gradient nowhere.
    """
    g, xp = windows_of(axes, x.shape, **options), namespace(gy, x)
    hit = _hits(g, x)
    order = xp.cumulative_sum(xp.astype(hit, xp.int32), axis=-1)
    sent = xp.expand_dims(gy, axis=-1)
    parts = xp.where(hit & (order == 1), sent, xp.zeros_like(sent))
    return (scattered(g, xp.reshape(parts, (*gy.shape, *g.kernel))),)


def _hits(g: Grid, x: Array) -> Array:
    """Return which taps of each window reach its maximum: booleans (N, C, *out, k^axes)."""
    xp, taps = namespace(x), math.prod(g.kernel)
    seen = xp.reshape(gathered(g, x, -np.inf), (*x.shape[:2], *g.out, taps))
    outside = xp.reshape(gathered(g, zeros(x, (1, 1, *g.size)), 1.0), (1, 1, *g.out, taps))
    top = xp.max(seen, axis=-1, keepdims=True)
    return (outside == 0) & ((seen == top) | (xp.isnan(seen) & xp.isnan(top)))


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0: a maximum is one of the entries, bit for bit; below the smallest normal number where subnormals are flushed."""
    del axes, x, options
    flushed = (np.abs(y) < p.stored.nmin) & (p.subnormals == "flushed")
    return np.where(flushed, p.stored.nmin, 0.0)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """(K - 1) u S + L, exact for K <= 1: K windows whose maximum is at j, S the sum of their |gy|, L that of the undecided ones.

    S and K count every window in which the entry reaches the maximum. L counts those in which another entry does too: any
    subgradient of max that shares gy among the tied entries, all of it to one of them or not, differs from another by at most L
    (Rockafellar 1970, Convex Analysis, section 23). The sum: Jeannerod and Rump 2013, Theorem 2.1, by `sum_bound`.
    """
    g = windows_of(axes, x.shape, **options)
    hit, size = _hits(g, x), np.abs(gy)[..., None]
    tied = hit & (np.sum(hit, axis=-1, keepdims=True) > 1)
    total, terms, undecided, lost = together(
        lambda parts: scattered(g, parts.reshape(*parts.shape[:-1], *g.kernel)),
        np.where(hit, size, 0.0),
        np.where(hit & (size > 0), 1.0, 0.0),
        np.where(tied, size, 0.0),
        np.where(hit & (size < p.stored.nmin), size, 0.0),
    )
    error = sum_bound(total, np.maximum(terms - 1, 0), grads[0], p, lattice_unit(gy), exact_operands=True)
    error = np.where(terms > 1, error, 0.0) + undecided
    return (error + lost if p.subnormals == "flushed" else error,)


# 6 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return a form: see `common.drawn`; windows up to 6, 4 or 3 entries along an axis, dilation up to 3."""
    return common.drawn(draw, axes, 3)


# 7 Laws


def _peak_fills(f: Any, case: Case) -> Claim:
    """An image of -1 with one 2 becomes 2 where a window reads it, and stays -1 elsewhere; no padding, stride 1."""
    options = {**case.options, "stride": 1, "padding": 0, "ceil_mode": False}
    g = common.grid_of(case, **options)
    image, at = common.lone(g, case.seed, -1.0, 2.0)
    return claim(f(image, **options), np.where(common.reads(g, at), 2.0, -1.0)[None, None])


def _fits(case: Case) -> bool:
    return common.grid_of(case, stride=1, padding=0, ceil_mode=False) is not None


def _threshold(f: Any, case: Case) -> Claim:
    """f(g(x)) = g(f(x)) for an increasing map: a step at one of the entries (Fitch, Coyle and Gallagher 1984, threshold decomposition)."""
    (x,) = case.arrays
    known = x[np.isfinite(x)]
    level = known.max() if case.seed % 2 else known[case.seed // 2 % known.size]

    def step(a: Array) -> Array:
        return np.where(np.isnan(a) | np.isneginf(a), a, np.where(a >= level, 1.0, -1.0))

    left, y = f(step(x), **case.options), f(x, **case.options)
    return Claim(left.value, step(y.value), np.where(np.abs(y.value - level) < y.error, np.inf, left.error))


def _nan_wins(f: Any, case: Case) -> Claim:
    """An image of 0 with one NaN becomes NaN where the same image with a 2 instead becomes 2, and nowhere else."""
    g = common.grid_of(case)
    (nan, _), (two, _) = (common.lone(g, case.seed, 0.0, value) for value in (np.nan, 2.0))
    peak = f(two, **case.options).value
    return claim(f(nan, **case.options), np.where(peak == 2, np.nan, peak))


def _lowest(x: Array) -> float:
    """Return a value that exceeds no entry."""
    known = x[~np.isnan(x)]
    return float(known.min()) if known.size else -np.inf


def _border(f: Any, case: Case) -> Claim:
    """f(x, padding=p) = f(x with p entries of its lowest value around it, padding=0)."""
    (x,) = case.arrays
    options, widths = {**case.options, "ceil_mode": False}, [(p, p) for p in common.grid_of(case).padding]
    bordered = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=_lowest(x))
    return claim(f(x, **options), f(bordered, **{**options, "padding": 0}))


def _padded(case: Case) -> bool:
    g = common.grid_of(case, ceil_mode=False)
    return g is not None and max(g.padding) > 0 and case.arrays[0].size > 0


def _appended(f: Any, case: Case) -> Claim:
    """f(x, ceil_mode=True) = f(x continued by its lowest value as far as the last window reaches, ceil_mode=False)."""
    (x,) = case.arrays
    widths = [(0, max(over, 0)) for over in common.grid_of(case).overhang]
    longer = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=_lowest(x))
    return claim(f(x, **case.options), f(longer, **{**case.options, "ceil_mode": False}))


def _overhangs(case: Case) -> bool:
    return max(common.grid_of(case).overhang) > 0 and case.arrays[0].size > 0


def _signs(case: Case, size: Shape) -> Array:
    """Return -1, 0 and 1 in random order: sums of up to 256 of them are exact in every format."""
    return np.random.default_rng(case.seed).integers(-1, 2, size).astype(np.float64)


def _arrives(f: Any, case: Case) -> Claim:
    """The gradients sum to what was sent, channel by channel; exact."""
    (x,) = case.arrays
    gy = _signs(case, (*x.shape[:2], *common.grid_of(case).out))
    others = (0, *range(2, x.ndim))
    return Claim(f.vjp(gy, x, **case.options)[0].value.sum(axis=others), gy.sum(axis=others))


def _peak_collects(f: Any, case: Case) -> Claim:
    """The one 2 in an image of -1 gets the sum of gy over the windows that read it; exact."""
    g = common.grid_of(case)
    image, at = common.lone(g, case.seed, -1.0, 2.0)
    gy = _signs(case, (1, 1, *g.out))
    return Claim(f.vjp(gy, image, **case.options)[0].value[(0, 0, *at)], gy[0, 0][common.reads(g, at)].sum())


LAWS = (
    Law("a lone peak fills the windows that read it", _peak_fills, when=_fits),
    Law("thresholding commutes with the maximum", _threshold, when=lambda case: bool(np.isfinite(case.arrays[0]).any())),
    Law("a NaN wins wherever a peak would", _nan_wins, when=lambda case: case.regime == "nonfinite"),
    Law("padding is a border that never wins", _border, when=_padded),
    Law("ceil_mode appends the windows that overhang", _appended, when=_overhangs),
    common.SUBSAMPLED,
    common.ALONE,
    Law("the gradient that arrives is what was sent", _arrives, vjp=True),
    Law("a lone peak collects the gradient of the windows that read it", _peak_collects, vjp=True),
)


# 8 Refusals


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return the ways in which a max pooling can be asked wrongly."""
    says, options = "dilation 0", {"kernel_size": 2, "dilation": 0}
    told = f"max_pool{axes}d: dilation=0, expected an integer >= 1 or {axes} of them, one per axis"
    return (*common.rejections("max", axes), Rejection(says, ((1, 2, *(4,) * axes),), options, told))


# 9 Mistakes


def _largest(x: Array, places: common.Places, fill: float) -> Array:
    """Return the maximum over the windows as placed, one axis at a time, `fill` standing for what is not in the image."""
    for axis, (index, n) in enumerate(zip(places.index, x.shape[2:], strict=True), start=2):
        seen = np.take(x, np.clip(index, 0, n - 1), axis=axis)
        outside = ((index < 0) | (index >= n)).reshape(*(1,) * axis, *index.shape, *(1,) * (x.ndim - axis - 1))
        x = np.where(outside, np.asarray(fill, x.dtype), seen).max(axis=axis + 1)
    return x


def _misplaced(place: Callable[[Grid], common.Places], fill: float = -np.inf) -> Callable[..., Array]:
    return lambda axes, x, **options: _largest(x, place(windows_of(axes, x.shape, **options)), fill)


def _after(change: Callable[[Array], Array]) -> Callable[..., Array]:
    """Return the right answer, changed."""
    return lambda axes, x, **options: change(by_axes(axes, x, **options)).astype(x.dtype)


def _undilated(g: Grid) -> common.Places:
    """Read neighbours, from where the window begins."""
    index = tuple(np.array(g.starts(axis))[:, None] + np.arange(k) for axis, k in enumerate(g.kernel))
    return replace(common.placed(g), index=index)


def _clipped_first(g: Grid) -> common.Places:
    """Move the first tap into the image and step from there to where the window ends, out of step with the dilation."""
    right, index = common.placed(g), []
    for a, d in zip(right.index, g.dilation, strict=True):
        moved = np.maximum(a[:, :1], 0) + np.arange(a.shape[1]) * d
        index.append(np.where(moved <= a[:, -1:], moved, -1))
    return replace(right, index=tuple(index))


def _without_drop(axes: int, x: Array, **options: Any) -> Array:
    """Keep the last window of ceil_mode also where it begins in the padding."""
    g = windows_of(axes, x.shape, **options)
    rooms = (n + 2 * p - span for n, p, span in zip(g.size, g.padding, g.span, strict=True))
    out = tuple(-(-room // s) + 1 for room, s in zip(rooms, g.stride, strict=True))
    return _largest(x, common.placed(replace(g, out=out) if options.get("ceil_mode") else g), -np.inf)


def _stride_one(axes: int, x: Array, **options: Any) -> Array:
    return by_axes(axes, x, **{**options, "stride": options.get("stride") or 1})


def _width_first(axes: int, x: Array, **options: Any) -> Array:
    """Take the window and its dilation for (..., width, height)."""
    g = windows_of(axes, x.shape, **options)
    return _largest(x, common.placed(replace(g, kernel=g.kernel[::-1], dilation=g.dilation[::-1])), -np.inf)


def _nan_ignored(axes: int, x: Array, **options: Any) -> Array:
    """Keep the largest so far unless an entry is larger: NaN never is."""
    return by_axes(axes, np.where(np.isnan(x), np.asarray(-np.inf, x.dtype), x), **options)


def _walked(share: Callable[[Array, Array, Array], Array], see: Callable[[Grid], Grid] = lambda g: g) -> Callable[..., Any]:
    """Return a vjp that walks over the windows; share(gx, x, gy) is what gx of a window becomes."""

    def wrong(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
        g, gx = see(windows_of(axes, x.shape, **options)), np.zeros_like(x)
        for cut, i in zip(cuts(g), np.ndindex(*g.out), strict=True):
            if 0 not in x[(..., *cut)].shape:
                gx[(..., *cut)] = share(gx[(..., *cut)], x[(..., *cut)], gy[(..., *i)].reshape(*x.shape[:2], *(1,) * axes))
        return (gx,)

    return wrong


def _first(part: Array) -> Array:
    """Return where the first maximum of a window is: booleans of its shape."""
    flat = part.reshape(*part.shape[:2], -1)
    return (np.arange(flat.shape[-1]) == np.argmax(flat, axis=-1)[..., None]).reshape(part.shape)


def _largest_of(part: Array) -> Array:
    return part.max(axis=tuple(range(2, part.ndim)), keepdims=True)


def _as_if_padded(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Take the places of the maxima for places in the padded image: every gradient arrives p entries too early."""
    (gx,) = vjp(axes, gy, x, **options)
    for axis, p in enumerate(windows_of(axes, x.shape, **options).padding, start=2):
        target, moved = np.maximum(np.arange(x.shape[axis]) - p, 0), np.zeros_like(gx)
        np.add.at(moved, (*(slice(None),) * axis, target), gx)
        gx = moved
    return (gx,)


def _mistakes(axes: int) -> tuple[Mistake, ...]:
    peak, threshold, nan, padding, ceil, stride, channel, sent, collects = (law.says for law in LAWS)
    shape_law = "answers in the shape and dtype of the rule"

    def forward(says: str, cites: str, wrong: Callable[..., Array], *caught_by: str) -> Mistake:
        return Mistake(says, cites, partial(wrong, axes), None, caught_by)

    def gradient(says: str, cites: str, wrong: Callable[..., Any], *caught_by: str) -> Mistake:
        return Mistake(says, cites, None, partial(wrong, axes), caught_by)

    line = (
        forward("padding is zero", f"{HUB}/uxlfoundation/oneDNN/issues/1094", _misplaced(common.placed, 0.0), padding),
        forward(
            "the search starts from the smallest positive number",
            f"{HUB}/uxlfoundation/oneDNN/pull/1677",
            _after(lambda y: np.maximum(y, np.finfo(y.dtype).tiny)),
            peak,
        ),
        forward("dilation only sizes the answer", f"{HUB}/xboot/libonnx/issues/24", _misplaced(_undilated), peak),
        forward("all padding stands behind the image", f"{HUB}/onnx/onnx/issues/388", _misplaced(common.all_padding_behind), padding),
        forward(
            "a dilated window is clipped first and stepped then",
            f"{HUB}/microsoft/onnxruntime/issues/29637",
            _misplaced(_clipped_first),
            padding,
        ),
        forward(
            "what ceil_mode adds is put on both sides",
            f"{HUB}/many-facedgod/Numpy-Atrous-Transposed-CNN/issues/1",
            _misplaced(common.overhang_on_both_sides),
            ceil,
        ),
        forward("a window may begin in the padding behind", f"{HUB}/tracel-ai/burn/issues/5791", _without_drop, shape_law),
        forward("the stride is 1 when none is given", f"{HUB}/distdl/distdl/issues/203", _stride_one, shape_law),
        forward(
            "a stride beyond the window is taken for the window's",
            f"{HUB}/lisa-lab/pylearn2/issues/1382",
            _misplaced(common.stride_cut_to_the_window),
            stride,
        ),
        forward("NaN loses every comparison", f"{HUB}/pytorch/pytorch/issues/7645", _nan_ignored, nan),
        forward(
            "channels are taken two at a time",
            f"{HUB}/tenstorrent/tt-metal/issues/15731",
            common.paired_channels(by_axes),
            channel,
        ),
        forward(
            "maxima pass through a narrower format",
            f"{HUB}/chainer/chainer/pull/7922",
            _after(lambda y: round_to(y, "bfloat16")),
            threshold,
        ),
        gradient(
            "every tied entry gets the whole gradient",
            f"{HUB}/Theano/Theano/issues/5248",
            _walked(lambda gx, part, gy: gx + np.where(part == _largest_of(part), gy, 0)),
            sent,
        ),
        gradient(
            "the last window overwrites what the others sent",
            f"{HUB}/FluxML/NNlib.jl/issues/205",
            _walked(lambda gx, part, gy: np.where(_first(part), gy, gx)),
            sent,
            collects,
        ),
        gradient(
            "the gradient's place is taken for one in the padded image",
            f"{HUB}/tensorflow/tensorflow/issues/10216",
            _as_if_padded,
            collects,
        ),
    )
    if axes == 1:
        return line
    return (
        *line,
        forward("the window is taken for (width, height)", f"{HUB}/Samsung/ONE/issues/15677", _width_first, peak),
        gradient(
            "the gradient uses the first axis's dilation for all",
            f"{HUB}/tracel-ai/burn/pull/4466",
            _walked(
                lambda gx, part, gy: gx + np.where(_first(part), gy, 0),
                lambda g: replace(g, dilation=g.dilation[:1] * len(g.dilation)),
            ),
            collects,
        ),
    )


# 10 The ops


def _op(axes: int) -> Op:
    return Op(
        name=f"max_pool{axes}d",
        operands=(Operand("x", batch=True),),
        options={"kernel_size": REQUIRED, "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False},
        shape=partial(shape, axes),
        definition=partial(definition, axes),
        vjp=partial(vjp, axes),
        bound=partial(bound, axes),
        vjp_bound=partial(vjp_bound, axes),
        cases=partial(cases, axes),
        regimes=("lattice_small", "normal", "ties", "nonfinite", "signed_zero", "wide_range", "subnormal", "large_mean"),
        laws=LAWS,
        rejections=rejections(axes),
        mistakes=_mistakes(axes),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5",
        variants={name: Variant(partial(way, axes)) for name, way in WAYS.items()},
        gallery=common.gallery(axes, dilation=1),
    )


max_pool1d = _op(1)
max_pool2d = _op(2)
max_pool3d = _op(3)
