"""Root-mean-square normalisation: plausible wrong implementations, each with the report that it models."""

from collections.abc import Callable
from typing import Any

import numpy as np

from d2lref.algorithms import moments
from d2lref.ops._norm import mistakes
from d2lref.ops._norm.rms import USUAL, definition, number, root_of, viewed, vjp, weighted
from d2lref.ops._norm.rms_laws import LAWS
from d2lref.ops._norm.view import View
from d2lref.spec import Array, Mistake, Shape

_ROW, _SQUARE, _AFFINE, _EPS, _ROW_GRADIENT, _ORTHOGONAL, _SCALE, _COTANGENT, _SUM = (law.says for law in LAWS)


def _wrong(change: Callable[[View, float], Array]) -> Callable[..., Array]:
    """Return the forward function that answers with change(view, eps), eps a number."""

    def forward(*arrays: Any, **options: Any) -> Array:
        arrays, options = mistakes.contiguous(arrays), {**USUAL, **options}
        return change(viewed(arrays, options), number(arrays[0], options["eps"]))

    return forward


def _divided(root: Callable[[Array, float, int], Array]) -> Callable[..., Array]:
    """Return the division by root(squares, eps, n), squares the sum of a row's."""

    def y(v: View, eps: float) -> Array:
        squares = np.sum(v.x * v.x, axis=v.axes, keepdims=True)
        return weighted(v.x / root(squares, eps, moments.count(v.x.shape, v.axes)), v.weight)

    return _wrong(y)


def _over_all_but_the_first(v: View, eps: float) -> Array:
    """Divide by the root mean square of all that has one place along the first axis."""
    axes = v.axes if v.x.ndim <= len(v.axes) + 1 or not v.x.size else tuple(range(1, v.x.ndim))
    return weighted(v.x / root_of(v._replace(axes=axes), eps), v.weight)


def _of_the_variance(v: View, eps: float) -> Array:
    """Divide by the root of the variance."""
    _, var = moments.two_pass(v.x, v.axes)
    return weighted(v.x / np.sqrt(var + eps), v.weight)


def _fixed_eps(*arrays: Any, normalized_shape: Shape, eps: float | None = 1e-5) -> Array:
    """The eps of other norms where none is given."""
    return definition(*arrays, normalized_shape=normalized_shape, eps=1e-5 if eps is None else eps)


def _other(
    dx: Callable[[Array, Array, Array, View], Array] | None = None,
    change: Callable[[tuple[Any, ...], Array, Array, View], tuple[Any, ...]] | None = None,
) -> Callable[..., tuple[Any, ...]]:
    """Return the vjp with another dx(gy, x̂, root, view), or with (dx, dw) changed."""

    def wrong(*arrays: Any, **options: Any) -> tuple[Any, ...]:
        (gy, *others), options = mistakes.contiguous(arrays), {**USUAL, **options}
        v = viewed(tuple(others), options)
        root = root_of(v, options["eps"])
        right = vjp(gy, *others, **options)
        if change is not None:
            return change(right, gy, root, v)
        return (right[0] if dx is None else dx(gy, v.x / root, root, v), right[1])

    return wrong


def _projected(g: Array, hat: Array, root: Array, v: View) -> Array:
    """(g - x̂ mean of (g x̂)) / root."""
    return (g - hat * np.mean(g * hat, axis=v.axes, keepdims=True)) / root


