"""Weighs and prunes a model with labelled images: module maps once, search, choice, a threshold anew."""

from collections.abc import Sequence
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.checks import number, whole, word
from blemish.data.copies import describe, used_images
from blemish.data.datasets import AS_THEY_ARE, sample_root, test_samples
from blemish.data.holdout import draw_share, pixel_fingerprints
from blemish.data.layouts.labels import Labels
from blemish.data.records import ImagePart
from blemish.data.samples import Sample, doubtful_masks
from blemish.data.sources import Distinct, Source, distinct, held_out_sources, names_of
from blemish.errors import InputError, printable
from blemish.method.beside.memory import Memory
from blemish.method.beside.surface import Surface, anchor
from blemish.method.scoring import AnyModule, label_free_weights, score_sources, surface_levels, surface_rows_of
from blemish.model.assembly import module_part, surface_part
from blemish.model.calibration import calibrate_again, check_again
from blemish.model.header import Header, WeighingPart
from blemish.model.model import Model
from blemish.verdict.threshold import Budget
from blemish.weighing.costs import Costs, measure
from blemish.weighing.findings import Choose, Findings, findings, search_some
from blemish.weighing.front import front
from blemish.weighing.labelled import LabelledMaps, Report, label
from blemish.weighing.search import OBJECTIVES, keep_best, search

MOST_MODULES = 16  # every set of them is tried for a budget, 2^16


def weigh(
    model: Model,
    data: Path,
    *,
    good: Sequence[Source],
    objective: str,
    keep: int | None,
    budget_ms: float | None,
    share: float | None,
    report: Report | None,
    labels: Labels = AS_THEY_ARE,
    wanted: Budget | None = None,
) -> tuple[Model, Findings]:
    """Return the model that labelled images make of another, and what was found; the model given does not change.

    Arguments and errors are those of `Detector.weigh`.
    """
    if objective == "paper":  # which knows students alone
        model = replace(model, modules=[one for one in model.modules if not isinstance(one, Memory)])
    count = len(model.modules)
    keep, budget_ms = _checked(objective, keep=keep, budget_ms=budget_ms, modules=count)
    chosen, without_masks = _labelled_images(model.header, data, share=share, labels=labels)
    samples = chosen.samples
    held_out = held_out_sources(model.header.data, good, bits=model.header.bits)
    check_again(model.header, wanted)
    score = _score(model.header, objective)
    labelled = label(model, samples, score=score, report=report)
    bare = label_free_weights(model.modules, score=score)
    costs = measure(model)
    choose = _chooser(objective, bare, costs, keep=count if keep is None else keep, budget_ms=budget_ms)
    whole = search(labelled, objective=objective, prior=bare)
    kept = choose(labelled, whole.weights)
    final = whole if len(kept) == count else search_some(labelled, kept, objective=objective, prior=bare)
    modules = [_weighed(model.modules[index], weight) for index, weight in zip(kept, final.weights, strict=True)]
    weighing = _part(model, samples, objective=objective, seconds=whole.seconds)
    surface = _surface(model, modules, score=score)
    header = _header(model, modules, surface, chosen.images, held_out, score=score, weighing=weighing, wanted=wanted)
    sets = front(labelled, whole.weights, costs) if budget_ms is not None else []
    found = findings(
        labelled, objective=objective, bare=bare, costs=costs, whole=whole, kept=kept, final=final, sets=sets,
        choose=choose,
    )  # fmt: skip
    doubts = doubtful_masks(samples, root=sample_root(data))
    found = replace(found, without_masks=without_masks, repeated=len(chosen.repeated), doubtful_masks=doubts)
    return Model(model.teacher, modules, header, surface), found


def _chooser(objective: str, bare: Sequence[float], costs: Costs, *, keep: int, budget_ms: float | None) -> Choose:
    """Return what chooses the modules that stay: those that a budget pays for, else the best `keep` of them."""

    def choose(learnt: LabelledMaps, weights: NDArray[np.float64]) -> list[int]:
        if budget_ms is not None:
            return _within(front(learnt, weights, costs), budget_ms, costs)
        every = list(range(len(bare)))
        return keep_best(learnt, keep, objective=objective, prior=bare) if keep < len(every) else every

    return choose


def _labelled_images(header: Header, data: Path, *, share: float | None, labels: Labels) -> tuple[Distinct, int]:
    """Return the labelled images, and how many have no mask; raises InputError for those that must not weigh."""
    found = test_samples(data, labels=labels)
    samples = [sample for sample in found if sample.has_truth]
    if all(sample.label == "good" for sample in samples):
        bare = f" with a mask, and {len(found) - len(samples)} without" if len(samples) < len(found) else ""
        raise InputError(f"{printable(data)}: no defective image{bare}: weights are searched with labelled defects")
    if share is not None:
        samples = _drawn(samples, share)
    chosen = distinct(samples, told_by=header.data.told_by, bits=header.bits)
    if uses := used_images(chosen.images, header.data, kinds=("train", "held_out")):
        names = [sample.path.relative_to(sample_root(data)).as_posix() for sample in chosen.samples]
        raise InputError(
            f"{printable(data)}: the model has met {len(uses)} of {len(names)} labelled images before: "
            f"{describe(uses, names)}; weigh with others"
        )
    return chosen, sum(not sample.has_truth for sample in found)


