"""What the tests of watching share: a watch with a stub for a model, in a thread of its own or a process of its own."""

import json
import os
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from blemish.watching.judging import Local
from blemish.watching.place import watch_folder
from blemish.watching.start import Settings, run
from blemish.watching.watch import Ways
from stubs import Stub

QUICK = 0.05  # s that a file must rest
TESTS = Path(__file__).parent


def put(path, value=90, *, side=40):
    """Move a whole picture to its place at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    Image.new("L", (side, 32), value).save(draft, "PNG")
    os.replace(draft, path)
    return path


def lines(out):
    file = out / "results.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def names(out, folder):
    return [os.path.relpath(one["path"], folder) for one in lines(out)]


def until(true, *, seconds=20.0):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it has not come true"
        time.sleep(0.01)


class Watching:
    """A watch in a thread: `shown` are its records, `warned` its lines, `stop` ends it."""

    def __init__(self, folder, out, **options):
        self.folder, self.out, self.shown, self.warned = folder, out, [], []
        self.stop, self.counts, self.fault = threading.Event(), None, None
        self.scorer = options.pop("scorer", None) or Stub()
        self.settings = Settings(folder=folder, **{"settle": QUICK, **options})
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        ways = Ways(show=lambda record, ms: self.shown.append(record), warn=self.warned.append)
        try:
            with watch_folder(self.out) as state:
                judge = Local(self.scorer, self.out)
                lines = self.out / "results.jsonl"
                self.counts = run(self.settings, judge, state, lines=lines, ways=ways, stop=self.stop)
        except BaseException as error:
            self.fault = error

    def has(self, count):
        until(lambda: len(lines(self.out)) >= count or self.fault)
        self.ended(alive=True)
        return names(self.out, self.folder)

    def ended(self, *, alive=False):
        if not alive:
            self._thread.join(20)
            assert not self._thread.is_alive()
        if self.fault:
            raise self.fault


@contextmanager
def watching(folder, out, **options):
    """Watch meanwhile; what was raised in the thread is raised in the end."""
    folder.mkdir(exist_ok=True)
    watch = Watching(folder, out, **options)
    watch._thread.start()
    try:
        yield watch
    finally:
        watch.stop.set()
        watch._thread.join(20)
    watch.ended()
