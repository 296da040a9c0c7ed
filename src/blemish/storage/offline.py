"""Libraries that would else look for a host, or leave files behind: imported so that they do neither.

onnxruntime keeps a device's id and a database in the user's cache, and looks for a host of its maker's; OpenVINO writes
ids into ~/intel and looks for one; matplotlib keeps a list of fonts, torch a folder for what it compiles. Nobody asked.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from blemish.storage.files import scratch_folder

_CORE = threading.Lock()  # two threads at once would make one each


def import_onnxruntime() -> Any:
    """Return the module onnxruntime, told to keep to itself; raises ModuleNotFoundError."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded
    import onnxruntime

    return onnxruntime


def import_openvino() -> Any:
    """Return the module openvino without its telemetry, which is a package of its own; raises ModuleNotFoundError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # how Python notes what is not there
    import openvino

    return openvino


def openvino_core() -> Any:
    """Return OpenVINO's core, the only one of this process; raises ModuleNotFoundError."""
    with _CORE:
        return _core(import_openvino())


@cache
def _core(openvino: Any) -> Any:
    # Each core gives the thread a stack for signals, and what it found there back when it goes: of two that go in the
    # order in which they came, the second brings back that of the first, which is gone. Ctrl-C ends in a crash then.
    return openvino.Core()


@contextmanager
def folder_dropped(variable: str) -> Iterator[None]:
    """Let a library find, meanwhile, a folder that is removed in the end where an environment variable names its own.

    MPLCONFIGDIR: matplotlib's list of fonts, made when it is first imported. TORCHINDUCTOR_CACHE_DIR: a folder that
    torch makes when it exports.
    """
    before = os.environ.get(variable)
    with scratch_folder("blemish-dropped-") as folder:
        os.environ[variable] = str(folder)
        try:
            yield
        finally:
            os.environ.pop(variable, None)
            if before is not None:
                os.environ[variable] = before
