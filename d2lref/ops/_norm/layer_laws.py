"""Layer normalisation: what every implementation of it satisfies, and what it refuses."""

import math
from typing import Any

import numpy as np

from d2lref.ops._norm import laws
from d2lref.rounding import claim
from d2lref.spec import Array, Case, Claim, Law, Rejection, Shape

# 1 Laws


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

# 2 Rejections


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
