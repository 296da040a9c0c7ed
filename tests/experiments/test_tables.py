"""Tables of the benchmark from made-up rows, with means and differences worked out by hand."""

import dataclasses
import itertools

import pytest

from blemish.errors import InputError
from blemish.experiments.grid.rows import Row
from blemish.experiments.tables import references
from blemish.experiments.tables.averages import average, read_runs, wins
from blemish.experiments.tables.markdown import Column, Figure, Table, markdown, signed
from blemish.experiments.tables.tables import curve, methods, numbered, table_1, table_2, table_3, table_4, table_5

PYRAMID = [128, 256, 384]
IDS = itertools.count()


def row(auroc=0.9, aupro=0.8, *, validation=None, **settings):
    """Return a row of one category that is all right unless the settings say otherwise."""
    made = {
        "id": str(next(IDS)),
        "status": "ok",
        "error": None,
        "blemish": "0.1.0",
        "data": "parts",
        "category": "nut",
        "data_sha256": "d" * 64,
        "teacher": "tf_efficientnet_lite0",
        "teacher_sha256": "t" * 64,
        "method": "imitation",
        "recipe": "fast",
        "recipe_settings": {"steps": 800},
        "seed": 0,
        "trained_sizes": PYRAMID,
        "sizes": PYRAMID,
        "levels": [2, 3, 4],
        "score": "paper",
        "weighting": "mean",
        "keep": None,
        "coverage": None,
        "draw": None,
        "metrics": {"pixel_auroc": auroc, "aupro": aupro, "image_auroc": 0.7, "pixel_ap": 0.5},
        "validation_metrics": None if validation is None else {"pixel_auroc": validation, "aupro": 0.1},
        "ms_per_image": 100.0,
        "fit_seconds": 60.0,
        "commit": "0123456789abcdef",
        "machine": "one",
        "threads": 1,
    }
    return made | settings


def broken(**settings):
    return row(0.1, 0.1, status="error", error="out of memory", **settings)


def close(figure, mean, lowest=None, highest=None):
    assert figure.mean == pytest.approx(mean, abs=1e-12)
    assert (figure.lowest, figure.highest) == (pytest.approx(lowest, abs=1e-12), pytest.approx(highest, abs=1e-12))


def test_a_mean_is_over_categories_of_the_means_over_seeds():
    runs = read_runs(
        [
            row(0.5, category="a", seed=0),
            row(0.7, category="a", seed=1),
            row(0.9, category="a", seed=2),
            row(0.1, category="b", seed=0),
            row(0.2, category="b", seed=1),
        ]
    )
    found = average(runs, "pixel_auroc", among=3, beside=0.5)
    # a: 0.7, b: 0.15; of the seeds 0 (0.5, 0.1) and 1 (0.7, 0.2) have both, 2 has not.
    close(found, 0.425, 0.3, 0.45)
    assert (found.runs, found.lacking) == ((2, 3), 1)
    assert found.difference == pytest.approx(-0.075)
    assert average(runs[:1], "pixel_auroc") == Figure(mean=0.5, runs=(1, 1))
    assert average([], "pixel_auroc", among=2, beside=0.5) == Figure(lacking=2, beside=0.5)


def test_rows_that_failed_or_collapsed_enter_no_mean_and_are_counted():
    rows = [
        row(0.9, seed=0),
        row(0.7, seed=1),
        broken(seed=2),
        row(0.1, seed=3, status="collapsed", error="0.995 of the weight on 128/2"),
        row(None, 0.6, seed=4),
        row(float("nan"), 0.6, seed=5),
    ]
    (table,) = table_1(rows)
    auroc, aupro = next(iter(table.lines.values()))
    close(auroc, 0.8, 0.7, 0.9)
    close(aupro, 0.7, 0.6, 0.8)
    left, without = table.notes[1:3]
    assert left == (
        "Left out: 2 of 6 rows. 1 x error (nut): out of memory; 1 x collapsed (nut): 0.995 of the weight on 128/2."
    )
    assert without == "2 rows without pixel AUROC not in its means."
    assert "Left out: none of 2 rows." in table_1(rows[:2])[0].notes


def test_only_failures_leave_the_cell_empty():
    (table,) = table_1([broken()])
    assert next(iter(table.lines.values()))[0] == Figure(lacking=1, beside=0.983)
    assert "measured here | - | 0.983 | - | - | 0.927 | - |" in markdown([table])


