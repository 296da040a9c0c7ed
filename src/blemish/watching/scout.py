"""Finds the images of a watched folder that are new and complete, and reads them a few ahead, in a thread of its own.

Only this thread touches the folder: a share that does not answer holds up nothing else. What it finds is bounded, in
number and in bytes, however many images wait.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Self

from blemish.errors import InputError, StorageError, printable
from blemish.watching.events import TICK
from blemish.watching.folder import Folder
from blemish.watching.looking import Stamp, look, read
from blemish.watching.state import Seen, State

WAITING = 2000  # images that are known to wait; of more the oldest, and then they are looked for again
AHEAD = 4  # images that are read ahead
BYTES = 64_000_000  # of them all, but for one
TURN = 0.5  # s after which what has changed is looked at again, however many images wait
PATIENCE = 10.0  # s without a change after which what cannot be read is broken


@dataclass(frozen=True, slots=True)
class Arrived:
    """An image that is complete: its path, what tells it again, the bytes of its file or why there are none.

    since: when it was last seen to change; read: when it was read (both monotonic, s); final: it is not to be waited
    for any longer.
    """

    path: Path
    seen: Seen
    data: bytes | InputError
    since: float
    read: float
    final: bool = False


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A file that has still to be complete: how it was when it was looked at, and since when; how long it must rest.

    since_fault: when it could first not be opened.
    """

    path: Path
    stamp: Stamp
    since: float
    rest: float
    since_fault: float | None = None


