"""Correlation and convolution of two arrays, without channels: the corr2d of the book, and convolution proper."""

from functools import partial
from types import ModuleType

from d2lref.ops._correlate import convolve, convolve_mistakes, corr, corr_mistakes, wrong
from d2lref.spec import Mistake, Op, Operand, Variant


def _variants(room: ModuleType, axes: int) -> dict[str, Variant]:
    return {name: Variant(partial(room.faster, way, axes), algorithm) for name, (way, algorithm) in room.WAYS.items()}


def _mistakes(room: ModuleType, mistakes: tuple[Mistake, ...], axes: int) -> tuple[Mistake, ...]:
    return tuple(wrong.refusing(partial(room.shape, axes), m) for m in mistakes)


def _corr(axes: int) -> Op:
    return Op(
        name=f"corr{axes}d",
        operands=(Operand("x", linear=True), Operand("kernel", linear=True)),
        options={},
        shape=partial(corr.shape, axes),
        definition=partial(corr.definition, axes),
        variants=_variants(corr, axes),
        vjp=partial(corr.vjp, axes),
        bound=corr.bound,
        vjp_bound=corr.vjp_bound,
        spread=corr.spread,
        cases=partial(corr.cases, axes),
        gallery=corr.gallery(axes),
        regimes=corr.REGIMES,
        laws=corr.LAWS,
        rejections=corr.rejections(axes),
        mistakes=_mistakes(corr, corr_mistakes.mistakes(axes), axes),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.2",
    )


def _convolve(axes: int) -> Op:
    return Op(
        name=f"convolve{axes}d",
        operands=(Operand("x", linear=True), Operand("kernel", linear=True)),
        options={"mode": "full"},
        shape=partial(convolve.shape, axes),
        definition=partial(convolve.definition, axes),
        variants=_variants(convolve, axes),
        vjp=partial(convolve.vjp, axes),
        bound=convolve.bound,
        vjp_bound=convolve.vjp_bound,
        spread=convolve.spread,
        cases=partial(convolve.cases, axes),
        gallery=convolve.gallery(axes),
        regimes=corr.REGIMES,
        laws=convolve.LAWS,
        rejections=convolve.rejections(axes),
        mistakes=_mistakes(convolve, convolve_mistakes.mistakes(axes), axes),
        source="Zhang, Lipton, Li and Smola, Dive into Deep Learning, section 7.1.3; modes of scipy.signal.convolve",
    )


corr1d, corr2d, corr3d = _corr(1), _corr(2), _corr(3)
convolve1d, convolve2d, convolve3d = _convolve(1), _convolve(2), _convolve(3)
