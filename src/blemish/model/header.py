"""What a model says of itself: the header of the model file, every field checked (pydantic)."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator, model_validator

from blemish.data.records import DataPart
from blemish.images.preprocessing import PreprocessingPart
from blemish.images.roi import RoiPart
from blemish.images.tiles import TilesPart
from blemish.storage.fields import Part, Sha256, UtcTime
from blemish.verdict.scale import NOTHING, Reference, Scale
from blemish.verdict.strangers import strangers
from blemish.verdict.threshold import Thresholds

SCHEMA_VERSION = 3  # in 1 images were told by the bytes of their files; up to 2 the only threshold was 0.5

Side = Annotated[int, Field(ge=64, le=1024, multiple_of=32)]
Setting = bool | int | float | str | None | list[bool | int | float | str | None]


class TeacherPart(Part):
    """Which teacher the modules imitate; sha256 is that of its weights, embedded says whether the file holds them."""

    name: str
    sha256: Sha256
    embedded: bool


class MemoryPart(Part):
    """What a memory joins, levels in ascending order, and how many vectors it holds."""

    levels: list[Annotated[int, Field(ge=2, le=5)]] = Field(min_length=1)
    vectors: int = Field(ge=1, le=1_000_000)


class ModulePart(Part):
    """One kept module and its share of the combined map; cell: as of `modules.Module`; memory: if it is no student."""

    SAID_IF_ANY: ClassVar = frozenset({"cell", "memory"})
    size: Side
    level: int = Field(ge=2, le=5)
    weight: float = Field(ge=0)
    cell: int = Field(default=0, ge=0, le=64)
    memory: MemoryPart | None = None

    @field_validator("cell")
    @classmethod
    def _divides_the_side(cls, cell: int, info: ValidationInfo) -> int:
        if cell and (info.data.get("size", 0) >> info.data.get("level", 0)) % cell:
            raise ValueError(f"must divide the positions of a side, got {cell}")
        return cell

    @field_validator("memory")
    @classmethod
    def _up_to_its_level(cls, memory: MemoryPart | None, info: ValidationInfo) -> MemoryPart | None:
        level = info.data.get("level")
        if memory and level and (sorted({*memory.levels}) != memory.levels or memory.levels[-1] != level):
            raise ValueError(f"levels must ascend to {level}, got {', '.join(map(str, memory.levels))}")
        return memory

    @property
    def name(self) -> str:
        """The module's name: SIZE/LEVEL, of a memory SIZE/mLEVEL+LEVEL."""
        return f"{self.size}/{'m' + '+'.join(map(str, self.memory.levels)) if self.memory else self.level}"


class SurfacePart(Part):
    """What looks at the whole surface: at which size, and at the features of which levels."""

    size: Side
    levels: list[Annotated[int, Field(ge=2, le=5)]] = Field(min_length=1)


class ScoredPart(Part):
    """A held-out good image with its score on the model's scale; group: what parts of one kind share, if anything."""

    name: str
    sha256: Sha256
    score: float = Field(ge=0)
    group: str = ""


class EarlierPart(Part):
    """What models of earlier versions say of the images that set their threshold: how many, and what it promises."""

    held_out: int = Field(ge=1)
    false_alarm_rate: float = Field(gt=0, le=1)

    @field_validator("false_alarm_rate")
    @classmethod
    def _of_so_many(cls, rate: float, info: ValidationInfo) -> float:
        if count := info.data.get("held_out"):  # not there if it is wrong itself
            parts = rate * (count + 1)
            if not (1 <= round(parts) <= count and abs(parts - round(parts)) < 1e-6):
                raise ValueError(f"{count} held-out images can promise multiples of 1/{count + 1} below 1 only")
        return rate


