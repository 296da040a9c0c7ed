"""Where each command may write: one rule for all of them, and each option that names an output."""

import json
import os
import shutil
import sys

import pytest

from blemish.method.pretrained import find_weights
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
    monkeypatch.setattr(os, "access", lambda path, mode, **_: path != folder)  # as of a read-only disk
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
    monkeypatch.setattr(os, "access", lambda path, mode, **_: path != folder)  # as of a read-only disk
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


@pytest.fixture
def inputs(parts, model, tmp_path):
    """Copies of all that a command can read, each under several names, and what the words of a command stand for."""
    folder = tmp_path / "inputs"
    data = shutil.copytree(parts, folder / "brick")
    lines = ["path,label,mask,split"]
    for split, name in [("train", "train/good"), ("test", "test/good")]:
        lines += [f"brick/{name}/{file.name},good,,{split}" for file in sorted((data / name).iterdir())]
    for mask in sorted((data / "ground_truth" / "hole").iterdir()):
        lines.append(f"brick/test/hole/{mask.name.replace('_mask', '')},hole,brick/ground_truth/hole/{mask.name},test")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    places = {"DATA": data, "TEST": data / "test", "LIST": folder / "list.csv", "IMAGE": data / "test/good/000.png",
              "MASK": data / "ground_truth/hole/000_mask.png", "NEW": tmp_path / "new", "FOLDER": folder,
              "MODEL": folder / "m.safetensors", "WEIGHTS": folder / "w.pth", "VISA": folder / "split_csv/1cls.csv",
              "LINK": tmp_path / "link", "HARD": tmp_path / "hard", "MODELLINK": tmp_path / "modellink"}  # fmt: skip
    shutil.copy(model, places["MODEL"])
    shutil.copy(find_weights("tf_efficientnet_lite0"), places["WEIGHTS"])
    places["VISA"].parent.mkdir()
    places["VISA"].write_text("a table\n")
    places["LINK"].symlink_to(places["LIST"])
    places["HARD"].hardlink_to(places["IMAGE"])
    places["MODELLINK"].symlink_to(places["MODEL"])
    return places


