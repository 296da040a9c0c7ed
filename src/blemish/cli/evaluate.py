"""The command `blemish evaluate`. Nothing heavy is imported before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.options import (
    Defects,
    Device,
    ModelOrBundle,
    Overwrite,
    Unlabelled,
    Weights,
    load_scorer,
    read_labels,
)
from blemish.errors import BlemishError, InputError, printable

if TYPE_CHECKING:
    from rich.console import Console

    from blemish.data.records import ImagePart
    from blemish.evaluation.evaluate import Chosen
    from blemish.model.header import Header

Data = Annotated[Path, typer.Argument(metavar="DATA", help="A data set, or a folder of many (docs/datasets.md).")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to a file.")]
Resolution = Annotated[
    str, typer.Option(metavar="256|original", help="Where maps and masks are compared: 256x256, or the image's own.")
]
Used = Annotated[
    str, typer.Option(metavar="refuse|skip|include", help="Images that the model has met before, or copies of them.")
]
Recorded = Annotated[
    bool, typer.Option("--record/--no-record", help="Note in a model file which images it was tested on.")
]


def evaluate(
    model: ModelOrBundle,
    *,
    data: Data,
    json_file: JsonFile = None,
    resolution: Resolution = "256",
    used: Used = "refuse",
    record: Recorded = True,
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on labelled images.

    Compares score maps and verdicts with the truth, for each type of defect and overall.
    """
    from blemish.evaluation.evaluate import choose, measure, save
    from blemish.printing.bars import counting, error_console
    from blemish.printing.figures import print_evaluation
    from blemish.runtime.bundle import is_bundle
    from blemish.storage.files import check_writable

    if resolution not in ("256", "original"):
        raise InputError(f"resolution: {printable(resolution)} is not allowed, expected 256 or original")
    if json_file is not None:
        check_writable(json_file, overwrite=overwrite)
    labels = read_labels(unlabelled, defects)
    scorer, console = load_scorer(model, weights=weights, device=device), error_console()
    chosen = choose(scorer, data, used=used, labels=labels)
    with counting(console, "test images") as report:
        result = measure(scorer, chosen, resolution=256 if resolution == "256" else None, report=report)
    if json_file is not None:
        save(json_file, result)
    _warn(result, chosen, console, bits=scorer.header_.bits)
    print_evaluation(result)
    if record and not is_bundle(model):
        _record(model, scorer.header_, chosen.images, console)


def _warn(result: "dict[str, Any]", chosen: "Chosen", console: "Console", *, bits: int) -> None:
    from blemish.data.inputs import remarks
    from blemish.printing.figures import warnings

    seen = remarks([chosen.data], (sample.path for sample in chosen.samples), bits=bits)
    for line in [*seen, *(f"warning: {line}" for line in warnings(result))]:
        console.out(line)


def _record(model: Path, header: "Header", images: "Sequence[ImagePart]", console: "Console") -> None:
    from blemish.model.file import record_tested

    try:
        record_tested(model, header, images)
    except BlemishError as error:
        console.out(f"warning: the test images are not noted in the model file: {error}")
