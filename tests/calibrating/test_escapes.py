"""What thresholds would have done to labelled images, and the intervals beside it."""

import pytest
from scipy.stats import binomtest

from blemish.calibrating.escapes import outcomes, with_interval
from blemish.model.header import CalibrationPart, ScoredPart


@pytest.mark.parametrize(
    ("count", "of"), [(0, 1), (1, 1), (0, 30), (3, 17), (9, 10), (130, 130), (57, 1200), (0, 5000)]
)
def test_intervals_are_those_of_clopper_and_pearson(count, of):
    found, expected = with_interval(count, of), binomtest(count, of).proportion_ci(0.95, method="exact")
    assert (found.count, found.of) == (count, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_none_of_nothing_says_nothing():
    found = with_interval(0, 0)
    assert (found.low, found.high) == (0.0, 1.0)


def test_each_threshold_of_the_menu_and_the_chosen_ones_are_counted():
    held_out = [ScoredPart(name=str(score), sha256="0" * 64, score=score) for score in (0.2, 0.4, 0.3)]
    calibration = CalibrationPart(held_out=held_out, review=0.3, ng=0.5)
    scores, defective = [0.1, 0.35, 0.6, 0.25, 0.4, 0.9], [False, False, False, True, True, True]
    found = outcomes(calibration, scores, defective)
    assert [(one.threshold, one.chosen) for one in found] == [(0.5, True), (0.4, False), (0.3, True), (0.2, False)]
    assert [one.promise for one in found] == [0.25, 0.25, 0.5, 0.75]
    assert [(one.escapes.count, one.escapes.of) for one in found] == [(2, 3), (2, 3), (1, 3), (0, 3)]
    assert [(one.false_alarms.count, one.false_alarms.of) for one in found] == [(1, 3), (1, 3), (2, 3), (2, 3)]
