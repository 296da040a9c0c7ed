"""Connected parts: against the definition, against scipy's labels, and on shapes whose runs join late."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import ndimage

from blemish.verdict.connected import parts


class Region(NamedTuple):
    area: int
    box: tuple[int, int, int, int]
    peak: float


def regions(score_map: np.ndarray, threshold: float, *, least_area: int = 4) -> list[Region]:
    """The parts above a threshold, highest peak first, then the largest."""
    return regions_and_pixels(score_map, threshold, least_area=least_area)[0]


def regions_and_pixels(
    score_map: np.ndarray, threshold: float, *, least_area: int = 4
) -> tuple[list[Region], np.ndarray]:
    flags = score_map > threshold
    found = parts(flags)
    numbers = found.areas().tolist(), found.boxes().tolist(), found.highest(score_map[flags]).tolist()
    listed = [Region(area, tuple(box), peak) for area, box, peak in zip(*numbers, strict=True) if area >= least_area]
    labels = found.labels()
    np.testing.assert_array_equal(labels[flags], found.of_pixels())
    assert (labels[~flags] == -1).all()
    pixels = np.isin(labels, np.flatnonzero(found.areas() >= least_area))
    return sorted(listed, key=lambda region: (-region.peak, -region.area, region.box)), pixels


def scores(*spots: tuple[slice, slice, float], shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    score_map = np.zeros(shape, dtype=np.float32)
    for rows, columns, score in spots:
        score_map[rows, columns] = score
    return score_map


def flooded(score_map: np.ndarray, threshold: float, least_area: int) -> list[Region]:
    """The regions found the slow way: spread from every pixel to its eight neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere(score_map > threshold)}
    found = []
    while left:
        todo = [left.pop()]
        pixels = []
        while todo:
            y, x = todo.pop()
            pixels.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
        box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
        if len(pixels) >= least_area:
            found.append(Region(len(pixels), box, max(float(score_map[pixel]) for pixel in pixels)))
    return sorted(found, key=lambda region: -region.peak)


