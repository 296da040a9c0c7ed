"""Trains the modules of a pyramid one after the other; what is trained survives an interruption."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from blemish import modelfile
from blemish.calibration import fit_statistics
from blemish.errors import InputError, ModelFileError, printable
from blemish.features import cached_features
from blemish.files import write_atomically
from blemish.scoring import Module, Pyramid
from blemish.teacher import Teacher, student_stage
from blemish.training import Recipe, autocasts, batch_size, count_steps, train_module
from blemish.training import Report as StepReport


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come: in the module at work (`index` of `modules`, from 1), and in all of the work."""

    module: str
    index: int
    modules: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    share_done: float  # 0 ... 1, of all modules
    seconds_left: float  # for all modules, estimated
    half: bool = False  # features are kept in float16 for want of room


Report = Callable[[Progress], None]
Known = tuple[int, Tensor] | None  # a level and its feature of all images, where they are at hand


def fit_modules(
    teacher: Teacher,
    pyramid: Pyramid,
    *,
    levels: Sequence[int],
    recipe: Recipe,
    seed: int,
    half: Collection[int] = (),
    workspace: Path | None = None,
    report: Report | None = None,
) -> list[Module]:
    """Train one module for each size and level on the good images of a pyramid, smaller sizes first.

    It runs on the teacher's device. half: the sizes whose features are kept in float16 (`features.half_sizes`).
    workspace: a folder that keeps each trained module; a module found there is not trained again, so it must belong to
    this very run. Raises InputError naming the module whose loss is not finite or the kept file that is damaged,
    StorageError if the workspace or a temporary file cannot be written.
    """
    names = [(size, level) for size in sorted(pyramid) for level in sorted(levels)]
    clock = _Clock(names, [_cost(teacher, pyramid, name, recipe) for name in names], half, report)
    modules: dict[tuple[int, int], Module] = {}
    for size in sorted(pyramid):
        known: Known = None
        for level in sorted(levels):
            module = _new_module(teacher, size, level, seed=module_seed(seed, size, level), weight=1 / len(names))
            kept = workspace / f"{size}-{level}.safetensors" if workspace else None
            if kept and kept.exists():
                _restore(module, kept)
                clock.skip()
            else:
                smaller = [modules[other, level] for other in sorted(pyramid) if other < size]
                known = _train(
                    module, smaller[-1:], teacher, pyramid[size], known, recipe=recipe, half=size in half, seed=seed,
                    report=clock.report,
                )  # fmt: skip
                if kept:
                    _keep(module, kept)
                clock.finish()
            modules[size, level] = module
    return list(modules.values())


def _new_module(teacher: Teacher, size: int, level: int, *, seed: int, weight: float) -> Module:
    student = student_stage(teacher.architecture.name, level, seed=seed)
    channels = teacher.architecture.channels[level - 2]
    module = Module(student, size=size, level=level, channels=channels, weight=weight)
    return module.to(teacher.mean.device).to(memory_format=torch.channels_last)


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
    report: StepReport | None,
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
        fit_statistics(module, x, y)
    except InputError as error:
        raise InputError(f"module {module.name}: {error}") from error
    return level, y


def module_seed(seed: int, size: int, level: int) -> int:
    """Return the seed of one module: the same whichever other modules are trained, and in whatever order."""
    return seed * 1_000_000 + size * 10 + level


class _Clock:
    """Turns a module's step reports into the progress of the whole fit; seconds left come from the estimated costs."""

    def __init__(
        self, names: list[tuple[int, int]], costs: list[float], half: Collection[int], report: Report | None
    ) -> None:
        self.names, self.costs, self.half, self.tell = names, costs, half, report
        self.index = 0
        self.skipped = 0.0
        self.started = time.monotonic()

    @property
    def report(self) -> StepReport | None:
        return self._report if self.tell else None

    def _report(self, step: int, steps: int, loss: float, rate: float) -> None:
        total, done = sum(self.costs), sum(self.costs[: self.index]) + self.costs[self.index] * step / steps
        left = (time.monotonic() - self.started) * (total - done) / (done - self.skipped)
        size, level = self.names[self.index]
        assert self.tell is not None
        module = f"{size}/{level}", self.index + 1, len(self.names)
        self.tell(Progress(*module, step, steps, loss, rate, done / total, left, half=size in self.half))

    def skip(self) -> None:
        self.skipped += self.costs[self.index]
        self.index += 1

    def finish(self) -> None:
        self.index += 1


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
    write_atomically(path, modelfile.packed("{}", tensors, path))


def _restore(module: Module, path: Path) -> None:
    state = module.state_dict()
    try:
        tensors = modelfile.unpacked(path.read_bytes(), path)
        modelfile.check_tensors(tensors, {key: tuple(value.shape) for key, value in state.items()}, path)
    except (ModelFileError, OSError) as error:
        raise InputError(f"{printable(path)}: the kept module is damaged; delete the file to train it again") from error
    for key, value in state.items():
        value.copy_(torch.from_numpy(tensors[key]))
