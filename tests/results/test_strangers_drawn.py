"""Pictures of strangers: which images are drawn, what they are called, and that no verdict is written on them."""

from pathlib import Path

import numpy as np
from PIL import Image

from blemish.data.records import DataPart, ImagePart
from blemish.model.scorer import said
from blemish.printing.promises import stranger_lines
from blemish.results.overlays import overlay
from blemish.results.strangers import draw_strangers
from blemish.verdict.scale import Reference
from pages import header


class Maps:
    """Score maps: the brightness, from 0 to 1."""

    def references(self, given):
        for image in given:
            yield image, image, Reference(image[..., 0].astype(np.float32) / 255)


def test_an_overlay_of_each_stranger_without_a_word(tmp_path):
    model, random = header(), np.random.default_rng(0)
    held_out = [random.integers(20, 40, (64, 64, 3), dtype=np.uint8) for _ in model.calibration.held_out]
    held_out[0][20:30, 40:50] = 204
    folder = draw_strangers(tmp_path / "m", Maps(), model, held_out)
    assert folder == tmp_path / "m.strangers"
    assert [one.name for one in folder.iterdir()] == ["1-a.png.png"]
    image, reference = held_out[0], held_out[0][..., 0].astype(np.float32) / 255
    prediction = said(model, image, image, Reference(reference))
    assert prediction.verdict == "NG"
    expected = overlay(image, reference, inside=prediction.inside, colours=model.scale.colours)
    with Image.open(folder / "1-a.png.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_of_one_that_trains_the_image_alone_as_the_model_has_learnt_it(tmp_path):
    model, random = header(crossed=3), np.random.default_rng(0)
    part = ImagePart(sha256=model.calibration.held_out[0].sha256, thumbnail="00" * 256)
    model = model.model_copy(update={"data": DataPart(train=[part], held_out=[], told_by="pixels")})
    held_out = [random.integers(20, 40, (64, 64, 3), dtype=np.uint8) for _ in model.calibration.held_out]
    held_out[0][20:30, 40:50] = 204
    folder = draw_strangers(tmp_path / "m", Maps(), model, held_out)
    with Image.open(folder / "1-a.png.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), held_out[0])
    assert stranger_lines(model, model=Path("m"), pictures=Path("m.strangers"))[:2] == [
        "a.png scores 0.5000, far above the other held-out images, and alone sets a threshold; "
        "other students scored it: this model has learnt it, so its own map shows nothing",
        "look at it (pictures in m.strangers); if one is no good part:",
    ]
