"""Group normalisation: what every implementation of it satisfies, and what it refuses."""

from typing import Any

import numpy as np

from d2lref.ops._norm import laws
from d2lref.rounding import claim, concat
from d2lref.spec import Array, Case, Claim, Law, Rejection, Shape

# 1 Laws


def _per_channel(a: Array, case: Case) -> Array:
    """Return (C,) as (C, 1, ...), to stand beside x."""
    return np.reshape(a, (-1, *(1,) * (case.arrays[0].ndim - 2)))


def _members(case: Case) -> int:
    """Return how many channels a group has."""
    return int(case.arrays[0].shape[1] // case.options["num_groups"])


ASKED = laws.Asked(
    row=lambda a, case: a[0, : _members(case)],
    shape=lambda case, n: (1, 1, n),
    options=lambda case, n: {"num_groups": 1, "eps": case.options["eps"]},
    weights=lambda case, n: (1,),
    beside=_per_channel,
    over=lambda case: (0, *range(2, case.arrays[0].ndim)),
)


def _group_alone(f: Any, case: Case) -> Claim:
    """f(x)[:, group] = f(x[:, group], num_groups=1)."""
    x, *affine = case.arrays
    pick, k = case.seed % case.options["num_groups"], _members(case)
    here = slice(pick * k, (pick + 1) * k)
    alone = f(x[:, here], *(None if a is None else a[here] for a in affine), **{**case.options, "num_groups": 1})
    return claim(f(x, *affine, **case.options)[:, here], alone)


def _one_axis(f: Any, case: Case) -> Claim:
    """f(x) is f of one channel for each group, with all the group's values for pixels."""
    x = case.arrays[0]
    flat = np.reshape(x, (len(x), case.options["num_groups"], -1))
    y = f(x, **case.options).map(lambda a: np.reshape(a, flat.shape))
    return claim(y, f(flat, **case.options))


def _group_gradients(f: Any, case: Case) -> Claim:
    """dx[:, group] and dw[group] are those of the group alone."""
    x, weight, _ = case.arrays
    gy = case.cotangents[0]
    pick, k = case.seed % case.options["num_groups"], _members(case)
    here = slice(pick * k, (pick + 1) * k)
    one = {**case.options, "num_groups": 1}
    dx, dw, _ = f.vjp(gy, x, weight, **case.options)
    alone = f.vjp(gy[:, here], x[:, here], None if weight is None else weight[here], **one)
    every = [dx[:, here], *([] if dw is None else [dw[here]])]
    sides = (concat([a.map(np.ravel) for a in side if a is not None], 0) for side in (every, alone))
    return claim(*sides)


def _image_twice(f: Any, case: Case) -> Claim:
    """dw of an image twice over is twice that of the image."""
    weight = case.arrays[1]
    x, gy = case.arrays[0][:1], case.cotangents[0][:1]
    twice = f.vjp(np.concatenate([gy, gy]), np.concatenate([x, x]), weight, **case.options)[1]
    return claim(twice, 2.0 * f.vjp(gy, x, weight, **case.options)[1])


def _grouped(case: Case) -> bool:
    return laws.filled(case) and case.options["num_groups"] > 1


LAWS = (
    Law("a group does not see the others", _group_alone, _grouped),
    Law(
        "the channels and the pixels of a group are alike",
        _one_axis,
        lambda case: laws.filled(case) and (_members(case) > 1 or case.arrays[0].ndim > 3),
    ),
    Law("the gradients of a group do not see the others", _group_gradients, _grouped, vjp=True),
    Law(
        "an image twice over gives the gradient of the weight twice",
        _image_twice,
        laws.having(ASKED, 0, laws.filled),
        vjp=True,
    ),
    *laws.own_laws(ASKED, "a group"),
)

# 2 Rejections


def _refused(
    says: str, told: str, x: Shape = (2, 4, 3), *affine: Shape | None, mandatory: bool = True, **options: Any
) -> Rejection:
    """Return the refusal of shapes and options, two groups where nothing else is said."""
    return Rejection(
        says, (x, *(affine or (None, None))), {"num_groups": 2, **options}, f"group_norm: {told}", mandatory
    )


REJECTIONS = (
    _refused("no axis of channels", "x (4,) has 1 axes, expected at least 2: images, channels", (4,)),
    _refused("groups that do not divide", "num_groups=3 does not divide the 4 channels of x (2, 4, 3)", num_groups=3),
    _refused("more groups than channels", "num_groups=8 does not divide the 4 channels of x (2, 4, 3)", num_groups=8),
    _refused("a negative number of groups", "num_groups=-2, expected an integer >= 1", num_groups=-2),
    _refused("no group", "num_groups=0, expected an integer >= 1", num_groups=0, mandatory=False),
    _refused(
        "a weight for each group",
        "weight (2,), expected (4,): one number for each channel of x (2, 4, 3)",
        (2, 4, 3),
        (2,),
        None,
    ),
    _refused(
        "one bias for all channels",
        "bias (1,), expected (4,): one number for each channel of x (2, 4, 3)",
        (2, 4, 3),
        None,
        (1,),
    ),
    _refused(  # torch answers with an empty array
        "a group without a value",
        "x (2, 4, 0) has 0 values in a group, expected at least 1",
        (2, 4, 0),
        mandatory=False,
    ),
    _refused("a negative eps", "eps=-1.0, expected a number >= 0", eps=-1.0, mandatory=False),
)
