"""Arguments and options that several commands share, and how lists of numbers are read."""

from pathlib import Path
from typing import Annotated

import typer

from blemish.errors import InputError, printable

Good = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder of good images, or a category: see docs/datasets.md.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that blemish fit has written.")]
Scorer = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model file of blemish fit, or a bundle of blemish export.")
]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The teacher's weights, .safetensors or .pth; default: what is on this machine."),
]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute; auto takes a GPU if there is one.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]


def whole_numbers(text: str, name: str, *, example: str = "2,3") -> list[int]:
    """Return the whole numbers of a list such as 128,256,384; InputError names the option."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(
            f"{name}: {printable(text)} is not allowed, expected whole numbers such as {example}"
        ) from None
