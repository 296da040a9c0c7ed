"""Evaluation where only some pixels count: the rest of the truth, and the figures on these pixels alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from blemish.data.sources import load
from blemish.errors import InputError
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.metrics import pixel_metrics
from blemish.evaluation.truth import clipped, regions_lost
from blemish.images.preprocessing import PreprocessingPart
from blemish.images.roi import Interest, read_roi
from blemish.model.header import CalibrationPart, Header, ModulePart, TeacherPart
from blemish.printing.figures import print_evaluation

SIDE = 64
UPPER = np.zeros((SIDE, SIDE), bool)
UPPER[:40] = True  # rows 0 to 39 count


def random_case(seed):
    """Maps with ties and masks with regions, 8 x 9, in all of which only rows 1 to 4 and columns 2 to 6 count."""
    random = np.random.default_rng(seed)
    maps = [np.float32(random.integers(0, 6, (8, 9)) / 5) for _ in range(4)]
    masks = [random.random((8, 9)) > 0.7 for _ in range(3)] + [np.zeros((8, 9), bool)]
    inside = np.zeros((8, 9), bool)
    inside[1:5, 2:7] = True
    return maps, masks, [inside] * 4


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_the_part_that_counts(seed):
    maps, masks, inside = random_case(seed)
    found = pixel_metrics(maps, masks, inside=inside)
    cut = pixel_metrics([one[1:5, 2:7] for one in maps], [one[1:5, 2:7] for one in masks])
    assert found == cut
    assert found["pixels"] == 4 * 4 * 5
    scores = np.concatenate([one[part] for one, part in zip(maps, inside, strict=True)])
    truth = np.concatenate([one[part] for one, part in zip(masks, inside, strict=True)])
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, scores))


def test_a_pixel_that_does_not_count_may_have_any_score():
    maps, masks, inside = random_case(0)
    changed = [np.where(part, one, np.float32(1e6)) for one, part in zip(maps, inside, strict=True)]
    assert pixel_metrics(changed, masks, inside=inside) == pixel_metrics(maps, masks, inside=inside)
    assert pixel_metrics(changed, masks) != pixel_metrics(maps, masks)


def test_pixels_that_count_have_the_shape_of_the_maps():
    maps, masks, inside = random_case(0)
    with pytest.raises(InputError, match="map 0: mask 8x8 vs map 8x9"):
        pixel_metrics(maps, masks, inside=[inside[0][:, :8], *inside[1:]])


def test_regions_that_lie_wholly_outside_are_counted():
    truth = np.zeros((10, 10), bool)
    truth[0:2, 0:2] = True  # outside
    truth[3:7, 4] = True  # half of it inside
    truth[9, 9] = True  # inside
    inside = np.zeros((10, 10), bool)
    inside[5:] = True
    kept, regions, outside = clipped(truth, inside)
    assert (kept.sum(), regions, outside) == (3, 3, 1)
    assert kept[5:7, 4].all()
    assert kept[9, 9]


def test_a_region_that_a_resolution_moves_outside_is_lost():
    """Of 4 rows the nearest neighbours at 2 are rows 1 and 3."""
    truth = np.zeros((4, 4), bool)
    truth[1, 1] = truth[3, 3] = True
    assert regions_lost(truth, 2, 2, None) == 0
    assert regions_lost(truth, 2, 2, np.array([[True, True], [True, False]])) == 1


class Stub:
    """A detector whose score map is the image's first channel over 255, and 0 where a pixel does not count."""

    def __init__(self, *, roi, threshold=0.5):
        self.header_ = Header(
            blemish="0.1.0",
            created="2026-01-02T03:04:05+00:00",
            teacher=TeacherPart(name="tf_efficientnet_lite0", sha256="a" * 64, embedded=False),
            sizes=[SIDE],
            reference_size=SIDE,
            modules=[ModulePart(size=SIDE, level=2, weight=1.0)],
            recipe={"name": "fast"},
            seed=3,
            score="paper",
            preprocessing=PreprocessingPart(mean=[0.5] * 3, std=[0.5] * 3),
            calibration=CalibrationPart(review=threshold),
            roi=roi,
            data={"train": [], "held_out": []},
            libraries={},
        )
        self.thresholds_ = self.header_.calibration.thresholds

    def references(self, paths):
        for path in paths:
            image = load(path, roi=self.header_.roi)
            yield path, image, self.header_.reference(np.float32(image[..., 0]) / 255, -np.inf)


def upper_half():
    return read_roi(Interest(roi=UPPER), side=SIDE)


