"""Average pooling: the mean of each window (d2l, section 7.5).

Reading order: shape, definition, faster ways, derivative, how wrong it may be, cases, laws, refusals, mistakes, and the three
ops. `axes`, the first argument of all functions, is bound to 1, 2 or 3 by the ops.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np

from d2lref.algorithms import unfold
from d2lref.arrays import namespace, zeros
from d2lref.ops._pool import common
from d2lref.ops._pool.grid import Grid, cuts, gathered, grid, one_axis_at_a_time, padded, scattered, shifted, together
from d2lref.rounding import FORMATS, HOST, Precision, claim, lattice_unit, multilinear_spread, round_to, sum_bound
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

HUB = "https://github.com"

# 1 Shape


def shape(axes: int, x: Shape, **options: Any) -> tuple[Shape]:
    """Return ((N, C, *out),) for x (N, C, *size).

    out = floor((size + 2 p - k) / s) + 1 along each axis; with ceil_mode the ceiling, less a window that would begin in the
    padding behind the image. Raises ValueError.
    """
    return ((*x[:2], *plan(axes, x, **options)[0].out),)


def plan(
    axes: int, x: Shape, *, count_include_pad: bool = True, divisor_override: int | None = None, **options: Any
) -> tuple[Grid, Array]:
    """Return where the windows lie and what each is divided by (float64, shape `out`). Raises ValueError."""
    g = grid("avg", axes, x, **options)
    if divisor_override is None:
        return g, reduce(np.multiply.outer, _counts(g, padding_too=count_include_pad))
    if axes == 1:
        raise ValueError("avg_pool1d: has no divisor_override; avg_pool2d and avg_pool3d have")
    if divisor_override == 0:
        raise ValueError(f"avg_pool{axes}d: divisor_override=0, expected None or another integer")
    return g, np.full(g.out, float(divisor_override))


def _counts(g: Grid, *, padding_too: bool) -> list[Array]:
    """Return along each axis how many entries a window reads: of image and padding, or of the image. What overhangs both never counts."""
    low, high = (g.padding, g.padding) if padding_too else ((0,) * len(g.size),) * 2
    begin = [np.maximum(g.starts(axis), -p) for axis, p in enumerate(low)]
    end = [np.minimum(np.array(g.starts(axis)) + k, n + p) for axis, (k, n, p) in enumerate(zip(g.kernel, g.size, high, strict=True))]
    return [(b - a).astype(np.float64) for a, b in zip(begin, end, strict=True)]


# 2 Definition


def definition(
    axes: int,
    x: Array,
    *,
    kernel_size: int | Shape,
    stride: int | Shape | None = None,
    padding: int | Shape = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """y[n, c, i] = (sum over the taps u of x[n, c, i s - p + u] that lie in the image) / (how many taps count).

    x (N, C, *size) to y (N, C, *out), of one dtype. Options: kernel_size k, stride s (None: k), padding p (zeros, at most half the
    window), ceil_mode (also windows that overhang the padding behind, unless they begin in it), count_include_pad (taps
    in the padding count; taps that overhang it never do), divisor_override (2-D and 3-D: divide by this instead). Raises
    ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5.
    """
    g, divisor = plan(
        axes,
        x.shape,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    xp, space = namespace(x), tuple(range(2, axes + 2))
    total = partial(xp.sum, axis=space, dtype=x.dtype)
    means = [total(x[(..., *cut)]) / d for cut, d in zip(cuts(g), divisor.ravel().tolist(), strict=True)]
    return xp.reshape(xp.stack(means, axis=-1), (*x.shape[:2], *g.out))


# 3 Faster ways


def _like(x: Array, divisor: Array) -> Array:
    """Return the divisors in the library, dtype and device of x."""
    return namespace(x).asarray(divisor, dtype=x.dtype, device=x.device)


def by_windows(axes: int, x: Array, **options: Any) -> Array:
    """Gather all windows of the image, with zeros around it, sum and divide."""
    g, divisor = plan(axes, x.shape, **options)
    space = tuple(range(2 + axes, 2 + 2 * axes))
    return namespace(x).sum(gathered(g, x, 0.0), axis=space, dtype=x.dtype) / _like(x, divisor)


def by_shifts(axes: int, x: Array, **options: Any) -> Array:
    """Add the image and its copies shifted by one tap after the other; divide."""
    g, divisor = plan(axes, x.shape, **options)
    return _sums(g, x) / _like(x, divisor)


def _sums(g: Grid, x: Array) -> Array:
    """Return the sum over each window, (N, C, *out)."""
    return reduce(add, shifted(g, x, 0.0))


def by_axes(axes: int, x: Array, **options: Any) -> Array:
    """Sum along one axis after the other, the sum over a box being one of sums over its lines; divide.

    A window of k^axes entries costs axes k additions (McDonnell 1981, Box-filtering techniques, Computer Graphics and Image
    Processing 17(1), section 2).
    """
    g, divisor = plan(axes, x.shape, **options)
    return one_axis_at_a_time(g, x, 0.0, partial(namespace(x).sum, axis=-1, dtype=x.dtype)) / _like(x, divisor)


def by_convolution(axes: int, x: Array, **options: Any) -> Array:
    """Correlate each channel with a filter of ones and multiply by the reciprocal of the divisor: a constant depthwise filter."""
    g, divisor = plan(axes, x.shape, **options)
    ones = zeros(x, (x.shape[1], 1, 1, *g.kernel)) + 1
    image = padded(g, x, 0.0)[:, :, None, ...]
    return unfold.by_columns(image, ones, g.stride, g.dilation)[:, :, 0, ...] * _like(x, 1 / divisor)


WAYS: dict[str, Callable[..., Array]] = {
    "windows": by_windows,
    "shift": by_shifts,
    "separable": by_axes,
    "convolution": by_convolution,
}

# 4 Derivative


def vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """gx[n, c, j] = sum over the windows i that read j of gy[n, c, i] / (what window i is divided by).

    Returns (gx,), gx (N, C, *size).
    """
    g, divisor = plan(axes, x.shape, **options)
    return (_returned(g, gy / _like(gy, divisor)),)


def _returned(g: Grid, shares: Array) -> Array:
    """Return the adjoint of `_sums`: each share (N, C, *out) added to every entry that its window reads, (N, C, *size)."""
    xp = namespace(shares)
    alike = xp.reshape(shares, (*shares.shape, *(1,) * len(g.kernel)))
    return scattered(g, xp.broadcast_to(alike, (*shares.shape, *g.kernel)))


# 5 How wrong it may be


def bound(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """`_mean_bound` of K nonzero entries: S the sum of their sizes over the divisor."""
    g, divisor = plan(axes, x.shape, **options)
    size, by = np.abs(x), np.abs(divisor)
    plain = _is_power_of_two(by)
    total, terms, lost = together(partial(_sums, g), size, (size > 0).astype(np.float64), np.where(size < p.stored.nmin, size, 0.0))
    unit, exact = lattice_unit(x) / by[plain].max(initial=1.0), _on_operand_grid(x, p)
    plain = np.broadcast_to(plain, total.shape)
    return _mean_bound(axes, total / by, terms, total, plain, unit, lost / by, y, p, exact=exact)


def vjp_bound(axes: int, grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """`_mean_bound` of the K windows that send to an entry: S the sum of |gy| over their divisors."""
    g, divisor = plan(axes, x.shape, **options)
    size, by = np.abs(gy), np.abs(divisor)
    plain, sent = _is_power_of_two(by), size > 0
    total, magnitude, terms, odd, lost = together(
        partial(_returned, g),
        size,
        size / by,
        sent.astype(np.float64),
        (sent & ~plain).astype(np.float64),
        np.where(size < p.stored.nmin, size, 0.0) / by,
    )
    unit, exact = lattice_unit(np.where(plain, gy / by, 0.0)), _on_operand_grid(gy, p)
    return (_mean_bound(axes, magnitude, terms, total, odd == 0, unit, lost, grads[0], p, exact=exact),)


def _mean_bound(
    axes: int,
    magnitude: Array,
    terms: Array,
    total: Array,
    plain: Array,
    unit: float,
    lost: Array,
    y: Array,
    p: Precision,
    *,
    exact: bool,
) -> Array:
    """(K + r (1 + 2 r u) (1 + K u)) u S, r = 2 axes; or `sum_bound` of the K terms where every divisor is a power of two.

    K additions err by (K - 1) u S in any order (Jeannerod and Rump 2013, Theorem 2.1). A division is one rounding, a product with
    a rounded reciprocal two, and a mean of means divides once for each axis: r roundings at most, (1 + u)^r - 1 <= r u (1 + 2 r u) for
    r u <= 1/2 (ASNA, Lemma 3.1). A power of two divides exactly, so that small integers stay exact there. magnitude: S; total: the
    sum before it is divided, which must not overflow; lost: what flushed inputs take away; `sum_bound` adds underflow and the store.
    """
    r = 2 * axes
    rough = np.where(terms > 0, terms + r * (1 + 2 * r * p.u) * (1 + terms * p.u), 0.0)
    error = np.where(
        plain, sum_bound(magnitude, terms, y, p, unit, exact_operands=exact), sum_bound(magnitude, rough, y, p)
    )
    error = error + lost if p.subnormals == "flushed" else error
    return np.where(total * (1 + (terms + 2) * (p.u + HOST.u)) < p.accumulator.fmax, error, np.inf)


def _is_power_of_two(a: Array) -> Array:
    return np.frexp(a)[0] == 1 / 2


def _on_operand_grid(a: Array, p: Precision) -> bool:
    """True when the declared rounding of operands changes no entry."""
    if p.operands is None:
        return True
    return p.operands in FORMATS and np.array_equal(round_to(a, p.operands), a)


def spread(axes: int, y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """Standard deviation of the rounding error for entries in random order: that of the sum (`multilinear_spread`), divided."""
    g, divisor = plan(axes, x.shape, **options)
    return multilinear_spread(partial(_sums, g), (x,), y=y * divisor, p=p) / np.abs(divisor)


# 6 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return a form: see `common.drawn`; windows up to 6, 4 or 3 entries along an axis.

    In 3-D no window is larger than the image: torch refuses those there, and only there.
    """
    form = common.drawn(draw, axes, 1, within=axes == 3)
    options = {k: v for k, v in form.options.items() if k != "dilation"} | {"count_include_pad": draw.choice(True, False)}
    if axes > 1:
        options["divisor_override"] = draw.choice(None, None, 1, 2, 3, 7)
    return Form(form.shapes, options)


