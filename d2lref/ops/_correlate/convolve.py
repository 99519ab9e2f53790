"""convolve1d, convolve2d, convolve3d: the convolution of mathematics, of two arrays on an equal footing.

Every entry of one array spreads a copy of the other, and the copies add up: the coefficients of a product of
polynomials. It is the correlation with a flipped kernel. Letters: n and m are the sizes of x and kernel, j is a place
of the whole answer, of n + m - 1 entries, and u an entry of the kernel; all of them have one entry per axis.
`axes`, the first argument of some functions, is bound to 1, 2 or 3 by the ops.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np

from d2lref.algorithms import fourier, unfold
from d2lref.arrays import namespace, overlap_add, pad
from d2lref.ops._correlate import wrong
from d2lref.ops._correlate.corr import (
    ADJOINT,
    REGIMES,
    largest,
    linear_in,
    points,
    slide,
    sum_bound,
    zeros_keep_gradient,
)
from d2lref.rounding import Pair, Precision, as_pair, claim, multilinear_spread, round_to
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape

MODES = ("full", "same", "valid")
Place = Callable[[str, int, int], tuple[int, int]]


def place(mode: str, n: int, m: int) -> tuple[int, int]:
    """Return along one axis where in the whole answer the answer of a mode begins, and its size.

    "full": all of it, n + m - 1 entries. "same": the n entries in its middle, the odd one cut off after, so that the
    size is that of x whichever is longer; scipy.signal.convolve does so, while numpy.convolve takes the longer size,
    and MATLAB begins one entry later when m is even. "valid": the entries for which the shorter lies inside the longer,
    whichever it is.
    """
    if mode == "full":
        return 0, n + m - 1
    return ((m - 1) // 2, n) if mode == "same" else (min(n, m) - 1, abs(n - m) + 1)


def places(mode: str, x: Shape, kernel: Shape, rule: Place = place) -> list[tuple[int, int]]:
    """Return `place` of every axis."""
    return [rule(mode, n, m) for n, m in zip(x, kernel, strict=True)]


def shape(axes: int, x: Shape, kernel: Shape, *, mode: str = "full") -> tuple[Shape]:
    """Return the sizes of `place`. Raises ValueError."""
    name, x, kernel = f"convolve{axes}d", tuple(x), tuple(kernel)
    for label, found in (("x", x), ("kernel", kernel)):
        if len(found) != axes:
            raise ValueError(f"{name}: {label} {found} has {len(found)} axes, expected {axes}")
        if min(found) < 1:
            raise ValueError(f"{name}: {label} {found} is empty, expected at least 1 entry along every axis")
    if mode not in MODES:
        raise ValueError(f"{name}: mode={mode!r}, expected {', '.join(map(repr, MODES))}")
    longer = tuple(map(max, x, kernel))
    if mode == "valid" and longer not in (x, kernel):
        raise ValueError(
            f"{name}: with mode='valid' one of x {x} and kernel {kernel} lies inside the other, expected {longer} for one"
        )
    return (tuple(size for _, size in places(mode, x, kernel)),)


# 2 Definition


def definition(axes: int, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """y[j] = sum over u of x[j - u] kernel[u], over the u for which both entries exist; `mode` says which j.

    x (n,), kernel (m,) along each axis, y as `place` says, of one floating dtype. Raises ValueError (see `shape`).
    Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.1.3; modes: NumPy and SciPy.
    """
    (out,) = shape(axes, x.shape, kernel.shape, mode=mode)
    xp = namespace(x, kernel)
    turned = xp.flip(kernel)
    along = (
        [meeting(j, n, m) for j in range(start, start + size)]
        for (start, size), n, m in zip(places(mode, x.shape, kernel.shape), x.shape, kernel.shape, strict=True)
    )
    met = (tuple(zip(*pairs, strict=True)) for pairs in product(*along))
    return xp.reshape(xp.stack([xp.sum(x[entries] * turned[taps]) for entries, taps in met]), out)


def meeting(j: int, n: int, m: int) -> tuple[slice, slice]:
    """Return the entries of x, and those of the flipped kernel on top of them, that meet at place j of one axis."""
    first, end = max(0, j - m + 1), min(n, j + 1)
    return slice(first, end), slice(m - 1 - j + first, m - 1 - j + end)


# 3 Faster ways


def slid(x: Array, kernel: Array, mode: str = "full", way: Callable[..., Array] = unfold.by_columns) -> Array:
    """Correlate with the flipped kernel: y is its sliding sum over x among as many zeros as the mode needs."""
    widths = (
        (m - 1 - start, start + size - n)
        for (start, size), n, m in zip(places(mode, x.shape, kernel.shape), x.shape, kernel.shape, strict=True)
    )
    return slide(pad(x, tuple(widths)), namespace(kernel).flip(kernel), way)


def scattered(x: Array, kernel: Array, mode: str = "full") -> Array:
    """y = sum of the products x[i] kernel[u] at i + u: every entry spreads its copy, and the mode cuts its part."""
    ones, sizes = (1,) * x.ndim, tuple(size for _, size in places("full", x.shape, kernel.shape))
    products = namespace(x, kernel).reshape(x, (*x.shape, *ones)) * kernel
    return cut(overlap_add(products, sizes, ones, ones), places(mode, x.shape, kernel.shape))


def transformed(x: Array, kernel: Array, mode: str = "full") -> Array:
    """y = F^-1(F x F kernel), the convolution theorem, with room for the whole answer so that nothing wraps around.

    Source: Stockham 1966, High-speed convolution and correlation, section 3.
    """
    xp, axes = namespace(x, kernel), tuple(range(x.ndim))
    sizes = tuple(fourier.power_of_two(size) for _, size in places("full", x.shape, kernel.shape))
    spectrum = xp.fft.rfftn(x, s=sizes, axes=axes) * xp.fft.rfftn(kernel, s=sizes, axes=axes)
    whole = xp.fft.irfftn(spectrum, s=sizes, axes=axes)
    return xp.astype(cut(whole, places(mode, x.shape, kernel.shape)), x.dtype)


def cut(whole: Array, at: list[tuple[int, int]]) -> Array:
    """Return the part of the whole answer that starts and sizes name."""
    return whole[tuple(slice(start, start + size) for start, size in at)]


WAYS = {
    "flip": (slid, "any-order"),
    "shift": (partial(slid, way=unfold.by_scaling), "any-order"),
    "scatter": (scattered, "any-order"),
    "fft": (transformed, "fft"),
}


def faster(way: Callable[..., Array], axes: int, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """Return the convolution taken by one of these ways, for arrays that fit."""
    shape(axes, x.shape, kernel.shape, mode=mode)
    return way(x, kernel, mode)


# 4 Derivative


def uncut(gy: Array, x: Shape, kernel: Shape, at: list[tuple[int, int]]) -> Array:
    """Return the cotangent of the whole answer: gy where it was cut, and zeros around it."""
    widths = ((start, n + m - 1 - start - size) for (start, size), n, m in zip(at, x, kernel, strict=True))
    return pad(gy, tuple(widths))


def gradient(gy: Array, other: Array, like: Shape, mode: str, *, first: bool) -> Array:
    """gx[i] = sum over u of gy[i + u] kernel[u], gy being that of the whole answer; the kernel's likewise with x."""
    x, kernel = (like, other.shape) if first else (other.shape, like)
    return slide(uncut(gy, x, kernel, places(mode, x, kernel)), other)


