"""Images: exact values for every pixel type, and one line for every bad file; all files are made here."""

import io
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
from blemish.images.read import as_image, image_shape, read_image, read_mask
from blemish.images.resize import resize, resize_map, resize_mask

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


# What good files are read as.


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_rgb_is_read_exactly(kind, tmp_path):
    data = encoded(COLOURS, kind)
    (tmp_path / "part.dat").write_bytes(data)
    assert np.array_equal(read_image(data), COLOURS)
    image = read_image(tmp_path / "part.dat")
    assert np.array_equal(image, COLOURS)
    assert image.dtype == np.uint8
    assert image.flags.writeable


def test_jpeg_is_read_as_the_decoder_gives_it():
    smooth = np.full((40, 50, 3), (200, 100, 50), np.uint8)
    assert np.abs(read_image(encoded(smooth, "JPEG", quality=95)).astype(int) - smooth).max() <= 2


@pytest.mark.parametrize("kind", FORMATS)
def test_grey_is_replicated(kind):
    grey = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 48, axis=1) * 6
    image = read_image(encoded(grey, kind, **({"quality": 100} if kind == "JPEG" else {})))
    assert np.array_equal(image[..., 0], image[..., 1])
    assert np.array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - grey).max() <= (1 if kind == "JPEG" else 0)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_spans_the_full_range(depth):
    samples = RNG.integers(0, 2**depth, (40, 50, 1))
    image = read_image(png_of(samples, depth=depth, colour=0))
    assert np.array_equal(image, np.repeat(samples * (255 // (2**depth - 1)), 3, axis=2))


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
def test_grey_of_16_bits_is_scaled_and_rounded_not_saturated(kind, mode):
    values = np.arange(0, 65536, 32, dtype=np.uint16).reshape(32, 64)
    values[0, :4] = 0, 65535, 128, 129  # 128 / 257 rounds down, 129 / 257 up
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    assert expected[0, :4].tolist() == [0, 255, 0, 1]
    picture = Image.fromarray(values)
    picture = picture if mode == "I;16" else Image.frombytes(mode, (64, 32), values.astype(">u2").tobytes())
    image = read_image(encoded(picture, kind))
    assert np.array_equal(image, np.repeat(expected[:, :, None], 3, axis=2))
    assert np.array_equal(as_image(values), image)
    assert np.array_equal(as_image(values.astype(">u2")), image)


def test_colour_of_16_bits_is_within_one_level():
    samples = RNG.integers(0, 65536, (40, 50, 3))
    image = read_image(png_of(samples, depth=16, colour=2))
    assert np.array_equal(image, samples >> 8)
    assert np.abs(image - samples / 257).max() <= 1


def test_palette_is_read_by_its_colours():
    picture = Image.fromarray(RNG.integers(0, 3, (40, 50), dtype=np.uint8))
    indices = np.array(picture)
    picture.putpalette([10, 20, 30, 255, 0, 0, 1, 2, 3])
    expected = np.array([[10, 20, 30], [255, 0, 0], [1, 2, 3]], np.uint8)[indices]
    for kind in ("PNG", "BMP", "TIFF"):
        assert np.array_equal(read_image(encoded(picture, kind)), expected)


def on_white(colours, alpha):
    mixed = colours.astype(int) * alpha[..., None] + 255 * (255 - alpha[..., None].astype(int))
    return np.floor(mixed / 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_alpha_is_flattened_on_white(kind):
    alpha = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
    alpha[0, :2] = 0, 255
    layered = np.dstack([COLOURS, alpha])
    flat = on_white(COLOURS, alpha)
    assert flat[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(read_image(encoded(layered, kind)), flat)
    assert np.array_equal(read_image(encoded(layered, kind)), read_image(encoded(flat, kind)))
    assert np.array_equal(as_image(layered), flat)
    grey = np.dstack([COLOURS[..., :1], alpha])
    expected = on_white(COLOURS[..., :1].repeat(3, axis=2), alpha)
    assert np.array_equal(read_image(encoded(grey, kind)), expected)


def test_transparency_of_a_palette_or_a_colour_is_flattened_on_white():
    indices = RNG.integers(0, 3, (40, 50), dtype=np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([10, 20, 30, 255, 0, 0, 1, 2, 3])
    palette = np.array([[10, 20, 30], [255, 0, 0], [1, 2, 3]], np.uint8)
    expected = on_white(palette[indices], np.array([255, 0, 100])[indices])
    assert np.array_equal(read_image(encoded(picture, transparency=bytes([255, 0, 100]))), expected)
    one = on_white(palette[indices], np.array([255, 0, 255])[indices])
    assert np.array_equal(read_image(encoded(picture, transparency=1)), one)
    colours = palette[indices]
    assert np.array_equal(read_image(encoded(Image.fromarray(colours), transparency=(255, 0, 0))), one)
    bits = RNG.integers(0, 2, (40, 50, 1))
    see_through = png_of(bits, depth=1, colour=0, extra=chunk(b"tRNS", b"\0\0"))
    assert np.array_equal(read_image(see_through), np.full((40, 50, 3), 255))
    refused(png_of(bits, depth=4, colour=0, extra=chunk(b"tRNS", b"\0\1")), "transparent colour in a 4-bit PNG")


def test_cmyk_is_converted_as_documented():
    inks = np.array([10, 20, 30, 40])
    expected = np.floor((255 - inks[:3]) * (255 - inks[3]) / 255 + 0.5)
    picture = Image.new("CMYK", (50, 40), tuple(inks.tolist()))
    assert np.abs(read_image(encoded(picture, "JPEG", quality=100)) - expected).max() <= 1
    assert np.abs(read_image(encoded(picture, "TIFF")) - expected).max() <= 1


@pytest.mark.parametrize("turn", ROTATED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF packed", "JPEG"])
def test_exif_orientation_is_applied_once(kind, turn, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = Image.fromarray(COLOURS)
    options = {"compression": "tiff_lzw"} if kind == "TIFF packed" else {}
    if kind == "JPEG":  # blocks of 16 px of one colour survive compression
        picture = picture.resize((800, 640), Image.Resampling.NEAREST)
        options = {"quality": 95, "subsampling": 0}
    path = tmp_path / "part"
    path.write_bytes(encoded(picture, kind.split()[0], exif=exif, **options))
    image = read_image(path)
    if kind == "JPEG":
        image = image[8::16, 8::16]
    assert image.shape == ROTATED[turn].shape
    assert np.abs(image.astype(int) - ROTATED[turn]).max() <= (12 if kind == "JPEG" else 0)
    scale = 16 if kind == "JPEG" else 1
    assert image_shape(path) == (image.shape[0] * scale, image.shape[1] * scale, 3)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    body = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = encoded(COLOURS)
    path = tmp_path / "late.png"
    path.write_bytes(data[:-12] + body + data[-12:])
    assert np.array_equal(read_image(path), ROTATED[6])
    assert image_shape(path) == (50, 40, 3)


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [("1", "PNG", 1), ("L", "JPEG", 1), ("LA", "PNG", 1), ("I;16", "TIFF", 1),
     ("RGB", "JPEG", 3), ("RGBA", "PNG", 3), ("P", "PNG", 3), ("CMYK", "JPEG", 3)],
)  # fmt: skip
def test_grey_is_told_from_colour(tmp_path, mode, kind, channels):
    path = tmp_path / "part"
    path.write_bytes(encoded(Image.new(mode, (40, 50)), kind))
    assert image_shape(path) == (50, 40, channels)


def test_interlaced_png_is_read():
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    grey = COLOURS[:33, :35, 0]
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in grey[y::dy, x::dx])
    image = read_image(png(35, 33, rows=rows, interlaced=1))
    assert np.array_equal(image[..., 1], grey)
    refused(png(35, 33, rows=rows[:-1], interlaced=1), "truncated image: 1 bytes of pixels missing")


def test_a_preview_behind_a_jpeg_is_not_another_frame():
    pictures = [Image.fromarray(np.full((40, 50, 3), value, np.uint8)) for value in (30, 200)]
    data = encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    assert np.abs(read_image(data).astype(int) - 30).max() <= 1


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


def test_permission_denied(tmp_path):
    path = tmp_path / "locked.png"
    path.write_bytes(encoded(COLOURS))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
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


# Masks.


def mask_of(tmp_path, picture, kind="PNG", **options):
    path = tmp_path / "mask"
    path.write_bytes(encoded(picture, kind, **options))
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    assert image_shape(path)[:2] == mask.shape
    return mask


def test_masks_of_0_and_1_and_of_0_and_255_are_the_same(tmp_path):
    truth = RNG.random((13, 7)) < 0.3  # below the least side of an image
    for top in (1, 255):
        assert np.array_equal(mask_of(tmp_path, truth.astype(np.uint8) * np.uint8(top)), truth)
    for top in (1, 65535):
        assert np.array_equal(mask_of(tmp_path, truth.astype(np.uint16) * np.uint16(top)), truth)
    assert np.array_equal(mask_of(tmp_path, Image.fromarray(truth)), truth)
    assert np.array_equal(mask_of(tmp_path, truth.astype(np.int32) * 7, "TIFF"), truth)
    assert not mask_of(tmp_path, np.zeros((5, 5), np.uint8)).any()
    assert mask_of(tmp_path, np.full((5, 5), 255, np.uint8)).all()


def test_masks_with_soft_edges_are_cut_in_the_middle_and_labels_are_not(tmp_path):
    soft = np.array([[0, 64, 127, 128, 255]], np.uint8)
    assert mask_of(tmp_path, soft).tolist() == [[False, False, False, True, True]]
    dim = np.array([[0, 50, 51, 100, 101]], np.uint8)
    assert mask_of(tmp_path, dim).tolist() == [[False, False, True, True, True]]
    labels = np.array([[0, 1, 2, 3, 31]], np.uint8)
    assert mask_of(tmp_path, labels).tolist() == [[False, True, True, True, True]]


def test_masks_in_colour_count_by_their_largest_channel(tmp_path):
    colours = np.zeros((2, 4, 3), np.uint8)
    colours[0, 1] = 255, 0, 0
    colours[0, 2] = 0, 0, 255
    colours[0, 3] = 0, 100, 0
    expected = [[False, True, True, False], [False] * 4]
    assert mask_of(tmp_path, colours).tolist() == expected
    for alpha in (np.zeros((2, 4), np.uint8), np.full((2, 4), 255, np.uint8)):  # ignored
        assert mask_of(tmp_path, np.dstack([colours, alpha])).tolist() == expected
        assert mask_of(tmp_path, np.dstack([colours.max(axis=2), alpha])).tolist() == expected
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    palette.putpalette([0, 0, 0, 0, 200, 0, 0, 0, 99])
    assert mask_of(tmp_path, palette).tolist() == [[False, True, False]]


def test_masks_are_turned_upright_and_checked_as_images_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    truth = RNG.random((13, 7)) < 0.3
    assert np.array_equal(mask_of(tmp_path, truth.astype(np.uint8), exif=exif), np.rot90(truth, -1))
    path = tmp_path / "mask.png"
    for data, told in [
        (b"", "empty file"),
        (encoded(truth.astype(np.uint8))[:60], "truncated image"),
        (encoded(np.zeros((5, 5), np.float32), "TIFF"), "pixel type F not supported"),
        (png(9000, 9000), "81 Mpx exceeds limit 64 Mpx"),
    ]:
        path.write_bytes(data)
        with pytest.raises(InputError, match=told):
            read_mask(path)


# Arrays and sizes.


def test_arrays_are_read_as_files_are():
    grey = COLOURS[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert np.array_equal(as_image(grey), expected)
    assert np.array_equal(as_image(grey[..., None]), expected)
    assert np.array_equal(as_image(COLOURS), COLOURS)
    mirrored = as_image(COLOURS[:, ::-1])
    assert np.array_equal(mirrored, COLOURS[:, ::-1])
    assert mirrored.flags.c_contiguous  # torch refuses negative strides
    assert as_image(COLOURS.astype(np.uint16) * 257).tolist() == COLOURS.tolist()


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (COLOURS.astype(np.float32) / 255, "float32 not supported (allowed: numpy arrays of uint8 or uint16)"),
        (COLOURS > 9, "bool not supported"),
        (COLOURS.tolist(), "list not supported"),
        (COLOURS.transpose(2, 0, 1), "shape (3, 40, 50) not supported"),
        (COLOURS[None], "shape (1, 40, 50, 3) not supported"),
        (np.zeros((31, 64), np.uint8), "64x31 is smaller than minimum 32x32"),
        (np.zeros((0, 64, 3), np.uint8), "64x0 is smaller than minimum 32x32"),
        (np.zeros((32, 641), np.uint8), "aspect ratio"),
    ],
)
def test_arrays_that_are_no_images(array, told):
    with pytest.raises(InputError) as caught:
        as_image(array)
    assert told in str(caught.value)
    assert str(caught.value).startswith("image array: ")


def slow_bilinear(line, size):
    """Resample one line by the textbook: a triangle as wide as the larger of a source and a target pixel."""
    scale = len(line) / size
    width = max(scale, 1.0)
    centres = np.arange(len(line)) + 0.5
    result = []
    for target in range(size):
        weights = np.clip(1 - np.abs(centres - (target + 0.5) * scale) / width, 0, None)
        result.append((weights * line).sum() / weights.sum())
    return np.array(result)


def test_resize_squashes_each_side_on_its_own():
    wide = RNG.integers(0, 256, (40, 120, 3), dtype=np.uint8)
    small = resize(wide, 32)
    assert small.shape == (32, 32, 3)
    assert small.dtype == np.uint8
    across = np.apply_along_axis(slow_bilinear, 1, wide.astype(float), 32)
    expected = np.apply_along_axis(slow_bilinear, 0, across, 32)
    assert np.abs(small - expected).max() <= 1.001  # each of two passes rounds by half a level
    marks = np.zeros((64, 256, 3), np.uint8)
    marks[32:48, 64:128] = 255  # a quarter of each side
    rows, columns = np.nonzero(resize(marks, 32)[..., 0] > 127)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (16, 24, 8, 16)


def test_resize_map_stretches_back():
    values = RNG.random((32, 32), dtype=np.float32)
    large = resize_map(values, 40, 120)
    assert large.shape == (40, 120)
    assert large.dtype == np.float32
    across = np.apply_along_axis(slow_bilinear, 1, values.astype(float), 120)
    assert np.abs(large - np.apply_along_axis(slow_bilinear, 0, across, 40)).max() < 1e-6
    assert np.array_equal(resize_map(values, 32, 32), values)


def test_resize_mask_takes_the_nearest():
    mask = np.array([[True, False], [False, False]])
    assert np.array_equal(resize_mask(mask, 4, 6), np.kron(mask, np.ones((2, 3))).astype(bool))
    lines = RNG.random((9, 15)) < 0.5
    assert np.array_equal(resize_mask(lines, 3, 5), lines[1::3, 1::3])
    assert resize_mask(mask, 4, 6).dtype == np.bool_
