"""The laws that every distribution gets, and wrong ways to draw that show each of them can fail."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from d2lref.oracle.caller import Unsupported, WrongAnswer
from d2lref.oracle.common import all_laws
from d2lref.oracle.sampling import Sampler
from d2lref.spec import Array, Case, Distribution, Law, Mistake, Reading, Subject, Trial

# 1 Laws


def common_trials(subject: Distribution) -> tuple[Trial, ...]:
    """Return the trials of the calls themselves."""
    trials = [
        Trial(TYPED, _typed),
        Trial(REPEATS, _repeats),
        Trial(OTHER_SEED, partial(_differs, seeds=2), subject.varies, chance=True),
        Trial(NEXT_CALL, partial(_differs, calls=2), subject.varies, chance=True),
        Trial(GLOBAL, _global),
    ]
    if subject.operands:
        trials += [
            Trial(UNTOUCHED, _untouched),
            Trial(TYPED_GRADIENT, _typed_gradient, vjp=True),
        ]
    if any(r.mandatory for r in subject.rejections):
        trials += [Trial(REFUSED, _refused)]
    return tuple(trials)


def all_trials(subject: Distribution) -> tuple[Trial, ...]:
    """Return the common trials and the subject's own."""
    return (*common_trials(subject), *subject.laws)


def held(subject: Subject) -> tuple[Law, ...] | tuple[Trial, ...]:
    """Return all that implementations of a subject of any kind are held to."""
    return all_trials(subject) if isinstance(subject, Distribution) else all_laws(subject)


def _flag(holds: object, note: str, *lines: str) -> Reading:
    """Return the reading of something that is so or is not."""
    return Reading(note, float(bool(holds)), 1.0, 1.0, theorem="the contract of a call", program=lines)


def _kind(array: Array) -> str:
    return f"{array.dtype} {array.shape}"


def _formats(f: Sampler) -> tuple[str, ...]:
    """Return the formats that answers may come in: that of x, or, of initialisers, a wider one too."""
    storage = f.precision.storage
    wider = {"float32": ("float64",), "float16": ("float32", "float64"), "bfloat16": ("float32", "float64")}
    return (storage, *(() if f.subject.operands else wider.get(storage, ())))


def _typed(f: Sampler, case: Case) -> Reading:
    answer = f.call(np.random.default_rng(case.seed))
    return _format(f, answer, f.home(answer), "answer", "answer = CALL")


def _format(f: Sampler, answer: Any, home: Array, name: str, *made: str) -> Reading:
    """Return the reading of the dtype of an answer."""
    said = str(getattr(answer, "dtype", home.dtype)).removeprefix("torch.")
    asserted = f"assert str(np.asarray(HOME(answer)).dtype) in {_formats(f)}"
    text = f"the {name} is of {said}, expected {' or '.join(_formats(f))}"
    return _flag(said in _formats(f), text, *made, "print(HOME(answer).dtype)", asserted)


def _typed_gradient(f: Sampler, case: Case) -> Reading:
    del case
    if f.implementation.vjp is None:
        raise WrongAnswer("no vjp was given")
    f.gradients()
    rng, given = np.random.default_rng(f.case.seed), (f.to(f.gy), f.to(f.x))
    found = f.implementation.vjp(*given, rng=rng, **f.options)
    one = found[0] if issubclass(type(found), tuple | list) else found
    return _format(f, one, f.home(one, "the gradient"), "gradient", "# see the gradient that comes back")


def _repeats(f: Sampler, case: Case) -> Reading:
    del case
    return f.read(differences, 0.0, 0.0, theorem="a generator is a function of its seed", seeds=2, step=0)


def differences(answers: Array) -> float:
    """Return how many numbers differ between the first and the last answer."""
    first, last = answers[0, 0], answers[-1, -1]
    return float(np.sum((first != last) & ~(np.isnan(first) & np.isnan(last))))


def _differs(f: Sampler, case: Case, **draws: int) -> Reading:
    """Equal answers of independent calls have at most the probability of their likeliest values to their number.

    With one unit dropped in ten, 0.82 for each of 2^10 units or more; below 2^-290.
    """
    del case
    theorem = "independent answers are equal with negligible probability"
    return f.read(differences, 1.0, math.inf, theorem=theorem, alpha=f.alpha, **draws)


def _global(f: Sampler, case: Case) -> Reading:
    state = f.implementation.library.state
    before = state()
    f.call(np.random.default_rng(case.seed))
    lines = (
        "before = global_state()",
        "answer = CALL",
        'print("the global generators stayed as they were:", before == global_state())',
        "assert before == global_state()",
    )
    return _flag(before == state(), "a global generator was used or seeded", *lines)


