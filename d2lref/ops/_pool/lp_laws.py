"""What holds of every power-average pooling: cases, laws, refusals."""

import math
from typing import Any

import numpy as np

from d2lref.ops._pool import shared
from d2lref.rounding import HOST, Pair, claim, inner
from d2lref.spec import SUMS, Array, Case, Claim, Draw, Form, Law, Rejection, Shape

# 1 Cases

REGIMES = (*SUMS, "large_mean")


def cases(axes: int, draw: Draw) -> Form:
    """Return a form: see `shared.drawn`; p is 1, 2, 3 or 4, or no integer."""
    form = shared.drawn(draw, axes, 1, within=axes == 3, padded=False)
    return Form(form.shapes, {"norm_type": draw.choice(1, 2, 2.0, 3, 4, 1.5, 2.5, 0.5), **form.options})


def gallery(axes: int) -> tuple[Form, ...]:
    """Return the forms of all pooling that have no padding, with p = 2, and one with p = 3."""
    forms = [form for form in shared.gallery(axes) if form.options["padding"] == 0]
    known = ({k: v for k, v in form.options.items() if k != "padding"} for form in forms)
    norms = (2, 3, *(2,) * (len(forms) - 2))
    return tuple(Form(f.shapes, {"norm_type": p, **o}) for f, p, o in zip(forms, norms, known, strict=True))


# 2 Laws: the norm of one window


def _entries(case: Case) -> tuple[Array, Shape]:
    """Return small integers in an image of the size of a window, and that size: the same along all axes."""
    axes = case.arrays[0].ndim - 2
    k = (max(shared.each(case.options["kernel_size"], axes)),) * axes
    return np.random.default_rng(case.seed).integers(-3, 4, (1, 1, *k)).astype(np.float64), k


def _times(a: Pair, count: int) -> Pair:
    """Return the product of so many a."""
    return math.prod([a] * count, start=Pair.exact(np.ones(a.shape)))


def _power_sum(f: Any, case: Case) -> Claim:
    """y^p = sum of x^p over one window, p an integer; nothing is claimed where that is 0, or negative and p > 1."""
    x, k = _entries(case)
    p = int(case.options["norm_type"])
    total = np.sum(x**p, keepdims=True)
    y = _times(f(x, norm_type=case.options["norm_type"], kernel_size=k), p)
    return claim(y, Pair(total, np.where((total > 0) | (total < 0) & (p == 1), 0.0, np.inf)))


def _whole(case: Case) -> bool:
    return float(case.options["norm_type"]).is_integer()


def _alike(f: Any, case: Case) -> Claim:
    """An image of c answers c m^(1/p), m the entries of it that a window reads."""
    g = shared.grid_of(case)
    value = 1.0 + case.seed % 7
    counts = shared.along(shared.lines(g, shared.placed(g)), np.ones((1, 1, *g.size)))
    right = value * counts ** (1 / case.options["norm_type"])
    y = f(np.full((1, 1, *g.size), value), **case.options)
    return claim(y, Pair(right, 2.0**5 * HOST.u * right))


def _homogeneous(f: Any, case: Case) -> Claim:
    """f(4 |x|) = 4 f(|x|)."""
    x = np.abs(case.arrays[0][:1])
    return claim(f(4.0 * x, **case.options), f(x, **case.options) * 4.0)


# 3 Laws: where the windows lie


def _lone(f: Any, case: Case) -> Claim:
    """An image of 0 with one 2 exceeds 1 where a window reads that, and nowhere else; stride 1."""
    options = {**case.options, "stride": 1, "ceil_mode": False}
    g = shared.grid_of(case, **options)
    image, at = shared.lone(g.size, case.seed, 0.0, 2.0)
    return Claim(f(image, **options).value > 1, shared.reads(g, at)[None, None])


def _fits(case: Case) -> bool:
    return shared.grid_of(case, stride=1, ceil_mode=False) is not None


# 4 Laws: the gradient


def _euler(f: Any, case: Case) -> Claim:
    """<x, gx> = <gy, y>, for y is homogeneous of degree 1 (Euler); x >= 0 unless p is even, gy = 0 where y is."""
    g, rng = shared.grid_of(case), np.random.default_rng(case.seed)
    x = rng.integers(-3, 4, (1, case.arrays[0].shape[1], *g.size)).astype(np.float64)
    x = x if case.options["norm_type"] % 2 == 0 else np.abs(x)
    read = shared.along(shared.lines(g, shared.placed(g)), x != 0) > 0
    gy = np.where(read, rng.integers(-3, 4, read.shape), 0.0)
    return claim(inner(f.vjp(gy, x, **case.options)[0], x), inner(f(x, **case.options), gy))


def _gentle(case: Case) -> bool:
    return bool(case.options["norm_type"] >= 1)


def _in_proportion(f: Any, case: Case) -> Claim:
    """2^(p-1) gx[a] = gx[b] for entries x[b] = 2 x[a] > 0 of one window."""
    _, k = _entries(case)
    p = case.options["norm_type"]
    large = np.arange(math.prod(k)).reshape(k) % 2 == 1
    x = np.where(large, 2.0, 1.0)[None, None]
    (gx,) = f.vjp(np.ones((1, 1, *(1,) * len(k))), x, norm_type=p, kernel_size=k)
    factor = 2.0 ** (p - 1)
    one = gx[0, 0][~large][:1] * Pair(np.asarray(factor), np.asarray(2.0**3 * HOST.u * factor))
    return claim(gx[0, 0][large], one.map(lambda a: np.repeat(a, np.sum(large))))


def _several(case: Case) -> bool:
    return max(shared.each(case.options["kernel_size"], case.arrays[0].ndim - 2)) > 1


LAWS = (
    Law("over one window the power of the answer is the sum of powers", _power_sum, when=_whole),
    Law("equal entries count by the root of their number", _alike),
    Law("four times the image is four times the answer", _homogeneous),
    Law("a lone pixel shows in the windows that read it", _lone, when=_fits),
    shared.SUBSAMPLED,
    shared.ALONE,
    Law("the image and its gradient multiply to what answer and cotangent do", _euler, when=_gentle, vjp=True),
    Law("gradients in a window stand in the ratio of powers", _in_proportion, when=_several, vjp=True),
)


# 5 Refusals


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return the ways in which a power-average pooling can be asked wrongly.

    Advisory: torch takes the limits of p = inf and -inf, a maximum and a minimum of |x|, and any other p but 0.
    """
    name, x = f"lp_pool{axes}d", (1, 2, *(4,) * axes)

    def exponent(says: str, p: Any, *, mandatory: bool = False) -> Rejection:
        told = f"{name}: norm_type={p!r}, expected a finite number > 0"
        return Rejection(says, (x,), {"norm_type": p, "kernel_size": 2}, told, mandatory)

    usual = shared.rejections("lp_pool{}d", axes, norm_type=2)
    return (
        *(r for r in usual if "padding" not in r.options),
        exponent("p = 0", 0, mandatory=True),
        exponent("a negative p", -2.0),
        exponent("the limit of large p", math.inf),
    )
