"""relu6, leaky_relu, hardsigmoid and hardswish: definitions, other ways, derivatives.

At the end of a part the derivative jumps, and any number between both sides is a subgradient (Rockafellar 1970, Convex
Analysis, section 23).
"""

from d2lref.arrays import namespace
from d2lref.spec import Array

# 1 Definitions


def relu6(x: Array) -> Array:
    """y = 0 where x < 0, 6 where x > 6, x between.

    x and y of any one shape and dtype; NaN where x is NaN. Source: Krizhevsky 2010, Convolutional deep belief networks
    on CIFAR-10, section 2.
    """
    xp = namespace(x)
    return xp.where(x < 0, xp.zeros_like(x), xp.where(x > 6, xp.full_like(x, 6.0), x))


def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """y = x where x > 0, negative_slope x where x <= 0.

    x and y of any one shape and dtype; NaN where x is NaN, and where it is -inf times a slope of 0. Source: Maas,
    Hannun and Ng 2013, Rectifier nonlinearities improve neural network acoustic models, section 2.2.
    """
    return namespace(x).where(x > 0, x, x * negative_slope)


def hardsigmoid(x: Array) -> Array:
    """y = 0 where x <= -3, 1 where x >= 3, (x + 3) / 6 between.

    x and y of any one shape and dtype; NaN where x is NaN. Source: Howard et al. 2019, Searching for MobileNetV3,
    section 5.2.
    """
    xp = namespace(x)
    inside = xp.where((x <= -3) | (x >= 3), xp.zeros_like(x), x)
    return xp.where(x <= -3, xp.zeros_like(x), xp.where(x >= 3, xp.ones_like(x), (inside + 3.0) / 6.0))


def hardswish(x: Array) -> Array:
    """y = 0 where x <= -3, x where x >= 3, x (x + 3) / 6 between.

    x and y of any one shape and dtype; NaN where x is NaN. At -inf the product inf 0 is NaN and the limit 0: either may
    come. Source: Howard et al. 2019, Searching for MobileNetV3, section 5.2.
    """
    xp = namespace(x)
    inside = xp.where((x <= -3) | (x >= 3), xp.zeros_like(x), x)
    return xp.where(x <= -3, xp.zeros_like(x), xp.where(x >= 3, x, inside * (inside + 3.0) / 6.0))


# 2 Other ways


def _clipped(x: Array, high: float) -> Array:
    """min(max(x, 0), high)."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, xp.zeros_like(x)), xp.full_like(x, high))


def by_clipping(x: Array) -> Array:
    """y = min(max(x, 0), 6)."""
    return _clipped(x, 6.0)


def sum_of_parts(x: Array, *, negative_slope: float = 0.01) -> Array:
    """y = max(x, 0) + negative_slope min(x, 0)."""
    xp = namespace(x)
    zero = xp.zeros_like(x)
    return xp.maximum(x, zero) + xp.minimum(x, zero) * negative_slope


def clipped_line(x: Array) -> Array:
    """y = min(max(x / 6 + 1/2, 0), 1)."""
    return _clipped(x / 6.0 + 0.5, 1.0)


def gated(x: Array) -> Array:
    """y = x min(max(x + 3, 0), 6) / 6."""
    return x * _clipped(x + 3.0, 6.0) / 6.0


# 3 Derivatives


def relu6_vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy where 0 < x < 6, else 0, as torch has it."""
    xp = namespace(gy, x)
    return (xp.where((x > 0) & (x < 6), gy, xp.zeros_like(gy)),)


def leaky_relu_vjp(gy: Array, x: Array, *, negative_slope: float = 0.01) -> tuple[Array]:
    """dx = gy where x > 0, negative_slope gy where x <= 0, as torch has it."""
    return (namespace(gy, x).where(x > 0, gy, gy * negative_slope),)


def hardsigmoid_vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = gy / 6 where -3 < x < 3, else 0, as torch has it."""
    xp = namespace(gy, x)
    return (xp.where((x > -3) & (x < 3), gy / 6.0, xp.zeros_like(gy)),)


def hardswish_vjp(gy: Array, x: Array) -> tuple[Array]:
    """dx = 0 where x <= -3, gy where x >= 3, gy (x / 3 + 1/2) between, as torch has it."""
    xp = namespace(gy, x)
    inside = xp.where((x <= -3) | (x >= 3), xp.zeros_like(x), x)
    return (xp.where(x <= -3, xp.zeros_like(gy), xp.where(x >= 3, gy, gy * (inside / 3.0 + 0.5))),)
