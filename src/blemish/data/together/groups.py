"""Groups: images of one part, item or day, which only the user can name; they are held out whole."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from blemish.checks import shown
from blemish.data.datasets import manifest_groups, sample_root
from blemish.data.listing import listed
from blemish.errors import InputError, printable

FOLDER = "folder"
LONGEST = 200  # characters of a rule
WAYS = "folder, or a regular expression that finds the group in an image's path"


@dataclass(frozen=True, slots=True)
class Grouping:
    """The name of each image's group, "" for one without, and in words what says so."""

    names: list[str]
    by: str


Groups = str | Sequence[str] | None  # a rule, or the group of each image, or neither: what manifests say


def check_rule(rule: str) -> None:
    """Raise InputError for a rule that is neither "folder" nor a regular expression of at most LONGEST characters."""
    if not rule or len(rule) > LONGEST:
        what = f"{len(rule)} characters" if rule else "an empty text"
        raise InputError(f"group by: {what} is not allowed, expected {WAYS}, at most {LONGEST} characters")
    if rule != FOLDER:
        _compiled(rule)


def find_groups(images: Sequence[object], *, given: Sequence[Path] = (), groups: Groups = None) -> Grouping | None:
    """Return the groups of images, or None where nothing says what belongs together.

    images: paths, or anything else, which has no name to find a group in. given: the folders, manifests and label files
    that hold them, below which their paths begin. groups: "folder", for the folder that an image lies in; another text
    is a regular expression, searched in an image's path with / between its parts: the group is what its first pair of
    parentheses holds, without any all that it finds; or the group of each image. By default it is the column `group` of
    the manifests among `given`.
    Raises InputError for a rule that is none, for images in which it finds nothing, and for groups of another number.
    """
    named = {path: group for file in given for path, group in manifest_groups(file).items()}
    if groups is None:
        known = [named.get(image, "") if isinstance(image, Path) else "" for image in images]
        return Grouping(known, "grouped by the column group") if any(named.values()) else None
    if not isinstance(groups, str):
        return Grouping(_given(groups, len(images)), "grouped as given")
    check_rule(groups)
    if any(named.values()):
        raise InputError(f"group by: {printable(given[0])} has a column group; leave the option away, or the column")
    if arrays := [index for index, image in enumerate(images) if not isinstance(image, Path)]:
        raise InputError(
            f"groups: image {arrays[0] + 1} has no path to find its group in; give the group of each image"
        )
    roots = [sample_root(path) for path in given]
    paths = [_below(image, roots) for image in images if isinstance(image, Path)]
    folders = groups == FOLDER
    names = [path.rpartition("/")[0] or "." for path in paths] if folders else _matched(paths, groups)
    return Grouping([printable(name) for name in names], f"grouped by {shown(groups)}")


def _given(groups: object, count: int) -> list[str]:
    if not isinstance(groups, Sequence) or not all(isinstance(name, str) for name in groups):
        raise InputError(f"groups: {shown(groups)} is not allowed, expected a text for each image, or {WAYS}")
    if len(groups) != count:
        raise InputError(
            f"groups: {len(groups)} for {count} images; give one for each, those held out after the others"
        )
    return [printable(name) for name in groups]


def _matched(paths: Sequence[str], rule: str) -> list[str]:
    """Return what a regular expression finds in each path; raises InputError that names paths without."""
    pattern = _compiled(rule)
    found = [pattern.search(path) for path in paths]
    names = [(match[1] if pattern.groups else match[0]) if match else None for match in found]
    if missing := [path for path, name in zip(paths, names, strict=True) if not name]:
        raise InputError(f"group by: {shown(rule)} finds no group in {len(missing)} images: {listed(missing)}")
    return [name for name in names if name]


def _compiled(rule: str) -> re.Pattern[str]:
    try:
        return re.compile(normalize("NFC", rule))
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(f"group by: {shown(rule)} is no regular expression ({error}), expected {WAYS}") from None


def _below(path: Path, roots: Sequence[Path]) -> str:
    """Return the path of an image below the deepest of the folders that hold it, or as it is given."""
    holding = [root for root in roots if path.is_relative_to(root)]
    root = max(holding, key=lambda one: len(one.parts), default=None)
    return normalize("NFC", (path.relative_to(root) if root else path).as_posix())
