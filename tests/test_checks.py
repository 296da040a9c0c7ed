"""Arguments of the Python API: whatever is given, it is taken, or named in one line."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from blemish import Detector, Labels
from blemish.checks import share
from blemish.errors import BlemishError, InputError
from blemish.evaluation.evaluate import evaluate
from blemish.runtime import Runtime
from tiny import tiny_detector

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(3)]
IMAGES = "expected paths, numpy arrays and pictures of PIL, one or several"


@pytest.fixture(scope="module")
def scorer():
    return tiny_detector(["64/2", "64/3"], sizes=[64])[0]


@pytest.fixture
def tested(tmp_path):
    for name, picture in (("good", PICTURES[0]), ("cut", PICTURES[1])):
        (tmp_path / "data/test" / name).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "data/test" / name / "0.png")
    return tmp_path / "data"


def test_pictures_of_pil_are_taken_as_files_are(scorer, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "RGB": Image.fromarray(PICTURES[0]),
        "L": Image.fromarray(PICTURES[0][..., 0]),
        "RGBA": Image.fromarray(np.dstack([PICTURES[0], PICTURES[1][..., :1]])),
        "P": Image.fromarray(PICTURES[0]).quantize(9),
        "I;16": Image.fromarray(PICTURES[0][..., 0].astype(np.uint16) * 200),
    }
    for kind, picture in kinds.items():
        file = tmp_path / f"{kind.replace(';', '')}.png"
        picture.save(file, exif=exif)
        (expected,) = scorer.score_maps(file)
        with Image.open(file) as opened:
            assert opened.mode == kind
            (found,) = scorer.score_maps(opened)
        assert np.array_equal(found, expected)
        buffer = io.BytesIO(file.read_bytes())
        assert np.array_equal(scorer.score_maps([Image.open(buffer)])[0], expected)
    for picture, told in [
        (Image.new("F", (64, 64)), "pixel type F not supported"),
        (Image.new("RGB", (64, 20)), "64x20 is smaller than minimum 32x32"),
    ]:
        with pytest.raises(InputError, match=f"image of PIL: {told}"):
            scorer.predict(picture)
    frames = io.BytesIO()
    kinds["L"].save(frames, "GIF", save_all=True, append_images=[kinds["RGB"].convert("L")])
    with pytest.raises(InputError, match="multi-frame not supported"):
        scorer.predict(Image.open(frames))


def test_whole_numbers_of_numpy_are_taken(scorer, tested):
    result = evaluate(scorer, tested, resolution=np.int64(64))
    assert json.loads(json.dumps(result)) == evaluate(scorer, str(tested), resolution=64)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda one, data: one.predict(None), f"images: None is not allowed, {IMAGES}"),
        (lambda one, data: one.predict(5), f"images: int is not allowed, {IMAGES}"),
        (lambda one, data: one.predict(b"abc"), f"images: bytes is not allowed, {IMAGES}"),
        (lambda one, data: one.predict([None]), f"images: None is not allowed, {IMAGES}"),
        (lambda one, data: one.score_maps(PICTURES[0].tolist()), f"images: list is not allowed, {IMAGES}"),
        (lambda one, data: one.predict(""), "images: empty path; name a file or a folder"),
        (lambda one, data: Detector().fit(None), f"images: None is not allowed, {IMAGES}"),
        (lambda one, data: Detector().fit(PICTURES, held_out=5), f"images: int is not allowed, {IMAGES}"),
        (lambda one, data: Detector().fit(PICTURES, workspace=5), "workspace: int is not allowed, expected a path"),
        (
            lambda one, data: Detector().fit(PICTURES, cache_gb="8"),
            "cache-gb: '8' is not allowed, expected a number of",
        ),
        (lambda one, data: Detector(recipe=None).fit(PICTURES), "recipe: None is not allowed, expected paper, fast"),
        (lambda one, data: Detector(teacher=[]).fit(PICTURES), "teacher: [] is not allowed, expected tf_efficientnet"),
        (lambda one, data: Detector(device=0).fit(PICTURES), "device: 0 is not allowed, expected auto, cpu or cuda"),
        (lambda one, data: Detector(weights=5).fit(PICTURES), "weights: int is not allowed, expected a path"),
        (lambda one, data: Detector.load(None), "path: None is not allowed, expected a path"),
        (lambda one, data: Detector.load(3), "path: int is not allowed, expected a path"),
        (lambda one, data: Detector.load(""), "path: empty path; name a file"),
        (lambda one, data: one.save(True), "path: bool is not allowed, expected a path"),
        (lambda one, data: one.weigh(None, good=PICTURES), "labelled: None is not allowed, expected a path"),
        (lambda one, data: one.weigh(data, good=None), f"images: None is not allowed, {IMAGES}"),
        (lambda one, data: one.weigh(data, good=PICTURES, keep="1"), "keep: '1' is not allowed, expected 1 to 2, the"),
        (lambda one, data: one.weigh(data, good=PICTURES, keep=np.float32(1)), "keep: 1.0 is not allowed, expected 1"),
        (lambda one, data: one.weigh(data, good=PICTURES, budget_ms="5"), "budget: '5' is not allowed, expected milli"),
        (lambda one, data: one.weigh(data, good=PICTURES, objective=None), "objective: None is not allowed, expected"),
        (lambda one, data: one.export(None, to="onnx"), "out: None is not allowed, expected a path"),
        (lambda one, data: one.export(data / "b", to=[]), "to: [] is not allowed, expected onnx or openvino"),
        (lambda one, data: one.export(data / "b", to="onnx", precision={}), "precision: {} is not allowed, expected"),
        (
            lambda one, data: one.export(data / "b", to="onnx", labelled=3),
            "labelled: int is not allowed, expected a path",
        ),
        (lambda one, data: Runtime.load(None), "folder: None is not allowed, expected a path"),
        (
            lambda one, data: Runtime.load(data, streams="2"),
            "streams: '2' is not allowed, expected a whole number from",
        ),
        (
            lambda one, data: Runtime.load(data, threads=2.0),
            "threads: 2.0 is not allowed, expected a whole number from",
        ),
        (lambda one, data: Runtime.load(data, streams=np.int64(2)), "data: not a bundle"),
        (lambda one, data: evaluate(one, None), "data: None is not allowed, expected a path"),
        (lambda one, data: evaluate(one, data, resolution="256"), "resolution: '256' is not allowed, expected 32 to"),
        (
            lambda one, data: evaluate(one, data, used=None),
            "used: None is not allowed, expected refuse, skip",
        ),
        (lambda one, data: Detector().fit(data, labels=None), "labels: NoneType is not allowed, expected Labels(...)"),
        (lambda one, data: evaluate(one, data, labels={}), "labels: dict is not allowed, expected Labels(...)"),
        (lambda one, data: Labels(defects="scratch"), "defects: scratch is not allowed, expected names such as"),
        (lambda one, data: Labels(defects=(1,)), "defects: (1,) is not allowed, expected names such as"),
        (lambda one, data: Labels(unlabelled=None), "unlabelled: None is not allowed, expected good"),
    ],
)
def test_what_is_no_argument_is_named(scorer, tested, call, told):
    with pytest.raises(BlemishError) as caught:
        call(scorer, tested)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "found"),
    [("5%", 0.05), ("5 %", 0.05), (" .5% ", 0.005), ("0.05", 0.05), (0.05, 0.05), (np.float64(0.25), 0.25), (0, 0.0),
     ("1e-3", 0.001), ("62.5%", 0.625)],
)  # fmt: skip
def test_a_share_is_read_in_both_spellings(given, found):
    assert share("rate", given, rule="expected 5% or 0.05") == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5", "rate: 5 is not clear, write 5% or 0.05"),
        (5, "rate: 5 is not clear, write 5% or 0.05"),
        ("1", "rate: 1 is not clear, write 1% or 0.01"),
        *((given, f"rate: {given} is not allowed, expected 5% or 0.05")
          for given in ("100%", "-5%", "nan", "inf", "", "5%%", "100", -0.1, float("nan"), True, None, [0.1])),
    ],
)  # fmt: skip
def test_any_other_share_is_refused(given, message):
    with pytest.raises(InputError) as caught:
        share("rate", given, rule="expected 5% or 0.05")
    assert str(caught.value) == message
