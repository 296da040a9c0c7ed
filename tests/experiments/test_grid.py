"""What a grid trains and measures, counted by hand; draws, rows on the disk, the plan."""

import dataclasses
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from blemish.data.samples import Sample
from blemish.errors import InputError, StorageError
from blemish.experiments.grid import grid as grids
from blemish.experiments.grid.contents import Contents, draw_validation, left_to_test, read_contents
from blemish.experiments.grid.grid import Grid, units
from blemish.experiments.grid.rows import Row, Settings, append_row, read_rows, repair_rows
from blemish.experiments.runs.clock import FIRST_GUESS, Clock, Job, Remaining
from blemish.experiments.store.stopwatch import PEAK, Stopwatch, read_costs
from blemish.method.learning.progress import Progress

GRID = Grid(
    teachers=["resnet18"], sizes=[256, 128], level_sets=[[2, 3], [2, 3, 4]], seeds=[0], recipes=["fast"],
    experiments=["sizes"], objectives=["paper", "logistic"], draws=3,
)  # fmt: skip
SHA = {"resnet18": "a" * 64, "resnet50": "b" * 64}
SETTINGS = Settings(
    blemish="1", data="parts", category="bolt", data_sha256="c", teacher="resnet18", teacher_sha256="a", recipe="fast",
    recipe_settings={"steps": 1, "learning_rate": 0.5, "crop": None}, seed=0, trained_sizes=[64], sizes=[64],
    levels=[2], score="paper", weighting="mean",
)  # fmt: skip
HERE = {"commit": None, "machine": "m", "cores": 1, "threads": 1, "device": "cpu", "torch": "2", "finished": "now"}


def contents(counts, category="bolt"):
    """A category whose test set has so many images of each label; the hash of an image is its name."""
    names = [(label, f"{label}{index}") for label, count in counts.items() for index in range(count)]
    samples = [Sample(Path(f"/{name}.png"), label, (), "test", category) for label, name in names]
    return Contents(
        "parts", category, [Path("/g.png")] * 8, [], 6, samples, [name for _, name in names], "1" * 64, "2" * 64
    )


def rows_of(**changes):
    """All rows of a grid on one category of six images."""
    some = dataclasses.replace(GRID, **changes)
    return list(units(some, [contents({"good": 2, "cut": 4})], SHA))


