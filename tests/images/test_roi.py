"""The region of interest: masks and a border, made one mask at the reference size; all of it by hand."""

import base64

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from blemish.errors import InputError
from blemish.images.roi import Interest, RoiPart, read_roi


def painted(path, mask):
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return path


def left_half(height, width):
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    return mask


def part(inside, **fields):
    bits = base64.b64encode(np.packbits(np.asarray(inside, bool)).tobytes()).decode()
    return RoiPart(bits=bits, **fields)


def test_mask_and_border_are_combined(tmp_path):
    """8 x 8: columns 0 to 3 by the mask, no rows 0 and 1, no row and column whose middle lies in the border."""
    upper = np.zeros((40, 80), bool)
    upper[:10] = True
    roi, ignore = painted(tmp_path / "roi.png", left_half(20, 40)), painted(tmp_path / "ignore.png", upper)
    found = read_roi(Interest(roi=roi, ignore=ignore, border="12.5%"), side=8)
    expected = np.zeros((8, 8), bool)
    expected[2:7, 1:4] = True
    assert np.array_equal(found.inside, expected)
    assert found.share == 15 / 64
    assert (found.width, found.height, found.border, found.roi, found.ignore) == (
        40,
        20,
        0.125,
        "roi.png",
        "ignore.png",
    )


def test_a_border_takes_the_pixels_whose_middle_lies_in_it():
    """3 % of 64 px are 1.92 px: the middles of pixels 0 and 1, at 0.5 and 1.5, lie in it, that of pixel 2 does not."""
    found = read_roi(Interest(border=0.03), side=64)
    expected = np.zeros((64, 64), bool)
    expected[2:62, 2:62] = True
    assert np.array_equal(found.inside, expected)
    assert (found.width, found.height, found.roi, found.ignore) == (None, None, None, None)
    found.check_aspect(np.zeros((10, 200, 3)))  # any aspect will do


def test_nothing_given_is_no_region_of_interest():
    assert read_roi(Interest(), side=64) is None
    assert read_roi(Interest(border="0 %"), side=64) is None


def test_an_array_and_a_path_as_text_are_masks(tmp_path):
    path = painted(tmp_path / "roi.png", left_half(12, 12))
    by_path = read_roi(Interest(roi=str(path)), side=64)
    by_array = read_roi(Interest(roi=left_half(12, 12)), side=64)
    assert np.array_equal(by_path.inside, left_half(64, 64))
    assert np.array_equal(by_array.inside, left_half(64, 64))
    assert by_array.roi == "roi array"
    assert Interest(roi=str(path), ignore=left_half(3, 3)).files == [path]


