"""The command `blemish serve`. Nothing heavy is imported before it runs."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from blemish.errors import InputError

if TYPE_CHECKING:
    from blemish.history.kept import Keep


def serve(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", help="Bundles that blemish export has written.")],
    *,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="The address to listen on; beyond this machine only with --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes one that is free.")] = 8765,
    db: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the history is kept, postgresql://...; default: a file in DIR."),
    ] = None,
    token: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A file of one or two lines: the token to look and to correct, and the one "
            "to change thresholds and models as well.",
        ),
    ] = None,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder of the history and of the images that are kept.")
    ] = Path("blemish-data"),
    keep: Annotated[str, typer.Option(metavar="none|ng|all", help="Which images are kept.")] = "all",
    keep_days: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=36500, help="Inspections that are older go; default: none does."),
    ] = None,
    keep_gb: Annotated[
        float, typer.Option(metavar="GB", min=0, max=1e9, help="Kept images above this go, the oldest first.")
    ] = 20,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name by which the server may be called."),
    ] = None,
) -> None:
    """Judge images over HTTP, and remember what was judged.

    The address that is printed is that of a page: parts as they are judged, images to drop, the history. A bundle
    answers by the name of its folder: POST an image to /v1/models/NAME/inspections. SIGTERM or Ctrl-C ends the server
    once what it has accepted is answered.
    """
    from blemish.checks import word

    try:
        from blemish.history.kept import KEEPS
        from blemish.service.serve import serve as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("blemish"):
            raise
        name = error.name.partition(".")[0]
        raise InputError(f"{name} is not installed; pip install 'blemish[service]'") from None
    word("keep", keep, KEEPS)
    say = partial(print, flush=True)
    run(
        bundles, data, host=host, port=port, database=db, token=token, keep=cast("Keep", keep),
        age=None if keep_days is None else timedelta(days=keep_days), room=int(keep_gb * 1e9),
        hosts=allow_host or (), say=say,
    )  # fmt: skip