def test_the_newest_row_of_an_id_counts():
    (table,) = table_1([broken(id="x"), row(0.5, id="x"), row(0.7, id="x")])
    close(next(iter(table.lines.values()))[0], 0.7)
    assert "Left out: none of 1 row." in table.notes


def test_table_1_has_the_published_rows_and_the_differences():
    rows = [
        row(0.987, 0.92, seed=0),
        row(0.985, 0.90, seed=1),
        row(0.99, 0.95, score="whitened", weighting="label-free"),
    ]
    rows += [row(0.2, sizes=[256]), row(0.2, method="chained"), row(0.2, coverage=1.0, draw=0), row(0.2, keep=4)]
    (table,) = table_1(rows)
    lines = list(table.lines.items())
    (name, source), (auroc, aupro) = lines[0]
    assert name == "tf_efficientnet_lite0, 128/256/384, levels 2/3/4, score paper, weights mean"
    assert source == "measured here"
    close(auroc, 0.986, 0.985, 0.987)
    close(aupro, 0.91, 0.90, 0.92)
    assert (signed(auroc.difference), signed(aupro.difference)) == ("+0.003", "-0.017")
    close(lines[1][1][0], 0.99)
    quoted = {keys[0]: (keys[1], *(cell.beside for cell in cells)) for keys, cells in lines[2:]}
    assert quoted["PaDiM"] == ("as quoted in the paper", 0.975, 0.921)
    assert quoted["GAVGA"] == ("as quoted in the paper", 0.93, None)
    assert quoted["feature imitation, WideResNet-50, pyramid"] == ("the paper's own", 0.983, 0.927)
    assert len(quoted) == 6
    assert all(cell.mean is None for _, cells in lines[2:] for cell in cells)


def test_unlike_data_teacher_and_recipe_are_named():
    def note(**settings):
        return next(note for note in table_1([row(**settings)])[0].notes if note.startswith("The paper's"))

    same = {"teacher": "wide_resnet50_2", "recipe": "paper"}
    assert note().endswith("Not like for like: other data, another teacher, another recipe.")
    assert note(**same, category="grid").endswith("Not like for like: 1 of the 15 categories only.")
    whole = table_1([row(**same, category=category) for category in references.TABLE_3])[0]
    assert whole.notes[2] == "The paper's figures: arXiv 2212.05786, MVTec AD, 15 categories, WideResNet-50."


def test_table_2_is_at_256_or_the_middle_size():
    rows = [
        row(0.975, sizes=[256], teacher="resnet50", category="grid"),
        row(0.970, sizes=[256], teacher="resnet50", category="grid", levels=[2, 3, 4, 5]),
        row(0.1, sizes=[128], teacher="resnet50", category="grid"),
        row(0.1, teacher="resnet50", category="grid"),
        row(0.9, sizes=[256], category="grid"),
    ]
    (table,) = table_2(rows)
    assert table.lines["resnet50", "2/3/4"][0] == Figure(mean=0.975, runs=(1, 1), beside=0.977)
    assert signed(table.lines["resnet50", "2/3/4/5"][0].difference) == "-0.005"
    assert table.lines["wide_resnet50_2", "2/3/4"][0] == Figure(beside=0.979)
    assert table.lines["tf_efficientnet_lite0", "2/3/4"][0] == Figure(mean=0.9, runs=(1, 1))
    assert len(table.lines) == 7
    small = [row(0.9, trained_sizes=[64, 96, 128], sizes=[size], teacher="resnet50") for size in (64, 96, 128)]
    (table,) = table_2(small)
    assert "at size 96" in table.title
    assert table.lines == {("resnet50", "2/3/4"): (Figure(0.9, runs=(1, 1)), Figure(0.8, runs=(1, 1)))}


def test_table_3_has_categories_sizes_and_the_mean_of_those_that_are_there():
    rows = [
        row(0.98, 0.5, category="carpet", sizes=[128]),
        row(0.94, 0.7, category="grid", sizes=[128]),
        row(0.99, 0.9, category="carpet"),
        broken(category="grid"),
    ]
    auroc, aupro = table_3(rows)
    assert [column.name for column in auroc.columns] == ["128", "256", "384", "128/256/384"]
    assert len(auroc.lines) == 16
    assert [signed(cell.difference) for cell in auroc.lines[("carpet",)]] == ["-0.003", "-", "-", "-0.001"]
    assert auroc.lines[("grid",)][3] == Figure(beside=0.989)
    assert auroc.lines[("zipper",)][0] == Figure(beside=0.958)
    mean = auroc.lines[("mean",)]
    close(mean[0], 0.96)
    assert mean[0].beside == pytest.approx((0.983 + 0.948) / 2)
    assert (mean[3].mean, mean[3].lacking, mean[3].beside) == (0.99, 1, 0.991)
    assert "| 0.9900, 1 lacking | 0.991 | -0.001 |" in markdown([auroc])
    assert [cell.mean for cell in aupro.lines[("mean",)]] == [pytest.approx(0.6), None, None, 0.9]
    assert {cell.beside for cells in aupro.lines.values() for cell in cells} == {None}


