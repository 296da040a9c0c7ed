"""Weighs and prunes a fitted detector with labelled images: module maps once, search, choice, a threshold anew."""

from collections.abc import Callable, Sequence
from copy import copy
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.calibration import calibrate
from blemish.copies import describe, used_images
from blemish.datasets import Sample, fingerprints, read_truth, sample_root, test_samples
from blemish.errors import InputError, printable
from blemish.header import Header, ImagePart, ModulePart, WeighingPart
from blemish.images import resize_mask
from blemish.latency import Costs, Point, measure, pareto
from blemish.pyramid import Source, held_out_sources, identify, load, read_pyramid, stack
from blemish.samples import draw_share
from blemish.scoring import Module, label_free_weights, module_maps, one_by_one, score_pyramid
from blemish.weighed import Figures, Weighed, figures, module_lines, search_some, spread, unseen_figures
from blemish.weighting import OBJECTIVES, LabelledMaps, keep_best, search, unlikeness

if TYPE_CHECKING:
    from blemish.detector import Detector

MOST_MODULES = 16  # every set of them is tried for a budget, 2^16
Report = Callable[[int, int], None]


def weigh(
    detector: "Detector",
    data: Path,
    *,
    good: Sequence[Source],
    objective: str,
    keep: int | None,
    budget_ms: float | None,
    share: float | None,
    report: Report | None,
) -> tuple[list[Module], Header, Weighed]:
    """Return the modules and the header of a detector that labelled images have weighed, and what was found.

    Arguments and errors are those of `Detector.weigh`; the detector given does not change.
    """
    before = detector.modules_
    _check(objective, keep=keep, budget_ms=budget_ms, modules=len(before))
    samples, images = _labelled_images(detector.header_, data, share=share)
    held_out = held_out_sources(detector.header_, good)
    score = "paper" if objective == "paper" else "whitened"
    labelled = label(detector, samples, score=score, report=report)
    bare = label_free_weights(before, score=score)
    costs = measure(detector)
    whole = search(labelled, objective=objective, prior=bare)

    def choose(learnt: LabelledMaps, weights: NDArray[np.float64]) -> list[int]:
        if budget_ms is not None:
            return _within(front(learnt, weights, costs), budget_ms, costs)
        count = len(before) if keep is None else keep
        return keep_best(learnt, count, objective=objective, prior=bare) if count < len(before) else every

    every = list(range(len(before)))
    kept = choose(labelled, whole.weights)
    final = whole if kept == every else search_some(labelled, kept, objective=objective, prior=bare)
    modules = [_weighed(before[index], weight) for index, weight in zip(kept, final.weights, strict=True)]
    header = _header(
        detector, modules, images, samples, held_out, objective=objective, score=score, seconds=whole.seconds
    )
    points = []
    for some in front(labelled, whole.weights, costs) if budget_ms is not None else []:
        weights = search_some(labelled, some, objective=objective, prior=bare).weights
        points.append(_point(labelled, some, figures(labelled, spread(weights, some, len(before))), costs))
    weights = spread(final.weights, kept, len(before))
    found = {
        "without labels": figures(labelled, bare),
        "with labels": figures(labelled, whole.weights),
        "kept": figures(labelled, weights),
    }
    result = Weighed(
        objective=objective,
        search=whole,
        lines=module_lines(labelled, bare, weights, costs),
        figures=found,
        unseen=unseen_figures(labelled, objective=objective, prior=bare, choose=choose),
        points=points,
        chosen=_point(labelled, kept, found["kept"], costs),
        all_modules=_point(labelled, every, found["with labels"], costs),
    )
    return modules, header, result


def front(labelled: LabelledMaps, weights: NDArray[np.float64], costs: Costs) -> list[list[int]]:
    """Return the sets of modules that come nearest to the map of all, each for its time, the fastest first."""
    count = len(labelled.names)
    sets = [list(some) for size in range(1, count + 1) for some in combinations(range(count), size)]
    named = [tuple(labelled.names[index] for index in some) for some in sets]
    unlike = unlikeness(labelled, weights, sets)
    points = [Point(names, costs.of(names), -other) for names, other in zip(named, unlike, strict=True)]
    position = {name: index for index, name in enumerate(labelled.names)}
    return [[position[name] for name in point.modules] for point in pareto(points)]