def gradients(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
    """Return both gradients: correlations, as those of a correlation are convolutions."""
    return gradient(gy, kernel, x.shape, mode, first=True), gradient(gy, x, kernel.shape, mode, first=False)


def vjp(axes: int, gy: Array, x: Array, kernel: Array, *, mode: str = "full") -> tuple[Array, Array]:
    """Return `gradients` of arrays that fit. Source: Dumoulin and Visin 2016, Convolution arithmetic, section 4."""
    shape(axes, x.shape, kernel.shape, mode=mode)
    return gradients(gy, x, kernel, mode)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, kernel: Array, *, mode: str = "full") -> Array:
    """Return `sum_bound` of the answer: at most min(n, m) products for each place."""
    return sum_bound(partial(slid, mode=mode), x, kernel, points(x, kernel), y, p)


def spread(y: Array, p: Precision, x: Array, kernel: Array, *, mode: str = "full") -> Array | None:
    """Return rounding.multilinear_spread; None for transforms, whose rounding errors are not a random walk."""
    evaluate = partial(slid, mode=mode)
    return None if p.algorithm == "fft" else multilinear_spread(evaluate, (x, kernel), y=y, p=p)


def vjp_bound(
    grads: tuple[Array, Array], p: Precision, gy: Array, x: Array, kernel: Array, *, mode: str = "full"
) -> tuple[Array, Array]:
    """Return `sum_bound` of both gradients."""
    longest = points(x, kernel)
    of_x = partial(gradient, like=x.shape, mode=mode, first=True)
    of_kernel = partial(gradient, like=kernel.shape, mode=mode, first=False)
    gx = sum_bound(of_x, gy, kernel, longest, grads[0], p)
    return gx, sum_bound(of_kernel, gy, x, longest, grads[1], p)


