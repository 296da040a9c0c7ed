"""The command `blemish calibrate`. Nothing heavy is imported before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.checks import share
from blemish.cli.options import (
    Defects,
    Device,
    FalseAlarms,
    FollowLinks,
    GroupBy,
    Ignore,
    IgnoreBorder,
    MinArea,
    ModelOrBundle,
    Overwrite,
    Roi,
    Root,
    Threshold,
    Unlabelled,
    Weights,
    load_scorer,
    read_interest,
    read_labels,
    read_wanted,
)
from blemish.errors import InputError

if TYPE_CHECKING:
    from blemish.data.sources import Source
    from blemish.model.header import Header
    from blemish.model.scorer import Scorer

GoodImages = Annotated[
    list[Path] | None,
    typer.Argument(metavar="GOOD", help="Good images that the model has not learnt: folders, files, manifests."),
]
Out = Annotated[Path, typer.Option(metavar="MODEL2", help="The model file, or the folder of the bundle, to write.")]
Add = Annotated[bool, typer.Option("--add", help="Keep the held-out scores that the model has beside the new ones.")]
Without = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help="Leave out a held-out image that is no good part after all.")
]
Labelled = Annotated[
    Path | None, typer.Option(metavar="DATA", help="Show what each threshold would do to labelled images.")
]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the old and the new scores.")]


def calibrate(
    model: ModelOrBundle,
    good: GoodImages = None,
    *,
    out: Out,
    add: Add = False,
    without: Without = None,
    false_alarms: FalseAlarms = "",
    threshold: Threshold = "",
    group_by: GroupBy = None,
    min_area: MinArea = "",
    roi: Roi = None,
    ignore: Ignore = None,
    ignore_border: IgnoreBorder = "",
    labelled: Labelled = None,
    plot: Plot = None,
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Choose other thresholds for a model file or a bundle; its modules and its scale stay.

    Without GOOD the held-out scores that the model keeps are used, and no image is needed.
    """
    from blemish.calibrating.escapes import judged
    from blemish.calibrating.recalibrate import looking_at, recalibrated
    from blemish.calibrating.shift import draw
    from blemish.data.sources import data_sets, held_out_first
    from blemish.data.together.groups import find_groups
    from blemish.printing.bars import counting, error_console, say
    from blemish.printing.calibrations import print_calibrated, shift_lines
    from blemish.printing.promises import stranger_lines

    wanted, labels = read_wanted(false_alarms, threshold), read_labels(unlabelled, defects)
    _check_enough(plot, labelled, good=bool(good), chosen=bool(without or wanted))
    least = share("min-area", min_area) if min_area else None
    files = [weights, roi, ignore]
    _check_outputs(model, out, plot, [*(good or []), labelled], files=files, overwrite=overwrite)
    scorer = load_scorer(model, weights=weights, device=device)
    old, images, console = scorer.header_, held_out_first(good or [], labels=labels), error_console()
    interest = read_interest(roi, ignore, ignore_border)
    scorer, images = looking_at(scorer, interest, good=images, add=add, say=console.out)
    groups = find_groups(images, given=data_sets(good or []), groups=group_by)
    with counting(console, "good images") as report:
        header = recalibrated(scorer, images, add=add, without=without or (), wanted=wanted, min_area=least,
                              groups=groups.names if groups else None, say=console.out, report=report)  # fmt: skip
    before = [image.score for image in old.calibration.held_out]
    known = {image.sha256 for image in old.calibration.held_out} if add else set()
    new = [image.score for image in header.calibration.held_out if image.sha256 not in known] if images else []
    header, found = judged(scorer, header, labelled, labels=labels) if labelled is not None else (header, [])
    _write(model, out, scorer, header, overwrite=overwrite)
    if plot is not None:
        draw(plot, before, new, thresholds=header.calibration.thresholds, overwrite=overwrite)
    pictures = _draw_strangers(out, scorer, header, images)
    print_calibrated(out, header, before=old, outcomes=found)
    same = header.roi == old.roi and header.calibration.min_area == old.calibration.min_area
    shifted = shift_lines(before, new) if same else []  # else the scores are of other pixels, or other parts
    say([*shifted, *stranger_lines(header, model=out, pictures=pictures)])


def _check_enough(plot: Path | None, labelled: Path | None, *, good: bool, chosen: bool) -> None:
    if plot is not None and not good:
        raise InputError("plot: needs GOOD, the new images; it shows their scores beside those of before")
    if labelled is not None and not (good or chosen):
        ways = "add --false-alarms or --threshold, or give good images"
        raise InputError(f"labelled: shows what thresholds do once one is chosen; {ways}")


def _draw_strangers(out: Path, scorer: "Scorer", header: "Header", images: "Sequence[Source]") -> Path | None:
    """Draw the strangers among the new images; of those from before nobody knows where they are."""
    from blemish.data.sources import identify
    from blemish.results.strangers import draw_strangers

    if not images or not header.strangers:
        return None
    parts = identify(images, told_by=header.data.told_by, bits=header.bits)
    known = {part.sha256: source for part, source in zip(parts, images, strict=True)}
    return draw_strangers(out, scorer, header, [known.get(image.sha256) for image in header.calibration.held_out])


def _write(model: Path, out: Path, scorer: "Scorer", header: "Header", *, overwrite: bool) -> None:
    from blemish.calibrating.rewrite import rewrite
    from blemish.runtime import Runtime
    from blemish.runtime.bundle import is_bundle

    if is_bundle(model):
        assert isinstance(scorer, Runtime)
        rewrite(model, out, header, runtime=scorer, overwrite=overwrite)
        return
    from dataclasses import replace

    from blemish.detector import Detector
    from blemish.model.assembly import save

    assert isinstance(scorer, Detector)
    save(replace(scorer.model_, header=header), out, embed_teacher=header.teacher.embedded, overwrite=overwrite)


def _check_outputs(
    model: Path,
    out: Path,
    plot: Path | None,
    inputs: Sequence[Path | None],
    *,
    files: Sequence[Path | None],
    overwrite: bool,
) -> None:
    from blemish.data.inputs import check_apart, check_root
    from blemish.evaluation.plots import check_plots
    from blemish.runtime.bundle import OWN, is_bundle
    from blemish.storage.files import check_folder
    from blemish.storage.places import check_writable

    if is_bundle(model):
        check_folder(out, overwrite=overwrite, own=OWN)
    else:
        check_writable(out, overwrite=overwrite)
    if plot is not None:
        check_writable(plot, overwrite=overwrite)
        check_plots()
    check_root(inputs)
    check_apart([out, plot], inputs, files=files)
    check_apart([plot], [], files=[model])  # by `out` it may be replaced
