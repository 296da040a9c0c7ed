"""How well scores find defects: AUROC, AUPRO, average precision and F1, exact with ties, on raw scores.

Higher is more anomalous. `good` are the n scores of all defect-free pixels, sorted once; everything below counts in it.
A defect pixel of score s is found once the threshold falls to s. By then the false positive rate has moved from
a = #{good > s} / n to b = #{good >= s} / n, and the straight line that joins the two sides of a tie finds the pixel in
proportion on the way. So up to the rate L the pixel has added to the area under any curve of found pixels

    g(s, L) = ∫₀ᴸ ramp(a, b) = max(L - b, 0) + c² / (2 (b - a)),     c = min(max(L - a, 0), b - a),

where the second term is 0 without a tie. Areas are weighted sums of g, and no curve is ever built:

    pixel AUROC = mean of g(s, 1) = 1 - (a + b) / 2 over the defect pixels,
    AUPRO       = mean over regions of the mean over the region's pixels of g(s, L) / L.

A region is an 8-connected component of one mask; regions of all images are pooled. Average precision (the step-wise sum
of precision over rises of recall) is the mean over the defect pixels of the precision at their own score. F1 needs no
other thresholds either: from one of them down to the next a lower threshold adds false positives only, which leaves
recall as it is and lowers F1.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable

Scores: TypeAlias = NDArray[np.floating[Any]]
Rates: TypeAlias = NDArray[np.float64]
Metrics: TypeAlias = dict[str, float | int | dict[str, str] | None]

STEP = 1 << 13  # so few sorted defect scores lie close together in `good`: a search stays in the processor's cache


def pixel_metrics(
    maps: Sequence[Scores],
    masks: Sequence[NDArray[np.bool_]],
    *,
    inside: Sequence[NDArray[np.bool_]] | None = None,
    fpr_limit: float = 0.3,
    names: Sequence[str] | None = None,
) -> Metrics:
    """Return how well score maps find the pixels and the regions of defects.

    maps: (H, W) each, float32 or float64, finite, sizes may differ; if one is float64, all are ranked in float64.
    masks: (H, W) each, bool, True on defects. inside: (H, W) each, bool, True where a pixel counts, default everywhere:
    the others are neither defective nor free of defects, and regions end where they begin. fpr_limit: in (0, 1], where
    AUPRO's area ends.
    names: what errors call the images, "map i" if not given.
    Returns pixel_auroc, aupro, pixel_ap, pixel_f1_max in [0, 1]; pixel_f1_threshold (a pixel counts as defective when
    its score >= it; the highest of equally good ones); the counts regions, pixels, defect_pixels; undefined: the
    reason for each value that is None. Memory: one copy of the scores, at most 20 bytes more for each defect pixel, and
    what one image needs.
    Raises InputError for scores that are not finite, for shapes or numbers that differ, for other types.
    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, for AUPRO.
    """
    if not 0 < fpr_limit <= 1:
        raise InputError(f"fpr_limit: {fpr_limit} is not allowed, it must be above 0 and at most 1")
    _check_maps(maps, masks, names)
    if inside is not None:
        _check_maps(maps, inside, names)
    defect, region, good, regions = _pool(maps, masks, inside)
    counts: Metrics = {"regions": regions, "pixels": defect.size + good.size, "defect_pixels": defect.size}
    keys = ("aupro", "pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_f1_threshold")
    if not (defect.size and good.size):
        reason = "no defect-free pixel" if defect.size else "no defect pixel"
        return _undefined(keys, reason) | counts
    return {**dict(zip(keys, _figures(defect, region, good, fpr_limit), strict=True)), "undefined": {}, **counts}


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
    _, auroc, precision, f1, _ = _figures(defect, np.zeros(defect.size, np.int32), good, 1.0)
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


def _pool(
    maps: Sequence[Scores], masks: Sequence[NDArray[np.bool_]], inside: Sequence[NDArray[np.bool_]] | None
) -> tuple[Scores, NDArray[np.int32], Scores, int]:
    """Return the sorted scores of all defect pixels, their regions, those of all others, and how many regions are."""
    kind = np.result_type(np.float32, *(scores.dtype for scores in maps))
    if inside is not None:
        masks = [mask & part for mask, part in zip(masks, inside, strict=True)]
    parts: Sequence[NDArray[np.bool_] | None] = inside or [None] * len(masks)
    pixels = sum(mask.size if part is None else np.count_nonzero(part) for mask, part in zip(masks, parts, strict=True))
    defects = sum(int(np.count_nonzero(mask)) for mask in masks)
    # Filled image by image and sorted in place: a concatenation would hold every score twice.
    defect, region = np.empty(defects, kind), np.empty(defects, np.int32)
    good = np.empty(int(pixels) - defects, kind)
    defect_end = good_end = regions = 0
    for scores, mask, part in zip(maps, masks, parts, strict=True):
        found = scores[mask]
        free = part & ~mask if part is not None else ~mask if found.size else None
        rest = scores.ravel() if free is None else scores[free]
        good[good_end : good_end + rest.size] = rest
        good_end += rest.size
        if found.size:
            labels, count = _regions(mask)
            defect[defect_end : defect_end + found.size] = found
            region[defect_end : defect_end + found.size] = labels[mask] + (regions - 1)
            defect_end += found.size
            regions += count
    good.sort()
    order = np.argsort(defect)
    defect = defect[order]  # one at a time: each lets go of its unsorted self
    region = region[order]
    return defect, region, good, regions


def _figures(
    defect: Scores, region: NDArray[np.int32], good: Scores, limit: float
) -> tuple[float, float, float, float, float]:
    """Return AUPRO, AUROC, average precision, the highest F1 and its threshold, from sorted scores, neither empty.

    region: the number, from 0, of each defect score's region.
    """
    precision = best = threshold = 0.0
    lost = 0  # pairs of a defect and a good score that are in the wrong order, twice; ties once
    sizes = np.bincount(region)
    overlaps = np.zeros(sizes.size)
    for start in range(0, defect.size, STEP):
        scores = defect[start : start + STEP]
        true = defect.size - _rank(scores, defect, "left")
        false, above = good.size - _rank(scores, good, "left"), good.size - _rank(scores, good, "right")
        np.add.at(overlaps, region[start : start + STEP], _areas(above / good.size, false / good.size, limit))
        lost += int((above + false).sum())
        precision += float((true / (true + false)).sum())
        f1 = 2 * true / (defect.size + true + false)
        last = f1.size - 1 - int(np.argmax(f1[::-1]))
        if f1[last] >= best:
            best, threshold = float(f1[last]), float(scores[last])
    auroc = 1 - lost / (2 * defect.size * good.size)
    return float((overlaps / sizes).mean()), auroc, precision / defect.size, best, threshold


def _rank(scores: Scores, pool: Scores, side: Literal["left", "right"]) -> NDArray[np.int64]:
    """Return how many of `pool` are below each score (left), or not above it (right); both are sorted."""
    first, last = int(np.searchsorted(pool, scores[0])), int(np.searchsorted(pool, scores[-1], side="right"))
    return first + np.searchsorted(pool[first:last], scores, side=side)


def _regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the region number, from 1, of every pixel (0: no defect) and the number of 8-connected regions."""
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return labels, int(count)


def _areas(before: Rates, after: Rates, limit: float) -> Rates:
    """Return g(s, limit) / limit of the module's docstring, given the rates a and b of each score."""
    tie = after - before
    covered = np.clip(limit - before, 0, tie)
    return (np.maximum(limit - after, 0) + covered**2 / np.where(tie > 0, 2 * tie, 1)) / limit
