"""What is left of a mask where pixels count, and at another resolution; and whether what is found lies on it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.images.resize import resize_mask
from blemish.model.header import Header
from blemish.model.scorer import said
from blemish.verdict.scale import Reference


def clipped(truth: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int, int]:
    """Return what of a mask lies where pixels count, how many 8-connected regions it has, and how many lie outside."""
    from scipy import ndimage

    labels, count = ndimage.label(truth, structure=np.ones((3, 3)))
    kept = truth & inside
    return kept, int(count), int(count) - np.unique(labels[kept]).size


def regions_lost(mask: NDArray[np.bool_], height: int, width: int, inside: NDArray[np.bool_] | None) -> int:
    """Return how many 8-connected regions of a mask have no pixel in the mask that resize_mask returns, or not inside.

    inside: which pixels of the latter count, default all.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    small = Image.fromarray(labels.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    kept = np.array(small) if inside is None else np.array(small)[inside]
    return int(count) - np.setdiff1d(kept, [0]).size


def on_defect(truth: NDArray[np.bool_], image: NDArray[np.uint8], reference: Reference, header: Header) -> bool | None:
    """Return whether a region that a model finds in an image overlaps its mask; None without a region, or a defect.

    reference: what the verdict is taken from. None as well where the whole surface is the region: no place was found.
    """
    found = said(header, image, image, reference)
    if not found.regions or found.regions[0].surface or not truth.any():
        return None
    return bool((resize_mask(found.inside, *truth.shape) & truth).any())
