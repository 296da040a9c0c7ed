"""What happens, as it happens: server-sent events of every inspection that comes in or is corrected.

The database is asked twice a second while somebody listens, so that what other processes put into it is seen as well.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from anyio import to_thread

from blemish.errors import BlemishError
from blemish.history.history import History
from blemish.service.answers import Inspected
from blemish.service.http.faults import RefusedError

EVERY = 0.5  # s
AGAIN = 50  # the newest that are looked at once more: numbers may come out of turn
LISTENERS = 50
QUIET = 15.0  # s after which a comment shows that the connection lives
HELD = 200  # events that a slow listener may be behind

log = logging.getLogger(__name__)
Queue = asyncio.Queue[bytes | None]


class Events:
    """The events of a history, for any number of listeners up to 50; all of it happens in the server's event loop."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._listeners: set[Queue] = set()
        self._asking: asyncio.Task[None] | None = None
        self._last = 0, 0  # the highest numbers of inspections and of corrections
        self._seen: dict[int, str] = {}  # the newest inspections, with the verdicts that stand

    def listen(self) -> AsyncIterator[bytes]:
        """Return the events from now on, as they are sent; refuses with 503 one listener too many."""
        if len(self._listeners) >= LISTENERS:
            raise RefusedError(503, "too many pages listen; try again", headers={"Retry-After": "5"})
        return self._events()

    def close(self) -> None:
        """End all connections: the server ends."""
        for queue in self._listeners:
            _put(queue, None)

    async def _events(self) -> AsyncIterator[bytes]:
        queue: Queue = asyncio.Queue(HELD)
        self._listeners.add(queue)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            yield b": welcome\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), QUIET)
                except TimeoutError:
                    event = b": quiet\n\n"
                if event is None:
                    return
                yield event
        finally:
            self._listeners.discard(queue)

    async def _ask(self) -> None:
        self._seen = {}
        try:
            first = True
            while self._listeners:
                try:
                    page = await to_thread.run_sync(self._newest, first)
                except BlemishError as error:
                    log.warning("events: %s", error)
                    await asyncio.sleep(10 * EVERY)
                    continue
                fresh = [one for one in page if self._seen.get(one.id) != one.standing]
                newest = self._last[0] - AGAIN
                self._seen = {one.id: one.standing for one in page if one.id > newest}
                for one in [] if first else fresh:
                    data = b"data: %b\n\n" % one.model_dump_json().encode()
                    for queue in self._listeners:
                        _put(queue, data)
                first = False
                await asyncio.sleep(EVERY)
        finally:
            self._asking = None

    def _newest(self, first: bool) -> list[Inspected]:
        if first:
            self._last = self._history.latest()
        inspection, correction = self._last
        found, corrected = self._history.since(inspection - AGAIN, correction)
        self._last = max([inspection, *(one.id for one in found)]), corrected
        return [Inspected.of(one) for one in found]


def _put(queue: Queue, event: bytes | None) -> None:
    """Give an event to a listener; one that has fallen behind too far is let go, and its page asks anew."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        event = None
    queue.put_nowait(event)
