"""The gates of an export: what scores otherwise, or loses too much, is not written."""

import os
import re
import shutil
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.data.sources import held_out_sources
from blemish.errors import ExportError, InputError
from blemish.evaluation.evaluate import evaluate
from blemish.evaluation.metrics import pixel_metrics
from blemish.export import export, gates, writing
from blemish.export.gates import Lost
from blemish.export.golden import golden_files
from blemish.images.masks import read_mask
from blemish.images.read import read_image
from blemish.images.resize import resize_mask
from blemish.runtime import Runtime
from blemish.runtime import runtime as running
from blemish.verdict.threshold import Thresholds
from exports import graph_of, graphs, paper, scaled_graphs, tiny, tiny_of, widely, written_once  # noqa: F401
from processor import needs_bfloat16


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
    assert float(match[2]) > tiny.thresholds_.review
    assert os.listdir(tmp_path) == []


def test_a_score_at_the_threshold_has_no_verdict_to_keep(tiny, good_arrays, tmp_path, monkeypatch, graphs):
    """A held-out image that sets the threshold is at it: a graph that gives a bit more or less is not refused."""
    kept, held_out = [], held_out_sources(tiny.header_.data, good_arrays)
    own, threshold = Detector(), tiny.header_.calibration.held_out[0].score
    own.model_ = tiny.model_
    own.set_thresholds(Thresholds(threshold))
    monkeypatch.setattr(export, "golden_files", lambda header, good: golden_files(header, held_out))
    for index, factor in enumerate((1 - 1e-5, 1 + 1e-5)):
        with monkeypatch.context() as patch:
            patch.setattr(writing, "write_onnx", scaled_graphs(graphs, factor))
            found = own.export(tmp_path / f"{index}", to="onnx", good=good_arrays)
            assert min(abs(one.score - threshold) for one in found.bundle.golden) < 1e-4
            patch.setattr(gates, "NEAR", {"float32": 0.0})
            with suppress(ExportError):
                own.export(tmp_path / f"exact{index}", to="onnx", good=good_arrays)
                kept.append(factor)
    assert len(kept) == 1  # the other is on the other side


def test_a_score_that_is_no_number_is_not_exported(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Runtime, "_raw", lambda self, image: (np.full((64, 64), np.nan, np.float32), -np.inf))
    with pytest.raises(ExportError, match=r"^not exported: golden image 0.png scores nan instead of 0\."):
        tiny.export(tmp_path / "b", to="onnx")
    assert os.listdir(tmp_path) == []


def nearest(image, size):
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST))


@pytest.mark.parametrize(
    ("name", "function"),
    [("resize", nearest), ("load", lambda source, bits: np.ascontiguousarray(read_image(source)[::-1]))],
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
    monkeypatch.setattr(gates, "NEAR", {"float32": 9.0})  # golden images may change as they like
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
    scale, threshold = detector.header_.scale, detector.thresholds_.review
    limit = float(scale.symmetric(np.array([threshold])).item())  # of maps that are not on the scale
    plain = {path: Runtime.load(bundle).raw_map(read_image(path)) for path in files}
    below = max(float(one.max()) for one in plain.values() if one.max() <= limit)
    factor = 1.0005 * limit / below
    widely(monkeypatch)
    monkeypatch.setattr(writing, "write_onnx", scaled_graphs(graphs, factor))
    found = detector.export(tmp_path / "b", to="onnx", labelled=brick)
    flipped = sum((one.max() > limit) != (factor * one.max() > limit) for one in plain.values())
    assert flipped >= 1
    before = [reference.map for _, _, reference in detector.references(files)]
    after = [reference.map for _, _, reference in Runtime.load(tmp_path / "b").references(files)]
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


@needs_bfloat16
def test_thresholds_taken_anew_are_what_verdicts_are_compared_by(paper, good_arrays, tmp_path, monkeypatch, graphs):
    """All of a graph's maps are half as large again, and so is its threshold: no verdict changes."""
    widely(monkeypatch, allowed=0.7)
    monkeypatch.setattr(writing, "write_onnx", scaled_graphs(graphs, 1.5))
    found = paper.export(tmp_path / "b", to="openvino", precision="bfloat16", good=good_arrays)
    limit = paper.thresholds_.review
    assert found.bundle.model.calibration.review == pytest.approx(1.5 * limit, rel=0.02)
    assert any(limit < one.score <= 1.5 * limit * 1.02 for one in found.bundle.golden[2:])
    monkeypatch.setattr(gates, "NEAR", {"bfloat16": 1e-3})
    with pytest.raises(ExportError, match="has another verdict"):  # without, the old threshold stays
        paper.export(tmp_path / "c", to="openvino", precision="bfloat16")
