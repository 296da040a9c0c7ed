"""From raw scores to the scale of a model, which is set once, and to one score for an image; numpy only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.verdict.connected import parts

LEAST_SPAN = 1e-3  # from good pixels to the limit: maps that never vary have none
FAR = 3.0  # deviations from the median of good images to the limit
NOTHING = -math.inf  # what the surface says where nothing looks at it
NORMAL = 1.4826  # from the median of absolute differences to the deviation of a normal distribution


def surface_of(parts: Sequence[float]) -> float:
    """Return what the surface of an image says, by what it says of the whole or of each tile: the mean, or NOTHING."""
    return fmean(parts) if parts else NOTHING


@dataclass(frozen=True, slots=True)
class Reference:
    """All that a verdict on an image is taken from, on the scale.

    map: (R, R) float32 at the reference size; whole: the score of its whole surface, 0 where nothing looks at that.
    """

    map: NDArray[np.float32]
    whole: float = 0.0

    def score(self, *, min_area: float = 0.0) -> float:
        """Return the score of the image: the higher of the map's (`image_score`) and that of the whole surface."""
        return float(np.maximum(image_score(self.map, min_area=min_area), self.whole))  # NaN stays NaN


@dataclass(frozen=True, slots=True)
class Scale:
    """What brings combined maps to where scores lie, in [0, 1]: the paper's score ("paper") lies there already.

    good: the median of held-out good pixels; limit: what a score lies at that is FAR from those of good images. Both
    are of combined maps. Any other score is squashed so that they come to lie at 0.018 and 0.5.
    """

    score: str
    good: float
    limit: float

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return combined maps of any shape as scores."""
        return values if self.score == "paper" else squash(values, good=self.good, limit=self.limit)

    def symmetric(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return scores of good images where they lie about as far above as below their median.

        Whitened scores as they were before they were squashed, as they are means of logarithms; those of the paper as
        their logarithm.
        """
        if self.score == "paper":
            return np.log(np.maximum(scores, 1e-12))
        return self.levels(scores)

    def levels(self, scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return scores of any shape as they were before `of`, but for what lies 7 spans below the limit or lower."""
        if self.score == "paper":
            return np.asarray(scores, dtype=np.float64)
        inner = np.clip(scores, 1e-12, 1 - 1e-7, dtype=np.float64)
        low, high = np.log(np.minimum(inner, 0.5) / (1 - np.minimum(inner, 0.5))) / 4, 0.25 / (1 - inner) - 0.5
        return np.asarray(self.limit + max(self.limit - self.good, LEAST_SPAN) * np.where(inner < 0.5, low, high))

    @property
    def colours(self) -> tuple[float, float]:
        """The scores at which the colours of overlays begin and end: half and twice that of the limit, at most 1."""
        middle = self.limit if self.score == "paper" else 0.5
        return middle / 2, min(2 * middle, 1.0)


def scale_of(maps: NDArray[np.float32], *, score: str) -> Scale:
    """Return the scale that the combined maps (N, R, R) of held-out good images set.

    The limit lies FAR robust deviations above the median of their image scores (of the paper's score: of their
    logarithms), so that no single image decides.
    """
    good = float(np.median(maps))
    scores = np.array([image_score(one) for one in maps], dtype=np.float64)
    values = np.log(np.maximum(scores, 1e-12)) if score == "paper" else scores
    limit = float(np.median(values) + FAR * deviation(values))
    if score == "paper":
        return Scale(score, good=min(good, 1.0), limit=min(float(np.exp(limit)), 1.0))
    return Scale(score, good=good, limit=max(limit, good + LEAST_SPAN))


def deviation(values: NDArray[np.float64]) -> float:
    """Return the robust deviation of some values: the median of how far they are from their median, times 1.4826."""
    return NORMAL * float(np.median(np.abs(values - np.median(values))))


def squash(values: NDArray[np.float32], *, good: float, limit: float) -> NDArray[np.float32]:
    """Return whitened scores in (0, 1], on a scale where good pixels lie at 0.018 and the limit at 0.5.

    good, limit: see `Scale`. Below the limit the curve is a sigmoid; above, x / (1/2 + x) goes on with the same slope,
    since a sigmoid is exactly 1 in float32 before long, and what is all 1 has no order. It reverses no order; values
    that lie close together may become equal.
    """
    x = (values.astype(np.float64) - limit) / max(limit - good, LEAST_SPAN)  # in float32 neighbours would change places
    score = 1 / (1 + np.exp(-4 * np.clip(x, -20, 0)))  # what lies 20 spans below the limit may tie
    high = x > 0
    score[high] += 0.5 - 0.25 / (0.5 + x[high])
    return np.asarray(score, dtype=np.float32)


def image_score(score_map: NDArray[np.float32], *, min_area: float = 0.0) -> float:
    """Return the score of an image from its score map at the reference size: the maximum.

    min_area: a share of the image. With it the score is the highest at which the map has an 8-connected part of at
    least that area whose pixels all score as high or higher: it is above a threshold exactly if a part of that area is.

    It is as robust as the map: whitened maps are high only where several modules agree, so one noisy module does
    not make the maximum, as it does with the paper's mean of raw distances.
    """
    least = min_area * score_map.size
    if least <= 1:
        return float(score_map.max())
    levels = np.unique(score_map)
    low, high = 0, int(np.searchsorted(levels, np.sort(score_map, axis=None)[-math.ceil(least)]))
    while low < high:  # as levels rise, the largest part shrinks
        middle = (low + high + 1) // 2
        enough = parts(score_map >= levels[middle]).areas().max() >= least
        low, high = (middle, high) if enough else (low, middle - 1)
    return float(levels[low])
