"""What the tests of evaluations share: a small category, and what stands for a detector."""

import numpy as np
import pytest
from PIL import Image

from blemish.data.records import DataPart
from blemish.data.sources import load
from blemish.images.preprocessing import PreprocessingPart
from blemish.model.header import (
    CalibrationPart,
    Header,
    ModulePart,
    ScoredPart,
    TeacherPart,
)
from blemish.verdict.scale import Reference

SIDE = 32


def header(*, review=0.9, ng=None, scores=(), train=(), held_out=(), weighed=(), tested=(), weighing=None):
    return Header(
        blemish="0.1.0",
        created="2026-01-02T03:04:05+00:00",
        teacher=TeacherPart(name="tf_efficientnet_lite0", sha256="a" * 64, embedded=False),
        sizes=[64],
        reference_size=64,
        modules=[ModulePart(size=64, level=2, weight=0.25), ModulePart(size=64, level=3, weight=0.75)],
        recipe={"name": "fast"},
        seed=3,
        score="paper",
        preprocessing=PreprocessingPart(mean=[0.5] * 3, std=[0.5] * 3),
        calibration=CalibrationPart(
            review=review,
            ng=ng,
            held_out=[ScoredPart(name=f"{index}.png", sha256="b" * 64, score=one) for index, one in enumerate(scores)],
        ),
        weighing=weighing,
        data=DataPart(
            train=list(train), held_out=list(held_out), weighed=list(weighed), tested=list(tested), told_by="pixels"
        ),
        libraries={},
    )


class Stub:
    """A detector whose score map, at the reference size, is the image's first channel over 255, shrunk if need be."""

    def __init__(self, **settings):
        self.header_ = header(**settings)
        self.thresholds_ = self.header_.calibration.thresholds

    def references(self, paths):
        for path in paths:
            image = load(path)
            picture = Image.fromarray(image[..., 0]).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            yield path, image, Reference(np.asarray(picture, np.float32) / 255)


def paint(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def part(tmp_path):
    """A category with 3 good images, 2 scratches and 1 dot, all noise, brighter where it is defective."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "part"
    (folder / "train" / "good").mkdir(parents=True)
    for label, count in (("good", 3), ("scratch", 2), ("dot", 1)):
        for index in range(count):
            pixels = rng.integers(0, 190 + 5 * index, (SIDE, SIDE), dtype=np.uint8)
            mask = np.zeros((SIDE, SIDE), bool)
            if label == "scratch":
                mask[4 + index : 7, 2:20] = True
                mask[20:23, 5:9] = True
            elif label == "dot":
                mask[9, 9] = True
            pixels[mask] = np.minimum(pixels[mask] + 70, 255)
            paint(folder / "test" / label / f"{index}.png", pixels)
            if label != "good":
                paint(folder / "ground_truth" / label / f"{index}_mask.png", mask.astype(np.uint8) * 255)
    return folder


def maps_and_masks(folder, *labels):
    maps, masks = [], []
    for label in labels:
        for path in sorted((folder / "test" / label).iterdir()):
            maps.append(np.array(Image.open(path), np.float32) / 255)
            mask = folder / "ground_truth" / label / f"{path.stem}_mask.png"
            masks.append(np.array(Image.open(mask)) > 0 if mask.exists() else np.zeros((SIDE, SIDE), bool))
    return maps, masks
