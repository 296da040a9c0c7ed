"""A benchmark runs, stops, goes on and is read again; every module is trained once."""

import dataclasses
import os
import shutil
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file

from blemish.cli.app import main
from blemish.data.datasets import test_samples as samples_of
from blemish.data.samples import read_truth
from blemish.demo.textures import make_textures
from blemish.detector import Detector
from blemish.errors import InputError, StoppedError, StorageError
from blemish.evaluation.metrics import pixel_metrics
from blemish.experiments.grid.grid import UNKNOWN, Grid
from blemish.experiments.grid.rows import read_rows
from blemish.experiments.runs import measure as measures
from blemish.experiments.runs import run as runs
from blemish.experiments.runs import speed
from blemish.experiments.runs.plan import module_bytes, plan
from blemish.experiments.store import store
from blemish.experiments.tables.averages import average, read_runs
from blemish.experiments.tables.examples import examples
from blemish.images.read import read_image
from blemish.images.resize import resize_mask
from blemish.method import fitting, training
from blemish.method.pretrained import find_weights
from blemish.method.pyramid import stack
from blemish.method.scoring import score_pyramid, set_weights
from blemish.method.teacher import ARCHITECTURES, student_stage
from blemish.method.training import crop_margin
from blemish.model.file import load as load_model
from blemish.printing.progress import error_console

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


def test_rows_hold_every_setting_cost_and_machine(out, parts):
    rows = rows_at(out)
    assert {(tuple(row.sizes), row.score) for row in rows} == {
        (sizes, score) for sizes in ((64,), (96,), (64, 96)) for score in ("paper", "whitened")
    }
    for row in rows:
        assert row.status == "ok"
        assert (row.data, row.category, row.seed, row.levels, row.trained_sizes) == (
            "brick",
            "brick",
            0,
            [2, 3],
            [64, 96],
        )
        assert row.recipe_settings["steps"] == 4
        assert len(row.teacher_sha256) == len(row.data_sha256) == 64
        assert set(row.weights) == set(row.names)
        assert sum(row.weights.values()) == pytest.approx(1)
        assert (row.test_images, row.validation_images, row.validation_metrics) == (10, 0, None)
        assert set(row.metrics) == {"pixel_auroc", "aupro", "image_auroc", "pixel_ap"}
        assert 0 < row.fit_seconds < 60
        assert 50 < row.peak_rss_mb < 10_000
        assert 1 < row.ms_per_image < 5_000
        assert (row.cores, row.threads, row.torch) == (os.cpu_count(), torch.get_num_threads(), torch.__version__)
        assert row.finished.endswith("+00:00")


def test_maps_are_kept_at_each_modules_own_resolution(out):
    for row in rows_at(out):
        for name in row.names:
            size, level = map(int, name.split("/"))
            maps = np.load(out / row.store / f"{row.score}-{size}-{level}.npy")
            assert maps.shape == (10, size >> level, size >> level)
            assert maps.dtype == np.float32
            assert row.score == "whitened" or (maps.min() >= 0 and maps.max() <= 1)


def test_figures_are_those_of_the_saved_model_scored_anew(out, parts):
    """By another way: the model file, whole images, and not one kept map."""
    (path,) = out.glob("models/*/levels-2-3.safetensors")
    detector = Detector.load(path)
    samples = samples_of(parts)
    masks = [
        np.zeros((64, 64), bool) if (mask := read_truth(one)) is None else resize_mask(mask, 64, 64) for one in samples
    ]
    pyramid = stack([read_image(one.path) for one in samples], [64, 96])
    for row in rows_at(out):
        modules = [module for module in detector.modules_ if module.size in row.sizes]
        set_weights(modules, score=row.score)
        assert row.weights == pytest.approx({module.name: module.weight for module in modules})
        maps = score_pyramid(detector.model_.teacher, modules, pyramid, size=64, score=row.score)
        expected = pixel_metrics(list(maps), masks)
        assert row.metrics["aupro"] == pytest.approx(expected["aupro"], abs=1e-6)
        assert row.metrics["pixel_auroc"] == pytest.approx(expected["pixel_auroc"], abs=1e-6)


