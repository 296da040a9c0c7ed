"""What is asked and answered in JSON, for the service and its clients alike."""

from datetime import datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from blemish.history.records import Inspection, Mistake
from blemish.storage.fields import Part
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, Verdict


class Answer(BaseModel):
    """An answer; clients pass over fields that they do not know yet."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Links(Answer):
    """Where more of an inspection is: its score map as a PNG (16 bits, 65535 is 1) and as float32, its overlay.

    The last three are None where the image is not kept.
    """

    inspection: str
    map: str | None
    scores: str | None
    overlay: str | None


class Corrected(Answer):
    """A correction: the verdict that a person wants to stand, who, why and when."""

    verdict: Verdict
    who: str
    why: str
    at: datetime


class Changed(Answer):
    """Thresholds that a person has set, who, why and when."""

    thresholds: Thresholds
    who: str
    why: str
    at: datetime


class Inspected(Answer):
    """An inspection: what was judged, by what, how long each stage took in ms, and what people have said since.

    standing: the verdict that stands; kept: whether the image is.
    """

    id: int
    model: str
    fingerprint: str
    name: str
    source: str
    at: datetime
    sha256: str
    width: int
    height: int
    score: float
    verdict: Verdict
    standing: Verdict
    thresholds: Thresholds
    regions: list[Region]
    times: dict[str, float]
    corrections: list[Corrected]
    kept: bool
    links: Links

    @classmethod
    def of(cls, inspection: Inspection) -> Self:
        """Return the answer for an inspection of the history."""
        place = f"/v1/inspections/{inspection.id}"
        kept = inspection.kept is not None
        files = [f"{place}/{name}" if kept else None for name in ("map.png", "map.npy", "overlay.png")]
        links = Links(inspection=place, map=files[0], scores=files[1], overlay=files[2])
        own: dict[str, Any] = {
            "kept": kept,
            "links": links,
            "corrections": list(map(Corrected.model_validate, inspection.corrections)),
        }
        return cls(**{name: getattr(inspection, name) for name in cls.model_fields if name not in own}, **own)


class InspectedPage(Answer):
    """Inspections, the newest first, and `before` of the next page; None if this is the last."""

    inspections: list[Inspected]
    next: str | None


class ServedModel(Answer):
    """A model: the thresholds in force, those of its bundle, and who has changed them, the newest change first."""

    name: str
    fingerprint: str
    precision: str
    thresholds: Thresholds
    own_thresholds: Thresholds
    changes: list[Changed]


class ServedModels(Answer):
    """The models that a service has."""

    models: list[ServedModel]


class CorrectionAsked(Part):
    """The verdict that is to stand, who says so and why."""

    verdict: Verdict
    who: str = Field(max_length=255)
    why: str = Field(default="", max_length=2000)


class ThresholdsAsked(Part):
    """The scores above which the verdict is to be REVIEW, and NG, who wants that and why."""

    review: float
    ng: float | None = None
    who: str = Field(max_length=255)
    why: str = Field(default="", max_length=2000)


class Called(BaseModel):
    """What may stand in the address of an image that is sent: what it is called, and who sends it."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(default="", max_length=2000)
    source: str = Field(default="", max_length=255)


class Chosen(BaseModel):
    """What may stand in the address of a page of inspections; before: `next` of the page before it.

    verdict: the one that stands; start, end: from start on, before end, as in 2026-03-04T12:00:00Z; name: a part of the
    name.
    """

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    verdict: Verdict | None = None
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    name: str | None = None
    source: str | None = None
    mistake: Mistake | None = None
    before: str | None = None
    limit: int = Field(default=50, ge=1, le=1000)
