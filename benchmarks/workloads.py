"""The layers that are timed: LeNet, VGG and ResNet-50 as their papers give them, and two real photographs.

A network is a tuple of layers in the order of the forward pass, repetitions included, so that its parameters can be
counted and compared with the published number. The benchmarks time each distinct shape once.

Sources: LeNet as in *Dive into Deep Learning* (Zhang et al. 2023), section 7.6, after LeCun et al. 1998; VGG-11 and
VGG-16 are configurations A and D of Simonyan & Zisserman 2015, table 1; ResNet-50 is He et al. 2016, table 1, with the
stride of a stage in its first 1x1 convolution, as published.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Array = NDArray[np.float32]
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Layer:
    """One call: an op by its name in `d2lref.ops`, the shapes of its arrays, its options.

    outputs: shape of the (first) output. flop: useful operations, a multiplication and an addition being two.
    label: the shape in words, unique among the layers of an op.
    """

    op: str
    label: str
    shapes: tuple[Shape, ...]
    options: tuple[tuple[str, Any], ...]
    output: Shape
    flop: int

    @property
    def bytes(self) -> int:
        """Return the least traffic: every input read once and the output written once, in float32."""
        return FLOAT_BYTES * sum(math.prod(shape) for shape in (*self.shapes, self.output))

    @property
    def work(self) -> dict[str, int]:
        """Return the operations and bytes of a call."""
        return {"flop": self.flop, "bytes": self.bytes}


# ---------------------------------------------------------------------------------------------------------------------
# One layer


def conv(
    x: Shape, filters: int, window: int, *, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True
) -> Layer:
    """Return a square convolution of NCHW input."""
    batch, channels, *size = x
    outer = tuple((each + 2 * padding - window) // stride + 1 for each in size)
    weight = (filters, channels // groups, window, window)
    label = f"{_times(x)}-{filters}k{window}{_unless(1, s=stride)}{_unless(0, p=padding)}{_unless(1, g=groups)}"
    options = (("stride", stride), ("padding", padding), ("groups", groups))
    output = (batch, filters, *outer)
    flop = 2 * math.prod(weight[1:]) * math.prod(output)
    return Layer("conv2d", label, (x, weight, *[(filters,)] * bias), options, output, flop)


def pool(kind: str, x: Shape, window: int, *, stride: int, padding: int = 0) -> Layer:
    """Return a square pooling, `kind` "max" or "avg"; an operation per element of a window."""
    outer = tuple((each + 2 * padding - window) // stride + 1 for each in x[2:])
    label = f"{_times(x)}-k{window}s{stride}{_unless(0, p=padding)}"
    options = (("kernel_size", window), ("stride", stride), ("padding", padding))
    output = (*x[:2], *outer)
    return Layer(f"{kind}_pool2d", label, (x,), options, output, window**2 * math.prod(output))


def norm(x: Shape, *, training: bool) -> Layer:
    """Return a batch normalisation: x a + b, and in training the mean (1 operation) and the variance (3) before it."""
    label = _times(x) if training else f"{_times(x)}-inference"
    options = (("training", training), ("momentum", 0.1), ("eps", 1e-5))
    return Layer("batch_norm", label, (x, *[x[1:2]] * 4), options, x, (6 if training else 2) * math.prod(x))


def linear(batch: int, inputs: int, outputs: int) -> Layer:
    """Return a fully connected layer."""
    shapes = ((batch, inputs), (outputs, inputs), (outputs,))
    return Layer("linear", f"{batch}x{inputs}-{outputs}", shapes, (), (batch, outputs), 2 * batch * inputs * outputs)


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _unless(default: int, **option: int) -> str:
    ((letter, value),) = option.items()
    return "" if value == default else f"{letter}{value}"


# ---------------------------------------------------------------------------------------------------------------------
# Networks

VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # ResNet-50: bottleneck width, blocks, stride of the first


def lenet(batch: int) -> tuple[Layer, ...]:
    """Return LeNet for 28x28 images."""
    first = conv((batch, 1, 28, 28), 6, 5, padding=2)
    halved = pool("avg", first.output, 2, stride=2)
    second = conv(halved.output, 16, 5)
    quartered = pool("avg", second.output, 2, stride=2)
    widths = (math.prod(quartered.output[1:]), 120, 84, 10)
    return (first, halved, second, quartered, *_dense(batch, widths))


def vgg(configuration: Sequence[int | str], batch: int) -> tuple[Layer, ...]:
    """Return a VGG for 224x224 images; a number is a 3x3 convolution with so many filters, "M" a 2x2 maximum."""
    layers: list[Layer] = []
    x: Shape = (batch, 3, 224, 224)
    for step in configuration:
        layers.append(pool("max", x, 2, stride=2) if isinstance(step, str) else conv(x, step, 3, padding=1))
        x = layers[-1].output
    return (*layers, *_dense(batch, (math.prod(x[1:]), 4096, 4096, 1000)))


def resnet50(batch: int) -> tuple[Layer, ...]:
    """Return ResNet-50 for 224x224 images; batch normalisation follows every convolution."""
    stem = conv((batch, 3, 224, 224), 64, 7, stride=2, padding=3, bias=False)
    pooled = pool("max", stem.output, 3, stride=2, padding=1)
    layers = [stem, _normalised(stem), pooled]
    for width, blocks, stride in STAGES:
        for block in range(blocks):
            layers += _bottleneck(layers[-1].output, width, stride if block == 0 else 1, project=block == 0)
    top = layers[-1].output
    return (*layers, pool("avg", top, top[-1], stride=top[-1]), *_dense(batch, (top[1], 1000)))


def _bottleneck(x: Shape, width: int, stride: int, *, project: bool) -> Iterator[Layer]:
    shortcut = [conv(x, 4 * width, 1, stride=stride, bias=False)] if project else []
    narrow = conv(x, width, 1, stride=stride, bias=False)
    middle = conv(narrow.output, width, 3, padding=1, bias=False)
    wide = conv(middle.output, 4 * width, 1, bias=False)
    for layer in (*shortcut, narrow, middle, wide):
        yield layer
        yield _normalised(layer)


def _normalised(layer: Layer) -> Layer:
    return norm(layer.output, training=True)


def _dense(batch: int, widths: Sequence[int]) -> Iterator[Layer]:
    return (linear(batch, *pair) for pair in pairwise(widths))


# d2l trains LeNet on batches of 128; one image at a time is what a photograph's classifier sees.
NETWORKS: Mapping[str, tuple[Layer, ...]] = {
    "lenet": lenet(1),
    "lenet-b128": lenet(128),
    "vgg11": vgg(VGG11, 1),
    "vgg16": vgg(VGG16, 1),
    "resnet50": resnet50(1),
    "resnet50-b8": resnet50(8),
}

# The short selection: one of each kind, from the smallest to the largest, within the 5 minutes of the report.
QUICK = frozenset(
    {
        "128x1x28x28-6k5p2",
        "128x6x14x14-16k5",
        "1x256x56x56-256k3p1",
        "1x512x14x14-512k3p1",
        "1x3x224x224-64k7s2p3",
        "1x64x56x56-256k1",
        "1x64x56x56-64k3p1",
        "1x512x7x7-512k3p1",
        "128x6x28x28-k2s2",
        "1x64x224x224-k2s2",
        "1x64x112x112-k3s2p1",
        "1x64x56x56",
        "1x512x7x7",
        "128x400-120",
        "1x2048-1000",
    }
)


@cache
def distinct(op: str) -> Mapping[str, Layer]:
    """Return the layers of an op by label, each shape once, in the order of the networks."""
    return {layer.label: layer for layers in NETWORKS.values() for layer in layers if layer.op == op}


def networks(layer: Layer) -> dict[str, int]:
    """Return the networks that contain a layer of these shapes, in whichever mode, and how often."""
    key = (layer.op, layer.shapes, layer.output)
    counts = {name: [(each.op, each.shapes, each.output) for each in net].count(key) for name, net in NETWORKS.items()}
    return {name: count for name, count in counts.items() if count}


def parameters(layers: Sequence[Layer]) -> int:
    """Return how many numbers the layers learn: weights and biases, not running statistics."""
    learnt = {"batch_norm": slice(3, 5)}
    return sum(math.prod(shape) for layer in layers for shape in layer.shapes[learnt.get(layer.op, slice(1, None))])


# ---------------------------------------------------------------------------------------------------------------------
# Values


def arrays(layer: Layer) -> tuple[Array, ...]:
    """Return float32 arrays for the layer: normal inputs, weights of variance 2 / fan-in (He et al. 2015).

    Seeded by the layer's label. The running variance of a batch normalisation is drawn from (1/2, 3/2).
    """
    rng = np.random.default_rng(list(layer.label.encode()))
    drawn = [_normal(rng, shape) for shape in layer.shapes]
    if layer.op == "batch_norm":
        drawn[2] = rng.uniform(0.5, 1.5, size=layer.shapes[2]).astype(np.float32)
    elif len(drawn) > 1:
        drawn[1] *= np.float32(math.sqrt(2 / math.prod(layer.shapes[1][1:])))
    return tuple(drawn)


def photographs() -> Array:
    """Return scikit-learn's two sample photographs (China, Flower), 2x3x427x640 in [0, 1].

    Raises ImportError where scikit-learn or Pillow is missing.
    """
    from sklearn.datasets import load_sample_images

    images = np.stack(load_sample_images().images)
    planes: Array = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    return planes / np.float32(255)


def sobel() -> Array:
    """Return the two derivative filters of Sobel & Feldman 1968, 2x3x3."""
    horizontal = np.outer([1, 2, 1], [1, 0, -1])
    return np.stack([horizontal, horizontal.T]).astype(np.float32)


def laplace() -> Array:
    """Return the discrete Laplacian, which answers at edges of every direction, 1x3x3."""
    return np.array([[[0, 1, 0], [1, -4, 1], [0, 1, 0]]], dtype=np.float32)


def gauss(window: int = 5, sigma: float = 1.0) -> Array:
    """Return a normalised Gaussian, 1 x window x window; sigma in pixels."""
    line = np.exp(-0.5 * (_positions(window) / sigma) ** 2)
    return (np.outer(line, line) / line.sum() ** 2).astype(np.float32)[None]


def gabor(filters: int = 64, window: int = 7) -> Array:
    """Return Gabor filters, filters x 3 x window x window: what first layers learn (Krizhevsky et al. 2012, figure 3).

    Eight directions by two phases by four wavelengths (2.5 to 5.5 pixels); unit norm, the same for the three colours.
    """
    y, x = np.meshgrid(_positions(window), _positions(window), indexing="ij")
    index = np.arange(filters)[:, None, None]
    angle, wavelength, phase = np.pi * (index % 8) / 8, 2.5 + index // 16, np.pi / 2 * (index // 8 % 2)
    wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength + phase)
    bank = wave * np.exp(-(x**2 + y**2) / (2 * (window / 4) ** 2))
    bank /= np.sqrt(3 * (bank**2).sum(axis=(1, 2), keepdims=True))
    colours: Array = np.repeat(bank[:, None], 3, axis=1).astype(np.float32)
    return colours


def per_channel(bank: Array, channels: int = 3) -> Array:
    """Return the filters once for each channel, as the weight of a convolution with `groups=channels`."""
    return np.tile(bank, (channels, 1, 1))[:, None]


def _normal(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def _positions(window: int) -> NDArray[np.float64]:
    return np.arange(window, dtype=np.float64) - (window - 1) / 2
