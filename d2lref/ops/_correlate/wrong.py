"""How the mistakes of corr and convolve are built: the right sums between changed arrays, in float64, stored once.

A change is a linear map of the values that is its own adjoint, so that the gradients of the changed operation are
found with it too: a mistake made twice in the same way, which the adjoint law cannot see.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from d2lref.spec import Array, Mistake

Change = Callable[[Array, Array], Array]  # change(values, array): it may depend on the array the values belong to
Run = Callable[..., Array]  # run(x, kernel, **options)
Back = Callable[..., tuple[Array, Array]]  # back(gy, x, kernel, **options)


def wide(*arrays: Array) -> list[Array]:
    """Return the arrays in float64."""
    return [np.asarray(a, np.float64) for a in arrays]


def stored(y: Array, like: Array) -> Array:
    """Return a copy in the dtype of an array."""
    with np.errstate(over="ignore"):
        return np.array(y, dtype=like.dtype)


def forward(run: Run) -> Run:
    """Return run in float64, with the answer in the dtype of x."""
    return lambda x, kernel, **options: stored(run(*wide(x, kernel), **options), x)


def backward(back: Back) -> Back:
    """Return back in float64, with the gradients in the dtypes of x and kernel."""

    def gradients(gy: Array, x: Array, kernel: Array, **options: str) -> tuple[Array, Array]:
        gx, gk = back(*wide(gy, x, kernel), **options)
        return stored(gx, x), stored(gk, kernel)

    return gradients


def as_it_is(values: Array, _array: Array) -> Array:
    """Return the values."""
    return values


def twisted(run: Run, back: Back, first: Change = as_it_is, second: Change = as_it_is) -> tuple[Run, Back]:
    """Return run(first(x), second(kernel)) and its gradients, for a run with its gradients `back`."""

    def gradients(gy: Array, x: Array, kernel: Array, **options: str) -> tuple[Array, Array]:
        gx, gk = back(gy, first(x, x), second(kernel, kernel), **options)
        return first(gx, x), second(gk, kernel)

    return forward(lambda x, k, **options: run(first(x, x), second(k, k), **options)), backward(gradients)


def unsigned(values: Array, array: Array) -> Array:
    """Return zero where the array is negative."""
    return np.where(array < 0, 0.0, values)


def nonzero(values: Array, array: Array) -> Array:
    """Return zero where the array is zero."""
    return np.where(array == 0, 0.0, values)


def flipped(values: Array, _array: Array) -> Array:
    """Return the values with every axis flipped."""
    return np.flip(values)


def flipped_last(values: Array, _array: Array) -> Array:
    """Return the values with the last axis flipped."""
    return np.flip(values, -1)


def transposed(values: Array, _array: Array) -> Array:
    """Return the values with the last two axes exchanged, where these are equally long."""
    return np.swapaxes(values, -1, -2) if values.shape[-1] == values.shape[-2] else values


def blocks_of_two(values: Array, _array: Array) -> Array:
    """Return zero for the last entry of the last axis when the others pair up; a single entry is left alone."""
    size = values.shape[-1]
    return np.where(np.arange(size) < size - (size > 1 and size % 2), values, 0.0)


def refusing(shape: Callable[..., object], mistake: Mistake) -> Mistake:
    """Return the mistake refusing bad input as the right function does: it is not about that."""
    run = mistake.forward
    if run is None:
        return mistake

    def forward(x: Array, kernel: Array, **options: str) -> Array:
        shape(x.shape, kernel.shape, **options)
        return run(x, kernel, **options)

    return replace(mistake, forward=forward)
