"""What each threshold would have done to labelled images: escapes and false alarms, and how sure that is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blemish.data.layouts.labels import Labels
from blemish.data.samples import Sample, read_truth
from blemish.evaluation.evaluate import choose
from blemish.evaluation.truth import clipped
from blemish.model.header import CalibrationPart, Header
from blemish.model.scorer import Scorer
from blemish.verdict.threshold import menu, promised

LEVEL = 0.95  # of the intervals


@dataclass(frozen=True, slots=True)
class Count:
    """So many of all, and the interval of the share that would explain them."""

    count: int
    of: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A threshold with its promise, and what it would have done; chosen: it is one of the model's."""

    threshold: float
    promise: float
    escapes: Count
    false_alarms: Count
    chosen: bool


def outcomes(calibration: CalibrationPart, scores: Sequence[float], defective: Sequence[bool]) -> list[Outcome]:
    """Return what the menu's thresholds and the chosen ones would have done, the highest first.

    scores: of labelled images; defective: whether each is. Scores at a threshold are below it.
    """
    chosen = [level for _, level in calibration.thresholds.named]
    held_out = calibration.scores
    levels = {step.threshold for step in menu(held_out)} | set(chosen)
    good = [score for score, bad in zip(scores, defective, strict=True) if not bad]
    bad = [score for score, one in zip(scores, defective, strict=True) if one]
    return [
        Outcome(
            threshold=level,
            promise=promised(held_out, level),
            escapes=with_interval(sum(score <= level for score in bad), len(bad)),
            false_alarms=with_interval(sum(score > level for score in good), len(good)),
            chosen=level in chosen,
        )
        for level in sorted(levels, reverse=True)
    ]


def judged(scorer: Scorer, header: Header, data: Path, *, labels: Labels) -> tuple[Header, list[Outcome]]:
    """Return the header that remembers the labelled images of `data`, and what thresholds would have done to them.

    Images that trained, held out or weighed are refused, as `choose` does; raises InputError as it does.
    """
    chosen = choose(scorer.with_header(header), data, labels=labels)
    samples = [sample for sample in chosen.samples if not _outside(sample, header)]
    least = header.calibration.min_area
    looked = scorer.references([sample.path for sample in samples])
    scores = [reference.score(min_area=least) for _, _, reference in looked]
    found = outcomes(header.calibration, scores, [sample.label != "good" for sample in samples])
    images = {image.sha256: image for image in [*header.data.judged, *chosen.images]}
    data_part = header.data.model_copy(update={"judged": [images[key] for key in sorted(images)]})
    return header.changed(data=data_part), found


def _outside(sample: Sample, header: Header) -> bool:
    """Tell whether all defects of an image lie where the model does not look."""
    truth = read_truth(sample) if header.roi is not None else None
    inside = header.counted(*truth.shape) if truth is not None else None
    if truth is None or inside is None:
        return False
    _, regions, outside = clipped(truth, inside)
    return 0 < regions == outside


def with_interval(count: int, of: int) -> Count:
    """Return a count with the interval of Clopper and Pearson (1934) for its share: LEVEL at least, from 0 to 1."""
    tail = (1 - LEVEL) / 2
    # The largest share of which so few or fewer are seen with a probability above the tail; likewise the smallest.
    high = 1.0 if count == of else _share(lambda share: _at_most(count, of, share) > tail)
    low = 0.0 if count == 0 else _share(lambda share: 1 - _at_most(count - 1, of, share) < tail)
    return Count(count, of, low, high)


def _at_most(count: int, of: int, share: float) -> float:
    """Return the probability of at most so many of all, each with the same share."""
    if share <= 0 or share >= 1:
        return float(share <= 0 or count >= of)
    logs = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        + k * math.log(share) + (of - k) * math.log1p(-share)
        for k in range(count + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, logs))


def _share(below: Callable[[float], bool]) -> float:
    """Return the share up to which something holds, by halving."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2
