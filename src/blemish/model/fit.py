"""From images of good parts to a model: read, hold out, train, calibrate."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import torch

from blemish.data.datasets import AS_THEY_ARE
from blemish.data.holdout import split_good
from blemish.data.layouts.labels import Labels
from blemish.data.records import DataPart
from blemish.data.sources import Images, Source, check_no_masks, good_sources, names_of, sources
from blemish.images.roi import WHOLE, Interest, RoiPart, read_roi
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
    interest: Interest = WHOLE,
) -> Fitted:
    """Return a model of images of good parts; arguments and errors are those of `Detector` and `Detector.fit`."""
    check_cache(cache_gb)
    given = arguments.checked()
    recipe, device = find_recipe(given.recipe), pick_device(given.device)
    roi = read_roi(interest, side=given.reference_size)
    teacher = load_teacher(given.teacher, given.weights)
    move_to(teacher, device)
    read = _read(images, held_out, given, labels=labels, roi=roi, masks=interest.files)
    thresholds(range(len(read.scored)), wanted)  # a rate that so few images cannot carry is refused before the work
    half = half_sizes(teacher, given.sizes, given.levels, recipe=recipe, images=len(read.order), cache_gb=cache_gb)
    decided = [*read.order, str(half), *([roi.bits] if roi else [])]
    folder = _run_folder(workspace, decided, given, recipe, teacher) if workspace else None
    modules = fit_modules(
        teacher, read.train, levels=given.levels, recipe=recipe, seed=given.seed, half=half, roi=roi,
        workspace=folder, report=report,
    )  # fmt: skip
    set_weights(modules, score=given.score)
    header = _header(given, teacher, modules, read, half=half, wanted=wanted, roi=roi)
    return Fitted(Model(teacher, modules, header), read.sources, folder)


@dataclass(frozen=True, slots=True)
class _Read:
    """The images of a fit: what tells them again, those that train in their order (sha256), and both as pyramids.

    scored, sources: what the held-out images are called, and where they are, in their order.
    """

    data: DataPart
    scored: list[ScoredPart]
    sources: list[Source]
    order: list[str]
    train: Pyramid
    held_out: Pyramid


def _read(
    images: Images,
    held_out: Images | None,
    arguments: Arguments,
    *,
    labels: Labels,
    roi: RoiPart | None,
    masks: Sequence[Path],
) -> _Read:
    sizes = arguments.sizes
    given, apart = good_sources(images, labels=labels)
    if held_out is not None:
        apart = sources(held_out)
    check_no_masks([*given, *apart], masks)
    known, pyramid = read_known([*given, *apart], sizes, bits=arguments.bits, roi=roi)
    train, held = split_good([image.sha256 for image in known], apart=len(apart))
    parts = [[known[index] for index in part] for part in (train, held)]
    every = [*given, *apart]
    names = names_of(every, known)
    good = {size: batch[held] for size, batch in pyramid.items()}
    return _Read(
        data=DataPart(train=parts[0], held_out=parts[1], told_by="pixels"),
        scored=[ScoredPart(name=names[index], sha256=known[index].sha256, score=0.0) for index in held],
        sources=[every[index] for index in held],
        order=[image.sha256 for image in parts[0]],
        train={size: pyramid.pop(size)[train] for size in sizes},  # never two copies of all sizes
        held_out=good,
    )


def _header(
    given: Arguments,
    teacher: Teacher,
    modules: Sequence[Module],
    read: _Read,
    *,
    half: Sequence[int],
    wanted: Budget | None,
    roi: RoiPart | None,
) -> Header:
    maps = score_pyramid(teacher, modules, read.held_out, size=given.reference_size, score=given.score)
    return Header(
        blemish=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=TeacherPart(name=given.teacher, sha256=teacher.sha256, embedded=False),
        preprocessing=preprocessing(teacher.architecture, bits=given.bits),
        sizes=sorted(given.sizes),
        reference_size=given.reference_size,
        modules=[ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
        recipe=asdict(find_recipe(given.recipe)) | ({"float16_features": ", ".join(map(str, half))} if half else {}),
        seed=given.seed,
        score=given.score,  # type: ignore[arg-type]  # checked
        calibration=calibrate(maps, read.scored, score=given.score, wanted=wanted, roi=roi),
        roi=roi,
        data=read.data,
        libraries=libraries(),
    )


def _run_folder(workspace: Path, order: list[str], given: Arguments, recipe: Recipe, teacher: Teacher) -> Path:
    """Return the workspace's folder of this very run: one that differs in anything has another.

    order: the sha256 of the images that train, in the order in which batches are drawn from them, and what else only
    the fit knows: which features are kept in float16, which pixels count.
    """
    run = [__version__, libraries(), asdict(recipe), sorted(given.sizes), sorted(given.levels), given.seed,
           given.teacher, teacher.sha256, str(teacher.mean.device), torch.get_num_threads(), order]  # fmt: skip
    folder = workspace / sha256(json.dumps(run).encode()).hexdigest()[:16]
    make_folder(folder)
    return folder
