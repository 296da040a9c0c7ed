"""What is said of one image: its score map, its score, its verdict and where it differs; numpy and Pillow only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source
from blemish.errors import InputError
from blemish.images.resize import resize_map
from blemish.verdict.regions import Region, find_regions, whole_surface
from blemish.verdict.scale import Reference, Scale
from blemish.verdict.threshold import Thresholds, Verdict


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image.

    Score and verdict are of the whole image; score_map, (H, W) float32 in [0, 1], and the regions above the
    threshold of REVIEW, which every image has that is not OK and no other, are at the image's own resolution; inside:
    which pixels are of a region, bool (H, W). Path is None for an image given as an array.
    """

    path: Path | None
    score: float
    verdict: Verdict
    regions: list[Region]
    score_map: NDArray[np.float32]
    inside: NDArray[np.bool_]


def judge(
    source: Source,
    image: NDArray[np.uint8],
    reference: Reference,
    *,
    thresholds: Thresholds,
    scale: Scale,
    min_area: float = 0.0,
    counted: NDArray[np.bool_] | None = None,
) -> Prediction:
    """Return the prediction for an image (H, W, 3) from what its verdict is taken from, on that scale.

    Where its surface alone lifts it above the threshold of REVIEW, all of it is its region. min_area: the share of the
    image that a defect has at least. counted: bool (H, W), which pixels of the image count, default all; the map is 0
    at the others, and no region is.
    """
    score = reference.score(min_area=min_area)
    score_map = resize_map(reference.map, *image.shape[:2])
    if counted is not None:
        score_map[~counted] = 0
    regions, inside = find_regions(
        reference.map,
        image,
        threshold=thresholds.review,
        scale=scale,
        score_map=score_map,
        min_area=min_area,
        counted=counted,
    )
    if not np.isfinite(score):
        raise InputError("surface: its score is not finite")
    verdict = thresholds.verdict(score)
    if not regions and verdict != "OK":
        regions, inside = [whole_surface(score, score_map)], np.ones_like(inside)
    return Prediction(
        path=source if isinstance(source, Path) else None,
        score=score,
        verdict=verdict,
        regions=regions,
        score_map=score_map,
        inside=inside,
    )
