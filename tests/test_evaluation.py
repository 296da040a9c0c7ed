"""Evaluation: the figures are those of the metrics on these very maps, and the counts are right."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from blemish.datasets import fingerprints
from blemish.errors import InputError, StorageError
from blemish.evaluation import evaluate, save
from blemish.metrics import image_metrics, pixel_metrics
from blemish.modelfile import CalibrationPart, DataPart, Header, ModulePart, PreprocessingPart, TeacherPart
from blemish.pyramid import load

SIDE = 32


def header(*, threshold=0.9, train=(), held_out=()):
    return Header(
        blemish="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        teacher=TeacherPart(name="tf_efficientnet_lite0", sha256="a" * 64, embedded=False),
        sizes=[64],
        reference_size=64,
        modules=[ModulePart(size=64, level=2, weight=0.25), ModulePart(size=64, level=3, weight=0.75)],
        recipe={"name": "fast"},
        seed=3,
        score="whitened",
        preprocessing=PreprocessingPart(mean=[0.5] * 3, std=[0.5] * 3),
        calibration=CalibrationPart(held_out=9, threshold=threshold, false_alarm_rate=0.1),
        data=DataPart(train=list(train), held_out=list(held_out)),
        libraries={},
    )


class Stub:
    """A detector whose score map, at the reference size, is the image's first channel over 255, shrunk if need be."""

    def __init__(self, **settings):
        self.header_ = header(**settings)
        self.threshold_ = self.header_.calibration.threshold

    def reference_maps(self, paths):
        for path in paths:
            image = load(path)
            picture = Image.fromarray(image[..., 0]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            yield path, image, np.asarray(picture, np.float32) / 255


def paint(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def part(tmp_path):
    """A category with 3 good images, 2 scratches and 1 dot, all noise, brighter where it is defective."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "part"
    (folder / "train" / "good").mkdir(parents=True)
    for label, count in (("good", 3), ("scratch", 2), ("dot", 1)):
        for index in range(count):
            pixels = rng.integers(0, 190 + 5 * index, (SIDE, SIDE), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), bool)
            if label == "scratch":
                mask[4 + index : 7, 2:20] = True
                mask[20:23, 5:9] = True
            elif label == "dot":
                mask[9, 9] = True
            pixels[mask] = np.minimum(pixels[mask] + 70, 255)
            paint(folder / "test" / label / f"{index}.png", pixels)
            if label != "good":
                paint(folder / "ground_truth" / label / f"{index}_mask.png", mask.astype(np.uint8) * 255)
    return folder


def maps_and_masks(folder, *labels):
    maps, masks = [], []
    for label in labels:
        for path in sorted((folder / "test" / label).iterdir()):
            maps.append(np.array(Image.open(path), np.float32) / 255)
            mask = folder / "ground_truth" / label / f"{path.stem}_mask.png"
            masks.append(np.array(Image.open(mask)) > 0 if mask.exists() else np.zeros((SIDE, SIDE), bool))
    return maps, masks


def test_figures_are_those_of_the_maps(part):
    result = evaluate(Stub(), part, resolution=SIDE)
    assert list(result["types"]) == ["dot", "scratch"]
    rows = {"overall": ("dot", "good", "scratch"), "scratch": ("good", "scratch"), "dot": ("good", "dot")}
    for name, labels in rows.items():
        figures = result["overall"] if name == "overall" else result["types"][name]
        maps, masks = maps_and_masks(part, *labels)
        pixels, truth = np.concatenate(maps).ravel(), np.concatenate(masks).ravel()
        assert figures["pixel_auroc"] == pytest.approx(roc_auc_score(truth, pixels))
        assert figures["pixel_ap"] == pytest.approx(average_precision_score(truth, pixels))
        assert figures["aupro"] == pixel_metrics(maps, masks)["aupro"]
        scores, defective = [scores.max() for scores in maps], [bool(mask.any()) for mask in masks]
        assert figures["image_auroc"] == pytest.approx(roc_auc_score(defective, scores))
        assert figures["image_ap"] == image_metrics(scores, defective)["image_ap"]
        assert figures["undefined"] == {}
    keys = {
        "pixel_auroc", "aupro", "image_auroc", "pixel_ap", "pixel_f1_max", "pixel_f1_threshold", "image_ap",
        "image_f1_max", "regions", "regions_lost", "pixels", "defect_pixels", "images", "good", "found",
        "false_alarms", "undefined",
    }  # fmt: skip
    assert set(result["overall"]) == set(result["types"]["dot"]) == keys


@pytest.mark.parametrize("at", range(6))
def test_verdicts_are_counted_at_the_models_threshold(part, at):
    maps, masks = maps_and_masks(part, "good", "scratch", "dot")
    scores = [float(scores.max()) for scores in maps]
    threshold = scores[at]  # that image is at, not above, the threshold
    result = evaluate(Stub(threshold=threshold), part, resolution=SIDE)
    above = [score > threshold for score in scores]
    assert result["overall"]["false_alarms"] == sum(above[:3])
    assert result["overall"]["found"] == sum(above[3:])
    assert result["types"]["scratch"]["found"] == sum(above[3:5])
    assert result["types"]["scratch"]["false_alarms"] == sum(above[:3])
    assert (result["types"]["dot"]["images"], result["types"]["dot"]["good"]) == (4, 3)
    assert (result["images"], result["good"], result["regions"]) == (6, 3, sum(mask.any() for mask in masks) * 2 - 1)


def test_a_region_that_the_resolution_loses_is_counted(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10, 10] = 255  # even: the nearest neighbour of no pixel at half the side
    mask[21, 21] = 255  # odd: kept
    mask[30, 30] = mask[31, 31] = 255  # one region, kept by its second pixel
    mask[40:44, 40:44] = 255
    paint(tmp_path / "test" / "dots" / "a.png", np.full((64, 64), 90, np.uint8))
    paint(tmp_path / "ground_truth" / "dots" / "a.png", mask)
    small = evaluate(Stub(), tmp_path, resolution=32)
    assert (small["regions"], small["regions_lost"]) == (3, 1)
    assert small["types"]["dots"]["regions_lost"] == 1
    full = evaluate(Stub(), tmp_path, resolution=None)
    assert (full["regions"], full["regions_lost"], full["resolution"]) == (4, 0, "original")
    assert (small["resolution"], small["empty_masks"]) == (32, [])
    assert full["overall"]["pixels"] == 64 * 64
    assert small["overall"]["pixels"] == 32 * 32
    assert small["overall"]["defect_pixels"] == 1 + 1 + 4


def test_a_mask_that_the_resolution_empties_is_not_called_empty(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10, 10] = 255
    paint(tmp_path / "test" / "dot" / "a.png", np.full((64, 64), 90, np.uint8))
    paint(tmp_path / "ground_truth" / "dot" / "a.png", mask)
    result = evaluate(Stub(), tmp_path, resolution=32)
    assert (result["regions"], result["regions_lost"], result["empty_masks"]) == (0, 1, [])


def test_the_images_own_resolution_need_not_be_square(tmp_path):
    pixels = np.full((40, 96), 10, np.uint8)
    pixels[20:23] = 250
    paint(tmp_path / "test" / "half" / "a.png", pixels)
    paint(tmp_path / "ground_truth" / "half" / "a.png", (pixels > 100).astype(np.uint8))
    result = evaluate(Stub(), tmp_path, resolution=None)["overall"]
    assert (result["pixels"], result["defect_pixels"]) == (40 * 96, 3 * 96)
    assert result["pixel_auroc"] > 0.95  # the map comes from 32 rows
    assert evaluate(Stub(), tmp_path)["overall"]["pixels"] == 256 * 256


def test_what_is_undefined_is_null_with_its_reason(part, tmp_path):
    for path in (part / "test" / "good").iterdir():
        path.unlink()
    result = evaluate(Stub(), part, resolution=SIDE)["overall"]
    assert result["image_auroc"] is None
    assert result["undefined"] == dict.fromkeys(("image_auroc", "image_ap", "image_f1_max"), "no good image")
    paint(tmp_path / "fine" / "test" / "good" / "a.png", np.full((SIDE, SIDE), 9, np.uint8))
    result = evaluate(Stub(), tmp_path / "fine")
    assert (result["overall"]["aupro"], result["overall"]["image_auroc"], result["types"]) == (None, None, {})
    assert result["overall"]["undefined"]["aupro"] == "no defect pixel"
    assert result["overall"]["undefined"]["image_auroc"] == "no anomalous image"


def test_a_defective_image_with_an_empty_mask_is_named(part):
    paint(part / "ground_truth" / "dot" / "0_mask.png", np.zeros((SIDE, SIDE), np.uint8))
    result = evaluate(Stub(), part, resolution=SIDE)
    assert result["empty_masks"] == ["test/dot/0.png"]
    assert result["types"]["dot"]["undefined"]["aupro"] == "no defect pixel"
    assert result["types"]["dot"]["image_auroc"] is not None
    assert result["overall"]["regions"] == 4


def test_images_that_the_model_knows_are_named(part):
    known = fingerprints([part / "test" / "good" / "1.png", part / "test" / "dot" / "0.png"])
    result = evaluate(Stub(train=known[:1], held_out=known[1:]), part, resolution=SIDE)
    assert result["seen"] == ["test/dot/0.png", "test/good/1.png"]
    assert evaluate(Stub(), part, resolution=SIDE)["seen"] == []


def test_types_of_several_categories_are_kept_apart(part, tmp_path):
    (part.rename(tmp_path / "one"), (tmp_path / "two" / "train" / "good").mkdir(parents=True))
    for name in ("test", "ground_truth"):
        for path in sorted((tmp_path / "one" / name / "scratch").iterdir()):
            copy = tmp_path / "two" / name / "scratch" / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    result = evaluate(Stub(), tmp_path, resolution=SIDE)
    assert list(result["types"]) == ["one/dot", "one/scratch", "two/scratch"]
    assert result["types"]["two/scratch"]["images"] == 5


def test_the_model_is_identified_and_progress_told(part):
    told = []
    result = evaluate(Stub(), part, resolution=SIDE, report=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]
    assert result["data"] == part.as_posix()
    assert result["model"] == {
        "blemish": "0.1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "teacher": "tf_efficientnet_lite0",
        "teacher_sha256": "a" * 64,
        "modules": ["64/2", "64/3"],
        "recipe": "fast",
        "seed": 3,
        "score": "whitened",
        "threshold": 0.9,
        "held_out": 9,
    }


def test_an_evaluation_is_saved_as_strict_json(part, tmp_path):
    result = evaluate(Stub(), part, resolution=SIDE)
    save(tmp_path / "e.json", result)
    assert json.loads((tmp_path / "e.json").read_text(), parse_constant=pytest.fail) == result
    with pytest.raises(StorageError, match=r"missing/e.json: cannot be written: no such file or directory"):
        save(tmp_path / "missing" / "e.json", result)


@pytest.mark.parametrize("resolution", [0, 31, -256, 5000])
def test_a_resolution_out_of_range_is_refused(part, resolution):
    with pytest.raises(InputError, match=rf"^resolution: {resolution} is not allowed, expected 32 to 4096"):
        evaluate(Stub(), part, resolution=resolution)


def test_a_score_that_is_not_finite_names_the_image(part):
    broken = SimpleNamespace(header_=header(), threshold_=0.5)
    broken.reference_maps = lambda paths: (
        (path, load(path), np.full((SIDE, SIDE), np.nan if path.stem == "2" else 0.5, np.float32)) for path in paths
    )
    with pytest.raises(InputError, match=r"^test/good/2.png: 1024 of 1024 scores are NaN"):
        evaluate(broken, part, resolution=SIDE)