@pytest.fixture
def part(tmp_path):
    """2 good images and 4 defective ones: inside, outside, on both sides, and one region on the edge."""
    random = np.random.default_rng(5)
    places = {
        "good": [(), ()],
        "dent": [[(4, 8)], [(50, 60)]],
        "scratch": [[(10, 12), (44, 60)], [(38, 46)]],
    }
    for label, images in places.items():
        for index, spans in enumerate(images):
            pixels, mask = random.integers(0, 100, (SIDE, SIDE)), np.zeros((SIDE, SIDE), bool)
            for top, low in spans:
                mask[top:low, 20:30] = True
            pixels[mask] += 150
            pixels[41:, :5] = 255  # what everyone would call a defect, were it not outside
            for folder, array in ((f"test/{label}", pixels), (f"ground_truth/{label}", mask * 255)):
                path = tmp_path / folder / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                if label != "good" or folder.startswith("test"):
                    Image.fromarray(np.uint8(array)).save(path)
    return tmp_path


def test_a_defect_outside_is_left_out_and_named(part, capsys):
    result = evaluate(Stub(roi=upper_half()), part, resolution=SIDE)
    assert result["outside"] == [
        {"image": "test/dent/1.png", "regions": 1, "of": 1},
        {"image": "test/scratch/0.png", "regions": 1, "of": 2},
    ]
    overall = result["overall"]
    assert (overall["images"], overall["good"], overall["regions"], overall["regions_lost"]) == (5, 2, 3, 0)
    assert overall["pixels"] == 5 * 40 * SIDE
    assert overall["defect_pixels"] == 4 * 10 + 2 * 10 + 2 * 10
    assert (overall["found"], overall["false_alarms"], overall["recall"]) == (3, 0, 1.0)
    assert overall["pixel_auroc"] == overall["image_auroc"] == 1.0
    assert result["types"]["dent"]["images"] == 3
    print_evaluation(result)
    said = capsys.readouterr().out
    assert "1 defective image left out, as all of it lies outside of the region of interest: test/dent/1.png\n" in said
    assert "outside of the region of interest lie some regions of 1 defective image: test/scratch/0.png\n" in said


def test_without_a_region_of_interest_all_counts(part):
    result = evaluate(Stub(roi=None), part, resolution=SIDE)
    assert (result["outside"], result["images"], result["regions"]) == ([], 6, 5)
    assert result["overall"]["false_alarms"] == 2


def test_figures_are_those_of_the_part_that_counts_at_other_resolutions(part):
    whole = evaluate(Stub(roi=upper_half()), part, resolution=None)
    assert whole["overall"]["pixels"] == 5 * 40 * SIDE
    half = evaluate(Stub(roi=upper_half()), part, resolution=32)
    assert half["overall"]["pixels"] == 5 * 20 * 32


def test_a_region_of_interest_that_hides_every_defect_says_so(part, capsys):
    lowest = np.zeros((SIDE, SIDE), bool)
    lowest[61:] = True
    result = evaluate(Stub(roi=read_roi(Interest(roi=lowest), side=SIDE)), part, resolution=SIDE)
    assert [one["image"] for one in result["outside"]] == [f"test/{name}.png" for name in
                                                            ("dent/0", "dent/1", "scratch/0", "scratch/1")]  # fmt: skip
    overall = result["overall"]
    assert (result["images"], result["types"], overall["recall"]) == (2, {}, None)
    assert overall["aupro"] is None
    assert set(overall["undefined"].values()) == {"every defect lies outside of the region of interest"}
    print_evaluation(result)
    assert "-: undefined, every defect lies outside of the region of interest" in capsys.readouterr().out


def test_an_image_of_another_aspect_is_named(part):
    Image.fromarray(np.zeros((64, 70), np.uint8)).save(part / "test" / "good" / "0.png")
    with pytest.raises(InputError, match=r"0\.png: image 70x64 vs 64x64 of the mask roi array"):
        evaluate(Stub(roi=upper_half()), part)


def test_the_verdict_of_a_header_is_that_of_the_pixels_that_count():
    header = Stub(roi=upper_half()).header_
    values = np.full((2, SIDE, SIDE), 0.75, np.float32)
    found = header.reference(values, -np.inf).map
    assert found.dtype == np.float32
    assert np.array_equal(found, np.broadcast_to(np.where(UPPER, np.float32(0.75), 0), values.shape))
    assert values.min() == 0.75  # what is given stays
    bare = SimpleNamespace(header=Stub(roi=None).header_)
    assert bare.header.reference(values, -np.inf).map is values  # the paper's score lies on its scale
