"""How far a correct implementation of a declared precision can be from the exact value: every tolerance of the project.

Notation: u is the unit roundoff 2^-p of a format with p significand bits, eta its smallest subnormal number, nmin its
smallest normal number; fl(z) is z rounded. A bound is a float64 NumPy array, infinite where nothing is known. Sources,
cited where they are used:
  Higham 2002, Accuracy and Stability of Numerical Algorithms, 2nd ed. (ASNA);
  Jeannerod and Rump 2013, Improved error bounds for inner products in floating-point arithmetic, SIAM J. Matrix Anal.
    Appl. 34(2), 338-344;
  Higham and Mary 2019, A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41(5).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from d2lref.elementary import FUNCTIONS
from d2lref.spec import Array, Claim

# 1 Formats


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: p significand bits, exponents emin to emax (IEEE 754-2019, section 3.3)."""

    name: str
    p: int
    emin: int
    emax: int

    @cached_property
    def u(self) -> float:
        """Unit roundoff 2^-p: the largest relative error of rounding to nearest (ASNA, Theorem 2.2)."""
        return 2.0**-self.p

    @cached_property
    def nmin(self) -> float:
        """Smallest positive normal number, 2^emin."""
        return 2.0**self.emin

    @cached_property
    def eta(self) -> float:
        """Smallest positive subnormal number, 2^(emin - p + 1)."""
        return 2.0 ** (self.emin - self.p + 1)

    @cached_property
    def fmax(self) -> float:
        """Largest finite number, (2 - 2^(1-p)) 2^emax."""
        return (2.0 - 2.0 ** (1 - self.p)) * 2.0**self.emax

    def holds(self, other: "Format") -> bool:
        """Return whether every number of the other format is one of this."""
        return self is other or (self.p >= other.p and self.eta <= other.eta and self.fmax >= other.fmax)


FORMATS = {
    form.name: form
    for form in (
        Format("float64", 53, -1022, 1023),
        Format("float32", 24, -126, 127),
        Format("tf32", 11, -126, 127),
        Format("float16", 11, -14, 15),
        Format("bfloat16", 8, -126, 127),
    )
}
HOST = FORMATS["float64"]
NATIVE = {"float64": np.float64, "float32": np.float32, "float16": np.float16}


ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "even": np.rint,
    "away": lambda a: np.trunc(a + np.copysign(0.5, a)),
    "truncate": np.trunc,
}
"""To an integer below 2^52: the nearest with ties to even or away from zero, or the next towards zero (IEEE 754-2019,
section 4.3)."""


def round_to(array: Array, name: str, rounding: str = "even") -> np.ndarray:
    """Return float64 values rounded to the named format, in one of ROUNDINGS (IEEE 754-2019, section 4.3).

    What rounds beyond the largest finite number is infinite, but for truncation; signs of zero and NaN stay.
    """
    a = np.asarray(array, np.float64)
    form = FORMATS[name]
    with np.errstate(over="ignore", invalid="ignore"):
        if name in NATIVE and (rounding == "even" or name == "float64"):
            return a.astype(NATIVE[name]).astype(np.float64)
        last = np.maximum(np.frexp(a)[1] - 1, form.emin) - (form.p - 1)
        rounded = np.ldexp(ROUNDINGS[rounding](np.ldexp(a, -last)), last)
        if rounding == "truncate":
            rounded = np.clip(rounded, -form.fmax, form.fmax)
    rounded = np.where(np.isfinite(a), rounded, a)
    return np.where(np.abs(rounded) > form.fmax, np.copysign(np.inf, a), rounded)


def lattice_unit(array: Array | None) -> float:
    """Return the largest power of two that divides every entry.

    Infinity when all entries are zero or the array is absent, 0 when one is not finite. An entry is an integer n of 53
    bits times a power of two, and n & -n is the lowest bit that is set in n.
    """
    if array is None:
        return math.inf
    significand, exponent = np.frexp(np.asarray(array, np.float64))
    if not np.isfinite(significand).all():
        return 0.0
    n = (significand * 2.0**HOST.p).astype(np.int64)
    bits = np.ldexp((n & -n).astype(np.float64), exponent - HOST.p)
    least = float(bits.min(initial=np.inf))
    return least or float(bits.min(initial=np.inf, where=n != 0))


# 2 Precision


Ulps = float | tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ulp:
    """Accuracy that an implementation declares for its elementary functions, in ulps (2u |y|) of the accumulator.

    A pair (a, b) declares a + b |x| ulps at x: CUDA's __expf is within 2 + 1.173 |x| of them. What rounds to a limit is
    the limit: tanh and erf are 1, and 1 / (1 + e) is, from where they differ from it by less than u / 64.
    """

    exp: Ulps = 2.0
    expm1: Ulps = 4.0
    log: Ulps = 2.0
    log1p: Ulps = 4.0
    sqrt: Ulps = 0.5
    rsqrt: Ulps = 2.0
    pow: Ulps = 4.0
    tanh: Ulps = 4.0
    erf: Ulps = 4.0
    erfc: Ulps = 4.0

    def __post_init__(self) -> None:
        """Refuse what no correct rounding reaches."""
        for f in fields(self):
            value = getattr(self, f.name)
            least, growth = value if isinstance(value, tuple) else (value, 0.0)
            if not (1 / 2 <= least < math.inf and 0 <= growth < math.inf):
                raise ValueError(
                    f"Ulp: {f.name}={value!r}, expected a number of at least 0.5, the error of correct rounding"
                )

    def __repr__(self) -> str:
        """Return the words that make it, without what is at its default."""
        told = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Ulp({', '.join(told)})"

    def at(self, name: str, x: Array) -> np.ndarray:
        """Return the ulps that are declared for a function at arguments of size up to |x|."""
        value = getattr(self, name)
        least, growth = value if isinstance(value, tuple) else (value, 0.0)
        return np.asarray(least + growth * np.abs(x)) if growth else np.asarray(least)


