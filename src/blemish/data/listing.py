"""What folders hold, listed safely: no hidden files, and no links to folders or out of the root unless asked for.

Images are found at any depth by their suffix, .png .jpg .jpeg .bmp .tif .tiff in any case. Other files are ignored, and
so is every hidden file and folder (.DS_Store, ._x.png), every folder that systems keep for themselves (lost+found), and
every folder of results that predict has made.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from unicodedata import normalize

from blemish.errors import InputError, printable

RESULTS_MARK = "made-by-blemish-predict"  # a folder that holds this file is full of overlays, which are no images
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# Pictures all the same, by other suffixes; who has some of them wants to know that they are not seen.
OTHER_PICTURES = frozenset(
    (
        ".webp", ".jfif", ".jpe", ".jif", ".dib", ".gif", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".ppm",
        ".pgm", ".pbm", ".pnm", ".tga", ".exr", ".dng", ".raw", ".nef", ".cr2", ".cr3", ".arw",
    )
)  # fmt: skip
SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        "lost+found", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "@eaDir", "@Recycle", "#recycle",
        "#snapshot", "@tmp", "__MACOSX",
    )
)  # fmt: skip
_FOLLOWED = ContextVar("links are followed", default=False)
_TABLES: ContextVar[Path | None] = ContextVar("where the paths of tables begin", default=None)
NAMED = 10  # names in one message; of more the number is enough


def follow_links(wanted: bool) -> None:
    """Let links lead out of a data set, and stand for folders, from now on; by default neither is followed."""
    _FOLLOWED.set(wanted)


def links_followed() -> bool:
    """Return whether links are followed."""
    return _FOLLOWED.get()


def read_tables_below(root: Path | None) -> None:
    """Let the paths of CSV manifests begin at a folder from now on; by default each begins at the manifest's own.

    Raises InputError for a root that is no folder.
    """
    if root is not None and not root.is_dir():
        what = "not a folder" if os.path.lexists(root) else "no such folder"
        raise InputError(f"root: {what}: {printable(root)}")
    _TABLES.set(root)


def table_root(file: Path) -> Path:
    """Return the folder at which the paths of a CSV manifest begin."""
    return _TABLES.get() or file.parent


def tables_are_elsewhere() -> bool:
    """Return whether the paths of CSV manifests begin at a folder that was given."""
    return _TABLES.get() is not None


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
    found, pending = [], [(folder, {real_path(folder)})]
    while pending:
        place, above = pending.pop()
        if os.path.lexists(place / RESULTS_MARK):
            continue
        for entry in entries(place):
            if entry.is_symlink():
                check_link(entry, top)
            if entry.is_dir():
                if (real := real_path(entry.path)) not in above:  # a link that leads back would never end
                    pending.append((Path(entry.path), above | {real}))
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


class Entry:
    """Something in a folder: its name and path, and what it is, links followed.

    Where a link may not be followed, InputError says so; one that leads nowhere, or in a circle, is neither.
    """

    def __init__(self, found: "os.DirEntry[str]") -> None:
        self.name, self.path, self._found = found.name, found.path, found

    def is_symlink(self) -> bool:
        """Tell whether it is a link."""
        return self._found.is_symlink()

    def is_dir(self) -> bool:
        """Tell whether it is, or stands for, a folder."""
        return is_folder(self.path) if self.is_symlink() else self._found.is_dir()

    def is_file(self) -> bool:
        """Tell whether it is, or stands for, a file."""
        return _is(self.path, stat.S_ISREG) if self.is_symlink() else self._found.is_file()


def entries(folder: Path) -> Iterator[Entry]:
    """Yield what a folder holds, but for what is hidden and folders of systems; in no order, and one at a time.

    Raises InputError for a folder that is missing or not readable.
    """
    yield from (entry for entry in _scanned(folder) if not _is_hidden(entry))


def is_folder(path: str | Path) -> bool:
    """Tell whether there is a folder at a path; raises InputError where that may not be known."""
    return _is(path, stat.S_ISDIR)


def _is(path: str | Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except PermissionError:
        effective = os.access in os.supports_effective_ids
        above = [one for one in reversed(Path(path).parents) if not os.access(one, os.X_OK, effective_ids=effective)]
        raise InputError(f"permission denied: {printable(above[0] if above else path)}") from None
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False


def passed_over(folder: Path) -> list[str]:
    """Return what to say of pictures below a folder that are not seen, and of folders of systems; often nothing."""
    suffixes: Counter[str] = Counter()
    systems: list[str] = []
    pending = [folder]
    while pending:
        with suppress(InputError):  # of a folder that cannot be read: said by who has to read it
            for entry in _scanned(pending.pop()):
                if entry.name.casefold() in SYSTEM_FOLDERS and entry.is_dir():
                    systems.append(os.path.relpath(entry.path, folder))
                elif entry.is_symlink() or entry.name.startswith("."):
                    continue
                elif entry.is_dir():
                    pending.append(Path(entry.path))
                else:
                    suffixes[os.path.splitext(entry.name)[1].lower()] += 1
    pictures = [f"{count} {suffix}" for suffix, count in sorted(suffixes.items()) if suffix in OTHER_PICTURES]
    lines = [f"passed over: {', '.join(pictures)} files (allowed: {' '.join(SUFFIXES)})"] if pictures else []
    return lines + ([f"passed over: folders of the system: {listed(sorted(systems))}"] if systems else [])


def is_data(entry: Entry) -> bool:
    """Tell whether something in a folder is an image or a folder, and not another file, a pipe or a device."""
    return entry.is_dir() or (entry.name.lower().endswith(SUFFIXES) and entry.is_file())


def check_link(entry: Entry, top: str) -> None:
    """Raise InputError for a link that dangles and, unless followed, leads out of `top` or stands for a folder."""
    if not (entry.is_dir() or os.path.exists(entry.path)):
        raise InputError(f"{printable(entry.path)}: dangling link")
    check_inside(entry.path, top)
    if entry.is_dir() and not _FOLLOWED.get():
        raise InputError(f"{printable(entry.path)}: link to a folder not followed (--follow-links follows it)")


def check_inside(path: str | Path, top: str) -> None:
    """Raise InputError for a path that leads out of the real path `top` by links, unless these are followed."""
    if os.path.commonpath([real_path(path), top]) != top and not _FOLLOWED.get():
        ways = "copy the image there, or follow links with --follow-links"
        raise InputError(f"{printable(path)}: path escapes dataset root {printable(top)}; {ways}")


def real_path(path: str | Path) -> str:
    """Return the absolute path, links followed; raises InputError if it cannot be known."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{printable(path)}: cannot be read ({error})") from error


