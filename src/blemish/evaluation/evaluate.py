"""How well a detector does on a labelled test set: the figures that papers give, and what its verdicts were worth."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.checks import given_path, whole, word
from blemish.data.copies import WORDS, describe, used_images
from blemish.data.datasets import AS_THEY_ARE, sample_root, test_samples
from blemish.data.layouts.labels import Labels
from blemish.data.listing import path_text
from blemish.data.records import ImagePart
from blemish.data.samples import Sample, doubtful_masks, read_truth
from blemish.data.sources import distinct
from blemish.errors import InputError, printable
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.evaluation.recall import Outcome, recall
from blemish.evaluation.truth import clipped, on_defect, regions_lost
from blemish.images.resize import resize_map, resize_mask
from blemish.model.calibration import promises
from blemish.model.header import Header
from blemish.model.scorer import Scorer
from blemish.storage.files import write_atomically
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Thresholds

RESOLUTIONS = range(32, 4097)
HIDDEN = "every defect lies outside of the region of interest"
RULES = ("refuse", "skip", "include")
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The test images to evaluate and what tells each of them again; `used` and `repeated` of `evaluate` (JSON)."""

    data: Path
    samples: list[Sample]
    images: list[ImagePart]
    used: dict[str, Any]
    repeated: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Scored:
    """A test image with its scores and its truth, maps (H, W) at the resolution of the evaluation.

    bare_score and bare_map are by the weights that need no labels; None if there are no others. mask is None where it
    is not known which pixels are defective; area: of the defects, in px of the image, None likewise. inside: which
    pixels count; None: all. on_defect: whether a region that the model finds lies on the defect; None where it finds
    none, or no mask is known. outside: so many of the regions of the truth lie wholly where none does, of all
    `regions`.
    """

    name: str
    label: str
    score: float
    score_map: NDArray[np.float32]
    bare_score: float | None
    bare_map: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None
    inside: NDArray[np.bool_] | None
    on_defect: bool | None
    area: int | None
    regions: int
    regions_lost: int
    outside: int

    @property
    def good(self) -> bool:
        """Whether the image shows a good part."""
        return self.label == "good"

    @property
    def hidden(self) -> bool:
        """Whether all that is defective lies outside of the region of interest."""
        return 0 < self.regions == self.outside


def evaluate(
    scorer: Scorer,
    data: Path,
    *,
    resolution: int | None = 256,
    used: str = "refuse",
    report: Report | None = None,
    labels: Labels = AS_THEY_ARE,
) -> dict[str, Any]:
    """Return how well a detector does on the test images of a category, or of all categories of a root.

    resolution: the side in px at which map and mask are compared, 32 ... 4096: the score map of the reference size is
    resized to it, and the mask by nearest neighbour, as papers do. None: both at the image's own resolution. used and
    labels: see `choose`. report: called with the number of images scored and of all images.

    Returns `overall` and, for each type of defect, `types` (that type's images and all good ones): the metrics of
    `pixel_metrics` and `image_metrics`, with the reason for each that is None in `undefined`; the counts images, good,
    without_masks (defective images of which no mask is known: pixels are judged without them), regions_lost (regions of
    which no pixel is left at the resolution), found (defective images whose verdict is not OK), recall (their share,
    None without defects), found_masked (those found whose masks are known) and on_defect (of these, with a region on
    the defect), false_alarms (good ones whose verdict is not OK), and found_ng and false_ng, of both those that are NG.
    For a weighed model `without_labels` has an `overall` of the same modules by the weights that need no labels,
    without found and all that follow, as the thresholds are not theirs; else it is None. Beside them data, resolution,
    images, good, without_masks, regions, regions_lost, recall_by_area, escapes and alarms (of `recall.recall`), used
    and repeated (of `choose`), doubtful_masks (of `samples.doubtful_masks`), outside and model. All of it is JSON.
    Where the model has a region of interest, pixels outside count nowhere, and outside lists [{"image", "regions",
    "of"}]: how many of the regions of an image's truth lie wholly outside; an image whose regions all do is left out.
    Raises InputError for another resolution, and as `choose` and `read_truth` do.
    """
    side = _side(resolution)  # before the images are read
    return measure(scorer, choose(scorer, data, used=used, labels=labels), resolution=side, report=report)


