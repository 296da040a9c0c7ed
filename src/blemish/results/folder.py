"""The folder of results: made, marked as such, and emptied only of what an earlier run has left in it."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blemish.data.listing import RESULTS_MARK
from blemish.errors import InputError, StorageError, printable
from blemish.results.lines import OVERLAYS
from blemish.storage.files import LOCK, TEMPORARY, alone_in, make_folder, write_atomically
from blemish.storage.places import check_folder_writable

LINES, MAPS, MODEL = "results.jsonl", "maps", "model.json"
SUFFIXES = {OVERLAYS: ".png", MAPS: ".npy"}


@contextmanager
def results_folder(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Prepare the folder of the results, and keep every other command out of it meanwhile; raises as both of these."""
    check_results(out, overwrite=overwrite)
    make_folder(out)
    with alone_in(out):
        prepare_folder(out, overwrite=overwrite)
        yield


def check_results(out: Path, *, overwrite: bool) -> None:
    """Refuse, before any work is done for it, a folder that `results_folder` would refuse; nothing is changed."""
    if os.path.lexists(out / LOCK):  # of a command at work, or one that was killed
        with alone_in(out):
            pass
    _found(out, overwrite=overwrite)


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Make the folder of the results and mark it; with overwrite, remove what an earlier run has left in it.

    Raises InputError if it holds anything and overwrite is false, or if it holds what `write` does not write or has no
    mark; StorageError if it is a file, or cannot be made or emptied.
    """
    found = _found(out, overwrite=overwrite)
    make_folder(out)
    write_atomically(out / RESULTS_MARK, b"blemish predict made this folder and may replace what is in it.\n")
    with storing(out):
        for entry in found:
            (out / entry).unlink() if entry in (LINES, MODEL) else shutil.rmtree(out / entry)


def _found(out: Path, *, overwrite: bool) -> list[str]:
    """Return what an earlier run has left in a folder; raises as `prepare_folder` does."""
    name = printable(out)
    check_folder_writable(out)
    with storing(out):
        found = sorted(set(os.listdir(out)) - {RESULTS_MARK, LOCK}) if os.path.lexists(out) else []
        if found and not overwrite:
            raise InputError(f"{name}: is not empty; pass --overwrite to replace the results in it")
        if strange := next(_strange(out, found), None):
            raise InputError(f"{name}: holds {printable(strange)}, which is no result; choose another folder")
        if found and not (out / RESULTS_MARK).is_file():
            raise InputError(f"{name}: is not empty and not from an earlier predict; choose another folder")
    return found


def _strange(out: Path, found: Iterable[str]) -> Iterator[str]:
    """Yield what `write` does not write: other names, other types of files, and links."""
    for entry in found:
        path = out / entry
        if path.is_symlink() or not (
            path.is_dir() if entry in SUFFIXES else entry in (LINES, MODEL) and path.is_file()
        ):
            yield entry
        elif entry in SUFFIXES:
            for inside in sorted(path.rglob("*")):
                if inside.is_symlink() or not (inside.is_dir() or inside.suffix in (SUFFIXES[entry], TEMPORARY)):
                    yield inside.relative_to(out).as_posix()


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the system says of a folder or a file that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"{printable(error.filename or path)}: cannot be written: {reason}") from error
