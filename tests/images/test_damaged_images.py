"""Images that are damaged, foreign, too large or not what they say: one line each, never other pixels."""

import os
import random
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.images.read import read_image
from encoding import COLOURS, FORMATS, chunk, encoded, png, refused, tiff, tried
from faults import ordinary  # noqa: F401

RNG = np.random.default_rng(3)

# What bad files are told.


def test_empty_and_foreign_files():
    refused(b"", "image: empty file", "PNG, JPEG, BMP, TIFF")
    refused(b"no picture at all\n" * 50, "not an image (magic bytes")
    picture = Image.fromarray(COLOURS)
    for kind in ("GIF", "WEBP"):
        refused(encoded(picture, kind), f"format {kind} not allowed (allowed: PNG, JPEG, BMP, TIFF)")
    for start, kind in [
        (b"8BPS\0\1", "PSD"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "EPS"),
        (b"SIMPLE  =                    T", "FITS"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JP2"),
        (b'<?xml version="1.0"?><svg/>', "SVG"),
        (b" \n<svg>", "SVG"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
    ]:
        refused(start + b" " * 99, f"format {kind}")


@pytest.mark.parametrize("kind", [*FORMATS, "progressive", "LZW", "RLE"])
def test_a_file_cut_anywhere_never_gives_other_pixels(kind):
    noise = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    if kind == "progressive":
        data = encoded(noise, "JPEG", progressive=True)
    elif kind == "LZW":
        data = encoded(noise, "TIFF", compression="tiff_lzw")
    elif kind == "RLE":
        data = run_length_bmp()
    else:
        data = encoded(noise, kind)
    whole = read_image(data)
    for length in range(1, len(data)):
        image = tried(data[:length])
        assert image is None or (np.array_equal(image, whole) and length > 0.9 * len(data)), length
    refused(data[: len(data) // 2], "truncated image")


def run_length_bmp():
    runs = b"".join(bytes([32, row * 7]) + b"\0\0" for row in range(32)) + b"\0\1"
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(runs), 0, 0, 54 + 1024) + header + palette + runs


def test_png_of_the_signature_only_is_truncated():
    refused(encoded(COLOURS)[:8], "truncated image")


def test_every_flipped_bit_of_a_png_is_seen_or_harmless():
    whole = encoded(COLOURS[:32, :32] // 64)
    expected = read_image(whole)
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 8)
        image = tried(bytes(data))
        assert image is None or np.array_equal(image, expected), position
    data = bytearray(whole)
    data[whole.index(b"IEND") - 5] ^= 1  # a bit of the checksum of the pixels
    refused(bytes(data), "corrupt image data (checksum of PNG chunk IDAT)")


def test_missing_rows_are_never_black():
    rows = (b"\0" + b"\xc8" * 40) * 20
    refused(png(40, 40, rows=rows), "truncated image: 820 bytes of pixels missing")
    assert read_image(png(40, 40, rows=rows * 2)).min() == 200
    pixels = b"\xc8" * 1600
    assert read_image(tiff(40, 40, {258: (8,)}, pixels)).min() == 200
    refused(tiff(40, 40, {258: (8,), 278: (20,)}, pixels), "truncated image (TIFF strips are missing)")


def resident():
    return psutil.Process().memory_info().rss


def peak_rise(action):
    """Return what an action returns and how far it made the resident memory rise, in bytes."""
    start, peak, done = resident(), [0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], resident())
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = action()
    finally:
        done.set()
        watcher.join()
    return result, max(peak[0], resident()) - start


@pytest.mark.parametrize(("side", "told"), [(60_000, "3600 Mpx"), (10_000, "100 Mpx"), (8_001, "64.016 Mpx")])
def test_a_claim_of_too_many_pixels_is_refused_before_room_is_made(side, told):
    data = png(side, side, colour=2, rows=b"")
    assert len(data) < 1024
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text, rise = peak_rise(lambda: refused(data, f"{told} exceeds limit 64 Mpx ({side}x{side})"))
    assert text
    assert rise < 50e6


def test_the_pixel_limit_is_the_callers():
    data = encoded(np.zeros((100, 100), np.uint8))
    assert read_image(data, max_megapixels=0.01).shape == (100, 100, 3)
    with pytest.raises(InputError, match=r"0\.01 Mpx exceeds limit 0\.0099 Mpx"):
        read_image(data, max_megapixels=0.0099)
    with pytest.raises(InputError, match="file exceeds 16777216 bytes"):
        read_image(data + bytes(2**24), max_megapixels=1e-9)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_bombs(kind):
    bomb = zlib.compress(bytes(20_000_000), 9)
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind] + bomb
    rows = (b"\0" + b"\xc8" * 40) * 40
    _, rise = peak_rise(lambda: refused(png(40, 40, rows=rows, extra=chunk(kind, body)), "text chunk too large"))
    assert rise < 50e6


def test_sides_and_aspect():
    refused(encoded(np.zeros((1, 1), np.uint8)), "1x1 is smaller than minimum 32x32")
    refused(encoded(np.zeros((5000, 1), np.uint8)), "1x5000 is smaller than minimum 32x32")
    refused(encoded(np.zeros((641, 32), np.uint8)), "aspect ratio of 32x641 exceeds 20:1")
    assert read_image(encoded(np.zeros((640, 32), np.uint8))).shape == (640, 32, 3)
    data = bytearray(encoded(COLOURS, "BMP"))
    data[18:22] = bytes(4)
    refused(bytes(data), "invalid dimensions")
    data[18:22] = struct.pack("<i", -50)
    refused(bytes(data), "Mpx exceeds limit 64 Mpx")
    refused(png(0, 40), "invalid dimensions")


def test_several_frames():
    frames = [Image.fromarray(COLOURS // n) for n in (1, 2, 3)]
    for kind in ("PNG", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        refused(data, "multi-frame not supported (3 frames")


def test_pixel_types_that_would_be_read_wrongly_are_refused():
    refused(encoded(np.zeros((40, 50), np.float32), "TIFF"), "pixel type F not supported")
    refused(encoded(np.zeros((40, 50), np.int32), "TIFF"), "pixel type I not supported")
    refused(encoded(Image.new("LAB", (50, 40)), "TIFF"), "pixel type LAB not supported")
    sixteen = bytes(range(256)) * 16
    assert read_image(tiff(32, 64, {258: (16,)}, sixteen))[0, 1, 0] == round(0x0302 / 257)
    assert read_image(tiff(32, 64, {258: (16,)}, sixteen, order=">"))[0, 1, 0] == round(0x0203 / 257)
    refused(tiff(32, 64, {258: (16,), 262: (0,)}, sixteen), "white-is-zero TIFF not supported")
    refused(tiff(32, 64, {258: (12,)}, sixteen), "12-bit")
    refused(tiff(64, 64, {258: (8,), 339: (2,)}, sixteen), "signed TIFF")
    refused(tiff(64, 64, {258: (8,), 254: (1,)}, sixteen), "preview of a raw photograph")


def test_paths_that_cannot_be_read(tmp_path):
    assert refused(tmp_path / "gone.png").startswith("no such file: ")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    assert refused(tmp_path / "link.png").startswith("no such file: ")
    refused(tmp_path, "not a file")
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "not a file")
    refused(tmp_path / "a\0b.png", "a\\x00b.png: cannot be read")
    refused(tmp_path / ("x" * 300 + ".png"), "cannot be read (File name too long)")
    odd = tmp_path / os.fsdecode(b"new\nline \xff \xe2\x80\xae.png")
    odd.write_bytes(b"")
    refused(odd, "new\\nline \\udcff \\u202e.png: empty file")
    odd.write_bytes(encoded(COLOURS))
    assert np.array_equal(read_image(odd), COLOURS)


def test_permission_denied(ordinary):
    path = ordinary / "locked.png"
    path.write_bytes(encoded(COLOURS))
    path.chmod(0)
    refused(path, f"permission denied: {path}")


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_bytes_give_an_image_or_one_line(kind, capfd):
    rng = random.Random(kind)
    whole = encoded(COLOURS[:40, :40], kind)
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8, 40])):
            data[rng.choice([rng.randrange(len(data)), rng.randrange(min(len(data), 200))])] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        image = tried(bytes(data))
        assert image is None or (image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8)
    assert capfd.readouterr().err == ""
