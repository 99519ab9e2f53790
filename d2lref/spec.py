"""The vocabulary: what can be known about an operation, as frozen records. Standard library only.

A chapter (a file in `ops/`) fills one `Op`; the oracle reads it and never needs to know which op it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Array = Any  # every library of the Python array API has a class of its own
Shape = tuple[int, ...]
REQUIRED: Any = ...  # the default of an option that has none

SUMS = (
    "lattice_small",
    "lattice_wide",
    "sparse",
    "normal",
    "positive",
    "wide_range",
    "cancelling",
    "subnormal",
)
"""The value regimes that mean something for every sum of products, simplest first (see Op.regimes)."""


class Draw(Protocol):
    """A source of choices: Hypothesis, a seeded generator, a replayed record. Everything shrinks towards the first."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]; shrinks towards `low`."""
        ...

    def choice(self, *options: Any) -> Any:
        """Return one of the options; shrinks towards the first."""
        ...

    def sizes(self, *lows: int) -> Shape:
        """Return one size per lower bound, usually at most 3 above it; shrinks towards the lower bounds.

        One of them may lie at or beside a vector, tile or block width instead (7, 8, 9, 15, 16, 17, ... 129), or two
        of them at narrow ones (up to 33), the others then at most 1 above their bounds: blocked kernels ask for both
        at once, and the product of the sizes stays small.
        """
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """A case without its values: shapes of the arrays (None for an absent one) and every option with its value."""

    shapes: tuple[Shape | None, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One input: arrays, one cotangent per output, and every option with its value.

    Arrays are float64 NumPy arrays whose values lie on the grid of the storage dtype that is judged, so that
    a law can select, permute, negate and scale by powers of two without rounding; those of indices are int64.
    `regime` names where the values come from and `seed` feeds whatever else a law draws (masks, permutations).
    """

    arrays: tuple[Array, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    cotangents: tuple[Array, ...] = ()
    regime: str = "given"
    seed: int = 0


class Claim(NamedTuple):
    """`left` and `right` agree within `bound`, element by element; bound 0 means equal (0 and -0 are; so are two NaN).

    note: what a reader should know when it fails, for claims that are not about numbers.
    """

    left: Array
    right: Array
    bound: Array = 0.0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Operand:
    """One array argument of an op, in the order of the signature.

    linear: the op is linear in this array when the other arrays are held (an additive bias is not linear: set False).
    affine: it would be linear but for what it answers to an array of zeros (set only where linear is False).
    view: the answer may share the memory of this array, as a change of shape does.
    batch: axis 0 counts independent images, and the same axis of every output does.
    state: running statistics that an implementation may update in place.
    positive: values must be positive (a variance).
    indices(*shapes, **options): the integers that the array may hold (classes, rows of a table), simplest first, or
    None where it holds real numbers; it is asked about bad shapes too. None: it always holds real numbers. Integers are
    handed over as int64 and have no gradient.
    """

    name: str
    optional: bool = False
    differentiable: bool = True
    linear: bool = False
    affine: bool = False
    view: bool = False
    batch: bool = False
    state: bool = False
    positive: bool = False
    indices: Callable[..., Sequence[int] | None] | None = None


@dataclass(frozen=True, slots=True)
class Law:
    """A statement about ONE implementation on ONE case.

    holds(f, case) returns a Claim and never asserts. `f(*arrays, **options)` calls the implementation and returns a
    `rounding.Pair` (or a tuple of them, one per output): its answer and how far a correct answer may be from the exact
    value. `f.vjp(gy, *arrays, **options)` returns a tuple with a Pair for every differentiable array that is present
    and None for the others; gy is an array (a tuple of arrays, None for one without gradient, when the op has several
    outputs). `f.precision` is what the implementation claims. when(case) says which cases the law speaks about.
    definition: the law compares with the chapter's definition (or its vjp). vjp: the law calls f.vjp.
    """

    says: str
    holds: Callable[[Any, Case], Claim]
    when: Callable[[Case], bool] = lambda case: True
    definition: bool = False
    vjp: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """Another way to compute the same op: same signature as the definition, and the algorithm class of its bound.

    accepts(*shapes, **options) says for which forms it is meant; None: for all. finite: it multiplies by zeros what the
    definition does not read, so that NaN and infinities spread.
    """

    run: Callable[..., Any]
    algorithm: str = "any-order"
    accepts: Callable[..., bool] | None = None
    finite: bool = False


@dataclass(frozen=True, slots=True)
class Rejection:
    """Bad input that must raise: shapes and options of the call, and the exact message of our ValueError.

    A stranger must refuse mandatory ones with any exception and leave its inputs alone.
    """

    says: str
    shapes: tuple[Shape | None, ...]
    options: Mapping[str, Any]
    message: str
    mandatory: bool = True


@dataclass(frozen=True, slots=True)
class Mistake:
    """A plausible wrong implementation, with the bug report it models (a link or a citation).

    `forward` and `vjp` have the op's signatures; None means the right one. `caught_by` names laws (by `says`) that do
    not pass through the definition and catch it: the control that those laws can fail at all. lasting: every call
    by itself is right, and what is kept from one to the next is wrong.
    """

    says: str
    cites: str
    forward: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    caught_by: tuple[str, ...] = ()
    lasting: bool = False


FOLLOWED = ("nan", "inf", "zero", "limit")
"""What answers follow of IEEE 754 (see Op.follows)."""


FRAMEWORKS = ("torch", "jax", "flax", "tensorflow", "keras", "onnx")
"""The conventions that have a name. Chapters are written in the first; what a framework does otherwise is in theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """How a framework means an op where it legitimately differs from torch. What is not told here is as in torch.

    name: one of FRAMEWORKS. says: the difference, in words. source: where the framework documents it.
    defaults: the options that have another default. means(**options) -> the options that mean the same in torch, or
    None where each means the same. moves(arrays) -> the arrays that torch would be handed, data moved by a function
    that undoes itself; None where they are the same. definition, vjp, bound and vjp_bound: where no call of
    torch's has these answers; they are handed torch's options. without: laws, by `says`, that do not hold there.
    """

    name: str
    says: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    means: Callable[..., dict[str, Any]] | None = None
    moves: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None
    definition: Callable[..., Any] | None = None
    vjp: Callable[..., tuple[Any, ...]] | None = None
    bound: Callable[..., Any] | None = None
    vjp_bound: Callable[..., tuple[Any, ...]] | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Op:
    """Everything known about one operation.

    operands: the array arguments. options: every option with its default (`REQUIRED` where it has none).
    shape(*shapes, **options) -> tuple of output shapes; raises ValueError with the chapter's exact message.
    definition(*arrays, **options) -> array, or tuple of arrays when `outputs` has several names.
    vjp(gy, *arrays, **options) -> tuple aligned with the operands (None: absent or not differentiable).
    bound(y, precision, *arrays, **options) -> how far a correct answer may be from the exact value, per element
    (a tuple for several outputs); y is an answer or the exact value, arrays are float64 NumPy.
    vjp_bound(grads, precision, gy, *arrays, **options) -> the same for the gradients, aligned with them.
    spread(y, precision, *arrays, **options) -> standard deviation of the rounding error for shuffled data, or None.
    indices: the outputs that are integers, of dtype int64, without a cotangent; their bound is how far apart two right
    answers may be.
    cases(draw) -> Form. regimes: the value regimes that make sense, simplest first; the first is what values shrink to.
    gallery: forms that every run begins with. conventions: how other frameworks mean it; torch: the op as torch means
    it, for one that another framework means (`oracle.conventions.under`). follows: the policy of values that are not
    finite, which of FOLLOWED every right implementation has of the definition. "nan", "inf": answers are NaN, or
    infinite with that sign, exactly where the definition's are, for a NaN or an infinity in the first array (sums in
    any order agree about it); "zero": zeros keep their sign, for entries are moved bit for bit; "limit": where an
    infinity would be multiplied by zero the answer is NaN, or the limit, which is zero.
    """

    name: str
    operands: tuple[Operand, ...]
    options: Mapping[str, Any]
    shape: Callable[..., tuple[Shape, ...]]
    definition: Callable[..., Any]
    vjp: Callable[..., tuple[Any, ...]]
    bound: Callable[..., Any]
    vjp_bound: Callable[..., tuple[Any, ...]]
    cases: Callable[[Draw], Form]
    regimes: tuple[str, ...]
    laws: tuple[Law, ...]
    rejections: tuple[Rejection, ...]
    mistakes: tuple[Mistake, ...]
    source: str
    variants: Mapping[str, Variant] = field(default_factory=dict)
    spread: Callable[..., Any] | None = None
    outputs: tuple[str, ...] = ("y",)
    indices: tuple[str, ...] = ()
    gallery: tuple[Form, ...] = ()
    conventions: tuple[Convention, ...] = ()
    torch: "Op | None" = None
    follows: tuple[str, ...] = ()

    def __call__(self, *arrays: Array, **options: Any) -> Any:
        """Return the definition's value: `op(*arrays, **options)`."""
        return self.definition(*arrays, **options)


class Reading(NamedTuple):
    """A statistic of answers and the interval that it must lie in, entry by entry (low = high means equal).

    Of an implementation whose answers are distributed as the subject says, any entry leaves the interval with
    probability at most alpha; 0 means never. statistic: what was measured, in words. size: how many answers stand
    behind it. theorem: why. For reproductions: value = measure(**given) with the answers of `calls` calls for each of
    the seeds, or, where that is None, lines of Python that come to the same and assert it.
    """

    statistic: str
    value: Array
    low: float
    high: float
    size: int = 1
    alpha: float = 0.0
    theorem: str = ""
    measure: Callable[..., Any] | None = None
    given: Mapping[str, Any] = {}
    calls: int = 1
    seeds: tuple[int, ...] = ()
    program: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A statement about what ONE implementation draws in ONE case: certain, or about its distribution.

    reads(f, case) returns a Reading and never asserts. `f` draws (oracle.sampling.Sampler has its methods). when(case)
    says which cases it speaks about. chance: it is about a distribution, wants many numbers, and a right implementation
    breaks it with probability at most f.alpha. vjp: it calls the gradient.
    """

    says: str
    reads: Callable[[Any, Case], Reading]
    when: Callable[[Case], bool] = lambda case: True
    chance: bool = False
    vjp: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distribution:
    """Everything known about one way to draw an array at random: an initialiser, or dropout.

    Without operands the call is definition(shape, *, rng, **options), with one it is definition(x, *, rng, **options),
    and vjp(gy, x, *, rng, **options) -> (dx,) is called with a generator in the same state; rng is NumPy's Generator.
    options: every option with its default (`REQUIRED` where it has none); the shape is none of them, but stands among
    the options of a Form and of a Case, as "shape". shape(shape, **options) returns it; raises ValueError with the
    chapter's exact message. law: the distribution of the answers in words. cases(draw, size) -> Form of about `size`
    numbers. varies(case): whether two calls may differ. gallery: forms that every run begins with. laws: certain ones,
    then those about the distribution.
    """

    name: str
    options: Mapping[str, Any]
    shape: Callable[..., Shape]
    definition: Callable[..., Any]
    law: str
    cases: Callable[..., Form]
    varies: Callable[[Case], bool]
    laws: tuple[Trial, ...]
    rejections: tuple[Rejection, ...]
    mistakes: tuple[Mistake, ...]
    source: str
    operands: tuple[Operand, ...] = ()
    vjp: Callable[..., tuple[Any, ...]] | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)
    gallery: tuple[Form, ...] = ()

    def __call__(self, *arrays: Array, **options: Any) -> Any:
        """Return what the definition draws: `distribution(shape, rng=rng, **options)`."""
        return self.definition(*arrays, **options)


Subject = Op | Distribution
"""Whatever can be judged."""