def _untouched(f: Sampler, case: Case) -> Reading:
    given = f.to(f.x)
    before = np.array(f.implementation.library.back(given))
    f.call(np.random.default_rng(case.seed), given)
    same = before.tobytes() == np.array(f.implementation.library.back(given)).tobytes()
    lines = (
        "x = GIVEN",
        "before = np.array(HOME(x))",
        "answer = implementation(x, rng=np.random.default_rng(seed)OPTIONS)",
        'print("x was", before, "and is now", HOME(x))',
        "assert before.tobytes() == np.array(HOME(x)).tobytes()",
    )
    return _flag(same, "x was overwritten", *lines)


def _refused(f: Sampler, case: Case) -> Reading:
    mandatory = [r for r in f.subject.rejections if r.mandatory and f.bears(r)]
    if not mandatory:
        raise Unsupported("all that must be refused lies outside what is supported")
    bad = mandatory[case.seed % len(mandatory)]
    note = f.refuses(bad)
    first = f"np.ones({bad.shapes[0]})" if f.subject.operands else repr(bad.shapes[0])
    words = "".join(f", {k}={v!r}" for k, v in bad.options.items())
    lines = (
        "try:",
        f"    implementation({first}, rng=np.random.default_rng(seed){words})",
        "except Exception as error:",
        '    print("refused:", repr(error))',
        "else:",
        f"    raise AssertionError({f'accepted {bad.says}'!r})",
    )
    return _flag(not note, note or "refused", *lines)


# 2 Mistakes


TYPED = "answers in the shape that is asked for, in the claimed format or a wider one"
REPEATS, OTHER_SEED = "the same seed gives the same numbers", "another seed gives other numbers"
NEXT_CALL, GLOBAL = "the next call gives other numbers", "no global generator is touched"
UNTOUCHED, REFUSED = "inputs stay as they were", "bad input is refused"
TYPED_GRADIENT = "the gradient comes in the shape and format of x"


def common_mistakes(subject: Distribution) -> tuple[Mistake, ...]:
    """Return wrong ways to call, made of the definition."""
    own = Mistake("has a format of its own", _link("keras-team/keras/pull/12438"), _formatted(subject), None, (TYPED,))
    found = [
        own,
        Mistake("seeds the global generator", _link("keras-team/keras/pull/12232"), _seeding(subject), None, (GLOBAL,)),
    ]
    if any(trial.chance for trial in subject.laws):
        found += _about_seeds(subject)
    if subject.operands:
        link = _link("deeplearning4j/deeplearning4j/issues/2469")
        found.append(Mistake("writes into its input", link, _in_place(subject), None, (UNTOUCHED,)))
    if any(r.mandatory for r in subject.rejections):
        link = _link("keras-team/tf-keras/issues/449")
        found.append(Mistake("accepts what means nothing", link, _accepting(subject), None, (REFUSED,)))
    return tuple(found)


def _link(report: str) -> str:
    return f"https://github.com/{report}"


def _about_seeds(subject: Distribution) -> list[Mistake]:
    """Return what is wrong about the generator that is handed over."""
    seeded = _seeded_by(subject.definition, lambda: 0), subject.vjp and _seeded_by(subject.vjp, lambda: 0)
    clock = _seeded_by(subject.definition, time.perf_counter_ns)
    return [
        Mistake(
            "does not use the generator that it is given",
            _link("tensorflow/tfjs/issues/7104"),
            clock,
            caught_by=(REPEATS,),
        ),
        Mistake(
            "gives the same numbers in every call",
            _link("arrayfire/arrayfire/issues/898"),
            *seeded,
            (OTHER_SEED, NEXT_CALL),
        ),
    ]


def _seeded_by(make: Callable[..., Any], seed: Callable[[], int]) -> Callable[..., Any]:
    """Return a function that has a generator of its own."""

    def wrong(*arrays: Any, rng: Any, **options: Any) -> Any:
        del rng
        return make(*arrays, rng=np.random.default_rng(seed()), **options)

    return wrong


def _formatted(subject: Distribution) -> Callable[..., Any]:
    def wrong(first: Any, *, rng: Any, **options: Any) -> Any:
        answer = np.asarray(subject.definition(first, rng=rng, **options))
        return answer.astype(np.float64 if subject.operands else np.float16)

    return wrong


def _seeding(subject: Distribution) -> Callable[..., Any]:
    def wrong(first: Any, *, rng: Any, **options: Any) -> Any:
        np.random.seed(time.perf_counter_ns() % 2**32)  # noqa: NPY002 - this is the mistake
        return subject.definition(first, rng=rng, **options)

    return wrong


def _in_place(subject: Distribution) -> Callable[..., Any]:
    def wrong(x: Any, *, rng: Any, **options: Any) -> Any:
        y = np.array(subject.definition(x, rng=rng, **options))
        x[...] = -x
        return y

    return wrong


def _accepting(subject: Distribution) -> Callable[..., Any]:
    def wrong(first: Any, *, rng: Any, **options: Any) -> Any:
        try:
            return subject.definition(first, rng=rng, **options)
        except ValueError:
            return np.zeros(np.shape(first) if subject.operands else first)

    return wrong
