"""Paired timing: the statistics, the schedule under a clock that is told what to see, clocks, several processes."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import clocks, pairing
from benchmarks.clocks import Block, Call, CudaClock, HostClock
from benchmarks.pairing import Interrupted, Limits, Ratio, Series, Vector

pytestmark = pytest.mark.once

RISK = 1e-9  # chance that a statistical test below fails although its theorem holds


def near(left: float, right: float) -> bool:
    """Return whether two numbers differ by what a few logarithms, each below 16, and an exponential round."""
    return abs(left - right) <= 16 * math.ulp(max(abs(left), abs(right), 16.0))


def tail(trials: int, chance: float, fewest: int) -> float:
    """Return P(binomial(trials, chance) >= fewest)."""
    ways = (math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(fewest, trials + 1))
    return math.fsum(ways)


# ---------------------------------------------------------------------------------------------------------------------
# The statistics of one process


def series(
    seconds: Sequence[float] | Vector, *, cpu: Sequence[float] | None = None, switches: Sequence[int] = ()
) -> Series:
    """Return a Series whose blocks took so long; without `cpu` the CPU was never away."""
    wall, spent = (np.asarray(times, dtype=np.float64) for times in (seconds, seconds if cpu is None else cpu))
    taken = np.asarray(switches or [0] * len(wall), dtype=np.float64)
    place = np.arange(len(wall), dtype=np.float64) % 2
    return Series(1, wall, spent, taken, wall, place)


def alternating(arm: Series) -> Series:
    """Return the same blocks, standing in the other place of each round."""
    return replace(arm, place=1 - arm.place)


def simulated(rng: np.random.Generator, pairs: int, true: float, noise: str) -> tuple[Series, Series]:
    """Return an arm and a baseline whose true ratio is `true`, under drift and one kind of noise."""
    drift = 1e-3 * (1 + np.linspace(0, rng.uniform(-0.5, 0.5), pairs))
    errors: Callable[[], Vector] = {
        "independent": lambda: rng.normal(0, 0.02, pairs),
        "heavy tails": lambda: 0.01 * rng.standard_t(2, pairs),
        "bursts": lambda: np.convolve(rng.normal(0, 0.02, pairs + 2), np.ones(3) / 3, mode="valid"),
    }[noise]
    return alternating(series(true * drift * np.exp(errors()))), series(drift * np.exp(errors()))


@given(size=st.integers(8, 400), confidence=st.sampled_from([0.9, 0.95, 0.99]))
def test_order_statistics_cover_the_median_with_their_confidence_and_no_more_than_needed(
    size: int, confidence: float
) -> None:
    lo, hi = pairing.median_interval(np.arange(size, dtype=np.float64), confidence)
    rank = int(lo) + 1
    assert hi == size - rank
    outside = [2 * sum(math.comb(size, k) for k in range(j)) / 2**size for j in (rank, rank + 1)]
    assert outside[0] <= 1 - confidence < outside[1]


def test_too_few_values_have_no_interval() -> None:
    assert pairing.median_interval(np.arange(5.0), 0.99) == (-math.inf, math.inf)


@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_interval_contains_its_own_point(values: list[float]) -> None:
    data = np.array(values)
    lo, hi = pairing.bootstrap_interval(data, 0.95, draws=100)
    assert min(values) <= lo <= np.median(data) <= hi <= max(values)


@pytest.mark.parametrize("noise", ["independent", "heavy tails", "bursts"])
@pytest.mark.parametrize("pairs", [20, 60])
def test_the_interval_covers_the_true_ratio(noise: str, pairs: int) -> None:
    """A 95 % interval of so few pairs misses a little more often than 5 %: at most 1 time in 8 is what we claim."""
    rng = np.random.default_rng([pairs, *noise.encode()])
    results = [pairing.ratio(*simulated(rng, pairs, 1.3, noise)) for _ in range(100)]
    misses = sum(not found.lo <= 1.3 <= found.hi for found in results)
    assert tail(100, 1 / 8, misses) > RISK


@pytest.mark.parametrize("noise", ["independent", "heavy tails", "bursts"])
def test_the_interval_tells_ratios_ten_percent_apart(noise: str) -> None:
    """Coverage alone would be had by an interval from 0 to infinity."""
    rng = np.random.default_rng(list(noise.encode()))
    results = [pairing.ratio(*simulated(rng, 60, 1.0, noise)) for _ in range(20)]
    assert all(found.hi < 1.1 and found.lo > 1 / 1.1 for found in results)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=40))
def test_equal_things_have_ratio_one(seconds: list[float]) -> None:
    found = pairing.ratio(alternating(series(seconds)), series(seconds))
    assert found.value == found.lo == found.hi == found.wall == found.cpu == found.order == 1
    assert pairing.doubts(found) == ()


@given(
    pairs=st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=40),
    power=st.integers(-8, 8),
)
def test_a_slower_arm_scales_the_ratio_and_exchanged_arms_invert_it(
    pairs: list[tuple[float, float]], power: int
) -> None:
    arm, baseline = (series(column) for column in zip(*pairs, strict=True))
    slower = series(arm.seconds * 2.0**power)
    found = pairing.ratio(alternating(arm), baseline)
    assert near(math.log(pairing.ratio(alternating(slower), baseline).value / found.value), power * math.log(2))
    assert near(math.log(pairing.ratio(baseline, alternating(arm)).value * found.value), 0)


def disturbed(quiet: int, switched: int) -> tuple[Series, Series]:
    """Return pairs of true ratio 2, of which the preempted ones look like 5 by wall time."""
    pairs = quiet + switched
    wall, cpu = [2e-3] * quiet + [5e-3] * switched, [2e-3] * pairs
    arm = alternating(series(wall, cpu=cpu, switches=[0] * quiet + [1] * switched))
    return arm, series([1e-3] * pairs)


@given(quiet=st.integers(0, 30), switched=st.integers(1, 30))
def test_preempted_pairs_never_enter_a_verdict(quiet: int, switched: int) -> None:
    found = pairing.ratio(*disturbed(quiet, switched))
    enough = quiet >= pairing.QUIET_PAIRS
    assert found.kind == ("quiet" if enough else "cpu-time")
    assert found.pairs == (quiet if enough else quiet + switched)
    assert near(found.value, 2)
    assert ("load" in pairing.doubts(found)) == (not enough and switched >= quiet)


def test_cpu_time_of_several_threads_is_no_substitute() -> None:
    found = pairing.ratio(*disturbed(0, 20), threads=2)
    assert found.kind == "loaded"
    assert near(found.value, 5)
    assert "load" in pairing.doubts(found)


QUIET = Ratio(1.0, 1.0, 1.0, 0.95, "quiet", 20, 20, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "noise", "expected"),
    [
        ({}, None, ()),
        ({}, 0.02, ()),
        ({}, 0.021, ("control",)),
        ({"hi": 1.09}, None, ()),
        ({"hi": 1.11}, None, ("wide",)),
        ({"order": 1.11}, None, ("order",)),
        ({"order": 0.90}, None, ("order",)),
        ({"wall": 1.2}, None, ()),
        ({"wall": 1.2, "kind": "cpu-time"}, None, ("load",)),
        ({"cpu": 1.2, "kind": "loaded"}, None, ("load",)),
        ({"wall": 1.09, "kind": "cpu-time"}, None, ()),
    ],
)
def test_each_doubt_has_its_reason(changes: dict[str, Any], noise: float | None, expected: tuple[str, ...]) -> None:
    assert pairing.doubts(replace(QUIET, **changes), noise) == expected


def test_the_noise_floor_is_the_worst_control_in_either_direction() -> None:
    assert pairing.noise_floor([]) is None
    floor = pairing.noise_floor([replace(QUIET, value=1 / 1.03), replace(QUIET, value=1.01)])
    assert floor is not None
    assert near(floor, 0.03)


# ---------------------------------------------------------------------------------------------------------------------
# The schedule, under a clock that is told what to see


@dataclass
class FakeClock:
    """Time passes only when a call says so.

    noise(block) and drift(now) multiply wall and CPU time; preempted(block) adds 5 ms of wall time and a switch; the
    second block of a round takes `second` times as long. `blocks` counts recorded blocks: one per `prepare`.
    """

    name: str = "fake"
    warm_up: float = 0.1
    noise: Callable[[int], float] = lambda block: 1.0
    drift: Callable[[float], float] = lambda now: 1.0
    preempted: Callable[[int], bool] = lambda block: False
    second: float = 1.0
    passed: float = 0.0
    spent: float = 0.0
    blocks: int = 0
    lengths: list[int] = field(default_factory=list)

    def now(self) -> float:
        """Return the time that has passed."""
        return self.passed

    def arm(self, seconds: float) -> Call:
        """Return a call that takes so long."""

        def call() -> None:
            self.spent += seconds

        return call

    def calls(self, blocks: Sequence[Block]) -> int:
        """Fill blocks as the host's clock does."""
        return HostClock().calls(blocks)

    def prepare(self) -> None:
        """Count a recorded block."""
        self.blocks += 1

    def block(self, call: Call, calls: int) -> Block:
        """Let the calls say how long they took, and disturb that."""
        self.spent = 0.0
        for _ in range(calls):
            call()
        cpu = self.spent * self.noise(self.blocks) * self.drift(self.passed)
        cpu *= self.second if self.blocks and self.blocks % 2 == 0 else 1
        switches = int(self.preempted(self.blocks))
        wall = cpu + 5e-3 * switches
        self.passed += wall
        self.lengths.append(calls)
        return Block(wall / calls, cpu / calls, switches, wall / calls)


