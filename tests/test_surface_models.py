"""Models that look at the whole surface: said, kept, exported and weighed; silent with a region of interest."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.data.datasets import test_samples as samples_of
from blemish.errors import InputError, ModelFileError
from blemish.evaluation.truth import on_defect
from blemish.images.read import read_image
from blemish.method.learning import training
from blemish.model.assembly import assemble, stored_tensors
from blemish.model.header import SurfacePart
from blemish.model.scorer import said
from blemish.runtime import Runtime, engines
from blemish.verdict.scale import Reference
from commands import run


@pytest.fixture(scope="module")
def looking(brick):
    """A detector of bricks that looks at levels 3 and 4."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", dataclasses.replace(training.RECIPES["fast"], steps=60, warm_steps=30))
        return Detector(sizes=(64,), levels=(3, 4)).fit(brick)


def wholes(scorer, given):
    return [reference.whole for _, _, reference in scorer.references(given)]


def good_images(brick):
    return [one.path for one in samples_of(brick) if one.label == "good"][:3]


def faded(path):
    return (np.linspace(0.3, 1, 192)[None, :, None] * read_image(path)).astype(np.uint8)


def test_it_is_the_default_and_speaks_of_faults_that_lie_everywhere(looking, brick):
    assert looking.header_.surface.levels == [3, 4]
    paths = good_images(brick)
    good, bad = wholes(looking, paths), wholes(looking, [faded(path) for path in paths])
    assert max(good) < 0.5 < min(bad)  # 0.5 is the limit of the scale
    for one in looking.predict([faded(path) for path in paths]):
        assert one.score >= min(bad)
        assert one.verdict != "OK"


def test_at_the_limit_of_the_maps_it_lies_at_the_limit_of_the_scale(looking):
    surface = looking.model_.surface
    found = looking.header_.reference(np.zeros((64, 64), np.float32), float(surface.limit))
    assert found.whole == pytest.approx(0.5, abs=1e-4)
    calibration = looking.header_.calibration
    assert float(surface.span) == pytest.approx(calibration.limit - calibration.good, rel=1e-4)


@pytest.mark.parametrize(
    "part", [{"size": 64, "levels": [4, 3]}, {"size": 64, "levels": [3, 5]}, {"size": 128, "levels": [3, 4]}]
)
def test_a_surface_that_no_module_goes_with_is_refused(looking, tmp_path, part):
    header = looking.header_.model_copy(update={"surface": SurfacePart(**part), "sizes": [64, 128]})
    tensors = {
        key: value.numpy() for key, value in stored_tensors(looking.modules_, None, looking.model_.surface).items()
    }
    with pytest.raises(ModelFileError, match="header field surface: expected"):
        assemble(header, tensors, path=tmp_path / "m", weights=None, device="cpu")


def test_a_surface_is_no_place_on_a_defect(looking, brick):
    image = read_image(good_images(brick)[0])
    quiet, truth = np.full((64, 64), 0.02, np.float32), np.ones(image.shape[:2], bool)
    assert on_defect(truth, image, Reference(quiet, whole=0.9), looking.header_) is None
    with pytest.raises(InputError, match="surface: its score is not finite"):
        said(looking.header_, image, image, Reference(quiet, whole=np.nan))


def test_where_the_surface_alone_is_above_a_threshold_all_of_it_is_the_region(looking, brick):
    image, quiet = read_image(good_images(brick)[0]), np.full((64, 64), 0.02, np.float32)
    review = looking.thresholds_.review
    found = said(looking.header_, image, image, Reference(quiet, whole=0.9))
    (region,) = found.regions
    assert (found.score, found.verdict) == (0.9, "NG")
    assert (region.surface, region.box, region.share, region.peak) == (True, (0, 0, 192, 192), 1.0, 0.9)
    assert found.inside.all()
    assert found.score_map.max() == pytest.approx(0.02)
    assert said(looking.header_, image, image, Reference(quiet, whole=review)).regions == []
    spotted = quiet.copy()
    spotted[10:14, 20:24] = 0.8  # a place that stands out is the region, however the surface looks
    found = said(looking.header_, image, image, Reference(spotted, whole=0.9))
    assert (found.score, [one.surface for one in found.regions]) == (0.9, [False])


def test_held_out_scores_are_the_higher_of_both(looking, brick):
    calibration = looking.header_.calibration
    scored = {image.name: image.score for image in calibration.held_out}
    apart = {part.sha256 for part in looking.header_.data.held_out}
    names = [image.name for image in calibration.held_out if image.sha256 in apart]
    for (_, _, found), name in zip(looking.references([brick / name for name in names]), names, strict=True):
        assert scored[name] == pytest.approx(found.score(), abs=1e-6)


