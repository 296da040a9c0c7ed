"""A watched folder: each image that is new and complete is judged once, whatever becomes of the files."""

import os
import time

import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.watching import scout
from blemish.watching.state import State
from watched import QUICK, lines, names, put, until, watching


@pytest.fixture(params=["events", "polling"])
def ways(request):
    return {} if request.param == "events" else {"poll": 0.05}


@pytest.fixture
def places(tmp_path):
    return tmp_path / "parts", tmp_path / "out"


def test_a_new_file_is_judged_once(places, ways):
    folder, out = places
    put(folder / "before.png")
    with watching(folder, out, **ways) as watch:
        assert watch.has(1) == ["before.png"]
        put(folder / "sub" / "deep" / "bright.png", 200)
        assert watch.has(2) == ["before.png", "sub/deep/bright.png"]
        time.sleep(0.5)
    assert watch.warned == []
    dull, bright = lines(out)
    assert (dull["verdict"], dull["score"], dull["overlay"]) == ("OK", 0.25, "overlays/before.png")
    assert (bright["verdict"], bright["regions"][0]["area"]) == ("NG", 12)
    assert watch.shown == [dull, bright]
    assert list(dull) == ["path", "score", "thresholds", "verdict", "regions", "overlay"]
    with Image.open(out / "overlays" / "sub" / "deep" / "bright.png") as picture:
        assert picture.size == (40, 32)
    assert (watch.counts.verdicts, watch.counts.failed) == ({"OK": 1, "NG": 1}, 0)
    with State(out / "watch.sqlite") as state:  # nothing is left to be done
        assert (state.unwritten(), state.untold()) == ([], None)


def test_what_is_no_image_of_the_folder_is_passed_over(places, tmp_path, ways):
    folder, out = places
    elsewhere = put(tmp_path / "elsewhere" / "linked.png")
    with watching(folder, out, **ways) as watch:
        put(folder / ".hidden.png")
        put(folder / ".hidden" / "in.png")
        (folder / "notes.txt").write_text("text")
        os.symlink(elsewhere, folder / "link.png")
        os.symlink(elsewhere.parent, folder / "links")
        os.mkfifo(folder / "pipe.png")
        (folder / "folder.png").mkdir()
        put(folder / "results" / "overlay.png")
        (folder / "results" / "made-by-blemish-predict").touch()
        put(folder / "last.png")
        watch.has(1)
        time.sleep(0.4)
    assert [name for name in names(out, folder) if name != "results/overlay.png"] == ["last.png"]


