"""A/A controls: the same call twice. What they differ by is the noise floor of the run.

Two sizes, because what disturbs a call of 100 us (a cold cache, the clock's own cost) is not what disturbs one of 5 ms
(preemption). The file's name puts them first, so that a run that is interrupted has its floor.
"""

import pytest

from benchmarks import workloads
from benchmarks.contenders import contenders
from benchmarks.versus import Device, Subject, Versus

pytestmark = pytest.mark.quick
# torch's conv2d took about 100 us and 5 ms for these on one core of an EPYC (Zen 5)
CONTROLS = {"100us": workloads.conv((32, 6, 14, 14), 16, 5), "5ms": workloads.conv((1, 512, 14, 14), 512, 3, padding=1)}


@pytest.mark.parametrize("size", CONTROLS)
def test_same_against_same(versus: Versus, device: Device, size: str) -> None:
    """torch's conv2d takes as long as torch's conv2d, on equal but separate arrays."""
    layer = CONTROLS[size]
    arrays = workloads.arrays(layer)
    one, other = (contenders(layer, arrays, device.name, libraries=())["torch"] for _ in range(2))
    subject = Subject("control", size, device.name, work=layer.work, control=True)
    versus({"torch": one, "again": other}, subject, device.clock)
