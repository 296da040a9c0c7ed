"""Images: exact values for every pixel type, and one line for every bad file; all files are made here."""

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.images.read import as_image, brightest, from_pillow, image_shape, read_image
from encoding import COLOURS, FORMATS, ROTATED, chunk, encoded, png, png_of, refused

RNG = np.random.default_rng(3)

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


def test_of_16_bits_as_many_are_used_as_the_camera_has():
    """12 bits fill 0 ... 4095: 0 is black, 4095 white; a value beyond is no 12-bit camera's."""
    values = np.linspace(0, 4095, 40 * 50).astype(np.uint16).reshape(40, 50)
    expected = np.rint(values / 4095 * 255).astype(np.uint8)
    for kind in ("PNG", "TIFF"):
        found = read_image(encoded(values, kind), bits=12)
        assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))
        assert read_image(encoded(values, kind)).max() == 16  # nearly black
    assert np.array_equal(as_image(values, bits=12)[..., 0], expected)
    picture = Image.fromarray(values)
    assert picture.mode == "I;16"
    assert np.array_equal(as_image(from_pillow(picture), bits=12)[..., 0], expected)
    assert np.array_equal(as_image(COLOURS, bits=12), COLOURS)  # 8 bits are 8 bits
    assert np.array_equal(read_image(encoded(values * 15), bits=16)[..., 1], np.rint(values * 15 / 257))
    values[3, 4] = 4096
    for read in (lambda: read_image(encoded(values), bits=12), lambda: as_image(values, bits=12)):
        with pytest.raises(InputError, match="brightest value 4096 exceeds 4095, the largest of 12 bits"):
            read()


def test_of_16_bit_colour_all_bits_are_used(tmp_path):
    """Pillow gives its high byte only, in which 12 bits are four."""
    deep = png(32, 32, depth=16, colour=2, rows=bytes([0, *[1] * (32 * 6)]) * 32)
    assert read_image(deep).max() == 1
    with pytest.raises(InputError, match=r"16-bit colour cannot be read with 12 bits \(allowed: grey, or 16 bits\)"):
        read_image(deep, bits=12)
    path = tmp_path / "grey.png"
    path.write_bytes(encoded(np.full((32, 32), 4080, np.uint16)))
    assert brightest(path) == 4080
    path.write_bytes(encoded(COLOURS))
    assert brightest(path) is None
