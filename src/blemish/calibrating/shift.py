"""Whether new good images score as the old ones did: if not, it is the images that have changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blemish.evaluation.plots import plotted
from blemish.verdict.threshold import Thresholds

DRAWS = 10_000
SURE = 0.01  # a p-value below which a difference is said to be one


@dataclass(frozen=True, slots=True)
class Shift:
    """How two sets of scores differ.

    higher: the share of pairs in which the new score is the higher one, ties count half; 0.5 where nothing has changed.
    p: how often a random division of all scores into two such sets is as uneven (two-sided permutation test of the
    rank sum).
    """

    old: int
    new: int
    higher: float
    p: float

    @property
    def sure(self) -> bool:
        """Whether chance does not explain it."""
        return self.p < SURE


def shift(old: Sequence[float], new: Sequence[float]) -> Shift:
    """Return how new scores differ from old ones; at least one of each."""
    values = np.concatenate([np.asarray(old, dtype=np.float64), np.asarray(new, dtype=np.float64)])
    ranks = _ranks(values)
    count, pairs = len(new), len(new) * len(old)

    def higher(rank_sums: np.ndarray) -> np.ndarray:
        return (rank_sums - count * (count + 1) / 2) / pairs

    random = np.random.default_rng(0)
    drawn = np.array([random.permutation(ranks)[:count].sum() for _ in range(DRAWS)])
    found = float(higher(ranks[len(old) :].sum()))
    as_far = np.count_nonzero(np.abs(higher(drawn) - 0.5) >= abs(found - 0.5) - 1e-9)
    return Shift(old=len(old), new=count, higher=found, p=(1 + int(as_far)) / (1 + DRAWS))


def draw(path: Path, old: Sequence[float], new: Sequence[float], *, thresholds: Thresholds, overwrite: bool) -> None:
    """Write a PNG that shows the old and the new scores with the thresholds; raises as `write_atomically` does."""
    with plotted(path, height=3, overwrite=overwrite) as figure:
        axes = figure.add_subplot()
        spread = np.random.default_rng(0).uniform(-0.25, 0.25, max(len(old), len(new)))
        for row, (scores, colour) in enumerate(((new, "tab:blue"), (old, "0.5"))):
            axes.plot(scores, row + spread[: len(scores)], "o", ms=5, alpha=0.6, color=colour)
        for name, level in thresholds.named:
            axes.axvline(level, color="tab:red" if name == "NG" else "tab:orange")
            axes.annotate(f"{name} above {level:.3g}", (level, 1.45), xytext=(4, 0), textcoords="offset points")
        axes.set_yticks([0, 1], [f"new ({len(new)})", f"before ({len(old)})"])
        axes.set_ylim(-0.5, 1.7)
        axes.set_xlabel("scores of held-out good images")
        axes.grid(axis="x", color="0.9")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of values, from 1; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
