"""What the tests of the experiments share: a small data set, and a benchmark that has run on it."""

import dataclasses
import shutil
from collections import Counter

import pytest

from blemish.demo.textures import make_textures
from blemish.experiments.grid.grid import Grid
from blemish.experiments.grid.rows import read_rows
from blemish.experiments.runs import measure as measures
from blemish.experiments.runs import run as runs
from blemish.experiments.store import store
from blemish.method.learning import fitting, training
from blemish.printing.bars import error_console

GRID = Grid(
    teachers=["tf_efficientnet_lite0"], sizes=[64, 96], level_sets=[[2, 3]], seeds=[0], recipes=["fast"],
    experiments=["sizes"], objectives=["logistic"], draws=1,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def quick_recipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", dataclasses.replace(training.RECIPES["fast"], steps=4, warm_steps=3))
        patch.setattr(measures, "RESOLUTION", 64)
        patch.setattr(store, "TIMED", 1)
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A category in MVTec AD layout: 12 good images to learn from, 2 good and 8 defective ones to test."""
    return make_textures(tmp_path_factory.mktemp("textures"), train=10, validation=2, test=2, defects=2)[0]


@pytest.fixture(scope="module")
def out(parts, tmp_path_factory):
    """The folder of a run of GRID; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("run") / "out"
    assert run(parts, folder) == {"ok": 6}
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Counts what is trained: (number of calls of train_module by their seed)."""
    calls = Counter()
    real = fitting.train_module

    def counted(*arguments, seed, **options):
        calls[seed] += 1
        return real(*arguments, seed=seed, **options)

    monkeypatch.setattr(fitting, "train_module", counted)
    return calls


def run(data, out, **changes):
    return runs.run([data], dataclasses.replace(GRID, **changes), out=out, only=[], console=error_console())


def rows_at(out):
    return read_rows(out / "rows.jsonl")


def lines_at(out):
    return (out / "rows.jsonl").read_bytes().count(b"\n")


def copied(out, tmp_path):
    return shutil.copytree(out, tmp_path / "out")
