"""Golden images: what a bundle is tested with wherever it is loaded, decoding and resizing included."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from blemish.data.copies import SIDE
from blemish.data.sources import Source, load
from blemish.images.read import READERS, as_image
from blemish.model.header import Header

PHOTOGRAPHS = 2  # given good images that become golden
LARGEST = 1024  # px; a larger photograph would make every start slow
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "TIFF": "tif"}
BLOTS = 4
WIDTH, HEIGHT = 250, 190  # of painted ones: not square, and no size of a network


def golden_files(header: Header, good: Sequence[Source]) -> list[tuple[str, bytes]]:
    """Return the golden images of a model, each as (file name, content): painted ones, then photographs.

    Two are painted over thumbnails of the model's own good images, one with a dark blot, so that every bundle has some:
    a PNG and a JPEG. The photographs are the first of `good`, as they are unless they are large, and one more of the
    first, with blots: a graph must keep the verdicts of good and of bad parts.
    """
    bits = header.bits
    thumbnails = [image.thumbnail for image in header.data.held_out] or ["80" * SIDE**2]
    plain = _painted(thumbnails[0], seed=0)
    spoilt = _painted(thumbnails[-1], seed=1)
    draw = ImageDraw.Draw(spoilt)
    draw.ellipse((80, 60, 110, 85), fill=(20, 25, 30))
    files = [
        _encoded(plain, "PNG"),
        _encoded(spoilt, "JPEG"),
        *(_content(source, bits=bits) for source in good[:PHOTOGRAPHS]),
    ]
    for source in good[:1]:
        files.append(_encoded(_small(blotted(load(source, bits=bits), seed=2)), "PNG"))
    return [(f"golden/{index}.{suffix}", data) for index, (suffix, data) in enumerate(files)]


def blotted(image: NDArray[np.uint8], *, seed: int) -> NDArray[np.uint8]:
    """Return a copy of an image (H, W, 3) with rectangles of any colour on it, each a tenth to a third of a side."""
    random = np.random.default_rng(seed)
    height, width = image.shape[:2]
    image = image.copy()
    for _ in range(BLOTS):
        tall, wide = (int(side * random.uniform(0.1, 0.33)) for side in (height, width))
        top, left = random.integers(0, height - tall), random.integers(0, width - wide)
        image[top : top + tall, left : left + wide] = random.integers(0, 256, 3)
    return image


def _painted(thumbnail: str, *, seed: int) -> Image.Image:
    grey = Image.frombytes("L", (SIDE, SIDE), bytes.fromhex(thumbnail))
    values = np.asarray(grey.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float64)
    noise = np.random.default_rng(seed).normal(0, 6, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(values[..., None] + noise, 0, 255).astype(np.uint8))


def _encoded(picture: Image.Image, kind: str) -> tuple[str, bytes]:
    stream = BytesIO()
    picture.save(stream, kind)
    return SUFFIXES[kind], stream.getvalue()


def _small(image: NDArray[np.uint8]) -> Image.Image:
    """Return a picture whose sides are at most LARGEST."""
    picture = Image.fromarray(image)
    picture.thumbnail((LARGEST, LARGEST))
    return picture


def _content(source: Source, *, bits: int) -> tuple[str, bytes]:
    """Return the file of a source, under the suffix that its content has; an array becomes a PNG."""
    if not isinstance(source, Path):
        return _encoded(_small(as_image(source, bits=bits)), "PNG")
    data, image = source.read_bytes(), load(source, bits=bits)
    if max(image.shape) > LARGEST:
        return _encoded(_small(image), "PNG")
    reader = next(reader for magic, reader in READERS.items() if data.startswith(magic))
    return SUFFIXES[str(reader.format)], data
