"""Batch normalisation: torch's batch_norm against the reference, after every convolution of ResNet-50."""

import pytest

from benchmarks import workloads
from benchmarks.contenders import layers, race
from benchmarks.versus import Device, Versus


@pytest.mark.parametrize("layer", layers("batch_norm"))
def test_training(versus: Versus, device: Device, layer: str) -> None:
    """With the statistics of the batch; torch updates the running ones in place, the reference returns new ones."""
    race(versus, device, workloads.distinct("batch_norm")[layer])


@pytest.mark.parametrize("layer", layers("batch_norm"))
def test_inference(versus: Versus, device: Device, layer: str) -> None:
    """With the running statistics, on the same shapes."""
    trained = workloads.distinct("batch_norm")[layer]
    race(versus, device, workloads.norm(trained.output, training=False))
