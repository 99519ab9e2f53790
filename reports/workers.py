"""Processes that do tasks and may crash or hang: the task that did it is told, and the others go on."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

CONTEXT = get_context("spawn")  # a fork of a process with threads may hang, and CUDA refuses one
PATIENCE = 0.5  # seconds between looks at the clock

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a task: a value, or a failure ("error", "crash", "timeout") with a note."""

    task: Any
    seconds: float
    value: Any = None
    failure: str = ""
    note: str = ""


def each(function: Function, tasks: Iterable[Any], workers: int, limit: float) -> Iterator[Outcome]:
    """Yield the outcome of function(task) for each task as it ends; a task may take `limit` seconds.

    `function` must be importable, tasks and values picklable. The processes end with the iteration, however it ends.
    """
    waiting = deque(tasks)
    team = [Worker(function) for _ in range(min(workers, len(waiting)))]
    try:
        for worker in team:
            worker.begin(waiting.popleft())
        while busy := [worker for worker in team if worker.task is not None]:
            for worker in busy:
                if (outcome := worker.outcome(limit)) is not None:
                    if waiting:
                        worker.begin(waiting.popleft())
                    yield outcome
            wait([worker.pipe for worker in team if worker.task is not None], timeout=PATIENCE)
    finally:
        for worker in team:
            worker.stop()


@dataclass
class Worker:
    """One process, started when it is needed and again after it was lost."""

    function: Function
    task: Any = None
    started: float = 0.0
    pipe: Connection = field(init=False)

    def __post_init__(self) -> None:
        """Start the process."""
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_work, args=(theirs, self.function), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    def begin(self, task: Any) -> None:
        """Hand the process a task."""
        if not self.process.is_alive():
            self.__post_init__()
        self.task, self.started = task, time.monotonic()
        self.pipe.send(task)

    def outcome(self, limit: float) -> Outcome | None:
        """Return the outcome of the task, or None while it goes on."""
        spent = time.monotonic() - self.started
        if self.pipe.poll():
            found = self._answer(spent)
        elif spent > limit:
            self.stop()
            found = Outcome(self.task, spent, failure="timeout", note=f"stopped after {limit:g} s")
        else:
            return None
        self.task = None
        return found

    def _answer(self, spent: float) -> Outcome:
        try:
            value, failure, note = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            note = f"the process ended with code {self.process.exitcode}"
            return Outcome(self.task, spent, failure="crash", note=note)
        return Outcome(self.task, spent, value, failure, note)

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()


def _work(pipe: Connection, function: Function) -> None:
    """Do tasks until the pipe ends. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer = (function(task), "", "")
        except Exception as error:  # noqa: BLE001 - whatever a stranger raises is told
            answer = (None, "error", f"{type(error).__name__}: {error}")
        pipe.send(answer)