def test_a_half_written_file_is_waited_for(places, ways):
    folder, out = places
    whole = put(places[0].parent / "whole.png", 200, side=600).read_bytes()
    with watching(folder, out, settle=0.3, **ways) as watch:
        with (folder / "part.png").open("wb", buffering=0) as stream:
            for start in range(0, len(whole), 1 + len(whole) // 8):
                stream.write(whole[start : start + 1 + len(whole) // 8])
                time.sleep(0.1)
                assert lines(out) == []
        assert watch.has(1) == ["part.png"]
    assert lines(out)[0]["verdict"] == "NG"


def test_a_writer_that_pauses_longer_is_waited_for_too(places, ways):
    folder, out = places
    whole = put(places[0].parent / "whole.png", 200).read_bytes()
    with watching(folder, out, **ways) as watch:
        (folder / "part.png").write_bytes(whole[: len(whole) // 2])
        time.sleep(10 * QUICK)
        assert (lines(out), watch.warned) == ([], [])
        (folder / "part.png").write_bytes(whole)
        assert watch.has(1) == ["part.png"]
        time.sleep(5 * QUICK)
    assert [one["verdict"] for one in lines(out)] == ["NG"]


def test_a_broken_image_is_said_once_and_remembered(places, ways, monkeypatch):
    monkeypatch.setattr(scout, "PATIENCE", 0.3)
    folder, out = places
    folder.mkdir()
    (folder / "text.png").write_text("text")
    time.sleep(0.01)
    (folder / "empty.png").touch()
    with watching(folder, out, **ways) as watch:
        put(folder / "whole.png")
        assert watch.has(3) == ["whole.png", "text.png", "empty.png"]
        time.sleep(0.5)
    with watching(folder, out, **ways) as again:
        put(folder / "text.png", 200)
        assert again.has(4)[3:] == ["text.png"]
    text, empty = [one["error"] for one in lines(out) if "error" in one]
    assert text.startswith(f"{folder}/text.png: not an image (magic bytes")
    assert empty.startswith(f"{folder}/empty.png: empty file")
    assert (watch.counts.failed, again.counts.failed) == (2, 0)


def test_a_file_that_may_not_be_read(places, monkeypatch):
    monkeypatch.setattr(scout, "PATIENCE", 0.3)
    folder, out = places

    def read(path):
        if path.name == "secret.png":
            raise PermissionError(13, "Permission denied")
        return reading(path)

    reading = scout.read
    monkeypatch.setattr(scout, "read", read)
    put(folder / "secret.png")
    with watching(folder, out, poll=0.05) as watch:
        put(folder / "open.png")
        assert watch.has(2) == ["open.png", "secret.png"]
        time.sleep(0.3)
    assert lines(out)[1]["error"] == f"{folder}/secret.png: cannot be read: permission denied"


def test_a_file_that_vanishes_is_said(places, ways):
    folder, out = places
    put(folder / "first.png")
    with watching(folder, out, settle=0.6, **ways) as watch:
        watch.has(1)
        put(folder / "draft.png")
        put(folder / "lost.png")
        time.sleep(0.25)
        (folder / "draft.png").rename(folder / "renamed.png")
        (folder / "lost.png").unlink()
        assert watch.has(2) == ["first.png", "renamed.png"]
        until(lambda: watch.warned)
        assert watch.warned == [f"{folder}/lost.png: gone before it was judged"]


def test_a_replaced_file_is_a_new_image_and_a_touched_one_is_not(places, ways):
    folder, out = places
    with watching(folder, out, **ways) as watch:
        first = put(folder / "latest.png")
        watch.has(1)
        os.utime(first, (5, 5))
        data = first.read_bytes()
        first.unlink()
        first.write_bytes(data)
        time.sleep(0.4)
        put(folder / "latest.png", 200)
        watch.has(2)
        put(folder / "latest.PNG", 200)
        watch.has(3)
    assert [one["overlay"] for one in lines(out)] == [f"overlays/latest{end}.png" for end in ("", "-2", "-3")]
    assert [one["verdict"] for one in lines(out)] == ["OK", "NG", "NG"]


def test_what_came_while_it_was_away_is_judged_and_nothing_again(places, ways):
    folder, out = places
    put(folder / "1.png")
    with watching(folder, out, **ways) as watch:
        watch.has(1)
    put(folder / "2.png")
    with watching(folder, out, **ways) as watch:
        watch.has(2)
        put(folder / "3.png")
        watch.has(3)
    assert names(out, folder) == ["1.png", "2.png", "3.png"]


def test_existing_images_are_passed_over_at_the_very_first_start_only(places):
    folder, out = places
    put(folder / "1.png")
    with watching(folder, out, skip_existing=True) as watch:
        time.sleep(0.5)
        put(folder / "2.png")
        watch.has(1)
    put(folder / "3.png")
    with watching(folder, out, skip_existing=True) as watch:
        watch.has(2)
        put(folder / "1.png", 200)
        watch.has(3)
    assert names(out, folder) == ["2.png", "3.png", "1.png"]


def test_a_burst_is_worked_off_in_order_and_none_is_lost(places, ways):
    folder, out = places
    count = 150
    with watching(folder, out, **ways) as watch:
        for number in range(count):
            put(folder / f"{(number * 37) % count:03}.png", number)
            time.sleep(0.006)  # more than the grain of the times of files
        watch.has(count)
    assert names(out, folder) == [f"{(number * 37) % count:03}.png" for number in range(count)]
    assert watch.warned == []
    with State(out / "watch.sqlite") as state:
        assert state.unwritten() == []


def test_an_end_in_the_middle_finishes_what_is_at_work(places, ways):
    folder, out = places
    for number in range(40):
        os.utime(put(folder / f"{number:02}.png"), (number, number))
    with watching(folder, out, **ways) as watch:
        watch.has(3)
    begun = len(lines(out))
    assert 3 <= begun < 40
    assert sum(watch.counts.verdicts.values()) == begun
    assert len(list((out / "overlays").iterdir())) == begun
    with watching(folder, out, **ways) as watch:
        watch.has(40)
    assert names(out, folder) == [f"{number:02}.png" for number in range(40)]


def test_more_than_is_kept_in_mind_is_found_again_in_order(places, ways, monkeypatch):
    monkeypatch.setattr(scout, "WAITING", 7)
    folder, out = places
    for number in range(40):
        os.utime(put(folder / f"{number:02}.png"), ns=(0, 10**9 * (40 - number)))
    with watching(folder, out, **ways) as watch:
        watch.has(40)
        for number in range(40):
            put(folder / f"new{number:02}.png")
            time.sleep(0.006)
        watch.has(80)
    found = names(out, folder)
    assert found[:40] == [f"{number:02}.png" for number in reversed(range(40))]
    assert found[40:] == [f"new{number:02}.png" for number in range(40)]


def test_names_of_any_bytes(places, ways):
    folder, out = places
    odd = [b"new\nline.png", b"bytes\xff.png", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.png".encode(), b"-x 'y' \".png"]
    with watching(folder, out, **ways) as watch:
        for name in odd:
            put(folder / "plain.tmp").rename(folder / os.fsdecode(name))
        watch.has(4)
        time.sleep(0.3)
    assert len(lines(out)) == 4
    # What watchfiles cannot tell of is looked for.
    assert [line for line in watch.warned if "looking every 1 s" not in line] == []
    with watching(folder, out, **ways) as watch:
        time.sleep(0.5)
    assert len(lines(out)) == 4


def test_an_overlay_that_cannot_have_its_name_holds_up_nothing(places, ways):
    folder, out = places
    with watching(folder, out, **ways) as watch:
        put(folder / "a.jpg")
        watch.has(1)
        put(folder / "a.jpg.png" / "b.png")
        watch.has(2)
        put(folder / "c.png")
        watch.has(3)
    assert watch.warned == []
    assert [one.get("overlay") for one in lines(out)] == ["overlays/a.jpg.png", None, "overlays/c.png"]
    assert f"{out}/overlays/a.jpg.png: cannot be made: file exists" in lines(out)[1]["error"]


def test_a_folder_that_is_not_there_or_holds_results(tmp_path):
    from blemish.watching.start import Settings, check

    with pytest.raises(InputError, match="no such folder"):
        check(Settings(folder=tmp_path / "none", settle=1))
    (tmp_path / "made-by-blemish-predict").touch()
    with pytest.raises(InputError, match="a folder of results"):
        check(Settings(folder=tmp_path, settle=1))
