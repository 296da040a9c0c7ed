"""Scores of several sets of students are brought to where those of the first lie, and keep what they promise."""

import numpy as np
import pytest

from blemish.verdict.crossing import crossed


def images(count):
    return [f"image {index}" for index in range(count)]


def test_a_score_counts_by_how_far_it_lies_above_the_median_of_the_others():
    own, other = np.array([1.0, 2.0, 4.0]), np.array([11.0, 15.0, 12.0, 10.0])
    (found,) = crossed((own, images(3)), [(other, images(4))])
    # The median of own is 2; that of the others of 11 is 12, of 15 it is 11, of 12 it is 11, of 10 it is 12.
    assert found.tolist() == [2 + 11 - 12, 2 + 15 - 11, 2 + 12 - 11, 2 + 10 - 12]


def test_of_a_group_the_highest_counts_and_all_are_moved_alike():
    own = np.array([0.0, 7.0, 8.0]), ["x", "x", "y"]  # highest: 7 and 8
    other = np.array([1.0, 3.0, 5.0, 4.0]), ["a", "a", "b", "c"]
    # Highest: a 3, b 5, c 4. The median of the others of a is 4.5, of b 3.5, of c 4.
    (found,) = crossed(own, [other])
    assert found.tolist() == [7.5 + 1 - 4.5, 7.5 + 3 - 4.5, 7.5 + 5 - 3.5, 7.5 + 4 - 4]


def test_where_other_students_lie_does_not_matter():
    random = np.random.default_rng(0)
    own, one, other = ((random.normal(0, 1, 7), images(7)) for _ in range(3))
    moved = crossed(own, [(one[0] + 5, one[1]), (other[0] - 3, other[1])])
    for found, expected in zip(moved, crossed(own, [one, other]), strict=True):
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["normal", "gumbel", "t"])
@pytest.mark.parametrize("count", [2, 4, 10])
def test_what_all_scores_promise_together_is_kept(kind, count):
    """Students that lie elsewhere, new images where the own do: k / (n + 1) of them exceed the k-th highest."""
    random = np.random.default_rng(1)
    draw = {"normal": random.normal, "gumbel": random.gumbel, "t": lambda size: random.standard_t(4, size)}[kind]
    n, runs = 3 * count, 400
    above = np.zeros(3)
    for _ in range(runs):
        own, *others = ((shift + draw(size=count), images(count)) for shift in (0, 4, -2))
        ranked = np.sort(np.concatenate([own[0], *crossed(own, others)]))[::-1]
        new = draw(size=300)
        above += [(new > ranked[k - 1]).mean() for k in (1, 2, 3)]
    for k, share in enumerate(above / runs, start=1):
        assert 0.7 * k / (n + 1) < share < 1.15 * k / (n + 1), k
