"""What the tests of an export share: small detectors, graphs that are written once, and others in their place."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from blemish.data.records import DataPart
from blemish.export import export, gates, writing
from blemish.export.graph import Graph, write_onnx
from blemish.method.pyramid import read_known
from blemish.method.scoring import score_pyramid
from blemish.method.teacher import state_fingerprint
from blemish.model.calibration import calibrate
from blemish.model.header import Header, ScoredPart
from tiny import tell, tiny_detector
from trees import pixel_hashes


def widely(monkeypatch, *, allowed=0.99):
    """Let no golden image's score or map be too far off."""
    for name in ("SCORE", "ON_AVERAGE"):
        monkeypatch.setattr(gates, name, dict.fromkeys(export.PRECISIONS, allowed))


class Graphs:
    """Stands for write_onnx: every graph is written once, since torch takes seconds for it."""

    def __init__(self):
        self.kept = {}

    def __call__(self, path, graph):
        key = state_fingerprint(graph.state_dict()), graph.score
        if key not in self.kept:
            write_onnx(path, graph)
            self.kept[key] = path.read_bytes()
        path.write_bytes(self.kept[key])


@pytest.fixture(scope="module")
def graphs(detector, bundle):
    kept = Graphs()
    key = state_fingerprint(graph_of(detector).state_dict()), "whitened"
    kept.kept[key] = (bundle / "graph.onnx").read_bytes()
    return kept


@pytest.fixture(autouse=True)
def written_once(graphs, monkeypatch):
    monkeypatch.setattr(writing, "write_onnx", graphs)


def graph_of(detector):
    header = detector.header_
    return Graph(detector.model_.teacher, detector.modules_, reference_size=header.reference_size, score=header.score)


def scaled(data, factor):
    """An exported graph whose maps are larger by a factor."""
    model = onnx.load_from_string(data)
    (rows,) = [one for one in model.graph.initializer if one.name == "rows"]
    rows.CopyFrom(numpy_helper.from_array(np.float32(factor) * numpy_helper.to_array(rows), "rows"))
    return model.SerializeToString()


def tiny_of(good, *, names=("64/2", "64/3", "128/3"), weights=(0.5, 0.3, 0.2), score="whitened", change=None):
    """A tiny detector that has met good images: 9 trained it, 3 set its threshold."""
    detector, _ = tiny_detector(list(names), sizes=[64, 128], weights=list(weights), score=score)
    if change:
        change(detector)
    known, _, _, pyramid = read_known(good, [64, 128])
    held_out = {size: images[9:] for size, images in pyramid.items()}
    maps = score_pyramid(detector.model_.teacher, detector.modules_, held_out, size=64, score=score)
    data = DataPart(train=known[:9], held_out=known[9:])
    scored = [ScoredPart(name=f"{index}.png", sha256=one.sha256, score=0.0) for index, one in enumerate(known[9:])]
    update = {"calibration": calibrate(maps, scored, score=score), "data": data}
    tell(detector, Header.model_validate(detector.header_.model_copy(update=update).model_dump()))
    return detector


@pytest.fixture(scope="module")
def tiny(good_arrays):
    return tiny_of(good_arrays)


def blotted(picture):
    """The picture with a defect."""
    found = picture.copy()
    found[20:36, 24:40] = 250
    return found


def held_out_files(detector, brick):
    """The paths of the images that set the threshold, in the order of the model's own list."""
    files = sorted((brick / "train" / "good").iterdir())
    known = dict(zip(pixel_hashes(files), files, strict=True))
    return [known[key] for key in (image.sha256 for image in detector.header_.data.held_out)]


def compare(detector, runtime, images, *, atol):
    """Maps within a tolerance, and the same verdicts; returns the verdicts."""
    verdicts = []
    for expected, found in zip(detector.predict(images), runtime.predict(images), strict=True):
        assert found.score_map.shape == expected.score_map.shape
        assert found.score_map.dtype == np.float32
        np.testing.assert_allclose(found.score_map, expected.score_map, atol=atol)
        assert found.score == pytest.approx(expected.score, abs=atol)
        assert (found.path, found.verdict) == (expected.path, expected.verdict)
        verdicts.append(found.verdict)
    return verdicts


def scaled_graphs(graphs, factor):
    """Stands for write_onnx: maps are larger by a factor."""

    def write(path, graph):
        graphs(path, graph)
        path.write_bytes(scaled(path.read_bytes(), factor))

    return write


@pytest.fixture(scope="module")
def paper(good_arrays):
    return tiny_of(good_arrays, score="paper", names=("64/2", "64/3"), weights=(0.6, 0.4))
