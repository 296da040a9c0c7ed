from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError, StorageError
from blemish.results import overlays
from blemish.results.overlays import HEAT, VERDICTS, colour_bar, contact_sheet, save_png, side_by_side
from blemish.verdict.threshold import Thresholds

COLOURS = 0.05, 0.2  # the scores at which they begin and end


def grey(value: int, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*shape, 3), value, dtype=np.uint8)


def scores(*spots: tuple[slice, slice, float], shape: tuple[int, int] = (40, 60), base: float = 0.0) -> np.ndarray:
    score_map = np.full(shape, base, dtype=np.float32)
    for rows, columns, score in spots:
        score_map[rows, columns] = score
    return score_map


def overlay(image: np.ndarray, score_map: np.ndarray, *, threshold: float, **options: object) -> np.ndarray:
    """The overlay in which every pixel above the threshold is of a region."""
    return overlays.overlay(image, score_map, inside=score_map > threshold, **options)


def test_nothing_is_drawn_up_to_where_colours_begin() -> None:
    drawn = overlay(grey(100), scores(base=0.05), threshold=0.1, colours=COLOURS)
    assert (drawn.dtype, drawn.shape) == (np.uint8, (40, 60, 3))
    assert (drawn == 88).all()  # only dimmed


def test_the_ends_of_the_scale_have_the_colours_of_the_table() -> None:
    for top, score in ((0.2, 0.2), (0.2, 0.9), (0.5, 0.5), (0.5, 3.0)):
        spot = scores((slice(10, 30), slice(10, 30), score))
        expected = np.rint(88 + 0.72 * (HEAT[-1] - 88))
        assert (overlay(grey(100), spot, threshold=0.1, colours=(0.05, top))[20, 20] == expected).all()
    quarter = scores((slice(0, 1), slice(0, 1), 0.05 + 0.25 * 0.15))
    expected = np.rint(88 + 0.72 * (HEAT[1] - 88))
    assert (overlay(grey(100), quarter, threshold=0.1, colours=COLOURS)[0, 0] == expected).all()


def test_the_same_score_has_the_same_colour_whatever_else_is_in_the_image() -> None:
    quiet = scores((slice(5, 15), slice(5, 15), 0.13))
    loud = scores((slice(5, 15), slice(5, 15), 0.13), (slice(20, 38), slice(30, 58), 40.0), base=0.08)
    one, other = (overlay(grey(100), score_map, threshold=0.1, colours=COLOURS) for score_map in (quiet, loud))
    assert (one[7:13, 7:13] == one[10, 10]).all()
    assert (other[7:13, 7:13] == one[10, 10]).all()
    part = overlay(grey(100, (15, 15)), loud[:15, :15], threshold=0.1, colours=COLOURS)
    assert (part[:12, :12] == other[:12, :12]).all()


