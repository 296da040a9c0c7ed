"""An export is the detector, or it is not there."""

import errno
import os
import re
from hashlib import sha256
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from blemish.data.holdout import fingerprints
from blemish.errors import InputError, StorageError
from blemish.evaluation.evaluate import evaluate
from blemish.export import export, gates
from blemish.images.read import read_image
from blemish.model.header import WeighingPart
from blemish.runtime import Runtime
from blemish.runtime.bundle import read_bundle
from blemish.verdict.scale import scale_of
from blemish.verdict.threshold import Thresholds
from exports import blotted, compare, graphs, held_out_files, paper, tiny, tiny_of, written_once  # noqa: F401
from faults import ordinary  # noqa: F401
from processor import needs_bfloat16, needs_exact_int8
from tiny import tell
from trees import pixel_hashes


def test_a_bundle_scores_as_the_detector_does(detector, bundle, brick):
    runtime = Runtime.load(bundle)
    verdicts = compare(detector, runtime, brick / "test", atol=1e-5)
    assert {"OK", "NG"} == set(verdicts)
    pairs = zip(detector.references(brick / "test"), runtime.references(brick / "test"), strict=True)
    for (_, _, expected), (_, _, found) in pairs:
        np.testing.assert_allclose(found.map, expected.map, atol=1e-5)
        assert found.whole == pytest.approx(expected.whole, abs=1e-5)
    assert runtime.thresholds_ == detector.thresholds_


def test_a_bundle_says_what_it_is(detector, bundle, brick):
    found = read_bundle(bundle)
    assert found.model == detector.header_
    assert (found.target, found.precision, found.tolerance) == ("onnx", "float32", 1e-3)
    data = (bundle / "graph.onnx").read_bytes()
    assert found.graph == {"graph.onnx": sha256(data).hexdigest()}
    assert set(found.libraries) == {"numpy", "pillow", "torch", "onnxruntime", "openvino"}
    files = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file()}
    assert files == {"bundle.json", "graph.onnx", *(one.file for one in found.golden)}
    constants = onnx.load_from_string(data).graph.initializer
    assert len(constants) > 0
    assert not any(one.external_data or one.data_location for one in constants)


def test_a_bundle_has_golden_images_of_both_kinds(detector, bundle, brick):
    found = read_bundle(bundle)
    names = ("0.png", "1.jpg", "2.png", "3.png", "4.png")
    assert [one.file for one in found.golden] == [f"golden/{name}" for name in names]
    paths = [bundle / one.file for one in found.golden]
    assert [one.sha256 for one in found.golden] == fingerprints(paths)
    with Image.open(BytesIO(paths[1].read_bytes())) as picture:
        assert picture.format == "JPEG"
    assert read_image(paths[1]).shape == (190, 250, 3)
    trained = [image.sha256 for image in detector.header_.data.train[:2]]
    assert pixel_hashes(paths[2:4]) == trained
    assert (read_image(paths[4]) != read_image(paths[2])).any(axis=2).mean() > 0.03  # the first, with blots
    for golden, (_, _, expected) in zip(found.golden, detector.references(paths), strict=True):
        assert golden.score == pytest.approx(expected.score(), abs=1e-5)
        assert golden.mean == pytest.approx(float(expected.map.mean()), abs=1e-5)


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
def test_openvino_scores_within_the_tolerance(tiny, good_arrays, tmp_path, precision):
    found = tiny.export(tmp_path / "b", to="openvino", precision=precision, good=good_arrays)
    assert found.bundle == read_bundle(tmp_path / "b")
    assert set(os.listdir(tmp_path / "b")) == {"bundle.json", "golden", "graph.xml", "graph.bin"}
    assert found.bundle.tolerance == gates.ELSEWHERE[precision]
    assert found.score_difference <= gates.SCORE[precision]
    assert found.mean_difference <= gates.ON_AVERAGE[precision]
    runtime = Runtime.load(tmp_path / "b")
    images = [*good_arrays[:3], *map(blotted, good_arrays[:3])]
    compare(tiny, runtime, images, atol=1e-5 if precision == "float32" else gates.SCORE["bfloat16"])
    maps = np.stack([runtime.raw_map(np.stack([one] * 3, axis=-1)) for one in good_arrays[9:]])
    before, after = tiny.header_.calibration, found.bundle.model.calibration
    expected = scale_of(maps, score="whitened")
    assert (after.good, after.limit) == pytest.approx((expected.good, expected.limit), abs=1e-5)
    scores = [float(one.max()) for one in expected.of(maps)]
    assert [image.score for image in after.held_out] == pytest.approx(scores, abs=1e-5)
    assert (after.review, after.ng) == (pytest.approx(sorted(scores)[-2], abs=1e-5), None)
    if precision == "float32":  # which needs no scale of its own
        assert found.bundle.model == tiny.header_
    else:
        assert found.bundle.model == tiny.header_.model_copy(update={"calibration": after})
        assert [image.sha256 for image in after.held_out] == [image.sha256 for image in before.held_out]
        assert after.limit != before.limit
        assert found.mean_difference > 1e-5


