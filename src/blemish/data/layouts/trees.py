"""Folders whose tree says what every image is: MVTec AD, MVTec LOCO, MVTec AD 2, BTAD, and good/ + bad/ + masks/.

Each reader takes a category's folder and the splits that are wanted, and returns the samples, in the order of the
splits and sorted by path, with a line for everything that is wrong. It raises InputError only for a folder or a link
that cannot be followed.

A defect and its masks belong together by name: below the folder of the masks lies, in a folder of the same name as the
image's, NAME_mask.png, or NAME.png, or NAME with another word for a mask, or a folder NAME that holds one or several
masks. No mask serves two images.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from unicodedata import normalize

from blemish.data.holdout import hold_out, pixel_fingerprints
from blemish.data.listing import entries, folder_name, is_data, is_folder, list_images, listed, none_found
from blemish.data.samples import SPLITS, Sample, Split, fault_lines, masks_beside, size_problems
from blemish.data.words import LABEL_FOLDERS, by_meaning, good_folder, masked, meaning, spelt
from blemish.errors import InputError

TESTED = 0.2  # share of a plain folder's good images that serve the test and train nothing

Reading = tuple[list[Sample], list[str]]


def read_mvtec(folder: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read a category in the layout of MVTec AD or MVTec LOCO.

    train/good, test/<type> with test/good, ground_truth/<type>, and validation/good if there is one.
    Source: Bergmann et al., CVPR 2019 and IJCV 2022.
    """
    return _read(folder, splits, good="good", test="test", truth="ground_truth")