# 6 Cases


def cases(axes: int, draw: Draw) -> Form:
    """Return two arrays of any sizes, either the longer; for "valid" one of them the longer along every axis.

    Shrinks to two arrays of one entry and mode "full".
    """
    mode = draw.choice(*MODES)
    sizes = draw.sizes(*(1,) * (2 * axes))
    x, kernel = sizes[:axes], sizes[axes:]
    if mode == "valid":
        x, kernel = tuple(map(max, x, kernel)), tuple(map(min, x, kernel))
        x, kernel = (kernel, x) if draw.choice(False, True) else (x, kernel)
    return Form((x, kernel), {"mode": mode})


def gallery(axes: int) -> tuple[Form, ...]:
    """Return every mode with an odd and an even kernel, and with a kernel longer than x."""
    pairs = (((4,) * axes, (3,) * axes), ((5,) * axes, (2,) * axes), ((2,) * axes, (4,) * axes))
    return tuple(Form(pair, {"mode": mode}) for mode in MODES for pair in pairs)


# 7 Laws
#
# The first four determine the whole answer, and none of them follows from the others. By the first and the second, it
# is a sum over entries of both arrays, and signs come out; by the third, an entry among zeros counts like one by itself,
# only later; and the fourth says what that gives. The two after them say what the modes cut off.


def difference(f: Callable[..., Pair], case: Case) -> Claim:
    """f(a - b, k) = f(a, k) - f(b, k); the same in the kernel follows by the next law."""
    return linear_in(0)(f, case)


def commutes(f: Callable[..., Pair], case: Case) -> Claim:
    """f(x, k) = f(k, x) with all of the answer, or with its valid part."""
    x, kernel = case.arrays
    mode = "valid" if case.options["mode"] == "valid" else "full"
    return claim(f(x, kernel, mode=mode), f(kernel, x, mode=mode))


def shifts(f: Callable[..., Pair], case: Case) -> Claim:
    """f(x among zeros, k) = f(x, k) among as many zeros: the shift theorem, with both ends of the answer in view."""
    x, kernel = case.arrays
    rng = np.random.default_rng(case.seed)
    widths = [(int(rng.integers(3)), int(rng.integers(3))) for _ in x.shape]
    alone = f(x, kernel, mode="full")
    return claim(f(np.pad(x, widths), kernel, mode="full"), alone.map(lambda a: np.pad(a, widths)))


def scales(f: Callable[..., Pair], case: Case) -> Claim:
    """f([a], k) = a k, for the largest magnitude a of x, and the magnitudes of the kernel."""
    entry, kernel = largest(case.arrays[0]), np.abs(case.arrays[1])
    return claim(f(entry, kernel, mode="full"), as_pair(kernel) * entry)


