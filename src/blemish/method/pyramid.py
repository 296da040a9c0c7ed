"""The pyramid: images resized to every size, as the networks see them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.data.records import ImagePart
from blemish.data.sources import Source, known, load
from blemish.data.together.twins import look
from blemish.errors import InputError
from blemish.images.read import FULL_BITS
from blemish.images.resize import resize
from blemish.images.roi import Place, RoiPart
from blemish.images.tiles import Box, Shape, TilesPart, grid

Pyramid = dict[int, Tensor]  # size -> images, (B, 3, size, size) uint8


def stack(images: Sequence[NDArray[np.uint8]], sizes: Iterable[int]) -> Pyramid:
    """Return the images resized to every size: {size: (N, 3, size, size) uint8}."""
    return {
        size: torch.from_numpy(np.stack([resize(image, size) for image in images])).permute(0, 3, 1, 2)
        for size in sizes
    }


def read_pyramid(
    given: Sequence[Source], sizes: Sequence[int], *, bits: int = FULL_BITS, roi: RoiPart | None = None
) -> Pyramid:
    """Return all images resized to every size, decoded one by one: {size: (N, 3, size, size) uint8}.

    bits: of 16-bit images that are used; roi: what has to fit their aspect. Raises one InputError that names the first
    image that cannot be used and counts the others, before any training.
    """
    return _read(given, sizes, bits=bits, roi=roi)


def read_known(
    given: Sequence[Source], sizes: Sequence[int], *, bits: int = FULL_BITS, roi: RoiPart | None = None
) -> tuple[list[ImagePart], NDArray[np.uint8], list[Shape], Pyramid]:
    """Return what `identify` and `read_pyramid` do, with every image decoded once; raises InputError as the latter.

    Between them stand the looks that twins are told by, (N, 64, 64), from the smallest size or, without sizes, the
    image itself, and the shapes, (height, width).
    """
    parts, looks, shapes = [], [], []

    def each(source: Source, image: NDArray[np.uint8]) -> None:
        parts.append(known(source, image))
        looks.append(look(resize(image, min(sizes)) if sizes else image))
        shapes.append((image.shape[0], image.shape[1]))

    pyramid = _read(given, sizes, bits=bits, roi=roi, each=each)
    return parts, np.stack(looks), shapes, pyramid


def draw_tiles(
    shapes: Sequence[Shape], tiles: TilesPart, *, most: int, seed: int, roi: RoiPart | None = None
) -> tuple[list[list[Box]], int]:
    """Return which tiles of each image are learnt, and of how many: of those that see a pixel that counts.

    shapes: of the images, (height, width). At most `most` are drawn, at random, the same for the same seed.
    """
    boxes = [grid(height, width, tiles) for height, width in shapes]
    every = [(index, box) for index, some in enumerate(boxes) for box in some]
    if roi is not None:
        places = places_of(shapes, boxes)
        every = [one for one, place in zip(every, places, strict=True) if roi.part(*place).any()]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(every))[:most])
    drawn: list[list[Box]] = [[] for _ in shapes]
    for index, box in (every[one] for one in chosen):
        drawn[index].append(box)
    return drawn, len(every)


def places_of(shapes: Sequence[Shape], boxes: Sequence[Sequence[Box]]) -> list[Place]:
    """Return where in its image each tile lies: top, left, bottom and right, as shares of the image's sides."""
    return [
        (top / height, left / width, (top + side) / height, (left + side) / width)
        for (height, width), some in zip(shapes, boxes, strict=True)
        for top, left, side in some
    ]


def read_boxes(
    given: Sequence[Source], boxes: Sequence[Sequence[Box]], sizes: Sequence[int], *, bits: int = FULL_BITS
) -> Pyramid:
    """Return some tiles of images resized to every size, one image decoded at a time: {size: (N, 3, size, size)}.

    boxes: of each image, those of `tiles.grid` that are wanted. Raises InputError as `load` does.
    """
    pyramid = {size: torch.empty((sum(map(len, boxes)), size, size, 3), dtype=torch.uint8) for size in sizes}
    row = 0
    for source, some in zip(given, boxes, strict=True):
        image = load(source, bits=bits) if some else None
        for top, left, side in some:
            assert image is not None
            for size in sizes:
                tile = resize(image[top : top + side, left : left + side], size)
                pyramid[size][row] = torch.from_numpy(tile)
            row += 1
    return {size: images.permute(0, 3, 1, 2) for size, images in pyramid.items()}


def _read(
    given: Sequence[Source],
    sizes: Sequence[int],
    *,
    bits: int,
    roi: RoiPart | None,
    each: Callable[[Source, NDArray[np.uint8]], None] | None = None,
) -> Pyramid:
    """Return the pyramid of all images; each: called with every source and its image."""
    pyramid = {size: torch.empty((len(given), size, size, 3), dtype=torch.uint8) for size in sizes}
    problems = []
    for index, source in enumerate(given):
        try:
            image = load(source, bits=bits, roi=roi)
        except InputError as error:
            problems.append(str(error))
            continue
        if each:
            each(source, image)
        for size in sizes:
            pyramid[size][index] = torch.from_numpy(resize(image, size))
    if problems:
        more = f" (and {len(problems) - 1} more images that cannot be used)" if len(problems) > 1 else ""
        raise InputError(problems[0] + more)
    return {size: images.permute(0, 3, 1, 2) for size, images in pyramid.items()}
