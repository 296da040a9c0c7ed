"""CVAT's XML, "CVAT for images 1.1": for each image its polygons, masks, ellipses, boxes, points, lines and tags.

Source: docs.cvat.ai, "XML annotation format". A file may come from anywhere: one that declares a document type, with
which a few lines could grow to fill the memory, is refused.
"""

from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from blemish.data.layouts.places import PICTURES, inside
from blemish.data.layouts.shapes import (
    Drawings,
    Shape,
    Size,
    check_runs,
    class_name,
    image_size,
    numbers,
    polygon,
    read_bytes,
)
from blemish.data.outlines import Corners, ellipse, runs_of
from blemish.errors import InputError, printable

ROOT = "annotations"
# Pixels in a box need not be of the defect, and a line has no width.
WITHOUT_OUTLINE = ("box", "polyline", "points", "tag", "cuboid", "skeleton")
NAME_OF_A_CLASS = ["labels", "label", "name"]

Attributes = dict[str, str]


def is_cvat(file: Path) -> bool:
    """Tell whether a file looks like CVAT's XML, also if it is cut; raises InputError if it cannot be read."""
    head = read_bytes(file)[:4096].replace(b"\0", b"")
    return b"<annotations" in head or file.name.casefold() == "annotations.xml"


def read_cvat(file: Path, into: Drawings) -> None:
    """Add what a CVAT file says of images; raises InputError for a file that is none."""
    _Reader(file, into).read()


class _Reader:
    """Follows the elements of a file; `path` are the names of those that are open."""

    def __init__(self, file: Path, into: Drawings) -> None:
        self.file, self.into = file, into
        self.path: list[str] = []
        self.text = ""
        self.image: Path | None = None
        self.size: Size | None = None

    def read(self) -> None:
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        data = read_bytes(self.file)
        try:
            data.decode()
            parser.Parse(data, True)
        except UnicodeDecodeError as error:
            raise self._refused(f"not UTF-8 at byte {error.start}") from None
        except expat.ExpatError as error:
            why = expat.ErrorString(error.code)
            raise self._refused(f"line {error.lineno}: not well-formed XML, or cut ({why})") from None

    def _refused(self, why: str) -> InputError:
        return InputError(f"{printable(self.file)}: {why}")

    def _doctype(self, *_: Any) -> None:
        raise self._refused("declares a document type (DOCTYPE), which CVAT does not write")

    def _start(self, name: str, attributes: Attributes) -> None:
        if not self.path and name != ROOT:
            raise self._refused(f"begins with <{printable(name)[:40]}> (expected <{ROOT}>: CVAT for images 1.1)")
        if self.path == [ROOT] and name == "track":
            raise self._refused("holds the tracks of a video (allowed: export as CVAT for images 1.1)")
        if self.path == [ROOT] and name == "image":
            with self.into.noting(self.file, str, attributes.get("name") or "an image"):
                self._open_image(attributes)
        elif self.path == [ROOT, "image"] and self.image is not None:
            with self.into.noting(self.file, str, f"{name} of {self.image.name}"):
                shape = _shape(name, attributes, self.size)
                self.into.classes.add(shape.kind)
                self.into.shapes[self.image].append(shape)
        self.path.append(name)

    def _end(self, _: str) -> None:
        if self.path[-3:] == NAME_OF_A_CLASS and self.text.strip():
            self.into.classes.add(class_name(self.text))
        self.text = ""
        if self.path == [ROOT, "image"]:
            self.image = None
        self.path.pop()

    def _characters(self, text: str) -> None:
        if self.path[-3:] == NAME_OF_A_CLASS:
            self.text += text

    def _open_image(self, attributes: Attributes) -> None:
        places, name, subset = self.into.places, attributes.get("name", ""), attributes.get("subset", "")
        size = image_size(*(_whole(attributes, key) for key in ("height", "width")))
        if size is None:
            raise ValueError("no width and height")
        # A project's export has a folder for each subset, so that two images may have one name.
        within = inside(f"{subset}/{name}") if subset else ""
        image = within and (places.at(f"{PICTURES}/{within}") or places.at(within))
        image = image or places.find(name)
        self.into.add(image, size)
        self.image, self.size = image, size


def _shape(form: str, attributes: Attributes, size: Size | None) -> Shape:
    kind = class_name(attributes.get("label"))
    if form in WITHOUT_OUTLINE:
        return Shape(kind)
    if form == "polygon":
        points = [_numbers(point) for point in attributes.get("points", "").split(";")]
        if any(len(point) != 2 for point in points):
            raise ValueError("points that are no x,y;x,y;...")
        return Shape(kind, polygons=(polygon([value for point in points for value in point]),))
    if form == "ellipse":
        x, y, across, down = (_number(attributes, key) for key in ("cx", "cy", "rx", "ry"))
        turned = _number({"rotation": "0", **attributes}, "rotation")
        return Shape(kind, polygons=(polygon(ellipse(x, y, across=across, down=down, turned=turned)),))
    if form == "mask":
        left, top, width, height = (_whole(attributes, key) for key in ("left", "top", "width", "height"))
        box, image = image_size(height, width), size or (0, 0)
        if box is None:
            raise ValueError("a mask without width and height")
        counts = [int(run) if run.is_integer() else -1 for run in _numbers(attributes.get("rle", ""))]
        runs = check_runs(counts, pixels=box[0] * box[1], of="its box")
        patch = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(box)  # row by row, within its box
        return Shape(kind, runs=(runs_of(patch, left=left, top=top, height=image[0], width=image[1]),))
    raise ValueError(f"not known (known: polygon, ellipse, mask, {', '.join(WITHOUT_OUTLINE)})")


def _whole(attributes: Attributes, key: str) -> int:
    if not (value := _number(attributes, key)).is_integer():
        raise ValueError(f"{key} {value:g} is no whole number")
    return int(value)


def _number(attributes: Attributes, key: str) -> float:
    found = _numbers(attributes.get(key, ""))
    if len(found) != 1:
        raise ValueError(f"{key} {printable(attributes.get(key, ''))[:40]} is no number")
    return found[0]


def _numbers(text: str) -> Corners:
    """Return the numbers that commas part; raises ValueError for anything else."""
    try:
        found = [float(value) for value in text.split(",")]
    except ValueError:
        raise ValueError(f"{printable(text)[:40] or 'nothing'} where numbers are expected") from None
    return numbers(found)
