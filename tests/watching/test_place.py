"""The output folder of a watch: one watch at a time, no stranger's folder, a damaged state, a full disk."""

import os
import sqlite3
import time

import pytest
from filelock import FileLock

from blemish.errors import InputError, StorageError
from blemish.results import write
from blemish.storage.files import LOCK
from blemish.watching import watch
from blemish.watching.place import watch_folder
from blemish.watching.state import State
from stubs import Stub
from watched import Watching, lines, names, put, until, watching


def refusal(kind, action):
    with pytest.raises(kind) as caught:
        action()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def entering(out):
    def enter():
        with watch_folder(out):
            pass

    return enter


def test_two_watches_on_one_folder(tmp_path):
    put(tmp_path / "parts" / "1.png")
    with watching(tmp_path / "parts", tmp_path / "out") as first:
        first.has(1)
        second = Watching(tmp_path / "parts", tmp_path / "out")
        second.stop.set()
        second._run()
        assert str(second.fault) == f"{tmp_path}/out: another command is at work in it; wait, or choose another folder"
        put(tmp_path / "parts" / "2.png")
        first.has(2)
    (tmp_path / "locked").mkdir()
    with FileLock(tmp_path / "locked" / LOCK):
        assert "another command" in refusal(InputError, entering(tmp_path / "locked"))


def test_folders_of_somebody_else(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    line = refusal(InputError, entering(tmp_path / "full"))
    assert line == f"{tmp_path}/full: is not empty and not from an earlier watch; choose another folder"
    assert os.listdir(tmp_path / "full") == ["notes.txt"]
    (tmp_path / "file").touch()
    assert "is not a folder" in refusal(StorageError, entering(tmp_path / "file"))


@pytest.mark.parametrize("damage", ["text", "cut", "page"])
def test_a_damaged_state_is_one_line(tmp_path, damage):
    folder, out = tmp_path / "parts", tmp_path / "out"
    for number in range(40):
        put(folder / f"{number}.png")
    with watching(folder, out) as watched:
        watched.has(40)
    state = out / "watch.sqlite"
    whole = state.read_bytes()
    if damage == "text":
        state.write_text("text" * 1000)
    elif damage == "cut":
        state.write_bytes(whole[: len(whole) // 2])
    else:
        state.write_bytes(whole[:4096] + b"\xa5" * 4096 + whole[8192:])
    line = refusal(StorageError, entering(out))
    assert line.startswith(f"{state}: damaged (")
    assert line.endswith("; choose another folder, or move this file away, and all images are judged again")
    assert len(lines(out)) == 40


def test_a_state_of_a_newer_version(tmp_path):
    base = sqlite3.connect(tmp_path / "watch.sqlite")
    base.execute("PRAGMA user_version = 9")
    base.close()
    assert "made by a newer version" in refusal(InputError, lambda: State(tmp_path / "watch.sqlite"))


def full(*_, **__):
    raise StorageError("disk full: it needs 5 bytes")


@pytest.mark.parametrize("step", ["overlay", "line", "state"])
def test_a_full_disk_is_said_once_and_waited_for(tmp_path, monkeypatch, step):
    monkeypatch.setattr(watch, "HOLD", 0.1)
    owner, name = {"overlay": (write, "save_png"), "line": (watch, "append_lines"), "state": (State, "note")}[step]
    folder, out = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out"
    with watching(folder, out) as watched:
        watched.has(1)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            for number in (2, 3, 4):
                os.utime(put(folder / f"{number}.png", 200), (number, number))
            until(lambda: watched.warned)
            put(folder / "5.png")
        watched.has(5)
    assert watched.warned == ["error: disk full: it needs 5 bytes; waiting, nothing is lost"]
    assert names(out, folder) == [f"{number}.png" for number in range(1, 6)]
    assert watched.counts.verdicts == {"OK": 2, "NG": 3}
    assert {one["overlay"] for one in lines(out)} == {f"overlays/{number}.png" for number in range(1, 6)}


def test_a_full_disk_while_a_touched_file_is_noted(tmp_path, monkeypatch):
    folder, out = put(tmp_path / "parts" / "1.png").parent, tmp_path / "out"
    with watching(folder, out, poll=0.05) as watched:
        watched.has(1)
        with monkeypatch.context() as patch:
            patch.setattr(State, "restamp", full)
            os.utime(folder / "1.png", (5, 5))
            until(lambda: watched.warned)
        put(folder / "2.png")
        watched.has(2)
        time.sleep(0.3)
    assert watched.warned == ["error: disk full: it needs 5 bytes; trying again"]
    assert names(out, folder) == ["1.png", "2.png"]


def test_the_state_on_a_full_disk(tmp_path):
    with State(tmp_path / "watch.sqlite") as state:
        real = state._connection

        class Full:
            in_transaction = False

            def execute(self, *_):
                raise sqlite3.OperationalError("database or disk is full")

            def close(self):
                real.close()

        state._connection = Full()
        line = refusal(StorageError, state.unwritten)
    assert line == f"{tmp_path}/watch.sqlite: cannot be used: database or disk is full"


def test_a_scorer_that_fails_ends_the_watch(tmp_path):
    class Broken(Stub):
        def predict(self, images):
            raise ValueError("a fault of the program")

    put(tmp_path / "parts" / "1.png")
    watched = Watching(tmp_path / "parts", tmp_path / "out", scorer=Broken())
    watched._run()
    assert str(watched.fault) == "a fault of the program"
    with watching(tmp_path / "parts", tmp_path / "out") as watched:
        watched.has(1)
