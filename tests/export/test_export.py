"""An export is the detector, or it is not there."""

import errno
import os
import re
import shutil
from contextlib import suppress
from hashlib import sha256
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from blemish.data.records import DataPart
from blemish.data.samples import fingerprints
from blemish.data.sources import held_out_sources
from blemish.errors import ExportError, InputError, StorageError
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.metrics import pixel_metrics
from blemish.export import export, gates, writing
from blemish.export.gates import Lost
from blemish.export.golden import golden_files
from blemish.export.graph import Graph, write_onnx
from blemish.images.read import read_image, read_mask
from blemish.images.resize import resize_mask
from blemish.method.pyramid import read_known
from blemish.method.scoring import score_pyramid
from blemish.method.teacher import state_fingerprint
from blemish.model.calibration import calibrate
from blemish.model.header import Header, WeighingPart
from blemish.runtime import Runtime
from blemish.runtime import runtime as running
from blemish.runtime.bundle import read_bundle
from processor import has_exact_int8, needs_bfloat16
from tiny import tell, tiny_detector


def widely(monkeypatch, *, allowed=0.99):
    """Let no golden image's score or map be too far off."""
    for name in ("SCORE", "ON_AVERAGE"):
        monkeypatch.setattr(gates, name, dict.fromkeys(export.PRECISIONS, allowed))


class Graphs:
    """Stands for write_onnx: every graph is written once, since torch takes seconds for it."""

    def __init__(self):
        self.kept = {}

    def __call__(self, path, graph):
        key = state_fingerprint(graph.state_dict()), graph.score
        if key not in self.kept:
            write_onnx(path, graph)
            self.kept[key] = path.read_bytes()
        path.write_bytes(self.kept[key])


@pytest.fixture(scope="module")
def graphs(detector, bundle):
    kept = Graphs()
    key = state_fingerprint(graph_of(detector).state_dict()), "whitened"
    kept.kept[key] = (bundle / "graph.onnx").read_bytes()
    return kept


@pytest.fixture(autouse=True)
def written_once(graphs, monkeypatch):
    monkeypatch.setattr(writing, "write_onnx", graphs)


def graph_of(detector):
    header = detector.header_
    return Graph(detector.model_.teacher, detector.modules_, reference_size=header.reference_size, score=header.score)


def scaled(data, factor):
    """An exported graph whose maps are larger by a factor."""
    model = onnx.load_from_string(data)
    (rows,) = [one for one in model.graph.initializer if one.name == "rows"]
    rows.CopyFrom(numpy_helper.from_array(np.float32(factor) * numpy_helper.to_array(rows), "rows"))
    return model.SerializeToString()


def tiny_of(good, *, names=("64/2", "64/3", "128/3"), weights=(0.5, 0.3, 0.2), score="whitened", change=None):
    """A tiny detector that has met good images: 9 trained it, 3 set its threshold."""
    detector, _ = tiny_detector(list(names), sizes=[64, 128], weights=list(weights), score=score)
    if change:
        change(detector)
    known, pyramid = read_known(good, [64, 128])
    held_out = {size: images[9:] for size, images in pyramid.items()}
    maps = score_pyramid(detector.model_.teacher, detector.modules_, held_out, size=64, score=score)
    data = DataPart(train=known[:9], held_out=known[9:])
    update = {"calibration": calibrate(maps, score=score), "data": data}
    tell(detector, Header.model_validate(detector.header_.model_copy(update=update).model_dump()))
    return detector


@pytest.fixture(scope="module")
def tiny(good_arrays):
    return tiny_of(good_arrays)


def blotted(picture):
    """The picture with a defect."""
    found = picture.copy()
    found[20:36, 24:40] = 250
    return found


def held_out_files(detector, brick):
    """The paths of the images that set the threshold, in the order of their sha256."""
    files = sorted((brick / "train" / "good").iterdir())
    known = dict(zip(fingerprints(files), files, strict=True))
    return [known[key] for key in sorted(image.sha256 for image in detector.header_.data.held_out)]


