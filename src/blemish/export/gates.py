"""What a bundle has to pass before it is written: as many scores, maps and verdicts as the model's must stay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blemish.data.samples import Sample, square_truth
from blemish.errors import ExportError, InputError, printable
from blemish.evaluation.metrics import pixel_metrics
from blemish.model.model import Model
from blemish.runtime.runtime import Runtime

# Shares of the score at which colours end, 1 of whitened scores: how far a bundle may be from torch on a golden image,
# in its score and in its map on average, and how far another machine may be from the one that exported.
SCORE = {"float32": 1e-3, "bfloat16": 0.06, "int8": 0.15}
ON_AVERAGE = {"float32": 1e-4, "bfloat16": 0.04, "int8": 0.08}
ELSEWHERE = {"float32": 1e-3, "bfloat16": 0.03, "int8": 0.05}
NEAR = ELSEWHERE  # a score this near to a threshold has no verdict that could be kept
LOST = 0.003  # of AUPRO; with more an export is refused
FLIPPED = 0.05  # of the verdicts, or FEW of them; with more an export is refused
FEW = 2


@dataclass(frozen=True, slots=True)
class Lost:
    """What a bundle lost on labelled images: AUPRO before and after, changed verdicts, largest change of a score."""

    images: int
    verdicts: int
    largest: float
    aupro: float
    exported_aupro: float


def differences(model: Model, runtime: Runtime, images: Sequence[Path]) -> tuple[float, float]:
    """Return the largest difference of a score, and of a map on average; raises ExportError for one too large."""
    precision, scale = runtime.bundle.precision, model.header.scale.colours[1]
    verdict, other = model.header.calibration.thresholds.verdict, runtime.thresholds_.verdict
    allowed, near = (SCORE[precision] * scale, ON_AVERAGE[precision] * scale), NEAR[precision] * scale
    largest, least = [0.0, 0.0], model.header.calibration.min_area
    whole = replace(model, header=model.header.any_aspect)
    for path, (_, _, expected) in zip(images, whole.references(images), strict=True):
        found = runtime.golden_reference(path)
        before, after = (one.score(min_area=least) for one in (expected, found))
        score, mean = abs(after - before), float(np.abs(found.map - expected.map).mean())
        if not (score <= allowed[0] and mean <= allowed[1]):  # NaN as well
            raise ExportError(
                f"not exported: golden image {path.name} scores {after:.4f} instead of {before:.4f}, its map is off by "
                f"{mean:.2g} on average; {precision} may be off by {allowed[0]:.2g} and {allowed[1]:.2g}"
            )
        if other(after) not in {verdict(before - near), verdict(before), verdict(before + near)}:
            raise ExportError(
                f"not exported: golden image {path.name} has another verdict: {before:.4f} is {after:.4f}"
            )
        largest = [max(largest[0], score), max(largest[1], mean)]
    return largest[0], largest[1]


def lost_on(model: Model, runtime: Runtime, samples: Sequence[Sample], *, data: Path) -> Lost:
    """Return what a bundle has lost on the labelled images of `data`; raises ExportError if that is too much."""
    paths = [sample.path for sample in samples]
    judged = [index for index, sample in enumerate(samples) if sample.has_truth]
    masks = [square_truth(samples[index], model.header.reference_size) for index in judged]
    roi = model.header.roi
    inside = None if roi is None else [roi.inside] * len(judged)
    verdict, other = model.header.calibration.thresholds.verdict, runtime.thresholds_.verdict
    before = [found for _, _, found in model.references(paths)]
    after = [found for _, _, found in runtime.references(paths)]
    least = model.header.calibration.min_area
    scores = [tuple(one.score(min_area=least) for one in pair) for pair in zip(before, after, strict=True)]
    flipped = [verdict(one) != other(another) for one, another in scores]
    aupro, exported = (
        pixel_metrics([found[one].map for one in judged], masks, inside=inside)["aupro"] for found in (before, after)
    )
    if not (isinstance(aupro, float) and isinstance(exported, float)):
        raise InputError(f"{printable(data)}: no defective or no defect-free pixel, so there is no AUPRO to compare")
    if aupro - exported > LOST:
        raise ExportError(
            f"not exported: AUPRO on {printable(data)} falls from {aupro:.4f} to {exported:.4f}; it may lose {LOST}"
        )
    if sum(flipped) > max(FEW, FLIPPED * len(samples)):
        raise ExportError(
            f"not exported: {sum(flipped)} of {len(samples)} verdicts on {printable(data)} change; "
            f"{max(FEW, int(FLIPPED * len(samples)))} may"
        )
    return Lost(
        images=len(samples),
        verdicts=sum(flipped),
        largest=max(abs(one - other) for one, other in scores),
        aupro=aupro,
        exported_aupro=exported,
    )
