"""flatten: consecutive axes become one, the last of them fastest (d2l 4.1: an image becomes a vector)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.arrays import namespace, zeros
from d2lref.rounding import Precision, claim, copy_bound
from d2lref.spec import Array, Case, Claim, Draw, Form, Law, Mistake, Op, Operand, Rejection, Shape, Variant

# 1 Shape


def shape(x: Shape, *, start_dim: int = 0, end_dim: int = -1) -> tuple[Shape]:
    """Return x with the product of its axes start_dim to end_dim in their place; (1,) for (). Raises ValueError."""
    first, last = span(x, start_dim, end_dim)
    return ((*x[:first], math.prod(x[first : last + 1]), *x[last + 1 :]),)


def span(x: Shape, start_dim: Any, end_dim: Any) -> tuple[int, int]:
    """Return the first and the last axis that become one, both at least 0. Raises ValueError."""
    x, axes = tuple(x), max(len(x), 1)
    for name, value in (("start_dim", start_dim), ("end_dim", end_dim)):
        if not isinstance(value, int | np.integer) or not -axes <= value < axes:
            raise ValueError(f"flatten: {name}={value!r}, expected an integer from {-axes} to {axes - 1} for x {x}")
    first, last = int(start_dim) % axes, int(end_dim) % axes
    if first > last:
        raise ValueError(
            f"flatten: start_dim={start_dim!r} is axis {first} of x {x}, expected one up to end_dim={end_dim!r}"
        )
    return first, last


# 2 Definition


def definition(x: Array, *, start_dim: int = 0, end_dim: int = -1) -> Array:
    """y[..., i m + j, ...] = x[..., i, j, ...] for two axes of n and m entries; of more, the first two become one.

    And so on, until one is left. x with any axes, y with start_dim to end_dim as one, both of one dtype; negative axes
    count from the end, a number becomes one entry. Nothing is computed. Raises ValueError (see `shape`). Source: Zhang,
    Lipton, Li and Smola, Dive into Deep Learning, section 4.1; torch.flatten.
    """
    xp, (first, last) = namespace(x), span(x.shape, start_dim, end_dim)
    if x.ndim == 0:
        return xp.stack([x])
    if 0 in x.shape:
        return zeros(x, *shape(x.shape, start_dim=start_dim, end_dim=end_dim))
    for _ in range(last - first):
        x = xp.concat([x[(*(slice(None),) * first, i, ...)] for i in range(x.shape[first])], axis=first)
    return xp.asarray(x, copy=True)


# 3 A faster way


def _reshaped(x: Array, *, start_dim: int = 0, end_dim: int = -1) -> Array:
    """y = x in another shape: entries that lie in the order of the axes do not move."""
    return namespace(x).reshape(x, shape(x.shape, start_dim=start_dim, end_dim=end_dim)[0])


# 4 Derivative


def vjp(gy: Array, x: Array, *, start_dim: int = 0, end_dim: int = -1) -> tuple[Array]:
    """gx = gy in the shape of x."""
    span(x.shape, start_dim, end_dim)
    return (namespace(gy).reshape(gy, x.shape),)


# 5 How wrong it may be


def bound(y: Array, p: Precision, x: Array, **options: Any) -> Array:
    """0: entries are handed on, bit for bit (rounding.copy_bound)."""
    del options
    return copy_bound(y, p, x)


def vjp_bound(grads: tuple[Array], p: Precision, gy: Array, x: Array, **options: Any) -> tuple[Array]:
    """Return the same for the gradient."""
    del x, options
    return (copy_bound(grads[0], p, gy),)


# 6 Cases


def cases(draw: Draw) -> Form:
    """Draw one to five axes and which of them become one; shrinks to one number on one axis, which stays."""
    axes = draw.choice(1, 2, 3, 4, 5)
    first = draw.choice(0, draw.integer(0, axes - 1))
    last = draw.choice(axes - 1, draw.integer(first, axes - 1))
    sizes = list(draw.sizes(*(1,) * axes))
    if draw.integer(0, 31) == 31:
        sizes[draw.integer(0, axes - 1)] = 0
    start_dim = first - axes * draw.choice(0, 1)
    return Form((tuple(sizes),), {"start_dim": start_dim, "end_dim": last - axes * draw.choice(1, 0)})


GALLERY = (
    Form(((1, 28, 28),), {"start_dim": 0, "end_dim": -1}),
    Form(((2, 3, 4, 5),), {"start_dim": 1, "end_dim": -1}),
    Form(((2, 3, 4, 5),), {"start_dim": -3, "end_dim": 2}),
    Form(((),), {"start_dim": 0, "end_dim": -1}),
)

# 7 Laws
# The axes that stay have one entry where a law speaks about the others: those that stay have their own law.


def _span(case: Case) -> tuple[int, int]:
    return span(case.arrays[0].shape, **case.options)


def _merged(case: Case) -> int:
    first, last = _span(case)
    return last - first + 1


def _alone(case: Case) -> Array:
    """Return labels in the shape of x, with one entry along the axes that stay: 0 to 6, in random order."""
    x, (first, last) = case.arrays[0], _span(case)
    size = tuple(n if first <= axis <= last else min(n, 1) for axis, n in enumerate(x.shape))
    return np.random.default_rng(case.seed).integers(0, 7, size).astype(np.float64)


def _row_by_row(f: Any, case: Case) -> Claim:
    """f(x)[i m + j] = x[i, j]."""
    x, (first, _) = _alone(case), _span(case)
    m = x.shape[first + 1]
    y = f(x, **case.options)
    place = np.random.default_rng(case.seed).integers(0, y.shape[first])
    one = np.take(np.take(x, place // m, axis=first), [place % m], axis=first)
    return claim(y.map(lambda a: np.take(a, [place], axis=first)), one)


def _in_steps(f: Any, case: Case) -> Claim:
    """f(x, s, e) = f(f(x, s, s + 1), s, e - 1)."""
    x, (first, last) = _alone(case), _span(case)
    two = f(x, start_dim=first, end_dim=first + 1)
    return claim(f(x, **case.options), f(two.value, start_dim=first, end_dim=last - 1))


def _carried(f: Any, case: Case) -> Claim:
    """f(x)[..., k, ...] = f(x[..., k, ...]) for an axis that stays."""
    (x,), (first, last) = case.arrays, _span(case)
    stay = [axis for axis, n in enumerate(x.shape) if not first <= axis <= last and n > 1]
    axis = stay[case.seed % len(stay)]
    place = [case.seed % x.shape[axis]]
    after = axis - (last - first if axis > last else 0)
    y = f(x, **case.options).map(lambda a: np.take(a, place, axis=after))
    return claim(y, f(np.take(x, place, axis=axis), **case.options))


def _some_stay(case: Case) -> bool:
    first, last = _span(case)
    return any(not first <= axis <= last and n > 1 for axis, n in enumerate(case.arrays[0].shape))


def _nothing_lost(f: Any, case: Case) -> Claim:
    """f(x) has the entries of x, in some order."""
    (x,) = case.arrays
    return claim(f(x, **case.options).map(lambda a: np.sort(a, axis=None)), np.sort(x, axis=None))


def _gradient_not_lost(f: Any, case: Case) -> Claim:
    """The gradient has the entries of gy, in some order, also where one of them is not finite."""
    gy = case.cotangents[0].copy()
    gy.flat[case.seed % gy.size] = (np.nan, np.inf, -np.inf)[case.seed % 3]
    back = f.vjp(gy, *case.arrays, **case.options)[0]
    return claim(back.map(lambda a: np.sort(a, axis=None)), np.sort(gy, axis=None))


def _full(case: Case) -> bool:
    return case.arrays[0].size > 0


LAWS = (
    Law("two axes become one row by row", _row_by_row, lambda case: _merged(case) == 2 and _full(case)),
    Law("many axes become one two at a time", _in_steps, lambda case: _merged(case) > 2),
    Law("an axis that stays is carried along", _carried, _some_stay),
    Law("every entry comes through as it is", _nothing_lost),
    Law("every gradient comes through as it is", _gradient_not_lost, _full, vjp=True),
)

# 8 Rejections


def _refused(says: str, told: str, **options: Any) -> Rejection:
    return Rejection(says, ((2, 3, 4),), options, f"flatten: {told}")


REJECTIONS = (
    _refused("a first axis too many", "start_dim=3, expected an integer from -3 to 2 for x (2, 3, 4)", start_dim=3),
    _refused("a last axis too many", "end_dim=3, expected an integer from -3 to 2 for x (2, 3, 4)", end_dim=3),
    _refused(
        "a first axis before the first", "start_dim=-4, expected an integer from -3 to 2 for x (2, 3, 4)", start_dim=-4
    ),
    _refused(
        "axes in the wrong order",
        "start_dim=2 is axis 2 of x (2, 3, 4), expected one up to end_dim=-2",
        start_dim=2,
        end_dim=-2,
    ),
    _refused("half an axis", "end_dim=1.5, expected an integer from -3 to 2 for x (2, 3, 4)", end_dim=1.5),
)

# 9 Mistakes

Change = Callable[[Array, int, int], Array]
"""(x, first, last) -> x with its entries in another order."""


def _disordered(change: Change, back: Change) -> tuple[Callable[..., Array], Callable[..., tuple[Array]]]:
    """Return forward and vjp of a flattening of what `change` makes of x; `back` undoes it."""

    def forward(x: Array, **options: Any) -> Array:
        return definition(change(x, *_axes(x, options)), **options)

    def backward(gy: Array, x: Array, **options: Any) -> tuple[Array]:
        return (back(vjp(gy, x, **options)[0], *_axes(x, options)),)

    return forward, backward


def _axes(x: Array, options: dict[str, Any]) -> tuple[int, int]:
    return span(x.shape, options.get("start_dim", 0), options.get("end_dim", -1))


def _column_major(x: Array, first: int, last: int) -> Array:
    """Return x with the entries of the merged axes read in the order of the first of them, fastest."""
    if x.ndim == 0:
        return x
    turned = np.moveaxis(x, range(first, last + 1), range(last, first - 1, -1))
    return np.reshape(turned, x.shape)


def _column_major_back(x: Array, first: int, last: int) -> Array:
    if x.ndim == 0:
        return x
    size = (*x.shape[:first], *reversed(x.shape[first : last + 1]), *x.shape[last + 1 :])
    return np.moveaxis(np.reshape(x, size), range(last, first - 1, -1), range(first, last + 1))


def _channels_last(x: Array, first: int, last: int) -> Array:
    """Return x with the first of three or more merged axes moved behind the others, fastest."""
    return np.reshape(np.moveaxis(x, first, last), x.shape) if last - first > 1 else x


def _channels_last_back(x: Array, first: int, last: int) -> Array:
    if last - first < 2:
        return x
    size = (*x.shape[:first], *x.shape[first + 1 : last + 1], x.shape[first], *x.shape[last + 1 :])
    return np.moveaxis(np.reshape(x, size), last, first)


def _mixed_up(x: Array, first: int, last: int) -> Array:
    """Return x reshaped where its axis in front of the merged ones should be left alone."""
    del last
    return np.reshape(np.swapaxes(x, first - 1, first), x.shape) if first else x


def _mixed_up_back(x: Array, first: int, last: int) -> Array:
    del last
    if not first:
        return x
    size = (*x.shape[: first - 1], x.shape[first], x.shape[first - 1], *x.shape[first + 1 :])
    return np.swapaxes(np.reshape(x, size), first - 1, first)


def _by_matrix(x: Array) -> Array:
    """Return x times the identity: 0 times what is not finite is NaN."""
    with np.errstate(invalid="ignore"):
        return np.where(
            np.isfinite(x).all(), x, np.reshape(np.reshape(x, (-1,)) @ np.eye(x.size, dtype=x.dtype), x.shape)
        )


def _multiplied(x: Array, **options: Any) -> Array:
    return definition(_by_matrix(x), **options)


def _cut_off_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    (gx,) = vjp(gy, x, **options)
    return (np.where(np.isfinite(x), gx, np.zeros_like(gx)),)


def _always_two_axes(x: Array, **options: Any) -> Array:
    """Keep the first axis and make one of all others, whatever the options say."""
    del options
    return np.reshape(x, (x.shape[0] if x.ndim else 1, -1)) if x.size else np.zeros((0, 0), x.dtype)


def _single_axis_split(x: Array, **options: Any) -> Array:
    """Answer with two axes where one comes in."""
    y = definition(x, **options)
    return y[None] if x.ndim == 1 else y


def _column_major_vjp(gy: Array, x: Array, **options: Any) -> tuple[Array]:
    return (_column_major_back(vjp(gy, x, **options)[0], *_axes(x, options)),)


HUB = "https://github.com"
SHAPE, ADJOINT = "answers in the shape and dtype of the rule", "the vjp is the adjoint"
ROWS, STEPS, CARRIED, ENTRIES, GRADIENTS = (law.says for law in LAWS)
MISTAKES = (
    Mistake(
        "the first axis is fastest",
        f"{HUB}/pyxem/orix/issues/595",
        *_disordered(_column_major, _column_major_back),
        (ROWS,),
    ),
    Mistake(
        "the channels are moved behind the axes of space",
        f"{HUB}/keras-team/keras/issues/10449",
        *_disordered(_channels_last, _channels_last_back),
        (STEPS,),
    ),
    Mistake(
        "the axis in front is reshaped where it should be left alone",
        f"{HUB}/sherjilozair/ctc/issues/1",
        *_disordered(_mixed_up, _mixed_up_back),
        (CARRIED,),
    ),
    Mistake(
        "entries are picked by multiplying with ones and zeros",
        f"{HUB}/tinygrad/tinygrad/pull/11760",
        _multiplied,
        caught_by=(ENTRIES,),
    ),
    Mistake(
        "the gradient is cut off where x is not finite, as that of nan_to_num is",
        f"{HUB}/pytorch/pytorch/issues/94700",
        vjp=_cut_off_vjp,
        caught_by=(GRADIENTS,),
    ),
    Mistake("the axes are not asked for", f"{HUB}/apache/tvm/pull/6357", _always_two_axes, caught_by=(SHAPE,)),
    Mistake(
        "one axis comes back as two", f"{HUB}/pytorch/pytorch/issues/67670", _single_axis_split, caught_by=(SHAPE,)
    ),
    Mistake(
        "the gradient takes the first axis for the fastest",
        f"{HUB}/tuwien-musicir/rp_extract/issues/16",
        vjp=_column_major_vjp,
        caught_by=(ADJOINT,),
    ),
)

# 10 The op

flatten = Op(
    name="flatten",
    operands=(Operand("x", linear=True, view=True),),
    options={"start_dim": 0, "end_dim": -1},
    shape=shape,
    definition=definition,
    variants={"reshape": Variant(_reshaped)},
    vjp=vjp,
    bound=bound,
    vjp_bound=vjp_bound,
    cases=cases,
    regimes=("lattice_small", "normal", "wide_range", "subnormal", "large_mean", "signed_zero", "nonfinite"),
    gallery=GALLERY,
    follows=("nan", "inf", "zero"),
    laws=LAWS,
    rejections=REJECTIONS,
    mistakes=MISTAKES,
    source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 4.1; torch.flatten",
)
