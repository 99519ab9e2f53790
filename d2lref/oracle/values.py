"""The value regimes: where the numbers of a case come from (numerical reasons in each function).

Every regime is a function (rng, shapes, form) -> list of float64 arrays, one per shape; `fill` rounds them to the
storage format. A regime is drawn for a whole case, because what makes a value hard depends on its partners: a wide
integer shows the width of an operand only when the other operand is small enough to keep the sum exact.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from d2lref.rounding import FORMATS, Format, round_to
from d2lref.spec import Array, Case, Form, Op, Shape

HOST_DTYPE = {"float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.float32}
_WIDE_BITS = {"float64": 27, "float32": 13, "float16": 11, "bfloat16": 8}

Rng = np.random.Generator
Shapes = list[Shape]
Values = list[np.ndarray]


def is_index(array: Array) -> bool:
    """Return whether an array holds integers (see Operand.indices) and not numbers of the storage format."""
    return array.dtype.kind == "i"


def dtype_of(array: Array, storage: str) -> str:
    """Return the name of the dtype in which an array is handed over."""
    return "int64" if is_index(array) else storage


def indices(op: Op, shapes: Sequence[Shape | None], options: Mapping[str, Any]) -> list[Sequence[int] | None]:
    """Return for every operand the integers that it may hold, None for one of real numbers."""
    whole = (*shapes, *[None] * (len(op.operands) - len(shapes)))
    full = {**op.options, **options}
    return [None if o.indices is None else o.indices(*whole, **full) for o in op.operands]


def ones(op: Op, shapes: Sequence[Shape | None], options: Mapping[str, Any]) -> list[np.ndarray | None]:
    """Return arrays of ones of the shapes, integers where the op takes indices: what a rejection is tried with."""
    kinds = [np.float64 if found is None else np.int64 for found in indices(op, shapes, options)]
    return [None if s is None else np.ones(s, kind) for s, kind in zip(shapes, kinds, strict=False)]


def held(array: Array, storage: str) -> np.ndarray | None:
    """Return a new array of the storage format's host dtype; None when the format does not hold every value.

    It holds NaN and infinities. bfloat16, which NumPy lacks, is held in float32. Indices are held in int64. NumPy
    is not told to ignore overflow.
    """
    if is_index(array):
        return np.array(array, np.int64, order="C")
    home = np.array(array, dtype=HOST_DTYPE[storage], order="C")
    if storage == "float64":
        return home
    same = (home if storage != "bfloat16" else round_to(array, storage)) == array
    if same.all() or (same | np.isnan(array)).all():
        return home
    return None


def on_grid(array: Array, storage: str) -> bool:
    """Return whether every value is one that the storage format holds (NaN and infinities are)."""
    with np.errstate(over="ignore"):
        return held(array, storage) is not None


def lattice_small(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Integers -3..3: sums of their products are exact in any order.

    One misplaced value shows in the last bit.
    """
    del form
    return [rng.integers(-3, 4, s).astype(np.float64) for s in shapes]


