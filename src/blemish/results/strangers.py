"""Pictures of the good images that stand far out of the others, beside the model that was made of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source
from blemish.model.header import Header
from blemish.results.overlays import overlay, save_png
from blemish.storage.files import make_folder
from blemish.verdict.judge import judge
from blemish.verdict.strangers import strangers


class Maps(Protocol):
    """What gives score maps: a `Detector`, a `Runtime` or a `Model`."""

    def reference_maps(
        self, given: Sequence[Source], /
    ) -> Iterator[tuple[Source, NDArray[np.uint8], NDArray[np.float32]]]:
        """Yield (path or array, image, score map at the reference size) for each image."""


def draw_strangers(model: Path, scorer: Maps, header: Header, held_out: Sequence[Source]) -> Path | None:
    """Write an overlay of each stranger to MODEL.strangers/, and return that folder; None where there is no stranger.

    held_out: the images that header.calibration.held_out names, in its order. Raises StorageError where nothing can be
    written.
    """
    images = header.calibration.held_out
    found = strangers([image.score for image in images], scale=header.scale)
    folder, thresholds = model.with_name(f"{model.name}.strangers"), header.calibration.thresholds
    for old in folder.glob("[0-9]*-*.png") if folder.is_dir() else ():  # of an earlier model of that name
        old.unlink(missing_ok=True)
    for index in found:
        ((source, image, reference),) = scorer.reference_maps([held_out[index]])
        counted = header.counted(*image.shape[:2])
        said = judge(source, image, reference, thresholds=thresholds, scale=header.scale, counted=counted)
        picture = overlay(image, said.score_map, inside=said.inside, colours=header.scale.colours, counted=counted)
        make_folder(folder)
        save_png(folder / f"{index}-{PurePosixPath(images[index].name).name}.png", picture)
    return folder if found else None
