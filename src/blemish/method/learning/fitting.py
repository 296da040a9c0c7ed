"""Trains the modules of a pyramid side by side; what is trained survives an interruption."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.errors import InputError, ModelFileError, printable
from blemish.images.roi import RoiPart, TilesRoi
from blemish.method.beside.memory import balance, fit_memory
from blemish.method.learning.features import Features
from blemish.method.learning.progress import Clock, Report, Step
from blemish.method.learning.schedule import Share, side_by_side
from blemish.method.learning.training import RECIPES, Recipe, batch_size, count_steps, sizes_below, train_module
from blemish.method.modules import Module, new_module
from blemish.method.pyramid import Pyramid
from blemish.method.scoring import AnyModule, score_pyramid, set_weights
from blemish.method.statistics import fit_statistics
from blemish.method.teacher import Teacher, move_to
from blemish.storage.files import write_atomically
from blemish.storage.tensors import check_tensors, packed, unpacked
from blemish.verdict.scale import image_score


@dataclass(frozen=True, slots=True)
class Other:
    """What another set of students scores, and learns beside what is held out: positions among those that train.

    roi: where the statistics of what it learns are taken, if that is tiles.
    """

    scored: list[int]
    learnt: list[int]
    roi: TilesRoi | None = None


MapsOf = Callable[..., NDArray[np.float32]]  # (modules, trained=positions): the maps (N, R, R), not yet on the scale
Name = tuple[int, int]  # of a module: size, level


def fit_modules(
    teacher: Teacher,
    pyramid: Pyramid,
    *,
    levels: Sequence[int],
    recipe: Recipe,
    seed: int,
    half: Collection[int] = (),
    roi: RoiPart | TilesRoi | None = None,
    share: Share | None = None,
    workspace: Path | None = None,
    prefix: str = "",
    report: Report | None = None,
) -> list[Module]:
    """Train one module for each size and level on the good images of a pyramid; smaller sizes come first.

    It runs on the teacher's device. half: the sizes whose features are kept in float16 (`features.half_sizes`). roi:
    where the statistics are taken; students learn from whole images all the same. share: how many modules learn side
    by side, one by default; the threads of each, and nothing else of it, can change the last bits of what they learn.
    workspace: a folder that keeps each trained module; a module found there is not trained again, so it must belong to
    this very run; prefix: what the names of its files begin with. Raises InputError naming the module whose loss is not
    finite or the kept file that is damaged, StorageError if the workspace or a temporary file cannot be written.
    """
    names = [(size, level) for size in sorted(pyramid) for level in sorted(levels)]
    costs, stop = {name: _cost(teacher, pyramid, name, recipe) for name in names}, Event()
    clock = Clock(costs, half, report, stop)
    modules = {name: _new_module(teacher, *name, seed=seed, weight=1 / len(names)) for name in names}

    def kept(name: Name) -> Path | None:
        return None if workspace is None else workspace / f"{prefix}{name[0]}-{name[1]}.safetensors"

    for name, module in modules.items():
        if (path := kept(name)) and path.exists():
            _restore(module, path)
            clock.skip(name)
    left, share = [name for name in names if name not in clock.begun], share or Share(1, torch.get_num_threads())
    features = Features(teacher, pyramid, left, recipe=recipe, half=half, cache_gb=share.cache_gb, stop=stop)
    starts = warm_starts(pyramid, levels, recipe)

    def work(name: Name) -> None:
        start = modules[starts[name]] if name in starts else None
        warm = 0 if start is None else sizes_below(name[0], pyramid)
        try:
            learn(modules[name], start, features, recipe=recipe, seed=seed, warm=warm, roi=roi, report=clock.of(name))
        except InputError as error:
            raise InputError(f"module {modules[name].name}: {error}") from error
        if path := kept(name):
            _keep(modules[name], path)

    own = {name: costs[name] for name in left}
    side_by_side(work, own, waiting(left, starts), share=share, fits=features.fit, stop=stop)
    return list(modules.values())


def crossed_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of students that only score, several sets of them: the same, or `fast` where it takes hours."""
    return recipe if recipe.epochs is None else RECIPES["fast"]


def costs(recipe: Recipe, *, images: int, others: int) -> list[float]:
    """Return what the students of a model cost, and each set of others, in steps."""
    own, other = (float(count_steps(one, images, warm=0)) for one in (recipe, crossed_recipe(recipe)))
    return [own, *[other] * others]


def prefixes(others: int) -> list[str]:
    """Return what stands before the names of modules: of a model's own nothing."""
    return ["", *(f"fold-{number}-" for number in range(2, others + 2))]


def score_crosswise(
    teacher: Teacher,
    train: Pyramid,
    held_out: Pyramid,
    others: Sequence[Other],
    *,
    levels: Sequence[int],
    recipe: Recipe,
    seed: int,
    score: str,
    size: int,
    memory_size: int,
    min_area: float = 0.0,
    half: Collection[int] = (),
    roi: RoiPart | None = None,
    maps_of: MapsOf | None = None,
    share: Share | None = None,
    workspace: Path | None = None,
    reports: Sequence[Report | None],
) -> list[list[float]]:
    """Return the image scores of good images that train, by students that have not learnt them; these are dropped.

    Arguments and errors are those of `fit_modules`, `score_pyramid` and `image_score`; there is a report for each set
    of others. maps_of: what scores those at some positions, if what trains is no whole images.
    """
    found = []
    for one, prefix, report in zip(others, prefixes(len(others))[1:], reports, strict=True):
        pyramid = {side: torch.cat([held_out[side], train[side][one.learnt]]) for side in train}
        students = fit_modules(
            teacher, pyramid, levels=levels, recipe=crossed_recipe(recipe), seed=seed, half=half, roi=one.roi or roi,
            share=share, workspace=workspace, prefix=prefix, report=report,
        )  # fmt: skip
        if maps_of is None:
            unseen = {side: batch[one.scored] for side, batch in train.items()}
            scored: MapsOf = partial(score_pyramid, teacher, images=unseen, size=size, score=score)
        else:
            scored = partial(maps_of, trained=one.scored)
        modules = complete(students, teacher, pyramid, scored, score=score, size=memory_size, seed=seed,
                           counted=one.roi or roi, roi=roi)  # fmt: skip
        maps = scored(modules)
        if roi is not None:
            maps[:, ~roi.inside] = maps.min()  # what does not count is nowhere the highest
        found.append([image_score(one, min_area=min_area) for one in maps])
    return found


