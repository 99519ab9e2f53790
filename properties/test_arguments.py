"""What check, expected and assert_within are given: each thing that means nothing is refused in one clear line.

And what means something is believed: signatures are read, the vjp's own too, and the declared support is kept to.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.oracle import Implementation, Report, Status, implementation
from d2lref.oracle.implementation import Signature, binding, readable
from d2lref.rounding import round_to
from properties.strange import op

Answer = Callable[..., Any]
X, W = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))


def right(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
    return (x @ weight) * np.asarray(scale, x.dtype)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T if bias is None else x @ weight.T + bias


def linear_vjp(gy: Any, x: Any, weight: Any, bias: Any = None) -> tuple[Any, ...]:
    flat, rows = gy.reshape(-1, gy.shape[-1]), x.reshape(-1, x.shape[-1])
    return gy @ weight, flat.T @ rows, None if bias is None else flat.sum(0)


def status(report: Report, law: str) -> Status:
    return next(v.status for v in report.verdicts if v.law == law)


# One clear line


VALUES = "False (its default only), a value ({}), a tuple of values, or a predicate of the value"
BOOLS = "expected False (never there) or True (always there)"
LAYOUTS = "expected a tuple of fortran, strided, negative, offset, readonly, channels_last"
CONV = "conv2d: supports"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": True}, "seed: True, expected an integer >= 0"),
        ({"on_fail": np.array([1, 2])}, "on_fail: array([1, 2]), expected 'collect' or 'stop'"),
        (
            {"arrays": np.zeros(2)},
            "arrays: array([0., 0.]), expected numpy, torch, jax (or torch:cuda), or a pair of functions",
        ),
        ({"supports": {"layouts": ([],)}}, f"{CONV} layouts=([],), {LAYOUTS}"),
        ({"supports": {"layouts": "fortran"}}, f"{CONV} layouts='fortran', {LAYOUTS}"),
        ({"supports": {"bias": "no"}}, f"{CONV} bias='no', {BOOLS}"),
        ({"supports": {"bias": np.array([1])}}, f"{CONV} bias=array([1]), {BOOLS}"),
        ({"supports": {"empty_batch": 0}}, f"{CONV} empty_batch=0, expected False or True"),
        ({"supports": {"empty_batch": "maybe"}}, f"{CONV} empty_batch='maybe', expected False or True"),
        ({"supports": {"groups": None}}, f"{CONV} groups=None, expected {VALUES.format('int')}"),
        ({"supports": {"groups": ()}}, f"{CONV} groups=(), expected {VALUES.format('int')}"),
        (
            {"supports": {"stride": [1, 2]}},
            f"{CONV} stride=[1, 2], expected {VALUES.format('int or tuple')}; (1, 2) would fit",
        ),
        (
            {"supports": {"stride": np.array([1, 2])}},
            f"{CONV} stride=array([1, 2]), expected {VALUES.format('int or tuple')}",
        ),
        ({"supports": {"padding": 1.5}}, f"{CONV} padding=1.5, expected {VALUES.format('int or str or tuple')}"),
        (
            {"supports": {"stride": lambda s: s / 0}},
            "supports: a predicate raised ZeroDivisionError for 2, expected a truth value",
        ),
    ],
)
def test_arguments_that_mean_nothing_are_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        d2lref.check("conv2d", lambda *arrays, **options: None, cases=40, **arguments)
    if "predicate" in message:  # whichever value is drawn first
        assert str(refused.value).startswith(message.partition(" for ")[0])
    else:
        assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("supports", "fits"),
    [({"stride": (1, 2)}, True), ({"stride": ((2, 1), 1)}, True), ({"padding": "same"}, True), ({"groups": 2}, True)],
)
def test_values_that_an_option_can_have_are_taken(supports: dict[str, Any], fits: bool) -> None:  # noqa: FBT001
    assert (implementation(d2lref.ops.conv2d, linear, supports=supports).supports == supports) is fits


@pytest.mark.parametrize("subject", [[], {}, None, 3, np.zeros(2)], ids=repr)
def test_a_subject_is_a_name_or_an_op(subject: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^subject: .*, expected a name \(d2lref list shows all\) or an Op$"
    ) as refused:
        d2lref.check(subject, right)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("vjp", [3, 0, False, "torch", ()])
@pytest.mark.parametrize("target", ["d2lref", right], ids=["target", "callable"])
def test_a_vjp_is_callable(target: Any, vjp: Any) -> None:
    with pytest.raises(TypeError, match=f"linear: vjp is {type(vjp).__name__}, expected a callable"):
        d2lref.check("linear", target, vjp=vjp)


def test_a_vjp_takes_what_every_call_passes() -> None:
    pool = d2lref.ops.avg_pool2d
    with pytest.raises(TypeError, match=r"^avg_pool2d: vjp takes no kernel_size, which every call passes$"):
        d2lref.check(pool, pool.definition, vjp=lambda gy, x: (0 * x,))


def test_a_library_that_cannot_be_handed_an_array_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^arrays: to\(array\) raised ZeroDivisionError: division by zero, expected an"
    ):
        d2lref.check(op, right, arrays=(lambda _: 1 / 0, np.asarray))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((), {}, "conv2d: x is missing, expected an array: the arrays are x, weight, bias=None"),
        ((X,), {}, "conv2d: weight is missing, expected an array: the arrays are x, weight, bias=None"),
        ((None, W), {}, "conv2d: x is None, expected an array: the arrays are x, weight, bias=None"),
        (([[1.0]], W), {}, "conv2d: x is list, expected an array of real numbers"),
        ((X, "abc"), {}, "conv2d: weight is str, expected an array of real numbers"),
        ((X, object()), {}, "conv2d: weight is object, expected an array of real numbers"),
        ((X * 1j, W), {}, "conv2d: x is ndarray of complex128, expected an array of real numbers"),
        ((X, W, 3), {}, "conv2d: bias is int, expected an array of real numbers"),
        ((X, W, None, X), {}, "conv2d: 4 arrays, expected at most 3 (x, weight, bias=None)"),
        ((X, W), {"speed": 1}, "conv2d: no option 'speed', expected stride, padding, dilation, groups"),
    ],
)
def test_what_expected_cannot_take_is_refused_in_one_line(arrays: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError) as refused:
        d2lref.expected("conv2d", *arrays, **options)
    assert str(refused.value) == message


def test_an_option_without_a_default_is_asked_for() -> None:
    with pytest.raises(TypeError) as refused:
        d2lref.expected("max_pool2d", X)
    assert str(refused.value) == "max_pool2d: kernel_size is missing, expected a value: it has no default"


@pytest.mark.parametrize(
    ("actual", "word"),
    [
        (None, "NoneType"),
        ([[2.0]], "list"),
        ("abc", "str"),
        (np.full((1, 1), 2 + 5j), "ndarray of complex128"),
        (np.array([["a"]]), "ndarray of <U1"),
        (np.ma.array([[2.0]], mask=True), "MaskedArray of float64"),
    ],
)
def test_an_answer_that_is_no_array_of_real_numbers_is_not_within(actual: Any, word: str) -> None:
    wanted = d2lref.expected("linear", np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(AssertionError) as refused:
        d2lref.assert_within(actual, wanted)
    assert str(refused.value) == f"answer is {word}, expected an array of real numbers of shape (1, 1)"
    with pytest.raises(TypeError, match=r"^expected: 3, expected what d2lref\.expected returns$"):
        d2lref.assert_within(np.ones((1, 1)), 3)  # type: ignore[arg-type]


# The inputs of the exact value


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_the_exact_value_is_that_of_the_inputs_as_they_are_stored(precision: str) -> None:
    """Its float64 inputs are on no grid; what an implementation receives is."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, weight = rng.standard_normal((1, 1)), rng.standard_normal((1, 1))
        stored = [round_to(a, precision) for a in (x, weight)]
        wanted = d2lref.expected("linear", x, weight, precision=precision)
        assert wanted.value == d2lref.expected("linear", *stored, precision=precision).value
        d2lref.assert_within(round_to(stored[0] @ stored[1].T, precision), wanted)


