"""From module maps to the figures of one row: weights, combination, metrics. It takes seconds and trains nothing."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.data.samples import square_truth
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.experiments.grid.contents import Contents, draw_validation, left_to_test
from blemish.experiments.grid.rows import METRICS, PLAIN, RESOLUTION, Score, Settings
from blemish.method.imitation import combine
from blemish.method.modules import Module
from blemish.method.scoring import label_free_weights
from blemish.method.teacher import architecture
from blemish.verdict.scale import image_score
from blemish.weighing.findings import search_some
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.search import keep_best, search

Maps = Mapping[str, Tensor]  # SIZE/LEVEL -> (N, h, w), each at its own resolution
Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What modules, weighed as a row says, are worth on the images that weighed nothing, and on those that did."""

    weights: dict[str, float]
    metrics: Figures
    validation_metrics: Figures | None
    validation_images: int
    test_images: int
    search_seconds: float | None
    collapsed: str  # why the weights of a search are not to be used; empty otherwise


@dataclass(frozen=True, slots=True)
class Bench:
    """The test images of one category as rows need them, with each mask read once: bool (N, 256, 256)."""

    contents: Contents
    masks: NDArray[np.bool_]


def prepare(contents: Contents) -> Bench:
    """Read the masks of a category's test images, resized to 256 x 256 by nearest neighbour."""
    return Bench(contents, np.stack([square_truth(sample, RESOLUTION) for sample in contents.samples]))


def measure(settings: Settings, maps: Maps, bench: Bench) -> Outcome:
    """Return what a row says of the maps of all test images, those of the row's score.

    The images that weigh are drawn as `draw_validation` does; neither they nor copies of them are tested.
    """
    contents, names = bench.contents, settings.names
    drawn = draw_validation(contents, coverage=settings.coverage or 0.0, draw=settings.draw or 0)
    tested = left_to_test(contents, drawn)
    weights = dict(zip(names, weights_without_labels(settings.teacher, names, settings.score), strict=True))
    seconds, collapsed = None, ""
    if settings.weighting not in PLAIN:
        started = time.perf_counter()
        weights, collapsed = _search(settings, maps, bench, drawn, weights)
        seconds = round(time.perf_counter() - started, 3)
    return Outcome(
        weights=weights,
        metrics=figures(maps, weights, bench, tested),
        validation_metrics=figures(maps, weights, bench, drawn) if drawn else None,
        validation_images=len(drawn),
        test_images=len(tested),
        search_seconds=seconds,
        collapsed=collapsed,
    )


def weights_without_labels(teacher: str, names: Sequence[str], score: Score) -> list[float]:
    """Return the weights that need no labels, of these modules of a teacher; they sum to 1."""
    modules = []
    for name in names:
        size, level = map(int, name.split("/"))
        with torch.device("meta"):  # only numbers of channels matter, not values
            channels = architecture(teacher).channels[level - 2]
            modules.append(Module(nn.Identity(), size=size, level=level, channels=channels, weight=0.0))
    return label_free_weights(modules, score=score)


def figures(maps: Maps, weights: Mapping[str, float], bench: Bench, indices: Sequence[int]) -> Figures:
    """Return the metrics of the weighted map on some of the test images; one that is not defined there is None."""
    shares = list(weights.values())
    combined = [
        combine([maps[name][index : index + 1] for name in weights], shares, size=RESOLUTION)[0].numpy()
        for index in indices
    ]
    samples = [bench.contents.samples[index] for index in indices]
    found = pixel_metrics(combined, [bench.masks[index] for index in indices], names=[str(s.path) for s in samples])
    found |= image_metrics([image_score(one) for one in combined], [sample.label != "good" for sample in samples])
    return {name: value if isinstance(value := found[name], float) else None for name in METRICS}


def _search(
    settings: Settings, maps: Maps, bench: Bench, drawn: Sequence[int], bare: Mapping[str, float]
) -> tuple[dict[str, float], str]:
    """Return the weights that a search finds on the drawn images, and why it collapsed, if it did.

    As in `Detector.weigh`, modules that are kept are weighed anew once the others are gone. bare: without labels.
    """
    names, prior, some = list(bare), list(bare.values()), list(drawn)
    labelled = LabelledMaps(
        names=tuple(names),
        maps=[maps[name][some].numpy() for name in names],
        masks=bench.masks[some],
        labels=tuple(bench.contents.samples[index].label for index in some),
    )
    if settings.keep is None:
        found = search(labelled, objective=settings.weighting, prior=prior)
    else:
        kept = keep_best(labelled, settings.keep, objective=settings.weighting, prior=prior)
        names = [names[index] for index in kept]
        found = search_some(labelled, kept, objective=settings.weighting, prior=prior)
    return dict(zip(names, map(float, found.weights), strict=True)), found.reason
