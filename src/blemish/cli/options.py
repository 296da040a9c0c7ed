"""Arguments and options that several commands share, how lists of numbers are read, and what a MODEL is loaded as."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.checks import number
from blemish.errors import InputError, printable

if TYPE_CHECKING:
    from blemish.data.layouts.labels import Labels
    from blemish.images.roi import Interest
    from blemish.model.scorer import Scorer
    from blemish.verdict.threshold import Budget, Thresholds

MOST_STREAMS = 16  # each takes some 50 MB; with more cores than that, a stream has several

Good = Annotated[
    Path, typer.Argument(metavar="DATA", help="A folder of good images, or a category: see docs/datasets.md.")
]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file that blemish fit has written.")]
ModelOrBundle = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model file of blemish fit, or a bundle of blemish export.")
]
Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The teacher's weights, .safetensors or .pth; default: what is on this machine."),
]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute; auto takes a GPU if there is one.")
]
Sizes = Annotated[str, typer.Option(metavar="LIST", help="Sides of the square network inputs, px.")]
Unlabelled = Annotated[
    str, typer.Option(metavar="good", help="Take images that a labelling tool has no label for as good.")
]
Defects = Annotated[
    str, typer.Option(metavar="NAMES", help="Classes of a labelling tool that are defects, such as scratch,dent; "
                      "the others are ignored. Default: all, but for those whose name means good.")
]  # fmt: skip
GroupBy = Annotated[
    str | None,
    typer.Option(metavar="folder|REGEX", help="Images that are held out together, such as those of one part: of one "
                 "folder, or with the same text found in their path below DATA (of the first parentheses, if any)."),
]  # fmt: skip
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output of an earlier run.")]


def _follow(wanted: bool) -> bool:
    from blemish.data.listing import follow_links

    follow_links(wanted)
    return wanted


FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", callback=_follow, help="Follow links to folders, and out of the folder given."),
]


def _below(root: Path | None) -> Path | None:
    from blemish.data.listing import read_tables_below

    read_tables_below(root)
    return root


Root = Annotated[
    Path | None,
    typer.Option("--root", metavar="DIR", callback=_below, help="Where the paths of a CSV manifest begin; "
                 "default: in its own folder."),
]  # fmt: skip
FalseAlarms = Annotated[
    str,
    typer.Option("--false-alarms", metavar="REVIEW[,NG]", help="The shares of good images that may be called REVIEW or "
                 "NG, and NG, such as 5%,1%. Default: these, as far as the held-out images carry them."),
]  # fmt: skip
Threshold = Annotated[
    str, typer.Option("--threshold", metavar="REVIEW[,NG]", help="Scores above which the verdict is REVIEW, and NG.")
]


def _length(mm: float | None) -> float | None:
    return None if mm is None else number("mm per px", mm, rule="a finite number above 0")


MmPerPx = Annotated[
    float | None,
    typer.Option("--mm-per-px", metavar="MM", callback=_length, help="What a pixel measures: regions get an area in "
                 "mm2."),
]  # fmt: skip
MinArea = Annotated[
    str, typer.Option("--min-area", metavar="SHARE", help="The least share of the image that a defect covers, 0.1%.")
]
Roi = Annotated[
    Path | None,
    typer.Option("--roi", metavar="MASK.png", help="A mask of the aspect of the images: only what is white counts."),
]
Ignore = Annotated[
    Path | None, typer.Option("--ignore", metavar="MASK.png", help="The same, but what is white does not count.")
]
IgnoreBorder = Annotated[
    str, typer.Option("--ignore-border", metavar="SHARE", help="The share of each side that does not count: 3% or "
                      "0.03.")
]  # fmt: skip


Tiles = Annotated[
    str, typer.Option("--tiles", metavar="auto|off|SIZE[,OVERLAP]", help="Cut images into overlapping square tiles of "
                      "SIZE px, such as 512,25%; auto: where long or large images would lose too much.")
]  # fmt: skip


def read_interest(roi: Path | None, ignore: Path | None, border: str) -> "Interest":
    """Return the region of interest that is typed; its masks have still to be read."""
    from blemish.images.roi import Interest

    return Interest(roi=roi, ignore=ignore, border=border or None)


def read_rates(false_alarms: str) -> "Budget | None":
    """Return the false-alarm rates that are typed, None for the default; raises InputError as `read_budget` does."""
    from blemish.verdict import threshold

    return threshold.read_rates(false_alarms or None)


def read_wanted(false_alarms: str, threshold: str) -> "Budget | Thresholds | None":
    """Return the rates or the scores that are typed, None for neither; raises InputError for both, and as theirs."""
    from blemish.verdict import threshold as thresholds

    return thresholds.read_wanted(false_alarms or None, threshold or None)


def whole_numbers(text: str, name: str, *, example: str = "2,3") -> list[int]:
    """Return the whole numbers of a list such as 128,256,384; InputError names the option."""
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise InputError(
            f"{name}: {printable(text)} is not allowed, expected whole numbers such as {example}"
        ) from None


def read_labels(unlabelled: str, defects: str) -> "Labels":
    """Return how the labels of labelling tools are taken; each line on what they lack goes to stderr once.

    Raises InputError for options that are not allowed.
    """
    from blemish.data.layouts.labels import Labels
    from blemish.printing.bars import error_console

    said: set[str] = set()

    def once(line: str) -> None:
        if line not in said:
            said.add(line)
            error_console().out(line)

    return Labels(unlabelled=unlabelled, defects=tuple(defects.split(",")) if defects else (), say=once)


def load_scorer(
    path: Path,
    *,
    weights: Path | None = None,
    device: str = "auto",
    images: int | None = None,
    self_test: bool = True,
    wanted: "Budget | Thresholds | None" = None,
) -> "Scorer":
    """Return a `Detector` for a model file, a `Runtime` for a bundle.

    images: how many are to be scored, if that is known; a runtime scores as many at the same time as it has threads.
    wanted: other thresholds than the model's.
    Raises InputError for weights or a GPU that a bundle cannot use, for a library that is not installed, and what
    `Detector.load` and `Runtime.load` raise.
    """
    from blemish.runtime.bundle import is_bundle

    if not is_bundle(path):
        from blemish.detector import Detector

        try:
            return Detector.load(path, weights=weights, device=device).set_thresholds(wanted)
        except ModuleNotFoundError as error:  # a machine that has only what bundles need
            raise InputError(
                f"{error.name} is not installed; pip install 'blemish[train]', or export the model to a bundle"
            ) from None
    from blemish.runtime import Runtime
    from blemish.runtime.engines import available_threads

    if weights is not None:
        raise InputError("weights: a bundle holds those of its teacher; leave the option away")
    if device not in ("auto", "cpu"):
        raise InputError(f"device: {device} is not allowed for a bundle, which runs on the CPU; use auto or cpu")
    streams = max(1, min(available_threads(), MOST_STREAMS if images is None else images, MOST_STREAMS))
    return Runtime.load(path, streams=streams, self_test=self_test).set_thresholds(wanted)