def _weight_twice(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx with the weight in the second term once more."""
    g = weighted(gy, v.weight)
    return (g - weighted(hat * np.mean(g * hat, axis=v.axes, keepdims=True), v.weight)) / root


def _unprojected(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx without its second term."""
    del hat
    return weighted(gy, v.weight) / root


def _next_row(gy: Array, hat: Array, root: Array, v: View) -> Array:
    """dx with the sum of the row before in the second term."""
    g = weighted(gy, v.weight)
    along = np.mean(g * hat, axis=v.axes, keepdims=True)
    return (g - hat * np.reshape(np.roll(np.ravel(along), 1), along.shape)) / root


def _squares_read(right: tuple[Any, ...], gy: Array, root: Array, v: View) -> tuple[Any, ...]:
    """Both gradients with the mean square read where 1 / root was stored."""
    square = root * root
    g, hat = weighted(gy, v.weight), v.x * square
    dw = None if right[1] is None else np.sum(gy * hat, axis=moments.constant(v.weight)).reshape(right[1].shape)
    return _projected(g, hat, 1.0 / square, v), dw


def _averaged_weight(right: tuple[Any, ...], gy: Array, root: Array, v: View) -> tuple[Any, ...]:
    """dw divided by the number of rows."""
    del gy, v
    return right[0], None if right[1] is None else right[1] / max(root.size, 1)


MISTAKES = (
    Mistake(
        "adds eps outside the root",
        "https://github.com/allenai/OLMo/issues/281",
        _divided(lambda squares, eps, n: np.sqrt(squares / n) + eps),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "divides by the reciprocal of the root",
        "https://github.com/mosaicml/llm-foundry/issues/371",
        _divided(lambda squares, eps, n: 1.0 / np.sqrt(squares / n + eps)),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "has an eps of its own",
        "https://github.com/apache/tvm/pull/15856",
        _divided(lambda squares, eps, n: np.sqrt(squares / n + 1e-6)),  # whatever eps is
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "divides by the root of the variance",
        "https://github.com/keras-team/keras/pull/22393",
        _wrong(_of_the_variance),
        caught_by=(_SQUARE,),
    ),
    Mistake(
        "takes the mean square of a whole sequence of rows",
        "https://github.com/bkitano/llama-from-scratch/issues/4",
        _wrong(_over_all_but_the_first),
        caught_by=(_ROW,),
    ),
    Mistake(
        "adds 1 to the weight",
        "https://github.com/utensils/mold/pull/1078",
        _wrong(lambda v, eps: weighted(v.x / root_of(v, eps), None if v.weight is None else v.weight + 1.0)),
        caught_by=(_AFFINE,),
    ),
    Mistake(
        "has an eps of 1e-5 where none is given",
        "https://github.com/tinygrad/tinygrad/pull/16122",
        _fixed_eps,
        caught_by=(_EPS,),
    ),
    Mistake(
        "broadcasts a row's sum along the other axis in the gradient",
        "https://github.com/BobMcDear/attorch/issues/17",
        vjp=_other(_next_row),
        caught_by=(_ROW_GRADIENT,),
    ),
    Mistake(
        "reads the mean square where the reciprocal of the root was stored in the gradients",
        "https://github.com/flagos-ai/FlagGems/pull/5771",
        vjp=_other(change=_squares_read),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "takes the mean square for a constant in the gradient",
        "Zhang and Sennrich 2019, section 4.2: the gradient goes through a matrix that is no multiple of the identity",
        vjp=_other(_unprojected),
        caught_by=(_ORTHOGONAL,),
    ),
    Mistake(
        "averages the gradient of x",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(
            change=lambda right, gy, root, v: (right[0] / moments.count(v.x.shape, v.axes), right[1]),
        ),
        caught_by=(_SCALE,),
    ),
    Mistake(
        "multiplies the second term of the gradient by the weight twice",
        "https://github.com/NVIDIA/Megatron-LM/pull/6859",
        vjp=_other(_weight_twice),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "forgets the weight in the gradient of x",
        "https://github.com/karpathy/llm.c/pull/763",
        vjp=_other(_projected),
        caught_by=(_COTANGENT,),
    ),
    Mistake(
        "averages the gradient of the weight over the rows",
        "https://github.com/davharris/mistnet/issues/33",
        vjp=_other(change=_averaged_weight),
        caught_by=(_SUM,),
    ),
)
