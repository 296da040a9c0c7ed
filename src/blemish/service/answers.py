"""What is asked and answered in JSON, for the service and its clients alike."""

from datetime import datetime
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from blemish.history.figures import Counts
from blemish.history.records import Inspection, Mistake, Selection
from blemish.service import examples
from blemish.storage.fields import Part
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, Verdict

FILES = {
    "image": "image.png",
    "small": "small.jpg",
    "map": "map.png",
    "scores": "map.npy",
    "overlay": "overlay.png",
}


class Answer(BaseModel):
    """An answer; clients pass over fields that they do not know yet."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def _example(*values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(values)})


class Fault(Answer):
    """What is wrong, in one line."""

    model_config = _example(examples.FAULT)
    error: str


class Links(Answer):
    """Where more of an inspection is, all but itself None where its image is not kept.

    image, small: the image as a PNG, and as a JPEG of 400 px at most; map: its score map as a PNG (16 bits, 65535 is
    1); scores: the same as float32 in a file of numpy; overlay: a PNG.
    """

    inspection: str
    image: str | None
    small: str | None
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

    model_config = _example(examples.INSPECTED)
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
        files = {link: f"{place}/{file}" if kept else None for link, file in FILES.items()}
        links = Links(inspection=place, **files)
        own: dict[str, Any] = {
            "kept": kept,
            "links": links,
            "corrections": list(map(Corrected.model_validate, inspection.corrections)),
        }
        return cls(**{name: getattr(inspection, name) for name in cls.model_fields if name not in own}, **own)


class InspectedPage(Answer):
    """Inspections, the newest first, and `before` of the next page; None if this is the last."""

    model_config = _example(examples.PAGE)
    inspections: list[Inspected]
    next: str | None


class Counted(Answer):
    """How many inspections have each verdict that stands, and how many of them people have corrected."""

    model_config = _example(examples.COUNTED)
    verdicts: dict[Verdict, int]
    false_alarms: int
    escapes: int

    @classmethod
    def of(cls, counts: Counts) -> Self:
        """Return the answer for figures of the history."""
        return cls(verdicts=counts.verdicts, false_alarms=counts.false_alarms, escapes=counts.escapes)


class ServedModel(Answer):
    """A model: the thresholds in force, those of its bundle, and who has changed them, the newest change first.

    loaded: since when it judges; golden: how many images its self-test has scored as they should.
    """

    model_config = _example(examples.MODEL)
    name: str
    fingerprint: str
    precision: str
    loaded: datetime
    golden: int
    thresholds: Thresholds
    own_thresholds: Thresholds
    changes: list[Changed]


class ServedModels(Answer):
    """The models that a service has."""

    model_config = _example(examples.MODELS)
    models: list[ServedModel]


class CorrectionAsked(Part):
    """The verdict that is to stand, who says so and why."""

    model_config = _example(examples.CORRECT)
    verdict: Verdict
    who: str = Field(max_length=255)
    why: str = Field(default="", max_length=2000)


class ThresholdsAsked(Part):
    """The scores above which the verdict is to be REVIEW, and NG, who wants that and why.

    fingerprint: of the bundle that they are meant for, None for whichever judges.
    """

    model_config = _example(examples.CHANGE)
    review: float
    ng: float | None = None
    fingerprint: str | None = Field(default=None, max_length=255)
    who: str = Field(max_length=255)
    why: str = Field(default="", max_length=2000)


class LoadAsked(Part):
    """Who wants the bundle that now lies where a model came from."""

    model_config = _example(examples.LOAD)
    who: str = Field(min_length=1, max_length=255)


class SignIn(Part):
    """A token, typed in a browser."""

    token: str = Field(max_length=1000)


class Called(BaseModel):
    """What may stand in the address of an image that is sent: what it is called, and who sends it."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(default="", max_length=2000, examples=["0017.png"])
    source: str = Field(default="", max_length=255, examples=["camera 1"])


class Chosen(BaseModel):
    """What may stand in the address of a selection of inspections.

    fingerprint: of the bundle, where several were called `model`; verdict: the one that stands; start, end: from start
    on, before end, as in 2026-03-04T12:00:00Z; name: a part of the name.
    """

    model_config = ConfigDict(extra="forbid")
    model: str | None = Field(default=None, examples=["brick"])
    fingerprint: str | None = Field(default=None, max_length=255, examples=["5b" * 32])
    verdict: Verdict | None = Field(default=None, examples=["NG"])
    start: AwareDatetime | None = Field(default=None, examples=["2026-03-04T06:00:00Z"])
    end: AwareDatetime | None = Field(default=None, examples=["2026-03-04T14:00:00Z"])
    name: str | None = Field(default=None, examples=["0017"])
    source: str | None = Field(default=None, examples=["camera 1"])
    mistake: Mistake | None = Field(default=None, examples=["false alarm"])

    @property
    def selection(self) -> Selection:
        """The selection of the history."""
        return Selection(**{field: getattr(self, field) for field in Chosen.model_fields})


class ChosenPage(Chosen):
    """What may stand in the address of a page of inspections; before: `next` of the page before it."""

    before: str | None = Field(default=None, examples=["1772625600000000-17"])
    limit: int = Field(default=50, ge=1, le=1000, examples=[20])
