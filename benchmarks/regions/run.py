"""How well outlines fit: the overlap of the pixels of regions with the truth, before regions were refined and now.

    python benchmarks/regions/run.py MODEL DATA [--threshold SCORE]

Of defective test images above the threshold (the model's first, unless one is given). Before: the pixels of the
stretched map above the threshold. Overlap: intersection over union, all at the images' own resolution.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from blemish import Detector
from blemish.data.datasets import test_samples
from blemish.data.samples import read_truth
from blemish.images.resize import resize_map
from blemish.runtime import Runtime
from blemish.runtime.bundle import is_bundle
from blemish.verdict.regions import find_regions

Mask = NDArray[np.bool_]


def main() -> None:
    """Print the overlap for each type of defect and for all, and what regions cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--threshold", type=float)
    given = parser.parse_args()
    scorer = Runtime.load(given.model) if is_bundle(given.model) else Detector.load(given.model)
    threshold, scale = given.threshold or scorer.thresholds_.review, scorer.header_.scale
    samples = {sample.path: sample for sample in test_samples(given.data) if sample.label != "good"}
    rows: dict[str, list[tuple[float, float]]] = {}
    lost, defects, seconds = 0, 0, []
    for path, image, reference in scorer.references(list(samples)):
        truth = read_truth(samples[path])
        if truth is None or not truth.any() or reference.map.max() <= threshold:
            continue
        score_map = resize_map(reference.map, *truth.shape)
        before, begun = score_map > threshold, time.perf_counter()
        _, after = find_regions(reference.map, image, threshold=threshold, scale=scale, score_map=score_map)
        seconds.append(time.perf_counter() - begun)
        for label in (samples[path].label, "all"):
            rows.setdefault(label, []).append((overlap(before, truth), overlap(after, truth)))
        touched, still = touching(before, truth), touching(after, truth)
        defects, lost = defects + len(touched), lost + len(touched - still)
    for label, pairs in rows.items():
        old, new = (statistics.mean(column) for column in zip(*pairs, strict=True))
        print(f"{label:20s} {len(pairs):4d} images  IoU {old:.3f} -> {new:.3f}  x{new / max(old, 1e-9):.2f}")
    print(f"{lost} of {defects} defects that were outlined no longer are")
    print(f"regions: {1e3 * statistics.median(seconds):.1f} ms an image (median), {1e3 * max(seconds):.1f} ms at most")


def overlap(one: Mask, other: Mask) -> float:
    """Return the intersection of two masks over their union."""
    return float((one & other).sum() / (one | other).sum())


def touching(inside: Mask, truth: Mask) -> set[int]:
    """Return the numbers of the 8-connected defects of which a pixel is inside."""
    labels, _ = ndimage.label(truth, np.ones((3, 3)))
    return set(np.unique(labels[inside & truth]).tolist())


if __name__ == "__main__":
    main()
