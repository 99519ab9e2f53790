"""The fully connected layer: torch's linear against the reference, on the heads of LeNet, VGG and ResNet-50."""

import pytest

from benchmarks import workloads
from benchmarks.contenders import layers, race
from benchmarks.versus import Device, Versus


@pytest.mark.parametrize("layer", layers("linear"))
def test_linear(versus: Versus, device: Device, layer: str) -> None:
    """A matrix product on either side: NumPy's BLAS against torch's."""
    race(versus, device, workloads.distinct("linear")[layer])