@pytest.mark.parametrize(("low", "high"), [(0.225, 0.9), (0.225, 3.0), (0.0, 0.3)])
def test_colours_against_the_formula(low: float, high: float) -> None:
    """Any grey under any score, with more pixels than are coloured at a time: at most rounded the other way."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (300, 700, 1), dtype=np.uint8).repeat(3, axis=2)
    score_map = random.random((300, 700)).astype(np.float32) * 0.45
    score_map[::2, ::2] *= 8
    position = np.clip((score_map.astype(float) - low) / (high - low), 0, 1)
    heat = np.stack([np.interp(position, [0, 0.25, 0.5, 0.75, 1], HEAT[:, channel]) for channel in range(3)], axis=-1)
    opacity, ground = 0.72 * np.minimum(4 * position, 1)[..., None], 0.88 * image
    expected = ground + opacity * (heat - ground)
    drawn = overlay(image, score_map, threshold=9, colours=(low, high))  # without regions
    assert np.abs(drawn - expected).max() < 1.01


def test_colours_are_those_of_the_scale_wherever_the_threshold_lies() -> None:
    score_map = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    one = overlay(grey(100), score_map, threshold=1.0, colours=(0.25, 1.0))  # no score is above it: no outline
    assert (overlay(grey(100), score_map, threshold=2.0, colours=(0.25, 1.0)) == one).all()
    assert (overlay(grey(100), score_map * 4, threshold=4.0, colours=(1.0, 4.0)) == one).all()
    assert (overlay(grey(100), score_map, threshold=1.0, colours=(0.25, 1.5)) != one).any()
    spot = scores((slice(10, 20), slice(10, 20), 0.15))
    low, high = (overlay(grey(100), spot, threshold=threshold, colours=COLOURS) for threshold in (0.1, 0.3))
    assert (low != high).any(axis=2).sum() == 14 * 14 - 10 * 10  # only the outline is another


@pytest.mark.parametrize("background", [60, 128, 200])
def test_higher_scores_look_darker_and_less_like_the_image(background: int) -> None:
    score_map = np.linspace(0, 0.2, 60, dtype=np.float32)[None].repeat(40, axis=0)
    drawn = overlay(grey(background), score_map, threshold=0.1, colours=COLOURS)[20].astype(float)
    drawn = np.delete(drawn, [28, 29], axis=0)  # the outline
    colourful = drawn.max(axis=1) - drawn.min(axis=1)
    assert (colourful[:15] == 0).all()
    assert (np.diff(colourful[15:22]) >= 0).all()
    assert colourful[22:].min() > 80
    assert (np.diff(drawn[26:] @ [0.3, 0.59, 0.11]) < 0.5).all()


def test_a_coloured_image_turns_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    drawn = overlay(image, scores(), threshold=0.1, colours=COLOURS)
    assert (drawn == drawn[..., :1]).all()
    luminance = image @ np.array([0.299, 0.587, 0.114])
    assert np.abs(drawn[..., 0] - 0.88 * luminance).max() < 1.5


def test_regions_are_outlined() -> None:
    score_map = scores((slice(10, 20), slice(10, 20), 0.15))
    drawn = overlay(grey(100), score_map, threshold=0.1, colours=COLOURS)
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
    drawn = overlay(grey(100, shape), score_map, threshold=0.1, colours=COLOURS)
    assert (drawn == 255).all(axis=2)[500].sum() == 4
    assert (drawn == 0).all(axis=2)[500].sum() == 4


@pytest.mark.parametrize(("shape", "step"), [((40, 60), 1), ((900, 810), 2), ((1300, 1210), 3), ((2100, 2010), 5)])
def test_outlines_against_distances(shape: tuple[int, int], step: int) -> None:
    """White up to `step` px from a region, black up to twice that, also diagonally, and cut off at the borders."""
    height, width = shape
    spots = [(slice(0, 4), slice(width - 3, width)), (slice(20, 26), slice(19, 20)), (slice(27, 33), slice(24, 27))]
    drawn = overlay(
        grey(100, shape), scores(*((*spot, 0.15) for spot in spots), shape=shape), threshold=0.1, colours=COLOURS
    )
    y, x = np.ogrid[:height, :width]
    away = np.full(shape, height + width)
    for rows, columns in spots:
        below, right = (
            np.maximum(rows.start - y, y - rows.stop + 1),
            np.maximum(columns.start - x, x - columns.stop + 1),
        )
        away = np.minimum(away, np.maximum(np.maximum(below, right), 0))
    np.testing.assert_array_equal((drawn == 255).all(axis=2), (away > 0) & (away <= step))
    np.testing.assert_array_equal((drawn == 0).all(axis=2), (away > step) & (away <= 2 * step))


@pytest.mark.parametrize("verdict", list(VERDICTS))
def test_the_verdict_is_written_in_a_corner_and_nowhere_else(verdict: str) -> None:
    plain = overlay(grey(100, (200, 200)), scores(shape=(200, 200)), threshold=0.1, colours=COLOURS)
    drawn = overlay(grey(100, (200, 200)), scores(shape=(200, 200)), threshold=0.1, colours=COLOURS, verdict=verdict)
    rows, columns = np.nonzero((drawn != plain).any(axis=2))
    assert rows.max() < 40
    assert columns.max() < 80
    frame = drawn[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert all((edge == 255).all() for edge in (frame[0], frame[-1], frame[:, 0], frame[:, -1]))
    assert (drawn == VERDICTS[verdict]).all(axis=2).sum() > 100
    label = frame[1:-1, 1:-1].astype(int)
    letters = label.max(axis=2) < 60 if verdict == "REVIEW" else label.min(axis=2) > 200  # black on amber
    assert letters.sum() > 15


UPPER, LOWER, LEFT, RIGHT = slice(0, 40), slice(160, 200), slice(0, 100), slice(120, 220)


@pytest.mark.parametrize(
    ("defects", "place"),
    [
        ([], (UPPER, LEFT)),
        ([(slice(100, 120), slice(100, 120))], (UPPER, LEFT)),
        ([(slice(0, 30), slice(0, 30))], (UPPER, RIGHT)),
        ([(slice(0, 30), slice(0, 220))], (LOWER, LEFT)),
        ([(slice(0, 30), slice(0, 220)), (slice(180, 185), slice(10, 15))], (LOWER, RIGHT)),
        ([(slice(0, 200), slice(0, 220))], (UPPER, LEFT)),
        ([(slice(0, 200), slice(0, 220)), (slice(170, 200), slice(160, 220))], (LOWER, RIGHT)),  # all but there
    ],
)
def test_the_verdict_covers_as_little_of_the_regions_as_it_can(defects, place) -> None:
    inside = np.zeros((200, 220), np.bool_)
    for defect in defects:
        inside[defect] ^= True
    plain, drawn = (
        overlays.overlay(
            grey(100, inside.shape), scores(shape=inside.shape), inside=inside, colours=COLOURS, verdict=one
        )
        for one in (None, "NG")
    )
    assert np.count_nonzero((drawn == VERDICTS["NG"]).all(axis=2)) > 100
    elsewhere = np.ones(inside.shape, np.bool_)
    elsewhere[place] = False
    np.testing.assert_array_equal(drawn[elsewhere], plain[elsewhere])


@pytest.mark.parametrize("shape", [(1, 1), (4, 60), (60, 4), (12, 12)])
def test_a_picture_smaller_than_the_word_shows_what_it_can(shape) -> None:
    drawn = overlay(grey(100, shape), scores(shape=shape, base=0.15), threshold=0.1, colours=COLOURS, verdict="REVIEW")
    assert drawn.shape == (*shape, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.zeros((40, 60), np.uint8)}, r"image: uint8 of shape \(40, 60\), allowed is uint8"),
        ({"image": np.zeros((40, 60, 3))}, r"image: float64 of shape"),
        ({"score_map": scores(shape=(60, 40))}, r"score map: shape \(60, 40\), regions \(40, 60\), allowed is that of"),
        (
            {"inside": scores(shape=(60, 40)) > 0},
            r"score map: shape \(40, 60\), regions \(60, 40\), allowed is that of",
        ),
        ({"score_map": scores((slice(0, 1), slice(0, 2), np.nan))}, "score map: 2 scores are not finite"),
        ({"score_map": scores((slice(0, 1), slice(0, 1), np.inf))}, "score map: 1 scores are not finite"),
        (
            {"colours": (0.1, 0.1)},
            r"colours: from 0\.1 to 0\.1 is not allowed, expected two scores, the lower one first",
        ),
        ({"colours": (0.2, 0.1)}, r"colours: from 0\.2 to 0\.1"),
        ({"colours": (-0.1, 1.0)}, r"colours: from -0\.1 to 1"),
        ({"colours": (float("nan"), 1.0)}, "colours: from nan to 1"),
        ({"colours": (0.1, float("inf"))}, r"colours: from 0\.1 to inf"),
        ({"verdict": "ok\n"}, r"verdict: .* is unknown, allowed are OK, REVIEW, NG"),
        ({"verdict": "Review"}, "verdict: 'Review' is unknown"),
    ],
)
def test_overlay_refuses(changes: dict[str, object], message: str) -> None:
    arguments = {"image": grey(100), "score_map": scores(), "inside": scores() > 0, "colours": COLOURS} | changes
    with pytest.raises(InputError, match=message) as caught:
        overlays.overlay(arguments.pop("image"), arguments.pop("score_map"), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("top", "shares"), [(0.2, (0.5,)), (0.4, (0.25,)), (0.4, (0.25, 0.75)), (0.2, (0.5, 1.0))])
def test_the_colour_bar_shows_the_colours_of_the_overlay(top: float, shares: tuple[float, ...]) -> None:
    bar = colour_bar(thresholds=Thresholds(*(share * top for share in shares)), colours=(0.05, top), width=384)
    assert (bar.dtype, bar.shape) == (np.uint8, (58, 384, 3))
    length = 384 - 24
    ramp = np.linspace(0, top, length, dtype=np.float32)[None].repeat(20, axis=0)
    drawn = overlay(grey(128, ramp.shape), ramp, threshold=2.0, colours=(0.05, top))[10]
    marks = [round(share * (length - 1)) for share in shares]
    away = np.abs(np.arange(length)[:, None] - marks).min(axis=1) > 4
    assert (bar[30, 12:-12][away] == drawn[away]).all()
    black = np.nonzero((bar[19] == 0).all(axis=1))[0]
    assert len(black) == 2 * len(marks)
    assert black.reshape(-1, 2).mean(axis=1) == pytest.approx([12 + mark for mark in marks], abs=1)
    assert (bar[2:14] < 128).any()  # the numbers above
    assert (bar[42:] < 128).any()  # the ends below


def test_the_colour_bar_has_room_for_thresholds_near_its_end_and_beyond() -> None:
    for thresholds in (Thresholds(0.99), Thresholds(3.0), Thresholds(0.98, 3.0)):
        bar = colour_bar(thresholds=thresholds, colours=(0.25, 1.0), width=192)
        assert (bar[:16, -1] == 255).all()
    with pytest.raises(InputError, match="width: 100"):
        colour_bar(thresholds=Thresholds(0.1), colours=COLOURS, width=100)
    with pytest.raises(InputError, match=r"colours: from 0\.1 to 0\.1"):
        colour_bar(thresholds=Thresholds(0.1), colours=(0.1, 0.1), width=192)


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
