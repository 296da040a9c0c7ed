"""What `predict` leaves behind: results.jsonl with one line per image, overlays and score maps named after the images.

While one image is scored, the next is read and the results of the last are drawn and written. Memory does not grow with
the number of images, and a run that is stopped has kept what it had done.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.data.ahead import ahead
from blemish.data.sources import load
from blemish.errors import InputError, printable
from blemish.images.read import read_image
from blemish.model.header import Header
from blemish.model.scorer import Scorer
from blemish.results.folder import LINES, MAPS, MODEL, storing
from blemish.results.lines import Record, as_line, failure, success
from blemish.results.overlays import overlay, save_png
from blemish.storage.fields import Part, Sha256
from blemish.storage.files import make_folder, write_atomically
from blemish.verdict.judge import Prediction


class Judge(Part):
    """What `model.json` among the results holds: the sha256 that tells the model file or bundle again, its header."""

    sha256: Sha256
    header: Header


@dataclass(frozen=True, slots=True)
class Given:
    """An image to be judged and the name of its outputs; data: the bytes of its file, or why there are none.

    Without data the file is read when its turn comes.
    """

    path: Path
    name: str
    data: bytes | InputError | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """An image on its way: the pixels or why there are none, then what a model says of it."""

    path: Path
    name: str
    image: NDArray[np.uint8] | InputError
    prediction: Prediction | None = None


def write(
    scorer: Scorer,
    images: Iterable[tuple[Path, str]],
    out: Path,
    *,
    save_maps: bool = False,
    mm_per_px: float | None = None,
) -> Iterator[Record]:
    """Score images one by one, write their results below `out`, and yield each record, in order, once it is written.

    images: as `name_images` returns them; out: as `prepare_folder` leaves it. An image that cannot be used gives the
    record {"path", "error"}. mm_per_px: what a pixel measures, for areas in mm2. Raises StorageError if a file cannot
    be written. Once the iterator has ended, raised or been closed, no thread of it is left.
    """
    given = (Given(path, name) for path, name in images)
    records = closing(judged(scorer, given, out, save_maps=save_maps, mm_per_px=mm_per_px))
    with storing(out / LINES), (out / LINES).open("w", encoding="utf-8") as lines, records as found:
        for record in found:
            lines.write(as_line(record))
            lines.flush()
            yield record


def judged(
    scorer: Scorer,
    images: Iterable[Given],
    out: Path,
    *,
    save_maps: bool = False,
    mm_per_px: float | None = None,
) -> Generator[Record, None, None]:
    """Do what `write` does, but for the lines: those are left to the caller.

    Images are taken in the caller's thread, a few ahead; once there are no more, what was taken is finished at once.
    """
    score, header = partial(_score, scorer=scorer), scorer.header_
    store = partial(_store, out=out, scorer=scorer, save_maps=save_maps, mm_per_px=mm_per_px)
    with ExitStack() as stack:
        if scorer.streams > 1:  # as many images at a time, each from its file to its overlay in one thread
            whole = partial(_whole, scorer=scorer, store=store)
            records = stack.enter_context(closing(ahead(whole, images, workers=scorer.streams)))
        else:  # one image is read, one scored, with all threads, and one stored at a time
            read = stack.enter_context(closing(ahead(partial(_read, header=header), images)))
            scored = stack.enter_context(closing(ahead(score, read)))
            records = stack.enter_context(closing(ahead(store, scored)))
        yield from records


def write_model(out: Path, header: Header, *, sha256: str) -> None:
    """Write what judged the images: the header of the model, with the thresholds in force, and its identity."""
    write_atomically(out / MODEL, (Judge(sha256=sha256, header=header).model_dump_json(indent=1) + "\n").encode())


def _read(given: Given, *, header: Header) -> _Job:
    try:
        return _Job(given.path, given.name, _image(given, header))
    except InputError as error:
        return _Job(given.path, given.name, error)


def _image(given: Given, header: Header) -> NDArray[np.uint8]:
    if given.data is None:
        return load(given.path, bits=header.bits, roi=header.roi)
    if isinstance(given.data, InputError):
        raise given.data
    try:
        image = read_image(given.data, bits=header.bits)
    except InputError as error:
        raise InputError(f"{printable(given.path)}: {str(error).removeprefix('image: ')}") from error
    if header.roi is not None:
        header.roi.check_aspect(image, name=given.path)
    return image


def _score(job: _Job, scorer: Scorer) -> _Job:
    if isinstance(job.image, InputError):
        return job
    try:
        (prediction,) = scorer.predict([job.image])
    except InputError as error:  # a map that is not finite
        return replace(job, image=InputError(f"{printable(job.path)}: {error}"))
    return replace(job, prediction=prediction)


def _whole(given: Given, *, scorer: Scorer, store: Callable[[_Job], Record]) -> Record:
    return store(_score(_read(given, header=scorer.header_), scorer))


def _store(job: _Job, *, out: Path, scorer: Scorer, save_maps: bool, mm_per_px: float | None) -> Record:
    """Write the files of an image, and return its record."""
    if isinstance(job.image, InputError):
        return failure(job.path, job.image)
    assert job.prediction is not None
    record = success(job.path, job.prediction, thresholds=scorer.thresholds_, name=job.name, mm_per_px=mm_per_px)
    save_png(_place(out, record["overlay"]), draw(job.image, job.prediction, scorer.header_))
    if save_maps:
        write_atomically(_place(out, f"{MAPS}/{job.name}.npy"), _npy(job.prediction.score_map))
    return record


def draw(image: NDArray[np.uint8], prediction: Prediction, header: Header, *, word: bool = True) -> NDArray[np.uint8]:
    """Return the overlay of an image (H, W, 3) by the model with this header; word: with the verdict written on it."""
    return overlay(
        image,
        prediction.score_map,
        inside=prediction.inside,
        colours=header.scale.colours,
        verdict=prediction.verdict if word else None,
        counted=header.counted(*image.shape[:2]),
        surface=any(region.surface for region in prediction.regions),
    )


def _place(out: Path, name: str) -> Path:
    """Return where an output belongs, with its folder made."""
    path = out / name
    make_folder(path.parent)
    return path


def _npy(array: NDArray[np.float32]) -> bytes:
    data = BytesIO()
    np.save(data, array)
    return data.getvalue()
