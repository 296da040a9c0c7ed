"""What each module costs on this machine, and which sets of modules are worth their time."""

import io
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable
from blemish.files import write_atomically

if TYPE_CHECKING:
    from blemish.detector import Detector

WARM_UP = 3  # passes that are not counted
Seconds = dict[tuple[str, int, int], list[float]]  # (part, size, level) -> one per pass


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
        """Return the milliseconds of a set of modules, each named SIZE/LEVEL.

        A size is resized once, and each teacher stage of it computed once, only as deep as its modules need. Raises
        InputError for a module that was not measured.
        """
        depths: dict[int, int] = {}
        total = 0.0
        for name in set(modules):
            if name not in self.modules:
                raise InputError(f"module {printable(name)} was not measured; measured: {', '.join(self.modules)}")
            size, level = map(int, name.split("/"))
            depths[size] = max(level, depths.get(size, 0))
            total += self.modules[name]
        return total + sum(self.resize[size] + sum(self.stages[size][:depth]) for size, depth in depths.items())


@dataclass(frozen=True, slots=True)
class Point:
    """A set of modules, the milliseconds that it costs, and how good it is (any measure; higher is better)."""

    modules: tuple[str, ...]
    ms: float
    accuracy: float


def measure(detector: "Detector", *, repeats: int = 20, image: NDArray[np.uint8] | None = None) -> Costs:
    """Return what the parts of a fitted detector cost on this machine, with the threads that torch has: medians.

    repeats: passes over all parts, at least 1; the parts take turns, so that a disturbance falls on all of them. image:
    (H, W, 3) uint8, what is resized; default: 512 x 512. Raises InputError for other repeats or an unfitted detector.
    """
    if repeats < 1:
        raise InputError(f"repeats: {repeats} is not allowed, expected a whole number of at least 1")
    if not hasattr(detector, "header_"):
        raise InputError("this detector is not fitted yet: call fit, or Detector.load")
    if image is None:
        image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    for _ in range(WARM_UP):
        _pass(detector, image, defaultdict(list))
    seconds: Seconds = defaultdict(list)
    for _ in range(repeats):
        _pass(detector, image, seconds)
    ms = {key: 1000 * median(values) for key, values in seconds.items()}
    sizes = sorted({module.size for module in detector.modules_})
    return Costs(
        resize={size: ms["resize", size, 0] for size in sizes},
        stages={size: tuple(value for key, value in ms.items() if key[:2] == ("stage", size)) for size in sizes},
        modules={one.name: ms["module", one.size, one.level] for one in detector.modules_},
        megabytes={
            one.name: sum(4 * value.numel() for value in one.state_dict().values() if value.is_floating_point()) / 1e6
            for one in detector.modules_
        },
    )


def pareto(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats: cheaper or equal, and better; of equals the one with the fewest modules.

    Ascending in milliseconds and in accuracy. Raises InputError for a number that is not finite.
    """
    points = list(points)
    for point in points:
        if not (math.isfinite(point.ms) and math.isfinite(point.accuracy)):
            name = "+".join(point.modules)
            raise InputError(f"{printable(name)}: {point.ms} ms and accuracy {point.accuracy}: both must be finite")
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.accuracy, len(point.modules), point.modules)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def plot_front(
    path: str | os.PathLike[str], points: Sequence[Point], *, chosen: Point | None = None, quantity: str = "AUPRO"
) -> None:
    """Draw points, their Pareto front, each with its number of modules, and the chosen one: a PNG 800 px wide.

    quantity: what the accuracy is. Raises InputError as `pareto` does, StorageError if the file cannot be written.
    """
    from matplotlib.figure import Figure

    front = pareto(points)
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([p.ms for p in points], [p.accuracy for p in points], "o", color="0.75", ms=5, label="sets of modules")
    axes.plot(
        [p.ms for p in front], [p.accuracy for p in front], "o-", color="tab:blue", ms=7, label="best for their time"
    )
    if chosen:
        text = f"chosen: {_modules(chosen)}, {chosen.ms:.3g} ms, {chosen.accuracy:.3f}"
        axes.plot([chosen.ms], [chosen.accuracy], "o", ms=16, mfc="none", mec="tab:red", mew=2.5, label=text)
    axes.margins(0.08, 0.12)
    axes.set_xlabel("ms per image on this machine, decoding not counted", fontsize=13)
    axes.set_ylabel(quantity, fontsize=13)
    axes.tick_params(labelsize=12)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.legend(fontsize=12, loc="lower right")
    figure.draw_without_rendering()  # where a point lies on the picture is known only then
    last = (-math.inf, -math.inf)
    for point in front:
        x, y = axes.transData.transform((point.ms, point.accuracy))
        if x - last[0] > 22 or y - last[1] > 16:  # px; a label that would cover its neighbour is left out
            last = (x, y)
            axes.annotate(str(len(point.modules)), (point.ms, point.accuracy), xytext=(-4, 9), ha="right",
                          textcoords="offset points", fontsize=12)  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def _pass(detector: "Detector", image: NDArray[np.uint8], seconds: Seconds) -> None:
    """Score one image as a prediction does, and add the time of each part."""
    import torch

    from blemish.imitation import resample
    from blemish.pyramid import stack
    from blemish.scoring import module_score

    teacher, header, place = detector._teacher, detector.header_, detector._teacher.mean.device
    modules = {(module.size, module.level): module for module in detector.modules_}
    with torch.inference_mode():
        for size in sorted({module.size for module in detector.modules_}):
            with _timed(seconds, "resize", size, 0):
                feature = stack([image], [size])[size].to(place)
            for level in range(1, max(deep for side, deep in modules if side == size) + 1):
                previous = feature
                with _timed(seconds, "stage", size, level):
                    given = previous if level > 1 else teacher.normalise(previous)
                    feature = teacher.stages[level - 1](given)
                if module := modules.get((size, level)):
                    with _timed(seconds, "module", size, level):
                        score_map = module_score(module, feature, module.student(previous), score=header.score)
                        resample(score_map, header.reference_size)


@contextmanager
def _timed(seconds: Seconds, part: str, size: int, level: int) -> Iterator[None]:
    import torch

    start = time.perf_counter()
    yield
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    seconds[part, size, level].append(time.perf_counter() - start)


def _modules(point: Point) -> str:
    return "1 module" if len(point.modules) == 1 else f"{len(point.modules)} modules"
