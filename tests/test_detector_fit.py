"""What a fit learns from: images of every kind, seeds, interruptions, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blemish import Detector
from blemish.data.copies import thumbnail
from blemish.errors import InputError
from blemish.images.read import read_image
from blemish.model.calibration import promises
from trees import pixel_hashes


class Stop(Exception):
    """Stands for a kill in the middle of training."""


def nameless(calibration):
    """What held-out images set, whatever they are called."""
    images = [image.model_copy(update={"name": ""}) for image in calibration.held_out]
    return calibration.model_copy(update={"held_out": images})


def modules_of(detector):
    return {
        f"{module.name} {key}": tensor for module in detector.modules_ for key, tensor in module.state_dict().items()
    }


def test_a_folder_in_the_layout_of_mvtec_stands_for_its_good_images(short, brick):
    options = {"sizes": (64,), "levels": (2,)}
    train, kept = (sorted((brick / part / "good").iterdir()) for part in ("train", "validation"))
    whole = Detector(**options).fit(brick).header_
    assert [image.sha256 for image in whole.data.train] == sorted(pixel_hashes(train))
    assert [image.sha256 for image in whole.data.held_out] == sorted(pixel_hashes(kept))
    small = dict(zip(pixel_hashes(kept), (thumbnail(read_image(path)) for path in kept), strict=True))
    assert {image.sha256: image.thumbnail for image in whole.data.held_out} == small
    assert (whole.data.weighed, whole.data.tested, whole.weighing) == ([], [], None)
    named = dict(zip((path.relative_to(brick).as_posix() for path in kept), pixel_hashes(kept), strict=True))
    assert {image.name: image.sha256 for image in whole.calibration.held_out} == named
    given = Detector(**options).fit(train, held_out=kept).header_
    assert (given.data, given.calibration) == (whole.data, whole.calibration)
    part = Detector(**options).fit(brick / "train" / "good").header_
    assert len(part.data.train) + len(part.data.held_out) == 40
    assert part.data.train != whole.data.train


@pytest.mark.parametrize("kind", [str, Path])
def test_a_manifest_stands_for_its_good_images(short, good_arrays, tmp_path, kind):
    rows = ["path,label,mask,split"]
    for index, picture in enumerate(good_arrays):
        Image.fromarray(picture).save(tmp_path / f"{index:02}.png")
        split = "train" if index < 7 else "validation" if index < 10 else "test"
        rows.append(f"{index:02}.png,good,,{split}")
    (tmp_path / "parts.csv").write_text("\n".join(rows))
    data = Detector(sizes=(64,), levels=(2,)).fit(kind(tmp_path / "parts.csv")).header_.data
    hashes = pixel_hashes(sorted(tmp_path.glob("*.png")))
    assert [image.sha256 for image in data.train] == sorted(hashes[:7])
    assert [image.sha256 for image in data.held_out] == sorted(hashes[7:10])


def test_an_empty_folder_is_named(detector, tmp_path):
    with pytest.raises(InputError, match="no images found in "):
        detector.predict(tmp_path)


def test_copies_of_an_image_are_no_further_evidence(short, good_arrays):
    header = Detector(sizes=(64,), levels=(2,)).fit(good_arrays * 5).header_
    assert (len(header.data.held_out), len(header.calibration.held_out)) == (4, 12)
    assert [rate for _, _, rate in promises(header.calibration)] == pytest.approx([2 / 13])


def test_a_refit_that_fails_leaves_the_old_detector(short, good_arrays):
    detector = Detector(sizes=(64,), levels=(2,)).fit(good_arrays)
    before, header = modules_of(detector), detector.header_
    detector.seed = 5

    def kill(progress):
        raise Stop

    with pytest.raises(Stop):
        detector.fit(good_arrays, report=kill)
    after = modules_of(detector)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert detector.header_ is header


def test_few_images_and_a_deep_level_still_tell_black_from_good(short, good_arrays):
    """Eight images leave the covariance of 320 channels all but unknown: distances are huge, yet keep their order."""
    detector = Detector(sizes=(64,), levels=(5,)).fit(good_arrays[:8])
    assert 0 < detector.thresholds_.review < 1
    black, good = detector.predict([np.zeros((64, 64), np.uint8), good_arrays[9]])
    assert black.verdict == "NG"
    assert black.score > good.score


def test_header_says_what_was_done(detector, brick):
    header = detector.header_
    assert [f"{module.size}/{module.level}" for module in header.modules] == ["64/2", "64/3", "128/2", "128/3"]
    shares = [24 * 64**0.5, 40 * 64**0.5, 24 * 128**0.5, 40 * 128**0.5]  # channels times the root of the size
    assert [module.weight for module in header.modules] == pytest.approx([share / sum(shares) for share in shares])
    assert header.reference_size == 128
    assert len(header.data.train) + len(header.data.held_out) == 40
    assert (len(header.data.held_out), len(header.calibration.held_out)) == (13, 40)
    assert [rate for _, _, rate in promises(header.calibration)] == pytest.approx([2 / 41])
    assert header.recipe["steps"] == 120
    assert set(header.libraries) == {"numpy", "pillow", "safetensors", "timm", "torch"}


def test_the_threshold_is_the_second_highest_score_of_the_held_out_images(detector, brick):
    paths = sorted((brick / "train" / "good").iterdir())
    hashes = dict(zip(pixel_hashes(paths), paths, strict=True))
    held = [hashes[image.sha256] for image in detector.header_.data.held_out]
    scores = [prediction.score for prediction in detector.predict(held)]
    kept = detector.header_.calibration.held_out
    assert [image.score for image in kept[:13]] == pytest.approx(scores, abs=1e-6)
    assert [image.name for image in kept[:13]] == [path.name for path in held]
    assert {image.name for image in kept} == {path.name for path in paths}  # others are scored by other students
    assert (detector.thresholds_.review, detector.thresholds_.ng) == (sorted(image.score for image in kept)[-2], None)


def test_held_out_images_do_not_depend_on_order_or_names(short, good_arrays):
    options = {"sizes": (64,), "levels": (2,)}
    one = Detector(**options).fit(good_arrays).header_.data
    two = Detector(**options).fit(good_arrays[::-1]).header_.data
    assert one == two


def test_same_seed_same_model_and_another_seed_another(short, good_arrays):
    options = {"sizes": (64,), "levels": (2, 3)}
    one, two, other = (modules_of(Detector(**options, seed=seed).fit(good_arrays)) for seed in (3, 3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


def test_a_module_does_not_depend_on_the_other_levels(short, good_arrays):
    both = modules_of(Detector(sizes=(64,), levels=(2, 3), score="whitened").fit(good_arrays))
    alone = modules_of(Detector(sizes=(64,), levels=(3,), score="whitened").fit(good_arrays))
    assert all(torch.equal(both[key], alone[key]) for key in alone)


@pytest.mark.parametrize("killed_in", [1, 2, 3, 4])
def test_an_interrupted_fit_continues_and_ends_with_the_same_model(short, good_arrays, tmp_path, killed_in):
    options = {"sizes": (64, 96), "levels": (2, 3)}
    expected = modules_of(Detector(**options).fit(good_arrays, jobs=1))

    def kill(progress):
        if progress.index == killed_in:
            raise Stop

    with pytest.raises(Stop):
        Detector(**options).fit(good_arrays, workspace=tmp_path, jobs=1, report=kill)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == killed_in - 1
    trained = []
    resumed = Detector(**options).fit(good_arrays, workspace=tmp_path, jobs=1, report=trained.append)
    assert {progress.index for progress in trained} == set(range(killed_in, 13))
    found = modules_of(resumed)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_run_that_differs_does_not_continue_another(short, good_arrays, tmp_path):
    Detector(sizes=(64,), levels=(2,), seed=0).fit(good_arrays, workspace=tmp_path)
    trained = []
    Detector(sizes=(64,), levels=(2,), seed=1).fit(good_arrays, workspace=tmp_path, report=trained.append)
    assert trained
    assert len(list(tmp_path.iterdir())) == 2


def test_other_images_do_not_continue_a_run(short, good_arrays, tmp_path):
    options = {"sizes": (64,), "levels": (2,)}
    expected = modules_of(Detector(**options).fit(good_arrays[1:]))
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    found = modules_of(Detector(**options).fit(good_arrays[1:], workspace=tmp_path))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert len(list(tmp_path.iterdir())) == 2


def test_files_and_arrays_in_any_order_give_one_model(short, good_arrays, tmp_path):
    """Who is held out and in which order images train is decided by their pixels: names and suffixes do not matter."""
    options = {"sizes": (64,), "levels": (2,)}
    expected = Detector(**options).fit(good_arrays)
    for index, picture in enumerate(good_arrays):
        Image.fromarray(picture).save(tmp_path / f"{(7 * index) % 31:02}.{'png' if index % 2 else 'bmp'}")
    for given in (tmp_path, good_arrays[::-1]):
        found = Detector(**options).fit(given)
        assert found.header_.data == expected.header_.data
        assert nameless(found.header_.calibration) == nameless(expected.header_.calibration)
        wanted = modules_of(expected)
        assert all(torch.equal(tensor, wanted[key]) for key, tensor in modules_of(found).items())


@pytest.mark.parametrize("change", [{"weight_decay": 0.3}, {"warm_divisor": 2.0}])
def test_a_recipe_that_differs_does_not_continue_a_run(short, good_arrays, tmp_path, monkeypatch, change):
    import dataclasses

    from blemish.method.learning import training

    Detector(sizes=(64,), levels=(2,)).fit(good_arrays, workspace=tmp_path)
    monkeypatch.setitem(training.RECIPES, "fast", dataclasses.replace(short, **change))
    Detector(sizes=(64,), levels=(2,)).fit(good_arrays, workspace=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_kept_module_is_named(short, good_arrays, tmp_path):
    options = {"sizes": (64,), "levels": (2,)}
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    (kept,) = tmp_path.glob("*/64-2.safetensors")
    whole = kept.read_bytes()
    flipped = [
        whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        for place in (40, len(whole) // 2, len(whole) - 1)
    ]
    for content in (b"", whole[:-5], *flipped):
        kept.write_bytes(content)
        with pytest.raises(InputError, match=r"64-2\.safetensors: the kept module is damaged; delete the file"):
            Detector(**options).fit(good_arrays, workspace=tmp_path)
    kept.write_bytes(whole)
    Detector(**options).fit(good_arrays, workspace=tmp_path, report=lambda progress: pytest.fail("it was kept"))


def test_a_kept_module_of_another_size_is_refused(short, good_arrays, tmp_path):
    options = {"sizes": (64, 96), "levels": (2,)}
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "96-2.safetensors").write_bytes((folder / "64-2.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"96-2\.safetensors: the kept module is damaged"):
        Detector(**options).fit(good_arrays, workspace=tmp_path)


def test_features_in_a_temporary_file_train_the_same_model_and_leave_nothing(short, good_arrays, tmp_path, monkeypatch):
    options = {"sizes": (64,), "levels": (2, 3)}
    in_memory = modules_of(Detector(**options).fit(good_arrays))
    monkeypatch.setattr("blemish.method.learning.features.RAM_FOR_FEATURES", 1 << 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    on_disk = modules_of(Detector(**options).fit(good_arrays))
    assert all(torch.equal(in_memory[key], on_disk[key]) for key in in_memory)
    assert not list(tmp_path.iterdir())


def test_the_paper_recipe_and_score_fit_too(good_arrays, monkeypatch):
    import dataclasses

    from blemish.method.learning import training

    monkeypatch.setitem(training.RECIPES, "paper", dataclasses.replace(training.RECIPES["paper"], epochs=2))
    detector = Detector(sizes=(64,), levels=(2,), recipe="paper", score="paper").fit(good_arrays)
    (score_map,) = detector.score_maps(good_arrays[0])
    assert 0 <= score_map.min() <= score_map.max() <= 1
    assert detector.header_.recipe["optimiser"] == "sgd"
    assert [module.weight for module in detector.header_.modules] == [1.0]


def test_another_teacher_fits_from_a_file_of_weights(short, good_arrays, tmp_path):
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18", pretrained=False).state_dict(), tmp_path / "weights.pth")
    options = {"sizes": (64,), "levels": (2, 5), "teacher": "resnet18", "weights": tmp_path / "weights.pth"}
    detector = Detector(**options).fit(good_arrays)
    detector.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors", weights=tmp_path / "weights.pth")
    assert np.array_equal(loaded.score_maps(good_arrays[:1])[0], detector.score_maps(good_arrays[:1])[0])


def test_numpys_numbers_give_the_same_model_and_a_header(short, good_arrays, tmp_path):
    plain = Detector(sizes=(64,), levels=(2,), seed=3).fit(good_arrays)
    found = Detector(sizes=np.array([64]), levels=np.array([2]), seed=np.int64(3)).fit(good_arrays, workspace=tmp_path)
    assert modules_of(found).keys() == modules_of(plain).keys()
    assert all(torch.equal(tensor, modules_of(plain)[key]) for key, tensor in modules_of(found).items())
    assert (found.header_.sizes, found.header_.seed) == ([64], 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": 64}, "sizes: 64 is not allowed, expected one or more different multiples of 32 from 64 to 1024"),
        ({"levels": (2.0,)}, r"levels: \[2.0\] is not allowed, expected one or more different of 2, 3, 4, 5"),
        ({"recipe": "slow"}, "recipe: slow is not allowed"),
        ({"score": "best"}, "score: best is not allowed, expected memory, whitened or paper"),
        ({"seed": True}, "seed: True is not allowed, expected a whole number from 0 to 4294967295"),
        ({"teacher": "vgg"}, "teacher: vgg is not allowed"),
        ({"device": "tpu"}, "device: tpu is not allowed, expected auto, cpu or cuda"),
    ],
)
def test_wrong_arguments_are_named(good_arrays, options, message):
    with pytest.raises(InputError, match=message):
        Detector(**options).fit(good_arrays)


def test_too_few_images_are_counted(good_arrays):
    with pytest.raises(InputError, match="need >= "):
        Detector().fit(good_arrays[:3])


def test_all_bad_images_are_counted_before_training(good_arrays, tmp_path):
    for index, picture in enumerate(good_arrays):
        Image.fromarray(picture).save(tmp_path / f"{index:02}.png")
    (tmp_path / "03.png").write_bytes(b"")
    (tmp_path / "07.png").write_bytes(b"no image at all")
    with pytest.raises(InputError, match=r"03\.png.*\(and 1 more images that cannot be used\)"):
        Detector().fit(tmp_path)


def test_black_images_are_learnt_without_a_number_that_is_not_finite(short):
    black = [np.full((64, 64), value, np.uint8) for value in range(8)]
    detector = Detector(sizes=(64,), levels=(2,)).fit(black)
    assert all(bool(tensor.isfinite().all()) for tensor in modules_of(detector).values())
    assert np.isfinite(detector.score_maps(black[0])[0]).all()
