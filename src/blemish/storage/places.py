"""Where something is to be read or written: refused, before any work is done for it, where that could not be.

What the system does not allow is a StorageError; what was typed without care (nothing at all, a file that is there
already) is an InputError.
"""

import os
from pathlib import Path

from blemish.checks import given_path
from blemish.errors import InputError, StorageError, printable


def check_writable(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse an output file that could not be written.

    Raises StorageError: impossible name, path is a folder or a device, its folder is missing or not writable;
    InputError: path is empty, or exists and overwrite is false.
    """
    target = given_path(path, "path")
    name = printable(target)
    _check_name(target, "file")
    if os.path.isdir(target):
        raise StorageError(f"{name}: is a folder; expected the name of a file")
    _check_around(target, target.parent)
    if not os.path.lexists(target):
        return
    if not (os.path.isfile(target) or os.path.islink(target)):
        raise StorageError(f"{name}: exists and is not a regular file")
    if not overwrite:
        raise exists(target)


def check_folder_writable(target: Path, *, replaced: bool = False) -> None:
    """Refuse an output folder that could not be made, with those above it, or in which nothing could be written.

    replaced: another folder is to take its place, so it is the folder around it that must be writable, and a link to a
    folder will not do. Raises StorageError.
    """
    _check_name(target, "folder")
    there = os.path.lexists(target)
    if there and (not target.is_dir() or (replaced and target.is_symlink())):
        raise StorageError(f"{printable(target)}: is not a folder")
    place = target if there and not replaced else target.parent
    while not os.path.lexists(place):
        place = place.parent
    _check_around(target, place)


def exists(target: Path) -> InputError:
    """Return the error that an output is there already."""
    return InputError(f"{printable(target)}: exists; pass --overwrite to replace it")


def _check_name(target: Path, kind: str) -> None:
    if "\0" in str(target) or len(os.fsencode(target.name)) > 255:
        raise StorageError(f"{printable(target)}: a {kind} name has at most 255 bytes and no NUL")


def _check_around(target: Path, folder: Path) -> None:
    name, place = printable(target), printable(folder)
    if not os.path.lexists(folder):
        raise StorageError(f"{name}: the folder {place} does not exist")
    if not os.path.isdir(folder):
        raise StorageError(f"{name}: {place} is not a folder")
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise StorageError(f"{name}: the folder {place} is not writable")