class Scout:
    """The thread; within its context images come out of `next`, the oldest first.

    `done` says that an image is settled in the state, `again` that it could not be decoded: it is waited for until it
    changes, or has been left alone for PATIENCE.
    """

    def __init__(self, folder: Folder, state: State, *, settle: float, warn: Callable[[str], None]) -> None:
        """settle: s in which size and time of a file must stay as they are before it is read."""
        self._folder, self._state, self._settle, self._warn = folder, state, settle, warn
        self.patience = max(PATIENCE, settle)
        self._files: dict[bytes, _Waiting] = {}
        self._more = False  # images are waiting that are not known
        self._handed: dict[bytes, Stamp] = {}  # read, and not yet settled
        self._back: deque[tuple[Arrived, bool]] = deque()
        self._ready: deque[Arrived] = deque()
        self._news, self._stop = threading.Condition(), threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="blemish-scout", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2)  # a share that hangs is left alone

    def next(self, wait: float = 0) -> Arrived | None:
        """Return the next image; None if there is none within `wait` s. Raises what has ended the thread."""
        with self._news:
            self._news.wait_for(lambda: self._ready or self._fault, wait)
            if self._ready:
                self._news.notify_all()  # there is room
                return self._ready.popleft()
            if self._fault:
                raise self._fault
            return None

    def done(self, arrived: Arrived) -> None:
        """Say that an image is settled."""
        self._back.append((arrived, False))

    def again(self, arrived: Arrived) -> None:
        """Say that an image could not be decoded, and may not be complete."""
        self._back.append((arrived, True))

    def _run(self) -> None:
        try:
            said = ""
            while not self._stop.is_set():
                try:
                    self.step()
                except StorageError as error:  # of the state; a full disk may have room again
                    if str(error) != said:
                        self._warn(f"error: {error}; trying again")
                    said = str(error)
                    self._stop.wait(1)
        except BaseException as error:
            with self._news:
                self._fault = error
                self._news.notify_all()
        finally:
            self._folder.close()

    def step(self) -> None:
        """Look once at what has changed, and read what is complete."""
        told = [(look(path), path) for path in self._folder.changed(lambda: self._stop.wait(TICK / 1000))]
        for found, path in sorted((found, path) for found, path in told if found):
            self._found(self._folder.name_of(path), path, found)
        while self._back:
            self._take_back(*self._back.popleft())
        self._folder.look_if_due(self._look, hurry=self._more and len(self._files) < WAITING // 2)
        until = time.monotonic() + TURN
        for name in sorted(self._files, key=lambda name: (self._files[name].stamp.modified, name)):
            if not self._waits_for_room(until) or self._stop.is_set():
                break
            self._offer(name, self._files[name])

    def _look(self, images: Iterator[tuple[Path, Stamp]]) -> None:
        """Take up what a look at the whole folder finds, the oldest images first."""
        new = ((found, self._folder.name_of(path), path) for path, found in images)
        unknown = heapq.nsmallest(WAITING + 1, (one for one in new if self._is_new(one[1], one[0])))
        dropped, self._more = self._more, False  # of those that were told of some are not known any more
        for found, name, path in unknown:
            if self._found(name, path, found) and not dropped:
                self._folder.unannounced(path)

    def _is_new(self, name: bytes, found: Stamp) -> bool:
        return self._handed.get(name) != found and not self._state.is_settled(name, found)

    def _found(self, name: bytes, path: Path, found: Stamp) -> bool:
        """Take up a file, unless it is known as it is; tell whether it was."""
        known = self._files.get(name)
        if (known and known.stamp == found) or not self._is_new(name, found):
            return False
        if known is None and (self._more or len(self._files) >= WAITING):  # the older ones come first
            self._more = True
            return False
        self._files[name] = _Waiting(path, found, time.monotonic(), self._settle)
        return known is None

    def _take_back(self, arrived: Arrived, again: bool) -> None:
        name, stamp = arrived.seen.name, arrived.seen.stamp
        if self._handed.get(name) == stamp:
            del self._handed[name]
        if again and name not in self._files:
            self._files[name] = _Waiting(arrived.path, stamp, arrived.since, self.patience)

    def _waits_for_room(self, until: float) -> bool:
        with self._news:
            return self._news.wait_for(self._has_room, max(0.0, until - time.monotonic()))

    def _has_room(self) -> bool:
        held = sum(len(one.data) for one in self._ready if isinstance(one.data, bytes))
        return len(self._ready) < AHEAD and held < BYTES

    def _offer(self, name: bytes, file: _Waiting) -> None:
        """Read a file that has been left alone long enough, and hand it on if it is new."""
        now = time.monotonic()
        if now - file.since < file.rest or name in self._handed:
            return
        try:
            data, found = read(file.path)
        except FileNotFoundError:
            self._gone(name, file)
            return
        except (OSError, ValueError) as error:
            self._unreadable(name, file, error)
            return
        if found != file.stamp:
            if (found := found or look(file.path)) is None:
                self._gone(name, file)
            else:
                rest = self._settle if found != file.stamp else file.rest
                self._files[name] = _Waiting(file.path, found, now, rest)
            return
        del self._files[name]
        digest = sha256(data).hexdigest()
        if self._state.has(name, digest):  # touched, or copied anew
            self._state.restamp(Seen(name, found, digest))
            return
        final = now - file.since >= self.patience
        self._hand(Arrived(file.path, Seen(name, found, digest), data, file.since, time.monotonic(), final))

    def _hand(self, arrived: Arrived) -> None:
        self._handed[arrived.seen.name] = arrived.seen.stamp
        with self._news:
            self._ready.append(arrived)
            self._news.notify_all()

    def _gone(self, name: bytes, file: _Waiting) -> None:
        """Say that an image has gone, unless it has another name now or the whole folder is away."""
        if not self._folder.is_there():
            self._files[name] = replace(file, since=time.monotonic())
            return
        del self._files[name]
        names = [*(one.stamp.number for one in self._files.values()), *(one.number for one in self._handed.values())]
        if file.stamp.number not in names:
            self._warn(f"{printable(file.path)}: gone before it was judged")

    def _unreadable(self, name: bytes, file: _Waiting, error: Exception) -> None:
        """Try a file again for a while, and then give it up; a folder that is away is waited for."""
        now = time.monotonic()
        first = file.since_fault or now
        if now - first < self.patience or not self._folder.is_there():
            self._files[name] = replace(file, since=now, rest=1.0, since_fault=first)
            return
        del self._files[name]
        reason = getattr(error, "strerror", None) or str(error)
        fault = InputError(f"{printable(file.path)}: cannot be read: {reason.lower()}")
        self._hand(Arrived(file.path, Seen(name, file.stamp), fault, file.since, now, True))
