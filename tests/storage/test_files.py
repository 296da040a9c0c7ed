import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.errors import InputError, StorageError
from blemish.storage.files import check_folder, check_writable, clean_stale, new_folder, write_atomically

CALLS = ("open", "write", "umask", "chmod", "fsync", "close", "replace", "unlink")
OLD, NEW = b"old" * 10, b"new content" * 10


class Killed(BaseException):
    """Stands for kill -9: from then on no system call is made, not even those that would tidy up."""


def watch(patch: pytest.MonkeyPatch, *, step: int, fault: int | None = None) -> list[str]:
    """Number the system calls; the one numbered step fails with errno fault, or without one the process is killed."""
    trace: list[str] = []

    def wrapped(name, real):
        def call(*arguments, **options):
            if fault is None and len(trace) >= step:
                raise Killed
            trace.append(name)
            if len(trace) - 1 == step:
                if name == "close":
                    real(*arguments)  # a close that fails has still let the descriptor go
                raise OSError(fault, os.strerror(fault))
            if name == "write":
                return real(arguments[0], arguments[1][:40])  # the system may take less than it is given
            return real(*arguments, **options)

        return call

    for name in CALLS:
        patch.setattr(os, name, wrapped(name, getattr(os, name)))
    return trace


def write(path: Path, *, step: int = sys.maxsize, fault: int | None = None) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        trace = watch(patch, step=step, fault=fault)
        write_atomically(path, NEW)
    return trace


def open_files() -> set[int]:
    listed = map(int, os.listdir("/proc/self/fd"))
    return {descriptor for descriptor in listed if os.path.exists(f"/proc/self/fd/{descriptor}")}


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


def test_check_writable_accepts(tmp_path, monkeypatch):
    check_writable(tmp_path / "new", overwrite=False)
    (tmp_path / "old").write_bytes(OLD)
    check_writable(tmp_path / "old", overwrite=True)
    monkeypatch.chdir(tmp_path)
    check_writable("new", overwrite=False)
    assert os.listdir(tmp_path) == ["old"]


def refusal(path, *, overwrite=True):
    with pytest.raises(InputError) as caught:
        check_writable(path, overwrite=overwrite)
    return str(caught.value)


def test_check_writable_refuses(tmp_path):
    old, folder = tmp_path / "old", tmp_path / "folder"
    old.write_bytes(OLD)
    folder.mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    missing = tmp_path / "missing"
    assert refusal(old, overwrite=False) == f"{old}: exists; pass --overwrite to replace it"
    assert refusal(tmp_path / "link", overwrite=False) == f"{tmp_path}/link: exists; pass --overwrite to replace it"
    assert refusal(folder) == f"{folder}: is a folder; expected the name of a file"
    assert refusal("") == ".: is a folder; expected the name of a file"
    assert refusal(missing / "file") == f"{missing}/file: the folder {missing} does not exist"
    assert refusal(old / "file") == f"{old}/file: the folder {old} does not exist"
    assert refusal(tmp_path / "pipe") == f"{tmp_path}/pipe: exists and is not a regular file"
    assert refusal("/dev/null") == "/dev/null: exists and is not a regular file"
    assert refusal(tmp_path / "a\0b") == f"{tmp_path}/a\\x00b: a file name has at most 255 bytes and no NUL"
    assert refusal(tmp_path / ("ü" * 128)).endswith(": a file name has at most 255 bytes and no NUL")
    assert old.read_bytes() == OLD


def test_check_writable_asks_for_the_right_to_write_in_the_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: bool(asked.append((path, mode))))
    assert refusal(tmp_path / "file") == f"{tmp_path}/file: the folder {tmp_path} is not writable"
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


MARK = "mark.json"


def make(target, content, *, overwrite=False, before_end=lambda made: None):
    with new_folder(target, overwrite=overwrite, mark=MARK, others=["inner"]) as made:
        assert os.listdir(made) == []
        (made / MARK).write_bytes(content)
        (made / "inner").mkdir()
        (made / "inner" / "file").write_bytes(content)
        before_end(made)