def _drawn(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Return a share of the images of each type of defect, at least one, chosen by content; no good images."""
    share = number("share", share, most=1, rule="above 0 and at most 1")
    chosen: list[Sample] = []
    for kind in sorted({sample.label for sample in samples} - {"good"}):
        some = [sample for sample in samples if sample.label == kind]
        hashes = pixel_fingerprints([sample.path for sample in some])
        chosen += [some[index] for index in draw_share(hashes, share=share, salt="weigh")]
    return chosen


def _checked(
    objective: str, *, keep: int | None, budget_ms: float | None, modules: int
) -> tuple[int | None, float | None]:
    """Return keep and budget_ms as plain numbers; raises InputError for an argument that is not allowed."""
    word("objective", objective, OBJECTIVES)
    if keep is not None and budget_ms is not None:
        raise InputError("keep and budget: give one of them")
    if keep is not None:
        keep = whole(
            "keep", keep, allowed=range(1, modules + 1), rule=f"expected 1 to {modules}, the modules of the model"
        )
    if budget_ms is not None:
        budget_ms = number("budget", budget_ms, rule="milliseconds above 0")
    if budget_ms is not None and modules > MOST_MODULES:
        raise InputError(f"budget: needs a model of at most {MOST_MODULES} modules, this one has {modules}; use keep")
    return keep, budget_ms


def _within(sets: Sequence[list[int]], budget_ms: float, costs: Costs) -> list[int]:
    names = list(costs.modules)
    times = [costs.of([names[index] for index in some]) for some in sets]
    fitting = [some for some, ms in zip(sets, times, strict=True) if ms <= budget_ms]
    if not fitting:
        raise InputError(f"budget: {budget_ms:g} ms is too little, the fastest set of modules needs {times[0]:.3g} ms")
    return fitting[-1]


def _score(header: Header, objective: str) -> str:
    """Return the score of the weighed model: that of the objective, or its own, unless that is the paper's."""
    if objective == "paper":
        return "paper"
    return "whitened" if header.score == "paper" else header.score


def _weighed(module: AnyModule, weight: float) -> AnyModule:
    own = copy(module)  # shallow: the tensors are shared, the weight is its own
    own.weight = float(weight)
    return own


def _surface(model: Model, modules: Sequence[AnyModule], *, score: str) -> Surface | None:
    """Return what looks at the whole surface, if the features that it looks at are still computed, else None."""
    surface = model.surface
    deepest = max((level for one in modules if surface and one.size == surface.size for level in one.levels), default=0)
    return deepcopy(surface) if surface and score == "memory" and surface.level <= deepest else None


def _part(model: Model, samples: Sequence[Sample], *, objective: str, seconds: float) -> WeighingPart:
    return WeighingPart(
        objective=objective,
        labelled=len(samples),
        defective=sum(sample.label != "good" for sample in samples),
        modules=model.header.weighing.modules if model.header.weighing else len(model.modules),
        seconds=seconds,
    )


def _header(
    model: Model,
    modules: Sequence[AnyModule],
    surface: Surface | None,
    images: Sequence[ImagePart],
    held_out: Sequence[Source],
    *,
    score: str,
    weighing: WeighingPart,
    wanted: Budget | None,
) -> Header:
    """Return the header of the weighed model; scale and thresholds come from the same held-out images, scored anew."""
    header = model.header
    maps = score_sources(model.teacher, modules, held_out, size=header.reference_size, score=score, tiles=header.tiles,
                         bits=header.bits)  # fmt: skip
    surfaces = None
    if surface is not None:
        anchor(surface, maps)
        if header.roi is None:
            rows = surface_rows_of(model.teacher, surface, held_out, tiles=header.tiles, bits=header.bits)
            surfaces = surface_levels(surface, rows)
    names = names_of(held_out, header.data.held_out)
    known = {image.sha256: image for image in (*header.data.weighed, *images)}
    update = {
        "modules": [module_part(one) for one in modules],
        "surface": surface_part(surface),
        "score": score,
        "calibration": calibrate_again(header, maps, names, score=score, wanted=wanted, surfaces=surfaces),
        "weighing": weighing,
        "data": header.data.model_copy(update={"weighed": [known[key] for key in sorted(known)]}),
    }
    return header.changed(**update)
