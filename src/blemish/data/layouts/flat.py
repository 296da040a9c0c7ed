"""Folders in which labels alone say what an image shows."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from blemish.data.holdout import hold_out, pixel_fingerprints
from blemish.data.layouts.labels import Labels, many, outlines, taken_as_good, unknown_pixels
from blemish.data.layouts.shapes import Drawings, Shape
from blemish.data.layouts.trees import TESTED, Reading
from blemish.data.listing import folder_name, listed
from blemish.data.samples import Sample, Split, masks_beside, size_problems
from blemish.data.words import meaning
from blemish.errors import InputError


@dataclass(slots=True)
class _Sorted:
    """The images of a folder by what is said of them; names are for messages."""

    good: list[Path] = field(default_factory=list)
    defects: list[tuple[Path, str, list[Shape]]] = field(default_factory=list)
    taken: int = 0  # without a label, and good because the user says so
    others: set[str] = field(default_factory=set)  # classes on those, which are no defects because the user says so
    unlabelled: list[str] = field(default_factory=list)
    contrary: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)


def read_flat(drawings: Drawings, labels: Labels, splits: Collection[Split]) -> Reading:
    """Read images whose labels say what they show: a class of defect, a class whose name means good, or nothing.

    An image in a folder whose name means good or bad is that. A fifth of the good images serve the test, as in
    `read_plain`.
    """
    found, root = _sort(drawings, labels), drawings.places.root
    problems = _problems(found)
    if found.taken:
        labels.say(taken_as_good(found.taken, sorted(found.others)))
    if "train" in splits and not found.good and not problems:
        problems.append("no image of a good part: all are labelled as defects")
    if problems or not {"train", "test"}.intersection(splits):
        return [], problems
    tested: set[int] = set()
    try:
        tested.update(hold_out(pixel_fingerprints(found.good), share=TESTED, least=1) if found.good else [])
    except InputError as error:
        problems.append(f"good images: {error}")
    samples: list[Sample] = []
    category = folder_name(root)
    if "train" in splits:
        paths = [path for index, path in enumerate(found.good) if index not in tested]
        samples += [Sample(path, "good", (), "train", category) for path in paths]
    if "test" in splits:
        for path, label, shapes in found.defects:
            samples.append(Sample(path, label, (), "test", category, outlines(path, shapes, drawings)))
        samples += [Sample(found.good[index], "good", (), "test", category) for index in sorted(tested)]
        for line in unknown_pixels(shapes for _, _, shapes in found.defects):
            labels.say(line)
    return samples, problems + size_problems(samples, root=root)


def _sort(drawings: Drawings, labels: Labels) -> _Sorted:
    found, beside = _Sorted(), set(masks_beside(drawings.places.images))
    for path in drawings.places.images:
        name = drawings.places.name(path)
        label, shapes = labels.drawn(drawings.shapes.get(path, ()))
        place = _place(path, drawings)
        if path in beside and not shapes:
            found.masks.append(name)
        elif place == "good" and shapes:
            found.contrary.append(f"{name} (labelled {label})")
        elif place == "bad" and label == "good":
            found.contrary.append(f"{name} (labelled good)")
        elif shapes:
            found.defects.append((path, label, shapes))
        elif place == "bad":
            found.defects.append((path, _type(path, drawings.places.root), []))
        elif "good" in (label, place):
            found.good.append(path)
        elif place == "masks":
            found.masks.append(name)
        elif labels.unlabelled == "good":
            found.good.append(path)
            found.taken += 1
            found.others.update(shape.kind for shape in drawings.shapes.get(path, ()))
        else:
            found.unlabelled.append(name)
    return found


def _place(path: Path, drawings: Drawings) -> str:
    """Return what the nearest folder that says anything says of an image: good, bad, masks, or nothing."""
    root = drawings.places.root
    for folder in path.relative_to(root).parts[-2::-1]:
        said = meaning(folder)
        if said in ("good", "bad") or (said == "masks" and path not in drawings.shapes):
            return said
    return "good" if meaning(folder_name(root)) == "good" else ""


def _type(path: Path, root: Path) -> str:
    """Return the type of a defect without a label: the folder below the one that means bad, else that one."""
    folders = list(path.relative_to(root).parts[:-1])
    nearest = max(index for index, name in enumerate(folders) if meaning(name) == "bad")
    return [*folders[nearest + 1 :], folders[nearest]][0]


def _problems(found: _Sorted) -> list[str]:
    """Return what is wrong with images: a line for each fault, that names some."""
    problems = []
    if names := found.contrary:
        problems.append(f"{many(len(names))} whose folder and label contradict each other: {listed(names)}")
    if names := found.masks:
        problems.append(f"{many(len(names), 'mask')} among the images: {listed(names)}")
    if names := found.unlabelled:
        ways = "put good ones into a folder named good, or pass --unlabelled good"
        which = f"{many(len(names))} without a label, which makes none of them good"
        problems.append(f"{which}: {listed(names)} ({ways})")
    return problems