# 7 Laws


def _usual(case: Case, **changes: Any) -> dict[str, Any]:
    """Return the options of a case after changes, the divisor counted."""
    options = {**case.options, **changes}
    return {k: None if k == "divisor_override" else v for k, v in options.items()}


def _pixel_shared(f: Any, case: Case) -> Claim:
    """An image of 0 with one entry that is the size of the window becomes 1 where a window reads it, 0 elsewhere; no padding, stride 1."""
    options = _usual(case, stride=1, padding=0, ceil_mode=False)
    g = common.grid_of(case, **options)
    image, at = common.lone(g, case.seed, 0.0, float(math.prod(g.kernel)))
    return claim(f(image, **options), np.where(common.reads(g, at), 1.0, 0.0)[None, None])


def _fits(case: Case) -> bool:
    return common.grid_of(case, stride=1, padding=0, ceil_mode=False) is not None


def _border(f: Any, case: Case) -> Claim:
    """f(x, padding=p, count_include_pad=True) = f(x with p zeros around it, padding=0)."""
    x = case.arrays[0][:1]
    options, widths = _usual(case, count_include_pad=True), [(p, p) for p in common.grid_of(case).padding]
    bordered = np.pad(x, [(0, 0), (0, 0), *widths])
    return claim(f(x, **options), f(bordered, **{**options, "padding": 0}))


