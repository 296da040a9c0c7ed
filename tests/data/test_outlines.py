"""Outlines: what is drawn, filled, against masks made by hand."""

import numpy as np
import pytest

from blemish.data.outlines import Outlines, ellipse, runs_of

RNG = np.random.default_rng(0)


def runs_by_hand(mask):
    """Count the runs of a mask, column by column, one pixel after the other."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return tuple(runs)


def test_polygons_and_runs_are_filled_to_one_mask():
    expected = np.zeros((8, 10), bool)
    expected[2:5, 3:7] = True
    expected[6:8, 9] = True  # the last two pixels of the last column, where runs go column by column
    found = Outlines(8, 10, polygons=((3.0, 2.0, 7.0, 2.0, 7.0, 5.0, 3.0, 5.0),), runs=((78, 2),)).mask()
    assert found.dtype == bool
    assert np.array_equal(found, expected)


def test_a_triangle_is_its_half_of_the_square():
    found = Outlines(20, 20, polygons=((0.0, 0.0, 20.0, 0.0, 0.0, 20.0),)).mask()
    centre = np.arange(20) + 0.5
    inside = centre[None] + centre[:, None] < 20
    assert not (inside & ~found).any()
    assert abs(int(found.sum()) - 200) <= 20  # pixels that the diagonal cuts


def test_nothing_drawn_is_no_defect():
    assert not Outlines(4, 5).mask().any()
    assert Outlines(4, 5).mask().shape == (4, 5)


@pytest.mark.parametrize("far", [3.0, 1e5, 1e12, 1e300])
def test_what_lies_outside_of_the_image_is_cut_off(far):
    expected = np.zeros((8, 10), bool)
    expected[2:5, 7:] = True
    expected[6:, :4] = True
    right = (7.0, 2.0, 10 + far, 2.0, 10 + far, 5.0, 7.0, 5.0)
    corner = (-far, 6.0, 4.0, 6.0, 4.0, 8 + far, -far, 8 + far)
    around = (-far, -far, -far - 1, -far, -far, -far - 1)
    assert np.array_equal(Outlines(8, 10, polygons=(right, corner, around)).mask(), expected)
    everything = (-far, -far, 10 + far, -far, 10 + far, 8 + far, -far, 8 + far)
    assert Outlines(8, 10, polygons=(everything,)).mask().all()


def test_a_polygon_that_leaves_the_image_twice_has_two_parts():
    comb = (2.0, 1.0, 12.0, 1.0, 12.0, 3.0, 4.0, 3.0, 4.0, 5.0, 12.0, 5.0, 12.0, 7.0, 2.0, 7.0)
    expected = np.zeros((8, 10), bool)
    expected[1:7, 2:] = True
    expected[3:5, 4:] = False
    assert np.array_equal(Outlines(8, 10, polygons=(comb,)).mask(), expected)


def test_a_thousand_shapes_need_no_thousand_masks():
    dots = tuple((x, y, x + 1.0, y, x + 1.0, y + 1.0, x, y + 1.0) for x in range(0, 200, 4) for y in range(0, 200, 4))
    found = Outlines(4000, 4000, polygons=dots).mask()
    assert int(found.sum()) == len(dots) == 2500


@pytest.mark.parametrize(("left", "top"), [(0, 0), (3, 2), (5, 3), (-2, 1), (1, -3), (8, 6), (12, 0), (0, -9)])
def test_runs_of_a_patch(left, top):
    patch = RNG.random((5, 5)) < 0.5
    around = np.zeros((40, 40), bool)
    around[20 + top : 25 + top, 20 + left : 25 + left] = patch
    expected = around[20:28, 20:30]
    runs = runs_of(patch, left=left, top=top, height=8, width=10)
    assert sum(runs) == 80
    assert np.array_equal(Outlines(8, 10, runs=(runs,)).mask(), expected)
    by_hand = runs_by_hand(expected)
    assert runs[: len(by_hand)] == by_hand
    assert not any(runs[len(by_hand) :])


@pytest.mark.parametrize("radius", [0.5, 3.0, 20.0])
def test_a_circle_covers_what_is_nearer_than_its_radius(radius):
    found = Outlines(50, 60, polygons=(ellipse(30.0, 25.0, across=radius, down=radius),)).mask()
    y, x = np.mgrid[:50, :60] + 0.5
    distance = np.hypot(x - 30, y - 25)
    assert found[distance < radius - 0.75].all()
    assert not found[distance > radius + 0.75].any()


def test_an_ellipse_is_turned_clockwise():
    found = Outlines(50, 50, polygons=(ellipse(25.0, 25.0, across=20.0, down=2.0, turned=45.0),)).mask()
    assert found[37, 37]  # down and to the right
    assert not found[37, 12]
    upright = Outlines(50, 50, polygons=(ellipse(25.0, 25.0, across=20.0, down=2.0, turned=90.0),)).mask()
    assert upright.any(axis=0).sum() == 4
    assert 38 <= upright.any(axis=1).sum() <= 40  # the tips are thinner than a pixel
