"""Scores that stand beside held-out ones where these are few: those of the images that train, by other students.

A third of the good images is held out, and the model's own students score it. Two more sets of students, which are
dropped then, score a third each of which they have learnt nothing. Sets of students differ in where the scores of good
images lie, by more than these scatter. So of another set only this counts: how far an image lies above the median of
the others that the set scores. That is added to the median of those that are held out. A new image lies above that
median as those lie above theirs, so the promise is kept as long as sets of students differ by a shift alone
(docs/log.md).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Scored = tuple[NDArray[np.float64], Sequence[str]]  # scores, and what each counts in: of equal names the highest counts


def crossed(own: Scored, others: Sequence[Scored]) -> list[NDArray[np.float64]]:
    """Return the scores by other sets of students as if the model's own had given them.

    own: the scores of held-out images; others: those by each other set. All are where scores are roughly symmetric
    (`Scale.symmetric`), and each has two different names at least.
    """
    centre = float(np.median(list(_highest(*own).values())))
    return [centre + _above_the_others(*one) for one in others]


def _above_the_others(scores: NDArray[np.float64], units: Sequence[str]) -> NDArray[np.float64]:
    highest = _highest(scores, units)
    medians = {one: np.median([score for unit, score in highest.items() if unit != one]) for one in highest}
    return np.array([score - medians[unit] for score, unit in zip(scores, units, strict=True)])


def _highest(scores: NDArray[np.float64], units: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for score, unit in zip(scores.tolist(), units, strict=True):
        found[unit] = max(score, found.get(unit, score))
    return found