def _same_windows_on_border(case: Case) -> bool:
    """A window that begins in the padding behind is dropped, but one that begins in a border is not: then the two sides differ."""
    g = common.grid_of(case)
    size = tuple(n + 2 * p for n, p in zip(g.size, g.padding, strict=True))
    bordered = common.grid_of(case, size=size, padding=0)
    return max(g.padding) > 0 and bordered.out == g.out


def _constant(f: Any, case: Case, **changes: Any) -> Claim:
    options = _usual(case, **changes)
    value = 1.0 + case.seed % 7
    y = f(np.full((1, 1, *case.arrays[0].shape[2:]), value), **options)
    return claim(y, np.full(y.shape, value))


def _constant_without_padding(f: Any, case: Case) -> Claim:
    """f(c, count_include_pad=False) = c."""
    return _constant(f, case, count_include_pad=False)


def _constant_overhung(f: Any, case: Case) -> Claim:
    """f(c, padding=0, ceil_mode=True) = c."""
    return _constant(f, case, padding=0, ceil_mode=True, count_include_pad=True)


def _overhangs(case: Case) -> bool:
    g = common.grid_of(case, padding=0, ceil_mode=True)
    return g is not None and max(g.overhang) > 0


def _appended(f: Any, case: Case) -> Claim:
    """f(x, ceil_mode=True) begins with f(x, ceil_mode=False)."""
    x = case.arrays[0][:1]
    few = f(x, **{**case.options, "ceil_mode": False})
    return claim(f(x, **{**case.options, "ceil_mode": True})[(..., *map(slice, few.shape[2:]))], few)


