"""What a fit may be told: each argument is checked, and wrong ones are named."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blemish.checks import share, shown, whole, word
from blemish.data.sources import Source, shapes_of
from blemish.errors import InputError
from blemish.images.read import FULL_BITS
from blemish.images.tiles import TilesPart, decide, read_tiles

SIZES = range(64, 1025, 32)
LEVELS = range(2, 6)
SEEDS = range(1 << 32)
BITS = range(9, FULL_BITS + 1)


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
    bits: int = FULL_BITS
    min_area: float = 0.0
    tiles: Any = None

    def checked(self) -> "Arguments":
        """Return the same with sizes, levels, seed, bits, min_area and tiles as plain numbers.

        numpy's whole numbers and arrays of them are allowed. Raises InputError naming the first of these, or the score,
        that is not.
        """
        sizes = _whole_numbers("sizes", self.sizes, allowed=SIZES, rule="multiples of 32 from 64 to 1024")
        levels = _whole_numbers("levels", self.levels, allowed=LEVELS, rule="of 2, 3, 4, 5")
        word("score", self.score, ("memory", "whitened", "paper"))
        return replace(
            self,
            sizes=sizes,
            levels=levels,
            seed=whole("seed", self.seed, allowed=SEEDS),
            bits=whole("bits", self.bits, allowed=BITS),
            min_area=share("min_area", self.min_area),
            tiles=read_tiles(self.tiles),
        )

    @property
    def reference_size(self) -> int:
        """The size that maps are scored at: the middle one of the sizes."""
        return sorted(self.sizes)[len(self.sizes) // 2]

    def tiles_of(self, good: Iterable[Source]) -> TilesPart | None:
        """Return how images are cut, by the good ones that are given; raises InputError for tiles that do not fit."""
        wanted = read_tiles(self.tiles)
        shapes = shapes_of(good) if wanted else []
        return decide(wanted, shapes, sizes=self.sizes, map_size=self.reference_size)

    def check(self) -> None:
        """Raise InputError for the first argument that a fit would refuse, before anything is read."""
        from blemish.method.learning.training import find_recipe
        from blemish.method.teacher import architecture, pick_device

        self.checked()
        find_recipe(self.recipe)
        pick_device(self.device)
        architecture(self.teacher)


def _whole_numbers(name: str, values: Any, *, allowed: range, rule: str) -> list[int]:
    try:
        given = list(values) if len(values) else []  # what has no length could be read only once
    except TypeError:
        given = values
    fault = InputError(f"{name}: {shown(given)} is not allowed, expected one or more different {rule}")
    if not isinstance(given, list):
        raise fault
    try:
        numbers = [whole(name, value, allowed=allowed) for value in given]
    except InputError:
        raise fault from None
    if not numbers or len(set(numbers)) < len(numbers):
        raise fault
    return numbers
