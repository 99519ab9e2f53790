"""How far the job is: a bar when a person watches, plain lines when not."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

EVERY = 5.0  # seconds between plain lines


class Progress(Protocol):
    """Something that can be told how far a stage is."""

    def at(self, done: int, total: int, note: str = "") -> None:
        """Take note of how far the stage is."""
        ...

    def say(self, line: str) -> None:
        """Print a line at once."""
        ...


@contextmanager
def stage(title: str) -> Iterator[Progress]:
    """Give the progress of one stage, on standard error."""
    if not sys.stderr.isatty():
        plain = Lines(title)
        yield plain
        plain.end()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    note = TextColumn("{task.description}")
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), note)
    # It draws when it is told to: a bar that moves by itself would disturb what is timed.
    with Bars(*columns, console=Console(stderr=True), auto_refresh=False) as bars:
        yield Bar(bars)


class Bar:
    """The bar of rich."""

    def __init__(self, bars: "Bars") -> None:
        self.bars, self.task = bars, bars.add_task("", total=None)

    def at(self, done: int, total: int, note: str = "") -> None:
        """Move the bar."""
        self.bars.update(self.task, completed=done, total=total, description=note, refresh=True)

    def say(self, line: str) -> None:
        """Print above the bar."""
        self.bars.console.print(line, markup=False, highlight=False)


class Lines:
    """A line now and then, and at the end."""

    def __init__(self, title: str) -> None:
        self.title, self.started, self.told, self.last = title, time.monotonic(), time.monotonic(), ""

    def at(self, done: int, total: int, note: str = "") -> None:
        """Print a line if the last is a while ago."""
        spent = time.monotonic() - self.started
        self.last = f"{self.title}: {done} of {total}, {spent:.0f} s{f', {note}' if note else ''}"
        if time.monotonic() - self.told > EVERY:
            self.end()

    def say(self, line: str) -> None:
        """Print the line."""
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Print how far it is."""
        self.told = time.monotonic()
        if self.last:
            self.say(self.last)
            self.last = ""
