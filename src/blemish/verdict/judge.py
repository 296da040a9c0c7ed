"""What is said of one image: its score map, its score, its verdict and where it differs; numpy and Pillow only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source
from blemish.images.resize import resize_map
from blemish.verdict.regions import Region, regions
from blemish.verdict.scale import image_score
from blemish.verdict.threshold import Thresholds, Verdict


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image.

    Score and verdict are of the whole image; score_map, (H, W) float32 in [0, 1], and the regions above the
    threshold of REVIEW are at the image's own resolution. Path is None for an image given as an array.
    """

    path: Path | None
    score: float
    verdict: Verdict
    regions: list[Region]
    score_map: NDArray[np.float32]


def judge(
    source: Source,
    image: NDArray[np.uint8],
    reference: NDArray[np.float32],
    *,
    thresholds: Thresholds,
    inside: NDArray[np.bool_] | None = None,
) -> Prediction:
    """Return the prediction for an image (H, W, 3) from its score map at the reference size.

    inside: bool (H, W), which pixels of the image count, default all; the map is 0 at the others.
    """
    score = image_score(reference)
    score_map = resize_map(reference, *image.shape[:2])
    if inside is not None:
        score_map[~inside] = 0
    return Prediction(
        path=source if isinstance(source, Path) else None,
        score=score,
        verdict=thresholds.verdict(score),
        regions=regions(score_map, thresholds.review),
        score_map=score_map,
    )
