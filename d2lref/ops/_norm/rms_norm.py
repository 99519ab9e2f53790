"""Root-mean-square normalisation: every row divided by the root of its mean square; no mean is taken away.

A row is what the last axes hold, those of normalized_shape. Letters: n values of a row, s their mean square, and
r = (s + eps)^(-1/2).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.algorithms.moment_bounds import constant, given, grown, lost, most, reordered
from d2lref.arrays import namespace
from d2lref.ops._norm import laws, mistakes
from d2lref.ops._norm.layer_norm import REGIMES, many_rows, parts, rows, trailing_rejections
from d2lref.ops._norm.layer_norm import cases as layer_cases
from d2lref.ops._norm.view import View, check_affine, check_eps, check_trailing, padded, reshaped, shapes
from d2lref.rounding import FORMATS, Pair, Precision, Running, claim
from d2lref.spec import REQUIRED, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Shape, Variant

# 1 Shape


def shape(x: Shape, weight: Shape | None = None, *, normalized_shape: Shape, eps: float | None = None) -> tuple[Shape]:
    """Return (x,) for x (*rows, *normalized_shape). Raises ValueError."""
    sizes = check_trailing("rms_norm", tuple(x), normalized_shape)
    check_affine("rms_norm", sizes, "value of a row", weight=weight)
    check_eps("rms_norm", 0.0 if eps is None else eps)
    return (tuple(x),)


def _view(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
    """Return x with the axes of a row, and the weight beside it. Raises ValueError."""
    x, weight = padded(arrays, 2)
    shape(*shapes(x, weight), **options)
    sizes = tuple(options["normalized_shape"])
    stood = (1,) * (x.ndim - len(sizes)) + sizes
    return View(x, reshaped(weight, stood), None, tuple(range(x.ndim - len(sizes), x.ndim)))


# 2 Definition


def definition(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """y = w x / sqrt(s + eps), s the mean of the squares of a row.

    x and y (*rows, *normalized_shape) with any number of leading axes; weight w (*normalized_shape) or absent, of one
    dtype. eps None: the distance from 1 to the next number of the dtype. Raises ValueError (see `shape`). Source: Zhang
    and Sennrich 2019, Root mean square layer normalization, section 4 (equation 4); eps: torch.nn.functional.rms_norm.
    """
    v = _view((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    return _weighted(x / _root(v, eps), v.weight)


def _root(v: View, eps: float | None) -> Array:
    """sqrt(s + eps) of every row."""
    xp = namespace(v.x)
    return xp.sqrt(xp.mean(v.x * v.x, axis=v.axes, keepdims=True) + _number(v.x, eps))


def _number(x: Array, eps: float | None) -> float:
    """Return eps, for None that of the dtype."""
    return float(namespace(x).finfo(x.dtype).eps) if eps is None else eps


def _weighted(y: Array, weight: Array | None) -> Array:
    return y if weight is None else y * weight


# 3 Faster ways


def _by_norms(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """s = |x|^2 / n with the Euclidean norm of a row (Zhang and Sennrich 2019, equation 4: RMS = |x| / sqrt n)."""
    v = _view((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp = namespace(x)
    norm = xp.linalg.vector_norm(x, axis=v.axes, keepdims=True)
    root = xp.sqrt(norm * norm / moments.count(x.shape, v.axes) + _number(x, eps))
    return _weighted(x / root, v.weight)


def _by_matrices(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """s = x xᵀ / n for every row x, a product of a row and a column."""
    v = _view((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp, n = namespace(x), moments.count(x.shape, v.axes)
    lead = x.shape[: x.ndim - len(v.axes)]
    flat = xp.reshape(x, (math.prod(lead), 1, n))
    square = xp.reshape(xp.matmul(flat, xp.matrix_transpose(flat)), (*lead, *(1,) * len(v.axes)))
    return _weighted(x / xp.sqrt(square / n + _number(x, eps)), v.weight)


def _by_scales(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """y = x (w r): a product with one scale for each value."""
    v = _view((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    scale = 1.0 / _root(v, eps)
    return x * _weighted(scale, v.weight)


WAYS = {
    "norm": Variant(_by_norms),
    "matmul": Variant(_by_matrices),
    "scale": Variant(_by_scales),
}

# 4 Derivative


def vjp(
    gy: Array, x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None
) -> tuple[Array, Array | None]:
    """dx = r (g - x̂ mean of (g x̂)) in each row, g = w gy and x̂ = x r; dw = sum of gy x̂ over the rows.

    The last term of dx is there because s depends on x.
    """
    v = _view((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp, root = namespace(x), _root(v, eps)
    hat, g = x / root, _weighted(gy, v.weight)
    dx = (g - hat * xp.mean(g * hat, axis=v.axes, keepdims=True)) / root
    return dx, reshaped(moments.affine_gradients(gy, hat, v.weight, None)[0], tuple(normalized_shape))


# 5 How wrong it may be


def _eps_of(precision: Precision, eps: float | None) -> float:
    """Return eps, for None the distance from 1 to the next number of the storage format."""
    return 2 * FORMATS[precision.storage].u if eps is None else eps


def _reciprocal(run: Running, x: Pair, axes: moments.Axes, eps: float) -> Pair:
    """r = 1 / sqrt(s + eps), three roundings to spare on s for |x|^2 / n and its like, both stored."""
    square = run.stored(run.rounded(run.mean(run.mul(x, x), axes), 3), run.p.statistics)
    return run.stored(run.rsqrt(run.add(square, constant(run.p, eps))), run.p.statistics)


def bound(y: Array, precision: Precision, *arrays: Any, **options: Any) -> np.ndarray:
    """Pairs on y = x r w, and what its products in any order lose to underflow.

    For eps None the reference answers with the eps of float64, an implementation with that of its storage: by as much
    more as the reference differs between the two.
    """
    del y
    eps, run = _eps_of(precision, options["eps"]), Running(precision)
    v = _view(arrays, options)
    with np.errstate(all="ignore"):
        x = given(precision, v.x)
        root = _reciprocal(run, x, v.axes, eps)
        answer, sizes = run.mul(x, root), [most(x), most(root)]
        if v.weight is not None:
            weight = given(precision, v.weight)
            answer = run.mul(answer, weight)
            sizes.append(most(weight))
        apart = np.abs(definition(*arrays, **options) - definition(*arrays, **{**options, "eps": eps}))
        return run.answer(Pair(answer.value, answer.error + lost(run, *sizes))) + apart


def vjp_bound(grads: tuple[Any, ...], precision: Precision, gy: Array, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Pairs on dw = sum of gy x̂ and dx = r (g - x̂ mean of (g x̂)), in any usual order; eps None as in `bound`."""
    del grads
    eps = _eps_of(precision, options["eps"])
    here, there = (vjp(gy, *arrays, **{**options, "eps": e}) for e in (options["eps"], eps))
    dx, dw = _gradient_bounds(gy, _view(arrays, options), eps, precision)
    sizes = tuple(options["normalized_shape"])
    with np.errstate(all="ignore"):
        apart = [None if a is None else np.abs(a - b) for a, b in zip(here, there, strict=True)]
        return dx + apart[0], None if dw is None else reshaped(dw, sizes) + apart[1]