def test_table_3_of_other_data_has_only_its_own_categories():
    auroc, _ = table_3([row(0.9, category="nut"), row(0.8, category="bolt")])
    assert list(auroc.lines) == [("bolt",), ("nut",), ("mean",)]
    close(auroc.lines[("mean",)][0], 0.85)
    assert (auroc.lines[("nut",)][0].beside, auroc.lines[("mean",)][0].beside) == (None, 0.982)


def weighed(coverage, draw, auroc, aupro, weighting="paper", **settings):
    return row(auroc, aupro, coverage=coverage, draw=draw, weighting=weighting, validation=0.95, **settings)


def test_table_4_compares_each_draw_with_the_mean_on_the_same_images():
    rows = [row(0.9, 0.8, seed=0), row(0.92, 0.82, seed=1)]
    rows += [weighed(1.0, draw, 0.9, 0.80, "mean") for draw in range(3)]
    rows += [weighed(1.0, 0, 0.96, 0.81), weighed(1.0, 1, 0.98, 0.79), weighed(1.0, 2, 0.97, 0.83)]
    rows += [weighed(0.5, 0, 0.95, 0.9), weighed(0.5, 1, 0.1, 0.1, status="collapsed", error="all on 128/2")]
    (table,) = table_4(rows)
    assert list(table.lines) == [(f"{share} %",) for share in (0, 25, 50, 75, 100)]
    validation, test, aupro, without, above = table.lines[("100 %",)]
    close(validation, 0.95, 0.95, 0.95)
    close(test, 0.97, 0.96, 0.98)
    close(aupro, 0.81, 0.79, 0.83)
    close(without, 0.80, 0.80, 0.80)
    assert above == "2 of 3"
    assert (signed(validation.difference), signed(test.difference)) == ("-0.033", "-0.015")
    close(table.lines[("50 %",)][1], 0.95)
    assert table.lines[("50 %",)][4] == "-"
    assert table.lines[("25 %",)][:2] == (Figure(lacking=1, beside=0.984), Figure(lacking=1, beside=0.984))
    close(table.lines[("0 %",)][1], 0.91, 0.90, 0.92)
    assert table.lines[("0 %",)][0].mean is None
    assert table.lines[("0 %",)][3:] == ("-", "-")
    assert table.notes[1] == "Left out: 1 of 10 rows. 1 x collapsed (nut): all on 128/2."
    assert not any("without validation" in note for note in table.notes)


def test_wins_count_draws_in_which_the_mean_over_categories_is_higher():
    rivals = [weighed(1.0, draw, 0.9, 0.8, "mean", category=name) for draw in (0, 1, 2, 3) for name in ("a", "b")]
    rivals += [weighed(0.5, 4, 0.9, 0.1, "mean", category="a"), broken(category="a", coverage=1.0, draw=5)]
    own = [
        *(weighed(1.0, 0, 0.9, value, category=name) for name, value in (("a", 0.75), ("b", 0.875))),  # +0.0125
        *(weighed(1.0, 1, 0.9, value, category=name) for name, value in (("a", 0.875), ("b", 0.7))),  # -0.0125
        *(weighed(1.0, 2, 0.9, 0.8, category=name) for name in ("a", "b")),  # equal is not above
        weighed(1.0, 3, 0.9, 0.9, category="b"),  # only one category to compare
        weighed(1.0, 4, 0.9, 0.9, category="a"),  # the rival was tested on other images
        weighed(1.0, 5, 0.9, 0.9, category="a"),  # the rival failed
    ]
    assert wins(read_runs(own), read_runs(rivals), "aupro") == "2 of 4"
    assert wins(read_runs(own), [], "aupro") == "-"


