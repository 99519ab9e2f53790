"""JAX's initialisers: jax.nn.initializers, in float32, with a key from the NumPy generator that the judge hands over.

torch's weights have filters before channels, so that what comes in lies on axis 1 and what goes out on axis 0. JAX has
no `eye`, `dirac` and `sparse`, no mean but 0, no uniform numbers from another than 0 on, and the gain of ReLU alone.
Its own kaiming_normal and xavier_normal are truncated, as their documentation says: `variance_scaling` has both kinds.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from d2lref.oracle.implementation import Implementation, Library, Signature
from d2lref.spec import Array, Shape

# Functions behind every implementation: reproductions print their texts


def drawn(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return f(shape, *, rng, **options) for the initialiser that make(**options) returns."""

    def implementation(shape: Shape, *, rng: Any, **options: Any) -> Array:
        return make(**options)(jax.random.key(int(rng.integers(2**63))), shape, jnp.float32)

    return implementation


def constant(*, val: float) -> Any:
    """jax.nn.initializers.constant."""
    return jax.nn.initializers.constant(val)


def kaiming_normal(*, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Any:
    """jax.nn.initializers.variance_scaling: 2 is the square of the gain."""
    del nonlinearity
    return jax.nn.initializers.variance_scaling(2.0, mode, "normal", 1, 0)


def kaiming_uniform(*, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> Any:
    """jax.nn.initializers.variance_scaling: 2 is the square of the gain."""
    del nonlinearity
    return jax.nn.initializers.variance_scaling(2.0, mode, "uniform", 1, 0)


def normal(*, std: float = 1.0) -> Any:
    """jax.nn.initializers.normal."""
    return jax.nn.initializers.normal(std)


def ones() -> Any:
    """jax.nn.initializers.ones."""
    return jax.nn.initializers.ones


def orthogonal(*, gain: float = 1.0) -> Any:
    """jax.nn.initializers.orthogonal, a column for each filter."""
    return jax.nn.initializers.orthogonal(gain, 0)


def trunc_normal(*, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Any:
    """jax.nn.initializers.truncated_normal, whose ends are given before they are scaled."""
    return jax.nn.initializers.truncated_normal(std, jnp.float32, a / std, b / std)


def uniform(*, b: float = 1.0) -> Any:
    """jax.nn.initializers.uniform."""
    return jax.nn.initializers.uniform(b)


def xavier_normal(*, gain: float = 1.0) -> Any:
    """jax.nn.initializers.variance_scaling."""
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "normal", 1, 0)


def xavier_uniform(*, gain: float = 1.0) -> Any:
    """jax.nn.initializers.variance_scaling."""
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform", 1, 0)


def zeros() -> Any:
    """jax.nn.initializers.zeros."""
    return jax.nn.initializers.zeros


def implementation(name: str, library: Library) -> Implementation | None:
    """Return JAX's implementation of an initialiser; None for what it lacks."""
    make = _MAKERS.get(name)
    if make is None:
        return None
    takes = Signature(frozenset(inspect.signature(make).parameters))
    text = f"{_HEAD}\n\n\n{inspect.getsource(drawn)}\n\n{inspect.getsource(make)}\n\nimplementation = drawn({name})"
    told = f"jax {jax.__version__} {name} on {library.name.partition(':')[2]}"
    return Implementation(told, drawn(make), None, library, takes, supports=_SUPPORTS.get(name, {}), origin=text)


_HEAD = """
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

Array = Any
Shape = tuple[int, ...]
""".strip()

_MAKERS: Mapping[str, Callable[..., Any]] = {
    make.__name__: make
    for make in (
        constant,
        kaiming_normal,
        kaiming_uniform,
        normal,
        ones,
        orthogonal,
        trunc_normal,
        uniform,
        xavier_normal,
        xavier_uniform,
        zeros,
    )
}

_OF_RELU = {"nonlinearity": ("leaky_relu", "relu"), "mode": ("fan_in", "fan_out")}
_SUPPORTS: Mapping[str, Mapping[str, Any]] = {
    "kaiming_normal": _OF_RELU,
    "kaiming_uniform": _OF_RELU,
    "normal": {"std": lambda std: std >= 0},
}