def content(target):
    """Return what a folder of `make` holds, None where there is none; it is never mixed."""
    if not target.exists():
        return None
    assert sorted(os.listdir(target)) == ["inner", MARK]
    assert (target / "inner" / "file").read_bytes() == (target / MARK).read_bytes()
    return (target / MARK).read_bytes()


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
        make(target, b"third", overwrite=True)
        assert content(target) == b"third"
        assert os.listdir(tmp_path) == ["target"]
    else:
        with pytest.raises(InputError, match=r"exists; pass --overwrite to replace it$"):
            make(target, b"third")
        assert content(target) == OLD


def test_only_a_folder_of_its_own_kind_is_replaced(tmp_path, monkeypatch):
    mine, file, foreign, link = (tmp_path / name for name in ("mine", "file", "foreign", "link"))
    make(mine, OLD)
    file.write_bytes(OLD)
    foreign.mkdir()
    (foreign / "thesis.doc").write_bytes(OLD)
    link.symlink_to(mine)
    shared = tmp_path / "shared"
    make(shared, OLD)
    (shared / "thesis.doc").write_bytes(OLD)
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for target, overwrite, text in [
        (mine, False, f"{mine}: exists; pass --overwrite to replace it"),
        (file, True, f"{file}: is not a folder"),
        (link, True, f"{link}: is not a folder"),
        (tmp_path / "dangling", True, f"{tmp_path}/dangling: is not a folder"),
        (foreign, True, f"{foreign}: is not empty and holds no {MARK}; choose another folder"),
        (foreign, False, f"{foreign}: is not empty and holds no {MARK}; choose another folder"),
        (shared, True, f"{shared}: holds thesis.doc too; choose another folder"),
        (shared, False, f"{shared}: holds thesis.doc too; choose another folder"),
        (Path("."), True, ".: cannot be replaced; give a folder by its own name"),
        (Path("mine/.."), True, "mine/..: cannot be replaced; give a folder by its own name"),
        (Path("/"), True, "/: cannot be replaced; give a folder by its own name"),
        (tmp_path / "a\0b", True, f"{tmp_path}/a\\x00b: a folder name has at most 255 bytes and no NUL"),
        (tmp_path / ("ü" * 128), True, f"{tmp_path}/{'ü' * 128}: a folder name has at most 255 bytes and no NUL"),
    ]:
        with pytest.raises(InputError) as caught:
            check_folder(target, overwrite=overwrite, mark=MARK, others=["inner"])
        assert str(caught.value) == text
        with pytest.raises(InputError) as caught:
            make(target, NEW, overwrite=overwrite)
        assert str(caught.value) == text
    assert content(mine) == OLD
    assert (foreign / "thesis.doc").read_bytes() == (shared / "thesis.doc").read_bytes() == file.read_bytes() == OLD
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file", "foreign", "link", "mine", "shared"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (tmp_path / "target").mkdir()
    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(InputError) as caught:
        check_folder(tmp_path / "target", overwrite=True, mark=MARK)
    assert str(caught.value) == f"{tmp_path}/target: cannot be read: permission denied"


def test_check_folder_accepts_and_makes_nothing(tmp_path):
    check_folder(tmp_path / "a" / "new", overwrite=False, mark=MARK)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", overwrite=False, mark=MARK)
    make(tmp_path / "mine", OLD)
    check_folder(tmp_path / "mine", overwrite=True, mark=MARK, others=["inner", "more"])
    assert sorted(os.listdir(tmp_path)) == ["empty", "mine"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "plain").write_bytes(OLD)
    with pytest.raises(StorageError, match="plain: cannot be made: "):
        make(tmp_path / "plain" / "target", NEW)
    assert (tmp_path / "plain").read_bytes() == OLD
