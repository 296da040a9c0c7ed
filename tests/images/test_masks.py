"""Masks: labels, soft edges, colours, upright; and arrays that are read as files are."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from blemish.errors import InputError
from blemish.images.masks import inspect_mask, read_mask
from blemish.images.read import as_image, image_shape
from encoding import COLOURS, encoded, png

RNG = np.random.default_rng(3)

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


def drawn(values):
    """A mask of areas: a square for each value, 12 px wide, in rows of eight; and where the squares are."""
    rows = -(-len(values) // 8)
    mask = np.zeros((16 * rows, 128), np.int64)
    for index, value in enumerate(values):
        y, x = 16 * (index // 8), 16 * (index % 8)
        mask[y + 2 : y + 14, x + 2 : x + 14] = value
    return mask, mask > 0


@pytest.mark.parametrize(
    "values",
    [range(1, 41), [50, 100, 150, 200, 250], [1, 128, 255], [32, 33], range(5, 256, 5)],
    ids=["instances", "classes", "three", "two", "many"],
)
def test_labels_are_defects_all_of_them(tmp_path, values):
    mask, truth = drawn(list(values))
    assert np.array_equal(mask_of(tmp_path, mask.astype(np.uint8)), truth)
    assert np.array_equal(mask_of(tmp_path, (mask * 200).astype(np.uint16)), truth)
    touching = np.kron(mask[2:14, 2:14], np.ones((3, 3), np.int64))
    touching[10:20, 10:20] = values[1]  # one over another
    touching = np.pad(touching, 1)
    assert np.array_equal(mask_of(tmp_path, touching.astype(np.uint8)), touching > 0)


def test_dark_colours_are_defects_as_bright_ones_are(tmp_path):
    mask, truth = drawn([1, 2, 3])
    for colours in (
        [(0, 0, 0), (255, 0, 0), (40, 0, 0), (0, 30, 60)],
        [(0, 0, 0), (0, 9, 0), (0, 0, 200), (99, 99, 0)],
    ):
        pixels = np.array(colours, np.uint8)[mask]
        assert np.array_equal(mask_of(tmp_path, pixels), truth)


def test_thin_lines_and_dots_of_labels_stay_whole(tmp_path):
    lines, dots = Image.new("L", (256, 256)), np.zeros((100, 100), np.uint8)
    draw, rng = ImageDraw.Draw(lines), np.random.default_rng(0)
    for label in np.linspace(10, 244, 40).astype(int):
        draw.line(tuple(int(one) for one in rng.integers(0, 256, 4)), fill=int(label), width=1)
    for label in range(40, 240):
        y, x = rng.integers(0, 98, 2)
        dots[y : y + 2, x : x + 2] = label
    for mask in (np.array(lines), dots):
        assert np.array_equal(mask_of(tmp_path, mask), mask > 0)


def test_a_few_stray_pixels_do_not_turn_a_mask_inside_out(tmp_path):
    mask = np.zeros((100, 100), np.uint8)
    mask[30:60, 30:60] = 255
    stray = mask.copy()
    stray[2, 2:25] = 1
    assert np.array_equal(mask_of(tmp_path, stray), stray > 0)
    stray[40, 40] = 7
    assert np.array_equal(mask_of(tmp_path, stray), stray > 0)
    assert np.array_equal(mask_of(tmp_path, np.where(mask > 0, mask, 1)), mask > 0)  # of two values the larger
    assert np.array_equal(mask_of(tmp_path, np.where(mask > 0, 2, 1).astype(np.uint8)), mask > 0)


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
def test_the_noise_of_jpeg_is_cut_away(tmp_path, quality):
    _, truth = drawn([255, 255, 255])
    saved = encoded(truth.astype(np.uint8) * np.uint8(255), "JPEG", quality=quality)
    (tmp_path / "mask.jpg").write_bytes(saved)
    wrong = read_mask(tmp_path / "mask.jpg") != truth
    assert wrong.mean() < 0.005
    again = np.array(Image.open(tmp_path / "mask.jpg"))  # what a colleague has saved as PNG since
    assert len(np.unique(again)) > 2
    assert np.array_equal(mask_of(tmp_path, again), read_mask(tmp_path / "mask.jpg"))


def test_smoothed_borders_are_cut_in_the_middle_and_the_rest_is_counted(tmp_path):
    truth = np.zeros((60, 60), bool)
    truth[20:40, 20:40] = True
    big = Image.fromarray(truth.astype(np.uint8) * np.uint8(255))
    soft = np.array(big.filter(ImageFilter.BoxBlur(1)))
    assert np.array_equal(mask_of(tmp_path, soft), soft > 127)
    found = inspect_mask(tmp_path / "mask")
    assert found.left_out == 1 - (soft > 127).sum() / (soft > 0).sum()
    assert 0.1 < found.left_out < 0.3
    mask_of(tmp_path, truth.astype(np.uint8) * np.uint8(255))
    assert inspect_mask(tmp_path / "mask").left_out == 0


def test_palettes_count_by_index(tmp_path):
    """Colours may be dark, or the same for two classes; where the colours are in another order, black is none."""
    mask, truth = drawn([1, 2, 3, 4])
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 20, 0, 0, 0, 250, 0, 0, 0, 99, 0, 0, 0])
    assert np.array_equal(mask_of(tmp_path, picture), truth)
    swapped = Image.fromarray(np.where(truth, 0, 1).astype(np.uint8), "P")
    swapped.putpalette([200, 0, 0, 0, 0, 0])
    assert np.array_equal(mask_of(tmp_path, swapped), truth)
    grey = Image.fromarray(np.where(truth, 0, 1).astype(np.uint8), "P")
    grey.putpalette([255, 255, 255, 0, 0, 0])
    assert np.array_equal(mask_of(tmp_path, grey), truth)


def test_a_smoothed_mask_in_a_palette_is_cut_in_the_middle(tmp_path):
    blob = Image.new("L", (512, 512))
    ImageDraw.Draw(blob).ellipse((100, 120, 300, 400), fill=255)
    soft = np.array(blob.resize((128, 128), Image.Resampling.BILINEAR))
    red = Image.fromarray(np.dstack([soft, soft * 0, soft * 0]))
    quantised = red.quantize(256)
    values = np.array(quantised.convert("RGB"))[..., 0]
    assert len(np.unique(values)) > 20
    assert np.array_equal(mask_of(tmp_path, quantised), values > 127)
    grey = Image.fromarray(soft, "L").convert("P")
    assert np.array_equal(mask_of(tmp_path, grey), soft > 127)


def test_a_palette_that_differs_in_transparency_only_is_refused(tmp_path):
    _, truth = drawn([1, 2])
    for level in (0, 255):
        picture = Image.fromarray(truth.astype(np.uint8), "P")
        picture.putpalette([level] * 6)
        path = tmp_path / "mask.png"
        path.write_bytes(encoded(picture, transparency=bytes([0, 255])))
        with pytest.raises(InputError, match="drawn in its alpha channel only"):
            read_mask(path)
    picture = Image.fromarray(truth.astype(np.uint8), "P")
    picture.putpalette([0] * 6)
    assert np.array_equal(mask_of(tmp_path, picture), truth)


@pytest.mark.parametrize("kind", ["P", "L"])
def test_the_border_of_voc_is_no_defect(tmp_path, kind):
    mask, truth = drawn([1, 15, 20])
    around = np.lib.stride_tricks.sliding_window_view(np.pad(truth, 1), (3, 3)).any(axis=(2, 3))
    border = around & ~truth
    picture = Image.fromarray(np.where(border, 255, mask).astype(np.uint8), kind)
    if kind == "P":
        picture.putpalette([0, 0, 0, *RNG.integers(1, 256, 3 * 254).tolist(), 224, 224, 192])
    assert np.array_equal(mask_of(tmp_path, picture), truth)
    assert inspect_mask(tmp_path / "mask").void
    alone = Image.fromarray(np.where(truth, 255, 0).astype(np.uint8), kind)
    if kind == "P":
        alone.putpalette([0, 0, 0, *RNG.integers(1, 256, 3 * 255).tolist()])
    assert np.array_equal(mask_of(tmp_path, alone), truth)
    assert not inspect_mask(tmp_path / "mask").void


@pytest.mark.parametrize("colours", [1, 3])
def test_a_mask_that_differs_in_its_alpha_channel_only_is_refused(tmp_path, colours):
    _, truth = drawn([1, 2])
    plain = np.full((*truth.shape, colours), 255, np.uint8)
    path = tmp_path / "mask.png"
    path.write_bytes(encoded(np.dstack([plain, truth.astype(np.uint8) * np.uint8(255)])))
    with pytest.raises(InputError, match="drawn in its alpha channel only; save the mask as black and white instead"):
        read_mask(path)
    path.write_bytes(encoded(np.dstack([plain, np.full(truth.shape, 255, np.uint8)])))
    assert read_mask(path).all()


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
