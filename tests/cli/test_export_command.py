"""The command that exports, and the commands that take a bundle where they take a model file."""

import json
import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from blemish import Labels
from blemish.cli.app import main
from blemish.detector import Detector
from blemish.export import export, writing
from blemish.runtime import Runtime
from blemish.runtime.bundle import read_bundle
from bundles import edit


def run(capsys, *arguments):
    """Run a command; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def written(bundle, monkeypatch):
    """The graph of the model, as it was written before: torch would take seconds."""
    monkeypatch.setattr(writing, "write_onnx", lambda path, graph: shutil.copy(bundle / "graph.onnx", path))


def scaled(bundle, factor):
    """Stands for write_onnx: maps are larger by a factor."""
    model = onnx.load(bundle / "graph.onnx")
    (rows,) = [one for one in model.graph.initializer if one.name == "rows"]
    rows.CopyFrom(numpy_helper.from_array(np.float32(factor) * numpy_helper.to_array(rows), "rows"))
    return lambda path, graph: path.write_bytes(model.SerializeToString())


def content(folder):
    """Every file of a folder with its bytes."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def facts(printed):
    """What is printed in two columns."""
    return dict(line.split(None, 1) for line in printed.splitlines())


def size_of(folder):
    return f"{sum(map(len, content(folder).values())) / 1e6:.1f} MB"


def test_export_says_what_it_has_made(capsys, model, bundle, brick, tmp_path, monkeypatch, written):
    calls, opened = [], export.open_engine
    monkeypatch.setattr(export, "open_engine", lambda *given, **named: calls.append(named) or opened(*given, **named))
    monkeypatch.setattr(Runtime, "load", lambda *given, **named: pytest.fail("the engine was opened again"))
    out = tmp_path / "b"
    good = brick / "train" / "good"
    code, printed, err = run(capsys, "export", model, "--to", "onnx", "--good", good, "--labelled", brick, "--out", out)
    assert (code, err) == (0, "exporting: half a minute or so\n")
    lines, found = facts(printed), read_bundle(out)
    assert list(lines) == [
        "bundle",
        "exported",
        "model",
        "NG",
        "could",
        "held",
        "images",
        "self-test",
        "difference",
        "labelled",
    ]
    assert lines["bundle"] == f"{out} ({size_of(out)}), for onnx, float32"
    assert lines["exported"] == f"{found.exported} by blemish {found.blemish}"
    assert lines["model"] == f"{found.model.created}, 4 modules: 64/2, 64/3, 128/2, 128/3"
    scores = sorted(found.model.calibration.scores, reverse=True)
    assert lines["NG"] == f"above   {scores[1]:.4f}; of good parts like those held out at most 4.9 %"
    assert lines["could"].startswith(
        f"be   2.5 %: {scores[0]:.4f} (one image decides), 4.9 %: {scores[1]:.4f}, 7.4 %: {scores[2]:.4f}, "
    )
    assert lines["held"] == (
        "out   40 good images scored by students that had not learnt them: 13 by this model's, 27 by others"
    )
    assert lines["self-test"] == "5 golden images, on each start, within 0.001"
    assert lines["labelled"].endswith("; 0 verdicts of 18 changed")
    aupro = lines["labelled"].split()[1].rstrip(",")
    assert lines["labelled"].startswith(f"AUPRO {aupro}, the model's {aupro}; ")
    assert found.model == read_bundle(bundle).model
    assert os.listdir(tmp_path) == ["b"]
    assert len(calls) == 1


@pytest.mark.parametrize(("option", "precision"), [(None, "float32"), ("--bf16", "bfloat16"), ("--int8", "int8")])
def test_export_hands_its_options_on(capsys, model, bundle, brick, tmp_path, monkeypatch, option, precision):
    given = {}

    def fake(detector, out, **options):
        given.update(options, out=out)
        return export.Exported(read_bundle(bundle), 0.00123, 4.5e-5, export.Lost(9, 1, 0.0321, 0.91234, 0.90123))

    monkeypatch.setattr("blemish.detector.Detector.export", fake)
    monkeypatch.setattr("blemish.printing.bundles.print_bundle", lambda folder, found: None)
    options = ["--to", "openvino", "--out", tmp_path / "b", "--good", brick, *([option] if option else [])]
    code, printed, _ = run(capsys, "export", model, *options, "--labelled", brick, "--overwrite")
    assert code == 0
    assert printed.splitlines() == [
        "difference  from torch on the golden images: scores 1.2e-03 at most, maps 4.5e-05 on average",
        "labelled    AUPRO 0.9012, the model's 0.9123; scores 3.2e-02 apart at most; 1 verdict of 9 changed",
    ]
    assert given == {
        "to": "openvino",
        "precision": precision,
        "good": [brick],
        "labelled": brick,
        "overwrite": True,
        "out": tmp_path / "b",
        "labels": Labels(),
        "false_alarms": None,
    }
    run(capsys, "export", model, *options, "--false-alarms", "10%,2%")
    assert given["false_alarms"] == "10%,2%"


