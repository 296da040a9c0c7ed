"""From images of good parts to a model: read, hold out, train, calibrate."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.data.datasets import AS_THEY_ARE
from blemish.data.holdout import Split, split_good
from blemish.data.layouts.labels import Labels
from blemish.data.records import DataPart
from blemish.data.sources import Images, Source, data_sets, good_sources, names_of, singles, sources
from blemish.data.together.groups import Grouping, Groups, find_groups
from blemish.data.together.twins import Pair, find_twins, look
from blemish.errors import printable
from blemish.method.features import check_cache, half_sizes
from blemish.method.fitting import fit_modules
from blemish.method.networks import move_to
from blemish.method.pretrained import load_teacher
from blemish.method.progress import Report
from blemish.method.pyramid import Pyramid, read_known
from blemish.method.scoring import Module, score_pyramid, set_weights
from blemish.method.teacher import Teacher, pick_device
from blemish.method.training import Recipe, find_recipe
from blemish.model.arguments import Arguments
from blemish.model.assembly import preprocessing
from blemish.model.calibration import calibrate
from blemish.model.file import libraries
from blemish.model.header import Header, ModulePart, ScoredPart, TeacherPart
from blemish.model.model import Model
from blemish.storage.files import make_folder
from blemish.verdict.threshold import Budget, thresholds
from blemish.version import __version__

Say = Callable[[str], None]  # a line for the user


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, the held-out images in its order, and the folder in the workspace that keeps its modules, if any."""

    model: Model
    held_out: list[Source]
    run_folder: Path | None


def fit(
    arguments: Arguments,
    images: Images,
    *,
    held_out: Images | None,
    workspace: Path | None,
    report: Report | None,
    cache_gb: float,
    labels: Labels = AS_THEY_ARE,
    wanted: Budget | None = None,
    groups: Groups | Grouping = None,
    say: Say = silent,
) -> Fitted:
    """Return a model of images of good parts; arguments and errors are those of `Detector` and `Detector.fit`.

    say: called, before training, with each line on what belongs together.
    """
    check_cache(cache_gb)
    given = arguments.checked()
    recipe, device = find_recipe(given.recipe), pick_device(given.device)
    teacher = load_teacher(given.teacher, given.weights)
    move_to(teacher, device)
    read = _read(images, held_out, given.sizes, bits=given.bits, labels=labels, groups=groups)
    for line in read.remarks:
        say(line)
    thresholds(range(read.count), wanted)  # a rate that so few images cannot carry is refused before the work
    half = half_sizes(teacher, given.sizes, given.levels, recipe=recipe, images=len(read.order), cache_gb=cache_gb)
    folder = _run_folder(workspace, [*read.order, str(half)], given, recipe, teacher) if workspace else None
    modules = fit_modules(
        teacher, read.train, levels=given.levels, recipe=recipe, seed=given.seed, half=half, workspace=folder,
        report=report,
    )  # fmt: skip
    set_weights(modules, score=given.score)
    header = _header(given, teacher, modules, read, half=half, wanted=wanted)
    return Fitted(Model(teacher, modules, header), read.sources, folder)


@dataclass(frozen=True, slots=True)
class _Read:
    """The images of a fit: what tells them again, those that train in their order (sha256), and both as pyramids.

    scored, sources: what the held-out images are called, and where they are, in their order. count: how many of them,
    or of their groups, a promise is made by. remarks: what to say of twins and groups.
    """

    data: DataPart
    scored: list[ScoredPart]
    sources: list[Source]
    order: list[str]
    train: Pyramid
    held_out: Pyramid
    count: int
    remarks: list[str]


def _read(
    images: Images,
    held_out: Images | None,
    sizes: Sequence[int],
    *,
    bits: int,
    labels: Labels,
    groups: Groups | Grouping,
) -> _Read:
    items, more = singles(images), singles(held_out) if held_out is not None else []
    given, apart = good_sources(items, labels=labels)
    if held_out is not None:
        apart = sources(more)
    every = [*given, *apart]
    if not isinstance(groups, Grouping):
        groups = find_groups(every, given=data_sets([*items, *more]), groups=groups)
    known, pyramid = read_known(every, sizes, bits=bits)
    twins = find_twins(known, _looks(pyramid))
    hashes = [image.sha256 for image in known]
    split = split_good(hashes, apart=len(apart), twins=twins, groups=groups.names if groups else None)
    names, held = names_of(every, known), split.held_out
    data = DataPart(
        train=[known[index] for index in split.train], held_out=[known[index] for index in held], told_by="pixels"
    )
    scored = [
        ScoredPart(name=names[index], sha256=hashes[index], score=0.0, group=group)
        for index, group in zip(held, split.groups, strict=True)
    ]
    good = {size: batch[held] for size, batch in pyramid.items()}
    return _Read(
        data=data,
        scored=scored,
        sources=[every[index] for index in held],
        order=[image.sha256 for image in data.train],
        train={size: pyramid.pop(size)[split.train] for size in sizes},  # never two copies of all sizes
        held_out=good,
        count=split.count,
        remarks=_remarks(split, twins, names, groups),
    )


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
    return lines


def _header(
    given: Arguments,
    teacher: Teacher,
    modules: Sequence[Module],
    read: _Read,
    *,
    half: Sequence[int],
    wanted: Budget | None,
) -> Header:
    reference_size = sorted(given.sizes)[len(given.sizes) // 2]
    maps = score_pyramid(teacher, modules, read.held_out, size=reference_size, score=given.score)
    return Header(
        blemish=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=TeacherPart(name=given.teacher, sha256=teacher.sha256, embedded=False),
        preprocessing=preprocessing(teacher.architecture, bits=given.bits),
        sizes=sorted(given.sizes),
        reference_size=reference_size,
        modules=[ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
        recipe=asdict(find_recipe(given.recipe)) | ({"float16_features": ", ".join(map(str, half))} if half else {}),
        seed=given.seed,
        score=given.score,  # type: ignore[arg-type]  # checked
        calibration=calibrate(maps, read.scored, score=given.score, wanted=wanted),
        data=read.data,
        libraries=libraries(),
    )


def _run_folder(workspace: Path, order: list[str], given: Arguments, recipe: Recipe, teacher: Teacher) -> Path:
    """Return the workspace's folder of this very run: one that differs in anything has another.

    order: the sha256 of the images that train, in the order in which batches are drawn from them, and what else only
    the fit knows.
    """
    run = [__version__, libraries(), asdict(recipe), sorted(given.sizes), sorted(given.levels), given.seed,
           given.teacher, teacher.sha256, str(teacher.mean.device), torch.get_num_threads(), order]  # fmt: skip
    folder = workspace / sha256(json.dumps(run).encode()).hexdigest()[:16]
    make_folder(folder)
    return folder
