"""Quantising: what goes into a convolution, nothing else; on small graphs made by hand."""

import logging
import os
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from blemish.export.quantise import _drop_clips, quantise

SIDE = 12
RANDOM = np.random.default_rng(4)
LOUD = np.array([1, 2, 4, 0.5])[:, None, None, None]  # of each channel
FIRST = (LOUD * RANDOM.normal(0, 0.02, (4, 3, 3, 3))).astype(np.float32)
SECOND = RANDOM.normal(0, 0.3, (5, 4, 3, 3)).astype(np.float32)
BIAS = np.array([0.5, -0.5, 2.0, 0.1], np.float32)
PICTURES = RANDOM.integers(0, 256, (6, 1, SIDE, SIDE, 3), dtype=np.uint8)


def model_file(path, *, bounds=(0.0, 6.0), normalised=False, beside=False):
    """Write image64 -> float -> conv -> clip -> conv -> map.

    normalised: a batch normalisation after the first convolution. beside: the mean of what is clipped is added too.
    """
    constants = {"first": FIRST, "bias": BIAS, "second": SECOND}
    constants |= {"lower": np.array(bounds[0], np.float32), "upper": np.array(bounds[1], np.float32)}
    nodes = [
        helper.make_node("Cast", ["image64"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["image"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["image", "first", "bias"], ["one"], "conv1", pads=[1, 1, 1, 1]),
    ]
    if normalised:
        for name, value in (("scale", 1.5), ("shift", 0.25), ("mean", 0.5), ("var", 4.0)):
            constants[name] = np.full(4, value, np.float32)
        given = ["one", "scale", "shift", "mean", "var"]
        nodes.append(helper.make_node("BatchNormalization", given, ["two"], "norm", epsilon=0.0))
    nodes += [
        helper.make_node("Clip", ["two" if normalised else "one", "lower", "upper"], ["clipped"], "clip"),
        helper.make_node("Conv", ["clipped", "second"], ["three" if beside else "map"], "conv2", pads=[1, 1, 1, 1]),
    ]
    if beside:
        nodes.append(helper.make_node("ReduceMean", ["clipped", "axes"], ["mean_map"], "mean", keepdims=1))
        nodes.append(helper.make_node("Add", ["three", "mean_map"], ["map"], "add"))
        constants["axes"] = np.array([1], np.int64)
    graph = helper.make_graph(
        nodes,
        "hand-made",
        [helper.make_tensor_value_info("image64", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 5, SIDE, SIDE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def feeds():
    return ({"image64": picture} for picture in PICTURES)


def quantised(path):
    return onnx.load_from_string(quantise(path, feeds()))


def kinds(model):
    return Counter(node.op_type for node in model.graph.node)


def run(model, picture):
    data = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model.read_bytes()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # without VNNI sums of products would saturate
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image64": picture})


def conv(x, weight, bias=None):
    tensors = [None if one is None else torch.tensor(np.asarray(one, np.float64)) for one in (x, weight, bias)]
    return F.conv2d(*tensors, padding=1).numpy()


def test_the_result_is_within_what_rounding_allows(tmp_path):
    """The bound is worked out from the sizes of the steps: half a step for every value and every weight."""
    path = model_file(tmp_path / "g.onnx")
    model = quantised(path)
    image = PICTURES.transpose(0, 1, 4, 2, 3)[:, 0].astype(np.float64)
    clipped = np.clip(conv(image, FIRST, BIAS), 0, 6)
    step1 = [np.abs(weights).max() / 127 for weights in FIRST]
    step2 = [np.abs(weights).max() / 127 for weights in SECOND]
    half1 = np.stack([np.full(FIRST.shape[1:], step / 2) for step in step1])
    half2 = np.stack([np.full(SECOND.shape[1:], step / 2) for step in step2])
    scales = {node.name: constant(model, node.input[1]) for node in of_kind(model, "QuantizeLinear")}
    assert len(scales) == 2
    given, between = sorted(scales.values(), reverse=True)
    assert given == pytest.approx(255 / 255)
    assert between == pytest.approx(clipped.max() / 255, rel=1e-5)
    # The images are whole numbers, so that they are quantised without loss; the bias is rounded to a step of both.
    error1 = conv(image, half1) + given * np.array(step1)[:, None, None] / 2
    error2 = conv(error1 + between / 2, np.abs(SECOND) + half2) + conv(clipped, half2)
    largest = 0
    for index, picture in enumerate(PICTURES):
        (expected,), (found,) = run(path, picture), run(model, picture)
        difference = np.abs(found - expected)[0]
        assert (difference <= error2[index] + 1e-4).all()
        largest = max(largest, difference.max())
    assert 1e-3 < largest < 0.1 * np.abs(run(path, PICTURES[0])[0]).max()


def of_kind(model, kind):
    return [node for node in model.graph.node if node.op_type == kind]


def constant(model, name):
    (found,) = [one for one in model.graph.initializer if one.name == name]
    return numpy_helper.to_array(found)


def test_a_clip_that_rounding_does_as_well_is_dropped(tmp_path):
    model = quantised(model_file(tmp_path / "g.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert kinds(model)["Clip"] == 0
    assert kinds(model)["Conv"] == 2
    names = {one.name for one in model.graph.initializer}
    assert not {"lower", "upper"} & names  # of no more use
    assert names == {name for node in model.graph.node for name in node.input} & names


def test_only_what_goes_into_a_convolution_is_quantised(tmp_path):
    model = quantised(model_file(tmp_path / "g.onnx", beside=True))
    users = {name: node.op_type for node in model.graph.node for name in node.input}
    made = {name: node for node in model.graph.node for name in node.output}
    convolutions = of_kind(model, "Conv")
    assert len(of_kind(model, "QuantizeLinear")) == len(convolutions) == 2
    for node in convolutions:
        assert made[node.input[0]].op_type == "DequantizeLinear"
        assert made[made[node.input[0]].input[0]].op_type == "QuantizeLinear"
        assert users[node.output[0]] in ("Clip", "Add")  # in float32, as it comes
    for name in ("ReduceMean", "Add"):
        (node,) = of_kind(model, name)
        assert all(made[one].op_type not in ("DequantizeLinear", "QuantizeLinear") for one in node.input if one in made)


def test_weights_are_int8_with_a_step_for_each_channel(tmp_path):
    model = quantised(model_file(tmp_path / "g.onnx"))
    made = {name: node for node in model.graph.node for name in node.output}
    for node, weights in zip(of_kind(model, "Conv"), (FIRST, SECOND), strict=True):
        dequantise = made[node.input[1]]
        whole, steps = (constant(model, name) for name in dequantise.input[:2])
        assert whole.dtype == np.int8
        assert [one.i for one in dequantise.attribute if one.name == "axis"] == [0]
        largest = np.abs(weights).max(axis=(1, 2, 3))
        np.testing.assert_allclose(steps, largest / 127, rtol=0.01)
        rest = np.abs(whole * steps[:, None, None, None] - weights).max(axis=(1, 2, 3))
        assert (rest <= steps / 2 * 1.01).all()
    for node in of_kind(model, "QuantizeLinear"):
        assert constant(model, node.input[2]).dtype == np.uint8
        assert constant(model, node.input[1]).shape == ()


def test_batch_normalisation_is_folded(tmp_path):
    path = model_file(tmp_path / "g.onnx", normalised=True)
    model = quantised(path)
    assert kinds(model)["BatchNormalization"] == kinds(model)["Clip"] == 0
    (node, _), made = of_kind(model, "Conv"), {name: node for node in model.graph.node for name in node.output}
    whole, steps = (constant(model, name) for name in made[node.input[1]].input[:2])
    np.testing.assert_allclose(whole * steps[:, None, None, None], FIRST * 1.5 / 2, atol=float(steps.max()) * 0.51)
    (expected,), (found,) = run(path, PICTURES[0]), run(model, PICTURES[0])
    assert 1e-4 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("options", [{"bounds": (-1.0, 6.0)}, {"bounds": (0.5, 6.0)}, {"beside": True}])
def test_a_clip_that_does_more_than_rounding_stays(tmp_path, options):
    path = model_file(tmp_path / "g.onnx", **options)
    model = quantised(path)
    assert kinds(model)["Clip"] == 1
    for expected, found in zip(run(path, PICTURES[1]), run(model, PICTURES[1]), strict=True):
        assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("upper", "step", "zero", "left"),
    [(1.0, 6 / 255, 0, 1), (6.0, 6 / 255, 0, 0), (6.0, 6.1 / 255, 0, 1), (6.0, 3 / 255, 0, 0), (6.0, 6 / 255, 3, 1)],
)
def test_a_clip_goes_only_if_all_that_rounding_keeps_is_within_its_bounds(upper, step, zero, left):
    constants = {"lower": np.float32(0), "upper": np.float32(upper), "step": np.float32(step), "zero": np.uint8(zero)}
    nodes = [
        helper.make_node("Clip", ["x", "lower", "upper"], ["clipped"]),
        helper.make_node("QuantizeLinear", ["clipped", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["y"]),
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy"]
    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "clip", value[:1], value[1:], given),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
    )  # fmt: skip
    x = np.linspace(-2, 8, 64, dtype=np.float32)

    def result():
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"x": x})[0]

    before = result()
    _drop_clips(model)
    assert kinds(model)["Clip"] == left
    np.testing.assert_array_equal(result(), before)


def test_nothing_else_is_touched(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    path = model_file(tmp_path / "in" / "g.onnx")
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    logging.disable(logging.INFO)
    try:
        quantise(path, feeds())
        assert logging.root.manager.disable == logging.INFO  # as it was
    finally:
        logging.disable(logging.NOTSET)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["in", "temporary"]
    assert os.listdir(tmp_path / "in") == ["g.onnx"]
    assert os.listdir(tmp_path / "temporary") == []
