"""Trains the modules of a pyramid one after the other; what is trained survives an interruption."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor

from blemish import modelfile
from blemish.calibration import fit_statistics
from blemish.errors import InputError, ModelFileError, StorageError, printable
from blemish.files import write_atomically
from blemish.scoring import Module, Pyramid
from blemish.teacher import Teacher, student_stage
from blemish.training import Recipe, autocasts, batch_size, count_steps, train_module
from blemish.training import Report as StepReport

RAM_FOR_FEATURES = 1 << 30  # bytes; larger features are kept in a temporary file
FEATURE_BATCH = 16


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


Report = Callable[[Progress], None]


def fit_modules(
    teacher: Teacher,
    pyramid: Pyramid,
    *,
    levels: Sequence[int],
    recipe: Recipe,
    seed: int,
    workspace: Path | None = None,
    report: Report | None = None,
) -> list[Module]:
    """Train one module for each size and level on the good images of a pyramid, smaller sizes first.

    It runs on the teacher's device. workspace: a folder that keeps each trained module; a module found there is not
    trained again, so it must belong to this very run. Raises InputError naming the module whose loss is not finite
    or the kept file that is damaged, StorageError if the workspace or a temporary file cannot be written.
    """
    names = [(size, level) for size in sorted(pyramid) for level in sorted(levels)]
    clock = _Clock(names, [_cost(teacher, pyramid, name, recipe) for name in names], report)
    modules: list[Module] = []
    for size, level in names:
        own_seed = module_seed(seed, size, level)
        student = student_stage(teacher.architecture.name, level, seed=own_seed)
        channels = teacher.architecture.channels[level - 2]
        module = Module(student, size=size, level=level, channels=channels, weight=1 / len(names))
        module.to(teacher.mean.device).to(memory_format=torch.channels_last)
        kept = workspace / f"{size}-{level}.safetensors" if workspace else None
        if kept and kept.exists():
            _restore(module, kept)
            clock.skip()
        else:
            smaller = [other.student for other in modules if other.level == level]
            warm = recipe.warm_steps is not None and bool(smaller)
            if warm:
                student.load_state_dict(smaller[-1].state_dict())
            try:
                x, y = cached_features(
                    teacher, pyramid[size], level, bfloat16=autocasts(recipe, teacher.mean.device.type)
                )
                train_module(student, x, y, recipe=recipe, seed=own_seed, warm=warm, report=clock.report)
                fit_statistics(module, x, y)
            except InputError as error:
                raise InputError(f"module {size}/{level}: {error}") from error
            if kept:
                _keep(module, kept)
            clock.finish()
        modules.append(module)
    return modules


def module_seed(seed: int, size: int, level: int) -> int:
    """Return the seed of one module: the same whichever other modules are trained, and in whatever order."""
    return seed * 1_000_000 + size * 10 + level


def cached_features(teacher: Teacher, images: Tensor, level: int, *, bfloat16: bool) -> tuple[Tensor, Tensor]:
    """Compute the teacher's features f^{l-1} and f^l of all images once: the teacher is frozen, nothing augmented.

    Each of the two is held in memory, or in a temporary file where it needs more than RAM_FOR_FEATURES. Raises
    StorageError if there is no room for that.
    """
    kind = torch.bfloat16 if bfloat16 else torch.float32
    device = teacher.mean.device.type
    cache: list[Tensor] = []
    for start in range(0, len(images), FEATURE_BATCH):
        batch = images[start : start + FEATURE_BATCH].to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            ((_, *both),) = teacher.features(batch, [level])
        cache = cache or [_allocate((len(images), *part.shape[1:]), kind) for part in both]
        for whole, part in zip(cache, both, strict=True):
            whole[start : start + len(batch)] = part.to("cpu", kind)
    return cache[0], cache[1]


def _allocate(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    size = torch.Size(shape).numel()
    needed = size * kind.itemsize
    if needed <= RAM_FOR_FEATURES:
        return torch.empty(shape, dtype=kind)
    try:
        # The file has no name any more once it is mapped: whatever happens to this process, it takes its room along.
        with NamedTemporaryFile(prefix="blemish-features-") as file:
            # Written, not only reserved: on a full disk a write to a mapped page would kill the process.
            zeros = bytes(1 << 24)
            for start in range(0, needed, len(zeros)):
                file.write(zeros[: needed - start])
            file.flush()
            return torch.from_file(file.name, shared=True, size=size, dtype=kind).reshape(shape)
    except OSError as error:
        raise StorageError(f"features need {needed} bytes of temporary files: {error.strerror}") from error


class _Clock:
    """Turns a module's step reports into the progress of the whole fit; seconds left come from the estimated costs."""

    def __init__(self, names: list[tuple[int, int]], costs: list[float], report: Report | None) -> None:
        self.names, self.costs, self.tell = names, costs, report
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
        self.tell(
            Progress(f"{size}/{level}", self.index + 1, len(self.names), step, steps, loss, rate, done / total, left)
        )

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
