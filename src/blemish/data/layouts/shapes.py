"""What the readers of label files share: shapes on images, collected from all files, and numbers that are checked.

What is wrong with a part of a file is raised as ValueError, in words for a user, and becomes one line that names the
file and the image; a file that cannot be used at all is refused with InputError.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

from blemish.data.layouts.places import Places
from blemish.data.listing import read_file
from blemish.data.outlines import Corners, Runs
from blemish.errors import InputError, printable
from blemish.images.read import MAX_MEGAPIXELS
from blemish.storage.fields import read_object

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, slots=True)
class Shape:
    """One thing that was drawn: its class, and its outline as of `Outlines`; a box, a point, a line, a tag has none."""

    kind: str
    polygons: tuple[Corners, ...] = ()
    runs: tuple[Runs, ...] = ()

    @property
    def has_outline(self) -> bool:
        """Whether it is known which pixels are meant."""
        return bool(self.polygons or self.runs)


class Drawings:
    """What label files say of images.

    shapes: those of each image that a label file names, none if nothing is drawn on it; sizes: (height, width) of the
    image that they were drawn on, None if the file does not say; classes: the names of all that can be drawn;
    problems: a line for everything that is wrong.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.shapes: dict[Path, list[Shape]] = {}
        self.sizes: dict[Path, Size | None] = {}
        self.classes: set[str] = set()
        self.problems: list[str] = []

    def add(self, image: Path, size: Size | None) -> list[Shape]:
        """Return the shapes of an image, to be added to; raises ValueError for a second size."""
        known = self.sizes.get(image)
        if known and size and known != size:
            raise ValueError(f"drawn on {size[1]}x{size[0]} here and on {known[1]}x{known[0]} elsewhere")
        self.sizes[image] = known or size
        return self.shapes.setdefault(image, [])

    @contextmanager
    def noting(self, file: Path, called: Callable[..., str], *what: Any) -> Iterator[None]:
        """Turn a ValueError into a line that names the label file and what is called so."""
        try:
            yield
        except ValueError as error:
            self.problems.append(f"{printable(self.places.name(file))}: {printable(called(*what))[:200]}: {error}")


def class_name(value: Any) -> str:
    """Return the name of a class; raises ValueError for anything else than text."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a class without a name (expected text)")
    return normalize("NFC", value.strip())


def image_size(height: Any, width: Any) -> Size | None:
    """Return (height, width), None where a file does not say; raises ValueError for a size that no image has."""
    if not height or not width:
        return None
    if not (_is_whole(height) and _is_whole(width) and height > 0 and width > 0):
        raise ValueError(f"size {printable(f'{width}x{height}')[:80]} not allowed (allowed: whole numbers above 0)")
    if height * width > MAX_MEGAPIXELS * 1e6:
        raise ValueError(f"size {int(width)}x{int(height)} exceeds limit {MAX_MEGAPIXELS:g} Mpx")
    return int(height), int(width)


def polygon(values: Sequence[Any]) -> Corners:
    """Return the corners of a polygon from x0, y0, x1, y1 ...; raises ValueError for one that is none."""
    found = numbers(values)
    if len(found) % 2:
        raise ValueError(f"a polygon of {len(found)} numbers (allowed: x and y of each corner)")
    if len(found) < 6:
        raise ValueError(f"a polygon of {len(found) // 2} corners (allowed: 3 and more)")
    return found


def numbers(values: Any) -> Corners:
    """Return coordinates as floats; raises ValueError for what is no list of finite numbers."""
    if not isinstance(values, list | tuple) or not set(map(type, values)) <= {int, float}:
        raise ValueError("coordinates that are no numbers")
    try:
        found = tuple(map(float, values))
    except OverflowError:
        found = (math.inf,)
    if not all(map(math.isfinite, found)):
        raise ValueError("coordinates that are not finite")
    return found


def check_runs(counts: Any, *, pixels: int, of: str) -> Runs:
    """Return the runs of a mask; raises ValueError unless they are whole numbers that add up to its pixels."""
    if not isinstance(counts, list | tuple) or not set(map(type, counts)) <= {int} or any(one < 0 for one in counts):
        raise ValueError("run lengths that are no whole numbers from 0")
    if (total := sum(counts)) != pixels:
        raise ValueError(f"run lengths add up to {str(total)[:20]}, not to the {pixels} px of {of}")
    return tuple(counts)


def read_bytes(file: Path) -> bytes:
    """Return what a label file holds, without a byte order mark; raises InputError if it cannot be read."""
    return read_file(file).removeprefix(b"\xef\xbb\xbf")


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a label file; raises InputError for a file that holds none."""
    try:
        return read_object(read_bytes(file))
    except ValueError as error:
        raise InputError(f"{printable(file)}: {printable(str(error))[:200]}") from None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
