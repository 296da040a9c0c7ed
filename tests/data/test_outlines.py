"""Outlines: what is drawn, filled, against masks made by hand."""

import numpy as np

from blemish.data.outlines import Outlines


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
