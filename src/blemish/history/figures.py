"""Figures of what was judged: how many of each verdict, what people have corrected, how scores move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Select, bindparam, func, select

from blemish.checks import word
from blemish.errors import InputError
from blemish.history.records import NamedModel, Selection
from blemish.history.selection import (
    Condition,
    Page,
    clauses,
    from_on,
    mistaken,
    moment,
    not_good,
    page,
    standing,
    up_to,
)
from blemish.history.tables import DAY, EPOCH, GOOD, HOUR, columns, corrections, models
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
    looked = select(corrections.c.id).where(corrections.c.inspection_id == columns.id)
    return _how_many(connection, clauses(connection, selection), *not_good(), ~looked.exists())


def counts(connection: Connection, selection: Selection, *, good: int | None = None) -> Counts:
    """Count the inspections of a selection; good: how many stand as OK, where that is known already."""
    only, given = selection.verdict, clauses(connection, selection.model_copy(update={"verdict": None}))

    def how_many(verdict: Verdict, *also: Condition) -> int:
        return _how_many(connection, given, *also) if only in (None, verdict) else 0

    if good is None:
        good = _good(connection, given) if only in (None, "OK") else 0
    review, ng = how_many("REVIEW", *standing("REVIEW")), how_many("NG", *standing("NG"))
    false_alarms, escapes = how_many("OK", *mistaken("false alarm")), how_many("NG", *mistaken("escape"))
    return Counts({"OK": good, "REVIEW": review, "NG": ng}, false_alarms, escapes)


def page_and_counts(
    connection: Connection, selection: Selection, *, before: str | None, limit: int
) -> tuple[Page, Counts]:
    """Return a page of a selection, and the counts of the selection without its verdict and mistake.

    What the search for the page has passed is not searched again: together they read the index of all inspections once,
    however few are found.
    """
    found = page(connection, selection, before=before, limit=limit)
    every = selection.model_copy(update={"verdict": None, "mistake": None})
    few = selection.mistake is not None or selection.verdict in ("REVIEW", "NG")  # have an index of their own
    if few or every == Selection():  # all are counted faster than a part
        return found, counts(connection, every)
    newest, oldest = (moment(cursor) if cursor else None for cursor in (before, found.next))
    if newest is not None and newest == oldest:  # more of one time than a page holds
        return found, counts(connection, every)
    good = sum(one.standing == "OK" and one.at not in (newest, oldest) for one in found.inspections)
    if before:
        good += _good(connection, clauses(connection, from_on(every, before)))
    if found.next:
        good += _good(connection, clauses(connection, up_to(every, found.next)))
    return found, counts(connection, every, good=good)


def _good(connection: Connection, given: Sequence[Condition]) -> int:
    """Count what stands as OK, as the rest: it is most, and has no index of its own."""
    return _how_many(connection, given) - _how_many(connection, given, *not_good())


def _how_many(connection: Connection, given: Sequence[Condition], *also: Condition) -> int:
    return connection.scalar(select(func.count()).select_from(columns.id.table).where(*given, *also)) or 0


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
    # Each span by itself, so that of the index only what is this model's is read.
    query = select(column, func.count()).where(*good, column.in_(range(first, last))).group_by(column).order_by(column)
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
