"""Clocks: what a block of calls costs on the host, or on a CUDA device with its cache hot or cold."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, Protocol

try:
    from resource import RUSAGE_SELF, getrusage
except ImportError:  # Windows
    COUNTS_SWITCHES = False
else:
    COUNTS_SWITCHES = True

Call = Callable[[], object]

BLOCK_SECONDS = 1e-3  # a block must fit into a scheduler slice (1-3 ms) to have undisturbed instances
TICK = 1e-9  # seconds; the resolution of the clocks, which keeps quotients finite
FLUSH_BYTES = 256 << 20  # bytes written to empty a GPU's L2 whose size the driver does not tell


class Block(NamedTuple):
    """What a block of calls cost, in seconds per call, and how often the scheduler took the core away meanwhile.

    seconds: what the clock is for, wall time on the host or device time on a GPU. cpu: CPU time of the process, all
    threads. switches: involuntary context switches. host: wall time on the host until the last call had finished.
    """

    seconds: float
    cpu: float
    switches: int
    host: float


class Clock(Protocol):
    """Times blocks."""

    @property
    def name(self) -> str:
        """Return what the clock measures, as it stands in the records."""
        ...

    @property
    def warm_up(self) -> float:
        """Return the seconds that every arm runs before it is measured."""
        ...

    def now(self) -> float:
        """Return the seconds since some fixed moment."""
        ...

    def calls(self, blocks: Sequence[Block]) -> int:
        """Return how many calls a block shall hold, from single calls of the warm-up."""
        ...

    def prepare(self) -> None:
        """Bring the machine into the state in which a block begins."""
        ...

    def block(self, call: Call, calls: int) -> Block:
        """Call `calls` times and return the cost of one call."""
        ...


@dataclass(frozen=True)
class HostClock:
    """Wall time, CPU time of the process and involuntary context switches.

    Reading all three costs about 5 us, at most 0.5 % of a block and the same for every arm. Where the system counts no
    switches (Windows) every block passes for undisturbed. Time stolen by a hypervisor is not seen.

    Nothing is done before a block, so an arm finds its own data in the cache when it follows itself (the B's in AB BA)
    and the other's when it does not: `Ratio.order` shows it, up to 30 % where weights fill the cache. An unrecorded
    call before each block was tried (11 arms, 5 repeats each, one loaded machine): smaller order effects for 8, but
    the ratio repeated better for 2 and worse for 9, since half the time goes unrecorded.
    """

    name: str = "host"
    warm_up: float = 0.1

    def now(self) -> float:
        """Return the seconds since some fixed moment."""
        return time.perf_counter()

    def calls(self, blocks: Sequence[Block]) -> int:
        """Return how many calls last BLOCK_SECONDS of CPU time, which load does not lengthen."""
        return _fill(min(block.cpu for block in blocks))

    def prepare(self) -> None:
        """Do nothing: caches stay as the block before left them."""

    def block(self, call: Call, calls: int) -> Block:
        """Call `calls` times and return the cost of one call."""
        switches, cpu, wall = _switches(), time.process_time(), time.perf_counter()
        for _ in range(calls):
            call()
        wall = time.perf_counter() - wall
        cpu, switches = time.process_time() - cpu, _switches() - switches
        return Block(wall / calls, cpu / calls, switches, wall / calls)


@dataclass(frozen=True)
class CudaClock:
    """Device time between two CUDA events; `torch` is the module, handed in so that a test can imitate it.

    Hot: blocks of about a millisecond. Cold: one call per block, after a write of twice the L2 cache. `host` is the
    wall time with the synchronisation: much longer than the device time means that the layer is bound by its launches.
    An error of the device surfaces where the block waits for its last event. No context switch is counted: the host
    only waits.
    """

    torch: ModuleType
    cold: bool = False
    warm_up: float = 0.5  # clocks must rise and libraries choose their kernels

    @property
    def name(self) -> str:
        """Return "cuda-cold" or "cuda-hot"."""
        return "cuda-cold" if self.cold else "cuda-hot"

    def now(self) -> float:
        """Return the seconds since some fixed moment."""
        return time.perf_counter()

    def calls(self, blocks: Sequence[Block]) -> int:
        """Return how many calls last BLOCK_SECONDS on the device; one where each must find the cache cold."""
        return 1 if self.cold else _fill(min(block.seconds for block in blocks))

    def prepare(self) -> None:
        """Empty the L2 cache where cold calls are wanted."""
        if self.cold:
            _flush_buffer(self.torch).zero_()

    def block(self, call: Call, calls: int) -> Block:
        """Call `calls` times between two events and wait; return the cost of one call."""
        first, last = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        cpu, wall = time.process_time(), time.perf_counter()
        first.record()
        for _ in range(calls):
            call()
        last.record()
        last.synchronize()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        milliseconds = float(first.elapsed_time(last))
        return Block(milliseconds * 1e-3 / calls, cpu / calls, 0, wall / calls)


def _switches() -> int:
    return getrusage(RUSAGE_SELF).ru_nivcsw if COUNTS_SWITCHES else 0


def _fill(seconds: float) -> int:
    return max(1, math.ceil(BLOCK_SECONDS / max(seconds, TICK)))


@cache
def _flush_buffer(torch: ModuleType) -> Any:  # a tensor
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    size = 2 * int(getattr(properties, "L2_cache_size", 0)) or FLUSH_BYTES
    return torch.empty(size, dtype=torch.int8, device="cuda")
