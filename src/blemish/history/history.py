"""The history, opened: what a service, a page or a watcher asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Self

from sqlalchemy import select

from blemish.checks import whole
from blemish.history import figures, manifest, retention, selection, writing
from blemish.history.database import Database
from blemish.history.kept import RESERVE, Keep, Kept, suffix_of
from blemish.history.migrating import bring_up
from blemish.history.records import Correction, Inspection, Judged, NamedModel, Selection, ThresholdChange, now
from blemish.history.tables import models
from blemish.storage.files import make_folder

FILE, IMAGES = "history.sqlite", "images"  # in the data folder
ROOM = 20_000_000_000  # bytes of kept images
EVERYTHING = Selection()
NUMBERS = range(1, 1 << 63)  # of inspections, as databases count them
CHUNK = 1000  # inspections of a selection that are read at a time


@dataclass(frozen=True, slots=True)
class Added:
    """The number of a new inspection, the sha256 of its image, and whether the image is kept."""

    id: int
    sha256: str
    kept: bool


class History:
    """What was judged; made by `History.open`. Any number of threads and processes may use one at the same time.

    images: the kept images, whose `fault` says why none can be kept for now. Every method raises StorageError if the
    database cannot be used, and InputError for a value that it cannot hold.
    """

    def __init__(self, database: Database, images: Kept) -> None:
        self.database = database
        self.images = images
        self._models: dict[tuple[str, str], int] = {}

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        url: str | None = None,
        keep: Keep = "all",
        reserve: int = RESERVE,
        patience: float | None = None,
    ) -> Self:
        """Open the history in a data folder, made if it is not there, and bring its database to the tables of today.

        url: of another database than the SQLite file in the folder; all who share a database share the folder. keep:
        which images are kept, with `ng` those that are not OK; reserve: bytes of the disk that they leave free;
        patience: s that a writer waits for others, see `Database`. Raises InputError for a wrong URL and for a database
        of a newer version, StorageError for one that cannot be used.
        """
        images = Kept(folder / IMAGES, keep=keep, reserve=reserve)
        make_folder(images.folder)
        database = Database(url, patience=patience) if url else Database.file(folder / FILE, patience=patience)
        try:
            bring_up(database)
        except BaseException:
            database.close()
            raise
        return cls(database, images)

    def close(self) -> None:
        """Let all connections go."""
        self.database.close()

    def add(self, judged: Judged, image: bytes) -> Added:
        """Take an inspection with the bytes of its image; once this returns, a crash does not lose it.

        What hinders an image from being kept, such as a full disk, hinders nothing else. Raises InputError for bytes
        that are no image.
        """
        digest, suffix = sha256(image).hexdigest(), suffix_of(image)
        model = self._model(judged.model, judged.fingerprint)
        kept = self.images.wants(judged.verdict) and self.images.write(digest, suffix, image)
        with self.database.writing(sharing=kept) as connection:
            # Once more, as a file that was there may be gone by now; while this lasts nobody removes it.
            if kept and (kept := self.images.write(digest, suffix, image)):
                writing.add_image(connection, digest, suffix, size=len(image), at=judged.at)
            number = writing.add_inspection(connection, judged, digest=digest, model=model)
        return Added(number, digest, kept)

    def correct(self, number: int, correction: Correction) -> None:
        """Let another verdict of an inspection stand; what was said before stays. InputError if it is not there."""
        number = whole("inspection", number, allowed=NUMBERS)
        with self.database.writing() as connection:
            writing.correct(connection, number, correction)

    def change_thresholds(self, change: ThresholdChange) -> None:
        """Note other thresholds of a model; the newest count."""
        model = self._model(change.model, change.fingerprint)
        with self.database.writing() as connection:
            writing.change_thresholds(connection, change, model=model)

    def threshold_changes(self, model: NamedModel) -> list[ThresholdChange]:
        """Return the changes of a model's thresholds, the newest first; none while those of its bundle count."""
        with self.database.reading() as connection:
            return writing.threshold_changes_of(connection, model)

    def page(self, chosen: Selection = EVERYTHING, *, before: str | None = None, limit: int = 50) -> selection.Page:
        """Return inspections, the newest first; before: `next` of the page before. InputError for another text."""
        limit = whole("limit", limit, allowed=range(1, CHUNK + 1))
        with self.database.reading() as connection:
            return selection.page(connection, chosen, before=before, limit=limit)

    def one(self, number: int) -> Inspection:
        """Return an inspection with its corrections; InputError if it is not there."""
        number = whole("inspection", number, allowed=NUMBERS)
        with self.database.reading() as connection:
            return selection.one(connection, number)

    def latest(self) -> tuple[int, int]:
        """Return the highest numbers of inspections and of corrections, 0 without any."""
        with self.database.reading() as connection:
            return selection.latest(connection)

    def since(self, inspection: int, correction: int, *, limit: int = CHUNK) -> tuple[list[Inspection], int]:
        """Return inspections above a number or with a correction above another, and the highest correction there is."""
        with self.database.reading() as connection:
            found = selection.since(connection, inspection, correction, limit=limit)
            return found, selection.latest(connection)[1]

    def each(self, chosen: Selection = EVERYTHING) -> Iterator[Inspection]:
        """Yield all inspections of a selection, the newest first, in bounded memory."""
        page = self.page(chosen, limit=CHUNK)
        yield from page.inspections
        while page.next is not None:
            page = self.page(chosen, before=page.next, limit=CHUNK)
            yield from page.inspections

    def models(self) -> list[NamedModel]:
        """Return every model that the history knows, the newest first."""
        with self.database.reading() as connection:
            rows = connection.execute(select(models).order_by(models.c.id.desc())).all()
        return [NamedModel(name=row.name, fingerprint=row.fingerprint) for row in rows]

    def counts(self, chosen: Selection = EVERYTHING) -> figures.Counts:
        """Count the inspections of a selection: verdicts that stand, false alarms and escapes."""
        with self.database.reading() as connection:
            return figures.counts(connection, chosen)

    def page_and_counts(
        self, chosen: Selection = EVERYTHING, *, before: str | None = None, limit: int = 50
    ) -> tuple[selection.Page, figures.Counts]:
        """Return a page, and the counts of its selection without verdict and mistake, in little more than the page."""
        limit = whole("limit", limit, allowed=range(1, CHUNK + 1))
        with self.database.reading() as connection:
            return figures.page_and_counts(connection, chosen, before=before, limit=limit)

    def unseen(self, chosen: Selection = EVERYTHING) -> int:
        """Count the inspections of a selection that stand as REVIEW or NG, and that nobody has said anything of."""
        with self.database.reading() as connection:
            return figures.unseen(connection, chosen)

    def scores(self, model: NamedModel, *, each: figures.Span, start: datetime, end: datetime) -> list[figures.Band]:
        """Return the median and the 95 % band of the scores that stand as OK, by hour or day; see `figures.scores`."""
        with self.database.reading() as connection:
            return figures.scores(connection, model, each=each, start=start, end=end)

    def manifest(self, chosen: Selection = EVERYTHING) -> list[manifest.Row]:
        """Return a row of a CSV manifest for each kept image of a selection; see `manifest.rows`, `manifest.as_csv`."""
        return manifest.rows(self.each(chosen))

    def image(self, inspection: Inspection) -> bytes | None:
        """Return the bytes of the image of an inspection; None if it is not kept, or not any more."""
        return None if inspection.kept is None else self.images.read(inspection.kept)

    def tidy(self, *, age: timedelta | None = None, room: int = ROOM) -> retention.Removed:
        """Remove inspections older than `age` with their images, then the oldest images above `room` bytes in all."""
        before = None if age is None else now() - age
        return retention.tidy(self.database, self.images, before=before, room=room)

    def sweep(self) -> int:
        """Remove what a crash has left, and return how much that was; see `retention.sweep`."""
        return retention.sweep(self.database, self.images)

    def _model(self, name: str, fingerprint: str) -> int:
        """Return the number of a model; in a transaction of its own, so that what is remembered is there."""
        if (name, fingerprint) not in self._models:
            with self.database.writing() as connection:
                number = writing.model_number(connection, name, fingerprint)
            self._models[name, fingerprint] = number
        return self._models[name, fingerprint]
