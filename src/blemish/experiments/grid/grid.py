"""The grid: which models are trained, and which rows are measured on each. Every row is a part of some model."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import get_args

from blemish.errors import InputError, printable
from blemish.experiments.grid.contents import Contents
from blemish.experiments.grid.rows import Method, Score, Settings
from blemish.model.arguments import SIZES
from blemish.version import __version__

EXPERIMENTS = ("sizes", "levels", "weights", "coverage", "keep", "methods")
METHODS: tuple[Method, ...] = get_args(Method)
COVERAGES = (0.25, 0.5, 0.75, 1.0)
WITHOUT_LABELS: tuple[tuple[Score, str], ...] = (("paper", "mean"), ("whitened", "label-free"))
UNKNOWN = "?"  # the sha256 of weights that are not on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What is to be measured; level_sets[0] is that of every experiment but `levels`.

    weights: files of teachers' weights, by the teacher's name. objectives: those of `weighing.search` that are tried.
    draws: how often the images that weigh are drawn.
    """

    teachers: Sequence[str]
    sizes: Sequence[int]
    level_sets: Sequence[Sequence[int]]
    seeds: Sequence[int]
    recipes: Sequence[str]
    experiments: Sequence[str]
    objectives: Sequence[str]
    draws: int
    weights: dict[str, Path] = field(default_factory=dict)
    device: str = "auto"

    def check(self) -> None:
        """Raise InputError that names the first option that is not allowed."""
        from blemish.method.learning.training import find_recipe
        from blemish.method.teacher import architecture
        from blemish.weighing.search import OBJECTIVES

        for name in self.teachers:
            architecture(name)
        for name in self.recipes:
            find_recipe(name)
        _check("sizes", self.sizes, SIZES, "multiples of 32 from 64 to 1024")
        for levels in self.level_sets:
            _check("levels", levels, range(2, 6), "of 2, 3, 4, 5")
        _check("seeds", self.seeds, range(1 << 32), "whole numbers from 0 to 4294967295")
        _check("experiments", self.experiments, EXPERIMENTS, f"of {', '.join(EXPERIMENTS)}")
        _check("objectives", self.objectives, OBJECTIVES, f"of {', '.join(OBJECTIVES)}")
        if self.draws not in range(1, 1001):
            raise InputError(f"draws: {self.draws} is not allowed, expected 1 to 1000")

    @property
    def one_size(self) -> int:
        """The size at which level sets are compared: 256 as in the paper, the middle one if that is not there."""
        return 256 if 256 in self.sizes else sorted(self.sizes)[len(self.sizes) // 2]


@dataclass(frozen=True, slots=True)
class Unit:
    """What is trained as one: a category, a teacher, a recipe, a seed and a method, at these sizes and levels."""

    contents: Contents
    teacher: str
    teacher_sha256: str
    recipe: str
    seed: int
    method: Method
    sizes: tuple[int, ...]
    levels: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The modules, SIZE/LEVEL."""
        return [f"{size}/{level}" for size, level in product(self.sizes, self.levels)]

    @property
    def title(self) -> str:
        """What a person calls it, on one line."""
        parts = [self.contents.category, self.teacher, f"recipe {self.recipe}", f"seed {self.seed}"]
        return printable(", ".join(parts if self.method == "imitation" else [*parts, self.method]))


def units(grid: Grid, contents: Sequence[Contents], teachers: dict[str, str]) -> Iterator[tuple[Unit, list[Settings]]]:
    """Yield each training unit of a grid with the settings of its rows, none twice.

    teachers: the sha256 of each teacher's weights, UNKNOWN if there are none.
    """
    methods = METHODS if "methods" in grid.experiments else METHODS[:1]
    for one, teacher, recipe, seed in product(contents, grid.teachers, grid.recipes, grid.seeds):
        for method in methods:
            sets = grid.level_sets if method == "imitation" and "levels" in grid.experiments else grid.level_sets[:1]
            levels = tuple(sorted({level for levels in sets for level in levels}))
            sizes = tuple(sorted(grid.sizes))
            unit = Unit(one, teacher, teachers[teacher], recipe, seed, method, sizes, levels)
            if rows := list({row.identity: row for row in _rows(grid, unit)}.values()):
                yield unit, rows


def _rows(grid: Grid, unit: Unit) -> Iterator[Settings]:
    """Yield the rows of a unit, some of them more than once."""
    pyramid, levels = sorted(grid.sizes), sorted(grid.level_sets[0])
    base = _base(unit)
    parts = [pyramid, *([size] for size in pyramid)]
    for score, weighting in WITHOUT_LABELS[:1] if unit.method == "chained" else WITHOUT_LABELS:
        plain = base.model_copy(update={"score": score, "weighting": weighting})
        if unit.method != "imitation" or {"sizes", "methods"} & set(grid.experiments):
            for sizes in parts:
                yield plain.model_copy(update={"sizes": sizes, "levels": levels})
        if unit.method == "imitation" and "levels" in grid.experiments:
            for some in grid.level_sets:
                yield plain.model_copy(update={"sizes": [grid.one_size], "levels": sorted(some)})
    if unit.method == "imitation":
        yield from _weighted(grid, base.model_copy(update={"sizes": pyramid, "levels": levels}))


def _weighted(grid: Grid, base: Settings) -> Iterator[Settings]:
    """Yield the rows that weigh with labels, and those without labels on the very same test images."""
    wanted = set(grid.experiments) & {"weights", "coverage", "keep"}
    coverages = COVERAGES if "coverage" in wanted else COVERAGES[-1:] if wanted else ()
    searched = [(_score(name), name) for name in grid.objectives]
    if "coverage" in wanted:
        for score, weighting in WITHOUT_LABELS:
            yield base.model_copy(update={"score": score, "weighting": weighting})
    for coverage, draw in product(coverages, range(grid.draws)):
        for score, weighting in [*WITHOUT_LABELS, *searched]:
            yield base.model_copy(update={"score": score, "weighting": weighting, "coverage": coverage, "draw": draw})
    modules = len(base.sizes) * len(base.levels)
    if "keep" in wanted:
        for draw, (score, weighting), keep in product(range(grid.draws), searched, range(1, modules)):
            update = {"score": score, "weighting": weighting, "coverage": 1.0, "draw": draw, "keep": keep}
            yield base.model_copy(update=update)


def _base(unit: Unit) -> Settings:
    from blemish.method.learning.training import find_recipe

    contents = unit.contents
    return Settings(
        blemish=__version__,
        data=contents.data,
        category=contents.category,
        data_sha256=contents.sha256,
        teacher=unit.teacher,
        teacher_sha256=unit.teacher_sha256,
        method=unit.method,
        recipe=unit.recipe,
        recipe_settings=asdict(find_recipe(unit.recipe)),
        seed=unit.seed,
        trained_sizes=list(unit.sizes),
        sizes=list(unit.sizes),
        levels=list(unit.levels),
        score="paper",
        weighting="mean",
    )


def _score(objective: str) -> Score:
    """Return which maps an objective weighs: only the paper's needs maps that are probabilities."""
    return "paper" if objective == "paper" else "whitened"


def _check(name: str, values: Sequence[object], allowed: Sequence[object], rule: str) -> None:
    if not values or len(set(values)) < len(values) or not all(value in allowed for value in values):
        listed = printable(", ".join(map(str, values)))
        raise InputError(f"{name}: {listed} is not allowed, expected one or more different {rule}")