@dataclass(frozen=True)
class Precision:
    """The arithmetic that an implementation claims; every field has a default.

    storage: format of inputs and answers. operands: format to which factors are rounded before they are multiplied
    (None: they are not; "3xtf32": hi hi + hi lo + lo hi of both factors split into two tf32 numbers).
    accumulate: format of sums (None: storage, but at least float32). rounding: "nearest" or "truncate", of every
    operation of the accumulator, each of which rounds once; operands and stores are rounded to nearest.
    statistics: format in which means, variances, and the exponentials of a row, their sum and its logarithm are stored
    between passes (None: accumulate).
    gradients: format in which gradients are formed and added up (None: accumulate).
    algorithm: "any-order" (sums of products in any order, with or without fused multiply-add), "winograd2" or
    "winograd4" (F(2, 3) or F(4, 3) wherever windows are 3 wide, without stride and dilation) or "fft".
    variance: "two-pass", "welford" or "naive" (mean of squares less square of mean).
    softmax: "shifted" (by a maximum that is known before the sum) or "online" (whose sum is rescaled as it grows).
    sigmoid: "exp" (a quotient of exponentials) or "tanh" ((1 + tanh(x / 2)) / 2, which loses small values).
    subnormals: "kept" or "flushed" (any of the inputs and results). Raises ValueError for a value outside these.
    """

    storage: str = "float32"
    operands: str | None = None
    accumulate: str | None = None
    rounding: str = "nearest"
    statistics: str | None = None
    gradients: str | None = None
    algorithm: str = "any-order"
    variance: str = "two-pass"
    softmax: str = "shifted"
    sigmoid: str = "exp"
    subnormals: str = "kept"
    ulp: Ulp = field(default_factory=Ulp)

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"Precision: {name}={value!r}, expected one of {', '.join(map(repr, allowed))}")
        if not isinstance(self.ulp, Ulp):
            raise ValueError(f"Precision: ulp={self.ulp!r}, expected an Ulp")

    @cached_property
    def stored(self) -> Format:
        """Format of inputs and answers."""
        return FORMATS[self.storage]

    @cached_property
    def accumulator(self) -> Format:
        """Format in which sums are formed."""
        return FORMATS[self.accumulate or ("float64" if self.storage == "float64" else "float32")]

    @cached_property
    def backward(self) -> "Precision":
        """The arithmetic of gradients: this one, with the accumulator that is declared for them."""
        return self if self.gradients is None else replace(self, accumulate=self.gradients, gradients=None)

    @cached_property
    def u(self) -> float:
        """Largest relative error of one operation: the accumulator's u, or 2u when it truncates (ASNA, section 2.1)."""
        return self.accumulator.u * (2 if self.rounding == "truncate" else 1)

    @cached_property
    def flushed(self) -> bool:
        """Whether subnormal inputs and results may count as zero."""
        return self.subnormals == "flushed"

    @cached_property
    def tiny(self) -> float:
        """Largest absolute error that underflow adds to one operation: eta, or nmin when results are flushed."""
        return self.accumulator.nmin if self.flushed else self.accumulator.eta

    @cached_property
    def operand_error(self) -> float:
        """Largest relative error of a product by rounding its two operands: 2u + u^2, or 3u^2 + 3u^3 for "3xtf32".

        There x = hi + lo + r with |r| <= u^2 |x| and |lo| <= u (1 + u) |x|, and x y - (hi hi + hi lo + lo hi)
        = lo lo + r y + x r - r r is at most u^2 (1 + u)^2 + 2u^2 + u^4 of |x y|.
        """
        if self.operands is None:
            return 0.0
        u = FORMATS[OPERANDS[self.operands]].u
        return 3 * u**2 + 3 * u**3 if self.operands == "3xtf32" else 2 * u + u**2

    @cached_property
    def operand_growth(self) -> float:
        """By how much of |x y| the products that are added may exceed it: 2u + u^2, or 4u + 6u^2 for "3xtf32".

        There |hi hi| + |hi lo| + |lo hi| <= (1 + u)^2 (1 + 2u) |x y|.
        """
        if self.operands is None:
            return 0.0
        u = FORMATS[OPERANDS[self.operands]].u
        return 4 * u + 6 * u**2 if self.operands == "3xtf32" else 2 * u + u**2

    @cached_property
    def products(self) -> int:
        """Products that the accumulator adds for one term of the sum."""
        return 3 if self.operands == "3xtf32" else 1


OPERANDS = {"tf32": "tf32", "bfloat16": "bfloat16", "float16": "float16", "3xtf32": "tf32"}
"""Format of the numbers that are multiplied, for each kind of operands."""

ALGORITHMS = ("any-order", "winograd2", "winograd4", "fft")
VARIANCES = ("two-pass", "welford", "naive")
SOFTMAXES = ("shifted", "online")
SIGMOIDS = ("exp", "tanh")
_FLOATS = ("float32", "float64", "float16", "bfloat16")
_ALLOWED: dict[str, tuple[Any, ...]] = {
    "storage": _FLOATS,
    "operands": (None, *OPERANDS),
    "accumulate": (None, *_FLOATS),
    "rounding": ("nearest", "truncate"),
    "statistics": (None, *_FLOATS),
    "gradients": (None, *_FLOATS),
    "algorithm": ALGORITHMS,
    "variance": VARIANCES,
    "softmax": SOFTMAXES,
    "sigmoid": SIGMOIDS,
    "subnormals": ("kept", "flushed"),
}

