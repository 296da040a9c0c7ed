"""What folders hold, listed safely: nothing outside of the root, no hidden files, no links to folders.

Images are found at any depth by their suffix, .png .jpg .jpeg .bmp .tif .tiff in any case. Other files are ignored, and
so is every hidden file and folder (.DS_Store, ._x.png), and every folder of results that predict has made.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from unicodedata import normalize

from blemish.errors import InputError, printable

RESULTS_MARK = "made-by-blemish-predict"  # a folder that holds this file is full of overlays, which are no images
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def find_images(folder: Path) -> list[Path]:
    """Return every image file under a folder, sorted by relative path.

    Raises InputError for a folder that is missing, not readable or without images, and for a link that dangles, leads
    out of the folder or stands for a folder.
    """
    if found := list_images(folder, root=folder):
        return found
    raise InputError(none_found(folder))


def none_found(place: str | Path) -> str:
    """Return what to say of a place where images are missing."""
    return f"no images found in {printable(place)} (allowed: {' '.join(SUFFIXES)})"


def list_images(folder: Path, *, root: Path) -> list[Path]:
    """Return the images under a folder, sorted by path, none if there are none; nothing may lie outside of the root.

    Raises InputError as find_images does.
    """
    return list_files(folder, root=root, suffixes=SUFFIXES)


def list_files(folder: Path, *, root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files under a folder whose names end so, in any case, as `list_images` does images."""
    top = real_path(root)
    check_inside(folder, top)
    found, pending = [], [folder]
    while pending:
        place = pending.pop()
        if (place / RESULTS_MARK).exists():
            continue
        for entry in entries(place):
            if entry.is_symlink():
                check_link(entry, top)
            if entry.is_dir():
                pending.append(Path(entry.path))
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield what a folder holds, but for hidden files and folders; in no order, and one at a time.

    Raises InputError for a folder that is missing or not readable.
    """
    try:
        with os.scandir(folder) as found:
            yield from (entry for entry in found if not entry.name.startswith("."))
    except FileNotFoundError:
        raise InputError(f"no such folder: {printable(folder)}") from None
    except NotADirectoryError:
        raise InputError(f"{printable(folder)}: not a folder") from None
    except PermissionError:
        raise InputError(f"permission denied: {printable(folder)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(
            f"{printable(folder)}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error


def is_data(entry: "os.DirEntry[str]") -> bool:
    """Tell whether something in a folder is an image or a folder, and not another file, a pipe or a device."""
    return entry.is_dir() or (entry.name.lower().endswith(SUFFIXES) and entry.is_file())


def check_link(entry: "os.DirEntry[str]", top: str) -> None:
    """Raise InputError for a link that dangles, leads out of the real path `top` or stands for a folder."""
    if not os.path.exists(entry.path):
        raise InputError(f"{printable(entry.path)}: dangling link")
    check_inside(entry.path, top)
    if entry.is_dir():
        raise InputError(f"{printable(entry.path)}: link to a folder not followed (allowed: links to files)")


def check_inside(path: str | Path, top: str) -> None:
    """Raise InputError for a path that, links followed, does not lie in the real path `top`."""
    if os.path.commonpath([real_path(path), top]) != top:
        raise InputError(f"{printable(path)}: path escapes dataset root {printable(top)}; copy the image there")


def real_path(path: str | Path) -> str:
    """Return the absolute path, links followed; raises InputError if it cannot be known."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{printable(path)}: cannot be read ({error})") from error


def folder_name(folder: Path) -> str:
    """Return a folder's own name, also of the working folder; accents may be written in two ways on two systems."""
    return normalize("NFC", os.path.basename(os.path.abspath(folder)))


def listed(names: Iterable[str | Path]) -> str:
    """Return names for a message, in the order given."""
    return ", ".join(printable(name) for name in names)


def path_text(path: Path) -> str:
    r"""Return a path as it was given, with / between its parts; bytes that are not UTF-8 become \udcXX, in ASCII."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()
