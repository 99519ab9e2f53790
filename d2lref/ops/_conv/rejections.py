"""Which convolutions are refused, and in which words."""

from typing import Any

from d2lref.spec import Rejection, Shape


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be wrong. Not mandatory: what torch takes in another sense, or by a policy of its own."""
    five, three, name = (5,) * axes, (3,) * axes, f"conv{axes}d"
    x, w = (2, 4, *five), (6, 4, *three)

    def refused(says: str, message: str, *shapes: Shape | None, mandatory: bool = True, **options: Any) -> Rejection:
        return Rejection(says, shapes or (x, w), options, f"{name}: {message}", mandatory)

    rank = f"expected {axes + 2}: images, channels and {axes} of space"
    filters = f"expected {axes + 2}: filters, channels per group and {axes} of space"
    each = f"an integer >= {{}}, or a tuple of {axes}"
    ones, twos = (1,) * axes, (2,) * axes
    return (
        refused("x with too few axes", f"x {five} has {axes} axes, {rank}", five, w),
        refused("x with too many axes", f"x {(1, *x)} has {axes + 3} axes, {rank}", (1, *x), w),
        refused("x without its batch axis", f"x {x[1:]} has {axes + 1} axes, {rank}", x[1:], w, mandatory=False),
        refused("weight with too few axes", f"weight {w[1:]} has {axes + 1} axes, {filters}", x, w[1:]),
        refused(
            "a window without taps",
            f"weight {(*w[:-1], 0)} is empty, expected at least 1 along every axis",
            x,
            (*w[:-1], 0),
        ),
        refused(
            "more channels than the filters read",
            f"x {(2, 5, *five)} has 5 channels, but weight {w} with groups=1 reads 4; x with 4 channels would fit",
            (2, 5, *five),
            w,
        ),
        refused(
            "filters for all channels, with groups",
            f"x {x} has 4 channels, but weight {w} with groups=2 reads 8; x with 8 channels would fit",
            groups=2,
        ),
        refused(
            "groups that do not divide the filters",
            f"groups=4, expected an integer >= 1 that divides the 6 filters of weight {(6, 1, *three)}",
            x,
            (6, 1, *three),
            groups=4,
        ),
        refused("no group", f"groups=0, expected an integer >= 1 that divides the 6 filters of weight {w}", groups=0),
        refused(
            "a bias for each channel", f"bias (4,), expected (6,): one number for each filter of weight {w}", x, w, (4,)
        ),
        refused(
            "a bias with two axes",
            f"bias (6, 1), expected (6,): one number for each filter of weight {w}",
            x,
            w,
            (6, 1),
        ),
        refused("a stride of zero", f"stride=0, expected {each.format(1)}", stride=0),
        refused(
            "a stride for another number of axes",
            f"stride={(*ones, 1, 1)}, expected {each.format(1)}",
            stride=(*ones, 1, 1),
        ),
        refused("a stride that is no integer", f"stride=1.5, expected {each.format(1)}", stride=1.5),
        refused("a dilation of zero", f"dilation=0, expected {each.format(1)}", dilation=0),
        refused(
            "a dilation for another number of axes",
            f"dilation={(*ones, 1, 1)}, expected {each.format(1)}",
            dilation=(*ones, 1, 1),
        ),
        refused("a negative padding", f"padding=-1, expected 'valid', 'same', {each.format(0)}", padding=-1),
        refused(
            "a padding for another number of axes",
            f"padding={(*ones, 1, 1)}, expected 'valid', 'same', {each.format(0)}",
            padding=(*ones, 1, 1),
        ),
        refused(
            "a word that is no padding", f"padding='full', expected 'valid', 'same', {each.format(0)}", padding="full"
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