def test_nothing_is_done_twice(out, parts, tmp_path, trained):
    again = copied(out, tmp_path)
    before = (again / "rows.jsonl").read_bytes()
    assert run(parts, again) == {"ok": 6}
    assert (again / "rows.jsonl").read_bytes() == before
    assert not trained


def test_a_row_that_a_kill_cut_short_is_measured_again_and_nothing_else(out, parts, tmp_path, trained):
    again = copied(out, tmp_path)
    path = again / "rows.jsonl"
    before = rows_at(again)
    path.write_bytes(path.read_bytes()[:-40])
    assert run(parts, again) == {"ok": 6}
    after = rows_at(again)
    assert [row.id for row in after] == [row.id for row in before]
    assert [row.metrics for row in after] == [row.metrics for row in before]
    assert lines_at(again) == 6
    assert not trained


def test_each_module_is_trained_once_for_all_experiments(parts, tmp_path, trained):
    sets, experiments = [[2, 3], [2, 3, 4]], ["sizes", "levels", "coverage", "keep"]
    counts = run(parts, tmp_path / "out", level_sets=sets, experiments=experiments)
    assert counts.total() == 6 + 2 + 4 * 3 + 3  # two level rows are size rows too; 4 coverages, K = 1, 2, 3
    assert not counts["error"]
    assert trained == {size * 10 + level: 1 for size in (64, 96) for level in (2, 3, 4)}


def test_a_level_that_is_asked_for_later_is_trained_alone(out, parts, tmp_path, trained):
    again = copied(out, tmp_path)
    before = rows_at(again)
    (folder,) = again.glob("models/*")
    left = folder / f".{sha256(b'levels-4.safetensors').hexdigest()[:16]}-dead.blemish-tmp"  # of a kill, long ago
    left.touch()
    times = {path: path.stat().st_mtime_ns for path in folder.glob("maps-*/*")}
    assert run(parts, again, level_sets=[[2, 3, 4]]) == {"ok": 6}
    assert not left.exists()
    assert {path: path.stat().st_mtime_ns for path in times} == times  # only the new maps are computed
    assert trained == {644: 1, 964: 1}
    assert len(rows_at(again)) == 12
    assert rows_at(again)[:6] == before
    assert {path.name for path in again.glob("models/*/*.safetensors")} == {
        "levels-2-3.safetensors", "levels-4.safetensors"
    }  # fmt: skip
    whole = [row for row in rows_at(again) if row.levels == [2, 3, 4] and len(row.sizes) == 2]
    assert all(len(row.weights) == 6 and row.fit_seconds > before[0].fit_seconds for row in whole)


