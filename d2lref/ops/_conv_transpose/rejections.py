"""Which transposed convolutions are refused, and in which words."""

from typing import Any

from d2lref.spec import Rejection, Shape


def rejections(axes: int) -> tuple[Rejection, ...]:
    """Return every way to be wrong; not mandatory is what torch takes in another sense, or sometimes."""
    return (*_ranks(axes), *_counts(axes), *_options(axes), *_sizes(axes))


def _refused(
    axes: int, says: str, message: str, *shapes: Shape | None, mandatory: bool = True, **options: Any
) -> Rejection:
    """Return the refusal of these arrays; without any, of 2 images of 4 channels with 6 filters each, which fit."""
    fitting = ((2, 4, *(5,) * axes), (4, 6, *(3,) * axes))
    return Rejection(says, shapes or fitting, options, f"conv_transpose{axes}d: {message}", mandatory)


def _ranks(axes: int) -> tuple[Rejection, ...]:
    """Return what is wrong with the number of axes."""
    five, three = (5,) * axes, (3,) * axes
    x, w = (2, 4, *five), (4, 6, *three)
    images = f"expected {axes + 2}: images, channels and {axes} of space"
    filters = f"expected {axes + 2}: channels, filters per group and {axes} of space"
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
    x, w = (2, 4, *five), (4, 6, *three)
    wide, empty = (2, 6, *five), (2, 4, *five[1:], 0)
    divides = "expected an integer >= 1 that divides the 4 channels"
    each = f"one number for each filter of weight {w}"
    return (
        _refused(
            axes,
            "a weight with filters before channels",
            f"x {wide} has 6 channels, but weight {w} has filters for 4; x with 4 channels would fit",
            wide,
            w,
        ),
        _refused(axes, "groups that do not divide the channels", f"groups=3, {divides} of weight {w}", groups=3),
        _refused(axes, "no group", f"groups=0, {divides} of weight {w}", groups=0),
        _refused(axes, "a bias for each channel", f"bias (4,), expected (6,): {each} with groups=1", x, w, (4,)),
        _refused(
            axes, "a bias for one group", f"bias (6,), expected (12,): {each} with groups=2", x, w, (6,), groups=2
        ),
        _refused(axes, "a bias with two axes", f"bias (6, 1), expected (6,): {each} with groups=1", x, w, (6, 1)),
        _refused(
            axes, "no pixels", f"x {empty} has no pixels, expected at least 1 along every axis of space", empty, w
        ),
    )


def _options(axes: int) -> tuple[Rejection, ...]:
    """Return options that mean nothing."""
    many = (1,) * (axes + 2)
    natural, whole = f"an integer >= 1, or a tuple of {axes}", f"an integer >= 0, or a tuple of {axes}"
    return (
        _refused(axes, "a stride of zero", f"stride=0, expected {natural}", stride=0),
        _refused(axes, "a stride for other axes", f"stride={many}, expected {natural}", stride=many),
        _refused(axes, "a stride that is no integer", f"stride=1.5, expected {natural}", stride=1.5),
        _refused(axes, "a dilation of zero", f"dilation=0, expected {natural}", dilation=0),
        _refused(axes, "a dilation for other axes", f"dilation={many}, expected {natural}", dilation=many),
        _refused(axes, "a negative padding", f"padding=-1, expected {whole}", padding=-1),
        _refused(axes, "a padding for other axes", f"padding={many}, expected {whole}", padding=many),
        _refused(axes, "a word for padding", f"padding='same', expected {whole}", padding="same"),
        _refused(
            axes, "a negative output_padding", f"output_padding=-1, expected {whole}", output_padding=-1, stride=2
        ),
        _refused(
            axes,
            "an output_padding for other axes",
            f"output_padding={many}, expected {whole}",
            output_padding=many,
            stride=2,
        ),
    )


def _sizes(axes: int) -> tuple[Rejection, ...]:
    """Return windows without taps, places behind the answer that a stride would not leave, and too much cropping."""
    x, w, seven = (2, 4, *(5,) * axes), (4, 6, *(3,) * axes), (7,) * axes
    empty, fits, plain = (*w[:-1], 0), (3,) * axes, {"stride": 1, "output_padding": 0, "dilation": 1}

    def behind(says: str, more: int, stride: int, dilation: int) -> Rejection:
        told, s, d, most = ((n,) * axes for n in (more, stride, dilation, max(stride, dilation) - 1))
        message = (
            f"output_padding {told} with stride {s} and dilation {d}, expected less than the larger of the two along "
            f"each axis; at most {most} would fit"
        )
        return _refused(axes, says, message, output_padding=more, stride=stride, dilation=dilation)

    def cropped(says: str, pixels: int, padding: int, left: int, *, mandatory: bool) -> Rejection:
        """Return the refusal of an answer of 7 places, or of as many as there are pixels and 2 more."""
        whole = (pixels + 2,) * axes
        message = (
            f"padding {(padding,) * axes} crops an answer of {whole} to {(left,) * axes}, expected at least 1 along "
            f"each axis; at most {fits if whole == seven else (2,) * axes} would fit"
        )
        return _refused(
            axes, says, message, (2, 4, *(pixels,) * axes), w, mandatory=mandatory, padding=padding, **plain
        )

    return (
        _refused(
            axes, "a window without taps", f"weight {empty} is empty, expected at least 1 along every axis", x, empty
        ),
        behind("output_padding without a stride", 1, 1, 1),
        behind("output_padding of a whole stride", 2, 2, 1),
        behind("output_padding of stride and dilation", 3, 2, 3),
        cropped("padding that crops more than there is", 5, 4, -1, mandatory=True),
        cropped("padding that crops all there is", 4, 3, 0, mandatory=False),
    )
