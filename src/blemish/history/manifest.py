"""A selection as a CSV manifest (docs/datasets.md), so that what people have corrected makes the model better."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from io import StringIO

from blemish.history.records import Inspection

TEST = 0x33  # of the 256 values of a first byte: one good image in five


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a manifest; path: of a kept image below the folder of kept images."""

    path: str
    label: str
    split: str


def rows(inspections: Iterable[Inspection]) -> list[Row]:
    """Return a row for each kept image that stands as OK or NG: good or defect.

    inspections: the newest first. Of several inspections of one image the first that a person has corrected counts, or
    else the first. REVIEW says neither, and has no row. One good image in five is for the test, by its sha256, so that
    it stays there; all defects are.
    """
    found: dict[str, tuple[bool, Row | None]] = {}
    for inspection in inspections:
        said, place = bool(inspection.corrections), inspection.kept
        if place is not None and (place not in found or (said and not found[place][0])):
            found[place] = said, _row(place, inspection)
    return [row for _, row in found.values() if row is not None]


def _row(place: str, inspection: Inspection) -> Row | None:
    if inspection.standing == "REVIEW":
        return None
    if inspection.standing == "NG":
        return Row(place, "defect", "test")
    return Row(place, "good", "test" if int(inspection.sha256[:2], 16) < TEST else "train")


def as_csv(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a CSV manifest with these rows; it lies in the folder of kept images, or `--root` names it."""
    yield _line(field.name for field in fields(Row))
    for row in rows:
        yield _line(astuple(row))


def _line(cells: Iterable[str]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