def test_inspect_says_that_it_is_there(looking, tmp_path, capsys):
    looking.save(tmp_path / "m.safetensors")
    code, out, _ = run(capsys, "inspect", tmp_path / "m.safetensors")
    assert code == 0
    assert "looked at as a whole, by levels 3 and 4 at 64 px" in out


def test_a_model_file_keeps_it_to_the_bit(looking, brick, tmp_path):
    looking.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors")
    paths = good_images(brick)
    assert wholes(loaded, paths) == wholes(looking, paths) != [0.0] * 3
    bare = dataclasses.replace(loaded.model_, surface=None, header=loaded.header_.changed(surface=None))
    assert wholes(bare, paths) == [0.0] * 3
    assert "surface" not in bare.header.model_dump_json()  # as earlier versions say it


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_bundle_says_the_same(looking, brick, tmp_path, target):
    looking.export(tmp_path / "b", to=target)
    runtime = Runtime.load(tmp_path / "b")
    given = [*good_images(brick), *map(faded, good_images(brick))]
    assert wholes(runtime, given) == pytest.approx(wholes(looking, given), abs=1e-4)


def test_a_surface_that_says_no_number_fails_the_self_test(looking, tmp_path, monkeypatch):
    looking.export(tmp_path / "b", to="onnx")
    real = engines.OnnxEngine.run
    monkeypatch.setattr(engines.OnnxEngine, "run", lambda *given: [real(*given)[0], np.float32(np.nan)])
    with pytest.raises(ModelFileError, match=r"self-test failed: golden/0\.png scores nan"):
        Runtime.load(tmp_path / "b")


def test_with_a_region_of_interest_it_is_silent(looking, brick, tmp_path):
    given = [faded(path) for path in good_images(brick)]
    good = sorted((brick / "train" / "good").iterdir())
    other = Detector()
    other.model_ = looking.model_
    apart = {part.sha256 for part in looking.header_.data.held_out}
    own = [brick / image.name for image in looking.header_.calibration.held_out if image.sha256 in apart]
    other.calibrate(own, ignore_border=0.1)
    assert wholes(other, given) == [0.0] * 3
    other.export(tmp_path / "b", to="onnx")
    assert wholes(Runtime.load(tmp_path / "b"), given) == [0.0] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", dataclasses.replace(training.RECIPES["fast"], steps=4, warm_steps=2))
        fitted = Detector(sizes=(64,), levels=(3, 4)).fit(good, ignore_border=0.1)
    assert fitted.model_.surface is None
    assert fitted.header_.surface is None


def test_weighing_keeps_it_while_its_features_are_computed(looking, brick):
    def weighed(**options):
        other = Detector()
        other.model_ = looking.model_
        return other.weigh(brick, good=brick, **options)

    before = looking.model_.surface.limit.clone()
    every = weighed()
    assert every.header_.surface == looking.header_.surface
    assert every.model_.surface.limit != before  # it lies where the new maps do
    assert looking.model_.surface.limit == before
    assert weighed(objective="paper").header_.surface is None
    for one in (weighed(keep=count) for count in (1, 2)):
        deepest = max(module.level for module in one.modules_)
        assert (one.header_.surface is not None) == (deepest == 4)


def test_results_say_it_in_words(looking, brick, tmp_path):
    from blemish.results.write import draw, write

    class Quiet:
        header_, thresholds_, streams = looking.header_, looking.thresholds_, 1

        def predict(self, images):
            reference = Reference(np.full((64, 64), 0.02, np.float32), whole=0.9)
            return [said(self.header_, image, image, reference) for image in images]

    path = good_images(brick)[0]
    (record,) = write(Quiet(), [(path, "one")], tmp_path)
    (region,) = json.loads((tmp_path / "results.jsonl").read_text())["regions"]
    assert (region["surface"], region["box"]) == (True, [0, 0, 192, 192])
    assert record["verdict"] == "NG"
    drawn = np.asarray(Image.open(tmp_path / "overlays" / "one.png"))
    image = read_image(path)
    (prediction,) = Quiet().predict([image])
    bare = dataclasses.replace(prediction, regions=[])
    assert np.array_equal(drawn, draw(image, prediction, looking.header_))
    label = (drawn != draw(image, bare, looking.header_)).any(axis=2)
    columns = np.flatnonzero(label.any(axis=0))
    assert columns[-1] > 60  # the words beside the verdict take more room than it alone
    frame = (drawn[2:-2, 1] == 255).all() or (drawn[96, :4] == 255).all(axis=1).any()
    assert frame  # a line along the border
