"""What a page is about, as plain values: its images, and the model that has judged them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blemish.model.header import Header

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shown:
    """One judged image.

    name is fit to be shown, row the image's path in a CSV manifest, None if it can have none; label "good" or a type of
    defect, None without truth; area the px of its truth, None where that is not known; width, height: px, 0 where they
    are not known. regions: plain values, each with area (px), box and peak, and mm2 where that is known. full,
    overlay: addresses of the pictures, if there are any. picture, layer, truth, outlines: data URIs of the small
    picture and of its overlay, or of its heat alone where `heat` says so, and paths of the outlines of truth and
    regions; None where there is none.
    """

    name: str
    row: str | None
    score: float
    label: str | None
    area: int | None
    width: int
    height: int
    regions: list[dict[str, Any]]
    full: str | None
    overlay: str | None
    heat: bool
    picture: str | None
    layer: str | None
    truth: str | None
    outlines: str | None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A held-out good image that stands out, what is said of it, and its pictures, if it was found."""

    name: str
    text: str
    picture: str | None = None
    overlay: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a module costs on this machine: milliseconds for one image, and megabytes in the model file."""

    ms: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Subject:
    """All that a page shows.

    header: with the thresholds in force; model: what `calibrate` is to be given, None where only the model's sha256 is
    known; folder: where the CSV of marks belongs; truth: whether the images are labelled; facts: fingerprints of the
    data, name and value; costs: of each module, by its name, if they were measured; costs_said: what is said of them.
    """

    title: str
    header: Header
    sha256: str
    images: list[Shown]
    folder: Path
    truth: bool
    model: Path | None = None
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    strangers: list[Stranger] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    costs_said: str = ""

    def measured(self, mm_per_px: float) -> Self:
        """Return the same with the areas of all regions in mm2 too, in place of any that are there."""

        def own(image: Shown) -> Shown:
            return replace(image, regions=[one | {"mm2": one["area"] * mm_per_px**2} for one in image.regions])

        return replace(self, images=[own(image) for image in self.images])
