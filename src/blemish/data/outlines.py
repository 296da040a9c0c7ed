"""What labelling tools draw instead of masks: polygons and runs of pixels, filled to a mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.images.quiet import QUIET

Runs = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outlines:
    """The drawn truth of one image of height x width px.

    polygons: the corners of each, x0, y0, x1, y1 ..., in px; pixel (0, 0) covers 0 ... 1. runs: masks of the whole
    image as lengths of runs, column by column, beginning with what is no defect: COCO's run-length encoding.
    """

    height: int
    width: int
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[Runs, ...] = ()

    def mask(self) -> NDArray[np.bool_]:
        """Return the union of all that is drawn: (height, width), bool."""
        from pycocotools import mask as coco

        found = np.zeros((self.height, self.width), np.bool_)
        size = self.height, self.width
        with QUIET:  # it says that it is behind numpy
            if self.polygons:
                found |= coco.decode(coco.frPyObjects([list(corners) for corners in self.polygons], *size)).any(axis=2)
            for lengths in self.runs:
                found |= coco.decode(coco.frPyObjects({"counts": list(lengths), "size": list(size)}, *size)) > 0
        return found
