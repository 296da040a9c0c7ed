"""Scores over time beside those of calibration: what a plot shows, and when it warns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blemish.history.figures import Band
from blemish.verdict.threshold import Thresholds

WIDTH, HEIGHT = 1000, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 28
ENOUGH = 12  # scores of an hour or a day, below which nothing is said of it
TICKS = 8


@dataclass(frozen=True, slots=True)
class Usual:
    """The median and the 95 % band of the good scores that a model was calibrated with."""

    low: float
    median: float
    high: float


def usual(scores: Sequence[float]) -> Usual | None:
    """Return what is usual for a model, of its held-out scores; ranks as of `history.figures.scores`."""
    if not (ranked := sorted(scores)):
        return None
    last = len(ranked) - 1
    tail = last * 25 // 1000
    return Usual(ranked[tail], ranked[last // 2], ranked[last - tail])


def leaves(band: Band, usual: Usual) -> bool:
    """Return whether good scores of a time have moved away.

    Their median has left the band of calibration, or their whole band lies on one side of its median: by chance
    neither happens to one time in a thousand, as twelve scores would all have to fall on one side.
    """
    if band.count < ENOUGH:
        return False
    moved = band.low > usual.median or band.high < usual.median
    return moved or not usual.low <= band.median <= usual.high


@dataclass(frozen=True, slots=True)
class Plot:
    """What the plot draws, in px of 1000 x 260; bands that leave what is usual are marked, the last of them named."""

    bars: list[dict[str, Any]]
    line: str
    usual: dict[str, float] | None
    levels: list[dict[str, Any]]
    times: list[dict[str, Any]]
    heights: list[dict[str, Any]]
    left: list[Band]
    now: bool


def plot(
    bands: Sequence[Band], known: Usual | None, thresholds: Thresholds, *, start: datetime, end: datetime, hours: int
) -> Plot:
    """Return the plot of bands between two times; hours: how long each is."""
    top = 1.15 * max([band.high for band in bands] + [level for _, level in thresholds.named])
    length = max((end - start).total_seconds(), 1.0)

    def across(at: datetime, part: float = 0.0) -> float:
        seconds = (at - start).total_seconds() + part * 3600 * hours
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds / length, 0), 1), 1)

    def up(score: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(score / top, 1), 1)

    moved = [known is not None and leaves(band, known) for band in bands]
    bars = [
        {"x": across(band.start, 0.5), "low": up(band.low), "high": up(band.high), "y": up(band.median), "moved": out}
        for band, out in zip(bands, moved, strict=True)
    ]
    zone = None
    if known is not None:
        zone = {"y": up(known.high), "height": round(up(known.low) - up(known.high), 1), "median": up(known.median)}
    return Plot(
        bars=bars,
        line=" ".join(f"{bar['x']},{bar['y']}" for bar in bars),
        usual=zone,
        levels=[{"y": up(level), "word": word} for word, level in thresholds.named],
        times=[{"x": across(at), "at": at} for at in _ticks(start, end)],
        heights=[{"y": up(top * part / 4), "text": f"{top * part / 4:.2f}"} for part in range(5)],
        left=[band for band, out in zip(bands, moved, strict=True) if out],
        now=bool(moved and moved[-1]),
    )


def _ticks(start: datetime, end: datetime) -> list[datetime]:
    return [start + (end - start) * part / TICKS for part in range(1, TICKS)]
