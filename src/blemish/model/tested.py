"""Which images a model was tested on: a list beside it, MODEL.tested.json, so that the model itself stays as it is.

A list belongs to the very bytes beside it: those of the model file, or of a bundle's `bundle.json`. That of another
model, which stood there before, counts as none.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from blemish.data.records import ImagePart
from blemish.errors import InputError, printable, refused
from blemish.model.header import Header
from blemish.storage.fields import Part, Sha256, first_fault, read_object
from blemish.storage.files import lock_beside, locked, write_atomically

WAIT = 10.0  # seconds for another evaluation that notes its images


class Tested(Part):
    """What the list holds: the sha256 of the model file or of `bundle.json`, and what tells each image again."""

    version: int = Field(default=1, ge=1, le=1)
    model: Sha256
    images: list[ImagePart]


def list_path(model: Path) -> Path:
    """Return where the list of a model file or a bundle lies; a link shares that of what it points to."""
    there = Path(os.path.realpath(model))
    return there.with_name(f"{there.name}.tested.json")


def read_tested(model: Path, *, sha256: str) -> list[ImagePart]:
    """Return the images of the list beside a model; none if there is no list, or it is that of another model.

    sha256: what the list must name, see `Tested`. Raises InputError if it cannot be read, ModelFileError if damaged.
    """
    path = list_path(model)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    try:
        read_object(text)
        found = Tested.model_validate_json(text)
    except ValidationError as error:
        raise refused(path, f"{first_fault(error)}; remove the file, and its images are forgotten") from None
    except ValueError as error:
        raise refused(path, f"is damaged: {error}; remove the file, and its images are forgotten") from None
    return found.images if found.model == sha256 else []


def note_tested(model: Path, images: Sequence[ImagePart], *, sha256: str) -> None:
    """Add images to the list beside a model; what others add at the same time is not lost.

    Raises StorageError if the list cannot be written, InputError if another evaluation holds it for WAIT seconds, and
    as `read_tested` does.
    """
    wanted = {image.sha256 for image in images}
    if wanted <= {image.sha256 for image in read_tested(model, sha256=sha256)}:
        return  # where nothing can be written, nothing has to be
    path = list_path(model)
    busy = f"{printable(path)}: another evaluation is writing it"
    with locked(lock_beside(path), busy=busy, wait=WAIT):
        every = _merged([*read_tested(model, sha256=sha256), *images])
        write_atomically(path, (Tested(model=sha256, images=every).model_dump_json(indent=1) + "\n").encode())


def with_tested(header: Header, images: Iterable[ImagePart]) -> Header:
    """Return a header that names these images too as tested; older versions have kept them in the header itself."""
    tested = _merged([*header.data.tested, *images])
    return header.model_copy(update={"data": header.data.model_copy(update={"tested": tested})})


def _merged(images: Iterable[ImagePart]) -> list[ImagePart]:
    known = {image.sha256: image for image in images}
    return [known[digest] for digest in sorted(known)]
