"""What the tests of results share: pictures of one grey, and what stands for a detector."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from blemish.data.inputs import name_images
from blemish.verdict.judge import Prediction
from blemish.verdict.regions import Region
from blemish.verdict.scale import Scale
from blemish.verdict.threshold import Thresholds

SPOT = Region(area=12, share=12 / 1280, box=(3, 5, 4, 3), peak=0.75, mean=0.75)


def paint(path, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 32), value).save(path, "PNG")
    return path


class Stub:
    """A detector that finds one spot in bright images."""

    thresholds_ = Thresholds(0.5)
    streams = 1
    header_ = SimpleNamespace(bits=16, scale=Scale("whitened", good=-14.0, limit=-8.0))

    def __init__(self):
        self.calls = 0

    def predict(self, images):
        self.calls += 1
        (image,) = images
        bright = bool(image.max() > 128)
        score_map = np.full(image.shape[:2], 0.25, np.float32)
        if bright:
            score_map[5:8, 3:7] = 0.75
        score, verdict = (0.75, "NG") if bright else (0.25, "OK")
        return [Prediction(None, score, verdict, [SPOT] * bright, score_map, score_map > 0.5)]


@pytest.fixture
def parts(tmp_path):
    paint(tmp_path / "parts" / "dull.png")
    paint(tmp_path / "parts" / "sub" / "bright.png", 200)
    return tmp_path / "parts"


def names(*paths):
    return [name for _, name in name_images(paths)]