PRESETS = {
    "float64": Precision("float64"),
    "float32": Precision(),
    "tf32": Precision(operands="tf32"),
    "bfloat16": Precision("bfloat16"),
    "float16": Precision("float16"),
    "float16_accumulate16": Precision("float16", accumulate="float16"),
    "float16_statistics16": Precision("float16", statistics="float16"),
    "bfloat16_statistics16": Precision("bfloat16", statistics="bfloat16"),
    "float32_winograd2": Precision(algorithm="winograd2"),
    "float32_winograd4": Precision(algorithm="winograd4"),
    "float32_fft": Precision(algorithm="fft"),
    **{f"{name}_flushed": Precision(name, subnormals="flushed") for name in ("float64", "float32", "bfloat16")},
}


def using(algorithm: str, storage: str = "float32") -> Precision:
    """Return the arithmetic of algorithm classes in a storage format: ways to take sums, variances, or the like.

    Several are joined by commas: "naive, flushed".
    """
    claimed = Precision(storage)
    for word in algorithm.split(", "):
        named = (name for name in ("variance", "softmax", "sigmoid", "subnormals") if word in _ALLOWED[name])
        one: Any = {next(named, "algorithm"): word}
        claimed = replace(claimed, **one)
    return claimed


def spelled(p: Precision) -> str:
    """Return the Precision as Python writes it, with the fields that are not at their default."""
    told = [f"{f.name}={getattr(p, f.name)!r}" for f in fields(p) if getattr(p, f.name) != getattr(Precision(), f.name)]
    return f"Precision({', '.join(told)})"


def precision(claim: str | Precision) -> Precision:
    """Return the preset of that name, or the Precision itself. Raises ValueError for a name that is no preset."""
    if isinstance(claim, Precision):
        return claim
    if not isinstance(claim, str) or claim not in PRESETS:
        raise ValueError(f"precision: {claim!r} is no preset, expected one of {', '.join(PRESETS)} or a Precision")
    return PRESETS[claim]


# 3 Sums of products


def sum_bound(
    magnitude: Array,
    terms: Array,
    y: Array,
    p: Precision,
    unit: float = 0.0,
    *,
    exact_operands: bool = False,
    lost: Array = 0.0,
) -> np.ndarray:
    """E = K u ((1 + g) S + l) + d S + l + K tiny (1 + K u) + the float64 reference's own error, then the store.

    |computed - exact| <= E for a sum of K products of two factors and addends, in any order, with or without fused
    multiply-add, for every K. magnitude: S, the sum of their sizes; terms: K, how many are not zero; y: the exact sum
    or the answer; arrays of one shape. d and g are the operands' error and growth, l = `lost` what is lost before the
    sum begins. Infinite where the sum or the answer may overflow.

    K u S (Jeannerod and Rump 2013, main theorem): an addition of sums a of n and b of m terms, of sizes S and T, is
    wrong by delta <= min(|a|, |b|, v |a + b|), v = u / (1 + u). By induction |a| <= (1 + n u) S, and
    delta <= m u S + n u T: from delta <= |b| where T < v S, else from v (1 + n u) = u (1 + (n - 1) v). A product that
    joins unrounded is the case m = 1, b = T. An accumulator that truncates never makes a partial sum larger, so that
    each of K operations is wrong by at most 2u S.
    tiny: products lose it, sums that underflow are exact (ASNA, Problem 2.19). When results are flushed sums lose it as
    well, but what is flushed adds exactly from then on, so that no more than K operations of all lose anything.
    unit: a power of two that divides every product and addend. Where S <= 2^p unit, all partial sums are multiples of
    unit that the format holds, and E = l: the lattice theorem.
    exact_operands: splitting or rounding the operands loses nothing.
    """
    s, k = np.asarray(magnitude, np.float64), np.asarray(terms, np.float64) * p.products
    exact = exact_operands or p.operands is None
    growth = 0.0 if exact and p.products == 1 else p.operand_growth
    with np.errstate(over="ignore", invalid="ignore"):
        s = s + (own := _own_error(s, k))  # S is itself a float64 sum
        added = (1 + growth) * s + lost
        relative = k * p.u
        error = relative * added + k * p.tiny * (1 + relative) + lost + own
        if not exact:
            error = error + p.operand_error * s
        elif room := _room(unit, p.accumulator, p):
            error = np.where(added <= room, lost, error)
        most = added + error
        if most.max(initial=0.0) < p.accumulator.fmax and p.stored.holds(p.accumulator):
            return np.asarray(error)  # nothing overflows, and a store changes nothing
        error = np.where(most < p.accumulator.fmax, error, np.inf)
        return store_bound(error, at_most(y, s), p, exact=added <= _room(unit, p.stored, p))


def addition_bound(magnitude: Array, terms: Array, y: Array, p: Precision, unit: float, *, lost: Array) -> np.ndarray:
    """sum_bound of a sum of K entries, which only K - 1 additions round; one entry alone is copied, and loses `lost`.

    Jeannerod and Rump 2013 have (n - 1) u for a sum of n numbers.
    """
    error = sum_bound(magnitude, np.maximum(terms - 1, 0), y, p, unit, exact_operands=True, lost=lost)
    return np.where(terms > 1, error, lost)


def gather_bound(evaluate: Callable[[Array], Array], entries: Array, *, y: Array, p: Precision) -> np.ndarray:
    """addition_bound for evaluate(entries), whose answers are sums of entries: S and K as in `multilinear_bound`."""
    size = np.abs(entries)
    terms = np.rint(evaluate((entries != 0).astype(np.float64)))
    lost = evaluate(_subnormal(size, p.stored)) if p.flushed else np.zeros_like(terms)
    return addition_bound(evaluate(size), terms, y, p, lattice_unit(entries), lost=lost)


def copy_bound(y: Array, p: Precision, x: Array) -> np.ndarray:
    """0: an entry of x that is copied stays as it is, bit for bit.

    nmin where it may be flushed: where y is below nmin, and something in x is, but 0, which stays as it is too.
    """
    lost = p.flushed and bool(_subnormal(np.abs(x), p.stored).any())
    return np.where((np.abs(y) < p.stored.nmin) & lost, p.stored.nmin, 0.0)


