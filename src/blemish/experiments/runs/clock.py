"""How far a benchmark has come, and the time it still takes, on stderr: bars on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress as Display

from blemish.experiments.grid.rows import Row
from blemish.method.learning.progress import Progress
from blemish.printing.bars import EVERY, bars
from blemish.printing.numbers import duration

FIRST_GUESS = 3.0  # seconds a row takes, until one was measured


@dataclass(frozen=True, slots=True)
class Job:
    """One model of a benchmark: what it is called, what sort it is, how much there is to do.

    load: what training it takes, in any unit that is the same for all jobs of a kind; 0 if it is trained.
    """

    title: str
    kind: str
    modules: int
    load: float
    rows: int


class Remaining:
    """Estimates the seconds left of a list of jobs, from what those before took."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.index = -1
        self.rows = 0  # of the job at work
        self.trained: dict[str, list[tuple[float, float]]] = {}  # kind -> (load, seconds) of the jobs before
        self.guess: dict[str, tuple[float, float]] = {}  # the same, of a job at work
        self.row_seconds: list[float] = []

    def seconds(self, training: float = 0.0) -> float:
        """Return the seconds left, given those that the training at work still takes."""
        later = self.jobs[self.index + 1 :]
        rows = self.jobs[self.index].rows - self.rows + sum(job.rows for job in later)
        per_row = sum(self.row_seconds) / len(self.row_seconds) if self.row_seconds else FIRST_GUESS
        return training + sum(job.load * self._rate(job.kind) for job in later) + rows * per_row

    def _rate(self, kind: str) -> float:
        """Return seconds per load: of that kind, else of all kinds, else 0."""
        known = self.trained.get(kind) or ([self.guess[kind]] if kind in self.guess else [])
        known = known or [pair for pairs in self.trained.values() for pair in pairs] or list(self.guess.values())
        return sum(seconds for _, seconds in known) / sum(load for load, _ in known) if known else 0.0


class Clock:
    """Shows the jobs of a benchmark one after the other, with the time that is left for all of them."""

    def __init__(self, jobs: Sequence[Job], console: Console) -> None:
        self.left, self.console = Remaining(jobs), console
        self.started = self.last = self.next_line = time.monotonic()
        self.display: Display | None = None
        self.status: Counter[str] = Counter()
        self.errors: set[str | None] = set()

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show bars for as long as the context lasts, if the console is a terminal."""
        display = bars(self.console)
        if self.console.is_terminal:
            self.display = display
            display.add_task("benchmark", total=None, note="")
            display.add_task("", total=None, note="")
        with display if self.display else nullcontext():
            yield

    def begin(self) -> None:
        """Begin with the next job."""
        self.left.index += 1
        self.left.rows = 0
        self.last = time.monotonic()
        self.status.clear()
        self.errors.clear()
        job = self.left.jobs[self.left.index]
        train = f"{job.modules} modules to train, " if job.load else ""
        self.console.out(f"{self._where()}, {job.title}: {train}{job.rows} rows to measure")

    def training(self, step: Progress) -> None:
        """Take note of the progress of the training at work."""
        job = self.left.jobs[self.left.index]
        seconds = time.monotonic() - self.last + step.seconds_left
        self.left.guess[job.kind] = (job.load, seconds)
        text = f"module {step.index} of {step.modules}, {step.module}: step {step.step} of {step.steps}"
        self._show(step.module, step.step, step.steps, text, self.left.seconds(step.seconds_left))

    def ready(self) -> None:
        """Take note that the maps of the job at work are there, and its rows begin."""
        job, now = self.left.jobs[self.left.index], time.monotonic()
        if job.load:
            self.left.trained.setdefault(job.kind, []).append((job.load, now - self.last))
        self.last = now

    def row(self, row: Row) -> None:
        """Take note of a row that was measured."""
        now = time.monotonic()
        self.left.row_seconds.append(now - self.last)
        self.last = now
        self.left.rows += 1
        self.status[row.status] += 1
        job = self.left.jobs[self.left.index]
        self._show("rows", self.left.rows, job.rows, f"{self.left.rows} of {job.rows} rows", self.left.seconds())
        if row.status == "error" and row.error not in self.errors:  # most rows of a model fail for one reason
            self.console.out(f"error: {row.error}")
            self.errors.add(row.error)
        if self.left.rows == job.rows:
            counts = ", ".join(f"{count} {status}" for status, count in sorted(self.status.items()))
            self.console.out(f"{self._where()}: {counts}; {duration(self.left.seconds())} left")

    def _show(self, name: str, done: int, total: int, text: str, left: float) -> None:
        if self.display:
            whole, part = self.display.task_ids
            passed = time.monotonic() - self.started
            note = f"{duration(left)} left"
            self.display.update(whole, description=self._where(), completed=passed, total=passed + left, note=note)
            self.display.update(part, description=name, completed=done, total=total, note=text)
        elif time.monotonic() >= self.next_line:
            self.console.out(f"{self._where()}, {text}; {duration(left)} left")
            self.next_line = time.monotonic() + EVERY

    def _where(self) -> str:
        return f"model {self.left.index + 1} of {len(self.left.jobs)}"
