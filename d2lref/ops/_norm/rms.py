"""Root-mean-square normalisation: every row divided by the root of its mean square; no mean is taken away.

A row is what the last axes hold, those of normalized_shape. Letters: n values of a row, s their mean square, and
r = (s + eps)^(-1/2).
"""

import math
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.algorithms.moment_bounds import constant, given, grown, lost, most, reordered
from d2lref.arrays import namespace
from d2lref.ops._norm.layer import cases as layer_cases
from d2lref.ops._norm.view import View, check_affine, check_eps, check_trailing, padded, reshaped, shapes
from d2lref.rounding import FORMATS, Pair, Precision, Running
from d2lref.spec import Array, Draw, Form, Shape, Variant

# 1 Shape


def shape(x: Shape, weight: Shape | None = None, *, normalized_shape: Shape, eps: float | None = None) -> tuple[Shape]:
    """Return (x,) for x (*rows, *normalized_shape). Raises ValueError."""
    sizes = check_trailing("rms_norm", tuple(x), normalized_shape)
    check_affine("rms_norm", sizes, "value of a row", weight=weight)
    check_eps("rms_norm", 0.0 if eps is None else eps)
    return (tuple(x),)


def viewed(arrays: tuple[Any, ...], options: dict[str, Any]) -> View:
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
    v = viewed((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    return weighted(x / root_of(v, eps), v.weight)


def root_of(v: View, eps: float | None) -> Array:
    """sqrt(s + eps) of every row."""
    xp = namespace(v.x)
    return xp.sqrt(xp.mean(v.x * v.x, axis=v.axes, keepdims=True) + number(v.x, eps))


def number(x: Array, eps: float | None) -> float:
    """Return eps, for None that of the dtype."""
    return float(namespace(x).finfo(x.dtype).eps) if eps is None else eps


def weighted(y: Array, weight: Array | None) -> Array:
    return y if weight is None else y * weight


# 3 Faster ways


def _by_norms(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """s = |x|^2 / n with the Euclidean norm of a row (Zhang and Sennrich 2019, equation 4: RMS = |x| / sqrt n)."""
    v = viewed((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp = namespace(x)
    norm = xp.linalg.vector_norm(x, axis=v.axes, keepdims=True)
    root = xp.sqrt(norm * norm / moments.count(x.shape, v.axes) + number(x, eps))
    return weighted(x / root, v.weight)


def _by_matrices(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """s = x xᵀ / n for every row x, a product of a row and a column."""
    v = viewed((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp, n = namespace(x), moments.count(x.shape, v.axes)
    lead = x.shape[: x.ndim - len(v.axes)]
    flat = xp.reshape(x, (math.prod(lead), 1, n))
    square = xp.reshape(xp.matmul(flat, xp.matrix_transpose(flat)), (*lead, *(1,) * len(v.axes)))
    return weighted(x / xp.sqrt(square / n + number(x, eps)), v.weight)


def _by_scales(x: Array, weight: Array | None = None, *, normalized_shape: Shape, eps: float | None = None) -> Array:
    """y = x (w r): a product with one scale for each value."""
    v = viewed((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    scale = 1.0 / root_of(v, eps)
    return x * weighted(scale, v.weight)


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
    v = viewed((x, weight), {"normalized_shape": normalized_shape, "eps": eps})
    xp, root = namespace(x), root_of(v, eps)
    hat, g = x / root, weighted(gy, v.weight)
    dx = (g - hat * xp.mean(g * hat, axis=v.axes, keepdims=True)) / root
    return dx, reshaped(moments.affine_gradients(gy, hat, v.weight, None)[0], tuple(normalized_shape))


# 5 How wrong it may be


def eps_of(precision: Precision, eps: float | None) -> float:
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
    eps, run = eps_of(precision, options["eps"]), Running(precision)
    v = viewed(arrays, options)
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
    eps = eps_of(precision, options["eps"])
    here, there = (vjp(gy, *arrays, **{**options, "eps": e}) for e in (options["eps"], eps))
    dx, dw = _gradient_bounds(gy, viewed(arrays, options), eps, precision)
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

USUAL = {"eps": None}


def cases(draw: Draw) -> Form:
    """Draw rows as for layer_norm; shrinks to one row of one value, without weight, and the eps of the dtype."""
    form = layer_cases(draw)
    eps = draw.choice(None, 0.25, 1e-5)  # eps is a fact of each case
    return Form(form.shapes[:2], {**form.options, "eps": eps})