def at_most(y: Array, size: Array) -> np.ndarray:
    """|y|, or `size` where that is less or y is no number: no right answer is larger than the sum of its terms' sizes.

    A wrong one, too large to be stored or no number at all, must not buy itself an infinite bound.
    """
    return np.asarray(np.fmin(np.abs(y), size))


def store_bound(error: Array, y: Array, p: Precision, *, exact: Array = False) -> np.ndarray:
    """E + u_T (|y| + E) + eta_T / 2: a value of the accumulator, wrong by E, stored in format T (ASNA, Theorem 2.2).

    y is the exact value or the stored answer, since |fl(z) - z| <= u |fl(z)| as well (ASNA, Theorem 2.3). Only E where
    T holds every number of the accumulator, and where `exact` says that T holds the value once E = 0. Infinite where
    the answer may overflow.
    """
    error, size = np.asarray(error, np.float64), np.abs(np.asarray(y, np.float64))
    form = p.stored
    with np.errstate(over="ignore", invalid="ignore"):
        if not form.holds(p.accumulator):
            rounded = error + form.u * (size + error) + (form.nmin if p.flushed else form.eta / 2)
            error = np.where(np.asarray(exact) & (error == 0.0), 0.0, rounded)
        return np.where(size + error <= form.fmax, error, np.inf)


def _own_error(s: np.ndarray, k: Array) -> np.ndarray:
    """(K + 2) 2^-53 S + K eta_64: a float64 sum of the same terms, and what is compared with is one."""
    own: np.ndarray = (k + 2) * HOST.u * s + k * HOST.eta
    return own


def _room(unit: float, form: Format, p: Precision) -> float:
    """Size up to which the format holds every multiple of `unit`: 2^p unit; 0 where it does not hold `unit` itself."""
    smallest = form.nmin if p.flushed else form.eta
    return min(2.0**form.p * unit, form.fmax) if unit >= smallest else 0.0


def multilinear_bound(
    evaluate: Callable[..., Array],
    factors: tuple[Array, ...],
    addends: tuple[Array | None, ...] = (),
    *,
    y: Array,
    p: Precision,
) -> np.ndarray:
    """sum_bound for evaluate(*factors, *addends), with S = evaluate(|arrays|) and K = evaluate(arrays != 0).

    `evaluate` returns sums of addends and of products of one entry of each factor (one or two factors), all with
    coefficient 1. Counting with indicators knows padding, groups, dilation and sparsity: a zero term adds exactly. The
    arrays are float64 NumPy arrays, None an absent addend; y is the exact value or the answer.
    """
    arrays = (*factors, *addends)
    with np.errstate(over="ignore", invalid="ignore"):
        magnitude = evaluate(*(None if a is None else np.abs(a) for a in arrays))
        terms = np.rint(evaluate(*(None if a is None else (a != 0).astype(np.float64) for a in arrays)))
        lost = _lost(evaluate, factors, addends, p)
    unit = min([math.prod(map(lattice_unit, factors)), *map(lattice_unit, addends)])
    return sum_bound(magnitude, terms, y, p, unit, exact_operands=_exact_operands(factors, p), lost=lost)


def _exact_operands(factors: tuple[Array, ...], p: Precision) -> bool:
    """Return whether the operands' rounding changes no product: nothing beyond lo is left, and no lo meets another."""
    if p.operands is None:
        return True
    name = OPERANDS[p.operands]
    rests = [f - round_to(f, name) for f in factors]
    wide = [r for r in rests if r.any()]
    return not wide or (p.operands == "3xtf32" and len(wide) == 1 and bool((wide[0] == round_to(wide[0], name)).all()))


def _lost(
    evaluate: Callable[..., Array], factors: tuple[Array, ...], addends: tuple[Array | None, ...], p: Precision
) -> Array:
    """Sum of L_x |w| + (|x| + L_x) L_w and of L_b: what is lost when a factor x loses L_x, an addend b L_b."""
    if p.operands is None and not p.flushed:
        return 0.0
    sizes, losses = [np.abs(f) for f in factors], [_loss(f, p) for f in factors]
    lost = np.zeros(())
    for i, loss in enumerate(losses):
        if loss.any():
            before = (size + less for size, less in zip(sizes[:i], losses[:i], strict=True))
            nothing = (None if a is None else np.zeros_like(a) for a in addends)
            lost = lost + evaluate(*before, loss, *sizes[i + 1 :], *nothing)
    if p.flushed and any(a is not None for a in addends):
        flushed = (None if a is None else _subnormal(np.abs(a), p.stored) for a in addends)
        lost = lost + evaluate(*map(np.zeros_like, factors), *flushed)
    return (1 + p.operand_growth) * lost


def _loss(factor: np.ndarray, p: Precision) -> np.ndarray:
    """Return what an operand loses beyond the relative error of its rounding.

    Subnormals may be flushed. Below nmin of the operands' format the error of rounding is absolute. In "3xtf32" so is
    that of lo where x - hi is small, which in float64 can be 2^-53 |x| (three times: lo and the two remainders). An
    operand that overflows loses everything.
    """
    form, size = FORMATS[OPERANDS[p.operands]] if p.operands else p.stored, np.abs(factor)
    edge = max(form.nmin, p.stored.nmin if p.flushed else 0.0) / (HOST.u if p.operands == "3xtf32" else 1.0)
    if ((size == 0) | ((size >= edge) & (size <= form.fmax))).all():
        return np.zeros_like(size)
    flushed = _subnormal(size, p.stored) if p.flushed else np.zeros_like(size)
    if p.operands == "3xtf32":
        absolute = np.where((size > 0) & (size < edge), 3 * (form.nmin if p.flushed else form.eta / 2), 0.0)
    elif p.flushed:
        absolute = _subnormal(size, form)
    else:
        absolute = np.where(size < form.nmin, np.abs(factor - round_to(factor, form.name)), 0.0)
    return np.where(size > form.fmax, np.inf, np.maximum(flushed, absolute))


