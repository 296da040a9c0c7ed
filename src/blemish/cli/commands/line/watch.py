"""The command `blemish watch`. Nothing heavy is imported before it runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import FalseAlarms, MmPerPx, Threshold, load_scorer, read_wanted
from blemish.errors import InputError

if TYPE_CHECKING:
    from blemish.verdict.threshold import Budget, Thresholds
    from blemish.watching.judging import Judge
    from blemish.watching.start import Settings
    from blemish.watching.state import State
    from blemish.watching.watch import Ways


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that images come into, at any depth.")],
    *,
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="A bundle of blemish export, or a model file; with --server the name of a model there, needless if "
            "there is only one.",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of the results: a new one, or to go on with.")
    ] = None,
    server: Annotated[str, typer.Option(metavar="URL", help="A blemish serve that judges and remembers instead.")] = "",
    token: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file whose first word is the token of the server.")
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="NAME", help="What the server calls this folder; default: its path.")
    ] = "",
    on_ng: Annotated[
        str,
        typer.Option(
            metavar="COMMAND|URL",
            help="Run for each NG, without a shell, with path, verdict and score; or an address that its record is "
            "posted to as JSON. 10 s at most; a failure is said and stops nothing.",
        ),
    ] = "",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="At the very first start pass over the images that are there.")
    ] = False,
    settle: Annotated[
        float, typer.Option(metavar="S", help="How long size and time of a file must stay as they are.")
    ] = 0.5,
    poll: Annotated[
        float | None, typer.Option(metavar="S", help="Wait for no events, look every S seconds; for shares.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No lines for images that could be judged.")] = False,
    false_alarms: FalseAlarms = "",
    threshold: Threshold = "",
    mm_per_px: MmPerPx = None,
) -> None:
    """Judge each new image of a folder once, as soon as it is complete.

    Writes to --out what blemish predict writes, and goes on with it when it is started again: nothing is lost or
    judged twice, whenever it ends. Images that are there already when it starts are judged too, unless they have been.
    A file that is replaced by another under its name is a new image; one that only was touched is not. Images are taken
    in the order of their time of modification. SIGTERM or Ctrl-C ends it once the images at work are done, with exit
    code 0.
    """
    from blemish.checks import number
    from blemish.printing.watched import print_watched, warn
    from blemish.watching.start import Settings, check
    from blemish.watching.watch import Ways

    settings = Settings(
        folder=folder,
        settle=number("settle", settle, most=3600, rule="seconds above 0, at most 3600"),
        poll=None if poll is None else number("poll", poll, most=3600, rule="seconds above 0, at most 3600"),
        on_ng=on_ng or None,
        skip_existing=skip_existing,
    )
    check(settings)
    ways = Ways(show=partial(print_watched, quiet=quiet), warn=warn)
    if bool(server) == bool(out):
        raise InputError("out, server: expected one of both")
    if out is not None:
        if not model:
            raise InputError("model: is missing; give a bundle or a model file")
        if token or source:
            raise InputError("token, source: are for --server only")
        _watch_here(settings, ways, Path(model), out, wanted=read_wanted(false_alarms, threshold), mm_per_px=mm_per_px)
        return
    if false_alarms or threshold or mm_per_px or skip_existing:
        raise InputError("false-alarms, threshold, mm-per-px, skip-existing: are for --out only")
    _watch_for_server(settings, ways, server, model=model, token=token, source=source)


def _watch_here(
    settings: "Settings",
    ways: "Ways",
    model: Path,
    out: Path,
    *,
    wanted: "Budget | Thresholds | None",
    mm_per_px: float | None,
) -> None:
    from blemish.data.inputs import check_apart
    from blemish.results.folder import LINES
    from blemish.runtime.bundle import identity
    from blemish.watching.judging import Local
    from blemish.watching.place import check_watch_folder, note_model, watch_folder

    check_apart([out], [], files=[settings.folder, model])
    check_watch_folder(out)
    scorer = load_scorer(model, images=1, wanted=wanted)
    with watch_folder(out) as state:
        note_model(out, scorer.header_, sha256=identity(model))
        with _stopping() as stop:
            _run(settings, ways, Local(scorer, out, mm_per_px=mm_per_px), state, lines=out / LINES, stop=stop)


def _watch_for_server(
    settings: "Settings", ways: "Ways", url: str, *, model: str, token: Path | None, source: str
) -> None:
    from blemish.client import Client
    from blemish.data.listing import read_file
    from blemish.errors import printable
    from blemish.watching.judging import Served, answered
    from blemish.watching.start import known_to
    from blemish.watching.state import State

    words = read_file(token).decode("latin-1").split() if token else [None]
    if not words:
        raise InputError(f"{printable(token)}: empty; expected the token of the server")
    source = printable(source or f"watch:{settings.folder.resolve()}")  # as the history has it
    if len(source.encode()) > 255:
        raise InputError("source: the path of the folder is too long for one; give --source, at most 255 bytes")
    with Client(url, token=words[0]) as client, State(None) as state, _stopping() as stop:

        def begin() -> str:
            names = [one.name for one in client.models()]
            if not (model in names or (not model and len(names) == 1)):
                given = printable(model) or "none"
                raise InputError(f"model: {given} is not allowed, the server has {', '.join(names)}")
            state.begin(known_to(client.inspections(model=model or names[0], source=source)))
            return model or names[0]

        name = answered(begin, stop=stop, warn=ways.warn)
        if name is not None:
            judge = Served(client, name, folder=settings.folder, source=source, stop=stop, warn=ways.warn)
            _run(settings, ways, judge, state, lines=None, stop=stop)


def _run(
    settings: "Settings", ways: "Ways", judge: "Judge", state: "State", *, lines: Path | None, stop: threading.Event
) -> None:
    from blemish.errors import printable
    from blemish.printing.watched import print_watch_end
    from blemish.watching.start import run

    ways.warn(f"watching {printable(settings.folder)}; Ctrl-C ends it")
    counts = run(settings, judge, state, lines=lines, ways=ways, stop=stop)
    print_watch_end(counts.verdicts, counts.failed)


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield what SIGTERM and Ctrl-C set; the second of them ends everything at once."""
    stop = threading.Event()

    def ask(_: int, __: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
