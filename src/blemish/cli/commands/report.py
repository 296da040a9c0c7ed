"""The command `blemish report`. Nothing heavy is imported before it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import (
    Defects,
    Device,
    FollowLinks,
    MmPerPx,
    Overwrite,
    Root,
    Unlabelled,
    Weights,
    load_scorer,
    read_labels,
)
from blemish.cli.tested import Recorded, identity_to_note, note
from blemish.errors import InputError, printable

if TYPE_CHECKING:
    from blemish.data.records import ImagePart
    from blemish.report.shown import Subject

Given = Annotated[
    Path, typer.Argument(metavar="RESULTS|MODEL", help="A folder of blemish predict; or a model file or a bundle.")
]
Data = Annotated[Path | None, typer.Argument(metavar="[DATA]", help="With MODEL: a labelled data set.")]
Out = Annotated[Path, typer.Option(metavar="FILE.html", help="The page to write.")]
Embed = Annotated[bool, typer.Option("--embed", help="Put the full pictures into the page; default: links to them.")]
Used = Annotated[
    str, typer.Option(metavar="refuse|skip|include", help="Images that the model has met before, or copies of them.")
]


def report(
    given: Given,
    *,
    data: Data = None,
    out: Out,
    embed: Embed = False,
    mm_per_px: MmPerPx = None,
    used: Used = "refuse",
    record: Recorded = True,
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    weights: Weights = None,
    device: Device = "auto",
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Make one page to look at: scores, thresholds to drag, images, regions.

    Of RESULTS, the folder of blemish predict; or of MODEL on labelled DATA, with the truth beside it. The page needs no
    network.
    """
    from datetime import datetime

    from blemish.data.inputs import check_apart, check_root
    from blemish.model.tested import list_path
    from blemish.report.render import render
    from blemish.storage.files import write_atomically
    from blemish.storage.places import check_writable

    check_writable(out, overwrite=overwrite)
    check_root([data])
    check_apart([out], [given, data], files=[weights, list_path(given) if data is not None else None])
    images: Sequence[ImagePart] = ()
    if data is None:
        others = {"used": used != "refuse", "no-record": not record, "unlabelled": unlabelled, "defects": defects,
                  "weights": weights, "device": device != "auto"}  # fmt: skip
        subject = _of_results(given, out, embed=embed, others=[name for name, typed in others.items() if typed])
    else:
        subject, images = _of_model(given, data, out, embed=embed, used=used, record=record, unlabelled=unlabelled,
                                    defects=defects, weights=weights, device=device)  # fmt: skip
    if mm_per_px is not None:
        subject = subject.measured(mm_per_px)
    page = render(subject, made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"))
    write_atomically(out, page, overwrite=overwrite)
    if record and images:  # the page shows thresholds beside the truth: who moves them by it has tested by these
        note(given, images, sha256=subject.sha256)
    print(f"{printable(out)}: {len(subject.images)} images, {len(page) / 1e6:.1f} MB")


def _of_results(folder: Path, out: Path, *, embed: bool, others: Sequence[str]) -> "Subject":
    from blemish.data.listing import is_folder
    from blemish.printing.bars import counting, error_console, say
    from blemish.report.folder import check_no_picture, read_results, results_subject
    from blemish.runtime.bundle import FILE

    if (is_folder(folder) and (folder / FILE).is_file()) or folder.is_file():
        raise InputError(f"{printable(folder)}: a model, without data; expected MODEL and DATA, or a folder of results")
    if others:
        raise InputError(f"{others[0]}: is for MODEL and DATA; leave it away with a folder of results")
    results = read_results(folder)
    check_no_picture(out, results)
    with counting(error_console(), "images") as tell:
        subject = results_subject(results, page=out, embed=embed, report=tell)
    say(f"warning: {line}" for line in subject.notes)
    return subject


def _of_model(
    model: Path, data: Path, out: Path, *, embed: bool, used: str, record: bool, unlabelled: str, defects: str,
    weights: Path | None, device: str,
) -> "tuple[Subject, Sequence[ImagePart]]":  # fmt: skip
    from blemish.data.inputs import remarks
    from blemish.evaluation.evaluate import choose
    from blemish.printing.bars import counting, error_console, say
    from blemish.report.judged import judged_subject
    from blemish.results.folder import LINES
    from blemish.runtime.bundle import identity

    if (model / LINES).is_file():
        raise InputError(f"{printable(model)}: a folder of results; give it alone, without {printable(data)}")
    scorer = load_scorer(model, weights=weights, device=device)
    sha256 = identity_to_note(model) if record else identity(model)
    labels = read_labels(unlabelled, defects)
    chosen = choose(scorer, data, used=used, labels=labels)
    say(remarks([chosen.data], (sample.path for sample in chosen.samples), bits=scorer.header_.bits))
    with counting(error_console(), "test images") as tell:
        subject = judged_subject(scorer, chosen, model=model, model_sha256=sha256, page=out, embed=embed, labels=labels,
                                 report=tell)  # fmt: skip
    return subject, chosen.images
