"""Load what a path names, a model file or a bundle: both score images alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Union

from blemish.errors import InputError
from blemish.runtime.bundle import is_bundle

if TYPE_CHECKING:
    from blemish.detector import Detector
    from blemish.runtime import Runtime

MOST_STREAMS = 16  # each takes some 50 MB; with more cores than that, a stream has several

Predictor = Union["Detector", "Runtime"]


def load_predictor(
    path: Path, *, weights: Path | None = None, device: str = "auto", images: int | None = None, self_test: bool = True
) -> Predictor:
    """Return a `Detector` for a model file, a `Runtime` for a bundle.

    images: how many are to be scored, if that is known; a runtime scores as many at the same time as it has threads.
    Raises InputError for weights or a GPU that a bundle cannot use, for a library that is not installed, and what
    `Detector.load` and `Runtime.load` raise.
    """
    if not is_bundle(path):
        from blemish.detector import Detector

        try:
            return Detector.load(path, weights=weights, device=device)
        except ModuleNotFoundError as error:  # a machine that has only what bundles need
            raise InputError(
                f"{error.name} is not installed; pip install 'blemish[train]', or export the model to a bundle"
            ) from None
    from blemish.runtime import Runtime
    from blemish.runtime.engines import available_threads

    if weights is not None:
        raise InputError("weights: a bundle holds those of its teacher; leave the option away")
    if device not in ("auto", "cpu"):
        raise InputError(f"device: {device} is not allowed for a bundle, which runs on the CPU; use auto or cpu")
    streams = max(1, min(available_threads(), MOST_STREAMS if images is None else images, MOST_STREAMS))
    return Runtime.load(path, streams=streams, self_test=self_test)
