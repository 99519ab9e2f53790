"""JAX: what jax.lax, jax.nn, jax.numpy, jax.image and jax.scipy have of the ops, compiled, with gradients by jax.vjp.

Each function here maps names, layouts and options onto one of JAX's. What JAX has no function for is absent (adaptive
pooling, losses, maxout, PReLU, RMS norm, local response norm, fold, dropout; its softplus has no threshold) or not
supported: a bias, groups of a transposed convolution, the affine part and the running averages of norms, `ceil_mode`,
padding that a mean leaves out, another divisor, corners that are aligned. Its "nearest" pixel is torch's
"nearest-exact"; the two agree where sizes are multiplied by whole numbers. Variances are taken in two passes
(`algorithm="stable"`): JAX's default, the mean of squares less the square of the mean, has a bound that says nothing
where means are large. Where JAX gives a meaning to what torch refuses (axes out of range, an edge reflected more than
once, signals that change places), nothing is asked of it.

Loading this module switches 64-bit numbers on for the process (`jax_enable_x64`), without which JAX has no float64. On
the CPU XLA flushes subnormal numbers to zero, in float32, float64 and bfloat16: reports claim so, and `check` is told
with the precision "float32_flushed". In float16 and bfloat16 each step of what is no sum of products rounds to that
format. A shape that is new to XLA is compiled, at the price of a thousand calls, hence `forms`; JAX keeps compiled ones
between processes when JAX_COMPILATION_CACHE_DIR names a folder.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from d2lref.adapters import jax_random
from d2lref.oracle.implementation import Implementation, Library, Signature
from d2lref.spec import Array, Shape

jax.config.update("jax_enable_x64", True)

FORMS = 12  # in a short run; compiling one takes a twentieth of a second to a fifth


def library(device: str = "cpu") -> Library:
    """Return JAX on a device as an array library. Raises RuntimeError for a device that is not there."""
    place = jax.devices(device)[0]
    return Library(
        f"jax:{device}",
        lambda array, dtype: jax.device_put(array.astype(dtype), place),
        _back,
        preamble=_PREAMBLE,
        to_text=f'jax.device_put({{}}.astype("{{dtype}}"), jax.devices({device!r})[0])',
        back_text='np.asarray({}.astype("float64"))',
    )


_PREAMBLE = """
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_enable_x64", True)
""".strip()


def _back(array: Array) -> np.ndarray:
    """Return a copy on the host, for JAX's arrays may share memory: none can be written. bfloat16 as float32."""
    return np.array(array, np.float32 if array.dtype == jnp.bfloat16 else array.dtype)


def implementation(name: str, device: str = "cpu") -> Implementation | None:
    """Return JAX's implementation of a subject, with its vjp; None for one it lacks."""
    function = _FUNCTIONS.get(name)
    if function is None:
        return jax_random.implementation(name, library(device))
    stem = name[:-2] if name[:-2] in _MADE else name
    takes, held, text = _signature(function), _HELD.get(name, ()), _text(name, function)
    usual = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.default is not p.empty}
    return Implementation(
        f"jax {jax.__version__} {name} on {device}",
        compiled(function, usual),
        compiled(pulled_back(function, held), usual),
        library(device),
        takes,
        replace(takes, options=(takes.options or frozenset()) - {"dilation"}) if stem == "max_pool" else None,
        _SUPPORTS.get(stem, {}),
        _ACCEPTS.get(stem),
        f"{text}\n\n\n{inspect.getsource(compiled)}\n\nimplementation = compiled(function)",
        f"{text}\n\n\n{inspect.getsource(compiled)}\n\n{inspect.getsource(pulled_back)}\n\n"
        f"vjp = compiled(pulled_back(function, {held}))",
        "flushed",
        FORMS,
        {} if stem in _PRODUCTS else {half: {"accumulate": half} for half in ("float16", "bfloat16")},
    )


def _signature(function: Callable[..., Any]) -> Signature:
    """Return what a function can be handed: its arrays are the parameters in front that have no default."""
    every = inspect.signature(function).parameters.values()
    arrays = [p.name for p in every if p.kind is not p.KEYWORD_ONLY and p.default is p.empty]
    options = frozenset(p.name for p in every) - set(arrays)
    demanded = frozenset(p.name for p in every if p.default is p.empty) - set(arrays)
    return Signature(options, demanded, len(arrays), len(arrays))


