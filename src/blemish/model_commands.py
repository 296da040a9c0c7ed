"""The commands that make something new of a model: weigh and export; the command line adds them to the others."""

from pathlib import Path
from typing import Annotated

import typer

from blemish.errors import InputError
from blemish.options import Device, Model, Overwrite, Weights


def weigh(
    model: Model,
    *,
    labelled: Annotated[Path, typer.Argument(metavar="LABELLED", help="A data set whose test images are labelled.")],
    out: Annotated[Path, typer.Option(metavar="MODEL2.safetensors", help="The model file to write.")],
    good: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The good images of the fit; default: those of LABELLED.")
    ] = None,
    keep: Annotated[int | None, typer.Option(metavar="K", help="Keep the K best modules.")] = None,
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", metavar="T", help="Keep what scores an image in T ms here.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw accuracy and time of all sets of modules.")
    ] = None,
    objective: Annotated[str, typer.Option(metavar="logistic|aupro|paper", help="How to search.")] = "logistic",
    share: Annotated[
        float | None, typer.Option(metavar="S", help="Weigh with a share of each type of defect only, such as 0.1.")
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Weigh the modules by labelled defects, and drop those that add little.

    Evaluate the new model on other images than these: blemish evaluate --used skip leaves them out.
    """
    from blemish import progress, summaries
    from blemish.detector import Detector
    from blemish.files import check_writable
    from blemish.latency import plot_front

    for file in (out, plot):
        if file is not None:
            check_writable(file, overwrite=overwrite)
    if plot is not None and (budget_ms is None or plot == out):
        raise InputError("plot: needs --budget-ms, and a file of its own; it shows what each time can buy")
    detector = Detector.load(model, weights=weights, device=device)
    with progress.counting(progress.error_console(), "labelled images") as report:
        detector.weigh(
            labelled, good=good or labelled, keep=keep, budget_ms=budget_ms, objective=objective, share=share,
            report=report,
        )  # fmt: skip
    found = detector.weighed_
    detector.save(out, embed_teacher=detector.header_.teacher.embedded)
    if plot is not None:
        plot_front(plot, found.points, chosen=found.chosen)
    if budget_ms is not None:
        summaries.print_front(found.points, chosen=found.chosen)
    summaries.print_weighed(out, detector.header_, found)
    if found.search.collapsed:
        progress.error_console().out(f"warning: the search collapsed: {found.search.reason}")


def export(
    model: Model,
    *,
    to: Annotated[str, typer.Option(metavar="onnx|openvino", help="What is to run the model.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle: a new or empty folder.")],
    bf16: Annotated[bool, typer.Option("--bf16", help="With openvino: compute in bfloat16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="With openvino and --good: 8-bit; the fastest.")] = False,
    good: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The good images of the fit; the first become golden.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(metavar="DATA", help="A labelled data set, to measure what is lost.")
    ] = None,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Export a model to a folder that scores without torch: a bundle.

    blemish predict BUNDLE uses it, with no more than the extra runtime or openvino. It is written only
    if it scores golden images as the model does, decoding and resizing included.
    """
    from blemish import progress
    from blemish.bundle_summaries import print_exported
    from blemish.detector import Detector
    from blemish.files import check_folder
    from blemish.runtime.bundle import CONTENTS, FILE

    if bf16 and int8:
        raise InputError("bf16 and int8: give one of them")
    check_folder(out, overwrite=overwrite, mark=FILE, others=CONTENTS)
    detector = Detector.load(model, weights=weights, device=device)
    precision = "int8" if int8 else "bfloat16" if bf16 else "float32"
    progress.error_console().out("exporting: half a minute or so")
    found = detector.export(
        out, to=to, precision=precision, good=good or (), labelled=labelled, overwrite=overwrite
    )  # fmt: skip
    print_exported(out, found)
