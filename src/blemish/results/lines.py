"""What is said of each image in results.jsonl, and of all of them in the end."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from blemish.data.listing import path_text
from blemish.errors import InputError
from blemish.verdict.judge import Prediction

OVERLAYS = "overlays"  # the folder of them, beside results.jsonl
WORST = 5

Record = dict[str, Any]


@dataclass(slots=True)
class Summary:
    """How many images are OK, NG or could not be used, and the records with the highest scores, highest first."""

    ok: int = 0
    ng: int = 0
    failed: int = 0
    worst: list[Record] = field(default_factory=list)


def success(path: Path, prediction: Prediction, *, threshold: float, name: str) -> Record:
    """Return the record of an image: plain JSON values, keys always the same; boxes are [x, y, width, height] in px."""
    return {
        "path": path_text(path),
        "score": prediction.score,
        "threshold": threshold,
        "verdict": prediction.verdict,
        "regions": [asdict(region) | {"box": list(region.box)} for region in prediction.regions],
        "overlay": f"{OVERLAYS}/{name}.png",
    }


def failure(path: Path, error: InputError) -> Record:
    """Return the record of an image that could not be used."""
    return {"path": path_text(path), "error": str(error)}


def summarise(records: Iterable[Record]) -> Summary:
    """Count records, and keep the few with the highest scores; of equal scores the first comes first."""
    summary = Summary()
    for record in records:
        if "error" in record:
            summary.failed += 1
            continue
        summary.ok += record["verdict"] == "OK"
        summary.ng += record["verdict"] == "NG"
        summary.worst = sorted([*summary.worst, record], key=lambda kept: -kept["score"])[:WORST]
    return summary
