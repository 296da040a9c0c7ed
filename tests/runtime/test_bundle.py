"""The bundle's folder: what is read, and every kind of damage, each with one line."""

import json
import os
import re
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from blemish.cli.app import main
from blemish.errors import InputError, ModelFileError
from blemish.runtime import Runtime
from blemish.runtime import bundle as bundle_module
from blemish.runtime.bundle import FILE, is_bundle, read_bundle
from blemish.verdict.threshold import Thresholds
from bundles import copied, edit, fields, refusal, seal


@pytest.fixture
def folder(bundle, tmp_path):
    """A copy of the bundle that a test may damage."""
    return copied(bundle, tmp_path)


def names(folder):
    """Return the names of all files of a bundle but bundle.json."""
    found = fields(folder)
    return [*found["graph"], *(golden["file"] for golden in found["golden"])]


def refused(folder, kind=ModelFileError):
    return refusal(lambda: read_bundle(folder), folder, kind)


def test_a_bundle_says_what_its_model_is(bundle, detector):
    found = read_bundle(bundle)
    assert found.model == detector.header_
    assert (found.target, found.precision, found.bundle_version) == ("onnx", "float32", 1)
    assert list(found.graph) == ["graph.onnx"]
    assert len(found.golden) == 5  # two that are painted, three photographs
    assert is_bundle(bundle)
    assert not is_bundle(bundle / "nothing")


def test_a_flipped_bit_anywhere_in_a_file_is_found(folder):
    for name in names(folder):
        whole = (folder / name).read_bytes()
        for position in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1):
            data = bytearray(whole)
            data[position] ^= 1 << position % 8
            (folder / name).write_bytes(data)
            assert refused(folder) == f"{name} is damaged: checksum mismatch", position
        (folder / name).write_bytes(whole)
    read_bundle(folder)


def test_a_flipped_bit_in_the_json_gives_one_line_or_changes_nothing(folder, bundle):
    whole = (folder / FILE).read_bytes()
    expected, lines = read_bundle(bundle), 0
    start = whole.index(b'"model"')
    for position in [*range(0, start, 41), *range(start, whole.index(b'"train"', start), 29)]:
        data = bytearray(whole)
        data[position] ^= 1 << position % 7
        (folder / FILE).write_bytes(data)
        try:
            found = read_bundle(folder)
        except Exception:
            assert refused(folder)
            lines += 1
        else:
            assert found == expected
    assert lines > 20


