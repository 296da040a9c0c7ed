"""What a model says of itself: the header of the model file, every field checked (pydantic)."""

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from blemish.data.records import DataPart
from blemish.images.read import FULL_BITS
from blemish.storage.fields import Part, Sha256, UtcTime
from blemish.verdict.scale import Scale

SCHEMA_VERSION = 2  # in 1 images were told by the bytes of their files

Side = Annotated[int, Field(ge=64, le=1024, multiple_of=32)]
Setting = bool | int | float | str | None | list[bool | int | float | str | None]


class TeacherPart(Part):
    """Which teacher the modules imitate; sha256 is that of its weights, embedded says whether the file holds them."""

    name: str
    sha256: Sha256
    embedded: bool


class PreprocessingPart(Part):
    """What becomes of an image before the teacher: RGB resized to the square, then (value / 255 - mean) / std.

    bits: of the values of 16-bit images that are used; they are divided by (2^bits - 1) / 255.
    """

    LATER = frozenset({"bits"})

    resize: Literal["pillow bilinear"] = "pillow bilinear"
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=3, max_length=3)
    bits: int = Field(default=FULL_BITS, gt=8, le=FULL_BITS)


class ModulePart(Part):
    """One kept module and its share of the combined score map."""

    size: Side
    level: int = Field(ge=2, le=5)
    weight: float = Field(ge=0)


class CalibrationPart(Part):
    """The threshold taken from held_out good images, and the share of good images it may call defective.

    good and limit are the median of good pixels and the threshold before whitened scores are squashed.
    """

    held_out: int = Field(ge=1)
    threshold: float = Field(gt=0)
    false_alarm_rate: float = Field(gt=0, le=1)
    good: float = 0.0
    limit: float = 1.0

    @field_validator("false_alarm_rate")
    @classmethod
    def _of_so_many(cls, rate: float, info: ValidationInfo) -> float:
        if count := info.data.get("held_out"):  # not there if it is wrong itself
            parts = rate * (count + 1)
            if not (1 <= round(parts) <= count and abs(parts - round(parts)) < 1e-6):
                raise ValueError(f"{count} held-out images can promise multiples of 1/{count + 1} below 1 only")
        return rate


class WeighingPart(Part):
    """How labelled images set the weights of the modules; `modules` were there before any was dropped."""

    objective: str
    labelled: int = Field(ge=1)
    defective: int = Field(ge=0)
    modules: int = Field(ge=1)
    seconds: float = Field(ge=0)

    @field_validator("defective")
    @classmethod
    def _some_of_the_labelled(cls, defective: int, info: ValidationInfo) -> int:
        if defective > info.data.get("labelled", defective):
            raise ValueError(f"at most the {info.data['labelled']} labelled images can be defective")
        return defective


class Header(Part):
    """Everything about a model but its tensors; each field is checked on creation (pydantic's ValidationError)."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    blemish: str
    created: UtcTime
    teacher: TeacherPart
    preprocessing: PreprocessingPart
    sizes: list[Side] = Field(min_length=1)
    reference_size: Side
    modules: list[ModulePart] = Field(min_length=1)
    recipe: dict[str, Setting]
    seed: int = Field(ge=0, lt=1 << 32)
    score: Literal["paper", "whitened"]
    calibration: CalibrationPart
    weighing: WeighingPart | None = None
    data: DataPart
    libraries: dict[str, str]

    @property
    def bits(self) -> int:
        """How many bits of the values of 16-bit images are used."""
        return self.preprocessing.bits

    @property
    def scale(self) -> Scale:
        """The scale that brings a combined map to where scores lie."""
        return Scale(score=self.score, good=self.calibration.good, limit=self.calibration.limit)

    @field_validator("reference_size")
    @classmethod
    def _one_of_the_sizes(cls, reference_size: int, info: ValidationInfo) -> int:
        if reference_size not in (sizes := info.data.get("sizes", [reference_size])):
            raise ValueError(f"must be one of sizes, {', '.join(map(str, sizes))}")
        return reference_size

    @field_validator("modules")
    @classmethod
    def _modules_agree(cls, modules: list[ModulePart], info: ValidationInfo) -> list[ModulePart]:
        names = [f"{module.size}/{module.level}" for module in modules]
        total = math.fsum(module.weight for module in modules)
        if len(set(names)) < len(names):
            raise ValueError(f"names must be unique, got {', '.join(names)}")
        if not {module.size for module in modules} <= set(info.data.get("sizes", [])):
            raise ValueError(f"every size must be one of sizes, got {', '.join(names)}")
        if abs(total - 1) > 1e-6:
            raise ValueError(f"weights must sum to 1, got {total:.9g}")
        return modules

    @field_validator("calibration")
    @classmethod
    def _on_the_scale_of_the_score(cls, calibration: CalibrationPart, info: ValidationInfo) -> CalibrationPart:
        if info.data.get("score") == "whitened":
            if calibration.threshold != 0.5:
                raise ValueError(f"threshold of whitened scores must be 0.5, got {calibration.threshold:.9g}")
            if calibration.limit <= calibration.good:
                raise ValueError(f"limit must be above good, got {calibration.limit:.9g} and {calibration.good:.9g}")
        return calibration

    @field_validator("weighing")
    @classmethod
    def _no_more_than_there_were(cls, weighing: WeighingPart | None, info: ValidationInfo) -> WeighingPart | None:
        kept = len(info.data.get("modules", []))
        if weighing and weighing.modules < kept:
            raise ValueError(f"{kept} modules cannot be kept of {weighing.modules}")
        return weighing
