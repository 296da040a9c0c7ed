"""--root: a CSV manifest whose paths begin at another folder than its own, in every command that reads one."""

import shutil

import pytest

from blemish.cli.app import main
from blemish.data import datasets, inputs
from blemish.data.layouts.manifest import read_manifest
from blemish.data.listing import read_tables_below
from commands import model, parts, quick_recipe, run  # noqa: F401
from trees import names, plant, refused


@pytest.fixture(autouse=True)
def own_folders():
    yield
    read_tables_below(None)


@pytest.fixture
def marks(parts, tmp_path):
    """The marks of a report, away from the images: three good ones and two defects."""
    file = tmp_path / "elsewhere" / "marks.csv"
    file.parent.mkdir()
    file.write_text(
        "path,label,mask,split\r\ntest/good/000.png,good,,validation\r\ntest/good/001.png,good,,test\r\n"
        "test/good/002.png,good,,validation\r\n"
        "test/hole/000.png,defect,,test\r\ntest/stain/000.png,defect,ground_truth/stain/000_mask.png,test\r\n"
    )
    return file


def test_paths_and_masks_begin_at_the_root(tmp_path):
    plant(tmp_path / "data", "a.png", "sub/b.png", "m.png")
    file = tmp_path / "list.csv"
    file.write_text("path,label,mask,split\na.png,good,,train\nsub\\b.png,dent,m.png,test\n")
    assert "no such file: a.png" in read_manifest(file)[1][0]
    read_tables_below(tmp_path / "data")
    samples, wrong = read_manifest(file)
    assert wrong == []
    assert names([one.path for one in samples], tmp_path / "data") == ["a.png", "sub/b.png"]
    assert samples[1].mask_paths == (tmp_path / "data" / "m.png",)
    assert {one.category for one in samples} == {"data"}
    assert datasets.sample_root(file) == tmp_path / "data"
    assert names(datasets.files_beside(file), tmp_path / "data") == ["a.png", "sub/b.png", "m.png"]
    assert [name for _, name in inputs.name_images([file])] == ["a", "sub/b"]


def test_nothing_leads_out_of_the_root(tmp_path):
    plant(tmp_path / "data", "a.png")
    plant(tmp_path, "b.png")
    file = tmp_path / "list.csv"
    file.write_text("path,label,split\n../b.png,good,test\n")
    read_tables_below(tmp_path / "data")
    assert read_manifest(file)[1] == [f"row 2: ../b.png not allowed (allowed: a path below {tmp_path}/data)"]
    refused(lambda: inputs.name_images([file]), "row 2: ../b.png not allowed")


def test_what_is_no_root(tmp_path):
    refused(lambda: read_tables_below(tmp_path / "none"), f"root: no such folder: {tmp_path}/none")
    plant(tmp_path, "a.png")
    refused(lambda: read_tables_below(tmp_path / "a.png"), f"root: not a folder: {tmp_path}/a.png")


def test_commands_that_judge_take_marks_from_elsewhere(capsys, parts, model, marks, tmp_path):
    root = "--root", parts
    code, printed, err = run(capsys, "evaluate", model, marks, *root, "--no-record")
    assert (code, err) == (0, "")
    assert printed.startswith("3 test images, 1 good")
    code, printed, _ = run(capsys, "predict", model, marks, *root, "--out", tmp_path / "results")
    assert code == 0
    assert printed.startswith("5 images: ")
    assert run(capsys, "report", model, marks, *root, "--out", tmp_path / "report.html")[0] == 0
    assert run(capsys, "evaluate", model, marks, "--no-record")[0] == 2  # the next command knows nothing of it


def test_commands_that_make_models_take_lists_from_elsewhere(capsys, parts, model, marks, tmp_path):
    root = "--root", parts
    code, _, err = run(capsys, "calibrate", model, marks, *root, "--out", tmp_path / "c.safetensors")
    assert code == 0, err
    good = tmp_path / "good.csv"
    rows = [f"train/good/{path.name},good,train\n" for path in sorted((parts / "train" / "good").iterdir())]
    good.write_text("path,label,split\n" + "".join(rows))
    short = "--sizes", "64", "--levels", "2,3", "--out", tmp_path / "f.safetensors"
    code, _, err = run(capsys, "fit", good, *root, *short)
    assert code == 0, err
    assert run(capsys, "fit", good, "--overwrite", *short)[0] == 2


@pytest.mark.parametrize(
    "line",
    [
        "fit DATA --out x.safetensors",
        "evaluate MODEL DATA",
        "weigh MODEL DATA --out x.safetensors",
        "calibrate MODEL DATA --out x.safetensors",
        "predict MODEL DATA --out x",
        "export MODEL --to onnx --good DATA --out x",
        "report MODEL DATA --out x.html",
    ],
)
def test_a_root_without_a_manifest_is_refused(capsys, parts, model, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    words = [{"DATA": parts / "test", "MODEL": model}.get(word, word) for word in line.split()]
    code, printed, err = run(capsys, *words, "--root", parts)
    assert (code, printed) == (2, "")
    assert err == "error: root: is where the paths of a CSV manifest begin, and none is given\n"
    code, _, err = run(capsys, *words, "--root", tmp_path / "none")
    assert (code, err) == (2, f"error: root: no such folder: {tmp_path}/none\n")


def test_an_output_among_what_the_manifest_names_is_refused(capsys, parts, model, marks):
    copy = shutil.copytree(parts, marks.parent / "copy")
    image = copy / "test" / "hole" / "000.png"
    code = main(["evaluate", str(model), str(marks), "--root", str(copy), "--json", str(image), "--overwrite"])
    assert (code, image.stat().st_size > 1000) == (2, True)
    assert "is the input" in capsys.readouterr().err
