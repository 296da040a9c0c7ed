"""Models with a memory beside their students: kept, exported, weighed and pruned like all others."""

import dataclasses

import numpy as np
import pytest

from blemish import Detector
from blemish.data.datasets import test_samples as samples_of
from blemish.images.read import read_image
from blemish.method.beside.memory import SHARE, Memory
from blemish.method.learning import training
from blemish.runtime import Runtime
from blemish.weighing.costs import measure

NAMES = ["64/2", "64/3", "64/m3"]


@pytest.fixture(scope="module")
def remembering(brick):
    """A detector of bricks whose held-out images are kept apart."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", dataclasses.replace(training.RECIPES["fast"], steps=60, warm_steps=30))
        return Detector(sizes=(64,), levels=(2, 3)).fit(brick)


def weighed(detector, brick, **options):
    other = Detector()
    other.model_ = detector.model_
    return other.weigh(brick, good=brick, **options)


def maps(scorer, brick):
    paths = [one.path for one in samples_of(brick)][:4]
    return np.stack([found.map for _, _, found in scorer.references(paths)])


def test_it_is_the_default(remembering):
    assert (remembering.score, remembering.header_.score) == ("memory", "memory")
    assert [one.name for one in remembering.header_.modules] == NAMES
    assert remembering.header_.modules[-1].weight == SHARE
    assert remembering.header_.modules[-1].memory.vectors == len(remembering.modules_[-1].vectors) == 1000


def test_a_model_file_keeps_it_to_the_bit(remembering, brick, tmp_path):
    remembering.save(tmp_path / "m.safetensors")
    loaded = Detector.load(tmp_path / "m.safetensors")
    assert isinstance(loaded.modules_[-1], Memory)
    assert loaded.score == "memory"
    assert (maps(loaded, brick) == maps(remembering, brick)).all()


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_bundle_scores_as_the_model_does(remembering, brick, tmp_path, target):
    remembering.export(tmp_path / "b", to=target)
    runtime = Runtime.load(tmp_path / "b")
    assert maps(runtime, brick) == pytest.approx(maps(remembering, brick), abs=1e-5)
    image = read_image(brick / "test" / "good" / "000.png").copy()
    before = runtime.predict(image)[0].score
    image[60:120, 60:120] = 255
    assert runtime.predict(image)[0].score > before


def test_labels_weigh_it_and_what_is_kept_is_enough(remembering, brick, tmp_path):
    own = weighed(remembering, brick)
    assert [one.name for one in own.modules_] == NAMES
    assert own.header_.score == "memory"
    assert sum(one.weight for one in own.header_.modules) == pytest.approx(1)
    assert own.header_.modules[-1].weight != SHARE
    few = weighed(remembering, brick, keep=1)
    few.save(tmp_path / "few.safetensors")
    assert (maps(Detector.load(tmp_path / "few.safetensors"), brick) == maps(few, brick)).all()


def test_a_memory_alone_is_a_model(remembering, brick, tmp_path):
    own = weighed(remembering, brick)
    memory = own.modules_[-1]
    memory.weight = 1.0
    part = own.header_.modules[-1].model_copy(update={"weight": 1.0})
    own.model_ = dataclasses.replace(own.model_, modules=[memory], header=own.header_.changed(modules=[part]))
    own.export(tmp_path / "b", to="onnx")
    assert maps(Runtime.load(tmp_path / "b"), brick) == pytest.approx(maps(own, brick), abs=1e-5)


def test_the_papers_objective_drops_it(remembering, brick):
    own = weighed(remembering, brick, objective="paper")
    assert own.header_.score == "paper"
    assert [one.name for one in own.modules_] == NAMES[:2]
    assert [one.name for one in remembering.modules_] == NAMES  # what was given does not change


def test_its_cost_is_known_and_needs_the_teacher_as_deep_as_it_looks(remembering):
    costs = measure(remembering.model_, repeats=2)
    assert list(costs.modules) == NAMES
    assert costs.megabytes["64/m3"] == pytest.approx(4 * (1000 * 40 + 2) / 1e6)
    stages = sum(costs.stages[64][:3])
    assert costs.of(["64/m3"]) == pytest.approx(costs.resize[64] + stages + costs.modules["64/m3"])