def choose(scorer: Scorer, data: Path, *, used: str = "refuse", labels: Labels = AS_THEY_ARE) -> Chosen:
    """Return the test images of a category, or of all categories of a root, that a detector can be judged by.

    used: what becomes of images that it was trained, held out or weighed on, and of near copies of them. "refuse"
    raises InputError, "skip" leaves them out, "include" keeps them. labels: how those of labelling tools are taken.
    Raises InputError as `test_samples` and `read_image` do too. Chosen.used is {"rule": used, "images": [{"image",
    "use", "same_picture"}], "summary": a line}. Of equal pictures the first counts; Chosen.repeated are the others,
    [{"image", "same_as"}].
    """
    word("used", used, RULES)
    data = given_path(data, "data")
    header = scorer.header_
    found = distinct(test_samples(data, labels=labels), told_by=header.data.told_by, bits=header.bits)
    samples, images = found.samples, found.images
    uses = used_images(images, header.data)
    names = [_name(sample, data) for sample in samples]
    summary = describe(uses, names)
    if uses and used == "refuse":
        ways = "--used skip leaves them out, --used include keeps them"
        raise InputError(
            f"{printable(data)}: the model has met {len(uses)} of {len(samples)} test images before: {summary} ({ways})"
        )
    out = {use.index for use in uses if used == "skip"}
    if len(out) == len(samples):
        raise InputError(f"{printable(data)}: no test image that the model has not met before: {summary}")
    listed = [{"image": names[use.index], "use": WORDS[use.kind], "same_picture": use.same_picture} for use in uses]
    left = [index for index in range(len(samples)) if index not in out]
    return Chosen(
        data=data,
        samples=[samples[index] for index in left],
        images=[images[index] for index in left],
        used={"rule": used, "images": listed, "summary": summary},
        repeated=[{"image": _name(one, data), "same_as": _name(other, data)} for one, other in found.repeated],
    )


def measure(
    scorer: Scorer, chosen: Chosen, *, resolution: int | None = 256, report: Report | None = None
) -> dict[str, Any]:
    """Return what `evaluate` does for test images that `choose` has chosen."""
    resolution = _side(resolution)
    every = list(_score(scorer, chosen, resolution, report))
    scored = [one for one in every if not one.hidden]
    limits = scorer.thresholds_
    overall = _figures(scored, limits)
    if len(scored) < len(every) and all(one.good for one in scored):
        overall["undefined"] = dict.fromkeys(overall["undefined"], HIDDEN)
    good = [one for one in scored if one.good]
    labels = sorted({one.label for one in scored} - {"good"})
    bare = [
        replace(one, score=one.bare_score, score_map=one.bare_map)
        for one in scored
        if one.bare_score is not None and one.bare_map is not None
    ]
    return {
        "data": path_text(chosen.data),
        "resolution": "original" if resolution is None else resolution,
        **{key: overall[key] for key in ("images", "good", "without_masks", "regions", "regions_lost")},
        "overall": overall,
        "without_labels": {"overall": _figures(bare, None)} if bare else None,
        "types": {label: _figures([*good, *(one for one in scored if one.label == label)], limits) for label in labels},
        **recall([Outcome(one.name, one.label, one.score, limits.verdict(one.score), one.area) for one in scored]),
        "used": chosen.used,
        "repeated": chosen.repeated,
        "outside": [{"image": one.name, "regions": one.outside, "of": one.regions} for one in every if one.outside],
        "doubtful_masks": doubtful_masks(chosen.samples, root=sample_root(chosen.data)),
        "model": _identity(scorer.header_),
    }


def save(path: Path, result: dict[str, Any], *, overwrite: bool = True) -> None:
    """Write an evaluation as JSON, atomically; raises as `write_atomically` does."""
    write_atomically(path, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode(), overwrite=overwrite)


