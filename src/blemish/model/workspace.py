"""A fit to a file: alone at its work, continued where it was interrupted, and the file whole in the end."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from blemish.data.datasets import AS_THEY_ARE, good_images, held_out_images, together
from blemish.data.inputs import check_apart
from blemish.data.layouts.labels import Labels, Say
from blemish.data.listing import passed_over
from blemish.data.samples import dim, unlike
from blemish.data.together.groups import check_rule, find_groups
from blemish.errors import InputError, StoppedError, printable
from blemish.images.roi import WHOLE, Interest, read_roi
from blemish.images.tiles import TilesPart
from blemish.method.learning.progress import Progress, Report
from blemish.model.arguments import Arguments
from blemish.model.assembly import save
from blemish.model.fit import Fitted, fit
from blemish.storage.files import clean_stale, locked, make_folder
from blemish.storage.places import check_writable
from blemish.verdict.threshold import Budget

Showing = Callable[[], AbstractContextManager[Report]]  # what shows the progress of a fit while that is entered


def fit_to_file(
    arguments: Arguments,
    data: Path,
    *,
    out: Path,
    say: Say,
    showing: Showing,
    embed_teacher: bool = False,
    overwrite: bool = False,
    cache_gb: float = 8.0,
    jobs: int | None = None,
    labels: Labels = AS_THEY_ARE,
    wanted: Budget | None = None,
    group_by: str | None = None,
    interest: Interest = WHOLE,
) -> tuple[Fitted, float]:
    """Fit on the good images of `data`, write the model file, and return what was fitted and the seconds that took.

    group_by: the rule of `find_groups`. Trained modules are kept in a folder beside the file, named after it with
    .partial, which is removed in the end: a fit that was interrupted or killed continues from it. Raises, before any
    work, InputError for an output that exists or lies in `data`, StorageError for one that could not be written;
    StoppedError on Ctrl-C; and what `fit` raises.
    """
    started = time.monotonic()
    arguments.check()
    if group_by is not None:
        check_rule(group_by)
    check_writable(out, overwrite=overwrite)
    weights = Path(arguments.weights) if arguments.weights is not None else None
    check_apart([out], [data], files=[weights, *interest.files])
    roi = read_roi(interest, side=arguments.reference_size)
    workspace, follower = out.with_name(f"{out.name}.partial"), _Follower(say)
    try:
        images, apart = good_images(data, labels=labels), held_out_images(data, labels=labels)
        groups = find_groups([*images, *apart], given=[data], groups=group_by)
        tiles = arguments.tiles_of(images)
        announce(arguments, [*images, *apart], data=data, say=say, tiles=tiles)
        if roi is not None:
            say(f"what counts is {roi.words}")
        with _alone(workspace, out):
            check_writable(out, overwrite=overwrite)  # again: another fit may have written it by now
            clean_stale(out)
            with showing() as show:
                fitted = fit(
                    arguments, images, held_out=apart, workspace=workspace, report=follower.to(show), cache_gb=cache_gb,
                    jobs=jobs, wanted=wanted, groups=groups, say=say, interest=interest,
                )  # fmt: skip
            if follower.last is None:
                say("continuing: all modules were trained before")
            _save(fitted, out, say=say, embed_teacher=embed_teacher, overwrite=overwrite)
    except KeyboardInterrupt:
        raise StoppedError(f"interrupted; the same command continues {_place(follower.last, workspace)}") from None
    return fitted, time.monotonic() - started


def _save(fitted: Fitted, out: Path, *, say: Say, embed_teacher: bool, overwrite: bool) -> None:
    """Say what a fit has met, save it, and remove the modules that were kept on the way."""
    met = fitted.model.header.data
    say(f"{len(met.train)} images trained, {len(met.held_out)} held out")
    try:
        save(fitted.model, out, embed_teacher=embed_teacher, overwrite=overwrite)
    except InputError:
        way = "the same command with --overwrite does not train again; with another --out it does"
        raise InputError(f"{printable(out)}: appeared meanwhile; the trained modules are kept: {way}") from None
    if fitted.run_folder:
        shutil.rmtree(fitted.run_folder, ignore_errors=True)


class _Follower:
    """Passes progress on, says where a fit goes on that was interrupted, and keeps the last that was reported."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.last: Progress | None = None

    def to(self, show: Report) -> Report:
        def report(progress: Progress) -> None:
            if self.last is None and progress.kept:
                self.say(f"continuing: {progress.kept} of {progress.modules} modules were trained before")
            self.last = progress
            show(progress)

        return report


def announce(
    arguments: Arguments, images: Sequence[Path], *, data: Path, say: Say, tiles: TilesPart | None = None
) -> None:
    """Say what a fit is going to do, and with what."""
    sizes, levels = (", ".join(map(str, sorted(numbers))) for numbers in (arguments.sizes, arguments.levels))
    modules = len(arguments.sizes) * len(arguments.levels)
    say(f"{printable(data)}: {len(images)} good {'image' if len(images) == 1 else 'images'}")
    for line in [*together(data, images), *passed_over(data)]:
        say(line)
    for line in [*unlike(images, tiled=tiles is not None), *dim(images, bits=arguments.bits)]:
        say(f"warning: {line}")
    what = "1 module" if modules == 1 else f"{modules} modules"
    say(f"{what}: sizes {sizes} x levels {levels}; teacher {printable(arguments.teacher)}")
    if tiles:
        say(tiles.words)
    say(f"recipe {printable(arguments.recipe)}, score {printable(arguments.score)}, seed {arguments.seed}")


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


def _place(last: Progress | None, workspace: Path) -> str:
    """Say where a stopped fit continues."""
    if last is None:
        return "where it stopped"
    newest = max(workspace.glob("*/"), key=lambda folder: folder.stat().st_mtime_ns, default=workspace)
    kept = len(list(newest.glob("*.safetensors")))
    return f"after {kept} of {last.modules} modules"
