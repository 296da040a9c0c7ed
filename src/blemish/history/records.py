"""What the history remembers, as values that are checked when they are made.

Words are kept as `printable` shows them, on one line, so that any database takes them and none is taken for another.
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationError, field_validator

from blemish.errors import InputError, printable
from blemish.storage.fields import Part, Sha256, first_fault
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, Verdict

Mistake = Literal["false alarm", "escape"]

LONG, SHORT = 2000, 255  # bytes; an entry of an index of PostgreSQL has room for one of each


def _line(most: int, *, least: int = 0) -> BeforeValidator:
    def shown(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if len(value) < least:
            raise ValueError("must not be empty")
        # Counted first: to show a text takes as long as it is.
        if len(value) > most or len((line := printable(value)).encode()) > most:
            raise ValueError(f"at most {most} bytes are allowed, escaped characters counted as they are shown")
        return line

    return BeforeValidator(shown)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 1 and 9999") from None


Text = Annotated[str, _line(LONG)]
Line = Annotated[str, _line(SHORT)]
Word = Annotated[str, _line(SHORT, least=1)]
Utc = Annotated[AwareDatetime, AfterValidator(_in_utc)]


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Record(Part):
    """A value of the history; what is wrong with a field is an InputError that names it."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InputError(f"history: {printable(first_fault(error)[:200])}") from None


class NamedModel(Record):
    """A model by its name and its fingerprint, which is what `runtime.bundle.identity` says of its bundle."""

    name: Word
    fingerprint: Sha256


class Judged(Record):
    """What a model has said of an image.

    name: what the image was called where it came from; width, height: in px; model, fingerprint: as of
    `NamedModel`; thresholds: those in force; times: ms by stage; source: who sent the image; at: when, any zone, kept
    in UTC.
    """

    name: Text
    width: int = Field(ge=1, lt=1 << 31)
    height: int = Field(ge=1, lt=1 << 31)
    model: Word
    fingerprint: Sha256
    thresholds: Thresholds
    score: float = Field(ge=0)
    verdict: Verdict
    regions: list[Region] = Field(default_factory=list)
    times: dict[Word, float] = Field(default_factory=dict)
    source: Line = ""
    at: Utc = Field(default_factory=now)

    @field_validator("regions")
    @classmethod
    def _finite(cls, regions: list[Region]) -> list[Region]:
        if not all(math.isfinite(value) for region in regions for value in (region.share, region.peak, region.mean)):
            raise ValueError("numbers must be finite")
        return regions


class Correction(Record):
    """What a person says of an inspection: the verdict that stands from now on, who says so, why and when."""

    verdict: Verdict
    who: Word
    why: Text = ""
    at: Utc = Field(default_factory=now)


class Inspection(Judged):
    """What was judged, with all that became of it.

    standing: the verdict that stands, the newest correction's or the model's own; kept: where the image lies below the
    folder of kept images, None if it is not kept; corrections: the oldest first.
    """

    id: int
    sha256: Sha256
    standing: Verdict
    kept: str | None = None
    corrections: list[Correction] = Field(default_factory=list)


class ThresholdChange(Record):
    """Other thresholds for a model, who wants them, why and since when; another bundle knows nothing of them."""

    model: Word
    fingerprint: Sha256
    thresholds: Thresholds
    who: Word
    why: Text = ""
    at: Utc = Field(default_factory=now)


class Selection(Record):
    """Which inspections are meant: all that agree with every field that is given.

    fingerprint: of the bundle, where several were called `model`, one after the other; verdict: the one that stands;
    start, end: from start on, before end; name: a part of the name, in any case; mistake: corrected to OK, or from OK
    to NG.
    """

    model: Line | None = None
    fingerprint: Sha256 | None = None
    verdict: Verdict | None = None
    start: Utc | None = None
    end: Utc | None = None
    name: Text | None = None
    source: Line | None = None
    mistake: Mistake | None = None
