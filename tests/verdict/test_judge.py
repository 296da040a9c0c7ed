"""What is said of one image, from its score map at the reference size."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from blemish import Prediction
from blemish.images.resize import resize_map
from blemish.verdict.judge import judge
from blemish.verdict.scale import Reference, Scale, image_score
from blemish.verdict.threshold import Thresholds

THRESHOLDS = Thresholds(0.5, 0.75)
SCALE = Scale("paper", good=0.1, limit=0.5)


def judged(reference, *, source=None, height=64, width=64):
    image = np.zeros((height, width, 3), np.uint8)
    return judge(
        image if source is None else source, image, Reference(np.float32(reference)), thresholds=THRESHOLDS, scale=SCALE
    )


def spotted(*spots, side=64):
    """A score map of 0.1 with square spots, each (x, y, side, score)."""
    reference = np.full((side, side), 0.1, np.float32)
    for x, y, length, score in spots:
        reference[y : y + length, x : x + length] = score
    return reference


def test_a_spot_is_found_where_it_is():
    found = judged(spotted((8, 20, 6, 0.75), (40, 4, 3, 0.625)))
    assert (found.score, found.verdict) == (0.75, "REVIEW")
    assert [(one.box, one.area, one.peak) for one in found.regions] == [
        ((8, 20, 6, 6), 36, 0.75),
        ((40, 4, 3, 3), 9, 0.625),
    ]
    assert np.array_equal(found.score_map, spotted((8, 20, 6, 0.75), (40, 4, 3, 0.625)))


@pytest.mark.parametrize(
    ("peak", "verdict"),
    [
        (0.25, "OK"),
        (0.5, "OK"),
        (float(np.nextafter(np.float32(0.5), np.float32(1))), "REVIEW"),
        (0.75, "REVIEW"),
        (float(np.nextafter(np.float32(0.75), np.float32(1))), "NG"),
        (1.0, "NG"),
    ],
)
def test_only_above_a_threshold_is_a_part_no_longer_good(peak, verdict):
    found = judged(spotted((8, 8, 4, peak)))
    assert (found.score, found.verdict) == (peak, verdict)
    assert len(found.regions) == (verdict != "OK")  # they are those above the threshold of REVIEW


def test_score_and_verdict_are_those_of_the_reference_map_and_not_of_the_resized_one():
    """One pixel above the threshold decides, and is marked, though a smaller image's own map no longer shows it."""
    reference = spotted((30, 30, 1, 0.9))
    found = judged(reference, height=32, width=32)
    assert (found.score, found.verdict) == (pytest.approx(0.9), "NG")
    assert found.score_map.max() < THRESHOLDS.review
    (region,) = found.regions
    assert (region.box, region.peak, region.mean) == ((15, 15, 1, 1), found.score, found.score)
    assert np.argwhere(found.inside).tolist() == [[15, 15]]


def test_the_map_has_the_height_and_width_of_the_image():
    reference = spotted((0, 0, 32, 0.75))
    found = judged(reference, height=96, width=160)
    assert (found.score_map.shape, found.score_map.dtype) == ((96, 160), np.float32)
    assert np.array_equal(found.score_map, resize_map(reference, 96, 160))
    (region,) = found.regions
    x, y, width, height = region.box
    assert (x, y) == (0, 0)
    assert abs(width - 80) <= 3
    assert abs(height - 48) <= 2


def test_a_path_is_kept_and_an_array_has_none():
    assert judged(spotted(), source=Path("a/b.png")).path == Path("a/b.png")
    assert judged(spotted()).path is None


def test_a_prediction_is_public_and_does_not_change():
    found = judged(spotted())
    assert isinstance(found, Prediction)
    assert [field.name for field in dataclasses.fields(found)] == [
        "path", "score", "verdict", "regions", "score_map", "inside",
    ]  # fmt: skip
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.score = 0.0


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.004, 0.05, 0.3, 1.0])
def test_with_a_least_area_the_score_is_the_highest_level_of_a_part_that_large(share):
    """Against trying every level of the map."""
    for seed in range(4):
        random = np.random.default_rng(seed)
        reference = np.float32(0.1 + 0.8 * ndimage.gaussian_filter(random.random((40, 50)), seed))
        reference = np.round(reference, 2) if seed % 2 else reference  # ties
        levels = [level for level in np.unique(reference) if _largest(reference >= level) >= share * reference.size]
        score = image_score(reference, min_area=share)
        assert score == max(levels)
        for threshold in (0.3, 0.5, score, float(np.nextafter(np.float32(score), np.float32(0)))):
            found = judge(
                Path("a.png"), np.full((80, 60, 3), 90, np.uint8), Reference(reference), scale=SCALE, min_area=share,
                thresholds=Thresholds(threshold),
            )  # fmt: skip
            assert found.score == score
            assert (found.verdict == "NG") == (score > threshold) == bool(found.regions)
            assert (found.verdict == "NG") == (_largest(reference > threshold) >= max(1, share * reference.size))


def _largest(flags):
    labels, count = ndimage.label(flags, np.ones((3, 3)))
    return max(np.bincount(labels.ravel())[1:]) if count else 0


def test_a_hot_pixel_is_no_defect_where_defects_have_a_least_area():
    reference = Reference(spotted((8, 8, 1, 0.9), (30, 30, 4, 0.6)))
    image = np.full((64, 64, 3), 90, np.uint8)
    given = {"thresholds": THRESHOLDS, "scale": SCALE}
    assert [one.peak for one in judge(image, image, reference, **given).regions] == [
        pytest.approx(0.9),
        pytest.approx(0.6),
    ]
    found = judge(image, image, reference, **given, min_area=16 / 64**2)
    assert (found.score, found.verdict) == (pytest.approx(0.6), "REVIEW")
    assert [one.box for one in found.regions] == [(30, 30, 4, 4)]
    found = judge(image, image, reference, **given, min_area=17 / 64**2)
    assert (found.score, found.verdict, found.regions) == (pytest.approx(0.1), "OK", [])
