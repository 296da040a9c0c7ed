"""Learn what good parts look like; show, pixel by pixel, where a new part differs."""

from typing import TYPE_CHECKING, Any

from blemish.version import __version__

__all__ = ["BlemishError", "Detector", "Labels", "Prediction", "__version__"]

if TYPE_CHECKING:
    from blemish.data.layouts.labels import Labels
    from blemish.detector import Detector
    from blemish.errors import BlemishError
    from blemish.verdict.judge import Prediction


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `blemish --help` must not wait for numpy and Pillow.
    if name == "Detector":
        from blemish.detector import Detector

        return Detector
    if name == "Labels":
        from blemish.data.layouts.labels import Labels

        return Labels
    if name == "Prediction":
        from blemish.verdict.judge import Prediction

        return Prediction
    if name == "BlemishError":
        from blemish.errors import BlemishError

        return BlemishError
    raise AttributeError(f"module 'blemish' has no attribute '{name}'")
