"""A model on labelled data as a page: truth, one decode for each image, what was met before, what modules cost."""

import numpy as np
import pytest
from PIL import Image

from blemish.data import sources
from blemish.data.datasets import AS_THEY_ARE
from blemish.errors import InputError
from blemish.evaluation.evaluate import choose
from blemish.images.roi import Interest, read_roi
from blemish.report import judged
from blemish.report.judged import judged_subject
from blemish.report.pictures import outline_path
from blemish.report.render import render
from blemish.report.strangers import strangers_in
from blemish.verdict.judge import judge
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Thresholds
from pages import embedded, header, words


class Scorer:
    """What finds bright pixels: the score map is the brightness, from 0 to 1."""

    def __init__(self, *, streams=1, model=None):
        self.header_, self.streams, self.seen = model or header(), streams, []

    @property
    def thresholds_(self):
        calibration = self.header_.calibration
        return Thresholds(calibration.review, calibration.ng)

    def predict(self, images):
        (image,) = images
        self.seen.append(image.shape)
        brightness = image[..., 0].astype(np.float32) / 255
        return [judge(image, image, Reference(brightness), thresholds=self.thresholds_, scale=self.header_.scale)]


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    """Two good images, two dents of 6 x 4 px, the second too dark to be seen, and a scratch without a mask."""
    root = tmp_path / "screws"
    random = np.random.default_rng(0)
    for index, (kind, level) in enumerate({"good/1": 0, "good/2": 0, "dent/1": 204, "dent/2": 51}.items()):
        image = random.integers(20, 40, (40, 60))
        if level:
            image[10:14, 20:26] = level
            mask = np.zeros((40, 60))
            mask[10:14, 20:26] = 255
            save(root / "ground_truth" / f"{kind}_mask.png", mask)
        save(root / "test" / f"{kind}.png", image)
        save(root / "train" / "good" / f"{index}.png", random.integers(20, 40, (40, 60)))
    return root


def subject(scorer, data, tmp_path, *, used="refuse", embed=False, told=None):
    chosen = choose(scorer, data, used=used)
    page = tmp_path / "report.html"
    told = [] if told is None else told
    return judged_subject(
        scorer, chosen, model=tmp_path / "m.safetensors", model_sha256="c" * 64, page=page, embed=embed,
        report=lambda done, total: told.append((done, total)),
    )  # fmt: skip


@pytest.mark.parametrize("streams", [1, 3])
def test_images_with_their_truth(data, tmp_path, streams):
    told = []
    found = subject(Scorer(streams=streams), data, tmp_path, told=told)
    assert (found.truth, found.folder, found.sha256) == (True, data, "c" * 64)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = {one.name: (one.label, one.area, round(one.score * 255)) for one in found.images}
    assert rows["test/dent/1.png"] == ("dent", 24, 204)
    assert rows["test/dent/2.png"] == ("dent", 24, 51)
    assert rows["test/good/1.png"][:2] == ("good", None)
    dent = next(one for one in found.images if one.name == "test/dent/1.png")
    high = pytest.approx(0.8)
    (region,) = dent.regions
    assert region == {"area": 24, "share": 0.01, "box": [20, 10, 6, 4], "peak": high, "mean": high, "surface": False}
    box = {"M20 10h6", "M20 14h6", "M20 10v4", "M26 10v4"}
    assert {f"M{part}" for part in dent.truth.split("M")[1:]} == box
    assert {f"M{part}" for part in dent.outlines.split("M")[1:]} == box
    assert dent.heat
    assert dent.layer.startswith("data:image/webp")
    assert dent.full == "./screws/test/dent/1.png"
    dark = next(one for one in found.images if one.name == "test/dent/2.png")
    assert (dark.outlines, dark.regions) == (None, [])


def test_an_image_is_decoded_once_to_be_told_and_once_to_be_judged(data, tmp_path, monkeypatch):
    decoded = []
    read = sources.read_image
    monkeypatch.setattr(
        sources, "read_image", lambda source, **options: decoded.append(source) or read(source, **options)
    )
    scorer = Scorer()
    chosen = choose(scorer, data)
    decoded.clear()
    judged_subject(scorer, chosen, model=data, model_sha256="c" * 64, page=tmp_path / "r.html", embed=True)
    assert sorted(decoded) == sorted(sample.path for sample in chosen.samples)
    assert len(scorer.seen) == 4


def test_memory_is_bounded(data, tmp_path):
    """No more than two images wait at each of three steps while one is being made small."""
    scorer, ahead = Scorer(), []
    for index in range(40):
        save(data / "test" / "good" / f"more{index}.png", np.random.default_rng(100 + index).integers(20, 40, (40, 60)))
    chosen = choose(scorer, data)
    judged_subject(scorer, chosen, model=data, model_sha256="c" * 64, page=tmp_path / "r.html",
                   report=lambda done, total: ahead.append(len(scorer.seen) - done))  # fmt: skip
    assert len(ahead) == 44
    assert max(ahead) <= 6


def test_what_the_model_has_met_is_refused_left_out_or_said(data, tmp_path):
    part = sources.identify([data / "test" / "good" / "1.png"])
    model = header()
    model = model.model_copy(update={"data": model.data.model_copy(update={"train": part})})
    with pytest.raises(InputError, match="has met 1 of 4 test images before"):
        subject(Scorer(model=model), data, tmp_path)
    skipped = subject(Scorer(model=model), data, tmp_path, used="skip")
    assert len(skipped.images) == 3
    assert skipped.notes[0].startswith(
        "Images that the model has met before, 1, are left out: 1 trained (same picture)"
    )
    kept = subject(Scorer(model=model), data, tmp_path, used="include")
    assert len(kept.images) == 4
    assert "kept, so figures are too good" in kept.notes[0]


