"""Files that are written whole or not at all, whatever fails."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.errors import InputError, StorageError
from blemish.storage.files import clean_stale, scratch_folder, write_atomically
from blemish.storage.places import check_writable
from faults import NEW, OLD, Killed, collected, open_files, write  # noqa: F401


def test_writes_new_and_replaces_old(tmp_path):
    target = tmp_path / "file"
    write_atomically(target, b"")
    assert target.read_bytes() == b""
    write_atomically(target, OLD)
    assert target.read_bytes() == OLD
    write_atomically(str(target), bytearray(NEW))
    assert target.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["file"]


def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_return(tmp_path):
    # 110 bytes in pieces of 40 make three writes; the order is what survives a power cut
    assert write(tmp_path / "file") == [
        *("open", "write", "write", "write", "umask", "umask", "chmod", "fsync", "close"),
        *("replace", "open", "fsync", "close"),
    ]
    assert (tmp_path / "file").read_bytes() == NEW


def test_what_is_synced_is_the_temporary_file_and_then_its_folder(tmp_path, monkeypatch):
    kinds = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (kinds.append(stat.S_IFMT(os.fstat(fd).st_mode)), real(fd))[1])
    write_atomically(tmp_path / "file", NEW)
    assert kinds == [stat.S_IFREG, stat.S_IFDIR]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0, 0o644)])
def test_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", NEW)
        assert os.umask(umask) == umask  # reading it left it as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_temporary_file_is_new_private_and_beside_the_target(tmp_path, monkeypatch):
    seen = []
    real = os.open

    def look(path, flags, mode=0o777):
        seen.append((Path(path), flags & (os.O_CREAT | os.O_EXCL), mode))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", look)
    write_atomically(tmp_path / "file", NEW)
    path, flags, mode = seen[0]
    assert path.parent == tmp_path
    assert path.name.startswith(".")
    assert path.suffix == ".blemish-tmp"
    assert (flags, mode) == (os.O_CREAT | os.O_EXCL, 0o600)


@pytest.mark.parametrize("old", [None, OLD])
def test_fault_at_every_step_leaves_old_or_new_and_nothing_else(tmp_path, old):
    steps = write(tmp_path / "trial")
    for step, name in enumerate(steps):
        folder = tmp_path / str(step)
        folder.mkdir()
        target = folder / "file"
        if old is not None:
            target.write_bytes(old)
        before = open_files()
        with pytest.raises(StorageError, match=r"file: cannot be written: input/output error$"):
            write(target, step=step, fault=errno.EIO)
        expected = NEW if step > steps.index("replace") else old
        assert (target.read_bytes() if target.exists() else None) == expected, (step, name)
        assert os.listdir(folder) == ([] if expected is None else ["file"]), (step, name)
        assert open_files() == before, (step, name)


@pytest.mark.parametrize("old", [None, OLD])
def test_kill_at_every_step_leaves_old_or_new(tmp_path, old):
    steps = write(tmp_path / "trial")
    umask = os.umask(0o022)
    for step, name in enumerate(steps):
        folder = tmp_path / str(step)
        folder.mkdir()
        target = folder / "file"
        if old is not None:
            target.write_bytes(old)
        before = open_files()
        with pytest.raises(Killed):
            write(target, step=step)
        os.umask(umask)
        for leaked in open_files() - before:  # the system would have closed it
            os.close(leaked)
        expected = NEW if step > steps.index("replace") else old
        assert (target.read_bytes() if target.exists() else None) == expected, (step, name)
        stray = [entry for entry in os.listdir(folder) if entry != "file"]
        assert len(stray) == (0 < step <= steps.index("replace")), (step, name)
        clean_stale(target)
        assert os.listdir(folder) == ([] if expected is None else ["file"]), (step, name)
        write_atomically(target, NEW)
        assert target.read_bytes() == NEW


def refused(path, *, before=lambda: None, links=True):
    """Write a new file where one appears in the last moment; return what is said."""
    link = os.link

    def late(source, target):
        before()
        return link(source, target) if links else no_links(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", late)
        with pytest.raises(InputError) as caught:
            write_atomically(path, NEW, overwrite=False)
    return str(caught.value)


def no_links(source, target):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))  # what FAT and some network disks say


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_takes_no_name_that_another_has_taken(tmp_path, monkeypatch, links):
    target = tmp_path / "file"
    text = refused(target, before=lambda: target.write_bytes(OLD), links=links)
    assert text == f"{target}: exists; pass --overwrite to replace it"
    assert (target.read_bytes(), os.listdir(tmp_path)) == (OLD, ["file"])
    target.unlink()
    target.symlink_to("nowhere")
    refused(target, links=links)
    assert os.readlink(target) == "nowhere"
    target.unlink()
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    write_atomically(target, NEW, overwrite=False)
    assert (target.read_bytes(), os.listdir(tmp_path), target.stat().st_nlink) == (NEW, ["file"], 1)


def test_a_fault_on_a_disk_without_links_leaves_no_empty_file(tmp_path, monkeypatch):
    def broken(source, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StorageError, match="file: cannot be written: input/output error"):
        write_atomically(tmp_path / "file", NEW, overwrite=False)
    assert os.listdir(tmp_path) == []


def test_fault_or_kill_at_every_step_of_a_new_file_leaves_it_whole_or_none(tmp_path):
    steps = write(tmp_path / "trial", overwrite=False)
    assert steps[-6:] == ["close", "link", "unlink", "open", "fsync", "close"]
    umask = os.umask(0o022)
    for fault, kind in ((errno.EIO, StorageError), (None, Killed)):
        for step, name in enumerate(steps):
            folder = tmp_path / f"{fault} {step}"
            folder.mkdir()
            before = open_files()
            with pytest.raises(kind):
                write(folder / "file", step=step, fault=fault, overwrite=False)
            os.umask(umask)
            for leaked in open_files() - before:  # the system would have closed it
                os.close(leaked)
            clean_stale(folder / "file")
            expected = [] if step <= steps.index("link") else ["file"]
            assert os.listdir(folder) == expected, (fault, step, name)
            assert [(folder / name).read_bytes() for name in expected] == [NEW] * len(expected)


def test_clean_stale_touches_only_the_temporary_files_of_its_target(tmp_path, monkeypatch):
    def leave(name):
        with monkeypatch.context() as patch:
            for call in ("replace", "unlink"):
                patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(Killed()))
            with pytest.raises(Killed):
                write_atomically(tmp_path / name, NEW)

    for name in ("model", "model", "model2"):
        leave(name)
    (tmp_path / "other.blemish-tmp").write_bytes(b"not ours")
    assert len(os.listdir(tmp_path)) == 4
    clean_stale(tmp_path / "model")
    assert len(os.listdir(tmp_path)) == 2
    clean_stale(tmp_path / "model2")
    assert os.listdir(tmp_path) == ["other.blemish-tmp"]
    clean_stale(tmp_path / "no folder" / "model")


def test_ctrl_c_removes_the_temporary_file(tmp_path, monkeypatch):
    def interrupted(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", NEW)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_disk_full_says_how_much_is_needed(tmp_path, fault):
    target = tmp_path / "file"
    target.write_bytes(OLD)
    with pytest.raises(StorageError) as caught:
        write(target, step=2, fault=fault)
    assert str(caught.value) == f"disk full: {target} needs 110 bytes"
    assert caught.value.exit_code == 4
    assert target.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_real_size_limit_of_the_system(tmp_path):
    target = tmp_path / "file"
    target.write_bytes(OLD)
    code = (
        "import resource, sys\n"
        "from blemish.storage.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_atomically(sys.argv[1], bytes(10_000))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "write_atomically(sys.argv[2], bytes(4000))\n"
    )
    command = [sys.executable, "-c", code, str(target), str(tmp_path / "small")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"StorageError disk full: {target} needs 10000 bytes\n"
    assert target.read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["file", "small"]
    assert (tmp_path / "small").read_bytes() == bytes(4000)


def test_real_faults_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_bytes(OLD)
    for path, reason in [
        (tmp_path / "missing" / "file", "no such file or directory"),
        (tmp_path / "plain" / "file", "not a directory"),
        (tmp_path / "folder", "is a directory"),
    ]:
        with pytest.raises(StorageError) as caught:
            write_atomically(path, NEW)
        assert str(caught.value) == f"{path}: cannot be written: {reason}"
    assert sorted(os.listdir(tmp_path)) == ["folder", "plain"]


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_refusals_of_the_system_are_named(tmp_path, fault):
    with pytest.raises(StorageError) as caught:
        write(tmp_path / "a\nb", step=0, fault=fault)
    assert str(caught.value) == f"{tmp_path}/a\\nb: cannot be written: {os.strerror(fault).lower()}"


def test_folder_that_cannot_be_synced_is_no_failure(tmp_path):
    step = write(tmp_path / "trial").index("replace") + 2
    write(tmp_path / "file", step=step, fault=errno.EINVAL)
    assert (tmp_path / "file").read_bytes() == NEW


def test_longest_name_and_odd_names(tmp_path):
    for name in ("x" * 255, "ü" * 127, "\u202egnp.exe", os.fsdecode(b"\xff\xfe"), "a\nb", "-", " "):
        check_writable(tmp_path / name, overwrite=False)
        write_atomically(tmp_path / name, NEW)
        assert (tmp_path / name).read_bytes() == NEW
    assert len(os.listdir(tmp_path)) == 7


def test_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "real").write_bytes(OLD)
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", NEW)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_bytes() == NEW
    assert (tmp_path / "real").read_bytes() == OLD


def test_a_temporary_folder_is_removed_and_one_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder("x-") as folder:
        (folder / "file").write_bytes(OLD)
        assert [path.name[:2] for path in tmp_path.iterdir()] == ["x-"]
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError) as caught, scratch_folder("x-"):
        pytest.fail("there is no place for it")
    assert str(caught.value) == "no temporary folder can be made: no such file or directory; TMPDIR says where"