def compare(detector, runtime, images, *, atol):
    """Maps within a tolerance, and the same verdicts; returns the verdicts."""
    verdicts = []
    for expected, found in zip(detector.predict(images), runtime.predict(images), strict=True):
        assert found.score_map.shape == expected.score_map.shape
        assert found.score_map.dtype == np.float32
        np.testing.assert_allclose(found.score_map, expected.score_map, atol=atol)
        assert found.score == pytest.approx(expected.score, abs=atol)
        assert (found.path, found.verdict) == (expected.path, expected.verdict)
        verdicts.append(found.verdict)
    return verdicts


def test_a_bundle_scores_as_the_detector_does(detector, bundle, brick):
    runtime = Runtime.load(bundle)
    verdicts = compare(detector, runtime, brick / "test", atol=1e-5)
    assert {"OK", "NG"} == set(verdicts)
    pairs = zip(detector.reference_maps(brick / "test"), runtime.reference_maps(brick / "test"), strict=True)
    for (_, _, expected), (_, _, found) in pairs:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert runtime.threshold_ == detector.threshold_


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
    assert fingerprints(paths[2:4]) == trained
    assert (read_image(paths[4]) != read_image(paths[2])).any(axis=2).mean() > 0.03  # the first, with blots
    for golden, (_, _, expected) in zip(found.golden, detector.reference_maps(paths), strict=True):
        assert golden.score == pytest.approx(float(expected.max()), abs=1e-5)
        assert golden.mean == pytest.approx(float(expected.mean()), abs=1e-5)


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
    held_out = [float(runtime.raw_map(np.stack([one] * 3, axis=-1)).max()) for one in good_arrays[9:]]
    before, after = tiny.header_.calibration, found.bundle.model.calibration
    assert after.limit == pytest.approx(max(held_out), abs=1e-5)
    if precision == "float32":  # which needs no threshold of its own
        assert found.bundle.model == tiny.header_
    else:
        assert found.bundle.model == tiny.header_.model_copy(update={"calibration": after})
        assert (after.held_out, after.threshold) == (before.held_out, 0.5)
        assert after.limit != before.limit
        assert found.mean_difference > 1e-5


@needs_bfloat16
def test_without_good_images_the_threshold_is_the_models(tiny, tmp_path):
    found = tiny.export(tmp_path / "b", to="openvino", precision="bfloat16")
    assert found.bundle.model == tiny.header_
    assert [one.file for one in found.bundle.golden] == ["golden/0.png", "golden/1.jpg"]


def test_int8_is_int8_and_has_a_threshold_of_its_own(detector, bundle, brick, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "SCORE", {"int8": 0.25, "float32": 1e-3})  # short training, little to lean on
    monkeypatch.setattr(export, "RANGES", 12)
    if not has_exact_int8():  # sums saturate, and the gate sees it
        with pytest.raises(ExportError, match="golden image"):
            detector.export(tmp_path / "b", to="openvino", precision="int8", good=brick / "train" / "good")
        return
    found = detector.export(tmp_path / "b", to="openvino", precision="int8", good=brick / "train" / "good")
    text = (tmp_path / "b" / "graph.xml").read_text()
    names = ("FakeQuantize", "Convolution", "GroupConvolution")
    kinds = {name: len(re.findall(f'type="{name}"', text)) for name in names}
    weights = len(re.findall(r'element_type="i8" shape="(\d+, ){3,4}\d+"', text))
    assert kinds["Convolution"] + kinds["GroupConvolution"] == weights > 20  # each with weights of 8 bits
    assert weights / 2 < kinds["FakeQuantize"] <= weights  # teacher and student share what goes into a stage
    constants = onnx.load(bundle / "graph.onnx").graph.initializer
    size = sum(numpy_helper.to_array(one).nbytes for one in constants)
    assert (tmp_path / "b" / "graph.bin").stat().st_size < 0.65 * size
    before, after = detector.header_.calibration, found.bundle.model.calibration
    runtime, plain = Runtime.load(tmp_path / "b"), Runtime.load(bundle)
    held_out = [runtime.raw_map(read_image(path)) for path in held_out_files(detector, brick)]
    assert after.limit == pytest.approx(max(float(one.max()) for one in held_out), abs=1e-4)
    assert after.good == pytest.approx(float(np.median(held_out)), abs=1e-4)
    assert abs(after.limit - before.limit) > 1e-3
    assert (after.held_out, after.false_alarm_rate, after.threshold) == (6, 1 / 7, 0.5)
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
        ("onnx", "int4", False, "precision: int4 is not allowed, expected float32, bfloat16, int8"),
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
            "give the images that the model was fitted on (--good FOLDER)"
        )
    with pytest.raises(InputError) as caught:
        tiny.export(tmp_path / "b", to="openvino", precision="int8", good=good_arrays[9:])
    assert str(caught.value) == "good: none of the images that trained the model is among those given (--good FOLDER)"
    assert os.listdir(tmp_path) == []


