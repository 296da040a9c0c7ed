"""Measures what this machine can do at most: multiply-adds a second in three precisions, and bytes a second."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

SIDES = (512, 768, 1024, 1536, 2048)  # of the square matrices
SWEEP = tuple(1 << bits for bits in (18, 19, 20, 21, 22, 24, 26, 28, 30))  # bytes of two arrays together
LEAST_SECONDS = 0.02  # a shorter time is taken over several calls
PRECISIONS = ("float32", "bfloat16", "int8")

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was reached, and by what: FLOPs a second, of int8 operations a second."""

    per_second: float
    how: str


@dataclass(frozen=True, slots=True)
class Peaks:
    """The limits of this machine with so many threads.

    matrix: {precision: Peak}. bandwidth: {bytes of two arrays: bytes read and written a second}.
    """

    threads: int
    matrix: dict[str, Peak]
    bandwidth: dict[int, float]

    def bandwidth_of(self, size: int) -> float:
        """Return the bytes a second of data of that size: the best of the arrays that are as large or larger."""
        return max(
            (rate for held, rate in self.bandwidth.items() if held >= size), default=min(self.bandwidth.values())
        )


def measure_peaks(
    threads: int, *, sides: tuple[int, ...] = SIDES, sweep: tuple[int, ...] = SWEEP, runs: int = 5
) -> Peaks:
    """Return the limits with so many threads; the best of all ways, sizes and runs."""
    torch.set_num_threads(threads)
    matrix: dict[str, Peak] = {}
    for precision in PRECISIONS:
        for side in sides:
            for how, work in _products(precision, side, threads):
                rate = 2 * side**3 / best_seconds(work, runs=runs)
                if precision not in matrix or rate > matrix[precision].per_second:
                    matrix[precision] = Peak(rate, f"{how}, {side} x {side}")
    return Peaks(threads, matrix, {size: _bandwidth(size, runs=runs) for size in sweep})


def best_seconds(work: Work, *, runs: int) -> float:
    """Return the seconds of one call, the best of some runs; a run is as many calls as LEAST_SECONDS asks for."""
    work()
    start = time.perf_counter()
    work()
    calls = max(1, round(LEAST_SECONDS / (time.perf_counter() - start)))
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def _products(precision: str, side: int, threads: int) -> Iterator[tuple[str, Work]]:
    """Yield ways to multiply two square matrices; those that are not to be had here are left out."""
    random = torch.Generator().manual_seed(0)
    if precision == "int8":
        yield from _int8_products(side, threads)
        return
    kind = getattr(torch, precision)
    a, b = (torch.randn((side, side), generator=random).to(kind) for _ in range(2))
    yield "torch.matmul", lambda: a @ b
    yield "torch.nn.functional.linear", lambda: torch.nn.functional.linear(a, b)
    reorder = getattr(torch.ops.mkldnn, "_reorder_linear_weight", None)
    if torch.backends.mkldnn.is_available() and reorder is not None:
        packed = reorder(b, side)
        yield (
            "oneDNN linear, packed weight",
            lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], ""),
        )


def _int8_products(side: int, threads: int) -> Iterator[tuple[str, Work]]:
    random = torch.Generator().manual_seed(0)
    a = torch.randint(0, 256, (side, side), generator=random, dtype=torch.uint8)
    b = torch.randint(-127, 128, (side, side), generator=random, dtype=torch.int8)
    signed = b.T.contiguous()
    yield "torch._int_mm", lambda: torch._int_mm(signed, b)
    # Packed beforehand and requantised to 8 bits in the kernel, as in a network: the closest to the unit's own rate.
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.onednn, "qlinear_pointwise"):
        packed = torch.ops.onednn.qlinear_prepack(b, [side, side])
        scales, zeros = torch.ones(side), torch.zeros(side, dtype=torch.int64)
        yield (
            "oneDNN int8 linear, packed weight",
            lambda: torch.ops.onednn.qlinear_pointwise(
                a, 0.1, 0, packed, scales, zeros, None, 1.0, 0, torch.uint8, "none", [], ""
            ),
        )
    yield from _onnxruntime_product(a.numpy(), b.numpy(), threads)


def _onnxruntime_product(a: np.ndarray, b: np.ndarray, threads: int) -> Iterator[tuple[str, Work]]:
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return
    node = helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    given = helper.make_tensor_value_info("a", TensorProto.UINT8, a.shape)
    made = helper.make_tensor_value_info("c", TensorProto.INT32, a.shape)
    graph = helper.make_graph([node], "product", [given], [made], [numpy_helper.from_array(b, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    yield "onnxruntime MatMulInteger", lambda: session.run(None, {"a": a})


def _bandwidth(size: int, *, runs: int) -> float:
    """Return the bytes a second of y = y + 3 x, where x and y take that many bytes: two are read, one is written.

    Nothing moves that is not counted: a written line has been read before, so the processor need not fetch it.
    """
    x, y = torch.ones(size // 8), torch.zeros(size // 8)
    return 1.5 * size / best_seconds(lambda: y.add_(x, alpha=3.0), runs=runs)
