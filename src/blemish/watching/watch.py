"""The watch itself: images are judged as they come, noted, written, shown and told of, each of them once.

What has happened to an image is decided by one row of the state. Before it is there the image is judged again after a
kill; once it is, its line in results.jsonl and what is told of it are made up for.
"""

import errno
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from blemish.data.inputs import output_name
from blemish.errors import InputError, StorageError, printable
from blemish.results.appending import append_lines
from blemish.results.lines import Record, as_line, failure
from blemish.verdict.threshold import Verdict
from blemish.watching.hook import Teller
from blemish.watching.judging import Judge
from blemish.watching.scout import Arrived, Scout
from blemish.watching.state import State

WAIT = 0.2  # s that are waited for an image before the stop is looked at
HOLD = 5.0  # s after which writing is tried again
# What the system says where the overlay of an image cannot have its name: as of `a.jpg` and `a.jpg.png/b.png`.
NAMES = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
STALLED = 10.0  # s without an answer of the folder after which it is said


@dataclass(slots=True)
class Counts:
    """How many images have each verdict, or could not be used."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Ways:
    """Where a watch says things: `show` is given each record and the ms from reading the image to it; `warn` lines."""

    show: Callable[[Record, float], None]
    warn: Callable[[str], None]


class Watch:
    """A watch of a folder; `run` returns what it has judged, once `stop` is set and the images at work are done.

    lines: the results.jsonl of a judge that writes; teller: who is to be told of NG. beat: when the folder last
    answered (monotonic, s).
    """

    def __init__(
        self,
        folder: Path,
        scout: Scout,
        judge: Judge,
        state: State,
        *,
        lines: Path | None,
        teller: Teller | None,
        ways: Ways,
        stop: threading.Event,
        beat: Callable[[], float],
    ) -> None:
        self._folder, self._scout, self._judge, self._state = folder, scout, judge, state
        self._lines, self._teller, self._ways, self._stop, self._beat = lines, teller, ways, stop, beat
        self._taken: deque[tuple[Arrived, str]] = deque()  # and not settled yet, with the names of their outputs
        self._written: int | None = None  # what was written last, and is not noted as such
        self._behind = lines is not None  # a line may be missing
        self._stalled = self._held = False
        self.counts = Counts()

    def run(self) -> Counts:
        """Watch until `stop` is set; raises StorageError if the state cannot be used when it begins."""
        self._catch_up()
        with self._scout:
            while not self._stop.is_set():
                try:
                    self._catch_up()
                    self._work()
                    self._look_at_share()
                    self._held = False
                except StorageError as error:  # a full disk may have room again
                    if not self._held:
                        self._ways.warn(f"error: {error}; waiting, nothing is lost")
                    self._held = True
                    self._stop.wait(HOLD)
        with suppress(StorageError):  # it was said; the next watch does it
            self._catch_up()
        return self.counts

    def _work(self) -> None:
        """Judge what is there; ends when no image waits."""
        if not self._taken:
            if (first := self._scout.next(WAIT)) is None:
                return
            self._taken.append((first, self._name(first)))
        with closing(self._judge(self._images())) as records:
            while (record := self._next(records)) is not None:
                self._settle(record)

    def _next(self, records: Iterator[Record]) -> Record | None:
        """Return the next record, None at the end; of an image whose overlay can have no name it is a failure."""
        try:
            return next(records, None)
        except StorageError as error:
            if getattr(error.__cause__, "errno", None) not in NAMES:
                raise
            one, name = self._taken[0]  # records come in order
            self._taken[0] = replace(one, final=True), name
            return failure(one.path, InputError(f"{printable(one.path)}: {error}"))

    def _images(self) -> Iterator[tuple[Arrived, str]]:
        """Yield what was taken and is to be judged, then what waits."""
        yield from tuple(self._taken)
        while not self._stop.is_set() and (one := self._scout.next()) is not None:
            self._taken.append((one, self._name(one)))
            yield self._taken[-1]

    def _name(self, one: Arrived) -> str:
        at_work = {name.casefold() for _, name in self._taken}
        relative = PurePosixPath(one.path.relative_to(self._folder))
        return output_name(relative, taken=lambda name: name in at_work or self._state.has_output(name))

    def _settle(self, record: Record) -> None:
        """Note, write and show the record of the image that was taken first."""
        one, name = self._taken[0]
        if "error" in record and not one.final:  # it may still be written
            self._taken.popleft()
            self._scout.again(one)
            return
        line, tells = as_line(record), self._teller is not None and record.get("verdict") == "NG"
        writes = self._lines is not None
        number = self._state.note(
            one.seen, one.path, line, output=name.casefold(), write=writes, tell=tells, written=self._written
        )
        self._written, self._behind = None, writes
        self._taken.popleft()
        self._scout.done(one)
        self._count(record)
        self._ways.show(record, 1000 * (time.monotonic() - one.read))
        if tells and self._teller:
            self._teller.wake()
        if self._lines is not None:
            append_lines(self._lines, line.encode())
            self._behind, self._written = False, number

    def _count(self, record: Record) -> None:
        if "error" in record:
            self.counts.failed += 1
        else:
            self.counts.verdicts[record["verdict"]] += 1

    def _catch_up(self) -> None:
        """Write the lines of which it is not known that they are there, and note what was written."""
        if self._written is not None:
            self._state.done(self._written, "write")
            self._written = None
        if self._behind and self._lines is not None:
            missing = self._state.unwritten()
            if missing:
                append_lines(self._lines, "".join(line for _, line in missing).encode())
            for number, _ in missing:
                self._state.done(number, "write")
            self._behind = False

    def _look_at_share(self) -> None:
        silent = time.monotonic() - self._beat() > STALLED
        if silent != self._stalled:
            self._ways.warn(
                f"{printable(self._folder)}: " + ("does not answer; waiting" if silent else "answers again")
            )
        self._stalled = silent
