"""The plan of a benchmark, by hand, and how fast this machine is."""

import dataclasses

import pytest

from benches import GRID, out, parts, quick_recipe, rows_at  # noqa: F401
from blemish.experiments.grid.grid import UNKNOWN
from blemish.experiments.runs import run as runs
from blemish.experiments.runs import speed
from blemish.experiments.runs.plan import module_bytes, plan
from blemish.method.learning import training
from blemish.model.file import load as load_model


def test_a_plan_by_hand(out, parts, monkeypatch):
    """Lite0 at 64 and 96, levels 2 and 3, ten test images, without running or timing anything."""
    monkeypatch.setattr(speed, "time_module", lambda *_, **__: (2.0, 0.5))
    monkeypatch.setattr(speed, "time_pixels", lambda: 0.25)
    found = plan([parts], GRID, out=parts / "nowhere", only=[])
    assert (found.models, found.models_done, found.modules, found.modules_done) == (1, 0, 4, 0)
    assert (found.rows, found.rows_done) == (6, 0)
    positions = 16**2 + 8**2 + 24**2 + 12**2
    assert found.map_bytes == 2 * 4 * 10 * positions
    # Parameters and running statistics of the stages, from timm's table of the network, then mean, and a root
    # for each cell of 4 x 4 or 2 x 2 positions.
    level_2, level_3 = 15_024 + 24, 41_408 + 40
    roots = 24**2 * (4**2 + 6**2) + 40**2 * (4**2 + 6**2)
    assert found.model_bytes == 4 * (2 * (level_2 + level_3 + 4) + roots)
    assert found.temporary_bytes == 0
    # 4 steps at 64, 3 (warm) at 96, of two levels; 10 images that train and 10 that test.
    assert found.training_seconds == 2 * (4 + 3) * 2.0 + 4 * 20 * 0.5
    assert found.row_seconds == 6 * 10 * 0.25
    assert found.notes == []
    assert not (parts / "nowhere").exists()


def test_a_plan_knows_what_is_done_and_what_it_took(out, parts, monkeypatch):
    monkeypatch.setattr(speed, "time_module", lambda *_, **__: pytest.fail("timed although it is known"))
    done = plan([parts], GRID, out=out, only=[])
    assert (done.models_done, done.modules_done, done.rows_done) == (1, 4, 6)
    assert done.training_seconds == done.row_seconds == 0
    more = plan([parts], dataclasses.replace(GRID, seeds=[0, 1], experiments=["sizes", "weights"]), out=out, only=[])
    assert (more.models, more.models_done, more.modules, more.modules_done) == (2, 1, 8, 4)
    assert (more.rows, more.rows_done) == (2 * (6 + 3), 6)
    assert more.training_seconds == pytest.approx(rows_at(out)[0].fit_seconds, abs=0.2)
    assert more.notes == ["weight searches are not in the time: none was measured here yet"]


def test_the_plan_of_a_module_is_what_its_file_holds(out):
    (path,) = out.glob("models/*/levels-2-3.safetensors")
    _, tensors = load_model(path)
    for size, level in ((64, 2), (96, 3)):
        held = sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(f"{size}/{level}/"))
        assert module_bytes("tf_efficientnet_lite0", size, level) == held


def test_a_plan_needs_no_weights_and_says_so(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "time_module", lambda *_, **__: (1.0, 0.0))
    some = dataclasses.replace(GRID, teachers=["wide_resnet50_2"], level_sets=[[2, 3, 4, 5]])
    found = plan([parts], some, out=tmp_path / "out", only=[])
    assert found.notes[0].startswith("teacher wide_resnet50_2: no weights on this machine; name a file with --weights")
    students = 637_952 + 3_491_840 + 20_762_624 + 42_000_384  # parameters and running statistics of conv2_x ... conv5_x
    statistics = sum(
        count + 2 + (count**2 * (size // 16) ** 2 if level == 2 else count**2 + count * (size >> level) ** 2)
        for level, count in zip((2, 3, 4, 5), (256, 512, 1024, 2048), strict=True)
        for size in (64, 96)
    )  # level 2 alone has roots: cells of 16 px
    assert found.model_bytes == 4 * (2 * students + statistics)
    assert {row.teacher_sha256 for row in rows_of_plan(parts, some)} == {UNKNOWN}


def rows_of_plan(parts, grid):
    contents = runs.read_all([parts], only=[])
    return [row for _, rows in runs.units(grid, contents, dict.fromkeys(grid.teachers, UNKNOWN)) for row in rows]


def test_speed_is_measured_on_random_features():
    recipe = training.RECIPES["fast"]
    step, image = speed.time_module("tf_efficientnet_lite0", recipe, 64, 3, device="cpu")
    assert 0 < step < 5
    assert 0 < image < 5
    assert 0 < speed.time_pixels() < 5
