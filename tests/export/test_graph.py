"""The graph is the scoring, with matrices in place of the interpolation; as an ONNX file it is the graph."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from blemish.export.graph import Graph, resampling_matrix, write_onnx
from blemish.method.scoring import module_maps, score_maps
from tiny import tiny_detector

SETS = {
    "one module": (["64/2"], [1.0]),
    "one size": (["64/4", "64/2", "64/3"], [0.2, 0.7, 0.1]),
    "several sizes": (["128/3", "64/2", "128/5", "64/3"], [0.4, 0.3, 0.25, 0.05]),
    "a weight of nothing": (["64/2", "128/2"], [1.0, 0.0]),
}


def detector_of(name, *, score="whitened", reference_size=64):
    """A tiny detector whose modules have statistics of their own, so that none can be left out unnoticed."""
    modules, weights = SETS[name]
    detector, calls = tiny_detector(
        modules, sizes=[64, 128], reference_size=reference_size, score=score, weights=weights
    )
    random = torch.Generator().manual_seed(7)
    for module in detector.modules_:
        channels = len(module.mean)
        module.mean.copy_(0.1 * torch.randn(channels, generator=random))
        module.whitener.copy_(torch.randn((channels, channels), generator=random))
        module.variance.copy_(0.5 + torch.rand(module.variance.shape, generator=random))
        module.centre.fill_(float(torch.randn((), generator=random)))
        module.spread.fill_(float(0.5 + torch.rand((), generator=random)))
    return detector, calls


def graph_of(detector):
    header = detector.header_
    graph = Graph(detector.model_.teacher, detector.modules_, reference_size=header.reference_size, score=header.score)
    return graph.eval()


def pictures(sizes, *, count=1, seed=3):
    """Noise, (count, size, size, 3) uint8 for each size."""
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (count, size, size, 3), generator=random, dtype=torch.uint8) for size in sizes]


def expected_maps(detector, sizes, images):
    pyramid = {size: one.permute(0, 3, 1, 2) for size, one in zip(sizes, images, strict=True)}
    header = detector.header_
    with torch.inference_mode():
        return score_maps(
            detector.model_.teacher, detector.modules_, pyramid, size=header.reference_size, score=header.score
        ).numpy()


@pytest.mark.parametrize("score", ["whitened", "paper"])
@pytest.mark.parametrize("reference_size", [64, 128])
@pytest.mark.parametrize("name", SETS)
def test_the_graph_is_the_scoring(name, reference_size, score):
    detector, calls = detector_of(name, score=score, reference_size=reference_size)
    graph = graph_of(detector)
    assert graph.sizes == sorted({module.size for module in detector.modules_})
    images = pictures(graph.sizes, count=3)
    calls.clear()
    with torch.inference_mode():
        (found,) = (one.numpy() for one in graph(*images))
    deepest = {size: max(one.level for one in detector.modules_ if one.size == size) for size in graph.sizes}
    assert {key: count for key, count in calls.items() if key[0] == "T"} == {
        f"T{level}": sum(level <= deep for deep in deepest.values()) for level in range(1, max(deepest.values()) + 1)
    }
    expected = expected_maps(detector, graph.sizes, images)
    assert (found.shape, found.dtype) == ((3, reference_size, reference_size), np.float32)
    assert expected.std() > (0.01 if score == "paper" else 0.1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_graph_adds_up_the_weighted_module_maps():
    """By hand: bilinear weights of half-pixel centres, one pixel at a time."""
    detector, _ = detector_of("several sizes")
    graph = graph_of(detector)
    images = pictures(graph.sizes)
    pyramid = {size: one.permute(0, 3, 1, 2) for size, one in zip(graph.sizes, images, strict=True)}
    with torch.inference_mode():
        found = graph(*images)[0][0].double().numpy()
        maps = module_maps(detector.model_.teacher, detector.modules_, pyramid, score="whitened")
    for y, x in ((0, 0), (5, 63), (31, 17), (63, 40)):
        total = 0.0
        for module, one in zip(detector.modules_, maps, strict=True):
            total += module.weight * bilinear(one[0].double().numpy(), y, x, size=64)
        assert found[y, x] == pytest.approx(total, abs=1e-5)


def bilinear(values, y, x, *, size):
    """The value of a square map at pixel (y, x) once it is resampled to size."""
    side = len(values)

    def neighbours(position):
        place = min(max((position + 0.5) * side / size - 0.5, 0), side - 1)
        low = int(place)
        return (low, 1 - (place - low)), (min(low + 1, side - 1), place - low)

    return sum(values[i, j] * p * q for i, p in neighbours(y) for j, q in neighbours(x))


@pytest.mark.parametrize(("side", "size"), [(8, 64), (4, 128), (2, 64), (12, 64), (64, 16), (24, 10), (16, 16), (1, 5)])
def test_the_matrix_resamples_as_bilinear_interpolation_does(side, size):
    matrix = resampling_matrix(side, size)
    assert (matrix.shape, matrix.dtype, matrix.is_contiguous()) == ((size, side), torch.float32, True)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size), atol=1e-6, rtol=0)
    assert float(matrix.min()) >= 0
    values = torch.randn((2, side, side), generator=torch.Generator().manual_seed(side))
    expected = F.interpolate(values[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(matrix @ values @ matrix.T, expected, atol=1e-5, rtol=0)


def test_the_matrix_of_twice_the_side_by_hand():
    expected = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert resampling_matrix(2, 4).tolist() == expected
    assert resampling_matrix(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert resampling_matrix(3, 3).tolist() == np.eye(3).tolist()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A graph and its ONNX file."""
    detector, _ = detector_of("several sizes")
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    write_onnx(path, graph_of(detector))
    return detector, path


def test_the_file_gives_what_the_scoring_gives(written):
    detector, path = written
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for seed in (1, 2):
        images = pictures([64, 128], seed=seed)
        (found,) = session.run(None, {"image64": images[0].numpy(), "image128": images[1].numpy()})
        np.testing.assert_allclose(found, expected_maps(detector, [64, 128], images), atol=1e-5)


def test_the_file_takes_images_and_holds_all_its_values(written):
    _, path = written
    graph = onnx.load(path, load_external_data=False).graph
    inputs = {
        one.name: (one.type.tensor_type.elem_type, [dim.dim_value for dim in one.type.tensor_type.shape.dim])
        for one in graph.input
    }
    assert inputs == {
        "image64": (onnx.TensorProto.UINT8, [1, 64, 64, 3]),
        "image128": (onnx.TensorProto.UINT8, [1, 128, 128, 3]),
    }
    assert [one.name for one in graph.output] == ["map"]
    assert all(one.data_location == onnx.TensorProto.DEFAULT for one in graph.initializer)
    assert not any(one.external_data for one in graph.initializer)
    assert [file.name for file in path.parent.iterdir()] == ["graph.onnx"]
    # Of the teacher: 5 stages at 128 (for 128/5), 3 at 64 (for 64/3); and one student for each module.
    assert sum(node.op_type == "Conv" for node in graph.node) == 5 + 3 + 4
