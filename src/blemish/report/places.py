"""Where the images of a page lie: links to them, and their paths in a CSV manifest."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

SEEN = {".png", ".jpg", ".jpeg", ".bmp"}  # what browsers show; TIFF is none of it


def link(target: Path, *, page: Path) -> str:
    """Return the address of a file in a page: relative to the page's folder where that can be, percent-encoded."""
    try:
        relative = os.path.relpath(os.path.abspath(target), os.path.dirname(os.path.abspath(page)))
    except ValueError:  # another drive
        return target.absolute().as_uri()
    # A name with a colon would else be read as an address with a scheme.
    return "./" + quote(os.fsencode(Path(relative).as_posix()))


def full_link(target: Path, *, page: Path) -> str | None:
    """Return the address of an image that browsers can show; None for another, or one that is not there."""
    return link(target, page=page) if target.suffix.lower() in SEEN and target.is_file() else None


def folder_of(paths: Iterable[Path]) -> Path:
    """Return the deepest folder below which all files lie, absolute."""
    folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # several drives
        return Path(os.path.abspath(min(folders)))


def row_path(path: Path, *, folder: Path) -> str | None:
    """Return the path of an image in a CSV manifest in a folder; None where a manifest could not hold it."""
    try:
        text = Path(os.path.abspath(path)).relative_to(folder).as_posix()
        text.encode()
    except (ValueError, UnicodeEncodeError):
        return None
    return text if text == text.rstrip() and "\0" not in text else None


def written_path(text: str) -> Path:
    r"""Return the path that `path_text` has written; \udcXX in it stands for a byte, unless a file is called so."""
    if r"\udc" not in text or os.path.lexists(text):
        return Path(text)
    return Path(re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), text))
