"""A folder that takes the place of another, whole or not at all."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from blemish.errors import InputError, StorageError
from blemish.storage.files import Own, check_folder, new_folder
from faults import NEW, OLD, Killed, collected  # noqa: F401

MARK = "mark.json"
OWN = Own(MARK, b"o", "inner/(file|other)?")  # OLD and NEW hold an o
NAMED = b'"inner/file"'


def make(target, content, *, overwrite=False, before_end=lambda made: None):
    with new_folder(target, overwrite=overwrite, own=OWN) as made:
        assert os.listdir(made) == []
        (made / MARK).write_bytes(content + NAMED)
        (made / "inner").mkdir()
        (made / "inner" / "file").write_bytes(content)
        before_end(made)


def content(target):
    """Return what a folder of `make` holds, None where there is none; it is never mixed."""
    if not target.exists():
        return None
    assert sorted(os.listdir(target)) == ["inner", MARK]
    assert (target / "inner" / "file").read_bytes() + NAMED == (target / MARK).read_bytes()
    return (target / MARK).read_bytes().removesuffix(NAMED)


def test_a_new_folder_takes_the_place_of_none_of_an_empty_one_and_of_its_like(tmp_path):
    make(tmp_path / "a" / "b" / "target", OLD)  # folders above it are made
    assert content(tmp_path / "a" / "b" / "target") == OLD
    (tmp_path / "target").mkdir()
    make(tmp_path / "target", OLD)
    make(tmp_path / "target", NEW, overwrite=True)
    assert content(tmp_path / "target") == NEW
    assert sorted(os.listdir(tmp_path)) == ["a", "target"]
    assert os.listdir(tmp_path / "a" / "b") == ["target"]


def test_a_new_folder_is_seen_only_once_it_is_whole(tmp_path):
    seen = []
    target = tmp_path / "target"
    make(target, OLD, before_end=lambda made: seen.append((made.parent, content(target))))
    make(target, NEW, overwrite=True, before_end=lambda made: seen.append((made.parent, content(target))))
    assert seen == [(tmp_path, None), (tmp_path, OLD)]


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("error", [InputError("no"), KeyboardInterrupt(), ValueError("no")])
def test_what_is_raised_inside_leaves_nothing_and_the_old_folder(tmp_path, old, error):
    def fail(made):
        raise error

    target = tmp_path / "target"
    if old is not None:
        make(target, old)
    with pytest.raises(type(error)):
        make(target, NEW, overwrite=True, before_end=fail)
    assert content(target) == old
    assert os.listdir(tmp_path) == ([] if old is None else ["target"])


@pytest.mark.parametrize(("fault", "text"), [(errno.ENOSPC, "disk full: "), (errno.EIO, "cannot be written: input/")])
def test_a_fault_of_the_system_names_the_folder(tmp_path, fault, text):
    def fail(made):
        raise OSError(fault, os.strerror(fault))

    target = tmp_path / "target"
    with pytest.raises(StorageError, match=text) as caught:
        make(target, NEW, before_end=fail)
    assert str(target) in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("old", [None, OLD])
def test_fault_in_changing_places_leaves_the_old_folder(tmp_path, monkeypatch, old):
    target = tmp_path / "target"
    if old is not None:
        make(target, old)
    for step in range(1 if old is None else 2):  # an old one goes out of the way first
        calls = []
        real = os.replace

        def failing(one, other, *, calls=calls, step=step, real=real):
            calls.append(other)
            if len(calls) == step + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(one, other)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            with pytest.raises(StorageError, match="target: cannot be written: input/output error"):
                make(target, NEW, overwrite=True)
        assert len(calls) >= step + 1
        assert content(target) == old
        assert os.listdir(tmp_path) == ([] if old is None else ["target"])


def killed_while_changing_places(target, *, step):
    """Replace a folder, killed before the renaming numbered so: nothing is tidied up."""

    def dead(*arguments, **options):
        raise Killed

    calls = []
    real = os.replace

    def counted(one, other):
        if len(calls) == step:
            patch.setattr(shutil, "rmtree", dead)
            raise Killed
        calls.append(other)
        real(one, other)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", counted)
        with pytest.raises(Killed):
            make(target, NEW, overwrite=True)


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("overwrite", [False, True])
def test_the_run_after_a_kill_finds_the_old_folder_and_tidies_up(tmp_path, step, overwrite):
    target = tmp_path / "target"
    make(target, OLD)
    killed_while_changing_places(target, step=step)
    assert len(os.listdir(tmp_path)) == 2  # the new one, and the old one under one of its two names
    if overwrite:
        make(target, b"the other", overwrite=True)
        assert content(target) == b"the other"
        assert os.listdir(tmp_path) == ["target"]
    else:
        with pytest.raises(InputError, match=r"exists; pass --overwrite to replace it$"):
            make(target, b"the other")
        assert content(target) == OLD


def refusals(target, kind, *, overwrite):
    """Return what is said before the work and at its beginning."""
    with pytest.raises(kind) as early:
        check_folder(target, overwrite=overwrite, own=OWN)
    with pytest.raises(kind) as late:
        make(target, NEW, overwrite=overwrite)
    return {str(early.value), str(late.value)}


def test_only_a_folder_of_its_own_kind_is_replaced(tmp_path, monkeypatch):
    mine, file, foreign, link = (tmp_path / name for name in ("mine", "file", "foreign", "link"))
    make(mine, OLD)
    file.write_bytes(OLD)
    foreign.mkdir()
    (foreign / "thesis.doc").write_bytes(OLD)
    link.symlink_to(mine)
    shared, long = tmp_path / "shared", tmp_path / ("n" * 256)
    make(shared, OLD)
    (shared / "thesis.doc").write_bytes(OLD)
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for target, overwrite, kind, text in [
        (mine, False, InputError, f"{mine}: exists; pass --overwrite to replace it"),
        (file, True, StorageError, f"{file}: is not a folder"),
        (link, True, StorageError, f"{link}: is not a folder"),
        (tmp_path / "dangling", True, StorageError, f"{tmp_path}/dangling: is not a folder"),
        (foreign, True, InputError, f"{foreign}: is not empty and holds no {MARK}; choose another folder"),
        (foreign, False, InputError, f"{foreign}: is not empty and holds no {MARK}; choose another folder"),
        (shared, True, InputError, f"{shared}: holds thesis.doc too; choose another folder"),
        (shared, False, InputError, f"{shared}: holds thesis.doc too; choose another folder"),
        (Path("."), True, InputError, ".: cannot be replaced; give a folder by its own name"),
        (Path("mine/.."), True, InputError, "mine/..: cannot be replaced; give a folder by its own name"),
        (Path("/"), True, InputError, "/: cannot be replaced; give a folder by its own name"),
        (tmp_path / "a\0b", True, StorageError, f"{tmp_path}/a\\x00b: a folder name has at most 255 bytes and no NUL"),
        (long, True, StorageError, f"{long}: a folder name has at most 255 bytes and no NUL"),
    ]:
        assert refusals(target, kind, overwrite=overwrite) == {text}
    assert content(mine) == OLD
    assert (foreign / "thesis.doc").read_bytes() == (shared / "thesis.doc").read_bytes() == file.read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file", "foreign", "link", "mine", "shared"]


@pytest.mark.parametrize("mine", ["inner/thesis.doc", "inner/inner/", "inner/link", "link", "inner", MARK])
def test_nothing_is_lost_that_others_have_put_inside(tmp_path, mine):
    """A file, a folder, a link, something else under a known name, or a mark that is no mark of ours."""
    target = tmp_path / "target"
    make(target, OLD)
    place = target / mine
    if mine == "inner":
        shutil.rmtree(place)
    if mine.endswith("/"):
        place.mkdir()
    elif mine.endswith("link"):
        place.symlink_to(tmp_path)
    else:
        place.write_bytes(b"thesis" if mine != MARK else b"{}")
    before = sorted(target.rglob("*"))
    reason = f"a {MARK} of another kind" if mine == MARK else f"{mine.rstrip('/')} too"
    assert refusals(target, InputError, overwrite=True) == {f"{target}: holds {reason}; choose another folder"}
    assert sorted(target.rglob("*")) == before


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "target").mkdir()
    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(StorageError) as caught:
        check_folder(tmp_path / "target", overwrite=True, own=OWN)
    assert str(caught.value) == f"{tmp_path}/target: cannot be read: permission denied"


def test_check_folder_accepts_and_makes_nothing(tmp_path):
    check_folder(tmp_path / "a" / "new", overwrite=False, own=OWN)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", overwrite=False, own=OWN)
    make(tmp_path / "mine", OLD)
    check_folder(tmp_path / "mine", overwrite=True, own=OWN)
    assert sorted(os.listdir(tmp_path)) == ["empty", "mine"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "plain").write_bytes(OLD)
    with pytest.raises(StorageError, match=r"plain is not a folder$"):
        make(tmp_path / "plain" / "target", NEW)
    assert (tmp_path / "plain").read_bytes() == OLD


def test_a_file_that_the_mark_does_not_name_is_somebody_elses(tmp_path):
    """Though it is called as one of ours could be."""
    make(tmp_path / "target", OLD)
    (tmp_path / "target" / "inner" / "other").write_bytes(b"mine")
    with pytest.raises(InputError, match="target: holds inner/other too; choose another folder"):
        make(tmp_path / "target", NEW, overwrite=True)
    assert (tmp_path / "target" / "inner" / "other").read_bytes() == b"mine"
