"""The first tables."""

from typing import Any

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Integer, Text, text

revision, down_revision = "0001", None

NUMBER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    judged()
    searched()
    people()
    kept()


def judged() -> None:
    """What models have said."""
    op.create_table(
        "models",
        Column("id", NUMBER, primary_key=True),
        Column("name", Text, nullable=False),
        Column("fingerprint", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("models_by_name", "models", ["name", "fingerprint"], unique=True)
    op.create_table(
        "inspections",
        Column("id", NUMBER, primary_key=True),
        Column("at", BigInteger, nullable=False),
        Column("hour", Integer, nullable=False),
        Column("day", Integer, nullable=False),
        Column("model_id", NUMBER, ForeignKey("models.id"), nullable=False),
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
        sqlite_autoincrement=True,
    )


def searched() -> None:
    """What the page asks for."""
    index("inspections_by_time", "at", "id", "standing", "model_id", "source", "folded")
    index("inspections_not_good", "standing", "at", "id", "model_id", "source", "folded", only="standing <> 'OK'")
    mistaken = ("standing", "at", "id", "verdict", "model_id", "source", "folded")
    index("inspections_mistaken", *mistaken, only="verdict <> standing")
    for span in ("hour", "day"):
        index(f"good_by_{span}", span, "model_id", "score", only="standing = 'OK'")


def index(name: str, *keys: str, only: str = "") -> None:
    """Make an index of inspections."""
    where: dict[str, Any] = {"sqlite_where": text(only), "postgresql_where": text(only)} if only else {}
    op.create_index(name, "inspections", list(keys), **where)


def people() -> None:
    """What people have said."""
    op.create_table(
        "corrections",
        Column("id", NUMBER, primary_key=True),
        Column("inspection_id", NUMBER, ForeignKey("inspections.id", ondelete="CASCADE"), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("who", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("verdict", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_corrections_inspection_id", "corrections", ["inspection_id"])
    op.create_table(
        "threshold_changes",
        Column("id", NUMBER, primary_key=True),
        Column("model_id", NUMBER, ForeignKey("models.id"), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("who", Text, nullable=False),
        Column("why", Text, nullable=False),
        Column("review", Double, nullable=False),
        Column("ng", Double),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_threshold_changes_model_id", "threshold_changes", ["model_id"])


def kept() -> None:
    """Images that are kept."""
    op.create_table(
        "images",
        Column("sha256", Text, primary_key=True),
        Column("suffix", Text, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
    )
    op.create_index("ix_images_at", "images", ["at"])
