"""Correlation and convolution of two arrays, without channels: the corr2d of the book, and convolution proper."""

from functools import partial
from types import ModuleType

from d2lref.ops._correlate import convolve, convolve_mistakes, corr, corr_mistakes, wrong
from d2lref.spec import SUMS, Mistake, Op, Operand, Variant


def _variants(room: ModuleType, axes: int) -> dict[str, Variant]:
    return {name: Variant(partial(room.faster, way, axes), algorithm) for name, (way, algorithm) in room.WAYS.items()}


def _mistakes(room: ModuleType, mistakes: tuple[Mistake, ...], axes: int) -> tuple[Mistake, ...]:
    return tuple(wrong.refusing(partial(room.shape, axes), m) for m in mistakes)


def _op(name: str, room: ModuleType, wrong_ways: ModuleType, axes: int, source: str, **options: str) -> Op:
    """Return one of the two operations over so many axes; they are told in chapters of the same form."""
    return Op(
        name=f"{name}{axes}d",
        operands=(Operand("x", linear=True), Operand("kernel", linear=True)),
        options=options,
        shape=partial(room.shape, axes),
        definition=partial(room.definition, axes),
        variants=_variants(room, axes),
        vjp=partial(room.vjp, axes),
        bound=room.bound,
        vjp_bound=room.vjp_bound,
        spread=room.spread,
        cases=partial(room.cases, axes),
        gallery=room.gallery(axes),
        regimes=SUMS,
        laws=room.LAWS,
        rejections=room.rejections(axes),
        mistakes=_mistakes(room, wrong_ways.mistakes(axes), axes),
        source=f"Zhang, Lipton, Li and Smola, Dive into Deep Learning, {source}",
    )


def _corr(axes: int) -> Op:
    return _op("corr", corr, corr_mistakes, axes, "section 7.2")


def _convolve(axes: int) -> Op:
    return _op(
        "convolve", convolve, convolve_mistakes, axes, "section 7.1.3; modes of scipy.signal.convolve", mode="full"
    )


corr1d, corr2d, corr3d = _corr(1), _corr(2), _corr(3)
convolve1d, convolve2d, convolve3d = _convolve(1), _convolve(2), _convolve(3)
