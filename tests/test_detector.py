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
from blemish.data.datasets import test_samples as samples_of
from blemish.errors import InputError, ModelFileError
from blemish.evaluation.metrics import pixel_metrics
from blemish.images.masks import read_mask
from blemish.images.read import read_image
from blemish.images.resize import resize_map
from blemish.model import file as modelfile
from blemish.runtime import Runtime


def test_the_public_names_are_there_and_no_others():
    assert set(blemish.__all__) == {"BlemishError", "Detector", "Labels", "Prediction", "__version__"}
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
        assert prediction.verdict == detector.thresholds_.verdict(prediction.score)
        assert bool(prediction.regions) == (prediction.verdict != "OK")
        assert max((region.peak for region in prediction.regions), default=prediction.score) == prediction.score
        assert sum(region.area for region in prediction.regions) == prediction.inside.sum()


def test_maps_are_stretched_to_the_shape_of_the_image(detector, good_arrays):
    wide = np.repeat(good_arrays[0], 3, axis=1)
    ((source, image, reference),) = detector.references(wide)
    assert source is wide
    assert image.shape == (64, 192, 3)
    assert reference.map.shape == (128, 128)
    (prediction,) = detector.predict(wide)
    assert prediction.path is None
    assert prediction.score == reference.score()
    assert np.array_equal(prediction.score_map, resize_map(reference.map, 64, 192))


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


def test_scikit_learn_can_clone_a_detector_and_set_its_arguments(detector):
    from sklearn.base import clone

    given = {"sizes": (96,), "levels": [2], "teacher": "resnet18", "weights": Path("w.pth"), "recipe": "quick",
             "score": "paper", "seed": 5, "device": "cpu", "bits": 12,
             "min_area": 0.002, "tiles": (500, 0.25)}  # fmt: skip
    assert clone(Detector(**given)).get_params() == given
    copied = clone(detector)
    assert (copied.sizes, copied.levels, copied.seed) == ((64, 128), (2, 3), 1)
    with pytest.raises(InputError, match="not fitted yet"):
        copied.thresholds_  # noqa: B018
    assert copied.set_params(seed=4, levels=(3,)) is copied
    assert (copied.seed, copied.levels, copied.sizes) == (4, (3,), (64, 128))
    with pytest.raises(InputError, match=r"^parameter sead is not known; known: sizes, levels, teacher, weights, "):
        copied.set_params(seed=9, sead=3)
    assert copied.seed == 4


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
    with pytest.raises(InputError, match="expected paths, numpy arrays and pictures of PIL"):
        Detector.load(model).predict([3])
    with pytest.raises(InputError, match="no such file"):
        Detector.load(tmp_path / "none.safetensors")


def test_saving_where_nothing_can_be_written(detector, tmp_path):
    with pytest.raises(BlemishError, match="cannot be written"):
        detector.save(tmp_path / "missing" / "m.safetensors")
    assert not os.listdir(tmp_path)


def test_an_empty_path_is_not_the_working_folder(detector, bundle, brick, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = Detector(sizes=(64,), levels=(2,))
    for name, action in {
        "images": lambda: teacher.fit(""),
        " images": lambda: teacher.fit([brick / "train" / "good", ""]),
        "  images": lambda: detector.predict(""),
        "   images": lambda: Runtime.load(bundle).predict([""]),
        "workspace": lambda: teacher.fit(brick, workspace=""),
        "weights": lambda: Detector(weights="").fit(brick),
        "path": lambda: Detector.load(""),
        " path": lambda: detector.save(""),
        " weights": lambda: Detector.load(model, weights=""),
        "labelled": lambda: detector.weigh("", good=brick),
        "out": lambda: detector.export("", to="onnx"),
        " labelled": lambda: detector.export("b", to="onnx", labelled=""),
        "folder": lambda: Runtime.load(""),
    }.items():
        with pytest.raises(InputError) as caught:
            action()
        assert str(caught.value) == f"{name.strip()}: empty path; name a file or a folder"
    assert os.listdir() == []
