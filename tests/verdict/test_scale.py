"""The scale on which 0.5 is the threshold, and the score of an image: numpy, and nothing of torch."""

import numpy as np
import pytest

from blemish.verdict.scale import image_score, squash
from tiny import tiny_detector


def test_squashed_values_keep_their_order_far_above_good():
    values = np.array([-30.0, -1.0, 1.0, 2.0, 3.0, 30.0, 31.0, 300.0, 301.0], np.float32)
    found = squash(values, good=1.0, limit=3.0)
    assert (np.diff(found) > 0).all()
    assert found[2] == pytest.approx(1 / (1 + np.exp(4)))
    assert found[3] == pytest.approx(1 / (1 + np.exp(2)))
    assert found[4] == 0.5
    assert found[5] == pytest.approx(0.5 + 0.5 * 13.5 / 14)
    assert 0 < found[0] < found[-1] < 1


@pytest.mark.parametrize(("good", "limit"), [(-0.1234, 3.3), (0.1, 1.0), (-8.7, -2.1), (0.5, 41.7), (2.0, 2.0)])
def test_squashing_reverses_no_order(good, limit):
    """Runs of neighbouring float32 values, around the threshold, above and below it."""
    span = max(limit - good, 1e-3)
    for place in (-19.0, -1.0, -0.1, -1e-6, 0.1, 0.5, 1.0, 30.0, 1e4, 1e7):
        start = np.float32(limit + place * span)
        bits = start.view(np.int32) + np.arange(20_000, dtype=np.int32) * (1 if start > 0 else -1)
        values = bits.view(np.float32)
        assert values[1] == np.nextafter(start, np.float32(np.inf))
        assert (np.diff(values) > 0).all()
        found = squash(values, good=good, limit=limit)
        assert found.dtype == np.float32
        assert (np.diff(found) >= 0).all()
        assert ((found > 0) & (found <= 1)).all()


def test_squashing_puts_the_threshold_at_a_half_whatever_it_is():
    random = np.random.default_rng(0)
    for good, span in zip(random.normal(0, 5, 200), random.exponential(3, 200) + 0.01, strict=True):
        limit = float(np.float32(good + span))
        assert squash(np.float32([limit]), good=good, limit=limit)[0] == 0.5


def test_below_the_threshold_the_curve_is_a_sigmoid_for_twenty_spans():
    found = squash(np.float32([-19.0, -9.0, -4.0, -20.0, -1e6]), good=-1.0, limit=0.0)
    assert found[:3] == pytest.approx([np.exp(-76), np.exp(-36), np.exp(-16)], rel=1e-5)
    assert found[3] == found[4] == pytest.approx(np.exp(-80), rel=1e-5)


def test_squashing_is_smooth_at_the_threshold():
    found = squash(np.array([2.998, 3.0, 3.002], np.float32), good=1.0, limit=3.0)
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=0.01)
    assert found[2] - found[1] == pytest.approx(0.001, rel=0.01)


def test_image_score_is_the_maximum():
    score_map = np.zeros((8, 8), np.float32)
    score_map[3, 5] = 0.625
    assert image_score(score_map) == 0.625


@pytest.fixture
def header():
    """Of a whitened score whose good pixels lie at -14, and whose threshold lies at -8."""
    return tiny_detector(["64/2"], sizes=[64])[0].header_


def test_maps_of_a_model_come_to_the_scale_of_its_own_calibration(header):
    good, limit = -14.0, -8.0
    values = np.float32([[good, (good + limit) / 2], [limit, limit + 2 * (limit - good)]])
    found = header.scale.of(values)
    # By hand: x = -1, -1/2, 0 and 2 spans from the threshold; sigmoid of 4 x below it, 1 - 1 / (2 + 4 x) above.
    expected = [[1 / (1 + np.exp(4)), 1 / (1 + np.exp(2))], [0.5, 0.9]]
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_the_papers_score_stays_as_it_is(header):
    paper = header.model_copy(update={"score": "paper"})
    values = np.random.default_rng(0).random((4, 4), dtype=np.float32)
    assert paper.scale.of(values) is values
