"""What the tests of images share: files of every kind, made byte by byte, and one line for what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.images.read import read_image

RNG = np.random.default_rng(0)


COLOURS = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)


FORMATS = ["PNG", "JPEG", "BMP", "TIFF"]


ROTATED = {
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS, -1),
    7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(COLOURS),
}


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *, depth=8, colour=0, rows=b"", extra=b"", interlaced=0):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def png_of(samples, *, depth, colour, extra=b""):
    """Pack samples (H, W, C), each below 2**depth, into a PNG by hand."""
    height, width, channels = samples.shape
    bits = (samples.reshape(height, width * channels, 1) >> np.arange(depth)[::-1]) & 1
    packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    return png(
        width, height, depth=depth, colour=colour, rows=b"".join(b"\0" + row.tobytes() for row in packed), extra=extra
    )


def tiff(width, height, tags, pixels, *, order="<"):
    """Write a TIFF of one strip by hand; tags are {number: (values)}, all stored as LONG or SHORT."""
    base = {256: (width,), 257: (height,), 259: (1,), 262: (1,), 277: (1,), 278: (height,), 279: (len(pixels),)} | tags
    at = 8 + 2 + 12 * (len(base) + 1) + 4
    base[273] = base.get(273, (at,))
    entries = b"".join(
        struct.pack(order + "HHI", number, 4, 1) + struct.pack(order + "I", values[0])
        for number, values in sorted(base.items())
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "I", 8) + struct.pack(order + "H", len(base)) + entries + b"\0" * 4 + pixels


def refused(source, *words):
    with pytest.raises(InputError) as caught:
        read_image(source)
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text, text
    return text


def tried(data):
    """Return the image, or None if it was refused in one line."""
    try:
        return read_image(data)
    except InputError as error:
        text = str(error)
    assert len(text.splitlines()) == 1
    return None
