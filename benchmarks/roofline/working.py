"""Measures what a model takes on this machine: its parts, whole predictions, a run of training."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from counting import Operation, Part, Tally, by_kind, count_parts
from numpy.typing import NDArray
from profiling import Seconds, graph_seconds

BATCH = 64  # images at a time, where it is not one
TRAIN_STEPS = 60  # of a run of training; a fit takes the recipe's, which cost the same each
COUNTED = 3  # steps that are counted operation by operation
CACHED = 64  # images whose features such a run learns from
FIT_IMAGES = 300  # of the fit that is told of
SIZE = 256  # of the modules trained

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Timed:
    """What one image took, and what its parts ask for.

    seconds: from the array to the result; resize: of resizing to all sizes; network: of teacher and modules, None where
    it does not show. images: given at once; streams: scored at the same time. demands: of each part its FLOPs, bytes of
    its weights and bytes at its ends in float32. graph: seconds of each kind of operation of a bundle's graph.
    """

    name: str
    precision: str
    images: int
    streams: int
    seconds: float
    resize: float
    network: float | None
    demands: list[tuple[int, int, int]]
    graph: Seconds = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """A run of training of one module: FLOPs and seconds of a step, and of the teacher's pass over one image."""

    module: str
    batch: int
    step_flops: int
    step_seconds: float
    pass_flops: int
    pass_seconds: float
    steps: int  # of a fit by the recipe
    kinds: list[Operation]  # of one step, each the sum of its kind

    @property
    def fit_flops(self) -> int:
        return self.steps * self.step_flops + FIT_IMAGES * self.pass_flops

    @property
    def fit_seconds(self) -> float:
        return self.steps * self.step_seconds + FIT_IMAGES * self.pass_seconds


def untrained(
    name: str, names: Sequence[str], *, reference_size: int, score: Literal["whitened", "paper"] = "whitened"
) -> Any:
    """Return a detector with random weights and modules named SIZE/LEVEL: as fast as a trained one."""
    from blemish import Detector
    from blemish.data.records import DataPart
    from blemish.images.read import FULL_BITS
    from blemish.method.modules import new_module
    from blemish.method.teacher import architecture, empty_teacher, move_to
    from blemish.model.assembly import module_part, preprocessing
    from blemish.model.header import CalibrationPart, Header, TeacherPart
    from blemish.model.model import Model

    pairs = [tuple(map(int, one.split("/"))) for one in names]
    known, share = architecture(name), 1 / len(pairs)
    teacher = empty_teacher(name, max(level for _, level in pairs), sha256="0" * 64)
    modules = [new_module(known, size=size, level=level, weight=share, seed=0) for size, level in pairs]
    for network in (teacher, *modules):
        move_to(network, "cpu")
    header = Header(
        blemish="0", created="2026-01-01T00:00:00+00:00", sizes=sorted({size for size, _ in pairs}),
        teacher=TeacherPart(name=name, sha256="0" * 64, embedded=False),
        preprocessing=preprocessing(known, bits=FULL_BITS), reference_size=reference_size, recipe={"name": "fast"},
        seed=0, score=score, libraries={},
        modules=[module_part(module) for module in modules],
        calibration=CalibrationPart(review=0.5, good=-14, limit=-8),
        data=DataPart(train=[], held_out=[]),
    )  # fmt: skip
    detector = Detector(teacher=name)
    detector.model_ = Model(teacher, modules, header)
    return detector


def time_parts(detector: Any, image: Image, *, repeats: int) -> dict[str, float]:
    """Return the seconds of every part, named as in `count_parts`."""
    from blemish.weighing.costs import measure

    costs = measure(detector.model_, repeats=repeats, image=image)
    stages = {f"{size}/T{level}": ms for size, times in costs.stages.items() for level, ms in enumerate(times, 1)}
    return {name: ms / 1000 for name, ms in (stages | costs.modules).items()}


def time_model(
    detector: Any, parts: Sequence[Part], images: Sequence[Image], *, network: float, repeats: int
) -> list[Timed]:
    """Return what predictions by torch take, one image at a time and in a batch; network: seconds of all parts."""
    demands, sizes = _demands(parts), _sizes(parts)
    shrink, single = _resize_seconds(images, sizes, repeats), _single_seconds(detector.predict, images, repeats)
    batch = _batch_seconds(detector.predict, images)
    return [
        Timed("torch", "float32", 1, 1, single, shrink, network, demands),
        Timed("torch", "float32", BATCH, 1, batch, shrink, None, demands),
    ]


