"""The command line: check, replay, list, explain, probe, audit.

One clear line and a documented exit code for everything that goes wrong.
"""

import ast
import inspect
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

import d2lref
from d2lref import catalogue, oracle, rounding
from d2lref.chance import ALPHA, EACH, READINGS
from d2lref.oracle import report as reports
from d2lref.oracle.caller import OffGrid
from d2lref.oracle.common import all_laws
from d2lref.oracle.conventions import check_convention, under
from d2lref.oracle.distributions import again
from d2lref.oracle.draw_laws import all_trials, held
from d2lref.oracle.judge import Verdict, hold
from d2lref.spec import FRAMEWORKS, REQUIRED, Convention, Distribution, Op, Subject

USAGE, JUDGE_FAILED, INTERRUPTED = 2, 4, 130
EXIT_CODES = (
    "Exit code: 0 ok, 1 not ok, 2 usage, 3 nothing executed or vacuous, 4 the judge itself failed, 130 interrupted."
)


def status(arguments: list[str] | None = None) -> int:
    """Return the exit code of a command line; whatever goes wrong is one line on standard error."""
    try:
        code = cli.main(arguments, prog_name="d2lref", standalone_mode=False)
    except click.ClickException as error:
        return _misused(error)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", INTERRUPTED)
    except Unread:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:  # noqa: BLE001 - a stray sys.exit() too is a failure of the judge itself
        return _failed(error)
    return int(code or 0)


def _misused(error: click.ClickException) -> int:
    """Return the code of wrong usage after one line about it, or the help when nothing was asked."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return USAGE
    return _say(error.format_message(), USAGE)


def _say(message: str, code: int) -> int:
    click.echo(f"d2lref: {' '.join(message.split())}", err=True)
    return code


class Unread(Exception):
    """Nobody reads the output any more, as behind `| head`."""


class BadInput(click.ClickException):
    """An argument that means nothing here; exit code 2."""

    exit_code = USAGE


def _failed(error: BaseException) -> int:
    if os.environ.get("D2LREF_DEBUG"):
        traceback.print_exc()
    return _say(f"the judge itself failed: {type(error).__name__}: {error} (D2LREF_DEBUG=1 shows where)", JUDGE_FAILED)


class Commands(click.Group):
    """Commands that leave it to `status` to tell an interrupt and a closed pipe, for which click has its own words."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises Abort on Ctrl-C, Unread when the output's reader has gone."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None
        except BrokenPipeError:
            raise Unread from None


HELP = """Judge implementations of neural-net layers.

A pass that means something, or a minimal counterexample with a diagnosis.

\b
d2lref check conv2d mylib.kernels:conv2d        judge one function
d2lref check conv2d torch                       judge torch's
d2lref check --all d2lref:unfold --cases quick  judge all that a target has
d2lref explain conv2d                           what is checked, and why
"""


