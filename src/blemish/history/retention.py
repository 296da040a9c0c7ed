"""What goes when it is old, or when there is too much of it: rows first, their files after.

Files are written before their rows and removed after them, so whoever is killed in between leaves a file without a row,
never a row without its file; `sweep` finds such files. Who keeps an image shares a lock of the database with others who
do, and looks for the file while holding it; who removes one holds it alone, and looks for the row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from blemish.history.database import Database
from blemish.history.kept import Kept, location
from blemish.history.tables import columns, images, inspections

BATCH = 500  # rows at a time, so that those who write wait for milliseconds only


@dataclass(frozen=True, slots=True)
class Removed:
    """How many inspections and kept images are gone."""

    inspections: int
    images: int


def tidy(database: Database, kept: Kept, *, before: datetime | None, room: int) -> Removed:
    """Remove inspections from before a time with their images, then the oldest images above `room` bytes in all.

    Inspections stay when it is only their image that goes. Raises StorageError.
    """
    old = pictures = 0
    while before is not None and (gone := _delete_inspections(database, before)):
        old += gone
    while True:
        with database.writing() as connection:
            doomed = _doomed(connection, before, room)
            connection.execute(delete(images).where(images.c.sha256.in_([row.sha256 for row in doomed])))
        if not doomed:
            return Removed(old, pictures)
        pictures += _unlink(database, kept, {row.sha256: location(row.sha256, row.suffix) for row in doomed})


def sweep(database: Database, kept: Kept) -> int:
    """Remove what a crash has left, files without rows, and rows of files that somebody else has removed; count both.

    To be called now and then, best at the start: all files are listed. Raises StorageError.
    """
    mended = 0
    for part, found in kept.files():
        with database.reading() as connection:
            known = {
                row.sha256: row for row in connection.execute(select(images).where(images.c.sha256.like(f"{part}%")))
            }
        orphans = iter([(digest, place) for digest, place in found.items() if digest not in known])
        while batch := dict(islice(orphans, BATCH)):
            mended += _unlink(database, kept, batch)
        if lost := [row for digest, row in known.items() if digest not in found]:
            mended += _forget(database, kept, lost)
    return mended


def _delete_inspections(database: Database, before: datetime) -> int:
    """Delete some inspections from before a time, with their corrections; return how many."""
    oldest = select(columns.id).where(columns.at < before).order_by(columns.at).limit(BATCH)
    with database.writing() as connection:
        return connection.execute(delete(inspections).where(columns.id.in_(oldest))).rowcount


def _doomed(connection: Connection, before: datetime | None, room: int) -> list[Row[Any]]:
    """Return some of the oldest images that are too old or too many."""
    excess = int(connection.scalar(select(func.coalesce(func.sum(images.c.bytes), 0))) or 0) - room
    doomed = []
    for row in connection.execute(select(images).order_by(images.c.at).limit(BATCH)):
        if excess <= 0 and (before is None or row.at >= before):
            break
        doomed.append(row)
        excess -= row.bytes
    return doomed


def _unlink(database: Database, kept: Kept, places: Mapping[str, str]) -> int:
    """Remove files, {sha256: location}, but for those that have been kept again meanwhile; return how many."""
    with database.writing(alone=True) as connection:
        again = set(connection.scalars(select(images.c.sha256).where(images.c.sha256.in_(places))))
        gone = [place for digest, place in places.items() if digest not in again]
        for place in gone:
            kept.remove(place)
    return len(gone)


def _forget(database: Database, kept: Kept, rows: Sequence[Row[Any]]) -> int:
    """Delete the rows of images whose files are not there; return how many."""
    with database.writing(alone=True) as connection:
        lost = [row.sha256 for row in rows if not (kept.folder / location(row.sha256, row.suffix)).exists()]
        return connection.execute(delete(images).where(images.c.sha256.in_(lost))).rowcount