def _score(scorer: Scorer, chosen: Chosen, resolution: int | None, report: Report | None) -> Iterator[Scored]:
    samples = chosen.samples
    several = len({sample.category for sample in samples}) > 1
    for done, (sample, (image, found)) in enumerate(zip(samples, _references(scorer, samples), strict=True), start=1):
        height, width = image.shape[:2] if resolution is None else (resolution, resolution)
        inside = scorer.header_.counted(height, width)
        mask, area, lost = (np.zeros((height, width), np.bool_), 0, 0) if sample.has_truth else (None, None, 0)
        regions, outside, met = 0, 0, None
        if (truth := read_truth(sample)) is not None:
            if (counted := scorer.header_.counted(*truth.shape)) is not None:
                truth, regions, outside = clipped(truth, counted)
            mask, lost = resize_mask(truth, height, width), regions_lost(truth, height, width, inside)
            area = int(truth.sum())
            met = on_defect(truth, image, found[0], scorer.header_)
        # A type has the same name in many categories; a model that serves several is judged on each.
        label = f"{sample.category}/{sample.label}" if several and sample.label != "good" else sample.label
        scores = [one.score(min_area=scorer.header_.calibration.min_area) for one in found]
        resized = [resize_map(one.map, height, width) for one in found]
        yield Scored(
            name=_name(sample, chosen.data),
            label=label,
            score=scores[0],
            score_map=resized[0],
            bare_score=scores[1] if len(scores) > 1 else None,
            bare_map=resized[1] if len(found) > 1 else None,
            mask=mask,
            inside=inside,
            on_defect=met,
            area=area,
            regions=regions,
            regions_lost=lost,
            outside=outside,
        )
        if report:
            report(done, len(samples))


def _references(scorer: Scorer, samples: Sequence[Sample]) -> Iterator[tuple[NDArray[np.uint8], list[Reference]]]:
    """Yield each sample's image and what its verdict is taken from; of a weighed model by the bare weights too."""
    paths = [sample.path for sample in samples]
    pairs = getattr(scorer, "reference_pairs", None)  # a bundle has only the weights that it was exported with
    if scorer.header_.weighing and pairs:
        yield from ((image, found) for _, image, found in pairs(paths))
    else:
        yield from ((image, [reference]) for _, image, reference in scorer.references(paths))


def _figures(scored: Sequence[Scored], thresholds: Thresholds | None) -> dict[str, Any]:
    """Return all metrics and counts of a set of scored images; without thresholds there are no verdicts to count."""
    known = [one for one in scored if one.mask is not None]
    masks = [one.mask for one in scored if one.mask is not None]
    inside = [one.inside for one in known if one.inside is not None] or None
    pixels: dict[str, Any] = pixel_metrics(
        [one.score_map for one in known], masks, inside=inside, names=[one.name for one in known]
    )
    names, defective = [one.name for one in scored], [not one.good for one in scored]
    images: dict[str, Any] = image_metrics([one.score for one in scored], defective, names=names)
    counts: dict[str, Any] = {
        "images": len(scored),
        "good": sum(one.good for one in scored),
        "without_masks": len(scored) - len(known),
        "regions_lost": sum(one.regions_lost for one in scored),
    }
    if thresholds is not None:
        words = Counter((thresholds.verdict(one.score), one.good) for one in scored)
        counts["found"] = words["REVIEW", False] + words["NG", False]
        counts["found_ng"] = words["NG", False]
        counts["found_masked"] = sum(one.on_defect is not None for one in scored)
        counts["on_defect"] = sum(bool(one.on_defect) for one in scored)
        counts["recall"] = counts["found"] / sum(defective) if any(defective) else None
        counts["false_alarms"] = words["REVIEW", True] + words["NG", True]
        counts["false_ng"] = words["NG", True]
    return {**pixels, **images, "undefined": pixels["undefined"] | images["undefined"], **counts}


def _side(resolution: int | None) -> int | None:
    rule = "expected 32 to 4096, or that of the images"
    return None if resolution is None else whole("resolution", resolution, allowed=RESOLUTIONS, rule=rule)


def _name(sample: Sample, data: Path) -> str:
    return path_text(sample.path.relative_to(sample_root(data)))


def _identity(header: Header) -> dict[str, Any]:
    return {
        "blemish": header.blemish,
        "created": header.created,
        "teacher": header.teacher.name,
        "teacher_sha256": header.teacher.sha256,
        "modules": [module.name for module in header.modules],
        "recipe": header.recipe.get("name"),
        "seed": header.seed,
        "score": header.score,
        "thresholds": asdict(header.calibration.thresholds),
        "promises": [{"verdict": word, "rate": rate} for word, _, rate in promises(header.calibration)],
        "held_out": len(header.calibration.scores) or len(header.data.held_out),
        "weighing": header.weighing.model_dump() if header.weighing else None,
    }