def _text(name: str, function: Callable[..., Any]) -> str:
    """Return the text that binds the name `function`."""
    if name in _NN:
        return f"{_HEAD}\n\nfunction = jax.nn.{_NN[name]}"
    if (make := _MADE.get(name[:-2])) is not None:
        bound = f"{inspect.getsource(make)}\n\nfunction = {make.__name__}({name[-2]})"
    else:
        bound = f"{inspect.getsource(function)}\n\nfunction = {function.__name__}"
    return f"{_HEAD}\n\n\n{inspect.getsource(per_axis)}\n\n{bound}"


_HEAD = """
import math
from collections.abc import Callable, Mapping
from typing import Any

Array = Any
""".strip()


# Functions behind every implementation: reproductions print their texts


def compiled(function: Callable[..., Any], usual: Mapping[str, Any] = {}) -> Callable[..., Any]:
    """Return f(*arrays, **options), compiled for each set of shapes and options; `usual` are the options left out."""

    @partial(jax.jit, static_argnames="options")
    def run(arrays: tuple[Array, ...], options: tuple[tuple[str, Any], ...]) -> Any:
        return function(*arrays, **dict(options))

    return lambda *arrays, **options: run(arrays, options=tuple(sorted({**usual, **options}.items())))


def pulled_back(function: Callable[..., Any], held: tuple[int, ...] = ()) -> Callable[..., Any]:
    """Return vjp(gy, *arrays, **options) by jax.vjp, without gradients for the arrays at the `held` places."""

    def vjp(gy: Any, *arrays: Array, **options: Any) -> tuple[Any, ...]:
        back = jax.vjp(partial(function, **options), *arrays)[1]
        gradients = back(gy[0] if isinstance(gy, tuple) else gy)
        return tuple(None if place in held else g for place, g in enumerate(gradients))

    return vjp


def per_axis(value: Any, axes: int) -> tuple[Any, ...]:
    """Return one value per axis: a tuple is taken as it is."""
    return value if isinstance(value, tuple) else (value,) * axes


# The ops