def test_each_objective_has_its_own_table_4_the_papers_score_first():
    rows = [
        weighed(1.0, 0, 0.9, 0.8, "logistic", score="whitened"),
        weighed(1.0, 0, 0.9, 0.8, "aupro", score="whitened"),
        weighed(1.0, 0, 0.9, 0.7, "label-free", score="whitened"),
        weighed(1.0, 0, 0.9, 0.9, "mean", score="whitened"),
        weighed(1.0, 0, 0.9, 0.8),
    ]
    tables = table_4(rows)
    assert [table.title.split("objective ")[1] for table in tables] == [
        "paper, score paper",
        "aupro, score whitened",
        "logistic, score whitened",
    ]
    assert len({table.name for table in tables}) == 3
    assert tables[1].lines[("100 %",)][3:] == (Figure(0.7, runs=(1, 1)), "1 of 1")


def pruned_rows():
    rows = [weighed(1.0, draw, 0.98, 0.80 + draw / 100, "mean") for draw in (0, 1)]
    rows += [weighed(1.0, draw, 0.985, 0.82, ms_per_image=90.0) for draw in (0, 1)]
    for keep in range(1, 9):
        rows += [weighed(1.0, draw, 0.9 + keep / 100, 0.73 + keep / 50, keep=keep, ms_per_image=10.0 * keep)
                 for draw in (0, 1)]  # fmt: skip
    return [*rows, weighed(0.5, 0, 0.1, 0.1), broken(coverage=1.0, draw=2, weighting="paper", keep=4)]


def test_table_5_has_the_mean_the_weighted_and_the_best_modules():
    (table,) = table_5(pruned_rows())
    assert list(table.lines) == [("no search: mean", "9"), *(("paper", count) for count in ("9", "6", "5", "4"))]
    auroc, aupro, cost, above = table.lines["no search: mean", "9"]
    assert (signed(auroc.difference), above) == ("-0.003", "-")
    close(aupro, 0.805, 0.80, 0.81)
    auroc, aupro, cost, above = table.lines["paper", "9"]
    assert (signed(auroc.difference), above) == ("-0.001", "2 of 2")
    close(cost, 90, 90, 90)
    auroc, aupro, cost, above = table.lines["paper", "4"]
    close(auroc, 0.94, 0.94, 0.94)
    close(aupro, 0.81, 0.81, 0.81)
    assert (signed(auroc.difference), cost.mean, above) == ("-0.045", 40, "1 of 2")
    assert [table.lines["paper", count][0].beside for count in ("9", "6", "5", "4")] == [0.986, 0.987, 0.986, 0.985]
    assert "Left out: 1 of 21 rows. 1 x error (nut): out of memory." in table.notes


def test_missing_cells_of_table_5_are_dashes():
    (table,) = table_5([weighed(1.0, 0, 0.985, 0.82)])
    assert table.lines["paper", "5"][0] == Figure(lacking=1, beside=0.986)
    assert table.lines["no search: mean", "9"][0] == Figure(lacking=1, beside=0.983)
    assert "| paper | 5 | - | 0.986 | - | - | - | - |" in markdown([table])


def test_the_curve_has_every_number_of_modules_that_there_is():
    (table,) = curve(pruned_rows())
    assert list(table.lines)[1:] == [("paper", str(count)) for count in range(9, 0, -1)]
    assert [table.lines["paper", str(count)][1].mean for count in (1, 8)] == [pytest.approx(0.75), pytest.approx(0.89)]
    few = [one for one in pruned_rows() if one["keep"] in (None, 2)]
    assert list(curve(few)[0].lines)[1:] == [("paper", "9"), ("paper", "2")]


def test_methods_are_compared_with_the_modules_of_the_same_sizes():
    rows = [row(0.95, 0.85), row(0.93, 0.80, method="one group"), broken(method="chained"), row(0.9, 0.7, sizes=[128])]
    rows += [row(0.91, 0.75, sizes=[128], method="chained"), row(0.9, 0.7, score="whitened", weighting="label-free")]
    (table,) = methods(rows)
    assert list(table.lines) == [
        ("128/256/384", "imitation"),
        ("128/256/384", "one group"),
        ("128/256/384", "chained"),
        ("128", "imitation"),
        ("128", "chained"),
    ]
    assert table.lines["128/256/384", "imitation"][0] == Figure(0.95, runs=(1, 1))
    assert table.lines["128/256/384", "one group"][1].difference == pytest.approx(-0.05)
    assert table.lines["128/256/384", "chained"][0] == Figure(lacking=1, beside=0.95)
    assert table.lines["128", "chained"][0].difference == pytest.approx(0.01)
    assert "| 128 | chained | 0.9100 | 0.9000 | +0.0100 | 0.7500 | 0.7000 | +0.0500 |" in markdown([table])


