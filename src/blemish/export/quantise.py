"""From a float graph to an int8 one: the convolutions of teacher and students; what compares them stays float32.

A score is the difference of two nearly equal features. So only what goes into a convolution is quantised, never what
comes out of a stage: teacher and student see the same rounded input, and their outputs are compared in float32.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from blemish.storage.files import scratch_folder
from blemish.storage.offline import import_onnxruntime

onnxruntime = import_onnxruntime()
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: E402

Feed = dict[str, NDArray[np.uint8]]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        """Return the next images, None after the last."""
        return next(self.feeds, None)


def quantise(graph: Path, feeds: Iterable[Feed]) -> bytes:
    """Return an ONNX graph with int8 convolutions; static, weights per channel, activations per tensor.

    graph: the float32 graph; feeds: its inputs for good images, one at a time, whose activations set the ranges.
    """
    with scratch_folder("blemish-export-") as folder:
        folded, quantised = folder / "folded.onnx", folder / "int8.onnx"
        _fold(graph, folded)
        nodes = [node.name for node in onnx.load(folded).graph.node if node.op_type == "Conv"]
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it asks for the folding that was just done
        try:
            quantize_static(
                folded,
                quantised,
                _Reader(feeds),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt8,
                nodes_to_quantize=nodes,
                extra_options={"OpTypesToExcludeOutputQuantization": ["Conv"]},
            )
        finally:
            logging.disable(before)
        model = onnx.load(quantised)
    _keep_float(model)
    _drop_clips(model)
    data: bytes = model.SerializeToString()
    return data


def _fold(graph: Path, folded: Path) -> None:
    """Write the graph with batch normalisation folded into the convolutions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _keep_float(model: onnx.ModelProto) -> None:
    """Let all but convolutions see what was there before it was quantised.

    onnxruntime gives the rounded values to everyone: a feature that the next stage takes would be compared rounded,
    and the student's, which goes nowhere else, as it is.
    """
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        for index, name in enumerate(node.input if node.op_type != "Conv" else ()):
            if name in made and made[name].op_type == "DequantizeLinear" and made[name].input[0] in made:
                node.input[index] = made[made[name].input[0]].input[0]


def _drop_clips(model: onnx.ModelProto) -> None:
    """Drop every relu6 whose results are quantised to within its bounds: rounding to 8 bits clips as well.

    Left in place, each of them is a pass over its feature in float32.
    """
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    users = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            users[name].append(node)

    def clips(node: onnx.NodeProto, lower: float, upper: float) -> bool:
        if node.op_type != "QuantizeLinear":
            return False
        scale, zero = (constants[name] for name in node.input[1:3])
        return bool(zero == 0 == lower and scale * 255 <= upper * (1 + 1e-6))

    for node in [node for node in model.graph.node if node.op_type == "Clip"]:
        after = users[node.output[0]]
        bounds = [float(constants[name]) for name in node.input[1:] if name in constants]
        if after and len(bounds) == 2 and all(clips(user, *bounds) for user in after):
            for user in after:
                user.input[0] = node.input[0]
            model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for constant in [one for one in model.graph.initializer if one.name not in used]:
        model.graph.initializer.remove(constant)