def louder(detector):
    for module in detector.modules_:
        module.whitener.mul_(2)  # every map is higher by log 4


def other_weights(detector):
    for module, weight in zip(detector.modules_, (0.2, 0.3, 0.5), strict=True):
        module.weight = weight


@pytest.mark.parametrize("change", [louder, other_weights])
def test_a_graph_that_scores_otherwise_is_not_exported(tiny, good_arrays, tmp_path, monkeypatch, graphs, change):
    other = tiny_of(good_arrays, change=change)
    monkeypatch.setattr(writing, "write_onnx", lambda path, graph: graphs(path, graph_of(other)))
    with pytest.raises(ExportError) as caught:
        tiny.export(tmp_path / "b", to="onnx", good=good_arrays)
    line = str(caught.value)
    number = r"(\d\.\d{4})"
    match = re.fullmatch(
        rf"not exported: golden image 0.png scores {number} instead of {number}, its map is off by \S+ on average; "
        r"float32 may be off by 0.001 and 0.0001",
        line,
    )
    assert match, line
    assert abs(float(match[1]) - float(match[2])) > 1e-3
    assert (ExportError.exit_code, os.listdir(tmp_path)) == (3, [])


def test_a_verdict_that_changes_is_not_exported(tiny, good_arrays, tmp_path, monkeypatch, graphs):
    other = tiny_of(good_arrays, change=louder)
    monkeypatch.setattr(writing, "write_onnx", lambda path, graph: graphs(path, graph_of(other)))
    widely(monkeypatch)
    with pytest.raises(ExportError) as caught:
        tiny.export(tmp_path / "b", to="onnx", good=good_arrays)
    match = re.fullmatch(
        r"not exported: golden image 0\.png has another verdict: (0\.\d{4}) is (\d\.\d{4})", str(caught.value)
    )
    assert match, str(caught.value)
    (_, data), *_ = golden_files(tiny.header_, [])
    (before,) = tiny.predict([np.asarray(Image.open(BytesIO(data)))])
    assert (before.verdict, f"{before.score:.4f}") == ("OK", match[1])
    assert float(match[2]) > 0.5
    assert os.listdir(tmp_path) == []


def test_a_score_at_the_threshold_has_no_verdict_to_keep(tiny, good_arrays, tmp_path, monkeypatch, graphs):
    """The held-out image that sets the threshold is at it: a graph that gives a bit more or less is not refused."""
    kept, held_out = [], held_out_sources(tiny.header_.data, good_arrays)
    monkeypatch.setattr(export, "golden_files", lambda header, good: golden_files(header, held_out))
    for index, factor in enumerate((1 - 1e-5, 1 + 1e-5)):
        with monkeypatch.context() as patch:
            patch.setattr(writing, "write_onnx", scaled_graphs(graphs, factor))
            found = tiny.export(tmp_path / f"{index}", to="onnx", good=good_arrays)
            assert min(abs(one.score - 0.5) for one in found.bundle.golden) < 1e-4
            patch.setattr(gates, "ROUNDING", -1.0)
            with suppress(ExportError):
                tiny.export(tmp_path / f"exact{index}", to="onnx", good=good_arrays)
                kept.append(factor)
    assert len(kept) == 1  # the other is on the other side


