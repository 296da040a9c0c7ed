"""Seconds and peak memory of pixel_metrics on 160 maps of 1024 x 1024, half of them with defects.

Run: OMP_NUM_THREADS=1 python benchmarks/metrics.py
"""

import resource
import sys
import time

import numpy as np

from blemish.metrics import pixel_metrics

IMAGES, SIDE = 160, 1024


def painted(rng: np.random.Generator, *, defective: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of noise (float32) with rectangles of raised scores, and their mask (bool)."""
    scores = rng.random((SIDE, SIDE), dtype=np.float32)
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    for _ in range(6 if defective else 0):
        top, left = rng.integers(0, SIDE, 2)
        height, width = rng.integers(1, 200, 2)
        mask[top : top + height, left : left + width] = True
    scores[mask] += np.float32(0.5)
    return scores, mask


def peak_gigabytes() -> float:
    """Return the largest resident size so far; Linux counts it in KiB, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    rng = np.random.default_rng(0)
    pairs = [painted(rng, defective=index % 2 == 1) for index in range(IMAGES)]
    maps, masks = [scores for scores, _ in pairs], [mask for _, mask in pairs]
    print(f"{IMAGES} maps of {SIDE} x {SIDE}: {peak_gigabytes():.2f} GB resident before")
    start = time.perf_counter()
    result = pixel_metrics(maps, masks)
    print(f"pixel_metrics: {time.perf_counter() - start:.1f} s, peak {peak_gigabytes():.2f} GB resident")
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
