"""The threshold from the image scores of held-out good images, and what it can promise."""

import math
from collections.abc import Sequence

FALSE_ALARM_RATE = 0.01  # what is aimed at; few good images support only a higher rate


def threshold(scores: Sequence[float]) -> tuple[float, float]:
    """Return a threshold from the image scores of n held-out good images, and the false-alarm rate it can promise.

    The k-th smallest of n scores: a new good image, drawn as they were, scores above it with a probability of at most
    (n + 1 - k) / (n + 1), whatever the distribution (split conformal prediction). k is the smallest that keeps this
    at FALSE_ALARM_RATE; where n is too small for that, k = n and the rate is 1 / (n + 1), the least that n can support.
    """
    n = len(scores)
    k = min(math.ceil((n + 1) * (1 - FALSE_ALARM_RATE)), n)
    return sorted(scores)[k - 1], (n + 1 - k) / (n + 1)
