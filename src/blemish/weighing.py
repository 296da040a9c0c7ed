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
from blemish.metrics import pixel_metrics
from blemish.pyramid import Source, content_hashes, identify, load, read_pyramid, stack
from blemish.samples import draw_share
from blemish.scoring import BATCH, Module, label_free_weights, module_maps, score_pyramid
from blemish.weighed import Weighed, combined_maps, figures, module_lines, search_some, spread, unseen_figures
from blemish.weighting import OBJECTIVES, LabelledMaps, keep_best, search

if TYPE_CHECKING:
    from blemish.detector import Detector

MOST_MODULES = 12  # every set of them is tried for the Pareto front, 2^12
MOST_PIXELS = 300_000  # that rank the sets of modules
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
    samples, images = _labelled_images(detector.header_, data, share=share)
    held_out = _held_out(detector.header_, good)
    before = detector.modules_
    _check(objective, keep=keep, budget_ms=budget_ms, modules=len(before))
    score = "paper" if objective == "paper" else "whitened"
    labelled = label(detector, samples, score=score, report=report)
    bare = label_free_weights(before, score=score)
    whole = search(labelled, objective=objective, prior=bare)
    costs = measure(detector)
    points: list[Point] = []
    kept = list(range(len(before)))
    if budget_ms is not None:
        points = _points(labelled, whole.weights, costs)
        kept = _within(points, budget_ms, labelled.names)
    elif keep is not None:
        kept = keep_best(labelled, keep, objective=objective, prior=bare)
    final = whole if len(kept) == len(before) else search_some(labelled, kept, objective=objective, prior=bare)
    modules = [_weighed(before[index], weight) for index, weight in zip(kept, final.weights, strict=True)]
    header = _header(
        detector, modules, images, samples, held_out, objective=objective, score=score, seconds=whole.seconds
    )
    found = {
        "without labels": figures(labelled, bare),
        "with labels": figures(labelled, whole.weights),
        "kept": figures(labelled, spread(final.weights, kept, len(before))),
    }
    names = [labelled.names[index] for index in kept]
    report_lines = module_lines(labelled, bare, dict(zip(names, final.weights, strict=True)), costs)
    unseen = unseen_figures(labelled, objective=objective, prior=bare, kept=kept)
    chosen = Point(tuple(names), costs.of(names), found["kept"]["aupro"] or 0.0)
    every = Point(tuple(labelled.names), costs.of(labelled.names), found["with labels"]["aupro"] or 0.0)
    return modules, header, Weighed(objective, final, report_lines, found, unseen, points, chosen, every)


def label(detector: "Detector", samples: Sequence[Sample], *, score: str, report: Report | None = None) -> LabelledMaps:
    """Return every module's maps of labelled images, each computed once, and their masks at the reference size."""
    side = detector.header_.reference_size
    sizes = sorted({module.size for module in detector.modules_})
    place = detector._teacher.mean.device
    parts: list[list[NDArray[np.float32]]] = [[] for _ in detector.modules_]
    masks = np.zeros((len(samples), side, side), np.bool_)
    for start in range(0, len(samples), BATCH):
        batch = samples[start : start + BATCH]
        pyramid = {size: x.to(place) for size, x in stack([load(one.path) for one in batch], sizes).items()}
        with torch.inference_mode():
            maps = module_maps(detector._teacher, detector.modules_, pyramid, score=score)
        for part, found in zip(parts, maps, strict=True):
            part.append(found.cpu().numpy())
        for index, sample in enumerate(batch, start=start):
            if (truth := read_truth(sample)) is not None:
                masks[index] = resize_mask(truth, side, side)
        if report:
            report(start + len(batch), len(samples))
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


def _held_out(header: Header, good: Sequence[Source]) -> list[Source]:
    """Return the images that set the threshold, found by their content among those given."""
    wanted = {image.sha256 for image in header.data.held_out}
    found = dict(zip(content_hashes(good), good, strict=True))
    if missing := wanted - found.keys():
        raise InputError(
            f"good: {len(missing)} of the {len(wanted)} good images that set the threshold are not among those given; "
            "give the images that the model was fitted on (--good FOLDER)"
        )
    return [found[sha256] for sha256 in sorted(wanted)]


def _check(objective: str, *, keep: int | None, budget_ms: float | None, modules: int) -> None:
    if objective not in OBJECTIVES:
        raise InputError(f"objective: {printable(objective)} is not allowed, expected {', '.join(OBJECTIVES)}")
    if keep is not None and budget_ms is not None:
        raise InputError("keep and budget: give one of them")
    if keep is not None and not 1 <= keep <= modules:
        raise InputError(f"keep: {keep} is not allowed, expected 1 to {modules}, the modules of the model")
    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise InputError(f"budget: {budget_ms} is not allowed, expected milliseconds above 0")


def _points(labelled: LabelledMaps, weights: NDArray[np.float64], costs: Costs) -> list[Point]:
    """Return the sets of modules with their time and their AUPRO on some pixels of the labelled images."""
    count = len(labelled.names)
    step = max(1, round((labelled.masks.size / MOST_PIXELS) ** 0.5))
    side = labelled.masks.shape[-1]
    maps = np.stack([combined_maps([part], [1.0], side)[:, ::step, ::step] for part in labelled.maps])
    masks = list(labelled.masks[:, ::step, ::step])
    sizes = range(1, count + 1) if count <= MOST_MODULES else (1, 2, count - 1, count)
    points = []
    for some in (list(one) for size in sizes for one in combinations(range(count), size)):
        if not (total := weights[some].sum()):
            continue
        combined = np.einsum("m,mihw->ihw", (weights[some] / total).astype(np.float32), maps[some])
        aupro = pixel_metrics(list(combined), masks)["aupro"]
        names = tuple(labelled.names[index] for index in some)
        points.append(Point(names, costs.of(names), float(aupro)))  # type: ignore[arg-type]  # there are defects
    return points


def _within(points: Sequence[Point], budget_ms: float, names: Sequence[str]) -> list[int]:
    fitting = [point for point in pareto(points) if point.ms <= budget_ms]
    if not fitting:
        least = min(point.ms for point in points)
        raise InputError(f"budget: {budget_ms:g} ms is too little, the fastest set of modules needs {least:.3g} ms")
    return [index for index, name in enumerate(names) if name in fitting[-1].modules]


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
