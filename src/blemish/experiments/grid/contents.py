"""What a benchmark reads of a data set: the images of each category, by content, and those that are drawn to weigh."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blemish.data.datasets import categories, is_category, read_samples
from blemish.data.holdout import draw_share, fingerprints, rank, split_good
from blemish.data.listing import folder_name
from blemish.data.samples import SPLITS, Sample
from blemish.errors import InputError, printable

SHARE = 0.1  # of the images of each selected defect type: the paper's


@dataclass(frozen=True, slots=True)
class Contents:
    """One category: its good images, its test images, and the sha256 of what they are.

    trained: how many of the good images train. hashes: of the test images. train_sha256 is that of all good images,
    test_sha256 that of the test images with their labels and masks; order and names do not matter to either.
    """

    data: str
    category: str
    good: list[Path]
    apart: list[Path]
    trained: int
    samples: list[Sample]
    hashes: list[str]
    train_sha256: str
    test_sha256: str

    @property
    def sha256(self) -> str:
        """The digest of all that is in the category: half of the one for its good images, half of the one for tests."""
        return self.train_sha256[:32] + self.test_sha256[:32]


def read_contents(data: Path, *, only: Sequence[str] = ()) -> list[Contents]:
    """Return what each category of a data set holds; data is one category, a root of many, or a manifest.

    only: the names of the categories that are wanted, all if empty. Raises InputError for a category without images to
    learn from or to test, where none that is wanted is there, and as `read_samples` does.
    """
    places = [data] if is_category(data) or not data.is_dir() else categories(data)
    if len(places) != 1:
        places = [place for place in places if not only or folder_name(place) in only]
    samples = [sample for place in places for sample in read_samples(place)]
    found = list(dict.fromkeys(one.category for one in samples if not only or one.category in only))
    if not found:
        wanted = f" of {', '.join(map(printable, only))}" if only else ""
        raise InputError(f"{printable(data)}: no category{wanted} found (expected <root>/<class>/train/good)")
    name = folder_name(data) if data.is_dir() else data.stem
    return [_contents(name, one, [sample for sample in samples if sample.category == one]) for one in found]


def draw_validation(contents: Contents, *, coverage: float, draw: int) -> list[int]:
    """Return the indices of the test images that weigh modules: 10 % of each selected defect type, at least 1 image.

    coverage: the share of the types that are selected, in [0, 1]; halves are rounded up, and one type is the least
    unless coverage is 0. What is drawn depends on names and contents alone, never on the order of files; with the
    same draw a larger coverage adds types and changes none. Good images are never drawn: the paper draws of defects.
    """
    labels = sorted({sample.label for sample in contents.samples} - {"good"})
    if coverage == 0 or not labels:
        return []
    salt = f"{contents.category} {draw}"
    labels.sort(key=lambda label: rank(salt, label))
    chosen: list[int] = []
    for label in labels[: max(1, math.floor(coverage * len(labels) + 0.5))]:
        there = [index for index, sample in enumerate(contents.samples) if sample.label == label]
        drawn = draw_share([contents.hashes[index] for index in there], share=SHARE, salt=salt)
        chosen += [there[index] for index in drawn]
    return sorted(chosen)


def left_to_test(contents: Contents, validation: Sequence[int]) -> list[int]:
    """Return the indices of the test images that weigh nothing, and are no copies of those that do."""
    used = {contents.hashes[index] for index in validation}
    return [index for index, digest in enumerate(contents.hashes) if digest not in used]


def _contents(data: str, category: str, samples: Sequence[Sample]) -> Contents:
    good, apart, tests = ([one for one in samples if one.split == split] for split in SPLITS)
    if not (good and tests):
        raise InputError(f"{printable(category)}: no images to {'test' if good else 'learn from'}")
    if bare := [one.path for one in tests if not one.has_truth]:
        raise InputError(f"{printable(category)}: {len(bare)} defects without a mask, such as {printable(bare[0])}")
    good_hashes, apart_hashes, hashes = (fingerprints(image_paths(part)) for part in (good, apart, tests))
    train = split_good([*good_hashes, *apart_hashes], apart=len(apart)).train
    labelled = [
        [digest, one.label, *fingerprints(one.mask_paths), *([repr(one.outlines)] if one.outlines else [])]
        for digest, one in zip(hashes, tests, strict=True)
    ]
    return Contents(
        data=data,
        category=category,
        good=image_paths(good),
        apart=image_paths(apart),
        trained=len(train),
        samples=tests,
        hashes=hashes,
        train_sha256=_sha256([sorted(good_hashes), sorted(apart_hashes)]),
        test_sha256=_sha256(sorted(labelled)),
    )


def image_paths(samples: Sequence[Sample]) -> list[Path]:
    """Return the image of each sample."""
    return [sample.path for sample in samples]


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
