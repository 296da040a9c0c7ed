"""What a GPU does: a fit, the same model beside the CPU, images a second, the recipe `paper`.

    python benchmarks/gpu/run.py CATEGORY OUT [--seconds 500] [--dry]

Each part runs in a process of its own with a time limit, and prints as it ends; what it has found is a line of
OUT/results.jsonl. The last part takes what time is left. --dry: tiny, on the CPU, to see that all of it runs.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blemish import Detector
from blemish.data.datasets import test_samples
from blemish.evaluation.evaluate import evaluate
from blemish.images.read import read_image
from blemish.method.learning import training
from blemish.method.pyramid import stack
from blemish.method.scoring import score_maps

LIMITS = {"machine": 60, "fit": 150, "same": 150, "speed": 90, "paper": None}  # s; None: all that is left
LEAST = 20  # s that are left for a part, or it is not begun
BATCHES = (1, 8, 64)
LASTING = 3.0  # s for each figure of the speed
Found = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Run:
    """What every part is told."""

    category: Path
    out: Path
    dry: bool

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (64, 96) if self.dry else (128, 256, 384)

    @property
    def levels(self) -> tuple[int, ...]:
        return (2, 3) if self.dry else (2, 3, 4)

    @property
    def model(self) -> Path:
        return self.out / "model.safetensors"

    def detector(self, **options: Any) -> Detector:
        return Detector(**({"sizes": self.sizes, "levels": self.levels, "device": self.device} | options))


def main() -> None:
    """Run all parts, or, in a process of its own, one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("category", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=500)
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--part", choices=LIMITS)
    given = parser.parse_args()
    if given.part:
        alone(given.part, Run(given.category, given.out, given.dry))
        return
    given.out.mkdir(exist_ok=True)
    end, failed = time.monotonic() + given.seconds, False
    for part, limit in LIMITS.items():
        left = end - time.monotonic()
        if left < LEAST:
            print(f"{part}: not begun, {left:.0f} s are left", flush=True)
            continue
        began = time.monotonic()
        try:
            subprocess.run([sys.executable, *sys.argv, "--part", part], check=True, timeout=min(limit or left, left))
        except subprocess.TimeoutExpired:
            print(f"{part}: stopped after its {time.monotonic() - began:.0f} s", flush=True)
            failed = failed or limit is not None  # the last part is meant to be cut
        except subprocess.CalledProcessError as error:
            print(f"{part}: failed with {error.returncode}", flush=True)
            failed = True
    sys.exit(failed)


def alone(part: str, run: Run) -> None:
    """Run one part; print and keep what it finds, as it finds it."""
    if run.dry:
        for name in ("fast", "paper"):
            short = dataclasses.replace(training.RECIPES[name], epochs=None, steps=4, warm_steps=2)
            training.RECIPES[name] = short
    for found in PARTS[part](run):
        line = {"part": part} | found
        with open(run.out / "results.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{part}: " + ", ".join(f"{key} {_shown(value)}" for key, value in found.items()), flush=True)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def machine(run: Run) -> Iterator[Found]:
    """Say what computes, and how long it takes until it computes anything."""
    start = time.perf_counter()
    torch.ones(8, device=run.device).sum().item()
    name = "cpu" if run.dry else torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0))
    yield {"device": name, "cores": cores, "torch": torch.__version__, "seconds to begin": time.perf_counter() - start}


def fit(run: Run) -> Iterator[Found]:
    """Fit nine modules with the recipe `fast`, and say when each was done."""
    _reset(run)
    marks: list[tuple[str, float]] = []
    start = time.perf_counter()

    def report(progress: Any) -> None:
        if not marks:
            marks.append(("read", time.perf_counter() - start))
        if progress.step == progress.steps:
            marks.append((progress.module, time.perf_counter() - start))

    detector = run.detector().fit(run.category, report=report)
    whole = time.perf_counter() - start
    detector.save(run.model)
    images = len(detector.header_.data.train)
    yield {"modules": len(detector.modules_), "images": images, "seconds": whole, "peak MB": _peak(run)}
    yield {f"until {name}": seconds for name, seconds in marks} | {"until the end": whole}


def same(run: Run) -> Iterator[Found]:
    """Score all test images with the same model on both, and evaluate both."""
    gpu, cpu = (Detector.load(run.model, device=device) for device in (run.device, "cpu"))
    paths = [sample.path for sample in test_samples(run.category)]
    maps, scores = [], []
    for one, other in zip(gpu.predict(paths), cpu.predict(paths), strict=True):
        maps.append(float(np.abs(one.score_map - other.score_map).max()))
        scores.append(abs(one.score - other.score))
    yield {"images": len(paths), "largest difference of a map": max(maps), "of an image score": max(scores)}
    for name, detector in (("GPU", gpu), ("CPU", cpu)):
        yield {"on": name} | _figures(detector, run)


def speed(run: Run) -> Iterator[Found]:
    """Predict images one after the other, as the product does, and score batches that lie on the device."""
    detector = Detector.load(run.model, device=run.device)
    paths = [sample.path for sample in test_samples(run.category)][:64]
    _reset(run)
    rate = _rate(lambda: detector.predict(paths[:8]), count=min(len(paths), 8), run=run)
    yield {"batch": "files, one by one", "images/s": rate, "peak MB": _peak(run)}
    model, header = detector.model_, detector.header_
    for count in BATCHES:
        images = [read_image(paths[index % len(paths)]) for index in range(count)]
        batch = {size: part.to(run.device) for size, part in stack(images, header.sizes).items()}

        def once(batch: Any = batch) -> None:
            with torch.inference_mode():
                score_maps(model.teacher, model.modules, batch, size=header.reference_size, score=header.score).cpu()

        _reset(run)
        yield {"batch": count, "images/s": _rate(once, count=count, run=run), "peak MB": _peak(run)}


def paper(run: Run) -> Iterator[Found]:
    """Train by the paper, one size and then the pyramid."""
    for sizes in (run.sizes[1:2], run.sizes):
        start = time.perf_counter()
        detector = run.detector(sizes=sizes, recipe="paper", score="paper").fit(run.category)
        yield {"sizes": str(sizes), "seconds": time.perf_counter() - start} | _figures(detector, run)


PARTS = {"machine": machine, "fit": fit, "same": same, "speed": speed, "paper": paper}


def _figures(detector: Detector, run: Run) -> Found:
    overall = evaluate(detector, run.category)["overall"]
    return {"pixel AUROC": overall["pixel_auroc"], "AUPRO": overall["aupro"], "image AUROC": overall["image_auroc"]}


def _rate(once: Any, *, count: int, run: Run) -> float:
    """Return images a second, after a first time that warms up."""
    once()
    done, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < (0.1 if run.dry else LASTING):
        once()
        done += count
    return done / took


def _reset(run: Run) -> None:
    if not run.dry:
        torch.cuda.reset_peak_memory_stats()


def _peak(run: Run) -> float | None:
    return None if run.dry else torch.cuda.max_memory_allocated() / 1e6


if __name__ == "__main__":
    main()
