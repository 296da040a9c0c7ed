"""From what a user gives to samples: a category in one of many layouts, a root of categories, a manifest, good images.

The layouts are recognised by their folders; what they are, and what is read of them, is in docs/datasets.md.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from blemish.data.layouts.labelled import (
    NO_LABELS,
    Tree,
    has_labelme,
    is_label_file,
    label_files,
    label_root,
    read_labelled,
    unread_labels,
)
from blemish.data.layouts.labels import Labels
from blemish.data.layouts.manifest import named_files, read_manifest, read_visa, visa_split
from blemish.data.layouts.places import PICTURES
from blemish.data.layouts.trees import plain_folders, read_btad, read_mvtec, read_mvtec_ad2, read_plain
from blemish.data.listing import (
    check_link,
    entries,
    find_images,
    first_of,
    folder_name,
    is_folder,
    list_images,
    listed,
    none_found,
    real_path,
    table_root,
)
from blemish.data.samples import SPLITS, Sample, Split, masks_beside
from blemish.data.words import by_meaning, good_folder, meaning, spelt
from blemish.errors import InputError, printable

EXPECTED = "expected <root>/<class>/train/good"
# Folders of a category. Where one of them is seen, images are not all good, and the folder is no root of categories.
PARTS = {"train", "test", "test_public", "ground_truth"}
AS_THEY_ARE = Labels()


def read_samples(data: Path, *, labels: Labels = AS_THEY_ARE) -> list[Sample]:
    """Return all samples of a category, of every category of a root, or of a manifest: train, validation, test.

    Of a plain folder of good images all are train. labels: how those of labelling tools are taken, here and in all
    functions below. Raises InputError with one line that lists all that is wrong with the data set: see
    docs/datasets.md.
    """
    if _reader(data, labels) or categories(data):
        return _read(data, *SPLITS, labels=labels)
    return [Sample(path, "good", (), "train", folder_name(data)) for path in good_images(data, labels=labels)]


def good_images(data: Path, *, labels: Labels = AS_THEY_ARE) -> list[Path]:
    """Return the good images to learn from: the training images of a category, or all that a plain folder holds.

    Raises InputError where there are none, where train holds anything beside good, for several categories (name one),
    and for a broken layout, whose defects would else be learnt as good.
    """
    if _reader(data, labels):
        samples = _read(data, "train", labels=labels)
        if len(found := sorted({sample.category for sample in samples})) > 1:
            raise InputError(f"{printable(data)}: holds several categories, give each a manifest: {listed(found)}")
        if not samples:
            raise InputError(none_found(data))
        return [sample.path for sample in samples]
    if many := categories(data):
        names = listed(folder.name for folder in many)
        raise InputError(f"{printable(data)}: holds several categories, choose one of them: {names}")
    if _has(data, "train"):
        raise InputError(f"{printable(data)}: no train/good ({EXPECTED})")
    images = find_images(data)
    if labels.defects or labels.unlabelled:
        raise InputError(f"{printable(data)}: {NO_LABELS}")
    depth = len(data.parts)
    inside = {name for path in images for name in path.parts[depth:-1]}
    if any(name.casefold() in PARTS or meaning(name) in ("bad", "masks") for name in inside):
        raise InputError(f"{printable(data)}: {_strangers(data, inside)} ({EXPECTED})")
    _check_all_good(data, images)
    if meaning(folder_name(data)) != "good" and (files := unread_labels(data, images)):
        raise InputError(
            f"{printable(data)}: its images have labels that are not read: {listed(files)}; "
            "give a folder of good images, or labels as docs/datasets.md says"
        )
    return images


def _strangers(data: Path, names: set[str]) -> str:
    """Say which of the folders in a folder hold no good parts, and what to give instead."""
    text = "no train/good, and not a plain folder of good images"
    strange = sorted(name for name in names if meaning(name) in ("bad", "masks"))
    others = [name for name in sorted(names - set(strange)) if is_folder(data / name)]
    if not strange or not others:
        return text
    line = f"blemish fit {printable(data / others[0])}"
    return f"{text}: {listed(strange)} beside {listed(others)}; name the folder of the good ones, such as: {line}"


def _check_all_good(data: Path, images: Sequence[Path]) -> None:
    """Raise InputError for a folder whose images cannot all be good: a test folder, or one of masks."""
    beside = sorted({path.parts[len(data.parts)] for path in images if len(path.parts) > len(data.parts) + 1})
    if len(beside) > 1 and (unclear := [name for name in beside if meaning(name) == "unclear"]):
        line = f"blemish fit {printable(data / unclear[0])}"
        raise InputError(
            f"{printable(data)}: of {listed(beside)} some may be defects: the words mean one thing to some and the "
            f"other to others; name the folder of the good ones, such as: {line}"
        )
    if len(beside) > 1 and any(meaning(name) == "good" for name in beside):
        names = listed(name for name in beside if meaning(name) != "good")
        raise InputError(f"{printable(data)}: holds {names} beside its good images; give the folder of the good ones")
    if masks := [path for path in images if path.stem.endswith("_mask")] or masks_beside(images):
        raise InputError(f"{printable(masks[0])}: a mask, not an image of a good part; give a folder of good images")


def together(data: Path, images: Sequence[Path]) -> list[str]:
    """Return what to say of good images that lie in several sub-folders: the name of each, and how many are in it."""
    if not is_folder(data) or is_category(data):
        return []
    counts = Counter(path.relative_to(data).parts[0] for path in images if path.parent != data)
    parts = [f"{count} in {printable(name)}" for name, count in sorted(counts.items())]
    return [f"sub-folders are learnt together: {', '.join(parts)}"] if len(parts) > 1 else []


def held_out_images(data: Path, *, labels: Labels = AS_THEY_ARE) -> list[Path]:
    """Return the good images that a category keeps apart from training, for the threshold; an empty list if none.

    Raises InputError as find_images does, and where validation holds anything beside good.
    """
    if not _reader(data, labels):
        return []
    return [sample.path for sample in _read(data, "validation", labels=labels)]


def manifest_groups(data: Path) -> dict[Path, str]:
    """Return what the column group of a manifest says of its good images, "" where it is empty; none elsewhere."""
    if not is_manifest(data):
        return {}
    return {one.path: one.group for one in _read(data, "train", "validation", labels=AS_THEY_ARE)}


def test_samples(data: Path, *, labels: Labels = AS_THEY_ARE) -> list[Sample]:  # noqa: PT028  # no test
    """Return the test samples of a category, of every category of a root, or of a manifest.

    Raises InputError where there are none, and one line that lists every defect without a mask, every mask without an
    image, every mask whose size is not its image's, and whatever else is wrong.
    """
    if samples := _read(data, "test", labels=labels):
        return samples
    raise InputError(f"no test images found in {printable(data)} (expected <root>/<class>/test/<type>)")


def categories(root: Path) -> list[Path]:
    """Return the sub-folders of a root that are categories, sorted by name; raises InputError as find_images does."""
    top, found = real_path(root), []
    for entry in entries(root):
        if entry.is_symlink():
            check_link(entry, top)
        known = entry.name.casefold() in PARTS or meaning(entry.name) in ("bad", "masks")
        if not known and is_category(Path(entry.path)):
            found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def each_category(root: Path, *, plain: bool = False, labels: Labels = AS_THEY_ARE) -> list[Path]:
    """Return the categories of a root, sorted by name; none for a folder that is one category itself.

    plain: every sub-folder is one, whatever its layout; then InputError for what is a category itself, and where there
    is no sub-folder. Raises InputError as find_images does.
    """
    alone = not is_folder(root) or bool(_reader(root, labels))
    if not plain:
        return [] if alone else categories(root)
    folders = [] if alone else sorted(Path(entry.path) for entry in entries(root) if entry.is_dir())
    if not folders:
        raise InputError(f"{printable(root)}: holds no folder for each category, which --each-folder is for")
    return folders


def is_category(folder: Path) -> bool:
    """Tell whether a folder is one category: it has good images in train or Data/Images, good and bad ones, or labels.

    Labels in a file for each image do not count: they may be those of many categories.
    """
    return _is_trained(folder) or _has(folder, "Data/Images") or bool(plain_folders(folder) or label_files(folder))


def is_manifest(data: Path) -> bool:
    """Tell whether a path is that of a CSV manifest: its name ends in .csv, and it is no folder."""
    return data.suffix.lower() == ".csv" and not is_folder(data)


def is_data_file(path: Path) -> bool:
    """Tell whether a path is that of a file that stands for many images: a CSV manifest, COCO's JSON or CVAT's XML."""
    return is_manifest(path) or is_label_file(path)


def files_beside(data: Path) -> list[Path]:
    """Return the files of a data set that lie outside of the path given.

    They are what a manifest names, the images of a label file, and the table of VisA.
    """
    if is_manifest(data):
        return named_files(data)
    if is_label_file(data):
        root = label_root(data)
        return list_images(root, root=root) if is_folder(root) else []
    return [visa_split(data)] if is_folder(data) else []


def sample_root(data: Path) -> Path:
    """Return the folder below which the samples of a data set lie: the one given, or that of a manifest or labels."""
    if is_label_file(data):
        return label_root(data)
    return table_root(data) if is_manifest(data) else data


def _read(data: Path, *splits: Split, labels: Labels) -> list[Sample]:
    """Return the samples of the splits, or raise one line with all that is wrong with all categories."""
    read = _reader(data, labels)
    readers = [(data, read)] if read else [(folder, _reader(folder, labels)) for folder in categories(data)]
    readings = [(folder, *read(folder, splits)) for folder, read in readers if read]
    wrong = [f"{printable(folder)}: {first_of(problems)}" for folder, _, problems in readings if problems]
    if wrong:
        raise InputError(first_of(wrong))
    return [sample for _, samples, _ in readings for sample in samples]


def _reader(data: Path, labels: Labels) -> Tree | None:
    """Return what reads the layout, None for a root of many or a folder of good images."""
    labels = Labels.checked(labels)
    if is_manifest(data):
        return read_manifest if not labels.defects else lambda *_: ([], [NO_LABELS])
    root = sample_root(data)
    files = [data] if is_label_file(data) else label_files(root)
    if tree := _tree(root, labelled=bool(files)):
        return partial(read_labelled, labels=labels, tree=(root, tree))
    inner = root / spelt(root, PICTURES)
    others = [one for one in categories(root) if one.name != inner.name] if is_folder(root) else []
    if files and (without := [one.name for one in others if not label_files(one)]):
        fault = f"labels of several categories, give each its own: {listed(without)}"
        raise InputError(f"{printable(files[0])}: {fault}")
    if not files and (others or not has_labelme(root)):
        return None
    tree = _tree(inner, labelled=True)
    return partial(read_labelled, labels=labels, tree=(inner, tree) if tree else None)


def _tree(folder: Path, *, labelled: bool) -> Tree | None:
    """Return what reads a tree of folders, None if there is none; test alone is enough, but with labels it needs types.

    labelled: whether there are label files for the folder.
    """
    if _has(folder, "test_public") and not _has(folder, "test"):
        return read_mvtec_ad2
    train = folder / spelt(folder, "train")
    if _has(train, "ok") or (not _is_trained(folder) and _has(folder, "test/ok")):
        return read_mvtec if _has(train, "good") else read_btad
    types = by_meaning(folder / spelt(folder, "test"))
    if _is_trained(folder) or (_has(folder, "test") and (types or not labelled)):
        return read_mvtec
    if _has(folder, "Data/Images"):
        return read_visa
    return read_plain if plain_folders(folder) else None


def _is_trained(folder: Path) -> bool:
    place = folder / spelt(folder, "train")
    return is_folder(place / good_folder(place, "good"))


def _has(folder: Path, place: str) -> bool:
    return is_folder(folder / spelt(folder, place))