def test_export_refuses_what_scores_otherwise(capsys, model, bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "write_onnx", scaled(bundle, 1.02))
    code, printed, err = run(capsys, "export", model, "--to", "onnx", "--out", tmp_path / "b")
    assert (code, printed) == (3, "")
    first, second = err.splitlines()
    assert first == "exporting: half a minute or so"
    assert second.startswith("error: not exported: golden image 0.png scores 0.")
    assert second.endswith("; float32 may be off by 0.001 and 0.0001")
    assert os.listdir(tmp_path) == []


def test_export_replaces_a_bundle_only_when_told_so(capsys, model, bundle, tmp_path, written):
    out = shutil.copytree(bundle, tmp_path / "b")
    before = content(out)
    command = ["export", model, "--to", "onnx", "--out", out]
    code, printed, err = run(capsys, *command)
    assert (code, printed, err) == (2, "", f"error: {out}: exists; pass --overwrite to replace it\n")  # at once
    assert content(out) == before
    assert run(capsys, *command, "--overwrite")[0] == 0
    assert set(content(out)) == {"bundle.json", "graph.onnx", "golden/0.png", "golden/1.jpg"}  # no photographs given
    assert os.listdir(tmp_path) == ["b"]


def test_two_exports_at_a_time_do_not_mix(capsys, model, bundle, tmp_path, monkeypatch):
    """The second ends at once, without a model being loaded, and the first as if it had been alone."""
    out, tried, load = tmp_path / "b", [], Detector.load
    command = ["export", model, "--to", "onnx", "--out", out, "--overwrite"]

    def write(path, graph):
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(Detector, "load", lambda *_, **__: pytest.fail("not at once"))
        tried.append(run(capsys, *command))
        assert sorted(tmp_path.rglob("*")) == before
        shutil.copy(bundle / "graph.onnx", path)

    monkeypatch.setattr(writing, "write_onnx", write)
    for _ in range(2):  # a new bundle, and one that is replaced
        monkeypatch.setattr(Detector, "load", load)
        assert run(capsys, *command)[0] == 0
        text = f"error: {out}: another command is at work on it; wait, or choose another folder\n"
        assert tried.pop() == (2, "", text)
        read_bundle(out)
        assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export MODEL --to onnx --out NEW --bf16 --int8", "bf16 and int8: give one of them"),
        ("export MODEL --to onnx --out NEW --int8", "int8: onnxruntime is no faster with it"),
        ("export MODEL --to onnx --out NEW --bf16", "bfloat16: onnxruntime is no faster with it"),
        ("export MODEL --to openvino --out NEW --int8", "int8: needs the good images of the fit"),
        ("export MODEL --to torch --out NEW", "to: torch is not allowed, expected onnx or openvino"),
        (
            "export MODEL --to onnx --out NEW --good TEST",
            "good: 13 of the 13 good images that set the threshold are not",
        ),
        ("export MODEL --to onnx --out NEW --good NONE", "no such file: "),
        ("export MODEL --to onnx --out BRICK", "is not empty and holds no bundle.json; choose another folder"),
        ("export NONE --to onnx --out NEW", "none: no such file"),
        ("export BUNDLE --to onnx --out NEW", "not a file"),
        ("export MODEL --to onnx --out NEW --device tpu", "device: tpu is not allowed"),
        ("predict BUNDLE TEST --out NEW --weights MODEL", "weights: a bundle holds those of its teacher"),
        ("predict BUNDLE TEST --out NEW --device cuda", "device: cuda is not allowed for a bundle"),
        ("evaluate BUNDLE BRICK --weights MODEL", "weights: a bundle holds those of its teacher"),
        ("evaluate BUNDLE NONE", "no such folder"),
        ("weigh BUNDLE BRICK --out NEW", "not a file"),
    ],
)
def test_a_bad_input_is_one_line_and_ends_with_2(capsys, model, bundle, brick, tmp_path, written, arguments, message):
    places = {"MODEL": model, "BUNDLE": bundle, "BRICK": brick, "TEST": brick / "test"}
    places |= {"NEW": tmp_path / "new", "NONE": tmp_path / "none"}
    before = content(bundle)
    code, printed, err = run(capsys, *(places.get(word, word) for word in arguments.split()))
    assert (code, printed) == (2, "")
    lines = [line for line in err.splitlines() if not line.startswith("exporting: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert os.listdir(tmp_path) == []
    assert content(bundle) == before


@pytest.mark.parametrize("command", ["inspect", "evaluate", "predict"])
def test_a_folder_that_is_no_bundle_ends_with_3(capsys, brick, bundle, tmp_path, command):
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    (damaged / "graph.onnx").write_bytes(b"\0")
    more = {"inspect": [], "evaluate": [brick], "predict": [brick / "test", "--out", tmp_path / "out"]}[command]
    for folder, message in (
        (brick, "not a bundle: it has no bundle.json; expected a folder that blemish export has written"),
        (damaged, "graph.onnx is damaged: checksum mismatch"),
    ):
        code, printed, err = run(capsys, command, folder, *more)
        assert (code, printed, err) == (3, "", f"error: {folder}: {message}\n")
    assert os.listdir(tmp_path) == ["damaged"]


def records(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_predict_gives_the_same_with_a_bundle(capsys, model, bundle, brick, tmp_path):
    printed = {}
    for name, scorer in (("model", model), ("bundle", bundle)):
        command = ["predict", scorer, brick / "test", "--out", tmp_path / name, "--save-maps"]
        code, printed[name], err = run(capsys, *command)
        assert (code, err) == (0, "")
    expected, found = records(tmp_path / "model"), records(tmp_path / "bundle")
    assert len(found) == 18
    for one, other in zip(expected, found, strict=True):
        assert list(one) == list(other)
        assert other["score"] == pytest.approx(one["score"], abs=1e-4)
        for key in ("path", "thresholds", "verdict", "overlay"):
            assert one[key] == other[key]
        assert len(one["regions"]) == len(other["regions"])
    assert {one["verdict"] for one in found} == {"OK", "NG"}
    files = set(content(tmp_path / "bundle"))
    assert files == set(content(tmp_path / "model"))
    for name in (name for name in files if name.endswith(".npy")):
        maps = [np.load(tmp_path / kind / name) for kind in ("model", "bundle")]
        np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    assert printed["model"].splitlines()[0] == printed["bundle"].splitlines()[0]


def test_predict_tests_a_bundle_unless_told_not_to(capsys, bundle, brick, tmp_path):
    own = shutil.copytree(bundle, tmp_path / "own")
    edit(own, lambda fields: fields["golden"][1].update(score=fields["golden"][1]["score"] + 0.01))
    command = ["predict", own, brick / "test" / "good" / "000.png", "--out", tmp_path / "out"]
    code, printed, err = run(capsys, *command)
    assert (code, printed) == (3, "")
    assert err.startswith(f"error: {own}: self-test failed: golden/1.jpg scores ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert run(capsys, *command, "--no-self-test")[0] == 0
    assert len(records(tmp_path / "out")) == 1


def test_inspect_shows_a_bundle(capsys, bundle):
    code, printed, err = run(capsys, "inspect", bundle)
    assert (code, err) == (0, "")
    lines, found = facts(printed), read_bundle(bundle)
    assert list(lines) == ["bundle", "exported", "model", "NG", "could", "held", "images", "self-test"]
    assert lines["bundle"] == f"{bundle} ({size_of(bundle)}), for onnx, float32"
    assert lines["self-test"] == "5 golden images, on each start, within 0.001"
    code, printed, _ = run(capsys, "inspect", bundle, "--json")
    assert code == 0
    assert json.loads(printed, parse_constant=pytest.fail) == found.model_dump()


def test_evaluate_gives_the_same_with_a_bundle(capsys, model, bundle, brick, tmp_path):
    own, bundle = shutil.copy(model, tmp_path / "own.safetensors"), shutil.copytree(bundle, tmp_path / "b")
    before = content(bundle)
    results = {}
    for name, scorer in (("model", own), ("bundle", bundle)):
        code, _, err = run(capsys, "evaluate", scorer, brick, "--json", tmp_path / f"{name}.json")
        assert (code, err) == (0, "")
        results[name] = json.loads((tmp_path / f"{name}.json").read_text())
    assert content(bundle) == before  # nothing is noted in it
    lists = [json.loads((tmp_path / f"{name}.tested.json").read_text()) for name in ("own.safetensors", "b")]
    assert lists[0]["images"] == lists[1]["images"]
    assert len(lists[0]["images"]) == 18
    assert facts(run(capsys, "inspect", bundle)[1])["images"].endswith("; 0 weighed, 18 tested")
    assert json.loads(run(capsys, "inspect", bundle, "--json")[1])["model"]["data"]["tested"] == lists[1]["images"]
    expected, found = results["model"], results["bundle"]
    close(found, expected)
    assert found["model"]["modules"] == ["64/2", "64/3", "128/2", "128/3"]
    assert 0.5 < found["overall"]["aupro"] < 1
    assert found["overall"]["found"] == 12


def close(found, expected):
    """Equal, but for numbers that may differ by 1e-4."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            close(found[key], expected[key])
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-4)
    else:
        assert found == expected
