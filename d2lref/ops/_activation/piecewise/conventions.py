"""relu6, leaky_relu, hardsigmoid and hardswish: what other frameworks mean by them."""

import numpy as np

from d2lref.algorithms.moment_bounds import constant
from d2lref.arrays import namespace
from d2lref.ops._activation.piecewise import bounds, laws
from d2lref.rounding import Pair, Running
from d2lref.spec import Array, Convention

END = 2.5  # where x / 5 + 1/2 is 1
KERAS = "https://www.tensorflow.org/api_docs/python/tf/keras/ops/leaky_relu"

LEAKY = (
    Convention(
        name="tensorflow",
        says="the slope is 0.2",
        source="https://www.tensorflow.org/versions/r1.15/api_docs/python/tf/nn/leaky_relu",
        defaults={"negative_slope": 0.2},
    ),
    Convention(name="keras", says="the slope is 0.2", source=KERAS, defaults={"negative_slope": 0.2}),
)


def steeper(x: Array) -> Array:
    """y = 0 where x <= -2.5, 1 where x >= 2.5, x / 5 + 1/2 between."""
    xp = namespace(x)
    inside = xp.where((x <= -END) | (x >= END), xp.zeros_like(x), x)
    return xp.where(x <= -END, xp.zeros_like(x), xp.where(x >= END, xp.ones_like(x), inside / 5.0 + 0.5))


def steeper_vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy / 5 where -2.5 < x < 2.5, else 0."""
    xp = namespace(gy, x)
    return (xp.where((x > -END) & (x < END), gy / 5.0, xp.zeros_like(gy)),)


def _gate(run: Running, x: Pair) -> Pair:
    """Return x / 5 + 1/2, by a product with 0.2 or a quotient, within 0 and 1."""
    near = Pair(np.clip(x.value, -6.0, 6.0), x.error)
    return bounds.between(0.0, 1.0, run.add(run.mul(near, constant(run.p, 0.2)), 0.5))


def _slope(run: Running, x: Pair) -> Pair:
    fifth = constant(run.p, 0.2)
    inside = np.abs(x.value) < END
    slope = Pair(np.where(inside, fifth.value, 0.0), np.where(inside, fifth.error, 0.0))
    return bounds.chosen(slope, bounds.jumps(run, x, {-END: 1 / 5, END: 1 / 5}))


HARDSIGMOID = (
    Convention(
        name="onnx",
        says="the slope is 0.2, not 1/6",
        source="https://onnx.ai/onnx/operators/onnx__HardSigmoid.html",
        definition=steeper,
        vjp=steeper_vjp,
        bound=bounds.bound_of(_gate, bounds.limited),
        vjp_bound=bounds.vjp_bound_of(_slope),
        without=tuple(law.says for law in laws.HARDSIGMOID_LAWS if "3" in law.says),
    ),
)
