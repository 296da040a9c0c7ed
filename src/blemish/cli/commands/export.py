"""The command `blemish export`. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import (
    Defects,
    Device,
    FalseAlarms,
    FollowLinks,
    Model,
    Overwrite,
    Root,
    Unlabelled,
    Weights,
    read_labels,
)
from blemish.errors import InputError

FitImages = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="The good images of the fit, and those held out since; as often as needed; "
                 "the first become golden."),
]  # fmt: skip
Labelled = Annotated[Path | None, typer.Option(metavar="DATA", help="A labelled data set, to measure what is lost.")]


def export(
    model: Model,
    *,
    to: Annotated[str, typer.Option(metavar="onnx|openvino", help="What is to run the model.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle: a new or empty folder.")],
    bf16: Annotated[bool, typer.Option("--bf16", help="With openvino: compute in bfloat16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="With openvino and --good: 8-bit; the fastest.")] = False,
    good: FitImages = None,
    labelled: Labelled = None,
    false_alarms: FalseAlarms = "",
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a model to a folder that scores without torch: a bundle.

    blemish predict BUNDLE uses it, with no more than the extra runtime or openvino. It is written only
    if it scores golden images as the model does, decoding and resizing included.
    """
    from blemish.data.inputs import check_apart, check_root
    from blemish.detector import Detector
    from blemish.printing.bars import error_console, say
    from blemish.printing.bundles import print_exported
    from blemish.printing.promises import moved_lines
    from blemish.runtime.bundle import OWN
    from blemish.storage.files import check_folder

    if bf16 and int8:
        raise InputError("bf16 and int8: give one of them")
    good = good or []
    check_folder(out, overwrite=overwrite, own=OWN)
    check_root([*good, labelled])
    check_apart([out], [*good, labelled], files=[model, weights])
    labels = read_labels(unlabelled, defects)
    detector = Detector.load(model, weights=weights, device=device)
    precision = "int8" if int8 else "bfloat16" if bf16 else "float32"
    error_console().out("exporting: half a minute or so")
    found = detector.export(out, to=to, precision=precision, good=good, labelled=labelled, overwrite=overwrite,
                            labels=labels, false_alarms=false_alarms or None)  # fmt: skip
    say(moved_lines(detector.header_, found.bundle.model))
    print_exported(out, found)
