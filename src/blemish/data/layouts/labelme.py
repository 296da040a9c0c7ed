"""LabelMe's JSON: a file for each image, beside it or in a folder beside its own, with shapes and masks.

Source: github.com/wkentaro/labelme, "examples" and `labelme/utils/shape.py`.
"""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.data.layouts.places import PICTURES, inside
from blemish.data.layouts.shapes import (
    Drawings,
    Shape,
    Size,
    class_name,
    image_size,
    numbers,
    polygon,
    read_bytes,
    read_json,
)
from blemish.data.listing import listed
from blemish.data.outlines import Corners, ellipse, runs_of
from blemish.data.words import LABEL_FOLDERS
from blemish.errors import InputError, printable
from blemish.images.masks import read_mask
from blemish.images.read import image_shape

# Pixels in a box need not be of the defect, and a line has no width.
WITHOUT_OUTLINE = {"rectangle", "oriented_rectangle", "rotation", "point", "points", "line", "linestrip"}
KNOWN = sorted({"polygon", "circle", "mask", *WITHOUT_OUTLINE})
PNG = b"\x89PNG\r\n\x1a\n"


def is_labelme(file: Path) -> bool:
    """Tell whether a file looks like LabelMe's JSON, also if it is cut; raises InputError if it cannot be read."""
    data = read_bytes(file)
    return b'"shapes"' in (data.replace(b"\0", b"") if b"\0" in data[:100] else data)


def read_labelme(file: Path, into: Drawings) -> None:
    """Add what a LabelMe file says of its image; raises InputError for a file that is none."""
    content = read_json(file)
    if not isinstance(shapes := content.get("shapes"), list):
        raise InputError(f"{printable(file)}: no list shapes (expected LabelMe: shapes, imagePath)")
    with into.noting(file, str, content.get("imagePath") or "its image"):
        image = _image(file, content.get("imagePath"), into)
        size = image_size(content.get("imageHeight"), content.get("imageWidth")) or _own_size(image)
        found = into.add(image, size)
        for number, record in enumerate(shapes, start=1):
            with into.noting(file, str, f"shape {number} of {image.name}"):
                found.append(_shape(record, size))
                into.classes.add(found[-1].kind)


def _image(file: Path, named: Any, into: Drawings) -> Path:
    """Return the image of a label file: what it names, else the image of its own name; raises ValueError if none is."""
    places, own = into.places, into.places.name(file)
    stems = [place.rpartition(".")[0] for place in _beside(own)]
    beside = next((found for stem in stems if (found := places.of_stem(stem))), [])
    name = named if isinstance(named, str) else own
    try:
        image = places.at(inside(name, start=own.rpartition("/")[0]))
    except ValueError:
        if not beside:
            raise
        image = None  # as it was called on another machine
    if image is None and len(beside) > 1:
        raise ValueError(f"several images of its name: {listed(map(places.name, beside))}")
    if image is None:
        return beside[0] if beside else places.find(name)
    if beside and image not in beside:
        raise ValueError(f"imagePath names another image than {places.name(beside[0])}, which has the name of the file")
    return image


def _beside(place: str) -> list[str]:
    """Return where an image of a label file's name may lie: beside it, or where folders of labels are left out."""
    parts = place.split("/")
    places = [place]
    for index, part in enumerate(parts[:-1]):
        if part.casefold() in LABEL_FOLDERS:
            before, behind = parts[:index], parts[index + 1 :]
            places += ["/".join([*before, PICTURES, *behind]), "/".join([*before, *behind])]
    return places


def _own_size(image: Path) -> Size:
    try:
        return image_shape(image)[:2]
    except InputError as error:
        raise ValueError(str(error)) from None


def _shape(record: Any, size: Size) -> Shape:
    if not isinstance(record, dict):
        raise ValueError("not an object")
    kind, form = class_name(record.get("label")), record.get("shape_type") or "polygon"
    points = _points(record.get("points"))
    if form == "polygon":
        return Shape(kind, polygons=(polygon(points),))
    if form == "mask":
        left, top, right, bottom = map(int, _corners(points, form))
        patch = _mask(record.get("mask"), across=right - left, down=bottom - top)
        return Shape(kind, runs=(runs_of(patch, left=left, top=top, height=size[0], width=size[1]),))
    if form == "circle":
        x, y, edge_x, edge_y = _corners(points, form)
        radius = math.hypot(edge_x - x, edge_y - y)
        return Shape(kind, polygons=(polygon(ellipse(x, y, across=radius, down=radius)),))
    if isinstance(form, str) and form in WITHOUT_OUTLINE:
        return Shape(kind)
    raise ValueError(f"shape_type {printable(str(form))[:40]} not known (known: {', '.join(KNOWN)})")


def _points(points: Any) -> Corners:
    """Return x0, y0, x1, y1 ... of a list of points."""
    if not isinstance(points, list) or any(not isinstance(point, list) or len(point) != 2 for point in points):
        raise ValueError("points that are no list of [x, y]")
    return numbers([value for point in points for value in point])


def _corners(points: Corners, form: str) -> Corners:
    if len(points) != 4:
        raise ValueError(f"a {form} of {len(points) // 2} points (allowed: 2)")
    return points


def _mask(text: Any, *, across: int, down: int) -> NDArray[np.bool_]:
    """Return the pixels of a mask, which lies between two points, the last included; raises ValueError if it is none.

    across, down: how far the points are apart.
    """
    try:
        data = base64.b64decode(text if isinstance(text, str) else "")
    except ValueError:
        data = b""
    if not data.startswith(PNG):
        raise ValueError("its mask is no PNG in base64")
    try:
        patch = read_mask(data)
    except InputError as error:
        raise ValueError(f"its mask: {error}") from None
    height, width = patch.shape
    if not (across <= width <= across + 1 and down <= height <= down + 1):  # some exclude the last
        raise ValueError(f"its mask is of {width}x{height} px, its points say {across + 1}x{down + 1}")
    return patch
