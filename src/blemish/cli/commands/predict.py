"""The command `blemish predict`. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import (
    Device,
    FalseAlarms,
    FollowLinks,
    MmPerPx,
    ModelOrBundle,
    Overwrite,
    Root,
    Threshold,
    Weights,
    load_scorer,
    read_wanted,
)
from blemish.errors import InputError

EXITS = {"REVIEW": 10, "NG": 11}  # with --exit-verdict


def predict(
    model: ModelOrBundle,
    *,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Images, folders of images, and CSV manifests.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for the results.")],
    weights: Weights = None,
    device: Device = "auto",
    save_maps: Annotated[
        bool, typer.Option("--save-maps", help="Write DIR/maps/NAME.npy too: float32, the image's height and width.")
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test/--no-self-test", help="Score a bundle's golden images first.")
    ] = True,
    false_alarms: FalseAlarms = "",
    threshold: Threshold = "",
    exit_verdict: Annotated[
        bool, typer.Option("--exit-verdict", help="End with 10 if the worst verdict is REVIEW, with 11 if it is NG.")
    ] = False,
    mm_per_px: MmPerPx = None,
    _root: Root = None,
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Score images and draw overlays.

    MODEL is a model file, or a bundle that blemish export has written: a bundle needs no torch, and is faster.
    Writes DIR/results.jsonl, one line per image, and DIR/overlays/NAME.png. An image that cannot be used does not stop
    the others; the exit code is then 2.
    """
    from blemish.data.inputs import check_apart, check_root, name_images, remarks
    from blemish.printing.bars import error_console, follow, say
    from blemish.printing.figures import print_predictions
    from blemish.results.folder import check_results, results_folder
    from blemish.results.lines import summarise
    from blemish.results.write import write, write_model
    from blemish.runtime.bundle import identity

    check_root(paths)
    images = name_images(paths)
    check_apart([out], paths, files=[model, weights])
    check_results(out, overwrite=overwrite)
    wanted = read_wanted(false_alarms, threshold)
    scorer = load_scorer(model, weights=weights, device=device, images=len(images), self_test=self_test, wanted=wanted)
    say(remarks(paths, (path for path, _ in images), bits=scorer.header_.bits))
    with results_folder(out, overwrite=overwrite):
        write_model(out, scorer.header_, sha256=identity(model))
        records = write(scorer, images, out, save_maps=save_maps, mm_per_px=mm_per_px)
        summary = summarise(follow(records, total=len(images), console=error_console()))
    print_predictions(summary, scorer.header_, out=out)
    if summary.failed:
        raise typer.Exit(InputError.exit_code)
    if exit_verdict and summary.worst_verdict != "OK":
        raise typer.Exit(EXITS[summary.worst_verdict])