def read_file(file: Path) -> bytes:
    """Return what a table or a label file holds; raises InputError if it cannot be read."""
    name = printable(file)
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"no such file: {name}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def folder_name(folder: Path) -> str:
    """Return a folder's own name, also of the working folder; accents may be written in two ways on two systems."""
    return normalize("NFC", os.path.basename(os.path.abspath(folder)))


def listed(names: Iterable[str | Path]) -> str:
    """Return names for a message, in the order given; of many the first NAMED, and how many there are more."""
    every = [printable(name) for name in names]
    more = [f"and {len(every) - NAMED} more"] if len(every) > NAMED else []
    return ", ".join([*every[:NAMED], *more])


def first_of(problems: Sequence[str]) -> str:
    """Return problems for one message: the first, and how many there are more."""
    more = [f"and {len(problems) - NAMED} problems more"] if len(problems) > NAMED else []
    return "; ".join([*problems[:NAMED], *more])


def _is_hidden(entry: Entry) -> bool:
    return entry.name.startswith(".") or (entry.name.casefold() in SYSTEM_FOLDERS and entry.is_dir())


def path_text(path: Path) -> str:
    r"""Return a path as it was given, with / between its parts; bytes that are not UTF-8 become \udcXX, in ASCII."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _scanned(folder: Path) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as found:
            yield from map(Entry, found)
    except FileNotFoundError:
        raise InputError(f"no such folder: {printable(folder)}") from None
    except NotADirectoryError:
        raise InputError(f"{printable(folder)}: not a folder, nor a CSV manifest (.csv)") from None
    except PermissionError:
        raise InputError(f"permission denied: {printable(folder)}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(
            f"{printable(folder)}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
