"""How far the work has come, on stderr: a live display on a terminal, plain lines elsewhere."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Display

from blemish.arguments import check_arguments
from blemish.datasets import good_images, held_out_images
from blemish.errors import BlemishError, printable
from blemish.files import check_writable, clean_stale, locked, make_folder
from blemish.results import check_outside
from blemish.samples import unlike

if TYPE_CHECKING:
    from blemish.detector import Detector
    from blemish.fitting import Progress
    from blemish.results import Record

EVERY = 10.0  # seconds between plain lines


class StoppedError(BlemishError):
    """The user has stopped a fit; the text says where the same command will go on."""

    exit_code = 130


def error_console() -> Console:
    """Return the console for progress and errors; names in square brackets are no markup to it."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def fit_to_file(
    detector: "Detector",
    data: Path,
    *,
    out: Path,
    console: Console,
    embed_teacher: bool = False,
    overwrite: bool = False,
    cache_gb: float = 8.0,
) -> float:
    """Fit a detector on the good images of `data`, save it to a model file, and return the seconds that took.

    Trained modules are kept in a folder beside the file, named after it with .partial, which is removed in the end:
    a fit that was interrupted or killed continues from it. Raises InputError, before any work, for an output that
    exists, lies in `data` or could not be written; StoppedError on Ctrl-C; and what `Detector.fit` raises.
    """
    started = time.monotonic()
    check_arguments(detector)
    check_writable(out, overwrite=overwrite)
    check_outside(out, data)
    workspace = out.with_name(f"{out.name}.partial")
    last: Progress | None = None

    def report(progress: "Progress") -> None:
        nonlocal last
        if last is None and progress.index > 1:
            console.out(f"continuing: {progress.index - 1} of {progress.modules} modules were trained before")
        last = progress
        show(progress)

    try:
        images, apart = good_images(data), held_out_images(data)
        _announce(detector, [*images, *apart], data=data, console=console)
        with _alone(workspace, out):
            check_writable(out, overwrite=overwrite)  # again: another fit may have written it by now
            clean_stale(out)
            with _training(console) as show:
                detector.fit(images, held_out=apart, workspace=workspace, report=report, cache_gb=cache_gb)
            if last is None:
                console.out("continuing: all modules were trained before")
            _save(detector, out, console=console, embed_teacher=embed_teacher)
    except KeyboardInterrupt:
        raise StoppedError(f"interrupted; the same command continues {_place(last, workspace)}") from None
    return time.monotonic() - started


def follow(records: Iterable["Record"], *, total: int, console: Console) -> Iterator["Record"]:
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
    with _display(console) as display:
        bar = display.add_task(noun, total=None, note="")
        yield lambda done, total: display.update(bar, completed=done, total=total, note=f"{done} of {total}")


def duration(seconds: float) -> str:
    """Return a time as a person would say it, such as 45 s, 3 min 20 s or 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def _alone(workspace: Path, out: Path) -> Iterator[None]:
    """Make the workspace, keep a second fit away from it for as long as this one runs, remove it if it is empty."""
    make_folder(workspace)
    busy = f"{printable(out)}: another fit is at work on it; wait, or choose another --out"
    try:
        with locked(workspace / "lock", busy=busy):
            yield
    finally:
        with suppress(OSError):  # modules of an interrupted run, or of runs with other settings, stay
            workspace.rmdir()


def _announce(detector: "Detector", images: Sequence[Path], *, data: Path, console: Console) -> None:
    """Say what a fit is going to do, and with what."""
    sizes, levels = (", ".join(map(str, sorted(numbers))) for numbers in (detector.sizes, detector.levels))
    modules = len(detector.sizes) * len(detector.levels)
    console.out(f"{printable(data)}: {len(images)} good images")
    for line in unlike(images):
        console.out(f"warning: {line}")
    console.out(f"{modules} modules: sizes {sizes} x levels {levels}; teacher {printable(detector.teacher)}")
    console.out(f"recipe {printable(detector.recipe)}, score {printable(detector.score)}, seed {detector.seed}")


def _save(detector: "Detector", out: Path, *, console: Console, embed_teacher: bool) -> None:
    """Say what a fit has met, save it, and remove the modules that were kept on the way."""
    met = detector.header_.data
    console.out(f"{len(met.train)} images trained, {len(met.held_out)} held out")
    detector.save(out, embed_teacher=embed_teacher)
    if detector.run_folder_:
        shutil.rmtree(detector.run_folder_, ignore_errors=True)


@contextmanager
def _training(console: Console) -> Iterator[Callable[["Progress"], None]]:
    """Yield what shows a fit's progress: a bar for the module at work and one for all, or a line now and then."""
    if not console.is_terminal:
        next_line = 0.0

        def tell(progress: "Progress") -> None:
            nonlocal next_line
            if progress.step == progress.steps or time.monotonic() >= next_line:
                console.out(f"{_title(progress)}: {_state(progress)}, {duration(progress.seconds_left)} left")
                next_line = time.monotonic() + EVERY

        yield tell
        return
    with _display(console) as display:
        whole = display.add_task("reading images", total=None, note="")
        part = display.add_task("", total=None, note="", visible=False)

        def update(progress: "Progress") -> None:
            if progress.step == progress.steps:
                console.out(f"{_title(progress)}: {_state(progress)}")
            speed = f"loss {progress.loss:.4g}, {progress.images_per_second:.0f} images/s"
            left = f"{duration(progress.seconds_left)} left"
            title = f"module {progress.index}/{progress.modules}"
            display.update(part, description=progress.module, completed=progress.step, total=progress.steps, note=speed)
            display.update(part, visible=True)
            display.update(whole, description=title, completed=progress.share_done, total=1, note=left)

        yield update


def _display(console: Console) -> Display:
    columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TaskProgressColumn()
    # Refreshed rarely: the processor has better things to do.
    return Display(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True, expand=True,
                   refresh_per_second=4)  # fmt: skip


def _title(progress: "Progress") -> str:
    return f"module {progress.index} of {progress.modules}, {progress.module}"


def _state(progress: "Progress") -> str:
    done = "trained" if progress.step == progress.steps else f"step {progress.step} of {progress.steps}"
    kept = ", features in float16" if progress.half else ""
    return f"{done}, loss {progress.loss:.4g}, {progress.images_per_second:.0f} images/s{kept}"


def _place(last: "Progress | None", workspace: Path) -> str:
    """Say with which module a stopped fit continues: one whose last step was reported may have been kept, or not."""
    if last is None:
        return "where it stopped"
    newest = max(workspace.glob("*/*.safetensors"), key=lambda file: file.stat().st_mtime_ns, default=None)
    kept = newest is not None and newest.stem == last.module.replace("/", "-")
    if last.index + kept > last.modules:
        return f"after the last of {last.modules} modules"
    return f"with module {last.index + kept} of {last.modules}"
