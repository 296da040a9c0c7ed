"""Pictures of the benchmark: their size, what is on them, and what is not."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.experiments.tables.markdown import Column, Figure, Table
from blemish.experiments.tables.pictures import (
    RAMP,
    STYLES,
    Example,
    coverage_picture,
    curve_picture,
    figure_3,
    pictures,
)

AUROC, AUPRO = Column("pixel AUROC", "pixel_auroc", beside="paper"), Column("AUPRO", "aupro")
BLUE, RED = (tuple(bytes.fromhex(colour[1:])) for colour, _ in STYLES[:2])


def figure(mean):
    return Figure(mean, mean - 0.01, mean + 0.01, runs=(5, 5))


def made_curve(objectives=("aupro", "logistic"), counts=range(1, 10)):
    lines = {("no search: label-free", "9"): (figure(0.97), figure(0.9), "-")}
    for index, objective in enumerate(objectives):
        for count in counts:
            value = 0.85 + count / 200 + index / 50
            lines[objective, str(count)] = figure(value + 0.05), figure(value), "4 of 5"
    columns = AUROC, AUPRO, Column("above", "aupro")
    return Table("Every number", "curve-parts", "data: parts $x^2$", ("weights", "modules"), columns, lines)


def made_coverage():
    names = "validation pixel AUROC", "test pixel AUROC", "test AUPRO", "test AUPRO without search"
    lines = {("0 %",): (Figure(), figure(0.9), figure(0.8), "-")}
    lines |= {(f"{share} %",): (figure(0.95), figure(0.92), figure(0.85), figure(0.84)) for share in (25, 50, 75, 100)}
    columns = tuple(Column(name, "aupro") for name in names)
    return Table("Table IV", "table4_aupro-parts", "data: parts", ("coverage",), columns, lines)


def opened(data):
    with Image.open(BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (1600, 800))
        return np.asarray(image.convert("RGB"))


def count_of(pixels, colour):
    return int((pixels == colour).all(axis=-1).sum())


@pytest.mark.parametrize(("draw", "table"), [(curve_picture, made_curve()), (coverage_picture, made_coverage())])
def test_curves_have_two_panels_with_two_lines_each(draw, table):
    pixels = opened(draw(table))
    for half in (pixels[:, :800], pixels[:, 800:]):
        for colour in (BLUE, RED):
            assert count_of(half, colour) > 1000
        assert count_of(half, (255, 255, 255)) > half.shape[0] * half.shape[1] / 2
    assert draw(table) == draw(table)


def test_a_missing_figure_leaves_a_gap():
    def blue(table):
        return count_of(opened(curve_picture(table))[:600], BLUE)

    whole, gap = made_curve(("aupro",)), made_curve(("aupro",))
    gap.lines["aupro", "5"] = Figure(), Figure(), "-"
    # One marker of nine and two segments of eight are gone.
    assert 0.65 * blue(whole) < blue(gap) < 0.85 * blue(whole)
    lonely = replace(gap, lines={("aupro", "9"): (Figure(0.9), Figure(0.8), "-")})
    assert count_of(opened(curve_picture(lonely)), BLUE) > 100


def test_only_curves_have_pictures():
    curve, coverage = made_curve(), made_coverage()
    found = pictures([curve, replace(curve, name="table5-parts"), coverage, replace(curve, name="methods")])
    assert list(found) == ["curve-parts", "table4_aupro-parts"]
    assert found["curve-parts"] == curve_picture(curve)
    with pytest.raises(InputError, match=r"^table: its lines are by coverage, needed is weights, modules$"):
        curve_picture(coverage)
    with pytest.raises(InputError, match=r"^table: its lines are by weights, modules, needed is coverage$"):
        coverage_picture(curve)


def example(name="nut, scratch", value=0.5, side=32, mask=True):
    image = np.full((side, side, 3), 90, np.uint8)
    truth = np.zeros((side, side), np.bool_)
    truth[: side // 2] = True
    score_map = np.where(truth, value, 0).astype(np.float32)
    return Example(name, image, truth if mask else None, score_map)


def test_figure_3_shows_image_truth_and_map_on_one_scale():
    sheet = figure_3([example(value=0.5), example(value=0.25, side=48), example(mask=False, value=0)], side=64)
    # Two columns of three tiles of 64 with gaps of 4; two lines of 18 + 64; 28 for the scale.
    assert sheet.shape == (2 * (64 + 18) + 3 * 4 + 28, 2 * (3 * 64 + 2 * 4) + 16 + 8, 3)
    top, left, right = 4 + 18, 4, 4 + 200 + 16
    for x, colour in ((left, RAMP[4]), (right, RAMP[2])):
        assert (sheet[top : top + 64, x : x + 64] == 90).all()
        assert (sheet[top : top + 32, x + 68 : x + 132] == 255).all()
        assert (sheet[top + 32 : top + 64, x + 68 : x + 132] == 0).all()
        assert (sheet[top : top + 30, x + 136 : x + 200] == colour).all()
        assert (sheet[top + 34 : top + 64, x + 136 : x + 200] == RAMP[0]).all()
    good = sheet[top + 86 : top + 150, left + 68 : left + 200]
    assert (good[:, :64] == 0).all()
    assert (good[:, 68:] == RAMP[0]).all()
    bar = sheet[-15, :]
    changes = np.flatnonzero((bar == RAMP[4]).all(axis=-1))
    assert changes.size >= 1
    assert (np.diff(bar[20 : changes[0], 0].astype(int)) >= 0).all()


def test_figure_3_with_a_given_top():
    sheet = figure_3([example(value=0.5)], top=1.0, side=32, columns=4)
    assert sheet.shape == (18 + 32 + 8 + 28, 3 * 32 + 8 + 8, 3)
    assert (sheet[22:36, 4 + 72 : 4 + 104] == RAMP[2]).all()
    assert (figure_3([example(value=0)], side=32)[22:54, 76:108] == RAMP[0]).all()


@pytest.mark.parametrize(
    ("examples", "top", "message"),
    [
        ([], None, "examples: none given"),
        ([example()], 0.0, "top: 0 is not allowed"),
        ([example()], 1.5, "top: 1.5 is not allowed"),
        ([example()], float("nan"), "top: nan is not allowed"),
        (
            [replace(example(), mask=np.zeros((4, 4), np.bool_))],
            None,
            r"nut, scratch: shapes \(4, 4\), \(32, 32\) differ",
        ),
        ([replace(example("a\nb"), image=np.zeros((32, 32), np.float32))], None, r"a\\nb: an image of float32"),
        ([example(value=1.5)], None, r"nut, scratch: scores of the map are not all in \[0, 1\]"),
        ([example(value=float("nan"))], None, r"scores of the map are not all in"),
    ],
)
def test_figure_3_refuses_what_it_cannot_show(examples, top, message):
    with pytest.raises(InputError, match=message):
        figure_3(examples, top=top)
