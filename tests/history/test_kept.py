"""Kept images: by hash, whole, once; a disk that is full; what goes with age and size; crashes between row and file."""

import errno
import logging
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import select

from blemish.data.datasets import read_samples
from blemish.errors import InputError, StorageError
from blemish.history import kept as kept_module
from blemish.history import retention, writing
from blemish.history.history import History
from blemish.history.kept import Kept, location, suffix_of
from blemish.history.manifest import as_csv
from blemish.history.records import Correction, Selection, now
from blemish.history.retention import Removed
from blemish.history.tables import images
from histories import history, judged, new_database, opened, picture, postgresql, url  # noqa: F401

HOUR = timedelta(hours=1)


class Killed(BaseException):
    """Stands for kill -9."""


def files(history):
    """Return what lies among the kept images, without the folder that each is in."""
    return {path.name for path in history.images.folder.rglob("*") if path.is_file()}


def rows(history):
    with history.database.reading() as connection:
        return {row.sha256 + row.suffix for row in connection.execute(select(images))}


def name_of(number):
    return f"{sha256(picture(number)).hexdigest()}.png"


@pytest.mark.parametrize(
    ("keep", "expected"),
    [("none", set()), ("ng", {name_of(1), name_of(2)}), ("all", {name_of(0), name_of(1), name_of(2)})],
)
def test_keep_says_which_images_stay(tmp_path, keep, expected):
    with opened(tmp_path, keep=keep) as history:
        for number, verdict in enumerate(["OK", "REVIEW", "NG"]):
            added = history.add(judged(number, verdict=verdict), picture(number))
            assert added.kept == (name_of(number) in expected)
            assert (history.image(history.one(added.id)) is not None) == added.kept
        assert files(history) == rows(history) == expected
        assert history.counts().verdicts == {"OK": 1, "REVIEW": 1, "NG": 1}
    with pytest.raises(InputError, match=r"^keep: some is not allowed, expected none, ng or all$"):
        History.open(tmp_path, keep="some")


def test_an_image_is_written_once_whatever_it_is_called(history, monkeypatch):
    written = []
    real = kept_module.write_atomically
    monkeypatch.setattr(
        kept_module, "write_atomically", lambda place, *a, **k: written.append(place) or real(place, *a, **k)
    )
    for number in range(3):
        history.add(judged(number), picture(5))
    assert [place.name for place in written] == [name_of(5)]
    assert rows(history) == files(history) == {name_of(5)}
    assert {one.kept for one in history.each()} == {location(*name_of(5).split(".")[:1], ".png")}


@pytest.mark.parametrize(
    ("magic", "suffix"),
    [(b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"BM", ".bmp"), (b"MM\0+", ".tif")],
)
def test_the_content_says_the_suffix(magic, suffix):
    assert suffix_of(magic + b"...") == suffix


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_stops_nothing_but_the_keeping_and_is_said_once(history, monkeypatch, caplog, fault):
    caplog.set_level(logging.WARNING)

    def fail(*_):
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        added = [history.add(judged(number), picture(number)) for number in range(3)]
    assert [one.kept for one in added] == [False] * 3
    assert history.counts().verdicts["OK"] == 3
    assert files(history) == rows(history) == set()
    assert history.images.fault is not None
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("images are not kept for now: ")
    assert history.add(judged(4), picture(0)).kept
    assert history.images.fault is None
    assert caplog.messages[1:] == [f"images are kept again: {history.images.folder}"]
    assert all(history.image(one) == picture(0) for one in history.each() if one.sha256 == added[0].sha256)


