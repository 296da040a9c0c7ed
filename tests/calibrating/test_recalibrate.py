"""Held-out scores and thresholds chosen anew, on a scale that stays."""

from types import SimpleNamespace

import numpy as np
import pytest

from blemish.calibrating.recalibrate import recalibrated
from blemish.data.records import DataPart
from blemish.data.sources import identify
from blemish.errors import InputError
from blemish.model.calibration import check_area, choose
from blemish.model.header import Header, ScoredPart
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Budget, Thresholds
from tiny import tiny_detector


def picture(value):
    """A picture that no other value makes; its score is value / 100."""
    found = np.full((64, 64, 3), 90, np.uint8)
    found[: value % 7 + 1, :, 0] = value
    found[0, 0] = value
    return found


class Scorer:
    """Scores a picture by its first pixel, and knows the pictures that it has met."""

    def __init__(self, *, train=(), held_out=(), asked=(), names=None):
        header = tiny_detector(["64/2"], sizes=[64])[0].header_
        train, held = (identify([picture(value) for value in values]) for values in (train, held_out))
        names = names or [f"{value}.png" for value in held_out]
        scored = [
            ScoredPart(name=name, sha256=part.sha256, score=value / 100)
            for name, part, value in zip(names, held, held_out, strict=True)
        ]
        calibration = header.calibration.model_copy(update={"held_out": scored})
        calibration = choose(calibration, Budget(*asked) if asked else None)
        update = {"calibration": calibration, "data": DataPart(train=train, held_out=held, told_by="pixels")}
        self.header_ = Header.model_validate(header.model_copy(update=update).model_dump())
        self.scored = 0

    def references(self, images):
        for image in images:
            self.scored += 1
            yield image, image, Reference(np.full((8, 8), image[0, 0, 0] / 100, np.float32))


def names(header):
    return [image.name for image in header.calibration.held_out]


def scores(header):
    return [round(image.score * 100) for image in header.calibration.held_out]


def test_rates_and_scores_choose_thresholds_without_an_image():
    scorer = Scorer(held_out=[10, 30, 20, 40])
    for wanted, review, ng in (
        (Budget(0.2), 0.4, None),
        (Budget(0.6, 0.4), 0.2, 0.3),
        (Thresholds(0.15, 0.35), 0.15, 0.35),
    ):
        header = recalibrated(scorer, wanted=wanted)
        assert (header.calibration.review, header.calibration.ng) == (review, ng)
        assert header.scale == scorer.header_.scale
        assert header.calibration.held_out == scorer.header_.calibration.held_out
        assert header.data == scorer.header_.data
    assert scorer.scored == 0


def test_what_was_asked_is_kept_for_the_next_time():
    scorer = Scorer(held_out=[10, 30, 20, 40], asked=[0.4])
    assert recalibrated(scorer, without=["40.png"]).calibration.review == 0.3  # 1 of 4 is below 40 %, 2 of 4 is not
    assert recalibrated(scorer, wanted=Budget(0.6)).calibration.asked == [0.6]
    assert recalibrated(scorer, wanted=Thresholds(0.15)).calibration.asked == []


def test_new_images_replace_the_old_scores_on_the_same_scale():
    scorer = Scorer(train=[90], held_out=[10, 20])
    header = recalibrated(scorer, [picture(50), picture(70), picture(60), picture(70)])
    assert scores(header) == [50, 70, 60]  # the same picture counts once
    assert header.calibration.review == pytest.approx(0.6)  # the second highest
    assert (header.calibration.good, header.calibration.limit) == (-14.0, -8.0)
    assert [one.sha256 for one in header.data.held_out] == [one.sha256 for one in header.calibration.held_out]
    assert header.data.train == scorer.header_.data.train
    assert names(header)[0] == f"array {header.calibration.held_out[0].sha256[:8]}"


