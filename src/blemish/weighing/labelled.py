"""The score maps of labelled images, module by module, and the truth: all that a search of weights needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.data.samples import Sample, square_truth
from blemish.data.sources import load
from blemish.errors import InputError, printable
from blemish.images.tiles import blend, cut
from blemish.method.imitation import resample
from blemish.method.pyramid import stack
from blemish.method.scoring import module_maps, one_by_one
from blemish.model.model import Model
from blemish.weighing import objectives
from blemish.weighing.objectives import Pixels

REST_PIXELS, REGION_PIXELS = 100_000, 1000  # how many a search sees, of all defect-free ones and of each region

Report = Callable[[int, int], None]  # images scored, of how many


@dataclass(frozen=True, slots=True)
class LabelledMaps:
    """The score maps of labelled images, module by module, and the truth.

    names: the N modules, SIZE/LEVEL. maps: for each of them (I, h, w) float32 at its own resolution (with tiles
    about that of a tile's). masks: (I, R, R)
    bool at the reference size R, True on defects. labels: of the I images, "good" or the type of defect. inside: (R, R)
    bool, which pixels count, default all; masks are False where they do not.
    Raises InputError where these do not fit together, for maps that are not finite, and without a pixel of each kind.
    """

    names: Sequence[str]
    maps: Sequence[NDArray[np.float32]]
    masks: NDArray[np.bool_]
    labels: Sequence[str]
    inside: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if not self.names or len(self.names) != len(self.maps):
            raise InputError(f"maps: {len(self.maps)} maps vs {len(self.names)} modules, expected one for each")
        if self.masks.dtype != np.bool_ or self.masks.ndim != 3 or self.masks.shape[1] != self.masks.shape[2]:
            shape = "x".join(map(str, self.masks.shape))
            raise InputError(f"masks: {self.masks.dtype} {shape} is not allowed, expected bool, images x R x R")
        if len(self.masks) != count:
            raise InputError(f"masks: {len(self.masks)} masks vs {count} labels, expected one of each for each image")
        for name, values in zip(self.names, self.maps, strict=True):
            if values.dtype != np.float32 or values.ndim != 3 or len(values) != count:
                shape = "x".join(map(str, values.shape))
                raise InputError(f"map of {printable(name)}: {values.dtype} {shape}, expected float32, {count} x h x w")
            if not np.isfinite(values).all():
                raise InputError(f"map of {printable(name)}: holds scores that are not finite")
        for label, mask in zip(self.labels, self.masks, strict=True):
            if label == "good" and mask.any():
                raise InputError("masks: an image labelled good has defect pixels, expected none")
        counted = self.masks if self.inside is None else self.masks[:, self.inside]
        if not counted.any() or counted.all():
            kind = "defect-free" if counted.size and counted.all() else "defect"
            raise InputError(f"masks: no {kind} pixel in {count} images, so there is nothing to weigh by")

    def images(self, indices: Sequence[int]) -> "LabelledMaps":
        """Return the maps of some of the images, in the order of the indices."""
        some = list(indices)
        return LabelledMaps(
            self.names,
            [one[some] for one in self.maps],
            self.masks[some],
            [self.labels[index] for index in some],
            self.inside,
        )

    def modules(self, indices: Sequence[int]) -> "LabelledMaps":
        """Return the maps of some of the modules, in the order of the indices."""
        return replace(
            self, names=[self.names[index] for index in indices], maps=[self.maps[index] for index in indices]
        )

    def pixels(self, *, rest: int = REST_PIXELS, region: int = REGION_PIXELS) -> Pixels:
        """Return pixels spread evenly: of the defect-free ones at most about `rest`, `region` of each region."""
        each = self.masks[0].size if self.inside is None else np.count_nonzero(self.inside)
        free = len(self.masks) * each - np.count_nonzero(self.masks)
        step = max(1, int(np.ceil((free / rest) ** 0.5)))
        return objectives.gather(self._resampled(), rest_step=step, region=region, inside=self.inside)

    def _resampled(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield each image's maps at the reference size, (N, R, R), and its mask."""
        for index, mask in enumerate(self.masks):
            parts = [resample(torch.from_numpy(one[index : index + 1]), len(mask)) for one in self.maps]
            yield torch.cat(parts).numpy(), mask


def _module_maps(model: Model, image: NDArray[np.uint8], *, score: str) -> list[NDArray[np.float32]]:
    """Return every module's map of an image, (h, w) each: at its own resolution, with tiles about that of a tile's."""

    def of(part: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        (pyramid,) = one_by_one(model.teacher, stack([part], model.sizes))
        with torch.inference_mode():
            return [one[0].cpu().numpy() for one in module_maps(model.teacher, model.modules, pyramid, score=score)]

    tiles, size = model.header.tiles, model.header.reference_size
    if tiles is None:
        return of(image)
    found = zip(*(of(part) for part in cut(image, tiles)), strict=True)
    return [
        blend(maps, *image.shape[:2], tiles=tiles, side=min(size, -(-size // tiles.map_size) * len(maps[0])))
        for maps in found
    ]


def label(model: Model, samples: Sequence[Sample], *, score: str, report: Report | None = None) -> LabelledMaps:
    """Return every module's maps of labelled images, each computed once, and their masks at the reference size.

    Raises InputError where the region of interest hides every defect, and for an image that cannot be used.
    """
    roi = model.header.roi
    inside = None if roi is None else roi.inside
    parts: list[list[NDArray[np.float32]]] = [[] for _ in model.modules]
    masks = []
    for done, sample in enumerate(samples, start=1):
        maps = _module_maps(model, load(sample.path, bits=model.header.bits, roi=roi), score=score)
        for part, found in zip(parts, maps, strict=True):
            part.append(found[None])
        truth = square_truth(sample, model.header.reference_size)
        masks.append(truth if inside is None else truth & inside)
        if report:
            report(done, len(samples))
    if inside is not None and not np.any(masks):
        raise InputError("every defect lies outside of the region of interest, so there is nothing to weigh by")
    names = tuple(module.name for module in model.modules)
    labels = tuple(sample.label for sample in samples)
    return LabelledMaps(names, [np.concatenate(part) for part in parts], np.stack(masks), labels, inside)
