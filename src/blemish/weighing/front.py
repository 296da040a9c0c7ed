"""Which sets of modules are worth their time: the Pareto front, and its picture."""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable
from blemish.evaluation.plots import plotted
from blemish.weighing.costs import Costs
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.search import unlikeness

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Point:
    """A set of modules, the milliseconds that it costs, and how good it is (any measure; higher is better)."""

    modules: tuple[str, ...]
    ms: float
    accuracy: float


def pareto(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats: cheaper or equal, and better; of equals the one with the fewest modules.

    Ascending in milliseconds and in accuracy. Raises InputError for a number that is not finite.
    """
    points = list(points)
    for point in points:
        if not (math.isfinite(point.ms) and math.isfinite(point.accuracy)):
            name = "+".join(point.modules)
            raise InputError(f"{printable(name)}: {point.ms} ms and accuracy {point.accuracy}: both must be finite")
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.accuracy, len(point.modules), point.modules)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def front(labelled: LabelledMaps, weights: NDArray[np.float64], costs: Costs) -> list[list[int]]:
    """Return the sets of modules that come nearest to the map of all, each for its time, the fastest first."""
    count = len(labelled.names)
    sets = [list(some) for size in range(1, count + 1) for some in combinations(range(count), size)]
    named = [tuple(labelled.names[index] for index in some) for some in sets]
    unlike = unlikeness(labelled, weights, sets)
    points = [Point(names, costs.of(names), -other) for names, other in zip(named, unlike, strict=True)]
    position = {name: index for index, name in enumerate(labelled.names)}
    return [[position[name] for name in point.modules] for point in pareto(points)]


def plot_front(
    path: str | os.PathLike[str],
    points: Sequence[Point],
    *,
    chosen: Point | None = None,
    quantity: str = "AUPRO",
    overwrite: bool = True,
) -> None:
    """Draw points, their Pareto front, each with its number of modules, and the chosen one: a PNG 800 px wide.

    quantity: what the accuracy is. Raises InputError as `pareto` does, and both as `write_atomically` does.
    """
    with plotted(path, height=5, overwrite=overwrite) as figure:
        _draw(figure, points, chosen=chosen, quantity=quantity)


def _draw(figure: "Figure", points: Sequence[Point], *, chosen: Point | None, quantity: str) -> None:
    front = pareto(points)
    axes = figure.add_subplot()
    axes.plot([p.ms for p in points], [p.accuracy for p in points], "o", color="0.75", ms=5, label="sets of modules")
    axes.plot(
        [p.ms for p in front], [p.accuracy for p in front], "o-", color="tab:blue", ms=7, label="best for their time"
    )
    if chosen:
        text = f"chosen: {_modules(chosen)}, {chosen.ms:.3g} ms, {chosen.accuracy:.3f}"
        axes.plot([chosen.ms], [chosen.accuracy], "o", ms=16, mfc="none", mec="tab:red", mew=2.5, label=text)
    axes.margins(0.08, 0.12)
    axes.set_xlabel("ms per image on this machine, decoding not counted", fontsize=13)
    axes.set_ylabel(quantity, fontsize=13)
    axes.tick_params(labelsize=12)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.legend(fontsize=12, loc="lower right")
    figure.draw_without_rendering()  # where a point lies on the picture is known only then
    last = (-math.inf, -math.inf)
    for point in front:
        x, y = axes.transData.transform((point.ms, point.accuracy))
        if x - last[0] > 22 or y - last[1] > 16:  # px; a label that would cover its neighbour is left out
            last = (x, y)
            axes.annotate(str(len(point.modules)), (point.ms, point.accuracy), xytext=(-4, 9), ha="right",
                          textcoords="offset points", fontsize=12)  # fmt: skip


def _modules(point: Point) -> str:
    return "1 module" if len(point.modules) == 1 else f"{len(point.modules)} modules"
