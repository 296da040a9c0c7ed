"""What each module costs on this machine: time and room."""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.errors import InputError, printable
from blemish.method.beside.memory import Memory
from blemish.method.imitation import resample
from blemish.method.modules import Module
from blemish.method.pyramid import stack
from blemish.method.scoring import module_score
from blemish.model.model import Model

WARM_UP = 3  # passes that are not counted
Seconds = dict[tuple[str, int, str | int], list[float]]  # (part, size, level or name of module) -> one per pass


@dataclass(frozen=True, slots=True)
class Costs:
    """What the parts of a model cost: milliseconds for one image at a time, and megabytes in the model file.

    resize: {size: ms}. stages: {size: ms of the teacher's stages T^1, T^2 ...}, as deep as any module needs. modules:
    {SIZE/LEVEL: ms} of the student, its score map and the resampling to the reference size. megabytes: {SIZE/LEVEL:
    MB}. Not in it: decoding the image, and what comes after the combined map. The parts add up: of 1, 4 and 9 modules
    at three sizes, whole predictions took their sum to within 4 %, in processor time of one thread.
    """

    resize: dict[int, float]
    stages: dict[int, tuple[float, ...]]
    modules: dict[str, float]
    megabytes: dict[str, float]

    def of(self, modules: Iterable[str]) -> float:
        """Return the milliseconds of a set of modules, each by its name.

        A size is resized once, and each teacher stage of it computed once, only as deep as its modules need. Raises
        InputError for a module that was not measured.
        """
        depths: dict[int, int] = {}
        total = 0.0
        for name in set(modules):
            if name not in self.modules:
                raise InputError(f"module {printable(name)} was not measured; measured: {', '.join(self.modules)}")
            size, *levels = map(int, re.findall("[0-9]+", name))
            level = max(levels)
            depths[size] = max(level, depths.get(size, 0))
            total += self.modules[name]
        return total + sum(self.resize[size] + sum(self.stages[size][:depth]) for size, depth in depths.items())


def measure(model: Model, *, repeats: int = 20, image: NDArray[np.uint8] | None = None) -> Costs:
    """Return what the parts of a model cost on this machine, with the threads that torch has: medians.

    Of a model with tiles it is that of all tiles of the median image of its fit. repeats: passes over all parts, at
    least 1; the parts take turns, so that a disturbance falls on all of them. image: (H, W, 3) uint8, what is resized;
    default: 512 x 512. Raises InputError for other repeats.
    """
    if repeats < 1:
        raise InputError(f"repeats: {repeats} is not allowed, expected a whole number of at least 1")
    if image is None:
        image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    for _ in range(WARM_UP):
        _pass(model, image, defaultdict(list))
    seconds: Seconds = defaultdict(list)
    for _ in range(repeats):
        _pass(model, image, seconds)
    tiles = model.header.tiles.count if model.header.tiles else 1
    ms = {key: tiles * 1000 * median(values) for key, values in seconds.items()}
    return Costs(
        resize={size: ms["resize", size, 0] for size in model.sizes},
        stages={size: tuple(value for key, value in ms.items() if key[:2] == ("stage", size)) for size in model.sizes},
        modules={one.name: ms["module", one.size, one.name] for one in model.modules},
        megabytes={
            one.name: sum(4 * value.numel() for value in one.state_dict().values() if value.is_floating_point()) / 1e6
            for one in model.modules
        },
    )


def _pass(model: Model, image: NDArray[np.uint8], seconds: Seconds) -> None:
    """Score one image as a prediction does, and add the time of each part."""
    teacher, header, place = model.teacher, model.header, model.teacher.mean.device
    with torch.inference_mode():
        for size in model.sizes:
            with _timed(seconds, "resize", size, 0):
                feature = stack([image], [size])[size].to(place)
            here = [module for module in model.modules if module.size == size]
            students = {module.level: module for module in here if isinstance(module, Module)}
            features = {}
            for level in range(1, max(module.level for module in here) + 1):
                previous = feature
                with _timed(seconds, "stage", size, level):
                    given = previous if level > 1 else teacher.normalise(previous)
                    feature = features[level] = teacher.stages[level - 1](given)
                if student := students.get(level):
                    with _timed(seconds, "module", size, student.name):
                        score_map = module_score(student, feature, student.student(previous), score=header.score)
                        resample(score_map, header.map_size)
            for memory in (module for module in here if isinstance(module, Memory)):
                with _timed(seconds, "module", size, memory.name):
                    resample(memory(memory.joined(features)), header.map_size)


@contextmanager
def _timed(seconds: Seconds, part: str, size: int, level: str | int) -> Iterator[None]:
    start = time.perf_counter()
    yield
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    seconds[part, size, level].append(time.perf_counter() - start)
