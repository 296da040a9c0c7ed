"""What is written of an inspection and of people's words on it, each within the transaction of the caller."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from blemish.errors import InputError
from blemish.history.records import Correction, Judged, NamedModel, ThresholdChange
from blemish.history.selection import folded
from blemish.history.tables import (
    DAY,
    EPOCH,
    HOUR,
    columns,
    corrections,
    images,
    inspections,
    models,
    threshold_changes,
)
from blemish.verdict.threshold import Thresholds

# Statements of every image are made once: putting one together takes SQLAlchemy as long as SQLite takes for its row.
INSPECTION = insert(inspections).returning(columns.id)
THRESHOLDS = (
    select(threshold_changes)
    .join(models, models.c.id == threshold_changes.c.model_id)
    .where(models.c.name == bindparam("model"), models.c.fingerprint == bindparam("fingerprint"))
    .order_by(threshold_changes.c.id.desc())
)


def model_number(connection: Connection, name: str, fingerprint: str) -> int:
    """Return the number of a model, which gets one when it is first seen."""
    row = _insert(connection.dialect.name, models).values(name=name, fingerprint=fingerprint)
    connection.execute(row.on_conflict_do_nothing())
    query = select(models.c.id).where(models.c.name == name, models.c.fingerprint == fingerprint)
    return int(connection.scalars(query).one())


def add_image(connection: Connection, digest: str, suffix: str, *, size: int, at: datetime) -> None:
    """Note that an image is kept, or that it was judged again; size: in bytes."""
    fields = {"sha256": digest, "suffix": suffix, "bytes": size, "at": at}
    connection.execute(_kept_image(connection.dialect.name), fields)


def add_inspection(connection: Connection, judged: Judged, *, digest: str, model: int) -> int:
    """Add what was judged, and return its number."""
    fields = judged.model_dump(exclude={"model", "fingerprint", "thresholds"})
    fields |= _pair(judged.thresholds) | {
        "model_id": model,
        "sha256": digest,
        "folded": folded(judged.name),
        "standing": judged.verdict,
        "hour": (judged.at - EPOCH) // HOUR,
        "day": (judged.at - EPOCH) // DAY,
    }
    return int(connection.scalars(INSPECTION, fields).one())


def correct(connection: Connection, number: int, correction: Correction) -> None:
    """Let another verdict stand; raises InputError if there is no such inspection."""
    # The row first: who corrects it at the same time waits here, so that the last correction is the one that stands.
    changed = update(inspections).where(columns.id == number).values(standing=correction.verdict)
    if not connection.execute(changed).rowcount:
        raise InputError(f"history: inspection {number} is not there")
    connection.execute(insert(corrections).values(inspection_id=number, **correction.model_dump()))


def change_thresholds(connection: Connection, change: ThresholdChange, *, model: int) -> None:
    """Note other thresholds of a model."""
    said = change.model_dump(include={"at", "who", "why"})
    connection.execute(insert(threshold_changes).values(model_id=model, **said, **_pair(change.thresholds)))


def threshold_changes_of(connection: Connection, model: NamedModel) -> list[ThresholdChange]:
    """Return the changes of a model's thresholds, the newest first."""
    said = {"model": model.name, "fingerprint": model.fingerprint}

    def change(row: Row[Any]) -> ThresholdChange:
        thresholds = Thresholds(row.review, row.ng)
        return ThresholdChange(**said, thresholds=thresholds, who=row.who, why=row.why, at=row.at)

    return [change(row) for row in connection.execute(THRESHOLDS, said)]


@cache
def _kept_image(dialect: str) -> postgresql.Insert | sqlite.Insert:
    row = _insert(dialect, images)
    return row.on_conflict_do_update(
        index_elements=[images.c.sha256], set_={"at": row.excluded.at}, where=images.c.at < row.excluded.at
    )


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say what is done where a row is there already."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _pair(thresholds: Thresholds) -> dict[str, float | None]:
    return {"review": thresholds.review, "ng": thresholds.ng}
