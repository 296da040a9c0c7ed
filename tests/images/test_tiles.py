"""Tiles by hand: where they lie, what they weigh, when they are made, and what is refused."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from blemish.errors import InputError
from blemish.images.resize import resize_map
from blemish.images.tiles import RULE, TilesPart, blend, cut, decide, grid, mapped, read_tiles

SIZES = (128, 256, 384)


def part(size, overlap=0.2, *, map_size=64, height=1000, width=1000):
    return TilesPart(size=size, overlap=overlap, map_size=map_size, height=height, width=width)


def test_the_grid_of_a_long_image():
    """Steps of at most 400 px: of 1270 - 500 = 770 px there are two, 385 px each."""
    assert grid(1270, 500, part(500)) == [(0, 0, 500), (385, 0, 500), (770, 0, 500)]
    assert grid(500, 1270, part(500)) == [(0, 0, 500), (0, 385, 500), (0, 770, 500)]
    assert grid(1301, 500, part(500))[:2] == [(0, 0, 500), (267, 0, 500)]  # one step more


@pytest.mark.parametrize(("height", "width"), [(500, 500), (64, 64), (500, 501), (333, 777), (1000, 40), (3000, 4000)])
@pytest.mark.parametrize(("size", "overlap"), [(64, 0.1), (100, 0.2), (301, 0.33), (512, 0.75)])
def test_every_grid_touches_the_borders_and_overlaps_as_is_asked(height, width, size, overlap):
    boxes = grid(height, width, part(size, overlap)) if height < 3000 or size > 100 else grid(height, width, part(301))
    side = boxes[0][2]
    assert side == min(boxes[0][2], height, width)
    for axis, length in ((0, height), (1, width)):
        begins = sorted({box[axis] for box in boxes})
        assert begins[0] == 0
        assert begins[-1] + side == length
        if size in (100, 512):
            assert all(later - one <= side * (1 - overlap) for one, later in pairwise(begins))
    assert boxes == sorted(boxes)
    assert len(set(boxes)) == len(boxes)


def test_a_shorter_side_makes_smaller_tiles_and_too_many_are_refused():
    assert {box[2] for box in grid(90, 400, part(100))} == {90}
    with pytest.raises(InputError, match=r"^image 5000x2: 4999 tiles of 2 px, at most 1024 are allowed$"):
        grid(2, 5000, part(100))


@pytest.mark.parametrize("shape", [(1270, 500), (500, 500), (777, 1111), (120, 100)])
@pytest.mark.parametrize("side", [64, 160])
def test_weights_sum_to_one_everywhere(shape, side):
    """So maps that are constant blend to the constant, to the last rounding, at the borders too."""
    tiles = part(100, 0.3)
    maps = [np.full((2, 32, 32), 0.7, np.float32) for _ in grid(*shape, tiles)]
    found = blend(maps, *shape, tiles=tiles, side=side)
    assert found.shape == (2, side, side)
    assert found.dtype == np.float32
    assert np.abs(found - 0.7).max() < 1e-6


def test_a_plane_is_blended_to_the_plane():
    """Each tile's map is its part of one plane; bilinear weights give it back but for half a pixel at the borders."""
    height, width, own, side = 260, 100, 50, 130
    tiles = part(100, 0.2)
    maps = []
    for top, left, edge in grid(height, width, tiles):
        y, x = (np.mgrid[0:own, 0:own] + 0.5) * edge / own
        maps.append((0.01 * (y + top) - 0.02 * (x + left)).astype(np.float32))
    found = blend(maps, height, width, tiles=tiles, side=side)
    y, x = (np.mgrid[0:side, 0:side] + 0.5) * np.array([height, width])[:, None, None] / side
    expected = 0.01 * y - 0.02 * x
    assert np.abs(found - expected)[2:-2, 2:-2].max() < 1e-4
    assert np.abs(found - expected).max() < 0.03