def _subnormal(size: np.ndarray, form: Format) -> np.ndarray:
    """Return the sizes that are below the format's normal numbers, 0 for the others."""
    return np.where(size < form.nmin, size, 0.0)


def multilinear_spread(
    evaluate: Callable[..., Array],
    factors: tuple[Array, ...],
    addends: tuple[Array | None, ...] = (),
    *,
    y: Array,
    p: Precision,
) -> np.ndarray:
    """u sqrt(K (y^2 / 3 + Q / 6) + Q + y^2): scale of the rounding error of a sum of products in random order.

    Q is the sum of squared products and K counts them. The partial sums of a random walk pinned at 0 and y have mean
    square y^2 / 3 + Q / 6. Rounding to nearest makes independent errors of mean zero (Higham and Mary 2019, model 2.1),
    of rms ROUNDING_RMS u |s|, so that this is 1 / ROUNDING_RMS = 2.4 standard deviations; the errors of a truncating
    accumulator share their sign with s, and K counts twice. A model, not a theorem: it may make a verdict SUSPECT and
    never proves an error. Valid for data in random order only.
    """
    arrays = (*factors, *addends)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = evaluate(*(None if a is None else np.square(a) for a in arrays))
        terms = evaluate(*(None if a is None else (a != 0).astype(np.float64) for a in arrays)) * p.products
        size = np.square(np.asarray(y, np.float64))
        independent = terms if p.rounding == "nearest" else np.square(terms)
        variance = p.u**2 * (independent * (size / 3 + squares / 6) + squares + size)
        if p.operands is not None:
            u = FORMATS[OPERANDS[p.operands]].u
            variance = variance + (3 * u**4 if p.operands == "3xtf32" else 2 * u**2) * squares
        if not p.stored.holds(p.accumulator):
            variance = variance + p.stored.u**2 * size + p.stored.eta**2
        return np.asarray(np.sqrt(variance + np.square(terms * p.tiny)))


ROUNDING_RMS = math.sqrt(1 / (8 * math.log(2.0)))
"""rms of one rounding error over u |s|: uniform in +-u 2^e, s = m 2^e, 1 / m^2 of mean 3 / (8 log 2) (Benford's m)."""


# 4 Convolution by Fourier transforms


def fft_bound(
    energy: Array,
    full: Array,
    channels: int,
    length: int,
    y: Array,
    p: Precision,
    *,
    norms: Array = 0.0,
    terms: Array | None = None,
) -> np.ndarray:
    """E = (1 + g sqrt n) (G E2 + U) + g F, G = gamma(2D + 2 sqrt 2 C + 2), g = gamma(D + 2), then the store.

    A circular convolution of n points, summed over C channels, by three fast Fourier transforms;
    gamma(a) = a u / (1 - a u). energy: E2 = sum over channels of ||x||_2 ||w||_2; full: F = sum over channels of
    ||x||_2 ||w||_1, at least the 2-norm of the whole circular result; channels: C; length: n, the points of one
    transform; norms: sum over channels of ||x||_2 + ||w||_2, which U, what underflow costs, is proportional to; terms:
    products in an element of the sum that the reference forms (None: C n). The bound is norm-wise, the same for every
    element of an image.

    Derivation. A transform is wrong by gamma(D) of its own 2-norm, D from `_transform_roundings`. By the Cauchy-Schwarz
    inequality and Parseval's identity, such errors of both spectra move an element of the result by
    ((1 + gamma(D))^2 - 1) E2. The sum over channels is a real sum of 2C products for either part, wrong by 2C u times
    their sizes (`sum_bound`), which together are at most sqrt 2 sum |X| |W|: 2 sqrt 2 C u E2. The factor 1/n is two
    roundings at most. The last transform is wrong by gamma(D) of the 2-norm of the result that it is given, at most
    F + sqrt n (G E2 + U). Products of gammas are absorbed by the gamma of the sum (ASNA, Lemma 3.3). Complex products
    of three real ones, and primes taken apart by Bluestein's or Rader's algorithm, are outside this proof.
    """
    energy, full = np.asarray(energy, np.float64), np.asarray(full, np.float64)
    depth, amplified = _transform_roundings(length)
    every, last = gamma(2 * depth + 2 * math.sqrt(2.0) * channels + 2, p.u), gamma(depth + 2, p.u)
    count = channels * length if terms is None else np.asarray(terms, np.float64)
    root = math.sqrt(length)
    with np.errstate(over="ignore", invalid="ignore"):
        own = (length + channels) * HOST.u  # the norms are float64 sums
        energy, full = energy * (1 + own), full * (1 + own)
        lost = 2 * (1 + every) * p.tiny * (amplified * (length + root * norms) + 6 * channels)
        error = (1 + last * root) * (every * energy + lost) + last * full + _own_error(energy, count)
        error = np.where(2 * (length * full + root * norms) < p.accumulator.fmax, error, np.inf)
    return store_bound(np.broadcast_to(error, np.shape(y)), at_most(y, energy), p)


@lru_cache
def _transform_roundings(length: int) -> tuple[float, float]:
    """Return D, gamma(D) being the relative error of a transform in the 2-norm, and by how much it amplifies underflow.

    A pass of prime radix r multiplies by weights, each wrong by u, in complex arithmetic, wrong by sqrt 2 gamma(2)
    (ASNA, Lemma 3.5): 1 + 2 sqrt 2 roundings. Then it forms sums of r terms. For r = 2 these are a +- b: one rounding
    (ASNA, section 24.1 has 1 + 4 sqrt 2 in all). Else r sums with weights, each wrong by gamma(2 sqrt 2 + r) of a
    1-norm, are wrong by r times as much of the terms' 2-norm, sqrt r times as much of their own. Radix 4 and 8 are two
    and three passes with fewer roundings. A point loses at most 8 sqrt 2 r tiny in a pass; passes that follow multiply
    that by sqrt r each, in all by less than n / (sqrt r - 1).
    """
    weight = 1 + 2 * math.sqrt(2.0)
    radices = _prime_factors(max(length, 2))
    depth = sum(weight + (1 if r == 2 else math.sqrt(r) * (weight + r - 1)) for r in radices)
    return depth, max(4 * math.sqrt(2.0) * r / (math.sqrt(r) - 1) for r in radices)


