"""The command line of the main job."""

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from reports import judging, run, write
from reports.page import summary
from reports.records import Json, Refused
from reports.results import merge

USAGE = 2
FOLDER = click.Path(path_type=Path)
EXIT_CODES = (
    "Exit code: 0 the report is written, whatever it says; 2 usage, or a folder that cannot be written; 4 the "
    "benchmarks could not run (the report says why), or the report itself failed; 130 interrupted, after writing what "
    "was measured."
)


HELP = """Judge the reference and torch, time both on real input, and write one page about it.

\b
python -m reports                             the whole job, in at most 5 minutes on two cores
python -m reports --only judge --cases ci     judge fifty times as many cases, and time nothing
python -m reports --resume                    go on after Ctrl-C
python -m reports html reports/latest         write the page again, from the records alone
python -m reports summary reports/latest      print the same as Markdown

Every implementation of every op is judged in float32 and float64, one on each core. Then the quick benchmarks run
by themselves: layers of LeNet, VGG and ResNet-50, and filters on two photographs, against torch on one thread.
Close other programs meanwhile. The report is index.html, summary.md and results.json; each result is in the
folder `records` as soon as it is measured, and Ctrl-C writes the report from what there is.
"""


@click.group(
    help=HELP, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES
)
@click.option("--only", type=click.Choice(["judge", "bench"]), help="Do one half of the job.")
@click.option(
    "--cases",
    default="150",
    show_default=True,
    help="Cases drawn for each pair: a count, quick (400), ci (8 000), deep (160 000), or seconds such as 10s.",
)
@click.option(
    "--implementations",
    metavar="NAMES",
    help="What to judge, with commas between: d2lref (the reference: every definition and variant), d2lref:unfold, "
    "torch, torch:cuda, jax, package.module, path/to/file.py.  [default: d2lref,torch]",
)
@click.option("--ops", metavar="NAMES", help="Judge these ops alone, with commas between.  [default: every op]")
@click.option("--out", type=FOLDER, default=run.LATEST, help="Folder of the report.  [default: reports/latest]")
@click.option(
    "--without",
    type=FOLDER,
    multiple=True,
    metavar="RECORDS",
    help="Leave out the pairs that have a record there, such as one of another machine; repeatable.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="When timing stops (it gets one minute at least); --resume does what is left.",
)
@click.option("--resume", is_flag=True, help="Keep what an earlier run measured in that folder, and do the rest.")
@click.pass_context
def cli(context: click.Context, /, implementations: str | None, ops: str | None, **options: Any) -> int:
    """Do the main job, unless a command follows."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return 0
    chosen = judging.names(ops or "")
    if ops is not None and (not chosen or options["only"] == "bench"):
        raise click.UsageError("--ops: no names" if not chosen else "--ops chooses what is judged, not what is timed")
    return run.main_job(run.Options(implementations=judging.names(implementations or ""), ops=chosen, **options))


def _refuse_options(context: click.Context) -> None:
    """Refuse options of the job before a command that does not do it."""
    for name in context.params:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} belongs to the main job, not to {context.invoked_subcommand}")


@cli.command(epilog=EXIT_CODES)
@click.argument("places", nargs=-1, required=True, type=FOLDER, metavar="RECORDS...")
@click.option("--out", type=FOLDER, help="Folder of the page.  [default: that of the records, if it is one]")
def html(places: tuple[Path, ...], out: Path | None) -> int:
    """Write index.html, summary.md and results.json from records.

    RECORDS is the folder of a report, its subfolder `records`, or a results.json. Several, of different machines, give
    one page.
    """
    if out is None and len(places) > 1:
        raise Refused("html: several records, so say with --out where the page should go")
    folder = out or _home(places[0])
    write.report([write.results(place) for place in places], folder)
    click.echo(folder / "index.html")
    return 0


def _home(place: Path) -> Path:
    """Return the folder of the report that the records belong to."""
    return place.parent if place.is_file() or place.name == "records" else place


@cli.command("summary", epilog=EXIT_CODES)
@click.argument("places", nargs=-1, required=True, type=FOLDER, metavar="RECORDS...")
def summary_(places: tuple[Path, ...]) -> int:
    """Print the summary of records as Markdown."""
    whole: Json = merge([write.results(place) for place in places])
    write.need()
    click.echo(summary(whole), nl=False)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code of a command line; whatever goes wrong is one line on standard error."""
    try:
        return int(cli.main(arguments, prog_name="python -m reports", standalone_mode=False) or 0)
    except click.ClickException as error:
        return _say(error.format_message(), USAGE)
    except Refused as error:
        return _say(str(error), USAGE)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted before anything was measured", run.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the documented code for a failure of the report itself
        if os.environ.get("D2LREF_DEBUG"):
            traceback.print_exc()
        told = f"{type(error).__name__}: {error} (D2LREF_DEBUG=1 shows where)"
        return _say(f"the report itself failed: {told}", run.FAILED)


def _say(message: str, code: int) -> int:
    click.echo(f"reports: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