def test_torch_in_bfloat16_is_within() -> None:
    torch = pytest.importorskip("torch", reason="torch has bfloat16")
    x, weight = torch.randn(3, 5).bfloat16(), torch.randn(4, 5).bfloat16()
    wanted = d2lref.expected("linear", x, weight, precision="bfloat16")
    d2lref.assert_within(torch.nn.functional.linear(x, weight), wanted)
    with pytest.raises(AssertionError):
        d2lref.assert_within(torch.nn.functional.linear(x, weight) + 1, wanted)


# Signatures


def with_bias(gy: Any, x: Any, weight: Any, bias: Any) -> tuple[Any, ...]:
    return linear_vjp(gy, x, weight, bias)


def without_bias(gy: Any, x: Any, weight: Any) -> tuple[Any, ...]:
    return linear_vjp(gy, x, weight)[:2]


@pytest.mark.parametrize("vjp", [linear_vjp, with_bias, without_bias])
def test_the_signature_of_the_vjp_is_read(vjp: Answer) -> None:
    report = d2lref.check("linear", linear, vjp=vjp, cases="quick")
    assert report.ok, str(report)
    assert status(report, "gradients agree with the reference's") is Status.PASS
    assert report.counts["unsupported"] == 0  # forward takes everything


def test_an_option_that_the_vjp_lacks_is_unsupported_in_the_laws_with_vjp() -> None:
    def vjp(gy: Any, x: Any, weight: Any) -> tuple[Any, Any]:
        return gy[:, None] * weight, gy @ x

    def anything(x: Any, weight: Any, **options: Any) -> Any:
        return right(x, weight, **options)

    report = d2lref.check(op, anything, vjp=vjp, cases="quick")
    assert report.ok, str(report)
    assert status(report, "gradients agree with the reference's") is Status.PASS
    assert "2.0" in report.coverage["scale"]
    law = next(v for v in report.verdicts if v.law == "gradients agree with the reference's")
    assert 0 < law.executed < report.counts["cases"]


