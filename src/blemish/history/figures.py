"""Figures of what was judged: how many of each verdict, what people have corrected, how scores move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Select, bindparam, func, select

from blemish.checks import word
from blemish.errors import InputError
from blemish.history.records import NamedModel, Selection
from blemish.history.selection import Condition, clauses, mistaken, standing
from blemish.history.tables import DAY, EPOCH, GOOD, HOUR, NOT_GOOD, columns, corrections, models
from blemish.verdict.threshold import Verdict

Span = Literal["hour", "day"]
SPANS = {"hour": (HOUR, columns.hour), "day": (DAY, columns.day)}
MOST = 400  # spans, as many as a plot can show


@dataclass(frozen=True, slots=True)
class Counts:
    """How many inspections have each verdict that stands, and how many of them people have corrected.

    false_alarms: from REVIEW or NG to OK; escapes: from OK to NG.
    """

    verdicts: dict[Verdict, int]
    false_alarms: int
    escapes: int


@dataclass(frozen=True, slots=True)
class Band:
    """The scores of an hour or a day, UTC, in which `count` inspections stand as OK: their median and 95 % band."""

    start: datetime
    count: int
    low: float
    median: float
    high: float


def unseen(connection: Connection, selection: Selection) -> int:
    """Count the inspections of a selection that stand as REVIEW or NG without a correction."""
    table, looked = columns.id.table, select(corrections.c.id).where(corrections.c.inspection_id == columns.id)
    query = select(func.count()).select_from(table).where(*clauses(connection, selection), NOT_GOOD, ~looked.exists())
    return int(connection.scalar(query) or 0)


def counts(connection: Connection, selection: Selection) -> Counts:
    """Count the inspections of a selection."""
    given = clauses(connection, selection)
    query = select(func.count()).select_from(columns.id.table).where(*given)

    def how_many(*also: Condition) -> int:
        return connection.scalar(query.where(*also)) or 0

    # Those that are OK are the rest: they are most, and have no index of their own.
    review, ng = how_many(*standing("REVIEW")), how_many(*standing("NG"))
    verdicts: dict[Verdict, int] = {"OK": how_many() - review - ng, "REVIEW": review, "NG": ng}
    return Counts(verdicts, how_many(*mistaken("false alarm")), how_many(*mistaken("escape")))


def scores(connection: Connection, model: NamedModel, *, each: Span, start: datetime, end: datetime) -> list[Band]:
    """Return the scores of a model's inspections that stand as OK, of every hour or day that holds a time in between.

    Of n scores in order the median is that of rank (n - 1) / 2, and the band ends 0.025 (n - 1) from either side, both
    rounded down, counted from 0. Hours and days without any are left out. Raises InputError for more than 400.
    """
    length, column = SPANS[word("each", each, SPANS)]
    first, last = (start - EPOCH) // length, -((EPOCH - end) // length)
    if last - first > MOST:
        raise InputError(f"history: {last - first} {each}s are too many for a plot, at most {MOST} are allowed")
    called = (models.c.name == model.name, models.c.fingerprint == model.fingerprint)
    number = connection.scalar(select(models.c.id).where(*called))
    good = (columns.model_id == number, GOOD)  # in the words of the index: a parameter would hide that it is the same
    query = select(column, func.count()).where(*good, column >= first, column < last).group_by(column).order_by(column)
    ranked = _ranked(good, column)
    bands = []
    for span, count in connection.execute(query).all():
        ranks = {"span": span, "tail": (count - 1) * 25 // 1000, "middle": (count - 1) // 2}
        bands.append(Band(EPOCH + span * length, count, *connection.execute(ranked, ranks).one()))
    return bands


def _ranked(good: Sequence[Condition], column: Column[int]) -> Select[float, float, float]:
    """Return the query for three scores of a span by their ranks, which an index counts off."""
    scores = select(columns.score).where(*good, column == bindparam("span"))

    def at(rank: str, order: ColumnElement[float]) -> ColumnElement[float]:
        return scores.order_by(order).limit(1).offset(bindparam(rank, type_=BigInteger)).scalar_subquery()

    ascending, descending = columns.score.asc(), columns.score.desc()
    return select(at("tail", ascending), at("middle", ascending), at("tail", descending))