def transform_depth(n: int, wave: float) -> tuple[float, int]:
    """Return D, and the largest prime factor of n (1 for n = 1).

    gamma(D) is the error of one coefficient of a transform of n points by passes of prime radices, relative to the sum
    of the sizes of the samples (not to their 2-norm, as in `_transform_roundings`). A pass of radix r multiplies by
    waves that are wrong by `wave` u, in complex arithmetic, wrong by sqrt 2 gamma(2) (ASNA, Lemma 3.5), and sums r of
    the products by r - 1 additions; for r > 2 these have waves of their own.
    """
    weight, radices = wave + 2 * math.sqrt(2.0), _prime_factors(n)
    return sum(weight * (1 if r == 2 else 2) + r - 1 for r in radices), max(radices, default=1)


def _prime_factors(n: int) -> list[int]:
    """Return the prime factors of n in rising order, each as often as it divides n."""
    factors, r = [], 2
    while r * r <= n:
        while n % r == 0:
            factors.append(r)
            n //= r
        r += 1
    return [*factors, n] if n > 1 else factors


def gamma(k: float, u: float) -> float:
    """gamma_k = k u / (1 - k u), infinite from k u = 1 on (ASNA, Lemma 3.1)."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


# 5 Convolution by bilinear algorithms


def bilinear_bound(
    magnitude: Array,
    addend: Array,
    roundings: int,
    terms: int,
    y: Array,
    p: Precision,
    *,
    lost: Array,
    widest: float,
    units: tuple[float, float, float],
) -> np.ndarray:
    """E = R ((1 + g) S + |b|) + (1 + R) (d S + l) + the float64 reference's own error, then the store.

    R = (1 + u)^k - 1. For y = A^T [(G w) * (B^T x)] + b with sums in any order. magnitude: S = |A^T| [(|G| |w|) *
    (|B^T| |x|)]; addend: |b|; roundings: k, how many lie on the way from an entry of x or w to y; terms: products that
    the reference adds; y: the exact value or the answer. d and g are the operands' error and growth, where transformed
    factors are rounded; l = `lost` what underflow costs.

    y is a sum of products of entries of A, G, w, B and x. What is computed is the sum of these products, each times k
    factors 1 + delta with |delta| <= u, which is wrong by R of their sizes (ASNA, Lemma 3.1), and these add up to S.
    Barabasz, Anderson, Soodhalter and Gregg 2018 (arXiv 1803.10986) have this to first order in u.
    units: powers of two that divide all numbers of the transformed x and w, and b. Where the accumulator has these
    units, and all multiples of the least of u_x u_w and u_b up to S + |b|, nothing is rounded: E = 0, or l where
    subnormals are flushed.
    widest: the largest size that a transformed entry may have. Infinite everywhere if anything may overflow: one
    infinite entry of a tile leaves no number in it.
    """
    s, b = np.asarray(magnitude, np.float64), np.asarray(addend, np.float64)
    grown = math.expm1(roundings * math.log1p(p.u))
    with np.errstate(over="ignore", invalid="ignore"):
        s = s + (own := _own_error(s, terms))
        lost = lost + _subnormal(b, p.stored) if p.flushed else lost
        error = grown * ((1 + p.operand_growth) * s + b) + (1 + grown) * (p.operand_error * s + lost) + own
        unit, size = min(units[0] * units[1], units[2]), s + b
        if p.operands is None and min(_room(each, p.accumulator, p) for each in units[:2]):
            error = np.where(size <= _room(unit, p.accumulator, p), lost if p.flushed else 0.0, error)
        limit = FORMATS[OPERANDS[p.operands]].fmax if p.operands else p.accumulator.fmax
        if not (widest < limit and np.max(size + error, initial=0.0) < p.accumulator.fmax):
            return np.full(np.shape(y), np.inf)
    return store_bound(error, at_most(y, size), p, exact=size <= _room(unit, p.stored, p))


def transform_loss(p: Precision) -> float:
    """Return what rounding a transformed factor to an operand's format loses beyond a relative error (see `_loss`)."""
    if p.operands is None:
        return 0.0
    form = FORMATS[OPERANDS[p.operands]]
    return (3 if p.operands == "3xtf32" else 1) * (form.nmin if p.flushed else form.eta / 2)


