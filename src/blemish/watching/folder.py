"""A watched folder as it comes and goes: events where the system gives them, a look at all of it now and then.

Where no events come, as on many shares, that look is all there is. That is noticed: an image that a look finds and that
no event has told of means that from then on the folder is looked at every second.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blemish.errors import InputError, printable
from blemish.watching.events import Events, events
from blemish.watching.looking import Stamp, is_image, is_watched, walk

LOOK, POLL, RETRY = 10.0, 1.0, 1.0  # s between looks: with events, without, while the folder is away
SHARE = 10  # a look takes at most one part in so many of the time
BELATED = 2.0  # s after which an event does not come any more
SUSPECTS = 10


class Folder:
    """A folder that is watched by one thread, whose `warn` is told once of what hinders it.

    poll: s between looks if no events are to be waited for. beat: when the folder last answered (monotonic, s).
    """

    def __init__(
        self,
        path: Path,
        *,
        poll: float | None,
        warn: Callable[[str], None],
        listen: Callable[[Path], Events] = events,
    ) -> None:
        self.path, self.beat = path, time.monotonic()
        self._whole = path.absolute()  # events have whole paths
        self._name, self._poll, self._warn, self._listen = printable(path), poll, warn, listen
        self._events: Events | None = None
        self._due, self._away, self._opened = 0.0, "", (0, 0)
        self._sure = False  # a look that finds what no event has told of means something
        self._suspects: dict[str, float] = {}
        self._faults: set[str] = set()

    def name_of(self, path: Path) -> bytes:
        """Return the path of an image below the folder, as the system has it."""
        return os.fsencode(os.path.relpath(path, self.path))

    def is_there(self) -> bool:
        """Tell whether the folder is there, and the same as before."""
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._opened

    def close(self) -> None:
        """Wait for no events any more."""
        if self._events is not None:
            self._events.close()
        self._events = None

    def changed(self, pause: Callable[[], object]) -> Iterator[Path]:
        """Wait a moment, and yield the images that events have told of meanwhile; pause: waits where there are none."""
        self.beat = time.monotonic()
        told = self._told()
        if told is None:
            pause()
            return
        for text in told:
            path = Path(text)
            if path.is_relative_to(self._whole):
                path = self.path / path.relative_to(self._whole)
            self._suspects.pop(str(path), None)
            if is_image(path) and path.is_relative_to(self.path):
                if is_watched(path, self.path):
                    yield path
            elif path != self.path and os.path.isdir(path):  # what was in it before it was watched tells of nothing
                self._due, self._sure = 0.0, False
        late = [text for text, until in self._suspects.items() if time.monotonic() > until]
        if late and os.path.lexists(late[0]):
            self._deaf("images come without events")
        for text in late:
            self._suspects.pop(text, None)

    def unannounced(self, path: Path) -> None:
        """Take note of an image that was found by a look and is new."""
        if self._events is not None and self._sure and len(self._suspects) < SUSPECTS:
            self._suspects[str(path)] = time.monotonic() + BELATED

    def look_if_due(self, take: Callable[[Iterator[tuple[Path, Stamp]]], None], *, hurry: bool) -> None:
        """Look at the whole folder if it is time to, or in a hurry, and hand what is found to `take`."""
        begun = time.monotonic()
        if begun < self._due and not (hurry and not self._away):
            return
        faults: set[str] = set()
        try:
            self._open()
            take(self._alive(walk(self.path, fault=faults.add)))
        except (InputError, OSError) as error:
            reason = getattr(error, "strerror", None)
            self._lost(f"{self._name}: cannot be read: {reason.lower()}" if reason else str(error))
            return
        for line in sorted(faults - self._faults):
            self._warn(f"warning: {line}")
        self._faults = faults
        if self._away:
            self._warn(f"{self._name}: is back")
            self._away = ""
        now = time.monotonic()
        every = LOOK if self._events is not None else (self._poll or POLL)
        self._due, self._sure = now + max(every, SHARE * (now - begun)), True

    def _alive(self, found: Iterator[tuple[Path, Stamp]]) -> Iterator[tuple[Path, Stamp]]:
        for one in found:
            self.beat = time.monotonic()
            yield one

    def _told(self) -> list[str] | None:
        if self._events is None:
            return None
        try:
            return list(next(self._events))
        except (OSError, RuntimeError, StopIteration) as error:
            self._deaf(f"no events ({printable(error)[:200]})")
            return None

    def _open(self) -> None:
        """Wait for events of the folder that is there now; one that was mounted anew is another one."""
        found = os.stat(self.path)
        if (found.st_dev, found.st_ino) == self._opened:
            return
        self.close()
        self._opened, self._sure = (found.st_dev, found.st_ino), False
        if self._poll is None:
            self._events = self._listen(self._whole)
            self._told()  # from now on, before the first look

    def _deaf(self, why: str) -> None:
        self.close()
        self._poll = self._poll or POLL
        self._due = 0.0
        self._warn(f"{self._name}: {why}; looking every {self._poll:g} s")

    def _lost(self, line: str) -> None:
        self.close()
        self._opened = 0, 0
        self._due = time.monotonic() + RETRY
        if line != self._away:
            self._warn(f"{line}; waiting for it")
        self._away = line
