"""The command `blemish weigh`. Nothing heavy is imported before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from blemish.weighing.findings import Findings

Labelled = Annotated[Path, typer.Argument(metavar="LABELLED", help="A data set whose test images are labelled.")]
Out = Annotated[Path, typer.Option(metavar="MODEL2.safetensors", help="The model file to write.")]
FitImages = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="The good images of the fit, and those held out since; as often as needed; "
                 "default: those of LABELLED."),
]  # fmt: skip
Keep = Annotated[int | None, typer.Option(metavar="K", help="Keep the K best modules.")]
Budget = Annotated[
    float | None, typer.Option("--budget-ms", metavar="T", help="Keep what scores an image in T ms here.")
]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw accuracy and time of all sets of modules.")]
Objective = Annotated[str, typer.Option(metavar="logistic|aupro|paper", help="How to search.")]
Share = Annotated[
    float | None, typer.Option(metavar="S", help="Weigh with a share of each type of defect only, such as 0.1.")
]


def weigh(
    model: Model,
    *,
    labelled: Labelled,
    out: Out,
    good: FitImages = None,
    keep: Keep = None,
    budget_ms: Budget = None,
    plot: Plot = None,
    objective: Objective = "logistic",
    share: Share = None,
    false_alarms: FalseAlarms = "",
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Weigh the modules by labelled defects, and drop those that add little.

    Evaluate the new model on other images than these: blemish evaluate --used skip leaves them out.
    """
    from blemish.detector import Detector
    from blemish.printing.bars import counting, error_console, say
    from blemish.printing.findings import print_weighed
    from blemish.printing.promises import moved_lines
    from blemish.weighing.front import plot_front

    if plot is not None and budget_ms is None:
        raise InputError("plot: needs --budget-ms; it shows what each time can buy")
    _check_outputs(out, plot, [labelled, *(good or [])], model=model, weights=weights, overwrite=overwrite)
    detector = Detector.load(model, weights=weights, device=device)
    before = detector.header_
    with counting(error_console(), "labelled images") as report:
        detector.weigh(labelled, good=good or labelled, keep=keep, budget_ms=budget_ms, objective=objective,
                       share=share, report=report, labels=read_labels(unlabelled, defects),
                       false_alarms=false_alarms or None)  # fmt: skip
    found = detector.weighed_
    say(moved_lines(before, detector.header_))
    detector.save(out, embed_teacher=detector.header_.teacher.embedded, overwrite=overwrite)
    if plot is not None:
        plot_front(plot, found.points, chosen=found.chosen, overwrite=overwrite)
    print_weighed(out, detector.header_, found)
    _warn(found, labelled)


def _warn(found: "Findings", labelled: Path) -> None:
    from blemish.data.listing import passed_over
    from blemish.printing.bars import say
    from blemish.printing.figures import doubts

    collapsed = [f"the search collapsed: {found.search.reason}"] if found.search.collapsed else []
    say([*passed_over(labelled), *(f"warning: {line}" for line in [*doubts(found.doubtful_masks), *collapsed])])


def _check_outputs(
    out: Path, plot: Path | None, inputs: Sequence[Path | None], *, model: Path, weights: Path | None, overwrite: bool
) -> None:
    from blemish.data.inputs import check_apart, check_root
    from blemish.evaluation.plots import check_plots
    from blemish.storage.places import check_writable

    for file in filter(None, (out, plot)):
        check_writable(file, overwrite=overwrite)
    if plot is not None:
        check_plots()
    check_root(inputs)
    check_apart([out, plot], inputs, files=[weights])
    check_apart([plot], [], files=[model])  # by `out` it may be replaced
