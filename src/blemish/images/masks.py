"""Read a mask: from the values that people and tools write to which pixels are defective.

Three kinds are told apart. Of two values the larger is the defect. Labels, of classes or of single defects, fill areas
and lines: few of their pixels lie between a lower and a higher neighbour on opposite sides, as those of a smoothed
border do. All of them are defective but the background: 0, or in a palette index 0, or the one that is black where 0 is
not. Anything else is a mask with soft edges or the noise of JPEG, and is cut in the middle.

Measured on drawn blobs, lines and dots: of labels at most 14 % of the pixels below the peak lie on such a slope, of
edges that were smoothed, resized, or saved as JPEG at least 40 %. After a JPEG of quality 100 it may be 12 %, but no
value is far from both ends then.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from blemish.errors import InputError
from blemish.images.read import COLOUR8, GREY16, MAX_MEGAPIXELS, decoding, opened, upright

SLOPES = 0.2  # of labels, at most this share of the pixels below the peak lies between a lower and a higher one
OPEN = 0.05  # of labels with a border around them, less than this share touches the background
NOISE = 3  # so far from both ends JPEG of the best quality moves a value
VALUES = 8  # different values in a picture that are too few for a photograph
FEW, VOID = (
    32,
    255,
)  # labels below FEW may have a border of VOID around them, as those of Pascal VOC: neither is touched
OPPOSITE = ((0, 1), (1, 0), (1, 1), (1, -1))

Values = NDArray[Any]  # whole numbers


@dataclass(frozen=True, slots=True)
class Mask:
    """What a mask marks, (H, W) bool, and what it does not though it is no background.

    left_out: the share of the pixels that are not background which lie below the middle, 0 ... 1. void: whether pixels
    of the value 255 beside labels are taken as the border of Pascal VOC, and as no defect.
    """

    defects: NDArray[np.bool_]
    left_out: float
    void: bool


def read_mask(source: Path | bytes) -> NDArray[np.bool_]:
    """Return the ground truth mask in a file, or in its bytes, upright: (H, W) bool, True where the part is defective.

    Raises InputError as read_image does, and for a mask that is drawn in the alpha channel only.
    """
    return inspect_mask(source).defects


def inspect_mask(source: Path | bytes) -> Mask:
    """Return the mask in a file with what is left out of it; raises InputError as `read_mask` does."""
    image, data, name = opened(source, max_megapixels=MAX_MEGAPIXELS)
    if image.mode not in COLOUR8 | GREY16 | {"I"}:
        raise InputError(f"{name}: pixel type {image.mode} not supported (allowed for a mask: integers)")
    with decoding(name):
        picture = upright(image, data, name=name)
        values, indices = _values(picture)
        if _drawn_in_alpha(picture, values):
            raise InputError(f"{name}: drawn in its alpha channel only; save the mask as black and white instead")
        return _mask(values, indices, picture=picture, lossy=isinstance(image, JpegImageFile))


def looks_like_mask(path: Path) -> bool:
    """Tell whether a picture has so few different values that it is a mask, not a photograph; False if it is none."""
    try:
        image, data, name = opened(path, max_megapixels=MAX_MEGAPIXELS)
        with decoding(name):
            return len(np.unique(np.array(upright(image, data, name=name)))) <= VALUES
    except InputError:
        return False


def _mask(values: Values, indices: Values | None, *, picture: Image.Image, lossy: bool) -> Mask:
    """Return the mask that values make, and of a palette its indices."""
    different = np.unique(values if indices is None else indices)
    top = int(values.max())
    if top >= FEW and (lossy or not _are_labels(values)):
        defects = values > top // 2
        return Mask(defects, left_out=1 - _share(defects, values != 0), void=False)
    labels = values if indices is None else indices
    background = 0 if indices is None else _background(picture)
    if indices is None and len(different) == 2:
        background = int(different[0])  # which need not be 0
    drawn, void = labels != background, labels == VOID
    if len(different) == 2 or not _is_border(void, drawn & ~void, labels if indices is None else None):
        return Mask(drawn, left_out=0.0, void=False)
    return Mask(drawn & ~void, left_out=0.0, void=True)


def _is_border(void: NDArray[np.bool_], labels: NDArray[np.bool_], values: Values | None) -> bool:
    """Tell whether pixels of the value 255 are a border: labels there are, and they do not touch the background.

    values: of grey labels, which are small beside such a border; None for a palette.
    """
    if not void.any() or not labels.any() or (values is not None and int(values[labels].max()) >= FEW):
        return False
    background = ~void & ~labels
    beside = labels & (_around(background).any(axis=(2, 3)))
    return bool(background.any()) and _share(beside, labels) < OPEN


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    """Return how many pixels of the whole a part has, 0 ... 1."""
    return int(np.count_nonzero(part)) / max(1, int(np.count_nonzero(whole)))


def _around(values: Values) -> Values:
    """Return the 3 x 3 pixels around each, (H, W, 3, 3); beyond an edge it goes on as it ends."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, mode="edge"), (3, 3))


def _are_labels(values: Values) -> bool:
    """Tell whether the pixels between the background and the peak fill areas, rather than slopes between them."""
    top = values.max()
    between = (values > 0) & (values < top)
    if not between.any():
        return True  # one value beside the background: labels and a mask are the same
    high = values[between] >= top - NOISE
    if high.any() and (high | (values[between] <= NOISE)).all():
        return False
    around = _around(values)
    slopes = np.zeros(values.shape, np.bool_)
    for down, right in OPPOSITE:
        one, other = around[:, :, 1 + down, 1 + right], around[:, :, 1 - down, 1 - right]
        slopes |= (np.minimum(one, other) < values) & (np.maximum(one, other) > values)
    return _share(slopes & between, between) <= SLOPES


def _values(picture: Image.Image) -> tuple[Values, Values | None]:
    """Return one value for each pixel, of colours the largest channel; and of a palette the indices."""
    indices = np.array(picture) if picture.mode == "P" else None
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "RGBA"):
        picture = picture.convert("RGB")
    values = np.array(picture.convert("L") if picture.mode in ("1", "LA") else picture)
    return values if values.ndim == 2 else np.asarray(values.max(axis=2)), indices


def _drawn_in_alpha(picture: Image.Image, values: Values) -> bool:
    if not picture.has_transparency_data or (values != values.flat[0]).any():
        return False
    alpha = np.array(picture.convert("RGBA").getchannel("A"))
    return bool((alpha != alpha.flat[0]).any())


def _background(picture: Image.Image) -> int:
    """Return the index of a palette that is the background: 0, unless it is not black and another that occurs is."""
    palette = picture.getpalette("RGB") or []
    black = [int(index) for index in np.unique(np.array(picture)) if not any(palette[3 * index : 3 * index + 3])]
    return black[0] if black and 0 not in black else 0
