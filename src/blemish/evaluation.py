"""How well a detector does on a labelled test set: the figures that papers give, and what its verdicts were worth."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.datasets import Sample, fingerprints, test_samples
from blemish.errors import InputError
from blemish.files import write_atomically
from blemish.images import read_mask, resize_map, resize_mask
from blemish.metrics import image_metrics, pixel_metrics
from blemish.results import text

if TYPE_CHECKING:
    from blemish.detector import Detector
    from blemish.modelfile import Header

RESOLUTIONS = range(32, 4097)
Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Scored:
    """A test image with its scores and its truth, both (H, W) at the resolution of the evaluation."""

    name: str
    label: str
    score: float
    score_map: NDArray[np.float32]
    mask: NDArray[np.bool_]
    regions_lost: int

    @property
    def good(self) -> bool:
        """Whether the image shows a good part."""
        return self.label == "good"


def evaluate(
    detector: "Detector", data: Path, *, resolution: int | None = 256, report: Report | None = None
) -> dict[str, Any]:
    """Return how well a detector does on the test images of a category, or of all categories of a root.

    resolution: the side in px at which map and mask are compared, 32 ... 4096: the score map of the reference size is
    resized to it, and the mask by nearest neighbour, as papers do. None: both at the image's own resolution. report:
    called with the number of images scored and of all images.

    Returns `overall` and, for each type of defect, `types` (that type's images and all good ones): the metrics of
    `pixel_metrics` and `image_metrics`, with the reason for each that is None in `undefined`; the counts images, good,
    regions_lost (regions of which no pixel is left at the resolution), found (defective images whose score is above
    the threshold) and false_alarms (good ones). Beside them data, resolution, images, good, regions, regions_lost,
    seen (test images that the model was fitted or calibrated on), empty_masks (defective images whose mask marks
    nothing: their pixels count as good) and model. All of it is JSON.
    Raises InputError for another resolution, and as `test_samples`, `read_image` and `read_mask` do.
    """
    if resolution is not None and resolution not in RESOLUTIONS:
        raise InputError(f"resolution: {resolution} is not allowed, expected 32 to 4096, or that of the images")
    data = Path(data)
    samples = test_samples(data)
    scored = list(_score(detector, samples, data, resolution, report))
    limit = detector.threshold_
    overall = _figures(scored, limit)
    good = [one for one in scored if one.good]
    labels = sorted({one.label for one in scored} - {"good"})
    defective = (one for one in scored if not one.good)
    return {
        "data": text(data),
        "resolution": "original" if resolution is None else resolution,
        **{key: overall[key] for key in ("images", "good", "regions", "regions_lost")},
        "overall": overall,
        "types": {label: _figures([*good, *(one for one in scored if one.label == label)], limit) for label in labels},
        "seen": _seen(detector.header_, samples, data),
        "empty_masks": [one.name for one in defective if not one.mask.any() and not one.regions_lost],
        "model": _identity(detector.header_),
    }


def save(path: Path, result: dict[str, Any]) -> None:
    """Write an evaluation as JSON, atomically; raises StorageError if the file cannot be written."""
    write_atomically(path, (json.dumps(result, indent=2, allow_nan=False) + "\n").encode())


def _score(
    detector: "Detector", samples: Sequence[Sample], data: Path, resolution: int | None, report: Report | None
) -> Iterator[Scored]:
    from blemish.scoring import image_score

    several = len({sample.category for sample in samples}) > 1
    maps = detector.reference_maps([sample.path for sample in samples])
    for done, (sample, (_, image, reference)) in enumerate(zip(samples, maps, strict=True), start=1):
        height, width = image.shape[:2] if resolution is None else (resolution, resolution)
        mask, lost = np.zeros((height, width), np.bool_), 0
        if sample.mask_path is not None:
            truth = read_mask(sample.mask_path)
            mask, lost = resize_mask(truth, height, width), _regions_lost(truth, height, width)
        # A type has the same name in many categories; a model that serves several is judged on each.
        label = f"{sample.category}/{sample.label}" if several and sample.label != "good" else sample.label
        yield Scored(
            name=text(sample.path.relative_to(data)),
            label=label,
            score=image_score(reference),
            score_map=resize_map(reference, height, width),
            mask=mask,
            regions_lost=lost,
        )
        if report:
            report(done, len(samples))


def _figures(scored: Sequence[Scored], threshold: float) -> dict[str, Any]:
    """Return all metrics and counts of a set of scored images."""
    names = [one.name for one in scored]
    pixels: dict[str, Any] = pixel_metrics([one.score_map for one in scored], [one.mask for one in scored], names=names)
    images: dict[str, Any] = image_metrics([one.score for one in scored], [not one.good for one in scored], names=names)
    return {
        **pixels,
        **images,
        "undefined": pixels["undefined"] | images["undefined"],
        "images": len(scored),
        "good": sum(one.good for one in scored),
        "regions_lost": sum(one.regions_lost for one in scored),
        "found": sum(one.score > threshold and not one.good for one in scored),
        "false_alarms": sum(one.score > threshold and one.good for one in scored),
    }


def _regions_lost(mask: NDArray[np.bool_], height: int, width: int) -> int:
    """Return how many 8-connected regions of a mask have no pixel in the mask that resize_mask returns."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    small = Image.fromarray(labels.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    return int(count) - np.setdiff1d(np.array(small), [0]).size


def _seen(header: "Header", samples: Iterable[Sample], data: Path) -> list[str]:
    """Return the test images that the model knows by their content."""
    known = {*header.data.train, *header.data.held_out}
    paths = [sample.path for sample in samples]
    pairs = zip(paths, fingerprints(paths), strict=True)
    return [text(path.relative_to(data)) for path, digest in pairs if digest in known]


def _identity(header: "Header") -> dict[str, Any]:
    return {
        "blemish": header.blemish,
        "created": header.created,
        "teacher": header.teacher.name,
        "teacher_sha256": header.teacher.sha256,
        "modules": [f"{module.size}/{module.level}" for module in header.modules],
        "recipe": header.recipe.get("name"),
        "seed": header.seed,
        "score": header.score,
        "threshold": header.calibration.threshold,
        "held_out": header.calibration.held_out,
    }
