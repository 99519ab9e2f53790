"""torch's initialisers and dropout, with the generator that they are handed.

`torch.nn.init` fills a tensor in place and takes a torch.Generator; a new one is seeded for every call from the NumPy
generator that the judge hands over. `F.dropout` and its kin draw from torch's global generator alone: it is seeded the
same way inside `torch.random.fork_rng`, which puts it back afterwards. So is `sparse_`, whose zeros come from the
global generator whatever it is handed (torch.randperm without a generator in torch 2.13.0,
https://github.com/pytorch/pytorch/pull/196941).
"""

import inspect
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

from d2lref.oracle.implementation import Implementation, Library
from d2lref.spec import Array, Shape


def global_state() -> tuple[Any, ...]:
    """Return what the global generators of Python, NumPy and torch remember."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - it looks at what nobody should use
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    states = [state.numpy().tobytes() for state in (torch.get_rng_state(), *devices)]
    return random.getstate(), kind, np.asarray(keys).tobytes(), *rest, *states


# Functions that make an implementation: each stands by itself, because reproductions print its text


def fixed(fill: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return f(shape, *, rng, **options) for an initialiser that draws nothing; what it does not write is NaN."""

    def implementation(shape: Shape, *, rng: Any = None, **options: Any) -> Array:
        del rng
        return fill(torch.full(shape, math.nan, device=device), **options)

    return implementation


def drawn(fill: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return f(shape, *, rng, **options) for an initialiser that takes a generator; what it does not write is NaN."""

    def implementation(shape: Shape, *, rng: Any, **options: Any) -> Array:
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        return fill(torch.full(shape, math.nan, device=device), generator=generator, **options)

    return implementation


def forked(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Return f(first, *, rng, **options) for a function that draws from the global generator."""

    def implementation(*first: Any, rng: Any, **options: Any) -> Array:
        places = [device] if device.startswith("cuda") else []
        seed = int(rng.integers(2**63))
        with torch.random.fork_rng(devices=places):
            torch.default_generator.manual_seed(seed)
            if places:
                torch.cuda.manual_seed(seed)
            return function(*first, **options)

    return implementation


def sparse(shape: Shape, *, device: str, **options: Any) -> Array:
    """Return torch's sparse_ on a new tensor."""
    return torch.nn.init.sparse_(torch.full(shape, math.nan, device=device), **options)


def gradient(forward: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Return vjp(gy, x, *, rng, **options) by torch.autograd.grad: the call is made again, with the same numbers."""

    def vjp(gy: Array, x: Array, **options: Any) -> tuple[Any, ...]:
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(forward(x, **options), (x,), gy)

    return vjp


def implementation(name: str, device: str, library: Library) -> Implementation | None:
    """Return torch's implementation of an initialiser or of dropout; None for what it lacks."""
    told = f"torch {torch.__version__} {name} on {device}"
    if name in _DROPOUT:
        forward = forked(_DROPOUT[name], device)
        text = f"{_text(forked)}\n\nimplementation = forked(torch.nn.functional.{name}, {device!r})"
        back = f"{_text(gradient)}\n\nvjp = gradient(implementation)"
        return Implementation(told, forward, gradient(forward), library, origin=text, vjp_origin=back)
    if name == "sparse":
        forward = forked(lambda shape, **options: sparse(shape, device=device, **options), device)
        made = f"forked(lambda shape, **o: sparse(shape, device={device!r}, **o), {device!r})"
        text = f"{_text(sparse)}\n\n\n{_text(forked)}\n\nimplementation = {made}"
        return Implementation(told, forward, None, library, origin=text)
    make = fixed if name in _FIXED else drawn if name in _DRAWN else None
    if make is None:
        return None
    text = f"{_text(make)}\n\nimplementation = {make.__name__}(torch.nn.init.{name}_, {device!r})"
    return Implementation(told, make(getattr(torch.nn.init, f"{name}_"), device), None, library, origin=text)


def _text(function: Callable[..., Any]) -> str:
    return inspect.getsource(function)


_DROPOUT: Mapping[str, Callable[..., Any]] = {
    name: getattr(F, name) for name in ("dropout", "dropout1d", "dropout2d", "dropout3d")
}
_FIXED = ("constant", "zeros", "ones", "eye", "dirac")
_DRAWN = (
    "uniform",
    "normal",
    "trunc_normal",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "orthogonal",
)
