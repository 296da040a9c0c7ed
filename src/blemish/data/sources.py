"""What a user gives, as one path or array for each image: the sources of images."""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blemish.data.copies import thumbnail
from blemish.data.datasets import (
    AS_THEY_ARE,
    good_images,
    held_out_images,
    is_data_file,
    is_manifest,
    read_samples,
    sample_root,
)
from blemish.data.holdout import array_fingerprint, fingerprints
from blemish.data.layouts.labels import Labels
from blemish.data.listing import find_images
from blemish.data.records import DataPart, ImagePart
from blemish.errors import InputError
from blemish.images.read import as_image, read_image

Source = Path | NDArray[Any]
Images = str | os.PathLike[str] | NDArray[Any] | Iterable[str | os.PathLike[str] | NDArray[Any]]


def sources(images: Images) -> list[Source]:
    """Return one path or array per image: a folder stands for all images in it; arrays are (H, W) to (H, W, 4).

    Raises InputError for anything that is neither path nor array, and as `find_images` does.
    """
    return _expand(images, find_images)


def all_sources(images: Images) -> list[Source]:
    """Return what `sources` does, where a CSV manifest stands for all images of its rows, a label file for its folder.

    Raises InputError as `sources` and `read_samples` do.
    """
    return _expand(images, find_images, file=_all_images)


def good_sources(images: Images, *, labels: Labels = AS_THEY_ARE) -> tuple[list[Source], list[Source]]:
    """Return the good images to learn from, and those that the given data sets keep apart from training (often none).

    A data set is a folder, a CSV manifest or a label file, as on the command line; anything else is an image. labels:
    how those of labelling tools are taken.
    Raises InputError for anything that is neither path nor array, and as `good_images` and `held_out_images` do.
    """
    given = [images] if isinstance(images, str | os.PathLike | np.ndarray) else list(images)
    good = partial(good_images, labels=labels)
    found = _expand(given, good, file=good)
    paths = [Path(item) for item in given if not isinstance(item, np.ndarray)]
    data_sets = [path for path in paths if os.path.isdir(path) or is_data_file(path)]
    return found, [path for data in data_sets for path in held_out_images(data, labels=labels)]


def _expand(
    images: Images, folder: Callable[[Path], list[Path]], *, file: Callable[[Path], list[Path]] | None = None
) -> list[Source]:
    """Return one source per image; what a folder or a file of many stands for is found by the functions given."""
    found: list[Source] = []
    for item in [images] if isinstance(images, str | os.PathLike | np.ndarray) else images:
        if isinstance(item, np.ndarray):
            found.append(item)
        elif isinstance(item, str | os.PathLike):
            path = Path(item)
            if os.path.isdir(path):
                found.extend(folder(path))
            elif file and is_data_file(path):
                found.extend(file(path))
            else:
                found.append(path)
        else:
            raise InputError(f"images: {type(item).__name__} is not allowed, expected paths and numpy arrays")
    return found


def _all_images(file: Path) -> list[Path]:
    return [one.path for one in read_samples(file)] if is_manifest(file) else find_images(sample_root(file))


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


def fit_sources(data: DataPart, good: Sequence[Source]) -> tuple[list[Source], list[Source]]:
    """Return the images that trained a model, and those that set its threshold, found by content among those given.

    Raises InputError if some that set the threshold are not among them; of those that trained some may be missing.
    """
    found = dict(zip(content_hashes(good), good, strict=True))
    wanted = {image.sha256 for image in data.held_out}
    if missing := wanted - found.keys():
        raise InputError(
            f"good: {len(missing)} of the {len(wanted)} good images that set the threshold are not among those given; "
            "give the images that the model was fitted on (--good FOLDER)"
        )
    train = [found[image.sha256] for image in data.train if image.sha256 in found]
    return train, [found[sha256] for sha256 in sorted(wanted)]


def held_out_sources(data: DataPart, good: Sequence[Source]) -> list[Source]:
    """Return the images that set a model's threshold, and raise InputError, as `fit_sources` does."""
    return fit_sources(data, good)[1]