def content(folder):
    """Every file below a folder, links followed, with its bytes."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("command", "output", "given"),
    [
        ("fit LIST --out LIST", "LIST", "LIST"),
        ("fit LIST --out LINK", "LINK", "LIST"),
        ("fit LIST --out IMAGE", "IMAGE", "IMAGE"),
        ("fit LIST --out HARD", "HARD", "IMAGE"),
        ("fit LIST --out WEIGHTS --weights WEIGHTS", "WEIGHTS", "WEIGHTS"),
        ("fit DATA --out IMAGE", "IMAGE", "DATA"),
        ("fit DATA --out VISA", "VISA", "VISA"),
        ("evaluate MODEL DATA --json MODEL", "MODEL", "MODEL"),
        ("evaluate MODELLINK DATA --json MODEL", "MODEL", "MODELLINK"),
        ("evaluate MODEL DATA --json MODELLINK", "MODELLINK", "MODEL"),
        ("evaluate MODEL LIST --json LIST", "LIST", "LIST"),
        ("evaluate MODEL LIST --json MASK", "MASK", "MASK"),
        ("evaluate MODEL LIST --json HARD", "HARD", "IMAGE"),
        ("evaluate MODEL DATA --json IMAGE", "IMAGE", "DATA"),
        ("evaluate MODEL DATA --json WEIGHTS --weights WEIGHTS", "WEIGHTS", "WEIGHTS"),
        ("weigh MODEL LIST --out LIST", "LIST", "LIST"),
        ("weigh MODEL LIST --out WEIGHTS --weights WEIGHTS", "WEIGHTS", "WEIGHTS"),
        ("weigh MODEL LIST --out NEW --budget-ms 1000 --plot MODEL", "MODEL", "MODEL"),
        ("weigh MODEL LIST --out NEW --budget-ms 1000 --plot LIST", "LIST", "LIST"),
        ("weigh MODEL LIST --out NEW --budget-ms 1000 --plot IMAGE --good DATA", "IMAGE", "IMAGE"),
        ("predict MODEL IMAGE --out FOLDER", "MODEL", "FOLDER"),
        ("predict MODEL TEST --out TEST", "TEST", "TEST"),
    ],
)
def test_an_output_never_takes_the_place_of_an_input(capsys, inputs, tmp_path, command, output, given):
    before = content(tmp_path)
    words = [inputs.get(word, word) for word in command.split()]
    code, printed, err = run(capsys, *words, "--overwrite")
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {inputs[output]}: ")
    assert str(inputs[given]) in err.removeprefix(f"error: {inputs[output]}: ")
    assert content(tmp_path) == before


def test_an_exported_bundle_never_takes_the_place_of_an_input(capsys, inputs, tmp_path):
    bundle = tmp_path / "bundle"  # as an earlier export would leave it, with photographs in it that are given as good
    shutil.copytree(inputs["DATA"] / "train" / "good", bundle / "golden")
    names = [f"golden/{path.name}" for path in (bundle / "golden").iterdir()]
    (bundle / "bundle.json").write_text(json.dumps({"bundle_version": 1, "golden": names}))
    before = content(tmp_path)
    command = "export", inputs["MODEL"], "--to", "onnx", "--out", bundle, "--overwrite"
    for option in ("--good", "--labelled"):
        code, printed, err = run(capsys, *command, option, bundle / "golden")
        assert (code, printed) == (2, "")
        assert err == f"error: {bundle}/golden: lies in the output folder {bundle}; choose another place\n"
    assert content(tmp_path) == before


def test_two_outputs_are_never_the_same_file(capsys, inputs, tmp_path):
    command = "weigh", inputs["MODEL"], inputs["LIST"], "--budget-ms", "1000"
    for plot in (inputs["NEW"], tmp_path / "inputs" / ".." / "new"):
        code, printed, err = run(capsys, *command, "--out", inputs["NEW"], "--plot", plot)
        assert (code, printed) == (2, "")
        assert err == f"error: {plot}: is the output {inputs['NEW']} too; choose another place\n"


def test_a_model_may_be_replaced_by_its_weighed_one(capsys, inputs):
    before = inputs["MODEL"].read_bytes()
    command = "weigh", inputs["MODEL"], inputs["DATA"], "--out", inputs["MODEL"]
    assert run(capsys, *command)[0] == 2  # not unless told
    assert inputs["MODEL"].read_bytes() == before
    assert run(capsys, *command, "--overwrite")[0] == 0
    assert "labelled images, 8 defective" in run(capsys, "inspect", inputs["MODEL"])[1]


def test_a_file_that_appears_meanwhile_is_not_replaced(capsys, monkeypatch, inputs, tmp_path):
    """And of an evaluation the figures are shown all the same."""
    out, link = tmp_path / "out", os.link

    def late(source, target):
        if target == out:
            out.write_text("the other's")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    text = f"error: {out}: exists; pass --overwrite to replace it\n"
    code, printed, err = run(capsys, "evaluate", inputs["MODEL"], inputs["DATA"], "--json", out)
    assert (code, err, out.read_text()) == (2, text, "the other's")
    assert printed.startswith("12 test images, 4 good; ")
    command = "weigh", inputs["MODEL"], inputs["DATA"], "--budget-ms", "1000000"
    for option, other in (("--out", "--plot"), ("--plot", "--out")):
        out.unlink()
        inputs["NEW"].unlink(missing_ok=True)
        code, _, err = run(capsys, *command, option, out, other, inputs["NEW"])
        assert (code, err, out.read_text()) == (2, text, "the other's")


@pytest.mark.parametrize("command", ["calibrate", "evaluate", "weigh"])
def test_a_plot_without_matplotlib_is_refused_before_the_model_is_looked_for(capsys, monkeypatch, tmp_path, command):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "matplotlib":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    options = {
        "evaluate": [],
        "calibrate": ["--out", tmp_path / "b"],
        "weigh": ["--out", tmp_path / "b", "--budget-ms", 9],
    }
    given = [command, tmp_path / "a", tmp_path / "parts", *options[command]]
    code, printed, err = run(capsys, *given, "--plot", tmp_path / "plot.png")
    assert (code, printed) == (2, "")
    assert err == "error: matplotlib is not installed; this needs pip install 'blemish[train]'\n"
    assert run(capsys, *given)[2] == f"error: {tmp_path}/a: no such file\n"
