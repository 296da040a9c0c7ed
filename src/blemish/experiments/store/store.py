"""What is kept of a training unit: its model files, its module maps of the test images, and what the fit took.

<out>/models/<unit>/levels-2-3-4.safetensors     model files; later levels get a file of their own
<out>/models/<unit>/partial/                     the modules of a fit that is not finished
<out>/models/<unit>/costs.json                   seconds per module, peak memory
<out>/models/<unit>/maps-<test images>/whitened-256-3.npy     (N, h, w) float32, at the module's own resolution
"""

import hashlib
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blemish.data.holdout import split_good
from blemish.data.sources import identify, load
from blemish.detector import Detector
from blemish.errors import InputError, printable
from blemish.experiments.grid.contents import image_paths
from blemish.experiments.grid.grid import Grid, Unit
from blemish.experiments.grid.rows import RESOLUTION, Score
from blemish.experiments.store import variants
from blemish.experiments.store.stopwatch import PEAK, Stopwatch, add_cost, read_costs
from blemish.method.learning.progress import Progress
from blemish.method.learning.training import find_recipe
from blemish.method.pretrained import load_teacher
from blemish.method.pyramid import read_pyramid, stack
from blemish.method.scoring import AnyModule, module_features, module_score, one_by_one, score_pyramid
from blemish.method.teacher import Teacher, pick_device
from blemish.storage.files import clean_stale, make_folder, write_atomically
from blemish.version import __version__

TIMED = 5  # images that are timed, one by one
Report = Callable[[Progress], None]


