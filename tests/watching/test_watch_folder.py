"""A watched folder that gives no events, does not answer, goes away, and comes back."""

import os
import threading
import time
from pathlib import Path

import pytest

from blemish.watching import folder as watched_folder
from blemish.watching import scout, watch
from watched import lines, names, put, until, watching


def silent(path):
    """Events that never come, as of a share."""
    while True:
        time.sleep(0.02)
        yield []


def broken(path):
    raise OSError(28, "No space left on device")
    yield []


def listening_to(monkeypatch, source):
    monkeypatch.setitem(watched_folder.Folder.__init__.__kwdefaults__, "listen", source)


def test_where_no_events_come_it_is_noticed_and_looked_at(tmp_path, monkeypatch):
    listening_to(monkeypatch, silent)
    monkeypatch.setattr(watched_folder, "LOOK", 0.5)
    monkeypatch.setattr(watched_folder, "BELATED", 0.3)
    folder, out = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out"
    with watching(folder, out) as watched:
        watched.has(1)
        assert watched.warned == []  # what was there before tells of nothing
        put(folder / "2.png")
        watched.has(2)
        until(lambda: watched.warned)
        put(folder / "3.png")
        watched.has(3)
    assert watched.warned == [f"{folder}: images come without events; looking every 1 s"]


@pytest.mark.parametrize("given", ["parts", ".", "../parts"])
def test_events_of_a_folder_that_is_given_from_here(tmp_path, monkeypatch, given):
    monkeypatch.setattr(watched_folder, "LOOK", 60.0)
    folder, out = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out"
    put(folder / "sub" / "2.png")
    monkeypatch.chdir(tmp_path if given == "parts" else folder)
    with watching(Path(given), out) as watched:
        watched.has(2)
        put(folder / "3.png")
        put(folder / "sub" / "4.png")
        watched.has(4)
    assert watched.warned == []
    assert sorted(one["path"] for one in lines(out)) == sorted(
        str(Path(given) / name) for name in ("1.png", "sub/2.png", "3.png", "sub/4.png")
    )


def test_where_there_can_be_no_events(tmp_path, monkeypatch):
    listening_to(monkeypatch, broken)
    folder, out = tmp_path / "parts", tmp_path / "out"
    with watching(folder, out) as watched:
        put(folder / "1.png")
        assert watched.has(1) == ["1.png"]
    assert watched.warned == [f"{folder}: no events ([Errno 28] No space left on device); looking every 1 s"]


def test_a_folder_that_disappears_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_folder, "RETRY", 0.1)
    monkeypatch.setattr(watched_folder, "LOOK", 0.3)
    listened, real = [], watched_folder.events

    def listen(path):
        listened.append(path)
        return real(path)

    listening_to(monkeypatch, listen)
    folder, out, away = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out", tmp_path / "away"
    with watching(folder, out, settle=0.3) as watched:
        watched.has(1)
        put(folder / "2.png")
        folder.rename(away)
        until(lambda: watched.warned)
        put(away / "3.png")
        time.sleep(0.5)
        assert len(lines(out)) == 1
        away.rename(folder)
        watched.has(3)
        put(folder / "4.png")  # events again
        watched.has(4)
    assert listened == [folder, folder]
    assert len(watched.warned) == 2
    assert watched.warned[0].lower().startswith(("no such folder", f"{folder}: cannot be read: no such"))
    assert watched.warned[0].endswith("; waiting for it")
    assert watched.warned[1] == f"{folder}: is back"
    assert names(out, folder) == ["1.png", "2.png", "3.png", "4.png"]


def test_another_folder_in_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(watched_folder, "LOOK", 0.3)
    folder, out, other = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out", tmp_path / "other"
    put(other / "2.png")
    with watching(folder, out) as watched:
        watched.has(1)
        folder.rename(tmp_path / "away")
        other.rename(folder)
        watched.has(2)
        time.sleep(0.5)
        put(folder / "3.png")
        watched.has(3)
    assert names(out, folder) == ["1.png", "2.png", "3.png"]


def test_a_share_that_hangs_is_said_and_holds_up_nothing(tmp_path, monkeypatch):
    """It hangs while an image is read; it answers again; it hangs for good, and the watch ends all the same."""
    monkeypatch.setattr(watch, "STALLED", 0.4)
    folder, out = tmp_path / "parts", tmp_path / "out"
    goes_on, reading = threading.Event(), scout.read

    def read(path):
        if "slow" in path.name:
            goes_on.wait(30)
        return reading(path)

    monkeypatch.setattr(scout, "read", read)
    with watching(folder, out, poll=0.05) as watched:
        put(folder / "1.png")
        watched.has(1)
        put(folder / "slow.png")
        until(lambda: watched.warned)
        assert watched.warned == [f"{folder}: does not answer; waiting"]
        goes_on.set()
        watched.has(2)
        until(lambda: len(watched.warned) == 2)
        assert watched.warned[1] == f"{folder}: answers again"
        goes_on.clear()
        put(folder / "slow 2.png")
        until(lambda: len(watched.warned) == 3)
        begun = time.monotonic()
        watched.stop.set()
        watched.ended()
        assert time.monotonic() - begun < 5
    goes_on.set()
    assert watched.counts.verdicts == {"OK": 2}


def test_an_error_of_the_share_is_no_fault_of_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(scout, "PATIENCE", 0.2)
    folder, out = tmp_path / "parts", tmp_path / "out"
    away, reading, there = threading.Event(), scout.read, watched_folder.Folder.is_there

    def read(path):
        if away.is_set():
            raise OSError(5, os.strerror(5))
        return reading(path)

    monkeypatch.setattr(scout, "read", read)
    monkeypatch.setattr(watched_folder.Folder, "is_there", lambda self: not away.is_set() and there(self))
    with watching(folder, out, poll=0.05) as watched:
        away.set()
        put(folder / "1.png")
        time.sleep(1)
        assert lines(out) == []
        away.clear()
        assert watched.has(1) == ["1.png"]
    assert lines(out)[0]["verdict"] == "OK"


def test_a_folder_below_that_cannot_be_read_is_said_once(tmp_path, monkeypatch):
    from blemish.errors import InputError
    from blemish.watching import looking

    folder, out = tmp_path / "parts", tmp_path / "out"
    put(folder / "closed" / "1.png")
    real = looking.entries

    def entries(place):
        if place.name == "closed":
            raise InputError(f"permission denied: {place}")
        return real(place)

    monkeypatch.setattr(looking, "entries", entries)
    with watching(folder, out, poll=0.05) as watched:
        put(folder / "2.png")
        assert watched.has(1) == ["2.png"]
        time.sleep(0.5)
    assert watched.warned == [f"warning: permission denied: {folder}/closed"]