# 6 Pairs: a value and how far it may be from the exact one


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A float64 value and a bound on its distance from the exact one, arrays of one shape (ASNA, section 3.3).

    Arithmetic here is the judge's own: its rounding is found exactly (ASNA, section 4.3, for sums; Dekker 1971, A
    floating-point technique for extending the available precision, section 5, for products) and added to the error, so
    that small integers stay exact. `Running` adds the roundings of an implementation. What comes of a value that is not
    finite, and should be within a finite distance of the exact one, counts as exact: so that a wrong NaN is seen.
    """

    __array_ufunc__: ClassVar[None] = None  # `array * pair` is the pair's business, not NumPy's

    value: np.ndarray
    error: np.ndarray

    @classmethod
    def exact(cls, value: Array) -> Self:
        """Return a value without error."""
        value = np.asarray(value, np.float64)
        return cls(value, np.zeros_like(value))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.value.shape

    def map(self, move: Callable[[np.ndarray], np.ndarray]) -> "Pair":
        """Return the pair after moving data: `move` selects, permutes or repeats entries and computes nothing."""
        return Pair(move(self.value), move(self.error))

    def __getitem__(self, index: Any) -> "Pair":
        """Return the entries at the index."""
        return self.map(lambda a: a[index])

    def __neg__(self) -> "Pair":
        """Return the negated value; exact."""
        return Pair(-self.value, self.error)

    def __add__(self, other: "Pair | Array") -> "Pair":
        """Return a + b with the errors of both and the exact residual of the addition."""
        b = as_pair(other)
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.value + b.value
            part = total - self.value
            residual = np.abs((self.value - (total - part)) + (b.value - part))
            return _settled(self, b, total, self.error + b.error + residual)

    __radd__ = __add__

    def __sub__(self, other: "Pair | Array") -> "Pair":
        """Return a - b."""
        return self + (-as_pair(other))

    def __rsub__(self, other: "Pair | Array") -> "Pair":
        """Return other - self."""
        return -self + other

    def __mul__(self, other: "Pair | Array") -> "Pair":
        """Return a b: |a| e_b + e_a |b| + e_a e_b, and the exact residual of the multiplication."""
        b = as_pair(other)
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.value * b.value
            error = np.abs(self.value) * b.error + self.error * (np.abs(b.value) + b.error)
            error = error + np.where(self.error + b.error > 0, 3 * HOST.eta, 0.0)  # the error's products underflow too
            error = error + _product_residual(self.value, b.value, value)
            return _settled(self, b, value, error)

    __rmul__ = __mul__

    def sum(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> "Pair":
        """Return the sum over axes: the errors, and n u S unless all partial sums are float64 numbers (`sum_bound`)."""
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(self.value).sum(axis=axis, keepdims=keepdims)
            value = self.value.sum(axis=axis, keepdims=keepdims)
            relative = self.value.size / max(np.size(size), 1) * HOST.u
            exact = size * (1 + relative) <= min(2.0**HOST.p * lattice_unit(self.value), HOST.fmax)
            error = self.error.sum(axis=axis, keepdims=keepdims) + np.where(exact, 0.0, relative * size)
            finite = np.isfinite(self.value).all(axis=axis, keepdims=keepdims)
            known = np.isfinite(self.error).all(axis=axis, keepdims=keepdims)
        return Pair(np.asarray(value), np.where(~finite & known, 0.0, np.where(np.isnan(error), np.inf, error)))


def as_pair(value: Pair | Array) -> Pair:
    """Return a Pair unchanged, and anything else as a value without error."""
    return value if isinstance(value, Pair) else Pair.exact(value)


def concat(pairs: list[Pair], axis: int) -> Pair:
    """Return the pairs joined along an axis."""
    return Pair(np.concatenate([p.value for p in pairs], axis), np.concatenate([p.error for p in pairs], axis))


def stack(pairs: list[Pair], axis: int = 0) -> Pair:
    """Return the pairs stacked along a new axis."""
    return Pair(np.stack([p.value for p in pairs], axis), np.stack([p.error for p in pairs], axis))


def claim(left: Pair | Array, right: Pair | Array) -> Claim:
    """Return the claim that two sides are the same number: they differ by at most the sum of their errors."""
    a, b = as_pair(left), right
    if not isinstance(b, Pair):
        b = np.asarray(b, np.float64)
        return Claim(a.value, b, a.error if a.shape == b.shape else a.error + np.zeros(b.shape))
    return Claim(a.value, b.value, a.error + b.error)


def inner(left: Pair | Array, right: Pair | Array) -> Pair:
    """Return the inner product of two arrays of one shape, a Pair of shape ()."""
    return (as_pair(left) * right).sum()


def _product_residual(a: np.ndarray, b: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return |a b - value| for value = fl(a b): exact, or u |value| + eta where the residual may itself underflow."""
    a_high, b_high = _leading_half(a), _leading_half(b)
    a_low, b_low = a - a_high, b - b_high
    residual: np.ndarray = np.abs(a_low * b_low - (((value - a_high * b_high) - a_low * b_high) - a_high * b_low))
    size: np.ndarray = np.abs(value)
    small = (size < HOST.nmin / HOST.u**2) & (a != 0) & (b != 0)
    return np.where(small, HOST.u * size + HOST.eta, residual)


def _leading_half(a: np.ndarray) -> np.ndarray:
    """Return the leading 26 bits of a, so that products of halves are exact (Veltkamp's splitting)."""
    scaled = (2.0**27 + 1) * a
    return np.asarray(scaled - (scaled - a))


def _settled(a: Pair, b: Pair, value: np.ndarray, error: np.ndarray) -> Pair:
    """Return Pair(value, error) with an error for what is not finite: 0 if an operand was not, with a finite error."""
    if np.isfinite(value + error).all():
        return Pair(value, error)
    given = ~(np.isfinite(a.value) & np.isfinite(b.value)) & np.isfinite(a.error) & np.isfinite(b.error)
    unknown = np.isnan(error) | ~np.isfinite(value)
    return Pair(value, np.where(given, 0.0, np.where(unknown, np.inf, error)))


