"""Layer normalisation: every row brought to mean 0 and variance 1, then scaled and shifted value by value.

A row is what the last axes hold, those of normalized_shape.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.arrays import namespace
from d2lref.ops._norm import laws, mistakes
from d2lref.ops._norm.view import (
    View,
    check_affine,
    check_eps,
    check_trailing,
    gradients,
    normalise,
    padded,
    reshaped,
    shapes,
)
from d2lref.ops._norm.view import bound as bound_of
from d2lref.ops._norm.view import vjp_bound as vjp_bound_of
from d2lref.rounding import Precision, claim
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(
    x: Shape, weight: Shape | None = None, bias: Shape | None = None, *, normalized_shape: Shape, eps: float = 1e-5
) -> tuple[Shape]:
    """Return (x,) for x (*rows, *normalized_shape). Raises ValueError."""
    sizes = check_trailing("layer_norm", tuple(x), normalized_shape)
    check_affine("layer_norm", sizes, "value of a row", weight=weight, bias=bias)
    check_eps("layer_norm", eps)
    return (tuple(x),)


def _view(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
    """Return x with the axes of a row, and weight and bias beside it. Raises ValueError."""
    x, weight, bias = padded(arrays, 3)
    shape(*shapes(x, weight, bias), **options)
    sizes = tuple(options["normalized_shape"])
    stood = (1,) * (x.ndim - len(sizes)) + sizes
    return View(x, reshaped(weight, stood), reshaped(bias, stood), tuple(range(x.ndim - len(sizes), x.ndim)))


# 2 Definition


def definition(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> Array:
    """y = w (x - m) / sqrt(v + eps) + b, m and v the mean and the biased variance of each row.

    x and y (*rows, *normalized_shape) with any number of leading axes; weight w and bias b (*normalized_shape) or
    absent, all of one dtype. Raises ValueError (see `shape`). Source: Ba, Kiros and Hinton 2016, Layer normalization,
    section 3; eps: torch.nn.functional.layer_norm.
    """
    return normalise(_view((x, weight, bias), {"normalized_shape": normalized_shape, "eps": eps}), eps)


# 3 Faster ways


def _way(of: moments.Moments, apply: moments.Apply = moments.centred) -> Callable[..., Array]:
    """Return layer normalisation with the statistics computed, or applied, in another way."""

    def way(*arrays: Any, normalized_shape: Shape, eps: float = 1e-5) -> Array:
        return normalise(_view(arrays, {"normalized_shape": normalized_shape, "eps": eps}), eps, of, apply)

    return way


def _by_matrices(x: Array, axes: moments.Axes) -> tuple[Array, Array]:
    """m = X 1 / n and v = D D 1 / n with products of matrices, X the rows and D their distances from m."""
    xp = namespace(x)
    n = moments.count(x.shape, axes)
    lead = x.shape[: x.ndim - len(axes)]
    rows = xp.reshape(x, (math.prod(lead), n))
    ones = xp.ones_like(rows[:1, :])
    mean = xp.matmul(rows, xp.matrix_transpose(ones)) / n
    apart = rows - mean
    var = xp.matmul(apart * apart, xp.matrix_transpose(ones)) / n
    beside = (*lead, *(1,) * len(axes))
    return xp.reshape(mean, beside), xp.reshape(var, beside)


WAYS = {
    "folded": Variant(_way(moments.two_pass, moments.folded)),
    "matmul": Variant(_way(_by_matrices), accepts=lambda x, *_, **__: 0 not in x),
    "welford": Variant(_way(moments.welford), algorithm="welford"),
    "merged": Variant(_way(moments.merged), algorithm="welford"),
    "naive": Variant(_way(moments.naive), algorithm="naive"),
}

# 4 Derivative


def vjp(
    gy: Array,
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: Shape,
    eps: float = 1e-5,
) -> tuple[Array, Array | None, Array | None]:
    """dx = r (g - mean of g - x̂ mean of (g x̂)) in each row, g = w gy; dw and db are sums of gy x̂ and gy over the rows.

    The last two terms of dx are there because m and v depend on x.
    """
    v = _view((x, weight, bias), {"normalized_shape": normalized_shape, "eps": eps})
    dx, dw, db = gradients(gy, v, eps)
    return dx, reshaped(dw, tuple(normalized_shape)), reshaped(db, tuple(normalized_shape))


# 5 How wrong it may be


def bound(y: Array, precision: Precision, *arrays: Any, **options: Any) -> np.ndarray:
    """Pairs on y = (x - m) r w + b, for every usual order of the same operations (algorithms.moment_bounds)."""
    del y
    return bound_of(_view(arrays, options), options["eps"], precision)


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Pairs on dw = sum of gy x̂, db = sum of gy and dx = r (g - mean of g - x̂ mean of (g x̂)), in any usual order."""
    dx, dw, db = vjp_bound_of(gy, _view(arrays, options), options["eps"], grads[2], precision)
    sizes = tuple(options["normalized_shape"])
    return dx, reshaped(dw, sizes), reshaped(db, sizes)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw up to three leading and up to three normalised axes; shrinks to one row of one value, without weight."""
    leading, trailing = draw.choice(1, 0, 2, 3), draw.choice(1, 1, 2, 3)
    sizes = draw.sizes(*(1,) * (leading + trailing))
    rows, row = sizes[:leading], sizes[leading:]
    if rows and draw.integer(0, 31) == 31:
        rows = (0, *rows[1:])
    weight, bias = draw.choice(None, row), draw.choice(None, row)
    eps = draw.choice(1e-5, 0.25, 1e-3)  # eps is a fact of each case
    return Form(((*rows, *row), weight, bias), {"normalized_shape": row, "eps": eps})


REGIMES = (
    "lattice_small",
    "sparse",
    "normal",
    "positive",
    "wide_range",
    "cancelling",
    "subnormal",
    "large_mean",
    "ties",
)

# 7 Laws


def trailing(case: Case) -> int:
    """Return how many axes a row has."""
    return len(case.options["normalized_shape"])


def rows(a: Array, case: Case) -> Array:
    """Return (*rows, *row) as (R, *row)."""
    k = trailing(case)
    return np.reshape(a, (math.prod(a.shape[:-k]), *a.shape[a.ndim - k :]))


ASKED = laws.Asked(
    row=lambda a, case: rows(a, case)[0],
    shape=lambda case, n: (1, n),
    options=lambda case, n: {"normalized_shape": (n,), "eps": case.options["eps"]},
    weights=lambda case, n: (n,),
    beside=lambda a, case: a,
    over=lambda case: tuple(range(case.arrays[0].ndim - trailing(case))),
)


def last_row(f: Any, case: Case) -> Claim:
    """f(x)[-1] = f(x[-1]) for rows of a flat list."""
    x, *affine = case.arrays
    flat = rows(x, case)
    return claim(f(flat, *affine, **case.options)[-1:], f(flat[-1:], *affine, **case.options))


def leading_axes(f: Any, case: Case) -> Claim:
    """f(x) is f of the list of its rows."""
    x, *affine = case.arrays
    y = f(x, *affine, **case.options).map(lambda a: rows(a, case))
    return claim(y, f(rows(x, case), *affine, **case.options))


def one_axis(f: Any, case: Case) -> Claim:
    """f(x) is f of the rows with all their values along one axis."""
    x, n = rows(case.arrays[0], case)[:1], math.prod(case.options["normalized_shape"])
    flat = f(np.reshape(x, (1, n)), **{**case.options, "normalized_shape": (n,)})
    return claim(f(x, **case.options).map(lambda a: np.reshape(a, (1, n))), flat)


def last_row_gradient(f: Any, case: Case) -> Claim:
    """dx of the last row of a flat list is dx of that row alone."""
    x, weight, *_ = case.arrays
    flat, gy = rows(x, case), rows(case.cotangents[0], case)
    every, alone = (f.vjp(gy[part], flat[part], weight, **case.options)[0] for part in (slice(None), slice(-1, None)))
    return claim(every[-1:], alone)


def parts(a: Array, case: Case) -> list[Array]:
    """Return the first half of the rows, and the rest."""
    flat = rows(a, case)
    return np.split(flat, [len(flat) // 2])


def many_rows(case: Case) -> bool:
    """Return whether there is more than one row, and a value in each."""
    return laws.filled(case) and len(rows(case.arrays[0], case)) > 1


def row_laws(asked: laws.Asked) -> tuple[Law, ...]:
    """Return the laws on rows and their axes, and on the sum over them."""
    return (
        Law("the last row does not see the others", last_row, many_rows),
        Law(
            "leading axes only number the rows",
            leading_axes,
            lambda case: laws.filled(case) and case.arrays[0].ndim != trailing(case) + 1,
        ),
        Law("the axes of a row are one", one_axis, lambda case: laws.filled(case) and trailing(case) > 1),
        Law("the gradient of the last row does not see the others", last_row_gradient, many_rows, vjp=True),
        Law(
            "the gradient of the weight adds over the rows",
            laws.weight_gradient_adds(asked, parts),
            laws.having(asked, 0, many_rows),
            vjp=True,
        ),
    )


LAWS = (*row_laws(ASKED), *laws.own_laws(ASKED, "a row"))

# 8 Rejections

_USUAL = {"eps": 1e-5}  # torch's default


def trailing_rejections(name: str, absent: tuple[None, ...] = (None, None)) -> tuple[Rejection, ...]:
    """Return the ways in which normalized_shape can be wrong, for an op with so many optional arrays."""

    def refused(says: str, x: Shape, sizes: Any, told: str, *, mandatory: bool = True) -> Rejection:
        return Rejection(says, (x, *absent), {"normalized_shape": sizes}, f"{name}: {told}", mandatory)

    ends = "expected one or more of the last sizes of x (2, 3)"
    return (
        refused("a row that is not how x ends", (2, 3), (4,), f"normalized_shape=(4,), {ends}"),
        refused("a row with more axes than x", (2, 3), (1, 2, 3), f"normalized_shape=(1, 2, 3), {ends}"),
        refused("a row without an axis", (2, 3), (), f"normalized_shape=(), {ends}"),
        refused("a size for a row", (2, 3), 3, "normalized_shape=3, expected a tuple of sizes"),
        refused(  # torch answers with an empty array
            "a row without a value",
            (2, 0),
            (0,),
            "normalized_shape=(0,) holds 0 values, expected at least 1",
            mandatory=False,
        ),
        Rejection(
            "a weight for another row",
            ((2, 3), (2,), *absent[1:]),
            {"normalized_shape": (3,)},
            f"{name}: weight (2,), expected (3,): one number for each value of a row",
        ),
        Rejection(  # others leave it to the square root
            "a negative eps",
            ((2, 3), *absent),
            {"normalized_shape": (3,), "eps": -1.0},
            f"{name}: eps=-1.0, expected a number >= 0",
            mandatory=False,
        ),
    )


REJECTIONS = (
    *trailing_rejections("layer_norm"),
    Rejection(
        "one bias for all values",
        ((2, 3), None, (1,)),
        {"normalized_shape": (3,)},
        "layer_norm: bias (1,), expected (3,): one number for each value of a row",
    ),
)

# 9 Mistakes

_ROW, _LEADING, _AXES, _ROW_GRADIENT, _SUM, _VARIANCE, _AFFINE, _NOTHING, _ORTHOGONAL, _SCALE, _COTANGENT, _BIAS = (
    law.says for law in LAWS
)


def _wrong(**steps: Any) -> Callable[..., Array]:
    """Return layer normalisation with a step replaced."""
    return mistakes.answers(_view, _USUAL, mistakes.planted(**steps))


def _over(axes: Callable[[View], moments.Axes]) -> Callable[..., Array]:
    """Return layer normalisation with the statistics taken over other axes."""
    right = mistakes.planted()
    return mistakes.answers(_view, _USUAL, lambda v, eps: right(v._replace(axes=axes(v) if v.x.size else v.axes), eps))


def _one_weight(hat: Array, w: Array, b: Array) -> Array:
    """The first weight and the first bias for all values."""
    return hat * np.ravel(w)[0] + np.ravel(b)[0]


def _other(change: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with its gradients changed."""
    return mistakes.changed(_view, _USUAL, vjp, change)