def _appends(case: Case) -> bool:
    few, many = common.grid_of(case, ceil_mode=False), common.grid_of(case, ceil_mode=True)
    return few is not None and few.out != many.out


def _overridden(f: Any, case: Case) -> Claim:
    """2 f(x, divisor_override=2 k^axes) = f(x, divisor_override=None) without padding and overhang."""
    x = case.arrays[0][:1]
    options = _usual(case, padding=0, ceil_mode=False)
    twice = 2 * math.prod(common.grid_of(case).kernel)
    return claim(2.0 * f(x, **{**options, "divisor_override": twice}), f(x, **options))


def _fits_strided(case: Case) -> bool:
    return common.grid_of(case, padding=0, ceil_mode=False) is not None


LAWS = (
    Law("a lone pixel is shared by the windows that read it", _pixel_shared, when=_fits),
    Law("padding that counts is a border of zeros", _border, when=_same_windows_on_border),
    Law("padding that does not count leaves a constant image constant", _constant_without_padding),
    Law("an overhanging window divides by what it reads", _constant_overhung, when=_overhangs),
    Law("ceil_mode only appends windows", _appended, when=_appends),
    common.SUBSAMPLED,
    common.ALONE,
)
OVERRIDE = Law("divisor_override takes the place of the count", _overridden, when=_fits_strided)


