"""A region of interest from the fit to the bundle: what lies outside counts nowhere, and nothing else changes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from blemish import Detector
from blemish.data.sources import load
from blemish.errors import InputError
from blemish.images.resize import resize_mask
from blemish.model.header import Header
from blemish.results.write import draw
from blemish.runtime import Runtime
from bundles import fields
from tiny import short_recipe

SIZES, LEVELS = (64, 128), (2, 3)
LEFT = np.zeros((96, 96), bool)
LEFT[:, :48] = True  # the left half counts


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            __import__("blemish.method.learning.training", fromlist=["RECIPES"]).RECIPES, "fast", short_recipe()
        )
        yield


@pytest.fixture(scope="module")
def good(brick):
    return sorted((brick / "train" / "good").iterdir())


@pytest.fixture(scope="module")
def looking(good, tmp_path_factory):
    """A detector that looks at the left half, less a border of 5 %, and its model file."""
    detector = Detector(sizes=SIZES, levels=LEVELS, seed=1).fit(good, roi=LEFT, ignore_border="5%")
    path = tmp_path_factory.mktemp("roi") / "left.safetensors"
    detector.save(path)
    return detector, path


@pytest.fixture(scope="module")
def bundle_of_it(looking, good, tmp_path_factory):
    path = tmp_path_factory.mktemp("roi") / "bundle"
    looking[0].export(path, to="onnx", good=good)
    return path


def inside():
    """By hand at the reference size 128: 5 % are 6.4 px, so rows and columns 6 to 121 are left, of the left half."""
    found = np.zeros((128, 128), bool)
    found[6:122, 6:64] = True
    return found


def spotted(image, *, x):
    """An image with a dark blot, its middle in the middle of the height, at a share x of the width."""
    found = image.copy()
    height, width = image.shape[:2]
    side, left, top = width // 8, int(width * x), height // 2
    found[top - side // 2 : top + side // 2, left - side // 2 : left + side // 2] = (15, 20, 30)
    return found


def test_a_defect_inside_is_seen_and_the_same_outside_is_not(looking, good):
    detector, _ = looking
    image = load(good[0])
    before, left, right = detector.predict([image, spotted(image, x=0.25), spotted(image, x=0.8)])
    assert left.score > detector.thresholds_.review > before.score
    assert (left.verdict, right.verdict) == ("NG", "OK")
    assert right.regions == []
    assert right.score == pytest.approx(before.score, abs=0.02)
    (_, _, reference), (_, _, spoilt) = detector.references([image, spotted(image, x=0.8)])
    for one in (before, left, right):
        assert not one.score_map[~resize_mask(inside(), *image.shape[:2])].any()
        assert one.score_map[resize_mask(inside(), *image.shape[:2])].all()
    for found in (reference.map, spoilt.map):
        assert not found[~inside()].any()
        assert (found[inside()] > 0).all()


def test_the_map_is_that_of_all_pixels_where_pixels_count(looking, good):
    """No bit differs inside, and the score is the highest inside."""
    detector, _ = looking
    whole = replace(detector.model_, header=detector.header_.model_copy(update={"roi": None}))
    for (_, _, every), (_, _, found) in zip(whole.references(good[:3]), detector.references(good[:3]), strict=True):
        assert np.array_equal(found.map, np.where(inside(), every.map, 0))
        assert found.score() == every.map[inside()].max()


def test_scale_and_held_out_scores_are_those_of_the_pixels_that_count(looking, good):
    detector, _ = looking
    header = detector.header_
    every = {image.sha256: image.score for image in header.calibration.held_out}
    by_hash = {part.sha256: every[part.sha256] for part in header.data.held_out}  # the others are by other students
    assert len(by_hash) >= 2
    files = dict(zip(by_hash, detector_files(good, by_hash), strict=True))
    for digest, file in files.items():
        ((_, _, found),) = detector.references([file])
        assert by_hash[digest] == pytest.approx(found.map[inside()].max(), abs=1e-6)
    medians = [np.median(found.map[inside()]) for _, _, found in detector.references(list(files.values()))]
    assert np.median(medians) == pytest.approx(1 / (1 + np.exp(4)), abs=0.004)  # good pixels lie at 0.018


def detector_files(good, hashes):
    from trees import pixel_hashes

    known = dict(zip(pixel_hashes(good), good, strict=True))
    return [known[digest] for digest in hashes]


def test_statistics_leave_out_what_lies_outside_and_students_do_not(looking, good):
    """Other statistics than those of a fit on all pixels, and the same students, to the bit."""
    detector, _ = looking
    whole = Detector(sizes=SIZES, levels=LEVELS, seed=1).fit(good)
    assert whole.header_.roi is None
    assert not np.array_equal(detector.modules_[-1].vectors, whole.modules_[-1].vectors)  # of the memory
    for one, other in zip(detector.modules_[:-1], whole.modules_[:-1], strict=True):
        assert not np.array_equal(one.mean, other.mean)
        for (name, value), bare in zip(
            one.student.state_dict().items(), other.student.state_dict().values(), strict=True
        ):
            assert np.array_equal(value, bare), f"{one.name} {name}"


def test_a_model_without_one_scores_as_ever(detector, good):
    """As scale and combined map give it, to the bit."""
    bare = replace(detector.model_, header=detector.header_)
    assert "roi" not in detector.header_.model_dump(exclude_none=True)
    for _, _, found in bare.references(good[:2]):
        assert (found.map > 0).all()
    old = detector.header_.model_dump()
    del old["roi"]  # as in a file of an earlier version
    assert Header.model_validate(old) == detector.header_


def test_model_file_and_bundle_keep_it(looking, bundle_of_it, good):
    detector, path = looking
    again, runtime = Detector.load(path), Runtime.load(bundle_of_it)
    assert again.header_.roi == runtime.header_.roi == detector.header_.roi
    assert np.array_equal(again.header_.roi.inside, inside())
    images = [load(good[0]), spotted(load(good[0]), x=0.25), spotted(load(good[0]), x=0.8)]
    for expected, same, near in zip(*(one.predict(images) for one in (detector, again, runtime)), strict=True):
        assert np.array_equal(same.score_map, expected.score_map)
        np.testing.assert_allclose(near.score_map, expected.score_map, atol=1e-3)
        assert (same.verdict, same.score) == (expected.verdict, expected.score)
        assert near.verdict == expected.verdict
        assert near.score == pytest.approx(expected.score, abs=1e-3)


def test_an_image_of_another_aspect_is_refused_with_both_sizes(looking, bundle_of_it, good):
    wide = np.zeros((100, 120, 3), np.uint8)
    for scorer in (looking[0], Runtime.load(bundle_of_it)):
        with pytest.raises(InputError, match=r"^image 120x100 vs 96x96 of the mask roi array: "):
            scorer.predict([wide])
        assert scorer.predict([np.zeros((100, 101, 3), np.uint8)])
    with pytest.raises(InputError, match=r"000\.png: image 192x192 vs 90x100 of the mask roi array"):
        Detector(sizes=SIZES, levels=LEVELS).fit(good, roi=np.ones((100, 90), bool))


def test_calibrate_takes_another_with_good_images(looking, good):
    detector, path = looking
    held_out = detector_files(good, [image.sha256 for image in detector.header_.data.held_out])
    other = Detector.load(path).calibrate(held_out, roi=LEFT, ignore_border=0.25)
    found = other.header_
    expected = np.zeros((128, 128), bool)
    expected[32:96, 32:64] = True
    assert np.array_equal(found.roi.inside, expected)
    assert (found.calibration.good, found.calibration.limit) == (
        detector.header_.calibration.good,
        detector.header_.calibration.limit,
    )
    for image, file in zip(found.calibration.held_out, held_out, strict=True):
        ((_, _, reference),) = detector.references([file])
        assert image.score == reference.map[expected].max()
    every = Detector.load(path).calibrate(held_out, ignore_border=0)
    assert every.header_.roi is None
    for refused, message in (({"good": ()}, "needs good images"), ({"good": held_out, "add": True}, "add: scores by")):
        with pytest.raises(InputError, match=message):
            detector.calibrate(**refused, ignore_border=0.1)


def test_a_mask_among_the_images_is_refused(good, tmp_path):
    mask = shutil.copy(good[0], tmp_path / "mask.png")
    with pytest.raises(InputError, match=r"mask.png: the mask lies among the images; keep it elsewhere"):
        Detector(sizes=SIZES, levels=LEVELS).fit([*good, mask], ignore=mask)


def test_overlays_show_it(looking, good):
    """What does not count is half as bright; but for the line along the edge nothing else changes."""
    detector, _ = looking
    image = load(good[0])
    (prediction,) = detector.predict([image])
    whole = detector.with_header(detector.header_.model_copy(update={"roi": None}))
    found, bare = (draw(image, prediction, one.header_) for one in (detector, whole))
    counted = resize_mask(inside(), *image.shape[:2])
    stamp = np.zeros_like(counted)
    stamp[:40, :60] = True
    assert np.array_equal(found[~counted & ~stamp], bare[~counted & ~stamp] // 2)
    edge = counted & (np.roll(~counted, 1, 1) | np.roll(~counted, -1, 1))
    assert set(np.unique(found[edge & ~stamp])) == {0, 255}
    middle = np.zeros_like(counted)
    middle[80:110, 30:70] = True
    assert np.array_equal(found[middle], bare[middle])


def test_the_golden_images_of_a_bundle_are_scored_anew_for_another(looking, bundle_of_it, good, tmp_path):
    from blemish.calibrating.recalibrate import looking_at, recalibrated
    from blemish.calibrating.rewrite import rewrite
    from blemish.images.roi import Interest

    runtime = Runtime.load(bundle_of_it)
    held_out = detector_files(good, [image.sha256 for image in runtime.header_.data.held_out])
    wide = Interest(roi=np.ones((100, 200), bool), border=0.4)  # another aspect than that of all golden images
    with pytest.raises(InputError, match="vs 200x100"):
        recalibrated(*looking_at(runtime, wide, good=held_out, add=False))
    other, used = looking_at(runtime, Interest(border=0.4), good=held_out, add=False)
    assert used == held_out
    rewrite(bundle_of_it, tmp_path / "other", recalibrated(other, held_out), runtime=other, overwrite=False)
    again = Runtime.load(tmp_path / "other")  # which tests itself
    assert again.header_.roi.border == 0.4
    for old, new in zip(fields(bundle_of_it)["golden"], fields(tmp_path / "other")["golden"], strict=True):
        assert (new["file"], new["sha256"]) == (old["file"], old["sha256"])
        found = again.golden_reference(tmp_path / "other" / new["file"])
        assert new["score"] == pytest.approx(found.score(), abs=1e-3)
        assert new["mean"] < old["mean"]
