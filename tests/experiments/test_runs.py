"""A benchmark runs, stops, goes on and is read again; every module is trained once."""

import dataclasses
import os
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from filelock import FileLock

from benches import GRID, copied, lines_at, out, parts, quick_recipe, rows_at, run, trained  # noqa: F401
from blemish.data.datasets import test_samples as samples_of
from blemish.data.samples import read_truth
from blemish.detector import Detector
from blemish.errors import InputError, StoppedError, StorageError
from blemish.evaluation.metrics import pixel_metrics
from blemish.experiments.runs import measure as measures
from blemish.experiments.runs import run as runs
from blemish.experiments.tables.averages import average, read_runs
from blemish.experiments.tables.examples import examples
from blemish.images.read import read_image
from blemish.images.resize import resize_mask
from blemish.method.learning import fitting
from blemish.method.pyramid import stack
from blemish.method.scoring import score_pyramid, set_weights
from blemish.printing.bars import error_console
from blemish.storage.files import LOCK


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

    def stop(module, *arguments, **options):
        if module.name == "96/2":
            raise KeyboardInterrupt
        real(module, *arguments, **options)

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
    with FileLock(again / LOCK), pytest.raises(InputError, match="another benchmark is at work in it"):
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
