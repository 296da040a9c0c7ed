from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError, StorageError
from blemish.overlays import (
    HEAT,
    VERDICTS,
    Region,
    colour_bar,
    contact_sheet,
    overlay,
    regions,
    save_png,
    side_by_side,
)


def grey(value: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def scores(*spots: tuple[slice, slice, float], shape: tuple[int, int] = (40, 60), base: float = 0.0) -> np.ndarray:
    score_map = np.full(shape, base, dtype=np.float32)
    for rows, columns, score in spots:
        score_map[rows, columns] = score
    return score_map


def flooded(score_map: np.ndarray, threshold: float, least_area: int) -> list[Region]:
    """The regions found the slow way: spread from every pixel to its eight neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere(score_map > threshold)}
    found = []
    while left:
        todo = [left.pop()]
        pixels = []
        while todo:
            y, x = todo.pop()
            pixels.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        ys, xs = [y for y, _ in pixels], [x for _, x in pixels]
        box = (min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1)
        if len(pixels) >= least_area:
            found.append(Region(len(pixels), box, max(float(score_map[pixel]) for pixel in pixels)))
    return sorted(found, key=lambda region: -region.peak)


def test_regions_by_hand() -> None:
    score_map = scores(
        (slice(2, 4), slice(3, 8), 0.5),  # 10 px
        (slice(4, 6), slice(8, 10), 0.75),  # touches the first by a corner: the same region
        (slice(38, 40), slice(56, 60), 0.625),  # in the corner of the map
        (slice(20, 21), slice(20, 23), 0.875),  # 3 px: too small
        (slice(30, 34), slice(30, 34), 0.25),  # at the threshold, not above
    )
    large, corner = Region(14, (3, 2, 7, 4), 0.75), Region(8, (56, 38, 4, 2), 0.625)
    assert regions(score_map, 0.25) == [large, corner]
    assert regions(score_map, 0.25, least_area=3) == [Region(3, (20, 20, 3, 1), 0.875), large, corner]
    assert regions(score_map, 0.875, least_area=1) == []


def test_equal_peaks_come_largest_first() -> None:
    score_map = scores((slice(0, 2), slice(0, 2), 0.5), (slice(10, 13), slice(10, 13), 0.5))
    assert [region.area for region in regions(score_map, 0.1)] == [9, 4]


@pytest.mark.parametrize("least_area", [1, 4])
def test_regions_against_a_slow_search(least_area: int) -> None:
    for seed in range(5):
        score_map = np.random.default_rng(seed).random((40, 30)).astype(np.float32)
        assert regions(score_map, 0.7, least_area=least_area) == flooded(score_map, 0.7, least_area)


def test_nothing_is_drawn_up_to_half_the_threshold() -> None:
    drawn = overlay(grey(100), scores(base=0.05), threshold=0.1)
    assert (drawn.dtype, drawn.shape) == (np.uint8, (40, 60, 3))
    assert (drawn == 88).all()  # only dimmed


def test_the_ends_of_the_scale_have_the_colours_of_the_table() -> None:
    for top, score in ((None, 0.2), (None, 0.9), (0.5, 0.5), (0.5, 3.0)):
        spot = scores((slice(10, 30), slice(10, 30), score))
        expected = np.rint(88 + 0.72 * (HEAT[-1] - 88))
        assert (overlay(grey(100), spot, threshold=0.1, top=top)[20, 20] == expected).all()
    quarter = scores((slice(0, 1), slice(0, 1), 0.05 + 0.25 * 0.15))
    expected = np.rint(88 + 0.72 * (HEAT[1] - 88))
    assert (overlay(grey(100), quarter, threshold=0.1)[0, 0] == expected).all()


def test_the_same_score_has_the_same_colour_whatever_else_is_in_the_image() -> None:
    quiet = scores((slice(5, 15), slice(5, 15), 0.13))
    loud = scores((slice(5, 15), slice(5, 15), 0.13), (slice(20, 38), slice(30, 58), 40.0), base=0.08)
    one, other = (overlay(grey(100), score_map, threshold=0.1) for score_map in (quiet, loud))
    assert (one[7:13, 7:13] == one[10, 10]).all()
    assert (other[7:13, 7:13] == one[10, 10]).all()
    part = overlay(grey(100, (15, 15)), loud[:15, :15], threshold=0.1)
    assert (part[:12, :12] == other[:12, :12]).all()


def test_only_the_ratio_to_the_threshold_matters() -> None:
    score_map = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    one = overlay(grey(100), score_map, threshold=0.5)
    assert (overlay(grey(100), score_map * 4, threshold=2.0) == one).all()
    assert (overlay(grey(100), score_map, threshold=0.5, top=1.0) == one).all()
    assert (overlay(grey(100), score_map, threshold=0.5, top=1.5) != one).any()


@pytest.mark.parametrize("background", [60, 128, 200])
def test_higher_scores_look_darker_and_less_like_the_image(background: int) -> None:
    score_map = np.linspace(0, 0.2, 60, dtype=np.float32)[None].repeat(40, axis=0)
    drawn = overlay(grey(background), score_map, threshold=0.1)[20].astype(float)
    drawn = np.delete(drawn, [28, 29], axis=0)  # the outline
    colourful = drawn.max(axis=1) - drawn.min(axis=1)
    assert (colourful[:15] == 0).all()
    assert (np.diff(colourful[15:22]) >= 0).all()
    assert colourful[22:].min() > 80
    assert (np.diff(drawn[26:] @ [0.3, 0.59, 0.11]) < 0.5).all()


def test_a_coloured_image_turns_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    drawn = overlay(image, scores(), threshold=0.1)
    assert (drawn == drawn[..., :1]).all()
    luminance = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(drawn[..., 0] - 0.88 * luminance).max() < 1.5


def test_regions_are_outlined_and_smaller_spots_are_not() -> None:
    score_map = scores((slice(10, 20), slice(10, 20), 0.15), (slice(30, 31), slice(40, 43), 0.15))
    drawn = overlay(grey(100), score_map, threshold=0.1)
    white, black = (drawn == 255).all(axis=2), (drawn == 0).all(axis=2)
    near, far = np.zeros((40, 60), dtype=bool), np.zeros((40, 60), dtype=bool)
    far[8:22, 8:22] = True
    near[9:21, 9:21] = True
    far &= ~near
    near[10:20, 10:20] = False
    assert (white == near).all()
    assert (black == far).all()


def test_the_outline_grows_with_the_image() -> None:
    shape = (1200, 1000)
    score_map = scores((slice(400, 600), slice(400, 600), 0.15), shape=shape)
    drawn = overlay(grey(100, shape), score_map, threshold=0.1)
    assert (drawn == 255).all(axis=2)[500].sum() == 4
    assert (drawn == 0).all(axis=2)[500].sum() == 4


@pytest.mark.parametrize("verdict", list(VERDICTS))
def test_the_verdict_is_written_in_a_corner_and_nowhere_else(verdict: str) -> None:
    plain = overlay(grey(100, (200, 200)), scores(shape=(200, 200)), threshold=0.1)
    drawn = overlay(grey(100, (200, 200)), scores(shape=(200, 200)), threshold=0.1, verdict=verdict)
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    assert rows.max() < 40
    assert columns.max() < 80
    assert (drawn == VERDICTS[verdict]).all(axis=2).sum() > 100
    label = drawn[6:40, 6:80].astype(int)
    assert (label.min(axis=2) > 200).sum() > 15  # the letters


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((40, 60), np.uint8)}, r"image: uint8 of shape \(40, 60\), allowed is uint8"),
        ({"image": np.zeros((40, 60, 3))}, r"image: float64 of shape"),
        ({"score_map": scores(shape=(60, 40))}, r"score map: shape \(60, 40\), allowed is that of its image"),
        ({"score_map": scores((slice(0, 1), slice(0, 2), np.nan))}, "score map: 2 scores are not finite"),
        ({"score_map": scores((slice(0, 1), slice(0, 1), np.inf))}, "score map: 1 scores are not finite"),
        ({"threshold": 0.0}, "threshold: 0 with a scale up to 0, needed is 0 < threshold < top"),
        ({"threshold": -1.0}, "threshold: -1"),
        ({"threshold": float("nan")}, "threshold: nan"),
        ({"threshold": float("inf")}, "threshold: inf"),
        ({"top": 0.1}, "threshold: 0.1 with a scale up to 0.1, needed"),
        ({"verdict": "ok\n"}, r"verdict: .* is unknown, allowed are OK, NG"),
        ({"verdict": "REVIEW"}, "verdict: 'REVIEW' is unknown"),
    ],
)
def test_overlay_refuses(changes: dict[str, object], message: str) -> None:
    arguments = {"image": grey(100), "score_map": scores(), "threshold": 0.1} | changes
    with pytest.raises(InputError, match=message) as caught:
        overlay(arguments.pop("image"), arguments.pop("score_map"), **arguments)
    assert "\n" not in str(caught.value)


def test_regions_refuses() -> None:
    with pytest.raises(InputError, match=r"score map: shape \(1, 4, 4\)"):
        regions(np.zeros((1, 4, 4), np.float32), 0.1)
    with pytest.raises(InputError, match="not finite"):
        regions(np.full((4, 4), np.nan, np.float32), 0.1)
    with pytest.raises(InputError, match="threshold: 0"):
        regions(np.zeros((4, 4), np.float32), 0.0)


@pytest.mark.parametrize(("top", "share"), [(0.2, 0.5), (0.4, 0.25)])
def test_the_colour_bar_shows_the_colours_of_the_overlay(top: float, share: float) -> None:
    bar = colour_bar(threshold=0.1, top=top, width=384)
    assert (bar.dtype, bar.shape) == (np.uint8, (58, 384, 3))
    length = 384 - 24
    ramp = np.linspace(0, 0.1 / share, length, dtype=np.float32)[None].repeat(20, axis=0)
    drawn = overlay(grey(128, ramp.shape), ramp, threshold=0.1, top=top)[10]
    mark = round(share * (length - 1))
    away = np.abs(np.arange(length) - mark) > 4  # neither the mark nor the overlay's outline
    assert (bar[30, 12:-12][away] == drawn[away]).all()
    black = np.nonzero((bar[19] == 0).all(axis=1))[0]
    assert len(black) == 2
    assert abs(black.mean() - (12 + share * (length - 1))) <= 1
    assert (bar[2:14] < 128).any()  # its number above
    assert (bar[42:] < 128).any()  # the ends below


def test_the_colour_bar_has_room_for_a_threshold_near_its_end() -> None:
    bar = colour_bar(threshold=0.99, top=1.0, width=192)
    assert (bar[:16, -1] == 255).all()
    with pytest.raises(InputError, match="width: 100"):
        colour_bar(threshold=0.1, top=0.2, width=100)
    with pytest.raises(InputError, match=r"threshold: 0\.1 with a scale up to 0\.1"):
        colour_bar(threshold=0.1, top=0.1, width=192)


def test_side_by_side() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[:, :30] = True
    panel = side_by_side(grey(10), mask, grey(200), captions=("a", "b", "c"), height=40)
    assert panel.shape == (40 + 18, 3 * 60 + 2 * 4, 3)
    tiles = panel[18:]
    assert (tiles[:, :60] == 10).all()
    assert (tiles[:, 64:94] == 255).all()
    assert (tiles[:, 94:124] == 0).all()
    assert (tiles[:, 128:] == 200).all()
    assert (panel[:, 60:64] == 255).all()
    assert all((panel[:18, start : start + 60] < 128).any() for start in (0, 64, 128))
    larger = side_by_side(grey(10), mask, grey(200), captions=("a", "b", "c"), height=80)
    assert larger.shape == (98, 3 * 120 + 8, 3)
    assert set(np.unique(larger[18:, 124:244])) == {0, 255}  # no smoothing of a mask


def test_a_caption_is_cut_at_its_tile_and_shown_on_one_line() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    panel = side_by_side(grey(10)[..., 0], mask, grey(200), captions=("W" * 200, "\n\n\ud800\u202e", "c"), height=40)
    assert panel.shape == (58, 188, 3)
    assert (panel[:, 60:64] == 255).all()
    assert (panel[18:, :60] == 10).all()  # grey works as colour does
    assert (panel[18:, 64:124] == 0).all()
    assert (panel[18:, 128:] == 200).all()


def test_contact_sheet() -> None:
    sheet = contact_sheet([grey(1, (10, 20)), grey(2, (14, 12)), grey(3, (6, 16))], columns=2)
    assert sheet.shape == (4 + 14 + 4 + 6 + 4, 4 + 20 + 16 + 20 + 4, 3)
    assert (sheet[4:14, 4:24] == 1).all()
    assert (sheet[4:18, 40:52] == 2).all()
    assert (sheet[22:28, 4:20] == 3).all()
    assert (sheet == 255).sum() == sheet.size - 3 * (200 + 168 + 96)
    with pytest.raises(InputError, match="sheet: 0 pictures"):
        contact_sheet([])
    with pytest.raises(InputError, match="in 0 columns"):
        contact_sheet([sheet], columns=0)


def test_save_png(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    mask = colour[..., 0] > 100
    for name, array, mode in (("colour", colour, "RGB"), ("grey", colour[..., 1], "L"), ("mask", mask, "L")):
        save_png(tmp_path / f"{name}.png", array)
        with Image.open(tmp_path / f"{name}.png") as image:
            assert (image.format, image.mode) == ("PNG", mode)
            assert (np.asarray(image) == (mask * 255 if name == "mask" else array)).all()
    with pytest.raises(StorageError, match=r"none.x\.png"):
        save_png(tmp_path / "none" / "x.png", colour)