def test_where_nothing_overlaps_a_tile_decides_alone_and_its_share_falls_to_nothing_at_its_edge():
    """Tiles 0 ... 100 and 80 ... 180: by hand the share of the second at 80, 85, 90, 100 is 0, 0.146, 0.5, 1."""
    tiles = part(100, 0.2)
    maps = [np.zeros((20, 20), np.float32), np.ones((20, 20), np.float32)]
    share = blend(maps, 180, 100, tiles=tiles, side=1800)[:, 900]
    assert not share[:800].any()
    assert (share[1000:] == 1).all()
    assert share[[850, 900, 950]] == pytest.approx([0.1464, 0.5, 0.8536], abs=0.004)
    assert (np.diff(share) >= 0).all()


def test_no_seam_shows():
    """Tiles that disagree by 1 change into each other over all that they share: no step is above that of the slope."""
    tiles = part(100, 0.25)
    maps = [np.full((32, 32), index % 2, np.float32) for index in range(len(grid(400, 100, tiles)))]
    assert len(maps) == 5
    steps = np.abs(np.diff(blend(maps, 400, 100, tiles=tiles, side=400), axis=0))
    assert steps.max() <= np.pi / 2 / 25 * 1.01  # the steepest slope of a squared sine of 25 px


def test_a_map_that_shrinks_is_smoothed():
    """Four pixels of a tile's map for one of the image's: a single high pixel is no longer all or nothing."""
    one = np.zeros((64, 64), np.float32)
    one[10, 10] = 1
    found = blend([one], 500, 500, tiles=part(500), side=16)
    assert found.sum() == pytest.approx(1 / 16, rel=0.1)
    assert np.allclose(found, resize_map(one, 16, 16), atol=1e-3)


def test_without_tiles_and_with_one_a_map_is_that_of_the_whole():
    image = np.arange(60 * 60 * 3, dtype=np.uint8).reshape(60, 60, 3)
    own = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    assert mapped(image, lambda seen: own, tiles=None, side=64) is own
    assert np.allclose(mapped(image, lambda seen: own, tiles=part(100), side=64), own, atol=1e-6)
    seen = list(cut(image, part(100)))
    assert len(seen) == 1
    assert np.array_equal(seen[0], image)


def test_memory_does_not_grow_with_the_number_of_tiles():
    """Of an image of 300 and of one of 2400 px: the maps of all tiles of the latter would take 100 MB."""
    peaks = []
    for length in (300, 2400):
        image = np.zeros((length, length, 3), np.uint8)
        tracemalloc.start()
        mapped(image, lambda seen: np.ones((256, 256), np.float32), tiles=part(150), side=512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 2**20


def test_the_map_of_an_image_is_as_fine_as_those_of_its_tiles():
    """Of 1260 px 500 are mapped to 256: 645.1, in steps of 32; never more than 1024, never less than a tile's."""
    assert part(500, map_size=256, height=1260, width=500).reference_size == 672
    assert part(768, map_size=256, height=3000, width=4000).reference_size == 1024
    assert part(500, map_size=256, height=500, width=500).reference_size == 256


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        ([(1260, 500)] * 3, 500),  # long, and larger than 384 px
        ([(500, 1260)] * 3, 500),
        ([(330, 265)] * 3, None),
        ([(768, 576)] * 3, None),
        ([(512, 512)] * 3, None),
        ([(300, 100)] * 3, None),  # long, but enlarged as it is
        ([(720, 1280)] * 3, 720),
        ([(1080, 1920)] * 3, 768),
        ([(1536, 1536)] * 3, None),  # four times 384 px
        ([(1537, 1537)] * 3, 768),
        ([(3000, 4000)] * 3, 768),
        ([(400, 4000)] * 3, 400),
        ([(768, 576)] * 3 + [(3000, 4000)] * 2, None),  # the median decides
        ([(200, 100_000)] * 3, None),  # more than 64 tiles, whatever their size
        ([], None),
    ],
)
def test_auto_decides_by_the_medians(shapes, found):
    tiles = decide("auto", shapes, sizes=SIZES, map_size=256)
    assert (tiles and tiles.size) == found
    assert tiles is None or (tiles.overlap, tiles.count <= 64) == (0.2, True)


