"""What `predict` leaves behind: results.jsonl with one line per image, overlays and score maps named after the images.

While one image is scored, the next is read and the results of the last are drawn and written. Memory does not grow with
the number of images, and a run that is stopped has kept what it had done.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blemish.ahead import ahead
from blemish.datasets import find_images, is_category
from blemish.errors import InputError, StorageError, printable
from blemish.files import make_folder, write_atomically
from blemish.folders import RESULTS_MARK
from blemish.overlays import TOP, overlay, save_png
from blemish.pyramid import load

if TYPE_CHECKING:
    from blemish.prediction import Prediction
    from blemish.predictor import Predictor

LINES, OVERLAYS, MAPS = "results.jsonl", "overlays", "maps"
SUFFIXES = {OVERLAYS: ".png", MAPS: ".npy"}
LONGEST = 200  # bytes of a folder's or file's name that is made from an image's; most systems allow 255
WORST = 5

Record = dict[str, Any]


@dataclass(slots=True)
class Summary:
    """How many images are OK, NG or could not be used, and the records with the highest scores, highest first."""

    ok: int = 0
    ng: int = 0
    failed: int = 0
    worst: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Job:
    """An image on its way: the pixels or why there are none, then what the predictor says of it."""

    path: Path
    name: str
    image: NDArray[np.uint8] | InputError
    prediction: "Prediction | None" = None


def name_images(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return (image, name) for each file, and for each image in each folder, that is given.

    The name is what the image's outputs are called, less their suffix: the image's path below the given folder (with
    that folder's own name where several paths are given), or the file's name. A suffix other than .png stays part of
    it, characters that do not print are escaped, long parts are cut, and a name that is taken gets -2, -3 ...: names
    differ even where case does not count, none leads out of a folder, and the same paths give the same names.
    Raises InputError for a path that is not there, for a data set with masks, and as `find_images` does.
    """
    named: list[tuple[Path, str]] = []
    taken: set[str] = set()
    for given in paths:
        if not os.path.lexists(given):
            raise InputError(f"no such file or folder: {printable(given)}")
        if is_category(given):
            raise InputError(
                f"{printable(given)}: a data set, with masks; give a folder of images in it, such as its test"
            )
        for path in find_images(given) if os.path.isdir(given) else [given]:
            relative = path.relative_to(given) if path != given else Path(path.name)
            above = os.path.basename(os.path.abspath(given)) if path != given and len(paths) > 1 else ""
            named.append((path, _free(PurePosixPath(above, relative), taken)))
    return named