def made_row(status="ok", error=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    facts = {"id": settings.identity, "status": status, "error": error, "metrics": {"aupro": 0.5}}
    return Row(**settings.model_dump(), **facts, **HERE)


def test_sizes_are_measured_alone_and_as_a_pyramid_with_both_scores():
    ((unit, rows),) = rows_of()
    assert (unit.sizes, unit.levels, unit.method) == ((128, 256), (2, 3), "imitation")
    assert unit.names == ["128/2", "128/3", "256/2", "256/3"]
    found = {(tuple(row.sizes), row.score, row.weighting) for row in rows}
    kinds = (("paper", "mean"), ("whitened", "label-free"))
    assert found == {(sizes, *kind) for sizes in ((128,), (256,), (128, 256)) for kind in kinds}
    assert len(rows) == 6
    assert all(row.levels == [2, 3] and row.coverage is row.draw is row.keep is None for row in rows)


def test_level_sets_are_measured_at_256_and_share_one_training():
    ((unit, rows),) = rows_of(experiments=["levels"])
    assert unit.levels == (2, 3, 4)
    assert Counter((tuple(row.sizes), tuple(row.levels)) for row in rows) == {
        ((256,), (2, 3)): 2,
        ((256,), (2, 3, 4)): 2,
    }
    ((_, rows),) = rows_of(experiments=["levels"], sizes=[64, 96, 128])
    assert {tuple(row.sizes) for row in rows} == {(96,)}


def test_rows_that_two_experiments_need_are_there_once():
    ((unit, rows),) = rows_of(experiments=["sizes", "levels"])
    assert len(rows) == len({row.identity for row in rows}) == 6 + 4 - 2  # 256 alone with levels 2 and 3 is in both
    assert unit.levels == (2, 3, 4)


def test_coverage_has_every_draw_and_objective_beside_the_rows_without_labels():
    ((_, rows),) = rows_of(experiments=["coverage"])
    assert len(rows) == 2 + 4 * 3 * (2 + 2)
    found = Counter((row.coverage, row.score, row.weighting) for row in rows)
    assert found[None, "paper", "mean"] == found[None, "whitened", "label-free"] == 1
    for share in (0.25, 0.5, 0.75, 1.0):
        for kind in (("paper", "mean"), ("whitened", "label-free"), ("paper", "paper"), ("whitened", "logistic")):
            assert found[(share, *kind)] == 3
    assert {row.draw for row in rows if row.coverage} == {0, 1, 2}


def test_keep_has_every_number_of_modules_but_all_at_full_coverage():
    ((_, rows),) = rows_of(experiments=["keep"])
    assert len(rows) == 3 * 4 + 3 * 2 * 3  # all modules, and K = 1, 2, 3 of 4 for each draw and objective
    assert Counter(row.keep for row in rows) == {None: 12, 1: 6, 2: 6, 3: 6}
    assert {row.coverage for row in rows} == {1.0}
    ((_, weighted),) = rows_of(experiments=["weights"])
    assert [row.identity for row in weighted] == [row.identity for row in rows if row.keep is None]


def test_methods_are_trained_as_units_of_their_own():
    found = {unit.method: rows for unit, rows in rows_of(experiments=["methods"])}
    assert {method: len(rows) for method, rows in found.items()} == {"imitation": 6, "one group": 6, "chained": 3}
    assert {row.score for row in found["chained"]} == {"paper"}


def test_a_unit_for_each_category_teacher_recipe_and_seed():
    some = dataclasses.replace(GRID, teachers=["resnet18", "resnet50"], seeds=[0, 1], recipes=["fast", "quick"])
    found = list(units(some, [contents({"cut": 1}), contents({"cut": 1}, "nut")], SHA))
    names = [(unit.contents.category, unit.teacher, unit.recipe, unit.seed) for unit, _ in found]
    assert len(set(names)) == len(names) == 16
    assert len({row.identity for _, rows in found for row in rows}) == 16 * 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": [100]}, "sizes: 100 is not allowed, expected one or more different multiples of 32 from 64 to 1024"),
        ({"level_sets": [[2, 2]]}, "levels: 2, 2 is not allowed"),
        ({"level_sets": [[6]]}, "levels: 6 is not allowed"),
        ({"seeds": [-1]}, "seeds: -1 is not allowed"),
        (
            {"experiments": ["size"]},
            "experiments: size is not allowed, expected one or more different of sizes, levels",
        ),
        ({"objectives": ["best"]}, "objectives: best is not allowed"),
        ({"teachers": ["vgg"]}, "teacher: vgg is not allowed"),
        ({"recipes": ["slow"]}, "recipe: slow is not allowed"),
        ({"draws": 0}, "draws: 0 is not allowed"),
    ],
)
def test_an_option_that_is_not_allowed_is_named(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        dataclasses.replace(GRID, **changes).check()


def test_every_setting_is_part_of_the_identity():
    changed = {
        "blemish": "2", "data": "d", "category": "nut", "data_sha256": "d", "teacher": "t", "teacher_sha256": "b",
        "method": "chained", "recipe": "r", "recipe_settings": {"steps": 2}, "seed": 1, "trained_sizes": [64, 96],
        "sizes": [96], "levels": [3], "score": "whitened", "weighting": "label-free", "keep": 1, "coverage": 0.5,
        "draw": 0,
    }  # fmt: skip
    assert set(changed) == set(Settings.model_fields)
    found = {SETTINGS.model_copy(update={name: value}).identity for name, value in changed.items()}
    assert len(found | {SETTINGS.identity}) == len(changed) + 1
    assert Settings.model_validate_json(SETTINGS.model_dump_json()).identity == SETTINGS.identity


def test_a_draw_takes_a_tenth_of_each_selected_type_and_at_least_one_image():
    one = contents({"good": 40, "cut": 34, "dent": 16, "hole": 5, "stain": 1})
    drawn = draw_validation(one, coverage=1.0, draw=0)
    assert Counter(one.samples[index].label for index in drawn) == {"cut": 3, "dent": 2, "hole": 1, "stain": 1}
    for coverage, types in ((0.0, 0), (0.1, 1), (0.25, 1), (0.375, 2), (0.5, 2), (0.75, 3)):
        labels = {one.samples[index].label for index in draw_validation(one, coverage=coverage, draw=0)}
        assert len(labels) == types
    assert draw_validation(contents({"good": 5}), coverage=1.0, draw=0) == []


def test_a_larger_coverage_adds_types_and_changes_none():
    one = contents({"good": 9, "cut": 30, "dent": 30, "hole": 30, "stain": 30})
    for draw in range(5):
        sets = [set(draw_validation(one, coverage=share, draw=draw)) for share in (0.25, 0.5, 0.75, 1.0)]
        assert [len(some) for some in sets] == [3, 6, 9, 12]
        assert sets[0] < sets[1] < sets[2] < sets[3]


def test_draws_differ_and_do_not_depend_on_the_order_of_files():
    one = contents({"good": 9, "cut": 30, "dent": 30})
    order = np.random.default_rng(0).permutation(len(one.samples))
    other = dataclasses.replace(
        one, samples=[one.samples[index] for index in order], hashes=[one.hashes[index] for index in order]
    )
    draws = []
    for draw in range(20):
        drawn = {one.hashes[index] for index in draw_validation(one, coverage=0.5, draw=draw)}
        assert drawn == {other.hashes[index] for index in draw_validation(other, coverage=0.5, draw=draw)}
        draws.append(frozenset(drawn))
    assert len(set(draws)) == 20
    assert len({name[:3] for drawn in draws for name in drawn}) == 2  # either type is selected by some draw
    again = contents({"good": 9, "cut": 30, "dent": 30}, "nut")
    assert draw_validation(again, coverage=0.5, draw=0) != draw_validation(one, coverage=0.5, draw=0)


def test_images_that_weigh_and_their_copies_leave_the_test_set():
    one = contents({"good": 2, "cut": 3})
    one.hashes[4] = one.hashes[2]
    assert left_to_test(one, [2]) == [0, 1, 3]
    assert left_to_test(one, []) == [0, 1, 2, 3, 4]


def test_a_manifest_of_two_categories_is_two_contents(tmp_path):
    lines, random = ["path,label,mask,split,category"], np.random.default_rng(0)
    for category in ("bolt", "nut"):
        for index in range(9):
            name = f"{category}{index}.png"
            Image.fromarray(random.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / name)
            split, label = ("train", "good") if index < 7 else ("test", "good" if index == 7 else "cut")
            lines.append(f"{name},{label},{'mask.png' if label == 'cut' else ''},{split},{category}")
    Image.new("1", (32, 32), 1).save(tmp_path / "mask.png")
    manifest = tmp_path / "parts.csv"
    manifest.write_text("\n".join(lines) + "\n")
    bolt, nut = read_contents(manifest)
    assert [(one.data, one.category, len(one.good), one.trained, len(one.samples)) for one in (bolt, nut)] == [
        ("parts", "bolt", 7, 5, 2), ("parts", "nut", 7, 5, 2)
    ]  # fmt: skip
    assert bolt.train_sha256 != nut.train_sha256
    assert [one.category for one in read_contents(manifest, only=["nut"])] == ["nut"]
    with pytest.raises(InputError, match="no category of screw found"):
        read_contents(manifest, only=["screw"])


def test_rows_survive_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    repair_rows(path)
    assert not path.exists()
    first, second = made_row(), made_row(seed=1)
    append_row(path, first)
    whole = path.read_bytes()
    for cut in (1, 100, len(second.model_dump_json())):  # the last: all of the line but its end
        path.write_bytes(whole + second.model_dump_json().encode()[:cut])
        assert read_rows(path) == [first]
        repair_rows(path)
        assert path.read_bytes() == whole
    append_row(path, second)
    assert read_rows(path) == [first, second]


def test_of_rows_with_the_same_id_the_newest_counts(tmp_path):
    path = tmp_path / "rows.jsonl"
    for row in (made_row("error"), made_row(seed=1), made_row("ok")):
        append_row(path, row)
    assert [(row.seed, row.status) for row in read_rows(path)] == [(0, "ok"), (1, "ok")]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, made_row())
    with path.open("a") as stream:
        stream.write("{half\n")
    append_row(path, made_row(seed=1))
    with pytest.raises(InputError, match=r"rows.jsonl line 2: .*remove the line, or the file"):
        read_rows(path)
    fields = made_row().model_dump() | {"speed": 1}
    path.write_text(json.dumps(fields) + "\n")
    with pytest.raises(InputError, match=r"line 1: speed: Extra inputs are not permitted"):
        read_rows(path)
    with pytest.raises(StorageError, match=r"rows.jsonl: cannot be written"):
        append_row(tmp_path / "nowhere" / "rows.jsonl", made_row())


