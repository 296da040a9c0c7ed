"""What a fit may be told: each argument is checked, and wrong ones are named."""

import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from blemish.errors import InputError, printable

SIZES = range(64, 1025, 32)
LEVELS = range(2, 6)
SEEDS = range(1 << 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """What decides a fit, beside the images; the fields are the arguments of `Detector`, and explained there."""

    sizes: Sequence[int]
    levels: Sequence[int]
    teacher: str
    weights: str | os.PathLike[str] | None
    recipe: str
    score: str
    seed: int
    device: str

    def checked(self) -> "Arguments":
        """Return the same with sizes, levels and seed as plain numbers.

        numpy's whole numbers and arrays of them are allowed. Raises InputError naming the first of these, or the score,
        that is not.
        """
        sizes = _whole_numbers("sizes", self.sizes, allowed=SIZES, rule="multiples of 32 from 64 to 1024")
        levels = _whole_numbers("levels", self.levels, allowed=LEVELS, rule="of 2, 3, 4, 5")
        if self.score not in ("whitened", "paper"):
            raise InputError(f"score: {_shown(self.score)} is not allowed, expected whitened or paper")
        if (seed := _whole(self.seed)) not in SEEDS:
            rule = f"expected a whole number from 0 to {SEEDS[-1]}"
            raise InputError(f"seed: {_shown(self.seed)} is not allowed, {rule}")
        return replace(self, sizes=sizes, levels=levels, seed=seed)

    def check(self) -> None:
        """Raise InputError for the first argument that a fit would refuse, before anything is read."""
        from blemish.method.teacher import architecture, pick_device
        from blemish.method.training import find_recipe

        self.checked()
        find_recipe(self.recipe)
        pick_device(self.device)
        architecture(self.teacher)


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