@dataclass(frozen=True, slots=True)
class Running:
    """Pairs as an implementation of a precision computes them: operations add u (|v| + e) + tiny (ASNA, section 3.3).

    One formula written with these operations is at once its value and its bound. Three computations of the formula stay
    within e of v: the exact one, the implementation's, and a float64 reference; the last two stay within e of each
    other. Hence u is the sum of their unit roundoffs, and the float64 rounding of v itself is added as well.
    Errors are infinite where the implementation may overflow.
    """

    p: Precision

    @property
    def u(self) -> float:
        """Unit roundoff of the accumulator plus that of the float64 reference."""
        return self.p.u + HOST.u

    def rounded(self, a: Pair, count: float = 1.0) -> Pair:
        """Return the pair after `count` roundings of the accumulator: a relative error of (1 + u)^count - 1."""
        return self._moved(a, math.expm1(count * math.log1p(self.u)), count)

    def _moved(self, a: Pair, relative: Array, count: Array) -> Pair:
        """Return the pair after operations wrong by `relative` and `count` underflows; infinite on overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(a.value) + a.error
            error = a.error + relative * size + count * (1 + relative) * self.p.tiny
            return Pair(a.value, np.where(size + error < self.p.accumulator.fmax, error, np.inf))

    def add(self, a: Pair | Array, b: Pair | Array) -> Pair:
        """Return fl(a + b)."""
        return self.rounded(as_pair(a) + b)

    def sub(self, a: Pair | Array, b: Pair | Array) -> Pair:
        """Return fl(a - b)."""
        return self.rounded(as_pair(a) - b)

    def mul(self, a: Pair | Array, b: Pair | Array) -> Pair:
        """Return fl(a b)."""
        return self.rounded(as_pair(a) * b)

    def div(self, a: Pair | Array, b: Pair | Array) -> Pair:
        """Return a / b by division, or as a times a reciprocal wrong by one ulp: at most three roundings.

        A quotient moves by (e_a + |q| e_b) / (|b| - e_b); infinite where b may be zero or its reciprocal overflows.
        A reciprocal that underflows loses |a| tiny.
        """
        a, b = as_pair(a), as_pair(b)
        form = self.p.accumulator
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            quotient = a.value / b.value
            room, size = np.abs(b.value) - b.error, np.abs(a.value) + a.error
            error = (a.error + np.abs(quotient) * b.error) / room + HOST.u * np.abs(quotient) + 3 * HOST.eta
            error = error + np.where(2 * form.nmin * (np.abs(b.value) + b.error) > 1, size * self.p.tiny, 0.0)
            error = np.where(room * form.fmax > 1, error, np.inf)
        return self.rounded(Pair(quotient, error), 3)

    def sum(self, a: Pair, axis: int | tuple[int, ...], *, keepdims: bool = True) -> Pair:
        """Return the sum in any order: sum of e + (n - 1) u sum of (|v| + e) (Jeannerod and Rump 2013, `sum_bound`)."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.asarray(np.sum(a.value, axis=axis, keepdims=keepdims))
            steps = max(a.value.size / max(value.size, 1) - 1, 0)
            error = np.sum(a.error, axis=axis, keepdims=keepdims)
            size = np.sum(np.abs(a.value), axis=axis, keepdims=keepdims) + error
            relative = steps * self.u
            flushed = steps * self.p.tiny * (1 + relative) if self.p.flushed else 0.0
            error = error + relative * size + steps * HOST.u * size + flushed
            return Pair(value, np.where(size + error < self.p.accumulator.fmax, error, np.inf))

    def mean(self, a: Pair, axis: int | tuple[int, ...], *, keepdims: bool = True) -> Pair:
        """Return the sum divided by the count, or multiplied by its rounded reciprocal."""
        total = self.sum(a, axis, keepdims=keepdims)
        return self.div(total, np.full(total.shape, a.value.size / max(total.value.size, 1)))

    def apply(self, name: str, a: Pair, *parameters: float) -> Pair:
        """Return f(a) for an elementary function of `elementary.FUNCTIONS`, wrong by the declared ulps.

        The argument's error moves f(v) by at most `moves`; an ulp is at most 2u |y| (ASNA, section 2.1), or eta among
        the subnormal numbers. The float64 value and the reference are each wrong by the ulps of `host`. Infinite where
        the argument may leave the domain of f.
        """
        f, p = FUNCTIONS[name], self.p
        with np.errstate(all="ignore"):
            value = np.asarray(f.value(a.value, *parameters))
            host = 2 * f.host * HOST.u
            moved = np.where(a.error > 0, f.moves(a.value, a.error, *parameters), 0.0)
            error = moved + host * np.abs(value) + f.host * HOST.eta
            ulps = p.ulp.at(name, np.abs(a.value) + a.error)
            relative = np.maximum(2 * ulps * p.accumulator.u, p.u) + host
            return self._moved(Pair(value, error), relative, 1.0 if p.flushed else np.maximum(ulps, 1.0))

    def sqrt(self, a: Pair) -> Pair:
        """Return the square root."""
        return self.apply("sqrt", a)

    def rsqrt(self, a: Pair) -> Pair:
        """Return 1 / sqrt(a)."""
        return self.apply("rsqrt", a)

    def power(self, a: Pair, exponent: float) -> Pair:
        """Return a^b for a >= 0 and an exponent b that an implementation may round to b + d first.

        x^(b + d) - x^b = x^b (exp(d log x) - 1).
        """
        y = self.apply("pow", a, exponent)
        wrong = abs(exponent - float(round_to(np.asarray(exponent), self.p.accumulator.name)))
        if not wrong:
            return y
        with np.errstate(all="ignore"):
            reach = np.maximum(np.abs(np.log(a.value - a.error)), np.abs(np.log(a.value + a.error)))
            return self._moved(y, np.expm1(wrong * (outward(reach) + 2 * HOST.u)), 0.0)

    def stored(self, a: Pair, name: str | None = None) -> Pair:
        """Return the pair after a store in the named format (None: no store); infinite where it may overflow."""
        if name is None or FORMATS[name].holds(self.p.accumulator):
            return a
        form = FORMATS[name]
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(a.value) + a.error
            error = a.error + form.u * size + (form.nmin if self.p.flushed else form.eta)
            return Pair(a.value, np.where(size <= form.fmax, error, np.inf))

    def answer(self, a: Pair) -> np.ndarray:
        """Return the bound of the answer: the pair's error after the final store."""
        return store_bound(a.error, a.value, self.p)


# 7 The last rounding


def outward(bound: Array) -> np.ndarray:
    """(1 + 2^-40) E: a bound is itself computed in float64, by fewer than 2^12 roundings of terms that are >= 0.

    Sums of K terms inside a bound count for themselves (`sum_bound`, `fft_bound`).
    """
    return np.asarray(bound, np.float64) * (1 + 2.0**-40)
