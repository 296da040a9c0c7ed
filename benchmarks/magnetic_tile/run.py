"""Fit a category in MVTec AD layout with several seeds; score each size alone, the pyramid, and the paper's plain score.

Prints Markdown rows and keeps everything in OUT: seedN.safetensors, seedN.json. A seed whose JSON exists is not run
again. All figures are at 256 x 256, masks resized by nearest neighbour.

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

import torch

from blemish import Detector, training
from blemish.datasets import good_images
from blemish.evaluation import evaluate

KEYS = ("pixel_auroc", "aupro", "image_auroc", "pixel_ap")


def part_of(detector: Detector, *, sizes: list[int], score: str) -> Detector:
    """Return the detector that keeps the modules of those sizes only, with equal weights, and that score."""
    part = Detector(sizes=sizes, levels=detector.levels, teacher=detector.teacher, score=score)
    part._teacher = detector._teacher
    part.modules_ = [module for module in detector.modules_ if module.size in sizes]
    total = sum(module.weight for module in part.modules_)
    for module in part.modules_:
        module.weight /= total
    part.header_ = detector.header_.model_copy(
        update={"sizes": sizes, "reference_size": sizes[len(sizes) // 2], "score": score}
    )
    return part


def run(data: Path, out: Path, seed: int, scale: float) -> dict:
    """Fit with one seed and evaluate every part of the model."""
    recipe = training.RECIPES["fast"]
    training.RECIPES["fast"] = dataclasses.replace(
        recipe, steps=round(recipe.steps * scale), warm_steps=round(recipe.warm_steps * scale)
    )
    detector = Detector(seed=seed)
    started, cpu = time.monotonic(), time.process_time()
    detector.fit(good_images(data), workspace=out / f"seed{seed}.partial")
    record = {
        "seed": seed,
        "steps": [training.RECIPES["fast"].steps, training.RECIPES["fast"].warm_steps],
        "fit_seconds": round(time.monotonic() - started, 1),
        "fit_cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
        "torch": torch.__version__,
        "rows": {},
    }
    detector.save(out / f"seed{seed}.safetensors")
    for score in ("whitened", "paper"):
        for sizes in ([128], [256], [384], [128, 256, 384]):
            part = part_of(Detector.load(out / f"seed{seed}.safetensors"), sizes=sizes, score=score)
            started = time.monotonic()
            result = evaluate(part, data)
            row = {key: result["overall"][key] for key in KEYS}
            row["types"] = {kind: {key: values[key] for key in KEYS} for kind, values in result["types"].items()}
            row["seconds"] = round(time.monotonic() - started, 1)
            name = f"{'/'.join(map(str, sizes))} {score}"
            record["rows"][name] = row
            print(f"| {seed} | {name} | " + " | ".join(f"{row[key]:.4f}" for key in KEYS) + " |", flush=True)
    return record


def main() -> None:
    """Read the arguments, run every seed, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of the fast recipe")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| seed | sizes, score | pixel AUROC | AUPRO | image AUROC | pixel AP |\n|---|---|---|---|---|---|")
    for seed in map(int, options.seeds.split(",")):
        path = options.out / f"seed{seed}.json"
        if not path.exists():
            record = run(options.data, options.out, seed, options.scale)
            path.write_text(json.dumps(record, indent=1))
            print(f"seed {seed}: fitted in {record['fit_seconds']} s, peak memory {record['peak_rss_mb']} MB")


if __name__ == "__main__":
    main()
