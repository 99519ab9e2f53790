"""Which separable convolutions are refused, and in which words."""

from typing import Any

from d2lref.spec import Rejection, Shape


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be wrong; not mandatory is what torch takes in another sense, or by a policy of its own."""
    five, three, ones, twos = (5,) * axes, (3,) * axes, (1,) * axes, (2,) * axes
    x, d, p = (2, 4, *five), (8, 1, *three), (3, 8, *ones)
    many, point = (1,) * (axes + 2), ", ".join("1" * axes)

    def refused(says: str, message: str, *shapes: Shape | None, mandatory: bool = True, **options: Any) -> Rejection:
        return Rejection(says, shapes or (x, d, p), options, f"separable_conv{axes}d: {message}", mandatory)

    def rank(label: str, found: Shape, names: str) -> str:
        return f"{label} {found} has {len(found)} axes, expected {axes + 2}: {names} and {axes} of space"

    multiple = f"expected (a multiple of 4, 1, ...): filters that read one channel each of x {x}"
    each = f"expected (answers, 8, {point}): one number for each filter of depthwise_weight {d}"
    return (
        refused("x with too few axes", rank("x", five, "images, channels"), five, d, p),
        refused("filters with too few axes", rank("depthwise_weight", d[1:], "filters, 1"), x, d[1:], p),
        refused(
            "a matrix for the pointwise weight", rank("pointwise_weight", (3, 8), "answers, filters"), x, d, (3, 8)
        ),
        refused(
            "a window without taps",
            f"depthwise_weight {(*d[:-1], 0)} is empty, expected at least 1 along every axis",
            x,
            (*d[:-1], 0),
            p,
        ),
        refused("filters over all channels", f"depthwise_weight {(8, 4, *three)}, {multiple}", x, (8, 4, *three), p),
        refused("filters for other channels", f"depthwise_weight {(6, 1, *three)}, {multiple}", x, (6, 1, *three), p),
        refused("a pointwise weight of the channels", f"pointwise_weight {(3, 4, *ones)}, {each}", x, d, (3, 4, *ones)),
        refused(
            "a pointwise weight with a window",  # two convolutions in a row take it
            f"pointwise_weight {(3, 8, *twos)}, {each}",
            x,
            d,
            (3, 8, *twos),
            mandatory=False,
        ),
        refused(
            "a bias for each filter",
            f"bias (8,), expected (3,): one number for each answer of pointwise_weight {p}",
            x,
            d,
            p,
            (8,),
        ),
        refused("a stride of zero", f"stride=0, expected an integer >= 1, or a tuple of {axes}", stride=0),
        refused(
            "a dilation for other axes",
            f"dilation={many}, expected an integer >= 1, or a tuple of {axes}",
            dilation=many,
        ),
        refused(
            "a negative padding",
            f"padding=-1, expected 'valid', 'same', an integer >= 0, or a tuple of {axes}",
            padding=-1,
        ),
        refused(
            "a window beyond the padded image",
            f"the window {three} with dilation {(4,) * axes} spans {(9,) * axes}, but x {x} with its padding has "
            f"{(7,) * axes}; padding={twos} would fit",
            dilation=4,
            padding=1,
        ),
        refused(
            "same padding with a stride",
            f"padding='same' with stride {twos}, expected stride 1: a stride changes the size",
            stride=2,
            padding="same",
            mandatory=False,
        ),
    )
