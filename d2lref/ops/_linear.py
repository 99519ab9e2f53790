"""linear: every row of x times the transposed weight, plus the bias (d2l 3.1, 5.1): a fully connected layer."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.rounding import Pair, Precision, claim, multilinear_bound, multilinear_spread
from d2lref.spec import SUMS, Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, weight: Shape, bias: Shape | None = None) -> tuple[Shape]:
    """Return ((*rows, O),) for x (*rows, I), weight (O, I), bias (O,) or absent. Raises ValueError."""
    x, weight = tuple(x), tuple(weight)
    if not x:
        raise ValueError(f"linear: x {x} has no axis, expected (..., inputs)")
    if len(weight) != 2:
        raise ValueError(f"linear: weight {weight} has {len(weight)} axes, expected 2: outputs, inputs")
    if x[-1] != weight[1]:
        raise ValueError(f"linear: x {x} has {x[-1]} inputs in its last axis, but weight {weight} reads {weight[1]}")
    if bias is not None and tuple(bias) != weight[:1]:
        raise ValueError(
            f"linear: bias {tuple(bias)}, expected {weight[:1]}: one number for each output of weight {weight}"
        )
    return ((*x[:-1], weight[0]),)


def _check(x: Array, weight: Array, bias: Array | None) -> None:
    """Refuse arrays that do not fit."""
    shape(x.shape, weight.shape, None if bias is None else bias.shape)


# 2 Definition


def definition(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y[..., o] = b[o] + sum over i of w[o, i] x[..., i].

    x (*rows, I) with any number of leading axes, none included; weight (O, I); bias (O,) or absent; y (*rows, O), all
    of one dtype. Raises ValueError (see `shape`). Source: Zhang, Lipton, Li and Smola, Dive into Deep Learning,
    section 3.1.1 (equation 3.1.3) and 5.1.1.
    """
    _check(x, weight, bias)
    xp = namespace(x, weight, bias)
    y = xp.sum(x[..., None, :] * weight, axis=-1)
    return y if bias is None else y + bias


# 3 Faster ways