def scaled_graphs(graphs, factor):
    """Stands for write_onnx: maps are larger by a factor."""

    def write(path, graph):
        graphs(path, graph)
        path.write_bytes(scaled(path.read_bytes(), factor))

    return write


def test_a_score_that_is_no_number_is_not_exported(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Runtime, "raw_map", lambda self, image: np.full((64, 64), np.nan, np.float32))
    with pytest.raises(ExportError, match=r"^not exported: golden image 0.png scores nan instead of 0\."):
        tiny.export(tmp_path / "b", to="onnx")
    assert os.listdir(tmp_path) == []


def nearest(image, size):
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST))


@pytest.mark.parametrize(
    ("name", "function"), [("resize", nearest), ("load", lambda source: np.ascontiguousarray(read_image(source)[::-1]))]
)
def test_another_resize_or_decode_is_not_exported(tiny, tmp_path, monkeypatch, name, function):
    """The graph is right, and so is all that the export itself computes: only the runtime reads images otherwise."""
    monkeypatch.setattr(running, name, function)
    with pytest.raises(ExportError, match=r"^not exported: golden image \d\.(png|jpg) scores"):
        tiny.export(tmp_path / "b", to="onnx")
    assert os.listdir(tmp_path) == []


def masks_of(brick, side):
    files = sorted((brick / "test").rglob("*.png"))
    truths = [brick / "ground_truth" / path.parent.name / f"{path.stem}_mask.png" for path in files]
    return files, [
        resize_mask(read_mask(path), side, side) if path.exists() else np.zeros((side, side), bool) for path in truths
    ]


def test_too_many_changed_verdicts_are_not_exported(detector, brick, tmp_path, monkeypatch, graphs):
    """AUPRO is what it was, as all maps are larger by one factor; what is called NG is not."""
    widely(monkeypatch)
    monkeypatch.setattr(gates, "ROUNDING", 9.0)  # golden images may change as they like
    monkeypatch.setattr(writing, "write_onnx", scaled_graphs(graphs, 4.0))
    with pytest.raises(ExportError) as caught:
        detector.export(tmp_path / "b", to="onnx", labelled=brick)
    text = str(caught.value)
    changed = int(
        re.fullmatch(rf"not exported: (\d+) of 18 verdicts on {re.escape(str(brick))} change; 2 may", text)[1]
    )
    assert 2 < changed <= 18
    assert os.listdir(tmp_path) == []


def test_what_is_lost_on_labelled_images_is_told(detector, bundle, brick, tmp_path, monkeypatch, graphs):
    """By a graph whose maps are larger, just so that one more good image is above the threshold."""
    files, masks = masks_of(brick, 128)
    limit = detector.header_.calibration.limit
    plain = {path: Runtime.load(bundle).raw_map(read_image(path)) for path in files}
    below = max(float(one.max()) for one in plain.values() if one.max() <= limit)
    factor = 1.0005 * limit / below
    widely(monkeypatch)
    monkeypatch.setattr(writing, "write_onnx", scaled_graphs(graphs, factor))
    found = detector.export(tmp_path / "b", to="onnx", labelled=brick)
    flipped = sum((one.max() > limit) != (factor * one.max() > limit) for one in plain.values())
    assert flipped >= 1
    before = [reference for _, _, reference in detector.reference_maps(files)]
    after = [reference for _, _, reference in Runtime.load(tmp_path / "b").reference_maps(files)]
    expected = [pixel_metrics(maps, masks)["aupro"] for maps in (before, after)]
    assert 0.5 < expected[0] < 1
    largest = max(abs(float(one.max()) - float(other.max())) for one, other in zip(before, after, strict=True))
    assert largest > 1e-4
    assert found.lost == Lost(
        images=18, verdicts=flipped, largest=largest, aupro=expected[0], exported_aupro=expected[1]
    )
    for predictor, value in ((detector, found.lost.aupro), (Runtime.load(tmp_path / "b"), found.lost.exported_aupro)):
        assert evaluate(predictor, brick, resolution=128)["overall"]["aupro"] == pytest.approx(value, abs=1e-6)


