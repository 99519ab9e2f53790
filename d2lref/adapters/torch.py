"""torch (eager): functional forms with their autograd, on the CPU or on CUDA."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

from d2lref.adapters import torch_random
from d2lref.oracle.implementation import LAYOUTS, Implementation, Library, Signature
from d2lref.spec import Array, Shape

_LAYOUTS = tuple(
    name for name in LAYOUTS if name not in {"negative", "readonly"}
)  # from_numpy refuses the one, warns at the other


def library(device: str = "cpu") -> Library:
    """Return torch on a device as an array library. Raises RuntimeError for a device that is not there."""
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        message = "torch sees no CUDA device"
        raise RuntimeError(message)

    def to(array: np.ndarray, dtype: str) -> Array:
        borne = array if _bears(array) else array.copy()
        return torch.from_numpy(borne).to(device=place, dtype=getattr(torch, dtype))

    move = f".to('{device}')" if place.type != "cpu" else ""
    return Library(
        f"torch:{device}",
        to,
        _back,
        _LAYOUTS,
        _PREAMBLE,
        f"torch.from_numpy({{}}).to(torch.{{dtype}}){move}",
        "home({})",
        _bears,
        torch_random.global_state,
    )


def _bears(array: np.ndarray) -> bool:
    """Return whether torch takes an array in its memory order: no negative strides, and no crash.

    A convolution ends the process when the last axis has one entry and the channels come last in memory
    (https://github.com/pytorch/pytorch/issues/195394; in torch 2.13.0 on the CPU with a bias, a stride of 2 or more,
    dilation and padding). Such arrays are handed over in plain order.
    """
    crashes = array.ndim > 2 and array.shape[-1] == 1 and not array.flags.c_contiguous
    return not crashes and all(s >= 0 for s in array.strides)


_PREAMBLE = """
import torch


def home(tensor):
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
""".strip()


def _back(tensor: Array) -> np.ndarray:
    """Return a tensor on the host; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def implementation(name: str, device: str = "cpu") -> Implementation | None:
    """Return torch's implementation of a subject, with its vjp by autograd; None for one it lacks."""
    forward = _FORWARD.get(name)
    if forward is None:
        return torch_random.implementation(name, device, library(device))
    text = _origin(name)
    return Implementation(
        f"torch {torch.__version__} {name} on {device}",
        forward,
        vjp_of(forward),
        library(device),
        Signature(required=3 if name == "batch_norm" else 0),
        supports=_SUPPORTS.get(name, {}),
        accepts=_narrowed(name, device),
        origin=text,
        vjp_origin=f"{text}\n\n\n{_VJP_ORIGIN.format(held=_HELD.get(name, ()))}",
        algorithm=_ALGORITHMS.get(name, "any-order"),
        claims=_claims(name) if device == "cpu" else {},
    )


def _claims(name: str) -> Mapping[str, Mapping[str, str]]:
    """Return what an op of the CPU does not do in float32 when its numbers are stored in half.

    Where oneDNN convolves it adds gradients up in float32, torch itself does not.
    """
    kind, made = name[:-2] if name[-2:] in {"1d", "2d", "3d"} else name, {}
    for storage, known in _IN_HALF.items():
        told = {field: value for field, (value, kinds) in known.items() if {kind, name} & kinds}
        if kind in _CONVOLVED:
            told.pop("gradients" if _is_for_onednn(storage) else "subnormals", None)
        made[storage] = told
    return made


def _is_for_onednn(storage: str) -> bool:
    """Return whether torch has oneDNN convolve numbers of a half format on this processor."""
    asked = torch.ops.mkldnn
    return bool((asked._is_mkldnn_fp16_supported if storage == "float16" else asked._is_mkldnn_bf16_supported)())  # noqa: SLF001 - they have no public name


