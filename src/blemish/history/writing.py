"""What is written of an inspection and of people's words on it, each within the transaction of the caller."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select, update
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


def model_number(connection: Connection, name: str, fingerprint: str) -> int:
    """Return the number of a model, which gets one when it is first seen."""
    connection.execute(_insert(connection, models).values(name=name, fingerprint=fingerprint).on_conflict_do_nothing())
    query = select(models.c.id).where(models.c.name == name, models.c.fingerprint == fingerprint)
    return int(connection.scalars(query).one())


def add_image(connection: Connection, digest: str, suffix: str, *, size: int, at: datetime) -> None:
    """Note that an image is kept, or that it was judged again; size: in bytes."""
    row = _insert(connection, images).values(sha256=digest, suffix=suffix, bytes=size, at=at)
    newer = row.on_conflict_do_update(
        index_elements=[images.c.sha256], set_={"at": row.excluded.at}, where=images.c.at < row.excluded.at
    )
    connection.execute(newer)


def add_inspection(connection: Connection, judged: Judged, *, digest: str, model: int) -> int:
    """Add what was judged, and return its number."""
    fields = judged.model_dump(exclude={"model", "fingerprint", "thresholds"})
    row = insert(inspections).values(
        **fields,
        **_pair(judged.thresholds),
        model_id=model,
        sha256=digest,
        folded=folded(judged.name),
        standing=judged.verdict,
        hour=(judged.at - EPOCH) // HOUR,
        day=(judged.at - EPOCH) // DAY,
    )
    return int(connection.scalars(row.returning(columns.id)).one())


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
    query = select(threshold_changes).join(models, models.c.id == threshold_changes.c.model_id)
    query = query.where(models.c.name == model.name, models.c.fingerprint == model.fingerprint)
    said = {"model": model.name, "fingerprint": model.fingerprint}

    def change(row: Row[Any]) -> ThresholdChange:
        thresholds = Thresholds(row.review, row.ng)
        return ThresholdChange(**said, thresholds=thresholds, who=row.who, why=row.why, at=row.at)

    return [change(row) for row in connection.execute(query.order_by(threshold_changes.c.id.desc()))]


def _insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that can say what is done where a row is there already."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _pair(thresholds: Thresholds) -> dict[str, float | None]:
    return {"review": thresholds.review, "ng": thresholds.ng}
