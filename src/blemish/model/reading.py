"""What a fit is made from: good images read once, parted into those that train and those held out, and what is said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.holdout import Split, count_units, split_good
from blemish.data.layouts.labels import Labels
from blemish.data.records import DataPart
from blemish.data.sources import Images, Source, check_no_masks, data_sets, good_sources, names_of, singles, sources
from blemish.data.together.groups import Grouping, Groups, find_groups
from blemish.data.together.twins import Pair, find_twins, look
from blemish.errors import printable
from blemish.images.roi import RoiPart
from blemish.method.fitting import Other
from blemish.method.pyramid import Pyramid, read_known
from blemish.model.header import ScoredPart


@dataclass(frozen=True, slots=True)
class Material:
    """The images of a fit: what tells them again, those that train, and those held out, both as pyramids.

    scored: what the held-out images are called; then, where these are few, for each set of others in `others` what it
    scores of those that train. sources: where all these are, in this order; trained:
    name and place of each image that trains. count: how many of them, or of their
    groups, a promise is made by. run: what decides which modules a workspace keeps: the sha256 of those that train, in
    the order in which batches are drawn from them, and with others those held out. remarks: what to say of twins,
    groups and few images.
    """

    data: DataPart
    train: Pyramid
    held_out: Pyramid
    scored: list[list[ScoredPart]]
    others: list[Other]
    sources: list[Source]
    trained: list[tuple[str, Source]]
    count: int
    run: list[str]
    remarks: list[str]


def read_material(
    images: Images,
    held_out: Images | None,
    sizes: Sequence[int],
    *,
    bits: int,
    labels: Labels,
    groups: Groups | Grouping,
    roi: RoiPart | None = None,
    masks: Sequence[Path] = (),
) -> Material:
    """Return what a fit is made from; arguments and errors are those of `Detector.fit`.

    roi: the region of interest, whose aspect images must have; masks: its files, none of which may be an image.
    """
    items, more = singles(images), singles(held_out) if held_out is not None else []
    given, apart = good_sources(items, labels=labels)
    if held_out is not None:
        apart = sources(more)
    every = [*given, *apart]
    if not isinstance(groups, Grouping):
        groups = find_groups(every, given=data_sets([*items, *more]), groups=groups)
    check_no_masks(every, masks)
    known, pyramid = read_known(every, sizes, bits=bits, roi=roi)
    hashes, names, twins = [image.sha256 for image in known], names_of(every, known), find_twins(known, _looks(pyramid))
    split = split_good(hashes, apart=len(apart), twins=twins, groups=groups.names if groups else None)
    train, held = ([known[index] for index in part] for part in (split.train, split.held_out))
    scored = [(split.held_out, split.groups), *((fold.scored, fold.groups) for fold in split.folds)]
    place = {index: position for position, index in enumerate(split.train)}
    good = {size: batch[split.held_out] for size, batch in pyramid.items()}
    order, apart_too = ([part.sha256 for part in side] for side in (train, held))
    return Material(
        data=DataPart(train=train, held_out=held, told_by="pixels"),
        train={size: pyramid.pop(size)[split.train] for size in sizes},  # never two copies of all sizes
        held_out=good,
        scored=[
            [
                ScoredPart(name=names[one], sha256=hashes[one], score=0.0, group=group)
                for one, group in zip(*part, strict=True)
            ]
            for part in scored
        ],
        others=[
            Other([place[one] for one in fold.scored], [place[one] for one in fold.learnt]) for fold in split.folds
        ],
        sources=[every[one] for part, _ in scored for one in part],
        trained=[(names[one], every[one]) for one in split.train],
        count=sum(count_units(called) for _, called in scored),
        run=[*order, "others", *apart_too, *_learnt(split, hashes)] if split.folds else order,
        remarks=_remarks(split, twins, names, groups),
    )


def _learnt(split: Split, hashes: Sequence[str]) -> list[str]:
    """Return what each other set of students learns: folds of other groups must not continue these."""
    return [text for fold in split.folds for text in ("fold", *(hashes[index] for index in fold.learnt))]


def _looks(pyramid: Pyramid) -> NDArray[np.uint8]:
    """Return the look of each image that twins are told by, from the smallest of its sizes."""
    images = pyramid[min(pyramid)].permute(0, 2, 3, 1).numpy()
    return np.stack([look(image) for image in images])


def _remarks(split: Split, twins: Sequence[Pair], names: Sequence[str], grouping: Grouping | None) -> list[str]:
    lines = []
    if twins:
        count, (one, other) = len({later for _, later in twins}), twins[0]
        which = "1 image has a twin" if count == 1 else f"{count} images have a twin"
        example = f"such as {printable(names[one])} and {printable(names[other])}"
        lines.append(f"{which} (one photograph saved twice): kept together, counted once, {example}")
    if split.beside:
        lines.append(f"held out, but not counted: {split.beside} that train too, as a copy, a twin or in their group")
    if grouping:
        held = f"{split.units} groups, {split.count} held out"
        lines.append(f"{grouping.by}: {held}; the promise is about a new group")
    if split.folds:
        what = "groups" if grouping else "images"
        lines.append(f"{split.count} {what} held out are few: other students, dropped then, score those that train")
    return lines