def test_a_run_stopped_in_the_middle_of_a_model_goes_on_with_the_next_module(
    out, parts, tmp_path, trained, monkeypatch
):
    real = fitting.fit_statistics

    def stop(module, *arguments):
        if module.name == "96/2":
            raise KeyboardInterrupt
        real(module, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_statistics", stop)
        with pytest.raises(StoppedError, match="the same command continues"):
            run(parts, tmp_path / "out")
    assert lines_at_or_none(tmp_path / "out") == 0
    assert trained == {642: 1, 643: 1, 962: 1}
    assert run(parts, tmp_path / "out") == {"ok": 6}
    assert trained == {642: 1, 643: 1, 962: 2, 963: 1}
    assert [row.metrics for row in rows_at(tmp_path / "out")] == [row.metrics for row in rows_at(out)]
    assert not list((tmp_path / "out").glob("models/*/partial"))


def lines_at_or_none(out):
    return lines_at(out) if (out / "rows.jsonl").exists() else 0


def test_a_model_that_fails_is_error_rows_and_the_others_go_on(parts, tmp_path, monkeypatch, capsys):
    real = fitting.train_module

    def fail(*arguments, seed, **options):
        if seed == 1_000_963:
            raise InputError("the loss is not finite at step 3 of 4")
        return real(*arguments, seed=seed, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "train_module", fail)
        assert run(parts, tmp_path / "out", seeds=[1, 0]) == {"error": 6, "ok": 6}
    errors = [row for row in rows_at(tmp_path / "out") if row.status == "error"]
    assert {(row.seed, row.error) for row in errors} == {(1, "module 96/3: the loss is not finite at step 3 of 4")}
    assert all(row.metrics == row.weights == {} and row.fit_seconds is None for row in errors)
    assert capsys.readouterr().err.count("error: module 96/3") == 1
    figure = average(read_runs(rows_at(tmp_path / "out")), "aupro")
    assert figure.runs == (1, 1)  # only the seed that did not fail
    assert run(parts, tmp_path / "out", seeds=[1, 0]) == {"ok": 12}  # what failed is tried again
    assert lines_at(tmp_path / "out") == 18


def test_a_fault_of_one_row_does_not_stop_the_others(out, parts, tmp_path, monkeypatch):
    again = copied(out, tmp_path)

    def fail(*arguments, **options):
        raise ZeroDivisionError("division by\nzero")

    monkeypatch.setattr(measures, "search", fail)
    assert run(parts, again, experiments=["weights"]) == {"ok": 2, "error": 1}
    (row,) = (row for row in rows_at(again) if row.status == "error")
    assert (row.weighting, row.error) == ("logistic", "ZeroDivisionError: division by\\nzero")


def test_a_full_disk_stops_the_run(parts, tmp_path, monkeypatch):
    def full(*arguments):
        raise StorageError("disk full")

    monkeypatch.setattr(Detector, "save", full)
    with pytest.raises(StorageError, match="disk full"):
        run(parts, tmp_path / "out")


def test_a_collapsed_search_is_a_row_that_enters_no_mean(out, parts, tmp_path, monkeypatch):
    again = copied(out, tmp_path)
    real = measures.search

    def collapse(*arguments, **options):
        return dataclasses.replace(real(*arguments, **options), collapsed=True, reason="99 % of the weight is on 64/2")

    monkeypatch.setattr(measures, "search", collapse)
    assert run(parts, again, experiments=["weights"]) == {"ok": 2, "collapsed": 1}
    (row,) = (row for row in rows_at(again) if row.status == "collapsed")
    assert (row.weighting, row.error) == ("logistic", "99 % of the weight is on 64/2")
    assert row.metrics["aupro"] > 0  # kept to look at
    found = [one for one in read_runs(rows_at(again)) if one["weighting"] == "logistic"]
    assert average(found, "aupro").mean is None
    lines = lines_at(again)
    assert run(parts, again, experiments=["weights"]) == {"ok": 2, "collapsed": 1}
    assert lines_at(again) == lines  # it would collapse again


def test_images_that_weigh_are_not_tested(out, parts, tmp_path):
    again = copied(out, tmp_path)
    run(parts, again, experiments=["coverage"])
    for row in rows_at(again)[6:]:
        types = max(1, int(row.coverage * 4 + 0.5))
        assert (row.validation_images, row.test_images) == (types, 10 - types)  # 1 of 2 images of each of 4 types
        assert set(row.validation_metrics) == set(row.metrics)
        assert (row.search_seconds is None) == (row.weighting in ("mean", "label-free"))
    plain = [row.metrics for row in rows_at(again) if row.weighting == "mean" and row.sizes == [64, 96]]
    assert len(plain) == 5
    assert plain[0] != plain[-1]


def test_pruned_rows_hold_as_many_modules_as_they_say(out, parts, tmp_path):
    again = copied(out, tmp_path)
    assert not run(parts, again, experiments=["keep"])["error"]
    kept = [row for row in rows_at(again) if row.keep]
    assert [row.keep for row in kept] == [1, 2, 3]
    assert [len(row.weights) for row in kept] == [1, 2, 3]
    for row in kept:
        assert sum(row.weights.values()) == pytest.approx(1)
        assert row.ms_per_image > 0


def test_other_methods_are_rows_too(out, parts, tmp_path, trained):
    again = copied(out, tmp_path)
    assert run(parts, again, experiments=["methods"]) == {"ok": 6 + 6 + 3}
    assert not trained  # the modules were there
    methods = Counter((row.method, row.score) for row in rows_at(again))
    assert methods == {
        ("imitation", "paper"): 3, ("imitation", "whitened"): 3, ("one group", "paper"): 3,
        ("one group", "whitened"): 3, ("chained", "paper"): 3,
    }  # fmt: skip
    assert all(row.fit_seconds > 0 for row in rows_at(again))
    assert len({row.store for row in rows_at(again)}) == 3


def test_a_second_run_in_the_same_folder_is_refused(out, parts, tmp_path):
    again = copied(out, tmp_path)
    with FileLock(again / "lock"), pytest.raises(InputError, match="another benchmark is at work in it"):
        run(parts, again)


def test_what_cannot_be_used_is_refused_before_any_work(parts, tmp_path):
    for data, message in (([parts, parts], "brick brick is there 2 times"), ([tmp_path], "no category found")):
        with pytest.raises(InputError, match=message):
            runs.run(data, GRID, out=tmp_path / "out", only=[], console=error_console())
    with pytest.raises(InputError, match="teacher resnet50: no weights on this machine"):
        run(parts, tmp_path / "out", teachers=["resnet50"])
    with pytest.raises(InputError, match="lies in the input folder"):
        run(parts, parts / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_by_hand(out, parts, monkeypatch):
    """Lite0 at 64 and 96, levels 2 and 3, ten test images, without running or timing anything."""
    monkeypatch.setattr(speed, "time_module", lambda *_, **__: (2.0, 0.5))
    monkeypatch.setattr(speed, "time_pixels", lambda: 0.25)
    found = plan([parts], GRID, out=parts / "nowhere", only=[])
    assert (found.models, found.models_done, found.modules, found.modules_done) == (1, 0, 4, 0)
    assert (found.rows, found.rows_done) == (6, 0)
    positions = 16**2 + 8**2 + 24**2 + 12**2
    assert found.map_bytes == 2 * 4 * 10 * positions
    # Parameters and running statistics of the stages, from timm's table of the network, then mean, whitener, variance.
    level_2, level_3 = 15_024 + 24 + 24**2, 41_408 + 40 + 40**2
    assert found.model_bytes == 4 * (2 * (level_2 + level_3 + 4) + 24 * (16**2 + 24**2) + 40 * (8**2 + 12**2))
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
        count + count**2 + 2 + count * (size >> level) ** 2
        for level, count in zip((2, 3, 4, 5), (256, 512, 1024, 2048), strict=True)
        for size in (64, 96)
    )
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


def test_figure_3_takes_the_median_defect_of_each_type(out, parts):
    found = examples([parts], out, only=[])
    assert [one.name for one in found] == ["brick, hole", "brick, patch", "brick, scratch", "brick, stain"]
    row = next(row for row in rows_at(out) if row.score == "paper" and row.sizes == [64, 96])
    samples = samples_of(parts)
    for one in found:
        areas = sorted(resize_mask(read_truth(s), 64, 64).sum() for s in samples if s.label == one.name.split()[1])
        assert one.mask.sum() == areas[1]
        index = next(i for i, s in enumerate(samples) if s.label == one.name.split()[1]
                     and np.array_equal(resize_mask(read_truth(s), 64, 64), one.mask))  # fmt: skip
        maps = [
            torch.from_numpy(np.load(out / row.store / f"paper-{name.replace('/', '-')}.npy")[index])
            for name in row.names
        ]
        slow = sum(F.interpolate(one[None, None], size=(64, 64), mode="bilinear")[0, 0] for one in maps) / len(maps)
        assert np.allclose(one.score_map, slow.numpy(), atol=1e-6)
    with pytest.raises(InputError, match="brick: no row without labels of all sizes"):
        examples([parts], out / "nowhere", only=[])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A category of six good images to learn from, one good and two defective ones to test, 64 px."""
    folder, random = tmp_path_factory.mktemp("tiny") / "tiny", np.random.default_rng(0)
    places = [("train", "good", 6), ("test", "good", 1), ("test", "cut", 1), ("test", "dent", 1)]
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


def command(capsys, *arguments):
    """Run a command; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


GRID_OPTIONS = ("--sizes", "64,96", "--levels", "2,3", "--objectives", "logistic", "--draws", "1")


def test_the_command_line_runs_plans_and_makes_tables(out, parts, tmp_path, capsys):
    again = copied(out, tmp_path)
    code, shown, told = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS)
    assert (code, shown) == (0, f"{again / 'rows.jsonl'}: 6 ok\n")
    assert told == "6 rows of 1 models; 6 rows were measured before\n"
    code, shown, _ = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--plan", "--seeds", "0,1")
    assert code == 0
    assert [" ".join(line.split()) for line in shown.splitlines()[:4]] == [
        "models 2, 1 trained, 1 to do",
        "modules 8, 4 trained, 4 to do",
        "rows 12, 6 measured, 6 to do",
        "disk 1.2 MB of models, 0.2 MB of module maps",
    ]
    command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--experiments", "coverage,keep")
    report = tmp_path / "report"
    code, shown, _ = command(capsys, "tables", again, "--out", report, "--figure", parts)
    assert code == 0
    assert (report / "tables.md").read_text() == shown
    assert all(f"Table {number}" in shown for number in ("I", "II", "III", "IV", "V"))
    pictures = {path.name for path in report.glob("*.png")}
    assert "figure-3-paper.png" in pictures
    assert len(pictures) >= 3
    for name in pictures:
        Image.open(report / name).load()