def middle(f: Callable[..., Pair], case: Case) -> Claim:
    """f(x, k, "same")[i] = f(x, k, "full")[i + (m - 1) // 2] for each i of x."""
    x, kernel = case.arrays
    part = tuple(slice((m - 1) // 2, (m - 1) // 2 + n) for n, m in zip(x.shape, kernel.shape, strict=True))
    return claim(f(x, kernel, mode="same"), f(x, kernel, mode="full")[part])


def inside(f: Callable[..., Pair], case: Case) -> Claim:
    """f(x, k, "valid") = f(x, k, "full")[s - 1 : l], for the shorter size s and the longer size l along each axis."""
    x, kernel = case.arrays
    part = tuple(slice(min(n, m) - 1, max(n, m)) for n, m in zip(x.shape, kernel.shape, strict=True))
    return claim(f(x, kernel, mode="valid"), f(x, kernel, mode="full")[part])


DIFFERENCE = "a difference of arrays gives the difference of their answers"
COMMUTES = "the arrays may change places"
SHIFTS = "zeros around an array are zeros around the whole answer"
SCALES = "an array of one entry scales the other"
MIDDLE = "'same' is the middle of 'full', as long as the first array"
INSIDE = "'valid' is the part of 'full' where one array lies inside the other"
ENTRIES = "entries of the first array that are zero get their gradient"
TAPS = "entries of the second array that are zero get their gradient"
SHAPES = "answers in the shape and dtype of the rule"  # common laws
DEFAULTS = "an option left out means its default"

LAWS = (
    Law(DIFFERENCE, difference),
    Law(COMMUTES, commutes),
    Law(SHIFTS, shifts),
    Law(SCALES, scales),
    Law(MIDDLE, middle, when=lambda case: case.options["mode"] == "same"),
    Law(INSIDE, inside, when=lambda case: case.options["mode"] == "valid"),
    Law(ENTRIES, zeros_keep_gradient(0), vjp=True),
    Law(TAPS, zeros_keep_gradient(1), vjp=True),
)


# 8 Rejections


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be refused, with the message; SciPy and NumPy differ about empty arrays and about rank."""
    name, three, two = f"convolve{axes}d", (3,) * axes, (2,) * axes
    none, more = (0, *two[1:]), (1, *three)
    found = [
        Rejection(
            "a first array with an axis too many",
            (more, two),
            {},
            f"{name}: x {more} has {axes + 1} axes, expected {axes}",
        ),
        Rejection(
            "a second array with an axis too few",
            (three, two[1:]),
            {},
            f"{name}: kernel {two[1:]} has {axes - 1} axes, expected {axes}",
        ),
        Rejection(
            "arrays with an axis too many",
            (more, (1, *two)),
            {},
            f"{name}: x {more} has {axes + 1} axes, expected {axes}",
            mandatory=False,
        ),
        Rejection(
            "a first array without entries",
            (none, two),
            {},
            f"{name}: x {none} is empty, expected at least 1 entry along every axis",
            mandatory=False,
        ),
        Rejection(
            "a second array without entries",
            (three, none),
            {},
            f"{name}: kernel {none} is empty, expected at least 1 entry along every axis",
            mandatory=False,
        ),
        Rejection(
            "a mode that is none",
            (three, two),
            {"mode": "central"},
            f"{name}: mode='central', expected 'full', 'same', 'valid'",
        ),
    ]
    if axes > 1:
        tall, wide, most = (3, *two[1:]), (*two[:-1], 3), (3, *two[1:-1], 3)
        message = f"one of x {tall} and kernel {wide} lies inside the other, expected {most} for one"
        found.append(
            Rejection("'valid' with no array inside the other", (tall, wide), {"mode": "valid"}, f"{name}: with mode='valid' {message}")
        )
    return tuple(found)


# 9 Mistakes


def _cut_by(rule: Place) -> tuple[wrong.Run, wrong.Back]:
    """Return the convolution with its modes cut out of the whole answer by another rule, and its gradients."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        return cut(slid(x, kernel), places(mode, x.shape, kernel.shape, rule))

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        around = uncut(gy, x.shape, kernel.shape, places(mode, x.shape, kernel.shape, rule))
        return slide(around, kernel), slide(around, x)

    return run, back


def _with_answers(change: Callable[[Array, Array, Array, str], Array]) -> tuple[wrong.Run, wrong.Back]:
    """Return change(answers, x, kernel, mode) and its gradients, for a change that is its own adjoint."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        return change(slid(x, kernel, mode), x, kernel, mode)

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        return gradients(change(gy, x, kernel, mode), x, kernel, mode)

    return run, back


def _with_whole(change: wrong.Change, adjoint: wrong.Change) -> tuple[wrong.Run, wrong.Back]:
    """Return the convolution with change(whole answer, shorter array) before it is cut, and its gradients."""

    def run(x: Array, kernel: Array, mode: str = "full") -> Array:
        shorter = min(x, kernel, key=lambda a: a.shape[-1])
        return cut(change(slid(x, kernel), shorter), places(mode, x.shape, kernel.shape))

    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
        shorter = min(x, kernel, key=lambda a: a.shape[-1])
        around = uncut(gy, x.shape, kernel.shape, places(mode, x.shape, kernel.shape))
        return gradients(adjoint(around, shorter), x, kernel)

    return run, back


def _left_over(whole: Array, shorter: Array) -> Array:
    """Return zero for the last entry when the others pair up; an array of one entry only scales, and is left alone."""
    return wrong.blocks_of_two(whole, whole) if shorter.shape[-1] > 1 else whole


def _wrapped(whole: Array, _shorter: Array) -> Array:
    """Return the last entry added to the first, and zero in its place, where there are two."""
    if whole.shape[-1] == 1:
        return whole
    first, between, last = whole[..., :1], whole[..., 1:-1], whole[..., -1:]
    return np.concatenate([first + last, between, np.zeros_like(last)], axis=-1)


def _unwrapped(whole: Array, _shorter: Array) -> Array:
    """Return the adjoint of `_wrapped`: the first entry in place of the last."""
    return whole if whole.shape[-1] == 1 else np.concatenate([whole[..., :-1], whole[..., :1]], axis=-1)


def _only_inside(y: Array, x: Array, kernel: Array, mode: str) -> Array:
    """Return zero for the places of "same" at which the kernel leaves the first array."""
    if mode != "same":
        return y
    sizes = list(zip(x.shape, kernel.shape, strict=True))
    inner = [(m - 1 - (m - 1) // 2, n - (m - 1) // 2) for n, m in sizes]
    within = np.ix_(*[(np.arange(n) >= a) & (np.arange(n) < b) for (n, _), (a, b) in zip(sizes, inner, strict=True)])
    mask = np.zeros(y.shape)
    mask[within] = 1.0
    return y * mask


def _one_short(y: Array, _x: Array, _kernel: Array, mode: str) -> Array:
    """Return zero for the last entry of "valid"."""
    return np.where(np.arange(y.shape[-1]) < y.shape[-1] - (mode == "valid"), y, 0.0)


def _reversed(y: Array, x: Array, kernel: Array, mode: str) -> Array:
    """Return the entries of "valid" in reverse when the kernel is the longer."""
    return np.flip(y) if mode == "valid" and kernel.size > x.size else y


def _from_the_front(mode: str, n: int, m: int) -> tuple[int, int]:
    start, size = place(mode, n, m)
    return (0 if mode == "valid" else start), size


def _matlab(mode: str, n: int, m: int) -> tuple[int, int]:
    return (m // 2, n) if mode == "same" else place(mode, n, m)


def _numpy(mode: str, n: int, m: int) -> tuple[int, int]:
    return ((min(n, m) - 1) // 2, max(n, m)) if mode == "same" else place(mode, n, m)


def _usually_valid(x: Array, kernel: Array, mode: str = "") -> Array:
    fits = tuple(map(max, x.shape, kernel.shape)) in (x.shape, kernel.shape)
    return slid(x, kernel, mode or ("valid" if fits else "full"))


def _bfloat16(x: Array, kernel: Array, mode: str = "full") -> Array:
    return slid(round_to(x, "bfloat16"), round_to(kernel, "bfloat16"), mode)


def _masked(place: int) -> wrong.Back:
    def back(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, ...]:
        pairs = zip(gradients(gy, x, kernel, mode), (x, kernel), strict=True)
        return tuple(wrong.nonzero(g, a) if i == place else g for i, (g, a) in enumerate(pairs))

    return wrong.backward(back)


def _convolved(gy: Array, x: Array, kernel: Array, mode: str = "full") -> tuple[Array, Array]:
    return gradients(gy, np.flip(x), np.flip(kernel), mode)


RIGHT: tuple[wrong.Run, wrong.Back] = (slid, gradients)

MISTAKES = (
    Mistake(
        "negative entries of both arrays count as zero: the arithmetic is unsigned",
        "https://github.com/mantidproject/mantidimaging/issues/808",
        *wrong.twisted(*RIGHT, first=wrong.unsigned, second=wrong.unsigned),
        (DIFFERENCE,),
    ),
    Mistake(
        "negative entries of the kernel count as zero: it takes the dtype of an unsigned image",
        "https://github.com/luispedro/mahotas/issues/75",
        *wrong.twisted(*RIGHT, second=wrong.unsigned),
        (COMMUTES,),
    ),
    Mistake(
        "the kernel is not flipped: a correlation",
        "https://github.com/bonsai-rx/bonsai/issues/1761",
        *wrong.twisted(*RIGHT, second=wrong.flipped),
        (COMMUTES, SCALES),
    ),
    Mistake(
        "answers are computed in blocks of two and the one left over is not",
        "https://github.com/opencv/opencv/pull/23162",
        *wrong.twisted(*_with_whole(_left_over, _left_over)),
        (SHIFTS,),
    ),
    Mistake(
        "transforms are one point too short and the last entry wraps around",
        "https://github.com/Rich-Hall/sentinel1Level0DecodingDemo/issues/11",
        *wrong.twisted(*_with_whole(_wrapped, _unwrapped)),
        (SHIFTS, SCALES),
    ),
    Mistake(
        "every answer is half as large: the transform back halves",
        "https://github.com/HEnquist/realfft/issues/4",
        *wrong.twisted(*_with_answers(lambda y, *_: y / 2)),
        (SCALES,),
    ),
    Mistake(
        "factors are rounded to bfloat16, the default on a TPU",
        "https://github.com/jax-ml/jax/issues/7010",
        wrong.forward(_bfloat16),
        caught_by=(SCALES, ADJOINT),
    ),
    Mistake(
        "'same' leaves zeros where the kernel leaves the first array",
        "https://github.com/scipy/scipy/issues/9923",
        *wrong.twisted(*_with_answers(_only_inside)),
        (MIDDLE,),
    ),
    Mistake(
        "'same' begins one entry later for an even kernel, as in MATLAB",
        "https://github.com/scipy/scipy/issues/9941",
        *wrong.twisted(*_cut_by(_matlab)),
        (MIDDLE,),
    ),
    Mistake(
        "'same' is as long as the longer array, as in NumPy",
        "https://github.com/numpy/numpy/issues/6316",
        wrong.forward(_cut_by(_numpy)[0]),
        caught_by=(SHAPES, MIDDLE),
    ),
    Mistake(
        "'valid' stops one entry short",
        "https://github.com/iamtrask/Grokking-Deep-Learning/issues/43",
        *wrong.twisted(*_with_answers(_one_short)),
        (INSIDE,),
    ),
    Mistake(
        "'valid' is cut from the front of the whole answer",
        "https://github.com/pyro-ppl/pyro/pull/2093",
        *wrong.twisted(*_cut_by(_from_the_front)),
        (INSIDE,),
    ),
    Mistake(
        "'valid' comes back reversed when the kernel is the longer",
        "https://github.com/scipy/scipy/issues/5897",
        *wrong.twisted(*_with_answers(_reversed)),
        (COMMUTES, INSIDE),
    ),
    Mistake(
        "the mode left out means 'valid'",
        "https://github.com/Sabrewarrior/normxcorr2-python/issues/1",
        wrong.forward(_usually_valid),
        caught_by=(DEFAULTS,),
    ),
    Mistake(
        "entries of the first array that are zero get no gradient",
        "https://github.com/pytorch/pytorch/issues/95550",
        vjp=_masked(0),
        caught_by=(ENTRIES,),
    ),
    Mistake(
        "entries of the kernel that are zero get no gradient: they pass for pruned",
        "https://github.com/Eric-mingjie/rethinking-network-pruning/issues/38",
        vjp=_masked(1),
        caught_by=(TAPS,),
    ),
    Mistake(
        "the gradients convolve instead of correlating",
        "https://github.com/rasmusbergpalm/DeepLearnToolbox/issues/41",
        vjp=wrong.backward(_convolved),
        caught_by=(ADJOINT,),
    ),
    Mistake(
        "the gradients forget where 'same' and 'valid' begin",
        "https://github.com/tensorflow/tensorflow/issues/11092",
        vjp=wrong.backward(_cut_by(lambda mode, n, m: (0, place(mode, n, m)[1]))[1]),
        caught_by=(ADJOINT,),
    ),
)

MISTAKES_OF_AXES = (
    Mistake(
        "the kernel is flipped along its last axis only",
        "https://github.com/parallella/pal/pull/148",
        *wrong.twisted(*RIGHT, second=lambda k, _: np.flip(k, tuple(range(k.ndim - 1)))),
        (COMMUTES, SCALES),
    ),
)


# 10 The ops


def _op(axes: int) -> Op:
    wrongs = MISTAKES + (MISTAKES_OF_AXES if axes > 1 else ())
    return Op(
        name=f"convolve{axes}d",
        operands=(Operand("x", linear=True), Operand("kernel", linear=True)),
        options={"mode": "full"},
        shape=partial(shape, axes),
        definition=partial(definition, axes),
        vjp=partial(vjp, axes),
        bound=bound,
        vjp_bound=vjp_bound,
        spread=spread,
        cases=partial(cases, axes),
        gallery=gallery(axes),
        regimes=REGIMES,
        laws=LAWS,
        rejections=rejections(axes),
        mistakes=tuple(wrong.refusing(partial(shape, axes), m) for m in wrongs),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.1.3; modes of scipy.signal.convolve",
        variants={name: Variant(partial(faster, way, axes), algorithm) for name, (way, algorithm) in WAYS.items()},
    )


convolve1d, convolve2d, convolve3d = map(_op, (1, 2, 3))
