"""What a graph may hold; the ONNX files are made by onnx, and read here without it."""

import pytest
from onnx import AttributeProto, TensorProto, helper

from blemish.runtime import operations as contents
from blemish.runtime.operations import GRAPH, NODE, OPERATION, fault_of, fields, fields_of


def graph(*nodes):
    """Return the bytes of a graph of (operation, domain) in a row."""
    made = [
        helper.make_node(operation, [f"x{index}"], [f"x{index + 1}"], domain=domain)
        for index, (operation, domain) in enumerate(nodes)
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x0", f"x{len(nodes)}")]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.5, -2.0, 300.0])
    return helper.make_model(helper.make_graph(made, "g", ports[:1], ports[1:], [weights])).SerializeToString()


def test_operations_are_read_in_their_order():
    data = graph(("Conv", ""), ("Relu", ""), ("Add", ""))
    nodes = [dict(fields(node)) for found in fields_of(data, GRAPH) for node in fields_of(found, NODE)]
    assert [bytes(node[OPERATION]) for node in nodes] == [b"Conv", b"Relu", b"Add"]
    assert fault_of("graph.onnx", data) == ""


@pytest.mark.parametrize("operation", ["If", "Loop", "Scan", "SequenceMap", "NonMaxSuppression"])
def test_other_operations_are_refused(operation):
    assert fault_of("graph.onnx", graph(("Relu", ""), (operation, ""))) == f"operation {operation} is not allowed"


def test_an_operation_of_another_domain_is_refused_whatever_its_name():
    assert fault_of("graph.onnx", graph(("Conv", "com.example"))) == "operation Conv is not allowed"


def test_the_number_of_operations_has_a_limit(monkeypatch):
    monkeypatch.setattr(contents, "MOST_NODES", 3)
    assert fault_of("graph.onnx", graph(*[("Relu", "")] * 3)) == ""
    assert fault_of("graph.onnx", graph(*[("Relu", "")] * 4)) == "4 operations, at most 3 are allowed"


def test_a_loop_inside_an_allowed_operation_is_seen_by_the_operation_around_it():
    """Only If, Loop, Scan and SequenceMap hold graphs, and all of them are refused."""
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    assert {attribute.type for attribute in node.attribute} == {AttributeProto.GRAPH}
    data = helper.make_model(helper.make_graph([node], "g", [], [])).SerializeToString()
    assert fault_of("graph.onnx", data) == "operation If is not allowed"


def test_external_data_are_refused():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    data = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    assert fault_of("graph.onnx", data) == "external data refused; a graph must hold all of its values"


@pytest.mark.parametrize("length", [1, 5, 20, 60, -1])
def test_bytes_that_are_cut_short_are_refused(length):
    assert fault_of("graph.onnx", graph(("Relu", ""), ("Conv", ""))[:length]) in (
        "truncated ONNX graph",
        "not an ONNX graph",
    )


def test_numbers_and_fixed_fields_are_passed_over():
    """Field 1 as a number of two bytes, field 2 of eight bytes, field 3 of four, field 4 with the bytes ab."""
    message = b"\x08\x96\x01" + b"\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x22\x02ab"
    assert [(number, bytes(value)) for number, value in fields(message)] == [(4, b"ab")]


@pytest.mark.parametrize("message", [b"\x0b", b"\x0c", b"\xff" * 11, b"\x0f"])
def test_what_is_no_protocol_buffer_raises(message):
    with pytest.raises(ValueError, match="ONNX graph"):
        list(fields(message))


@pytest.mark.parametrize("operation", ["If", "Loop", "TensorIterator", "ReadValue", "Assign", "MyOperation", ""])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_other_operations_of_an_openvino_graph_are_refused(operation, quote):
    net = "<net><layers><layer id='0' type='Convolution'/><layer type = %s%s%s /></layers></net>"
    assert fault_of("graph.xml", (net % (quote, operation, quote)).encode()) == f"operation {operation} is not allowed"
    assert fault_of("graph.xml", (net % (quote, "Add", quote)).encode()) == ""
    assert fault_of("graph.bin", (net % (quote, operation, quote)).encode()) == ""


def test_an_operation_inside_the_body_of_another_and_one_spelt_with_entities_are_seen():
    inner = b"<net><layer type='Add'><body><layers><layer type='Loop'/></layers></body></layer></net>"
    assert fault_of("graph.xml", inner) == "operation Loop is not allowed"
    assert fault_of("graph.xml", b"<net><layer type='L&#111;op'/></net>") == "operation Loop is not allowed"
    assert fault_of("graph.xml", b"<!DOCTYPE net [<!ENTITY a 'b'>]><net/>") == "not an OpenVINO graph"
    assert fault_of("graph.xml", b"<net><layer>") == "no element found: line 1, column 12"


def test_sparse_values_are_refused():
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [3])
    sparse = helper.make_sparse_tensor(values, indices, [60000, 60000])
    data = helper.make_model(helper.make_graph([], "g", [], [], sparse_initializer=[sparse])).SerializeToString()
    assert fault_of("graph.onnx", data) == "sparse values are not allowed"
