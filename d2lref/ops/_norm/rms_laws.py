"""Root-mean-square normalisation: what every implementation of it satisfies, and what it refuses."""

import math
from typing import Any

from d2lref.ops._norm import laws
from d2lref.ops._norm.layer_laws import many_rows, parts, rows, trailing_rejections
from d2lref.ops._norm.rms import eps_of
from d2lref.rounding import Pair, claim
from d2lref.spec import Case, Claim, Law, Shape

# 1 Laws


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
    right = f(x, weight, **{**case.options, "eps": eps_of(f.precision, None)})
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

# 2 Rejections

REJECTIONS = trailing_rejections("rms_norm", (None,))
