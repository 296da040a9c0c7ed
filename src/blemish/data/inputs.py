"""Images that are given to be judged: found, each with the name that its outputs get, and apart from the outputs."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from blemish.data.listing import find_images
from blemish.data.words import meaning
from blemish.errors import InputError, printable

LONGEST = 200  # bytes of a folder's or file's name that is made from an image's; most systems allow 255


def name_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (image, name) for each file, and for each image in each folder, that is given.

    The name is what the image's outputs are called, less their suffix: the image's path below the given folder (with
    that folder's own name where several paths are given), or the file's name. A suffix other than .png stays part of
    it, characters that do not print are escaped, long parts are cut, and a name that is taken gets -2, -3 ...: names
    differ even where case does not count, none leads out of a folder, and the same paths give the same names.
    Raises InputError for a path that is not there, for a data set with masks, and as `find_images` does.
    """
    named: list[tuple[Path, str]] = []
    taken: set[str] = set()
    for given in paths:
        if not os.path.lexists(given):
            raise InputError(f"no such file or folder: {printable(given)}")
        images = find_images(given) if os.path.isdir(given) else [given]
        folders = {folder for path in images if path != given for folder in path.relative_to(given).parts[:-1]}
        if any(meaning(folder) == "masks" for folder in folders):
            raise InputError(
                f"{printable(given)}: a data set, with masks; give a folder of images in it, such as its test"
            )
        for path in images:
            relative = path.relative_to(given) if path != given else Path(path.name)
            above = os.path.basename(os.path.abspath(given)) if path != given and len(paths) > 1 else ""
            named.append((path, _free(PurePosixPath(above, relative), taken)))
    return named


def check_outside(out: Path, folder: Path) -> None:
    """Raise InputError for an output that is, or lies in, a folder of input images."""
    if os.path.isdir(folder) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{printable(out)}: lies in the input folder {printable(folder)}; choose another place")


def check_inputs(out: Path, paths: Iterable[Path]) -> None:
    """Raise InputError for an output folder that lies in a folder of input images, or holds inputs itself."""
    for path in paths:
        check_outside(out, path)
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
            raise InputError(f"{printable(path)}: lies in the output folder {printable(out)}; choose another place")


def _free(relative: PurePosixPath, taken: set[str]) -> str:
    """Return the first name for an image that is not taken yet, and take it."""
    name = "/".join(_cut(printable(part)) for part in relative.parts)
    name = name[:-4] if name.lower().endswith(".png") else name
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


def _cut(part: str) -> str:
    return part.encode()[:LONGEST].decode(errors="ignore")