def conv(axes: int) -> Callable[..., Any]:
    """jax.lax.conv_general_dilated."""

    def function(
        x: Array, weight: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Array:
        edges = padding.upper() if isinstance(padding, str) else [(p, p) for p in per_axis(padding, axes)]
        steps, holes = per_axis(stride, axes), per_axis(dilation, axes)
        return lax.conv_general_dilated(x, weight, steps, edges, rhs_dilation=holes, feature_group_count=groups)

    return function


def conv_transpose(axes: int) -> Callable[..., Any]:
    """jax.lax.conv_transpose, whose padding is that of the image with its zeros, before the filter slides over it."""

    def function(
        x: Array, weight: Array, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1
    ) -> Array:
        holes, taps = per_axis(dilation, axes), weight.shape[2:]
        reach = [d * (k - 1) - p for d, k, p in zip(holes, taps, per_axis(padding, axes), strict=True)]
        edges = [(r, r + more) for r, more in zip(reach, per_axis(output_padding, axes), strict=True)]
        space = "DHW"[-axes:]
        return lax.conv_transpose(
            x,
            weight,
            per_axis(stride, axes),
            edges,
            rhs_dilation=holes,
            dimension_numbers=(f"NC{space}", f"OI{space}", f"NC{space}"),
            transpose_kernel=True,
        )

    return function


def corr(axes: int) -> Callable[..., Any]:
    """jax.scipy.signal.correlate of arrays with so many axes."""

    def function(x: Array, kernel: Array) -> Array:
        if x.ndim != axes:
            message = f"x has {x.ndim} axes"
            raise ValueError(message)
        return jax.scipy.signal.correlate(x, kernel, mode="valid")

    return function


def convolve(axes: int) -> Callable[..., Any]:
    """jax.scipy.signal.convolve of arrays with so many axes."""

    def function(x: Array, kernel: Array, *, mode: str = "full") -> Array:
        if x.ndim != axes:
            message = f"x has {x.ndim} axes"
            raise ValueError(message)
        return jax.scipy.signal.convolve(x, kernel, mode=mode)

    return function


def max_pool(axes: int) -> Callable[..., Any]:
    """jax.lax.reduce_window with jax.lax.max; JAX has no gradient of dilated windows."""

    def function(x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> Array:
        window = per_axis(kernel_size, axes)
        steps = window if stride is None else per_axis(stride, axes)
        edges = ((0, 0), (0, 0), *((p, p) for p in per_axis(padding, axes)))
        holes = (1, 1, *per_axis(dilation, axes))
        return lax.reduce_window(x, -math.inf, lax.max, (1, 1, *window), (1, 1, *steps), edges, window_dilation=holes)

    return function


def avg_pool(axes: int) -> Callable[..., Any]:
    """jax.lax.reduce_window with jax.lax.add, and a division."""

    def function(x: Array, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Array:
        window = per_axis(kernel_size, axes)
        steps = window if stride is None else per_axis(stride, axes)
        edges = ((0, 0), (0, 0), *((p, p) for p in per_axis(padding, axes)))
        return lax.reduce_window(x, 0.0, lax.add, (1, 1, *window), (1, 1, *steps), edges) / math.prod(window)

    return function


def flatten(x: Array, *, start_dim: int = 0, end_dim: int = -1) -> Array:
    """jax.lax.collapse."""
    return lax.collapse(x, start_dim, None if end_dim == -1 else end_dim + 1)


def gelu(x: Array, *, approximate: str = "none") -> Array:
    """jax.nn.gelu."""
    return jax.nn.gelu(x, approximate={"none": False, "tanh": True}[approximate])


def interpolate(x: Array, *, size: Any, mode: str = "nearest", align_corners: bool | None = None) -> Array:
    """jax.image.resize, whose corners are never aligned."""
    del align_corners
    method = "nearest" if mode.startswith("nearest") else mode
    return jax.image.resize(x, (*x.shape[:2], *per_axis(size, x.ndim - 2)), method, antialias=False)


def linear(x: Array, weight: Array) -> Array:
    """jax.numpy.matmul."""
    return jnp.matmul(x, weight.T)


def log_softmax(x: Array, *, dim: int) -> Array:
    """jax.nn.log_softmax."""
    return jax.nn.log_softmax(x, dim)


def pad(x: Array, *, pad: tuple[int, ...], mode: str = "constant", value: float | None = None) -> Array:
    """jax.numpy.pad, whose pairs stand in the order of the axes."""
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    pairs = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    filled = {"constant_values": value or 0.0} if mode == "constant" else {}
    return jnp.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs, names[mode], **filled)


def softmax(x: Array, *, dim: int) -> Array:
    """jax.nn.softmax."""
    return jax.nn.softmax(x, dim)


def unfold(x: Array, *, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Array:
    """jax.lax.conv_general_dilated_patches, with the places of the windows on one axis."""
    edges = [(p, p) for p in per_axis(padding, 2)]
    window, steps, holes = (per_axis(v, 2) for v in (kernel_size, stride, dilation))
    patches = lax.conv_general_dilated_patches(x, window, steps, edges, rhs_dilation=holes)
    return lax.collapse(patches, 2)


def batch_norm(x: Array, running_mean: Array, running_var: Array, *, momentum: float = 0.1, eps: float = 1e-5) -> Array:
    """jax.nn.standardize with statistics that are given for each channel, which stay as they are."""
    del momentum
    channels = tuple(a for a in range(x.ndim) if a != 1)
    mean, var = (jnp.expand_dims(a, channels) for a in (running_mean, running_var))
    return jax.nn.standardize(x, channels, mean, var, eps)


def group_norm(x: Array, *, num_groups: int, eps: float = 1e-5) -> Array:
    """jax.nn.standardize of each group of channels."""
    groups = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])
    return jax.nn.standardize(groups, tuple(range(2, groups.ndim)), epsilon=eps, algorithm="stable").reshape(x.shape)


def instance_norm(x: Array, *, momentum: float = 0.1, eps: float = 1e-5) -> Array:
    """jax.nn.standardize over the axes of space; without statistics that run along, momentum says nothing."""
    del momentum
    return jax.nn.standardize(x, tuple(range(2, x.ndim)), epsilon=eps, algorithm="stable")


def layer_norm(x: Array, *, normalized_shape: tuple[int, ...], eps: float = 1e-5) -> Array:
    """jax.nn.standardize over the last axes."""
    if not normalized_shape or x.shape[-len(normalized_shape) :] != normalized_shape:
        message = f"x {x.shape}, normalized_shape={normalized_shape!r}"
        raise ValueError(message)
    return jax.nn.standardize(x, tuple(range(-len(normalized_shape), 0)), epsilon=eps, algorithm="stable")


# What is known of them

_NN = {
    "elu": "elu",
    "hardsigmoid": "hard_sigmoid",
    "hardswish": "hard_swish",
    "leaky_relu": "leaky_relu",
    "relu": "relu",
    "relu6": "relu6",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "tanh": "tanh",
}

_MADE: Mapping[str, Callable[[int], Callable[..., Any]]] = {
    "avg_pool": avg_pool,
    "conv": conv,
    "conv_transpose": conv_transpose,
    "convolve": convolve,
    "corr": corr,
    "max_pool": max_pool,
}

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(jax.nn, own) for name, own in _NN.items()},
    **{f"{stem}{axes}d": make(axes) for stem, make in _MADE.items() for axes in (1, 2, 3)},
    "batch_norm": batch_norm,
    "flatten": flatten,
    "gelu": gelu,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "interpolate": interpolate,
    "layer_norm": layer_norm,
    "linear": linear,
    "log_softmax": log_softmax,
    "pad": pad,
    "softmax": softmax,
    "unfold": unfold,
}