def test_a_bundle_that_loses_too_much_is_not_exported(detector, brick, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "LOST", -0.01)
    (tmp_path / "b").mkdir()
    with pytest.raises(ExportError) as caught:
        detector.export(tmp_path / "b", to="onnx", labelled=brick)
    pattern = rf"not exported: AUPRO on {re.escape(str(brick))} falls from (0\.\d{{4}}) to \1; it may lose -0.01"
    assert re.fullmatch(pattern, str(caught.value)), str(caught.value)
    assert os.listdir(tmp_path) == ["b"]
    assert os.listdir(tmp_path / "b") == []


def test_labelled_images_must_hold_defects(detector, brick, tmp_path):
    shutil.copytree(brick / "test" / "good", tmp_path / "data" / "test" / "good")
    with pytest.raises(InputError) as caught:
        detector.export(tmp_path / "b", to="onnx", labelled=tmp_path / "data")
    assert str(caught.value) == (
        f"{tmp_path}/data: no defective or no defect-free pixel, so there is no AUPRO to compare"
    )
    assert os.listdir(tmp_path) == ["data"]


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
        (file / "b", "cannot be made: File exists"),
    ):
        with pytest.raises((InputError, StorageError)) as caught:
            tiny.export(out, to="onnx", overwrite=overwrite)
        assert str(caught.value) == f"{file if out == file / 'b' else out}: {reason}"
    assert content(folder) == {"golden/0.png": b"mine"}
    assert file.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["b.txt", "link", "photos"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tiny, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=r"closed/b: cannot be written|cannot be made"):
        tiny.export(tmp_path / "closed" / "b", to="onnx")


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


@pytest.fixture(scope="module")
def paper(good_arrays):
    return tiny_of(good_arrays, score="paper", names=("64/2", "64/3"), weights=(0.6, 0.4))


def test_the_papers_score_keeps_its_threshold(paper, good_arrays, tmp_path):
    found = paper.export(tmp_path / "b", to="onnx", good=good_arrays)
    limit = paper.header_.calibration.limit
    assert 0 < limit < 0.4
    assert found.bundle.model == paper.header_
    assert found.bundle.model.calibration.threshold == limit
    assert found.bundle.tolerance == pytest.approx(1e-3 * limit / 0.5)  # 1e-3 is for a threshold of 0.5
    runtime = Runtime.load(tmp_path / "b")
    assert runtime.threshold_ == limit
    compare(paper, runtime, [*good_arrays[:2], *map(blotted, good_arrays[:2])], atol=1e-6)


@needs_bfloat16
def test_a_threshold_taken_anew_is_what_verdicts_are_compared_by(paper, good_arrays, tmp_path, monkeypatch, graphs):
    """All of a graph's maps are half as large again, and so is its threshold: no verdict changes."""
    widely(monkeypatch, allowed=0.7)
    monkeypatch.setattr(writing, "write_onnx", scaled_graphs(graphs, 1.5))
    found = paper.export(tmp_path / "b", to="openvino", precision="bfloat16", good=good_arrays)
    limit = paper.header_.calibration.limit
    assert found.bundle.model.calibration.threshold == pytest.approx(1.5 * limit, rel=0.02)
    assert any(limit < one.score <= 1.5 * limit * 1.02 for one in found.bundle.golden[2:])
    with pytest.raises(ExportError, match="has another verdict"):  # without, the old threshold stays
        paper.export(tmp_path / "c", to="openvino", precision="bfloat16")