def time_bundle(folder: Path, images: Sequence[Image], *, threads: int, repeats: int) -> list[Timed]:
    """Return what whole predictions by the runtime take: one image at a time on all threads, a batch with one each."""
    from blemish.runtime import Runtime

    runtime = Runtime.load(folder, threads=threads)
    header, precision, name = runtime.header_, runtime.bundle.precision, f"{folder.name} ({runtime.bundle.target})"
    names = [f"{one.size}/{one.level}" for one in header.modules]
    model = untrained(header.teacher.name, names, reference_size=header.reference_size, score=header.score)
    parts = count_parts(model)
    demands, sizes = _demands(parts), _sizes(parts)
    shrink, single = _resize_seconds(images, sizes, repeats), _single_seconds(runtime.predict, images, repeats)
    network = _single_seconds(lambda image: [runtime.raw_map(image[0])], images, repeats) - shrink
    graph = graph_seconds(runtime, folder, sizes, threads=threads, repeats=repeats)
    batch = _batch_seconds(Runtime.load(folder, threads=threads, streams=threads).predict, images)
    return [
        Timed(name, precision, 1, 1, single, shrink, network, demands, graph),
        Timed(name, precision, BATCH, threads, batch, shrink, None, demands),
    ]


def _demands(parts: Sequence[Part]) -> list[tuple[int, int, int]]:
    return [(part.flops, part.weights, part.ends) for part in parts]


def _sizes(parts: Sequence[Part]) -> list[int]:
    return sorted({int(part.name.split("/")[0]) for part in parts})


def _resize_seconds(images: Sequence[Image], sizes: Sequence[int], repeats: int) -> float:
    from blemish.images.resize import resize

    return _single_seconds(lambda image: [resize(image[0], size) for size in sizes], images, repeats)


def _single_seconds(work: Callable[[list[Image]], Iterable[Any]], images: Sequence[Image], repeats: int) -> float:
    """Return the median of the seconds that one image takes; the first three are not counted."""
    some = [[image] for image in islice(cycle(images), repeats + 3)]
    return median([_seconds(work, image) for image in some][3:])


def _batch_seconds(work: Callable[[list[Image]], Iterable[Any]], images: Sequence[Image]) -> float:
    """Return the seconds for each image of BATCH given together, the median of three times."""
    some = list(islice(cycle(images), BATCH))
    return median(_seconds(work, some) for _ in range(3)) / BATCH


def _seconds(work: Callable[[list[Image]], Iterable[Any]], images: list[Image]) -> float:
    start = time.perf_counter()
    list(work(images))
    return time.perf_counter() - start


def time_training(detector: Any, level: int, *, steps: int = TRAIN_STEPS) -> Trained:
    """Return what training one module of that level at SIZE takes, on features of random images."""
    from blemish.method.learning.features import cached_features
    from blemish.method.learning.training import PROBE, RECIPES, batch_size, crop_margin, train_module
    from blemish.method.teacher import student_stage

    fast, name = RECIPES["fast"], detector.model_.teacher.architecture.name
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (CACHED, 3, SIZE, SIZE), generator=random, dtype=torch.uint8)
    with Tally() as tally:
        cached_features(detector.model_.teacher, images[:16], level, bfloat16=False)
    pass_flops = sum(one.flops for one in tally.operations) // 16
    start = time.perf_counter()
    x, y = cached_features(detector.model_.teacher, images, level, bfloat16=False)
    cached = (time.perf_counter() - start) / CACHED

    def run(steps: int, **watch: Any) -> None:
        student = student_stage(name, level, seed=0).to(memory_format=torch.channels_last)
        train_module(student, x, y, recipe=replace(fast, steps=steps), seed=0, **watch)

    margin = crop_margin(student_stage(name, level, seed=0), x, y)
    crop = fast.crop if margin < PROBE // 2 else None
    batch = batch_size(fast, SIZE >> level, crop=crop, margin=margin)
    counts = []
    for some in (1, 1 + COUNTED):  # less the first: steps alone, without what comes before and after them
        with Tally() as tally:
            run(some)
        counts.append(by_kind(tally.operations))
    kinds = [_per_step(of_all, counts[0].get(kind)) for kind, of_all in counts[1].items()]
    rates: list[float] = []
    run(steps, report=lambda *told: rates.append(told[-1]))
    return Trained(
        f"{SIZE}/{level}", batch, sum(one.flops for one in kinds), batch / rates[-1],
        pass_flops, cached, fast.steps or 0, kinds,
    )  # fmt: skip


def _per_step(after: Operation, before: Operation | None) -> Operation:
    values = (getattr(after, name) - getattr(before, name, 0) for name in ("flops", "bytes", "seconds"))
    flops, moved, seconds = (value / COUNTED for value in values)
    return replace(after, flops=round(flops), bytes=round(moved), seconds=max(seconds, 0.0))
