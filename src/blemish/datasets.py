"""From folders to samples: a folder of good images, one category in the layout of MVTec AD, or a root of many.

    <root>/<category>/train/good/NAME.png           <root>/<category>/test/good/NAME.png
    <root>/<category>/test/<type>/NAME.png          <root>/<category>/ground_truth/<type>/NAME_mask.png (or NAME.png)
    <root>/<category>/validation/good/NAME.png      (optional: good images that set the threshold and train nothing)

Images are found at any depth by their suffix, .png .jpg .jpeg .bmp .tif .tiff in any case. Other files are ignored, and
so is every hidden file and folder (.DS_Store, ._x.png).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable
from blemish.images import image_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LAYOUT = {"train", "test", "ground_truth"}
HELD_OUT = 0.15  # share of the good images that sets the threshold and trains nothing
LEAST_TRAIN, LEAST_HELD_OUT = 4, 2
EXPECTED = "expected <root>/<class>/train/good"


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a category: its label is "good" or the name of its defect type; only defects have a mask."""

    path: Path
    label: str
    mask_path: Path | None
    split: Literal["train", "test"]
    category: str


def find_images(folder: Path) -> list[Path]:
    """Return every image file under a folder, sorted by relative path.

    Raises InputError for a folder that is missing, not readable or without images, and for a link that dangles, leads
    out of the folder or stands for a folder.
    """
    return _some(_images(folder, root=folder), folder)


def is_category(folder: Path) -> bool:
    """Tell whether a folder is one category in the layout of MVTec AD: it has train/good."""
    return os.path.isdir(folder / "train" / "good")


def categories(root: Path) -> list[Path]:
    """Return the sub-folders of a root that are categories, sorted by name; raises InputError as find_images does."""
    top, found = _real(root), []
    for entry in _entries(root):
        if entry.is_symlink():
            _check_link(entry, top)
        if is_category(Path(entry.path)):
            found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def good_images(data: Path) -> list[Path]:
    """Return the good images to learn from: those of a category's train/good, or all that a plain folder holds.

    Raises InputError where there are none, where train holds anything beside good, for a root of many categories (name
    one), and for a broken layout, whose defects would else be learnt as good.
    """
    if is_category(data):
        train = data / "train"
        _check_only_good(train)
        return _some(_images(train / "good", root=data), data)
    if many := categories(data):
        names = _listed(folder.name for folder in many)
        raise InputError(f"{printable(data)}: holds several categories, choose one of them: {names}")
    if os.path.isdir(data / "train"):
        raise InputError(f"{printable(data)}: no train/good ({EXPECTED})")
    found = find_images(data)
    depth = len(data.parts)
    if any(LAYOUT & set(path.parts[depth:-1]) for path in found):
        raise InputError(f"{printable(data)}: no train/good, and not a plain folder of good images ({EXPECTED})")
    return found


def held_out_images(data: Path) -> list[Path]:
    """Return the good images that a category keeps apart from training, in validation/good; an empty list if none.

    Raises InputError as find_images does, and where validation holds anything beside good.
    """
    validation = data / "validation"
    if not (is_category(data) and os.path.isdir(validation)):
        return []
    _check_only_good(validation)
    return _some(_images(validation / "good", root=data), validation)


def read_category(folder: Path) -> list[Sample]:
    """Return all samples of one category, train first; masks belong to images by name, never by order.

    Raises InputError as good_images and test_samples do.
    """
    if not is_category(folder):
        raise InputError(f"{printable(folder)}: no train/good ({EXPECTED})")
    train = [Sample(path, "good", None, "train", _category(folder)) for path in good_images(folder)]
    return train + _test(folder)


def test_samples(data: Path) -> list[Sample]:
    """Return the test samples of one category, or of every category of a root; good images have no mask.

    Raises InputError where there are none, and one line that lists every defect without a mask, every mask without an
    image and every mask whose size is not its image's.
    """
    folders = [data] if os.path.isdir(data / "test") else categories(data)
    samples = [sample for folder in folders for sample in _test(folder)]
    if not samples:
        raise InputError(f"no test images found in {printable(data)} (expected <root>/<class>/test/<type>)")
    return samples


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of each file's bytes, in hexadecimal; raises InputError for a file that cannot be read."""
    return [_file_fingerprint(path) for path in paths]


