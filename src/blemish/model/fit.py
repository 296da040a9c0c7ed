"""From images of good parts to a model: read, hold out, train, calibrate."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import torch

from blemish.data.datasets import AS_THEY_ARE
from blemish.data.layouts.labels import Labels, Say, silent
from blemish.data.records import DataPart
from blemish.data.sources import Images, Source
from blemish.data.together.groups import Grouping, Groups
from blemish.images.roi import WHOLE, Interest, RoiPart, read_roi
from blemish.method.features import check_cache, half_sizes
from blemish.method.fitting import costs, fit_modules, prefixes, score_crosswise
from blemish.method.networks import move_to
from blemish.method.pretrained import load_teacher
from blemish.method.progress import Report, in_parts
from blemish.method.scoring import Module, score_pyramid, set_weights
from blemish.method.teacher import Teacher, pick_device
from blemish.method.training import Recipe, find_recipe
from blemish.model.arguments import Arguments
from blemish.model.assembly import preprocessing
from blemish.model.calibration import calibrate, check_area
from blemish.model.file import libraries
from blemish.model.header import CalibrationPart, Header, ModulePart, TeacherPart
from blemish.model.model import Model
from blemish.model.reading import read_material
from blemish.storage.files import make_folder
from blemish.verdict.threshold import Budget, thresholds
from blemish.version import __version__


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model, the images that header.calibration.held_out names, and the folder that keeps its modules, if any.

    trained: name and place of each image that trains.
    """

    model: Model
    held_out: list[Source]
    trained: list[tuple[str, Source]]
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
    interest: Interest = WHOLE,
) -> Fitted:
    """Return a model of images of good parts; arguments and errors are those of `Detector` and `Detector.fit`.

    say: called, before training, with each line on what belongs together.
    """
    check_cache(cache_gb)
    given = arguments.checked()
    recipe, device = find_recipe(given.recipe), pick_device(given.device)
    roi = read_roi(interest, side=given.reference_size)
    teacher = load_teacher(given.teacher, given.weights)
    move_to(teacher, device)
    read = read_material(images, held_out, given.sizes, bits=given.bits, labels=labels, groups=groups,
                         roi=roi, masks=interest.files)  # fmt: skip
    for line in read.remarks:
        say(line)
    check_area(roi, given.min_area)
    thresholds(range(read.count), wanted)  # a rate that so few images cannot carry is refused before the work
    count = len(read.data.train)
    half = half_sizes(teacher, given.sizes, given.levels, recipe=recipe, images=count, cache_gb=cache_gb)
    decided = [*read.run, str(half), *([roi.bits] if roi else [])]
    folder = _run_folder(workspace, decided, given, recipe, teacher) if workspace else None
    own, *reports = in_parts(report, costs(recipe, images=count, others=len(read.others)), prefixes(len(read.others)))
    modules = fit_modules(
        teacher, read.train, levels=given.levels, recipe=recipe, seed=given.seed, half=half, roi=roi, workspace=folder,
        report=own,
    )  # fmt: skip
    set_weights(modules, score=given.score)
    size = given.reference_size
    crossed = score_crosswise(
        teacher, read.train, read.held_out, read.others, levels=given.levels, recipe=recipe, seed=given.seed,
        score=given.score, size=size, min_area=given.min_area, half=half, roi=roi, workspace=folder, reports=reports,
    )  # fmt: skip
    maps = score_pyramid(teacher, modules, read.held_out, size=size, score=given.score)
    calibration = calibrate(maps, read.scored[0], score=given.score, wanted=wanted, min_area=given.min_area, roi=roi,
                            others=list(zip(read.scored[1:], crossed, strict=True)))  # fmt: skip
    header = _header(given, teacher, modules, read.data, calibration, size=size, half=half, roi=roi)
    return Fitted(Model(teacher, modules, header), read.sources, read.trained, folder)


def _header(
    given: Arguments,
    teacher: Teacher,
    modules: Sequence[Module],
    data: DataPart,
    calibration: CalibrationPart,
    *,
    size: int,
    half: Sequence[int],
    roi: RoiPart | None,
) -> Header:
    return Header(
        blemish=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=TeacherPart(name=given.teacher, sha256=teacher.sha256, embedded=False),
        preprocessing=preprocessing(teacher.architecture, bits=given.bits),
        sizes=sorted(given.sizes),
        reference_size=size,
        modules=[ModulePart(size=one.size, level=one.level, weight=one.weight) for one in modules],
        recipe=asdict(find_recipe(given.recipe)) | ({"float16_features": ", ".join(map(str, half))} if half else {}),
        seed=given.seed,
        score=given.score,  # type: ignore[arg-type]  # checked
        calibration=calibration,
        roi=roi,
        data=data,
        libraries=libraries(),
    )


def _run_folder(workspace: Path, order: list[str], given: Arguments, recipe: Recipe, teacher: Teacher) -> Path:
    """Return the workspace's folder of this very run: one that differs in anything has another.

    order: `Material.run`, and what else only the fit knows: which features are kept in float16, which pixels count.
    """
    run = [__version__, libraries(), asdict(recipe), sorted(given.sizes), sorted(given.levels), given.seed,
           given.teacher, teacher.sha256, str(teacher.mean.device), torch.get_num_threads(), order]  # fmt: skip
    folder = workspace / sha256(json.dumps(run).encode()).hexdigest()[:16]
    make_folder(folder)
    return folder
