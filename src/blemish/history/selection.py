"""Which inspections are meant, in pages: each begins where the last has ended, however many come in meanwhile."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    TextClause,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)

from blemish.checks import shown
from blemish.errors import InputError
from blemish.history.kept import location
from blemish.history.records import LONG, Correction, Inspection, Mistake, Selection
from blemish.history.tables import EPOCH, MICROSECOND, NOT_GOOD, columns, corrections, images, inspections, models
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, Verdict

Condition = ColumnElement[bool] | TextClause
TIMES = [(at.replace(tzinfo=UTC) - EPOCH) // MICROSECOND for at in (datetime.min, datetime.max)]
CURSOR = re.compile(r"(-?[0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Page:
    """Inspections, the newest first, and what the next page is asked for with; None if this is the last."""

    inspections: list[Inspection]
    next: str | None


def folded(name: str) -> str:
    """Return a name for a search that minds no case, no longer than a name may be: a few letters fold to several."""
    return name.casefold().encode()[:LONG].decode(errors="ignore")


def clauses(connection: Connection, selection: Selection) -> list[Condition]:
    """Return the conditions of a selection."""
    given: list[Condition] = []
    if selection.name:  # first, as it leaves the least to be looked at
        find = func.instr if connection.dialect.name == "sqlite" else func.strpos
        given.append(find(columns.folded, folded(selection.name)) > 0)
    wanted = {models.c.name: selection.model, models.c.fingerprint: selection.fingerprint}
    if called := [column == word for column, word in wanted.items() if word is not None]:
        # Looked up first, so that the planner sees plain numbers and stays with the order of the index.
        given.append(columns.model_id.in_(connection.scalars(select(models.c.id).where(*called)).all()))
    if selection.verdict is not None:
        given += standing(selection.verdict)
    if selection.start is not None:
        given.append(columns.at >= selection.start)
    if selection.end is not None:
        given.append(columns.at < selection.end)
    if selection.source is not None:
        given.append(columns.source == selection.source)
    if selection.mistake is not None:
        given += mistaken(selection.mistake)
    return given


def standing(verdict: Verdict) -> list[Condition]:
    """Return the conditions of what stands as a verdict, in the words of the index that is for those not OK."""
    return [columns.standing == verdict, *([] if verdict == "OK" else [NOT_GOOD])]


def not_good() -> list[Condition]:
    """Return the conditions of what stands as REVIEW or NG, so that its index is searched by time as well."""
    return [columns.standing.in_(["REVIEW", "NG"]), NOT_GOOD]


def mistaken(mistake: Mistake) -> list[Condition]:
    """Return the conditions of what people have corrected, as the index of it has them."""
    conditions: list[Condition] = [
        columns.verdict != columns.standing,
        columns.standing == ("OK" if mistake == "false alarm" else "NG"),
    ]
    return conditions if mistake == "false alarm" else [*conditions, columns.verdict == "OK"]


def page(connection: Connection, selection: Selection, *, before: str | None, limit: int) -> Page:
    """Return a page of a selection; before: `next` of the page before it. Raises InputError for another text."""
    # The rows are fetched once it is known which: the search itself stays within an index.
    given = clauses(connection, selection)
    if before is not None:  # one end only: of two SQLite searches from the first that it is told
        given = clauses(connection, up_to(selection, before))
        given.append(tuple_(type_coerce(columns.at, BigInteger), columns.id) < _cursor(before))
    chosen = _newest_first(select(columns.id).where(*given).limit(limit + 1))
    rows = connection.execute(_newest_first(_whole().where(columns.id.in_(chosen)))).all()
    found = _inspections(connection, rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(found, None if last is None else f"{last.microseconds}-{last.id}")


def from_on(selection: Selection, cursor: str) -> Selection:
    """Return what a selection has from the time of a cursor on; raises InputError for another text."""
    start = moment(cursor)
    return selection.model_copy(update={"start": max(selection.start or start, start)})


def up_to(selection: Selection, cursor: str) -> Selection:
    """Return what a selection has up to the time of a cursor, and at it; raises InputError for another text."""
    end = moment(cursor) + MICROSECOND
    return selection.model_copy(update={"end": min(selection.end or end, end)})


def moment(cursor: str) -> datetime:
    """Return the time of a cursor; raises InputError for another text."""
    return EPOCH + _cursor(cursor)[0] * MICROSECOND


def one(connection: Connection, number: int) -> Inspection:
    """Return an inspection; raises InputError if there is none with this number."""
    found = _inspections(connection, connection.execute(_whole().where(columns.id == number)).all())
    if not found:
        raise InputError(f"history: inspection {number} is not there")
    return found[0]


def since(connection: Connection, inspection: int, correction: int, *, limit: int) -> list[Inspection]:
    """Return inspections above a number and those with a correction above another, by their numbers."""
    corrected = select(corrections.c.inspection_id).where(corrections.c.id > correction)
    chosen = _whole().where(or_(columns.id > inspection, columns.id.in_(corrected)))
    return _inspections(connection, connection.execute(chosen.order_by(columns.id).limit(limit)).all())


def latest(connection: Connection) -> tuple[int, int]:
    """Return the highest numbers of inspections and of corrections, 0 without any."""
    newest = (connection.scalar(select(func.max(key))) for key in (columns.id, corrections.c.id))
    inspection, correction = (int(number or 0) for number in newest)
    return inspection, correction


def _newest_first(query: Select[Any]) -> Select[Any]:
    return query.order_by(columns.at.desc(), columns.id.desc())


def _cursor(text: str) -> tuple[int, int]:
    match = CURSOR.fullmatch(text)
    if match is None or not TIMES[0] <= int(match[1]) < TIMES[1]:
        raise InputError(f"history: page {shown(text)} is not allowed, expected what the page before it says")
    return int(match[1]), int(match[2])


def _whole() -> Select[Any]:
    return (
        select(
            inspections,
            type_coerce(columns.at, BigInteger).label("microseconds"),
            models.c.name.label("model"),
            models.c.fingerprint,
            images.c.suffix,
        )
        .join(models, models.c.id == columns.model_id)
        .outerjoin(images, images.c.sha256 == columns.sha256)
    )


def _inspections(connection: Connection, rows: Sequence[Row[Any]]) -> list[Inspection]:
    said: dict[int, list[Correction]] = {row.id: [] for row in rows}
    query = select(corrections).where(corrections.c.inspection_id.in_(said)).order_by(corrections.c.id)
    for row in connection.execute(query):
        said[row.inspection_id].append(Correction(verdict=row.verdict, who=row.who, why=row.why, at=row.at))
    return [_inspection(row, said[row.id]) for row in rows]


def _inspection(row: Row[Any], said: list[Correction]) -> Inspection:
    fields = {name: getattr(row, name) for name in Inspection.model_fields if hasattr(row, name)}
    fields["regions"] = list(map(Region.of, row.regions))
    kept = None if row.suffix is None else location(row.sha256, row.suffix)
    return Inspection(**fields, thresholds=Thresholds(row.review, row.ng), kept=kept, corrections=said)