@needs_bfloat16
def test_without_good_images_scale_and_thresholds_are_the_models(tiny, tmp_path):
    found = tiny.export(tmp_path / "b", to="openvino", precision="bfloat16")
    assert found.bundle.model == tiny.header_
    assert [one.file for one in found.bundle.golden] == ["golden/0.png", "golden/1.jpg"]


@needs_exact_int8
def test_int8_is_int8_and_has_a_scale_of_its_own(detector, bundle, brick, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "SCORE", {"int8": 0.25, "float32": 1e-3})  # short training, little to lean on
    monkeypatch.setattr(export, "RANGES", 12)
    found = detector.export(tmp_path / "b", to="openvino", precision="int8", good=brick / "train" / "good")
    text = (tmp_path / "b" / "graph.xml").read_text()
    names = ("FakeQuantize", "Convolution", "GroupConvolution")
    kinds = {name: len(re.findall(f'type="{name}"', text)) for name in names}
    weights = len(re.findall(r'element_type="i8" shape="(\d+, ){3,4}\d+"', text))
    assert kinds["Convolution"] + kinds["GroupConvolution"] == weights > 20  # each with weights of 8 bits
    assert weights / 2 < kinds["FakeQuantize"] <= weights  # teacher and student share what goes into a stage
    constants = onnx.load(bundle / "graph.onnx").graph.initializer
    size = sum(numpy_helper.to_array(one).nbytes for one in constants)
    assert (tmp_path / "b" / "graph.bin").stat().st_size < 0.72 * size  # roots stay what they are
    before, after = detector.header_.calibration, found.bundle.model.calibration
    runtime, plain = Runtime.load(tmp_path / "b"), Runtime.load(bundle)
    held_out = [runtime.raw_map(read_image(path)) for path in held_out_files(detector, brick)]
    expected = scale_of(np.stack(held_out), score="whitened")
    assert (after.good, after.limit) == pytest.approx((expected.good, expected.limit), abs=1e-4)
    assert abs(after.good - before.good) > 1e-3
    scores = [float(one.max()) for one in expected.of(np.stack(held_out))]
    assert [image.score for image in after.held_out] == pytest.approx(scores, abs=1e-4)
    assert [image.name for image in after.held_out] == [image.name for image in before.held_out[:13]]
    assert (after.review, after.ng) == (sorted(after.scores)[-2], None)
    assert found.bundle.model == detector.header_.model_copy(update={"calibration": after})
    image = read_image(brick / "test" / "good" / "000.png")
    assert np.abs(runtime.raw_map(image) - plain.raw_map(image)).mean() > 0.01
    assert 1e-3 < found.mean_difference <= gates.ON_AVERAGE["int8"]
    assert found.score_difference <= 0.25


SLOW = "onnxruntime is no faster with it (docs/performance.md); use --to openvino"


