"""From held-out maps to scale, scores and thresholds; what they promise; thresholds are changed, the scale never."""

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.model.calibration import (
    asked_before,
    calibrate,
    calibrate_again,
    choose,
    promises,
    stranger_words,
    were_scores,
    with_thresholds,
)
from blemish.model.header import CalibrationPart, EarlierPart, Header, ScoredPart
from blemish.verdict.scale import squash
from blemish.verdict.threshold import Budget, Thresholds
from modelfiles import EARLIER, FIELDS


def images(*given):
    """Held-out images, each a score or (score, group)."""
    pairs = [one if isinstance(one, tuple) else (one, "") for one in given]
    return [
        ScoredPart(name=f"{index}.png", sha256=f"{index:064x}", score=score, group=group)
        for index, (score, group) in enumerate(pairs)
    ]


def part(*given, review=0.5, **more):
    return CalibrationPart(good=-1.0, limit=2.0, held_out=images(*given), review=review, **more)


def maps_of(*scores):
    maps = np.zeros((len(scores), 2, 2), np.float32)
    maps[:, 1, 0] = scores
    return maps


def test_scale_scores_and_thresholds_of_maps_by_hand():
    """Median 3 and deviation 1.4826: the limit is 7.4478, and 0, as most pixels are, is good."""
    given = images(0.0, 0.0, 0.0, 0.0, 0.0)
    found = calibrate(maps_of(1.0, 4.0, 2.0, 10.0, 3.0), given, score="whitened")
    limit = 3 + 3 * 1.4826
    assert (found.good, found.limit) == (0.0, pytest.approx(limit))
    below = [1 / (1 + np.exp(4 * (limit - score) / limit)) for score in (1, 4, 2, 3)]
    above = 1 - 1 / (2 + 4 * (10 - limit) / limit)
    assert [image.score for image in found.held_out] == pytest.approx([*below[:3], above, below[3]], rel=1e-5)
    assert [(image.name, image.sha256) for image in found.held_out] == [(one.name, one.sha256) for one in given]
    assert (found.review, found.ng, found.asked, found.earlier) == (found.held_out[1].score, None, [], None)


def test_the_papers_score_is_on_its_scale_already():
    found = calibrate(maps_of(0.1, 0.4, 0.2, 0.3), images(0.0, 0.0, 0.0, 0.0), score="paper", wanted=Budget(0.7, 0.21))
    assert [image.score for image in found.held_out] == pytest.approx([0.1, 0.4, 0.2, 0.3])
    assert (found.review, found.ng) == pytest.approx((0.2, 0.4))  # 3 and 1 of 5
    assert found.asked == [0.7, 0.21]


def test_maps_that_never_vary_give_one_score_and_a_threshold_that_none_of_them_exceeds():
    found = calibrate(np.full((9, 8, 8), 2.5, np.float32), images(*[0.0] * 9), score="whitened")
    assert (found.good, found.limit) == (2.5, 2.501)
    assert {image.score for image in found.held_out} == {found.review}
    assert found.review == pytest.approx(1 / (1 + np.exp(4)), rel=1e-3)
    assert found.thresholds.verdict(found.review) == "OK"


def test_a_group_counts_once_by_its_highest_score():
    found = part((0.2, "left"), 0.4, (0.3, "left"), (0.1, "right"), 0.5, (0.05, "right"), review=0.35, ng=0.45)
    assert sorted(found.scores) == [0.1, 0.3, 0.4, 0.5]
    assert promises(found) == [("REVIEW", 0.35, 3 / 5), ("NG", 0.45, 2 / 5)]
    assert choose(found, None).review == 0.4
    with pytest.raises(InputError, match="10 % needs 9 held-out good images; these 4 support 20 % "):
        choose(found, Budget(0.1))


def test_images_without_a_group_are_none():
    assert part(0.2, 0.2, (0.3, "image 0"), (0.1, "image 0")).scores == [0.2, 0.2, 0.3]


def test_promises():
    scores = [0.1, 0.2, 0.3, 0.4]
    assert promises(part(*scores, review=0.3)) == [("NG", 0.3, 2 / 5)]
    assert promises(part(*scores, review=0.25, ng=0.4)) == [("REVIEW", 0.25, 3 / 5), ("NG", 0.4, 1 / 5)]
    assert promises(part(*scores, review=0.05)) == [("NG", 0.05, 1.0)]
    assert promises(part(review=0.5)) == [("NG", 0.5, None)]
    earlier = EarlierPart(held_out=9, false_alarm_rate=0.1)
    assert promises(part(review=0.5, earlier=earlier)) == [("NG", 0.5, 0.1)]
    assert promises(part(review=0.5, ng=0.7, earlier=earlier)) == [("REVIEW", 0.5, 0.1), ("NG", 0.7, None)]


def test_an_earlier_model_has_nothing_to_choose_from():
    header = Header.model_validate(EARLIER)
    with pytest.raises(InputError) as caught:
        with_thresholds(header, Budget(0.05))
    assert str(caught.value) == (
        "false alarms: the model was made by an earlier version and keeps no held-out scores; "
        "blemish calibrate MODEL GOOD sets them"
    )
    assert with_thresholds(header, None) is header


