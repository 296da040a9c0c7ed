"""The command `blemish fit`. Nothing heavy is imported before it runs."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from blemish.checks import share
from blemish.cli.options import (
    Defects,
    Device,
    FalseAlarms,
    FollowLinks,
    Good,
    GroupBy,
    Ignore,
    IgnoreBorder,
    MinArea,
    Overwrite,
    Roi,
    Root,
    Sizes,
    Tiles,
    Unlabelled,
    Weights,
    read_interest,
    read_labels,
    read_rates,
    whole_numbers,
)

Levels = Annotated[str, typer.Option(metavar="LIST", help="Levels of the teacher, of 2 to 5.")]
CacheGb = Annotated[
    float, typer.Option(metavar="GB", help="The most memory and temporary files for features of the teacher.")
]
Jobs = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, max=64, help="So many modules learn at the same time; default: 2, or 1 on a GPU."),
]
Review = Annotated[
    int, typer.Option(metavar="N", min=0, help="Draw the N images that fit worst among those that trained.")
]


def fit(
    data: Good,
    *,
    out: Annotated[
        Path, typer.Option(metavar="MODEL.safetensors|DIR", help="The model file to write, or a folder for many.")
    ],
    sizes: Sizes = "128,256,384",
    levels: Levels = "2,3,4",
    teacher: Annotated[str, typer.Option(metavar="NAME", help="See blemish teacher list.")] = "tf_efficientnet_lite0",
    weights: Weights = None,
    recipe: Annotated[str, typer.Option(metavar="fast|quick|paper", help="How to train.")] = "fast",
    score: Annotated[str, typer.Option(metavar="memory|whitened|paper", help="How to score.")] = "memory",
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same model on one machine.")] = 0,
    false_alarms: FalseAlarms = "",
    group_by: GroupBy = None,
    roi: Roi = None,
    ignore: Ignore = None,
    ignore_border: IgnoreBorder = "",
    unlabelled: Unlabelled = "",
    defects: Defects = "",
    device: Device = "auto",
    bits: Annotated[int, typer.Option(metavar="9..16", help="Used by 16-bit images: 12 for a 12-bit camera.")] = 16,
    min_area: MinArea = "0",
    tiles: Tiles = "auto",
    embed_teacher: Annotated[bool, typer.Option("--embed-teacher", help="Put its weights into the file.")] = False,
    cache_gb: CacheGb = 8.0,
    jobs: Jobs = None,
    review_training: Review = 0,
    each_folder: Annotated[
        bool, typer.Option("--each-folder", help="DATA holds a folder of good images for each category.")
    ] = False,
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn from images of good parts.

    The same command continues a fit that was interrupted. Of a root of categories each gets a model of its own, in the
    folder that --out names.
    """
    from blemish.cluster.each import digest
    from blemish.data.datasets import each_category
    from blemish.data.inputs import check_root
    from blemish.model.arguments import Arguments
    from blemish.model.workspace import fit_to_file
    from blemish.printing.bars import error_console, training

    check_root([data])
    arguments = Arguments(
        sizes=whole_numbers(sizes, "sizes", example="128,256"), levels=whole_numbers(levels, "levels", example="2,3"),
        teacher=teacher, weights=weights, recipe=recipe, score=score, seed=seed, device=device, bits=bits,
        min_area=share("min-area", min_area), tiles=tiles,
    )  # fmt: skip
    console = error_console()
    labels, wanted = read_labels(unlabelled, defects), read_rates(false_alarms)
    interest = read_interest(roi, ignore, ignore_border)
    fitting = partial(
        fit_to_file, arguments, say=console.out, showing=partial(training, console), embed_teacher=embed_teacher,
        overwrite=overwrite, cache_gb=cache_gb, jobs=jobs, labels=labels, wanted=wanted, group_by=group_by,
        interest=interest,
    )  # fmt: skip
    many = each_category(data, plain=each_folder, labels=labels)
    if each_folder or (many and out.suffix != ".safetensors"):
        decided = [arguments, labels.unlabelled, labels.defects, wanted, group_by, interest, embed_teacher]
        files = [*interest.files, *([weights] if weights is not None else [])]
        one = partial(_one, fitting, review=review_training)
        _fit_each(one, many, root=data, out=out, decided=[*map(str, decided), *map(digest, files)])
    else:
        _one(fitting, data, out, review=review_training)


def _one(fitting: Callable[..., Any], data: Path, out: Path, *, review: int) -> None:
    """Fit on one category, and say what has come of it."""
    from blemish.printing.bars import say
    from blemish.printing.models import print_fit
    from blemish.printing.promises import stranger_lines, worst_lines
    from blemish.results.strangers import draw_strangers, draw_worst

    fitted, seconds = fitting(data, out=out)
    header = fitted.model.header
    print_fit(out, header, seconds=seconds)
    folder = draw_strangers(out, fitted.model, header, fitted.held_out)
    say(stranger_lines(header, model=out, pictures=folder))
    if review:
        say(worst_lines(*draw_worst(out, fitted.model, header, fitted.trained, count=review)))


def _fit_each(
    fit_one: Callable[[Path, Path], None], folders: Sequence[Path], *, root: Path, out: Path, decided: Any
) -> None:
    """Fit on each of many categories, and end with the exit code of the worst that went wrong."""
    from blemish.cluster.each import fit_each
    from blemish.errors import printable
    from blemish.printing.bars import say

    def begin(name: str, index: int) -> None:
        say([f"{name}: category {index + 1} of {len(folders)}"])

    learnt, kept, worst = 0, 0, 0
    for outcome in fit_each(fit_one, folders, root=root, out=out, decided=decided, begin=begin):
        learnt, kept = learnt + (outcome.error is None and not outcome.kept), kept + outcome.kept
        if outcome.error is not None:
            worst = max(worst, outcome.error.exit_code)
            say([f"error: {outcome.name}: {outcome.error}"])
    unchanged = f", {kept} not again as nothing has changed" if kept else ""
    failed = len(folders) - learnt - kept
    say([f"{printable(out)}: {learnt} of {len(folders)} categories learnt{unchanged}; {failed} failed"])
    if worst:
        raise typer.Exit(worst)
