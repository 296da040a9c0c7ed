"""What is said of each image in results.jsonl, and of all of them in the end."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blemish.data.listing import path_text
from blemish.errors import InputError
from blemish.verdict.judge import Prediction
from blemish.verdict.threshold import VERDICTS, Thresholds, Verdict

OVERLAYS = "overlays"  # the folder of them, beside results.jsonl
WORST = 5

Record = dict[str, Any]


@dataclass(slots=True)
class Summary:
    """How many images have each verdict or could not be used, and the records with the highest scores, in order."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    failed: int = 0
    worst: list[Record] = field(default_factory=list)

    @property
    def worst_verdict(self) -> Verdict:
        """The worst verdict there is; OK where no image could be used."""
        return max(self.verdicts, key=VERDICTS.index, default="OK")


def success(
    path: Path, prediction: Prediction, *, thresholds: Thresholds, name: str, mm_per_px: float | None = None
) -> Record:
    """Return the record of an image: plain JSON values, keys always the same.

    Of a region box is [x, y, width, height] in px, mm2 its area in square millimetres, None without mm_per_px.
    """
    square = None if mm_per_px is None else mm_per_px**2
    return {
        "path": path_text(path),
        "score": prediction.score,
        "thresholds": asdict(thresholds),
        "verdict": prediction.verdict,
        "regions": [
            region.plain | {"mm2": None if square is None else region.area * square} for region in prediction.regions
        ],
        "overlay": f"{OVERLAYS}/{name}.png",
    }


def failure(path: Path, error: InputError) -> Record:
    """Return the record of an image that could not be used."""
    return {"path": path_text(path), "error": str(error)}


def as_line(record: Record) -> str:
    """Return a record as the line of results.jsonl that it becomes."""
    return json.dumps(record, allow_nan=False) + "\n"


def summarise(records: Iterable[Record]) -> Summary:
    """Count records, and keep the few with the highest scores; of equal scores the first comes first."""
    summary = Summary()
    for record in records:
        if "error" in record:
            summary.failed += 1
            continue
        summary.verdicts[record["verdict"]] += 1
        summary.worst = sorted([*summary.worst, record], key=lambda kept: -kept["score"])[:WORST]
    return summary
