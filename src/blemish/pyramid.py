"""From what a user gives to what the networks see: sources, images, and the pyramid of their sizes."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blemish.copies import thumbnail
from blemish.datasets import (
    array_fingerprint,
    find_images,
    fingerprints,
    good_images,
    held_out_images,
    is_manifest,
    read_samples,
)
from blemish.errors import InputError
from blemish.header import Header, ImagePart
from blemish.images import as_image, read_image, resize

if TYPE_CHECKING:
    from blemish.scoring import Pyramid

Source = Path | NDArray[Any]
Images = str | os.PathLike[str] | NDArray[Any] | Iterable[str | os.PathLike[str] | NDArray[Any]]


def sources(images: Images) -> list[Source]:
    """Return one path or array per image: a folder stands for all images in it; arrays are (H, W) to (H, W, 4).

    Raises InputError for anything that is neither path nor array, and as `find_images` does.
    """
    return _expand(images, find_images)


def all_sources(images: Images) -> list[Source]:
    """Return what `sources` does, where a CSV manifest stands for all images of its rows; raises as `read_samples`."""
    return _expand(images, find_images, manifest=lambda file: [sample.path for sample in read_samples(file)])


def good_sources(images: Images) -> tuple[list[Source], list[Source]]:
    """Return the good images to learn from, and those that the given data sets keep apart from training (often none).

    A data set is a folder or a CSV manifest, as on the command line; anything else is an image.
    Raises InputError for anything that is neither path nor array, and as `good_images` and `held_out_images` do.
    """
    given = [images] if isinstance(images, str | os.PathLike | np.ndarray) else list(images)
    found = _expand(given, good_images, manifest=good_images)
    paths = [Path(item) for item in given if not isinstance(item, np.ndarray)]
    data_sets = [path for path in paths if os.path.isdir(path) or is_manifest(path)]
    return found, [path for data in data_sets for path in held_out_images(data)]


def _expand(
    images: Images, folder: Callable[[Path], list[Path]], *, manifest: Callable[[Path], list[Path]] | None = None
) -> list[Source]:
    """Return one source per image; what is in a folder or a manifest is found by the functions given for that."""
    found: list[Source] = []
    for item in [images] if isinstance(images, str | os.PathLike | np.ndarray) else images:
        if isinstance(item, np.ndarray):
            found.append(item)
        elif isinstance(item, str | os.PathLike):
            path = Path(item)
            if os.path.isdir(path):
                found.extend(folder(path))
            elif manifest and is_manifest(path):
                found.extend(manifest(path))
            else:
                found.append(path)
        else:
            raise InputError(f"images: {type(item).__name__} is not allowed, expected paths and numpy arrays")
    return found


def load(source: Source) -> NDArray[np.uint8]:
    """Return the image of a source: (H, W, 3) uint8; raises InputError as read_image and as_image do."""
    return read_image(source) if isinstance(source, Path) else as_image(source)


def content_hashes(given: Sequence[Source]) -> list[str]:
    """Return the sha256 of each source: of a file's bytes, or of an array's shape and pixels."""
    return [
        fingerprints([source])[0] if isinstance(source, Path) else array_fingerprint(as_image(source))
        for source in given
    ]


def identify(given: Sequence[Source]) -> list[ImagePart]:
    """Return what tells each image again; raises InputError as `load` does."""
    hashes = content_hashes(given)
    return [ImagePart(sha256=text, thumbnail=thumbnail(load(one))) for text, one in zip(hashes, given, strict=True)]


def fit_sources(header: Header, good: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Return the images that trained a model, and those that set its threshold, found by content among those given.

    Raises InputError if some that set the threshold are not among them; of those that trained some may be missing.
    """
    found = dict(zip(content_hashes(good), good, strict=True))
    wanted = {image.sha256 for image in header.data.held_out}
    if missing := wanted - found.keys():
        raise InputError(
            f"good: {len(missing)} of the {len(wanted)} good images that set the threshold are not among those given; "
            "give the images that the model was fitted on (--good FOLDER)"
        )
    train = [found[image.sha256] for image in header.data.train if image.sha256 in found]
    return train, [found[sha256] for sha256 in sorted(wanted)]


def held_out_sources(header: Header, good: Sequence[Source]) -> list[Source]:
    """Return the images that set a model's threshold, and raise InputError, as `fit_sources` does."""
    return fit_sources(header, good)[1]


def stack(images: Sequence[NDArray[np.uint8]], sizes: Iterable[int]) -> "Pyramid":
    """Return the images resized to every size: {size: (N, 3, size, size) uint8}."""
    import torch

    return {
        size: torch.from_numpy(np.stack([resize(image, size) for image in images])).permute(0, 3, 1, 2)
        for size in sizes
    }


def read_pyramid(given: Sequence[Source], sizes: Sequence[int]) -> "Pyramid":
    """Return all images resized to every size, decoded one by one: {size: (N, 3, size, size) uint8}.

    Raises one InputError that names the first image that cannot be read and counts the others, before any training.
    """
    return _read(given, sizes)[0]


def read_known(given: Sequence[Source], sizes: Sequence[int]) -> tuple[list[ImagePart], "Pyramid"]:
    """Return what `identify` and `read_pyramid` do, with every image decoded once; raises InputError as the latter."""
    hashes = content_hashes(given)
    pyramid, thumbnails = _read(given, sizes)
    return [ImagePart(sha256=text, thumbnail=small) for text, small in zip(hashes, thumbnails, strict=True)], pyramid


def _read(given: Sequence[Source], sizes: Sequence[int]) -> tuple["Pyramid", list[str]]:
    """Return the pyramid of all images, and the thumbnail of each."""
    import torch

    pyramid = {size: torch.empty((len(given), size, size, 3), dtype=torch.uint8) for size in sizes}
    thumbnails, problems = [], []
    for index, source in enumerate(given):
        try:
            image = load(source)
        except InputError as error:
            problems.append(str(error))
            continue
        thumbnails.append(thumbnail(image))
        for size in sizes:
            pyramid[size][index] = torch.from_numpy(resize(image, size))
    if problems:
        more = f" (and {len(problems) - 1} more images that cannot be used)" if len(problems) > 1 else ""
        raise InputError(problems[0] + more)
    return {size: images.permute(0, 3, 1, 2) for size, images in pyramid.items()}, thumbnails
