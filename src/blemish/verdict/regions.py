"""Connected regions of a score map above a threshold; numpy alone, as prediction needs no more.

The pixels above the threshold are cut into runs, the unbroken stretches of each row, and runs that touch are joined
into regions. There are far fewer runs than pixels, and every step is over arrays of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError

Scores = NDArray[np.float32]
Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

LEAST_AREA = 4  # px; smaller spots above the threshold are neither reported nor outlined


@dataclass(frozen=True, slots=True)
class Region:
    """A connected part of a score map above the threshold.

    Area in px, box as (x, y, width, height) in px from the upper left corner, peak is its highest score.
    """

    area: int
    box: tuple[int, int, int, int]
    peak: float


def regions(score_map: Scores, threshold: float, *, least_area: int = LEAST_AREA) -> list[Region]:
    """Return the 8-connected regions whose scores are above (not at) the threshold, highest peak first.

    Score map: float (H, W), finite; regions of fewer than `least_area` px are left out; equal peaks come largest
    first. Raises InputError for another shape, a score that is not finite, or a threshold that is not positive.
    """
    return regions_and_pixels(score_map, threshold, least_area=least_area)[0]


def regions_and_pixels(
    score_map: Scores, threshold: float, *, least_area: int = LEAST_AREA
) -> tuple[list[Region], Flags]:
    """Return what `regions` does, and which pixels are of these regions, bool (H, W); raises as `regions` does."""
    if not 0 < threshold < np.inf:
        raise InputError(f"threshold: {threshold:g} is not allowed, give a finite number above 0")
    if score_map.ndim != 2:
        raise InputError(f"score map: shape {score_map.shape}, allowed is (H, W)")
    if not np.isfinite(score_map).all():
        raise InputError(f"score map: {np.count_nonzero(~np.isfinite(score_map))} scores are not finite")
    above = score_map > threshold
    starts, stops = _runs(above)
    if not starts.size:
        return [], above
    width, lengths = above.shape[1] + 1, stops - starts
    peaks = np.maximum.reduceat(score_map[above], np.cumsum(lengths) - lengths)
    roots = _roots(starts, stops, width)
    order = np.argsort(roots, kind="stable")  # the runs of a region next to each other
    first = np.flatnonzero(np.diff(roots[order], prepend=-1))
    rows, columns = np.divmod(starts[order], width)
    areas = np.add.reduceat(lengths[order], first)
    x, right = np.minimum.reduceat(columns, first), np.maximum.reduceat(columns + lengths[order], first)
    y, lower = np.minimum.reduceat(rows, first), np.maximum.reduceat(rows + 1, first)
    peaks = np.maximum.reduceat(peaks[order], first)
    large = areas >= least_area
    numbers = (values[large].tolist() for values in (areas, x, y, right - x, lower - y, peaks))
    found = [Region(area=area, box=tuple(box), peak=peak) for area, *box, peak in zip(*numbers, strict=True)]
    kept = np.empty(starts.size, dtype=np.bool_)
    kept[order] = np.repeat(large, np.diff(first, append=starts.size))
    above[above] = np.repeat(kept, lengths)
    return sorted(found, key=lambda region: (-region.peak, -region.area, region.box)), above


def _runs(above: Flags) -> tuple[Indices, Indices]:
    """Return where runs start and where they have ended, in order, as indices into rows of W + 1 px.

    The column that is added ends the runs of a row before those of the next, and keeps the two from touching.
    """
    height, width = above.shape
    padded = np.zeros(1 + height * (width + 1), dtype=np.bool_)
    padded[1:].reshape(height, width + 1)[:, :-1] = above
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    return changes[0::2], changes[1::2]


def _roots(starts: Indices, stops: Indices, width: int) -> Indices:
    """Return for each run the first run of its region."""
    # Of the row below, a run is touched by those from the first that does not end before it to the last that does not
    # start behind it; a run that starts where the other has ended touches it by a corner.
    first = np.searchsorted(stops - width, starts, side="left")
    touching = np.searchsorted(starts - width, stops, side="right") - first
    upper = np.repeat(np.arange(starts.size), touching)
    lower = np.arange(upper.size) + np.repeat(first - (np.cumsum(touching) - touching), touching)
    # Every run points to one of its region that is not behind it. The run where pointers end, the root, is made to
    # point to the first of the roots that it touches. Two such rounds halve the roots that a region has left, or more,
    # and following pointers doubles its step each time: what takes long is the number of runs, not their shape.
    roots = np.arange(starts.size)
    while True:
        one, other = roots[upper], roots[lower]
        apart = one != other
        if not apart.any():
            return roots
        upper, lower, one, other = upper[apart], lower[apart], one[apart], other[apart]
        np.minimum.at(roots, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(further := roots[roots], roots):
            roots = further
