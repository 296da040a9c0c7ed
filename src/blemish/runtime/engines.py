"""Run a graph: onnxruntime or OpenVINO behind one method, `run`, which threads may call at the same time.

`threads` is shared out between `streams` images that are scored at the same time: one stream gives the shortest wait
for one image, as many streams as threads give the most images a second, since no thread waits for another.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, ModelFileError, refused
from blemish.runtime.bundle import GRAPHS, Precision, Target
from blemish.storage.offline import import_onnxruntime, openvino_core

Images = Mapping[int, NDArray[np.uint8]]  # size -> one image, (size, size, 3)
QUOTA = Path("/sys/fs/cgroup/cpu.max")
HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}  # of an int8 graph: what stays in floating point


class Engine(Protocol):
    """Anything that runs a graph."""

    def run(self, images: Images) -> list[NDArray[np.float32]]:
        """Return the combined score map of one image at the reference size R, (R, R), not yet on the scale.

        After it comes what the surface says, a scalar, if the model looks at that. Raises ModelFileError if the graph
        takes other inputs, or cannot be run.
        """


def open_engine(folder: Path, target: Target, precision: Precision, *, threads: int, streams: int) -> Engine:
    """Return an engine for the graph in a folder.

    Raises InputError if the library that runs it is not installed, ModelFileError if it does not accept the graph.
    """
    kind = OnnxEngine if target == "onnx" else OpenVinoEngine
    try:
        return kind(folder, precision, threads=threads, streams=streams)
    except ModuleNotFoundError as error:
        extra = "runtime" if target == "onnx" else "openvino"
        raise InputError(f"{error.name} is not installed; pip install 'blemish[{extra}]'") from None
    except (RuntimeError, ValueError) as error:  # what both libraries raise for a graph that they cannot use
        raise _unusable(folder, target, error) from error


class OnnxEngine:
    """onnxruntime; a session runs in the calling thread, with threads of its own where a stream has more than one."""

    def __init__(self, folder: Path, precision: Precision, *, threads: int, streams: int) -> None:
        onnxruntime = import_onnxruntime()
        del precision  # it is in the graph
        self.folder = folder
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(threads // streams, 1)
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a sixth of the memory, for nothing where one image is as long as the next
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(
                folder / GRAPHS["onnx"][0], options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors share no base but this
            raise ValueError(str(error)) from error

    def run(self, images: Images) -> list[NDArray[np.float32]]:
        """Return what the graph says of one image."""
        try:
            found = self.session.run(None, {f"image{size}": image[None] for size, image in images.items()})
        except Exception as error:
            raise _unusable(self.folder, "onnx", error) from error
        return [np.asarray(one[0]) for one in found]


class OpenVinoEngine:
    """OpenVINO; a stream is an infer request, which one thread at a time may use."""

    def __init__(self, folder: Path, precision: Precision, *, threads: int, streams: int) -> None:
        core = openvino_core()
        model = core.read_model(folder / GRAPHS["openvino"][0])
        # Unless told, OpenVINO computes in bfloat16 where the processor can: a model says itself what it bears.
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": max(threads // streams, 1) * streams,  # as many for each stream
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
        }
        compiled = core.compile_model(model, "CPU", settings)
        self.folder = folder
        self.free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            self.free.put(compiled.create_infer_request())

    def run(self, images: Images) -> list[NDArray[np.float32]]:
        """Return what the graph says of one image."""
        request = self.free.get()
        try:
            inputs = {f"image{size}": image[None] for size, image in images.items()}
            found = request.infer(inputs, share_inputs=True, share_outputs=True)
            return [np.array(found[index][0]) for index in range(len(found))]  # copies: the memory is the request's
        except Exception as error:
            raise _unusable(self.folder, "openvino", error) from error
        finally:
            self.free.put(request)


def _unusable(folder: Path, target: Target, error: Exception) -> ModelFileError:
    return refused(folder, f"{GRAPHS[target][0]} is not usable: {' '.join(str(error).split())}")


def available_threads() -> int:
    """Return how many cores this process may use; a container's share of them counts, where Linux tells it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return cores