def test_what_may_not_be_compared_is_not_mixed():
    rows = [row(), row(recipe="paper"), row(data="other"), row(trained_sizes=[256], sizes=[256])]
    assert len(table_1(rows)) == 3
    assert len(table_3(rows)) == 8
    assert len(table_2(rows)) == 1
    (table,) = table_1([row(blemish="0.1.0"), row(blemish="0.2.0", seed=1), row(seed=2, teacher_sha256="other")])
    assert "Careful: these rows differ in blemish." in table.notes
    assert "Careful: these rows differ in teacher_sha256." in table.notes


def test_the_heading_says_what_was_measured_with_what():
    rows = [row(seed=1), row(seed=0, commit=None, machine="two", category="bolt"), broken(seed=7, machine="three")]
    assert table_1(rows)[0].heading == (
        "data: parts (2 categories); teacher: tf_efficientnet_lite0; recipe: fast; trained sizes: 128/256/384; "
        "levels: 2/3/4; score: paper; seeds: 0, 1; commit: 0123456789, unknown; machine: one, two; threads: 1"
    )


def test_markdown_to_the_letter():
    columns = (
        Column("pixel AUROC", "pixel_auroc", beside="paper"),
        Column("AUPRO", "aupro"),
        Column("ms", "ms", digits=1),
    )
    lines = {
        ("a|b",): (Figure(0.9794, 0.9784, 0.9804, beside=0.975), Figure(0.9, lacking=2), Figure(12.34)),
        ("c",): (Figure(0.9750004, beside=0.975), Figure(), "4 of 5"),
    }
    table = Table("T", "t", "data: x", ("category",), columns, lines, ("<note>\n",))
    assert markdown([table]) == (
        "### T\n\ndata: x\n\n"
        "| category | pixel AUROC | paper | difference | AUPRO | ms |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| a\\|b | 0.9794 (0.9784 - 0.9804) | 0.975 | +0.004 | 0.9000, 2 lacking | 12.3 |\n"
        "| c | 0.9750 | 0.975 | 0.000 | - | 4 of 5 |\n\n"
        "- \\<note\\>\\\\n\n"
    )
    assert [signed(value) for value in (0.0044, -0.0044, -0.0001, None)] == ["+0.004", "-0.004", "0.000", "-"]


def test_a_table_by_its_number():
    rows = pruned_rows()
    assert numbered(4, iter(rows)) == table_4(rows)
    other = [row(method="chained")]
    assert numbered(5, iter([*rows, *other])) == [*table_5(rows), *curve(rows), *methods(other)]
    with pytest.raises(InputError, match=r"^table: 6 is not allowed, expected 1 to 5$"):
        numbered(6, rows)
    with pytest.raises(InputError, match=r"^table 4: none of 1 rows is for it, needed is a row with a search"):
        numbered(4, [row()])
    with pytest.raises(InputError, match=r"^row 7: field category is missing$"):
        numbered(1, [{key: value for key, value in row(id="7").items() if key != "category"}])


def test_rows_of_a_file_give_the_same_table():
    extra = {"cores": 2, "device": "cpu", "torch": "2", "finished": "2026-01-01T00:00:00"}
    rows = pruned_rows()
    assert numbered(5, [Row(**one, **extra) for one in rows]) == numbered(5, rows)


def test_the_papers_figures_agree_with_each_other():
    for index, (sizes, mean) in enumerate(zip(references.TABLE_3_SIZES, references.TABLE_3_MEAN, strict=True)):
        own = sum(figures[index] for figures in references.TABLE_3.values()) / 15
        # The printed mean of the pyramid is 0.001 above that of its column.
        assert own == pytest.approx(mean, abs=0.0011 if len(sizes) > 1 else 0.0005)
    assert len(references.TABLE_3) == 15
    assert references.table_3_figure("transistor", (384,)) == 0.874
    assert references.table_3_figure("transistor", (512,)) is None
    assert references.table_3_figure("nut", (384,)) is None
    assert references.table_3_mean(["wood", "tile"], (128,)) == pytest.approx(0.95)
    assert references.table_3_mean(references.TABLE_3, (128, 256, 384)) == 0.982
    assert references.table_3_mean(["wood", "tile"], (512,)) is None
    assert dataclasses.asdict(references.OWN)["aupro"] == 0.927
