"""What a detector may be told: plain and numpy's whole numbers, and one line for everything else."""

import numpy as np
import pytest

from blemish import Detector
from blemish.errors import InputError
from blemish.model.arguments import Arguments

SIZES_RULE = "expected one or more different multiples of 32 from 64 to 1024"


def checked(**options):
    """Return sizes, levels and seed of a fit that is told so, as they are once they are checked."""
    found = Arguments(**Detector(**options).get_params()).checked()
    return found.sizes, found.levels, found.seed


@pytest.mark.parametrize(
    "options",
    [
        {"sizes": [64, 128], "levels": (2, 5), "seed": 3},
        {"sizes": np.array([64, 128]), "levels": np.array([2, 5], np.uint8), "seed": np.int64(3)},
        {"sizes": (np.int32(64), 128), "levels": [2, np.int16(5)], "seed": np.array(3)},
        {"sizes": range(64, 192, 64), "levels": {2: "a", 5: "b"}, "seed": np.uint32(3)},
    ],
)
def test_whole_numbers_of_any_type_become_plain_ones(options):
    sizes, levels, seed = found = checked(**options)
    assert found == ([64, 128], [2, 5], 3)
    assert {type(number) for number in (*sizes, *levels, seed)} == {int}


def test_the_ends_of_the_ranges_are_allowed():
    found = checked(sizes=(1024, 64), levels=(5, 2), seed=(1 << 32) - 1, score="paper")
    assert found == ([1024, 64], [5, 2], 4294967295)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": ()}, f"sizes: [] is not allowed, {SIZES_RULE}"),
        ({"sizes": np.array([])}, f"sizes: [] is not allowed, {SIZES_RULE}"),
        ({"sizes": 64}, f"sizes: 64 is not allowed, {SIZES_RULE}"),
        ({"sizes": None}, f"sizes: None is not allowed, {SIZES_RULE}"),
        ({"sizes": 64.0}, f"sizes: 64.0 is not allowed, {SIZES_RULE}"),
        ({"sizes": [64.0]}, f"sizes: [64.0] is not allowed, {SIZES_RULE}"),
        ({"sizes": np.array(64)}, f"sizes: 64 is not allowed, {SIZES_RULE}"),
        ({"sizes": "64"}, f"sizes: ['6', '4'] is not allowed, {SIZES_RULE}"),
        ({"sizes": (64, 64)}, f"sizes: [64, 64] is not allowed, {SIZES_RULE}"),
        ({"sizes": (100,)}, f"sizes: [100] is not allowed, {SIZES_RULE}"),
        ({"sizes": (32,)}, f"sizes: [32] is not allowed, {SIZES_RULE}"),
        ({"sizes": (-64,)}, f"sizes: [-64] is not allowed, {SIZES_RULE}"),
        ({"sizes": (2048,)}, f"sizes: [2048] is not allowed, {SIZES_RULE}"),
        ({"sizes": [[64]]}, f"sizes: [[64]] is not allowed, {SIZES_RULE}"),
        ({"levels": (2.0,)}, "levels: [2.0] is not allowed, expected one or more different of 2, 3, 4, 5"),
        ({"levels": (True,)}, "levels: [True] is not allowed, expected one or more different of 2, 3, 4, 5"),
        ({"levels": (1, 2)}, "levels: [1, 2] is not allowed, expected one or more different of 2, 3, 4, 5"),
        ({"score": "best\n"}, r"score: best\n is not allowed, expected memory, whitened or paper"),
        ({"score": ["paper"]}, "score: ['paper'] is not allowed, expected memory, whitened or paper"),
        ({"seed": -1}, "seed: -1 is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": 1 << 32}, "seed: 4294967296 is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": True}, "seed: True is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": np.True_}, "seed: True is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": 1.0}, "seed: 1.0 is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": None}, "seed: None is not allowed, expected a whole number from 0 to 4294967295"),
        ({"seed": "1"}, "seed: '1' is not allowed, expected a whole number from 0 to 4294967295"),
    ],
)
def test_everything_else_is_named(options, message):
    with pytest.raises(InputError) as caught:
        checked(**options)
    assert str(caught.value) == message


def test_numbers_that_can_be_read_only_once_are_refused():
    with pytest.raises(InputError, match=r"^sizes: <generator object .* is not allowed"):
        checked(sizes=(size for size in (64, 96)))


def test_a_hopeless_argument_is_cut_short():
    with pytest.raises(InputError) as caught:
        checked(sizes=[7] * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("given", "found"), [(0, 0.0), ("0", 0.0), (0.001, 0.001), ("0.1%", 0.001), (" 2 %", 0.02)])
def test_a_least_area_is_a_share_of_the_image(given, found):
    assert Arguments(**Detector(min_area=given).get_params()).checked().min_area == pytest.approx(found)


@pytest.mark.parametrize("given", [1, "100%", "120", -0.1, "-1%", float("nan"), "nan", "a", "%", True, None, "0,1%"])
def test_other_areas_are_refused(given):
    with pytest.raises(
        InputError, match=r"^min_area: .* is not (allowed, expected a share of the image such as 0.1% or|clear, write)"
    ):
        Arguments(**Detector(min_area=given).get_params()).checked()
