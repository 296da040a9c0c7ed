"""The command `blemish evaluate`. Nothing heavy is imported before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.checks import word
from blemish.cli.options import (
    Defects,
    Device,
    FalseAlarms,
    FollowLinks,
    ModelOrBundle,
    Overwrite,
    Root,
    Threshold,
    Unlabelled,
    Weights,
    load_scorer,
    read_labels,
    read_wanted,
)
from blemish.cli.tested import Recorded, identity_to_note, note

if TYPE_CHECKING:
    from rich.console import Console

    from blemish.evaluation.evaluate import Chosen

SIDES = {"256": 256, "original": None}

Data = Annotated[Path, typer.Argument(metavar="DATA", help="A data set, or a folder of many (docs/datasets.md).")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to a file.")]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw the share found by defect area to a PNG.")
]
Resolution = Annotated[
    str, typer.Option(metavar="256|original", help="Where maps and masks are compared: 256x256, or the image's own.")
]
Used = Annotated[
    str, typer.Option(metavar="refuse|skip|include", help="Images that the model has met before, or copies of them.")
]


def evaluate(
    model: ModelOrBundle,
    *,
    data: Data,
    json_file: JsonFile = None,
    plot: Plot = None,
    resolution: Resolution = "256",
    used: Used = "refuse",
    record: Recorded = True,
    false_alarms: FalseAlarms = "",
    threshold: Threshold = "",
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on labelled images.

    Compares score maps and verdicts with the truth, for each type of defect and overall.
    """
    from blemish.data.inputs import check_root
    from blemish.evaluation.evaluate import choose, measure, save
    from blemish.evaluation.plots import check_plots
    from blemish.evaluation.recall import draw
    from blemish.model.tested import list_path
    from blemish.printing.bars import counting, error_console

    word("resolution", resolution, SIDES)
    check_root([data])
    _check_outputs([json_file, plot], data, [model, list_path(model), weights], overwrite=overwrite)
    if plot is not None:
        check_plots()
    wanted, console = read_wanted(false_alarms, threshold), error_console()
    scorer = load_scorer(model, weights=weights, device=device, wanted=wanted)
    if record:
        sha256 = identity_to_note(model)
    chosen = choose(scorer, data, used=used, labels=read_labels(unlabelled, defects))
    _remark(chosen, bits=scorer.header_.bits)
    with counting(console, "test images") as report:
        result = measure(scorer, chosen, resolution=SIDES[resolution], report=report)
    try:
        if json_file is not None:
            save(json_file, result, overwrite=overwrite)
        if plot is not None:
            draw(plot, result["recall_by_area"], overwrite=overwrite)
    finally:  # what was measured is shown and noted, whatever becomes of the file
        if record:
            note(model, chosen.images, sha256=sha256)
        _show(result, console)


def _check_outputs(
    outputs: "Sequence[Path | None]", data: Path, files: "Sequence[Path | None]", *, overwrite: bool
) -> None:
    from blemish.data.inputs import check_apart
    from blemish.storage.places import check_writable

    given = [output for output in outputs if output is not None]
    for output in given:
        check_writable(output, overwrite=overwrite)
    if given:
        check_apart(given, [data], files=files)


def _show(result: dict[str, Any], console: "Console") -> None:
    from blemish.printing.figures import print_evaluation, warnings

    for line in warnings(result):
        console.out(f"warning: {line}")
    print_evaluation(result)


def _remark(chosen: "Chosen", *, bits: int) -> None:
    from blemish.data.inputs import remarks
    from blemish.printing.bars import say

    say(remarks([chosen.data], (sample.path for sample in chosen.samples), bits=bits))