class CalibrationPart(Part):
    """The scale, set when modules or arithmetic change; the scores of held-out good images on it; the thresholds.

    good, limit: of whitened scores the median of good pixels and what becomes 0.5, before they are squashed. review,
    ng: the thresholds, numbers on the scale; without ng all above review is NG. asked: the false-alarm rates that set
    them, none for the default or where they were given as scores. min_area: the share of the image that a defect covers
    at least, for all scores of images. crossed: 0, or into how many sets of students the good images were dealt, as few
    were held out: then `held_out` names images that trained, too, with the scores that other students gave them.
    earlier: in place of held_out, in models of earlier versions.
    """

    good: float = 0.0
    limit: float = 1.0
    held_out: list[ScoredPart] = Field(default_factory=list)
    review: float = Field(gt=0)
    ng: float | None = None
    asked: list[float] = Field(default_factory=list, max_length=2)
    min_area: float = Field(default=0.0, ge=0, lt=1)
    crossed: int = Field(default=0, ge=0)
    earlier: EarlierPart | None = None

    @field_validator("ng")
    @classmethod
    def _not_below_review(cls, ng: float | None, info: ValidationInfo) -> float | None:
        if ng is not None and ng < (review := info.data.get("review", ng)):
            raise ValueError(f"must not be below review, {review:.9g}")
        return ng

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds that turn an image score into a verdict."""
        return Thresholds(self.review, self.ng)

    @property
    def scores(self) -> list[float]:
        """What thresholds are chosen by: the held-out scores, of each group the highest."""
        groups: dict[str, float] = {}
        for index, image in enumerate(self.held_out):
            name = f"group {image.group}" if image.group else f"image {index}"
            groups[name] = max(image.score, groups.get(name, 0.0))
        return list(groups.values())


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

    SAID_IF_ANY: ClassVar = frozenset({"tiles", "surface"})
    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    blemish: str
    created: UtcTime
    teacher: TeacherPart
    preprocessing: PreprocessingPart
    sizes: list[Side] = Field(min_length=1)
    tiles: TilesPart | None = None
    reference_size: Side
    modules: list[ModulePart] = Field(min_length=1)
    surface: SurfacePart | None = None
    recipe: dict[str, Setting]
    seed: int = Field(ge=0, lt=1 << 32)
    score: Literal["paper", "whitened", "memory"]
    calibration: CalibrationPart
    roi: RoiPart | None = None
    weighing: WeighingPart | None = None
    data: DataPart
    libraries: dict[str, str]

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, fields: Any) -> Any:
        """Bring what versions 1 and 2 have said of their threshold to where it is now."""
        if not isinstance(fields, dict) or fields.get("schema_version") not in (1, 2):
            return fields
        old = fields.get("calibration")
        if not isinstance(old, dict) or "threshold" not in old:
            return fields
        kept = {name: old[name] for name in ("good", "limit") if name in old}
        earlier = {name: old[name] for name in ("held_out", "false_alarm_rate") if name in old}
        strange = {name: value for name, value in old.items() if name not in (*kept, *earlier, "threshold")}
        calibration = {**strange, **kept, "review": old["threshold"], "earlier": earlier}
        return {**fields, "schema_version": SCHEMA_VERSION, "calibration": calibration}

    def changed(self, **fields: Any) -> "Header":
        """Return a header that differs in some fields, checked as a new one is (pydantic's ValidationError)."""
        return Header.model_validate(self.model_copy(update=fields).model_dump())

    @property
    def strangers(self) -> list[int]:
        """The indices of the held-out images that stand far out of the rest, the highest score first."""
        return strangers([image.score for image in self.calibration.held_out], scale=self.scale)

    @property
    def bits(self) -> int:
        """How many bits of the values of 16-bit images are used."""
        return self.preprocessing.bits

    @property
    def map_size(self) -> int:
        """The size that the maps of modules are combined at: R, or the side of the map of a tile."""
        return self.tiles.map_size if self.tiles else self.reference_size

    @property
    def wanted_tiles(self) -> tuple[int, float] | None:
        """The side and the overlap of tiles, as a fit may be told them; None without tiles."""
        return (self.tiles.size, self.tiles.overlap) if self.tiles else None

    @property
    def scale(self) -> Scale:
        """The scale that brings a combined map to where scores lie."""
        return Scale(score=self.score, good=self.calibration.good, limit=self.calibration.limit)

    @property
    def any_aspect(self) -> "Header":
        """The same with a region of interest that images of any aspect have: what golden images are scored by."""
        if self.roi is None:
            return self
        return self.model_copy(update={"roi": self.roi.model_copy(update={"width": None, "height": None})})

    def counted(self, height: int, width: int) -> NDArray[np.bool_] | None:
        """Return which pixels of an image count, bool (height, width); None for all."""
        return None if self.roi is None else self.roi.at(height, width)

    def reference(self, combined: NDArray[np.float32], surface: float) -> Reference:
        """Return a combined map, (R, R), and what the surface says, on the scale: nothing with a region of interest."""
        scaled = self.scale.of(combined)
        if self.roi is not None:
            return Reference(np.where(self.roi.inside, scaled, np.float32(0)))
        return Reference(
            scaled, float(self.scale.of(np.array([surface], np.float32))[0]) if surface != NOTHING else 0.0
        )

    @field_validator("tiles")
    @classmethod
    def _combined_at_one_of_the_sizes(cls, tiles: TilesPart | None, info: ValidationInfo) -> TilesPart | None:
        if tiles and tiles.map_size not in (sizes := info.data.get("sizes", [tiles.map_size])):
            raise ValueError(f"map_size must be one of sizes, {', '.join(map(str, sizes))}, got {tiles.map_size}")
        return tiles

    @field_validator("reference_size")
    @classmethod
    def _one_of_the_sizes(cls, reference_size: int, info: ValidationInfo) -> int:
        if tiles := info.data.get("tiles"):
            if reference_size < tiles.map_size:
                raise ValueError(f"must be at least the map_size of tiles, {tiles.map_size}")
        elif reference_size not in (sizes := info.data.get("sizes", [reference_size])):
            raise ValueError(f"must be one of sizes, {', '.join(map(str, sizes))}")
        return reference_size

    @field_validator("modules")
    @classmethod
    def _modules_agree(cls, modules: list[ModulePart], info: ValidationInfo) -> list[ModulePart]:
        names = [module.name for module in modules]
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
        if info.data.get("score") in ("whitened", "memory") and calibration.limit <= calibration.good:
            raise ValueError(f"limit must be above good, got {calibration.limit:.9g} and {calibration.good:.9g}")
        return calibration

    @field_validator("roi")
    @classmethod
    def _at_the_reference_size(cls, roi: RoiPart | None, info: ValidationInfo) -> RoiPart | None:
        side = info.data.get("reference_size", 0)
        if roi is not None and side and roi.inside.shape != (side, side):
            raise ValueError(f"bits must be those of {side} x {side} pixels, the reference size")
        return roi

    @field_validator("weighing")
    @classmethod
    def _no_more_than_there_were(cls, weighing: WeighingPart | None, info: ValidationInfo) -> WeighingPart | None:
        if weighing and weighing.modules < (kept := len(info.data.get("modules", []))):
            raise ValueError(f"{kept} modules cannot be kept of {weighing.modules}")
        return weighing
