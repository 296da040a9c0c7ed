"""Images that are given to be judged: found, each with the name that its outputs get, and apart from the outputs."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import combinations, islice
from pathlib import Path, PurePosixPath

from blemish.data.datasets import files_beside, is_manifest
from blemish.data.layouts.manifest import read_paths
from blemish.data.listing import (
    find_images,
    is_folder,
    links_followed,
    list_images,
    passed_over,
    table_root,
    tables_are_elsewhere,
)
from blemish.data.samples import dim, masks_beside
from blemish.data.words import meaning
from blemish.errors import InputError, printable

SEEN = 20  # images that are looked at for what is worth a warning
LONGEST = 200  # bytes of a folder's or file's name that is made from an image's; most systems allow 255


def name_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (image, name) for each file, and for each image in each folder and each CSV manifest, that is given.

    The name is what the image's outputs are called, less their suffix: the image's path below the given folder, or that
    of the manifest (with the folder's own name where several paths are given), or the file's name. A suffix other than
    .png stays part of it, characters that do not print are escaped, long parts are cut, and a name that is taken gets
    -2, -3 ...: names differ even where case does not count, none leads out of a folder, and the same paths give the
    same names.
    Raises InputError for a path that is not there, for a data set with masks, and as `find_images` and `read_paths` do.
    """
    named: list[tuple[Path, str]] = []
    taken: set[str] = set()
    for given in paths:
        if not os.path.lexists(given):
            raise InputError(f"no such file or folder: {printable(given)}")
        folder, found = _found(given)
        if is_folder(given) and any(meaning(name) == "masks" for name in _folders(found, folder)):
            raise InputError(
                f"{printable(given)}: a data set, with masks; give a folder of images in it, such as its test"
            )
        if masks := masks_beside(found):
            raise InputError(
                f"{printable(given)}: {len(masks)} of its images are masks of others, such as {printable(masks[0])}; "
                "give a folder of photographs alone"
            )
        for path in found:
            relative = path.relative_to(folder)
            above = os.path.basename(os.path.abspath(folder)) if path != given and len(paths) > 1 else ""
            name = output_name(PurePosixPath(above, relative), taken=taken.__contains__)
            taken.add(name.casefold())
            named.append((path, name))
    return named


def _found(given: Path) -> tuple[Path, list[Path]]:
    """Return a folder and the images below it that a path stands for."""
    if is_folder(given):
        return given, find_images(given)
    return (table_root(given), read_paths(given)) if is_manifest(given) else (given.parent, [given])


def _folders(paths: Sequence[Path], root: Path) -> set[str]:
    """Return the names of the folders below a root that hold the paths."""
    return {name for folder in {path.parent for path in paths} for name in folder.relative_to(root).parts}


def remarks(given: Iterable[Path], images: Iterable[Path], *, bits: int) -> list[str]:
    """Return what to say of folders that are given and of the images in them: what is not seen, and what is dark.

    Of the images the first SEEN are looked at; bits: as of `sources.load`.
    """
    dark = [f"warning: {line}" for line in dim(list(islice(images, SEEN)), bits=bits)]
    return [*(line for path in given for line in passed_over(path)), *dark]


def check_root(given: Iterable[Path | None]) -> None:
    """Raise InputError for a root of CSV manifests where none is given: it would not be what was meant."""
    if tables_are_elsewhere() and not any(is_manifest(path) for path in given if path is not None):
        raise InputError("root: is where the paths of a CSV manifest begin, and none is given")


def check_outside(out: Path, folder: Path) -> None:
    """Raise InputError for an output that is, or lies in, a folder of input images."""
    if not is_folder(folder):
        return
    # Links may lead out of it, and then a file below it lies elsewhere in truth.
    places = {folder, *(path.parent for path in list_images(folder, root=folder))} if links_followed() else {folder}
    if any(Path(os.path.realpath(out)).is_relative_to(os.path.realpath(place)) for place in places):
        raise InputError(f"{printable(out)}: lies in the input folder {printable(folder)}; choose another place")


def check_apart(
    outputs: Iterable[Path | None], inputs: Iterable[Path | None], *, files: Iterable[Path | None] = ()
) -> None:
    """Raise InputError, naming both, for an output of a command that would destroy an input, or is another output.

    inputs: data; a manifest stands for all that it names. files: other inputs, a model or weights. An output must not
    be an input, lie in a folder of inputs, or be a folder that holds one. Links are followed, and files with several
    names are known. None stands for what was not given.
    """
    outs = [out for out in outputs if out is not None]
    for one, other in combinations(outs, 2):
        if _same(one, other):
            raise InputError(f"{printable(other)}: is the output {printable(one)} too; choose another place")
    data = [(one, [one, *files_beside(one)]) for one in inputs if one is not None]
    for given, members in [*((one, [one]) for one in files if one is not None), *data]:
        for out in outs:
            check_outside(out, given)
            for file in members:
                if _same(out, file):
                    raise InputError(f"{printable(out)}: is the input {printable(file)}; choose another place")
                if os.path.isdir(out) and Path(os.path.realpath(file)).is_relative_to(os.path.realpath(out)):
                    raise InputError(
                        f"{printable(file)}: lies in the output folder {printable(out)}; choose another place"
                    )


def _same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    with suppress(OSError):  # one of them is not there
        return os.path.samefile(one, other)
    return False


def output_name(relative: PurePosixPath, *, taken: Callable[[str], bool]) -> str:
    """Return the first name for the outputs of an image that is not taken yet, as `name_images` makes them.

    taken: tells, of a name in the lower case of `casefold`, whether another image has it.
    """
    name = "/".join(_cut(printable(part)) for part in relative.parts)
    name = name[:-4] if name.lower().endswith(".png") else name
    free, number = name, 1
    while taken(free.casefold()):
        number += 1
        free = f"{name}-{number}"
    return free


def _cut(part: str) -> str:
    return part.encode()[:LONGEST].decode(errors="ignore")