def test_images_leave_room_for_rows(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with opened(tmp_path, reserve=free * 2) as history:
        assert not history.add(judged(), picture()).kept
        assert history.images.fault == f"disk full: {tmp_path}/images"
        assert history.one(1).kept is None


def test_what_is_too_old_goes_with_its_image_and_its_corrections(history):
    moment = now()
    for number in range(6):
        history.add(judged(number, at=moment - number * HOUR), picture(number % 5))
    history.correct(5, Correction(verdict="NG", who="Ada"))
    assert history.tidy() == Removed(0, 0)
    # The image of inspection 6, from 5 hours ago, is that of inspection 1, from now.
    assert history.tidy(age=2.5 * HOUR) == Removed(3, 2)
    assert [one.id for one in history.each()] == [1, 2, 3]
    assert files(history) == rows(history) == {name_of(0), name_of(1), name_of(2)}
    with history.database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM corrections").scalar() == 0
    assert history.add(judged(), picture()).id == 7


def test_above_the_size_the_oldest_images_go_and_their_inspections_stay(history, monkeypatch):
    monkeypatch.setattr("blemish.history.retention.BATCH", 2)
    for number in range(9):
        history.add(judged(number), picture(number, size=1000))
    history.add(judged(100), picture(0, size=1000))  # the oldest is seen again
    assert history.tidy(room=9000) == Removed(0, 0)
    assert history.tidy(room=3999) == Removed(0, 6)
    left = {sha256(picture(number, size=1000)).hexdigest() + ".png" for number in (0, 7, 8)}
    assert files(history) == rows(history) == left
    assert [one.kept is not None for one in history.each()] == [True, True, True, *[False] * 6, True]
    assert history.tidy(room=0) == Removed(0, 3)
    assert files(history) == set()


def test_a_crash_before_the_row_leaves_a_file_that_the_next_sweep_finds(history, monkeypatch):
    history.add(judged(), picture(0))

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("blemish.history.writing.add_inspection", killed)
        with pytest.raises(Killed):
            history.add(judged(1), picture(1))
    assert files(history) == {name_of(0), name_of(1)}
    assert rows(history) == {name_of(0)}
    assert history.sweep() == 1
    assert files(history) == rows(history) == {name_of(0)}
    assert history.sweep() == 0


def test_a_crash_between_row_and_file_of_what_goes_leaves_no_row(history, monkeypatch):
    for number in range(4):
        history.add(judged(number), picture(number))

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "remove", killed)
        with pytest.raises(Killed):
            history.tidy(room=200)
    assert rows(history) == {name_of(2), name_of(3)}
    assert files(history) == {name_of(number) for number in range(4)}
    assert [one.kept is None for one in history.each()] == [False, False, True, True]
    # The file without a row comes in again before anybody has swept.
    assert history.add(judged(9), picture(0)).kept
    assert history.sweep() == 1
    assert files(history) == rows(history) == {name_of(0), name_of(2), name_of(3)}


def test_a_file_without_a_row_that_is_swept_while_it_is_kept_again_is_written_again(history, monkeypatch):
    real, there = history.images.write, []
    digest = sha256(picture()).hexdigest()
    assert real(digest, ".png", picture())  # by a writer that was killed

    def write(*given):
        there.append((history.images.folder / location(digest, ".png")).exists())
        written = real(*given)
        if len(there) == 1:
            assert history.sweep() == 1
        return written

    monkeypatch.setattr(history.images, "write", write)
    added = history.add(judged(), picture())
    assert there == [True, False]
    assert history.image(history.one(added.id)) == picture()
    assert history.sweep() == 0


def test_an_image_that_comes_in_again_while_it_goes_stays(history, monkeypatch):
    history.add(judged(), picture())
    real = retention._unlink

    def unlink(*given):  # the row is gone, the file not yet
        assert rows(history) == set()
        history.add(judged(1), picture())
        return real(*given)

    monkeypatch.setattr(retention, "_unlink", unlink)
    assert retention.tidy(history.database, history.images, before=judged(1).at, room=1000) == Removed(1, 0)
    assert files(history) == rows(history) == {name_of(0)}


def test_a_file_that_somebody_has_removed_is_said_and_its_row_goes(history):
    added = history.add(judged(), picture())
    os.unlink(history.images.folder / history.one(added.id).kept)
    assert history.image(history.one(added.id)) is None
    assert history.sweep() == 1
    assert history.one(added.id).kept is None
    assert history.add(judged(1), picture()).kept


