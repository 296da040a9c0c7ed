"""How well scores find defects: AUROC, AUPRO, average precision and F1, exact with ties, on raw scores.

Higher is more anomalous. `good` are the n scores of all defect-free pixels, sorted once; everything below counts in it.
A defect pixel of score s is found once the threshold falls to s. By then the false positive rate has moved from
a = #{good > s} / n to b = #{good >= s} / n, and the straight line that joins the two sides of a tie finds the pixel in
proportion on the way. So up to the rate L the pixel has added to the area under any curve of found pixels

    g(s, L) = ∫₀ᴸ ramp(a, b) = max(L - b, 0) + c² / (2 (b - a)),     c = min(max(L - a, 0), b - a),

where the second term is 0 without a tie. Areas are weighted sums of g, and no curve is ever built:

    pixel AUROC = mean of g(s, 1) over the defect pixels,
    AUPRO       = mean over regions of the mean over the region's pixels of g(s, L) / L.

A region is an 8-connected component of one mask; regions of all images are pooled. Average precision (the step-wise sum
of precision over rises of recall) is the mean over the defect pixels of the precision at their own score. F1 needs no
other thresholds either: from one of them down to the next a lower threshold adds false positives only, which leaves
recall as it is and lowers F1.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable

Scores: TypeAlias = NDArray[np.floating[Any]]
Metrics: TypeAlias = dict[str, float | int | dict[str, str] | None]


def pixel_metrics(
    maps: Sequence[Scores],
    masks: Sequence[NDArray[np.bool_]],
    *,
    fpr_limit: float = 0.3,
    names: Sequence[str] | None = None,
) -> Metrics:
    """Return how well score maps find the pixels and the regions of defects.

    maps: (H, W) each, float32 or float64, finite, sizes may differ; if one is float64, all are ranked in float64.
    masks: (H, W) each, bool, True on defects. fpr_limit: in (0, 1], where AUPRO's area ends.
    names: what errors call the images, "map i" if not given.
    Returns pixel_auroc, aupro, pixel_ap, pixel_f1_max in [0, 1]; pixel_f1_threshold (a pixel counts as defective when
    its score >= it; the highest of equally good ones); the counts regions, pixels, defect_pixels; undefined: the
    reason for each value that is None. Memory: one copy of the scores plus what one image needs.
    Raises InputError for scores that are not finite, for shapes or numbers that differ, for other types.
    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, for AUPRO.
    """
    if not 0 < fpr_limit <= 1:
        raise InputError(f"fpr_limit: {fpr_limit} is not allowed, it must be above 0 and at most 1")
    _check_maps(maps, masks, names)
    defect, good = _pool(maps, masks)
    counts: Metrics = {"pixels": defect.size + good.size, "defect_pixels": defect.size}
    keys = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_f1_threshold")
    if not (defect.size and good.size):
        reason = "no defect-free pixel" if defect.size else "no defect pixel"
        return _undefined(("aupro", *keys), reason) | {"regions": sum(_regions(mask)[1] for mask in masks)} | counts
    aupro, regions = _region_overlap(maps, masks, good, fpr_limit)
    detection = dict(zip(keys, _detection(defect, good), strict=True))
    return {"aupro": aupro, **detection, "undefined": {}, "regions": regions, **counts}


def image_metrics(
    scores: Sequence[float] | Scores,
    labels: Sequence[bool] | NDArray[np.bool_],
    *,
    names: Sequence[str] | None = None,
) -> Metrics:
    """Return how well image scores tell anomalous images from good ones.

    scores: (N,), finite. labels: (N,), bool, True = anomalous.
    names: what errors call the images, "image i" if not given.
    Returns image_auroc, image_ap, image_f1_max in [0, 1]; undefined: the reason for each value that is None.
    Raises InputError for scores that are not finite, for lengths that differ, for labels that are not bool.
    """
    values, anomalous = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != anomalous.shape:
        raise InputError(f"labels: {_size(anomalous)} labels vs {_size(values)} scores, allowed is one label per score")
    if anomalous.size and anomalous.dtype != np.bool_:
        raise InputError(f"labels: {anomalous.dtype} is not allowed, they must be bool")
    _check_names(names, values.size)
    unusable = np.flatnonzero(~np.isfinite(values))
    if unusable.size:
        first = int(unusable[0])
        raise InputError(f"{_called(names, first, 'image')}: the image score is {values[first]}, it must be finite")
    anomalous = anomalous.astype(np.bool_)
    defect, good = np.sort(values[anomalous]), np.sort(values[~anomalous])
    if not (defect.size and good.size):
        reason = "no good image" if defect.size else "no anomalous image"
        return _undefined(("image_auroc", "image_ap", "image_f1_max"), reason)
    auroc, precision, f1, _ = _detection(defect, good)
    return {"image_auroc": auroc, "image_ap": precision, "image_f1_max": f1, "undefined": {}}


def _check_maps(maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]], names: Sequence[str] | None) -> None:
    if len(maps) != len(masks):
        raise InputError(f"masks: {len(masks)} masks vs {len(maps)} maps, there must be one mask for each map")
    _check_names(names, len(maps))
    for index, (scores, mask) in enumerate(zip(maps, masks, strict=True)):
        name = _called(names, index, "map")
        if scores.dtype not in (np.float32, np.float64):
            raise InputError(f"{name}: {scores.dtype} scores are not allowed, they must be float32 or float64")
        if mask.dtype != np.bool_:
            raise InputError(f"{name}: a mask of {mask.dtype} is not allowed, it must be bool")
        if scores.shape != mask.shape:
            raise InputError(f"{name}: mask {_size(mask)} vs map {_size(scores)}, they must be equal")
        if scores.ndim != 2:
            raise InputError(f"{name}: a map with {scores.ndim} axes is not allowed, it must have height and width")
        wrong = scores.size - int(np.count_nonzero(np.isfinite(scores)))
        if wrong:
            raise InputError(f"{name}: {wrong} of {scores.size} scores are NaN or infinite, all must be finite")


def _check_names(names: Sequence[str] | None, count: int) -> None:
    if names is not None and len(names) != count:
        raise InputError(f"names: {len(names)} names vs {count} images, there must be one name for each image")


def _called(names: Sequence[str] | None, index: int, kind: str) -> str:
    return f"{kind} {index}" if names is None else printable(names[index])


def _size(array: NDArray[Any]) -> str:
    return "x".join(map(str, array.shape))


def _undefined(keys: Iterable[str], reason: str) -> Metrics:
    return {**dict.fromkeys(keys), "undefined": dict.fromkeys(keys, reason)}


def _pool(maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]]) -> tuple[Scores, Scores]:
    """Return the sorted scores of all defect pixels and of all defect-free pixels."""
    kind = np.result_type(np.float32, *(scores.dtype for scores in maps))
    defects = sum(int(np.count_nonzero(mask)) for mask in masks)
    # Filled image by image and sorted in place: a concatenation would hold every score twice.
    defect = np.empty(defects, kind)
    good = np.empty(sum(mask.size for mask in masks) - defects, kind)
    defect_end = good_end = 0
    for scores, mask in zip(maps, masks, strict=True):
        found, rest = scores[mask], scores[~mask]
        defect[defect_end : defect_end + found.size] = found
        good[good_end : good_end + rest.size] = rest
        defect_end += found.size
        good_end += rest.size
    defect.sort()
    good.sort()
    return defect, good


def _detection(defect: Scores, good: Scores) -> tuple[float, float, float, float]:
    """Return AUROC, average precision, the highest F1 and its threshold, from sorted scores, neither empty."""
    area = precision = best = threshold = 0.0
    step = 1 << 20  # bounds the temporary arrays when a large part of all pixels is defective
    for start in range(0, defect.size, step):
        scores = defect[start : start + step]
        true = defect.size - np.searchsorted(defect, scores)
        false = good.size - np.searchsorted(good, scores)
        area += float(_areas(scores, good, 1.0).sum())
        precision += float((true / (true + false)).sum())
        f1 = 2 * true / (defect.size + true + false)
        last = f1.size - 1 - int(np.argmax(f1[::-1]))
        if f1[last] >= best:
            best, threshold = float(f1[last]), float(scores[last])
    return area / defect.size, precision / defect.size, best, threshold


def _region_overlap(
    maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]], good: Scores, limit: float
) -> tuple[float, int]:
    """Return AUPRO and the number of regions, of which there must be one at least."""
    total, regions = 0.0, 0
    for scores, mask in zip(maps, masks, strict=True):
        labels, count = _regions(mask)
        if count:
            found = scores[mask]
            order = np.argsort(found)  # sorted keys walk through `good` once instead of jumping about in it
            region = labels[mask][order] - 1
            areas = np.bincount(region, weights=_areas(found[order], good, limit))
            total += float((areas / np.bincount(region)).sum())
            regions += count
    return total / regions, regions


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the region number, from 1, of every pixel (0: no defect) and the number of 8-connected regions."""
    if not mask.any():
        return np.zeros(mask.shape, np.int32), 0
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return labels, int(count)


def _areas(scores: Scores, good: Scores, limit: float) -> NDArray[np.float64]:
    """Return g(s, limit) / limit of the module's docstring for each score, given the sorted defect-free scores."""
    before = (good.size - np.searchsorted(good, scores, side="right")) / good.size
    after = (good.size - np.searchsorted(good, scores, side="left")) / good.size
    tie = after - before
    covered = np.clip(limit - before, 0, tie)
    result: NDArray[np.float64] = (np.maximum(limit - after, 0) + covered**2 / np.where(tie > 0, 2 * tie, 1)) / limit
    return result
