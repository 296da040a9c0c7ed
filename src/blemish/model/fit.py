"""From images of good parts to a model: read, hold out, train, calibrate."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.datasets import AS_THEY_ARE
from blemish.data.layouts.labels import Labels, Say, silent
from blemish.data.sources import Images, Source
from blemish.data.together.groups import Grouping, Groups
from blemish.images.roi import WHOLE, Interest
from blemish.method.beside.surface import Surface, anchor, fit_surface, widen
from blemish.method.learning.features import check_cache, half_sizes, tiles_carried
from blemish.method.learning.fitting import complete, costs, fit_modules, prefixes, score_crosswise
from blemish.method.learning.progress import Report, in_parts
from blemish.method.learning.schedule import shared_out
from blemish.method.learning.training import Recipe, find_recipe
from blemish.method.pretrained import load_teacher
from blemish.method.scoring import AnyModule, score_pyramid, score_sources, surface_levels, surface_rows_of
from blemish.method.teacher import Teacher, move_to, pick_device
from blemish.model.arguments import Arguments
from blemish.model.assembly import module_part, preprocessing, surface_part
from blemish.model.calibration import calibrate, check_area
from blemish.model.file import libraries
from blemish.model.header import CalibrationPart, Header, TeacherPart
from blemish.model.model import Model
from blemish.model.reading import Material, read_material
from blemish.storage.files import make_folder
from blemish.verdict.threshold import Budget, thresholds
from blemish.version import __version__

BALANCED = 20  # held-out images that tell how far apart the maps of students and of a memory spread


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
    jobs: int | None = None,
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
    share = shared_out(jobs, device, cache_gb=cache_gb)
    teacher = load_teacher(given.teacher, given.weights)
    move_to(teacher, device)
    carried = partial(tiles_carried, teacher, given.sizes, given.levels, recipe=recipe, cache_gb=cache_gb)
    read = read_material(images, held_out, given, labels=labels, groups=groups, interest=interest, carried=carried)
    learnt, roi, score = read.learnt, read.roi, given.score
    for line in read.remarks:
        say(line)
    check_area(roi, given.min_area)
    thresholds(range(read.count), wanted)  # a rate that so few images cannot carry is refused before the work
    count, others, maps_of = len(learnt), len(learnt.others), partial(_raw_maps, teacher, given, read)
    half = half_sizes(teacher, given.sizes, given.levels, recipe=recipe, images=count, cache_gb=cache_gb)
    decided = [*read.run, str(half), str(share.threads), roi.bits if roi else "", f"{read.tiles} {count}"]
    folder = _run_folder(workspace, decided, given, recipe, teacher) if workspace else None
    own, *reports = in_parts(report, costs(recipe, images=count, others=others), prefixes(others))
    students = fit_modules(
        teacher, learnt.train, levels=given.levels, recipe=recipe, seed=given.seed, half=half, roi=learnt.counted,
        share=share, workspace=folder, report=own,
    )  # fmt: skip
    modules = complete(students, teacher, learnt.train, partial(maps_of, most=BALANCED), score=score, roi=roi,
                       size=given.reference_size, seed=given.seed, counted=learnt.counted)  # fmt: skip
    maps = maps_of(modules)
    surface, surfaces = _surface(teacher, given, read, maps)
    crossed = score_crosswise(
        teacher, learnt.train, learnt.held_out, learnt.others, levels=given.levels, recipe=recipe, seed=given.seed,
        score=score, size=read.size, memory_size=given.reference_size, min_area=given.min_area, half=half,
        roi=roi, share=share, workspace=folder, reports=reports, maps_of=maps_of if read.tiles else None,
    )  # fmt: skip
    calibration = calibrate(maps, read.scored[0], score=score, wanted=wanted, roi=roi, min_area=given.min_area,
                            surfaces=surfaces, others=list(zip(read.scored[1:], crossed, strict=True)))  # fmt: skip
    header = _header(given, teacher, modules, read, calibration, half=half, surface=surface)
    return Fitted(Model(teacher, modules, header, surface), read.sources, read.trained, folder)


def _raw_maps(
    teacher: Teacher,
    given: Arguments,
    read: Material,
    modules: Sequence[AnyModule],
    *,
    trained: Sequence[int] | None = None,
    most: int | None = None,
) -> NDArray[np.float32]:
    """Return the maps (N, R, R), not yet on the scale, of held-out images, or of some that trained tiles.

    most: so many of the held-out images.
    """
    if read.tiles is None:
        images = {side: batch[:most] for side, batch in read.learnt.held_out.items()}
        return score_pyramid(teacher, modules, images, size=read.size, score=given.score)
    held_out = read.sources[: len(read.scored[0])][:most]
    chosen = held_out if trained is None else [read.trained[index][1] for index in trained]
    return score_sources(teacher, modules, chosen, size=read.size, score=given.score, tiles=read.tiles, bits=given.bits)


def _surface(
    teacher: Teacher, given: Arguments, read: Material, maps: NDArray[np.float32]
) -> tuple[Surface | None, NDArray[np.float64] | None]:
    """Return what looks at the whole surface, if anything does, and what it says of each held-out image.

    maps: combined ones of the held-out images. With a region of interest nothing does: what lies outside would
    have a say.
    """
    if given.score != "memory" or read.roi is not None:
        return None, None
    surface = fit_surface(teacher, read.learnt.train[given.reference_size], levels=given.levels)
    if surface is None:
        return None, None
    held_out = read.sources[: len(read.scored[0])]
    rows = surface_rows_of(teacher, surface, held_out, tiles=read.tiles, bits=given.bits)
    widen(surface, surface_levels(surface, rows))
    anchor(surface, maps)
    return surface, surface_levels(surface, rows)


def _header(
    given: Arguments,
    teacher: Teacher,
    modules: Sequence[AnyModule],
    read: Material,
    calibration: CalibrationPart,
    *,
    half: Sequence[int],
    surface: Surface | None,
) -> Header:
    return Header(
        blemish=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        teacher=TeacherPart(name=given.teacher, sha256=teacher.sha256, embedded=False),
        preprocessing=preprocessing(teacher.architecture, bits=given.bits),
        sizes=sorted(given.sizes),
        tiles=read.tiles,
        reference_size=read.size,
        modules=[module_part(one) for one in modules],
        surface=surface_part(surface),
        recipe=asdict(find_recipe(given.recipe)) | ({"float16_features": ", ".join(map(str, half))} if half else {}),
        seed=given.seed,
        score=given.score,  # type: ignore[arg-type]  # checked
        calibration=calibration,
        roi=read.roi,
        data=read.data,
        libraries=libraries(),
    )


def _run_folder(workspace: Path, order: list[str], given: Arguments, recipe: Recipe, teacher: Teacher) -> Path:
    """Return the workspace's folder of this very run: one that differs in anything has another.

    order: `Material.run`, and what else only the fit knows: features in float16, pixels that count, threads a module.
    """
    run = [__version__, libraries(), asdict(recipe), sorted(given.sizes), sorted(given.levels), given.seed,
           given.teacher, teacher.sha256, str(teacher.mean.device), order]  # fmt: skip
    folder = workspace / sha256(json.dumps(run).encode()).hexdigest()[:16]
    make_folder(folder)
    os.utime(folder)  # the newest is that of the last run
    return folder
