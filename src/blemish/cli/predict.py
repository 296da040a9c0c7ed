"""The command `blemish predict`. Nothing heavy is imported before it runs."""

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import Device, FollowLinks, ModelOrBundle, Overwrite, Weights, load_scorer
from blemish.errors import InputError


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
    _follow_links: FollowLinks = False,
    overwrite: Overwrite = False,
) -> None:
    """Score images and draw overlays.

    MODEL is a model file, or a bundle that blemish export has written: a bundle needs no torch, and is faster.
    Writes DIR/results.jsonl, one line per image, and DIR/overlays/NAME.png. An image that cannot be used does not stop
    the others; the exit code is then 2.
    """
    from blemish.data.inputs import check_apart, name_images, remarks
    from blemish.printing.bars import error_console, follow, say
    from blemish.printing.figures import print_predictions
    from blemish.results.folder import check_results, results_folder
    from blemish.results.lines import summarise
    from blemish.results.write import write

    images = name_images(paths)
    check_apart([out], paths, files=[model, weights])
    check_results(out, overwrite=overwrite)
    scorer = load_scorer(model, weights=weights, device=device, images=len(images), self_test=self_test)
    say(remarks(paths, (path for path, _ in images), bits=scorer.header_.bits))
    with results_folder(out, overwrite=overwrite):
        records = write(scorer, images, out, save_maps=save_maps)
        summary = summarise(follow(records, total=len(images), console=error_console()))
    print_predictions(summary, threshold=scorer.threshold_, out=out)
    if summary.failed:
        raise typer.Exit(InputError.exit_code)