def test_added_images_join_the_old_ones_and_take_the_place_of_equal_ones():
    scorer = Scorer(held_out=[10, 20])
    header = recalibrated(scorer, [picture(20), picture(30)], add=True)
    assert scores(header) == [10, 20, 30]
    assert len(header.data.held_out) == 3
    assert header.calibration.review == pytest.approx(0.2)


def test_images_that_trained_are_refused_with_their_names(tmp_path):
    scorer = Scorer(train=[90, 91], held_out=[10, 20])
    with pytest.raises(InputError, match=r"^good: the model was trained on 1 of these 3 images: 1 trained \(same pict"):
        recalibrated(scorer, [picture(90), picture(40), picture(50)])


def test_an_image_that_is_no_good_part_is_left_out_by_name():
    scorer = Scorer(held_out=[10, 30, 20, 40])
    header = recalibrated(scorer, without=["40.png"])
    assert names(header) == ["10.png", "30.png", "20.png"]
    assert header.calibration.review == 0.2
    assert len(header.data.held_out) == 3
    assert scorer.scored == 0


@pytest.mark.parametrize(
    ("without", "text"),
    [
        (["4.png"], "without: 4.png is none of the 3 held-out images, such as 40.png, 10.png"),
        (["good/10.png"], "without: good/10.png is the name of 2 held-out images"),
        (["a\nb"], r"without: a\nb is none of the 3 held-out images"),
        (["10.png"], "without: 10.png is the name of 2 held-out images"),
        (["40.png", "10.png"], "without: 10.png is the name of 2"),
    ],
)
def test_names_that_do_not_name_one_image_are_refused(without, text):
    scorer = Scorer(held_out=[10, 30, 40], names=["10.png", "10.png", "40.png"])
    with pytest.raises(InputError) as caught:
        recalibrated(scorer, without=without)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("40.png", [10, 11, 30]),
        ("/somewhere/train/good/40.png", [10, 11, 30]),
        ("train/a/10.png", [11, 30, 40]),
        ("/data/train/b/10.png", [10, 30, 40]),
        ("30.png", [10, 11, 40]),
        ("elsewhere/30.png", [10, 11, 40]),
    ],
)
def test_an_image_is_left_out_by_a_path_that_means_it_alone(name, left):
    held = ["train/a/10.png", "train/b/10.png", "train/a/30.png", "40.png"]
    header = recalibrated(Scorer(held_out=[10, 11, 30, 40], names=held), without=[name])
    assert scores(header) == left


def test_the_error_about_a_name_lists_some_that_there_are():
    with pytest.raises(InputError) as caught:
        recalibrated(Scorer(held_out=[10, 11, 30, 40]), without=["12.png"])
    assert str(caught.value) == "without: 12.png is none of the 4 held-out images, such as 11.png, 10.png, 40.png"


def test_a_least_area_is_set_only_where_all_scores_are_taken_anew():
    scorer = Scorer(held_out=[10, 30, 20, 40])
    spots = [picture(value) for value in (11, 31, 21)]

    def references(images):
        for image in images:
            reference = np.full((8, 8), 0.05, np.float32)
            reference[0, 0], reference[4, 4:6] = image[0, 0, 0] / 100, 0.1
            yield image, image, Reference(reference)

    scorer.references = references
    assert scores(recalibrated(scorer, spots)) == [11, 31, 21]
    header = recalibrated(scorer, spots, min_area=2 / 64)
    assert (scores(header), header.calibration.min_area) == ([10, 10, 10], 2 / 64)
    scorer.header_ = header
    assert scores(recalibrated(scorer, spots)) == [10, 10, 10]  # kept
    assert scores(recalibrated(scorer, spots, min_area=0.0)) == [11, 31, 21]
    for given in ({}, {"good": spots, "add": True}, {"wanted": Budget(0.5)}):
        with pytest.raises(InputError, match=r"^min-area: needs good images, and no --add: all held-out scores"):
            recalibrated(scorer, **given, min_area=0.1)