def labelled(score_map: np.ndarray, threshold: float, least_area: int) -> tuple[list[Region], np.ndarray]:
    """The regions and their pixels by scipy."""
    labels, count = ndimage.label(score_map > threshold, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    peaks = ndimage.maximum(score_map, labels, range(count + 1))
    found = []
    for label, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        box = x.start, y.start, x.stop - x.start, y.stop - y.start
        found.append(Region(int(areas[label]), box, float(peaks[label])))
    found = [region for region in found if region.area >= least_area]
    pixels = (labels > 0) & (areas >= least_area)[labels]
    return sorted(found, key=lambda region: (-region.peak, -region.area, region.box)), pixels


def check(score_map: np.ndarray, threshold: float, least_area: int = 4) -> list[Region]:
    """Compare with scipy, and return what was found."""
    found, pixels = regions_and_pixels(score_map, threshold, least_area=least_area)
    expected, expected_pixels = labelled(score_map, threshold, least_area)
    assert found == expected
    assert regions(score_map, threshold, least_area=least_area) == expected
    assert pixels.dtype == np.bool_
    np.testing.assert_array_equal(pixels, expected_pixels)
    return found


def spiral(side: int) -> np.ndarray:
    """One line of 1 px from a corner to the middle, its windings 1 px apart."""
    score_map = np.zeros((side, side), dtype=np.float32)
    y, x, dy, dx = 0, 0, 0, 1
    score_map[0, 0] = 1

    def free(y: int, x: int) -> bool:
        return 0 <= y < side and 0 <= x < side and score_map[y, x] == 0

    while True:
        if not (free(y + dy, x + dx) and (not _inside(side, y + 2 * dy, x + 2 * dx) or free(y + 2 * dy, x + 2 * dx))):
            dy, dx = dx, -dy
            if not (free(y + dy, x + dx) and free(y + 2 * dy, x + 2 * dx)):
                return score_map
        y, x = y + dy, x + dx
        score_map[y, x] = 1


def _inside(side: int, y: int, x: int) -> bool:
    return 0 <= y < side and 0 <= x < side


def comb(side: int) -> np.ndarray:
    """Teeth of 1 px that meet only in the last row."""
    score_map = np.zeros((side, side), dtype=np.float32)
    score_map[:, ::2] = 1
    score_map[-1] = 1
    return score_map


def snake(side: int) -> np.ndarray:
    """Lines of 1 px, each joined to the next at one end."""
    score_map = np.zeros((side, side), dtype=np.float32)
    score_map[::2] = 1
    score_map[1::4, -1] = 1
    score_map[3::4, 0] = 1
    return score_map


def test_regions_by_hand() -> None:
    score_map = scores(
        (slice(2, 4), slice(3, 8), 0.5),  # 10 px
        (slice(4, 6), slice(8, 10), 0.75),  # touches the first by a corner: the same region
        (slice(38, 40), slice(56, 60), 0.625),  # in the corner of the map
        (slice(20, 21), slice(20, 23), 0.875),  # 3 px: too small
        (slice(30, 34), slice(30, 34), 0.25),  # at the threshold, not above
    )
    large, corner = Region(14, (3, 2, 7, 4), 0.75), Region(8, (56, 38, 4, 2), 0.625)
    assert regions(score_map, 0.25) == [large, corner]
    assert regions(score_map, 0.25, least_area=3) == [Region(3, (20, 20, 3, 1), 0.875), large, corner]
    assert regions(score_map, 0.875, least_area=1) == []
    _, pixels = regions_and_pixels(score_map, 0.25)
    expected = np.zeros((40, 60), dtype=bool)
    expected[2:4, 3:8] = expected[4:6, 8:10] = expected[38:, 56:] = True
    np.testing.assert_array_equal(pixels, expected)


def test_equal_peaks_come_largest_first() -> None:
    score_map = scores((slice(0, 2), slice(0, 2), 0.5), (slice(10, 13), slice(10, 13), 0.5))
    assert [region.area for region in regions(score_map, 0.1)] == [9, 4]


@pytest.mark.parametrize("least_area", [1, 4])
def test_regions_against_a_slow_search(least_area: int) -> None:
    for seed in range(5):
        score_map = np.random.default_rng(seed).random((40, 30)).astype(np.float32)
        assert regions(score_map, 0.7, least_area=least_area) == flooded(score_map, 0.7, least_area)


@pytest.mark.parametrize("density", [0.01, 0.1, 0.2, 0.3, 0.38, 0.4, 0.42, 0.5, 0.6, 0.7, 0.99])
def test_regions_against_scipy_on_noise(density: float) -> None:
    random = np.random.default_rng(round(100 * density))
    for shape in ((1, 1), (1, 50), (50, 1), (2, 2), (3, 40), (37, 23), (64, 64), (150, 130)):
        for least_area in (1, 3, 4):
            # Few values, so that peaks tie.
            score_map = (random.integers(1, 9, shape) * (random.random(shape) < density)).astype(np.float32)
            check(score_map, 0.5, least_area)
    check(random.random((60, 60)), 1 - density)  # float64 keeps its peaks


@pytest.mark.parametrize("shape", [comb, snake, spiral], ids=lambda shape: shape.__name__)
def test_shapes_that_join_late_are_one_region(shape: object) -> None:
    for side in (5, 9, 33, 101):
        drawn = shape(side)
        for turned in (drawn, drawn[::-1], drawn[:, ::-1], drawn.T, np.rot90(drawn)):
            (region,) = check(turned, 0.5)
            assert region.area == drawn.sum()
            assert region.box == (0, 0, side, side)


def test_diagonals_and_chequers_are_one_region() -> None:
    for score_map in (np.eye(50), np.eye(50)[::-1], np.indices((50, 50)).sum(axis=0) % 2):
        (region,) = check(score_map.astype(np.float32), 0.5)
        assert region.box == (0, 0, 50, 50)
    dots = scores((slice(None, None, 2), slice(None, None, 2), 1.0))
    assert len(check(dots, 0.5, least_area=1)) == 20 * 30
    assert check(dots, 0.5) == []


def test_regions_at_the_borders_do_not_reach_round() -> None:
    """The last pixel of a row and the first of the next are neighbours in memory only."""
    score_map = scores((slice(10, 20, 2), slice(58, 60), 1.0), (slice(11, 20, 2), slice(0, 2), 1.0))
    assert len(check(score_map, 0.5, least_area=2)) == 10
    corners = scores(*((y, x, 1.0) for y in (slice(0, 2), slice(38, 40)) for x in (slice(0, 2), slice(58, 60))))
    assert {region.box for region in check(corners, 0.5)} == {
        (x, y, 2, 2) for x in (0, 58) for y in (0, 38)
    }  # fmt: skip


def test_all_none_one_and_no_pixels() -> None:
    assert check(np.full((7, 5), 0.75, np.float32), 0.5) == [Region(35, (0, 0, 5, 7), 0.75)]
    assert check(np.full((7, 5), 0.25, np.float32), 0.5) == []
    for y, x in ((0, 0), (0, 59), (39, 0), (39, 59), (20, 30)):
        score_map = scores((slice(y, y + 1), slice(x, x + 1), 0.75))
        assert check(score_map, 0.5, least_area=1) == [Region(1, (x, y, 1, 1), 0.75)]
        assert check(score_map, 0.5) == []
    assert regions(np.zeros((0, 5), np.float32), 0.5) == []
    assert regions(np.zeros((5, 0), np.float32), 0.5) == []


def test_the_map_stays_as_it_was_and_may_be_a_view() -> None:
    whole = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    before = whole.copy()
    assert check(whole[::2, 5:], 0.6) == check(whole[::2, 5:].copy(), 0.6)
    assert check(whole.T, 0.6) == check(np.ascontiguousarray(whole.T), 0.6)
    np.testing.assert_array_equal(whole, before)
