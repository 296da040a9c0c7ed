"""A service from its bundles to its end: copies, processes, history, server."""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from blemish.history.history import ROOM, History
from blemish.history.kept import Keep
from blemish.runtime.engines import available_threads
from blemish.service.app import make_app
from blemish.service.copies import own_folder
from blemish.service.events import Events
from blemish.service.http.server import gone_in_time, listen, run
from blemish.service.http.tokens import Tokens, read_tokens
from blemish.service.service import Service
from blemish.service.tidying import Tidying
from blemish.service.work.loading import Loading
from blemish.service.work.models import take

PATIENCE = 3.0  # s that a change of the history waits for others: with what an image may take, less than an end may
MOST_WORKERS = 16  # each holds all models


def serve(
    bundles: Sequence[Path],
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    database: str | None = None,
    token: Path | None = None,
    keep: Keep = "all",
    age: timedelta | None = None,
    room: int = ROOM,
    hosts: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Serve bundles until the process is told to end; say: is called with the address once images can be sent.

    age, room: inspections that are older go, and so do the oldest images above so many bytes.
    Raises InputError for a bundle, a token file or an address that cannot be used, ModelFileError for a bundle that is
    damaged or fails its self-test, StorageError for a data folder or a database that cannot be used.
    """
    logging.raiseExceptions = False  # a log that cannot be written stops nothing
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # else a line for each request that it refuses
    tokens = read_tokens(token) if token is not None else Tokens()
    with (
        gone_in_time() as go,
        closing(listen(host, port, guarded=token is not None)) as listening,
        own_folder(data) as own,
    ):
        models = take(bundles, own)
        workers = min(available_threads(), MOST_WORKERS)
        with (
            closing(History.open(data, url=database, keep=keep, patience=PATIENCE)) as history,
            Loading(models, own, workers=workers) as loading,
            Tidying(history, age=age, room=room),
        ):
            service, events = Service(loading, history), Events(history)
            app = make_app(service, events, tokens=tokens, hosts=[host, *hosts])
            place = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"

            def ending() -> None:
                go()
                events.close()

            run(app, listening, begun=lambda: say(f"serving {', '.join(models)} at {place}"), ending=ending)