def array_fingerprint(image: NDArray[np.uint8]) -> str:
    """Return the sha256 of an image's shape and pixels, in hexadecimal: what fingerprints is to files."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def hold_out(hashes: Sequence[str], *, share: float, least: int) -> list[int]:
    """Return the ascending indices of the images to hold out of training, chosen by content alone.

    hashes: one per image, equal where the content is equal; equal images are never parted. Of the n different ones the
    max(least, round(share n)) with the smallest sha256 of their salted hash are held out: order and names do not
    matter, and one more image changes at most one choice beside its own. share is in [0, 1).
    Raises InputError if nothing would be left to train on.
    """
    if not 0 <= share < 1:
        raise InputError(f"share held out: {share} not allowed (allowed: 0 <= share < 1)")
    ranked = sorted(set(hashes), key=lambda text: hashlib.sha256(f"blemish hold-out {text}".encode()).digest())
    count = max(least, round(share * len(ranked)))
    if len(ranked) <= count:
        raise InputError(f"need >= {count + 1} training images of different content, found {len(ranked)}")
    held = set(ranked[:count])
    return [index for index, text in enumerate(hashes) if text in held]


def split_good(hashes: Sequence[str], *, apart: int) -> tuple[list[int], list[int]]:
    """Return the indices of the images to train on, and of those held out to set the threshold.

    The last `apart` images are those that the user holds out; if there are none, a share of all is, chosen by content.
    A copy among the held-out images is no further evidence, and a copy of an image that trains is none at all.
    Raises InputError where too few are left.
    """
    count = len(hashes) - apart
    held = list(range(count, len(hashes))) if apart else hold_out(hashes, share=HELD_OUT, least=LEAST_HELD_OUT)
    train = sorted(set(range(count)) - set(held))
    first = {text: index for index, text in reversed(list(enumerate(hashes)))}
    held = [index for index in held if first[hashes[index]] == index]
    if len(train) < LEAST_TRAIN:
        least = LEAST_TRAIN + (0 if apart else LEAST_HELD_OUT)
        raise InputError(f"need >= {least} images of good parts, found {count}")
    if len(held) < LEAST_HELD_OUT:
        raise InputError(
            f"need >= {LEAST_HELD_OUT} held-out images, unlike each other and those that train, found {len(held)}"
        )
    return train, held


def _test(folder: Path) -> list[Sample]:
    """Return the test samples of one category, or raise one line with all that is wrong with its masks."""
    test, truth = folder / "test", folder / "ground_truth"
    truths = _images(truth, root=folder) if os.path.isdir(truth) else []
    masks = {_key(path, truth): path for path in truths}
    samples, claimed = [], set[Path]()
    loose, missing, unlike = list[Path](), list[Path](), list[str]()
    for path in _images(test, root=folder) if os.path.isdir(test) else []:
        relative, key = path.relative_to(test), _key(path, test)
        label = normalize("NFC", relative.parts[0])
        mask = masks.get(f"{key}_mask", masks.get(key))
        if len(relative.parts) == 1:
            loose.append(relative)
        elif label == "good":
            samples.append(Sample(path, "good", None, "test", _category(folder)))
        elif mask is None or mask in claimed:
            missing.append(relative)
        else:
            samples.append(Sample(path, label, mask, "test", _category(folder)))
            unlike += _unlike(mask, path, name=relative)
        claimed.update([mask] if mask else [])
    stray = [path.relative_to(truth) for path in truths if path not in claimed]
    faults: dict[str, Sequence[str | Path]] = {
        "in test but in no type's folder": loose,
        "images without a mask of their own": missing,
        "masks without an image": stray,
        "masks of another size than the image": unlike,
    }
    if any(faults.values()):
        text = "; ".join(f"{len(names)} {fault}: {_listed(names)}" for fault, names in faults.items() if names)
        raise InputError(f"{printable(folder)}: {text} (expected ground_truth/<type>/NAME_mask.png or NAME.png)")
    return samples


def _check_only_good(folder: Path) -> None:
    if others := sorted(entry.name for entry in _entries(folder) if entry.name != "good" and _is_data(entry)):
        raise InputError(f"{printable(folder)}: {folder.name} must hold only good images: found {_listed(others)}")


def _some(found: list[Path], folder: Path) -> list[Path]:
    if not found:
        raise InputError(f"no images found in {printable(folder)} (allowed: {' '.join(SUFFIXES)})")
    return found


def _unlike(mask: Path, image: Path, *, name: Path) -> list[str]:
    """Return nothing if mask and image are of one size, else how they differ."""
    (mask_height, mask_width), (height, width) = image_size(mask), image_size(image)
    if (mask_height, mask_width) == (height, width):
        return []
    return [f"{name} (mask {mask_width}x{mask_height} vs image {width}x{height})"]


def _key(path: Path, folder: Path) -> str:
    """Return what an image and its mask have in common; accents may be written in two ways on two systems."""
    return normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())


def _category(folder: Path) -> str:
    return normalize("NFC", os.path.basename(os.path.abspath(folder)))


def _listed(names: Iterable[str | Path]) -> str:
    return ", ".join(printable(name) for name in names)


def _images(folder: Path, *, root: Path) -> list[Path]:
    """Return the images under a folder, sorted by path; nothing may lie outside of the root."""
    top = _real(root)
    _check_inside(folder, top)
    found, pending = [], [folder]
    while pending:
        for entry in _entries(pending.pop()):
            if entry.is_symlink():
                _check_link(entry, top)
            if entry.is_dir():
                pending.append(Path(entry.path))
            elif _is_data(entry):
                found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield what a folder holds, but for hidden files and folders; in no order, and one at a time."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except FileNotFoundError:
        raise InputError(f"no such folder: {printable(folder)}") from None
    except NotADirectoryError:
        raise InputError(f"{printable(folder)}: not a folder") from None
    except PermissionError:
        raise InputError(f"permission denied: {printable(folder)}") from None
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be read ({error.strerror})") from error


def _is_data(entry: "os.DirEntry[str]") -> bool:
    """Tell whether something in a folder is an image or a folder, and not another file, a pipe or a device."""
    return entry.is_dir() or (entry.name.lower().endswith(SUFFIXES) and entry.is_file())


def _check_link(entry: "os.DirEntry[str]", top: str) -> None:
    if not os.path.exists(entry.path):
        raise InputError(f"{printable(entry.path)}: dangling link")
    _check_inside(entry.path, top)
    if entry.is_dir():
        raise InputError(f"{printable(entry.path)}: link to a folder not followed (allowed: links to files)")


def _check_inside(path: str | Path, top: str) -> None:
    if os.path.commonpath([_real(path), top]) != top:
        raise InputError(f"{printable(path)}: path escapes dataset root {printable(top)}")


def _real(path: str | Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{printable(path)}: cannot be read ({error})") from error


def _file_fingerprint(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
