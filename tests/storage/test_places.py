"""What may be written where: what the system does not allow, and what was typed without care."""

import os

import pytest

from blemish.errors import BlemishError, InputError, StorageError
from blemish.storage.places import check_folder_writable, check_writable, given_path
from faults import OLD


def test_check_writable_accepts(tmp_path, monkeypatch):
    check_writable(tmp_path / "new", overwrite=False)
    (tmp_path / "old").write_bytes(OLD)
    check_writable(tmp_path / "old", overwrite=True)
    monkeypatch.chdir(tmp_path)
    check_writable("new", overwrite=False)
    assert os.listdir(tmp_path) == ["old"]


def refusal(kind, action, *arguments, **options):
    """Return the text of an error of just this kind."""
    with pytest.raises(BlemishError) as caught:
        action(*arguments, **options)
    assert type(caught.value) is kind, caught.value
    return str(caught.value)


def test_check_writable_refuses(tmp_path):
    old, folder, missing = tmp_path / "old", tmp_path / "folder", tmp_path / "missing"
    old.write_bytes(OLD)
    folder.mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for path in (old, tmp_path / "link"):
        text = refusal(InputError, check_writable, path, overwrite=False)
        assert text == f"{path}: exists; pass --overwrite to replace it"
    assert refusal(InputError, check_writable, "", overwrite=True) == "path: empty path; name a file or a folder"
    for path, reason in [
        (folder, "is a folder; expected the name of a file"),
        (missing / "file", f"the folder {missing} does not exist"),
        (old / "file", f"{old} is not a folder"),
        (tmp_path / "pipe", "exists and is not a regular file"),
        ("/dev/null", "exists and is not a regular file"),
        (tmp_path / ("ü" * 128), "a file name has at most 255 bytes and no NUL"),
    ]:
        for overwrite in (False, True):
            assert refusal(StorageError, check_writable, path, overwrite=overwrite) == f"{path}: {reason}"
    for path in (tmp_path / "a\0b", tmp_path / "a\0b" / "c"):
        text = refusal(StorageError, check_writable, path, overwrite=True)
        assert text.endswith(": a file name has at most 255 bytes and no NUL")
    assert old.read_bytes() == OLD


def test_the_right_to_write_is_asked_for_in_the_folder_that_changes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode, **_: bool(asked.append((path, mode))))
    inner = tmp_path / "inner"
    inner.mkdir()
    for place, action in [
        (tmp_path, lambda: check_writable(tmp_path / "file", overwrite=True)),
        (inner, lambda: check_folder_writable(inner)),
        (inner, lambda: check_folder_writable(inner / "a" / "b")),
        (tmp_path, lambda: check_folder_writable(inner, replaced=True)),
        (inner, lambda: check_folder_writable(inner / "a" / "b", replaced=True)),
    ]:
        assert refusal(StorageError, action).endswith(f": the folder {place} is not writable")
        assert asked.pop() == (place, os.W_OK | os.X_OK)


def test_check_folder_writable_accepts_and_makes_nothing(tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    (tmp_path / "link").symlink_to("old")
    for name in ("new", "a/b/new", "old", "link", ".", "old/.."):
        check_folder_writable(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for name in ("new", "old", "a/b", "."):
        check_folder_writable(tmp_path.__class__(name))
    check_folder_writable(tmp_path / "old", replaced=True)
    assert sorted(os.listdir(tmp_path)) == ["link", "old"]


def test_check_folder_writable_refuses(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(OLD)
    link.symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, replaced, reason in [
        (file, False, "is not a folder"),
        (tmp_path / "dangling", False, "is not a folder"),
        (link, True, "is not a folder"),
        (file / "a", False, f"{file} is not a folder"),
        (file / "a" / "b", True, f"{file} is not a folder"),
        (tmp_path / ("n" * 256), False, "a folder name has at most 255 bytes and no NUL"),
    ]:
        assert refusal(StorageError, check_folder_writable, path, replaced=replaced) == f"{path}: {reason}"


def test_an_empty_path_is_not_the_working_folder():
    assert refusal(InputError, given_path, "", "out") == "out: empty path; name a file or a folder"
    assert str(given_path(".", "out")) == "."
    assert str(given_path(" ", "out")) == " "
