"""Pooling: torch's max_pool2d and avg_pool2d against the reference, on the layers of LeNet, VGG and ResNet-50."""

import pytest

from benchmarks import workloads
from benchmarks.contenders import layers, race
from benchmarks.versus import Device, Versus


@pytest.mark.parametrize("layer", layers("max_pool2d"))
def test_max_pool2d(versus: Versus, device: Device, layer: str) -> None:
    """torch computes the indices of the maxima as well, which a backward pass needs and the reference finds again."""
    race(versus, device, workloads.distinct("max_pool2d")[layer])


@pytest.mark.parametrize("layer", layers("avg_pool2d"))
def test_avg_pool2d(versus: Versus, device: Device, layer: str) -> None:
    """LeNet halves its images; ResNet-50 ends in the mean over a whole image."""
    race(versus, device, workloads.distinct("avg_pool2d")[layer])
