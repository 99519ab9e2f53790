"""An op that the package has never heard of: the oracle must judge it all the same (test_oracle)."""

from typing import Any

import numpy as np

from d2lref.arrays import namespace
from d2lref.rounding import Pair, claim, multilinear_bound, multilinear_spread
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Variant


def shape(x: tuple[int, ...], weight: tuple[int, ...], *, scale: float = 1.0) -> tuple[tuple[int, ...]]:
    """Return (N,) for x (N, K) and weight (K,)."""
    del scale
    if len(x) != 2 or weight != x[1:]:
        message = f"weighted_sum: x {x} with weight {weight}, expected x (N, K) and weight (K,)"
        raise ValueError(message)
    return (x[:1],)


def weighted_sum(x: Array, weight: Array, *, scale: float = 1.0) -> Array:
    """y[n] = scale * sum over k of x[n, k] weight[k]."""
    shape(x.shape, weight.shape, scale=scale)
    return namespace(x).sum(x * weight, axis=-1) * scale


def vjp(gy: Array, x: Array, weight: Array, *, scale: float = 1.0) -> tuple[Array, Array]:
    """dx[n, k] = scale gy[n] weight[k]; dweight[k] = scale * sum over n of gy[n] x[n, k]."""
    return scale * gy[:, None] * weight, namespace(x).sum(scale * gy[:, None] * x, axis=0)


def bound(y: Array, precision: Any, x: Array, weight: Array, *, scale: float = 1.0) -> Array:
    """K u S; the scales are powers of two, so that they round nothing (ASNA, section 3.1)."""
    return multilinear_bound(lambda a, b: a @ b * scale, (x, weight), y=y, p=precision)


def vjp_bound(
    grads: tuple[Array, Array], precision: Any, gy: Array, x: Array, weight: Array, *, scale: float = 1.0
) -> tuple[Array, Array]:
    """The same for one product each, and for a sum over the batch."""
    return (
        multilinear_bound(lambda g, w: g[:, None] * w * scale, (gy, weight), y=grads[0], p=precision),
        multilinear_bound(lambda g, a: g @ a * scale, (gy, x), y=grads[1], p=precision),
    )


def spread(y: Array, precision: Any, x: Array, weight: Array, *, scale: float = 1.0) -> Array:
    """Standard deviation of the rounding error."""
    return multilinear_spread(lambda a, b: a @ b * scale, (x, weight), y=y, p=precision)


def cases(draw: Draw) -> Form:
    """Shrinks towards one product with scale 1."""
    n, k = draw.sizes(1, 1)
    return Form(((n, k), (k,)), {"scale": draw.choice(1.0, 2.0)})


def by_matmul(x: Array, weight: Array, *, scale: float = 1.0) -> Array:
    """scale * (x @ weight)."""
    shape(x.shape, weight.shape, scale=scale)
    return (x @ weight) * scale


def without_scale(x: Array, weight: Array, *, scale: float = 1.0) -> Array:
    """The weighted sum, whatever the scale."""
    del scale
    return weighted_sum(x, weight)


def _unit(f: Any, case: Case) -> Claim:
    x, weight = case.arrays
    return claim(
        f(x, np.eye(1, weight.size, case.seed % weight.size)[0], **case.options),
        Pair.exact(x[:, case.seed % weight.size]) * case.options["scale"],
    )


op = Op(
    name="weighted_sum",
    operands=(Operand("x", linear=True, batch=True), Operand("weight", linear=True)),
    options={"scale": 1.0},
    shape=shape,
    definition=weighted_sum,
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    spread=spread,
    cases=cases,
    regimes=("lattice_small", "lattice_wide", "sparse", "normal", "positive", "wide_range", "cancelling", "subnormal"),
    laws=(Law("a unit weight picks a column", _unit),),
    rejections=(
        Rejection(
            "a weight of another length",
            ((2, 3), (2,)),
            {},
            "weighted_sum: x (2, 3) with weight (2,), expected x (N, K) and weight (K,)",
        ),
    ),
    mistakes=(
        Mistake(
            "the last product is dropped",
            "the test's own",
            lambda x, weight, *, scale=1.0: weighted_sum(x[:, :-1], weight[:-1], scale=scale),
            caught_by=("a unit weight picks a column",),
        ),
        Mistake("the scale is ignored", "the test's own", without_scale),
    ),
    source="the test's own",
    variants={"matmul": Variant(by_matmul)},
)
