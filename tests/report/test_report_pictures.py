"""Small pictures, heat and outlines of the page."""

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blemish.report.pictures import FULL, LAYER, SMALL, embedded, heat_layer, outline_path, small
from blemish.results.overlays import overlay


def opened(uri):
    head, data = uri.split(",", 1)
    assert head == "data:image/webp;base64"
    return Image.open(BytesIO(b64decode(data)))


def ramp(height, width):
    row = np.linspace(0, 255, width).astype(np.uint8)
    return np.repeat(np.broadcast_to(row, (height, width))[:, :, None], 3, axis=2)


@pytest.mark.parametrize(("make", "most"), [(small, SMALL), (embedded, FULL)])
def test_pictures_keep_their_shape_and_never_grow(make, most):
    assert opened(make(ramp(2 * most, most))).size == (most // 2, most)
    assert opened(make(ramp(40, 60))).size == (60, 40)


def test_a_small_picture_looks_like_the_image():
    found = np.asarray(opened(small(ramp(300, 600))).convert("L"), dtype=float)
    assert np.abs(found - np.linspace(0, 255, found.shape[1])).mean() < 4


def test_heat_over_the_grey_image_is_the_overlay():
    """The page lays the heat over the image in grey at 0.88 of its lightness, as results/overlays.py does in pixels."""
    y, x = np.mgrid[:200, :200]
    score_map = np.exp(-((y - 100) ** 2 + (x - 80) ** 2) / 2000).astype(np.float32)
    image = ramp(200, 200)
    layer = np.asarray(opened(heat_layer(score_map, low=0.25, top=1.0)), dtype=float)
    covered = layer[..., 3:] / 255
    laid = 0.88 * image * (1 - covered) + layer[..., :3] * covered
    expected = overlay(image, score_map, inside=np.zeros((200, 200), bool), colours=(0.25, 1.0)).astype(float)
    assert np.abs(laid - expected).mean() < 2
    assert np.percentile(np.abs(laid - expected), 99) < 12


def test_no_heat_where_nothing_is_warm():
    assert heat_layer(np.full((300, 300), 0.25, np.float32), low=0.25, top=1.0) is None
    assert opened(heat_layer(np.full((500, 1000), 0.5, np.float32), low=0.25, top=1.0)).size == (LAYER, LAYER // 2)


def edges(path):
    """Return the unit edges that a path draws: (x, y, right or down)."""
    assert re.fullmatch(r"(M\d+ \d+[hv]\d+)*", path)
    found = set()
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", path):
        for step in range(int(length)):
            found.add((int(x) + step, int(y), "h") if way == "h" else (int(x), int(y) + step, "v"))
    return found


def test_the_outline_of_a_box_by_hand():
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:7] = True
    assert sorted(re.findall("M[^M]*", outline_path(mask))) == sorted(["M3 2h4", "M3 5h4", "M3 2v3", "M7 2v3"])


def test_outlines_are_where_a_pixel_inside_meets_one_outside():
    random = np.random.default_rng(0)
    mask = random.random((30, 40)) < 0.4
    framed = np.pad(mask, 1)
    expected = set()
    for y in range(31):
        for x in range(41):
            if x < 40 and framed[y, x + 1] != framed[y + 1, x + 1]:
                expected.add((x, y, "h"))
            if y < 30 and framed[y + 1, x] != framed[y + 1, x + 1]:
                expected.add((x, y, "v"))
    assert edges(outline_path(mask)) == expected


def test_an_outline_loses_nothing_thin_in_a_large_image():
    mask = np.zeros((1000, 3200), bool)
    mask[500, 100:900] = True  # one px high, on a grid of 10 px
    found = edges(outline_path(mask))
    assert {(x, y) for x, y, way in found if way == "h"} == {(x, y) for x in range(100, 900) for y in (500, 510)}


def test_no_outline_of_nothing():
    assert outline_path(np.zeros((5, 5), bool)) is None