def test_a_file_that_is_cut_or_longer_or_empty_is_found(folder):
    for name in names(folder):
        whole = (folder / name).read_bytes()
        for data in (b"", whole[:-1], whole[: len(whole) // 2], whole + b"\0"):
            (folder / name).write_bytes(data)
            assert refused(folder) == f"{name} is damaged: checksum mismatch"
        (folder / name).write_bytes(whole)


def test_a_missing_file_is_named(folder):
    for name in [*names(folder), FILE]:
        os.rename(folder / name, folder / "kept")
        what = "not a bundle: it has no" if name == FILE else "is damaged: it lacks"
        assert refused(folder) == f"{what} {name}; expected a folder that blemish export has written"
        os.rename(folder / "kept", folder / name)
    shutil.rmtree(folder / "golden")
    assert refused(folder).startswith("is damaged: it lacks golden/0.png;")


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_what_is_no_plain_file_is_not_opened(folder, kind):
    """Not even a link to the very file."""
    for name in [*names(folder), FILE]:
        path, kept = folder / name, folder / "kept"
        os.rename(path, kept)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(kept if kind == "link" else folder / "nothing")
        assert refused(folder) == f"{name} is not a plain file"
        path.rmdir() if kind == "folder" else path.unlink()
        os.rename(kept, path)


def test_a_file_that_is_too_large_is_not_read(folder, monkeypatch):
    size = (folder / "graph.onnx").stat().st_size
    monkeypatch.setattr(bundle_module, "LARGEST", size - 1)
    assert refused(folder) == f"graph.onnx has {size} bytes, at most {size - 1} are allowed"
    monkeypatch.setattr(bundle_module, "LARGEST", size)
    read_bundle(folder)


def test_a_file_that_cannot_be_read_is_named(folder, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert refused(folder, InputError) == f"/{FILE}: cannot be read: permission denied"


def test_what_is_no_folder_of_a_bundle(tmp_path, bundle):
    assert refused(tmp_path / "nothing", InputError) == "no such folder"
    assert refused(tmp_path).startswith(f"not a bundle: it has no {FILE};")
    assert refused(bundle / FILE, InputError) == "a file; expected a bundle, the folder of blemish export"
    strange = tmp_path / "a\nb\u202e"
    strange.mkdir()
    with pytest.raises(Exception, match=re.escape(f"{tmp_path}/a\\nb\\u202e: not a bundle: ")):
        read_bundle(strange)
    with pytest.raises(InputError, match=r"a\\x00b/bundle.json: cannot be read: embedded null byte"):
        read_bundle(tmp_path / "a\0b")


DAMAGED = {
    "empty": (lambda text: b"", "is damaged: not valid JSON: Expecting value"),
    "truncated": (lambda text: text[: len(text) // 2], "is damaged: "),
    "not JSON": (lambda text: b"graph: graph.onnx\n", "is damaged: not valid JSON: Expecting value"),
    "list": (lambda text: b"[" + text + b"]", "is damaged: not a JSON object"),
    "null": (lambda text: b"null", "is damaged: not a JSON object"),
    "number": (lambda text: b"1e400", "is damaged: not a JSON object"),
    "long number": (lambda text: b"9" * 5000, "is damaged: not valid JSON: Exceeds the limit"),
    "two objects": (lambda text: text + text, "is damaged: not valid JSON: Extra data"),
    "not UTF-8": (
        lambda text: text.replace(b"brick", b"br\xffck").replace(b"0.1.0", b"\xff"),
        "is damaged: not UTF-8 at byte",
    ),
    "UTF-16": (lambda text: text.decode().encode("utf-16"), "is damaged: not UTF-8 at byte 0"),
    "BOM": (lambda text: b"\xef\xbb\xbf" + text, "is damaged: not valid JSON: Unexpected UTF-8 BOM"),
    "deep list": (lambda text: b"[" * 100_000, "is damaged: nested too deeply"),
    "deep object": (lambda text: b'{"a":' * 100_000, "is damaged: nested too deeply"),
    "twice": (
        lambda text: text.replace(b"{", b'{"target": "onnx",', 1),
        "is damaged: not valid JSON: duplicate key target",
    ),
    "twice, inside": (
        lambda text: text.replace(b'"reference_size"', b'"seed": 1, "reference_size"', 1),
        "is damaged: not valid JSON: duplicate key seed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_json_that_is_damaged(folder, case):
    damage, expected = DAMAGED[case]
    (folder / FILE).write_bytes(damage((folder / FILE).read_bytes()))
    assert refused(folder).startswith(f"{FILE} {expected}")


def test_a_missing_field_is_named(folder):
    whole = fields(folder)
    for name in set(whole) - {"bundle_version"}:
        (folder / FILE).write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        assert refused(folder) == f"{FILE}: field {name}: Field required"
    for name in set(whole["model"]) - {"schema_version", "weighing", "roi"}:
        model = {key: value for key, value in whole["model"].items() if key != name}
        (folder / FILE).write_text(json.dumps(whole | {"model": model}))
        assert refused(folder) == f"{FILE}: field model.{name}: Field required"


def test_an_unknown_field_is_named(folder):
    whole = fields(folder)
    for (place, value), change in {
        ("tolerence", 0.1): {"tolerence": 0.1},
        ("golden.0.size", 3): {"golden": [whole["golden"][0] | {"size": 3}]},
        ("model.calibration.limits", 1): {
            "model": whole["model"] | {"calibration": whole["model"]["calibration"] | {"limits": 1}}
        },
    }.items():
        (folder / FILE).write_text(json.dumps(whole | change))
        assert refused(folder) == f"{FILE}: field {place}: Extra inputs are not permitted, got {value}"


@pytest.mark.parametrize("version", [2, 9, 10**30])
def test_a_newer_bundle_says_so_even_if_it_has_other_fields(folder, version):
    (folder / FILE).write_text(json.dumps({"bundle_version": version, "blemish": "7.1\n", "news": [1]}))
    assert refused(folder) == "made by newer version 7.1\\n; export the model again, or update"


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", None, True, [2]])
def test_a_version_that_is_none(folder, version):
    edit(folder, lambda found: found.update(bundle_version=version))
    assert refused(folder).startswith(f"{FILE}: field bundle_version: Input should be ")


WRONG = {
    "target": ["tensorrt", 1],
    "precision": ["float16", None],
    "exported": ["yesterday", 0],
    "tolerance": [0, -1.0, 1, float("nan"), float("inf"), "0.1"],
    "graph.graph.onnx": ["a" * 63, "A" * 64, None],
    "golden": [[], {}, "golden/0.png"],
    "golden.0.score": [-0.1, float("nan"), float("-inf"), "0.5"],
    "golden.4.mean": [-0.1, float("nan"), True],
    "golden.1.sha256": ["", "g" * 64],
    "golden.0.file": [
        *("../golden/0.png", "golden/../golden/0.png", "/etc/passwd", "/golden/0.png", "golden/0.png\n"),
        *("golden/0000.png", "golden//0.png", "golden\\0.png", "0.gif", "golden/٣.png", "golden/0.png/../../0.png"),
    ],
    "model.calibration.review": [float("nan"), float("inf"), -0.5, 0],
    "model.calibration.ng": [float("nan"), float("inf"), -0.5, "0.5"],
    "model.calibration.held_out": [3, None, {}],
    "model.calibration.held_out.0.score": [float("nan"), float("inf"), -0.1, "0.5", None],
    "model.calibration.limit": [float("nan"), None],
    "model.reference_size": [96, 64.0, "64", 1 << 40],
    "model.sizes": [[], [63], [64, 1e400]],
    "model.modules": [[]],
    "model.seed": [1 << 32, -1],
}  # fmt: skip


def put(found, place, value):
    """Set the value at a place such as golden.0.score."""
    parts = ["graph", "graph.onnx"] if place == "graph.graph.onnx" else place.split(".")
    for part in parts[:-1]:
        found = found[int(part) if part.isdigit() else part]
    found[parts[-1]] = value


@pytest.mark.parametrize("place", WRONG)
def test_a_field_that_is_wrong_is_named(folder, place):
    whole = (folder / FILE).read_bytes()
    for value in WRONG[place]:
        edit(folder, lambda found, value=value: put(found, place, value))
        text = refused(folder)
        assert text.startswith(f"{FILE}: field {place}"), (value, text)
        (folder / FILE).write_bytes(whole)


def test_numbers_that_do_not_fit_each_other_are_named(folder):
    whole = (folder / FILE).read_bytes()
    for place, value, text in [
        ("model.calibration.ng", 1e-3, "model.calibration.ng: must not be below review, "),
        ("model.calibration.limit", -1e9, "model.calibration: limit must be above good, got -1e+09 and "),
        ("model.modules.0.weight", 2.0, "model.modules: weights must sum to 1, got "),
    ]:
        edit(folder, lambda found, place=place, value=value: put(found, place, value))
        assert refused(folder).startswith(f"{FILE}: field {text}")
        (folder / FILE).write_bytes(whole)


def test_files_are_those_of_the_target_and_no_others(folder):
    digest = fields(folder)["graph"]["graph.onnx"]
    for graph in (
        {},
        {"../graph.onnx": digest},
        {"graph.onnx": digest, "weights.bin": digest},
        {"/graph.onnx": digest},
    ):
        edit(folder, lambda found, graph=graph: found.update(graph=graph))
        assert refused(folder) == f"{FILE}: field graph: expected graph.onnx"
    edit(folder, lambda found: found.update(graph={"graph.onnx": digest}, target="openvino"))
    assert refused(folder) == f"{FILE}: field graph: expected graph.xml and graph.bin"


def with_external_data(folder, *, location):
    """Replace the graph by one whose only tensor lies in another file, and return its bytes."""
    tensor = numpy_helper.from_array(np.arange(16, dtype=np.float32), "w")
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", ports[:1], ports[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(model, folder / "graph.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return (folder / "graph.onnx").read_bytes()


def test_a_graph_whose_values_lie_elsewhere_is_refused(folder):
    """With checksums that are right, and however the fields of the format are put."""
    data = with_external_data(folder, location="weights.bin")
    usual = b"\n\x08location\x12\x0bweights.bin"
    assert data.count(usual) == 1
    for entry in (
        usual,
        usual.replace(b"weights.bin", b"/etc/passwd"),
        b"\x12\x0bweights.bin\n\x08location",  # the order is free
        b"\x8a\x00\x08location\x12\x09eights.bin"[:23],  # a number may have leading zeros
        b"\n\x88\x00location\x12\x0aeights.bin",
    ):
        (folder / "graph.onnx").write_bytes(data.replace(usual, entry))
        seal(folder)
        assert refused(folder) == "graph.onnx: external data refused; a graph must hold all of its values"


@pytest.mark.parametrize("damage", ["checksum", "json", "no bundle"])
def test_the_command_line_says_one_line_and_leaves_with_3(folder, tmp_path, capsys, damage):
    if damage == "checksum":
        (folder / "graph.onnx").write_bytes(b"")
    elif damage == "json":
        (folder / FILE).write_bytes(b"[" * 100_000)
    else:
        (folder / FILE).unlink()
    for command in (
        ["predict", str(folder), str(folder / "golden"), "--out", str(tmp_path / "out")],
        ["inspect", str(folder)],
    ):
        assert main(command) == 3
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"error: {folder}: ")
        assert shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("limit", [1.001, 2.0])
def test_whatever_is_edited_by_hand_is_noticed(bundle, tmp_path, limit):
    folder = copied(bundle, tmp_path)
    found = fields(folder)
    found["model"]["calibration"]["limit"] *= limit
    (folder / FILE).write_text(json.dumps(found))
    assert refusal(lambda: read_bundle(folder), folder) == "bundle.json is damaged: checksum mismatch"


def test_a_file_of_a_bundle_is_known_for_one(tmp_path):
    """Whoever gives bundle.json or the graph means the folder."""
    for name in (FILE, "graph.onnx"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_text("{}")
    assert is_bundle(tmp_path)
    assert not is_bundle(tmp_path / "model.safetensors")
    assert not is_bundle(tmp_path / "gone")
    for name in (FILE, "graph.onnx"):
        with pytest.raises(InputError) as caught:
            is_bundle(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: a file of a bundle; give its folder: {tmp_path}"


def earlier_bundle(folder, found):
    """Make `bundle.json` what the version before thresholds could be chosen has written, by hand; return the text."""
    model = found["model"]
    calibration = model["calibration"]
    kept = {"held_out": 6, "threshold": 0.5, "false_alarm_rate": 1 / 7}
    model["calibration"] = kept | {name: calibration[name] for name in ("good", "limit")}
    model["schema_version"] = 2
    del model["preprocessing"]["bits"]  # at its default it was not written
    del found["sha256"]
    unsealed = json.dumps({**found, "sha256": "0" * 64}, separators=(",", ":"), ensure_ascii=False)
    checksum = sha256(unsealed.encode()).hexdigest()
    text = json.dumps({**found, "sha256": checksum}, indent=1, ensure_ascii=False) + "\n"
    (folder / FILE).write_text(text, encoding="utf-8")
    return text


def test_a_bundle_of_the_version_before_is_read_and_its_checksum_still_counts(folder, bundle, brick):
    found = fields(folder)
    found["blemish"] = 'Prüfung "0.1" \\ { "sha256": "x" }'  # spaces and quotes inside of words are no spaces between
    text = earlier_bundle(folder, found)
    old, new = read_bundle(folder), read_bundle(bundle)
    assert old.model.calibration.thresholds == Thresholds(0.5)
    assert (old.model.calibration.held_out, old.model.calibration.earlier.held_out) == ([], 6)
    assert (old.model.scale, old.model.data, old.graph) == (new.model.scale, new.model.data, new.graph)
    image = brick / "test" / "hole" / "000.png"
    runtimes = Runtime.load(folder), Runtime.load(bundle)
    (before,), (after,) = (runtime.predict(image) for runtime in runtimes)
    assert np.array_equal(before.score_map, after.score_map)
    assert before.verdict == Thresholds(0.5).verdict(before.score)
    for old_text, new_text in (
        ('"threshold": 0.5', '"threshold": 0.6'),
        ("Prüfung", "Prufung"),
        ("\\\\ {", "\\\\  {"),
        ('"seed": 1', '"seed": 2'),
        ('"precision": "float32"', '"precision": "bfloat16"'),
    ):
        assert text.count(old_text) == 1
        (folder / FILE).write_text(text.replace(old_text, new_text), encoding="utf-8")
        assert refused(folder) == f"{FILE} is damaged: checksum mismatch"
    digits = json.loads(text)["sha256"]
    for position in range(0, 64, 9):
        other = "0" if digits[position] != "0" else "1"
        (folder / FILE).write_text(text.replace(digits, digits[:position] + other + digits[position + 1 :]))
        assert refused(folder) == f"{FILE} is damaged: checksum mismatch"