_HELD: Mapping[str, tuple[int, ...]] = {"batch_norm": (1, 2)}
_PRODUCTS = {
    "conv",
    "conv_transpose",
    "convolve",
    "corr",
    "linear",
}  # whose sums are of float32 where factors are halves


def _not_negative(padding: Any) -> bool:
    """Return whether nothing is cropped."""
    return isinstance(padding, str) or min(per_axis(padding, 1)) >= 0


_SUPPORTS: Mapping[str, Mapping[str, Any]] = {
    **{stem: {"padding": _not_negative} for stem in ("avg_pool", "conv", "conv_transpose", "max_pool", "unfold")},
    "interpolate": {"size": lambda size: size is not None, "align_corners": (None, False)},
}


def _inside(x: Shape, kernel: Shape, **_mode: str) -> bool:
    """Return whether the kernel lies inside the signal, and has taps."""
    return 0 not in kernel and all(k <= n for n, k in zip(x, kernel, strict=True))


def _nested(x: Shape, kernel: Shape, **_mode: str) -> bool:
    """Return whether one of the two lies inside the other."""
    return _inside(x, kernel) or _inside(kernel, x)


def _spans(x: Shape, *, start_dim: int, end_dim: int) -> bool:
    """Return whether the axes are there, in this order."""
    return all(-len(x) <= d < len(x) for d in (start_dim, end_dim)) and start_dim % len(x) <= end_dim % len(x)


def _less_than_a_step(
    _x: Shape, weight: Shape, *_bias: None, stride: Any, output_padding: Any, dilation: Any, **_options: Any
) -> bool:
    """Return whether output_padding chooses one of the sizes that a convolution maps here, as it does in torch."""
    each = zip(*(per_axis(v, len(weight) - 2) for v in (output_padding, stride, dilation)), strict=True)
    return all(0 <= more < max(s, d) for more, s, d in each)


def _same_pixels(x: Shape, *, size: Any, mode: str, **_options: Any) -> bool:
    """Return whether JAX's nearest pixels are torch's."""
    return mode != "nearest" or all(m % n == 0 for n, m in zip(x[2:], per_axis(size, len(x) - 2), strict=True))


def _continued(x: Shape, *, pad: tuple[int, ...], mode: str, **_value: Any) -> bool:
    """Return whether nothing is cropped, and an edge is continued once, along every axis of space."""
    if mode == "constant":
        return min(pad, default=0) >= 0
    most = [n - (mode == "reflect") for n in x[:1:-1]]
    return len(pad) == 2 * len(most) <= 6 and all(
        0 <= p <= (n if mode != "replicate" else p) for p, n in zip(pad, np.repeat(most, 2), strict=True)
    )


_ACCEPTS: Mapping[str, Callable[..., bool]] = {
    "conv_transpose": _less_than_a_step,
    "convolve": _nested,
    "corr": _inside,
    "flatten": _spans,
    "interpolate": _same_pixels,
    "pad": _continued,
}
