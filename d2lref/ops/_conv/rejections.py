"""Which convolutions are refused, and in which words."""

from typing import Any

from d2lref.spec import Rejection, Shape


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be wrong; not mandatory is what torch takes in another sense, or by a policy of its own."""
    return (*_ranks(axes), *_counts(axes), *_options(axes), *_windows(axes))


def _refused(
    axes: int, says: str, message: str, *shapes: Shape | None, mandatory: bool = True, **options: Any
) -> Rejection:
    """Return the refusal of these arrays; without any, of 2 images of 4 channels and 6 filters that fit."""
    fitting = ((2, 4, *(5,) * axes), (6, 4, *(3,) * axes))
    return Rejection(says, shapes or fitting, options, f"conv{axes}d: {message}", mandatory)


def _ranks(axes: int) -> tuple[Rejection, ...]:
    """Return what is wrong with the number of axes."""
    five, three = (5,) * axes, (3,) * axes
    x, w = (2, 4, *five), (6, 4, *three)
    images = f"expected {axes + 2}: images, channels and {axes} of space"
    filters = f"expected {axes + 2}: filters, channels per group and {axes} of space"
    return (
        _refused(axes, "x with too few axes", f"x {five} has {axes} axes, {images}", five, w),
        _refused(axes, "x with too many axes", f"x {(1, *x)} has {axes + 3} axes, {images}", (1, *x), w),
        _refused(
            axes, "x without its batch axis", f"x {x[1:]} has {axes + 1} axes, {images}", x[1:], w, mandatory=False
        ),
        _refused(axes, "weight with too few axes", f"weight {w[1:]} has {axes + 1} axes, {filters}", x, w[1:]),
    )


def _counts(axes: int) -> tuple[Rejection, ...]:
    """Return channels, filters, groups and biases that do not go together."""
    five, three = (5,) * axes, (3,) * axes
    x, w = (2, 4, *five), (6, 4, *three)
    wide, thin = (2, 5, *five), (6, 1, *three)
    divides, each = "expected an integer >= 1 that divides the 6 filters", "one number for each filter"
    return (
        _refused(
            axes,
            "more channels than the filters read",
            f"x {wide} has 5 channels, but weight {w} with groups=1 reads 4; x with 4 channels would fit",
            wide,
            w,
        ),
        _refused(
            axes,
            "filters for all channels, with groups",
            f"x {x} has 4 channels, but weight {w} with groups=2 reads 8; x with 8 channels would fit",
            groups=2,
        ),
        _refused(
            axes, "groups that do not divide the filters", f"groups=4, {divides} of weight {thin}", x, thin, groups=4
        ),
        _refused(axes, "no group", f"groups=0, {divides} of weight {w}", groups=0),
        _refused(axes, "a bias for each channel", f"bias (4,), expected (6,): {each} of weight {w}", x, w, (4,)),
        _refused(axes, "a bias with two axes", f"bias (6, 1), expected (6,): {each} of weight {w}", x, w, (6, 1)),
    )


def _options(axes: int) -> tuple[Rejection, ...]:
    """Return options that mean nothing."""
    many, natural, whole = (
        (1,) * (axes + 2),
        f"an integer >= 1, or a tuple of {axes}",
        f"an integer >= 0, or a tuple of {axes}",
    )
    return (
        _refused(axes, "a stride of zero", f"stride=0, expected {natural}", stride=0),
        _refused(axes, "a stride for other axes", f"stride={many}, expected {natural}", stride=many),
        _refused(axes, "a stride that is no integer", f"stride=1.5, expected {natural}", stride=1.5),
        _refused(axes, "a dilation of zero", f"dilation=0, expected {natural}", dilation=0),
        _refused(axes, "a dilation for other axes", f"dilation={many}, expected {natural}", dilation=many),
        _refused(axes, "a negative padding", f"padding=-1, expected 'valid', 'same', {whole}", padding=-1),
        _refused(axes, "a padding for other axes", f"padding={many}, expected 'valid', 'same', {whole}", padding=many),
        _refused(
            axes, "a word that is no padding", f"padding='full', expected 'valid', 'same', {whole}", padding="full"
        ),
    )


def _windows(axes: int) -> tuple[Rejection, ...]:
    """Return windows that do not fit."""
    x, w, twos = (2, 4, *(5,) * axes), (6, 4, *(3,) * axes), (2,) * axes
    empty = (*w[:-1], 0)
    return (
        _refused(
            axes, "a window without taps", f"weight {empty} is empty, expected at least 1 along every axis", x, empty
        ),
        _refused(
            axes,
            "a window beyond the padded image",
            f"the window {w[2:]} with dilation {(4,) * axes} spans {(9,) * axes}, but x {x} with its padding has "
            f"{(7,) * axes}; padding={twos} would fit",
            dilation=4,
            padding=1,
        ),
        _refused(
            axes,
            "same padding with a stride",
            f"padding='same' with stride {twos}, expected stride 1: a stride changes the size",
            stride=2,
            padding="same",
            mandatory=False,
        ),
    )