def _matmul(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = x Wᵀ + b, one product of matrices for all rows."""
    _check(x, weight, bias)
    xp = namespace(x, weight, bias)
    y = xp.matmul(x, xp.matrix_transpose(weight))
    return y if bias is None else y + bias


def _tensordot(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = the contraction of the last axis of x with the last of the weight, plus b."""
    _check(x, weight, bias)
    xp = namespace(x, weight, bias)
    y = xp.tensordot(x, weight, axes=((x.ndim - 1,), (1,)))
    return y if bias is None else y + bias


def _columns(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """y = b + x[..., 0] w[:, 0] + x[..., 1] w[:, 1] + ...: one input at a time, as a systolic array adds."""
    _check(x, weight, bias)
    xp = namespace(x, weight, bias)
    first = xp.zeros_like(weight[:, 0]) if bias is None else bias
    y = xp.broadcast_to(first, (*x.shape[:-1], weight.shape[0]))
    for i in range(weight.shape[1]):
        y = y + x[..., i : i + 1] * weight[:, i]
    return y


# 4 Derivative


def vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Array, Array | None]:
    """dx = gy W, dW = sum over the rows of gyᵀ x, db = sum over the rows of gy (d2l 5.3.3)."""
    _check(x, weight, bias)
    xp = namespace(gy, x, weight, bias)
    g, rows = _rows(gy), _rows(x)
    dx = xp.reshape(xp.matmul(g, weight), x.shape)
    dw = xp.matmul(xp.matrix_transpose(g), rows)
    return dx, dw, None if bias is None else xp.sum(g, axis=0)


def _rows(x: Array) -> Array:
    """Return x (*rows, K) as (rows, K)."""
    return namespace(x).reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


# 5 How wrong it may be


def bound(y: Array, precision: Precision, x: Array, weight: Array, bias: Array | None = None) -> np.ndarray:
    """K u (|x| |W|ᵀ + |b|) with K nonzero terms, in any order of summation (rounding.multilinear_bound)."""
    return multilinear_bound(_matmul, (x, weight), (bias,), y=y, p=precision)


def vjp_bound(
    grads: tuple[Array | None, ...], precision: Precision, gy: Array, x: Array, weight: Array, bias: Array | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the same for each gradient: dx multiplies gy and W, dW multiplies gy and x, db adds gy."""
    of = partial(multilinear_bound, p=precision)
    dx = of(lambda g, w: np.reshape(_rows(g) @ w, x.shape), (gy, weight), y=grads[0])
    dw = of(lambda g, a: _rows(g).T @ _rows(a), (gy, x), y=grads[1])
    return dx, dw, None if bias is None else of(lambda g: np.sum(_rows(g), axis=0), (gy,), y=grads[2])


def spread(y: Array, precision: Precision, x: Array, weight: Array, bias: Array | None = None) -> np.ndarray:
    """Return the standard deviation of the rounding error for data in random order (rounding.multilinear_spread)."""
    return multilinear_spread(_matmul, (x, weight), (bias,), y=y, p=precision)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw up to three leading axes, none included; shrinks to one row, one input, one output, without a bias."""
    leading = draw.choice(1, 0, 2, 3)
    inputs, outputs, *rows = draw.sizes(*(1,) * (leading + 2))
    if rows and draw.integer(0, 31) == 31:
        rows[0] = 0
    bias = draw.choice(None, (outputs,))
    return Form(((*rows, inputs), (outputs, inputs), bias), {})


# 7 Laws


def _one_input(f: Any, case: Case) -> Claim:
    _, weight, _ = case.arrays
    place = case.seed % weight.shape[1]
    x = np.zeros((1, weight.shape[1]))
    x[0, place] = 1.0
    return claim(f(x, weight), weight[:, place][None, :])


def _bias_once(f: Any, case: Case) -> Claim:
    x, weight, bias = case.arrays
    row = _rows(x)[-1:]
    return claim(f(row, weight, bias), f(row, weight) + bias)


def _leading_axes(f: Any, case: Case) -> Claim:
    x, weight, _ = case.arrays
    return claim(f(x, weight).map(_rows), f(_rows(x), weight))


def _last_row(f: Any, case: Case) -> Claim:
    x, weight, bias = case.arrays
    rows = _rows(x)
    return claim(f(rows, weight, bias)[-1:], f(rows[-1:], weight, bias))


def _bias_gradient(f: Any, case: Case) -> Claim:
    gy = case.cotangents[0]
    return claim(f.vjp(gy, *case.arrays)[2], Pair.exact(_rows(gy)).sum(axis=0))


LAWS = (
    Law("an input alone answers with its column of the weight", _one_input),
    Law(
        "the bias is added once to a row",
        _bias_once,
        lambda case: case.arrays[2] is not None and _rows(case.arrays[0]).size > 0,
    ),
    Law("leading axes only number the rows", _leading_axes, lambda case: case.arrays[0].ndim != 2),
    Law("the last row does not see the others", _last_row, lambda case: len(_rows(case.arrays[0])) > 1),
    Law(
        "the gradient of the bias adds over the rows",
        _bias_gradient,
        lambda case: case.arrays[2] is not None,
        vjp=True,
    ),
)

# 8 Rejections

REJECTIONS = (
    Rejection("no axis", ((), (2, 3), None), {}, "linear: x () has no axis, expected (..., inputs)"),
    Rejection(
        "a weight of three axes",
        ((4, 3), (1, 2, 3), None),
        {},
        "linear: weight (1, 2, 3) has 3 axes, expected 2: outputs, inputs",
    ),
    Rejection(
        "a weight of one axis",  # torch takes it for a single output without an axis
        ((4, 3), (3,), None),
        {},
        "linear: weight (3,) has 1 axes, expected 2: outputs, inputs",
        mandatory=False,
    ),
    Rejection(
        "a transposed weight",
        ((4, 3), (3, 2), None),
        {},
        "linear: x (4, 3) has 3 inputs in its last axis, but weight (3, 2) reads 2",
    ),
    Rejection(
        "a bias of the wrong size",
        ((4, 3), (2, 3), (3,)),
        {},
        "linear: bias (3,), expected (2,): one number for each output of weight (2, 3)",
    ),
    Rejection(
        "one bias for all outputs",  # torch broadcasts it
        ((4, 3), (2, 3), (1,)),
        {},
        "linear: bias (1,), expected (2,): one number for each output of weight (2, 3)",
        mandatory=False,
    ),
)

# 9 Mistakes

Ways = tuple[Callable[..., Array], Callable[..., tuple[Any, ...]]]


def _reading(change: Callable[[Array], Array], back: Callable[[Array], Array]) -> Ways:
    """Return forward and vjp of an implementation that reads x changed; `back` is the adjoint of `change`."""

    def forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
        _check(x, weight, bias)
        return definition(change(x), weight, bias)

    def wrong_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
        dx, dw, db = vjp(gy, change(x), weight, bias)
        return back(dx), dw, db

    return forward, wrong_vjp


def _without_odd_input(x: Array) -> Array:
    """Return x with the last of an odd number of inputs (above one) set to zero: a loop over pairs without a tail."""
    count = x.shape[-1]
    return np.where(np.arange(count) < max(count // 2 * 2, 1), x, np.zeros_like(x))


def _without_odd_row(x: Array) -> Array:
    """Return x with the last of an odd number of rows (above one) set to zero: a block that no core computes."""
    count = math.prod(x.shape[:-1])
    kept = np.arange(count) < max(count // 2 * 2, 1)
    return np.where(np.reshape(kept, (*x.shape[:-1], 1)), x, np.zeros_like(x))


def _first_matrix(x: Array) -> Array:
    """Return x with all but the first of its matrices set to zero."""
    if x.ndim < 3:
        return x
    kept = np.arange(math.prod(x.shape[:-2])) < 1
    return np.where(np.reshape(kept, (*x.shape[:-2], 1, 1)), x, np.zeros_like(x))


def _misread(x: Array) -> Array:
    """Return x with the rows of its first two leading axes in the order of the second, then the first."""
    return np.reshape(np.swapaxes(x, 0, 1), x.shape) if x.ndim > 2 else x


def _misread_back(x: Array) -> Array:
    """Return x with `_misread` undone."""
    if x.ndim < 3:
        return x
    return np.swapaxes(np.reshape(x, (x.shape[1], x.shape[0], *x.shape[2:])), 0, 1)


def _rolled(step: int) -> Callable[[Array], Array]:
    """Return the function that rolls rows."""
    return lambda x: np.reshape(np.roll(_rows(x), step, axis=0), x.shape)


def _relaid(weight: Array) -> Array:
    """Return the weight's numbers, stored as (outputs, inputs), read as (inputs, outputs)."""
    return np.reshape(weight, weight.shape[::-1])


def _layout_forward(x: Array, weight: Array, bias: Array | None = None) -> Array:
    _check(x, weight, bias)
    return definition(x, _relaid(weight).T, bias)


def _layout_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
    dx, dw, db = vjp(gy, x, _relaid(weight).T, bias)
    return dx, np.reshape(dw.T, weight.shape), db


def _bias_lost(x: Array, weight: Array, bias: Array | None = None) -> Array:
    _check(x, weight, bias)
    return definition(x, weight, bias if x.shape[-1] < 2 else None)


def _first_axis_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
    dx, dw, db = vjp(gy, x, weight, bias)
    if db is None or gy.ndim < 3 or not gy.size:
        return dx, dw, db
    return dx, dw, _rows(np.sum(gy, axis=0))[0]


def _halved_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
    dx, dw, db = vjp(gy, x, weight, bias)
    rows = _rows(gy)
    kept = 2 ** (len(rows).bit_length() - 1) if len(rows) else 0
    return dx, dw, None if db is None else np.sum(rows[:kept], axis=0)


def _averaged_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
    dx, dw, db = vjp(gy, x, weight, bias)
    return dx, dw / max(len(_rows(x)), 1), db


def _square_vjp(gy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Any, ...]:
    square = weight.T if weight.shape[0] == weight.shape[1] else weight
    return (vjp(gy, x, square, bias)[0], *vjp(gy, x, weight, bias)[1:])


MISTAKES = (
    Mistake(
        "the weight is read as (inputs, outputs)",
        "https://github.com/pytorch/pytorch/issues/139598",
        _layout_forward,
        _layout_vjp,
        ("an input alone answers with its column of the weight",),
    ),
    Mistake(
        "an odd last input is dropped",
        "https://github.com/tile-ai/tilelang-ascend/issues/1341",
        *_reading(_without_odd_input, _without_odd_input),
        ("an input alone answers with its column of the weight",),
    ),
    Mistake(
        "the bias is forgotten when the sum is split",
        "https://github.com/ROCm/tritonBLAS/pull/67",
        _bias_lost,
        caught_by=("the bias is added once to a row",),
    ),
    Mistake(
        "leading axes are reshaped where they should be transposed",
        "https://github.com/sherjilozair/ctc/issues/1",
        *_reading(_misread, _misread_back),
        ("leading axes only number the rows",),
    ),
    Mistake(
        "matrices after the first of a stack are never computed",
        "https://github.com/tenstorrent/tt-metal/issues/54798",
        *_reading(_first_matrix, _first_matrix),
        ("leading axes only number the rows",),
    ),
    Mistake(
        "rows come back in another order",
        "https://github.com/pranjalssh/fast.cu/issues/4",
        *_reading(_rolled(1), _rolled(-1)),
        ("the last row does not see the others",),
    ),
    Mistake(
        "an odd last row is never computed",
        "https://github.com/NVIDIA/Fuser/issues/3963",
        *_reading(_without_odd_row, _without_odd_row),
        ("the last row does not see the others",),
    ),
    Mistake(
        "the gradient of the bias adds over the first axis only",
        "https://github.com/ooples/AiDotNet.Tensors/issues/234",
        vjp=_first_axis_vjp,
        caught_by=("the gradient of the bias adds over the rows",),
    ),
    Mistake(
        "the gradient of the bias adds by halving and drops what is left over",
        "https://github.com/karpathy/llm.c/pull/439",
        vjp=_halved_vjp,
        caught_by=("the gradient of the bias adds over the rows",),
    ),
    Mistake(
        "the gradient of the weight is a mean over the rows",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_averaged_vjp,
        caught_by=("the vjp is the adjoint",),
    ),
    Mistake(
        "a square weight is not transposed on the way back",
        "https://github.com/vllm-project/vllm/pull/44113",
        vjp=_square_vjp,
        caught_by=("the vjp is the adjoint",),
    ),
)

# 10 The op

linear = Op(
    name="linear",
    operands=(Operand("x", linear=True), Operand("weight", linear=True), Operand("bias", optional=True)),
    options={},
    shape=shape,
    definition=definition,
    variants={"matmul": Variant(_matmul), "tensordot": Variant(_tensordot), "columns": Variant(_columns)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    spread=spread,
    cases=cases,
    regimes=(*SUMS, "large_mean"),
    gallery=(
        Form(((4, 16), (10, 16), (10,)), {}),
        Form(((2, 3, 5), (7, 5), None), {}),
        Form(((33,), (8, 33), (8,)), {}),
    ),
    follows=("nan", "inf"),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, sections 3.1 and 5.1",
)