def read_mvtec_ad2(folder: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read a category in the layout of MVTec AD 2; its private test images have no truth and are not read.

    train/good, validation/good, test_public/good, test_public/bad, test_public/ground_truth/bad.
    Source: Heckler-Kram et al., arXiv 2503.21622.
    """
    return _read(folder, splits, good="good", test="test_public", truth="test_public/ground_truth")


def read_btad(folder: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read a category in the layout of BTAD, where good images are called ok.

    train/ok, test/ok, test/ko, ground_truth/ko. Source: Mishra et al., arXiv 2104.10036.
    """
    return _read(folder, splits, good="ok", test="test", truth="ground_truth")


def read_plain(folder: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read good/, bad/ and masks/, which mirrors bad/; what lies in bad/<type> is of that type, else of type bad.

    The folders may have any names that say so: OK and NG, normal, abnormal and mask (`plain_folders`).
    A fifth of the good images serve the test: those that hold_out chooses by their content, at least one.
    """
    if not {"train", "test"}.intersection(splits):
        return [], []
    names = plain_folders(folder) or ("good", "bad", "masks")
    good = list_images(folder / names[0], root=folder)
    problems = [] if good else [none_found(names[0])]
    problems += _defects_among(good, folder / names[0])
    tested: set[int] = set()
    try:
        tested.update(hold_out(pixel_fingerprints(good), share=TESTED, least=1) if good else [])
    except InputError as error:
        problems.append(f"{names[0]}: {error}")
    samples: list[Sample] = []
    if "train" in splits:
        paths = [path for index, path in enumerate(good) if index not in tested]
        samples += [Sample(path, "good", (), "train", folder_name(folder)) for path in paths]
    if "test" in splits:
        found, wrong = _tested(folder, test=names[1], truth=names[2], goods=(), loose=names[1])
        problems += wrong
        samples += found + [Sample(good[index], "good", (), "test", folder_name(folder)) for index in sorted(tested)]
    return samples, problems


def plain_folders(folder: Path) -> tuple[str, str, str] | None:
    """Return what a folder's sub-folders of good parts, of defects and of masks are called.

    None unless just one name says good and just one bad (`words.meaning`), and no other is there but good and bad
    themselves: what else there is could be anything. Masks need not be there.
    """
    said = by_meaning(folder)
    good, bad, masks = (said.get(kind, []) for kind in ("good", "bad", "masks"))
    masks = masks if len(masks) == 1 else ["masks"]
    if "good" in good and "bad" in bad:
        return "good", "bad", masks[0]
    others = [name for name in said.get("", []) if name.casefold() not in LABEL_FOLDERS]
    alone = not others and not said.get("unclear")
    return (good[0], bad[0], masks[0]) if len(good) == len(bad) == 1 and alone else None


def pair_masks(
    images: Sequence[Path], masks: Sequence[Path], *, test: Path, truth: Path
) -> dict[Path, tuple[Path, ...]]:
    """Return the masks of each image, none if it has none of its own; the rules are those of this module.

    images lie below the folder `test`, masks below `truth`; of two images of one name the first has the mask.
    """
    named = {_key(path, truth): path for path in masks}
    tailed = {_name(path.with_name(name), truth): path for path in masks if (name := masked(path.stem))}
    owned: dict[Path, tuple[Path, ...]] = {}
    claimed: set[Path] = set()
    for image in images:
        key = _key(image, test)
        mask = named.get(f"{key}_mask", named.get(key, tailed.get(key)))
        owned[image] = (mask,) if mask and mask not in claimed else ()
        claimed.update([mask] if mask else [])
    inside: dict[str, list[Path]] = {}
    for path in masks:
        if path not in claimed:
            inside.setdefault(_name(path.parent, truth), []).append(path)
    # Where images lie in a folder, their masks lie in one of that name: what is left there is nobody's.
    for shared in {_name(image.parent, test) for image in images}:
        inside.pop(shared, None)
    for image in images:
        owned[image] = owned[image] or tuple(inside.pop(_key(image, test), ()))
    return owned


def _read(folder: Path, splits: Collection[Split], *, good: str, test: str, truth: str) -> Reading:
    samples: list[Sample] = []
    problems: list[str] = []
    test, truth = spelt(folder, test), spelt(folder, truth)
    if "train" in splits:
        samples, problems = _learnt(folder, "train", good=good)
    if "validation" in splits and is_folder(folder / spelt(folder, "validation")):
        found, wrong = _learnt(folder, "validation", good=good)
        samples, problems = samples + found, problems + wrong
    if "test" in splits:
        found, wrong = _tested(folder, test=test, truth=truth, goods=(good, "good"), loose=None)
        samples, problems = samples + found, problems + wrong
    return samples, problems


def _learnt(folder: Path, split: Split, *, good: str) -> Reading:
    """Read the split's folder of good images, beside which there may be no others."""
    place = folder / spelt(folder, split)
    if not is_folder(place / (good := good_folder(place, good))):
        return [], [f"no {split}/{good} (expected <root>/<class>/{split}/{good})"]
    found = list_images(place / good, root=folder)
    others = sorted(entry.name for entry in entries(place) if entry.name != good and is_data(entry))
    problems = [] if found else [none_found(f"{split}/{good}")]
    problems += fault_lines({f"masks in {split}/{good}": [path.name for path in masks_beside(found)]})
    problems += _defects_among(found, place / good)
    if others:
        problems.append(f"{split} must hold only good images: found {listed(others)}")
    return [Sample(path, "good", (), split, folder_name(folder)) for path in found], problems


def _tested(folder: Path, *, test: str, truth: str, goods: Collection[str], loose: str | None) -> Reading:
    """Read the test images and their masks.

    goods: the sub-folders that hold good images; loose: the type of images in no sub-folder, None if that is wrong.
    """
    top, top_truth = folder / test, folder / truth
    masks = list_images(top_truth, root=folder) if is_folder(top_truth) else []
    images, misplaced = _without_masks(list_images(top, root=folder) if is_folder(top) else [], top, top_truth)
    owned = pair_masks(images, masks, test=top, truth=top_truth)
    samples: list[Sample] = []
    astray, misnamed = [], []
    for path in images:
        parts = path.relative_to(top).parts
        label = loose if len(parts) == 1 else normalize("NFC", parts[0])
        name = str(path.relative_to(top))
        if label is None:
            astray.append(name)
        elif label in goods or (goods and meaning(label) == "good"):
            samples.append(Sample(path, "good", (), "test", folder_name(folder)))
        elif label == "good":
            misnamed.append(name)
        else:
            samples.append(Sample(path, label, owned[path], "test", folder_name(folder)))
    claimed = {mask for own in owned.values() for mask in own}
    stray = [str(mask.relative_to(top_truth)) for mask in masks if mask not in claimed]
    # A published data set has a mask for each defect; other people have as many as they have drawn, of the right names.
    needed = stray if loose else is_folder(top_truth)
    missing = [str(one.path.relative_to(top)) for one in samples if needed and not one.has_truth]
    faults = {
        f"in {test} but in no type's folder": astray,
        f"in {test}, in a folder named good": misnamed,
        f"masks in {test} (expected in {truth})": misplaced,
        "images without a mask of their own": missing,
        "masks without an image": stray,
    }
    problems = fault_lines(faults)
    if missing or stray:
        place = f"{truth}/{'[<type>/]' if loose else '<type>/'}"
        problems[-1] += f" (expected {place}NAME_mask.png, NAME.png or NAME/*.png)"
    return samples, problems + size_problems(samples, root=top)


def _defects_among(found: Sequence[Path], good: Path) -> list[str]:
    """Return what is wrong with good images that lie in folders of defects or masks, of whatever depth."""
    names = [path.relative_to(good) for path in found]
    strange = [str(name) for name in names if any(meaning(part) in ("bad", "masks") for part in name.parts[:-1])]
    return fault_lines({f"in {good.name}, but in a folder of defects or masks": strange})


def _without_masks(found: Sequence[Path], top: Path, top_truth: Path) -> tuple[list[Path], list[str]]:
    """Return the images below a folder, without masks in their own folder, and the names of masks among the images."""
    images = [path for path in found if not path.is_relative_to(top_truth)]
    beside = set(masks_beside(images))
    masks = [path for path in images if path in beside or meaning(path.relative_to(top).parts[0]) == "masks"]
    return [path for path in images if path not in set(masks)], [str(path.relative_to(top)) for path in masks]


def _key(path: Path, folder: Path) -> str:
    """Return what an image and its mask have in common."""
    return _name(path.with_suffix(""), folder)


def _name(path: Path, folder: Path) -> str:
    """Return a path below a folder; accents may be written in two ways on two systems."""
    return normalize("NFC", path.relative_to(folder).as_posix())
