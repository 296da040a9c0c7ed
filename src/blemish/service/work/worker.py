"""What a process of the pool does: it holds a runtime for each model, and answers jobs over its pipe.

A job is {"do": judge | png | npy | overlay | image | small, "model": name, "thresholds": [REVIEW, NG or null]} and the
bytes of an image. Its answer is what is said of the image, and the bytes of the file that is asked for: the score map
as 16-bit grey (65535 is 1) or float32, or the overlay; none for a judgement. `image` and `small` judge nothing: the
image as a PNG that any browser shows, and no larger than 400 px as a JPEG. {"error": line} is said of an image that
cannot be used, {"failed": kind} where anything else goes wrong.
"""

import json
import logging
import signal
import time
from collections.abc import Mapping
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.errors import BlemishError, InputError
from blemish.images.read import read_image
from blemish.results.write import draw
from blemish.runtime import Runtime
from blemish.verdict.judge import Prediction
from blemish.verdict.threshold import Thresholds

MEGAPIXELS = 16.0
PICTURES = ("image", "small")
SMALL = 400  # px

log = logging.getLogger(__name__)


def work(pipe: Connection, bundles: Mapping[str, str]) -> None:
    """Load the bundles, {name: folder}, with their self-tests, and answer jobs until the pipe ends."""
    # Ctrl-C and the end of a service reach every process of a group; who has accepted a job decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        runtimes = {name: Runtime.load(folder, threads=1) for name, folder in bundles.items()}
    except BlemishError as error:
        _send(pipe, {"error": str(error), "code": error.exit_code})
        return
    _send(pipe, {})
    while True:
        try:
            job, data = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
        except (EOFError, OSError):
            return
        _send(pipe, *_answer(runtimes, job, data))


def _send(pipe: Connection, said: Mapping[str, Any], data: bytes = b"") -> None:
    pipe.send_bytes(json.dumps(said).encode())
    pipe.send_bytes(data)


def _answer(runtimes: Mapping[str, Runtime], job: Mapping[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        runtime = runtimes[job["model"]].with_header(runtimes[job["model"]].header_)
        runtime.set_thresholds(Thresholds(*job["thresholds"]))
        start = time.perf_counter()
        image = read_image(data, max_megapixels=MEGAPIXELS, bits=runtime.header_.bits)
        decoded = time.perf_counter()
        if job["do"] in PICTURES:
            return {}, _picture(image, small=job["do"] == "small")
        (prediction,) = runtime.predict([image])
        times = {"decode": 1000 * (decoded - start), "score": 1000 * (time.perf_counter() - decoded)}
        return _said(prediction) | {"times": times}, _file(job["do"], runtime, image, prediction)
    except InputError as error:
        return {"error": str(error)}, b""
    except Exception as error:
        log.exception("a job has failed")
        return {"failed": type(error).__name__}, b""


def _said(prediction: Prediction) -> dict[str, Any]:
    height, width = prediction.score_map.shape
    return {
        "score": prediction.score,
        "verdict": prediction.verdict,
        "regions": [region.plain for region in prediction.regions],
        "width": width,
        "height": height,
    }


def _file(kind: str, runtime: Runtime, image: NDArray[np.uint8], prediction: Prediction) -> bytes:
    """Return the file that is asked for; none where only the verdict is."""
    if kind == "judge":
        return b""
    out = BytesIO()
    if kind == "overlay":
        Image.fromarray(draw(image, prediction, runtime.header_)).save(out, "PNG", compress_level=1)
    elif kind == "npy":
        np.save(out, prediction.score_map)
    else:
        grey = np.rint(prediction.score_map * 65535).astype(np.uint16)
        Image.fromarray(grey).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _picture(image: NDArray[np.uint8], *, small: bool) -> bytes:
    out, picture = BytesIO(), Image.fromarray(image)
    if small:
        picture.thumbnail((SMALL, SMALL), Image.Resampling.BILINEAR)
        picture.save(out, "JPEG", quality=85)
    else:
        picture.save(out, "PNG", compress_level=1)
    return out.getvalue()