def noisy(scale: float, seed: int = 0) -> Callable[[int], float]:
    """Return multiplicative noise, the same for the same block."""
    errors = np.random.default_rng(seed).normal(0, scale, 10_000)
    return lambda block: math.exp(errors[block])


def two_arms(clock: FakeClock, factor: float, limits: Limits | None = None) -> tuple[pairing.Measured, Ratio]:
    """Return the comparison of a 1 ms baseline with an arm that takes `factor` times as long."""
    measured = pairing.interleave({"a": clock.arm(1e-3), "b": clock.arm(factor * 1e-3)}, clock, limits)
    return measured, pairing.ratio(measured.arms["b"], measured.arms["a"])


@pytest.mark.parametrize("factor", [1.0, 1.1, 0.9])
def test_an_injected_slowdown_is_found_under_noise_and_drift(factor: float) -> None:
    clock = FakeClock(noise=noisy(0.02), drift=lambda now: 1 + now / 2)
    measured, found = two_arms(clock, factor)
    assert measured.stop == "precision"
    assert found.kind == "quiet"
    assert factor / 1.02 < found.lo < found.hi < factor * 1.02
    assert not pairing.doubts(found)


@given(st.integers(2, 12))
def test_without_noise_the_ratio_is_exact_and_the_first_look_ends_it(tenths: int) -> None:
    measured, found = two_arms(FakeClock(), tenths / 4)
    assert measured.rounds == Limits.min_rounds
    assert measured.stop == "precision"
    assert near(found.value, tenths / 4)


