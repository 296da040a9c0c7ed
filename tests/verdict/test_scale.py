"""The scale of a model, and the score of an image: numpy, and nothing of torch."""

import numpy as np
import pytest

from blemish.verdict.scale import Scale, deviation, image_score, scale_of, squash
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
    """Runs of neighbouring float32 values, around the limit, above and below it."""
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


def test_squashing_puts_the_limit_at_a_half_whatever_it_is():
    random = np.random.default_rng(0)
    for good, span in zip(random.normal(0, 5, 200), random.exponential(3, 200) + 0.01, strict=True):
        limit = float(np.float32(good + span))
        assert squash(np.float32([limit]), good=good, limit=limit)[0] == 0.5


def test_below_the_limit_the_curve_is_a_sigmoid_for_twenty_spans():
    found = squash(np.float32([-19.0, -9.0, -4.0, -20.0, -1e6]), good=-1.0, limit=0.0)
    assert found[:3] == pytest.approx([np.exp(-76), np.exp(-36), np.exp(-16)], rel=1e-5)
    assert found[3] == found[4] == pytest.approx(np.exp(-80), rel=1e-5)


def test_squashing_is_smooth_at_the_limit():
    found = squash(np.array([2.998, 3.0, 3.002], np.float32), good=1.0, limit=3.0)
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=0.01)
    assert found[2] - found[1] == pytest.approx(0.001, rel=0.01)


def test_image_score_is_the_maximum():
    score_map = np.zeros((8, 8), np.float32)
    score_map[3, 5] = 0.625
    assert image_score(score_map) == 0.625


@pytest.fixture
def header():
    """Of a whitened score whose good pixels lie at -14, and whose limit lies at -8."""
    return tiny_detector(["64/2"], sizes=[64])[0].header_


def test_maps_of_a_model_come_to_the_scale_of_its_own_calibration(header):
    good, limit = -14.0, -8.0
    values = np.float32([[good, (good + limit) / 2], [limit, limit + 2 * (limit - good)]])
    found = header.scale.of(values)
    # By hand: x = -1, -1/2, 0 and 2 spans from the limit; sigmoid of 4 x below it, 1 - 1 / (2 + 4 x) above.
    expected = [[1 / (1 + np.exp(4)), 1 / (1 + np.exp(2))], [0.5, 0.9]]
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_the_papers_score_stays_as_it_is(header):
    paper = header.model_copy(update={"score": "paper"})
    values = np.random.default_rng(0).random((4, 4), dtype=np.float32)
    assert paper.scale.of(values) is values


# Where scores are roughly symmetric.


def test_the_inverse_of_squash_gives_back_what_was_squashed(header):
    values = np.float32([-30.0, -20.0, -14.0, -11.0, -8.001, -8.0, -7.999, -2.0, 5.0, 40.0])
    found = header.scale.symmetric(header.scale.of(values).astype(np.float64))
    assert found == pytest.approx(values, abs=2e-4)
    # By hand: 1 / (1 + e^4) lies a span below the limit, 0.9 two spans above it.
    assert header.scale.symmetric(np.array([1 / (1 + np.exp(4)), 0.5, 0.9])) == pytest.approx([-14, -8, 4])


def test_scores_at_the_ends_stay_finite(header):
    for score in ("whitened", "paper"):
        scale = header.model_copy(update={"score": score}).scale
        found = scale.symmetric(np.array([0.0, 1e-300, 1e-12, 0.5, 1.0]))
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()
    assert Scale("whitened", good=2.0, limit=2.0).symmetric(np.array([0.9])) == pytest.approx(2.0 + 2 * 1e-3)


def test_the_papers_scores_are_symmetric_as_logarithms():
    scale = Scale("paper", good=0.1, limit=0.2)
    assert scale.symmetric(np.array([np.exp(-2), 1.0])) == pytest.approx([-2, 0])


# The scale that held-out images set.


def maps_of(*scores, ground=0.0):
    """A map of 2 x 2 px for each image score, its other pixels at the ground."""
    maps = np.full((len(scores), 2, 2), ground, np.float32)
    maps[:, 1, 0] = scores
    return maps


def test_deviation_by_hand():
    # Median 3; distances 2, 1, 0, 1, 7, of which the median is 1.
    assert deviation(np.array([1.0, 2.0, 3.0, 4.0, 10.0])) == pytest.approx(1.4826)
    assert deviation(np.array([5.0, 5.0])) == 0


@pytest.mark.parametrize("highest", [10.0, 1000.0])
def test_the_limit_lies_three_deviations_above_the_median_and_no_image_decides(highest):
    found = scale_of(maps_of(1.0, 4.0, 2.0, highest, 3.0, ground=0.5), score="whitened")
    assert (found.score, found.good) == ("whitened", 0.5)
    assert found.limit == pytest.approx(3 + 3 * 1.4826)


def test_the_limit_of_the_papers_score_is_that_of_its_logarithm():
    found = scale_of(maps_of(0.01, 0.02, 0.04), score="paper")
    assert found.limit == pytest.approx(0.02 * 2 ** (3 * 1.4826), rel=1e-5)
    assert found.good == 0
    assert scale_of(maps_of(0.1, 0.2, 0.4), score="paper").limit == 1.0  # no score is higher


def test_maps_that_do_not_vary_have_a_scale_too():
    flat = np.full((9, 8, 8), 2.5, np.float32)
    found = scale_of(flat, score="whitened")
    assert (found.good, found.limit) == (2.5, 2.5 + 1e-3)
    assert found.of(flat) == pytest.approx(1 / (1 + np.exp(4)), rel=1e-3)
    assert scale_of(flat / 10, score="paper").limit == pytest.approx(0.25)
    zero = scale_of(0 * flat, score="paper")
    assert 0 < zero.limit < 1e-11


@pytest.mark.parametrize(
    ("score", "limit", "colours"),
    [
        ("whitened", -8.0, (0.25, 1.0)),
        ("whitened", 40.0, (0.25, 1.0)),
        ("paper", 0.2, (0.1, 0.4)),
        ("paper", 0.8, (0.4, 1.0)),
    ],
)
def test_colours_run_from_half_to_twice_the_limit_and_no_score_lies_beyond(score, limit, colours):
    assert Scale(score, good=-14.0, limit=limit).colours == pytest.approx(colours)