def lattice_wide(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """One array of odd integers with more bits than a narrower format holds, the others in {-1, 0, 1}.

    Exact, unless operands or sums are narrowed.

    The others are thinned so that about 2^10 terms at most meet in a sum of 2^13-sized values, below 2^24.
    """
    bits = _WIDE_BITS[form.name]
    wide = int(rng.integers(len(shapes))) if shapes else 0
    values = []
    for place, shape in enumerate(shapes):
        if place == wide:
            odd = 2 * rng.integers(2 ** (bits - 2), 2 ** (bits - 1), shape) + 1
            values.append(np.where(rng.random(shape) < 1 / 2, odd, -odd).astype(np.float64))
        else:
            density = min(2 / 3, 2.0**10 / max(math.prod(shape), 1))
            values.append(np.where(rng.random(shape) < density, rng.choice([-1.0, 1.0], shape), 0.0))
    return values


def sparse(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Normal values, one array with about eight nonzeros.

    Zeros add exactly, so that the bound of a large sum is that of a small one.
    """
    values = normal(rng, shapes, form)
    thin = int(rng.integers(len(shapes))) if shapes else 0
    keep = min(1.0, 8 / max(values[thin].size, 1)) if shapes else 1.0
    return [np.where(rng.random(v.shape) < keep, v, 0.0) if i == thin else v for i, v in enumerate(values)]


def normal(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Independent N(0, 1): the only regime in which a statistical band is asked as well."""
    del form
    return [rng.standard_normal(s) for s in shapes]


def positive(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Uniform on [1/2, 3/2]: nothing cancels, partial sums grow, roundings share their sign."""
    del form
    return [rng.random(s) + 1 / 2 for s in shapes]


def wide_range(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Normal times 2^k, k uniform up to a third of the exponent range: products stay finite, sums swamp."""
    reach = form.emax // 3
    return [np.ldexp(rng.standard_normal(s), rng.integers(-reach, reach + 1, s)) for s in shapes]


def cancelling(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Large values of alternating sign plus noise in one array, near 1 in the others.

    The sum is far smaller than its terms.
    """
    large = int(rng.integers(len(shapes))) if shapes else 0
    size = 2.0 ** (form.p // 2)
    values = []
    for place, shape in enumerate(shapes):
        noise = rng.standard_normal(shape)
        if place == large:
            signs = np.where(np.arange(noise.size).reshape(shape) % 2 == 0, 1.0, -1.0)
            values.append(signs * size + noise)
        else:
            values.append(1 + noise / size)
    return values


def subnormal(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """One array around the smallest normal number, half of it below, the others of order 1: underflow and flushing."""
    small = int(rng.integers(len(shapes))) if shapes else 0
    values = normal(rng, shapes, form)
    shift = rng.integers(form.emin - form.p // 2, form.emin + 2, shapes[small]) if shapes else 0
    return [np.ldexp(v, shift) if i == small else v for i, v in enumerate(values)]


def large_mean(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Normal plus a mean of 2^(p/3): what a variance loses when it is computed from squares."""
    return [v + 2.0 ** (form.p // 3) for v in normal(rng, shapes, form)]


def ties(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Values -1, 0, 1: maxima tie, windows are constant."""
    del form
    return [rng.integers(-1, 2, s).astype(np.float64) for s in shapes]


def saturating(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Numbers out to where their exponentials overflow and underflow, every other one an integer.

    Sigmoids saturate on the way, and what is defined in parts meets the ends of its parts exactly.
    """
    reach = 1.25 * math.log(2.0) * (form.p - form.emin)
    values = []
    for shape in shapes:
        v = rng.uniform(-1, 1, shape) * np.ldexp(reach, -rng.integers(0, 7, shape))
        values.append(np.where(rng.random(shape) < 1 / 2, np.rint(v), v))
    return values


def decided(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Integers from -40 to 40 in the first array, 0 or 1 in the others: certain answers to certain questions."""
    del form
    return [
        rng.integers(-40, 41, s).astype(np.float64) if i == 0 else 1.0 * rng.integers(0, 2, s)
        for i, s in enumerate(shapes)
    ]


def masked(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Small integers, every fourth entry of the first array -inf: what a mask leaves of logits."""
    values = lattice_small(rng, shapes, form)
    return [np.where(rng.random(v.shape) < 1 / 4, -np.inf, v) if i == 0 else v for i, v in enumerate(values)]


def signed_zero(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Values 0, -0, 1, -1: signs of zero, maxima between them."""
    del form
    return [rng.choice([0.0, -0.0, 1.0, -1.0], s) for s in shapes]


def nonfinite(rng: Rng, shapes: Shapes, form: Format) -> Values:
    """Small integers with NaN and infinities among them."""
    values = lattice_small(rng, shapes, form)
    return [np.where(rng.random(v.shape) < 1 / 4, rng.choice([np.nan, np.inf, -np.inf], v.shape), v) for v in values]


REGIMES: Mapping[str, Callable[[Rng, Shapes, Format], Values]] = {
    f.__name__: f
    for f in (
        lattice_small,
        lattice_wide,
        sparse,
        normal,
        positive,
        wide_range,
        cancelling,
        subnormal,
        large_mean,
        ties,
        saturating,
        decided,
        masked,
        signed_zero,
        nonfinite,
    )
}


_ABOUT_ARRAYS = {"large_mean", "saturating", "decided", "masked", "nonfinite"}


def fill(op: Op, form: Form, regime: str, seed: int, storage: str) -> Case:
    """Return the case: values of the regime on the storage grid, the same for the same seed.

    Cotangents come from the regime too, except where it is about the arrays alone: there they are small integers.
    """
    rng = np.random.default_rng(seed)
    grid = FORMATS[storage]
    allowed = indices(op, form.shapes, form.options)
    present = [s for s, integers in zip(form.shapes, allowed, strict=True) if s is not None and integers is None]
    values = iter(REGIMES[regime](rng, present, grid))
    arrays = tuple(
        None
        if s is None
        else _settled(next(values), storage, positive=o.positive)
        if integers is None
        else _picked(rng, s, integers)
        for s, o, integers in zip(form.shapes, op.operands, allowed, strict=True)
    )
    outs = op.shape(*form.shapes, **form.options)
    around = "lattice_small" if regime in _ABOUT_ARRAYS else regime
    heads = REGIMES[around](rng, [s for s in outs[:1] if s is not None], grid)
    cotangents = (round_to(heads[0], storage), *(None for _ in outs[1:]))
    return Case(arrays, form.options, cotangents, regime, seed)


def _picked(rng: Rng, shape: Shape, allowed: Sequence[int]) -> np.ndarray:
    """Return integers among the allowed ones.

    One time in eight all are the same, and one time in eight all are the last: sums over equal ones collide, and whole
    batches are of one kind.
    """
    places = np.asarray(rng.integers(len(allowed), size=shape))
    turn = rng.integers(8)
    if turn < 2:
        places[...] = len(allowed) - 1 if turn else rng.integers(len(allowed))
    return np.asarray(allowed, np.int64)[places]


def _settled(values: np.ndarray, storage: str, *, positive: bool) -> np.ndarray:
    """Return the values on the grid; those of a variance made positive, and at least 2^-10 of the largest."""
    if positive:
        values = np.abs(values)
        values = values + 2.0**-10 * max(float(values.max(initial=0.0)), 1.0)
    return round_to(values, storage)
