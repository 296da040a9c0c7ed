"""Runs a grid: trains what is not trained, measures what is not measured, one row after the other.

Whatever stops it, the same command goes on: rows are on the disk one by one, modules as soon as they are trained.
"""

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from blemish import version
from blemish.data.inputs import check_outside
from blemish.errors import BlemishError, InputError, StoppedError, StorageError, printable
from blemish.experiments.grid.contents import Contents, read_contents
from blemish.experiments.grid.grid import Grid, Unit, units
from blemish.experiments.grid.rows import Row, Score, Settings, append_row, read_rows, repair_rows
from blemish.experiments.runs.clock import Clock, Job
from blemish.experiments.runs.measure import Bench, Maps, measure, prepare
from blemish.experiments.store.store import Store
from blemish.method.learning.training import find_recipe
from blemish.method.pretrained import load_teacher
from blemish.method.teacher import pick_device
from blemish.storage.files import LOCK, locked, make_folder
from blemish.storage.places import check_folder_writable

DONE = ("ok", "collapsed")  # a search that collapsed would collapse again; what failed is tried again
Work = list[tuple[Unit, list[Settings]]]


def run(data: Sequence[Path], grid: Grid, *, out: Path, only: Sequence[str], console: Console) -> Counter[str]:
    """Measure every row of a grid that `out`/rows.jsonl does not hold, and return how many rows there are by status.

    data: categories, and roots of many; only: the names of the categories that are wanted. Raises InputError, before
    any work, for data, options and weights that cannot be used, and for an `out` in which another run is at work;
    StorageError if something cannot be kept; StoppedError on Ctrl-C. What goes wrong with one model or row is a row.
    """
    grid.check()
    check_folder_writable(out)
    pick_device(grid.device)
    contents = read_all(data, only=only)
    work = list(units(grid, contents, {name: weights_sha256(name, grid.weights.get(name)) for name in grid.teachers}))
    for folder in data:
        check_outside(out, folder)
    make_folder(out)
    busy = f"{printable(out)}: another benchmark is at work in it; wait, or choose another --out"
    with locked(out / LOCK, busy=busy):
        path = out / "rows.jsonl"
        repair_rows(path)
        done = {row.id for row in read_rows(path) if row.status in DONE}
        wanted = {settings.identity for _, rows in work for settings in rows}
        left = to_do(work, done)
        console.out(f"{len(wanted)} rows of {len(work)} models; {len(wanted & done)} rows were measured before")
        try:
            _run(left, grid, out=out, clock=Clock(_jobs(left, grid, out), console))
        except KeyboardInterrupt:
            raise StoppedError("interrupted; the same command continues where it stopped") from None
        return Counter(row.status for row in read_rows(path) if row.id in wanted)


def read_all(data: Sequence[Path], *, only: Sequence[str]) -> list[Contents]:
    """Return what all categories of all data sets hold; raises InputError as `read_contents`, and for a name twice."""
    contents = [one for folder in data for one in read_contents(folder, only=only)]
    names = Counter((one.data, one.category) for one in contents)
    for (root, category), count in names.items():
        if count > 1:
            raise InputError(f"data: {printable(root)} {printable(category)} is there {count} times, names must differ")
    return contents


def weights_sha256(teacher: str, file: Path | None) -> str:
    """Return the sha256 of a teacher's weights; raises InputError if they are not on this machine or do not fit."""
    return load_teacher(teacher, file).sha256


def to_do(work: Work, done: set[str]) -> Work:
    """Return the units that have rows that are not done, with these rows."""
    left = [(unit, [row for row in rows if row.identity not in done]) for unit, rows in work]
    return [(unit, rows) for unit, rows in left if rows]


def _jobs(work: Work, grid: Grid, out: Path) -> list[Job]:
    jobs = []
    for unit, rows in work:
        modules = len(Store(unit, grid, out=out).missing())
        images = unit.contents.trained if find_recipe(unit.recipe).epochs else 1  # with epochs, steps grow with images
        kind = f"{unit.teacher} {unit.recipe} {unit.method}"
        jobs.append(Job(unit.title, kind, modules, modules * images, len(rows)))
    return jobs


def _run(work: Work, grid: Grid, *, out: Path, clock: Clock) -> None:
    bench: Bench | None = None
    with clock.showing():
        for unit, rows in work:
            clock.begin()
            store = Store(unit, grid, out=out, report=clock.training)
            maps: dict[Score, Maps] = {}
            failed: dict[str, Any] = {}
            try:
                if bench is None or bench.contents != unit.contents:  # the masks of one category at a time
                    bench = prepare(unit.contents)
                maps = {score: store.maps(score) for score in sorted({settings.score for settings in rows})}
            except StorageError:
                raise
            except Exception as error:
                failed = _failure(error)
            clock.ready()
            for settings in rows:
                outcome = failed or _outcome(settings, maps[settings.score], bench, store)
                here = _here(grid.device) | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
                row = Row(**settings.model_dump(), id=settings.identity, **outcome, **here)
                append_row(out / "rows.jsonl", row)
                clock.row(row)


def _outcome(settings: Settings, maps: Maps, bench: Bench | None, store: Store) -> dict[str, Any]:
    """Return what there is to say of a row: its figures and costs, or why there are none."""
    try:
        assert bench is not None
        found = measure(settings, maps, bench)
        milliseconds = store.milliseconds(list(found.weights), settings.score)
    except StorageError:
        raise
    except Exception as error:
        return _failure(error)
    return {
        "status": "collapsed" if found.collapsed else "ok",
        "error": found.collapsed or None,
        **{key: value for key, value in asdict(found).items() if key != "collapsed"},
        "fit_seconds": store.seconds(settings.levels),
        "peak_rss_mb": store.peak_rss_mb(),
        "ms_per_image": milliseconds,
        "store": store.maps_folder.relative_to(store.out).as_posix(),
    }


def _failure(error: Exception) -> dict[str, Any]:
    """Return the status of a row that failed; an error that blemish does not raise on purpose gives its type too."""
    reason = str(error) if isinstance(error, BlemishError) else f"{type(error).__name__}: {error}"
    return {"status": "error", "error": printable(reason)[:500]}


@cache
def _here(device: str) -> dict[str, Any]:
    """Return what machine this is, and what code."""
    import torch

    place = pick_device(device)
    machine = torch.cuda.get_device_name() if place == "cuda" else _processor()
    return {
        "commit": _commit(),
        "machine": machine,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": place,
        "torch": torch.__version__,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the code, None where blemish is not run from a checkout of its own."""
    package = Path(version.__file__).resolve().parent
    git = ["git", "-C", str(package)]
    with suppress(OSError, subprocess.CalledProcessError):
        root = subprocess.check_output([*git, "rev-parse", "--show-toplevel"], text=True, stderr=subprocess.DEVNULL)
        if Path(root.strip()).resolve() == package.parents[1]:
            described = subprocess.check_output([*git, "describe", "--always", "--dirty"], text=True)
            return described.strip()
    return None