def label(detector: "Detector", samples: Sequence[Sample], *, score: str, report: Report | None = None) -> LabelledMaps:
    """Return every module's maps of labelled images, each computed once, and their masks at the reference size."""
    side = detector.header_.reference_size
    sizes = sorted({module.size for module in detector.modules_})
    parts: list[list[NDArray[np.float32]]] = [[] for _ in detector.modules_]
    masks = np.zeros((len(samples), side, side), np.bool_)
    for index, sample in enumerate(samples):
        (pyramid,) = one_by_one(detector._teacher, stack([load(sample.path)], sizes))
        with torch.inference_mode():
            maps = module_maps(detector._teacher, detector.modules_, pyramid, score=score)
        for part, found in zip(parts, maps, strict=True):
            part.append(found.cpu().numpy())
        if (truth := read_truth(sample)) is not None:
            masks[index] = resize_mask(truth, side, side)
        if report:
            report(index + 1, len(samples))
    names = tuple(module.name for module in detector.modules_)
    labels = tuple(sample.label for sample in samples)
    return LabelledMaps(names, [np.concatenate(part) for part in parts], masks, labels)


def _labelled_images(header: Header, data: Path, *, share: float | None) -> tuple[list[Sample], list[ImagePart]]:
    """Return the labelled images and what tells them again; raises InputError for those that must not weigh."""
    samples = test_samples(data)
    if all(sample.label == "good" for sample in samples):
        raise InputError(f"{printable(data)}: no defective image: weights are searched with labelled defects")
    if share is not None:
        samples = _drawn(samples, share)
    images = identify([sample.path for sample in samples])
    if uses := used_images(images, header.data, kinds=("train", "held_out")):
        names = [sample.path.relative_to(sample_root(data)).as_posix() for sample in samples]
        raise InputError(
            f"{printable(data)}: the model has met {len(uses)} of {len(samples)} labelled images before: "
            f"{describe(uses, names)}; weigh with others"
        )
    return samples, images


def _drawn(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Return a share of the images of each type of defect, at least one, chosen by content; no good images."""
    if not 0 < share <= 1:
        raise InputError(f"share: {share} is not allowed, expected above 0 and at most 1")
    chosen: list[Sample] = []
    for kind in sorted({sample.label for sample in samples} - {"good"}):
        some = [sample for sample in samples if sample.label == kind]
        hashes = fingerprints([sample.path for sample in some])
        chosen += [some[index] for index in draw_share(hashes, share=share, salt="weigh")]
    return chosen


def _check(objective: str, *, keep: int | None, budget_ms: float | None, modules: int) -> None:
    if objective not in OBJECTIVES:
        raise InputError(f"objective: {printable(objective)} is not allowed, expected {', '.join(OBJECTIVES)}")
    if keep is not None and budget_ms is not None:
        raise InputError("keep and budget: give one of them")
    if keep is not None and not 1 <= keep <= modules:
        raise InputError(f"keep: {keep} is not allowed, expected 1 to {modules}, the modules of the model")
    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise InputError(f"budget: {budget_ms} is not allowed, expected milliseconds above 0")
    if budget_ms is not None and modules > MOST_MODULES:
        raise InputError(f"budget: needs a model of at most {MOST_MODULES} modules, this one has {modules}; use keep")


def _point(labelled: LabelledMaps, some: Sequence[int], found: Figures, costs: Costs) -> Point:
    names = tuple(labelled.names[index] for index in some)
    aupro = found["aupro"]
    assert aupro is not None, "LabelledMaps has pixels of both kinds"
    return Point(names, costs.of(names), aupro)


def _within(sets: Sequence[list[int]], budget_ms: float, costs: Costs) -> list[int]:
    names = list(costs.modules)
    times = [costs.of([names[index] for index in some]) for some in sets]
    fitting = [some for some, ms in zip(sets, times, strict=True) if ms <= budget_ms]
    if not fitting:
        raise InputError(f"budget: {budget_ms:g} ms is too little, the fastest set of modules needs {times[0]:.3g} ms")
    return fitting[-1]


def _weighed(module: Module, weight: float) -> Module:
    own = copy(module)  # shallow: the tensors are shared, the weight is its own
    own.weight = float(weight)
    return own


def _header(
    detector: "Detector",
    modules: Sequence[Module],
    images: Sequence[ImagePart],
    samples: Sequence[Sample],
    held_out: Sequence[Source],
    *,
    objective: str,
    score: str,
    seconds: float,
) -> Header:
    """Return the header of the weighed model; its threshold comes from the same held-out images, scored anew."""
    header = detector.header_
    pyramid = read_pyramid(held_out, sorted({module.size for module in modules}))
    maps = score_pyramid(detector._teacher, modules, pyramid, size=header.reference_size, score=score)
    weighing = WeighingPart(
        objective=objective,
        labelled=len(samples),
        defective=sum(sample.label != "good" for sample in samples),
        modules=header.weighing.modules if header.weighing else len(detector.modules_),
        seconds=seconds,
    )
    known = {image.sha256: image for image in (*header.data.weighed, *images)}
    update = {
        "modules": [ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
        "score": score,
        "calibration": calibrate(maps, score=score),
        "weighing": weighing,
        "data": header.data.model_copy(update={"weighed": [known[key] for key in sorted(known)]}),
    }
    return Header.model_validate(header.model_copy(update=update).model_dump())
