"""`blemish fit ROOT --out DIR`: a model for each category, the same as by itself."""

import shutil

import pytest

from commands import SIZES, digest, model, parts, quick_recipe, run  # noqa: F401


@pytest.fixture
def root(parts, tmp_path):
    for name in ("brick", "tile"):
        shutil.copytree(parts, tmp_path / "root" / name)
    return tmp_path / "root"


def test_each_category_gets_the_model_that_it_gets_by_itself(capsys, root, model, tmp_path):
    code, printed, told = run(capsys, "fit", root, "--out", tmp_path / "models", *SIZES)
    assert code == 0
    for name in ("brick", "tile"):
        assert digest(tmp_path / "models" / f"{name}.safetensors") == digest(model)
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("model")] == [
        str(tmp_path / "models" / "brick.safetensors"),
        str(tmp_path / "models" / "tile.safetensors"),
    ]
    assert "tile: category 2 of 2\n" in told
    assert told.endswith("/models: 2 of 2 categories learnt; 0 failed\n")


def test_one_that_fails_is_named_and_the_exit_code_is_its_own(capsys, root, tmp_path):
    command = ["fit", root, "--out", tmp_path / "models", *SIZES]
    image = sorted((root / "brick" / "train" / "good").iterdir())[0]
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    code, printed, told = run(capsys, *command)
    assert code == 2
    assert printed.count("model ") == 1
    (line,) = [line for line in told.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: brick: {image}: ")
    assert told.endswith("/models: 1 of 2 categories learnt; 1 failed\n")
    image.write_bytes(whole)
    code, printed, told = run(capsys, *command)
    assert (code, printed.count("model ")) == (0, 1)
    assert told.endswith("/models: 1 of 2 categories learnt, 1 not again as nothing has changed; 0 failed\n")


def test_plain_folders_are_categories_only_if_that_is_said(capsys, root, tmp_path):
    for name in ("brick", "tile"):
        shutil.copytree(root / name / "train" / "good", tmp_path / "plain" / name)
    command = ["fit", tmp_path / "plain", "--out", tmp_path / "models", *SIZES, "--each-folder"]
    code, _, told = run(capsys, *command)
    assert (code, told.splitlines()[-1]) == (0, f"{tmp_path}/models: 2 of 2 categories learnt; 0 failed")
    code, _, told = run(capsys, "fit", tmp_path / "plain" / "tile", "--out", tmp_path / "m", *SIZES, "--each-folder")
    assert (code, told) == (
        2,
        f"error: {tmp_path}/plain/tile: holds no folder for each category, which --each-folder is for\n",
    )


def test_a_file_for_many_categories_is_refused(capsys, root, tmp_path):
    code, _, told = run(capsys, "fit", root, "--out", tmp_path / "m.safetensors", *SIZES)
    assert code == 2
    assert "holds several categories, choose one of them: brick, tile" in told