def test_preempted_blocks_do_not_count_as_quiet() -> None:
    clock = FakeClock(preempted=lambda block: block % 5 == 0)
    measured, found = two_arms(clock, 3.0, Limits(max_rounds=50))
    taken = [bool(arm.switches[n]) for n in range(measured.rounds) for arm in measured.arms.values()]
    untouched = sum(not (one or other) for one, other in zip(taken[::2], taken[1::2], strict=True))
    assert found.pairs == untouched < found.of
    assert near(found.value, 3)


def test_a_machine_that_is_never_quiet_is_answered_by_cpu_time() -> None:
    clock = FakeClock(preempted=lambda block: True)
    measured, found = two_arms(clock, 3.0, Limits(seconds=0.5))
    assert measured.stop == "time"
    assert (found.kind, found.pairs) == ("cpu-time", measured.rounds)
    assert near(found.value, 3)
    assert found.wall < 2
    assert "load" in pairing.doubts(found)


@pytest.mark.parametrize("second", [1.2, 0.8])
def test_an_advantage_of_the_first_place_is_seen(second: float) -> None:
    _, found = two_arms(FakeClock(second=second), 1.0, Limits(max_rounds=40))
    assert near(math.log(found.order), 2 * math.log(second))
    assert "order" in pairing.doubts(found)


def test_preemption_of_one_place_is_load_and_no_order_effect() -> None:
    _, found = two_arms(FakeClock(preempted=lambda block: block % 2 == 0), 3.0, Limits(max_rounds=40))
    assert (found.kind, found.order) == ("cpu-time", 1)
    assert pairing.doubts(found) == ("load",)


def test_it_ends_when_time_or_rounds_are_over_but_never_before_the_least() -> None:
    loud = noisy(1.0)
    measured, _ = two_arms(FakeClock(noise=loud), 1.0, Limits(seconds=0.0))
    assert (measured.stop, measured.rounds) == ("time", Limits.min_rounds)
    measured, _ = two_arms(FakeClock(noise=loud), 1.0, Limits(max_rounds=31, seconds=1e9))
    assert (measured.stop, measured.rounds) == ("max_rounds", 31)


def test_looks_are_few_and_even() -> None:
    looks = list(pairing.looks(Limits()))
    assert looks[:5] == [20, 26, 34, 44, 56]
    assert all(look % 2 == 0 for look in looks)
    assert len(looks) < 15


