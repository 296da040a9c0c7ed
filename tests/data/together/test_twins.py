"""One photograph saved twice is told from photographs of different parts, in a fixture too."""

import io

import numpy as np
import pytest
from PIL import Image

from blemish.data.copies import LIMIT, distances
from blemish.data.sources import identify
from blemish.data.together.twins import SIDE, _left_over, find_twins, look
from blemish.demo.textures import CATEGORIES, make_textures
from blemish.images.read import read_image

SAVED = {
    "jpeg 75": lambda image: jpeg(image, 75),
    "jpeg 95": lambda image: jpeg(image, 95),
    "brighter": lambda image: np.minimum(image.astype(int) + 2, 255).astype(np.uint8),
    "smaller": lambda image: jpeg(smaller(image), 85),
}


def jpeg(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream).convert("RGB"))


def smaller(image):
    size = [round(0.9 * side) for side in image.shape[1::-1]]
    return np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def smooth(random, side, *, cells):
    coarse = Image.fromarray(random.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64)


def twins_of(images):
    return find_twins(identify(images), np.stack([look(image) for image in images]))


def grey(values):
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    folders = make_textures(tmp_path_factory.mktemp("textures"), train=12, validation=1, test=1, defects=1)
    return {folder.name: [read_image(path) for path in sorted((folder / "train/good").iterdir())] for folder in folders}


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("way", SAVED)
def test_what_is_saved_again_is_a_twin_and_nothing_else(crops, category, way):
    images = crops[category]
    assert twins_of(images) == []
    again = [SAVED[way](image) for image in images[:8]]
    assert twins_of(images + again) == [(index, 12 + index) for index in range(8)]


def test_three_of_one_photograph_are_three_pairs(crops):
    images = crops["brick"]
    more = [jpeg(images[3], 75), jpeg(images[3], 90)]
    assert twins_of([*images, *more]) == [(3, 12), (3, 13), (12, 13)]


def test_equal_pictures_are_one_and_no_twins(crops):
    images = crops["grass"]
    assert twins_of([*images, images[0], images[5]]) == []
    assert twins_of([images[0], jpeg(images[0], 85), *images]) == [(0, 1)]


def parts_in_a_fixture(random, count, *, texture, moved=1):
    """Parts that all look alike: one shape under one light, moved and lit a little differently, noise, own texture."""
    base = 120 + 40 * smooth(random, 260, cells=9) + 10 * smooth(random, 260, cells=25)
    parts = []
    for _ in range(count):
        y, x = random.integers(0, moved + 1, 2)
        lit = base[y : y + 256, x : x + 256] * random.normal(1, 0.004)
        parts.append(lit + texture * smooth(random, 256, cells=40) + random.normal(0, 1, (256, 256)))
    return parts


def test_parts_in_a_fixture_are_no_twins_but_their_jpegs_are():
    parts = [grey(part) for part in parts_in_a_fixture(np.random.default_rng(0), 24, texture=1.5)]
    small = [image.thumbnail for image in identify(parts)]
    assert (distances(small, small) < LIMIT).sum() > 24 + 100  # their thumbnails alone would make them twins
    assert twins_of(parts) == []
    again = [jpeg(part, 85) for part in parts]
    assert twins_of(parts + again) == [(index, 24 + index) for index in range(24)]


def test_a_second_frame_is_found_where_the_part_shows_more_than_the_noise_and_never_else():
    random = np.random.default_rng(1)
    for texture, found in ((6.0, 12), (0.0, 0)):
        parts = parts_in_a_fixture(random, 12, texture=texture, moved=0)
        second = [grey(part + random.normal(0, 1, part.shape)) for part in parts]
        pairs = twins_of([*map(grey, parts), *second])
        assert pairs == [(index, 12 + index) for index in range(found)]


def test_plain_sheets_are_no_twins():
    random = np.random.default_rng(2)
    y, x = np.mgrid[:200, :200] / 200
    sheets = [grey(150 + 30 * y - 20 * x * x + random.normal(0, 3, (200, 200))) for _ in range(10)]
    assert twins_of([*sheets, *(jpeg(sheet, 90) for sheet in sheets)]) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hardly_any_images_are_no_problem(crops, count):
    images = crops["gravel"][:count]
    stack = np.stack([look(image) for image in images]) if images else np.empty((0, SIDE, SIDE), np.uint8)
    assert find_twins(identify(images), stack) == []


def test_twins_do_not_depend_on_the_order(crops):
    images = [*crops["brick"], *(jpeg(image, 80) for image in crops["brick"][:6])]
    order = np.random.default_rng(3).permutation(len(images))
    place = {int(old): new for new, old in enumerate(order)}
    expected = sorted(tuple(sorted((place[index], place[12 + index]))) for index in range(6))
    assert twins_of([images[index] for index in order]) == expected


def test_what_is_left_over_has_no_mean_no_light_and_no_mode_that_rules():
    random = np.random.default_rng(4)
    mode = random.normal(0, 1, (SIDE, SIDE))
    own = random.normal(0, 4, (40, SIDE, SIDE))
    looks = 120 + own + random.normal(0, 12, (40, 1, 1)) * mode + random.normal(0, 5, (40, 1, 1))
    rest = _left_over(np.clip(np.rint(looks), 0, 255).astype(np.uint8))
    assert np.linalg.norm(rest, axis=1) == pytest.approx(1, abs=1e-3)
    assert np.abs(rest @ mode.ravel()).max() / np.linalg.norm(mode) < 0.1
    wanted = own.reshape(40, -1) - own.reshape(40, -1).mean(axis=0)
    agree = (rest * wanted).sum(axis=1) / np.linalg.norm(wanted, axis=1)
    assert np.median(agree) > 0.85  # but for what is shared and what is smooth
    assert agree.min() > 0.5
