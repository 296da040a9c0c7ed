"""Folders with the files of a labelling tool: found, read, and made samples of.

Where folders say what is good, they decide, and labels are the truth of the defects without mask files; elsewhere the
labels decide.
"""

import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blemish.data.layouts.coco import is_coco, read_coco
from blemish.data.layouts.cvat import is_cvat, read_cvat
from blemish.data.layouts.flat import read_flat
from blemish.data.layouts.labelme import is_labelme, read_labelme
from blemish.data.layouts.labels import Labels, many, outlines, unknown_pixels
from blemish.data.layouts.places import PICTURES, Places
from blemish.data.layouts.shapes import Drawings, Shape
from blemish.data.layouts.trees import Reading
from blemish.data.listing import Entry, entries, folder_name, is_folder, list_files
from blemish.data.samples import Sample, Split, fault_lines, size_problems
from blemish.data.words import LABEL_FOLDERS
from blemish.errors import InputError, printable

NO_LABELS = "no labels of a labelling tool are found here (docs/datasets.md says which are read, and where)"
ITS_OWN = {"train", "valid", "val", "test"}  # some tools leave a label file in each of these

Tree = Callable[[Path, Collection[Split]], Reading]
ReadFile = Callable[[Path, Drawings], None]


def is_label_file(data: Path) -> bool:
    """Tell whether a path is that of COCO's JSON or CVAT's XML: its name ends so, and it is no folder."""
    return data.suffix.lower() in (".json", ".xml") and not is_folder(data)


def label_root(file: Path) -> Path:
    """Return the folder below which the images of a label file lie: its own, or that above annotations/ or labels/."""
    if folder_name(file.parent).casefold() not in LABEL_FOLDERS:
        return file.parent
    return file.parent.parent if file.parent.name else file.parent / ".."


def label_files(folder: Path) -> list[Path]:
    """Return the label files that speak of a whole folder: those of CVAT and of COCO at its top or below.

    Below are annotations/, labels/ and the like, train/, valid/, val/ and test/. Raises InputError as `entries` does.
    """
    if not is_folder(folder):
        return []
    found = []
    for place in [folder, *(Path(entry.path) for entry in entries(folder) if _may_hold_labels(entry))]:
        for entry in entries(place):
            looks = {".json": is_coco, ".xml": is_cvat}.get(os.path.splitext(entry.name)[1].casefold())
            if looks and entry.is_file() and looks(Path(entry.path)):
                found.append(Path(entry.path))
    return sorted(found, key=Path.as_posix)


def has_labelme(folder: Path) -> bool:
    """Tell whether a folder holds a label file for each of some images, at any depth."""
    return any(map(is_labelme, _json_files(folder)))


def unread_labels(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Return files below a folder, and label files beside it, that seem to say of its images what is not read here.

    They are XML and JSON of labels, and texts called as images are, as YOLO has them.
    """
    stems = {path.stem for path in images}
    found = list_files(folder, root=folder, suffixes=(".xml", ".json", ".txt"))
    below = [path for path in found if (path.stem in stems if path.suffix.lower() == ".txt" else _says_labels(path))]
    above = Path(os.path.abspath(folder)).parent
    return below or (label_files(above) if folder_name(folder).casefold() == PICTURES else [])


def _says_labels(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as stream:
        head = stream.read(1 << 16)
        return any(sign in head for sign in (b"<annotation", b'"annotations"', b'"shapes"', b'"bbox"'))
    return False


def read_labelled(data: Path, splits: Collection[Split], *, labels: Labels, tree: tuple[Path, Tree] | None) -> Reading:
    """Read a folder and its label files, or a label file and the folder of its images.

    tree: what reads the layout of the folders, and the folder that has it; None where folders do not say what is good.
    Raises InputError for a label file that is none.
    """
    root = label_root(data) if is_label_file(data) else data
    readers = _readers(data, root)
    if tree is not None and not readers:
        return tree[1](tree[0], splits) if not labels.defects else ([], [NO_LABELS])
    drawings = Drawings(Places(root))
    for file, read in readers:
        read(file, drawings)
    problems = list(drawings.problems)
    try:
        labels.check_known(drawings.classes)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        return [], problems
    if tree is None:
        return read_flat(drawings, labels, splits)
    samples, problems = tree[1](tree[0], splits)
    samples = [replace(sample, category=folder_name(root)) for sample in samples]
    samples, wrong = _with_truth(samples, drawings, labels)
    return samples, problems + wrong


def _with_truth(samples: list[Sample], drawings: Drawings, labels: Labels) -> Reading:
    """Return samples of folders with the truth that labels have for them, and where the two contradict each other."""
    masked = any(sample.mask_paths for sample in samples)
    good, bad, both = [], [], []
    found: list[Sample] = []
    unknown: list[list[Shape]] = []
    unused = 0
    for sample in samples:
        label, shapes = labels.drawn(drawings.shapes.get(sample.path, ()))
        name = drawings.places.name(sample.path)
        truth = None
        if sample.label == "good":
            good += [f"{name} ({label})"] if shapes else []
        elif label == "good":
            bad.append(name)
        elif sample.mask_paths:
            both += [name] if shapes else []
        elif masked:
            unused += bool(shapes)
        else:
            truth = outlines(sample.path, shapes, drawings)
            unknown.append(shapes)
        found.append(replace(sample, outlines=truth) if truth else sample)
    notes = unknown_pixels(unknown)
    if unused:
        notes.append(f"{many(unused, 'defect')} with a label but no mask: labels are not used where there are masks")
    for line in notes:
        labels.say(line)
    faults = {
        "images in a folder of good parts, but labelled as defects": good,
        "images in a folder of defects, but labelled as good": bad,
        "images with a mask and a label, of which one must go": both,
    }
    return found, fault_lines(faults) + size_problems([one for one in found if one.outlines], root=drawings.places.root)


def _readers(data: Path, root: Path) -> list[tuple[Path, ReadFile]]:
    """Return the label files to read, each with what reads it; raises InputError for those of two tools."""
    if is_label_file(data):
        place = data if data.is_relative_to(root) else root / folder_name(data.parent) / data.name  # from within
        return [(place, read_cvat if data.suffix.lower() == ".xml" else read_coco)]
    found: list[tuple[Path, ReadFile]] = [
        (file, read_cvat if file.suffix.lower() == ".xml" else read_coco) for file in label_files(root)
    ]
    known = {file for file, _ in found}
    found += [(file, read_labelme) for file in _labelme_files(root) if file not in known]
    tools: dict[ReadFile, Path] = {}
    for file, read in found:
        tools.setdefault(read, file)
    if len(tools) > 1:
        names = ", ".join(printable(file.relative_to(root)) for file in tools.values())
        raise InputError(f"{printable(root)}: label files of several tools: {names} (allowed: of one)")
    return found


def _labelme_files(root: Path) -> list[Path]:
    files = _json_files(root)
    found = {file for file in files if is_labelme(file)}
    return [file for file in files if file in found or (found and not file.stat().st_size)]  # empty: to be refused


def _json_files(root: Path) -> list[Path]:
    return list_files(root, root=root, suffixes=(".json",)) if is_folder(root) else []


def _may_hold_labels(entry: Entry) -> bool:
    return entry.name.casefold() in LABEL_FOLDERS | ITS_OWN and entry.is_dir() and not entry.is_symlink()
