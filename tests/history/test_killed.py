"""kill -9 while inspections are written: what was accepted is there, with its image, and what follows goes on."""

import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from histories import judged, new_database, opened, picture, postgresql, url  # noqa: F401

# Adds, corrects and removes; prints what has returned.
WRITER = """
import sys
from pathlib import Path
from blemish.history.history import History
from blemish.history.records import Correction
from histories import judged, picture
history = History.open(Path(sys.argv[1]), url=sys.argv[2] or None)
first = int(sys.argv[3])
print("ready", flush=True)
for number in range(first, first + 100_000):
    added = history.add(judged(number, verdict="NG"), picture(number, size=20_000))
    print("added", added.id, number, flush=True)
    if number % 3 == 0:
        history.correct(added.id, Correction(verdict="OK", who="Ada", why=str(number)))
        print("corrected", added.id, number, flush=True)
    if number % 20 == 0:
        history.tidy(room=30 * 20_000)
"""


def killed(folder, url, first, seconds):
    """Run a writer, kill it, and return the lines that it has got out; the last may be cut."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    line = [sys.executable, "-c", WRITER, folder, url or "", str(first)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read()
    return [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.parametrize("seed", range(2))
def test_nothing_that_was_accepted_is_lost(url, tmp_path, seed):
    chance, accepted, corrected = random.Random(seed), {}, {}
    for turn in range(4):
        for word, number, of in killed(tmp_path, url, 1000 * turn, chance.uniform(0.05, 0.6)):
            (accepted if word == "added" else corrected)[int(number)] = int(of)
    assert len(accepted) > 20
    with opened(tmp_path, url=url) as history:
        found = {one.id: one for one in history.each()}
        assert {number: found[number].name for number in accepted} == {
            number: judged(of).name for number, of in accepted.items()
        }
        for number, of in corrected.items():
            assert found[number].standing == "OK"
            assert [said.why for said in found[number].corrections] == [str(of)]
        # At most one of each turn was written and not yet said.
        assert len(found) <= len(accepted) + 4
        # A kill leaves files without rows at worst, never rows without files.
        for one in found.values():
            if one.kept is not None:
                assert sha256(history.image(one)).hexdigest() == one.sha256
        history.sweep()
        kept = {one.kept for one in history.each()} - {None}
        lying = {path.relative_to(history.images.folder).as_posix() for path in history.images.folder.rglob("*.png")}
        assert lying == kept
        assert len(kept) <= 51
        assert history.add(judged(9999), picture(9999)).id > max(found)


def test_a_killed_writer_keeps_nobody_waiting(url, tmp_path):
    killed(tmp_path, url, 0, 0.2)
    with opened(tmp_path, url=url) as history:
        begun = time.monotonic()
        history.add(judged(5), picture(5))
        assert time.monotonic() - begun < 5
