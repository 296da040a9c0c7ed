"""Where an image differs: regions, found on the map that decides the score and drawn on the image; numpy and Pillow.

Parts of the reference map above the threshold are the seeds, so an image has regions exactly if its map is above the
threshold somewhere. `refine` draws their outlines at the image's own resolution.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError
from blemish.images.resize import resize_map
from blemish.verdict.connected import Flags, Indices, parts
from blemish.verdict.refine import margins, refined
from blemish.verdict.scale import Scale

Scores = NDArray[np.float32]

LEAST_AREA = 4  # px; a smaller piece that the colours of the image have cut off is left out, unless a peak lies in it


@dataclass(frozen=True, slots=True)
class Region:
    """A connected part of an image that differs.

    area: in px; share: of the image's pixels, in (0, 1]; box: (x, y, width, height) in px from the upper left corner;
    peak: its highest score, above the threshold; mean: that of its pixels. The highest peak of an image is its score,
    unless its whole surface scores higher. surface: whether it is the whole image, in which no place stands out; its
    peak is then the score of the surface.
    """

    area: int
    share: float
    box: tuple[int, int, int, int]
    peak: float
    mean: float
    surface: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """The region as plain JSON values."""
        return asdict(self) | {"box": list(self.box)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Self:
        """Return the region that was `plain`."""
        return cls(**{**plain, "box": tuple(plain["box"])})


def find_regions(
    reference: Scores,
    image: NDArray[np.uint8],
    *,
    threshold: float,
    scale: Scale,
    score_map: Scores | None = None,
    min_area: float = 0.0,
    counted: Flags | None = None,
) -> tuple[list[Region], Flags]:
    """Return the regions of an image, highest peak first, then the largest, and which pixels are of them, (H, W).

    reference: the score map that decides the image score, (R, R), finite; image: (H, W, 3); score_map: reference at
    the image's own size, (H, W), made from it if it is not given; counted: bool (H, W), where regions may lie, default
    everywhere. There is at least one region if a score is above the threshold, and none otherwise. min_area: a share of
    the image; parts of the reference map above the threshold that are smaller count as if they were not above it, as
    they do in `image_score`. Raises InputError for another shape, a score that is not finite, or a threshold that is
    not positive and finite.
    """
    _check(reference, threshold)
    seeds = reference > np.float64(threshold)  # as scores are compared: a float32 is no other number then
    if min_area:
        found = parts(seeds)
        seeds[seeds] = (found.areas() >= min_area * seeds.size)[found.of_pixels()]
    if not seeds.any():
        return [], np.zeros(image.shape[:2], dtype=np.bool_)
    levels, least = scale.levels(reference), float(scale.levels(np.array(threshold)))
    inside = refined(image, margins(levels, least=least, good=scale.good, score=scale.score), seeds)
    if counted is not None:
        inside &= counted
    tips = np.zeros(inside.shape, dtype=np.float32)  # a map loses its tips where it is stretched, and where it shrinks
    rows, columns, peaks = _peaks(reference, seeds, inside.shape)
    np.maximum.at(tips, (rows, columns), peaks)
    inside[rows, columns] = True
    return _kept(inside, resize_map(reference, *inside.shape) if score_map is None else score_map, tips, threshold)


def whole_surface(score: float, score_map: Scores) -> Region:
    """Return the whole of an image as a region, for one in which no place stands out; score_map: (H, W)."""
    height, width = score_map.shape
    return Region(height * width, 1.0, (0, 0, width, height), score, float(score_map.mean()), surface=True)


def _check(reference: Scores, threshold: float) -> None:
    if not 0 < threshold < np.inf:
        raise InputError(f"threshold: {threshold:g} is not allowed, give a finite number above 0")
    if reference.ndim != 2:
        raise InputError(f"score map: shape {reference.shape}, allowed is (H, W)")
    if not np.isfinite(reference).all():
        raise InputError(f"score map: {np.count_nonzero(~np.isfinite(reference))} scores are not finite")


def _peaks(reference: Scores, seeds: Flags, shape: tuple[int, ...]) -> tuple[Indices, Indices, Scores]:
    """Return the row and column on the image, of this shape, of the highest pixel of each seed, and its score."""
    found, values = parts(seeds), reference[seeds]
    order = np.lexsort((-values, found.of_pixels()))
    first = order[np.cumsum(found.areas()) - found.areas()]
    rows, columns = (index[first] for index in np.nonzero(seeds))
    height, width = reference.shape
    return (2 * rows + 1) * shape[0] // (2 * height), (2 * columns + 1) * shape[1] // (2 * width), values[first]


def _kept(inside: Flags, score_map: Scores, tips: Scores, threshold: float) -> tuple[list[Region], Flags]:
    """Return the parts that reach above the threshold as regions, without small pieces, and the pixels of these.

    tips: (H, W), the scores of the highest pixels of the seeds, 0 elsewhere. Changes `inside`.
    """
    part = tuple(slice(ends[0], ends[-1] + 1) for ends in (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0)))
    within = inside[part]
    found = parts(within)
    numbers, areas, highest = found.of_pixels(), found.areas(), tips[part][within]
    values = np.maximum(score_map[part][within], highest)
    peaks, tipped = found.highest(values), found.highest(highest) > 0
    means = np.bincount(numbers, values, minlength=found.count) / areas
    kept = (peaks > np.float64(threshold)) & (tipped | (areas >= LEAST_AREA))
    boxes = np.add(found.boxes(), (part[1].start, part[0].start, 0, 0))
    columns = areas, boxes, peaks, means
    regions = [
        Region(area, area / inside.size, tuple(box), peak, mean)
        for area, box, peak, mean in zip(*(column[kept].tolist() for column in columns), strict=True)
    ]
    within[within] = kept[numbers]
    return sorted(regions, key=lambda region: (-region.peak, -region.area, region.box)), inside
