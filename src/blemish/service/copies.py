"""A folder for the copies of bundles, below the data folder; those of servers that were killed go at the next start."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blemish.errors import BlemishError
from blemish.storage.files import lock_beside, locked, make_folder

FOLDER = "serving"  # in the data folder


@contextmanager
def own_folder(data: Path) -> Iterator[Path]:
    """Yield a new folder below the data folder, removed in the end; raises StorageError if it cannot be made.

    A lock is held beside it meanwhile, so that whoever starts next can tell what is in use from what was left.
    """
    make_folder(data / FOLDER)
    for left in (data / FOLDER).iterdir():
        if left.is_dir() and not left.is_symlink():
            with suppress(BlemishError), locked(lock_beside(left), busy="another server uses it"):
                shutil.rmtree(left, ignore_errors=True)
    own = data / FOLDER / secrets.token_hex(8)
    with locked(lock_beside(own), busy=f"service: {own.name}: is taken"):
        make_folder(own)
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)
