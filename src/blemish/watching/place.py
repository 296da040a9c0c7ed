"""The output folder of a watch: results as `predict` writes them, and the state, for one watch at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from blemish.data.listing import RESULTS_MARK
from blemish.errors import InputError, printable
from blemish.model.header import Header
from blemish.results.folder import MODEL, storing
from blemish.results.lines import OVERLAYS
from blemish.results.write import Judge, write_model
from blemish.storage.files import LOCK, TEMPORARY, alone_in, make_folder, write_atomically
from blemish.storage.places import check_folder_writable
from blemish.watching.state import FILE, State


@contextmanager
def watch_folder(out: Path) -> Iterator[State]:
    """Yield the state in an output folder, which is made if it is not there, and keep everybody else out meanwhile.

    Raises InputError for a folder that holds anything but what an earlier watch has left, or in which another command
    is at work, StorageError if it cannot be used.
    """
    check_watch_folder(out)
    make_folder(out)
    with alone_in(out):
        check_watch_folder(out)
        write_atomically(out / RESULTS_MARK, b"blemish watch made this folder and goes on writing to it.\n")
        _clean(out / OVERLAYS)
        with State(out / FILE) as state:
            yield state


def check_watch_folder(out: Path) -> None:
    """Refuse, before any work is done for it, a folder that `watch_folder` would refuse."""
    check_folder_writable(out)
    with storing(out):
        found = set(os.listdir(out)) - {RESULTS_MARK, LOCK} if os.path.lexists(out) else set()
    if found and FILE not in found:
        raise InputError(f"{printable(out)}: is not empty and not from an earlier watch; choose another folder")


def note_model(out: Path, header: Header, *, sha256: str) -> None:
    """Write what judges the images, as `write_model` does; InputError if another model has begun the folder."""
    place = out / MODEL
    if place.exists():
        try:
            before = Judge.model_validate_json(place.read_bytes())
        except (ValidationError, OSError):
            raise InputError(f"{printable(place)}: damaged; choose another folder") from None
        if before.sha256 != sha256:
            raise InputError(f"{printable(out)}: holds verdicts of another model; choose another folder")
        if before.header == header:
            return
    write_model(out, header, sha256=sha256)


def _clean(folder: Path) -> None:
    """Remove what a killed watch was at work on."""
    with storing(folder):
        for place, _, files in os.walk(folder):
            for name in files:
                if name.endswith(TEMPORARY):
                    os.unlink(os.path.join(place, name))
