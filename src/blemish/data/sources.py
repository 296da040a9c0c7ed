"""What a user gives, as one path or array for each image: the sources of images."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from blemish.checks import given_path
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
from blemish.data.listing import find_images, is_folder, path_text
from blemish.data.records import DataPart, ImagePart, Rule
from blemish.data.samples import Sample
from blemish.errors import InputError, printable
from blemish.images.read import FULL_BITS, as_image, from_pillow, image_shape, read_image
from blemish.images.roi import RoiPart

EXPECTED = "expected paths, numpy arrays and pictures of PIL, one or several"
Source = Path | NDArray[Any]
Single = str | os.PathLike[str] | NDArray[Any] | Image
Images = Single | Iterable[Single]


def sources(images: Images) -> list[Source]:
    """Return one path or array per image: a folder stands for all images in it; arrays are (H, W) to (H, W, 4).

    A picture of PIL becomes an array. Raises InputError for anything else, and as `find_images` does.
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
    Raises InputError for anything that is no image, and as `good_images` and `held_out_images` do.
    """
    given = list(_singles(images))
    good = partial(good_images, labels=labels)
    found = _expand(given, good, file=good)
    return found, [path for data in data_sets(given) for path in held_out_images(data, labels=labels)]


def singles(images: Images) -> list[Single]:
    """Return what is given one by one; raises InputError for what is neither an image nor several."""
    return list(_singles(images))


def data_sets(images: Images) -> list[Path]:
    """Return the folders, CSV manifests and label files among what is given; raises InputError as `sources` does."""
    paths = [given_path(item, "images") for item in _singles(images) if isinstance(item, str | os.PathLike)]
    return [path for path in paths if is_folder(path) or is_data_file(path)]


def held_out_first(images: Images, *, labels: Labels = AS_THEY_ARE) -> list[Source]:
    """Return the good images to set thresholds by: of a data set those that it keeps apart, else those to learn from.

    Raises InputError as `good_sources` does.
    """

    def found(data: Path) -> list[Path]:
        return held_out_images(data, labels=labels) or good_images(data, labels=labels)

    return _expand(images, found, file=found)


def _expand(
    images: Images, folder: Callable[[Path], list[Path]], *, file: Callable[[Path], list[Path]] | None = None
) -> list[Source]:
    """Return one source per image; what a folder or a file of many stands for is found by the functions given."""
    found: list[Source] = []
    for item in _singles(images):
        if isinstance(item, np.ndarray):
            found.append(item)
        elif isinstance(item, Image):
            found.append(from_pillow(item))
        elif isinstance(item, str | os.PathLike):
            path = given_path(item, "images")
            if is_folder(path):
                found.extend(folder(path))
            elif file and is_data_file(path):
                found.extend(file(path))
            else:
                found.append(path)
        else:
            raise InputError(f"images: {_kind(item)} is not allowed, {EXPECTED}")
    return found


def _all_images(file: Path) -> list[Path]:
    return [one.path for one in read_samples(file)] if is_manifest(file) else find_images(sample_root(file))


def _singles(images: Images) -> Iterable[Single]:
    """Return what is given one by one; raises InputError for what is neither an image nor several."""
    if isinstance(images, str | os.PathLike | np.ndarray | Image):
        return [images]
    if isinstance(images, Iterable) and not isinstance(images, bytes | bytearray | memoryview):
        return images
    raise InputError(f"images: {_kind(images)} is not allowed, {EXPECTED}")


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def load(source: Source, *, bits: int = FULL_BITS, roi: RoiPart | None = None) -> NDArray[np.uint8]:
    """Return the image of a source: (H, W, 3) uint8; bits: of a 16-bit one that are used.

    Raises InputError as `read_image` does, and for an image whose aspect is not that of a region of interest.
    """
    image = read_image(source, bits=bits) if isinstance(source, Path) else as_image(source, bits=bits)
    if roi is not None:
        roi.check_aspect(image, name=source if isinstance(source, Path) else "")
    return image


def shapes_of(given: Iterable[Source]) -> list[tuple[int, int]]:
    """Return (height, width) of images, of which only headers are read; those that cannot be read are passed over."""
    shapes = []
    for source in given:
        with suppress(InputError):
            height, width = image_shape(source)[:2] if isinstance(source, Path) else as_image(source).shape[:2]
            shapes.append((height, width))
    return shapes


def check_no_masks(given: Iterable[Source], masks: Iterable[Path]) -> None:
    """Raise InputError if a mask of the region of interest is among the images: it is no good part."""
    found = {os.path.realpath(mask): mask for mask in masks}
    if found and (twins := found.keys() & {os.path.realpath(one) for one in given if isinstance(one, Path)}):
        raise InputError(f"{printable(found[min(twins)])}: the mask lies among the images; keep it elsewhere")


def names_of(given: Sequence[Source], known: Sequence[ImagePart]) -> list[str]:
    """Return what each source is called: its path below the folder that all share; of an array how its hash begins."""
    paths = [os.path.abspath(source) for source in given if isinstance(source, Path)]
    top = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""

    def name(source: Source, part: ImagePart) -> str:
        if not isinstance(source, Path):
            return f"array {part.sha256[:8]}"
        return path_text(Path(os.path.relpath(os.path.abspath(source), top)))

    return [name(source, part) for source, part in zip(given, known, strict=True)]


def identify(given: Iterable[Source], *, told_by: Rule = "pixels", bits: int = FULL_BITS) -> list[ImagePart]:
    """Return what tells each image again, by a rule; raises InputError as `load` does."""
    return [known(source, load(source, bits=bits), told_by=told_by) for source in given]


def known(source: Source, image: NDArray[np.uint8], *, told_by: Rule = "pixels") -> ImagePart:
    """Return what tells an image again that has been loaded from a source."""
    by_bytes = told_by == "bytes" and isinstance(source, Path)
    digest = fingerprints([source])[0] if by_bytes else array_fingerprint(image)  # type: ignore[list-item]
    return ImagePart(sha256=digest, thumbnail=thumbnail(image))


@dataclass(frozen=True, slots=True)
class Distinct:
    """Labelled images that all differ, what tells each of them again, and pairs of (one left out, the equal one)."""

    samples: list[Sample]
    images: list[ImagePart]
    repeated: list[tuple[Sample, Sample]]


def distinct(samples: Sequence[Sample], *, told_by: Rule, bits: int) -> Distinct:
    """Return labelled images with what tells each of them again; of those with equal content in a category the first.

    Raises InputError for equal images of which one is labelled good and another not, and as `load` does.
    """
    found = Distinct([], [], [])
    first: dict[tuple[str, str], Sample] = {}
    for sample, image in zip(
        samples, identify((sample.path for sample in samples), told_by=told_by, bits=bits), strict=True
    ):
        twin = first.setdefault((sample.category, image.sha256), sample)
        if twin is sample:
            found.samples.append(sample)
            found.images.append(image)
            continue
        if (twin.label == "good") != (sample.label == "good"):
            ones = " and ".join(f"{printable(one.path)} ({printable(one.label)})" for one in (twin, sample))
            raise InputError(f"one picture with two labels: {ones}; keep the right one")
        found.repeated.append((sample, twin))
    return found


def fit_sources(data: DataPart, good: Sequence[Source], *, bits: int = FULL_BITS) -> tuple[list[Source], list[Source]]:
    """Return the images that trained a model, and those that set its thresholds, found by content among those given.

    Both are in the order of the model's own lists. Raises InputError if some that set the thresholds are not among
    them; of those that trained some may be missing.
    """
    found = {
        image.sha256: one for one, image in zip(good, identify(good, told_by=data.told_by, bits=bits), strict=True)
    }
    wanted = {image.sha256 for image in data.held_out}
    if missing := wanted - found.keys():
        raise InputError(
            f"good: {len(missing)} of the {len(wanted)} good images that set the threshold are not among those given; "
            "give those that the model was fitted on, and those held out since (--good FOLDER, as often as needed)"
        )
    train = [found[image.sha256] for image in data.train if image.sha256 in found]
    return train, [found[image.sha256] for image in data.held_out]


def held_out_sources(data: DataPart, good: Sequence[Source], *, bits: int = FULL_BITS) -> list[Source]:
    """Return the images that set a model's threshold, and raise InputError, as `fit_sources` does."""
    return fit_sources(data, good, bits=bits)[1]
