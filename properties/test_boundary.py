"""The boundary between the judge and a stranger: whatever a stranger's code does is judged, and no more than it claims.

Every test here is a hole that somebody found by trying to break the judge.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.catalogue import subjects
from d2lref.oracle import Implementation, Report
from d2lref.oracle.judge import Status

OPS = subjects()
Function = Callable[..., Any]
LINEAR, CONV, MAX, AVG, NORM = (OPS[name] for name in ("linear", "conv2d", "max_pool2d", "avg_pool2d", "batch_norm"))
linear, conv, max_pool, avg_pool, batch_norm = (op.definition for op in (LINEAR, CONV, MAX, AVG, NORM))


def check(name: str, f: Any, **options: Any) -> Report:
    return d2lref.check(name, f, **{"cases": 200, **options})


def failed(report: Report) -> set[str]:
    return {v.law for v in report.verdicts if v.failed}


def executed(report: Report) -> set[str]:
    return {v.law for v in report.verdicts if v.executed}


# Code that breaks


class Panic(BaseException):
    """What PyO3 raises for a panic in Rust: no Exception."""


class Mute(Exception):
    """An exception that raises when it is asked for its text."""

    def __str__(self) -> str:
        """Raise."""
        raise Panic


def answering(broken: type[BaseException]) -> Any:
    """Return an answer that raises where it is to become an array."""

    class Answer:
        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise broken

    return Answer()


def raising(error: type[BaseException]) -> Function:
    """Return a function that raises whatever it is handed."""

    def breaks(*_: Any, **__: Any) -> Any:
        raise error

    return breaks


class NoType(np.ndarray[Any, Any]):
    """An array that raises when it is asked for its dtype."""

    @property
    def dtype(self) -> Any:
        """Raise."""
        raise Panic


class Tuple(tuple[Any, ...]):
    """A tuple that cannot be taken apart."""

    __slots__ = ()

    def __iter__(self) -> Any:
        """Raise."""
        raise Panic


@pytest.mark.parametrize("broken", [SystemExit, GeneratorExit, Panic, Mute, RuntimeError])
def test_whatever_an_answer_raises_is_a_failure(broken: type[BaseException]) -> None:
    report = check("linear", lambda x, weight, bias=None: answering(broken), cases=20)
    assert report.exit_code == 1
    assert report.findings[0].verdict.status is Status.FAIL
    assert broken.__name__ in report.findings[0].verdict.note


@pytest.mark.parametrize("broken", [SystemExit, GeneratorExit, Panic, Mute])
def test_whatever_a_function_raises_is_an_error(broken: type[BaseException]) -> None:
    breaks = raising(broken)
    for report in (check("linear", breaks, cases=20), check("linear", linear, vjp=breaks, cases=60)):
        assert report.exit_code == 1
        assert f"raised {broken.__name__}" in str(report)


def test_an_answer_may_raise_when_it_is_asked_for_its_type() -> None:
    report = check("linear", lambda x, weight, bias=None: linear(x, weight, bias).view(NoType), cases=60)
    assert "answers in the shape and dtype of the rule" in failed(report)
    assert check("batch_norm", lambda *arrays, **options: Tuple((1, 2, 3)), cases=20).exit_code == 1
    assert check("linear", linear, vjp=lambda *arrays: Tuple((1, 2)), cases=60).exit_code == 1


@pytest.mark.parametrize("refusal", [GeneratorExit, Panic, Mute])
def test_bad_input_may_be_refused_by_any_exception(refusal: type[BaseException]) -> None:
    def strict(x: Any, weight: Any, bias: Any = None) -> Any:
        try:
            return linear(x, weight, bias)
        except ValueError:
            raise refusal from None

    report = check("linear", strict)
    assert report.ok, str(report)
    assert "bad input is refused" in executed(report)


def test_bad_input_is_not_refused_by_ending_the_program() -> None:
    def leaves(x: Any, weight: Any, bias: Any = None) -> Any:
        try:
            return linear(x, weight, bias)
        except ValueError:
            raise SystemExit(0) from None

    assert failed(check("linear", leaves)) == {"bad input is refused"}


def test_ctrl_c_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        check("linear", raising(KeyboardInterrupt))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_answers_are_no_answers(dtype: Any) -> None:
    report = check("linear", lambda x, w, b=None: linear(x, w, b).astype(dtype) + 1j, cases=20)
    assert "expected an array of real numbers (complex" in report.findings[0].verdict.note


# Implementations of a part


REST = ("ceil_mode", "count_include_pad", "divisor_override")


def three_options(x: Any, *, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
    return avg_pool(x, kernel_size=kernel_size, stride=stride, padding=padding)


def refusing_the_rest(x: Any, *, kernel_size: Any, stride: Any = None, padding: Any = 0, **rest: Any) -> Any:
    if any(rest[name] != AVG.options[name] for name in rest):
        raise NotImplementedError
    return three_options(x, kernel_size=kernel_size, stride=stride, padding=padding)


def blind_to_zero(x: Any, *, kernel_size: Any, stride: Any = None, padding: Any = 0, **rest: Any) -> Any:
    if any(value for name, value in rest.items() if name != "count_include_pad"):  # a divisor of 0 is not seen
        raise NotImplementedError
    return three_options(x, kernel_size=kernel_size, stride=stride, padding=padding)


def stride_of_the_window(x: Any, *, stride: Any = None, **options: Any) -> Any:
    if stride is not None:
        raise NotImplementedError
    return max_pool(x, **options)


@pytest.mark.parametrize(
    ("name", "f", "supports"),
    [
        ("avg_pool2d", three_options, {}),
        ("avg_pool2d", refusing_the_rest, dict.fromkeys(REST, False)),
        ("avg_pool2d", blind_to_zero, dict.fromkeys(REST, False)),
        ("avg_pool2d", lambda x, *, kernel_size: avg_pool(x, kernel_size=kernel_size), {}),
        ("max_pool2d", lambda x, *, kernel_size: max_pool(x, kernel_size=kernel_size), {}),
        ("max_pool2d", stride_of_the_window, {"stride": False}),
        ("conv2d", lambda x, weight: conv(x, weight), {}),  # noqa: PLW0108 - the signature is what is tested
        ("conv2d", lambda x, weight, bias=None, stride=1: conv(x, weight, bias, stride=stride), {"stride": (1, 2)}),
    ],
    ids=[
        "three options",
        "the rest refused",
        "zero ignored",
        "window alone",
        "largest alone",
        "no stride",
        "no bias",
        "two strides",
    ],
)
def test_a_right_implementation_of_a_part_passes(name: str, f: Function, supports: dict[str, Any]) -> None:
    report = check(name, f, supports=supports, cases="quick")
    assert report.ok, str(report)
    assert len(executed(report)) >= 6


def test_what_no_law_may_ask_is_unsupported() -> None:
    report = check("avg_pool2d", three_options, cases="quick")
    law = "padding that is not counted leaves a constant image constant"
    statuses = {v.law: v.status for v in report.verdicts}
    assert statuses.get(law, Status.UNSUPPORTED) is Status.UNSUPPORTED
    assert Status.UNSUPPORTED in statuses.values()


def test_a_wrong_implementation_of_a_part_fails() -> None:
    report = check("avg_pool2d", lambda x, *, kernel_size: avg_pool(x, kernel_size=kernel_size, stride=1))
    assert not report.ok


# The vjp as the forward function


def stored(a: Any) -> Any:
    if a is None:
        return None
    return np.ravel(a if a.base is None else a.base, order="K")[: a.size].reshape(a.shape)


def saving() -> tuple[Function, Function]:
    """Return a linear layer whose vjp uses the input of the last call of its forward function."""
    last: dict[Any, Any] = {}

    def forward(x: Any, weight: Any, bias: Any = None) -> Any:
        last[x.shape] = x.copy()
        return linear(x, weight, bias)

    def vjp(gy: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        return LINEAR.vjp(gy, last.get(x.shape, x), weight, bias)

    return forward, vjp


def test_a_vjp_that_reads_storage_order_fails() -> None:
    for wrong in (
        lambda gy, x, w, b=None: LINEAR.vjp(stored(gy), stored(x), stored(w), b),
        lambda gy, x, w, b=None: LINEAR.vjp(stored(gy), x, w, b),  # gy is laid out as well
    ):
        assert failed(check("linear", linear, vjp=wrong)) == {"any memory order gives the same gradients"}


def test_a_vjp_without_memory_orders_is_not_asked() -> None:
    report = check("linear", linear, vjp=LINEAR.vjp, supports={"layouts": ()})
    assert report.ok, str(report)
    assert "any memory order gives the same gradients" not in executed(report)


def test_a_vjp_with_another_default_fails() -> None:
    def wrong(gy: Any, x: Any, weight: Any, bias: Any = None, *, dilation: Any = 2, **options: Any) -> Any:
        return CONV.vjp(gy, x, weight, bias, dilation=dilation, **options)

    assert failed(check("conv2d", conv, vjp=wrong)) == {"an option left out of the vjp means its default"}


def test_a_vjp_without_defaults_is_passed_every_option() -> None:
    def full(gy: Any, x: Any, w: Any, b: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        return CONV.vjp(gy, x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)

    report = check("conv2d", conv, vjp=full)
    assert report.ok, str(report)


def test_a_vjp_that_uses_what_the_last_forward_call_saved_fails() -> None:
    forward, vjp = saving()
    again = "a second vjp repeats the first and leaves its gradients alone"
    found = failed(check("linear", forward, vjp=vjp))
    assert found == {again, "gradients agree with the reference's"}  # which sees what an infinity left, planted before


# Memory


def memoised(function: Function, *, readonly: bool = False) -> Function:
    """Return the function with its answers kept: as they are, or guarded against those who would write into them."""
    kept: dict[Any, Any] = {}

    def known(*arrays: Any, **options: Any) -> Any:
        key = (*(None if a is None else (a.shape, a.tobytes()) for a in arrays), repr(options))
        if key not in kept:
            answer = function(*arrays, **options)
            for array in answer if isinstance(answer, tuple) else (answer,):
                if array is not None and readonly:
                    array.flags.writeable = False
            kept[key] = answer
        return kept[key]

    return known


def test_a_kept_answer_must_not_be_handed_out() -> None:
    again = "a second call repeats the first and leaves its answer alone"
    report = check("linear", memoised(linear))
    assert failed(report) == {again}
    assert report.findings[0].case.arrays[0].size == 1  # made minimal: what the law spoilt, it gave back
    report = check("linear", linear, vjp=memoised(LINEAR.vjp))
    assert failed(report) == {"a second vjp repeats the first and leaves its gradients alone"}


def test_a_kept_answer_that_nobody_can_write_is_right() -> None:
    report = check("linear", memoised(linear, readonly=True), vjp=memoised(LINEAR.vjp, readonly=True))
    assert report.ok, str(report)


def statistics(*, scribble: bool, returned: bool) -> Function:
    def forward(x: Any, mean: Any = None, var: Any = None, w: Any = None, b: Any = None, **options: Any) -> Any:
        y, new_mean, new_var = batch_norm(x, mean, var, w, b, **options)
        if scribble and mean is not None:
            mean[...], var[...] = new_mean, new_var
        return (y, new_mean, new_var) if returned else y

    return forward


def test_statistics_are_updated_in_place_or_returned_and_not_both() -> None:
    assert check("batch_norm", statistics(scribble=True, returned=False)).ok
    assert check("batch_norm", statistics(scribble=False, returned=True)).ok
    assert failed(check("batch_norm", statistics(scribble=True, returned=True))) == {
        "inputs stay as they were, answers own their memory"
    }


# Numbers that are none


@pytest.mark.parametrize("name", ["linear", "conv2d", "max_pool2d", "avg_pool2d", "batch_norm", "relu"])
def test_no_number_is_no_answer(name: str) -> None:
    op = OPS[name]

    def nothing(*arrays: Any, **options: Any) -> Any:
        answer = op.definition(*arrays, **options)
        return tuple(map(nan, answer)) if isinstance(answer, tuple) else nan(answer)

    assert "agrees with the definition" in failed(check(name, nothing))
    wrong = Implementation("it", op.definition, lambda *a, **k: tuple(map(nan, op.vjp(*a, **k))))
    assert "gradients agree with the reference's" in failed(check(name, wrong))


def nan(array: Any) -> Any:
    return None if array is None else np.full_like(array, np.nan)
