"""Strangers among the good: held-out images whose scores stand far out of the rest; numpy only."""

from collections.abc import Sequence

import numpy as np

from blemish.verdict.scale import Scale, deviation

LEAST = 8  # images; of fewer nobody can say what is far out
OUT = 4.0  # robust deviations above the median


def strangers(scores: Sequence[float], *, scale: Scale) -> list[int]:
    """Return the indices of the good images that may be none, the highest score first.

    They lie more than OUT robust deviations above the median, where scores are roughly symmetric (`Scale.symmetric`).
    """
    if len(scores) < LEAST:
        return []
    values = scale.symmetric(np.asarray(scores, dtype=np.float64))
    limit = float(np.median(values)) + OUT * deviation(values)
    return [int(index) for index in np.argsort(-values, kind="stable") if values[index] > limit]
