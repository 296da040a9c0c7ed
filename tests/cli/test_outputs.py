"""Where each command may write: one rule for all of them, and each option that names an output."""

import os

import pytest

from commands import SIZES, model, parts, quick_recipe, run  # noqa: F401

FILES = [
    "fit DATA --out OUT",
    "evaluate MODEL DATA --json OUT",
    "weigh MODEL DATA --out OUT",
    "weigh MODEL DATA --out NEW --budget-ms 1000 --plot OUT",
]
FOLDERS = [
    "predict MODEL TEST --out OUT",
    "export MODEL --to onnx --out OUT",
    "demo --out OUT",
    "benchmark DATA --out OUT",
    "tables NONE --out OUT",
]


@pytest.fixture
def places(parts, model, tmp_path):
    """What the words of a command stand for."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    return {"DATA": parts, "TEST": parts / "test", "MODEL": model, "NEW": tmp_path / "new", "NONE": tmp_path / "none"}


def ended(capsys, command, places, out):
    """Run a command; return its exit code and its only line."""
    places = places | {"OUT": out}
    code, printed, err = run(capsys, *(places.get(word, word) for word in command.split()))
    assert printed == ""
    assert err.count("\n") == 1, err
    return code, err


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_cannot_be_written_ends_with_4(capsys, monkeypatch, places, tmp_path, command):
    folder, file, missing = tmp_path / "folder", tmp_path / "file", tmp_path / "missing"
    for out, reason in [
        (folder, "is a folder; expected the name of a file"),
        (missing / "m", f"the folder {missing} does not exist"),
        (file / "m", f"{file} is not a folder"),
        (tmp_path / ("n" * 256), "a file name has at most 255 bytes and no NUL"),
        ("/dev/null", "exists and is not a regular file"),
    ]:
        assert ended(capsys, command, places, out) == (4, f"error: {out}: {reason}\n")
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)  # as of a read-only disk
    expected = f"error: {folder}/m: the folder {folder} is not writable\n"
    assert ended(capsys, command, places, folder / "m") == (4, expected)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_cannot_be_written_ends_with_4(capsys, monkeypatch, places, tmp_path, command):
    folder, file = tmp_path / "folder", tmp_path / "file"
    for out, reason in [
        (file, "is not a folder"),
        (file / "a", f"{file} is not a folder"),
        (file / "a" / "b", f"{file} is not a folder"),
        (tmp_path / ("n" * 256), "a folder name has at most 255 bytes and no NUL"),
    ]:
        assert ended(capsys, command, places, out) == (4, f"error: {out}: {reason}\n")
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)  # as of a read-only disk
    expected = f"error: {folder}/a/b: the folder {folder} is not writable\n"
    assert ended(capsys, command, places, folder / "a" / "b") == (4, expected)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(folder) == []


def test_a_workspace_that_cannot_be_made_ends_with_4(capsys, parts, tmp_path):
    (tmp_path / "m.safetensors.partial").touch()
    code, _, err = run(capsys, "fit", parts, "--out", tmp_path / "m.safetensors", *SIZES)
    assert code == 4
    assert err.splitlines()[-1] == f"error: {tmp_path}/m.safetensors.partial: cannot be made: file exists"


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("fit EMPTY --out NEW", "DATA"),
        ("fit DATA --out EMPTY", "--out"),
        ("fit DATA --out NEW --weights EMPTY", "--weights"),
        ("predict EMPTY TEST --out NEW", "MODEL"),
        ("predict MODEL TEST EMPTY --out NEW", "PATH"),
        ("predict MODEL TEST --out EMPTY", "--out"),
        ("evaluate MODEL EMPTY", "DATA"),
        ("evaluate MODEL DATA --json EMPTY", "--json"),
        ("weigh MODEL EMPTY --out NEW", "LABELLED"),
        ("weigh MODEL DATA --out NEW --good EMPTY", "--good"),
        ("weigh MODEL DATA --out NEW --plot EMPTY", "--plot"),
        ("export MODEL --to onnx --out EMPTY", "--out"),
        ("export MODEL --to onnx --out NEW --labelled EMPTY", "--labelled"),
        ("inspect EMPTY", "MODEL"),
        ("demo --out EMPTY", "--out"),
        ("benchmark EMPTY --out NEW", "DATA"),
        ("benchmark DATA --out NEW --weights EMPTY", "--weights"),
        ("benchmark DATA --out NEW --weights tf_efficientnet_lite0=", "--weights"),
        ("tables EMPTY", "DIR"),
        ("tables NONE --out EMPTY", "--out"),
        ("tables NONE --out NEW --figure EMPTY", "--figure"),
    ],
)
def test_an_empty_path_is_not_the_working_folder(capsys, monkeypatch, places, tmp_path, command, name):
    monkeypatch.chdir(tmp_path / "folder")
    places = places | {"EMPTY": ""}
    expected = f"error: {name}: empty path; name a file or a folder\n"
    assert run(capsys, *(places.get(word, word) for word in command.split())) == (2, "", expected)
    assert os.listdir() == []