def test_a_damaged_image_is_named(data, tmp_path):
    scorer = Scorer()
    chosen = choose(scorer, data)
    (data / "test" / "dent" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"dent/1\.png: empty file"):
        judged_subject(scorer, chosen, model=data, model_sha256="c" * 64, page=tmp_path / "r.html")


def test_types_of_several_categories_are_named_with_theirs(data, tmp_path):
    import shutil

    shutil.move(data, tmp_path / "root" / "screws")
    shutil.copytree(tmp_path / "root" / "screws", tmp_path / "root" / "nuts")
    found = subject(Scorer(), tmp_path / "root", tmp_path)
    assert {one.label for one in found.images} == {"good", "screws/dent", "nuts/dent"}
    assert found.folder == tmp_path / "root"


@pytest.mark.parametrize("place", ["train/good/0.png", "validation/good/0.png"])
def test_a_stranger_is_shown_if_it_is_found_by_its_pixels(data, tmp_path, place):
    image = np.full((40, 60), 30)
    image[10:14, 20:26] = 128
    save(data / place, image)
    (part,) = sources.identify([data / place])
    save(data / "validation" / "good" / "sub" / "0.png", np.full((40, 60), 31))  # of the same name
    found = {}
    for sha256 in (part.sha256, "0" * 64):
        model = header()
        first = model.calibration.held_out[0].model_copy(update={"name": "good/0.png", "sha256": sha256})
        held_out = [first, *model.calibration.held_out[1:]]
        calibration = model.calibration.model_copy(update={"held_out": held_out})
        scorer = Scorer(model=model.model_copy(update={"calibration": calibration}))
        (found[sha256],) = subject(scorer, data, tmp_path).strangers
    shown = found[part.sha256]
    assert shown.name == "good/0.png"
    assert shown.picture.startswith("data:image/webp")
    assert shown.overlay.startswith("data:image/webp")
    assert (found["0" * 64].picture, found["0" * 64].overlay) == (None, None)


def test_a_stranger_that_trains_has_no_overlay_and_no_verdict(data, tmp_path):
    (part,) = sources.identify([data / "train" / "good" / "0.png"])
    model = header(crossed=3)
    first = model.calibration.held_out[0].model_copy(update={"name": "0.png", "sha256": part.sha256})
    calibration = model.calibration.model_copy(update={"held_out": [first, *model.calibration.held_out[1:]]})
    trained = model.data.model_copy(update={"train": [part]})
    scorer = Scorer(model=model.model_copy(update={"calibration": calibration, "data": trained}))
    (shown,) = strangers_in(scorer, data, labels=AS_THEY_ARE)
    assert shown.picture.startswith("data:image/webp")
    assert (shown.overlay, scorer.seen) == (None, [])
    assert shown.text == (
        "0.png scores 0.5000, far above the other held-out images, and alone sets a threshold; "
        "other students scored it: this model has learnt it, so its own map shows nothing."
    )


def test_costs_of_a_model_file_are_measured_and_those_of_a_bundle_are_not(data, tmp_path, detector):
    plain = subject(Scorer(), data, tmp_path)
    assert plain.costs == {}
    assert plain.costs_said.startswith("A bundle runs its modules as one graph")
    costs = judged.module_costs(detector)
    assert set(costs) == {one.name for one in detector.header_.modules}
    assert all(cost.ms > 0 and cost.megabytes > 0 for cost in costs.values())


def test_what_lies_outside_of_the_region_of_interest_counts_nowhere(data, tmp_path):
    """The left 24 px of 60 do not count: of the dent's 6 x 4 px, from 20 on, 2 x 4 are left."""
    mask = np.zeros((40, 60), bool)
    mask[:, 24:] = True
    model = header()
    model = model.model_copy(update={"roi": read_roi(Interest(roi=mask), side=60)})
    image = np.full((40, 60), 30)
    image[2:5, 2:5] = 200
    save(data / "test" / "hole" / "1.png", image)
    truth = np.zeros((40, 60))
    truth[2:5, 2:5] = 255
    save(data / "ground_truth" / "hole" / "1_mask.png", truth)
    found = subject(Scorer(model=model), data, tmp_path)
    assert {one.name: one.area for one in found.images if one.label != "good"} == {
        "test/dent/1.png": 8, "test/dent/2.png": 8}  # fmt: skip
    assert found.notes == ["Left out: all that is defective lies outside of the region of interest: test/hole/1.png."]
    text = render(found, made="now").decode()
    assert embedded(text)["roi"] == {"side": 60, "path": outline_path(mask_of_side(60))}
    assert "What lies outside of the dashed line counts nowhere: 60 % of the image" in words(text)


def test_an_image_of_another_aspect_than_the_region_of_interest_is_named(data, tmp_path):
    mask = np.zeros((40, 60), bool)
    mask[:, 30:] = True
    model = header()
    model = model.model_copy(update={"roi": read_roi(Interest(roi=mask), side=60)})
    chosen = choose(Scorer(model=model), data)
    save(data / "test" / "good" / "2.png", np.full((40, 70), 30))
    with pytest.raises(InputError, match=r"good/2\.png: image 70x40 vs 60x40 of the mask .*needs images of its aspect"):
        judged_subject(Scorer(model=model), chosen, model=data, model_sha256="c" * 64, page=tmp_path / "r.html")


def mask_of_side(side):
    square = np.zeros((side, side), bool)
    square[:, 24:] = True
    return square