def complete(
    students: Sequence[Module],
    teacher: Teacher,
    pyramid: Pyramid,
    maps_of: MapsOf,
    *,
    score: str,
    size: int,
    seed: int,
    counted: RoiPart | TilesRoi | None,
    roi: RoiPart | None,
) -> list[AnyModule]:
    """Return students with their label-free weights and, if the score asks for one, a memory of one of the sizes.

    pyramid: what trained the students; counted: which positions of it count. maps_of: as in `balance`, with roi.
    """
    modules: list[AnyModule] = list(students)
    if score == "memory":
        levels = sorted({student.level for student in students})
        modules.append(fit_memory(teacher, pyramid[size], levels=levels, seed=seed, roi=counted))
    set_weights(modules, score=score)
    balance(modules, maps_of, inside=None if roi is None else roi.inside)
    return modules


def _new_module(teacher: Teacher, size: int, level: int, *, seed: int, weight: float) -> Module:
    own_seed = module_seed(seed, size, level)
    module = new_module(teacher.architecture, size=size, level=level, weight=weight, seed=own_seed)
    move_to(module, teacher.mean.device)
    return module


def warm_starts(sizes: Collection[int], levels: Collection[int], recipe: Recipe) -> dict[Name, Name]:
    """Return the module from whose student each starts that does not start from nothing: of its level, next smaller.

    Not the smallest: larger sizes could learn side by side then, but they would know less (docs/log.md).
    """
    if recipe.warm_steps is None:
        return {}
    pairs = pairwise(sorted(sizes))
    return {(size, level): (smaller, level) for smaller, size in pairs for level in levels}


def waiting(names: Collection[Name], starts: Mapping[Name, Name]) -> dict[Name, list[Name]]:
    """Return what each module waits for: the one that it starts from, and that of the level before.

    The latter leaves it a feature; the deepest, which takes most of the time, makes its features itself and waits not.
    """
    deepest = max((level for _, level in names), default=0)
    waits: dict[Name, list[Name]] = {}
    for size, level in names:
        before = [other for other in names if other[0] == size and other[1] < level != deepest]
        waits[size, level] = [name for name in names if name in (*before[-1:], starts.get((size, level)))]
    return waits


def learn(
    module: Module,
    start: Module | None,
    features: Features,
    *,
    recipe: Recipe,
    seed: int,
    warm: int,
    roi: RoiPart | TilesRoi | None,
    report: Step,
) -> None:
    """Train a module, from nothing or from what another has learnt, and set its statistics."""
    if start is not None:
        module.student.load_state_dict(start.student.state_dict())
    name = module.size, module.level
    x, y = features.take(*name)
    train_module(module.student, x, y, recipe=recipe, seed=module_seed(seed, *name), warm=warm, report=report)
    inside = None if roi is None else torch.from_numpy(roi.positions(y.shape[-1])).to(module.mean.device)
    fit_statistics(module, x, y, inside=inside)
    features.leave(*name, y)


def module_seed(seed: int, size: int, level: int) -> int:
    """Return the seed of one module: the same whichever other modules are trained, and in whatever order."""
    return seed * 1_000_000 + size * 10 + level


def _cost(teacher: Teacher, pyramid: Pyramid, name: tuple[int, int], recipe: Recipe) -> float:
    """Return the relative cost of training a module: steps x images x positions x parameters."""
    size, level = name
    warm = sizes_below(size, pyramid)
    side = size >> level
    crop = recipe.crop if level < 4 else None  # what receptive fields usually allow; it is only an estimate
    seen = min(side, crop + 4) if crop else side
    images = batch_size(recipe, side, crop=crop, margin=2)
    parameters = sum(parameter.numel() for parameter in teacher.stages[level - 1].parameters())
    # Measured: deep levels take less time than their parameters say, shallow ones move more data than they compute.
    return float(count_steps(recipe, len(pyramid[size]), warm=warm) * images * seen * seen * parameters**0.75)


def _keep(module: Module, path: Path) -> None:
    # The counters of batches become float32 as well: a number of steps is exact in it.
    tensors = {key: value.detach().cpu().float().contiguous().numpy() for key, value in module.state_dict().items()}
    write_atomically(path, packed("{}", tensors, path))


def _restore(module: Module, path: Path) -> None:
    state = module.state_dict()
    try:
        tensors = unpacked(path.read_bytes(), path)
        check_tensors(tensors, {key: tuple(value.shape) for key, value in state.items()}, path)
    except (ModelFileError, OSError) as error:
        raise InputError(f"{printable(path)}: the kept module is damaged; delete the file to train it again") from error
    for key, value in state.items():
        value.copy_(torch.from_numpy(tensors[key]))
