"""Labelled maps where only some pixels count: weights and figures are those of these pixels alone."""

import numpy as np
import pytest
from PIL import Image

from blemish.data.samples import Sample
from blemish.errors import InputError
from blemish.evaluation.metrics import pixel_metrics
from blemish.images.roi import Interest, read_roi
from blemish.weighing.findings import figures
from blemish.weighing.labelled import LabelledMaps, label
from blemish.weighing.search import search
from tiny import tell, tiny_detector

SIDE = 16
INSIDE = np.zeros((SIDE, SIDE), bool)
INSIDE[4:12, 2:14] = True


def case(*, outside):
    """Maps of two modules of 6 images at the reference size, with `outside` in place of all that does not count."""
    random = np.random.default_rng(3)
    masks = np.zeros((6, SIDE, SIDE), bool)
    masks[:4, 6:9, 5:9] = True
    maps = [random.normal(size=masks.shape) + shift * masks for shift in (2.0, 0.5)]
    maps = [np.where(INSIDE, one, outside).astype(np.float32) for one in maps]
    return LabelledMaps(["a", "b"], maps, masks, ["dent"] * 4 + ["good"] * 2, INSIDE)


@pytest.mark.parametrize("objective", ["logistic", "aupro"])
def test_what_lies_outside_changes_no_weight(objective):
    found = [search(case(outside=value), objective=objective, prior=[0.5, 0.5]).weights for value in (0.0, 50.0)]
    assert np.array_equal(*found)
    assert found[0][0] > found[0][1]


def test_figures_are_those_of_the_part_that_counts():
    labelled = case(outside=50.0)
    combined = 0.25 * labelled.maps[0] + 0.75 * labelled.maps[1]
    cut = pixel_metrics(list(combined[:, 4:12, 2:14]), list(labelled.masks[:, 4:12, 2:14]))
    assert figures(labelled, [0.25, 0.75]) == pytest.approx({key: cut[key] for key in ("pixel_auroc", "aupro")})


def test_the_pixels_of_a_search_count():
    pixels = case(outside=50.0).pixels()
    assert pixels.counts == (6 * 96 - 4 * 12, 4 * 12)
    assert len(pixels.rest) == 6 * 96 - 4 * 12
    assert pixels.rest.max() < 10
    parts = case(outside=50.0).images([0, 5]).modules([1])
    assert np.array_equal(parts.inside, INSIDE)


def test_a_narrow_region_of_interest_is_not_missed():
    """A grid of every other pixel begins at 1 and has none of column 2."""
    narrow = np.zeros((SIDE, SIDE), bool)
    narrow[:, 2] = True
    labelled = case(outside=0.0)
    masks = np.zeros_like(labelled.masks)
    masks[0, 3:5, 2] = True
    pixels = LabelledMaps(labelled.names, labelled.maps, masks, labelled.labels, narrow).pixels(rest=30)
    assert len(pixels.rest) == 6 * 16 - 2


def test_a_region_of_interest_that_hides_every_defect_is_refused(tmp_path):
    detector, _ = tiny_detector(["64/2"], sizes=[64])
    upper = np.zeros((64, 64), bool)
    upper[:20] = True
    roi = read_roi(Interest(roi=upper), side=64)
    tell(detector, detector.header_.model_copy(update={"roi": roi}))
    mask = np.zeros((64, 64), np.uint8)
    mask[30:40, 10:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask).save(tmp_path / "part.png")
    sample = Sample(tmp_path / "part.png", "dent", (tmp_path / "mask.png",), "test", "part")
    with pytest.raises(InputError, match="every defect lies outside of the region of interest, so there is nothing"):
        label(detector.model_, [sample], score="whitened")
    mask[15:40, 10:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = label(detector.model_, [sample], score="whitened")
    assert found.masks.sum() == 5 * 10
    Image.fromarray(np.zeros((64, 80), np.uint8)).save(tmp_path / "part.png")
    with pytest.raises(InputError, match=r"part.png: image 80x64 vs 64x64 of the mask roi array"):
        label(detector.model_, [sample], score="whitened")
