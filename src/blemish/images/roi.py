"""The region of interest: which pixels of an image count. All others count nowhere."""

import base64
import binascii
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from blemish.checks import given_path, share, shown
from blemish.errors import InputError, printable
from blemish.images.masks import read_mask
from blemish.images.resize import resize_mask
from blemish.storage.fields import Part

Flags = NDArray[np.bool_]
StrPath = str | os.PathLike[str]
Mask = StrPath | Flags | None
Place = tuple[float, float, float, float]  # of a tile in its image: top, left, bottom, right, as shares of its sides
LEAST = 0.001  # of the image; of less nothing could be said
ASPECT = 0.01  # so far the aspect of an image may lie from that of the mask
BORDER = "expected 0 % or more and below 50 % of each side, such as 3% or 0.03"


@dataclass(frozen=True, slots=True)
class Interest:
    """What a user gives: a mask of what counts, a mask of what does not, and the share of each side that is border.

    Masks are files as `read_mask` reads them, or arrays, bool (H, W); border is 0.03, or the text 3%, or None.
    """

    roi: Mask = None
    ignore: Mask = None
    border: str | float | None = None

    @property
    def given(self) -> bool:
        """Whether anything is given, be it a border of 0."""
        return not (self.roi is None and self.ignore is None and self.border is None)

    @property
    def files(self) -> list[Path]:
        """The masks that are files."""
        return [Path(os.fsdecode(one)) for one in (self.roi, self.ignore) if isinstance(one, str | os.PathLike)]


WHOLE = Interest()


class RoiPart(Part):
    """The region of interest of a model; each field is checked on creation (pydantic's ValidationError).

    bits: base64 of the bits of a mask at the reference size, row by row, 1 where a pixel counts. width, height: of the
    mask that was given, px, whose aspect images must have; without them any aspect will do. border: the share of each
    side that does not count. roi, ignore: what the masks are called.
    """

    bits: str
    width: int | None = Field(default=None, ge=1)
    height: int | None = Field(default=None, ge=1)
    border: float = Field(default=0.0, ge=0, lt=0.5)
    roi: str | None = None
    ignore: str | None = None

    @field_validator("bits")
    @classmethod
    def _some_of_a_square(cls, bits: str) -> str:
        try:
            inside = _unpacked(bits)
        except (binascii.Error, ValueError) as error:
            raise ValueError("must be base64 of the bits of a square mask") from error
        if inside.mean() < LEAST:
            raise ValueError(f"{100 * inside.mean():.2g} % of the image counts, at least {100 * LEAST:g} % must")
        return bits

    @model_validator(mode="after")
    def _both_sides(self) -> "RoiPart":
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height: one of them alone says nothing")
        return self

    @property
    def inside(self) -> Flags:
        """Which pixels of a map at the reference size count: bool (R, R)."""
        return _unpacked(self.bits)

    @property
    def share(self) -> float:
        """The share of the image that counts."""
        return float(self.inside.mean())

    @property
    def words(self) -> str:
        """How much of the image counts, and what says so: 62 % of the image: from mask.png of 1600x1200."""
        masks = [f"{verb} {printable(mask)}" for verb, mask in (("from", self.roi), ("without", self.ignore)) if mask]
        size = [f"of {self.width}x{self.height}"] if self.width is not None else []
        border = [f"without a border of {100 * self.border:.3g} %"] if self.border else []
        why = ", ".join([*([" ".join(masks + size)] if masks else []), *border])
        return f"{100 * self.share:.3g} % of the image: {why}"

    def at(self, height: int, width: int) -> Flags:
        """Return which pixels of an image or a map of another size count: bool (height, width); nearest neighbour."""
        return resize_mask(self.inside, height, width)

    def positions(self, side: int) -> Flags:
        """Return which positions of a feature see a pixel that counts in the part of the image that they stand for.

        Bool (side, side). So a small region of interest has a position at every level.
        """
        return _positions(self.inside, side)

    def part(self, top: float, left: float, bottom: float, right: float) -> Flags:
        """Return which pixels of a part of the map count: bool (h, w); its edges are shares of the image's sides."""
        inside = self.inside
        first, start = (int(share * len(inside)) for share in (top, left))
        last, stop = (math.ceil(share * len(inside)) for share in (bottom, right))
        return inside[first:last, start:stop]

    def check_aspect(self, image: NDArray[Any], *, name: object = "") -> None:
        """Raise InputError for an image (H, W, ...) whose aspect is not that of the mask; name: what it is called."""
        height, width = image.shape[:2]
        if self.width is not None and self.height is not None and _unlike(width, height, self.width, self.height):
            mask = f"{self.width}x{self.height} of the mask {printable(self.roi or self.ignore)}"
            raise InputError(
                f"{f'{printable(name)}: ' if name else ''}image {width}x{height} vs {mask}: the region of interest "
                "needs images of its aspect (1 % apart at most)"
            )


