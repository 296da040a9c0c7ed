"""Who judges the images of a watched folder: a model of our own, or a server."""

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from blemish.data.listing import path_text
from blemish.errors import BlemishError, InputError, printable
from blemish.model.scorer import Scorer
from blemish.results.lines import Record, failure
from blemish.results.write import Given, judged
from blemish.watching.scout import Arrived

REFUSED = (400, 413, 415, 422)  # what a server answers of an image that cannot be used
FAILED, TRIES = (500, 504), 3  # what it answers where an image may be at fault; of others one waits for better times
AWAY = (0, 502, 503)  # what stands for a server that is away, also where it is asked for the first time
DELAY = 1.0  # s between tries

Answer = TypeVar("Answer")


class Judge(Protocol):
    """Who judges images; `writes`: whether their records belong into results.jsonl."""

    writes: bool

    def __call__(self, images: Iterable[tuple[Arrived, str]]) -> Generator[Record, None, None]:
        """Yield the record of each image, in order; given with each is the name of its outputs.

        Images are taken a few ahead; once there are no more, what was taken is finished at once. It may end early
        where it is stopped. Raises StorageError if outputs cannot be written.
        """


class Local:
    """A scorer that draws overlays into a folder of results."""

    writes = True

    def __init__(self, scorer: Scorer, out: Path, *, mm_per_px: float | None = None) -> None:
        self._scorer, self._out, self._mm_per_px = scorer, out, mm_per_px

    def __call__(self, images: Iterable[tuple[Arrived, str]]) -> Generator[Record, None, None]:
        """Judge images; see `Judge`."""
        given = (Given(one.path, name, one.data) for one, name in images)
        return judged(self._scorer, given, self._out, mm_per_px=self._mm_per_px)


class Client(Protocol):
    """What is asked of a server, as `blemish.client.Client` does; errors have the status of the answer, or 0."""

    def inspect(self, model: str, image: bytes, *, name: str, source: str) -> Any: ...  # noqa: D102
    def page(self, *, limit: int, model: str, name: str, source: str) -> Any: ...  # noqa: D102


class Served:
    """A server that judges images and remembers them, each under its path below the folder.

    After an answer that did not come the server is asked whether it has the image already. One that is away is waited
    for, which `warn` is told once.
    """

    writes = False

    def __init__(
        self,
        client: Client,
        model: str,
        *,
        folder: Path,
        source: str,
        stop: threading.Event,
        warn: Callable[[str], None],
    ) -> None:
        self._client, self._model, self._folder, self._source = client, model, folder, source
        self._stop, self._warn, self._said = stop, warn, ""

    def __call__(self, images: Iterable[tuple[Arrived, str]]) -> Generator[Record, None, None]:
        """Have images judged; see `Judge`."""
        for one, _ in images:
            if (record := self._record(one)) is None:
                return
            yield record

    def _record(self, one: Arrived) -> Record | None:
        """Return the record of an image; None if the watch is stopped before there is one."""
        if isinstance(one.data, InputError):
            return failure(one.path, one.data)
        name = path_text(one.path.relative_to(self._folder))
        tries, asking = 0, printable(name) != name  # the server knows it by a name that is written otherwise
        while True:
            try:
                found = (asking and self._known(name, one.seen.sha256)) or self._client.inspect(
                    self._model, one.data, name=name, source=self._source
                )
            except BlemishError as error:
                status, asking = getattr(error, "status", 0), True
                tries += status in FAILED
                if status in REFUSED or tries >= TRIES:
                    return failure(one.path, InputError(f"{printable(one.path)}: {error}"))
                if str(error) != self._said:
                    self._warn(f"{error}; trying again")
                self._said = str(error)
                if self._stop.wait(DELAY):
                    return None
                continue
            self._said = ""
            return _record_of(one.path, found)

    def _known(self, name: str, sha256: str | None) -> Any:
        chosen = {"model": self._model, "name": printable(name), "source": self._source}
        page: Sequence[Any] = self._client.page(limit=50, **chosen).inspections
        same = [found for found in page if found.name == printable(name)]
        return same[0] if same and same[0].sha256 == sha256 else None


def answered(ask: Callable[[], Answer], *, stop: threading.Event, warn: Callable[[str], None]) -> Answer | None:
    """Return what a server answers; one that is away is waited for, which `warn` is told once. None if stopped."""
    said = ""
    while not stop.is_set():
        try:
            return ask()
        except BlemishError as error:
            if getattr(error, "status", None) not in AWAY:
                raise
            if str(error) != said:
                warn(f"{error}; trying again")
            said = str(error)
        stop.wait(DELAY)
    return None


def _record_of(path: Path, found: Any) -> Record:
    return {
        "path": path_text(path),
        "score": found.score,
        "thresholds": asdict(found.thresholds),
        "verdict": found.verdict,
        "regions": [region.plain for region in found.regions],
        "inspection": found.id,
    }
