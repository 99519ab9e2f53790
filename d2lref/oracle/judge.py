"""One claim, one verdict: the largest ratio of difference to bound, and what it proves."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from d2lref.oracle.caller import Caller, Raised, Unsupported, WrongAnswer, told
from d2lref.spec import Case, Claim, Law

SIGMAS = 7.0
"""Half-width of the statistical band in standard deviations.

A normal deviate leaves it once in 4e11 draws (numerics: the SUSPECT tier).
"""


class Status(StrEnum):
    """What became of a law on a case, or of a law in a run."""

    PASS = "pass"
    SUSPECT = "suspect"
    FAIL = "fail"
    ERROR = "error"
    UNDECIDABLE = "undecidable"
    UNSUPPORTED = "unsupported"
    ABSENT = "absent"
    VACUOUS = "vacuous"


class Tier(StrEnum):
    """How strong a verdict is: bit equality, a theorem, declared odds of a false alarm, a statistical band."""

    EXACT = "exact"
    PROVEN = "proven"
    CHANCE = "chance"
    SUSPECT = "suspect"


BAD = frozenset({Status.FAIL, Status.ERROR})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one claim. ratio = |left - right| / bound at `index`, where it is largest; 0/0 counts as 0.

    note: the claim's, or what went wrong when there are no numbers.
    """

    status: Status
    tier: Tier = Tier.PROVEN
    ratio: float = 0.0
    index: tuple[int, ...] = ()
    left: float = float("nan")
    right: float = float("nan")
    bound: float = 0.0
    note: str = ""

    @property
    def bad(self) -> bool:
        """Return whether the implementation is wrong on this case."""
        return self.status in BAD


def judge(claim: Claim) -> Verdict:
    """Return PASS, FAIL or UNDECIDABLE for a claim.

    A claim is undecidable when it holds, but so would any answer: no element has a bound of zero or one below the
    largest size on either side. Shapes that differ fail.
    """
    left, right = np.asarray(claim.left, np.float64), np.asarray(claim.right, np.float64)
    if left.shape != right.shape:
        return Verdict(
            Status.FAIL, Tier.EXACT, np.inf, note=f"shape {left.shape} on the left, {right.shape} on the right"
        )
    bound = np.asarray(claim.bound, np.float64)
    if bound.shape != left.shape:
        bound = np.broadcast_to(bound, left.shape)
    if not left.size:
        return Verdict(Status.PASS, Tier.EXACT, note=claim.note)
    ratio = _ratios(left, right, bound)
    index, worst = (0,) * left.ndim, 0.0
    if ratio is not None:
        index = tuple(int(i) for i in np.unravel_index(int(ratio.argmax()), left.shape))
        worst = float(ratio[index])
    tier = Tier.EXACT if bound[index] == 0 else Tier.PROVEN
    status = Status.FAIL if worst > 1 else Status.PASS if _decides(left, right, bound) else Status.UNDECIDABLE
    return Verdict(status, tier, worst, index, float(left[index]), float(right[index]), float(bound[index]), claim.note)


def _ratios(left: np.ndarray, right: np.ndarray, bound: np.ndarray) -> np.ndarray | None:
    """Return |left - right| / bound; 0 where the sides are equal (or both NaN), or the bound is infinite.

    None where all are 0 because the sides are equal.
    """
    same = left == right
    if same.all():
        return None
    with np.errstate(all="ignore"):
        error = np.abs(left - right)
        ratio = error / bound
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    return np.where(same | (np.isnan(left) & np.isnan(right)) | np.isposinf(bound), 0.0, ratio)


def _decides(left: np.ndarray, right: np.ndarray, bound: np.ndarray) -> bool:
    """Return whether some element's bound is zero or below the largest finite size on either side."""
    least = np.fmin.reduce(bound, axis=None)  # a bound that is no number decides nothing
    return bool(least == 0 or least < _largest(left) or least < _largest(right))


def _largest(values: np.ndarray) -> float:
    """Return the largest finite size."""
    sizes = np.abs(values)
    largest = float(sizes.max())
    return largest if largest < np.inf else float(sizes[np.isfinite(sizes)].max(initial=0.0))


def hold(law: Law, f: Caller, case: Case) -> Verdict:
    """Return the verdict of a law on a case.

    An exception of the implementation is ERROR, an answer of the wrong kind FAIL.
    """
    return examine(law, f, case)[0]


def examine(law: Law, f: Caller, case: Case) -> tuple[Verdict, Claim | None]:
    """Return the verdict of a law on a case, and the claim that it is about, if there was one."""
    try:
        with np.errstate(all="ignore"):  # an overflow in a stranger's NumPy is an answer to judge, not a warning
            claim = law.holds(f, case)
            return judge(claim), claim
    except WrongAnswer as error:
        return Verdict(Status.FAIL, Tier.EXACT, np.inf, note=str(error)), None
    except Unsupported as error:
        return Verdict(Status.UNSUPPORTED, note=str(error)), None
    except Raised as error:
        cause = error.__cause__
        note = f"raised {type(cause).__name__}: {told(cause)}".strip().rstrip(":")
        return Verdict(Status.ERROR, Tier.EXACT, np.inf, note=note), None


def outside_band(verdict: Verdict, claim: Claim | None, f: Caller, case: Case) -> Verdict:
    """Return the verdict, or SUSPECT when an error inside the bound leaves the 7 sigma band on normal data.

    claim: that of the definition law, with the answer on the left and the exact value on the right.
    """
    op, random = f.op, case.regime == "normal" and f.precision.algorithm == "any-order"
    if claim is None or verdict.status is not Status.PASS or op.spread is None or not random:
        return verdict
    with np.errstate(all="ignore"):
        band = SIGMAS * op.spread(claim.right, f.precision, *case.arrays, **case.options)
    outer = judge(claim._replace(bound=band))
    if outer.status is not Status.FAIL:
        return verdict
    return replace(
        outer,
        status=Status.SUSPECT,
        tier=Tier.SUSPECT,
        bound=outer.bound,
        note=f"outside {SIGMAS:g} standard deviations of rounding",
    )
