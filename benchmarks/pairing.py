"""Paired, interleaved timing of two or more calls: the schedule, and the ratio with its confidence interval.

Two programs that are timed one after the other meet different machines: over ten runs the ratio of separately timed
medians moved by a factor of 3.5 where paired, undisturbed blocks moved by 1.06. So the arms take turns in blocks of
about a millisecond, each round gives one log ratio per arm, and the median of those is the answer.

Interleaving cancels drift, not preemption, which hits the longer arm more often. Hence a *quiet* pair is one during
which the scheduler took the core away from neither block; without enough of them CPU time decides, and the row says so.
"""

import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.clocks import TICK, Block, Call, Clock

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

QUIET_PAIRS = 12  # below this a median of quiet pairs has no useful interval (the 99 % one needs 8)
DRAWS = 4000  # bootstrap: the 2.5 % quantile then rests on 100 draws; 0.1 s for 400 pairs
DOUBT = math.log(1.10)  # disagreement of wall and CPU, order effect, or interval width that no verdict survives
NOISE = 0.02  # intervals of one process are too narrow: with a floor of 2 % they covered the ten-run median


# ---------------------------------------------------------------------------------------------------------------------
# The schedule


@dataclass(frozen=True)
class Limits:
    """When a comparison ends: precise enough, out of time, or out of rounds.

    20 rounds are what a median and its 99 % interval need at least; beyond 400 the spread between processes exceeds
    the spread within one. `seconds` is soft: the first 20 rounds always run. The interval that stops early is one of
    99 %, because looking repeatedly makes a 95 % one stop too soon.
    """

    min_rounds: int = 20
    max_rounds: int = 400
    seconds: float = 5.0
    width: float = 0.02
    confidence: float = 0.99


@dataclass(frozen=True, eq=False)
class Series:
    """The blocks of one arm: calls in a block, and by round seconds per call, context switches, place in the round."""

    calls: int
    seconds: Vector
    cpu: Vector
    switches: Vector
    host: Vector
    place: Vector


