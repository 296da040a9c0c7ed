"""What is too old or too much goes every few minutes, and what a crash has left goes at the start."""

import logging
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType
from typing import Self

from blemish.errors import StorageError
from blemish.history.history import ROOM, History

EVERY = 300.0  # s

log = logging.getLogger(__name__)


class Tidying:
    """A thread that tidies a history for as long as the block lasts; what goes wrong is in the log once."""

    def __init__(
        self, history: History, *, age: timedelta | None = None, room: int = ROOM, every: float = EVERY
    ) -> None:
        self._history, self._age, self._room, self._every = history, age, room, every
        self._ended = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        swept, failed = False, False
        while True:
            try:
                if not swept:
                    self._history.sweep()
                    swept = True
                self._history.tidy(age=self._age, room=self._room)
                failed = False
            except StorageError as error:
                if not failed:
                    log.warning("the history cannot be tidied for now: %s", error)
                failed = True
            if self._ended.wait(self._every):
                return