def _last_block(seen: mistakes.Seen) -> Array:
    """dx with the term of the variance from the last half of a row only."""
    n = moments.count(seen.v.x.shape, seen.v.axes)
    shape = tuple(seen.v.x.shape[a] for a in seen.v.axes)
    late = np.reshape(np.arange(n) >= n // 2, shape)
    g, hat = seen.sent, seen.hat
    return (g - seen.mean(g) - hat * seen.mean(g * hat * late)) / seen.root


def _all_rows(seen: mistakes.Seen) -> Array:
    """dx with the two sums over the values of all rows."""
    g, hat = seen.sent, seen.hat
    leading = tuple(range(g.ndim - len(seen.v.axes)))
    middle, along = (np.sum(seen.mean(a), axis=leading, keepdims=True) for a in (g, g * hat))
    return (g - middle - hat * along) / seen.root


def _first_axis(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dw of the rows that the first axis numbers, and of them the first of each."""
    dx, dw, db = right
    lead = seen.gy.ndim - len(seen.v.axes)
    if dw is None or lead < 2 or not seen.gy.size:
        return right
    first = np.sum(seen.gy * seen.hat, axis=0)[(0,) * (lead - 1)]
    return dx, first, db


def _swapped(seen: mistakes.Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """db in the place of dw and dw in that of db, where there are both."""
    del seen
    dx, dw, db = right
    return right if dw is None or db is None else (dx, db, dw)


MISTAKES = (
    Mistake(
        "normalises with the unbiased variance",
        "https://github.com/LBANN/lbann/pull/2024",
        _wrong(root="unbiased"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds eps outside the root",
        "https://github.com/hkproj/pytorch-transformer/pull/31",
        _wrong(root="outside"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "squares where it should take the root",
        "https://github.com/131250208/TPlinker-joint-extraction/issues/37",
        _wrong(root="squared"),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "computes the variance as mean of squares less square of mean",
        "https://github.com/NVIDIA/trt-samples-for-hackathon-cn/issues/88",
        _wrong(of=moments.naive),
        caught_by=(_VARIANCE,),
    ),
    Mistake(
        "adds the bias before it multiplies by the weight",
        "https://github.com/apple/ml-ane-transformers/pull/2",
        _wrong(affine=mistakes.bias_first),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "has one weight and one bias for all values",
        "https://github.com/microsoft/CNTK/issues/2376",
        _wrong(affine=_one_weight),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "takes the statistics of all rows together",
        "https://github.com/flexflow/flexflow-train/issues/523",
        _over(lambda v: tuple(range(v.x.ndim))),
        caught_by=(_ROW,),
    ),
    Mistake(
        "takes every axis but the first for one of the row",
        "https://github.com/Qualcomm-AI-research/geometric-algebra-transformer/pull/8",
        _over(lambda v: v.axes if v.x.ndim <= len(v.axes) + 1 else tuple(range(1, v.x.ndim))),
        caught_by=(_LEADING,),
    ),
    Mistake(
        "normalises along the last axis only",
        "https://github.com/keras-team/keras/issues/18231",
        _over(lambda v: v.axes[-1:]),
        caught_by=(_AXES,),
    ),
    Mistake(
        "subtracts the mean of the cotangent twice",
        "https://github.com/tenstorrent/tt-metal/pull/53215",
        vjp=_other(mistakes.of_x(mistakes.mean_twice)),
        caught_by=(_NOTHING,),
    ),
    Mistake(
        "keeps of the gradient's term of the variance what the last block adds",
        "https://github.com/tenstorrent/tt-metal/pull/53215",
        vjp=_other(mistakes.of_x(_last_block)),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "adds up the terms of the gradient over all rows of a block",
        "https://github.com/flagos-ai/FlagGems/pull/59",
        vjp=_other(mistakes.of_x(_all_rows)),
        caught_by=(_ROW_GRADIENT,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/denizyuret/Knet.jl/issues/288",
        vjp=_other(mistakes.of_x(mistakes.weightless)),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "averages the gradient of x",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(mistakes.averaged),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "takes the first axis for the rows in the gradient of the weight",
        "https://github.com/flagos-ai/FlagGems/issues/5392",
        vjp=_other(_first_axis),
        caught_by=(_SUM,),
    ),
    Mistake(
        "answers with the gradient of the bias for that of the weight, and the other way round",
        "https://github.com/Oneflow-Inc/oneflow/pull/6149",
        vjp=_other(_swapped),
        caught_by=(_BIAS,),
    ),
)

# 10 The op

layer_norm = Op(
    name="layer_norm",
    operands=(Operand("x"), Operand("weight", optional=True), Operand("bias", optional=True)),
    options={"normalized_shape": REQUIRED, **_USUAL},
    shape=shape,
    definition=definition,
    variants=WAYS,
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=REGIMES,
    gallery=(
        Form(((4, 16), (16,), (16,)), {"normalized_shape": (16,), "eps": 1e-5}),
        Form(((2, 3, 4, 5), (4, 5), None), {"normalized_shape": (4, 5), "eps": 1e-5}),
        Form(((33,), None, (33,)), {"normalized_shape": (33,), "eps": 0.25}),
    ),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Ba, Kiros and Hinton 2016, Layer normalization, section 3",
)
