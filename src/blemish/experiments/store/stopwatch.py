"""What trainings took, kept beside the models: seconds for each module, and the peak memory of the process."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from blemish.method.learning.progress import Progress
from blemish.storage.files import write_atomically

PEAK = "peak_rss_mb"


def read_costs(path: Path) -> dict[str, float]:
    """Return what is known of a training, {SIZE/LEVEL: seconds, PEAK: MB}; nothing if there is no such file."""
    try:
        costs: dict[str, float] = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return costs


def add_cost(path: Path, name: str, seconds: float) -> None:
    """Add seconds to what a module took, and note the peak memory so far; raises StorageError if it cannot be kept."""
    costs = read_costs(path)
    costs[name] = round(costs.get(name, 0.0) + seconds, 3)
    costs[PEAK] = max(costs.get(PEAK, 0.0), peak_mb())
    write_atomically(path, json.dumps(costs).encode())


def peak_mb() -> int:
    """Return the peak memory of this process, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)


class Stopwatch:
    """Passes on the progress of a fit, and keeps the seconds of each module as soon as it is trained.

    What a kill costs is the time of the module at work, which is trained again.
    """

    def __init__(self, path: Path, report: Callable[[Progress], None] | None = None) -> None:
        self.path, self.report = path, report
        self.module = ""
        self.last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take note of the progress of a fit."""
        if self.module and progress.module != self.module:
            self.finish()  # statistics and the like, after the module's last step
        self.module = progress.module
        if progress.step == progress.steps:
            self.finish()
        if self.report:
            self.report(progress)

    def finish(self) -> None:
        """Add the time since the last note to the module at work."""
        now = time.monotonic()
        if self.module:
            add_cost(self.path, self.module, now - self.last)
        self.last = now
