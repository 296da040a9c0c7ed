"""Whether new scores differ from old ones by more than chance."""

from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from blemish.calibrating.shift import draw, shift
from blemish.verdict.threshold import Thresholds


def by_pairs(old, new):
    return np.mean([(b > a) + 0.5 * (b == a) for a in old for b in new])


def exact(old, new):
    """The share of all divisions that are at least as uneven: every one is tried."""
    values, count = [*old, *new], len(new)
    found = abs(by_pairs(old, new) - 0.5)
    every = []
    for chosen in combinations(range(len(values)), count):
        rest = [values[index] for index in range(len(values)) if index not in chosen]
        every.append(abs(by_pairs(rest, [values[index] for index in chosen]) - 0.5) >= found - 1e-9)
    return np.mean(every)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([1, 2, 3, 4, 5], [6, 7, 8, 9]),
        ([1, 4, 2, 8, 5], [3, 6, 7, 9]),
        ([1, 1, 2, 2], [2, 2, 3, 1, 5]),
        ([0.5], [0.7, 0.1]),
        ([3, 3, 3], [3, 3]),
    ],
)
def test_against_all_pairs_and_all_divisions(old, new):
    found = shift(old, new)
    assert (found.old, found.new) == (len(old), len(new))
    assert found.higher == pytest.approx(by_pairs(old, new))
    assert found.p == pytest.approx(exact(old, new), abs=0.02)


def test_chance_is_not_taken_for_a_change_more_often_than_it_says():
    random = np.random.default_rng(0)
    sure = [shift(random.normal(size=12), random.normal(size=15)).p < 0.2 for _ in range(60)]
    assert 2 <= sum(sure) <= 24  # 12 are expected


def test_a_real_change_is_seen():
    random = np.random.default_rng(0)
    assert shift(random.normal(size=40), random.normal(1.5, size=40)).sure
    assert not shift(random.normal(size=40), random.normal(size=40)).sure


def test_the_picture_has_a_dot_for_each_score_and_lines_for_both_thresholds(tmp_path):
    draw(tmp_path / "a.png", [0.1, 0.2], [0.3], thresholds=Thresholds(0.25, 0.4), overwrite=False)
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    red, blue = ((214, 39, 40), (31, 119, 180))
    assert (np.abs(pixels - red).sum(axis=2) < 30).any(axis=0).sum() in range(1, 12)  # a thin upright line
    assert (np.abs(pixels - blue).max(axis=2) < 110).any()