@dataclass(frozen=True, slots=True)
class TilesRoi:
    """The region of interest in each of N tiles of images; places: their top, left, bottom and right, as shares."""

    roi: RoiPart
    places: list[Place]

    def positions(self, side: int) -> Flags:
        """Return which positions of the features of the tiles see a pixel that counts: bool (N, side, side)."""
        return np.stack([_positions(self.roi.part(*place), side) for place in self.places])


def read_roi(interest: Interest, *, side: int) -> RoiPart | None:
    """Return the region of interest that a user gives, at the reference size; None where all pixels count.

    Raises InputError for a mask that cannot be read, masks of different aspects, a border that is not allowed, and
    where hardly anything is left.
    """
    border = 0.0 if interest.border is None else share("ignore-border", interest.border, rule=BORDER)
    if border >= 0.5:
        raise InputError(f"ignore-border: {shown(interest.border)} is not allowed, {BORDER}")
    roi, ignore = (_mask(one, name) for one, name in ((interest.roi, "roi"), (interest.ignore, "ignore")))
    given = [(name, mask) for name, mask in (roi, ignore) if mask is not None]
    if not given and not border:
        return None
    inside = np.ones((side, side), np.bool_)
    if roi[1] is not None:
        inside &= resize_mask(roi[1], side, side)
    if ignore[1] is not None:
        inside &= ~resize_mask(ignore[1], side, side)
    centres = (np.arange(side) + 0.5) / side
    middle = (centres >= border) & (centres <= 1 - border)
    inside &= middle & middle[:, None]
    (height, width) = given[0][1].shape if given else (None, None)
    for name, mask in given[1:]:
        if _unlike(mask.shape[1], mask.shape[0], width, height):
            sizes = f"{mask.shape[1]}x{mask.shape[0]} vs {width}x{height}"
            raise InputError(f"{name}: mask {sizes} of {given[0][0]}: both need the aspect of the images")
    if inside.mean() < LEAST:
        names = ", ".join([*(name for name, _ in given), *([f"border {100 * border:g} %"] if border else [])])
        left = f"{100 * inside.mean():.2g} % of the image is left ({names})"
        raise InputError(f"region of interest: {left}, at least {100 * LEAST:g} % must be")
    return RoiPart(
        bits=base64.b64encode(np.packbits(inside).tobytes()).decode(),
        width=width,
        height=height,
        border=border,
        roi=roi[0] if roi[1] is not None else None,
        ignore=ignore[0] if ignore[1] is not None else None,
    )


def _mask(given: Any, name: str) -> tuple[str, Flags | None]:
    """Return what a mask is called and the mask, bool (H, W)."""
    if given is None:
        return name, None
    if isinstance(given, str | os.PathLike):
        path = given_path(given, name)
        return printable(path.name), read_mask(path)
    if not isinstance(given, np.ndarray) or given.dtype != np.bool_ or given.ndim != 2 or not given.size:
        kind = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise InputError(f"{name}: {kind} is not allowed, expected a path or an array, bool (H, W)")
    return f"{name} array", given


def _unlike(width: int, height: int, other_width: int, other_height: int) -> bool:
    """Tell whether two aspects are further apart than is allowed."""
    one, other = sorted((width * other_height, other_width * height))
    return other > (1 + ASPECT) * one


def _positions(inside: Flags, side: int) -> Flags:
    """Return which of side x side positions, which share out a part of an image, see a pixel that counts."""
    for _ in range(2):  # rows, then columns
        starts = np.arange(side) * len(inside) // side
        stops = -(-np.arange(1, side + 1) * len(inside) // side)
        inside = np.stack([inside[start:stop].any(axis=0) for start, stop in zip(starts, stops, strict=True)], 1)
    return inside


def _unpacked(bits: str) -> Flags:
    """Return the square of bits; raises ValueError if they are none."""
    flags = np.unpackbits(np.frombuffer(base64.b64decode(bits, validate=True), np.uint8)).astype(np.bool_)
    side = int(flags.size**0.5)
    if not side:
        raise ValueError("no bits")
    return flags.reshape(side, side)