@given(st.floats(1e-5, 0.1))
def test_blocks_last_a_millisecond_and_are_fixed_after_the_warm_up(seconds: float) -> None:
    clock = FakeClock()
    measured = pairing.interleave({"a": clock.arm(seconds), "b": clock.arm(seconds)}, clock)
    calls = {arm.calls for arm in measured.arms.values()} | set(clock.lengths[-2 * measured.rounds :])
    assert len(calls) == 1
    (each,) = calls
    block, sliver = clocks.BLOCK_SECONDS, 1e-6  # sums of many small times round
    assert each == 1 or (each - 1 - sliver) * seconds < block < (each + sliver) * seconds


@given(st.floats(1e-3, 1))
def test_every_arm_warms_up_for_its_time_and_at_least_twice(seconds: float) -> None:
    clock = FakeClock()
    measured = pairing.interleave({"a": clock.arm(seconds), "b": clock.arm(seconds)}, clock)
    warming = len(clock.lengths) - 2 * measured.rounds
    assert warming >= 4
    assert warming * seconds >= 2 * clock.warm_up
    assert (warming / 2 - 1) * seconds <= max(clock.warm_up, seconds) * (1 + 1e-6)


@pytest.mark.parametrize("arms", range(2, 7))
def test_every_order_is_followed_by_its_reverse_and_no_arm_is_favoured(arms: int) -> None:
    names = tuple("abcdef"[:arms])
    rounds = [pairing.order(names, index) for index in range(2 * arms)]
    assert all(second == first[::-1] for first, second in zip(rounds[::2], rounds[1::2], strict=True))
    for name in names:
        assert sorted(each.index(name) for each in rounds) == sorted([*range(arms)] * 2)
    for one, other in combinations(names, 2):
        assert sum(each.index(one) < each.index(other) for each in rounds) == arms
    assert pairing.order(names, 2 * arms) == rounds[0]


def test_the_collector_rests_while_blocks_are_timed_and_returns() -> None:
    clock = FakeClock()
    states: list[bool] = []
    call = clock.arm(1e-3)
    pairing.interleave({"a": lambda: states.append(gc.isenabled()) or call(), "b": call}, clock)  # type: ignore[func-returns-value]
    assert gc.isenabled()
    assert not any(states[-Limits.min_rounds :])


@pytest.mark.parametrize("rounds", [0, 1, 7, 30])
def test_an_interrupt_keeps_the_complete_rounds(rounds: int) -> None:
    clock = FakeClock(noise=noisy(0.5))

    def stop() -> None:
        if clock.blocks > 2 * rounds + 1:
            raise KeyboardInterrupt
        clock.spent += 1e-3

    with pytest.raises(Interrupted) as caught:
        pairing.interleave({"a": stop, "b": stop}, clock)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert (caught.value.measured.stop, caught.value.measured.rounds) == ("interrupted", rounds)
    assert gc.isenabled()


# ---------------------------------------------------------------------------------------------------------------------
# Clocks


def test_the_host_clock_sees_work_and_not_sleep() -> None:
    waiting, working = (HostClock().block(call, 2) for call in (lambda: time.sleep(0.02), lambda: sum(range(300_000))))
    assert waiting.seconds >= 0.02 > waiting.cpu
    assert working.cpu > 0
    assert working.seconds == working.host
    assert min(waiting.switches, working.switches) >= 0


class FakeEvent:
    """A CUDA event on a device whose time passes as the fake torch says."""

    def __init__(self, device: "FakeDevice", *, enable_timing: bool) -> None:
        assert enable_timing
        self.device = device

    def record(self) -> None:
        """Note the device's time."""
        self.at = self.device.milliseconds

    def synchronize(self) -> None:
        """Wait, and raise the error that the device met."""
        self.device.log.append("synchronize")
        if self.device.error:
            raise RuntimeError(self.device.error)

    def elapsed_time(self, end: "FakeEvent") -> float:
        """Return milliseconds, as CUDA does."""
        return end.at - self.at


@dataclass
class FakeDevice:
    """What happened on the device, in order."""

    milliseconds: float = 0.0
    error: str = ""
    log: list[str] = field(default_factory=list)

    def kernel(self) -> None:
        """Run for a quarter of a millisecond."""
        self.milliseconds += 0.25
        self.log.append("kernel")

    def flush(self) -> None:
        """Write the buffer that empties the cache."""
        self.milliseconds += 10
        self.log.append("flush")

    def torch(self, l2: int | None = 50 << 20) -> ModuleType:
        """Return a module with the few functions of torch that the clock uses."""
        module = ModuleType("torch")
        properties = SimpleNamespace() if l2 is None else SimpleNamespace(L2_cache_size=l2)
        cuda = SimpleNamespace(
            Event=lambda *, enable_timing: FakeEvent(self, enable_timing=enable_timing),
            current_device=lambda: 0,
            get_device_properties=lambda device: properties,
        )
        vars(module).update(cuda=cuda, int8="int8", empty=self.empty)
        return module

    def empty(self, size: int, *, dtype: str, device: str) -> SimpleNamespace:
        """Allocate a buffer."""
        self.log.append(f"empty {size} {dtype} {device}")
        return SimpleNamespace(zero_=self.flush)


