"""Real input: filters on scikit-learn's two sample photographs (China and Flower, 427x640, colour)."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from benchmarks import workloads
from benchmarks.contenders import race
from benchmarks.versus import Device, Versus

FILTERS: Mapping[str, Callable[[], workloads.Array]] = {
    "edges": workloads.laplace,
    "sobel": workloads.sobel,
    "gauss": workloads.gauss,
}


@pytest.fixture(scope="module")
def photographs() -> workloads.Array:
    """Return the two photographs, 2x3x427x640."""
    pytest.importorskip("sklearn", reason="the photographs come with scikit-learn: pip install 'd2lref[sklearn]'")
    pytest.importorskip("PIL", reason="scikit-learn reads its photographs with Pillow: pip install pillow")
    return workloads.photographs()


@pytest.mark.quick
@pytest.mark.parametrize("name", FILTERS)
def test_filter(versus: Versus, device: Device, photographs: workloads.Array, name: str) -> None:
    """A classical filter on each colour by itself: groups=3, the photograph keeps its size."""
    weight = workloads.per_channel(FILTERS[name]())
    window = weight.shape[-1]
    layer = workloads.conv(photographs.shape, len(weight), window, padding=window // 2, groups=3, bias=False)
    race(versus, device, replace(layer, label=f"photographs-{name}"), (photographs, weight))


@pytest.mark.quick
def test_first_layer(versus: Versus, device: Device, photographs: workloads.Array) -> None:
    """64 Gabor filters, 7x7 with stride 2: the first layer of a ResNet on a photograph.

    NumPy alone: on torch arrays the shift variant takes two seconds a call.
    """
    weight = workloads.gabor()
    layer = workloads.conv(photographs.shape, len(weight), 7, stride=2, padding=3, bias=False)
    race(versus, device, replace(layer, label="photographs-first-layer"), (photographs, weight))