def test_thresholds_given_as_scores_stay_as_the_scale_does():
    scorer = Scorer(held_out=[10, 30, 20, 40])
    scorer.header_ = recalibrated(scorer, wanted=Thresholds(0.15, 0.35))
    header = recalibrated(scorer, without=["40.png"])
    assert (header.calibration.review, header.calibration.ng) == (0.15, 0.35)


def test_images_of_one_name_are_told_by_their_hash():
    scorer = Scorer(held_out=[10, 30, 40], names=["a.png", "a.png", "b.png"])
    first, second, _ = scorer.header_.calibration.held_out
    with pytest.raises(InputError, match=f"hash: {first.sha256[:8]} or {second.sha256[:8]}$"):
        recalibrated(scorer, without=["a.png"])
    assert scores(recalibrated(scorer, without=[second.sha256[:8]])) == [10, 40]


def test_one_photograph_saved_twice_counts_once():
    random = np.random.default_rng(0)
    photographs = [np.repeat(random.integers(0, 99, (64, 64, 1), dtype=np.uint8), 3, axis=2) for _ in range(6)]
    brighter = [photograph + np.uint8(1) for photograph in photographs[:4]]
    said = []
    header = recalibrated(Scorer(held_out=[10, 20]), [*photographs, *brighter], say=said.append)
    assert len(header.calibration.held_out) == 6
    assert said[0].startswith("one photograph saved twice counts once: 4 pairs, such as array ")


def test_a_least_area_fits_into_the_region_of_interest():
    inside = np.zeros((64, 64), bool)
    inside[:8, :8] = inside[20:36, :16] = True  # 64 and 256 of 4096 px
    region = SimpleNamespace(inside=inside)
    check_area(region, 256 / 4096)
    check_area(None, 0.9)
    with pytest.raises(InputError, match=r"^min-area: 6.5 % of the image is more than the largest part .*, 6.25 %$"):
        check_area(region, 0.065)


def test_two_images_must_be_left():
    scorer = Scorer(held_out=[10, 20])
    with pytest.raises(InputError, match="need >= 2 held-out images of different content, 1 would be left"):
        recalibrated(scorer, without=["10.png"])
    with pytest.raises(InputError, match="need >= 2 held-out images of different content, 1 would be left"):
        recalibrated(scorer, [picture(50), picture(50)])


def test_nothing_to_do_is_said():
    with pytest.raises(InputError, match=r"^calibrate: nothing to do; give good images, --without"):
        recalibrated(Scorer(held_out=[10, 20]))


def test_a_group_has_one_say_with_its_highest_score():
    scorer = Scorer(held_out=[10, 20])
    header = recalibrated(scorer, [picture(value) for value in (50, 60, 70, 30)], groups=["a", "a", "b", "c"])
    assert [image.group for image in header.calibration.held_out] == ["a", "a", "b", "c"]
    assert sorted(header.calibration.scores) == pytest.approx([0.3, 0.6, 0.7])
    assert header.calibration.review == pytest.approx(0.6)


def test_a_detector_calibrates_itself_and_stays_as_it_is_when_refused(detector, brick):
    before = detector.model_
    try:
        found = detector.calibrate(false_alarms="30%")
        assert found is detector
        high = sorted(image.score for image in detector.header_.calibration.held_out)[::-1]
        rank = int(0.3 * 1.025 * (len(high) + 1))
        assert detector.thresholds_.review == high[rank - 1]
        kept = detector.header_
        with pytest.raises(InputError, match=r"^false alarms: 1 % needs 99 held-out good images"):
            detector.calibrate(false_alarms="1%")
        with pytest.raises(InputError, match="give one of them"):
            detector.calibrate(false_alarms="30%", threshold=0.5)
        assert detector.header_ is kept
        detector.calibrate(brick / "test" / "good", threshold=(0.4, 0.5))
        assert (detector.thresholds_.review, detector.thresholds_.ng) == (0.4, 0.5)
        assert len(detector.header_.calibration.held_out) == len(list((brick / "test" / "good").iterdir()))
        assert detector.header_.scale == before.header.scale
    finally:
        detector.model_ = before
