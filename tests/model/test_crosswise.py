"""Few good images: those that train are scored too, by other students, and a fit goes on where it was stopped."""

import numpy as np
import pytest
import torch

from blemish import Detector
from blemish.calibrating.recalibrate import recalibrated
from blemish.data.sources import identify
from blemish.errors import InputError
from blemish.method.learning import fitting, training
from blemish.method.learning.progress import Progress, in_parts
from blemish.model.calibration import calibrate, calibrate_again, check_again
from blemish.model.header import ScoredPart
from blemish.printing.promises import evidence
from blemish.verdict.scale import squash
from blemish.verdict.threshold import Budget

OPTIONS = {"sizes": (64, 96), "levels": (2,)}


class Stop(Exception):
    """Stands for a kill in the middle of training."""


def modules_of(detector):
    return {f"{one.name} {key}": tensor for one in detector.modules_ for key, tensor in one.state_dict().items()}


def test_each_good_image_is_scored_by_students_that_have_not_learnt_it(short, good_arrays, monkeypatch):
    learnt, scored = [], []
    train, judge = fitting.fit_modules, fitting.score_pyramid

    def contents(pyramid):
        return {image.numpy().tobytes() for image in pyramid[64]}

    def training_on(teacher, pyramid, **options):
        learnt.append(contents(pyramid))
        return train(teacher, pyramid, **options)

    def judging(teacher, modules, images, **options):
        scored.append(contents(images))
        return judge(teacher, modules, images, **options)

    monkeypatch.setattr(fitting, "fit_modules", training_on)
    monkeypatch.setattr(fitting, "score_pyramid", judging)
    header = Detector(**OPTIONS).fit(good_arrays).header_
    learnt, scored = learnt[-2:], scored[::3]  # those before are of the model's own; students, memory, and all of them
    assert [len(part) for part in learnt] == [8, 8]
    assert [len(part) for part in scored] == [4, 4]
    assert all(not one & other for one, other in zip(learnt, scored, strict=True))
    assert not scored[0] & scored[1]
    assert header.calibration.crossed == 3
    assert {image.sha256 for image in header.calibration.held_out} == {one.sha256 for one in identify(good_arrays)}
    assert [image.sha256 for image in header.calibration.held_out[:4]] == [one.sha256 for one in header.data.held_out]


def test_the_own_scores_are_what_predict_says_and_the_model_is_that_without_others(short, good_arrays):
    detector = Detector(**OPTIONS).fit(good_arrays)
    known = dict(zip((one.sha256 for one in identify(good_arrays)), good_arrays, strict=True))
    for image in detector.header_.calibration.held_out[:4]:
        (prediction,) = detector.predict(known[image.sha256])
        assert prediction.score == pytest.approx(image.score, abs=1e-6)
    own = [known[image.sha256] for image in detector.header_.data.held_out]
    train = [known[image.sha256] for image in detector.header_.data.train]
    alone = Detector(**OPTIONS).fit(train, held_out=own)
    assert alone.header_.calibration.crossed == 0
    assert len(alone.header_.calibration.held_out) == 4
    assert all(torch.equal(tensor, modules_of(alone)[key]) for key, tensor in modules_of(detector).items())


def test_with_enough_images_nothing_is_crossed(short):
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (64, 64), dtype=np.uint8) for _ in range(60)]
    header = Detector(sizes=(64,), levels=(2,)).fit(images).header_
    assert (header.calibration.crossed, len(header.calibration.held_out)) == (0, 20)


def test_rates_that_all_scores_carry_are_allowed(short, good_arrays):
    options = {"sizes": (64,), "levels": (2,)}
    header = Detector(**options).fit(good_arrays, false_alarms="16%").header_
    ranked = sorted(header.calibration.scores, reverse=True)
    assert header.calibration.review == ranked[1]  # 2 of 13
    with pytest.raises(InputError, match="5 % needs 19 held-out good images; these 12 support"):
        Detector(**options).fit(good_arrays, false_alarms="5%")


@pytest.mark.parametrize("killed_in", [2, 3, 4, 6])
def test_a_fit_that_was_killed_continues_with_the_same_scores(short, good_arrays, tmp_path, killed_in):
    expected = Detector(**OPTIONS).fit(good_arrays)

    def kill(progress):
        if progress.index == killed_in:
            raise Stop

    with pytest.raises(Stop):
        Detector(**OPTIONS).fit(good_arrays, workspace=tmp_path, report=kill)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == killed_in - 1
    heard = []
    found = Detector(**OPTIONS).fit(good_arrays, workspace=tmp_path, report=heard.append)
    assert [progress.index for progress in heard] == list(range(killed_in, 7))
    assert {progress.modules for progress in heard} == {6}
    assert found.header_.calibration == expected.header_.calibration
    names = ["64-2", "96-2", "fold-2-64-2", "fold-2-96-2", "fold-3-64-2", "fold-3-96-2"]
    assert sorted(path.stem for path in folder.iterdir()) == names
    assert [progress.module for progress in heard] == [name[:-2] + "/2" for name in names[killed_in - 1 :]]


