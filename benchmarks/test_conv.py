"""Convolution: torch's F.conv2d against every variant, on the layers of LeNet, VGG and ResNet-50."""

import pytest

from benchmarks import workloads
from benchmarks.contenders import layers, race
from benchmarks.versus import Device, Versus


@pytest.mark.parametrize("layer", layers("conv2d"))
def test_conv2d(versus: Versus, device: Device, layer: str) -> None:
    """Variants on NumPy and on torch arrays: the BLAS behind them differs, and with it what a variant can reach."""
    race(versus, device, workloads.distinct("conv2d")[layer], libraries=("numpy", "torch"))
