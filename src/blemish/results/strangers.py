"""Pictures of the good images that stand far out of the others, beside the model that was made of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source
from blemish.model.calibration import learnt_images
from blemish.model.header import Header
from blemish.model.scorer import said
from blemish.results.overlays import save_png
from blemish.results.write import draw
from blemish.storage.files import make_folder
from blemish.verdict.scale import Reference

LONGEST = 200  # bytes of a name that a picture is called by


class Maps(Protocol):
    """What looks at images: a `Detector`, a `Runtime` or a `Model`."""

    def references(self, given: Sequence[Source], /) -> Iterator[tuple[Source, NDArray[np.uint8], Reference]]:
        """Yield (path or array, image, what its verdict is taken from) for each image."""


def draw_strangers(model: Path, scorer: Maps, header: Header, held_out: Sequence[Source | None]) -> Path | None:
    """Write a picture of each stranger to MODEL.strangers/, and return that folder; None where none is written.

    It is an overlay; of a stranger that trains the plain image, as the model has learnt what is strange about it.
    held_out: the images that header.calibration.held_out names, in its order, None for those that are not at hand.
    Raises StorageError where nothing can be written.
    """
    trained = learnt_images(header)
    strangers = [(header.calibration.held_out[index], held_out[index]) for index in header.strangers]
    chosen = [(part.name, source) for part, source in strangers if source is not None]
    plain = [part.sha256 in trained for part, source in strangers if source is not None]
    return _draw(model.with_name(f"{model.name}.strangers"), scorer, header, chosen, plain=plain)


def draw_worst(
    model: Path, scorer: Maps, header: Header, trained: Sequence[tuple[str, Source]], *, count: int
) -> tuple[Path, list[tuple[str, float]]]:
    """Write overlays of the `count` images that score highest to MODEL.review/; return it, and their names and scores.

    trained: name and place of each image. A defect that was learnt as good scores lower than one that was not, and
    still mostly higher than good images do. Raises StorageError where nothing can be written.
    """
    found = scorer.references([source for _, source in trained])
    scores = [reference.score(min_area=header.calibration.min_area) for _, _, reference in found]
    worst = sorted(range(len(scores)), key=lambda index: -scores[index])[:count]
    folder = model.with_name(f"{model.name}.review")
    _draw(folder, scorer, header, [trained[index] for index in worst], plain=[False] * len(worst))
    return folder, [(trained[index][0], scores[index]) for index in worst]


def _draw(
    folder: Path, scorer: Maps, header: Header, chosen: Sequence[tuple[str, Source]], *, plain: Sequence[bool]
) -> Path | None:
    """Write each image, numbered from the first, in place of those of an earlier model of that name.

    plain: of each, whether the image alone is drawn; else it is an overlay.
    """
    for old in folder.glob("[0-9]*-*.png") if folder.is_dir() else ():
        old.unlink(missing_ok=True)
    for number, ((name, given), alone) in enumerate(zip(chosen, plain, strict=True), start=1):
        ((source, image, reference),) = scorer.references([given])
        picture = image if alone else draw(image, said(header, source, image, reference), header, word=False)
        make_folder(folder)
        called = PurePosixPath(name).name.encode()[:LONGEST].decode(errors="ignore")
        save_png(folder / f"{number}-{called}.png", picture)
    return folder if chosen else None