@click.group(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(d2lref.__version__, prog_name="d2lref")
def cli() -> None:
    """Hold the commands together."""


@cli.command(epilog=EXIT_CODES)
@click.argument("names", nargs=-1, metavar="SUBJECT TARGET")
@click.option("--all", "everything", is_flag=True, help="Judge every subject that TARGET has (then give TARGET alone).")
@click.option("--vjp", metavar="TARGET", help="Gradients: a function vjp(gy, *arrays, **options) -> tuple.")
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    help=f"The arithmetic that is claimed: {', '.join(rounding.PRESETS)}.",
)
@click.option(
    "--arrays", default="numpy", show_default=True, help="What the function takes: numpy, torch, torch:cuda, jax."
)
@click.option(
    "--supports",
    multiple=True,
    metavar="KEY=VALUE",
    help="What it can do, e.g. groups=False or stride=(1,2); may be repeated.",
)
@click.option(
    "--convention",
    default="torch",
    show_default=True,
    help=f"Whose conventions TARGET follows where frameworks differ: {', '.join(FRAMEWORKS)} (d2lref explain OP).",
)
@click.option(
    "--cases",
    default="ci",
    show_default=True,
    help="quick (1-2 s a subject), ci (20-30 s), deep (10 min), a count, or seconds such as 60s.",
)
@click.option(
    "--workloads",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Shapes of your own, judged beyond the cases: JSON, [{"shapes": [[8, 3, 32, 32], [6, 3, 5, 5]], "options": '
    '{"padding": 2}}, ...].',
)
@click.option("--seed", default=0, show_default=True, help="Another seed draws other cases.")
@click.option("--stop", is_flag=True, help="Stop at the first failure.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the report here; `d2lref replay` reads it.")
def check(
    names: tuple[str, ...],
    *,
    everything: bool,
    vjp: str | None,
    precision: str,
    arrays: str,
    supports: tuple[str, ...],
    convention: str,
    cases: str,
    workloads: Path | None,
    seed: int,
    stop: bool,
    out: Path | None,
) -> int:
    """Judge TARGET against everything known about SUBJECT.

    TARGET is an adapter (torch, torch:cuda, jax), one of our own variants (d2lref:unfold), path/to/file.py:function
    or package.module:function. With --all it is an adapter, a file or a module, and SUBJECT is left out.
    """
    pairs = _pairs(names, everything=everything)
    _writable(out)
    options = _refused(
        lambda: {
            "precision": precision,
            "arrays": arrays,
            "supports": _supports(supports),
            "convention": check_convention(convention),
            "cases": cases,
            "workloads": _workloads(workloads),
            "seed": seed,
        }
    )
    written: list[reports.Json] = []
    code = 0
    for subject, target in pairs:
        found = _judged(subject, target, vjp, {**options, "on_fail": "stop" if stop else "collect"})
        click.echo(str(found))
        written.append(replace(found, target=_target(target, vjp, arrays, convention)).to_json())
        _write(written, out)
        code = max(code, found.exit_code)
        if found.interrupted:
            break
    click.echo(_together(written, len(pairs)), nl=False)
    return code


def _together(written: list[reports.Json], planned: int) -> str:
    """Return one line about several subjects, "" about one."""
    if planned == 1:
        return ""
    bad = ", ".join(each["subject"] for each in written if not each["ok"])
    good = sum(each["ok"] for each in written)
    return f"\n{len(written)} of {planned} subjects judged, {good} ok{f'; not ok: {bad}' if bad else ''}\n"


def _pairs(names: tuple[str, ...], *, everything: bool) -> list[tuple[str, str]]:
    """Return (subject, target) for each run."""
    if everything:
        if len(names) != 1:
            message = f"check --all takes one TARGET, got {len(names)} arguments"
            raise BadInput(message)
        found = _refused(lambda: catalogue.targets(names[0]))
        if not found:
            message = f"{names[0]} has none of the subjects (d2lref list)"
            raise BadInput(message)
        return [(name, catalogue.member(names[0], name)) for name in found]
    if len(names) != 2:
        message = f"check takes SUBJECT and TARGET, got {len(names)} argument{'s' * (len(names) != 1)}"
        raise BadInput(message)
    return [(names[0], names[1])]


def _judged(subject: str, target: str, vjp: str | None, options: dict[str, Any]) -> oracle.Report:
    """Return the report of one run, or what an interrupted one had found."""
    gradient = _refused(lambda: catalogue.attribute(vjp)) if vjp else None
    _refused(lambda: catalogue.target(target, catalogue.subject(subject)))
    _refused(lambda: oracle.Budget.of(options["cases"]))
    _refused(lambda: rounding.precision(options["precision"]))
    try:
        with _progress(subject) as progress:
            return _refused(lambda: d2lref.check(subject, target, vjp=gradient, progress=progress, **options))
    except oracle.Interrupted as stop:
        return stop.report


def _refused(make: Callable[[], Any]) -> Any:
    """Return make(), with a ValueError or TypeError about the arguments turned into a usage error."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        if isinstance(error, catalogue.NotFound) or _about_arguments(error):
            raise BadInput(str(error)) from error
        raise


def _about_arguments(error: Exception) -> bool:
    """Return whether an error was raised while arguments were read, not inside a run."""
    frames = traceback.extract_tb(error.__traceback__)
    return not any(frame.filename.endswith("campaign.py") and frame.name in {"run", "judge"} for frame in frames)


def _supports(entries: tuple[str, ...]) -> dict[str, Any]:
    """Return {"groups": False} for ("groups=False",): values are Python literals, or words."""
    found = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        if not equals:
            message = f"--supports {entry!r}: expected KEY=VALUE"
            raise BadInput(message)
        try:
            found[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[key] = text
    return found


def _workloads(file: Path | None) -> Any:
    """Return what a file of workloads holds."""
    if file is None:
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"--workloads {file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadInput(f"--workloads {file}: is no JSON ({error})") from error


def _target(target: str, vjp: str | None, arrays: str, convention: str) -> dict[str, str]:
    told = {"vjp": vjp or "", "convention": "" if convention == FRAMEWORKS[0] else convention}
    return {"implementation": target, "arrays": arrays, **{name: value for name, value in told.items() if value}}


def _writable(out: Path | None) -> None:
    """Refuse a file that cannot be written before any work is done."""
    if out is None:
        return
    if out.is_dir() or not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        message = f"--json {out}: {'is a folder' if out.is_dir() else f'cannot write in folder {out.parent}'}"
        raise BadInput(message)


def _write(written: list[reports.Json], out: Path | None) -> None:
    """Write the reports so far; one alone stands by itself, several in a list."""
    if out is None:
        return
    data = (
        written[0] if len(written) == 1 else {"schema": reports.SCHEMA, "version": reports.VERSION, "reports": written}
    )
    reports.write_json(data, out)


@contextmanager
def _progress(subject: str, *, of: str = "cases", bad: str = "failing") -> Iterator[Callable[[oracle.Progress], None]]:
    """Yield a progress function: a bar when a person watches, a plain line every five seconds when not."""
    if not sys.stderr.isatty():
        yield _plain_lines(of, bad)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(subject, total=None)

        def show(p: oracle.Progress) -> None:
            found = f" ({p.findings} {bad})" if p.findings else ""
            bar.update(task, completed=p.done, total=p.total or None, description=f"{p.subject}{found}")

        yield show


def _plain_lines(of: str, bad: str) -> Callable[[oracle.Progress], None]:
    last = time.monotonic()

    def show(p: oracle.Progress) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            total = f" of {p.total}" if p.total else ""
            click.echo(f"{p.subject}: {p.done}{total} {of}, {p.findings} {bad}", err=True)

    return show


@cli.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", metavar="TARGET", help="Judge this implementation instead of the one in the file.")
def replay(file: Path, target: str | None) -> int:
    """Run the counterexamples of a report again, each on its minimal case.

    Exit code 0 when none fails any more, 1 when one still does, 3 when the file holds none.
    """
    try:
        data = reports.read_json(file)
    except OSError as error:
        message = f"{file}: cannot be read ({error.strerror})"
        raise BadInput(message) from error
    except ValueError as error:
        raise BadInput(str(error)) from error
    try:
        every = [(r, f) for r in data.get("reports", [data]) for f in r["findings"]]
        still = [_replayed(report, found, target) for report, found in every]
    except (KeyError, TypeError, ValueError, AttributeError, SyntaxError, IndexError, OffGrid) as error:
        message = f"{file}: a finding cannot be read: {type(error).__name__}: {error}"
        raise BadInput(message) from error
    if not every:
        click.echo(f"{file}: no findings to replay")
        return 3
    click.echo(f"{sum(still)} of {len(still)} still fail")
    return int(any(still))


def _replayed(report: reports.Json, found: reports.Json, target: str | None) -> bool:
    """Return whether a finding still fails; print one line about it."""
    op = _refused(lambda: catalogue.subject(found["subject"]))
    told = report.get("target", {})
    if isinstance(op, Op):
        op = under(op, _refused(lambda: check_convention(told.get("convention"))))
    text = target or told.get("implementation")
    if not text:
        message = "the report was written from Python and names no target: give --target"
        raise BadInput(message)
    implementation = _refused(lambda: catalogue.target(text, op))
    gradient = _refused(lambda: catalogue.attribute(told["vjp"])) if told.get("vjp") and not target else None
    library = _refused(lambda: catalogue.library(told.get("arrays", "numpy")))
    judged = _refused(lambda: oracle.implementation(op, implementation, vjp=gradient, library=library))
    verdict = _again(op, judged, found)
    word = "fails" if verdict.bad else "passes"
    ratios = f"ratio {verdict.ratio:.3g}, was {found['excess']}"
    click.echo(f"{found['subject']} {judged.name}: {found['law']}: {word} now ({ratios})")
    return verdict.bad


def _again(op: Subject, judged: oracle.Implementation, found: reports.Json) -> Verdict:
    """Return the verdict of the finding's law on its case."""
    try:
        claimed = (
            rounding.precision(found["precision"])
            if found["precision"] in rounding.PRESETS
            else _precision(found["precision"])
        )
        case = reports.case_from_json(found["case"])
        if isinstance(op, Distribution):
            trial = next(t for t in all_trials(op) if t.says == found["law"])
            make = partial(again, op, judged, claimed, trial, case)
        else:
            law = next(law for law in all_laws(op) if law.says == found["law"])
            make = partial(hold, law, oracle.Caller(op, judged, claimed), case)
    except (StopIteration, KeyError, TypeError, ValueError) as error:
        message = f"the finding cannot be read: {type(error).__name__} {error}"
        raise BadInput(message) from error
    return make()


def _precision(text: str) -> rounding.Precision:
    """Return the Precision whose repr stands in a report: keyword literals only, nothing is executed."""
    call = ast.parse(text, mode="eval").body
    if not isinstance(call, ast.Call):
        message = f"precision {text!r}"
        raise ValueError(message)
    fields = {k.arg: k.value for k in call.keywords if k.arg}
    plain = {k: ast.literal_eval(v) for k, v in fields.items() if k != "ulp"}
    ulp = fields.get("ulp")
    ulps = {k.arg: ast.literal_eval(k.value) for k in ulp.keywords if k.arg} if isinstance(ulp, ast.Call) else {}
    return rounding.Precision(**plain, ulp=rounding.Ulp(**ulps))


PROBED = "Exit code: 0 found, 2 usage or an op that is no sum of products of two arrays, 4 the implementation failed."


@cli.command("probe", epilog=PROBED)
@click.argument("subject", metavar="OP")
@click.argument("target", metavar="TARGET")
@click.option("--storage", default="float32", show_default=True, help="Format of the arrays that are handed over.")
@click.option(
    "--arrays", default="numpy", show_default=True, help="What the function takes: numpy, torch, torch:cuda, jax."
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write what was found here.")
def probe_(subject: str, target: str, *, storage: str, arrays: str, out: Path | None) -> int:
    """Tell which arithmetic TARGET really uses for OP, from a few exact calls, and what to claim for it.

    For sums of products: the bits of the factors, of partial sums and of answers, how sums are rounded, whether
    subnormal numbers survive, and whether it is a sum at all or a transform.
    """
    from d2lref.oracle.caller import Raised, WrongAnswer
    from d2lref.oracle.probe import NoSum, probe

    op = _refused(partial(catalogue.op, subject))
    _writable(out)
    claimed = _refused(lambda: rounding.Precision(storage))
    library = _refused(partial(catalogue.library, arrays))
    judged = _refused(lambda: oracle.implementation(op, catalogue.target(target, op), library=library))
    try:
        found = probe(oracle.Caller(op, judged, claimed))
    except NoSum as error:
        raise BadInput(str(error)) from error
    except (Raised, WrongAnswer) as error:
        return _say(f"{target}: {error}", JUDGE_FAILED)
    click.echo(str(found))
    if out is not None:
        reports.write_json(found.to_json(), out)
    return 0


def _a_number(_context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuse what is no number, which lies in every range."""
    if math.isnan(value):
        raise BadInput(f"--{parameter.name}: nan, expected a number")
    return value


AUDITED = (
    "Exit code: 0 ok; 1 a mistake survives, fewer than 99 % of the mutants are caught, a law catches nothing alone, or "
    "an argument about a mutant speaks of none; 2 usage; 130 interrupted."
)


@cli.command("audit", epilog=AUDITED)
@click.argument("subjects", nargs=-1, metavar="[OP]...")
@click.option("--cases", default=400, show_default=True, type=click.IntRange(min=1), help="Cases to see a mistake on.")
@click.option(
    "--share",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    callback=_a_number,
    help="Share of the mutants that is judged, evenly over the text.",
)
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the fate of every mistake here.")
def audit_(subjects: tuple[str, ...], *, cases: int, share: float, out: Path | None) -> int:
    """Judge the judge: which wrong implementations of OP (or of every op) it catches, and with which laws.

    The mistakes that a chapter knows must all be caught, and 99 of 100 mutants: copies of the chapter's text with one
    place changed (< for <=, + for -, a term, a sign or an option dropped, a number off by one, two arguments
    exchanged). Each stands once beside the right definition and once inside it, where only the laws can see it that do
    not compare with the definition. One line a law: how many it was the first to see, and a mistake that it alone
    catches.
    """
    from d2lref.oracle.audit import audit
    from d2lref.oracle.mutants import Unchangeable

    ops = [_refused(partial(catalogue.op, name)) for name in subjects or catalogue.subjects()]
    whole = not subjects and share == 1
    _writable(out)
    known, found = catalogue.equivalents(), []
    for op in ops:
        with _progress(op.name, of="mistakes", bad="not caught") as progress:
            try:
                found.append(audit(op, cases=cases, share=share, equivalent=known, progress=progress))
            except Unchangeable as error:
                raise BadInput(f"{op.name}: {error}") from error
        click.echo(str(found[-1]))
        _write([each.to_json() for each in found], out)
        if found[-1].interrupted:
            return INTERRUPTED
    stale = sorted(set(known) - {f.wrong.says for each in found for f in each.fates if f.equivalent}) if whole else []
    for line in stale:
        click.echo(f"argued to be equivalent, but caught in every op, or no mutant: {line}")
    return int(bool(stale) or not all(each.ok for each in found))


@cli.command("list")
def list_() -> None:
    """List the subjects with their variants and the number of laws and known mistakes."""
    known: dict[str, Subject] = {**catalogue.subjects(), **catalogue.distributions()}
    width = max(map(len, known))
    for name, op in known.items():
        own = f"{len(held(op))} laws, {len(op.mistakes)} known mistakes"
        variants = f"; variants {', '.join(op.variants)}" if op.variants else ""
        click.echo(f"{name:<{width}}  {own}{variants}")


@cli.command()
@click.argument("subject", metavar="OP")
def explain(subject: str) -> None:
    """Print one chapter: formula, options, variants, error bound, laws, and the mistakes it knows."""
    op = _refused(lambda: catalogue.subject(subject))
    click.echo(f"{op.name}({signature(op)})\n")
    click.echo(f"{_doc(op.definition)}\n\nSource: {op.source}\n")
    _section("Variants", [f"{name} ({v.algorithm}): {_first(v.run)}" for name, v in op.variants.items()])
    if isinstance(op, Distribution):
        _section("Distribution", [op.law])
        _section("How often a right implementation may seem wrong", [ODDS])
    else:
        _section("How wrong a correct implementation may be", [_doc(op.bound)])
        _section("Values that are not finite", [POLICY[name] for name in op.follows])
        _section("Conventions of other frameworks (--convention)", [_convention(c) for c in op.conventions])
    _section("Laws", [law.says for law in held(op)])
    _section("Refused", [f"{r.says}{'' if r.mandatory else ' (advisory)'}: {r.message}" for r in op.rejections])
    _section("Mistakes it knows", [f"{m.says} ({m.cites})" for m in op.mistakes])


POLICY = {
    "nan": "an answer is NaN exactly where the definition's is",
    "inf": "and infinite, with its sign, exactly where the definition's is",
    "zero": "zeros keep their sign: entries are moved bit for bit",
    "limit": "where an infinity would be multiplied by zero, NaN or the limit 0",
}


def _convention(c: Convention) -> str:
    """Return a convention with its defaults, and where it is documented."""
    defaults = ", ".join(f"{name}={value!r}" for name, value in c.defaults.items())
    return f"{c.name}: {c.says}{f'; by default {defaults}' if defaults else ''} ({c.source})"


ODDS = f"One run in {1 / ALPHA:,.0f}: each of its statistics at odds of {EACH:.0e}, and it reads at most {READINGS:,}."


def signature(op: Subject) -> str:
    """Return the call in Python's notation: arrays in order, options by keyword."""
    if isinstance(op, Distribution):
        words = [k if v is REQUIRED else f"{k}={v!r}" for k, v in op.options.items()]
        return ", ".join(["x" if op.operands else "shape", "*", "rng", *words])
    arrays = [f"{o.name}=None" if o.optional else o.name for o in op.operands]
    options = [k if v is REQUIRED else f"{k}={v!r}" for k, v in op.options.items()]
    return ", ".join([*arrays, *(["*"] if options else []), *options])


def _doc(function: Callable[..., Any]) -> str:
    """Return the docstring of a function, also of one whose first arguments are bound."""
    while isinstance(function, partial) and function.__doc__ == partial.__doc__:
        function = function.func
    return inspect.getdoc(function) or ""


def _first(function: Callable[..., Any]) -> str:
    return _doc(function).partition("\n")[0]


def _section(title: str, lines: list[str]) -> None:
    if lines:
        click.echo(f"{title}:")
        for line in lines:
            click.echo("  - " + line.replace("\n", "\n    "))
        click.echo()
