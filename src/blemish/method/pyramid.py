"""The pyramid: images resized to every size, as the networks see them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.data.records import ImagePart
from blemish.data.sources import Source, known, load
from blemish.errors import InputError
from blemish.images.read import FULL_BITS
from blemish.images.resize import resize
from blemish.images.roi import RoiPart

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
) -> tuple[list[ImagePart], Pyramid]:
    """Return what `identify` and `read_pyramid` do, with every image decoded once; raises InputError as the latter."""
    parts: list[ImagePart] = []
    pyramid = _read(given, sizes, bits=bits, roi=roi, each=lambda source, image: parts.append(known(source, image)))
    return parts, pyramid


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
