"""onnxruntime and OpenVINO behind one method: the same maps, their settings, what they refuse."""

import subprocess
import sys
import threading
from concurrent.futures import Future

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from blemish.errors import InputError, ModelFileError
from blemish.images.read import read_image
from blemish.images.resize import resize
from blemish.runtime import Runtime
from blemish.runtime.bundle import FILE
from blemish.runtime.engines import available_threads, open_engine
from blemish.storage.offline import openvino_core
from bundles import copied, edit, fields, refusal, seal
from processor import needs_bfloat16


def converted(bundle, folder, *, precision):
    """Make of an onnx bundle what export --to openvino writes, with the scores that were expected of onnx."""
    copied(bundle, folder)
    folder = folder / "copy"
    openvino.save_model(openvino_core().read_model(folder / "graph.onnx"), folder / "graph.xml", compress_to_fp16=False)
    (folder / "graph.onnx").unlink()
    graph = dict.fromkeys(("graph.xml", "graph.bin"), "0" * 64)
    edit(folder, lambda found: found.update(target="openvino", precision=precision, graph=graph, tolerance=0.06))
    seal(folder)
    return folder


@pytest.fixture(scope="module")
def float32(bundle, tmp_path_factory):
    return converted(bundle, tmp_path_factory.mktemp("float32"), precision="float32")


@pytest.fixture(scope="module")
def bfloat16(bundle, tmp_path_factory):
    return converted(bundle, tmp_path_factory.mktemp("bfloat16"), precision="bfloat16")


def images(folder):
    """Return the golden images as a graph takes them."""
    pictures = [read_image(folder / golden["file"]) for golden in fields(folder)["golden"]]
    return [{size: resize(picture, size) for size in (64, 128)} for picture in pictures]


def onnx_engine(folder, *, threads=1, streams=1):
    return open_engine(folder, "onnx", "float32", threads=threads, streams=streams)


def vino_engine(folder, *, threads=1, streams=1, precision="float32"):
    return open_engine(folder, "openvino", precision, threads=threads, streams=streams)


def test_both_engines_give_the_same_maps(bundle, float32, detector):
    one, other = onnx_engine(bundle), vino_engine(float32)
    for given in images(bundle):
        (expected,), (found,) = (engine.run(given) for engine in (one, other))
        side = detector.header_.reference_size
        assert expected.shape == found.shape == (side, side)
        assert expected.dtype == found.dtype == np.float32
        expected, found = (detector.header_.scale.of(each) for each in (expected, found))
        assert np.abs(found - expected).max() < 1e-4
        assert expected.std() > 0.005


@needs_bfloat16
def test_bfloat16_is_near(bundle, bfloat16, detector):
    one, half = onnx_engine(bundle), vino_engine(bfloat16, precision="bfloat16")
    for given in images(bundle):
        (expected,), (near,) = (engine.run(given) for engine in (one, half))
        assert (near.shape, near.dtype) == (expected.shape, np.float32)
        expected, near = (detector.header_.scale.of(each) for each in (expected, near))
        assert near.max() == pytest.approx(expected.max(), abs=0.06)
        assert np.abs(near - expected).mean() < 0.02


def test_an_openvino_bundle_scores_as_the_detector_does(float32, detector, brick):
    given = brick / "test"
    expected, found = detector.predict(given), Runtime.load(float32, threads=2, streams=2).predict(given)
    assert len(found) == 18
    for one, other in zip(expected, found, strict=True):
        assert other.path == one.path
        assert other.score == pytest.approx(one.score, abs=1e-4)
        assert np.abs(other.score_map - one.score_map).max() < 1e-4


@pytest.mark.parametrize("streams", [1, 2])
def test_maps_do_not_change_when_the_engine_runs_again(bundle, float32, streams):
    for engine in (onnx_engine(bundle, streams=streams), vino_engine(float32, streams=streams)):
        first, second = images(bundle)[:2]
        (kept,) = engine.run(first)
        before = kept.copy()
        assert not np.array_equal(engine.run(second)[0], before)
        assert np.array_equal(kept, before)


def in_time(action):
    """Return what the action returns or raises, which must not wait for ever."""
    future = Future()

    def work():
        try:
            future.set_result(action())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future.result(timeout=20)


def test_an_infer_request_is_free_again_after_an_error(float32):
    engine = vino_engine(float32, streams=2)
    given = images(float32)[0]
    expected = engine.run(given)
    for _ in range(5):
        with pytest.raises(ModelFileError):
            in_time(lambda: engine.run({64: given[64], 128: np.zeros((96, 96, 3), np.uint8)}))
    assert engine.free.qsize() == 2
    assert np.array_equal(in_time(lambda: engine.run(given)), expected)


def test_more_threads_than_requests_wait_for_each_other(float32):
    engine = vino_engine(float32, streams=2)
    given = images(float32)
    expected = [engine.run(one) for one in given]
    found = [None] * 10
    barrier = threading.Barrier(10)

    def work(index):
        barrier.wait()
        found[index] = engine.run(given[index % 5])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.free.qsize() == 2
    assert all(np.array_equal(found[index], expected[index % 5]) for index in range(10))


