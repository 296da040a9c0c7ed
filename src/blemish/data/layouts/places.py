"""Where the images lie that label files call by name: by their path, below images/, or by the file's name alone."""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from unicodedata import normalize

from blemish.data.listing import list_images, listed
from blemish.errors import printable

PICTURES = "images"  # the folder in which labelling tools put the images of an export
NOWHERE = re.compile(r"^(/|[A-Za-z]:)|\0")


class Places:
    """The images below a folder, by all that they are called. Neither case nor how accents are written counts.

    root: the folder; images: all that lie in it, sorted by path.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = list_images(root, root=root)
        self._exact: dict[str, Path] = {}
        self._folded: dict[str, list[Path]] = {}
        self._alone: dict[str, list[Path]] = {}
        self._stems: dict[str, list[Path]] = {}
        for path in self.images:
            name = self.name(path)
            self._exact[name] = path
            self._folded.setdefault(name.casefold(), []).append(path)
            self._alone.setdefault(name.rpartition("/")[2].casefold(), []).append(path)
            self._stems.setdefault(name[: -len(path.suffix)].casefold(), []).append(path)

    def name(self, path: Path) -> str:
        """Return the path of a file below the root, with / between its parts."""
        return normalize("NFC", path.relative_to(self.root).as_posix())

    def find(self, name: str, *, near: str = "") -> Path:
        """Return the image that a label file in the folder `near` calls by a name.

        Raises ValueError, in words for a user, if there is none, if there are several, or if the name leads out.
        """
        up = name.strip().startswith("..")
        place = inside(name, start=near if up else "")
        for candidate in [place] if up else _candidates(place, near):
            if found := self.at(candidate):
                return found
        found_alone = self._alone.get(place.rpartition("/")[2].casefold(), [])
        if len(found_alone) == 1:
            return found_alone[0]
        if found_alone:
            raise ValueError(f"{len(found_alone)} images of that name: {listed(map(self.name, found_alone))}")
        raise ValueError("no such image")

    def at(self, place: str) -> Path | None:
        """Return the image at a path below the root, None if there is none."""
        if exact := self._exact.get(place):
            return exact
        found = self._folded.get(place.casefold(), [])
        return found[0] if len(found) == 1 else None

    def of_stem(self, place: str) -> list[Path]:
        """Return the images at a path that is given without its suffix."""
        return self._stems.get(place.casefold(), [])


def inside(name: str, *, start: str = "") -> str:
    r"""Return a name, relative to a folder below the root, as a path below the root; \ parts folders as / does.

    Raises ValueError, in words for a user, for a name that leads out of the root.
    """
    given = normalize("NFC", name.strip().replace("\\", "/"))
    place = normpath(f"{start}/{given}" if start else given)
    if not given or NOWHERE.search(given) or place in (".", "..") or place.startswith("../"):
        raise ValueError(f"{printable(name)[:200]} not allowed (allowed: a path below the folder of the data set)")
    return place


def _candidates(place: str, near: str) -> Iterator[str]:
    for folder in dict.fromkeys((near, "")):
        for between in ("", PICTURES):
            yield "/".join(filter(None, (folder, between, place)))
