"""At a given number of threads for one image, its score never depends on the images beside it: compared in bits."""

import numpy as np
import pytest
import torch

from blemish import Detector
from blemish.data import datasets
from blemish.data.listing import find_images
from blemish.data.sources import held_out_sources, sources
from blemish.evaluation import evaluate as evaluation
from blemish.runtime import Runtime
from blemish.verdict.scale import image_score
from blemish.weighing.labelled import label

COMPANY = 1e-5  # how far one image and a folder may be apart where they get another number of threads (docs/method.md)


@pytest.fixture(params=[1, 2])
def threads(request):
    """The number of threads that torch has for one image."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def images(brick):
    return find_images(brick / "test")


@pytest.fixture(scope="module")
def openvino_bundle(detector, brick, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "brick"
    detector.export(path, to="openvino", good=brick / "train" / "good")
    return path


def reference(scorer, images):
    return [found.map for _, _, found in scorer.references(images)]


@pytest.mark.parametrize("beside", [2, 8, 9, 18])
def test_the_map_of_an_image_alone_is_that_of_the_image_in_a_folder(detector, images, threads, beside):
    some = images[:beside]
    together, backwards = reference(detector, some), reference(detector, some[::-1])[::-1]
    for image, one, other in zip(some, together, backwards, strict=True):
        (alone,) = reference(detector, [image])
        assert np.array_equal(one, alone)
        assert np.array_equal(other, alone)


def test_the_threshold_is_a_score_that_a_held_out_image_has_alone(short, brick, threads):
    again = Detector(sizes=(64, 128), levels=(2, 3)).fit(brick / "train" / "good", held_out=brick / "test" / "good")
    held = held_out_sources(again.header_.data, sources(brick / "test" / "good"))
    scores = [image_score(found) for one in held for found in reference(again, [one])]
    assert len(scores) == 6
    assert sorted(scores)[-2] == again.thresholds_.review  # no single image decides
    assert sorted(scores) == sorted(again.header_.calibration.scores)


def test_the_maps_that_weigh_are_those_of_each_image_alone(detector, brick, threads):
    samples = [sample for sample in datasets.test_samples(brick) if sample.label != "good"]
    together = label(detector.model_, samples, score="whitened").maps
    for index in (0, 5, len(samples) - 1):
        alone = label(detector.model_, [samples[index]], score="whitened").maps
        assert len(alone) == 4
        for part, own in zip(together, alone, strict=True):
            assert np.array_equal(part[index], own[0])


def test_an_evaluation_compares_the_maps_of_each_image_alone(detector, brick, threads, monkeypatch):
    compared, scored = [], []

    def keep(maps, masks, *, names, inside):
        compared.append(dict(zip(names, maps, strict=True)))
        return {"undefined": {}, "regions": 0}

    def keep_scores(scores, truth, *, names):
        scored.append(dict(zip(names, scores, strict=True)))
        return {"undefined": {}}

    monkeypatch.setattr(evaluation, "pixel_metrics", keep)
    monkeypatch.setattr(evaluation, "image_metrics", keep_scores)
    evaluation.evaluate(detector, brick, resolution=128)  # the reference size: nothing is resized
    assert len(compared[0]) == 18
    for name, found in compared[0].items():
        (alone,) = reference(detector, [brick / name])
        assert np.array_equal(found, alone)
        assert scored[0][name] == image_score(alone)


@pytest.mark.parametrize("kind", ["bundle", "openvino_bundle"])
@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_a_runtime_scores_an_image_alone_as_in_a_folder(request, kind, images, threads, streams):
    runtime = Runtime.load(request.getfixturevalue(kind), threads=threads, streams=streams, self_test=False)
    together, backwards = reference(runtime, images), reference(runtime, images[::-1])[::-1]
    for image, one, other in zip(images, together, backwards, strict=True):
        (alone,) = reference(runtime, [image])
        assert np.array_equal(one, alone)
        assert np.array_equal(other, alone)
        (prediction,) = runtime.predict([image])
        assert prediction.score == image_score(alone)


@pytest.mark.parametrize("kind", ["bundle", "openvino_bundle"])
def test_the_number_of_streams_alone_changes_no_bit(request, kind, images):
    folder = request.getfixturevalue(kind)
    one, two = (Runtime.load(folder, threads=n, streams=n, self_test=False) for n in (1, 2))  # a thread for each image
    for found, other in zip(reference(one, images), reference(two, images), strict=True):
        assert np.array_equal(found, other)


@pytest.mark.parametrize("kind", ["bundle", "openvino_bundle"])
def test_one_image_with_all_threads_is_near_the_image_in_a_folder(request, kind, images):
    folder = request.getfixturevalue(kind)
    alone, many = (Runtime.load(folder, threads=2, streams=n, self_test=False) for n in (1, 2))
    for found, other in zip(reference(alone, images), reference(many, images), strict=True):
        assert np.abs(found - other).max() <= COMPANY


def test_torch_with_another_number_of_threads_is_near(detector, images):
    found = {}
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        found[count] = reference(detector, images)
    torch.set_num_threads(before)
    for one, other in zip(found[1], found[2], strict=True):
        assert np.abs(one - other).max() <= COMPANY