@dataclass(frozen=True, eq=False)
class Measured:
    """A comparison: one Series per arm, the baseline first. `stop`: precision, time, max_rounds or interrupted."""

    arms: Mapping[str, Series]
    clock: str
    stop: str
    elapsed: float

    @property
    def rounds(self) -> int:
        """Return the number of complete rounds."""
        return len(next(iter(self.arms.values())).seconds)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a comparison; carries the rounds that were complete."""

    def __init__(self, measured: Measured) -> None:
        """Keep what was measured."""
        super().__init__()
        self.measured = measured


Round = Mapping[str, tuple[int, Block]]


def interleave(arms: Mapping[str, Call], clock: Clock, limits: Limits | None = None) -> Measured:
    """Time the arms in turns until `limits` end it; the first arm is the baseline.

    Every arm warms up (at least two calls and `clock.warm_up` seconds), and its calls per block are fixed before the
    first recorded round. The garbage collector rests meanwhile. Raises Interrupted on Ctrl-C.
    """
    limits = limits or Limits()
    calls = {name: _warm_up(call, clock) for name, call in arms.items()}
    rounds: list[Round] = []
    started, stop = clock.now(), None
    with _collector_off():
        try:
            while stop is None:
                rounds.append(_round(arms, calls, clock, len(rounds)))
                stop = _reason_to_stop(rounds, calls, clock.now() - started, limits)
        except KeyboardInterrupt as error:
            raise Interrupted(_measured(rounds, calls, clock, "interrupted", started)) from error
    return _measured(rounds, calls, clock, stop, started)


def order(names: Sequence[str], index: int) -> tuple[str, ...]:
    """Return the arms in the order of round `index`: each order is followed by its reverse, then the arms rotate.

    Two arms give AB BA BA AB, which cancels linear and quadratic drift. With n arms, every 2n rounds each arm has
    stood in every place twice, and every two arms were as often in one order as in the other.
    """
    turn = index // 2 % len(names)
    turned = (*names[turn:], *names[:turn])
    return turned if index % 2 == 0 else turned[::-1]


def looks(limits: Limits) -> Iterator[int]:
    """Return the rounds after which precision is examined: 20, 26, 34, ... each a quarter more, always even.

    Few looks, because each is another chance to stop on a lucky interval.
    """
    rounds = limits.min_rounds
    while rounds < limits.max_rounds:
        yield rounds
        rounds = 2 * math.ceil(1.25 * rounds / 2)


def _warm_up(call: Call, clock: Clock) -> int:
    blocks: list[Block] = []
    started = clock.now()
    while len(blocks) < 2 or clock.now() - started < clock.warm_up:  # the first may compile
        blocks.append(clock.block(call, 1))
    return clock.calls(blocks)


def _round(arms: Mapping[str, Call], calls: Mapping[str, int], clock: Clock, index: int) -> Round:
    blocks = {}
    for place, name in enumerate(order(tuple(arms), index)):
        clock.prepare()
        blocks[name] = (place, clock.block(arms[name], calls[name]))
    return blocks


def _reason_to_stop(rounds: Sequence[Round], calls: Mapping[str, int], elapsed: float, limits: Limits) -> str | None:
    count = len(rounds)
    if count in looks(limits) and _precise(_series(rounds, calls), limits):
        return "precision"
    if count >= limits.max_rounds:
        return "max_rounds"
    if count >= limits.min_rounds and count % 2 == 0 and elapsed > limits.seconds:
        return "time"
    return None


def _precise(arms: Mapping[str, Series], limits: Limits) -> bool:
    baseline, *others = arms.values()
    return all(_interval_width(arm, baseline, limits.confidence) <= limits.width for arm in others)


def _interval_width(arm: Series, baseline: Series, confidence: float) -> float:
    values = _log_ratio(arm.seconds, baseline.seconds)[_quiet(arm, baseline)]
    if len(values) < QUIET_PAIRS:
        return math.inf
    low, high = median_interval(values, confidence)
    return high - low


def _series(rounds: Sequence[Round], calls: Mapping[str, int]) -> dict[str, Series]:
    series = {}
    for name, length in calls.items():
        rows = [(*blocks[name][1], blocks[name][0]) for blocks in rounds]
        columns = np.asarray(rows, dtype=np.float64).reshape(-1, 5).T
        series[name] = Series(length, *columns)
    return series


def _measured(rounds: Sequence[Round], calls: Mapping[str, int], clock: Clock, stop: str, started: float) -> Measured:
    return Measured(_series(rounds, calls), clock.name, stop, clock.now() - started)


@contextmanager
def _collector_off() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# ---------------------------------------------------------------------------------------------------------------------
# The statistics of one process


@dataclass(frozen=True)
class Ratio:
    """How many times as long as the baseline an arm takes: `value` in [lo, hi] with `confidence`.

    kind: "quiet" (median wall ratio of the quiet pairs), "cpu-time" (median CPU-time ratio of all pairs) or "loaded"
    (median wall ratio of all pairs; never a verdict). pairs: how many of the `of` rounds it rests on. wall, cpu:
    medians over all pairs. order: the value among pairs in which the arm ran after the baseline, over that among the
    other pairs; of the same pairs and times as `value`, since by wall time a loaded machine would fail every arm.
    """

    value: float
    lo: float
    hi: float
    confidence: float
    kind: str
    pairs: int
    of: int
    wall: float
    cpu: float
    order: float

    def as_dict(self) -> dict[str, float | int | str]:
        """Return the fields by name."""
        return asdict(self)


def ratio(arm: Series, baseline: Series, *, threads: int = 1, confidence: float = 0.95) -> Ratio:
    """Return the median paired ratio arm / baseline with a bootstrap interval of the same statistic.

    CPU time stands in for wall time only where `threads` is 1: the CPU time of several threads says nothing of how long
    they took. It hides sleep and input/output, and includes the kernel's page faults.
    """
    wall, cpu = _log_ratio(arm.seconds, baseline.seconds), _log_ratio(arm.cpu, baseline.cpu)
    kind, values, pairs = _choose(wall, cpu, _quiet(arm, baseline), threads)
    lo, hi = bootstrap_interval(values, confidence)
    return Ratio(
        value=math.exp(np.median(values)),
        lo=math.exp(lo),
        hi=math.exp(hi),
        confidence=confidence,
        kind=kind,
        pairs=len(values),
        of=len(wall),
        wall=math.exp(np.median(wall)),
        cpu=math.exp(np.median(cpu)),
        order=_order_effect(values, (arm.place > baseline.place)[pairs]),
    )


def doubts(ratio: Ratio, noise: float | None = None) -> tuple[str, ...]:
    """Return why a ratio supports no verdict (empty: it does).

    load: wall and CPU time disagree by more than 10 % and there were too few quiet pairs. order: who runs first matters
    by more than 10 %. wide: the interval spans more than 10 %. control: in the same run equal things (the A/A controls)
    differed by `noise`, more than 2 %.
    """
    reasons = {
        "load": ratio.kind != "quiet" and abs(math.log(ratio.wall / ratio.cpu)) > DOUBT,
        "order": abs(math.log(ratio.order)) > DOUBT,
        "wide": math.log(ratio.hi / ratio.lo) > DOUBT,
        "control": noise is not None and noise > NOISE,
    }
    return tuple(name for name, holds in reasons.items() if holds)


def noise_floor(controls: Sequence[Ratio]) -> float | None:
    """Return the worst deviation from 1 among A/A controls (0.011 is 1.1 %), or None where none was measured."""
    return max((math.expm1(abs(math.log(control.value))) for control in controls), default=None)


def median_interval(values: Vector, confidence: float) -> tuple[float, float]:
    """Return two order statistics that enclose the median of any continuous distribution with `confidence`.

    The number of values below the median is binomial(n, 1/2) (Thompson 1936). Infinite where n is too small.
    """
    ordered, rank = np.sort(values), _rank(len(values), confidence)
    if rank == 0:
        return -math.inf, math.inf
    return float(ordered[rank - 1]), float(ordered[-rank])


def bootstrap_interval(values: Vector, confidence: float, draws: int = DRAWS) -> tuple[float, float]:
    """Return a percentile interval of the median under the moving-block bootstrap (Künsch 1989).

    Blocks of n^(1/3) neighbours keep the correlation of a burst of noise. Seeded: the same values give the same
    interval. Blocks under-draw the ends of the series, so the median itself is put inside where it fell out.
    """
    count = len(values)
    length = max(1, round(count ** (1 / 3)))
    starts = np.random.default_rng(0).integers(0, count - length + 1, size=(draws, math.ceil(count / length), 1))
    samples = values[(starts + np.arange(length)).reshape(draws, -1)[:, :count]]
    tail = (1 - confidence) / 2
    lo, hi = np.quantile(np.median(samples, axis=1), [tail, 1 - tail])
    centre = float(np.median(values))
    return min(float(lo), centre), max(float(hi), centre)


def _choose(wall: Vector, cpu: Vector, quiet: Mask, threads: int) -> tuple[str, Vector, Mask]:
    """Return the kind of the ratio, the log ratios that it rests on, and which pairs they are."""
    if quiet.sum() >= QUIET_PAIRS:
        return "quiet", wall[quiet], quiet
    kind, values = ("cpu-time", cpu) if threads == 1 else ("loaded", wall)
    return kind, values, np.ones_like(quiet)


def _log_ratio(numerator: Vector, denominator: Vector) -> Vector:
    result: Vector = np.log(np.maximum(numerator, TICK) / np.maximum(denominator, TICK))
    return result


def _quiet(arm: Series, baseline: Series) -> Mask:
    result: Mask = (arm.switches == 0) & (baseline.switches == 0)
    return result


def _order_effect(values: Vector, after: Mask) -> float:
    if after.all() or not after.any():
        return 1.0
    return math.exp(np.median(values[after]) - np.median(values[~after]))


@cache
def _rank(count: int, confidence: float) -> int:
    """Return the largest j with P(binomial(count, 1/2) < j) <= (1 - confidence) / 2."""
    budget = (1 - confidence) / 2 * 2**count
    rank, below = 0, 1
    while below <= budget:
        rank += 1
        below += math.comb(count, rank)
    return rank


# ---------------------------------------------------------------------------------------------------------------------
# Several processes


@dataclass(frozen=True)
class Merged:
    """The ratio of several processes. tau: standard deviation of the log ratio between processes."""

    value: float
    lo: float
    hi: float
    processes: int
    tau: float


def merge(ratios: Sequence[Ratio], noise: float | None = None, confidence: float = 0.95) -> Merged:
    """Return the random-effects mean of the log ratios of several processes (DerSimonian & Laird 1986).

    The interval reaches at least 2 % to either side, and at least `noise`, the noise floor of the A/A controls. Raises
    ValueError when there is nothing to merge.
    """
    if not ratios:
        raise ValueError("merge: got no ratios, expected at least one")
    values = np.log([each.value for each in ratios])
    variances = np.array([_standard_error(each) for each in ratios]) ** 2
    between = _between_variance(values, variances)
    weights = 1 / (variances + between)
    mean = float(weights @ values / weights.sum())
    half = max(_quantile(confidence) * weights.sum() ** -0.5, math.log1p(max(noise or 0.0, NOISE)))
    return Merged(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(ratios), math.sqrt(between))


def _between_variance(values: Vector, variances: Vector) -> float:
    weights = 1 / variances
    mean = weights @ values / weights.sum()
    excess = weights @ (values - mean) ** 2 - (len(values) - 1)
    scale = weights.sum() - weights @ weights / weights.sum()
    return max(0.0, float(excess / scale)) if len(values) > 1 else 0.0


def _standard_error(ratio: Ratio) -> float:
    """Return the standard error of log(value); at least 1e-4, a 0.1 us tick of the clock in a 1 ms block."""
    return max(1e-4, math.log(ratio.hi / ratio.lo) / (2 * _quantile(ratio.confidence)))


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
