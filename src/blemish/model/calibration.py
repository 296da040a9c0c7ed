"""From the maps of held-out good images to the scale and the threshold of a model."""

import numpy as np
from numpy.typing import NDArray

from blemish.model.header import CalibrationPart
from blemish.verdict.scale import LEAST_SPAN, image_score
from blemish.verdict.threshold import threshold


def calibrate(maps: NDArray[np.float32], *, score: str) -> CalibrationPart:
    """Return the threshold that the score maps (N, R, R) of held-out good images set, before they are squashed."""
    limit, rate = threshold([image_score(reference) for reference in maps])
    return CalibrationPart(
        held_out=len(maps),
        threshold=limit if score == "paper" else 0.5,  # what squash makes of the limit
        false_alarm_rate=rate,
        good=min(float(np.median(maps)), limit - LEAST_SPAN),
        limit=limit,
    )
