"""How far the work has come, on stderr: a live display on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as Display

from blemish.method.learning.progress import Progress, Report
from blemish.printing.numbers import duration
from blemish.results.lines import Record

EVERY = 10.0  # seconds between plain lines


def say(lines: Iterable[str]) -> None:
    """Print lines to stderr, where progress goes."""
    for line in lines:
        error_console().out(line)


def error_console() -> Console:
    """Return the console for progress and errors; names in square brackets are no markup to it."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def follow(records: Iterable[Record], *, total: int, console: Console) -> Iterator[Record]:
    """Pass on the records of images, show how many there were, and give each that could not be used its line."""
    with counting(console, "images") as report:
        for done, record in enumerate(records, start=1):
            if "error" in record:
                console.out(f"error: {record['error']}")
            report(done, total)
            yield record


@contextmanager
def counting(console: Console, noun: str) -> Iterator[Callable[[int, int], None]]:
    """Show how many of a number of things are done: yields what is to be called with the two numbers."""
    if not console.is_terminal:
        next_line = time.monotonic() + EVERY

        def tell(done: int, total: int) -> None:
            nonlocal next_line
            if time.monotonic() >= next_line:
                console.out(f"{done} of {total} {noun}")
                next_line = time.monotonic() + EVERY

        yield tell
        return
    with bars(console) as display:
        bar = display.add_task(noun, total=None, note="")
        yield lambda done, total: display.update(bar, completed=done, total=total, note=f"{done} of {total}")


@contextmanager
def training(console: Console) -> Iterator[Report]:
    """Yield what shows a fit's progress: a bar for each module at work and one for all, or a line now and then."""
    if not console.is_terminal:
        next_line = 0.0

        def tell(progress: Progress) -> None:
            nonlocal next_line
            if progress.step == progress.steps or time.monotonic() >= next_line:
                console.out(f"{_title(progress)}: {_state(progress)}, {duration(progress.seconds_left)} left")
                next_line = time.monotonic() + EVERY

        yield tell
        return
    with bars(console) as display:
        whole = display.add_task("reading images", total=None, note="")
        at_work: dict[str, TaskID] = {}

        def update(progress: Progress) -> None:
            if progress.module not in at_work:
                at_work[progress.module] = display.add_task(progress.module, total=progress.steps, note="")
            speed = f"loss {progress.loss:.4g}, {progress.images_per_second:.0f} images/s"
            display.update(at_work[progress.module], completed=progress.step, note=speed)
            if progress.step == progress.steps:
                console.out(f"{_title(progress)}: {_state(progress)}")
                display.remove_task(at_work.pop(progress.module))
            title, left = f"{progress.modules} modules", f"{duration(progress.seconds_left)} left"
            display.update(whole, description=title, completed=progress.share_done, total=1, note=left)

        yield update


def bars(console: Console) -> Display:
    """Return a display of named bars with a note each, on a terminal, gone in the end."""
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn()
    # Refreshed rarely: the processor has better things to do.
    return Display(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True, expand=True,
                   refresh_per_second=4)  # fmt: skip


def _title(progress: Progress) -> str:
    return f"module {progress.index} of {progress.modules}, {progress.module}"


def _state(progress: Progress) -> str:
    done = "trained" if progress.step == progress.steps else f"step {progress.step} of {progress.steps}"
    kept = ", features in float16" if progress.half else ""
    return f"{done}, loss {progress.loss:.4g}, {progress.images_per_second:.0f} images/s{kept}"
