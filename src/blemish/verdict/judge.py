"""What is said of one image: its score map, its score, its verdict and where it differs; numpy and Pillow only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source
from blemish.images.resize import resize_map
from blemish.verdict.regions import Region, find_regions
from blemish.verdict.scale import Scale, image_score
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
    source: Source, image: NDArray[np.uint8], reference: NDArray[np.float32], *, thresholds: Thresholds, scale: Scale
) -> Prediction:
    """Return the prediction for an image (H, W, 3) from its score map at the reference size, on that scale."""
    score = image_score(reference)
    score_map = resize_map(reference, *image.shape[:2])
    regions, inside = find_regions(reference, image, threshold=thresholds.review, scale=scale, score_map=score_map)
    return Prediction(
        path=source if isinstance(source, Path) else None,
        score=score,
        verdict=thresholds.verdict(score),
        regions=regions,
        score_map=score_map,
        inside=inside,
    )