def test_a_mask_is_resized_by_nearest_neighbour_to_the_size_of_an_image():
    found = part([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    expected = np.zeros((8, 4), bool)
    expected[:2, 0] = expected[6:, 3] = True
    assert np.array_equal(found.at(8, 4), expected)


@pytest.mark.parametrize(
    ("side", "rows", "columns"),
    [
        (1, [0], [0]),
        (2, [0], [1]),
        (3, [0], [2]),  # thirds begin at 0, 4/3 and 8/3 px
        (4, [0], [3]),
        (8, [0, 1], [6, 7]),
    ],
)
def test_a_position_counts_if_a_pixel_does_in_its_part_of_the_image(side, rows, columns):
    """Of 4 x 4 pixels only the upper right one counts."""
    inside = np.zeros((4, 4), bool)
    inside[0, 3] = True
    expected = np.zeros((side, side), bool)
    expected[np.ix_(rows, columns)] = True
    assert np.array_equal(part(inside).positions(side), expected)


def test_positions_are_those_of_a_slow_version():
    inside = np.random.default_rng(0).random((64, 64)) > 0.9
    for side in (5, 12, 48, 96):
        spans = [(i * 64 // side, -(-(i + 1) * 64 // side)) for i in range(side)]
        slow = [[inside[top:low, left:right].any() for left, right in spans] for top, low in spans]
        assert np.array_equal(part(inside).positions(side), np.array(slow)), side


@pytest.mark.parametrize(("height", "width"), [(300, 400), (600, 800), (300, 404), (303, 400), (75, 100)])
def test_an_image_of_nearly_the_same_aspect_fits(height, width):
    read_roi(Interest(roi=left_half(300, 400)), side=64).check_aspect(np.zeros((height, width, 3)))


@pytest.mark.parametrize(("height", "width"), [(300, 405), (304, 400), (400, 300), (300, 300)])
def test_another_aspect_is_an_error_with_both_sizes(height, width):
    roi = read_roi(Interest(roi=left_half(300, 400)), side=64)
    with pytest.raises(
        InputError, match=f"^a.png: image {width}x{height} vs 400x300 of the mask roi array: "
    ) as caught:
        roi.check_aspect(np.zeros((height, width, 3)), name="a.png")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("interest", "message"),
    [
        (Interest(border="3"), "ignore-border: 3 is not clear, write 3% or 0.03"),
        (Interest(border=3), "ignore-border: 3 is not clear, write 3% or 0.03"),
        (Interest(border="50%"), "ignore-border: 50% is not allowed, expected 0 % or more and below 50 %"),
        (Interest(border="150%"), "ignore-border: 150% is not allowed"),
        (Interest(border=-0.1), "ignore-border: -0.1 is not allowed"),
        (Interest(border=float("nan")), "ignore-border: nan is not allowed"),
        (Interest(border="wide"), "ignore-border: wide is not allowed"),
        (Interest(border=True), "ignore-border: True is not allowed"),
        (Interest(border="49.9%"), "region of interest: 0 % of the image is left .border 49.9 %., at least 0.1 %"),
        (Interest(roi=np.zeros((9, 9), bool)), "region of interest: 0 % of the image is left .roi array."),
        (Interest(ignore=np.ones((9, 9), bool)), "region of interest: 0 % of the image is left .ignore array."),
        (Interest(roi=left_half(9, 9), ignore=left_half(9, 9)), "0 % of the image is left .roi array, ignore array."),
        (Interest(roi=left_half(9, 9), ignore=left_half(9, 18)), "ignore array: mask 18x9 vs 9x9 of roi array: both"),
        (Interest(roi=np.ones((9, 9), np.uint8)), r"roi: uint8 of shape \(9, 9\) is not allowed, expected a path or"),
        (Interest(ignore=np.ones((9, 9, 3), bool)), r"ignore: bool of shape \(9, 9, 3\) is not allowed"),
        (Interest(roi=np.ones((0, 9), bool)), r"roi: bool of shape \(0, 9\) is not allowed"),
        (Interest(roi=3), "roi: int is not allowed"),
        (Interest(roi=""), "roi: empty path"),
        (Interest(roi="/no/such/mask.png"), "no such file: /no/such/mask.png"),
    ],
)
def test_what_cannot_be_used_is_named(interest, message):
    with pytest.raises(InputError, match=message) as caught:
        read_roi(interest, side=64)
    assert len(str(caught.value).splitlines()) == 1


def test_hardly_anything_left_is_refused_and_a_little_more_is_not():
    """0.1 % of 64 x 64 are 4.1 pixels."""
    mask = np.zeros((64, 64), bool)
    mask[0, :4] = True
    with pytest.raises(InputError, match=r"0.098 % of the image is left"):
        read_roi(Interest(roi=mask), side=64)
    mask[0, 4] = True
    assert read_roi(Interest(roi=mask), side=64).inside.sum() == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": "not base64!"}, "must be base64 of the bits of a square mask"),
        ({"bits": ""}, "must be base64 of the bits of a square mask"),
        ({"bits": base64.b64encode(b"\xff" * 3).decode()}, "must be base64 of the bits of a square mask"),
        ({"bits": base64.b64encode(b"\0" * 8).decode()}, "0 % of the image counts, at least 0.1 % must"),
        ({"width": 3}, "one of them alone says nothing"),
        ({"width": 0, "height": 3}, "greater than or equal to 1"),
        ({"border": 0.5}, "less than 0.5"),
        ({"border": -0.1}, "greater than or equal to 0"),
        ({"boarder": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_a_damaged_part_of_a_header_is_named(fields, message):
    good = {"bits": base64.b64encode(b"\xff" * 8).decode()}
    assert RoiPart(**good).inside.all()
    with pytest.raises(ValidationError, match=message):
        RoiPart(**(good | fields))
