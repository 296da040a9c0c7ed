"""Trains the modules of a pyramid one after the other; what is trained survives an interruption."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor

from blemish.errors import InputError, ModelFileError, printable
from blemish.images.roi import RoiPart
from blemish.method.features import cached_features
from blemish.method.networks import move_to, new_module
from blemish.method.progress import Clock, Report, Step
from blemish.method.pyramid import Pyramid
from blemish.method.scoring import Module
from blemish.method.statistics import fit_statistics
from blemish.method.teacher import Teacher
from blemish.method.training import Recipe, autocasts, batch_size, count_steps, train_module
from blemish.storage.files import write_atomically
from blemish.storage.tensors import check_tensors, packed, unpacked

Known = tuple[int, Tensor] | None  # a level and its feature of all images, where they are at hand


def fit_modules(
    teacher: Teacher,
    pyramid: Pyramid,
    *,
    levels: Sequence[int],
    recipe: Recipe,
    seed: int,
    half: Collection[int] = (),
    roi: RoiPart | None = None,
    workspace: Path | None = None,
    report: Report | None = None,
) -> list[Module]:
    """Train one module for each size and level on the good images of a pyramid, smaller sizes first.

    It runs on the teacher's device. half: the sizes whose features are kept in float16 (`features.half_sizes`). roi:
    where the statistics are taken; students learn from whole images all the same.
    workspace: a folder that keeps each trained module; a module found there is not trained again, so it must belong to
    this very run. Raises InputError naming the module whose loss is not finite or the kept file that is damaged,
    StorageError if the workspace or a temporary file cannot be written.
    """
    names = [(size, level) for size in sorted(pyramid) for level in sorted(levels)]
    clock = Clock(names, [_cost(teacher, pyramid, name, recipe) for name in names], half, report)
    modules: dict[tuple[int, int], Module] = {}
    for size in sorted(pyramid):
        known: Known = None
        for level in sorted(levels):
            module = _new_module(teacher, size, level, seed=seed, weight=1 / len(names))
            kept = workspace / f"{size}-{level}.safetensors" if workspace else None
            if kept and kept.exists():
                _restore(module, kept)
                clock.skip()
            else:
                smaller = [modules[other, level] for other in sorted(pyramid) if other < size]
                known = _train(
                    module, smaller[-1:], teacher, pyramid[size], known, recipe=recipe, half=size in half, seed=seed,
                    roi=roi, report=clock.report,
                )  # fmt: skip
                if kept:
                    _keep(module, kept)
                clock.finish()
            modules[size, level] = module
    return list(modules.values())


def _new_module(teacher: Teacher, size: int, level: int, *, seed: int, weight: float) -> Module:
    own_seed = module_seed(seed, size, level)
    module = new_module(teacher.architecture, size=size, level=level, weight=weight, seed=own_seed)
    move_to(module, teacher.mean.device)
    return module


def _train(
    module: Module,
    smaller: Sequence[Module],
    teacher: Teacher,
    images: Tensor,
    known: Known,
    *,
    recipe: Recipe,
    half: bool,
    seed: int,
    roi: RoiPart | None,
    report: Step | None,
) -> Known:
    """Train a module and set its statistics; return its level and the feature of that: the next level starts there.

    smaller: the module of the same level and the next smaller size, if any; a recipe with warm steps starts from it.
    """
    level, bfloat16 = module.level, autocasts(recipe, teacher.mean.device.type)
    warm = recipe.warm_steps is not None and bool(smaller)
    if warm:
        module.student.load_state_dict(smaller[-1].student.state_dict())
    try:
        x, y = cached_features(teacher, images, level, bfloat16=bfloat16, half=half, known=known)
        own_seed = module_seed(seed, module.size, level)
        train_module(module.student, x, y, recipe=recipe, seed=own_seed, warm=warm, report=report)
        inside = None if roi is None else torch.from_numpy(roi.positions(y.shape[-1])).to(module.mean.device)
        fit_statistics(module, x, y, inside=inside)
    except InputError as error:
        raise InputError(f"module {module.name}: {error}") from error
    return level, y


def module_seed(seed: int, size: int, level: int) -> int:
    """Return the seed of one module: the same whichever other modules are trained, and in whatever order."""
    return seed * 1_000_000 + size * 10 + level


def _cost(teacher: Teacher, pyramid: Pyramid, name: tuple[int, int], recipe: Recipe) -> float:
    """Return the relative cost of training a module: steps x images x positions x parameters."""
    size, level = name
    warm = recipe.warm_steps is not None and size > min(pyramid)
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
