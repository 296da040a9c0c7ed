"""Tiles: the squares that an image is cut into near its own resolution, and the one map that theirs are blended to."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from blemish.checks import share, shown, whole
from blemish.errors import InputError
from blemish.storage.fields import Part

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shape = tuple[int, int]  # height, width
Box = tuple[int, int, int]  # top, left, side
Wanted = Literal["auto"] | tuple[int, float] | None  # decided by the images; side in px and overlap; no tiles

SIDES = range(32, 16385)
OVERLAP = 0.2  # what blends without a seam (docs/log.md); less would save hardly a tile
LEAST_OVERLAP, MOST_OVERLAP = 0.1, 0.75  # with less a seam shows; with more there are sixteen times as many tiles
RULE = (
    "expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25% (SIZE in px from 32 to 16384, OVERLAP from 10% to "
    "75% of it)"
)
ASPECT = 1.5  # of images that are longer than the largest size: above it one axis is shrunk much more than the other
SHRUNK = 4  # of images whose longer side is more than so many times the largest size small defects are gone
ZOOM = 2  # times the largest size: the side of the tiles of large images
MOST_TILES = 64  # what `auto` may cut an image into: so many times as long takes its score
ALLOWED_TILES = 1024  # what may be asked for
LARGEST_MAP = 1024  # px; a larger map of an image would cost more than it shows


class TilesPart(Part):
    """How a model cuts images into tiles; each field is checked on creation (pydantic's ValidationError).

    size: the side of a tile, px of the image; of an image with a shorter side, that side. overlap: the share of its
    side that a tile has in common with the next, at least. map_size: the side of a tile's own map. height, width: of
    the median image of the fit, px.
    """

    size: int = Field(ge=SIDES[0], le=SIDES[-1])
    overlap: float = Field(ge=LEAST_OVERLAP, le=MOST_OVERLAP)
    map_size: int = Field(ge=64, le=1024, multiple_of=32)
    height: int = Field(ge=1)
    width: int = Field(ge=1)

    @field_validator("width")
    @classmethod
    def _not_too_many(cls, width: int, info: Any) -> int:
        found = info.data
        if {"size", "overlap", "height"} <= found.keys():
            count = _count(found["height"], width, found["size"], found["overlap"])
            if count > ALLOWED_TILES:
                raise ValueError(f"makes {count} tiles of an image, at most {ALLOWED_TILES} are allowed")
        return width

    @property
    def count(self) -> int:
        """How many tiles the median image of the fit has."""
        return _count(self.height, self.width, self.size, self.overlap)

    @property
    def reference_size(self) -> int:
        """The side R of the map of an image: its pixels are no larger than those of the tiles' maps, up to a bound."""
        side = min(self.size, self.height, self.width)
        exact = max(self.height, self.width) * self.map_size / side
        return max(self.map_size, min(32 * math.ceil(exact / 32), LARGEST_MAP))

    @property
    def words(self) -> str:
        """What is cut, and what that costs: tiles of 500 px, 20 % overlap: 3 for an image of 500x1260; ..."""
        tiles = f"tiles of {self.size} px, {100 * self.overlap:.3g} % overlap"
        cost = f"scoring takes {self.count} times as long" if self.count > 1 else "scoring takes no longer"
        return f"{tiles}: {self.count} for an image of {self.width}x{self.height}; {cost}"


def read_tiles(given: Any) -> Wanted:
    """Return what a user wants: "auto", None or "off", a side, (side, overlap), or the text of these, such as 512,25%.

    Raises InputError for anything else.
    """
    if given is None or (isinstance(given, str) and given == "off"):
        return None
    if isinstance(given, str) and given == "auto":
        return "auto"
    parts: list[Any] = [one.strip() for one in given.split(",")] if isinstance(given, str) else [given]
    if isinstance(given, tuple | list):
        parts = list(given)
    if isinstance(given, str) and parts[0].isascii() and parts[0].isdigit():
        parts[0] = int(parts[0][:9])
    if not 1 <= len(parts) <= 2 or isinstance(parts[0], str):
        raise InputError(f"tiles: {shown(given)} is not allowed, {RULE}")
    side = whole("tiles", parts[0], allowed=SIDES, rule=RULE)
    overlap = share("tiles", parts[1], rule=RULE) if len(parts) == 2 else OVERLAP
    if not LEAST_OVERLAP <= overlap <= MOST_OVERLAP:
        raise InputError(f"tiles: an overlap of {shown(parts[1])} is not allowed, {RULE}")
    return side, overlap


def decide(wanted: Wanted, shapes: Sequence[Shape], *, sizes: Sequence[int], map_size: int) -> TilesPart | None:
    """Return how images like those of a fit are cut; None for not at all.

    shapes: of the images, (height, width); sizes: of the network inputs. "auto" cuts where much is lost otherwise:
    where the median aspect is above ASPECT and the median longer side above the largest size, into tiles of the shorter
    side; and where the median longer side is above SHRUNK times the largest size, into tiles of ZOOM times that size at
    most, or so much larger that there are no more than MOST_TILES; where no square is, not at all. Raises InputError
    for tiles that are larger than the images or too many.
    """
    if wanted is None or not shapes:
        return None
    largest, longer, shorter = max(sizes), median(map(max, shapes)), median(map(min, shapes))
    height, width = sorted(shapes, key=lambda shape: (max(shape), min(shape)))[len(shapes) // 2]
    if wanted == "auto":
        wide = median(max(shape) / min(shape) for shape in shapes) > ASPECT and longer > largest
        large = longer > SHRUNK * largest
        if not (wide or large):
            return None
        side, overlap = int(min(shorter, ZOOM * largest) if large else shorter), OVERLAP
        side = min(max(side, SIDES[0]), SIDES[-1])
        while _count(height, width, side, overlap) > MOST_TILES:
            if side >= min(shorter, SIDES[-1]):
                return None
            side += largest // 8
    else:
        side, overlap = wanted
        if side > longer:
            raise InputError(f"tiles: {side} px is larger than the images, the median is {width}x{height}; {RULE}")
        if (count := _count(height, width, side, overlap)) > ALLOWED_TILES:
            many = f"makes {count} tiles of an image of {width}x{height}"
            raise InputError(f"tiles: {side} px {many}, at most {ALLOWED_TILES} are allowed; use larger ones")
    return TilesPart(size=side, overlap=overlap, map_size=map_size, height=height, width=width)


def grid(height: int, width: int, tiles: TilesPart) -> list[Box]:
    """Return the tiles of an image, row by row: (top, left, side) in px.

    They are evenly spread, the first and the last touch the borders, and neighbours overlap at least as is asked.
    Raises InputError for an image that would be cut into more than ALLOWED_TILES.
    """
    side = min(tiles.size, height, width)
    if (count := _count(height, width, side, tiles.overlap)) > ALLOWED_TILES:
        raise InputError(f"image {width}x{height}: {count} tiles of {side} px, at most {ALLOWED_TILES} are allowed")
    return [
        (top, left, side)
        for top in _begins(height, side, tiles.overlap)
        for left in _begins(width, side, tiles.overlap)
    ]


def cut(image: Pixels, tiles: TilesPart) -> Iterator[Pixels]:
    """Yield the tiles of an image (H, W, 3), (side, side, 3) each, in the order of `grid`."""
    height, width = image.shape[:2]
    for top, left, side in grid(height, width, tiles):
        yield image[top : top + side, left : left + side]


def mapped(image: Pixels, score: Callable[[Pixels], Floats], *, tiles: TilesPart | None, side: int) -> Floats:
    """Return the map of an image (H, W, 3) at the reference size `side`: (..., side, side).

    score: returns the map of what it is given, (..., r, r): of the whole image without tiles, else of one tile after
    the other, whose maps are blended. Two maps of tiles are in memory at a time, however many there are.
    """
    if tiles is None:
        return score(image)
    return blend(map(score, cut(image, tiles)), *image.shape[:2], tiles=tiles, side=side)


def blend(maps: Iterable[Floats], height: int, width: int, *, tiles: TilesPart, side: int) -> Floats:
    """Return one map (..., side, side) of an image from those of its tiles, (..., r, r) each, in the order of `grid`.

    The map is that of the image squashed to a square, as ever. Where tiles overlap, each counts less towards its edge
    there, where its network sees least around a pixel; the weights are smooth and sum to 1 everywhere.
    """
    edge = min(tiles.size, height, width)
    found: Floats | None = None
    axes: list[list[tuple[slice, Floats]]] = []
    across = len(_begins(width, edge, tiles.overlap))
    for index, one in enumerate(maps):
        if found is None:
            found = np.zeros((*one.shape[:-2], side, side), np.float32)
            axes = [_axis(length, edge, tiles.overlap, side=side, own=one.shape[-1]) for length in (height, width)]
        (rows, down), (columns, along) = axes[0][index // across], axes[1][index % across]
        found[..., rows, columns] += down @ one @ along.T
    assert found is not None, "an image has a tile"
    return found


def _axis(length: int, edge: int, overlap: float, *, side: int, own: int) -> list[tuple[slice, Floats]]:
    """Return for each tile along an axis which pixels of the blended map it has a say in, and its weights.

    length, edge: of the image and of a tile, px; side: of the blended map; own: of a tile's. The weights, (n, own),
    resample a tile's values (bilinear, smoothed when shrinking) and take its share in the sum.
    """
    begins = _begins(length, edge, overlap)
    centres = (np.arange(side) + 0.5) * length / side
    says = np.stack([_say(centres, begins, index, edge) for index in range(len(begins))])
    says /= says.sum(axis=0)
    reach = max(1.0, length / side * own / edge)  # pixels of the tile's map that one of the blended map stands for
    found = []
    for begin, say in zip(begins, says, strict=True):
        (there,) = np.nonzero(say)  # none, where a tile is smaller than a pixel of the blended map
        some = slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0)
        places = (centres[some] - begin) * own / edge - 0.5
        weights = np.maximum(0, 1 - np.abs(np.clip(places, 0, own - 1)[:, None] - np.arange(own)) / reach)
        weights *= (say[some] / weights.sum(axis=1))[:, None]
        found.append((some, weights.astype(np.float32)))
    return found


def _say(centres: NDArray[np.float64], begins: Sequence[int], index: int, edge: int) -> NDArray[np.float64]:
    """Return what a tile counts at some places along an axis: 1, and 0 beyond its edges; smooth where tiles overlap."""
    place = centres - begins[index]
    say = ((place >= 0) & (place <= edge)).astype(np.float64)
    if index > 0:
        say *= _rise(place / (begins[index - 1] + edge - begins[index]))
    if index + 1 < len(begins):
        say *= _rise((edge - place) / (begins[index] + edge - begins[index + 1]))
    return say


def _rise(way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a smooth rise from 0 at 0 to 1 at 1."""
    return np.asarray(np.sin(np.pi / 2 * np.clip(way, 0, 1)) ** 2)


def _begins(length: int, edge: int, overlap: float) -> list[int]:
    """Return where the tiles along an axis begin, px."""
    if length <= edge:
        return [0]
    count = _along(length, edge, overlap)
    return [index * (length - edge) // (count - 1) for index in range(count)]


def _along(length: int, edge: int, overlap: float) -> int:
    step = max(1, int(edge * (1 - overlap) + 1e-6))
    return 1 + max(0, math.ceil((length - edge) / step))


def _count(height: int, width: int, size: int, overlap: float) -> int:
    """Return how many tiles an image has."""
    edge = min(size, height, width)
    return _along(height, edge, overlap) * _along(width, edge, overlap)
