"""Lines that are added to results.jsonl one by one, over days: each is there once, wherever a kill has cut in."""

import os
from pathlib import Path

from blemish.results.folder import storing


def append_lines(path: Path, lines: bytes) -> None:
    """Add lines to the end of a file, made if it is not there, and to the disk; what of them is there already stays.

    So it may be called again with the same lines after it has failed, or was killed half-way. Raises StorageError if
    they cannot be written; nothing of them is left then.
    """
    with storing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _append(descriptor, lines)
        finally:
            os.close(descriptor)


def _append(descriptor: int, lines: bytes) -> None:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, len(lines), max(0, size - len(lines)))
    begun = _begun(tail, lines)
    rest = memoryview(lines)[begun:]
    # A line of somebody else that was cut stays a line of its own.
    end = b"" if begun or not tail or tail.endswith(b"\n") else b"\n"
    try:
        for part in (memoryview(end), rest):
            written = 0
            while written < len(part):
                written += os.pwrite(descriptor, part[written:], os.fstat(descriptor).st_size)
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size - begun)
        raise


def _begun(tail: bytes, lines: bytes) -> int:
    """Return how many bytes of the lines a file that ends with `tail` ends with already."""
    whole, found = memoryview(lines), tail.find(lines[:1])
    while found >= 0:
        if whole[: len(tail) - found] == memoryview(tail)[found:]:
            return len(tail) - found
        found = tail.find(lines[:1], found + 1)
    return 0