def _gradient_bounds(gy: Array, v: View, eps: float, precision: Precision) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the bounds of dx and dw.

    The two terms of dx may be scaled before they are added, the second by r^3, so that each rounds by its own size, at
    most 6 times besides the mean of |g x̂|.
    """
    run = Running(precision)
    with np.errstate(all="ignore"):
        x, g = given(precision, v.x), given(precision, gy)
        root = _reciprocal(run, x, v.axes, eps)
        hat = run.mul(x, root)
        weight = np.ones(()) if v.weight is None else most(given(precision, v.weight))
        sent = g if v.weight is None else run.mul(g, given(precision, v.weight))
        along = run.mean(run.mul(sent, hat), v.axes)
        dx = run.mul(run.sub(sent, run.mul(hat, along)), root)
        sizes = most(sent) + most(hat) * np.mean(most(sent) * most(hat), axis=v.axes, keepdims=True)
        less = reordered(run, (most(g), most(x), most(root)), weight, v.axes)
        error = dx.error + most(root) * grown(run, 6) * sizes + less
        dw = None if v.weight is None else _weight_bound(run, g, x, root, moments.constant(v.weight))
    return run.answer(Pair(dx.value, error)), dw


def _weight_bound(run: Running, g: Pair, x: Pair, root: Pair, over: moments.Axes) -> np.ndarray:
    """Return the bound of dw, and what other orders of its products lose to underflow."""
    dw = run.sum(run.mul(g, run.mul(x, root)), over)
    less = np.sum(lost(run, most(g), most(x), most(root)), axis=over, keepdims=True)
    return run.answer(Pair(dw.value, dw.error + less))


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw rows as for layer_norm; shrinks to one row of one value, without weight, and the eps of the dtype."""
    form = layer_cases(draw)
    eps = draw.choice(None, 0.25, 1e-5)  # eps is a fact of each case
    return Form(form.shapes[:2], {**form.options, "eps": eps})