def test_options_without_a_default_in_the_vjp_are_always_passed() -> None:
    def vjp(gy: Any, x: Any, weight: Any, *, scale: float) -> tuple[Any, Any]:
        sent = np.asarray(scale, x.dtype) * gy
        return sent[:, None] * weight, sent @ x

    judged = implementation(op, right, vjp=vjp)
    assert judged.vjp_takes == Signature(frozenset({"scale"}), frozenset({"scale"}), 2, 2)
    assert judged.keywords(op, {"scale": 1.0}, frozenset({"scale"}), vjp=True) == {"scale": 1.0}
    assert d2lref.check(op, right, vjp=vjp, cases="quick").ok


def test_another_vjp_brings_its_own_signature_and_binding() -> None:
    judged = implementation(
        d2lref.ops.linear, Implementation("it", linear, linear_vjp, vjp_origin="old"), vjp=with_bias
    )
    assert judged.vjp is with_bias
    assert judged.vjp_takes is not None
    assert judged.vjp_takes.required == 3
    assert judged.vjp_origin.endswith("from properties.test_arguments import with_bias\n\nvjp = with_bias")


# Support


def test_an_array_that_is_always_there_can_be_declared() -> None:
    def fused(x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T + bias

    assert not d2lref.check("linear", fused, cases="quick").ok
    report = d2lref.check("linear", fused, supports={"bias": True}, cases="quick")
    assert report.ok, str(report)
    assert report.counts["unsupported"] > 0
    assert report.counts["executed"] > 0


def test_an_array_that_is_never_there_can_be_declared() -> None:
    def bare(x: Any, weight: Any, bias: Any = None) -> Any:
        assert bias is None
        return x @ weight.T

    assert not d2lref.check("linear", bare, cases="quick").ok
    assert d2lref.check("linear", bare, supports={"bias": False}, cases="quick").ok


def test_a_tuple_of_one_is_no_update_in_place_and_the_message_says_so() -> None:
    from d2lref.ops import batch_norm

    def one(*arrays: Any, **options: Any) -> tuple[Any]:
        return (batch_norm(*arrays, **options)[0],)

    report = d2lref.check("batch_norm", one, cases=60)
    words = (
        f"1 answer came back, expected 3 ({', '.join(batch_norm.outputs)}), or a bare array after an update in place"
    )
    assert words in str(report)


# Strangers' attributes


class Guarded:
    """A callable whose attributes raise, as those of a lazy proxy do."""

    def __getattr__(self, name: str) -> Any:
        """Raise what is no AttributeError."""
        message = f"no {name} before the device is ready"
        raise RuntimeError(message)

    def __call__(self, x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        """Return the right answer."""
        return right(x, weight, scale=scale)


def test_a_callable_whose_attributes_raise_is_judged() -> None:
    it = Guarded()
    assert readable(it).endswith("Guarded")
    assert binding(it, "implementation") == ""
    assert d2lref.check(op, it, vjp=None, cases="quick").ok


def test_what_no_import_binds_has_no_binding() -> None:
    class Kernel:
        def forward(self, x: Any) -> Any:
            return x

    assert binding(Kernel().forward, "implementation") == ""
    assert binding(lambda x: x, "implementation") == ""
    assert binding(right, "right") == "from properties.test_arguments import right"


def test_bfloat16_without_ml_dtypes_is_refused_before_a_case_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the implementation has bfloat16 itself: the known mistakes beside it are NumPy's."""
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    pair = (lambda a, dtype: a, np.asarray)
    for arrays in ("numpy", pair):
        with pytest.raises(ValueError, match="precision: bfloat16 needs ml_dtypes, for NumPy lacks it"):
            d2lref.check("linear", linear, precision="bfloat16", arrays=arrays)


def test_a_law_that_only_exceptions_break_is_an_error() -> None:
    def raising(x: Any) -> Any:
        raise RuntimeError(x.shape)

    verdicts = d2lref.check("relu", raising, cases=20).verdicts
    assert {v.status for v in verdicts if v.executed} <= {Status.ERROR, Status.PASS}  # it does refuse bad input
    assert status(d2lref.check("relu", lambda x: x + 1, cases=20), "agrees with the definition") is Status.FAIL