@pytest.mark.parametrize(("options", "message"), [
    (["--sizes", "64;96"], "sizes: 64;96 is not allowed, expected whole numbers such as 2,3"),
    (["--teachers", "resnet18,,resnet50"], "teachers: resnet18,,resnet50 is not allowed, expected one or more"),
    (["--experiments", "speed"], "experiments: speed is not allowed"),
    (["--categories", "nut"], "no category of nut found"),
    (["--teachers", "resnet18,resnet50", "--weights", "w.pth"], "expected NAME=FILE with a name of resnet18, resnet50"),
    (["--weights", "nowhere.pth"], "nowhere.pth: no such file"),
    (["--teachers", "resnet18", "--weights", str(find_weights("tf_efficientnet_lite0"))], "conv1.weight of resnet18"),
    (["--device", "tpu"], "device: tpu is not allowed"),
])  # fmt: skip
def test_a_bad_option_is_one_line(options, message, parts, tmp_path, capsys):
    code, _, told = command(capsys, "benchmark", parts, "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tables_without_rows_say_what_is_missing(out, parts, tmp_path, capsys):
    code, _, told = command(capsys, "tables", tmp_path)
    assert (code, told) == (2, f"error: {tmp_path / 'rows.jsonl'}: no rows; blemish benchmark writes them\n")
    code, _, told = command(capsys, "tables", out, "--figure", parts)
    assert (code, told) == (2, "error: figure: a picture needs a folder, name one with --out\n")
    code, _, told = command(capsys, "tables", out, "--table", "4")
    assert code == 2
    assert told.count("\n") == 1


def test_an_error_row_is_exit_code_2(out, parts, tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise InputError("no way down")

    again = copied(out, tmp_path)
    monkeypatch.setattr(measures, "search", fail)
    code, shown, told = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--experiments", "weights")
    assert code == 2
    assert "1 error" in shown
    assert "error: no way down" in told
