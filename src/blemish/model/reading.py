"""What a fit is made from: good images read once, parted into those that train and those held out, and what is said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from blemish.data.holdout import Split, count_units, split_good
from blemish.data.layouts.labels import Labels
from blemish.data.records import DataPart
from blemish.data.sources import Images, Source, check_no_masks, data_sets, good_sources, names_of, singles, sources
from blemish.data.together.groups import Grouping, Groups, find_groups
from blemish.data.together.twins import Pair, find_twins
from blemish.errors import printable
from blemish.images.roi import Interest, RoiPart, TilesRoi, read_roi
from blemish.images.tiles import Shape, TilesPart
from blemish.method.learning.fitting import Other
from blemish.method.pyramid import Pyramid, draw_tiles, places_of, read_boxes, read_known
from blemish.model.arguments import Arguments
from blemish.model.header import ScoredPart


@dataclass(frozen=True, slots=True)
class Learnt:
    """What students learn, as pyramids: whole images, or tiles of them.

    held_out: of the held-out images; of tiles only where other students learn them. counted: where pixels count in what
    trains, default everywhere. remarks: what to say of tiles.
    """

    train: Pyramid
    held_out: Pyramid
    counted: RoiPart | TilesRoi | None
    others: list[Other]
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.train.values())))


@dataclass(frozen=True, slots=True)
class Material:
    """The images of a fit: what tells them again, what is learnt of them, and where they are.

    tiles: how images are cut, None for not at all; roi: which pixels count, default all; size: what maps are scored at.
    scored: what the held-out images are called; then, where these are few, for each set of others in `learnt.others`
    what it scores of those that train. sources: where all these are, in this order; trained: name and place of each
    image that trains. count: how many of them, or of their groups, a promise is made by. run: what decides which
    modules a workspace keeps: the sha256 of those that train, in the order in which batches are drawn from them, and
    with others those held out. remarks: what to say of tiles, twins, groups and few images.
    """

    data: DataPart
    learnt: Learnt
    tiles: TilesPart | None
    roi: RoiPart | None
    size: int
    scored: list[list[ScoredPart]]
    sources: list[Source]
    trained: list[tuple[str, Source]]
    count: int
    run: list[str]
    remarks: list[str]


def read_material(
    images: Images,
    held_out: Images | None,
    arguments: Arguments,
    *,
    labels: Labels,
    groups: Groups | Grouping,
    interest: Interest,
    carried: Callable[[], int],
) -> Material:
    """Return what a fit is made from; arguments and errors are those of `Detector.fit`.

    carried: returns how many tiles may train.
    """
    items, more = singles(images), singles(held_out) if held_out is not None else []
    given, apart = good_sources(items, labels=labels)
    if held_out is not None:
        apart = sources(more)
    every = [*given, *apart]
    if not isinstance(groups, Grouping):
        groups = find_groups(every, given=data_sets([*items, *more]), groups=groups)
    check_no_masks(every, interest.files)
    tiles = arguments.tiles_of(given)
    size = tiles.reference_size if tiles else arguments.reference_size
    roi = read_roi(interest, side=size)
    sizes = () if tiles else arguments.sizes
    known, looks, shapes, pyramid = read_known(every, sizes, bits=arguments.bits, roi=roi)
    hashes, names, twins = [image.sha256 for image in known], names_of(every, known), find_twins(known, looks)
    split = split_good(hashes, apart=len(apart), twins=twins, groups=groups.names if groups else None)
    train, held = ([known[index] for index in part] for part in (split.train, split.held_out))
    scored = [(split.held_out, split.groups), *((fold.scored, fold.groups) for fold in split.folds)]
    order, apart_too = ([part.sha256 for part in side] for side in (train, held))
    learnt = (
        _of_tiles(every, shapes, split, arguments, tiles=tiles, roi=roi, most=carried())
        if tiles
        else _of_images(pyramid, split, roi=roi)
    )
    return Material(
        data=DataPart(train=train, held_out=held, told_by="pixels"),
        learnt=learnt,
        tiles=tiles,
        roi=roi,
        size=size,
        scored=[_called(part, names, hashes) for part in scored],
        sources=[every[one] for part, _ in scored for one in part],
        trained=[(names[one], every[one]) for one in split.train],
        count=sum(count_units(called) for _, called in scored),
        run=[*order, "others", *apart_too, *_learnt(split, hashes)] if split.folds else order,
        remarks=[*learnt.remarks, *_remarks(split, twins, names, groups)],
    )


def _of_images(pyramid: Pyramid, split: Split, *, roi: RoiPart | None) -> Learnt:
    """Return what students learn of whole images; the pyramid of all of them is used up."""
    place = {index: position for position, index in enumerate(split.train)}
    good = {size: batch[split.held_out] for size, batch in pyramid.items()}
    return Learnt(
        train={size: pyramid.pop(size)[split.train] for size in sorted(pyramid)},  # never two copies of all sizes
        held_out=good,
        counted=roi,
        others=[
            Other([place[one] for one in fold.scored], [place[one] for one in fold.learnt]) for fold in split.folds
        ],
    )


def _of_tiles(
    every: Sequence[Source],
    shapes: Sequence[Shape],
    split: Split,
    arguments: Arguments,
    *,
    tiles: TilesPart,
    roi: RoiPart | None,
    most: int,
) -> Learnt:
    """Return what students learn of tiles: all of those that see a pixel that counts, or as many as are carried."""
    sides, parts = (split.train, split.held_out if split.folds else []), []
    for side in sides:
        some = most * len(side) // len(split.train)  # other students learn about as many tiles as the model's
        own = [shapes[index] for index in side]
        drawn, of = draw_tiles(own, tiles, most=some, seed=arguments.seed, roi=roi)
        batch = read_boxes([every[index] for index in side], drawn, arguments.sizes, bits=arguments.bits)
        parts.append((batch, drawn, of, places_of(own, drawn)))
    (train, drawn, of, there), (held_out, _, _, held_there) = parts
    rows = np.split(np.arange(len(there)), np.cumsum([len(some) for some in drawn])[:-1])
    place = {index: position for position, index in enumerate(split.train)}
    others = []
    for fold in split.folds:
        learnt = np.concatenate([rows[place[one]] for one in fold.learnt]).tolist()
        seen = TilesRoi(roi, [*held_there, *(there[row] for row in learnt)]) if roi else None
        others.append(Other([place[one] for one in fold.scored], learnt, seen))
    count = len(there)
    line = f"{count:,} tiles of {len(split.train)} images train"
    if count < of:
        line = f"{count:,} of {of:,} tiles train: what --cache-gb carries, drawn with seed {arguments.seed}"
    return Learnt(train, held_out, TilesRoi(roi, there) if roi else None, others, [line])


def _called(part: tuple[list[int], list[str]], names: Sequence[str], hashes: Sequence[str]) -> list[ScoredPart]:
    """Return what images are called whose scores are to come; part: their indices, and the group of each."""
    return [
        ScoredPart(name=names[one], sha256=hashes[one], score=0.0, group=group)
        for one, group in zip(*part, strict=True)
    ]


def _learnt(split: Split, hashes: Sequence[str]) -> list[str]:
    """Return what each other set of students learns: folds of other groups must not continue these."""
    return [text for fold in split.folds for text in ("fold", *(hashes[index] for index in fold.learnt))]


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
