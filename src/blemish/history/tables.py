"""The tables of the history, alike in SQLite and PostgreSQL; `migrations/` brings a database to them.

Indexes hold all that a query filters by, so that even one that finds nothing reads an index only, never the rows.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TextClause,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """A time in UTC, as microseconds since 1970: SQLite has no type for it, and whole numbers sort alike everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002, D102
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002, D102
        return None if value is None else EPOCH + value * MICROSECOND


metadata = MetaData()
# SQLite counts by itself only what is called INTEGER; its numbers are as long as BIGINT all the same.
Number = BigInteger().with_variant(Integer(), "sqlite")


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    return Table(name, metadata, Column("id", Number, primary_key=True), *columns, sqlite_autoincrement=True)


models = _table(
    "models",
    Column("name", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Index("models_by_name", "name", "fingerprint", unique=True),
)

# folded: the name for a search that minds no case. hour, day: since 1970, for figures over time. review, ng: the
# thresholds. standing: the verdict of the newest correction, or the model's own.
inspections = _table(
    "inspections",
    Column("at", Instant, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    Column("model_id", Number, ForeignKey("models.id"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("review", Double, nullable=False),
    Column("ng", Double),
    Column("score", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("standing", Text, nullable=False),
    Column("regions", JSON, nullable=False),
    Column("times", JSON, nullable=False),
    Column("source", Text, nullable=False),
)
columns = inspections.c
# Most are OK, so an index of all by verdict would be large and no faster.
GOOD, NOT_GOOD, MISTAKEN = text("standing = 'OK'"), text("standing <> 'OK'"), text("verdict <> standing")


def _index(name: str, *keys: str, only: TextClause | None = None) -> None:
    where: dict[str, Any] = {} if only is None else {"sqlite_where": only, "postgresql_where": only}
    Index(name, *(columns[key] for key in keys), **where)


_index("inspections_by_time", "at", "id", "standing", "model_id", "source", "folded")
_index("inspections_not_good", "standing", "at", "id", "model_id", "source", "folded", only=NOT_GOOD)
_index("inspections_mistaken", "standing", "at", "id", "verdict", "model_id", "source", "folded", only=MISTAKEN)
_index("good_by_hour", "hour", "model_id", "score", only=GOOD)
_index("good_by_day", "day", "model_id", "score", only=GOOD)

corrections = _table(
    "corrections",
    Column("inspection_id", Number, ForeignKey("inspections.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("verdict", Text, nullable=False),
)

threshold_changes = _table(
    "threshold_changes",
    Column("model_id", Number, ForeignKey("models.id"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("review", Double, nullable=False),
    Column("ng", Double),
)

# A row for each file among the kept images; at: the newest inspection of it.
images = Table(
    "images",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("suffix", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)
