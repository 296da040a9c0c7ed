"""stdout and stderr, watched: what cannot be written is an error of blemish's own, and Python adds nothing to it."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from blemish.errors import StorageError


class Watched:
    """A stream whose faults are StorageErrors: click and rich, which end a program in ways of their own, know none.

    One that was closed before the program began is at fault once anything is written to it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.fault = ""
        self._raised = False
        self._closed = stream is None
        # What is opened next gets the free number of a closed stream: nobody's file, while this one has it.
        self._stream = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        with suppress(AttributeError):
            self._stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]

    def write(self, text: str) -> int:
        """Write a text; raises StorageError if that fails."""
        with self._watching():
            if self._closed and text:
                raise OSError("it is closed")
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is kept back; raises StorageError if that fails."""
        with self._watching():
            self._stream.flush()

    def finish(self) -> str:
        """Write what is kept back, and return what is to be said of a fault that was not raised yet, if any."""
        told = self._raised
        with suppress(StorageError):
            self.flush()
        return self._message() if self.fault and not told else ""

    def release(self) -> None:
        """Let Python end in peace: what it would still write, and complain about, goes nowhere."""
        if self._closed:
            self._stream.close()
        elif self.fault:
            with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fault = self.fault or (error.strerror or str(error)).lower()
            # A thread that draws would die with a traceback; the main thread finds the fault when it writes or ends.
            if threading.current_thread() is threading.main_thread():
                self._raised = True
                raise StorageError(self._message()) from None

    def _message(self) -> str:
        return f"the output cannot be written: {self.fault}"

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # a way past `write`, which click takes
            raise AttributeError(name)
        return getattr(self._stream, name)


@contextmanager
def watched_output() -> Iterator[tuple[Watched, Watched]]:
    """Watch stdout and stderr meanwhile, and yield them."""
    before = sys.stdout, sys.stderr
    streams = Watched(before[0]), Watched(before[1])
    sys.stdout, sys.stderr = streams
    try:
        yield streams
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.release()
