"""Masks: labels, soft edges, colours, upright; and arrays that are read as files are."""

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.images.read import as_image, image_shape, read_mask
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
