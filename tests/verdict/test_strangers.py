"""Strangers among the good: by hand, on the scale of either score, and what must not make one."""

import numpy as np
import pytest

from blemish.verdict.scale import Scale, squash
from blemish.verdict.strangers import strangers

WHITENED = Scale("whitened", good=-14.0, limit=-8.0)
PAPER = Scale("paper", good=0.01, limit=0.2)


def of(scale, steps):
    """Scores that lie so many steps from one of good images, where scores are symmetric."""
    values = np.asarray(steps, dtype=np.float64)
    if scale.score == "paper":
        return list(np.exp(0.3 * values - 4))
    return [float(one) for one in squash(np.float32(0.3 * values - 10), good=scale.good, limit=scale.limit)]


# The median of the first seven and one far above them is 0, that of the distances from it 1.5: a robust deviation is
# 1.5 * 1.4826 = 2.2239 steps, and four of them are 8.8956.
STEPS = -3, -2, -1, 0, 0, 1, 2


@pytest.mark.parametrize("scale", [WHITENED, PAPER])
@pytest.mark.parametrize(("last", "expected"), [(8.8, []), (8.99, [7]), (30, [7])])
def test_who_lies_more_than_four_deviations_above_the_median(scale, last, expected):
    assert strangers(of(scale, [*STEPS, last]), scale=scale) == expected


@pytest.mark.parametrize("scale", [WHITENED, PAPER])
def test_the_highest_comes_first_and_who_lies_far_below_is_none(scale):
    steps = [13, *STEPS, -3, -2, -1, 0, 0, 1, 2, 40, -60, 20]
    assert strangers(of(scale, steps), scale=scale) == [15, 17, 0]


def test_of_fewer_than_eight_nobody_can_say():
    scores = of(WHITENED, [*STEPS[1:], 100])
    assert strangers(scores, scale=WHITENED) == []
    assert strangers([*scores, scores[0]], scale=WHITENED) == [6]
    assert strangers([], scale=WHITENED) == []


def test_the_scratch_that_made_the_rule_is_found():
    """One of 48 good images lies at 0.50 on the model's scale, and the next at 0.300, 0.297 and 0.296."""
    random = np.random.default_rng(0)
    rest = random.uniform(0.18, 0.295, 44).tolist()
    assert strangers([*rest, 0.3, 0.5, 0.297, 0.296], scale=WHITENED) == [45]


def test_good_images_as_they_usually_are_are_no_strangers():
    """Fewer than 1 in 1,000 of 48 that are drawn from one normal distribution."""
    random = np.random.default_rng(0)
    found = sum(len(strangers(of(WHITENED, random.normal(size=48)), scale=WHITENED)) for _ in range(400))
    assert found < 400 * 48 / 1000


def test_equal_scores_are_no_strangers_and_a_single_other_one_is():
    assert strangers([0.25] * 12, scale=WHITENED) == []
    assert strangers([0.25] * 11 + [0.26], scale=WHITENED) == [11]
