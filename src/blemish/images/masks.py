"""Read a mask: from the values that people and tools write to which pixels are defective.

Three kinds are told apart. A palette holds the classes of its indices; index 0 is the background, or the one that is
black where 0 is not. Labels, of classes or of single defects, fill areas: hardly one of their pixels lies between a
lower and a higher neighbour, as the pixels of a smoothed border do. All of them are defective. Anything else is a mask
with soft edges or the noise of JPEG, and is cut in the middle.

Measured on drawn blobs and lines: of labels at least 97 % of the pixels below the peak lie on no slope, of edges that
were smoothed, resized or saved as JPEG at most 36 %; of a JPEG of quality 100 88 %, which is why SLOPES is 5 %.
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

FEW = 32  # values below are labels, whatever their places: {0, 1} is read as {0, 255} is
SLOPES = 0.05  # of labels, at most this share of the pixels below the peak lies between a lower and a higher one
VALUES = 8  # different values in a picture that are too few for a photograph
VOID = 255  # what surrounds an object in masks like those of Pascal VOC, and is neither object nor background

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
        values, alpha = _values(picture)
        if alpha is not None and (values == values.flat[0]).all() and (alpha != alpha.flat[0]).any():
            raise InputError(f"{name}: drawn in its alpha channel only; save the mask as black and white instead")
        background = _black(picture) if picture.mode == "P" and not _is_grey(picture) else None
    return _mask(values, background=background, lossy=isinstance(image, JpegImageFile))


def looks_like_mask(path: Path) -> bool:
    """Tell whether a picture has so few different values that it is a mask, not a photograph; False if it is none."""
    try:
        image, data, name = opened(path, max_megapixels=MAX_MEGAPIXELS)
        with decoding(name):
            return len(np.unique(np.array(upright(image, data, name=name)))) <= VALUES
    except InputError:
        return False


def _mask(values: Values, *, background: int | None, lossy: bool) -> Mask:
    """Return the mask that values make; background: the index of a palette that is none, None for values that rank."""
    few = True
    if background is None:
        background, middle = 0, int(values.max()) // 2
        if middle >= FEW // 2 and (lossy or not _are_labels(values)):
            defects = values > middle
            return Mask(defects, left_out=1 - _share(defects, values != 0), void=False)
        few = bool((values[values != VOID] < FEW).all())
    drawn = values != background
    void = values == VOID
    if not (few and void.any() and (drawn & ~void).any()):
        return Mask(drawn, left_out=0.0, void=False)
    return Mask(drawn & ~void, left_out=0.0, void=True)


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    """Return how many pixels of the whole a part has, 0 ... 1."""
    return int(np.count_nonzero(part)) / max(1, int(np.count_nonzero(whole)))


def _are_labels(values: Values) -> bool:
    """Tell whether the pixels between the background and the peak fill areas, rather than slopes between them."""
    between = (values > 0) & (values < values.max())
    if not between.any():
        return True  # one value beside the background: labels and a mask are the same
    around = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1, mode="edge"), (3, 3))
    slopes = between & (around.min(axis=(2, 3)) < values) & (around.max(axis=(2, 3)) > values)
    return _share(slopes, between) <= SLOPES


def _values(picture: Image.Image) -> tuple[Values, Values | None]:
    """Return one value for each pixel, of colours the largest channel, of a coloured palette the index; and alpha."""
    alpha = np.array(picture.getchannel("A")) if picture.mode in ("LA", "PA", "RGBA") else None
    if picture.mode in ("PA", "CMYK", "YCbCr", "RGBA") or (picture.mode == "P" and _is_grey(picture)):
        picture = picture.convert("RGB")
    values = np.array(picture.convert("L") if picture.mode in ("1", "LA") else picture)
    return values if values.ndim == 2 else np.asarray(values.max(axis=2)), alpha


def _is_grey(picture: Image.Image) -> bool:
    """Tell whether the colours of a palette that occur are all grey: then they are values, and in any order."""
    return all(red == green == blue for red, green, blue in _colours(picture).values())


def _black(picture: Image.Image) -> int:
    """Return the index of a palette that is the background."""
    colours = _colours(picture)
    black = [index for index, colour in colours.items() if colour == (0, 0, 0)]
    return black[0] if black and 0 not in black else 0


def _colours(picture: Image.Image) -> dict[int, tuple[int, int, int]]:
    """Return the colour of each index of a palette that occurs."""
    palette = picture.getpalette("RGB") or []
    palette += [0] * (3 * 256 - len(palette))
    used = np.unique(np.array(picture))
    return {int(index): (palette[3 * index], palette[3 * index + 1], palette[3 * index + 2]) for index in used}
