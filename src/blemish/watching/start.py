"""A watch put together from what a user has typed."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from os import fsencode
from pathlib import Path
from typing import Any

from blemish.data.listing import RESULTS_MARK
from blemish.errors import InputError, printable
from blemish.watching.folder import Folder
from blemish.watching.hook import Teller, read_hook
from blemish.watching.judging import Judge
from blemish.watching.looking import Stamp, walk
from blemish.watching.scout import Scout
from blemish.watching.state import Seen, State
from blemish.watching.watch import Counts, Watch, Ways


@dataclass(frozen=True, slots=True)
class Settings:
    """What is watched and how: see `Folder` and `Scout`; on_ng: as of `read_hook`."""

    folder: Path
    settle: float
    poll: float | None = None
    on_ng: str | None = None
    skip_existing: bool = False


def check(settings: Settings) -> None:
    """Refuse, before any work is done, what could not be watched or told of; raises InputError."""
    next(walk(settings.folder), None)
    if (settings.folder / RESULTS_MARK).exists():
        raise InputError(f"{printable(settings.folder)}: a folder of results; give one of images")
    if settings.on_ng is not None:
        read_hook(settings.on_ng)
    if settings.poll is None:
        try:
            import watchfiles  # noqa: F401
        except ModuleNotFoundError:
            ways = "pip install 'blemish[service]', or look every second with --poll 1"
            raise InputError(f"watchfiles is not installed; {ways}") from None


def run(
    settings: Settings, judge: Judge, state: State, *, lines: Path | None, ways: Ways, stop: threading.Event
) -> Counts:
    """Watch until `stop` is set, and return what was judged; lines: the results.jsonl, of a judge that writes it.

    Raises StorageError if the state cannot be used when it begins.
    """
    if not state.is_begun:
        state.begin(_lying(settings.folder) if settings.skip_existing else ())
    folder = Folder(settings.folder, poll=settings.poll, warn=ways.warn)
    scout = Scout(folder, state, settle=settings.settle, warn=ways.warn)
    with ExitStack() as stack:
        teller = None
        if settings.on_ng is not None:
            teller = stack.enter_context(Teller(state, read_hook(settings.on_ng), warn=ways.warn))
        watch = Watch(
            settings.folder, scout, judge, state,
            lines=lines, teller=teller, ways=ways, stop=stop, beat=lambda: folder.beat,
        )  # fmt: skip
        return watch.run()


def known_to(inspections: Iterable[Any]) -> Iterator[Seen]:
    """Yield what a server remembers of a folder, as the state has it; inspections: its own, the newest first."""
    for one in inspections:
        yield Seen(fsencode(one.name), Stamp(-1, -1, -1), one.sha256)


def _lying(folder: Path) -> Iterator[Seen]:
    for path, stamp in walk(folder):
        yield Seen(fsencode(path.relative_to(folder)), stamp)