def test_time_left_by_hand():
    jobs = [
        Job("a", "slow", 9, 9.0, 10),
        Job("b", "slow", 9, 9.0, 10),
        Job("c", "other", 4, 4.0, 5),
        Job("d", "slow", 0, 0.0, 5),
    ]
    left = Remaining(jobs)
    left.index = 0
    assert left.seconds(90.0) == 90 + 30 * FIRST_GUESS  # of the others nothing is known
    left.guess["slow"] = (9.0, 90.0)
    assert left.seconds(50.0) == 50 + 9 * 10 + 4 * 10 + 30 * FIRST_GUESS
    left.trained["slow"] = [(9.0, 180.0)]
    left.rows, left.row_seconds = 10, [1.0, 3.0]
    assert left.seconds() == 9 * 20 + 4 * 20 + 20 * 2
    left.index, left.rows = 2, 0
    left.guess["other"] = (4.0, 4.0)
    assert left.seconds(3.0) == 3 + 10 * 2


@pytest.mark.parametrize("terminal", [False, True])
def test_the_clock_shows_jobs_modules_rows_and_the_time_left(terminal, monkeypatch):
    now = 0.0
    monkeypatch.setattr("blemish.experiments.runs.clock.time.monotonic", lambda: now)
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=120, color_system=None, markup=False, highlight=False)
    clock = Clock([Job("bolt", "slow", 9, 9.0, 2), Job("nut", "slow", 9, 9.0, 2)], console)
    with clock.showing():
        clock.begin()
        now = 30.0
        clock.training(Progress("64/2", 1, 9, 20, 800, 0.1, 1.0, 0.1, 60.0))
        if clock.display:
            clock.display.refresh()
        now = 90.0
        clock.ready()
        for status in ("ok", "error"):
            now += 2
            clock.row(made_row(status, error="no way down" if status == "error" else None))
        clock.begin()
    text = shown.getvalue()
    # The second model takes what the first does, 90 s; the four rows 3 s each, as far as is known.
    left = "2 min 42 s left"
    assert left in text
    assert "module 1 of 9, 64/2: step 20 of 800" in text
    lines = [line.rstrip() for line in text.splitlines()]
    expected = [
        "model 1 of 2, bolt: 9 modules to train, 2 rows to measure", "error: no way down",
        "model 1 of 2: 1 error, 1 ok; 1 min 34 s left", "model 2 of 2, nut: 9 modules to train, 2 rows to measure",
    ]  # fmt: skip
    if not terminal:
        expected.insert(1, f"model 1 of 2, module 1 of 9, 64/2: step 20 of 800; {left}")
        assert [line for line in lines if " rows; " not in line] == expected
    else:
        assert all(any(one in line for line in lines) for one in expected)


