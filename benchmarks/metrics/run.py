"""Time and memory of pixel_metrics against the evaluation by one sort, side by side, and how far their values differ.

Run: OMP_NUM_THREADS=1 python benchmarks/metrics/run.py

Each measurement is a process of its own that paints the same maps, evaluates a small case (which imports what it
needs) and then measures one evaluation: its seconds, and by how much it raises the process's peak resident size. So
maps (4 bytes a pixel), masks (1 byte a pixel), Python and its libraries are not counted; all that is made meanwhile is.
The two take turns. It fails if a value differs by more than 1e-9.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np
from one_sort import one_sort
from PIL import Image

from blemish.evaluation.metrics import pixel_metrics

LIMIT = 0.3
TOLERANCE = 1e-9
VALUES = ("pixel_auroc", "aupro", "pixel_ap", "pixel_f1_max")
EVALUATIONS = {
    "one sort": lambda maps, masks: one_sort(maps, masks, limit=LIMIT),
    "blemish": lambda maps, masks: pixel_metrics(maps, masks, fpr_limit=LIMIT),
}


def painted(rng: np.random.Generator, side: int, *, rectangles: int, different: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth map (float32) with rectangles of raised scores, and their mask (bool)."""
    coarse = rng.standard_normal((side // 16, side // 16)).astype(np.float32)
    scores = np.array(Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR))
    mask = np.zeros((side, side), np.bool_)
    for _ in range(rectangles):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(1, side // 5, 2)
        mask[top : top + height, left : left + width] = True
    scores[mask] += np.float32(1.5)
    if different:
        step = np.float32(10 / different)  # nearly all scores lie in a span of 10
        scores = np.round(scores / step) * step
    return scores, mask


def paint(options: argparse.Namespace) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return maps and masks; every second image has defects."""
    rng = np.random.default_rng(0)
    pairs = [
        painted(rng, options.side, rectangles=index % 2 * options.rectangles, different=options.different)
        for index in range(options.images)
    ]
    return [scores for scores, _ in pairs], [mask for _, mask in pairs]


def peak_bytes() -> int:
    """Return the largest resident size so far; Linux counts it in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(options: argparse.Namespace) -> None:
    """Print one evaluation's seconds, bytes and values as JSON."""
    evaluate = EVALUATIONS[options.only]
    maps, masks = paint(options)
    evaluate([scores[:64, :64] for scores in maps[1:2]], [np.eye(64, dtype=np.bool_)])
    before, start = peak_bytes(), time.perf_counter()
    values = evaluate(maps, masks)
    seconds = time.perf_counter() - start
    grown = peak_bytes() - before
    share = sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)
    print(json.dumps({"seconds": seconds, "bytes": grown, "share": share, **{key: values[key] for key in VALUES}}))


def in_child(name: str) -> dict[str, float]:
    """Return what a process of its own measures, with the options of this one."""
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def report(runs: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> float:
    """Print the table; return the largest difference of a value."""
    pixels = options.images * options.side**2
    slow, fast = runs["one sort"], runs["blemish"]
    print(f"{options.images} maps of {options.side} x {options.side}, {slow[0]['share']:.1%} defect pixels", end="; ")
    print(f"medians of {options.repeats} (least to most); numpy {np.__version__}, {platform.machine()}")
    for name, results in runs.items():
        seconds, memory = [run["seconds"] for run in results], [run["bytes"] / 1e9 for run in results]
        each = median(memory) * 1e9 / pixels
        print(f"{name:8}  {spread(seconds, 's')}  {spread(memory, 'GB')}, {each:.1f} bytes a pixel")
    for key, what in (("seconds", "times faster"), ("bytes", "times less memory")):
        print(spread([a[key] / b[key] for a, b in zip(slow, fast, strict=True)], what))
    differences = {key: max(abs(a[key] - b[key]) for a in slow for b in fast) for key in VALUES}
    for key, difference in differences.items():
        print(f"{key}: {fast[0][key]:.12f}, differs by {difference:.1e}")
    return max(differences.values())


def spread(values: list[float], unit: str) -> str:
    """Return the median and the range."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}) {unit}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--side", type=int, default=1024, help="of each map, px")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rectangles", type=int, default=6, help="on each image with defects")
    parser.add_argument("--different", type=int, default=0, help="round to about so many different scores; 0: do not")
    parser.add_argument("--only", choices=EVALUATIONS, help="measure one in this process")
    options = parser.parse_args()
    if options.only:
        measure(options)
        return
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in EVALUATIONS}
    for _ in range(options.repeats):
        for name, results in runs.items():
            results.append(in_child(name))
    if report(runs, options) > TOLERANCE:
        raise SystemExit(f"a value differs by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
