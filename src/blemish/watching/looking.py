"""What lies in a watched folder: its images, how each was when it was looked at, and its bytes.

Links are passed over, to files and to folders, and so is what `data/listing` passes over: what is hidden, folders of
systems, and folders of results.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blemish.data.listing import RESULTS_MARK, SUFFIXES, SYSTEM_FOLDERS, entries
from blemish.errors import InputError

LARGEST = 8 * 64_000_000 + 2**24 + 1  # bytes that are read of a file: one more than an image may have


@dataclass(frozen=True, slots=True, order=True)
class Stamp:
    """How a file was when it was looked at: time of modification in ns, bytes, number on its disk."""

    modified: int
    size: int
    number: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp | None":
        """Return the stamp of a plain file; None for anything else."""
        return cls(found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def walk(folder: Path, *, fault: Callable[[str], object] = str) -> Iterator[tuple[Path, Stamp]]:
    """Yield every image below a folder with its stamp, in no order, one at a time.

    fault: is told of each folder below it that cannot be read. Raises InputError if the folder itself cannot.
    """
    pending = [folder]
    while pending:
        place = pending.pop()
        if os.path.lexists(place / RESULTS_MARK):
            continue
        try:
            for entry in entries(place):
                if entry.is_symlink():
                    continue
                path = Path(entry.path)
                if entry.is_dir():
                    pending.append(path)
                elif is_image(path) and (found := look(path)):
                    yield path, found
        except InputError as error:
            if place == folder:
                raise
            if os.path.lexists(place):
                fault(str(error))


def look(path: Path) -> Stamp | None:
    """Return the stamp of a plain file; None where there is none."""
    try:
        return Stamp.of(os.stat(path, follow_symlinks=False))
    except (OSError, ValueError):
        return None


def is_image(path: Path) -> bool:
    """Tell whether a file is an image, by its name."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def is_watched(path: Path, folder: Path) -> bool:
    """Tell whether a path below a folder is in none that `walk` would pass over."""
    for above in path.relative_to(folder).parents:
        place = folder / above
        if above.name.startswith(".") or above.name.casefold() in SYSTEM_FOLDERS:
            return False
        if (above.name and os.path.islink(place)) or os.path.lexists(place / RESULTS_MARK):
            return False
    return True


def read(path: Path) -> tuple[bytes, Stamp | None]:
    """Return the bytes of a file, and its stamp if it has not changed meanwhile; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        before = Stamp.of(os.fstat(descriptor))
        data = stream.read(LARGEST) if before else b""
        same = before == Stamp.of(os.fstat(descriptor)) == Stamp.of(os.stat(path, follow_symlinks=False))
    return data, before if same else None