def test_the_cuda_clock_reads_device_time_and_waits_once_a_block() -> None:
    device = FakeDevice()
    clock = CudaClock(device.torch())
    block = clock.block(device.kernel, 8)
    assert near(block.seconds, 0.25e-3)
    assert device.log == ["kernel"] * 8 + ["synchronize"]
    assert block.switches == 0
    assert block.host > 0
    assert clock.calls([block]) == 4
    clock.prepare()
    assert len(device.log) == 9


def test_the_cold_cuda_clock_flushes_twice_the_cache_before_single_calls() -> None:
    device = FakeDevice()
    clock = CudaClock(device.torch(), cold=True)
    measured = pairing.interleave(
        {"a": device.kernel, "b": device.kernel}, replace(clock, warm_up=0.0), Limits(min_rounds=4, max_rounds=4)
    )
    assert measured.clock == "cuda-cold"
    assert {arm.calls for arm in measured.arms.values()} == {1}
    assert all(near(seconds, 0.25e-3) for arm in measured.arms.values() for seconds in arm.seconds)
    recorded = device.log[device.log.index(f"empty {100 << 20} int8 cuda") + 1 :]
    assert recorded == ["flush", "kernel", "synchronize"] * 8


@pytest.mark.parametrize("size", [None, 0])
def test_an_unknown_cache_is_flushed_with_256_mebibytes(size: int | None) -> None:
    device = FakeDevice()
    CudaClock(device.torch(size), cold=True).prepare()
    assert device.log == [f"empty {256 << 20} int8 cuda", "flush"]


def test_an_error_of_the_device_is_raised() -> None:
    device = FakeDevice(error="CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        pairing.interleave({"a": device.kernel, "b": device.kernel}, CudaClock(device.torch()))


# ---------------------------------------------------------------------------------------------------------------------
# Several processes

ratios = st.lists(st.floats(0.1, 10), min_size=2, max_size=6)


def around(value: float, half: float = 0.05) -> Ratio:
    """Return a ratio whose 95 % interval reaches `half` to either side, on the logarithmic scale."""
    return replace(QUIET, value=value, lo=value * math.exp(-half), hi=value * math.exp(half))


@given(ratios)
def test_equally_precise_processes_merge_into_their_geometric_mean(values: list[float]) -> None:
    """With equal variances v DerSimonian and Laird's tau^2 is the sample variance less v, or 0."""
    merged = pairing.merge([around(value) for value in values])
    logs = [math.log(value) for value in values]
    within, variance = (0.05 / 1.959963984540054) ** 2, statistics.variance(logs)
    rounding = 64 * math.ulp(max(1.0, variance))
    assert abs(math.log(merged.value) - statistics.mean(logs)) <= rounding
    assert abs(merged.tau**2 - max(0.0, variance - within)) <= rounding
    assert merged.processes == len(values)


@given(ratios, st.floats(0, 0.2))
def test_the_merged_interval_is_never_narrower_than_the_noise(values: list[float], noise: float) -> None:
    merged = pairing.merge([around(value) for value in values], noise)
    least = 1 + max(noise, pairing.NOISE)
    assert merged.value <= merged.hi / least * (1 + 1e-12)
    assert merged.value >= merged.lo * least * (1 - 1e-12)


def test_processes_that_disagree_widen_the_interval() -> None:
    agreeing, disagreeing = ([around(value, 0.01) for value in pair] for pair in ((2.0, 2.0), (1.8, 2.2)))
    assert pairing.merge(agreeing).tau == 0
    wide = pairing.merge(disagreeing)
    assert wide.tau > 0
    assert wide.lo < 1.8
    assert wide.hi > 2.2


def test_the_more_precise_process_weighs_more() -> None:
    merged = pairing.merge([around(2.0, 0.2), around(2.1, 0.01)])
    assert 2.05 < merged.value < 2.1


def test_one_process_keeps_its_value_and_none_is_refused() -> None:
    merged = pairing.merge([around(3.0, 0.1)])
    assert (merged.processes, merged.tau) == (1, 0)
    assert near(merged.value, 3.0)
    with pytest.raises(ValueError, match=r"^merge: got no ratios, expected at least one$"):
        pairing.merge([])
