"""What a graph file may hold: the operations of an exported model and nothing else, before any library reads it.

A graph from a stranger could loop for ever, call an operation of a library of its own, or take values from any file.
"""

import re
from collections.abc import Iterator
from xml.parsers import expat

# How a tensor of an ONNX file says that its values lie in another file: a field of tag 1, 8 bytes long. Tag and length
# may be written with more bytes than they need.
EXTERNAL = re.compile(rb"(\n|\x8a\x80*\x00)(\x08|\x88\x80*\x00)location")
MOST_NODES = 20_000  # of nine modules: 800
# What torch makes of the teachers, the students and their scores.
OPERATIONS = frozenset(
    re.findall(
        r"\w+",
        """Add AveragePool BatchNormalization Cast Clip Concat Constant Conv Div Einsum Expand Gather GlobalAveragePool
        Identity Log MatMul Max MaxPool Mul Pad Pow ReduceL2 ReduceMean ReduceMin ReduceSum Relu Reshape Shape Slice
        Sqrt Squeeze Sub Transpose Unsqueeze""",
    )
)
LAYERS = frozenset(
    re.findall(
        r"\w+",
        """Add AvgPool BatchNormInference Broadcast Clamp Concat Const Convert Convolution Divide Einsum FakeQuantize
        GroupConvolution Log MatMul MaxPool Maximum Minimum Multiply Negative Pad Parameter Power ReLU ReduceL2
        ReduceMean ReduceMin ReduceSum Reshape Result ShapeOf Slice Sqrt Squeeze StridedSlice Subtract Transpose
        Unsqueeze VariadicSplit""",
    )
)
GRAPH, NODE, SPARSE, OPERATION, DOMAIN = 7, 1, 15, 4, 7  # fields of ModelProto, GraphProto and NodeProto (onnx.proto)
VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5  # how a field of a protocol buffer is written


def fault_of(name: str, data: bytes) -> str:
    """Return why the graph in a file is refused; empty if it may be run."""
    try:
        if name.endswith(".xml"):
            return _openvino_fault(data)
        return _onnx_fault(data) if name.endswith(".onnx") else ""
    except (ValueError, expat.ExpatError) as error:
        return str(error)


def _openvino_fault(data: bytes) -> str:
    if b"<!" in data:  # a document type could define what the parser does not show here
        return "not an OpenVINO graph"
    layers: list[str] = []
    parser = expat.ParserCreate()  # a tree of all that is in the file would take longer than all other checks
    parser.StartElementHandler = lambda tag, given: layers.append(given.get("type", "")) if tag == "layer" else None
    parser.Parse(data, True)
    return _unknown(layers, LAYERS)


def _unknown(operations: list[str], allowed: frozenset[str]) -> str:
    if len(operations) > MOST_NODES:
        return f"{len(operations)} operations, at most {MOST_NODES} are allowed"
    strange = next((operation for operation in operations if operation not in allowed), None)
    return "" if strange is None else f"operation {strange[:40]} is not allowed"


def _onnx_fault(data: bytes) -> str:
    if EXTERNAL.search(data):
        return "external data refused; a graph must hold all of its values"
    graphs = list(fields_of(data, GRAPH))
    if any(True for graph in graphs for _ in fields_of(graph, SPARSE)):
        return "sparse values are not allowed"
    nodes = [dict(fields(node)) for graph in graphs for node in fields_of(graph, NODE)]
    names = [bytes(node.get(OPERATION, b"")).decode("ascii", "replace") for node in nodes]
    if foreign := next((name for name, node in zip(names, nodes, strict=True) if node.get(DOMAIN)), None):
        return f"operation {foreign[:40]} is not allowed"
    return _unknown(names, OPERATIONS)


def fields_of(message: memoryview | bytes, wanted: int) -> Iterator[memoryview]:
    """Yield the values of one repeated field of a protocol buffer."""
    return (value for number, value in fields(message) if number == wanted)


def fields(message: memoryview | bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield (number, bytes) of each field of a protocol buffer that has a length; numbers are passed over.

    Raises ValueError for bytes that are none.
    """
    view, position = memoryview(message), 0
    while position < len(view):
        key, position = _varint(view, position)
        kind = key & 7
        if kind == VARINT:
            _, position = _varint(view, position)
            continue
        if kind == LENGTH:
            length, position = _varint(view, position)
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError("not an ONNX graph")
        if position + length > len(view):
            raise ValueError("truncated ONNX graph")
        if kind == LENGTH:
            yield key >> 3, view[position : position + length]
        position += length


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the number at a position, seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(view):
            raise ValueError("truncated ONNX graph")
        byte = view[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("not an ONNX graph")
