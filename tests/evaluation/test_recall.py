"""Recall by area and the names of mistakes, by hand."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.evaluation.recall import BINS, Outcome, draw, recall


def outcome(name: str, area: int | None, verdict: str, *, label: str = "scratch", score: float = 0.5) -> Outcome:
    return Outcome(image=name, label=label, score=score, verdict=verdict, area=area)


def test_recall_by_area_by_hand() -> None:
    outcomes = [
        outcome("a", 10, "OK"),
        outcome("b", 10, "REVIEW", label="dot"),
        outcome("c", 30, "NG"),
        outcome("d", 200, "NG", label="dot"),
        outcome("e", None, "OK"),  # no mask
        outcome("f", 0, "NG"),  # a mask that marks nothing
        outcome("g", 0, "NG", label="good"),
    ]
    found = recall(outcomes)["recall_by_area"]
    assert found["edges"] == [10, 30, 200]
    assert found["overall"]["bins"] == [{"images": 2, "found": 1}, {"images": 1, "found": 1}, {"images": 1, "found": 1}]
    assert found["overall"]["curve"] == [[10, 4, 3], [30, 2, 2], [200, 1, 1]]
    assert list(found["types"]) == ["dot", "scratch"]
    assert found["types"]["dot"]["bins"] == [
        {"images": 1, "found": 1}, {"images": 0, "found": 0}, {"images": 1, "found": 1},
    ]  # fmt: skip
    assert found["types"]["scratch"]["curve"] == [[10, 2, 1], [30, 1, 1]]
    assert found["overall"]["nine_in_ten_from"] is None  # fewer than ten images


@pytest.mark.parametrize(
    ("missed", "area"), [((), 1), ((1,), 1), ((19, 20), 1), ((1, 2, 3), 3), ((1, 2, 3, 20), 4), ((18, 19, 20), None)]
)
def test_nine_in_ten_are_found_from_an_area_up(missed: tuple[int, ...], area: int | None) -> None:
    """Of areas 1 to 20, one image each; 17 of 18 are enough, 17 of 19 are not."""
    outcomes = [outcome(str(px), px, "OK" if px in missed else "NG") for px in range(1, 21)]
    assert recall(outcomes)["recall_by_area"]["overall"]["nine_in_ten_from"] == area
    last_nine = [one for one in outcomes if one.area and one.area > 11]
    assert recall(last_nine)["recall_by_area"]["overall"]["nine_in_ten_from"] is None  # too few to say so


def test_ranges_hold_about_as_many_images_each() -> None:
    areas = np.random.default_rng(0).integers(1, 5000, 103).tolist()
    found = recall([outcome(str(index), area, "NG") for index, area in enumerate(areas)])["recall_by_area"]
    counts = [part["images"] for part in found["overall"]["bins"]]
    assert (len(counts), sum(counts)) == (BINS, 103)
    assert max(counts) - min(counts) <= 2
    inside = [
        sum(low <= area < high for area in areas)
        for low, high in zip(found["edges"], [*found["edges"][1:], 5000], strict=True)
    ]
    assert counts == inside


def test_mistakes_are_named_worst_first() -> None:
    outcomes = [
        outcome("a", 10, "OK", score=0.4),
        outcome("b", None, "OK", score=0.1),
        outcome("c", 30, "NG", score=0.9),
        outcome("d", 0, "REVIEW", label="good", score=0.6),
        outcome("e", 0, "NG", label="good", score=0.8),
        outcome("f", 0, "OK", label="good", score=0.2),
    ]
    found = recall(outcomes)
    assert found["escapes"] == [
        {"image": "b", "label": "scratch", "score": 0.1, "verdict": "OK", "area": None},
        {"image": "a", "label": "scratch", "score": 0.4, "verdict": "OK", "area": 10},
    ]
    assert [(one["image"], one["verdict"]) for one in found["alarms"]] == [("e", "NG"), ("d", "REVIEW")]


def test_without_defects_there_is_nothing_to_find() -> None:
    found = recall([outcome("a", 0, "OK", label="good")])
    nothing = {"nine_in_ten_from": None, "bins": [], "curve": []}
    assert found == {
        "recall_by_area": {"edges": [], "overall": nothing, "types": {}}, "escapes": [], "alarms": [],
    }  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_plot_is_drawn_of_any_number_of_defects(tmp_path, count: int) -> None:
    labels = "_under", "$x^", "hole", "ß"
    outcomes = [
        outcome(str(px), 3 * px + 1, "OK" if px % 7 == 0 else "NG", label=labels[px % 4]) for px in range(count)
    ]
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, recall(outcomes)["recall_by_area"], overwrite=False)
    picture = Image.open(BytesIO((tmp_path / "a.png").read_bytes()))
    assert (picture.format, picture.size) == ("PNG", (800, 450))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    coloured = np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2) > 60
    assert bool(coloured.any()) == (count > 1)  # a line for each type, grey where there is one type or none
    with pytest.raises(InputError, match="exists"):
        draw(tmp_path / "a.png", recall(outcomes)["recall_by_area"], overwrite=False)
