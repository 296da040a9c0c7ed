"""From what a user gives to samples: a category in one of many layouts, a root of categories, a manifest, good images.

The layouts are recognised by their folders; what they are, and what is read of them, is in docs/datasets.md.
"""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from blemish.data.layouts import Reading, read_btad, read_mvtec, read_mvtec_ad2, read_plain
from blemish.data.listing import check_link, entries, find_images, folder_name, listed, none_found, real_path
from blemish.data.manifest import read_manifest, read_visa
from blemish.data.samples import (
    SPLITS,
    Sample,
    Split,
)
from blemish.errors import InputError, printable

EXPECTED = "expected <root>/<class>/train/good"
# Folders of a category. Where one of them is seen, images are not all good, and the folder is no root of categories.
PARTS = {"train", "test", "test_public", "ground_truth", "bad", "masks", "ko", "Anomaly"}


def read_samples(data: Path) -> list[Sample]:
    """Return all samples of a category, of every category of a root, or of a manifest: train, validation, test.

    Of a plain folder of good images all are train. Raises InputError with one line that lists all that is wrong with
    the data set: see docs/datasets.md.
    """
    if _reader(data) or categories(data):
        return _read(data, *SPLITS)
    return [Sample(path, "good", (), "train", folder_name(data)) for path in good_images(data)]


def good_images(data: Path) -> list[Path]:
    """Return the good images to learn from: the training images of a category, or all that a plain folder holds.

    Raises InputError where there are none, where train holds anything beside good, for several categories (name one),
    and for a broken layout, whose defects would else be learnt as good.
    """
    if _reader(data):
        samples = _read(data, "train")
        if len(found := sorted({sample.category for sample in samples})) > 1:
            raise InputError(f"{printable(data)}: holds several categories, give each a manifest: {listed(found)}")
        if not samples:
            raise InputError(none_found(data))
        return [sample.path for sample in samples]
    if many := categories(data):
        names = listed(folder.name for folder in many)
        raise InputError(f"{printable(data)}: holds several categories, choose one of them: {names}")
    if os.path.isdir(data / "train"):
        raise InputError(f"{printable(data)}: no train/good ({EXPECTED})")
    images = find_images(data)
    depth = len(data.parts)
    if any(PARTS & set(path.parts[depth:-1]) for path in images):
        raise InputError(f"{printable(data)}: no train/good, and not a plain folder of good images ({EXPECTED})")
    _check_all_good(data, images)
    return images


def _check_all_good(data: Path, images: Sequence[Path]) -> None:
    """Raise InputError for a folder whose images cannot all be good: a test folder, or one of masks."""
    beside = sorted({path.parts[len(data.parts)] for path in images if len(path.parts) > len(data.parts) + 1})
    if len(beside) > 1 and {"good", "ok"} & set(beside):
        names = listed(name for name in beside if name not in ("good", "ok"))
        raise InputError(f"{printable(data)}: holds {names} beside its good images; give the folder of the good ones")
    if masks := [path for path in images if path.stem.endswith("_mask")]:
        raise InputError(f"{printable(masks[0])}: a mask, not an image of a good part; give a folder of good images")


def held_out_images(data: Path) -> list[Path]:
    """Return the good images that a category keeps apart from training, for the threshold; an empty list if none.

    Raises InputError as find_images does, and where validation holds anything beside good.
    """
    return [sample.path for sample in _read(data, "validation")] if _reader(data) else []


def test_samples(data: Path) -> list[Sample]:
    """Return the test samples of a category, of every category of a root, or of a manifest.

    Raises InputError where there are none, and one line that lists every defect without a mask, every mask without an
    image, every mask whose size is not its image's, and whatever else is wrong.
    """
    if samples := _read(data, "test"):
        return samples
    raise InputError(f"no test images found in {printable(data)} (expected <root>/<class>/test/<type>)")


def categories(root: Path) -> list[Path]:
    """Return the sub-folders of a root that are categories, sorted by name; raises InputError as find_images does."""
    top, found = real_path(root), []
    for entry in entries(root):
        if entry.is_symlink():
            check_link(entry, top)
        if entry.name not in PARTS and is_category(Path(entry.path)):
            found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def is_category(folder: Path) -> bool:
    """Tell whether a folder is one category: it has train/good, train/ok, Data/Images, or good and bad."""
    return any(_has(folder, place) for place in ("train/good", "train/ok", "Data/Images")) or _is_plain(folder)


def is_manifest(data: Path) -> bool:
    """Tell whether a path is that of a CSV manifest: its name ends in .csv, and it is no folder."""
    return data.suffix.lower() == ".csv" and not os.path.isdir(data)


def sample_root(data: Path) -> Path:
    """Return the folder below which the samples of a data set lie: the one given, or that of a manifest."""
    return data.parent if is_manifest(data) else data


def _read(data: Path, *splits: Split) -> list[Sample]:
    """Return the samples of the splits, or raise one line with all that is wrong with all categories."""
    folders = [data] if _reader(data) else categories(data)
    readings = [(folder, *reader(folder, splits)) for folder in folders if (reader := _reader(folder))]
    wrong = [f"{printable(folder)}: {'; '.join(problems)}" for folder, _, problems in readings if problems]
    if wrong:
        raise InputError("; ".join(wrong))
    return [sample for _, samples, _ in readings for sample in samples]


def _reader(data: Path) -> Callable[[Path, Collection[Split]], Reading] | None:
    """Return what reads the layout, None for a root of many or a folder of good images; test alone is enough."""
    if is_manifest(data):
        return read_manifest
    if _has(data, "test_public") and not _has(data, "test"):
        return read_mvtec_ad2
    if not _has(data, "train/good") and (_has(data, "train/ok") or _has(data, "test/ok")):
        return read_btad
    if _has(data, "train/good") or _has(data, "test"):
        return read_mvtec
    if _has(data, "Data/Images"):
        return read_visa
    return read_plain if _is_plain(data) else None


def _is_plain(folder: Path) -> bool:
    return _has(folder, "good") and _has(folder, "bad")


def _has(folder: Path, place: str) -> bool:
    return os.path.isdir(folder / place)
