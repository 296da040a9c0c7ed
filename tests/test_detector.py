"""Fit, predict, save and load as a user does it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from safetensors import safe_open

import blemish
from blemish import BlemishError, Detector, Prediction
from blemish.data.copies import thumbnail
from blemish.data.datasets import test_samples as samples_of
from blemish.data.samples import fingerprints
from blemish.errors import InputError, ModelFileError
from blemish.evaluation.metrics import pixel_metrics
from blemish.images.read import read_image, read_mask
from blemish.images.resize import resize_map
from blemish.model import file as modelfile
from blemish.verdict.regions import regions
from blemish.verdict.scale import image_score


class Stop(Exception):
    """Stands for a kill in the middle of training."""


def modules_of(detector):
    return {
        f"{module.name} {key}": tensor for module in detector.modules_ for key, tensor in module.state_dict().items()
    }


def test_the_public_names_are_there_and_no_others():
    assert set(blemish.__all__) == {"BlemishError", "Detector", "Prediction", "__version__"}
    assert all(hasattr(blemish, name) for name in blemish.__all__)
    assert issubclass(InputError, BlemishError)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        blemish.Nothing  # noqa: B018


def test_a_painted_defect_is_found(detector, brick):
    samples = samples_of(brick)
    maps = detector.score_maps([sample.path for sample in samples])
    masks = [
        read_mask(sample.mask_paths[0]) if sample.mask_paths else np.zeros(score_map.shape, bool)
        for sample, score_map in zip(samples, maps, strict=True)
    ]
    assert pixel_metrics(maps, masks)["pixel_auroc"] > 0.95


def test_predictions_hang_together(detector, brick):
    paths = [sample.path for sample in samples_of(brick)][::3]
    for path, prediction in zip(paths, detector.predict(paths), strict=True):
        assert isinstance(prediction, Prediction)
        assert prediction.path == path
        assert prediction.score_map.shape == read_image(path).shape[:2]
        assert prediction.score_map.dtype == np.float32
        assert 0 <= prediction.score_map.min() <= prediction.score_map.max() <= 1
        assert prediction.verdict == ("NG" if prediction.score > detector.threshold_ else "OK")
        assert prediction.regions == regions(prediction.score_map, detector.threshold_)


def test_maps_are_stretched_to_the_shape_of_the_image(detector, good_arrays):
    wide = np.repeat(good_arrays[0], 3, axis=1)
    ((source, image, reference),) = detector.reference_maps(wide)
    assert source is wide
    assert image.shape == (64, 192, 3)
    assert reference.shape == (128, 128)
    (prediction,) = detector.predict(wide)
    assert prediction.path is None
    assert prediction.score == image_score(reference)
    assert np.array_equal(prediction.score_map, resize_map(reference, 64, 192))


def test_a_defect_lies_where_it_was_painted_whatever_the_aspect(detector, brick):
    """Squashing to the square moves nothing: the peak of the map is inside the painted hole, in a 2 : 1 picture too."""
    sample = next(sample for sample in samples_of(brick) if sample.label == "hole")
    picture = Image.open(sample.path).resize((384, 192))
    mask = np.asarray(Image.open(sample.mask_paths[0]).resize((384, 192), Image.Resampling.NEAREST)) > 0
    (score_map,) = detector.score_maps(np.array(picture))
    grown = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(9))
    assert np.asarray(grown)[np.unravel_index(score_map.argmax(), score_map.shape)]


def test_files_folders_and_arrays_give_the_same_maps(detector, brick):
    folder = brick / "test" / "good"
    paths = sorted(folder.iterdir())
    one = detector.score_maps(folder)
    two = detector.score_maps([str(path) for path in paths])
    three = detector.score_maps([np.array(Image.open(path)) for path in paths])
    for a, b, c in zip(one, two, three, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_a_map_does_not_depend_on_its_company(detector, brick):
    paths = sorted((brick / "test" / "good").iterdir())
    together = detector.score_maps(paths)
    alone = [detector.score_maps(path)[0] for path in paths]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(together, alone, strict=True))


def test_loaded_in_a_new_process_it_gives_bit_equal_maps(detector, model, brick, tmp_path):
    paths = [str(path) for path in sorted((brick / "test" / "hole").iterdir())]
    program = (
        "import sys, numpy, torch; from blemish import Detector; torch.set_num_threads(int(sys.argv[1]));"
        "numpy.savez(sys.argv[2], *Detector.load(sys.argv[3]).score_maps(sys.argv[4:]))"
    )
    arguments = [str(torch.get_num_threads()), str(tmp_path / "maps.npz"), str(model), *paths]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True)
    loaded = np.load(tmp_path / "maps.npz")
    for index, expected in enumerate(detector.score_maps(paths)):
        assert np.array_equal(loaded[f"arr_{index}"], expected)


def test_an_embedded_teacher_needs_no_weights(detector, brick, tmp_path, monkeypatch):
    path = tmp_path / "own.safetensors"
    detector.save(path, embed_teacher=True)
    monkeypatch.setattr("blemish.method.pretrained.read_weights", lambda *_: pytest.fail("weights were looked for"))
    loaded = Detector.load(path)
    assert loaded.header_.teacher.embedded
    image = next((brick / "test" / "hole").iterdir())
    assert np.array_equal(loaded.score_maps(image)[0], detector.score_maps(image)[0])
    with safe_open(path, "numpy") as file:
        assert not any(key.startswith("teacher/3") for key in file.keys())  # level 4 is not needed  # noqa: SIM118


def test_loaded_and_saved_again_the_file_is_the_same(model, tmp_path):
    Detector.load(model).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == model.read_bytes()


def test_another_teacher_than_the_models_is_refused(model, tmp_path):
    from blemish.method.pretrained import read_weights

    state = read_weights("tf_efficientnet_lite0")
    state["conv_stem.weight"] = state["conv_stem.weight"] + 1e-3
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match="teacher hash differs"):
        Detector.load(model, weights=tmp_path / "other.pth")


def test_a_folder_in_the_layout_of_mvtec_stands_for_its_good_images(short, brick):
    options = {"sizes": (64,), "levels": (2,)}
    train, kept = (sorted((brick / part / "good").iterdir()) for part in ("train", "validation"))
    whole = Detector(**options).fit(brick).header_
    assert [image.sha256 for image in whole.data.train] == sorted(fingerprints(train))
    assert [image.sha256 for image in whole.data.held_out] == sorted(fingerprints(kept))
    small = dict(zip(fingerprints(kept), (thumbnail(read_image(path)) for path in kept), strict=True))
    assert {image.sha256: image.thumbnail for image in whole.data.held_out} == small
    assert (whole.data.weighed, whole.data.tested, whole.weighing) == ([], [], None)
    assert whole.calibration.false_alarm_rate == pytest.approx(1 / (len(kept) + 1))
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
    hashes = fingerprints(sorted(tmp_path.glob("*.png")))
    assert [image.sha256 for image in data.train] == sorted(hashes[:7])
    assert [image.sha256 for image in data.held_out] == sorted(hashes[7:10])


def test_an_empty_folder_is_named(detector, tmp_path):
    with pytest.raises(InputError, match="no images found in "):
        detector.predict(tmp_path)


def test_copies_of_an_image_are_no_further_evidence(short, good_arrays):
    header = Detector(sizes=(64,), levels=(2,)).fit(good_arrays * 5).header_
    assert header.calibration.held_out == len(header.data.held_out) == 2
    assert header.calibration.false_alarm_rate == pytest.approx(1 / 3)


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
    assert 0 < detector.threshold_ < 1
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
    assert len(header.data.held_out) == header.calibration.held_out == 6
    assert header.calibration.false_alarm_rate == pytest.approx(1 / 7)
    assert header.recipe["steps"] == 120
    assert set(header.libraries) == {"numpy", "pillow", "safetensors", "timm", "torch"}


def test_the_threshold_is_the_highest_score_of_the_held_out_images(detector, brick):
    paths = sorted((brick / "train" / "good").iterdir())
    hashes = dict(zip(fingerprints(paths), paths, strict=True))
    held = [hashes[image.sha256] for image in detector.header_.data.held_out]
    highest = max(prediction.score for prediction in detector.predict(held))
    assert highest == pytest.approx(detector.threshold_, abs=1e-6)


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
    both = modules_of(Detector(sizes=(64,), levels=(2, 3)).fit(good_arrays))
    alone = modules_of(Detector(sizes=(64,), levels=(3,)).fit(good_arrays))
    assert all(torch.equal(both[key], alone[key]) for key in alone)


@pytest.mark.parametrize("killed_in", [1, 2, 3, 4])
def test_an_interrupted_fit_continues_and_ends_with_the_same_model(short, good_arrays, tmp_path, killed_in):
    options = {"sizes": (64, 96), "levels": (2, 3)}
    expected = modules_of(Detector(**options).fit(good_arrays))

    def kill(progress):
        if progress.index == killed_in:
            raise Stop

    with pytest.raises(Stop):
        Detector(**options).fit(good_arrays, workspace=tmp_path, report=kill)
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == killed_in - 1
    trained = []
    resumed = Detector(**options).fit(good_arrays, workspace=tmp_path, report=trained.append)
    assert {progress.index for progress in trained} == set(range(killed_in, 5))
    found = modules_of(resumed)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_run_that_differs_does_not_continue_another(short, good_arrays, tmp_path):
    Detector(sizes=(64,), levels=(2,), seed=0).fit(good_arrays, workspace=tmp_path)
    trained = []
    Detector(sizes=(64,), levels=(2,), seed=1).fit(good_arrays, workspace=tmp_path, report=trained.append)
    assert trained
    assert len(list(tmp_path.iterdir())) == 2


def test_images_in_another_order_do_not_continue_a_run(short, good_arrays, tmp_path):
    """Batches are drawn by position: renamed files give another model, so what is kept must not be taken up."""
    options = {"sizes": (64,), "levels": (2,)}
    expected = modules_of(Detector(**options).fit(good_arrays[::-1]))
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    found = modules_of(Detector(**options).fit(good_arrays[::-1], workspace=tmp_path))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("change", [{"weight_decay": 0.3}, {"warm_divisor": 2.0}])
def test_a_recipe_that_differs_does_not_continue_a_run(short, good_arrays, tmp_path, monkeypatch, change):
    import dataclasses

    from blemish.method import training

    Detector(sizes=(64,), levels=(2,)).fit(good_arrays, workspace=tmp_path)
    monkeypatch.setitem(training.RECIPES, "fast", dataclasses.replace(short, **change))
    Detector(sizes=(64,), levels=(2,)).fit(good_arrays, workspace=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_kept_module_is_named(short, good_arrays, tmp_path):
    options = {"sizes": (64,), "levels": (2,)}
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    (kept,) = tmp_path.glob("*/*.safetensors")
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
    monkeypatch.setattr("blemish.method.features.RAM_FOR_FEATURES", 1 << 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    on_disk = modules_of(Detector(**options).fit(good_arrays))
    assert all(torch.equal(in_memory[key], on_disk[key]) for key in in_memory)
    assert not list(tmp_path.iterdir())


def test_the_paper_recipe_and_score_fit_too(good_arrays, monkeypatch):
    import dataclasses

    from blemish.method import training

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


def test_scikit_learn_can_clone_a_detector_and_set_its_arguments(detector):
    from sklearn.base import clone

    given = {"sizes": (96,), "levels": [2], "teacher": "resnet18", "weights": Path("w.pth"), "recipe": "quick",
             "score": "paper", "seed": 5, "device": "cpu"}  # fmt: skip
    assert clone(Detector(**given)).get_params() == given
    copied = clone(detector)
    assert (copied.sizes, copied.levels, copied.seed) == ((64, 128), (2, 3), 1)
    with pytest.raises(InputError, match="not fitted yet"):
        copied.threshold_  # noqa: B018
    assert copied.set_params(seed=4, levels=(3,)) is copied
    assert (copied.seed, copied.levels, copied.sizes) == (4, (3,), (64, 128))
    with pytest.raises(InputError, match=r"^parameter sead is not known; known: sizes, levels, teacher, weights, "):
        copied.set_params(seed=9, sead=3)
    assert copied.seed == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": 64}, "sizes: 64 is not allowed, expected one or more different multiples of 32 from 64 to 1024"),
        ({"levels": (2.0,)}, r"levels: \[2.0\] is not allowed, expected one or more different of 2, 3, 4, 5"),
        ({"recipe": "slow"}, "recipe slow is not known"),
        ({"score": "best"}, "score: best is not allowed, expected whitened or paper"),
        ({"seed": True}, "seed: True is not allowed, expected a whole number from 0 to 4294967295"),
        ({"teacher": "vgg"}, "teacher vgg is not known"),
        ({"device": "tpu"}, "device: tpu is not allowed, expected auto, cpu or cuda"),
    ],
)
def test_wrong_arguments_are_named(good_arrays, options, message):
    with pytest.raises(InputError, match=message):
        Detector(**options).fit(good_arrays)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(good_arrays):
    with pytest.raises(InputError, match="no CUDA GPU is available here; use --device cpu"):
        Detector(device="cuda").fit(good_arrays)


def test_a_model_whose_preprocessing_was_changed_is_refused(model, tmp_path):
    header, tensors = modelfile.load(model)
    other = header.preprocessing.model_copy(update={"std": [0.5, 0.5, 0.25]})
    modelfile.save(tmp_path / "m", header.model_copy(update={"preprocessing": other}), tensors)
    with pytest.raises(
        ModelFileError, match=r"m: header field preprocessing: .* std \[0\.5, 0\.5, 0\.25\], but tf_eff"
    ):
        Detector.load(tmp_path / "m")


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


def test_grey_and_the_same_in_colour_score_the_same(detector, good_arrays):
    grey = good_arrays[0]
    colour = np.repeat(grey[:, :, None], 3, axis=2)
    deep = grey.astype(np.uint16) * 257
    maps = [detector.score_maps(image)[0] for image in (grey, colour, deep)]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_unfitted_and_unreadable(tmp_path, model):
    with pytest.raises(InputError, match="not fitted yet"):
        Detector().predict(np.zeros((64, 64), np.uint8))
    with pytest.raises(InputError, match="expected paths and numpy arrays"):
        Detector.load(model).predict([3])
    with pytest.raises(InputError, match="no such file"):
        Detector.load(tmp_path / "none.safetensors")


def test_saving_where_nothing_can_be_written(detector, tmp_path):
    with pytest.raises(BlemishError, match="cannot be written"):
        detector.save(tmp_path / "missing" / "m.safetensors")
    assert not os.listdir(tmp_path)
