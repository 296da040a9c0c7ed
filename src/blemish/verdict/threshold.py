"""From the scores of held-out good images to thresholds and what they promise, and from a score to a word.

Whatever the distribution, a new good image, drawn as n held-out ones were, scores above the k-th highest of them with a
probability of at most k / (n + 1) (split conformal prediction). That is the promise of a threshold.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from blemish.checks import share, shown
from blemish.errors import InputError

Verdict = Literal["OK", "REVIEW", "NG"]
VERDICTS: tuple[Verdict, ...] = ("OK", "REVIEW", "NG")  # from the best to the worst

# A menu shows promises with two digits, so what is typed from it may be that much below the promise that is meant.
ROUNDING = 1.025


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores above `review` want a look, those above `ng` are defects; without `ng` all above `review` are defects."""

    review: float
    ng: float | None = None

    @property
    def named(self) -> list[tuple[Verdict, float]]:
        """The verdicts above OK with the thresholds that they begin above, REVIEW's first."""
        return [("NG", self.review)] if self.ng is None else [("REVIEW", self.review), ("NG", self.ng)]

    def verdict(self, score: float) -> Verdict:
        """Return the word for an image score: OK, REVIEW or NG."""
        if score <= self.review:
            return "OK"
        return "NG" if self.ng is None or score > self.ng else "REVIEW"


@dataclass(frozen=True, slots=True)
class Budget:
    """The false-alarm rates that are asked for: that of REVIEW and NG together, and that of NG alone, if any."""

    review: float
    ng: float | None = None


DEFAULT = Budget(0.05, 0.01)


@dataclass(frozen=True, slots=True)
class Step:
    """A threshold that held-out images can set, and the probability at most that a new good image scores above it."""

    promise: float
    threshold: float


def menu(scores: Sequence[float]) -> list[Step]:
    """Return every threshold that n held-out scores can set, the highest first, which promises 1 / (n + 1)."""
    ranked = sorted(scores, reverse=True)
    return [Step(rank / (len(ranked) + 1), score) for rank, score in enumerate(ranked, start=1)]


def promised(scores: Sequence[float], threshold: float) -> float:
    """Return what a threshold set by other means promises, as if the next held-out score below it had set it; <= 1."""
    return (1 + sum(score > threshold for score in scores)) / (len(scores) + 1)


def thresholds(scores: Sequence[float], budget: Budget | None = None) -> Thresholds:
    """Return the thresholds that held-out scores, two at least, set for a budget.

    None stands for the default, which is never refused: its first threshold is the second highest score at least, so
    that no single image decides. Where the scores do not carry a default's rate of NG there is one threshold. Raises
    InputError for a rate that was asked for and cannot be carried, with both ways out.
    """
    steps, wanted = menu(scores), budget or DEFAULT
    review, ng = (_rank(steps, rate) for rate in (wanted.review, wanted.ng))
    if budget is None:
        review = max(review, 2)
    for rate, rank in ((wanted.review, review), (wanted.ng, ng)):
        if budget is not None and rate is not None and not rank:
            raise InputError(f"false alarms: {_too_few(steps, rate)}")
    return Thresholds(steps[review - 1].threshold, steps[ng - 1].threshold if ng else None)


def read_budget(given: str | float | Sequence[float]) -> Budget:
    """Return the budget that is typed as REVIEW[,NG], each 5% or 0.05, or given as one or two shares.

    Raises InputError for rates that are not above 0 and below 100 %, and for an NG rate that is not below REVIEW's.
    """
    parts = _parts(given)
    if len(parts) not in (1, 2) or "" in parts:
        raise InputError(
            f"false alarms: {shown(given) or 'nothing'} is not allowed, expected REVIEW or REVIEW,NG such as 5%,1%"
        )
    rates = [_rate(part) for part in parts]
    if len(rates) == 2 and rates[1] >= rates[0]:
        raise InputError(
            f"false alarms: {shown(given)} is not allowed, expected REVIEW,NG such as 5%,1%: "
            "the rate of NG lies below that of REVIEW"
        )
    return Budget(*rates)


def read_thresholds(given: str | float | Sequence[float]) -> Thresholds:
    """Return the thresholds that are typed as REVIEW[,NG], or given as one or two scores.

    Raises InputError for scores that are not above 0 and at most 1, and for an NG score below REVIEW's.
    """
    try:
        scores = [float(part) for part in _parts(given)]
    except (TypeError, ValueError):
        scores = []
    if len(scores) not in (1, 2) or not all(0 < score <= 1 for score in scores) or sorted(scores) != scores:
        raise InputError(
            f"threshold: {shown(given) or 'nothing'} is not allowed, expected a score above 0 and at most 1, or two "
            "such as 0.4,0.5: that of REVIEW, then that of NG"
        )
    return Thresholds(*scores)


def read_rates(given: str | float | Sequence[float] | None) -> Budget | None:
    """Return what `read_budget` does, None for None."""
    return None if given is None else read_budget(given)


def read_wanted(
    rates: str | float | Sequence[float] | None, scores: str | float | Sequence[float] | None
) -> Budget | Thresholds | None:
    """Return what rates or scores stand for, None for neither; raises InputError for both, and as theirs."""
    if rates is not None and scores is not None:
        raise InputError("false alarms and threshold: give one of them")
    return read_rates(rates) if scores is None else read_thresholds(scores)


def percent(rate: float) -> str:
    """Return a rate as a person reads it, rounded up to two digits: 4.1 %."""
    digits = 1 - math.floor(math.log10(100 * rate)) if rate else 0
    value = math.ceil(100 * rate * 10**digits - 1e-6) / 10**digits
    return f"{value:.{max(digits, 0)}f}".rstrip("0").rstrip(".") + " %" if digits > 0 else f"{value:.0f} %"


def _rank(steps: Sequence[Step], rate: float | None) -> int:
    """Return which of the steps a rate pays for, counted from 1 at the highest score; 0 if none."""
    return sum(step.promise <= rate * ROUNDING for step in steps) if rate is not None else 0


def _too_few(steps: Sequence[Step], rate: float) -> str:
    needed = math.ceil(1 / rate - 1e-9) - 1
    support = f"{percent(steps[0].promise)} (one image decides) or {percent(steps[1].promise)}"
    return f"{percent(rate)} needs {needed} held-out good images; these {len(steps)} support {support}"


def _parts(given: str | float | Sequence[float]) -> list[Any]:
    """Return the one or two that are given, text without space around it."""
    parts = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    return [part.strip() if isinstance(part, str) else part for part in parts]


def _rate(given: object) -> float:
    rule = "expected above 0 % and below 100 %, 5% or 0.05"
    if not (rate := share("false alarms", given, rule=rule)):
        raise InputError(f"false alarms: {shown(given)} is not allowed, {rule}")
    return rate
