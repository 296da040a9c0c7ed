"""Numbers as a person says them: times, sizes, counts, promises."""

from pathlib import Path
from typing import Any

from blemish.errors import printable


def duration(seconds: float) -> str:
    """Return a time as a person would say it, such as 45 s, 3 min 20 s or 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size_of(path: Path) -> str:
    """Return the size of a file in megabytes."""
    return megabytes(path.stat().st_size)


def megabytes(size: int) -> str:
    """Return bytes as megabytes."""
    return f"{size / 1e6:.1f} MB"


def many(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def labels(weighing: dict[str, Any]) -> str:
    """Say which labelled images a model was weighed by; weighing: that part of its header, as plain values."""
    images = f"{many(weighing['labelled'], 'labelled image')}, {weighing['defective']} defective"
    return f"{images} (objective {printable(weighing['objective'])}, {many(weighing['modules'], 'module')} at first)"
