"""The option --tiles: what it says beforehand, what the model keeps, and what is refused in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from blemish.model.file import load
from commands import quick_recipe, run  # noqa: F401

SMALL = ["--sizes", "64", "--levels", "2"]
LINE = "tiles of 80 px, 20 % overlap: 3 for an image of 200x80; scoring takes 3 times as long"


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A category of images of 200 x 80 px: 6 good ones to learn from, 2 kept apart, 1 to test."""
    root, random = tmp_path_factory.mktemp("long"), np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 2), ("test", 1)):
        folder = root / split / "good"
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(random.integers(90, 160, (80, 200), dtype=np.uint8)).save(folder / f"{split}{index}.png")
    return root


def test_auto_cuts_long_images_says_so_beforehand_and_the_model_keeps_it(long, tmp_path, capsys):
    out, bundle = tmp_path / "m.safetensors", tmp_path / "bundle"
    code, said, err = run(capsys, "fit", long, "--out", out, *SMALL)
    assert code == 0
    lines = err.splitlines()
    assert lines.index(LINE) < lines.index("18 tiles of 6 images train") < lines.index("6 images trained, 2 held out")
    assert (
        f"tiles     {LINE.removeprefix('tiles ')}" in " ".join(said.split("\n")) or "3 for an image of 200x80" in said
    )
    assert load(out)[0].tiles.size == 80
    assert run(capsys, "export", out, "--to", "onnx", "--out", bundle)[0] == 0
    for model in (out, bundle):
        code, said, err = run(capsys, "inspect", model)
        assert (code, err) == (0, "")
        assert LINE.removeprefix("tiles ") in said
    tiles = json.loads(run(capsys, "inspect", out, "--json")[1])["tiles"]
    assert tiles == {"size": 80, "overlap": 0.2, "map_size": 64, "height": 80, "width": 200}
    for number, model in enumerate((out, bundle)):
        code, *_ = run(capsys, "predict", model, long / "test", "--out", tmp_path / str(number))
        assert code == 0


def test_off_and_sizes_are_taken(long, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    code, said, err = run(capsys, "fit", long, "--out", out, *SMALL, "--tiles", "off")
    assert code == 0
    assert "tiles" not in said + err
    assert load(out)[0].tiles is None
    assert run(capsys, "fit", long, "--out", out, *SMALL, "--tiles", "64,50%", "--overwrite")[0] == 0
    tiles = load(out)[0].tiles
    assert (tiles.size, tiles.overlap, tiles.count) == (64, 0.5, 12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0", "tiles: 0 is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("abc", "tiles: abc is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("", "tiles:  is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("nan", "tiles: nan is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("500,100%", "tiles: 100% is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("500,nan", "tiles: nan is not allowed, expected auto, off, or SIZE[,OVERLAP] such as 512 or 512,25%"),
        ("201", "tiles: 201 px is larger than the images, the median is 200x80; expected auto, off, or SIZE"),
    ],
)
def test_what_cannot_be_is_one_line_before_any_work(long, tmp_path, capsys, given, message):
    code, said, err = run(capsys, "fit", long, "--out", tmp_path / "m.safetensors", *SMALL, "--tiles", given)
    assert (code, said) == (2, "")
    (line,) = err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []
