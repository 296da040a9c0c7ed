"""Evaluation: the figures are those of the metrics on these very maps, and the counts are right."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from blemish.data.records import ImagePart
from blemish.data.sources import identify, load
from blemish.errors import InputError, StorageError
from blemish.evaluation.evaluate import choose, evaluate, measure, save
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.model.header import (
    WeighingPart,
)
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Thresholds
from evaluating import SIDE, Stub, header, maps_and_masks, paint, part  # noqa: F401


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
        "image_f1_max", "regions", "regions_lost", "pixels", "defect_pixels", "images", "good", "without_masks",
        "found", "found_ng", "found_masked", "on_defect", "recall", "false_alarms", "false_ng", "undefined",
    }  # fmt: skip
    assert set(result["overall"]) == set(result["types"]["dot"]) == keys


def test_both_thresholds_are_counted(part):
    maps, _ = maps_and_masks(part, "good", "scratch", "dot")
    scores = [float(scores.max()) for scores in maps]
    review, ng = sorted(scores)[1], sorted(scores)[3]
    good = (0.1, 0.2, review, ng + 0.01)
    result = evaluate(Stub(review=review, ng=ng, scores=good), part, resolution=SIDE)
    for figures, defects in ((result["overall"], scores[3:]), (result["types"]["scratch"], scores[3:5])):
        assert figures["found"] == sum(score > review for score in defects)
        assert figures["found_ng"] == sum(score > ng for score in defects)
        assert figures["recall"] == figures["found"] / len(defects)
        assert figures["false_alarms"] == sum(score > review for score in scores[:3])
        assert figures["false_ng"] == sum(score > ng for score in scores[:3])
    assert result["overall"]["found_ng"] + result["overall"]["false_ng"] == 2
    assert result["overall"]["found"] + result["overall"]["false_alarms"] == 4
    assert result["model"]["thresholds"] == {"review": review, "ng": ng}
    # One of the four lies above either threshold, so that each promises 2 of 5.
    assert result["model"]["promises"] == [{"verdict": "REVIEW", "rate": 2 / 5}, {"verdict": "NG", "rate": 2 / 5}]


@pytest.mark.parametrize("at", range(6))
def test_verdicts_are_counted_at_the_models_threshold(part, at):
    maps, masks = maps_and_masks(part, "good", "scratch", "dot")
    scores = [float(scores.max()) for scores in maps]
    threshold = scores[at]  # that image is at, not above, the threshold
    result = evaluate(Stub(review=threshold), part, resolution=SIDE)
    above = [score > threshold for score in scores]
    assert result["overall"]["false_ng"] == result["overall"]["false_alarms"]
    assert result["overall"]["found_ng"] == result["overall"]["found"]
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
    assert (small["resolution"], small["doubtful_masks"]) == (32, {})
    assert full["overall"]["pixels"] == 64 * 64
    assert small["overall"]["pixels"] == 32 * 32
    assert small["overall"]["defect_pixels"] == 1 + 1 + 4


def test_a_mask_that_the_resolution_empties_is_not_called_empty(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10, 10] = 255
    paint(tmp_path / "test" / "dot" / "a.png", np.full((64, 64), 90, np.uint8))
    paint(tmp_path / "ground_truth" / "dot" / "a.png", mask)
    result = evaluate(Stub(), tmp_path, resolution=32)
    assert (result["regions"], result["regions_lost"], result["doubtful_masks"]) == (0, 1, {})


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
    assert result["doubtful_masks"] == {"empty": ["test/dot/0.png"]}
    assert result["types"]["dot"]["undefined"]["aupro"] == "no defect pixel"
    assert result["types"]["dot"]["image_auroc"] is not None
    assert result["overall"]["regions"] == 4


def resaved(path, out):
    """The picture of a file, brighter by one level, in another file."""
    pixels = np.array(Image.open(path)).astype(int) + 1
    paint(out, np.minimum(pixels, 255).astype(np.uint8))
    return out


@pytest.fixture
def met(part, tmp_path):
    """What a model that has met 4 of the 6 test images knows of them: as files, and as near copies."""
    folder = part / "test"
    near = [resaved(folder / name, tmp_path / "near" / name) for name in ("good/2.png", "scratch/0.png")]
    known = identify([folder / "good" / "1.png", folder / "dot" / "0.png", *near])
    return {"train": [known[0]], "held_out": [known[1], known[2]], "weighed": [known[3]]}


def test_images_that_the_model_has_met_stop_an_evaluation(part, met):
    calls = []
    stub = Stub(**met)
    stub.references = calls.append
    with pytest.raises(InputError) as caught:
        evaluate(stub, part, resolution=SIDE)
    assert str(caught.value) == (
        f"{part}: the model has met 4 of 6 test images before: 1 trained (same picture), such as test/good/1.png; "
        "1 held out (same picture), such as test/dot/0.png; 1 held out (near copy), such as test/good/2.png; "
        "1 weighed (near copy), such as test/scratch/0.png "
        "(--used skip leaves them out, --used include keeps them)"
    )
    assert not calls  # before anything is scored


def test_images_that_the_model_has_met_are_left_out(part, met):
    result = evaluate(Stub(**met), part, resolution=SIDE, used="skip")
    assert (result["images"], result["good"], list(result["types"])) == (2, 1, ["scratch"])
    maps, masks = ([one[index] for index in (0, 4)] for one in maps_and_masks(part, "good", "scratch", "dot"))
    assert result["overall"]["pixel_auroc"] == pixel_metrics(maps, masks)["pixel_auroc"]
    images = result["used"].pop("images")
    assert result["used"]["rule"] == "skip"
    assert result["used"]["summary"].startswith("1 trained (same picture), such as test/good/1.png; 1 held out")
    assert images == [
        {"image": "test/dot/0.png", "use": "held out", "same_picture": True},
        {"image": "test/good/1.png", "use": "trained", "same_picture": True},
        {"image": "test/good/2.png", "use": "held out", "same_picture": False},
        {"image": "test/scratch/0.png", "use": "weighed", "same_picture": False},
    ]
    met["tested"] = identify([part / "test" / "good" / "0.png"])  # testing twice is no use
    assert evaluate(Stub(**met), part, resolution=SIDE, used="skip")["images"] == 2
    everything = identify(sorted(part.glob("test/*/*.png")))
    with pytest.raises(InputError, match="no test image that the model has not met before: 6 weighed"):
        evaluate(Stub(weighed=everything), part, resolution=SIDE, used="skip")


def test_images_that_the_model_has_met_are_kept_and_told(part, met):
    result = evaluate(Stub(**met), part, resolution=SIDE, used="include")
    plain = evaluate(Stub(), part, resolution=SIDE)
    assert result["overall"] == plain["overall"]
    assert result["used"]["rule"] == "include"
    assert len(result["used"]["images"]) == 4
    assert plain["used"] == {"rule": "refuse", "images": [], "summary": ""}
    with pytest.raises(InputError, match=r"^used: some is not allowed, expected refuse, skip or include$"):
        evaluate(Stub(), part, used="some")


def test_what_is_chosen_is_identified_and_measured(part, met):
    chosen = choose(Stub(**met), part, used="skip")
    assert [sample.path.name for sample in chosen.samples] == ["0.png", "1.png"]
    assert chosen.images == identify([sample.path for sample in chosen.samples])
    assert all(isinstance(image, ImagePart) for image in chosen.images)
    result = measure(Stub(**met), chosen, resolution=SIDE)
    assert result == evaluate(Stub(**met), part, resolution=SIDE, used="skip")


def test_a_weighed_model_shows_what_its_modules_do_without_labels(part):
    class Weighed(Stub):
        """Without labels its map is the second channel: the picture mirrored in value."""

        def reference_pairs(self, paths):
            for path, image, reference in Stub.references(self, paths):
                yield path, image, [reference, Reference(1 - reference.map)]

        def references(self, paths):
            raise AssertionError("the modules would run twice")

    weighing = WeighingPart(objective="paper", labelled=5, defective=2, modules=9, seconds=0.5)
    result = evaluate(Weighed(weighing=weighing), part, resolution=SIDE)
    plain = evaluate(Stub(), part, resolution=SIDE)
    assert (result["overall"], result["types"]) == (plain["overall"], plain["types"])
    assert plain["without_labels"] is None
    figures = result["without_labels"]["overall"]
    maps, masks = maps_and_masks(part, "dot", "good", "scratch")
    expected = pixel_metrics([1 - one for one in maps], masks)
    assert figures["pixel_auroc"] == expected["pixel_auroc"] == pytest.approx(1 - result["overall"]["pixel_auroc"])
    assert figures["aupro"] == expected["aupro"]
    scores = [(1 - one).max() for one in maps]
    assert figures["image_auroc"] == image_metrics(scores, [mask.any() for mask in masks])["image_auroc"]
    assert set(result["overall"]) - set(figures) == {
        "found", "found_ng", "found_masked", "on_defect", "recall", "false_alarms", "false_ng",
    }  # fmt: skip
    assert result["model"]["weighing"] == weighing.model_dump()


def test_a_weighed_bundle_has_no_other_weights_to_show(part):
    """A Stub is like a bundle in this: it has no `reference_pairs`."""
    weighing = WeighingPart(objective="paper", labelled=5, defective=2, modules=9, seconds=0.5)
    result = evaluate(Stub(weighing=weighing), part, resolution=SIDE)
    plain = evaluate(Stub(), part, resolution=SIDE)
    assert result["without_labels"] is None
    assert (result["overall"], result["types"]) == (plain["overall"], plain["types"])
    assert result["model"] == plain["model"] | {"weighing": weighing.model_dump()}


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
        "score": "paper",
        "thresholds": {"review": 0.9, "ng": None},
        "promises": [{"verdict": "NG", "rate": None}],
        "held_out": 0,
        "weighing": None,
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
    broken = SimpleNamespace(header_=header(), thresholds_=Thresholds(0.5))
    broken.references = lambda paths: (
        (path, load(path), Reference(np.full((SIDE, SIDE), np.nan if path.stem == "2" else 0.5, np.float32)))
        for path in paths
    )
    with pytest.raises(InputError, match=r"^test/good/2.png: 1024 of 1024 scores are NaN"):
        evaluate(broken, part, resolution=SIDE)


# Labels without masks, and pictures that are there twice.
