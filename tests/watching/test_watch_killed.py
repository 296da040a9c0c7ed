"""kill -9 before and after each step of a watch: the next one goes on, and no image is lost or judged twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from watched import TESTS, lines, names, put

# A watch that is killed before or after the n-th call of a step; it ends by itself once all images are settled.
RUNNER = """
import os, signal, sys, threading
from pathlib import Path
from blemish.results import appending, write
from blemish.watching import hook, scout, state, watch
from watched import Watching

step, when, number, folder, out, told, count = sys.argv[1:]
owners = {"draw": (write, "save_png"), "note": (state.State, "note"), "append": (watch, "append_lines"),
          "half a line": (appending, "_append"), "done": (state.State, "done"), "tell": (hook.Command, "__call__")}

def kill(*given):
    os.kill(os.getpid(), signal.SIGKILL)

if step != "none":
    owner, name = owners[step]
    real, calls = getattr(owner, name), []
    def call(*given, **options):
        calls.append(given)
        if len(calls) < int(number):
            return real(*given, **options)
        if step == "half a line":
            os.pwrite(given[0], given[1][: len(given[1]) // 2], os.fstat(given[0]).st_size)
            kill()
        if when == "before":
            kill()
        real(*given, **options)
        kill()
    setattr(owner, name, call)

on_ng = f"{sys.executable} -c 'import sys; open(sys.argv[1], \\"a\\").write(sys.argv[2] + chr(10))' {told}"
run = Watching(Path(folder), Path(out), on_ng=on_ng)
run._thread.start()
import sqlite3, time
end = time.monotonic() + 20
while time.monotonic() < end and run.fault is None:
    time.sleep(0.05)
    try:
        with sqlite3.connect(f"file:{out}/watch.sqlite?mode=ro", uri=True) as base:
            seen = base.execute("SELECT count(*) FROM seen").fetchone()[0]
            waits = base.execute("SELECT count(*) FROM pending WHERE tell").fetchone()[0]
        if seen >= int(count) and not waits:
            break
    except sqlite3.Error:
        pass
run.stop.set()
run.ended()
"""
STEPS = [
    *((step, when, number) for step in ("note", "append") for when in ("before", "after") for number in (1, 3)),
    ("draw", "before", 2), ("draw", "after", 2), ("half a line", "in", 1), ("half a line", "in", 2),
    ("done", "before", 1), ("done", "after", 1), ("tell", "before", 1), ("tell", "after", 1),
]  # fmt: skip


def watched(folder, out, told, step="none", when="", number=0, *, count):
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-c", RUNNER, step, when, str(number), *map(str, (folder, out, told, count))]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, timeout=60, check=False).returncode


@pytest.mark.parametrize(("step", "when", "number"), STEPS, ids=str)
def test_nothing_is_lost_and_nothing_repeated(tmp_path, step, when, number):
    folder, out, told = tmp_path / "parts", tmp_path / "out", tmp_path / "told"
    files = [put(folder / f"{number}.png", 200 if number % 2 else 90) for number in range(4)]
    for place, file in enumerate(files):
        os.utime(file, ns=(0, 10**9 * (place + 1)))
    assert watched(folder, out, told, step, when, number, count=4) == -signal.SIGKILL
    before = len(lines_whole(out))
    put(folder / "new.png", 200)
    assert watched(folder, out, told, count=5) == 0
    assert names(out, folder) == ["0.png", "1.png", "2.png", "3.png", "new.png"]
    assert before < 5
    assert [one["verdict"] for one in lines(out)] == ["OK", "NG", "OK", "NG", "NG"]
    drawn = {file.relative_to(out).as_posix() for file in (out / "overlays").rglob("*") if file.is_file()}
    assert drawn == {one["overlay"] for one in lines(out)}
    again = told.read_text().split()
    wanted = [str(folder / name) for name in ("1.png", "3.png", "new.png")]
    # The command that was at work when the kill came is run once more, and no other.
    assert sorted(set(again)) == sorted(wanted)
    assert len(again) <= len(wanted) + 1


def lines_whole(out):
    file = Path(out) / "results.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
