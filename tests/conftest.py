"""Synthetic parts that every test can share: made once, learnt once."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # on a busy machine, threads that spin at barriers cost minutes

import dataclasses

import numpy as np
import pytest

from blemish import Detector
from blemish.demo.textures import make_textures
from blemish.method.learning import training
from tiny import short_recipe


@pytest.fixture(scope="session")
def brick(tmp_path_factory):
    """A category in MVTec AD layout: 40 good bricks to learn from, good and defective ones to test."""
    return make_textures(tmp_path_factory.mktemp("textures"), train=40, test=6, defects=3)[0]


@pytest.fixture(scope="session")
def detector(brick):
    """A detector fitted on the bricks in a few seconds."""
    full = training.RECIPES["fast"]
    training.RECIPES["fast"] = short_recipe()
    try:
        return Detector(sizes=(64, 128), levels=(2, 3), seed=1, score="whitened").fit(brick / "train" / "good")
    finally:
        training.RECIPES["fast"] = full


@pytest.fixture(scope="session")
def model(detector, tmp_path_factory):
    """The model file of that detector."""
    path = tmp_path_factory.mktemp("model") / "brick.safetensors"
    detector.save(path)
    return path


@pytest.fixture(scope="session")
def bundle(detector, brick, tmp_path_factory):
    """That detector exported for onnxruntime, float32; tests that change it copy it first."""
    path = tmp_path_factory.mktemp("bundle") / "brick"
    detector.export(path, to="onnx", good=brick / "train" / "good")
    return path


@pytest.fixture
def short(monkeypatch):
    """The fast recipe with so few steps that a module takes less than a second."""
    recipe = dataclasses.replace(training.RECIPES["fast"], steps=6, warm_steps=4)
    monkeypatch.setitem(training.RECIPES, "fast", recipe)
    return recipe


@pytest.fixture(scope="session")
def good_arrays():
    """Twelve small grey pictures of noise on stripes."""
    random = np.random.default_rng(0)
    stripes = 60 * (np.arange(64) // 8 % 2) + 80
    return [np.clip(stripes + random.normal(0, 8, (64, 64)), 0, 255).astype(np.uint8) for _ in range(12)]
