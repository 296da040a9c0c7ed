"""A plot becomes a PNG: its size, the same bytes each time, and no file harmed where something fails."""

import pytest
from PIL import Image

from blemish.errors import InputError, StorageError
from blemish.evaluation.plots import plotted


def draw(path, *, height=3, overwrite=False):
    with plotted(path, height=height, overwrite=overwrite) as figure:
        figure.add_subplot().plot([0, 1], [1, 0])
    return path.read_bytes()


def test_a_plot_is_a_png_of_its_height_and_the_same_each_time(tmp_path):
    for height, size in ((3, (800, 300)), (4.5, (800, 450))):
        drawn = draw(tmp_path / f"{height}.png", height=height)
        with Image.open(tmp_path / f"{height}.png") as picture:
            assert (picture.format, picture.size) == ("PNG", size)
            assert "Software" not in picture.info
        assert draw(tmp_path / "again.png", height=height, overwrite=True) == drawn


def test_a_plot_that_fails_or_is_not_wanted_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"a\.png: exists; pass --overwrite"):
        draw(path)
    with pytest.raises(ValueError, match="half"), plotted(path, height=3, overwrite=True):
        raise ValueError("half")
    assert path.read_bytes() == b"mine"
    with pytest.raises(StorageError, match=r"none/a\.png: cannot be written"):
        draw(tmp_path / "none" / "a.png")