def _narrowed(name: str, device: str) -> Callable[..., bool] | None:
    """Return what an op is narrowed to; None for all that it takes."""
    if name in {"corr2d", "convolve2d"} and device == "cpu":
        return _trusted
    narrowed: Mapping[str, Callable[..., bool]] = {"group_norm": _several, "fourier_coefficients": _some}
    return narrowed.get(name)


def _several(x: Shape, *_affine: Shape | None, num_groups: int, **_options: Any) -> bool:
    """Return whether a group has several values in the batch: F.group_norm refuses one for all images together."""
    return x[0] * x[1] // num_groups * math.prod(x[2:]) != 1


def _some(x: Shape, **_options: Any) -> bool:
    """Return whether there is a row: MKL refuses to transform none (https://github.com/pytorch/pytorch/issues/174984)."""
    return 0 not in x


def _trusted(x: Shape, kernel: Shape, **_options: Any) -> bool:
    """Return whether torch's gradient of the kernel is right for these shapes.

    In torch 2.13.0 on the CPU it is not for one high image that is as wide as its filter, of 14 to 19 columns
    (reports/findings/torch-conv2d-weight-gradient.md): such images are left out.
    """
    return not (x[1] == kernel[1] and 14 <= x[1] <= 19 and max(x[0], kernel[0]) >= 32)


def _origin(name: str) -> str:
    """Return the text that binds the name `implementation`: torch's own function, or one of this file."""
    for stem, make in (("corr", _correlate), ("convolve", _convolve), ("separable_conv", _separable)):
        if name in {f"{stem}{n}d" for n in (1, 2, 3)}:
            return f"{_IMPORTS}{inspect.getsource(make)}\n\nimplementation = {make.__name__}({name[-2]})"
    mine: Mapping[str, Callable[..., Any]] = {**_CHANNELS, "fourier_coefficients": _rfft, **_REORDERED}
    if own := mine.get(name):
        return f"{_IMPORTS}{inspect.getsource(own)}\n\nimplementation = {own.__name__}"
    return f"implementation = torch.{name if name == 'flatten' else f'nn.functional.{name}'}"