@pytest.mark.parametrize(
    ("threads", "streams", "each"), [(1, 1, 1), (4, 1, 4), (4, 2, 2), (4, 4, 1), (5, 2, 2), (1, 3, 1)]
)
def test_threads_are_shared_out_between_streams(bundle, threads, streams, each):
    options = onnx_engine(bundle, threads=threads, streams=streams).session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (each, 1)


@pytest.mark.parametrize(
    ("precision", "hint"), [("float32", "f32"), pytest.param("bfloat16", "bf16", marks=needs_bfloat16), ("int8", "f32")]
)
def test_openvino_is_told_what_to_compute_in_and_with_how_many_threads(float32, monkeypatch, precision, hint):
    """By what is asked of it: what a processor without bfloat16 makes of it is its own affair."""
    asked = []
    real = openvino.Core.compile_model

    def watched(core, model, device, settings):
        asked.append((device, settings))
        return real(core, model, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    engine = vino_engine(float32, threads=4, streams=2, precision=precision)
    ((device, settings),) = asked
    assert (device, settings["INFERENCE_PRECISION_HINT"]) == ("CPU", hint)
    assert (settings["NUM_STREAMS"], settings["INFERENCE_NUM_THREADS"]) == (2, 4)
    assert settings["ENABLE_CPU_PINNING"] is False
    assert engine.free.qsize() == 2


def test_float32_stays_float32_where_the_processor_could_do_with_less(float32):
    request = vino_engine(float32).free.get()
    compiled = request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


SIGNALLED = """
import gc, signal, sys
from pathlib import Path
from blemish.runtime.engines import open_engine

signal.signal(signal.SIGTERM, lambda *_: print("told"))
engines = [open_engine(Path(sys.argv[1]), "openvino", "float32", threads=1, streams=1) for _ in range(2)]
for _ in range(2):
    engines.pop(0)
    gc.collect()
    signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_openvino_has_gone_is_handled(float32):
    command = [sys.executable, "-c", SIGNALLED, float32]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("told\ntold\n", "", 0)


def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(bundle, float32, monkeypatch):
    for folder, name, extra in ((bundle, "onnxruntime", "runtime"), (float32, "openvino", "openvino")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError) as caught:
            Runtime.load(folder)
        assert str(caught.value) == f"{name} is not installed; pip install 'blemish[{extra}]'"


def small_graph(path, *, name="image64", domain="", op="Cast", kind=TensorProto.UINT8, outputs=1):
    """Write a graph that takes one image and returns it as it is, or does not."""
    shape = [1, 64, 64, 3]
    ports = [helper.make_tensor_value_info(f"y{index}", TensorProto.FLOAT, shape) for index in range(outputs)]
    options = {"to": TensorProto.FLOAT} if op == "Cast" else {}
    nodes = [helper.make_node(op, [name], [port.name], domain=domain, **options) for port in ports]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(name, kind, shape)], ports)
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save_model(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def whole_half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


UNUSABLE = {
    "empty": (lambda path: path.write_bytes(b""), "graph.onnx is not usable: "),
    "text": (lambda path: path.write_text("not a graph\n" * 50), "graph.onnx: not an ONNX graph"),
    "half": (whole_half, "graph.onnx: truncated ONNX graph"),
    "operator of nobody": (
        lambda path: small_graph(path, domain="com.example", op="Evil"),
        "graph.onnx: operation Evil is not allowed",
    ),
    "operator that is not there": (
        lambda path: small_graph(path, op="Nothing"),
        "graph.onnx: operation Nothing is not allowed",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_graph_that_cannot_be_used_is_named(bundle, tmp_path, case):
    """Though its checksum is right."""
    folder = copied(bundle, tmp_path)
    UNUSABLE[case][0](folder / "graph.onnx")
    seal(folder)
    assert refusal(lambda: Runtime.load(folder), folder).startswith(UNUSABLE[case][1])
    assert refusal(lambda: Runtime.load(folder, self_test=False), folder).startswith(UNUSABLE[case][1])


@pytest.mark.parametrize("options", [{"name": "image96"}, {"kind": TensorProto.FLOAT}, {"outputs": 2}, {}])
def test_a_graph_that_takes_or_gives_something_else_is_named(bundle, tmp_path, options):
    """The model has two sizes, 64 and 128; it takes neither less nor another type, and gives one map."""
    folder = copied(bundle, tmp_path)
    small_graph(folder / "graph.onnx", **options)
    seal(folder)
    assert refusal(lambda: Runtime.load(folder), folder).startswith("graph.onnx is not usable: ")


@pytest.mark.parametrize("name", ["graph.xml", "graph.bin"])
@pytest.mark.parametrize("damage", ["empty", "text", "half"])
def test_a_graph_that_openvino_refuses_is_named(float32, tmp_path, name, damage):
    folder = copied(float32, tmp_path)
    UNUSABLE[damage][0](folder / name)
    seal(folder)
    text = refusal(lambda: Runtime.load(folder), folder)
    assert text.startswith("graph.xml is not usable: " if name == "graph.bin" else "graph.xml: ")


def test_threads_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 6}, raising=False)
    assert available_threads() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert available_threads() == 7
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert available_threads() == 1


def test_the_bundle_file_of_the_conversion_is_one(float32):
    assert fields(float32)["target"] == "openvino"
    assert sorted(path.name for path in float32.iterdir()) == sorted([FILE, "golden", "graph.bin", "graph.xml"])
