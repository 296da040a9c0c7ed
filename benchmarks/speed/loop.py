"""What every contender does: load, predict once, warm up, then wait on stdin for its turns; JSON lines on stdout.

Needs numpy alone, so that it runs in any environment and adds no memory of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Predict = Callable[[NDArray[np.uint8]], float]  # image (H, W, 3) -> image score
Scan = Callable[[Path], int]  # folder -> number of images predicted, files decoded
PASSES = 2  # over all images, before the first turn


def serve(load: Callable[[], tuple[Predict, Scan | None]], images: Path) -> None:
    """Load and answer requests until stdin is closed.

    A request is {"folder": null} to predict all images one at a time, or {"folder": path}. What libraries print goes to
    stderr: stdout is for answers alone.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    predict, scan = load()
    with np.load(images) as stored:
        given = [stored[name] for name in sorted(stored.files)]
    predict(given[0])
    _say(answers, {"first": True})
    for _ in range(PASSES):
        for image in given:
            predict(image)
    _say(answers, {"ready": True})
    for line in sys.stdin:
        folder = json.loads(line)["folder"]
        if folder is None:
            found = _one_at_a_time(predict, given)
        elif scan is None:
            raise SystemExit("this contender predicts no folders")
        else:
            found = _folder(scan, Path(folder))
        _say(answers, found | {"peak_mb": peak_megabytes()})


def peak_megabytes() -> float:
    """Return the largest resident memory of this process so far, in MB of 10^6 bytes (Linux: VmHWM)."""
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024 / 1e6


def _one_at_a_time(predict: Predict, images: list[NDArray[np.uint8]]) -> dict[str, Any]:
    predict(images[0])  # the others have had the caches since the last turn
    seconds, scores, processor = [], [], time.process_time()
    for image in images:
        start = time.perf_counter()
        scores.append(predict(image))
        seconds.append(time.perf_counter() - start)
    used = time.process_time() - processor
    return {"images": len(images), "seconds": seconds, "cpu_seconds": used, "scores": scores}


def _folder(scan: Scan, folder: Path) -> dict[str, Any]:
    start, processor = time.perf_counter(), time.process_time()
    images = scan(folder)
    seconds, used = time.perf_counter() - start, time.process_time() - processor
    return {"images": images, "seconds": [seconds], "cpu_seconds": used, "scores": []}


def _say(answers: Any, record: dict[str, Any]) -> None:
    answers.write(json.dumps(record) + "\n")
    answers.flush()
