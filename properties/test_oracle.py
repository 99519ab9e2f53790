"""The judge itself, on an op that the package has never heard of.

Every kind of wrong answer is seen, made minimal and named, and right ones pass.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import d2lref
from d2lref.oracle import Budget, Interrupted, Progress, Report
from d2lref.oracle.caller import OffGrid
from d2lref.oracle.judge import Status, Tier, judge
from d2lref.oracle.report import case_from_json, case_json, read_json, write_json
from d2lref.rounding import PRESETS, Precision, round_to
from d2lref.spec import Claim, Law
from properties.strange import op, weighted_sum

Answer = Callable[..., Any]


def right(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
    return (x @ weight) * np.asarray(scale, x.dtype)


def right_vjp(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    sent = np.asarray(scale, x.dtype) * gy
    return sent[:, None] * weight, sent @ x


def rounded(name: str) -> Answer:
    def narrow(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return right(*(round_to(a, name).astype(a.dtype) for a in (x, weight)), scale=scale)

    return narrow


def accumulates_in_half(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
    total = np.zeros(x.shape[0], np.float16)
    for k in range(x.shape[1]):
        total = (total + (x[:, k] * weight[k]).astype(np.float16)).astype(np.float16)
    return (total.astype(x.dtype) * np.asarray(scale, x.dtype)).astype(x.dtype)


def no_scale(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
    del scale
    return right(x, weight)


def x_weight_bias(x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T if bias is None else x @ weight.T + bias


def check(f: Any, **options: Any) -> Report:
    return d2lref.check(op, f, **{"cases": "quick", **options})


def status(report: Report, law: str) -> Status:
    return next(v.status for v in report.verdicts if v.law == law)


# What passes


@pytest.mark.parametrize("precision", ["float32", "float64", "float16"])
def test_a_right_implementation_passes(precision: str) -> None:
    f = (
        right
        if precision != "float16"
        else lambda x, w, *, scale=1.0: right(x.astype("f4"), w.astype("f4"), scale=scale).astype("f2")
    )
    report = check(f, vjp=right_vjp if precision != "float16" else None, precision=precision)
    assert report.ok, str(report)
    assert report.exit_code == 0
    assert report.findings == ()
    assert {v.status for v in report.verdicts} <= {Status.PASS, Status.ABSENT}


def test_a_narrower_arithmetic_passes_when_it_is_declared() -> None:
    assert not check(rounded("bfloat16")).ok
    assert check(rounded("bfloat16"), precision=Precision(operands="bfloat16")).ok


def test_the_same_seed_gives_the_same_report() -> None:
    one, two = (check(right, vjp=right_vjp).to_json() for _ in range(2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert check(right, seed=1).coverage != check(right, seed=2).coverage


# What fails, and how it is told


@pytest.mark.parametrize(
    ("f", "word"),
    [
        (rounded("bfloat16"), "bfloat16 operands"),
        (rounded("float16"), "float16 operands"),
        (rounded("tf32"), "tf32 operands"),
        (accumulates_in_half, "float16 accumulation"),
        (
            lambda x, w, *, scale=1.0: round_to(right(x, w, scale=scale), "bfloat16").astype(x.dtype),
            "answers stored in bfloat16",
        ),
        (no_scale, "the scale is ignored"),
        (lambda x, w, *, scale=1.0: right(x[:, :-1], w[:-1], scale=scale), "the last product is dropped"),
        (lambda x, w, *, scale=1.0: np.zeros(len(x), x.dtype), "answers zeros"),
    ],
    ids=["bfloat16", "float16", "tf32", "half sums", "bfloat16 store", "no scale", "tail", "zeros"],
)
def test_a_wrong_one_fails_on_a_minimal_case_with_the_right_diagnosis(f: Answer, word: str) -> None:
    report = check(f)
    assert not report.ok
    assert report.exit_code == 1
    finding = report.findings[0]
    assert finding.law == "agrees with the definition"
    assert word in str(finding.diagnosis)
    assert sum(a.size for a in finding.case.arrays if a is not None) <= 4
    assert finding.element is not None
    assert finding.excess > 1


def test_the_reproduction_is_a_program_that_fails() -> None:
    finding = check(rounded("bfloat16")).findings[0]
    program = finding.reproduction.replace("implementation = ...", "implementation = narrow")
    with pytest.raises(AssertionError):
        exec(program, {"narrow": rounded("bfloat16")})  # noqa: S102 - that it runs is the property
    exec(program, {"narrow": right})  # noqa: S102


def test_the_option_a_failure_depends_on_is_named() -> None:
    finding = check(no_scale).findings[0]
    assert finding.diagnosis.depends_on == (("scale", 2.0, 1.0),)
    assert finding.element is not None
    assert finding.element.written_out == "2·1 = 2"


def test_an_exception_is_an_error_told_once() -> None:
    def small(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        if x.shape[1] > 3:
            message = "no more than 3"
            raise RuntimeError(message)
        return right(x, weight, scale=scale)

    report = check(small)
    assert [f.verdict.status for f in report.findings] == [Status.ERROR]
    assert report.findings[0].case.arrays[0].shape == (1, 4)
    assert "RuntimeError: no more than 3" in str(report)


def test_what_is_wrong_about_an_answer_is_said() -> None:
    def said(f: Answer) -> str:
        return " ".join(f.verdict.note for f in check(f, cases=200).findings)

    assert "the answer has shape" in said(lambda x, w, *, scale=1.0: right(x, w, scale=scale)[None])
    assert "answers are float64" in said(lambda x, w, *, scale=1.0: right(x, w, scale=scale).astype(np.float64))
    assert "the answer has shape (2, " in said(lambda x, w, *, scale=1.0: (right(x, w, scale=scale),) * 2)
    assert "expected an array" in said(lambda x, w, *, scale=1.0: "seven")


def test_a_wrong_gradient_fails_in_both_gradient_laws() -> None:
    report = check(
        right,
        vjp=lambda gy, x, w, *, scale=1.0: (
            right_vjp(gy, x, w, scale=scale)[0] * 2,
            right_vjp(gy, x, w, scale=scale)[1],
        ),
    )
    failed = {v.law for v in report.verdicts if v.status is Status.FAIL}
    assert failed == {"gradients agree with the reference's", "the vjp is the adjoint"}
    finding = next(f for f in report.findings if f.law == "gradients agree with the reference's")
    assert finding.element is not None
    assert finding.element.role == "dx"


def test_one_wrong_gradient_element_in_a_thousand_is_seen() -> None:
    def nearly(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
        dx, dw = (g.copy() for g in right_vjp(gy, x, weight, scale=scale))
        if dx.size > 100:
            dx.flat[57] *= 2
        return dx, dw

    assert not check(right, vjp=nearly, cases=2000).ok


@pytest.mark.parametrize(
    ("f", "law"),
    [
        ("in place", "inputs stay as they were, answers own their memory"),
        ("buffer", "a second call repeats the first and leaves its answer alone"),
        ("batch", "an image does not see its batch"),
        ("layout", "any memory order gives the same answer"),
        ("anything", "bad input is refused"),
    ],
)
def test_common_laws_catch_what_the_definition_cannot(f: str, law: str) -> None:
    from d2lref.oracle import common_mistakes

    named = {
        "in place": "works in place",
        "buffer": "reuses its output buffer",
        "batch": "the batch comes back in another order",
        "layout": "reads memory in storage order",
        "anything": "accepts anything",
    }
    wrong = next(m for m in common_mistakes(op) if m.says == named[f])
    assert status(check(wrong.forward), law) is Status.FAIL


def over_gy(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    gy *= np.asarray(scale, x.dtype)
    return gy[:, None] * weight, gy @ x


def over_x(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    dx, dw = right_vjp(gy, x, weight, scale=scale)
    x[...] = 0
    return dx, dw


def into_weight(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    dx, weight[...] = right_vjp(gy, x, weight, scale=scale)
    return dx, weight


def one_buffer(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    """The gradient of weight is a row of that of x where the two are equal."""
    dx, dw = right_vjp(gy, x, weight, scale=scale)
    return dx, dx[0] if len(dx) and (dx[0] == dw).all() else dw


def two_halves(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
    """Both gradients live interleaved in one buffer, as the parts of a fused projection do."""
    both = np.zeros((2, x.shape[0] + 1, x.shape[1]), x.dtype).transpose(1, 2, 0)
    both[:-1, :, 0], both[-1, :, 1] = right_vjp(gy, x, weight, scale=scale)
    return both[:-1, :, 0], both[-1, :, 1]


def kept_buffers() -> Answer:
    buffers: dict[Any, Any] = {}

    def vjp(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
        kept = buffers.setdefault(x.shape, (np.empty_like(x), np.empty_like(weight)))
        for buffer, gradient in zip(kept, right_vjp(gy, x, weight, scale=scale), strict=True):
            buffer[...] = gradient
        return kept

    return vjp


def accumulating() -> Answer:
    sums: dict[Any, Any] = {}

    def vjp(gy: Any, x: Any, weight: Any, *, scale: float = 1.0) -> tuple[Any, Any]:
        dx, dw = right_vjp(gy, x, weight, scale=scale)
        sums[x.shape] = sums.get(x.shape, 0) + dw
        return dx, sums[x.shape]

    return vjp


def retyped(dtype: Any) -> Answer:
    return lambda *arrays, **options: tuple(g.astype(dtype) for g in right_vjp(*arrays, **options))


OWN, AGAIN, TYPES = (
    "the vjp leaves its inputs as they were, gradients own their memory",
    "a second vjp repeats the first and leaves its gradients alone",
    "gradients come in the shape and dtype of their arrays",
)


@pytest.mark.parametrize(
    ("vjp", "law", "note"),
    [
        (over_gy, OWN, "gy was overwritten"),
        (over_x, OWN, "x was overwritten"),
        (into_weight, OWN, "weight"),
        (one_buffer, OWN, "the gradient of weight shares memory with the gradient of x"),
        (kept_buffers(), AGAIN, "a later call overwrote the gradient of x of the first"),
        (accumulating(), AGAIN, ""),
        (retyped(np.float64), TYPES, "gradients are float64 (1, 1), float64 (1,); the rule says float32"),
        (retyped(np.float16), TYPES, "gradients are float16 (1, 1), float16 (1,); the rule says float32"),
    ],
    ids=["gy", "x", "weight", "one buffer", "kept buffers", "accumulating", "float64", "float16"],
)
def test_a_vjp_that_spoils_memory_or_type_fails(vjp: Answer, law: str, note: str) -> None:
    report = check(right, vjp=vjp, cases=1600)
    assert status(report, law) is Status.FAIL
    finding = next(f for f in report.findings if f.law == law)
    assert note in finding.verdict.note
    assert "answer = vjp(gy, " in finding.reproduction


def test_a_vjp_may_hand_on_the_cotangent_and_cut_its_gradients_from_one_buffer() -> None:
    def relu_vjp(gy: Any, x: Any) -> Any:
        return gy if (x > 0).all() else np.where(x > 0, gy, np.zeros((), gy.dtype))

    report = d2lref.check("relu", lambda x: np.maximum(x, 0), vjp=relu_vjp, cases=1000)
    assert status(report, OWN) is Status.PASS, str(report)
    assert check(right, vjp=two_halves).ok


@pytest.mark.parametrize("back", ["seven", None, [1.0, [2.0]]], ids=["text", "nothing", "ragged"])
def test_a_gradient_that_is_no_array_fails_in_every_law_of_the_vjp(back: Any) -> None:
    report = check(right, vjp=lambda *arrays, **options: (back, right_vjp(*arrays, **options)[1]), cases=200)
    assert {status(report, law) for law in (OWN, AGAIN, TYPES)} <= {Status.FAIL, Status.PASS}
    assert status(report, AGAIN) is status(report, TYPES) is Status.FAIL


# Evidence


def test_nothing_executed_is_not_ok() -> None:
    judged = replace(d2lref.oracle.implementation(op, right), accepts=lambda *shapes, **options: False)
    report = check(judged, cases=20)
    assert not report.ok
    assert report.exit_code == 3
    assert report.counts["unsupported"] > 0


def test_a_law_that_cannot_fail_is_vacuous() -> None:
    idle = replace(op, laws=(*op.laws, Law("all is well", lambda f, case: Claim(0.0, 0.0))))
    report = d2lref.check(idle, right, cases="quick")
    assert status(report, "all is well") is Status.VACUOUS
    assert report.exit_code == 3


def test_an_infinite_bound_decides_nothing() -> None:
    blind = replace(op, bound=lambda y, p, *arrays, **options: np.full(np.shape(y), np.inf))
    report = d2lref.check(blind, lambda x, w, *, scale=1.0: right(x, w, scale=scale) + 1, cases="quick")
    assert status(report, "agrees with the definition") is Status.UNDECIDABLE
    assert not report.ok


def test_a_drift_inside_the_bound_is_suspect_and_fails_after_three_strikes() -> None:
    """An error far inside the worst-case bound of long sums, but far outside what rounding does."""

    def drifting(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        exact = weighted_sum(x.astype(np.float64), weight.astype(np.float64), scale=scale)
        size = np.abs(x.astype(np.float64)) @ np.abs(weight.astype(np.float64)) * scale
        return (exact + (x.shape[1] > 60) * 20 * 2.0**-24 * size).astype(np.float32)

    report = d2lref.check(replace(op, regimes=("normal",)), drifting, cases=1000)
    finding = report.findings[0]
    assert finding.verdict.tier is Tier.SUSPECT
    assert "standard deviations" in finding.verdict.note


def test_what_lies_outside_is_unsupported_and_not_judged() -> None:
    def only_one(x: Any, weight: Any) -> Any:
        return right(x, weight)

    report = check(only_one)
    assert report.ok
    assert report.counts["unsupported"] > 0
    assert set(report.coverage["scale"]) == {"1.0 (default)"}
    assert check(right, supports={"scale": (1.0, 2.0), "layouts": ("fortran",)}).ok
    assert set(check(right, supports={"scale": False}).coverage["scale"]) == {"1.0 (default)"}


def test_an_optional_array_that_cannot_be_passed_is_unsupported() -> None:
    report = d2lref.check("linear", lambda x, weight: x @ weight.T)
    assert report.ok, str(report)
    assert report.counts["unsupported"] > 0
    assert d2lref.check("linear", lambda x, weight, **options: x @ weight.T, cases=50).counts["unsupported"] > 0


@pytest.mark.parametrize(
    "reachable",
    [
        x_weight_bias,
        lambda *arrays: x_weight_bias(*arrays),  # noqa: PLW0108 - the signature is what is tested
    ],
    ids=["named", "any"],
)
def test_an_optional_array_that_can_be_passed_is_judged(reachable: Answer) -> None:
    report = d2lref.check("linear", reachable, cases=100)
    assert report.ok, str(report)
    assert report.counts["unsupported"] == 0


def test_an_optional_array_out_of_reach_by_position_is_an_error_that_says_so() -> None:
    report = d2lref.check("linear", lambda x, weight, *, bias=None: x_weight_bias(x, weight, bias), cases=100)
    assert report.exit_code == 1
    assert "positional argument" in str(report)


def test_a_law_that_leaves_the_grid_is_the_judges_own_error() -> None:
    off = replace(op, laws=(Law("a third", lambda f, case: Claim(f(case.arrays[0] / 3, case.arrays[1]).value, 0.0)),))
    with pytest.raises(OffGrid):
        d2lref.check(off, right, cases="quick")


def test_an_implementation_that_exits_is_an_error_and_not_the_end() -> None:
    def leaves(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        del x, weight, scale
        raise SystemExit(0)

    report = check(leaves, cases=40)
    assert report.exit_code == 1
    assert "raised SystemExit" in str(report)


@pytest.mark.parametrize(
    "wrap",
    [lambda y: y.astype(object), lambda y: y.astype(str), lambda y: np.ma.array(y, mask=True)],
    ids=["objects", "strings", "masked"],
)
def test_an_answer_that_is_no_plain_array_of_numbers_fails(wrap: Answer) -> None:
    report = check(lambda x, w, *, scale=1.0: wrap(right(x, w, scale=scale)), cases=100)
    assert report.exit_code == 1
    assert "expected an array of real numbers" in str(report)


def test_one_that_answers_only_sometimes_is_an_error() -> None:
    calls = iter(range(10**9))

    def moody(x: Any, weight: Any, *, scale: float = 1.0) -> Any:
        if next(calls) % 7 == 6:
            message = "not now"
            raise RuntimeError(message)
        return right(x, weight, scale=scale)

    assert check(moody).exit_code == 1


def test_options_without_a_default_are_always_passed() -> None:
    def strict(x: Any, weight: Any, *, scale: float) -> Any:
        return right(x, weight, scale=scale)

    assert d2lref.oracle.implementation(op, strict).takes.demanded == {"scale"}
    report = check(strict)
    assert {v.status for v in report.verdicts} <= {Status.PASS, Status.ABSENT, Status.VACUOUS}


# Claims


@pytest.mark.parametrize(
    ("claim", "wanted"),
    [
        (Claim(1.0, 1.0), Status.PASS),
        (Claim(np.nan, np.nan), Status.PASS),
        (Claim(0.0, -0.0), Status.PASS),
        (Claim(np.inf, np.inf), Status.PASS),
        (Claim(np.inf, -np.inf, 1.0), Status.FAIL),
        (Claim(np.nan, 1.0, 0.5), Status.FAIL),
        (Claim(1.0, 1.25, 0.25), Status.PASS),
        (Claim(1.0, 1.25, 0.125), Status.FAIL),
        (Claim(1.0, 1.25, 2.0), Status.UNDECIDABLE),
        (Claim(1.0, 9.0, np.inf), Status.UNDECIDABLE),
        (Claim(np.zeros(2), np.zeros(3)), Status.FAIL),
        (Claim(np.zeros(0), np.zeros(0)), Status.PASS),
    ],
)
def test_a_claim_is_judged(claim: Claim, wanted: Status) -> None:
    assert judge(claim).status is wanted


def test_the_worst_element_is_named() -> None:
    verdict = judge(Claim(np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[1.0, 2.0], [3.0, 4.0]]), 0.25))
    assert (verdict.index, verdict.ratio, verdict.left, verdict.right) == ((1, 1), 2.0, 4.5, 4.0)


# Records, interruption, arguments


def test_a_report_survives_json(tmp_path: Any) -> None:
    report = check(rounded("bfloat16"))
    path = tmp_path / "report.json"
    write_json(report.to_json(), path)
    data = read_json(path)
    assert data["ok"] is False
    case = case_from_json(data["findings"][0]["case"])
    for one, two in zip(case.arrays, report.findings[0].case.arrays, strict=True):
        np.testing.assert_array_equal(one, two)
    assert case_json(case) == data["findings"][0]["case"]
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "d2lref-report", "version": 99}', '{"schema": "other"}'])
def test_files_of_another_kind_are_refused_in_one_line(tmp_path: Any, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)) as refused:
        read_json(path)
    assert "\n" not in str(refused.value)


def test_an_interrupted_run_keeps_what_it_found() -> None:
    def stop(progress: Progress) -> None:
        if progress.done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        check(right, progress=stop)
    report = stopped.value.report
    assert report.interrupted
    assert report.exit_code == 130
    assert report.counts["cases"] >= 60
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"cases": "many"},
            "cases: 'many', expected one of quick, ci, deep, a positive count, or seconds such as '60s'",
        ),
        ({"cases": 0}, "cases: 0, expected one of quick, ci, deep, a positive count, or seconds such as '60s'"),
        ({"on_fail": "explode"}, "on_fail: 'explode', expected 'collect' or 'stop'"),
        (
            {"arrays": "fortran"},
            "arrays: 'fortran', expected numpy, torch, jax (or torch:cuda), or a pair of functions to and back",
        ),
        (
            {"supports": {"speed": 1}},
            "weighted_sum: supports has no key 'speed', expected one of scale, empty_batch, nonfinite, layouts",
        ),
        ({"seed": -1}, "seed: -1, expected an integer >= 0"),
        ({"seed": None}, "seed: None, expected an integer >= 0"),
        ({"supports": 3}, "supports: 3, expected a mapping"),
        ({"progress": 3}, "progress: 3, expected a callable"),
        (
            {"precision": "float12"},
            f"precision: 'float12' is no preset, expected one of {', '.join(PRESETS)} or a Precision",
        ),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        check(right, **arguments)
    assert str(refused.value) == message


def test_something_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="weighted_sum: implementation is int, expected a callable"):
        check(7)


def test_budgets() -> None:
    assert Budget.of("60s").seconds == 60
    assert Budget.of("25").count == Budget.of(25).count == 25
    assert Budget.of("0.5s").seconds == 1 / 2


def test_stopping_at_the_first_failure_draws_less() -> None:
    assert check(rounded("bfloat16"), on_fail="stop").counts["cases"] < check(rounded("bfloat16")).counts["cases"]


def test_expected_and_assert_within() -> None:
    x, weight = np.array([[1.0, 2.0]]), np.array([3.0, 0.1])
    wanted = d2lref.expected(op, x, weight, scale=2.0)
    d2lref.assert_within(right(x, weight, scale=2.0).astype(np.float32), wanted)
    with pytest.raises(AssertionError, match="times the bound"):
        d2lref.assert_within(wanted.value + 1, wanted)
    with pytest.raises(AssertionError, match="shape"):
        d2lref.assert_within(wanted.value[None], wanted)
    with pytest.raises(TypeError, match="no option 'speed', expected scale"):
        d2lref.expected(op, x, weight, speed=1)
    with pytest.raises(ValueError, match="weighted_sum: x"):
        d2lref.expected(op, x, weight[:1])


CONFORMS = """
import d2lref, numpy as np
from properties.strange import op

def right(x, weight, *, scale=1.0):
    return (x @ weight) * np.asarray(scale, x.dtype)

def wrong(x, weight, *, scale=1.0):
    return x @ weight

test_right = d2lref.conforms(op, cases="quick")(right)

@d2lref.conforms(op, cases="quick")
def test_wrong(x, weight, *, scale=1.0):
    return x @ weight
"""


def test_conforms_gives_pytest_items_with_stable_ids(tmp_path: Any) -> None:
    import subprocess
    import sys
    from pathlib import Path

    (tmp_path / "test_mine.py").write_text(CONFORMS)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    assert "PASSED" in done.stdout
    assert "test_mine.py::test_right[agrees with the definition]" in done.stdout
    assert "FAILED" in done.stdout
    assert "test_mine.py::test_wrong[agrees with the definition]" in done.stdout
    assert "matches the mistake: the scale is ignored" in done.stdout
