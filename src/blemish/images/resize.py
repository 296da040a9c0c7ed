"""Resize an image, a score map, a mask: the only resize, in training and everywhere else."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the image squashed or stretched to the square network input.

    (H, W, 3) -> (size, size, 3), uint8; bilinear, smoothed when shrinking. Aspect is not kept: width is scaled by
    size / W and height by size / H, nothing is cropped or padded, and resize_map undoes both on the score map.
    """
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))


def resize_map(score_map: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return a score map at another size: (h, w) -> (height, width), float32; bilinear, smoothed when shrinking."""
    picture = Image.fromarray(np.ascontiguousarray(score_map, dtype=np.float32))
    return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))


def resize_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask at another size: (h, w) -> (height, width), bool; nearest neighbour."""
    picture = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    return np.array(picture).astype(np.bool_)
