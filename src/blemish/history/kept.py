"""The images that are kept: files by their sha256 in a folder, whole or not there, and never written twice."""

import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from blemish.checks import word
from blemish.errors import InputError, StorageError, printable
from blemish.images.read import ALLOWED, READERS
from blemish.storage.files import TEMPORARY, make_folder, write_atomically
from blemish.verdict.threshold import Verdict

Keep = Literal["none", "ng", "all"]
KEEPS = ("none", "ng", "all")
RESERVE = 256 << 20  # bytes of the disk that images leave to the rows, which matter more
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif"}
OURS = re.compile(r"[0-9a-f]{64}\.(png|jpg|bmp|tif)")
STALE = 3600  # s after which a file that a writer is at work on is one that was killed

log = logging.getLogger(__name__)


class Kept:
    """A folder of images; `fault` says why the last one could not be kept, None once one could be."""

    def __init__(self, folder: Path, *, keep: Keep = "all", reserve: int = RESERVE) -> None:
        self.folder = folder
        self.keep = word("keep", keep, KEEPS)
        self.reserve = reserve
        self.fault: str | None = None

    def wants(self, verdict: Verdict) -> bool:
        """Return whether an image with this verdict is to be kept; `ng` keeps all that are not OK."""
        return self.keep == "all" or (self.keep == "ng" and verdict != "OK")

    def write(self, digest: str, suffix: str, data: bytes) -> bool:
        """Keep an image, unless it is there already; return whether it is there now.

        What goes wrong, such as a full disk, is in `fault`, and in the log once until it is over.
        """
        place = self.folder / location(digest, suffix)
        try:
            if not place.exists():
                make_folder(place.parent)
                if shutil.disk_usage(place.parent).free < self.reserve + len(data):
                    raise StorageError(f"disk full: {printable(self.folder)}")
                with suppress(InputError):  # another has just kept it
                    write_atomically(place, data, overwrite=False)
        except (StorageError, OSError) as error:
            if self.fault is None:
                log.warning("images are not kept for now: %s", error)
            self.fault = str(error)
            return False
        if self.fault is not None:
            log.warning("images are kept again: %s", printable(self.folder))
            self.fault = None
        return True

    def read(self, name: str) -> bytes | None:
        """Return the bytes of an image, None if it is gone; raises StorageError if it cannot be read."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{printable(self.folder / name)}: cannot be read: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Remove an image that may be gone already; raises StorageError."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{printable(self.folder / name)}: cannot be removed: {error.strerror}") from error

    def files(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the images that lie there, {sha256: location}, for each two digits that a sha256 may begin with.

        Files that a killed writer has left are removed; files of others are passed over.
        """
        for part in (f"{number:02x}" for number in range(256)):
            found: dict[str, str] = {}
            with suppress(FileNotFoundError), os.scandir(self.folder / part) as entries:
                for entry in entries:
                    if OURS.fullmatch(entry.name) and entry.name.startswith(part):
                        found[entry.name[:64]] = f"{part}/{entry.name}"
                    elif entry.name.endswith(TEMPORARY):
                        with suppress(OSError):
                            if time.time() - entry.stat().st_mtime > STALE:
                                os.unlink(entry.path)
            yield part, found


def location(digest: str, suffix: str) -> str:
    """Return where an image lies below the folder: two digits of its sha256, all of them and the suffix."""
    return f"{digest[:2]}/{digest}{suffix}"


def suffix_of(data: bytes) -> str:
    """Return the suffix that says what an image is, whatever it was called; raises InputError for other formats."""
    for magic, reader in READERS.items():
        if data.startswith(magic):
            return SUFFIXES[str(reader.format)]
    raise InputError(f"history: not an image ({ALLOWED})")