def test_a_stopwatch_adds_what_each_module_took(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("blemish.experiments.store.stopwatch.time.monotonic", lambda: now)
    heard, path = [], tmp_path / "costs.json"
    assert read_costs(path) == {}

    def told(watch, at, module, step):
        nonlocal now
        now = at
        watch(Progress(module, 1, 2, step, 10, 0.1, 1.0, 0.5, 1.0))

    watch = Stopwatch(path, heard.append)
    told(watch, 4.0, "64/2", 5)
    assert read_costs(path) == {}
    told(watch, 7.0, "64/2", 10)
    assert read_costs(path)["64/2"] == 7.0  # a kill from here on loses nothing of it
    told(watch, 9.0, "64/3", 5)
    assert read_costs(path)["64/2"] == 9.0
    again = Stopwatch(path)  # after a kill, at 64/3
    told(again, 12.0, "64/3", 10)
    now = 13.0
    again.finish()
    costs = read_costs(path)
    assert costs.pop(PEAK) > 10
    assert costs == {"64/2": 9.0, "64/3": 4.0}
    assert [one.step for one in heard] == [5, 10, 5]


def test_unknown_settings_do_not_pass_unseen():
    assert grids.EXPERIMENTS == ("sizes", "levels", "weights", "coverage", "keep", "methods")
    ((_, rows),) = rows_of(experiments=["sizes"])
    assert all(row.recipe_settings["steps"] == 400 for row in rows)
