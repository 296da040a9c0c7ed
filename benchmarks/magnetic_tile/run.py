"""Fit a category in MVTec AD layout with several seeds; score each size alone and the pyramid, both ways.

Prints Markdown rows and keeps everything in OUT: seedN.safetensors, seedN.json. A seed whose JSON exists is not run
again, and one made with other settings is refused. All figures are at 256 x 256, masks resized by nearest neighbour.

    python benchmarks/magnetic_tile/run.py --data DATA --out OUT --seeds 0,1,2
"""

import argparse
import dataclasses
import json
import platform
import resource
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from blemish import Detector
from blemish.data.datasets import good_images, test_samples
from blemish.data.samples import read_truth
from blemish.data.sources import load
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.images.resize import resize_mask
from blemish.method import scoring
from blemish.method.imitation import combine
from blemish.method.learning import training
from blemish.method.pyramid import stack
from blemish.method.scoring import set_weights

KEYS = ("pixel_auroc", "aupro", "image_auroc", "pixel_ap")
FAST = training.RECIPES["fast"]
SIZE = 256


def module_maps(detector: Detector, samples: list, score: str) -> dict[tuple[int, int], Tensor]:
    """Return every module's maps of all samples, computed once: {(size, level): (N, h, w)}."""
    parts = []
    for sample in samples:
        images = stack([load(sample.path)], detector.header_.sizes)
        with torch.inference_mode():
            parts.append(scoring.module_maps(detector.model_.teacher, detector.modules_, images, score=score))
    names = [(module.size, module.level) for module in detector.modules_]
    return {name: torch.cat(found) for name, found in zip(names, zip(*parts, strict=True), strict=True)}


def figures(detector: Detector, maps: dict, samples: list, masks: list, *, sizes: list[int], score: str) -> dict:
    """Return the metrics of the modules of those sizes alone, all defects and each type, at 256 x 256."""
    modules = [module for module in detector.modules_ if module.size in sizes]
    set_weights(modules, score=score)
    weights = [module.weight for module in modules]
    combined = combine([maps[module.size, module.level] for module in modules], weights, size=SIZE).numpy()
    rows = {}
    for kind in ("all", *sorted({sample.label for sample in samples} - {"good"})):
        chosen = [i for i, sample in enumerate(samples) if kind == "all" or sample.label in ("good", kind)]
        pixel = pixel_metrics([combined[i] for i in chosen], [masks[i] for i in chosen])
        scores = [float(combined[i].max()) for i in chosen]
        image = image_metrics(scores, [samples[i].label != "good" for i in chosen])
        rows[kind] = {key: (pixel | image)[key] for key in KEYS}
    return rows


def run(data: Path, out: Path, *, seed: int, sizes: list[int], scale: float) -> dict:
    """Fit with one seed and evaluate every part of the model."""
    training.RECIPES["fast"] = dataclasses.replace(
        FAST, steps=round(FAST.steps * scale), warm_steps=round(FAST.warm_steps * scale)
    )
    detector = Detector(sizes=sizes, seed=seed, score="whitened", tiles=None)
    started, cpu = time.monotonic(), time.process_time()
    detector.fit(good_images(data))
    record = {
        "seed": seed,
        "sizes": sizes,
        "steps": [training.RECIPES["fast"].steps, training.RECIPES["fast"].warm_steps],
        "fit_seconds": round(time.monotonic() - started, 1),
        "fit_cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "commit": subprocess.check_output(["git", "describe", "--always", "--dirty"], text=True).strip(),
        "torch": torch.__version__,
        "rows": {},
    }
    detector.save(out / f"seed{seed}.safetensors")
    samples = test_samples(data)
    blank = np.zeros((SIZE, SIZE), bool)
    truths = [read_truth(one) for one in samples]
    masks = [blank if truth is None else resize_mask(truth, SIZE, SIZE) for truth in truths]
    for score in ("whitened", "paper"):
        maps = module_maps(detector, samples, score)
        for part in [*([size] for size in sizes), sizes]:
            rows = figures(detector, maps, samples, masks, sizes=part, score=score)
            name = f"{'/'.join(map(str, part))} {score}"
            record["rows"][name] = rows
            print(f"| {seed} | {name} | " + " | ".join(f"{rows['all'][key]:.4f}" for key in KEYS) + " |", flush=True)
    return record


def main() -> None:
    """Read the arguments, run every seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sizes", default="128,256,384")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of the fast recipe")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    options.out.mkdir(parents=True, exist_ok=True)
    print("| seed | sizes, score | pixel AUROC | AUPRO | image AUROC | pixel AP |\n|---|---|---|---|---|---|")
    for seed in map(int, options.seeds.split(",")):
        path = options.out / f"seed{seed}.json"
        if path.exists():
            known = json.loads(path.read_text())
            if known["sizes"] != sizes or known["steps"][0] != round(FAST.steps * options.scale):
                raise SystemExit(f"{path}: made with other settings; choose another --out")
        else:
            record = run(options.data, options.out, seed=seed, sizes=sizes, scale=options.scale)
            path.write_text(json.dumps(record, indent=1))
            print(f"seed {seed}: fitted in {record['fit_seconds']} s, peak memory {record['peak_rss_mb']} MB")


if __name__ == "__main__":
    main()
