"""Pixel metrics by one sort of all scores, as the evaluation that came with MVTec AD takes its AUPRO.

Every pixel carries two changes that happen when the threshold falls to its score: of the number of false positives (1
on a defect-free pixel) and of the sum of the regions' overlaps (1 / size of its region on a defect pixel). All pixels
of all images are put in descending order by one argsort, cumulative sums of the changes are the curve, and of equal
scores only the last point is kept. AUROC, average precision and F1 come from the same points.
Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021. Written from the description; to be a fair
opponent it has no loop over the regions, works in place and lets go of every array after its last use.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]


def one_sort(maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]], *, limit: float) -> dict:
    """Return pixel_auroc, aupro, pixel_ap and pixel_f1_max of maps and masks, (H, W) each, all of one shape."""
    called, false, overlap, regions = _curve(maps, masks)
    rates = false / false[-1]
    overlap /= regions
    aupro = _area(rates, overlap, limit) / limit
    del overlap
    true = np.subtract(called, false, out=false)
    recalls = true / true[-1]
    auroc = _area(rates, recalls, 1.0)
    del rates
    gains = np.diff(recalls, prepend=0.0)
    del recalls
    ap = float(np.dot(gains, true / called))
    del gains
    f1 = float(np.max(2 * true / (true[-1] + called)))
    return {"pixel_auroc": auroc, "aupro": aupro, "pixel_ap": ap, "pixel_f1_max": f1}


def _curve(
    maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], Array, int]:
    """Return how many pixels each threshold calls defective, how many falsely, the overlap's sum; and the regions."""
    scores, false, overlap, regions = _changes(maps, masks)
    order = np.argsort(scores)[::-1]
    scores = scores[order]
    false = false[order]
    overlap = overlap[order]
    del order
    last = np.append(scores[1:] != scores[:-1], True)
    del scores
    np.cumsum(false, out=false)
    np.cumsum(overlap, out=overlap)
    false = false[last]
    overlap = overlap[last]
    called = np.arange(1, last.size + 1, dtype=np.uint32)[last]
    return called, false, overlap, regions


def _changes(
    maps: Sequence[NDArray[np.float32]], masks: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.float32], NDArray[np.uint32], Array, int]:
    """Return the scores, the false positives and the overlap of all pixels in one row, and the number of regions."""
    scores = np.array(maps).ravel()
    false, overlap = np.zeros(scores.size, np.uint32), np.zeros(scores.size, np.float64)
    regions = start = 0
    for mask in masks:
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        shares = 1 / np.maximum(np.bincount(labels.ravel()), 1)
        shares[0] = 0  # label 0 is no region
        end = start + mask.size
        false[start:end] = ~mask.ravel()
        overlap[start:end] = shares[labels.ravel()]
        regions, start = regions + count, end
    return scores, false, overlap, regions


def _area(rates: Array, heights: Array, limit: float) -> float:
    """Return the area under a curve from the point (0, 0) to the rate `limit`, by trapezoids."""
    within = int(np.searchsorted(rates, limit, side="right"))
    x, y = rates[:within], heights[:within]
    x0, y0 = (x[-1], y[-1]) if within else (0.0, 0.0)
    area = np.dot(np.diff(x), y[1:] + y[:-1]) / 2
    if within:
        area += x[0] * y[0] / 2
    if within < rates.size:
        slope = (heights[within] - y0) / (rates[within] - x0)
        area += (limit - x0) * (y0 + slope * (limit - x0) / 2)
    return float(area)
