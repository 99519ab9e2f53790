"""Plausible wrong ways to normalise, made from the right steps; layer, group and instance normalisation share them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from d2lref.algorithms import moments
from d2lref.ops._norm.view import View, normalise, padded
from d2lref.spec import Array

Root = Callable[[Array, float, int], Array]
Affine = Callable[[Array, Array, Array], Array]

# 1 The answer


def _affine(hat: Array, w: Array, b: Array) -> Array:
    return hat * w + b


ROOTS: Mapping[str, Root] = {
    "right": lambda v, eps, n: np.sqrt(v + eps),
    "unbiased": lambda v, eps, n: np.sqrt(v * (n / max(n - 1, 1)) + eps),
    "outside": lambda v, eps, n: np.sqrt(v) + eps,
    "squared": lambda v, eps, n: (v + eps) * (v + eps),
}
"""What divides x - m, for the variance v of n values."""


def planted(
    *, of: moments.Moments = moments.two_pass, root: str = "right", affine: Affine = _affine
) -> Callable[[View, float], Array]:
    """Return y of a view with a step replaced; each keyword is a step, right by default."""

    def y(v: View, eps: float) -> Array:
        mean, var = of(v.x, v.axes)
        hat = (v.x - mean) / ROOTS[root](var, eps, moments.count(v.x.shape, v.axes))
        w = np.ones_like(mean) if v.weight is None else v.weight
        return affine(hat, w, np.zeros_like(mean) if v.bias is None else v.bias)

    return y


def bias_first(hat: Array, w: Array, b: Array) -> Array:
    """The bias added before the weight multiplies."""
    return (hat + b) * w


# 2 The gradients


class Seen(NamedTuple):
    """What a wrong gradient is made from: the cotangent, the view and eps."""

    gy: Array
    v: View
    eps: float

    @property
    def root(self) -> Array:
        """Root of the variance and eps."""
        return np.sqrt(moments.two_pass(self.v.x, self.v.axes)[1] + self.eps)

    @property
    def hat(self) -> Array:
        """What is normalised."""
        return normalise(self.v._replace(weight=None, bias=None), self.eps)

    @property
    def sent(self) -> Array:
        """Cotangent of x̂: w gy."""
        return self.gy if self.v.weight is None else self.gy * self.v.weight

    def mean(self, a: Array) -> Array:
        """Mean over the values that share a statistic."""
        return np.mean(a, axis=self.v.axes, keepdims=True)


def constant_mean(seen: Seen) -> Array:
    """dx without the mean of the cotangent."""
    return (seen.sent - seen.hat * seen.mean(seen.sent * seen.hat)) / seen.root


def constant_variance(seen: Seen) -> Array:
    """dx without the term of the variance."""
    return (seen.sent - seen.mean(seen.sent)) / seen.root


def mean_twice(seen: Seen) -> Array:
    """dx with the mean of the cotangent taken away twice."""
    g, hat = seen.sent, seen.hat
    return (g - 2.0 * seen.mean(g) - hat * seen.mean(g * hat)) / seen.root


def weightless(seen: Seen) -> Array:
    """dx without the weight."""
    g, hat = seen.gy, seen.hat
    return (g - seen.mean(g) - hat * seen.mean(g * hat)) / seen.root


# 3 What they are made into

Views = Callable[[tuple[Any, ...], dict[str, Any]], View]


def contiguous(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arrays in C order: what rounds by the order of memory is not the mistake that is meant."""
    return tuple(None if a is None else np.ascontiguousarray(a) for a in arrays)


def answers(view: Views, usual: dict[str, Any], y: Callable[[View, float], Array]) -> Callable[..., Array]:
    """Return the forward function whose answer is y of the view."""

    def forward(*given: Any, **options: Any) -> Array:
        arrays, options = contiguous(given), {**usual, **options}
        return np.reshape(y(view(arrays, options), options["eps"]), arrays[0].shape)

    return forward


def changed(
    view: Views,
    usual: dict[str, Any],
    vjp: Callable[..., tuple[Any, ...]],
    change: Callable[[Seen, tuple[Any, ...]], tuple[Any, ...]],
) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with its gradients changed: change(seen, (dx, dw, db)) -> the three."""

    def wrong(*given: Any, **options: Any) -> tuple[Any, ...]:
        (gy, *arrays), options = contiguous(given), {**usual, **options}
        v = view(tuple(arrays), options)
        right = vjp(gy, *padded(arrays, 3), **options)
        return change(Seen(v.beside(gy), v, options["eps"]), right)

    return wrong


def of_x(wrong: Callable[[Seen], Array]) -> Callable[[Seen, tuple[Any, ...]], tuple[Any, ...]]:
    """Return the change that puts another gradient in the place of dx."""
    return lambda seen, right: (np.reshape(wrong(seen), right[0].shape), *right[1:])


def averaged(seen: Seen, right: tuple[Any, ...]) -> tuple[Any, ...]:
    """dx divided by the number of values that share a statistic."""
    return (right[0] / moments.count(seen.v.x.shape, seen.v.axes), *right[1:])
