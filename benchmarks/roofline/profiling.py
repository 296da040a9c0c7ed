"""Which operations of a bundle's graph take the time, as onnxruntime or OpenVINO tell it."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

Seconds = dict[str, float]  # kind of operation -> seconds for one image


def graph_seconds(runtime: Any, folder: Path, sizes: Sequence[int], *, threads: int, repeats: int) -> Seconds:
    """Return the mean seconds of each kind of operation for one image of noise; telling costs some time itself."""
    random = np.random.default_rng(0)
    given = {f"image{size}": random.integers(0, 256, (1, size, size, 3), dtype=np.uint8) for size in sizes}
    bundle = runtime.bundle
    if bundle.target == "onnx":
        return _onnxruntime_seconds(folder / "graph.onnx", given, threads=threads, repeats=repeats)
    from blemish.runtime.engines import HINTS

    return _openvino_seconds(folder / "graph.xml", HINTS[bundle.precision], given, threads=threads, repeats=repeats)


def _onnxruntime_seconds(graph: Path, given: dict[str, Any], *, threads: int, repeats: int) -> Seconds:
    import onnxruntime

    seconds: Seconds = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(repeats):
            session.run(None, given)
        events = json.loads(Path(session.end_profiling()).read_text())
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            seconds[event["args"]["op_name"]] += event["dur"] / 1e6 / repeats
    return dict(seconds)


def _openvino_seconds(graph: Path, hint: str, given: dict[str, Any], *, threads: int, repeats: int) -> Seconds:
    import openvino

    settings = {"PERF_COUNT": True, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": False}  # fmt: skip
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    request.infer(given)
    seconds: Seconds = defaultdict(float)
    for _ in range(repeats):
        request.infer(given)
        for node in request.profiling_info:
            seconds[f"{node.node_type} ({node.exec_type})"] += node.real_time.total_seconds() / repeats
    return dict(seconds)
