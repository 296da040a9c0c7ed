"""Where a defect ends: around each peak of a map the pixels that are nearly as high and coloured as those at the peak.

A map is smooth: a defect that is far above the threshold is ringed by pixels above it, and of one just above it only
the middle is. So how high a pixel must be depends on the peaks around it, and the image draws the rest of the line.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from blemish.images.resize import resize_map
from blemish.verdict.connected import Flags, parts

Values = NDArray[np.float32]

# Of the highest level around: what lies above it belongs to the defect.
CUT = {"memory": 0.88, "whitened": 0.88, "paper": 0.5}
AROUND = 0.2  # of the side of the map: the width of the window in which a peak rules
FLOOR = 0.8  # of the way from good pixels to the threshold: what lies below it belongs to no defect
COLOUR = 0.5  # what a unit of log odds of colours counts, where 1 is the way from the cut to the peak
BINS = 32
BLOCK = 4  # px of the map that have the same peaks around them
COLOURED = 16  # zones, those of the highest peaks, that are drawn by their colours
BLUR = 1  # px around a pixel that have a say in its colour
WORK = 160  # px; a longer side of a zone is shrunk to it before colours are counted


def margins(levels: NDArray[Any], *, least: float, good: float, score: str) -> Values:
    """Return how far each pixel lies above the cut of the peaks around it: 0 at the cut, 1 at the peak.

    levels: (R, R), the map before it was squashed; least: the level of the threshold; good: that of good pixels.
    """
    rows, columns = (np.arange(0, side, BLOCK) for side in levels.shape)
    blocks = np.maximum.reduceat(np.maximum.reduceat(np.maximum(levels, least), rows, axis=0), columns, axis=1)
    reach = max(1, round(AROUND * len(blocks) / 2))
    tops = resize_map(_mean(_highest(blocks, reach), max(1, reach // 2)), *levels.shape)
    span = np.maximum((1 - CUT[score]) * tops, 1e-6)
    return np.asarray((levels - np.maximum(tops - span, good + FLOOR * (least - good))) / span, dtype=np.float32)


def refined(image: NDArray[np.uint8], margin: Values, seeds: Flags) -> Flags:
    """Return the pixels of an image (H, W, 3) that belong to the defects at the seeds: bool (H, W).

    margin: (R, R), as `margins` returns it; seeds: (R, R). A zone is a part of the map with a margin above -1 that
    holds a seed. Nothing outside of the zones is returned, and of a zone perhaps nothing.
    """
    zones = parts((margin > -1) | seeds)
    labels, boxes = zones.labels(), zones.boxes()
    (height, width), (down, across) = image.shape[:2], margin.shape
    inside = np.zeros((height, width), dtype=np.bool_)
    numbers = np.unique(labels[seeds])
    if len(numbers) > COLOURED:
        tops = zones.highest(margin[labels >= 0])[numbers]
        numbers, others = np.split(numbers[np.argsort(-tops, kind="stable")], [COLOURED])
        inside |= resize_map(np.where(np.isin(labels, others), margin, -1), height, width) > 0
    for number in numbers:
        x, y, wide, high = boxes[number].tolist()
        more = max(wide, high) // 2 + 2  # what lies around the zone is what its colours are told from
        left, right = max(0, x - more) * width // across, -(-min(across, x + wide + more) * width // across)
        upper, lower = max(0, y - more) * height // down, -(-min(down, y + high + more) * height // down)
        box = left * across / width, upper * down / height, right * across / width, lower * down / height
        own = np.where(labels == number, margin, np.minimum(margin, -1))
        inside[upper:lower, left:right] |= _drawn(image[upper:lower, left:right], own, box)
    return inside


def _drawn(image: NDArray[np.uint8], margin: Values, box: tuple[float, float, float, float]) -> Flags:
    """Return which pixels of a part of the image belong to the defect; box: that part in px of the margins."""
    height, width = image.shape[:2]
    scale = min(1.0, WORK / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    heights = np.asarray(Image.fromarray(margin).resize(size, Image.Resampling.BILINEAR, box=box))
    colours = np.asarray(
        Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0).filter(ImageFilter.BoxBlur(1))
    )
    summed = heights + COLOUR * _odds(colours, heights)
    summed[heights <= -1] = -1
    return resize_map(summed, height, width) > 0


def _odds(colours: NDArray[np.uint8], margin: Values) -> Values:
    """Return by how much the colour of each pixel is more common above the cut than well below it: log odds, (h, w).

    Zero where there is nothing above, or nothing below, to compare with. The channels count as one on average.
    """
    above, below = np.clip(margin, 0, 1).ravel(), (margin < -0.5).ravel()
    if not above.any() or not below.any():
        return np.zeros_like(margin)
    grey = bool((colours == colours[..., :1]).all())
    channels = [colours[..., channel] for channel in range(1 if grey else 3)]
    total = np.zeros(margin.shape)
    for channel in channels:
        low, high = int(channel.min()), int(channel.max())
        steps = (channel.astype(np.intp) - low) * BINS // (high - low + 1)
        ratio = np.log(_shares(steps, above) / _shares(steps, below))
        total += ratio[steps] / len(channels)
    return _mean(total, BLUR)


def _shares(steps: NDArray[np.intp], weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each step of colour, smoothed, so that none is 0."""
    counts = np.convolve(np.bincount(steps.ravel(), weights, minlength=BINS), (0.06, 0.24, 0.4, 0.24, 0.06), "same")
    counts += 0.02 * counts.sum() / BINS
    return np.asarray(counts / counts.sum())


def _highest(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the highest value at most `reach` px away along rows and columns: (h, w)."""
    for _ in range(2):
        done = 0
        while done < reach:
            shift = min(2 * done + 1, reach - done)  # what is reached from both sides leaves no gap
            higher = np.copy(values)
            np.maximum(higher[shift:], values[:-shift], out=higher[shift:])
            np.maximum(higher[:-shift], values[shift:], out=higher[:-shift])
            values, done = higher, done + shift
        values = values.T
    return values


def _mean(values: NDArray[Any], reach: int) -> Values:
    """Return the mean of the values at most `reach` px away along rows and columns, those at the border repeated."""
    for _ in range(2):
        padded = np.pad(values, ((reach + 1, reach), (0, 0)), mode="edge")
        sums = np.cumsum(padded, axis=0, dtype=np.float64)
        values = ((sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)).T
    return np.asarray(values, dtype=np.float32)
