"""What the tests of files share: calls of the system that are counted, fail, or kill."""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from blemish.storage.files import write_atomically

CALLS = ("open", "write", "umask", "chmod", "fsync", "close", "link", "replace", "unlink")


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


def write(path: Path, *, step: int = sys.maxsize, fault: int | None = None, overwrite: bool = True) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        trace = watch(patch, step=step, fault=fault)
        write_atomically(path, NEW, overwrite=overwrite)
    return trace


def open_files() -> set[int]:
    listed = map(int, os.listdir("/proc/self/fd"))
    return {descriptor for descriptor in listed if os.path.exists(f"/proc/self/fd/{descriptor}")}


@pytest.fixture(autouse=True)
def collected():
    """What other tests have left behind closes its files before a test, and not while its own are counted."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def ordinary():
    """A folder of a user to whom permissions apply; for root, the test runs as such a user."""
    folder, root = Path(tempfile.mkdtemp(prefix="blemish-ordinary-")), os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
        os.setegid(0)
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o700)
    shutil.rmtree(folder)