def test_what_an_earlier_model_promised_holds_for_its_own_threshold_alone():
    header = Header.model_validate(EARLIER)
    found = with_thresholds(header, Thresholds(0.25, 0.5))
    assert promises(found.calibration) == [("REVIEW", 0.25, None), ("NG", 0.5, None)]
    assert found.scale == header.scale
    assert promises(with_thresholds(header, Thresholds(0.5)).calibration) == [("NG", 0.5, 0.25)]


@pytest.mark.parametrize(
    ("wanted", "thresholds", "asked"),
    [
        (Budget(0.67), Thresholds(0.5), [0.67]),
        (Budget(0.67, 0.34), Thresholds(0.5, 0.75), [0.67, 0.34]),
        (Thresholds(0.125), Thresholds(0.125), []),
        (Thresholds(0.125, 0.9), Thresholds(0.125, 0.9), []),
    ],
)
def test_thresholds_change_and_nothing_else(wanted, thresholds, asked):
    """The fields hold two groups: one scores 0.5, one 0.75."""
    header = Header.model_validate(FIELDS)
    found = with_thresholds(header, wanted)
    assert found.calibration.thresholds == thresholds
    assert found.calibration.asked == asked
    assert found.scale == header.scale
    assert found.calibration.held_out == header.calibration.held_out
    untouched = found.model_dump(exclude={"calibration": {"review", "ng", "asked"}})
    assert untouched == header.model_dump(exclude={"calibration": {"review", "ng", "asked"}})
    values = np.float32([-0.5, 0.3, 2.5, 7.0])
    assert np.array_equal(found.scale.of(values), header.scale.of(values))


def test_a_rate_is_set_again_when_the_maps_have_changed():
    header = Header.model_validate(FIELDS)
    kept = [{"sha256": image.sha256, "thumbnail": "00" * 256} for image in header.calibration.held_out]
    header = Header.model_validate({**FIELDS, "data": {"train": [], "held_out": [*kept[1:], kept[0]]}})
    maps = maps_of(3.0, 1.0, 2.0)  # of b.png, c.png and a.png
    found = calibrate_again(header, maps, ["x", "y", "z"], score="whitened")
    assert [(one.name, one.group) for one in found.held_out] == [("b.png", ""), ("c.png", "left"), ("a.png", "left")]
    limit = 2 + 3 * 1.4826
    expected = squash(np.float32([3.0, 1.0, 2.0]), good=0.0, limit=limit)
    assert [one.score for one in found.held_out] == pytest.approx(expected)
    assert (found.good, found.limit) == (0.0, pytest.approx(limit))
    assert asked_before(header.calibration) == Budget(0.7, 0.4)
    assert (found.review, found.ng) == pytest.approx((expected[2], expected[0]))  # of a group, and of b.png
    assert found.asked == [0.7, 0.4]
    found = calibrate_again(header, maps, ["x", "y", "z"], score="whitened", wanted=Budget(0.35))
    assert (found.review, found.ng, found.asked) == (pytest.approx(expected[0]), None, [0.35])


def test_images_of_an_earlier_model_get_the_names_that_are_given():
    kept = [{"sha256": f"{index:064x}", "thumbnail": "00" * 256} for index in range(2)]
    header = Header.model_validate({**EARLIER, "data": {"train": [], "held_out": kept}})
    found = calibrate_again(header, maps_of(3.0, 1.0), ["x.png", "y.png"], score="whitened")
    assert [(one.name, one.sha256) for one in found.held_out] == [
        ("x.png", kept[0]["sha256"]),
        ("y.png", kept[1]["sha256"]),
    ]
    assert (found.review, found.ng, found.earlier) == (found.held_out[1].score, None, None)
    assert asked_before(header.calibration) is None


def test_thresholds_given_as_scores_are_known_as_such():
    first = calibrate(maps_of(0.1, 0.2, 0.3, 0.4), images(0.0, 0.0, 0.0, 0.0), score="paper")
    assert not were_scores(first)
    assert not were_scores(choose(first, Budget(0.4)))
    assert were_scores(choose(first, Thresholds(0.25)))
    assert not were_scores(choose(first, Thresholds(first.review)))  # what the default sets as well


def test_a_stranger_in_words():
    """Also one whose name does not print, and one whose score is the threshold of NG."""
    calibration = part(0.9, 0.7, 0.2, review=0.7, ng=0.9)
    first, second, _ = calibration.held_out
    line = "0.png scores 0.9000, far above the other held-out images, and alone sets a threshold"
    assert stranger_words(calibration, first) == line
    assert stranger_words(part(0.9, 0.7, 0.2, review=0.5), second) == (
        "1.png scores 0.7000, far above the other held-out images"
    )
    assert stranger_words(part(0.9, 0.7, 0.2, review=0.5), second, learnt=True) == (
        "1.png scores 0.7000, far above the other held-out images; "
        "other students scored it: this model has learnt it, so its own map shows nothing"
    )
    odd = first.model_copy(update={"name": "a\nb.png"})
    assert stranger_words(calibration, odd).startswith("a\\nb.png scores 0.9000, ")
