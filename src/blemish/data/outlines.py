"""What labelling tools draw instead of masks: polygons and runs of pixels, filled to a mask."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.images.quiet import QUIET

Corners = tuple[float, ...]
Runs = tuple[int, ...]

FARTHEST = 1e9  # px; what is drawn beyond is as good as there


@dataclass(frozen=True, slots=True)
class Outlines:
    """The drawn truth of one image of height x width px.

    polygons: the corners of each, x0, y0, x1, y1 ..., in px; pixel (0, 0) covers 0 ... 1, and what lies outside of the
    image is cut off. runs: masks of the whole image as lengths of runs, column by column, beginning with what is no
    defect: COCO's run-length encoding.
    """

    height: int
    width: int
    polygons: tuple[Corners, ...] = ()
    runs: tuple[Runs, ...] = ()

    def mask(self) -> NDArray[np.bool_]:
        """Return the union of all that is drawn: (height, width), bool."""
        from pycocotools import mask as coco

        size = self.height, self.width
        inside = [cut for corners in self.polygons if (cut := _clipped(corners, *size))]
        with QUIET:  # it says that it is behind numpy
            drawn = coco.frPyObjects(inside, *size) if inside else []
            drawn += [coco.frPyObjects({"counts": list(runs), "size": list(size)}, *size) for runs in self.runs]
            return np.asarray(coco.decode(coco.merge(drawn)) > 0) if drawn else np.zeros(size, np.bool_)


def ellipse(x: float, y: float, *, across: float, down: float, turned: float = 0.0) -> Corners:
    """Return the corners of a polygon that is an ellipse to a fraction of a pixel.

    (x, y) is its centre, across and down are its half axes, in px; turned: by how many degrees, clockwise as seen.
    """
    x, y, across, down = (float(np.clip(value, -FARTHEST, FARTHEST)) for value in (x, y, across, down))
    count = int(np.clip(4 * max(across, down), 64, 2048))
    angle, turn = np.arange(count) * (2 * np.pi / count), np.deg2rad(turned)
    along, aside = across * np.cos(angle), down * np.sin(angle)
    xs = x + along * np.cos(turn) - aside * np.sin(turn)
    ys = y + along * np.sin(turn) + aside * np.cos(turn)
    return tuple(np.stack([xs, ys], axis=1).ravel().tolist())


def runs_of(patch: NDArray[np.bool_], *, left: int, top: int, height: int, width: int) -> Runs:
    """Return the runs of an image of height x width px that is empty but for a patch; what is outside is cut off.

    patch: (h, w) bool, its first pixel in column `left` and row `top` of the image.
    """
    x0, x1 = max(left, 0), min(left + patch.shape[1], width)
    y0, y1 = max(top, 0), min(top + patch.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return (height * width,)
    columns = np.zeros((x1 - x0, height), np.int8)
    columns[:, y0:y1] = patch[y0 - top : y1 - top, x0 - left : x1 - left].T
    edges = np.flatnonzero(np.diff(columns.ravel(), prepend=0, append=0)) + x0 * height
    return tuple(np.diff([0, *edges.tolist(), height * width]).tolist())


def _clipped(corners: Sequence[float], height: int, width: int) -> list[float]:
    """Return what of a polygon lies in the image, an empty list if nothing does; edges along the border may be double.

    Sutherland and Hodgman's way, side by side. pycocotools takes memory for every pixel of an edge, wherever it is.
    """
    points = np.clip(np.asarray(corners, np.float64).reshape(-1, 2), -FARTHEST, FARTHEST)
    for axis, sign, limit in ((0, 1, 0), (0, -1, -width), (1, 1, 0), (1, -1, -height)):
        depth = sign * points[:, axis] - limit  # how far inside of this side
        if (depth >= 0).all():
            continue
        kept = []
        for index, here in enumerate(points):
            before, at, was = points[index - 1], depth[index], depth[index - 1]
            if (at >= 0) != (was >= 0):
                crossing = before + (here - before) * (was / (was - at))
                crossing[axis] = sign * limit
                kept.append(crossing)
            if at >= 0:
                kept.append(here)
        if not kept:
            return []
        points = np.stack(kept)
    return [float(value) for value in points.ravel()]
