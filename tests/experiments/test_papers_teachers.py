"""The whole path with the paper's teachers, untrained."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from benches import quick_recipe, rows_at  # noqa: F401
from blemish.cli.app import main
from blemish.method.learning import training
from blemish.method.learning.training import crop_margin
from blemish.method.teacher import ARCHITECTURES, student_stage


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A category of four good images to learn from, two held out, one good and two defective ones to test, 64 px."""
    folder, random = tmp_path_factory.mktemp("tiny") / "tiny", np.random.default_rng(0)
    # Kept apart, the two are held out as they are: no other students are trained to score the four.
    places = [
        ("train", "good", 4), ("validation", "good", 2), ("test", "good", 1), ("test", "cut", 1), ("test", "dent", 1),
    ]  # fmt: skip
    for split, label, count in places:
        (folder / split / label).mkdir(parents=True)
        for index in range(count):
            image = random.integers(100, 130, (64, 64), np.uint8)
            if label != "good":
                image[20:40, 20:40] = 250
                (folder / "ground_truth" / label).mkdir(parents=True)
                mask = np.zeros((64, 64), np.uint8)
                mask[20:40, 20:40] = 255
                Image.fromarray(mask).save(folder / "ground_truth" / label / "0_mask.png")
            Image.fromarray(image).save(folder / split / label / f"{index}.png")
    return folder


def weights_file(folder, name):
    """A file of random weights, as a user would name it with --weights; the teacher must not know where it is from."""
    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False, zero_init_last=False).state_dict()
    path = folder / f"{name}.safetensors"
    save_file(state, path)
    return path


@pytest.mark.parametrize(("name", "sizes", "experiments", "count"), [
    ("resnet18", "64,96", "sizes,levels,weights", 6 + 4 - 2 + 3), ("resnet50", "64", "levels", 4),
    ("wide_resnet50_2", "64", "levels", 4),
])  # fmt: skip
def test_the_whole_path_with_the_papers_teachers(name, sizes, experiments, count, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(training.RECIPES, "paper", dataclasses.replace(training.RECIPES["paper"], epochs=1))
    code = main([
        "benchmark", str(tiny), "--out", str(tmp_path / "out"), "--teachers", name, "--recipe", "paper",
        "--weights", str(weights_file(tmp_path, name)), "--sizes", sizes, "--levels", "2,3,4;2,3,4,5",
        "--experiments", experiments, "--draws", "1", "--objectives", "paper",
    ])  # fmt: skip
    rows = rows_at(tmp_path / "out")
    assert code == 0, capsys.readouterr().err
    assert len(rows) == count
    for row in rows:
        assert row.status == "ok" or row.weighting == "paper"
        for one in row.names:
            size, level = map(int, one.split("/"))
            stride = (None, None, 4, 8, 16, 32)[level]
            maps = np.load(tmp_path / "out" / row.store / f"{row.score}-{size}-{level}.npy")
            assert maps.shape == (3, size // stride, size // stride)
            assert np.isfinite(maps).all()
    assert {tuple(row.levels) for row in rows} == {(2, 3, 4), (2, 3, 4, 5)}
    assert {row.teacher for row in rows} == {name}
    capsys.readouterr()
    assert main(["tables", str(tmp_path / "out"), "--table", "2"]) == 0
    shown = capsys.readouterr().out
    assert "Table II" in shown


@pytest.mark.parametrize(("name", "level", "margin"), [
    # 3 x 3 convolutions of a stage that see the border: each adds one position.
    ("resnet18", 2, 4), ("resnet18", 3, 4), ("resnet50", 2, 3), ("resnet50", 3, 4), ("wide_resnet50_2", 2, 3),
])  # fmt: skip
def test_receptive_fields_of_the_papers_stages(name, level, margin):
    channels = ARCHITECTURES[name].channels
    before, stride = (64, 1) if level == 2 else (channels[level - 3], 2)
    x, y = torch.zeros(1, before, 8 * stride, 8 * stride), torch.zeros(1, channels[level - 2], 8, 8)
    assert crop_margin(student_stage(name, level, seed=0), x, y) == margin