def check_outside(out: Path, folder: Path) -> None:
    """Raise InputError for an output that is, or lies in, a folder of input images."""
    if os.path.isdir(folder) and Path(os.path.realpath(out)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{printable(out)}: lies in the input folder {printable(folder)}; choose another place")


def check_inputs(out: Path, paths: Iterable[Path]) -> None:
    """Raise InputError for an output folder that lies in a folder of input images, or holds inputs itself."""
    for path in paths:
        check_outside(out, path)
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
            raise InputError(f"{printable(path)}: lies in the output folder {printable(out)}; choose another place")


def prepare_folder(out: Path, *, overwrite: bool) -> None:
    """Make the folder of the results and mark it; with overwrite, remove what an earlier run has left in it.

    Raises InputError if it is a file, if it holds anything and overwrite is false, or if it holds what `write` does
    not write or has no mark; StorageError if it cannot be made or emptied.
    """
    name = printable(out)
    with _storing(out):
        if os.path.lexists(out) and not out.is_dir():
            raise InputError(f"{name}: is not a folder")
        out.mkdir(parents=True, exist_ok=True)
        found = sorted(set(os.listdir(out)) - {RESULTS_MARK})
        if found and not overwrite:
            raise InputError(f"{name}: is not empty; pass --overwrite to replace the results in it")
        if strange := next(_strange(out, found), None):
            raise InputError(f"{name}: holds {printable(strange)}, which is no result; choose another folder")
        if found and not (out / RESULTS_MARK).is_file():
            raise InputError(f"{name}: is not empty and not from an earlier predict; choose another folder")
        write_atomically(out / RESULTS_MARK, b"blemish predict made this folder and may replace what is in it.\n")
        for entry in found:
            (out / entry).unlink() if entry == LINES else shutil.rmtree(out / entry)


def write(
    predictor: "Predictor", images: Iterable[tuple[Path, str]], out: Path, *, save_maps: bool = False
) -> Iterator[Record]:
    """Score images one by one, write their results below `out`, and yield each record, in order, once it is written.

    images: as `name_images` returns them; out: as `prepare_folder` leaves it. An image that cannot be used gives the
    record {"path", "error"}. Raises StorageError if a file cannot be written. Once the iterator has ended, raised or
    been closed, no thread of it is left.
    """
    score = partial(_score, predictor=predictor)
    store = partial(_store, out=out, threshold=predictor.threshold_, save_maps=save_maps)
    with _storing(out / LINES), (out / LINES).open("w", encoding="utf-8") as lines, ExitStack() as stack:
        if predictor.streams > 1:  # as many images at a time, each from its file to its overlay in one thread
            whole = partial(_whole, predictor=predictor, store=store)
            records = stack.enter_context(closing(ahead(whole, images, workers=predictor.streams)))
        else:  # one image is read, one scored, with all threads, and one stored at a time
            read = stack.enter_context(closing(ahead(_read, images)))
            scored = stack.enter_context(closing(ahead(score, read)))
            records = stack.enter_context(closing(ahead(store, scored)))
        for record in records:
            lines.write(json.dumps(record, allow_nan=False) + "\n")
            lines.flush()
            yield record


def _read(given: tuple[Path, str]) -> _Job:
    path, name = given
    try:
        return _Job(path, name, load(path))
    except InputError as error:
        return _Job(path, name, error)


def _score(job: _Job, predictor: "Predictor") -> _Job:
    if isinstance(job.image, InputError):
        return job
    try:
        (prediction,) = predictor.predict([job.image])
    except InputError as error:  # a map that is not finite
        return replace(job, image=InputError(f"{printable(job.path)}: {error}"))
    return replace(job, prediction=prediction)


def _whole(given: tuple[Path, str], *, predictor: "Predictor", store: Callable[[_Job], Record]) -> Record:
    return store(_score(_read(given), predictor))


def _store(job: _Job, *, out: Path, threshold: float, save_maps: bool) -> Record:
    """Write the files of an image, and return its record."""
    if isinstance(job.image, InputError):
        return failure(job.path, job.image)
    assert job.prediction is not None
    record = success(job.path, job.prediction, threshold=threshold, name=job.name)
    save_png(_place(out, record["overlay"]), draw(job.image, job.prediction, threshold=threshold))
    if save_maps:
        write_atomically(_place(out, f"{MAPS}/{job.name}.npy"), _npy(job.prediction.score_map))
    return record


def success(path: Path, prediction: "Prediction", *, threshold: float, name: str) -> Record:
    """Return the record of an image: plain JSON values, keys always the same; boxes are [x, y, width, height] in px."""
    return {
        "path": text(path),
        "score": prediction.score,
        "threshold": threshold,
        "verdict": prediction.verdict,
        "regions": [asdict(region) | {"box": list(region.box)} for region in prediction.regions],
        "overlay": f"{OVERLAYS}/{name}.png",
    }


def failure(path: Path, error: InputError) -> Record:
    """Return the record of an image that could not be used."""
    return {"path": text(path), "error": str(error)}


def draw(image: NDArray[np.uint8], prediction: "Prediction", *, threshold: float) -> NDArray[np.uint8]:
    """Return the overlay of an image (H, W, 3) with its verdict."""
    top = scale_top(threshold)
    return overlay(image, prediction.score_map, threshold=threshold, top=top, verdict=prediction.verdict)


def scale_top(threshold: float) -> float:
    """Return where the colour scale of a model ends: scores lie in [0, 1], so colours beyond would never be seen."""
    return min(TOP * threshold, 1.0) if threshold < 1 else TOP * threshold


def summarise(records: Iterable[Record]) -> Summary:
    """Count records, and keep the few with the highest scores; of equal scores the first comes first."""
    summary = Summary()
    for record in records:
        if "error" in record:
            summary.failed += 1
            continue
        summary.ok += record["verdict"] == "OK"
        summary.ng += record["verdict"] == "NG"
        summary.worst = sorted([*summary.worst, record], key=lambda kept: -kept["score"])[:WORST]
    return summary


def text(path: Path) -> str:
    r"""Return a path as it was given, with / between its parts; bytes that are not UTF-8 become \udcXX, in ASCII."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _strange(out: Path, found: Iterable[str]) -> Iterator[str]:
    """Yield what `write` does not write: other names, other types of files, and links."""
    for entry in found:
        path = out / entry
        if path.is_symlink() or not (path.is_dir() if entry in SUFFIXES else entry == LINES and path.is_file()):
            yield entry
        elif entry in SUFFIXES:
            for inside in sorted(path.rglob("*")):
                if inside.is_symlink() or not (inside.is_dir() or inside.suffix == SUFFIXES[entry]):
                    yield inside.relative_to(out).as_posix()


def _free(relative: PurePosixPath, taken: set[str]) -> str:
    """Return the first name for an image that is not taken yet, and take it."""
    name = "/".join(_cut(printable(part)) for part in relative.parts)
    name = name[:-4] if name.lower().endswith(".png") else name
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free.casefold())
    return free


def _cut(part: str) -> str:
    return part.encode()[:LONGEST].decode(errors="ignore")


def _place(out: Path, name: str) -> Path:
    """Return where an output belongs, with its folder made."""
    path = out / name
    make_folder(path.parent)
    return path


def _npy(array: NDArray[np.float32]) -> bytes:
    data = BytesIO()
    np.save(data, array)
    return data.getvalue()


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Turn what the system says of a folder or a file that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"{printable(error.filename or path)}: cannot be written: {reason}") from error