def test_parts_report_the_whole():
    heard = []
    own, other = in_parts(heard.append, [3.0, 1.0], ["", "fold-2-"])
    own(Progress("64/2", 1, 2, 20, 40, 0.5, 7.0, share_done=0.5, seconds_left=6.0))
    own(Progress("64/3", 2, 2, 40, 40, 0.5, 7.0, share_done=1.0, seconds_left=0.0))
    other(Progress("64/2", 1, 2, 20, 40, 0.5, 7.0, share_done=0.5, seconds_left=2.5))
    assert [(one.module, one.index, one.modules) for one in heard] == [
        ("64/2", 1, 4), ("64/3", 2, 4), ("fold-2-64/2", 3, 4),
    ]  # fmt: skip
    assert [one.share_done for one in heard] == [0.375, 0.75, 0.875]
    assert [one.seconds_left for one in heard] == [6 + 4, 4, 2.5]  # 6 s for half of a cost of 3
    assert in_parts(None, [1.0, 1.0], ["", ""]) == [None, None]


def test_other_students_learn_as_those_of_the_model_do_but_never_for_hours():
    recipes = training.RECIPES
    assert [fitting.crossed_recipe(recipes[name]).name for name in ("fast", "quick", "paper")] == [
        "fast",
        "quick",
        "fast",
    ]
    assert fitting.costs(recipes["fast"], images=20, others=2) == [400, 400, 400]
    assert fitting.costs(recipes["paper"], images=20, others=1) == [1200, 400]


def test_scores_of_others_are_moved_to_where_the_own_lie():
    maps = np.array([[[1.0, 0.2]], [[2.0, 0.1]], [[4.0, 0.3]]], np.float32)
    own = [ScoredPart(name=name, sha256="0" * 64, score=0.0) for name in "abc"]
    others = [(own, [11.0, 15.0, 13.0])]
    found = calibrate(maps, own, score="whitened", others=others)
    alone = calibrate(maps, own, score="whitened")
    assert (found.good, found.limit) == (alone.good, alone.limit)
    assert found.held_out[:3] == alone.held_out
    there = np.array([2 + 11 - 14, 2 + 15 - 12, 2 + 13 - 13], np.float32)
    expected = squash(there, good=found.good, limit=found.limit)
    assert [image.score for image in found.held_out[3:]] == pytest.approx(expected.tolist())
    assert (found.crossed, alone.crossed) == (2, 0)
    paper = calibrate(maps / 8, own, score="paper", others=[(own, [0.1, 0.4, 0.2])])
    factors = [0.1 / np.sqrt(0.4 * 0.2), 0.4 / np.sqrt(0.1 * 0.2), 0.2 / np.sqrt(0.1 * 0.4)]
    assert [image.score for image in paper.held_out[3:]] == pytest.approx([min(0.25 * one, 1) for one in factors])


def test_what_is_scored_anew_leaves_the_scores_by_others_behind(short, good_arrays):
    options = {"sizes": (64,), "levels": (2,)}
    header = Detector(**options).fit(good_arrays, false_alarms="16%").header_
    message = (
        "16 % needs 6 held-out good images; these 4 support 20 % .* by students that are gone; ask for another rate"
    )
    with pytest.raises(InputError, match=message):
        check_again(header, None)
    check_again(header, Budget(0.4))
    check_again(Detector(**options).fit(good_arrays).header_, None)  # the default is never refused
    maps = np.zeros((4, 64, 64), np.float32)
    maps[:, 0, 0] = [1, 2, 3, 4]
    again = calibrate_again(header, maps, [*"abcd"], score="whitened", wanted=Budget(0.4))
    assert (again.crossed, len(again.held_out)) == (0, 4)
    assert [image.sha256 for image in again.held_out] == [part.sha256 for part in header.data.held_out]


def test_it_is_said_where_scores_come_from(short, good_arrays):
    header = Detector(sizes=(64,), levels=(2,)).fit(good_arrays).header_
    line = "12 good images scored by students that had not learnt them: 4 by this model's, 8 by others"
    assert evidence(header) == line
    groups = [f"part {index // 2}" for index in range(12)]
    header = Detector(sizes=(64,), levels=(2,)).fit(good_arrays, groups=groups).header_
    assert evidence(header) == f"{line}; in 6 groups, and the promise is about a new group"


def test_new_good_images_take_the_place_of_all(short, good_arrays):
    detector = Detector(sizes=(64,), levels=(2,)).fit(good_arrays[:9])
    assert detector.header_.calibration.crossed == 3
    new = recalibrated(detector, good_arrays[9:]).calibration
    assert (new.crossed, len(new.held_out)) == (0, 3)
    added = recalibrated(detector, good_arrays[9:], add=True).calibration
    assert (added.crossed, len(added.held_out)) == (3, 12)