def vjp_of(forward: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return vjp(gy, *arrays, **options) by torch.autograd.grad.

    With several outputs gy is a tuple and the first is followed.
    """
    held = _HELD.get(forward.__name__, ())

    def vjp(gy: Any, *arrays: Any, **options: Any) -> tuple[Any, ...]:
        leaves = [
            None if a is None else a.detach().clone().requires_grad_(i not in held and a.is_floating_point())
            for i, a in enumerate(arrays)
        ]
        answer = forward(*leaves, **options)
        y = answer[0] if isinstance(answer, tuple) else answer
        asked = [a for a in leaves if a is not None and a.requires_grad]
        gradients = iter(torch.autograd.grad(y, asked, gy[0] if isinstance(gy, tuple) else gy, materialize_grads=True))
        return tuple(None if a is None or not a.requires_grad else next(gradients) for a in leaves)

    return vjp


# autograd must not follow what is updated in place, nor weights for which torch has no derivative
_HELD: Mapping[str, tuple[int, ...]] = {
    "batch_norm": (1, 2),
    "instance_norm": (1, 2),
    "nll_loss": (2,),
    "cross_entropy": (2,),
}


def _correlate(axes: int) -> Callable[..., Any]:
    """The book's correlation: one image, one channel."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]

    def corr(x: Array, kernel: Array) -> Array:
        return conv(x[None, None], kernel[None, None])[0, 0]

    return corr


def _separable(axes: int) -> Callable[..., Any]:
    """A convolution with a group for each channel, then one with a window of a single pixel."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]

    def separable_conv(x: Array, depthwise: Array, pointwise: Array, bias: Array = None, **options: Any) -> Array:
        return conv(conv(x, depthwise, groups=x.shape[1], **options), pointwise, bias)

    return separable_conv


def _convolve(axes: int) -> Callable[..., Any]:
    """Convolution proper: the flipped kernel over a padded signal; "same" and "valid" are parts of the full result."""
    conv = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]

    def convolve(x: Array, kernel: Array, *, mode: str = "full") -> Array:
        if mode not in {"full", "same", "valid"}:
            message = f"mode={mode!r}"
            raise ValueError(message)
        if mode == "valid" and all(a <= b for a, b in zip(x.shape, kernel.shape, strict=True)):
            x, kernel = kernel, x
        edge = [n - 1 for n in kernel.shape]
        whole = 0 if mode == "valid" else tuple(edge)
        y = conv(x[None, None], kernel.flip(tuple(range(axes)))[None, None], padding=whole)[0, 0]
        if mode != "same":
            return y
        parts = (slice(e // 2, e // 2 + n) for e, n in zip(edge, x.shape, strict=True))
        return y[tuple(parts)]

    return convolve


def _maxout(x: Array, *, pool_size: int) -> Array:
    """The largest of each group of consecutive channels."""
    return x.unflatten(1, (-1, pool_size)).max(dim=2).values


def _rfft(x: Array, *, norm: str = "backward") -> Array:
    """torch.fft.rfft with real and imaginary parts along a last axis.

    Not by torch.view_as_real, whose gradient ends the process when it is sent one in memory that is not aligned as
    complex numbers are (reports/findings/torch-view_as_real-unaligned-crash.md).
    """
    y = torch.fft.rfft(x, norm=norm)
    return torch.stack((y.real, y.imag), dim=-1)


def _channel_avg_pool(x: Array, *, pool_size: int) -> Array:
    """The mean of each group of consecutive channels."""
    return x.unflatten(1, (-1, pool_size)).mean(dim=2)


def _global_avg_pool(x: Array) -> Array:
    """The mean of a channel."""
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def _global_max_pool(x: Array) -> Array:
    """The largest of a channel."""
    return x.flatten(2).max(dim=2).values.reshape(*x.shape[:2], *(1,) * (x.ndim - 2))


_CHANNELS: Mapping[str, Callable[..., Array]] = {
    "maxout": _maxout,
    "channel_avg_pool": _channel_avg_pool,
    "global_avg_pool": _global_avg_pool,
    "global_max_pool": _global_max_pool,
}


def _group_norm(x: Array, weight: Array = None, bias: Array = None, *, num_groups: int, **eps: float) -> Array:
    """torch's, with the arrays first."""
    return F.group_norm(x, num_groups, weight, bias, **eps)


def _layer_norm(x: Array, weight: Array = None, bias: Array = None, *, normalized_shape: Any, **eps: float) -> Array:
    """torch's, with the arrays first."""
    return F.layer_norm(x, normalized_shape, weight, bias, **eps)


def _rms_norm(x: Array, weight: Array = None, *, normalized_shape: Any, **eps: float | None) -> Array:
    """torch's, with the arrays first."""
    return F.rms_norm(x, normalized_shape, weight, **eps)


def _binary(x: Array, target: Array, weight: Array = None, pos_weight: Array = None, **reduction: Any) -> Array:
    """torch's, with pos_weight among the arrays; it has no derivative for the weights."""
    weight, pos_weight = (None if a is None else a.detach() for a in (weight, pos_weight))
    return F.binary_cross_entropy_with_logits(x, target, weight, pos_weight=pos_weight, **reduction)


_REORDERED: Mapping[str, Callable[..., Any]] = {
    "binary_cross_entropy_with_logits": _binary,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
}

_IMPORTS = """
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Array = Any


""".lstrip()

_VJP_ORIGIN = """
def vjp(gy, *arrays, **options):
    leaves = [
        None if a is None else a.clone().requires_grad_(i not in {held} and a.is_floating_point())
        for i, a in enumerate(arrays)
    ]
    answer = implementation(*leaves, **options)
    y = answer[0] if isinstance(answer, tuple) else answer
    asked = [a for a in leaves if a is not None and a.requires_grad]
    found = iter(torch.autograd.grad(y, asked, gy[0] if isinstance(gy, tuple) else gy, materialize_grads=True))
    return tuple(None if a is None or not a.requires_grad else next(found) for a in leaves)
""".strip()

_FORWARD: Mapping[str, Callable[..., Any]] = {
    **{f"conv{n}d": getattr(F, f"conv{n}d") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": getattr(F, f"conv_transpose{n}d") for n in (1, 2, 3)},
    **{f"corr{n}d": _correlate(n) for n in (1, 2, 3)},
    **{f"convolve{n}d": _convolve(n) for n in (1, 2, 3)},
    **{f"separable_conv{n}d": _separable(n) for n in (1, 2, 3)},
    "flatten": torch.flatten,
    "fourier_coefficients": _rfft,
    "fold": F.fold,
    "interpolate": F.interpolate,
    "linear": F.linear,
    **{f"{kind}_loss": getattr(F, f"{kind}_loss") for kind in ("mse", "l1", "smooth_l1", "nll")},
    "cross_entropy": F.cross_entropy,
    **{
        f"{kind}_pool{n}d": getattr(F, f"{kind}_pool{n}d")
        for kind in ("max", "avg", "lp", "adaptive_max", "adaptive_avg")
        for n in (1, 2, 3)
    },
    **{
        f"{kind}_pool{n}d_with_indices": getattr(F, f"{kind}_pool{n}d_with_indices")
        for kind in ("max", "adaptive_max")
        for n in (1, 2, 3)
    },
    **_CHANNELS,
    "pad": F.pad,
    "relu": F.relu,
    "prelu": F.prelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "elu": F.elu,
    "gelu": F.gelu,
    "sigmoid": F.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": F.tanh,
    "batch_norm": F.batch_norm,
    "instance_norm": F.instance_norm,
    "local_response_norm": F.local_response_norm,
    **_REORDERED,
    "unfold": F.unfold,
}

_ALGORITHMS: Mapping[str, str] = {
    "fourier_coefficients": "fft",
    "layer_norm": "welford",  # both update the variance
    "group_norm": "welford",
}

_SUMMED = frozenset(
    {
        "adaptive_avg_pool3d",
        "conv_transpose",  # as columns, added where they meet: what oneDNN does not take
        "fold",
        "interpolate",  # the weights are stored as well
        "local_response_norm",  # this and the losses are several functions, each with a store
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "nll_loss",
        "cross_entropy",
        "binary_cross_entropy_with_logits",
    }
)
_PASSED = frozenset({"softmax", "log_softmax", "batch_norm", "instance_norm", "layer_norm", "group_norm"})
_CONVOLVED = frozenset({"conv", "conv_transpose", "corr", "convolve", "separable_conv"})
_POOLED = frozenset({"avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool"})
_ADDED = _POOLED | {"conv", "corr", "convolve", "separable_conv", "pad", "unfold", "prelu"}

_IN_HALF: Mapping[str, Mapping[str, tuple[str, frozenset[str]]]] = {
    "float16": {
        "accumulate": ("float16", _SUMMED),
        "statistics": ("float16", _PASSED),
        "gradients": ("float16", _ADDED | {"sigmoid"}),
    },
    "bfloat16": {
        "accumulate": ("bfloat16", _SUMMED),
        "statistics": ("bfloat16", _PASSED),
        "gradients": ("bfloat16", _ADDED),
        "subnormals": ("flushed", _CONVOLVED | {"gelu"}),  # by oneDNN
    },
}
"""What is not in float32 between load and store: for fields of Precision their value, and the ops that have it.

Seen by exact sums of every stage, of torch 2.13.0 (reports/findings/torch-*-half-*.md).
"""

_SUPPORTS: Mapping[str, Mapping[str, Any]] = {
    "lp_pool1d": {"kernel_size": lambda size: isinstance(size, int)},  # documented as one int, unlike the others
}
