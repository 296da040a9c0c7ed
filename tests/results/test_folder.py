"""The folder of results: made, marked, and emptied of nothing that is the user's."""

import os

import pytest

from blemish.data.inputs import name_images
from blemish.data.listing import RESULTS_MARK
from blemish.errors import InputError, StorageError
from blemish.results.folder import check_results, prepare_folder, results_folder
from blemish.results.write import write
from blemish.storage.files import LOCK, alone_in
from stubs import (
    Stub,
    paint,
    parts,  # noqa: F401
)


def test_a_folder_is_made_and_marked_or_must_be_empty(tmp_path):
    out = tmp_path / "new" / "out"
    prepare_folder(out, overwrite=False)
    prepare_folder(out, overwrite=False)
    assert os.listdir(out) == [RESULTS_MARK]
    paint(out / "overlays" / "a.png")
    with pytest.raises(InputError, match=f"^{out}: is not empty; pass --overwrite"):
        prepare_folder(out, overwrite=False)
    assert (out / "overlays" / "a.png").exists()


@pytest.fixture
def earlier(parts, tmp_path):
    """The results of an earlier run, with maps."""
    out = tmp_path / "earlier"
    prepare_folder(out, overwrite=False)
    assert len(list(write(Stub(), name_images([parts]), out, save_maps=True))) == 2
    (out / "model.json").write_text("{}")
    return out


@pytest.mark.parametrize(
    "mine", ["notes.txt", "overlays/notes.txt", "maps/sub/part.png", "overlays/sub/x.npy", "maps.zip", "photos/a.png"]
)
def test_overwriting_removes_old_results_and_nothing_else(earlier, mine):
    before = sorted(earlier.rglob("*"))
    (earlier / mine).parent.mkdir(exist_ok=True)
    (earlier / mine).write_text("mine")
    named = "photos" if mine.startswith("photos") else mine
    with pytest.raises(InputError, match=f"holds {named}, which is no result; choose another folder$"):
        prepare_folder(earlier, overwrite=True)
    assert (earlier / mine).read_text() == "mine"
    assert set(before) < set(earlier.rglob("*"))
    (earlier / mine).unlink()
    if named == "photos":
        (earlier / named).rmdir()
    prepare_folder(earlier, overwrite=True)
    assert os.listdir(earlier) == [RESULTS_MARK]


@pytest.mark.parametrize("folder", ["maps", "overlays"])
def test_overwriting_harms_no_folder_of_the_users_own(tmp_path, folder):
    """Whatever it is called, and whatever it holds: predict has not made the folder around it."""
    mine = paint(tmp_path / folder / "photo.png")
    mine = mine.rename(mine.with_suffix({"maps": ".npy", "overlays": ".png"}[folder]))
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=f"^{tmp_path}: is not empty and not from an earlier predict; choose another"):
        prepare_folder(tmp_path, overwrite=True)
    assert mine.exists()
    assert sorted(os.listdir(tmp_path)) == [folder, "results.jsonl"]


def test_overwriting_follows_no_link(tmp_path, parts, earlier):
    (earlier / "overlays" / "more").symlink_to(parts)
    with pytest.raises(InputError, match="holds overlays/more, which is no result"):
        prepare_folder(earlier, overwrite=True)
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    for name in ("overlays", "results.jsonl", "model.json"):
        (out / name).symlink_to(parts)
        with pytest.raises(InputError, match=f"holds {name}, which is no result"):
            prepare_folder(out, overwrite=True)
        (out / name).unlink()
    assert (parts / "dull.png").exists()


def test_a_file_or_an_impossible_folder_is_refused(parts):
    with pytest.raises(StorageError, match=r"dull.png: is not a folder$"):
        prepare_folder(parts / "dull.png", overwrite=True)
    with pytest.raises(StorageError, match=r"dull.png/out: \S*dull.png is not a folder$"):
        prepare_folder(parts / "dull.png" / "out", overwrite=False)
    with pytest.raises(StorageError, match="a folder name has at most 255 bytes and no NUL"):
        prepare_folder(parts.parent / ("n" * 300), overwrite=False)


def test_one_command_at_a_time_has_the_folder(earlier, tmp_path):
    busy = f"^{earlier}: another command is at work in it; wait, or choose another folder$"
    with results_folder(earlier, overwrite=True):
        assert sorted(os.listdir(earlier)) == sorted([RESULTS_MARK, LOCK])
        paint(earlier / "overlays" / "a.png")
        for action in (check_results, lambda *given, **options: results_folder(*given, **options).__enter__()):
            with pytest.raises(InputError, match=busy):
                action(earlier, overwrite=True)
        assert (earlier / "overlays" / "a.png").exists()
    assert sorted(os.listdir(earlier)) == sorted([RESULTS_MARK, "overlays"])


def test_what_another_command_is_at_work_on_is_no_strange_file(earlier):
    """While it holds the lock that is what is said; and what a killed one has left is in nobody's way."""
    half = earlier / "overlays" / ".0011223344556677-0011223344556677.blemish-tmp"
    half.parent.mkdir(exist_ok=True)
    half.touch()
    with alone_in(earlier), pytest.raises(InputError, match="another"):
        check_results(earlier, overwrite=True)
    check_results(earlier, overwrite=True)
    prepare_folder(earlier, overwrite=True)
    assert not half.exists()


def test_a_lock_that_a_killed_command_has_left_is_in_nobodys_way(earlier, tmp_path):
    for out, overwrite in ((earlier, True), (tmp_path / "empty", False)):
        out.mkdir(exist_ok=True)
        (out / LOCK).touch()
        check_results(out, overwrite=overwrite)
        (out / LOCK).touch()
        with results_folder(out, overwrite=overwrite):
            pass
        assert os.listdir(out) == [RESULTS_MARK]


def test_nothing_is_made_in_a_folder_that_is_refused(tmp_path):
    mine = paint(tmp_path / "mine" / "photo.png")
    text = r"holds photo\.png, which is no result"
    with pytest.raises(InputError, match=text), results_folder(mine.parent, overwrite=True):
        pytest.fail("it is not ours")
    assert os.listdir(mine.parent) == ["photo.png"]
