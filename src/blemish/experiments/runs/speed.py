"""How fast this machine trains and measures: from what was done here before, else a few steps on random features."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from blemish.evaluation.metrics import pixel_metrics
from blemish.experiments.grid.grid import Unit
from blemish.experiments.grid.rows import PLAIN, RESOLUTION, Row, Settings
from blemish.experiments.store.stopwatch import read_costs
from blemish.experiments.store.store import Store
from blemish.method.learning.training import Recipe, count_steps, find_recipe, sizes_below, train_module
from blemish.method.teacher import empty_teacher, student_stage

IMAGES = 4  # that are computed while networks and metrics are timed
STEPS = 3
SLOW = 2.0  # seconds; what takes longer is not timed again
STATISTICS = 3  # times that a student sees all images again once it is trained

Shapes = dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]]  # (size, level) -> f^{l-1} and f^l, (C, h, w)
Kind = tuple[str, str, str]  # teacher, recipe, SIZE/LEVEL


class Speed:
    """Estimates seconds; each kind of module is timed once, when it is first asked for."""

    def __init__(self, stores: Sequence[Store], rows: Sequence[Row], *, device: str) -> None:
        self.device = device
        self.known = _known(stores)
        self.measured: dict[Kind, tuple[float, float]] = {}
        found = [row.search_seconds for row in rows if row.search_seconds is not None]
        self.search = sum(found) / len(found) if found else None
        self.pixels: float | None = None

    def training(self, unit: Unit, names: Sequence[str]) -> float:
        """Return the seconds that training these modules of a unit takes, maps of the test images included.

        The other methods, which take as many steps, are taken to cost as much as the modules do.
        """
        total = 0.0
        recipe = find_recipe(unit.recipe)
        for name in names:
            size, level = map(int, name.split("/"))
            kind = (unit.teacher, unit.recipe, name)
            if kind in self.known:
                total += self.known[kind] * (unit.contents.trained if recipe.epochs else 1)
                continue
            if kind not in self.measured:
                self.measured[kind] = time_module(unit.teacher, recipe, size, level, device=self.device)
            step, image = self.measured[kind]
            total += step * count_steps(recipe, unit.contents.trained, warm=sizes_below(size, unit.sizes))
            total += image * (unit.contents.trained + len(unit.contents.samples))
        return total

    def row(self, unit: Unit, settings: Settings) -> float:
        """Return the seconds that measuring a row takes; a search counts if one was measured."""
        if self.pixels is None:
            self.pixels = time_pixels()
        search = 0.0 if settings.weighting in PLAIN else self.search or 0.0
        return self.pixels * len(unit.contents.samples) + search


@cache
def shapes(teacher: str, sizes: tuple[int, ...], levels: tuple[int, ...]) -> Shapes:
    """Return the shapes of the features f^{l-1} and f^l of every module, {(size, level): ((C', h', w'), (C, h, w))}."""
    found: Shapes = {}
    with torch.device("meta"):  # shapes without values, and without their cost
        network = empty_teacher(teacher, max(levels), sha256="")
        for size in sizes:
            for level, previous, feature in network.features(torch.empty(1, 3, size, size), levels):
                found[size, level] = tuple(previous.shape[1:]), tuple(feature.shape[1:])
    return found


def time_module(teacher: str, recipe: Recipe, size: int, level: int, *, device: str) -> tuple[float, float]:
    """Return the seconds of one training step of a module, and of what each image takes beside the steps.

    The latter is the teacher's pass for the feature, and the student's for the statistics. Weights and features are
    random: time does not depend on them.
    """
    ((before, after),) = shapes(teacher, (size,), (level,)).values()
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn((recipe.batch_size, *shape), generator=random) for shape in (before, after))
    student = student_stage(teacher, level, seed=0).to(device).to(memory_format=torch.channels_last)
    network = empty_teacher(teacher, level, sha256="").to(device).to(memory_format=torch.channels_last)

    def train(steps: int) -> None:
        train_module(student, x, y, recipe=replace(recipe, epochs=None, steps=steps, warm_steps=steps), seed=0)

    def passes() -> None:
        with torch.inference_mode():
            images = torch.rand((IMAGES, 3, size, size), generator=random).to(device)
            for _ in network.features(images.contiguous(memory_format=torch.channels_last), [level]):
                pass
            for _ in range(STATISTICS):
                student(x[:IMAGES].to(device)).cpu()

    first = _seconds(lambda: train(1))
    if first < SLOW:  # the first step warms up; what a training takes beside its steps is in both of the others
        once = _seconds(lambda: train(1))
        first = max(_seconds(lambda: train(1 + STEPS)) - once, 0.0) / STEPS
    return first, _seconds(passes) / IMAGES


def time_pixels() -> float:
    """Return the seconds that metrics at 256 x 256 take for each image."""
    random = np.random.default_rng(0)
    maps = list(random.random((IMAGES, RESOLUTION, RESOLUTION), dtype=np.float32))
    masks = [one > 0.99 for one in random.random((IMAGES, RESOLUTION // 8, RESOLUTION // 8))]
    large = [np.kron(mask, np.ones((8, 8))).astype(np.bool_) for mask in masks]
    pixel_metrics(maps[:1], large[:1])  # the first call imports what it needs
    return _seconds(lambda: pixel_metrics(maps, large)) / IMAGES


def _known(stores: Sequence[Store]) -> dict[Kind, float]:
    """Return the mean seconds of each kind of module that was trained here; with epochs, for each image."""
    found: dict[Kind, list[float]] = {}
    for store in stores:
        unit = store.unit
        load = unit.contents.trained if find_recipe(unit.recipe).epochs else 1
        for name, seconds in read_costs(store.costs).items():
            if name in unit.names:
                found.setdefault((unit.teacher, unit.recipe, name), []).append(seconds / load)
    return {kind: sum(seconds) / len(seconds) for kind, seconds in found.items()}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
