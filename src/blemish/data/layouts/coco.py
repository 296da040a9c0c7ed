"""COCO's JSON: images, categories, and annotations with polygons, runs of pixels, or boxes alone.

Source: Lin et al., arXiv 1405.0312, and cocodataset.org, "Data format".
"""

from pathlib import Path
from typing import Any

from blemish.data.layouts.shapes import (
    Drawings,
    Shape,
    Size,
    check_runs,
    class_name,
    image_size,
    polygon,
    read_bytes,
    read_json,
)
from blemish.data.outlines import Runs
from blemish.errors import InputError, printable

PARTS = ("images", "annotations", "categories")
SIGNS = tuple(f'"{word}"'.encode() for word in (*PARTS, "file_name"))
LAST = 0x30 + 63  # the largest of the 64 characters of a compressed run


def is_coco(file: Path) -> bool:
    """Tell whether a file looks like COCO's JSON, also if it is cut; raises InputError if it cannot be read."""
    data = read_bytes(file)
    data = data.replace(b"\0", b"") if b"\0" in data[:100] else data  # UTF-16: to be refused, not to be overlooked
    return sum(sign in data for sign in SIGNS) > 1


def read_coco(file: Path, into: Drawings) -> None:
    """Add what a COCO file says of images; raises InputError for a file that is none."""
    content = read_json(file)
    for part in PARTS:
        if not isinstance(content.get(part), list):
            raise InputError(f"{printable(file)}: no list {part} (expected COCO: {', '.join(PARTS)})")
    classes: dict[Any, str] = {}
    for number, category in enumerate(content["categories"], start=1):
        with into.noting(file, str, f"category {number}"):
            key = _key(category, "id")
            classes[key] = class_name(category.get("name"))
    into.classes.update(classes.values())
    images = _images(file, content["images"], into)
    for number, annotation in enumerate(content["annotations"], start=1):
        with into.noting(file, _called, annotation, number, images):
            image, kind = _key(annotation, "image_id"), _key(annotation, "category_id")
            if image not in images:
                raise ValueError(f"image_id {printable(str(image))[:40]} is not among the images")
            if kind not in classes:
                raise ValueError(f"category_id {printable(str(kind))[:40]} is not among the categories")
            if (path := images[image]) is not None:
                shape, size = _shape(classes[kind], annotation.get("segmentation"))
                into.add(path, size).append(shape)


def _images(file: Path, records: list[Any], into: Drawings) -> dict[Any, Path | None]:
    """Return the images by their ids, None for those that something is wrong with, which is noted."""
    found: dict[Any, Path | None] = {}
    near = into.places.name(file.parent).strip(".")
    for number, record in enumerate(records, start=1):
        with into.noting(file, _named, record, number):
            key = _key(record, "id")
            if key in found:
                raise ValueError(f"id {printable(str(key))[:40]} given twice")
            found[key] = None
            if not isinstance(name := record.get("file_name"), str):
                raise ValueError("no file_name")
            path, size = into.places.find(name, near=near), image_size(record.get("height"), record.get("width"))
            into.add(path, size)
            found[key] = path
    return found


def _shape(kind: str, segmentation: Any) -> tuple[Shape, Size | None]:
    """Return the shape of an annotation, and the size of its image if it says that; raises ValueError if it is none."""
    if isinstance(segmentation, dict):
        runs, size = _runs(segmentation)
        return Shape(kind, runs=(runs,)), size
    if segmentation is None:
        return Shape(kind), None
    if not isinstance(segmentation, list):
        raise ValueError("segmentation is neither polygons nor run lengths")
    # Some write one polygon without the list around it, and [[]] for none.
    rings = [segmentation] if segmentation and not isinstance(segmentation[0], list) else segmentation
    return Shape(kind, polygons=tuple(polygon(ring) for ring in rings if ring != [])), None


def _runs(segmentation: dict[str, Any]) -> tuple[Runs, Size]:
    given, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(given, list) or len(given) != 2 or (size := image_size(*given)) is None:
        raise ValueError("run lengths without a size (expected [height, width])")
    counts = _decompressed(counts) if isinstance(counts, str) else counts
    return check_runs(counts, pixels=size[0] * size[1], of="the image"), size


def _decompressed(text: str) -> list[int]:
    """Return the runs of COCO's compressed form.

    Each character has 5 bits of a number, the lowest first, and a bit that says that more follow; the highest bit of
    all is the sign. From the fourth number on, what is written is the difference from the number two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        if not 0x30 <= (code := ord(character)) <= LAST:
            raise ValueError("compressed run lengths with a character that is none of theirs")
        code -= 0x30
        value |= (code & 31) << shift
        shift += 5
        if shift > 60:
            raise ValueError("compressed run lengths that are too long")
        if not code & 32:
            value -= (code & 16) << (shift - 4)
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that are cut")
    return runs


def _key(record: Any, field: str) -> Any:
    value = record.get(field) if isinstance(record, dict) else None
    if type(value) not in (int, str):
        raise ValueError(f"no {field} (expected a number)")
    return value


def _named(record: Any, number: int) -> str:
    name = record.get("file_name") if isinstance(record, dict) else None
    return name if isinstance(name, str) else f"image {number}"


def _called(annotation: Any, number: int, images: dict[Any, Path | None]) -> str:
    """Return what to call an annotation: its id, or else its number, and its image."""
    if not isinstance(annotation, dict):
        return f"annotation {number}"
    image = annotation.get("image_id")
    path = images.get(image) if isinstance(image, int | str) else None
    return f"annotation {annotation.get('id', number)}" + (f" of {path.name}" if path else "")
