"""What a weight search is worth: figures with and without labels, on images that it has seen and on others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.evaluation.metrics import pixel_metrics
from blemish.method.imitation import combine
from blemish.weighing.costs import Costs
from blemish.weighing.front import Point
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.search import Search, search

FOLDS = 4
Figures = dict[str, float | None]
Floats = NDArray[np.float64]
Weights = Sequence[float] | Floats
Choose = Callable[[LabelledMaps, Floats], list[int]]


@dataclass(frozen=True, slots=True)
class ModuleLine:
    """A module: its weight in the new model (0: dropped), without labels, its AUPRO alone, and what it costs."""

    name: str
    weight: float
    bare: float
    aupro: float | None
    ms: float
    megabytes: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search has found on labelled images, and what it cost.

    figures: pixel_auroc and aupro on the labelled images of all modules "without labels", all "with labels", and of
    those "kept"; unseen: the same where each image is scored by weights and modules that the other three quarters of
    the images chose, {} if there are too few. search: that for all modules. points (of a budget): sets of
    modules, each weighed anew, with the time of one image and AUPRO on the labelled images; chosen: that of the new
    model. without_masks: defective images that were left out, as nobody knows their pixels; repeated: images that were
    left out as they equal another; doubtful_masks: of `samples.doubtful_masks`.
    """

    objective: str
    search: Search
    lines: list[ModuleLine]
    figures: dict[str, Figures]
    unseen: dict[str, Figures]
    points: list[Point]
    chosen: Point
    all_modules: Point
    without_masks: int = 0
    repeated: int = 0
    doubtful_masks: dict[str, list[str]] = field(default_factory=dict)


def findings(
    labelled: LabelledMaps,
    *,
    objective: str,
    bare: Sequence[float],
    costs: Costs,
    whole: Search,
    kept: Sequence[int],
    final: Search,
    sets: Sequence[Sequence[int]],
    choose: Choose,
) -> Findings:
    """Return what a search is worth on the labelled images, and what it cost.

    bare: the weights without labels. whole: the search for all modules; final: that for the ones that were kept. sets:
    the sets of modules that are best for their time, none without a budget. choose: as of `unseen_figures`.
    """
    count = len(labelled.names)
    weights = spread(final.weights, kept, count)
    found = {
        "without labels": figures(labelled, bare),
        "with labels": figures(labelled, whole.weights),
        "kept": figures(labelled, weights),
    }
    points = []
    for some in sets:
        anew = search_some(labelled, some, objective=objective, prior=bare).weights
        points.append(_point(labelled, some, figures(labelled, spread(anew, some, count)), costs))
    return Findings(
        objective=objective,
        search=whole,
        lines=module_lines(labelled, bare, weights, costs),
        figures=found,
        unseen=unseen_figures(labelled, objective=objective, prior=bare, choose=choose),
        points=points,
        chosen=_point(labelled, kept, found["kept"], costs),
        all_modules=_point(labelled, range(count), found["with labels"], costs),
    )


def module_lines(labelled: LabelledMaps, bare: Sequence[float], weights: Weights, costs: Costs) -> list[ModuleLine]:
    """Return a line for each module; weights: of all, 0 for what is dropped."""
    side = labelled.masks.shape[-1]
    return [
        ModuleLine(
            name=name,
            weight=float(weights[index]),
            bare=bare[index],
            aupro=_metrics(combined_maps([labelled.maps[index]], [1.0], side), labelled)["aupro"],
            ms=costs.modules[name],
            megabytes=costs.megabytes[name],
        )
        for index, name in enumerate(labelled.names)
    ]


def unseen_figures(
    labelled: LabelledMaps,
    *,
    objective: str,
    prior: Sequence[float],
    choose: Choose,
) -> dict[str, Figures]:
    """Return the figures of images by weights, and by modules, that others chose; {} where a fold has no defect.

    choose: returns which modules to keep, from labelled images and the weights that they give to all modules.
    """
    folds = _folds(labelled.labels)
    defective = np.asarray(labelled.masks.any(axis=(1, 2)))
    if any(not defective[folds == fold].any() for fold in range(FOLDS)):
        return {}
    count, side = len(labelled.names), labelled.masks.shape[-1]
    maps = {key: np.empty(labelled.masks.shape, np.float32) for key in ("without labels", "with labels", "kept")}
    for fold in range(FOLDS):
        rest, these = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        learnt = labelled.images(rest)
        whole = search(learnt, objective=objective, prior=prior).weights
        kept = choose(learnt, whole)
        some = search_some(learnt, kept, objective=objective, prior=prior)
        weights: dict[str, Weights] = {
            "without labels": prior,
            "with labels": whole,
            "kept": spread(some.weights, kept, count),
        }
        for key, found in weights.items():
            maps[key][these] = combined_maps(labelled.images(these).maps, found, side)
    return {key: _metrics(found, labelled) for key, found in maps.items()}


def figures(labelled: LabelledMaps, weights: Weights) -> Figures:
    """Return pixel_auroc and aupro of the labelled images by weights for all modules."""
    combined = combined_maps(labelled.maps, weights, labelled.masks.shape[-1])
    return _metrics(combined, labelled)


def _point(labelled: LabelledMaps, some: Sequence[int], found: Figures, costs: Costs) -> Point:
    names = tuple(labelled.names[index] for index in some)
    aupro = found["aupro"]
    assert aupro is not None, "LabelledMaps has pixels of both kinds"
    return Point(names, costs.of(names), aupro)


def _metrics(combined: NDArray[np.float32], labelled: LabelledMaps) -> Figures:
    inside = None if labelled.inside is None else [labelled.inside] * len(combined)
    found = pixel_metrics(list(combined), list(labelled.masks), inside=inside)
    return {key: found[key] for key in ("pixel_auroc", "aupro")}  # type: ignore[misc]  # numbers, or None


def search_some(labelled: LabelledMaps, kept: Sequence[int], *, objective: str, prior: Sequence[float]) -> Search:
    """Return what a search finds for some of the modules; their weights sum to 1."""
    total = sum(prior[index] for index in kept)
    return search(labelled.modules(kept), objective=objective, prior=[prior[index] / total for index in kept])


def _folds(labels: Sequence[str]) -> NDArray[np.intp]:
    """Return the fold of each image; the images of a label, and small labels together, are spread evenly."""
    order = sorted(range(len(labels)), key=lambda index: (labels[index] == "good", labels[index]))
    folds = np.empty(len(labels), np.intp)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def spread(weights: NDArray[np.float64], kept: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return weights of some modules as weights of all, 0 for those that are not kept."""
    every = np.zeros(count)
    every[list(kept)] = weights
    return every


def combined_maps(maps: Sequence[NDArray[np.float32]], weights: Weights, side: int) -> NDArray[np.float32]:
    """Return the combined maps of all images: (I, side, side)."""
    shares = [float(weight) for weight in weights]
    images = zip(*(torch.from_numpy(part).split(1) for part in maps), strict=True)
    return np.concatenate([combine(one, shares, size=side).numpy() for one in images])