# 7 Laws


def _stretched(case: Case, n: int) -> Shape:
    """Return the sizes of a row of n values that is longer along its first axis."""
    rest = case.options["normalized_shape"][1:]
    return (n // math.prod(rest), *rest)


ASKED = laws.Asked(
    row=lambda a, case: rows(a, case)[0],
    shape=lambda case, n: (1, -1, *case.options["normalized_shape"][1:]),
    options=lambda case, n: {
        "normalized_shape": _stretched(case, n),
        "eps": 2.0**-10 if case.options["eps"] is None else case.options["eps"],
    },
    weights=_stretched,
    beside=lambda a, case: a,
    over=lambda case: tuple(range(case.arrays[0].ndim - len(case.options["normalized_shape"]))),
)


def _last_row(f: Any, case: Case) -> Claim:
    """f(x)[-1] = f(x[-1])."""
    x, weight = case.arrays
    y = f(x, weight, **case.options).map(lambda a: rows(a, case))
    return claim(y[-1:], f(rows(x, case)[-1:], weight, **case.options))


def _last_gradient(f: Any, case: Case) -> Claim:
    """dx of the last row is dx of that row alone."""
    x, weight = case.arrays
    gy = case.cotangents[0]
    every = f.vjp(gy, x, weight, **case.options)[0].map(lambda a: rows(a, case))
    return claim(every[-1:], f.vjp(rows(gy, case)[-1:], rows(x, case)[-1:], weight, **case.options)[0])


def _eps_of_the_dtype(f: Any, case: Case) -> Claim:
    """f(x, eps=None) = f(x, eps=2 u): what the bound of the left allows for another dtype does not count here."""
    x, weight = case.arrays
    left = f(x, weight, **{**case.options, "eps": None})
    right = f(x, weight, **{**case.options, "eps": _eps_of(f.precision, None)})
    return claim(Pair(left.value, right.error), right)


LAWS = (
    Law("the last row does not see the others", _last_row, many_rows),
    Law("a row comes to have the mean square s / (s + eps)", laws.variance(ASKED, centred=False), laws.filled),
    laws.affine_law(ASKED, laws.filled),
    Law("without an eps it is that of the dtype", _eps_of_the_dtype, lambda case: case.options["eps"] is None),
    Law("the gradient of the last row does not see the others", _last_gradient, many_rows, vjp=True),
    Law(
        "the gradient of x is orthogonal to x up to eps",
        laws.gradient_is_orthogonal(ASKED, centred=False),
        laws.filled,
        vjp=True,
    ),
    Law(
        "the gradients of x and of the weight have one scale",
        laws.gradients_share_a_scale(ASKED, centred=False),
        laws.filled,
        vjp=True,
    ),
    laws.cotangent_law(ASKED, laws.filled),
    Law(
        "the gradient of the weight adds over the rows",
        laws.weight_gradient_adds(ASKED, parts),
        laws.having(ASKED, 0, many_rows),
        vjp=True,
    ),
)

# 8 Rejections

REJECTIONS = trailing_rejections("rms_norm", (None,))

# 9 Mistakes

_ROW, _SQUARE, _AFFINE, _EPS, _ROW_GRADIENT, _ORTHOGONAL, _SCALE, _COTANGENT, _SUM = (law.says for law in LAWS)
_USUAL = {"eps": None}


def _wrong(change: Callable[[View, float], Array]) -> Callable[..., Array]:
    """Return the forward function that answers with change(view, eps), eps a number."""

    def forward(*arrays: Any, **options: Any) -> Array:
        arrays, options = mistakes.contiguous(arrays), {**_USUAL, **options}
        return change(_view(arrays, options), _number(arrays[0], options["eps"]))

    return forward


def _divided(root: Callable[[Array, float, int], Array]) -> Callable[..., Array]:
    """Return the division by root(squares, eps, n), squares the sum of a row's."""

    def y(v: View, eps: float) -> Array:
        squares = np.sum(v.x * v.x, axis=v.axes, keepdims=True)
        return _weighted(v.x / root(squares, eps, moments.count(v.x.shape, v.axes)), v.weight)

    return _wrong(y)


def _over_all_but_the_first(v: View, eps: float) -> Array:
    """Divide by the root mean square of all that has one place along the first axis."""
    axes = v.axes if v.x.ndim <= len(v.axes) + 1 or not v.x.size else tuple(range(1, v.x.ndim))
    return _weighted(v.x / _root(v._replace(axes=axes), eps), v.weight)


def _of_the_variance(v: View, eps: float) -> Array:
    """Divide by the root of the variance."""
    _, var = moments.two_pass(v.x, v.axes)
    return _weighted(v.x / np.sqrt(var + eps), v.weight)


def _fixed_eps(*arrays: Any, normalized_shape: Shape, eps: float | None = 1e-5) -> Array:
    """The eps of other norms where none is given."""
    return definition(*arrays, normalized_shape=normalized_shape, eps=1e-5 if eps is None else eps)


def _other(
    dx: Callable[[Array, Array, Array, View], Array] | None = None,
    change: Callable[[tuple[Any, ...], Array, Array, View], tuple[Any, ...]] | None = None,
) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with another dx(gy, x̂, root, view), or with (dx, dw) changed."""

    def wrong(*arrays: Any, **options: Any) -> tuple[Any, ...]:
        (gy, *others), options = mistakes.contiguous(arrays), {**_USUAL, **options}
        v = _view(tuple(others), options)
        root = _root(v, options["eps"])
        right = vjp(gy, *others, **options)
        if change is not None:
            return change(right, gy, root, v)
        return (right[0] if dx is None else dx(gy, v.x / root, root, v), right[1])

    return wrong


def _projected(g: Array, hat: Array, root: Array, v: View) -> Array:
    """(g - x̂ mean of (g x̂)) / root."""
    return (g - hat * np.mean(g * hat, axis=v.axes, keepdims=True)) / root


def _weight_twice(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx with the weight in the second term once more."""
    g = _weighted(gy, v.weight)
    return (g - _weighted(hat * np.mean(g * hat, axis=v.axes, keepdims=True), v.weight)) / root


def _unprojected(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx without its second term."""
    del hat
    return _weighted(gy, v.weight) / root


def _next_row(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx with the sum of the row before in the second term."""
    g = _weighted(gy, v.weight)
    along = np.mean(g * hat, axis=v.axes, keepdims=True)
    return (g - hat * np.reshape(np.roll(np.ravel(along), 1), along.shape)) / root


def _squares_read(right: tuple[Any, ...], gy: Array, root: Array, v: View) -> tuple[Any, ...]:
    """Both gradients with the mean square read where 1 / root was stored."""
    square = root * root
    g, hat = _weighted(gy, v.weight), v.x * square
    dw = None if right[1] is None else np.sum(gy * hat, axis=moments.constant(v.weight)).reshape(right[1].shape)
    return _projected(g, hat, 1.0 / square, v), dw


def _averaged_weight(right: tuple[Any, ...], gy: Array, root: Array, v: View) -> tuple[Any, ...]:
    """dw divided by the number of rows."""
    del gy, v
    return right[0], None if right[1] is None else right[1] / max(root.size, 1)


MISTAKES = (
    Mistake(
        "adds eps outside the root",
        "https://github.com/allenai/OLMo/issues/281",
        _divided(lambda squares, eps, n: np.sqrt(squares / n) + eps),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "divides by the reciprocal of the root",
        "https://github.com/mosaicml/llm-foundry/issues/371",
        _divided(lambda squares, eps, n: 1.0 / np.sqrt(squares / n + eps)),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "has an eps of its own",
        "https://github.com/apache/tvm/pull/15856",
        _divided(lambda squares, eps, n: np.sqrt(squares / n + 1e-6)),  # whatever eps is
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "divides by the root of the variance",
        "https://github.com/keras-team/keras/pull/22393",
        _wrong(_of_the_variance),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "takes the mean square of a whole sequence of rows",
        "https://github.com/bkitano/llama-from-scratch/issues/4",
        _wrong(_over_all_but_the_first),
        caught_by=(_ROW,),
    ),
    Mistake(
        "adds 1 to the weight",
        "https://github.com/utensils/mold/pull/1078",
        _wrong(lambda v, eps: _weighted(v.x / _root(v, eps), None if v.weight is None else v.weight + 1.0)),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "has an eps of 1e-5 where none is given",
        "https://github.com/tinygrad/tinygrad/pull/16122",
        _fixed_eps,
        caught_by=(_EPS,),
    ),
    Mistake(
        "broadcasts a row's sum along the other axis in the gradient",
        "https://github.com/BobMcDear/attorch/issues/17",
        vjp=_other(_next_row),
        caught_by=(_ROW_GRADIENT,),
    ),
    Mistake(
        "reads the mean square where the reciprocal of the root was stored in the gradients",
        "https://github.com/flagos-ai/FlagGems/pull/5771",
        vjp=_other(change=_squares_read),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "takes the mean square for a constant in the gradient",
        "Zhang and Sennrich 2019, section 4.2: the gradient goes through a matrix that is no multiple of the identity",
        vjp=_other(_unprojected),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "averages the gradient of x",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(
            change=lambda right, gy, root, v: (right[0] / moments.count(v.x.shape, v.axes), right[1]),
        ),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "multiplies the second term of the gradient by the weight twice",
        "https://github.com/NVIDIA/Megatron-LM/pull/6859",
        vjp=_other(_weight_twice),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/karpathy/llm.c/pull/763",
        vjp=_other(_projected),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "averages the gradient of the weight over the rows",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(change=_averaged_weight),
        caught_by=(_SUM,),
    ),
)

# 10 The op

rms_norm = Op(
    name="rms_norm",
    operands=(Operand("x"), Operand("weight", optional=True)),
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
        Form(((4, 16), (16,)), {"normalized_shape": (16,), "eps": None}),
        Form(((2, 3, 4, 5), (4, 5)), {"normalized_shape": (4, 5), "eps": 1e-5}),
        Form(((33,), None), {"normalized_shape": (33,), "eps": 0.25}),
    ),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Zhang and Sennrich 2019, Root mean square layer normalization, section 4",
)