class Store:
    """The kept modules and maps of one training unit; what is not there yet is made when it is asked for."""

    def __init__(self, unit: Unit, grid: Grid, *, out: Path, report: Report | None = None) -> None:
        self.unit, self.report = unit, report
        self.weights, self.device = grid.weights.get(unit.teacher), grid.device
        self.out = out
        self.folder = out / "models" / key(unit)
        # Maps lie in the order of the images, which the digests of what they are know nothing of.
        self.maps_folder = self.folder / maps_name(unit.contents.hashes)
        self.costs = self.folder / "costs.json"
        self._detectors: list[Detector] = []
        self._milliseconds: dict[tuple[str, ...], float] = {}

    def missing(self) -> list[str]:
        """Return the modules that no file holds yet; for other methods than the paper's, those without maps."""
        if self.unit.method == "imitation":
            there = {level for levels in self._files() for level in levels}
            return [name for name in self.unit.names if int(name.split("/")[1]) not in there]
        return [] if self._all_maps() else self.unit.names

    def maps(self, score: Score) -> dict[str, Tensor]:
        """Return the maps of every module of the unit, {SIZE/LEVEL: (N, h, w)}; trains and computes what is missing."""
        if not self._all_maps():
            make_folder(self.maps_folder)
            {"imitation": self._score, "one group": self._one_group, "chained": self._chained}[self.unit.method]()
        return {name: read_maps(self.maps_folder, score, name) for name in self.unit.names}

    def seconds(self, levels: Sequence[int]) -> float | None:
        """Return the seconds that training took for all sizes at these levels, None if that is not known."""
        wanted = {f"{size}/{level}" for size in self.unit.sizes for level in levels} | {self.unit.method}
        found = [seconds for name, seconds in read_costs(self.costs).items() if name in wanted]
        return round(sum(found), 1) if found else None

    def peak_rss_mb(self) -> int | None:
        """Return the peak memory of the process that trained, in MB, up to the end of the training."""
        peak = read_costs(self.costs).get(PEAK)
        return None if peak is None else round(peak)

    def milliseconds(self, names: Sequence[str], score: Score) -> float | None:
        """Return the time from a decoded image to the combined map of these modules: the median of some images, ms.

        None for modules that are in no model file.
        """
        if self.unit.method != "imitation":
            return None
        wanted = (score, *sorted(names))
        if wanted not in self._milliseconds:
            self._milliseconds[wanted] = self._time(names, score)
        return self._milliseconds[wanted]

    def _time(self, names: Sequence[str], score: Score) -> float:
        detectors = self._fitted()
        modules = [module for detector in detectors for module in detector.modules_ if module.name in names]
        sizes = sorted({module.size for module in modules})
        images = [load(path) for path in image_paths(self.unit.contents.samples)[:TIMED]]
        teacher, times = detectors[0].model_.teacher, []
        for image in [images[0], *images]:  # the first time does not count
            started = time.perf_counter()
            score_pyramid(teacher, modules, stack([image], sizes), size=RESOLUTION, score=score)
            times.append(1000 * (time.perf_counter() - started))
        return round(float(np.median(times[1:])), 2)

    def _fitted(self) -> list[Detector]:
        """Return the detectors that together hold all modules of the unit; a level that none has is trained now."""
        if not self._detectors:
            for path in self._files().values():
                self._detectors.append(Detector.load(path, weights=self.weights, device=self.device))
        there = {level for detector in self._detectors for level in detector.levels}
        if missing := [level for level in self.unit.levels if level not in there]:
            self._detectors.append(self._fit(missing))
        return self._detectors

    def _fit(self, levels: Sequence[int]) -> Detector:
        unit, partial = self.unit, self.folder / "partial"
        make_folder(self.folder)
        detector = Detector(
            sizes=unit.sizes, levels=levels, teacher=unit.teacher, weights=self.weights, recipe=unit.recipe,
            seed=unit.seed, device=self.device, score="whitened", tiles=None,
        )  # fmt: skip
        file = self.folder / f"levels-{'-'.join(map(str, sorted(levels)))}.safetensors"
        for path in (file, self.costs):
            clean_stale(path)
        clock = Stopwatch(self.costs, self.report)
        detector.fit(unit.contents.good, held_out=unit.contents.apart or None, workspace=partial, report=clock, jobs=1)
        detector.save(file)
        clock.finish()
        shutil.rmtree(partial, ignore_errors=True)
        return detector

    def _files(self) -> dict[tuple[int, ...], Path]:
        """Return the model files with levels of the unit, by their levels; no level is in two of them."""
        paths = sorted(self.folder.glob("levels-*.safetensors"))
        found = {tuple(int(text) for text in path.stem.split("-")[1:]): path for path in paths}
        return {levels: path for levels, path in found.items() if set(levels) & set(self.unit.levels)}

    def _score(self) -> None:
        """Compute and keep the maps of the paper's modules, both scores in one pass."""
        wanted = {name for name in self.unit.names if not self._has_maps(name)}
        for detector in self._fitted():
            if modules := [module for module in detector.modules_ if module.name in wanted]:
                self._keep_maps(detector.model_.teacher, modules)

    def _one_group(self) -> None:
        teacher, pyramid = self._teacher(), self._pyramid()
        started = time.monotonic()
        recipe = find_recipe(self.unit.recipe)
        modules = variants.train_one_group(
            teacher, pyramid, levels=self.unit.levels, recipe=recipe, seed=self.unit.seed
        )
        add_cost(self.costs, self.unit.method, time.monotonic() - started)
        self._keep_maps(teacher, modules)

    def _chained(self) -> None:
        unit, teacher, pyramid = self.unit, self._teacher(), self._pyramid()
        started = time.monotonic()
        recipe = find_recipe(unit.recipe)
        chains = variants.train_chained(teacher, pyramid, levels=unit.levels, recipe=recipe, seed=unit.seed)
        add_cost(self.costs, unit.method, time.monotonic() - started)
        images = read_pyramid(image_paths(unit.contents.samples), unit.sizes)
        for (size, level), maps in variants.chained_maps(teacher, chains, images, levels=unit.levels).items():
            self._keep("paper", f"{size}/{level}", maps)

    def _keep_maps(self, teacher: Teacher, modules: Sequence[AnyModule]) -> None:
        paths = image_paths(self.unit.contents.samples)
        parts: dict[tuple[Score, str], list[Tensor]] = {}
        for path in paths:
            (image,) = one_by_one(teacher, stack([load(path)], {module.size for module in modules}))
            with torch.inference_mode():
                for module, feature, student in module_features(teacher, modules, image):
                    for score in self._scores():
                        found = module_score(module, feature, student, score=score)
                        parts.setdefault((score, module.name), []).append(found.cpu())
        for (score, name), maps in parts.items():
            self._keep(score, name, torch.cat(maps))

    def _keep(self, score: Score, name: str, maps: Tensor) -> None:
        stream = io.BytesIO()
        np.save(stream, maps.numpy().astype(np.float32, copy=False))
        path = _map_file(self.maps_folder, score, name)
        clean_stale(path)
        write_atomically(path, stream.getvalue())

    def _scores(self) -> tuple[Score, ...]:
        return ("paper",) if self.unit.method == "chained" else ("paper", "whitened")

    def _all_maps(self) -> bool:
        return all(map(self._has_maps, self.unit.names))

    def _has_maps(self, name: str) -> bool:
        return all(_map_file(self.maps_folder, score, name).exists() for score in self._scores())

    def _teacher(self) -> Teacher:
        teacher = load_teacher(self.unit.teacher, self.weights).to(pick_device(self.device))
        return teacher.to(memory_format=torch.channels_last)

    def _pyramid(self) -> dict[int, Tensor]:
        """Return the images that train, at every size, as `Detector.fit` picks them."""
        contents = self.unit.contents
        paths = [*contents.good, *contents.apart]
        train = split_good([image.sha256 for image in identify(paths)], apart=len(contents.apart)).train
        return {size: images[train] for size, images in read_pyramid(paths, self.unit.sizes).items()}


def read_maps(folder: Path, score: Score, name: str) -> Tensor:
    """Return the kept maps of a module, (N, h, w); raises InputError for a file that is missing or damaged."""
    path = _map_file(folder, score, name)
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{printable(path)}: cannot be read; remove the file to compute it again") from error


def _map_file(folder: Path, score: Score, name: str) -> Path:
    return folder / f"{score}-{name.replace('/', '-')}.npy"


def maps_name(hashes: Sequence[str]) -> str:
    """Return the name of the folder of the maps of test images, given their hashes in order."""
    return f"maps-{hashlib.sha256(''.join(hashes).encode()).hexdigest()[:16]}"


def key(unit: Unit) -> str:
    """Return the name of a unit's folder; units that differ in anything that training sees have different ones."""
    levels = None if unit.method == "imitation" else unit.levels  # chained students learn their levels together
    facts = [__version__, unit.contents.train_sha256, unit.teacher, unit.teacher_sha256,
             asdict(find_recipe(unit.recipe)), unit.seed, unit.sizes, levels, unit.method]  # fmt: skip
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', unit.contents.category)[:40]}-{digest[:16]}"