def test_a_sweep_removes_what_killed_writers_left_and_nothing_of_others(history, tmp_path):
    history.add(judged(), picture())
    part = history.images.folder / "00"
    part.mkdir(exist_ok=True)
    others = {"notes.txt", f"{'0' * 63}.png", f"{'0' * 64}.gif", f"{'1' * 64}.png"}  # the last in a wrong folder
    for name in (*others, ".x.blemish-tmp", ".y.blemish-tmp"):
        (part / name).touch()
    os.utime(part / ".x.blemish-tmp", (0, 0))
    assert history.sweep() == 0
    assert files(history) == {name_of(0), ".y.blemish-tmp", *others}  # .y is new: a writer may be at it


def test_who_removes_waits_for_who_keeps(history, monkeypatch):
    digest, real = sha256(picture()).hexdigest(), writing.add_image
    history.images.write(digest, ".png", picture())  # by a writer that was killed
    with ThreadPoolExecutor(1) as other:
        sweeping = []

        def add_image(*given, **named):  # the file has been seen, its row is not there yet
            sweeping.append(other.submit(history.sweep))
            time.sleep(0.5)
            assert not sweeping[0].done()
            real(*given, **named)

        monkeypatch.setattr(writing, "add_image", add_image)
        added = history.add(judged(), picture())
        assert sweeping[0].result() == 0
    assert history.image(history.one(added.id)) == picture()


def test_keeping_and_removing_at_the_same_time_never_parts_rows_from_files(history):
    """Four threads bring in the same few images again and again, while one removes all it can."""
    done = threading.Event()

    def bring(first):
        return sum(history.add(judged(first + number), picture(number % 3)).kept for number in range(40))

    def remove():
        while not done.is_set():
            history.tidy(room=0)
            history.sweep()

    with ThreadPoolExecutor(5) as threads:
        removing = threads.submit(remove)
        kept = sum(threads.map(bring, range(0, 400, 100)))
        done.set()
        removing.result()
    assert kept == 160
    assert history.images.fault is None
    assert rows(history) == files(history)
    assert history.counts().verdicts["OK"] == 160


def test_a_file_that_cannot_be_removed_is_one_line(history, monkeypatch):
    history.add(judged(), picture())
    monkeypatch.setattr(
        "pathlib.Path.unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "Not permitted"))
    )
    with pytest.raises(StorageError, match=r"\.png: cannot be removed: Not permitted$"):
        history.tidy(room=0)


def real_picture(number):
    from io import BytesIO

    from PIL import Image

    data = BytesIO()
    Image.new("RGB", (32, 32), (number, 0, 0)).save(data, "png")
    return data.getvalue()


def test_a_selection_is_a_manifest_that_the_other_commands_read_as_it_is(history):
    for number in range(24):
        history.add(judged(number), real_picture(number))
    history.add(judged(30, verdict="NG"), real_picture(30))
    history.add(judged(31, verdict="REVIEW"), real_picture(31))
    history.add(judged(32, verdict="NG"), real_picture(32))
    history.correct(27, Correction(verdict="OK", who="Ada"))  # a false alarm
    history.correct(1, Correction(verdict="NG", who="Ada"))  # an escape
    history.add(judged(40, verdict="NG"), real_picture(32))  # judged again: what a person has said of it counts
    history.add(judged(41), real_picture(5))  # and again
    found = history.manifest()
    assert len({row.path for row in found}) == len(found) == 26
    manifest = history.images.folder / "selection.csv"
    manifest.write_text("".join(as_csv(found)), encoding="utf-8")
    samples = read_samples(manifest)
    labels = {sample.path.name: (sample.label, sample.split) for sample in samples}
    assert len(labels) == 26

    def label(number):
        return labels[f"{sha256(real_picture(number)).hexdigest()}.png"]

    assert label(30) == ("defect", "test")
    assert label(0) == ("defect", "test")
    assert label(32)[0] == "good"
    good = [split for label, split in labels.values() if label == "good"]
    assert sorted(set(good)) == ["test", "train"]
    assert good.count("test") < good.count("train")
    only = history.manifest(Selection(mistake="false alarm"))
    assert [row.path for row in only] == [location(sha256(real_picture(32)).hexdigest(), ".png")]
