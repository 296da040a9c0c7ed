"""What is told of an image that is NG: a command that is run, or an address that JSON is posted to."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from blemish.data.listing import path_text
from blemish.errors import BlemishError, InputError, printable
from blemish.results.lines import Record
from blemish.watching.state import State

TIMEOUT = 10.0  # s for a command, or an answer
STDERR = 2


class HookError(BlemishError):
    """A command or an address that has failed; the text says how."""


class Hook(Protocol):
    """What can be told of an image."""

    def __call__(self, path: Path, record: Record) -> None:
        """Tell of an image, by its path and its record; raises HookError if that fails or takes too long."""


def read_hook(text: str, *, timeout: float = TIMEOUT) -> Hook:
    """Return what a text stands for: an address of http or https, or else a command with its arguments.

    Raises InputError for a text that is neither, and a command that is not there.
    """
    if "://" in (text.split(maxsplit=1) or [""])[0]:
        address = urlsplit(text.strip())
        if address.scheme.lower() not in ("http", "https") or not address.hostname:
            raise InputError(f"on-ng: {printable(text)} is not allowed, expected an address of http or https")
        return Webhook(text.strip(), timeout=timeout)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"on-ng: {printable(text)} is not understood: {str(error).lower()}") from None
    if not words:
        raise InputError("on-ng: empty; expected a command or an address of http or https")
    if shutil.which(words[0]) is None:
        raise InputError(f"on-ng: {printable(words[0])}: no such command, or it may not be run")
    return Command(words, timeout=timeout)


class Command:
    """Runs a command, without a shell, with the path of the image, the verdict and the score behind its arguments.

    What it prints goes to stderr. One that takes too long is killed, with all that it has started.
    """

    def __init__(self, words: list[str], *, timeout: float) -> None:
        self.words, self.timeout = words, timeout

    def __call__(self, path: Path, record: Record) -> None:
        """Run the command; see `Hook`."""
        name = printable(self.words[0])
        line = [*self.words, os.path.abspath(path), record["verdict"], f"{record['score']:.6f}"]
        try:
            # A group of its own: Ctrl-C is not meant for it, and what it has started can be ended with it.
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=STDERR, start_new_session=True)
        except (OSError, ValueError) as error:
            raise HookError(f"{name}: cannot be run: {getattr(error, 'strerror', None) or error}") from error
        try:
            code = process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise HookError(f"{name}: took more than {self.timeout:g} s and was killed") from None
        if code:
            raise HookError(f"{name}: " + (f"ended with {code}" if code > 0 else f"was killed by signal {-code}"))


class Webhook:
    """Posts the record of the image as JSON; redirections are not followed, and the answer is not read."""

    def __init__(self, address: str, *, timeout: float) -> None:
        self.address, self.timeout = address, timeout

    def __call__(self, path: Path, record: Record) -> None:
        """Post the record; see `Hook`."""
        import httpx

        host = printable(urlsplit(self.address).netloc.rpartition("@")[2])  # before it there may be a password
        said = json.dumps({**record, "path": path_text(Path(os.path.abspath(path)))}, allow_nan=False)
        headers = {"Content-Type": "application/json"}
        try:
            with httpx.stream("POST", self.address, content=said, headers=headers, timeout=self.timeout) as answer:
                status = answer.status_code
        except httpx.TimeoutException:
            raise HookError(f"{host}: no answer within {self.timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise HookError(f"{host}: {printable(error) or type(error).__name__}") from None
        if not 200 <= status < 300:
            raise HookError(f"{host}: answered {status}")


class Teller:
    """Tells of what the state says is still to be told, in order, in a thread of its own: nobody waits for it.

    What has failed is said once and not tried again. A kill can have an image told twice, never not at all.
    """

    def __init__(self, state: State, hook: Hook, *, warn: Callable[[str], None], timeout: float = TIMEOUT) -> None:
        self._state, self._hook, self._warn, self._patience = state, hook, warn, timeout + 2
        self._news, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="blemish-on-ng", daemon=True)

    def __enter__(self) -> "Teller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._news.set()
        self._thread.join(self._patience)

    def wake(self) -> None:
        """Say that there is something to tell."""
        self._news.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                told = self._tell()
            except BlemishError as error:  # of the state
                self._warn(f"on-ng: {error}")
                told = not self._stop.wait(5)
            if not told:
                self._news.wait()
                self._news.clear()

    def _tell(self) -> bool:
        self._news.clear()
        if (found := self._state.untold()) is None:
            return False
        number, path, line = found
        try:
            self._hook(path, json.loads(line))
        except HookError as error:
            self._warn(f"on-ng: {error} ({printable(path)})")
        self._state.done(number, "tell")
        return True