@pytest.mark.parametrize(
    ("to", "precision", "good", "message"),
    [
        ("tflite", "float32", False, "to: tflite is not allowed, expected onnx or openvino"),
        ("onnx", "int4", False, "precision: int4 is not allowed, expected float32, bfloat16 or int8"),
        ("onnx", "bfloat16", False, f"bfloat16: {SLOW}"),
        ("onnx", "int8", True, f"int8: {SLOW}"),
        ("openvino", "int8", False,
         "int8: needs the good images of the fit, for its ranges and its threshold (--good FOLDER)"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_refused(tiny, good_arrays, tmp_path, to, precision, good, message):
    with pytest.raises(InputError) as caught:
        tiny.export(tmp_path / "b", to=to, precision=precision, good=good_arrays if good else ())
    assert str(caught.value) == message
    assert os.listdir(tmp_path) == []


def test_good_images_must_hold_those_that_set_the_threshold(tiny, good_arrays, tmp_path):
    for precision in ("float32", "int8"):
        with pytest.raises(InputError) as caught:
            tiny.export(tmp_path / "b", to="openvino", precision=precision, good=good_arrays[:10])
        assert str(caught.value) == (
            "good: 2 of the 3 good images that set the threshold are not among those given; "
            "give those that the model was fitted on, and those held out since (--good FOLDER, as often as needed)"
        )
    with pytest.raises(InputError) as caught:
        tiny.export(tmp_path / "b", to="openvino", precision="int8", good=good_arrays[9:])
    assert str(caught.value) == "good: none of the images that trained the model is among those given (--good FOLDER)"
    assert os.listdir(tmp_path) == []


def content(folder):
    """Every file of a folder with its bytes."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_bundle_is_replaced_only_when_told_so(tiny, good_arrays, tmp_path):
    out = tmp_path / "b"
    tiny.export(out, to="openvino", good=good_arrays)
    before = content(out)
    with pytest.raises(InputError) as caught:
        tiny.export(out, to="onnx")
    assert str(caught.value) == f"{out}: exists; pass --overwrite to replace it"
    assert content(out) == before
    found = tiny.export(out, to="onnx", overwrite=True)
    assert set(content(out)) == {"bundle.json", "graph.onnx", "golden/0.png", "golden/1.jpg"}
    assert read_bundle(out) == found.bundle
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_the_users_stays(tiny, tmp_path, overwrite):
    folder, file = tmp_path / "photos", tmp_path / "b.txt"
    (folder / "golden").mkdir(parents=True)
    (folder / "golden" / "0.png").write_bytes(b"mine")
    file.write_text("mine")
    (tmp_path / "link").symlink_to(folder)
    for out, reason in (
        (folder, "is not empty and holds no bundle.json; choose another folder"),
        (file, "is not a folder"),
        (tmp_path / "link", "is not a folder"),
        (file / "b", f"{file} is not a folder"),
    ):
        with pytest.raises((InputError, StorageError)) as caught:
            tiny.export(out, to="onnx", overwrite=overwrite)
        assert str(caught.value) == f"{out}: {reason}"
    assert content(folder) == {"golden/0.png": b"mine"}
    assert file.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["b.txt", "link", "photos"]


def test_a_folder_that_cannot_be_written_is_named(tiny, ordinary):
    (ordinary / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=r"closed/b: the folder .*closed is not writable$"):
        tiny.export(ordinary / "closed" / "b", to="onnx")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no"), OSError(errno.ENOSPC, "No space left")])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_in_the_middle_leaves_what_was_there(tiny, tmp_path, monkeypatch, error, there):
    out = tmp_path / "b"
    if there:
        tiny.export(out, to="onnx")
    before = content(out) if there else {}

    def fail(*_):
        raise error

    monkeypatch.setattr(export, "golden_files", fail)
    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        tiny.export(out, to="openvino", overwrite=True)
    if isinstance(error, OSError):
        assert str(caught.value).startswith("disk full: ")
    assert os.listdir(tmp_path) == (["b"] if there else [])
    assert (content(out) if there else {}) == before


def test_a_weighed_model_is_exported_with_its_weights(good_arrays, brick, tmp_path):
    weighing = WeighingPart(objective="logistic", labelled=5, defective=2, modules=9, seconds=0.5)
    own = tiny_of(good_arrays, weights=(0.1, 0.2, 0.7))
    tell(own, own.header_.model_copy(update={"weighing": weighing}))
    found = own.export(tmp_path / "b", to="onnx", good=good_arrays)
    assert found.bundle.model.weighing == weighing
    assert [one.weight for one in found.bundle.model.modules] == [0.1, 0.2, 0.7]
    runtime = Runtime.load(tmp_path / "b")
    compare(own, runtime, [*good_arrays[:2], *map(blotted, good_arrays)], atol=1e-5)
    expected, result = (evaluate(one, brick, resolution=64) for one in (own, runtime))
    assert expected["without_labels"] is not None
    assert result["without_labels"] is None  # a bundle has one graph, by the weights that it was exported with
    assert result["model"] == expected["model"]
    for key in ("aupro", "pixel_auroc", "pixel_ap", "image_auroc", "found", "false_alarms"):
        assert result["overall"][key] == pytest.approx(expected["overall"][key], abs=1e-4)


def test_only_what_is_needed_is_exported(good_arrays, tmp_path):
    """Of a model that has dropped all modules but one, and was fitted on two sizes."""
    own = tiny_of(good_arrays, names=("64/2",), weights=(1.0,))
    found = own.export(tmp_path / "b", to="onnx", good=good_arrays)
    assert found.bundle.model.sizes == [64, 128]
    graph = onnx.load(tmp_path / "b" / "graph.onnx").graph
    assert [one.name for one in graph.input] == ["image64"]
    assert sum(node.op_type == "Conv" for node in graph.node) == 3  # teacher's stages 1 and 2, and the student
    shapes = {tuple(one.dims) for one in graph.initializer}
    assert not {(6, 5, 3, 3), (7, 6, 3, 3), (8, 7, 3, 3)} & shapes  # of deeper stages
    compare(own, Runtime.load(tmp_path / "b"), [good_arrays[0], blotted(good_arrays[1])], atol=1e-5)


def test_the_papers_score_keeps_its_scale_and_threshold(paper, good_arrays, tmp_path):
    found = paper.export(tmp_path / "b", to="onnx", good=good_arrays)
    limit, threshold = paper.header_.calibration.limit, paper.thresholds_.review
    assert 0 < threshold < limit < 0.45
    assert found.bundle.model == paper.header_
    assert found.bundle.tolerance == pytest.approx(1e-3 * limit / 0.5)  # 1e-3 is for a limit of 0.5
    runtime = Runtime.load(tmp_path / "b")
    assert runtime.thresholds_ == Thresholds(threshold)
    compare(paper, runtime, [*good_arrays[:2], *map(blotted, good_arrays[:2])], atol=1e-6)
