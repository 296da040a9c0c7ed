"""From raw scores to the scale on which 0.5 is the threshold, and to one score for an image; numpy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SPAN = 1e-3  # from good pixels to the threshold: maps that never vary have none


@dataclass(frozen=True, slots=True)
class Scale:
    """What brings combined maps to where scores lie, in [0, 1]: the paper's score ("paper") lies there already.

    good, limit: of a "whitened" score the median of good pixels and the threshold, before they are squashed.
    """

    score: str
    good: float
    limit: float

    def of(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return combined maps of any shape as scores."""
        return values if self.score == "paper" else squash(values, good=self.good, limit=self.limit)


def squash(values: NDArray[np.float32], *, good: float, limit: float) -> NDArray[np.float32]:
    """Return whitened scores in (0, 1], on a scale where 0.5 is the threshold of every model; it reverses no order.

    good: the median of held-out good pixels, which comes to lie at 0.018; limit: the threshold, on the scale of
    `values`. Below it the curve is a sigmoid; above, x / (1/2 + x) goes on with the same slope, since a sigmoid is
    exactly 1 in float32 before long, and what is all 1 has no order. Values that lie close together may become equal.
    """
    x = (values.astype(np.float64) - limit) / max(limit - good, LEAST_SPAN)  # in float32 neighbours would change places
    score = 1 / (1 + np.exp(-4 * np.clip(x, -20, 0)))  # what lies 20 spans below the threshold may tie
    high = x > 0
    score[high] += 0.5 - 0.25 / (0.5 + x[high])
    return np.asarray(score, dtype=np.float32)


def image_score(score_map: NDArray[np.float32]) -> float:
    """Return the score of an image from its score map at the reference size: the maximum.

    It is as robust as the map: whitened maps are high only where several modules agree, so one noisy module does
    not make the maximum, as it does with the paper's mean of raw distances.
    """
    return float(score_map.max())