def test_auto_makes_larger_tiles_of_very_large_images():
    """9000 x 6000 px: of 768 px there would be 15 x 10."""
    tiles = decide("auto", [(6000, 9000)], sizes=SIZES, map_size=256)
    assert tiles.size > 768
    assert 40 < tiles.count <= 64


def test_what_is_wanted_is_taken_as_it_is():
    tiles = decide((300, 0.5), [(768, 576)], sizes=SIZES, map_size=256)
    assert (tiles.size, tiles.overlap, tiles.count) == (300, 0.5, 15)
    assert tiles.words == "tiles of 300 px, 50 % overlap: 15 for an image of 576x768; scoring takes 15 times as long"
    assert decide(None, [(3000, 4000)], sizes=SIZES, map_size=256) is None
    assert decide((700, 0.5), [(768, 576)], sizes=SIZES, map_size=256).count == 2  # of 576 px
    with pytest.raises(InputError, match=r"^tiles: 800 px is larger than the images, the median is 576x768; expected "):
        decide((800, 0.5), [(768, 576)], sizes=SIZES, map_size=256)
    with pytest.raises(InputError, match=r"^tiles: 32 px makes 15301 tiles of an image of 4000x3000, at most 1024 are"):
        decide((32, 0.1), [(3000, 4000)], sizes=SIZES, map_size=256)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("auto", "auto"), ("off", None), (None, None), ("500", (500, 0.2)), (500, (500, 0.2)), ("500,25%", (500, 0.25)),
        ("500, 0.25", (500, 0.25)), ((500, 0.25), (500, 0.25)), ([np.int64(500), "25%"], (500, 0.25)),
    ],
)  # fmt: skip
def test_what_may_be_given(given, found):
    assert read_tiles(given) == found
    assert read_tiles(read_tiles(given)) == found


@pytest.mark.parametrize(
    "given",
    ["", "0", "abc", "-5", "nan", "500,", "500,abc", "500,100%", "500,0", "500,5%", "500,80%", "500,nan", "500,1,2",
     "5e2", "31", "16385", "9" * 5000, 0, -1, 1.5, float("nan"), True, (500, 1.0), (500,) * 3, (), {}, b"500", "Auto\n",
     "\uff1500"],
)  # fmt: skip
def test_anything_else_is_one_line(given):
    with pytest.raises(InputError) as caught:
        read_tiles(given)
    said = str(caught.value)
    assert said.startswith("tiles: ")
    assert said.endswith(RULE) or "is not clear, write" in said
    assert "\n" not in said
    assert len(said) < 420


def test_a_share_without_its_sign_is_asked_for():
    with pytest.raises(InputError, match=r"^tiles: 25 is not clear, write 25% or 0.25$"):
        read_tiles("500,25")


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 31), ("size", 500.0), ("size", True), ("overlap", 0.0), ("overlap", 1.0), ("overlap", float("nan")),
     ("map_size", 100), ("height", 0), ("width", None), ("more", 1)],
)  # fmt: skip
def test_each_field_is_checked(field, value):
    fields = {"size": 500, "overlap": 0.2, "map_size": 256, "height": 1260, "width": 500}
    assert TilesPart(**fields).count == 3
    with pytest.raises(ValidationError):
        TilesPart(**(fields | {field: value}))


def test_a_header_cannot_ask_for_endless_work():
    with pytest.raises(ValidationError, match="makes 15625 tiles of an image, at most 1024 are allowed"):
        TilesPart(size=32, overlap=0.75, map_size=64, height=1024, width=1024)
