"""Which images a command has shown with their truth: noted beside the model, as `model.tested` keeps them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.errors import BlemishError, refused

if TYPE_CHECKING:
    from blemish.data.records import ImagePart

Recorded = Annotated[
    bool, typer.Option("--record/--no-record", help="Note beside the model which images it was tested on.")
]


def identity_to_note(model: Path) -> str:
    """Return the sha256 of a model, for `note`; a list beside it that is damaged is said now, before the work.

    Raises as `read_tested` and `identity` do.
    """
    from blemish.model.tested import read_tested
    from blemish.runtime.bundle import identity

    sha256 = identity(model)
    read_tested(model, sha256=sha256)
    return sha256


def note(model: Path, images: "Sequence[ImagePart]", *, sha256: str) -> None:
    """Note the images that a model was tested on; where that cannot be done a line says so, as the work is done."""
    from blemish.model.tested import note_tested
    from blemish.printing.bars import say
    from blemish.runtime.bundle import identity

    try:
        if identity(model) != sha256:
            raise refused(model, "another model has taken its place")
        note_tested(model, images, sha256=sha256)
    except BlemishError as error:
        say([f"warning: the test images are not noted: {error}"])
