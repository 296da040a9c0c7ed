"""Write a file so that, whatever happens, either the old content or the new content is there."""

import errno
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from blemish.errors import InputError, StorageError, printable
from blemish.storage.places import check_folder_writable, exists

LOCK = ".blemish-lock"  # in a folder in which one process works at a time
TEMPORARY = ".blemish-tmp"  # how files end that a writer is at work on, or has been killed at
_UMASK = threading.Lock()  # two threads at it could leave the strict value
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_atomically(path: str | os.PathLike[str], data: bytes | bytearray, *, overwrite: bool = True) -> None:
    """Replace the file at path by data, or leave it untouched.

    The bytes go to a new file in the same folder, which is renamed once they are on the disk. The result has mode
    0644 less the umask. A symbolic link at path is replaced, not followed.
    Without overwrite, a file that is there when all is written stays, whoever made it meanwhile: InputError.
    Raises StorageError naming the file: disk full, read-only, not permitted, no such folder, input/output error.
    If only the last step fails (telling the disk about the new name), the new file is already in place.
    """
    target = Path(path)
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(8)}{TEMPORARY}")
    try:
        _write_new(temporary, data)
        (os.replace if overwrite else _move_new)(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:  # Ctrl-C too must not leave a temporary file behind
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, FileExistsError) and not overwrite:
            raise exists(target) from None
        if isinstance(error, OSError):
            raise _storage_error(error, target, len(data)) from error
        raise


