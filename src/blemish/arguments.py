"""What a detector may be told: each argument is checked, and wrong ones are named."""

import operator
from typing import TYPE_CHECKING, Any

from blemish.errors import InputError, printable

if TYPE_CHECKING:
    from blemish.detector import Detector

SIZES = range(64, 1025, 32)
LEVELS = range(2, 6)
SEEDS = range(1 << 32)


def checked(detector: "Detector") -> tuple[list[int], list[int], int]:
    """Return sizes, levels and seed of a detector as plain numbers; its score is checked too.

    numpy's whole numbers and arrays of them are allowed. Raises InputError naming the first argument that is not.
    """
    sizes = _whole_numbers("sizes", detector.sizes, allowed=SIZES, rule="multiples of 32 from 64 to 1024")
    levels = _whole_numbers("levels", detector.levels, allowed=LEVELS, rule="of 2, 3, 4, 5")
    if detector.score not in ("whitened", "paper"):
        raise InputError(f"score: {_shown(detector.score)} is not allowed, expected whitened or paper")
    if (seed := _whole(detector.seed)) not in SEEDS:
        raise InputError(f"seed: {_shown(detector.seed)} is not allowed, expected a whole number from 0 to {SEEDS[-1]}")
    return sizes, levels, seed


def check_arguments(detector: "Detector") -> None:
    """Raise InputError for the first argument of a detector that `fit` would refuse, before anything is read."""
    from blemish.teacher import architecture, pick_device
    from blemish.training import find_recipe

    checked(detector)
    find_recipe(detector.recipe)
    pick_device(detector.device)
    architecture(detector.teacher)


def _whole_numbers(name: str, values: Any, *, allowed: range, rule: str) -> list[int]:
    try:
        given = list(values) if len(values) else []  # what has no length could be read only once
    except TypeError:
        given = values
    numbers = [_whole(value) for value in given] if isinstance(given, list) else []
    if not numbers or len(set(numbers)) < len(numbers) or not set(numbers) <= set(allowed):
        raise InputError(f"{name}: {_shown(given)} is not allowed, expected one or more different {rule}")
    return numbers


def _shown(value: object) -> str:
    return printable(str(value)[:200])


def _whole(value: Any) -> int:
    """Return a whole number, numpy's too, as an int; -1 for anything else: true and false are no numbers."""
    try:
        return -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return -1
