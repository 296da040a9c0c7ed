"""What scores images, seen from outside: a fitted `Detector` or a `Runtime`; both do all of this alike."""

from collections.abc import Iterator
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Images, Source
from blemish.model.header import Header
from blemish.verdict.judge import Prediction, judge
from blemish.verdict.scale import Reference
from blemish.verdict.threshold import Thresholds


class Scorer(Protocol):
    """Anything that scores images.

    header_: what its model says of itself; thresholds_: the image scores above which the verdict is REVIEW, and NG;
    streams: how many images it scores at the same time.
    """

    @property
    def header_(self) -> Header: ...  # noqa: D102

    @property
    def thresholds_(self) -> Thresholds: ...  # noqa: D102

    def with_header(self, header: Header) -> Self:
        """Return the same scorer with another header: other thresholds, another region of interest."""

    @property
    def streams(self) -> int: ...  # noqa: D102

    def predict(self, images: Images) -> list[Prediction]:
        """Return score, verdict, regions and score map of each image."""

    def references(self, images: Images) -> Iterator[tuple[Source, NDArray[np.uint8], Reference]]:
        """Yield (path or array, image, what its verdict is taken from) for each image, in bounded memory."""


def said(header: Header, source: Source, image: NDArray[np.uint8], reference: Reference, /) -> Prediction:
    """Return what a model with this header says of an image, by its thresholds, scale, least area and region."""
    counted = header.counted(*image.shape[:2])
    calibration = header.calibration
    return judge(
        source, image, reference, thresholds=calibration.thresholds, scale=header.scale,
        min_area=calibration.min_area, counted=counted,
    )  # fmt: skip