def clean_stale(path: str | os.PathLike[str]) -> None:
    """Remove the temporary files that killed writers of path left in its folder.

    To be called before the work starts, by the one process that is going to write path.
    Raises StorageError if one cannot be removed; a folder that does not exist holds none.
    """
    target = Path(path)
    prefix = _prefix(target)
    try:
        for name in os.listdir(target.parent):
            if name.startswith(prefix) and name.endswith(TEMPORARY):
                (target.parent / name).unlink(missing_ok=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _storage_error(error, target, 0) from error


@contextmanager
def locked(lock: Path, *, busy: str, wait: float = 0) -> Iterator[None]:
    """Hold a lock file, and remove it in the end; its folder must be there.

    Raises InputError with the text `busy` if another process holds it, for more than `wait` seconds, StorageError if it
    cannot be made.
    """
    from filelock import FileLock, Timeout

    held = FileLock(lock)
    try:
        held.acquire(timeout=wait)
    except Timeout:
        raise InputError(busy) from None
    except OSError as error:
        raise _storage_error(error, lock.parent, 0) from error
    try:
        yield
    finally:
        # The file goes before the lock: who opened it in time, and gets the lock on a file that is gone, is told so by
        # filelock, from version 4 on. After the lock it could be the file of the next holder.
        with suppress(OSError):
            lock.unlink()
        held.release()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep every other command out of a folder that is there; raises as `locked` does."""
    busy = f"{printable(folder)}: another command is at work in it; wait, or choose another folder"
    with locked(folder / LOCK, busy=busy):
        yield


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder, removed in the end; raises StorageError if none can be made."""
    try:
        folder = TemporaryDirectory(prefix=prefix)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StorageError(f"no temporary folder can be made: {reason}; TMPDIR says where") from error
    with folder as name:
        yield Path(name)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there; raises StorageError if that cannot be done."""
    try:
        with _UMASK:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{printable(folder)}: cannot be made: {(error.strerror or str(error)).lower()}") from error


@dataclass(frozen=True, slots=True)
class Own:
    """What tells a folder of our own: a file `mark` in which `sign` stands, and beside it nothing but what is known.

    others: a regular expression of the paths below the folder; that of a folder ends in a slash. The mark names every
    file, so that one of somebody else that happens to be called alike is not taken for our own.
    """

    mark: str
    sign: bytes
    others: str


def check_folder(target: Path, *, overwrite: bool, own: Own) -> None:
    """Refuse, before any work is done for it, an output folder that `new_folder` would not replace; see there."""
    _check_folder(target, overwrite=overwrite, own=own)
    if os.path.lexists(lock_beside(target)):
        with _alone_beside(target):
            pass


def _check_folder(target: Path, *, overwrite: bool, own: Own) -> None:
    name = printable(target)
    if target.name in ("", ".."):
        raise InputError(f"{name}: cannot be replaced; give a folder by its own name")
    check_folder_writable(target, replaced=True)
    try:
        if not os.path.lexists(target) or not os.listdir(target):
            return
        if not os.path.lexists(mark := target / own.mark):
            raise InputError(f"{name}: is not empty and holds no {own.mark}; choose another folder")
        if own.sign not in (named := mark.read_bytes()):
            raise InputError(f"{name}: holds a {own.mark} of another kind; choose another folder")
        if strange := next(_strange(target, own, named), None):
            raise InputError(f"{name}: holds {printable(strange)} too; choose another folder")
    except OSError as error:
        raise StorageError(f"{name}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    if not overwrite:
        raise exists(target)


def _strange(folder: Path, own: Own, named: bytes, below: str = "") -> Iterator[str]:
    """Yield what does not belong into a folder of our own: other names, other kinds of files, links.

    named: what the mark says.
    """
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name, inner = below + entry.name, entry.is_dir(follow_symlinks=False)
        known = name == own.mark or (
            re.fullmatch(own.others, f"{name}/" if inner else name) and (inner or f'"{name}"'.encode() in named)
        )
        if not known or not (inner or entry.is_file(follow_symlinks=False)):
            yield name
        elif inner:
            yield from _strange(folder / entry.name, own, named, f"{name}/")


@contextmanager
def new_folder(target: Path, *, overwrite: bool, own: Own) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` in the end; if anything is raised, nothing is left of it.

    What is at `target` already is replaced with overwrite only, and only if it is an empty folder, or one of our own.
    Raises InputError for another, and if another process is at the same work, StorageError if it cannot be made.
    """
    _check_folder(target, overwrite=overwrite, own=own)
    make_folder(target.parent)
    with _alone_beside(target), _new_folder(target, overwrite=overwrite, own=own) as made:
        yield made


@contextmanager
def _new_folder(target: Path, *, overwrite: bool, own: Own) -> Iterator[Path]:
    made, old = (target.with_name(f"{_prefix(target)}{part}{TEMPORARY}") for part in ("new", "old"))
    _restore(old, target)  # of an earlier run that was killed: now there is something to check
    _check_folder(target, overwrite=overwrite, own=own)
    shutil.rmtree(made, ignore_errors=True)
    make_folder(made)
    try:
        yield made
        if os.path.lexists(target):
            os.replace(target, old)
        os.replace(made, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _storage_error(error, target, 0) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
        _restore(old, target)


@contextmanager
def _alone_beside(target: Path) -> Iterator[None]:
    busy = f"{printable(target)}: another command is at work on it; wait, or choose another folder"
    with locked(lock_beside(target), busy=busy):
        yield


def lock_beside(target: Path) -> Path:
    """Return the lock file of a file or folder, for `locked`; it lies beside it."""
    return target.with_name(f"{_prefix(target)}lock{TEMPORARY}")


def _restore(old: Path, target: Path) -> None:
    """Put an old folder back in its place, unless another has taken it: then it is removed."""
    if old.is_dir() and not os.path.lexists(target):
        os.replace(old, target)
    shutil.rmtree(old, ignore_errors=True)


def _prefix(target: Path) -> str:
    # A hash, as a target whose own name has the full 255 bytes leaves no room for a longer one.
    return f".{sha256(os.fsencode(target.name)).hexdigest()[:16]}-"


def _write_new(path: Path, data: bytes | bytearray) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.chmod(path, 0o644 & ~_umask())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_new(path: Path, target: Path) -> None:
    """Rename a file; raises FileExistsError, and changes nothing, if the new name is taken."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))  # on a disk without links: takes the name
        try:
            os.replace(path, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(target)
            raise
    else:
        os.unlink(path)


def _umask() -> int:
    # It can only be read by setting it; a strict value keeps files that other threads create meanwhile private.
    with _UMASK:
        umask = os.umask(0o077)
        os.umask(umask)
        return umask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what network file systems answer that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def _storage_error(error: OSError, target: Path, size: int) -> StorageError:
    name = printable(target)
    if error.errno in _NO_ROOM:
        return StorageError(f"disk full: {name} needs {size} bytes")
    return StorageError(f"{name}: cannot be written: {(error.strerror or str(error)).lower()}")
