"""Plots: a figure to draw on that becomes a PNG. matplotlib is imported only when one is asked for."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blemish.storage.files import write_atomically
from blemish.storage.offline import folder_dropped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_plots() -> None:
    """Raise ModuleNotFoundError where no plot can be drawn: to be called before the work that is to be shown."""
    _figure(1)


@contextmanager
def plotted(path: str | os.PathLike[str], *, height: float, overwrite: bool) -> "Iterator[Figure]":
    """Yield an empty figure, and write what is drawn on it to a PNG, 800 px wide and `height` times 100 px high.

    The same drawing gives the same bytes. Raises as `write_atomically` does, ModuleNotFoundError without matplotlib.
    """
    figure = _figure(height)
    yield figure
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_atomically(path, picture.getvalue(), overwrite=overwrite)


def _figure(height: float) -> "Figure":
    with folder_dropped("MPLCONFIGDIR"):
        from matplotlib.figure import Figure
    return Figure(figsize=(8, height), dpi=100, layout="constrained")