# 8 Refusals


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return the ways in which an average pooling can be asked wrongly."""
    x, options = (1, 2, *(4,) * axes), {"kernel_size": 2}
    if axes == 1:
        told = "avg_pool1d: has no divisor_override; avg_pool2d and avg_pool3d have"
        last = Rejection("a divisor in 1-D", (x,), {**options, "divisor_override": 3}, told, mandatory=False)
    else:
        told = f"avg_pool{axes}d: divisor_override=0, expected None or another integer"
        last = Rejection("divisor 0", (x,), {**options, "divisor_override": 0}, told)
    return (*common.rejections("avg", axes), last)


# 9 Mistakes

Altered = Callable[[Grid, bool, int | None], tuple[list[Array], Array]]
"""(windows, count_include_pad, divisor_override) -> one matrix (out, size) of weights per axis, and the divisors."""


def _lines(g: Grid, places: common.Places) -> list[Array]:
    """Return along each axis how often a window reads an entry of the image."""
    return [np.sum(a[:, :, None] == np.arange(n), axis=1) for a, n in zip(places.index, g.size, strict=True)]


def _count(g: Grid, places: common.Places, padding_too: bool, override: int | None = None) -> Array:  # noqa: FBT001 - as in Altered
    """Return the divisor: how many entries of the image, or of image and padding, a window reads; at least 1."""
    if override is not None:
        return np.float64(override)
    low, high = (places.low, places.high) if padding_too else ((0,) * len(g.size), g.size)
    counts = [np.sum((a >= b) & (a < c), axis=1) for a, b, c in zip(places.index, low, high, strict=True)]
    return np.maximum(reduce(np.multiply.outer, counts), 1).astype(np.float64)


def _moved(place: Callable[[Grid], common.Places]) -> Altered:
    """Return what misplaces the windows and divides by what they read there."""
    return lambda g, counted, override: (_lines(g, place(g)), _count(g, place(g), counted, override))


def _recounted(counted_as: bool) -> Altered:  # noqa: FBT001 - a value of count_include_pad
    """Return what reads the right entries and counts them so, whatever count_include_pad says."""
    return lambda g, _, override: (_lines(g, common.placed(g)), _count(g, common.placed(g), counted_as, override))


def _wrong(alter: Altered) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of the altered pooling: one linear map, so that they stay adjoint to each other."""

    def prepared(axes: int, x: Array, options: Any) -> tuple[list[Array], Array]:
        g, _ = plan(axes, x.shape, **options)
        return alter(g, options.get("count_include_pad", True), options.get("divisor_override"))

    def forward(axes: int, x: Array, **options: Any) -> Array:
        lines, divisor = prepared(axes, x, options)
        return (_along(lines, x) / divisor).astype(x.dtype)

    def backward(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
        lines, divisor = prepared(axes, x, options)
        return (_along([a.T for a in lines], gy / divisor).astype(x.dtype),)

    return forward, backward


def _along(lines: list[Array], x: Array) -> Array:
    """Return x multiplied by one matrix along each axis of space, in float64."""
    x = x.astype(np.float64)
    for axis, line in enumerate(lines, start=2):
        x = np.moveaxis(np.tensordot(x, line, (axis, 1)), -1, axis)
    return x


def _mean_of_means(g: Grid, counted: bool, override: int | None) -> tuple[list[Array], Array]:  # noqa: FBT001 - an Altered
    """Weigh what counts along an axis as the mean of the means of its halves does, which is right for 1, 2, 4, ... entries."""
    right, lines = common.placed(g), []
    low, high = (right.low, right.high) if counted else ((0,) * len(g.size), g.size)
    for index, begin, end, n in zip(right.index, low, high, g.size, strict=True):
        line = np.zeros((len(index), n))
        for i, places in enumerate(index):
            valid = places[(places >= begin) & (places < end)]
            weights = len(valid) * np.array(_halved(len(valid)))
            inside = (valid >= 0) & (valid < n)
            line[i, valid[inside]] = weights[inside]
        lines.append(line)
    return lines, _count(g, right, counted, override)


def _halved(count: int) -> list[float]:
    """Return the weights of the mean of the means of two halves, each taken in the same way."""
    if count == 1:
        return [1.0]
    return [w / 2 for part in (count - count // 2, count // 2) for w in _halved(part)]


def _overhang_counted(g: Grid, counted: bool, override: int | None) -> tuple[list[Array], Array]:  # noqa: FBT001 - an Altered
    """Count what overhangs the padding too, where padding counts: the whole window."""
    right = common.placed(g)
    open_ended = replace(right, high=tuple(h + k for h, k in zip(right.high, g.kernel, strict=True)))
    return _lines(g, right), _count(g, open_ended, counted, override)


def _overridden_where_counted(g: Grid, counted: bool, override: int | None) -> tuple[list[Array], Array]:  # noqa: FBT001 - an Altered
    right = common.placed(g)
    return _lines(g, right), _count(g, right, counted, override if counted else None)


def _never_overridden(g: Grid, counted: bool, override: int | None) -> tuple[list[Array], Array]:  # noqa: FBT001 - an Altered
    del override
    return _lines(g, common.placed(g)), _count(g, common.placed(g), counted)


def _ends_after_clipping(g: Grid) -> common.Places:
    """Move windows that begin in front of the image into it, instead of cutting off what is in front."""
    right = common.placed(g)
    return replace(right, index=tuple(a - np.minimum(a[:, :1], 0) for a in right.index))


def _without_drop(axes: int, x: Array, **options: Any) -> Array:
    """Keep the last window of ceil_mode also where it begins in the padding: the mean of zeros."""
    g, _ = plan(axes, x.shape, **options)
    rooms = (n + 2 * p - k for n, p, k in zip(g.size, g.padding, g.kernel, strict=True))
    out = tuple(-(-room // s) + 1 for room, s in zip(rooms, g.stride, strict=True))
    kept = [(0, 0), (0, 0), *((0, many - few) for many, few in zip(out, g.out, strict=True))]
    y = by_axes(axes, x, **options)
    return np.pad(y, kept) if options.get("ceil_mode") else y


def _stride_one(axes: int, x: Array, **options: Any) -> Array:
    return by_axes(axes, x, **{**options, "stride": options.get("stride") or 1})


def _width_first(axes: int, x: Array, **options: Any) -> Array:
    k = common.each(options["kernel_size"], axes)
    return by_axes(axes, x, **{**options, "kernel_size": k[::-1], "stride": options.get("stride") or k})


def _paired_vjp(axes: int, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """The adjoint of `common.paired_channels`."""
    (gx,) = vjp(axes, gy, x, **options)
    c = x.shape[1]
    if c % 2 == 0 or c == 1:
        return (gx,)
    return (np.concatenate([gx[:, : c - 2], gx[:, c - 2 : c - 1] + gx[:, c - 1 :], np.zeros_like(gx[:, c - 1 :])], axis=1),)


def _mistakes(axes: int) -> tuple[Mistake, ...]:
    pixel, padding, constant, overhang, ceil, stride, channel = (law.says for law in LAWS)
    shape_law, adjoint = "answers in the shape and dtype of the rule", "the vjp is the adjoint"

    def both(says: str, cites: str, alter: Altered, *caught_by: str) -> Mistake:
        forward, backward = _wrong(alter)
        return Mistake(says, f"{HUB}/{cites}", partial(forward, axes), partial(backward, axes), caught_by)

    def gradient(says: str, cites: str, alter: Altered) -> Mistake:
        return Mistake(says, f"{HUB}/{cites}", None, partial(_wrong(alter)[1], axes), (adjoint,))

    def shaped(says: str, cites: str, wrong: Callable[..., Array]) -> Mistake:
        return Mistake(says, f"{HUB}/{cites}", partial(wrong, axes), None, (shape_law,))

    line = (
        both("the mean of a window is the mean of its halves' means", "chainer/chainer/issues/1739", _mean_of_means, pixel),
        both("padding always counts", "pytorch/glow/issues/4565", _recounted(counted_as=True), constant),
        both("padding never counts", "sonos/tract/pull/2654", _recounted(counted_as=False), padding),
        both(
            "a window's end is found after its beginning was clipped",
            "PaddlePaddle/Paddle-Lite/pull/5151",
            _moved(_ends_after_clipping),
            padding,
        ),
        both("the whole window counts where it overhangs", "microsoft/onnxruntime/issues/16203", _overhang_counted, overhang),
        both(
            "what ceil_mode adds is put on both sides",
            "many-facedgod/Numpy-Atrous-Transposed-CNN/issues/1",
            _moved(common.overhang_on_both_sides),
            ceil,
        ),
        both(
            "a stride beyond the window is taken for the window's",
            "torch/cunn/pull/200",
            _moved(common.stride_cut_to_the_window),
            stride,
        ),
        Mistake(
            "channels are taken two at a time",
            f"{HUB}/tenstorrent/tt-metal/issues/27738",
            partial(common.paired_channels(by_axes), axes),
            partial(_paired_vjp, axes),
            (channel,),
        ),
        shaped("a window may begin in the padding behind", "pytorch/pytorch/issues/71549", _without_drop),
        shaped("the stride is 1 when none is given", "pytorch/pytorch/pull/744", _stride_one),
        gradient("the gradient divides by the whole window where it overhangs", "pytorch/pytorch/issues/198119", _overhang_counted),
    )
    if axes == 1:
        return line
    return (
        *line,
        shaped("the window is taken for (width, height)", "Samsung/ONE/issues/15677", _width_first),
        both(
            "divisor_override is ignored where padding does not count",
            "pytorch/executorch/pull/18616",
            _overridden_where_counted,
            OVERRIDE.says,
        ),
        gradient("the gradient ignores divisor_override", "pytorch/xla/pull/831", _never_overridden),
    )


# 10 The ops


def _op(axes: int) -> Op:
    options = {"kernel_size": REQUIRED, "stride": None, "padding": 0, "ceil_mode": False, "count_include_pad": True}
    further = {} if axes == 1 else {"divisor_override": None}
    return Op(
        name=f"avg_pool{axes}d",
        operands=(Operand("x", linear=True, batch=True),),
        options=options | further,
        shape=partial(shape, axes),
        definition=partial(definition, axes),
        vjp=partial(vjp, axes),
        bound=partial(bound, axes),
        vjp_bound=partial(vjp_bound, axes),
        spread=partial(spread, axes),
        cases=partial(cases, axes),
        regimes=(
            "lattice_small",
            "lattice_wide",
            "sparse",
            "normal",
            "positive",
            "wide_range",
            "cancelling",
            "subnormal",
            "large_mean",
        ),
        laws=LAWS if axes == 1 else (*LAWS, OVERRIDE),
        rejections=rejections(axes),
        mistakes=_mistakes(axes),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.5",
        variants={name: Variant(partial(way, axes)) for name, way in WAYS.items()},
        gallery=common.gallery(axes, count_include_pad=True, **further),
    )


avg_pool1d = _op(1)
avg_pool2d = _op(2)
avg_pool3d = _op(3)
