"""One record for each image of a data set, with its truth."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from blemish.data.listing import listed
from blemish.data.outlines import Outlines
from blemish.data.words import masked
from blemish.errors import InputError, printable
from blemish.images.masks import inspect_mask, looks_like_mask, read_mask
from blemish.images.read import brightest, image_shape
from blemish.images.resize import resize_mask

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SHAPES_NAMED = 3
MOST, SOFT = 0.75, 0.01  # of an image that a mask marks, and of what it marks that counts as none: more is doubtful


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a category.

    label: "good", or the name of its type of defect. mask_paths: the files whose union is the truth; outlines: what a
    labelling tool has drawn, where there are no such files. A good image has neither, and a defect may have neither:
    then nobody knows which of its pixels are defective. split: "train" (learnt), "validation" (good, sets the
    threshold) or "test". group: what a manifest says is to be held out as a whole, such as the images of one item.
    """

    path: Path
    label: str
    mask_paths: tuple[Path, ...]
    split: Split
    category: str
    outlines: Outlines | None = None
    group: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether it is known which pixels are defective: of a good image none are."""
        return self.label == "good" or bool(self.mask_paths) or self.outlines is not None


def read_truth(sample: Sample) -> NDArray[np.bool_] | None:
    """Return the union of a sample's masks, True where the part is defective; None for a sample without any.

    Shape (H, W), bool, upright. Raises InputError as read_mask does, and for masks of different sizes.
    """
    truth = sample.outlines.mask() if sample.outlines is not None else None
    for path in sample.mask_paths:
        mask = read_mask(path)
        if truth is not None and mask.shape != truth.shape:
            (height, width), (first_height, first_width) = mask.shape, truth.shape
            others = f"{first_width}x{first_height} of {printable(sample.mask_paths[0])}"
            raise InputError(f"{printable(path)}: mask {width}x{height} vs {others}")
        truth = mask if truth is None else truth | mask
    return truth


def square_truth(sample: Sample, side: int) -> NDArray[np.bool_]:
    """Return a sample's truth squashed to (side, side), bool, by nearest neighbour; all False for a good image."""
    truth = read_truth(sample)
    return np.zeros((side, side), np.bool_) if truth is None else resize_mask(truth, side, side)


def size_problems(samples: Iterable[Sample], *, root: Path) -> list[str]:
    """Return what is wrong with the sizes of masks: a line for those that differ, and one for files not readable.

    Images are called by their paths below `root`. Only headers are read; nothing is wrong with a good image.
    """
    differing: list[str] = []
    unreadable: list[str] = []
    for sample in samples:
        if sample.outlines is not None:
            with suppress(InputError):  # of an image that cannot be read: said when it is to be scored
                height, width, _ = image_shape(sample.path)
                if (drawn := sample.outlines).height != height or drawn.width != width:
                    sizes = f"drawn on {drawn.width}x{drawn.height} vs image {width}x{height}"
                    differing.append(f"{sample.path.relative_to(root)} ({sizes})")
        for mask in sample.mask_paths:
            try:
                (mask_height, mask_width, _), (height, width, _) = image_shape(mask), image_shape(sample.path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            if (mask_height, mask_width) != (height, width):
                which = f"{mask.name} " if len(sample.mask_paths) > 1 else ""
                sizes = f"mask {which}{mask_width}x{mask_height} vs image {width}x{height}"
                differing.append(f"{sample.path.relative_to(root)} ({sizes})")
    once = list(dict.fromkeys(unreadable))  # an image with several masks is read for each
    return fault_lines({"masks of another size than the image": differing, "files that cannot be read": once})


def unlike(paths: Sequence[Path], *, tiled: bool = False) -> list[str]:
    """Return what to say of images that are not all of one shape, and of grey ones among those in colour.

    tiled: whether they are cut into tiles; their shapes then matter little. Only headers are read; a file that cannot
    be read is passed over.
    """
    shapes: Counter[str] = Counter()
    channels: Counter[int] = Counter()
    for path in paths:
        with suppress(InputError):
            height, width, depth = image_shape(path)
            shapes[f"{width}x{height}"] += 1
            channels[depth] += 1
    lines = []
    if len(shapes) > 1 and not tiled:
        named = [f"{count} of {shape}" for shape, count in shapes.most_common(SHAPES_NAMED)]
        more = f", and {len(shapes) - len(named)} shapes more" if len(shapes) > len(named) else ""
        lines.append(f"images differ in shape: {listed(named)}{more}; each is stretched to the same square")
    if len(channels) > 1:
        lines.append(f"{channels[1]} grey images among {channels[3]} in colour: grey is taken as a colour")
    return lines


def dim(paths: Sequence[Path], *, bits: int) -> list[str]:
    """Return what to say of 16-bit images that use a quarter of their values at most; all are read.

    A file that cannot be read is passed over.
    """
    values: list[int] = []
    for path in paths:
        with suppress(InputError):
            if (value := brightest(path)) is not None:
                values.append(value)
    full = 2**bits - 1
    if not values or max(values) > full // 4:
        return []
    needed = max(9, max(values).bit_length())
    line = f"16-bit images come out dark: brightest value {max(values)} of {full}"
    return [f"{line}; if the camera has {needed} bits: blemish fit --bits {needed}"]


def masks_beside(paths: Sequence[Path]) -> list[Path]:
    """Return those of some images that are the masks of others among them: by their name, and by how few values."""
    stems = {(path.parent, path.stem) for path in paths}
    named = (path for path in paths if (path.parent, masked(path.stem)) in stems)
    return [path for path in named if looks_like_mask(path)]


def doubtful_masks(samples: Iterable[Sample], *, root: Path) -> dict[str, list[str]]:
    """Return the images whose truth may not be what was meant, by their paths below root, for each doubt there is.

    "empty": nothing is marked. "nearly all": more than MOST of the image is. "left out": more than SOFT of what is not
    background counts as none. "void": 255 beside labels counts as none. Raises InputError as `inspect_mask` does.
    """
    doubts: dict[str, list[str]] = {}
    for sample in samples:
        files = [inspect_mask(path) for path in sample.mask_paths]
        marks = [file.defects for file in files] + ([sample.outlines.mask()] if sample.outlines else [])
        if not marks:
            continue
        marked = float(np.any(marks, axis=0).mean())
        found = {
            "empty": not marked,
            "nearly all": marked > MOST,
            "left out": any(file.left_out > SOFT for file in files),
            "void": any(file.void for file in files),
        }
        for doubt in (doubt for doubt, so in found.items() if so):
            doubts.setdefault(doubt, []).append(sample.path.relative_to(root).as_posix())
    return doubts


def fault_lines(faults: dict[str, list[str]]) -> list[str]:
    """Return a line for each fault that there is: how often, what, and where."""
    return [f"{len(names)} {fault}: {listed(names)}" for fault, names in faults.items() if names]
